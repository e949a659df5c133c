package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
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
	// maxLastingFailures is the same where the source says what no time will mend:
	// that there is no drive, or no access. About half a minute.
	maxLastingFailures = 5
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
		return jobs.Done, e.Catalog.ForgetListNumbers(ctx, j, backup.ArtifactID(j.Key))
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
		return e.cancelled(ctx, j, a)
	}
	of := backup.OneDrive // also of a unit that is gone, which is said below
	unit, err := e.Catalog.Unit(ctx, j.Tenant, a.Point.Unit)
	if _, gone := errors.AsType[*backup.Error](err); err != nil && !gone {
		return jobs.Result{}, err
	} else if !gone {
		of = unit.Workload
	}
	began := e.Clock()
	heeding, done := e.heed(ctx, j.Tenant, a.Session)
	restored, problem, err := e.restoreArtifact(heeding, j, a, of)
	if asked := done(); asked && err != nil && !errors.Is(err, jobs.ErrLost) && ctx.Err() == nil {
		e.Log.InfoContext(ctx, "restore stops, as was asked", "tenant", j.Tenant, "artifact", a.ID)
		return jobs.Again(e.Clock()), nil
	}
	if errors.Is(err, catalog.ErrBusy) {
		return jobs.Again(e.Clock().Add(busyPause)), nil
	}
	if err != nil {
		if stopped(ctx, err) {
			return jobs.Result{}, err
		}
		if problem != nil {
			if noteErr := e.Catalog.NoteDetails(ctx, j, a.ID, problem.Details); noteErr != nil {
				return jobs.Result{}, errors.Join(err, noteErr)
			}
		}
		why, over := restoreOver(of, j, err)
		if !over {
			return jobs.Result{}, err
		}
		noted, noteErr := e.Catalog.NotedDetails(ctx, j.Tenant, a.ID)
		if noteErr != nil {
			return jobs.Result{}, errors.Join(err, noteErr)
		}
		why = artifactProblem(of, why)
		why.Details = append(why.Details, noted...)
		problem = &why
		if err := e.Catalog.ForgetMail(ctx, j, a.ID); err != nil {
			return jobs.Result{}, err
		}
		e.Log.WarnContext(ctx, "restore failed", "tenant", j.Tenant, "artifact", a.ID, "code", why.Code, "err", err)
	}
	if restored == (catalog.Restored{}) {
		// What was restored by then, perhaps by a process that was killed, is there.
		var lookErr error
		if restored, lookErr = e.placeOf(ctx, j.Tenant, a.ID); lookErr != nil {
			return jobs.Result{}, lookErr
		}
	}
	if err := e.Catalog.FinishArtifact(ctx, j, a.ID, restored, problem); err != nil {
		return jobs.Result{}, err
	}
	took := e.Clock().Sub(began).Round(time.Millisecond)
	switch {
	case backup.Ended(problem) == backup.ArtifactSucceeded:
		e.Log.InfoContext(ctx, of.Thing()+" restored", "tenant", j.Tenant, "artifact", a.ID, "destination", a.Destination,
			"point", a.Point.At, "place", restored.SiteName, "took", took, "remarks", remarksIn(problem))
	case err == nil:
		e.Log.WarnContext(ctx, of.Thing()+" restored in part", "tenant", j.Tenant, "artifact", a.ID, "destination", a.Destination,
			"problem", problem.Message, "took", took)
	}
	if of == backup.OneDrive || of == backup.Exchange {
		return jobs.Done, nil // which have no lists
	}
	return jobs.Done, e.Catalog.ForgetListNumbers(ctx, j, a.ID)
}

// workloadOf returns of which workload a unit is, for what people are told.
func (e *Engine) workloadOf(ctx context.Context, tenant backup.TenantID, id backup.UnitID) backup.Workload {
	u, err := e.Catalog.Unit(ctx, tenant, id)
	if err != nil {
		return backup.OneDrive
	}
	return u.Workload
}

// restoreOver says in words for people why a restore fails, and whether it is
// given up: what the source says is not believed at once, in the middle of a
// restore, and a damaged vault does not heal by itself.
func restoreOver(of backup.Workload, j *jobs.Job, err error) (backup.Problem, bool) {
	why, lasting := explain(of, err)
	_, ours := errors.AsType[*backup.Error](err)
	switch {
	case ours, errors.Is(err, vault.ErrDamaged):
		return why, true
	case lasting:
		return why, j.Failures >= maxLastingFailures
	}
	return why, j.Failures >= maxRestoreFailures
}

// placeOf returns where an artifact was being restored to, as far as anything
// came of it.
func (e *Engine) placeOf(ctx context.Context, tenant backup.TenantID, id backup.ArtifactID) (catalog.Restored, error) {
	a, err := e.Catalog.ArtifactForWork(ctx, tenant, id)
	if err != nil || a.RestoredSiteID == "" && a.RestoredSiteWebURL == "" {
		return catalog.Restored{}, err
	}
	return catalog.Restored{SiteID: a.RestoredSiteID, SiteName: a.RestoredSiteName, SiteWebURL: a.RestoredSiteWebURL, Items: a.RestoredItems}, nil
}

// A reached is what a restore works with: the unit, its source, the tenant's
// vault, and the drive that the unit's owner has now.
type reached struct {
	unit   backup.Unit
	source *drive.Client
	vault  *vault.Vault
	live   drive.Drive
}

// reach returns what the restore of a point works with.
func (e *Engine) reach(ctx context.Context, tenant backup.TenantID, p backup.Point) (to reached, err error) {
	if to.unit, err = e.Catalog.Unit(ctx, tenant, p.Unit); err != nil {
		return to, err
	}
	if to.source, err = e.Sources(tenant); err != nil {
		return to, fmt.Errorf("reach the source: %w", err)
	}
	if to.vault, err = e.vaultOf(ctx, tenant, p.Drive); err != nil {
		return to, err
	}
	if to.live, err = findDrive(ctx, to.source, to.unit); err != nil || to.live.ID == p.Drive {
		return to, err
	}
	return to, e.isOwners(ctx, tenant, to.unit, to.live)
}

func (e *Engine) restoreArtifact(ctx context.Context, j *jobs.Job, a backup.Artifact, of backup.Workload) (catalog.Restored, *backup.Problem, error) {
	err := e.Catalog.StartArtifact(ctx, j, a.ID)
	if err == nil {
		a, err = e.Catalog.ArtifactForWork(ctx, j.Tenant, a.ID) // now with the time when it was started
	}
	if err != nil {
		return catalog.Restored{}, nil, err
	}
	if of != backup.OneDrive {
		unit, err := e.Catalog.Unit(ctx, j.Tenant, a.Point.Unit)
		if err != nil {
			return catalog.Restored{}, nil, err
		}
		if of == backup.SharePoint {
			return e.restoreSite(ctx, j, a, unit)
		}
		return e.restoreMailbox(ctx, j, a, unit)
	}
	reach := e.reach
	if a.Target != "" {
		reach = func(ctx context.Context, tenant backup.TenantID, p backup.Point) (reached, error) {
			return e.reachOther(ctx, tenant, p, a.Target)
		}
	}
	to, err := reach(ctx, j.Tenant, a.Point)
	if err != nil {
		return catalog.Restored{}, nil, err
	}
	live := to.live
	r := e.restoration(j, to, a.Point)
	defer r.deeds.close()
	r.since = a.Started
	if a.Destination == backup.DestinationInPlace {
		if live.ID != a.Point.Drive {
			return catalog.Restored{}, &backup.Problem{Code: backup.ArtifactCannotBeRestored,
				Message: "The drive that the restore point was taken of is gone; its owner has another one now. Restore the point to a new place."}, nil
		}
		r.survey, r.exact = r.surveyLive, true
	} else {
		if r.drive, err = e.library(ctx, j, a, to); err != nil {
			return catalog.Restored{}, nil, err
		}
		r.source = driveSource{to.source, r.drive.ID}
		r.survey = r.surveyLibrary
	}
	r.begin = func(ctx context.Context) error { return e.Catalog.NoteArtifact(ctx, j, a.ID, placed(r.drive)) }
	r.note = func(ctx context.Context, d []backup.Detail) error { return e.Catalog.NoteDetails(ctx, j, a.ID, d) }
	e.Log.InfoContext(ctx, "restore begins", "tenant", j.Tenant, "owner", who(to.unit), "artifact", a.ID,
		"destination", a.Destination, "point", a.Point.At, "place", r.drive.Name)
	problem, err := r.run(ctx)
	if err != nil {
		return catalog.Restored{}, problem, err
	}
	return placed(r.drive), problem, nil
}

func placed(d drive.Drive) catalog.Restored {
	return catalog.Restored{SiteID: d.SiteID, SiteName: d.Name, SiteWebURL: d.WebURL}
}

// library returns the new place that an artifact is restored to, a document
// library beside the live drive. Its name is reserved before it is made, and all
// of it noted before anything is written there, so that a restore that is killed
// goes on in the same one.
func (e *Engine) library(ctx context.Context, j *jobs.Job, a backup.Artifact, to reached) (drive.Drive, error) {
	source, live := to.source, to.live
	defer e.lock("libraries " + string(live.ID))()
	original := lastSegment(live)
	var of []backup.UnitID
	if a.Target != "" {
		original = nameOfOther(to.unit)
		var err error // a site's backups have what is new in it, too
		if of, err = e.Catalog.DriveUnits(ctx, j.Tenant, live.ID); err != nil {
			return drive.Drive{}, err
		}
	}
	if name := a.RestoredSiteName; name != "" {
		there, ok, err := source.FindLibrary(ctx, live.ID, name)
		switch {
		case err != nil:
			return drive.Drive{}, err
		case ok && a.RestoredSiteWebURL != "":
			if strings.EqualFold(there.WebURL, a.RestoredSiteWebURL) {
				return there, e.isLibrary(ctx, j.Tenant, there, live, name, of...)
			} // else somebody has put another in its place
		case ok:
			if free, err := e.isFree(ctx, j.Tenant, source, there, live, name, of...); err != nil || free {
				return there, err
			}
		default:
			if made, ok, err := e.makeLibrary(ctx, j.Tenant, source, live, name); err != nil || ok {
				return made, err
			}
		}
	}
	for n := range maxLibraries {
		name := fmt.Sprintf("%sR%d", original, n)
		if _, taken, err := source.FindLibrary(ctx, live.ID, name); err != nil {
			return drive.Drive{}, err
		} else if taken {
			continue
		}
		if ours, err := e.Catalog.ReserveLibrary(ctx, j, a.ID, name); err != nil {
			return drive.Drive{}, err
		} else if !ours {
			continue
		}
		if made, ok, err := e.makeLibrary(ctx, j.Tenant, source, live, name); err != nil || ok {
			return made, err
		}
	}
	return drive.Drive{}, backup.Fail(backup.ArtifactCannotBeRestored, fmt.Sprintf(
		"There are already %d restored places beside the drive. Delete those that are no longer needed and restore again.", maxLibraries))
}

// makeLibrary makes a library of a name that there was none of, and reports
// whether it did: not if the name is taken. What is there by that name after an
// answer that says otherwise, and is empty, is what it has made.
func (e *Engine) makeLibrary(ctx context.Context, tenant backup.TenantID, source *drive.Client, live drive.Drive, name string) (drive.Drive, bool, error) {
	made, err := source.CreateLibrary(ctx, live.ID, name)
	if err != nil {
		if stopped(ctx, err) {
			return drive.Drive{}, false, err
		}
		there, ok, lookErr := source.FindLibrary(ctx, live.ID, name)
		switch {
		case lookErr != nil:
			return drive.Drive{}, false, lookErr
		case !ok && errors.Is(err, drive.ErrExists):
			return drive.Drive{}, false, nil // by something that is no library
		case !ok:
			return drive.Drive{}, false, err
		}
		made = there
	}
	free, err := e.isFree(ctx, tenant, source, made, live, name)
	return made, free, err
}

// isFree reports whether a library that the source has answered with is the one
// of that name, and empty.
func (e *Engine) isFree(ctx context.Context, tenant backup.TenantID, source *drive.Client, answer, live drive.Drive, name string, of ...backup.UnitID) (bool, error) {
	if err := e.isLibrary(ctx, tenant, answer, live, name, of...); err != nil {
		return false, err
	}
	root, err := source.Root(ctx, answer.ID)
	if err != nil || root.ChildCount > 0 {
		return false, err
	}
	for _, err := range source.Children(ctx, answer.ID, root.ID) {
		return false, err // there is something in it, or nobody knows
	}
	return true, nil
}

// A wrongLibrary is an answer with another drive than the library asked for.
type wrongLibrary struct{ name string }

func (w *wrongLibrary) Error() string {
	return fmt.Sprintf("asked for the library %q, the source answered with another drive", w.name)
}

// isLibrary returns a *wrongLibrary if what the source has answered with is not
// the library of that name beside the live drive, but that drive itself, one in
// another site, or another that is backed up, but as a part of one of the units of.
func (e *Engine) isLibrary(ctx context.Context, tenant backup.TenantID, answer, live drive.Drive, name string, of ...backup.UnitID) error {
	if answer.ID == "" || strings.EqualFold(string(answer.ID), string(live.ID)) || fold(answer.Name) != fold(name) || !sameSite(answer, live) {
		return &wrongLibrary{name}
	}
	units, err := e.Catalog.DriveUnits(ctx, tenant, answer.ID)
	units = slices.DeleteFunc(units, func(id backup.UnitID) bool { return slices.Contains(of, id) })
	if err == nil && len(units) > 0 {
		err = &wrongLibrary{name}
	}
	return err
}

// sameSite reports whether two libraries are in one site, as far as their
// addresses say.
func sameSite(a, b drive.Drive) bool {
	if a.WebURL == "" || b.WebURL == "" {
		return true
	}
	u, errA := url.Parse(a.WebURL)
	v, errB := url.Parse(b.WebURL)
	site := func(u *url.URL) string { return u.Host + path.Dir(strings.TrimRight(u.Path, "/")) }
	return errA == nil && errB == nil && strings.EqualFold(site(u), site(v))
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
	source target
	vault  *vault.Vault
	drive  drive.Drive    // where to
	part   backup.DriveID // the container of the point that is brought back; "" where it has only one

	// survey finds out how the place differs from the point.
	survey func(context.Context) (*plan, error)
	begin  func(context.Context) error                  // called before the first change, if given
	note   func(context.Context, []backup.Detail) error // called before items are moved aside, if given, with all that are
	exact  bool                                         // what is not in the point goes
	stale  string                                       // why the point may lack anything that was there, if it may
	since  time.Time                                    // when the restore was first begun
	before string                                       // the tree of what was there then, once it is known

	// What this run has done and found, in all its passes.
	mu      sync.Mutex
	read    int                           // contents that the vault gave
	deeds   *deeds                        // what was made and written: the backup that follows need not download it
	proven  map[backup.ItemID]vault.Entry // live files as they were when their contents were read and found right
	refused map[backup.ItemID]bool        // whose names the source takes for another's, by the id in the point
	// apart are live items whose present content the vault holds as it was
	// handed out, which is not what the source states, and why: they stay,
	// beside what shall be.
	apart   map[backup.ItemID]string
	aside   map[backup.ItemID]string // the names that live items had before they were moved aside
	damaged map[string]damaged       // contents that cannot be read, by their ids
	room    room
	waited  time.Duration // for the end of uploads that were open
	last    *change       // the pass that was begun last, or nil
	byDelta bool          // the last survey did not enumerate the drive
	doubts  bool          // and found what was not as it shall be; none will again
	glance  bool          // the delta is believed from the beginning, since nothing is changed by it
	making  trial         // of files that are written together and were not there
	writing trial         // of those that were
	binning trial         // of files that are deleted together
	plans   []*plan       // that are not closed
	was     *vault.Tree   // before, once it was looked into
}

// A trial is whether the source writes small files together, makes one version of each
// then, and none over what has changed; or deletes files together, and none that has changed.
type trial struct {
	sync.Mutex
	made, failed bool
}

func (e *Engine) restoration(j *jobs.Job, to reached, p backup.Point) *restoration {
	return &restoration{
		e: e, job: j, unit: to.unit, point: p, source: driveSource{to.source, to.live.ID}, vault: to.vault, drive: to.live,
		deeds: newDeeds(to.vault.Scratch()), proven: map[backup.ItemID]vault.Entry{}, refused: map[backup.ItemID]bool{}, apart: map[backup.ItemID]string{}, aside: map[backup.ItemID]string{}, damaged: map[string]damaged{},
	}
}

// run changes the place until it is as the point says, and returns what could
// not be done, or what a person should know of how it was. With an error it says
// what that has left moved aside.
func (r *restoration) run(ctx context.Context) (*backup.Problem, error) {
	problem, err := r.passes(ctx)
	if h := halted(ctx); h != nil {
		ctx = h.job
	}
	if err != nil && r.last != nil && !stopped(ctx, err) {
		problem = &backup.Problem{Details: r.last.giveBack(ctx)}
	}
	return problem, err
}

func (r *restoration) newPlan() *plan {
	p := newPlan(r.vault.Scratch())
	r.plans = append(r.plans, p)
	return p
}

// closePlans gives back what the plans of passes that are over have on disk.
func (r *restoration) closePlans() {
	for _, p := range r.plans {
		p.close()
	}
	r.plans = nil
	r.was.Close()
	r.was = nil
}

// earlier returns an item as it was when the restore was first begun, and whether it was
// there. It is not for many goroutines.
func (r *restoration) earlier(ctx context.Context, id backup.ItemID) (vault.Entry, bool, error) {
	if r.was == nil {
		was, err := r.vault.Tree(ctx, r.before)
		if err != nil {
			return vault.Entry{}, false, err
		}
		r.was = was
	}
	n, ok, err := r.was.Node(ctx, id)
	return n.Entry, ok, err
}

func (r *restoration) passes(ctx context.Context) (*backup.Problem, error) {
	ctx = vault.Keeping(ctx)
	defer r.closePlans()
	var last *change // the pass before
	for pass := 1; ; pass++ {
		r.closePlans()
		plan, err := r.survey(ctx)
		if err == nil {
			err = r.deeds.err()
		}
		if err != nil {
			return nil, err
		}
		for _, w := range plan.wants {
			w.refused = w.other != "" && r.refused[w.ID]
		}
		if err := r.prove(ctx, plan); err != nil {
			return nil, err
		}
		left, more, err := r.left(plan, last)
		if err != nil {
			return nil, err
		}
		if r.byDelta && len(left)+more > 0 {
			r.doubts = true
			pass--
			continue
		}
		left = slices.DeleteFunc(left, last.leftAlone)
		hopeful := slices.ContainsFunc(left, func(d difference) bool { return !r.hopeless(plan, d, last.failure(d)) })
		if last == nil {
			hopeful = len(left)+more > 0
		}
		if !hopeful || pass > maxPasses {
			if err := r.noteDamage(ctx); err != nil {
				return nil, err
			}
			if last == nil { // an earlier run may have been killed before it gave names back
				if err := newChange(r, plan, left, more).namesBack(ctx); err != nil {
					return nil, err
				}
			}
			return r.outcome(plan, left, more, last), nil
		}
		if last == nil && r.begin != nil {
			if err := r.begin(ctx); err != nil {
				return nil, err
			}
		}
		last, r.room = newChange(r, plan, left, more), room{}
		r.last = last
		if err := last.apply(ctx); err != nil {
			return nil, err
		}
		if len(r.aside) == 0 {
			last.plan = r.newPlan() // it may be as large as the drive
		}
		if err := r.vaultAway(); err != nil {
			return nil, err
		}
	}
}

// left lists the differences of a plan; of what is simple only those whose failures
// in the last pass, if there was one, are news, and how many more there are.
func (r *restoration) left(p *plan, last *change) (left []difference, more int, err error) {
	left = p.differences(r.exact)
	if last == nil {
		return left, p.simple(), nil
	}
	told, hopeful := 0, false
	tell := func(d difference) {
		hope := !hopeful && !r.hopeless(p, d, last.failure(d))
		if told == maxDetails && !hope {
			more++
			return
		}
		told, hopeful = min(told+1, maxDetails), hopeful || hope
		left = append(left, d)
	}
	err = p.eachOpen(func(w *want) error {
		d, _ := p.differs(w)
		tell(d)
		return nil
	})
	if err == nil {
		err = p.eachGone(1, func(lives []*vault.Node) error {
			tell(beside(lives[0]))
			return nil
		})
	}
	slices.SortFunc(left, func(a, b difference) int { return strings.Compare(a.path, b.path) })
	return left, more, err
}

// maxUnreadable is how many contents may fail one after the other, before any
// was read, until that is taken for the failure of the vault's storage.
const maxUnreadable = 3

// vaultAway returns an error if no content could be read, and all because of
// the vault's storage.
func (r *restoration) vaultAway() error {
	if r.read > 0 || len(r.damaged) < maxUnreadable {
		return nil
	}
	var first error
	for _, d := range r.damaged {
		if !errors.Is(d.err, vault.ErrStorage) || isDamage(d.err) {
			return nil
		}
		first = d.err
	}
	return first
}

// hopeless reports whether another pass cannot do what the one before did not,
// for the reason given.
func (r *restoration) hopeless(p *plan, d difference, why error) bool {
	if d.lost || r.room.known && errors.Is(why, drive.ErrQuota) {
		return true
	}
	if d.want == nil || !d.want.stale() {
		return false
	}
	_, damaged := r.damaged[d.want.Content]
	return damaged || p.unsaved[d.want.id()] != ""
}

// oneFile returns nil if err is the failure of one file, and err if it is that
// of the source or the vault as a whole, or of neither.
func (r *restoration) oneFile(ctx context.Context, n vault.Node, err error) error {
	switch {
	case stopped(ctx, err), errors.Is(err, vault.ErrMissing), errors.Is(err, vault.ErrOther):
		return err
	case errors.Is(err, errNoRoom):
		return nil
	case errors.Is(err, drive.ErrQuota):
		return r.measure(ctx, n)
	case errors.Is(err, errNoParent), errors.Is(err, errNotOurs):
		return nil
	case isDamage(err):
	case errors.Is(err, vault.ErrStorage):
		// Is it this content, or all of the vault?
		if _, _, treeErr := r.vault.Stat(ctx, r.point.Tree, n.ID); treeErr != nil {
			return err
		}
	default:
		return r.sourceAway(ctx, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.damaged[n.Content] = damaged{n, err}
	return nil
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
		// Nothing is taken away on the word of a delta: the whole drive is
		// enumerated, as when its turn comes. Once it was changed, the delta is
		// believed where it speaks of all that was changed, and says that it is
		// as it shall be; else the drive is enumerated once more.
		r.byDelta = (r.last != nil || r.glance) && !r.doubts
		if !r.byDelta && !state.Full.IsZero() {
			state.Full = time.UnixMicro(1)
		}
		if r.part == "" {
			now, err = r.e.protect(ctx, r.job, unit, state, r.deeds)
			return err
		}
		for i := range state.Containers {
			if c := &state.Containers[i]; c.Drive == r.part && !r.byDelta && !c.Full.IsZero() {
				c.Full = time.UnixMicro(1)
			}
		}
		if now, err = r.e.protectSite(ctx, r.job, unit, state, map[backup.DriveID]*deeds{r.part: r.deeds}); err != nil {
			return err
		}
		return now.narrow(r.part)
	})
	if err != nil {
		return nil, fmt.Errorf("back up the live drive: %w", err)
	}
	if r.before == "" {
		if r.before, err = r.firstTree(ctx, now.Point); err != nil {
			return nil, err
		}
	}
	p, err := r.compareTrees(ctx, now.Point.Tree)
	if err != nil {
		return nil, fmt.Errorf("compare with the point: %w", err)
	}
	for _, pending := range now.Pending {
		if err := r.surveyPending(ctx, p, now.Point.Tree, pending); err != nil {
			return nil, err
		}
	}
	p.apart, p.again = r.apart, r.before != now.Point.Tree
	if err := r.match(ctx, p); err != nil {
		return nil, err
	}
	if err := r.recall(ctx, p); err != nil {
		return nil, err
	}
	return p, r.spare(ctx, p, now.Point.Tree)
}

// compareTrees plans how to come from one tree to the point. A point of which
// the vault cannot tell all is compared item by item.
func (r *restoration) compareTrees(ctx context.Context, now string) (*plan, error) {
	p := r.newPlan()
	for change, err := range r.vault.Diff(ctx, now, r.point.Tree) {
		if isDamage(err) {
			return r.compareAll(ctx, now)
		}
		if err != nil {
			return nil, err
		}
		if change.From != nil {
			p.addLive(*change.From)
		}
		if change.To != nil {
			p.addWant(*change.To)
		}
	}
	return p, nil
}

func (r *restoration) compareAll(ctx context.Context, now string) (*plan, error) {
	p := r.newPlan()
	for node, err := range r.vault.Walk(ctx, now) {
		if err != nil {
			return nil, err
		}
		p.addLive(node)
	}
	for node, err := range r.vault.Walk(ctx, r.point.Tree) {
		if err := r.addWant(p, node, err); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// addWant adds to a plan what a walk of the point yields. A folder that the
// vault cannot look into is noted.
func (r *restoration) addWant(p *plan, node vault.Node, err error) error {
	switch {
	case err == nil:
		p.addWant(node)
	case node.ID == "" || !isDamage(err):
		return err
	default:
		p.lost = append(p.lost, damaged{node, err})
		r.damaged["folder "+string(node.ID)] = damaged{node, err}
	}
	return nil
}

// firstTree returns the tree of what was in the drive when the restore was
// first begun, perhaps by a process that was killed: the first point since.
func (r *restoration) firstTree(ctx context.Context, now backup.Point) (string, error) {
	if r.since.IsZero() {
		return now.Tree, nil
	}
	points, err := r.e.Catalog.Points(ctx, r.job.Tenant, catalog.PointQuery{
		Unit: r.unit.ID, From: r.since, FromIncl: true, Oldest: true, Page: catalog.Page{Limit: 1}})
	if err != nil {
		return "", err
	}
	if len(points.Items) == 0 || points.Items[0].Drive != now.Drive {
		return now.Tree, nil
	}
	if r.part == "" {
		return points.Items[0].Tree, nil
	}
	parts, err := r.vault.Parts(ctx, points.Items[0].Tree)
	for _, part := range parts {
		if part.Drive == r.part {
			return part.Tree, nil
		}
	}
	return now.Tree, err
}

// narrow makes what was protected that of one of its containers only.
func (p *protected) narrow(part backup.DriveID) error {
	of, ok := p.Parts[part]
	switch {
	case of.Err != nil:
		return of.Err // there is no copy of what it is now
	case !ok:
		return fmt.Errorf("%w: library %s", drive.ErrNotFound, part)
	}
	p.Point.Tree, p.Pending = of.Tree, of.Pending
	return nil
}

// surveyPending adds to a plan an item that could not be backed up: it is in
// the vault with an older content, or not at all. Unless what is there now is
// in the vault all the same, nothing may be written over it.
func (r *restoration) surveyPending(ctx context.Context, p *plan, tree string, pending backup.Unread) error {
	if pending.Item == "" {
		return nil // the source gave no id: nothing of ours can name it
	}
	kept, known, err := r.vault.Stat(ctx, tree, pending.Item)
	if err != nil {
		return err
	}
	wanted, wants, err := r.vault.Stat(ctx, r.point.Tree, pending.Item)
	if err != nil && (!isDamage(err) || len(p.lost) == 0) {
		return err
	}
	why := "It could not be backed up before the restore, so that there is no copy of what it is now. " + pending.Message
	item, err := r.source.Item(ctx, pending.Item)
	switch {
	case errors.Is(err, drive.ErrNotFound):
		p.dropLive(pending.Item)
	case err != nil:
		if err := r.sourceAway(ctx, err); err != nil {
			return fmt.Errorf("read item %s: %w", pending.Item, err)
		}
		// Nothing is known of what it is now.
		there := wanted
		if known {
			there = kept
		}
		there.Content, there.CTag, there.Hash, there.Stored, there.Size = "", "", "", "", -1
		if there.ID != "" {
			p.addLive(vault.Node{Entry: there, Path: pending.Path})
		}
		p.unsaved[pending.Item] = why
	default:
		kind := backup.File
		if item.Kind == backup.Folder {
			kind = backup.Folder
		}
		now := entryOf(item, kind)
		if known && kept.Kind == kind && kind == backup.File && stillHolds(item, kept) {
			if pending.Code == backup.ContentNotConfirmed && !r.deeds.wasSent(pending.Item) && (!wants || wanted.Content != kept.Content) {
				r.apart[pending.Item] = pending.Message
			}
			return nil
		}
		p.addLive(vault.Node{Entry: now, Path: pending.Path})
		p.unsaved[pending.Item] = why
	}
	if !wants || p.hasWant(pending.Item) {
		return nil
	}
	path, _, err := r.vault.Path(ctx, r.point.Tree, pending.Item)
	if err != nil {
		return err
	}
	p.addWant(vault.Node{Entry: wanted, Path: path})
	return nil
}

// sourceAway returns err if it is all of the source that fails, and nil if it
// is one item.
func (r *restoration) sourceAway(ctx context.Context, err error) error {
	if stopped(ctx, err) || !isSource(err) {
		return err
	}
	if errors.Is(err, drive.ErrUnavailable) {
		if _, rootErr := r.source.Root(ctx); rootErr != nil {
			return err
		}
	}
	return nil
}

// spare says of the plan's items that are not in the point which of them stay:
// those that the point or the backup before the restore could not read, and
// those that came, or changed, since the restore began.
func (r *restoration) spare(ctx context.Context, p *plan, now string) error {
	unread, err := r.unread(ctx)
	if err != nil {
		return err
	}
	for _, w := range p.wants {
		if w.live == nil || w.live.ID == w.ID || !w.stale() || r.deeds.wasSent(w.live.ID) || sameSecond(w.live.Modified, w.Modified) {
			continue
		}
		// It only has the place of what shall be there.
		if came, err := r.cameSince(ctx, now, w.live); err != nil {
			return err
		} else if came || unread(w.live) != "" {
			p.unpair(w)
		}
	}
	look := func(live *vault.Node) error {
		why := cmp.Or(p.unsaved[live.ID], p.apart[live.ID], unread(live))
		if why == "" && len(p.lost) > 0 {
			why = "The vault is damaged where the restore point says what a folder held, so that it may belong there."
		}
		if why == "" {
			came, err := r.cameSince(ctx, now, live)
			if err != nil {
				return err
			}
			if came {
				why = sinceBegun
			}
		}
		if why != "" {
			p.keep(live.ID, why)
		}
		return nil
	}
	for _, live := range p.extra {
		if err := look(live); err != nil {
			return err
		}
	}
	return p.eachGone(1, func(lives []*vault.Node) error { return look(lives[0]) })
}

// unread returns what says of a live item why the point may lack it, though it
// was there: "" unless the point says that it could not be read.
func (r *restoration) unread(ctx context.Context) (func(*vault.Node) string, error) {
	if r.stale != "" {
		return func(*vault.Node) string { return r.stale }, nil
	}
	list, err := r.vault.Unread(ctx, r.point.Tree)
	if isDamage(err) {
		return func(*vault.Node) string {
			return "The vault is damaged where the restore point says what could not be read at that time, so that it may belong there."
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the point lacks: %w", err)
	}
	ids, paths := map[backup.ItemID]bool{}, map[string]bool{} // paths of those that the source gave no id
	for _, u := range list {
		if u.Item != "" {
			ids[u.Item] = true
		} else {
			paths[u.Path] = true
		}
	}
	return func(live *vault.Node) string {
		if ids[live.ID] || paths[live.Path] {
			return "The restore point says that it could not be read at that time, so that it may have been there."
		}
		return ""
	}, nil
}

const sinceBegun = "It came into the drive, or was changed, after the restore had begun."

// cameSince reports whether an item came, or changed, since the restore began.
func (r *restoration) cameSince(ctx context.Context, now string, live *vault.Node) (bool, error) {
	if r.before == now {
		return false, nil
	}
	was, ok, err := r.earlier(ctx, live.ID)
	if err != nil || !ok {
		return true, err
	}
	return live.Kind != was.Kind || live.Kind == backup.File && live.Content != was.Content && !sameContent(live.Entry, was), nil
}

// prove looks into the contents of files that were written and are not what
// was sent by what the source states of them. It may state what is wrong; or
// it writes into files itself, and then to write them again changes nothing.
func (r *restoration) prove(ctx context.Context, p *plan) error {
	group, inGroup := newGroup(ctx)
	group.SetLimit(r.e.Transfers)
	for _, w := range p.wants {
		if w.live == nil || !w.stale() && (r.exact || !w.unstated()) || p.unsaved[w.live.ID] != "" && w.live.Size < 0 {
			continue
		}
		r.mu.Lock()
		was, ok := r.proven[w.live.ID]
		r.mu.Unlock()
		if ok && was.CTag != "" && was.CTag == w.live.CTag && was.Modified.Equal(w.live.Modified) {
			w.proven = true
			continue
		}
		if !r.exact && r.deeds.live(w.ID) != w.live.ID && !r.ours(w) {
			continue // it only has the name of what shall be there
		}
		if !r.deeds.wasSent(w.live.ID) && r.exact {
			// An earlier run may have sent it, and been killed.
			if r.before == "" || !sameSecond(w.live.Modified, w.Modified) {
				continue
			}
			if was, ok, err := r.earlier(ctx, w.live.ID); err != nil {
				return err
			} else if ok && (was.Content == w.live.Content || sameContent(was, w.live.Entry)) {
				continue
			}
		}
		group.Go(func() error {
			found, err := r.compare(inGroup, w)
			switch {
			case err != nil && r.oneFile(inGroup, w.Node, err) != nil:
				return err
			case err != nil:
				return nil // it stays to be done
			}
			w.proven, w.broken = found != broken, found == broken
			if found == same {
				r.mu.Lock()
				r.proven[w.live.ID] = w.live.Entry
				r.mu.Unlock()
			}
			if found == rewritten {
				w.remark = fmt.Sprintf("It was written, and the service keeps it with another content than was sent, of %d bytes in place of %d: "+
					"it writes into some files itself, such as Office documents. Or somebody has edited it since.", w.live.Size, w.Size)
			}
			return nil
		})
	}
	return group.Wait()
}

// A finding is what a file that was written holds.
type finding int

const (
	same      finding = iota // what was sent
	broken                   // what is left of it
	rewritten                // something else
)

// compare reads what a live file holds, from the vault if it has been backed
// up, beside what it shall hold.
func (r *restoration) compare(ctx context.Context, w *want) (finding, error) {
	should, err := r.vault.Open(ctx, w.Content)
	if err != nil {
		return broken, err
	}
	defer should.Close()
	var is io.ReadCloser
	if w.live.Content != "" {
		is, err = r.vault.Open(ctx, w.live.Content)
	} else {
		is, err = r.source.Open(ctx, drive.Item{ID: w.live.ID}, true)
	}
	if err != nil {
		return broken, err
	}
	defer is.Close()
	equal, n, err := sameBytes(should, is)
	switch {
	case err != nil:
		return broken, err
	case equal && n == w.Size:
		return same, nil
	case equal || n == w.Size: // cut short, or as long and garbled
		return broken, nil
	}
	w.live.Size = n
	return rewritten, nil
}

// sameBytes reads is to its end and reports how long it is, and whether it is
// what should begins with.
func sameBytes(should, is io.Reader) (equal bool, n int64, err error) {
	equal = true
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		k, err := io.ReadFull(is, a)
		if equal {
			l, shouldErr := io.ReadFull(should, b[:k])
			if shouldErr != nil && shouldErr != io.EOF && shouldErr != io.ErrUnexpectedEOF {
				return false, n, shouldErr
			}
			equal = bytes.Equal(a[:k], b[:l])
		}
		n += int64(k)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return equal, n, nil
		default:
			return false, n, err
		}
	}
}

// surveyLibrary lists the new place and compares it with the point.
func (r *restoration) surveyLibrary(ctx context.Context) (*plan, error) {
	listed := &stage{source: r.source, dir: r.vault.Scratch()}
	defer listed.close()
	defer r.source.Forget() // nothing of it is downloaded
	if err := listed.read(ctx, ""); err != nil {
		return nil, err
	}
	p := r.newPlan()
	p.elsewhere = true
	var root vault.Entry
	for _, item := range listed.items.all() {
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
	if err := listed.items.err(); err != nil {
		return nil, err
	}
	if root.ID == "" {
		item, err := r.source.Root(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the root: %w", err)
		}
		root = entryOf(item, backup.Folder)
	}
	for node, err := range r.vault.Walk(ctx, r.point.Tree) {
		if node.Parent == "" && err == nil {
			p.addRoot(node, root)
			continue
		}
		if err := r.addWant(p, node, err); err != nil {
			return nil, fmt.Errorf("list the point: %w", err)
		}
	}
	return p, r.match(ctx, p)
}

// match pairs what a plan wants with what is there. What this restore has made
// and the source's list leaves out is asked for by its id: an index may lag
// behind.
func (r *restoration) match(ctx context.Context, p *plan) error {
	look := func(w *vault.Node, live backup.ItemID) error {
		item, err := r.source.Item(ctx, live)
		switch {
		case err == nil && !item.Deleted && item.Kind == w.Kind:
			p.addLive(vault.Node{Entry: entryOf(item, item.Kind), Path: w.Path})
		case err != nil && !errors.Is(err, drive.ErrNotFound):
			if err := r.sourceAway(ctx, err); err != nil {
				return fmt.Errorf("read item %s: %w", live, err)
			}
		}
		return nil
	}
	p.made = r.deeds
	return p.match(look)
}

// ours reports whether a live file in a place that is not the point's own is
// one that the restore, or an earlier run of it, wrote and nobody has touched
// since: whatever else changes a content sets another time.
func (r *restoration) ours(w *want) bool {
	return sameSecond(w.live.Modified, w.Modified) || w.Modified.IsZero() && r.deeds.live(w.ID) == w.live.ID
}

// outcome is what an artifact's error says: what of left could not be done, and
// what there is to know of the rest. last is the last pass, or nil.
func (r *restoration) outcome(p *plan, left []difference, more int, last *change) *backup.Problem {
	remarks := last.found(p)
	for id, why := range p.kept {
		remarks = append(remarks, r.stays(p.extra[id], why))
	}
	for _, w := range p.wants {
		switch {
		case w.remark != "":
			remarks = append(remarks, backup.Detail{Code: backup.RestoredChanged, Message: w.remark, Target: w.Path})
		case w.refused && w.live != nil && w.live.Name == w.other:
			remarks = append(remarks, backup.Detail{Code: backup.RestoredChanged, Target: w.Path,
				Message: fmt.Sprintf("Its name differs from another's in that folder only in case, or in how accents are written, which the source takes for one name. It is there as %q.", w.other)})
		}
	}
	slices.SortFunc(remarks, func(a, b backup.Detail) int { return strings.Compare(a.Target, b.Target) })
	if len(left)+more+len(remarks) == 0 {
		return nil
	}
	problem := &backup.Problem{Code: backup.RestoredWithRemarks, Message: "All is as it was at the restore point. " + remarked(len(remarks))}
	if len(left)+more > 0 {
		problem.Code = backup.ArtifactCannotBeRestored
		of := max(int(r.point.Files+r.point.Folders), len(p.wants))
		problem.Message = notWhole(left, more, of)
		for _, d := range left {
			if d.want == nil && !d.lost {
				of++ // it is beside the point's
			}
		}
		problem.Short = short(len(left)+more, of)
		if len(remarks) > 0 {
			problem.Message += " " + remarked(len(remarks))
		}
	}
	for _, d := range left[:min(len(left), maxDetails)] {
		problem.Details = append(problem.Details, r.explain(p, d, last.failure(d)))
	}
	problem.Details = append(problem.Details, remarks[:min(len(remarks), maxDetails)]...)
	return problem
}

// short says how much is missing where something failed, nil if that is all.
func short(failed, of int) *backup.Shortfall {
	if failed >= of {
		return nil
	}
	return &backup.Shortfall{Failed: failed, Of: of}
}

// notWhole counts, for people, what is left of a point of so many items, with those
// that are more: those of the point apart from what is beside them.
func notWhole(left []difference, more, of int) string {
	items, beside, lost := more, 0, 0
	for _, d := range left {
		switch {
		case d.lost:
			lost++
		case d.want == nil:
			beside++
		default:
			items++
		}
	}
	var said []string
	if items > 0 {
		said = append(said, fmt.Sprintf("%d of %s could not be restored whole", items, count(of, "item")))
	}
	if lost > 0 {
		said = append(said, "what "+count(lost, "folder")+" held is damaged in the vault")
	}
	if beside > 0 {
		said = append(said, count(beside, "item")+" that the point does not hold could not be moved to the recycle bin")
	}
	text := strings.Join(said, "; ") + "; all else is as it was at the restore point. " +
		"See the details, and restore again once the cause is gone: only what differs is transferred."
	return strings.ToUpper(text[:1]) + text[1:]
}

// remarked counts remarks, for people.
func remarked(n int) string {
	if n == 1 {
		return "There is a remark on 1 item; see the details."
	}
	return fmt.Sprintf("There are remarks on %d items; see the details.", n)
}

// remarksIn counts the details of what a restore that succeeded has to say.
func remarksIn(p *backup.Problem) int {
	if p == nil {
		return 0
	}
	return len(p.Details)
}

// explain says why a difference is left.
func (r *restoration) explain(p *plan, d difference, err error) backup.Detail {
	code, why := backup.ArtifactCannotBeRestored, ""
	unsaved, damaged := "", false
	if d.want != nil && d.want.stale() {
		unsaved = p.unsaved[d.want.id()]
		_, damaged = r.damaged[d.want.Content]
	}
	switch {
	case d.lost:
		code = backup.VaultDamaged
	case damaged:
		code, why = notWritten(vault.ErrDamaged)
	case unsaved != "":
		code, why = backup.LeftAsItIs, "It was left as it is. "+unsaved
	case errors.Is(err, errNotOurs):
		why = "What is there by its name was put there, or edited, by somebody else, and was left as it is."
	case errors.Is(err, errNoParent):
		why = "The folder that it belongs into could not be made."
	case err != nil:
		code, why = notWritten(err)
	}
	message := d.what
	if why != "" {
		message += " " + why
	}
	if said := sourceSays(err); said != "" {
		message += " " + said
	}
	return backup.Detail{Code: code, Message: message, Target: d.path}
}

// nameTaken reports whether a change was refused because of a name, and not
// because the item has another change under way.
func nameTaken(err error) bool {
	e, ok := errors.AsType[*drive.Error](err)
	return errors.Is(err, drive.ErrExists) && (!ok || e.Code == "" || strings.Contains(strings.ToLower(e.Code+e.Inner), "namealreadyexists"))
}

// A damaged file of a point is one whose content the vault does not give.
type damaged struct {
	vault.Node
	err error
}

// noteDamage notes which contents could not be read, and has the unit say that
// its vault is damaged.
func (r *restoration) noteDamage(ctx context.Context) error {
	if len(r.damaged) == 0 {
		return nil
	}
	found := slices.SortedFunc(maps.Values(r.damaged), func(a, b damaged) int { return strings.Compare(a.Path, b.Path) })
	r.e.Log.ErrorContext(ctx, "the vault is damaged", "tenant", r.job.Tenant, "owner", who(r.unit), "items", len(found), "first", found[0].Path, "err", found[0].err)
	p := &backup.Problem{Code: backup.VaultDamaged, Message: fmt.Sprintf("The vault is damaged: the contents of %s in a restore point cannot be read. "+
		"All others can be restored. Check the vault's storage, and bring back from a copy what is missing there.", count(len(found), "item"))}
	all := make([]backup.Damage, len(found))
	for i, d := range found {
		why := "Its content cannot be read from the vault."
		if d.Kind == backup.Folder {
			why = "The vault cannot tell what is in the folder."
		}
		all[i] = backup.Damage{Unit: r.unit.ID, Drive: r.point.Drive, Item: d.ID, Path: d.Path, Content: d.Content, Reason: why}
		if i < maxDetails {
			p.Details = append(p.Details, backup.Detail{Code: backup.VaultDamaged, Message: all[i].Reason, Target: d.Path})
		}
	}
	if err := r.e.Catalog.NoteDamage(ctx, r.job.Tenant, all); err != nil {
		return err
	}
	err := r.e.Catalog.FailUnit(ctx, r.job, r.unit.ID, p)
	if errors.Is(err, catalog.ErrNotWanted) {
		return nil // it is protected no longer; its damage is noted all the same
	}
	return err
}
