package jobs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("JOBS_CHILD"); url != "" {
		workForever(url)
	}
	dbtest.Main(m)
}

const kind jobs.Kind = "test"

// enqueue enqueues in a transaction of its own.
func enqueue(t testing.TB, db *database.DB, q *jobs.Queue, specs ...jobs.Spec) {
	t.Helper()
	if err := db.Tx(t.Context(), func(tx *database.Tx) error { return q.Enqueue(t.Context(), tx, specs...) }); err != nil {
		t.Fatal(err)
	}
}

func spec(key string) jobs.Spec { return jobs.Spec{Kind: kind, Key: key, Tenant: "t"} }

// remove removes one job of the kind.
func remove(t testing.TB, db *database.DB, q *jobs.Queue, key string) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *database.Tx) error {
		return q.RemoveSelect(t.Context(), tx, kind, `SELECT CAST($1 AS TEXT)`, key)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// work runs handler on q's jobs until the test ends or stop is called, which
// waits for the runner.
func work(t testing.TB, q *jobs.Queue, handler jobs.Handler, change ...func(*jobs.RunnerConfig)) (stop func()) {
	t.Helper()
	config := jobs.RunnerConfig{
		Queue: q,
		Work:  map[jobs.Kind]jobs.Work{kind: {Handler: handler, Workers: 4}},
		Poll:  20 * time.Millisecond,
		Name:  "worker",
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&config)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- jobs.NewRunner(config).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// slow makes a runner look for jobs once a second, for tests in which hours
// pass.
func slow(c *jobs.RunnerConfig) { c.Poll = time.Second }

// receive waits for one of c.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// A row is what the table says of a job.
type row struct {
	Lease, Args, LastError string
	RunAt                  time.Time
	Attempts, Failures     int
}

// stored returns the rows of the kind by key.
func stored(t testing.TB, db *database.DB) map[string]row {
	t.Helper()
	rows, err := db.Read().Query(`SELECT key, lease, args, last_error, run_at, attempts, failures FROM job WHERE kind = $1`, string(kind))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]row{}
	for rows.Next() {
		var key string
		var r row
		var at int64
		if err := rows.Scan(&key, &r.Lease, &r.Args, &r.LastError, &at, &r.Attempts, &r.Failures); err != nil {
			t.Fatal(err)
		}
		r.RunAt = database.Time(at)
		all[key] = r
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// eventually waits until ok, for what can only be seen in the database.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 seconds: %s", what)
		}
	}
}

func gone(t testing.TB, db *database.DB, key string) func() bool {
	return func() bool { _, there := stored(t, db)[key]; return !there }
}

func TestAJobIsPartOfTheTransactionThatCausesIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		ran := make(chan string, 9)
		work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
			var args struct{ N int }
			if err := j.Decode(&args); err != nil {
				return jobs.Done, err
			}
			ran <- fmt.Sprintln(j.Kind, j.Key, j.Tenant, j.Attempts, j.Failures, args.N)
			return jobs.Done, nil
		}, func(c *jobs.RunnerConfig) { c.Poll = time.Minute }) // it is told of jobs, it need not look

		no := errors.New("no")
		err := db.Tx(t.Context(), func(tx *database.Tx) error {
			if err := q.Enqueue(t.Context(), tx, spec("never")); err != nil {
				return err
			}
			return no
		})
		if err != no {
			t.Fatal(err)
		}
		s := spec("a")
		s.Args = map[string]int{"n": 7}
		enqueue(t, db, q, s)
		if got := receive(t, ran); got != "test a t 1 0 7\n" {
			t.Errorf("ran %q", got)
		}
		eventually(t, "the finished job's row is gone", gone(t, db, "a"))
		if got := stored(t, db); len(got) != 0 || len(ran) != 0 {
			t.Errorf("left are %v", got)
		}
	})
}

func TestEnqueueingOnceMoreMovesAJobForward(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		now := time.UnixMicro(1e15).UTC()
		q := jobs.New(db, func() time.Time { return now })
		at := func(d time.Duration, args any) jobs.Spec {
			s := spec("a")
			s.RunAt, s.Args = now.Add(d), args
			return s
		}
		enqueue(t, db, q, at(3*time.Hour, 1), at(2*time.Hour, 2), at(4*time.Hour, 3)) // within one call too
		if got := stored(t, db)["a"]; !got.RunAt.Equal(now.Add(2 * time.Hour)) {
			t.Errorf("due at %v, want the earliest", got.RunAt)
		}
		enqueue(t, db, q, at(5*time.Hour, 4))
		if got := stored(t, db)["a"]; !got.RunAt.Equal(now.Add(2*time.Hour)) || got.Args != "4" {
			t.Errorf("due at %v with %s, want at the earlier time with the last arguments", got.RunAt, got.Args)
		}
		enqueue(t, db, q, spec("a"))
		if got := stored(t, db)["a"]; !got.RunAt.Equal(now) {
			t.Errorf("due at %v, want now", got.RunAt)
		}
		enqueue(t, db, q)
		if got := stored(t, db); len(got) != 1 {
			t.Errorf("jobs are %v, want one", got)
		}
	})
}

// What is enqueued while the job runs is not lost: it runs once more.
func TestEnqueueingARunningJobRunsItOnceMore(t *testing.T) {
	far := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	for _, test := range []struct {
		name   string
		result jobs.Result
		err    error
		runAt  time.Time // of the enqueue
		again  bool      // the job runs once more at once
	}{
		{"done", jobs.Done, nil, time.Time{}, true},
		{"done, enqueued for later", jobs.Done, nil, far, false},
		{"again", jobs.Again(far), nil, time.Time{}, true},
		{"again, enqueued for later", jobs.Again(far.Add(time.Hour)), nil, far, false},
		{"again, enqueued for still later", jobs.Again(far), nil, far.Add(time.Hour), false},
		{"failed", jobs.Done, errors.New("failed"), time.Time{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, db *database.DB) {
				q := jobs.New(db, nil)
				started, end := make(chan int), make(chan bool)
				work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
					started <- j.Attempts
					<-end
					if j.Attempts == 1 {
						return test.result, test.err
					}
					return jobs.Done, nil
				})
				enqueue(t, db, q, spec("a"))
				receive(t, started)
				s := spec("a")
				s.RunAt = test.runAt
				enqueue(t, db, q, s)
				end <- true
				if test.again {
					if n := receive(t, started); n != 2 {
						t.Errorf("attempt %d, want 2", n)
					}
					end <- true
					eventually(t, "the job ends", gone(t, db, "a"))
					return
				}
				eventually(t, "the job waits", func() bool { return stored(t, db)["a"].Lease == "" })
				if got := stored(t, db)["a"].RunAt; !got.Equal(far) {
					t.Errorf("due at %v, want %v", got, far)
				}
			})
		})
	}
}

func TestARemovedJobIsCancelledSilently(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		var log bytes.Buffer
		started, causes := make(chan bool), make(chan error)
		stop := work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			started <- true
			<-ctx.Done()
			causes <- context.Cause(ctx)
			err := db.Tx(context.WithoutCancel(ctx), func(tx *database.Tx) error { return j.Hold(context.WithoutCancel(ctx), tx) })
			if !errors.Is(err, jobs.ErrLost) {
				t.Errorf("Hold = %v, want ErrLost", err)
			}
			return jobs.Done, errors.New("interrupted")
		}, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		enqueue(t, db, q, spec("a"), spec("b"))
		receive(t, started)
		receive(t, started)
		remove(t, db, q, "a")
		if cause := receive(t, causes); cause != jobs.ErrLost {
			t.Errorf("cancelled by %v, want ErrLost", cause)
		}
		if got := stored(t, db); len(got) != 1 || got["b"].Lease == "" {
			t.Errorf("left are %v, want b running", got)
		}
		remove(t, db, q, "b")
		receive(t, causes)
		stop()
		if log.Len() > 0 {
			t.Errorf("logged %s", &log)
		}
	})
}

// A worker whose lease has lapsed can write nothing once another has the job,
// and can still write while no one has.
func TestFencing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		now := time.UnixMicro(1e15)
		q := jobs.New(db, func() time.Time { return now })
		enqueue(t, db, q, spec("a"))
		claim := func(want int) *jobs.Job {
			t.Helper()
			claimed, err := q.Claim(ctx, kind, 5, 30*time.Second, "w")
			if err != nil || len(claimed) != want {
				t.Fatalf("Claim = %d jobs, %v; want %d", len(claimed), err, want)
			}
			if want == 0 {
				return nil
			}
			return claimed[0]
		}
		hold := func(j *jobs.Job) error {
			return db.Tx(ctx, func(tx *database.Tx) error { return j.Hold(ctx, tx) })
		}
		first := claim(1)
		now = now.Add(29 * time.Second)
		claim(0)
		now = now.Add(2 * time.Second)
		if err := hold(first); err != nil {
			t.Errorf("Hold after the lapse, before another has it = %v", err)
		}
		second := claim(1)
		if err := hold(first); !errors.Is(err, jobs.ErrLost) {
			t.Errorf("Hold of the first = %v, want ErrLost", err)
		}
		if err := hold(second); err != nil || second.Attempts != 2 {
			t.Errorf("Hold of the second = %v on attempt %d", err, second.Attempts)
		}
	})
}

// On PostgreSQL a job that a handler's transaction holds cannot be taken from
// it before the transaction ends. SQLite has one writer anyway.
func TestHoldLocks(t *testing.T) {
	if len(dbtest.Dialects(t)) == 1 {
		return // Dialects has said so
	}
	db := dbtest.Open(t, database.Postgres)
	ctx := t.Context()
	now := time.UnixMicro(1e15)
	q := jobs.New(db, func() time.Time { return now })
	enqueue(t, db, q, spec("a"))
	claimed, err := q.Claim(ctx, kind, 1, time.Second, "w")
	if err != nil {
		t.Fatal(err)
	}
	err = db.Tx(ctx, func(tx *database.Tx) error {
		if err := claimed[0].Hold(ctx, tx); err != nil {
			return err
		}
		now = now.Add(time.Hour)
		if others, err := q.Claim(ctx, kind, 1, time.Second, "w"); err != nil || len(others) != 0 {
			t.Errorf("Claim of a held job = %v, %v", others, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if others, err := q.Claim(ctx, kind, 1, time.Second, "w"); err != nil || len(others) != 1 {
		t.Errorf("Claim afterwards = %v, %v", others, err)
	}
}

// A transaction that holds one job, such as its handler's, costs neither that
// job nor the leases of those beside it.
func TestAHeldJobDoesNotStopTheRenewals(t *testing.T) {
	if len(dbtest.Dialects(t)) == 1 {
		return // Dialects has said so
	}
	db := dbtest.Open(t, database.Postgres)
	ctx := t.Context()
	q := jobs.New(db, nil)
	end, results := make(chan bool), make(chan error, 2)
	work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
		hold := func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			<-end
			return nil
		}
		if j.Key == "held" {
			results <- db.Tx(ctx, hold)
		} else {
			<-end
			results <- ctx.Err()
		}
		return jobs.Done, nil
	}, func(c *jobs.RunnerConfig) { c.Lease = 6 * time.Second })
	enqueue(t, db, q, spec("held"), spec("beside"))
	eventually(t, "the job is held", func() bool {
		if stored(t, db)["held"].Lease == "" {
			return false
		}
		free := 0
		err := db.Tx(ctx, func(tx *database.Tx) error {
			return tx.QueryRow(`SELECT count(*) FROM (SELECT 1 FROM job FOR UPDATE SKIP LOCKED) AS free`).Scan(&free)
		})
		return err == nil && free == 1
	})
	before := stored(t, db)["beside"].RunAt
	eventually(t, "the other's lease is renewed", func() bool { return stored(t, db)["beside"].RunAt.After(before) })
	close(end)
	for range 2 {
		if err := receive(t, results); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "both jobs end", func() bool { return len(stored(t, db)) == 0 })
}

func TestFailuresAreTriedAgain(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error":  func() error { return errors.New("not \x00now\xff") },
		"panic":  func() error { panic("not now") },
		"goexit": func() error { runtime.Goexit(); return nil },
		"long":   func() error { return errors.New(strings.Repeat("é", 5000)) },
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, db *database.DB) {
				q := jobs.New(db, nil)
				var log bytes.Buffer
				failures := make(chan int, 9)
				stop := work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
					failures <- j.Failures
					if j.Failures == 0 {
						return jobs.Again(time.Now()), fail()
					}
					return jobs.Again(time.Now().Add(time.Hour)), nil
				}, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
				s := spec("a")
				s.Args = "TOPSECRET"
				before := time.Now()
				enqueue(t, db, q, s)
				eventually(t, "the failure is noted", func() bool { return stored(t, db)["a"].Failures == 1 })
				got := stored(t, db)["a"]
				if pause := got.RunAt.Sub(before); pause < 700*time.Millisecond || pause > 20*time.Second {
					t.Errorf("tried again after %v, want about a second", pause)
				}
				if got.LastError == "" || len(got.LastError) > 2100 || got.Lease != "" {
					t.Errorf("noted %+v", got)
				}
				enqueue(t, db, q, s) // which spares us the pause
				eventually(t, "the success is noted", func() bool { g := stored(t, db)["a"]; return g.Attempts == 2 && g.Lease == "" })
				if got := stored(t, db)["a"]; got.Failures != 0 || got.LastError != "" {
					t.Errorf("after a success it says %+v", got)
				}
				stop()
				text := log.String()
				if strings.Count(text, "\n") != 1 || !strings.Contains(text, `level=WARN msg="job failed" kind=test key=a err=`) ||
					!strings.Contains(text, "next=") || strings.Contains(text, "TOPSECRET") {
					t.Errorf("logged %s", text)
				}
				if strings.Contains(text, "stack=") != (name == "panic") {
					t.Errorf("a stack belongs to a panic: %s", text)
				}
			})
		})
	}
}

// A job that has to wait goes back to the queue with the reason, and what
// failed before it waited is neither counted up nor forgotten.
func TestAPauseIsNoFailure(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		until := time.Now().Add(time.Hour).Truncate(time.Microsecond)
		var log bytes.Buffer
		stop := work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
			switch j.Attempts {
			case 1:
				return jobs.Done, errors.New("broken")
			case 2, 3:
				return jobs.Paused(until, errors.New("come back \x00later")), nil
			}
			return jobs.Again(until), nil
		}, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		for n, want := range []row{
			{LastError: "broken", Failures: 1},
			{LastError: "come back \uFFFDlater", Failures: 1, RunAt: until},
			{LastError: "come back \uFFFDlater", Failures: 1, RunAt: until},
			{RunAt: until},
		} {
			enqueue(t, db, q, spec("a"))
			var got row
			eventually(t, "the run is noted", func() bool { got = stored(t, db)["a"]; return got.Attempts == n+1 && got.Lease == "" })
			if got.LastError != want.LastError || got.Failures != want.Failures || !want.RunAt.IsZero() && !got.RunAt.Equal(want.RunAt) {
				t.Errorf("after run %d it says %+v, want %+v", n+1, got, want)
			}
		}
		stop()
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			t.Errorf("logged %d lines, want that of the failure: %s", lines, log.String())
		}
	})
}

// The pause doubles from a second up to five minutes.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dbtest.Open(t, database.SQLite)
		q := jobs.New(db, nil)
		tried := make(chan time.Time)
		stop := work(t, q, func(context.Context, *jobs.Job) (jobs.Result, error) {
			tried <- time.Now()
			return jobs.Done, errors.New("no")
		}, slow, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.DiscardHandler) })
		enqueue(t, db, q, spec("a"))
		last := <-tried
		for i, want := 0, time.Second; i < 10; i, want = i+1, min(5*time.Minute, 2*want) {
			next := <-tried
			if pause := next.Sub(last); pause < want*3/4 || pause > min(want*5/4, 5*time.Minute)+time.Second {
				t.Errorf("pause %d was %v, want about %v", i+1, pause, want)
			}
			last = next
		}
		remove(t, db, q, "a")
		stop()
	})
}

// A lease is renewed for as long as its worker lives, and lapses with it.
func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dbtest.Open(t, database.SQLite)
		q := jobs.New(db, nil)
		enqueue(t, db, q, spec("dead"))
		if claimed, err := q.Claim(t.Context(), kind, 1, 30*time.Second, "killed"); err != nil || len(claimed) != 1 {
			t.Fatal(claimed, err)
		}
		begin := time.Now()
		started := make(chan time.Duration, 9)
		handler := func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			started <- time.Since(begin)
			select {
			case <-ctx.Done():
				return jobs.Done, context.Cause(ctx)
			case <-time.After(3 * time.Minute):
				return jobs.Done, nil
			}
		}
		stop1 := work(t, q, handler, slow)
		stop2 := work(t, jobs.New(db, nil), handler, slow)
		if after := <-started; after < 30*time.Second || after > 31*time.Second {
			t.Errorf("a killed worker's job ran again after %v, want 30s", after)
		}
		time.Sleep(2 * time.Minute)
		if len(started) != 0 {
			t.Error("a job ran twice at once")
		}
		time.Sleep(2 * time.Minute)
		if got := stored(t, db); len(got) != 0 {
			t.Errorf("left are %v", got)
		}
		stop1()
		stop2()
	})
}

// While the database takes nothing that is said now and then, and once more when it is over.
func TestADatabaseThatIsAwayIsToldOfNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dbtest.Open(t, database.SQLite)
		q := jobs.New(db, nil)
		ran := make(chan bool)
		var log bytes.Buffer
		stop := work(t, q, func(context.Context, *jobs.Job) (jobs.Result, error) {
			ran <- true
			return jobs.Done, nil
		}, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		rename := func(from, to string) {
			t.Helper()
			if err := db.Tx(t.Context(), func(tx *database.Tx) error {
				_, err := tx.ExecContext(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		rename("job", "away")
		time.Sleep(12 * time.Minute)
		rename("away", "job")
		enqueue(t, db, q, spec("a"))
		<-ran
		stop()
		if text := log.String(); strings.Count(text, "cannot be claimed or settled") != 3 || strings.Count(text, "claimed and settled again") != 1 || strings.Count(text, "\n") != 4 {
			t.Errorf("of twelve minutes it is said\n%s", text)
		}
	})
}

// A worker that cannot renew its leases stops before another may begin.
func TestAWorkerThatCannotRenewStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dbtest.Open(t, database.SQLite)
		q := jobs.New(db, nil)
		started, lost := make(chan bool), make(chan error)
		stop := work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			started <- true
			<-ctx.Done()
			lost <- context.Cause(ctx)
			return jobs.Done, ctx.Err()
		}, slow, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.DiscardHandler) })
		enqueue(t, db, q, spec("a"))
		<-started
		begin, release := time.Now(), make(chan bool)
		go db.Tx(t.Context(), func(*database.Tx) error { <-release; return nil }) // the one writer
		if cause := <-lost; cause != jobs.ErrLost {
			t.Errorf("cancelled by %v, want ErrLost", cause)
		}
		if after := time.Since(begin); after < 20*time.Second || after > 45*time.Second {
			t.Errorf("cancelled after %v, want about a lease", after)
		}
		close(release)
		<-started // it is taken up again
		stopped := make(chan bool)
		go func() { stop(); close(stopped) }()
		if cause := <-lost; cause == jobs.ErrLost {
			t.Errorf("cancelled by %v at the stop", cause)
		}
		<-stopped // not by stop itself, whose mutex would stop the bubble's time
	})
}

// A runner that stops leaves nothing running and no lease behind.
func TestStopping(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		started := make(chan bool)
		stop := work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			started <- true
			<-ctx.Done()
			if j.Key == "finishes" {
				return jobs.Done, nil
			}
			return jobs.Done, fmt.Errorf("read page: %w", ctx.Err())
		}, func(c *jobs.RunnerConfig) { c.Lease, c.Poll = time.Hour, time.Minute })
		enqueue(t, db, q, spec("finishes"), spec("interrupted"))
		receive(t, started)
		receive(t, started)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("stopping took %v, as if it waited for the next poll", took)
		}
		got := stored(t, db)
		if r := got["interrupted"]; len(got) != 1 || r.Lease != "" || r.Failures != 0 || r.LastError != "" || r.RunAt.After(time.Now()) {
			t.Errorf("left are %+v, want one job, due now, that has not failed", got)
		}
		resumed := make(chan string)
		work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
			resumed <- j.Key
			return jobs.Done, nil
		})
		if key := receive(t, resumed); key != "interrupted" {
			t.Errorf("resumed %s", key)
		}
	})
}

func TestNoKindStarvesAnother(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		block, ran := make(chan bool), make(chan string, 9)
		var most, now atomic.Int64
		work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			select {
			case <-block:
			case <-ctx.Done():
			}
			return jobs.Done, ctx.Err()
		}, func(c *jobs.RunnerConfig) {
			c.Work["other"] = jobs.Work{Workers: 1, Handler: func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
				ran <- j.Key
				return jobs.Done, nil
			}}
		})
		var flood []jobs.Spec
		for i := range 500 {
			flood = append(flood, spec(fmt.Sprint(i)))
		}
		enqueue(t, db, q, flood...)
		eventually(t, "all workers of the first kind are busy", func() bool { return now.Load() == 4 })
		enqueue(t, db, q, jobs.Spec{Kind: "other", Key: "small", Tenant: "t"})
		receive(t, ran)
		stats, err := q.Stats(t.Context())
		if err != nil || stats[kind] != (jobs.Stat{Due: 496, Running: 4}) {
			t.Errorf("Stats = %+v, %v; want 4 running and 496 due", stats, err)
		}
		close(block)
		eventually(t, "all jobs end", func() bool { return len(stored(t, db)) == 0 })
		if most.Load() != 4 {
			t.Errorf("%d ran at a time, want 4", most.Load())
		}
	})
}

// A runner that is never idle finds what it was not told of all the same: what another
// process enqueues, such as one that only serves the API.
func TestABusyRunnerFindsWhatOthersEnqueue(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		ran, busy := make(chan string, 9), make(chan string, 1)
		work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			select {
			case busy <- j.Key:
			default:
			}
			return jobs.Again(time.Time{}), nil
		}, func(c *jobs.RunnerConfig) {
			c.Work["other"] = jobs.Work{Workers: 1, Handler: func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
				ran <- j.Key
				return jobs.Done, nil
			}}
		})
		enqueue(t, db, q, spec("again"), spec("and again"))
		receive(t, busy)
		enqueue(t, db, jobs.New(db, nil), jobs.Spec{Kind: "other", Key: "small", Tenant: "t"})
		receive(t, ran)
	})
}

func TestEnqueueSelectAndRemoveSelect(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		now := time.UnixMicro(1e15).UTC()
		q := jobs.New(db, func() time.Time { return now })
		keys, err := json.Marshal([]string{"c", "a", "b", "a"})
		if err != nil {
			t.Fatal(err)
		}
		query := `SELECT e.value FROM ` + db.Dialect().JSONEach("$1") + ` AS e WHERE e.value <> $2`
		for _, runAt := range []time.Time{now.Add(time.Hour), now.Add(2 * time.Hour)} {
			err = db.Tx(ctx, func(tx *database.Tx) error {
				return q.EnqueueSelect(ctx, tx, kind, "t", runAt, query, string(keys), "b")
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		got := stored(t, db)
		if len(got) != 2 || !got["a"].RunAt.Equal(now.Add(time.Hour)) || !got["c"].RunAt.Equal(now.Add(time.Hour)) || got["a"].Args != "null" {
			t.Errorf("jobs are %+v, want a and c in an hour", got)
		}
		err = db.Tx(ctx, func(tx *database.Tx) error {
			if err := q.EnqueueSelect(ctx, tx, kind, "t", time.Time{}, `SELECT key FROM job WHERE kind = $1 AND key < 'z'`, string(kind)); err != nil {
				return err
			}
			return q.RemoveSelect(ctx, tx, kind, query, string(keys), "a")
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := stored(t, db); len(got) != 1 || !got["a"].RunAt.Equal(now) {
			t.Errorf("jobs are %+v, want a, now", got)
		}
		stats, err := q.Stats(ctx)
		if err != nil || stats[kind] != (jobs.Stat{Due: 1}) {
			t.Errorf("Stats = %v, %v", stats, err)
		}
	})
}

func TestReclaim(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		later := spec("later")
		later.RunAt = time.Now().Add(time.Hour)
		enqueue(t, db, q, spec("a"), later)
		claimed, err := q.Claim(t.Context(), kind, 9, time.Hour, "killed")
		if err != nil || len(claimed) != 1 {
			t.Fatal(claimed, err)
		}
		if err := q.Reclaim(t.Context()); err != nil {
			t.Fatal(err)
		}
		ran := make(chan string, 9)
		work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
			ran <- fmt.Sprint(j.Key, j.Attempts)
			return jobs.Done, nil
		})
		if got := receive(t, ran); got != "a2" {
			t.Errorf("ran %s, want a on attempt 2", got)
		}
		eventually(t, "a ends", gone(t, db, "a"))
		if got := stored(t, db); len(got) != 1 || len(ran) != 0 {
			t.Errorf("left are %v", got)
		}
	})
}

// Runners that share a database, as processes do, never run one job at once,
// and between them run each as often as it asks.
func TestManyRunners(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			url := dbtest.URL(t, d)
			var mu sync.Mutex
			running, runs := map[string]bool{}, map[string]int{}
			var first *database.DB
			var q *jobs.Queue
			for range 3 {
				db, err := database.Open(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { db.Close() })
				first, q = db, jobs.New(db, nil)
				work(t, q, func(_ context.Context, j *jobs.Job) (jobs.Result, error) {
					mu.Lock()
					if running[j.Key] {
						t.Errorf("%s runs twice at once", j.Key)
					}
					running[j.Key] = true
					mu.Unlock()
					runtime.Gosched()
					mu.Lock()
					defer mu.Unlock()
					running[j.Key] = false
					if runs[j.Key]++; runs[j.Key] < 3 {
						return jobs.Again(time.Now()), nil
					}
					return jobs.Done, nil
				}, func(c *jobs.RunnerConfig) { c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)) })
			}
			var specs []jobs.Spec
			for i := range 200 {
				specs = append(specs, spec(fmt.Sprint(i)))
			}
			enqueue(t, first, q, specs...)
			eventually(t, "all jobs end", func() bool { return len(stored(t, first)) == 0 })
			mu.Lock()
			defer mu.Unlock()
			for key, n := range runs {
				if n != 3 {
					t.Errorf("%s ran %d times, want 3", key, n)
				}
			}
			if len(runs) != len(specs) {
				t.Errorf("%d jobs ran, want %d", len(runs), len(specs))
			}
		})
	}
}

// workForever is the child of TestKilledProcess: it takes a job and never
// finishes it.
func workForever(url string) {
	db, err := database.Open(context.Background(), url)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	err = jobs.NewRunner(jobs.RunnerConfig{
		Queue: jobs.New(db, nil),
		Lease: 2 * time.Second,
		Work: map[jobs.Kind]jobs.Work{kind: {Workers: 1, Handler: func(context.Context, *jobs.Job) (jobs.Result, error) {
			fmt.Println("started")
			select {}
		}}},
	}).Run(context.Background())
	fmt.Println(err)
	os.Exit(1)
}

// A job whose process is killed runs again once the lease has lapsed, or, where
// no other process uses the database, at once.
func TestKilledProcess(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		for _, reclaim := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reclaim %v", d, reclaim), func(t *testing.T) {
				url := dbtest.URL(t, d)
				db, err := database.Open(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { db.Close() })
				q := jobs.New(db, nil)
				enqueue(t, db, q, spec("a"))

				exe, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				child := exec.Command(exe)
				child.Env = append(os.Environ(), "JOBS_CHILD="+url)
				out, err := child.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := child.Start(); err != nil {
					t.Fatal(err)
				}
				line, err := bufio.NewReader(out).ReadString('\n')
				child.Process.Kill()
				child.Wait()
				if err != nil || line != "started\n" {
					t.Fatal(line, err)
				}
				killed := time.Now()
				lapse := stored(t, db)["a"].RunAt
				if reclaim {
					if err := q.Reclaim(t.Context()); err != nil {
						t.Fatal(err)
					}
					lapse = killed
				}
				ran := make(chan time.Time, 1)
				work(t, q, func(context.Context, *jobs.Job) (jobs.Result, error) {
					ran <- time.Now()
					return jobs.Done, nil
				})
				if at := receive(t, ran); at.Before(lapse) || at.After(lapse.Add(10*time.Second)) {
					t.Errorf("ran %v after the lease lapsed", at.Sub(lapse))
				}
			})
		}
	}
}

// Claiming, renewing and settling find their rows by index, however many jobs
// wait for a later time. The plans are those for what a claim meets: a large
// table that nothing has analysed yet.
func TestClaimingIsCheapAmongMany(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ignorant(t, db)
		q := jobs.New(db, nil)
		err := db.Tx(t.Context(), func(tx *database.Tx) error {
			return q.EnqueueSelect(t.Context(), tx, kind, "t", time.Now().Add(time.Hour), `
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
				SELECT CAST(i AS TEXT) FROM n`, 30_000)
		})
		if err != nil {
			t.Fatal(err)
		}
		var asked statements
		ctx, cancel := context.WithCancel(asked.observe(t.Context()))
		defer cancel()
		began, results := make(chan bool), make(chan jobs.Result)
		r := jobs.NewRunner(jobs.RunnerConfig{Queue: q, Tenants: tenants("t u"), Work: map[jobs.Kind]jobs.Work{kind: {Workers: 4,
			Handler: func(context.Context, *jobs.Job) (jobs.Result, error) {
				began <- true
				return <-results, nil
			}}}})
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		enqueue(t, db, q, spec("due"), spec("due, too"))
		receive(t, began)
		receive(t, began)
		remove(t, db, q, "another") // which has the leases renewed
		eventually(t, "the leases are renewed", func() bool { return len(asked.with("SET run_at")) > 0 })
		results <- jobs.Done
		results <- jobs.Again(time.Now().Add(time.Hour))
		eventually(t, "the jobs have ended", func() bool {
			return len(asked.with("DELETE FROM job")) > 0 && len(asked.with("last_error = e.error")) > 0
		})
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for _, what := range []string{"attempts + 1", "SELECT e.value", "SET run_at", "DELETE FROM job", "last_error = e.error"} {
			if len(asked.with(what)) == 0 {
				t.Errorf("no statement has %q", what)
			}
		}
		asked.readFew(t, db)
	})
}

// A job is known by the request that caused it until it has done what it is for,
// through failures, pauses and kills, and so is what it enqueues; later runs have ids
// of their own.
func TestACauseGoesWithTheJob(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		q := jobs.New(db, nil)
		asked := func(ctx context.Context, s jobs.Spec) error {
			return db.Tx(ctx, func(tx *database.Tx) error { return q.Enqueue(ctx, tx, s) })
		}
		type seen struct {
			key, cause, ctx string
			requested       bool
		}
		ran := make(chan seen, 10)
		work(t, q, func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			ran <- seen{j.Key, j.Cause, backup.CauseOf(ctx), j.Requested()}
			switch {
			case j.Key == "b":
				return jobs.Done, nil
			case j.Attempts == 1:
				return jobs.Result{}, errors.New("failed")
			case j.Attempts == 2:
				return jobs.Paused(time.Now(), errors.New("later")), nil
			case j.Attempts == 3:
				return jobs.Again(time.Now()), asked(ctx, spec("b"))
			case j.Attempts == 4:
				return jobs.Again(time.Now()), nil
			}
			return jobs.Done, nil
		})
		if err := asked(backup.WithCause(t.Context(), "the request"), spec("a")); err != nil {
			t.Fatal(err)
		}
		own := map[string]bool{}
		for range 6 {
			s := receive(t, ran)
			if s.cause != s.ctx || s.cause == "" {
				t.Errorf("the context has %q of %+v", s.ctx, s)
			}
			if s.requested != (s.cause == "the request") {
				t.Errorf("requested: %+v", s)
			}
			if !s.requested {
				own[s.cause] = true
			}
			if s.key == "b" && !s.requested {
				t.Errorf("what the job enqueued: %+v", s)
			}
		}
		if len(own) != 2 {
			t.Errorf("two runs that nobody asked for are known by %v", own)
		}
	})
}
