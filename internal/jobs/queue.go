// Package jobs is durable work in the catalog's database: a job is stored in
// the transaction that causes it, run by one worker at a time under a lease,
// and tried again until it succeeds or is removed.
//
// It owns the table job and touches no other. Its promises:
//
//   - A job whose enqueueing committed runs at least once, whatever dies. A
//     worker that dies loses its lease, and another begins the job anew.
//   - A job is one row for each kind and key. Enqueueing it once more moves it
//     forward, or, while it runs, makes it run once more: what was committed
//     before an enqueue is always seen by a run that begins after it.
//   - A worker that has lost its lease can write nothing more: every
//     transaction of a handler begins with Job.Hold.
//   - Each kind has its own workers, so none starves another.
//   - Of a kind whose jobs are patient at first, such as backups, those that have
//     not yet done what they are for let the others go first, and never hold the
//     workers that are kept for these. They have one all the same, if there are two.
//   - Nor does a tenant: a runner that is told whom it serves gives an idle
//     worker to the tenant that holds the fewest of the kind, and of several to
//     the one that was served longest ago, however many jobs the others have
//     due and since when. Of several workers, the last idle one is left for the
//     tenants that hold none, if there are any: a job may take hours, and what
//     comes meanwhile has to get past it.
//
// Leases are measured by the clocks of the processes that share the database,
// which must agree to within a few seconds.
package jobs

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A Kind names what a job does, and so which handler runs it.
type Kind string

// A Spec is a job to be enqueued.
type Spec struct {
	Kind   Kind
	Key    string
	Tenant backup.TenantID
	Args   any       // kept as JSON, read by Job.Decode; those given last count
	RunAt  time.Time // zero for now
}

// A Queue puts jobs into a database and takes them out. Many may work on one
// database; the runners of a Queue learn at once of what is enqueued through
// it, the others when they next look.
type Queue struct {
	db    *database.DB
	clock backup.Clock

	mu      sync.Mutex
	runners map[*Runner]bool
}

// New returns a queue on db. A nil clock is time.Now.
func New(db *database.DB, clock backup.Clock) *Queue {
	if clock == nil {
		clock = time.Now
	}
	return &Queue{db: db, clock: clock, runners: map[*Runner]bool{}}
}

// ErrLost says that a job is no longer its worker's: its lease lapsed and
// another took it, or it was removed. A handler that meets it returns it.
var ErrLost = errors.New("the job's lease is lost")

// onConflict moves a job that exists: forward if it waits, and if it runs, to
// once more after that.
const onConflict = `
	ON CONFLICT (kind, key) DO UPDATE SET
		args    = excluded.args,
		cause   = CASE WHEN excluded.cause <> '' THEN excluded.cause ELSE job.cause END,
		run_at  = CASE WHEN job.lease = '' AND excluded.run_at < job.run_at THEN excluded.run_at ELSE job.run_at END,
		wake_at = CASE WHEN job.lease <> '' AND (job.wake_at = 0 OR excluded.run_at < job.wake_at) THEN excluded.run_at ELSE job.wake_at END`

// Enqueue adds jobs in tx, in one statement. A job that exists already is due
// at the earlier of the two times; if it is running, it runs once more at that
// time after the present run, whatever the run's result.
func (q *Queue) Enqueue(ctx context.Context, tx *database.Tx, specs ...Spec) error {
	type row struct {
		Kind    Kind            `json:"kind"`
		Key     string          `json:"key"`
		Tenant  backup.TenantID `json:"tenant"`
		Args    string          `json:"args"`
		RunAt   int64           `json:"runAt"`
		Patient int             `json:"patient"`
	}
	now := q.clock()
	rows := make([]row, 0, len(specs))
	var due []Kind
	for _, s := range specs {
		args, err := json.Marshal(s.Args)
		if err != nil {
			return fmt.Errorf("enqueue %s: %w", s.Kind, err)
		}
		if s.RunAt.IsZero() {
			s.RunAt = now
		}
		if !s.RunAt.After(now) {
			due = append(due, s.Kind)
		}
		rows = append(rows, row{s.Kind, s.Key, s.Tenant, string(args), database.Micros(s.RunAt), patience(patientAtFirst[s.Kind])})
	}
	if len(rows) == 0 {
		return nil
	}
	// In the order of the key, so that two enqueues do not wait for each other;
	// and one row for each key, the earliest.
	slices.SortStableFunc(rows, func(a, b row) int {
		if c := strings.Compare(string(a.Kind), string(b.Kind)); c != 0 {
			return c
		}
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return int(min(1, max(-1, a.RunAt-b.RunAt)))
	})
	rows = slices.CompactFunc(rows, func(a, b row) bool { return a.Kind == b.Kind && a.Key == b.Key })
	list, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO job (kind, key, tenant, args, run_at, patient, cause)
		SELECT e.value->>'kind', e.value->>'key', e.value->>'tenant', e.value->>'args', CAST(e.value->>'runAt' AS BIGINT),
			CAST(e.value->>'patient' AS SMALLINT), CAST($2 AS TEXT)
		FROM `+tx.Dialect().JSONRows("$1")+` AS e
		WHERE true ORDER BY e.n`+onConflict, string(list), backup.CauseOf(ctx))
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	if len(due) > 0 {
		tx.AfterCommit(func() { q.each(func(r *Runner) { r.look(due...) }) })
	}
	return nil
}

// EnqueueSelect enqueues in tx one job of kind for each key that query yields
// in its one column, in one statement, as Enqueue does. A zero runAt is now.
// The query's parameters are args, from $1. The jobs have no arguments.
func (q *Queue) EnqueueSelect(ctx context.Context, tx *database.Tx, kind Kind, tenant backup.TenantID, runAt time.Time, query string, args ...any) error {
	now := q.clock()
	if runAt.IsZero() {
		runAt = now
	}
	n := len(args)
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`
		WITH chosen(key) AS (%s)
		INSERT INTO job (kind, key, tenant, run_at, patient, cause)
		SELECT DISTINCT CAST($%d AS TEXT), key, CAST($%d AS TEXT), CAST($%d AS BIGINT), CAST($%d AS SMALLINT), CAST($%d AS TEXT)
		FROM chosen WHERE true ORDER BY key`, query, n+1, n+2, n+3, n+4, n+5)+onConflict,
		append(slices.Clip(args), string(kind), string(tenant), database.Micros(runAt), patience(patientAtFirst[kind]), backup.CauseOf(ctx))...)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", kind, err)
	}
	if !runAt.After(now) {
		tx.AfterCommit(func() { q.each(func(r *Runner) { r.look(kind) }) })
	}
	return nil
}

// RemoveSelect removes in tx the jobs of kind whose keys query yields in its
// one column. Those that are running too: their worker finds the lease lost,
// at its next Hold or when it next renews its leases, whichever is first. The
// query's parameters are args, from $1.
func (q *Queue) RemoveSelect(ctx context.Context, tx *database.Tx, kind Kind, query string, args ...any) error {
	n := len(args)
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`DELETE FROM job WHERE kind = $%d AND key IN (%s)`, n+1, query),
		append(slices.Clip(args), string(kind))...)
	if err != nil {
		return fmt.Errorf("remove %s: %w", kind, err)
	}
	tx.AfterCommit(func() { q.each((*Runner).renewSoon) })
	return nil
}

// Reclaim frees every lease, so that what a killed process had begun is begun
// anew at once. It is for a database that only this process uses, before its
// runners start.
func (q *Queue) Reclaim(ctx context.Context) error {
	err := q.db.Tx(ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE job SET lease = '', worker = '', wake_at = 0, run_at = $1 WHERE lease <> ''`,
			database.Micros(q.clock()))
		return err
	})
	if err != nil {
		return fmt.Errorf("reclaim jobs: %w", err)
	}
	return nil
}

// A Stat counts the jobs of one kind.
type Stat struct {
	Waiting int64 // for their time
	Due     int64 // their time has come, no worker has them yet
	Running int64 // a worker holds the lease
	Failing int64 // of these, those that failed when they last ran
}

// Stats counts the jobs there are, by kind. It reads the whole table.
func (q *Queue) Stats(ctx context.Context) (map[Kind]Stat, error) {
	rows, err := q.db.Read().QueryContext(ctx, `
		SELECT kind,
			sum(CASE WHEN lease = '' AND run_at > $1 THEN 1 ELSE 0 END),
			sum(CASE WHEN run_at <= $1 THEN 1 ELSE 0 END),
			sum(CASE WHEN lease <> '' AND run_at > $1 THEN 1 ELSE 0 END),
			sum(CASE WHEN failures > 0 THEN 1 ELSE 0 END)
		FROM job GROUP BY kind`, database.Micros(q.clock()))
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	defer rows.Close()
	stats := map[Kind]Stat{}
	for rows.Next() {
		var kind Kind
		var s Stat
		if err := rows.Scan(&kind, &s.Waiting, &s.Due, &s.Running, &s.Failing); err != nil {
			return nil, fmt.Errorf("count jobs: %w", err)
		}
		stats[kind] = s
	}
	return stats, rows.Err()
}

// A Backlog is what is due of a kind, and nobody does yet.
type Backlog struct {
	Due   int64
	Since time.Time // when the first of it was due
}

// Backlogs tells what is due, by kind, of those that are asked for.
func (q *Queue) Backlogs(ctx context.Context, kinds []Kind) (map[Kind]Backlog, error) {
	all := map[Kind]Backlog{}
	for _, k := range kinds {
		var b Backlog
		var since int64
		err := q.db.Read().QueryRowContext(ctx, `SELECT count(*), coalesce(min(run_at), 0) FROM job WHERE kind = $1 AND run_at <= $2`, string(k), database.Micros(q.clock())).Scan(&b.Due, &since)
		if err != nil {
			return nil, fmt.Errorf("count the jobs that are due: %w", err)
		}
		b.Since = database.Time(since)
		all[k] = b
	}
	return all, nil
}

// each calls fn with every runner of q.
func (q *Queue) each(fn func(*Runner)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for r := range q.runners {
		fn(r)
	}
}

// A Job is a claimed job: the claimer holds its lease.
type Job struct {
	Kind     Kind
	Key      string
	Tenant   backup.TenantID
	Attempts int // claims so far, with this one
	Failures int // failures since the last success
	// Cause is the id of the request that caused it, or, of what no request did, of this
	// run. The context of its handler has it too.
	Cause string

	caused    string // by a request
	args      string
	lease     string
	lastError string
	patient   bool
	wait      func(within time.Duration) bool // nil where no runner claimed it
}

// patience is how it is stored whether a job is patient.
func patience(patient bool) int {
	if patient {
		return 1
	}
	return 0
}

// Wait asks whether the job's run may take long with what is in no hurry: it then
// counts among the patient ones of its kind, until it ends. If they have as many
// workers as they may have, the answer is no, and the next place that they leave
// is kept free so long for a run of the kind that asks again.
func (j *Job) Wait(within time.Duration) bool { return j.wait == nil || j.wait(within) }

// Requested reports whether a request caused the job, and it is not done yet.
func (j *Job) Requested() bool { return j.caused != "" }

// Decode reads the job's arguments into v.
func (j *Job) Decode(v any) error {
	if err := json.Unmarshal([]byte(j.args), v); err != nil {
		return fmt.Errorf("arguments of %s %s: %w", j.Kind, j.Key, err)
	}
	return nil
}

// Hold makes sure, in a transaction of the job's handler, that the job is still
// the handler's until the transaction ends. It fails with ErrLost if the lease
// was taken by another or the job was removed: the transaction must then not
// commit. What a handler writes is written in transactions that begin so.
func (j *Job) Hold(ctx context.Context, tx *database.Tx) error {
	var one int
	err := tx.QueryRowContext(ctx, `SELECT 1 FROM job WHERE kind = $1 AND key = $2 AND lease = $3`+tx.Dialect().ForUpdate(),
		string(j.Kind), j.Key, j.lease).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrLost
	}
	if err != nil {
		return fmt.Errorf("hold %s %s: %w", j.Kind, j.Key, err)
	}
	return nil
}

// Claim takes up to n due jobs of kind for a worker, each leased for the given
// time, those due first and the patient ones last, whoever's they are. A Runner does it for its workers; a
// program that has none, such as a test of a handler, may do it by hand.
func (q *Queue) Claim(ctx context.Context, kind Kind, n int, lease time.Duration, worker string) (claimed []*Job, err error) {
	err = q.db.Tx(ctx, func(tx *database.Tx) error {
		claimed = nil
		for _, patient := range []bool{false, true} {
			some, err := q.claim(ctx, tx, class{kind, patient}, []portion{{n: n - len(claimed)}}, lease, worker)
			if err != nil {
				return err
			}
			claimed = append(claimed, some...)
		}
		return nil
	})
	return claimed, err
}

// dueOf is the condition that a job of kind $1 is a tenant's, patient or not, and due at
// $2, and in what order they are to be read. Nothing but the index of tenants has that
// order: PostgreSQL, before it has statistics, would as soon read all that are due.
func dueOf(tenant, patient string) (condition, order string) {
	order = `tenant, patient, run_at`
	return fmt.Sprintf(`kind = $1 AND (%[1]s) >= (%[2]s, %[3]s, 0) AND (%[1]s) <= (%[2]s, %[3]s, $2)`, order, tenant, patient), order
}

// A portion is how many jobs are to be claimed, of one tenant's if one is given.
type portion struct {
	tenant *backup.TenantID
	n      int
}

// claim is Claim in a transaction for one class, in portions, of which each is another
// tenant's.
func (q *Queue) claim(ctx context.Context, tx *database.Tx, of class, portions []portion, lease time.Duration, worker string) ([]*Job, error) {
	now := q.clock()
	token := rand.Text()
	args := []any{string(of.kind), database.Micros(now), token, worker, database.Micros(now.Add(lease)), patience(of.patient)}
	arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
	var chosen []string
	for i, p := range portions {
		due, order := `kind = $1 AND patient = $6 AND run_at <= $2`, `run_at`
		if p.tenant != nil {
			due, order = dueOf(arg(string(*p.tenant)), "$6")
		}
		chosen = append(chosen, fmt.Sprintf(`SELECT kind, key FROM (SELECT kind, key FROM job WHERE %s ORDER BY %s LIMIT %s%s) AS p%d`,
			due, order, arg(p.n), tx.Dialect().SkipLocked(), i))
	}
	// The choice is a materialized table so that it is made once: PostgreSQL
	// may otherwise run it again for each row, and take more than n. The rows are
	// compared as a whole, since SQLite would read all of the kind to find those of
	// that table by their keys.
	rows, err := tx.QueryContext(ctx, `
		WITH chosen AS MATERIALIZED (`+strings.Join(chosen, " UNION ALL ")+`)
		UPDATE job SET lease = $3, worker = $4, run_at = $5, wake_at = 0, attempts = attempts + 1
		WHERE (kind, key) IN (SELECT kind, key FROM chosen)
		RETURNING job.key, job.tenant, job.args, job.attempts, job.failures, job.last_error, job.cause`, args...)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", of.kind, err)
	}
	defer rows.Close()
	var claimed []*Job
	for rows.Next() {
		j := &Job{Kind: of.kind, lease: token, patient: of.patient}
		if err := rows.Scan(&j.Key, &j.Tenant, &j.args, &j.Attempts, &j.Failures, &j.lastError, &j.caused); err != nil {
			return nil, fmt.Errorf("claim %s: %w", of.kind, err)
		}
		if j.Cause = j.caused; j.Cause == "" {
			j.Cause = backup.NewID[string]()
		}
		claimed = append(claimed, j)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("claim %s: %w", of.kind, err)
	}
	return claimed, nil
}
