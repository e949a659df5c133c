package vault

import (
	"context"
	"fmt"
	"iter"

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
		if err == nil {
			err = b.errParts()
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
// level at a time, or a piece of it. It reports whether to go on.
func (v *Vault) walk(ctx context.Context, r *record, n Node, yield func(Node, error) bool) bool {
	if !yield(n, nil) {
		return false
	}
	if !r.isDir() {
		return true
	}
	bad := func(err error) bool {
		return yield(n, fmt.Errorf("walk folder %q: %w", n.Path, err)) && ctx.Err() == nil
	}
	l, err := v.list(ctx, r.Object)
	if err != nil {
		return bad(err)
	}
	for below, err := range l.records() {
		if err != nil {
			return bad(err)
		}
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
	defer t.Close()
	t.base.once = true
	return t.Node(ctx, id)
}

// A Tree is a tree in which many items are looked for: the folders that it finds
// them in are read once, and kept, most of them on disk. It must be closed, and is not
// for use by many goroutines.
type Tree struct{ base base }

// Tree opens a tree.
func (v *Vault) Tree(ctx context.Context, tree string) (*Tree, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return nil, fmt.Errorf("find item in tree %s: %w", tree, err)
	}
	b.spills()
	return &Tree{b}, nil
}

// Close gives back what is on disk. A tree that was never opened may be closed.
func (t *Tree) Close() {
	if t != nil {
		t.base.close()
	}
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

// List lists what a folder of a tree holds, folders first, each kind by
// name. An id that is no folder of the tree is ErrNotFound. It ends with the first error.
func (v *Vault) List(ctx context.Context, tree string, folder backup.ItemID) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		fail := func(err error) { yield(Entry{}, fmt.Errorf("list folder in tree %s: %w", tree, err)) }
		b, err := v.base(ctx, "", tree)
		if err != nil {
			fail(err)
			return
		}
		b.once = true
		r, _, err := b.record(ctx, folder)
		if err == nil && (r == nil || !r.isDir()) {
			err = fmt.Errorf("%w: folder %s", ErrNotFound, folder)
		}
		if err != nil {
			fail(err)
			return
		}
		l, err := b.list(ctx, r)
		if err != nil {
			fail(err)
			return
		}
		for r, err := range l.records() {
			if err != nil {
				fail(err)
				return
			}
			if !yield(r.entry(folder), nil) {
				return
			}
		}
	}
}
