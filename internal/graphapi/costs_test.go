package graphapi

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// What requests may cost: how many statements they send to the database, exactly,
// and how many allocations they make. More than a seventh above what is written
// here fails, and so does less than three quarters of it, so that what was won
// is written down.
func TestPlayCosts(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	next := 0
	units := func() []obj {
		all := make([]obj, backup.MaxUnitsPerRequest)
		for i := range all {
			all[i] = obj{"directoryObjectId": ownerN(next)}
			next++
		}
		return all
	}
	policy := c.policy("A")
	at := "/" + drivePolicySet + "/" + policy
	for range 3 {
		c.do("PATCH", at, obj{unitDelta: units()}).want(200)
	}
	unit := c.do("GET", "/protectionUnits?$top=1", nil).want(200).json["value"].([]any)[0].(map[string]any)["id"].(string)

	for _, op := range []struct {
		method, path string
		body         func() any
		status       int
		statements   int
		allocations  float64
	}{
		{"GET", at, nil, 200, 2, 226},
		{"GET", "/" + drivePolicySet, nil, 200, 1, 270},
		{"GET", "/protectionUnits/" + unit, nil, 200, 1, 212},
		{"GET", "/protectionUnits?$top=100", nil, 200, 1, 4218},
		{"GET", "/protectionUnits?$top=100&$count=true&$filter=status%20eq%20'unprotected'", nil, 200, 2, 314},
		{"GET", "/protectionUnits/$count", nil, 200, 1, 157},
		{"GET", at + "/driveProtectionUnits?$top=100", nil, 200, 3, 4387},
		{"GET", "/restoreSessions", nil, 200, 1, 202},
		{"GET", activityLog + "?$top=100", nil, 200, 1, 434},
		{"PATCH", at, func() any { return obj{unitDelta: units()} }, 200, 8, 3263},
		{"POST", "/" + drivePolicySet, func() any { return obj{"displayName": "B"} }, 201, 7, 416},
	} {
		path := op.path
		if !strings.HasPrefix(path, "/beta") {
			path = "/v1.0/" + root + path
		}
		var statements []string
		ask := func() {
			var body string
			if op.body != nil {
				b, err := json.Marshal(op.body())
				if err != nil {
					t.Fatal(err)
				}
				body = string(b)
			}
			statements = nil
			r := httptest.NewRequest(op.method, host+path, strings.NewReader(body))
			r = r.WithContext(database.Observe(r.Context(), func(text string, _ []any) { statements = append(statements, text) }))
			r.Header.Set("Authorization", "Bearer "+c.token)
			rec := httptest.NewRecorder()
			w.server.ServeHTTP(rec, r)
			if rec.Code != op.status {
				t.Fatalf("%s %s: %d %s", op.method, path, rec.Code, rec.Body)
			}
		}
		ask() // what is prepared once has been
		allocations := testing.AllocsPerRun(10, ask)
		if len(statements) != op.statements {
			t.Errorf("%s %s: %d statements, where %d are written down:\n%s", op.method, path, len(statements), op.statements, strings.Join(statements, "\n"))
		}
		if allocations > op.allocations*8/7+5 || allocations < op.allocations*3/4-5 {
			t.Errorf("%s %s: %.0f allocations, where %.0f are written down", op.method, path, allocations, op.allocations)
		}
	}
}
