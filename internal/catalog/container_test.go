package catalog_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// The containers of a unit stand where the last commit left them, all together. A
// commit that loses changes none, a checkpoint leaves them, and what is taken up or
// destroyed has none.
func TestContainers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "Sites", Units: []backup.SubjectID{owner(1)}, By: w.by()}))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		u := w.units(p.ID)[owner(1)].ID
		j := w.claim(jobs.Backup)[string(u)]
		stands := func(want ...catalog.Container) catalog.DriveState {
			t.Helper()
			_, s, err := w.UnitForBackup(ctx, contoso, u)
			ok(t, err)
			if diff := cmp.Diff(want, s.Containers); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
			return s
		}
		at := time.Date(2026, 11, 27, 1, 2, 3, 0, time.UTC)
		one := catalog.Container{Drive: "b!one", Name: "Documents", WebURL: "https://x/Documents", Site: "x", Tree: "t1", Cursor: "c1", Full: at, Changed: at, Top: 3, Files: 1, Folders: 2, Bytes: 3,
			Pending: []backup.Unread{{Item: "i", Path: "a", Code: backup.ResourceLocked, Message: "m", Since: at, Attempts: 2, Next: at, Listed: "v", Held: true}}}
		two := catalog.Container{Drive: "b!two", Name: "Papers", Top: -1, Failed: &backup.Unread{Path: "Papers", Code: backup.AccessDenied, Message: "m", Since: at, Attempts: 1}}
		commit := catalog.Commit{Unit: u, Point: backup.Point{At: w.clock(), Tree: "t"}, State: catalog.DriveState{Drive: "site", Root: "r1", Tree: "t", Containers: []catalog.Container{one, two}}}
		must[backup.Point](t)(w.CommitPoint(ctx, j, commit))
		stands(one, two)
		if units := must[[]backup.UnitID](t)(w.DriveUnits(ctx, contoso, "b!two")); !cmp.Equal(units, []backup.UnitID{u}) {
			t.Errorf("units of a container = %v", units)
		}
		if units := must[[]backup.UnitID](t)(w.DriveUnits(ctx, fabrikam, "b!two")); len(units) > 0 {
			t.Errorf("units of another tenant's container = %v", units)
		}

		ok(t, w.WantSubscriptions(ctx, j))
		if due := must[[]catalog.Subscription](t)(w.DueSubscriptions(ctx, contoso, 10)); len(due) > 0 {
			t.Errorf("a site, which is no drive, is subscribed to: %+v", due)
		}

		lost := commit
		lost.PrevRoot, lost.State.Containers = "r0", []catalog.Container{}
		_, err := w.CommitPoint(ctx, j, lost)
		fails(t, "commit upon another root", err, catalog.ErrMoved)
		s := stands(one, two)

		far := s
		far.Root, far.Checkpoint = "r2", "t-far"
		ok(t, w.Checkpoint(ctx, j, catalog.Commit{Unit: u, PrevRoot: "r1", State: far}))
		stands(one, two)

		w.pass(time.Second)
		one.Cursor = "c2"
		next := catalog.Commit{Unit: u, PrevRoot: "r2", Point: backup.Point{At: w.clock(), Tree: "t2"}, State: catalog.DriveState{Drive: "site", Root: "r3", Tree: "t2", Containers: []catalog.Container{one}}}
		must[backup.Point](t)(w.CommitPoint(ctx, j, next))
		stands(one)

		must[backup.UnitID](t)(func() (backup.UnitID, error) {
			id, _, err := w.TakeUp(ctx, contoso, catalog.TakenUp{Workload: backup.SharePoint, Unit: u, Drive: "site", PrevRoot: "r3", Root: "r4", Tree: "t3"})
			return id, err
		}())
		if s := stands(); s.Root != "r4" || s.Tree != "t3" {
			t.Errorf("after it was taken up it is %+v", s)
		}
		one.Cursor = "c3"
		must[backup.Point](t)(w.CommitPoint(ctx, j, catalog.Commit{Unit: u, PrevRoot: "r4", Point: backup.Point{At: w.clock(), Tree: "t4"},
			State: catalog.DriveState{Drive: "site", Root: "r5", Tree: "t4", Containers: []catalog.Container{one}}}))
		stands(one)
		ok(t, w.ForgetDrive(ctx, j, catalog.DriveRoot{Unit: u, Drive: "site"}))
		if units := must[[]backup.UnitID](t)(w.DriveUnits(ctx, contoso, "b!one")); len(units) > 0 {
			t.Errorf("units of a container that is forgotten = %v", units)
		}
	})
}
