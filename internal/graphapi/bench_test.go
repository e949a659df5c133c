package graphapi

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// BenchmarkPatch50OverHTTP measures a PATCH that adds 50 units, from the
// request to the encoded answer, beside a bare transaction that inserts 50
// rows and updates the policy, in turns on one database: the medians, and how
// many times as long the PATCH takes. HOLDFAST_TEST_DURABLE=1 has PostgreSQL
// wait for the disk, as in production.
func BenchmarkPatch50OverHTTP(b *testing.B) {
	const rounds = 100
	for _, d := range dbtest.Dialects(b) {
		b.Run(string(d), func(b *testing.B) {
			w := newWorld(b, dbtest.Open(b, d))
			c := w.app(contoso)
			policy, other := c.policy("A"), c.policy("B")
			next := 0
			var patches, bare []time.Duration
			for range b.N * rounds {
				units := make([]obj, backup.MaxUnitsPerRequest)
				for i := range units {
					units[i] = obj{"directoryObjectId": ownerN(next)}
					next++
				}
				body, err := json.Marshal(obj{"displayName": "A", unitDelta: units})
				if err != nil {
					b.Fatal(err)
				}
				r := httptest.NewRequest("PATCH", host+"/v1.0/"+root+"/"+drivePolicySet+"/"+policy, strings.NewReader(string(body)))
				r.Header.Set("Authorization", "Bearer "+c.token)
				rec := httptest.NewRecorder()
				began := time.Now()
				w.server.ServeHTTP(rec, r)
				patches = append(patches, time.Since(began))
				if rec.Code != 200 {
					b.Fatal(rec.Code, rec.Body)
				}
				began = time.Now()
				bareInsert(b, w, other, next)
				bare = append(bare, time.Since(began))
				next += len(units)
			}
			median := func(d []time.Duration) time.Duration {
				slices.Sort(d)
				return d[len(d)/2]
			}
			p, q := median(patches), median(bare)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(p.Seconds()*1000, "ms/patch")
			b.ReportMetric(q.Seconds()*1000, "ms/bare")
			b.ReportMetric(p.Seconds()/q.Seconds(), "x-bare")
		})
	}
}

// bareInsert is the least that a PATCH of 50 units could do to the database.
func bareInsert(b *testing.B, w *world, policy string, from int) {
	by, rows := `{"application":{"id":"`+appID+`"}}`, make([][2]string, backup.MaxUnitsPerRequest)
	for i := range rows {
		rows[i] = [2]string{backup.NewID[string](), ownerN(from + i)}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		b.Fatal(err)
	}
	now := database.Micros(w.clock())
	err = w.db.Tx(b.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(b.Context(), `
			INSERT INTO unit (id, tenant, policy, directory, status, sources, offboard_requested, created, created_by, modified, modified_by)
			SELECT e.value->>0, CAST($2 AS TEXT), CAST($3 AS TEXT), e.value->>1, 'protectRequested', 1, 0,
				CAST($4 AS BIGINT) + e.n, CAST($5 AS TEXT), CAST($4 AS BIGINT) + e.n, CAST($5 AS TEXT)
			FROM `+tx.Dialect().JSONRows("$1")+` AS e`, string(list), string(contoso), policy, now, by)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(b.Context(), `UPDATE policy SET display_name = $2, modified = $3, modified_by = $4 WHERE id = $1`, policy, "B", now, by)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}
