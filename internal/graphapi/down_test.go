package graphapi

import (
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// While the database is away requests are answered with 503, a time to come again and
// nothing of the failure; once it is back they are as before.
func TestTheDatabaseIsDown(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == database.SQLite {
			t.Skip("its file is here, or nothing is")
		}
		w := newWorld(t, db)
		c := w.app(contoso)
		c.do("GET", "/"+drivePolicySet, nil).want(200)
		var name string
		if err := db.Read().QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
			t.Fatal(err)
		}
		other := dbtest.Open(t, database.Postgres)
		operate := func(text string) {
			t.Helper()
			// Without a transaction, which it must not be in; and it goes by no connection of this database.
			if _, err := other.Read().ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		operate(`ALTER DATABASE "` + name + `" ALLOW_CONNECTIONS false`)
		operate(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '` + name + `'`)
		for range 3 { // connections that were open, and new ones
			for _, r := range []struct {
				method, path string
				body         any
			}{{"GET", "/" + drivePolicySet, nil}, {"POST", "/" + drivePolicySet, obj{"displayName": "B"}}} {
				got := c.do(r.method, r.path, r.body).want(503, backup.ServiceUnavailable)
				if got.header.Get("Retry-After") != "5" {
					t.Errorf("%s: Retry-After is %q", r.method, got.header.Get("Retry-After"))
				}
			}
		}
		operate(`ALTER DATABASE "` + name + `" ALLOW_CONNECTIONS true`)
		c.do("POST", "/"+drivePolicySet, obj{"displayName": "B"}).want(201)
		if said := w.log.String(); !strings.Contains(said, "failed to connect") {
			t.Errorf("the log: %s", said)
		}
		w.log.Reset() // it was to be said
	})
}
