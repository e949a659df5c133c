package drive

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"holdfast/internal/backup"
)

type wireItem struct {
	ID                   string
	Name                 string
	Size                 int64
	CTag                 string
	ETag                 string
	CreatedDateTime      wireTime
	LastModifiedDateTime wireTime
	FileSystemInfo       struct {
		CreatedDateTime      wireTime
		LastModifiedDateTime wireTime
	}
	ParentReference struct {
		ID     string
		SiteID string
	}
	SharepointIDs struct{ SiteID string }
	File          *struct {
		Hashes struct{ QuickXorHash string }
	}
	Folder     *struct{ ChildCount int }
	Package    *struct{}
	RemoteItem *struct{}
	Root       *struct{}
	Malware    *struct{}
	Deleted    *struct{}
}

// wireTime is a time as the source writes it: with any fraction and offset, or
// absent, empty, or in the year 1, all of which mean none.
type wireTime struct{ time.Time }

func (t *wireTime) UnmarshalJSON(b []byte) error {
	if len(b) > 2 && b[0] == '"' {
		if at, err := time.Parse(time.RFC3339, string(b[1:len(b)-1])); err == nil && at.Year() > 1 {
			t.Time = at.UTC()
		}
	}
	return nil
}

func (w *wireItem) item() Item {
	first := func(a, b wireTime) time.Time {
		if a.IsZero() {
			return b.Time
		}
		return a.Time
	}
	it := Item{
		ID:       backup.ItemID(w.ID),
		Parent:   backup.ItemID(w.ParentReference.ID),
		Name:     w.Name,
		Size:     w.Size,
		Created:  first(w.FileSystemInfo.CreatedDateTime, w.CreatedDateTime),
		Modified: first(w.FileSystemInfo.LastModifiedDateTime, w.LastModifiedDateTime),
		CTag:     w.CTag,
		ETag:     w.ETag,
		Root:     w.Root != nil,
		Deleted:  w.Deleted != nil,
	}
	if it.Root {
		it.Parent = ""
	}
	if w.File != nil {
		it.Hash = w.File.Hashes.QuickXorHash
	}
	if w.Folder != nil {
		it.ChildCount = w.Folder.ChildCount
	}
	switch {
	case w.RemoteItem != nil: // may also say what it points to: a file or a folder
		it.Kind, it.Unreadable = backup.File, Shortcut
	case w.Package != nil:
		it.Kind, it.Unreadable = backup.Folder, Package
	case w.Folder != nil, w.Root != nil:
		it.Kind = backup.Folder
	case w.File != nil:
		it.Kind = backup.File
		if w.Malware != nil {
			it.Unreadable = Malware
		}
	case w.Deleted == nil:
		it.Kind, it.Unreadable = backup.File, Unknown
	}
	return it
}

// sameContent reports whether a and b, read one after the other, are of the
// same content, as far as tags tell.
func sameContent(a, b Item) bool {
	if a.CTag != "" && b.CTag != "" {
		return a.CTag == b.CTag
	}
	if a.Hash != "" && b.Hash != "" {
		return a.Hash == b.Hash && a.Size == b.Size
	}
	return a.Size == b.Size && a.Modified.Equal(b.Modified)
}

func onItem(op string, d backup.DriveID, id backup.ItemID) string {
	return op + " " + string(id) + " of drive " + string(d)
}

// Root returns the folder at the top of a drive.
func (c *Client) Root(ctx context.Context, d backup.DriveID) (Item, error) {
	return c.item(ctx, "look at the root of drive "+string(d), c.at("drives", string(d), "root", "?"+itemFields))
}

// Item returns an item as it is now. A vanished one is ErrNotFound.
func (c *Client) Item(ctx context.Context, d backup.DriveID, id backup.ItemID) (Item, error) {
	return c.item(ctx, onItem("look at item", d, id), c.at("drives", string(d), "items", string(id), "?"+itemFields))
}

// named returns the item of that name in a folder, if there is one.
func (c *Client) named(ctx context.Context, d backup.DriveID, parent backup.ItemID, name string) (Item, error) {
	return c.item(ctx, onItem("look for a name in folder", d, parent), c.below(d, parent, name)+"?"+itemFields)
}

// below returns the address of what has a name in a folder.
func (c *Client) below(d backup.DriveID, parent backup.ItemID, name string) string {
	return c.at("drives", string(d), "items", string(parent)) + ":" + c.at(name)[len(c.cfg.Graph):]
}

func (c *Client) item(ctx context.Context, op, address string) (Item, error) {
	var w wireItem
	_, err := c.do(ctx, &call{op: op, method: http.MethodGet, url: address, cost: costGet}, &w)
	return w.item(), err
}

// Children lists what is directly in a folder. It is not a consistent view: use
// Delta for that. After an error nothing follows.
func (c *Client) Children(ctx context.Context, d backup.DriveID, id backup.ItemID) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		address := c.at("drives", string(d), "items", string(id), "children", "?$top=1000&"+itemFields)
		for p, err := range pages[wireItem](ctx, c, onItem("list folder", d, id), address, costList) {
			if err != nil {
				yield(Item{}, err)
				return
			}
			for i := range p.Value {
				if !yield(p.Value[i].item(), nil) {
					return
				}
			}
		}
	}
}

type wireTimes struct {
	Created  time.Time `json:"createdDateTime,omitzero"`
	Modified time.Time `json:"lastModifiedDateTime,omitzero"`
}

// wire returns t as the source takes it, or nil if there is nothing to send.
func (t Times) wire() *wireTimes {
	if t == (Times{}) {
		return nil
	}
	return &wireTimes{Created: t.Created.UTC(), Modified: t.Modified.UTC()}
}

// fits reports whether it has the times t, as far as the source keeps them: in
// whole seconds.
func (t Times) fits(it Item) bool {
	same := func(want, got time.Time) bool {
		return want.IsZero() || want.Truncate(time.Second).Equal(got.Truncate(time.Second))
	}
	return same(t.Created, it.Created) && same(t.Modified, it.Modified)
}

// CreateFolder makes a folder with the times given. If the name is taken, it is
// ErrExists.
func (c *Client) CreateFolder(ctx context.Context, d backup.DriveID, parent backup.ItemID, name string, t Times) (Item, error) {
	var w wireItem
	k := &call{
		op:     onItem("create a folder in folder", d, parent),
		method: http.MethodPost,
		url:    c.at("drives", string(d), "items", string(parent), "children"),
		cost:   costWrite,
		json: struct {
			Name     string     `json:"name"`
			Folder   struct{}   `json:"folder"`
			Times    *wireTimes `json:"fileSystemInfo,omitempty"`
			Conflict string     `json:"@microsoft.graph.conflictBehavior"`
		}{name, struct{}{}, t.wire(), "fail"},
	}
	_, err := c.do(ctx, k, &w)
	it := w.item()
	if errors.Is(err, ErrExists) && k.unclear {
		// An earlier try may have made it. An empty folder is as good as ours.
		if old, lookErr := c.named(ctx, d, parent, name); lookErr == nil && old.Kind == backup.Folder && old.ChildCount == 0 {
			it, err = old, nil
		}
	}
	if err != nil || t.fits(it) {
		return it, err
	}
	return c.Patch(ctx, d, it.ID, Patch{Times: &t}) // the service ignores a new folder's times
}

// A Patch is what to change of an item; what is zero stays as it is.
type Patch struct {
	Name    string
	Parent  backup.ItemID // never the word root
	Times   *Times        // a rename without times sets them to now
	IfMatch string        // an eTag or cTag; if the item's is another, ErrChanged
}

func (p Patch) fits(it Item) bool {
	return (p.Name == "" || p.Name == it.Name) && (p.Parent == "" || p.Parent == it.Parent) && (p.Times == nil || p.Times.fits(it))
}

// Patch renames, moves or dates an item and returns it as it then is. If the
// name is taken, it is ErrExists.
func (c *Client) Patch(ctx context.Context, d backup.DriveID, id backup.ItemID, p Patch) (Item, error) {
	type reference struct {
		ID backup.ItemID `json:"id"`
	}
	var body struct {
		Name   string     `json:"name,omitempty"`
		Parent *reference `json:"parentReference,omitempty"`
		Times  *wireTimes `json:"fileSystemInfo,omitempty"`
	}
	body.Name = p.Name
	if p.Parent != "" {
		body.Parent = &reference{p.Parent}
	}
	if p.Times != nil {
		body.Times = p.Times.wire()
	}
	var w wireItem
	k := &call{
		op:     onItem("change item", d, id),
		method: http.MethodPatch,
		url:    c.at("drives", string(d), "items", string(id)),
		header: ifMatch(p.IfMatch),
		cost:   costWrite,
		json:   body,
	}
	_, err := c.do(ctx, k, &w)
	if k.unclear && errors.Is(err, ErrChanged) {
		// An earlier try may have been what changed it.
		if it, lookErr := c.Item(ctx, d, id); lookErr == nil && p.fits(it) {
			return it, nil
		}
	}
	return w.item(), err
}

func ifMatch(tag string) http.Header {
	h := http.Header{}
	if tag != "" {
		h.Set("If-Match", tag)
	}
	return h
}

// Delete moves an item, and all that a folder holds, to the drive's recycle
// bin. If ifMatch is given and is not the item's tag, it is ErrChanged.
func (c *Client) Delete(ctx context.Context, d backup.DriveID, id backup.ItemID, tag string) error {
	k := &call{
		op:     onItem("delete item", d, id),
		method: http.MethodDelete,
		url:    c.at("drives", string(d), "items", string(id)),
		header: ifMatch(tag),
		cost:   costWrite,
	}
	_, err := c.do(ctx, k, nil)
	if k.unclear && errors.Is(err, ErrNotFound) {
		return nil // by an earlier try
	}
	return err
}
