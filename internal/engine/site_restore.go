package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// A reachedSite is what the restore of a site's point works with.
type reachedSite struct {
	unit   backup.Unit
	source *drive.Client
	vault  *vault.Vault
	site   drive.Site
	parts  []vault.Part // of the point
	stale  func(library string) bool
}

func (e *Engine) reachSite(ctx context.Context, tenant backup.TenantID, unit backup.Unit, p backup.Point) (to reachedSite, err error) {
	to.unit = unit
	if to.source, err = e.Sources(tenant); err != nil {
		return to, fmt.Errorf("reach the source: %w", err)
	}
	if to.vault, err = e.vaultOf(ctx, tenant, p.Drive); err != nil {
		return to, err
	}
	if to.parts, err = to.vault.Parts(ctx, p.Tree); err != nil {
		return to, err
	}
	unread, err := to.vault.Unread(ctx, p.Tree)
	damaged := isDamage(err)
	if err != nil && !damaged {
		return to, err
	}
	to.stale = func(library string) bool {
		return damaged || slices.ContainsFunc(unread, func(u backup.Unread) bool { return u.Item == "" && u.Path == library })
	}
	to.site, err = findSite(ctx, to.source, unit)
	return to, err
}

// libraries are the libraries of the point.
func (to reachedSite) libraries() []vault.Part {
	return slices.DeleteFunc(slices.Clone(to.parts), func(p vault.Part) bool { return p.Kind != backup.Library })
}

// restoration returns one of a library of a site's point into a library.
func (to reachedSite) restoration(e *Engine, j *jobs.Job, p backup.Point, part vault.Part, into drive.Drive) *restoration {
	p.Tree, p.Files, p.Folders, p.Bytes = part.Tree, part.Files, part.Folders, part.Bytes
	r := e.restoration(j, reached{to.unit, to.source, to.vault, into}, p)
	r.part = part.Drive
	return r
}

// liveLibrary returns the library that a part of a point was taken of, as it is now.
// What the source answers with is not touched if it is another unit's.
func (e *Engine) liveLibrary(ctx context.Context, tenant backup.TenantID, to reachedSite, part vault.Part) (drive.Drive, error) {
	live, err := to.source.Drive(ctx, part.Drive)
	if err != nil {
		return live, err
	}
	s := &siteRun{e: e, job: &jobs.Job{Tenant: tenant}, unit: to.unit}
	return live, s.isOurs(ctx, library{Drive: live})
}

// restoreSite brings a point of a site back, a library after the other, and then its
// lists. What cannot be restored is named, and stops nothing else.
func (e *Engine) restoreSite(ctx context.Context, j *jobs.Job, a backup.Artifact, unit backup.Unit) (catalog.Restored, *backup.Problem, error) {
	to, err := e.reachSite(ctx, j.Tenant, unit, a.Point)
	if err != nil {
		return catalog.Restored{}, nil, err
	}
	place := catalog.Restored{SiteID: to.site.ID, SiteName: to.site.Name, SiteWebURL: to.site.WebURL}
	var beside newPlaces
	if a.Destination != backup.DestinationInPlace {
		if place.SiteName, beside, err = e.newPlaces(ctx, j, a, to); err != nil {
			return catalog.Restored{}, nil, err
		}
	}
	if err := e.Catalog.NoteArtifact(ctx, j, a.ID, place); err != nil {
		return catalog.Restored{}, nil, err
	}
	e.Log.InfoContext(ctx, "restore begins", "tenant", j.Tenant, "site", who(unit), "artifact", a.ID,
		"destination", a.Destination, "point", a.Point.At, "libraries and lists", len(to.parts))
	var all outcomes
	for _, part := range to.libraries() {
		problem, err := e.restoreLibrary(ctx, j, a, to, part, beside)
		if endsAll(ctx, err) {
			return place, all.problem(), err
		}
		all.add(part, problem, err)
	}
	if err := e.restoreLists(ctx, j, a, to, beside, &all); err != nil {
		return place, all.problem(), err
	}
	if err := e.restorePermissions(ctx, j, a, to, beside, &all); err != nil {
		return place, all.problem(), err
	}
	suffix := ""
	if a.Destination != backup.DestinationInPlace {
		suffix = suffixOf(place.SiteName)
	}
	if err := e.restorePages(ctx, j, a, to, suffix, &all); err != nil {
		return place, all.problem(), err
	}
	return place, all.problem(), all.err
}

// endsAll reports whether a failure is not that of one library or list.
func endsAll(ctx context.Context, err error) bool {
	return err != nil && (stopped(ctx, err) || !isSource(err) && !isDamage(err) && !errors.Is(err, errOtherOwner))
}

// listRestoresOf is listRestores for an artifact.
func (e *Engine) listRestoresOf(j *jobs.Job, a backup.Artifact, to reachedSite) *listRestores {
	if a.Destination == backup.DestinationInPlace {
		return e.listRestores(j, to, a.Started, "")
	}
	return e.listRestores(j, to, a.Started, a.ID)
}

// restoreLists brings the lists of a point back.
func (e *Engine) restoreLists(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, beside newPlaces, all *outcomes) error {
	s := e.listRestoresOf(j, a, to)
	defer s.close()
	for _, part := range to.lists() {
		problem, err := s.place(ctx, a, to, part, beside)
		if endsAll(ctx, err) {
			return err
		}
		if problem != nil || err != nil {
			all.add(part, problem, err)
		}
	}
	if err := s.addColumns(ctx, a, to, beside, all); err != nil {
		return err
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	return s.each(func(l *listRestore) error {
		all.add(l.part, l.problem(), l.err)
		return l.noteDamage(ctx, a.Point)
	})
}

// place finds the list that one of the point is restored into.
func (s *listRestores) place(ctx context.Context, a backup.Artifact, to reachedSite, part vault.Part, beside newPlaces) (*backup.Problem, error) {
	into, ok := beside.lists[part.Drive]
	if !ok {
		if a.Destination != backup.DestinationInPlace && !s.look {
			_, err := keptSchema(ctx, to.vault, part)
			return nil, err // why it has no place
		}
		var problem *backup.Problem
		var err error
		if into, problem, err = s.e.liveList(ctx, s.job, to, part, !s.look); err != nil || problem != nil {
			return problem, err
		}
	}
	_, err := s.add(ctx, part, into)
	return nil, err
}

// restoreLibrary brings one library of a point back.
func (e *Engine) restoreLibrary(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, part vault.Part, beside newPlaces) (*backup.Problem, error) {
	into, elsewhere := beside.libraries[part.Drive]
	if !elsewhere {
		live, err := e.liveLibrary(ctx, j.Tenant, to, part)
		if errors.Is(err, drive.ErrNotFound) {
			return &backup.Problem{Code: backup.ArtifactCannotBeRestored,
				Message: "The library that the restore point was taken of is gone. Restore the point to a new place."}, nil
		}
		if err != nil {
			return nil, err
		}
		into = live
	}
	r := to.restoration(e, j, a.Point, part, into)
	defer r.deeds.close()
	r.since = a.Started
	if elsewhere {
		r.survey = r.surveyLibrary
	} else {
		r.survey, r.exact = r.surveyLive, true
		if to.stale(part.Name) {
			r.stale = "The restore point holds the library as it was before the point, since it could not be read then, so that it may belong there."
		}
	}
	r.note = func(ctx context.Context, d []backup.Detail) error {
		return e.Catalog.NoteDetails(ctx, j, a.ID, under(part.Name, d))
	}
	return r.run(ctx)
}

// under returns details of what is in a library.
func under(library string, details []backup.Detail) []backup.Detail {
	all := make([]backup.Detail, len(details))
	for i, d := range details {
		d.Target = path.Join(library, d.Target)
		all[i] = d
	}
	return all
}

// Outcomes are what became of the libraries and lists of a point.
type outcomes struct {
	failed, remarked int
	of               int // all of them
	parts            map[string]*partOutcome
	details          []backup.Detail
	err              error // the first that another try may mend
}

// A partOutcome is how many items a library or list has, and how many of them are missing.
type partOutcome struct{ failed, of int }

// count counts the items of a part, and those that are missing. A library's come twice where
// they were given their permissions after their contents.
func (o *outcomes) count(part vault.Part, p *backup.Problem, err error) {
	key := string(part.Kind) + " " + string(part.Drive)
	if o.parts == nil {
		o.parts = map[string]*partOutcome{}
	}
	is, again := o.parts[key]
	if !again {
		is = &partOutcome{}
		if part.Kind != backup.FileColumns { // which are a library's, as its items are
			is.of = int(part.Files + part.Folders)
		}
		o.parts[key] = is
	}
	switch {
	case err == nil && p != nil && p.Short != nil:
		is.of, is.failed = max(is.of, p.Short.Of), max(is.failed, p.Short.Failed)
	case !again && (err != nil || p != nil && backup.Ended(p) != backup.ArtifactSucceeded):
		is.failed = is.of
	}
}

// short says how many items of the site are missing, nil if all of them are.
func (o *outcomes) short() *backup.Shortfall {
	var s backup.Shortfall
	for _, p := range o.parts {
		s.Failed += p.failed
		s.Of += p.of
	}
	if o.failed >= o.of && s.Failed >= s.Of {
		return nil
	}
	if s.Failed >= s.Of { // they are no items that are missing, such as the columns of files
		return &backup.Shortfall{Failed: s.Failed}
	}
	return &s
}

func (o *outcomes) add(part vault.Part, p *backup.Problem, err error) {
	o.of++
	o.count(part, p, err)
	if err != nil {
		if o.err == nil {
			o.err = fmt.Errorf("%s %s: %w", wordFor(part.Kind), part.Name, err)
		}
		why, _ := explainPart(part.Kind, err)
		o.failed++
		o.details = append(o.details, backup.Detail{Code: why.Code, Message: why.Message, Target: part.Name})
	}
	if p == nil {
		return
	}
	if backup.Ended(p) == backup.ArtifactSucceeded {
		o.remarked++
	} else if err == nil {
		o.failed++
		o.details = append(o.details, backup.Detail{Code: p.Code, Message: p.Message, Target: part.Name})
	}
	o.details = append(o.details, under(part.Name, p.Details)...)
}

func (o *outcomes) problem() *backup.Problem {
	details := o.details[:min(len(o.details), 2*maxDetails)]
	switch {
	case o.failed > 0:
		return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Details: details, Short: o.short(),
			Message: fmt.Sprintf("Not all of the site is as it was at the restore point: %d of its libraries and lists could not be restored whole; see the details. Restore again in another session: only what differs is transferred.", o.failed)}
	case o.remarked > 0:
		return &backup.Problem{Code: backup.RestoredWithRemarks, Details: details, Message: "All is as it was at the restore point. " + remarked(len(o.details))}
	}
	return nil
}

// newPlaces are the new places of a point's libraries and lists.
type newPlaces struct {
	libraries map[backup.DriveID]drive.Drive
	lists     map[backup.DriveID]drive.ListRef
}

// newPlaces returns the new places that the libraries and lists of a point are restored
// to: each beside the live one, all with one suffix, which is reserved before they are
// made. All are there, and empty, before anything is written into one, and
// noted; so a restore that is killed goes on in the same ones.
func (e *Engine) newPlaces(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite) (string, newPlaces, error) {
	defer e.lock("libraries " + string(siteKey(to.unit)))()
	anchor, err := to.source.Libraries(ctx, to.site.ID)
	if err != nil {
		return "", newPlaces{}, err
	}
	if len(anchor) == 0 {
		return "", newPlaces{}, errNoLibrary
	}
	next := 0
	if a.RestoredSiteName != "" {
		places, ok, err := e.placesOf(ctx, j, to, anchor[0], suffixOf(a.RestoredSiteName), a.RestoredSiteWebURL != "")
		if err != nil || ok {
			return a.RestoredSiteName, places, err
		}
		if a.RestoredSiteWebURL != "" {
			return "", newPlaces{}, backup.Fail(backup.ArtifactCannotBeRestored, "Something else has the name of a library or list that is restored into. Restore the point again in another session.")
		}
	}
	for ; next < maxLibraries; next++ {
		name := fmt.Sprintf("%sR%d", to.site.Name, next)
		free, err := e.areFree(ctx, to, anchor[0], suffixOf(name))
		if err != nil {
			return "", newPlaces{}, err
		}
		if !free {
			continue
		}
		if ours, err := e.Catalog.ReserveLibrary(ctx, j, a.ID, name); err != nil {
			return "", newPlaces{}, err
		} else if !ours {
			continue
		}
		places, ok, err := e.placesOf(ctx, j, to, anchor[0], suffixOf(name), false)
		if err != nil || ok {
			return name, places, err
		}
	}
	return "", newPlaces{}, backup.Fail(backup.ArtifactCannotBeRestored, fmt.Sprintf(
		"There are already %d restored places in the site. Delete those that are no longer needed and restore again.", maxLibraries))
}

// together is what a restore says that was done in two parts.
func together(a, b *backup.Problem) *backup.Problem {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	if backup.Ended(a) == backup.ArtifactSucceeded {
		a, b = b, a
	}
	both := *a
	both.Details = slices.Concat(a.Details, b.Details)
	if backup.Ended(a) == backup.ArtifactSucceeded {
		both.Message = "All is as it was at the restore point. " + remarked(len(both.Details))
	}
	return &both
}

// suffixOf is what a name that was reserved ends with: R0, R1 and so on.
func suffixOf(name string) string { return name[max(0, strings.LastIndexByte(name, 'R')):] }

// placeOfPart says where the new place of a library is made, and its name: beside the
// live one, and in the site itself where that is gone.
func placeOfPart(ctx context.Context, to reachedSite, anchor drive.Drive, part vault.Part, suffix string) (drive.Drive, string, error) {
	live, err := to.source.Drive(ctx, part.Drive)
	switch {
	case err == nil:
		return live, path.Base(part.Name) + suffix, nil
	case errors.Is(err, drive.ErrNotFound):
		return anchor, strings.ReplaceAll(part.Name, "/", " ") + suffix, nil
	}
	return live, "", err
}

// areFree reports whether no library or list of a point has its new place taken.
func (e *Engine) areFree(ctx context.Context, to reachedSite, anchor drive.Drive, suffix string) (bool, error) {
	for _, part := range to.libraries() {
		beside, name, err := placeOfPart(ctx, to, anchor, part, suffix)
		if err != nil {
			return false, err
		}
		if _, taken, err := to.source.FindLibrary(ctx, beside.ID, name); err != nil || taken {
			return false, err
		}
	}
	if free, err := pagesFree(ctx, to, suffix); err != nil || !free {
		return false, err
	}
	return listsFree(ctx, to, suffix)
}

// placesOf returns the new places of a suffix that this artifact has reserved, and
// reports whether all are its own: those that are missing are made, and those that
// are there are empty, or were noted to be its own.
func (e *Engine) placesOf(ctx context.Context, j *jobs.Job, to reachedSite, anchor drive.Drive, suffix string, noted bool) (newPlaces, bool, error) {
	places := map[backup.DriveID]drive.Drive{}
	used := map[backup.DriveID]bool{}
	for _, part := range to.libraries() {
		beside, name, err := placeOfPart(ctx, to, anchor, part, suffix)
		if err != nil {
			return newPlaces{}, false, err
		}
		there, ok, err := to.source.FindLibrary(ctx, beside.ID, name)
		switch {
		case err != nil:
			return newPlaces{}, false, err
		case ok && noted:
			err = e.isLibrary(ctx, j.Tenant, there, beside, name, to.unit.ID) // the site's backups have it, too
		case ok:
			ok, err = e.isFree(ctx, j.Tenant, to.source, there, beside, name, to.unit.ID)
			if err == nil && !ok {
				return newPlaces{}, false, nil
			}
		default:
			there, ok, err = e.makeLibrary(ctx, j.Tenant, to.source, beside, name)
			if err == nil && !ok {
				return newPlaces{}, false, nil
			}
		}
		if err != nil {
			return newPlaces{}, false, err
		}
		if used[there.ID] {
			return newPlaces{}, false, &wrongLibrary{name}
		}
		used[there.ID] = true
		places[part.Drive] = there
	}
	lists, ok, err := placesOfLists(ctx, to, suffix, noted)
	return newPlaces{places, lists}, ok, err
}

// restoreBelowSite is restoreBelow for a point of a site: what is chosen goes into a
// folder of the library that it is of, or into a new list beside that which it is of.
func (e *Engine) restoreBelowSite(ctx context.Context, j *jobs.Job, a backup.GranularArtifact, unit backup.Unit) (catalog.RestoredItem, *backup.Problem, error) {
	to, err := e.reachSite(ctx, j.Tenant, unit, a.Point)
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	for _, part := range to.parts {
		if a.Item == backup.ItemID(part.Drive) {
			return catalog.RestoredItem{}, nil, backup.Fail(backup.ArtifactCannotBeRestored, "A library is restored with its site. Choose folders and files of it, or restore the site's point to a new place.")
		}
	}
	part, err := partHolding(ctx, to.vault, to.parts, a.Item)
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	switch part.Kind {
	case backup.SiteList:
		return e.restoreBelowList(ctx, j, a, to, part)
	case backup.SitePages:
		return e.restorePage(ctx, j, a, to, part)
	}
	live, err := e.liveLibrary(ctx, j.Tenant, to, part)
	if errors.Is(err, drive.ErrNotFound) {
		return catalog.RestoredItem{}, nil, backup.Fail(backup.ArtifactCannotBeRestored, "The library that the item was in is gone. Restore the site's point to a new place.")
	}
	if err != nil {
		return catalog.RestoredItem{}, nil, err
	}
	r := to.restoration(e, j, a.Point, part, live)
	a.Point.Tree = part.Tree
	restored, problem, err := e.restoreInto(ctx, j, a, r)
	if restored.Path != "" && err == nil {
		var columns *backup.Problem
		columns, err = e.restoreColumnsBelow(ctx, j, a, to, part, live, restored.Path)
		problem = together(problem, columns)
	}
	if restored.Path != "" {
		restored.Path = "/" + path.Join(part.Name, restored.Path)
	}
	return restored, problem, err
}
