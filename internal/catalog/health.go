package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
)

// Health is what somebody should know who trusts a tenant's points.
type Health struct {
	// Damage is how many things in the vault are known to be damaged and not
	// healed, at most ten thousand.
	Damage int64
	// Verified is when the drive was gone through in the vault whose turn is the
	// longest ago; zero if there is one that never was, or no drive.
	Verified time.Time
	// Retention says in what the configuration of this process disagrees with the
	// retention that is in force, in words; "" if in nothing. While it does, no
	// point expires here.
	Retention string
}

// Health tells how a tenant's points stand.
func (c *Catalog) Health(ctx context.Context, tenant backup.TenantID) (h Health, err error) {
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT count(*) FROM (SELECT 1 FROM damage WHERE tenant = $1 AND healed = 0 LIMIT $2) AS d`, string(tenant), maxDamage).Scan(&h.Damage)
	if err != nil {
		return h, fmt.Errorf("count damage: %w", err)
	}
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT verified FROM drive_state WHERE tenant = $1 AND root <> '' ORDER BY verified, unit, drive LIMIT 1`, string(tenant)).Scan(micros{&h.Verified})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return h, fmt.Errorf("find the drive that was verified the longest ago: %w", err)
	}
	h.Retention, err = c.RetentionDisagreement(ctx, tenant)
	return h, err
}
