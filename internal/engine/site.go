package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

const (
	// maxSites is how many sites are looked into below one another.
	maxSites = 2000
	// maxParts is how many libraries and lists one site may have.
	maxParts = 10_000
)

var (
	// errNoSite: the source does not know the unit's site.
	errNoSite = errors.New("the source does not know the site")
	// errSite: the site itself cannot be looked into.
	errSite = errors.New("the site cannot be looked into")
	// errNoLibrary: a site that has no library at all is taken for an answer that
	// lacks something.
	errNoLibrary = errors.New("the source lists no library of the site")
)

// A siteError is the failure of a site as a whole: it cannot be looked into.
type siteError struct {
	what  string
	grant string // the request that lets the application in
	err   error
}

func (s *siteError) Error() string   { return s.what + ": " + s.err.Error() }
func (s *siteError) Unwrap() []error { return []error{errSite, s.err} }

// failedSite is the failure of a unit's site.
func failedSite(source *drive.Client, unit backup.Unit, what string, err error) error {
	return &siteError{what, source.GrantCall(cmp.Or(unit.SourceID, string(unit.Subject))), err}
}

// siteKey is what a site's points are kept under: it has several drives.
func siteKey(unit backup.Unit) backup.DriveID { return backup.DriveID(unit.Subject) }

// A library is one of a site, or a list of it, as it is at the source.
type library struct {
	drive.Drive
	kind backup.ContainerKind
	name string         // with those of the sites below the unit's that it is in
	site string         // that it is in
	of   backup.DriveID // the library that it is kept beside
}

// besideOf is what is kept beside a library, under its name and the kind: from d, or from
// the library itself, of whose id and the kind it is then known by.
func besideOf(l library, kind backup.ContainerKind, d drive.Drive) library {
	if d.ID == "" {
		d = l.Drive
		d.ID += backup.DriveID("," + kind)
	}
	return library{d, kind, l.name + " (" + string(kind) + ")", l.site, l.ID}
}

// ref names a library that is a list.
func (l library) ref() drive.ListRef { return drive.ListRef{Site: l.site, ID: string(l.ID)} }

// what is the word for a library of its kind.
func (l library) what() string { return wordFor(l.kind) }

func wordFor(kind backup.ContainerKind) string {
	switch kind {
	case backup.SiteList:
		return "list"
	case backup.FileColumns:
		return "list of columns"
	case backup.FilePermissions:
		return "list of permissions"
	case backup.FileVersions:
		return "library of versions"
	case backup.SitePages:
		return "library of pages"
	}
	return "library"
}

// A siteRun is one run over a site: each of its libraries and lists is backed up as
// a drive is, and all of them become one point. One that cannot be backed up stops
// only itself: the point holds it as it was last readable, and says so.
type siteRun struct {
	e      *Engine
	job    *jobs.Job
	unit   backup.Unit
	source *drive.Client
	vault  *vault.Vault
	state  catalog.DriveState
	seeds  map[backup.DriveID]*deeds
	site   drive.Site

	known  map[backup.DriveID]catalog.Container
	holes  map[string]error          // sites whose libraries could not be listed whole, by their paths below the unit's
	saved  map[backup.DriveID]string // the trees of a run that did not come to its end
	now    map[backup.DriveID]catalog.Container
	failed map[backup.DriveID]error
	same   map[backup.DriveID]bool // all in it has the name that it had
	tried  int                     // libraries and lists
	away   int                     // of them, those that could not be backed up
	first  error                   // of a library that could not be backed up
	again  map[backup.ItemID]bool
	torn   bool
	scans  bool      // permissions are kept
	blind  bool      // the application is not told of all permissions
	at     time.Time // when it began: what had changed by then is in the point
	keep   int       // earlier versions of each file
}

// protectSite is protect for a unit of a site.
func (e *Engine) protectSite(ctx context.Context, j *jobs.Job, unit backup.Unit, state catalog.DriveState, seeds map[backup.DriveID]*deeds) (protected, error) {
	s := &siteRun{e: e, job: j, unit: unit, state: state, seeds: seeds, at: e.Clock(),
		holes: map[string]error{}, now: map[backup.DriveID]catalog.Container{}, failed: map[backup.DriveID]error{}, same: map[backup.DriveID]bool{}, again: map[backup.ItemID]bool{}}
	if e.Versions != nil {
		s.keep = e.Versions(j.Tenant)
	}
	var err error
	if s.source, err = e.Sources(j.Tenant); err != nil {
		return protected{}, fmt.Errorf("reach the source: %w", err)
	}
	if s.site, err = findSite(ctx, s.source, unit); err != nil {
		return protected{}, err
	}
	if s.state.Drive == "" {
		s.state.Drive = siteKey(unit)
		if s.state.Root, s.state.Vault, err = e.Catalog.Root(ctx, j.Tenant, s.state.Drive); err != nil {
			return protected{}, err
		}
	}
	if s.vault, err = e.Vaults(ctx, backup.VaultName{Tenant: j.Tenant, Number: s.state.Vault}); err != nil {
		return protected{}, fmt.Errorf("%w: open: %w", vault.ErrStorage, err)
	}
	if err := s.recall(ctx); err != nil {
		return protected{}, err
	}
	if s.scans = e.Permissions != nil && e.Permissions(j.Tenant); s.scans {
		sees, err := s.source.SeesPermissions(ctx)
		if err != nil {
			return protected{}, fmt.Errorf("reach the source: %w", err)
		}
		s.blind = !sees
	}
	libraries, err := s.libraries(ctx)
	if err != nil {
		return protected{}, err
	}
	for _, l := range libraries {
		if err := s.protect(ctx, l); err != nil {
			return protected{}, err
		}
	}
	if s.tried > 0 && s.tried == s.away {
		return protected{}, s.first // no point says less than an error does
	}
	return s.commit(ctx)
}

// findSite returns the site of a unit.
func findSite(ctx context.Context, source *drive.Client, unit backup.Unit) (drive.Site, error) {
	site, err := source.Site(ctx, string(unit.Subject))
	if errors.Is(err, drive.ErrNotFound) {
		return site, fmt.Errorf("%w: %w", errNoSite, err)
	}
	if err != nil {
		return site, failedSite(source, unit, "find the site", err)
	}
	if site.Collection != "" && !strings.EqualFold(string(site.Collection), string(unit.Subject)) {
		return site, fmt.Errorf("find the site: %w: asked for %s, it answered with %s", errOtherOwner, unit.Subject, site.ID)
	}
	return site, nil
}

// recall finds out what the point before has, and what a run that was killed had
// brought.
func (s *siteRun) recall(ctx context.Context) error {
	s.known, s.saved = map[backup.DriveID]catalog.Container{}, map[backup.DriveID]string{}
	for _, c := range s.state.Containers {
		s.known[c.Drive] = c
	}
	if len(s.known) == 0 && s.state.Tree != "" {
		// The catalog was made again from the vault: each library is enumerated.
		parts, err := s.vault.Parts(ctx, s.state.Tree)
		if err != nil && !isDamage(err) {
			return err
		}
		for _, p := range parts {
			s.known[p.Drive] = catalog.Container{Drive: p.Drive, Kind: p.Kind, Site: p.Site, Library: p.Library, Name: p.Name, Tree: p.Tree, Top: -1, Files: p.Files, Folders: p.Folders, Bytes: p.Bytes}
		}
	}
	if s.state.Checkpoint == "" {
		return nil
	}
	parts, err := s.vault.Parts(ctx, s.state.Checkpoint)
	if err != nil && !isDamage(err) {
		return err
	}
	for _, p := range parts {
		if p.Tree != s.known[p.Drive].Tree {
			s.saved[p.Drive] = p.Tree
		}
	}
	return nil
}

// libraries returns what there is to back up. What was known of and is not listed
// any more is gone if the source lists it a second time no more, and denies it each
// time it is asked for; else it stays, and is named.
func (s *siteRun) libraries(ctx context.Context) ([]library, error) {
	listed, unsure, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	if !hasLibrary(listed) {
		return nil, errNoLibrary
	}
	var again map[backup.DriveID]library
	for _, id := range slices.Sorted(maps.Keys(s.known)) {
		if _, ok := listed[id]; ok {
			continue
		}
		c := s.known[id]
		if c.Kind == backup.FilePermissions && !s.scans {
			s.e.Log.InfoContext(ctx, "permissions are not kept any more", "tenant", s.job.Tenant, "site", who(s.unit), "name", c.Name)
			continue
		}
		if c.Kind == backup.FilePermissions && s.blind {
			c.Failed = nil // it is said once for all
			s.now[id] = c
			continue
		}
		if c.Kind == backup.FileVersions && s.keep == 0 {
			s.e.Log.InfoContext(ctx, "earlier versions of files are kept no more", "tenant", s.job.Tenant, "site", who(s.unit), "name", c.Name)
			continue
		}
		there, err := s.lookFor(ctx, c)
		if err == nil {
			there.Name = path.Base(c.Name)
			listed[id] = libraryOf(c, there) // the listing has a hole
			continue
		}
		if stopped(ctx, err) || !isSource(err) {
			return nil, err
		}
		why := err
		if errors.Is(err, drive.ErrNotFound) && unsure == nil {
			if again == nil {
				var unsureNow error
				if again, unsureNow, err = s.list(ctx); err != nil {
					return nil, err
				}
				unsure = unsureNow
			}
			_, err = s.lookFor(ctx, c)
			if _, ok := again[id]; !ok && unsure == nil && errors.Is(err, drive.ErrNotFound) {
				s.e.Log.InfoContext(ctx, "a "+wordFor(c.Kind)+" is gone", "tenant", s.job.Tenant, "site", who(s.unit), "name", c.Name, "id", id)
				continue
			}
			if err != nil && (stopped(ctx, err) || !isSource(err)) {
				return nil, err
			}
		}
		s.carry(ctx, libraryOf(c, drive.Drive{ID: id, WebURL: c.WebURL}), why)
	}
	return slices.SortedFunc(maps.Values(listed), func(a, b library) int {
		return cmp.Or(strings.Compare(string(a.kind), string(b.kind)), strings.Compare(a.name, b.name), strings.Compare(string(a.ID), string(b.ID)))
	}), nil
}

// libraryOf is a library or list as it was known.
func libraryOf(c catalog.Container, d drive.Drive) library {
	return library{d, c.Kind, c.Name, c.Site, c.Library}
}

func hasLibrary(all map[backup.DriveID]library) bool {
	for _, l := range all {
		if l.kind == backup.Library {
			return true
		}
	}
	return false
}

// lookFor asks for a library or list that was known of.
func (s *siteRun) lookFor(ctx context.Context, c catalog.Container) (drive.Drive, error) {
	switch {
	case c.Kind == backup.Library:
		return s.source.Drive(ctx, c.Drive)
	case c.Kind.Beside() && c.Kind != backup.FileColumns:
		d, err := s.source.Drive(ctx, c.Library)
		d.ID = c.Drive
		return d, err
	}
	l, err := s.source.List(ctx, drive.ListRef{Site: c.Site, ID: string(c.Drive)})
	return driveOf(l), err
}

// driveOf is a list as a drive.
func driveOf(l drive.List) drive.Drive {
	return drive.Drive{ID: backup.DriveID(l.ID), Name: l.Name, WebURL: l.WebURL, SiteID: l.Site}
}

// ofTheService are templates of lists that people have nothing in, beside those that
// are hidden; the libraries are backed up as drives.
var ofTheService = map[string]bool{
	"documentLibrary": true, "pictureLibrary": true, "webPageLibrary": true, "xmlForm": true, "dataConnectionLibrary": true, "mySiteDocumentLibrary": true,
	"webTemplateExtensionsList": true, "sharingLinks": true, "accessRequest": true, "userInformation": true, "webTemplateCatalog": true, "webPartCatalog": true,
	"listTemplateCatalog": true, "masterPageCatalog": true, "solutionCatalog": true, "themeCatalog": true, "designCatalog": true, "appDataCatalog": true, "maintenanceLogs": true,
}

// list lists the libraries and lists of the site and of all sites below it. Where
// those of one cannot be listed it says why, and the list may lack something.
func (s *siteRun) list(ctx context.Context) (all map[backup.DriveID]library, unsure, err error) {
	type below struct {
		drive.Site
		path string
		top  bool
	}
	all = map[backup.DriveID]library{}
	seen := map[string]bool{strings.ToLower(s.site.ID): true}
	queue := []below{{s.site, "/", true}}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		drives, failed := s.source.Libraries(ctx, at.ID)
		for _, d := range drives {
			if _, twice := all[d.ID]; !twice {
				l := library{d, backup.Library, strings.TrimPrefix(path.Join(at.path, d.Name), "/"), at.ID, ""}
				all[d.ID] = l
				if s.scans && !s.blind {
					beside := besideOf(l, backup.FilePermissions, drive.Drive{})
					all[beside.ID] = beside
				}
				if s.keep > 0 {
					versions := besideOf(l, backup.FileVersions, drive.Drive{})
					all[versions.ID] = versions
				}
			}
		}
		lists, failedLists := s.source.Lists(ctx, at.ID)
		for _, l := range lists {
			if d := driveOf(l); l.Template == "webPageLibrary" {
				all[d.ID] = library{d, backup.SitePages, strings.TrimPrefix(path.Join(at.path, l.Name), "/"), at.ID, ""}
			} else if !l.Hidden && !ofTheService[l.Template] {
				all[d.ID] = library{d, backup.SiteList, strings.TrimPrefix(path.Join(at.path, l.Name), "/"), at.ID, ""}
			} else if i := slices.IndexFunc(drives, l.IsOf); i >= 0 {
				all[d.ID] = columnsOf(all[drives[i].ID], d)
			}
		}
		sites, failedBelow := s.source.Subsites(ctx, at.ID)
		for _, err := range []error{failed, failedLists, failedBelow} {
			switch {
			case err == nil:
			case stopped(ctx, err), !isSource(err):
				return nil, nil, fmt.Errorf("list the libraries: %w", err)
			case at.top && len(drives) == 0:
				return nil, nil, failedSite(s.source, s.unit, "list the libraries", err)
			default:
				unsure = err
				s.holes[at.path] = err
			}
		}
		for _, site := range sites {
			if id := strings.ToLower(site.ID); !seen[id] {
				seen[id] = true
				queue = append(queue, below{site, path.Join(at.path, cmp.Or(site.Name, path.Base(site.WebURL))), false})
			}
		}
		if len(seen) > maxSites || len(all) > maxParts {
			return nil, nil, fmt.Errorf("list the libraries: %w", drive.ErrEndless)
		}
	}
	return all, unsure, nil
}

// carry keeps a library as it was in the point before, and names it. It counts as
// one that was tried.
func (s *siteRun) carry(ctx context.Context, l library, why error) {
	s.failed[l.ID] = why
	if !l.kind.Beside() {
		s.tried++
		s.away++
		s.first = cmp.Or(s.first, why)
	}
	c, known := s.known[l.ID]
	if !known {
		c = catalog.Container{Drive: l.ID, Top: -1}
	}
	c.Kind, c.Name, c.Site, c.Library = l.kind, l.name, l.site, l.of
	problem, _ := explainPart(l.kind, why)
	u := backup.Unread{Path: l.name, Code: problem.Code, Message: problem.Message, Since: s.at, Attempts: 1, Held: c.Tree != ""}
	if old := c.Failed; old != nil {
		u.Since, u.Attempts = old.Since, old.Attempts+1
	}
	c.Failed = &u
	s.now[l.ID] = c
	s.e.Log.WarnContext(ctx, l.what()+" not backed up", "tenant", s.job.Tenant, "site", who(s.unit), "name", l.name, "code", u.Code, "err", why)
}

// protect backs one library up. It returns only what must end the run.
func (s *siteRun) protect(ctx context.Context, l library) error {
	c, err := s.backUp(ctx, l)
	if err == nil {
		if !l.kind.Beside() {
			s.tried++
		}
		s.now[l.ID] = c
		return nil
	}
	own := isSource(err) || isDamage(err) || errors.Is(err, errTangled) || errors.Is(err, errRootGone) || errors.Is(err, errDenial) || errors.Is(err, errOtherOwner)
	if stopped(ctx, err) || !own {
		return err
	}
	if errors.Is(err, drive.ErrUnavailable) {
		// Is it the library, or the source?
		if _, away := s.source.Site(ctx, string(s.unit.Subject)); away != nil {
			return err
		}
	}
	s.carry(ctx, l, err)
	return nil
}

func (s *siteRun) backUp(ctx context.Context, l library) (catalog.Container, error) {
	c, known := s.known[l.ID]
	if !known {
		if err := s.isOurs(ctx, l); err != nil {
			return c, err
		}
		c = catalog.Container{Drive: l.ID, Top: -1}
	}
	p := newProtection(s.e, s.job, s.unit)
	p.source, p.drive, p.vault, p.seeds = driveSource{s.source, l.ID}, l.Drive, s.vault, s.seeds[l.ID]
	var list *listSource
	switch l.kind {
	case backup.SiteList:
		list = newListSource(s.source, l.ref(), s.vault.Scratch())
		p.source, p.finish = list, list.tabulate
	case backup.FileColumns:
		list = newListSource(s.source, l.ref(), s.vault.Scratch())
		list.files = true
		p.source = list
	case backup.FilePermissions:
		p.source = &permissionSource{client: s.source, library: l.of, id: l.ID, name: l.Name,
			held: func(ctx context.Context, id backup.ItemID) (vault.Entry, bool, error) { return p.stage.get(ctx, id) }}
	case backup.SitePages:
		p.source = pageSource{s.source, l.ref(), l.Name}
		c.Cursor = "" // all are listed each time
	}
	p.state = catalog.DriveState{Drive: l.ID, Tree: c.Tree, Cursor: c.Cursor, Pending: c.Pending, Full: c.Full, Changed: c.Changed, Top: c.Top}
	p.of = &partOf{drive: s.state.Drive, saved: s.saved[l.ID], has: s.has(c.Name),
		checkpoint: func(ctx context.Context, sealed vault.Sealed) error { return s.checkpoint(ctx, l, sealed) }}
	var versions *versionSource
	if l.kind == backup.FileVersions {
		p.state.Cursor = cursorOfVersions(s.keep, c.Cursor)
		versions = newVersionSource(p, l.of, s.source, s.keep)
		p.source, p.finish = versions, versions.finish
	}
	asks := ctx
	if (c.Tree == "" || versions != nil) && s.job.Kind == jobs.Backup {
		asks = p.asking(ctx, budget.FirstBackups)
	}
	defer func() { p.close() }()
	var sealed vault.Sealed
	var unread []backup.Unread
	err := p.begin(asks)
	if err == nil && list != nil {
		err = list.holding(asks, p.update)
	}
	if err == nil {
		sealed, unread, err = p.run(asks)
	}
	if isDamage(err) && ctx.Err() == nil {
		if s.torn = true; list != nil {
			list.held, list.table = nil, vault.Entry{}
		}
		sealed, unread, err = p.runAnew(asks, err)
	}
	if err != nil {
		return c, err
	}
	next := catalog.Container{
		Drive: l.ID, Kind: l.kind, Name: l.name, WebURL: l.WebURL, Site: l.site, Library: l.of,
		Tree: sealed.Tree, Cursor: p.stage.cursor, Pending: unread, Full: p.fullAt(), Changed: p.changedAt(sealed.Tree), Top: p.stage.counted(),
		Files: sealed.Files, Folders: sealed.Folders, Bytes: sealed.Bytes,
	}
	if versions != nil {
		next.Cursor, next.Failed = versions.cursor(c), versions.left(c, l)
	}
	s.same[l.ID] = !sealed.Named
	maps.Copy(s.again, p.again)
	p.healed(ctx)
	p.log(ctx, unread)
	return next, nil
}

// has returns whether a path in a point is of the library that was known by a name,
// as far as can be told: the library may have had another when the point was made.
func (s *siteRun) has(name string) func(path string) bool {
	under := func(path, name string) bool { return path == name || strings.HasPrefix(path, name+"/") }
	return func(path string) bool {
		if path == "" || under(path, name) {
			return path != "" // what is of no library is mended with the point
		}
		for _, c := range s.known {
			if under(path, c.Name) {
				return false
			}
		}
		return true
	}
}

// isOurs makes sure that a library which is new for the unit is not backed up as a
// part of another: the source may be mistaken.
func (s *siteRun) isOurs(ctx context.Context, l library) error {
	ids, err := s.e.Catalog.DriveUnits(ctx, s.job.Tenant, l.ID)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id != s.unit.ID {
			return fmt.Errorf("%w: %s %s is backed up as a part of unit %s", errOtherOwner, l.what(), l.ID, id)
		}
	}
	return nil
}

// parts returns the libraries of the point that this run makes, those that were not
// yet looked at as they were before.
func (s *siteRun) parts(all map[backup.DriveID]catalog.Container) (parts []vault.Part) {
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if c := all[id]; c.Tree != "" {
			part := vault.Part{Kind: c.Kind, Drive: id, Name: c.Name, Library: c.Library, Tree: c.Tree, Files: c.Files, Folders: c.Folders, Bytes: c.Bytes}
			if c.Kind != backup.Library {
				part.Site = c.Site
			}
			parts = append(parts, part)
		}
	}
	return parts
}

// checkpoint makes safe what was downloaded of a library so far, and the libraries
// that are done.
func (s *siteRun) checkpoint(ctx context.Context, l library, partial vault.Sealed) error {
	all := maps.Clone(s.known)
	maps.Copy(all, s.now)
	all[l.ID] = catalog.Container{Kind: l.kind, Site: l.site, Library: l.of, Name: l.name, Tree: partial.Tree, Files: partial.Files, Folders: partial.Folders, Bytes: partial.Bytes}
	sealed, err := s.vault.SealParts(ctx, s.key(), s.state.Root, s.state.Tree, s.e.Clock(), vault.PointInfo{Incomplete: true}, s.parts(all))
	if err != nil {
		return fmt.Errorf("seal a checkpoint: %w", err)
	}
	state := s.state
	state.Root, state.Checkpoint = sealed.Root, sealed.Tree
	if err := s.e.Catalog.Checkpoint(ctx, s.job, catalog.Commit{Unit: s.unit.ID, PrevRoot: s.state.Root, State: state}); err != nil {
		return fmt.Errorf("commit a checkpoint: %w", err)
	}
	s.state = state
	return nil
}

func (s *siteRun) key() vault.DriveKey {
	return vault.DriveKey{Tenant: s.job.Tenant, Drive: s.state.Drive}
}

// commit makes the point.
func (s *siteRun) commit(ctx context.Context) (protected, error) {
	var unread []backup.Unread
	containers := []catalog.Container{}
	made := map[backup.DriveID]protectedPart{}
	full := s.at
	for _, id := range slices.Sorted(maps.Keys(s.now)) {
		c := s.now[id]
		containers = append(containers, c)
		made[id] = protectedPart{Tree: c.Tree, Pending: c.Pending, Err: s.failed[id]}
		if c.Full.Before(full) {
			full = c.Full
		}
		if c.Failed != nil {
			unread = append(unread, *c.Failed)
		}
		for _, u := range c.Pending {
			u.Path = path.Join(c.Name, u.Path)
			unread = append(unread, u)
		}
	}
	holes := s.unlisted()
	unread = append(unread, holes...)
	info := vault.PointInfo{
		Unit: s.unit.ID, Workload: s.unit.Workload, Policy: s.unit.Policy, Unread: unread,
		Owner: backup.Subject{ID: s.unit.Subject, Address: s.site.WebURL, DisplayName: s.site.Name},
	}
	sealed, err := s.seal(ctx, info)
	if err != nil {
		return protected{}, err
	}
	commit := s.e.Catalog.CommitPoint
	if s.job.Kind == jobs.Restore {
		commit = s.e.Catalog.KeepPoint
	}
	next := catalog.DriveState{Drive: s.state.Drive, Vault: s.state.Vault, Root: sealed.Root, Tree: sealed.Tree, Pending: holes, Full: full, Asked: s.at, Changed: s.state.Changed, Top: -1, Containers: containers}
	if sealed.Tree != s.state.Tree || next.Changed.IsZero() {
		next.Changed = s.at
	}
	problem, err := s.problem(ctx, unread)
	if err != nil {
		return protected{}, err
	}
	every := s.e.pace(s.at.Sub(next.Changed), problem)
	names, err := s.indexNames(ctx)
	if err != nil {
		return protected{}, err
	}
	point, err := commit(ctx, s.job, catalog.Commit{
		Unit: s.unit.ID,
		Point: backup.Point{
			ID: backup.NewID[backup.PointID](), At: s.at, Tree: sealed.Tree,
			Files: sealed.Files, Folders: sealed.Folders, Bytes: sealed.Bytes, Unread: int64(len(backup.Unheld(unread))),
		},
		Names: names, PrevRoot: s.state.Root, WebURL: s.site.WebURL, State: next, Problem: problem, Promise: s.e.RPO, Every: every,
	})
	if err != nil {
		return protected{}, fmt.Errorf("commit: %w", err)
	}
	s.e.metrics.points.Inc()
	s.e.metrics.unread.Add(float64(len(unread)))
	s.e.made(ctx, s.job, s.unit, point)
	if s.state.Root == "" {
		s.e.placed(ctx, s.job)
	}
	return protected{Point: point, Every: every, Parts: made}, nil
}

// unlisted names the sites whose libraries could not be listed whole, and what is told of
// no library, and since when.
func (s *siteRun) unlisted() (all []backup.Unread) {
	for _, at := range slices.Sorted(maps.Keys(s.holes)) {
		problem, _ := explainPart(backup.Library, s.holes[at])
		all = append(all, backup.Unread{Path: at, Code: problem.Code,
			Message: "The source does not list all libraries and lists of the site. Those that were known are looked at all the same; others may be missing. It is listed again at the next backup."})
	}
	if s.blind {
		all = append(all, unscanned())
	}
	for i := range all {
		all[i].Since = s.at
		for _, old := range s.state.Pending {
			if old.Path == all[i].Path && old.Item == "" && !old.Since.IsZero() {
				all[i].Since = old.Since
			}
		}
	}
	return all
}

// seal writes the point. Where the vault does not give what it should hold of the
// points before, those that can be read are brought together first.
func (s *siteRun) seal(ctx context.Context, info vault.PointInfo) (vault.Sealed, error) {
	root, tree := s.state.Root, s.state.Tree
	sealed, err := s.vault.SealParts(ctx, s.key(), root, tree, s.at, info, s.parts(s.now))
	if isDamage(err) && ctx.Err() == nil {
		s.e.Log.ErrorContext(ctx, "the vault does not give what it should hold of a site; its points are brought together anew", "tenant", s.job.Tenant, "site", who(s.unit), "err", err)
		trees, merged := s.e.Catalog.LiveTrees(ctx, s.job.Tenant, s.unit.ID, s.state.Drive)
		if merged == nil {
			merged = s.e.markLost(ctx, s.vault, s.key(), trees)
		}
		if merged == nil {
			root, merged = s.vault.Merge(ctx, s.key(), "", trees...)
		}
		if merged != nil {
			return vault.Sealed{}, merged
		}
		sealed, err = s.vault.SealParts(ctx, s.key(), root, "", s.at, info, s.parts(s.now))
	}
	if err == nil && sealed.Changed {
		err = s.vault.VerifyObjects(ctx, []string{sealed.Tree})
	}
	return sealed, err
}

// problem is what stands against the unit although a point was made.
func (s *siteRun) problem(ctx context.Context, unread []backup.Unread) (*backup.Problem, error) {
	damage, err := s.e.Catalog.OpenDamage(ctx, s.job.Tenant, s.state.Drive)
	if err != nil {
		return nil, err
	}
	if len(damage) > 0 {
		if err := s.e.suspect(ctx, s.vault, s.job.Tenant); err != nil {
			return nil, err
		}
	}
	p := &protection{vault: s.vault, damage: damage, again: s.again, stage: &stage{torn: s.torn}}
	return p.problem(ctx, unread), nil
}

// explainPart is explain for one library or list of a site.
func explainPart(kind backup.ContainerKind, err error) (backup.Problem, bool) {
	p, lasting := explain(backup.SharePoint, err)
	word := wordFor(kind)
	switch {
	case errors.Is(err, drive.ErrLocked):
		p = backup.Problem{Code: backup.ResourceLocked, Message: "The " + word + " is locked, or its site is archived."}
	case errors.Is(err, drive.ErrDenied) && kind == backup.FilePermissions:
		p = backup.Problem{Code: backup.AccessDenied, Message: "The source refuses to tell of the permissions of files and folders. Check that the application has Sites.FullControl.All."}
	case errors.Is(err, drive.ErrDenied):
		p = backup.Problem{Code: backup.AccessDenied, Message: "The source refuses access to the " + word + ". Check that the application was granted its site."}
	case errors.Is(err, drive.ErrNotFound):
		p = backup.Problem{Code: backup.ContentNotFound, Message: "The source denies the " + word + ", and it is not certain that it is gone."}
	case errors.Is(err, errOtherOwner):
		p = backup.Problem{Code: backup.DriveUnavailable, Message: "The source lists a " + word + " that is backed up as a part of another site or drive, which was not touched."}
	case isDamage(err):
	default:
		p = backup.Problem{Code: backup.DriveUnavailable, Message: "The " + word + " could not be read to its end."}
	}
	p.Message += " It is tried again at the next backup."
	return p, lasting
}
