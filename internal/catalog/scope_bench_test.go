package catalog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

const scopeGroup = "40000000-0000-4000-8000-000000000001"

// fillScope makes of every twentieth unit, and of its owner, a part of the tenant, as it
// is named by a policy and as it is by a group.
func fillScope(w *world) (byPolicy, byGroup *catalog.Scope) {
	w.t.Helper()
	q := w.policy("q")
	exec(w.t, w.db, `UPDATE unit SET policy = '`+string(q.ID)+`' WHERE CAST(substr(subject, 25) AS BIGINT) % 20 = 0 AND policy <> ''`)
	exec(w.t, w.db, `INSERT INTO scope_group (tenant, id, read_at) VALUES ('`+string(contoso)+`', '`+scopeGroup+`', 9000000000000000)`)
	exec(w.t, w.db, `INSERT INTO scope_member (tenant, group_id, subject, seen) SELECT tenant, '`+scopeGroup+`', subject, 1 FROM unit WHERE CAST(substr(subject, 25) AS BIGINT) % 20 = 0`)
	return &catalog.Scope{Policies: []backup.PolicyID{q.ID}, Caller: "me"}, &catalog.Scope{Groups: []backup.ObjectID{scopeGroup}, Caller: "me"}
}

// A scopedQuery is what somebody whose role is limited to a part may ask for.
type scopedQuery struct {
	what string
	ask  func(ctx context.Context, w *world, p backup.PolicyID) error
}

func scopedQueries(t testing.TB) (all []scopedQuery) {
	units := func(filter, order string, page catalog.Page) {
		p := pageOf(t, filter, order, catalog.UnitProperties)
		p.Limit, p.Count, p.Bare = 100, page.Count, page.Count
		what := "units " + filter + " by " + order
		if page.Count {
			what += ", counted"
		}
		all = append(all, scopedQuery{what, func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: p})
			return err
		}})
	}
	for _, filter := range []string{"", "status eq 'protected'", "status eq 'offboardRequested'", "error ne null", "email eq 'user20@contoso.com'", "startswith(displayName,'name 7')", "contains(email,'nobody')",
		"createdDateTime ge 2026-11-18T09:00:00.0005Z", "policyId eq null"} {
		units(filter, "", catalog.Page{})
		units(filter, "", catalog.Page{Count: true})
	}
	for _, order := range []string{"createdDateTime desc", "lastModifiedDateTime", "displayName desc", "lastModifiedDateTime,displayName"} {
		units("", order, catalog.Page{})
	}
	return append(all,
		scopedQuery{"units of a policy", func(ctx context.Context, w *world, p backup.PolicyID) error {
			_, err := w.Units(ctx, contoso, catalog.UnitQuery{Policy: p, Page: catalog.Page{Limit: 100}})
			return err
		}},
		scopedQuery{"a policy", func(ctx context.Context, w *world, p backup.PolicyID) error {
			_, err := w.Policy(ctx, contoso, p)
			return err
		}},
		scopedQuery{"counts of a policy", func(ctx context.Context, w *world, p backup.PolicyID) error {
			_, err := w.PolicyUnitCounts(ctx, contoso, p)
			return err
		}},
		scopedQuery{"policies", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Policies(ctx, contoso, catalog.Page{})
			return err
		}},
		scopedQuery{"sessions", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Sessions(ctx, contoso, catalog.Page{})
			return err
		}},
		scopedQuery{"browse sessions", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.BrowseSessions(ctx, contoso, catalog.Page{})
			return err
		}},
		scopedQuery{"activities", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Activities(ctx, contoso, catalog.Page{})
			return err
		}},
		scopedQuery{"approvals", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Approvals(ctx, contoso, catalog.Page{})
			return err
		}},
		scopedQuery{"exclusions", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Exclusions(ctx, contoso, "", catalog.Page{})
			return err
		}},
		scopedQuery{"rpo", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.RPO(ctx, contoso, 20)
			return err
		}},
		scopedQuery{"coverage", func(ctx context.Context, w *world, _ backup.PolicyID) error {
			_, err := w.Coverage(ctx, contoso, catalog.Page{Limit: 100, After: "-"})
			return err
		}},
	)
}

// BenchmarkScopes asks for what somebody may whose role is limited to a twentieth of the
// tenant: of HOLDFAST_BENCH_ROWS units beside 1,000 units, and beside somebody whose role
// is not limited. The worst is reported, all are logged.
func BenchmarkScopes(b *testing.B) {
	large := benchRows(b)
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		var worlds [2]*world
		var scopes [2][2]*catalog.Scope
		for i, n := range []int{1_000, large} {
			worlds[i] = newWorld(b, dbtest.Open(b, d), 0)
			fill(worlds[i], n, 0)
			scopes[i][0], scopes[i][1] = fillScope(worlds[i])
			settleDown(worlds[i])
		}
		b.ResetTimer()
		for range b.N {
			var worst [2]float64
			for of, name := range []string{"policy", "group"} {
				for _, q := range scopedQueries(b) {
					best := func(i int, scope *catalog.Scope) (least time.Duration) {
						for range 4 {
							began := time.Now()
							err := q.ask(catalog.WithScope(b.Context(), scope), worlds[i], scopes[i][0].Policies[0])
							took := time.Since(began)
							if !errors.Is(err, backup.InvalidRequest) { // too many to count
								ok(b, err)
							}
							if least == 0 || took < least {
								least = took
							}
						}
						return least
					}
					small, many, whole := best(0, scopes[0][of]), best(1, scopes[1][of]), best(1, nil)
					ratio := float64(many) / float64(max(small, 300*time.Microsecond))
					b.Logf("%6.1f %-10v %-10v %-10v %s: %s", ratio, small.Round(time.Microsecond), many.Round(time.Microsecond), whole.Round(time.Microsecond), name, q.what)
					worst[of] = max(worst[of], ratio)
				}
			}
			b.ReportMetric(worst[0], "x-small-policy")
			b.ReportMetric(worst[1], "x-small-group")
		}
	})
}
