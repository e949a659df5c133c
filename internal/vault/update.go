package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/kopia/kopia/repo/object"

	"holdfast/internal/backup"
)

// An Entry is what is kept of one item of a drive.
type Entry struct {
	ID, Parent        backup.ItemID // Parent is empty for the drive's root folder
	Name              string
	Kind              backup.ItemKind
	Size              int64 // files only
	Created, Modified time.Time
	CTag, Hash        string
	Content           string // files only: Content.ID, as Write returned it
	// Stored is the quickXorHash of what Content holds where that is not Hash:
	// the source states no hash, or hands out another content than the one it
	// states the hash of. Else it is empty.
	Stored string
}

// StoredHash is the quickXorHash of what Content holds, or "" if that is not
// known.
func (e *Entry) StoredHash() string {
	if e.Stored != "" {
		return e.Stored
	}
	return e.Hash
}

// A Content is what Write stored.
type Content struct {
	ID   string
	Size int64
}

// PointInfo is what Seal keeps beside the drive's tree.
type PointInfo struct {
	// Incomplete marks a checkpoint of a backup that is still under way. It is no
	// point, and goes when the next one is sealed that is complete.
	Incomplete bool
	// Whose drive it is and under which policy, so that a catalog can be made
	// again from the vault alone.
	Unit     backup.UnitID
	Workload backup.Workload
	Owner    backup.Subject
	Policy   backup.PolicyID
	// Unread are the items that the point does not hold as they were.
	Unread []backup.Unread
}

// Sealed is the outcome of Seal.
type Sealed struct {
	Root, Tree string
	// Changed is false when the drive is as it was in the base, whose tree
	// and root the others then are.
	Changed bool
	// Named is false when nothing came into the tree that the update began with, went
	// from it, or has another name in it.
	Named                 bool
	Files, Folders, Bytes int64 // of the whole tree; its root folder is not counted
	// Orphans were staged and left out, because no chain of parents leads
	// from them to the drive's root folder.
	Orphans []backup.ItemID
}

// An Update makes the next tree of one drive from a base: stage with Put and
// Delete, store contents with Write, then Seal. Write may be called by many
// goroutines; so may the others, except that nothing else may be under way
// during Seal. An update that failed can only be closed.
type Update struct {
	v   *Vault
	key DriveKey

	mu     sync.Mutex
	base   base
	staged *staged
	doubt  bool // no stored copy is believed to be whole
	ended  bool // by Close
	part   bool // the tree is to be one of a point's parts
	named  bool // what was sealed so far was Named
}

// context returns the one to write with.
func (u *Update) context(ctx context.Context) context.Context {
	if u.doubt {
		return context.WithValue(ctx, doubting{}, true)
	}
	return ctx
}

// A base is the tree that an update starts from, and what was read of it.
type base struct {
	v          *Vault
	root, tree string
	files      record // the root folder; zero when there is no tree
	trie       *trie
	dirs       *shelf[*dir]
	above      *record       // the folder that was looked into last: items are mostly asked for in its order
	strange    backup.ItemID // what was last said to be a folder, and is none here
	once       bool          // few items are looked for: directories are not read whole for them
	point      pointFile
	unread     string    // the object of meta/unread.json, or ""
	parts      []partsOf // none where the tree is of one drive
}

// pointFile is the form of meta/point.json. Points of before version 1 of the
// format do not say whose they are.
type pointFile struct {
	Drive      backup.DriveID  `json:"drive"`
	Time       time.Time       `json:"time"`
	Files      int64           `json:"files"`
	Folders    int64           `json:"folders"`
	Bytes      int64           `json:"bytes"`
	Incomplete bool            `json:"incomplete,omitempty"`
	Unit       backup.UnitID   `json:"unit,omitempty"`
	Workload   backup.Workload `json:"workload,omitempty"` // "" is OneDrive, as in points of before there were others
	Owner      *ownerFile      `json:"owner,omitempty"`
	Policy     backup.PolicyID `json:"policy,omitempty"`
	Unread     int             `json:"unread,omitempty"` // entries of meta/unread.json, but for notes
	Parts      []partFile      `json:"parts,omitempty"`
}

type ownerFile struct {
	ID                backup.SubjectID `json:"id"`
	UserPrincipalName string           `json:"userPrincipalName,omitempty"`
	Mail              string           `json:"mail,omitempty"`
	DisplayName       string           `json:"displayName,omitempty"`
}

// pointFileOf returns what is kept of a point beside its tree, and the form of
// meta/unread.json, which is empty when the point lacks nothing.
func pointFileOf(info PointInfo) (p pointFile, unread []byte, err error) {
	p = pointFile{Incomplete: info.Incomplete, Unit: info.Unit, Policy: info.Policy, Unread: len(backup.Unheld(info.Unread))}
	if info.Workload != backup.OneDrive {
		p.Workload = info.Workload
	}
	if o := info.Owner; o != (backup.Subject{}) {
		p.Owner = &ownerFile{o.ID, o.Address, o.Mail, o.DisplayName}
	}
	if len(info.Unread) == 0 {
		return p, nil, nil
	}
	list := make([]backup.Unread, len(info.Unread))
	for i, u := range info.Unread {
		u.Attempts, u.Next, u.Listed = 0, time.Time{}, "" // they say nothing of the point
		list[i] = u
	}
	if unread, err = json.MarshalIndent(list, "", "  "); err != nil {
		err = fmt.Errorf("encode unread.json: %w", err)
	}
	return p, unread, err
}

// info returns what a point's files say of it, but for what it lacks.
func (p *pointFile) info() PointInfo {
	info := PointInfo{Incomplete: p.Incomplete, Unit: p.Unit, Workload: cmp.Or(p.Workload, backup.OneDrive), Policy: p.Policy}
	if o := p.Owner; o != nil {
		info.Owner = backup.Subject{ID: o.ID, Address: o.UserPrincipalName, Mail: o.Mail, DisplayName: o.DisplayName}
	}
	return info
}

// same reports whether two points' files say the same of anything but the time
// and the owner's names.
func (p *pointFile) same(q *pointFile) bool {
	return p.Incomplete == q.Incomplete && p.Unit == q.Unit && p.Workload == q.Workload && p.Policy == q.Policy && p.Unread == q.Unread && p.info().Owner.ID == q.info().Owner.ID
}

// Begin starts an update of a drive whose root and latest tree are those
// given, both empty for a drive without points. The update must be closed. It
// fails with ErrNotFound when the vault has no such root or tree.
func (v *Vault) Begin(ctx context.Context, key DriveKey, root, tree string) (*Update, error) {
	b, err := v.base(ctx, root, tree)
	b.spills()
	if err == nil {
		err = b.errParts()
	}
	if err == nil && root != "" {
		// It is read only by Seal; that it is gone should not be found out then, when
		// all has been downloaded.
		err = v.known(ctx, root)
	}
	if err != nil {
		return nil, fmt.Errorf("begin update of drive %s: %w", key.Drive, err)
	}
	u := &Update{v: v, key: key, base: b}
	u.staged = newStaged(v.state)
	v.flushes.Lock()
	v.flushes.open++
	v.flushes.Unlock()
	return u, nil
}

func (u *Update) unstage() {
	u.staged.close()
	u.staged = newStaged(u.v.state)
}

// base opens a tree.
func (v *Vault) base(ctx context.Context, root, tree string) (base, error) {
	b := base{v: v, root: root, tree: tree, trie: v.newTrie(nil), dirs: newShelf[*dir]("", maxRecords)}
	if tree == "" {
		return b, nil
	}
	d, err := v.readDir(ctx, tree)
	if err != nil {
		return b, err
	}
	files, meta := d.named("files"), d.named("meta")
	several, err := b.ofParts(ctx, d)
	if err != nil {
		return b, err
	}
	if files == nil && !several || meta == nil {
		return b, fmt.Errorf("%w: %s is not a tree", ErrNotFound, tree)
	}
	m, err := v.readDir(ctx, meta.Object)
	if err != nil {
		return b, err
	}
	if files != nil {
		b.files = *files
	}
	b.trie = v.newTrie(m.named("index"))
	if u := m.named("unread.json"); u != nil {
		b.unread = u.Object
	}
	if p := m.named("point.json"); p != nil {
		if err := b.readPoint(ctx, p.Object); err != nil {
			return b, err
		}
	}
	return b, nil
}

// spills has what is read of the base leave the memory when it is much. The base
// must then be closed.
func (b *base) spills() { b.dirs.dir, b.trie.leaves.dir = b.v.state, b.v.state }

func (b *base) close() {
	b.dirs.close()
	if b.trie != nil {
		b.trie.leaves.close()
	}
	*b = base{}
}

// parent returns the parent of id in the base.
func (b *base) parent(ctx context.Context, id backup.ItemID) (backup.ItemID, bool, error) {
	return b.trie.parent(ctx, id)
}

// record returns the record of id in the base, and its parent; nil when the
// base has no such item. The index is not asked for what was read from a folder.
func (b *base) record(ctx context.Context, id backup.ItemID) (*record, backup.ItemID, error) {
	if value, found, err := b.dirs.any(id); found || err != nil {
		r, parent := decodeRecord(id, value)
		return r, parent, err
	}
	parent, ok, err := b.parent(ctx, id)
	if err != nil || !ok {
		return nil, "", err
	}
	if parent == "" {
		if b.files.ID != id {
			return nil, "", b.damaged(id)
		}
		return &b.files, "", nil
	}
	folder := b.above
	if folder == nil || folder.ID != parent {
		if folder, _, err = b.record(ctx, parent); err != nil {
			return nil, "", err
		}
		b.above = folder
	}
	if folder == nil || !folder.isDir() {
		return nil, "", b.damaged(id)
	}
	if _, held := b.dirs.held[folder.Object]; !held && b.dirs.movedAs(folder.Object) > 0 {
		return nil, "", b.damaged(id) // or it would have been found among what that held
	}
	if b.once {
		if r, err := b.v.pick(ctx, folder.Object, id); err != nil || r != nil {
			return r, parent, err
		}
	}
	r, err := b.find(ctx, folder, id)
	if err == nil && r == nil {
		err = b.damaged(id)
	}
	if err != nil {
		return nil, "", err
	}
	return r, parent, nil
}

// recordIn is record of what mostly is in a folder. The index is asked only for what is
// not in it.
func (b *base) recordIn(ctx context.Context, id, folder backup.ItemID) (*record, backup.ItemID, error) {
	if folder == "" || folder == b.strange || b.once {
		return b.record(ctx, id)
	}
	if value, found, err := b.dirs.any(id); found || err != nil {
		r, parent := decodeRecord(id, value)
		return r, parent, err
	}
	above := b.above
	if above == nil || above.ID != folder {
		var err error
		if above, _, err = b.record(ctx, folder); err != nil {
			return b.record(ctx, id) // it may be elsewhere
		}
		if above == nil || !above.isDir() {
			b.strange = folder
			return b.record(ctx, id)
		}
		b.above = above
	}
	if _, held := b.dirs.held[above.Object]; held || b.dirs.movedAs(above.Object) == 0 {
		if r, err := b.find(ctx, above, id); err == nil && r != nil {
			return r, folder, nil
		}
	}
	return b.record(ctx, id)
}

func (b *base) damaged(id backup.ItemID) error {
	return &DamageError{Object: b.tree, Err: fmt.Errorf("its index and its files disagree on item %s", id)}
}

// find returns the record of an item that is in a folder of the base, or nil. It keeps what it
// reads: of a long directory each record by itself on disk, if what is read may leave the memory.
func (b *base) find(ctx context.Context, folder *record, id backup.ItemID) (*record, error) {
	l, err := b.list(ctx, folder)
	if err != nil {
		return nil, err
	}
	if l.pieces == nil || b.dirs.dir == "" {
		d, err := l.whole()
		if err != nil {
			return nil, err
		}
		b.keep(folder, d)
		return d.find(id), nil
	}
	err = b.dirs.stow(folder.Object, func(put func(backup.ItemID, string)) error {
		for r, err := range l.records() {
			if err != nil {
				return err
			}
			put(r.ID, encodeRecord(r, folder.ID))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	value, found, _, err := b.dirs.find(folder.Object, id)
	if err != nil || !found {
		return nil, err
	}
	r, _ := decodeRecord(id, value)
	return r, nil
}

// list opens a folder's directory in the base, and keeps it if it is not long.
func (b *base) list(ctx context.Context, folder *record) (listing, error) {
	if d, ok := b.dirs.held[folder.Object]; ok {
		return listing{dir: d}, nil
	}
	l, err := b.v.lookList(ctx, folder.Object)
	if err == nil && l.dir != nil {
		b.keep(folder, l.dir)
	}
	return l, err
}

func (b *base) keep(folder *record, d *dir) {
	if _, ok := b.dirs.held[folder.Object]; !ok {
		d.folder = folder.ID
		b.dirs.add(folder.Object, d)
	}
}

// look opens a directory of the base that nobody will soon look into again.
func (b *base) look(ctx context.Context, oid string) (listing, error) {
	if d, ok := b.dirs.held[oid]; ok {
		return listing{dir: d}, nil
	}
	return b.v.lookList(ctx, oid)
}

// Get returns an item as it was last staged, else as it is in the base.
// Whether its folders were deleted or lost meanwhile, only Seal finds out.
func (u *Update) Get(ctx context.Context, id backup.ItemID) (Entry, bool, error) {
	return u.GetIn(ctx, id, "")
}

// GetIn is Get of what mostly is in a folder, as who asks knows: most of what a drive
// holds is found without its index.
func (u *Update) GetIn(ctx context.Context, id, folder backup.ItemID) (Entry, bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i, ok := u.staged.find(id); ok {
		e, stays := u.staged.at(i)
		return e, stays, u.staged.err()
	}
	if err := u.staged.err(); err != nil {
		return Entry{}, false, err
	}
	r, parent, err := u.base.recordIn(ctx, id, folder)
	if err != nil || r == nil {
		return Entry{}, false, err
	}
	return r.entry(parent), true, nil
}

// Root returns the drive's root folder as it is in the base, or "".
func (u *Update) Root() backup.ItemID {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.base.files.ID
}

// Children lists what a folder holds in the base, folders first; nothing for an item that is
// no folder there. It ends with the first error.
func (u *Update) Children(ctx context.Context, folder backup.ItemID) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		l, err := u.open(ctx, folder)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for r, err := range l.records() {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(r.entry(folder), nil) {
				return
			}
		}
	}
}

// open opens the directory of a folder of the base; that of nothing if there is none.
func (u *Update) open(ctx context.Context, folder backup.ItemID) (listing, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, _, err := u.base.record(ctx, folder)
	if err != nil || r == nil || !r.isDir() {
		return listing{dir: &dir{}}, err
	}
	return u.base.list(ctx, r)
}

// Entries lists the items of the base, folder by folder. A folder that cannot be looked
// into comes a second time, as an error, and the list goes on beside it for those who do.
func (u *Update) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		u.mu.Lock()
		root := u.base.files
		u.mu.Unlock()
		if root.ID != "" && yield(root.entry(""), nil) {
			u.below(ctx, &root, yield)
		}
	}
}

// below lists what is below a folder of the base, and reports whether to go on.
func (u *Update) below(ctx context.Context, folder *record, yield func(Entry, error) bool) bool {
	u.mu.Lock()
	l, err := u.base.list(ctx, folder)
	u.mu.Unlock()
	bad := func(err error) bool { return yield(Entry{ID: folder.ID}, err) && ctx.Err() == nil }
	if err != nil {
		return bad(err)
	}
	for r, err := range l.records() {
		if err != nil {
			return bad(err)
		}
		if !yield(r.entry(folder.ID), nil) || r.isDir() && !u.below(ctx, r, yield) {
			return false
		}
	}
	return true
}

// Count returns how many items the base has, its root folder among them.
func (u *Update) Count() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.base.files.Summary
	if u.base.files.ID == "" || s == nil {
		return 0
	}
	return s.TotalFileCount + s.TotalDirCount
}

// Put stages an item as it shall be, whatever was staged of it before. Its
// parent may be staged later. The root folder has no parent; when another
// takes its place, the former goes with all that is still below it.
func (u *Update) Put(e Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.staged.put(e)
}

// Delete stages the removal of an item, with all that is below it when
// everything staged has been moved.
func (u *Update) Delete(id backup.ItemID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.staged.drop(id)
}

// A file is read and written in parts of partSize.
const partSize = 128 << 10

var parts = sync.Pool{New: func() any { return new([partSize]byte) }}

// Write stores a file's content and returns what an Entry needs of it. It is
// in the vault for good once the update is sealed with an entry that names it. That
// the vault is no longer in its place may be found out only when a pack is full, or
// by Seal. An error of r is returned as it is. What the vault has of the content and
// cannot read any more is stored anew.
//
// Where r has a method Size, as bytes.Reader has, and says that the content is long,
// its chunks are hashed, compressed and stored side by side, as far as other contents
// leave cores for that.
func (u *Update) Write(ctx context.Context, name string, r io.Reader) (Content, error) {
	if err := u.v.packs.begin(ctx); err != nil {
		return Content{}, err
	}
	u.v.packs.end()
	buf := parts.Get().(*[partSize]byte)
	defer parts.Put(buf)
	lanes := u.v.takeLanes(r)
	defer u.v.leaveLanes(lanes) // when the writer is closed, and nobody writes any more
	ow := u.v.newWriter(u.context(ctx), u.v.updates, object.WriterOptions{
		Description: "FILE:" + name, Compressor: compressed, MetadataCompressor: compressed, AsyncWrites: lanes,
	})
	defer ow.Close()
	dst := &markedWriter{w: ow}
	size, err := io.CopyBuffer(dst, struct{ io.Reader }{r}, buf[:])
	if dst.err != nil {
		return Content{}, fmt.Errorf("write content: %w", storageError(dst.err))
	}
	if err != nil {
		return Content{}, err
	}
	id, err := ow.Result()
	if err != nil {
		return Content{}, fmt.Errorf("write content: %w", storageError(err))
	}
	if err := u.v.wrote(ctx); err != nil {
		return Content{}, fmt.Errorf("write content: %w", err)
	}
	return Content{ID: id.String(), Size: size}, nil
}

// long is how long a content is whose chunks are stored side by side.
const long = 4 << 20

// takeLanes returns how many chunks of a content may be under way beside what reads
// it. They must be given back.
func (v *Vault) takeLanes(r io.Reader) (n int) {
	if sized, ok := r.(interface{ Size() int64 }); !ok || sized.Size() < long {
		return 0
	}
	for {
		select {
		case v.lanes <- struct{}{}:
			n++
		default:
			return n
		}
	}
}

func (v *Vault) leaveLanes(n int) {
	for range n {
		<-v.lanes
	}
}

// maxUnflushed is of how many contents kopia may have to know until a flush where
// they are, which takes it 160 bytes each, and 40 thereafter.
const maxUnflushed = 50_000

// wrote counts an object that was written, and makes what there is durable when it is much.
func (v *Vault) wrote(ctx context.Context) error {
	v.objectsWritten.Add(1)
	if v.flushes.held.Add(1) == maxUnflushed {
		return v.flush(ctx)
	}
	return nil
}

// markedWriter remembers its error, to tell it from the reader's.
type markedWriter struct {
	w   io.Writer
	err error
}

func (m *markedWriter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.err = errors.Join(m.err, err)
	return n, err
}

// Close ends the update and forgets what was not sealed. Contents that it wrote
// may be in the vault all the same, where nothing names them; Maintain collects
// them. It may be called twice.
func (u *Update) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.base.close()
	u.staged.close()
	if !u.ended {
		u.ended = true
		u.v.flushes.Lock()
		u.v.flushes.open--
		u.v.flushes.Unlock()
	}
}

// Seal writes the drive as it is now, as a point at a time, publishes it, and
// goes on from there: the update may stage more and be sealed again. When
// nothing differs from the base it writes nothing.
//
// All moves come first, and then deletes. An item staged below a folder that
// nobody knows, or below itself, is left out and named in Sealed.Orphans; what
// the base has below it goes with it. Until the catalog names the new root,
// the old one holds.
func (u *Update) Seal(ctx context.Context, at time.Time, info PointInfo) (Sealed, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s, err := u.seal(u.context(ctx), at, info)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal drive %s: %w", u.key.Drive, err)
	}
	return s, nil
}

func (u *Update) seal(ctx context.Context, at time.Time, info PointInfo) (Sealed, error) {
	if err := u.v.there(ctx); err != nil {
		return Sealed{}, err
	}
	at = at.UTC().Truncate(time.Millisecond)
	m, files, err := u.merged(ctx)
	if err != nil {
		return Sealed{}, err
	}
	index, err := u.base.trie.apply(ctx, u.v.updates, &m.changes)
	if err == nil {
		err = u.staged.err() // what could not be read back is not in the tree
	}
	if err != nil {
		return Sealed{}, err
	}

	u.named = u.named || m.named
	sealed := Sealed{
		Root: u.base.root, Tree: u.base.tree, Orphans: m.orphans, Named: u.named,
		Files: files.Summary.TotalFileCount, Folders: files.Summary.TotalDirCount - 1, Bytes: files.Summary.TotalFileSize,
	}
	point, unread, err := pointFileOf(info)
	if err != nil {
		return Sealed{}, err
	}
	var lacks string
	if unread != nil {
		if lacks, err = u.v.writeObject(ctx, u.v.updates, metaPrefix, "UNREAD", unread); err != nil {
			return Sealed{}, err
		}
	}
	if u.base.tree != "" && files.Object == u.base.files.Object && files.sameItem(&u.base.files) &&
		index == u.base.trie.root && point.same(&u.base.point) && lacks == u.base.unread {
		u.unstage()
		return sealed, nil
	}

	point.Drive, point.Time = u.key.Drive, at
	point.Files, point.Folders, point.Bytes = sealed.Files, sealed.Folders, sealed.Bytes
	inMeta := []record{}
	if index != nil {
		inMeta = append(inMeta, *index)
	}
	if lacks != "" {
		inMeta = append(inMeta, record{Name: "unread.json", Type: fileType, Mode: fileMode, Size: int64(len(unread)), Modified: at, Object: lacks})
	}
	sealed.Changed = true
	if sealed.Tree, sealed.Root, err = u.writePoint(ctx, at, point, inMeta, files); err != nil {
		return Sealed{}, err
	}
	u.base.close()
	u.base = base{v: u.v, root: sealed.Root, tree: sealed.Tree, files: files, trie: u.v.newTrie(index),
		dirs: newShelf[*dir]("", maxRecords), point: point, unread: lacks}
	u.base.spills()
	u.unstage()
	return sealed, nil
}

// merged joins what was staged with the base, and returns the record of the files/ directory. What
// comes after it is of a bounded size, and keeps nobody from being alone.
func (u *Update) merged(ctx context.Context) (m *merge, files record, err error) {
	m = newMerge(ctx, u)
	defer m.close()
	if files, err = m.files(); err == nil {
		err = m.err()
	}
	return m, files, err
}

// writePoint writes a point around held, its folders, and what is in meta beside point.json,
// puts it into the drive's root and publishes that.
func (u *Update) writePoint(ctx context.Context, at time.Time, point pointFile, inMeta []record, held ...record) (tree, root string, err error) {
	b, err := json.MarshalIndent(point, "", "  ")
	if err != nil {
		return "", "", fmt.Errorf("encode point.json: %w", err)
	}
	oid, err := u.v.writeObject(ctx, u.v.updates, metaPrefix, "POINT", b)
	if err != nil {
		return "", "", err
	}
	inMeta = append(inMeta, record{Name: "point.json", Type: fileType, Mode: fileMode, Size: int64(len(b)), Modified: at, Object: oid})
	meta, err := u.v.writeDir(ctx, u.v.updates, "meta", at, inMeta)
	if err != nil {
		return "", "", err
	}

	if u.part {
		part, err := u.v.writeDir(ctx, u.v.updates, "", at, append(held, meta))
		if err == nil {
			err = u.v.flush(ctx)
		}
		return part.Object, "", err
	}
	tops := &tops{v: u.v}
	if err := tops.read(ctx, u.base.root); err != nil {
		return "", "", err
	}
	if !point.Incomplete {
		if err := tops.dropCheckpoints(ctx); err != nil {
			return "", "", err
		}
	}
	day, name, err := tops.name(ctx, at)
	if err != nil {
		return "", "", err
	}
	pointDir, err := u.v.writeDir(ctx, u.v.updates, name, at, append(held, meta))
	if err != nil {
		return "", "", err
	}
	pointDir.Checkpoint = point.Incomplete
	if err := tops.add(ctx, day, pointDir); err != nil {
		return "", "", err
	}
	rootDir, err := tops.write(ctx, at)
	if err != nil {
		return "", "", err
	}
	if err := u.v.publish(ctx, u.key, &rootDir, u.base.root, at); err != nil {
		return "", "", err
	}
	return pointDir.Object, rootDir.Object, nil
}

// records returns what a directory holds; nothing for "".
func (v *Vault) records(ctx context.Context, oid string) ([]record, error) {
	if oid == "" {
		return nil, nil
	}
	d, err := v.readDir(ctx, oid)
	if err != nil {
		return nil, err
	}
	return d.records, nil
}

// verifyContent makes sure that a content is in the vault, or about to be: a
// tree that names another would fail every collection.
func (u *Update) verifyContent(ctx context.Context, e Entry) error {
	if err := u.v.known(ctx, e.Content); err != nil {
		return fmt.Errorf("item %s: %w", e.ID, err)
	}
	return nil
}

// known makes sure that the vault knows of an object, as far as its index says. What
// was written and not yet flushed it knows too.
func (v *Vault) known(ctx context.Context, oid string) error {
	id, err := object.ParseID(oid)
	if err != nil || id == object.EmptyID {
		return fmt.Errorf("%w: %q names no content", ErrNotFound, oid)
	}
	return storageError(v.fresh(ctx, func() error { _, err := v.updates.VerifyObject(once(ctx), id); return err }))
}

// Holds reports whether the vault knows of a file's content, as far as its index
// says. Seal refuses an entry whose content it does not.
func (u *Update) Holds(ctx context.Context, e Entry) (bool, error) {
	oid, err := object.ParseID(e.Content)
	if err != nil {
		return false, nil
	}
	_, err = u.v.updates.VerifyObject(once(ctx), oid)
	if err = storageError(err); unreadable(err) {
		return false, nil
	}
	return err == nil, err
}
