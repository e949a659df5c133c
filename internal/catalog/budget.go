package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// UpdateBudget stores what change makes of the state of a tenant's budget, which
// is empty at first. Nobody else changes it meanwhile; change may be called
// several times.
func (c *Catalog) UpdateBudget(ctx context.Context, tenant backup.TenantID, change func(state []byte) ([]byte, error)) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		read := func() (state string, err error) {
			return state, tx.QueryRowContext(ctx, `SELECT state FROM budget WHERE tenant = $1`+tx.Dialect().ForUpdate(), string(tenant)).Scan(&state)
		}
		was, err := read()
		if errors.Is(err, sql.ErrNoRows) {
			if _, err := tx.ExecContext(ctx, `INSERT INTO budget (tenant, state) VALUES ($1, '') ON CONFLICT (tenant) DO NOTHING`, string(tenant)); err != nil {
				return err
			}
			was, err = read()
		}
		if err != nil {
			return err
		}
		state, err := change([]byte(was))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE budget SET state = $2 WHERE tenant = $1`, string(tenant), string(state))
		return err
	})
	if err != nil {
		return fmt.Errorf("update budget of tenant %s: %w", tenant, err)
	}
	return nil
}

// Budget returns the state of a tenant's budget, empty if it has none yet.
func (c *Catalog) Budget(ctx context.Context, tenant backup.TenantID) (state []byte, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT state FROM budget WHERE tenant = $1`, string(tenant)).Scan(&state)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read budget of tenant %s: %w", tenant, err)
	}
	return state, nil
}

// Budgets returns the state of each tenant's budget that has one.
func (c *Catalog) Budgets(ctx context.Context) (map[backup.TenantID][]byte, error) {
	type row struct {
		tenant backup.TenantID
		state  []byte
	}
	rows, err := c.db.Read().QueryContext(ctx, `SELECT tenant, state FROM budget ORDER BY tenant`)
	all, err := collect(rows, err, func(r scanner) (b row, err error) { return b, r.Scan(&b.tenant, &b.state) })
	if err != nil {
		return nil, fmt.Errorf("read budgets: %w", err)
	}
	states := make(map[backup.TenantID][]byte, len(all))
	for _, b := range all {
		states[b.tenant] = b.state
	}
	return states, nil
}

// ProtectedUnits returns how many units of a tenant are protected, most at most.
func (c *Catalog) ProtectedUnits(ctx context.Context, tenant backup.TenantID, most int) (n int, err error) {
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT count(*) FROM (SELECT 1 FROM unit WHERE tenant = $1 AND status = 'protected' LIMIT $2) AS u`, string(tenant), most).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count protected units of tenant %s: %w", tenant, err)
	}
	return n, nil
}
