package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "a.txt"), []byte("read by a backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.server.figures.refused(tenant)(429)
	want := []string{
		`holdfast_rpo_age_seconds_bucket{tenant="` + tenant + `",le="600"} 1`, `holdfast_rpo_age_seconds_count{tenant="` + tenant + `"} 1`,
		`holdfast_rpo_unit_age_seconds{name="amala@contoso.com",tenant="` + tenant + `",unit="`, `holdfast_runs_total{end="again",kind="backup"} `, `holdfast_run_seconds_count{kind="backup"} `,
		`holdfast_jobs_due{kind="backup"} 0`, `holdfast_jobs_due_seconds{kind="backup"} 0`, `holdfast_source_refusals_total{status="429",tenant="` + tenant + `"} 1`,
		`holdfast_vault_writable{tenant="` + tenant + `"} 1`, `holdfast_vault_bytes{tenant="` + tenant + `"} `, `holdfast_vault_index_blobs{tenant="` + tenant + `"} `, "holdfast_configuration_refused 0",
		"holdfast_database_up 1", `holdfast_disk_free_bytes{of="database"} `, `holdfast_disk_free_bytes{of="state"} `, `holdfast_disk_free_bytes{of="vault"} `,
		`holdfast_source_bytes_total{direction="written",tenant="` + tenant + `"} 0`, `holdfast_vault_written_bytes_total{tenant="` + tenant + `"} `,
		"holdfast_database_answer_seconds ", "holdfast_database_transaction_seconds_count ",
	}
	var missing []string
	if err := poll(t.Context(), 100*time.Millisecond, func() (bool, error) {
		d.server.figures.forget()
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
	// Where it was not asked for, no person is named.
	d.server.cfg.MetricsNames = false
	d.server.figures.forget()
	answer := httptest.NewRecorder()
	d.server.metrics.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if text := answer.Body.String(); strings.Contains(text, "amala") || !strings.Contains(text, `holdfast_rpo_unit_age_seconds{name="",tenant="`) {
		t.Errorf("without names, the figures are %s", text)
	}
}

// A vault that cannot be written to is told of although nothing is to be written: by
// /readyz, and in the figures.
func TestAVaultThatTakesNothingIsToldOf(t *testing.T) {
	before := probeEvery
	probeEvery = 50 * time.Millisecond
	t.Cleanup(func() { probeEvery = before }) // once the server is closed
	d := startTestDev(t, nil)
	tenant := string(d.tenants[0].ID)
	get := func(path string) string {
		answer := httptest.NewRecorder()
		d.server.handler(nil).ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		return answer.Body.String()
	}
	writable := func(text string) func() bool {
		return func() bool {
			return strings.Contains(get("/metrics"), `holdfast_vault_writable{tenant="`+tenant+`"} `+text)
		}
	}
	if !comes(writable("1")) {
		t.Fatal("it is not told that the vault can be written to")
	}
	// By its folder no more than by a bucket could it be told: only the write fails.
	probe := filepath.Join(d.data.path("vault"), tenant, "holdfast.probe.f")
	if err := os.Remove(probe); err != nil {
		t.Fatal(err)
	}
	for os.MkdirAll(filepath.Join(probe, "in the way"), 0o700) != nil { // a probe may have been faster
		os.Remove(probe)
	}
	if !comes(writable("0")) || !strings.Contains(get("/readyz"), "tenant "+tenant+" is unavailable: the vault's storage cannot be written to") {
		t.Errorf("of a vault that cannot be written to, /readyz says %s", get("/readyz"))
	}
	if err := os.RemoveAll(probe); err != nil {
		t.Fatal(err)
	}
	if !comes(writable("1")) || !strings.HasPrefix(get("/readyz"), "ready\n") {
		t.Errorf("once it can be, /readyz says %s", get("/readyz"))
	}
}

// A database that is away takes only those figures with it that are in it.
func TestFiguresWithoutADatabase(t *testing.T) {
	d := startTestDev(t, nil)
	if err := d.server.db.Close(); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	d.server.metrics.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := answer.Body.String()
	for _, line := range []string{"holdfast_database_up 0", "holdfast_configuration_refused 0", "holdfast_backup_failures_total 0", `holdfast_disk_free_bytes{of="database"} `, "go_goroutines "} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("without a database it is not told: %s", line)
		}
	}
	if answer.Code != http.StatusOK || strings.Contains(text, "holdfast_rpo_missed_drives ") {
		t.Errorf("without a database the answer is %d\n%s", answer.Code, text)
	}
}
