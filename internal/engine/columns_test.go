package engine

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

const clients = `{"columns":[{"name":"Client","text":{}},{"name":"Due","dateTime":{}},{"name":"Tags","choice":{"choices":["a","b"],"displayAs":"checkBoxes"}},{"name":"Sum","calculated":{"formula":"=1"}}],"contentTypes":[{"name":"Contract"}]}`

// withColumns is newSite with libraries that have columns.
func withColumns(t *testing.T, between ...func(http.Handler) http.Handler) (*world, backup.Unit) {
	t.Helper()
	w, unit := newSite(t, twoLibraries, between...)
	for name := range twoLibraries {
		w.must(os.WriteFile(w.siteLibrary(name)+".json", []byte(clients), 0o644))
	}
	return w, unit
}

// libraryNow is a library of the site, or of one below it, as it is at the source.
func (w *world) libraryNow(name string) drive.Drive {
	w.t.Helper()
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	at := site.ID
	if below, own, ok := strings.Cut(name, "/"); ok {
		sites, err := w.source.Subsites(w.ctx, site.ID)
		w.must(err)
		i := slices.IndexFunc(sites, func(s drive.Site) bool { return s.Name == below })
		at, name = sites[i].ID, own
	}
	all, err := w.source.Libraries(w.ctx, at)
	w.must(err)
	i := slices.IndexFunc(all, func(d drive.Drive) bool { return d.Name == name })
	if i < 0 {
		w.t.Fatalf("there is no library %s", name)
	}
	return all[i]
}

func columnsIn(w *world, kept string) string {
	w.t.Helper()
	var f drive.ItemFile
	w.must(json.Unmarshal([]byte(kept), &f))
	says := []string{typeName(&f)}
	for _, name := range []string{"Title", "Client", "Due", "Tags"} {
		if v := cell(f.Fields[name]); v != "" {
			says = append(says, v)
		}
	}
	return strings.Join(says, " ")
}

// setColumns gives a file of a library columns.
func (w *world) setColumns(library, at string, write drive.ListWrite) {
	w.t.Helper()
	d := w.libraryNow(library)
	item, err := w.source.ItemAt(w.ctx, d.ID, at)
	w.must(err)
	it, err := w.source.ColumnsOf(w.ctx, d.ID, item.ID)
	w.must(err)
	lists, err := w.source.Lists(w.ctx, d.SiteID)
	w.must(err)
	i := slices.IndexFunc(lists, func(l drive.List) bool { return l.IsOf(d) })
	w.must(w.source.PatchListItem(w.ctx, lists[i].ListRef, it.ID, write, ""))
}

func fields(all map[string]any) drive.ListWrite { return drive.ListWrite{Fields: all} }

// keptColumns is what a point holds of the columns of a library's files, by their paths.
func (w *world) keptColumns(p backup.Point, library string) map[string]string {
	w.t.Helper()
	part, of := w.partOf(p, library+" (columns)"), w.partOf(p, library)
	if part.Kind != backup.FileColumns || part.Library != of.Drive {
		w.t.Errorf("the columns are %+v, of %+v", part, of)
	}
	all := map[string]string{}
	for n, err := range w.vault.Walk(w.ctx, part.Tree) {
		w.must(err)
		if n.Kind == backup.Folder || n.Name == schemaName {
			continue
		}
		var f drive.ItemFile
		w.must(json.Unmarshal([]byte(w.content(n.Content)), &f))
		at, ok, err := w.vault.Path(w.ctx, of.Tree, f.File)
		w.must(err)
		if !ok {
			at = "? " + n.Name
		}
		all[at] = columnsIn(w, w.content(n.Content))
	}
	return all
}

func (w *world) wantColumns(what string, got, want map[string]string) {
	w.t.Helper()
	if !maps.Equal(got, want) {
		w.t.Errorf("%s: the columns are %q, want %q\n%s", what, got, want, w.log)
	}
}

// The columns of files and folders are in the point beside them. A column that changed
// alone makes a point, and nothing is downloaded for it, nor is any file's column read
// by itself.
func TestColumnsOfFilesAreBackedUp(t *testing.T) {
	w, unit := withColumns(t)
	w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "ACME", "Tags@odata.type": "Collection(Edm.String)", "Tags": []string{"a", "b"}}))
	w.setColumns("Documents", "folder", fields(map[string]any{"Client": "of the folder"}))
	var single atomic.Int32
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/listItem") || strings.Contains(r.URL.Path, "/lists/") && strings.Contains(r.URL.Path, "/items/") && path.Base(r.URL.Path) != "delta" {
			single.Add(1)
		}
	})
	first := w.backUp(unit)
	if lacks := w.lacking(first); len(lacks) > 0 || w.unit(unit.ID).Problem != nil || first.Files != 4 {
		t.Errorf("the point lacks %q and counts %d files, the unit says %+v\n%s", lacks, first.Files, w.unit(unit.ID).Problem, w.log)
	}
	want := map[string]string{"a.txt": "Document ACME a; b", "folder": "Folder of the folder", "folder/b.txt": "Document"}
	w.wantColumns("the first point", w.keptColumns(first, "Documents"), want)
	w.wantColumns("the first point", w.keptColumns(first, "Team/Drawings"), map[string]string{"a.txt": "Document", "c.txt": "Document"})
	if again := w.backUp(unit); again.Tree != first.Tree {
		t.Error("a point without changes has another tree")
	}

	w.onRequest(nil)
	w.setColumns("Documents", "folder/b.txt", fields(map[string]any{"Title": "B", "Due": "2026-05-01T00:00:00Z"}))
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/listItem") || strings.Contains(r.URL.Path, "/lists/") && strings.Contains(r.URL.Path, "/items/") && path.Base(r.URL.Path) != "delta" {
			single.Add(1)
		}
	})
	w.reset()
	second := w.backUp(unit)
	w.wantAsked("download", 0)
	want["folder/b.txt"] = "Document B 2026-05-01T00:00:00Z"
	w.wantColumns("the second point", w.keptColumns(second, "Documents"), want)
	if single.Load() > 0 {
		t.Errorf("the columns of %d files were read by themselves", single.Load())
	}
	if a, b := w.partOf(first, "Team/Drawings (columns)"), w.partOf(second, "Team/Drawings (columns)"); a.Tree != b.Tree {
		t.Error("columns without changes have another tree")
	}
	for _, at := range []string{"Documents (columns)", "Documents (columns)/schema.json"} {
		if _, err := w.engine.Item(w.ctx, second, backup.RefOf(backup.ItemID(at))); err == nil {
			t.Errorf("%s is shown", at)
		}
	}

	// A file renamed and one that went; and all of it compared.
	w.must(os.Rename(w.siteLibrary("Documents")+"/a.txt", w.siteLibrary("Documents")+"/z.txt"))
	w.must(os.RemoveAll(w.siteLibrary("Documents") + "/folder"))
	third := w.backUp(unit)
	want = map[string]string{"z.txt": want["a.txt"]}
	w.wantColumns("the third point", w.keptColumns(third, "Documents"), want)
	w.reconcileAt(unit)
	fourth := w.backUp(unit)
	w.wantColumns("the fourth point", w.keptColumns(fourth, "Documents"), want)
	if lacks := w.lacking(fourth); len(lacks) > 0 {
		t.Errorf("the point lacks %q", lacks)
	}
	if found, err := w.vault.Verify(w.ctx, []string{first.Tree, fourth.Tree}, vault.VerifyOptions{Share: 1}); err != nil || found.Err() != nil {
		t.Error(err, found.Err())
	}
}

// What goes wrong with the columns stops nothing else, and is named; the columns stay as
// they were.
func TestColumnsOfAHostileSource(t *testing.T) {
	kept := map[string]string{"a.txt": "Document ACME", "folder": "Folder", "folder/b.txt": "Document"}
	answers := func(part string, status int, body func(r *http.Request) string) func(id string) func(*http.Request) (int, string) {
		return func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, id+part) {
					return status, body(r)
				}
				return 0, ""
			}
		}
	}
	code := func(code string) func(*http.Request) string {
		return func(*http.Request) string { return says(code) }
	}
	for _, tt := range []struct {
		name  string
		when  func(id string) func(*http.Request) (int, string)
		named []string
	}{
		{"denied", answers("", http.StatusForbidden, code("accessDenied")), []string{"Documents (columns) accessDenied true"}},
		{"denied as if it were not there", answers("", http.StatusNotFound, code("itemNotFound")), []string{"Documents (columns) ContentNotFound true"}},
		{"all is listed as deleted", answers("/items/delta", http.StatusOK, func(r *http.Request) string {
			return `{"value":[{"id":"1","deleted":{}},{"id":"2","deleted":{}},{"id":"3","deleted":{}}],"@odata.deltaLink":"` + deltaAt(r) + `"}`
		}), []string{"Documents (columns)/1-999/1 PlaceUnknown true", "Documents (columns)/1-999/2 PlaceUnknown true", "Documents (columns)/1-999/3 PlaceUnknown true"}},
		{"no fields, and no file that is one", answers("/items/delta", http.StatusOK, func(r *http.Request) string {
			return `{"value":[{"id":"1","eTag":"x","driveItem":{"id":"../x"}},{"id":"2","eTag":"x","driveItem":"x"}],"@odata.deltaLink":"` + deltaAt(r) + `"}`
		}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := withColumns(t, f.between)
			w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "ACME"}))
			first := w.backUp(unit)
			f.set(tt.when(string(w.partOf(first, "Documents (columns)").Drive)))
			w.put(w.siteLibrary("Documents"), map[string]string{"folder/b.txt": "changed"})
			second := w.backUp(unit)
			w.wantColumns("the point", w.keptColumns(second, "Documents"), kept)
			w.same("the library", w.look(w.siteLibrary("Documents")), w.keptSite(second)["Documents"])
			got := w.lacking(second)
			for i, name := range got {
				at, rest, _ := strings.Cut(name, ".json")
				if number, _, ok := strings.Cut(path.Base(at), "-"); ok && rest != "" {
					at = path.Join(path.Dir(at), number)
				}
				got[i] = at + rest
			}
			if !slices.Equal(got, tt.named) {
				t.Errorf("the point names %q, want %q\n%s", got, tt.named, w.log)
			}
			f.set(nil)
			w.reconcileAt(unit)
			third := w.backUp(unit)
			w.wantColumns("the point after", w.keptColumns(third, "Documents"), kept)
			if got := w.lacking(third); len(got) > 0 {
				t.Errorf("the point after names %q\n%s", got, w.log)
			}
		})
	}
}
