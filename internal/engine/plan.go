package engine

import (
	"cmp"
	"errors"
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
}

// A want is an item of the point: what it shall be, and what it is now.
type want struct {
	vault.Node
	live *vault.Node // nil when there is none
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

func newPlan() *plan {
	return &plan{
		byID: map[backup.ItemID]*want{}, taken: map[backup.ItemID]*want{},
		lives: map[backup.ItemID]*vault.Node{}, extra: map[backup.ItemID]*vault.Node{},
	}
}

func (p *plan) addLive(n vault.Node) {
	if n.Parent != "" {
		p.lives[n.ID] = &n
	}
}

func (p *plan) addWant(n vault.Node) {
	if n.Parent != "" {
		w := &want{Node: n}
		p.wants = append(p.wants, w)
		p.byID[n.ID] = w
	}
}

// addRoot says that the point's root is another drive's root here.
func (p *plan) addRoot(wanted vault.Node, live vault.Entry) {
	p.byID[wanted.ID] = &want{Node: wanted, live: &vault.Node{Entry: live}}
}

// match pairs what shall be with what is, by id and then by place.
func (p *plan) match() {
	slices.SortFunc(p.wants, func(a, b *want) int {
		return cmp.Or(cmp.Compare(depth(a.Path), depth(b.Path)), strings.Compare(a.Path, b.Path))
	})
	for _, w := range p.wants {
		if live := p.lives[w.ID]; live != nil && live.Kind == w.Kind {
			w.live = live
			p.taken[live.ID] = w
		}
	}
	free := map[place]*vault.Node{}
	for id, live := range p.lives {
		if p.taken[id] == nil {
			p.extra[id] = live
			free[placeOf(live.Entry)] = live
		}
	}
	for _, w := range p.wants {
		if w.live != nil {
			continue
		}
		parent := p.liveID(w.Parent)
		if live := free[place{parent, fold(w.Name)}]; parent != "" && live != nil && live.Kind == w.Kind {
			w.live = live
			p.taken[live.ID] = w
			delete(p.extra, live.ID)
		}
	}
}

func depth(path string) int { return strings.Count(path, "/") }

// liveID returns the live id of a folder of the point, or "" when it has none.
// A folder that is not in the plan is the same in both.
func (p *plan) liveID(id backup.ItemID) backup.ItemID {
	if w := p.byID[id]; w != nil {
		return w.id()
	}
	return id
}

// misplaced reports whether an item is not where it shall be.
func (p *plan) misplaced(w *want) bool {
	return w.live == nil || w.live.Name != w.Name || w.live.Parent != p.liveID(w.Parent)
}

// stale reports whether a file's content is not, or not surely, what it shall
// be.
func (w *want) stale() bool {
	switch {
	case w.Kind == backup.Folder:
		return false
	case w.live == nil:
		return true
	case w.live.Content != "" && w.Content != "":
		return w.live.Content != w.Content
	case w.live.Size != w.Size:
		return true
	}
	return w.Size > 0 && (w.Hash == "" || w.live.Hash != w.Hash)
}

// aged reports whether an item's time is not what it shall be. Sources keep
// whole seconds.
func (w *want) aged() bool {
	return w.live == nil || !sameSecond(w.live.Modified, w.Modified)
}

func sameSecond(a, b time.Time) bool {
	return a.Truncate(time.Second).Equal(b.Truncate(time.Second))
}

// A difference is one item that is not as the point says.
type difference struct {
	path string
	what string
}

// differences lists what is not as it shall be; with exact, also what shall
// not be at all.
func (p *plan) differences(exact bool) []difference {
	var all []difference
	for _, w := range p.wants {
		switch {
		case w.live == nil:
			all = append(all, difference{w.Path, "It is missing."})
		case p.misplaced(w):
			all = append(all, difference{w.Path, "It has another name or place."})
		case w.stale():
			all = append(all, difference{w.Path, "Its content is not that of the restore point."})
		case w.aged():
			all = append(all, difference{w.Path, "Its modification time is not that of the restore point."})
		}
	}
	if exact {
		for _, live := range p.extra {
			all = append(all, difference{live.Path, "It is not in the restore point and could not be moved to the recycle bin."})
		}
	}
	slices.SortFunc(all, func(a, b difference) int { return strings.Compare(a.path, b.path) })
	return all
}

// explain says why a difference is left.
func (d difference) explain(err error) string {
	switch {
	case errors.Is(err, drive.ErrLocked):
		return d.what + " It is open or checked out; close it and restore again."
	case errors.Is(err, drive.ErrDenied):
		return d.what + " The source refused the change; a retention label may protect the item."
	case errors.Is(err, drive.ErrExists):
		return d.what + " Something else has its name."
	case errors.Is(err, drive.ErrChanged):
		return d.what + " It was being changed all the time; restore again when nobody works on it."
	case errors.Is(err, vault.ErrNotFound), errors.Is(err, vault.ErrStorage):
		return d.what + " Its content could not be read from the vault."
	case err != nil:
		return d.what + " The source refused the change."
	}
	return d.what
}
