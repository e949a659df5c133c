package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
)

// A standing says where an item is in the merged tree.
type standing uint8

const (
	unknown standing = iota // in neither the base nor what was staged
	present                 // below the root
	deleted                 // it or a folder above it was deleted
	orphan                  // no chain of parents leads to the root
	walking                 // its chain of parents is being followed
)

// A merge joins what an update staged with its base. Its cost is in proportion
// to what was staged, and to what is removed by that; in memory are some bytes for each.
type merge struct {
	u      *Update
	ctx    context.Context
	base   *base
	staged *staged

	lost    backup.ItemID // the former root folder, where another took its place
	rootID  backup.ItemID
	based   *spill.Table // items that nothing was staged of, and which were met
	places  []place      // of what was staged, by number, and then of what is in based
	orphans []backup.ItemID

	puts    []put   // in order, once all are known
	shrunk  []int32 // folders of the base in which something is no longer
	changes changes // of the index
	named   bool    // something came, went, or has another name

	waited, isAlone bool // to be alone, and is
}

// A place is what is known of an item of which something was staged, or of one that was met.
type place struct {
	standing standing
	isFolder answer // of the base
	shrinks  bool
	dirty    bool // a folder to be written
}

type answer uint8

const (
	notAsked answer = iota
	yes
	no
)

// A put is of an item that was staged to be in a folder, and comes there or is no longer as it was.
type put struct{ folder, item int32 }

func comparePuts(a, b put) int {
	return cmp.Or(cmp.Compare(a.folder, b.folder), cmp.Compare(a.item, b.item))
}

func newMerge(ctx context.Context, u *Update) *merge {
	return &merge{u: u, ctx: ctx, base: &u.base, staged: u.staged, based: spill.New(u.v.state), places: make([]place, u.staged.table.Len())}
}

// close gives back what the merge has on disk, and lets the next be alone.
func (m *merge) close() {
	m.based.Close()
	if m.isAlone {
		m.isAlone = false
		<-largeMerge
	}
}

// err says what could not be read back.
func (m *merge) err() error { return cmp.Or(m.staged.err(), m.based.Err()) }

// find returns where an item is in places, if it was met.
func (m *merge) find(id backup.ItemID) (int32, bool) {
	if i, ok := m.staged.find(id); ok {
		return int32(i), true
	}
	i, ok := m.based.Find(string(id))
	return int32(m.staged.table.Len() + i), ok
}

// number is find of an item that is met, if it never was. A place may be moved when one is met.
func (m *merge) number(id backup.ItemID) int32 {
	i, ok := m.find(id)
	if !ok {
		i = int32(m.staged.table.Len() + m.based.Put(string(id), ""))
		for int(i) >= len(m.places) {
			m.places = append(m.places, place{})
		}
	}
	return i
}

// id returns the item of a number.
func (m *merge) id(number int32) backup.ItemID {
	if n := int(number) - m.staged.table.Len(); n >= 0 {
		id, _ := m.based.Get(n)
		return backup.ItemID(id)
	}
	return m.staged.id(int(number))
}

// gone reports whether an item shall go.
func (m *merge) gone(id backup.ItemID) bool { return id != "" && id == m.lost || m.staged.gone(id) }

// files returns the record of the merged files/ directory.
func (m *merge) files() (record, error) {
	if m.staged.table.Len() == 0 && m.base.files.ID != "" {
		return m.base.files, nil
	}
	// Which item is the root: the one last staged without a parent.
	m.changes.staged = m.staged
	former := m.base.files.ID
	e, moved := m.staged.get(former)
	if moved = moved && (e.Parent != "" || e.Kind != backup.Folder); !moved {
		m.rootID = former
	}
	latest := int64(-1)
	for i, e := range m.staged.puts() {
		if e.Parent == "" && e.Kind == backup.Folder && m.staged.order(i) > latest {
			m.rootID, latest = e.ID, m.staged.order(i)
		}
	}
	if _, staged := m.staged.get(former); former != "" && former != m.rootID && !staged {
		m.lost = former
	}

	for i, e := range m.staged.puts() {
		if err := m.place(i, e); err != nil {
			return record{}, err
		}
	}
	leave := func(id backup.ItemID) error {
		before := backup.ItemID("") // what goes mostly was in one folder
		if m.base.above != nil {
			before = m.base.above.ID
		}
		r, parent, err := m.base.recordIn(m.ctx, id, before)
		if err != nil || r == nil {
			return err
		}
		return m.remove(r, parent)
	}
	for i := range m.staged.table.Len() {
		if _, stays := m.staged.at(i); !stays {
			if err := leave(m.staged.id(i)); err != nil {
				return record{}, err
			}
		}
	}
	if m.lost != "" && !m.staged.gone(m.lost) {
		if err := leave(m.lost); err != nil {
			return record{}, err
		}
	}
	slices.Sort(m.orphans)
	slices.SortFunc(m.puts, comparePuts)
	for i, p := range m.puts {
		if i > 0 && m.puts[i-1].folder == p.folder {
			continue
		}
		if err := m.soil(m.id(p.folder)); err != nil {
			return record{}, err
		}
	}
	for _, folder := range m.shrunk {
		id := m.id(folder)
		switch s, err := m.stand(id); {
		case err != nil:
			return record{}, err
		case s == present:
			if err := m.soil(id); err != nil {
				return record{}, err
			}
		}
	}
	if err := m.err(); err != nil {
		return record{}, err
	}
	return m.rootRecord()
}

// place decides where a staged item goes.
func (m *merge) place(i int, e Entry) error {
	id := e.ID
	if id == "" || !utf8.ValidString(string(id)) || e.Kind != backup.File && e.Kind != backup.Folder {
		return fmt.Errorf("item %q of kind %q cannot be kept", id, e.Kind)
	}
	old, oldParent, err := m.base.record(m.ctx, id)
	if err != nil {
		return err
	}
	m.named = m.named || old == nil || old.trueName() != e.Name
	if e.Kind == backup.File && (old == nil || old.Object != e.Content) {
		if err := m.u.verifyContent(m.ctx, e); err != nil {
			return err
		}
	}
	s, err := m.stand(id)
	if err != nil {
		return err
	}
	if s != present {
		if s == orphan {
			m.orphans = append(m.orphans, id)
		}
		if old != nil {
			return m.remove(old, oldParent)
		}
		return nil
	}
	if old != nil && old.isDir() && e.Kind != backup.Folder {
		if err := m.removeBelow(old); err != nil {
			return err
		}
	}
	if e.Parent != "" {
		if old != nil && oldParent == e.Parent {
			next := newRecord(e)
			if next.sameItem(old) {
				return nil
			}
		}
		m.puts = append(m.puts, put{m.number(e.Parent), int32(i)})
	}
	if old == nil || oldParent != e.Parent {
		m.changes.put(i, id)
		if old != nil {
			m.removeFrom(oldParent)
		}
	}
	if e.Kind == backup.Folder && (old == nil || !old.isDir()) {
		m.places[i].dirty = true // it has no directory yet
	}
	return nil
}

// remove takes an item of the base out of the tree, with what is below it.
func (m *merge) remove(r *record, parent backup.ItemID) error {
	m.named = true
	m.removeFrom(parent)
	m.changes.remove(r.ID)
	if !r.isDir() {
		return nil
	}
	return m.removeBelow(r)
}

// removeBelow takes out what is below a folder of the base, but for what was
// staged by itself.
func (m *merge) removeBelow(folder *record) error {
	m.named = true
	l, err := m.base.look(m.ctx, folder.Object)
	if err != nil {
		return err
	}
	for r, err := range l.records() {
		if err != nil {
			return err
		}
		if _, staged := m.staged.find(r.ID); staged || r.ID == m.lost {
			continue
		}
		m.changes.remove(r.ID)
		if r.isDir() {
			if err := m.removeBelow(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeFrom notes that something is no longer in a folder of the base.
func (m *merge) removeFrom(folder backup.ItemID) {
	if folder == "" || m.staged.gone(folder) {
		return // the root folder is in none; and of what goes as a whole nothing is written
	}
	if i := m.number(folder); !m.places[i].shrinks {
		m.places[i].shrinks = true
		m.shrunk = append(m.shrunk, i)
	}
}

// stand finds where an item is, by the chain of its parents.
func (m *merge) stand(id backup.ItemID) (standing, error) {
	var chain []int32
	s := unknown
	for at := id; s == unknown; {
		number := m.number(at)
		known := m.places[number].standing
		if known != unknown && known != walking {
			s = known
			break
		}
		if known == walking {
			s = orphan
			break
		}
		parent, kind, err := m.parent(at)
		switch {
		case err != nil:
			return unknown, err
		case kind == deleted:
			s = deleted
			m.places[number].standing = s
		case kind == unknown:
			s = orphan
		case parent == "" && at == m.rootID:
			s = present
			m.places[number].standing = s
		case parent == "":
			s = orphan
			m.places[number].standing = s
		}
		if s != unknown {
			break
		}
		chain = append(chain, number)
		m.places[number].standing = walking
		// Only a folder holds items.
		if p, ok := m.staged.get(parent); ok && p.Kind != backup.Folder {
			s = orphan
			break
		}
		at = parent
	}
	for _, below := range chain {
		m.places[below].standing = s
	}
	return s, nil
}

// parent returns an item's parent: as staged, else as in the base. The
// standing says whether the item is deleted, unknown or, so far, present.
func (m *merge) parent(id backup.ItemID) (backup.ItemID, standing, error) {
	if e, ok := m.staged.get(id); ok {
		if e.Parent != "" && e.Parent != m.lost {
			if _, ok := m.staged.find(e.Parent); !ok {
				is, err := m.isFolder(e.Parent)
				if err != nil || !is {
					return "", unknown, err
				}
			}
		}
		return e.Parent, present, nil
	}
	if m.gone(id) {
		return "", deleted, nil
	}
	parent, ok, err := m.base.parent(m.ctx, id)
	if err != nil || !ok {
		return "", unknown, err
	}
	return parent, present, nil
}

// isFolder reports whether the base has a folder of that id.
func (m *merge) isFolder(id backup.ItemID) (bool, error) {
	i := m.number(id)
	if is := m.places[i].isFolder; is != notAsked {
		return is == yes, nil
	}
	r, _, err := m.base.record(m.ctx, id)
	if err != nil {
		return false, err
	}
	m.places[i].isFolder = no
	if r != nil && r.isDir() {
		m.places[i].isFolder = yes
	}
	return m.places[i].isFolder == yes, nil
}

// soil marks a folder that must be written, and those above it.
func (m *merge) soil(id backup.ItemID) error {
	for id != "" {
		i := m.number(id)
		if m.places[i].dirty {
			return nil
		}
		m.places[i].dirty = true
		parent, _, err := m.parent(id)
		if err != nil {
			return err
		}
		id = parent
	}
	return nil
}

// isDirty reports whether a folder must be written.
func (m *merge) isDirty(id backup.ItemID) bool {
	i, ok := m.find(id)
	return ok && m.places[i].dirty
}

// rootRecord writes the dirty folders, from the bottom up.
func (m *merge) rootRecord() (record, error) {
	root := m.base.files
	if s, err := m.stand(m.rootID); err != nil {
		return record{}, err
	} else if m.rootID == "" || s != present {
		// No root folder: an empty tree.
		return m.u.v.writeDir(m.ctx, m.u.v.updates, "files", time.Time{}, nil)
	}
	if e, ok := m.staged.get(m.rootID); ok {
		old, _, err := m.base.record(m.ctx, m.rootID)
		if err != nil {
			return record{}, err
		}
		root = newRecord(e)
		if old != nil && old.isDir() {
			root.Object, root.Summary = old.Object, old.Summary
		}
		root.setName(e.Name, "files")
	}
	return root, m.write(m.rootID, &root)
}

// write gives the record of a folder its directory, if that is dirty. Of a folder that holds
// very much only the names are in memory meanwhile, what is in it is read twice, and the folders in
// it are written when it is their turn.
func (m *merge) write(id backup.ItemID, folder *record) error {
	if !m.isDirty(id) {
		return nil
	}
	old := listing{dir: &dir{}}
	if folder.Object != "" {
		var err error
		if old, err = m.base.look(m.ctx, folder.Object); err != nil {
			return err
		}
	}
	puts := m.putsIn(id)
	names := &naming{staged: m.idAndOrder, was: old.ids}
	most := len(puts)
	if old.pieces == nil {
		most += len(old.dir.records)
	}
	long := old.pieces != nil || len(puts) > maxRecords
	if names.claims = make([]claim, 0, most); !long {
		names.records = make([]record, 0, most)
	} else {
		names.texts = &texts{}
		if err := m.alone(); err != nil {
			return err
		}
	}
	changed := folder.Object == ""
	number := int32(-1)
	for r, err := range old.records() {
		number++
		if err != nil {
			return err
		}
		if !m.stays(r, id, puts) {
			changed = true
			continue
		}
		if r.isDir() && m.isDirty(r.ID) {
			is := *r
			if !long {
				err = m.write(r.ID, &is)
			}
			if err != nil {
				return err
			}
			changed = changed || long || r.Object != is.Object
			r = &is
		}
		names.add(r, number, false)
	}
	for _, p := range puts {
		r, err := m.put(p.item)
		if err == nil && !long {
			err = m.fill(&r)
		}
		if err != nil {
			return err
		}
		changed = true
		names.add(&r, p.item, true)
	}
	if !changed {
		return nil
	}
	if err := names.decide(); err != nil {
		return err
	}
	names.sort()
	stays := func(r *record) bool { return m.stays(r, id, puts) }
	written, err := m.u.v.writeList(m.ctx, m.u.v.updates, folder.Name, folder.Modified, m.members(names, old, stays))
	if err != nil {
		return err
	}
	folder.Object, folder.Summary = written.Object, written.Summary
	return nil
}

// putsIn are those into a folder.
func (m *merge) putsIn(folder backup.ItemID) []put {
	i, ok := m.find(folder)
	if !ok {
		return nil
	}
	from, _ := slices.BinarySearchFunc(m.puts, put{i, 0}, comparePuts)
	to, _ := slices.BinarySearchFunc(m.puts, put{i + 1, 0}, comparePuts)
	return m.puts[from:to]
}

// idAndOrder tells of what was staged whose it is, and when it was.
func (m *merge) idAndOrder(number int32) (backup.ItemID, int64) {
	return m.staged.id(int(number)), m.staged.order(int(number))
}

// put returns the record of what was staged, that of a folder without a directory.
func (m *merge) put(number int32) (record, error) {
	e, ok := m.staged.at(int(number))
	if !ok {
		return record{}, m.staged.lost()
	}
	return newRecord(e), nil
}

// fill gives a folder that was staged its directory.
func (m *merge) fill(folder *record) error {
	if !folder.isDir() {
		return nil
	}
	was, _, err := m.base.record(m.ctx, folder.ID)
	if err != nil {
		return err
	}
	if was != nil && was.isDir() {
		folder.Object, folder.Summary = was.Object, was.Summary
	}
	return m.write(folder.ID, folder)
}

// stays reports whether a record that a folder has in the base stays as it is, but for its
// directory. Else it is no longer there, or is among what is put there.
func (m *merge) stays(r *record, folder backup.ItemID, puts []put) bool {
	if r.ID == m.lost {
		return false
	}
	i, ok := m.staged.find(r.ID)
	if !ok {
		return true
	}
	if _, isPut := slices.BinarySearchFunc(puts, put{item: int32(i)}, func(a, b put) int { return cmp.Compare(a.item, b.item) }); isPut {
		return false
	}
	e, there := m.staged.at(i)
	return there && e.Parent == folder && m.places[i].standing == present
}

// members are the records of a folder as it shall be, in the order of their names. Those that
// are not in memory are read from what was staged, or from the folder as it was, where most of
// them are in the same order.
func (m *merge) members(names *naming, old listing, stays func(*record) bool) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		var next func() (*record, error, bool)
		at := int32(-1)
		early := map[int32]*record{} // which come later now
		was := func(number int32) (*record, error) {
			if r := early[number]; r != nil {
				delete(early, number)
				return r, nil
			}
			for {
				r, err, more := next()
				at++
				switch {
				case !more:
					return nil, &DamageError{Object: old.object(), Err: errors.New("it is shorter than it was a moment ago")}
				case err != nil:
					return nil, err
				}
				is := *r
				if at == number {
					return &is, nil
				}
				if stays(r) {
					early[at] = &is
				}
			}
		}
		for i := range names.claims {
			c := &names.claims[i]
			r := names.hold(c)
			var err error
			switch {
			case r != nil:
			case c.staged:
				var is record
				if is, err = m.put(c.number); err == nil {
					err = m.fill(&is)
				}
				r = &is
			default:
				if next == nil {
					var stop func()
					next, stop = iter.Pull2(old.records())
					defer stop()
				}
				if r, err = was(c.number); err == nil && r.isDir() {
					err = m.write(r.ID, r)
				}
			}
			if err == nil && c.record == 0 {
				r.setName(c.own, names.stored(c))
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// largeMerge is held by who merges a folder that holds very much, which takes a hundred bytes for
// each record: many drives may be backed up at once.
var largeMerge = make(chan struct{}, 1)

// itsTurn is how long a merge waits for that. Then it goes on all the same, so that a vault whose
// storage hangs stops no other.
const itsTurn = 5 * time.Minute

// alone waits until no other merge is at a folder that holds very much.
func (m *merge) alone() error {
	if m.waited {
		return nil
	}
	m.waited = true
	late := time.NewTimer(itsTurn)
	defer late.Stop()
	select {
	case largeMerge <- struct{}{}:
		m.isAlone = true
	case <-late.C:
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	}
	return nil
}
