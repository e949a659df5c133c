package catalog_test

import (
	"context"
	"fmt"
	"regexp"
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
					rows, err := db.Read().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+s.text, s.args...)
					ok(t, err)
					for rows.Next() {
						var id, parent, unused int
						var line string
						ok(t, rows.Scan(&id, &parent, &unused, &line))
						if strings.HasPrefix(line, "SCAN ") && !scopeTables.MatchString(line) {
							bad += fmt.Sprintln(line)
						}
					}
					ok(t, rows.Close())
				}
				if bad != "" {
					t.Errorf("%s: %s\n%s", name, s.text, bad)
				}
			}
		}
	})
}
