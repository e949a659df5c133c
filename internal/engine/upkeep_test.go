package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// expiring is a world in which each owner has a point that has expired, and
// others that stay.
func expiring(t *testing.T, owners ...string) (*world, []backup.Unit) {
	w := newWorld(t, owners...)
	units := w.protectAll()
	for n, age := range []time.Duration{0, 0, 15 * 24 * time.Hour} { // the first is its week's, and stays
		w.skew.Store(int64(age))
		for i, u := range units {
			w.put(w.home(i), map[string]string{"a.txt": fmt.Sprint(i, n)})
			w.backUp(u)
		}
	}
	return w, units
}

// within runs a job that must not wait for anything.
func (w *world) within(kind jobs.Kind, key string, h jobs.Handler) (jobs.Result, error) {
	w.t.Helper()
	type outcome struct {
		result jobs.Result
		err    error
	}
	j, ended := w.claim(kind, key), make(chan outcome, 1)
	go func() {
		result, err := h(w.ctx, j)
		ended <- outcome{result, err}
	}()
	select {
	case o := <-ended:
		return o.result, o.err
	case <-time.After(time.Minute):
		w.t.Fatalf("%s %s waits", kind, key)
		panic("unreachable")
	}
}

// offboard takes a unit out of its policy and has its backups end, and lets the
// grace period pass.
func (w *world) offboard(u backup.Unit) {
	w.t.Helper()
	by := backup.Stamp{At: w.engine.Clock()}
	_, _, err := w.catalog.UpdatePolicy(w.ctx, w.tenant, u.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: u.ID}}, By: by})
	w.must(err)
	w.run(jobs.Settle, string(u.Policy), w.engine.settle)
	_, err = w.catalog.OffboardUnit(w.ctx, w.tenant, u.ID, by)
	w.must(err)
	w.skew.Store(int64(91 * 24 * time.Hour))
}

// noted returns the units whose drives are still to be trimmed.
func (w *world) noted() (units []backup.UnitID) {
	w.t.Helper()
	drives, err := w.catalog.DrivesToTrim(w.ctx, w.tenant)
	w.must(err)
	for _, d := range drives {
		units = append(units, d.Unit)
	}
	return units
}

// A drive whose root the vault cannot read is trimmed by its points, and where
// these cannot be read either it is named and keeps its place in the list. It stops
// the expiry of no other.
func TestExpiryPassesOverAnUnreadableDrive(t *testing.T) {
	w, units := expiring(t, "ann", "bob", "cid")
	rootless, bad := units[0].ID, units[1].ID
	nothing := "k" + strings.Repeat("0", 32)
	var root, tree string
	set := func(query string, args ...any) {
		t.Helper()
		w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(w.t.Context(), query, args...)
			return err
		}))
	}
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		return tx.QueryRowContext(w.t.Context(), `SELECT root, tree FROM drive_state WHERE unit = $1`, string(bad)).Scan(&root, &tree)
	}))
	set(`UPDATE drive_state SET root = $1 WHERE unit = $2`, nothing, string(rootless))
	set(`UPDATE drive_state SET root = $1, tree = $1 WHERE unit = $2`, nothing, string(bad))
	set(`UPDATE restore_point SET tree = $1 WHERE unit = $2`, nothing, string(bad))
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	if got := w.noted(); len(got) != 1 || got[0] != bad {
		t.Errorf("still to be trimmed: %v, want %v alone", got, bad)
	}
	if log := w.log.String(); strings.Count(log, "expired points of a drive not dropped") != 1 || !strings.Contains(log, string(bad)) {
		t.Errorf("the log says %s", log)
	}

	set(`UPDATE drive_state SET root = $1, tree = $2 WHERE unit = $3`, root, tree, string(bad))
	set(`UPDATE restore_point SET tree = $1 WHERE unit = $2`, tree, string(bad))
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	if got := w.noted(); len(got) != 0 {
		t.Errorf("still to be trimmed: %v", got)
	}
	for i, u := range units {
		w.same("the point of "+w.users[i].DisplayName, w.look(w.home(i)), w.kept(w.latest(u).Tree))
	}
}

// Nor does one stop the vault's maintenance, of which it is named; and when its
// unit is offboarded it goes like any other.
func TestMaintenanceAndOffboardingPassAnUnreadableDrive(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	for i := range w.users {
		w.put(w.home(i), map[string]string{"a.txt": "one"})
	}
	units := w.protectAll()
	for _, u := range units {
		w.backUp(u)
	}
	bad := units[0]
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), `UPDATE drive_state SET root = $1 WHERE unit = $2`, "k"+strings.Repeat("0", 32), string(bad.ID))
		return err
	}))
	// What the catalog has lost sight of is found in the vault.
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)
	w.backUp(bad)
	w.same("the point", w.look(w.home(0)), w.kept(w.latest(bad).Tree))
	if points := w.points(bad); len(points) != 2 || points[1].Lost {
		t.Errorf("points = %+v", points)
	}

	w.offboard(bad)
	w.run(jobs.Offboard, string(bad.ID), w.engine.offboard)
	if roots, err := w.catalog.Roots(w.ctx, backup.FirstVault(w.tenant)); err != nil || len(roots) != 1 {
		t.Errorf("roots = %v, %v; want the other drive's", roots, err)
	}
	held := 0
	for d, err := range w.vault.Drives(w.ctx) {
		w.must(err)
		if d.Key.Tenant == w.tenant {
			held++
		}
	}
	if held != 1 {
		t.Errorf("the vault holds %d drives, want the other one", held)
	}
	w.same("the other's point", w.look(w.home(1)), w.kept(w.latest(units[1]).Tree))
}

// A vault that is damaged is maintained again in its time and not at once, and
// the log says what it is about.
func TestMaintenanceOfADamagedVault(t *testing.T) {
	w := newWorld(t, "ann")
	var err error
	w.vault, err = vault.Open(w.ctx, vault.Config{Dir: w.dir + "/vault", Create: true, State: w.dir + "/state", Password: "for tests only"})
	w.must(err)
	t.Cleanup(func() { w.vault.Close(context.Background()) })
	w.put(w.home(0), map[string]string{"a.txt": "one"})
	w.backUp(w.protectAll()[0])
	w.must(filepath.WalkDir(w.dir+"/vault", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(path, w.dir+"/vault/q") { // directories and manifests
			err = os.Remove(path)
		}
		return err
	}))
	now := w.engine.Clock()
	w.engine.Clock = func() time.Time { return now }
	got, err := w.engine.maintain(w.ctx, w.claim(jobs.Maintain, string(w.tenant)))
	if want := jobs.Again(w.engine.next(w.engine.Upkeep, "maintain "+string(w.tenant))); err != nil || got != want {
		t.Errorf("maintain = %v, %v; want it again in an hour", got, err)
	}
	if !strings.Contains(w.log.String(), "the vault is damaged") {
		t.Errorf("the log says %s", w.log)
	}
}

// A vault that does not open leaves all as it is, and the round is tried again.
func TestExpiryWithoutAVault(t *testing.T) {
	w, units := expiring(t, "ann", "bob")
	vaults := w.engine.Vaults
	w.engine.Vaults = func(context.Context, backup.VaultName) (*vault.Vault, error) { return nil, vault.ErrPassword }
	if err := w.try(w.ctx, jobs.Expire, string(w.tenant), w.engine.expire); !errors.Is(err, vault.ErrPassword) {
		t.Errorf("expire = %v", err)
	}
	if got := w.noted(); len(got) != len(units) {
		t.Errorf("still to be trimmed: %v", got)
	}
	w.engine.Vaults = vaults
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	if got := w.noted(); len(got) != 0 {
		t.Errorf("still to be trimmed: %v", got)
	}
}

// A backup that takes hours keeps its own drive from being trimmed, and no other.
func TestExpiryDoesNotWaitForABackup(t *testing.T) {
	w, units := expiring(t, "ann", "bob")
	unlock := w.engine.lock("unit " + string(units[0].ID))
	if _, err := w.within(jobs.Expire, string(w.tenant), w.engine.expire); err != nil {
		t.Fatal(err)
	}
	if got := w.noted(); len(got) != 1 || got[0] != units[0].ID {
		t.Errorf("still to be trimmed: %v, want %v alone", got, units[0].ID)
	}
	unlock()
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	if got := w.noted(); len(got) != 0 {
		t.Errorf("still to be trimmed: %v", got)
	}
}

// Nor does an offboarding wait for one: it comes again soon.
func TestOffboardingDoesNotWaitForABackup(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "one"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	w.offboard(unit)

	now := time.Now().Add(91 * 24 * time.Hour)
	w.engine.Clock = func() time.Time { return now }
	unlock := w.engine.lock("unit " + string(unit.ID))
	if got, err := w.within(jobs.Offboard, string(unit.ID), w.engine.offboard); err != nil || got != jobs.Again(now.Add(inUseAgain)) {
		t.Errorf("offboard = %v, %v; want again in a minute", got, err)
	}
	unlock()
	w.run(jobs.Offboard, string(unit.ID), w.engine.offboard)
	if roots, err := w.catalog.Roots(w.ctx, backup.FirstVault(w.tenant)); err != nil || len(roots) != 0 {
		t.Errorf("roots = %v, %v", roots, err)
	}
}
