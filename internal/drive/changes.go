package drive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// Changes is one pass over what changed since a cursor.
type Changes[T any] struct {
	all    iter.Seq2[T, error]
	cursor string
}

// All yields each change as it comes, in no particular order; the same thing
// may come many times, and then the last one counts. After an error nothing
// follows. Ranging again starts again.
func (x *Changes[T]) All() iter.Seq2[T, error] { return x.all }

// Cursor returns where the next pass begins. It is empty until All has ended
// without an error: what comes of an unfinished pass is not to be kept.
func (x *Changes[T]) Cursor() string { return x.cursor }

// A page is one answer of a list or a delta. Where it has both links, the list
// goes on.
type page[T any] struct {
	Value []T
	Next  string `json:"@odata.nextLink"`
	Delta string `json:"@odata.deltaLink"`
}

// An entry is what pages are made of.
type entry interface {
	key() string // by which the same thing is known again; may be empty
	malformed()  // notes that some of it could not be understood
}

// take decodes a page, an entry at a time: an answer of many tiny entries would
// else be many times as large once it is decoded. Of an entry with a member that
// cannot be understood, only that entry suffers.
func (p *page[T]) take(body []byte) error {
	if q := (page[T]{}); jsonscan.Scan(body, &q) {
		*p = q
		return nil
	}
	var outer struct {
		Value json.RawMessage
		Next  string `json:"@odata.nextLink"`
		Delta string `json:"@odata.deltaLink"`
	}
	if err := json.Unmarshal(body, &outer); err != nil {
		return err
	}
	*p = page[T]{Next: outer.Next, Delta: outer.Delta}
	if len(outer.Value) == 0 || outer.Value[0] != '[' {
		return errors.New("it is not a list")
	}
	list := json.NewDecoder(bytes.NewReader(outer.Value))
	list.Token() // the bracket
	for p.Value = []T{}; list.More(); {
		if len(p.Value) == maxEntries {
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		var t T
		switch err := list.Decode(&t); {
		case err == nil:
		case isType(err):
			any(&t).(entry).malformed()
		default:
			return err
		}
		p.Value = append(p.Value, t)
	}
	return nil
}

// isType reports whether what was decoded is JSON, and not what was expected.
func isType(err error) bool {
	_, wrong := errors.AsType[*json.UnmarshalTypeError](err)
	return wrong
}

const (
	// maxBarren is how many pages in a row may bring nothing that the pages
	// before did not bring. The service gives empty pages while it looks
	// through what has not changed, and repeats what has; dozens have been
	// seen, not thousands.
	maxBarren = 1000
	// maxPages is what a list may have at all. The largest library that the
	// service allows, of 30 million items, has 150,000 pages of the usual 200.
	maxPages = 500_000
	// maxEntries is what a page may have. The service gives 200, and 5000 to
	// who asks for as many as there may be.
	maxEntries = 50_000
	// maxListed is what all pages of a list may have together: twice what the
	// largest library holds, since the same may come again.
	maxListed = 60_000_000
)

// pages yields the pages from first on, following the source's links unchanged
// as long as they lead on and stay at Graph. A list without end is ErrEndless.
func pages[T any](ctx context.Context, c *Client, first call) iter.Seq2[page[T], error] {
	return func(yield func(page[T], error) bool) {
		seed := maphash.MakeSeed()
		// Half a hash does for what is known: of a thousand pages in a row, one has
		// something that is not taken for what came before.
		visited, known := map[uint64]bool{}, map[uint32]struct{}{}
		barren, listed, address, op := 0, 0, first.url, first.op
		endless := func(why string) { yield(page[T]{}, &Error{Op: op, Err: errors.New(why), kind: ErrEndless}) }
		for {
			visited[maphash.String(seed, address)] = true
			var p page[T]
			k := first
			k.method, k.url = http.MethodGet, address
			if _, err := c.do(ctx, &k, &p); err != nil {
				yield(page[T]{}, err)
				return
			}
			before := len(known)
			for i := range p.Value {
				if key := any(&p.Value[i]).(entry).key(); key != "" {
					known[uint32(maphash.String(seed, key))] = struct{}{}
				}
			}
			if barren++; len(known) > before {
				barren = 0
			}
			for _, link := range []string{p.Next, p.Delta} {
				if link == "" {
					continue
				}
				if why := c.foreign(link, first.url); why != "" {
					yield(page[T]{}, &Error{Op: op, Err: errors.New("the source's list goes on " + why), kind: ErrUnavailable})
					return
				}
			}
			listed += len(p.Value)
			if !yield(p, nil) || p.Next == "" {
				return
			}
			address = p.Next
			switch {
			case visited[maphash.String(seed, address)]:
				endless("the next page is one that came before")
				return
			case barren == maxBarren:
				endless(fmt.Sprintf("%d pages in a row brought nothing new", maxBarren))
				return
			case len(visited) == maxPages:
				endless(fmt.Sprintf("it has more than %d pages", maxPages))
				return
			case listed > maxListed:
				endless(fmt.Sprintf("it has more than %d entries", maxListed))
				return
			}
		}
	}
}

// foreign says in what way a link leads elsewhere than to Graph, or to another
// drive, group, mailbox or list than the list is of: what is there is not the list that was
// asked for, and its end would hide what changes here. It is empty if the link
// does neither.
func (c *Client) foreign(link, list string) string {
	u, err := url.Parse(link)
	if err != nil || c.graph == nil || !sameOrigin(u, c.graph) {
		return "at another server"
	}
	if from, err := url.Parse(list); err == nil {
		for _, kind := range []string{"drive", "group", "mailbox", "folder", "list"} {
			mine, other := idIn(from, kind), idIn(u, kind)
			switch {
			case mine == "" || strings.EqualFold(mine, other):
			case other != "":
				return "in another " + kind
			case kind == "drive" && strings.Contains(u.EscapedPath(), "/users/") && !strings.Contains(u.EscapedPath(), "/drive/"):
				return "in the directory"
			}
		}
	}
	return ""
}

// idIn returns the id of the drive, group, mailbox, folder or list that an address is of, in either of
// the two forms in which it is written; empty if it is of none.
func idIn(u *url.URL, kind string) string {
	many := "/" + kind + "s"
	if kind == "mailbox" {
		many = "/mailboxes"
	}
	_, rest, ok := strings.Cut(u.EscapedPath(), many)
	var id string
	switch {
	case !ok:
	case strings.HasPrefix(rest, "/"):
		id, _, _ = strings.Cut(rest[1:], "/")
	case strings.HasPrefix(rest, "('"):
		id, _, _ = strings.Cut(rest[2:], "')")
	}
	id, _ = url.PathUnescape(id)
	if kind == "folder" && (id == "delta" || strings.HasPrefix(id, "microsoft.graph.")) {
		return "" // of all folders
	}
	return id
}

// delta returns the pass over address, whose entries convert makes of a page.
func delta[W, T any](ctx context.Context, c *Client, op, address string, cost int, convert func([]W) ([]T, error)) *Changes[T] {
	return deltaOf(ctx, c, call{op: op, url: address, cost: cost}, convert)
}

// deltaOf is delta from a first call on.
func deltaOf[W, T any](ctx context.Context, c *Client, first call, convert func([]W) ([]T, error)) *Changes[T] {
	op := first.op
	x := new(Changes[T])
	x.all = func(yield func(T, error) bool) {
		x.cursor = ""
		var none T
		end := ""
		for p, err := range pages[W](ctx, c, first) {
			var entries []T
			if err == nil {
				entries, err = convert(p.Value)
			}
			if err != nil {
				yield(none, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			end = p.Delta
		}
		if end == "" {
			yield(none, &Error{Op: op, Err: errors.New("the source ended the list without saying where to go on"), kind: ErrUnavailable})
			return
		}
		x.cursor = end
	}
	return x
}

// resume returns a stored cursor as an address of this Graph: the server may
// have moved since, and no request is to go where it was.
func (c *Client) resume(cursor string) (string, bool) {
	u, err := url.Parse(cursor)
	if err != nil || u.Host == "" || c.graph == nil {
		return "", false
	}
	if !sameOrigin(u, c.graph) {
		u.Scheme, u.Host = c.graph.Scheme, c.graph.Host
	}
	return u.String(), true
}

// failed returns the pass that fails at once.
func failed[T any](err error) *Changes[T] {
	return &Changes[T]{all: func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}}
}

// itemFields is what is asked of items: the answer would else be several times
// as long.
const itemFields = "$select=id,name,size,eTag,cTag,createdDateTime,lastModifiedDateTime,fileSystemInfo,parentReference,file,folder,package,remoteItem,root,malware,deleted"

// fileFields is itemFields with the address of a file's content, for where that
// is going to be read. From April 2027 it may be missing.
const fileFields = itemFields + ",@microsoft.graph.downloadUrl"

// Delta returns what changed in a drive since cursor, or all that is in it for
// an empty one. A moved folder does not bring what it holds, and deleted items
// bring only their id. Every entry of the source's comes; one that lacks what
// every item has, be it the id, is Incomplete. A cursor that the source no
// longer takes is ErrResync: enumerate all again and compare, and infer nothing
// before that has ended.
func (c *Client) Delta(ctx context.Context, d backup.DriveID, cursor string) *Changes[Item] {
	op := "read changes of drive " + string(d)
	convert := func(in []wireItem) ([]Item, error) {
		out := make([]Item, len(in))
		for i := range in {
			out[i] = in[i].item()
			if out[i].provable() {
				if where := c.direct(&in[i]); where != "" {
					c.addresses.give(d, out[i].ID, where, c.cfg.Clock())
				}
			}
		}
		return out, nil
	}
	if cursor == "" {
		return delta(ctx, c, op, c.at("drives", string(d), "root", "delta", "?"+fileFields), costList, convert)
	}
	address, ok := c.resume(cursor)
	if ok {
		ok = c.foreign(address, c.at("drives", string(d))) == ""
	}
	if !ok {
		return failed[Item](&Error{Op: op, Err: errors.New("the cursor is no address in this drive"), kind: ErrResync})
	}
	x := delta(ctx, c, op, address, costGet, convert)
	x.all = noCursor(op, x.all, func() bool {
		// The drive itself may be gone, or away for a while.
		_, err := c.Root(ctx, d)
		return err == nil
	})
	return x
}

// noCursor makes the source's many ways of refusing a cursor one: ErrResync.
// There is reports whether the thing that changes is itself there.
func noCursor[T any](op string, all iter.Seq2[T, error], there func() bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for t, err := range all {
			if e, ok := errors.AsType[*Error](err); ok && e.Op == op { // not of the sign-in
				switch e.Status {
				case http.StatusBadRequest:
					// Links are followed unchanged, so it is the token.
					e.kind = ErrResync
				case http.StatusNotFound, http.StatusInternalServerError:
					if there() {
						e.kind = ErrResync
					}
				}
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

const userFields = "$select=id,userPrincipalName,mail,displayName"

type wireUser struct {
	ID                string
	UserPrincipalName maybe
	Mail              maybe
	DisplayName       maybe
	Removed           *struct{} `json:"@removed"`
}

func (w *wireUser) key() string { return w.ID }
func (w *wireUser) malformed()  {}

// maybe is a text that may be absent, which is not the same as null. What is no
// text is as good as absent.
type maybe struct {
	text  string
	given bool
}

func (m *maybe) UnmarshalJSON(b []byte) error {
	if n := len(b); n > 1 && b[0] == '"' && bytes.IndexByte(b, '\\') < 0 && utf8.Valid(b) { // as most are
		m.text, m.given = string(b[1:n-1]), true
		return nil
	}
	m.given = json.Unmarshal(b, &m.text) == nil
	return nil
}

// identified returns the users among in that have an id: nothing can be said of
// the others.
func (c *Client) identified(ctx context.Context, op string, in []wireUser) []wireUser {
	return slices.DeleteFunc(in, func(w wireUser) bool {
		if w.ID == "" {
			c.cfg.Log.WarnContext(ctx, "the source names a user without id", "doing", op, "user", w.UserPrincipalName.text)
		}
		return w.ID == ""
	})
}

func (w *wireUser) user() backup.Subject {
	return backup.Subject{
		ID:          backup.SubjectID(strings.ToLower(w.ID)),
		Address:     w.UserPrincipalName.text,
		Mail:        w.Mail.text,
		DisplayName: w.DisplayName.text,
	}
}

// Users returns what changed among the directory's users since cursor, or all
// of them for an empty one. Each change holds the whole user. A cursor that the
// source no longer takes is ErrResync.
func (c *Client) Users(ctx context.Context, cursor string) *Changes[UserChange] {
	const op = "read the directory's users"
	if cursor == "" {
		return delta(ctx, c, op, c.at("users", "delta", "?"+userFields), 0, func(in []wireUser) ([]UserChange, error) {
			in = c.identified(ctx, op, in)
			out := make([]UserChange, len(in))
			for i := range in {
				out[i] = UserChange{User: in[i].user(), Removed: in[i].Removed != nil}
			}
			return out, nil
		})
	}
	address, ok := c.resume(cursor)
	if !ok {
		return failed[UserChange](&Error{Op: op, Err: errors.New("the cursor is not a URL"), kind: ErrResync})
	}
	x := delta(ctx, c, op, address, 0, func(in []wireUser) ([]UserChange, error) { return c.wholeUsers(ctx, c.identified(ctx, op, in)) })
	x.all = noCursor(op, x.all, func() bool {
		var any page[wireUser]
		_, err := c.do(ctx, &call{op: op, method: http.MethodGet, url: c.at("users", "?$top=1&"+userFields)}, &any)
		return err == nil
	})
	return x
}

// wholeUsers asks for those users of whom the page holds only what changed.
func (c *Client) wholeUsers(ctx context.Context, in []wireUser) ([]UserChange, error) {
	var part []string
	for _, w := range in {
		if w.Removed == nil && !(w.UserPrincipalName.given && w.Mail.given && w.DisplayName.given) {
			part = append(part, w.ID)
		}
	}
	whole, err := c.FindUsers(ctx, part)
	if err != nil {
		return nil, err
	}
	asked := make(map[string]bool, len(part))
	for _, id := range part {
		asked[id] = true
	}
	out := make([]UserChange, len(in))
	for i := range in {
		out[i] = UserChange{User: in[i].user(), Removed: in[i].Removed != nil}
		if asked[in[i].ID] && !out[i].Removed {
			u, ok := whole[in[i].ID]
			if ok {
				out[i].User = u
			}
			out[i].Removed = !ok
		}
	}
	return out, nil
}

// maxClauses is how many comparisons one filter may hold.
const maxClauses = 15

// FindUsers asks the directory for the users with the given object ids, user
// principal names or mail addresses. The result holds those that exist, by the
// entry as it was given.
func (c *Client) FindUsers(ctx context.Context, entries []string) (map[string]backup.Subject, error) {
	found := make(map[string]backup.Subject, len(entries))
	var filters []string
	var ids, clauses []string
	flushIDs := func() {
		if len(ids) > 0 {
			filters = append(filters, "id in ("+strings.Join(ids, ",")+")")
			ids = nil
		}
	}
	flushClauses := func() {
		if len(clauses) > 0 {
			filters = append(filters, strings.Join(clauses, " or "))
			clauses = nil
		}
	}
	for _, e := range entries {
		quoted := "'" + strings.ReplaceAll(e, "'", "''") + "'"
		if _, ok := backup.ParseGUID(e); ok {
			if ids = append(ids, quoted); len(ids) == maxClauses {
				flushIDs()
			}
			continue
		}
		clauses = append(clauses, "userPrincipalName eq "+quoted, "mail eq "+quoted)
		if len(clauses)+2 > maxClauses {
			flushClauses()
		}
	}
	flushIDs()
	flushClauses()

	byName := make(map[string]backup.Subject)
	for _, f := range filters {
		address := c.at("users", "?"+userFields+"&$top=999&$filter="+strings.ReplaceAll(url.QueryEscape(f), "+", "%20"))
		for p, err := range pages[wireUser](ctx, c, call{op: "look up users", url: address}) {
			if err != nil {
				return nil, err
			}
			for _, w := range c.identified(ctx, "look up users", p.Value) {
				u := w.user()
				byName[string(u.ID)] = u
				// Someone's principal name goes before someone else's mail.
				if mail := strings.ToLower(u.Mail); mail != "" {
					if old, ok := byName[mail]; !ok || !strings.EqualFold(old.Address, mail) {
						byName[mail] = u
					}
				}
				byName[strings.ToLower(u.Address)] = u
			}
		}
	}
	for _, e := range entries {
		if u, ok := byName[strings.ToLower(e)]; ok && e != "" {
			found[e] = u
		}
	}
	return found, nil
}

// GroupMembers yields the users who are direct members of a group: what is in
// groups within it is not. When it ends without an error the list came to its
// end, and the group was there still: one that the directory does not know is
// ErrNotFound, and a list that names somebody without saying who is
// ErrUnavailable, behind all others.
func (c *Client) GroupMembers(ctx context.Context, group backup.ObjectID) iter.Seq2[backup.Subject, error] {
	op := "read the members of group " + string(group)
	address := c.at("groups", string(group), "members", "microsoft.graph.user", "?"+userFields+"&$top=999")
	return func(yield func(backup.Subject, error) bool) {
		unnamed := 0
		for p, err := range pages[wireUser](ctx, c, call{op: op, url: address}) {
			if err != nil {
				yield(backup.Subject{}, err)
				return
			}
			known := c.identified(ctx, op, p.Value)
			unnamed += len(p.Value) - len(known)
			for _, w := range known {
				if !yield(w.user(), nil) {
					return
				}
			}
		}
		if err := c.LookAtGroup(ctx, group); err != nil {
			yield(backup.Subject{}, err)
		} else if unnamed > 0 {
			yield(backup.Subject{}, &Error{Op: op, Err: fmt.Errorf("the list has %d entries that do not say who they are", unnamed), kind: ErrUnavailable})
		}
	}
}

// LookAtGroup asks for a group itself: one that the directory does not know is
// ErrNotFound.
func (c *Client) LookAtGroup(ctx context.Context, group backup.ObjectID) error {
	op := "look at group " + string(group)
	var g wireUser // all that has an id
	_, err := c.do(ctx, &call{op: op, method: http.MethodGet, url: c.at("groups", string(group), "?$select=id")}, &g)
	if err == nil && !strings.EqualFold(g.ID, string(group)) {
		err = &Error{Op: op, Err: errors.New("the source answered with something else"), kind: ErrUnavailable}
	}
	return err
}
