package catalog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
	"holdfast/internal/odata"
)

// activities is what the log of contoso says, oldest first.
func (w *world) activities() (all []backup.Activity) {
	w.t.Helper()
	ok(w.t, w.ExportActivities(w.t.Context(), contoso, w.now.AddDate(-1, 0, 0), func(a backup.Activity) error {
		all = append(all, a)
		return nil
	}))
	return all
}

// What a caller changes and the trace of it are there together or not at all.
func TestAuditGoesWithTheChange(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		doing := func(operation string) (context.Context, *catalog.Audit) {
			a := &catalog.Audit{Activity: backup.Activity{Tenant: contoso, Operation: operation, By: w.by().By, Request: "r"}}
			return catalog.WithAudit(t.Context(), a), a
		}
		ctx, a := doing("CreatePolicy")
		p := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "p", Units: []backup.SubjectID{owner(1)}, By: w.by()}))
		if !a.Written() {
			t.Error("a policy was made without a trace")
		}
		if log := w.activities(); len(log) != 1 || log[0].Object != string(p.ID) || log[0].Result != backup.ActivitySucceeded || log[0].By.Application.ID != "app" {
			t.Errorf("log = %+v", log)
		}
		// One call leaves one entry, however many transactions it takes.
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		ctx, a = doing("DeletePolicy")
		fails(t, "delete", w.DeletePolicy(ctx, contoso, p.ID), backup.PolicyActionNotAllowed)
		if a.Written() || len(w.activities()) != 1 {
			t.Errorf("a refusal was written as a change: %+v", w.activities())
		}
		// A transaction that is rolled back takes its trace with it.
		gone, cancel := context.WithCancelCause(ctx)
		cancel(errors.New("gone"))
		if err := w.DeletePolicy(gone, contoso, p.ID); err == nil || len(w.activities()) != 1 {
			t.Errorf("cancelled: %v, %+v", err, w.activities())
		}
	})
}

// The end of a restore is in the log, with how it went.
func TestRestoresEndInTheLog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s := w.session(w.points(2)...)
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		work := w.claim(jobs.Restore)
		for i, a := range w.artifacts(s.ID) {
			var problem *backup.Problem
			if i == 1 {
				problem = &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "No."}
			}
			ok(t, w.StartArtifact(ctx, work[string(a.ID)], a.ID))
			if log := w.activities(); len(log) != 0 {
				t.Errorf("before the end: %+v", log)
			}
			ok(t, w.FinishArtifact(ctx, work[string(a.ID)], a.ID, catalog.Restored{}, problem))
		}
		log := w.activities()
		if len(log) != 1 || log[0].Operation != backup.RestoreFinishedActivity || log[0].Object != string(s.ID) ||
			log[0].Result != backup.ActivityPartiallySucceeded || log[0].Problem.Code != backup.ArtifactCannotBeRestored {
			t.Errorf("log = %+v", log)
		}
	})
}

// The log is found by who has done what to which thing, however they are spelled, and by
// all of it at once.
func TestTheLogIsFoundByWhoAndWhat(t *testing.T) {
	mira, gone := "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"
	entries := []backup.Activity{
		{Request: "0", Operation: "DeletePolicy", Object: gone, By: backup.IdentitySet{User: backup.Identity{ID: mira, Email: "Mira@Contoso.com", DisplayName: "Mira"}, Application: backup.Identity{ID: "app", DisplayName: "Console"}}},
		{Request: "1", Operation: "DeletePolicy", Object: "none of ours", By: backup.IdentitySet{Application: backup.Identity{ID: "app", DisplayName: "Éva's \"app\""}}},
		{Request: "2", Operation: backup.RestoreFinishedActivity, Object: gone},
		{Request: "3", Operation: "CreateSession", By: backup.IdentitySet{User: backup.Identity{ID: "only an id"}}},
		{Request: "4", Operation: "CreateSession", By: backup.IdentitySet{User: backup.Identity{ID: mira, DisplayName: "mira\x00"}}, Result: backup.ActivityFailed},
	}
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		for i, a := range entries {
			a.Tenant, a.At = contoso, w.clock().Add(time.Duration(i)*time.Second)
			ok(t, w.Record(t.Context(), a))
			a.Tenant = fabrikam
			ok(t, w.Record(t.Context(), a))
		}
		found := func(filter, order string) string {
			var all []string
			l := must[catalog.List[backup.Activity]](t)(w.Activities(t.Context(), contoso, pageOf(t, filter, order, catalog.ActivityProperties)))
			for _, a := range l.Items {
				all = append(all, a.Request)
			}
			return strings.Join(all, "")
		}
		for filter, want := range map[string]string{
			"performedBy eq 'mira@CONTOSO.com'":                                       "0",
			"startswith(performedBy,'MIRA@')":                                         "0",
			"performedBy eq 'Éva''s \"App\"'":                                         "1",
			"performedBy eq 'holdfast'":                                               "2",
			"performedBy eq 'only an id'":                                             "3",
			"performedBy in ('holdfast','only an id')":                                "32",
			"performedBy ne 'holdfast' and contains(performedBy,'app')":               "1",
			"@holdfast.performedById eq '" + strings.ToUpper(mira) + "'":              "0",
			"@holdfast.performedById eq 'app'":                                        "1",
			"@holdfast.operation eq 'DeletePolicy'":                                   "10",
			"@holdfast.operation eq 'deletepolicy'":                                   "",
			"@holdfast.operation in ('RestoreFinished','DeletePolicy')":               "210",
			"@holdfast.objectId eq '" + strings.ToUpper(gone) + "'":                   "20",
			"@holdfast.objectId eq 'none of ours'":                                    "1",
			"@holdfast.operation eq 'CreateSession' and resultStatus eq 'failed'":     "4",
			"@holdfast.objectId eq '" + gone + "' and performedBy eq 'holdfast'":      "2",
			"not (@holdfast.operation eq 'DeletePolicy') and performedBy ne 'x'":      "432",
			"@holdfast.performedById eq '' and @holdfast.operation ne 'DeletePolicy'": "2",
		} {
			switch nul := db.Dialect() == database.Postgres; { // which cannot say who that was
			case nul && strings.HasSuffix(filter, "ne 'DeletePolicy'"):
				want = "42"
			case !nul && strings.Contains(filter, strings.ToUpper(mira)):
				want = "40"
			}
			if got := found(filter, "eventDateTime desc"); got != want {
				t.Errorf("%s finds %q, want %q", filter, got, want)
			}
			back := []byte(want)
			if slices.Reverse(back); found(filter, "eventDateTime") != string(back) {
				t.Errorf("%s finds from the oldest on %q, want %q", filter, found(filter, "eventDateTime"), back)
			}
		}
		for _, wrong := range []string{"@holdfast.protectionUnitId eq 'no id'", "@holdfast.nothing eq 'x'", "startswith(@holdfast.operation,1)", "@holdfast.operation eq null and"} {
			if _, err := odata.ParseFilter(wrong, catalog.ActivityProperties); err == nil {
				t.Errorf("%s is understood", wrong)
			}
		}
	})
}

// The log is found by whose backups an entry is of, with all else that it is asked for, in
// its order and page by page; what was written without its time has it when it is looked
// for.
func TestTheLogIsFoundByUnit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		fill(w, 4, 0)
		one, two, alien := backup.UnitID(manyID("b", 0)), backup.UnitID(manyID("b", 1)), backup.UnitID(manyID("b", 9))
		for i, units := range [][]backup.UnitID{{one}, {two, one}, {two}, nil, {one, one}, {alien}} {
			a := backup.Activity{Tenant: contoso, Request: string(rune('0' + i)), Operation: []string{"Browse", "CreateSession"}[i%2], At: w.clock().Add(time.Duration(i) * time.Second)}
			ok(t, w.Record(t.Context(), a, units...))
		}
		ok(t, w.Record(t.Context(), backup.Activity{Tenant: fabrikam, Request: "f", At: w.clock()}, one))
		found := func(ctx context.Context, filter, order string, limit int) (all string) {
			page := pageOf(t, filter, order, catalog.ActivityProperties)
			page.Limit, page.Count = limit, true
			for {
				l := must[catalog.List[backup.Activity]](t)(w.Activities(ctx, contoso, page))
				for _, a := range l.Items {
					all += a.Request
				}
				if page.After = l.Next; l.Next == "" {
					if limit > 1 && int(l.Total) != len(all) {
						t.Errorf("%s counts %d of %q", filter, l.Total, all)
					}
					return all
				}
			}
		}
		of := func(u backup.UnitID) string {
			return "@holdfast.protectionUnitId eq '" + strings.ToUpper(string(u)) + "'"
		}
		everything := map[string]string{
			of(one):                     "410",
			of(two):                     "21",
			of(one) + " and " + of(two): "",
			of(one) + " or " + of(two):  "4210",
			"not (" + of(one) + ")":     "532",
			"@holdfast.protectionUnitId ne '" + string(one) + "' and @holdfast.operation eq 'Browse'":  "2",
			of(one) + " and @holdfast.operation eq 'Browse'":                                           "40",
			"performedBy eq 'holdfast' and " + of(one):                                                 "410",
			of(one) + " and eventDateTime gt " + w.clock().UTC().Format("2006-01-02T15:04:05.999999Z"): "41",
			of(backup.UnitID(manyID("b", 3))):                                                          "",
		}
		check := func(ctx context.Context, when string, all map[string]string) {
			t.Helper()
			for filter, want := range all {
				for _, limit := range []int{1, 100} {
					if got := found(ctx, filter, "", limit); got != want {
						t.Errorf("%s: %s finds %q by %d, want %q", when, filter, got, limit, want)
					}
				}
				back := []byte(want)
				if slices.Reverse(back); found(ctx, filter, "eventDateTime", 100) != string(back) {
					t.Errorf("%s: %s finds from the oldest on %q, want %q", when, filter, found(ctx, filter, "eventDateTime", 100), back)
				}
			}
		}
		check(t.Context(), "as written", everything)
		exec(t, db, `UPDATE audit_unit SET at = 0, tenant = '' WHERE unit <> '`+string(two)+`' OR audit IN (SELECT id FROM audit WHERE request = '2')`) // as programs of before write it
		check(t.Context(), "without times", everything)
		// Whoever is limited to a part of the tenant finds what is of that part alone.
		limited := catalog.WithScope(t.Context(), &catalog.Scope{Owners: []string{manyID("a", 0)}})
		check(limited, "limited", map[string]string{of(one): "40", of(two): "", of(one) + " and @holdfast.operation eq 'CreateSession'": "", of(alien): ""})
		w.SetEffort(0, 1000, 1000) // so that the scope is wide
		ok(t, w.Record(t.Context(), backup.Activity{Tenant: fabrikam, Request: "f", At: w.clock()}, one))
		check(t.Context(), "of another tenant", everything)
		check(limited, "of a wide scope", map[string]string{of(one): "40", of(two): ""})
	})
}
