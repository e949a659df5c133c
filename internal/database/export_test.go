package database

import (
	"context"
	"io/fs"
	"testing/fstest"
	"time"
)

// Embedded are the migrations that there are.
var Embedded = migrations

// with are the migrations of this program, and of a newer one that has more.
func with(more fstest.MapFS) func(Dialect) (fs.FS, error) {
	return func(d Dialect) (fs.FS, error) {
		all := fstest.MapFS{}
		err := fs.WalkDir(migrations, "migrations", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := migrations.ReadFile(path)
			all[path] = &fstest.MapFile{Data: data}
			return err
		})
		for path, file := range more {
			all["migrations/"+path] = file
		}
		if err != nil {
			return nil, err
		}
		return filesOf(all, d)
	}
}

// OpenWith is Open by a program that has further migrations.
func OpenWith(ctx context.Context, url string, now time.Time, more fstest.MapFS) (*DB, error) {
	return open(ctx, url, 0, with(more), now)
}

// OpenBesideWith is OpenBeside by such a program.
func OpenBesideWith(ctx context.Context, url string, more fstest.MapFS) (*DB, error) {
	return openBeside(ctx, url, with(more))
}

// Alone reports what a migration says of itself.
func Alone(text string) (bool, error) { return alone(text) }
