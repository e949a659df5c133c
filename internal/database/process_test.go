package database_test

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// file is a migration of a version to come.
func file(text string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- Why.\n\n-- +goose Up\n" + text)}
}

// later adds to what an older program knows; apart takes something away from it.
var (
	later = fstest.MapFS{"90001_later.sql": file(`CREATE TABLE later (id TEXT PRIMARY KEY); ALTER TABLE job ADD COLUMN later TEXT NOT NULL DEFAULT '';`)}
	apart = fstest.MapFS{"90001_later.sql": later["90001_later.sql"], "90002_apart.sql": {Data: []byte("-- Why.\n-- +holdfast alone\n\n-- +goose Up\nALTER TABLE job RENAME COLUMN later TO latest;\n")}}
)

func version(t *testing.T, q database.Queryer) (version, floor int64) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), `SELECT (SELECT max(version_id) FROM goose_db_version), (SELECT floor FROM schema_floor)`).Scan(&version, &floor); err != nil {
		t.Fatal(err)
	}
	return version, floor
}

func process(id string, seen time.Time) database.Process {
	return database.Process{ID: id, Name: "host/" + id, Version: "holdfast v1", Role: "all", Since: seen, Seen: seen}
}

// On what a newer program has added to a database the one before goes on, and may start
// again; it changes nothing there.
func TestAnOlderProgramGoesOnAfterAdditions(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			ctx, now, u := t.Context(), time.Now(), dbtest.URL(t, d)
			old := open(t, u)
			if err := errors.Join(old.Seen(ctx, process("old", now)), old.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "a") })); err != nil {
				t.Fatal(err)
			}
			newer, err := database.OpenWith(ctx, u, now, later)
			if err != nil {
				t.Fatal(err)
			}
			defer newer.Close()
			if newer.Ahead() {
				t.Error("the newest program takes the database for a newer one's")
			}
			if err := old.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "b") }); err != nil {
				t.Errorf("the old program, still running: %v", err)
			}
			again := open(t, u)
			if err := errors.Join(again.Seen(ctx, process("again", now)), again.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "c") })); err != nil || !again.Ahead() {
				t.Errorf("the old program, started again: %v, ahead %v", err, again.Ahead())
			}
			beside, err := database.OpenBeside(ctx, u)
			if err != nil {
				t.Fatalf("a tool of the old program: %v", err)
			}
			beside.Close()
			if n, floor := version(t, newer.Read()); n != 90001 || floor != 0 {
				t.Errorf("the schema has version %d and floor %d", n, floor)
			}
			if got := keys(t, newer.Read()); got != "a b c" {
				t.Errorf("there are %s", got)
			}
		})
	}
}

// A migration that says that nobody works beside it waits for those who do, and keeps
// them out afterwards.
func TestAMigrationThatStandsAlone(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			ctx, now, u := t.Context(), time.Now(), dbtest.URL(t, d)
			old := open(t, u)
			if err := old.Seen(ctx, process("old", now)); err != nil {
				t.Fatal(err)
			}
			if d == database.Postgres {
				before, _ := version(t, old.Read())
				_, err := database.OpenWith(ctx, u, now.Add(time.Minute), apart)
				if !errors.Is(err, database.ErrOlder) {
					t.Fatalf("beside a process of before: %v", err)
				}
				for _, word := range []string{"host/old (holdfast v1, seen 1m0s ago)", "Stop them", "3 minutes", "Nothing was changed"} {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%q is not in: %v", word, err)
					}
				}
				if n, floor := version(t, old.Read()); n != before || floor != 0 {
					t.Errorf("the schema has version %d and floor %d, where nothing was to be changed", n, floor)
				}
				// It was killed, and is not seen for minutes; or it stops, as below.
				gone := dbtest.URL(t, d)
				killed := open(t, gone)
				if err := killed.Seen(ctx, process("killed", now)); err != nil {
					t.Fatal(err)
				}
				newer, err := database.OpenWith(ctx, gone, now.Add(4*time.Minute), apart)
				if err != nil {
					t.Fatal(err)
				}
				newer.Close()
				// It was only asleep: it learns of it when it wants to be seen again.
				if err := killed.Seen(ctx, process("killed", now.Add(4*time.Minute))); !errors.Is(err, database.ErrNewer) {
					t.Errorf("a process that slept meanwhile: %v, want ErrNewer", err)
				}
				if err := old.Gone(ctx, "old"); err != nil {
					t.Fatal(err)
				}
			}
			newer, err := database.OpenWith(ctx, u, now, apart)
			if err != nil {
				t.Fatal(err)
			}
			defer newer.Close()
			if n, floor := version(t, newer.Read()); n != 90002 || floor != 90002 {
				t.Errorf("the schema has version %d and floor %d", n, floor)
			}
			for name, open := range map[string]func() (*database.DB, error){
				"Open":                               func() (*database.DB, error) { return database.Open(ctx, u) },
				"OpenBeside":                         func() (*database.DB, error) { return database.OpenBeside(ctx, u) },
				"of the version between, Open":       func() (*database.DB, error) { return database.OpenWith(ctx, u, now, later) },
				"of the version between, OpenBeside": func() (*database.DB, error) { return database.OpenBesideWith(ctx, u, later) },
			} {
				db, err := open()
				if err == nil {
					db.Close()
				}
				if !errors.Is(err, database.ErrNewer) || !strings.Contains(fmt.Sprint(err), "90002") {
					t.Errorf("%s = %v, want ErrNewer", name, err)
				}
			}
			if err := old.Seen(ctx, process("old", now)); !errors.Is(err, database.ErrNewer) {
				t.Errorf("a process that comes back: %v, want ErrNewer", err)
			}
			beside, err := database.OpenBesideWith(ctx, u, apart)
			if err != nil {
				t.Fatal(err)
			}
			beside.Close()
		})
	}
}

func TestProcesses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		see := func(id string, since, seen time.Time) {
			t.Helper()
			p := process(id, seen)
			p.Since = since
			if err := db.Seen(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		names := func(now time.Time) (names string) {
			t.Helper()
			all, err := db.Processes(ctx, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				names += p.ID + " "
			}
			return strings.TrimSpace(names)
		}
		see("a", at, at)
		see("b", at.Add(time.Second), at.Add(time.Second))
		if got := names(at.Add(time.Minute)); got != "a b" {
			t.Errorf("there are %s, want a b", got)
		}
		see("a", at, at.Add(3*time.Minute))
		if got := names(at.Add(4 * time.Minute)); got != "a" {
			t.Errorf("one that is silent counts: %s, want a", got)
		}
		see("a", at, at.Add(10*time.Minute)) // which forgets b
		see("b", at.Add(time.Second), at.Add(10*time.Minute))
		if got := names(at.Add(10 * time.Minute)); got != "a b" {
			t.Errorf("one that was only slow: %s, want a b", got)
		}
		if err := errors.Join(db.Gone(ctx, "a"), db.Gone(ctx, "never")); err != nil {
			t.Fatal(err)
		}
		if got := names(at.Add(10 * time.Minute)); got != "b" {
			t.Errorf("one that has stopped counts: %s, want b", got)
		}
	})
}

// A migration does not have others queue behind it while somebody else's long transaction
// holds the table, and comes through once that ends.
func TestAMigrationLetsOthersPass(t *testing.T) {
	if len(dbtest.Dialects(t)) == 1 {
		return // Dialects has said so
	}
	ctx, u := t.Context(), dbtest.URL(t, database.Postgres)
	old := open(t, u)
	reading := make(chan struct{})
	passed := make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- old.Tx(ctx, func(tx *database.Tx) error { // a long report, say
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM job`).Scan(&n); err != nil {
				return err
			}
			close(reading)
			return <-passed
		})
	}()
	<-reading
	migrated := make(chan error, 1)
	go func() {
		db, err := database.OpenWith(ctx, u, time.Now(), later)
		if err == nil {
			err = db.Close()
		}
		migrated <- err
	}()
	for { // until the migration waits for the table
		var n int
		if err := old.Read().QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// Without an end of its waiting this would wait for the reader, which waits for this.
	err := old.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "a") })
	passed <- err
	if err := errors.Join(err, <-ended, <-migrated); err != nil {
		t.Fatal(err)
	}
	if n, _ := version(t, old.Read()); n != 90001 {
		t.Errorf("the schema has version %d", n)
	}
}

// Statements that were prepared before the schema changed are answered afterwards.
func TestStatementsOutliveMigrations(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		change := func(statements ...string) {
			t.Helper()
			if err := db.Tx(ctx, func(tx *database.Tx) error {
				for _, s := range statements {
					if _, err := tx.ExecContext(ctx, s); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		change(`CREATE TABLE kept (id TEXT PRIMARY KEY, n BIGINT NOT NULL)`, `INSERT INTO kept VALUES ('a', 1)`)
		ask := func(columns string) error {
			return db.Tx(ctx, func(tx *database.Tx) error {
				rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM kept WHERE id = $1`, "a")
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				return rows.Err()
			})
		}
		read := func() error {
			var n int64
			return db.Read().QueryRowContext(ctx, `SELECT n FROM kept WHERE id = $1`, "a").Scan(&n)
		}
		for _, further := range [][]string{
			nil,
			{`ALTER TABLE kept ADD COLUMN later TEXT NOT NULL DEFAULT ''`},
			{`CREATE TABLE other (id TEXT PRIMARY KEY, n BIGINT NOT NULL)`, `INSERT INTO other SELECT id, n FROM kept`, `DROP TABLE kept`, `ALTER TABLE other RENAME TO kept`},
		} {
			change(further...)
			// The second are columns that change, which Tx asks for once more.
			if err := errors.Join(ask("n"), ask("*"), read()); err != nil {
				t.Errorf("after %s: %v", further, err)
			}
		}
	})
}

// The rules of migrate.go for migrations that may be applied beside an older program.
func TestMigrationsKeepTheRules(t *testing.T) {
	for name, err := range map[string]error{
		"alone":        breaks(postgresFile, "-- +holdfast alone\nALTER TABLE job RENAME TO work;"),
		"additive":     breaks(postgresFile, "CREATE TABLE a (id TEXT PRIMARY KEY, n BIGINT NOT NULL);\nCREATE INDEX a_n ON a (n);\nALTER TABLE job ADD COLUMN b TEXT NOT NULL DEFAULT '';\n-- Nothing was to DROP here."),
		"built beside": breaks(postgresFile, "-- +goose NO TRANSACTION\n-- +goose Up\nSET lock_timeout = 0;\nDROP INDEX CONCURRENTLY IF EXISTS job_x;\nCREATE INDEX CONCURRENTLY job_x ON job (args);\nRESET lock_timeout;"),
		"of a part":    breaks("migrations/sqlite/00300_x.sql", "CREATE INDEX job_x ON job (args);"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{
		"ALTER TABLE job RENAME TO work;", "DROP TABLE job;", "ALTER TABLE job DROP COLUMN args;", "ALTER TABLE job ALTER COLUMN args TYPE BIGINT;",
		"ALTER TABLE job ALTER COLUMN args SET NOT NULL;", "ALTER TABLE job ADD COLUMN b TEXT NOT NULL;", "ALTER TABLE job ADD CONSTRAINT c CHECK (args <> '');",
		"CREATE INDEX job_x ON job (args);", "CREATE UNIQUE INDEX job_x\n  ON job (args);", "CREATE INDEX CONCURRENTLY job_x ON job (args);", "-- +holdfast alnoe\nCREATE TABLE a (id TEXT);",
		"CREATE TRIGGER t AFTER INSERT ON job EXECUTE FUNCTION f();", "DROP INDEX job_due;",
	} {
		if breaks(postgresFile, text) == nil {
			t.Errorf("nobody objects to %q", text)
		}
	}
	err := fs.WalkDir(database.Embedded, "migrations", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if n, err := strconv.Atoi(e.Name()[:5]); err != nil || n <= 220 {
			return err
		}
		text, err := fs.ReadFile(database.Embedded, path)
		if err == nil {
			err = breaks(path, string(text))
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const postgresFile = "migrations/postgres/00300_x.sql"

var (
	comment   = regexp.MustCompile(`(?m)--.*$`)
	takes     = regexp.MustCompile(`(?i)\b(DROP (TABLE|COLUMN|TRIGGER|FUNCTION|VIEW)|RENAME|ALTER COLUMN|(SET|ADD) (NOT NULL|CONSTRAINT|CHECK)|CREATE (OR REPLACE )?TRIGGER)\b`)
	loses     = regexp.MustCompile(`(?i)\bDROP INDEX (IF EXISTS )?\w+\s*;`) // by which SQLite may have been told to find rows
	column    = regexp.MustCompile(`(?i)\bADD COLUMN [^;]*\bNOT NULL\b[^;]*`)
	makes     = regexp.MustCompile(`(?i)\bCREATE TABLE (\w+)`)
	indexes   = regexp.MustCompile(`(?i)\bCREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(\w+)\s+ON (\w+)`)
	besideAll = regexp.MustCompile(`(?is)^\s*SET lock_timeout = 0;\s*DROP INDEX CONCURRENTLY IF EXISTS \w+;.*RESET lock_timeout;\s*$`)
)

// breaks says which rule a migration breaks, nil for none.
func breaks(path, text string) error {
	is, err := database.Alone(text)
	if err != nil || is {
		return err
	}
	said := comment.ReplaceAllString(text, "")
	if found := takes.FindString(said); found != "" {
		return fmt.Errorf("%s: the program of the version before may not work beside it: do without, or say '-- +holdfast alone'", found)
	}
	if found := loses.FindString(said); found != "" {
		return fmt.Errorf("%s: the program of the version before may ask by that index", found)
	}
	for _, c := range column.FindAllString(said, -1) {
		if !strings.Contains(strings.ToUpper(c), "DEFAULT") {
			return fmt.Errorf("%s: the program of the version before does not give it a value: give it a default", c)
		}
	}
	made := map[string]bool{}
	for _, m := range makes.FindAllStringSubmatch(said, -1) {
		made[m[1]] = true
	}
	for _, m := range indexes.FindAllStringSubmatch(said, -1) {
		switch {
		case made[m[3]] || strings.Contains(path, "/sqlite/"):
		case m[1] == "":
			return fmt.Errorf("the index %s keeps others from writing to %s while it is built: make it CONCURRENTLY, in a file for PostgreSQL", m[2], m[3])
		case !strings.Contains(text, "-- +goose NO TRANSACTION") || !besideAll.MatchString(said):
			return fmt.Errorf("the index %s is made CONCURRENTLY otherwise than migrate.go says", m[2])
		}
	}
	return nil
}
