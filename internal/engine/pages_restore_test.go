package engine

import (
	"context"
	"encoding/json"
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

// pagesNow is what the source says of the pages of the site, by their names.
func (w *world) pagesNow() map[string]string {
	w.t.Helper()
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	all := map[string]string{}
	for p, err := range w.source.Pages(w.ctx, site.ID) {
		w.must(err)
		page, err := w.source.Page(w.ctx, site.ID, p.ID)
		w.must(err)
		all[p.Name] = pageIs(w, string(page.JSON))
		if strings.Contains(string(page.JSON), "Here was the web part") {
			all[p.Name] += ", with a part replaced"
		}
		if !page.Published {
			all[p.Name] += ", a draft"
		}
	}
	return all
}

func withPages(t *testing.T, between ...func(http.Handler) http.Handler) (*world, backup.Unit, backup.Point) {
	t.Helper()
	w, unit := newSite(t, twoLibraries, between...)
	w.putPages("", map[string]string{
		"Home.json": aPage("Home", "hello", imagePart), "Gone.json": aPage("Gone", "gone", imagePart), "Odd.json": aPage("Odd", "odd", eventsPart),
		"Draft.json": strings.Replace(aPage("Draft", "draft", imagePart), "{", `{"publishingState":{"level":"checkout","versionId":"0.1"},`, 1),
	})
	return w, unit, w.backUp(unit)
}

// stopAtPage is try of a restore that is killed at its nth write of a page.
func (w *world) stopAtPage(n int, a backup.Artifact) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var writes atomic.Int32
	w.onRequest(func(r *http.Request) {
		if r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/pages") && int(writes.Add(1)) == n {
			time.AfterFunc(5*time.Millisecond, cancel)
		}
	})
	defer w.onRequest(nil)
	w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore)
}

// In place, what was on a page is on it again, and a page that is gone is made anew and
// published, with a text in the place of what cannot be made. Twice, and killed on the
// way, it makes nothing double.
func TestPagesAreRestoredInPlace(t *testing.T) {
	for _, after := range []int{0, 2} {
		w, unit, point := withPages(t)
		w.putPages("", map[string]string{"Home.json": aPage("Home", "defaced", imagePart), "Later.json": aPage("Later", "later", imagePart)})
		w.must(os.Remove(w.sitePages("") + "/Gone.json"))
		w.must(os.Remove(w.sitePages("") + "/Odd.json"))
		w.backUp(unit)
		a := w.activate(point, backup.DestinationInPlace)
		if after > 0 {
			w.stopAtPage(after, a)
		}
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded || a.Problem == nil || !slices.ContainsFunc(a.Problem.Details, func(d backup.Detail) bool {
			return d.Target == "Site Pages/Odd.aspx.json" && strings.Contains(d.Message, "part")
		}) {
			t.Errorf("after %d writes: the artifact is %s: %+v\n%s", after, a.Status, a.Problem, w.log)
		}
		if after == 0 {
			for _, says := range []string{"Made anew: 2 pages", "Written again: 1 page."} {
				if !slices.ContainsFunc(a.Problem.Details, func(d backup.Detail) bool { return d.Target == "Site Pages" && strings.Contains(d.Message, says) }) {
					t.Errorf("the artifact does not say %q: %+v", says, a.Problem)
				}
			}
		}
		want := map[string]string{"Home.aspx": "Home: hello", "Gone.aspx": "Gone: gone", "Odd.aspx": "Odd: odd, with a part replaced", "Draft.aspx": "Draft: draft, a draft", "Later.aspx": "Later: later"}
		w.wantPages("restored", w.pagesNow(), want)
		if after > 0 {
			continue
		}
		w.restored(point, backup.DestinationInPlace)
		w.wantPages("restored again", w.pagesNow(), want)
	}
}

// To a new place each page is made beside the live one, which stays.
func TestPagesAreRestoredToANewPlace(t *testing.T) {
	for _, after := range []int{0, 3} {
		w, _, point := withPages(t)
		w.putPages("", map[string]string{"Home.json": aPage("Home", "changed", imagePart)})
		a := w.activate(point, backup.DestinationNew)
		if after > 0 {
			w.stopAtPage(after, a)
		}
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
			t.Errorf("after %d writes: the artifact is %s: %+v\n%s", after, a.Status, a.Problem, w.log)
		}
		w.wantPages("restored", w.pagesNow(), map[string]string{
			"Home.aspx": "Home: changed", "Gone.aspx": "Gone: gone", "Odd.aspx": "Odd: odd", "Draft.aspx": "Draft: draft, a draft",
			"HomeR0.aspx": "Home: hello", "GoneR0.aspx": "Gone: gone", "OddR0.aspx": "Odd: odd, with a part replaced", "DraftR0.aspx": "Draft: draft, a draft",
		})
	}
}

// A page chosen in a browse session is made anew beside the live one.
func TestAPageIsRestored(t *testing.T) {
	w, _, point := withPages(t)
	w.putPages("", map[string]string{"Home.json": aPage("Home", "changed", imagePart)})
	s := w.restoreItems(point, "Site Pages/Home.aspx.json", "Site Pages/Gone.aspx.json")
	suffix := " Restored " + time.Now().UTC().Format(time.DateOnly) + " R0.aspx"
	for _, a := range w.items(s) {
		if a.Status != backup.ArtifactSucceeded || !strings.HasSuffix(a.RestoredPath, suffix) || a.RestoredKey == "" {
			t.Errorf("the artifact is %+v: %+v\n%s", a, a.Problem, w.log)
		}
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem) // once more
	}
	now := w.pagesNow()
	if len(now) != 6 || now["Home"+suffix] != "Home: hello" || now["Gone"+suffix] != "Gone: gone" || now["Home.aspx"] != "Home: changed" {
		t.Errorf("the pages are %q", now)
	}
}

// Pages that hold what cannot be written, that another has the name of, or that the
// source refuses, are named, and stay as they are. An answer that is lost makes no page
// twice.
func TestPagesAreRestoredToAHostileSource(t *testing.T) {
	f, l := &refusal{}, &losing{}
	w, unit, point := withPages(t, func(sim http.Handler) http.Handler { return l.between(f.between(sim)) })
	w.putPages("", map[string]string{"Odd.json": aPage("Odd", "changed", eventsPart), "Home.json": aPage("Home", "changed", imagePart)})
	w.must(os.Remove(w.sitePages("") + "/Gone.json"))
	w.backUp(unit)
	w.putPages("", map[string]string{"gone.json": aPage("Somebody's", "somebody's", imagePart)})
	f.set(func(r *http.Request) (int, string) {
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/pages/") {
			return http.StatusForbidden, says("accessDenied")
		}
		return 0, ""
	})
	a := w.activate(point, backup.DestinationInPlace)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a = w.artifact(a)
	named := map[string]backup.Code{}
	if a.Problem != nil {
		for _, d := range a.Problem.Details {
			named[d.Target] = d.Code
		}
	}
	if a.Status != backup.ArtifactFailed || named["Site Pages/Odd.aspx.json"] != backup.NotSupported || named["Site Pages/Gone.aspx.json"] != backup.ArtifactCannotBeRestored || named["Site Pages/Home.aspx.json"] != backup.AccessDenied {
		t.Errorf("the artifact is %s: %+v", a.Status, a.Problem)
	}
	f.set(nil)
	w.must(os.Remove(w.sitePages("") + "/gone.json"))
	lost := map[string]bool{}
	l.set(func(r *http.Request) bool {
		at := r.Method + r.URL.Path
		first := r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/pages") && !lost[at]
		lost[at] = true
		return first
	})
	w.run(jobs.Restore, string(w.activate(point, backup.DestinationInPlace).ID), w.engine.restore)
	w.wantPages("restored", w.pagesNow(), map[string]string{"Home.aspx": "Home: hello", "Gone.aspx": "Gone: gone", "Odd.aspx": "Odd: changed", "Draft.aspx": "Draft: draft, a draft"})
}

// What Graph says of a page beside its content makes none of another content.
func TestPagesAreCompared(t *testing.T) {
	a, err := parsePage([]byte(`{"title":"T","canvasLayout":{"a@odata.context":"x","horizontalSections":[{"@odata.etag":"1","webparts":[{"@odata.type":"#microsoft.graph.textWebPart","innerHtml":"h","x":null}]}]}}`))
	b, err2 := parsePage([]byte(`{"title":"T","description":null,"canvasLayout":{"horizontalSections":[{"webparts":[{"@odata.type":"#microsoft.graph.textWebPart","innerHtml":"h"}]}]}}`))
	if err != nil || err2 != nil || len(a.differs(b)) != 0 || len(a.parts) != 0 {
		t.Errorf("%v %v: %v differs from %v in %v", err, err2, a, b, a.differs(b))
	}
	for _, text := range []string{`1`, `{"title":`, `{"name":5}`} {
		if _, err := parsePage(json.RawMessage(text)); !isDamage(err) {
			t.Errorf("%s is %v", text, err)
		}
	}
}
