package jobs_test

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// ignorant has the database stay without knowledge of how the jobs are spread.
func ignorant(t *testing.T, db *database.DB) {
	t.Helper()
	if db.Dialect() != database.Postgres {
		return
	}
	err := db.Tx(t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(t.Context(), `ALTER TABLE job SET (autovacuum_enabled = false)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Statements are what a database was asked, the last of each text.
type statements struct {
	mu     sync.Mutex
	byText map[string][]any
}

// observe returns a context in which what is asked is noted.
func (s *statements) observe(ctx context.Context) context.Context {
	return database.Observe(ctx, func(text string, args []any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.byText == nil {
			s.byText = map[string][]any{}
		}
		s.byText[text] = args
	})
}

// with returns those that have a text in them.
func (s *statements) with(part string) (texts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range s.byText {
		if strings.Contains(text, part) {
			texts = append(texts, text)
		}
	}
	return texts
}

// readFew checks that none of the statements looks at more jobs than it needs to.
func (s *statements) readFew(t *testing.T, db *database.DB) {
	t.Helper()
	if len(s.byText) == 0 {
		t.Fatal("nothing was asked")
	}
	for text, args := range s.byText {
		if plan, bad := readsMany(t, db, text, args); bad {
			t.Errorf("%s\n%s", text, plan)
		}
	}
}

// readsMany reports whether a statement looks at more jobs than it needs to, and how the
// database goes about it.
func readsMany(t *testing.T, db *database.DB, text string, args []any) (plan string, bad bool) {
	t.Helper()
	if db.Dialect() == database.SQLite {
		lines := dbtest.SQLitePlan(t, db, text, args)
		return strings.Join(lines, "\n"), slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "SCAN job") || strings.HasSuffix(line, "(kind=?)") || strings.Contains(line, "TEMP B-TREE FOR ORDER")
		})
	}
	back := errors.New("take it back")
	err := db.Tx(t.Context(), func(tx *database.Tx) error {
		rows, err := tx.QueryContext(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) `+text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				return err
			}
			for _, m := range lookedAt.FindAllStringSubmatch(line, -1) {
				n, err := strconv.ParseFloat(m[1], 64)
				bad = bad || err != nil || n > 300
			}
			plan += line + "\n"
		}
		return cmp.Or(rows.Err(), back)
	})
	if err != back {
		t.Fatal(err)
	}
	return plan, bad
}

// lookedAt is what PostgreSQL says of how many rows it has looked at.
var lookedAt = regexp.MustCompile(`(?:rows=|Removed by Filter: )([0-9.]+)`)
