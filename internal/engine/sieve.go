package engine

import (
	"cmp"
	"errors"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// Files are the files and folders of a plan, as they shall be and as they are, staged on
// disk: a drive may have millions that differ. Most of them are simple: what is as it shall be
// is passed over, and what is only missing, a file in its folder with another content or
// name, or a folder with another time, is brought back from here, as files that shall not be
// go from here. The rest is loaded into the plan, as all live folders are that are not passed
// over.
//
// What cannot be read back is not found. err then says why, and has to be asked before
// anything is made of it.
type files struct {
	mu           sync.Mutex // of wants and found
	wants, lives *spill.Table
	seed         maphash.Seed
	states       []uint8      // of what is live, by number
	marks        []uint8      // of what is in the point, by number
	levels       [][]int32    // folders that are missing, by number, those of one depth together
	missing      int          // how many these are
	late         []int32      // folders that are as they shall be but for their time, by number, the deepest last
	steps        []step       // files that are simple, by the number of the file of the point
	gone         []int32      // live files of which nothing is but that they shall not be, by number
	kept         int          // how many of those stay, and are in the plan
	found        *spill.Table // live ids of folders that were found in their places, by the ids in the point
	places       []spot       // of all that is in the point, in order
}

// What is known of an item of the point, if anything.
const (
	loaded        uint8 = 1 + iota // the plan has it
	missing                        // a folder, to be made, if the one is there that it is in
	remade                         // a folder that was made, or found in its place, and is as it shall be
	remadeLate                     // the same, but for its time
	unaltered                      // another folder that is as it shall be
	unalteredLate                  // the same, but for its time
)

// mark returns what is known of an item of the point, by its id; 0 is nothing.
func (f *files) mark(id backup.ItemID) uint8 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, ok := f.wants.Find(string(id)); ok && i < len(f.marks) {
		return f.marks[i]
	}
	return 0
}

// A step is what is to be done about a file of the point that nothing else has to do
// with, by its number, and by that of what it is now, or -1 if it is missing.
type step struct{ want, live int32 }

// A spot is where an item is, with its number.
type spot struct {
	hash   uint64
	number int32
}

func newFiles(dir string) *files {
	return &files{wants: spill.New(dir), lives: spill.New(dir), found: spill.New(dir), seed: maphash.MakeSeed()}
}

func (f *files) close() {
	f.wants.Close()
	f.lives.Close()
	f.found.Close()
}

func (f *files) err() error { return errors.Join(f.wants.Err(), f.lives.Err(), f.found.Err()) }

// foundAs returns the live id of a folder that was found in its place, or "".
func (f *files) foundAs(id backup.ItemID) backup.ItemID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return idIn(f.found, id)
}

// idIn returns the id that a table has by another, or "".
func idIn(t *spill.Table, id backup.ItemID) backup.ItemID {
	if i, ok := t.Find(string(id)); ok {
		_, is := t.Get(i)
		return backup.ItemID(is)
	}
	return ""
}

func (f *files) hash(at place) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	h.WriteString(string(at.parent))
	h.WriteByte(0)
	h.WriteString(at.name)
	return h.Sum64()
}

// find returns an item of a table by its id, and its number.
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

// nodeAt returns the item of a number, or nil if it was taken back.
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

// spots returns where the files and the folders of a table are, in order.
func (f *files) spots(t *spill.Table) (files, folders []spot) {
	for i := range t.Len() {
		if n := nodeAt(t, i); n == nil {
			continue
		} else if at := (spot{f.hash(placeOf(n.Entry)), int32(i)}); n.Kind == backup.Folder {
			folders = append(folders, at)
		} else {
			files = append(files, at)
		}
	}
	slices.SortFunc(files, compareSpots)
	slices.SortFunc(folders, compareSpots)
	return files, folders
}

func compareSpots(a, b spot) int { return cmp.Compare(a.hash, b.hash) }

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

// load takes an item of the point into the plan.
func (p *plan) load(i int, n *vault.Node) {
	if p.files.marks[i] == loaded {
		return
	}
	p.files.marks[i] = loaded
	w := &want{Node: *n}
	p.wants = append(p.wants, w)
	p.byID[n.ID] = w
}

// loadTwins loads the items of the point whose names are one to the source with
// another's in their folder: only all of them together say what they are called. It
// returns where all folders are.
func (p *plan) loadTwins() (folders []spot) {
	f := p.files
	files, folders := f.spots(f.wants)
	f.places, f.marks = slices.Concat(files, folders), make([]uint8, f.wants.Len())
	slices.SortFunc(f.places, compareSpots)
	for i, s := range f.places {
		if i > 0 && f.places[i-1].hash == s.hash || i+1 < len(f.places) && f.places[i+1].hash == s.hash {
			if n := nodeAt(f.wants, int(s.number)); n != nil {
				p.load(int(s.number), n)
			}
		}
	}
	return folders
}

// lookFor looks for folders that were made and are not among the live ones.
func (p *plan) lookFor(folders []spot, look func(w *vault.Node, live backup.ItemID) error) error {
	for _, s := range folders {
		id, _ := p.files.wants.Get(int(s.number))
		made := p.liveOf(backup.ItemID(id))
		if made == "" || p.hasLive(made) || p.unsaved[made] != "" {
			continue
		}
		if w := nodeAt(p.files.wants, int(s.number)); w != nil {
			if err := look(w, made); err != nil {
				return err
			}
		}
	}
	return nil
}

// sieveFolders goes through the folders from the top down: one that is as it shall be is
// passed over, one is noted that is but missing, and all others are loaded, with what is
// in them.
func (p *plan) sieveFolders(folders []spot, now *present) {
	f := p.files
	type folder struct{ depth, number int32 }
	all := make([]folder, 0, len(folders))
	now.made = make([]bool, f.lives.Len())
	for _, s := range folders {
		if n := nodeAt(f.wants, int(s.number)); n != nil {
			all = append(all, folder{int32(depth(n.Path)), s.number})
			if i, ok := f.lives.Find(string(p.liveOf(n.ID))); ok {
				now.made[i] = true
			}
		}
	}
	slices.SortFunc(all, func(a, b folder) int { return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.number, b.number)) })
	at := int32(-1)
	for _, is := range all {
		w := nodeAt(f.wants, int(is.number))
		if w == nil || f.marks[is.number] == loaded {
			continue
		}
		switch mark := p.folderMark(w, now); mark {
		case 0:
			p.load(int(is.number), w)
		case missing:
			if is.depth > at {
				f.levels, at = append(f.levels, nil), is.depth
			}
			last := &f.levels[len(f.levels)-1]
			*last = append(*last, is.number)
			f.missing++
			f.marks[is.number] = mark
		case remadeLate, unalteredLate:
			f.late = append(f.late, is.number)
			fallthrough
		default:
			f.marks[is.number] = mark
		}
	}
	for _, s := range now.folders {
		if n := nodeAt(f.lives, int(s.number)); n != nil && f.state(int(s.number)) == free {
			f.states[s.number] = inPlan
			p.lives[n.ID] = n
		}
	}
}

// folderMark returns what is to be noted of a folder of the point, once those above it are
// noted; or nothing, if it is to be loaded.
func (p *plan) folderMark(w *vault.Node, now *present) uint8 {
	f, made := p.files, p.liveOf(w.ID)
	above := f.mark(w.Parent)
	root := p.byID[w.Parent] != nil
	if above == loaded || above == 0 && !root && p.elsewhere {
		return 0
	}
	id := made
	if !p.hasLive(id) && !p.elsewhere {
		id = w.ID
	}
	live, n := find(f.lives, id)
	if live == nil {
		if made != "" || p.unsaved[w.ID] != "" || p.apart[w.ID] != "" {
			return 0
		}
		if above == missing {
			return missing
		}
		in := place{p.liveID(w.Parent), fold(w.Name)}
		if in.parent == "" {
			return 0
		}
		if !now.has(f, in) {
			return missing
		}
		if live, n = now.folder(f, in); live == nil {
			return 0
		}
		id, made = live.ID, live.ID // perhaps by a restore that did not come to its end
	}
	is, others := &want{Node: *w, live: live}, id != w.ID && !p.elsewhere && p.hasWant(id)
	if others || live.Kind != backup.Folder || f.state(n) != free || strings.HasSuffix(live.Name, asideMark(id)) || !p.isWhole(is) {
		return 0
	}
	f.states[n] = passed
	if id == made && p.liveOf(w.ID) == "" {
		f.found.Put(string(w.ID), string(id))
	}
	switch late := is.aged(); {
	case id == made && late:
		return remadeLate
	case id == made:
		return remade
	case late:
		return unalteredLate
	}
	return unaltered
}

// sieve goes through the files once the plan's folders are matched: what is as it
// shall be is passed over, what is simple is noted, and all else is loaded.
func (p *plan) sieve(now *present, look func(w *vault.Node, live backup.ItemID) error) error {
	f := p.files
	var open []int32 // those that no id finds
	for i := range f.wants.Len() {
		w := nodeAt(f.wants, i)
		if w == nil || w.Kind == backup.Folder || f.marks[i] == loaded {
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
		p.settle(i, w, n, live, !others, now)
	}
	for _, i := range open {
		w := nodeAt(f.wants, int(i))
		if w == nil {
			break // err says why
		}
		at := place{p.liveID(w.Parent), fold(w.Name)}
		there := f.at(now.files, at)
		switch {
		case w.ID == p.pinned || len(f.at(now.folders, at)) > 0 || len(there) > 1:
			p.load(int(i), w)
		case at.parent == "" || len(there) == 0:
			f.steps = append(f.steps, step{i, -1})
		default:
			n := int(there[0].number)
			live := nodeAt(f.lives, n)
			p.settle(int(i), w, n, live, live != nil && (p.elsewhere || !p.hasWant(live.ID)), now)
		}
	}
	p.disturb(now)
	f.steps = slices.DeleteFunc(f.steps, func(s step) bool {
		if s.live < 0 || f.states[s.live] == stepped {
			return false
		}
		if w := nodeAt(f.wants, int(s.want)); w != nil {
			p.load(int(s.want), w)
		}
		return true
	})
	slices.SortFunc(f.steps, func(a, b step) int { return cmp.Compare(a.want, b.want) })
	for i := range f.lives.Len() {
		if s := f.state(i); s == passed || s == stepped || s == inPlan {
			continue
		} else if live := nodeAt(f.lives, i); live == nil {
			continue
		} else if s == free && p.justGoes(live) {
			f.states[i] = going
			f.gone = append(f.gone, int32(i))
		} else {
			p.lives[live.ID] = live
		}
	}
	err := f.err()
	if len(f.gone)+len(f.late) == 0 && !slices.ContainsFunc(f.steps, func(s step) bool { return s.live >= 0 }) {
		f.lives.Close() // what is left of them is loaded
		f.lives, f.states = spill.New(""), nil
	}
	return err
}

// What is present: live files and folders, in order.
type present struct {
	files, folders []spot
	made           []bool // of what is live, by number: whether it is what was made of a folder
}

// folder returns the one thing that is at a place, with its number, if that is a folder of
// which nobody knows that it was made of another.
func (now *present) folder(f *files, at place) (*vault.Node, int) {
	there := f.at(now.folders, at)
	if len(there) != 1 || len(f.at(now.files, at)) > 0 || now.made[there[0].number] {
		return nil, 0
	}
	n := int(there[0].number)
	return nodeAt(f.lives, n), n
}

// has reports whether there is something at a place.
func (now *present) has(f *files, at place) bool {
	return len(f.at(now.files, at)) > 0 || len(f.at(now.folders, at)) > 0
}

// settle passes over a file of the point, and the live one that it would be paired
// with, if that is as it shall be, may be passed over, and is no other's; or notes that
// they are simple; else it loads it.
func (p *plan) settle(i int, w *vault.Node, n int, live *vault.Node, may bool, now *present) {
	f := p.files
	if may && live != nil && f.state(n) == free && w.ID != p.pinned {
		switch {
		case p.asItShallBe(w, live):
			f.states[n] = passed
			return
		case p.isStep(w, n, live, now):
			f.states[n] = stepped
			f.steps = append(f.steps, step{int32(i), int32(n)})
			return
		}
	}
	p.load(i, w)
	if live != nil && (f.state(n) == free || f.state(n) == stepped) {
		f.states[n] = spoken
	}
}

// disturb has the live files be loaded that one which was loaded may be, and those that
// are where it shall be, by either name: they are in its way, or are it.
func (p *plan) disturb(now *present) {
	f := p.files
	disturb := func(i int) {
		if is := f.state(i); is == free || is == stepped {
			f.states[i] = spoken
		}
	}
	for _, w := range p.wants {
		for _, id := range []backup.ItemID{p.liveOf(w.ID), w.ID} {
			if live, i := find(f.lives, id); live != nil {
				disturb(i)
			}
		}
		for _, name := range []string{w.Name, w.other} {
			for _, s := range f.at(now.files, place{p.liveID(w.Parent), fold(name)}) {
				disturb(int(s.number))
			}
		}
	}
}

// isStep reports whether a file is in the folder that it shall be in, under its own id,
// and nothing is where it shall be; the vault holds what it is now, if that is to be
// written over; and the restore, as far as anybody knows, has not written it.
func (p *plan) isStep(w *vault.Node, n int, live *vault.Node, now *present) bool {
	switch is := (&want{Node: *w, live: live}); {
	case p.elsewhere, live.ID != w.ID, live.Parent != p.liveID(w.Parent), p.unsaved[live.ID] != "", p.apart[live.ID] != "",
		strings.HasSuffix(live.Name, asideMark(live.ID)),
		is.stale() && (live.Content == "" || p.again && sameSecond(live.Modified, w.Modified)),
		p.made != nil && (p.made.live(w.ID) != "" || p.made.wasSent(live.ID)):
		return false
	}
	at := place{live.Parent, fold(w.Name)}
	return len(p.files.at(now.folders, at)) == 0 && !slices.ContainsFunc(p.files.at(now.files, at), func(s spot) bool { return int(s.number) != n })
}

// justGoes reports whether all that there is to do about a live file that is not in the
// point, and in no other's place, is to take it away: it is in a folder that stays.
func (p *plan) justGoes(live *vault.Node) bool {
	return !p.elsewhere && p.extra[live.Parent] == nil && p.unsaved[live.ID] == "" && p.apart[live.ID] == "" &&
		!strings.HasSuffix(live.Name, asideMark(live.ID)) && !p.hasWant(live.ID)
}

// asItShallBe reports whether nothing is to be done about a live file, or to be said,
// if it is what the point has as w.
func (p *plan) asItShallBe(w, live *vault.Node) bool {
	is := &want{Node: *w, live: live}
	return p.isWhole(is) && !is.aged() && !(p.elsewhere && is.unstated())
}

// isWhole is asItShallBe of an item but for its time.
func (p *plan) isWhole(is *want) bool {
	return p.unsaved[is.live.ID] == "" && p.apart[is.live.ID] == "" && !p.misplaced(is) && !is.stale()
}

// What is known of a live item.
const (
	free    uint8 = iota
	spoken        // a file that was loaded may be paired with it
	passed        // it is as it shall be
	stepped       // it is simple
	going         // it is among those that are gone
	inPlan        // a folder that the plan has
)

// state returns what is known of a live item; there may have come more since the last.
func (f *files) state(i int) uint8 {
	for len(f.states) <= i {
		f.states = append(f.states, free)
	}
	return f.states[i]
}

// simple is how many items nothing else has to do with than what is to be done about
// each: they are on disk, and not in what the plan has.
func (p *plan) simple() int {
	return p.files.missing + len(p.files.late) + len(p.files.steps) + len(p.files.gone) - p.files.kept
}

// eachFolder goes through the folders of the point that are but missing, a run at a
// time, those of one depth after those above them.
func (p *plan) eachFolder(size int, do func([]*want) error) error {
	return p.foldersIn(slices.Values(p.files.levels), size, do)
}

// eachFolderUp is eachFolder from the bottom up.
func (p *plan) eachFolderUp(size int, do func([]*want) error) error {
	return p.foldersIn(func(yield func([]int32) bool) {
		for _, level := range slices.Backward(p.files.levels) {
			if !yield(level) {
				return
			}
		}
	}, size, do)
}

func (p *plan) foldersIn(levels iter.Seq[[]int32], size int, do func([]*want) error) error {
	for level := range levels {
		err := inRuns(size, len(level), do, func(k int) (*want, error) {
			n := p.files.wantAt(level[k])
			if n == nil {
				return nil, cmp.Or(p.files.err(), errGone)
			}
			return &want{Node: *n, simple: true}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachLate goes through the folders of the point that are as they shall be but for their
// time, a run at a time, the deepest first.
func (p *plan) eachLate(size int, do func([]*want) error) error {
	f := p.files
	return inRuns(size, len(f.late), do, func(k int) (*want, error) {
		n := f.wantAt(f.late[len(f.late)-1-k])
		if n == nil {
			return nil, cmp.Or(f.err(), errGone)
		}
		w := &want{Node: *n, simple: true}
		if w.live, _ = find(f.lives, p.liveID(n.ID)); w.live == nil {
			return nil, cmp.Or(f.err(), errGone)
		}
		return w, nil
	})
}

// wantAt returns the item of the point of a number.
func (f *files) wantAt(i int32) *vault.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return nodeAt(f.wants, int(i))
}

// eachRemade goes through the folders that were made, or found in their places, and are as they
// shall be.
func (p *plan) eachRemade(do func(*want)) error {
	for i, is := range p.files.marks {
		if is != remade {
			continue
		}
		n := p.files.wantAt(int32(i))
		if n == nil {
			return cmp.Or(p.files.err(), errGone)
		}
		live := *n
		live.ID = p.liveOf(n.ID)
		do(&want{Node: *n, live: &live})
	}
	return nil
}

// eachOpen goes through all of the point that is simple, one by one.
func (p *plan) eachOpen(do func(*want) error) error {
	one := func(ws []*want) error { return do(ws[0]) }
	for _, each := range []func(int, func([]*want) error) error{p.eachFolder, p.eachLate, p.eachStep} {
		if err := each(1, one); err != nil {
			return err
		}
	}
	return nil
}

// eachStep goes through the files of the point that are simple, a run at a time, each
// for itself.
func (p *plan) eachStep(size int, do func([]*want) error) error {
	f := p.files
	return inRuns(size, len(f.steps), do, func(k int) (*want, error) {
		s := f.steps[k]
		w := &want{simple: true}
		if s.live >= 0 {
			if w.live = nodeAt(f.lives, int(s.live)); w.live == nil {
				return nil, cmp.Or(f.err(), errGone)
			}
		}
		n := f.wantAt(s.want)
		if n == nil {
			return nil, cmp.Or(f.err(), errGone)
		}
		w.Node = *n
		return w, nil
	})
}

// eachGone goes in the same way through the live files that shall not be.
func (p *plan) eachGone(size int, do func([]*vault.Node) error) error {
	f := p.files
	return inRuns(size, len(f.gone), do, func(k int) (*vault.Node, error) {
		if f.states[f.gone[k]] != going {
			return nil, nil
		}
		n := nodeAt(f.lives, int(f.gone[k]))
		if n == nil {
			return nil, cmp.Or(f.err(), errGone)
		}
		return n, nil
	})
}

func inRuns[T any](size, n int, do func([]*T) error, get func(int) (*T, error)) error {
	var run []*T
	for k := range n {
		t, err := get(k)
		if err != nil {
			return err
		}
		if t != nil {
			run = append(run, t)
		}
		if len(run) > 0 && (len(run) == size || k+1 == n) {
			if err := do(run); err != nil {
				return err
			}
			run = nil
		}
	}
	return nil
}

// isOpen reports whether a simple item, by its id in the point or in the live drive, is
// not as it shall be.
func (p *plan) isOpen(want, live backup.ItemID) bool {
	f := p.files
	switch f.mark(want) {
	case missing, remadeLate, unalteredLate:
		return true
	}
	if n, i := find(f.wants, want); n != nil {
		if _, found := slices.BinarySearchFunc(f.steps, int32(i), func(s step, i int32) int { return cmp.Compare(s.want, i) }); found {
			return true
		}
	}
	n, i := find(f.lives, live)
	return n != nil && f.state(i) == going
}

// loadGone takes a live file that shall not be into the plan.
func (p *plan) loadGone(id backup.ItemID) {
	f := p.files
	live, i := find(f.lives, id)
	if live == nil || f.state(i) != going {
		return
	}
	f.states[i] = spoken
	f.kept++
	p.lives[id], p.extra[id] = live, live
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
	return idIn(d.made, id)
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
