package drive

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"holdfast/internal/backup"
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

// A page is one answer of a list or a delta.
type page[T any] struct {
	Value []T
	Next  string `json:"@odata.nextLink"`
	Delta string `json:"@odata.deltaLink"`
}

// pages yields the pages from address on, following the source's links
// unchanged.
func pages[T any](ctx context.Context, c *Client, op, address string, cost int) iter.Seq2[page[T], error] {
	return func(yield func(page[T], error) bool) {
		for {
			var p page[T]
			k := &call{op: op, method: http.MethodGet, url: address, cost: cost}
			if _, err := c.do(ctx, k, &p); err != nil {
				yield(p, err)
				return
			}
			if p.Next == address {
				yield(p, &Error{Op: op, Err: errors.New("the source's next page is the same page"), kind: ErrUnavailable})
				return
			}
			if !yield(p, nil) || p.Next == "" {
				return
			}
			address = p.Next
		}
	}
}

// delta returns the pass over address, whose entries convert makes of a page.
func delta[W, T any](ctx context.Context, c *Client, op, address string, cost int, convert func([]W) ([]T, error)) *Changes[T] {
	x := new(Changes[T])
	x.all = func(yield func(T, error) bool) {
		x.cursor = ""
		var none T
		end := ""
		for p, err := range pages[W](ctx, c, op, address, cost) {
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
// as long, and hold an address that speaks for itself for each file.
const itemFields = "$select=id,name,size,eTag,cTag,createdDateTime,lastModifiedDateTime,fileSystemInfo,parentReference,file,folder,package,remoteItem,root,malware,deleted"

// Delta returns what changed in a drive since cursor, or all that is in it for
// an empty one. A moved folder does not bring what it holds, and deleted items
// bring only their id. A cursor that the source no longer takes is ErrResync:
// enumerate all again and compare, and infer nothing before that has ended.
func (c *Client) Delta(ctx context.Context, d backup.DriveID, cursor string) *Changes[Item] {
	op := "read changes of drive " + string(d)
	convert := func(in []wireItem) ([]Item, error) {
		out := make([]Item, len(in))
		for i := range in {
			out[i] = in[i].item()
		}
		return out, nil
	}
	if cursor == "" {
		return delta(ctx, c, op, c.at("drives", string(d), "root", "delta", "?"+itemFields), costList, convert)
	}
	address, ok := c.resume(cursor)
	if !ok {
		return failed[Item](&Error{Op: op, Err: errors.New("the cursor is not a URL"), kind: ErrResync})
	}
	x := delta(ctx, c, op, address, costGet, convert)
	x.all = noCursor(x.all, func() bool {
		// The drive itself may be gone, or away for a while.
		_, err := c.Root(ctx, d)
		return err == nil
	})
	return x
}

// noCursor makes the source's many ways of refusing a cursor one: ErrResync.
// There is reports whether the thing that changes is itself there.
func noCursor[T any](all iter.Seq2[T, error], there func() bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for t, err := range all {
			if e, ok := errors.AsType[*Error](err); ok {
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

// maybe is a text that may be absent, which is not the same as null.
type maybe struct {
	text  string
	given bool
}

func (m *maybe) UnmarshalJSON(b []byte) error {
	m.given = true
	return json.Unmarshal(b, &m.text)
}

func (w *wireUser) user() backup.User {
	return backup.User{
		ID:                backup.ObjectID(strings.ToLower(w.ID)),
		UserPrincipalName: w.UserPrincipalName.text,
		Mail:              w.Mail.text,
		DisplayName:       w.DisplayName.text,
	}
}

// Users returns what changed among the directory's users since cursor, or all
// of them for an empty one. Each change holds the whole user. A cursor that the
// source no longer takes is ErrResync.
func (c *Client) Users(ctx context.Context, cursor string) *Changes[UserChange] {
	const op = "read the directory's users"
	if cursor == "" {
		return delta(ctx, c, op, c.at("users", "delta", "?"+userFields), 0, func(in []wireUser) ([]UserChange, error) {
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
	x := delta(ctx, c, op, address, 0, func(in []wireUser) ([]UserChange, error) { return c.wholeUsers(ctx, in) })
	x.all = noCursor(x.all, func() bool {
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
func (c *Client) FindUsers(ctx context.Context, entries []string) (map[string]backup.User, error) {
	found := make(map[string]backup.User, len(entries))
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

	byName := make(map[string]backup.User)
	for _, f := range filters {
		address := c.at("users", "?"+userFields+"&$top=999&$filter="+strings.ReplaceAll(url.QueryEscape(f), "+", "%20"))
		for p, err := range pages[wireUser](ctx, c, "look up users", address, 0) {
			if err != nil {
				return nil, err
			}
			for _, w := range p.Value {
				u := w.user()
				byName[string(u.ID)] = u
				// Someone's principal name goes before someone else's mail.
				if mail := strings.ToLower(u.Mail); mail != "" {
					if old, ok := byName[mail]; !ok || !strings.EqualFold(old.UserPrincipalName, mail) {
						byName[mail] = u
					}
				}
				byName[strings.ToLower(u.UserPrincipalName)] = u
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
// groups within it is not. A group that the directory does not know is
// ErrNotFound.
func (c *Client) GroupMembers(ctx context.Context, group backup.ObjectID) iter.Seq2[backup.User, error] {
	op := "read the members of group " + string(group)
	address := c.at("groups", string(group), "members", "microsoft.graph.user", "?"+userFields+"&$top=999")
	return func(yield func(backup.User, error) bool) {
		for p, err := range pages[wireUser](ctx, c, op, address, 0) {
			if err != nil {
				yield(backup.User{}, err)
				return
			}
			for i := range p.Value {
				if !yield(p.Value[i].user(), nil) {
					return
				}
			}
		}
	}
}
