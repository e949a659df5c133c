// Package database opens the catalog's database, SQLite or PostgreSQL, and runs
// transactions on it. It holds the schema, whose migrations are embedded: one
// set of files for both databases.
//
// It promises that the same statements do the same on both: parameters are
// written $1, times are microseconds, lists are passed as one JSON text. The few
// things that must be spelled differently are the methods of Dialect, and there
// are no others. It may touch nothing but the database; who owns which table is
// the business of the packages catalog and jobs, but for process and schema_floor, by
// which processes of several versions share a database.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// A DB is an open database with the present schema. It may be used by many
// goroutines at once.
type DB struct {
	dialect Dialect
	write   *sql.DB // on SQLite one connection, whose transactions begin immediate
	read    *sql.DB // on PostgreSQL one that sorts only what it must
	change  *sql.DB // on PostgreSQL one for the schema, that does not wait for locks for long
	sent    *statementCount
	timed   func(time.Duration)
	files   func(Dialect) (fs.FS, error) // the migrations
	ahead   int64                        // by how much the schema is newer than the last of them

	observer observer // see Observe
}

// Timed has fn be told how long each transaction took, with its waiting and from its
// first try. It is called before the DB is used.
func (db *DB) Timed(fn func(time.Duration)) { db.timed = fn }

// Statements returns how many statements were sent since the database was opened.
func (db *DB) Statements() int64 { return db.sent.Load() }

// Open opens the database that url names, "sqlite:/path/file.db" or
// "postgres://…", and brings its schema up to date. A SQLite file that does not
// exist is made; its folder must exist. Several processes may open an empty
// database at the same time. The caller closes the DB.
//
// A database that a newer Holdfast brought up to date is left as it is. Where that
// did what this one does not work with, it is refused: ErrNewer. And a database is not
// brought to where processes that are there would not work with it: ErrOlder.
//
// No error of Open contains the URL, since it may hold a password.
func Open(ctx context.Context, url string) (*DB, error) { return OpenAt(ctx, url, 0) }

// OpenAt is Open with the schema as a migration left it, which is how a database
// of before is made; 0 is the newest.
func OpenAt(ctx context.Context, url string, version int64) (*DB, error) {
	return open(ctx, url, version, migrationsOf, time.Now())
}

func open(ctx context.Context, url string, version int64, files func(Dialect) (fs.FS, error), now time.Time) (*DB, error) {
	db, err := connect(url)
	if err != nil {
		return nil, err
	}
	db.files, db.observer = files, observerOf(ctx)
	if err := db.migrate(ctx, version, now); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate database: %w", advised(err)), db.Close())
	}
	return db, nil
}

// OpenBeside is Open for what works on the database of a server that may be
// running: it changes no schema, and fails unless that is the present one, or a newer one
// that this program works with.
func OpenBeside(ctx context.Context, url string) (*DB, error) {
	return openBeside(ctx, url, migrationsOf)
}

func openBeside(ctx context.Context, url string, files func(Dialect) (fs.FS, error)) (*DB, error) {
	db, err := connect(url)
	if err != nil {
		return nil, err
	}
	db.files, db.observer = files, observerOf(ctx)
	if err := db.checkPresent(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", advised(err)), db.Close())
	}
	return db, nil
}

func connect(url string) (*DB, error) {
	var db *DB
	var err error
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		db, err = openSQLite(rest)
	case "postgres", "postgresql":
		db, err = openPostgres(url)
	default:
		return nil, errors.New(`open database: the URL must begin with "sqlite:" or "postgres://"`)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

// CheckURL says what is wrong with the URL of a database, as far as that can be told
// without asking it. It does not show a password.
func CheckURL(url string) error {
	switch scheme, rest, _ := strings.Cut(url, ":"); {
	case scheme == "sqlite":
		path := strings.TrimPrefix(rest, "//")
		if path == "" {
			return errors.New("names no file: give sqlite:/path/file.db")
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a folder: name the file in it, such as sqlite:%s", path, filepath.Join(path, "catalog.db"))
		}
		return nil
	case scheme == "postgres" || scheme == "postgresql":
		_, err := pgx.ParseConfig(url)
		return err // pgx leaves the password out
	}
	return errors.New("is missing or of no known kind: give postgres://user@host/name, or sqlite:/path/file.db")
}

// busyTimeout is how long a SQLite statement waits for another process that
// holds the lock, before the transaction is tried again from its start.
const busyTimeout = 10 * time.Second

func openSQLite(path string) (*DB, error) {
	path, err := filepath.Abs(strings.TrimPrefix(path, "//"))
	if err != nil {
		return nil, err
	}
	if err := keepToOwner(path); err != nil {
		return nil, err
	}
	sent := new(statementCount)
	open := func(options url.Values, more ...string) (*sql.DB, error) {
		options["_pragma"] = append([]string{
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), // first: the others may have to wait
			"journal_mode(WAL)",
			"synchronous(FULL)",
			"foreign_keys(1)",
		}, more...)
		u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: options.Encode()}
		return openStatements(u.String(), sent)
	}
	write, err := open(url.Values{"_txlock": {"immediate"}})
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := open(url.Values{}, "query_only(1)")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	n := max(4, 2*runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(n)
	read.SetMaxIdleConns(n)
	return &DB{dialect: SQLite, write: write, read: read, sent: sent}, nil
}

// keepToOwner makes the file of a database that is not there yet, for its owner only,
// and takes one that is there from everybody but its owner and group. The files
// that SQLite makes beside it have its mode.
func keepToOwner(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil // SQLite says why
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if mode := info.Mode().Perm(); mode&0o007 != 0 {
			if err := os.Chmod(path+suffix, mode&^0o007); err != nil {
				return fmt.Errorf("keep the database from other users of this machine: %w", err)
			}
		}
	}
	return nil
}

// maxPostgresConns is how many connections a process keeps, half of them for
// reading. A server with the usual limit of 100 then serves six processes.
const maxPostgresConns = 16

func openPostgres(url string) (*DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	// A cached plan that was made while a table was small reads the whole of it
	// once it has a million rows: plan each statement for what it is given.
	if _, set := config.RuntimeParams["plan_cache_mode"]; !set {
		config.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	}
	// By default a page read out of order is taken to cost four read in order, as
	// on a turning disk: fifty rows would be sought by reading ten thousand.
	if _, set := config.RuntimeParams["random_page_cost"]; !set {
		config.RuntimeParams["random_page_cost"] = "1.1"
	}
	// Where a plan looks dear, if only because little is known of the tables or a sort that
	// is off (below) is needed after all, PostgreSQL compiles it: half a second for a
	// statement that takes a millisecond.
	if _, set := config.RuntimeParams["jit"]; !set {
		config.RuntimeParams["jit"] = "off"
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "holdfast"
	}
	sent := new(statementCount)
	config.Tracer = sent
	pool := func(config *pgx.ConnConfig) *sql.DB {
		pool := stdlib.OpenDB(*config)
		pool.SetMaxOpenConns(maxPostgresConns / 2)
		pool.SetMaxIdleConns(maxPostgresConns / 2)
		pool.SetConnMaxIdleTime(5 * time.Minute)
		return pool
	}
	// A list is asked for in the order that one index has. Where the planner
	// believes, knowing little, that few rows are meant, it would as soon read any
	// other index and sort.
	reading := config.Copy()
	reading.RuntimeParams["enable_sort"] = "off"
	reading.RuntimeParams["enable_incremental_sort"] = "off"
	changing := config.Copy()
	changing.RuntimeParams["lock_timeout"] = fmt.Sprint(lockPatience.Milliseconds())
	change := pool(changing)
	change.SetMaxIdleConns(0) // it is used at the start only
	return &DB{dialect: Postgres, write: pool(config), read: pool(reading), change: change, sent: sent}, nil
}

// Dialect says which database db is.
func (db *DB) Dialect() Dialect { return db.dialect }

// Read returns the pool for reading outside a transaction. It sees everything
// that was committed before the query began. On SQLite it refuses to write.
func (db *DB) Read() Reader { return Reader{db.read, db.observer} }

// Close closes the database. It waits for queries that are running.
func (db *DB) Close() error {
	err := errors.Join(db.read.Close(), db.write.Close())
	if db.change != nil {
		err = errors.Join(err, db.change.Close())
	}
	return err
}

// A Queryer runs statements: a *Tx, or the Reader of DB.Read.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// A Tx is a transaction that may write. DB.Tx commits it or rolls it back; its
// user does neither.
type Tx struct {
	*sql.Tx
	dialect  Dialect
	observer observer
	after    []func()
}

// Dialect says which database the transaction is on.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// AfterCommit has fn called once, after the transaction has committed and
// before DB.Tx returns. Functions are called in the order they were given; if
// the transaction fails or is tried again, those given so far are forgotten.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// txAttempts bounds how often a transaction is run. With the pauses below, the
// last attempt is made after about three seconds.
const txAttempts = 10

// Tx runs fn in one transaction that may write, and commits it if fn returns
// nil. What fn returns comes back unchanged if it is final.
//
// A transaction that fails only because others ran at the same time (a
// serialization failure or deadlock on PostgreSQL, a busy SQLite) is run again,
// a bounded number of times: fn must have no effect but through its tx, or one
// that may be repeated. On SQLite there is one writer at a time, so fn sees
// everything that was committed; on PostgreSQL the isolation is read committed,
// so rows that fn reads in order to write them are read with Dialect.ForUpdate.
//
// fn must not call Tx on the same DB: on SQLite it would wait for itself.
func (db *DB) Tx(ctx context.Context, fn func(*Tx) error) error {
	if db.timed != nil {
		defer func(since time.Time) { db.timed(time.Since(since)) }(time.Now())
	}
	for attempt := 1; ; attempt++ {
		after, err := db.try(ctx, fn)
		if err == nil {
			for _, f := range after {
				f()
			}
			return nil
		}
		if attempt == txAttempts || !isConflict(err) {
			return err
		}
		pause := min(500*time.Millisecond, 5*time.Millisecond<<attempt)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (db *DB) try(ctx context.Context, fn func(*Tx) error) (after []func(), err error) {
	stx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer stx.Rollback() // does nothing after a commit
	tx := &Tx{Tx: stx, dialect: db.dialect, observer: db.observer}
	if err := fn(tx); err != nil {
		return nil, err
	}
	if err := stx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return tx.after, nil
}

// Micros returns t as it is stored: microseconds since 1970 in UTC, 0 for the
// zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time returns the time that is stored as us, in UTC. 0 is the zero time.
func Time(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
