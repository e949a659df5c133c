package drive

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

type wireItem struct {
	ID                   string
	Name                 string
	Size                 wireSize
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
	File          *wireFile
	Folder        *wireFolder
	Package       *struct{}
	RemoteItem    *struct{}
	Root          *struct{}
	Malware       *struct{}
	Deleted       *struct{}

	DownloadURL maybe `json:"@microsoft.graph.downloadUrl"`

	wrong bool // some members are of a type that they cannot have
}

type wireFile struct {
	MimeType string
	Hashes   struct{ QuickXorHash string }
}

type wireFolder struct{ ChildCount *int }

func (w *wireItem) malformed() { w.wrong = true }

func (w *wireItem) key() string { return w.ID }

// wireSize is a size as the source writes it: a number, or one in quotes, which
// it gives to clients that ask for exact ones. Anything else, or nothing, is
// not known.
type wireSize struct{ *int64 }

func (n *wireSize) UnmarshalJSON(b []byte) error {
	if v, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64); err == nil && v >= 0 {
		n.int64 = &v
	}
	return nil
}

func (n wireSize) bytes() int64 {
	if n.int64 == nil {
		return -1
	}
	return *n.int64
}

// wireTime is a time as the source writes it: with any fraction and offset, or
// absent, empty, or on the first day of the year 1, all of which mean none.
type wireTime struct{ time.Time }

// firstTime is the first that is one: none is written in any time zone.
var firstTime = time.Date(1, 1, 3, 0, 0, 0, 0, time.UTC)

func (t *wireTime) UnmarshalJSON(b []byte) error {
	if len(b) > 2 && b[0] == '"' {
		if at, err := time.Parse(time.RFC3339, string(b[1:len(b)-1])); err == nil && !at.Before(firstTime) {
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
		Size:     w.Size.bytes(),
		Created:  first(w.FileSystemInfo.CreatedDateTime, w.CreatedDateTime),
		Modified: first(w.FileSystemInfo.LastModifiedDateTime, w.LastModifiedDateTime),
		CTag:     w.CTag,
		ETag:     w.ETag,
		Root:     w.Root != nil,
		Deleted:  w.Deleted != nil,
	}
	if isAlias(w.ID) {
		it.ID = ""
	}
	if !isName(w.Name) {
		it.Name = ""
	}
	if it.Root {
		it.Parent = ""
	}
	if w.File != nil {
		it.Hash = w.File.Hashes.QuickXorHash
	}
	if w.Folder != nil && w.RemoteItem == nil {
		it.ChildCount = -1
		if n := w.Folder.ChildCount; n != nil && *n >= 0 {
			it.ChildCount = *n
		}
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
	}
	if w.incomplete() {
		// What is half said may not be said at all: it deletes nothing.
		it.Deleted, it.Unreadable = false, Incomplete
		if w.File != nil && w.RemoteItem == nil && it.Kind == backup.Folder && w.Root == nil {
			it.Kind = ""
		}
	}
	return it
}

// isAlias reports whether an id is not one, but the word by which every drive's
// root may be asked for.
func isAlias(id string) bool { return strings.EqualFold(id, "root") }

// isName reports whether text can be the name of an item. What means another place
// than one in its folder could be kept, but a program that writes backups to a disk
// would follow it there.
func isName(text string) bool {
	return text != "" && text != "." && text != ".." && !strings.ContainsAny(text, "/\x00")
}

// incomplete reports whether w lacks what every item has, or says what cannot
// be. A deleted item has no more than its id, and the root no parent.
func (w *wireItem) incomplete() bool {
	switch {
	case w.wrong, w.ID == "", isAlias(w.ID):
		return true
	case w.Deleted != nil:
		return false
	case w.Root != nil:
		return w.File != nil
	case !isName(w.Name), w.ParentReference.ID == "":
		return true
	case w.RemoteItem != nil:
		return false
	}
	return (w.File != nil) == (w.Folder != nil || w.Package != nil)
}

// unchanged reports whether a and b, read one after the other, are of the same
// content, as far as they tell: by tag where both have one, else by hash, else
// by all the rest. Of what neither of them states nothing can be said.
func unchanged(a, b Item) bool {
	switch {
	case a.CTag != "" && b.CTag != "":
		return a.CTag == b.CTag
	case a.Hash != "" && b.Hash != "":
		return a.Hash == b.Hash
	case a.ETag != "" && a.ETag == b.ETag:
		return true
	}
	return a.Size == b.Size && a.Modified.Equal(b.Modified)
}

func onItem(op string, d backup.DriveID, id backup.ItemID) string {
	return op + " " + string(id) + " of drive " + string(d)
}

// Root returns the folder at the top of a drive.
func (c *Client) Root(ctx context.Context, d backup.DriveID) (Item, error) {
	w, err := c.look(ctx, call{op: "look at the root of drive " + string(d), url: c.at("drives", string(d), "root", "?"+itemFields)})
	return w.item(), err
}

// Item returns an item as it is now. A vanished one is ErrNotFound.
func (c *Client) Item(ctx context.Context, d backup.DriveID, id backup.ItemID) (Item, error) {
	w, err := c.lookAt(ctx, d, id, itemFields)
	return w.item(), err
}

func (c *Client) lookAt(ctx context.Context, d backup.DriveID, id backup.ItemID, fields string) (wireItem, error) {
	op := onItem("look at item", d, id)
	w, err := c.look(ctx, call{op: op, url: c.at("drives", string(d), "items", string(id), "?"+fields), itemOf: d})
	if err == nil && !strings.EqualFold(w.ID, string(id)) {
		return wireItem{}, &Error{Op: op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return w, err
}

// named returns the item of that name in a folder, if there is one.
func (c *Client) named(ctx context.Context, d backup.DriveID, parent backup.ItemID, name string) (Item, error) {
	at := c.below(d, parent, name)
	w, err := c.look(ctx, call{op: onItem("look for a name in folder", d, parent), url: at + "?" + itemFields, itemOf: d, about: at})
	return w.item(), err
}

// ItemAt returns the item at a path of a drive, whose names are separated by slashes.
// If there is none, it is ErrNotFound.
func (c *Client) ItemAt(ctx context.Context, d backup.DriveID, path string) (Item, error) {
	at := c.at("drives", string(d), "root") + ":" + c.at(strings.Split(path, "/")...)[len(c.cfg.Graph):] + ":"
	w, err := c.look(ctx, call{op: "look for a path in drive " + string(d), url: at + "?" + itemFields, itemOf: d, about: at})
	return w.item(), err
}

// below returns the address of what has a name in a folder.
func (c *Client) below(d backup.DriveID, parent backup.ItemID, name string) string {
	return c.at("drives", string(d), "items", string(parent)) + ":" + c.at(name)[len(c.cfg.Graph):]
}

func (c *Client) look(ctx context.Context, k call) (w wireItem, err error) {
	k.method, k.cost = http.MethodGet, costGet
	_, err = c.do(ctx, &k, &w)
	return w, err
}

// take decodes an answer that is an item: as much of it as can be understood.
func (w *wireItem) take(body []byte) error {
	if it := (wireItem{}); jsonscan.Scan(body, &it) && it.ID != "" {
		*w = it
		return nil
	}
	err := json.Unmarshal(body, w)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		w.malformed()
		err = nil
	}
	if err == nil && w.ID == "" {
		err = errors.New("it is not an item")
	}
	return err
}

// Children lists what is directly in a folder. It is not a consistent view: use
// Delta for that. After an error nothing follows.
func (c *Client) Children(ctx context.Context, d backup.DriveID, id backup.ItemID) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		first := call{
			op:     onItem("list folder", d, id),
			url:    c.at("drives", string(d), "items", string(id), "children", "?$top=1000&"+itemFields),
			cost:   costList,
			itemOf: d,
		}
		for p, err := range pages[wireItem](ctx, c, first) {
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
	return &wireTimes{Created: sendable(t.Created), Modified: sendable(t.Modified)}
}

// sendable is t in the form of the wire, which has no years but of four
// figures; zero, which is not sent, if it cannot be written so.
func sendable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() > 9999 || t.Before(firstTime) {
		return time.Time{}
	}
	return t
}

// Fits reports whether it has the times t, as far as the source keeps them: in
// whole seconds.
func (t Times) Fits(it Item) bool {
	same := func(want, got time.Time) bool {
		want = sendable(want)
		return want.IsZero() || want.Truncate(time.Second).Equal(got.Truncate(time.Second))
	}
	return same(t.Created, it.Created) && same(t.Modified, it.Modified)
}

// CreateFolder makes a folder with its times. If the name is taken, it is ErrExists.
func (c *Client) CreateFolder(ctx context.Context, d backup.DriveID, f NewItem) (Item, error) {
	var w wireItem
	parent, name, t := f.Parent, f.Name, f.Times
	k := &call{
		op:     onItem("create a folder in folder", d, parent),
		method: http.MethodPost,
		url:    c.at("drives", string(d), "items", string(parent), "children"),
		cost:   costWrite,
		itemOf: d,
		json:   f.folder(),
	}
	_, err := c.do(ctx, k, &w)
	it := w.item()
	switch {
	case errors.Is(err, ErrExists) && (k.unclear || f.Unclear):
		// An earlier try may have made it. An empty folder is as good as ours.
		if old, lookErr := c.named(ctx, d, parent, name); lookErr == nil && old.Kind == backup.Folder && old.ChildCount == 0 {
			it, err = old, nil
		}
	case err == nil && (it.Kind != backup.Folder || !it.isAt(parent, name)):
		it, err = c.madeFolder(ctx, d, it.ID, parent, name, k.op)
	}
	if err != nil || t.Fits(it) {
		return it, err
	}
	return c.Patch(ctx, d, it.ID, Patch{Times: &t}) // the service ignores a new folder's times
}

// folder is the folder as the source is asked to make it.
func (f *NewItem) folder() any {
	return struct {
		Name     string     `json:"name"`
		Folder   struct{}   `json:"folder"`
		Times    *wireTimes `json:"fileSystemInfo,omitempty"`
		Conflict string     `json:"@microsoft.graph.conflictBehavior"`
	}{f.Name, struct{}{}, f.Times.wire(), "fail"}
}

// madeFolder returns the folder that was made when the source's answer is about
// something else, which has the id: what would be put into that would be put
// into somebody's folder.
func (c *Client) madeFolder(ctx context.Context, d backup.DriveID, id, parent backup.ItemID, name, op string) (Item, error) {
	it, err := c.named(ctx, d, parent, name)
	if err == nil && it.Kind == backup.Folder && it.ChildCount == 0 {
		return it, nil
	}
	if errors.Is(err, ErrNotFound) && id != "" {
		// It may be there by another name than was asked for.
		it, err = c.Item(ctx, d, id)
		if err == nil && it.Kind == backup.Folder && it.Parent == parent && it.ChildCount == 0 && strings.HasPrefix(it.Name, name) {
			return c.Patch(ctx, d, id, Patch{Name: name})
		}
	}
	return Item{}, &Error{Op: op, Err: errOtherItem, kind: ErrUnavailable}
}

// errOtherItem: the source's answer is about another item than was asked for.
var errOtherItem = errors.New("the source answered with another item")

// isAt reports whether an item is what has a name in a folder, as far as it is
// told where it is. Names are compared as the source does.
func (it Item) isAt(parent backup.ItemID, name string) bool {
	return it.ID != "" && (it.Parent == "" || strings.EqualFold(string(it.Parent), string(parent))) &&
		strings.EqualFold(norm.NFC.String(it.Name), norm.NFC.String(name))
}

// A Patch is what to change of an item; what is zero stays as it is.
type Patch struct {
	Name    string
	Parent  backup.ItemID // never the word root
	Times   *Times        // a rename without times sets them to now
	IfMatch string        // an eTag or cTag; if the item's is another, ErrChanged
}

func (p Patch) fits(it Item) bool {
	return (p.Name == "" || p.Name == it.Name) && (p.Parent == "" || p.Parent == it.Parent) && (p.Times == nil || p.Times.Fits(it))
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
		itemOf: d,
		json:   body,
	}
	_, err := c.do(ctx, k, &w)
	if k.unclear && errors.Is(err, ErrChanged) {
		// An earlier try may have been what changed it.
		if it, lookErr := c.Item(ctx, d, id); lookErr == nil && p.fits(it) {
			return it, nil
		}
	}
	if err == nil && !strings.EqualFold(w.ID, string(id)) {
		return c.Item(ctx, d, id)
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
		itemOf: d,
	}
	_, err := c.do(ctx, k, nil)
	if k.unclear && errors.Is(err, ErrNotFound) {
		return nil // by an earlier try
	}
	return err
}
