package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// What nobody approves in time lapses by its job, once: when its time is over and not
// before, also where the job is killed at any statement, or done again. Of that and of
// those who decide or cancel at the same moment one is the first, and the restore is begun
// or is not.
func TestApprovalsLapse(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			w := prepare(t, "ann")
			w.at, w.rule = dbtest.URL(t, d), backup.ApprovalRule{RestoreInPlace: true, Expires: time.Hour}
			w.must(shareKey(w.dir + "/sim"))
			sim, err := simtenant.New(simConfig(w.dir, w.tenant, w.users, w.faults))
			w.must(err)
			server := httptest.NewServer(sim.Handler())
			defer sim.Close()
			defer server.Close()
			w.connect(server.URL)
			w.put(w.home(0), map[string]string{"a.txt": "one"})
			point := w.backUp(w.protectAll()[0])
			person := func(name string) backup.Stamp {
				return backup.Stamp{At: w.engine.Clock(), By: backup.IdentitySet{User: backup.Identity{ID: name, Email: name + "@example.com"}}}
			}
			ask := func() *backup.Approval {
				t.Helper()
				s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.OneDrive, backup.RestoreStandard, []catalog.NewArtifact{{Point: point.ID, Destination: backup.DestinationInPlace}}, person("asker"))
				w.must(err)
				s, err = w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, person("asker"))
				w.must(err)
				if s.Approval == nil || s.Approval.State != backup.ApprovalWaiting {
					t.Fatalf("it waits for no approval: %+v", s)
				}
				return s.Approval
			}
			of := func(a *backup.Approval) (backup.Approval, backup.Session) {
				t.Helper()
				now, err := w.catalog.Approval(w.ctx, w.tenant, a.ID)
				w.must(err)
				s, err := w.catalog.Session(w.ctx, w.tenant, backup.SessionID(a.Object))
				w.must(err)
				return now, s
			}
			logged := func(a *backup.Approval, operation string) (n int) {
				t.Helper()
				l, err := w.catalog.Activities(w.ctx, w.tenant, catalog.Page{Limit: 100})
				w.must(err)
				for _, one := range l.Items {
					if one.Operation == operation && one.Object == string(a.ID) {
						n++
					}
				}
				return n
			}
			restores := func(a *backup.Approval) (n int) {
				t.Helper()
				w.must(w.db.Read().QueryRow(`SELECT count(*) FROM job j JOIN restore_artifact a ON a.id = j.key WHERE j.kind = 'restore' AND a.session = $1`, a.Object).Scan(&n))
				return n
			}
			lapsed := func(what string, a *backup.Approval) {
				t.Helper()
				now, s := of(a)
				if now.State != backup.ApprovalExpired || s.Status != backup.SessionFailed || s.Problem == nil || s.Problem.Code != backup.RestoreNotApproved || s.Counts.Failed != 1 || restores(a) != 0 || logged(a, backup.ApprovalExpiredActivity) != 1 {
					t.Errorf("%s: the approval is %s, the session %s, %+v, %d restores, %d in the log", what, now.State, s.Status, s.Problem, restores(a), logged(a, backup.ApprovalExpiredActivity))
				}
			}

			// By the job alone, as a server has it done: at its time, and not when it is done too early.
			ended := make(chan string, 99)
			one := w.engine.Work()[jobs.Approval]
			handler := one.Handler
			one.Handler = func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
				result, err := handler(ctx, j)
				if err != nil {
					t.Error(err)
				}
				ended <- string(j.Kind) + " " + j.Key
				return result, err
			}
			ctx, stop := context.WithCancel(w.ctx)
			done := make(chan error, 1)
			runner := jobs.NewRunner(jobs.RunnerConfig{Queue: w.queue, Tenants: []backup.TenantID{w.tenant}, Work: map[jobs.Kind]jobs.Work{jobs.Approval: one}, Log: w.engine.Log})
			go func() { done <- runner.Run(ctx) }()
			a := ask()
			w.skew.Add(int64(time.Hour - time.Minute))
			w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
				return w.queue.Enqueue(w.ctx, tx, jobs.Spec{Kind: jobs.Approval, Key: string(a.ID), Tenant: w.tenant})
			}))
			until(ended, jobs.Approval, string(a.ID))
			if now, s := of(a); now.State != backup.ApprovalWaiting || s.Status != backup.SessionActivating {
				t.Errorf("a minute before its end the approval is %s, the session %s", now.State, s.Status)
			}
			w.skew.Add(int64(time.Minute))
			until(ended, jobs.Approval, string(a.ID))
			lapsed("at its end", a)
			stop()
			w.must(<-done)

			// Killed at each of its statements, and then done again, twice.
			a = ask()
			w.skew.Add(int64(time.Hour))
			for n, kills := 1, true; kills; n++ {
				job := w.claim(jobs.Approval, string(a.ID))
				ctx, kill := context.WithCancel(w.ctx)
				seen := 0
				_, err := w.engine.approval(database.Observe(ctx, func(string, []any) {
					if seen++; seen == n {
						kill()
					}
				}), job)
				kill()
				kills = seen >= n
				if now, s := of(a); err != nil && (now.State != backup.ApprovalWaiting || s.Status != backup.SessionActivating) && (now.State != backup.ApprovalExpired || s.Status != backup.SessionFailed) {
					t.Errorf("killed at statement %d the approval is %s, the session %s", n, now.State, s.Status)
				}
			}
			for range 2 {
				w.run(jobs.Approval, string(a.ID), w.engine.approval)
			}
			lapsed("killed and repeated", a)

			// At the same moment: another server's clock says that there is time yet.
			behind := func() time.Time { return w.engine.Clock().Add(-time.Minute) }
			other := catalog.New(w.db, jobs.New(w.db, behind), catalog.Config{Clock: behind, Approval: func(backup.TenantID) backup.ApprovalRule { return w.rule }})
			for n := range 12 {
				a := ask()
				w.skew.Add(int64(time.Hour))
				job := w.claim(jobs.Approval, string(a.ID))
				var all sync.WaitGroup
				var byJob, byPerson error
				all.Go(func() { _, byJob = w.engine.approval(w.ctx, job) })
				all.Go(func() {
					switch n % 3 {
					case 0, 1:
						_, byPerson = other.Approve(w.ctx, w.tenant, a.ID, "", person("boss"))
					case 2:
						_, byPerson = other.CancelSession(w.ctx, w.tenant, backup.SessionID(a.Object), person("asker"))
					}
				})
				all.Wait()
				w.must(byJob)
				now, s := of(a)
				what := fmt.Sprintf("round %d: %v, the approval is %s", n, byPerson, now.State)
				switch now.State {
				case backup.ApprovalExpired:
					lapsed(what, a)
					if byPerson != nil && !errors.Is(byPerson, backup.ApprovalNotWaiting) && !errors.Is(byPerson, backup.RestoreSessionActionNotAllowed) {
						t.Error(what)
					}
				case backup.ApprovalApproved:
					if byPerson != nil || s.Status != backup.SessionActivating || restores(a) != 1 || logged(a, backup.ApprovalExpiredActivity) != 0 {
						t.Errorf("%s, the session %s, %d restores", what, s.Status, restores(a))
					}
					list, err := w.catalog.Artifacts(w.ctx, w.tenant, s.ID, catalog.Page{})
					w.must(err)
					w.run(jobs.Restore, string(list.Items[0].ID), w.engine.restore)
					if _, s := of(a); s.Status != backup.SessionCompleted {
						t.Errorf("%s, and restored it is %s", what, s.Status)
					}
				case backup.ApprovalWithdrawn:
					if byPerson != nil || s.Status != backup.SessionFailed || s.Problem.Code != backup.RestoreCancelled || restores(a) != 0 || logged(a, backup.ApprovalExpiredActivity) != 0 {
						t.Errorf("%s, the session %s, %+v", what, s.Status, s.Problem)
					}
				default:
					t.Error(what)
				}
			}
		})
	}
}
