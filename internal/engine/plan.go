package engine

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// A plan is how a drive differs from a point. Items are the same when they
// have one id; an item that was deleted and is back under another id is found
// by its place. What is the same in both is not in the plan.
type plan struct {
	wants []*want                 // as it shall be, folders before what they hold
	byID  map[backup.ItemID]*want // by the id in the point
	taken map[backup.ItemID]*want // by the live id
	lives map[backup.ItemID]*vault.Node
	extra map[backup.ItemID]*vault.Node // live, and not in the point
	files *files                        // all of the point, and live, that may differ: the plan has some of them
	// made are what the restore has made, or nil.
	made *deeds
	// pinned is an item of the point whose live id is asked for. If it is a file the plan has
	// it, since where it was there already no deed tells that.
	pinned backup.ItemID
	// again says that the restore may have written here before, without that anybody
	// knows what.
	again bool
	// elsewhere says that the place is not the one that the point was taken of.
	// Whatever has the id of an item there was moved in, and is not that item.
	elsewhere bool

	// unsaved are live items whose present content the vault does not hold, and
	// why: nothing is written over them.
	unsaved map[backup.ItemID]string
	// apart are live items that nothing of the point is, whatever their ids say.
	apart map[backup.ItemID]string
	// kept are those of extra that stay, and why.
	kept map[backup.ItemID]string
	// lost are the point's folders of which the vault cannot tell what is in
	// them.
	lost []damaged
	// holding are the folders of extra that stay for what they hold.
	holding map[backup.ItemID]bool
}

// A want is an item of the point: what it shall be, and what it is now.
type want struct {
	vault.Node
	live *vault.Node // nil when there is none

	// other is the name it takes where the source takes its own for that of a
	// twin, or "" when it has no twin that comes first. refused says that the
	// source does.
	other   string
	refused bool
	// proven says that the live content is right although what the source
	// states of it is not that of the point.
	proven bool
	broken bool           // the live content is known to be wrong, whatever is stated of it
	ahead  *drive.Session // for its upload, or nil
	// unclear says that it may have been written, though nothing is known of it.
	unclear bool
	simple  bool   // nothing else has to do with it: the plan has it on disk only
	counted bool   // as done with, of a simple one
	remark  string // what a person should know of how it came back, or ""
}

// id is the item's id in the live drive, or "" as long as it has none.
func (w *want) id() backup.ItemID {
	if w.live == nil {
		return ""
	}
	return w.live.ID
}

type place struct {
	parent backup.ItemID
	name   string // folded
}

func placeOf(e vault.Entry) place { return place{e.Parent, fold(e.Name)} }

func newPlan(dir string) *plan {
	return &plan{
		byID: map[backup.ItemID]*want{}, taken: map[backup.ItemID]*want{}, files: newFiles(dir),
		lives: map[backup.ItemID]*vault.Node{}, extra: map[backup.ItemID]*vault.Node{},
		unsaved: map[backup.ItemID]string{}, kept: map[backup.ItemID]string{}, holding: map[backup.ItemID]bool{},
	}
}

// close gives back what the plan has on disk. What it has loaded stays.
func (p *plan) close() {
	if p != nil {
		p.files.close()
	}
}

func (p *plan) addLive(n vault.Node) {
	if n.Parent == "" {
		return
	}
	p.dropLive(n.ID)
	p.files.lives.Put(string(n.ID), encodeNode(&n))
}

// dropLive takes a live item back.
func (p *plan) dropLive(id backup.ItemID) {
	delete(p.lives, id)
	if live, _ := find(p.files.lives, id); live != nil {
		p.files.lives.Put(string(id), "")
	}
}

func (p *plan) hasLive(id backup.ItemID) bool {
	live, _ := find(p.files.lives, id)
	return live != nil || p.lives[id] != nil
}

func (p *plan) addWant(n vault.Node) {
	if n.Parent != "" {
		p.files.wants.Put(string(n.ID), encodeNode(&n))
	}
}

func (p *plan) hasWant(id backup.ItemID) bool {
	w, _ := find(p.files.wants, id)
	return w != nil || p.byID[id] != nil
}

// liveOf returns the live id of what was made of an item of the point, or was found in a
// folder's place, or "".
func (p *plan) liveOf(id backup.ItemID) backup.ItemID {
	if p.made != nil {
		if live := p.made.live(id); live != "" {
			return live
		}
	}
	return p.files.foundAs(id)
}

// addRoot says that the point's root is another drive's root here.
func (p *plan) addRoot(wanted vault.Node, live vault.Entry) {
	p.byID[wanted.ID] = &want{Node: wanted, live: &vault.Node{Entry: live}}
}

// match pairs what shall be with what is, and loads what is not simple. Of what was made
// and is not among what is live, look may add what the source has.
func (p *plan) match(look func(w *vault.Node, live backup.ItemID) error) error {
	folders := p.loadTwins()
	if err := p.lookFor(folders, look); err != nil {
		return err
	}
	now := &present{}
	now.files, now.folders = p.files.spots(p.files.lives)
	p.sieveFolders(folders, now)
	p.matchLoaded()
	if err := p.sieve(now, look); err != nil {
		return err
	}
	p.matchLoaded()
	p.files.places = nil
	return p.files.err()
}

// matchLoaded pairs what the plan has: by what was made of it, by id, then by place.
// Of items whose names are one to the source, each is paired by its very name first, so
// that no two are taken for one.
func (p *plan) matchLoaded() {
	slices.SortFunc(p.wants, func(a, b *want) int {
		return cmp.Or(cmp.Compare(depth(a.Path), depth(b.Path)), strings.Compare(a.Path, b.Path))
	})
	for _, w := range p.wants {
		for _, id := range []backup.ItemID{p.liveOf(w.ID), w.ID} {
			live := p.lives[id]
			if w.live == nil && live != nil && live.Kind == w.Kind && p.taken[id] == nil && p.apart[id] == "" && (id != w.ID || !p.elsewhere) {
				p.pair(w, live)
			}
		}
	}
	free := map[place][]*vault.Node{}
	for id, live := range p.lives {
		if p.taken[id] == nil {
			p.extra[id] = live
			if p.unsaved[id] == "" && p.apart[id] == "" {
				free[placeOf(live.Entry)] = append(free[placeOf(live.Entry)], live)
			}
		}
	}
	twins := p.twins()
	for rest := p.wants; len(rest) > 0; {
		// A folder is paired before what it holds.
		level := rest
		if n := slices.IndexFunc(rest, func(w *want) bool { return depth(w.Path) > depth(rest[0].Path) }); n > 0 {
			level = rest[:n]
		}
		rest = rest[len(level):]
		for _, alike := range []func(*want, string) bool{
			func(w *want, name string) bool { return name == w.Name },
			func(w *want, name string) bool { return name == w.other },
			func(w *want, name string) bool { return !twins[w] && fold(name) == fold(w.Name) },
		} {
			for _, w := range level {
				parent := p.liveID(w.Parent)
				if w.live != nil || parent == "" {
					continue
				}
				for _, name := range []string{w.Name, w.other} {
					for _, live := range free[place{parent, fold(name)}] {
						if w.live == nil && p.taken[live.ID] == nil && live.Kind == w.Kind && alike(w, live.Name) {
							p.pair(w, live)
						}
					}
				}
			}
		}
	}
}

func (p *plan) pair(w *want, live *vault.Node) {
	w.live = live
	p.taken[live.ID] = w
	delete(p.extra, live.ID)
}

// unpair has a live item stay what it is, apart from what shall be.
func (p *plan) unpair(w *want) {
	delete(p.taken, w.live.ID)
	p.extra[w.live.ID] = w.live
	w.live = nil
}

// twins finds the items whose names differ, in one folder, only by what the
// source may not tell apart, and says by which other name all but the first of
// them come back if it does not. The names are the same in each run.
func (p *plan) twins() map[*want]bool {
	at := make(map[place][]*want, len(p.wants))
	for _, w := range p.wants { // in the order of their paths
		at[placeOf(w.Entry)] = append(at[placeOf(w.Entry)], w)
	}
	twins := map[*want]bool{}
	for _, w := range p.wants {
		alike := at[placeOf(w.Entry)]
		if len(alike) < 2 {
			continue
		}
		twins[w] = true
		if w == alike[0] {
			continue
		}
		for n := 2; ; n++ {
			name := numbered(w.Name, n, w.Kind)
			if here := (place{w.Parent, fold(name)}); at[here] == nil && len(p.files.at(p.files.places, here)) == 0 {
				w.other, at[here] = name, []*want{w}
				break
			}
		}
	}
	return twins
}

// numbered is a name with a number, before the extension of a file.
func numbered(name string, n int, kind backup.ItemKind) string {
	ext := path.Ext(name)
	if kind == backup.Folder || ext == name {
		ext = ""
	}
	return fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, ext), n, ext)
}

// keep has live items that are not in the point stay, by their ids and why,
// and the folders that they are in.
func (p *plan) keep(id backup.ItemID, why string) {
	p.loadGone(id)
	live := p.extra[id]
	if live == nil {
		return
	}
	p.kept[id] = why
	for above := p.extra[live.Parent]; above != nil && !p.holding[above.ID]; above = p.extra[above.Parent] {
		p.holding[above.ID] = true
	}
}

func depth(path string) int { return strings.Count(path, "/") }

// liveID returns the live id of a folder of the point, or "" when it has none.
// A folder that is not in the plan is the same in both.
func (p *plan) liveID(id backup.ItemID) backup.ItemID {
	if w := p.byID[id]; w != nil {
		return w.id()
	}
	switch is := p.files.mark(id); {
	case is == missing, is == remade, is == remadeLate:
		return p.liveOf(id)
	case p.elsewhere && is == 0:
		return "" // nothing is the same, and so it cannot be read back
	}
	return id
}

// misplaced reports whether an item is not where it shall be.
func (p *plan) misplaced(w *want) bool {
	return w.live == nil || w.live.Name != w.name() || w.live.Parent != p.liveID(w.Parent)
}

// name is the name that an item shall have in the live drive.
func (w *want) name() string {
	if w.refused {
		return w.other
	}
	return w.Name
}

// stale reports whether a file's content is not, or not surely, what it shall
// be: by what the vault holds of it, else by the hash of what the vault holds,
// else, at a source that states none, by size and time.
func (w *want) stale() bool {
	switch {
	case w.Kind == backup.Folder, w.proven:
		return false
	case w.live == nil, w.broken:
		return true
	case w.live.Content != "" && w.Content != "":
		return w.live.Content != w.Content
	case w.live.Size >= 0 && w.live.Size != w.Size:
		return true
	case w.Size == 0 && w.live.Size == 0:
		return false
	case w.live.Hash != "" && w.StoredHash() != "":
		return w.live.Hash != w.StoredHash()
	}
	return w.live.Hash != "" || !sameSecond(w.live.Modified, w.Modified)
}

// unstated reports whether nothing that the source states of a live file tells
// its content from another of the same size and time.
func (w *want) unstated() bool {
	return w.Kind == backup.File && w.live != nil && w.Size > 0 && w.live.Content == "" && (w.live.Hash == "" || w.StoredHash() == "")
}

// aged reports whether an item's time is not what it shall be. Sources keep
// whole seconds.
func (w *want) aged() bool {
	return w.live == nil || !w.Modified.IsZero() && !sameSecond(w.live.Modified, w.Modified)
}

func sameSecond(a, b time.Time) bool {
	return a.Truncate(time.Second).Equal(b.Truncate(time.Second))
}

// A difference is one item that is not as the point says.
type difference struct {
	path string
	what string
	want *want         // nil of what shall not be at all
	live backup.ItemID // of what shall not be at all
	lost bool          // the vault cannot tell what it is
}

// differs says how an item is not as it shall be, if it is not.
func (p *plan) differs(w *want) (difference, bool) {
	d := difference{path: w.Path, want: w}
	switch {
	case w.live == nil:
		d.what = "It is missing."
	case p.misplaced(w):
		d.what = fmt.Sprintf("It has another name or place, as %q.", cmp.Or(w.live.Path, w.live.Name))
	case w.stale():
		d.what = "Its content is not that of the restore point."
	case w.aged():
		d.what = "Its modification time is not that of the restore point."
	}
	return d, d.what != ""
}

// beside is the difference that a live item makes which shall not be.
func beside(live *vault.Node) difference {
	return difference{path: live.Path, what: "It is not in the restore point and could not be moved to the recycle bin.", live: live.ID}
}

// differences lists what is not as it shall be; with exact, also what shall
// not be at all and does not stay for a reason. What is simple is not among them.
func (p *plan) differences(exact bool) []difference {
	var all []difference
	for _, w := range p.wants {
		if d, ok := p.differs(w); ok {
			all = append(all, d)
		}
	}
	if exact {
		for id, live := range p.extra {
			if p.kept[id] == "" && !p.holding[id] {
				all = append(all, beside(live))
			}
		}
	}
	for _, d := range p.lost {
		all = append(all, difference{path: path.Join(d.Path, "*"), what: "What this folder held is damaged in the vault, and was not restored.", lost: true})
	}
	slices.SortFunc(all, func(a, b difference) int { return strings.Compare(a.path, b.path) })
	return all
}
