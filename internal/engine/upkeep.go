package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// expire is a recurring job of a tenant: sign-ins at the console, browse sessions and points
// that are past their time vanish from the catalog, and then points from the vault.
func (e *Engine) expire(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	if err := e.Catalog.ExpireBrowseSessions(ctx, j); err != nil {
		return jobs.Result{}, err
	}
	if err := e.Catalog.ExpireSignIns(ctx, j); err != nil {
		return jobs.Result{}, err
	}
	points, err := e.Catalog.ExpirePoints(ctx, j)
	if errors.Is(err, catalog.ErrRetentionDisagrees) {
		e.Log.ErrorContext(ctx, "restore points do not expire", "tenant", j.Tenant, "err", err)
		err = nil // what has gone before is dropped all the same
	}
	if err != nil {
		return jobs.Result{}, err
	}
	if points > 0 {
		e.Log.InfoContext(ctx, "restore points expired", "tenant", j.Tenant, "points", points)
	}
	if err := e.trimAll(ctx, j); err != nil {
		return jobs.Result{}, err
	}
	return jobs.Again(e.next(e.Upkeep, "expire "+j.Key)), nil
}

// trimAll trims the drives that have trees to drop, some at a time, which share what it
// takes to make that last. One that cannot be trimmed now stays noted for the next round
// and does not stop the others. It fails if none could be for want of the vault's storage.
func (e *Engine) trimAll(ctx context.Context, j *jobs.Job) error {
	drives, err := e.Catalog.DrivesToTrim(ctx, j.Tenant)
	if err != nil || len(drives) == 0 {
		return err
	}
	var mu sync.Mutex // held for what follows
	trimmed, failed := 0, 0
	var storage error
	trimming, inGroup := newGroup(ctx)
	trimming.SetLimit(trimsAtATime)
	for _, d := range drives {
		if inGroup.Err() != nil {
			break
		}
		trimming.Go(func() error {
			err := e.trim(inGroup, j, d)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				trimmed++
			case stopped(inGroup, err):
				return err
			case errors.Is(err, errInUse), errors.Is(err, catalog.ErrMoved):
				// It is being backed up, or was meanwhile.
			case !errors.Is(err, errNotTrimmed):
				return err
			default:
				if errors.Is(err, vault.ErrStorage) {
					storage = err
				}
				if failed++; failed <= maxLogged {
					e.Log.WarnContext(ctx, "expired points of a drive not dropped; tried again in the next round", "tenant", j.Tenant, "unit", d.Unit, "drive", d.Drive, "err", err)
				}
			}
			return nil
		})
	}
	if err := trimming.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if failed > maxLogged {
		e.Log.WarnContext(ctx, "expired points of more drives not dropped", "tenant", j.Tenant, "drives", failed-maxLogged)
	}
	if trimmed > 0 {
		return nil
	}
	return storage
}

const (
	// maxLogged is how many drives a round of upkeep names in the log.
	maxLogged = 20
	// trimsAtATime is how many drives are trimmed at a time.
	trimsAtATime = 16
)

var (
	// errInUse: somebody else is at work on the unit, and may be for hours.
	errInUse = errors.New("the unit is being worked on")
	// errNotTrimmed: it is this drive that the vault could not trim.
	errNotTrimmed = errors.New("the vault could not trim the drive")
)

// trim drops the trees of one drive that no point needs any more.
func (e *Engine) trim(ctx context.Context, j *jobs.Job, d catalog.DriveRoot) error {
	unlock, ok := e.tryLock("unit " + string(d.Unit))
	if !ok {
		return errInUse
	}
	defer unlock()
	v, err := e.Vaults(ctx, backup.VaultName{Tenant: j.Tenant, Number: d.Vault})
	if err != nil {
		return fmt.Errorf("%w: %w: open: %w", errNotTrimmed, vault.ErrStorage, err)
	}
	trees, err := e.Catalog.LiveTrees(ctx, j.Tenant, d.Unit, d.Drive)
	if err != nil {
		return err
	}
	keep := make(map[string]bool, len(trees))
	for _, tree := range trees {
		keep[tree] = true
	}
	root, err := v.Expire(ctx, vault.DriveKey{Tenant: j.Tenant, Drive: d.Drive}, d.Root, keep)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotTrimmed, err)
	}
	return e.Catalog.CommitTrim(ctx, j, d, root)
}

// maintain is a recurring job of a tenant: what its catalog and its vaults know of
// each other is compared, its vaults are kept in order, what only the catalog knows is
// kept in the first of them, and where the last has grown large there will be another.
// A vault that cannot be maintained does not keep the others.
func (e *Engine) maintain(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	var r Rebuilt
	_, err := e.eachVault(ctx, j.Tenant, func(name backup.VaultName) error {
		err := e.compare(ctx, name, &r)
		switch {
		case isDamage(err):
			e.Log.ErrorContext(ctx, "the vault is damaged, so that its catalog cannot be compared with it", "tenant", j.Tenant, "vault", name.Number, "err", err)
			return nil
		case err != nil:
			return fmt.Errorf("compare the catalog with the vault: %w", err)
		}
		return e.maintainOne(ctx, name)
	})
	e.tellRebuilt(ctx, j.Tenant, r)
	if err == nil {
		err = e.follow(ctx, j)
	}
	if isDamage(err) {
		e.Log.ErrorContext(ctx, "the vault is damaged, so that the tenant's record is not kept in it", "tenant", j.Tenant, "err", err)
		err = nil
	}
	if err != nil {
		return jobs.Result{}, fmt.Errorf("maintain the vault: %w", err)
	}
	return jobs.Again(e.next(e.Upkeep, "maintain "+j.Key)), nil
}

// maintainOne keeps a vault in order.
func (e *Engine) maintainOne(ctx context.Context, name backup.VaultName) error {
	v, err := e.Vaults(ctx, name)
	if err != nil {
		return err
	}
	unread, err := v.Maintain(ctx, func(ctx context.Context) (map[vault.DriveKey]string, error) {
		drives, err := e.Catalog.Roots(ctx, name)
		roots := make(map[vault.DriveKey]string, len(drives))
		for d, root := range drives {
			roots[vault.DriveKey{Tenant: name.Tenant, Drive: d}] = root
		}
		return roots, err
	})
	for _, key := range unread[:min(len(unread), maxLogged)] {
		e.Log.ErrorContext(ctx, "what the vault holds of a drive cannot be read; the drive begins anew at its next backup", "tenant", name.Tenant, "drive", key.Drive)
	}
	if n := len(unread) - maxLogged; n > 0 {
		e.Log.ErrorContext(ctx, "what the vault holds of more drives cannot be read", "tenant", name.Tenant, "drives", n)
	}
	if errors.Is(err, vault.ErrDamaged) || errors.Is(err, vault.ErrNotFound) {
		// To try again at once would find the same. The next round is as soon as
		// anything can have been mended.
		e.Log.ErrorContext(ctx, "the vault is damaged, so nothing in it is collected", "tenant", name.Tenant, "vault", name.Number, "err", err)
		return nil
	}
	return err
}

// follow keeps in a tenant's first vault what only the catalog knows, and looks whether the
// tenant's last has grown large.
func (e *Engine) follow(ctx context.Context, j *jobs.Job) error {
	first, err := e.Vaults(ctx, backup.FirstVault(j.Tenant))
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	if err := e.saveRecord(ctx, j.Tenant, first); err != nil {
		return err
	}
	return e.grow(ctx, j)
}

// placed counts the drives that have come into a tenant's vaults. Thousands come in an
// hour at first, so that the last vault is looked at after each twentieth of what may go
// into one. The point that has just been made is not in doubt: where the look fails, the
// hourly maintenance repeats it.
func (e *Engine) placed(ctx context.Context, j *jobs.Job) {
	e.mu.Lock()
	e.came[j.Tenant]++
	look := e.came[j.Tenant] >= max(e.VaultDrives/20, 1)
	if look {
		delete(e.came, j.Tenant)
	}
	e.mu.Unlock()
	if !look {
		return
	}
	if err := e.grow(ctx, j); err != nil && ctx.Err() == nil {
		e.Log.WarnContext(ctx, "whether the vault has grown too large could not be found out; that is tried again within the hour", "tenant", j.Tenant, "err", err)
	}
}

// grow has a tenant have another vault once its last has grown large: what it takes of
// memory and what a new drive in it costs grow with it.
func (e *Engine) grow(ctx context.Context, j *jobs.Job) error {
	all, err := e.Catalog.Vaults(ctx, j.Tenant)
	if err != nil {
		return err
	}
	last := all[len(all)-1]
	v, err := e.Vaults(ctx, last)
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	size, err := v.IndexSize(ctx)
	if err != nil {
		return err
	}
	drives, err := e.Catalog.DrivesIn(ctx, last)
	if err != nil || size < e.VaultIndex && drives < e.VaultDrives {
		return err
	}
	next, err := e.Catalog.AddVault(ctx, j, last)
	if err != nil {
		return err
	}
	if _, err := e.Vaults(ctx, next); err != nil {
		return fmt.Errorf("make another vault: %w", err)
	}
	e.Log.InfoContext(ctx, "the vault has grown large; new drives of the tenant go into another", "tenant", next.Tenant, "vault", next.Number, "drives", drives, "index_bytes", size)
	first, err := e.Vaults(ctx, backup.FirstVault(j.Tenant))
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	return e.saveRecord(ctx, j.Tenant, first) // which names it
}
