package engine

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
)

func (w *world) artifact(a backup.Artifact) backup.Artifact {
	w.t.Helper()
	a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	return a
}

// In place all libraries of the point become what they were; a library that is in no
// point before stays.
func TestASiteIsRestoredInPlace(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	point := w.backUp(unit)
	was := w.keptSite(point)
	w.must(os.WriteFile(w.siteLibrary("Documents")+"/a.txt", []byte("changed"), 0o644))
	w.must(os.RemoveAll(w.siteLibrary("Documents") + "/folder"))
	w.must(os.Remove(w.siteLibrary("Team/Drawings") + "/c.txt"))
	w.put(w.siteLibrary("Later"), map[string]string{"d.txt": "d"})
	w.must(os.WriteFile(w.siteLibrary("Team/Drawings")+"/late.txt", []byte("late"), 0o644))
	w.backUp(unit)
	harmed := w.latest(unit)

	a := w.restored(point, backup.DestinationInPlace)
	for name := range twoLibraries {
		w.same(name, was[name], w.look(w.siteLibrary(name)))
	}
	if got := w.look(w.siteLibrary("Later")); len(got) != 1 {
		t.Errorf("a library that the point does not know holds %v", got)
	}
	if site, err := w.source.Site(w.ctx, "root"); err != nil || a.RestoredSiteWebURL != site.WebURL {
		t.Errorf("restored to %q, %v", a.RestoredSiteWebURL, err)
	}
	w.sameSite("the point after", w.latest(unit), "Documents", "Later", "Team/Drawings")

	// It can itself be undone.
	w.restored(harmed, backup.DestinationInPlace)
	after := w.backUp(unit)
	for name, held := range w.keptSite(harmed) {
		w.same("undone: "+name, held, w.keptSite(after)[name])
	}
}

// To a new place each library is made anew beside the live one, all with one suffix.
// The live ones stay as they are, also when the restore is killed and goes on.
func TestASiteIsRestoredToANewPlace(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	point := w.backUp(unit)
	was := w.keptSite(point)
	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed", "more.txt": "more"})
	live := map[string]state{}
	for name := range twoLibraries {
		live[name] = w.look(w.siteLibrary(name))
	}
	a := w.activate(point, backup.DestinationNew)
	for _, after := range []int{1, 2} {
		w.stopAfter("upload", after, jobs.Restore, string(a.ID), w.engine.restore)
	}
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Status != backup.ArtifactSucceeded || !strings.HasSuffix(a.RestoredSiteName, "R0") {
		t.Fatalf("artifact is %s, %q: %+v\n%s", a.Status, a.RestoredSiteName, a.Problem, w.log)
	}
	for name := range twoLibraries {
		w.same("the new "+name, was[name], w.look(w.siteLibrary(name+"R0")))
		w.same("the live "+name, live[name], w.look(w.siteLibrary(name)))
	}
	if _, err := os.Stat(w.siteLibrary("DocumentsR1")); err == nil {
		t.Error("a restore that was killed has made a second place")
	}

	// One that is gone is made in the site, and the next restore has places of its own.
	w.must(os.RemoveAll(w.siteLibrary("Team/Drawings")))
	w.must(os.WriteFile(w.siteLibrary("DocumentsR0")+"/mine.txt", []byte("mine"), 0o644))
	before := w.look(w.siteLibrary("DocumentsR0"))
	w.restored(point, backup.DestinationNew)
	w.same("the library that is gone", was["Team/Drawings"], w.look(w.siteLibrary("Team DrawingsR1")))
	w.same("the other", was["Documents"], w.look(w.siteLibrary("DocumentsR1")))
	w.same("the first new place", before, w.look(w.siteLibrary("DocumentsR0")))
}

// A library that is gone, or locked, stops no other, and is named.
func TestASiteIsRestoredInPart(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	point := w.backUp(unit)
	was := w.keptSite(point)
	harm := func() {
		w.must(os.WriteFile(w.siteLibrary("Documents")+"/a.txt", []byte("changed"), 0o644))
	}
	harm()
	bad := string(w.partOf(point, "Team/Drawings").Drive)
	f.set(func(r *http.Request) (int, string) {
		if strings.Contains(r.URL.Path, "/drives/"+bad) {
			return http.StatusLocked, says("resourceLocked")
		}
		return 0, ""
	})
	a := w.activate(point, backup.DestinationInPlace)
	if err := w.try(w.ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
		t.Error("a restore into a locked library is not tried again")
	}
	w.same("the other library", was["Documents"], w.look(w.siteLibrary("Documents")))
	if a = w.artifact(a); a.Status.Final() {
		t.Errorf("artifact is %s", a.Status)
	}
	f.set(nil)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
		t.Errorf("artifact is %s: %+v", a.Status, a.Problem)
	}

	w.must(os.RemoveAll(w.siteLibrary("Team/Drawings")))
	harm()
	a = w.activate(point, backup.DestinationInPlace)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a = w.artifact(a)
	if a.Status != backup.ArtifactFailed || a.Problem == nil || len(a.Problem.Details) != 1 || a.Problem.Details[0].Target != "Team/Drawings" {
		t.Errorf("artifact is %s: %+v", a.Status, a.Problem)
	}
	w.same("the other library", was["Documents"], w.look(w.siteLibrary("Documents")))
}

// A point of a site is browsed by its libraries, and files and folders of them are
// restored beside the live ones.
func TestASiteIsBrowsed(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	point := w.backUp(unit)
	root, err := w.engine.Item(w.ctx, point, backup.ItemRef{})
	w.must(err)
	if root.Kind != backup.Folder || root.Parent != "" || root.Path != "" {
		t.Errorf("the site is %+v", root)
	}
	libraries, err := w.children(point, root.ID)
	w.must(err)
	var names []string
	for _, l := range libraries {
		if l.Parent != root.ID || l.Kind != backup.Folder {
			t.Errorf("library %+v", l)
		}
		again, err := w.engine.Item(w.ctx, point, backup.RefOf(l.ID))
		w.must(err)
		if again != l {
			t.Errorf("by its key it is %+v, by its place %+v", again, l)
		}
		below, err := w.children(point, l.ID)
		w.must(err)
		for _, item := range below {
			names = append(names, item.Path)
			if item.Parent != l.ID {
				t.Errorf("%s is in %s, not in its library", item.Path, item.Parent)
			}
			again, err := w.engine.Item(w.ctx, point, backup.RefOf(item.ID))
			w.must(err)
			if again != item {
				t.Errorf("by its key it is %+v, by its place %+v", again, item)
			}
		}
	}
	if want := []string{"Documents/folder", "Documents/a.txt", "Team/Drawings/a.txt", "Team/Drawings/c.txt"}; !slices.Equal(names, want) {
		t.Errorf("the libraries hold %q, want %q", names, want)
	}

	s := w.restoreItems(point, "Documents/folder")
	for _, a := range w.items(s) {
		if a.Status != backup.ArtifactSucceeded || !strings.HasPrefix(a.RestoredPath, "/Documents/Restored ") {
			t.Errorf("artifact = %+v", a)
		}
	}
	restored := 0
	for at := range w.look(w.siteLibrary("Documents")) {
		if strings.HasPrefix(at, "Restored ") && strings.HasSuffix(at, "/folder/b.txt") {
			restored++
		}
	}
	if restored != 1 {
		t.Errorf("the library holds %v", w.look(w.siteLibrary("Documents")))
	}
}

// Of a library that could not be read at the time of the point nobody knows what was
// in it then: nothing is taken away from it.
func TestASiteRestoreTakesNothingFromALibraryThatWasNotRead(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	first := w.backUp(unit)
	was := w.keptSite(first)
	bad := string(w.partOf(first, "Documents").Drive)
	f.set(func(r *http.Request) (int, string) {
		if strings.Contains(r.URL.Path, "/drives/"+bad) {
			return http.StatusLocked, says("resourceLocked")
		}
		return 0, ""
	})
	w.put(w.siteLibrary("Documents"), map[string]string{"unseen.txt": "never read"})
	w.put(w.siteLibrary("Team/Drawings"), map[string]string{"seen.txt": "read"})
	point := w.backUp(unit)
	f.set(nil)
	w.put(w.siteLibrary("Team/Drawings"), map[string]string{"late.txt": "late"})
	w.must(os.Remove(w.siteLibrary("Documents") + "/a.txt"))
	w.backUp(unit)

	a := w.restored(point, backup.DestinationInPlace)
	got := w.look(w.siteLibrary("Documents"))
	if got["a.txt"] != was["Documents"]["a.txt"] || got["unseen.txt"] == "" {
		t.Errorf("the library that was not read holds %v", got)
	}
	if a.Problem == nil || !slices.ContainsFunc(a.Problem.Details, func(d backup.Detail) bool { return d.Target == "Documents/unseen.txt" }) {
		t.Errorf("the artifact says %+v", a.Problem)
	}
	if got := w.look(w.siteLibrary("Team/Drawings")); got["seen.txt"] == "" || got["late.txt"] != "" {
		t.Errorf("the other library holds %v", got)
	}
}
