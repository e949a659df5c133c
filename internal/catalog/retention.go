package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A retention is a plan that can be kept to.
type retention struct {
	def      *backup.Keeping
	policies map[backup.PolicyID]*backup.Keeping
}

// SetRetention has restore points kept as plan says, from now on; those there
// are follow with the next round of ExpirePoints. It is called before the
// catalog is used. The error says what is wrong with the plan.
func (c *Catalog) SetRetention(plan backup.RetentionPlan) error {
	def, err := backup.NewKeeping(plan.Default)
	if err != nil {
		return fmt.Errorf("default: %w", err)
	}
	r := retention{def: def, policies: map[backup.PolicyID]*backup.Keeping{}}
	for id, own := range plan.Policies {
		if r.policies[id], err = backup.NewKeeping(own); err != nil {
			return fmt.Errorf("policy %s: %w", id, err)
		}
	}
	c.retention = r
	return nil
}

// of returns how the points of a policy are kept, also of one that was deleted.
func (r retention) of(p backup.PolicyID) *backup.Keeping {
	if k := r.policies[p]; k != nil {
		return k
	}
	return r.def
}

// RetentionSettings returns how long the points of a policy are kept, as
// callers see it.
func (c *Catalog) RetentionSettings(p backup.PolicyID) []backup.RetentionSetting {
	return c.retention.of(p).Shown()
}

// keep fills in how long a new point of a unit is kept, and returns the policy
// that says so and whether it is longer than most. It is the unit's policy;
// that of the unit's points stays the one under which they were made.
func (c *Catalog) keep(ctx context.Context, tx *database.Tx, p *backup.Point) (policy backup.PolicyID, longer bool, err error) {
	if err := tx.QueryRowContext(ctx, `SELECT policy FROM unit WHERE id = $1`, string(p.Unit)).Scan(&policy); err != nil {
		return "", false, fmt.Errorf("look for the unit's policy: %w", err)
	}
	k := c.retention.of(policy)
	begins := k.Intervals(p.At)
	first := make([]bool, len(begins))
	for i, begin := range begins {
		err := tx.QueryRowContext(ctx, `
			SELECT NOT EXISTS (SELECT 1 FROM restore_point WHERE unit = $1 AND at >= $2 AND at <= $3)`,
			string(p.Unit), database.Micros(begin), database.Micros(p.At)).Scan(&first[i])
		if err != nil {
			return "", false, fmt.Errorf("look for the interval's point: %w", err)
		}
	}
	p.Expires, longer = k.Expires(p.At, first)
	return policy, longer, nil
}

// reapplyRetention has the points that there are follow the configuration,
// where that has changed since they last did.
func (c *Catalog) reapplyRetention(ctx context.Context, j *jobs.Job) error {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT policy, applied FROM retention WHERE tenant = $1`, string(j.Tenant))
	applied := map[backup.PolicyID]string{"": toJSON(backup.Retention{Settings: backup.DefaultRetention})}
	_, err = collect(rows, err, func(r scanner) (_ struct{}, err error) {
		var policy backup.PolicyID
		var text string
		err = r.Scan(&policy, &text)
		applied[policy] = text
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("read applied retention: %w", err)
	}
	configured := map[backup.PolicyID]string{"": toJSON(c.retention.def.Retention)}
	own := []backup.PolicyID{} // policies with a retention of their own, now or before
	for p, k := range c.retention.policies {
		configured[p] = toJSON(k.Retention)
		own = append(own, p)
	}
	for p := range applied {
		if p != "" && configured[p] == "" {
			own = append(own, p)
		}
	}
	for _, p := range append(own, "") {
		if applied[p] == configured[p] {
			continue
		}
		// A policy that has none of its own any more is as all the others.
		which, args := `policy = $2`, []any{string(j.Tenant), string(p)}
		if p == "" {
			which, args[1] = `policy NOT IN (SELECT e.value FROM `+c.db.Dialect().JSONEach("$2")+` AS e)`, jsonList(own)
		}
		rows, err := c.db.Read().QueryContext(ctx, `SELECT DISTINCT unit FROM restore_point WHERE tenant = $1 AND `+which, args...)
		units, err := collect(rows, err, func(r scanner) (u backup.UnitID, err error) { return u, r.Scan(&u) })
		if err != nil {
			return fmt.Errorf("list units to keep otherwise: %w", err)
		}
		for _, u := range units {
			if err := c.reapplyUnit(ctx, j, u); err != nil {
				return fmt.Errorf("keep the points of unit %s otherwise: %w", u, err)
			}
		}
		err = c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			if configured[p] == "" {
				_, err := tx.ExecContext(ctx, `DELETE FROM retention WHERE tenant = $1 AND policy = $2`, string(j.Tenant), string(p))
				return err
			}
			_, err := tx.ExecContext(ctx, `
				INSERT INTO retention (tenant, policy, applied) VALUES ($1, $2, $3)
				ON CONFLICT (tenant, policy) DO UPDATE SET applied = excluded.applied`, string(j.Tenant), string(p), configured[p])
			return err
		})
		if err != nil {
			return fmt.Errorf("note applied retention: %w", err)
		}
	}
	return nil
}

// reapplyUnit computes anew when a unit's points expire.
func (c *Catalog) reapplyUnit(ctx context.Context, j *jobs.Job, unit backup.UnitID) error {
	type point struct {
		id      string
		policy  backup.PolicyID
		at, end time.Time
		longer  bool
	}
	return c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `
			SELECT id, policy, at, expires, weekly FROM restore_point WHERE unit = $1 AND tenant = $2 ORDER BY at, id`, string(unit), string(j.Tenant))
		points, err := collect(rows, err, func(r scanner) (p point, err error) {
			return p, r.Scan(&p.id, &p.policy, micros{&p.at}, micros{&p.end}, &p.longer)
		})
		if err != nil {
			return err
		}
		var changed [][3]string
		var before time.Time // the point before
		for _, p := range points {
			k := c.retention.of(p.policy)
			begins := k.Intervals(p.at)
			first := make([]bool, len(begins))
			for i, begin := range begins {
				first[i] = before.IsZero() || before.Before(begin)
			}
			before = p.at
			if end, longer := k.Expires(p.at, first); !end.Equal(p.end) || longer != p.longer {
				changed = append(changed, [3]string{p.id, fmt.Sprint(database.Micros(end)), fmt.Sprint(bit(longer))})
			}
		}
		if len(changed) == 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE restore_point SET expires = CAST(e.value->>1 AS BIGINT), weekly = CAST(e.value->>2 AS SMALLINT),
				tags = CASE WHEN CAST(e.value->>2 AS SMALLINT) = 1 THEN 'fastRestore' ELSE tags END
			FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE restore_point.id = e.value->>0`, jsonList(changed))
		return err
	})
}

// underHold reports whether points of a unit are under a legal hold.
func (c *Catalog) underHold(ctx context.Context, db database.Queryer, unit backup.UnitID) (bool, error) {
	rows, err := db.QueryContext(ctx, `SELECT DISTINCT policy FROM restore_point WHERE unit = $1`, string(unit))
	policies, err := collect(rows, err, func(r scanner) (p backup.PolicyID, err error) { return p, r.Scan(&p) })
	if err != nil {
		return false, fmt.Errorf("look for holds: %w", err)
	}
	for _, p := range policies {
		if c.retention.of(p).LegalHold {
			return true, nil
		}
	}
	return false, nil
}
