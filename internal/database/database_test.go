package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// job inserts a job row, the one table that this package can count on.
func job(ctx context.Context, q database.Queryer, key string) error {
	_, err := q.ExecContext(ctx, `INSERT INTO job (kind, key, tenant, run_at) VALUES ('k', $1, 't', 0)`, key)
	return err
}

func keys(t *testing.T, q database.Queryer) string {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), `SELECT key FROM job ORDER BY key`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			t.Fatal(err)
		}
		all = append(all, key)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestTxCommitsOrRollsBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		calls := 0
		err := db.Tx(ctx, func(tx *database.Tx) error {
			tx.AfterCommit(func() {
				calls++
				if got := keys(t, db.Read()); got != "a" {
					t.Errorf("after the commit a reader sees %q, want a", got)
				}
			})
			return job(ctx, tx, "a")
		})
		if err != nil || calls != 1 {
			t.Fatalf("Tx = %v with %d calls of AfterCommit, want 1", err, calls)
		}

		wanted := errors.New("changed my mind")
		err = db.Tx(ctx, func(tx *database.Tx) error {
			tx.AfterCommit(func() { calls++ })
			if err := job(ctx, tx, "b"); err != nil {
				return err
			}
			return wanted
		})
		if err != wanted || calls != 1 {
			t.Errorf("Tx = %v with %d calls of AfterCommit, want the error of fn and none", err, calls)
		}

		func() {
			defer func() { recover() }()
			db.Tx(ctx, func(tx *database.Tx) error {
				if err := job(ctx, tx, "c"); err != nil {
					t.Error(err)
				}
				panic("no")
			})
		}()
		if got := keys(t, db.Read()); got != "a" {
			t.Errorf("after a rollback and a panic there are %q, want a", got)
		}
	})
}

func TestIsUniqueViolation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		insert := func(tx *database.Tx) error { return job(ctx, tx, "a") }
		if err := db.Tx(ctx, insert); err != nil {
			t.Fatal(err)
		}
		if err := db.Tx(ctx, insert); !database.IsUniqueViolation(err) || database.IsFull(err) {
			t.Errorf("IsUniqueViolation(%v) = false", err)
		}
		err := db.Tx(ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO job (kind) VALUES (NULL)`)
			return err
		})
		if err == nil || database.IsUniqueViolation(err) {
			t.Errorf("IsUniqueViolation(%v) = true", err)
		}
	})
}

// A full database is told apart, keeps what it had, and works again once there
// is room.
func TestFullSQLite(t *testing.T) {
	ctx := t.Context()
	db := dbtest.Open(t, database.SQLite)
	limit := func(pages int) {
		t.Helper()
		err := db.Tx(ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // SQLite takes it for the present size
	big := strings.Repeat("x", 100_000)
	err := db.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, big) })
	if !database.IsFull(err) {
		t.Fatalf("IsFull(%v) = false", err)
	}
	limit(1 << 20)
	if err := db.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "a") }); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, db.Read()); got != "a" {
		t.Errorf("there are %.20q, want a", got)
	}
	if !database.IsFull(fmt.Errorf("write: %w", &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC})) {
		t.Error("IsFull(ENOSPC) = false")
	}
}

// Two transactions that each read and then write what the other read: both
// take effect, as if one after the other.
func TestTxRetriesDeadlock(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		for _, key := range []string{"a", "b"} {
			if err := db.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, key) }); err != nil {
				t.Fatal(err)
			}
		}
		add := func(tx *database.Tx, key string) error {
			_, err := tx.ExecContext(ctx, `UPDATE job SET run_at = run_at + 1 WHERE key = $1`, key)
			return err
		}
		var met sync.WaitGroup // each waits once for the other
		met.Add(2)
		runs, after := 0, 0
		var mu sync.Mutex
		both := func(first, second string) error {
			meet := sync.OnceFunc(func() { met.Done(); met.Wait() })
			return db.Tx(ctx, func(tx *database.Tx) error {
				tx.AfterCommit(func() { mu.Lock(); after++; mu.Unlock() })
				mu.Lock()
				runs++
				mu.Unlock()
				if err := add(tx, first); err != nil {
					return err
				}
				if db.Dialect() == database.Postgres { // on SQLite the other cannot have begun
					meet()
				}
				return add(tx, second)
			})
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := both("a", "b"); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := both("b", "a"); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		var sum int
		if err := db.Read().QueryRowContext(ctx, `SELECT sum(run_at) FROM job`).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		if sum != 4 || after != 2 {
			t.Errorf("%d updates and %d calls of AfterCommit took effect, want 4 and 2", sum, after)
		}
		if db.Dialect() == database.Postgres && runs < 3 { // more, where the victim met the other again
			t.Errorf("fn ran %d times, want 3: once more for the victim", runs)
		}
	})
}

// A SQLite writer in another process is waited for.
func TestSQLiteTwoWriters(t *testing.T) {
	ctx := t.Context()
	u := dbtest.URL(t, database.SQLite)
	one, two := open(t, u), open(t, u)
	var wg sync.WaitGroup
	for i, db := range []*database.DB{one, two} {
		wg.Go(func() {
			for n := range 20 {
				if err := db.Tx(ctx, func(tx *database.Tx) error {
					var rows int // a transaction that began by reading could not write any more
					if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM job`).Scan(&rows); err != nil {
						return err
					}
					return job(ctx, tx, fmt.Sprintf("%d-%d", i, n))
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(strings.Fields(keys(t, one.Read()))); got != 40 {
		t.Errorf("%d rows, want 40", got)
	}
}

func open(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestManyOpenOneEmptyDatabase(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			u := dbtest.EmptyURL(t, d)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					db, err := database.Open(t.Context(), u)
					if err != nil {
						t.Error(err)
						return
					}
					defer db.Close()
					var n, distinct int
					if err := db.Read().QueryRow(`SELECT count(*), count(DISTINCT version_id) FROM goose_db_version`).Scan(&n, &distinct); err != nil {
						t.Error(err)
					}
					if n < 2 || n != distinct {
						t.Errorf("%d migrations are noted, %d different ones", n, distinct)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestReadPoolRefusesWritesOnSQLite(t *testing.T) {
	db := dbtest.Open(t, database.SQLite)
	if err := job(t.Context(), db.Read(), "a"); err == nil {
		t.Error("the read pool wrote")
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := db.Read().QueryRow(`PRAGMA ` + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", pragma, got, err, want)
		}
	}
}

func TestPostgresIsTuned(t *testing.T) {
	if len(dbtest.Dialects(t)) == 1 {
		return // Dialects has said so
	}
	db := dbtest.Open(t, database.Postgres)
	for query, want := range map[string]string{
		`SHOW plan_cache_mode`: "force_custom_plan",
		`SHOW jit`:             "off",
		`SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE relname = 'job'`: "autovacuum_vacuum_scale_factor=0.01 autovacuum_analyze_scale_factor=0.01",
	} {
		var got string
		if err := db.Read().QueryRow(query).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", query, got, err, want)
		}
	}
}

func TestSQLitePathIsTakenAsItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b#c?d%20e é")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x.db")
	open(t, "sqlite:"+path)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// Whoever may read the folder of a database may not read the database.
func TestSQLiteIsKeptFromOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes here")
	}
	path := filepath.Join(t.TempDir(), "x.db")
	open(t, "sqlite:"+path)
	modes := func() (modes []fs.FileMode) {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			modes = append(modes, info.Mode().Perm())
		}
		return modes
	}
	if got, want := modes(), []fs.FileMode{0o600, 0o600, 0o600}; !slices.Equal(got, want) {
		t.Errorf("a new database has the modes %o", got)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(path+suffix, 0o664); err != nil {
			t.Fatal(err)
		}
	}
	open(t, "sqlite:"+path)
	if got, want := modes(), []fs.FileMode{0o660, 0o660, 0o660}; !slices.Equal(got, want) {
		t.Errorf("a database that others could read has the modes %o", got)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for _, u := range []string{"", "/a/path", "mysql://u:secret@h/db", "postgres://u:secret@h:notaport/db",
		"postgres://u:secret@127.0.0.1:1/db?connect_timeout=1", "sqlite:" + filepath.Join(t.TempDir(), "none", "x.db")} {
		db, err := database.Open(t.Context(), u)
		if err == nil {
			db.Close()
			t.Errorf("Open(%q) succeeded", u)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	garbage := filepath.Join(t.TempDir(), "catalog.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("garbage", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(context.Context, string) (*database.DB, error){"Open": database.Open, "OpenBeside": database.OpenBeside} {
		if _, err := open(t.Context(), "sqlite:"+garbage); err == nil || !strings.Contains(err.Error(), "put it back from a copy") {
			t.Errorf("%s of what is no database: %v", name, err)
		}
		if _, err := open(t.Context(), "sqlite:"+filepath.Dir(garbage)); err == nil || !strings.Contains(err.Error(), "must be able to write") {
			t.Errorf("%s of a folder: %v", name, err)
		}
	}
}

func TestJSONLists(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		collect := func(query, list string) string {
			rows, err := db.Read().QueryContext(t.Context(), query, list)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var got []string
			for rows.Next() {
				var value string
				var n int
				if err := rows.Scan(&value, &n); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%d=%s", n, value))
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return strings.Join(got, " ")
		}
		if got := collect(`SELECT e.value, e.n FROM `+db.Dialect().JSONEach("$1")+` AS e ORDER BY e.n`, `["b","a","7","é"]`); got != "0=b 1=a 2=7 3=é" {
			t.Errorf("JSONEach = %s", got)
		}
		if got := collect(`SELECT e.value->>'k', CAST(e.value->>'at' AS BIGINT) FROM `+db.Dialect().JSONRows("$1")+` AS e ORDER BY e.n`,
			`[{"k":"b","at":1700000000000000},{"k":"a","at":2}]`); got != "1700000000000000=b 2=a" {
			t.Errorf("JSONRows = %s", got)
		}
		if got := collect(`SELECT e.value, e.n FROM `+db.Dialect().JSONEach("$1")+` AS e`, `[]`); got != "" {
			t.Errorf("JSONEach of nothing = %s", got)
		}
		// The suffixes parse, after a limit too.
		err := db.Tx(t.Context(), func(tx *database.Tx) error {
			for _, suffix := range []string{tx.Dialect().ForUpdate(), tx.Dialect().SkipLocked()} {
				var key string
				if err := tx.QueryRow(`SELECT key FROM job LIMIT 1` + suffix).Scan(&key); !errors.Is(err, sql.ErrNoRows) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestTimes(t *testing.T) {
	if got := database.Micros(time.Time{}); got != 0 {
		t.Errorf("Micros(zero) = %d", got)
	}
	if got := database.Time(0); !got.IsZero() {
		t.Errorf("Time(0) = %v", got)
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 7_000, time.FixedZone("", 3600))
	if got := database.Time(database.Micros(at)); !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("Time(Micros(%v)) = %v", at, got)
	}
}

// A database on which a newer Holdfast did what this one does not work with is refused,
// and stays as it is.
func TestNewerDatabaseIsRefused(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			u := dbtest.URL(t, d)
			db, err := database.Open(ctx, u)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Tx(ctx, func(tx *database.Tx) error {
				for _, statement := range []string{
					`INSERT INTO goose_db_version (version_id, is_applied) VALUES (4711, true)`,
					`UPDATE schema_floor SET floor = 4711`,
					`ALTER TABLE job RENAME TO work`, // as a newer one may have done
				} {
					if _, err := tx.ExecContext(ctx, statement); err != nil {
						return err
					}
				}
				return nil
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			for name, open := range map[string]func(context.Context, string) (*database.DB, error){"Open": database.Open, "OpenBeside": database.OpenBeside} {
				db, err := open(ctx, u)
				if err == nil {
					db.Close()
				}
				if !errors.Is(err, database.ErrNewer) || !strings.Contains(fmt.Sprint(err), "4711") {
					t.Errorf("%s = %v, want ErrNewer", name, err)
				}
			}
		})
	}
}

// What works beside a server leaves the schema to it.
func TestOpenBesideChangesNoSchema(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			u := dbtest.EmptyURL(t, d)
			old, err := database.OpenAt(ctx, u, 4)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			if db, err := database.OpenBeside(ctx, u); err == nil {
				db.Close()
				t.Error("a database of before was opened")
			}
			var n int64
			if err := old.Read().QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&n); err != nil || n != 4 {
				t.Errorf("the schema has version %d, %v, want 4", n, err)
			}
			open(t, u)
			db, err := database.OpenBeside(ctx, u)
			if err != nil {
				t.Fatal(err)
			}
			db.Close()
		})
	}
}
