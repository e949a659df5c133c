package catalog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/odata"
)

// How lists are read. A list may have millions of items, and a page must cost
// what it costs in a list of a thousand: whatever is asked, an index finds it,
// or a bounded number of rows is looked at. The databases are not left to choose
// the index, since they may know nothing of how the values are spread: SQLite is
// told its name, and PostgreSQL, which does not sort what is read outside a
// transaction if it can help it, is asked for the order that only this one has.
//
// A page is read in the first of these ways that there is:
//
//   - by the ids that the filter names;
//   - from an index that has the order asked for and answers all of the filter:
//     a range of it, or a few;
//   - from an index that answers a part of the filter, if that finds few items:
//     these are sorted;
//   - from an index that has the order, so many rows at a time, passing over what
//     does not meet the filter, until the page is full or the budget spent.
//
// An order of several properties that no index has is made of the order by the
// first: of the items that are equal in it, few are sorted, and many are read by
// the second property in the same way.

const (
	fewRanges = 16 // of one index that are merged
	fewProbes = 4  // indexes that are tried
	groupsOf  = 10 // times as many items are sorted where the other way is to look through the list for them
)

// An effort is how much is read for a page that no index has as it is asked for.
type effort struct {
	few   int // items that are sorted
	walk  int // rows that are looked at
	count int // the same, for how many there are in all
}

var usualEffort = effort{few: 500, walk: 20_000, count: 50_000}

// An index is one of the database's, as lists read it.
type index struct {
	name    string
	columns []string // the last is the id
}

// An access is a way to read a list: ranges of an index.
type access struct {
	index  index
	equal  [][]any // the values of the first columns, of each range
	low    *bound  // of the column that follows
	high   *bound
	also   []equal // whose the list is, which is not answered
	rest   []term  // what else is not
	used   int     // how many terms are
	orders bool    // each range is in the order of the keys
}

// access says how an index reads the list, if it does.
func (r *reading) access(ix index) (access, bool) {
	a := access{index: ix, equal: [][]any{nil}}
	answered := make([]bool, len(r.terms))
	at := 0
	for ; at < len(ix.columns)-1; at++ {
		column := ix.columns[at]
		if i := slices.IndexFunc(r.q.within, func(e equal) bool { return e.column == column }); i >= 0 {
			for n := range a.equal {
				a.equal[n] = append(a.equal[n], r.q.within[i].value)
			}
			continue
		}
		i := slices.IndexFunc(r.terms, func(t term) bool { return t.column == column && t.values != nil })
		if i < 0 || len(a.equal)*len(r.terms[i].values) > fewRanges {
			break
		}
		var product [][]any
		for _, prefix := range a.equal {
			for _, v := range r.terms[i].values {
				product = append(product, append(slices.Clip(prefix), v))
			}
		}
		a.equal, answered[i] = product, true
	}
	mine, known := 0, slices.Contains(ix.columns[:at], r.q.owner)
	for _, e := range r.q.within {
		switch {
		case slices.Contains(ix.columns[:at], e.column):
			mine++
		case !known:
			a.also = append(a.also, e)
		}
	}
	if mine == 0 {
		return a, false
	}
	for i, t := range r.terms {
		if t.column == ix.columns[at] && t.values == nil && (t.low != nil || t.high != nil) {
			a.low, a.high, answered[i] = tighter(a.low, t.low, 1), tighter(a.high, t.high, -1), true
		}
	}
	for i, t := range r.terms {
		if answered[i] {
			a.used++
		} else {
			a.rest = append(a.rest, t)
		}
	}
	var keys []string
	for _, k := range r.keys {
		if slices.Contains(ix.columns[:at], k.expr) {
			continue
		}
		if k.desc != r.keys[0].desc {
			return a, true
		}
		keys = append(keys, k.expr)
	}
	a.orders = slices.Equal(keys, ix.columns[at:])
	return a, true
}

// whole reports whether the ranges have nothing but what is asked for.
func (a access) whole() bool { return len(a.rest) == 0 && len(a.also) == 0 }

// accesses are the ways to read the list, in the order of the indexes.
func (r *reading) accesses() (all []access) {
	for _, ix := range r.q.indexes {
		if a, ok := r.access(ix); ok {
			all = append(all, a)
		}
	}
	return all
}

// followFilter orders a list of which no order was asked by the index that finds
// all that the filter asks for, if none does that has the list's own order. It
// follows from the words of the filter alone, and is the same for each page.
func (r *reading) followFilter() {
	all := r.accesses()
	if len(r.terms) == len(r.q.terms) || slices.ContainsFunc(all, func(a access) bool { return a.orders && a.whole() }) {
		return
	}
	for _, a := range all {
		columns := a.index.columns[len(a.equal[0]):]
		if !a.whole() || len(a.equal) > 1 {
			continue
		}
		var keys []sortKey
		for _, column := range columns {
			i := slices.IndexFunc(r.q.fields, func(f field) bool { return f.expr == column || f.column == column })
			if column != r.q.id && column != r.q.time && i < 0 {
				return
			}
			text := column == r.q.id || column != r.q.time && r.q.fields[i].column == "" && r.q.fields[i].Type != odata.Time
			keys = append(keys, sortKey{column, text, r.q.newest})
		}
		r.keys = keys
		return
	}
}

// A reading is a list that is being read.
type reading struct {
	c      *Catalog
	q      *query
	d      database.Dialect
	keys   []sortKey
	terms  []term
	fixed  []equal // what is true besides
	from   cursor
	limit  int
	few    int // items that are sorted
	budget int // rows that may still be looked at
}

// found are the first places of a page, one more than its limit if there are so
// many, and where the list goes on if it must be there.
type found struct {
	places []place
	next   *cursor
	rows   bool // the rows have been read with them
}

// A statement is one in the making.
type statement struct {
	*reading
	join  string
	where []string
	until []string // what ends the range, where a database does not stop there
	args  []any
}

// errPast is a row past the end of a range.
var errPast = errors.New("past the end")

// A pastRow is a row that says first whether it is in the range.
type pastRow struct{ scanner }

func (r pastRow) Scan(dest ...any) error {
	var inside bool
	if err := r.scanner.Scan(append([]any{&inside}, dest...)...); err != nil {
		return err
	}
	if !inside {
		return errPast
	}
	return nil
}

func (r *reading) statement() *statement {
	return &statement{reading: r, where: slices.Clone(r.q.where), args: slices.Clone(r.q.args)}
}

func (s *statement) arg(v any) string {
	s.args = append(s.args, v)
	return "$" + strconv.Itoa(len(s.args))
}

// tuple compares the first columns of an index with values, as one.
func (s *statement) tuple(columns []string, operator string, values []any) string {
	params := make([]string, len(values))
	for i, v := range values {
		params[i] = s.arg(v)
	}
	return "(" + strings.Join(columns[:len(values)], ", ") + ") " + operator + " (" + strings.Join(params, ", ") + ")"
}

// A span is a part of a range: behind the one place, up to the other.
type span struct {
	after, upTo []any // values of all columns of the index
	desc        bool
}

// in limits the statement to a range of an index.
//
// PostgreSQL begins at the lower end of a range that is told like this, and goes on
// to the end of the index, unless a limit stops it: a comparison of several columns
// ends a scan by its first. So there it is not told of the upper end, which each
// row that it reads is held against.
func (s *statement) in(a access, n int, in span) {
	equal, columns := a.equal[n], a.index.columns
	begin, end := a.low, a.high
	after, upTo, over, under := ">", "<=", ">", "<"
	if in.desc {
		begin, end = end, begin
		after, upTo, over, under = "<", ">=", "<", ">"
	}
	bounded := func(operator string, b *bound) string {
		switch {
		case b == nil:
			return s.tuple(columns, operator+"=", equal)
		case b.open:
			return s.tuple(columns, operator, append(slices.Clip(equal), b.value))
		}
		return s.tuple(columns, operator+"=", append(slices.Clip(equal), b.value))
	}
	if in.after != nil {
		s.where = append(s.where, s.tuple(columns, after, in.after))
	} else {
		s.where = append(s.where, bounded(over, begin))
	}
	until := ""
	if in.upTo != nil {
		until = s.tuple(columns, upTo, in.upTo)
	} else {
		until = bounded(under, end)
	}
	if s.d == database.Postgres {
		s.until = append(s.until, until)
	} else {
		s.where = append(s.where, until)
	}
}

// within limits the statement to a range of an index whose order does not matter.
func (s *statement) within(a access, n int) {
	for i, v := range a.equal[n] {
		s.where = append(s.where, a.index.columns[i]+" = "+s.arg(v))
	}
	next := a.index.columns[len(a.equal[n])]
	for operator, b := range map[string]*bound{">": a.low, "<": a.high} {
		if b != nil && !b.open {
			operator += "="
		}
		if b != nil {
			s.where = append(s.where, next+" "+operator+" "+s.arg(b.value))
		}
	}
}

// condition returns what must be true besides, "" for nothing.
func (s *statement) condition(also []equal, rest []term) (string, error) {
	var all []string
	for _, e := range slices.Concat(also, s.fixed) {
		all = append(all, e.column+" = "+s.arg(e.value))
	}
	for _, t := range rest {
		if t.condition != nil {
			all = append(all, t.condition(s))
			continue
		}
		c, err := s.filter(t.expr)
		if err != nil {
			return "", err
		}
		if s.q.look != "" {
			c = fmt.Sprintf(s.q.look, c)
		}
		all = append(all, c)
	}
	return strings.Join(all, " AND "), nil
}

// meets limits the statement to what meets terms.
func (s *statement) meets(also []equal, terms []term) error {
	c, err := s.condition(also, terms)
	if c != "" {
		s.where = append(s.where, c)
	}
	return err
}

// order is that of an index.
func order(a access, desc bool) string {
	if desc {
		return strings.Join(a.index.columns, " DESC, ") + " DESC"
	}
	return strings.Join(a.index.columns, ", ")
}

// from is what is read of an index.
func (s *statement) from(a access) string {
	return ` FROM ` + s.q.table + s.d.IndexedBy(a.index.name) + s.join + ` WHERE ` + strings.Join(s.where, " AND ")
}

// query reads what a statement selects. The rows are in the order of the range, if
// they are of one.
func (s *statement) query(ctx context.Context, selected string, row func(scanner) error) error {
	text := `SELECT ` + selected
	if s.until != nil {
		text = `SELECT (` + strings.Join(s.until, " AND ") + `), ` + selected
	}
	rows, err := s.c.db.Read().QueryContext(ctx, text, s.args...)
	_, err = collect(rows, err, func(r scanner) (none struct{}, err error) {
		if s.until != nil {
			r = pastRow{r}
		}
		return none, row(r)
	})
	if errors.Is(err, errPast) {
		return nil
	}
	return err
}

// exprs are what a place is read from.
func (r *reading) exprs() string {
	all := make([]string, len(r.keys))
	for i, k := range r.keys {
		all[i] = k.expr
	}
	return strings.Join(all, ", ")
}

// values are those of an index's columns at a place, of the nth range.
func (r *reading) values(a access, n int, at place) []any {
	if at == nil {
		return nil
	}
	values := slices.Clone(a.equal[n])
	for _, column := range a.index.columns[len(values):] {
		i := slices.IndexFunc(r.keys, func(k sortKey) bool { return k.expr == column })
		values = append(values, at[i])
	}
	return values
}

// page reads a page in the first way that there is. It gives row what it reads
// of a row's columns at once, with the place that is to be read with them.
func (r *reading) page(ctx context.Context, row func(scanner, place) error) (found, error) {
	if r.q.indexes == nil {
		return r.whole(ctx)
	}
	if i := slices.IndexFunc(r.terms, func(t term) bool { return t.column == r.q.id && t.values != nil }); i >= 0 {
		return r.named(ctx, r.terms[i])
	}
	all := r.accesses()
	best := -1
	for i, a := range all {
		if a.orders && a.whole() && len(r.fixed) == 0 && (best < 0 || len(a.equal[0]) > len(all[best].equal[0])) {
			best = i
		}
	}
	if best >= 0 {
		return r.exact(ctx, all[best], row)
	}
	if len(r.fixed) == 0 {
		places, ok, err := r.probe(ctx, all)
		if ok || err != nil {
			return found{places: r.cut(places)}, err
		}
	}
	for i, a := range all {
		if a.orders && len(a.equal) == 1 && (best < 0 || a.used > all[best].used) {
			best = i
		}
	}
	if best >= 0 {
		return r.walk(ctx, all[best])
	}
	return r.groups(ctx)
}

// whole reads a list that is always short.
func (r *reading) whole(ctx context.Context) (f found, err error) {
	s := r.statement()
	if err := s.meets(r.q.within, r.terms); err != nil {
		return f, err
	}
	places, err := s.places(ctx, ` FROM `+r.q.table+` WHERE `+strings.Join(s.where, " AND "))
	f.places = r.cut(places)
	return f, err
}

// cut sorts places and leaves those of the page.
func (r *reading) cut(places []place) []place {
	slices.SortFunc(places, func(a, b place) int { return a.compare(b, r.keys) })
	if r.from.after != nil {
		i := 0
		for i < len(places) && places[i].compare(r.from.after, r.keys) <= 0 {
			i++
		}
		places = places[i:]
	}
	skip := min(r.from.skip, len(places))
	r.from.skip -= skip
	return places[skip:min(len(places), skip+r.limit+1)]
}

// ids are read from a list, each with a look of its own.
func (s *statement) ids(ids []string) string {
	s.where = append(s.where, s.q.id+" = e.value")
	for _, e := range s.q.within { // in a way that no index serves
		s.where = append(s.where, "coalesce("+e.column+", '') = "+s.arg(e.value))
	}
	return ` FROM ` + s.d.JSONEach(s.arg(jsonList(ids))) + ` AS e CROSS JOIN ` + s.q.table
}

// named reads the items whose ids the filter names.
func (r *reading) named(ctx context.Context, t term) (f found, err error) {
	ids := make([]string, len(t.values))
	for i, v := range t.values {
		ids[i], _ = v.(string)
	}
	s := r.statement()
	from := s.ids(ids)
	if err := s.meets(nil, r.terms); err != nil {
		return f, err
	}
	places, err := s.places(ctx, from+` WHERE `+strings.Join(s.where, " AND "))
	f.places = r.cut(places)
	return f, err
}

// byID reads the rows of a page whose places are known.
func (r *reading) byID(ctx context.Context, ids []string, row func(scanner) error) error {
	s := r.statement()
	from := s.ids(ids)
	if err := s.meets(nil, r.terms); err != nil {
		return err
	}
	return s.query(ctx, r.q.columns+`, `+r.exprs()+from+r.q.join+` WHERE `+strings.Join(s.where, " AND "), row)
}

// places reads the places that the rest of a statement is of.
func (s *statement) places(ctx context.Context, from string) (places []place, err error) {
	err = s.query(ctx, s.exprs()+from, func(sc scanner) error {
		at := make(place, len(s.keys))
		err := keyedRow{sc, at, nil}.Scan()
		if err == nil {
			places = append(places, at)
		}
		return err
	})
	return places, err
}

// some is the rest of a statement that reads an index in its order.
func (s *statement) some(a access, desc bool, limit, offset int) string {
	text := s.from(a) + ` ORDER BY ` + order(a, desc) + ` LIMIT ` + s.arg(limit)
	if offset > 0 {
		text += ` OFFSET ` + s.arg(offset)
	}
	return text
}

// exact reads a page from an index that has the order and answers all.
func (r *reading) exact(ctx context.Context, a access, row func(scanner, place) error) (f found, err error) {
	desc := r.keys[0].desc
	if len(a.equal) == 1 {
		f.rows = true
		s := r.statement()
		s.in(a, 0, span{after: r.values(a, 0, r.from.after), desc: desc})
		s.join = r.q.join
		text := s.some(a, desc, r.limit+1, r.from.skip) // one more tells whether there is a next page
		err = s.query(ctx, r.q.columns+`, `+r.exprs()+text, func(sc scanner) error {
			at := make(place, len(r.keys))
			err := row(sc, at)
			if err == nil {
				f.places = append(f.places, at)
			}
			return err
		})
		return f, err
	}
	var places []place
	for n := range a.equal {
		s := r.statement()
		s.in(a, n, span{after: r.values(a, n, r.from.after), desc: desc})
		more, err := s.places(ctx, s.some(a, desc, r.from.skip+r.limit+1, 0))
		if err != nil {
			return f, err
		}
		places = append(places, more...)
	}
	f.places = r.cut(places)
	return f, nil
}

// flagged reads places from a range of an index, each with whether the item
// meets the terms that it does not answer.
func (r *reading) flagged(ctx context.Context, a access, n int, in span, limit int, row func(at place, meets bool)) error {
	s := r.statement()
	s.in(a, n, in)
	c, err := s.condition(a.also, a.rest)
	if err != nil {
		return err
	}
	flag := "1"
	if c != "" {
		flag = "CASE WHEN " + c + " THEN 1 ELSE 0 END"
	}
	return s.query(ctx, flag+`, `+r.exprs()+s.some(a, in.desc, limit, 0), func(sc scanner) error {
		var meets int
		at := make(place, len(r.keys))
		if err := (keyedRow{sc, at, nil}).Scan(&meets); err != nil {
			return err
		}
		row(at, meets == 1)
		return nil
	})
}

// probe returns the places of all items, if an index says that they are few.
func (r *reading) probe(ctx context.Context, all []access) (places []place, ok bool, err error) {
	all = slices.DeleteFunc(slices.Clone(all), func(a access) bool { return a.used <= len(r.q.terms) })
	slices.SortStableFunc(all, func(a, b access) int { return b.used - a.used })
	for i, a := range all {
		if i == fewProbes {
			break
		}
		places, seen := []place{}, 0
		for n := range a.equal {
			// In the order of the index, so that PostgreSQL takes it.
			err := r.flagged(ctx, a, n, span{}, r.few+1-seen, func(at place, meets bool) {
				seen++
				if meets {
					places = append(places, at)
				}
			})
			if err != nil {
				return nil, false, err
			}
			if seen > r.few {
				break
			}
		}
		r.budget -= seen
		if seen <= r.few {
			return places, true, nil
		}
	}
	return nil, false, nil
}

// add passes over what is to be, and adds as many places as there is room for.
func (r *reading) add(f *found, places []place) {
	skip := min(r.from.skip, len(places))
	r.from.skip -= skip
	places = places[skip:]
	f.places = append(f.places, places[:min(len(places), r.limit+1-len(f.places))]...)
}

// filtered returns the first places of a range that meet the rest of the filter,
// where the range has no more rows than a window.
func (s *statement) filtered(ctx context.Context, a access, desc bool, window, limit int) ([]place, error) {
	if s.until != nil { // it would look behind the range for what is not in it
		alias := s.q.table[strings.LastIndex(s.q.table, " ")+1:]
		rows := `(SELECT ` + alias + `.*` + s.some(a, desc, window, 0) + `) AS ` + alias
		s.where, s.until = s.until, nil
		if err := s.meets(a.also, a.rest); err != nil {
			return nil, err
		}
		return s.places(ctx, ` FROM `+rows+` WHERE `+strings.Join(s.where, " AND ")+` ORDER BY `+order(a, desc)+` LIMIT `+s.arg(limit))
	}
	if err := s.meets(a.also, a.rest); err != nil {
		return nil, err
	}
	return s.places(ctx, s.some(a, desc, limit, 0))
}

// walk reads an index that has the order, in windows, and passes over what does
// not meet the rest of the filter.
func (r *reading) walk(ctx context.Context, a access) (f found, err error) {
	in := span{desc: r.keys[0].desc}
	after := r.from.after
	for window := min(1000, max(r.budget, 1)); ; window = min(4*window, r.budget) {
		in.after, in.upTo = r.values(a, 0, after), nil
		s := r.statement()
		s.in(a, 0, in)
		end, err := s.places(ctx, s.some(a, in.desc, 1, window-1))
		if err != nil {
			return f, err
		}
		if len(end) > 0 {
			in.upTo = r.values(a, 0, end[0])
		}
		s = r.statement()
		s.in(a, 0, in)
		places, err := s.filtered(ctx, a, in.desc, window, r.from.skip+r.limit+1-len(f.places))
		if err != nil {
			return f, err
		}
		if r.add(&f, places); len(f.places) > r.limit || len(end) == 0 {
			return f, nil
		}
		after = end[0]
		if r.budget -= window; r.budget <= 0 {
			f.next = &cursor{after, r.from.skip}
			return f, nil
		}
	}
}

// groups reads a list by several keys that no index has together: by an index of
// the first, a group of items that are equal in it after the other.
func (r *reading) groups(ctx context.Context) (f found, err error) {
	k := r.keys[0]
	single := *r
	single.keys = []sortKey{k, {r.q.id, true, k.desc}}
	var a access
	for _, one := range single.accesses() {
		if one.orders && len(one.equal) == 1 && (a.index.name == "" || one.used > a.used) {
			a = one
		}
	}
	if a.index.name == "" {
		return f, fmt.Errorf("no index reads %s by %s", r.q.table, k.expr)
	}
	// A filter may leave one group only, within which the index is in another order.
	constant := slices.Contains(a.index.columns[:len(a.equal[0])], k.expr)
	after := r.from.after
	var begin *bound // the group that comes next, or the one before it
	if after != nil {
		begin = &bound{value: after[0]}
	}
	for {
		part := a
		switch {
		case constant:
		case k.desc:
			part.high = tighter(a.high, begin, -1)
		default:
			part.low = tighter(a.low, begin, 1)
		}
		var places, meeting []place
		err := r.flagged(ctx, part, 0, span{desc: k.desc}, r.few+1, func(at place, meets bool) {
			places = append(places, at)
			if meets && (after == nil || at.compare(after, r.keys) > 0) {
				meeting = append(meeting, at)
			}
		})
		if err != nil {
			return f, err
		}
		r.budget -= len(places)
		last := len(places) <= r.few
		if !last { // the last group may have more
			next := places[r.few][0]
			isNext := func(at place) bool { return at[0] == next }
			meeting = slices.DeleteFunc(meeting, isNext)
			places = slices.DeleteFunc(places, isNext)
			begin = &bound{value: next}
		}
		if !last && len(places) == 0 { // one group, which is sorted if it can be
			one := part
			if !constant {
				one.low, one.high = begin, begin
			}
			err := r.flagged(ctx, one, 0, span{desc: k.desc}, groupsOf*r.few+1, func(at place, meets bool) {
				places = append(places, at)
				if meets && (after == nil || at.compare(after, r.keys) > 0) {
					meeting = append(meeting, at)
				}
			})
			if err != nil {
				return f, err
			}
			if len(places) <= groupsOf*r.few {
				r.budget -= len(places)
				slices.SortFunc(meeting, func(a, b place) int { return a.compare(b, r.keys) })
				if r.add(&f, meeting); constant || len(f.places) > r.limit {
					return f, nil
				}
				begin, after = &bound{begin.value, true}, nil
				if len(places) == 0 { // they changed meanwhile
					continue
				}
				far := slices.MaxFunc(places, func(a, b place) int { return a.compare(b, r.keys) })
				if r.budget <= 0 && (r.from.after == nil || far.compare(r.from.after, r.keys) > 0) {
					f.next = &cursor{far, r.from.skip}
					return f, nil
				}
				continue
			}
			inner := *r
			inner.keys, inner.fixed = r.keys[1:], append(slices.Clip(r.fixed), equal{k.expr, begin.value})
			inner.limit -= len(f.places)
			inner.from.after = nil
			if after != nil && after[0] == begin.value {
				inner.from.after = after[1:]
			}
			group, err := inner.page(ctx, nil)
			if err != nil {
				return f, err
			}
			r.budget, r.from.skip = inner.budget, inner.from.skip
			for _, at := range group.places {
				f.places = append(f.places, append(place{begin.value}, at...))
			}
			if group.next != nil {
				f.next = &cursor{append(place{begin.value}, group.next.after...), group.next.skip}
			}
			if constant || group.next != nil || len(f.places) > r.limit {
				return f, nil
			}
			begin.open, after = true, nil
			continue
		}
		byKeys := func(a, b place) int { return a.compare(b, r.keys) }
		slices.SortFunc(meeting, byKeys)
		if r.add(&f, meeting); last || len(f.places) > r.limit {
			return f, nil
		}
		after = nil
		far := slices.MaxFunc(places, byKeys)
		if r.budget <= 0 && (r.from.after == nil || far.compare(r.from.after, r.keys) > 0) {
			f.next = &cursor{far, r.from.skip}
			return f, nil
		}
	}
}

// counts are numbers of items that the database keeps.
type counts struct {
	table      string   // of the number n of all that have the same of these properties, under the alias of the list's own
	properties []string // as filters name them
}

// answer reports whether a filter speaks of nothing else.
func (c *counts) answer(e odata.Expr) bool {
	known := func(p odata.Property) bool { return slices.Contains(c.properties, p.Name) }
	all := func(parts []odata.Expr) bool {
		return !slices.ContainsFunc(parts, func(e odata.Expr) bool { return !c.answer(e) })
	}
	switch e := e.(type) {
	case odata.And:
		return all(e)
	case odata.Or:
		return all(e)
	case odata.Not:
		return c.answer(e.X)
	case odata.Compare:
		return known(e.Property)
	case odata.In:
		return known(e.Property)
	}
	return false
}

// manyEntries is how many times as many entries of an index are counted as rows
// are looked at.
const manyEntries = 20

// errUncounted is what a count is answered with that would take too long.
var errUncounted = backup.Fail(backup.InvalidRequest,
	"How many these are is kept nowhere, and there are too many to look at each. Count with another $filter, or leave the count out and read the pages.").On("$count")

// count returns how many items the list has.
func (r *reading) count(ctx context.Context) (total int64, err error) {
	if r.q.counts != nil && !slices.ContainsFunc(r.terms, func(t term) bool { return !r.q.counts.answer(t.expr) }) {
		s := r.statement()
		if err := s.meets(r.q.within, r.terms); err != nil {
			return 0, err
		}
		err := s.query(ctx, `CAST(coalesce(sum(n), 0) AS BIGINT) FROM `+r.q.counts.table+` WHERE `+strings.Join(s.where, " AND "),
			func(sc scanner) error { return sc.Scan(&total) })
		return total, err
	}
	if r.q.indexes == nil || slices.ContainsFunc(r.terms, func(t term) bool { return t.column == r.q.id && t.values != nil }) {
		all := *r
		all.from, all.limit = cursor{}, math.MaxInt-1
		f, err := all.page(ctx, nil)
		return int64(len(f.places)), err
	}
	all := r.accesses()
	if i := slices.IndexFunc(all, access.whole); i >= 0 {
		if total, err = r.entries(ctx, all[i], manyEntries*r.c.effort.count+1); total > int64(manyEntries*r.c.effort.count) {
			return 0, errUncounted
		}
		return total, err
	}
	places, ok, err := r.probe(ctx, all)
	if ok || err != nil {
		return int64(len(places)), err
	}
	a := slices.MaxFunc(all, func(a, b access) int { return a.used - b.used })
	rest := a
	rest.rest, rest.also = nil, nil
	if total, err = r.entries(ctx, rest, r.c.effort.count+1); err != nil {
		return 0, err
	}
	if total > int64(r.c.effort.count) {
		return 0, errUncounted
	}
	return r.entries(ctx, a, math.MaxInt)
}

// entries counts what is in the ranges of an index and meets the rest, but no
// more than a limit.
func (r *reading) entries(ctx context.Context, a access, limit int) (total int64, err error) {
	for n := range a.equal {
		s := r.statement()
		if r.d == database.Postgres && (len(a.equal[n]) > 1 || a.high != nil) {
			s.within(a, n)
		} else { // what ends with the first column ends there
			s.in(a, n, span{})
			s.where, s.until = append(s.where, s.until...), nil
		}
		if err := s.meets(a.also, a.rest); err != nil {
			return 0, err
		}
		err := s.query(ctx, `count(*) FROM (SELECT 1`+s.some(a, false, limit-int(total), 0)+`) AS c`, func(sc scanner) error {
			var n int64
			err := sc.Scan(&n)
			total += n
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}
