package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// kinds reads texts, the numbers among them as they are written.
func (w *world) kinds(query string) (all []string) {
	w.t.Helper()
	rows, err := w.db.Read().QueryContext(w.t.Context(), query)
	ok(w.t, err)
	defer rows.Close()
	for rows.Next() {
		var kind string
		ok(w.t, rows.Scan(&kind))
		all = append(all, kind)
	}
	ok(w.t, rows.Err())
	slices.Sort(all)
	return all
}

// Whatever becomes of units, the numbers that are kept of them are those that
// there are.
func TestCountsAreKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		filters := []string{"", "status eq 'protected'", "status ne 'protected'", "error ne null", "policyId eq null", "policyId ne null and status in ('unprotected','protected')",
			"not (error eq null or status eq 'protected')", "status eq 'unprotected' or error ne null"}
		check := func(what string, policies ...backup.PolicyID) {
			t.Helper()
			for _, of := range []struct{ table, columns string }{{"unit", "tenant, workload, policy, status, failing"}, {"audit", "tenant, result"}} {
				text := strings.ReplaceAll(of.columns, ", ", ` || ' ' || `)
				want := w.kinds(`SELECT ` + text + ` || ' ' || count(*) FROM ` + of.table + ` GROUP BY ` + of.columns)
				got := w.kinds(`SELECT ` + text + ` || ' ' || n FROM ` + of.table + `_count WHERE n <> 0`)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s: numbers of %s (-there +kept):\n%s", what, of.table, diff)
				}
			}
			for _, policy := range append(policies, "") {
				for _, filter := range filters {
					q := catalog.UnitQuery{Policy: policy, Page: catalog.Page{Limit: 1000, Count: true}}
					if filter != "" {
						q.Filter = must[odata.Expr](t)(odata.ParseFilter(filter, catalog.UnitProperties))
					}
					l := must[catalog.List[backup.Unit]](t)(w.Units(ctx, contoso, q))
					if int(l.Total) != len(l.Items) {
						t.Errorf("%s: %q of policy %q: %d are counted of %d", what, filter, policy, l.Total, len(l.Items))
					}
				}
			}
		}
		check("nothing")
		p, q := w.policy("p", owner(1), owner(2), owner(3), owner(4)), w.policy("q", owner(5))
		sites := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "s", Units: []backup.SubjectID{owner(1), owner(9)}, By: w.by()}))
		check("new units", p.ID, q.ID, sites.ID)
		for workload, want := range map[backup.Workload]int64{backup.OneDrive: 5, backup.SharePoint: 2, backup.Exchange: 0} {
			l := must[catalog.List[backup.Unit]](t)(w.Units(ctx, contoso, catalog.UnitQuery{Page: catalog.Page{Workload: workload, Count: true}}))
			if l.Total != want || len(l.Items) != int(want) {
				t.Errorf("%d units of %s are counted, and %d listed, want %d", l.Total, workload, len(l.Items), want)
			}
		}
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		check("activated", p.ID, q.ID)
		w.backUp()
		u := w.units(p.ID)
		ok(t, w.FailUnit(ctx, w.backupJob(u[owner(1)].ID), u[owner(1)].ID, &backup.Problem{Code: backup.ItemsNotBackedUp, Message: "m"}))
		ok(t, w.FailUnit(ctx, w.backupJob(u[owner(1)].ID), u[owner(1)].ID, &backup.Problem{Code: backup.ItemsNotBackedUp, Message: "another"}))
		check("one that fails", p.ID, q.ID)
		_, _, err := w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: u[owner(2)].ID}, {Add: owner(6)}, {Add: owner(5)}}})
		ok(t, err)
		check("changed", p.ID, q.ID)
		w.settle()
		check("settled", p.ID, q.ID)
		w.backUp()
		must[backup.Policy](t)(w.DeactivatePolicy(ctx, contoso, p.ID, w.by()))
		w.settle()
		check("deactivated", p.ID, q.ID)
		exec(t, w.db, `DELETE FROM unit`)
		check("gone", p.ID)

		for i, result := range []backup.ActivityResult{"", backup.ActivityFailed, backup.ActivityFailed} {
			ok(t, w.Record(ctx, backup.Activity{Tenant: contoso, Operation: "o", Object: fmt.Sprint(i), Result: result}))
		}
		failed := must[odata.Expr](t)(odata.ParseFilter("resultStatus eq 'failed'", catalog.ActivityProperties))
		l := must[catalog.List[backup.Activity]](t)(w.Activities(ctx, contoso, catalog.Page{Filter: failed, Count: true}))
		if l.Total != 2 || len(l.Items) != 2 {
			t.Errorf("%d failures are counted of %d", l.Total, len(l.Items))
		}
		check("recorded")
	})
}

// Where a filter asks for a range and nobody for an order, the list is in the
// order of what the range is of, whatever the page.
func TestRangesAreInTheirOwnOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		fill(w, 1200, 1)
		page := catalog.Page{Limit: 60, Filter: must[odata.Expr](t)(odata.ParseFilter("startswith(displayName,'Name 11')", catalog.UnitProperties))}
		var got, want []string
		for {
			l := must[catalog.List[backup.Unit]](t)(w.Units(t.Context(), contoso, catalog.UnitQuery{Page: page}))
			for _, u := range l.Items {
				got = append(got, u.Name)
			}
			if page.After = l.Next; l.Next == "" {
				break
			}
		}
		for i := range 1199 { // the last has no name
			if name := fmt.Sprint("Name ", i); strings.HasPrefix(name, "Name 11") {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
