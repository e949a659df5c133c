package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// sitePages is the folder of the site's pages, or of one below it.
func (w *world) sitePages(below string) string {
	at := filepath.Join(w.dir, "sites", "root")
	if below != "" {
		at = filepath.Join(at, "sites", below)
	}
	return filepath.Join(at, "pages")
}

func (w *world) putPages(below string, files map[string]string) {
	w.t.Helper()
	w.must(os.MkdirAll(w.sitePages(below), 0o755))
	w.put(w.sitePages(below), files)
}

// aPage is a page with a text on it, and a part of the type that is given.
func aPage(title, text, part string) string {
	return fmt.Sprintf(`{"title":%q,"description":"of %s","canvasLayout":{"horizontalSections":[{"layout":"oneColumn","id":"1","columns":[{"id":"1","width":12,"webparts":[
		{"@odata.type":"#microsoft.graph.textWebPart","id":"6f9230af-2a98-4952-b205-9ede4f9ef548","innerHtml":"<p>%s</p>"},
		{"@odata.type":"#microsoft.graph.standardWebPart","id":"9d0ba2b7-4a2a-4f0a-8d4d-0bbc0eb20b18","webPartType":%q,"data":{"title":"part"}}]}]}]}}`, title, title, text, part)
}

const (
	imagePart  = "d1d91016-032f-456d-98a4-721247c305e8"
	eventsPart = "20745d7d-8581-4a6c-bf26-68279bc123fc" // none that the service makes
)

// keptPages is what a point holds of the pages of a site: their titles, and whether they
// hold a text, by the names of the files.
func (w *world) keptPages(p backup.Point, name string) map[string]string {
	w.t.Helper()
	part := w.partOf(p, name)
	if part.Kind != backup.SitePages {
		w.t.Errorf("the pages are %+v", part)
	}
	all := map[string]string{}
	for n, err := range w.vault.Walk(w.ctx, part.Tree) {
		if w.must(err); n.Kind == backup.Folder {
			continue
		}
		all[n.Path] = pageIs(w, w.content(n.Content))
	}
	return all
}

func pageIs(w *world, kept string) string {
	w.t.Helper()
	var page struct {
		Title  string
		Layout json.RawMessage `json:"canvasLayout"`
	}
	w.must(json.Unmarshal([]byte(kept), &page))
	_, text, _ := strings.Cut(string(page.Layout), "<p>")
	text, _, _ = strings.Cut(text, "</p>")
	return page.Title + ": " + text
}

func (w *world) wantPages(what string, got, want map[string]string) {
	w.t.Helper()
	if !maps.Equal(got, want) {
		w.t.Errorf("%s: the pages are %q, want %q\n%s", what, got, want, w.log)
	}
}

// Modern pages are a part of a site's point, with what is on them. A visit lists them,
// and reads those that changed.
func TestPagesOfASiteAreBackedUp(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.putPages("", map[string]string{"Home.json": aPage("Home", "hello", imagePart), "News.json": aPage("News", "news", eventsPart), "old.aspx": "<%@ Page %>"})
	w.putPages("Team", map[string]string{"Below.json": aPage("Below", "below", imagePart)})
	first := w.backUp(unit)
	if lacks := w.lacking(first); len(lacks) > 0 || w.unit(unit.ID).Problem != nil {
		t.Errorf("the point lacks %q, the unit says %+v\n%s", lacks, w.unit(unit.ID).Problem, w.log)
	}
	want := map[string]string{"Home.aspx.json": "Home: hello", "News.aspx.json": "News: news", "old.aspx.json": "old: "}
	w.wantPages("the first point", w.keptPages(first, "Site Pages"), want)
	w.wantPages("the first point", w.keptPages(first, "Team/Site Pages"), map[string]string{"Below.aspx.json": "Below: below"})

	var read atomic.Int32 // they are read side by side
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/pages/") && r.URL.Query().Get("$expand") != "" {
			read.Add(1)
		}
	})
	if again := w.backUp(unit); again.Tree != first.Tree || read.Load() != 0 {
		t.Errorf("a point without changes is another, or read %d pages", read.Load())
	}
	w.putPages("", map[string]string{"Home.json": aPage("Home", "hello again", imagePart), "New.json": aPage("New", "new", imagePart)})
	w.must(os.Remove(w.sitePages("") + "/News.json"))
	read.Store(0)
	second := w.backUp(unit)
	delete(want, "News.aspx.json")
	want["Home.aspx.json"], want["New.aspx.json"] = "Home: hello again", "New: new"
	w.wantPages("the second point", w.keptPages(second, "Site Pages"), want)
	if n := read.Load(); n > 4 { // the two, and what is gone is asked for twice
		t.Errorf("%d pages were read", n)
	}
	if lacks := w.lacking(second); len(lacks) > 0 {
		t.Errorf("the second point lacks %q", lacks)
	}
	if found, err := w.vault.Verify(w.ctx, []string{first.Tree, second.Tree}, vault.VerifyOptions{Share: 1}); err != nil || found.Err() != nil {
		t.Error(err, found.Err())
	}
}

// What goes wrong with the pages stops nothing else, and is named; they stay as they
// were.
func TestPagesOfAHostileSource(t *testing.T) {
	kept := map[string]string{"Home.aspx.json": "Home: hello", "News.aspx.json": "News: news"}
	is := func(r *http.Request, part string) bool { return strings.Contains(r.URL.Path, part) }
	for _, tt := range []struct {
		name  string
		when  func(r *http.Request) (int, string)
		named []string
	}{
		{"denied", func(r *http.Request) (int, string) {
			if is(r, "/pages/") {
				return http.StatusForbidden, says("accessDenied")
			}
			return 0, ""
		}, []string{"Site Pages accessDenied true"}},
		{"none is listed, and all are there", func(r *http.Request) (int, string) {
			if strings.HasSuffix(r.URL.Path, "/pages/microsoft.graph.sitePage") {
				return http.StatusOK, `{"value":[]}`
			}
			return 0, ""
		}, []string{"Home.aspx.json", "News.aspx.json"}},
		{"pages without ids, and no list", func(r *http.Request) (int, string) {
			if strings.HasSuffix(r.URL.Path, "/pages/microsoft.graph.sitePage") {
				return http.StatusOK, `{"value":[{"name":"x.aspx"},{"id":7}]}`
			}
			return 0, ""
		}, nil},
		{"no layout", func(r *http.Request) (int, string) {
			if is(r, "/pages/") && r.URL.Query().Get("$expand") != "" {
				return http.StatusOK, `{"id":"` + strings.Split(r.URL.Path, "/")[5] + `","name":"Home.aspx"}`
			}
			return 0, ""
		}, []string{"Home.aspx.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := newSite(t, twoLibraries, f.between)
			w.putPages("", map[string]string{"Home.json": aPage("Home", "hello", imagePart), "News.json": aPage("News", "news", imagePart)})
			w.backUp(unit)
			f.set(tt.when)
			w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed"})
			if tt.name == "no layout" {
				w.putPages("", map[string]string{"Home.json": aPage("Home", "changed", imagePart)})
			}
			second := w.backUp(unit)
			w.wantPages("the point", w.keptPages(second, "Site Pages"), kept)
			w.same("the library", w.look(w.siteLibrary("Documents")), w.keptSite(second)["Documents"])
			got := w.lacking(second)
			for _, name := range tt.named {
				if !slices.ContainsFunc(got, func(lacks string) bool { return strings.Contains(lacks, name) }) {
					t.Errorf("the point names %q, want %q\n%s", got, tt.named, w.log)
				}
			}
			if len(got) == 0 {
				t.Error("the point names nothing")
			}
			f.set(nil)
			third := w.backUp(unit)
			if tt.name == "pages without ids, and no list" {
				w.reconcileAt(unit)
				third = w.backUp(unit)
			}
			if got := w.lacking(third); len(got) > 0 {
				t.Errorf("the point after names %q\n%s", got, w.log)
			}
		})
	}
}
