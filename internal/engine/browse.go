package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// Item returns an item of a point: it is how a backup.Browser looks into the
// vault.
func (e *Engine) Item(ctx context.Context, p backup.Point, ref backup.ItemRef) (backup.Item, error) {
	return looking(ctx, e, p, func(v *vault.Vault) (backup.Item, error) {
		parts, err := v.Parts(ctx, p.Tree)
		if err != nil {
			return backup.Item{}, err
		}
		if len(parts) > 0 {
			return findInSite(ctx, v, p, parts, ref)
		}
		l, ok, err := v.Find(ctx, p.Tree, ref)
		if err == nil && !ok {
			err = noItem()
		}
		return itemOf(l), err
	})
}

// Children yields what a folder of a point holds, from a place in it on.
func (e *Engine) Children(ctx context.Context, p backup.Point, folder backup.ItemID, from int64) iter.Seq2[backup.Item, error] {
	return listing(func(tell func(backup.Item) error) error {
		_, err := looking(ctx, e, p, func(v *vault.Vault) (struct{}, error) {
			parts, err := v.Parts(ctx, p.Tree)
			if err != nil {
				return struct{}{}, err
			}
			if len(parts) > 0 {
				return struct{}{}, listInSite(ctx, v, p, parts, folder, from, tell)
			}
			for l, err := range v.Browse(ctx, p.Tree, folder, from) {
				if err == nil {
					err = tell(itemOf(l))
				}
				if err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		})
		return err
	})
}

// Open opens a file of a point.
func (e *Engine) Open(ctx context.Context, p backup.Point, file backup.ItemID) (io.ReadSeekCloser, error) {
	return looking(ctx, e, p, func(v *vault.Vault) (io.ReadSeekCloser, error) {
		parts, err := v.Parts(ctx, p.Tree)
		if err != nil {
			return nil, err
		}
		tree := p.Tree
		if len(parts) > 0 {
			in, err := partHolding(ctx, v, parts, file)
			if err != nil {
				return nil, err
			}
			tree = in.Tree
		}
		entry, ok, err := v.Stat(ctx, tree, file)
		if err == nil && (!ok || entry.Kind != backup.File) {
			err = noItem()
		}
		if err != nil {
			return nil, err
		}
		return v.Open(ctx, entry.Content)
	})
}

// Unread returns what a point does not hold as it was.
func (e *Engine) Unread(ctx context.Context, p backup.Point) ([]backup.Unread, error) {
	return looking(ctx, e, p, func(v *vault.Vault) ([]backup.Unread, error) { return v.Unread(ctx, p.Tree) })
}

// looking looks into a point. Whatever is the matter with the vault, the error says
// what to check.
func looking[T any](ctx context.Context, e *Engine, p backup.Point, look func(*vault.Vault) (T, error)) (found T, err error) {
	name, err := e.Catalog.VaultOf(ctx, p.Tenant, p.Drive)
	if err != nil {
		return found, err
	}
	v, err := e.Vaults(ctx, name)
	if err == nil {
		found, err = look(v)
	}
	return found, lookingFailed(ctx, p, v != nil, err)
}

// lookingFailed is an error of looking into a point as it is told; open says that its vault
// could be opened.
func lookingFailed(ctx context.Context, p backup.Point, open bool, err error) error {
	_, told := errors.AsType[*backup.Error](err)
	switch {
	case err == nil, told, errors.Is(err, errHeard), ctx.Err() != nil:
		return err
	case open && errors.Is(err, vault.ErrNotFound):
		p.Lost = true // or offboarded since the session was made
		return fmt.Errorf("%w: %w", p.Restorable(), err)
	}
	why := vaultProblem(err, "try again then")
	return &backup.Error{Err: err, Problem: backup.Problem{
		Code: backup.ServiceUnavailable, Message: why.Message, Details: []backup.Detail{{Code: why.Code, Message: why.Message}},
	}}
}

func noItem() error {
	return backup.Fail(backup.ItemNotFound, "The restore point holds no such item.")
}

func itemOf(l vault.Listed) backup.Item {
	return backup.Item{ID: l.ID, Parent: l.Parent, Name: l.Name, Path: l.Path, Kind: l.Kind, Size: l.Bytes, Items: l.Items, Created: l.Created, Modified: l.Modified, At: l.At}
}

// bulkRestore is the job of a bulk restore request: it finds out whose drives
// it means, from which points, and has them restored.
func (e *Engine) bulkRestore(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	b, err := e.Catalog.BulkRestoreForWork(ctx, j.Tenant, backup.BulkRequestID(j.Key))
	if errors.Is(err, backup.BulkRestoreArtifactsNotFound) || err == nil && b.Status != backup.BulkRequestActive {
		return jobs.Done, nil
	}
	if err != nil {
		return jobs.Result{}, err
	}
	unknown, err := e.Catalog.UnresolvedBulkRestore(ctx, b)
	if err != nil {
		return jobs.Result{}, err
	}
	if len(unknown) > 0 {
		// Whoever was backed up is known; this is for addresses that changed. A
		// source that is away must not hold a restore up.
		if err := e.refreshDirectory(ctx, j.Tenant); err != nil {
			if stopped(ctx, err) && !paused(err) {
				return jobs.Result{}, err
			}
			e.Log.WarnContext(ctx, "the directory could not be read; a bulk restore goes on with what is known of it", "tenant", j.Tenant, "err", err)
		}
	}
	if err := e.Catalog.ResolveBulkRestore(ctx, j, b); err != nil {
		return jobs.Result{}, err
	}
	e.Log.InfoContext(ctx, "bulk restore resolved", "tenant", j.Tenant, "request", b.ID, "session", b.Session, "entries", len(b.Addresses)+len(b.IDs))
	return jobs.Done, nil
}

// restoreItem is the job of one file or folder of a session. Like restore it
// may be killed at any moment, and then does what is left to do.
func (e *Engine) restoreItem(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	a, err := e.Catalog.GranularForWork(ctx, j.Tenant, backup.ArtifactID(j.Key))
	if errors.Is(err, backup.ItemNotFound) || err == nil && a.Status.Final() {
		return jobs.Done, nil
	}
	if err != nil {
		return jobs.Result{}, err
	}
	wish, err := e.Catalog.Wish(ctx, j.Tenant, a.Session)
	switch {
	case err != nil:
		return jobs.Result{}, err
	case wish == backup.WishPause:
		return e.rests(j), nil
	case wish == backup.WishCancel:
		return e.cancelledItem(ctx, j, a)
	}
	err = e.Catalog.StartGranular(ctx, j, a.ID)
	if errors.Is(err, catalog.ErrBusy) {
		return jobs.Again(e.Clock().Add(busyPause)), nil
	}
	if err != nil {
		return jobs.Result{}, err
	}
	var restored catalog.RestoredItem
	problem := a.Problem // it could not be restored from the beginning
	if problem == nil {
		heeding, done := e.heed(ctx, j.Tenant, a.Session)
		restored, problem, err = e.restoreBelow(heeding, j, a)
		if asked := done(); asked && err != nil && !errors.Is(err, jobs.ErrLost) && ctx.Err() == nil {
			if restored != (catalog.RestoredItem{}) {
				if err := e.Catalog.NoteGranular(ctx, j, a.ID, restored); err != nil {
					return jobs.Result{}, err
				}
			}
			return jobs.Again(e.Clock()), nil
		}
	}
	if err != nil {
		if stopped(ctx, err) {
			return jobs.Result{}, err
		}
		of := e.workloadOf(ctx, j.Tenant, a.Point.Unit)
		why, over := restoreOver(of, j, err)
		if !over {
			if restored != (catalog.RestoredItem{}) {
				err = errors.Join(err, e.Catalog.NoteGranular(ctx, j, a.ID, restored))
			}
			return jobs.Result{}, err
		}
		why = artifactProblem(of, why)
		problem = &why
		if restored == (catalog.RestoredItem{}) { // what an earlier try had made is there
			restored = catalog.RestoredItem{Key: a.RestoredKey, Path: a.RestoredPath, WebURL: a.RestoredWebURL}
		}
	}
	if err := e.Catalog.FinishGranular(ctx, j, a.ID, restored, problem); err != nil {
		return jobs.Result{}, err
	}
	if backup.Ended(problem) == backup.ArtifactFailed {
		e.Log.WarnContext(ctx, "item not restored", "tenant", j.Tenant, "artifact", a.ID, "code", problem.Code, "problem", problem.Message, "err", err)
		return jobs.Done, nil
	}
	e.Log.InfoContext(ctx, "item restored", "tenant", j.Tenant, "artifact", a.ID, "point", a.Point.At, "place", restored.Path, "remarks", remarksIn(problem))
	return jobs.Done, nil
}

// restoreBelow brings an item of a point, and all below it, into the session's
// folder in the owner's drive. It says where that is as soon as anything of it is
// there, also when it fails.
func (e *Engine) restoreBelow(ctx context.Context, j *jobs.Job, a backup.GranularArtifact) (catalog.RestoredItem, *backup.Problem, error) {
	if unit, err := e.Catalog.Unit(ctx, j.Tenant, a.Point.Unit); err != nil {
		return catalog.RestoredItem{}, nil, err
	} else if unit.Workload == backup.SharePoint {
		return e.restoreBelowSite(ctx, j, a, unit)
	}
	to, err := e.reach(ctx, j.Tenant, a.Point)
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	return e.restoreInto(ctx, j, a, e.restoration(j, to, a.Point))
}

// restoreInto is restoreBelow once it is known into which drive.
func (e *Engine) restoreInto(ctx context.Context, j *jobs.Job, a backup.GranularArtifact, r *restoration) (catalog.RestoredItem, *backup.Problem, error) {
	defer r.deeds.close()
	live := r.drive
	folder, err := e.restoreFolder(ctx, j, a.Session, r.source, live)
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	var made backup.ItemID
	r.survey = func(ctx context.Context) (*plan, error) {
		p, err := r.surveyFolder(ctx, folder, a)
		if err == nil {
			made = p.liveID(a.Item)
		}
		return p, err
	}
	problem, err := r.run(ctx)
	if problem != nil && problem.Short != nil {
		problem.Short.Of = 0 // that is how much the whole point holds
	}
	if made = cmp.Or(made, r.deeds.live(a.Item)); made == "" {
		return catalog.RestoredItem{}, problem, err
	}
	at := path.Join(folder.Name, a.Name)
	return catalog.RestoredItem{Key: backup.KeyOf(j.Tenant, r.restoredIn(), made), Path: "/" + at, WebURL: backup.WebURL(live.WebURL, at)}, problem, err
}

// restoredIn is what the keys of items are made of that the restoration makes.
func (r *restoration) restoredIn() backup.DriveID {
	if r.part != "" {
		return r.point.Drive // a site's, whichever library it is in
	}
	return r.drive.ID
}

// restoredPrefix begins the names of the folders that sessions restore into.
const restoredPrefix = "Restored "

// restoreFolder returns the folder in a drive's root that a session restores
// into. It makes it when it is not there, under a name that was noted before.
func (e *Engine) restoreFolder(ctx context.Context, j *jobs.Job, session backup.SessionID, source target, live drive.Drive) (drive.Item, error) {
	defer e.lock("folders " + string(live.ID))()
	root, err := source.Root(ctx)
	if err != nil {
		return drive.Item{}, err
	}
	there := map[string]drive.Item{}
	for item, err := range source.Children(ctx, root.ID) {
		if err != nil {
			return drive.Item{}, err
		}
		if name := fold(item.Name); strings.HasPrefix(name, fold(restoredPrefix)) { // the root may hold a million others
			there[name] = item
		}
	}
	name, err := e.Catalog.ReserveFolder(ctx, j, session, live.ID, "")
	if err != nil {
		return drive.Item{}, err
	}
	for n := 0; name == "" && n < maxLibraries; n++ {
		wanted := fmt.Sprintf(restoredPrefix+"%s R%d", e.Clock().UTC().Format(time.DateOnly), n)
		if _, taken := there[fold(wanted)]; taken {
			continue
		}
		if name, err = e.Catalog.ReserveFolder(ctx, j, session, live.ID, wanted); err != nil {
			return drive.Item{}, err
		}
	}
	if name == "" {
		return drive.Item{}, backup.Fail(backup.ArtifactCannotBeRestored, fmt.Sprintf(
			"There are already %d folders of today's restores in the drive. Delete those that are no longer needed and restore again.", maxLibraries))
	}
	if item, ok := there[fold(name)]; ok {
		if item.Kind != backup.Folder {
			return drive.Item{}, backup.Fail(backup.ArtifactCannotBeRestored, "A file has taken the name of the folder that is restored into. Restore again in another session.")
		}
		return item, nil
	}
	now := e.Clock()
	item, err := source.CreateFolder(ctx, drive.NewItem{Parent: root.ID, Name: name, Times: drive.Times{Created: now, Modified: now}})
	if errors.Is(err, drive.ErrExists) { // made by another worker at the same moment
		for item, err := range source.Children(ctx, root.ID) {
			if err != nil || fold(item.Name) == fold(name) {
				return item, err
			}
		}
	}
	return item, err
}

// surveyFolder compares what an artifact shall bring back with what is already
// in the folder it goes into.
func (r *restoration) surveyFolder(ctx context.Context, into drive.Item, a backup.GranularArtifact) (*plan, error) {
	p := r.newPlan()
	p.elsewhere, p.pinned = true, a.Item
	var top string
	for node, err := range r.vault.WalkBelow(ctx, a.Point.Tree, a.Item) {
		if node.ID == a.Item {
			if node.Parent == "" {
				return nil, backup.Fail(backup.ArtifactCannotBeRestored, "The root folder of a drive is restored as a whole drive.")
			}
			top = node.Path
			p.addRoot(vault.Node{Entry: vault.Entry{ID: node.Parent, Kind: backup.Folder}}, entryOf(into, backup.Folder))
			node.Name = a.Name
		}
		if node.ID != "" {
			node.Path = a.Name + node.Path[len(top):]
		}
		if err := r.addWant(p, node, err); err != nil {
			return nil, fmt.Errorf("list the point: %w", err)
		}
	}
	if err := r.listBelow(ctx, p, into.ID, "", a.Name); err != nil {
		return nil, err
	}
	return p, r.match(ctx, p)
}

// listBelow adds what a live folder holds, and all below it, to a plan; only
// what has the name, if one is given.
func (r *restoration) listBelow(ctx context.Context, p *plan, folder backup.ItemID, above, only string) error {
	if depth(above) > maxDepth || len(p.lives)+p.files.lives.Len() > 1_000_000+2*(len(p.wants)+p.files.wants.Len()) {
		return fmt.Errorf("list the folder restored into: %w: there is no end of them", errTangled)
	}
	for item, err := range r.source.Children(ctx, folder) {
		if err != nil {
			return fmt.Errorf("list the folder restored into: %w", err)
		}
		if only != "" && fold(item.Name) != fold(only) || p.hasLive(item.ID) || item.Parent != "" && item.Parent != folder {
			continue // it came before, or is told in a folder that it is not in
		}
		kind := backup.File
		if item.Kind == backup.Folder {
			kind = backup.Folder
		}
		at := path.Join(above, item.Name)
		entry := entryOf(item, kind)
		entry.Parent = folder
		p.addLive(vault.Node{Entry: entry, Path: at})
		if kind == backup.Folder {
			if err := r.listBelow(ctx, p, item.ID, at, ""); err != nil {
				return err
			}
		}
	}
	return nil
}
