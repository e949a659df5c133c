package database

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// The schema's rules: ids are TEXT, lower-case GUIDs; times are BIGINT,
// microseconds in UTC, 0 for none; truths are SMALLINT; structures are JSON in
// TEXT. Every row names its tenant. Migrations only go forward.
//
// What must be spelled differently has a file of the same number for each.
//
//go:embed migrations
var migrations embed.FS

// files are the migrations of one database.
type files struct{ common, own fs.FS }

func migrationsOf(d Dialect) (f files, err error) {
	if f.common, err = fs.Sub(migrations, "migrations"); err == nil {
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

// version returns which migration was the last, 0 for none.
func (db *DB) version(ctx context.Context) (last int64, err error) {
	there := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`
	if db.dialect == Postgres {
		there = `SELECT count(*) FROM (SELECT to_regclass('goose_db_version') AS found) AS t WHERE found IS NOT NULL`
	}
	var n int
	if err := db.read.QueryRowContext(ctx, there).Scan(&n); err != nil || n == 0 {
		return 0, err
	}
	err = db.read.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&last)
	return last, err
}

// provider returns what runs the migrations.
func (db *DB) provider() (*goose.Provider, error) {
	files, err := migrationsOf(db.dialect)
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if db.dialect == Postgres {
		dialect = goose.DialectPostgres
		// One process migrates, the others ask once a second whether it is done.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(dialect, db.write, files, options...)
}

// newest returns which migration is the last that this program has.
func newest(p *goose.Provider) int64 {
	sources := p.ListSources()
	return sources[len(sources)-1].Version
}

// checkVersion fails with ErrNewer if a database knows migrations that come
// after the last of this program's.
func checkVersion(present, last int64) error {
	if present > last {
		return fmt.Errorf("%w: it has version %d of the schema, and this one knows no further than %d. Start the newer one, or put the database back as it was before that was started. Nothing was changed",
			ErrNewer, present, last)
	}
	return nil
}

// migrate brings the schema to a version, 0 for the newest.
func (db *DB) migrate(ctx context.Context, to int64) error {
	up := func() error {
		p, err := db.provider()
		if err != nil {
			return err
		}
		last := newest(p)
		present, err := db.version(ctx)
		if err != nil {
			return err
		}
		if err := checkVersion(present, last); err != nil {
			return err
		}
		_, err = p.UpTo(ctx, cmp.Or(to, last))
		return err
	}

	// goose has no lock for SQLite. Of two processes that apply one migration,
	// the second fails as a whole, since the first migration makes the version
	// unique; it then finds the migration applied.
	attempts := 1
	if db.dialect == SQLite {
		attempts = 20
	}
	var err error
	for {
		attempts--
		if err = up(); err == nil || attempts == 0 || ctx.Err() != nil || errors.Is(err, ErrNewer) {
			break
		}
		time.Sleep(10*time.Millisecond + rand.N(40*time.Millisecond))
	}
	if err != nil || to != 0 {
		return err
	}
	for _, statement := range tuning[db.dialect] {
		if _, err := db.write.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// checkPresent fails unless the schema is the newest.
func (db *DB) checkPresent(ctx context.Context) error {
	p, err := db.provider()
	if err != nil {
		return err
	}
	present, err := db.version(ctx)
	if err != nil {
		return err
	}
	if err := checkVersion(present, newest(p)); err != nil {
		return err
	}
	if present < newest(p) {
		return fmt.Errorf("the database has version %d of the schema, and this Holdfast works on %d: start its server once, which brings the database up to date", present, newest(p))
	}
	return nil
}
