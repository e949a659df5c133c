package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/odata"
)

// manyID is the id of the nth of many things of a kind, a letter from a to f.
func manyID(kind string, n int) string {
	return strings.Repeat(kind, 8) + "-0000-4000-8000-" + fmt.Sprint(100_000_000_000+n)
}

// sqlID is manyID of the number n.i in a statement.
func sqlID(kind string) string {
	return `'` + strings.Repeat(kind, 8) + `-0000-4000-8000-' || (100000000000 + n.i)`
}

// many runs an INSERT whose rows are selected from n, the numbers i from 0 to
// count-1, in parts that a transaction has room for.
func many(t testing.TB, db *database.DB, count int, insert, selected string) {
	t.Helper()
	const part = 250_000
	for from := 0; from < count; from += part {
		exec(t, db, insert+fmt.Sprintf(` WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) `, from, min(from+part, count))+selected)
	}
}

// fill puts many units with their owners and points into a catalog of which
// the database knows nothing: all in one policy and protected, but for the
// last, which has the status of its own, no name and no policy.
func fill(w *world, units, points int) backup.PolicyID {
	w.t.Helper()
	p := w.policy("p")
	now := database.Micros(w.clock())
	tenant := `'` + string(contoso) + `'`
	many(w.t, w.db, units, `INSERT INTO subject (tenant, id, address, mail, display_name, address_key, mail_key, name_key, seen)`,
		`SELECT `+tenant+`, `+sqlID("a")+`, 'User' || n.i || '@contoso.com', '', 'Name ' || n.i, 'user' || n.i || '@contoso.com', '', 'name ' || n.i, 1 FROM n`)
	many(w.t, w.db, units, `INSERT INTO unit (id, tenant, policy, subject, status, sources, offboard_requested, created, created_by, modified, modified_by, name_key, address_key)`,
		fmt.Sprintf(`SELECT `+sqlID("b")+`, `+tenant+`, CASE WHEN n.i = %[1]d THEN '' ELSE '%[2]s' END, `+sqlID("a")+`,
			CASE WHEN n.i = %[1]d THEN 'offboardRequested' ELSE 'protected' END, CASE WHEN n.i = %[1]d THEN 0 ELSE 1 END, CASE WHEN n.i = %[1]d THEN %[3]d ELSE 0 END,
			%[3]d + n.i, '{}', %[3]d + n.i / 1000, '{}', CASE WHEN n.i = %[1]d THEN '' ELSE 'name ' || n.i END, 'user' || n.i || '@contoso.com' FROM n`,
			units-1, p.ID, now))
	many(w.t, w.db, points, `INSERT INTO restore_point (id, tenant, unit, drive, at, expires, weekly, tags, tree, files, folders, bytes, policy)`,
		fmt.Sprintf(`SELECT `+sqlID("c")+`, `+tenant+`, 'bbbbbbbb-0000-4000-8000-' || (100000000000 + n.i %% %d), 'd', %d - n.i, %d, 0, 'none', 't', 1, 1, 1, '%s' FROM n`,
			units, now, now+1_000_000_000_000, p.ID))
	return p.ID
}

// maxVisits is how many rows the statement of one list may look at.
const maxVisits = 1500

// wholeTable is what SQLite says of reading all of a table or an index, and of
// sorting; the tables that JSON is read as are none.
var wholeTable = regexp.MustCompile(`^SCAN (?:c|e|unit_count|named|json_each|CONSTANT)\b`)

// checkPlans runs fn and reports each statement of it that reads all of a table,
// sorts, or looks at too many rows.
func checkPlans(t *testing.T, db *database.DB, what string, fn func(ctx context.Context) error, statements int) {
	t.Helper()
	type statement struct {
		text string
		args []any
	}
	var all []statement
	ok(t, fn(database.Observe(t.Context(), func(text string, args []any) { all = append(all, statement{text, args}) })))
	if len(all) < statements {
		t.Fatalf("%s: no statement", what)
	}
	for _, s := range all {
		if text := strings.TrimSpace(s.text); !strings.HasPrefix(text, "SELECT") && !strings.HasPrefix(text, "WITH") {
			continue
		}
		bad := ""
		if db.Dialect() == database.SQLite {
			bad = sqliteFault(t, db, s.text, s.args)
		} else {
			bad = postgresFault(t, db, s.text, s.args)
		}
		if bad != "" {
			t.Errorf("%s: %s\n%s", what, s.text, bad)
		}
	}
}

func sqliteFault(t *testing.T, db *database.DB, text string, args []any) string {
	plan := dbtest.SQLitePlan(t, db, text, args)
	fault := slices.ContainsFunc(plan, func(line string) bool {
		return strings.HasPrefix(line, "SCAN ") && !wholeTable.MatchString(line) || strings.Contains(line, "TEMP B-TREE")
	})
	if fault {
		return strings.Join(plan, "\n")
	}
	return ""
}

// A pgPlan is a part of what EXPLAIN ANALYZE says as JSON.
type pgPlan struct {
	Node    string   `json:"Node Type"`
	Rows    float64  `json:"Actual Rows"`
	Loops   float64  `json:"Actual Loops"`
	Removed float64  `json:"Rows Removed by Filter"`
	Recheck float64  `json:"Rows Removed by Index Recheck"`
	Plans   []pgPlan `json:"Plans"`
}

func (p pgPlan) visits() float64 {
	n := (p.Rows + p.Removed + p.Recheck) * p.Loops
	for _, below := range p.Plans {
		n = max(n, below.visits())
	}
	return n
}

func postgresFault(t *testing.T, db *database.DB, text string, args []any) string {
	var said string
	ok(t, db.Read().QueryRowContext(t.Context(), `EXPLAIN (ANALYZE, FORMAT JSON) `+text, args...).Scan(&said))
	var plans []struct{ Plan pgPlan }
	ok(t, json.Unmarshal([]byte(said), &plans))
	if plans[0].Plan.visits() > maxVisits {
		return said
	}
	return ""
}

// Each list reads an index, whatever it is asked, and although the database
// knows nothing of how the rows are spread.
func TestPlayListsReadAnIndex(t *testing.T) {
	const units = 20_000
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == database.Postgres { // let it stay ignorant
			for _, table := range []string{"unit", "restore_point", "subject"} {
				exec(t, db, `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
			}
		}
		w := newWorld(t, db, 0)
		p := fill(w, units, 2*units)
		w.SetEffort(100, 1000, 1000)
		one := backup.UnitID(manyID("b", 1))
		filters := []string{
			"", "id eq '" + manyID("b", 7) + "'", "id in ('" + manyID("b", 7) + "','" + manyID("b", 9) + "')", "policyId eq null", "policyId ne null",
			"directoryObjectId eq '" + manyID("a", 7) + "'", "status eq 'unprotected'", "status eq 'protected'", "status ne 'protected'",
			"status in ('protected','removeRequested')", "siteId eq 'x'", "error ne null", "error eq null",
			"email eq 'User7@Contoso.com'", "email eq 'nobody'", "startswith(email,'user77')", "email lt 'a'", "contains(email,'nobody')",
			"displayName eq 'name 7'", "displayName eq null", "startswith(displayName,'Name 77')", "startswith(displayName,'N')", "endswith(displayName,'x')",
			"createdDateTime lt 2026-11-18T09:00:00Z", "createdDateTime ge 2026-11-18T09:00:00.015Z", "lastModifiedDateTime gt 2026-11-18T09:00:00.000015Z",
			"lastModifiedDateTime eq 2026-11-18T09:00:00.000015Z", "offboardRequestedDateTime gt 2020-01-01T00:00:00Z", "offboardRequestedDateTime lt 2020-01-01T00:00:00Z",
			"status eq 'protected' and createdDateTime lt 2026-11-18T09:00:00.015Z and contains(displayName,'nobody')", "not (status eq 'protected' or email eq null)",
		}
		orders := []string{"", "createdDateTime desc", "lastModifiedDateTime", "displayName desc", "lastModifiedDateTime,displayName", "displayName desc,createdDateTime",
			"createdDateTime,lastModifiedDateTime desc,displayName"}
		for _, policy := range []backup.PolicyID{"", p} {
			for _, filter := range filters {
				for _, order := range orders {
					if db.Dialect() == database.Postgres && (len(filter)+len(order))%3 > 0 && order != "" {
						continue // each statement is run twice more there
					}
					page := pageOf(t, filter, order, catalog.UnitProperties)
					for range 2 {
						checkPlans(t, db, fmt.Sprintf("units, %q by %q after %s", filter, order, page.After), func(ctx context.Context) error {
							l, err := w.Units(ctx, contoso, catalog.UnitQuery{Policy: policy, Page: page})
							page.After = l.Next
							return err
						}, 0)
						if page.After == "" {
							break
						}
					}
				}
			}
		}
		for _, workload := range []backup.Workload{backup.OneDrive, backup.SharePoint} {
			for _, order := range orders {
				page := pageOf(t, "", order, catalog.UnitProperties)
				page.Workload = workload
				checkPlans(t, db, fmt.Sprintf("units of %s by %q", workload, order), func(ctx context.Context) error {
					_, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: page})
					return err
				}, 0)
			}
		}
		many := must[odata.Expr](t)(odata.ParseFilter("contains(displayName,'nobody')", catalog.UnitProperties))
		checkPlans(t, db, "a count that no index has", func(ctx context.Context) error {
			_, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: catalog.Page{Filter: many, Count: true, Bare: true}})
			fails(t, "a count that no index has", err, backup.InvalidRequest)
			return nil
		}, 1)
		for _, filter := range []string{"", "status ne 'offboarded'", "policyId ne null and error eq null"} {
			checkPlans(t, db, "a count of "+filter, func(ctx context.Context) error {
				page := catalog.Page{Count: true, Bare: true}
				if filter != "" {
					page.Filter = must[odata.Expr](t)(odata.ParseFilter(filter, catalog.UnitProperties))
				}
				l, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: page})
				if l.Total < units-1 {
					t.Errorf("%q: %d are counted", filter, l.Total)
				}
				return err
			}, 1)
		}
		checkPlans(t, db, "units by id", func(ctx context.Context) error {
			got, err := w.UnitsByID(ctx, contoso, []backup.UnitID{one, backup.UnitID(manyID("b", 2))})
			if len(got) != 2 {
				t.Errorf("units by id: %v", got)
			}
			return err
		}, 1)
		for _, oldest := range []bool{false, true} {
			checkPlans(t, db, "points", func(ctx context.Context) error {
				l, err := w.Points(ctx, contoso, catalog.PointQuery{Unit: one, To: w.clock(), Oldest: oldest, Page: catalog.Page{Limit: 5, Count: true}})
				if len(l.Items) != 2 || l.Total != 2 {
					t.Errorf("points: %v", l)
				}
				return err
			}, 1)
		}
		checkPlans(t, db, "a point", func(ctx context.Context) error {
			_, err := w.Point(ctx, contoso, backup.PointID(manyID("c", 3)))
			return err
		}, 1)
		for _, after := range []string{"", "-", "-" + manyID("a", 100)} {
			checkPlans(t, db, "coverage after "+after, func(ctx context.Context) error {
				l, err := w.Coverage(ctx, contoso, catalog.Page{Limit: 50, After: after})
				if len(l.Items) < 50 || l.Next == "" {
					t.Errorf("coverage after %q: %d, and then %q", after, len(l.Items), l.Next)
				}
				return err
			}, 0)
		}
		checkPlans(t, db, "search of the oldest", func(ctx context.Context) error {
			got, err := w.SearchPoints(ctx, contoso, catalog.PointSearch{Units: []backup.UnitID{one}, From: w.clock().Add(-20 * time.Millisecond), Oldest: true, Tags: backup.TagNone})
			if len(got.Points) != 1 {
				t.Errorf("search: %v", got)
			}
			return err
		}, 2)
		checkPlans(t, db, "search", func(ctx context.Context) error {
			var ids []backup.UnitID
			for i := range 20 {
				ids = append(ids, backup.UnitID(manyID("b", i)))
			}
			got, err := w.SearchPoints(ctx, contoso, catalog.PointSearch{Units: ids})
			if len(got.Points) != 20 || !slices.Equal(got.Missing, nil) {
				t.Errorf("search: %v", got)
			}
			return err
		}, 1)
	})
}

// pageOf is the first page of a list of properties, filtered and ordered.
func pageOf(t testing.TB, filter, order string, properties []odata.Property) catalog.Page {
	t.Helper()
	page := catalog.Page{Limit: 50}
	if filter != "" {
		page.Filter = must[odata.Expr](t)(odata.ParseFilter(filter, properties))
	}
	if order != "" {
		page.Order = must[[]odata.Order](t)(odata.ParseOrder(order, properties))
	}
	return page
}

// The indexes that lists of units know of are there, with the columns that they are
// said to have: one that is not would be passed over in silence.
func TestIndexesOfUnitsAreThere(t *testing.T) {
	db := dbtest.Open(t, database.SQLite)
	for name, want := range catalog.UnitIndexes() {
		rows, err := db.Read().QueryContext(t.Context(), `SELECT 'u.' || name FROM pragma_index_info($1) ORDER BY seqno`, name)
		ok(t, err)
		var got []string
		for rows.Next() {
			var column string
			ok(t, rows.Scan(&column))
			got = append(got, column)
		}
		ok(t, rows.Err())
		rows.Close()
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

// What is asked of sites and their units reads an index, however many users and drives
// there are beside them.
func TestSitesReadAnIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		fill(w, 5_000, 10)
		w.SetEffort(100, 1000, 1000)
		tenant := string(contoso)
		many(t, db, 500, `INSERT INTO subject (tenant, id, address, mail, display_name, address_key, mail_key, name_key, seen, site, source_id)`,
			`SELECT '`+tenant+`', `+sqlID("d")+`, 'https://contoso.sharepoint.com/sites/s' || n.i, '', 'Site ' || n.i, 'https://contoso.sharepoint.com/sites/s' || n.i, '', 'site ' || n.i, 1, 1, 'contoso.sharepoint.com,' || `+sqlID("d")+` || ',' || `+sqlID("e")+` FROM n`)
		many(t, db, 500, `INSERT INTO unit (id, tenant, policy, subject, workload, status, sources, offboard_requested, created, created_by, modified, modified_by, name_key, address_key)`,
			`SELECT `+sqlID("e")+`, '`+tenant+`', '', `+sqlID("d")+`, 'sharePoint', 'unprotected', 0, 0, n.i, '{}', n.i, '{}', 'site ' || n.i, 'https://contoso.sharepoint.com/sites/s' || n.i FROM n`)
		id := backup.SubjectID(manyID("d", 17))
		expression := must[backup.SiteExpression](t)(backup.ParseSiteExpression("(webUrl -contains '/sites/s17')"))
		for what, fn := range map[string]func(ctx context.Context) error{
			"sites by words": func(ctx context.Context) error { _, err := w.SitesOf(ctx, contoso, expression); return err },
			"a site":         func(ctx context.Context) error { _, _, err := w.DirectoryUser(ctx, contoso, id); return err },
			"where they are": func(ctx context.Context) error { _, _, err := w.SitesCursor(ctx, contoso); return err },
			"units of a page": func(ctx context.Context) error {
				_, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: catalog.Page{Workload: backup.SharePoint, Limit: 100}})
				return err
			},
		} {
			checkPlans(t, db, what, fn, 1)
		}
		for _, filter := range []string{"siteId eq '" + string(id) + "'", "siteId in ('" + string(id) + "')"} {
			page := pageOf(t, filter, "", catalog.UnitProperties)
			page.Workload = backup.SharePoint
			checkPlans(t, db, filter, func(ctx context.Context) error {
				_, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: page})
				return err
			}, 0)
		}
		// What is gone is found among the sites alone.
		if db.Dialect() == database.SQLite {
			if bad := sqliteFault(t, db, `SELECT d.id FROM subject d WHERE d.tenant = $1 AND d.seen < $2 AND d.site = 1`, []any{tenant, 5}); bad != "" {
				t.Error(bad)
			}
		}
	})
}
