package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

const (
	// maxDetails is how many files an error names one by one.
	maxDetails = 100
	// maxTries is how often a file that changes while it is read is read anew.
	maxTries = 3
	// maxRetried is how many files that failed before are tried again in one
	// run. Those that were tried least often come first.
	maxRetried = 200
	// secondTry is how long a run waits at most before it tries those files again
	// that failed by themselves.
	secondTry = 5 * time.Second
	// maxSaid is how many changes that the source left out the log names.
	maxSaid = 20
	// maxMoved is how often a run starts over because another was faster.
	maxMoved = 5
	// askEvery is after how many intervals a run asks again which drive the owner
	// has. Until then it is taken to be the one that it was, as long as that answers.
	askEvery = 6
)

var (
	// errNoOwner: the directory does not know the unit's owner.
	errNoOwner = errors.New("the directory does not know the owner")
	// errOtherOwner: the source answered with somebody else's drive.
	errOtherOwner = errors.New("the source answered with the drive of somebody else")
	// errTangled: what the source says of folders makes no tree.
	errTangled = errors.New("the folders make no tree")
)

// backup is the job of one unit: it makes a point, and comes again.
func (e *Engine) backup(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	id := backup.UnitID(j.Key)
	var unit backup.Unit
	var made protected
	err := retryMoved(func() error {
		defer e.lock("unit " + j.Key)()
		var state catalog.DriveState
		var err error
		if unit, state, err = e.Catalog.UnitForBackup(ctx, j.Tenant, id); err != nil {
			return err
		}
		asks := ctx
		if state.Drive == "" {
			asks = budget.For(ctx, budget.FirstBackups)
		}
		if unit.Workload == backup.SharePoint {
			made, err = e.protectSite(ctx, j, unit, state, nil)
		} else {
			made, err = e.protect(asks, j, unit, state, nil)
		}
		return err
	})
	switch {
	case err == nil:
		e.learnOwner(ctx, unit)
		return jobs.Again(e.nextVisit(made, j.Key)), nil
	case errors.Is(err, catalog.ErrNotWanted):
		return jobs.Done, nil
	case paused(err) && ctx.Err() == nil && (unit.Status != backup.UnitProtected || e.waitsLong(ctx, unit)):
		// It has no point yet, or no new one, and people look for why.
	case stopped(ctx, err), errors.Is(err, catalog.ErrMoved):
		return jobs.Result{}, err
	}
	e.metrics.failures.Inc()
	problem, lasting := explain(unit.Workload, err)
	switch failed := e.Catalog.FailUnit(ctx, j, id, &problem); {
	case errors.Is(failed, catalog.ErrNotWanted):
		return jobs.Done, nil
	case failed != nil:
		return jobs.Result{}, errors.Join(err, failed)
	}
	if !lasting {
		return jobs.Result{}, err // tried again soon, and then less and less often
	}
	e.learnOwner(ctx, unit)
	e.Log.WarnContext(ctx, unit.Workload.Thing()+" not backed up", "tenant", j.Tenant, "unit", id, "owner", who(unit), "code", problem.Code, "err", err)
	return jobs.Again(e.next(e.Interval, j.Key)).Patiently(), nil
}

// maxQuiet is how long a unit may have no new point for the source's pauses alone
// before it says so.
const maxQuiet = 24 * time.Hour

// waitsLong reports whether a unit's newest point is older than that.
func (e *Engine) waitsLong(ctx context.Context, u backup.Unit) bool {
	newest, err := e.Catalog.Points(ctx, u.Tenant, catalog.PointQuery{Unit: u.ID, Page: catalog.Page{Limit: 1}})
	return err == nil && (len(newest.Items) == 0 || e.Clock().Sub(newest.Items[0].At) > max(maxQuiet, 3*e.Interval))
}

// learnOwner has the mirror of the directory know a unit's owner or site, whose name
// people see; the unit may have been added by id alone. It is no part of the
// backup, and may fail.
func (e *Engine) learnOwner(ctx context.Context, u backup.Unit) {
	if u.ID != "" && u.Name == "" && u.Address == "" {
		e.learnSubjects(ctx, u.Tenant, u.Workload, []string{string(u.Subject)})
	}
}

// learnSubjects asks the source what subjects of a workload are called, and returns how
// many the mirror knows since.
func (e *Engine) learnSubjects(ctx context.Context, tenant backup.TenantID, workload backup.Workload, subjects []string) int {
	known, err := e.askFor(ctx, tenant, workload, subjects)
	if err != nil {
		e.Log.DebugContext(ctx, "not looked up by name", "tenant", tenant, "of", workload, "subjects", len(subjects), "err", err)
		return 0
	}
	return known
}

// retryMoved does again what another worker's commit made void.
func retryMoved(try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if !errors.Is(err, catalog.ErrMoved) || n == maxMoved {
			return err
		}
	}
}

// who names a unit's owner for the log.
func who(u backup.Unit) string {
	switch {
	case u.Address != "":
		return u.Address
	case u.Name != "":
		return u.Name
	}
	return string(u.Subject)
}

// A protection is one run over one drive: what is there now becomes a point.
//
// The source offers no snapshot of a drive. The point is the state at the
// moment the enumeration ended; a file that changes between then and its
// download is kept as it was downloaded, whole and consistent in itself.
//
// Every item that the source spoke of ends as one of three: held and verified;
// held as it was last readable, and named; not held, and named. See note.
type protection struct {
	e      *Engine
	job    *jobs.Job
	unit   backup.Unit
	client *drive.Client // that finds the drive
	source source
	drive  drive.Drive
	asked  time.Time // when the source said that it is the owner's
	vault  *vault.Vault
	of     *partOf
	state  catalog.DriveState // as the catalog has it
	update *vault.Update
	base   *vault.Update // what was backed up before: update, but in a drive that begins anew
	stage  *stage
	seeds  *deeds        // contents that are known without reading them
	saved  *vault.Update // what a run that was killed had brought; nil if nothing
	old    map[backup.ItemID]backup.Unread
	again  map[backup.ItemID]bool                   // whose content is read anew although nothing says that it changed
	finish func(context.Context, *protection) error // adds to what is staged before it is sealed, if given
	began  time.Time
	at     time.Time
	// undamaged says that nothing was known to be damaged in the tenant's vaults when the
	// run began.
	undamaged bool

	mu         sync.Mutex // guards what follows, and update.Put and Delete
	todo       []number   // numbers of items, as all such lists are: see items
	next       int        // in todo
	later      []number   // what failed by itself, to be tried once more
	last       bool       // this is that second try
	unread     map[backup.ItemID]backup.Unread
	nameless   []backup.Unread
	reread     map[backup.ItemID]bool // of those named before, the ones that were read now
	vanished   []number               // listed, and denied when they were to be read
	others     []number               // listed as another version than the one that was read
	checkpoint struct {
		at    time.Time
		bytes int64
	}
	put, deleted, fetched int
	bytes                 int64
	written               []written       // a sample of the contents that this run brought
	damage                []backup.Damage // that is known of the drive and not healed
}

// partOf says what a run over one of several containers is a part of; of a drive
// that is a unit's only one it is nil. The point is then not of the run, but of all.
type partOf struct {
	drive      backup.DriveID                            // what the points are kept under
	saved      string                                    // the tree of a run that was killed, or ""
	checkpoint func(context.Context, vault.Sealed) error // makes what was brought so far safe
	has        func(path string) bool                    // whether what is there in a point is of this container
}

// A protectedPart is what a run leaves of one of several containers.
type protectedPart struct {
	Tree    string // "" if it was never backed up
	Pending []backup.Unread
	Err     error // why it is as it was before, or nil
}

// A protected drive is what a run leaves.
type protected struct {
	Point   backup.Point
	Drive   drive.Drive
	Pending []backup.Unread
	Every   time.Duration // after how long the drive is visited next
	Parts   map[backup.DriveID]protectedPart
}

func newProtection(e *Engine, j *jobs.Job, unit backup.Unit) *protection {
	return &protection{e: e, job: j, began: e.Clock(), unit: unit,
		old: map[backup.ItemID]backup.Unread{}, again: map[backup.ItemID]bool{}, reread: map[backup.ItemID]bool{}, unread: map[backup.ItemID]backup.Unread{}}
}

// protect backs a unit up and returns the point it made. Files that seeds
// knows, by the id under which they are found, are not downloaded as long as
// they still are what seeds says.
func (e *Engine) protect(ctx context.Context, j *jobs.Job, unit backup.Unit, state catalog.DriveState, seeds *deeds) (protected, error) {
	p := newProtection(e, j, unit)
	p.state, p.seeds, p.undamaged = state, seeds, !state.Damaged
	if unit.Workload == backup.Exchange {
		p.finish = keepMIME
	}
	var err error
	if p.client, err = e.Sources(j.Tenant); err != nil {
		return protected{}, fmt.Errorf("reach the source: %w", err)
	}
	p.drive, p.asked = drive.Drive{ID: state.Drive}, state.Asked
	if err := p.open(ctx, max(state.Vault, 1)); err != nil {
		return protected{}, err
	}
	p.reads()
	remembered := e.remembers(j, state)
	if !remembered {
		if err := p.ask(ctx); err != nil {
			return protected{}, err
		}
	}
	if state.Drive != p.drive.ID {
		if err := p.e.isOwners(ctx, p.job.Tenant, p.unit, p.drive); err != nil {
			return protected{}, err
		}
		// The owner has another drive than before: it begins anew, and the
		// points of the old one stay. It may be one that we once knew.
		root, number, err := e.Catalog.Root(ctx, j.Tenant, p.drive.ID)
		if err == nil && number != max(state.Vault, 1) {
			err = p.open(ctx, number)
		}
		if err != nil {
			return protected{}, err
		}
		p.state = catalog.DriveState{Drive: p.drive.ID, Root: root, Vault: number}
	}
	defer func() { p.close() }()
	sealed, unread, err := p.run(ctx)
	if err != nil && remembered && !stopped(ctx, err) && !isDamage(err) && !errors.Is(err, catalog.ErrMoved) {
		// The owner may have another drive by now, or none.
		if asked := p.ask(ctx); asked != nil {
			return protected{}, asked
		}
		if p.drive.ID != state.Drive {
			p.close()
			state.Asked = time.Time{}
			return e.protect(ctx, j, unit, state, seeds)
		}
	}
	if isDamage(err) && ctx.Err() == nil {
		sealed, unread, err = p.runAnew(ctx, err)
	}
	if err != nil {
		return protected{}, err
	}
	commit := e.Catalog.CommitPoint
	if j.Kind == jobs.Restore {
		commit = e.Catalog.KeepPoint
	}
	next := catalog.DriveState{
		Drive: p.drive.ID, Root: sealed.Root, Tree: sealed.Tree, Vault: p.state.Vault,
		Cursor: p.stage.cursor, Pending: unread, Full: p.fullAt(), Asked: p.asked, Changed: p.changedAt(sealed.Tree), Top: p.stage.counted(),
	}
	problem := p.problem(ctx, unread)
	every := e.pace(p.at.Sub(next.Changed), problem)
	mail, err := p.indexMail(ctx, sealed.Tree)
	if err != nil {
		return protected{}, err
	}
	names, err := p.indexNames(ctx, sealed)
	if err != nil {
		return protected{}, err
	}
	point, err := commit(ctx, j, catalog.Commit{
		Unit: unit.ID,
		Point: backup.Point{
			ID: backup.NewID[backup.PointID](), At: p.at, Tree: sealed.Tree,
			Files: sealed.Files, Folders: sealed.Folders, Bytes: sealed.Bytes, Unread: int64(len(backup.Unheld(unread))),
		},
		Mail:     mail,
		Names:    names,
		PrevRoot: p.state.Root,
		WebURL:   p.drive.WebURL,
		State:    next,
		Problem:  problem,
		Promise:  e.RPO,
		Every:    every,
	})
	if err != nil {
		return protected{}, fmt.Errorf("commit: %w", err)
	}
	e.metrics.points.Inc()
	e.metrics.unread.Add(float64(len(backup.Unheld(unread))))
	p.healed(ctx)
	p.log(ctx, backup.Unheld(unread))
	e.made(ctx, j, unit, point)
	if p.state.Root == "" {
		e.placed(ctx, j)
	}
	return protected{Point: point, Drive: p.drive, Pending: unread, Every: every}, nil
}

// made tells of a new point: always where a request caused it, and to whom wants to know
// all where it was made in its turn.
func (e *Engine) made(ctx context.Context, j *jobs.Job, unit backup.Unit, p backup.Point) {
	level := slog.LevelDebug
	if j.Requested() {
		level = slog.LevelInfo
	}
	e.Log.Log(ctx, level, "restore point made", "tenant", j.Tenant, "unit", unit.ID, "owner", who(unit), "point", p.ID, "at", p.At, "items", p.Files, "unread", p.Unread)
}

// remembers reports whether a run may take the owner's drive to be the one that
// it was: to ask is half of what a visit to a drive without changes costs. A run
// that goes on with that drive would fail where it is not there any more.
func (e *Engine) remembers(j *jobs.Job, state catalog.DriveState) bool {
	since := e.Clock().Sub(state.Asked)
	return j.Kind == jobs.Backup && state.Cursor != "" && since >= 0 && since < askEvery*e.Interval
}

// ask finds out which drive the owner has.
func (p *protection) ask(ctx context.Context) (err error) {
	find := findDrive
	if p.unit.Workload == backup.Exchange {
		find = findMailbox
	}
	p.drive, err = find(ctx, p.client, p.unit)
	p.asked = p.e.Clock()
	p.reads()
	return err
}

// open opens the vault that the drive is in, or is to go into.
func (p *protection) open(ctx context.Context, number int) (err error) {
	if p.vault, err = p.e.Vaults(ctx, backup.VaultName{Tenant: p.job.Tenant, Number: number}); err != nil {
		return fmt.Errorf("%w: open: %w", vault.ErrStorage, err)
	}
	return nil
}

// reads has the run read from its drive, or mailbox.
func (p *protection) reads() {
	if p.source != nil {
		p.source.Forget()
	}
	if p.unit.Workload == backup.Exchange {
		p.source = newMailSource(p.client, p.drive.ID, p.vault.Scratch(), p)
		return
	}
	p.source = driveSource{p.client, p.drive.ID}
}

// run makes the drive as it is now durable in the vault.
func (p *protection) run(ctx context.Context) (vault.Sealed, []backup.Unread, error) {
	if p.update == nil {
		if err := p.begin(ctx); err != nil {
			return vault.Sealed{}, nil, err
		}
	}
	p.checkpoint.at = p.e.Clock()
	for _, step := range []func(context.Context) error{p.read, p.classify, p.download, p.missed, p.carry, p.stage.witness, p.finished} {
		if err := step(ctx); err != nil {
			return vault.Sealed{}, nil, err
		}
	}
	unread := p.unreadItems(ctx)
	if err := p.stage.items.err(); err != nil {
		return vault.Sealed{}, nil, err // what was not found may have been listed
	}
	sealed, err := p.seal(ctx, unread)
	return sealed, unread, err
}

// finished adds what there is to add to what is staged.
func (p *protection) finished(ctx context.Context) error {
	if p.finish == nil {
		return nil
	}
	return p.finish(ctx, p)
}

// begin opens the state that the run starts from.
func (p *protection) begin(ctx context.Context) (err error) {
	key := p.key()
	if p.of == nil {
		p.update, err = p.vault.Begin(ctx, key, p.state.Root, p.state.Tree)
	} else {
		p.update, err = p.vault.BeginPart(ctx, key, p.state.Tree)
	}
	if err != nil {
		return err
	}
	p.base = p.update
	p.stage = &stage{source: p.source, base: p.update, old: p.old, top: p.state.Top, dir: p.vault.Scratch(), beside: p.beside()}
	if err := p.knownDamage(ctx); err != nil {
		return err
	}
	saved := p.state.Checkpoint
	if p.of != nil {
		saved = p.of.saved
	}
	if saved == "" {
		return nil
	}
	// Only contents are taken from it: what else a run that did not end had seen
	// may have gone since, which no delta from before it will say.
	if p.saved, err = p.vault.Begin(ctx, key, "", saved); err != nil {
		p.e.Log.WarnContext(ctx, "what an earlier run had downloaded is not used", "tenant", p.job.Tenant, "owner", who(p.unit), "err", err)
		p.saved = nil
	}
	return nil
}

// beside says what of the unit is kept beside items, and none of the source's.
func (p *protection) beside() func(backup.ItemID) bool {
	if p.unit.Workload != backup.Exchange {
		return nil
	}
	return isMIME
}

func (p *protection) isBeside(id backup.ItemID) bool {
	beside := p.beside()
	return beside != nil && beside(id)
}

func (p *protection) key() vault.DriveKey {
	return vault.DriveKey{Tenant: p.job.Tenant, Drive: p.drive.ID}
}

// kept is what the points are kept under that the run is for.
func (p *protection) kept() backup.DriveID {
	if p.of != nil {
		return p.of.drive
	}
	return p.drive.ID
}

func (p *protection) close() {
	for _, u := range []*vault.Update{p.update, p.base, p.saved} {
		if u != nil {
			u.Close()
		}
	}
	p.update, p.base, p.saved = nil, nil, nil
	if p.stage != nil {
		p.stage.close()
	}
	p.source.Forget()
}

// findDrive returns the drive of a unit's owner.
func findDrive(ctx context.Context, source *drive.Client, unit backup.Unit) (drive.Drive, error) {
	d, err := source.UserDrive(ctx, backup.ObjectID(unit.Subject))
	if errors.Is(err, drive.ErrNotFound) && !errors.Is(err, drive.ErrNoDrive) {
		return d, fmt.Errorf("%w: %w", errNoOwner, err)
	}
	if err != nil {
		return d, fmt.Errorf("find the drive: %w", err)
	}
	if d.Owner != "" && !strings.EqualFold(string(d.Owner), string(unit.Subject)) {
		return d, fmt.Errorf("find the drive: %w: asked for that of %s, it answered with that of %s", errOtherOwner, unit.Subject, d.Owner)
	}
	return d, nil
}

// isOwners makes sure that a drive which the source calls the owner's, and which
// is new for the unit, is not known as that of another owner. The source may say
// that it has changed hands; if it does not say whose it is, it may be mistaken.
func (e *Engine) isOwners(ctx context.Context, tenant backup.TenantID, unit backup.Unit, d drive.Drive) error {
	if d.Owner != "" {
		return nil // see findDrive
	}
	ids, err := e.Catalog.DriveUnits(ctx, tenant, d.ID)
	if err != nil {
		return err
	}
	units, err := e.Catalog.UnitsByID(ctx, tenant, ids)
	if err != nil {
		return err
	}
	for _, u := range units {
		if u.Subject != unit.Subject {
			return fmt.Errorf("find the drive: %w: asked for that of %s, it answered with that of %s", errOtherOwner, unit.Subject, u.Subject)
		}
	}
	return nil
}

// read finds out what there is in the drive: what changed since the last run,
// or, when it is time for that, all there is.
func (p *protection) read(ctx context.Context) error {
	var err error
	reconciles := p.state.Cursor != "" && p.reconciles() && (p.job.Kind != jobs.Backup || p.job.Wait(p.patience()))
	if reconciles {
		err = p.stage.reconcile(p.asking(ctx, budget.Reconciliation), p.state.Cursor)
		// What is left of the day's budget may be for the changes only.
		_, exhausted := errors.AsType[*budget.Exhausted](err)
		reconciles = !exhausted
	}
	if !reconciles {
		err = p.stage.read(ctx, p.state.Cursor)
	}
	if err != nil {
		return err
	}
	p.at = p.e.Clock()
	for _, step := range []func(context.Context) error{p.recall, p.stage.complete, p.stage.settle, p.stage.judge, p.stage.count, p.stage.untangle} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// asking returns a context for what of a backup is less urgent than the rest. Of
// the backup before a restore nothing is.
func (p *protection) asking(ctx context.Context, purpose budget.Purpose) context.Context {
	if p.job.Kind != jobs.Backup {
		return ctx
	}
	return budget.For(ctx, purpose)
}

// reconciles reports whether it is time to enumerate the whole drive and to
// compare: once in every Reconcile, for each drive at its own time, and sooner
// while the source speaks of items that it gives no id or place.
func (p *protection) reconciles() bool {
	if p.state.Full.IsZero() {
		return false // see fullAt
	}
	since := p.e.Clock().Sub(p.state.Full)
	for _, u := range p.state.Pending {
		lost := u.Item == "" || u.Code == backup.PlaceUnknown || u.Code == backup.ContentNotFound
		lost = lost && !p.isBeside(u.Item)
		if lost && since >= p.e.Interval<<min(u.Attempts, 12) {
			return true
		}
	}
	return since >= p.e.Reconcile-p.share(p.e.Reconcile/7)
}

// patience is how long a place is to be kept for an enumeration that finds none:
// first backups go before it, until it is late.
func (p *protection) patience() time.Duration {
	if p.e.Clock().Sub(p.state.Full) < p.e.Reconcile+p.e.Reconcile/7 {
		return 0
	}
	return 2 * p.e.Interval
}

// fullAt returns when the drive was last enumerated as a whole. Where nobody
// noted that, its turn comes at some time within the next round.
func (p *protection) fullAt() time.Time {
	switch {
	case p.stage.full:
		return p.at
	case p.state.Full.IsZero():
		return p.at.Add(-p.share(p.e.Reconcile))
	}
	return p.state.Full
}

// share returns a part of a time, for each drive its own, so that not all come
// at once.
func (p *protection) share(of time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(p.drive.ID))
	return of / 1000 * time.Duration(h.Sum32()%1000)
}

// recall stages the items that could not be read before and are due again: no
// delta mentions them.
func (p *protection) recall(ctx context.Context) error {
	var due []backup.ItemID
	for _, old := range byAttempts(p.state.Pending) {
		if old.Item == "" {
			continue
		}
		if p.isBeside(old.Item) {
			old.Beside = isNote(old)
			p.old[old.Item] = old
			continue
		}
		p.old[old.Item] = old
		listed := p.stage.items.has(old.Item)
		if (old.Next.After(p.at) || len(due) == maxRetried) && !(listed && p.stage.full) {
			continue
		}
		if old.Code == backup.ContentNotConfirmed {
			p.again[old.Item] = true
		}
		if !listed {
			due = append(due, old.Item)
		}
	}
	torn, err := p.tornFiles(ctx)
	if err != nil {
		return err
	}
	for id := range torn {
		p.again[id] = true
		if !p.stage.items.has(id) && !p.isBeside(id) && !slices.Contains(due, id) {
			due = append(due, id)
		}
	}
	if err := p.stage.ask(ctx, due...); err != nil {
		return err
	}
	for _, id := range due {
		l, _ := p.stage.looked(id)
		old := p.old[id]
		switch {
		case l.missing && old.Listed == deleted:
			p.stage.items.set(drive.Item{ID: id, Deleted: true}) // now both agree
		case l.err == nil && !l.missing && old.Listed == deleted && p.stage.full:
			// The listing lacks it: judge sees to it.
		case l.err == nil && !l.missing && old.Listed == deleted && p.stage.moved(ctx, l.item):
			p.stage.items.set(l.item) // it is not where it was listed as deleted
		case l.err == nil && !l.missing && old.Listed != "" && old.Listed != version(l.item):
			p.noteListed(ctx, id, old.Listed)
		case l.err == nil && !l.missing:
			p.stage.items.set(l.item)
		case l.missing && p.stage.full:
			// Neither listed any more nor there when it is asked for. Of what was
			// backed up, judge says so.
			if _, known, err := p.stage.get(ctx, id); err != nil {
				return err
			} else if !known {
				p.stage.items.judge(id, gone)
			}
		default:
			p.noteLook(ctx, id, l)
		}
	}
	return nil
}

// classify compares what was listed with what is in the vault: it stages what
// is known, and leaves in todo what has to be downloaded.
func (p *protection) classify(ctx context.Context) error {
	for i, item := range p.stage.items.those(func(i number, _ trait) bool { return !p.stays(i) }) {
		if err := p.decide(ctx, i, item); err != nil {
			return err
		}
	}
	for id, err := range p.stage.unlisted {
		code, _ := unreadable(drive.Item{}, err)
		if errors.Is(err, errHides) {
			code = backup.PlaceUnknown
		}
		message := "The folder holds another number of items than are known of, and the source does not list them. It is listed again at the next backup."
		if _, ok := p.source.(countingSource); ok && !errors.Is(err, errHides) {
			message = "What is in the folder could not be read to its end. What was held of it stays, and it is read again at the next backup."
		}
		p.note(ctx, id, code, message)
	}
	p.nameNameless(ctx)
	for _, i := range p.stage.absent {
		id := p.stage.items.id(i)
		if p.stage.items.has(id) || id == p.stage.root {
			continue
		}
		if err := p.decide(ctx, i, drive.Item{ID: id, Deleted: true}); err != nil {
			return err
		}
	}
	p.tellFound(ctx)
	return p.stage.items.err()
}

// stays reports whether nothing is to be done about an item: it lives, and was listed as
// it was backed up.
func (p *protection) stays(i number) bool {
	return p.stage.items.states[i].same && p.stage.items.verdictAt(i) == alive && len(p.again)+len(p.stage.denied) == 0 && !p.stage.torn
}

// nameNameless names what was listed without an id. What was named before for
// want of one, at the same place, is taken for the same item.
func (p *protection) nameNameless(ctx context.Context) {
	before := map[string]backup.Unread{}
	for _, old := range p.state.Pending {
		if old.Item == "" {
			before[old.Path] = old
		}
	}
	told := map[string]bool{}
	for item := range p.stage.nameless {
		u := backup.Unread{
			Path: path.Join(p.stage.path(ctx, item.Parent), item.Name), Code: backup.ItemIncomplete, Since: p.at,
			Message: "The source lists an item without an id, so that it cannot be read. It is looked for again in a whole enumeration.",
		}
		if old, ok := before[u.Path]; ok {
			u.Since, u.Attempts = old.Since, old.Attempts+1
		}
		if item.Name != "" && told[u.Path] {
			continue // in the delta, and in the listing of its folder
		}
		told[u.Path] = true
		p.nameless = append(p.nameless, u)
	}
}

// decide decides what becomes of the item of number i.
func (p *protection) decide(ctx context.Context, i number, item drive.Item) error {
	id, v := item.ID, p.stage.items.verdictAt(i)
	if held := p.stage.items.states[i].held; v == gone && held != 0 {
		if held != notHeld {
			p.drop(id)
		}
		return nil
	}
	base, known, err := p.stage.getIn(ctx, id, item.Parent)
	if err == nil && known && p.stage.torn && base.Kind == backup.File {
		// The newest tree that could be read may name contents that are gone.
		known, err = p.update.Holds(ctx, base)
	}
	if err != nil {
		return err
	}
	if v == alive && p.stage.denied[id] && !(p.stage.full && p.old[id].Attempts >= maxDenied) {
		p.noteListed(ctx, id, deleted)
	}
	switch {
	case v == gone:
		if known {
			p.drop(id)
		}
		return nil
	case v != alive && known && base.Kind != kindOf(item) && !item.Deleted && item.Name != "" && item.Unreadable == "":
		p.note(ctx, id, backup.ItemIncomplete, otherKind)
		return p.hold(ctx, base, known)
	case v != alive:
		l, _ := p.stage.looked(id)
		p.noteLook(ctx, id, l)
		return p.hold(ctx, base, known)
	case id != p.stage.root && (item.Deleted || item.Name == "" || item.Parent == ""):
		p.note(ctx, id, backup.ItemIncomplete, "The source lists the item without a name that can be one, or without its folder. It is asked for again at the next backup.")
		return p.hold(ctx, base, known)
	}
	kind := kindOf(item)
	if id == p.stage.root {
		kind = backup.Folder
	}
	if known && base.Kind != kind { // and it is believed: see sameKind
		p.update.Delete(id)
		p.deleted++
		base, known = vault.Entry{}, false
	}
	switch {
	case known && item.Unreadable == drive.Shortcut:
		p.note(ctx, id, backup.ItemIncomplete, otherKind)
		return p.hold(ctx, base, known)
	case item.Unreadable == drive.Shortcut:
		return nil // a pointer: what it points to is protected where it is
	case kind == backup.Folder:
		entry := entryOf(item, backup.Folder)
		if id == p.stage.root {
			entry.Parent = ""
		} else if item.Unreadable == drive.Incomplete {
			p.fail(ctx, item, nil) // as much as is known of it is kept
		}
		p.stagePut(entry, base, known)
		return nil
	}
	return p.decideFile(ctx, i, item, base, known)
}

// drop takes an item that is gone out of what is backed up.
func (p *protection) drop(id backup.ItemID) {
	p.update.Delete(id)
	p.deleted++
	p.compare(id)
}

const otherKind = "The source says that the item is of another kind than before, which items never become. What was backed up of it stays."

func (p *protection) decideFile(ctx context.Context, i number, item drive.Item, base vault.Entry, known bool) error {
	entry := entryOf(item, backup.File)
	if known {
		if sameContent(entry, base) && !p.again[item.ID] {
			entry = heldAs(entry, base)
			if item.Unreadable == drive.Incomplete && !sameEntry(entry, base) {
				entry.Created, entry.Modified = base.Created, base.Modified
				p.fail(ctx, item, nil) // not all that was said of it could be understood
			}
			p.stagePut(entry, base, known)
			return nil
		}
		// Until the new content has come, the old one stays, at the item's
		// present place.
		old := base
		old.Name, old.Parent = entry.Name, entry.Parent
		p.stagePut(old, base, known)
	}
	if seed, ok := p.seeds.seed(item.ID); ok && sameContent(entry, seed) && !p.stage.torn {
		entry.Content, entry.Size, entry.Stored = seed.Content, seed.Size, seed.Stored
		p.stagePut(entry, base, known)
		return nil
	}
	if item.Unreadable != "" {
		p.fail(ctx, item, nil)
		return nil
	}
	if p.saved != nil && !p.again[item.ID] {
		e, ok, err := p.saved.Get(ctx, item.ID)
		if err == nil && ok && e.Kind == backup.File && e.Stored == "" && sameContent(entry, e) {
			ok, err = p.update.Holds(ctx, e)
		} else {
			ok = false
		}
		if err == nil && ok {
			entry.Content, entry.Size = e.Content, e.Size
			p.stagePut(keepTags(entry, e), base, known)
			return nil
		}
	}
	if _, named := p.old[item.ID]; !named && !p.again[item.ID] && !p.stage.torn {
		p.compare(item.ID)
	}
	p.todo = append(p.todo, i)
	return nil
}

// hold keeps what was backed up of an item that cannot be placed now: where it
// was, or, should the folder it was in be gone, in the root.
func (p *protection) hold(ctx context.Context, base vault.Entry, known bool) error {
	if !known {
		return nil
	}
	parent := base.Parent
	for range 1000 {
		if parent == p.stage.root {
			if p.stage.torn {
				break
			}
			return nil
		}
		_, ok, err := p.stage.get(ctx, parent)
		if err != nil {
			return err
		}
		if p.stage.torn && p.stage.items.verdict(parent) == alive {
			break
		}
		if !ok || parent == "" || p.stage.items.verdict(parent) == gone {
			break
		}
		if parent, err = p.stage.above(ctx, parent); err != nil {
			return err
		}
	}
	if !p.stage.torn || p.stage.items.verdict(base.Parent) != alive {
		base.Parent = p.stage.root
	}
	p.update.Put(base)
	p.put++
	return nil
}

// stagePut stages an entry that differs from the base.
func (p *protection) stagePut(entry, base vault.Entry, known bool) {
	if known && sameEntry(entry, base) {
		if p.stage.torn { // it is in the base, and not yet in the new tree
			p.update.Put(entry)
		}
		return
	}
	p.update.Put(entry)
	p.put++
	p.compare(entry.ID)
}

// compare notes an item that a whole enumeration found to be otherwise than the
// deltas had told.
func (p *protection) compare(id backup.ItemID) {
	if _, own := splitMailID(id); own != "" && p.unit.Workload == backup.Exchange {
		return // the source knows nothing of it
	}
	if p.stage.leftOut(id) {
		p.stage.finds(id, "no delta spoke of it")
	}
}

// tellFound says what the source's deltas or listings had left out.
func (p *protection) tellFound(ctx context.Context) {
	if p.stage.found == 0 {
		return
	}
	p.e.metrics.found.Add(float64(p.stage.found))
	for _, f := range p.stage.said {
		p.e.Log.WarnContext(ctx, "the source left a change out; it is found now", "tenant", p.job.Tenant, "owner", who(p.unit), "path", p.stage.path(ctx, f.id), "how", f.how)
	}
	p.e.Log.WarnContext(ctx, "changes that the source left out were found", "tenant", p.job.Tenant, "owner", who(p.unit), "items", p.stage.found, "enumerated", p.stage.full)
}

func entryOf(item drive.Item, kind backup.ItemKind) vault.Entry {
	e := vault.Entry{
		ID: item.ID, Parent: item.Parent, Name: item.Name, Kind: kind,
		Created: item.Created, Modified: item.Modified,
	}
	if item.Root {
		e.Parent = ""
	}
	if kind == backup.File {
		e.Size, e.CTag, e.Hash = item.Size, item.CTag, item.Hash
	}
	return e
}

// heldAs returns an entry of which the vault has the content, as base.
func heldAs(entry, base vault.Entry) vault.Entry {
	entry.Content, entry.Size, entry.Stored = base.Content, base.Size, base.Stored
	return keepTags(entry, base)
}

// keepTags fills what a sparse listing left out of an unchanged file.
func keepTags(entry, base vault.Entry) vault.Entry {
	setDefault(&entry.CTag, base.CTag)
	setDefault(&entry.Hash, base.Hash)
	return entry
}

// sameContent reports whether an entry as it was listed is known to have the
// content of another: by tag where both have one, else by hash and size, else
// by size and time. What the source does not state says nothing.
func sameContent(listed, b vault.Entry) bool {
	bothHashes := listed.Hash != "" && b.Hash != ""
	sizes := listed.Size == b.Size || listed.Size < 0
	times := listed.Modified.Equal(b.Modified) || listed.Modified.IsZero() || b.Modified.IsZero()
	switch {
	case bothHashes && listed.Hash != b.Hash:
		return false
	case listed.CTag != "" && b.CTag != "":
		// A tag that stays while all else does not says nothing.
		return listed.CTag == b.CTag && (bothHashes || sizes && times)
	case bothHashes:
		return sizes || b.Stored != ""
	case listed.Hash != "" && b.Stored != "":
		return listed.Hash == b.Stored
	}
	return sizes && listed.Size >= 0 && listed.Modified.Equal(b.Modified) && !listed.Modified.IsZero()
}

func sameEntry(a, b vault.Entry) bool {
	created, modified := a.Created.Equal(b.Created), a.Modified.Equal(b.Modified)
	a.Created, a.Modified = b.Created, b.Modified
	return created && modified && a == b
}

// download brings the contents of todo into the vault. What fails by itself is
// put off, and tried once more when all else has come.
func (p *protection) download(ctx context.Context) error {
	if err := p.downloadAll(ctx); err != nil || len(p.later) == 0 {
		return err
	}
	// What passes by itself may take a moment. That many items fail is no reason
	// for the others to wait for long.
	pause := min(secondTry, p.e.Clock().Sub(p.began)/4)
	if err := p.e.Sleep(ctx, pause); err != nil {
		return err
	}
	p.todo, p.next, p.later, p.last = p.later, 0, nil, true
	return p.downloadAll(ctx)
}

// downloadAll downloads several files at a time. Each time a checkpoint is due
// it lets those under way finish, and makes them safe.
func (p *protection) downloadAll(ctx context.Context) error {
	for p.next < len(p.todo) {
		group, inGroup := newGroup(ctx)
		for range p.e.Transfers {
			group.Go(func() error {
				for {
					i, item, err := p.take()
					if i < 0 || err != nil {
						return err
					}
					asks := inGroup
					if p.again[item.ID] {
						asks = p.asking(inGroup, budget.Verification)
					}
					got, err := p.fetch(asks, item)
					if err := p.keep(inGroup, i, item, got, err); err != nil {
						return err
					}
				}
			})
		}
		err := group.Wait()
		switch {
		case err == nil && p.next == len(p.todo):
			return nil
		case err != nil && (stopped(ctx, err) && !paused(err) || !isSource(err) || p.bytes == p.checkpoint.bytes):
			return err
		}
		// A checkpoint is due, or the source is away: what has come is kept.
		if saved := p.save(ctx); saved != nil {
			return errors.Join(err, saved)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take returns the next file to download, and its number, which is negative if
// there is none, or a checkpoint is due first.
func (p *protection) take() (number, drive.Item, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.bytes - p.checkpoint.bytes
	due := got >= p.e.CheckpointBytes || got > 0 && p.e.Clock().Sub(p.checkpoint.at) >= p.e.CheckpointEvery
	if due || p.next == len(p.todo) {
		return -1, drive.Item{}, nil
	}
	i := p.todo[p.next]
	p.next++
	item, _ := p.stage.items.at(i)
	return i, item, p.stage.items.err()
}

// save makes safe what was downloaded so far: a run that is killed later does
// not download it again. It makes no point, and the drive's tree stays that of
// the last run that came to its end.
func (p *protection) save(ctx context.Context) error {
	sealed, err := p.update.Seal(ctx, p.e.Clock(), vault.PointInfo{Incomplete: true})
	if err != nil {
		return fmt.Errorf("seal a checkpoint: %w", err)
	}
	state := p.state
	if p.of != nil {
		err = p.of.checkpoint(ctx, sealed)
	} else {
		state.Root, state.Checkpoint = sealed.Root, sealed.Tree
		err = p.e.Catalog.Checkpoint(ctx, p.job, catalog.Commit{Unit: p.unit.ID, PrevRoot: p.state.Root, State: state})
	}
	if err != nil {
		return fmt.Errorf("commit a checkpoint: %w", err)
	}
	p.e.Log.InfoContext(ctx, "backup under way", "tenant", p.job.Tenant, "owner", who(p.unit),
		"files", p.next, "of", len(p.todo), "bytes", p.bytes)
	p.state = state
	p.checkpoint.at, p.checkpoint.bytes = p.e.Clock(), p.bytes
	return nil
}

// fetch brings one file's content into the vault. The entry is the file as it
// was when it was read, at the place where it was listed.
//
// A content that does not have the hash or size that the source states is
// downloaded anew. Twice the same is taken for what the service itself made of
// the file, as it does with Office files and photos: it is kept under the hash
// that it really has, and named.
func (p *protection) fetch(ctx context.Context, item drive.Item) (fetched, error) {
	var before fetched
	for try := 1; ; try++ {
		got, err := p.fetchOnce(ctx, item, try == 1)
		switch {
		case errors.Is(err, drive.ErrChanged) && try < maxTries:
			continue
		case err != nil:
			return got, err
		case !got.doubtful || got.entry.Content == before.entry.Content:
			return got, nil
		case try > maxTries:
			return fetched{}, fmt.Errorf("%w: it is another one each time", drive.ErrContent)
		}
		before = got
	}
}

// fetched is a file as it was read.
type fetched struct {
	entry    vault.Entry
	is       drive.Item // as the source told of it when it was read
	doubtful bool       // its content has not the hash or size that the source states
}

// fetchOnce reads a file, as it was listed or as it is now.
func (p *protection) fetchOnce(ctx context.Context, item drive.Item, listed bool) (fetched, error) {
	body, err := p.source.Open(ctx, item, !listed)
	if err != nil {
		return fetched{}, err
	}
	defer body.Close()
	reader := &markedReader{r: body, size: body.Is().Size}
	content, err := p.update.Write(ctx, item.Name, reader)
	if reader.err != nil {
		return fetched{}, reader.err // the source's failure, whatever the vault made of it
	}
	if err != nil {
		return fetched{}, err
	}
	is := body.Is()
	entry := entryOf(is, backup.File)
	entry.ID, entry.Parent, entry.Name = item.ID, item.Parent, item.Name
	entry.Content, entry.Size = content.ID, content.Size
	if item.CTag != "" && item.CTag == is.CTag {
		// The same version: of what else is said of it the listing is the later
		// word, for a delta follows it and nothing the look.
		setTime(&entry.Created, item.Created)
		setTime(&entry.Modified, item.Modified)
	}
	if sum := body.Sum(); sum != entry.Hash {
		entry.Stored = sum
	}
	return fetched{entry, is, body.Proof() == drive.Mismatch}, nil
}

func setTime(t *time.Time, to time.Time) {
	if !to.IsZero() {
		*t = to
	}
}

// A markedReader remembers the error that ended it, and says how long it is said to
// be.
type markedReader struct {
	r    io.Reader
	size int64
	err  error
}

func (m *markedReader) Size() int64 { return m.size }

func (m *markedReader) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// keep stages what fetch brought, or notes why it brought nothing. It returns
// only what must end the run.
func (p *protection) keep(ctx context.Context, i number, item drive.Item, got fetched, err error) error {
	if err != nil {
		if whole := p.stage.ifWhole(ctx, err); whole != nil {
			return whole
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.update.Put(got.entry)
		p.fetched++
		p.bytes += got.entry.Size
		p.sample(got.entry)
		if _, named := p.old[item.ID]; named {
			p.reread[item.ID] = true
		}
		if older(item, got.is) {
			p.others = append(p.others, i)
		}
		if got.doubtful {
			p.note(ctx, item.ID, backup.ContentNotConfirmed, "The source hands out another content than the one that it states the hash of, each time the same. It is held as it was handed out, and looked at again.")
		}
	case errors.Is(err, drive.ErrNotFound):
		p.vanished = append(p.vanished, i)
	case errors.Is(err, drive.ErrUnavailable) && !p.last && p.old[item.ID].Attempts == 0:
		p.later = append(p.later, i)
	default:
		p.fail(ctx, item, err)
	}
	return nil
}

// missed decides what became of files whose content the source denied, or of
// which it handed out another version than it had listed. Those that a delta now
// lists as deleted, and that are denied as items too, are gone; every other is
// alive as far as anyone knows. Another version is a later one if a delta now
// speaks of it; else it may be one of yesterday, from a replica that lags behind.
func (p *protection) missed(ctx context.Context) error {
	if len(p.vanished)+len(p.others) == 0 {
		return nil
	}
	ids := make([]backup.ItemID, len(p.vanished))
	for n, i := range p.vanished {
		ids[n] = p.stage.items.id(i)
		p.stage.forget(ids[n]) // it may have been there before
	}
	if err := p.stage.ask(ctx, ids...); err != nil {
		return err
	}
	told := map[backup.ItemID]drive.Item{}
	_, err := p.stage.pages(ctx, p.stage.cursor, func(item drive.Item) { told[item.ID] = item })
	if err != nil && (stopped(ctx, err) || !isSource(err)) {
		return err
	}
	for _, i := range p.vanished {
		item, _ := p.stage.items.at(i)
		if l, _ := p.stage.looked(item.ID); l.missing && told[item.ID].Deleted {
			p.update.Delete(item.ID)
			p.deleted++
			continue
		}
		p.fail(ctx, item, drive.ErrNotFound)
	}
	for _, i := range p.others {
		item, _ := p.stage.items.at(i)
		if _, ok := told[item.ID]; !ok {
			p.noteListed(ctx, item.ID, version(item))
		}
	}
	return p.stage.items.err()
}

// older reports whether what was read of a file may be of before it was listed:
// it is another version.
func older(listed, read drive.Item) bool {
	switch {
	case listed.CTag != "" && read.CTag != "":
		return listed.CTag != read.CTag
	case listed.Hash != "" && read.Hash != "":
		return listed.Hash != read.Hash
	case listed.Size >= 0 && read.Size >= 0 && listed.Size != read.Size:
		return true
	}
	return !listed.Modified.Equal(read.Modified)
}

const (
	// deleted is the version of an item that was listed as deleted, or not at all
	// where all was.
	deleted = "deleted"
	// maxDenied is how often an item that a whole enumeration lacks is named
	// although it is there when it is asked for: the source's listings have
	// lasting holes.
	maxDenied = 3
)

// noteListed names an item that was listed as another version than the one that
// comes when it is asked for. It stays named until both agree.
func (p *protection) noteListed(ctx context.Context, id backup.ItemID, listed string) {
	code, message := backup.ResourceModified, "The source lists another version of the file than it hands out. It is held as it was handed out, and looked at again at the next backup."
	if listed == deleted {
		code, message = backup.PlaceUnknown, "The source does not list the item any more, and has it when it is asked for. It is held, and looked at again at the next backup."
	}
	p.note(ctx, id, code, message)
	u := p.unread[id]
	u.Listed = listed
	p.unread[id] = u
}

// note names an item that the point will not hold as it is.
func (p *protection) note(ctx context.Context, id backup.ItemID, code backup.Code, message string) {
	u := backup.Unread{Item: id, Path: p.pathOf(ctx, id), Code: code, Message: message, Since: p.at, Attempts: 1}
	u.Beside = p.isBeside(id) && isNote(u)
	if old, ok := p.old[id]; ok {
		// No delta need speak of it again: where it was is known from before.
		setDefault(&u.Path, old.Path)
		u.Since, u.Attempts = old.Since, old.Attempts+1
		if u.Since.IsZero() {
			u.Since = p.at
		}
	}
	setDefault(&u.Path, string(id)) // it was never told what it is called
	u.Next = p.at.Add(p.restsFor(u))
	p.unread[id] = u
}

// pathOf is the path by which an item is named.
func (p *protection) pathOf(ctx context.Context, id backup.ItemID) string {
	if id == p.stage.root {
		return "/"
	}
	return p.stage.path(ctx, id)
}

// restsFor returns how long an item that could not be read is left alone, unless
// the source speaks of it: what somebody has open may be closed soon; of all
// else each failure makes the next success less likely.
func (p *protection) restsFor(u backup.Unread) time.Duration {
	longest := 24 * time.Hour
	if u.Beside {
		longest = 7 * longest
	}
	switch u.Code {
	case backup.ResourceLocked, backup.ResourceModified:
		longest = time.Hour
	case backup.ContentNotConfirmed:
		longest = p.e.Reconcile
	}
	if u.Attempts <= 1 {
		return 0
	}
	return min(longest, p.e.Interval<<min(u.Attempts-2, 20))
}

// noteLook names an item that the source's words did not agree on.
func (p *protection) noteLook(ctx context.Context, id backup.ItemID, l look) {
	switch {
	case errors.Is(l.err, errElsewhere):
		p.note(ctx, id, backup.PlaceUnknown, "The source lists the item in no folder any more, and still has it. It is held where it was, and looked for again at the next backup.")
	case l.err != nil:
		code, message := unreadable(drive.Item{}, l.err)
		p.note(ctx, id, code, message)
	case l.missing:
		p.note(ctx, id, backup.ContentNotFound, "The source lists the item and denies it when it is asked for. It is looked for again at the next backup.")
	default:
		p.note(ctx, id, backup.PlaceUnknown, "The source lists the item in a folder that it does not have. It is looked for again at the next backup.")
	}
	if p.stage.items.of(id).Deleted || p.old[id].Listed == deleted {
		// Once it is denied too, both agree.
		u := p.unread[id]
		u.Listed = deleted
		p.unread[id] = u
	}
}

// fail names a file that could not be read.
func (p *protection) fail(ctx context.Context, item drive.Item, err error) {
	code, message := unreadable(item, err)
	p.note(ctx, item.ID, code, message)
}

// carry takes over what was named before and was not tried now.
func (p *protection) carry(context.Context) error {
	again := map[string]bool{}
	for _, u := range p.nameless {
		again[u.Path] = true
	}
	for _, old := range p.state.Pending {
		if old.Item == "" {
			if !p.stage.full && !again[old.Path] {
				p.nameless = append(p.nameless, old)
			}
			continue
		}
		if _, named := p.unread[old.Item]; named || p.stage.items.verdict(old.Item) == gone || p.isBeside(old.Item) {
			continue
		}
		if old.Listed == deleted && p.stage.full && p.stage.denied[old.Item] {
			continue // it is there, as often as it was asked for
		}
		if !p.stage.items.has(old.Item) {
			p.unread[old.Item] = old
			continue
		}
		if old.Code == backup.ContentNotConfirmed && !p.reread[old.Item] {
			p.unread[old.Item] = old // it was listed, and is as it was
		}
	}
	return p.stage.items.err()
}

// unreadItems returns what the point does not hold as it is, by path.
func (p *protection) unreadItems(ctx context.Context) []backup.Unread {
	all := p.nameless
	for id, u := range p.unread {
		_, u.Held, _ = p.update.Get(ctx, id)
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b backup.Unread) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(string(a.Item), string(b.Item)))
	})
	return all
}

// seal makes the point durable. What was staged and found no place although it
// was held before would leave the point in silence, so then there is none.
func (p *protection) seal(ctx context.Context, unread []backup.Unread) (vault.Sealed, error) {
	info := vault.PointInfo{
		Unit: p.unit.ID, Workload: p.unit.Workload, Policy: p.unit.Policy, Unread: unread,
		Owner: backup.Subject{ID: p.unit.Subject, Mail: p.unit.Address, DisplayName: p.unit.Name},
	}
	if p.of != nil {
		info = vault.PointInfo{Unread: unread} // the rest is said of the point as a whole
	}
	sealed, err := p.update.Seal(ctx, p.at, info)
	if err == nil && sealed.Changed {
		// What was flushed is read back before anybody relies on it.
		err = p.vault.VerifyObjects(ctx, append(p.sampled(), sealed.Tree))
	}
	if err == nil && len(sealed.Orphans) > 0 {
		err = fmt.Errorf("%w: %d items, the first is %s", errTangled, len(sealed.Orphans), sealed.Orphans[0])
	}
	return sealed, err
}

// How much of what a run brought is read back.
const (
	maxSample      = 64
	maxSampleBytes = 256 << 20
)

// A written is a content that was brought into the vault.
type written struct {
	content string
	size    int64
}

// sample notes a content to be read back: all of a small run, ever fewer of a
// large one.
func (p *protection) sample(e vault.Entry) {
	w := written{e.Content, e.Size}
	if len(p.written) < maxSample {
		p.written = append(p.written, w)
	} else if i := rand.N(p.fetched); i < maxSample {
		p.written[i] = w
	}
}

// sampled returns the contents to be read back.
func (p *protection) sampled() (contents []string) {
	slices.SortFunc(p.written, func(a, b written) int { return cmp.Compare(a.size, b.size) })
	total := int64(0)
	for _, w := range p.written {
		if total += w.size; total > maxSampleBytes {
			break
		}
		contents = append(contents, w.content)
	}
	return contents
}

func (p *protection) log(ctx context.Context, unread []backup.Unread) {
	level := slog.LevelInfo
	if p.put+p.deleted+p.fetched == 0 {
		level = slog.LevelDebug
	}
	p.e.Log.Log(context.Background(), level, p.unit.Workload.Thing()+" backed up", "tenant", p.job.Tenant, "owner", who(p.unit),
		"downloaded", p.fetched, "bytes", p.bytes, "deleted", p.deleted, "enumerated", p.stage.full, "took", p.e.Clock().Sub(p.began).Round(time.Millisecond))
	if len(unread) > 0 {
		first := unread[0]
		p.e.Log.WarnContext(ctx, "items not backed up as they are", "tenant", p.job.Tenant, "owner", who(p.unit), "items", len(unread),
			"first", first.Path, "code", first.Code)
	}
}
