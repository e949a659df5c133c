package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Retention is shown and changed on the database, with what a change costs, and
// who changed it is in the audit log.
func TestRetentionCommand(t *testing.T) {
	ctx := t.Context()
	url := "sqlite:" + filepath.Join(t.TempDir(), "catalog.db")
	db, err := database.Open(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	queue := jobs.New(db, time.Now)
	c := catalog.New(db, queue, catalog.Config{Clock: time.Now})
	const tenant = backup.TenantID(exampleTenant)
	by := backup.Stamp{At: time.Now()}
	p, err := c.CreatePolicy(ctx, tenant, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "Sales", Units: []backup.SubjectID{exampleTenant}, By: by})
	if err == nil {
		_, err = c.ActivatePolicy(ctx, tenant, p.ID, by)
	}
	if err != nil {
		t.Fatal(err)
	}
	due, err := queue.Claim(ctx, jobs.Backup, 1, time.Minute, "test")
	if err != nil || len(due) != 1 {
		t.Fatal(due, err)
	}
	_, err = c.CommitPoint(ctx, due[0], catalog.Commit{Unit: backup.UnitID(due[0].Key), Point: backup.Point{At: time.Now(), Tree: "t"}, State: catalog.DriveState{Drive: "d", Root: "r", Tree: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	try := func(code int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := execute(ctx, append([]string{"retention"}, args...), &out, &errs); got != code {
			t.Errorf("%v: exit code %d, want %d: %s", args, got, code, errs.String())
		}
		return out.String()
	}
	run := func(command string, args ...string) string {
		t.Helper()
		return try(0, append([]string{command, "--database", url}, args...)...)
	}
	says := func(got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%q is not in:\n%s", w, got)
			}
		}
	}
	policy := []string{"--policy", string(p.ID)}
	says(run("hold", policy...), "From now on", "under a legal hold")
	says(run("show"), "Tenant "+exampleTenant, "Policy "+string(p.ID)+" Sales: R/PT10M for P2W, R/P1W for P1Y, and everything under a legal hold")
	says(run("set", append(policy, "R/PT10M=P1D", "--after", "24h")...), "From now on: R/PT10M for P1D")
	says(run("release", append(policy, "--after", "48h")...), time.Now().UTC().Add(48*time.Hour).Format("2006-01-02"), "1 of 1 drive", "holdfast retention cancel")
	says(run("show"), "1 restore points of 1 drive go then")
	var shown shownRetention
	lines := strings.Split(strings.TrimSpace(run("show", "--json")), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &shown); err != nil || len(lines) != 2 || shown.Points != 1 || !shown.Kept.LegalHold || shown.Pending.LegalHold || shown.By == "" {
		t.Errorf("shown = %+v, %v", shown, err)
	}
	try(exitNotFound, "cancel", "--database", url) // the policy's, not the tenant's, waits
	says(run("cancel", policy...), "called off")
	says(run("cancel", policy...), "nothing was to be done")
	if got := run("show"); strings.Contains(got, "go then") {
		t.Errorf("after a change was called off:\n%s", got)
	}
	says(run("release"), "It was so before")
	says(run("hold"), "From now on")
	says(run("hold"), "It was so before")

	var log []string
	err = c.ExportActivities(ctx, tenant, time.Time{}, func(a backup.Activity) error {
		if a.Operation == backup.RetentionActivity && a.Object == string(p.ID) {
			log = append(log, a.Target+" by "+a.By.User.DisplayName)
		}
		return nil
	})
	if err != nil || len(log) != 4 || !strings.HasPrefix(log[1], "holdfast retention set R/PT10M=P1D by ") || strings.HasSuffix(log[1], "by ") {
		t.Errorf("log = %q, %v", log, err)
	}

	for _, args := range [][]string{
		{"show", "--database", url, "--tenant", "x"}, {"set", "--database", url},
		{"set", "--database", url, "R/PT10M"}, {"set", "--database", url, "PT10M=P1D"}, {"hold", "--database", url, "--policy", "Sales"},
	} {
		try(exitUsage, args...)
	}
	try(exitUsage, "release", "--database", url, "--policy", string(p.ID), "--after", "1h")
	// A slip of the pen makes no tenant, under a hold that holds nothing.
	for _, command := range []string{"show", "hold", "cancel"} {
		try(exitNotFound, command, "--database", url, "--tenant", "11111111-1111-4111-8111-111111111111")
	}
	if tenants, err := c.Tenants(ctx); err != nil || len(tenants) != 1 {
		t.Errorf("the tenants are %v, %v", tenants, err)
	}
	try(exitNotFound, "hold", "--database", url, "--policy", exampleTenant)
}
