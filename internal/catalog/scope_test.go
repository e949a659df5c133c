package catalog_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/odata"
)

// scopeTables are what SQLite may go through of a scope: its own units, owners and lists.
var scopeTables = regexp.MustCompile(`^SCAN (?:json_each|c|e|o|x|n|v|\(?[a-z-]*subquery-?\d*\)?|\d+-ROW.*|CONSTANT.*|unit_count|[0-9]+ CONSTANT.*)\b`)

// What is shown of a scope costs what the scope holds, however large the tenant is.
func TestAScopeReadsItsOwn(t *testing.T) {
	const units = 20_000
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		policy := fill(w, units, units)
		var owners []string
		for n := range 20 {
			owners = append(owners, manyID("a", 700*n))
		}
		scope := &catalog.Scope{Owners: append(owners, "user3@contoso.com"), Groups: []backup.ObjectID{"40000000-0000-4000-8000-000000000001"}, Caller: "me"}
		in := func(ctx context.Context) context.Context { return catalog.WithScope(ctx, scope) }
		unit := backup.UnitID(manyID("b", 700))
		byName := []odata.Order{{Property: odata.Property{Name: "displayName"}, Desc: true}}
		for name, fn := range map[string]func(context.Context) error{
			"units": func(ctx context.Context) error {
				l, err := w.Units(in(ctx), contoso, catalog.UnitQuery{Page: catalog.Page{Count: true, Limit: 10}})
				if err == nil && (l.Total != 21 || len(l.Items) != 10) {
					t.Errorf("%d units in the scope, a page of %d", l.Total, len(l.Items))
				}
				return err
			},
			"units by name": func(ctx context.Context) error {
				_, err := w.Units(in(ctx), contoso, catalog.UnitQuery{Policy: policy, Page: catalog.Page{Limit: 5, Order: byName}})
				return err
			},
			"a unit":   func(ctx context.Context) error { _, err := w.Unit(in(ctx), contoso, unit); return err },
			"a policy": func(ctx context.Context) error { _, err := w.Policy(in(ctx), contoso, policy); return err },
			"counts":   func(ctx context.Context) error { _, err := w.PolicyUnitCounts(in(ctx), contoso, policy); return err },
			"policies": func(ctx context.Context) error { _, err := w.Policies(in(ctx), contoso, catalog.Page{}); return err },
			"sessions": func(ctx context.Context) error { _, err := w.Sessions(in(ctx), contoso, catalog.Page{}); return err },
			"browses": func(ctx context.Context) error {
				_, err := w.BrowseSessions(in(ctx), contoso, catalog.Page{})
				return err
			},
			"activities": func(ctx context.Context) error { _, err := w.Activities(in(ctx), contoso, catalog.Page{}); return err },
			"exclusions": func(ctx context.Context) error {
				_, err := w.Exclusions(in(ctx), contoso, "", catalog.Page{})
				return err
			},
			"rpo": func(ctx context.Context) error { _, err := w.RPO(in(ctx), contoso, 5); return err },
			"coverage": func(ctx context.Context) error {
				_, err := w.Coverage(in(ctx), contoso, catalog.Page{Limit: 100, After: "-"})
				return err
			},
		} {
			checkScopePlans(t, db, name, fn)
		}
	})
}

// checkScopePlans runs fn and reports each statement of it that reads all of a table, or
// on PostgreSQL looks at too many rows.
func checkScopePlans(t *testing.T, db *database.DB, name string, fn func(context.Context) error) {
	t.Helper()
	type statement struct {
		text string
		args []any
	}
	var all []statement
	ok(t, fn(database.Observe(t.Context(), func(text string, args []any) { all = append(all, statement{text, args}) })))
	if len(all) == 0 {
		t.Errorf("%s: no statement", name)
	}
	for _, s := range all {
		bad := ""
		if db.Dialect() == database.Postgres {
			bad = postgresFault(t, db, s.text, s.args)
		} else {
			for _, line := range dbtest.SQLitePlan(t, db, s.text, s.args) {
				if strings.HasPrefix(line, "SCAN ") && !scopeTables.MatchString(line) {
					bad += fmt.Sprintln(line)
				}
			}
		}
		if bad != "" {
			t.Errorf("%s: %s\n%s", name, s.text, bad)
		}
	}
}

// A list that is held to a wide scope is looked through for what is in it, by the index
// that has its order and a bounded number of rows for a page; and has what it has where the
// scope's own is sorted, in the same order, to the last page.
func TestPlayAWideScopeReadsABoundedPart(t *testing.T) {
	const units = 20_000
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		fill(w, units, 0)
		byPolicy, byGroup := fillScope(w)
		now := database.Micros(w.clock())
		fillRestores(w, 500, 500) // the first session has units inside and outside
		many(t, db, 400, `INSERT INTO restore_artifact (id, tenant, session, point, unit, drive, at, expires, tags, tree, files, folders, bytes, unread, search, query, hits, destination, status, created, started, completed, site_id, site_name, site_web_url)`,
			fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', 'eeeeeeee-0000-4000-8000-' || (100000000001 + n.i), 'p', 'bbbbbbbb-0000-4000-8000-' || (100000000000 + 5 * n.i), 'd', 1, 1, 'none', 't', 1, 1, 1, 0, '', '', 0, 'new', 'added', %d, 0, 0, '', '', '' FROM n`, contoso, now))
		fillLog(w, 500, 400)
		many(t, db, 450, `INSERT INTO audit_unit (unit, audit)`, `SELECT 'bbbbbbbb-0000-4000-8000-' || (100000000000 + 5 * n.i), `+sqlID("d")+` FROM n`)
		many(t, db, 500, `INSERT INTO browse_session (id, tenant, owner, point, unit, drive, at, tree, bytes, web_url, status, created, expires)`,
			fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', 'o', 'p', 'bbbbbbbb-0000-4000-8000-' || (100000000000 + 5 * n.i), 'd', 1, 't', 1, '', 'created', %[2]d + n.i, %[2]d + 1000000000000 FROM n`, contoso, now))
		many(t, db, 500, `INSERT INTO exclusion (id, tenant, workload, policy, subject, source_id, created, created_by)`,
			fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', 'oneDriveForBusiness', '%s', 'aaaaaaaa-0000-4000-8000-' || (100000000000 + 5 * n.i), '', %d + n.i, '{}' FROM n`, contoso, byPolicy.Policies[0], now))
		many(t, db, 200, `INSERT INTO approval (id, tenant, kind, object, session, what, request, hash, actors, asked, asked_by, expires, state, decided)`,
			fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', CASE WHEN n.i %% 2 = 0 THEN 'restore' ELSE 'offboard' END, CASE WHEN n.i %% 2 = 0 THEN 'eeeeeeee-0000-4000-8000-' || (100000000001 + n.i) ELSE 'bbbbbbbb-0000-4000-8000-' || (100000000000 + 5 * n.i) END,
				CASE WHEN n.i %% 2 = 0 THEN 'eeeeeeee-0000-4000-8000-' || (100000000001 + n.i) END, '', '{}', '', '[]', %[2]d + n.i, '{}', %[2]d, 'denied', %[2]d FROM n`, contoso, now))
		settleDown(w)

		type list struct {
			name string
			ids  func(context.Context, catalog.Page) (ids []string, next string, err error)
			page catalog.Page
		}
		var all []list
		of := func(name string, page catalog.Page, ids func(context.Context, catalog.Page) ([]string, string, error)) {
			all = append(all, list{name, ids, page})
		}
		for _, filter := range []string{"", "status eq 'protected'", "status eq 'offboardRequested'", "email eq 'user40@contoso.com'", "startswith(displayName,'name 1')", "contains(email,'4')", "contains(email,'nobody')",
			"createdDateTime ge 2026-11-18T09:00:00.015Z", "id in ('" + manyID("b", 20) + "','" + manyID("b", 21) + "')"} {
			for _, order := range []string{"", "createdDateTime desc", "displayName desc", "lastModifiedDateTime,displayName"} {
				of(fmt.Sprintf("units %q by %q", filter, order), pageOf(t, filter, order, catalog.UnitProperties), func(ctx context.Context, p catalog.Page) (ids []string, next string, err error) {
					l, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: p})
					for _, u := range l.Items {
						ids = append(ids, string(u.ID))
					}
					return ids, l.Next, err
				})
			}
		}
		of("sessions", catalog.Page{}, func(ctx context.Context, p catalog.Page) (ids []string, next string, err error) {
			l, err := w.Sessions(ctx, contoso, p)
			for _, u := range l.Items {
				ids = append(ids, string(u.ID))
			}
			return ids, l.Next, err
		})
		of("activities", catalog.Page{}, func(ctx context.Context, p catalog.Page) (ids []string, next string, err error) {
			l, err := w.Activities(ctx, contoso, p)
			for _, u := range l.Items {
				ids = append(ids, string(u.ID))
			}
			return ids, l.Next, err
		})
		of("browse sessions", catalog.Page{}, func(ctx context.Context, p catalog.Page) (ids []string, next string, err error) {
			l, err := w.BrowseSessions(ctx, contoso, p)
			for _, u := range l.Items {
				ids = append(ids, string(u.ID))
			}
			return ids, l.Next, err
		})
		of("exclusions", catalog.Page{}, func(ctx context.Context, p catalog.Page) (ids []string, next string, err error) {
			l, err := w.Exclusions(ctx, contoso, "", p)
			for _, u := range l.Items {
				ids = append(ids, string(u.ID))
			}
			return ids, l.Next, err
		})
		of("approvals", catalog.Page{}, func(ctx context.Context, p catalog.Page) (ids []string, next string, err error) {
			l, err := w.Approvals(ctx, contoso, p)
			for _, u := range l.Items {
				ids = append(ids, string(u.ID))
			}
			return ids, l.Next, err
		})
		for name, scope := range map[string]*catalog.Scope{"policy": byPolicy, "group": byGroup, "both": {Policies: byPolicy.Policies, Groups: byGroup.Groups, Caller: "me"}} {
			ctx := catalog.WithScope(t.Context(), scope)
			for _, l := range all {
				var got [2][]string
				for i, few := range []int{10_000, 50} { // sorted, looked through
					w.SetEffort(few, 4000, 2000)
					page := l.page
					page.Limit = 300
					for pages := 0; ; pages++ {
						ids, next, err := l.ids(ctx, page)
						ok(t, err)
						if got[i] = append(got[i], ids...); next == "" {
							break
						}
						if page.After = next; pages > 100 {
							t.Fatalf("%s of a %s: no end", l.name, name)
						}
					}
				}
				if !slices.Equal(got[0], got[1]) {
					t.Errorf("%s of a %s: %d sorted, %d looked through: %.300q, %.300q", l.name, name, len(got[0]), len(got[1]), got[0], got[1])
				}
				if len(got[0]) == 0 && !strings.Contains(l.name, "nobody") && !strings.Contains(l.name, "offboard") && (l.name != "exclusions" || scope != byPolicy) { // these are of owners
					t.Errorf("%s of a %s: none", l.name, name)
				}
				w.SetEffort(50, 1000, 2000)
				page := l.page
				page.Limit = 10
				for range 2 {
					checkScopePlans(t, db, fmt.Sprintf("%s of a %s after %s", l.name, name, page.After), func(of context.Context) error {
						_, next, err := l.ids(catalog.WithScope(of, scope), page)
						page.After = next
						return err
					})
					if page.After == "" {
						break
					}
				}
			}
			// A count is exact as long as it is within the bound.
			for _, bound := range []int{10, 100, 20_000} {
				w.SetEffort(50, 1000, bound)
				l, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: catalog.Page{Count: true, Bare: true}})
				if bound == 10 && name != "policy" {
					fails(t, "a count of "+name, err, backup.InvalidRequest)
				} else if ok(t, err); l.Total != 1000 {
					t.Errorf("%d units in the %s", l.Total, name)
				}
			}
		}
	})
}
