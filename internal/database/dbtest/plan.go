package dbtest

import (
	"context"
	"testing"

	"holdfast/internal/database"
)

// SQLitePlan is how SQLite goes about a statement, line by line.
func SQLitePlan(t testing.TB, db *database.DB, text string, args []any) (plan []string) {
	t.Helper()
	rows, err := db.Read().QueryContext(context.Background(), `EXPLAIN QUERY PLAN `+text, args...)
	if err != nil {
		t.Fatalf("how SQLite goes about %s: %v", text, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
