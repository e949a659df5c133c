package catalog_test

import (
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// Each day says how it was with what is promised and how much is held; a measure that is made
// twice counts once, and what a tenant had is no other's.
func TestDays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		measure := func() {
			t.Helper()
			ok(t, enqueue(w, jobs.Spec{Kind: jobs.Measure, Key: string(contoso), Tenant: contoso}))
			must[bool](t)(w.MeasureDay(ctx, w.claim(jobs.Measure)[string(contoso)]))
			w.free()
		}
		days := func(tenant backup.TenantID) (all []catalog.DayFigure) {
			t.Helper()
			for after := ""; ; {
				l := must[catalog.List[catalog.DayFigure]](t)(w.Days(ctx, tenant, catalog.Page{Limit: 1, After: after}))
				if all = append(all, l.Items...); l.Next == "" {
					return all
				}
				after = l.Next
			}
		}
		measure() // of nothing
		if got := days(contoso); len(got) > 0 {
			t.Errorf("without units the days are %v", got)
		}
		p := w.policy("p", owner(1), owner(2))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		run := func(o backup.SubjectID, bytes int64) {
			t.Helper()
			id := w.units(p.ID)[o].ID
			j := w.backupJob(id)
			_, s, err := w.UnitForBackup(ctx, contoso, id)
			ok(t, err)
			prev := s.Root
			s.Drive, s.Root, s.Tree = backup.DriveID("d"+id), backup.NewID[string](), backup.NewID[string]()
			must[backup.Point](t)(w.CommitPoint(ctx, j, catalog.Commit{Unit: id, PrevRoot: prev, State: s, Promise: time.Hour, Every: time.Minute,
				Point: backup.Point{At: w.clock(), Tree: s.Tree, Files: 1, Bytes: bytes}}))
		}
		run(owner(1), 100)
		run(owner(2), 10)
		first := w.clock().Truncate(24 * time.Hour)
		measure()
		measure() // as after a crash
		w.pass(2 * time.Hour)
		run(owner(1), 300)
		measure()
		w.pass(24 * time.Hour)
		measure()
		got := days(contoso)
		want := []catalog.DayFigure{
			{Day: first.Add(24 * time.Hour), Workload: backup.OneDrive, Measured: 1, Units: 2, Missed: 2, Items: 2, Bytes: 310},
			{Day: first, Workload: backup.OneDrive, Measured: 2, Units: 4, Missed: 1, Items: 2, Bytes: 310},
		}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("the days are\n%+v\nwant\n%+v", got, want)
		}
		if other := days(fabrikam); len(other) > 0 {
			t.Errorf("another tenant has %v", other)
		}
		w.pass(500 * 24 * time.Hour)
		measure()
		if got := days(contoso); len(got) != 1 {
			t.Errorf("after 500 days the days are %v", got)
		}
	})
}
