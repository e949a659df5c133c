package jobs_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// What becomes of a tenant's jobs while it is no runner's: one that runs is stopped, and
// one that finds out by itself before the runner does has not failed either. They go on
// when the tenant is back.
func TestJobsRest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		var log bytes.Buffer // written by the runner only
		gone, ran, stopped := make(chan bool), make(chan string, 99), make(chan bool, 1)
		r := jobs.NewRunner(jobs.RunnerConfig{
			Queue: q, Name: "worker", Poll: 20 * time.Millisecond, Tenants: tenants("a b"), Log: slog.New(slog.NewTextHandler(&log, nil)),
			Work: map[jobs.Kind]jobs.Work{kind: {Workers: 4, Handler: func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
				select {
				case <-gone:
				default:
					if j.Key == "slow" {
						<-ctx.Done()
						stopped <- true
						return jobs.Done, ctx.Err()
					}
					return jobs.Done, fmt.Errorf("open the vault of %s: %w", j.Tenant, jobs.ErrRests)
				}
				ran <- j.Key
				return jobs.Done, nil
			}}},
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()

		enqueue(t, db, q, jobs.Spec{Kind: kind, Key: "early", Tenant: "a"}, jobs.Spec{Kind: kind, Key: "slow", Tenant: "a"})
		eventually(t, "both have begun", func() bool {
			all := stored(t, db)
			return all["early"].Attempts > 1 && all["slow"].Attempts > 0
		})
		r.Serve(tenants("b"))
		receive(t, stopped)
		eventually(t, "both are free", func() bool {
			all := stored(t, db)
			return all["early"].Lease == "" && all["slow"].Lease == ""
		})
		for key, job := range stored(t, db) {
			if job.Failures != 0 || job.LastError != "" {
				t.Errorf("%s says %+v", key, job)
			}
		}
		close(gone)
		r.Serve(tenants("a b"))
		receive(t, ran)
		receive(t, ran)
		stop()
		if err := <-ended; err != nil || log.Len() > 0 {
			t.Errorf("Run = %v, logged %s", err, log.String())
		}
	})
}
