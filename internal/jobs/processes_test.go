package jobs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// BenchmarkProcesses has the jobs of 1,000 tenants done by one runner and by four,
// each with connections of its own as a process has, on one PostgreSQL: claimed in
// turn, held in a transaction, and put off for an hour, as a visit is to a drive in
// which nothing changed. It reports the processor time of a job, here and in the
// database, how many of the connections waited for a lock at a time, and how evenly
// the runners shared the work.
func BenchmarkProcesses(b *testing.B) {
	if !slices.Contains(dbtest.Dialects(b), database.Postgres) {
		b.Skip("there is no PostgreSQL")
	}
	const many, each, workers = 1000, 20, 8
	for _, processes := range []int{1, 4} {
		b.Run(fmt.Sprintf("processes=%d", processes), func(b *testing.B) {
			url := dbtest.URL(b, database.Postgres)
			open := func() *database.DB {
				db, err := database.Open(b.Context(), url)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { db.Close() })
				return db
			}
			watch := open()
			all := manyDue(b, watch, jobs.New(watch, nil), many, each)
			var backend int
			if err := watch.Read().QueryRowContext(b.Context(), `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, processes)
			var left atomic.Int64
			left.Store(many * each)
			over := make(chan bool)
			did := make([]atomic.Int64, processes)
			server, here := serverTime(b, backend), processTime(b)
			for i := range processes {
				db := open()
				q := jobs.New(db, nil)
				r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: all, Work: map[jobs.Kind]jobs.Work{kind: {Workers: workers,
					Handler: func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
						err := db.Tx(ctx, func(tx *database.Tx) error { return j.Hold(ctx, tx) })
						if err != nil {
							return jobs.Done, err
						}
						did[i].Add(1)
						if left.Add(-1) == 0 {
							close(over)
						}
						return jobs.Again(time.Now().Add(time.Hour)), nil
					}}}})
				go func() { ended <- r.Run(ctx) }()
			}
			samples, waiting := 0, 0
			for done := false; !done; {
				select {
				case <-over:
					done = true
				case <-time.After(10 * time.Millisecond):
				}
				var n int
				err := watch.Read().QueryRowContext(b.Context(), `
					SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
				if err != nil {
					b.Fatal(err)
				}
				samples, waiting = samples+1, waiting+n
			}
			b.ReportMetric((processTime(b)-here).Seconds()*1e6/(many*each), "cpu-µs/job")
			b.ReportMetric((serverTime(b, backend)-server).Seconds()*1e6/(many*each), "database-cpu-µs/job")
			b.ReportMetric(float64(waiting)/float64(samples), "lock-waits")
			least, most := did[0].Load(), did[0].Load()
			for i := range did {
				least, most = min(least, did[i].Load()), max(most, did[i].Load())
			}
			b.ReportMetric(float64(most)/float64(max(least, 1)), "most/least")
			cancel()
			for range processes {
				if err := <-ended; err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// processTime is the processor time of this process so far.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverTime is that of the PostgreSQL which has a backend: of all its processes,
// the ones that have ended included.
func serverTime(b *testing.B, backend int) time.Duration {
	// Of what stands behind the name, parent is the second, and the processor times
	// are the twelfth to the fifteenth, those of children that ended last.
	stat := func(pid string) []string {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return nil // it has ended
		}
		return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	}
	of := stat(strconv.Itoa(backend))
	if of == nil {
		b.Skip("there is no /proc")
	}
	server := of[1]
	ticks := 0
	add := func(fields []string) {
		for _, f := range fields {
			n, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	add(stat(server)[11:15])
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range all {
		if s := stat(filepath.Base(p)); len(s) > 15 && s[1] == server {
			add(s[11:13])
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
