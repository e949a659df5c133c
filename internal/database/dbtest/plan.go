package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/database"
)

var (
	// statements are those that tests have run, each with the first of these.
	statements sync.Map
	// many are the tables of which a tenant may have a million rows.
	many = `(?:job|unit|restore_point|drive_state|container_state|subject|rpo|audit|audit_unit|name_item|mail_item|restore_artifact|granular_artifact|browse_session|list_number)`
	// reads is what SQLite says of reading all of such a table, or all that a tenant has in
	// it, or all jobs of a kind.
	reads = regexp.MustCompile(`^SCAN (?:` + many + `$|\S+ USING (?:COVERING )?INDEX ` + many + `_[a-z_]+$|\S+ USING (?:COVERING )?INDEX sqlite_autoindex_` + many + `_\d)|` +
		` INDEX (?:` + many + `_[a-z_]+|sqlite_autoindex_` + many + `_\d) \((?:tenant|kind)=\?\)$`)
)

// mayReadAll are the beginnings of statements that do so for good reason: they stop at the
// first, or are for all of a tenant's units, and run once in a while.
var mayReadAll = []string{
	"SELECT EXISTS (SELECT 1 FROM policy) OR EXISTS",
	"SELECT EXISTS (SELECT 1 FROM restore_point WHERE tenant = $1)",
	"SELECT NOT EXISTS (SELECT 1 FROM policy WHERE tenant = $1) AND NOT EXISTS",
	"SELECT id FROM policy WHERE tenant = $1 UNION SELECT policy FROM restore_point", // once for a tenant
	// The mirror of the directory, each day.
	"UPDATE unit INDEXED BY unit_subject SET name_key = '', address_key = '' WHERE tenant = $1 AND subject IN (SELECT d.id FROM subject d WHERE d.tenant = $1 AND d.seen <",
	"DELETE FROM subject WHERE tenant = $1 AND seen <",
	// What an import ends with, and what the figures show.
	"UPDATE unit SET policy = '', sources = 0, problem = NULL, status = CASE",
	"SELECT kind, sum(CASE WHEN lease = '' AND run_at > $1",
	"SELECT count(*), coalesce(sum($2 - newest), 0)",
	// When a server starts, and when a catalog was put back from its backup.
	"UPDATE job SET lease = '', worker = '', wake_at = 0, run_at = $1 WHERE lease <> ''",
	"UPDATE unit SET offboard_requested = $1 WHERE status = 'offboardRequested'",
	// By hand.
	"SELECT unit, drive, root, vault FROM drive_state WHERE tenant = $1 AND root <> ''",
	"SELECT p.tree, p.at, p.files, d.vault FROM restore_point p JOIN drive_state d", // a drill
}

// watched returns a context to open a database in, of which each statement that the
// program, and not the test itself, runs on it is noted, if it is of SQLite.
func watched(t testing.TB, url string) context.Context {
	ctx := context.Background()
	if _, ok := t.(*testing.T); !ok || !strings.HasPrefix(url, "sqlite:") {
		return ctx
	}
	return database.Observe(ctx, func(text string, _ []any) {
		if _, noted := statements.Load(text); !noted && !strings.HasPrefix(text, "EXPLAIN ") && !ofTest() {
			statements.LoadOrStore(text, t.Name())
		}
	})
}

// ofTest reports whether it is a test itself that runs a statement.
func ofTest() bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "holdfast/internal/database.") {
			return strings.HasSuffix(f.File, "_test.go")
		}
		if !more {
			return false
		}
	}
}

// checkPlans looks how SQLite, which knows nothing of how the rows are spread, goes about
// each statement that was noted: what grows with a tenant, or with all there are, is in no
// statement of one unit's.
func checkPlans() (err error) {
	dir, err := os.MkdirTemp("", "holdfast-plans-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := database.Open(context.Background(), "sqlite:"+filepath.Join(dir, "catalog.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	statements.Range(func(text, test any) bool {
		plan, failed := readsAll(db, text.(string))
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: how SQLite goes about %s: %w", test, text, failed))
		} else if plan != "" {
			err = errors.Join(err, fmt.Errorf("%s: a statement reads too much:\n%s\n%s", test, text, plan))
		}
		return true
	})
	return err
}

// readsAll returns the plan of a statement that reads too much, or "".
func readsAll(db *database.DB, text string) (plan string, err error) {
	words := strings.Join(strings.Fields(text), " ")
	if slices.ContainsFunc(mayReadAll, func(start string) bool { return strings.HasPrefix(words, start) }) {
		return "", nil
	}
	args := make([]any, strings.Count(text, "$")) // at least as many as there are numbers
	lines, err := sqlitePlan(db, text, args)
	bad, sorts := false, false
	for _, line := range lines {
		bad = bad || reads.MatchString(line) && !strings.Contains(line, " EXISTS ") // which the first answers
		sorts = sorts || strings.Contains(line, "TEMP B-TREE FOR ORDER")
	}
	if !bad || !sorts && strings.Contains(text, "LIMIT") { // it stops when it has enough
		return "", err
	}
	return strings.Join(lines, "\n"), err
}

// SQLitePlan is how SQLite goes about a statement, line by line.
func SQLitePlan(t testing.TB, db *database.DB, text string, args []any) (plan []string) {
	t.Helper()
	plan, err := sqlitePlan(db, text, args)
	if err != nil {
		t.Fatalf("how SQLite goes about %s: %v", text, err)
	}
	return plan
}

func sqlitePlan(db *database.DB, text string, args []any) (plan []string, err error) {
	rows, err := db.Read().QueryContext(context.Background(), `EXPLAIN QUERY PLAN `+text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			return nil, err
		}
		plan = append(plan, line)
	}
	return plan, rows.Err()
}
