package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// ErrOtherVault says that a tenant's vault is known by another id.
var ErrOtherVault = errors.New("the tenant's vault is known by another id")

// VaultID returns the id by which a vault is known, "" if by none.
func (c *Catalog) VaultID(ctx context.Context, name backup.VaultName) (id string, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT id FROM vault WHERE tenant = $1 AND number = $2`, string(name.Tenant), name.Number).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read the vault's id: %w", err)
	}
	return id, nil
}

// WantsVault reports whether there is to be a vault of that name: the first of each
// tenant, and the others once AddVault has said so.
func (c *Catalog) WantsVault(ctx context.Context, name backup.VaultName) (wanted bool, err error) {
	if name.Number == 1 {
		return true, nil
	}
	err = c.db.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM vault WHERE tenant = $1 AND number = $2)`, string(name.Tenant), name.Number).Scan(&wanted)
	if err != nil {
		return false, fmt.Errorf("look whether there is to be a vault: %w", err)
	}
	return wanted, nil
}

// Vaults lists the vaults of a tenant that are known by their ids, and the first, which
// stands first.
func (c *Catalog) Vaults(ctx context.Context, tenant backup.TenantID) ([]backup.VaultName, error) {
	all, err := c.furtherVaults(ctx, ` AND tenant = $1`, string(tenant))
	return append([]backup.VaultName{backup.FirstVault(tenant)}, all...), err
}

// FurtherVaults lists the vaults of all tenants that are known by their ids, without the
// first of each.
func (c *Catalog) FurtherVaults(ctx context.Context) ([]backup.VaultName, error) {
	return c.furtherVaults(ctx, "")
}

func (c *Catalog) furtherVaults(ctx context.Context, and string, args ...any) ([]backup.VaultName, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT tenant, number FROM vault WHERE number > 1 AND id <> ''`+and+` ORDER BY tenant, number`, args...)
	all, err := collect(rows, err, func(r scanner) (n backup.VaultName, err error) { return n, r.Scan(&n.Tenant, &n.Number) })
	if err != nil {
		return nil, fmt.Errorf("list vaults: %w", err)
	}
	return all, nil
}

// AddVault has a tenant get another vault after its last, which has grown large. The
// vault is to be opened next, which makes it: no drive goes into it before it is known
// by its id. It may be repeated. jobs.ErrLost.
func (c *Catalog) AddVault(ctx context.Context, j *jobs.Job, last backup.VaultName) (backup.VaultName, error) {
	next := backup.VaultName{Tenant: last.Tenant, Number: last.Number + 1}
	err := c.tx(ctx, next.Tenant, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO vault (tenant, number, id, noted) VALUES ($1, $2, '', $3) ON CONFLICT DO NOTHING`,
			string(next.Tenant), next.Number, database.Micros(c.now()))
		return err
	})
	if err != nil {
		return next, fmt.Errorf("add a vault: %w", err)
	}
	return next, nil
}

// KnowVault notes the id by which a vault is to be known from now on. It may be
// repeated. The first counts: ErrOtherVault, and nothing is changed, if it is known by
// another, or the id is that of another of the tenant's vaults.
func (c *Catalog) KnowVault(ctx context.Context, name backup.VaultName, id string) error {
	if id == "" {
		return errors.New("know the vault: it has no id")
	}
	err := c.tx(ctx, name.Tenant, func(tx *database.Tx) error {
		var elsewhere bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM vault WHERE tenant = $1 AND number <> $2 AND id = $3)`,
			string(name.Tenant), name.Number, id).Scan(&elsewhere); err != nil {
			return err
		}
		if elsewhere {
			return ErrOtherVault
		}
		n, err := affected(tx.ExecContext(ctx, `INSERT INTO vault (tenant, number, id, noted) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant, number) DO UPDATE SET id = excluded.id, noted = excluded.noted WHERE vault.id = ''`,
			string(name.Tenant), name.Number, id, database.Micros(c.now())))
		if err != nil {
			return err
		}
		if n == 1 {
			return c.record(ctx, tx, backup.Activity{Tenant: name.Tenant, Operation: backup.VaultKnownActivity, Object: id})
		}
		var known string
		if err := tx.QueryRowContext(ctx, `SELECT id FROM vault WHERE tenant = $1 AND number = $2`, string(name.Tenant), name.Number).Scan(&known); err != nil {
			return err
		}
		if known != id {
			return ErrOtherVault
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("know the vault: %w", err)
	}
	return nil
}

// MakeVault has do make a vault while no other process does: two that began at once
// would each write its own over the other's. It does nothing where the vault is known
// by an id already.
func (c *Catalog) MakeVault(ctx context.Context, name backup.VaultName, do func(context.Context) error) error {
	err := c.tx(ctx, name.Tenant, func(tx *database.Tx) error {
		var known bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM vault WHERE tenant = $1 AND number = $2 AND id <> '')`,
			string(name.Tenant), name.Number).Scan(&known); err != nil || known {
			return err
		}
		return do(ctx)
	})
	if err != nil {
		return fmt.Errorf("make the vault: %w", err)
	}
	return nil
}

// AcceptVault has a vault be known by an id from now on, whatever it was known by
// before: somebody has put another in its place on purpose.
func (c *Catalog) AcceptVault(ctx context.Context, name backup.VaultName, id string, by backup.IdentitySet) error {
	if id == "" {
		return errors.New("accept the vault: it has no id")
	}
	err := c.tx(ctx, name.Tenant, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO vault (tenant, number, id, noted) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant, number) DO UPDATE SET id = excluded.id, noted = excluded.noted`,
			string(name.Tenant), name.Number, id, database.Micros(c.now()))
		if err != nil {
			return err
		}
		return c.record(ctx, tx, backup.Activity{Tenant: name.Tenant, Operation: backup.VaultAcceptedActivity, By: by, Object: id})
	})
	if err != nil {
		return fmt.Errorf("accept the vault: %w", err)
	}
	return nil
}

// pointsOfTrees is a condition on restore_point: the points of the tenant $1
// and its drive $2 whose trees are in the list $3. A drive's points are found
// by the units that had it.
func pointsOfTrees(d database.Dialect) string {
	return `unit IN (SELECT s.unit FROM drive_state s WHERE s.tenant = $1 AND s.drive = $2) AND tenant || '' = $1 AND drive = $2
		AND tree IN (SELECT e.value FROM ` + d.JSONEach("$3") + ` AS e)`
}

// MarkLost notes of points of a drive, by their trees, that the vault no longer
// holds them whole, or that it does again, and returns how many points that
// is news of. A lost point is listed, and cannot be restored. Where it was kept
// longer for being the first of an interval, the next that is left takes its
// place.
func (c *Catalog) MarkLost(ctx context.Context, tenant backup.TenantID, drive backup.DriveID, trees []string, lost bool) (n int64, err error) {
	err = c.tx(ctx, tenant, func(tx *database.Tx) error {
		rows, err := tx.QueryContext(ctx, `UPDATE restore_point SET lost = $4 WHERE lost <> $4 AND `+pointsOfTrees(tx.Dialect())+` RETURNING unit, runs`,
			string(tenant), string(drive), jsonList(trees), bit(lost))
		n = 0
		units, err := collect(rows, err, func(r scanner) (u backup.UnitID, err error) {
			var own runs
			err = r.Scan(&u, &own)
			n += int64(1 + len(own))
			return u, err
		})
		if err != nil || n == 0 {
			return err
		}
		a := backup.Activity{Tenant: tenant, Operation: backup.PointsFoundActivity, Object: string(units[0])}
		if lost {
			a.Operation, a.Result = backup.PointsLostActivity, backup.ActivityFailed
			a.Problem = &backup.Problem{Code: backup.VaultDamaged, Target: string(drive),
				Message: fmt.Sprintf("The vault no longer holds %d restore points of the drive whole. They cannot be restored unless it is put back as it was.", n)}
		}
		if err := c.record(ctx, tx, a); err != nil {
			return err
		}
		slices.Sort(units)
		for _, u := range slices.Compact(units) {
			if err := keepUnit(ctx, tx, tenant, u, nil, c.keepers(ctx, tx, tenant), false); err != nil {
				return fmt.Errorf("keep others in their place: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("mark points of drive %s: %w", drive, err)
	}
	return n, nil
}

// MarkVerified notes that a drive was gone through in the vault, which began at
// a time, and that the points of the trees named were found whole. Whatever was
// found, the drive's turn in the rotation is over.
func (c *Catalog) MarkVerified(ctx context.Context, tenant backup.TenantID, drive backup.DriveID, trees []string, at time.Time) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE restore_point SET verified = $4 WHERE `+pointsOfTrees(tx.Dialect()),
			string(tenant), string(drive), jsonList(trees), database.Micros(at))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE drive_state SET verified = $3 WHERE tenant = $1 AND drive = $2`,
			string(tenant), string(drive), database.Micros(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("mark drive %s as verified: %w", drive, err)
	}
	return nil
}

// DrivesToVerify lists the drives of a tenant that were not gone through in the
// vault since a time, those first whose turn is the longest ago.
func (c *Catalog) DrivesToVerify(ctx context.Context, tenant backup.TenantID, before time.Time, limit int) ([]DriveRoot, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT unit, drive, root, vault FROM drive_state WHERE tenant = $1 AND root <> '' AND verified < $2
		ORDER BY verified, unit, drive LIMIT $3`, string(tenant), database.Micros(before), limit)
	all, err := collect(rows, err, scanDriveRoot)
	if err != nil {
		return nil, fmt.Errorf("list drives to verify: %w", err)
	}
	return all, nil
}
