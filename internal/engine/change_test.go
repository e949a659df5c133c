package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// restore runs a restore to its end, whatever that is.
func (w *world) restore(p backup.Point, to backup.Destination) backup.Artifact {
	w.t.Helper()
	return w.finish(w.activate(p, to))
}

func (w *world) finish(a backup.Artifact) backup.Artifact {
	w.t.Helper()
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	return a
}

// restoreItems runs the restore of files and folders to its end.
func (w *world) restoreItems(p backup.Point, paths ...string) backup.Session {
	w.t.Helper()
	s := w.granular(p, paths...)
	_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	for _, a := range w.items(s) {
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem)
	}
	s, err = w.catalog.Session(w.ctx, w.tenant, s.ID)
	w.must(err)
	return s
}

// wantDetails compares which items an error names, and by which codes.
func (w *world) wantDetails(what string, p *backup.Problem, code backup.Code, want map[string]backup.Code) {
	w.t.Helper()
	if p == nil {
		p = &backup.Problem{}
	}
	got := map[string]backup.Code{}
	for _, d := range p.Details {
		got[d.Target] = d.Code
	}
	if p.Code != code || fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("%s: %s names %v, want %s with %v\n%s", what, p.Code, got, code, want, w.log)
	}
}

// detail returns what an error says of an item.
func detail(p *backup.Problem, target string) string {
	if p != nil {
		for _, d := range p.Details {
			if d.Target == target {
				return d.Message
			}
		}
	}
	return ""
}

// The service writes into documents as they are uploaded. That is found out
// once, and told, and no reason to upload them again and again.
func TestServiceThatRewritesUploads(t *testing.T) {
	const added = " and more, by the service"
	files := map[string]string{"a.docx": "a document", "b.txt": "a text", "folder/c.xlsx": "a sheet"}
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, files)
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			w.must(os.Remove(filepath.Join(home, "a.docx")))
			w.must(os.Remove(filepath.Join(home, "b.txt")))
			w.must(os.WriteFile(filepath.Join(home, "folder/c.xlsx"), []byte("edited"), 0o644))
			w.faults.Set(func(o *simtenant.Options) { o.Rewrite = added })
			w.reset()
			a := w.restore(point, to)
			if a.Status != backup.ArtifactSucceeded {
				t.Errorf("the artifact is %s", a.Status)
			}
			w.wantDetails("the artifact", a.Problem, backup.RestoredWithRemarks,
				map[string]backup.Code{"a.docx": backup.RestoredChanged, "folder/c.xlsx": backup.RestoredChanged})
			w.wantAsked("upload", 3)
			got := w.look(home)
			if to == backup.DestinationNew {
				got = w.library(unit, a.RestoredSiteName)
			}
			for path, content := range files {
				if !strings.HasSuffix(path, ".txt") {
					content += added
				}
				if !strings.HasPrefix(got[path], digest([]byte(content))) {
					t.Errorf("%s is %s", path, got[path])
				}
			}
			// What it is now is backed up as it is.
			w.same("the next point", w.look(home), w.kept(w.backUp(unit).Tree))
		})
	}
	t.Run("files and folders", func(t *testing.T) {
		w := newWorld(t, "ann")
		w.put(w.home(0), files)
		point := w.backUp(w.protectAll()[0])
		w.faults.Set(func(o *simtenant.Options) { o.Rewrite = added })
		w.reset()
		s := w.restoreItems(point, "folder", "b.txt")
		if s.Status != backup.SessionCompleted || detail(s.Problem, "folder/c.xlsx") == "" || s.Problem.Code != backup.RestoredWithRemarks {
			t.Errorf("the session is %+v, %+v", s, s.Problem)
		}
		w.wantAsked("upload", 2)
	})
	t.Run("killed after the upload", func(t *testing.T) {
		w := newWorld(t, "ann")
		home := w.home(0)
		w.put(home, files)
		unit := w.protectAll()[0]
		point := w.backUp(unit)
		w.must(os.Remove(filepath.Join(home, "a.docx")))
		w.faults.Set(func(o *simtenant.Options) { o.Rewrite = added })
		a := w.activate(point, backup.DestinationInPlace)
		w.faults.Add(simtenant.Fault{Status: 500, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/delta") && w.asked("upload") > 0 }})
		if err := w.try(w.ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
			t.Fatal("the restore was not stopped")
		}
		w.faults.Clear()
		w.reset()
		a = w.finish(a)
		w.wantDetails("the artifact", a.Problem, backup.RestoredWithRemarks, map[string]backup.Code{"a.docx": backup.RestoredChanged})
		w.wantAsked("upload", 0)
	})
}

// A source that states no hashes, and perhaps no tags, is told apart by what
// was read back, or by sizes and times.
func TestPlayRestoreAtSourceWithoutHashes(t *testing.T) {
	for name, options := range map[string]func(*simtenant.Options){
		"no hashes":         func(o *simtenant.Options) { o.OmitHash = true },
		"no hashes or tags": func(o *simtenant.Options) { o.OmitHash, o.OmitCTag = true, true },
	} {
		for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
			t.Run(name+" "+string(to), func(t *testing.T) {
				w := newWorld(t, "ann")
				w.faults.Set(options)
				home := w.home(0)
				w.put(home, oddFiles())
				unit := w.protectAll()[0]
				point := w.backUp(unit)
				want := w.look(home)
				damages["encrypted"](w, home)
				w.reset()
				a := w.restored(point, to)
				if a.Problem != nil {
					t.Errorf("the artifact says %+v", a.Problem)
				}
				got := w.look(home)
				if to == backup.DestinationNew {
					got = w.library(unit, a.RestoredSiteName)
				}
				w.same("the drive", want, got)
				files := 0
				for _, what := range want {
					if !strings.HasPrefix(what, "folder") {
						files++
					}
				}
				if n := w.asked("upload"); n > files {
					t.Errorf("%d uploads of %d files", n, files)
				}
			})
		}
	}
}

// Names that the source takes for one, in one folder or from two: both files
// are there afterwards.
func TestPlayNamesThatTheSourceTakesForOne(t *testing.T) {
	files := map[string]string{
		"A.txt": "upper", "a.txt": "lower", "a (2).txt": "numbered",
		"\u00c4rger": "composed", "A\u0308rger": "decomposed",
		"Folder/x": "in upper", "folder/x": "in lower", "folder/y": "y",
	}
	contents := func(s state, folder string) map[string]bool {
		all := map[string]bool{}
		for at, what := range s {
			if strings.HasPrefix(at, folder) && !strings.HasPrefix(what, "folder") {
				all[what[:40]] = true
			}
		}
		return all
	}
	for _, to := range []string{"in place", "new", "items"} {
		for _, folds := range []bool{true, false} {
			t.Run(fmt.Sprint(to, " ", folds), func(t *testing.T) {
				w := newWorld(t, "ann")
				home := w.home(0)
				w.put(home, files)
				unit := w.protectAll()[0]
				point := w.backUp(unit)
				want := w.look(home)
				damages["emptied"](w, home)
				w.faults.Set(func(o *simtenant.Options) { o.FoldNames = folds })
				var got state
				var p *backup.Problem
				switch to {
				case "items":
					s := w.restoreItems(point, "A.txt", "Folder/x", "folder/x", "a.txt", "\u00c4rger", "folder", "A\u0308rger")
					if s.Status != backup.SessionCompleted {
						t.Errorf("the session is %s, %+v", s.Status, s.Problem)
					}
					got = w.look(home)
					if n := len(contents(got, "")); n != 7 {
						t.Errorf("%d contents are there: %v", n, got)
					}
					return
				case "new":
					a := w.restore(point, backup.DestinationNew)
					got, p = w.library(unit, a.RestoredSiteName), a.Problem
				default:
					a := w.restore(point, backup.DestinationInPlace)
					got, p = w.look(home), a.Problem
				}
				if !folds {
					w.same("the place", want, got)
					w.wantDetails("the artifact", p, "", map[string]backup.Code{})
					return
				}
				w.wantDetails("the artifact", p, backup.RestoredWithRemarks, map[string]backup.Code{
					"a.txt": backup.RestoredChanged, "\u00c4rger": backup.RestoredChanged, "folder": backup.RestoredChanged})
				for path, content := range map[string]string{
					"A.txt": "upper", "a (3).txt": "lower", "a (2).txt": "numbered", "A\u0308rger": "decomposed", "\u00c4rger (2)": "composed",
					"Folder/x": "in upper", "folder (2)/x": "in lower", "folder (2)/y": "y",
				} {
					if !strings.HasPrefix(got[path], digest([]byte(content))) {
						t.Errorf("%s is %q", path, got[path])
					}
				}
				// Again, nothing is left to do, and nothing is made twice.
				if to == "in place" {
					w.reset()
					a := w.restore(point, backup.DestinationInPlace)
					if a.Status != backup.ArtifactSucceeded {
						t.Errorf("again: %s, %+v", a.Status, a.Problem)
					}
					w.wantAsked("upload", 0)
					w.same("the drive", got, w.look(home))
				}
			})
		}
	}
}

// A restore that is killed makes nothing twice under the names that it takes
// instead.
func TestOtherNamesAreTheSameInEachRun(t *testing.T) {
	w := newWorld(t, "ann")
	w.faults.Set(func(o *simtenant.Options) { o.FoldNames = true })
	home := w.home(0)
	w.put(home, map[string]string{"A/one.txt": "1", "A/ONE.txt": "2", "a/One.txt": "3", "a/one.TXT": "4", "B": "5", "b": "6"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	a := w.activate(point, backup.DestinationNew)
	stops := w.stopping(rand.New(rand.NewPCG(5, 8365)), 12, jobs.Restore, string(a.ID), w.engine.restore)
	a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	got := w.library(unit, a.RestoredSiteName)
	for path, content := range map[string]string{"A/one (2).txt": "1", "A/ONE.txt": "2", "a (2)/One.txt": "3", "a (2)/one (2).TXT": "4", "B": "5", "b (2)": "6"} {
		if !strings.HasPrefix(got[path], digest([]byte(content))) {
			t.Errorf("%s is %q", path, got[path])
		}
	}
	if len(got) != 8 || a.Status != backup.ArtifactSucceeded {
		t.Errorf("after %d stops the artifact is %s, and there is %v", stops, a.Status, got)
	}
}

// shifted serves a tenant whose years are others by so many: a file system does
// not keep such times.
func shifted(next http.Handler, by int) http.Handler {
	year := regexp.MustCompile(`"(\d{4})-\d\d-\d\dT`)
	move := func(b []byte, by int) []byte {
		return year.ReplaceAllFunc(b, func(m []byte) []byte {
			n, _ := strconv.Atoi(string(m[1:5]))
			if n < 1000 {
				return m
			}
			return append([]byte(fmt.Sprintf(`"%04d`, n+by)), m[5:]...)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			b, _ := io.ReadAll(r.Body)
			b = move(b, -by)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		b := answer.Body.Bytes()
		if strings.HasPrefix(answer.Header().Get("Content-Type"), "application/json") {
			b = move(b, by)
			answer.Header().Set("Content-Length", strconv.Itoa(len(b)))
		}
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		w.Write(b)
	})
}

func TestPlayTimesFarAway(t *testing.T) {
	for _, by := range []int{-400, 400} { // the calendar repeats itself
		t.Run(fmt.Sprint(2017+by), func(t *testing.T) {
			w := prepare(t, "ann")
			sim, err := simtenant.New(simConfig(w.dir, w.tenant, w.users, w.faults))
			w.must(err)
			server := httptest.NewServer(shifted(w.watch(sim.Handler()), by))
			t.Cleanup(func() { server.Close(); w.must(sim.Close()) })
			w.connect(server.URL)
			home := w.home(0)
			w.put(home, oddFiles())
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			for path, what := range w.kept(point.Tree) {
				if !strings.Contains(what, fmt.Sprint(" ", 2017+by)) && !strings.Contains(what, fmt.Sprint(" ", 2018+by)) {
					t.Fatalf("%s is %s", path, what)
				}
			}
			want := w.look(home)
			damages["encrypted"](w, home)
			w.restored(point, backup.DestinationInPlace)
			w.same("the drive", want, w.look(home))
			a := w.restored(point, backup.DestinationNew)
			w.same("the new place", w.kept(point.Tree), w.library(unit, a.RestoredSiteName))
		})
	}
	t.Run("on a file system", func(t *testing.T) {
		w := newWorld(t, "ann")
		home := w.home(0)
		w.put(home, oddFiles())
		// Not by os.Chtimes, which ends in 2262.
		w.must(exec.Command("touch", "-d", "2300-01-02T03:04:05Z", filepath.Join(home, "plain.txt"), filepath.Join(home, "folder")).Run())
		unit := w.protectAll()[0]
		point := w.backUp(unit)
		want := w.look(home)
		if !strings.Contains(want["plain.txt"], " 2300-") {
			t.Fatalf("the file is %s", want["plain.txt"])
		}
		w.same("the point", want, w.kept(point.Tree))
		damages["emptied"](w, home)
		w.restored(point, backup.DestinationInPlace)
		w.same("the drive", want, w.look(home))
	})
}

// infected has the source keep back the contents of the files of these names.
func (w *world) infected(names ...string) {
	w.t.Helper()
	home, err := w.source.UserDrive(w.ctx, w.users[0].ID)
	w.must(err)
	ids := map[string]bool{}
	for item, err := range w.source.Delta(w.ctx, home.ID, "").All() {
		w.must(err)
		for _, name := range names {
			if item.Name == name {
				ids[string(item.ID)] = true
			}
		}
	}
	w.faults.Add(simtenant.Fault{Status: 403, Body: `{"error":{"code":"malwareDetected","message":"infected"}}`, Match: func(r *http.Request) bool {
		id, ok := contentAt(r.URL.Path)
		return ok && r.Method == http.MethodGet && ids[id]
	}})
}

// What no point holds is not deleted, not written over, and not lost with the
// folder that it is in.
func TestRestoreInPlaceSparesWhatNoPointHolds(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b.txt": "b", "gone.txt": "gone", "old.exe": "old"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	// From now on there are files that cannot be backed up: one in a folder
	// that is to go, one edited, one in the place of another.
	w.must(os.Remove(filepath.Join(home, "gone.txt")))
	w.backUp(unit)
	w.put(home, map[string]string{
		"a.txt": "edited", "old.exe": "edited, and infected", "gone.txt": "another, infected", "new.exe": "infected",
		"extra/deep/new.exe": "infected too", "extra/deep/known.txt": "known", "extra/other/known.txt": "known too",
	})
	w.infected("old.exe", "gone.txt", "new.exe")
	live := w.look(home)
	a := w.restore(point, backup.DestinationInPlace)
	if a.Status != backup.ArtifactFailed {
		t.Errorf("the artifact is %s", a.Status)
	}
	aside := "" // where the file went that was in the place of another
	for _, d := range a.Problem.Details {
		if strings.HasPrefix(d.Target, "gone.txt (moved aside") {
			aside = d.Target
		}
	}
	w.wantDetails("the artifact", a.Problem, backup.ArtifactCannotBeRestored, map[string]backup.Code{
		"old.exe": backup.LeftAsItIs, "new.exe": backup.LeftAsItIs, "extra/deep/new.exe": backup.LeftAsItIs, aside: backup.LeftAsItIs,
	})
	got := w.look(home)
	if got[aside] != live["gone.txt"] {
		t.Errorf("what had the name of gone.txt is %q, was %q", got[aside], live["gone.txt"])
	}
	if said := detail(a.Problem, aside); !strings.Contains(said, `it was "gone.txt"`) {
		t.Errorf("of it the artifact says %q", said)
	}
	for _, at := range []string{"new.exe", "old.exe", "extra/deep/new.exe"} {
		if got[at] != live[at] {
			t.Errorf("%s is %q, was %q", at, got[at], live[at])
		}
	}
	for at, content := range map[string]string{"a.txt": "a", "b.txt": "b", "gone.txt": "gone"} {
		if !strings.HasPrefix(got[at], digest([]byte(content))) {
			t.Errorf("%s is %q", at, got[at])
		}
	}
	for _, at := range []string{"extra/deep/known.txt", "extra/other", "extra/other/known.txt"} {
		if got[at] != "" {
			t.Errorf("%s is still there", at)
		}
	}
	if want := "1 of 4 items could not be restored"; !strings.HasPrefix(a.Problem.Message, want) {
		t.Errorf("the artifact says %q", a.Problem.Message)
	}
}

// What stays in the drive is named by the place where it is when the restore ends,
// and not by that where it was found: the restore moves folders that things are in.
func TestWhatIsElsewhereIsNamedByItsPlace(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"docs/inner/a.txt": "a", "docs/locked.txt": "open in Word", "b.txt": "b"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	w.must(os.Rename(filepath.Join(home, "docs/inner"), filepath.Join(home, "moved")))
	w.put(home, map[string]string{"moved/extra/deep/known.txt": "known", "b.txt": "edited"})
	w.must(os.Rename(filepath.Join(home, "docs/locked.txt"), filepath.Join(home, "moved/extra/locked.txt")))
	locked := "/items/" + string(w.ids(0)["locked.txt"])
	w.faults.Add(simtenant.Fault{Status: 423, Body: `{"error":{"code":"resourceLocked","message":"open"}}`, Match: func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, locked)
	}})
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/createUploadSession") {
			for _, at := range []string{"moved", "docs/inner"} { // wherever it is by now
				if _, err := os.Stat(filepath.Join(home, at, "extra/deep")); err == nil {
					w.must(os.WriteFile(filepath.Join(home, at, "extra/deep/came.txt"), []byte("meanwhile"), 0o644))
				}
			}
		}
	})
	a := w.restore(point, backup.DestinationInPlace)
	w.onRequest(nil)
	w.wantDetails("the artifact", a.Problem, backup.ArtifactCannotBeRestored, map[string]backup.Code{
		"docs/locked.txt": backup.ResourceLocked, "docs/inner/extra/deep/came.txt": backup.LeftAsItIs,
	})
	if said, want := detail(a.Problem, "docs/locked.txt"), `as "docs/inner/extra/locked.txt"`; !strings.Contains(said, want) {
		t.Errorf("of the file that is open the artifact says %q, and not %s", said, want)
	}
	got := w.look(home)
	for _, at := range []string{"docs/inner/a.txt", "docs/inner/extra/locked.txt", "docs/inner/extra/deep/came.txt"} {
		if got[at] == "" {
			t.Errorf("%s is not there", at)
		}
	}
	if got["docs/inner/extra/deep/known.txt"] != "" {
		t.Error("what may go of a folder that stays is still there")
	}
}

// What the point could not read may have been there, so it stays, also when it
// can be read by now.
func TestRestoreInPlaceSparesWhatThePointCouldNotRead(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "new.exe": "infected", "folder/deep/new.exe": "infected too"})
	w.infected("new.exe")
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	w.faults.Clear()
	w.put(home, map[string]string{"a.txt": "edited", "b.txt": "b"})
	w.skew.Add(int64(25 * time.Hour))
	if p := w.backUp(unit); p.Unread != 0 || p.Files != 4 {
		t.Fatalf("the next point has %d files and lacks %d", p.Files, p.Unread)
	}
	live := w.look(home)
	a := w.restore(point, backup.DestinationInPlace)
	if a.Status != backup.ArtifactSucceeded {
		t.Errorf("the artifact is %s", a.Status)
	}
	w.wantDetails("the artifact", a.Problem, backup.RestoredWithRemarks, map[string]backup.Code{"new.exe": backup.LeftAsItIs, "folder/deep/new.exe": backup.LeftAsItIs})
	got := w.look(home)
	if got["new.exe"] != live["new.exe"] || got["folder/deep/new.exe"] != live["folder/deep/new.exe"] || got["b.txt"] != "" || !strings.HasPrefix(got["a.txt"], digest([]byte("a"))) {
		t.Errorf("there is %v", got)
	}
}

// What comes, or is changed, in a folder that is to go while the restore is at
// work stays, also when the restore was killed in between.
func TestRestoreInPlaceSparesWhatCameMeanwhile(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed ", killed), func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, map[string]string{"a.txt": "a", "folder/b.txt": "b"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			w.put(home, map[string]string{
				"a.txt": "edited", "extra/known.txt": "known", "extra/edited.txt": "first", "extra/deep/known.txt": "known", "other/known.txt": "known",
			})
			w.must(os.Remove(filepath.Join(home, "folder/b.txt")))
			a := w.activate(point, backup.DestinationInPlace)
			var once sync.Once
			w.onRequest(func(r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/createUploadSession") {
					return
				}
				once.Do(func() {
					for path, content := range map[string]string{
						"extra/deep/came.txt": "new", "extra/edited.txt": "second", "folder/came.txt": "beside", "extra/fresh/came.txt": "in a new folder",
					} {
						full := filepath.Join(home, path)
						w.must(os.MkdirAll(filepath.Dir(full), 0o755))
						w.must(os.WriteFile(full, []byte(content), 0o644))
					}
				})
			})
			if killed {
				w.faults.Add(simtenant.Fault{Status: 500, Match: func(r *http.Request) bool {
					return w.asked("upload") > 0 && (strings.HasSuffix(r.URL.Path, "/delta") || r.Method == http.MethodDelete)
				}})
				if err := w.try(w.ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
					t.Fatal("the restore was not stopped")
				}
				w.faults.Clear()
			}
			a = w.finish(a)
			w.onRequest(nil)
			if a.Status != backup.ArtifactSucceeded {
				t.Errorf("the artifact is %s", a.Status)
			}
			for _, at := range []string{"extra/deep/came.txt", "extra/edited.txt", "folder/came.txt", "extra/fresh/came.txt"} {
				if detail(a.Problem, at) == "" {
					t.Errorf("the artifact does not say what became of %s: %+v", at, a.Problem)
				}
			}
			got := w.look(home)
			for at, content := range map[string]string{
				"a.txt": "a", "folder/b.txt": "b", "extra/deep/came.txt": "new", "extra/edited.txt": "second", "folder/came.txt": "beside", "extra/fresh/came.txt": "in a new folder",
			} {
				if !strings.HasPrefix(got[at], digest([]byte(content))) {
					t.Errorf("%s is %q", at, got[at])
				}
			}
			for _, at := range []string{"extra/known.txt", "extra/deep/known.txt", "other"} {
				if got[at] != "" {
					t.Errorf("%s is still there", at)
				}
			}
			// It can be restored again once nobody works there.
			w.restored(point, backup.DestinationInPlace)
			if got := w.look(home); len(got) != 3 {
				t.Errorf("in the end there is %v", got)
			}
		})
	}
}

// What a backup does not see because the source does not speak of it is not
// lost with its folder.
func TestPlayRestoreInPlaceWhenTheSourceLeavesItemsOut(t *testing.T) {
	for _, profile := range simtenant.Profiles() {
		switch profile.Name {
		case "a delta that leaves items out", "a delta that leaves items out, and listings 404", "deltas and listings that leave items out", "an id with two kinds",
			"the delta is empty", "login page", "content with a flipped bit always":
		default:
			continue
		}
		t.Run(profile.Name, func(t *testing.T) {
			h := newHostileWorld(t, "ann")
			home := h.home(0)
			h.put(home, hostileFiles())
			unit := h.protectAll()[0]
			point := h.backUp(unit)
			want := h.look(home)
			h.edit(home)
			before := h.look(home)
			h.source.Play(profile, isVictim)
			a := h.restore(point, backup.DestinationInPlace)
			h.source.Stop()
			now := h.look(home)
			h.nothingLost(unit, before, now)
			if a.Status == backup.ArtifactSucceeded && now["keep.txt"] != want["keep.txt"] {
				t.Errorf("keep.txt is %q, and the artifact succeeded", now["keep.txt"])
			}
			if t.Failed() {
				t.Log(h.log.String())
			}
		})
	}
}

// What no backup sees, such as a shortcut, is not lost with its folder either;
// and a listing that fails is no empty one.
func TestRestoreInPlaceListsFoldersBeforeTheyGo(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	w.put(home, map[string]string{"extra/known.txt": "known", "broken/known.txt": "known"})
	drive, err := w.source.UserDrive(w.ctx, backup.ObjectID(unit.Subject))
	w.must(err)
	ids := map[string]string{}
	for item, err := range w.source.Delta(w.ctx, drive.ID, "").All() {
		w.must(err)
		ids[item.Name] = string(item.ID)
	}
	w.faults.Add(simtenant.Fault{Status: 200, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/items/"+ids["extra"]+"/children") },
		Body: `{"value":[{"id":"01SHORTCUT","name":"theirs","size":1,"remoteItem":{"id":"x"},"parentReference":{"id":"` + ids["extra"] + `"}}]}`})
	w.faults.Add(simtenant.Fault{Status: 403, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/items/"+ids["broken"]+"/children") },
		Body: `{"error":{"code":"accessDenied","message":"no"}}`})
	a := w.restore(point, backup.DestinationInPlace)
	if a.Status != backup.ArtifactFailed || detail(a.Problem, "broken") == "" || detail(a.Problem, "extra/theirs") == "" {
		t.Errorf("the artifact is %s, %+v", a.Status, a.Problem)
	}
	if got := w.look(home); got["extra"] == "" || got["broken/known.txt"] == "" {
		t.Errorf("there is %v", got)
	}
}

// A listing that tells the same twice, or what is in another folder, or that a
// folder is in itself, is none by which a folder may go: what came into it
// meanwhile may be what the listing leaves out.
func TestRestoreInPlaceBelievesNoListingThatCannotBe(t *testing.T) {
	for name, lie := range map[string]func(list []map[string]any, folder string) []map[string]any{
		"twice": func(list []map[string]any, folder string) []map[string]any { return append(list[:2], list[:2]...) },
		"of another folder": func(list []map[string]any, folder string) []map[string]any {
			for _, item := range list {
				item["parentReference"] = map[string]any{"id": "01ANOTHER"}
			}
			return list[:2]
		},
		"not counted": func(list []map[string]any, folder string) []map[string]any {
			return slices.DeleteFunc(list, func(item map[string]any) bool { return item["name"] == "came.txt" })
		},
		"in itself": func(list []map[string]any, folder string) []map[string]any {
			return append(list, map[string]any{"id": folder, "name": "extra", "folder": map[string]any{}, "parentReference": map[string]any{"id": folder}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var extra atomic.Value // the folder's id
			extra.Store("")
			w := newWorldBehind(t, func(sim http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					folder := extra.Load().(string)
					lies := strings.HasSuffix(r.URL.Path, "/items/"+folder+"/children")
					if !lies && !strings.HasSuffix(r.URL.Path, "/items/"+folder) || r.Method != http.MethodGet {
						sim.ServeHTTP(rw, r)
						return
					}
					if lies {
						retell(t, sim, rw, r, func(page *struct {
							Value []map[string]any `json:"value"`
						}) {
							slices.SortFunc(page.Value, func(a, b map[string]any) int { return strings.Compare(b["name"].(string), a["name"].(string)) })
							page.Value = lie(page.Value, folder)
						})
						return
					}
					retell(t, sim, rw, r, func(answer *map[string]any) {
						switch name {
						case "of another folder":
							(*answer)["folder"] = map[string]any{"childCount": 2} // it lags behind
						case "not counted":
							(*answer)["folder"] = map[string]any{}
						}
					})
				})
			}, "ann")
			home := w.home(0)
			w.put(home, map[string]string{"a.txt": "a"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			w.put(home, map[string]string{"a.txt": "edited", "extra/known.txt": "known", "extra/other.txt": "known too"})
			extra.Store(string(w.ids(0)["extra"]))
			w.onRequest(func(r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/createUploadSession") {
					w.must(os.WriteFile(filepath.Join(home, "extra/came.txt"), []byte("meanwhile"), 0o644))
				}
			})
			a := w.restore(point, backup.DestinationInPlace)
			w.onRequest(nil)
			if got := w.look(home); got["extra/came.txt"] == "" {
				t.Errorf("what came meanwhile is gone, and the artifact is %s, %+v", a.Status, a.Problem)
			}
			if detail(a.Problem, "extra") == "" && detail(a.Problem, "extra/came.txt") == "" {
				t.Errorf("the artifact is %s, %+v", a.Status, a.Problem)
			}
		})
	}
}

// ownVault opens a vault that only this world has, again if it was closed.
func (w *world) ownVault() {
	w.t.Helper()
	state := w.t.TempDir() // and no cache of what was read before
	v, err := vault.Open(w.ctx, vault.Config{Create: true, Dir: w.dir + "/vault", State: state, Password: "for tests only", Log: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.t.Cleanup(func() { v.Close(context.Background()) })
	w.vault = v
	w.engine.Vaults = func(context.Context, backup.VaultName) (*vault.Vault, error) { return v, nil }
}

// indexes returns the files of a vault's indexes.
func (w *world) indexes() map[string]bool {
	w.t.Helper()
	all := map[string]bool{}
	w.must(filepath.WalkDir(w.dir+"/vault", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(path, w.dir+"/vault/x") {
			all[path] = true
		}
		return err
	}))
	return all
}

// A folder of the point of which the vault has lost what is in it is named; all
// else comes back, and nothing goes that may have been in it.
func TestRestoreFromVaultThatLostAFolder(t *testing.T) {
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, "ann")
			w.ownVault()
			home := w.home(0)
			w.put(home, map[string]string{"folder/a.txt": "a", "folder/b.txt": "b", "other/c.txt": "c", "d.txt": "d"})
			unit := w.protectAll()[0]
			none := w.indexes()
			w.backUp(unit)
			lost := w.indexes()
			w.put(home, map[string]string{"other/c.txt": "c, edited", "d.txt": "d, edited"})
			point := w.backUp(unit)
			w.put(home, map[string]string{"folder/b.txt": "b, edited", "folder/e.txt": "e", "other/c.txt": "c, once more", "f.txt": "f"})
			w.backUp(unit)
			live := w.look(home)
			w.must(w.vault.Close(w.ctx))
			for path := range lost {
				if !none[path] {
					w.must(os.Remove(path))
				}
			}
			w.ownVault()

			a := w.restore(point, to)
			if a.Status != backup.ArtifactFailed || !strings.Contains(detail(a.Problem, "folder/*"), "damaged") {
				t.Errorf("the artifact is %s, %+v", a.Status, a.Problem)
			}
			got := w.look(home)
			if to == backup.DestinationNew {
				got = w.library(unit, a.RestoredSiteName)
				if got["folder"] == "" {
					t.Error("the folder itself is not there")
				}
			} else {
				for _, at := range []string{"folder/a.txt", "folder/b.txt", "folder/e.txt", "f.txt"} {
					if got[at] != live[at] {
						t.Errorf("%s is %q, was %q", at, got[at], live[at])
					}
				}
			}
			for at, content := range map[string]string{"other/c.txt": "c, edited", "d.txt": "d, edited"} {
				if !strings.HasPrefix(got[at], digest([]byte(content))) {
					t.Errorf("%s is %q", at, got[at])
				}
			}
			if open, err := w.catalog.OpenDamage(w.ctx, w.tenant, point.Drive); err != nil || len(open) != 1 || open[0].Path != "folder" {
				t.Errorf("the damage is noted as %+v, %v", open, err)
			}
		})
	}
}

// A damaged content costs its own file, at once, and is named; the others come
// back.
func TestRestoreFromDamagedVault(t *testing.T) {
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, "ann")
			w.ownVault()
			home := w.home(0)
			files := map[string]string{}
			random := rand.NewChaCha8([32]byte{7})
			for i := range 40 {
				b := make([]byte, 10_000)
				random.Read(b)
				files[fmt.Sprintf("f%02d.bin", i)] = string(b)
			}
			w.put(home, files)
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			want := w.look(home)
			w.must(w.vault.Close(w.ctx))
			var pack string
			var size int64
			w.must(filepath.WalkDir(w.dir+"/vault", func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !strings.HasPrefix(path, w.dir+"/vault/p") {
					return err
				}
				if info, err := d.Info(); err == nil && info.Size() > size {
					pack, size = path, info.Size()
				}
				return nil
			}))
			b, err := os.ReadFile(pack)
			w.must(err)
			b[len(b)/2] ^= 1
			w.must(os.Chmod(pack, 0o600))
			w.must(os.WriteFile(pack, b, 0o600))
			w.ownVault()

			damages["emptied"](w, home)
			before := w.engine.Clock()
			a := w.restore(point, to)
			if took := w.engine.Clock().Sub(before); took > time.Minute {
				t.Errorf("it took %v", took)
			}
			if a.Status != backup.ArtifactFailed || len(a.Problem.Details) != 1 || a.Problem.Details[0].Code != backup.VaultDamaged || !strings.HasPrefix(a.Problem.Message, "1 of 40 items") {
				t.Fatalf("the artifact is %s, %+v\n%s", a.Status, a.Problem, w.log)
			}
			bad := a.Problem.Details[0].Target
			got := w.look(home)
			if to == backup.DestinationNew {
				got = w.library(unit, a.RestoredSiteName)
			}
			delete(want, bad)
			w.same("the place", want, got)
			if p := w.unit(unit.ID).Problem; p == nil || p.Code != backup.VaultDamaged || detail(p, bad) == "" {
				t.Errorf("the unit says %+v", p)
			}
			if open, err := w.catalog.OpenDamage(w.ctx, w.tenant, point.Drive); err != nil || len(open) != 1 || open[0].Path != bad || open[0].Content == "" {
				t.Errorf("the damage is noted as %+v, %v", open, err)
			}
		})
	}
}

// Why the source refused something is told in its own words, and each kind of
// refusal in words of ours.
func TestRestoreSaysWhyTheSourceRefused(t *testing.T) {
	said := map[string]string{}
	for name, answer := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"path":    {400, `{"error":{"code":"invalidRequest","message":"The path is too long.","innerError":{"code":"pathIsTooLong"}}}`, "The path is too long (pathIsTooLong)."},
		"label":   {403, `{"error":{"code":"accessDenied","message":"A retention label is applied."}}`, "A retention label is applied (accessDenied)."},
		"session": {409, `{"error":{"code":"nameAlreadyExists","message":"The specified item name already exists."}}`, "An earlier upload of it is still open"},
		"lock":    {423, `{"error":{"code":"resourceLocked","message":"Checked out."}}`, "It is open or checked out"},
	} {
		w := newWorld(t, "ann")
		home := w.home(0)
		w.put(home, map[string]string{"a.txt": "a", "b.txt": "b"})
		point := w.backUp(w.protectAll()[0])
		w.must(os.Remove(filepath.Join(home, "a.txt")))
		w.faults.Add(simtenant.Fault{Status: answer.status, Body: answer.body, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/createUploadSession") }})
		a := w.restore(point, backup.DestinationInPlace)
		got := detail(a.Problem, "a.txt")
		if a.Status != backup.ArtifactFailed || !strings.Contains(got, answer.want) {
			t.Errorf("%s: %s, %q", name, a.Status, got)
		}
		ours, _, _ := strings.Cut(got, " The source says")
		if other := said[ours]; other != "" {
			t.Errorf("%s and %s are both told as %q", name, other, ours)
		}
		said[ours] = name
	}
}

// The log of a long restore counts no more than there is.
func TestRestoreCountsItsProgress(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	for _, damage := range []string{"encrypted", "shuffled", "made again", "emptied"} {
		damages[damage](w, home)
		w.onRequest(func(*http.Request) { w.skew.Add(int64(progressEvery)) })
		w.restored(point, backup.DestinationInPlace)
		w.onRequest(nil)
		if damage == "encrypted" {
			w.put(home, oddFiles())
			point = w.backUp(unit)
		}
	}
	lines := regexp.MustCompile(`restore under way.* done=(\d+) of=(\d+)`).FindAllStringSubmatch(w.log.String(), -1)
	if len(lines) < 10 {
		t.Fatalf("%d lines of progress\n%s", len(lines), w.log)
	}
	for _, line := range lines {
		done, _ := strconv.Atoi(line[1])
		of, _ := strconv.Atoi(line[2])
		if done > of || done == 0 {
			t.Error(line[0])
		}
	}
}

// A file of which the source states a wrong size and hash for good, as it does
// of some photos, is compared by what it holds.
func TestRestoreOfFilesThatTheSourceMisstates(t *testing.T) {
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, "ann")
			w.faults.Set(func(o *simtenant.Options) { o.Misstate = ".heic" })
			home := w.home(0)
			w.put(home, map[string]string{"photo.heic": strings.Repeat("photograph ", 100), "gone.heic": strings.Repeat("another ", 100), "a.txt": "a"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			want := w.look(home)
			w.same("the point", want, w.kept(point.Tree))
			w.must(os.WriteFile(filepath.Join(home, "photo.heic"), []byte("encrypted, and of another length"), 0o644))
			w.must(os.Remove(filepath.Join(home, "gone.heic")))
			w.reset()
			live := w.look(home)
			a := w.restored(point, to)
			if to == backup.DestinationNew {
				if a.Problem != nil {
					t.Errorf("the artifact says %+v", a.Problem)
				}
				w.wantAsked("upload", 3)
				w.same("the place", want, w.library(unit, a.RestoredSiteName))
				return
			}
			// Nobody can say for sure that the vault has what was there, so it
			// stays beside.
			w.wantAsked("upload", 2)
			got := w.look(home)
			if a.Problem == nil || len(a.Problem.Details) != 1 {
				t.Fatalf("the artifact says %+v", a.Problem)
			}
			beside := a.Problem.Details[0].Target
			if !strings.HasPrefix(beside, "photo.heic (moved aside") || got[beside] != live["photo.heic"] {
				t.Errorf("%q is %q, was %q", beside, got[beside], live["photo.heic"])
			}
			delete(got, beside)
			w.same("the place", want, got)
		})
	}
}
