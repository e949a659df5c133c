package engine

import (
	"context"
	"fmt"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// offboard does what is due of a unit's offboarding. The catalog decides; what
// it has given up is then destroyed in the vault, before it is forgotten.
func (e *Engine) offboard(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	next, err := e.Catalog.SettleOffboarding(ctx, j)
	if err != nil {
		return jobs.Result{}, err
	}
	if err := e.destroy(ctx, j); err != nil {
		return jobs.Result{}, err
	}
	if next.IsZero() {
		return jobs.Done, nil
	}
	return jobs.Again(next), nil
}

// destroy drops from the vault all that was backed up of an offboarded unit.
func (e *Engine) destroy(ctx context.Context, j *jobs.Job) error {
	defer e.lock("unit " + j.Key)()
	drives, err := e.Catalog.DrivesToDestroy(ctx, j.Tenant, backup.UnitID(j.Key))
	if err != nil || len(drives) == 0 {
		return err
	}
	v, err := e.Vaults(ctx, j.Tenant)
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	for _, d := range drives {
		if d.Root != "" {
			if _, err := v.Expire(ctx, vault.DriveKey{Tenant: j.Tenant, Drive: d.Drive}, d.Root, nil); err != nil {
				return fmt.Errorf("destroy the backups of unit %s: %w", d.Unit, err)
			}
		}
		if err := e.Catalog.ForgetDrive(ctx, j, d); err != nil {
			return err
		}
	}
	e.Log.Info("backups destroyed: the unit is offboarded", "tenant", j.Tenant, "unit", j.Key)
	return nil
}
