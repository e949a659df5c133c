package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

const damageColumns = `d.id, d.tenant, d.unit, d.drive, d.item, d.path, d.content, d.reason, d.found, d.healed`

func scanDamage(r scanner) (d backup.Damage, err error) {
	return d, r.Scan(&d.ID, &d.Tenant, &d.Unit, &d.Drive, &d.Item, &d.Path, &d.Content, &d.Reason, micros{&d.Found}, micros{&d.Healed})
}

// NoteDamage notes what was found damaged in a tenant's vault. What is noted
// already stays as it is; what was healed and is damaged once more is open
// again. ID, Tenant and Healed are not asked for; without Found it was now.
func (c *Catalog) NoteDamage(ctx context.Context, tenant backup.TenantID, found []backup.Damage) error {
	type row struct {
		ID, Unit, Drive, Item, Path, Content, Reason string
		Found                                        int64
	}
	type key struct {
		drive   backup.DriveID
		content string
		item    backup.ItemID
	}
	seen := map[key]bool{}
	var rows []row
	for _, d := range found {
		k := key{d.Drive, d.Content, d.Item}
		if seen[k] {
			continue
		}
		seen[k] = true
		if d.Found.IsZero() {
			d.Found = c.now()
		}
		rows = append(rows, row{backup.NewID[string](), string(d.Unit), string(d.Drive), string(d.Item), d.Path, d.Content, d.Reason, database.Micros(d.Found)})
	}
	if len(rows) == 0 {
		return nil
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `
			INSERT INTO damage (id, tenant, unit, drive, item, path, content, reason, found, healed)
			SELECT e.value->>'ID', CAST($2 AS TEXT), e.value->>'Unit', e.value->>'Drive', e.value->>'Item', e.value->>'Path',
				e.value->>'Content', e.value->>'Reason', CAST(e.value->>'Found' AS BIGINT), 0
			FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE true
			ON CONFLICT (tenant, drive, content, item) DO UPDATE SET
				path = excluded.path, reason = excluded.reason, found = excluded.found, healed = 0
			WHERE damage.healed <> 0`, jsonList(rows), string(tenant)))
		if err != nil || n == 0 {
			return err
		}
		return c.record(ctx, tx, backup.Activity{
			Tenant: tenant, Operation: backup.DamageFoundActivity, Object: string(rows[0].Unit), Result: backup.ActivityFailed,
			Problem: &backup.Problem{Code: backup.VaultDamaged, Target: rows[0].Path,
				Message: fmt.Sprintf("%d things that the vault should hold are damaged in it. The first: %s", n, rows[0].Reason)},
		})
	})
	if err != nil {
		return fmt.Errorf("note damage: %w", err)
	}
	return nil
}

// maxDamage is how much damage OpenDamage and DamagedSince return at most.
const maxDamage = 10_000

// Damaged reports whether anything is damaged in a tenant's vaults and not healed.
func (c *Catalog) Damaged(ctx context.Context, tenant backup.TenantID) (damaged bool, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM damage WHERE tenant = $1 AND healed = 0)`, string(tenant)).Scan(&damaged)
	if err != nil {
		return false, fmt.Errorf("look for damage of a tenant: %w", err)
	}
	return damaged, nil
}

// OpenDamage returns what is damaged of a drive and not healed, what was found
// first first; at most ten thousand, after whose healing it may be asked again.
func (c *Catalog) OpenDamage(ctx context.Context, tenant backup.TenantID, drive backup.DriveID) ([]backup.Damage, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+damageColumns+` FROM damage d WHERE d.tenant = $1 AND d.drive = $2 AND d.healed = 0 ORDER BY d.found, d.id LIMIT $3`,
		string(tenant), string(drive), maxDamage)
	all, err := collect(rows, err, scanDamage)
	if err != nil {
		return nil, fmt.Errorf("read the damage of drive %s: %w", drive, err)
	}
	return all, nil
}

// DamagedSince returns what is damaged of a tenant's vaults and not healed, of whichever drive,
// and was found after a time, or at it under a later id: what was found first first; at most
// ten thousand.
func (c *Catalog) DamagedSince(ctx context.Context, tenant backup.TenantID, since time.Time, id backup.DamageID) ([]backup.Damage, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+damageColumns+` FROM damage d WHERE d.tenant = $1 AND (d.found, d.id) > ($2, $3) AND d.healed = 0 ORDER BY d.found, d.id LIMIT $4`,
		string(tenant), database.Micros(since), string(id), maxDamage)
	all, err := collect(rows, err, scanDamage)
	if err != nil {
		return nil, fmt.Errorf("read the damage of a tenant: %w", err)
	}
	return all, nil
}

// HealDamage notes that contents of a tenant's vault are whole again, in
// whichever drives they were damaged, and returns how much damage that healed.
func (c *Catalog) HealDamage(ctx context.Context, tenant backup.TenantID, contents []string, at time.Time) (n int64, err error) {
	if at.IsZero() {
		at = c.now()
	}
	err = c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		n, err = affected(tx.ExecContext(ctx, `
			UPDATE damage SET healed = $3 WHERE tenant = $1 AND healed = 0
				AND content IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$2")+` AS e)`,
			string(tenant), jsonList(contents), database.Micros(at)))
		if err != nil || n == 0 {
			return err
		}
		return c.record(ctx, tx, backup.Activity{Tenant: tenant, Operation: backup.DamageHealedActivity, Object: contents[0]})
	})
	if err != nil {
		return 0, fmt.Errorf("heal damage: %w", err)
	}
	return n, nil
}

// A DamageQuery says which damage is asked for.
type DamageQuery struct {
	Drive backup.DriveID // "" for all of the tenant
	Open  bool           // only what is not healed
	Page
}

// Damage lists what was found damaged in a tenant's vault, in the order in
// which it was found.
func (c *Catalog) Damage(ctx context.Context, tenant backup.TenantID, q DamageQuery) (List[backup.Damage], error) {
	l := query{columns: damageColumns, table: "damage d", time: "d.found", id: "d.id",
		within: []equal{{"d.tenant", string(tenant)}}, indexes: []index{{"damage_page", []string{"d.tenant", "d.found", "d.id"}}}}
	if q.Drive != "" {
		l.and("d.drive = " + l.arg(string(q.Drive)))
	}
	if q.Open {
		l.and("d.healed = 0")
	}
	page, err := list(ctx, c, l, q.Page, scanDamage)
	if err != nil {
		return page, fmt.Errorf("list damage: %w", err)
	}
	return page, nil
}
