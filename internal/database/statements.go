package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"regexp"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"modernc.org/sqlite"
)

// keptStatements is how many prepared statements a SQLite connection keeps:
// more than the texts there are, but for those of lists with filters.
const keptStatements = 256

// openStatements opens a pool of SQLite connections that prepare each text once
// and use it again, as pgx does on PostgreSQL: to parse a short statement and to
// plan it takes a third of its time.
func openStatements(dsn string, sent *statementCount) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(statements{c, sent}), nil
}

// A statementCount counts statements that are sent to a database.
type statementCount struct{ atomic.Int64 }

// TraceQueryStart is called by pgx.
func (n *statementCount) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	n.Add(1)
	return ctx
}

// TraceQueryEnd is called by pgx.
func (n *statementCount) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

type statements struct {
	driver.Connector
	sent *statementCount
}

func (s statements) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &statementConn{sqliteConn: c.(sqliteConn), sent: s.sent, idle: map[string]driver.Stmt{}}, nil
}

// sqliteConn is what a connection of the driver can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

var limited = regexp.MustCompile(`\bLIMIT (\$\d+)`)

// planned returns a statement as it is prepared. Of a LIMIT that is a parameter SQLite
// looks at the value to plan the statement, and so plans it anew whenever that is bound;
// of an expression it does not.
func planned(text string) string {
	return limited.ReplaceAllString(text, "LIMIT CAST($1 AS INTEGER)")
}

// A statementConn is a connection with its prepared statements. One that is at
// work is not among the idle, so that a text may run twice at a time.
type statementConn struct {
	sqliteConn
	sent  *statementCount
	idle  map[string]driver.Stmt
	texts []string // of the idle, the longest unused first
}

func (c *statementConn) take(ctx context.Context, text string) (driver.Stmt, error) {
	s, ok := c.idle[text]
	if !ok {
		return c.PrepareContext(ctx, planned(text))
	}
	delete(c.idle, text)
	i := slices.Index(c.texts, text)
	c.texts = slices.Delete(c.texts, i, i+1)
	return s, nil
}

// give makes a statement idle that has done its work; fine says how.
func (c *statementConn) give(text string, s driver.Stmt, fine bool) error {
	if _, twice := c.idle[text]; twice || !fine {
		return s.Close()
	}
	c.idle[text] = s
	c.texts = append(c.texts, text)
	if len(c.texts) <= keptStatements {
		return nil
	}
	old := c.texts[0]
	s = c.idle[old]
	c.texts = slices.Delete(c.texts, 0, 1)
	delete(c.idle, old)
	return s.Close()
}

func (c *statementConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	c.sent.Add(1)
	s, err := c.take(ctx, text)
	if err != nil {
		return nil, err
	}
	r, err := s.(driver.StmtExecContext).ExecContext(ctx, args)
	if e := c.give(text, s, err == nil); err == nil {
		err = e
	}
	return r, err
}

func (c *statementConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	c.sent.Add(1)
	s, err := c.take(ctx, text)
	if err != nil {
		return nil, err
	}
	r, err := s.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		c.give(text, s, false) // the error counts that came first
		return nil, err
	}
	return &statementRows{r, func(fine bool) error { return c.give(text, s, fine) }}, nil
}

func (c *statementConn) Close() error {
	for _, s := range c.idle {
		s.Close() // the connection that goes is what says whether all is well
	}
	clear(c.idle)
	return c.sqliteConn.Close()
}

// statementRows are rows that give their statement back.
type statementRows struct {
	driver.Rows
	give func(fine bool) error
}

func (r *statementRows) Close() error {
	err := r.Rows.Close()
	if r.give == nil {
		return err
	}
	e := r.give(err == nil)
	r.give = nil
	if err == nil {
		err = e
	}
	return err
}

type observerKey struct{}

// Observe returns a context in which fn is given each statement that is run, and each
// that is run on a database which is opened in it, with its parameters: for tests, which
// count statements and ask for their plans.
func Observe(ctx context.Context, fn func(text string, args []any)) context.Context {
	return context.WithValue(ctx, observerKey{}, fn)
}

// An observer is told of statements; nil is told of none.
type observer func(text string, args []any)

func observerOf(ctx context.Context) observer {
	fn, _ := ctx.Value(observerKey{}).(func(string, []any))
	return fn
}

func (o observer) observe(ctx context.Context, text string, args []any) {
	for _, fn := range []observer{o, observerOf(ctx)} {
		if fn != nil {
			fn(text, args)
		}
	}
}

// A Reader is the pool for reading outside a transaction.
type Reader struct {
	*sql.DB
	observer observer
}

func (r Reader) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	r.observer.observe(ctx, text, args)
	return r.DB.QueryContext(ctx, text, args...)
}

func (r Reader) QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row {
	r.observer.observe(ctx, text, args)
	return r.DB.QueryRowContext(ctx, text, args...)
}

func (tx *Tx) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	tx.observer.observe(ctx, text, args)
	return tx.Tx.ExecContext(ctx, text, args...)
}

func (tx *Tx) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	tx.observer.observe(ctx, text, args)
	return tx.Tx.QueryContext(ctx, text, args...)
}

func (tx *Tx) QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row {
	tx.observer.observe(ctx, text, args)
	return tx.Tx.QueryRowContext(ctx, text, args...)
}
