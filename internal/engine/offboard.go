package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
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
	switch err := e.destroy(ctx, j); {
	case errors.Is(err, errInUse):
		return jobs.Again(e.Clock().Add(inUseAgain)), nil
	case err != nil:
		return jobs.Result{}, err
	case next.IsZero():
		return jobs.Done, nil
	}
	return jobs.Again(next), nil
}

// inUseAgain is when an offboarding comes again that found its unit worked on,
// by a backup say that has yet to learn that it is no longer wanted.
const inUseAgain = time.Minute

// destroy drops from the vault all that was backed up of an offboarded unit. A
// drive that cannot be dropped does not keep the others.
func (e *Engine) destroy(ctx context.Context, j *jobs.Job) error {
	unlock, ok := e.tryLock("unit " + j.Key)
	if !ok {
		return errInUse
	}
	defer unlock()
	drives, err := e.Catalog.DrivesToDestroy(ctx, j.Tenant, backup.UnitID(j.Key))
	if err != nil || len(drives) == 0 {
		return err
	}
	var failed error
	for _, d := range drives {
		if err := e.destroyDrive(ctx, j, d); err != nil && stopped(ctx, err) {
			return err
		} else if err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil {
		e.Log.InfoContext(ctx, "backups destroyed: the unit is offboarded", "tenant", j.Tenant, "unit", j.Key)
	}
	return failed
}

func (e *Engine) destroyDrive(ctx context.Context, j *jobs.Job, d catalog.DriveRoot) error {
	v, err := e.Vaults(ctx, backup.VaultName{Tenant: j.Tenant, Number: d.Vault})
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	if err := v.Destroy(ctx, vault.DriveKey{Tenant: j.Tenant, Drive: d.Drive}); err != nil {
		return fmt.Errorf("destroy the backups of unit %s: %w", d.Unit, err)
	}
	return e.Catalog.ForgetDrive(ctx, j, d)
}
