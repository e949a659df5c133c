package catalog_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
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

// Each benchmark does its work beside the bare counterpart in the same run, on
// both databases, and reports how many times as long it takes: x-bare.

// rounds is how often a short operation is done for one that is counted, so
// that a single one, as make bench asks for, tells something.
const rounds = 100

func benchEach(b *testing.B, prefix string, fn func(b *testing.B, d database.Dialect)) {
	for _, d := range dbtest.Dialects(b) {
		b.Run(prefix+string(d), func(b *testing.B) { fn(b, d) })
	}
}

// bareInsert inserts units for owners from and on, in one transaction, in the
// fastest way there is on both databases: one statement with one argument.
// The statements of more are in the transaction too; $1 is the list of units,
// $2 the policy.
func bareInsert(w *world, p backup.PolicyID, from, n int, more ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	by, err := json.Marshal(w.by().By)
	ok(w.t, err)
	rows := make([][2]string, n)
	for i := range rows {
		rows[i] = [2]string{backup.NewID[string](), string(owner(from + i))}
	}
	list, err := json.Marshal(rows)
	ok(w.t, err)
	ok(w.t, w.db.Tx(ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO unit (id, tenant, policy, subject, status, sources, offboard_requested, created, created_by, modified, modified_by)
			SELECT e.value->>0, CAST($2 AS TEXT), CAST($3 AS TEXT), e.value->>1, 'unprotected', 1, 0,
				CAST($4 AS BIGINT) + e.n, CAST($5 AS TEXT), CAST($4 AS BIGINT) + e.n, CAST($5 AS TEXT)
			FROM `+tx.Dialect().JSONRows("$1")+` AS e`,
			string(list), string(contoso), string(p), database.Micros(w.clock().Add(time.Duration(from)*time.Microsecond)), string(by))
		for _, statement := range more {
			if err == nil {
				_, err = tx.ExecContext(ctx, statement, string(list), string(p))
			}
		}
		return err
	}))
}

// A bulk job of 50,000 from its creation to its end, beside the insertion of
// the same rows in as many transactions: the units and, where the policy is in
// force, a backup job for each.
func BenchmarkBulkJob50k(b *testing.B) {
	const n, batch = 50_000, 10_000
	var drives []string
	for i := range n {
		drives = append(drives, user(i).Address)
	}
	for _, enabled := range []bool{false, true} {
		name := "inactive"
		if enabled {
			name = "inForce"
		}
		benchEach(b, name+"/", func(b *testing.B, d database.Dialect) {
			var bare, job time.Duration
			for range 3 * b.N { // the disk is not always as fast
				b.StopTimer()
				w := newWorld(b, dbtest.Open(b, d), 0)
				p := w.policy("p")
				if enabled {
					must[backup.Policy](b)(w.ActivatePolicy(b.Context(), contoso, p.ID, w.by()))
				}
				w.people(0, n-1)

				var more []string
				if enabled {
					more = []string{`INSERT INTO job (kind, key, tenant, run_at)
						SELECT 'backup', e.value->>0, CAST($2 AS TEXT), 1 FROM ` + d.JSONRows("$1") + ` AS e`}
				}

				began := time.Now()
				for from := 0; from < n; from += batch {
					bareInsert(w, p.ID, from, batch, more...)
				}
				bare += time.Since(began)
				exec(b, w.db, `DELETE FROM unit`)
				exec(b, w.db, `DELETE FROM job`)
				settleDown(w)

				b.StartTimer()
				began = time.Now()
				j := must[backup.BulkJob](b)(w.CreateBulkJob(b.Context(), contoso, p.ID, catalog.NewBulkJob{Addresses: drives, By: w.by()}))
				unknown := must[[]string](b)(w.UnresolvedBulk(b.Context(), j))
				ok(b, w.EnrollBulk(b.Context(), w.claim(jobs.BulkAdd)[string(j.ID)], j, nil))
				job += time.Since(began)
				b.StopTimer()
				if got := len(w.units(p.ID)); got != n || len(unknown) != 0 {
					b.Fatalf("%d units, %d unknown; want %d and 0", got, len(unknown), n)
				}
				ok(b, w.db.Close())
			}
			b.ReportMetric(job.Seconds()/bare.Seconds(), "x-bare")
			b.ReportMetric(float64(3*n*b.N)/job.Seconds(), "units/s")
		})
	}
}

// settleDown lets a database put away what was deleted, so that one half of a
// comparison does not pay for the other.
func settleDown(w *world) {
	w.t.Helper()
	if w.db.Dialect() == database.Postgres {
		_, err := w.db.Read().ExecContext(w.t.Context(), `VACUUM ANALYZE`)
		ok(w.t, err)
	}
}

// An update of a policy that adds 50 units, beside a bare transaction that
// writes the same rows: 50 units, the policy, and a job.
func BenchmarkPatch50(b *testing.B) {
	const n, known = 50, 10_000
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		w := newWorld(b, dbtest.Open(b, d), 0)
		p, q := w.policy("p"), w.policy("q")
		bareInsert(w, q.ID, 0, known)
		settleDown(w)
		next := known
		var bare, patch time.Duration
		for range b.N * rounds {
			var changes []catalog.UnitChange
			for i := range n {
				changes = append(changes, catalog.UnitChange{Add: owner(next + i)})
			}
			next += n
			w.pass(time.Second)
			began := time.Now()
			_, _, err := w.UpdatePolicy(b.Context(), contoso, p.ID, catalog.PolicyPatch{DisplayName: new("p"), Units: changes, By: w.by()})
			ok(b, err)
			patch += time.Since(began)

			b.StopTimer()
			began = time.Now()
			bareInsert(w, q.ID, next, n,
				`UPDATE policy SET display_name = 'q' WHERE id = $2 AND $1 <> ''`,
				`INSERT INTO job (kind, key, tenant, run_at) SELECT 'settle', $2, '', 1 WHERE $1 <> '' ON CONFLICT (kind, key) DO UPDATE SET run_at = excluded.run_at`)
			bare += time.Since(began)
			next += n
			b.StartTimer()
		}
		b.ReportMetric(patch.Seconds()/bare.Seconds(), "x-bare")
	})
}

// A page of 100 units in the middle of 1,000,000 beside one of 1,000, in each
// order that there is.
func BenchmarkUnitsPage(b *testing.B) {
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		small, smallAt := pageWorld(b, d, 1_000)
		large, largeAt := pageWorld(b, d, 1_000_000)
		b.ResetTimer()
		for metric, orderBy := range map[string]string{"x-bare": "", "x-bare-newest": "createdDateTime desc", "x-bare-modified": "lastModifiedDateTime desc", "x-bare-name": "displayName"} {
			smallQuery, largeQuery := smallAt(orderBy), largeAt(orderBy)
			for range 20 {
				readPage(small, smallQuery)
				readPage(large, largeQuery)
			}
			var bare, page time.Duration
			for range b.N * rounds {
				b.StopTimer()
				bare += readPage(small, smallQuery)
				b.StartTimer()
				page += readPage(large, largeQuery)
			}
			b.ReportMetric(page.Seconds()/bare.Seconds(), metric)
		}
	})
}

// pageWorld makes a policy of n units. It returns the query of the page in its
// middle in an order.
func pageWorld(b *testing.B, d database.Dialect, n int) (*world, func(orderBy string) catalog.UnitQuery) {
	b.Helper()
	w := newWorld(b, dbtest.Open(b, d), 0)
	p := w.policy("p")
	for from := 0; from < n; from += 20_000 {
		bareInsert(w, p.ID, from, min(20_000, n-from))
	}
	settleDown(w)
	var created, modified int64
	var id string
	ok(b, w.db.Read().QueryRowContext(b.Context(), `SELECT created, modified, id FROM unit WHERE subject = $1`, string(owner(n/2))).Scan(&created, &modified, &id))
	return w, func(orderBy string) catalog.UnitQuery {
		q := catalog.UnitQuery{Policy: p.ID, Page: catalog.Page{Limit: 100, After: fmt.Sprintf(`[%d,%q]`, created, id)}}
		if orderBy != "" {
			q.Order = must[[]odata.Order](b)(odata.ParseOrder(orderBy, catalog.UnitProperties))
		}
		switch {
		case strings.HasPrefix(orderBy, "lastModified"):
			q.After = fmt.Sprintf(`[%d,%q]`, modified, id)
		case strings.HasPrefix(orderBy, "displayName"):
			q.After = fmt.Sprintf(`["",%q]`, id)
		}
		return q
	}
}

func readPage(w *world, q catalog.UnitQuery) time.Duration {
	w.t.Helper()
	began := time.Now()
	l, err := w.Units(w.t.Context(), contoso, q)
	took := time.Since(began)
	ok(w.t, err)
	if len(l.Items) != 100 || l.Next == "" {
		w.t.Fatalf("a page of %d units", len(l.Items))
	}
	return took
}

// Two weeks of backups at ten minutes, where a tenth of the drives changes in an
// hour: what the points cost the catalog, put out to 100,000 drives, and how many
// times as fast as is needed for these one worker lets them go.
func BenchmarkTwoWeeks(b *testing.B) {
	const drives, days, every, all = 20, 14, 10 * time.Minute, 100_000
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		for range b.N {
			b.StopTimer()
			ctx := b.Context()
			db := dbtest.Open(b, d)
			w := newWorld(b, db, 0)
			var owners []backup.SubjectID
			for n := range drives {
				owners = append(owners, owner(n))
			}
			p := w.policy("p", owners...)
			must[backup.Policy](b)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
			// The leases last: only the catalog's time goes on.
			backups := w.claim(jobs.Backup)
			at := w.now
			c := catalog.New(db, w.queue, catalog.Config{Clock: func() time.Time { return at }})
			before := pointBytes(w)
			random := rand.New(rand.NewPCG(1, 2))
			states := map[string]*catalog.DriveState{}
			b.StartTimer()
			began, runs, changed := time.Now(), 0, 0
			for range days * 24 * time.Hour / every {
				at = at.Add(every)
				for key, j := range backups {
					s := states[key]
					if s == nil || random.IntN(10*int(time.Hour/every)) == 0 {
						was := ""
						if s != nil {
							was = s.Root
						}
						s = &catalog.DriveState{Drive: backup.DriveID("b!" + key + key), Root: was, Tree: backup.NewID[string]()}
						states[key] = s
						changed++
					}
					prev := s.Root
					s.Root = s.Tree
					_, err := c.CommitPoint(ctx, j, catalog.Commit{Unit: backup.UnitID(key), PrevRoot: prev, State: *s,
						Point: backup.Point{At: at.Add(time.Duration(random.IntN(1000)) * time.Millisecond), Tree: s.Tree, Files: 1000, Folders: 100, Bytes: 1 << 30}})
					ok(b, err)
					runs++
				}
			}
			took := time.Since(began)
			b.StopTimer()
			rows, size := w.rows(), pointBytes(w)-before
			b.ReportMetric(float64(took.Microseconds())/float64(runs), "µs/run")
			b.ReportMetric(float64(rows)/drives, "rows/drive")
			b.ReportMetric(float64(size)/float64(rows), "B/row")
			b.ReportMetric(float64(size)/drives*all/1e9, "GB/100,000-drives")

			// All of it goes.
			at = at.AddDate(2, 0, 0)
			ok(b, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(contoso), Tenant: contoso}))
			j := w.claim(jobs.Expire)[string(contoso)]
			began = time.Now()
			if n := must[int64](b)(c.ExpirePoints(ctx, j)); n != int64(runs) {
				b.Fatalf("%d points expired, want %d", n, runs)
			}
			perDay := time.Since(began).Seconds() / drives / days // for what one drive leaves on a day
			b.ReportMetric((24*time.Hour).Seconds()/perDay/all, "x-expiry-needed")
		}
	})
}

// pointBytes is how large the table of points is, with its indexes.
func pointBytes(w *world) (n int64) {
	w.t.Helper()
	if w.db.Dialect() == database.Postgres {
		ok(w.t, w.db.Tx(w.t.Context(), func(tx *database.Tx) error {
			return tx.QueryRowContext(w.t.Context(), `SELECT pg_total_relation_size('restore_point')`).Scan(&n)
		}))
		return n
	}
	ok(w.t, w.db.Read().QueryRowContext(w.t.Context(), `SELECT sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name WHERE m.tbl_name = 'restore_point'`).Scan(&n))
	return n
}

// benchRows is how many units the large catalog of BenchmarkLists has:
// HOLDFAST_BENCH_ROWS, or 100,000.
func benchRows(b *testing.B) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("HOLDFAST_BENCH_ROWS"), "100000"))
	if err != nil || n < 1000 {
		b.Fatal("HOLDFAST_BENCH_ROWS is no number of units, of which there are 1000 at least")
	}
	return n
}

// BenchmarkLists reads each list as it may be asked for, of a catalog of 1,000
// units, artifacts and restore sessions and ten times as many points and log
// entries, and of one with HOLDFAST_BENCH_ROWS units and so on, and tells how many
// times as long the large one takes: the worst is reported, all are logged. What
// no index has, such as contains, has a bound in place of that: see effort.
func BenchmarkLists(b *testing.B) {
	const small = 1_000
	large := benchRows(b)
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		for range b.N {
			b.StopTimer()
			var worlds [2]*world
			var policies [2]backup.PolicyID
			for i, n := range []int{small, large} {
				began := time.Now()
				worlds[i] = newWorld(b, dbtest.Open(b, d), 0)
				policies[i] = fill(worlds[i], n, 10*n)
				fillLog(worlds[i], 10*n, min(400, 10*n/200)) // more than a page of these in both
				fillRestores(worlds[i], n, n)
				settleDown(worlds[i])
				b.Logf("%d units are there after %v", n, time.Since(began).Round(time.Second))
			}
			b.StartTimer()
			var worst [3]float64
			for _, q := range listQueries(b) {
				var best [2]time.Duration
				ratio := 0.0
				for again := 0; again == 0 || again < 5 && ratio > 1.5; again++ { // others use the machine, too
					for i, w := range worlds {
						for range 12 {
							began := time.Now()
							err := q.ask(w, policies[i])
							took := time.Since(began)
							if !errors.Is(err, backup.InvalidRequest) { // too many to count
								ok(b, err)
							}
							if best[i] == 0 || took < best[i] {
								best[i] = took
							}
						}
					}
					// What takes less than this is the machine's own.
					ratio = float64(best[1]) / float64(max(best[0], 300*time.Microsecond))
				}
				b.Logf("%6.1f %-10v %-10v %s", ratio, best[0].Round(time.Microsecond), best[1].Round(time.Microsecond), q.what)
				worst[q.kind] = max(worst[q.kind], ratio)
			}
			b.ReportMetric(worst[answered], "x-small")
			b.ReportMetric(worst[noIndex], "x-small-no-index")
			b.ReportMetric(worst[rangeCount], "x-small-ranges-counted")
		}
	})
}

// A kind is what answers a list.
type kind int

const (
	answered   kind = iota
	noIndex         // nothing: a bounded number of rows is looked at
	rangeCount      // an index, whose entries are counted, up to a bound
)

// A listQuery is one way to ask for a list.
type listQuery struct {
	what string
	kind kind
	ask  func(*world, backup.PolicyID) error
}

func listQueries(t testing.TB) (all []listQuery) {
	filters := []string{"", "id eq '" + manyID("b", 7) + "'", "directoryObjectId eq '" + manyID("a", 7) + "'", "policyId eq null", "status eq 'protected'",
		"status eq 'unprotected'", "status eq 'offboardRequested'", "error ne null", "email eq 'User7@contoso.com'", "email eq 'nobody'", "startswith(email,'user7')",
		"displayName eq 'name 7'", "startswith(displayName,'Name 7')", "createdDateTime ge 2026-11-18T09:00:00.0005Z", "lastModifiedDateTime lt 2026-11-18T09:00:00.0001Z",
		"offboardRequestedDateTime gt 2020-01-01T00:00:00Z", "contains(email,'nobody')", "endswith(displayName,'x')"}
	orders := []string{"", "createdDateTime desc", "lastModifiedDateTime", "displayName desc", "lastModifiedDateTime,displayName", "displayName,createdDateTime"}
	units := func(filter, order string, inPolicy, count bool) listQuery {
		page := catalog.Page{Limit: 100, Count: count, Bare: count}
		if filter != "" {
			page.Filter = must[odata.Expr](t)(odata.ParseFilter(filter, catalog.UnitProperties))
		}
		if order != "" {
			page.Order = must[[]odata.Order](t)(odata.ParseOrder(order, catalog.UnitProperties))
		}
		what := fmt.Sprintf("units %q by %q", filter, order)
		if inPolicy {
			what += " of a policy"
		}
		if count {
			what += ", counted"
		}
		of := answered
		switch {
		case strings.HasPrefix(filter, "contains"), strings.HasPrefix(filter, "endswith"):
			of = noIndex
		case count && (strings.Contains(filter, "DateTime") || strings.HasPrefix(filter, "startswith")):
			of = rangeCount
		}
		return listQuery{what, of,
			func(w *world, p backup.PolicyID) error {
				q := catalog.UnitQuery{Page: page}
				if inPolicy {
					q.Policy = p
				}
				_, err := w.Units(w.t.Context(), contoso, q)
				return err
			}}
	}
	for _, filter := range filters {
		all = append(all, units(filter, "", false, false), units(filter, "", true, false), units(filter, "", false, true))
	}
	for _, order := range orders {
		all = append(all, units("", order, false, false), units("status eq 'protected'", order, true, false), units("email ne null", order, false, false))
	}
	ids := make([]backup.UnitID, 20)
	for i := range ids {
		ids[i] = backup.UnitID(manyID("b", i))
	}
	for _, oldest := range []bool{false, true} {
		all = append(all, listQuery{fmt.Sprint("points of a unit, oldest ", oldest), answered, func(w *world, _ backup.PolicyID) error {
			_, err := w.Points(w.t.Context(), contoso, catalog.PointQuery{Unit: ids[3], To: w.clock(), ToIncl: true, Oldest: oldest, Page: catalog.Page{Limit: 5, Count: true}})
			return err
		}}, listQuery{fmt.Sprint("search of 20 units, oldest ", oldest), answered, func(w *world, _ backup.PolicyID) error {
			_, err := w.SearchPoints(w.t.Context(), contoso, catalog.PointSearch{Units: ids, From: w.clock().Add(-time.Hour), Oldest: oldest})
			return err
		}})
	}
	all = append(all, listQuery{"a point", answered, func(w *world, _ backup.PolicyID) error {
		_, err := w.Point(w.t.Context(), contoso, backup.PointID(manyID("c", 3)))
		return err
	}}, listQuery{"rpo", answered, func(w *world, _ backup.PolicyID) error {
		_, err := w.RPO(w.t.Context(), contoso, 20)
		return err
	}})
	for _, filter := range []string{"", "resultStatus eq 'failed'", "resultStatus eq 'partiallySucceeded'",
		"performedBy eq 'policy 77'", "startswith(performedBy,'policy')", "@holdfast.performedById eq 'app'", "@holdfast.operation eq 'o'", "@holdfast.operation in ('o','q')", "@holdfast.objectId eq 'o'", "eventDateTime ge 2030-01-01T00:00:00Z", "eventDateTime ge 2026-11-18T09:00:00.0005Z", "resultStatus ne 'succeeded' and eventDateTime lt 2026-11-18T09:00:00Z"} {
		for _, count := range []bool{false, true} {
			page := catalog.Page{Limit: 100, Count: count, Bare: count}
			if filter != "" {
				page.Filter = must[odata.Expr](t)(odata.ParseFilter(filter, catalog.ActivityProperties))
			}
			of := answered
			if count && filter != "" && (strings.Contains(filter, "DateTime") || !strings.HasPrefix(filter, "resultStatus")) {
				of = rangeCount
			}
			all = append(all, listQuery{fmt.Sprintf("log %q, counted %v", filter, count), of, func(w *world, _ backup.PolicyID) error {
				_, err := w.Activities(w.t.Context(), contoso, page)
				return err
			}})
		}
	}
	middle := time.Date(2026, 11, 18, 9, 0, 0, 500_000, time.UTC)
	for _, filter := range filtersOf(catalog.SessionProperties, middle) {
		all = append(all, restores(t, "sessions", catalog.SessionProperties, filter, "", func(w *world, page catalog.Page) error {
			_, err := w.Sessions(w.t.Context(), contoso, page)
			return err
		}))
	}
	for _, filter := range filtersOf(catalog.ArtifactProperties, middle) {
		for _, order := range ordersOf(catalog.ArtifactProperties) {
			all = append(all, restores(t, "artifacts", catalog.ArtifactProperties, filter, order, func(w *world, page catalog.Page) error {
				_, err := w.Artifacts(w.t.Context(), contoso, backup.SessionID(manyID("e", 0)), page)
				return err
			}))
		}
	}
	return all
}

// restores asks for a list of what is restored.
func restores(t testing.TB, name string, properties []odata.Property, filter, order string, ask func(*world, catalog.Page) error) listQuery {
	page := catalog.Page{Limit: 100}
	if filter != "" {
		page.Filter = must[odata.Expr](t)(odata.ParseFilter(filter, properties))
	}
	if order != "" {
		page.Order = must[[]odata.Order](t)(odata.ParseOrder(order, properties))
	}
	return listQuery{fmt.Sprintf("%s %q by %q", name, filter, order), answered, func(w *world, _ backup.PolicyID) error { return ask(w, page) }}
}
