package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// Rested is what Rest has stopped.
type Rested struct {
	Restores     int64 // that were at work, and are paused
	Offboardings int64 // that wait, and whose grace begins anew
	Messages     int64 // to people, that were not sent yet and are not any more
}

// Rest is for a catalog that was put back from a backup, before a server works on it. What
// was under way when the backup was made has long come to its end, or was called off since,
// of which the catalog knows nothing: to go on with a restore would undo what people have
// done since, and an offboarding would destroy backups that somebody may have kept. So
// restores wait until they are resumed or cancelled, and the grace of offboardings begins
// anew. All else that was under way is done again, since it does no harm.
func (c *Catalog) Rest(ctx context.Context) (r Rested, err error) {
	now := database.Micros(c.now())
	err = c.db.Tx(ctx, func(tx *database.Tx) error {
		r = Rested{}
		for _, of := range []struct {
			n         *int64
			statement string
			args      []any
		}{
			{&r.Restores, `UPDATE restore_session SET wish = $1, wished = $2 WHERE status IN ('activating', 'active') AND wish = ''`, []any{string(backup.WishPause), now}},
			{&r.Offboardings, `UPDATE unit SET offboard_requested = $1 WHERE status = 'offboardRequested'`, []any{now}},
			{&r.Messages, `UPDATE message SET state = 'givenUp', ended = $1, problem = $2 WHERE state = 'waiting'`,
				[]any{now, "The catalog was put back from a backup, which had it wait; it may have been sent since."}},
			{new(int64), `UPDATE subscription SET look = 0 WHERE look > $1`, []any{int64(0)}}, // the source may have ended them since
		} {
			res, err := tx.ExecContext(ctx, of.statement, of.args...)
			if err != nil {
				return err
			}
			if *of.n, err = res.RowsAffected(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.queue.Reclaim(ctx) // whoever held them is no more
	}
	if err != nil {
		return r, fmt.Errorf("have what was under way rest: %w", err)
	}
	return r, nil
}

// A VaultPoint is a restore point as its vault knows it.
type VaultPoint struct {
	Tree  string
	At    time.Time
	Files int64
	Vault backup.VaultName
}

// NewestPoints returns up to limit restore points of a tenant that the vault should hold
// whole, the newest first.
func (c *Catalog) NewestPoints(ctx context.Context, tenant backup.TenantID, limit int) ([]VaultPoint, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT p.tree, p.at, p.files, d.vault FROM restore_point p JOIN drive_state d ON d.unit = p.unit AND d.drive = p.drive
		WHERE p.tenant = $1 AND p.lost = 0 ORDER BY p.at DESC, p.id LIMIT $2`, string(tenant), limit)
	points, err := collect(rows, err, func(r scanner) (p VaultPoint, err error) {
		var at int64
		p.Vault.Tenant = tenant
		err = r.Scan(&p.Tree, &at, &p.Files, &p.Vault.Number)
		p.At = database.Time(at)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the newest points: %w", err)
	}
	return points, nil
}
