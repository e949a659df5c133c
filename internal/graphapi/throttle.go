package graphapi

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"holdfast/internal/backup"
)

// A throttle limits how many requests each application makes in each tenant. A
// request that is refused has done nothing.
type throttle struct {
	per10s int // 0: no limit
	clock  backup.Clock

	mu      sync.Mutex
	buckets map[throttleKey]*rate.Limiter
}

type throttleKey struct {
	tenant backup.TenantID
	app    string
}

func newThrottle(per10s int, clock backup.Clock) *throttle {
	return &throttle{per10s: per10s, clock: clock, buckets: map[throttleKey]*rate.Limiter{}}
}

// take counts one request. If it is one too many, it says when to come again.
func (t *throttle) take(w http.ResponseWriter, tenant backup.TenantID, app string) error {
	if t.per10s <= 0 {
		return nil
	}
	now, key := t.clock(), throttleKey{tenant, app}
	t.mu.Lock()
	b := t.buckets[key]
	if b == nil {
		for k, old := range t.buckets { // those that are full again are as good as new
			if old.TokensAt(now) >= float64(t.per10s) {
				delete(t.buckets, k)
			}
		}
		b = rate.NewLimiter(rate.Limit(float64(t.per10s)/10), t.per10s)
		t.buckets[key] = b
	}
	t.mu.Unlock()
	r := b.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(wait, time.Second).Seconds()))))
	return backup.Fail(backup.TooManyRequests, "The application sends more requests than it may. Wait as long as Retry-After says.")
}
