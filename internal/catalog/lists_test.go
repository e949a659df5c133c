package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/odata"
)

// fillLog puts many activities into the log, one of which failed, and one of every so many
// of which is a certain one.
func fillLog(w *world, n, every int) {
	w.t.Helper()
	many(w.t, w.db, n, `INSERT INTO audit (id, tenant, at, actor, operation, target, object, result, problem, request)`,
		fmt.Sprintf(`SELECT `+sqlID("d")+`, '%[1]s', %[2]d + n.i, CASE n.i %% %[4]d WHEN 7 THEN '{"user":{"id":"a0000000-0000-4000-8000-00000000000a","email":"Policy 77"}}' WHEN 8 THEN '{"application":{"id":"app","displayName":"Éva"}}' ELSE '{}' END,
			CASE n.i %% %[4]d WHEN 7 THEN 'o' ELSE 'p' END, 't', CASE n.i %% %[4]d WHEN 7 THEN 'o' ELSE '' END, CASE WHEN n.i = %[3]d THEN 'failed' ELSE 'succeeded' END, NULL, '' FROM n`,
			contoso, database.Micros(w.clock()), n/2, every))
}

// fillRestores puts many restore sessions into the catalog, one of which failed
// and one of which has many artifacts. It returns that one.
func fillRestores(w *world, sessions, artifacts int) backup.SessionID {
	w.t.Helper()
	now := database.Micros(w.clock())
	many(w.t, w.db, sessions, `INSERT INTO restore_session (id, tenant, workload, status, job_type, total, succeeded, failed, completed, created, created_by, modified, modified_by)`,
		fmt.Sprintf(`SELECT `+sqlID("e")+`, '%s', 'oneDriveForBusiness', CASE WHEN n.i = %d THEN 'failed' ELSE 'completed' END, 'standard', 0, 0, 0, %[3]d, %[3]d + n.i, '{}', %[3]d + n.i, '{}' FROM n`,
			contoso, sessions/2, now))
	one := backup.SessionID(manyID("e", 0))
	many(w.t, w.db, artifacts, `INSERT INTO restore_artifact (id, tenant, session, point, unit, drive, at, expires, tags, tree, files, folders, bytes, unread, search, query, hits, destination, status, created, started, completed, site_id, site_name, site_web_url)`,
		fmt.Sprintf(`SELECT `+sqlID("f")+`, '%s', '%s', 'p', `+sqlID("b")+`, 'd', 1, 1, 'none', 't', 1, 1, 1, 0, '', '', 0, 'new', CASE WHEN n.i = %d THEN 'failed' ELSE 'succeeded' END, %[4]d + n.i, %[4]d - n.i, %[4]d, '', '', '' FROM n`,
			contoso, one, artifacts/2, now))
	return one
}

// fillOthers puts many of what else is listed into the catalog, those that are of
// a policy or a session into the ones named.
func fillOthers(w *world, n int, p backup.PolicyID, s backup.SessionID) {
	w.t.Helper()
	now := database.Micros(w.clock())
	many(w.t, w.db, n, `INSERT INTO policy (id, tenant, workload, display_name, name_key, enabled, created, created_by, modified, modified_by)`,
		fmt.Sprintf(`SELECT `+sqlID("c")+`, '%s', 'oneDriveForBusiness', 'Policy ' || n.i, 'policy ' || n.i, 0, %[2]d + n.i, '{}', %[2]d + n.i, '{}' FROM n`, contoso, now))
	many(w.t, w.db, n, `INSERT INTO bulk_job (id, tenant, policy, display_name, status, done, created, created_by, modified, modified_by)`,
		fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', '%s', 'j', 'completed', 0, %[3]d + n.i, '{}', %[3]d + n.i, '{}' FROM n`, contoso, p, now))
	many(w.t, w.db, n, `INSERT INTO inclusion_rule (id, tenant, policy, expression, dynamic, status, evaluated, created, created_by, modified, modified_by)`,
		fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', '%s', 'e', 0, 'completed', 0, %[3]d + n.i, '{}', %[3]d + n.i, '{}' FROM n`, contoso, p, now))
	many(w.t, w.db, n, `INSERT INTO browse_session (id, tenant, owner, point, unit, drive, at, tree, bytes, web_url, status, created, expires)`,
		fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', 'o', 'p', 'u', 'd', 1, 't', 1, '', 'created', %[2]d + n.i, %[2]d + 1000000000000 FROM n`, contoso, now))
	many(w.t, w.db, n, `INSERT INTO granular_artifact (id, tenant, session, browse, item_key, item, name, owner, point, unit, drive, at, tree, web_url, status, created, started, completed, restored_key, restored_path, restored_web_url)`,
		fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', '%s', 'b', 'k' || n.i, 'i', 'n' || n.i, 'o', 'p', 'u', 'd', 1, 't', '', 'added', %d + n.i, 0, 0, '', '', '' FROM n`, contoso, s, now))
	many(w.t, w.db, n, `INSERT INTO damage (id, tenant, unit, drive, item, path, content, reason, found, healed)`,
		fmt.Sprintf(`SELECT `+sqlID("a")+`, '%s', 'u', 'd', 'i' || n.i, '', 'c', 'r', %d + n.i, 0 FROM n`, contoso, now))
}

// filtersOf are ways to filter a list, by each of its properties in each way that
// there is for its type. A time is one in the middle.
func filtersOf(properties []odata.Property, at time.Time) []string {
	all := []string{""}
	for _, p := range properties {
		if !p.Filters {
			continue
		}
		say := func(format string, args ...any) {
			all = append(all, fmt.Sprintf(format, append([]any{p.Name}, args...)...))
		}
		if p.Nullable {
			say("%s eq null")
			say("%s ne null")
		}
		switch {
		case p.Type == odata.GUID:
			say("%s eq '%s'", manyID("a", 7))
			say("%[1]s in ('%[2]s','%[3]s')", manyID("a", 7), manyID("f", 9))
			say("%s ne '%s'", manyID("a", 7))
		case p.Type == odata.Enum:
			for _, v := range p.Values {
				say("%s eq '%s'", v)
				say("%s ne '%s'", v)
			}
		case p.Type == odata.Time:
			for _, op := range []string{"eq", "ne", "lt", "ge"} {
				say("%s %s %s", op, at.UTC().Format("2006-01-02T15:04:05.999999Z"))
			}
		case p.Type == odata.Text:
			say("%s eq 'o'")
			say("%s in ('o','Éva')")
			say("%s ne 'o'")
			all = append(all, "startswith("+p.Name+",'o')")
		case p.Type == odata.Folded:
			say("%s eq 'Policy 7'")
			say("%s gt 'Policy 7'")
			for _, how := range []string{"startswith", "contains", "endswith"} {
				all = append(all, how+"("+p.Name+",'Policy 77')", how+"("+p.Name+",'nobody')")
			}
		}
	}
	return all
}

// ordersOf are ways to order a list: by each property that orders, both ways.
func ordersOf(properties []odata.Property) []string {
	all := []string{""}
	for _, p := range properties {
		if p.Orders {
			all = append(all, p.Name, p.Name+" desc")
		}
	}
	return all
}

// Every list that has properties is read from an index by each of them, and
// every other by that of its pages, although the database knows nothing of how the
// rows are spread. Those of units are in TestPlayListsReadAnIndex.
func TestPlayEveryListReadsAnIndex(t *testing.T) {
	const rows = 20_000
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == database.Postgres { // let it stay ignorant
			for _, table := range []string{"policy", "restore_session", "restore_artifact", "audit", "audit_unit", "bulk_job", "inclusion_rule", "browse_session", "granular_artifact", "damage"} {
				exec(t, db, `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
			}
		}
		w := newWorld(t, db, 0)
		p := w.policy("p").ID
		s := fillRestores(w, rows, rows)
		fillLog(w, rows, 400)
		many(t, db, rows, `INSERT INTO audit_unit (unit, audit, tenant, at)`, fmt.Sprintf(`SELECT '%s', `+sqlID("d")+`, '%s', %d + n.i FROM n WHERE n.i %% 2 = 0`, manyID("b", 1), contoso, database.Micros(w.clock())))
		many(t, db, rows, `INSERT INTO audit_unit (unit, audit, tenant, at)`, fmt.Sprintf(`SELECT `+sqlID("a")+`, `+sqlID("d")+`, '%s', %d + n.i FROM n`, contoso, database.Micros(w.clock())))
		ofUnit := must[odata.Expr](t)(odata.ParseFilter("@holdfast.protectionUnitId eq '"+manyID("b", 1)+"'", catalog.ActivityProperties))
		fillOthers(w, rows, p, s)
		w.SetEffort(100, 1000, 1000)
		middle := w.clock().Add(rows / 2 * time.Microsecond)
		for _, l := range []struct {
			name       string
			properties []odata.Property
			read       func(context.Context, catalog.Page) (next string, n int, err error)
		}{
			{"policies", catalog.PolicyProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Policies(ctx, contoso, page)
				return l.Next, len(l.Items), err
			}},
			{"sessions", catalog.SessionProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Sessions(ctx, contoso, page)
				return l.Next, len(l.Items), err
			}},
			{"artifacts", catalog.ArtifactProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Artifacts(ctx, contoso, s, page)
				return l.Next, len(l.Items), err
			}},
			{"activities", catalog.ActivityProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Activities(ctx, contoso, page)
				return l.Next, len(l.Items), err
			}},
			{"activities of a unit", catalog.ActivityProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				if page.Filter != nil {
					page.Filter = odata.And{ofUnit, page.Filter}
				} else {
					page.Filter = ofUnit
				}
				l, err := w.Activities(ctx, contoso, page)
				return l.Next, len(l.Items), err
			}},
			{"bulk jobs", catalog.BulkJobProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.BulkJobs(ctx, contoso, "", backup.ToProtect, page)
				return l.Next, len(l.Items), err
			}},
			{"bulk jobs of a policy", catalog.BulkJobProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.BulkJobs(ctx, contoso, p, backup.ToProtect, page)
				return l.Next, len(l.Items), err
			}},
			{"rules", catalog.RuleProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Rules(ctx, contoso, "", page)
				return l.Next, len(l.Items), err
			}},
			{"rules of a policy", catalog.RuleProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Rules(ctx, contoso, p, page)
				return l.Next, len(l.Items), err
			}},
			{"browse sessions", catalog.BrowseProperties, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.BrowseSessions(ctx, contoso, page)
				return l.Next, len(l.Items), err
			}},
			{"granular artifacts", nil, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.GranularArtifacts(ctx, contoso, s, page)
				return l.Next, len(l.Items), err
			}},
			{"damage", nil, func(ctx context.Context, page catalog.Page) (string, int, error) {
				l, err := w.Damage(ctx, contoso, catalog.DamageQuery{Page: page})
				return l.Next, len(l.Items), err
			}},
		} {
			asked := 0
			if l.properties != nil && !strings.HasSuffix(l.name, "of a policy") && l.name != "artifacts" && !strings.HasPrefix(l.name, "activities") {
				for workload, want := range map[backup.Workload]int{backup.OneDrive: 50, backup.SharePoint: 0} {
					checkPlans(t, db, l.name+" of "+string(workload), func(ctx context.Context) error {
						_, n, err := l.read(ctx, catalog.Page{Limit: 50, Workload: workload})
						if n != want {
							t.Errorf("a page of %d %s of %s, want %d", n, l.name, workload, want)
						}
						return err
					}, 1)
				}
			}
			for _, filter := range filtersOf(l.properties, middle) {
				for n, order := range ordersOf(l.properties) {
					if db.Dialect() == database.Postgres && n > 0 && (len(filter)+n)%3 > 0 {
						continue // each statement is run twice more there
					}
					page := pageOf(t, filter, order, l.properties)
					for range 2 {
						found := 0
						checkPlans(t, db, fmt.Sprintf("%s, %q by %q after %s", l.name, filter, order, page.After), func(ctx context.Context) (err error) {
							page.After, found, err = l.read(ctx, page)
							return err
						}, 0)
						if filter == "" && found != 50 {
							t.Errorf("%s by %q: a page of %d items", l.name, order, found)
						}
						asked++
						if page.After == "" {
							break
						}
					}
				}
			}
			if asked < 1+len(l.properties) {
				t.Errorf("%s: asked for in %d ways only", l.name, asked)
			}
		}
		for _, of := range []string{"succeeded", "failed"} {
			filter := must[odata.Expr](t)(odata.ParseFilter("resultStatus eq '"+of+"'", catalog.ActivityProperties))
			checkPlans(t, db, "a count of activities that "+of, func(ctx context.Context) error {
				l, err := w.Activities(ctx, contoso, catalog.Page{Filter: filter, Count: true, Bare: true})
				if want := map[string]int64{"succeeded": rows - 1, "failed": 1}[of]; l.Total != want {
					t.Errorf("%d %s, want %d", l.Total, of, want)
				}
				return err
			}, 1)
		}
	})
}
