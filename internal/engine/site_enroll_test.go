package engine

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// Sites are found by their addresses, by their ids and by words in their names, and
// their units are called by what they are called.
func TestSitesJoinAPolicy(t *testing.T) {
	w, first := newSite(t, map[string]map[string]string{"Documents": {"a.txt": "a"}})
	for _, name := range []string{"legal", "legal-old", "finance"} {
		w.must(os.MkdirAll(filepath.Join(w.dir, "sites", name, "libraries", "Documents"), 0o755))
	}
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "More"})
	w.must(err)
	addresses := func() (all []string) {
		t.Helper()
		units, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
		w.must(err)
		for _, u := range units.Items {
			all = append(all, filepath.Base(u.Address))
			if id, ok := backup.SharePoint.ParseSubject(u.SourceID); !ok || id != u.Subject || u.Name == "" {
				t.Errorf("the unit of %s is called %q and named %q", u.Subject, u.Name, u.SourceID)
			}
		}
		slices.Sort(all)
		return all
	}
	bulk := func(addresses, ids []string) backup.BulkJob {
		t.Helper()
		job, err := w.catalog.CreateBulkJob(w.ctx, w.tenant, p.ID, catalog.NewBulkJob{DisplayName: "Bulk", Addresses: addresses, IDs: ids})
		w.must(err)
		w.run(jobs.BulkAdd, string(job.ID), w.engine.bulkAdd)
		job, err = w.catalog.BulkJob(w.ctx, w.tenant, p.ID, job.ID)
		w.must(err)
		return job
	}
	root, err := w.source.Site(w.ctx, "root")
	w.must(err)
	job := bulk([]string{root.WebURL + "/sites/FINANCE/", root.WebURL + "/sites/none", "ann@example.com"}, []string{"11111111-0000-4000-8000-000000000000"})
	if job.Status != backup.BulkJobCompletedWithErrors || len(job.Problem.Details) != 3 || job.Problem.Details[0].Code != backup.SiteURLNotFound {
		t.Errorf("the job is %s, %+v", job.Status, job.Problem)
	}
	if got := addresses(); !slices.Equal(got, []string{"finance"}) {
		t.Errorf("by address: %q", got)
	}
	// A site of another policy is refused, by whatever it is named.
	if job := bulk(nil, []string{root.ID}); job.Problem == nil || job.Problem.Details[0].Code != backup.ProtectionUnitAlreadyExists {
		t.Errorf("a site of another policy: %+v", job.Problem)
	}
	r, err := w.catalog.CreateRule(w.ctx, w.tenant, p.ID, catalog.NewRule{Expression: "(displayName -contains 'LEGAL') -or (webUrl -contains 'nothing')"})
	w.must(err)
	w.run(jobs.Rule, string(r.ID), w.engine.rule)
	if got := addresses(); !slices.Equal(got, []string{"finance", "legal", "legal-old"}) {
		t.Errorf("by words: %q", got)
	}
	r, err = w.catalog.Rule(w.ctx, w.tenant, p.ID, r.ID)
	w.must(err)
	if r.Status != backup.RuleCompleted {
		t.Errorf("the rule is %s, %+v", r.Status, r.Problem)
	}

	// The list of sites forgets no users, nor that of users sites; what is gone is
	// known no more.
	w.must(w.catalog.ApplyDirectory(w.ctx, w.tenant, catalog.DirectoryChange{Users: []backup.Subject{{ID: "22222222-0000-4000-8000-000000000000", Address: "eve@example.com"}}}))
	w.must(os.RemoveAll(filepath.Join(w.dir, "sites", "legal-old")))
	w.skew.Add(int64(sitesWhole))
	w.must(w.engine.refreshSites(w.ctx, w.tenant))
	if _, known, err := w.catalog.DirectoryUser(w.ctx, w.tenant, "22222222-0000-4000-8000-000000000000"); !known || err != nil {
		t.Errorf("a user is known: %t, %v", known, err)
	}
	w.must(w.engine.refreshDirectory(w.ctx, w.tenant))
	expression, err := backup.ParseSiteExpression("(webUrl -contains '/sites/')")
	w.must(err)
	if got, err := w.catalog.SitesOf(w.ctx, w.tenant, expression); len(got) != 2 || err != nil {
		t.Errorf("%d sites are known, %v", len(got), err)
	}

	// Who was added by id alone is called by its name after its first backup.
	w.must(w.catalog.ApplyDirectory(w.ctx, w.tenant, catalog.DirectoryChange{Removed: []backup.SubjectID{first.Subject}}))
	w.backUp(first)
	if u := w.unit(first.ID); u.Address != root.WebURL || u.SourceID != root.ID {
		t.Errorf("the unit is at %q, %q", u.Address, u.SourceID)
	}
}

// Sites are listed as a whole once a day, or where the source's cursor is worth nothing
// any more; else by what has changed. Of a collection the uppermost site is kept.
func TestSitesAreReadByTheirChanges(t *testing.T) {
	f := &refusal{}
	w, _ := newSite(t, map[string]map[string]string{"Documents": {"a.txt": "a"}}, f.between)
	at := func(name string) string { return filepath.Join(w.dir, "sites", filepath.FromSlash(name)) }
	put := func(names ...string) {
		for _, name := range names {
			w.must(os.MkdirAll(at(name)+"/libraries/Documents", 0o755))
		}
	}
	var whole, told atomic.Int32
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/getAllSites") {
			whole.Add(1)
		} else if strings.HasSuffix(r.URL.Path, "/sites/delta") {
			told.Add(1)
		}
	})
	look := func(what string, wholes int, want ...string) {
		t.Helper()
		whole.Store(0)
		told.Store(0)
		w.must(w.engine.refreshSites(w.ctx, w.tenant))
		expression, err := backup.ParseSiteExpression("(webUrl -contains '/sites/')")
		w.must(err)
		ids, err := w.catalog.SitesOf(w.ctx, w.tenant, expression)
		w.must(err)
		var got []string
		for _, id := range ids {
			site, _, err := w.catalog.DirectoryUser(w.ctx, w.tenant, id)
			w.must(err)
			got = append(got, site.Address[strings.Index(site.Address, "/sites/")+len("/sites/"):])
		}
		if slices.Sort(got); !slices.Equal(got, want) || whole.Load() != int32(wholes) || told.Load() == 0 {
			t.Errorf("%s: known are %q, want %q, by %d lists of all and %d of changes", what, got, want, whole.Load(), told.Load())
		}
	}
	put("one", "two")
	look("first", 1, "one", "two")
	look("nothing new", 0, "one", "two")
	put("three", "one/sites/below")
	look("new ones", 0, "one", "three", "two")
	w.must(os.Rename(at("two"), at("second")))
	look("renamed", 0, "one", "second", "three")
	w.must(os.RemoveAll(at("second")))
	w.skew.Add(int64(sitesWhole))
	look("a day later", 1, "one", "three")
	asked := 0
	f.set(func(r *http.Request) (int, string) {
		if strings.HasSuffix(r.URL.Path, "/sites/delta") {
			if asked++; asked == 1 {
				return http.StatusGone, says("resyncChangesApplyDifferences")
			}
		}
		return 0, ""
	})
	put("four")
	look("the cursor is gone", 1, "four", "one", "three")
	put("five")
	look("and there is another", 0, "five", "four", "one", "three")
	// A change that does not say what it is of has all listed anew, and a source without
	// such a list has each time.
	f.set(func(r *http.Request) (int, string) {
		if strings.HasSuffix(r.URL.Path, "/sites/delta") {
			return http.StatusOK, `{"value":[{"id":"","webUrl":"https://x"}],"@odata.deltaLink":"` + "http://" + r.Host + r.URL.Path + `?token=x"}`
		}
		return 0, ""
	})
	look("nonsense", 1, "five", "four", "one", "three")
	f.set(func(r *http.Request) (int, string) {
		if strings.HasSuffix(r.URL.Path, "/sites/delta") {
			return http.StatusNotFound, says("itemNotFound")
		}
		return 0, ""
	})
	put("six")
	look("no such list", 1, "five", "four", "one", "six", "three")
	look("no such list again", 1, "five", "four", "one", "six", "three")
	f.set(nil)
	look("there it is", 1, "five", "four", "one", "six", "three")
	look("and is used", 0, "five", "four", "one", "six", "three")
}
