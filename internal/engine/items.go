package engine

import (
	"iter"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// Items are what a source said last of each item of a drive, and the verdicts on
// them, and on items that it said nothing of. They are staged on disk, for a drive
// may have millions: an item has a number, by which lists of items are kept.
//
// What cannot be read back is not found. Err then says why, and has to be asked
// before anything is made of what was not found.
type items struct {
	table  *spill.Table
	states []itemState // by number
	listed int
}

// A number is an item's place among a stage's items. There are no more of them than a
// number holds: a list of that many is endless.
type number int32

// Marks are of some numbers.
type marks []bool

func (m marks) has(i number) bool { return int(i) < len(m) && m[i] }

func (m *marks) set(i number) {
	if more := int(i) + 1 - len(*m); more > 0 {
		*m = append(*m, make([]bool, more)...)
	}
	(*m)[i] = true
}

// An itemState is what is known of an item in memory.
type itemState struct {
	verdict uint8
	listed  bool
	found   bool // the source had left it out
	held    holding
	is      trait  // as it was listed last
	same    bool   // it was listed as it was backed up
	depth   uint16 // of a living folder below the root, as far as it was found
}

// A trait is why somebody may look for an item among all.
type trait uint8

const (
	isRoot trait = 1 << iota
	isFolder
	isSparse // it was listed without what every item has
)

func traitsOf(item drive.Item) (is trait) {
	if item.Root {
		is |= isRoot
	}
	if item.Kind == backup.Folder {
		is |= isFolder
	}
	if item.Unreadable == drive.Incomplete {
		is |= isSparse
	}
	return is
}

// A holding says whether an item was backed up before, and as what, once that was looked
// up.
type holding uint8

const (
	notHeld holding = 1 + iota
	heldFile
	heldFolder
)

func holdingOf(base vault.Entry, known bool) holding {
	switch {
	case !known:
		return notHeld
	case base.Kind == backup.Folder:
		return heldFolder
	}
	return heldFile
}

func newItems(dir string) *items { return &items{table: spill.New(dir)} }

func (x *items) close() {
	if x != nil {
		x.table.Close()
	}
}

func (x *items) err() error {
	if x == nil {
		return nil
	}
	return x.table.Err()
}

// get returns an item as it was said to be last, and whether it was listed.
func (x *items) get(id backup.ItemID) (drive.Item, bool) {
	if x == nil {
		return drive.Item{}, false
	}
	i, found := x.table.Find(string(id))
	if !found {
		return drive.Item{}, false
	}
	return x.at(number(i))
}

// of returns an item, or the zero value if it was not listed.
func (x *items) of(id backup.ItemID) drive.Item {
	item, _ := x.get(id)
	return item
}

// at returns the item of a number, and whether it was listed.
func (x *items) at(i number) (drive.Item, bool) {
	if int(i) >= len(x.states) || !x.states[i].listed {
		return drive.Item{}, false
	}
	id, value := x.table.Get(int(i))
	if x.table.Err() != nil {
		return drive.Item{}, false
	}
	return decodeItem(id, value), true
}

// id returns the id of a number.
func (x *items) id(i number) backup.ItemID {
	id, _ := x.table.Get(int(i))
	return backup.ItemID(id)
}

// ids returns the ids of numbers.
func (x *items) ids(numbers []number) iter.Seq[backup.ItemID] {
	return func(yield func(backup.ItemID) bool) {
		for _, i := range numbers {
			if !yield(x.id(i)) {
				return
			}
		}
	}
}

// find returns an item's number, and whether it was listed.
func (x *items) find(id backup.ItemID) (number, bool) {
	if id == "" {
		return 0, false
	}
	i, found := x.table.Find(string(id))
	return number(i), found && x.states[i].listed
}

// has reports whether an item was listed.
func (x *items) has(id backup.ItemID) bool {
	i, found := x.table.Find(string(id))
	return found && x.states[i].listed
}

// set takes what is said of an item, whatever was said before.
func (x *items) set(item drive.Item) {
	i := x.put(string(item.ID), encodeItem(item))
	x.states[i].is, x.states[i].same = traitsOf(item), false
	if !x.states[i].listed {
		x.states[i].listed = true
		x.listed++
	}
}

func (x *items) put(id, value string) number {
	i := x.table.Put(id, value)
	for len(x.states) <= i {
		x.states = append(x.states, itemState{})
	}
	return number(i)
}

// number returns an item's number; it has one from now on.
func (x *items) number(id backup.ItemID) number {
	if i, found := x.table.Find(string(id)); found {
		return number(i)
	}
	return x.put(string(id), "")
}

// all lists the items that were listed when it began, in the order in which they
// came first.
func (x *items) all() iter.Seq2[number, drive.Item] {
	return x.those(func(number, trait) bool { return true })
}

// those lists such of all that are wanted, as they were listed last; the others are not
// read.
func (x *items) those(want func(number, trait) bool) iter.Seq2[number, drive.Item] {
	return func(yield func(number, drive.Item) bool) {
		for i := range number(len(x.states)) {
			if !x.states[i].listed || !want(i, x.states[i].is) {
				continue
			}
			if item, listed := x.at(i); listed && !yield(i, item) {
				return
			}
		}
	}
}

// verdict returns what was found of an item; 0 is nothing yet.
func (x *items) verdict(id backup.ItemID) verdict {
	if i, found := x.table.Find(string(id)); found {
		return verdict(x.states[i].verdict)
	}
	return 0
}

// finds notes that the source had left an item out, and reports whether that is news.
func (x *items) finds(id backup.ItemID) bool {
	state := &x.states[x.number(id)]
	was := state.found
	state.found = true
	return !was
}

// held returns whether an item was backed up, as far as that was looked up: 0 if it was
// not.
func (x *items) held(id backup.ItemID) holding {
	if i, found := x.table.Find(string(id)); found {
		return x.states[i].held
	}
	return 0
}

// holds notes what was backed up of an item, and whether it was listed as that.
func (x *items) holds(i number, base vault.Entry, known, same bool) {
	x.states[i].held, x.states[i].same = holdingOf(base, known), same
}

// missing gives what was backed up, and not listed, its number.
func (x *items) missing(base vault.Entry) number {
	i := x.put(string(base.ID), string(base.Parent))
	x.states[i].held = holdingOf(base, true)
	return i
}

// wasIn returns in which folder an item is that missing has noted, and nothing for others.
func (x *items) wasIn(id backup.ItemID) (folder backup.ItemID, known bool) {
	i, found := x.table.Find(string(id))
	if !found || x.states[i].listed || x.states[i].held < heldFile {
		return "", false
	}
	_, value := x.table.Get(i)
	return backup.ItemID(value), x.table.Err() == nil
}

func (x *items) verdictAt(i number) verdict { return verdict(x.states[i].verdict) }

func (x *items) judge(id backup.ItemID, v verdict) { x.states[x.number(id)].verdict = uint8(v) }

func (x *items) depth(id backup.ItemID) int {
	if i, found := x.table.Find(string(id)); found {
		return int(x.states[i].depth)
	}
	return 0
}

func (x *items) setDepth(id backup.ItemID, depth int) {
	x.states[x.number(id)].depth = uint16(min(depth, maxDepth))
}

// encodeItem returns an item but for its id.
func encodeItem(item drive.Item) string {
	w := make(spill.Writer, 0, 256)
	w.Bool(item.Root)
	w.Bool(item.Deleted)
	w.Int(item.Size)
	w.Int(int64(item.ChildCount))
	w.Time(item.Created)
	w.Time(item.Modified)
	for _, text := range []string{string(item.Parent), item.Name, string(item.Kind), item.CTag, item.ETag, item.Hash, item.Unreadable} {
		w.Text(text)
	}
	return string(w)
}

func decodeItem(id, value string) drive.Item {
	r := spill.Reader(value)
	item := drive.Item{ID: backup.ItemID(id), Root: r.Bool(), Deleted: r.Bool(), Size: r.Int(), ChildCount: int(r.Int()), Created: r.Time(), Modified: r.Time()}
	item.Parent, item.Name, item.Kind = backup.ItemID(r.Text()), r.Text(), backup.ItemKind(r.Text())
	item.CTag, item.ETag, item.Hash, item.Unreadable = r.Text(), r.Text(), r.Text(), r.Text()
	return item
}
