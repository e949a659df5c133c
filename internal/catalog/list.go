package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// A Page says which part of a list is asked for, and in which order.
type Page struct {
	Workload backup.Workload // only what is of it, of a list that is of several; "" for all
	Limit    int             // at most so many items; 0 or less means 100
	After    string          // List.Next of the page before; "" for the first page
	Skip     int             // items passed over before the page
	Count    bool            // whether List.Total is wanted
	Bare     bool            // whether that is all that is wanted, and no items
	Filter   odata.Expr      // what the items must meet, by the properties of the list; nil: nothing
	Order    []odata.Order   // by the properties of the list; nil: the list's own order
}

// A List is one page of a list. Unless a method says otherwise its order is
// that of creation; where a filter asks for a range of something else, and nobody
// for an order, it is the order of that. Whatever the order, it holds still while
// things are added.
//
// A page may have fewer items than were asked for, and even none, although
// others follow: so it is where no index finds what a filter asks for, and the
// time of one page was spent in looking.
type List[T any] struct {
	Items []T
	Next  string // where the next page begins; "" after the last
	Total int64  // of all pages together, if Page.Count
}

// A query is a list in the making. Every condition and order that a request
// may add goes through it, with its values as parameters.
type query struct {
	tenant  backup.TenantID
	scope   within // how it is held to the scope of a call; zero: it is shown to nobody who has one
	columns string
	table   string  // and its alias
	join    string  // what else the columns are of; not one row more or less comes of it
	look    string  // how what fields are of is looked up, and that it meets %s; "": they are of the table
	within  []equal // whose the list is
	owner   string  // the column of within that says all that the others say; "" if none does
	indexes []index // that read it; none of a list that is always short
	counts  *counts // nil: none are kept
	terms   []term  // what else is true of the items, and is for an index to find
	where   []string
	args    []any  // of where
	time    string // the column that orders the list,
	id      string // and the one that orders equal times
	newest  bool   // descending
	fields  fields // what it may be filtered and ordered by
}

// An equal says what is in a column.
type equal struct {
	column string
	value  any
}

// arg adds a parameter and returns its placeholder.
func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// of limits the list to what is of a workload, which a column says; "" leaves it.
func (q *query) of(column string, workload backup.Workload) {
	if workload != "" {
		q.within = append(q.within, equal{column, string(workload)})
	}
}

// and adds a condition that nearly all items meet.
func (q *query) and(condition string) { q.where = append(q.where, condition) }

// A sortKey is one of the expressions that order a list.
type sortKey struct {
	expr string
	text bool // not a number
	desc bool
}

// keys are what orders the list, texts by their bytes. The last is the id, so
// that no two items stand at the same place.
func (q *query) keys(order []odata.Order) ([]sortKey, error) {
	var keys []sortKey
	for _, o := range order {
		f, err := q.fields.find(o.Property.Name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, sortKey{f.expr, o.Property.Type != odata.Time, o.Desc})
	}
	if len(keys) == 0 {
		keys = []sortKey{{q.time, false, q.newest}}
	}
	return append(keys, sortKey{q.id, true, keys[len(keys)-1].desc}), nil
}

// A place is where an item stands in a list: the values of the keys.
type place []any

func (p place) id() string { s, _ := p[len(p)-1].(string); return s }

// compare tells which of two places comes first.
func (p place) compare(other place, keys []sortKey) int {
	for i, k := range keys {
		n := compareValues(p[i], other[i])
		if k.desc {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return 0
}

func compareValues(a, b any) int {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	}
	return 0
}

// A cursor is where a list goes on: behind a place, after some more items that
// are to be passed over.
type cursor struct {
	after place
	skip  int
}

// String is the cursor as List.Next has it.
func (c cursor) String() string {
	if c.skip > 0 {
		return toJSON(append(slices.Clone(c.after), map[string]int{"skip": c.skip}))
	}
	return toJSON(c.after)
}

// parseCursor reads a cursor of a list with these keys.
func parseCursor(text string, keys []sortKey) (c cursor, err error) {
	foreign := backup.Fail(backup.InvalidRequest, "The place to continue the list from is not one that this server gave. Begin the list again.")
	var all []any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&all) != nil || len(all) < len(keys) {
		return c, foreign
	}
	if len(all) > len(keys) {
		more, _ := all[len(keys)].(map[string]any)
		n, _ := more["skip"].(json.Number)
		skip, err := n.Int64()
		if err != nil || len(all) != len(keys)+1 || skip < 0 {
			return c, foreign
		}
		c.skip = int(skip)
	}
	for i, k := range keys {
		switch v := all[i].(type) {
		case string:
			if !k.text {
				return c, foreign
			}
			c.after = append(c.after, v)
		case json.Number:
			n, err := v.Int64()
			if k.text || err != nil {
				return c, foreign
			}
			c.after = append(c.after, n)
		default:
			return c, foreign
		}
	}
	return c, nil
}

// A keyedRow is a row with the values of the sort keys behind its columns.
type keyedRow struct {
	scanner
	place place
	room  *[]any // to be used again by the next row; nil: there is none
}

func (r keyedRow) Scan(dest ...any) error {
	if r.room == nil {
		r.room = new([]any)
	}
	all := append((*r.room)[:0], dest...)
	for i := range r.place {
		all = append(all, &r.place[i])
	}
	*r.room = all
	if err := r.scanner.Scan(all...); err != nil {
		return err
	}
	for i, v := range r.place {
		if b, ok := v.([]byte); ok {
			r.place[i] = string(b)
		}
	}
	return nil
}

// list reads one page of q.
func list[T any](ctx context.Context, c *Catalog, q query, p Page, scan func(scanner) (T, error)) (List[T], error) {
	var l List[T]
	if p.Limit <= 0 {
		p.Limit = 100
	}
	keys, err := q.keys(p.Order)
	if err != nil {
		return l, err
	}
	r := &reading{c: c, q: &q, d: c.db.Dialect(), keys: keys, limit: p.Limit, few: c.effort.few, budget: c.effort.walk}
	never := false
	if r.terms, never, err = q.asked(p.Filter); err != nil {
		return l, err
	}
	scope, held, wide := scopeOf(ctx), false, false
	if scope != nil {
		if q.scope.among == nil {
			return l, errOutside
		}
		s := r.statement()
		ids, _ := q.scope.among(scope.in(c, q.tenant, s.arg), s.arg)
		held = ids != ""
	}
	if held && q.scope.each != nil && !never {
		if wide, err = c.wide(ctx, q.tenant, scope, groupsOf*c.effort.few); err != nil {
			return l, err
		}
	}
	limited := held && !wide // its own items are sorted; else the list is looked through for them
	if len(p.Order) == 0 && !held {
		r.followFilter()
		keys = r.keys
	}
	if p.After != "" {
		if r.from, err = parseCursor(p.After, keys); err != nil {
			return l, err
		}
	}
	r.from.skip += p.Skip
	var known found
	if limited && !never {
		if known, l.Total, err = r.limited(ctx, scope, p); err != nil {
			return l, err
		}
	}
	if wide {
		narrow := *r
		r.terms = append(r.terms, term{condition: func(s *statement) string { return q.scope.each(scope.in(c, q.tenant, s.arg), s.arg) }})
		if p.Count {
			if l.Total, err = r.countWithin(ctx, &narrow, scope); err != nil {
				return l, err
			}
		}
	} else if p.Count && !never && !limited {
		if l.Total, err = r.count(ctx); err != nil {
			return l, err
		}
	}
	if p.Bare || never {
		return l, nil
	}
	// Either rows were read at once, or places are known whose rows are to be.
	var rows []T
	var room []any
	scanRow := func(s scanner, at place) error {
		if rows == nil {
			rows = make([]T, 0, min(p.Limit, 1000)+1)
		}
		v, err := scan(keyedRow{s, at, &room})
		if err == nil {
			rows = append(rows, v)
		}
		return err
	}
	found := known
	if !limited {
		if found, err = r.page(ctx, scanRow); err != nil {
			return l, err
		}
	}
	if len(found.places) > p.Limit {
		found.places = found.places[:p.Limit]
		found.next = &cursor{after: found.places[p.Limit-1]}
	}
	l.Items = rows[:min(len(rows), len(found.places))]
	if !found.rows && len(found.places) > 0 {
		rows = nil
		ids := make([]string, len(found.places))
		for i, at := range found.places {
			ids[i] = at.id()
		}
		var order []place
		err := r.byID(ctx, ids, func(s scanner) error {
			at := make(place, len(keys))
			order = append(order, at)
			return scanRow(s, at)
		})
		if err != nil {
			return l, err
		}
		byID := make(map[string]T, len(rows))
		for i, at := range order {
			byID[at.id()] = rows[i]
		}
		l.Items = nil
		for _, id := range ids {
			if v, ok := byID[id]; ok { // what has changed meanwhile may be in the list no more
				l.Items = append(l.Items, v)
			}
		}
	}
	if found.next != nil {
		l.Next = found.next.String()
	}
	return l, nil
}
