package catalog

// SetBatch makes large changes take more transactions than they need.
func (c *Catalog) SetBatch(rows int) { c.batch = rows }
