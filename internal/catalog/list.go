package catalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A Page says which part of a list is asked for.
type Page struct {
	Limit int    // at most so many items; 0 or less means 100
	After string // List.Next of the page before; "" for the first page
	Skip  int    // items passed over before the page
	Count bool   // whether List.Total is wanted
}

// A List is one page of a list. Unless a method says otherwise its order is
// that of creation, and holds still while things are added.
type List[T any] struct {
	Items []T
	Next  string // where the next page begins; "" after the last
	Total int64  // of all pages together, if Page.Count
}

// A query is a list in the making. Every condition and order that a request
// may add goes through it, with its values as parameters.
type query struct {
	columns string
	from    string
	where   []string
	args    []any
	time    string // the column that orders the list,
	id      string // and the one that orders equal times
	newest  bool   // descending
}

// arg adds a parameter and returns its placeholder.
func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// and adds a condition.
func (q *query) and(condition string) { q.where = append(q.where, condition) }

// A key is where an item stands in its list.
type key struct {
	at time.Time
	id string
}

// list reads one page of q. key tells where an item stands in q's order.
func list[T any](ctx context.Context, db database.Queryer, q query, p Page, scan func(scanner) (T, error), keyOf func(T) key) (List[T], error) {
	var l List[T]
	if p.Count {
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM `+q.from+` WHERE `+strings.Join(q.where, " AND "), q.args...).Scan(&l.Total)
		if err != nil {
			return l, fmt.Errorf("count: %w", err)
		}
	}
	if p.Limit <= 0 {
		p.Limit = 100
	}
	q.where, q.args = slices.Clone(q.where), slices.Clone(q.args)
	op, order := ">", ""
	if q.newest {
		op, order = "<", " DESC"
	}
	if p.After != "" {
		us, id, ok := strings.Cut(p.After, ",")
		at, err := strconv.ParseInt(us, 10, 64)
		if !ok || err != nil {
			return l, backup.Fail(backup.InvalidRequest, "The place to continue the list from is not one that this server gave. Begin the list again.")
		}
		q.and(fmt.Sprintf("(%s, %s) %s (%s, %s)", q.time, q.id, op, q.arg(at), q.arg(id)))
	}
	limit := q.arg(p.Limit + 1) // one more tells whether there is a next page
	text := `SELECT ` + q.columns + ` FROM ` + q.from + ` WHERE ` + strings.Join(q.where, " AND ") +
		` ORDER BY ` + q.time + order + `, ` + q.id + order + ` LIMIT ` + limit
	if p.Skip > 0 {
		text += ` OFFSET ` + q.arg(p.Skip)
	}
	rows, err := db.QueryContext(ctx, text, q.args...)
	if l.Items, err = collect(rows, err, scan); err != nil {
		return l, err
	}
	if len(l.Items) > p.Limit {
		l.Items = l.Items[:p.Limit]
		last := keyOf(l.Items[p.Limit-1])
		l.Next = strconv.FormatInt(database.Micros(last.at), 10) + "," + last.id
	}
	return l, nil
}
