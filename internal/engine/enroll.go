package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// directoryBatch is how many changes of a directory are written at a time.
const directoryBatch = 5000

// bulkAdd is the job of a bulk addition job: it resolves the job's entries
// against the tenant's directory and brings the owners into the policy. While
// the source cannot be asked it waits: no entry fails because the source was
// busy.
func (e *Engine) bulkAdd(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	job, err := e.Catalog.BulkJobForWork(ctx, j.Tenant, backup.BulkJobID(j.Key))
	if errors.Is(err, backup.ItemNotFound) || err == nil && job.Status != backup.BulkJobActive {
		return jobs.Done, nil // it went with its policy, or was finished before
	}
	if err != nil {
		return jobs.Result{}, err
	}
	if err := e.refreshSubjects(ctx, j.Tenant, job.Workload); err != nil {
		return jobs.Result{}, fmt.Errorf("refresh the directory: %w", err)
	}
	missing, err := e.Catalog.UnresolvedBulk(ctx, job)
	if err != nil {
		return jobs.Result{}, err
	}
	if job.Workload != backup.SharePoint { // all sites were listed anew
		if err := e.lookUp(ctx, j.Tenant, missing); err != nil {
			return jobs.Result{}, fmt.Errorf("look up owners: %w", err)
		}
	}
	if err := e.Catalog.EnrollBulk(ctx, j, job); err != nil {
		return jobs.Result{}, err
	}
	e.Log.Info("bulk addition finished", "tenant", j.Tenant, "job", job.ID, "policy", job.Policy,
		"entries", len(job.Addresses)+len(job.IDs))
	return jobs.Done, nil
}

// refreshSubjects brings the catalog's mirror of what units of a workload may be of
// up to date.
func (e *Engine) refreshSubjects(ctx context.Context, tenant backup.TenantID, workload backup.Workload) error {
	if workload == backup.SharePoint {
		return e.refreshSites(ctx, tenant)
	}
	return e.refreshDirectory(ctx, tenant)
}

// refreshSites lists a tenant's sites into the mirror. The list is whole each time:
// the source's delta does not tell which sites are gone. Of a collection's sites the
// uppermost is kept.
func (e *Engine) refreshSites(ctx context.Context, tenant backup.TenantID) error {
	defer e.lock("sites " + string(tenant))()
	source, err := e.Sources(tenant)
	if err != nil {
		return err
	}
	began := e.Clock()
	top := map[backup.SubjectID]backup.Subject{}
	for site, err := range source.Sites(ctx) {
		if err != nil {
			return err
		}
		if known, ok := top[site.ID]; !ok || len(site.Address) < len(known.Address) {
			top[site.ID] = site
		}
	}
	return e.Catalog.ApplyDirectory(ctx, tenant, catalog.DirectoryChange{Users: slices.Collect(maps.Values(top)), Sites: true, Since: began})
}

// refreshDirectory brings the catalog's mirror of a tenant's directory up to
// date.
func (e *Engine) refreshDirectory(ctx context.Context, tenant backup.TenantID) error {
	defer e.lock("directory " + string(tenant))()
	source, err := e.Sources(tenant)
	if err != nil {
		return err
	}
	cursor, _, err := e.Catalog.DirectoryCursor(ctx, tenant)
	if err != nil {
		return err
	}
	err = e.readDirectory(ctx, tenant, source, cursor)
	if errors.Is(err, drive.ErrResync) && cursor != "" {
		err = e.readDirectory(ctx, tenant, source, "")
	}
	return err
}

func (e *Engine) readDirectory(ctx context.Context, tenant backup.TenantID, source *drive.Client, cursor string) error {
	began := e.Clock()
	changes := source.Users(ctx, cursor)
	var batch catalog.DirectoryChange
	write := func() error {
		err := e.Catalog.ApplyDirectory(ctx, tenant, batch)
		batch = catalog.DirectoryChange{}
		return err
	}
	for change, err := range changes.All() {
		switch {
		case err != nil:
			return err
		case change.Removed:
			batch.Removed = append(batch.Removed, change.User.ID)
		default:
			batch.Users = append(batch.Users, change.User)
		}
		if len(batch.Users)+len(batch.Removed) == directoryBatch {
			if err := write(); err != nil {
				return err
			}
		}
	}
	batch.Cursor = changes.Cursor()
	if cursor == "" {
		batch.Since = began
	}
	return write()
}

// lookUpSites asks the source for sites by their collections, and adds them to the
// mirror.
func (e *Engine) lookUpSites(ctx context.Context, tenant backup.TenantID, collections []string) error {
	source, err := e.Sources(tenant)
	if err != nil {
		return err
	}
	change := catalog.DirectoryChange{Sites: true}
	for _, id := range collections {
		site, err := source.Site(ctx, id)
		if errors.Is(err, drive.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if string(site.Collection) == id {
			change.Users = append(change.Users, backup.Subject{ID: site.Collection, SourceID: site.ID, Address: site.WebURL, DisplayName: site.Name})
		}
	}
	return e.Catalog.ApplyDirectory(ctx, tenant, change)
}

// lookUp asks the source for owners that the mirror does not know, by address
// or id, and adds those it finds to the mirror.
func (e *Engine) lookUp(ctx context.Context, tenant backup.TenantID, entries []string) error {
	if len(entries) == 0 {
		return nil
	}
	source, err := e.Sources(tenant)
	if err != nil {
		return err
	}
	found, err := source.FindUsers(ctx, entries)
	if err != nil {
		return err
	}
	var change catalog.DirectoryChange
	for _, user := range found {
		change.Users = append(change.Users, user)
	}
	if len(change.Users) == 0 {
		return nil
	}
	return e.Catalog.ApplyDirectory(ctx, tenant, change)
}
