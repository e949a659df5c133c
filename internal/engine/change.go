package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

	mu       sync.Mutex
	failures map[string]error       // by path
	touched  map[backup.ItemID]bool // live folders whose times the writes below them may have moved
	done     int
	total    int
	said     time.Time
}

// apply does, in this order, what makes each step possible: it frees the names
// that are needed, makes and moves folders from the top down, brings files
// back, deletes what shall not be, and sets the times of folders, which all
// the rest would have moved.
func (c *change) apply(ctx context.Context) error {
	c.said = c.e.Clock()
	for _, step := range []func(context.Context) error{c.freeNames, c.folders, c.files, c.deletes, c.folderTimes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// each does one step for every item, several at a time.
func each[T any](ctx context.Context, c *change, items []T, do func(context.Context, T) error) error {
	group, inGroup := errgroup.WithContext(ctx)
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
func (c *change) outcome(ctx context.Context, path string, err error) error {
	if errors.Is(err, drive.ErrUnavailable) && !stopped(ctx, err) {
		// Is it this item, or all of the source?
		if _, rootErr := c.source.Root(ctx, c.drive.ID); rootErr != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	if now := c.e.Clock(); now.Sub(c.said) >= progressEvery {
		c.said = now
		c.e.Log.Info("restore under way", "tenant", c.job.Tenant, "owner", who(c.unit), "done", c.done, "of", c.total)
	}
	switch {
	case err == nil:
		return nil
	case stopped(ctx, err), errors.Is(err, drive.ErrQuota), errors.Is(err, vault.ErrStorage):
		return err
	case !isSource(err) && !errors.Is(err, vault.ErrNotFound):
		return err
	}
	c.failures[path] = err
	return nil
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
// until its turn comes.
func (c *change) freeNames(ctx context.Context) error {
	occupied := make(map[place]*vault.Node, len(c.lives))
	for _, live := range c.lives {
		occupied[placeOf(live.Entry)] = live
	}
	for _, w := range c.wants {
		if !c.misplaced(w) {
			continue
		}
		at := place{c.liveID(w.Parent), fold(w.Name)}
		blocker := occupied[at]
		if at.parent == "" || blocker == nil || blocker.ID == w.id() {
			continue
		}
		if c.taken[blocker.ID] == nil && !c.exact {
			continue // it is not ours to move
		}
		var err error
		if c.extra[blocker.ID] != nil && blocker.Kind == backup.File {
			err = c.remove(ctx, blocker)
		} else {
			name := asideName(*blocker)
			_, err = c.source.Patch(ctx, c.drive.ID, blocker.ID, drive.Patch{Name: name})
			if err == nil {
				blocker.Name = name
			}
		}
		if err == nil {
			delete(occupied, at)
		}
		c.touch(at.parent)
		if err := c.outcome(ctx, w.Path, err); err != nil {
			return err
		}
	}
	return nil
}

// asideName is a name that an item has while another takes its own.
func asideName(n vault.Node) string {
	h := fnv.New32a()
	h.Write([]byte(n.ID))
	runes := []rune(n.Name)
	return fmt.Sprintf("%s (moved aside %08x)", string(runes[:min(len(runes), 120)]), h.Sum32())
}

// folders makes the folders that are missing and moves the others to their
// places, from the top down, so that each goes into one that is in place.
func (c *change) folders(ctx context.Context) error {
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
		err := each(ctx, c, byDepth[level], func(ctx context.Context, w *want) error {
			return c.outcome(ctx, w.Path, c.folder(ctx, w))
		})
		if err != nil {
			return err
		}
	}
	return nil
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
	item, err := c.source.CreateFolder(ctx, c.drive.ID, parent, w.Name, timesOf(w))
	if err != nil {
		return err
	}
	c.touch(parent)
	c.settled(w, item)
	return nil
}

func timesOf(w *want) drive.Times { return drive.Times{Created: w.Created, Modified: w.Modified} }

// settled notes that an item is in its place.
func (c *change) settled(w *want, item drive.Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
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
	if w.live.Name != w.Name {
		patch.Name = w.Name
	}
	parent := c.liveID(w.Parent)
	if w.live.Parent != parent {
		patch.Parent = parent
	}
	c.touch(w.live.Parent, parent)
	item, err := c.source.Patch(ctx, c.drive.ID, w.live.ID, patch)
	if err != nil {
		return err
	}
	c.settled(w, item)
	return nil
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
	return each(ctx, c, files, func(ctx context.Context, w *want) error {
		return c.outcome(ctx, w.Path, c.file(ctx, w))
	})
}

func (c *change) file(ctx context.Context, w *want) error {
	if c.liveID(w.Parent) == "" {
		return errNoParent
	}
	if w.live == nil {
		return c.upload(ctx, w, drive.Target{Parent: c.liveID(w.Parent), Name: w.Name})
	}
	stale, seen := w.stale(), w.live.CTag
	if c.misplaced(w) || !stale {
		if err := c.move(ctx, w, stale); err != nil {
			return err
		}
	}
	if !stale {
		return nil
	}
	// The content is replaced only while it is the one that was backed up. If
	// it changed since, the item's versions keep what nobody has seen yet.
	target := drive.Target{Item: w.live.ID, IfMatch: seen}
	for try := 1; ; try++ {
		err := c.upload(ctx, w, target)
		if !errors.Is(err, drive.ErrChanged) || try == maxTries {
			return err
		}
		item, err := c.source.Item(ctx, c.drive.ID, target.Item)
		if err != nil {
			return err
		}
		target.IfMatch = item.ETag
	}
}

func (c *change) upload(ctx context.Context, w *want, to drive.Target) error {
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
	item, err := c.source.Upload(ctx, c.drive.ID, to, body, w.Size, timesOf(w))
	if err != nil {
		return err
	}
	c.settled(w, item)
	if item.Size == w.Size && item.Hash != "" && item.Hash == w.Hash {
		seed := entryOf(item, backup.File)
		seed.Content = w.Content
		c.mu.Lock()
		c.seeds[item.ID] = seed
		c.mu.Unlock()
	}
	return nil
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
	var tops []*vault.Node
	for id, live := range c.extra {
		if !needed[id] && (c.extra[live.Parent] == nil || needed[live.Parent]) {
			tops = append(tops, live)
		}
	}
	slices.SortFunc(tops, func(a, b *vault.Node) int { return cmp.Compare(a.Path, b.Path) })
	return each(ctx, c, tops, func(ctx context.Context, live *vault.Node) error {
		return c.outcome(ctx, live.Path, c.remove(ctx, live))
	})
}

// remove moves one item to the recycle bin; a file only if it is the one that
// was backed up.
func (c *change) remove(ctx context.Context, live *vault.Node) error {
	err := c.source.Delete(ctx, c.drive.ID, live.ID, live.CTag)
	if err != nil && !errors.Is(err, drive.ErrNotFound) {
		return err
	}
	c.touch(live.Parent)
	c.mu.Lock()
	delete(c.extra, live.ID)
	delete(c.lives, live.ID)
	c.mu.Unlock()
	return nil
}

// folderTimes sets the times of folders that are in place, the deepest first.
func (c *change) folderTimes(ctx context.Context) error {
	var stale []*want
	for id := range c.touched {
		if c.taken[id] == nil && c.byID[id] == nil && c.extra[id] == nil {
			// The same in both, until a write below it moved its time.
			wanted, ok, err := c.vault.Stat(ctx, c.point.Tree, id)
			if err != nil {
				return err
			}
			if !ok || wanted.Parent == "" {
				continue
			}
			path, _, err := c.vault.Path(ctx, c.point.Tree, id)
			if err != nil {
				return err
			}
			stale = append(stale, &want{Node: vault.Node{Entry: wanted, Path: path}, live: &vault.Node{Entry: wanted}})
		}
	}
	for _, w := range c.wants {
		if w.Kind == backup.Folder && w.live != nil && (w.aged() || c.touched[w.live.ID]) {
			stale = append(stale, w)
		}
	}
	slices.SortFunc(stale, func(a, b *want) int { return cmp.Compare(depth(b.Path), depth(a.Path)) })
	return each(ctx, c, stale, func(ctx context.Context, w *want) error {
		return c.outcome(ctx, w.Path, c.folderTime(ctx, w))
	})
}

func (c *change) folderTime(ctx context.Context, w *want) error {
	item, err := c.source.Item(ctx, c.drive.ID, w.live.ID)
	if err != nil || sameSecond(item.Modified, w.Modified) {
		return err
	}
	times := timesOf(w)
	_, err = c.source.Patch(ctx, c.drive.ID, w.live.ID, drive.Patch{Times: &times})
	return err
}
