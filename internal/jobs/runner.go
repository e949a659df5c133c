package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A Result is what a handler that succeeded wants of its job.
type Result struct {
	again   bool
	at      time.Time
	reason  error // why the job has to wait; nil if it does not
	patient bool
}

// Done is the result of a job that has nothing left to do: its row is deleted,
// unless it was enqueued during the run, and then it runs once more.
var Done Result

// Again is the result of a job that is to run once more, at a time; at once if
// that has passed. If it was enqueued during the run, it runs at the earlier
// of the two times.
func Again(at time.Time) Result { return Result{again: true, at: at} }

// Patiently is the result r of a job that has not done what it is for: of a kind
// whose jobs are patient at first, it stays patient.
func (r Result) Patiently() Result {
	r.patient = true
	return r
}

// Paused is the result of a job that can go on only at a time, for a reason
// that is not its failure: somebody asked to be left alone until then. It is
// Again, but that the failures before are neither counted up nor forgotten,
// and the reason stands with the job as an error would.
func Paused(until time.Time, reason error) Result {
	return Result{again: true, at: until, reason: reason}
}

// A Handler runs a job. An error has the job tried again, after a pause that
// grows with each failure; a panic is such an error.
//
// The context ends when the runner stops or, with the cause ErrLost, when the
// job is no longer the handler's. A handler returns soon after that. One that
// fails because the runner stops has not failed: its job is free at once.
type Handler func(ctx context.Context, j *Job) (Result, error)

// Work is who does one kind of job.
type Work struct {
	Handler Handler
	Workers int // how many jobs of the kind run at a time in this runner
	// Patient is how many of them may do patient jobs, of a kind that has such;
	// the others are kept for those that are not. Zero is all.
	Patient int
}

// A RunnerConfig is what a Runner needs. Only Queue and Work must be given.
type RunnerConfig struct {
	Queue *Queue
	Work  map[Kind]Work
	// Tenants are those whose jobs it runs, each having its share; what others
	// have due stays where it is. Nil is everybody, those due first first.
	Tenants []backup.TenantID
	Lease   time.Duration // after which another may take a job whose worker is silent; 30 seconds
	Poll    time.Duration // how often a runner looks for jobs it was not told of; 250 ms
	// Ended is told of each run that has ended: "done", "again", "paused", "failed",
	// "stopped" or "lost", and how long it took. Nil for nobody.
	Ended func(kind Kind, how string, took time.Duration)
	Name  string       // stored with the jobs it runs, for people
	Log   *slog.Logger // slog.Default
}

// A Runner runs the jobs of a queue.
//
// It works in turns. A turn is one transaction, which settles the jobs whose
// handlers have returned since the last and claims others for the workers that
// are idle. Jobs that end during a turn wait for the next, so the busier the
// runner, the more of them share a commit.
type Runner struct {
	queue       *Queue
	work        map[Kind]Work
	tenants     []backup.TenantID
	lease, poll time.Duration
	name        string
	log         *slog.Logger
	tell        func(kind Kind, how string, took time.Duration)

	turns map[class]turnList // only turn uses it
	alone map[Kind]bool      // likewise: the last claim of the kind's only worker was a patient job

	wake  chan struct{} // asks for a turn
	renew chan struct{} // asks for the leases to be renewed

	turned atomic.Int64 // when the last turn that came to its end did, in Unix nanoseconds

	mu      sync.Mutex
	wanted  []backup.TenantID // whose jobs it runs from the next turn on; nil for those of now
	running map[*run]bool
	busy    map[Kind]int       // how many of running are of each kind
	offered map[Kind]int       // workers that the present turn may give to patient jobs
	wished  map[Kind]time.Time // until when a place for a patient job is kept for one that runs
	due     map[Kind]bool      // kinds of which there may be jobs to claim
	ended   []*run             // of running, those whose handler has returned
}

// A run is one attempt at a job.
type run struct {
	*Job
	cancel  context.CancelCauseFunc
	until   time.Time // when the lease lapses, as last renewed
	patient bool      // it counts as a patient job; guarded by Runner.mu

	// What becomes of the job, once the handler has returned.
	lost      bool // nothing: it is another's
	done      bool
	at        time.Time // when it is due again
	failures  int
	stays     bool // patient
	lastError string
	err       error // why it failed
}

// NewRunner returns a runner that does nothing until Run.
func NewRunner(config RunnerConfig) *Runner {
	r := &Runner{
		queue:   config.Queue,
		work:    maps.Clone(config.Work),
		tenants: config.Tenants,
		lease:   cmp.Or(config.Lease, 30*time.Second),
		poll:    cmp.Or(config.Poll, 250*time.Millisecond),
		name:    config.Name,
		log:     cmp.Or(config.Log, slog.Default()),
		tell:    config.Ended,
		turns:   map[class]turnList{},
		alone:   map[Kind]bool{},
		wake:    make(chan struct{}, 1),
		renew:   make(chan struct{}, 1),
		running: map[*run]bool{},
		busy:    map[Kind]int{},
		due:     map[Kind]bool{},
		offered: map[Kind]int{},
		wished:  map[Kind]time.Time{},
	}
	for kind, work := range r.work {
		r.turns[class{kind, false}] = slices.Clone(r.tenants)
		if !patientAtFirst[kind] {
			continue
		}
		r.turns[class{kind, true}] = slices.Clone(r.tenants)
		work.Patient = min(cmp.Or(work.Patient, work.Workers), work.Workers)
		r.work[kind] = work
	}
	return r
}

// Turned is when the runner last came to the end of a turn, zero before Run: it does so
// several times a second, unless the database does not let it.
func (r *Runner) Turned() time.Time {
	if at := r.turned.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// stopTimeout is how long a runner that stops tries to give back its leases
// once its handlers have returned. What it cannot give back lapses.
const stopTimeout = 5 * time.Second

// tellAgain is how often it is said that the database does not let the runner work.
const tellAgain = 5 * time.Minute

// Run runs jobs until ctx ends. Then it cancels the handlers, waits for them,
// gives back the leases of what they did not finish, and returns nil, or why
// it could not. It is called once.
func (r *Runner) Run(ctx context.Context) error {
	r.queue.mu.Lock()
	r.queue.runners[r] = true
	r.queue.mu.Unlock()
	defer func() {
		r.queue.mu.Lock()
		delete(r.queue.runners, r)
		r.queue.mu.Unlock()
	}()

	var wg sync.WaitGroup
	defer wg.Wait()
	over := make(chan struct{})
	defer close(over)
	background := context.WithoutCancel(ctx) // what was begun is written although ctx ended
	wg.Go(func() { r.renewLeases(background, over) })

	r.turned.Store(time.Now().UnixNano())
	r.lookAll()
	poll := time.NewTicker(r.poll)
	defer poll.Stop()
	var pause time.Duration
	var since, told time.Time // when turns began to fail, and when that was said last
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.wake:
			runtime.Gosched() // handlers that are about to return then share this turn
		case <-poll.C:
			r.lookDue(ctx)
		}
		err := r.turn(ctx, background, r.lease)
		if err == nil {
			r.turned.Store(time.Now().UnixNano())
			if !since.IsZero() {
				r.log.Info("jobs are claimed and settled again", "after", time.Since(since).Round(time.Second))
			}
			pause, since, told = 0, time.Time{}, time.Time{}
			continue
		}
		if pause = min(5*time.Second, max(r.poll, 2*pause)); since.IsZero() {
			since = time.Now()
		}
		if time.Since(told) >= tellAgain {
			r.log.Error("jobs cannot be claimed or settled; it is tried again every few seconds", "err", err, "since", since.UTC().Format(time.RFC3339))
			told = time.Now()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			signal(r.wake)
		}
	}

	// The handlers' contexts have ended with ctx. What each leaves is settled
	// as it returns, so that a slow one does not keep the others' jobs.
	var failing time.Time
	for {
		err := r.turn(ctx, background, stopTimeout)
		r.mu.Lock()
		running, idle := len(r.running), len(r.running) == len(r.ended)
		r.mu.Unlock()
		switch {
		case running == 0:
			return nil
		case err == nil:
			failing = time.Time{}
		case failing.IsZero():
			failing = time.Now()
		case idle && time.Since(failing) >= stopTimeout:
			return fmt.Errorf("give back the leases of %d jobs: %w", running, err)
		}
		select {
		case <-r.wake:
		case <-time.After(r.poll):
		}
	}
}

// ErrRests is why a job is stopped whose tenant is not the runner's any more. A handler
// that finds out before the runner does may return it: the job has not failed.
var ErrRests = errors.New("its jobs rest")

// Serve has a runner that was given tenants run the jobs of these from now on, and no
// others; there is one at least. What runs of others is stopped, without counting as a
// failure, and is free for whoever serves its tenant.
func (r *Runner) Serve(tenants []backup.TenantID) {
	r.mu.Lock()
	r.wanted = slices.Clone(tenants)
	r.mu.Unlock()
	r.lookAll()
}

// serveWanted does what Serve has asked for. The caller holds mu, and is turn.
func (r *Runner) serveWanted() {
	if r.wanted == nil {
		return
	}
	wanted := r.wanted
	r.tenants, r.wanted = wanted, nil
	for of, turns := range r.turns { // who is new has not been served for longest
		stay := slices.DeleteFunc(turns, func(t backup.TenantID) bool { return !slices.Contains(wanted, t) })
		var all turnList
		for _, t := range wanted {
			if !slices.Contains(stay, t) {
				all = append(all, t)
			}
		}
		r.turns[of] = append(all, stay...)
	}
	for c := range r.running {
		if !slices.Contains(wanted, c.Tenant) {
			c.cancel(ErrRests)
		}
	}
}

// look says that there may be jobs of these kinds to claim.
func (r *Runner) look(kinds ...Kind) {
	r.mu.Lock()
	for _, kind := range kinds {
		r.due[kind] = true
	}
	r.mu.Unlock()
	signal(r.wake)
}

// lookDue looks for kinds of which jobs are due that it was not told of. Where that
// cannot be found out, the turn that follows looks at all, and fails likewise.
func (r *Runner) lookDue(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.lease/10)
	defer cancel()
	due, err := r.queue.dueKinds(ctx, slices.Collect(maps.Keys(r.work)))
	switch {
	case err != nil:
		r.lookAll()
	case len(due) > 0:
		r.look(due...)
	}
}

func (r *Runner) lookAll() {
	for kind := range r.work {
		r.look(kind)
	}
}

// renewSoon has the leases renewed without waiting for their time, which finds
// out which jobs were removed.
func (r *Runner) renewSoon() { signal(r.renew) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is asked for already
	}
}

// turn settles the jobs that have ended and, unless ctx has, claims others for
// the idle workers and starts them.
func (r *Runner) turn(ctx, background context.Context, timeout time.Duration) error {
	r.mu.Lock()
	r.serveWanted()
	ended := r.ended[:len(r.ended):len(r.ended)]
	over := map[*run]bool{}
	for _, e := range ended {
		over[e] = true
	}
	offers, look := map[Kind]*offer{}, map[Kind]bool{}
	for kind, work := range r.work {
		offers[kind] = &offer{idle: work.Workers, room: work.Patient, held: map[backup.TenantID]int{}, patient: map[backup.TenantID]int{}}
	}
	for c := range r.running {
		if !over[c] {
			offers[c.Kind].take(c.Tenant, c.patient)
		}
	}
	for kind, o := range offers {
		if r.queue.clock().Before(r.wished[kind]) {
			o.room--
		}
		if ctx.Err() == nil && o.idle > 0 && r.due[kind] {
			look[kind] = true
			r.due[kind] = false // from here on, whoever enqueues sets it anew
		}
		r.offered[kind] = max(min(o.room, o.idle), 0)
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		clear(r.offered)
		r.mu.Unlock()
	}()
	if len(ended) == 0 && len(look) == 0 {
		return nil
	}

	limited, cancel := context.WithTimeout(background, timeout)
	defer cancel()
	var claimed []*run
	var failed []*run
	full := map[Kind]bool{} // there may be more of these than were claimed
	until := r.queue.clock().Add(r.lease)
	err := r.queue.db.Tx(limited, func(tx *database.Tx) error {
		claimed, failed = nil, nil
		clear(full)
		settled, err := settle(limited, tx, ended)
		if err != nil {
			return err
		}
		now := r.queue.clock()
		dueNow := map[Kind]bool{}
		for e, at := range settled {
			dueNow[e.Kind] = dueNow[e.Kind] || !at.After(now)
			if e.err != nil {
				failed = append(failed, e)
				e.at = at
			}
		}
		for kind := range r.work {
			if ctx.Err() != nil || offers[kind].idle <= 0 || !look[kind] && !dueNow[kind] {
				continue
			}
			jobs, more, err := r.claimInOrder(limited, tx, kind, offers[kind].clone())
			if err != nil {
				return err
			}
			for _, j := range jobs {
				c := &run{Job: j, until: until, patient: j.patient}
				j.wait = func(within time.Duration) bool { return r.wait(c, within) }
				claimed = append(claimed, c)
			}
			full[kind] = more
		}
		return nil
	})

	r.mu.Lock()
	if err != nil {
		for kind := range look {
			r.due[kind] = true
		}
		r.mu.Unlock()
		return err
	}
	r.ended = r.ended[len(ended):]
	for _, e := range ended {
		delete(r.running, e)
		r.busy[e.Kind]--
	}
	for kind, more := range full {
		r.due[kind] = r.due[kind] || more
	}
	for _, c := range claimed {
		r.running[c] = true
		r.busy[c.Kind]++
		r.turns[class{c.Kind, c.patient}].served(c.Tenant)
		r.alone[c.Kind] = c.patient
		var jobctx context.Context
		jobctx, c.cancel = context.WithCancelCause(backup.WithCause(ctx, c.Cause))
		go r.run(ctx, jobctx, c)
	}
	r.mu.Unlock()

	for _, f := range failed {
		attrs := []any{"kind", f.Kind, "key", f.Key, "err", f.lastError, "next", f.at, "request_id", f.Cause}
		if p, ok := errors.AsType[*panicError](f.err); ok && p.stack != nil {
			attrs = append(attrs, "stack", string(p.stack))
		}
		r.log.Warn("job failed", attrs...)
	}
	return nil
}

// wait is Job.Wait.
func (r *Runner) wait(c *run, within time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.patient {
		return true
	}
	busy := 0
	for other := range r.running {
		if other.Kind == c.Kind && other.patient {
			busy++
		}
	}
	if busy+r.offered[c.Kind] >= r.work[c.Kind].Patient {
		if within > 0 {
			r.wished[c.Kind] = r.queue.clock().Add(within)
		}
		return false
	}
	c.patient = true
	delete(r.wished, c.Kind)
	return true
}

// settle writes what becomes of the jobs that have ended. It returns those that
// still exist and were ours to write, with the time each is due.
func settle(ctx context.Context, tx *database.Tx, ended []*run) (map[*run]time.Time, error) {
	type row struct {
		lease
		At       int64  `json:"at"`
		Failures int    `json:"failures"`
		Error    string `json:"error"`
		Patient  int    `json:"patient"`
		Over     string `json:"over"` // what caused it, if that is done
	}

	var done []lease
	var rest, woken []row
	type name struct {
		kind Kind
		key  string
	}
	latest := map[name]*run{} // of two runs of one job, the first has lost its lease
	for _, e := range ended {
		id, n := leaseOf(e.Job), name{e.Kind, e.Key}
		if l := latest[n]; l == nil || l.Attempts < e.Attempts {
			latest[n] = e
		}
		switch {
		case e.lost:
		case e.done:
			done = append(done, id)
			woken = append(woken, row{id, math.MaxInt64, 0, "", patience(e.Job.patient), ""})
		default:
			over := e.caused
			if e.lastError != "" || e.stays { // it is not done yet
				over = ""
			}
			rest = append(rest, row{id, database.Micros(e.at), e.failures, e.lastError, patience(e.stays), over})
		}
	}
	if len(done) > 0 {
		list, err := json.Marshal(done)
		if err != nil {
			return nil, fmt.Errorf("settle jobs: %w", err)
		}
		result, err := tx.ExecContext(ctx, `DELETE FROM job WHERE wake_at = 0 AND (kind, key, lease) IN `+leases(tx.Dialect()), string(list))
		if err != nil {
			return nil, fmt.Errorf("settle jobs: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil {
			return nil, fmt.Errorf("settle jobs: %w", err)
		} else if n < int64(len(done)) {
			rest = append(rest, woken...) // those that were enqueued while they ran are still there
		}
	}
	if len(rest) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(rest)
	if err != nil {
		return nil, fmt.Errorf("settle jobs: %w", err)
	}
	rows, err := tx.QueryContext(ctx, `
		UPDATE job SET lease = '', worker = '', wake_at = 0,
			run_at = CASE WHEN wake_at <> 0 AND wake_at < e.at THEN wake_at ELSE e.at END,
			failures = e.failures, last_error = e.error, patient = e.patient,
			cause = CASE WHEN wake_at = 0 AND cause = e.over THEN '' ELSE cause END
		FROM (
			SELECT value->>'kind' AS kind, value->>'key' AS key, value->>'lease' AS lease,
				CAST(value->>'at' AS BIGINT) AS at, CAST(value->>'failures' AS BIGINT) AS failures, value->>'error' AS error,
				CAST(value->>'patient' AS SMALLINT) AS patient, value->>'over' AS over
			FROM `+tx.Dialect().JSONRows("$1")+` AS j
		) AS e
		WHERE job.kind = e.kind AND job.key = e.key AND job.lease = e.lease
		RETURNING job.kind, job.key, job.run_at`, string(list))
	if err != nil {
		return nil, fmt.Errorf("settle jobs: %w", err)
	}
	defer rows.Close()
	settled := map[*run]time.Time{}
	for rows.Next() {
		var n name
		var at int64
		if err := rows.Scan(&n.kind, &n.key, &at); err != nil {
			return nil, fmt.Errorf("settle jobs: %w", err)
		}
		settled[latest[n]] = database.Time(at)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("settle jobs: %w", err)
	}
	return settled, nil
}

// A lease names a claimed job and its claim.
type lease struct {
	Kind  Kind   `json:"kind"`
	Key   string `json:"key"`
	Token string `json:"lease"`
}

func leaseOf(j *Job) lease { return lease{j.Kind, j.Key, j.lease} }

// leases is the table of the leases in the JSON list $1.
func leases(d database.Dialect) string {
	return `(SELECT e.value->>'kind', e.value->>'key', e.value->>'lease' FROM ` + d.JSONRows("$1") + ` AS e)`
}

// run has the handler do a job that was claimed, and hands it to the next turn.
func (r *Runner) run(ctx, jobctx context.Context, c *run) {
	var result Result
	var err error = &panicError{message: "the handler ended its goroutine"}
	since := time.Now()
	defer func() {
		how := r.decide(ctx, jobctx, c, result, err)
		if r.tell != nil {
			r.tell(c.Kind, how, time.Since(since))
		}
		c.cancel(nil)
		r.mu.Lock()
		r.ended = append(r.ended, c)
		r.mu.Unlock()
		signal(r.wake)
	}()
	spanned, span := backup.BeginStep(jobctx, "job "+string(c.Kind))
	span.Note("holdfast.tenant", string(c.Tenant))
	defer func() { span.End(err != nil && ctx.Err() == nil) }()
	result, err = call(spanned, r.work[c.Kind].Handler, c.Job)
}

// decide says what becomes of a job by what its handler returned, and in a word how it ended.
func (r *Runner) decide(ctx, jobctx context.Context, c *run, result Result, err error) (how string) {
	now := r.queue.clock()
	_, panicked := errors.AsType[*panicError](err)
	switch {
	case errors.Is(err, ErrLost), errors.Is(context.Cause(jobctx), ErrLost):
		c.lost, how = true, "lost"
	case err == nil && !result.again:
		c.done, how = true, "done"
	case err == nil:
		how = "again"
		c.at, c.stays = result.at, c.Job.patient && (result.patient || result.reason != nil)
		if c.at.Before(now) {
			c.at = now // not before those that have waited since
		}
		if result.reason != nil {
			how = "paused"
			c.failures, c.lastError = c.Failures, legible(result.reason)
		}
	case (ctx.Err() != nil || errors.Is(context.Cause(jobctx), ErrRests) || errors.Is(err, ErrRests)) && !panicked:
		how = "stopped"
		c.at, c.failures, c.lastError, c.stays = now, c.Failures, c.Job.lastError, c.Job.patient
	default:
		how = "failed"
		c.err, c.failures, c.lastError, c.stays = err, c.Failures+1, legible(err), c.Job.patient
		c.at = now.Add(backOff(c.Failures))
	}
	return how
}

// call calls the handler and turns a panic into an error.
func call(ctx context.Context, h Handler, j *Job) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{fmt.Sprintf("panic: %v", p), debug.Stack()}
		}
	}()
	return h(ctx, j)
}

// A panicError is a handler's panic.
type panicError struct {
	message string
	stack   []byte
}

func (e *panicError) Error() string { return e.message }

// legible is err's text as it is stored: of a bearable length, without the
// character that PostgreSQL refuses.
func legible(err error) string {
	text := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\uFFFD"), "\x00", "\uFFFD")
	const most = 2000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// maxBackOff is the longest pause between two attempts at a job that fails.
const maxBackOff = 5 * time.Minute

// backOff returns how long a job rests that has failed once more after so many
// failures: about a second, then twice as long each time.
func backOff(failures int) time.Duration {
	d := min(maxBackOff, time.Second<<min(failures, 20))
	return min(maxBackOff, d*3/4+rand.N(d/2))
}

// renewLeases renews the leases of the jobs that run, until over is closed, and
// cancels the jobs that are lost.
func (r *Runner) renewLeases(ctx context.Context, over <-chan struct{}) {
	pause := r.lease / 3
	for {
		select {
		case <-over:
			return
		case <-r.renew:
		case <-time.After(pause):
		}
		pause = r.lease / 3
		more, err := r.renewOnce(ctx)
		if err != nil {
			r.log.Error("leases of running jobs cannot be renewed; trying again", "err", err)
		}
		if more || err != nil {
			pause = r.lease / 10
		}
	}
}

// renewOnce renews all leases in one statement. A job whose row is gone or has
// another lease is cancelled; so is one whose lease could not be renewed in its
// time, since another may have begun it. It reports whether some could not be
// renewed because a transaction held their rows, such as their handler's own.
func (r *Runner) renewOnce(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	held := map[lease]*run{}
	list := make([]lease, 0, len(r.running))
	for c := range r.running {
		held[leaseOf(c.Job)] = c
		list = append(list, leaseOf(c.Job))
	}
	r.mu.Unlock()
	if len(list) == 0 {
		return false, nil
	}
	text, err := json.Marshal(list)
	if err != nil {
		return false, err
	}

	ctx, cancel := context.WithTimeout(ctx, r.lease/3)
	defer cancel()
	until := r.queue.clock().Add(r.lease)
	var renewed, ours []lease
	err = r.queue.db.Tx(ctx, func(tx *database.Tx) error {
		d := tx.Dialect()
		// Rows that are locked are passed over: one handler's long transaction
		// must not keep the others' leases from being renewed.
		// The limit takes nothing away; it tells the planner how few they are.
		renewed, err = collect(ctx, tx, `
			WITH held AS MATERIALIZED (
				SELECT kind, key FROM job WHERE (kind, key, lease) IN `+leases(d)+` LIMIT $3`+d.SkipLocked()+`
			)
			UPDATE job SET run_at = $2 FROM held WHERE job.kind = held.kind AND job.key = held.key
			RETURNING job.kind, job.key, job.lease`, string(text), database.Micros(until), len(list))
		if err != nil || len(renewed) == len(list) {
			ours = nil
			return err
		}
		ours, err = collect(ctx, tx, `SELECT kind, key, lease FROM job WHERE (kind, key, lease) IN `+leases(d), string(text))
		return err
	})

	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		now := r.queue.clock()
		for _, c := range held {
			if !c.until.After(now) {
				c.cancel(ErrLost)
			}
		}
		return false, err
	}
	for _, id := range renewed {
		held[id].until = until
		delete(held, id)
	}
	for _, id := range ours {
		if _, skipped := held[id]; skipped {
			more = true
			delete(held, id)
		}
	}
	for _, c := range held {
		c.cancel(ErrLost)
	}
	return more, nil
}

// collect runs a statement that yields leases.
func collect(ctx context.Context, tx *database.Tx, query string, args ...any) ([]lease, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []lease
	for rows.Next() {
		var id lease
		if err := rows.Scan(&id.Kind, &id.Key, &id.Token); err != nil {
			return nil, err
		}
		all = append(all, id)
	}
	return all, rows.Err()
}
