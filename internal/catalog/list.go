package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// A Page says which part of a list is asked for, and in which order.
type Page struct {
	Limit  int           // at most so many items; 0 or less means 100
	After  string        // List.Next of the page before; "" for the first page
	Skip   int           // items passed over before the page
	Count  bool          // whether List.Total is wanted
	Filter odata.Expr    // what the items must meet, by the properties of the list; nil: nothing
	Order  []odata.Order // by the properties of the list; nil: the list's own order
}

// A List is one page of a list. Unless a method says otherwise its order is
// that of creation. Whatever the order, it holds still while things are added.
type List[T any] struct {
	Items []T
	Next  string // where the next page begins; "" after the last
	Total int64  // of all pages together, if Page.Count
}

// A query is a list in the making. Every condition and order that a request
// may add goes through it, with its values as parameters.
type query struct {
	columns string
	table   string // and its alias
	join    string // what else the columns are of; not one row more or less comes of it
	where   []string
	args    []any
	time    string // the column that orders the list,
	id      string // and the one that orders equal times
	newest  bool   // descending
	fields  fields // what it may be filtered and ordered by
}

// arg adds a parameter and returns its placeholder.
func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// and adds a condition.
func (q *query) and(condition string) { q.where = append(q.where, condition) }

// A sortKey is one of the expressions that order a list.
type sortKey struct {
	expr string
	text bool // not a number
	desc bool
}

// keys are what orders the list; texts as the database's collation has it. The last is the id, so that no two items
// stand at the same place.
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

// after adds the condition that an item comes behind the place that cursor
// names: the values of the keys there.
func (q *query) after(keys []sortKey, cursor string) error {
	foreign := backup.Fail(backup.InvalidRequest, "The place to continue the list from is not one that this server gave. Begin the list again.")
	var place []any
	d := json.NewDecoder(strings.NewReader(cursor))
	d.UseNumber()
	if d.Decode(&place) != nil || len(place) != len(keys) {
		return foreign
	}
	exprs, params := make([]string, len(keys)), make([]string, len(keys))
	oneWay := true
	for i, k := range keys {
		switch v := place[i].(type) {
		case string:
			if !k.text {
				return foreign
			}
			params[i] = q.arg(v)
		case json.Number:
			n, err := v.Int64()
			if k.text || err != nil {
				return foreign
			}
			params[i] = q.arg(n)
		default:
			return foreign
		}
		exprs[i] = k.expr
		oneWay = oneWay && k.desc == keys[0].desc
	}
	if oneWay { // a comparison of rows, which an index answers
		q.and("(" + strings.Join(exprs, ", ") + ")" + keys[0].beyond() + "(" + strings.Join(params, ", ") + ")")
		return nil
	}
	var ways []string
	for i, k := range keys {
		way := k.expr + k.beyond() + params[i]
		for n := range i {
			way = exprs[n] + " = " + params[n] + " AND " + way
		}
		ways = append(ways, "("+way+")")
	}
	q.and("(" + strings.Join(ways, " OR ") + ")")
	return nil
}

func (k sortKey) beyond() string {
	if k.desc {
		return " < "
	}
	return " > "
}

// A keyedRow is a row with the values of the sort keys behind its columns.
type keyedRow struct {
	scanner
	place []any
}

func (r keyedRow) Scan(dest ...any) error {
	dest = slices.Clip(dest)
	for i := range r.place {
		dest = append(dest, &r.place[i])
	}
	return r.scanner.Scan(dest...)
}

// list reads one page of q.
func list[T any](ctx context.Context, c *Catalog, q query, p Page, scan func(scanner) (T, error)) (List[T], error) {
	var l List[T]
	db := c.db.Read()
	q.where, q.args = slices.Clone(q.where), slices.Clone(q.args)
	if p.Filter != nil {
		condition, err := q.filter(c.db.Dialect(), p.Filter)
		if err != nil {
			return l, err
		}
		q.and(condition)
	}
	if p.Count {
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM `+q.table+` WHERE `+strings.Join(q.where, " AND "), q.args...).Scan(&l.Total)
		if err != nil {
			return l, fmt.Errorf("count: %w", err)
		}
	}
	if p.Limit <= 0 {
		p.Limit = 100
	}
	keys, err := q.keys(p.Order)
	if err != nil {
		return l, err
	}
	if p.After != "" {
		if err := q.after(keys, p.After); err != nil {
			return l, err
		}
	}
	var columns, order strings.Builder
	for i, k := range keys {
		columns.WriteString(", " + k.expr)
		if i > 0 {
			order.WriteString(", ")
		}
		order.WriteString(k.expr)
		if k.desc {
			order.WriteString(" DESC")
		}
	}
	text := `SELECT ` + q.columns + columns.String() + ` FROM ` + q.table + q.join + ` WHERE ` + strings.Join(q.where, " AND ") +
		` ORDER BY ` + order.String() + ` LIMIT ` + q.arg(p.Limit+1) // one more tells whether there is a next page
	if p.Skip > 0 {
		text += ` OFFSET ` + q.arg(p.Skip)
	}
	var places [][]any
	rows, err := db.QueryContext(ctx, text, q.args...)
	l.Items, err = collect(rows, err, func(r scanner) (T, error) {
		place := make([]any, len(keys))
		places = append(places, place)
		return scan(keyedRow{r, place})
	})
	if err != nil {
		return l, err
	}
	if len(l.Items) > p.Limit {
		l.Items = l.Items[:p.Limit]
		last := places[p.Limit-1]
		for i, v := range last {
			if b, ok := v.([]byte); ok {
				last[i] = string(b)
			}
		}
		l.Next = toJSON(last)
	}
	return l, nil
}
