package vault

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
)

// A Change is how one item differs between two trees: From is nil when it was
// added, To when it was removed.
type Change struct {
	From, To *Node
}

// Diff lists the items that differ between two trees of one drive, each once
// and in no order. An item has changed when anything in its Entry has; what is
// below a folder that was moved or renamed has not, though its path has. A
// tree "" has no items. It ends with the first error.
//
// Equal directories are passed over unread, so that time is in proportion to the
// difference. What differs is kept on disk until it is known of both trees.
func (v *Vault) Diff(ctx context.Context, from, to string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d := &diff{ctx: ctx, v: v, yield: yield, removed: newNodes(v.state), added: newNodes(v.state)}
		defer d.close()
		err := d.run(from, to)
		if err != nil && err != errStop {
			yield(Change{}, fmt.Errorf("compare trees %s and %s: %w", from, to, err))
		}
	}
}

// errStop ends a diff that nobody reads on.
var errStop = errors.New("stop")

type diff struct {
	ctx      context.Context
	v        *Vault
	yield    func(Change, error) bool
	from, to base
	// Files found in one tree only, so far. Folders do not wait here: the
	// other tree's index says at once where they are.
	removed, added nodes
}

func (d *diff) close() {
	d.removed.table.Close()
	d.added.table.Close()
	d.from.close()
	d.to.close()
}

// Nodes are items with their paths, by id, on disk.
type nodes struct{ table *spill.Table }

func newNodes(dir string) nodes { return nodes{spill.New(dir)} }

func (x nodes) add(n *Node) {
	var w spill.Writer
	w.Text(n.Path)
	x.table.Put(string(n.ID), string(w)+encodeEntry(n.Entry))
}

func (x nodes) get(id backup.ItemID) *Node {
	if i, ok := x.table.Find(string(id)); ok {
		return x.at(i)
	}
	return nil
}

func (x nodes) at(i int) *Node {
	id, value := x.table.Get(i)
	r := spill.Reader(value)
	path := r.Text()
	return &Node{decodeEntry(id, string(r)), path}
}

func (d *diff) run(from, to string) (err error) {
	if from == to {
		return nil
	}
	if d.from, err = d.v.base(d.ctx, "", from); err != nil {
		return err
	}
	d.from.spills()
	if d.to, err = d.v.base(d.ctx, "", to); err != nil {
		return err
	}
	d.to.spills()
	if err := errors.Join(d.from.errParts(), d.to.errParts()); err != nil {
		return err
	}
	a, b := &d.from.files, &d.to.files
	switch {
	case a.ID == b.ID && a.ID != "":
		err = d.pair(a, b, &Node{a.entry(""), ""}, &Node{b.entry(""), ""})
	default:
		if a.ID != "" {
			err = d.remove(a, &Node{a.entry(""), ""})
		}
		if err == nil && b.ID != "" {
			err = d.add(b, &Node{b.entry(""), ""})
		}
	}
	if err != nil {
		return err
	}
	for i := range d.removed.table.Len() {
		n := d.removed.at(i)
		to := d.added.get(n.ID)
		if err := d.failed(); err != nil {
			return err
		}
		if err := d.emit(Change{n, to}); err != nil {
			return err
		}
	}
	for i := range d.added.table.Len() {
		n := d.added.at(i)
		from := d.removed.get(n.ID)
		if err := d.failed(); err != nil {
			return err
		}
		if from != nil {
			continue // it was told of
		}
		if err := d.emit(Change{nil, n}); err != nil {
			return err
		}
	}
	return d.failed()
}

// failed returns why what was kept cannot be read back, if that is so.
func (d *diff) failed() error { return errors.Join(d.removed.table.Err(), d.added.table.Err()) }

func (d *diff) emit(c Change) error {
	if c.From != nil && c.To != nil && c.From.same(&c.To.Entry) {
		return nil
	}
	if !d.yield(c, nil) {
		return errStop
	}
	return nil
}

func (e *Entry) same(f *Entry) bool {
	return e.ID == f.ID && e.Parent == f.Parent && e.Name == f.Name && e.Kind == f.Kind && e.Size == f.Size &&
		e.Created.Equal(f.Created) && e.Modified.Equal(f.Modified) && e.CTag == f.CTag && e.Hash == f.Hash && e.Stored == f.Stored && e.Content == f.Content
}

// pair compares an item that both trees have.
func (d *diff) pair(a, b *record, from, to *Node) error {
	if err := d.emit(Change{from, to}); err != nil {
		return err
	}
	switch {
	case a.isDir() && b.isDir():
		if a.Object == b.Object {
			return nil
		}
	case a.isDir():
		return d.removeBelow(a, from)
	case b.isDir():
		return d.addBelow(b, to)
	default:
		return nil
	}
	was, is, err := d.v.differing(d.ctx, a.Object, b.Object)
	if err != nil {
		return err
	}
	for i := range was.records {
		r := &was.records[i]
		n := below(from, r)
		if s := is.find(r.ID); s != nil {
			err = d.pair(r, s, n, below(to, s))
		} else {
			err = d.remove(r, n)
		}
		if err != nil {
			return err
		}
	}
	for i := range is.records {
		r := &is.records[i]
		if was.find(r.ID) == nil {
			if err := d.add(r, below(to, r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdsFiles reports whether there are files in the base: where there are none, nothing
// that the other tree has of them needs to wait for what this one has.
func (b *base) holdsFiles() bool {
	return b.files.ID != "" && (b.files.Summary == nil || b.files.Summary.TotalFileCount > 0)
}

func below(folder *Node, r *record) *Node {
	e := r.entry(folder.ID)
	return &Node{e, join(folder.Path, e.Name)}
}

// remove notes an item that tree to does not have in the same place.
func (d *diff) remove(r *record, n *Node) error {
	if !r.isDir() {
		if !d.to.holdsFiles() {
			switch is, _, err := d.to.record(d.ctx, n.ID); {
			case err != nil:
				return err
			case is == nil:
				return d.emit(Change{n, nil})
			}
		}
		d.removed.add(n)
		return nil
	}
	switch is, _, err := d.to.record(d.ctx, n.ID); {
	case err != nil:
		return err
	case is == nil:
		if err := d.emit(Change{n, nil}); err != nil {
			return err
		}
	case is.isDir():
		return nil // moved: add finds it
	default:
		d.removed.add(n) // it is a file now
	}
	return d.removeBelow(r, n)
}

func (d *diff) removeBelow(r *record, n *Node) error {
	in, err := d.v.lookDir(d.ctx, r.Object)
	if err != nil {
		return err
	}
	for i := range in.records {
		if err := d.remove(&in.records[i], below(n, &in.records[i])); err != nil {
			return err
		}
	}
	return nil
}

// add notes an item that tree from does not have in the same place.
func (d *diff) add(r *record, n *Node) error {
	if !r.isDir() {
		if !d.from.holdsFiles() {
			switch was, _, err := d.from.record(d.ctx, n.ID); {
			case err != nil:
				return err
			case was == nil:
				return d.emit(Change{nil, n})
			}
		}
		d.added.add(n)
		return nil
	}
	switch from, was, err := d.from.node(d.ctx, n.ID); {
	case err != nil:
		return err
	case from == nil:
		if err := d.emit(Change{nil, n}); err != nil {
			return err
		}
	case was.isDir():
		return d.pair(was, r, from, n)
	default:
		d.added.add(n) // it was a file
	}
	return d.addBelow(r, n)
}

func (d *diff) addBelow(r *record, n *Node) error {
	in, err := d.v.lookDir(d.ctx, r.Object)
	if err != nil {
		return err
	}
	for i := range in.records {
		if err := d.add(&in.records[i], below(n, &in.records[i])); err != nil {
			return err
		}
	}
	return nil
}
