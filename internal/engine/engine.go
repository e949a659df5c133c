// Package engine does the work that the control plane asks for: it brings
// owners and sites into policies, backs drives, sites and mailboxes up, restores
// them, and lets points expire. It is where the three storages meet: it reads and
// writes what is protected through package drive, keeps what it read through
// package vault, and tells package catalog what came of it.
//
// Each duty is the handler of one kind of job. A handler may be killed at any
// moment and is then run again from its beginning, here or elsewhere: all that
// it has done by then is either in the catalog, or harmless, or found again.
// Whatever it writes to the catalog goes with the job's lease, so that a worker
// that was thought dead changes nothing.
//
// A failure of one file is an entry in the unit's or the artifact's error; a
// failure of a drive is the unit's error; neither stops the others, and each is
// tried again.
package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// Config says what an engine works on.
type Config struct {
	Catalog *catalog.Catalog // required
	DB      *database.DB     // the catalog's; required by Start
	Queue   *jobs.Queue      // required by Start
	Clock   backup.Clock     // required
	Log     *slog.Logger     // required
	// Tenants are those that are served, now: whose recurring duties Start enqueues, and
	// of whom the metrics are. Required by both.
	Tenants func() []backup.TenantID

	// Sources returns the client of a tenant's drives. Required. It is asked
	// often, and must give the same client each time: it holds the budget.
	Sources func(backup.TenantID) (*drive.Client, error)
	// Vaults returns a tenant's vault, open. Required.
	Vaults func(context.Context, backup.VaultName) (*vault.Vault, error)
	// VaultDrives is how many drives go into a vault, and VaultIndex how large its index
	// may become, in bytes, which is in memory while the vault is open: then the tenant
	// gets another vault for new drives. Defaults 20,000, from where on each first point
	// takes notably more time, and 512 MiB.
	VaultDrives int
	VaultIndex  int64

	Interval        time.Duration // how often a drive is backed up; default 10 minutes
	RPO             time.Duration // how old the newest point of a drive may become; default twice Interval
	RuleInterval    time.Duration // how often a dynamic rule is evaluated; default 24 hours
	Upkeep          time.Duration // how often points expire and vaults are maintained; default 1 hour
	CheckpointEvery time.Duration // how often a long backup makes its progress safe; default 5 minutes
	CheckpointBytes int64         // the same by what was downloaded; default 2 GiB
	Transfers       int           // files of one drive that are moved at a time; default 4
	// Workers is how many drives are backed up at a time; default 4. A quarter of
	// them, one at least, does no first backups and no enumerations of drives that
	// have points, so that changes get past those.
	Workers int
	// Reconcile is how often a drive is enumerated as a whole, to find what the
	// source's deltas left out; default one week.
	Reconcile time.Duration
	// VerifyEvery is how long it may take until all that a vault holds was read
	// back; default 30 days.
	VerifyEvery time.Duration
	Notify      Notifications
	// MIME reports whether messages of a tenant's mailboxes are kept as MIME too, beside
	// their streams; default those of all tenants.
	MIME func(backup.TenantID) bool
	// Groups returns the groups of a tenant's directory of which is to be known who is in
	// them; default none.
	Groups func(backup.TenantID) []backup.ObjectID
	// Permissions reports whether those of the files and folders of a tenant's sites are
	// kept; default those of no tenant.
	Permissions func(backup.TenantID) bool
	// Versions returns how many earlier versions of each file of a tenant's document
	// libraries are kept; default none.
	Versions func(backup.TenantID) int
	// Sleep waits, for tests to do otherwise; it ends early with its context.
	Sleep func(context.Context, time.Duration) error
}

// An Engine handles jobs.
type Engine struct {
	Config

	mu      sync.Mutex
	locks   map[string]*lock
	metrics metrics
	// recorded says when this process last wrote each tenant's record.
	recorded map[backup.TenantID]time.Time
	// came says how many drives came into each tenant's vaults since their size was looked at.
	came map[backup.TenantID]int
	// counted is how many items directories of mailboxes hold.
	counted counted
}

// vaultOf returns the vault that a drive is in, open.
func (e *Engine) vaultOf(ctx context.Context, tenant backup.TenantID, drive backup.DriveID) (*vault.Vault, error) {
	name, err := e.Catalog.VaultOf(ctx, tenant, drive)
	if err != nil {
		return nil, err
	}
	v, err := e.Vaults(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w: open: %w", vault.ErrStorage, err)
	}
	return v, nil
}

// A lock is there as long as somebody holds it or waits for it.
type lock struct {
	sync.Mutex
	users int
}

// New returns an engine.
func New(cfg Config) *Engine {
	setDefault(&cfg.Interval, 10*time.Minute)
	setDefault(&cfg.RPO, 2*cfg.Interval)
	setDefault(&cfg.RuleInterval, 24*time.Hour)
	setDefault(&cfg.Upkeep, time.Hour)
	setDefault(&cfg.VaultDrives, 20_000)
	setDefault(&cfg.VaultIndex, 512<<20)
	setDefault(&cfg.CheckpointEvery, 5*time.Minute)
	setDefault(&cfg.CheckpointBytes, 2<<30)
	setDefault(&cfg.Transfers, 4)
	setDefault(&cfg.Workers, 4)
	setDefault(&cfg.Reconcile, 7*24*time.Hour)
	setDefault(&cfg.VerifyEvery, 30*24*time.Hour)
	setDefault(&cfg.Notify.Moment, 2*time.Second)
	if cfg.Sleep == nil {
		cfg.Sleep = backup.Sleep
	}
	return &Engine{Config: cfg, metrics: newMetrics(), locks: map[string]*lock{}, recorded: map[backup.TenantID]time.Time{}, came: map[backup.TenantID]int{}}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Work returns the handler of every kind of job there is.
func (e *Engine) Work() map[jobs.Kind]jobs.Work {
	work := map[jobs.Kind]jobs.Work{
		jobs.Settle:      {Handler: e.settle, Workers: 1},
		jobs.BulkAdd:     {Handler: e.bulkAdd, Workers: 2},
		jobs.Rule:        {Handler: e.rule, Workers: 2},
		jobs.All:         {Handler: e.protectAll, Workers: 2},
		jobs.Backup:      {Handler: e.backup, Workers: e.Workers, Patient: max(1, e.Workers-max(1, e.Workers/4))},
		jobs.Restore:     {Handler: asking(budget.Restores, e.restore), Workers: e.Workers},
		jobs.RestoreItem: {Handler: asking(budget.Restores, e.restoreItem), Workers: e.Workers},
		jobs.BulkRestore: {Handler: e.bulkRestore, Workers: 2},
		// Several, so that a vault that is slow, or hangs, keeps no other waiting.
		jobs.Expire:   {Handler: e.expire, Workers: 4},
		jobs.Maintain: {Handler: e.maintain, Workers: 4},
		jobs.Record:   {Handler: e.record, Workers: 2},
		jobs.Verify:   {Handler: e.verify, Workers: 1}, // it is in no hurry
		jobs.Measure:  {Handler: e.measure, Workers: 1},
		jobs.Offboard: {Handler: e.offboard, Workers: 4},
		jobs.Approval: {Handler: e.approval, Workers: 1},
		// Several, so that a source that answers slowly keeps no other waiting.
		jobs.Mirror:    {Handler: e.mirror, Workers: 4},
		jobs.Subscribe: {Handler: e.subscribe, Workers: 4},
		jobs.Groups:    {Handler: e.groups, Workers: 4},
	}
	for kind, w := range work {
		w.Handler = e.pausing(w.Handler)
		work[kind] = w
	}
	return work
}

// asking is a handler that asks the source for a purpose.
func asking(p budget.Purpose, h jobs.Handler) jobs.Handler {
	return func(ctx context.Context, j *jobs.Job) (jobs.Result, error) { return h(budget.For(ctx, p), j) }
}

// Start makes sure that each tenant's recurring duties are enqueued. It may be
// called any number of times, by any number of processes.
func (e *Engine) Start(ctx context.Context) error { return e.Begin(ctx, e.Tenants()...) }

// Begin is Start for tenants that are served from now on.
func (e *Engine) Begin(ctx context.Context, tenants ...backup.TenantID) error {
	var specs []jobs.Spec
	for _, tenant := range tenants {
		specs = append(specs,
			jobs.Spec{Kind: jobs.Expire, Key: string(tenant), Tenant: tenant},
			// At once: a catalog that is older than its vault, or empty, learns
			// from it first of all.
			jobs.Spec{Kind: jobs.Maintain, Key: string(tenant), Tenant: tenant},
			jobs.Spec{Kind: jobs.Mirror, Key: string(tenant), Tenant: tenant},
			jobs.Spec{Kind: jobs.Record, Key: string(tenant), Tenant: tenant, RunAt: e.Clock().Add(recordEvery)},
			jobs.Spec{Kind: jobs.Measure, Key: string(tenant), Tenant: tenant, RunAt: e.Clock().Add(firstMeasure)},
			jobs.Spec{Kind: jobs.Verify, Key: string(tenant), Tenant: tenant, RunAt: e.Clock().Add(e.Upkeep)})
		if e.Groups != nil { // some may be named later
			specs = append(specs, jobs.Spec{Kind: jobs.Groups, Key: string(tenant), Tenant: tenant})
		}
		if e.Notify.URL != "" {
			specs = append(specs, jobs.Spec{Kind: jobs.Subscribe, Key: string(tenant), Tenant: tenant})
		}
	}
	err := e.DB.Tx(ctx, func(tx *database.Tx) error { return e.Queue.Enqueue(ctx, tx, specs...) })
	if err != nil {
		return fmt.Errorf("enqueue recurring duties: %w", err)
	}
	for _, tenant := range tenants {
		// They recur by themselves; the interval may be shorter than it was.
		if err := e.Catalog.ScheduleRules(ctx, tenant, e.Clock().Add(e.RuleInterval)); err != nil {
			return err
		}
	}
	return nil
}

// settle brings a policy's units to the states they were asked into, and has those
// that were added by id be called by name.
func (e *Engine) settle(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	if err := e.Catalog.SettlePolicy(ctx, j); err != nil {
		return jobs.Done, err
	}
	// Those that were added lately are the newest. Some the source may not know either.
	for after := backup.UnitID(""); ; {
		nameless, last, err := e.Catalog.Nameless(ctx, j.Tenant, backup.PolicyID(j.Key), after)
		if err != nil {
			return jobs.Done, err
		}
		learned := 0
		for workload, subjects := range nameless {
			learned += e.learnSubjects(ctx, j.Tenant, workload, subjects)
		}
		if after = last; learned == 0 || after == "" {
			return jobs.Done, nil
		}
	}
}

// approval ends what nobody has approved in time.
func (e *Engine) approval(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	next, err := e.Catalog.ExpireApproval(ctx, j)
	if err != nil || next.IsZero() {
		return jobs.Done, err
	}
	return jobs.Again(next), nil
}

// lock keeps what this process does to one thing in a row. What other
// processes do is kept apart by the catalog, at the price of doing it again.
func (e *Engine) lock(name string) (unlock func()) {
	e.mu.Lock()
	l := e.locks[name]
	if l == nil {
		l = &lock{}
		e.locks[name] = l
	}
	l.users++
	e.mu.Unlock()
	l.Lock()
	return func() { e.unlock(name, l) }
}

// tryLock is lock for a duty that has other things to do, or can come again,
// while a backup holds the thing for hours: if anybody has it, ok is false.
func (e *Engine) tryLock(name string) (unlock func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.locks[name] != nil {
		return nil, false
	}
	l := &lock{users: 1}
	l.Lock()
	e.locks[name] = l
	return func() { e.unlock(name, l) }, true
}

func (e *Engine) unlock(name string, l *lock) {
	l.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(e.locks, name)
	}
}

// next returns when a recurring duty is due again: after about every, a little
// later for some than for others, so that not all come at once.
func (e *Engine) next(every time.Duration, key string) time.Time {
	h := fnv.New32a()
	h.Write([]byte(key))
	spread := every / 20
	return e.Clock().Add(every + spread*time.Duration(h.Sum32()%1000)/1000)
}

// stopped reports whether a handler was stopped from outside: the process ends,
// the lease is lost, the work is no longer wanted, or the source asks to be
// left alone. That is nobody's failure.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, jobs.ErrLost) || paused(err)
}
