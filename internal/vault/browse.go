package vault

import (
	"context"
	"fmt"
	"iter"

	"holdfast/internal/backup"
)

// A Listed is an item of a tree with how much there is of it: its own bytes,
// or for a folder all that is below it.
type Listed struct {
	Node
	Bytes  int64
	Items  int64  // 0 for a file
	Files  int64  // of the items; 1 for a file
	Object string // of a folder: what it holds is the same where this is
	// At is the place in the folder that it was found in; 0 where it was found otherwise. It is
	// the same for as long as what the folder holds is.
	At int64
}

func (r *record) listed(n Node) Listed {
	l := Listed{Node: n, Bytes: n.Size, Files: 1}
	if s := r.Summary; r.isDir() && s != nil {
		l.Bytes, l.Items, l.Files = s.TotalFileSize, s.TotalFileCount+max(s.TotalDirCount-1, 0), s.TotalFileCount
	}
	if r.isDir() {
		l.Object = r.Object
	}
	return l
}

// Find returns an item of a tree by the first half of the hash of its id, and
// whether the tree has it. The zero value is the root folder.
func (v *Vault) Find(ctx context.Context, tree string, ref backup.ItemRef) (Listed, bool, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return Listed{}, false, fmt.Errorf("find item in tree %s: %w", tree, err)
	}
	b.once = true
	id, ok := b.files.ID, b.files.ID != ""
	if ref != (backup.ItemRef{}) {
		if id, ok, err = b.trie.find(ctx, ref); err != nil {
			return Listed{}, false, fmt.Errorf("find item in tree %s: %w", tree, err)
		}
	}
	if !ok {
		return Listed{}, false, nil
	}
	n, r, err := b.node(ctx, id)
	if err != nil || n == nil {
		return Listed{}, false, err
	}
	return r.listed(*n), true, nil
}

// find returns the id whose hash begins with ref.
func (t *trie) find(ctx context.Context, ref backup.ItemRef) (backup.ItemID, bool, error) {
	var h itemHash
	copy(h[:], ref[:])
	r := t.root
	for depth := 0; r != nil && depth < 2*len(ref); depth++ {
		if !r.isDir() {
			leaf, err := t.leaf(ctx, r)
			if err != nil {
				return "", false, err
			}
			for id := range leaf {
				if backup.RefOf(id) == ref {
					return id, true, nil
				}
			}
			return "", false, nil
		}
		d, err := t.dir(ctx, r)
		if err != nil {
			return "", false, err
		}
		r = d.named(hexDigits[h.digit(depth):][:1])
	}
	return "", false, nil
}

// Browse yields what a folder of a tree holds from a place on, which is that of one of its
// items, or 0 for all: folders first, each kind by name, with paths and with how much there
// is of each. No more is read than is looked at, and none of it is kept. It ends with the
// first error.
func (v *Vault) Browse(ctx context.Context, tree string, folder backup.ItemID, from int64) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		err := v.browse(ctx, tree, folder, from, func(l Listed) bool { return yield(l, nil) })
		if err != nil {
			yield(Listed{}, fmt.Errorf("browse tree %s: %w", tree, err))
		}
	}
}

func (v *Vault) browse(ctx context.Context, tree string, folder backup.ItemID, from int64, yield func(Listed) bool) error {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return err
	}
	b.once = true
	n, r, err := b.node(ctx, folder)
	if err != nil {
		return err
	}
	if n == nil || !r.isDir() {
		return fmt.Errorf("%w: folder %s", ErrNotFound, folder)
	}
	return v.recordsFrom(ctx, r.Object, from, func(r *record, at int64) bool {
		e := r.entry(folder)
		l := r.listed(Node{e, join(n.Path, e.Name)})
		l.At = at
		return yield(l)
	})
}

// WalkBelow is Walk from one item on: that first, and if it is a folder all
// below it. An id that the tree does not have is ErrNotFound.
func (v *Vault) WalkBelow(ctx context.Context, tree string, id backup.ItemID) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		b, err := v.base(ctx, "", tree)
		if err == nil {
			var n *Node
			var r *record
			if n, r, err = b.node(ctx, id); err == nil && n != nil {
				v.walk(ctx, r, *n, yield)
				return
			}
			if err == nil {
				err = fmt.Errorf("%w: item %s", ErrNotFound, id)
			}
		}
		yield(Node{}, fmt.Errorf("walk below an item of tree %s: %w", tree, err))
	}
}
