package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A SeedPolicy is a sample policy, with ids that are known beforehand.
type SeedPolicy struct {
	ID          backup.PolicyID
	DisplayName string
	Units       []SeedUnit
}

// A SeedUnit is a unit of a sample policy.
type SeedUnit struct {
	ID      backup.UnitID
	Subject backup.SubjectID
}

// Seed puts sample policies, which are not in force, into an empty catalog. In
// one that holds, of any tenant, a policy or a unit it does nothing.
func (c *Catalog) Seed(ctx context.Context, tenant backup.TenantID, policies []SeedPolicy, by backup.Stamp) error {
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		var used bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM policy) OR EXISTS (SELECT 1 FROM unit)`).Scan(&used)
		if err != nil || used {
			return err
		}
		for i, s := range policies {
			made := asStored(by)
			made.At = made.At.Add(time.Duration(i) * time.Microsecond)
			p := backup.Policy{ID: s.ID, Tenant: tenant, Workload: backup.OneDrive, DisplayName: s.DisplayName, Created: made, Modified: made}
			if err := c.insertPolicy(ctx, tx, &p); err != nil {
				return err
			}
			m := &membership{policy: &p, by: made}
			for _, u := range s.Units {
				m.fresh = append(m.fresh, &backup.Unit{ID: u.ID, Subject: u.Subject})
			}
			if err := m.write(ctx, tx, backup.UnitUnprotected); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}
