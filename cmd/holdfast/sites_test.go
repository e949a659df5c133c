package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/backup"
)

// A site is protected by its address, with its libraries and those of the site
// below it; looked into from the site down to a file; and restored, in part and in
// whole.
func TestASiteIsProtectedLookedIntoAndRestored(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) {
		o.interval, o.workloads = time.Second, []string{string(backup.OneDrive), string(backup.SharePoint)}
	})
	c := signedIn(t, d, d.origin)
	at := filepath.Join(d.data.root, "sites", "marketing")
	plan := filepath.Join(at, "libraries", "Documents", "plans", "a.txt")
	for file, text := range map[string]string{plan: "the plan", filepath.Join(at, "sites", "emea", "libraries", "Documents", "e.txt"): "far"} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	call := func(method, path, body string) map[string]any {
		t.Helper()
		var in any
		if body != "" {
			in = json.RawMessage(body)
		}
		var out map[string]any
		if err := c.Call(t.Context(), method, path, in, &out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return out
	}
	until := func(path string, done func(map[string]any) bool) (got map[string]any) {
		t.Helper()
		if err := poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
			got = call(http.MethodGet, path, "")
			return done(got), nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	values := func(answer map[string]any) (all []map[string]any) {
		list, _ := answer["value"].([]any)
		for _, v := range list {
			all = append(all, v.(map[string]any))
		}
		return all
	}

	policy := call(http.MethodPost, "/sharePointProtectionPolicies", `{"displayName":"Sites"}`)["id"].(string)
	jobs := "/sharePointProtectionPolicies/" + policy + "/siteProtectionUnitsBulkAdditionJobs"
	job := call(http.MethodPost, jobs, `{"displayName":"J","siteWebUrls":["https://contoso.sharepoint.com/sites/marketing"]}`)["id"].(string)
	if job := until(jobs+"/"+job, func(j map[string]any) bool { return j["status"] != "active" }); job["status"] != "completed" {
		t.Fatalf("the job is %v", job)
	}
	call(http.MethodPost, "/protectionPolicies/"+policy+"/activate", `{}`)
	units := until("/siteProtectionUnits", func(u map[string]any) bool { return len(values(u)) == 1 && values(u)[0]["status"] == "protected" })
	unit := values(units)[0]["id"].(string)
	found := call(http.MethodPost, "/restorePoints/search", `{"protectionUnitIds":["`+unit+`"],"protectionTimePeriod":{"startDateTime":"2020-01-01T00:00:00Z"},"restorePointPreference":"latest"}`)
	point := found["searchResults"].([]any)[0].(map[string]any)["restorePoint"].(map[string]any)["id"].(string)

	browse := call(http.MethodPost, "/sharePointBrowseSessions", `{"restorePointId":"`+point+`"}`)["id"].(string)
	look := func(kind, key string) map[string]map[string]any {
		t.Helper()
		body, _ := json.Marshal(map[string]any{"browseResourceType": kind, "browseLocationItemKey": key})
		all := map[string]map[string]any{}
		for _, v := range values(call(http.MethodPost, "/sharePointBrowseSessions/"+browse+"/browse", string(body))) {
			all[v["name"].(string)] = v
		}
		return all
	}
	key := func(item map[string]any, kind string) string {
		t.Helper()
		if item["type"] != kind {
			t.Fatalf("%v is no %s", item, kind)
		}
		return item["itemKey"].(string)
	}
	libraries := look("site", key(look("none", "")["marketing"], "site"))
	if key(libraries["emea/Documents"], "documentLibrary") == "" || len(libraries) != 2 {
		t.Errorf("the site holds %v", libraries)
	}
	plans := key(look("documentLibrary", key(libraries["Documents"], "documentLibrary"))["plans"], "folder")
	file := key(look("folder", plans)["a.txt"], "file")

	if err := os.RemoveAll(filepath.Dir(plan)); err != nil {
		t.Fatal(err)
	}
	restore := func(body, artifacts string) map[string]any {
		t.Helper()
		session := call(http.MethodPost, "/sharePointRestoreSessions", body)["id"].(string)
		call(http.MethodPost, "/restoreSessions/"+session+"/activate", `{}`)
		until("/restoreSessions/"+session, func(s map[string]any) bool { return s["status"] == "completed" || s["status"] == "failed" })
		return values(call(http.MethodGet, "/sharePointRestoreSessions/"+session+"/"+artifacts, ""))[0]
	}
	part := restore(`{"granularSiteRestoreArtifacts":[{"browseSessionId":"`+browse+`","id":"`+file+`"}]}`, "granularSiteRestoreArtifacts")
	if part["status"] != "succeeded" {
		t.Errorf("the file came back as %v", part)
	}
	if whole := restore(`{"siteRestoreArtifacts":[{"restorePoint":{"id":"`+point+`"},"destinationType":"inPlace"}]}`, "siteRestoreArtifacts"); whole["status"] != "succeeded" {
		t.Errorf("the site came back as %v", whole)
	}
	if text, err := os.ReadFile(plan); err != nil || string(text) != "the plan" {
		t.Errorf("the file is %q, %v", text, err)
	}
}
