package client

import "testing"

// A restore is called what it is: one that lacks little has not failed, nor is one whole
// that lacks something.
func TestShortfall(t *testing.T) {
	for _, c := range []struct {
		status            string
		artifacts, failed int
		s                 Shortfall
		want              string
	}{
		{"completed", 3, 0, Shortfall{}, ""},
		{"active", 3, 1, Shortfall{InPartCount: 1}, ""},
		{"failed", 1, 1, Shortfall{}, ""},
		{"failed", 2, 2, Shortfall{}, ""},
		{"completedWithError", 3, 1, Shortfall{}, "in part: 1 of 3 failed"},
		{"failed", 1, 1, Shortfall{InPartCount: 1, FailedItemCount: 12, ItemCount: 3400}, "in part: 12 of 3,400 items failed"},
		{"failed", 1, 1, Shortfall{InPartCount: 1, FailedItemCount: 1}, "in part: 1 item failed"},
		{"failed", 1, 1, Shortfall{InPartCount: 1}, "in part"},
		{"failed", 2, 2, Shortfall{InPartCount: 1, FailedItemCount: 1234567, ItemCount: 3400000}, "in part: 1 of 2 failed, 1 of 2 not whole (1,234,567 of 3,400,000 items failed)"},
		{"completedWithError", 3, 1, Shortfall{InPartCount: 1}, "in part: 1 of 3 not whole"},
	} {
		if got := c.s.Session(c.status, c.artifacts, c.failed); got != c.want {
			t.Errorf("%s, %d of %d, %+v: %q, want %q", c.status, c.failed, c.artifacts, c.s, got, c.want)
		}
	}
	if got := (Shortfall{IsInPart: true, FailedItemCount: 2, ItemCount: 5}).Artifact(); got != "in part: 2 of 5 items failed" {
		t.Errorf("an artifact is %q", got)
	}
	if got := (Shortfall{FailedItemCount: 2}).Artifact(); got != "" {
		t.Errorf("an artifact that failed is %q", got)
	}
}
