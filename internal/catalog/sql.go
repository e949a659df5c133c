package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// tx runs fn in a transaction of the tenant's control plane. Those of one
// tenant take turns, so that fn may read, decide and write.
func (c *Catalog) tx(ctx context.Context, tenant backup.TenantID, fn func(*database.Tx) error) error {
	return c.db.Tx(ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO tenant (id, writes) VALUES ($1, 1)
			ON CONFLICT (id) DO UPDATE SET writes = tenant.writes + 1`, string(tenant))
		if err != nil {
			return fmt.Errorf("take the tenant's turn: %w", err)
		}
		if err := fn(tx); err != nil {
			return err
		}
		return c.audit(ctx, tx)
	})
}

// A scanner is a row to be read: *sql.Row, or *sql.Rows at a row.
type scanner interface{ Scan(...any) error }

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// micros reads a stored time.
type micros struct{ t *time.Time }

func (m micros) Scan(v any) error {
	us, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is stored as %T", v)
	}
	*m.t = database.Time(us)
	return nil
}

// fromJSON reads a stored structure; NULL leaves it as it is.
type fromJSON struct{ v any }

func (j fromJSON) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(v), j.v)
	case []byte:
		return json.Unmarshal(v, j.v)
	}
	return fmt.Errorf("a structure is stored as %T", v)
}

// A remembered reads a stored structure that holds no pointers, and does not do so
// again where the same text follows.
type remembered[T any] struct {
	to   *T
	text string
	last T
}

func (m *remembered[T]) Scan(v any) error {
	text, ok := v.(string)
	if ok && m.text != "" && text == m.text {
		*m.to = m.last
		return nil
	}
	err := fromJSON{m.to}.Scan(v)
	m.text, m.last = text, *m.to
	return err
}

// toJSON returns v as it is stored. It is for our own plain types, which
// always have a JSON form.
func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// jsonList returns a list as a parameter: an empty one for nil.
//
// Where such a list is joined to a table it stands first, in a CROSS JOIN,
// which SQLite takes in the order written: it knows nothing of the length of
// the list and would rather read the whole of the table.
func jsonList[T any](all []T) string {
	if all == nil {
		return "[]"
	}
	return toJSON(all)
}

// asStored returns a stamp as it will be read again: to the microsecond, in UTC.
func asStored(by backup.Stamp) backup.Stamp {
	by.At = by.At.UTC().Truncate(time.Microsecond)
	return by
}

// problemJSON returns p as it is stored: NULL for none.
func problemJSON(p *backup.Problem) any {
	if p == nil {
		return nil
	}
	return toJSON(p)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// affected returns how many rows a statement changed.
func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// checkName refuses a display name that not every database can hold.
func checkName(name string) error {
	if strings.ContainsRune(name, 0) {
		return backup.Fail(backup.InvalidDisplayName, "The display name holds a null character. Leave it out.").On("displayName")
	}
	return nil
}
