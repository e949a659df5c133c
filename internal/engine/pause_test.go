package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// A source that asks to be left alone has the job wait in the queue, as long as
// it says within reason, whatever kind of job it is.
func TestAPauseGoesBackToTheQueue(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	e := New(Config{Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	asks := func(d time.Duration) error {
		return fmt.Errorf("read: %w", &drive.Error{Op: "read", RetryAfter: d, Err: drive.ErrPaused})
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		wait time.Duration // zero: the handler's error stays
	}{
		{"as long as it says", t.Context(), asks(10 * time.Minute), 10 * time.Minute},
		{"not for no time", t.Context(), asks(time.Microsecond), time.Second},
		{"not for ever", t.Context(), asks(1000 * time.Hour), time.Hour},
		{"it does not say", t.Context(), drive.ErrPaused, time.Minute},
		{"among other errors", t.Context(), errors.Join(errors.New("x"), asks(10*time.Minute)), 10 * time.Minute},
		{"the lease is lost", t.Context(), errors.Join(jobs.ErrLost, asks(time.Minute)), 0},
		{"the process ends", over, asks(time.Minute), 0},
		{"another error", t.Context(), errors.New("x"), 0},
	} {
		h := e.pausing(func(context.Context, *jobs.Job) (jobs.Result, error) { return jobs.Done, test.err })
		got, err := h(test.ctx, &jobs.Job{Kind: jobs.Backup, Key: "k"})
		if test.wait == 0 {
			if got != jobs.Done || !errors.Is(err, test.err) {
				t.Errorf("%s: %v, %v", test.name, got, err)
			}
			continue
		}
		if want := jobs.Paused(e.next(test.wait, "backup k"), test.err); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, want)
		}
	}
}

// A unit that waits for its first point, or for a new one for a day, says why. Else it keeps
// what its last run said; and no restore gives up because it had to wait.
func TestAPauseIsNobodysFailure(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.put(w.home(0), map[string]string{"a.txt": "one"})
	units := w.protectAll()
	point := w.backUp(units[0])
	artifact := w.activate(point, backup.DestinationNew)

	source := w.engine.Sources
	w.engine.Sources = func(backup.TenantID) (*drive.Client, error) {
		return nil, &drive.Error{Op: "read", RetryAfter: time.Minute, Err: drive.ErrPaused}
	}
	work := w.engine.Work()
	for _, u := range units {
		w.run(jobs.Backup, string(u.ID), work[jobs.Backup].Handler)
	}
	if u := w.unit(units[0].ID); u.Status != backup.UnitProtected || u.Problem != nil {
		t.Errorf("the unit with a point is %s: %v", u.Status, u.Problem)
	}
	if u := w.unit(units[1].ID); u.Problem == nil || u.Problem.Code != backup.DriveUnavailable {
		t.Errorf("the unit without a point is %s: %v", u.Status, u.Problem)
	}
	// When it has had no new point for a day, it says so.
	w.skew.Add(int64(25 * time.Hour))
	w.run(jobs.Backup, string(units[0].ID), work[jobs.Backup].Handler)
	if u := w.unit(units[0].ID); u.Status != backup.UnitProtected || u.Problem == nil || u.Problem.Code != backup.DriveUnavailable {
		t.Errorf("the unit that waits for a day is %s: %v", u.Status, u.Problem)
	}
	restoring := w.claim(jobs.Restore, string(artifact.ID))
	restoring.Failures = maxRestoreFailures
	if _, err := work[jobs.Restore].Handler(w.ctx, restoring); err != nil {
		t.Errorf("the restore failed: %v", err)
	}

	w.engine.Sources = source
	w.run(jobs.Restore, string(artifact.ID), work[jobs.Restore].Handler)
	if a, err := w.catalog.Artifact(w.ctx, w.tenant, artifact.Session, artifact.ID); err != nil || a.Status != backup.ArtifactSucceeded {
		t.Errorf("after the pause the restore is %s, %v: %+v", a.Status, err, a.Problem)
	}
	w.run(jobs.Backup, string(units[1].ID), work[jobs.Backup].Handler)
	if u := w.unit(units[1].ID); u.Status != backup.UnitProtected || u.Problem != nil {
		t.Errorf("after the pause the other unit is %s: %v", u.Status, u.Problem)
	}
}

// A source that asks for a long pause in the middle of a first backup frees the
// worker at once. What has come by then is kept, no file counts as unreadable,
// and after the pause the backup goes on from there.
func TestAPauseKeepsWhatHasCome(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "one", "b.txt": "two", "c.txt": "three"})
	unit := w.protectAll()[0]
	w.engine.Transfers = 1
	w.faults.Add(simtenant.Fault{
		Match:  func(r *http.Request) bool { _, ok := contentAt(r.URL.Path); return ok },
		Skip:   2,
		Times:  1,
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {"1200"}},
	})
	handler := w.engine.Work()[jobs.Backup].Handler
	slept := w.wait.Load()
	if got, err := handler(w.ctx, w.claim(jobs.Backup, string(unit.ID))); err != nil || got == jobs.Done {
		t.Fatalf("backup = %v, %v; want a pause", got, err)
	}
	if slept != w.wait.Load() {
		t.Errorf("the worker slept %v", time.Duration(w.wait.Load()-slept))
	}
	if u := w.unit(unit.ID); u.Problem == nil || u.Problem.Code != backup.DriveUnavailable {
		t.Errorf("the unit is %s: %+v", u.Status, u.Problem)
	}
	w.wantAsked("download", 3)

	// Who asks before the pause is over is told so without asking the source.
	w.reset()
	if got, err := handler(w.ctx, w.claim(jobs.Backup, string(unit.ID))); err != nil || got == jobs.Done {
		t.Fatalf("backup = %v, %v; want a pause", got, err)
	}
	w.wantAsked("all", 0)

	w.wait.Add(int64(21 * time.Minute))
	w.run(jobs.Backup, string(unit.ID), handler)
	w.wantAsked("download", 1)
	if u := w.unit(unit.ID); u.Status != backup.UnitProtected || u.Problem != nil {
		t.Errorf("after the pause the unit is %s: %+v", u.Status, u.Problem)
	}
	w.same("its point", w.look(w.home(0)), w.kept(w.latest(unit).Tree))
}
