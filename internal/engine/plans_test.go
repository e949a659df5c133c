package engine

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

var (
	// planned are the statements that a test has looked at.
	planned sync.Map
	// many are the tables of which a tenant may have a million rows.
	many = `(?:job|unit|restore_point|drive_state|container_state|subject|rpo|audit|audit_unit|name_item|mail_item|restore_artifact|granular_artifact|browse_session|list_number)`
	// reads is what SQLite says of reading all of such a table, or all that a tenant has in
	// it, or all jobs of a kind.
	reads = regexp.MustCompile(`^SCAN (?:` + many + `$|\S+ USING (?:COVERING )?INDEX ` + many + `_[a-z_]+$|\S+ USING (?:COVERING )?INDEX sqlite_autoindex_` + many + `_\d)|` +
		` INDEX (?:` + many + `_[a-z_]+|sqlite_autoindex_` + many + `_\d) \((?:tenant|kind)=\?\)$`)
)

// mayReadAll are the beginnings of statements that do so for good reason: they are for all
// of a tenant's units, and run once in a while.
var mayReadAll = []string{
	"SELECT NOT EXISTS (SELECT 1 FROM policy WHERE tenant = $1) AND NOT EXISTS",      // stops at the first
	"SELECT id FROM policy WHERE tenant = $1 UNION SELECT policy FROM restore_point", // once for a tenant
	// The mirror of the directory, each day.
	"UPDATE unit INDEXED BY unit_subject SET name_key = '', address_key = '' WHERE tenant = $1 AND subject IN (SELECT d.id FROM subject d WHERE d.tenant = $1 AND d.seen <",
	"DELETE FROM subject WHERE tenant = $1 AND seen <",
	// What an import ends with, and what the figures show.
	"UPDATE unit SET policy = '', sources = 0, problem = NULL, status = CASE",
	"SELECT kind, sum(CASE WHEN lease = '' AND run_at > $1",
	"SELECT unit, drive, root, vault FROM drive_state WHERE tenant = $1 AND root <> ''", // by hand
}

// watchPlans returns a context for what a test does. When the test ends it looks how
// SQLite, which knows nothing of how the rows are spread, goes about each statement that was
// run in it on SQLite: what grows with a tenant, or with all there are, is in no statement of
// one unit's.
func watchPlans(t testing.TB, ctx context.Context, url string) context.Context {
	if _, ok := t.(*testing.T); !ok || !strings.HasPrefix(url, "sqlite:") {
		return ctx
	}
	var mu sync.Mutex
	var texts []string
	t.Cleanup(func() {
		db, err := plansOf()
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, text := range texts {
			if plan := readsAll(t, db, text); plan != "" {
				t.Errorf("a statement reads too much:\n%s\n%s", text, plan)
			}
		}
	})
	return database.Observe(ctx, func(text string, _ []any) {
		if _, seen := planned.LoadOrStore(text, true); !seen {
			mu.Lock()
			texts = append(texts, text)
			mu.Unlock()
		}
	})
}

// plansOf is an empty catalog, which is asked for plans.
var plansOf = sync.OnceValues(func() (*database.DB, error) {
	return database.Open(context.Background(), "sqlite:"+scratch+"/plans.db")
})

// readsAll returns the plan of a statement that reads too much, or "".
func readsAll(t testing.TB, db *database.DB, text string) (plan string) {
	t.Helper()
	for _, start := range mayReadAll {
		if strings.HasPrefix(strings.Join(strings.Fields(text), " "), start) {
			return ""
		}
	}
	args := make([]any, strings.Count(text, "$")) // at least as many as there are numbers
	bad, sorts := false, false
	for _, line := range dbtest.SQLitePlan(t, db, text, args) {
		bad = bad || reads.MatchString(line)
		sorts = sorts || strings.Contains(line, "TEMP B-TREE FOR ORDER")
		plan += line + "\n"
	}
	if !bad || !sorts && strings.Contains(text, "LIMIT") { // it stops when it has enough
		return ""
	}
	return plan
}
