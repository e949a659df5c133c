// Package catalog is the control plane's memory: what each tenant has asked to
// protect, what was backed up, and what is being restored.
//
// It is the only package besides jobs that speaks SQL, and its statements are
// one text for SQLite and PostgreSQL. It touches no drive and no vault: it
// records what others did there, and it enqueues the work that must follow, in
// the transaction that causes it.
//
// What it promises:
//
//   - Every method is of one tenant. An id of another tenant is an unknown id.
//   - A failure that a caller may be told about is a *backup.Error. Anything
//     else is internal.
//   - A method that changes something does so in one transaction: all of it, or
//     nothing. (EnrollBulk and ApplyDirectory, which may be large, take several,
//     and may be called again after any of them.)
//   - A policy's status is derived from its units when it is read.
//
// Transactions of the control plane take the tenant's row first, then jobs,
// then policies, units and sessions, so that none waits in a circle. Workers'
// transactions take their job's row first, and no tenant's.
package catalog

import (
	"errors"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Config says how a catalog behaves.
type Config struct {
	// Clock tells the time. Required.
	Clock backup.Clock

	// MaxActivePolicies is how many policies of a workload a tenant may have in
	// force. Default 100. With 1, none can be created either while one is in
	// force, which is Microsoft's older rule.
	MaxActivePolicies int

	// OffboardGrace is how long an offboarding may still be cancelled, after
	// which the unit's backups are destroyed. Default 90 days.
	OffboardGrace time.Duration

	// ServiceStatus is that of a tenant's service before anybody changed it.
	// Default enabled.
	ServiceStatus backup.ServiceStatus

	// Approval returns what nobody of a tenant may do alone. nil: nothing.
	Approval func(backup.TenantID) backup.ApprovalRule
}

// A Catalog is the control plane's state. It is safe for concurrent use.
type Catalog struct {
	db        *database.DB
	queue     *jobs.Queue
	now       backup.Clock
	maxActive int
	batch     int // how many rows a large change writes in one transaction; between two, others have their turn
	effort    effort
	cfg       Config
	plan      atomic.Pointer[backup.RetentionPlan] // what the configuration says; the zero plan is as Microsoft keeps
}

// Unavailable reports whether err says that the catalog's database cannot be reached,
// or does not work.
func Unavailable(err error) bool { return database.Unavailable(err) }

// New returns a catalog on db that enqueues its work on q.
func New(db *database.DB, q *jobs.Queue, cfg Config) *Catalog {
	if cfg.MaxActivePolicies == 0 {
		cfg.MaxActivePolicies = 100
	}
	if cfg.OffboardGrace == 0 {
		cfg.OffboardGrace = 90 * 24 * time.Hour
	}
	if cfg.ServiceStatus == "" {
		cfg.ServiceStatus = backup.ServiceEnabled
	}
	c := &Catalog{db: db, queue: q, now: cfg.Clock, maxActive: cfg.MaxActivePolicies, batch: 10_000, effort: usualEffort, cfg: cfg}
	c.plan.Store(&backup.RetentionPlan{})
	return c
}

// Failures that workers, not callers, are told about.
var (
	// ErrNotWanted says that the unit is not to be backed up any more: it has
	// left its policy, or the policy is out of force.
	ErrNotWanted = errors.New("the unit is not to be backed up")

	// ErrMoved says that the drive's root in the catalog is not the one that
	// the worker started from: another was faster.
	ErrMoved = errors.New("the drive has been committed by another worker")
)
