package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// A site that is locked or archived as a whole says so, and loses nothing; others go on,
// and it recovers by itself.
func TestPlayASiteThatIsShut(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	w.offersAndCustomers()
	w.must(os.MkdirAll(filepath.Join(w.dir, "sites", "other", "libraries", "Documents"), 0o755))
	w.put(filepath.Join(w.dir, "sites", "other", "libraries", "Documents"), map[string]string{"x.txt": "x"})
	root, err := w.source.Site(w.ctx, "root")
	w.must(err)
	there, err := w.source.SiteAt(w.ctx, root.WebURL+"/sites/other")
	w.must(err)
	other := w.protectSite(there.Collection)
	first, firstOther := w.backUp(unit), w.backUp(other)
	was := w.keptSite(first)
	about := filepath.Join(w.dir, "sites", "root", "site.json")
	for n, shut := range []string{`{"locked": true}`, `{"archived": "fullyArchived"}`, `{"archived": "recentlyArchived"}`, "denied by itself"} {
		if f.set(nil); n < 3 {
			w.must(os.WriteFile(about, []byte(shut), 0o644))
		} else {
			f.set(func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/sites/"+string(unit.Subject)) || strings.Contains(r.URL.Path, "/sites/"+root.ID) {
					return http.StatusLocked, says("resourceLocked")
				}
				return 0, ""
			})
		}
		for range 2 {
			w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup)
		}
		w.put(filepath.Join(w.dir, "sites", "other", "libraries", "Documents"), map[string]string{"x.txt": fmt.Sprint("x", n)})
		if p := w.backUp(other); p.ID == firstOther.ID || w.unit(other.ID).Problem != nil {
			t.Errorf("%s: the other site says %+v", shut, w.unit(other.ID).Problem)
		}
		problem := w.unit(unit.ID).Problem
		if problem == nil || problem.Code != backup.ResourceLocked || !strings.Contains(problem.Message, "locked or archived") || w.unit(unit.ID).Status != backup.UnitProtected {
			t.Errorf("%s: the unit is %s and says %+v\n%s", shut, w.unit(unit.ID).Status, problem, w.log)
		}
		if last := w.latest(unit); last.ID != first.ID {
			t.Errorf("%s: there is a point of it", shut)
		}
		for name, held := range w.keptSite(first) {
			w.same(shut+": "+name, was[name], held)
		}
		// A restore waits, and then goes on.
		a := w.activate(first, backup.DestinationInPlace)
		if err := w.try(w.ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
			t.Errorf("%s: a restore into it does not wait", shut)
		}
		f.set(nil)
		os.Remove(about)
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
			t.Errorf("%s: artifact is %s: %+v", shut, a.Status, a.Problem)
		}
		if first = w.backUp(unit); w.unit(unit.ID).Problem != nil || len(w.lacking(first)) > 0 {
			t.Errorf("%s: after it the unit says %+v", shut, w.unit(unit.ID).Problem)
		}
		was = w.keptSite(first)
	}
	if is := w.unit(unit.ID).Problem; is != nil {
		t.Errorf("the unit says %+v", is)
	}
}

// selective has the world's application be one that has the sites it was granted.
func (w *world) selective() (grant func(site string)) {
	w.t.Helper()
	const app = "77777777-0000-4000-8000-000000000001" // see simConfig
	w.source = drive.New(drive.Config{Graph: w.url + "/v1.0", Authority: w.url, Tenant: w.tenant, ClientID: app, Credential: drive.Secret(testSecret)})
	return func(site string) {
		w.t.Helper()
		in := url.Values{"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {testApp}, "client_secret": {testSecret}}
		resp, err := http.PostForm(w.url+"/"+string(w.tenant)+"/oauth2/v2.0/token", in)
		w.must(err)
		var token struct {
			AccessToken string `json:"access_token"`
		}
		w.must(json.NewDecoder(resp.Body).Decode(&token))
		resp.Body.Close()
		// What the units say, done by hand.
		_, after, ok := strings.Cut(w.source.GrantCall(site), "POST ")
		address, body, _ := strings.Cut(after, " with the body ")
		r, err := http.NewRequest(http.MethodPost, address, bytes.NewReader([]byte(body)))
		w.must(err)
		r.Header.Set("Authorization", "Bearer "+token.AccessToken)
		r.Header.Set("Content-Type", "application/json")
		resp, err = http.DefaultClient.Do(r)
		w.must(err)
		text, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); !ok || resp.StatusCode != http.StatusCreated {
			w.t.Fatalf("%s answers %d %s", address, resp.StatusCode, text)
		}
	}
}

// An application with Sites.Selected backs up and restores the sites that it was
// granted; the units of others say by which request they are. Nothing lists its sites:
// they are found one by one, and rules say that they find none.
func TestSelectedSites(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	for _, name := range []string{"mine", "theirs"} {
		w.must(os.MkdirAll(filepath.Join(w.dir, "sites", name, "libraries", "Documents"), 0o755))
		w.put(filepath.Join(w.dir, "sites", name, "libraries", "Documents"), map[string]string{"x.txt": name})
	}
	root, err := w.source.Site(w.ctx, "root")
	w.must(err)
	mine, err := w.source.SiteAt(w.ctx, root.WebURL+"/sites/mine")
	w.must(err)
	grant := w.selective()
	if note, err := w.source.CheckSites(w.ctx); err != nil || !strings.Contains(note, "POST ") {
		t.Errorf("the check says %q, %v", note, err)
	}

	// Not granted: the unit says how.
	w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup)
	problem := w.unit(unit.ID).Problem
	if problem == nil || problem.Code != backup.AccessDenied || !strings.Contains(problem.Message, w.source.GrantCall(root.ID)) {
		t.Fatalf("the unit says %+v", problem)
	}
	grant(string(unit.Subject))
	point := w.backUp(unit)
	if w.unit(unit.ID).Problem != nil || len(w.lacking(point)) > 0 {
		t.Errorf("granted, the unit says %+v, and the point lacks %q", w.unit(unit.ID).Problem, w.lacking(point))
	}
	w.must(os.Remove(w.siteList("Offers") + "/2.json"))
	w.must(os.Remove(filepath.Join(w.siteLibrary("Documents"), "a.txt")))
	w.restored(point, backup.DestinationInPlace)
	w.wantTitles("Offers", w.titles("Offers", "Customer", "Customers"), "Large", `Small → Bob, "Sir"`)
	w.restored(point, backup.DestinationNew)

	// Sites are found by their addresses and ids, each by itself.
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "More"})
	w.must(err)
	grant(mine.ID)
	job, err := w.catalog.CreateBulkJob(w.ctx, w.tenant, p.ID, catalog.NewBulkJob{DisplayName: "Bulk",
		Addresses: []string{mine.WebURL + "/", root.WebURL + "/sites/theirs", root.WebURL + "/sites/none"}, IDs: []string{"11111111-0000-4000-8000-000000000000"}})
	w.must(err)
	w.run(jobs.BulkAdd, string(job.ID), w.engine.bulkAdd)
	job, err = w.catalog.BulkJob(w.ctx, w.tenant, p.ID, job.ID)
	w.must(err)
	var told []string
	if job.Problem != nil {
		for _, d := range job.Problem.Details {
			if strings.Contains(d.Message, "/permissions with the body") {
				told = append(told, d.Target)
			}
		}
	}
	if job.Status != backup.BulkJobCompletedWithErrors || len(job.Problem.Details) != 3 || !slices.Contains(told, root.WebURL+"/sites/theirs") {
		t.Errorf("the job is %s: %+v", job.Status, job.Problem)
	}
	units, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
	w.must(err)
	if len(units.Items) != 1 || units.Items[0].Address != mine.WebURL {
		t.Errorf("the units are %+v", units.Items)
	}

	// A rule says what it cannot do, and lets nobody go.
	r, err := w.catalog.CreateRule(w.ctx, w.tenant, p.ID, catalog.NewRule{Expression: "(webUrl -contains 'mine')"})
	w.must(err)
	w.run(jobs.Rule, string(r.ID), w.engine.rule)
	r, err = w.catalog.Rule(w.ctx, w.tenant, p.ID, r.ID)
	w.must(err)
	if r.Problem == nil || !strings.Contains(r.Problem.Message, "could not be listed") || r.Problem.Code != backup.AccessDenied {
		t.Errorf("the rule is %s: %+v", r.Status, r.Problem)
	}
	if units, err = w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID}); err != nil || len(units.Items) != 1 {
		t.Errorf("the units are %+v, %v", units.Items, err)
	}
}
