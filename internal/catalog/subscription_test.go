package catalog_test

import (
	"strconv"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Drives that are backed up are noted once, until they are told to be looked after;
// what is told of them makes a visit due only for the present subscription of a
// unit of the tenant.
func TestSubscriptions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1), owner(2))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		id := w.units(p.ID)[owner(1)].ID
		made := must[backup.Point](t)(w.CommitPoint(ctx, w.backupJob(id), catalog.Commit{Unit: id, State: catalog.DriveState{Drive: "d1", Root: "r", Tree: "t"},
			Point: backup.Point{At: w.clock(), Tree: "t"}, Promise: time.Hour}))
		ok(t, w.db.Tx(ctx, func(tx *database.Tx) error {
			return w.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Subscribe, Key: string(contoso), Tenant: contoso})
		}))
		claimed, err := w.queue.Claim(ctx, jobs.Subscribe, 1, time.Hour, "test")
		ok(t, err)
		j := claimed[0]
		for range 2 {
			ok(t, w.WantSubscriptions(ctx, j))
		}
		due := must[[]catalog.Subscription](t)(w.DueSubscriptions(ctx, contoso, 9))
		if len(due) != 1 || due[0] != (catalog.Subscription{Unit: id, Current: "d1"}) {
			t.Fatalf("due are %+v", due)
		}
		s := catalog.Subscription{Unit: id, Drive: "d1", ID: "s1", Nonce: "n1"}
		ok(t, w.SaveSubscription(ctx, j, s, w.clock().Add(time.Hour)))
		if due := must[[]catalog.Subscription](t)(w.DueSubscriptions(ctx, contoso, 9)); len(due) != 0 {
			t.Errorf("due are %+v, and it was looked after", due)
		}

		far := w.clock().Add(99 * time.Hour)
		rest := func() {
			exec(t, w.db, `UPDATE job SET lease = '', wake_at = 0, run_at = `+strconv.FormatInt(database.Micros(far), 10)+` WHERE kind = 'backup'`)
		}
		runAt := func() (us int64) {
			t.Helper()
			ok(t, w.db.Read().QueryRowContext(ctx, `SELECT run_at FROM job WHERE kind = 'backup' AND key = $1`, string(id)).Scan(&us))
			return us
		}
		rest()
		for what, told := range map[string]catalog.Told{"another nonce": {Unit: id, Nonce: "n2"}, "no nonce": {Unit: id}, "another unit": {Unit: w.units(p.ID)[owner(2)].ID, Nonce: "n1"}, "nobody": {Unit: "x", Nonce: "n1"}} {
			ok(t, w.NotifyChanges(ctx, contoso, []catalog.Told{told}, time.Second, 0))
			ok(t, w.NotifyFates(ctx, contoso, []catalog.Told{told}))
			if at := runAt(); at != database.Micros(far) {
				t.Errorf("%s made a visit due", what)
			}
		}
		told := []catalog.Told{{Unit: id, Nonce: "n1"}}
		ok(t, w.NotifyChanges(ctx, "another tenant", told, time.Second, 0))
		if at := runAt(); at != database.Micros(far) {
			t.Error("what another tenant's source told made a visit due")
		}
		ok(t, w.NotifyChanges(ctx, contoso, told, time.Second, time.Minute))
		if at, want := runAt(), database.Micros(made.At.Add(time.Minute)); at != want {
			t.Errorf("the visit is due %d µs from when it should be", at-want)
		}
		w.pass(5 * time.Minute)
		rest()
		ok(t, w.NotifyChanges(ctx, contoso, told, time.Second, time.Minute))
		if at, want := runAt(), database.Micros(w.clock().Add(time.Second)); at != want {
			t.Errorf("the visit is due %d µs from when it should be", at-want)
		}
		ok(t, w.NotifyFates(ctx, contoso, told))
		s.Current = "d1"
		if due := must[[]catalog.Subscription](t)(w.DueSubscriptions(ctx, contoso, 9)); len(due) != 1 || due[0] != s {
			t.Errorf("after something became of it, due are %+v", due)
		}
		ok(t, w.DropSubscription(ctx, j, id))
		if due := must[[]catalog.Subscription](t)(w.DueSubscriptions(ctx, contoso, 9)); len(due) != 0 {
			t.Errorf("due are %+v, and it was forgotten", due)
		}
	})
}
