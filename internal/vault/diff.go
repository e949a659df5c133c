package vault

import (
	"cmp"
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
	if was == nil || is == nil {
		return d.pairLong(a, b, from, to)
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

// pairLong compares what is in two folders of one item that are too long to be in memory. What
// is in both stands near to each other in them, or else is as if it had been moved.
func (d *diff) pairLong(a, b *record, from, to *Node) error {
	was, err := d.v.lookList(d.ctx, a.Object)
	if err != nil {
		return err
	}
	is, err := d.v.lookList(d.ctx, b.Object)
	if err != nil {
		return err
	}
	nextOld, stop := iter.Pull2(was.records())
	defer stop()
	nextNew, stop := iter.Pull2(is.records())
	defer stop()
	olds, news := map[backup.ItemID]*record{}, map[backup.ItemID]*record{} // that have not met
	move := func() error {
		for _, r := range olds {
			if err := d.remove(r, below(from, r)); err != nil {
				return err
			}
		}
		for _, r := range news {
			if err := d.add(r, below(to, r)); err != nil {
				return err
			}
		}
		clear(olds)
		clear(news)
		return nil
	}
	meet := func(id backup.ItemID) error {
		r, s := olds[id], news[id]
		if r != nil && s != nil {
			delete(olds, id)
			delete(news, id)
			return d.pair(r, s, below(from, r), below(to, s))
		}
		if len(olds)+len(news) > maxRecords {
			return move()
		}
		return nil
	}
	one, err, left := nextOld()
	other, wrong, more := nextNew()
	for left || more {
		if err := cmp.Or(err, wrong); err != nil {
			return err
		}
		order := 0
		switch {
		case !left:
			order = 1
		case !more:
			order = -1
		default:
			order = byName(*one, *other)
		}
		same := order == 0 && one.Object == other.Object && one.sameItem(other)
		if order <= 0 {
			r := one
			one, err, left = nextOld()
			if !same {
				olds[r.ID] = r
				if err := meet(r.ID); err != nil {
					return err
				}
			}
		}
		if order >= 0 {
			r := other
			other, wrong, more = nextNew()
			if !same {
				news[r.ID] = r
				if err := meet(r.ID); err != nil {
					return err
				}
			}
		}
	}
	if err := cmp.Or(err, wrong); err != nil {
		return err
	}
	return move()
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
	in, err := d.v.lookList(d.ctx, r.Object)
	if err != nil {
		return err
	}
	for r, err := range in.records() {
		if err == nil {
			err = d.remove(r, below(n, r))
		}
		if err != nil {
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
	in, err := d.v.lookList(d.ctx, r.Object)
	if err != nil {
		return err
	}
	for r, err := range in.records() {
		if err == nil {
			err = d.add(r, below(n, r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
