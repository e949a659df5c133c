package engine

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// expire is a recurring job of a tenant: browse sessions and points that are
// past their time vanish from the catalog, and then points from the vault.
func (e *Engine) expire(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	if err := e.Catalog.ExpireBrowseSessions(ctx, j); err != nil {
		return jobs.Result{}, err
	}
	points, err := e.Catalog.ExpirePoints(ctx, j)
	if err != nil {
		return jobs.Result{}, err
	}
	drives, err := e.Catalog.DrivesToTrim(ctx, j.Tenant)
	if err != nil {
		return jobs.Result{}, err
	}
	for _, d := range drives {
		err := e.trim(ctx, j, d)
		switch {
		case err != nil && stopped(ctx, err):
			return jobs.Result{}, err
		case errors.Is(err, catalog.ErrMoved):
			// Backed up meanwhile. It stays noted for the next round.
		case err != nil:
			return jobs.Result{}, fmt.Errorf("trim drive %s: %w", d.Drive, err)
		}
	}
	if points > 0 {
		e.Log.Info("restore points expired", "tenant", j.Tenant, "points", points)
	}
	return jobs.Again(e.next(e.Upkeep, "expire "+j.Key)), nil
}

// trim drops the trees of one drive that no point needs any more.
func (e *Engine) trim(ctx context.Context, j *jobs.Job, d catalog.DriveRoot) error {
	defer e.lock("unit " + string(d.Unit))()
	trees, err := e.Catalog.LiveTrees(ctx, j.Tenant, d.Unit, d.Drive)
	if err != nil {
		return err
	}
	v, err := e.Vaults(ctx, j.Tenant)
	if err != nil {
		return err
	}
	keep := make(map[string]bool, len(trees))
	for _, tree := range trees {
		keep[tree] = true
	}
	root, err := v.Expire(ctx, vault.DriveKey{Tenant: j.Tenant, Drive: d.Drive}, d.Root, keep)
	if err != nil {
		return err
	}
	return e.Catalog.CommitTrim(ctx, j, d, root)
}

// maintain is a recurring job of a tenant: its vault is kept in order.
func (e *Engine) maintain(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	drives, err := e.Catalog.Roots(ctx, j.Tenant)
	if err != nil {
		return jobs.Result{}, err
	}
	v, err := e.Vaults(ctx, j.Tenant)
	if err != nil {
		return jobs.Result{}, fmt.Errorf("open the vault: %w", err)
	}
	roots := make(map[vault.DriveKey]string, len(drives))
	for d, root := range drives {
		roots[vault.DriveKey{Tenant: j.Tenant, Drive: d}] = root
	}
	if err := v.Maintain(ctx, roots); err != nil {
		return jobs.Result{}, fmt.Errorf("maintain the vault: %w", err)
	}
	return jobs.Again(e.next(e.Upkeep, "maintain "+j.Key)), nil
}
