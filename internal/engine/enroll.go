package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	err = e.refreshSubjects(ctx, j.Tenant, job.Workload)
	selected := job.Workload == backup.SharePoint && errors.Is(err, drive.ErrDenied) // it has single sites only
	if err != nil && !selected {
		return jobs.Result{}, fmt.Errorf("refresh the directory: %w", err)
	}
	missing, err := e.Catalog.UnresolvedBulk(ctx, job)
	if err != nil {
		return jobs.Result{}, err
	}
	var refused map[string]string
	switch {
	case job.Workload != backup.SharePoint:
		_, err = e.lookUp(ctx, j.Tenant, missing)
	case selected || len(missing) <= maxSiteLooks: // the list may have holes
		_, refused, err = e.findSites(ctx, j.Tenant, missing)
	default:
		err = nil // all sites were listed
	}
	if err != nil {
		return jobs.Result{}, fmt.Errorf("look up owners: %w", err)
	}
	if err := e.Catalog.EnrollBulk(ctx, j, job, refused); err != nil {
		return jobs.Result{}, err
	}
	e.Log.InfoContext(ctx, "bulk addition finished", "tenant", j.Tenant, "job", job.ID, "policy", job.Policy,
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

// mirrorEvery is how old what is known of a tenant's users and sites becomes, where
// nothing else asks for them: enough to say who is not protected.
const mirrorEvery = 24 * time.Hour

// mirror looks at a tenant's users and sites. What the source refuses is left as it
// was known, until the next time.
func (e *Engine) mirror(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	for _, workload := range []backup.Workload{backup.OneDrive, backup.SharePoint} {
		err := e.refreshSubjects(ctx, j.Tenant, workload)
		if errors.Is(err, drive.ErrDenied) {
			e.Log.InfoContext(ctx, "the source does not list what there is, so no report can say what of it is not protected", "tenant", j.Tenant, "workload", workload, "err", err)
		} else if err != nil {
			return jobs.Result{}, err
		}
	}
	return jobs.Again(e.Clock().Add(mirrorEvery)), nil
}

// sitesWhole is how often a tenant's sites are listed as a whole: the source's delta
// does not tell which are gone.
const sitesWhole = 24 * time.Hour

// refreshSites brings the mirror of a tenant's sites up to date: by what the source says
// that has changed and, once a day or where that does not do, by a list of all. Of a
// collection's sites the uppermost is kept.
func (e *Engine) refreshSites(ctx context.Context, tenant backup.TenantID) error {
	defer e.lock("sites " + string(tenant))()
	source, err := e.Sources(tenant)
	if err != nil {
		return err
	}
	cursor, listed, err := e.Catalog.SitesCursor(ctx, tenant)
	if err != nil {
		return err
	}
	began := e.Clock()
	if since := began.Sub(listed); cursor != "" && since >= 0 && since < sitesWhole {
		if err := e.readSiteChanges(ctx, tenant, source, cursor); !errors.Is(err, drive.ErrResync) {
			return err
		}
	}
	// The cursor is from before the list, so that no change falls between the two.
	changes := source.SiteChanges(ctx, "")
	for _, err := range changes.All() {
		if err != nil && (stopped(ctx, err) || !isSource(err)) {
			return err
		}
	}
	top := map[backup.SubjectID]backup.Subject{}
	for site, err := range source.Sites(ctx) {
		if err != nil {
			return err
		}
		if known, ok := top[site.ID]; !ok || len(site.Address) < len(known.Address) {
			top[site.ID] = site
		}
	}
	return e.Catalog.ApplyDirectory(ctx, tenant, catalog.DirectoryChange{Users: slices.Collect(maps.Values(top)), Sites: true, Since: began, Cursor: changes.Cursor()})
}

// readSiteChanges brings what the source says that has changed among a tenant's sites
// into the mirror.
func (e *Engine) readSiteChanges(ctx context.Context, tenant backup.TenantID, source *drive.Client, cursor string) error {
	changes := source.SiteChanges(ctx, cursor)
	now := map[string]drive.SiteChange{} // by what the source calls them
	for change, err := range changes.All() {
		if err != nil {
			return err
		}
		now[strings.ToLower(change.SourceID)] = change
	}
	top := map[backup.SubjectID]backup.Subject{}
	apply := catalog.DirectoryChange{Sites: true, Cursor: changes.Cursor()}
	for _, change := range now {
		best, ok := top[change.ID]
		if !ok {
			known, there, err := e.Catalog.DirectoryUser(ctx, tenant, change.ID)
			if err != nil {
				return err
			}
			if same, isNow := now[strings.ToLower(known.SourceID)]; there && !isNow {
				best = known // it is as it was
			} else if there && same.Removed {
				apply.Removed = append(apply.Removed, change.ID)
			}
		}
		if !change.Removed && (best.ID == "" || len(change.Address) < len(best.Address)) {
			best = change.Subject
		}
		top[change.ID] = best
	}
	for _, site := range top {
		if site.ID != "" {
			apply.Users = append(apply.Users, site)
		}
	}
	apply.Removed = slices.DeleteFunc(apply.Removed, func(id backup.SubjectID) bool { return top[id].ID != "" })
	return e.Catalog.ApplyDirectory(ctx, tenant, apply)
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

// maxSiteLooks is how many sites are asked for one by one although all were listed.
const maxSiteLooks = 200

// findSites asks the source for sites one by one, by their addresses, ids or
// collections, adds those that it finds to the mirror, and returns how many these are. Of
// those that it may not read it returns why.
func (e *Engine) findSites(ctx context.Context, tenant backup.TenantID, entries []string) (found int, refused map[string]string, err error) {
	source, err := e.Sources(tenant)
	if err != nil {
		return 0, nil, err
	}
	refused = map[string]string{}
	change := catalog.DirectoryChange{Sites: true}
	for _, entry := range entries {
		id, isID := backup.SharePoint.ParseSubject(entry)
		ask, as := source.Site, entry
		if isID && !strings.Contains(entry, ",") {
			as = string(id)
		} else if !isID {
			ask = source.SiteAt
		}
		site, err := ask(ctx, as)
		switch {
		case err == nil:
		case errors.Is(err, drive.ErrNotFound):
			continue
		case errors.Is(err, drive.ErrDenied):
			if !isID {
				as = "SITE, with its id"
			}
			refused[entry] = "The source refuses access to the site, if there is one. Where the application has Sites.Selected, grant it the site, and add it again: " + source.GrantCall(as) + "."
			continue
		case errors.Is(err, drive.ErrLocked):
			refused[entry] = "The site is locked or archived. Add it again when it is not."
			continue
		default:
			return 0, nil, err
		}
		if isID && site.Collection == id || !isID && site.Collection != "" && backup.FoldAddress(site.WebURL) == backup.FoldAddress(strings.TrimRight(entry, "/")) {
			change.Users = append(change.Users, backup.Subject{ID: site.Collection, SourceID: site.ID, Address: site.WebURL, DisplayName: site.Name})
		}
	}
	if len(change.Users) == 0 {
		return 0, refused, nil
	}
	return len(change.Users), refused, e.Catalog.ApplyDirectory(ctx, tenant, change)
}

// lookUp asks the source for owners that the mirror does not know, by address
// or id, adds those it finds to the mirror, and returns how many these are.
func (e *Engine) lookUp(ctx context.Context, tenant backup.TenantID, entries []string) (found int, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	source, err := e.Sources(tenant)
	if err != nil {
		return 0, err
	}
	users, err := source.FindUsers(ctx, entries)
	if err != nil {
		return 0, err
	}
	var change catalog.DirectoryChange
	for _, user := range users {
		change.Users = append(change.Users, user)
	}
	if len(change.Users) == 0 {
		return 0, nil
	}
	return len(change.Users), e.Catalog.ApplyDirectory(ctx, tenant, change)
}
