package engine

import (
	"cmp"
	"errors"
	"hash/maphash"
	"slices"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// Files are the files of a plan, as they shall be and as they are, staged on disk: a
// drive may have millions that differ. Most of them are simple: what is as it shall be
// is passed over, and what is only missing is brought back from here. The rest is
// loaded into the plan, as all folders are.
//
// What cannot be read back is not found. err then says why, and has to be asked before
// anything is made of it.
type files struct {
	wants, lives *spill.Table
	seed         maphash.Seed
	states       []uint8 // of live files, by number
	loaded       []bool  // files of the point that the plan has, by number
	missing      []int32 // files of the point that are to be made, by number
	places       []spot  // of the point's files, in order
}

// A spot is where a file is, with its number.
type spot struct {
	hash   uint64
	number int32
}

func newFiles(dir string) *files {
	return &files{wants: spill.New(dir), lives: spill.New(dir), seed: maphash.MakeSeed()}
}

func (f *files) close() {
	f.wants.Close()
	f.lives.Close()
}

func (f *files) err() error { return errors.Join(f.wants.Err(), f.lives.Err()) }

func (f *files) hash(at place) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	h.WriteString(string(at.parent))
	h.WriteByte(0)
	h.WriteString(at.name)
	return h.Sum64()
}

// find returns a file of a table by its id, and its number.
func find(t *spill.Table, id backup.ItemID) (*vault.Node, int) {
	if id == "" {
		return nil, 0
	}
	i, ok := t.Find(string(id))
	if !ok {
		return nil, 0
	}
	return nodeAt(t, i), i
}

// nodeAt returns the file of a number, or nil if it was taken back.
func nodeAt(t *spill.Table, i int) *vault.Node {
	id, value := t.Get(i)
	if value == "" {
		return nil
	}
	return decodeNode(id, value)
}

func encodeNode(n *vault.Node) string {
	w := make(spill.Writer, 0, 256)
	w.Int(n.Size)
	w.Time(n.Created)
	w.Time(n.Modified)
	for _, text := range []string{n.Path, string(n.Parent), n.Name, string(n.Kind), n.CTag, n.Hash, n.Content, n.Stored} {
		w.Text(text)
	}
	return string(w)
}

func decodeNode(id, value string) *vault.Node {
	r := spill.Reader(value)
	n := &vault.Node{Entry: vault.Entry{ID: backup.ItemID(id), Size: r.Int(), Created: r.Time(), Modified: r.Time()}}
	n.Path = r.Text()
	n.Parent, n.Name, n.Kind = backup.ItemID(r.Text()), r.Text(), backup.ItemKind(r.Text())
	n.CTag, n.Hash, n.Content, n.Stored = r.Text(), r.Text(), r.Text(), r.Text()
	return n
}

// spots returns where the files of a table are, in order.
func (f *files) spots(t *spill.Table) []spot {
	all := make([]spot, 0, t.Len())
	for i := range t.Len() {
		if n := nodeAt(t, i); n != nil {
			all = append(all, spot{f.hash(placeOf(n.Entry)), int32(i)})
		}
	}
	slices.SortFunc(all, func(a, b spot) int { return cmp.Compare(a.hash, b.hash) })
	return all
}

// at returns those of some spots that are one place.
func (f *files) at(all []spot, at place) []spot {
	hash := f.hash(at)
	i, _ := slices.BinarySearchFunc(all, hash, func(s spot, h uint64) int { return cmp.Compare(s.hash, h) })
	n := i
	for n < len(all) && all[n].hash == hash {
		n++
	}
	return all[i:n]
}

// load takes a file of the point into the plan.
func (p *plan) load(i int, n *vault.Node) {
	if p.files.loaded[i] {
		return
	}
	p.files.loaded[i] = true
	w := &want{Node: *n}
	p.wants = append(p.wants, w)
	p.byID[n.ID] = w
}

// twinFiles loads the files of the point whose names are one to the source with
// another's in their folder: only all of them together say what they are called.
func (p *plan) twinFiles() {
	f := p.files
	f.places, f.loaded = f.spots(f.wants), make([]bool, f.wants.Len())
	load := func(s spot) {
		if n := nodeAt(f.wants, int(s.number)); n != nil {
			p.load(int(s.number), n)
		}
	}
	for i, s := range f.places {
		if i > 0 && f.places[i-1].hash == s.hash || i+1 < len(f.places) && f.places[i+1].hash == s.hash {
			load(s)
		}
	}
	for _, w := range slices.Clone(p.wants) {
		for _, s := range f.at(f.places, placeOf(w.Entry)) {
			load(s)
		}
	}
}

// sieve goes through the files once the plan's folders are matched: what is as it
// shall be is passed over, what is but missing is noted, and all else is loaded.
// Of what was made and is not among the live files, look may add what the source has.
func (p *plan) sieve(look func(w *vault.Node, live backup.ItemID) error) error {
	f := p.files
	places := f.spots(f.lives)
	folders := make(map[place]bool, len(p.lives))
	for _, live := range p.lives {
		folders[placeOf(live.Entry)] = true
	}
	var open []int32 // those that no id finds
	for i := range f.wants.Len() {
		w := nodeAt(f.wants, i)
		if w == nil || f.loaded[i] {
			continue
		}
		made := p.liveOf(w.ID)
		if made != "" && !p.hasLive(made) && p.unsaved[made] == "" {
			if err := look(w, made); err != nil {
				return err
			}
		}
		id := made
		if !p.hasLive(id) {
			id = w.ID
		}
		if !p.hasLive(id) || id == w.ID && p.elsewhere {
			open = append(open, int32(i))
			continue
		}
		live, n := find(f.lives, id)
		others := id != w.ID && !p.elsewhere && p.hasWant(id)
		p.settle(i, w, n, live, !others)
	}
	for _, i := range open {
		w := nodeAt(f.wants, int(i))
		if w == nil {
			break // err says why
		}
		at := place{p.liveID(w.Parent), fold(w.Name)}
		there := f.at(places, at)
		switch {
		case w.ID == p.pinned || folders[at] || len(there) > 1:
			p.load(int(i), w)
		case at.parent == "" || len(there) == 0:
			f.missing = append(f.missing, i)
		default:
			n := int(there[0].number)
			live := nodeAt(f.lives, n)
			p.settle(int(i), w, n, live, live != nil && (p.elsewhere || !p.hasWant(live.ID)))
		}
	}
	for i := range f.lives.Len() {
		if f.state(i) == passed {
			continue
		}
		if live := nodeAt(f.lives, i); live != nil {
			p.lives[live.ID] = live
		}
	}
	err := f.err()
	f.lives.Close() // what is left of them is loaded
	f.lives, f.states = spill.New(""), nil
	return err
}

// settle passes over a file of the point, and the live one that it would be paired
// with, if that is as it shall be, may be passed over, and is no other's; else it loads
// it.
func (p *plan) settle(i int, w *vault.Node, n int, live *vault.Node, may bool) {
	f := p.files
	if may && live != nil && f.state(n) == free && w.ID != p.pinned && p.asItShallBe(w, live) {
		f.states[n] = passed
		return
	}
	p.load(i, w)
	if live != nil && f.state(n) == free {
		f.states[n] = spoken
	}
}

// asItShallBe reports whether nothing is to be done about a live file, or to be said,
// if it is what the point has as w.
func (p *plan) asItShallBe(w, live *vault.Node) bool {
	is := &want{Node: *w, live: live}
	return p.unsaved[live.ID] == "" && p.apart[live.ID] == "" && !p.misplaced(is) && !is.stale() && !is.aged() && !(p.elsewhere && is.unstated())
}

// What is known of a live file.
const (
	free   uint8 = iota
	spoken       // a file that was loaded may be paired with it
	passed       // it is as it shall be
)

// state returns what is known of a live file; there may have come more since the last.
func (f *files) state(i int) uint8 {
	for len(f.states) <= i {
		f.states = append(f.states, free)
	}
	return f.states[i]
}

// eachMissing goes through the files that are missing and nothing else, a run at a time,
// each for itself.
func (p *plan) eachMissing(size int, do func([]*want) error) error {
	var run []*want
	for k, i := range p.files.missing {
		n := nodeAt(p.files.wants, int(i))
		if n == nil {
			return cmp.Or(p.files.err(), errGone)
		}
		run = append(run, &want{Node: *n, simple: true})
		if len(run) == size || k+1 == len(p.files.missing) {
			if err := do(run); err != nil {
				return err
			}
			run = nil
		}
	}
	return nil
}

var errGone = errors.New("a file of a plan is in it no more")

// Deeds are what a restore has written, in all its passes. They are staged on disk, as
// there may be millions.
type deeds struct {
	mu   sync.Mutex
	made *spill.Table // live ids of what was made, by the ids in the point
	sent *spill.Table // what was written to, by its live id, as it then was if it is as it shall be
}

func newDeeds(dir string) *deeds { return &deeds{made: spill.New(dir), sent: spill.New(dir)} }

func (d *deeds) close() {
	d.made.Close()
	d.sent.Close()
}

func (d *deeds) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.made.Err(), d.sent.Err())
}

func (d *deeds) makes(id, live backup.ItemID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made.Put(string(id), string(live))
}

// live returns the live id of what was made, or "".
func (d *deeds) live(id backup.ItemID) backup.ItemID {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i, ok := d.made.Find(string(id)); ok {
		_, live := d.made.Get(i)
		return backup.ItemID(live)
	}
	return ""
}

// at returns the ids of what was made as one of so many, and whether there are as many.
func (d *deeds) at(i int) (id, live backup.ItemID, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i >= d.made.Len() {
		return "", "", false
	}
	a, b := d.made.Get(i)
	return backup.ItemID(a), backup.ItemID(b), true
}

// sends notes that a live file was written to, and if seed is given that it then was
// what that says.
func (d *deeds) sends(live backup.ItemID, seed *vault.Entry) {
	value := ""
	if seed != nil {
		value = encodeNode(&vault.Node{Entry: *seed})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent.Put(string(live), value)
}

func (d *deeds) wasSent(live backup.ItemID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.sent.Find(string(live))
	return ok
}

// seed returns what a live file was when it was written, if that is known.
func (d *deeds) seed(live backup.ItemID) (vault.Entry, bool) {
	if d == nil {
		return vault.Entry{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, _ := find(d.sent, live)
	if n == nil {
		return vault.Entry{}, false
	}
	return n.Entry, true
}
