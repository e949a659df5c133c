package engine

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// A site's modern pages are backed up as a folder of them: one file of JSON for each, as
// Graph tells of it, with what is on it. Graph has no list of what changed in them: each
// run lists all, and reads those whose eTag is another.
//
//	pages/Site Pages/
//	└─ Home.aspx.json
type pageSource struct {
	client *drive.Client
	ref    drive.ListRef // the library that they are in
	name   string        // of it
}

// pagesAll is the cursor after all pages: what follows is known by another list only.
const pagesAll = "all"

func (s pageSource) rootID() backup.ItemID { return backup.ItemID(s.ref.ID) }

func (s pageSource) root() drive.Item {
	return drive.Item{ID: s.rootID(), Name: s.name, Kind: backup.Folder, Root: true, Size: -1, ChildCount: -1}
}

func (s pageSource) itemOf(p drive.Page) drive.Item {
	if p.ID == "" {
		return drive.Item{Name: p.Name, Unreadable: drive.Incomplete, Size: -1}
	}
	item := drive.Item{ID: pageID(s.ref, p.ID), Parent: s.rootID(), Kind: backup.File, Size: -1, Created: p.Created, Modified: p.Modified, CTag: p.ETag, ETag: p.ETag}
	if item.Name = p.Name + ".json"; p.Name == "" {
		item.Name = p.ID + ".json"
	}
	return item
}

// pageID is the id of a page as an item of a point.
func pageID(in drive.ListRef, page string) backup.ItemID { return backup.ItemID(in.ID + "," + page) }

func (s pageSource) pageOf(id backup.ItemID) (page string, ok bool) {
	page, ok = strings.CutPrefix(string(id), s.ref.ID+",")
	return page, ok && page != ""
}

func (s pageSource) Changes(ctx context.Context, cursor string) (iter.Seq2[drive.Item, error], func() string) {
	next := ""
	all := func(yield func(drive.Item, error) bool) {
		if next = cursor; cursor != "" {
			return
		}
		if !yield(s.root(), nil) {
			return
		}
		for p, err := range s.client.Pages(ctx, s.ref.Site) {
			if err != nil {
				yield(drive.Item{}, err)
				return
			}
			if !yield(s.itemOf(p), nil) {
				return
			}
		}
		next = pagesAll
	}
	return all, func() string { return next }
}

func (s pageSource) Root(ctx context.Context) (drive.Item, error) {
	_, err := s.client.List(ctx, s.ref)
	return s.root(), err
}

func (s pageSource) Item(ctx context.Context, id backup.ItemID) (drive.Item, error) {
	if id == s.rootID() {
		return s.Root(ctx)
	}
	page, ok := s.pageOf(id)
	if !ok {
		return drive.Item{}, drive.ErrNotFound
	}
	p, err := s.client.Page(ctx, s.ref.Site, page)
	return s.itemOf(p), err
}

// Children lists nothing: all pages were listed.
func (s pageSource) Children(context.Context, backup.ItemID) iter.Seq2[drive.Item, error] {
	return func(func(drive.Item, error) bool) {}
}

func (s pageSource) Open(ctx context.Context, listed drive.Item, _ bool) (content, error) {
	page, ok := s.pageOf(listed.ID)
	if !ok {
		return nil, fmt.Errorf("%w: a site has no page %s", drive.ErrContent, listed.ID)
	}
	p, err := s.client.Page(ctx, s.ref.Site, page)
	if err != nil {
		return nil, err
	}
	return newListContent(s.itemOf(p), p.JSON), nil
}

func (s pageSource) Forget() {}
