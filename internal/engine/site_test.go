package engine

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"


	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// newSite is newWorld with a site in place of owners, and returns its unit.
func newSite(t *testing.T, libraries map[string]map[string]string, between ...func(http.Handler) http.Handler) (*world, backup.Unit) {
	t.Helper()
	wrap := func(sim http.Handler) http.Handler { return sim }
	if len(between) > 0 {
		wrap = between[0]
	}
	w := newWorldBehind(t, wrap)
	for name, files := range libraries {
		w.must(os.MkdirAll(w.siteLibrary(name), 0o755))
		w.put(w.siteLibrary(name), files)
	}
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "Sites", Units: []backup.SubjectID{site.Collection}})
	w.must(err)
	_, err = w.catalog.ActivatePolicy(w.ctx, w.tenant, p.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.Settle, string(p.ID), w.engine.settle)
	list, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
	w.must(err)
	return w, list.Items[0]
}

// siteLibrary is the folder that is a library of the site, or of one below it.
func (w *world) siteLibrary(name string) string {
	at := filepath.Join(w.dir, "sites", "root")
	if below, own, ok := strings.Cut(name, "/"); ok {
		at, name = filepath.Join(at, "sites", below), own
	}
	return filepath.Join(at, "libraries", name)
}

// keptSite returns what a point of a site holds, by library.
func (w *world) keptSite(p backup.Point) map[string]state {
	w.t.Helper()
	parts, err := w.vault.Parts(w.ctx, p.Tree)
	w.must(err)
	all := map[string]state{}
	for _, part := range parts {
		all[part.Name] = w.kept(part.Tree)
	}
	return all
}

// sameSite compares a point with the folders of the libraries that are named.
func (w *world) sameSite(what string, p backup.Point, libraries ...string) {
	w.t.Helper()
	got := w.keptSite(p)
	for name, held := range got {
		if len(held) == 0 && !slices.Contains(libraries, name) {
			delete(got, name) // the service's own, such as that of pages
		}
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, libraries) {
		w.t.Errorf("%s has the libraries %q, want %q\n%s", what, names, libraries, w.log)
	}
	for _, name := range libraries {
		w.same(what+": "+name, w.look(w.siteLibrary(name)), got[name])
	}
}

// lacking returns what a point says that it does not hold as it was.
func (w *world) lacking(p backup.Point) (all []string) {
	w.t.Helper()
	list, err := w.vault.Unread(w.ctx, p.Tree)
	w.must(err)
	for _, u := range list {
		all = append(all, fmt.Sprint(u.Path, " ", u.Code, " ", u.Held))
	}
	if int(p.Unread) != len(all) {
		w.t.Errorf("the point counts %d items that it lacks, and names %q", p.Unread, all)
	}
	return all
}

var twoLibraries = map[string]map[string]string{
	"Documents":     {"a.txt": "a", "folder/b.txt": "b"},
	"Team/Drawings": {"a.txt": "another a", "c.txt": "c"},
}

// A site's libraries, and those of the sites below it, are one point. A visit goes
// by each library's own delta; one without changes writes nothing.
func TestASiteIsBackedUp(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	first := w.backUp(unit)
	w.sameSite("the first point", first, "Documents", "Team/Drawings")
	if got := w.unit(unit.ID); got.Status != backup.UnitProtected || got.Problem != nil || len(w.lacking(first)) > 0 {
		t.Errorf("unit = %+v", got)
	}
	if first.Files != 4 {
		t.Errorf("the point counts %d files, want 4", first.Files)
	}

	w.reset()
	again := w.backUp(unit)
	if again.Tree != first.Tree {
		t.Error("a point without changes has another tree")
	}
	w.wantAsked("download", 0)

	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed", "new.txt": "new"})
	w.must(os.Remove(w.siteLibrary("Team/Drawings") + "/c.txt"))
	w.must(os.MkdirAll(w.siteLibrary("Added"), 0o755))
	w.put(w.siteLibrary("Added"), map[string]string{"d.txt": "d"})
	w.reset()
	second := w.backUp(unit)
	w.sameSite("the second point", second, "Added", "Documents", "Team/Drawings")
	w.wantAsked("download", 3)

	// Renamed, and another deleted.
	w.must(os.Rename(w.siteLibrary("Documents"), w.siteLibrary("Papers")))
	w.must(os.RemoveAll(w.siteLibrary("Added")))
	w.reset()
	third := w.backUp(unit)
	w.sameSite("the third point", third, "Papers", "Team/Drawings")
	w.wantAsked("download", 0)
	if got := w.keptSite(second); len(got["Added"]) != 1 || len(got["Documents"]) == 0 {
		t.Errorf("the second point lost what it had: %v", got)
	}
	if got := w.unit(unit.ID); got.Problem != nil {
		t.Errorf("problem = %+v", got.Problem)
	}
}
