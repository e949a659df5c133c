package catalog_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// all makes a policy that protects all there is of a workload.
func (w *world) all(workload backup.Workload) backup.Policy {
	w.t.Helper()
	return must[backup.Policy](w.t)(w.CreatePolicy(w.t.Context(), contoso, catalog.NewPolicy{Workload: workload, DisplayName: "All", FullService: true, By: w.by()}))
}

// look does the job of such a policy as a worker would that is killed before it can
// say so, without its source.
func (w *world) look(p backup.Policy) (joined, absent int) {
	w.t.Helper()
	ctx := w.t.Context()
	j := w.claim(jobs.All)[string(p.ID)]
	if j == nil {
		w.t.Fatalf("policy %s has no work", p.ID)
	}
	defer w.free()
	joined = must[int](w.t)(w.EnrollAll(ctx, j, p))
	absent = must[int](w.t)(w.NoteAbsent(ctx, j, p))
	left := must[[]backup.SubjectID](w.t)(w.Absent(ctx, p, w.clock().Add(-time.Hour), ""))
	if len(left) > 0 {
		absent -= int(must[int64](w.t)(w.LetAbsentGo(ctx, j, p, left)))
	}
	return joined, absent
}

func (w *world) exclude(p backup.Policy, owners ...backup.SubjectID) []catalog.ExclusionResult {
	w.t.Helper()
	patch := catalog.ExclusionPatch{By: w.by()}
	for _, o := range owners {
		patch.Exclusions = append(patch.Exclusions, catalog.ExclusionChange{Add: o})
	}
	_, results, err := w.UpdateExclusions(w.t.Context(), contoso, p.ID, patch)
	ok(w.t, err)
	return results
}

func TestAllThereIsIsProtected(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const many = 1050
		w.people(0, many-1)
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{{ID: owner(9001), Address: "guest_example.com#EXT#@contoso.onmicrosoft.com"}}}))
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{{ID: owner(9002), Address: "https://contoso.sharepoint.com"}}, Sites: true}))
		other := w.policy("Other", owner(1), owner(2))
		p, sites := w.all(backup.OneDrive), w.all(backup.SharePoint)
		for _, mode := range []backup.Workload{backup.OneDrive, backup.SharePoint} {
			_, err := w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: mode, DisplayName: "x", FullService: true, By: w.by()})
			fails(t, "a second policy of all there is", err, backup.PolicyCreationNotAllowed)
		}
		_, err := w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.Exchange, DisplayName: "x", FullService: true, Units: []backup.SubjectID{owner(1)}, By: w.by()})
		fails(t, "one with units", err, backup.InvalidCreateRequest)
		w.exclude(p, owner(3))
		want := func(what string, p backup.Policy, joined, absent, units int) {
			t.Helper()
			j, a := w.look(p)
			w.settle()
			if n := len(w.units(p.ID)); j != joined || a != absent || n != units {
				t.Errorf("%s: %d joined, %d are missing, %d units; want %d, %d, %d", what, j, a, n, joined, absent, units)
			}
		}
		want("at first", p, many-3, 0, many-3)
		want("again", p, 0, 0, many-3)
		want("sites", sites, 1, 0, 1)
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))

		// Who is new joins, and is backed up; who was let go elsewhere does too.
		w.people(many, many)
		_, _, err = w.UpdatePolicy(ctx, contoso, other.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: w.units(other.ID)[owner(1)].ID}}})
		ok(t, err)
		w.settle()
		want("with a newcomer", p, 2, 0, many-1)
		if u := w.units(p.ID)[owner(many)]; u.Status != backup.UnitProtectRequested || u.Sources != backup.SourceDynamicRule {
			t.Errorf("the newcomer is %+v", u)
		}
		// Who is gone stays until a second look, and who is back by then stays.
		gone := []backup.SubjectID{owner(10), owner(11)}
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Removed: gone}))
		want("without two", p, 0, 2, many-1)
		w.pass(30 * time.Minute)
		want("too soon", p, 0, 2, many-1)
		w.people(11, 11)
		w.pass(31 * time.Minute)
		want("after a second look", p, 0, 0, many-2)
		if u := w.units("")[owner(10)]; u.Policy != "" || u.Status != backup.UnitUnprotected || u.Sources != 0 {
			t.Errorf("who is gone is %+v", u)
		}

		// Nobody is added or removed by hand, and no rule or job of others brings in
		// what is excluded.
		_, _, err = w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Add: owner(3)}}})
		fails(t, "add by hand", err, backup.InvalidPatchRequest)
		_, _, err = w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: w.units(p.ID)[owner(4)].ID}}})
		fails(t, "remove by hand", err, backup.ProtectionUnitActionForbidden)
		_, err = w.CreateRule(ctx, contoso, p.ID, catalog.NewRule{Expression: ofA, By: w.by()})
		fails(t, "a rule", err, backup.InvalidRuleCreateRequest)
		_, err = w.CreateBulkJob(ctx, contoso, p.ID, catalog.NewBulkJob{IDs: []string{string(owner(3))}, By: w.by()})
		fails(t, "a bulk job", err, backup.InvalidCreateRequest)
		if b := w.bulk(other.ID, nil, []string{string(owner(3))}); b.Status != backup.BulkJobCompletedWithErrors || b.Problem.Details[0].Code != backup.OperationNotAllowed {
			t.Errorf("a bulk job of another policy ended as %s: %+v", b.Status, b.Problem)
		}
		r := w.rule(other.ID, ofA, true)
		ok(t, w.evaluate(r.ID, catalog.Evaluation{Members: members(groupA, 3, 4)}))
		if rule := must[backup.Rule](t)(w.RuleForWork(ctx, contoso, r.ID)); rule.Problem == nil || rule.Problem.Details[0].Target != string(owner(3)) || w.units("")[owner(3)].ID != "" {
			t.Errorf("a rule of another policy: %+v", rule)
		}
		if results := w.add(other.ID, owner(3)); results[0].Err != nil { // a person may
			t.Errorf("by hand: %v", results[0].Err)
		}
		w.exclude(sites, owner(9003))
		ok(t, w.DeletePolicy(ctx, contoso, sites.ID))
		if l := must[catalog.List[backup.Exclusion]](t)(w.Exclusions(ctx, contoso, "", catalog.Page{Count: true})); l.Total != 1 {
			t.Errorf("%d exclusions are left, want the one of the other policy", l.Total)
		}
		if w.claim(jobs.All)[string(sites.ID)] != nil {
			t.Error("a policy that is gone has work")
		}
		w.all(backup.SharePoint)
	})
}

func TestExclusions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.people(0, 30)
		p, standard := w.all(backup.OneDrive), w.policy("standard", owner(20))
		w.look(p)
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		w.backUp()
		_, _, err := w.UpdateExclusions(ctx, contoso, standard.ID, catalog.ExclusionPatch{Exclusions: []catalog.ExclusionChange{{Add: owner(1)}}, By: w.by()})
		fails(t, "exclude from a policy of some", err, backup.InvalidPatchRequest)
		_, _, err = w.UpdateExclusions(ctx, fabrikam, p.ID, catalog.ExclusionPatch{Exclusions: []catalog.ExclusionChange{{Add: owner(1)}}, By: w.by()})
		fails(t, "exclude from another tenant's", err, backup.PolicyNotFound)
		_, _, err = w.UpdateExclusions(ctx, contoso, p.ID, catalog.ExclusionPatch{Exclusions: []catalog.ExclusionChange{{Add: owner(1)}, {Add: owner(1)}}, By: w.by()})
		fails(t, "twice", err, backup.DuplicateProtectionUnitInList)

		made := w.exclude(p, owner(1), owner(2), owner(20), owner(99)) // one in another policy, and one unknown
		again := w.exclude(p, owner(2))
		if made[1].Err != nil || again[0].Exclusion.ID != made[1].Exclusion.ID {
			t.Errorf("excluded again: %+v, was %+v", again, made[1])
		}
		if s := status(t, w.Catalog, p.ID); s != backup.PolicyUpdating {
			t.Errorf("the policy is %s", s)
		}
		w.settle()
		for n, policy := range map[int]backup.PolicyID{1: "", 2: "", 20: standard.ID, 3: p.ID} {
			if u := w.units("")[owner(n)]; u.Policy != policy {
				t.Errorf("owner %d is in %q, want %q", n, u.Policy, policy)
			}
		}
		if joined, _ := w.look(p); joined != 0 {
			t.Errorf("%d joined that are excluded", joined)
		}
		// Its restore points stay.
		u := w.units("")[owner(1)]
		if l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID, Page: catalog.Page{Limit: 5}})); len(l.Items) != 1 {
			t.Errorf("%d points are left", len(l.Items))
		}
		e := must[backup.Explanation](t)(w.Explain(ctx, contoso, p.ID, owner(1)))
		if e.Included || e.Reasons[0].Code != backup.Excluded {
			t.Errorf("explained by %+v", e.Reasons)
		}
		if e := must[backup.Explanation](t)(w.Explain(ctx, contoso, p.ID, owner(3))); !e.Included || e.Reasons[0].Code != backup.HeldByAll {
			t.Errorf("explained by %+v", e.Reasons)
		}

		// What is excluded no more comes back at once.
		_, results, err := w.UpdateExclusions(ctx, contoso, p.ID, catalog.ExclusionPatch{By: w.by(), Exclusions: []catalog.ExclusionChange{
			{Remove: made[0].Exclusion.ID}, {Remove: "11111111-0000-4000-8000-000000000000"}}})
		ok(t, err)
		if results[0].Err != nil || results[1].Err == nil || results[1].Err.Code != backup.InvalidUnit {
			t.Errorf("removed: %+v", results)
		}
		if joined, _ := w.look(p); joined != 1 {
			t.Errorf("%d joined, want the one that is excluded no more", joined)
		}
		if back := w.units("")[owner(1)]; back.ID != u.ID || back.Policy != p.ID {
			t.Errorf("it is %+v", back)
		}
		_, err = w.Exclusion(ctx, fabrikam, "", made[1].Exclusion.ID)
		fails(t, "another tenant's", err, backup.ItemNotFound)
		_, err = w.Exclusion(ctx, contoso, standard.ID, made[1].Exclusion.ID)
		fails(t, "another policy's", err, backup.ItemNotFound)
		if x := must[backup.Exclusion](t)(w.Exclusion(ctx, contoso, p.ID, made[1].Exclusion.ID)); x.Subject != owner(2) || x.Address == "" {
			t.Errorf("the exclusion is %+v", x)
		}

		// In bulk, with the entries that fail named, and done again after a crash.
		b := must[backup.BulkJob](t)(w.CreateBulkJob(ctx, contoso, p.ID, catalog.NewBulkJob{Purpose: backup.ToExclude, DisplayName: "x", Addresses: []string{"USER5@contoso.com", "nobody@contoso.com", user(6).Address}, By: w.by()}))
		j := w.claim(jobs.BulkAdd)[string(b.ID)]
		ok(t, w.EnrollBulk(ctx, j, b, nil))
		ok(t, w.EnrollBulk(ctx, j, b, nil))
		b = must[backup.BulkJob](t)(w.BulkJob(ctx, contoso, p.ID, b.ID))
		if b.Status != backup.BulkJobCompletedWithErrors || len(b.Problem.Details) != 1 || b.Problem.Details[0].Target != "nobody@contoso.com" {
			t.Errorf("the job is %+v: %+v", b, b.Problem)
		}
		w.settle()
		if w.units("")[owner(5)].Policy != "" || w.units("")[owner(6)].Policy != "" {
			t.Error("the job excluded nobody")
		}
		_, err = w.CreateBulkJob(ctx, contoso, standard.ID, catalog.NewBulkJob{Purpose: backup.ToExclude, DisplayName: "x", Addresses: []string{"a@b.c"}, By: w.by()})
		fails(t, "a job of a policy of some", err, backup.InvalidCreateRequest)
		for purpose, want := range map[backup.Purpose]int64{backup.ToExclude: 1, backup.ToProtect: 0} {
			if l := must[catalog.List[backup.BulkJob]](t)(w.BulkJobs(ctx, contoso, p.ID, purpose, catalog.Page{Count: true})); l.Total != want {
				t.Errorf("%d jobs to %s", l.Total, purpose)
			}
		}
	})
}

// A look at a large directory costs the same again and again, and lists of what is
// excluded read an index.
func TestPlayAllThereIsReadsAnIndex(t *testing.T) {
	const units = 20_000
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == database.Postgres {
			for _, table := range []string{"unit", "subject", "exclusion"} {
				exec(t, db, `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
			}
		}
		w := newWorld(t, db, 0)
		fill(w, units, 1)
		p := w.all(backup.OneDrive)
		many(t, db, units, `INSERT INTO exclusion (id, tenant, workload, policy, subject, source_id, created, created_by)`,
			fmt.Sprintf(`SELECT `+sqlID("d")+`, '%s', 'oneDriveForBusiness', '%s', `+sqlID("e")+`, '', %d + n.i, '{}' FROM n`, contoso, p.ID, database.Micros(w.clock())))
		w.SetEffort(100, 1000, 1000)
		j := w.claim(jobs.All)[string(p.ID)]
		checkPlans(t, db, "a look", func(ctx context.Context) error {
			_, err := w.EnrollAll(ctx, j, p)
			return err
		}, units/1000)
		checkPlans(t, db, "who is missing", func(ctx context.Context) error {
			_, err := w.Absent(ctx, p, w.clock(), "")
			return err
		}, 1)
		for _, policy := range []backup.PolicyID{"", p.ID} {
			for _, filter := range []string{"", "id eq '" + manyID("d", 7) + "'", "directoryObjectId eq '" + manyID("e", 7) + "'", "createdDateTime gt 2026-11-18T09:00:00Z"} {
				for _, workload := range []backup.Workload{"", backup.OneDrive, backup.SharePoint} {
					page := pageOf(t, filter, "", catalog.ExclusionProperties)
					page.Workload = workload
					checkPlans(t, db, fmt.Sprintf("exclusions of %q and %q, %q", policy, workload, filter), func(ctx context.Context) error {
						_, err := w.Exclusions(ctx, contoso, policy, page)
						return err
					}, 0)
				}
			}
		}
	})
}
