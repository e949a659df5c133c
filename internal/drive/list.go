package drive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A ListRef says which list is meant: lists are known within their sites.
type ListRef struct{ Site, ID string }

func (l ListRef) String() string { return "list " + l.ID + " of site " + l.Site }

// itemOf is what calls about a single item of the list say that they are of.
func (l ListRef) itemOf() backup.DriveID { return backup.DriveID("sites/" + l.Site + "/lists/" + l.ID) }

// A List is a list of a site. A library is one, too.
type List struct {
	ListRef
	Name     string // as people see it
	WebURL   string
	Template string // such as genericList
	Hidden   bool   // from people, as those are that the service has for itself
}

type wireList struct {
	ID, Name, DisplayName, WebURL string
	List                          struct {
		Template string
		Hidden   bool
	}
	System *struct{}
}

func (w *wireList) key() string { return w.ID }
func (w *wireList) malformed()  {}

func (w *wireList) list(site string) List {
	l := List{ListRef: ListRef{site, strings.ToLower(w.ID)}, Name: w.DisplayName, WebURL: w.WebURL, Template: w.List.Template, Hidden: w.List.Hidden || w.System != nil}
	if l.Name == "" {
		l.Name = w.Name
	}
	return l
}

// IsOf reports whether the list is the one that a drive of its site is.
func (l List) IsOf(d Drive) bool {
	same := func(a, b string) bool {
		a, errA := url.PathUnescape(strings.TrimSuffix(a, "/"))
		b, errB := url.PathUnescape(strings.TrimSuffix(b, "/"))
		return errA == nil && errB == nil && a != "" && strings.EqualFold(a, b)
	}
	return same(l.WebURL, d.WebURL)
}

const listFields = "$select=id,name,displayName,webUrl,list"

// Lists lists the lists of a site, its libraries among them, but not those of the
// sites below it, and none of those that the service tells only to who asks for
// system ones. With an error it returns those that are known of.
func (c *Client) Lists(ctx context.Context, site string) ([]List, error) {
	op := "list the lists of site " + site
	return listOf(ctx, c, op, c.at("sites", site, "lists", "?"+listFields), func(w *wireList) (List, bool) {
		l := w.list(site)
		return l, l.ID != "" && l.Name != ""
	})
}

// List returns a list as it is now. One that the source does not know is ErrNotFound.
func (c *Client) List(ctx context.Context, ref ListRef) (List, error) {
	var w wireList
	k := &call{op: "find " + ref.String(), method: http.MethodGet, url: c.at("sites", ref.Site, "lists", ref.ID, "?"+listFields), cost: costGet, itemOf: ref.itemOf()}
	_, err := c.do(ctx, k, &w)
	if err == nil && !strings.EqualFold(w.ID, ref.ID) {
		err = noAnswer(k.op, fmt.Errorf("it tells of list %q", w.ID))
	}
	return w.list(ref.Site), err
}

// ListOf returns the id of the list that a drive of a site is.
func (c *Client) ListOf(ctx context.Context, d backup.DriveID) (string, error) {
	var w wireList
	k := &call{op: "find the list that drive " + string(d) + " is", method: http.MethodGet, url: c.at("drives", string(d), "list", "?$select=id"), cost: costGet, itemOf: d}
	_, err := c.do(ctx, k, &w)
	if err == nil && w.ID == "" {
		err = noAnswer(k.op, errors.New("it names no list"))
	}
	return strings.ToLower(w.ID), err
}

// FindList returns the list of a site that has a name, if there is one.
func (c *Client) FindList(ctx context.Context, site, name string) (List, bool, error) {
	all, err := c.Lists(ctx, site)
	for _, l := range all {
		if strings.EqualFold(l.Name, name) {
			return l, true, nil
		}
	}
	return List{}, false, err
}

// A Column is one of a list's columns.
type Column struct {
	Name     string // by which fields have it
	Display  string // by which people know it
	Kind     string // Graph's facet, such as text or lookup; "" where it does not say
	ReadOnly bool
	Multiple bool            // holds several values
	Looks    string          // of a lookup: the id of the list that it looks into
	Raw      json.RawMessage // as the source tells of it
}

// IsLookup reports whether the column holds ids of items or of people.
func (c *Column) IsLookup() bool { return c.Kind == "lookup" || c.Kind == "personOrGroup" }

// columnKinds are the facets by which a column says what it holds.
var columnKinds = []string{"boolean", "calculated", "choice", "contentApprovalStatus", "currency", "dateTime", "geolocation", "hyperlinkOrPicture",
	"lookup", "number", "personOrGroup", "term", "text", "thumbnail"}

func (c *Column) UnmarshalJSON(b []byte) error {
	var w struct {
		Name, DisplayName string
		ReadOnly          bool
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	*c = Column{Name: w.Name, Display: w.DisplayName, ReadOnly: w.ReadOnly}
	for _, kind := range columnKinds {
		var facet struct {
			AllowMultipleValues, AllowMultipleSelection bool
			DisplayAs, ListID                           string
		}
		raw, ok := members[kind]
		if !ok || string(raw) == "null" || json.Unmarshal(raw, &facet) != nil {
			continue
		}
		c.Kind, c.Looks = kind, facet.ListID
		c.Multiple = facet.AllowMultipleValues || facet.AllowMultipleSelection || kind == "choice" && facet.DisplayAs == "checkBoxes"
	}
	c.ReadOnly = c.ReadOnly || c.Kind == "calculated"
	dropNotes(members)
	var err error
	c.Raw, err = encode(members)
	return err
}

func (c *Column) key() string { return c.Name }
func (c *Column) malformed()  {}

// dropNotes removes what the wire says of an object beside its own members, which
// may differ from answer to answer.
func dropNotes(members map[string]json.RawMessage) {
	for name := range members {
		if strings.Contains(name, "@odata.") {
			delete(members, name)
		}
	}
}

// encode is json.Marshal, as legible as text can be.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	to := json.NewEncoder(&b)
	to.SetEscapeHTML(false)
	to.SetIndent("", "  ")
	err := to.Encode(v)
	return b.Bytes(), err
}

// A ListSchema is what a list is: its settings, columns and content types.
type ListSchema struct {
	List
	Description string
	Columns     []Column
	// ContentTypes are as the source tells of them.
	ContentTypes []json.RawMessage
	// JSON is all of it, as it is kept.
	JSON []byte
}

// A schemaFile is the form in which a schema is kept.
type schemaFile struct {
	ID           string            `json:"id"`
	Name         string            `json:"name,omitempty"`
	DisplayName  string            `json:"displayName,omitempty"`
	Description  string            `json:"description,omitempty"`
	WebURL       string            `json:"webUrl,omitempty"`
	Created      string            `json:"createdDateTime,omitempty"`
	List         json.RawMessage   `json:"list,omitempty"`
	Columns      []json.RawMessage `json:"columns"`
	ContentTypes []json.RawMessage `json:"contentTypes"`
}

// ParseSchema reads a schema as it is kept.
func ParseSchema(kept []byte) (s ListSchema, err error) {
	var f schemaFile
	var w wireList
	if err := errors.Join(json.Unmarshal(kept, &f), json.Unmarshal(kept, &w)); err != nil {
		return s, fmt.Errorf("read a list's schema: %w", err)
	}
	s = ListSchema{List: w.list(""), Description: f.Description, ContentTypes: f.ContentTypes, JSON: kept}
	for _, raw := range f.Columns {
		var c Column
		if err := json.Unmarshal(raw, &c); err != nil {
			return s, fmt.Errorf("read a list's schema: %w", err)
		}
		s.Columns = append(s.Columns, c)
	}
	return s, nil
}

type wireType struct {
	ID  string
	raw json.RawMessage
}

func (w *wireType) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	dropNotes(members)
	json.Unmarshal(members["id"], &w.ID)
	var err error
	w.raw, err = encode(members)
	return err
}

func (w *wireType) key() string { return w.ID }
func (w *wireType) malformed()  {}

// Schema returns what a list is. Columns that are hidden are not told of.
func (c *Client) Schema(ctx context.Context, ref ListRef) (s ListSchema, err error) {
	var w struct {
		schemaFile
		Columns      *[]Column   `json:"columns"`
		MoreColumns  string      `json:"columns@odata.nextLink"`
		ContentTypes *[]wireType `json:"contentTypes"`
		MoreTypes    string      `json:"contentTypes@odata.nextLink"`
	}
	k := &call{op: "read the columns of " + ref.String(), method: http.MethodGet, cost: costList, itemOf: ref.itemOf(),
		url: c.at("sites", ref.Site, "lists", ref.ID, "?$select=id,name,displayName,description,webUrl,createdDateTime,list&$expand=columns,contentTypes")}
	if _, err := c.do(ctx, k, &w); err != nil {
		return s, err
	}
	if !strings.EqualFold(w.ID, ref.ID) || w.Columns == nil || w.ContentTypes == nil {
		return s, noAnswer(k.op, fmt.Errorf("it tells of list %q, or not of the columns and content types", w.ID))
	}
	columns, err := rest(ctx, c, k.op, *w.Columns, w.MoreColumns)
	if err != nil {
		return s, err
	}
	types, err := rest(ctx, c, k.op, *w.ContentTypes, w.MoreTypes)
	if err != nil {
		return s, err
	}
	f := w.schemaFile
	f.Columns, f.ContentTypes = []json.RawMessage{}, []json.RawMessage{}
	for _, column := range columns {
		f.Columns = append(f.Columns, column.Raw)
	}
	for _, t := range types {
		f.ContentTypes = append(f.ContentTypes, t.raw)
	}
	kept, err := encode(f)
	if err != nil {
		return s, fmt.Errorf("%s: %w", k.op, err)
	}
	s, err = ParseSchema(kept)
	s.ListRef = ListRef{ref.Site, strings.ToLower(ref.ID)}
	return s, err
}

// rest adds to a list that came inside of another answer what follows it.
func rest[T any](ctx context.Context, c *Client, op string, first []T, next string) ([]T, error) {
	if next == "" {
		return first, nil
	}
	if why := c.foreign(next, next); why != "" {
		return nil, noAnswer(op, errors.New("the source's list goes on "+why))
	}
	for p, err := range pages[T](ctx, c, call{op: op, url: next, cost: costList}) {
		if err != nil {
			return nil, err
		}
		first = append(first, p.Value...)
	}
	return first, nil
}

// A ListItem is an item of a list, as the source tells of it.
type ListItem struct {
	ID                int // its number in the list; 0 where the source gives none
	ETag              string
	Created, Modified time.Time
	Deleted           bool   // only in ListDelta: only the number is known
	JSON              []byte // the item as it is kept; nil if its fields were not told
	// File is the file or folder that an item of a library is, where that was asked for.
	File backup.ItemID
}

// An ItemFile is the form in which an item of a list is kept: what Graph says of it.
type ItemFile struct {
	ID           string                     `json:"id"`
	ETag         string                     `json:"eTag,omitempty"`
	WebURL       string                     `json:"webUrl,omitempty"`
	Created      json.RawMessage            `json:"createdDateTime,omitempty"`
	Modified     json.RawMessage            `json:"lastModifiedDateTime,omitempty"`
	CreatedBy    json.RawMessage            `json:"createdBy,omitempty"`
	LastModified json.RawMessage            `json:"lastModifiedBy,omitempty"`
	ContentType  json.RawMessage            `json:"contentType,omitempty"`
	File         backup.ItemID              `json:"driveItem,omitempty"` // of a library
	Fields       map[string]json.RawMessage `json:"fields"`
}

type wireListItem struct {
	ItemFile
	Created  wireTime                   `json:"createdDateTime"`
	Modified wireTime                   `json:"lastModifiedDateTime"`
	Deleted  *struct{}                  `json:"deleted"`
	File     struct{ ID backup.ItemID } `json:"driveItem"`

	told  struct{ Created, Modified json.RawMessage }
	wrong bool
}

func (w *wireListItem) key() string { return w.ID }
func (w *wireListItem) malformed()  { w.wrong = true }

func (w *wireListItem) UnmarshalJSON(b []byte) error {
	type plain wireListItem // without this method
	var times struct {
		Created  json.RawMessage `json:"createdDateTime"`
		Modified json.RawMessage `json:"lastModifiedDateTime"`
	}
	err := json.Unmarshal(b, (*plain)(w))
	if err == nil {
		err = json.Unmarshal(b, &times)
	}
	w.told.Created, w.told.Modified = times.Created, times.Modified
	return err
}

func (w *wireListItem) item() (ListItem, error) {
	it := ListItem{ETag: w.ETag, Created: w.Created.Time, Modified: w.Modified.Time, Deleted: w.Deleted != nil && !w.wrong}
	if n, err := strconv.ParseInt(w.ID, 10, 32); err == nil && n > 0 {
		it.ID = int(n)
	}
	if !w.wrong && isName(string(w.File.ID)) {
		it.File = w.File.ID
	}
	if w.wrong || it.Deleted || it.ID == 0 || w.Fields == nil {
		return it, nil
	}
	f := w.ItemFile
	f.Created, f.Modified, f.File = w.told.Created, w.told.Modified, it.File
	dropNotes(f.Fields)
	var err error
	it.JSON, err = encode(f)
	return it, err
}

// MaxLookups is how many lookups the source answers in one request.
const MaxLookups = 12

// ListDelta is Delta for a list: what changed in it since a cursor, or all its items
// for an empty one. Items come with their fields if those are asked for, which the
// source does of lists with no more than MaxLookups lookups; a cursor goes on as it
// was begun.
func (c *Client) ListDelta(ctx context.Context, ref ListRef, cursor string, fields bool) *Changes[ListItem] {
	if !fields {
		return c.listDelta(ctx, ref, cursor, "")
	}
	return c.listDelta(ctx, ref, cursor, "&$expand=fields")
}

// fileOf is what is asked for of items of a library to know which file each is.
const fileOf = "driveItem($select=id)"

// LibraryDelta is ListDelta for the list that a library is: each item says which file
// or folder of the drive it is.
func (c *Client) LibraryDelta(ctx context.Context, ref ListRef, cursor string, fields bool) *Changes[ListItem] {
	if !fields {
		return c.listDelta(ctx, ref, cursor, "&$expand="+fileOf)
	}
	return c.listDelta(ctx, ref, cursor, "&$expand=fields,"+fileOf)
}

func (c *Client) listDelta(ctx context.Context, ref ListRef, cursor, expand string) *Changes[ListItem] {
	op := "read changes of " + ref.String()
	convert := func(in []wireListItem) ([]ListItem, error) {
		out := make([]ListItem, len(in))
		for i := range in {
			var err error
			if out[i], err = in[i].item(); err != nil {
				return nil, fmt.Errorf("%s: %w", op, err)
			}
		}
		return out, nil
	}
	if cursor == "" {
		return delta(ctx, c, op, c.at("sites", ref.Site, "lists", ref.ID, "items", "delta", "?$top=1000"+expand), costList, convert)
	}
	address, ok := c.resume(cursor)
	if ok {
		ok = c.foreign(address, c.at("sites", ref.Site, "lists", ref.ID)) == ""
	}
	if !ok {
		return failed[ListItem](&Error{Op: op, Err: errors.New("the cursor is no address in this list"), kind: ErrResync})
	}
	x := delta(ctx, c, op, address, costGet, convert)
	x.all = noCursor(op, x.all, func() bool {
		_, err := c.List(ctx, ref) // the list itself may be gone
		return err == nil
	})
	return x
}

// ListItem returns an item as it is now, with its fields. A vanished one is
// ErrNotFound, and one that the source tells nothing of ErrContent. Groups are the
// columns that are asked for at a time, all being in one of them; none asks for all.
func (c *Client) ListItem(ctx context.Context, ref ListRef, id int, groups ...[]string) (ListItem, error) {
	return c.numbered(ctx, ref, id, "", groups)
}

// LibraryItem is ListItem for an item of a library, which says which file it is.
func (c *Client) LibraryItem(ctx context.Context, ref ListRef, id int, groups ...[]string) (ListItem, error) {
	return c.numbered(ctx, ref, id, ","+fileOf, groups)
}

func (c *Client) numbered(ctx context.Context, ref ListRef, id int, more string, groups [][]string) (ListItem, error) {
	k := call{op: "look at item " + strconv.Itoa(id) + " of " + ref.String(), itemOf: ref.itemOf(),
		url: c.at("sites", ref.Site, "lists", ref.ID, "items", strconv.Itoa(id))}
	it, err := c.listItem(ctx, k, more, groups)
	if err == nil && it.ID != id {
		err = &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return it, err
}

// ColumnsOf returns the item of a library's list that a file or folder is. Groups are
// as for ListItem.
func (c *Client) ColumnsOf(ctx context.Context, d backup.DriveID, file backup.ItemID, groups ...[]string) (ListItem, error) {
	k := call{op: onItem("look at the columns of item", d, file), itemOf: d, url: c.at("drives", string(d), "items", string(file), "listItem")}
	it, err := c.listItem(ctx, k, ","+fileOf, groups)
	switch {
	case err != nil:
	case it.ID == 0:
		err = noAnswer(k.op, errors.New("it names no item of the list"))
	case it.File != "" && !strings.EqualFold(string(it.File), string(file)):
		err = &Error{Op: k.op, Err: errOtherItem, kind: ErrUnavailable}
	}
	return it, err
}

func (c *Client) listItem(ctx context.Context, of call, more string, groups [][]string) (ListItem, error) {
	op := of.op
	options := []string{"?$expand=fields" + more}
	if len(groups) > 0 {
		options = options[:0]
		for _, names := range groups {
			options = append(options, "?$expand=fields($select="+strings.Join(names, ",")+")"+more)
		}
	}
	var whole wireListItem
	for i, option := range options {
		var w wireListItem
		k := of
		k.method, k.cost, k.url = http.MethodGet, costGet, of.url+option
		if _, err := c.do(ctx, &k, &w); err != nil {
			return ListItem{}, err
		}
		switch {
		case i > 0 && w.ID != whole.ID:
			return ListItem{}, &Error{Op: op, Err: errOtherItem, kind: ErrUnavailable}
		case w.Fields == nil:
			return ListItem{}, &Error{Op: op, Err: errors.New("it tells no fields"), kind: ErrContent}
		case i == 0:
			whole = w
			continue
		case w.ETag != whole.ETag:
			return ListItem{}, &Error{Op: op, Err: errors.New("it changed while its fields were read"), kind: ErrChanged}
		}
		for name, v := range w.Fields {
			whole.Fields[name] = v
		}
	}
	return whole.item()
}

// Groups are the columns of a list, as ListItem has to ask for them where there are
// more than MaxLookups lookups; else none.
func (s *ListSchema) Groups() (groups [][]string) {
	var names, lookups []string
	for i := range s.Columns {
		c := &s.Columns[i]
		switch {
		case !c.IsLookup():
			names = append(names, c.Name)
		default:
			lookups = append(lookups, c.Name)
		}
	}
	if len(lookups) <= MaxLookups {
		return nil
	}
	const most = 40 // names in an address
	groups = slices.Collect(slices.Chunk(names, most))
	for some := range slices.Chunk(lookups, MaxLookups) {
		var both []string
		for _, name := range some {
			both = append(both, name)
			if at := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name }); !s.Columns[at].Multiple {
				both = append(both, name+"LookupId")
			}
		}
		groups = append(groups, both)
	}
	return groups
}

// NewList is a list to be made.
type NewList struct {
	Name        string
	Description string
	Columns     []json.RawMessage
	Template    string
	Types       bool // it may have several content types
}

// CreateList makes a new, empty list in a site. If the name is taken, it is ErrExists.
// Unclear says of a failure that it may have been made all the same.
func (c *Client) CreateList(ctx context.Context, site string, l NewList) (made List, unclear bool, err error) {
	type list struct {
		Template string `json:"template"`
		Types    bool   `json:"contentTypesEnabled,omitempty"`
	}
	k := &call{op: "create a list in site " + site, method: http.MethodPost, url: c.at("sites", site, "lists"), cost: costWrite, once: true,
		json: struct {
			Name        string            `json:"displayName"`
			Description string            `json:"description,omitempty"`
			Columns     []json.RawMessage `json:"columns,omitempty"`
			List        list              `json:"list"`
		}{l.Name, l.Description, l.Columns, list{l.Template, l.Types}}}
	var w wireList
	if _, err := c.do(ctx, k, &w); err != nil {
		return made, k.unclear, err
	}
	if w.ID == "" {
		return made, true, noAnswer(k.op, errors.New("it names no list"))
	}
	return w.list(site), false, nil
}

// AddColumn gives a list one more column. If it has one of that name, it is ErrExists.
func (c *Client) AddColumn(ctx context.Context, ref ListRef, column json.RawMessage) error {
	return c.addTo(ctx, ref, "column", "columns", column)
}

// AddContentType gives a list one more content type. If it has one of that name, it is
// ErrExists.
func (c *Client) AddContentType(ctx context.Context, ref ListRef, of any) error {
	return c.addTo(ctx, ref, "content type", "contentTypes", of)
}

func (c *Client) addTo(ctx context.Context, ref ListRef, what, where string, body any) error {
	k := &call{op: "add a " + what + " to " + ref.String(), method: http.MethodPost, url: c.at("sites", ref.Site, "lists", ref.ID, where), cost: costWrite,
		json: body, itemOf: ref.itemOf()}
	_, err := c.do(ctx, k, nil)
	if k.unclear && errors.Is(err, ErrExists) {
		return nil // by an earlier try
	}
	return err
}

// Makes reports whether an item of a list may have been made by this client: whether it
// names its application as the maker, or neither a person nor an application.
func (c *Client) Makes(f *ItemFile) bool {
	var by struct {
		User        struct{ ID, Email string }
		Application struct{ ID string }
		Group       struct{ ID string }
	}
	if json.Unmarshal(f.CreatedBy, &by) != nil {
		return true
	}
	if by.Application.ID != "" {
		return strings.EqualFold(by.Application.ID, c.cfg.ClientID)
	}
	return by.User.ID == "" && by.User.Email == "" && by.Group.ID == ""
}

// A ListWrite is what an item of a list is made of, or what of it is changed.
type ListWrite struct {
	ContentType string         // the id of one of the list's; "" leaves that to the source, or as it is
	Fields      map[string]any // by the names that the wire has for them
}

func (w ListWrite) body() any {
	type contentType struct {
		ID string `json:"id"`
	}
	b := struct {
		ContentType *contentType   `json:"contentType,omitempty"`
		Fields      map[string]any `json:"fields"`
	}{Fields: w.Fields}
	if w.ContentType != "" {
		b.ContentType = &contentType{w.ContentType}
	}
	return b
}

// CreateListItem makes an item of a list, and returns it as it then is.
//
// Unclear says of a failure that the item may have come all the same. It is not tried
// again here: look whether it is there.
func (c *Client) CreateListItem(ctx context.Context, ref ListRef, w ListWrite) (it ListItem, unclear bool, err error) {
	k := &call{op: "create an item of " + ref.String(), method: http.MethodPost, url: c.at("sites", ref.Site, "lists", ref.ID, "items"), cost: costWrite, itemOf: ref.itemOf(),
		once: true, json: w.body()}
	var made wireListItem
	if _, err := c.do(ctx, k, &made); err != nil {
		return it, k.unclear || ctx.Err() != nil, err
	}
	if it, err = made.item(); err == nil && it.ID == 0 {
		err = noAnswer(k.op, errors.New("it names no item"))
	}
	return it, err != nil, err
}

// PatchListItem changes fields of an item. If tag is given and is not the item's eTag,
// it is ErrChanged.
func (c *Client) PatchListItem(ctx context.Context, ref ListRef, id int, w ListWrite, tag string) error {
	k := &call{op: "change item " + strconv.Itoa(id) + " of " + ref.String(), method: http.MethodPatch, cost: costWrite, itemOf: ref.itemOf(), header: ifMatch(tag),
		url: c.at("sites", ref.Site, "lists", ref.ID, "items", strconv.Itoa(id), "fields"), json: w.Fields}
	if w.ContentType != "" {
		k.url, k.json = c.at("sites", ref.Site, "lists", ref.ID, "items", strconv.Itoa(id)), w.body()
	}
	_, err := c.do(ctx, k, nil)
	return err
}

// DeleteListItem moves an item to the site's recycle bin. If tag is given and is not
// the item's eTag, it is ErrChanged.
func (c *Client) DeleteListItem(ctx context.Context, ref ListRef, id int, tag string) error {
	k := &call{op: "delete item " + strconv.Itoa(id) + " of " + ref.String(), method: http.MethodDelete, cost: costWrite, itemOf: ref.itemOf(), header: ifMatch(tag),
		url: c.at("sites", ref.Site, "lists", ref.ID, "items", strconv.Itoa(id))}
	_, err := c.do(ctx, k, nil)
	if k.unclear && errors.Is(err, ErrNotFound) {
		return nil // by an earlier try
	}
	return err
}
