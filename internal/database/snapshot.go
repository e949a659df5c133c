package database

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pressly/goose/v3"
)

// kept are the tables that a snapshot leaves out: goose's own and what else the migrations
// fill, which OpenEmpty makes; counts that triggers make again as the rows are that they
// count; the processes that serve, which are others then; and who is signed in, so that
// nobody is again who has signed out since.
var kept = []string{"goose_db_version", "schema_floor", "process", "unit_count", "audit_count", "sign_in"}

// A Table is a table of the schema, with the columns that are written: none that the
// database works out of others.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}

// A Row is what is in a table's columns: each a string, an int64, or nil. It is the same
// for both databases, and so is its JSON, an array. Text that is not UTF-8, which only
// SQLite holds, is an object there, {"base64": …}.
type Row []any

// MarshalJSON writes a row as UnmarshalJSON reads it.
func (r Row) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 64*len(r)), '[')
	for i, value := range r {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := value.(type) {
		case nil:
			b = append(b, "null"...)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case string:
			if !utf8.ValidString(v) {
				b = append(base64.StdEncoding.AppendEncode(append(b, `{"base64":"`...), []byte(v)), `"}`...)
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			b = append(b, text...)
		default:
			return nil, fmt.Errorf("a %T is in no table", value)
		}
	}
	return append(b, ']'), nil
}

// UnmarshalJSON reads a row.
func (r *Row) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var values []any
	if err := dec.Decode(&values); err != nil {
		return err
	}
	for i, value := range values {
		switch v := value.(type) {
		case nil, string:
		case json.Number:
			n, err := v.Int64()
			if err != nil {
				return err
			}
			values[i] = n
		case map[string]any:
			text, _ := v["base64"].(string)
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil || len(v) != 1 {
				return fmt.Errorf("%v is no value of a row", v)
			}
			values[i] = string(b)
		default:
			return fmt.Errorf("%v is no value of a row", v)
		}
	}
	*r = values
	return nil
}

// A Sum tells whether two tables have the same rows, in whatever order.
type Sum [4]uint64

// Add adds a row, as it is in JSON.
func (s *Sum) Add(row []byte) {
	h := sha256.Sum256(row)
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
}

// String is the sum in hexadecimal.
func (s Sum) String() string { return fmt.Sprintf("%016x%016x%016x%016x", s[3], s[2], s[1], s[0]) }

// A Snapshot is a database as it is at one moment, whatever is written meanwhile.
type Snapshot struct {
	Version int64   // of the schema
	Tables  []Table // those that others refer to come before these

	tx *sql.Tx
}

// Snapshot calls fn with the database as it is now. Nobody waits for it; but what SQLite's
// -wal file takes in until fn returns, and what PostgreSQL would clear away, stays for as
// long.
func (db *DB) Snapshot(ctx context.Context, fn func(*Snapshot) error) error {
	options := &sql.TxOptions{ReadOnly: true}
	if db.dialect == Postgres {
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := db.read.BeginTx(ctx, options)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback()
	s := &Snapshot{tx: tx}
	// From the first statement on the transaction sees one state.
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&s.Version); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	if s.Tables, err = db.dialect.tables(ctx, tx); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	return fn(s)
}

// Rows returns the rows of a table, in no order. Each is good until the next.
func (s *Snapshot) Rows(ctx context.Context, t Table) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		err := s.rows(ctx, t, yield)
		if err != nil {
			yield(nil, fmt.Errorf("read the table %s: %w", t.Name, err))
		}
	}
}

// Count returns how many rows there are in all tables.
func (s *Snapshot) Count(ctx context.Context) (all int64, err error) {
	for _, t := range s.Tables {
		var n int64
		if err := s.tx.QueryRowContext(ctx, `SELECT count(*) FROM `+quoted(t.Name)).Scan(&n); err != nil {
			return 0, fmt.Errorf("count the table %s: %w", t.Name, err)
		}
		all += n
	}
	return all, nil
}

// Sum returns how many rows a table has, and their sum.
func (s *Snapshot) Sum(ctx context.Context, t Table) (n int64, sum Sum, err error) {
	for row, err := range s.Rows(ctx, t) {
		if err != nil {
			return n, sum, err
		}
		text, err := row.MarshalJSON()
		if err != nil {
			return n, sum, err
		}
		sum.Add(text)
		n++
	}
	return n, sum, nil
}

func (s *Snapshot) rows(ctx context.Context, t Table, yield func(Row, error) bool) error {
	rows, err := s.tx.QueryContext(ctx, `SELECT `+columns(t)+` FROM `+quoted(t.Name))
	if err != nil {
		return err
	}
	defer rows.Close()
	row, into := make(Row, len(t.Columns)), make([]any, len(t.Columns))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, value := range row {
			switch v := value.(type) {
			case nil, string, int64:
			case []byte: // text that was given as bytes
				row[i] = string(v)
			default:
				return fmt.Errorf("its column %s holds a %T, which no column of the schema does", t.Columns[i], v)
			}
		}
		if !yield(row, nil) {
			return nil
		}
	}
	return rows.Err()
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func columns(t Table) string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, quoted(c))
	}
	return strings.Join(names, ", ")
}

// tables are those whose rows a snapshot has, each after those that it refers to.
func (d Dialect) tables(ctx context.Context, q Queryer) ([]Table, error) {
	list, refers := `
		SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND c.hidden = 0 ORDER BY m.name, c.cid`, `
		SELECT m.name, f."table" FROM sqlite_master AS m JOIN pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table'`
	if d == Postgres {
		list, refers = `
			SELECT t.table_name, c.column_name FROM information_schema.tables AS t
			JOIN information_schema.columns AS c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
			WHERE t.table_schema = current_schema() AND t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER'
			ORDER BY t.table_name COLLATE "C", c.ordinal_position`, `
			SELECT a.relname, b.relname FROM pg_constraint AS f JOIN pg_class AS a ON a.oid = f.conrelid JOIN pg_class AS b ON b.oid = f.confrelid
			WHERE f.contype = 'f' AND f.connamespace = current_schema()::regnamespace`
	}
	pairs := func(query string, each func(a, b string)) error {
		rows, err := q.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a, b string
			if err := rows.Scan(&a, &b); err != nil {
				return err
			}
			each(a, b)
		}
		return rows.Err()
	}
	var all []Table
	err := pairs(list, func(table, column string) {
		if slices.Contains(kept, table) {
			return
		}
		if len(all) == 0 || all[len(all)-1].Name != table {
			all = append(all, Table{Name: table})
		}
		last := &all[len(all)-1]
		last.Columns = append(last.Columns, column)
	})
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	if err := pairs(refers, func(table, other string) {
		if table != other {
			needs[table] = append(needs[table], other)
		}
	}); err != nil {
		return nil, err
	}
	var ordered []Table
	for len(all) > 0 {
		before := len(all)
		all = slices.DeleteFunc(all, func(t Table) bool {
			there := func(name string) bool {
				return slices.ContainsFunc(ordered, func(o Table) bool { return o.Name == name })
			}
			if slices.ContainsFunc(needs[t.Name], func(name string) bool { return !there(name) }) {
				return false
			}
			ordered = append(ordered, t)
			return true
		})
		if len(all) == before {
			return nil, fmt.Errorf("the tables %v refer to each other in a circle", all)
		}
	}
	return ordered, nil
}

// ErrNotEmpty says that a database which is to be filled holds something.
var ErrNotEmpty = errors.New("the database is not empty")

// OpenEmpty is OpenAt for a database that is to be filled: one that has no schema yet, or
// the one of that version, and no row. It fails with ErrNotEmpty or ErrNewer, and changes
// nothing then.
func OpenEmpty(ctx context.Context, url string, version int64) (*DB, error) {
	db, err := connect(url)
	if err != nil {
		return nil, err
	}
	db.files = migrationsOf
	if err := db.prepareEmpty(ctx, version); err != nil {
		return nil, errors.Join(fmt.Errorf("open an empty database: %w", advised(err)), db.Close())
	}
	return db, nil
}

func (db *DB) prepareEmpty(ctx context.Context, version int64) error {
	p, err := db.plan()
	if err != nil {
		return err
	}
	if version > p.newest {
		return fmt.Errorf("%w: version %d of the schema is asked for, and this one knows no further than %d", ErrNewer, version, p.newest)
	}
	if !slices.ContainsFunc(p.ListSources(), func(s *goose.Source) bool { return s.Version == version }) {
		return fmt.Errorf("there is no version %d of the schema", version)
	}
	tables, err := db.dialect.tables(ctx, db.read)
	if err != nil {
		return err
	}
	present, err := db.version(ctx)
	if err != nil {
		return err
	}
	switch {
	case present == 0 && len(tables) > 0:
		return fmt.Errorf("%w: it has tables of something else, such as %s", ErrNotEmpty, tables[0].Name)
	case present != 0 && present != version:
		return fmt.Errorf("%w: a Holdfast has used it (version %d of the schema). Give one in which nothing is", ErrNotEmpty, present)
	}
	for _, t := range tables {
		var n int
		if err := db.read.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM `+quoted(t.Name)+` LIMIT 1) AS t`).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: its table %s has rows. Give one in which nothing is", ErrNotEmpty, t.Name)
		}
	}
	return db.migrate(ctx, version, time.Now())
}

// mostParameters is how many parameters a statement has: SQLite takes 32,766.
const mostParameters = 30_000

// Fill fills an empty database in one transaction: all that fn gives, or nothing. put puts
// rows into a table, which must have just these columns; tables come in the order of a
// Snapshot. It does not keep the row.
func (db *DB) Fill(ctx context.Context, fn func(put func(Table, Row) error) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback()
	known, err := db.dialect.tables(ctx, tx)
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	f := filling{tx: tx, known: known}
	if err := fn(func(t Table, row Row) error { return f.put(ctx, t, row) }); err != nil {
		return err
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if db.dialect == Postgres { // or plans are made as for empty tables, until it is looked
		if _, err := db.write.ExecContext(ctx, `ANALYZE`); err != nil {
			return fmt.Errorf("analyze: %w", err)
		}
	}
	return nil
}

// A filling is the rows that go into a table by the next statement.
type filling struct {
	tx     *sql.Tx
	known  []Table
	table  Table
	values []any
	stmt   *sql.Stmt // of as many rows as fit
}

func (f *filling) put(ctx context.Context, t Table, row Row) error {
	if t.Name != f.table.Name {
		if err := f.flush(ctx); err != nil {
			return err
		}
		i := slices.IndexFunc(f.known, func(k Table) bool { return k.Name == t.Name })
		if i < 0 {
			return fmt.Errorf("the schema has no table %s", t.Name)
		}
		if a, b := slices.Sorted(slices.Values(t.Columns)), slices.Sorted(slices.Values(f.known[i].Columns)); !slices.Equal(a, b) {
			return fmt.Errorf("the table %s has other columns in the schema: %v, not %v", t.Name, b, a)
		}
		f.table, f.stmt = t, nil
	}
	if len(row) != len(t.Columns) {
		return fmt.Errorf("a row of the table %s has %d values for %d columns", t.Name, len(row), len(t.Columns))
	}
	f.values = append(f.values, row...)
	if len(f.values) < f.rows()*len(t.Columns) {
		return nil
	}
	if f.stmt == nil {
		var err error
		if f.stmt, err = f.tx.PrepareContext(ctx, f.insert(f.rows())); err != nil {
			return fmt.Errorf("fill the table %s: %w", t.Name, err)
		}
	}
	_, err := f.stmt.ExecContext(ctx, f.values...)
	f.values = f.values[:0]
	if err != nil {
		return fmt.Errorf("fill the table %s: %w", t.Name, advised(err))
	}
	return nil
}

// rows is how many rows of the table a statement takes.
func (f *filling) rows() int { return min(200, mostParameters/len(f.table.Columns)) }

func (f *filling) insert(rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `INSERT INTO %s (%s) VALUES `, quoted(f.table.Name), columns(f.table))
	n := 0
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for j := range f.table.Columns {
			if j > 0 {
				b.WriteByte(',')
			}
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteByte(')')
	}
	return b.String()
}

// flush puts what is left into its table.
func (f *filling) flush(ctx context.Context) error {
	if f.stmt != nil {
		defer func(s *sql.Stmt) { s.Close() }(f.stmt)
		f.stmt = nil
	}
	if len(f.values) == 0 {
		return nil
	}
	_, err := f.tx.ExecContext(ctx, f.insert(len(f.values)/len(f.table.Columns)), f.values...)
	f.values = f.values[:0]
	if err != nil {
		return fmt.Errorf("fill the table %s: %w", f.table.Name, advised(err))
	}
	return nil
}
