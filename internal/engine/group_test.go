package engine

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/jobs"
)

// A panic in a part of the work fails the work, says where it was, and stops
// the other parts; the process lives.
func TestAPanicInAGroupFailsTheWork(t *testing.T) {
	group, ctx := newGroup(t.Context())
	group.Go(func() error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	group.Go(func() error { panic("out of range") })
	if err := group.Wait(); err == nil || !strings.HasPrefix(err.Error(), "panic: out of range\n") || !strings.Contains(err.Error(), "group_test.go") {
		t.Errorf("Wait = %v", err)
	}
}

// One drive whose downloads panic is a failed job, and no more than that.
func TestAPanicInOneDriveStopsOnlyItself(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	for i := range w.users {
		w.put(w.home(i), map[string]string{"a.txt": "one", "b.txt": "two"})
	}
	units := w.protectAll()
	w.engine.Transfers = 1
	var downloading atomic.Bool
	w.onRequest(func(r *http.Request) {
		if _, ok := contentAt(r.URL.Path); ok {
			downloading.Store(true)
		}
	})
	clock := w.engine.Clock
	w.engine.Clock = func() time.Time { // asked between two downloads
		if downloading.Load() {
			panic("out of time")
		}
		return clock()
	}
	if err := w.try(w.ctx, jobs.Backup, string(units[0].ID), w.engine.backup); err == nil || !strings.Contains(err.Error(), "panic: out of time") {
		t.Errorf("backup = %v", err)
	}
	w.onRequest(nil)
	w.engine.Clock = clock
	for i, u := range units {
		w.same("the next point of "+w.users[i].DisplayName, w.look(w.home(i)), w.kept(w.backUp(u).Tree))
	}
}
