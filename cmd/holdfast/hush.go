package main

import (
	"sync"
	"time"
)

// hushTime is how long what was said is not said again.
const hushTime = 5 * time.Minute

// A hush keeps what is found wrong again and again, or asked for by every probe of a load
// balancer, from filling the log. The zero value has said nothing.
type hush struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// tell reports whether something is to be said, since it was not lately.
func (h *hush) tell(what string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.said[what]) < hushTime {
		return false
	}
	if h.said == nil {
		h.said = map[string]time.Time{}
	}
	h.said[what] = time.Now()
	return true
}

// over has something be said at once if it is found wrong again.
func (h *hush) over(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.said, what)
}
