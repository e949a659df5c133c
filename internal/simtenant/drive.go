package simtenant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/quickxor"
)

// item is a file or folder of a drive as it was last seen, or what is left of
// one that is gone.
type item struct {
	id       string
	parent   *item // nil for the root and for what is gone
	name     string
	from     string           // the parent's id, of a tombstone, and while a journal is read
	children map[string]*item // of a folder

	inode   inode
	size    int64 // a folder's is all that is below
	mtime   moment
	created moment
	ctime   int64 // this and the next in Unix nanoseconds
	noticed int64 // when the last change was, by the service's clock

	hash    string   // quickXorHash; empty where the content was not read yet, or cannot be
	strong  [16]byte // of the content, to tell whether it changed
	seq     int64    // of the last change
	mark    uint64   // of the listing that saw it last
	sharing *sharing // nil where it is as the folder above
	extras  *extras  // nil where there are none; see extra

	// A large drive has a million of these: what is small stands together.
	etag     int32
	ctag     int32
	num      int32 // of a list's or a team site's library's: the list item's id; 0 is none
	made     int32 // of a population: how often its content was made; 0 is a real one. See Population
	kind     kind
	stale    bool // the content must be read before the item is shown
	unsure   bool // the content may have changed without a trace: look again
	denied   bool // the content cannot be read
	kept     bool // of a folder: its mtime is one that a client set
	native   bool // it was there at the population's beginning
	pristine bool // and is as it was: the journal need not know
	gone     bool // a tombstone
	binned   bool // of a tombstone: the item is in the recycle bin
	dirty    bool // to be written to the journal
	lost     bool // during a scan: not at its place any more
}

// extras are what few items have.
type extras struct {
	columns  object    // of a library's: what clients put into its columns
	versions []version // of a file, the oldest first
	holder   string    // of a file: who has checked it out; see caller.key
	maker    string    // of a list's item: who made it by a request; see caller.key
}

func (it *item) extra() extras {
	if it.extras == nil {
		return extras{}
	}
	return *it.extras
}

// extend has change alter its extras.
func (it *item) extend(change func(*extras)) {
	x := it.extra()
	change(&x)
	if it.extras = &x; len(x.columns) == 0 && len(x.versions) == 0 && x.holder == "" && x.maker == "" {
		it.extras = nil
	}
}

// change is an entry of a drive's log. It stands as long as its item's last
// change is this one.
type change struct {
	seq int64
	it  *item
}

// drive is a folder as a drive: what was seen in it, by id and in the order of
// change. Everything here is used by one request at a time, which holds mu.
type drive struct {
	svc   *Service
	place place
	refs  int       // guarded by Service.mu
	used  time.Time // guarded by Service.mu
	held  int       // its share of Service.held; guarded by Service.mu
	count int       // items at the end of the last request; guarded by Service.mu

	mu  sync.Mutex
	top *os.Root // the folder, while a request is at work

	loaded     bool
	generation string // of the item ids; a cursor of another one is worth nothing
	seq        int64  // the last change
	floor      int64  // tombstones up to here may be missing
	root       *item
	items      map[string]*item
	numbers    map[int32]*item // by num; nil where nothing has any
	last       int32           // the last num
	log        []change
	dead       int // tombstones
	journal    *os.File
	lines      int
	dirty      []*item
	scanned    time.Time     // when the last scan began
	took       time.Duration // by the last scan
	serial     uint64        // of the last listing
	warned     map[string]bool
	recycling  bool     // what goes now is in the recycle bin
	mail       *mailbox // what a mailbox's folder is to mail; nil until it is asked for
}

// How many drives and how many items stay in memory while nobody uses them. A
// drive that was used a moment ago is in use, whatever its size: who reads it
// page by page will come back, and a journal that is read anew for each page
// never lets a large drive be read to its end.
const (
	keepDrives = 64
	keepItems  = 400_000
	momentAgo  = time.Minute
)

// with runs fn on the drive at p, alone. What fn did to the state is in the
// journal when with returns.
func (s *Service) with(p place, fn func(*drive) error) error {
	id := p.id()
	s.mu.Lock()
	d := s.drives[id]
	if d == nil {
		d = &drive{svc: s, place: p}
		s.drives[id] = d
	}
	d.refs++
	s.mu.Unlock()

	defer s.release(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.place = p // whose folder may have another name than it had
	return d.run(fn)
}

// release ends a request's use of d.
func (s *Service) release(d *drive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.refs--
	s.held += d.count - d.held
	d.held, d.used = d.count, time.Now()
	s.dropIdle()
}

// dropIdle lets go of the drives that were idle longest, while there are too
// many. Callers hold s.mu.
func (s *Service) dropIdle() {
	for len(s.drives) > keepDrives || s.held > s.keepItems {
		var oldest *drive
		var key string
		for id, d := range s.drives {
			if d.refs == 0 && (oldest == nil || d.used.Before(oldest.used)) {
				oldest, key = d, id
			}
		}
		if oldest == nil || len(s.drives) <= keepDrives && time.Since(oldest.used) < momentAgo {
			return
		}
		s.held -= oldest.held
		delete(s.drives, key)
		if err := oldest.close(); err != nil {
			s.log.Error("a drive's journal could not be closed", "drive", oldest.place.folder(), "err", err)
		}
	}
}

func (d *drive) run(fn func(*drive) error) error {
	folder := d.place.folder()
	// A link in place of the folder is no drive: it may lead anywhere.
	root := d.svc.rootOf(d.place)
	info, err := root.Lstat(folder)
	if vanished(err) || err == nil && !info.IsDir() {
		return d.place.noDrive()
	}
	if err != nil {
		return onDisk(fmt.Errorf("look at drive folder: %w", err))
	}
	d.top, err = root.OpenRoot(folder)
	if vanished(err) {
		return d.place.noDrive()
	}
	if err != nil {
		return onDisk(fmt.Errorf("open drive folder: %w", err))
	}
	whole := false
	defer func() {
		d.top.Close()
		d.top = nil
		if !whole {
			// The journal lags behind what we know, so what we know is forgotten.
			d.unload()
		}
		n := len(d.items)
		d.svc.mu.Lock()
		d.count = n
		d.svc.mu.Unlock()
	}()
	if !d.loaded {
		if err := d.load(); err != nil {
			return err
		}
	}
	before := d.seq
	err = fn(d)
	if ferr := d.flush(); ferr != nil {
		return errors.Join(ferr, err)
	}
	whole = true
	if d.seq != before && !d.place.isMailbox() {
		d.svc.changed(d.place)
	}
	return err
}

func (d *drive) close() error {
	d.closeMailbox()
	return d.closeJournal()
}

func (d *drive) closeJournal() error {
	if d.journal == nil {
		return nil
	}
	err := d.journal.Close()
	d.journal = nil
	return err
}

func (d *drive) unload() {
	d.close()
	d.loaded, d.root, d.items, d.log, d.dirty, d.numbers = false, nil, nil, nil, nil, nil
	d.scanned = time.Time{}
}

// touch records that it was changed.
func (d *drive) touch(it *item) {
	d.seq++
	it.seq = d.seq
	it.noticed = d.svc.clock().UnixNano()
	d.log = append(d.log, change{d.seq, it})
	d.write(it)
	if len(d.log) > 2*len(d.items)+1000 {
		d.log = slices.DeleteFunc(d.log, func(c change) bool { return c.it.seq != c.seq })
	}
}

// write has it written to the journal at the end of the request.
func (d *drive) write(it *item) {
	it.pristine = false
	if !it.dirty {
		it.dirty = true
		d.dirty = append(d.dirty, it)
	}
}

func (d *drive) attach(it, parent *item, name string) {
	it.parent, it.name = parent, name
	d.number(it)
	parent.children[name] = it
	grow(parent, it.size)
}

// number gives it the id of a list item, if it is to have one.
func (d *drive) number(it *item) {
	if d.place.user != nil || !d.place.isListItem(it) {
		return
	}
	if it.num == 0 {
		d.last++
		it.num = d.last
	}
	if d.numbers == nil {
		d.numbers = map[int32]*item{}
	}
	d.numbers[it.num] = it
	d.last = max(d.last, it.num)
}

// detach takes it out of its parent, which it still names.
func (d *drive) detach(it *item) {
	if it.parent.children[it.name] == it {
		delete(it.parent.children, it.name)
		grow(it.parent, -it.size)
	}
}

// grow adds n to the size of a folder and of those it is in.
func grow(folder *item, n int64) {
	for ; folder != nil; folder = folder.parent {
		folder.size += n
	}
}

// create adds a file or folder that was not known before.
func (d *drive) create(parent *item, name string, st stat) *item {
	it := &item{id: d.newItemID(), kind: st.kind, inode: st.inode, mtime: st.mtime, ctime: st.ctime, created: momentOf(time.Unix(0, st.birth)), etag: 1}
	if st.birth == 0 {
		it.created = st.mtime
	}
	if st.kind == isFolder {
		it.children = map[string]*item{}
	} else {
		it.size, it.stale = st.size, true
	}
	d.items[it.id] = it
	if parent != nil {
		d.attach(it, parent, name)
	}
	d.touch(it)
	return it
}

// bury makes it, detached already, and all below it tombstones.
func (d *drive) bury(it *item) {
	for _, child := range it.children {
		d.bury(child)
	}
	if !d.recycling {
		d.dropVersions(it)
	}
	it.from, it.binned = it.parent.id, d.recycling
	it.extend(func(x *extras) { x.holder = "" })
	it.children, it.parent, it.gone = nil, nil, true
	d.dead++
	d.touch(it)
}

// path is where it lies below the drive's folder.
func (it *item) path() string {
	if it.parent == nil {
		return "."
	}
	names := make([]string, 0, 16)
	for at := it; at.parent != nil; at = at.parent {
		names = append(names, at.name)
	}
	slices.Reverse(names)
	return path.Join(names...)
}

// below reports whether it is folder or lies below it.
func (it *item) below(folder *item) bool {
	for ; it != nil; it = it.parent {
		if it == folder {
			return true
		}
	}
	return false
}

// openFolder opens a folder for listing.
func (d *drive) openFolder(name string) (*os.File, error) {
	return d.top.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
}

// reading is what reading a file's content found.
type reading struct {
	it     *item
	path   string
	before stat // the first look
	after  stat // the last look: what the content belongs to
	began  time.Time
	hash   string
	strong [16]byte
	err    error

	hashMade func(*item, []byte) string // of a made file, by a buffer
}

// read reads the contents of items and takes down what it finds. Two are read
// at a time.
func (d *drive) read(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	work, done := make(chan *reading), make(chan *reading)
	var wg sync.WaitGroup
	for range min(2, len(items)) {
		wg.Go(func() {
			buf := readBuffers.Get().(*readBuffer)
			defer readBuffers.Put(buf)
			for r := range work {
				r.run(ctx, d.top, buf[:])
				done <- r
			}
		})
	}
	go func() {
		seen := make(map[*item]bool, len(items))
		for _, it := range items {
			if !seen[it] && ctx.Err() == nil {
				seen[it] = true
				work <- &reading{it: it, path: it.path(), hashMade: d.madeHash}
			}
		}
		close(work)
		wg.Wait()
		close(done)
	}()
	var readings []*reading
	for r := range done {
		readings = append(readings, r)
	}
	var errs []error
	for _, r := range readings {
		errs = append(errs, d.learn(r))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// A readBuffer is what a file is read into. Each page of a delta takes some anew, and to make
// them would have the collector look through all items again and again.
type readBuffer [256 << 10]byte

var readBuffers = sync.Pool{New: func() any { return new(readBuffer) }}

// run reads the file. A file that changes while it is read is read again, a few
// times; what is known at last is then marked unsure.
func (r *reading) run(ctx context.Context, top *os.Root, buf []byte) {
	for range 3 {
		if r.err = ctx.Err(); r.err != nil {
			return
		}
		r.once(ctx, top, buf)
		if r.err != nil || r.before == r.after {
			return
		}
	}
}

func (r *reading) once(ctx context.Context, top *os.Root, buf []byte) {
	r.began = time.Now()
	if r.it.made > 0 {
		r.hash = r.hashMade(r.it, buf)
		return
	}
	// Without O_NONBLOCK, a pipe put in the file's place would hold us up.
	f, err := top.OpenFile(r.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		r.err = err
		return
	}
	defer f.Close()
	if r.before, r.err = statOf(f); r.err != nil {
		return
	}
	if r.before.kind != isFile {
		r.err = fs.ErrNotExist
		return
	}
	quick, strong := quickxor.New(), sha256.New()
	var n int64
	for {
		k, err := f.Read(buf)
		quick.Write(buf[:k])
		strong.Write(buf[:k])
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			r.err = err
			return
		}
	}
	if r.after, r.err = statOf(f); r.err != nil {
		return
	}
	r.after.size = n
	r.hash = quickxor.Encode(quick.Sum(nil))
	r.strong = [16]byte(strong.Sum(nil))
}

// learn takes down what a reading found.
func (d *drive) learn(r *reading) error {
	it := r.it
	if it.made > 0 && r.err == nil {
		it.hash, it.stale = r.hash, false // which anybody can compute again
		return nil
	}
	switch {
	case errors.Is(r.err, context.Canceled), errors.Is(r.err, context.DeadlineExceeded):
		it.unsure = true
		return nil
	case vanished(r.err):
		it.unsure = true // the next scan finds out what became of it
		return nil
	case r.err != nil:
		// What cannot be read is shown all the same, so that a backup says so.
		d.warn(r.path, "a file cannot be read", r.err)
		if !it.denied {
			it.denied, it.hash = true, ""
			it.etag++
			d.touch(it)
		}
		it.stale, it.unsure = false, true
		return nil
	}
	d.know(it, r.after, r.hash, r.strong)
	it.unsure = r.before != r.after || time.Duration(r.began.UnixNano()-r.after.ctime) < racy
	d.write(it)
	return nil
}

// know takes down a file's state and content.
func (d *drive) know(it *item, st stat, hash string, strong [16]byte) {
	told := it.stale
	other := it.ctag == 0 || it.strong != strong || it.denied
	moved := st.mtime != it.mtime || st.size != it.size
	if st.size != it.size {
		grow(it, st.size-it.size)
	}
	it.inode, it.mtime, it.ctime = st.inode, st.mtime, st.ctime
	it.hash, it.strong = hash, strong
	it.stale, it.denied = false, false
	if other {
		it.ctag++
	}
	if moved || other && !told {
		it.etag++
		d.touch(it)
	}
	d.write(it)
}

// warn says something about a path once.
func (d *drive) warn(path, what string, err error) {
	if d.warned == nil {
		d.warned = map[string]bool{}
	}
	key := what + "\x00" + path
	if d.warned[key] || len(d.warned) > 10_000 {
		return
	}
	d.warned[key] = true
	d.svc.log.Warn(what, "drive", d.place.folder(), "path", path, "err", err)
}
