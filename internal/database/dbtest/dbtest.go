// Package dbtest gives tests fresh databases of both kinds. It starts one
// temporary PostgreSQL server per test process, when one is first needed; the
// server ends with the process, however that ends.
//
// A package that uses it calls Main, or Run, from its TestMain. At the end it looks how SQLite
// goes about each statement that the tests had the program run, and fails the package's
// tests where one reads all of what may be many.
//
// The server trades durability for speed. With the environment variable
// HOLDFAST_TEST_DURABLE=1, which benchmarks want, it waits for the disk like
// any other.
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"holdfast/internal/database"
)

// Each runs fn as the subtests "sqlite" and "postgres", each on an empty
// database with the present schema, which is closed and removed afterwards.
//
// Where there is no PostgreSQL, and with -short, only the first runs, and standard
// error says so; if the environment variable CI is set, the test fails instead.
func Each(t *testing.T, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	for _, d := range Dialects(t) {
		t.Run(string(d), func(t *testing.T) { fn(t, Open(t, d)) })
	}
}

// Dialects returns the databases that can be tested here, as Each does.
func Dialects(t testing.TB) []database.Dialect {
	t.Helper()
	_, err := binaries()
	if testing.Short() {
		err = errors.New("tests are short")
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL was not tested: %v", err)
		}
		fmt.Fprintf(os.Stderr, "PostgreSQL was not tested: %s: %v\n", t.Name(), err)
		return []database.Dialect{database.SQLite}
	}
	return []database.Dialect{database.SQLite, database.Postgres}
}

// Open returns an empty database with the present schema, to be closed by the
// test or, if it does not, at its end.
func Open(t testing.TB, d database.Dialect) *database.DB {
	t.Helper()
	return OpenURL(t, URL(t, d))
}

// OpenURL is Open of what URL returned. Where it is SQLite's, Run fails if the program ran a
// statement on it that reads all of what may be many.
func OpenURL(t testing.TB, url string) *database.DB {
	t.Helper()
	db, err := database.Open(watched(t, url), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// URL returns the URL of a database for database.Open, which another process
// may use as well, until the test ends.
func URL(t testing.TB, d database.Dialect) string {
	t.Helper()
	if d == database.SQLite {
		return SQLiteURL(t, filepath.Join(t.TempDir(), "catalog.db"))
	}
	s, err := start()
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	name := "t" + strings.ToLower(rand.Text())
	if err := s.exec(`CREATE DATABASE ` + name + ` TEMPLATE ` + template); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return s.url(name)
}

// SQLiteURL is URL for SQLite at a path where there is none yet.
func SQLiteURL(t testing.TB, path string) string {
	t.Helper()
	content, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// EmptyURL is URL for a database that has no schema yet.
func EmptyURL(t testing.TB, d database.Dialect) string {
	t.Helper()
	if d == database.SQLite {
		return "sqlite:" + filepath.Join(t.TempDir(), "catalog.db")
	}
	u := URL(t, d)
	db, err := sql.Open("pgx", u)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		t.Fatal(err)
	}
	return u
}

// Main runs a package's tests and then stops the server:
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a package that has more to do after its tests: it returns their exit
// code, or 1 if a statement that they had the program run reads too much.
func Run(m *testing.M) int {
	code := m.Run()
	if err := checkPlans(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	mu.Lock()
	if running != nil {
		running.stop()
	}
	return code
}

// template is the database that the others of PostgreSQL are copies of: the
// schema is made once a process, which takes longer than most tests.
const template = "holdfast_template"

// sqliteTemplate is the content of the file that those of SQLite are copies of.
var sqliteTemplate = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "holdfast-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "catalog.db")
	db, err := database.Open(context.Background(), "sqlite:"+path)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

var (
	mu      sync.Mutex
	running *server
	failure error // of the one attempt to start
)

// start returns the process's server, started if need be.
func start() (*server, error) {
	mu.Lock()
	defer mu.Unlock()
	if running != nil || failure != nil {
		return running, failure
	}
	running, failure = newServer()
	return running, failure
}

// url returns the URL of the named database.
func (s *server) url(name string) string {
	return "postgres:///" + name + "?" + url.Values{"host": {s.dir}, "user": {user}, "sslmode": {"disable"}}.Encode()
}

// exec runs one statement outside the tests' databases.
func (s *server) exec(statement string) error {
	_, err := s.admin.Exec(statement)
	return err
}
