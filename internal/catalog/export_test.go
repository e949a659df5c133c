package catalog

// SetBatch makes large changes take more transactions than they need.
func (c *Catalog) SetBatch(rows int) { c.batch = rows }

// SetEffort makes less be done for a page that no index has: few items sorted,
// walk rows looked at; and for a count.
func (c *Catalog) SetEffort(few, walk, count int) { c.effort = effort{few, walk, count} }
