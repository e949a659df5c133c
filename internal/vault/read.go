package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/kopia/kopia/repo/object"

	"holdfast/internal/backup"
)

// A Node is an entry with its path below the drive's root folder: "" for the
// root folder itself, "a/b.txt" for others.
type Node struct {
	Entry
	Path string
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// Walk lists a tree: the root folder first, and each folder before what is in
// it. A folder whose list cannot be read comes a second time, with the error,
// and the walk goes on beside it for those who do; any other error ends it.
func (v *Vault) Walk(ctx context.Context, tree string) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		b, err := v.base(ctx, "", tree)
		if err == nil && tree == "" {
			err = fmt.Errorf("%w: no tree", ErrNotFound)
		}
		if err != nil {
			yield(Node{}, fmt.Errorf("walk tree %s: %w", tree, err))
			return
		}
		if b.files.ID == "" {
			return // nothing was in the drive
		}
		v.walk(ctx, &b.files, Node{b.files.entry(""), ""}, yield)
	}
}

// walk yields a folder's node and all below it, reading one directory of each
// level at a time. It reports whether to go on.
func (v *Vault) walk(ctx context.Context, r *record, n Node, yield func(Node, error) bool) bool {
	if !yield(n, nil) {
		return false
	}
	if !r.isDir() {
		return true
	}
	d, err := v.readDir(ctx, r.Object)
	if err != nil {
		return yield(n, fmt.Errorf("walk folder %q: %w", n.Path, err)) && ctx.Err() == nil
	}
	for i := range d.records {
		below := &d.records[i]
		e := below.entry(n.ID)
		if !v.walk(ctx, below, Node{e, join(n.Path, e.Name)}, yield) {
			return false
		}
	}
	return true
}

// Stat returns one item of a tree, and whether the tree has it.
func (v *Vault) Stat(ctx context.Context, tree string, id backup.ItemID) (Entry, bool, error) {
	n, ok, err := v.node(ctx, tree, id)
	return n.Entry, ok, err
}

// Path returns an item's path as Walk gives it, and whether the tree has it.
func (v *Vault) Path(ctx context.Context, tree string, id backup.ItemID) (string, bool, error) {
	n, ok, err := v.node(ctx, tree, id)
	return n.Path, ok, err
}

func (v *Vault) node(ctx context.Context, tree string, id backup.ItemID) (Node, bool, error) {
	t, err := v.Tree(ctx, tree)
	if err != nil {
		return Node{}, false, err
	}
	return t.Node(ctx, id)
}

// A Tree is a tree in which many items are looked for: the folders that it finds
// them in are read once, and kept. It is not for use by many goroutines.
type Tree struct{ base base }

// Tree opens a tree.
func (v *Vault) Tree(ctx context.Context, tree string) (*Tree, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return nil, fmt.Errorf("find item in tree %s: %w", tree, err)
	}
	return &Tree{b}, nil
}

// Node returns one item of the tree, and whether the tree has it.
func (t *Tree) Node(ctx context.Context, id backup.ItemID) (Node, bool, error) {
	n, _, err := t.base.node(ctx, id)
	if err != nil {
		return Node{}, false, fmt.Errorf("find item in tree %s: %w", t.base.tree, err)
	}
	if n == nil {
		return Node{}, false, nil
	}
	return *n, true, nil
}

// node returns an item with its path and record, or nil.
func (b *base) node(ctx context.Context, id backup.ItemID) (*Node, *record, error) {
	r, parent, err := b.record(ctx, id)
	if err != nil || r == nil {
		return nil, nil, err
	}
	n := &Node{Entry: r.entry(parent)}
	if parent == "" {
		return n, r, nil
	}
	above, _, err := b.node(ctx, parent)
	if err != nil {
		return nil, nil, err
	}
	n.Path = join(above.Path, n.Name)
	return n, r, nil
}

// List returns what a folder of a tree holds, folders first, each kind by
// name. An id that is no folder of the tree is ErrNotFound.
func (v *Vault) List(ctx context.Context, tree string, folder backup.ItemID) ([]Entry, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return nil, fmt.Errorf("list folder in tree %s: %w", tree, err)
	}
	r, _, err := b.record(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("list folder in tree %s: %w", tree, err)
	}
	if r == nil || !r.isDir() {
		return nil, fmt.Errorf("list folder in tree %s: %w: folder %s", tree, ErrNotFound, folder)
	}
	d, err := b.dir(ctx, r.Object)
	if err != nil {
		return nil, fmt.Errorf("list folder in tree %s: %w", tree, err)
	}
	entries := make([]Entry, len(d.records))
	for i := range d.records {
		entries[i] = d.records[i].entry(folder)
	}
	return entries, nil
}

// A Reader reads one content. ReadAt may be called by many goroutines, and
// does not move what Read reads.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// Open opens a content for reading, by the id that its entry has. It must be
// closed. What is read has been verified.
func (v *Vault) Open(ctx context.Context, content string) (Reader, error) {
	r, err := v.openObject(ctx, content)
	if err != nil {
		return nil, fmt.Errorf("open content %s: %w", content, err)
	}
	return &reader{opened: r, size: r.Length(), open: func() (object.Reader, error) { return v.openObject(ctx, content) }}, nil
}

// A reader reads by two of kopia's readers at most: one for Read and Seek, and one
// for ReadAt, each opened when it is first needed. To open one reads a content of
// one piece as a whole.
type reader struct {
	size int64
	open func() (object.Reader, error)

	mu       sync.Mutex
	opened   object.Reader // by Open, for whoever needs one first
	seq, ran object.Reader
}

func (r *reader) Size() int64 { return r.size }

// take makes sure that a reader is there.
func (r *reader) take(which *object.Reader) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *which == nil {
		if *which, r.opened = r.opened, nil; *which == nil {
			*which, err = r.open()
		}
	}
	return err
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.take(&r.seq); err != nil {
		return 0, readError(err)
	}
	n, err := r.seq.Read(b)
	return n, readError(err)
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	if err := r.take(&r.seq); err != nil {
		return 0, readError(err)
	}
	n, err := r.seq.Seek(offset, whence)
	return n, readError(err)
}

func (r *reader) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("vault: ReadAt before the content's beginning")
	}
	if off >= r.size {
		return 0, io.EOF
	}
	if err := r.take(&r.ran); err != nil {
		return 0, readError(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.ran.Seek(off, io.SeekStart); err != nil {
		return 0, readError(err)
	}
	n, err := io.ReadFull(r.ran, b)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, readError(err)
}

func (r *reader) Close() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range []object.Reader{r.opened, r.seq, r.ran} {
		if o != nil {
			err = errors.Join(err, o.Close())
		}
	}
	return err
}

func readError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("read content: %w", err)
}
