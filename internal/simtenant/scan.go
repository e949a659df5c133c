package simtenant

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// scan compares a drive's folder with what is known of it.
//
// What lies at a known path and is of the same kind is the same item, whatever
// its inode: editors save by putting a new file in the old one's place. What is
// missed at its path and turns up at a new one, by its inode, has moved and
// keeps its id. Files and folders are told apart from what came after them by
// their time of birth, for inode numbers are used again.
//
// A folder found at a new path is known to be new only when every folder that
// may hold what it was has been listed. So folders known or recognised are
// listed first, until there are no more; then those that stay unknown are made
// and listed; files are placed last.
type scan struct {
	d       *drive
	ctx     context.Context
	began   time.Time
	queue   []*item // folders to list
	found   []found
	lost    []*item
	index   map[inode]*item
	latest  int64   // change of a folder that the pass saw
	quiet   bool    // the pass found no folder changed
	first   bool    // nothing was known, so that nothing can have moved
	recheck []*item // files whose content may differ though nothing visible does
}

// found is something at a path where nothing was known.
type found struct {
	parent *item
	name   string
	st     stat
}

// fresh scans the drive unless a scan began after since.
func (d *drive) fresh(ctx context.Context, since time.Time) error {
	if d.scanned.After(since) {
		return nil
	}
	return d.scan(ctx)
}

// scan brings what is known of the drive up to date. Contents of new files,
// and of files that visibly changed, are left stale: they are read when they
// are asked for.
func (d *drive) scan(ctx context.Context) error {
	started := time.Now()
	if d.place.in == listsPart {
		if err := d.takeRows(); err != nil {
			d.warn(itemsCSV, "a list's table cannot be taken up; its items are left as they are", err)
		}
	}
	sc := &scan{d: d, ctx: ctx, first: len(d.items) == 1}
	for range 4 {
		sc.began, sc.latest, sc.quiet = time.Now(), 0, true
		sc.queue = append(sc.queue, d.root)
		if err := sc.pass(); err != nil {
			sc.giveBack()
			return err
		}
		sc.first = false
		if sc.quiet || !sc.inMotion() {
			break
		}
	}
	if !sc.quiet && sc.inMotion() {
		sc.giveBack() // nothing comes to rest: a later scan decides
	}
	for _, it := range sc.lost {
		if it.lost {
			it.lost = false
			sc.poorer(it.parent)
			d.bury(it)
		}
	}
	if err := d.read(ctx, sc.recheck); err != nil {
		return err
	}
	d.scanned, d.took = started, time.Since(started)
	return nil
}

// inMotion reports whether something may be missed only because things were
// moved while folders were listed. If no folder changed since the pass began,
// what is missed has been seen at its new place, if it has one. Otherwise it
// takes a pass that finds everything as the pass before left it.
func (sc *scan) inMotion() bool {
	return sc.latest >= sc.began.Add(-racy).UnixNano() &&
		slices.ContainsFunc(sc.lost, func(it *item) bool { return it.lost })
}

// giveBack puts what is missed back to its place.
func (sc *scan) giveBack() {
	back := slices.DeleteFunc(slices.Clone(sc.lost), func(it *item) bool { return !it.lost })
	for _, it := range back {
		it.lost = false
	}
	for _, it := range back {
		switch there := it.parent.children[it.name]; {
		case there == it: // missed twice
		case there != nil || it.adrift():
			it.lost = true // its place is taken, or gone as well
		default:
			sc.d.attach(it, it.parent, it.name)
		}
	}
}

func (sc *scan) pass() error {
	for {
		if err := sc.listAll(); err != nil {
			return err
		}
		if len(sc.found) == 0 {
			return nil
		}
		sc.makeIndex()
		var files, folders []found
		for _, f := range sc.found {
			switch {
			case f.st.kind == isFile:
				files = append(files, f)
			case !sc.recognise(f):
				folders = append(folders, f)
			}
		}
		sc.found = files
		switch {
		case len(sc.queue) > 0: // some were recognised: what is in them comes first
			sc.found = append(sc.found, folders...)
		case len(folders) > 0:
			for _, f := range folders {
				sc.make(f)
			}
		default:
			for _, f := range files {
				if !sc.recognise(f) {
					sc.make(f)
				}
			}
			sc.found = nil
			return nil
		}
	}
}

// A view is what the file system tells of a folder.
type view struct {
	folder  *item
	where   string
	entries chan []entry // after which err says whether they are all

	opened chan struct{} // closed once the following is known
	st     stat
	recent bool // names that came in the same instant may not be in it
	err    error
}

// entry is a name in a folder.
type entry struct {
	name string
	st   stat
	err  error
}

// How many folders are looked at while one is compared, and how many names of
// one wait to be.
const (
	lookAhead = 2
	fewNames  = 500
)

// listAll compares the folders of the queue, and those that it finds in them.
// Most of the time goes into asking the file system, which is done ahead.
func (sc *scan) listAll() error {
	ctx, cancel := context.WithCancel(sc.ctx)
	var lookers sync.WaitGroup
	defer lookers.Wait()
	defer cancel()
	var ahead []*view
	for {
		for len(ahead) <= lookAhead && len(sc.queue) > 0 {
			folder := sc.queue[len(sc.queue)-1]
			sc.queue = sc.queue[:len(sc.queue)-1]
			if folder.adrift() || folder.made > 0 {
				continue
			}
			v := &view{folder: folder, where: folder.path(), entries: make(chan []entry, 1), opened: make(chan struct{})}
			lookers.Go(func() { v.look(ctx, sc.d) })
			ahead = append(ahead, v)
		}
		if len(ahead) == 0 {
			return nil
		}
		if err := sc.list(ahead[0]); err != nil {
			return err
		}
		ahead = ahead[1:]
	}
}

// look asks the file system.
func (v *view) look(ctx context.Context, d *drive) {
	defer close(v.entries)
	dir, err := d.openFolder(v.where)
	if err != nil {
		v.err = err
		close(v.opened)
		return
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	// The time stamp is read after the names, so that it tells of any name that
	// was taken away before they were read.
	if err == nil {
		v.st, err = statOf(dir)
	}
	v.err, v.recent = err, time.Since(v.st.mtime.time()) < racy
	close(v.opened)
	if err != nil {
		return
	}
	for some := range slices.Chunk(names, fewNames) {
		entries := make([]entry, len(some))
		for i, name := range some {
			st, err := statAt(dir, name)
			entries[i] = entry{name, st, err}
		}
		select {
		case v.entries <- entries:
		case <-ctx.Done():
			return
		}
	}
}

// list compares one folder.
func (sc *scan) list(v *view) error {
	d, folder, where := sc.d, v.folder, v.where
	<-v.opened
	if err := sc.ctx.Err(); err != nil {
		return err
	}
	switch {
	case folder.adrift():
		for range v.entries {
		}
		return nil
	case vanished(v.err):
		if folder == d.root {
			return d.place.noDrive()
		}
		sc.lose(folder)
		return nil
	case v.err != nil:
		d.warn(where, "a folder cannot be read; what is known of its contents is left as it is", v.err)
		return nil
	}
	st := v.st
	sc.latest = max(sc.latest, st.ctime)
	if st.mtime != folder.mtime {
		sc.quiet = false
	}
	// A name that comes in the same instant as this listing leaves no trace.
	folder.unsure = v.recent
	d.look(folder, st)
	d.serial++
	serial, seen := d.serial, 0
	unread := false
	for entries := range v.entries {
		for _, e := range entries {
			name, st := e.name, e.st
			switch {
			case unread:
				continue
			case !utf8.ValidString(name):
				d.warn(path.Join(where, fmt.Sprintf("%q", name)), "a file is not shown, since its name is not valid Unicode; rename it to have it protected", nil)
				continue
			case vanished(e.err):
				sc.quiet = false
				continue
			case e.err != nil:
				d.warn(where, "a folder cannot be read; what is known of its contents is left as it is", e.err)
				unread = true
				continue
			case st.kind == isOther:
				d.warn(path.Join(where, name), "a link or device is not shown", nil)
				continue
			}
			child := folder.children[name]
			if child == nil && sc.first {
				child = d.create(folder, name, st)
				child.mark = serial
				seen++
				sc.quiet = false
				if child.kind == isFolder {
					sc.queue = append(sc.queue, child)
				}
				continue
			}
			if child == nil || child.kind != st.kind {
				sc.found = append(sc.found, found{folder, name, st})
				sc.quiet = false
				continue
			}
			child.mark = serial
			seen++
			if st.kind == isFolder && st.mtime != child.mtime {
				sc.quiet = false
			}
			if d.look(child, st) {
				sc.recheck = append(sc.recheck, child)
			}
			if st.kind == isFolder {
				sc.queue = append(sc.queue, child)
			}
		}
	}
	if err := sc.ctx.Err(); err != nil {
		return err // not all names may have come
	}
	if unread {
		return nil
	}
	if seen < len(folder.children) {
		for _, child := range folder.children {
			if child.mark != serial && child.made == 0 {
				sc.lose(child)
			}
		}
	}
	return nil
}

// look takes down what the file system says of an item at its place. It
// reports whether the content may have changed without any visible sign, and so
// must be read.
func (d *drive) look(it *item, st stat) bool {
	if it.made > 0 && st.inode != (inode{}) { // another program put one in its place
		it.made = 0
		d.write(it)
	}
	if it.kind == isFolder {
		if it.inode != st.inode {
			it.inode = st.inode
			d.write(it)
		}
		if it.kept && st.mtime != it.mtime && st.mtime == momentOf(time.Unix(0, st.ctime)) {
			st = d.keepTime(it, st)
		}
		it.ctime = st.ctime
		if it.mtime != st.mtime {
			it.mtime, it.kept = st.mtime, false
			it.etag++
			d.touch(it)
		}
		return false
	}
	if it.mtime != st.mtime || it.size != st.size {
		grow(it, st.size-it.size)
		it.inode, it.mtime, it.ctime = st.inode, st.mtime, st.ctime
		it.stale = true
		it.etag++
		d.touch(it)
		return false
	}
	// The number of a device may change when a machine starts again.
	same := it.ctime == st.ctime && it.inode.ino == st.ino && it.inode.birth == st.birth
	if it.stale {
		it.inode, it.ctime = st.inode, st.ctime
		return false
	}
	return !same || it.unsure
}

// keepTime gives a folder in which something came or went the time again that a
// client gave it, as the service leaves it. Nobody set another time: that would not
// be the time of the change itself.
func (d *drive) keepTime(folder *item, st stat) stat {
	if d.setTime(folder, folder.mtime.time()) != nil {
		return st
	}
	now, err := d.statSelf(folder)
	if err != nil || now.mtime != folder.mtime {
		return st
	}
	folder.unsure = true // what comes meanwhile leaves no trace
	return now
}

// lose notes that it is not at its place.
func (sc *scan) lose(it *item) {
	sc.d.detach(it)
	sc.quiet = false
	if !it.lost {
		it.lost = true
		sc.lost = append(sc.lost, it)
	}
}

// adrift reports whether it is missed, or in a folder that is.
func (it *item) adrift() bool {
	for ; it != nil; it = it.parent {
		if it.lost {
			return true
		}
	}
	return false
}

// makeIndex lists all that is known by inode, what is missed included.
func (sc *scan) makeIndex() {
	if sc.index != nil {
		return
	}
	sc.index = make(map[inode]*item, len(sc.d.items))
	for _, it := range sc.d.items {
		if !it.gone && it != sc.d.root && it.made == 0 {
			if other := sc.index[it.inode]; other == nil || it.adrift() && !other.adrift() {
				sc.index[it.inode] = it
			}
		}
	}
}

// recognise reports whether f is settled: it is an item that has moved here, or
// there is nothing to settle any more.
func (sc *scan) recognise(f found) bool {
	d := sc.d
	if f.parent.adrift() || f.parent.children[f.name] != nil {
		return true
	}
	it := sc.index[f.st.inode]
	if it == nil || it.gone || it.kind != f.st.kind || f.parent.below(it) {
		return false
	}
	if !it.adrift() && !sc.left(it) {
		// It has two names, unless it was seen here on its way there.
		st, err := d.statChild(f.parent, f.name)
		return err != nil || st.inode != f.st.inode
	}
	old := it.parent
	d.detach(it)
	it.lost = false
	d.attach(it, f.parent, f.name)
	sc.poorer(old)
	it.etag++
	d.touch(it)
	if d.look(it, f.st) {
		sc.recheck = append(sc.recheck, it)
	}
	if it.kind == isFolder {
		sc.queue = append(sc.queue, it)
	}
	return true
}

// poorer has a folder told again that has lost something, since its size has
// changed even if its time stamp has not.
func (sc *scan) poorer(folder *item) {
	if !folder.gone && !folder.adrift() {
		sc.d.touch(folder)
	}
}

// left reports whether it, which was seen at its place, has left it since.
func (sc *scan) left(it *item) bool {
	dir, err := sc.d.openFolder(it.parent.path())
	if err != nil {
		return vanished(err)
	}
	defer dir.Close()
	_, err = statAt(dir, it.name)
	return vanished(err)
}

func (sc *scan) make(f found) {
	if f.parent.adrift() || f.parent.children[f.name] != nil {
		return
	}
	it := sc.d.create(f.parent, f.name, f.st)
	sc.index[it.inode] = it
	if it.kind == isFolder {
		sc.queue = append(sc.queue, it)
	}
}

// visit brings what is known of one item up to date, and of as little else as
// it can; of a folder, what is in it counts only when inside is set. An item
// that is gone is answered as unknown.
func (d *drive) visit(ctx context.Context, it *item, inside bool) error {
	if it.gone {
		return noItem()
	}
	if err := d.peek(ctx, it, inside); err != nil {
		return err
	}
	if it.gone {
		return noItem()
	}
	return d.settle(ctx, it)
}

// settle reads the contents of the stale among items.
func (d *drive) settle(ctx context.Context, items ...*item) error {
	var stale []*item
	for _, it := range items {
		if it.stale {
			stale = append(stale, it)
		}
	}
	return d.read(ctx, stale)
}

func (d *drive) peek(ctx context.Context, it *item, inside bool) error {
	st, err := d.statSelf(it)
	if err != nil || st.kind != it.kind {
		return d.scan(ctx)
	}
	if it.made > 0 && st.inode == (inode{}) {
		return nil // as it was made
	}
	if it.kind == isFolder {
		it.unsure = it.unsure || st.mtime != it.mtime || d.scanned.IsZero()
		if inside && it.unsure {
			return d.scan(ctx)
		}
	}
	if d.look(it, st) {
		return d.read(ctx, []*item{it})
	}
	return nil
}
