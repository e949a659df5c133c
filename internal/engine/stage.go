package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// maxResyncs is how often one run begins its enumeration anew when the source
// takes back the token it gave.
const maxResyncs = 3

// errTangled: the folders of a drive were being moved while they were listed,
// so that their chains of parents made no tree.
var errTangled = errors.New("the folders form a circle")

// A stage is what one run was told of a drive. Nothing in it is believed
// before the enumeration has come to its end: entries arrive in no order,
// several times each, children before parents.
type stage struct {
	source *drive.Client
	drive  backup.DriveID
	base   *vault.Update

	items  map[backup.ItemID]drive.Item // the last word on each item
	full   bool                         // all that lives in the drive was listed
	cursor string                       // where the next run goes on

	lives  map[backup.ItemID]bool // what alive found
	reread map[backup.ItemID]bool
}

// read pages through the drive's changes since cursor, or through all of it
// when cursor is empty or the source no longer knows it.
func (s *stage) read(ctx context.Context, cursor string) error {
	for resyncs := 0; ; resyncs++ {
		s.items = map[backup.ItemID]drive.Item{}
		s.full = cursor == ""
		next, err := s.pages(ctx, cursor)
		if err == nil && s.full {
			// What changed while the pages were being read.
			next, err = s.pages(ctx, next)
		}
		if errors.Is(err, drive.ErrResync) && resyncs < maxResyncs {
			cursor = ""
			continue
		}
		if err != nil {
			return fmt.Errorf("list changes: %w", err)
		}
		s.cursor = next
		s.lives = make(map[backup.ItemID]bool, len(s.items))
		s.reread = map[backup.ItemID]bool{}
		return nil
	}
}

func (s *stage) pages(ctx context.Context, cursor string) (string, error) {
	changes := s.source.Delta(ctx, s.drive, cursor)
	for item, err := range changes.All() {
		if err != nil {
			return "", err
		}
		s.items[item.ID] = item
	}
	return changes.Cursor(), nil
}

// add asks the source for one item and stages what it says. It reports false
// when there is no such item.
func (s *stage) add(ctx context.Context, id backup.ItemID) (bool, error) {
	item, err := s.source.Item(ctx, s.drive, id)
	if errors.Is(err, drive.ErrNotFound) {
		s.items[id] = drive.Item{ID: id, Deleted: true}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read item %s: %w", id, err)
	}
	s.items[id] = item
	return true, nil
}

// settle decides between live siblings of one name: a folder that was deleted
// and made again during an enumeration is listed under both ids, and only the
// source knows which of them is left.
func (s *stage) settle(ctx context.Context) error {
	type place struct {
		parent backup.ItemID
		name   string
	}
	first := make(map[place]backup.ItemID, len(s.items))
	var doubtful []backup.ItemID
	for id, item := range s.items {
		if item.Deleted || item.Root {
			continue
		}
		at := place{item.Parent, fold(item.Name)}
		if other, taken := first[at]; taken {
			doubtful = append(doubtful, id, other)
			continue
		}
		first[at] = id
	}
	slices.Sort(doubtful)
	for _, id := range slices.Compact(doubtful) {
		if _, err := s.add(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// alive reports whether an item's chain of parents leads to the drive's root.
// A parent that neither the stage nor the base knows is asked for; where it is
// gone, so is everything below it, and the next delta will say so too.
func (s *stage) alive(ctx context.Context, id backup.ItemID) (bool, error) {
	var chain []backup.ItemID
	walking := map[backup.ItemID]bool{}
	verdict := false
walk:
	for {
		if known, ok := s.lives[id]; ok {
			verdict = known
			break
		}
		if walking[id] {
			if err := s.untangle(ctx, chain); err != nil {
				return false, err
			}
			id, chain, walking = chain[0], nil, map[backup.ItemID]bool{}
			continue
		}
		walking[id] = true
		chain = append(chain, id)

		item, staged := s.items[id]
		switch {
		case staged && item.Deleted:
			break walk
		case staged && item.Root:
			verdict = true
			break walk
		case staged && item.Parent != "":
			id = item.Parent
			continue
		case !staged && !s.full:
			entry, ok, err := s.base.Get(ctx, id)
			if err != nil {
				return false, err
			}
			if ok {
				if entry.Parent == "" {
					verdict = true
					break walk
				}
				id = entry.Parent
				continue
			}
		}
		// Unknown, or staged without a parent: the source has the last word.
		if s.reread[id] {
			break walk
		}
		s.reread[id] = true
		found, err := s.add(ctx, id)
		if err != nil {
			return false, err
		}
		if !found {
			break walk
		}
		delete(walking, id)
		chain = chain[:len(chain)-1]
	}
	for _, below := range chain {
		s.lives[below] = verdict
	}
	return verdict, nil
}

// untangle reads anew the items of a chain that runs in a circle.
func (s *stage) untangle(ctx context.Context, chain []backup.ItemID) error {
	for _, id := range chain {
		if s.reread[id] {
			return errTangled
		}
		s.reread[id] = true
		if _, err := s.add(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// path returns an item's path below the root, for people to read.
func (s *stage) path(ctx context.Context, id backup.ItemID) string {
	var names []string
	for range 1000 { // deeper than any path may be; moves may make circles
		var name string
		var parent backup.ItemID
		if item, ok := s.items[id]; ok && !item.Deleted {
			name, parent = item.Name, item.Parent
			if item.Root {
				parent = ""
			}
		} else if entry, ok, err := s.base.Get(ctx, id); err == nil && ok {
			name, parent = entry.Name, entry.Parent
		}
		if parent == "" {
			break
		}
		names = append(names, name)
		id = parent
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// fold returns the form under which the source takes two names for the same.
func fold(name string) string { return strings.ToLower(norm.NFC.String(name)) }
