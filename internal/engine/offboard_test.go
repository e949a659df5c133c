package engine

import (
	"errors"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// An offboarded unit's backups are gone from the vault, and its owner can be
// protected again from nothing.
func TestOffboardingDestroysTheBackups(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "one"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	point := w.backUp(unit)
	by := backup.Stamp{At: w.engine.Clock()}
	_, _, err := w.catalog.UpdatePolicy(w.ctx, w.tenant, unit.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: unit.ID}}, By: by})
	w.must(err)
	w.run(jobs.Settle, string(unit.Policy), w.engine.settle)
	_, err = w.catalog.OffboardUnit(w.ctx, w.tenant, unit.ID, by)
	w.must(err)

	w.skew.Store(int64(91 * 24 * time.Hour))
	w.run(jobs.Offboard, string(unit.ID), w.engine.offboard)
	if got := w.unit(unit.ID); got.Status != backup.UnitOffboarded {
		t.Fatalf("the unit is %s", got.Status)
	}
	if _, err := w.catalog.Point(w.ctx, w.tenant, point.ID); !errors.Is(err, backup.InvalidRestorePoint) {
		t.Errorf("its point: %v", err)
	}
	if roots, err := w.catalog.Roots(w.ctx, backup.FirstVault(w.tenant)); err != nil || len(roots) != 0 {
		t.Errorf("roots = %v, %v", roots, err)
	}
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)

	// Protected again, it is another unit, and its points hold.
	_, results, err := w.catalog.UpdatePolicy(w.ctx, w.tenant, unit.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Add: unit.Subject}}, By: by})
	w.must(err)
	again := results[0].Unit
	if again.ID == unit.ID {
		t.Fatal("the offboarded unit came back")
	}
	w.put(home, map[string]string{"b.txt": "two"})
	w.same("the new unit's point", w.look(home), w.kept(w.backUp(again).Tree))

	w.skew.Store(int64(122 * 24 * time.Hour))
	w.run(jobs.Offboard, string(unit.ID), w.engine.offboard)
	if _, err := w.catalog.Unit(w.ctx, w.tenant, unit.ID); !errors.Is(err, backup.ProtectionUnitNotFound) {
		t.Errorf("the unit a month later: %v", err)
	}
	w.same("the new unit's next point", w.look(home), w.kept(w.backUp(again).Tree))
}
