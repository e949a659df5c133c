package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// An Outlet is how far a tenant's audit log has been handed on to one of the places
// outside where it is kept.
type Outlet struct {
	Tenant  backup.TenantID
	Name    string
	Sent    int64     // the place in the log of the last entry that it has taken
	Last    int64     // that of the last entry that there is
	Tries   int       // in vain, since it has last taken something
	Since   time.Time // when the first of them was; zero if there is none
	Problem string    // why the last of them failed
}

// maxNumbered is how many entries get their places in one transaction.
const maxNumbered = 1000

// NumberActivities gives the entries of tenants' logs that have none their places in
// the order in which they are handed on, and enqueues in the same transaction the jobs
// of who is to be told. A place is given once the entry is committed, by one at a
// time, so that none is ever filled behind one that was read.
func (c *Catalog) NumberActivities(ctx context.Context, tenants []backup.TenantID, specs func(backup.TenantID) []jobs.Spec) error {
	list, err := json.Marshal(tenants)
	if err != nil {
		return err
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT e.value FROM `+c.db.Dialect().JSONEach("$1")+` AS e WHERE EXISTS (SELECT 1 FROM audit a WHERE a.tenant = e.value AND a.seq = 0)`, string(list))
	due, err := collect(rows, err, func(r scanner) (t backup.TenantID, err error) { return t, r.Scan(&t) })
	if err != nil {
		return fmt.Errorf("look for new entries of the audit log: %w", err)
	}
	for _, t := range due {
		for more := true; more; {
			err := c.db.Tx(ctx, func(tx *database.Tx) error {
				var last int64
				err := tx.QueryRowContext(ctx, `
					INSERT INTO audit_tail (tenant, last) VALUES ($1, 0) ON CONFLICT (tenant) DO UPDATE SET last = audit_tail.last RETURNING last`, string(t)).Scan(&last)
				if err != nil {
					return err
				}
				done, err := tx.ExecContext(ctx, `
					UPDATE audit SET seq = n.seq FROM (
						SELECT f.id, CAST($2 AS BIGINT) + row_number() OVER (ORDER BY f.at, f.id) AS seq FROM (
							SELECT id, at FROM audit WHERE tenant = $1 AND seq = 0 ORDER BY at, id LIMIT $3) AS f) AS n
					WHERE audit.id = n.id`, string(t), last, maxNumbered)
				if err != nil {
					return err
				}
				n, err := done.RowsAffected()
				if err != nil || n == 0 {
					more = false
					return err
				}
				more = n == maxNumbered
				if _, err := tx.ExecContext(ctx, `UPDATE audit_tail SET last = $2 WHERE tenant = $1`, string(t), last+n); err != nil {
					return err
				}
				return c.queue.Enqueue(ctx, tx, specs(t)...)
			})
			if err != nil {
				return fmt.Errorf("number the audit log: %w", err)
			}
		}
	}
	return nil
}

const outletColumns = `o.tenant, o.name, o.sent, coalesce((SELECT t.last FROM audit_tail t WHERE t.tenant = o.tenant), 0), o.tries, o.since, o.problem`

func scanOutlet(r scanner) (o Outlet, err error) {
	return o, r.Scan(&o.Tenant, &o.Name, &o.Sent, &o.Last, &o.Tries, micros{&o.Since}, &o.Problem)
}

// Outlets lists how far all outlets of tenants have come, those too that are not in
// any configuration any more, by name.
func (c *Catalog) Outlets(ctx context.Context, tenants ...backup.TenantID) ([]Outlet, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+outletColumns+` FROM `+c.db.Dialect().JSONEach("$1")+` AS e CROSS JOIN audit_outlet o WHERE o.tenant = e.value ORDER BY o.name, o.tenant`, jsonList(tenants))
	all, err := collect(rows, err, scanOutlet)
	if err != nil {
		return nil, fmt.Errorf("list the outlets of the audit log: %w", err)
	}
	return all, nil
}

// Unsent returns how far an outlet has come, and up to n entries that come next.
func (c *Catalog) Unsent(ctx context.Context, tenant backup.TenantID, name string, n int) (o Outlet, next []backup.Activity, err error) {
	o, err = scanOutlet(c.db.Read().QueryRowContext(ctx, `SELECT `+outletColumns+` FROM audit_outlet o WHERE o.tenant = $1 AND o.name = $2`, string(tenant), name))
	if errors.Is(err, sql.ErrNoRows) {
		o, err = Outlet{Tenant: tenant, Name: name}, nil
	}
	if err == nil {
		var rows *sql.Rows
		rows, err = c.db.Read().QueryContext(ctx, `SELECT `+activityColumns+` FROM audit a WHERE a.tenant = $1 AND a.seq > $2 AND a.seq > 0 ORDER BY a.seq LIMIT $3`,
			string(tenant), o.Sent, n)
		next, err = collect(rows, err, scanActivity)
	}
	if err != nil {
		return o, nil, fmt.Errorf("read what of the audit log is to be handed on: %w", err)
	}
	return o, next, nil
}

// SaveOutlet stores how far an outlet has come, and how it fares. jobs.ErrLost.
func (c *Catalog) SaveOutlet(ctx context.Context, j *jobs.Job, o Outlet) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO audit_outlet (tenant, name, sent, tries, since, problem) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (tenant, name) DO UPDATE SET sent = excluded.sent, tries = excluded.tries, since = excluded.since, problem = excluded.problem`,
			string(o.Tenant), o.Name, o.Sent, o.Tries, database.Micros(o.Since), o.Problem)
		return err
	})
	if err != nil {
		return fmt.Errorf("note how far the audit log was handed on: %w", err)
	}
	return nil
}
