package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// progressEvery is how often a long restore says how far it is.
const progressEvery = 10 * time.Second

// A change carries a plan out, once. What cannot be done is noted and left to
// the next pass, which looks at the drive anew: a name that was taken
// meanwhile, an item that changed, a file that is open.
type change struct {
	*restoration
	*plan

	// Guarded by the restoration's mu.
	failures map[string]error          // by path
	touched  map[backup.ItemID]bool    // live folders whose times the writes below them may have moved
	fresh    map[backup.ItemID]bool    // those that this pass has made; false as long as they lack their times
	stays    map[backup.ItemID]staying // what was found in folders that were to go, and stays
	holds    map[backup.ItemID]bool    // those folders
	left     map[string]bool           // paths that are not done yet
	simple   int                       // how many simple items are not done yet
	total    int
	said     time.Time
	alone    bool // the source opens no sessions ahead
	single   bool // the source makes each folder by itself
}

func newChange(r *restoration, p *plan, left []difference, more int) *change {
	c := &change{
		restoration: r, plan: p, failures: map[string]error{}, touched: map[backup.ItemID]bool{}, fresh: map[backup.ItemID]bool{},
		stays: map[backup.ItemID]staying{}, holds: map[backup.ItemID]bool{}, left: make(map[string]bool, len(left)),
	}
	for _, d := range left {
		c.left[d.path] = true
	}
	c.simple = p.simple()
	c.total = len(c.left) + more
	return c
}

// failure is why a difference is left after the pass c, which may be nil.
func (c *change) failure(d difference) error {
	if c == nil {
		return nil
	}
	return c.failures[d.path]
}

// leftAlone reports whether a difference is a folder that was to go and that
// the pass c, which may be nil, found to hold what stays.
func (c *change) leftAlone(d difference) bool {
	return c != nil && d.live != "" && c.holds[d.live]
}

// A staying item was found in a live folder that was to go, or is that folder.
type staying struct {
	in   *vault.Node
	id   backup.ItemID // "" if the source told none
	name string        // "" of the folder itself
	why  string
	at   string // its path when the pass ended
}

// found is what the pass c, which may be nil, left alone and p does not keep by
// itself.
func (c *change) found(p *plan) (all []backup.Detail) {
	if c == nil {
		return nil
	}
	for key, s := range c.stays {
		if p.kept[key] == "" {
			all = append(all, c.restoration.stays(&vault.Node{Entry: vault.Entry{ID: s.id, Name: path.Base(s.at)}, Path: s.at}, s.why))
		}
	}
	return all
}

// locate notes where what the pass left alone is, as long as there is the plan that
// tells it.
func (c *change) locate(ctx context.Context) {
	if len(c.stays) == 0 {
		return
	}
	places := map[backup.ItemID]string{}
	tree, err := c.vault.Tree(ctx, c.point.Tree)
	if err != nil {
		tree = nil
	}
	defer tree.Close()
	where := c.whereIs(ctx, tree)
	for key, s := range c.stays {
		in, known := places[s.in.ID]
		if !known {
			in = where(s.in)
			places[s.in.ID] = in
		}
		s.at = path.Join(in, s.name)
		c.stays[key] = s
	}
}

// whereIs returns what tells the path that a live item has now: since it was surveyed,
// the restore itself may have moved a folder that it is in, or given it another name. The
// tree is the point's, or nil if it cannot be read.
func (c *change) whereIs(ctx context.Context, tree *vault.Tree) func(*vault.Node) string {
	node := func(id backup.ItemID) *vault.Node {
		if w := c.taken[id]; w != nil {
			return w.live
		}
		if live := c.lives[id]; live != nil || tree == nil {
			return live
		}
		// The same in both, or nothing that anybody knows.
		if same, ok, err := tree.Node(ctx, id); err == nil && ok {
			return &same
		}
		return nil
	}
	return func(live *vault.Node) string {
		var names []string
		met := map[backup.ItemID]bool{}
		for n := live; n.Parent != ""; {
			names = append(names, n.Name)
			met[n.ID] = true
			if n = node(n.Parent); n == nil || met[n.ID] {
				return live.Path
			}
		}
		slices.Reverse(names)
		return path.Join(names...)
	}
}

// stays says of a live item that it was left alone.
func (r *restoration) stays(live *vault.Node, why string) backup.Detail {
	d := backup.Detail{Code: backup.LeftAsItIs, Message: "It is not in the restore point and was left as it is. " + why, Target: live.Path}
	if name, ok := r.aside[live.ID]; ok && name != live.Name {
		d.Message = fmt.Sprintf("It is not in the restore point and was left there, but for its name: it was %q, which another item has now. %s", name, why)
	}
	return d
}

// apply does, in this order, what makes each step possible: it frees the names
// that are needed, makes and moves folders from the top down, brings files
// back, deletes what shall not be, gives back names that were not needed in
// the end, and sets the times of folders, which all the rest would have moved.
func (c *change) apply(ctx context.Context) error {
	c.said = c.e.Clock()
	for _, step := range []func(context.Context) error{c.freeNames, c.folders, c.files, c.deletes, c.namesBack, c.folderTimes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	c.locate(ctx)
	return nil
}

// each does one step for every item, several at a time.
func each[T any](ctx context.Context, c *change, items []T, do func(context.Context, T) error) error {
	group, inGroup := newGroup(ctx)
	group.SetLimit(c.e.Transfers)
	for _, item := range items {
		if inGroup.Err() != nil {
			break
		}
		group.Go(func() error { return do(inGroup, item) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// outcome takes the result of a step on one item. It returns only what must
// end the restore.
func (c *change) outcome(ctx context.Context, n vault.Node, err error) error {
	if err != nil {
		if err := c.oneFile(ctx, n, err); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failures[n.Path] = err
	}
	c.did(ctx, n.Path)
	return nil
}

// did counts what is done with, well or not, and says now and then how far a
// long restore is. Callers hold mu.
func (c *change) did(ctx context.Context, path string) {
	delete(c.left, path)
	if now := c.e.Clock(); now.Sub(c.said) >= progressEvery {
		c.said = now
		c.e.Log.InfoContext(ctx, "restore under way", "tenant", c.job.Tenant, "owner", who(c.unit), "done", max(c.total-len(c.left)-c.simple, 0), "of", c.total)
	}
}

func (c *change) touch(folders ...backup.ItemID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range folders {
		c.touched[id] = true
	}
}

// freeNames moves aside what has a name that another item shall have: a file
// that is to go goes at once; what stays, or is a folder, takes another name
// until its turn comes, which is noted before.
func (c *change) freeNames(ctx context.Context) error {
	all := c.blocked()
	if err := c.noteAside(ctx, all); err != nil {
		return err
	}
	for _, b := range all {
		do := c.moveAside
		if c.mayGo(b.by) {
			do = c.remove
		}
		err := do(ctx, b.by)
		c.touch(c.liveID(b.want.Parent))
		if err != nil {
			if err := c.oneFile(ctx, b.want.Node, err); err != nil {
				return err
			}
			c.failures[b.want.Path] = err
		}
	}
	return nil
}

// A blocked item is one whose name another has.
type blocked struct {
	want *want
	by   *vault.Node
}

func (c *change) blocked() (all []blocked) {
	occupied := make(map[place]*vault.Node, len(c.lives))
	for _, live := range c.lives {
		occupied[placeOf(live.Entry)] = live
	}
	for _, w := range c.wants {
		if !c.misplaced(w) {
			continue
		}
		at := place{c.liveID(w.Parent), fold(w.name())}
		by := occupied[at]
		if at.parent == "" || by == nil || by.ID == w.id() {
			continue
		}
		if other := c.taken[by.ID]; other == nil && !c.exact || other != nil && !c.misplaced(other) {
			continue // it is not ours to move, or is where it shall be
		}
		delete(occupied, at)
		all = append(all, blocked{w, by})
	}
	return all
}

// mayGo reports whether a live item in the way is a file that is to go.
func (c *change) mayGo(live *vault.Node) bool {
	return c.extra[live.ID] != nil && live.Kind == backup.File && c.kept[live.ID] == ""
}

// noteAside notes what will have been moved aside, with what was before and does
// not have its name back, should this be the last that is heard of the restore.
func (c *change) noteAside(ctx context.Context, all []blocked) error {
	noted := c.stillAside()
	was := len(noted)
	for _, b := range all {
		if !c.mayGo(b.by) {
			noted = append(noted, backup.Detail{Code: backup.LeftAsItIs, Target: b.by.Path,
				Message: fmt.Sprintf("It may have been moved aside for another item, and then has the name %q.", asideName(b.by.Entry))})
		}
	}
	if c.note == nil || len(noted) == was {
		return nil
	}
	return c.note(ctx, noted[:min(len(noted), maxDetails)])
}

func (c *change) moveAside(ctx context.Context, live *vault.Node) error {
	name := asideName(live.Entry)
	_, err := c.source.Patch(ctx, live.ID, drive.Patch{Name: name, Times: datesOf(live.Entry)})
	if err != nil {
		return err
	}
	if _, ok := c.aside[live.ID]; !ok {
		c.aside[live.ID] = live.Name
	}
	live.Name, live.Path = name, path.Join(path.Dir(live.Path), name)
	return nil
}

// namesBack gives what was moved aside and stays its own name, if that is free
// after all. What shall be in the drive has had its turn.
func (c *change) namesBack(ctx context.Context) error {
	for id, name := range c.aside {
		live := c.lives[id]
		if live == nil || live.Name == name || c.taken[id] != nil && c.failures[c.taken[id].Path] == nil {
			continue
		}
		is, err := c.source.Item(ctx, id)
		if err == nil && is.Name != live.Name {
			continue // somebody has named it meanwhile
		}
		if err == nil {
			_, err = c.source.Patch(ctx, id, drive.Patch{Name: name, Times: datesOf(live.Entry), IfMatch: is.ETag})
		}
		if errors.Is(err, drive.ErrExists) || errors.Is(err, drive.ErrNotFound) || errors.Is(err, drive.ErrChanged) {
			continue // it is named as what it is now
		}
		if err != nil {
			if err := c.sourceAway(ctx, err); err != nil {
				return err
			}
			continue
		}
		live.Name, live.Path = name, path.Join(path.Dir(live.Path), name)
	}
	return nil
}

// datesOf are the times that an item has and that a rename would change.
func datesOf(e vault.Entry) *drive.Times {
	return &drive.Times{Created: e.Created, Modified: e.Modified}
}

// maxAside is how much of its name an item keeps while another takes it.
const maxAside = 120

// asideName is a name that an item has while another takes its own.
func asideName(n vault.Entry) string {
	runes := []rune(n.Name)
	return string(runes[:min(len(runes), maxAside)]) + asideMark(n.ID)
}

// asideMark is how the name ends of an item that was moved aside. It follows from
// the item's id, so that no other name ends so.
func asideMark(id backup.ItemID) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return fmt.Sprintf(" (moved aside %08x)", h.Sum32())
}

// recall finds the live items that a restore has moved aside and, since it was
// killed, forgotten, and what their names were.
func (r *restoration) recall(ctx context.Context, p *plan) error {
	for id, live := range p.lives {
		if _, known := r.aside[id]; known || !strings.HasSuffix(live.Name, asideMark(id)) {
			continue
		}
		name := strings.TrimSuffix(live.Name, asideMark(id))
		whole := len([]rune(name)) < maxAside // else it may be but the beginning
		was, there, err := r.earlier(ctx, id)
		if err != nil {
			return err
		}
		if !there && !whole {
			unread, err := r.vault.Unread(ctx, r.before)
			if err != nil {
				return err
			}
			for _, u := range unread {
				if u.Item == id {
					was = vault.Entry{ID: id, Name: path.Base(u.Path)}
				}
			}
		}
		switch {
		case asideName(was) == live.Name:
			name = was.Name
		case !whole:
			continue
		}
		r.aside[id] = name
	}
	return nil
}

// giveBack gives what was moved aside its name back before a restore that failed
// comes to its end, and returns what has another name still.
func (c *change) giveBack(ctx context.Context) []backup.Detail {
	if err := c.namesBack(ctx); err != nil {
		c.e.Log.WarnContext(ctx, "what was moved aside could not be given its name back", "tenant", c.job.Tenant, "owner", who(c.unit), "err", err)
	}
	left := c.stillAside()
	return left[:min(len(left), maxDetails)]
}

// stillAside names what was moved aside and has not its own name again.
func (c *change) stillAside() (all []backup.Detail) {
	for id, name := range c.aside {
		live := c.lives[id]
		if w := c.taken[id]; w != nil {
			live = w.live
		}
		if live != nil && live.Name != name && strings.HasSuffix(live.Name, asideMark(id)) {
			all = append(all, backup.Detail{Code: backup.LeftAsItIs, Target: live.Path,
				Message: fmt.Sprintf("It was moved aside for another item, and could not be given its name back, which was %q.", name)})
		}
	}
	slices.SortFunc(all, func(a, b backup.Detail) int { return strings.Compare(a.Target, b.Target) })
	return all
}

// folders makes the folders that are missing and moves the others to their
// places, from the top down, so that each goes into one that is in place. Those that are
// but missing come first: none of them is in one of the others.
func (c *change) folders(ctx context.Context) error {
	err := c.eachFolder(filesAtOnce, func(ws []*want) error {
		return each(ctx, c, folderBunches(ws), c.foldersOf)
	})
	if err != nil {
		return err
	}
	byDepth := map[int][]*want{}
	for _, w := range c.wants {
		if w.Kind == backup.Folder && c.misplaced(w) {
			byDepth[depth(w.Path)] = append(byDepth[depth(w.Path)], w)
		}
	}
	levels := make([]int, 0, len(byDepth))
	for level := range byDepth {
		levels = append(levels, level)
	}
	slices.Sort(levels)
	for _, level := range levels {
		err := twinsLast(byDepth[level], func(ws []*want) error {
			return each(ctx, c, folderBunches(ws), c.foldersOf)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// folderBunches puts folders together that are to be made; others are alone.
func folderBunches(ws []*want) (all [][]*want) {
	var made []*want
	for _, w := range ws {
		if w.live == nil && w.other == "" {
			made = append(made, w)
		} else {
			all = append(all, []*want{w})
		}
	}
	return slices.AppendSeq(all, slices.Chunk(made, drive.MaxAhead))
}

// foldersOf makes, or moves, the folders of a bunch.
func (c *change) foldersOf(ctx context.Context, ws []*want) error {
	left := ws
	c.mu.Lock()
	single := c.single
	c.mu.Unlock()
	if len(ws) > 1 && !single {
		left = c.makeFolders(ctx, ws)
	}
	for _, w := range ws {
		var err error
		if slices.Contains(left, w) {
			err = c.folder(ctx, w)
		}
		if err := c.brought(ctx, w, err); err != nil {
			return err
		}
	}
	return nil
}

// makeFolders makes folders together, as far as the source does so, and returns those
// that are left.
func (c *change) makeFolders(ctx context.Context, ws []*want) (left []*want) {
	var some []*want
	var asked []drive.NewItem
	for _, w := range ws {
		if parent := c.liveID(w.Parent); parent != "" {
			some, asked = append(some, w), append(asked, drive.NewItem{Parent: parent, Name: w.name(), Times: timesOf(w)})
		} else {
			left = append(left, w)
		}
	}
	if len(some) == 0 {
		return left
	}
	made, ok := c.source.MakeFolders(ctx, asked)
	if !ok {
		c.mu.Lock()
		c.single = true
		c.mu.Unlock()
	}
	for i, w := range some {
		if w.unclear = made[i].Unclear; made[i].OK {
			c.folderMade(w, made[i].Item)
		} else {
			left = append(left, w)
		}
	}
	return left
}

// folderMade notes that a folder was made. Its times are for folderTimes, unless it has them.
func (c *change) folderMade(w *want, item drive.Item) {
	c.touch(c.liveID(w.Parent))
	c.settled(w, item)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh[item.ID] = timesOf(w).Fits(item)
}

// twinsLast does first those whose names are their own in any case, and then
// those that may have to take another: else they would take a name from each
// other.
func twinsLast(all []*want, do func([]*want) error) error {
	var first, last []*want
	for _, w := range all {
		if w.other == "" {
			first = append(first, w)
		} else {
			last = append(last, w)
		}
	}
	if err := do(first); err != nil {
		return err
	}
	return do(last)
}

// named does what gives w its name, and does it once more with the other name
// if the source takes its own for a twin's.
func (c *change) named(w *want, do func(name string) error) error {
	err := do(w.name())
	if w.other == "" || w.refused || !nameTaken(err) {
		return err
	}
	w.refused = true
	c.mu.Lock()
	c.refused[w.ID] = true
	c.mu.Unlock()
	return do(w.name())
}

// errNoParent: the folder that an item belongs into could not be made.
var errNoParent = fmt.Errorf("its folder is missing: %w", drive.ErrNotFound)

func (c *change) folder(ctx context.Context, w *want) error {
	parent := c.liveID(w.Parent)
	if parent == "" {
		return errNoParent
	}
	if w.live != nil {
		return c.move(ctx, w, false)
	}
	return c.named(w, func(name string) error {
		item, err := c.source.CreateFolder(ctx, drive.NewItem{Parent: parent, Name: name, Times: timesOf(w), Unclear: w.unclear})
		if err == nil {
			c.folderMade(w, item)
		}
		return err
	})
}

func timesOf(w *want) drive.Times { return drive.Times{Created: w.Created, Modified: w.Modified} }

// settled notes that an item is in its place.
func (c *change) settled(w *want, item drive.Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if item.ID != w.ID || w.simple && w.Kind == backup.Folder { // nothing else says that it is there
		c.deeds.makes(w.ID, item.ID)
	}
	if w.Kind == backup.File && !c.exact || w.simple {
		return // nothing else in this pass has to do with it
	}
	entry := entryOf(item, w.Kind)
	entry.Parent = c.liveID(w.Parent)
	w.live = &vault.Node{Entry: entry, Path: w.Path}
	c.taken[item.ID] = w
}

// move gives an item its name and its parent, and its times unless an upload
// that follows brings them.
func (c *change) move(ctx context.Context, w *want, stale bool) error {
	var patch drive.Patch
	if !stale {
		times := timesOf(w)
		patch.Times = &times
	}
	parent := c.liveID(w.Parent)
	if w.live.Parent != parent {
		patch.Parent = parent
	}
	c.touch(w.live.Parent, parent)
	return c.named(w, func(name string) error {
		patch.Name = ""
		if w.live.Name != name {
			patch.Name = name
		}
		item, err := c.source.Patch(ctx, w.live.ID, patch)
		if err != nil {
			return err
		}
		c.settled(w, item)
		return nil
	})
}

// files brings files back: those that only moved by a change of name, place or
// times, the others by an upload, onto the same item where it is still there.
func (c *change) files(ctx context.Context) error {
	var files []*want
	for _, w := range c.wants {
		if w.Kind == backup.File && (c.misplaced(w) || w.stale() || w.aged()) {
			files = append(files, w)
		}
	}
	bring := func(ws []*want) error { return c.bring(ctx, ws) }
	if err := c.eachStep(filesAtOnce, bring); err != nil {
		return err
	}
	return twinsLast(files, bring)
}

// filesAtOnce is how many simple files are in memory, and brought back in the order in
// which their contents lie.
const filesAtOnce = 10_000

// bring brings files back. Those whose earlier upload is still open at the source,
// as a killed process leaves it, are tried again when all others have had their
// turn, as long as such an upload may be: together, and once in a restore.
func (c *change) bring(ctx context.Context, files []*want) error {
	reading, files := c.inOrder(ctx, files)
	for wait := 2 * time.Second; ; wait = min(2*wait, time.Minute) {
		err := each(reading, c, c.bunches(files), c.bunch)
		files = slices.DeleteFunc(slices.Clone(files), func(w *want) bool { return !errors.Is(c.failures[w.Path], drive.ErrUploading) })
		if err != nil || len(files) == 0 || c.waited+wait > drive.SessionLife {
			return err
		}
		c.waited += wait
		c.e.Log.InfoContext(ctx, "earlier uploads are still open at the source, their end is waited for", "tenant", c.job.Tenant, "owner", who(c.unit), "files", len(files), "in", wait)
		if err := c.e.Sleep(ctx, wait); err != nil {
			return err
		}
		for _, w := range files {
			delete(c.failures, w.Path)
		}
	}
}

// inOrder returns files in the order in which their contents are in the vault, and a
// context in which they are read in that order.
func (c *change) inOrder(ctx context.Context, files []*want) (context.Context, []*want) {
	if len(files) < aheadFrom {
		return ctx, files
	}
	contents := make([]string, len(files))
	for i, w := range files {
		contents[i] = w.Content
	}
	s := c.vault.Sequence(ctx, contents)
	sorted := make([]*want, len(files))
	for i, at := range s.Order {
		sorted[i] = files[at]
	}
	return s.Reading(ctx), sorted
}

const (
	// aheadFrom is from how many files on they are brought back in bunches. For few it
	// is no gain, and a bunch is brought back by one worker.
	aheadFrom = 100
	// bunchBytes is how much the files of a bunch hold together whose sessions are
	// opened at once: a session has a quarter of an hour until its upload begins.
	bunchBytes = 4 << 20
)

// bunches puts files together: small ones that are to be made, and small ones that are
// to be written over, which are written in one request, and others that are to be made,
// whose upload sessions are opened in one. All else is alone.
func (c *change) bunches(files []*want) (all [][]*want) {
	type bunch struct {
		files []*want
		size  int64
		most  int64
	}
	small, over, larger := &bunch{most: drive.MaxTogether}, &bunch{most: drive.MaxTogether}, &bunch{most: bunchBytes}
	for _, w := range files {
		b := larger
		switch isSmall := w.Size <= drive.MaxSmall; {
		case len(files) >= aheadFrom && isSmall && c.writesOver(w):
			b = over
		case len(files) < aheadFrom, w.live != nil, w.Size == 0, w.Size > bunchBytes:
			all = append(all, []*want{w})
			continue
		case isSmall:
			b = small
		}
		if b.size += w.Size; b.size > b.most || len(b.files) == drive.MaxAhead {
			all, b.files, b.size = append(all, b.files), nil, w.Size
		}
		b.files = append(b.files, w)
	}
	for _, last := range []*bunch{small, over, larger} {
		if len(last.files) > 0 {
			all = append(all, last.files)
		}
	}
	return all
}

// writesOver reports whether nothing but the content of a live file, its times and
// perhaps its name is another than it shall be, and the vault holds what it is now.
func (c *change) writesOver(w *want) bool {
	return c.exact && w.live != nil && w.live.CTag != "" && w.other == "" && w.Size > 0 && w.stale() &&
		w.live.Parent == c.liveID(w.Parent) && c.unsaved[w.live.ID] == ""
}

// bunch brings back the files of a bunch.
func (c *change) bunch(ctx context.Context, files []*want) error {
	if len(files) > 1 {
		var err error
		if files, err = c.together(ctx, files); err != nil {
			return err
		}
		defer c.openAhead(ctx, files)()
	}
	for _, w := range files {
		if err := c.brought(ctx, w, c.file(ctx, w)); err != nil {
			return err
		}
	}
	return nil
}

// brought takes the result of bringing an item back.
func (c *change) brought(ctx context.Context, w *want, err error) error {
	if w.simple && !w.counted { // it may be tried again
		w.counted = true
		c.lessSimple()
	}
	return c.outcome(ctx, w.Node, err)
}

// lessSimple counts a simple item as done with.
func (c *change) lessSimple() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.simple--
}

// together writes the small ones of some files together, as far as the source does
// so, and returns those that are left.
func (c *change) together(ctx context.Context, files []*want) (left []*want, err error) {
	if c.mu.Lock(); c.room.known {
		c.mu.Unlock()
		return files, nil
	}
	c.mu.Unlock()
	var small []*want
	var asked []drive.SmallFile
	for _, w := range files {
		parent := c.liveID(w.Parent)
		if (w.live == nil || c.writesOver(w)) && parent != "" && w.Size <= drive.MaxSmall {
			if b := c.held(ctx, w); b != nil {
				f := drive.SmallFile{NewItem: drive.NewItem{Parent: parent, Name: w.name(), Times: timesOf(w)}, Content: b}
				if w.live != nil {
					f.Over = &drive.Over{ID: w.live.ID, Name: w.live.Name, Tag: w.live.CTag}
				}
				small, asked = append(small, w), append(asked, f)
				c.touch(parent)
				continue
			}
		}
		left = append(left, w)
	}
	if len(small) < 2 {
		return files, nil
	}
	written := c.writeTogether(ctx, asked)
	if written == nil {
		return files, nil
	}
	for i, w := range small {
		if w.unclear = written[i].Unclear; !written[i].OK {
			left = append(left, w)
			continue
		}
		c.landed(w, written[i].Item)
		if err := c.brought(ctx, w, nil); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// writeTogether writes small files together, all new or all over others, or returns nil
// where the source does not do so well. That is found out with the first of them, while
// others wait.
func (c *change) writeTogether(ctx context.Context, files []drive.SmallFile) []drive.Written {
	over := files[0].Over
	trial := &c.making
	if over != nil {
		trial = &c.writing
	}
	trial.Lock()
	if trial.made {
		trial.Unlock()
		if trial.failed {
			return nil
		}
		written, _ := c.source.WriteTogether(ctx, files)
		return written
	}
	defer trial.Unlock()
	before := 0
	if over != nil {
		if before = c.source.CountVersions(ctx, over.ID); before < 0 || !c.source.Guards(ctx, files[0]) {
			trial.made, trial.failed = ctx.Err() == nil, true
			return nil
		}
	}
	written, ok := c.source.WriteTogether(ctx, files)
	if ctx.Err() != nil {
		return written
	}
	trial.made, trial.failed = true, !ok
	switch i := slices.IndexFunc(written, func(w drive.Written) bool { return w.OK }); {
	case i < 0:
	case over != nil && i > 0:
		trial.made = false // it is not known how many versions that one had
	default:
		trial.failed = c.source.CountVersions(ctx, written[i].Item.ID) != before+1
	}
	return written
}

// held returns a small file's content, or nil: who brings it back by itself finds out
// why it cannot be read.
func (c *change) held(ctx context.Context, w *want) []byte {
	c.mu.Lock()
	_, bad := c.damaged[w.Content]
	c.mu.Unlock()
	if bad || w.Size <= 0 {
		return nil
	}
	content, err := c.vault.Open(ctx, w.Content)
	if err != nil {
		return nil
	}
	defer content.Close()
	if content.Size() != w.Size {
		return nil
	}
	return content.Held(0, w.Size)
}

// openAhead opens upload sessions for files, as far as the source does so. Those that
// are not used are closed by done.
func (c *change) openAhead(ctx context.Context, files []*want) (done func()) {
	var some []*want
	var asked []drive.NewItem
	c.mu.Lock()
	alone := c.alone
	c.mu.Unlock()
	for _, w := range files {
		if parent := c.liveID(w.Parent); !alone && parent != "" && w.live == nil && !w.unclear {
			some = append(some, w)
			asked = append(asked, drive.NewItem{Parent: parent, Name: w.name(), Times: timesOf(w)})
		}
	}
	if len(some) == 0 {
		return func() {}
	}
	sessions, ok := c.source.OpenAhead(ctx, asked)
	opened := 0
	for i, s := range sessions {
		if some[i].ahead = s; s != nil {
			opened++
		}
	}
	if !ok || opened == 0 {
		c.mu.Lock()
		c.alone = true
		c.mu.Unlock()
	}
	return func() {
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		for _, s := range sessions {
			s.Close(ctx)
		}
	}
}

// errUnsaved: the vault does not hold a file's present content, so that nothing
// is written over it.
var errUnsaved = fmt.Errorf("its present content is in no point: %w", drive.ErrChanged)

// errNotOurs: what has a file's name in another place than the point's own was
// not written by the restore, or not last.
var errNotOurs = fmt.Errorf("what is there by its name is somebody else's: %w", drive.ErrExists)

func (c *change) file(ctx context.Context, w *want) error {
	if c.liveID(w.Parent) == "" {
		return errNoParent
	}
	if w.live == nil {
		return c.named(w, func(name string) error {
			return c.upload(ctx, w, drive.Target{Parent: c.liveID(w.Parent), Name: name, Session: w.ahead, Unclear: w.unclear})
		})
	}
	stale, seen := w.stale(), *w.live
	if !c.exact && stale && !c.ours(w) {
		return errNotOurs
	}
	unsaved := c.unsaved[w.live.ID] != ""
	if c.misplaced(w) || !stale {
		if err := c.move(ctx, w, stale && !unsaved); err != nil {
			return err
		}
	}
	switch {
	case !stale:
		return nil
	case unsaved:
		return errUnsaved
	}
	// The content is replaced only while it is the one that was backed up: what
	// has changed since is for the next pass, which backs it up first.
	target := drive.Target{Item: w.live.ID, IfMatch: seen.CTag}
	for try := 1; ; try++ {
		if target.IfMatch == "" || try > 1 {
			item, err := c.source.Item(ctx, target.Item)
			if err != nil {
				return err
			}
			if !stillHolds(item, seen.Entry) && (seen.Hash == "" || item.Hash != seen.Hash || item.Size != seen.Size) {
				return fmt.Errorf("%w: item %s", drive.ErrChanged, w.live.ID)
			}
			target.IfMatch = cmp.Or(item.ETag, item.CTag)
		}
		err := c.upload(ctx, w, target)
		if !errors.Is(err, drive.ErrChanged) || try == maxTries {
			return err
		}
	}
}

func (c *change) upload(ctx context.Context, w *want, to drive.Target) error {
	c.mu.Lock()
	known, bad := c.damaged[w.Content]
	full := c.room.known && w.Size > c.room.most
	c.mu.Unlock()
	switch {
	case bad:
		return known.err
	case full:
		return errNoRoom
	}
	var body io.ReaderAt = bytes.NewReader(nil)
	if w.Size > 0 {
		content, err := c.vault.Open(ctx, w.Content)
		if err != nil {
			return err
		}
		defer content.Close()
		body = content
	}
	c.touch(c.liveID(w.Parent))
	item, err := c.source.Upload(ctx, to, body, w.Size, timesOf(w))
	if err != nil {
		return err
	}
	c.landed(w, item)
	return nil
}

// landed notes that a file's content was written.
func (c *change) landed(w *want, item drive.Item) {
	c.settled(w, item)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read++
	c.room.took(w.Size)
	delete(c.proven, item.ID)
	var seed *vault.Entry
	if c.exact && item.Size == w.Size && item.Hash != "" && item.Hash == w.StoredHash() { // else no backup follows
		seed = new(entryOf(item, backup.File))
		seed.Content = w.Content
	}
	c.deeds.sends(item.ID, seed)
}

// deletes moves what shall not be to the recycle bin. A folder takes with it
// all that it holds; one that still holds something wanted, which could not be
// moved out, stays for the next pass.
func (c *change) deletes(ctx context.Context) error {
	if !c.exact {
		return nil
	}
	needed := map[backup.ItemID]bool{}
	for _, w := range c.wants {
		if w.live == nil {
			continue
		}
		for id := w.live.Parent; c.extra[id] != nil && !needed[id]; id = c.extra[id].Parent {
			needed[id] = true
		}
	}
	stays := func(id backup.ItemID) bool { return needed[id] || c.holding[id] || c.kept[id] != "" }
	var tops []*vault.Node
	for id, live := range c.extra {
		if !stays(id) && (c.extra[live.Parent] == nil || stays(live.Parent)) {
			tops = append(tops, live)
		}
	}
	slices.SortFunc(tops, func(a, b *vault.Node) int { return cmp.Compare(a.Path, b.Path) })
	err := each(ctx, c, tops, func(ctx context.Context, live *vault.Node) error {
		return c.outcome(ctx, *live, c.clear(ctx, live))
	})
	if err != nil {
		return err
	}
	return c.eachGone(filesAtOnce, func(lives []*vault.Node) error {
		return each(ctx, c, slices.Collect(slices.Chunk(lives, drive.MaxAhead)), c.removeAll)
	})
}

// removeAll moves files to the recycle bin.
func (c *change) removeAll(ctx context.Context, lives []*vault.Node) error {
	gone := c.removeTogether(ctx, lives)
	for _, live := range lives {
		var err error
		if c.lessSimple(); gone[live] {
			c.removed(ctx, live)
		} else {
			err = c.remove(ctx, live)
		}
		if err := c.outcome(ctx, *live, err); err != nil {
			return err
		}
	}
	return nil
}

// removeTogether moves files to the recycle bin in one request, as far as the source does
// so and spares what has changed, and returns those that it said are gone.
func (c *change) removeTogether(ctx context.Context, lives []*vault.Node) (gone map[*vault.Node]bool) {
	var some []*vault.Node
	var asked []drive.Doomed
	for _, live := range lives {
		if live.CTag != "" {
			some, asked = append(some, live), append(asked, drive.Doomed{ID: live.ID, Tag: live.CTag})
		}
	}
	if len(some) < 2 || !c.guardsDeletes(ctx, some[0]) {
		return nil
	}
	gone = make(map[*vault.Node]bool, len(some))
	for i, done := range c.source.DeleteItems(ctx, asked) {
		gone[some[i]] = done
	}
	return gone
}

// guardsDeletes finds out once, by a file that is to go, whether the source deletes files
// together only under their tags. Should it delete the file under another, that was what
// it is taken for a moment before.
func (c *change) guardsDeletes(ctx context.Context, live *vault.Node) bool {
	trial := &c.binning
	trial.Lock()
	defer trial.Unlock()
	if !trial.made {
		item, err := c.source.Item(ctx, live.ID)
		if err != nil || !stillHolds(item, live.Entry) {
			return false
		}
		guards := c.source.GuardsDeletes(ctx, drive.Doomed{ID: live.ID, Tag: live.CTag})
		if ctx.Err() != nil {
			return false
		}
		trial.made, trial.failed = true, !guards
	}
	return !trial.failed
}

// clear moves an item that shall not be to the recycle bin. What is in a folder
// may have changed since it was backed up: it is listed at the last moment, and
// what the backup did not see stays, with the folders that it is in.
func (c *change) clear(ctx context.Context, live *vault.Node) error {
	if live.Kind == backup.File {
		return c.remove(ctx, live)
	}
	seen := map[backup.ItemID][]*vault.Node{} // what each folder that must stay holds, and need not
	if whole, err := c.inspect(ctx, live, seen, map[backup.ItemID]bool{live.ID: true}); err != nil {
		return err
	} else if whole {
		return c.remove(ctx, live)
	}
	return c.thin(ctx, live, seen)
}

// inspect reports whether all that a live folder holds may go. If not, it says
// in seen what of it may. What has been listed below the folder that is to be
// cleared is in met: an item that is in two folders, or in itself, is in neither
// for sure.
func (c *change) inspect(ctx context.Context, folder *vault.Node, seen map[backup.ItemID][]*vault.Node, met map[backup.ItemID]bool) (bool, error) {
	whole := true
	is, err := c.source.Item(ctx, folder.ID)
	if err != nil {
		return false, err // if it is gone by itself, the next pass does not see it
	}
	folder.CTag = cmp.Or(is.CTag, is.ETag) // what changes it from now on stops its deletion
	var inside []*vault.Node
	sure, listed := is.Kind == backup.Folder, map[backup.ItemID]bool{}
	for item, err := range c.source.Children(ctx, folder.ID) {
		if err != nil {
			return false, err
		}
		if listed[item.ID] {
			continue // pages may tell the same twice, and something else then never
		}
		listed[item.ID] = true
		sure = sure && item.Parent == folder.ID && !met[item.ID]
		known, why := c.verdict(item)
		switch {
		case known == nil:
			whole = false
			c.hold(staying{in: folder, id: item.ID, name: item.Name, why: why})
		case !met[item.ID]:
			inside = append(inside, known)
		}
		met[item.ID] = true
	}
	if !sure || is.ChildCount < 0 || len(listed) < is.ChildCount {
		whole = false
		c.hold(staying{in: folder, id: folder.ID, why: "The source does not say for sure what is in it."})
	}
	for _, n := range inside {
		if n.Kind == backup.Folder {
			all, err := c.inspect(ctx, n, seen, met)
			if err != nil {
				return false, err
			}
			if !all {
				whole = false
				c.hold(staying{in: folder})
			}
		}
	}
	if !whole {
		seen[folder.ID] = inside
	}
	return whole, nil
}

// hold notes that a folder stays for what is in it, and, unless why is empty,
// that this stays.
func (c *change) hold(s staying) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds[s.in.ID] = true
	if s.why != "" {
		c.stays[cmp.Or(s.id, s.in.ID+"/"+backup.ItemID(s.name))] = s
	}
}

// verdict returns the item as the backup saw it if it may go, else why it
// stays: "" if it is something that shall be in the drive.
func (c *change) verdict(item drive.Item) (known *vault.Node, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known = c.extra[item.ID]
	switch {
	case c.taken[item.ID] != nil:
		return nil, ""
	case known == nil:
		return nil, sinceBegun
	case c.kept[item.ID] != "":
		return nil, c.kept[item.ID]
	case (known.Kind == backup.Folder) != (item.Kind == backup.Folder),
		known.Kind == backup.File && !stillHolds(item, known.Entry):
		return nil, sinceBegun
	}
	return known, ""
}

// stillHolds reports whether a live file has the content that was backed up of
// it, as e says. Where the source misstates a size, e has the true one.
func stillHolds(item drive.Item, e vault.Entry) bool {
	now := entryOf(item, backup.File)
	return sameContent(now, e) || (now.CTag == "" || e.CTag == "") && now.Hash != "" && now.Hash == e.Hash && now.Modified.Equal(e.Modified)
}

// thin moves to the recycle bin what may go of a folder that stays.
func (c *change) thin(ctx context.Context, folder *vault.Node, seen map[backup.ItemID][]*vault.Node) error {
	for _, n := range seen[folder.ID] {
		var err error
		if _, stays := seen[n.ID]; stays {
			err = c.thin(ctx, n, seen)
		} else {
			err = c.remove(ctx, n)
		}
		if err := c.outcome(ctx, *n, err); err != nil {
			return err
		}
	}
	return nil
}

// remove moves one item to the recycle bin; a file only if it is the one that
// was backed up.
func (c *change) remove(ctx context.Context, live *vault.Node) error {
	tag := live.CTag
	if live.Kind == backup.File && tag == "" {
		item, err := c.source.Item(ctx, live.ID)
		switch {
		case errors.Is(err, drive.ErrNotFound):
		case err != nil:
			return err
		case !stillHolds(item, live.Entry):
			return fmt.Errorf("%w: item %s", drive.ErrChanged, live.ID)
		}
		tag = item.ETag
	}
	err := c.source.Delete(ctx, live.ID, tag)
	if errors.Is(err, drive.ErrChanged) && live.Hash != "" {
		// Its tag is another, or never was what the source once said. Its content
		// may be the same still.
		item, lookErr := c.source.Item(ctx, live.ID)
		if lookErr == nil && item.Hash == live.Hash && item.Size == live.Size && item.ETag != "" {
			err = c.source.Delete(ctx, live.ID, item.ETag)
		}
	}
	if err != nil && !errors.Is(err, drive.ErrNotFound) {
		return err
	}
	c.removed(ctx, live)
	return nil
}

// removed notes that an item is in the recycle bin.
func (c *change) removed(ctx context.Context, live *vault.Node) {
	c.touch(live.Parent)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.extra, live.ID)
	delete(c.lives, live.ID)
	c.did(ctx, live.Path)
}

// folderTimes sets the times of folders that are in place, the deepest first. Those
// that were made have theirs; a source that has them move when something is written
// below them says so when all is listed, and the next pass sets them.
func (c *change) folderTimes(ctx context.Context) error {
	var stale []*want
	tree, err := c.vault.Tree(ctx, c.point.Tree)
	if err != nil && !(isDamage(err) && len(c.lost) > 0) {
		return err
	}
	defer tree.Close()
	for id := range c.touched {
		_, isNew := c.fresh[id]
		if tree != nil && !isNew && c.taken[id] == nil && c.byID[id] == nil && c.extra[id] == nil && c.plan.files.mark(id) != unalteredLate {
			// The same in both, until a write below it moved its time.
			wanted, ok, err := tree.Node(ctx, id)
			if isDamage(err) && len(c.lost) > 0 {
				continue
			}
			if err != nil {
				return err
			}
			if ok && wanted.Parent != "" {
				stale = append(stale, &want{Node: wanted, live: &vault.Node{Entry: wanted.Entry}})
			}
		}
	}
	// So is what an earlier pass has made, and this one passed over.
	if err := c.eachRemade(func(w *want) {
		if c.touched[w.live.ID] {
			stale = append(stale, w)
		}
	}); err != nil {
		return err
	}
	if err := c.eachFolderUp(filesAtOnce, func(ws []*want) error { return c.dateMade(ctx, ws) }); err != nil {
		return err
	}
	err = c.eachLate(filesAtOnce, func(ws []*want) error {
		return each(ctx, c, slices.Collect(slices.Chunk(ws, drive.MaxAhead)), func(ctx context.Context, ws []*want) error {
			for range ws {
				c.lessSimple()
			}
			return c.dateFolders(ctx, ws)
		})
	})
	if err != nil {
		return err
	}
	for _, w := range c.wants {
		if w.Kind == backup.Folder && w.live != nil && (w.aged() || c.undated(w) || c.touched[w.live.ID] && !c.fresh[w.live.ID]) {
			stale = append(stale, w)
		}
	}
	stale = slices.DeleteFunc(stale, func(w *want) bool { return w.Modified.IsZero() })
	slices.SortFunc(stale, func(a, b *want) int { return cmp.Compare(depth(b.Path), depth(a.Path)) })
	return each(ctx, c, slices.Collect(slices.Chunk(stale, drive.MaxAhead)), c.dateFolders)
}

// dateMade sets the times of those of some folders that this pass has made and that lack
// them.
func (c *change) dateMade(ctx context.Context, ws []*want) error {
	var stale []*want
	for _, w := range ws {
		id := c.deeds.live(w.ID)
		if w.live = (&vault.Node{Entry: vault.Entry{ID: id}}); id != "" && c.undated(w) && !w.Modified.IsZero() {
			stale = append(stale, w)
		}
	}
	return each(ctx, c, slices.Collect(slices.Chunk(stale, drive.MaxAhead)), c.dateFolders)
}

// undated reports whether a folder that this pass has made lacks its times.
func (c *change) undated(w *want) bool {
	dated, made := c.fresh[w.live.ID]
	return made && !dated
}

// dateFolders sets the times of some folders together, as far as the source does so, and of
// the others one by one. Those whose times a write may have moved are looked at before.
func (c *change) dateFolders(ctx context.Context, ws []*want) error {
	right := map[*want]bool{}
	if len(ws) > 1 {
		var touched []*want
		var ids []backup.ItemID
		var aged []*want
		for _, w := range ws {
			if w.aged() || c.undated(w) {
				aged = append(aged, w)
			} else {
				touched, ids = append(touched, w), append(ids, w.live.ID)
			}
		}
		if many, ok := c.source.(manySource); ok && len(ids) > 0 {
			for i, found := range many.Items(ctx, ids) {
				switch w := touched[i]; {
				case !found.There:
				case sameSecond(found.Item.Modified, w.Modified):
					right[w] = true
				default:
					aged = append(aged, w)
				}
			}
		}
		dates := make([]drive.Dating, len(aged))
		for i, w := range aged {
			dates[i] = drive.Dating{ID: w.live.ID, Times: timesOf(w)}
		}
		for i, done := range c.source.DateItems(ctx, dates) {
			right[aged[i]] = done
		}
	}
	for _, w := range ws {
		var err error
		if !right[w] {
			err = c.folderTime(ctx, w)
		}
		if err := c.outcome(ctx, w.Node, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) folderTime(ctx context.Context, w *want) error {
	item, err := c.source.Item(ctx, w.live.ID)
	if err != nil || sameSecond(item.Modified, w.Modified) {
		return err
	}
	times := timesOf(w)
	_, err = c.source.Patch(ctx, w.live.ID, drive.Patch{Times: &times})
	return err
}
