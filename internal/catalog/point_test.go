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

// protect makes a policy in force with one unit, backed up once.
func (w *world) protect(o backup.SubjectID) backup.Unit {
	w.t.Helper()
	p := w.policy("p", o)
	must[backup.Policy](w.t)(w.ActivatePolicy(w.t.Context(), contoso, p.ID, w.by()))
	w.backUp()
	return w.units(p.ID)[o]
}

func TestCommitPoint(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		u := w.units(p.ID)[owner(1)].ID
		unit, none, err := w.UnitForBackup(ctx, contoso, u)
		ok(t, err)
		if unit.Status != backup.UnitProtectRequested || !cmp.Equal(none, catalog.DriveState{}) {
			t.Errorf("unit for its first backup = %+v, %+v", unit, none)
		}
		j := w.claim(jobs.Backup)[string(u)]

		first := catalog.Commit{Unit: u, Point: backup.Point{At: w.clock(), Tree: "t1", Files: 3, Folders: 2, Bytes: 1},
			State: catalog.DriveState{Drive: "d", Vault: 1, Root: "r1", Tree: "t1", Cursor: "c1", Pending: []backup.Unread{{Item: "i", Path: "/a", Code: backup.ItemsNotBackedUp, Message: "m", Attempts: 2}}}}
		wrong := first
		wrong.PrevRoot = "r0"
		_, err = w.CommitPoint(ctx, j, wrong)
		fails(t, "commit upon a root that never was", err, catalog.ErrMoved)
		if got := w.units(p.ID)[owner(1)].Status; got != backup.UnitProtectRequested {
			t.Errorf("a refused commit left the unit %s", got)
		}
		point := must[backup.Point](t)(w.CommitPoint(ctx, j, first))
		if diff := cmp.Diff(point, must[backup.Point](t)(w.Point(ctx, contoso, point.ID))); diff != "" {
			t.Errorf("point (-committed +read):\n%s", diff)
		}
		_, s, err := w.UnitForBackup(ctx, contoso, u)
		ok(t, err)
		if diff := cmp.Diff(first.State, s); diff != "" {
			t.Errorf("drive (-committed +read):\n%s", diff)
		}
		_, err = w.CommitPoint(ctx, j, first)
		fails(t, "the same commit again", err, catalog.ErrMoved)

		// Nothing new, but something stands against the unit.
		problem := &backup.Problem{Code: backup.ItemsNotBackedUp, Message: "One file could not be read."}
		w.pass(time.Second)
		again := catalog.Commit{Unit: u, PrevRoot: "r1", State: s, Point: first.Point, Problem: problem}
		again.Point.At = w.clock()
		must[backup.Point](t)(w.CommitPoint(ctx, j, again))
		if got := w.units(p.ID)[owner(1)]; got.Status != backup.UnitProtected || !cmp.Equal(got.Problem, problem) {
			t.Errorf("unit = %+v", got)
		}
		w.pass(time.Second)
		again.Problem, again.Point.At = nil, w.clock()
		must[backup.Point](t)(w.CommitPoint(ctx, j, again))
		if got := w.units(p.ID)[owner(1)]; got.Problem != nil {
			t.Errorf("a problem that is over still stands: %+v", got.Problem)
		}

		// Of two workers that began from one root, one wins, whoever holds the
		// lease: the first lost it while it was away.
		w.pass(2 * time.Minute)
		j2 := w.claim(jobs.Backup)[string(u)]
		third := catalog.Commit{Unit: u, PrevRoot: "r1", State: catalog.DriveState{Drive: "d", Root: "r2"}, Point: backup.Point{At: w.clock(), Tree: "t2"}}
		_, err = w.CommitPoint(ctx, j, third)
		fails(t, "commit of a worker that lost its lease", err, jobs.ErrLost)
		fails(t, "failure of a worker that lost its lease", w.FailUnit(ctx, j, u, problem), jobs.ErrLost)
		won := 0
		for _, err := range together(2, func(int) error { _, err := w.CommitPoint(ctx, j2, third); return err }) {
			if err == nil {
				won++
			} else {
				fails(t, "commit at once", err, catalog.ErrMoved)
			}
		}
		if won != 1 {
			t.Errorf("%d commits upon one root went through, want 1", won)
		}
		// A long run makes safe how far it has come.
		far := catalog.Commit{Unit: u, PrevRoot: "r2", State: catalog.DriveState{Drive: "d", Root: "r3", Tree: "partial"}}
		ok(t, w.Checkpoint(ctx, j2, far))
		fails(t, "the same checkpoint again", w.Checkpoint(ctx, j2, far), catalog.ErrMoved)
		if l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u})); len(l.Items) != 4 {
			t.Errorf("%d points after a checkpoint, want the 4 before", len(l.Items))
		}
		if trim := must[[]catalog.DriveRoot](t)(w.DrivesToTrim(ctx, contoso)); !cmp.Equal(trim, []catalog.DriveRoot{{u, "d", "r3", 1}}) {
			t.Errorf("drives to trim = %v", trim)
		}
		// A restore keeps what it is about to change, also of a unit that is not
		// to be backed up any more.
		_, _, err = w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: u}}})
		ok(t, err)
		_, s, err = w.UnitForRestore(ctx, contoso, u)
		ok(t, err)
		kept := catalog.Commit{Unit: u, PrevRoot: s.Root, State: catalog.DriveState{Drive: "d", Root: "r4"}, Point: backup.Point{At: w.clock(), Tree: "t4"}}
		fails(t, "commit of a unit that is going", second(w.CommitPoint(ctx, j2, kept)), catalog.ErrNotWanted)
		must[backup.Point](t)(w.KeepPoint(ctx, j2, kept))
		if got := w.units(p.ID)[owner(1)].Status; got != backup.UnitRemoveRequested {
			t.Errorf("a kept point left the unit %s", got)
		}
		w.add(p.ID, owner(1))

		// The owner was given another drive.
		must[backup.Point](t)(w.CommitPoint(ctx, j2, catalog.Commit{Unit: u, State: catalog.DriveState{Drive: "d2", Root: "r9"}, Point: backup.Point{At: w.clock(), Tree: "t9"}}))
		w.pass(time.Second)
		for drive, want := range map[backup.DriveID]string{"d2": "r9", "d": "r4", "other": ""} {
			if root, vault, err := w.Root(ctx, contoso, drive); err != nil || root != want || vault != 1 {
				t.Errorf("Root(%s) = %q in vault %d, %v, want %q in the first", drive, root, vault, err, want)
			}
		}
		if roots := must[map[backup.DriveID]string](t)(w.Roots(ctx, backup.FirstVault(contoso))); !cmp.Equal(roots, map[backup.DriveID]string{"d": "r4", "d2": "r9"}) {
			t.Errorf("roots = %v", roots)
		}
	})
}

// A year of points: which are kept, which restore faster, and what goes.
func TestPointsInTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.protect(owner(1)).ID // Wednesday 18 November 2026, 09:00, the first of its week
		at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC) }
		w.now = at(18, 23)
		w.backUp2(u)
		w.now = at(19, 0)
		w.backUp2(u)
		w.now = at(22, 12) // Sunday
		w.backUp2(u)
		w.now = at(23, 0) // Monday: a week begins
		w.backUp2(u)
		w.now = at(23, 1)
		w.backUp2(u)

		type row struct {
			At   string
			Tags backup.PointTags
			Kept string
		}
		const form = "2 15"
		rows := func(l catalog.List[backup.Point]) (rows []row) {
			for _, p := range l.Items {
				rows = append(rows, row{p.At.Format(form), p.Tags, p.Expires.Sub(p.At).String()})
			}
			return rows
		}
		const two, year = "336h0m0s", "8760h0m0s"
		all := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u}))
		if diff := cmp.Diff([]row{
			{"23 01", backup.TagFastRestore, two},
			{"23 00", backup.TagFastRestore, year},
			{"22 12", backup.TagFastRestore, two},
			{"19 00", backup.TagFastRestore, two},
			{"18 23", backup.TagFastRestore, two},
			{"18 09", backup.TagFastRestore, year},
		}, rows(all)); diff != "" {
			t.Errorf("points (-want +got):\n%s", diff)
		}
		w.now = at(23, 2)
		w.backUp2(u)
		newest := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u, Page: catalog.Page{Limit: 3}}))
		if diff := cmp.Diff([]row{{"23 02", backup.TagFastRestore, two}, {"23 01", backup.TagNone, two}, {"23 00", backup.TagFastRestore, year}}, rows(newest)); diff != "" {
			t.Errorf("newest points (-want +got):\n%s", diff)
		}

		// Bounds, order and pages.
		for _, tc := range []struct {
			name string
			q    catalog.PointQuery
			want []string
		}{
			{"before", catalog.PointQuery{To: at(19, 0)}, []string{"18 23", "18 09"}},
			{"until", catalog.PointQuery{To: at(19, 0), ToIncl: true}, []string{"19 00", "18 23", "18 09"}},
			{"after", catalog.PointQuery{From: at(22, 12)}, []string{"23 02", "23 01", "23 00"}},
			{"between, oldest first", catalog.PointQuery{From: at(22, 12), FromIncl: true, To: at(23, 2), Oldest: true}, []string{"22 12", "23 00", "23 01"}},
			{"untagged", catalog.PointQuery{Tags: backup.TagNone}, []string{"23 01"}},
			{"skipping", catalog.PointQuery{Page: catalog.Page{Limit: 2, Skip: 5}}, []string{"18 23", "18 09"}},
		} {
			tc.q.Unit = u
			var got []string
			for _, r := range rows(must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, tc.q))) {
				got = append(got, r.At)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s: points = %v, want %v", tc.name, got, tc.want)
			}
		}
		q := catalog.PointQuery{Unit: u, Page: catalog.Page{Limit: 2, Count: true}}
		var paged []row
		for {
			l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, q))
			if l.Total != 7 {
				t.Errorf("total = %d, want 7", l.Total)
			}
			paged = append(paged, rows(l)...)
			if q.After = l.Next; l.Next == "" {
				break
			}
		}
		if len(paged) != 7 {
			t.Errorf("pages hold %d points, want 7", len(paged))
		}

		// One of each unit.
		u2 := w.protect(owner(2)).ID
		found := must[catalog.PointsFound](t)(w.SearchPoints(ctx, contoso, catalog.PointSearch{Units: []backup.UnitID{"nobody", u2, u, u2}}))
		if len(found.Points) != 2 || found.Points[0].Unit != u2 || !found.Points[1].At.Equal(at(23, 2)) || !slices.Equal(found.Missing, []backup.UnitID{"nobody"}) {
			t.Errorf("found = %+v", found)
		}
		found = must[catalog.PointsFound](t)(w.SearchPoints(ctx, contoso, catalog.PointSearch{Units: []backup.UnitID{u2, u}, Oldest: true, From: at(18, 10), To: at(23, 1), Tags: backup.TagFastRestore}))
		if len(found.Points) != 1 || !found.Points[0].At.Equal(at(18, 23)) || !slices.Equal(found.Missing, []backup.UnitID{u2}) {
			t.Errorf("found = %+v", found)
		}

		// Two weeks later the weekly points remain, at once in what is listed,
		// and with the job's work in what is kept. One that is being restored
		// stays until that has ended.
		w.now = at(23, 3).AddDate(0, 0, 1)
		restored := all.Items[2] // Sunday's
		s := must[backup.Session](t)(w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, []catalog.NewArtifact{{Point: restored.ID, Destination: backup.DestinationNew}}, w.by()))
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		w.now = at(23, 3).AddDate(0, 0, 14)
		_, err := w.Point(ctx, contoso, newest.Items[1].ID)
		fails(t, "an expired point", err, backup.InvalidRestorePoint)
		l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u}))
		if got := rows(l); len(got) != 2 || got[0].At != "23 00" || got[1].At != "18 09" {
			t.Errorf("points after two weeks = %v", got)
		}
		w.now = at(24, 0).AddDate(0, 0, 14) // the points of a day may go together
		ok(t, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(contoso), Tenant: contoso}))
		j := w.claim(jobs.Expire)[string(contoso)]
		if n := must[int64](t)(w.ExpirePoints(ctx, j)); n != 5 { // two of them were made at one time
			t.Errorf("%d points expired, want 5", n)
		}
		trim := must[[]catalog.DriveRoot](t)(w.DrivesToTrim(ctx, contoso))
		if len(trim) != 1 || trim[0].Unit != u {
			t.Fatalf("drives to trim = %v, want that of unit %s", trim, u)
		}
		live := must[[]string](t)(w.LiveTrees(ctx, contoso, u, trim[0].Drive))
		if !slices.Contains(live, restored.Tree) || !slices.Contains(live, "t") {
			t.Errorf("live trees = %v", live)
		}
		a := must[catalog.List[backup.Artifact]](t)(w.Artifacts(ctx, contoso, s.ID, catalog.Page{})).Items[0]
		ok(t, w.FinishArtifact(ctx, w.claim(jobs.Restore)[string(a.ID)], a.ID, catalog.Restored{}, nil))
		if n := must[int64](t)(w.ExpirePoints(ctx, j)); n != 1 {
			t.Errorf("%d points expired after the restore, want 1", n)
		}

		moved := trim[0]
		moved.Root = "another"
		fails(t, "trim of a drive that moved", w.CommitTrim(ctx, j, moved, "r"), catalog.ErrMoved)
		ok(t, w.CommitTrim(ctx, j, trim[0], "trimmed"))
		if again := must[[]catalog.DriveRoot](t)(w.DrivesToTrim(ctx, contoso)); len(again) != 0 {
			t.Errorf("drives to trim after trimming = %v", again)
		}
		if roots := must[map[backup.DriveID]string](t)(w.Roots(ctx, backup.FirstVault(contoso))); roots[trim[0].Drive] != "trimmed" {
			t.Errorf("roots = %v", roots)
		}
	})
}

func TestDirectory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		cursor, at, err := w.DirectoryCursor(ctx, contoso)
		if cursor != "" || !at.IsZero() || err != nil {
			t.Errorf("cursor of a new tenant = %q, %v, %v", cursor, at, err)
		}
		begin := w.clock()
		renamed := user(1)
		renamed.DisplayName = "Renamed"
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{user(1), user(2), user(3), renamed}}))
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Cursor: "c1", Since: begin}))
		if cursor, at, err = w.DirectoryCursor(ctx, contoso); cursor != "c1" || !at.Equal(begin) || err != nil {
			t.Errorf("cursor = %q, %v, %v", cursor, at, err)
		}
		if u, found, err := w.DirectoryUser(ctx, contoso, owner(1)); err != nil || !found || u != renamed {
			t.Errorf("user = %+v, %v, %v; want the last of two", u, found, err)
		}
		// Another full enumeration does not meet user 2; user 3 is removed.
		w.pass(time.Hour)
		begin = w.clock()
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{user(1), user(3)}}))
		w.pass(time.Minute)
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Removed: []backup.SubjectID{owner(3)}, Since: begin}))
		var there []int
		for n := range 4 {
			if _, found, err := w.DirectoryUser(ctx, contoso, owner(n)); err != nil {
				t.Fatal(err)
			} else if found {
				there = append(there, n)
			}
		}
		if fmt.Sprint(there) != "[1]" {
			t.Errorf("users = %v, want [1]", there)
		}
	})
}
