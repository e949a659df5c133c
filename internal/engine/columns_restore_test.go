package engine

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
)

// columns are those that people see of a file of a library, or why there are none.
func (w *world) columns(library, at string) string {
	w.t.Helper()
	d := w.libraryNow(library)
	item, err := w.source.ItemAt(w.ctx, d.ID, at)
	if err != nil {
		return err.Error()
	}
	it, err := w.source.ColumnsOf(w.ctx, d.ID, item.ID)
	w.must(err)
	return columnsIn(w, string(it.JSON))
}

// noted is withColumns with columns of files that are set, and a point of them. It
// returns what a file's columns are in the point, by library and path.
func noted(t *testing.T, between ...func(http.Handler) http.Handler) (*world, backup.Unit, backup.Point, map[[2]string]string) {
	t.Helper()
	w, unit := withColumns(t, between...)
	w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "ACME", "Tags@odata.type": "Collection(Edm.String)", "Tags": []string{"a", "b"}}))
	w.setColumns("Documents", "folder", fields(map[string]any{"Client": "of the folder"}))
	lists, err := w.source.Lists(w.ctx, w.libraryNow("Documents").SiteID)
	w.must(err)
	for _, l := range lists {
		if l.IsOf(w.libraryNow("Documents")) {
			schema, err := w.source.Schema(w.ctx, l.ListRef)
			w.must(err)
			write := fields(map[string]any{"Title": "B", "Due": "2026-05-01T00:00:00Z"})
			write.ContentType = typeNamed(&schema, "Contract")
			w.setColumns("Documents", "folder/b.txt", write)
		}
	}
	w.setColumns("Team/Drawings", "c.txt", fields(map[string]any{"Client": "below"}))
	point := w.backUp(unit)
	return w, unit, point, map[[2]string]string{
		{"Documents", "a.txt"}: "Document ACME a; b", {"Documents", "folder"}: "Folder of the folder", {"Documents", "folder/b.txt"}: "Contract B 2026-05-01T00:00:00Z",
		{"Team/Drawings", "a.txt"}: "Document", {"Team/Drawings", "c.txt"}: "Document below",
	}
}

// sameColumns compares the columns of files with those wanted, in libraries with a
// suffix.
func (w *world) sameColumns(what string, want map[[2]string]string, suffix string) {
	w.t.Helper()
	for at, columns := range want {
		if got := w.columns(at[0]+suffix, at[1]); got != columns {
			w.t.Errorf("%s: the columns of %q are %q, want %q\n%s", what, at, got, columns, w.log)
		}
	}
}

// harmColumns changes columns of files, and has a file go.
func (w *world) harmColumns(unit backup.Unit) {
	w.t.Helper()
	w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "somebody else", "Title": "of later"}))
	w.setColumns("Team/Drawings", "a.txt", fields(map[string]any{"Client": "of later"}))
	w.must(os.RemoveAll(w.siteLibrary("Documents") + "/folder"))
	w.backUp(unit)
}

// In place, changed columns have their values again, and a file that is made anew has
// its own; the files keep their times. What is killed on the way converges.
func TestColumnsAreRestoredInPlace(t *testing.T) {
	for _, after := range []int{0, 2} {
		w, unit, point, want := noted(t)
		was := w.look(w.siteLibrary("Documents"))
		w.harmColumns(unit)
		a := w.activate(point, backup.DestinationInPlace)
		if after > 0 {
			w.stopAtWrite(after, a)
		}
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
			t.Errorf("after %d writes: the artifact is %s: %+v\n%s", after, a.Status, a.Problem, w.log)
		}
		if after == 0 && (a.Problem == nil || !slices.ContainsFunc(a.Problem.Details, func(d backup.Detail) bool {
			return strings.HasSuffix(d.Target, " (columns)") && strings.Contains(d.Message, "Given their values again")
		})) {
			t.Errorf("the artifact says %+v", a.Problem)
		}
		w.sameColumns("restored", want, "")
		w.same("the library", was, w.look(w.siteLibrary("Documents")))
		if after > 0 {
			continue
		}
		var writes atomic.Int32
		w.onRequest(func(r *http.Request) {
			if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/token") {
				writes.Add(1)
			}
		})
		if a := w.restored(point, backup.DestinationInPlace); writes.Load() > 0 || a.Problem != nil {
			t.Errorf("once more it wrote %d times, and said %+v", writes.Load(), a.Problem)
		}
	}
}

// To a new place the files have their columns, of the kinds of before.
func TestColumnsAreRestoredToANewPlace(t *testing.T) {
	for _, after := range []int{0, 3} {
		w, unit, point, want := noted(t)
		w.harmColumns(unit)
		w.must(os.WriteFile(w.siteLibrary("Documents")+".json", []byte(`{}`), 0o644)) // the library has no columns any more
		a := w.activate(point, backup.DestinationNew)
		if after > 0 {
			w.stopAtWrite(after, a)
		}
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
			t.Errorf("after %d writes: the artifact is %s: %+v\n%s", after, a.Status, a.Problem, w.log)
		}
		w.sameColumns("restored", want, "R0")
	}
}

// What is chosen of a library has its columns, and the live files keep theirs.
func TestColumnsOfChosenFilesAreRestored(t *testing.T) {
	w, _, point, want := noted(t)
	w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "of now"}))
	s := w.restoreItems(point, "Documents/folder", "Documents/a.txt")
	for _, a := range w.items(s) {
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem) // once more
		if a.Status != backup.ArtifactSucceeded {
			t.Errorf("the artifact is %s: %+v\n%s", a.Status, a.Problem, w.log)
		}
	}
	place := "Restored " + time.Now().UTC().Format(time.DateOnly) + " R0/"
	for at, columns := range want {
		if at[0] != "Documents" {
			continue
		}
		if got := w.columns("Documents", place+at[1]); got != columns {
			t.Errorf("the columns of %s are %q, want %q\n%s", at[1], got, columns, w.log)
		}
	}
	if got := w.columns("Documents", "a.txt"); got != "Document of now a; b" {
		t.Errorf("the columns of the live file are %q", got)
	}
}

// What the source does not take is named with the file, and stops nothing else.
func TestPlayColumnsAreRestoredToAHostileSource(t *testing.T) {
	f := &refusal{}
	w, unit, point, want := noted(t, f.between)
	w.harmColumns(unit)
	list := string(w.partOf(point, "Documents (columns)").Drive)
	f.set(func(r *http.Request) (int, string) {
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, list+"/items/") {
			return http.StatusForbidden, says("accessDenied")
		}
		return 0, ""
	})
	a := w.activate(point, backup.DestinationInPlace)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a = w.artifact(a)
	named := map[string]bool{}
	if a.Problem != nil {
		for _, d := range a.Problem.Details {
			if d.Code == backup.AccessDenied {
				named[d.Target] = true
			}
		}
	}
	if a.Status != backup.ArtifactFailed || len(named) != 3 {
		t.Errorf("the artifact is %s: %+v", a.Status, a.Problem)
	}
	for at, columns := range want {
		if at[0] != "Documents" {
			if got := w.columns(at[0], at[1]); got != columns {
				t.Errorf("the columns of %q are %q, want %q", at, got, columns)
			}
		}
	}
	f.set(nil)
	w.restored(point, backup.DestinationInPlace)
	w.sameColumns("restored again", want, "")

	// An answer that is lost, and a file that is another by now.
	w.harmColumns(unit)
	lost := false
	f.set(func(r *http.Request) (int, string) {
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, list+"/items/") && !lost {
			lost = true
			return http.StatusBadGateway, says("generalException")
		}
		return 0, ""
	})
	w.restored(point, backup.DestinationInPlace)
	w.sameColumns("restored once more", want, "")
}
