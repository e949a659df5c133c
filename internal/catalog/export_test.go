package catalog

import "slices"

// SetBatch makes large changes take more transactions than they need.
func (c *Catalog) SetBatch(rows int) { c.batch = rows }

// SetEffort makes less be done for a page that no index has: few items sorted,
// walk rows looked at; and for a count.
func (c *Catalog) SetEffort(few, walk, count int) { c.effort = effort{few, walk, count} }

// UnitIndexes are the indexes by which units are listed: their columns, by their names.
func UnitIndexes() map[string][]string {
	all := map[string][]string{}
	for _, ix := range slices.Concat(unitIndexes, policyUnitIndexes) {
		all[ix.name] = ix.columns
	}
	return all
}
