package catalog_test

import (
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// Points follow the configured retention, those that there are already too.
func TestRetentionIsReapplied(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const day = 24 * time.Hour
		u := w.protect(owner(1))
		w.pass(time.Hour)
		other := w.protect(owner(2))
		ok(t, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(contoso), Tenant: contoso}))
		expire := func() int64 {
			t.Helper()
			w.free()
			return must[int64](t)(w.ExpirePoints(ctx, w.claim(jobs.Expire)[string(contoso)]))
		}
		for range 3 { // one more each day: Wednesday's is the week's
			w.pass(day)
			w.backUp2(u.ID)
		}
		life := func(unit backup.UnitID) (days []int) {
			t.Helper()
			l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: unit, Oldest: true}))
			for _, p := range l.Items {
				days = append(days, int(p.Expires.Sub(p.At)/day))
			}
			return days
		}
		same := func(what string, got []int, want ...int) {
			t.Helper()
			if len(got) != len(want) {
				t.Errorf("%s: points live %v days, want %v", what, got, want)
				return
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: points live %v days, want %v", what, got, want)
				}
			}
		}
		same("at first", life(u.ID), 365, 14, 14, 14, 14)
		plan := backup.RetentionPlan{Policies: map[backup.PolicyID]backup.Retention{
			u.Policy: {Settings: []backup.RetentionSetting{{Interval: "R/PT10M", Period: "P2D"}, {Interval: "R/P1D", Period: "P30D"}}},
		}}
		ok(t, w.SetRetention(plan))
		same("before the next round", life(u.ID), 365, 14, 14, 14, 14)
		w.backUp2(u.ID) // of a day that has a point
		expire()
		same("longer", life(u.ID), 30, 30, 30, 30, 2) // the one of two days is gone
		same("another policy", life(other.ID), 365)
		if got := w.RetentionSettings(u.Policy); len(got) != 2 || got[1].Period != "P30D" {
			t.Errorf("shown as %v", got)
		}

		plan.Policies[u.Policy] = backup.Retention{LegalHold: true}
		ok(t, w.SetRetention(plan))
		expire()
		w.pass(400 * day)
		if n := expire(); n != 1 { // the other's
			t.Errorf("%d points expired, want 1", n)
		}
		if got := life(u.ID); len(got) != 5 || got[0] < 100_000 {
			t.Errorf("under a hold: %v", got)
		}

		// The hold stays when the unit leaves its policy, and keeps it from being
		// offboarded.
		_, _, err := w.UpdatePolicy(ctx, contoso, u.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: u.ID}}, By: w.by()})
		ok(t, err)
		w.settle()
		_, err = w.OffboardUnit(ctx, contoso, u.ID, w.by())
		fails(t, "offboard under a hold", err, backup.OperationNotAllowed)
		ok(t, w.SetRetention(backup.RetentionPlan{}))
		_, err = w.OffboardUnit(ctx, contoso, u.ID, w.by())
		ok(t, err)
		if n := expire(); n != 5 {
			t.Errorf("%d points expired after the hold, want 5", n)
		}

		// Without a change nothing is computed anew.
		ok(t, w.SetRetention(backup.RetentionPlan{Default: backup.Retention{Settings: []backup.RetentionSetting{{Interval: "R/PT1H", Period: "P1D"}}}}))
		w.backUp2(other.ID)
		expire()
		same("another default", life(other.ID), 1)
	})
}
