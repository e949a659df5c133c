package catalog_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

const (
	groupA = backup.ObjectID("bbbbbbbb-0000-4000-8000-00000000000a")
	groupB = backup.ObjectID("bbbbbbbb-0000-4000-8000-00000000000b")

	ofA  = "(memberOf -any (group.id -in ['" + string(groupA) + "']))"
	ofAB = "(memberOf -any (group.id -in ['" + string(groupA) + "','" + string(groupB) + "']))"
)

func (w *world) rule(p backup.PolicyID, expression string, dynamic bool) backup.Rule {
	w.t.Helper()
	return must[backup.Rule](w.t)(w.CreateRule(w.t.Context(), contoso, p, catalog.NewRule{Expression: expression, Dynamic: dynamic, By: w.by()}))
}

// evaluate does a rule's job as a worker would that is killed before it can
// say so.
func (w *world) evaluate(id backup.RuleID, found catalog.Evaluation) error {
	w.t.Helper()
	r := must[backup.Rule](w.t)(w.RuleForWork(w.t.Context(), contoso, id))
	j := w.claim(jobs.Rule)[string(id)]
	if j == nil {
		w.t.Fatalf("rule %s has no work", id)
	}
	defer w.free()
	_, err := w.ApplyRule(w.t.Context(), j, r, found)
	return err
}

func members(group backup.ObjectID, from, to int) (list []catalog.Member) {
	for n := from; n < to; n++ {
		list = append(list, catalog.Member{Owner: owner(n), Group: group})
	}
	return list
}

func (w *world) held(p backup.PolicyID) (manual, dynamic, leaving int) {
	w.t.Helper()
	for _, u := range w.units(p) {
		switch {
		case u.Status == backup.UnitRemoveRequested:
			leaving++
		case u.Sources == backup.SourceDynamicRule:
			dynamic++
		default:
			manual++
		}
	}
	return manual, dynamic, leaving
}

// More members than one transaction takes come and go.
func TestApplyRule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const many = 1050
		w.SetBatch(200)
		p := w.policy("A", owner(1))
		_, err := w.ActivatePolicy(t.Context(), contoso, p.ID, w.by())
		ok(t, err)
		r := w.rule(p.ID, ofA, true)
		want := func(what string, manual, dynamic, leaving int) {
			t.Helper()
			if a, b, c := w.held(p.ID); a != manual || b != dynamic || c != leaving {
				t.Errorf("%s: %d by hand, %d by the rule, %d leaving, want %d, %d, %d", what, a, b, c, manual, dynamic, leaving)
			}
		}
		for range 2 { // begun anew after its end
			ok(t, w.evaluate(r.ID, catalog.Evaluation{Members: members(groupA, 0, many)}))
			want("all", 1, many-1, 0)
		}
		if n := len(w.claim(jobs.Backup)); n != many {
			t.Errorf("%d backups are due, want %d", n, many)
		}
		w.free()
		ok(t, w.evaluate(r.ID, catalog.Evaluation{Members: members(groupA, 10, many)}))
		want("ten missing", 1, many-1, 0)
		ok(t, w.evaluate(r.ID, catalog.Evaluation{Members: members(groupA, 10, many)}))
		want("ten less", 1, many-10, 9)
		w.settle()
		want("settled", 1, many-10, 0)
		if n := len(w.claim(jobs.Backup)); n != many-9 {
			t.Errorf("%d backups are due, want %d", n, many-9)
		}
		w.free()
		if got := must[backup.Rule](t)(w.Rule(t.Context(), contoso, p.ID, r.ID)); got.Status != backup.RuleCompleted || got.Problem != nil || got.Evaluated.IsZero() {
			t.Errorf("the rule is %+v", got)
		}

		// Nobody is let go for the sake of an evaluation that was cut off.
		j := w.claim(jobs.Rule)[string(r.ID)]
		now := must[backup.Rule](t)(w.RuleForWork(t.Context(), contoso, r.ID))
		w.pass(1e12)
		w.free() // the lease is another's now
		_, err = w.ApplyRule(t.Context(), j, now, catalog.Evaluation{})
		fails(t, "an evaluation without its lease", err, jobs.ErrLost)
		want("without a lease", 1, many-10, 0)

		_, err = w.UpdateRule(t.Context(), contoso, p.ID, r.ID, ofAB, w.by())
		ok(t, err)
		j = w.claim(jobs.Rule)[string(r.ID)]
		_, err = w.ApplyRule(t.Context(), j, now, catalog.Evaluation{})
		fails(t, "an evaluation of the old expression", err, catalog.ErrRuleChanged)
		w.free()
		want("of the old expression", 1, many-10, 0)

		// Group A cannot be read; its members stay.
		unread := []backup.Detail{{Code: backup.InvalidGroupID, Message: "No.", Target: string(groupA)}}
		ok(t, w.evaluate(r.ID, catalog.Evaluation{Members: members(groupB, many, many+1), Unread: unread}))
		want("unread", 1, many-9, 0)
		w.pass(1e9)
		_, err = w.ReleaseRule(t.Context(), contoso, p.ID, r.ID, w.by())
		ok(t, err)
		last := must[backup.Rule](t)(w.RuleForWork(t.Context(), contoso, r.ID))
		j = w.claim(jobs.Rule)[string(r.ID)]
		ok(t, w.EndRule(t.Context(), j, last))
		w.free()
		want("released", 1, 0, many-9)
		fails(t, "the end of a rule that is gone", w.EndRule(t.Context(), w.claim(jobs.Rule)[string(r.ID)], last), backup.ProtectionRuleNotFound)
		w.free()

		// Whoever is on the way out may be removed by hand, and may come back.
		var some backup.Unit
		for _, u := range w.units(p.ID) {
			if u.Status == backup.UnitRemoveRequested {
				some = u
			}
		}
		_, results, err := w.UpdatePolicy(t.Context(), contoso, p.ID, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: some.ID}}, By: w.by()})
		if err != nil || results[0].Err != nil {
			t.Errorf("removal of one on the way out = %v, %v", results, err)
		}
		w.add(p.ID, some.Subject)
		if u := w.units(p.ID)[some.Subject]; u.Sources != backup.SourceManual || u.Status != backup.UnitProtectRequested {
			t.Errorf("one that came back is %+v", u)
		}
	})
}

// Who is missing stays until a later evaluation misses them too, and whoever
// comes back meanwhile was never away.
func TestMembersLeaveAtASecondLook(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := w.policy("A")
		r := w.rule(p.ID, ofAB, true)
		apply := func(what string, missing int64, dynamic, leaving int, found catalog.Evaluation) {
			t.Helper()
			found.Believed = time.Hour
			w.pass(time.Second)
			defer w.free()
			n, err := w.ApplyRule(t.Context(), w.claim(jobs.Rule)[string(r.ID)], must[backup.Rule](t)(w.RuleForWork(t.Context(), contoso, r.ID)), found)
			ok(t, err)
			if _, a, b := w.held(p.ID); n != missing || a != dynamic || b != leaving {
				t.Errorf("%s: %d are missing, the rule holds %d, %d leave, want %d, %d, %d", what, n, a, b, missing, dynamic, leaving)
			}
		}
		all := slices.Concat(members(groupA, 0, 4), members(groupB, 4, 6))
		unread := []backup.Detail{{Code: backup.InvalidGroupID, Message: "No.", Target: string(groupA)}}
		apply("all", 0, 6, 0, catalog.Evaluation{Members: all})
		apply("an empty answer", 6, 6, 0, catalog.Evaluation{})
		apply("the same at once", 6, 6, 0, catalog.Evaluation{})
		if e := must[backup.Explanation](t)(w.Explain(t.Context(), contoso, p.ID, owner(1))); !slices.ContainsFunc(e.Reasons, func(r backup.Reason) bool {
			return r.Code == backup.RuleNoMatch && r.Group == groupA
		}) {
			t.Errorf("of one who is missing it says %+v", e.Reasons)
		}
		w.pass(2 * time.Hour)
		apply("all again", 0, 6, 0, catalog.Evaluation{Members: all})
		apply("two missing", 2, 6, 0, catalog.Evaluation{Members: all[1:5]})
		w.pass(2 * time.Hour)
		apply("group A cannot be read", 1, 5, 1, catalog.Evaluation{Members: all[1:4], Unread: unread})
		w.pass(2 * time.Hour)
		apply("two missing for long", 0, 3, 3, catalog.Evaluation{Members: all[1:4]})
		w.settle()

		// A catalog that was made anew from the vault knows whom the rule holds, and
		// not why.
		ok(t, w.db.Tx(t.Context(), func(tx *database.Tx) error {
			_, err := tx.ExecContext(t.Context(), `DELETE FROM rule_match`)
			return err
		}))
		apply("anew", 3, 3, 0, catalog.Evaluation{})
		w.pass(2 * time.Hour)
		apply("anew, with a group that cannot be read", 0, 3, 0, catalog.Evaluation{Unread: unread})
		apply("anew, and one is there", 0, 1, 2, catalog.Evaluation{Members: all[1:2]})
	})
}

// Two requests at once make one dynamic rule.
func TestOneDynamicRule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := w.policy("A")
		made := 0
		for _, err := range together(4, func(int) error {
			_, err := w.CreateRule(t.Context(), contoso, p.ID, catalog.NewRule{Expression: ofA, Dynamic: true, By: w.by()})
			return err
		}) {
			if err == nil {
				made++
			} else if !errors.Is(err, backup.InvalidRuleCreateRequest) {
				t.Error(err)
			}
		}
		if made != 1 {
			t.Errorf("%d dynamic rules", made)
		}
		w.rule(p.ID, ofA, false)
		w.rule(p.ID, ofA, false)
		ok(t, w.DeletePolicy(t.Context(), contoso, p.ID))
		if left := w.claim(jobs.Rule); len(left) != 0 {
			t.Errorf("work is left: %v", left)
		}
	})
}
