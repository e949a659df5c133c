package catalog_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// sorted returns a list in the order of its texts.
func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// backupJob claims the backup of a unit.
func (w *world) backupJob(u backup.UnitID) *jobs.Job {
	w.t.Helper()
	w.free()
	j := w.claim(jobs.Backup)[string(u)]
	if j == nil {
		w.t.Fatalf("unit %s has no backup job", u)
	}
	return j
}

// unbacked returns a unit of a policy in force that was not backed up yet.
func (w *world) unbacked(o backup.SubjectID) backup.UnitID {
	w.t.Helper()
	p := w.policy("p", o)
	must[backup.Policy](w.t)(w.ActivatePolicy(w.t.Context(), contoso, p.ID, w.by()))
	return w.units(p.ID)[o].ID
}

// backUpTree makes a point of a tree.
func (w *world) backUpTree(u backup.UnitID, drive backup.DriveID, tree string) backup.Point {
	w.t.Helper()
	j := w.backupJob(u)
	_, s, err := w.UnitForBackup(w.t.Context(), contoso, u)
	ok(w.t, err)
	prev := s.Root
	if s.Drive != drive {
		prev, s = "", catalog.DriveState{Drive: drive}
	}
	s.Root, s.Tree = backup.NewID[string](), tree
	p := must[backup.Point](w.t)(w.CommitPoint(w.t.Context(), j, catalog.Commit{Unit: u, PrevRoot: prev, State: s, Point: backup.Point{At: w.clock(), Tree: tree}}))
	w.free()
	return p
}

func TestVaultIsKnown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if id := must[string](t)(w.VaultID(ctx, backup.FirstVault(contoso))); id != "" {
			t.Errorf("the vault of a new tenant is %q", id)
		}
		if err := w.KnowVault(ctx, backup.FirstVault(contoso), ""); err == nil {
			t.Error("no id is known as one")
		}
		ok(t, w.KnowVault(ctx, backup.FirstVault(contoso), "one"))
		ok(t, w.KnowVault(ctx, backup.FirstVault(contoso), "one"))
		fails(t, "another", w.KnowVault(ctx, backup.FirstVault(contoso), "two"), catalog.ErrOtherVault)
		ok(t, w.KnowVault(ctx, backup.FirstVault(fabrikam), "two"))
		if id := must[string](t)(w.VaultID(ctx, backup.FirstVault(contoso))); id != "one" {
			t.Errorf("the vault is %q, want one", id)
		}
		if err := w.AcceptVault(ctx, backup.FirstVault(contoso), "", backup.IdentitySet{}); err == nil {
			t.Error("no id is accepted as one")
		}
		ok(t, w.AcceptVault(ctx, backup.FirstVault(contoso), "two", backup.IdentitySet{User: backup.Identity{DisplayName: "ann"}}))
		fails(t, "the one before", w.KnowVault(ctx, backup.FirstVault(contoso), "one"), catalog.ErrOtherVault)
		if id := must[string](t)(w.VaultID(ctx, backup.FirstVault(contoso))); id != "two" {
			t.Errorf("the vault is %q, want two", id)
		}
		var log []string
		for _, a := range w.activities() {
			log = append(log, a.Operation+" "+a.Object+" "+a.By.User.DisplayName)
		}
		if want := []string{"VaultKnown one ", "VaultAccepted two ann"}; !cmp.Equal(sorted(log), sorted(want)) {
			t.Errorf("log = %v, want %v", log, want)
		}
	})
}

// A checkpoint does not take the place of the last complete tree, and goes with
// the next point.
func TestCheckpointIsNoPoint(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.protect(owner(1)).ID
		j := w.backupJob(u)
		_, before, err := w.UnitForBackup(ctx, contoso, u)
		ok(t, err)
		before.Cursor, before.Full = "c1", w.clock().Add(-time.Hour)
		must[backup.Point](t)(w.CommitPoint(ctx, j, catalog.Commit{Unit: u, PrevRoot: before.Root, State: before, Point: backup.Point{At: w.clock(), Tree: before.Tree, Unread: 7}}))

		far := before
		far.Root, far.Checkpoint = "r-far", "t-far"
		ok(t, w.Checkpoint(ctx, j, catalog.Commit{Unit: u, PrevRoot: before.Root, State: far}))
		_, s, err := w.UnitForBackup(ctx, contoso, u)
		ok(t, err)
		if diff := cmp.Diff(far, s); diff != "" || s.Tree != before.Tree || s.Cursor != "c1" {
			t.Errorf("after a checkpoint (-want +got):\n%s", diff)
		}
		live := must[[]string](t)(w.LiveTrees(ctx, contoso, u, s.Drive))
		if want := []string{before.Tree, "t-far"}; !cmp.Equal(sorted(live), sorted(want)) {
			t.Errorf("live trees = %v, want %v", live, want)
		}

		s.Tree, s.Root = "t-new", "r-new"
		p := must[backup.Point](t)(w.CommitPoint(ctx, j, catalog.Commit{Unit: u, PrevRoot: "r-far", State: s, Point: backup.Point{At: w.clock(), Tree: "t-new"}}))
		_, s, err = w.UnitForBackup(ctx, contoso, u)
		ok(t, err)
		if s.Checkpoint != "" || s.Tree != "t-new" || p.Unread != 0 {
			t.Errorf("after the next point the drive is %+v", s)
		}
		// A first backup's checkpoint leaves no tree.
		u2 := w.unbacked(owner(2))
		ok(t, w.Checkpoint(ctx, w.backupJob(u2), catalog.Commit{Unit: u2, State: catalog.DriveState{Drive: "d2", Root: "r", Checkpoint: "t-first"}}))
		_, s, err = w.UnitForBackup(ctx, contoso, u2)
		ok(t, err)
		if diff := cmp.Diff(catalog.DriveState{Drive: "d2", Vault: 1, Root: "r", Checkpoint: "t-first"}, s); diff != "" {
			t.Errorf("after a first checkpoint (-want +got):\n%s", diff)
		}
	})
}

// A lost point is shown, and nothing is made of it.
func TestLostPoints(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.protect(owner(1))
		old := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID})).Items[0]
		w.pass(time.Hour)
		lost := w.backUpTree(u.ID, old.Drive, "t2")
		s := w.session(lost)
		draft := w.session(lost)
		b := must[backup.BrowseSession](t)(w.CreateBrowseSession(ctx, contoso, backup.OneDrive, lost.ID, w.by()))
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))

		mark := func(tenant backup.TenantID, drive backup.DriveID, lost bool, want int64) {
			t.Helper()
			if n := must[int64](t)(w.MarkLost(ctx, tenant, drive, []string{"t2", "unknown"}, lost)); n != want {
				t.Errorf("MarkLost(%v) = %d, want %d", lost, n, want)
			}
		}
		mark(contoso, old.Drive, true, 1)
		mark(contoso, old.Drive, true, 0)
		mark(fabrikam, old.Drive, false, 0)
		mark(contoso, "another", false, 0)

		if p := must[backup.Point](t)(w.Point(ctx, contoso, lost.ID)); !p.Lost {
			t.Error("a lost point does not say so")
		}
		l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID}))
		if len(l.Items) != 2 || !l.Items[0].Lost || l.Items[1].Lost {
			t.Errorf("listed: %+v", l.Items)
		}
		found := must[catalog.PointsFound](t)(w.SearchPoints(ctx, contoso, catalog.PointSearch{Units: []backup.UnitID{u.ID}}))
		if len(found.Points) != 1 || found.Points[0].ID != old.ID {
			t.Errorf("the latest point to restore is %+v, want the one that is not lost", found.Points)
		}
		_, err := w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, []catalog.NewArtifact{{Point: lost.ID, Destination: backup.DestinationNew}}, w.by())
		fails(t, "a session of a lost point", err, backup.InvalidRestorePoint)
		_, err = w.CreateBrowseSession(ctx, contoso, backup.OneDrive, lost.ID, w.by())
		fails(t, "browsing a lost point", err, backup.InvalidRestorePoint)
		b = must[backup.BrowseSession](t)(w.BrowseSession(ctx, contoso, b.ID))
		fails(t, "browsing on in a lost point", b.Browsable(), backup.InvalidRestorePoint)
		_, err = w.CreateGranularSession(ctx, contoso, backup.OneDrive, []catalog.NewGranular{{Browse: b, Key: "k", Item: backup.Item{ID: "i", Name: "n"}}}, w.by())
		fails(t, "a file of a lost point", err, backup.InvalidRestorePoint)
		// What was asked for before.
		a := w.artifacts(s.ID)[0]
		if !a.Point.Lost {
			t.Error("an artifact does not say that its point is lost")
		}
		fails(t, "the restore of a lost point", w.StartArtifact(ctx, w.claim(jobs.Restore)[string(a.ID)], a.ID), backup.InvalidRestorePoint)

		mark(contoso, old.Drive, false, 1)
		if p := must[backup.Point](t)(w.Point(ctx, contoso, lost.ID)); p.Lost {
			t.Error("a point that is back is still lost")
		}
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, draft.ID, w.by()))
		var log []string
		for _, a := range w.activities() {
			log = append(log, a.Operation+" "+string(a.Result))
		}
		if want := []string{"RestorePointsLost failed", "RestorePointsFound succeeded"}; !cmp.Equal(sorted(log), sorted(want)) {
			t.Errorf("log = %v, want %v", log, want)
		}
	})
}

// A file that was chosen while its point was whole is not looked for in a lost
// one.
func TestLostPointEndsGranularRestore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.protect(owner(1))
		p := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID})).Items[0]
		b := must[backup.BrowseSession](t)(w.CreateBrowseSession(ctx, contoso, backup.OneDrive, p.ID, w.by()))
		s := must[backup.Session](t)(w.CreateGranularSession(ctx, contoso, backup.OneDrive, []catalog.NewGranular{{Browse: b, Key: "k", Item: backup.Item{ID: "i", Name: "n"}}}, w.by()))
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		for key := range w.claim(jobs.RestoreItem) {
			a := must[backup.GranularArtifact](t)(w.GranularForWork(ctx, contoso, backup.ArtifactID(key)))
			if a.Problem != nil {
				t.Errorf("problem = %+v", a.Problem)
			}
			must[int64](t)(w.MarkLost(ctx, contoso, p.Drive, []string{p.Tree}, true))
			a = must[backup.GranularArtifact](t)(w.GranularForWork(ctx, contoso, backup.ArtifactID(key)))
			if a.Problem == nil || a.Problem.Code != backup.InvalidRestorePoint {
				t.Errorf("problem of a lost point's file = %+v", a.Problem)
			}
		}
	})
}

// Drives are verified in turn, whatever is found.
func TestDrivesAreVerifiedInTurn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		drives := map[backup.DriveID]backup.Point{}
		for n := range 3 {
			u := w.protect(owner(n))
			for _, p := range must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID})).Items {
				drives[p.Drive] = p
			}
		}
		var turns []backup.DriveID
		for range 4 {
			w.pass(time.Hour)
			due := must[[]catalog.DriveRoot](t)(w.DrivesToVerify(ctx, contoso, w.clock(), 1))
			if len(due) != 1 || due[0].Root == "" {
				t.Fatalf("due = %+v", due)
			}
			d := due[0].Drive
			turns = append(turns, d)
			var whole []string
			if len(turns) != 2 { // the second is damaged
				whole = []string{drives[d].Tree}
			}
			ok(t, w.MarkVerified(ctx, contoso, d, whole, w.clock()))
			p := must[backup.Point](t)(w.Point(ctx, contoso, drives[d].ID))
			if want := len(turns) != 2; p.Verified.Equal(w.clock()) != want {
				t.Errorf("turn %d: verified %v at %v", len(turns), p.Verified, w.clock())
			}
		}
		if turns[0] == turns[1] || turns[1] == turns[2] || turns[0] == turns[2] || turns[3] != turns[0] {
			t.Errorf("turns = %v", turns)
		}
		if due := must[[]catalog.DriveRoot](t)(w.DrivesToVerify(ctx, contoso, w.clock().Add(-3*time.Hour), 10)); len(due) != 0 {
			t.Errorf("due = %+v although all had their turn", due)
		}
		if due := must[[]catalog.DriveRoot](t)(w.DrivesToVerify(ctx, fabrikam, w.clock(), 10)); len(due) != 0 {
			t.Errorf("another tenant's = %+v", due)
		}
	})
}

func TestDamage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.protect(owner(1))
		bad := func(content string, item backup.ItemID) backup.Damage {
			return backup.Damage{Unit: u.ID, Drive: "d", Item: item, Path: "/" + string(item), Content: content, Reason: "It is not what was written."}
		}
		ok(t, w.NoteDamage(ctx, contoso, nil))
		ok(t, w.NoteDamage(ctx, contoso, []backup.Damage{bad("c1", "i1"), bad("c1", "i2"), bad("c2", ""), bad("c1", "i1")}))
		first := w.clock()
		w.pass(time.Hour)
		ok(t, w.NoteDamage(ctx, contoso, []backup.Damage{bad("c1", "i1")})) // known
		open := must[[]backup.Damage](t)(w.OpenDamage(ctx, contoso, "d"))
		if len(open) != 3 || !open[0].Found.Equal(first) {
			t.Errorf("open = %+v", open)
		}
		if n := must[int64](t)(w.HealDamage(ctx, fabrikam, []string{"c1"}, w.clock())); n != 0 {
			t.Errorf("another tenant healed %d", n)
		}
		if n := must[int64](t)(w.HealDamage(ctx, contoso, []string{"c1", "c9"}, w.clock())); n != 2 {
			t.Errorf("healed %d, want 2", n)
		}
		open = must[[]backup.Damage](t)(w.OpenDamage(ctx, contoso, "d"))
		if len(open) != 1 || open[0].Content != "c2" {
			t.Errorf("open = %+v", open)
		}
		all := must[catalog.List[backup.Damage]](t)(w.Damage(ctx, contoso, catalog.DamageQuery{Page: catalog.Page{Limit: 2}}))
		rest := must[catalog.List[backup.Damage]](t)(w.Damage(ctx, contoso, catalog.DamageQuery{Page: catalog.Page{Limit: 2, After: all.Next}}))
		if len(all.Items) != 2 || len(rest.Items) != 1 || rest.Next != "" {
			t.Errorf("pages = %+v, %+v", all, rest)
		}
		w.pass(time.Hour)
		ok(t, w.NoteDamage(ctx, contoso, []backup.Damage{bad("c1", "i1")})) // once more
		still := must[catalog.List[backup.Damage]](t)(w.Damage(ctx, contoso, catalog.DamageQuery{Drive: "d", Open: true, Page: catalog.Page{Count: true}}))
		if still.Total != 2 || !still.Items[1].Found.Equal(w.clock()) || !still.Items[1].Healed.IsZero() {
			t.Errorf("still open = %+v", still)
		}
	})
}

// A vault that has grown large is followed by another, into which new drives go once it
// is known by its id. What began in the first stays there.
func TestAVaultFollowsAnother(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		first := backup.FirstVault(contoso)
		ok(t, w.KnowVault(ctx, first, "one"))
		old := w.unbacked(owner(1))
		w.backUpTree(old, "old", "t1")
		into := func(drive backup.DriveID, root string, number int) {
			t.Helper()
			name := must[backup.VaultName](t)(w.VaultOf(ctx, contoso, drive))
			if got, n, err := w.Root(ctx, contoso, drive); err != nil || (got != "") != (root != "") || n != number || name != (backup.VaultName{Tenant: contoso, Number: number}) {
				t.Errorf("drive %s is at %q in vault %d or %v, %v, want vault %d", drive, got, n, name, err, number)
			}
		}
		into("new", "", 1)

		j := w.backupJob(old)
		next := must[backup.VaultName](t)(w.AddVault(ctx, j, first))
		if again := must[backup.VaultName](t)(w.AddVault(ctx, j, first)); again != next || next.Number != 2 {
			t.Errorf("the next vault is %v, and then %v", next, again)
		}
		for name, want := range map[backup.VaultName]bool{first: true, next: true, {Tenant: contoso, Number: 3}: false, {Tenant: fabrikam, Number: 2}: false} {
			if got := must[bool](t)(w.WantsVault(ctx, name)); got != want {
				t.Errorf("vault %v is wanted: %v", name, got)
			}
		}
		into("new", "", 1) // it is not there yet
		if all := must[[]backup.VaultName](t)(w.Vaults(ctx, contoso)); !slices.Equal(all, []backup.VaultName{first}) {
			t.Errorf("vaults = %v", all)
		}
		fails(t, "one vault in two places", w.KnowVault(ctx, next, "one"), catalog.ErrOtherVault)
		ok(t, w.KnowVault(ctx, next, "two"))
		ok(t, w.KnowVault(ctx, next, "two"))
		fails(t, "another", w.KnowVault(ctx, next, "three"), catalog.ErrOtherVault)
		if all := must[[]backup.VaultName](t)(w.Vaults(ctx, contoso)); !slices.Equal(all, []backup.VaultName{first, next}) {
			t.Errorf("vaults = %v", all)
		}
		if all := must[[]backup.VaultName](t)(w.FurtherVaults(ctx)); !slices.Equal(all, []backup.VaultName{next}) {
			t.Errorf("further vaults = %v", all)
		}

		into("new", "", 2)
		into("old", "r", 1)
		w.free()
		fresh := w.unbacked(owner(2))
		ok(t, second(w.CommitPoint(ctx, w.backupJob(fresh), catalog.Commit{Unit: fresh, State: catalog.DriveState{Drive: "new", Vault: 2, Root: "r", Tree: "t"}, Point: backup.Point{At: w.clock(), Tree: "t"}})))
		w.free()
		into("new", "r", 2)
		w.backUpTree(fresh, "new", "t2")
		into("new", "r", 2)
		for name, want := range map[backup.VaultName]string{first: "old", next: "new"} {
			roots := must[map[backup.DriveID]string](t)(w.Roots(ctx, name))
			if n := must[int](t)(w.DrivesIn(ctx, name)); n != 1 || len(roots) != 1 || roots[backup.DriveID(want)] == "" {
				t.Errorf("vault %v has %d drives: %v", name, n, roots)
			}
		}

		// What another vault than its own holds of a drive is not taken up.
		_, _, err := w.TakeUp(ctx, contoso, catalog.TakenUp{Workload: backup.OneDrive, Owner: user(2), Drive: "new", Vault: 1, Root: "stray", Tree: "t-stray"})
		fails(t, "a stray", err, catalog.ErrOtherVault)

		// A record tells of it.
		files := w.export(contoso)
		if n, err := catalog.LastVault(map[string]io.Reader{"vaults": strings.NewReader(files["vaults"])}); n != 2 || err != nil {
			t.Errorf("the record's last vault is %d, %v: %s", n, err, files["vaults"])
		}
		ok(t, w.ImportTenant(ctx, fabrikam, map[string]io.Reader{"vaults": strings.NewReader(strings.ReplaceAll(files["vaults"], "two", "four"))}))
		if id := must[string](t)(w.VaultID(ctx, backup.VaultName{Tenant: fabrikam, Number: 2})); id != "four" {
			t.Errorf("the record gave the vault the id %q", id)
		}
	})
}

// Where a drive is kept is found by the drive, and not by a look through a vault's or a
// tenant's: each backup asks for it.
func TestWhereADriveIsIsFoundByIt(t *testing.T) {
	db := dbtest.Open(t, database.SQLite)
	w := newWorld(t, db, 0)
	for what, row := range map[string]struct {
		ask  func(context.Context) error
		plan string
	}{
		"root":     {func(ctx context.Context) error { _, _, err := w.Root(ctx, contoso, "d"); return err }, "(tenant=? AND drive=?)"},
		"vault":    {func(ctx context.Context) error { _, err := w.VaultOf(ctx, contoso, "d"); return err }, "(tenant=? AND drive=?)"},
		"how many": {func(ctx context.Context) error { _, err := w.DrivesIn(ctx, backup.FirstVault(contoso)); return err }, "(tenant=? AND vault=?)"},
		"roots":    {func(ctx context.Context) error { _, err := w.Roots(ctx, backup.FirstVault(contoso)); return err }, "(tenant=? AND vault=?)"},
	} {
		asked := 0
		ok(t, row.ask(database.Observe(t.Context(), func(text string, args []any) {
			asked++
			for _, line := range dbtest.SQLitePlan(t, db, text, args) {
				if is := strings.HasPrefix(line, "SEARCH s ") || strings.HasPrefix(line, "SEARCH drive_state "); is && !strings.Contains(line, row.plan) {
					t.Errorf("%s: %s", what, line)
				}
			}
		})))
		if asked != 1 {
			t.Errorf("%s: %d statements", what, asked)
		}
	}
}
