package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// What idle workers are given when first backups and visits of drives are due
// together: visits go first, first backups have one worker all the same, and never
// those that are kept for visits.
func TestFirstBackupsLetVisitsGoFirst(t *testing.T) {
	for _, test := range []struct {
		name             string
		workers, patient int
		visits, firsts   int // due
		busy, first      int // running: visits, first backups
		wantV, wantF     int // claimed
	}{
		{"a worker is kept, although no visit is due", 4, 3, 0, 9, 0, 0, 0, 3},
		{"a visit has the kept worker", 4, 3, 5, 9, 0, 3, 1, 0},
		{"visits take all but one", 4, 3, 9, 9, 0, 0, 3, 1},
		{"visits go first for what is idle", 4, 3, 2, 9, 0, 1, 2, 1},
		{"first backups wait for visits that came later", 4, 3, 9, 9, 2, 1, 1, 0},
		{"visits alone have all", 4, 3, 9, 0, 0, 0, 4, 0},
		{"all are busy", 4, 3, 9, 9, 1, 3, 0, 0},
		{"of two workers each has one", 2, 1, 9, 9, 0, 0, 1, 1},
		{"of two workers one is kept", 2, 1, 0, 9, 0, 0, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, db *database.DB) {
				q := jobs.New(db, nil)
				r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: tenants("a"), Work: map[jobs.Kind]jobs.Work{jobs.Backup: {Workers: test.workers, Patient: test.patient}}})
				dueBackups(t, db, q, test.visits, test.firsts)
				v, f, err := r.ClaimInOrder(t.Context(), jobs.Backup, "a", test.busy, test.first)
				if err != nil {
					t.Fatal(err)
				}
				if v != test.wantV || f != test.wantF {
					t.Errorf("claimed %d visits and %d first backups, want %d and %d", v, f, test.wantV, test.wantF)
				}
			})
		})
	}
}

// A runner's only worker does visits and first backups in turn: neither waits
// for ever.
func TestOneWorkerDoesBothInTurn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: tenants("a"), Work: map[jobs.Kind]jobs.Work{jobs.Backup: {Workers: 1, Patient: 1}}})
		dueBackups(t, db, q, 9, 9)
		got := ""
		for range 6 {
			v, f, err := r.ClaimInOrder(t.Context(), jobs.Backup, "a", 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(v, f, " ")
		}
		if want := "0 1 1 0 0 1 1 0 0 1 1 0 "; got != want {
			t.Errorf("claimed %q, want %q", got, want)
		}
	})
}

// dueBackups enqueues visits, and first backups that are due for longer.
func dueBackups(t *testing.T, db *database.DB, q *jobs.Queue, visits, firsts int) {
	t.Helper()
	for i := range visits {
		enqueue(t, db, q, jobs.Spec{Kind: jobs.Backup, Key: fmt.Sprint("visit", i), Tenant: "a"})
	}
	err := db.Tx(t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE job SET patient = 0`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range firsts {
		enqueue(t, db, q, jobs.Spec{Kind: jobs.Backup, Key: fmt.Sprint("first", i), Tenant: "a", RunAt: time.Now().Add(-time.Hour)})
	}
}

// A job lets others go first until it has done what it is for, and no longer; one
// that is enqueued once more stays what it is.
func TestPatientUntilDone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		patient := func() (is bool) {
			t.Helper()
			if err := db.Read().QueryRowContext(t.Context(), `SELECT patient FROM job`).Scan(&is); err != nil {
				t.Fatal(err)
			}
			return is
		}
		next := make(chan func() (jobs.Result, error))
		began := make(chan bool)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: tenants("a"), Poll: time.Minute, Work: map[jobs.Kind]jobs.Work{jobs.Backup: {Workers: 2, Patient: 1,
			Handler: func(ctx context.Context, _ *jobs.Job) (jobs.Result, error) {
				select {
				case began <- true:
					return (<-next)()
				case <-ctx.Done():
					return jobs.Done, ctx.Err()
				}
			}}}})
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		enqueue(t, db, q, jobs.Spec{Kind: jobs.Backup, Key: "u", Tenant: "a"})
		for _, step := range []struct {
			what string
			do   func() (jobs.Result, error)
			want bool
		}{
			{"came to nothing", func() (jobs.Result, error) { return jobs.Again(time.Now()).Patiently(), nil }, true},
			{"paused", func() (jobs.Result, error) { return jobs.Paused(time.Now(), errors.New("later")), nil }, true},
			{"was done", func() (jobs.Result, error) { return jobs.Again(time.Now()), nil }, false},
			{"came to nothing once it was done", func() (jobs.Result, error) { return jobs.Again(time.Now()).Patiently(), nil }, false},
		} {
			receive(t, began)
			enqueue(t, db, q, jobs.Spec{Kind: jobs.Backup, Key: "u", Tenant: "a"})
			next <- step.do
			receive(t, began) // of what was enqueued meanwhile
			if got := patient(); got != step.want {
				t.Errorf("after it %s, patient = %v, want %v", step.what, got, step.want)
			}
			next <- func() (jobs.Result, error) { return jobs.Again(time.Now()).Patiently(), nil }
		}
		receive(t, began)
		next <- func() (jobs.Result, error) { return jobs.Done, nil }
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A visit that turns out to take long counts among the patient jobs as long as
// there is room for it; where there is none, the next place that a patient job
// leaves is kept for it.
func TestLongVisitsWaitForRoom(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		type started struct {
			job *jobs.Job
			end chan bool
		}
		begun := make(chan started, 9)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: []backup.TenantID{"a"}, Poll: time.Minute, Work: map[jobs.Kind]jobs.Work{jobs.Backup: {Workers: 3, Patient: 2,
			Handler: func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
				s := started{j, make(chan bool)}
				begun <- s
				select {
				case <-s.end:
					return jobs.Done, nil
				case <-ctx.Done():
					return jobs.Done, ctx.Err()
				}
			}}}})
		done := make(chan error)
		dueBackups(t, db, q, 1, 4)
		go func() { done <- r.Run(ctx) }()
		running := map[string]started{}
		for range 3 {
			s := receive(t, begun)
			running[s.job.Key] = s
		}
		visit, ok := running["visit0"]
		if !ok {
			t.Fatalf("there run %v", running)
		}
		if visit.job.Wait(time.Hour) {
			t.Error("there was room for a third patient run of two")
		}
		delete(running, "visit0")
		for _, first := range running {
			close(first.end)
			break
		}
		// The place is kept for the visit until it asks again.
		for !visit.job.Wait(time.Hour) {
			time.Sleep(time.Millisecond) // until the one that was ended is settled
		}
		if !visit.job.Wait(0) {
			t.Error("it counts among the patient ones, and was refused")
		}
		close(visit.end)
		receive(t, begun) // the place is a first backup's again
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
