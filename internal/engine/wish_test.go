package engine

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// askAt has something asked of a session when the source gets the nth request that
// changes content, which is never served, nor ends before release is called.
func (w *world) askAt(n int, session backup.SessionID, ask func(*catalog.Catalog, backup.SessionID) error) (release func()) {
	w.t.Helper()
	return w.askAtOne(func(r *http.Request) bool {
		return r.Method == http.MethodPut || strings.HasSuffix(r.URL.Path, "/createUploadSession") || strings.HasSuffix(r.URL.Path, "/$batch")
	}, n, session, ask)
}

// askAtOne is askAt of other requests.
func (w *world) askAtOne(of func(*http.Request) bool, n int, session backup.SessionID, ask func(*catalog.Catalog, backup.SessionID) error) (release func()) {
	w.t.Helper()
	var seen atomic.Int32
	over := make(chan struct{})
	w.onRequest(func(r *http.Request) {
		if !of(r) {
			return
		}
		if seen.Add(1) != int32(n) {
			return
		}
		if err := ask(w.catalog, session); err != nil {
			w.t.Error(err)
		}
		<-over
		panic(http.ErrAbortHandler) // who asked has gone, and what comes next meets nothing of it
	})
	return func() {
		w.t.Helper()
		w.onRequest(nil)
		close(over)
		if seen := seen.Load(); seen < int32(n) {
			w.t.Fatalf("only %d contents were changed\n%s", seen, w.log)
		}
	}
}

func (w *world) pause(c *catalog.Catalog, s backup.SessionID) error {
	_, err := c.PauseSession(w.ctx, w.tenant, s, backup.Stamp{At: w.engine.Clock()})
	return err
}

func (w *world) resume(s backup.SessionID) {
	w.t.Helper()
	_, err := w.catalog.ResumeSession(w.ctx, w.tenant, s, backup.Stamp{At: w.engine.Clock()})
	w.must(err)
}

func (w *world) cancel(c *catalog.Catalog, s backup.SessionID) error {
	_, err := c.CancelSession(w.ctx, w.tenant, s, backup.Stamp{At: w.engine.Clock()})
	return err
}

// runs runs a job until its handler wants nothing more at once.
func (w *world) runs(kind jobs.Kind, key string, h jobs.Handler) {
	w.t.Helper()
	for range 3 {
		result, err := h(w.ctx, w.claim(kind, key))
		w.must(err)
		if result == jobs.Done {
			return
		}
	}
}

// changed is a drive of which a point was made, and that was changed since: some files
// are gone, some edited, some new, and one that cannot be backed up has another's name.
func changed(t *testing.T) (w *world, point backup.Point, was, is state) {
	w = newWorld(t, "ann")
	w.engine.Transfers = 1
	home := w.home(0)
	files := map[string]string{"z/gone.txt": "gone"}
	for i := range 6 {
		files[fmt.Sprintf("edited/%d.txt", i)] = fmt.Sprint("as it was ", i)
		files[fmt.Sprintf("lost/%d.txt", i)] = fmt.Sprint("lost ", i)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	point = w.backUp(unit)
	was = w.look(home)
	w.must(os.RemoveAll(filepath.Join(home, "lost")))
	w.must(os.Remove(filepath.Join(home, "z/gone.txt")))
	w.backUp(unit)
	more := map[string]string{"new.txt": "new", "z/gone.txt": "of somebody, and infected"}
	for i := range 6 {
		more[fmt.Sprintf("edited/%d.txt", i)] = fmt.Sprint("edited and longer ", i)
	}
	w.put(home, more)
	w.infected("gone.txt")
	return w, point, was, w.look(home)
}

// asides are the names in a folder that something was given to be out of the way.
func asides(s state) (all []string) {
	for at := range s {
		if strings.Contains(at, "(moved aside ") {
			all = append(all, path.Base(at))
		}
	}
	return all
}

func TestARestoreIsPausedAndGoesOn(t *testing.T) {
	w, point, was, _ := changed(t)
	home := w.home(0)
	a := w.activate(point, backup.DestinationInPlace)
	release := w.askAt(4, a.Session, w.pause)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	release()
	paused := w.look(home)
	if left := asides(paused); len(left) > 0 {
		t.Errorf("while it is paused, there is %v", left)
	}
	w.reset()
	w.runs(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Status != backup.ArtifactInProgress || a.Problem != nil || w.asked("all") > 0 {
		t.Errorf("while it is paused, the artifact is %s %+v", a.Status, a.Problem)
	}
	w.same("a paused drive", paused, w.look(home))
	w.resume(a.Session)
	w.runs(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
		t.Errorf("it ends %s %+v\n%s", a.Status, a.Problem, w.log)
	}
	got := w.look(home)
	for at, is := range was {
		if got[at] != is && at != "edited" && at != "lost" {
			t.Errorf("%s is %s, want %s", at, got[at], is)
		}
	}
}

// However a restore was stopped that is then cancelled, it says what it has done.
func TestARestoreIsCancelled(t *testing.T) {
	for name, stop := range map[string]func(w *world, a backup.Artifact){
		"at work": func(w *world, a backup.Artifact) {
			release := w.askAt(4, a.Session, w.cancel)
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			release()
		},
		"paused": func(w *world, a backup.Artifact) {
			release := w.askAt(4, a.Session, w.pause)
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			release()
			w.must(w.cancel(w.catalog, a.Session))
		},
		"killed": func(w *world, a backup.Artifact) {
			w.stopAfter("upload", 4, jobs.Restore, string(a.ID), w.engine.restore)
			w.must(w.cancel(w.catalog, a.Session))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, point, was, is := changed(t)
			home := w.home(0)
			a := w.activate(point, backup.DestinationInPlace)
			stop(w, a)
			w.onRequest(nil)
			w.infected(append(asides(w.look(home)), "gone.txt")...)
			w.runs(jobs.Restore, string(a.ID), w.engine.restore)
			a = w.artifact(a)
			if a.Status != backup.ArtifactFailed || a.Problem == nil || a.Problem.Code != backup.RestoreCancelled {
				t.Fatalf("it ends %s %+v\n%s", a.Status, a.Problem, w.log)
			}
			got := w.look(home)
			if left := asides(got); len(left) > 0 {
				t.Errorf("there is %v; %+v", left, a.Problem)
			}
			if got["new.txt"] != is["new.txt"] {
				t.Errorf("new.txt is %q", got["new.txt"])
			}
			done, open := 0, 0
			for at := range was {
				if !strings.HasSuffix(at, ".txt") || at == "z/gone.txt" {
					continue
				}
				said := detail(a.Problem, at)
				switch {
				case got[at] == was[at]:
					done++
					if !strings.HasPrefix(said, "It was restored before") {
						t.Errorf("of %s, which is restored, it says %q", at, said)
					}
				case got[at] == is[at]:
					open++
					if !strings.HasPrefix(said, "Not restored.") {
						t.Errorf("of %s, which is not restored, it says %q", at, said)
					}
				default:
					t.Errorf("%s is %q", at, got[at])
				}
			}
			if done == 0 || open == 0 {
				t.Errorf("%d are restored, %d not: %+v", done, open, a.Problem)
			}
			s, err := w.catalog.Session(w.ctx, w.tenant, a.Session)
			w.must(err)
			if s.Status != backup.SessionFailed || s.Problem == nil || s.Problem.Code != backup.RestoreCancelled {
				t.Errorf("the session is %s %+v", s.Status, s.Problem)
			}
		})
	}
}

func TestARestoreIsCancelledBeforeItBegins(t *testing.T) {
	w, point, _, is := changed(t)
	a := w.activate(point, backup.DestinationInPlace)
	w.must(w.cancel(w.catalog, a.Session))
	w.runs(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Problem == nil || a.Problem.Message != notBegun().Message {
		t.Errorf("it ends %s %+v", a.Status, a.Problem)
	}
	w.same("the drive", is, w.look(w.home(0)))
}

func TestARestoreToANewPlaceIsCancelled(t *testing.T) {
	w, point, _, is := changed(t)
	a := w.activate(point, backup.DestinationNew)
	release := w.askAt(4, a.Session, w.cancel)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	release()
	w.runs(jobs.Restore, string(a.ID), w.engine.restore)
	a = w.artifact(a)
	if a.Problem == nil || a.Problem.Code != backup.RestoreCancelled || a.RestoredSiteWebURL == "" || !strings.Contains(a.Problem.Message, "had been restored, and ") {
		t.Errorf("it ends %s in %q: %+v", a.Status, a.RestoredSiteWebURL, a.Problem)
	}
	there := 0
	for at := range w.library(w.unit(point.Unit), a.RestoredSiteName) {
		if said := detail(a.Problem, at); said == "" {
			there++
		}
	}
	if there == 0 {
		t.Errorf("nothing is there: %+v", a.Problem)
	}
	w.same("the live drive", is, w.look(w.home(0)))
}

// A cancelled restore comes to its end although its source answers no longer.
func TestARestoreIsCancelledWithoutItsSource(t *testing.T) {
	w, point, _, _ := changed(t)
	a := w.activate(point, backup.DestinationInPlace)
	release := w.askAt(4, a.Session, w.cancel)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	release()
	w.faults.Add(simtenant.Fault{Status: 403, Body: `{"error":{"code":"accessDenied","message":"No longer."}}`, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }})
	w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Problem == nil || a.Problem.Code != backup.RestoreCancelled || len(a.Problem.Details) == 0 ||
		!strings.Contains(a.Problem.Message, "could not be looked at") {
		t.Errorf("it ends %s %+v", a.Status, a.Problem)
	}
}

func TestARestoreOfItemsIsCancelled(t *testing.T) {
	w, point, _, _ := changed(t)
	s := w.granular(point, "edited", "lost")
	w.must(second(w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})))
	items := w.items(s)
	release := w.askAt(4, s.ID, w.cancel)
	w.run(jobs.RestoreItem, string(items[0].ID), w.engine.restoreItem)
	release()
	for _, i := range items {
		w.runs(jobs.RestoreItem, string(i.ID), w.engine.restoreItem)
	}
	s, err := w.catalog.Session(w.ctx, w.tenant, s.ID)
	w.must(err)
	if s.Status != backup.SessionFailed || s.Problem == nil || s.Problem.Code != backup.RestoreCancelled || len(s.Problem.Details) != 2 {
		t.Errorf("the session is %s %+v", s.Status, s.Problem)
	}
}

func TestARestoreOfASiteIsCancelled(t *testing.T) {
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w, unit := newSite(t, map[string]map[string]string{"Documents": {"a.txt": "a", "b.txt": "b", "c/d.txt": "d", "c/e.txt": "e"}})
			w.engine.Transfers = 1
			docs := w.siteLibrary("Documents")
			point := w.backUp(unit)
			w.must(os.RemoveAll(filepath.Join(docs, "c")))
			w.put(docs, map[string]string{"a.txt": "edited a", "b.txt": "edited b"})
			a := w.activate(point, to)
			release := w.askAt(3, a.Session, w.cancel)
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			release()
			w.runs(jobs.Restore, string(a.ID), w.engine.restore)
			if a = w.artifact(a); a.Problem == nil || a.Problem.Code != backup.RestoreCancelled || len(a.Problem.Details) == 0 || !strings.HasPrefix(a.Problem.Details[0].Target, "Documents/") {
				t.Errorf("it ends %s %+v\n%s", a.Status, a.Problem, w.log)
			}
		})
	}
}

// A cancelled restore of a site says what it has done to the columns of files and to pages.
func TestPlayARestoreOfColumnsAndPagesIsCancelled(t *testing.T) {
	ofColumns := func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/lists/")
	}
	ofPages := func(r *http.Request) bool {
		return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/pages")
	}
	// The write at which it is cancelled may take effect, or not.
	for _, tt := range []struct {
		name string
		to   backup.Destination
		of   func(*http.Request) bool
		at   int
		says []string // what is not restored
		done []string // what is
	}{
		{"among the columns, in place", backup.DestinationInPlace, ofColumns, 1,
			[]string{"Documents (columns): Not restored: what the columns hold of ", "Site Pages/Gone.aspx.json: Not restored. It is missing.", "Site Pages/Home.aspx.json: Not restored. It differs."}, nil},
		{"among the pages, in place", backup.DestinationInPlace, ofPages, 1, []string{"Site Pages/Home.aspx.json: Not restored. It differs."}, []string{"Documents (columns)"}},
		{"among the pages, to a new place", backup.DestinationNew, ofPages, 3, []string{"Site Pages/Home.aspx.json: Not restored. It is missing."}, []string{"Documents (columns)", "Gone"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, unit := withColumns(t)
			w.engine.Transfers = 1
			w.putPages("", map[string]string{"Home.json": aPage("Home", "hello", imagePart), "Gone.json": aPage("Gone", "gone", imagePart)})
			w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "ACME"}))
			w.setColumns("Documents", "folder/b.txt", fields(map[string]any{"Client": "Umbrella"}))
			w.setColumns("Documents", "folder", fields(map[string]any{"Client": "Example"}))
			point := w.backUp(unit)
			w.setColumns("Documents", "a.txt", fields(map[string]any{"Client": "another"}))
			w.setColumns("Documents", "folder/b.txt", fields(map[string]any{"Client": "another"}))
			w.setColumns("Documents", "folder", fields(map[string]any{"Client": "another"}))
			w.putPages("", map[string]string{"Home.json": aPage("Home", "defaced", imagePart)})
			w.must(os.Remove(w.sitePages("") + "/Gone.json"))
			a := w.activate(point, tt.to)
			release := w.askAtOne(tt.of, tt.at, a.Session, w.cancel)
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			release()
			w.runs(jobs.Restore, string(a.ID), w.engine.restore)
			a = w.artifact(a)
			if a.Problem == nil || a.Problem.Code != backup.RestoreCancelled {
				t.Fatalf("it ends %s %+v\n%s", a.Status, a.Problem, w.log)
			}
			var says []string
			for _, d := range a.Problem.Details {
				if d.Code == backup.RestoreCancelled {
					says = append(says, d.Target+": "+d.Message)
				}
			}
			for _, want := range tt.says {
				if !slices.ContainsFunc(says, func(said string) bool { return strings.HasPrefix(said, want) }) {
					t.Errorf("it says %q, and not %q", says, want)
				}
			}
			for _, done := range tt.done {
				if slices.ContainsFunc(says, func(said string) bool { return strings.Contains(said, done) }) || !strings.Contains(a.Problem.Message, "had been restored, and") {
					t.Errorf("it says %q of %s, and %q", says, done, a.Problem.Message)
				}
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }
