package engine

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// A policy of all there is follows the directory, and believes neither a source that
// fails nor one that forgets for once.
func TestAllThereIsFollowsTheDirectory(t *testing.T) {
	w := newRuled(t)
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "All", FullService: true})
	w.must(err)
	_, _, err = w.catalog.UpdateExclusions(w.ctx, w.tenant, p.ID, catalog.ExclusionPatch{Exclusions: []catalog.ExclusionChange{{Add: backup.SubjectID(w.users[3].ID)}}})
	w.must(err)
	w.policy, err = w.catalog.ActivatePolicy(w.ctx, w.tenant, p.ID, backup.Stamp{})
	w.must(err)
	look := func() error {
		w.t.Helper()
		w.skew.Add(int64(25 * time.Hour))
		return w.try(w.ctx, jobs.All, string(p.ID), w.engine.protectAll)
	}
	isUsers := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1.0/users") }
	w.faults.Add(simtenant.Fault{Times: 1, Status: 403, Body: `{"error":{"code":"Authorization_RequestDenied","message":"no"}}`, Match: isUsers})
	if err := look(); err == nil {
		t.Error("a source that refuses to tell is believed")
	}
	w.wantIn("before anybody told")
	w.must(look())
	w.wantIn("at first", "ann", "bob", "cid")

	// One who is gone leaves at the second look, an hour later.
	all := w.users
	w.users = all[1:]
	w.restart()
	w.must(look())
	w.wantIn("after the first look", "", "bob", "cid")
	w.skew.Add(int64(61 * time.Minute))
	w.must(w.try(w.ctx, jobs.All, string(p.ID), w.engine.protectAll))
	w.wantIn("after the second look", "bob", "cid")

	// Who is back joins again; who is only not listed stays.
	w.users = all
	w.restart()
	w.must(look())
	w.wantIn("back", "ann", "bob", "cid")
	w.must(w.catalog.ApplyDirectory(w.ctx, w.tenant, catalog.DirectoryChange{Removed: []backup.SubjectID{backup.SubjectID(all[1].ID)}}))
	w.must(look())
	w.must(look())
	w.wantIn("forgotten by the list alone", "ann", "bob", "cid")
}

// What is known of users and sites is no older than a day, as far as the source tells.
func TestTheMirrorIsKept(t *testing.T) {
	w := newWorldOf(t, func(sim http.Handler) http.Handler { return sim }, true, "ann")
	w.must(os.MkdirAll(w.dir+"/sites/other/libraries/Documents", 0o755))
	known := func() (of []backup.Workload) {
		t.Helper()
		page, err := w.catalog.Coverage(w.ctx, w.tenant, catalog.Page{After: "-"})
		w.must(err)
		for _, v := range page.Items {
			of = append(of, v.Workload)
		}
		slices.Sort(of)
		return of
	}
	isSites := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/sites") }
	w.faults.Add(simtenant.Fault{Status: 403, Body: `{"error":{"code":"accessDenied","message":"no"}}`, Match: isSites})
	w.must(w.try(w.ctx, jobs.Mirror, string(w.tenant), w.engine.mirror))
	if got := known(); !slices.Equal(got, []backup.Workload{backup.Exchange, backup.OneDrive}) {
		t.Errorf("while sites are denied, known are %q", got)
	}
	w.faults.Clear()
	w.faults.Add(simtenant.Fault{Status: 500, Match: isSites})
	if err := w.try(w.ctx, jobs.Mirror, string(w.tenant), w.engine.mirror); err == nil {
		t.Error("that the source fails is not said")
	}
	w.faults.Clear()
	w.must(w.try(w.ctx, jobs.Mirror, string(w.tenant), w.engine.mirror))
	if got := known(); !slices.Contains(got, backup.SharePoint) {
		t.Errorf("known are %q", got)
	}
}
