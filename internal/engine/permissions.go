package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// Who may do what with files and folders of a library is backed up where the tenant's
// settings ask for that, from a scan of the library beside its delta: one file of JSON
// for each that has permissions of its own, and not only those of its folder. A permission
// that changed alone so makes a point, and no content is read for it.
//
//	permissions/Documents (permissions)/
//	└─ 3f/a.txt-01ABC.json   the permissions of a file
//
// The files are in folders by a hash of the item, so that what a change costs does not
// grow with how much is shared. Of a link it is kept whom it lets do what, and nothing
// by which it can be opened.
type permissionSource struct {
	client  *drive.Client
	library backup.DriveID
	id      backup.DriveID // of the part
	name    string
	held    func(context.Context, backup.ItemID) (vault.Entry, bool, error)

	mu   sync.Mutex
	told map[backup.ItemID]bool // folders that hold anything, of what was told
	full bool
}

const permissionsOf = ",permissions"

// permissionsID is the id of an item's permissions as an item of a point.
func permissionsID(item backup.ItemID) backup.ItemID { return item + permissionsOf }

// itemWith is the item that permissions are of.
func itemWith(id backup.ItemID) (item backup.ItemID, ok bool) {
	text, ok := strings.CutSuffix(string(id), permissionsOf)
	return backup.ItemID(text), ok && text != ""
}

// maxNamed is how much of an item's name that of its permissions has: with the id it has
// to be one that a disk takes.
const maxNamed = 120

// permissionsName is the name under which the permissions of an item are kept.
func permissionsName(name string, item backup.ItemID) string {
	for i := range name {
		if i > maxNamed {
			name = name[:i]
			break
		}
	}
	if name != "" {
		name += "-"
	}
	return name + string(item) + ".json"
}

func (s *permissionSource) rootID() backup.ItemID { return backup.ItemID(s.id) }

func (s *permissionSource) root() drive.Item {
	return drive.Item{ID: s.rootID(), Name: s.name, Kind: backup.Folder, Root: true, Size: -1, ChildCount: -1}
}

// folder is the folder of an item's permissions.
func (s *permissionSource) folder(item backup.ItemID) drive.Item {
	sum := sha256.Sum256([]byte(item))
	name := hex.EncodeToString(sum[:1])
	return drive.Item{ID: s.rootID() + backup.ItemID("/"+name), Parent: s.rootID(), Name: name, Kind: backup.Folder, Size: -1, ChildCount: -1}
}

// file is the permissions of an item as a file. Nothing tells what they are but to read them.
func (s *permissionSource) file(item backup.ItemID, name string) drive.Item {
	return drive.Item{ID: permissionsID(item), Parent: s.folder(item).ID, Name: permissionsName(name, item), Kind: backup.File, Size: -1}
}

// Changes tells of each item that has permissions of its own, if it changed in any way:
// the source's word that it was these is not complete. What has none any more is told as
// deleted, if anything is held of it.
func (s *permissionSource) Changes(ctx context.Context, cursor string) (iter.Seq2[drive.Item, error], func() string) {
	next := ""
	all := func(yield func(drive.Item, error) bool) {
		next = ""
		s.begin(cursor == "")
		if cursor == "" && !yield(s.root(), nil) {
			return
		}
		changes := s.client.SharingDelta(ctx, s.library, cursor)
		for it, err := range changes.All() {
			var told []drive.Item
			if err == nil {
				told, err = s.toldOf(ctx, it)
			}
			if err != nil {
				yield(drive.Item{}, err)
				return
			}
			for _, item := range told {
				if !yield(item, nil) {
					return
				}
			}
		}
		next = changes.Cursor()
	}
	return all, func() string { return next }
}

// toldOf is what an item that was told of is in the part, with the folder that it is in.
//
// That it is told without permissions of its own may also mean that they did not change:
// of what is held it is asked for.
func (s *permissionSource) toldOf(ctx context.Context, it drive.SharedItem) ([]drive.Item, error) {
	there := func() []drive.Item {
		folder := s.folder(it.ID)
		s.mu.Lock()
		s.told[folder.ID] = true
		s.mu.Unlock()
		return []drive.Item{folder, s.file(it.ID, it.Name)}
	}
	switch {
	case it.ID == "":
		return []drive.Item{{Name: it.Name, Unreadable: drive.Incomplete, Size: -1}}, nil
	case it.Root:
		return nil, nil // a library's own are the site's, which Graph does not give
	case it.Own && !it.Deleted:
		return there(), nil
	}
	gone := drive.Item{ID: permissionsID(it.ID), Deleted: true, Size: -1}
	if s.held == nil {
		return nil, nil
	}
	if _, held, err := s.held(ctx, gone.ID); err != nil || !held {
		return nil, err
	}
	if !it.Deleted {
		if _, err := s.Item(ctx, gone.ID); !errors.Is(err, drive.ErrNotFound) {
			return there(), ctx.Err() // what cannot be read is named as such
		}
	}
	return []drive.Item{gone}, nil
}

// begin begins a pass.
func (s *permissionSource) begin(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil || full {
		s.told = map[backup.ItemID]bool{}
	}
	s.full = s.full || full
}

func (s *permissionSource) Root(ctx context.Context) (drive.Item, error) {
	_, err := s.client.Root(ctx, s.library)
	return s.root(), err
}

// Item is denied if the item is gone, or has the permissions of its folder and no others.
func (s *permissionSource) Item(ctx context.Context, id backup.ItemID) (drive.Item, error) {
	if id == s.rootID() {
		return s.Root(ctx)
	}
	item, ok := itemWith(id)
	if !ok {
		return s.folderNow(id)
	}
	is, err := s.client.Item(ctx, s.library, item)
	if err != nil {
		return drive.Item{}, err
	}
	own, err := s.read(ctx, item)
	if err != nil {
		return drive.Item{}, err
	}
	above, err := s.read(ctx, is.Parent)
	switch {
	case err != nil && !errors.Is(err, drive.ErrNotFound):
		return drive.Item{}, err
	case err == nil && string(own) == string(above):
		return drive.Item{}, drive.ErrNotFound
	}
	return s.file(item, is.Name), nil
}

// folderNow is a folder of the part: it is there while anything is in it, which a scan
// of all says.
func (s *permissionSource) folderNow(id backup.ItemID) (drive.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := strings.CutPrefix(string(id), string(s.rootID())+"/")
	if !ok || s.full && !s.told[id] {
		return drive.Item{}, drive.ErrNotFound
	}
	return drive.Item{ID: id, Parent: s.rootID(), Name: name, Kind: backup.Folder, Size: -1, ChildCount: -1}, nil
}

// read reads the permissions of an item, as they are kept but for whose they are.
func (s *permissionSource) read(ctx context.Context, item backup.ItemID) ([]byte, error) {
	all, err := s.client.Permissions(ctx, s.library, item)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Inherited = false
	}
	return drive.ItemPermissions{Permissions: all}.Encode()
}

// Children lists nothing: all that was told of was listed.
func (s *permissionSource) Children(context.Context, backup.ItemID) iter.Seq2[drive.Item, error] {
	return func(func(drive.Item, error) bool) {}
}

func (s *permissionSource) Open(ctx context.Context, listed drive.Item, _ bool) (content, error) {
	item, ok := itemWith(listed.ID)
	if !ok {
		return nil, fmt.Errorf("%w: there are no permissions %s", drive.ErrContent, listed.ID)
	}
	all, err := s.client.Permissions(ctx, s.library, item)
	if err != nil {
		return nil, &permissionsError{err}
	}
	kept, err := drive.ItemPermissions{Item: item, Permissions: all}.Encode()
	if err != nil {
		return nil, err
	}
	return newListContent(listed, kept), nil
}

func (s *permissionSource) Forget() {}

// A permissionsError is why the permissions of an item could not be read.
type permissionsError struct{ err error }

func (p *permissionsError) Error() string { return p.err.Error() }
func (p *permissionsError) Unwrap() error { return p.err }

// unscanned names once for all libraries that the application is not told of all
// permissions.
func unscanned() backup.Unread {
	return backup.Unread{Path: "(permissions)", Code: backup.AccessDenied,
		Message: "Permissions of files and folders are not held as they are: Microsoft tells of all of them only to applications that have Sites.FullControl.All. Grant it to the application, or set \"permissions\" to false in the tenant's configuration."}
}
