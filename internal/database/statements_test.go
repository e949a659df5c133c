package database_test

import (
	"context"
	"fmt"
	"testing"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// A statement that is prepared once may run while it runs, be given up halfway,
// fail, and outlive a change of the schema; and more of them than are kept.
func TestStatementsAreUsedAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		err := db.Tx(ctx, func(tx *database.Tx) error {
			for _, key := range []string{"a", "b", "c"} {
				if err := job(ctx, tx, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := keys(t, db.Read()); got != "a b c" {
			t.Errorf("keys = %q", got)
		}
		const one = `SELECT key FROM job WHERE key > $1 ORDER BY key`
		if db.Dialect() == database.SQLite { // a connection of PostgreSQL runs one query at a time
			err = db.Tx(ctx, func(tx *database.Tx) error {
				outer, err := tx.QueryContext(ctx, one, "")
				if err != nil {
					return err
				}
				defer outer.Close()
				got := ""
				for outer.Next() {
					var key, next string
					if err := outer.Scan(&key); err != nil {
						return err
					}
					if key != "c" {
						if err := tx.QueryRowContext(ctx, one, key).Scan(&next); err != nil { // gives up after a row
							return err
						}
					}
					got += key + next
				}
				if got != "abbcc" {
					t.Errorf("a query within itself gave %q", got)
				}
				return outer.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second is not spoilt by the failure of the first
			if err := db.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "a") }); !database.IsUniqueViolation(err) {
				t.Errorf("a second row of a key: %v", err)
			}
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if rows, err := db.Read().QueryContext(ended, one, ""); err == nil {
			rows.Close()
			t.Error("a query ran for a caller who had gone")
		}
		if err := db.Tx(ctx, func(tx *database.Tx) error {
			if _, err := tx.ExecContext(ctx, `ALTER TABLE job ADD COLUMN more TEXT NOT NULL DEFAULT 'x'`); err != nil {
				return err
			}
			return job(ctx, tx, "d")
		}); err != nil {
			t.Fatal(err)
		}
		if got := keys(t, db.Read()); got != "a b c d" {
			t.Errorf("keys after a change of the schema = %q", got)
		}
		for n := range 600 {
			var got int
			if err := db.Read().QueryRowContext(ctx, fmt.Sprintf(`SELECT %d + CAST($1 AS BIGINT)`, n), 1).Scan(&got); err != nil || got != n+1 {
				t.Fatalf("statement %d = %d, %v", n, got, err)
			}
		}
	})
}

func BenchmarkSmallRead(b *testing.B) {
	db := dbtest.Open(b, database.SQLite)
	for b.Loop() {
		var n int
		if err := db.Read().QueryRowContext(b.Context(), `SELECT count(*) FROM job WHERE kind = $1 AND run_at < $2`, "k", 1).Scan(&n); err != nil {
			b.Fatal(err)
		}
	}
}

func TestObserve(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		var seen []string
		ctx := database.Observe(t.Context(), func(text string, args []any) { seen = append(seen, fmt.Sprint(text, args)) })
		var n int
		if err := db.Read().QueryRowContext(ctx, `SELECT CAST($1 AS BIGINT)`, 4).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if err := db.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, "a") }); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 2 || seen[0] != `SELECT CAST($1 AS BIGINT)[4]` {
			t.Errorf("statements = %q", seen)
		}
	})
	// Of a database that is opened in such a context, all are seen.
	var seen []string
	ctx := database.Observe(t.Context(), func(text string, args []any) { seen = append(seen, fmt.Sprint(text, args)) })
	for _, open := range []func(context.Context, string) (*database.DB, error){database.Open, database.OpenBeside} {
		db, err := open(ctx, dbtest.URL(t, database.SQLite))
		if err != nil {
			t.Fatal(err)
		}
		seen = nil
		var n int
		if err := db.Read().QueryRowContext(t.Context(), `SELECT $1`, 5).Scan(&n); err != nil {
			t.Error(err)
		}
		if err := db.Tx(t.Context(), func(tx *database.Tx) error { return job(t.Context(), tx, "a") }); err != nil {
			t.Error(err)
		}
		if len(seen) != 2 || seen[0] != `SELECT $1[5]` {
			t.Errorf("statements = %q", seen)
		}
		db.Close()
	}
}
