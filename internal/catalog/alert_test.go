package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

var alertTimes = catalog.AlertTimes{RPO: time.Hour, Failing: 4 * time.Hour, Unread: 72 * time.Hour, Waiting: 30 * time.Minute}

// watchJob returns the job by which a tenant is watched, as a worker has it.
func (w *world) watchJob() *jobs.Job {
	w.t.Helper()
	ok(w.t, w.db.Tx(w.t.Context(), func(tx *database.Tx) error {
		return w.queue.Enqueue(w.t.Context(), tx, jobs.Spec{Kind: jobs.Watch, Key: string(contoso), Tenant: contoso})
	}))
	claimed := must[[]*jobs.Job](w.t)(w.queue.Claim(w.t.Context(), jobs.Watch, 1, time.Minute, "test"))
	if len(claimed) != 1 {
		w.t.Fatalf("%d jobs claimed", len(claimed))
	}
	return claimed[0]
}

// watch brings alerts to what stands and returns what people are told: the news,
// the kind and the number. Each is one message to "ops".
func (w *world) watch() (told []string) {
	w.t.Helper()
	standing := must[[]backup.Condition](w.t)(w.Conditions(w.t.Context(), contoso, alertTimes, []jobs.Kind{jobs.Backup}))
	ok(w.t, w.KeepAlerts(w.t.Context(), w.watchJob(), backup.AlertKinds, standing, func(news []catalog.AlertNews) (all []backup.Message) {
		told = nil
		for _, n := range news {
			text := fmt.Sprint(n.News, " ", n.Kind, " ", n.Count)
			told = append(told, text)
			all = append(all, backup.Message{ID: backup.NewID[backup.MessageID](), Destination: "ops", Body: text})
		}
		return all
	}))
	w.free()
	return told
}

// What stands is an alert from when it was first seen until it was not seen for
// ten minutes, and people are told when it begins, grows, goes on and ends.
func TestAlerts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1), owner(2), owner(3))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		u := w.units(p.ID)
		fail := func(n int) {
			t.Helper()
			id := u[owner(n)].ID
			ok(t, w.FailUnit(ctx, w.claim(jobs.Backup)[string(id)], id, &backup.Problem{Code: backup.DriveUnavailable, Message: "The drive is away."}))
			w.free()
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, w.watch()); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", what, diff)
			}
		}
		w.backUp()
		w.pass(time.Minute)
		w.backUp()
		exec(t, w.db, `UPDATE job SET patient = 0`) // as it is once a drive has points
		expect("all is well")
		fail(1)
		began := w.clock()
		w.pass(3 * time.Hour)
		w.backUpBut(u[owner(1)].ID)
		expect("not for long yet")
		w.pass(time.Hour + time.Minute)
		w.backUpBut(u[owner(1)].ID)
		fail(1) // once more: it began before
		expect("it fails for long", "raised unitsFailing 1")
		open := must[[]backup.Alert](t)(w.Alerts(ctx, contoso, false, 10))
		if len(open) != 1 || len(open[0].Examples) != 1 || open[0].Examples[0].Name != string(owner(1)) || !open[0].Examples[0].Since.Equal(began) || open[0].Examples[0].Text != "The drive is away." {
			t.Fatalf("the alert: %+v", open)
		}
		expect("nothing new")
		fail(2)
		fail(3)
		w.pass(4*time.Hour + time.Minute)
		expect("it has grown, and jobs wait", "raised workWaits 1", "more unitsFailing 3")
		w.pass(23 * time.Hour)
		w.backUpBut()
		expect("over, perhaps")
		w.pass(5 * time.Minute)
		fail(1)
		expect("a new failure is none for long")
		w.pass(6 * time.Minute)
		w.backUpBut()
		expect("it is over", "resolved workWaits 1", "resolved unitsFailing 3")
		expect("and stays so")
		if open := must[[]backup.Alert](t)(w.Alerts(ctx, contoso, false, 10)); len(open) != 0 {
			t.Errorf("still open: %+v", open)
		}
		if all := must[[]backup.Alert](t)(w.Alerts(ctx, contoso, true, 10)); len(all) != 2 || all[0].Resolved.IsZero() {
			t.Errorf("of all that were: %+v", all)
		}
		if n := len(must[[]backup.Message](t)(w.WaitingMessages(ctx, contoso, "ops", 99))); n != 5 {
			t.Errorf("%d messages wait, want 5", n)
		}
		if n := len(w.claim(jobs.Tell)); n != 1 {
			t.Errorf("%d jobs send to one destination", n)
		}

		// What stays is told once a day.
		fail(1)
		w.pass(5 * time.Hour)
		w.backUpBut(u[owner(1)].ID)
		expect("again", "raised unitsFailing 1")
		for range 3 {
			w.pass(24 * time.Hour)
			w.backUpBut(u[owner(1)].ID)
			expect("still", "still unitsFailing 1")
		}
		// Whoever leaves is not failing.
		_, _, err := w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: u[owner(1)].ID}}})
		ok(t, err)
		w.settle()
		expect("left")
		w.pass(backup.AlertOver)
		w.backUpBut()
		expect("left for ten minutes", "resolved unitsFailing 1")
	})
}

// backUpBut makes a point of each unit but some, whatever their jobs' times.
func (w *world) backUpBut(others ...backup.UnitID) {
	w.t.Helper()
	for key, j := range w.claim(jobs.Backup) {
		unit := backup.UnitID(key)
		if slices.Contains(others, unit) {
			continue
		}
		_, s, err := w.UnitForBackup(w.t.Context(), j.Tenant, unit)
		ok(w.t, err)
		prev := s.Root
		s.Root = backup.NewID[string]()
		must[backup.Point](w.t)(w.CommitPoint(w.t.Context(), j, catalog.Commit{Unit: unit, PrevRoot: prev, State: s, Point: backup.Point{At: w.clock(), Tree: s.Tree}}))
	}
	w.free()
}

// An item is unread since when it first was, whatever happens to the drive's runs.
func TestUnreadSince(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		unit := w.units(p.ID)[owner(1)].ID
		began := w.clock()
		commit := func(unread ...backup.Unread) {
			t.Helper()
			_, s, err := w.UnitForBackup(ctx, contoso, unit)
			ok(t, err)
			prev := s.Root
			s.Drive, s.Root, s.Tree, s.Pending = "d", backup.NewID[string](), "t", unread
			must[backup.Point](t)(w.CommitPoint(ctx, w.claim(jobs.Backup)[string(unit)], catalog.Commit{
				Unit: unit, PrevRoot: prev, State: s, Point: backup.Point{At: w.clock(), Tree: "t", Unread: int64(len(unread))}, Problem: backup.Lacks(unread)}))
			w.free()
		}
		since := func() time.Time {
			t.Helper()
			for _, c := range must[[]backup.Condition](t)(w.Conditions(ctx, contoso, alertTimes, nil)) {
				if c.Kind == backup.AlertItemsUnread {
					return c.Examples[0].Since
				}
			}
			return time.Time{}
		}
		old, young := backup.Unread{Item: "1", Path: "/a", Since: began}, backup.Unread{Item: "2", Path: "/b", Since: began.Add(time.Hour)}
		commit(old)
		w.pass(24 * time.Hour)
		commit(young, old)
		if at := since(); !at.IsZero() {
			t.Errorf("after a day: %v", at)
		}
		w.pass(24 * time.Hour)
		ok(t, w.FailUnit(ctx, w.claim(jobs.Backup)[string(unit)], unit, &backup.Problem{Code: backup.DriveUnavailable, Message: "Away."}))
		w.free()
		w.pass(24*time.Hour + time.Minute)
		if at := since(); !at.Equal(began) {
			t.Errorf("while runs fail: %v, want %v", at, began)
		}
		commit(old)
		if at := since(); !at.Equal(began) {
			t.Errorf("after three days: %v, want %v", at, began)
		}
		commit(young)
		if at := since(); !at.IsZero() {
			t.Errorf("the other is younger: %v", at)
		}
		w.pass(time.Hour)
		if at := since(); !at.Equal(began.Add(time.Hour)) {
			t.Errorf("an hour later: %v", at)
		}
		commit()
		if at := since(); !at.IsZero() {
			t.Errorf("all are read: %v", at)
		}
	})
}

// Whoever is told of damage is told whose it is, as far as that is known.
func TestTheAlertOfDamageNamesOwners(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.units(w.policy("p", owner(1)).ID)
		ok(t, w.NoteDamage(t.Context(), contoso, []backup.Damage{
			{ID: "1", Tenant: contoso, Unit: u[owner(1)].ID, Drive: "a", Path: "a.txt", Content: "c", Reason: "Unreadable.", Found: w.clock()},
			{ID: "2", Tenant: contoso, Unit: "gone", Drive: "b", Path: "b.txt", Content: "d", Reason: "Unreadable.", Found: w.clock()},
		}))
		if told := w.watch(); !slices.Equal(told, []string{"raised vaultDamaged 2"}) {
			t.Fatalf("told: %v", told)
		}
		var names []string
		for _, e := range must[[]backup.Alert](t)(w.Alerts(t.Context(), contoso, false, 10))[0].Examples {
			names = append(names, e.Name)
		}
		if want := []string{string(owner(1)) + ": a.txt", "b.txt"}; !slices.Equal(names, want) {
			t.Errorf("named are %q, want %q", names, want)
		}
	})
}

// Ten thousand failing units are counted and the first few are named by indexes,
// and they are one alert and one message.
func TestManyFailingUnitsAreOneAlert(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		fill(w, 12_000, 0)
		at := database.Micros(w.clock().Add(-10 * time.Hour))
		exec(t, db, fmt.Sprintf(`UPDATE unit SET problem = '{"code":"DriveUnavailable","message":"Away."}', failed_since = %d, unread_since = %d WHERE policy <> ''`, at, at-1))
		exec(t, db, fmt.Sprintf(`INSERT INTO rpo (unit, tenant, newest, promised, due, points, late, longest) SELECT id, tenant, %d, 1, %d + 1, 0, 0, 0 FROM unit WHERE policy <> ''`, at, at))
		if db.Dialect() == database.Postgres {
			exec(t, db, `ANALYZE`)
		}
		if told := w.watch(); !slices.Contains(told, "raised unitsFailing 10000") || !slices.Contains(told, "raised rpoMissed 10000") {
			t.Errorf("told: %v", told)
		}
		for _, a := range must[[]backup.Alert](t)(w.Alerts(t.Context(), contoso, false, 10)) {
			if !a.More || len(a.Examples) != 5 {
				t.Errorf("%s: more %v, %d named", a.Kind, a.More, len(a.Examples))
			}
		}
		if db.Dialect() == database.SQLite { // PostgreSQL is told by the rows it visits, which here are those that are counted
			checkPlans(t, db, "conditions", func(ctx context.Context) error {
				_, err := w.Conditions(ctx, contoso, alertTimes, []jobs.Kind{jobs.Backup})
				return err
			}, 7)
		}
		checkPlans(t, db, "what waits", func(ctx context.Context) error {
			_, err := w.WaitingMessages(ctx, contoso, "ops", 10)
			return err
		}, 1)
	})
}

// A worker that has lost its job tells nobody anything.
func TestLostWatchTellsNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		lost := w.watchJob()
		w.free()
		err := w.KeepAlerts(t.Context(), lost, backup.AlertKinds, []backup.Condition{{Kind: backup.AlertVaultUnavailable, Count: 1}}, func([]catalog.AlertNews) []backup.Message {
			return []backup.Message{{ID: "m", Destination: "ops"}}
		})
		fails(t, "with a lost job", err, jobs.ErrLost)
		if n := len(must[[]backup.Message](t)(w.Messages(t.Context(), contoso, 9))); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}
