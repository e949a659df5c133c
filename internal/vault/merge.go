package vault

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
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
// to what was staged, and to what is removed by that.
type merge struct {
	u      *Update
	ctx    context.Context
	base   *base
	staged *staged

	lost      backup.ItemID // the former root folder, where another took its place
	rootID    backup.ItemID
	standings []standing                 // of what was staged, by number
	standing  map[backup.ItemID]standing // of what is in the base only
	folders   map[backup.ItemID]bool     // whether the base has such a folder
	orphans   []backup.ItemID

	puts       map[backup.ItemID][]int32                // folder: items staged to be in it, by number
	removed    map[backup.ItemID]map[backup.ItemID]bool // folder of the base: items no longer in it
	dirty      map[backup.ItemID]bool                   // folders to be written
	dirtyBelow map[backup.ItemID]map[backup.ItemID]bool // folder: dirty folders in it
	changes    changes                                  // of the index
	named      bool                                     // something came, went, or has another name
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
	for id := range m.puts {
		if err := m.soil(id); err != nil {
			return record{}, err
		}
	}
	for id := range m.removed {
		switch s, err := m.stand(id); {
		case err != nil:
			return record{}, err
		case s == present:
			if err := m.soil(id); err != nil {
				return record{}, err
			}
		}
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
		m.puts[e.Parent] = append(m.puts[e.Parent], int32(i))
	}
	if old == nil || oldParent != e.Parent {
		m.changes.put(i, id)
		if old != nil {
			m.removeFrom(oldParent, id)
		}
	}
	if e.Kind == backup.Folder && (old == nil || !old.isDir()) {
		m.dirty[id] = true // it has no directory yet
	}
	return nil
}

// remove takes an item of the base out of the tree, with what is below it.
func (m *merge) remove(r *record, parent backup.ItemID) error {
	m.named = true
	m.removeFrom(parent, r.ID)
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

func (m *merge) removeFrom(folder, id backup.ItemID) {
	if folder == "" || m.staged.gone(folder) {
		return // the root folder is in none; and of what goes as a whole nothing is written
	}
	if m.removed[folder] == nil {
		m.removed[folder] = map[backup.ItemID]bool{}
	}
	m.removed[folder][id] = true
}

// stood returns what stand found before.
func (m *merge) stood(id backup.ItemID) standing {
	if i, ok := m.staged.find(id); ok {
		return m.standings[i]
	}
	return m.standing[id]
}

func (m *merge) stands(id backup.ItemID, s standing) {
	if i, ok := m.staged.find(id); ok {
		m.standings[i] = s
	} else {
		m.standing[id] = s
	}
}

// stand finds where an item is, by the chain of its parents.
func (m *merge) stand(id backup.ItemID) (standing, error) {
	var chain []backup.ItemID
	s := unknown
	for at := id; s == unknown; {
		known := m.stood(at)
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
			m.stands(at, s)
		case kind == unknown:
			s = orphan
		case parent == "" && at == m.rootID:
			s = present
			m.stands(at, s)
		case parent == "":
			s = orphan
			m.stands(at, s)
		}
		if s != unknown {
			break
		}
		chain = append(chain, at)
		m.stands(at, walking)
		// Only a folder holds items.
		if p, ok := m.staged.get(parent); ok && p.Kind != backup.Folder {
			s = orphan
			break
		}
		at = parent
	}
	for _, below := range chain {
		m.stands(below, s)
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
	is, asked := m.folders[id]
	if asked {
		return is, nil
	}
	r, _, err := m.base.record(m.ctx, id)
	if err != nil {
		return false, err
	}
	m.folders[id] = r != nil && r.isDir()
	return m.folders[id], nil
}

// soil marks a folder that must be written, and those above it.
func (m *merge) soil(id backup.ItemID) error {
	for id != "" && !m.dirty[id] {
		m.dirty[id] = true
		parent, err := m.link(id)
		if err != nil {
			return err
		}
		id = parent
	}
	return nil
}

// link notes a dirty folder with the folder that it is in.
func (m *merge) link(id backup.ItemID) (backup.ItemID, error) {
	parent, _, err := m.parent(id)
	if err != nil || parent == "" {
		return "", err
	}
	if m.dirtyBelow[parent] == nil {
		m.dirtyBelow[parent] = map[backup.ItemID]bool{}
	}
	m.dirtyBelow[parent][id] = true
	return parent, nil
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
// very much only the names are in memory meanwhile, and what is in it is read twice.
func (m *merge) write(id backup.ItemID, folder *record) error {
	if !m.dirty[id] {
		return nil
	}
	old := listing{dir: &dir{}}
	if folder.Object != "" {
		var err error
		if old, err = m.base.look(m.ctx, folder.Object); err != nil {
			return err
		}
	}
	puts, removed, below := m.puts[id], m.removed[id], m.dirtyBelow[id]
	most := len(puts)
	if old.pieces == nil {
		most += len(old.dir.records)
	}
	var room []record // of all that the folder holds, or nil
	if old.pieces == nil && len(puts) <= maxRecords {
		room = make([]record, 0, most)
	}
	claims := make([]claim, 0, most)
	claimed := func(r *record) *claim {
		c := claimOf(r)
		if room != nil {
			room = append(room, *r)
			c.record = &room[len(room)-1]
		} else if c.record = nil; r.isDir() {
			is := *r
			c.record = &is
		}
		claims = append(claims, c)
		return &claims[len(claims)-1]
	}
	stays := m.staysIn(id)
	changed := folder.Object == ""
	for r, err := range old.records() {
		switch {
		case err != nil:
			return err
		case removed[r.ID]:
			changed = true
			continue
		case !stays(r):
			continue
		case below[r.ID]:
			is := *r
			if err := m.write(r.ID, &is); err != nil {
				return err
			}
			changed = changed || r.Object != is.Object
			r = &is
		}
		claimed(r)
	}
	for _, i := range puts {
		r, err := m.put(i)
		if err != nil {
			return err
		}
		changed = true
		c := claimed(&r)
		c.staged, c.number = m.staged.order(int(i))+1, i
		if room == nil { // what was read back is one text
			c.own, c.id = strings.Clone(c.own), backup.ItemID(strings.Clone(string(c.id)))
			c.stored = safeName(c.own)
		}
	}
	if !changed {
		return nil
	}
	nameAll(claims)
	slices.SortFunc(claims, inOrderOfNames)
	written, err := m.u.v.writeList(m.ctx, m.u.v.updates, folder.Name, folder.Modified, m.members(claims, old, stays))
	if err != nil {
		return err
	}
	folder.Object, folder.Summary = written.Object, written.Summary
	return nil
}

// put returns the record of what was staged, that of a folder with its directory.
func (m *merge) put(number int32) (record, error) {
	e, ok := m.staged.at(int(number))
	if !ok {
		return record{}, m.staged.lost()
	}
	r := newRecord(e)
	if !r.isDir() {
		return r, nil
	}
	was, _, err := m.base.record(m.ctx, e.ID)
	if err != nil {
		return record{}, err
	}
	if was != nil && was.isDir() {
		r.Object, r.Summary = was.Object, was.Summary
	}
	return r, m.write(e.ID, &r)
}

// staysIn returns what tells whether a record of a folder of the base stays as it is, but for its
// directory.
func (m *merge) staysIn(folder backup.ItemID) func(*record) bool {
	puts, removed := m.puts[folder], m.removed[folder]
	return func(r *record) bool {
		if removed[r.ID] {
			return false
		}
		if len(puts) == 0 {
			return true
		}
		i, ok := m.staged.find(r.ID)
		if ok {
			_, ok = slices.BinarySearch(puts, int32(i)) // in which they are in order
		}
		return !ok
	}
}

// members are the records of a folder as it shall be, in the order of the claims. Those that
// are not in memory are read from what was staged, or from the folder as it was, where most of
// them are in the same order.
func (m *merge) members(claims []claim, old listing, stays func(*record) bool) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		var next func() (*record, error, bool)
		early := map[backup.ItemID]*record{} // which come later now
		was := func(id backup.ItemID) (*record, error) {
			if r := early[id]; r != nil {
				delete(early, id)
				return r, nil
			}
			for {
				r, err, more := next()
				switch {
				case !more:
					return nil, m.base.damaged(id)
				case err != nil:
					return nil, err
				}
				is := *r
				if r.ID == id {
					return &is, nil
				}
				if stays(r) {
					early[r.ID] = &is
				}
			}
		}
		for i := range claims {
			c, r := &claims[i], claims[i].record
			var err error
			switch {
			case r != nil:
			case c.staged > 0:
				var is record
				is, err = m.put(c.number)
				r = &is
			default:
				if next == nil {
					var stop func()
					next, stop = iter.Pull2(old.records())
					defer stop()
				}
				r, err = was(c.id)
			}
			if err == nil {
				r.setName(c.own, c.stored)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
