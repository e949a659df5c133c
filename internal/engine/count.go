package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// errHides: a folder holds more than the source lists of it.
var errHides = errors.New("the source lists fewer items than the folder holds")

// count compares how many items each folder that was listed says it holds with
// how many are known of, and lists the folders in which these differ. Microsoft
// documents no such gap, and has them: a folder that was copied and then moved
// comes without what it holds, and a folder that is made anew during an
// enumeration hides what was in the first. It must come after judge, and before
// anything is staged in the base.
func (s *stage) count(ctx context.Context) error {
	if source, ok := s.source.(countingSource); ok {
		maps.Copy(s.unlisted, source.Unlisted())
		return nil
	}
	inside := make([]int32, len(s.items.states)) // living items listed, by their folder's number
	isIn := func(folder backup.ItemID) {
		if folder == "" {
			return
		}
		i := s.items.number(folder)
		if grown := int(i) + 1 - len(inside); grown > 0 {
			inside = append(inside, make([]int32, grown)...)
		}
		inside[i]++
	}
	var folders []number
	for i, item := range s.items.all() {
		v := s.items.verdictAt(i)
		if item.Kind == backup.Folder && !item.Deleted && v == alive {
			folders = append(folders, i)
		}
		if !item.Deleted && v != gone && item.ID != s.root {
			isIn(item.Parent)
		}
	}
	for item := range s.nameless { // which are named as such
		isIn(item.Parent)
	}
	if !s.full && len(folders) == 1 && s.items.id(folders[0]) == s.root && s.items.listed == 1 && s.counted() == s.top {
		return nil // nothing has changed
	}
	for len(folders) > 0 {
		folder, known := folders[0], 0
		if folders = folders[1:]; int(folder) < len(inside) {
			known = int(inside[folder])
		}
		id, there := s.items.id(folder), known
		for _, err := range s.staying(ctx, id) {
			if err != nil {
				return err
			}
			there++
		}
		if there == s.items.of(id).ChildCount {
			continue
		}
		more, err := s.list(ctx, id, known)
		if err != nil {
			return err
		}
		folders = append(folders, more...)
	}
	return s.items.err()
}

// counted returns how many items the source says there are in the root folder, or
// said when it last spoke of it.
func (s *stage) counted() int64 {
	if root, listed := s.items.get(s.root); listed {
		return int64(root.ChildCount)
	}
	return s.top
}

// children lists what a folder held when it was backed up, folders first. It ends with the
// first error.
func (s *stage) children(ctx context.Context, folder backup.ItemID) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		if s.base == nil {
			return
		}
		for e, err := range s.base.Children(ctx, folder) {
			switch {
			case err != nil && s.torn && isDamage(err):
				return
			case err != nil:
				yield(e, fmt.Errorf("list folder %s as it was backed up: %w", folder, err))
				return
			case s.beside != nil && s.beside(e.ID):
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// childrenOf is children, all of them in memory.
func (s *stage) childrenOf(ctx context.Context, folder backup.ItemID) (all []vault.Entry, err error) {
	for e, err := range s.children(ctx, folder) {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// staying lists what a folder held when it was backed up, was not listed, and is not gone.
func (s *stage) staying(ctx context.Context, folder backup.ItemID) iter.Seq2[backup.ItemID, error] {
	return func(yield func(backup.ItemID, error) bool) {
		if s.full {
			return // else it would have been listed
		}
		for child, err := range s.children(ctx, folder) {
			if err != nil {
				yield("", err)
				return
			}
			if !s.items.has(child.ID) && s.items.verdict(child.ID) != gone && !yield(child.ID, nil) {
				return
			}
		}
	}
}

// list asks the source what is in a folder, and stages what was not known. A
// listing is no snapshot: what it lacks of what is staying is asked for. Known is how many
// living items were listed in the folder before. A folder that holds more than
// can be found is unlisted. It returns the folders that it found, which are to be counted
// themselves.
func (s *stage) list(ctx context.Context, folder backup.ItemID, known int) (more []number, err error) {
	there := spill.New(s.dir) // the folder may hold a million
	defer there.Close()
	for item, err := range s.source.Children(ctx, folder) {
		if err != nil {
			if whole := s.ifWhole(ctx, err); whole != nil {
				return nil, fmt.Errorf("list a folder: %w", whole)
			}
			s.unlisted[folder] = err
			return more, nil // what is in it stays
		}
		if item.ID == "" {
			if s.take(item) {
				known++ // it is named as such
			}
			continue
		}
		there.Put(string(item.ID), "")
		was, listed := s.items.get(item.ID)
		if listed && !was.Deleted {
			continue // the delta is the later word
		}
		known++
		base, held, err := s.get(ctx, item.ID)
		if err != nil {
			return nil, err
		}
		if held && !listed && base.Parent == folder && base.Name == item.Name && (item.Kind == backup.Folder || sameContent(entryOf(item, backup.File), base)) {
			continue
		}
		if item.Parent == "" {
			item.Parent = folder
		}
		if err := s.stageFound(ctx, item, "the listing of its folder has it"); err != nil {
			return nil, err
		}
		if item.Kind == backup.Folder {
			more = append(more, s.items.number(item.ID)) // also one that was held: nothing was said of what is in it now
		}
	}
	lacking := make([]backup.ItemID, 0, lackingAtOnce)
	for id, err := range s.staying(ctx, folder) {
		if err != nil {
			return nil, err
		}
		if _, found := there.Find(string(id)); found {
			continue
		}
		if lacking = append(lacking, id); len(lacking) == lackingAtOnce {
			if known, more, err = s.lacks(ctx, folder, lacking, known, more); err != nil {
				return nil, err
			}
			lacking = lacking[:0]
		}
	}
	if err := there.Err(); err != nil {
		return nil, fmt.Errorf("list a folder: %w", err)
	}
	if known, more, err = s.lacks(ctx, folder, lacking, known, more); err != nil {
		return nil, err
	}
	if known >= s.items.of(folder).ChildCount {
		return more, nil
	}
	// It may have been listed long ago: does it still say so?
	switch is, err := s.source.Item(ctx, folder); {
	case err == nil && known < is.ChildCount:
		s.unlisted[folder] = errHides
	case err != nil:
		if whole := s.ifWhole(ctx, err); whole != nil {
			return nil, fmt.Errorf("look at a folder: %w", whole)
		}
	}
	return more, nil
}

// lackingAtOnce is for how many that a listing lacks is asked before what was answered is
// forgotten.
const lackingAtOnce = 1000

// lacks asks for what a listing of a folder lacked. It returns how many living items are known
// then, and the folders that have moved from there.
func (s *stage) lacks(ctx context.Context, folder backup.ItemID, lacking []backup.ItemID, known int, more []number) (int, []number, error) {
	if err := s.ask(ctx, lacking...); err != nil {
		return known, more, err
	}
	for _, id := range lacking {
		switch l, _ := s.looked(id); {
		case l.missing:
			if lives, err := s.inhabited(ctx, id); err != nil {
				return known, more, err
			} else if lives {
				s.items.judge(id, unsure)
				s.items.set(drive.Item{ID: id, Deleted: true})
				break
			}
			s.items.set(drive.Item{ID: id, Deleted: true})
			s.items.judge(id, gone)
			s.finds(id, "it was deleted")
		case l.err == nil && l.item.Parent != folder:
			if err := s.stageFound(ctx, l.item, "it has moved"); err != nil {
				return known, more, err
			}
			if l.item.Kind == backup.Folder {
				more = append(more, s.items.number(id))
			}
		default:
			known++
			delete(s.answers, id)
		}
	}
	return known, more, nil
}

func (s *stage) stageFound(ctx context.Context, item drive.Item, how string) error {
	s.items.set(item)
	s.items.judge(item.ID, 0)
	s.finds(item.ID, how)
	_, err := s.verdict(ctx, item.ID)
	return err
}
