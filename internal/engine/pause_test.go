package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
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

// A unit that waits for its first point says why. One that has points keeps
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
