package database

import "testing"

// No statement reaches SQLite with a bare parameter as its LIMIT, whose value it would
// plan for anew each time.
func TestLimitsAreExpressions(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1 LIMIT $12":                              "SELECT 1 LIMIT CAST($12 AS INTEGER)",
		"WITH a AS (SELECT 1 LIMIT $3) SELECT 1 LIMIT $4": "WITH a AS (SELECT 1 LIMIT CAST($3 AS INTEGER)) SELECT 1 LIMIT CAST($4 AS INTEGER)",
		"SELECT 1 LIMIT 1":                                "SELECT 1 LIMIT 1",
		"SELECT 'OFFLIMIT $1' FROM job WHERE key = $1":    "SELECT 'OFFLIMIT $1' FROM job WHERE key = $1",
	} {
		if got := planned(text); got != want {
			t.Errorf("%s is prepared as %s", text, got)
		}
	}
}
