package drive

// RangesHeld is how many ranges are held ahead.
func (c *Client) RangesHeld() int { return len(c.ranges) }

// WaitForRanges waits until none is.
func (c *Client) WaitForRanges() {
	for range cap(c.ranges) {
		c.ranges <- struct{}{}
	}
	for range cap(c.ranges) {
		<-c.ranges
	}
}
