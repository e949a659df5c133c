package database

import (
	"context"
	"embed"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// The schema's rules: ids are TEXT, lower-case GUIDs; times are BIGINT,
// microseconds in UTC, 0 for none; truths are SMALLINT; structures are JSON in
// TEXT. Every row names its tenant. Migrations only go forward.
//
//go:embed migrations/*.sql
var migrations embed.FS

// tuning is what a database is told beyond the schema, each time it is opened.
var tuning = map[Dialect][]string{
	Postgres: {
		// Jobs come and go by the ten thousand. With the default of a fifth of
		// the table the planner works on figures that are long out of date, and
		// claiming a job wades through dead rows.
		`ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01)`,
	},
}

// migrate brings the schema up to date.
func (db *DB) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if db.dialect == Postgres {
		dialect = goose.DialectPostgres
		// One process migrates, the others ask once a second whether it is done.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	up := func() error {
		p, err := goose.NewProvider(dialect, db.write, files, options...)
		if err != nil {
			return err
		}
		_, err = p.Up(ctx)
		return err
	}

	// goose has no lock for SQLite. Of two processes that apply one migration,
	// the second fails as a whole, since the first migration makes the version
	// unique; it then finds the migration applied.
	attempts := 1
	if db.dialect == SQLite {
		attempts = 20
	}
	for {
		attempts--
		if err = up(); err == nil || attempts == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(10*time.Millisecond + rand.N(40*time.Millisecond))
	}
	if err != nil {
		return err
	}
	for _, statement := range tuning[db.dialect] {
		if _, err := db.write.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
