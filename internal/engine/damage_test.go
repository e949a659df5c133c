package engine

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// incompressible returns files whose contents stay as long as they are.
func incompressible(n int) map[string]string {
	random := rand.NewChaCha8([32]byte{9})
	files := map[string]string{}
	for i := range n {
		b := make([]byte, 20_000)
		random.Read(b)
		files[fmt.Sprintf("folder %d/file %02d.bin", i%4, i)] = string(b)
	}
	return files
}

// blobs returns the files of the vault's blobs that begin so, the largest first.
func (w *world) blobs(prefix string) (paths []string) {
	w.t.Helper()
	w.must(filepath.WalkDir(w.dir+"/vault", func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(w.dir+"/vault", path); err == nil && !d.IsDir() && strings.HasPrefix(strings.ReplaceAll(rel, "/", ""), prefix) {
			paths = append(paths, path)
		}
		return err
	}))
	size := func(path string) int64 {
		info, err := os.Stat(path)
		w.must(err)
		return info.Size()
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(size(b), size(a)) })
	return paths
}

// flip changes one bit in the middle of a file.
func (w *world) flip(path string) {
	w.t.Helper()
	b, err := os.ReadFile(path)
	w.must(err)
	b[len(b)/2] ^= 1
	w.must(os.WriteFile(path, b, 0o600))
}

func (w *world) openDamage(u backup.Unit) []backup.Damage {
	w.t.Helper()
	all, err := w.catalog.OpenDamage(w.ctx, w.tenant, w.latest(u).Drive)
	w.must(err)
	return all
}

// What is damaged in the vault is found by the rotation, named, and downloaded
// again while the source still has it; every point that shares it is whole again.
func TestDamageIsFoundAndHealed(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.ownVault()
	home := w.home(0)
	w.put(home, incompressible(40))
	w.put(w.home(1), map[string]string{"other.txt": "other"})
	units := w.protectAll()
	first := w.backUp(units[0])
	w.backUp(units[1])
	want := w.look(home)
	w.put(home, map[string]string{"new.txt": "new"})
	w.backUp(units[0])
	packs := w.blobs("p")
	if len(packs) == 0 {
		t.Fatal("there are no packs")
	}
	w.flip(packs[0])

	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	damage := append(w.openDamage(units[0]), w.openDamage(units[1])...)
	if len(damage) != 1 || damage[0].Path == "" || damage[0].Item == "" {
		t.Fatalf("damage = %+v\n%s", damage, w.log)
	}
	w.reset()
	for _, u := range units {
		w.backUp(u)
	}
	w.wantAsked("download", 1)
	if left := append(w.openDamage(units[0]), w.openDamage(units[1])...); len(left) != 0 {
		t.Errorf("damage is left: %+v", left)
	}
	w.same("the first point", want, w.kept(first.Tree))
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	if left := w.openDamage(units[0]); len(left) != 0 {
		t.Errorf("damage is found again: %+v", left)
	}
	if p := w.latest(units[0]); p.Verified.IsZero() || p.Lost {
		t.Errorf("the newest point is %+v", p)
	}
	if p := w.unit(units[0].ID).Problem; p != nil {
		t.Errorf("the unit still says %+v", p)
	}
}

// What the source no longer has stays named, and the rest goes on.
func TestDamageThatCannotBeHealedStaysNamed(t *testing.T) {
	w := newWorld(t, "ann")
	w.ownVault()
	home := w.home(0)
	w.put(home, incompressible(40))
	unit := w.protectAll()[0]
	w.backUp(unit)
	w.flip(w.blobs("p")[0])
	w.must(os.RemoveAll(home + "/folder 0"))
	w.must(os.RemoveAll(home + "/folder 1"))
	w.must(os.RemoveAll(home + "/folder 2"))
	w.must(os.RemoveAll(home + "/folder 3"))
	w.backUp(unit)
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	for range 3 {
		w.backUp(unit)
	}
	if left := w.openDamage(unit); len(left) != 1 {
		t.Errorf("damage = %+v", left)
	}
	p := w.unit(unit.ID).Problem
	if p == nil || p.Code != backup.VaultDamaged || len(p.Details) != 1 || !strings.Contains(p.Message, "newest point is whole") {
		t.Errorf("the unit says %+v", p)
	}
}

// keepVault copies the vault's folder, and swapVault puts the copy in its place.
func (w *world) keepVault() string {
	w.t.Helper()
	to := w.t.TempDir()
	w.must(os.CopyFS(to, os.DirFS(w.dir+"/vault")))
	return to
}

func (w *world) swapVault(from string) {
	w.t.Helper()
	w.must(w.vault.Close(context.Background()))
	w.must(os.RemoveAll(w.dir + "/vault"))
	w.must(os.CopyFS(w.dir+"/vault", os.DirFS(from)))
	w.ownVault()
}

// A vault that is older than the catalog: what it lacks is marked as lost, and
// the drive begins anew at once, with all points that are left.
func TestVaultOlderThanTheCatalog(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.ownVault()
	w.put(w.home(0), incompressible(8))
	w.put(w.home(1), map[string]string{"b.txt": "b"})
	units := w.protectAll()
	first := w.backUp(units[0])
	w.backUp(units[1])
	wanted := w.look(w.home(0))
	yesterday := w.keepVault()
	w.put(w.home(0), map[string]string{"today.txt": "today"})
	w.must(os.Remove(w.home(0) + "/folder 0/file 00.bin"))
	second := w.backUp(units[0])
	w.swapVault(yesterday)

	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)
	w.reset()
	third := w.backUp(units[0])
	if n := w.asked("download"); n > 1 {
		t.Errorf("%d downloads, want that of the file which the vault lacks", n)
	}
	w.same("the new point", w.look(w.home(0)), w.kept(third.Tree))
	w.same("the first point", wanted, w.kept(first.Tree))
	lost := map[backup.PointID]bool{}
	for _, p := range w.points(units[0]) {
		lost[p.ID] = p.Lost
	}
	if lost[first.ID] || !lost[second.ID] || lost[third.ID] {
		t.Errorf("lost are %v", lost)
	}
	if p := w.unit(units[0].ID).Problem; p != nil {
		t.Errorf("the unit says %+v", p)
	}
	w.backUp(units[1])
	w.must(w.try(w.ctx, jobs.Maintain, string(w.tenant), w.engine.maintain))

	// What was lost and is in the vault after all is no longer lost.
	w.put(w.home(0), map[string]string{"more.txt": "more"})
	w.backUp(units[0])
}

// A folder's list that is damaged: the drive begins anew, and is whole.
func TestDamagedFoldersAreWrittenAnew(t *testing.T) {
	w := newWorld(t, "ann")
	w.ownVault()
	w.put(w.home(0), incompressible(8))
	unit := w.protectAll()[0]
	w.backUp(unit)
	for _, blob := range w.blobs("q") {
		b, err := os.ReadFile(blob)
		w.must(err)
		// One bit in each content of the pack, but not in those of manifests,
		// which are the last.
		if len(b) > 3000 {
			b[200] ^= 1
			w.must(os.WriteFile(blob, b, 0o600))
		}
	}
	w.put(w.home(0), map[string]string{"folder 0/new.txt": "new", "folder 1/new.txt": "new", "folder 2/new.txt": "new", "folder 3/new.txt": "new"})
	point := w.backUp(unit)
	w.same("the new point", w.look(w.home(0)), w.kept(point.Tree))
	// What only the first point has of it is found, and named.
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	if left := w.openDamage(unit); len(left) == 0 {
		t.Error("no damage is found")
	}
	w.same("the new point, verified", w.look(w.home(0)), w.kept(w.backUp(unit).Tree))
}

// A catalog that is older than its vault takes up what it has missed.
func TestCatalogOlderThanTheVault(t *testing.T) {
	w := newWorld(t, "ann")
	w.ownVault()
	w.put(w.home(0), incompressible(4))
	unit := w.protectAll()[0]
	first := w.backUp(unit)
	_, before, err := w.catalog.UnitForRestore(w.ctx, w.tenant, unit.ID)
	w.must(err)
	w.put(w.home(0), map[string]string{"today.txt": "today"})
	second := w.backUp(unit)
	wanted := w.look(w.home(0))
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		for _, text := range []string{
			`DELETE FROM restore_point WHERE id = '` + string(second.ID) + `'`,
			`UPDATE drive_state SET root = '` + before.Root + `', tree = '` + before.Tree + `', cursor = '` + before.Cursor + `'`,
		} {
			if _, err := tx.ExecContext(w.t.Context(), text); err != nil {
				return err
			}
		}
		return nil
	}))
	// A run of the older catalog makes a point of its own and loses none.
	w.put(w.home(0), map[string]string{"later.txt": "later"})
	third := w.backUp(unit)
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)
	trees := map[string]bool{}
	for _, p := range w.points(unit) {
		trees[p.Tree] = true
	}
	if len(trees) != 3 || !trees[first.Tree] || !trees[second.Tree] || !trees[third.Tree] {
		t.Errorf("the catalog has the trees %v", trees)
	}
	w.same("the point that was missed", wanted, w.kept(second.Tree))
	w.same("the next point", w.look(w.home(0)), w.kept(w.backUp(unit).Tree))
}

// A catalog that is lost is made again from vault and passphrase alone.
func TestCatalogIsMadeAgainFromTheVault(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.ownVault()
	for i := range w.users {
		w.put(w.home(i), incompressible(4))
	}
	units := w.protectAll()
	first := w.backUp(units[0])
	wanted := w.look(w.home(0))
	w.put(w.home(0), map[string]string{"today.txt": "today"})
	w.backUp(units[0])
	w.backUp(units[1])
	policy, err := w.catalog.Policy(w.ctx, w.tenant, units[0].Policy)
	w.must(err)
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain) // which keeps the record

	w.loseCatalog()
	got, err := w.engine.Rebuild(w.ctx, w.tenant)
	w.must(err)
	if !got.Imported || got.Drives != 2 || got.Points != 3 || got.Failed != 0 || got.Lost != 0 {
		t.Errorf("rebuilt = %+v\n%s", got, w.log)
	}
	again, err := w.catalog.Policy(w.ctx, w.tenant, policy.ID)
	w.must(err)
	if again.DisplayName != policy.DisplayName || !again.Enabled {
		t.Errorf("the policy is %+v, was %+v", again, policy)
	}
	for i, u := range units {
		now := w.unit(u.ID)
		if now.Status != backup.UnitProtected || now.Policy != u.Policy || now.Subject != u.Subject {
			t.Errorf("unit %d is %+v", i, now)
		}
	}
	old := w.points(units[0])
	if len(old) != 2 || old[1].Tree != first.Tree {
		t.Fatalf("points = %+v", old)
	}
	w.reset()
	w.backUp(units[1])
	w.wantAsked("download", 0)
	w.restored(old[1], backup.DestinationInPlace)
	w.same("the drive", wanted, w.look(w.home(0)))
	if got, err := w.engine.Rebuild(w.ctx, w.tenant); err != nil || got != (Rebuilt{}) {
		t.Errorf("a second look = %+v, %v", got, err)
	}
}

// What the source has again is not taken from a copy that is damaged, whether this server
// knows of the damage or another, or nobody yet: the newest point holds it.
func TestWhatComesBackIsNotTakenFromDamage(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("known %v", known), func(t *testing.T) {
			w := newWorld(t, "ann")
			w.ownVault()
			home, files := w.home(0), incompressible(4)
			w.put(home, files)
			w.put(home, map[string]string{"stays.txt": "stays"})
			unit := w.protectAll()[0]
			w.backUp(unit)
			for name := range files {
				w.must(os.Remove(filepath.Join(home, name)))
			}
			w.backUp(unit)
			w.flip(w.blobs("p")[0])
			if known {
				w.skew.Add(int64(31 * 24 * time.Hour))
				w.run(jobs.Verify, string(w.tenant), w.engine.verify)
				if left := w.openDamage(unit); len(left) != 1 {
					t.Fatalf("damage = %+v", left)
				}
			}
			w.ownVault() // as another process has it
			w.put(home, files)
			newest := w.backUp(unit)
			t.Log(w.log)
			w.same("the newest point", w.look(home), w.kept(newest.Tree))
			if left := w.openDamage(unit); len(left) != 0 {
				t.Errorf("damage is left: %+v", left)
			}
			if p := w.unit(unit.ID).Problem; p != nil {
				t.Errorf("the unit says %+v", p)
			}
			t.Log(w.log)
		})
	}
}
