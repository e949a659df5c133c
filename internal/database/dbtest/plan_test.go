package dbtest

import (
	"testing"

	"holdfast/internal/database"
)

func TestWhatReadsTooMuch(t *testing.T) {
	db := Open(t, database.SQLite)
	for _, tt := range []struct {
		text string
		bad  bool
	}{
		{`SELECT id FROM unit WHERE id = $1`, false},
		{`SELECT count(*) FROM unit WHERE tenant = $1`, true},
		{`SELECT id FROM unit WHERE tenant = $1 LIMIT 10`, false},
		{`SELECT id FROM unit WHERE tenant = $1 ORDER BY problem LIMIT 10`, true},
		{`SELECT key FROM job WHERE kind = $1 AND key = $2`, false},
		{`DELETE FROM job WHERE kind = $1`, true},
		{`UPDATE restore_point SET lost = 1`, true},
		{`SELECT id FROM policy WHERE tenant = $1`, false}, // of which there are few
		{mayReadAll[1], false},
	} {
		plan, err := readsAll(db, tt.text)
		if err != nil || (plan != "") != tt.bad {
			t.Errorf("%s reads too much: %q, %v; want %t", tt.text, plan, err, tt.bad)
		}
	}
}
