package database

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// The schema's rules: ids are TEXT, lower-case GUIDs; times are BIGINT,
// microseconds in UTC, 0 for none; truths are SMALLINT; structures are JSON in
// TEXT. Every row names its tenant, but those that are of none. Migrations only go forward.
//
// What must be spelled differently has a file of the same number for each.
//
// Processes are replaced one after another: the program of the version before works on
// while a migration is applied, and afterwards. A migration therefore
//
//   - adds tables, columns with a default and indexes, and has no program miss what it
//     knew. Where it cannot but take something away, rename it or give it another
//     meaning, it says so by a line "-- +holdfast alone" before its first statement: it
//     is then applied only when no process of before is there, and none works on the
//     database afterwards;
//   - holds what it locks for moments. It waits for a lock for lockPatience and is then
//     tried again, so that nobody queues behind it;
//   - makes an index on a table that was there CONCURRENTLY, in a file for PostgreSQL of
//     its own with "-- +goose NO TRANSACTION". That begins with SET lock_timeout = 0 and
//     DROP INDEX CONCURRENTLY IF EXISTS, since it may have been broken off, and ends with
//     RESET lock_timeout.
//
// A test holds migrations after 00220 to them.
//
//go:embed migrations
var migrations embed.FS

// files are the migrations of one database.
type files struct{ common, own fs.FS }

func migrationsOf(d Dialect) (fs.FS, error) {
	return filesOf(migrations, d)
}

// filesOf are the migrations of a database that are in a folder of all.
func filesOf(all fs.FS, d Dialect) (f files, err error) {
	if f.common, err = fs.Sub(all, "migrations"); err == nil {
		f.own, err = fs.Sub(f.common, string(d))
	}
	return f, err
}

func (f files) Open(name string) (fs.File, error) {
	file, err := f.own.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return f.common.Open(name)
	}
	return file, err
}

func (f files) ReadDir(name string) ([]fs.DirEntry, error) {
	common, err := fs.ReadDir(f.common, name)
	if err != nil {
		return nil, err
	}
	own, err := fs.ReadDir(f.own, name)
	all := append(common, own...)
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, err
}

// tuning is what a database is told beyond the schema, each time it is opened.
var tuning = map[Dialect][]string{
	Postgres: {
		// Jobs come and go by the ten thousand. With the default of a fifth of
		// the table the planner works on figures that are long out of date, and
		// claiming a job wades through dead rows.
		`ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01)`,
		// The newest row of a unit's points is written again by each run; where
		// its page has room for that, no index is.
		`ALTER TABLE restore_point SET (fillfactor = 80)`,
	},
}

// ErrNewer says that a database was brought up to date by a newer Holdfast than
// this one, which does not know what it would do to it.
var ErrNewer = errors.New("the database is of a newer Holdfast")

// ErrOlder says that a migration waits for processes of a former version to stop.
var ErrOlder = errors.New("processes of a former version work on the database")

// version returns which migration was the last, 0 for none.
func (db *DB) version(ctx context.Context) (last int64, err error) {
	there, err := db.has(ctx, "goose_db_version")
	if err != nil || !there {
		return 0, err
	}
	err = db.read.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&last)
	return last, err
}

// has reports whether there is a table.
func (db *DB) has(ctx context.Context, table string) (bool, error) {
	there := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`
	if db.dialect == Postgres {
		there = `SELECT count(*) FROM (SELECT to_regclass($1) AS found) AS t WHERE found IS NOT NULL`
	}
	var n int
	err := db.read.QueryRowContext(ctx, there, table).Scan(&n)
	return n > 0, err
}

// directive is a line of a migration that says something to this program.
var directive = regexp.MustCompile(`(?m)^-- \+holdfast[ \t]*(.*?)[ \t]*$`)

// alone reports whether the program of the version before does not work beside what a
// migration makes.
func alone(text string) (bool, error) {
	is := false
	for _, m := range directive.FindAllStringSubmatch(text, -1) {
		if m[1] != "alone" {
			return false, fmt.Errorf(`"%s" is none that there is`, m[0])
		}
		is = true
	}
	return is, nil
}

// A plan is the migrations that a program has.
type plan struct {
	*goose.Provider
	newest int64
	alone  []int64 // those that no program of before works beside, in their order
}

// floor returns the last migration up to one that no program of before works beside, 0
// for none.
func (p *plan) floor(to int64) (floor int64) {
	for _, n := range p.alone {
		if n <= to {
			floor = n
		}
	}
	return floor
}

// plan returns the migrations that this program has for db, run on its connections
// for writing.
func (db *DB) plan() (*plan, error) {
	files, err := db.files(db.dialect)
	if err != nil {
		return nil, err
	}
	dialect, on := goose.DialectSQLite3, db.write
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if db.dialect == Postgres {
		dialect, on = goose.DialectPostgres, db.change
		// One process migrates, the others ask once a second whether it is done.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(dialect, on, files, options...)
	if err != nil {
		return nil, err
	}
	p := &plan{Provider: provider}
	for _, source := range provider.ListSources() {
		p.newest = source.Version
		text, err := fs.ReadFile(files, source.Path)
		if err != nil {
			return nil, err
		}
		is, err := alone(string(text))
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", source.Path, err)
		}
		if is {
			p.alone = append(p.alone, source.Version)
		}
	}
	return p, nil
}

// checkFloor fails with ErrNewer unless a program whose last migration is newest works on
// a database that has the version present of the schema.
func (db *DB) checkFloor(ctx context.Context, present, newest int64) error {
	if present <= newest {
		return nil
	}
	there, err := db.has(ctx, "schema_floor")
	if err != nil {
		return err
	}
	if floor := present; there {
		if err := db.read.QueryRowContext(ctx, `SELECT floor FROM schema_floor`).Scan(&floor); err != nil {
			return err
		}
		if floor <= newest {
			return nil
		}
	}
	return tooNew(present, newest)
}

func tooNew(present, newest int64) error {
	return fmt.Errorf("%w: it has version %d of the schema, and this one knows no further than %d. Start the newer one, or put the database back as it was before that was started. Nothing was changed",
		ErrNewer, present, newest)
}

// How long a migration waits for a lock at a time: others that come to the table wait
// behind it. And for how long it is tried all in all.
const (
	lockPatience = 2 * time.Second
	lockAttempts = 100
)

// migrate brings the schema to a version, 0 for the newest.
func (db *DB) migrate(ctx context.Context, to int64, now time.Time) error {
	p, err := db.plan()
	if err != nil {
		return err
	}
	to = cmp.Or(to, p.newest)
	up := func() error {
		present, err := db.version(ctx)
		if err != nil {
			return err
		}
		if err := db.checkFloor(ctx, present, p.newest); err != nil {
			return err
		}
		if db.ahead = max(0, present-p.newest); db.ahead > 0 {
			return nil // a newer one looks after the schema
		}
		if err := db.raise(ctx, p.floor(to), now); err != nil {
			return err
		}
		if _, err = p.UpTo(ctx, to); err != nil {
			return err
		}
		return db.raise(ctx, p.floor(to), now) // of a database that had no floor yet
	}

	// goose has no lock for SQLite. Of two processes that apply one migration,
	// the second fails as a whole, since the first migration makes the version
	// unique; it then finds the migration applied.
	for attempt := 1; ; attempt++ {
		err = up()
		most := 20
		if db.dialect == Postgres {
			most = 1
			if isLocked(err) {
				most = lockAttempts
			}
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder) {
			break
		}
		if attempt >= most {
			if isLocked(err) {
				err = fmt.Errorf("a transaction of another program has held a table for too long, so that the schema could not be changed: end it, and start again. What was changed stays, and harms nobody: %w", err)
			}
			break
		}
		pause := 10*time.Millisecond + rand.N(40*time.Millisecond)
		if isLocked(err) {
			pause = time.Second + rand.N(time.Second) // for those who wait behind it
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	if err != nil || to != p.newest || db.ahead > 0 {
		return err
	}
	for _, statement := range tuning[db.dialect] {
		if _, err := db.change.ExecContext(ctx, statement); err != nil && !isLocked(err) { // the next start says it again
			return err
		}
	}
	return nil
}

// isLocked reports whether err says that a lock was waited for in vain.
func isLocked(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "55P03"
}

// raise has no program whose last migration comes before floor work on the database from
// now on, if there is where to note it. It fails with ErrOlder while such are there.
func (db *DB) raise(ctx context.Context, floor int64, now time.Time) error {
	if there, err := db.has(ctx, "schema_floor"); err != nil || !there {
		return err
	}
	return db.Tx(ctx, func(tx *Tx) error {
		var present int64
		if err := tx.QueryRowContext(ctx, `SELECT floor FROM schema_floor`+tx.dialect.ForUpdate()).Scan(&present); err != nil || present >= floor {
			return err
		}
		var of []string
		all, err := processes(ctx, tx, now)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.newest < floor {
				of = append(of, fmt.Sprintf("%s (%s, seen %s ago)", p.Name, p.Version, max(0, now.Sub(p.Seen)).Round(time.Second)))
			}
		}
		if len(of) > 0 && tx.dialect == Postgres { // on SQLite there is one at a time
			return fmt.Errorf("%w: %s. This version changes the schema in a way that they do not work with. Stop them, then start this one; one that was killed counts as gone %d minutes after it was seen last. Nothing was changed",
				ErrOlder, strings.Join(of, ", "), silence/time.Minute)
		}
		_, err = tx.ExecContext(ctx, `UPDATE schema_floor SET floor = $1`, floor)
		return err
	})
}

// checkPresent fails unless the schema is one that this program works with, the newest or
// a newer one.
func (db *DB) checkPresent(ctx context.Context) error {
	p, err := db.plan()
	if err != nil {
		return err
	}
	present, err := db.version(ctx)
	if err != nil {
		return err
	}
	if err := db.checkFloor(ctx, present, p.newest); err != nil {
		return err
	}
	if present < p.newest {
		return fmt.Errorf("the database has version %d of the schema, and this Holdfast works on %d: start its server once, which brings the database up to date", present, p.newest)
	}
	db.ahead = present - p.newest
	return nil
}
