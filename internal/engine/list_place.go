package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// lists are the lists of the point.
func (to reachedSite) lists() (all []vault.Part) {
	for _, p := range to.parts {
		if p.Kind == backup.SiteList {
			all = append(all, p)
		}
	}
	return all
}

// siteOf is the site that a list is in.
func (to reachedSite) siteOf(part vault.Part) string {
	if part.Site == "" {
		return to.site.ID
	}
	return part.Site
}

// liveList returns the list that a part of a point was taken of. Where it is gone, it
// is made again, if that is wanted; one of its name that is empty, or has its columns,
// is taken for what an earlier restore has made.
func (e *Engine) liveList(ctx context.Context, j *jobs.Job, to reachedSite, part vault.Part, remake bool) (drive.ListRef, *backup.Problem, error) {
	site, name := to.siteOf(part), path.Base(part.Name)
	ref := drive.ListRef{Site: site, ID: string(part.Drive)}
	live, err := to.source.List(ctx, ref)
	if err == nil {
		s := &siteRun{e: e, job: &jobs.Job{Tenant: j.Tenant}, unit: to.unit}
		return ref, nil, s.isOurs(ctx, library{Drive: driveOf(live), kind: part.Kind})
	}
	if !errors.Is(err, drive.ErrNotFound) {
		return ref, nil, err
	}
	if _, err := to.source.Site(ctx, site); errors.Is(err, drive.ErrNotFound) {
		return ref, &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "The site below that the list was in is gone. Restore the point to a new place."}, nil
	} else if err != nil {
		return ref, nil, err
	}
	there, ok, err := to.source.FindList(ctx, site, name)
	switch {
	case err != nil:
		return ref, nil, err
	case ok && strings.EqualFold(there.ID, ref.ID):
		return ref, nil, fmt.Errorf("%w: it denies the list %q, and lists it", drive.ErrUnavailable, name)
	}
	kept, err := keptSchema(ctx, to.vault, part)
	if err != nil {
		return ref, nil, err
	}
	if !ok {
		if !remake {
			return ref, &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "The list is gone."}, nil
		}
		if there, ok, err = makeList(ctx, to.source, site, name, kept); err != nil {
			return ref, nil, err
		}
	}
	if ok {
		ok, err = isLike(ctx, to.source, there.ListRef, kept)
	}
	if err == nil && !ok {
		return ref, &backup.Problem{Code: backup.ArtifactCannotBeRestored,
			Message: "The list that the restore point was taken of is gone, and another has its name. Restore the point to a new place, or give that one another name."}, nil
	}
	return there.ListRef, nil, err
}

// isLike reports whether a list may be one that was made of a schema.
func isLike(ctx context.Context, source *drive.Client, ref drive.ListRef, kept drive.ListSchema) (bool, error) {
	if empty, err := isEmptyList(ctx, source, ref); empty || err != nil {
		return empty, err
	}
	now, err := source.Schema(ctx, ref)
	if err != nil {
		return false, err
	}
	for i := range kept.Columns {
		c := &kept.Columns[i]
		if is := columnNamed(&now, c.Name); holdsValues(c) && writableKinds[c.Kind] && (is == nil || is.Kind != c.Kind || is.Multiple != c.Multiple) {
			return false, nil
		}
	}
	return true, nil
}

func isEmptyList(ctx context.Context, source *drive.Client, ref drive.ListRef) (bool, error) {
	for it, err := range source.ListDelta(ctx, ref, "", false).All() {
		if err != nil || !it.Deleted {
			return false, err
		}
	}
	return true, nil
}

// makeList makes a list, without its columns, of a name that there was none of, and
// reports whether it did: not if the name is taken. What is there by that name after
// an answer that says otherwise, and is empty, is what it has made.
func makeList(ctx context.Context, source *drive.Client, site, name string, kept drive.ListSchema) (drive.List, bool, error) {
	wanted := drive.NewList{Name: name, Description: kept.Description, Template: kept.Template, Types: len(kept.ContentTypes) > 1}
	made, unclear, err := source.CreateList(ctx, site, wanted)
	if e, ok := errors.AsType[*drive.Error](err); ok && !unclear && e.Status == http.StatusBadRequest && wanted.Template != "genericList" {
		wanted.Template = "genericList" // not all that there are can be made
		made, unclear, err = source.CreateList(ctx, site, wanted)
	}
	switch {
	case err == nil:
		return made, true, nil
	case stopped(ctx, err), !unclear && !errors.Is(err, drive.ErrExists):
		return made, false, err
	}
	there, ok, lookErr := source.FindList(ctx, site, name)
	switch {
	case lookErr != nil:
		return made, false, lookErr
	case !ok && unclear:
		return made, false, err
	case !ok:
		return made, false, nil // by something that is not listed
	}
	ok, lookErr = isEmptyList(ctx, source, there.ListRef)
	return there, ok, lookErr
}

// placeOfList says where the new place of a list is made, and its name: beside the
// live one, and in the site itself where that list's site is gone.
func placeOfList(ctx context.Context, to reachedSite, part vault.Part, suffix string) (site, name string, err error) {
	site = to.siteOf(part)
	if strings.EqualFold(site, to.site.ID) {
		return site, path.Base(part.Name) + suffix, nil
	}
	_, err = to.source.Site(ctx, site)
	switch {
	case err == nil:
		return site, path.Base(part.Name) + suffix, nil
	case errors.Is(err, drive.ErrNotFound):
		return to.site.ID, strings.ReplaceAll(part.Name, "/", " ") + suffix, nil
	}
	return "", "", err
}

// listsFree reports whether no list of a point has its new place taken.
func listsFree(ctx context.Context, to reachedSite, suffix string) (bool, error) {
	for _, part := range to.lists() {
		site, name, err := placeOfList(ctx, to, part, suffix)
		if err != nil {
			return false, err
		}
		if _, taken, err := to.source.FindList(ctx, site, name); err != nil || taken {
			return false, err
		}
	}
	return true, nil
}

// placesOfLists is placesOf for the lists of a point.
func placesOfLists(ctx context.Context, to reachedSite, suffix string, noted bool) (map[backup.DriveID]drive.ListRef, bool, error) {
	places, used := map[backup.DriveID]drive.ListRef{}, map[string]bool{}
	for _, part := range to.lists() {
		site, name, err := placeOfList(ctx, to, part, suffix)
		if err != nil {
			return nil, false, err
		}
		there, ok, err := to.source.FindList(ctx, site, name)
		switch {
		case err != nil:
		case !ok:
			var kept drive.ListSchema
			if kept, err = keptSchema(ctx, to.vault, part); isDamage(err) {
				continue // it is named when its turn comes
			}
			if err == nil {
				there, ok, err = makeList(ctx, to.source, site, name, kept)
			}
		case !noted:
			ok, err = isEmptyList(ctx, to.source, there.ListRef)
		}
		if err != nil || !ok {
			return nil, false, err
		}
		if used[there.ID] || strings.EqualFold(there.ID, string(part.Drive)) {
			return nil, false, &wrongLibrary{name}
		}
		used[there.ID] = true
		places[part.Drive] = there.ListRef
	}
	return places, true, nil
}

// restoreBelowList is restoreBelow for what is in a list of a site: what is chosen goes
// into a new list beside the live one, which all that the session restores of it shares.
func (e *Engine) restoreBelowList(ctx context.Context, j *jobs.Job, a backup.GranularArtifact, to reachedSite, part vault.Part) (catalog.RestoredItem, *backup.Problem, error) {
	list := string(part.Drive)
	if a.Item == schemaID(list) || a.Item == tableID(list) {
		return catalog.RestoredItem{}, nil, backup.Fail(backup.ArtifactCannotBeRestored, "It only tells of the list and cannot be restored. Choose items of the list.")
	}
	defer e.lock("list " + list)()
	into, err := e.restoreList(ctx, j, a.Session, to, part)
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	s := e.listRestores(j, to, a.Started, a.ID)
	defer s.close()
	l, err := s.add(ctx, part, into.ListRef)
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	l.only = a.Item
	if err := s.run(ctx); err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	if err := errors.Join(l.err, l.noteDamage(ctx, a.Point)); err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	restored := catalog.RestoredItem{Path: "/" + path.Join(path.Dir(part.Name), into.Name), WebURL: into.WebURL, Key: backup.KeyOf(j.Tenant, a.Point.Drive, backup.ItemID(into.ID))}
	if n := l.number(a.Item); n > 0 {
		m, ok, err := l.liveNumber(ctx, n)
		if err != nil || !ok {
			return catalog.RestoredItem{}, l.problem(), err
		}
		restored.Key = backup.KeyOf(j.Tenant, a.Point.Drive, itemIDOf(into.ID, m))
		restored.Path = path.Join(restored.Path, pathOf(m))
	}
	return restored, l.problem(), nil
}

// restoreList returns the list beside a live one that a session restores into. It makes
// it when it is not there, under a name that was noted before.
func (e *Engine) restoreList(ctx context.Context, j *jobs.Job, session backup.SessionID, to reachedSite, part vault.Part) (drive.List, error) {
	site, _, err := placeOfList(ctx, to, part, "")
	if err != nil {
		return drive.List{}, err
	}
	name, err := e.Catalog.ReserveFolder(ctx, j, session, part.Drive, "")
	if err != nil {
		return drive.List{}, err
	}
	for n := 0; name == "" && n < maxLibraries; n++ {
		wanted := fmt.Sprintf("%s Restored %s R%d", path.Base(part.Name), e.Clock().UTC().Format(time.DateOnly), n)
		if _, taken, err := to.source.FindList(ctx, site, wanted); err != nil {
			return drive.List{}, err
		} else if taken {
			continue
		}
		if name, err = e.Catalog.ReserveFolder(ctx, j, session, part.Drive, wanted); err != nil {
			return drive.List{}, err
		}
	}
	if name == "" {
		return drive.List{}, backup.Fail(backup.ArtifactCannotBeRestored, fmt.Sprintf(
			"There are already %d lists of today's restores in the site. Delete those that are no longer needed and restore again.", maxLibraries))
	}
	there, ok, err := to.source.FindList(ctx, site, name)
	if err != nil || ok {
		return there, err
	}
	kept, err := keptSchema(ctx, to.vault, part)
	if err != nil {
		return drive.List{}, err
	}
	if there, ok, err = makeList(ctx, to.source, site, name, kept); err == nil && !ok {
		err = backup.Fail(backup.ArtifactCannotBeRestored, "Something else has the name of the list that is restored into. Restore again in another session.")
	}
	return there, err
}
