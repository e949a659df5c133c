package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

const (
	aDay = 24 * time.Hour
	week = backup.RetentionDelay
)

// settings are pairs of an interval and a period.
func settings(pairs ...string) []backup.RetentionSetting {
	var list []backup.RetentionSetting
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, backup.RetentionSetting{Interval: "R/" + pairs[i], Period: pairs[i+1]})
	}
	return list
}

// retain changes how a policy keeps its points.
func (w *world) retain(p backup.PolicyID, pairs ...string) catalog.RetentionChange {
	w.t.Helper()
	return must[catalog.RetentionChange](w.t)(w.ChangeRetention(w.t.Context(), contoso, p, week,
		func(r *backup.Retention) { r.Settings = settings(pairs...) }, w.by()))
}

// hold puts a policy under a legal hold, or ends it.
func (w *world) hold(p backup.PolicyID, hold bool) catalog.RetentionChange {
	w.t.Helper()
	return must[catalog.RetentionChange](w.t)(w.ChangeRetention(w.t.Context(), contoso, p, week,
		func(r *backup.Retention) { r.LegalHold = hold }, w.by()))
}

// expire does the tenant's expiry by a catalog, as a worker of it would.
func (w *world) expire(c *catalog.Catalog) (int64, error) {
	w.t.Helper()
	w.free()
	ok(w.t, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(contoso), Tenant: contoso}))
	return c.ExpirePoints(w.t.Context(), w.claim(jobs.Expire)[string(contoso)])
}

// expired is what expire lets go.
func (w *world) expired() int64 {
	w.t.Helper()
	return must[int64](w.t)(w.expire(w.Catalog))
}

// process is another process on the same database, with its own configuration.
func (w *world) process(plan backup.RetentionPlan) *catalog.Catalog {
	w.t.Helper()
	c := catalog.New(w.db, w.queue, catalog.Config{Clock: w.clock})
	ok(w.t, c.SetRetention(plan))
	return c
}

// lives are how many days a unit's points are kept, the oldest first.
func (w *world) lives(unit backup.UnitID) (days []int) {
	w.t.Helper()
	l := must[catalog.List[backup.Point]](w.t)(w.Points(w.t.Context(), contoso, catalog.PointQuery{Unit: unit, Oldest: true}))
	for _, p := range l.Items {
		days = append(days, int(p.Expires.Sub(p.At)/aDay))
	}
	return days
}

func (w *world) live(what string, unit backup.UnitID, want ...int) {
	w.t.Helper()
	if got := w.lives(unit); !slices.Equal(got, want) {
		w.t.Errorf("%s: points live %v days, want %v", what, got, want)
	}
}

// daily makes a point of a unit on each of n days.
func (w *world) daily(unit backup.UnitID, n int) {
	w.t.Helper()
	for range n {
		w.pass(aDay)
		w.backUp2(unit)
	}
}

// What keeps points longer holds at once, also for points that there are; what
// makes them go earlier waits, is told with its cost, and can be called off.
func TestRetentionIsReapplied(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		other := w.protect(owner(2))
		w.pass(time.Hour)
		u := w.protect(owner(1)) // and another point of the other's
		w.daily(u.ID, 3)         // Wednesday's is the week's
		w.live("at first", u.ID, 365, 14, 14, 14)

		longer := w.retain(u.Policy, "PT10M", "P2W", "P1D", "P1Y")
		if longer.Waits || longer.Points != 0 || longer.Pending != nil {
			t.Errorf("a longer retention waits: %+v", longer)
		}
		w.live("before the next round", u.ID, 365, 14, 14, 14)
		w.pass(time.Minute)
		w.backUp2(u.ID) // of a day that has a point
		w.expired()
		w.live("longer", u.ID, 365, 365, 365, 365, 14)
		w.live("another policy", other.ID, 365, 14)
		p := must[backup.Policy](t)(w.Policy(ctx, contoso, u.Policy))
		if got := p.Retention.Shown(); !slices.Equal(got, settings("PT10M", "P2W", "P1D", "P1Y")) {
			t.Errorf("shown as %v", got)
		}

		// It is Saturday. In a week four of the five will be older than five days.
		w.pass(time.Minute)
		w.backUp2(u.ID)
		shorter := w.retain(u.Policy, "PT10M", "P1D", "P1Y", "P5D")
		if !shorter.Waits || shorter.Points != 6 || shorter.Drives != 1 || !shorter.Effective.Equal(w.clock().Add(week)) || shorter.Kept.Equal(*shorter.Pending) {
			t.Errorf("a shorter retention: %+v", shorter)
		}
		w.pass(week - time.Minute)
		if n := w.expired(); n != 0 {
			t.Errorf("%d points expired before the change was in force", n)
		}
		w.live("before the change", u.ID, 365, 365, 365, 365, 14, 14)
		must[catalog.Retention](t)(w.CancelRetention(ctx, contoso, u.Policy, w.by()))
		w.pass(time.Hour)
		if n := w.expired(); n != 0 {
			t.Errorf("%d points expired by a change that was called off", n)
		}
		w.retain(u.Policy, "PT10M", "P1D", "P1Y", "P2Y")
		w.pass(week)
		if n := w.expired(); n != 6 { // one of them the other's
			t.Errorf("%d points expired by the change, want 6", n)
		}
		w.live("after the change", u.ID, 731)
		w.live("another policy", other.ID, 365)
		if r := must[[]catalog.Retention](t)(w.Retentions(ctx, contoso)); len(r) != 3 || r[0].Policy != "" || !r[0].Modified.At.IsZero() {
			t.Errorf("retentions = %+v", r)
		}

		for what, change := range map[string]func(*backup.Retention){
			"no interval": func(r *backup.Retention) { r.Settings = []backup.RetentionSetting{{Interval: "x", Period: "P1D"}} },
			"no period":   func(r *backup.Retention) { r.Settings = settings("P1D", "x") },
		} {
			_, err := w.ChangeRetention(ctx, contoso, u.Policy, week, change, w.by())
			fails(t, what, err, backup.InvalidRequest)
		}
		_, err := w.ChangeRetention(ctx, contoso, u.Policy, time.Hour, func(*backup.Retention) {}, w.by())
		fails(t, "too short a delay", err, backup.InvalidRequest)
		_, err = w.ChangeRetention(ctx, contoso, "nobody", week, func(*backup.Retention) {}, w.by())
		fails(t, "an unknown policy", err, backup.PolicyNotFound)
		_, err = w.ChangeRetention(ctx, fabrikam, u.Policy, week, func(*backup.Retention) {}, w.by())
		fails(t, "another tenant's policy", err, backup.PolicyNotFound)
	})
}

// A hold keeps everything for as long as it lasts, whatever becomes of unit and
// policy and whatever the configurations of processes say; its end waits.
func TestLegalHold(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		other, u := w.protect(owner(2)), w.protect(owner(1))
		w.daily(u.ID, 3)
		if c := w.hold(u.Policy, true); c.Waits {
			t.Errorf("a hold waits: %+v", c)
		}
		w.expired()
		w.pass(400 * aDay)
		bare := w.process(backup.RetentionPlan{})
		if n := must[int64](t)(w.expire(bare)); n != 2 { // the other's
			t.Errorf("%d points expired, want 2", n)
		}
		w.live("of no hold", other.ID)
		if got := w.lives(u.ID); len(got) != 4 || got[0] < 100_000 {
			t.Errorf("under a hold: %v", got)
		}
		// Settings may change below it, at once: they shorten nothing.
		if c := w.retain(u.Policy, "PT10M", "P1D"); c.Waits {
			t.Errorf("settings below a hold wait: %+v", c)
		}

		// The hold stays when the unit leaves its policy and that is deleted, and
		// keeps it from being offboarded.
		_, _, err := w.UpdatePolicy(ctx, contoso, u.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: u.ID}}, By: w.by()})
		ok(t, err)
		w.settle()
		must[backup.Policy](t)(w.DeactivatePolicy(ctx, contoso, u.Policy, w.by()))
		w.settle()
		ok(t, w.DeletePolicy(ctx, contoso, u.Policy))
		_, err = w.OffboardUnit(ctx, contoso, u.ID, w.by())
		fails(t, "offboard under a hold", err, backup.OperationNotAllowed)
		if c := w.hold(u.Policy, false); !c.Waits || c.Points != 4 || c.Drives != 1 {
			t.Errorf("the end of a hold: %+v", c)
		}
		if n := w.expired(); n != 0 {
			t.Errorf("%d points expired while the end of the hold waited", n)
		}
		_, err = w.OffboardUnit(ctx, contoso, u.ID, w.by())
		fails(t, "offboard while the end of the hold waits", err, backup.OperationNotAllowed)
		w.pass(week)
		if n := w.expired(); n != 4 {
			t.Errorf("%d points expired after the hold, want 4", n)
		}

		// A hold on the tenant is on every policy, and on those to come.
		w.hold("", true)
		late := w.protect(owner(3))
		w.pass(400 * aDay)
		if n := w.expired(); n != 0 {
			t.Errorf("%d points expired under the tenant's hold", n)
		}
		p := must[backup.Policy](t)(w.Policy(ctx, contoso, late.Policy))
		if got := p.Retention.Shown(); got[0].Period != "P1000Y" {
			t.Errorf("the tenant's hold is shown as %v", got)
		}
		if c := w.hold("", false); c.Points != 2 { // the other's, too
			t.Errorf("the end of the tenant's hold: %+v", c)
		}
		w.pass(week)
		if n := w.expired(); n != 2 {
			t.Errorf("%d points expired after the tenant's hold, want 2", n)
		}

		// A point's own time does not end a hold: one that was made while the hold
		// came may not know of it.
		w.hold(late.Policy, true)
		w.expired()
		w.backUp2(late.ID)
		exec(t, w.db, `UPDATE restore_point SET expires = 1 WHERE policy = $1`, string(late.Policy))
		if n := w.expired(); n != 0 {
			t.Errorf("%d points expired under a hold", n)
		}
	})
}

// A hold that was answered holds, also for points whose expiry is under way.
func TestHoldDuringExpiry(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.protect(owner(1))
		w.expired()
		w.pass(400 * aDay)
		ok(t, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(contoso), Tenant: contoso}))
		j := w.claim(jobs.Expire)[string(contoso)]
		by, done := w.by(), false
		w.tick = func() { // between what is in force and what is over
			if !done {
				done = true
				_, err := w.ChangeRetention(t.Context(), contoso, u.Policy, week, func(r *backup.Retention) { r.LegalHold = true }, by)
				ok(t, err)
			}
		}
		if n := must[int64](t)(w.ExpirePoints(t.Context(), j)); n != 0 || !done {
			t.Errorf("%d points expired although a hold was there", n)
		}
	})
}

// A process whose configuration says something else than the database lets
// nothing expire; a database that knows nothing yet believes it.
func TestRetentionIsNotAFile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var units []backup.Unit
		for n := range 3 {
			units = append(units, w.protect(owner(n)))
			exec(t, w.db, `DELETE FROM job`) // one point of each
		}
		held, daily, plain := units[0], units[1], units[2]
		// As a database of before is, which had no rows for what is in force.
		exec(t, w.db, `DELETE FROM retention`)
		exec(t, w.db, `UPDATE restore_point SET expires = expires + 86400000000 WHERE unit = $1`, string(plain.ID))
		old := backup.RetentionPlan{
			Default: backup.Retention{Settings: settings("PT10M", "P1D")},
			Policies: map[backup.PolicyID]backup.Retention{
				held.Policy:  {LegalHold: true},
				daily.Policy: {Settings: settings("PT10M", "P2W", "P1D", "P2Y")},
			},
		}
		first := w.process(old)
		if n := must[int64](t)(w.expire(first)); n != 0 {
			t.Errorf("%d points expired at the first start", n)
		}
		w.live("daily", daily.ID, 731)
		w.live("what was kept for longer", plain.ID, 366)

		w.pass(400 * aDay)
		for what, plan := range map[string]backup.RetentionPlan{
			"another hold":     {Policies: map[backup.PolicyID]backup.Retention{daily.Policy: {LegalHold: true}}},
			"no hold":          {Policies: map[backup.PolicyID]backup.Retention{held.Policy: {}}},
			"shorter":          {Policies: map[backup.PolicyID]backup.Retention{daily.Policy: {Settings: settings("PT10M", "P1D")}}},
			"all under a hold": {Default: backup.Retention{LegalHold: true}},
		} {
			c := w.process(plan)
			n, err := w.expire(c)
			if n != 0 {
				t.Errorf("%s: %d points expired", what, n)
			}
			fails(t, what, err, catalog.ErrRetentionDisagrees)
			words := must[string](t)(c.RetentionDisagreement(ctx, contoso))
			if words == "" || err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: in words %q, the error says %v", what, words, err)
			}
			if h := must[catalog.Health](t)(c.Health(ctx, contoso)); h.Retention != words {
				t.Errorf("%s: Health says %q, want %q", what, h.Retention, words)
			}
			if words := must[string](t)(c.RetentionDisagreement(ctx, fabrikam)); words != "" {
				t.Errorf("%s: of another tenant: %s", what, words)
			}
		}
		// What says nothing of the hold agrees, and holds it; so does the first.
		for _, c := range []*catalog.Catalog{w.process(backup.RetentionPlan{}), first} {
			if words := must[string](t)(c.RetentionDisagreement(ctx, contoso)); words != "" {
				t.Error(words)
			}
			must[int64](t)(w.expire(c))
		}
		if got := w.lives(held.ID); len(got) != 1 || got[0] < 100_000 {
			t.Errorf("under a hold: %v", got)
		}
		w.live("plain", plain.ID)

		// The configuration's default is that of new policies, unless somebody has
		// set one for the tenant.
		create := func(c *catalog.Catalog) backup.Retention {
			t.Helper()
			p := must[backup.Policy](t)(c.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "n", By: w.by()}))
			if again := must[backup.Policy](t)(w.Policy(ctx, contoso, p.ID)); !again.Retention.Equal(p.Retention) {
				t.Errorf("made with %v, read with %v", p.Retention, again.Retention)
			}
			return p.Retention
		}
		if got := create(first); !got.Equal(old.Default) {
			t.Errorf("a new policy keeps %v", got)
		}
		set := w.retain("", "PT1H", "P1Y")
		if got := create(first); !got.Equal(set.Kept) {
			t.Errorf("a new policy keeps %v, want the tenant's %v", got, set.Kept)
		}
	})
}

// A unit that moves to another policy has its first point there kept as the
// first of the interval.
func TestFirstOfItsPolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.now = time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)
		u := w.protect(owner(1))
		w.daily(u.ID, 2)
		to := w.policy("yearly")
		w.retain(to.ID, "PT10M", "P2W", "P1Y", "P7Y")
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, to.ID, w.by()))
		_, _, err := w.UpdatePolicy(ctx, contoso, u.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: u.ID}}, By: w.by()})
		ok(t, err)
		w.settle()
		w.add(to.ID, owner(1))
		w.daily(u.ID, 2)
		const seven = 7*365 + 2
		w.live("made", u.ID, 366, 14, 14, seven, 14)

		// And so when all is computed anew.
		w.retain(to.ID, "PT10M", "P4W", "P1Y", "P7Y")
		w.expired()
		w.live("computed anew", u.ID, 366, 14, 14, seven, 28)

		// Its owner's next drive begins anew as well, and where a first point is
		// lost the next takes its place.
		w.pass(aDay)
		p := w.backUpTree(u.ID, "another", "lost")
		w.pass(aDay)
		w.backUpTree(u.ID, "another", "whole")
		w.live("another drive", u.ID, 366, 14, 14, seven, 28, seven, 28)
		must[int64](t)(w.MarkLost(ctx, contoso, p.Drive, []string{"lost"}, true))
		w.live("a lost first point", u.ID, 366, 14, 14, seven, 28, seven, seven)
	})
}

// A shortening that is cut off in the middle is done to its end, and to no more
// than that.
func TestRetentionIsAppliedToItsEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1), owner(2), owner(3))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		w.backUp()
		w.expired()
		w.retain(p.ID, "PT10M", "P2W")
		w.pass(week)
		w.expired()
		// As it is when two of three drives were not come to.
		cut := func(to string) {
			exec(t, w.db, `UPDATE retention SET applied = $2 || applied WHERE policy = $1`, string(p.ID), to)
			exec(t, w.db, `UPDATE restore_point SET expires = expires + 86400000000 * (365 - 14) WHERE unit <> (SELECT min(unit) FROM restore_point)`)
		}
		cut("to ")
		w.expired()
		for _, u := range w.units(p.ID) {
			w.live("in the end", u.ID, 14)
		}
		// Not so when it is another change that was cut off.
		cut(`to {"legalHold":true,"was":`)
		w.expired()
		var days []int
		for _, u := range w.units(p.ID) {
			days = append(days, w.lives(u.ID)...)
		}
		if slices.Sort(days); !slices.Equal(days, []int{14, 365, 365}) {
			t.Errorf("after another change was cut off points live %v days", days)
		}
	})
}

// What was in force is in the log, with who changed it.
func TestRetentionIsAudited(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := w.protect(owner(1)).Policy
		ctx := catalog.WithAudit(t.Context(), &catalog.Audit{Activity: backup.Activity{Tenant: contoso, Operation: backup.RetentionActivity, Object: string(p), By: w.by().By}})
		_, err := w.ChangeRetention(ctx, contoso, p, week, func(r *backup.Retention) { r.Settings = settings("PT10M", "P1D") }, w.by())
		ok(t, err)
		w.pass(week)
		w.expired()
		var log []string
		for _, a := range w.activities() {
			log = append(log, a.Operation+" of "+a.Object+" by "+a.By.Application.ID)
		}
		want := []string{"RetentionChanged of  by ", "RetentionChanged of " + string(p) + " by app", "RetentionChanged of " + string(p) + " by "}
		if diff := cmp.Diff(sorted(want), sorted(log)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}
