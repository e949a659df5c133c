package catalog_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// The age of each unit's newest point is known against what is promised, from
// the moment it has one until its protection ends.
func TestRPO(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const promise = 20 * time.Minute
		p := w.policy("p", owner(1), owner(2), owner(3))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		u := w.units(p.ID)
		run := func(o backup.SubjectID) backup.UnitID {
			t.Helper()
			id := u[o].ID
			j := w.backupJob(id)
			_, s, err := w.UnitForBackup(ctx, contoso, id)
			ok(t, err)
			prev := s.Root
			s.Drive, s.Root, s.Tree = backup.DriveID("d"+id), "r", "t"
			must[backup.Point](t)(w.CommitPoint(ctx, j, catalog.Commit{Unit: id, PrevRoot: prev, State: s, Point: backup.Point{At: w.clock(), Tree: "t"}, Promise: promise, Every: promise / 2}))
			return id
		}
		expect := func(what string, want catalog.RPO) {
			t.Helper()
			if diff := cmp.Diff(want, must[catalog.RPO](t)(w.RPO(ctx, contoso, 2))); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", what, diff)
			}
		}
		expect("before the first point", catalog.RPO{})
		begin := w.clock()
		first := run(owner(1))
		w.pass(10 * time.Minute)
		second := run(owner(2))
		run(owner(1))
		w.pass(15 * time.Minute)
		run(owner(1))
		w.pass(10 * time.Minute)
		expect("one is late", catalog.RPO{Units: 2, Missed: 1, Last: begin.Add(25 * time.Minute), Worst: []catalog.UnitRPO{
			{Unit: second, Newest: begin.Add(10 * time.Minute), Promised: promise, Every: promise / 2},
			{Unit: first, Newest: begin.Add(25 * time.Minute), Promised: promise, Every: promise / 2, Points: 2, Longest: 15 * time.Minute},
		}})
		within, all, sum, err := w.RPOAges(ctx, contoso, []time.Duration{5 * time.Minute, 12 * time.Minute, 30 * time.Minute})
		if diff := cmp.Diff([]uint64{0, 1, 2}, within); err != nil || diff != "" || all != 2 || sum != 35*time.Minute {
			t.Errorf("by age: %v of %d, %v in all: %v\n%s", within, all, sum, err, diff)
		}
		run(owner(2))
		w.pass(time.Second)
		run(owner(3))
		expect("all have new ones", catalog.RPO{Units: 3, Last: begin.Add(35*time.Minute + time.Second), Worst: []catalog.UnitRPO{
			{Unit: first, Newest: begin.Add(25 * time.Minute), Promised: promise, Every: promise / 2, Points: 2, Longest: 15 * time.Minute},
			{Unit: second, Newest: begin.Add(35 * time.Minute), Promised: promise, Every: promise / 2, Points: 1, Late: 1, Longest: 25 * time.Minute},
		}})
		checkPlans(t, w.db, "rpo", func(ctx context.Context) error { _, err := w.RPO(ctx, contoso, 2); return err }, 2)

		// One that is not to be protected any more is promised nothing, also if a
		// restore makes a point of it.
		_, _, err = w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: first}}})
		ok(t, err)
		_, s, err := w.UnitForRestore(ctx, contoso, first)
		ok(t, err)
		must[backup.Point](t)(w.KeepPoint(ctx, w.backupJob(second), catalog.Commit{Unit: first, PrevRoot: s.Root, State: s, Point: backup.Point{At: w.clock(), Tree: "t"}, Promise: promise}))
		got := must[catalog.RPO](t)(w.RPO(ctx, contoso, 9))
		if got.Units != 2 || len(got.Worst) != 2 || got.Worst[0].Unit == first || got.Worst[1].Unit == first {
			t.Errorf("after one has left: %+v", got)
		}
	})
}
