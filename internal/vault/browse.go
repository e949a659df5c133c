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

// Browse is List with paths, and with how much there is of each item.
func (v *Vault) Browse(ctx context.Context, tree string, folder backup.ItemID) ([]Listed, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return nil, fmt.Errorf("browse tree %s: %w", tree, err)
	}
	b.once = true
	n, r, err := b.node(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("browse tree %s: %w", tree, err)
	}
	if n == nil || !r.isDir() {
		return nil, fmt.Errorf("browse tree %s: %w: folder %s", tree, ErrNotFound, folder)
	}
	d, err := b.dir(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("browse tree %s: %w", tree, err)
	}
	all := make([]Listed, len(d.records))
	for i := range d.records {
		e := d.records[i].entry(folder)
		all[i] = d.records[i].listed(Node{e, join(n.Path, e.Name)})
	}
	return all, nil
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
