package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// BenchmarkJobs measures a job that does nothing, from its enqueueing in
// batches of 1,000 to its end, against the bare insert and delete of the same
// rows in transactions of the same size. x-bare is how many times as long the
// jobs took.
func BenchmarkJobs(b *testing.B) {
	for _, d := range dbtest.Dialects(b) {
		b.Run(string(d), func(b *testing.B) {
			const batch, workers = 1000, 64
			db := dbtest.Open(b, d)
			ctx := b.Context()
			var bare, full time.Duration
			for b.Loop() {
				start := time.Now()
				bareJobs(b, db, batch, workers)
				bare += time.Since(start)

				q := jobs.New(db, nil)
				var left atomic.Int64
				left.Store(batch)
				finished := make(chan struct{})
				r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Work: map[jobs.Kind]jobs.Work{"trivial": {
					Handler: func(context.Context, *jobs.Job) (jobs.Result, error) {
						if left.Add(-1) == 0 {
							close(finished)
						}
						return jobs.Done, nil
					}, Workers: workers}}})
				rctx, stop := context.WithCancel(ctx)
				ended := make(chan error)
				start = time.Now()
				go func() { ended <- r.Run(rctx) }()
				specs := make([]jobs.Spec, batch)
				for i := range specs {
					specs[i] = jobs.Spec{Kind: "trivial", Key: fmt.Sprint(i), Tenant: "t"}
				}
				if err := db.Tx(ctx, func(tx *database.Tx) error { return q.Enqueue(ctx, tx, specs...) }); err != nil {
					b.Fatal(err)
				}
				<-finished
				stop()
				if err := <-ended; err != nil {
					b.Fatal(err)
				}
				full += time.Since(start)
			}
			b.ReportMetric(float64(batch*b.N)/full.Seconds(), "jobs/s")
			b.ReportMetric(float64(batch*b.N)/bare.Seconds(), "bare/s")
			b.ReportMetric(full.Seconds()/bare.Seconds(), "x-bare")
		})
	}
}

// BenchmarkClaim measures the claim of one due job while others wait for a
// later time: few, and very many.
func BenchmarkClaim(b *testing.B) {
	for _, d := range dbtest.Dialects(b) {
		for _, waiting := range []int{1000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/waiting=%d", d, waiting), func(b *testing.B) {
				db := dbtest.Open(b, d)
				ctx := b.Context()
				q := jobs.New(db, nil)
				err := db.Tx(ctx, func(tx *database.Tx) error {
					return q.EnqueueSelect(ctx, tx, kind, "t", time.Now().Add(time.Hour), `
						WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
						SELECT CAST(i AS TEXT) FROM n`, waiting)
				})
				if err != nil {
					b.Fatal(err)
				}
				enqueue(b, db, q, spec("due"))
				for b.Loop() {
					claimed, err := q.Claim(ctx, kind, 5, -time.Second, "w") // lapsed at once
					if err != nil || len(claimed) != 1 {
						b.Fatal(claimed, err)
					}
				}
			})
		}
	}
}

// BenchmarkFairClaim measures the claim of eight jobs for a runner that serves all
// tenants in turn and for one that takes those due first: among 100,000 that are due, of
// one tenant or of a thousand, and where five of a thousand tenants have one due each.
func BenchmarkFairClaim(b *testing.B) {
	for _, d := range dbtest.Dialects(b) {
		for _, test := range []struct{ tenants, due, each, want int }{{1, 1, 100_000, 8}, {1000, 1000, 100, 8}, {1000, 5, 1, 5}} {
			db := dbtest.Open(b, d)
			q := jobs.New(db, nil)
			all := manyDue(b, db, q, test.due, test.each)
			for i := range test.tenants - test.due {
				all = append(all, backup.TenantID(fmt.Sprintf("idle0000-5a3e-4d7b-9c1f-%012d", i)))
			}
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for name, served := range map[string][]backup.TenantID{"oldest": nil, "in turn": all} {
				b.Run(fmt.Sprintf("%s/tenants=%d/due=%d/%s", d, test.tenants, test.due*test.each, name), func(b *testing.B) {
					r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: served, Lease: -time.Second,
						Work: map[jobs.Kind]jobs.Work{kind: {Workers: 8}}})
					for b.Loop() {
						claimed, err := r.ClaimFair(b.Context(), kind, 8, nil)
						if err != nil || len(claimed) < test.want { // those of a few may come twice, since their leases lapse at once
							b.Fatal(claimed, err)
						}
					}
				})
			}
			db.Close()
		}
	}
}

// bareJobs inserts n rows in one transaction and deletes them, some at a time.
func bareJobs(b *testing.B, db *database.DB, n, some int) {
	ctx := b.Context()
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	tx := func(statement string, keys []string) {
		list, err := json.Marshal(keys)
		if err != nil {
			b.Fatal(err)
		}
		err = db.Tx(ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(ctx, statement, string(list))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	each := `(SELECT e.value FROM ` + db.Dialect().JSONEach("$1") + ` AS e)`
	tx(`INSERT INTO job (kind, key, tenant, run_at) SELECT 'trivial', value, 't', 0 FROM `+each+` AS k`, keys)
	for len(keys) > 0 {
		k := min(some, len(keys))
		tx(`DELETE FROM job WHERE kind = 'trivial' AND key IN `+each, keys[:k])
		keys = keys[k:]
	}
}
