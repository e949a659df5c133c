package engine

import (
	"testing"
	"time"

	"holdfast/internal/backup"
)

// A drive in which nothing changes is visited less and less often, but so that its
// newest point is never older than promised; once something changes, or cannot be
// read, it is visited at the interval again.
func TestQuietDrivesAreVisitedLessOften(t *testing.T) {
	w := newWorld(t, "anna")
	w.engine.Interval, w.engine.RPO = 10*time.Minute, time.Hour
	u := w.protectAll()[0]
	w.put(w.home(0), map[string]string{"a.txt": "one"})

	visit := func() time.Duration {
		t.Helper()
		p := w.backUp(u)
		r, err := w.catalog.RPO(w.ctx, w.tenant, 1)
		w.must(err)
		if len(r.Worst) != 1 || r.Missed != 0 {
			t.Fatalf("the promise is not kept: %+v", r)
		}
		every := r.Worst[0].Every
		next := w.engine.nextVisit(protected{Point: p, Every: every}, string(u.ID))
		if late := p.At.Add(w.engine.RPO - w.engine.Interval); every > w.engine.Interval && next.After(late) {
			t.Errorf("the next visit is due at %v, and the point is too old soon after %v", next, late)
		}
		w.skew.Store(int64(time.Until(next)))
		return every
	}
	if got := visit(); got != 10*time.Minute {
		t.Errorf("a new drive is visited every %v", got)
	}
	last, visits := time.Duration(0), 0
	for last < 50*time.Minute {
		every := visit()
		if every < last || every > 50*time.Minute {
			t.Fatalf("after %v it is visited after %v", last, every)
		}
		last = every
		if visits++; visits > 60 {
			t.Fatalf("after %d visits it is still visited every %v", visits, every)
		}
	}
	for range 3 {
		if got := visit(); got != 50*time.Minute {
			t.Errorf("a quiet drive is visited every %v, want 50 minutes", got)
		}
	}
	w.put(w.home(0), map[string]string{"a.txt": "two and more"})
	if got := visit(); got != 10*time.Minute {
		t.Errorf("a drive that changed is visited every %v", got)
	}
	if got := w.engine.pace(1000*time.Hour, new(backup.Problem)); got != 10*time.Minute {
		t.Errorf("a drive with a problem is visited every %v", got)
	}
	w.engine.RPO = 20 * time.Minute
	if got := w.engine.pace(1000*time.Hour, nil); got != 10*time.Minute {
		t.Errorf("where the promise leaves no time, a quiet drive is visited every %v", got)
	}
}
