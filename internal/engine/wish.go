package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// What an operator asks of a restore at work is in the catalog, so that it holds
// whichever process works on it, and whatever is killed. A worker looks at it now and
// then, stops where it is, and gives back what it has moved aside; its job, begun
// anew, then waits, or brings the restore to its end.
const (
	// wishEvery is how often a restore looks at what was asked of it.
	wishEvery = time.Second
	// pausedFor is how long the job of a paused restore rests before it looks again
	// by itself. Resuming wakes it at once.
	pausedFor = time.Hour
)

// errPausedByOperator stands with the job of a paused restore.
var errPausedByOperator = errors.New("the restore was paused; it waits until it is resumed or cancelled")

// A halt is why the context of a restore ends when something was asked of it.
type halt struct {
	wish backup.Wish
	job  context.Context // of the restore's job, which goes on
}

func (h *halt) Error() string { return "asked of the restore: " + string(h.wish) }

// halted returns the halt that ctx has ended with, or nil.
func halted(ctx context.Context) *halt {
	h, _ := errors.AsType[*halt](context.Cause(ctx))
	return h
}

// heed returns a context of a restore that ends as soon as its session is to be paused
// or cancelled. done is called once, when the restore returns, and says whether it was.
func (e *Engine) heed(ctx context.Context, tenant backup.TenantID, session backup.SessionID) (heeding context.Context, done func() bool) {
	heeding, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		ticks := time.NewTicker(wishEvery)
		defer ticks.Stop()
		for {
			select {
			case <-heeding.Done():
				return
			case <-ticks.C:
			}
			wish, err := e.Catalog.Wish(heeding, tenant, session)
			if err != nil {
				continue // the restore has the same database, and will say so
			}
			if wish != backup.WishNone {
				cancel(&halt{wish, ctx})
				return
			}
		}
	}()
	return heeding, func() bool {
		h := halted(heeding)
		cancel(nil)
		<-over
		return h != nil
	}
}

// rests is the result of the job of a restore that is paused.
func (e *Engine) rests(j *jobs.Job) jobs.Result {
	return jobs.Paused(e.next(pausedFor, string(j.Kind)+" "+j.Key), errPausedByOperator)
}

// An ending is what a restore that was cancelled has done, and what not.
type ending struct {
	done, left, aside int // items
	details           []backup.Detail
}

// end looks at the place as it is, gives back what was moved aside, and says what of
// the point is there. It changes nothing else.
func (r *restoration) end(ctx context.Context) (is ending, err error) {
	defer r.closePlans()
	// What may have another name still is found by going through all.
	noted, err := r.e.Catalog.NotedDetails(ctx, r.job.Tenant, backup.ArtifactID(r.job.Key))
	if err != nil {
		return is, err
	}
	r.glance = len(noted) == 0
	plan, err := r.survey(ctx)
	if err == nil {
		err = r.prove(ctx, plan)
	}
	if err != nil {
		return is, err
	}
	left, more, err := r.left(plan, nil)
	if err != nil {
		return is, err
	}
	c := newChange(r, plan, left, more)
	if err := c.namesBack(ctx); err != nil {
		return is, err
	}
	is.left = len(left) + more
	var open []backup.Detail
	say := func(d difference) error {
		if len(open) == maxDetails {
			return errEnough
		}
		what := d.what
		if d.live != "" {
			what = "It is not in the restore point, and is still there."
		}
		open = append(open, backup.Detail{Code: backup.RestoreCancelled, Message: "Not restored. " + what, Target: d.path})
		return nil
	}
	pending := make(map[string]bool, len(left))
	for _, d := range left {
		pending[d.path] = true
		say(d)
	}
	err = plan.eachOpen(func(w *want) error {
		d, _ := plan.differs(w)
		return say(d)
	})
	if err == nil && r.exact {
		err = plan.eachGone(1, func(lives []*vault.Node) error { return say(beside(lives[0])) })
	}
	if err != nil && !errors.Is(err, errEnough) {
		return is, err
	}
	slices.SortStableFunc(open, func(a, b backup.Detail) int { return strings.Compare(a.Target, b.Target) })
	aside := c.stillAside()
	is.aside = len(aside)
	is.details = slices.Concat(aside[:min(len(aside), maxDetails)], open)
	if !r.exact {
		is.done = max(r.wanted(plan)-is.left, 0)
		return is, nil
	}
	was, err := r.compareTrees(ctx, r.before)
	if err != nil {
		return is, fmt.Errorf("compare what was with the point: %w", err)
	}
	if err := was.match(func(*vault.Node, backup.ItemID) error { return nil }); err != nil {
		return is, err
	}
	for id, why := range plan.kept {
		was.keep(id, why)
	}
	var done []backup.Detail
	tell := func(path string, want, live backup.ItemID) {
		if pending[path] || plan.isOpen(want, live) {
			return
		}
		if is.done++; len(done) < maxDetails {
			done = append(done, backup.Detail{Code: backup.RestoredWithRemarks, Message: "It was restored before the restore was cancelled.", Target: path})
		}
	}
	for _, d := range was.differences(true) {
		if d.want != nil {
			tell(d.path, d.want.ID, "")
		} else {
			tell(d.path, "", d.live)
		}
	}
	err = was.eachOpen(func(w *want) error {
		tell(w.Path, w.ID, "")
		return nil
	})
	if err == nil {
		err = was.eachGone(1, func(lives []*vault.Node) error {
			tell(lives[0].Path, "", lives[0].ID)
			return nil
		})
	}
	if err != nil {
		return is, err
	}
	slices.SortStableFunc(done, func(a, b backup.Detail) int { return strings.Compare(a.Target, b.Target) })
	is.details = append(is.details, done...)
	return is, nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// wanted counts the items that shall be in a place of a restoration's own.
func (r *restoration) wanted(p *plan) int {
	n := len(p.wants)
	for i, is := range p.files.marks {
		if is != loaded && nodeAt(p.files.wants, i) != nil {
			n++
		}
	}
	return n
}

// problem says of a restore that was cancelled how far it came.
func (is ending) problem(what string) *backup.Problem {
	p := &backup.Problem{Code: backup.RestoreCancelled, Details: is.details}
	switch {
	case is.left == 0:
		p.Message = fmt.Sprintf("The restore was cancelled when all of %s was as it was at the restore point.", what)
	case is.done == 0:
		p.Message = fmt.Sprintf("The restore was cancelled. Of %s nothing had been restored: %s as at the restore point.", what, differ(is.left))
	default:
		p.Message = fmt.Sprintf("The restore was cancelled. Of %s %s had been restored, and %s as at the restore point; the details name them.", what, count(is.done, "item"), differ(is.left))
	}
	if is.aside > 0 {
		p.Message += " What had been moved aside could not all be given its name back; see the details."
	} else {
		p.Message += " Whatever was moved aside has its name again."
	}
	if is.left > 0 {
		p.Message += " Restore the point again to go on: only what differs is transferred."
	}
	return p
}

func differ(n int) string {
	if n == 1 {
		return "1 item is not"
	}
	return fmt.Sprintf("%d items are not", n)
}

// add takes what became of a part.
func (is *ending) add(library string, part ending) {
	is.done, is.left, is.aside = is.done+part.done, is.left+part.left, is.aside+part.aside
	is.details = append(is.details, under(library, part.details)...)
	is.details = is.details[:min(len(is.details), 4*maxDetails)]
}

// notBegun is what a restore says that was cancelled before it changed anything.
func notBegun() *backup.Problem {
	return &backup.Problem{Code: backup.RestoreCancelled, Message: "The restore was cancelled before it had changed anything."}
}

// cancelled brings an artifact of a cancelled session to its end.
func (e *Engine) cancelled(ctx context.Context, j *jobs.Job, a backup.Artifact) (jobs.Result, error) {
	place, err := e.placeOf(ctx, j.Tenant, a.ID)
	if err != nil {
		return jobs.Result{}, err
	}
	problem := notBegun()
	unit, err := e.Catalog.Unit(ctx, j.Tenant, a.Point.Unit)
	if err != nil && !errors.Is(err, backup.ProtectionUnitNotFound) {
		return jobs.Result{}, err
	}
	if a.Status == backup.ArtifactInProgress && unit.Workload == backup.Exchange {
		if problem, err = e.endMailbox(ctx, j, a); err != nil {
			return jobs.Result{}, err
		}
	} else if a.Status == backup.ArtifactInProgress && place != (catalog.Restored{}) {
		is, err := e.endArtifact(ctx, j, a)
		switch {
		case err == nil:
			problem = is.problem("the restore point")
		case stopped(ctx, err), j.Failures < maxLastingFailures:
			return jobs.Result{}, err
		default:
			if problem, err = e.unseen(ctx, j, a, err); err != nil {
				return jobs.Result{}, err
			}
		}
	}
	if err := e.Catalog.FinishArtifact(ctx, j, a.ID, place, problem); err != nil {
		return jobs.Result{}, err
	}
	e.Log.InfoContext(ctx, "restore cancelled", "tenant", j.Tenant, "artifact", a.ID, "destination", a.Destination, "point", a.Point.At, "problem", problem.Message)
	return jobs.Done, e.Catalog.ForgetListNumbers(ctx, j, a.ID)
}

// unseen is what a restore says that was cancelled while its place could not be looked
// at: why, and what may have been moved aside.
func (e *Engine) unseen(ctx context.Context, j *jobs.Job, a backup.Artifact, cause error) (*backup.Problem, error) {
	noted, err := e.Catalog.NotedDetails(ctx, j.Tenant, a.ID)
	if err != nil {
		return nil, err
	}
	why, _ := explain(e.workloadOf(ctx, j.Tenant, a.Point.Unit), cause)
	e.Log.WarnContext(ctx, "a cancelled restore could not be looked at", "tenant", j.Tenant, "artifact", a.ID, "code", why.Code, "err", cause)
	return &backup.Problem{Code: backup.RestoreCancelled, Details: append([]backup.Detail{{Code: why.Code, Message: why.Message}}, noted...),
		Message: "The restore was cancelled, and what it had done could not be looked at: see the details, which also name what it may have moved aside. Restore the point again once the cause is gone."}, nil
}

// endArtifact looks at what an artifact at work has done, and gives back what was
// moved aside.
func (e *Engine) endArtifact(ctx context.Context, j *jobs.Job, a backup.Artifact) (is ending, err error) {
	unit, err := e.Catalog.Unit(ctx, j.Tenant, a.Point.Unit)
	if err != nil {
		return is, err
	}
	if unit.Workload == backup.SharePoint {
		return e.endSite(ctx, j, a, unit)
	}
	to, err := e.reach(ctx, j.Tenant, a.Point)
	if err != nil {
		return is, err
	}
	r := e.restoration(j, to, a.Point)
	defer r.deeds.close()
	r.since = a.Started
	if a.Destination == backup.DestinationInPlace {
		r.survey, r.exact = r.surveyLive, true
		return r.end(ctx)
	}
	there, ok, err := to.source.FindLibrary(ctx, to.live.ID, a.RestoredSiteName)
	if err != nil || !ok {
		return goneLibrary(a.RestoredSiteName, a.Point.Files+a.Point.Folders), err
	}
	r.drive, r.source, r.survey = there, driveSource{to.source, there.ID}, r.surveyLibrary
	return r.end(ctx)
}

// goneLibrary is the ending of a restore whose new place is there no longer.
func goneLibrary(name string, items int64) ending {
	return ending{left: int(items), details: []backup.Detail{{Code: backup.RestoreCancelled, Target: name, Message: "The library that was restored into is there no longer."}}}
}

// endSite is endArtifact for a site: a library that cannot be looked at is named.
func (e *Engine) endSite(ctx context.Context, j *jobs.Job, a backup.Artifact, unit backup.Unit) (is ending, err error) {
	to, err := e.reachSite(ctx, j.Tenant, unit, a.Point)
	if err != nil {
		return is, err
	}
	libraries, err := to.source.Libraries(ctx, to.site.ID)
	if err != nil {
		return is, err
	}
	if len(libraries) == 0 {
		return is, errNoLibrary
	}
	for _, part := range to.libraries() {
		one, err := e.endLibrary(ctx, j, a, to, libraries[0], part)
		if errors.Is(err, drive.ErrNotFound) {
			one, err = goneLibrary("", part.Files+part.Folders), nil
		}
		if err != nil {
			return is, err
		}
		is.add(part.Name, one)
	}
	if err := e.endLists(ctx, j, a, to, libraries[0], &is); err != nil {
		return is, err
	}
	return is, e.endPages(ctx, j, a, to, &is)
}

// endLists looks at the lists of a site's restore that was cancelled, and at the columns
// of files.
func (e *Engine) endLists(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, anchor drive.Drive, is *ending) error {
	s := e.listRestoresOf(j, a, to)
	defer s.close()
	s.look = true
	beside := newPlaces{lists: map[backup.DriveID]drive.ListRef{}}
	for _, part := range to.lists() {
		if a.Destination != backup.DestinationInPlace {
			site, name, err := placeOfList(ctx, to, part, suffixOf(a.RestoredSiteName))
			if err != nil {
				return err
			}
			there, ok, err := to.source.FindList(ctx, site, name)
			if err != nil {
				return err
			}
			if !ok {
				is.add(part.Name, goneList(part))
				continue
			}
			beside.lists[part.Drive] = there.ListRef
		}
		problem, err := s.place(ctx, a, to, part, beside)
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil || problem != nil {
			is.add(part.Name, goneList(part))
		}
	}
	for _, part := range to.parts {
		if part.Kind != backup.FileColumns {
			continue
		}
		if err := s.endColumns(ctx, a, to, anchor, part); endsAll(ctx, err) {
			return err
		} else if err != nil {
			is.add(part.Name, ending{left: int(part.Files), details: []backup.Detail{{Code: backup.RestoreCancelled, Message: "What the columns hold of files could not be looked at."}}})
		}
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	return s.each(func(l *listRestore) error {
		if l.err != nil {
			return l.err
		}
		one := ending{done: l.paired, left: l.done + l.failed}
		what := "Not restored: " + count(one.left, "item") + " of the list."
		if l.files != nil {
			one.left += l.absent
			what = "Not restored: what the columns hold of " + count(one.left, "item") + "."
			differed, err := l.differed(ctx)
			if err != nil {
				return err
			}
			one.done += max(differed-one.left, 0)
		}
		if one.left > 0 {
			one.details = []backup.Detail{{Code: backup.RestoreCancelled, Message: what}}
		}
		is.add(l.part.Name, one)
		return nil
	})
}

// endColumns has the columns of a library's files looked at, if the library is there:
// else that is named with the files.
func (s *listRestores) endColumns(ctx context.Context, a backup.Artifact, to reachedSite, anchor drive.Drive, part vault.Part) error {
	i := slices.IndexFunc(to.parts, func(p vault.Part) bool { return p.Kind == backup.Library && p.Drive == part.Library })
	if i < 0 {
		return nil
	}
	library := to.parts[i]
	var into drive.Drive
	var err error
	there := true
	if a.Destination == backup.DestinationInPlace {
		into, err = s.e.liveLibrary(ctx, s.job.Tenant, to, library)
	} else {
		beside, name, placed := placeOfPart(ctx, to, anchor, library, suffixOf(a.RestoredSiteName))
		if err = placed; err == nil {
			into, there, err = to.source.FindLibrary(ctx, beside.ID, name)
		}
	}
	if errors.Is(err, drive.ErrNotFound) || err == nil && !there {
		return nil
	}
	if err == nil {
		_, err = s.addColumnsOf(ctx, to, part, library, into)
	}
	return err
}

// differed counts the items of which the columns held something else when the restore in
// place began.
func (l *listRestore) differed(ctx context.Context) (n int, err error) {
	if !l.exact || l.before == "" {
		return 0, nil
	}
	for change, err := range l.vault.Diff(ctx, l.before, l.part.Tree) {
		if isDamage(err) {
			return 0, nil // it is not known
		}
		if err != nil {
			return 0, fmt.Errorf("compare what was with the point: %w", err)
		}
		if change.To != nil && l.number(change.To.ID) > 0 && change.To.Kind == backup.File {
			n++
		}
	}
	return n, nil
}

// endPages looks at the pages of a site's restore that was cancelled.
func (e *Engine) endPages(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, is *ending) error {
	suffix := ""
	if a.Destination != backup.DestinationInPlace {
		suffix = suffixOf(a.RestoredSiteName)
	}
	for _, part := range to.pages() {
		r := e.pageRestore(j, to, part, suffix)
		r.look = true
		if _, err := r.pass(ctx); err != nil {
			return err
		}
		is.add(part.Name, ending{done: r.right, left: len(r.failures), details: r.failures[:min(len(r.failures), maxDetails)]})
	}
	return nil
}

// goneList is goneLibrary for a list.
func goneList(part vault.Part) ending {
	return ending{left: int(part.Files), details: []backup.Detail{{Code: backup.RestoreCancelled, Message: "The list that was restored into is not there."}}}
}

func (e *Engine) endLibrary(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, anchor drive.Drive, part vault.Part) (is ending, err error) {
	if a.Destination == backup.DestinationInPlace {
		live, err := e.liveLibrary(ctx, j.Tenant, to, part)
		if err != nil {
			return is, err
		}
		r := to.restoration(e, j, a.Point, part, live)
		defer r.deeds.close()
		r.since, r.survey, r.exact = a.Started, r.surveyLive, true
		return r.end(ctx)
	}
	beside, name, err := placeOfPart(ctx, to, anchor, part, suffixOf(a.RestoredSiteName))
	if err != nil {
		return is, err
	}
	there, ok, err := to.source.FindLibrary(ctx, beside.ID, name)
	if err != nil || !ok {
		return goneLibrary("", part.Files+part.Folders), err
	}
	r := to.restoration(e, j, a.Point, part, there)
	defer r.deeds.close()
	r.since, r.survey = a.Started, r.surveyLibrary
	return r.end(ctx)
}

// cancelledItem brings a file or folder of a cancelled session to its end.
func (e *Engine) cancelledItem(ctx context.Context, j *jobs.Job, a backup.GranularArtifact) (jobs.Result, error) {
	restored := catalog.RestoredItem{Key: a.RestoredKey, Path: a.RestoredPath, WebURL: a.RestoredWebURL}
	problem := notBegun()
	if a.Status == backup.ArtifactInProgress {
		problem = &backup.Problem{Code: backup.RestoreCancelled, Message: fmt.Sprintf(
			"The restore was cancelled while %s was being restored. What had been written by then is in the folder that the session restores into; nothing else was changed.", path.Base(a.Name))}
	}
	if err := e.Catalog.FinishGranular(ctx, j, a.ID, restored, problem); err != nil {
		return jobs.Result{}, err
	}
	e.Log.InfoContext(ctx, "restore of an item cancelled", "tenant", j.Tenant, "artifact", a.ID, "point", a.Point.At)
	return jobs.Done, nil
}
