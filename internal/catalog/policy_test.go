package catalog_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
	"holdfast/internal/odata"
)

func TestCreatePolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("Drives ünïcode", owner(1), owner(2))
		if p.Status != backup.PolicyInactive || p.Enabled {
			t.Errorf("a new policy is %s, enabled %v", p.Status, p.Enabled)
		}
		got := must[backup.Policy](t)(w.Policy(ctx, contoso, p.ID))
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("policy (-created +read):\n%s", diff)
		}
		units := w.units(p.ID)
		if len(units) != 2 {
			t.Fatalf("units = %v, want 2", units)
		}
		want := backup.Unit{Tenant: contoso, Workload: backup.OneDrive, Policy: p.ID, Subject: owner(1), Status: backup.UnitUnprotected, Sources: backup.SourceManual,
			ID: units[owner(1)].ID, Created: w.by(), Modified: w.by()}
		if diff := cmp.Diff(want, units[owner(1)]); diff != "" {
			t.Errorf("unit (-want +got):\n%s", diff)
		}

		// All or nothing.
		_, err := w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "b", Units: []backup.SubjectID{owner(3), owner(2)}, By: w.by()})
		fails(t, "create with an owner of another policy", err, backup.ProtectionUnitAlreadyExists)
		if e, _ := errors.AsType[*backup.Error](err); e == nil || e.Target != string(owner(2)) {
			t.Errorf("target = %+v, want the owner", e)
		}
		_, err = w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "b", Units: []backup.SubjectID{owner(3), owner(3)}, By: w.by()})
		fails(t, "create with an owner twice", err, backup.DuplicateProtectionUnitInList)
		_, err = w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "a\x00b", By: w.by()})
		fails(t, "create with a null character", err, backup.InvalidDisplayName)
		if all := w.units(""); len(all) != 2 {
			t.Errorf("the tenant has %d units after failed creations, want 2", len(all))
		}
		if l := must[catalog.List[backup.Policy]](t)(w.Policies(ctx, contoso, catalog.Page{Count: true})); len(l.Items) != 1 || l.Total != 1 || l.Next != "" {
			t.Errorf("policies = %+v, want one", l)
		}
	})
}

// A unit's life in a policy, step by step.
func TestPolicyLifeCycle(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1), owner(2))
		expect := func(when string, want backup.PolicyStatus, units ...backup.UnitStatus) {
			t.Helper()
			if got := status(t, w.Catalog, p.ID); got != want {
				t.Errorf("%s: policy is %s, want %s", when, got, want)
			}
			byOwner := w.units(p.ID)
			for i, want := range units {
				if got := byOwner[owner(i+1)].Status; got != want {
					t.Errorf("%s: unit %d is %q, want %q", when, i+1, got, want)
				}
			}
		}
		const (
			protectRequested = backup.UnitProtectRequested
			protected        = backup.UnitProtected
			unprotected      = backup.UnitUnprotected
		)
		expect("created", backup.PolicyInactive, unprotected, unprotected)
		_, err := w.DeactivatePolicy(ctx, contoso, p.ID, w.by())
		fails(t, "deactivate an inactive policy", err, backup.InvalidStateForActivation)

		active := must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		if active.Status != backup.PolicyUpdating {
			t.Errorf("activated policy is %s, want updating", active.Status)
		}
		expect("activated", backup.PolicyUpdating, protectRequested, protectRequested)
		_, err = w.ActivatePolicy(ctx, contoso, p.ID, w.by())
		fails(t, "activate an updating policy", err, backup.InvalidStateForActivation)
		fails(t, "delete an updating policy", w.DeletePolicy(ctx, contoso, p.ID), backup.PolicyActionNotAllowed)

		// One backup succeeds, one fails.
		work := w.claim(jobs.Backup)
		u1, u2 := w.units(p.ID)[owner(1)].ID, w.units(p.ID)[owner(2)].ID
		if len(work) != 2 || work[string(u1)] == nil {
			t.Fatalf("backup jobs = %v, want one for each unit", work)
		}
		problem := &backup.Problem{Code: backup.DriveNotFound, Message: "There is no drive."}
		ok(t, w.FailUnit(ctx, work[string(u2)], u2, problem))
		expect("one failed", backup.PolicyUpdating, protectRequested, unprotected)
		must[backup.Point](t)(w.CommitPoint(ctx, work[string(u1)], catalog.Commit{Unit: u1, State: catalog.DriveState{Drive: "d1", Root: "r1"}, Point: backup.Point{At: w.clock(), Tree: "t"}}))
		expect("both ended", backup.PolicyActiveWithErrors, protected, unprotected)
		if got := w.units(p.ID)[owner(2)].Problem; !cmp.Equal(got, problem) {
			t.Errorf("problem = %+v, want %+v", got, problem)
		}
		counts := must[catalog.PolicyUnitCounts](t)(w.PolicyUnitCounts(ctx, contoso, p.ID))
		if want := (catalog.PolicyUnitCounts{Total: 2, Protected: 1, UnprotectFailing: 1}); counts != want {
			t.Errorf("counts = %+v, want %+v", counts, want)
		}
		// It goes on trying: the unit is still wanted, and recovers.
		if _, _, err := w.UnitForBackup(ctx, contoso, u2); err != nil {
			t.Errorf("a failed unit is not wanted: %v", err)
		}
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		expect("tried again", backup.PolicyUpdating, protected, protectRequested)
		w.free()
		w.backUp2(u2)
		expect("recovered", backup.PolicyActive, protected, protected)
		// A protected unit that fails stays protected.
		work = w.claim(jobs.Backup)
		ok(t, w.FailUnit(ctx, work[string(u1)], u1, problem))
		expect("failed later", backup.PolicyActiveWithErrors, protected, protected)

		// Out of force.
		must[backup.Policy](t)(w.DeactivatePolicy(ctx, contoso, p.ID, w.by()))
		expect("deactivated", backup.PolicyUpdating, backup.UnitUnprotectRequested, backup.UnitUnprotectRequested)
		fails(t, "commit after deactivation", w.FailUnit(ctx, work[string(u1)], u1, problem), jobs.ErrLost)
		if _, _, err := w.UnitForBackup(ctx, contoso, u1); !errors.Is(err, catalog.ErrNotWanted) {
			t.Errorf("a unit of a deactivated policy: %v, want ErrNotWanted", err)
		}
		w.settle()
		expect("settled", backup.PolicyInactive, unprotected, unprotected)
		if left := w.claim(jobs.Backup); len(left) != 0 {
			t.Errorf("backup jobs of an inactive policy: %v", left)
		}

		ok(t, w.DeletePolicy(ctx, contoso, p.ID))
		fails(t, "delete twice", w.DeletePolicy(ctx, contoso, p.ID), backup.PolicyNotFound)
		for _, u := range w.units("") {
			if u.Policy != "" || u.Sources != 0 || u.Status != unprotected || u.Problem != nil {
				t.Errorf("unit of a deleted policy: %+v", u)
			}
		}
		if n := len(must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u1})).Items); n != 1 {
			t.Errorf("unit of a deleted policy has %d points, want 1", n)
		}
	})
}

// backUp2 makes a point of one unit.
func (w *world) backUp2(u backup.UnitID) {
	w.t.Helper()
	j := w.claim(jobs.Backup)[string(u)]
	if j == nil {
		w.t.Fatalf("unit %s has no backup job", u)
	}
	_, s, err := w.UnitForBackup(w.t.Context(), contoso, u)
	ok(w.t, err)
	prev := s.Root
	s.Drive, s.Root = "drive-"+backup.DriveID(u), prev+"+"
	must[backup.Point](w.t)(w.CommitPoint(w.t.Context(), j, catalog.Commit{Unit: u, PrevRoot: prev, State: s, Point: backup.Point{At: w.clock(), Tree: "t"}}))
	w.free()
}

func TestUpdatePolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p, other := w.policy("p", owner(1), owner(2), owner(3)), w.policy("other", owner(4))
		units := w.units("")
		w.pass(time.Second)
		patch := catalog.PolicyPatch{DisplayName: new("renamed"), By: w.by(), Units: []catalog.UnitChange{
			{Add: owner(5)},
			{Remove: units[owner(2)].ID},
			{Remove: "99999999-0000-4000-8000-000000000000"},
			{Add: owner(1)},
			{Add: owner(4)},
			{Remove: units[owner(4)].ID + "x"},
			{Add: owner(6)},
		}}
		got, results, err := w.UpdatePolicy(ctx, contoso, p.ID, patch)
		ok(t, err)
		if got.DisplayName != "renamed" || !cmp.Equal(got.Modified, patch.By) || got.Status != backup.PolicyInactive {
			t.Errorf("policy = %+v", got)
		}
		for i, want := range []struct {
			status backup.UnitStatus
			owner  backup.SubjectID
			err    backup.Code
		}{
			{backup.UnitProtectRequested, owner(5), ""},
			{backup.UnitRemoveRequested, owner(2), ""},
			{err: backup.InvalidUnit},
			{backup.UnitProtectRequested, owner(1), ""},
			{err: backup.ProtectionUnitAlreadyExists},
			{err: backup.InvalidUnit},
			{backup.UnitProtectRequested, owner(6), ""},
		} {
			r := results[i]
			switch {
			case want.err != "":
				if r.Err == nil || r.Err.Code != want.err {
					t.Errorf("result %d = %v, want %s", i, r.Err, want.err)
				} else if want.err == backup.InvalidUnit && (len(r.Err.Details) != 1 || r.Err.Details[0].Code != backup.ProtectionUnitNotFound) {
					t.Errorf("result %d has details %+v", i, r.Err.Details)
				}
			case r.Err != nil || r.Unit.Status != want.status || r.Unit.Subject != want.owner || r.Unit.Policy != p.ID:
				t.Errorf("result %d = %+v (%v), want %+v", i, r.Unit, r.Err, want)
			}
		}
		if results[3].Unit.ID != units[owner(1)].ID {
			t.Errorf("an owner named again got another unit")
		}
		// The results are what is stored, until the worker has settled.
		now := w.units(p.ID)
		for i, stored := range map[int]backup.Unit{0: now[owner(5)], 1: now[owner(2)], 6: now[owner(6)]} {
			if diff := cmp.Diff(results[i].Unit, stored); diff != "" {
				t.Errorf("result %d (-answered +stored):\n%s", i, diff)
			}
		}
		w.settle()
		now = w.units("")
		for i, want := range map[int]backup.PolicyID{1: p.ID, 2: "", 3: p.ID, 4: other.ID, 5: p.ID, 6: p.ID} {
			if u := now[owner(i)]; u.Policy != want || u.Status != backup.UnitUnprotected {
				t.Errorf("owner %d settled as %s in %q, want unprotected in %q", i, u.Status, u.Policy, want)
			}
		}
		if work := w.claim(jobs.Backup); len(work) != 0 {
			t.Errorf("backup jobs of an inactive policy: %v", work)
		}

		// A detached owner keeps its unit, also in another policy.
		r := w.add(other.ID, owner(2))
		if r[0].Err != nil || r[0].Unit.ID != units[owner(2)].ID || r[0].Unit.Policy != other.ID {
			t.Errorf("detached owner = %+v, want unit %s in the other policy", r[0], units[owner(2)].ID)
		}
	})
}

func TestUpdateActivePolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1), owner(2))
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		w.backUp()
		u1 := w.units(p.ID)[owner(1)].ID

		got, results, err := w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Add: owner(3)}, {Remove: u1}}})
		ok(t, err)
		if got.Status != backup.PolicyUpdating || status(t, w.Catalog, p.ID) != backup.PolicyUpdating {
			t.Errorf("policy = %s, stored %s; want updating", got.Status, status(t, w.Catalog, p.ID))
		}
		work := w.claim(jobs.Backup)
		if work[string(results[0].Unit.ID)] == nil {
			t.Error("an owner added to a policy in force has no backup job")
		}
		// The unit is going: nothing is committed any more.
		_, err = w.CommitPoint(ctx, work[string(u1)], catalog.Commit{Unit: u1, State: catalog.DriveState{Drive: "x"}, Point: backup.Point{At: w.clock()}})
		fails(t, "commit of a unit to be removed", err, catalog.ErrNotWanted)

		// Added again before it has gone.
		r := w.add(p.ID, owner(1))
		if r[0].Err != nil || r[0].Unit.ID != u1 {
			t.Errorf("added again = %+v", r[0])
		}
		w.free()
		w.settle()
		if u := w.units(p.ID)[owner(1)]; u.Status != backup.UnitProtectRequested {
			t.Errorf("added again, settled = %s, want protectRequested", u.Status)
		}
		w.backUp()
		if got := status(t, w.Catalog, p.ID); got != backup.PolicyActive {
			t.Errorf("policy = %s, want active", got)
		}

		// Removed for good: its job is gone, its points are not.
		_, _, err = w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: u1}}})
		ok(t, err)
		w.settle()
		if j := w.claim(jobs.Backup)[string(u1)]; j != nil {
			t.Error("a removed unit still has a backup job")
		}
		if n := len(must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u1})).Items); n != 2 {
			t.Errorf("a removed unit has %d points, want 2", n)
		}
		_, results, err = w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: u1}}})
		ok(t, err)
		if results[0].Err == nil || results[0].Err.Code != backup.InvalidUnit {
			t.Errorf("removed twice = %+v", results[0])
		}
	})
}

// Whole-request failures change nothing.
func TestUpdatePolicyRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.policy("p", owner(1), owner(2), owner(3))
		units := w.units(p.ID)
		exec(t, w.db, `UPDATE unit SET sources = 3 WHERE id = $1`, string(units[owner(2)].ID))
		exec(t, w.db, `UPDATE unit SET status = 'offboardRequested', policy = '', sources = 0 WHERE id = $1`, string(units[owner(3)].ID))
		before := w.units("")
		for name, tc := range map[string]struct {
			units []catalog.UnitChange
			want  error
		}{
			"an owner twice":          {[]catalog.UnitChange{{Add: owner(8)}, {Add: owner(9)}, {Add: owner(8)}}, backup.DuplicateProtectionUnitInList},
			"a unit twice":            {[]catalog.UnitChange{{Remove: units[owner(1)].ID}, {Remove: units[owner(1)].ID}}, backup.DuplicateProtectionUnitInList},
			"an owner and its unit":   {[]catalog.UnitChange{{Add: owner(1)}, {Remove: units[owner(1)].ID}}, backup.DuplicateProtectionUnitInList},
			"held by a dynamic rule":  {[]catalog.UnitChange{{Add: owner(8)}, {Remove: units[owner(2)].ID}}, backup.ProtectionUnitActionForbidden},
			"an unknown unit, added":  {[]catalog.UnitChange{{Add: owner(8)}, {Remove: "x"}, {Remove: "x"}}, backup.DuplicateProtectionUnitInList},
			"a null character inside": {nil, backup.InvalidDisplayName},
		} {
			patch := catalog.PolicyPatch{DisplayName: new("renamed"), Units: tc.units, By: w.by()}
			if tc.want == error(backup.InvalidDisplayName) {
				patch.DisplayName = new("\x00")
			}
			_, results, err := w.UpdatePolicy(ctx, contoso, p.ID, patch)
			fails(t, name, err, tc.want)
			if results != nil {
				t.Errorf("%s: results %v", name, results)
			}
		}
		if diff := cmp.Diff(before, w.units("")); diff != "" {
			t.Errorf("refused requests changed units:\n%s", diff)
		}
		if got := must[backup.Policy](t)(w.Policy(ctx, contoso, p.ID)); got.DisplayName != "p" {
			t.Errorf("a refused request renamed the policy to %q", got.DisplayName)
		}
		if work := w.claim(jobs.Settle); len(work) != 0 {
			t.Errorf("refused requests made jobs: %v", work)
		}

		// Of one item: an owner whose backups are being offboarded.
		if r := w.add(p.ID, owner(3), owner(8)); r[0].Err == nil || r[0].Err.Code != backup.OperationNotAllowed || r[1].Err != nil {
			t.Errorf("adding an owner being offboarded = %+v", r)
		}
		// An offboarded owner gets a new unit.
		exec(t, w.db, `UPDATE unit SET status = 'offboarded' WHERE id = $1`, string(units[owner(3)].ID))
		if r := w.add(p.ID, owner(3)); r[0].Err != nil || r[0].Unit.ID == units[owner(3)].ID {
			t.Errorf("adding an offboarded owner = %+v, want a new unit", r)
		}
	})
}

func exec(t testing.TB, db *database.DB, statement string, args ...any) {
	t.Helper()
	ok(t, db.Tx(t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement, args...)
		return err
	}))
}

func TestPoliciesInForce(t *testing.T) {
	for _, limit := range []int{1, 2} {
		dbtest.Each(t, func(t *testing.T, db *database.DB) {
			w := newWorld(t, db, limit)
			ctx := t.Context()
			var all []backup.Policy
			for range limit + 1 {
				all = append(all, w.policy("p"))
			}
			for _, p := range all[:limit] {
				must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
			}
			_, err := w.ActivatePolicy(ctx, contoso, all[limit].ID, w.by())
			fails(t, "activate one too many", err, backup.PolicyCreationNotAllowed)
			_, err = w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "n", By: w.by()})
			if want := limit == 1; errors.Is(err, backup.PolicyCreationNotAllowed) != want {
				t.Errorf("limit %d: create = %v, want refused %v", limit, err, want)
			}
			must[backup.Policy](t)(w.DeactivatePolicy(ctx, contoso, all[0].ID, w.by()))
			w.settle()
			must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, all[limit].ID, w.by()))

			// At once, only as many as may be.
			must[backup.Policy](t)(w.DeactivatePolicy(ctx, contoso, all[limit].ID, w.by()))
			w.settle()
			var won int
			for _, err := range together(2, func(i int) error {
				_, err := w.ActivatePolicy(ctx, contoso, []backup.PolicyID{all[0].ID, all[limit].ID}[i], w.by())
				return err
			}) {
				if err == nil {
					won++
				} else {
					fails(t, "activate at once", err, backup.PolicyCreationNotAllowed)
				}
			}
			if won != 1 {
				t.Errorf("limit %d: %d activations at once went through, want 1", limit, won)
			}
		})
	}
}

func TestPatchesAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		a, b := w.policy("a"), w.policy("b")
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, a.ID, w.by()))

		// The same owners to two policies, in opposite orders: one wins each.
		var mu sync.Mutex
		won := map[backup.SubjectID]int{}
		errs := together(8, func(i int) error {
			p, owners := a.ID, []backup.SubjectID{owner(1), owner(2), owner(3)}
			if i%2 == 1 {
				p = b.ID
				slices.Reverse(owners)
			}
			var changes []catalog.UnitChange
			for _, o := range owners {
				changes = append(changes, catalog.UnitChange{Add: o})
			}
			_, results, err := w.UpdatePolicy(ctx, contoso, p, catalog.PolicyPatch{Units: changes, By: w.by()})
			mu.Lock()
			defer mu.Unlock()
			for j, r := range results {
				if r.Err == nil {
					won[owners[j]]++
				} else if r.Err.Code != backup.ProtectionUnitAlreadyExists {
					t.Errorf("item = %v", r.Err)
				}
			}
			return err
		})
		for _, err := range errs {
			ok(t, err)
		}
		for i := range 3 {
			if won[owner(i+1)] != 4 { // the four requests for the policy that was first
				t.Errorf("owner %d was added by %d requests, want the 4 of one policy", i+1, won[owner(i+1)])
			}
		}
		if got := w.units(""); len(got) != 3 {
			t.Errorf("units = %v, want 3", got)
		}

		// Different owners to one policy: all are there, while a worker settles.
		errs = together(9, func(i int) error {
			if i == 8 {
				w.settle()
				return nil
			}
			_, _, err := w.UpdatePolicy(ctx, contoso, b.ID, catalog.PolicyPatch{Units: []catalog.UnitChange{{Add: owner(10 + i)}, {Add: owner(20 + i)}}, By: w.by()})
			return err
		})
		for _, err := range errs {
			ok(t, err)
		}
		w.free()
		w.settle()
		for i := range 8 {
			for _, o := range []backup.SubjectID{owner(10 + i), owner(20 + i)} {
				if u := w.units(b.ID)[o]; u.Status != backup.UnitUnprotected {
					t.Errorf("owner %s is %q in the policy, want unprotected", o, u.Status)
				}
			}
		}
	})
}

// An owner has a unit of each workload, and none of them gets in the others' way.
func TestWorkloadsAreApart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.people(1, 3)
		policies := map[backup.Workload]backup.PolicyID{}
		for _, workload := range []backup.Workload{backup.OneDrive, backup.Exchange} {
			p := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: workload, DisplayName: string(workload), Units: []backup.SubjectID{owner(1)}, By: w.by()}))
			policies[workload] = p.ID
			_, results, err := w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Add: owner(2)}}})
			ok(t, err)
			if r := results[0]; r.Err != nil || r.Unit.Workload != workload {
				t.Errorf("%s: added %+v, %v", workload, r.Unit, r.Err)
			}
			if b := w.bulk(p.ID, []string{user(1).Address}, []string{string(owner(3))}); b.Problem != nil {
				t.Errorf("%s: bulk job: %+v", workload, b.Problem)
			}
		}
		for workload, p := range policies {
			units := w.units(p)
			if len(units) != 3 {
				t.Errorf("%s: %d units, want 3", workload, len(units))
			}
			for _, u := range units {
				if u.Workload != workload || u.Address == "" {
					t.Errorf("%s: unit %+v", workload, u)
				}
			}
			if e := must[backup.Explanation](t)(w.Explain(ctx, contoso, p, owner(3))); !e.Included || e.Unit == nil || e.Unit.Policy != p {
				t.Errorf("%s: explanation %+v", workload, e)
			}
		}
		// Another policy of the workload is refused its units all the same.
		_, err := w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.Exchange, DisplayName: "second", Units: []backup.SubjectID{owner(1)}, By: w.by()})
		if !errors.Is(err, backup.ProtectionUnitAlreadyExists) {
			t.Errorf("a second policy of mailboxes: %v, want %s", err, backup.ProtectionUnitAlreadyExists)
		}
		// Whoever is called anew is, in each.
		renamed := user(1)
		renamed.DisplayName = "Zoe"
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{renamed}}))
		for workload, p := range policies {
			l := must[catalog.List[backup.Unit]](t)(w.Units(ctx, contoso, catalog.UnitQuery{Policy: p, Page: catalog.Page{Filter: must[odata.Expr](t)(odata.ParseFilter("displayName eq 'zoe'", catalog.UnitProperties))}}))
			if len(l.Items) != 1 || l.Items[0].Name != "Zoe" {
				t.Errorf("%s: units of Zoe: %+v", workload, l.Items)
			}
		}
	})
}
