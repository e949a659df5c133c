package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

const (
	// maxPasses is how often a restore changes the drive before it reports
	// what still differs. A second pass is for what was in use, or changed, in
	// the first.
	maxPasses = 3
	// maxRestoreFailures is how often a restore is tried again when the source
	// or the vault cannot be used. With the pauses between, about two hours.
	maxRestoreFailures = 30
	// maxLibraries is how many places beside a drive there may be.
	maxLibraries = 1000
	// busyPause is how long a restore waits for another that works on the drive
	// before it looks again.
	busyPause = 15 * time.Second
)

// restore is the job of one artifact. It may be killed at any moment: it then
// looks at the drive anew, and does what is left to do.
func (e *Engine) restore(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	a, err := e.Catalog.ArtifactForWork(ctx, j.Tenant, backup.ArtifactID(j.Key))
	if errors.Is(err, backup.ItemNotFound) || err == nil && a.Status.Final() {
		return jobs.Done, nil
	}
	if err != nil {
		return jobs.Result{}, err
	}
	began := e.Clock()
	restored, problem, err := e.restoreArtifact(ctx, j, a)
	if errors.Is(err, catalog.ErrBusy) {
		return jobs.Again(e.Clock().Add(busyPause)), nil
	}
	if err != nil {
		if stopped(ctx, err) {
			return jobs.Result{}, err
		}
		why, lasting := explain(err)
		if !lasting && j.Failures < maxRestoreFailures {
			return jobs.Result{}, err
		}
		why = artifactProblem(why)
		problem = &why
		e.Log.Warn("restore failed", "tenant", j.Tenant, "artifact", a.ID, "code", why.Code, "err", err)
	}
	if err := e.Catalog.FinishArtifact(ctx, j, a.ID, restored, problem); err != nil {
		return jobs.Result{}, err
	}
	took := e.Clock().Sub(began).Round(time.Millisecond)
	switch {
	case problem == nil:
		e.Log.Info("drive restored", "tenant", j.Tenant, "artifact", a.ID, "destination", a.Destination,
			"point", a.Point.At, "place", restored.SiteName, "took", took)
	case err == nil:
		e.Log.Warn("drive restored in part", "tenant", j.Tenant, "artifact", a.ID, "destination", a.Destination,
			"problem", problem.Message, "took", took)
	}
	return jobs.Done, nil
}

// A reached is what a restore works with: the unit, its source, the tenant's
// vault, and the drive that the unit's owner has now.
type reached struct {
	unit   backup.Unit
	source *drive.Client
	vault  *vault.Vault
	live   drive.Drive
}

func (e *Engine) reach(ctx context.Context, tenant backup.TenantID, id backup.UnitID) (to reached, err error) {
	if to.unit, err = e.Catalog.Unit(ctx, tenant, id); err != nil {
		return to, err
	}
	if to.source, err = e.Sources(tenant); err != nil {
		return to, fmt.Errorf("reach the source: %w", err)
	}
	if to.vault, err = e.Vaults(ctx, tenant); err != nil {
		return to, fmt.Errorf("%w: open: %w", vault.ErrStorage, err)
	}
	to.live, err = findDrive(ctx, to.source, to.unit)
	return to, err
}

func (e *Engine) restoreArtifact(ctx context.Context, j *jobs.Job, a backup.Artifact) (catalog.Restored, *backup.Problem, error) {
	if err := e.Catalog.StartArtifact(ctx, j, a.ID); err != nil {
		return catalog.Restored{}, nil, err
	}
	to, err := e.reach(ctx, j.Tenant, a.Point.Unit)
	if err != nil {
		return catalog.Restored{}, nil, err
	}
	unit, source, v, live := to.unit, to.source, to.vault, to.live
	r := &restoration{e: e, job: j, unit: unit, point: a.Point, source: source, vault: v, drive: live, seeds: map[backup.ItemID]vault.Entry{}}
	if a.Destination == backup.DestinationInPlace {
		if live.ID != a.Point.Drive {
			return catalog.Restored{}, &backup.Problem{Code: backup.ArtifactCannotBeRestored,
				Message: "The drive that the restore point was taken of is gone; its owner has another one now. Restore the point to a new place."}, nil
		}
		r.survey, r.exact = r.surveyLive, true
	} else {
		if r.drive, err = e.library(ctx, j, a, source, live); err != nil {
			return catalog.Restored{}, nil, err
		}
		r.survey = r.surveyLibrary
	}
	e.Log.Info("restore begins", "tenant", j.Tenant, "owner", who(unit), "artifact", a.ID,
		"destination", a.Destination, "point", a.Point.At, "place", r.drive.Name)
	problem, err := r.run(ctx)
	return catalog.Restored{SiteID: r.drive.SiteID, SiteName: r.drive.Name, SiteWebURL: r.drive.WebURL}, problem, err
}

// library returns the new place that an artifact is restored to, a document
// library beside the live drive. Its name is noted before it is made, so that
// a restore that is killed goes on in the same one.
func (e *Engine) library(ctx context.Context, j *jobs.Job, a backup.Artifact, source *drive.Client, live drive.Drive) (drive.Drive, error) {
	defer e.lock("libraries " + string(live.ID))()
	if name := a.RestoredSiteName; name != "" {
		made, ok, err := source.FindLibrary(ctx, live.ID, name)
		if err != nil || ok {
			return made, err
		}
		made, err = source.CreateLibrary(ctx, live.ID, name)
		if !errors.Is(err, drive.ErrExists) {
			return made, err
		}
	}
	original := lastSegment(live)
	for n := range maxLibraries {
		name := fmt.Sprintf("%sR%d", original, n)
		if _, taken, err := source.FindLibrary(ctx, live.ID, name); err != nil {
			return drive.Drive{}, err
		} else if taken {
			continue
		}
		if err := e.Catalog.NoteArtifact(ctx, j, a.ID, catalog.Restored{SiteName: name}); err != nil {
			return drive.Drive{}, err
		}
		made, err := source.CreateLibrary(ctx, live.ID, name)
		if errors.Is(err, drive.ErrExists) {
			continue
		}
		return made, err
	}
	return drive.Drive{}, backup.Fail(backup.ArtifactCannotBeRestored, fmt.Sprintf(
		"There are already %d restored places beside the drive. Delete those that are no longer needed and restore again.", maxLibraries))
}

// lastSegment is the name by which a drive's address ends, such as "Documents".
// A library so named, with a suffix, has the drive's address with that suffix.
func lastSegment(d drive.Drive) string {
	u, err := url.Parse(d.WebURL)
	if err != nil {
		return d.Name
	}
	if name := path.Base(strings.TrimRight(u.Path, "/")); name != "." && name != "/" {
		return name
	}
	return d.Name
}

// A restoration brings one point back to one place.
type restoration struct {
	e      *Engine
	job    *jobs.Job
	unit   backup.Unit
	point  backup.Point
	source *drive.Client
	vault  *vault.Vault
	drive  drive.Drive // where to

	// survey finds out how the place differs from the point.
	survey func(context.Context) (*plan, error)
	exact  bool // what is not in the point goes
	// seeds are the contents that were uploaded, by the ids they have now: the
	// backup that follows need not download them.
	seeds map[backup.ItemID]vault.Entry
}

// run changes the place until it is as the point says, or returns what could
// not be done.
func (r *restoration) run(ctx context.Context) (*backup.Problem, error) {
	var failures map[string]error
	for pass := 1; ; pass++ {
		plan, err := r.survey(ctx)
		if err != nil {
			return nil, err
		}
		left := plan.differences(r.exact)
		if len(left) == 0 {
			return nil, nil
		}
		if pass > maxPasses {
			return notRestored(left, failures), nil
		}
		change := &change{restoration: r, plan: plan, failures: map[string]error{}, touched: map[backup.ItemID]bool{}, total: len(left)}
		if err := change.apply(ctx); err != nil {
			return nil, err
		}
		failures = change.failures
	}
}

// surveyLive backs the live drive up, so that the restore can be undone, and
// compares what it is now with the point.
func (r *restoration) surveyLive(ctx context.Context) (*plan, error) {
	var now protected
	err := retryMoved(func() error {
		defer r.e.lock("unit " + string(r.unit.ID))()
		unit, state, err := r.e.Catalog.UnitForRestore(ctx, r.job.Tenant, r.unit.ID)
		if err != nil {
			return err
		}
		now, err = r.e.protect(ctx, r.job, unit, state, r.seeds)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("back up the live drive: %w", err)
	}
	p := newPlan()
	for change, err := range r.vault.Diff(ctx, now.Point.Tree, r.point.Tree) {
		if err != nil {
			return nil, fmt.Errorf("compare with the point: %w", err)
		}
		if change.From != nil {
			p.addLive(*change.From)
		}
		if change.To != nil {
			p.addWant(*change.To)
		}
	}
	// What could not be backed up is in the vault with an older content, or not
	// at all: ask what it is now.
	for _, pending := range now.Pending {
		item, err := r.source.Item(ctx, r.drive.ID, pending.Item)
		if err != nil && !errors.Is(err, drive.ErrNotFound) {
			return nil, fmt.Errorf("read item %s: %w", pending.Item, err)
		}
		delete(p.lives, pending.Item)
		if err == nil {
			p.addLive(vault.Node{Entry: entryOf(item, backup.File), Path: pending.Path})
		}
		if p.byID[pending.Item] != nil {
			continue
		}
		wanted, ok, err := r.vault.Stat(ctx, r.point.Tree, pending.Item)
		if err != nil {
			return nil, err
		}
		if ok {
			path, _, err := r.vault.Path(ctx, r.point.Tree, pending.Item)
			if err != nil {
				return nil, err
			}
			p.addWant(vault.Node{Entry: wanted, Path: path})
		}
	}
	p.match()
	return p, nil
}

// surveyLibrary lists the new place and compares it with the point.
func (r *restoration) surveyLibrary(ctx context.Context) (*plan, error) {
	listed := &stage{source: r.source, drive: r.drive.ID}
	if err := listed.read(ctx, ""); err != nil {
		return nil, err
	}
	p := newPlan()
	var root vault.Entry
	for _, item := range listed.items {
		switch {
		case item.Deleted:
		case item.Root:
			root = entryOf(item, backup.Folder)
		case item.Kind == backup.Folder:
			p.addLive(vault.Node{Entry: entryOf(item, backup.Folder), Path: item.Name})
		default:
			p.addLive(vault.Node{Entry: entryOf(item, backup.File), Path: item.Name})
		}
	}
	if root.ID == "" {
		item, err := r.source.Root(ctx, r.drive.ID)
		if err != nil {
			return nil, fmt.Errorf("read the root: %w", err)
		}
		root = entryOf(item, backup.Folder)
	}
	for node, err := range r.vault.Walk(ctx, r.point.Tree) {
		if err != nil {
			return nil, fmt.Errorf("list the point: %w", err)
		}
		if node.Parent == "" {
			p.addRoot(node, root)
			continue
		}
		p.addWant(node)
	}
	p.match()
	return p, nil
}

// notRestored is the error of an artifact of which files are not as they were.
func notRestored(left []difference, failures map[string]error) *backup.Problem {
	p := &backup.Problem{Code: backup.ArtifactCannotBeRestored}
	p.Message = fmt.Sprintf("%s could not be restored; all else is as it was at the restore point. "+
		"See the details, and restore again once the cause is gone: only what differs is transferred.", count(len(left), "item"))
	for _, d := range left[:min(len(left), maxDetails)] {
		p.Details = append(p.Details, backup.Detail{Code: backup.ArtifactCannotBeRestored, Message: d.explain(failures[d.path]), Target: d.path})
	}
	return p
}
