package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// several has a world's vaults be made as the catalog wants them, and returns one.
func (w *world) several() func(number int) *vault.Vault {
	var mu sync.Mutex
	open := map[int]*vault.Vault{}
	w.engine.Vaults = func(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
		mu.Lock()
		defer mu.Unlock()
		if v := open[name.Number]; v != nil {
			return v, nil
		}
		if wanted, err := w.catalog.WantsVault(ctx, name); err != nil || !wanted {
			return nil, errors.Join(vault.ErrMissing, err)
		}
		dir := fmt.Sprintf("%s/vaults/%s", w.dir, name)
		v, err := vault.Open(w.ctx, vault.Config{Dir: dir, State: dir + " state", Create: true, Password: "for tests only"})
		if err != nil {
			return nil, err
		}
		w.t.Cleanup(func() { v.Close(context.Background()) })
		open[name.Number] = v
		return v, w.catalog.KnowVault(ctx, name, v.ID())
	}
	return func(number int) *vault.Vault {
		w.t.Helper()
		v, err := w.engine.Vaults(w.ctx, backup.VaultName{Tenant: w.tenant, Number: number})
		w.must(err)
		return v
	}
}

// Where a vault has grown large new drives go into another. Each drive's points are read,
// restored, verified, compared and destroyed where they are, and a lost catalog is made
// again from all vaults.
func TestDrivesGoIntoAnotherVault(t *testing.T) {
	w := newWorld(t, "ann", "bob", "cid")
	for i := range w.users {
		w.put(w.home(i), map[string]string{"a.txt": fmt.Sprint("of ", i), "folder/b.txt": "b"})
	}
	units := w.protectAll()
	numbered := w.several()
	w.engine.VaultDrives = 1
	maintain := func() { w.run(jobs.Maintain, string(w.tenant), w.engine.maintain) }
	var points []backup.Point
	for _, u := range units {
		points = append(points, w.backUp(u))
	}
	holds := func(number int, want int) {
		t.Helper()
		var drives []backup.DriveID
		for d, err := range numbered(number).Drives(w.ctx) {
			w.must(err)
			drives = append(drives, d.Key.Drive)
		}
		if !slices.Equal(drives, []backup.DriveID{points[want].Drive}) {
			t.Errorf("vault %d holds %v, want that of %s", number, drives, w.users[want].DisplayName)
		}
	}
	for i := range units {
		holds(i+1, i)
	}
	if all, err := w.catalog.Vaults(w.ctx, w.tenant); err != nil || len(all) != 4 { // the last waits for a drive
		t.Errorf("vaults = %v, %v", all, err)
	}

	// Each goes on where it is, also an owner's first, and is restored from there.
	for i, u := range units {
		wanted := w.look(w.home(i))
		w.put(w.home(i), map[string]string{"a.txt": "changed"})
		w.backUp(u)
		w.restored(points[i], backup.DestinationInPlace)
		w.same("the drive in place", wanted, w.look(w.home(i)))
		w.restored(points[i], backup.DestinationNew)
		if root, err := w.engine.Item(w.ctx, points[i], backup.ItemRef{}); err != nil {
			t.Errorf("looking at point %d = %+v, %v", i, root, err)
		} else if items, err := w.children(points[i], root.ID); err != nil || len(items) != 2 {
			t.Errorf("browsing point %d = %+v, %v", i, items, err)
		}
		holds(i+1, i)
	}
	verified := 0
	w.must(w.engine.Verify(w.ctx, w.tenant, func(catalog.DriveRoot) bool { return true }, vault.VerifyOptions{Share: 1}, func(d catalog.DriveRoot, r vault.VerifyReport, err error) {
		w.must(err)
		if verified++; len(r.Damage) > 0 || r.Objects == 0 {
			t.Errorf("drive %s: %+v", d.Drive, r)
		}
	}))
	if verified != 3 {
		t.Errorf("%d drives were verified", verified)
	}

	// A first backup that was not committed left something in the vault of then.
	stray, err := numbered(1).Begin(w.ctx, vault.DriveKey{Tenant: w.tenant, Drive: points[2].Drive}, "", "")
	w.must(err)
	_, err = stray.Seal(w.ctx, points[2].At, vault.PointInfo{Unit: units[2].ID})
	w.must(err)
	stray.Close()
	maintain()
	if n := len(w.points(units[2])); n != 4 {
		t.Errorf("%d points, want the first, the change, and those around a restore", n)
	}

	// While one is away, the others are looked after.
	vaults := w.engine.Vaults
	var asked []int
	w.engine.Vaults = func(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
		if asked = append(asked, name.Number); name.Number == 2 {
			return nil, vault.ErrMissing
		}
		return vaults(ctx, name)
	}
	if err := w.try(w.ctx, jobs.Maintain, string(w.tenant), w.engine.maintain); !errors.Is(err, vault.ErrMissing) || !strings.Contains(err.Error(), "vault 2") {
		t.Errorf("maintain = %v", err)
	}
	if want := []int{1, 4, 4, 3, 3, 2, 1, 1}; !slices.Equal(asked, want) { // the record; each is compared and maintained
		t.Errorf("vaults were opened %v, want %v", asked, want)
	}
	w.engine.Vaults = vaults
	maintain()

	// The catalog is lost.
	trees := func(u backup.Unit) (all []string) {
		for _, p := range w.points(u) {
			if !p.Lost {
				all = append(all, p.Tree)
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	before := map[backup.UnitID][]string{}
	for _, u := range units {
		before[u.ID] = trees(u)
	}
	w.loseCatalog()
	got, err := w.engine.Rebuild(w.ctx, w.tenant)
	w.must(err)
	if !got.Imported || got.Drives != 3 || got.Failed != 0 || got.Lost != 0 {
		t.Errorf("rebuilt = %+v\n%s", got, w.log)
	}
	for i, u := range units {
		if got := trees(u); !slices.Equal(got, before[u.ID]) {
			t.Errorf("unit %d has points of %v, had %v", i, got, before[u.ID])
		}
		w.backUp(u)
		if s, err := w.catalog.VaultOf(w.ctx, w.tenant, points[i].Drive); err != nil || s.Number != i+1 {
			t.Errorf("the drive of unit %d is in %v, %v", i, s, err)
		}
	}
}
