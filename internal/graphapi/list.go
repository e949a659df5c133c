package graphapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// Options of the routes that show one entity, and of those that list.
var (
	single = []odata.Option{odata.Select}
	paged  = []odata.Option{odata.Select, odata.Top, odata.Skip, odata.Count, odata.SkipToken}
	// queried is paged where the entity has properties to filter and order by,
	// and counted is for the number of what such a list holds.
	queried = append(slices.Clone(paged), odata.Filter, odata.OrderBy)
	counted = []odata.Option{odata.Filter}
)

// A listing is one page of a set, on its way to the caller.
type listing[T any] struct {
	set   string // what the context names, below root
	fetch func(catalog.Page) (catalog.List[T], error)
	view  func(T) (odata.Entity, error)
	size  int // of a page, and no larger one; 0: as asked
}

// resource is what the context of an answer names.
func (l listing[T]) resource() string {
	if strings.HasPrefix(l.set, "holdfast.") { // ours, of no set
		return l.set
	}
	return root + "/" + l.set
}

// list answers with a page.
func list[T any](s *Server, x *exchange, l listing[T]) (reply, error) {
	after, err := s.tokens.Open(string(x.tenant()), x.path(), x.options)
	if err != nil {
		return reply{}, err
	}
	size := x.options.Top
	if n := x.prefer.PageSize; n > 0 && (size < 0 || n < size) {
		size = n
	}
	switch {
	case size < 0 && l.size == 0:
		size = odata.DefaultPage
	case l.size > 0 && (size < 0 || size > l.size):
		size = l.size
	}
	page := catalog.Page{Limit: size, Bare: size == 0, After: after, Count: x.options.Count, Filter: x.filter, Order: x.order}
	if after == "" {
		page.Skip = x.options.Skip
	}
	got, err := l.fetch(page)
	if err != nil {
		return reply{}, err
	}
	items := make([]odata.Entity, len(got.Items))
	for i, item := range got.Items {
		if items[i], err = l.view(item); err != nil {
			return reply{}, err
		}
	}
	total, next := int64(-1), ""
	if x.options.Count {
		total = got.Total
	}
	if got.Next != "" {
		next = s.tokens.NextLink(string(x.tenant()), x.base, x.path(), x.options, got.Next)
	}
	f := x.form()
	body, err := f.Collection(f.Context(l.resource(), false), total, next, items)
	return reply{status: http.StatusOK, body: body, content: x.here(), paged: true}, err
}

// count answers with how many there are.
func count[T any](x *exchange, fetch func(catalog.Page) (catalog.List[T], error)) (reply, error) {
	got, err := fetch(catalog.Page{Count: true, Bare: true, Filter: x.filter})
	return reply{status: http.StatusOK, body: strconv.AppendInt(nil, got.Total, 10), plain: true}, err
}

// show answers with one entity of a set.
func show(x *exchange, status int, set string, e odata.Entity) (reply, error) {
	f := x.form()
	body, err := f.Entity(f.Context(root+"/"+set, true), e)
	return reply{status: status, body: body, content: x.here()}, err
}

// created answers for an entity that was made, at its path below root.
func created(x *exchange, set, path string, e odata.Entity) (reply, error) {
	r, err := show(x, http.StatusCreated, set, e)
	r.location, r.content, r.wrote = root+"/"+path, root+"/"+path, true
	if x.prefer.Minimal {
		r.status, r.body = http.StatusNoContent, nil
	}
	return r, err
}

// path is the address of the request below the service root, with its slash.
func (x *exchange) path() string { return x.r.URL.EscapedPath()[len(x.route.version()):] }

// here is the same without the slash.
func (x *exchange) here() string { return x.path()[1:] }

// deleted answers that something is gone.
func (s *Server) deleted(x *exchange) (reply, error) {
	s.replays.forget(x.tenant())
	return reply{status: http.StatusNoContent}, nil
}

func isUnknown(err error) bool { return errors.Is(err, backup.ItemNotFound) }

// unknown is the answer to an id of a kind that has no code of its own.
func unknown() error { return backup.Fail(backup.ItemNotFound, "There is no such resource.") }
