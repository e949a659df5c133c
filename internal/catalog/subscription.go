package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A Subscription is how the source comes to tell of changes in a unit's drive.
type Subscription struct {
	Unit  backup.UnitID
	Drive backup.DriveID // that is subscribed to
	ID    string         // at the source; "" for none
	Nonce string         // what its notifications are known by

	Current backup.DriveID // the drive that the unit has; "" if it is not to be backed up
}

// A Told names the subscription that something is told of.
type Told struct {
	Unit  backup.UnitID
	Nonce string
}

// wanted are the units of a tenant that are to be subscribed to, with their drives.
const wantedSubscriptions = `
	FROM unit u JOIN policy p ON p.id = u.policy AND p.enabled = 1
	JOIN drive_state d ON d.unit = u.id AND d.root <> ''
		AND d.committed = (SELECT max(o.committed) FROM drive_state o WHERE o.unit = u.id)
	WHERE u.status = 'protected' AND u.workload = 'oneDriveForBusiness'`

// WantSubscriptions notes that each drive of a tenant that is backed up is to be
// subscribed to. Those that are noted stay as they are. It looks at every unit, which
// keeps nobody from writing: only what is missing is written, in parts.
func (c *Catalog) WantSubscriptions(ctx context.Context, j *jobs.Job) error {
	for after, more := "", true; more; {
		rows, err := c.db.Read().QueryContext(ctx, `SELECT u.id`+wantedSubscriptions+` AND u.tenant = $1 AND u.id > $2
				AND NOT EXISTS (SELECT 1 FROM subscription s WHERE s.unit = u.id)
			ORDER BY u.id LIMIT $3`, string(j.Tenant), after, subscribedAtOnce)
		units, err := collect(rows, err, func(r scanner) (id string, err error) { return id, r.Scan(&id) })
		if err != nil {
			return fmt.Errorf("look which drives to subscribe to: %w", err)
		}
		if len(units) == 0 {
			return nil
		}
		after, more = units[len(units)-1], len(units) == subscribedAtOnce
		err = c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `
				INSERT INTO subscription (unit, tenant, drive, id, nonce, look)
				SELECT e.value, CAST($1 AS TEXT), '', '', '', CAST($2 AS BIGINT) FROM `+tx.Dialect().JSONEach("$3")+` AS e WHERE true
				ON CONFLICT (unit) DO NOTHING`, string(j.Tenant), database.Micros(c.now()), jsonList(units))
			return err
		})
		if err != nil {
			return fmt.Errorf("note which drives to subscribe to: %w", err)
		}
	}
	return nil
}

// subscribedAtOnce is how many drives are noted in one transaction.
const subscribedAtOnce = 1000

// DueSubscriptions lists up to n subscriptions of a tenant that are to be looked
// after, those due first first.
func (c *Catalog) DueSubscriptions(ctx context.Context, tenant backup.TenantID, n int) ([]Subscription, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT s.unit, s.drive, s.id, s.nonce, coalesce((SELECT d.drive`+wantedSubscriptions+` AND u.id = s.unit LIMIT 1), '')
		FROM subscription s WHERE s.tenant = $1 AND s.look <= $2 ORDER BY s.look LIMIT $3`, string(tenant), database.Micros(c.now()), n)
	all, err := collect(rows, err, func(r scanner) (s Subscription, err error) {
		return s, r.Scan(&s.Unit, &s.Drive, &s.ID, &s.Nonce, &s.Current)
	})
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	return all, nil
}

// SaveSubscription stores how a subscription stands, and when it is to be looked
// after again. jobs.ErrLost.
func (c *Catalog) SaveSubscription(ctx context.Context, j *jobs.Job, s Subscription, look time.Time) error {
	return c.subscriptions(ctx, j, `UPDATE subscription SET drive = $3, id = $4, nonce = $5, look = $6 WHERE unit = $1 AND tenant = $2`,
		string(s.Unit), string(j.Tenant), string(s.Drive), s.ID, s.Nonce, database.Micros(look))
}

// DropSubscription forgets a subscription. jobs.ErrLost.
func (c *Catalog) DropSubscription(ctx context.Context, j *jobs.Job, unit backup.UnitID) error {
	return c.subscriptions(ctx, j, `DELETE FROM subscription WHERE unit = $1 AND tenant = $2`, string(unit), string(j.Tenant))
}

func (c *Catalog) subscriptions(ctx context.Context, j *jobs.Job, text string, args ...any) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, text, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("store a subscription: %w", err)
	}
	return nil
}

// NotifyChanges has drives be visited, of which the source told that they changed:
// after a moment, and no sooner than a while after their newest points. What is
// told of a subscription that is not the unit's present one changes nothing, and
// nor does what is told of a unit that is not backed up.
func (c *Catalog) NotifyChanges(ctx context.Context, tenant backup.TenantID, told []Told, moment, while time.Duration) error {
	if len(told) == 0 {
		return nil
	}
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT s.unit, r.newest FROM `+tx.Dialect().JSONRows("$2")+` AS e
			JOIN subscription s ON s.unit = e.value->>'Unit' AND s.nonce = e.value->>'Nonce' AND s.tenant = $1
			JOIN rpo r ON r.unit = s.unit`, string(tenant), jsonList(told))
		specs, err := collect(rows, err, func(r scanner) (jobs.Spec, error) {
			var newest time.Time
			s := jobs.Spec{Kind: jobs.Backup, Tenant: tenant, RunAt: c.now().Add(moment)}
			err := r.Scan(&s.Key, micros{&newest})
			if earliest := newest.Add(while); earliest.After(s.RunAt) {
				s.RunAt = earliest
			}
			return s, err
		})
		if err != nil {
			return err
		}
		return c.queue.Enqueue(ctx, tx, specs...)
	})
	if err != nil {
		return fmt.Errorf("note what changed: %w", err)
	}
	return nil
}

// NotifyFates has subscriptions be looked after now, of which the source told what
// becomes of them, or made anew.
func (c *Catalog) NotifyFates(ctx context.Context, tenant backup.TenantID, told []Told) error {
	if len(told) == 0 {
		return nil
	}
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `
			UPDATE subscription SET look = 0 WHERE tenant = $1 AND (unit, nonce) IN (
				SELECT e.value->>'Unit', e.value->>'Nonce' FROM `+tx.Dialect().JSONRows("$2")+` AS e)`, string(tenant), jsonList(told)))
		if err != nil || n == 0 {
			return err
		}
		return c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Subscribe, Key: string(tenant), Tenant: tenant})
	})
	if err != nil {
		return fmt.Errorf("note what becomes of subscriptions: %w", err)
	}
	return nil
}
