package catalog_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// held is a point of the vault.
func held(at time.Time, tree string) catalog.TakenPoint {
	return catalog.TakenPoint{Point: backup.Point{At: at, Tree: tree, Files: 3, Folders: 2, Bytes: 1, Unread: 4}}
}

// A catalog that has lost everything takes the points of the vault up, and
// keeps none for a shorter time than it was kept.
func TestTakeUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		unit := backup.NewID[backup.UnitID]()
		now := w.clock() // Wednesday
		at := func(days int) time.Time { return now.AddDate(0, 0, -days) }
		found := catalog.TakenUp{
			Workload: backup.OneDrive, Unit: unit, Owner: user(1), Policy: "gone", Drive: "d", Root: "r1", Tree: "t4", Pending: []backup.Unread{{Item: "i", Path: "/i", Code: backup.ItemIncomplete}},
			Points: []catalog.TakenPoint{held(at(1), "t4"), held(at(300), "t0"), held(at(289), "t1"), held(at(288), "t2"), held(at(287), "t3")},
		}
		u, n, err := w.TakeUp(ctx, contoso, found)
		ok(t, err)
		if u != unit || n != 5 {
			t.Errorf("took up %d points of unit %s, want 5 of %s", n, u, unit)
		}
		got := must[backup.Unit](t)(w.Unit(ctx, contoso, u))
		if got.Subject != owner(1) || got.Status != backup.UnitUnprotected || got.Policy != "" || got.Name != user(1).DisplayName {
			t.Errorf("unit = %+v", got)
		}
		_, s, err := w.UnitForRestore(ctx, contoso, u)
		ok(t, err)
		if diff := cmp.Diff(catalog.DriveState{Drive: "d", Vault: 1, Root: "r1", Tree: "t4", Pending: found.Pending, Top: -1}, s); diff != "" {
			t.Errorf("drive (-want +got):\n%s", diff)
		}

		type row struct {
			Tree    string
			At      time.Time
			Expires time.Time
		}
		var rows []row
		list := func() []row {
			rows = nil
			for _, p := range must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u, Oldest: true})).Items {
				rows = append(rows, row{p.Tree, p.At, p.Expires})
			}
			return rows
		}
		want := []row{
			{"t0", at(300), at(289).AddDate(1, 0, 0)}, // a week began while the drive was so
			{"t1", at(289), at(288).AddDate(1, 0, 0)}, // Monday's, perhaps the first of its week
			{"t2", at(288), now.Add(week)},            // Tuesday's, long over
			{"t3", at(287), at(1).AddDate(1, 0, 0)},   // the drive stayed so for most of a year
			{"t4", at(1), now.AddDate(1, 0, 0)},       // until now, perhaps the first of its week
		}
		if diff := cmp.Diff(want, list()); diff != "" {
			t.Errorf("points (-want +got):\n%s", diff)
		}

		// Again: nothing. What expires stays away, although the vault still has it.
		_, n, err = w.TakeUp(ctx, contoso, found)
		if n != 0 || err != nil {
			t.Errorf("took up %d points once more, %v", n, err)
		}
		w.pass(week + time.Hour)
		if n := w.expired(); n != 1 {
			t.Errorf("%d points expired, want t2", n)
		}
		if _, n, err = w.TakeUp(ctx, contoso, found); n != 0 || err != nil {
			t.Errorf("took up %d points that have expired, %v", n, err)
		}
		trim := must[[]catalog.DriveRoot](t)(w.DrivesToTrim(ctx, contoso))
		if !slices.Equal(trim, []catalog.DriveRoot{{Unit: u, Drive: "d", Root: "r1", Vault: 1}}) {
			t.Errorf("to trim: %v", trim)
		}

		// Others do not get it.
		moved := found
		moved.Root, moved.PrevRoot = "r2", "r0"
		_, _, err = w.TakeUp(ctx, contoso, moved)
		fails(t, "a drive that moved", err, catalog.ErrMoved)
		u2, n, err := w.TakeUp(ctx, fabrikam, found)
		if u2 == u || n != 5 || err != nil {
			t.Errorf("another tenant took up %d points of unit %s, %v", n, u2, err)
		}
		if log := w.activities(); !slices.ContainsFunc(log, func(a backup.Activity) bool {
			return a.Operation == backup.PointsTakenUpActivity && a.Object == string(u)
		}) {
			t.Errorf("log = %+v", log)
		}
	})
}

// A catalog that is a day older than the vault takes up what it lacks.
func TestTakeUpOfAnOlderCatalog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.protect(owner(1))
		p := w.backUpTree(u.ID, "d", "t1")
		w.pass(time.Hour)
		w.backUpTree(u.ID, "d", "t1") // nothing new
		last := w.clock()
		_, s, err := w.UnitForBackup(ctx, contoso, u.ID)
		ok(t, err)
		w.pass(10 * aDay)
		found := catalog.TakenUp{
			Workload: backup.OneDrive, Unit: u.ID, Drive: "d", PrevRoot: s.Root, Root: "newer", Tree: "t1",
			Points: []catalog.TakenPoint{held(p.At.Truncate(time.Millisecond), "t1"), held(last.Add(8*aDay), "t2"), held(last.Add(9*aDay), "t1")},
		}
		if _, n, err := w.TakeUp(ctx, contoso, found); n != 2 || err != nil {
			t.Fatalf("took up %d points, want 2: %v", n, err)
		}
		// Wednesday's is the first of its week, and what stood from then to
		// Thursday of the next is the next week's; then each is of its own day.
		var got []string
		for _, p := range must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID, Oldest: true})).Items {
			if p.Drive == "d" {
				got = append(got, fmt.Sprint(p.Tree, " ", int(p.Expires.Sub(p.At)/aDay)))
			}
		}
		if want := []string{"t1 365", "t1 373", "t2 366", "t1 15"}; !slices.Equal(got, want) {
			t.Errorf("points live %v days, want %v", got, want)
		}
		_, s, err = w.UnitForBackup(ctx, contoso, u.ID)
		if s.Cursor != "" || s.Tree != "t1" || s.Root != "newer" || err != nil {
			t.Errorf("drive = %+v, %v", s, err)
		}
	})
}

// Whose a drive is, as far as the catalog knows better than the vault.
func TestTakeUpFindsTheUnit(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		in := w.policy("in force")
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, in.ID, w.by()))
		var drive backup.DriveID
		take := func(u backup.UnitID, o backup.Subject, p backup.PolicyID) (backup.UnitID, error) {
			t.Helper()
			drive = backup.NewID[backup.DriveID]()
			got, _, err := w.TakeUp(ctx, contoso, catalog.TakenUp{Workload: backup.OneDrive, Unit: u, Owner: o, Policy: p, Drive: drive, Root: "r", Tree: "t",
				Points: []catalog.TakenPoint{held(w.clock(), "t")}})
			return got, err
		}
		named := backup.NewID[backup.UnitID]()
		if u := must[backup.UnitID](t)(take(named, user(1), in.ID)); u != named {
			t.Errorf("unit %s, want %s as it is free", u, named)
		}
		if got := must[backup.Unit](t)(w.Unit(ctx, contoso, named)); got.Policy != in.ID || got.Status != backup.UnitProtectRequested || w.claim(jobs.Backup)[string(named)] == nil {
			t.Errorf("a unit of a policy in force = %+v, want it to be backed up", got)
		}
		if u := must[backup.UnitID](t)(take(backup.NewID[backup.UnitID](), user(1), "")); u != named {
			t.Errorf("another unit of the same owner: %s, want the one there is, %s", u, named)
		}
		mailbox, _, err := w.TakeUp(ctx, contoso, catalog.TakenUp{Workload: backup.Exchange, Owner: user(1), Policy: in.ID, Drive: "mailbox", Root: "r", Tree: "t",
			Points: []catalog.TakenPoint{held(w.clock(), "t")}})
		ok(t, err)
		if got := must[backup.Unit](t)(w.Unit(ctx, contoso, mailbox)); got.ID == named || got.Workload != backup.Exchange || got.Subject != owner(1) || got.Policy != "" {
			t.Errorf("a mailbox's unit = %+v, want one of its own, not in a policy of drives", got)
		}
		if u := must[backup.UnitID](t)(take(named, backup.Subject{}, "")); u != named {
			t.Errorf("unit %s, want %s", u, named)
		}
		if u := must[backup.UnitID](t)(take("", user(2), "")); u == named || u == "" {
			t.Errorf("unit %q of an owner without one", u)
		}
		if u, _, err := w.TakeUp(ctx, contoso, catalog.TakenUp{Workload: backup.OneDrive, Unit: named, Owner: user(1), Drive: drive, PrevRoot: "r", Root: "r2"}); u == named || err != nil {
			t.Errorf("unit %s, %v, want the one that the catalog has the drive of", u, err)
		}
		if _, err := take("", backup.Subject{}, ""); err == nil {
			t.Error("a drive of nobody was taken up")
		}
		exec(t, w.db, `UPDATE unit SET status = 'offboarded' WHERE id = $1`, string(named))
		_, err = take(named, user(1), "")
		fails(t, "a unit whose backups were given up", err, catalog.ErrNotWanted)
	})
}
