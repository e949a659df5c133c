package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/backup"
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
	// maxMoved is how often a run starts over because another was faster.
	maxMoved = 5
)

// errNoOwner: the directory does not know the unit's owner.
var errNoOwner = errors.New("the directory does not know the owner")

// backup is the job of one unit: it makes a point, and comes again.
func (e *Engine) backup(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	id := backup.UnitID(j.Key)
	var unit backup.Unit
	err := retryMoved(func() error {
		defer e.lock("unit " + j.Key)()
		var state catalog.DriveState
		var err error
		if unit, state, err = e.Catalog.UnitForBackup(ctx, j.Tenant, id); err != nil {
			return err
		}
		_, err = e.protect(ctx, j, unit, state, nil)
		return err
	})
	switch {
	case err == nil:
		e.learnOwner(ctx, unit)
		return jobs.Again(e.next(e.Interval, j.Key)), nil
	case errors.Is(err, catalog.ErrNotWanted):
		return jobs.Done, nil
	case paused(err) && unit.Status != backup.UnitProtected && ctx.Err() == nil:
		// It has no point yet, and people look for why.
	case stopped(ctx, err), errors.Is(err, catalog.ErrMoved):
		return jobs.Result{}, err
	}
	problem, lasting := explain(err)
	switch failed := e.Catalog.FailUnit(ctx, j, id, &problem); {
	case errors.Is(failed, catalog.ErrNotWanted):
		return jobs.Done, nil
	case failed != nil:
		return jobs.Result{}, errors.Join(err, failed)
	}
	if !lasting {
		return jobs.Result{}, err // tried again soon, and then less and less often
	}
	e.Log.Warn("drive not backed up", "tenant", j.Tenant, "unit", id, "owner", who(unit), "code", problem.Code, "err", err)
	return jobs.Again(e.next(e.Interval, j.Key)), nil
}

// learnOwner has the mirror of the directory know a unit's owner, whose name
// people see; the unit may have been added by id alone. It is no part of the
// backup, and may fail.
func (e *Engine) learnOwner(ctx context.Context, u backup.Unit) {
	if u.DisplayName != "" || u.Email != "" {
		return
	}
	if err := e.lookUp(ctx, u.Tenant, []string{string(u.Directory)}); err != nil {
		e.Log.Debug("owner not looked up", "tenant", u.Tenant, "unit", u.ID, "err", err)
	}
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
	case u.Email != "":
		return u.Email
	case u.DisplayName != "":
		return u.DisplayName
	}
	return string(u.Directory)
}

// A protection is one run over one drive: what is there now becomes a point.
//
// The source offers no snapshot of a drive. The point is the state at the
// moment the enumeration ended; a file that changes between then and its
// download is kept as it was downloaded, whole and consistent in itself.
type protection struct {
	e      *Engine
	job    *jobs.Job
	unit   backup.Unit
	source *drive.Client
	drive  drive.Drive
	vault  *vault.Vault
	state  catalog.DriveState // as the catalog has it
	update *vault.Update
	stage  *stage
	seeds  map[backup.ItemID]vault.Entry // contents that are known without reading them

	mu         sync.Mutex // guards what follows, and update.Put and Delete
	todo       []drive.Item
	next       int // in todo
	pending    []backup.Unread
	checkpoint struct {
		at    time.Time
		bytes int64
	}
	put, deleted, fetched int
	bytes                 int64
}

// A protected drive is what a run leaves.
type protected struct {
	Point   backup.Point
	Drive   drive.Drive
	Pending []backup.Unread
}

// protect backs a unit up and returns the point it made. Files that seeds
// knows, by the id under which they are found, are not downloaded as long as
// they still are what seeds says.
func (e *Engine) protect(ctx context.Context, j *jobs.Job, unit backup.Unit, state catalog.DriveState, seeds map[backup.ItemID]vault.Entry) (protected, error) {
	began := e.Clock()
	p := &protection{e: e, job: j, unit: unit, state: state, seeds: seeds}
	var err error
	if p.source, err = e.Sources(j.Tenant); err != nil {
		return protected{}, fmt.Errorf("reach the source: %w", err)
	}
	if p.drive, err = findDrive(ctx, p.source, unit); err != nil {
		return protected{}, err
	}
	if p.vault, err = e.Vaults(ctx, j.Tenant); err != nil {
		return protected{}, fmt.Errorf("%w: open: %w", vault.ErrStorage, err)
	}
	if state.Drive != p.drive.ID {
		// The owner has another drive than before: it begins anew, and the
		// points of the old one stay. It may be one that we once knew.
		root, err := e.Catalog.Root(ctx, j.Tenant, p.drive.ID)
		if err != nil {
			return protected{}, err
		}
		p.state = catalog.DriveState{Drive: p.drive.ID, Root: root}
	}
	p.update, err = p.vault.Begin(ctx, vault.DriveKey{Tenant: j.Tenant, Drive: p.drive.ID}, p.state.Root, cmp.Or(p.state.Checkpoint, p.state.Tree))
	if err != nil {
		return protected{}, err
	}
	defer p.update.Close()
	p.checkpoint.at = began

	p.stage = &stage{source: p.source, drive: p.drive.ID, base: p.update}
	if err := p.stage.read(ctx, p.state.Cursor); err != nil {
		return protected{}, err
	}
	at := e.Clock()
	if err := p.recall(ctx); err != nil {
		return protected{}, err
	}
	if err := p.stage.settle(ctx); err != nil {
		return protected{}, err
	}
	if err := p.classify(ctx); err != nil {
		return protected{}, err
	}
	if err := p.download(ctx); err != nil {
		return protected{}, err
	}
	sealed, err := p.update.Seal(ctx, at, vault.PointInfo{})
	if err != nil {
		return protected{}, err
	}
	commit := e.Catalog.CommitPoint
	if j.Kind == jobs.Restore {
		commit = e.Catalog.KeepPoint
	}
	point, err := commit(ctx, j, catalog.Commit{
		Unit: unit.ID,
		Point: backup.Point{
			ID: backup.NewID[backup.PointID](), At: at, Tree: sealed.Tree,
			Files: sealed.Files, Folders: sealed.Folders, Bytes: sealed.Bytes,
		},
		PrevRoot: p.state.Root,
		WebURL:   p.drive.WebURL,
		State: catalog.DriveState{
			Drive: p.drive.ID, Root: sealed.Root, Tree: sealed.Tree,
			Cursor: p.stage.cursor, Pending: p.pending,
		},
		Problem: notBackedUp(p.pending),
	})
	if err != nil {
		return protected{}, fmt.Errorf("commit: %w", err)
	}
	p.log(began)
	return protected{Point: point, Drive: p.drive, Pending: p.pending}, nil
}

// findDrive returns the drive of a unit's owner.
func findDrive(ctx context.Context, source *drive.Client, unit backup.Unit) (drive.Drive, error) {
	d, err := source.UserDrive(ctx, unit.Directory)
	if errors.Is(err, drive.ErrNotFound) && !errors.Is(err, drive.ErrNoDrive) {
		return d, fmt.Errorf("%w: %w", errNoOwner, err)
	}
	if err != nil {
		return d, fmt.Errorf("find the drive: %w", err)
	}
	return d, nil
}

// recall stages the files that failed in the run before: no delta mentions
// them again.
func (p *protection) recall(ctx context.Context) error {
	for i, old := range byAttempts(p.state.Pending) {
		if _, staged := p.stage.items[old.Item]; staged {
			continue
		}
		if i >= maxRetried {
			p.pending = append(p.pending, old)
			continue
		}
		if _, err := p.stage.add(ctx, old.Item); err != nil {
			return err
		}
	}
	if !p.stage.full {
		return nil
	}
	for _, item := range p.stage.items {
		if item.Root {
			return nil
		}
	}
	root, err := p.source.Root(ctx, p.drive.ID)
	if err != nil {
		return fmt.Errorf("read the root: %w", err)
	}
	p.stage.items[root.ID] = root
	return nil
}

// classify compares what was listed with what is in the vault: it stages what
// is known, and leaves in todo what has to be downloaded.
func (p *protection) classify(ctx context.Context) error {
	// All verdicts first: staging a deletion changes what the base answers, and
	// asking for verdicts may stage parents.
	ids := make([]backup.ItemID, 0, len(p.stage.items))
	for id := range p.stage.items {
		ids = append(ids, id)
	}
	for _, id := range ids {
		if _, err := p.stage.alive(ctx, id); err != nil {
			return err
		}
	}
	for id, item := range p.stage.items {
		alive, err := p.stage.alive(ctx, id)
		if err != nil {
			return err
		}
		if err := p.decide(ctx, item, alive); err != nil {
			return err
		}
	}
	if !p.stage.full || p.state.Tree == "" && p.state.Checkpoint == "" {
		return nil
	}
	for id, err := range p.update.IDs(ctx) {
		if err != nil {
			return fmt.Errorf("list what was backed up: %w", err)
		}
		if _, seen := p.stage.items[id]; !seen {
			p.update.Delete(id)
			p.deleted++
		}
	}
	return nil
}

func (p *protection) decide(ctx context.Context, item drive.Item, alive bool) error {
	base, known, err := p.update.Get(ctx, item.ID)
	if err != nil {
		return fmt.Errorf("look up item %s: %w", item.ID, err)
	}
	switch {
	case !alive, item.Unreadable == drive.Shortcut:
		// A shortcut is a pointer: what it points to is protected where it is.
		if known {
			p.update.Delete(item.ID)
			p.deleted++
		}
		return nil
	case item.Kind == backup.Folder, item.Root, item.Unreadable == drive.Package:
		p.stagePut(entryOf(item, backup.Folder), base, known)
		return nil
	}
	entry := entryOf(item, backup.File)
	if known && base.Kind == backup.File {
		if sameContent(entry, base) {
			entry.Content, entry.Size = base.Content, base.Size
			p.stagePut(keepTags(entry, base), base, known)
			return nil
		}
		// Until the new content has come, the old one stays, at the item's
		// present place.
		old := base
		old.Name, old.Parent = entry.Name, entry.Parent
		p.stagePut(old, base, known)
	}
	if seed, ok := p.seeds[item.ID]; ok && sameContent(entry, seed) {
		entry.Content = seed.Content
		p.stagePut(entry, base, known)
		return nil
	}
	if item.Unreadable != "" {
		p.fail(ctx, item, nil)
		return nil
	}
	p.todo = append(p.todo, item)
	return nil
}

// stagePut stages an entry that differs from the base.
func (p *protection) stagePut(entry, base vault.Entry, known bool) {
	if known && sameEntry(entry, base) {
		return
	}
	p.update.Put(entry)
	p.put++
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

// keepTags fills what a sparse listing left out of an unchanged file.
func keepTags(entry, base vault.Entry) vault.Entry {
	setDefault(&entry.CTag, base.CTag)
	setDefault(&entry.Hash, base.Hash)
	return entry
}

// sameContent reports whether two entries are known to have the same content:
// by tag where both have one, else by hash and size, else by size and time.
func sameContent(a, b vault.Entry) bool {
	switch {
	case a.CTag != "" && b.CTag != "":
		return a.CTag == b.CTag
	case a.Hash != "" && b.Hash != "":
		return a.Hash == b.Hash && a.Size == b.Size
	}
	return a.Size == b.Size && a.Modified.Equal(b.Modified)
}

func sameEntry(a, b vault.Entry) bool {
	created, modified := a.Created.Equal(b.Created), a.Modified.Equal(b.Modified)
	a.Created, a.Modified = b.Created, b.Modified
	return created && modified && a == b
}

// download brings the contents of todo into the vault, several at a time. Each
// time a checkpoint is due it lets those under way finish, and makes them safe.
func (p *protection) download(ctx context.Context) error {
	for p.next < len(p.todo) {
		group, inGroup := errgroup.WithContext(ctx)
		for range p.e.Transfers {
			group.Go(func() error {
				for {
					item, ok := p.take()
					if !ok {
						return nil
					}
					entry, err := p.fetch(inGroup, item)
					if err := p.keep(inGroup, item, entry, err); err != nil {
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

// take returns the next file to download, unless a checkpoint is due first.
func (p *protection) take() (drive.Item, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.bytes - p.checkpoint.bytes
	due := got >= p.e.CheckpointBytes || got > 0 && p.e.Clock().Sub(p.checkpoint.at) >= p.e.CheckpointEvery
	if due || p.next == len(p.todo) {
		return drive.Item{}, false
	}
	p.next++
	return p.todo[p.next-1], true
}

// save makes safe what was downloaded so far: a run that is killed later does
// not download it again. It makes no point.
func (p *protection) save(ctx context.Context) error {
	sealed, err := p.update.Seal(ctx, p.e.Clock(), vault.PointInfo{Incomplete: true})
	if err != nil {
		return fmt.Errorf("seal a checkpoint: %w", err)
	}
	state := p.state
	state.Root, state.Checkpoint = sealed.Root, sealed.Tree
	err = p.e.Catalog.Checkpoint(ctx, p.job, catalog.Commit{Unit: p.unit.ID, PrevRoot: p.state.Root, State: state})
	if err != nil {
		return fmt.Errorf("commit a checkpoint: %w", err)
	}
	p.e.Log.Info("backup under way", "tenant", p.job.Tenant, "owner", who(p.unit),
		"files", p.next, "of", len(p.todo), "bytes", p.bytes)
	p.state = state
	p.checkpoint.at, p.checkpoint.bytes = p.e.Clock(), p.bytes
	return nil
}

// fetch brings one file's content into the vault. The entry is the file as it
// was when it was read, at the place where it was listed.
func (p *protection) fetch(ctx context.Context, item drive.Item) (vault.Entry, error) {
	if item.Size == 0 {
		entry := entryOf(item, backup.File)
		content, err := p.update.Write(ctx, item.Name, bytes.NewReader(nil))
		entry.Content = content.ID
		return entry, err
	}
	for try := 1; ; try++ {
		entry, err := p.fetchOnce(ctx, item)
		if !errors.Is(err, drive.ErrChanged) || try == maxTries {
			return entry, err
		}
	}
}

func (p *protection) fetchOnce(ctx context.Context, item drive.Item) (vault.Entry, error) {
	body, err := p.source.Download(ctx, p.drive.ID, item.ID)
	if err != nil {
		return vault.Entry{}, err
	}
	defer body.Close()
	reader := &markedReader{r: body}
	content, err := p.update.Write(ctx, item.Name, reader)
	if reader.err != nil {
		return vault.Entry{}, reader.err // the source's failure, whatever the vault made of it
	}
	if err != nil {
		return vault.Entry{}, err
	}
	entry := entryOf(body.Item, backup.File)
	entry.ID, entry.Parent, entry.Name = item.ID, item.Parent, item.Name
	entry.Content, entry.Size = content.ID, content.Size
	return entry, nil
}

// A markedReader remembers the error that ended it.
type markedReader struct {
	r   io.Reader
	err error
}

func (m *markedReader) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// keep stages what fetch brought, or notes why it brought nothing. It returns
// only what must end the run.
func (p *protection) keep(ctx context.Context, item drive.Item, entry vault.Entry, err error) error {
	if errors.Is(err, drive.ErrUnavailable) && !stopped(ctx, err) {
		// Is it this file, or all of the source?
		if _, rootErr := p.source.Root(ctx, p.drive.ID); rootErr != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.update.Put(entry)
		p.fetched++
		p.bytes += entry.Size
	case stopped(ctx, err):
		return err
	case errors.Is(err, drive.ErrNotFound):
		// Deleted meanwhile, which the next delta will say too.
		p.update.Delete(item.ID)
	case isSource(err):
		p.fail(ctx, item, err)
	default:
		return err
	}
	return nil
}

// fail notes a file that could not be read.
func (p *protection) fail(ctx context.Context, item drive.Item, err error) {
	pending := backup.Unread{Item: item.ID, Path: p.stage.path(ctx, item.ID), Attempts: 1}
	pending.Code, pending.Message = unreadable(item, err)
	for _, old := range p.state.Pending {
		if old.Item == item.ID {
			pending.Attempts += old.Attempts
		}
	}
	p.pending = append(p.pending, pending)
}

func (p *protection) log(began time.Time) {
	level := slog.LevelInfo
	if p.put+p.deleted+p.fetched == 0 {
		level = slog.LevelDebug
	}
	p.e.Log.Log(context.Background(), level, "drive backed up", "tenant", p.job.Tenant, "owner", who(p.unit),
		"downloaded", p.fetched, "bytes", p.bytes, "deleted", p.deleted, "took", p.e.Clock().Sub(began).Round(time.Millisecond))
	if len(p.pending) > 0 {
		first := p.pending[0]
		p.e.Log.Warn("files not backed up", "tenant", p.job.Tenant, "owner", who(p.unit), "files", len(p.pending),
			"first", first.Path, "code", first.Code)
	}
}
