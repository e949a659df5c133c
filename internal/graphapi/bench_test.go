package graphapi

import (
	"encoding/json"
	"net/http"
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
			INSERT INTO unit (id, tenant, policy, subject, status, sources, offboard_requested, created, created_by, modified, modified_by)
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

// BenchmarkUnitsOverHTTP measures the GET of a page of 100 units, from the
// request to the encoded answer, beside a bare handler that reads the same rows by
// a prepared statement and encodes the same answer, and the GET of one policy
// beside its like, which has the statement of ours: how many times as long each
// takes.
func BenchmarkUnitsOverHTTP(b *testing.B) {
	const rounds = 300
	for _, d := range dbtest.Dialects(b) {
		b.Run(string(d), func(b *testing.B) {
			w := newWorld(b, dbtest.Open(b, d))
			c := w.app(contoso)
			policy := c.policy("A")
			for n := 0; n < 150; n += backup.MaxUnitsPerRequest {
				units := make([]obj, backup.MaxUnitsPerRequest)
				for i := range units {
					units[i] = obj{"directoryObjectId": ownerN(n + i)}
				}
				c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: units}).want(200)
			}
			serve := func(h http.Handler, path string) (string, time.Duration) {
				r := httptest.NewRequest("GET", host+"/v1.0/"+root+path, nil)
				r.Header.Set("Authorization", "Bearer "+c.token)
				rec := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(rec, r)
				took := time.Since(began)
				if rec.Code != 200 {
					b.Fatal(rec.Code, rec.Body)
				}
				return rec.Body.String(), took
			}
			for _, path := range []string{"/protectionUnits?$top=100", "/" + drivePolicySet + "/" + policy} {
				answer, _ := serve(w.server, path)
				var want map[string]any
				if err := json.Unmarshal([]byte(answer), &want); err != nil {
					b.Fatal(err)
				}
				text := `SELECT u.id, u.policy, u.subject, u.status, u.created, u.created_by, u.modified, u.modified_by, u.offboard_requested, coalesce(d.display_name, ''), coalesce(d.mail, '')
					FROM unit u LEFT JOIN subject d ON d.tenant = u.tenant AND d.id = u.subject WHERE u.tenant = $1 AND $2 <> '' ORDER BY u.created, u.id LIMIT 101`
				if !strings.Contains(path, "$top") {
					text = ""
					observed := database.Observe(b.Context(), func(t string, _ []any) { text = t })
					if _, err := w.catalog.Policy(observed, contoso, backup.PolicyID(policy)); err != nil {
						b.Fatal(err)
					}
				}
				statement, err := w.db.Read().PrepareContext(b.Context(), text)
				if err != nil {
					b.Fatal(err)
				}
				bare := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					rows, err := statement.QueryContext(r.Context(), string(contoso), policy)
					if err != nil {
						b.Fatal(err)
					}
					defer rows.Close()
					type view struct {
						Type     string          `json:"@odata.type"`
						ID       string          `json:"id"`
						Policy   string          `json:"policyId"`
						Owner    string          `json:"directoryObjectId"`
						Status   string          `json:"status"`
						Sources  string          `json:"protectionSources"`
						By       json.RawMessage `json:"createdBy"`
						Created  time.Time       `json:"createdDateTime"`
						Last     json.RawMessage `json:"lastModifiedBy"`
						Modified time.Time       `json:"lastModifiedDateTime"`
						Error    any             `json:"error"`
						Offboard time.Time       `json:"offboardRequestedDateTime"`
					}
					var page struct {
						Context string `json:"@odata.context"`
						Value   []view `json:"value"`
					}
					page.Context = "https://graph.microsoft.com/v1.0/$metadata#solutions/backupRestore/protectionUnits"
					for rows.Next() {
						v := view{Type: "#microsoft.graph.driveProtectionUnit", Sources: "manual"}
						var created, modified, offboard int64
						var name, mail, by, last string
						var err error
						if strings.Contains(path, "$top") {
							err = rows.Scan(&v.ID, &v.Policy, &v.Owner, &v.Status, &created, &by, &modified, &last, &offboard, &name, &mail)
						} else {
							err = rows.Scan(&v.ID, &v.Policy, &v.Sources, &name, new(int), &created, &by, &modified, &last, new(int), &v.Error, new(any), new(any))
						}
						if err != nil {
							b.Fatal(err)
						}
						v.By, v.Last = json.RawMessage(by), json.RawMessage(last)
						v.Created, v.Modified, v.Offboard = database.Time(created), database.Time(modified), database.Time(offboard)
						page.Value = append(page.Value, v)
					}
					body, err := json.Marshal(page)
					if err != nil {
						b.Fatal(err)
					}
					rw.Header().Set("Content-Type", "application/json")
					rw.Write(body)
				})
				var ours, bares []time.Duration
				for range rounds * b.N {
					_, took := serve(w.server, path)
					ours = append(ours, took)
					_, took = serve(bare, path)
					bares = append(bares, took)
				}
				slices.Sort(ours)
				slices.Sort(bares)
				unit := "x-bare-page"
				if !strings.Contains(path, "$top") {
					unit = "x-bare-policy"
				}
				// A tenth from below: others use the machine, too.
				b.ReportMetric(ours[len(ours)/10].Seconds()/bares[len(bares)/10].Seconds(), unit)
				b.ReportMetric(float64(ours[len(ours)/10].Microseconds()), "µs-"+unit[7:])
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
