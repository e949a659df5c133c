package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// A Rebuilt is what the catalog learned from the vault.
type Rebuilt struct {
	Imported bool // the catalog was empty, and took the tenant's record
	Drives   int  // of which points were taken up
	Points   int
	Lost     int // drives whose root the vault does not have
	Failed   int // drives that could not be dealt with; the log says which
}

// Rebuild brings what a tenant's vault knows and the catalog does not into the
// catalog: all of it, if the catalog is empty, and the points of the time since,
// if it is older than the vault. Points that the catalog has and the vault does
// not are marked as lost. It may be repeated, and does little when nothing is
// amiss. A drive that cannot be dealt with does not stop the others.
func (e *Engine) Rebuild(ctx context.Context, tenant backup.TenantID) (r Rebuilt, err error) {
	r.Imported, err = e.eachVault(ctx, tenant, func(name backup.VaultName) error { return e.compare(ctx, name, &r) })
	e.tellRebuilt(ctx, tenant, r)
	return r, err
}

func (e *Engine) tellRebuilt(ctx context.Context, tenant backup.TenantID, r Rebuilt) {
	if r.Points > 0 || r.Lost > 0 || r.Failed > 0 {
		e.Log.WarnContext(ctx, "the catalog and the vault differed", "tenant", tenant, "drives", r.Drives, "points", r.Points, "drives_lost", r.Lost, "failed", r.Failed)
	}
}

// eachVault has do deal with each vault of a tenant, once an empty catalog has taken the
// tenant's record, and reports whether it did. One that cannot be dealt with does not keep
// the others. The newest comes first: should a drive be in several, since its first backup
// did not come to its end and was made anew in another, that in the newest counts.
func (e *Engine) eachVault(ctx context.Context, tenant backup.TenantID, do func(backup.VaultName) error) (imported bool, err error) {
	first, err := e.Vaults(ctx, backup.FirstVault(tenant))
	if err != nil {
		return false, fmt.Errorf("open the vault: %w", err)
	}
	if imported, err = ImportRecord(ctx, e.Log, e.Catalog, first, tenant); err != nil {
		return false, err
	}
	all, err := e.Catalog.Vaults(ctx, tenant)
	if err != nil {
		return imported, err
	}
	var failed error
	for _, name := range slices.Backward(all) {
		err := do(name)
		if err != nil && ctx.Err() != nil {
			return imported, err
		}
		if err != nil && len(all) > 1 {
			err = fmt.Errorf("vault %d: %w", name.Number, err)
		}
		failed = errors.Join(failed, err)
	}
	return imported, failed
}

// compare is Rebuild for one vault.
func (e *Engine) compare(ctx context.Context, name backup.VaultName, r *Rebuilt) error {
	v, err := e.Vaults(ctx, name)
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	tenant := name.Tenant
	roots, err := e.Catalog.Roots(ctx, name)
	if err != nil {
		return err
	}
	stored := map[backup.DriveID]vault.Stored{}
	for s, err := range v.Drives(ctx) {
		if err != nil {
			return err
		}
		if s.Key.Tenant == tenant {
			stored[s.Key.Drive] = s
		}
	}
	refreshed := vault.Refreshed(ctx)
	for id, s := range stored {
		if roots[id] == s.Root && !s.More {
			continue
		}
		taken, err := e.takeUp(refreshed, v, name.Number, s.Key, roots[id])
		if err == nil {
			delete(roots, id) // what can be found of it is in one root now
		}
		switch {
		case err == nil && taken > 0:
			r.Drives++
			r.Points += taken
		case err == nil, errors.Is(err, catalog.ErrMoved):
			// It is being backed up, or has no point that is news.
		case errors.Is(err, catalog.ErrOtherVault):
			e.Log.WarnContext(ctx, "a drive is in several vaults of its tenant; what another than its own holds of it is left as it is, and not listed", "tenant", tenant, "vault", name.Number, "drive", id)
		case errors.Is(err, catalog.ErrNotWanted):
			// The unit was offboarded: its backups were given up.
			if err := v.Destroy(ctx, s.Key); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return err
		case errors.Is(err, vault.ErrStorage), errors.Is(err, vault.ErrMissing), errors.Is(err, vault.ErrOther):
			return err
		default:
			r.Failed++
			e.Log.ErrorContext(ctx, "what the vault holds of a drive could not be taken up into the catalog", "tenant", tenant, "drive", id, "err", err)
		}
	}
	for id, root := range roots {
		if s, ok := stored[id]; ok && (s.Root == root || s.More) {
			continue
		}
		lost, err := e.lostDrive(ctx, v, vault.DriveKey{Tenant: tenant, Drive: id}, root)
		if err != nil {
			return err
		}
		if lost {
			r.Lost++
		}
	}
	return nil
}

// ImportRecord takes the tenant's record from its vault into a catalog that is
// empty, and reports whether it did, which the log has, too.
func ImportRecord(ctx context.Context, log *slog.Logger, c *catalog.Catalog, v *vault.Vault, tenant backup.TenantID) (bool, error) {
	empty, err := c.Empty(ctx, tenant)
	if err != nil || !empty {
		return false, err
	}
	files, _, err := v.Record(ctx, tenant)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil // a new vault, or one that is older than records
	}
	if err != nil {
		return false, err
	}
	if err := c.ImportTenant(ctx, tenant, files); err != nil {
		return false, fmt.Errorf("take the tenant's record into the catalog: %w", err)
	}
	log.WarnContext(ctx, "the catalog was empty, and took the tenant's record from the vault", "tenant", tenant)
	return true, nil
}

// LastVault returns the number of a tenant's last vault, as its record in its first one
// has it.
func LastVault(ctx context.Context, first *vault.Vault, tenant backup.TenantID) (int, error) {
	files, _, err := first.Record(ctx, tenant)
	if errors.Is(err, vault.ErrNotFound) {
		return 1, nil
	}
	if err != nil {
		return 1, err
	}
	return catalog.LastVault(files)
}

// takeUp takes the points of one drive up that the catalog does not know.
func (e *Engine) takeUp(ctx context.Context, v *vault.Vault, number int, key vault.DriveKey, root string) (int, error) {
	if known, own, err := e.Catalog.Root(ctx, key.Tenant, key.Drive); err != nil {
		return 0, err
	} else if known != "" && own != number {
		return 0, catalog.ErrOtherVault
	}
	units, err := e.Catalog.DriveUnits(ctx, key.Tenant, key.Drive)
	if err != nil {
		return 0, err
	}
	var known []string
	for _, u := range units {
		unlock, ok := e.tryLock("unit " + string(u))
		if !ok {
			return 0, nil // it is being backed up, and its next root is on the way
		}
		defer unlock()
		trees, err := e.Catalog.LiveTrees(ctx, key.Tenant, u, key.Drive)
		if err != nil {
			return 0, err
		}
		known = append(known, trees...)
	}
	if len(known) > 0 {
		if err := e.markLost(ctx, v, key, known); err != nil {
			return 0, err
		}
	}
	points, err := v.Points(ctx, key, known...)
	if err != nil {
		return 0, err
	}
	t := catalog.TakenUp{Workload: backup.OneDrive, Drive: key.Drive, Vault: number, PrevRoot: root} // unless a point says another
	for _, p := range points {
		if p.Err != nil {
			e.Log.ErrorContext(ctx, "a restore point in the vault cannot be read", "tenant", key.Tenant, "drive", key.Drive, "tree", p.Tree, "err", p.Err)
			continue
		}
		if p.Info.Unit != "" {
			t.Unit, t.Workload = p.Info.Unit, p.Info.Workload
		}
		if p.Info.Owner.ID != "" {
			t.Owner = p.Info.Owner
		}
		if p.Info.Policy != "" {
			t.Policy = p.Info.Policy
		}
		if p.Info.Incomplete {
			continue
		}
		t.Tree = p.Tree
		t.Points = append(t.Points, catalog.TakenPoint{
			Point:  backup.Point{At: p.At, Tree: p.Tree, Files: p.Files, Folders: p.Folders, Bytes: p.Bytes, Unread: int64(p.Unread)},
			Policy: p.Info.Policy,
		})
	}
	if len(t.Points) == 0 {
		return 0, nil
	}
	if t.Pending, err = v.Unread(ctx, t.Tree); err != nil {
		return 0, err
	}
	for _, p := range t.Points {
		known = append(known, p.Tree)
	}
	if t.Root, err = v.Merge(ctx, key, root, known...); err != nil {
		return 0, err
	}
	unit, taken, err := e.Catalog.TakeUp(ctx, key.Tenant, t)
	if err != nil {
		return taken, err
	}
	if taken > 0 {
		e.Log.InfoContext(ctx, "restore points were taken up from the vault", "tenant", key.Tenant, "unit", unit, "drive", key.Drive, "points", taken)
	}
	// The catalog may also know of points that the vault does not have.
	return taken, e.markAllLost(ctx, v, key, units)
}

// markAllLost marks those points of a drive as lost that the vault does not give.
func (e *Engine) markAllLost(ctx context.Context, v *vault.Vault, key vault.DriveKey, units []backup.UnitID) error {
	for _, u := range units {
		trees, err := e.Catalog.LiveTrees(ctx, key.Tenant, u, key.Drive)
		if err != nil {
			return err
		}
		if err := e.markLost(ctx, v, key, trees); err != nil {
			return err
		}
	}
	return nil
}

// lostDrive marks what the vault no longer holds of a drive, and reports whether
// its root is gone: the next backup then begins anew.
func (e *Engine) lostDrive(ctx context.Context, v *vault.Vault, key vault.DriveKey, root string) (bool, error) {
	err := v.VerifyObjects(ctx, []string{root})
	if err == nil || !isDamage(err) {
		return false, err
	}
	e.Log.ErrorContext(ctx, "what the vault holds of a drive cannot be read; the drive begins anew", "tenant", key.Tenant, "drive", key.Drive, "err", err)
	if _, err := v.Recover(ctx); err != nil {
		return false, err
	}
	units, err := e.Catalog.DriveUnits(ctx, key.Tenant, key.Drive)
	if err != nil {
		return false, err
	}
	for _, u := range units {
		if err := e.Catalog.BackUpNow(ctx, key.Tenant, u); err != nil {
			return false, err
		}
	}
	return true, e.markAllLost(ctx, v, key, units)
}

// saveRecord keeps in the vault what a catalog needs and no drive's points carry.
func (e *Engine) saveRecord(ctx context.Context, tenant backup.TenantID, v *vault.Vault) error {
	if empty, err := e.Catalog.Empty(ctx, tenant); err != nil || empty {
		return err // nothing is no record to put in the place of one
	}
	files, err := e.Catalog.ExportTenant(ctx, tenant)
	if errors.Is(err, catalog.ErrImporting) {
		return nil // what is there is not yet all that was
	}
	if err != nil {
		return err
	}
	_, err = v.SaveRecord(ctx, tenant, files)
	return err
}

// recordEvery is how soon a change of what was asked for is in the vault.
const recordEvery = time.Minute

// record is a recurring job of a tenant: when anything was asked for or changed
// since the last time, the tenant's record is written anew.
func (e *Engine) record(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	again := jobs.Again(e.next(recordEvery, "record "+j.Key))
	e.mu.Lock()
	since := e.recorded[j.Tenant]
	e.mu.Unlock()
	began := e.Clock()
	changed, err := e.Catalog.ActiveSince(ctx, j.Tenant, since)
	if err != nil || !changed {
		return again, err
	}
	v, err := e.Vaults(ctx, backup.FirstVault(j.Tenant))
	if err != nil {
		return jobs.Result{}, fmt.Errorf("open the vault: %w", err)
	}
	if err := e.saveRecord(ctx, j.Tenant, v); err != nil {
		return jobs.Result{}, err
	}
	e.mu.Lock()
	e.recorded[j.Tenant] = began
	e.mu.Unlock()
	return again, nil
}

const (
	measureEvery = 15 * time.Minute
	firstMeasure = 30 * time.Second // after the first start
	measureSoon  = time.Minute      // as long as no unit has a point
)

// measure is a recurring job of a tenant: how it stands is noted for the day.
func (e *Engine) measure(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	promised, err := e.Catalog.MeasureDay(ctx, j)
	every := measureEvery
	if !promised {
		every = measureSoon
	}
	return jobs.Again(e.next(every, "measure "+j.Key)), err
}

// verifyRound is how long a worker verifies before others have their turn.
const verifyRound = 10 * time.Minute

// verify is a recurring job of a tenant: all that its vault holds is read back
// within VerifyEvery, one drive after the other, those first that have waited
// longest. What is damaged is noted, and where the source may still have it the
// drive is backed up at once.
func (e *Engine) verify(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	began := e.Clock()
	for e.Clock().Sub(began) < verifyRound {
		due, err := e.Catalog.DrivesToVerify(ctx, j.Tenant, began.Add(-e.VerifyEvery), 1)
		if err != nil {
			return jobs.Result{}, err
		}
		if len(due) == 0 {
			return jobs.Again(e.next(e.Upkeep, "verify "+j.Key)), nil
		}
		report, err := e.verifyOne(ctx, due[0], j.Tenant, vault.VerifyOptions{Share: 1})
		if err != nil {
			return jobs.Result{}, err
		}
		if len(report.Damage) > 0 {
			if err := e.Catalog.BackUpNow(ctx, j.Tenant, due[0].Unit); err != nil {
				return jobs.Result{}, err
			}
		}
	}
	return jobs.Again(e.Clock()), nil
}

// Verify reads back what a tenant's vault holds of the drives that are wanted, and
// tells each of each.
func (e *Engine) Verify(ctx context.Context, tenant backup.TenantID, wanted func(catalog.DriveRoot) bool, opt vault.VerifyOptions, tell func(catalog.DriveRoot, vault.VerifyReport, error)) error {
	all, err := e.Catalog.DriveRoots(ctx, tenant)
	if err != nil {
		return err
	}
	for _, d := range all {
		if !wanted(d) {
			continue
		}
		report, err := e.verifyOne(ctx, d, tenant, opt)
		if err != nil && (ctx.Err() != nil || !isDamage(err)) {
			return err
		}
		tell(d, report, err)
		if len(report.Damage) > 0 {
			if err := e.Catalog.BackUpNow(ctx, tenant, d.Unit); err != nil {
				return err
			}
		}
	}
	return nil
}
