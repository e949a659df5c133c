package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

func TestAuditExport(t *testing.T) {
	data := t.TempDir()
	url := "sqlite:" + filepath.Join(data, "catalog.db")
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const n, other = 2100, "11111111-1111-4111-8111-111111111111"
	const unit = "3667e382-71a9-4c07-bef7-bda97e09c0d2"
	for i := range n {
		var of []backup.UnitID
		if i == 500 {
			of = append(of, unit)
		}
		tenant := backup.TenantID(exampleTenant)
		if i%100 == 0 {
			tenant = other
		}
		at := begin.Add(time.Duration(i/3) * time.Hour) // some at the same time
		operation := "Test"
		if i%2 == 0 {
			operation = "Other"
		}
		if err := c.Record(t.Context(), backup.Activity{Tenant: tenant, At: at, Operation: operation, Target: "<a&b>"}, of...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	export := func(args ...string) []string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := execute(t.Context(), append([]string{"audit", "export", "--database", url}, args...), &out, &errs); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
		}
		return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	}
	all := export()
	seen, last := map[backup.ActivityID]bool{}, time.Time{}
	for _, line := range all {
		var a backup.Activity
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.At.Before(last) || a.Result != backup.ActivitySucceeded {
			t.Fatalf("%s: %v", line, err)
		}
		seen[a.ID], last = true, a.At
	}
	if len(all) != n || len(seen) != n || !strings.Contains(all[0], `"target":"<a&b>"`) {
		t.Errorf("%d lines of %d entries, the first %s", len(all), len(seen), all[0])
	}
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"audit", "export", "--data", data}, &out, &errs); code != 0 || out.String() != strings.Join(all, "\n")+"\n" {
		t.Errorf("by the folder it is in: exit code %d: %s, and %d bytes", code, &errs, out.Len())
	}
	if got := export("--tenant", other); len(got) != n/100 {
		t.Errorf("%d lines of the other tenant, want %d", len(got), n/100)
	}
	if got := export("--since", begin.AddDate(0, 0, 29).Format(time.DateOnly)); len(got) != n-29*24*3 {
		t.Errorf("%d lines since then, want %d", len(got), n-29*24*3)
	}
	// Some of it, by more than a page of each tenant, and each in its order.
	const others = "@holdfast.operation eq 'Other' and performedBy eq 'Holdfast'"
	if got := export("--filter", others); len(got) != n/2 || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(tenantAndTime(t, a), tenantAndTime(t, b)) }) {
		t.Errorf("%d lines of %s, want %d in their order", len(got), others, n/2)
	}
	if got := export("--filter", others, "--tenant", other, "--since", begin.AddDate(0, 0, 1).Format(time.DateOnly)); len(got) != n/100-1 {
		t.Errorf("%d lines of the other tenant's, want %d", len(got), n/100-1)
	}
	if got := export("--unit", strings.ToUpper(unit), "--filter", "performedBy eq 'Holdfast'"); len(got) != 1 || !strings.Contains(got[0], `"tenant":"`+other) {
		t.Errorf("of a unit: %q", got)
	}
	var nothing bytes.Buffer
	if code := execute(t.Context(), []string{"audit", "export", "--database", url, "--unit", "nobody@contoso.com"}, &nothing, &nothing); code != exitNotFound || !strings.Contains(nothing.String(), "no unit is of nobody@contoso.com") {
		t.Errorf("of a unit that is not there: exit code %d: %s", code, &nothing)
	}
	nothing.Reset()
	if code := execute(t.Context(), []string{"audit", "export", "--database", url, "--tenant", "99999999-9999-4999-8999-999999999999"}, &nothing, &nothing); code != exitNotFound {
		t.Errorf("of a tenant that is not there: exit code %d: %s", code, &nothing)
	}
	for _, args := range [][]string{{"--database", "nothing"}, {"--database", url, "--tenant", "x"}, {"--database", url, "--since", "long ago"}, {"--database", url, "--filter", "who eq 'x'"}} {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), append([]string{"audit", "export"}, args...), &out, &errs); code != exitUsage {
			t.Errorf("%v: exit code %d: %s", args, code, errs.String())
		}
	}
}

// tenantAndTime is what lines of a filtered log are ordered by.
func tenantAndTime(t *testing.T, line string) string {
	t.Helper()
	var a backup.Activity
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		t.Fatal(err)
	}
	return string(a.Tenant) + a.At.Format(time.RFC3339Nano)
}
