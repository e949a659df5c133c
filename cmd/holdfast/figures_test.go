package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The figures tell of a backup that was made, and of a source that refuses.
func TestFigures(t *testing.T) {
	d := startTestDev(t, nil)
	c := signedIn(t, d, d.origin)
	const policy = "71633878-8321-4950-bfaf-ed285bdd1461"
	if err := c.Call(t.Context(), http.MethodPatch, "/oneDriveForBusinessProtectionPolicies/"+policy, json.RawMessage(`{"driveProtectionUnits@delta": [{"directoryObjectId": "a3a1a000-4f6b-4c55-8f0e-c0a7050a0001"}]}`), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), http.MethodPost, "/protectionPolicies/"+policy+"/activate", nil, nil); err != nil {
		t.Fatal(err)
	}
	tenant := string(d.tenants[0].ID)
	d.server.figures.refused(tenant)(429)
	want := []string{
		`holdfast_rpo_age_seconds_bucket{tenant="` + tenant + `",le="600"} 1`, `holdfast_rpo_age_seconds_count{tenant="` + tenant + `"} 1`,
		`holdfast_rpo_unit_age_seconds{tenant="` + tenant + `",unit="`, `holdfast_runs_total{end="again",kind="backup"} `, `holdfast_run_seconds_count{kind="backup"} `,
		`holdfast_jobs_due{kind="backup"} 0`, `holdfast_jobs_due_seconds{kind="backup"} 0`, `holdfast_source_refusals_total{status="429",tenant="` + tenant + `"} 1`,
		"holdfast_database_answer_seconds ", "holdfast_database_transaction_seconds_count ",
	}
	var missing []string
	if err := poll(t.Context(), 100*time.Millisecond, func() (bool, error) {
		d.server.figures.mu.Lock()
		d.server.figures.at = time.Time{}
		d.server.figures.mu.Unlock()
		answer := httptest.NewRecorder()
		d.server.metrics.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		missing = nil
		for _, line := range want {
			if !strings.Contains(answer.Body.String(), "\n"+line) {
				missing = append(missing, line)
			}
		}
		return len(missing) == 0, nil
	}); err != nil {
		t.Errorf("%v: %q", err, missing)
	}
}
