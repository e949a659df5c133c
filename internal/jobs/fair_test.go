package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func tenants(names string) (all []backup.TenantID) {
	for _, name := range strings.Fields(names) {
		all = append(all, backup.TenantID(name))
	}
	return all
}

// What runs when tenants have more due than there are workers. In each row,
// step by step, jobs become due or one ends, and the idle workers claim. That
// jobs of a are due since long ago gives it no right over the others.
func TestTenantsAreServedInTurn(t *testing.T) {
	type step struct {
		do   string // "a+9 b+1": nine jobs of a become due, one of b's; "a-": one of a's ends
		runs string // then
	}
	for _, test := range []struct {
		name    string
		workers int
		tenants string
		steps   []step
	}{
		{"one worker goes round", 1, "a b c", []step{
			{"a+100", "a"}, {"b+2", "a"}, {"c+1", "a"},
			{"a-", "b"}, {"b-", "c"}, {"c-", "a"}, {"a-", "b"}, {"b-", "a"}, {"a-", "a"},
		}},
		{"workers are dealt out evenly", 4, "a b", []step{
			{"a+100 b+100", "a a b b"}, {"a-", "a a b b"}, {"b-", "a a b b"},
		}},
		{"what one does not need goes to others", 6, "a b c", []step{
			{"a+100 b+1 c+2", "a a a b c c"}, {"b-", "a a a c c"}, {"c-", "a a a a c"}, {"b+9", "a a a a b c"}, {"a-", "a a a b b c"},
		}},
		{"one worker is left for whoever comes later", 4, "a b", []step{
			{"a+100", "a a a"}, {"b+2", "a a a b"}, {"a-", "a a b b"}, {"b-", "a a a b"}, {"b-", "a a a"}, {"a-", "a a a"},
		}},
		{"who holds many lets the others pass", 4, "a b c", []step{
			{"a+100", "a a a"}, {"b+9 c+9", "a a a b"}, {"b-", "a a a c"}, {"c-", "a a a b"},
			{"a-", "a a b c"}, {"a-", "a a b c"}, {"c-", "a a b c"},
		}},
		{"more tenants than workers", 2, "a b c d", []step{
			{"a+9 b+9 c+9 d+9", "a b"}, {"a-", "b c"}, {"b-", "c d"}, {"c-", "a d"}, {"d-", "a b"},
		}},
		{"alone, a tenant has all workers", 4, "a", []step{
			{"a+100", "a a a a"}, {"a-", "a a a a"},
		}},
		{"what is due of others stays", 4, "a", []step{
			{"x+100", ""}, {"a+2", "a a"}, {"a-", "a"},
		}},
		{"what is due of others stays, for several", 4, "a b", []step{
			{"x+100", ""}, {"a+2", "a a"}, {"a-", "a"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, db *database.DB) {
				q := jobs.New(db, nil)
				r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: tenants(test.tenants),
					Work: map[jobs.Kind]jobs.Work{kind: {Workers: test.workers}}})
				running, n := map[backup.TenantID][]string{}, 0
				held := func() map[backup.TenantID]int {
					h := map[backup.TenantID]int{}
					for t, keys := range running {
						h[t] = len(keys)
					}
					return h
				}
				for _, s := range test.steps {
					for _, what := range strings.Fields(s.do) {
						if name, ends := strings.CutSuffix(what, "-"); ends {
							keys := running[backup.TenantID(name)]
							remove(t, db, q, keys[0])
							running[backup.TenantID(name)] = keys[1:]
							continue
						}
						name, count, _ := strings.Cut(what, "+")
						var due []jobs.Spec
						age := map[string]time.Duration{"a": 100 * time.Hour, "x": 200 * time.Hour}[name]
						var some int
						fmt.Sscan(count, &some)
						for range some {
							n++
							due = append(due, jobs.Spec{Kind: kind, Key: fmt.Sprint(n), Tenant: backup.TenantID(name), RunAt: time.Now().Add(-age)})
						}
						enqueue(t, db, q, due...)
					}
					idle := test.workers
					for _, some := range held() {
						idle -= some
					}
					claimed, err := r.ClaimFair(t.Context(), kind, idle, held())
					if err != nil {
						t.Fatal(err)
					}
					for _, j := range claimed {
						running[j.Tenant] = append(running[j.Tenant], j.Key)
					}
					got := ""
					for _, name := range []backup.TenantID{"a", "b", "c", "d", "x"} {
						got += strings.Repeat(string(name)+" ", len(running[name]))
					}
					if got = strings.TrimSpace(got); got != s.runs {
						t.Fatalf("after %q there run %q, want %q", s.do, got, s.runs)
					}
				}
			})
		})
	}
}

// A tenant whose jobs take for ever, and who has very many, keeps no other
// waiting; its own go on one after another all the same. The runner looks by
// itself only once a minute: nothing here waits for that.
func TestNoTenantStarvesAnother(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		slow, end, ran := make(chan string), make(chan bool), make(chan string, 9)
		work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			if j.Tenant != "a" {
				ran <- j.Key
				return jobs.Done, nil
			}
			slow <- j.Key
			select {
			case <-end:
				return jobs.Done, nil
			case <-ctx.Done():
				return jobs.Done, ctx.Err()
			}
		}, func(c *jobs.RunnerConfig) { c.Tenants, c.Poll = tenants("a b"), time.Minute })
		var flood []jobs.Spec
		for i := range 500 {
			flood = append(flood, jobs.Spec{Kind: kind, Key: fmt.Sprint("slow", i), Tenant: "a"})
		}
		enqueue(t, db, q, flood...)
		for range 3 {
			receive(t, slow)
		}
		for i := range 3 {
			key := fmt.Sprint("b", i)
			enqueue(t, db, q, jobs.Spec{Kind: kind, Key: key, Tenant: "b"})
			if got := receive(t, ran); got != key {
				t.Errorf("ran %s, want %s", got, key)
			}
		}
		for range 2 {
			end <- true
			receive(t, slow)
		}
	})
}

// Going round very many tenants with very many due jobs looks at no more of them than
// it must, also while the database knows nothing of how they are spread.
func TestFairClaimsAreCheapAmongMany(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ignorant(t, db)
		q := jobs.New(db, nil)
		r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: manyDue(t, db, q, 200, 100), Lease: -time.Second,
			Work: map[jobs.Kind]jobs.Work{kind: {Workers: 8}}})
		var asked statements
		const rounds = 50
		served := map[backup.TenantID]int{}
		for range rounds {
			claimed, err := r.ClaimFair(asked.observe(t.Context()), kind, 8, nil)
			if err != nil || len(claimed) != 8 {
				t.Fatal(claimed, err)
			}
			for _, j := range claimed {
				served[j.Tenant]++
			}
		}
		for tenant, n := range served {
			if n != rounds*8/200 {
				t.Errorf("tenant %s was served %d times, want %d", tenant, n, rounds*8/200)
			}
		}
		asked.readFew(t, db)
	})
}

// Of very many tenants, those who have due jobs are found, however few they are and
// wherever they stand, and whatever others have due since longer.
func TestWhoIsDueAmongMany(t *testing.T) {
	served := make([]backup.TenantID, 200)
	for i := range served {
		served[i] = backup.TenantID(fmt.Sprintf("t%03d", i))
	}
	for _, test := range []struct {
		name string
		due  []string // due jobs, those due first first: "t003 500"
		want string   // of eight idle workers
	}{
		{"nobody", nil, ""},
		{"two", []string{"t150 1", "t007 2"}, "t007 t007 t150"},
		{"few, behind many of one", []string{"t003 500", "t190 1", "t060 1"}, "t003 t003 t003 t003 t003 t060 t190"},
		{"one, behind many of somebody else's", []string{"other 500", "t190 1"}, "t190"},
		{"all", []string{"t199 100", "t000 1", "t001 1", "t002 1", "t003 1", "t004 1", "t005 1", "t006 1", "t007 1", "t008 1"},
			"t000 t001 t002 t003 t004 t005 t006 t007"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, db *database.DB) {
				q := jobs.New(db, nil)
				at := time.Now().Add(-time.Hour)
				for _, due := range test.due {
					var tenant string
					var n int
					if _, err := fmt.Sscan(due, &tenant, &n); err != nil {
						t.Fatal(err)
					}
					specs := make([]jobs.Spec, 0, 2*n)
					for i := range n {
						at = at.Add(time.Second)
						for _, kind := range []jobs.Kind{kind, jobs.Backup} { // the first of a backup is patient
							specs = append(specs, jobs.Spec{Kind: kind, Key: fmt.Sprint(due, i), Tenant: backup.TenantID(tenant), RunAt: at})
						}
					}
					enqueue(t, db, q, specs...)
				}
				for i := range served { // which are due later
					enqueue(t, db, q, jobs.Spec{Kind: kind, Key: fmt.Sprint("later", i), Tenant: served[i], RunAt: time.Now().Add(time.Hour)})
				}
				r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: served, Work: map[jobs.Kind]jobs.Work{kind: {Workers: 8}, jobs.Backup: {Workers: 9, Patient: 8}}})
				claimed, err := r.ClaimFair(t.Context(), kind, 8, nil)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, j := range claimed {
					got = append(got, string(j.Tenant))
				}
				slices.Sort(got)
				if strings.Join(got, " ") != test.want {
					t.Errorf("claimed of %v, want %s", got, test.want)
				}
				visits, firsts, err := r.ClaimInOrder(t.Context(), jobs.Backup, "nobody", 0, 0)
				if err != nil || visits != 0 || firsts != len(got) {
					t.Errorf("claimed %d visits and %d first backups, want %d: %v", visits, firsts, len(got), err)
				}
			})
		})
	}
}

// manyDue enqueues so many due jobs for each of so many tenants.
func manyDue(t testing.TB, db *database.DB, q *jobs.Queue, many, each int) (all []backup.TenantID) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *database.Tx) error {
		all = nil
		for i := range many {
			tenant := backup.TenantID(fmt.Sprintf("c0ffee00-5a3e-4d7b-9c1f-%012d", i))
			all = append(all, tenant)
			err := q.EnqueueSelect(t.Context(), tx, kind, tenant, time.Now().Add(-time.Hour), `
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
				SELECT CAST($2 AS TEXT) || ' ' || CAST(i AS TEXT) FROM n`, each, string(tenant))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
