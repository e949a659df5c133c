package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// stopAt returns a context that ends at the next request whose path ends so, as
// if the process were killed.
func (w *world) stopAt(suffix string) context.Context {
	ctx, cancel := context.WithCancel(w.ctx)
	w.t.Cleanup(cancel)
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, suffix) {
			cancel()
		}
	})
	return ctx
}

// giveUp runs a restore that fails as often as the queue would.
func (w *world) giveUp(kind jobs.Kind, key string, h jobs.Handler) {
	w.t.Helper()
	for failures := 0; ; failures++ {
		j := w.claim(kind, key)
		j.Failures = failures
		if _, err := h(w.ctx, j); err == nil {
			return
		} else if failures > maxRestoreFailures {
			w.t.Fatalf("it does not end: %v", err)
		}
	}
}

// What is beside a point's items is counted apart from them.
func TestRestoreCountsWhatIsLeft(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a"})
	point := w.backUp(w.protectAll()[0])
	w.put(home, map[string]string{"1.txt": "1", "2.txt": "2", "3.txt": "3"})
	w.faults.Add(simtenant.Fault{Status: 423, Match: func(r *http.Request) bool { return r.Method == http.MethodDelete }})
	a := w.restore(point, backup.DestinationInPlace)
	if want := "3 items that the point does not hold could not be moved to the recycle bin; all else"; a.Problem == nil || !strings.HasPrefix(a.Problem.Message, want) {
		t.Errorf("the artifact says %+v", a.Problem)
	}
	w.must(os.Remove(filepath.Join(home, "a.txt")))
	w.faults.Add(simtenant.Fault{Status: 423, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/createUploadSession") }})
	a = w.restore(point, backup.DestinationInPlace)
	if want := "1 of 1 item could not be restored whole; 3 items that the point"; a.Problem == nil || !strings.HasPrefix(a.Problem.Message, want) {
		t.Errorf("the artifact says %+v", a.Problem)
	}
}

// A restore that ends in an error says where it was at work, if anything came
// of it, also when an earlier process did that.
func TestRestoreThatFailsSaysWhereItWasAtWork(t *testing.T) {
	denied := `{"error":{"code":"accessDenied","message":"No longer."}}`
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, map[string]string{"a.txt": "a", "b.txt": "b"})
			point := w.backUp(w.protectAll()[0])
			w.must(os.Remove(filepath.Join(home, "a.txt")))
			w.faults.Add(simtenant.Fault{Status: 403, Body: denied, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }})
			first := w.activate(point, to)
			w.giveUp(jobs.Restore, string(first.ID), w.engine.restore)
			if a := w.finish(first); a.Status != backup.ArtifactFailed || a.RestoredSiteName+a.RestoredSiteWebURL != "" {
				t.Errorf("what could not begin is %s, at %s", a.Status, a.RestoredSiteWebURL)
			}
			w.faults.Clear()
			a := w.activate(point, to)
			stop := w.stopAt("/createUploadSession")
			if err := w.try(stop, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
				t.Fatal("it was not stopped")
			}
			w.onRequest(nil)
			w.faults.Add(simtenant.Fault{Status: 403, Body: denied, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }})
			w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
			a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
			w.must(err)
			if a.Status != backup.ArtifactFailed || a.RestoredSiteWebURL == "" || to == backup.DestinationNew && a.RestoredSiteName != "DocumentsR0" {
				t.Errorf("the artifact is %s, restored to %q at %q", a.Status, a.RestoredSiteName, a.RestoredSiteWebURL)
			}
		})
	}
	t.Run("items", func(t *testing.T) {
		w := newWorld(t, "ann")
		w.engine.Transfers = 1
		w.put(w.home(0), map[string]string{"folder/a.txt": "a", "folder/b.txt": "b"})
		point := w.backUp(w.protectAll()[0])
		s := w.granular(point, "folder")
		_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
		w.must(err)
		a := w.items(s)[0]
		// It goes wrong when a part is there: first for a while, then for good.
		var uploaded atomic.Int32
		w.onRequest(func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/createUploadSession") {
				if uploaded.Add(1) == 2 {
					w.faults.Add(simtenant.Fault{Status: 500, Match: func(*http.Request) bool { return true }})
				}
			}
		})
		if err := w.try(w.ctx, jobs.RestoreItem, string(a.ID), w.engine.restoreItem); err == nil {
			t.Fatal("it did not fail")
		}
		w.onRequest(nil)
		w.faults.Clear()
		w.faults.Add(simtenant.Fault{Status: 403, Body: denied, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }})
		w.giveUp(jobs.RestoreItem, string(a.ID), w.engine.restoreItem)
		if a = w.items(s)[0]; a.Status != backup.ArtifactFailed || !strings.HasSuffix(a.RestoredPath, " R0/folder") || a.RestoredKey == "" {
			t.Errorf("the artifact is %s, restored to %q", a.Status, a.RestoredPath)
		}
	})
}

// Two restores beside one drive never share a library, wherever one is killed.
func TestRestoresToNewPlacesNeverShareOne(t *testing.T) {
	for name, someone := range map[string]bool{"another restore": false, "somebody's library": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, map[string]string{"a.txt": "a"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			w.put(home, map[string]string{"a.txt": "edited"})
			other := w.backUp(unit)
			a := w.activate(point, backup.DestinationNew)
			stop := w.stopAt("/lists") // its name is noted, and no such library made
			w.faults.Add(simtenant.Fault{Status: 500, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/lists") }})
			if err := w.try(stop, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
				t.Fatal("it was not stopped")
			}
			w.onRequest(nil)
			w.faults.Clear()
			places := []string{"DocumentsR0", "DocumentsR1"}
			if someone {
				w.put(home+".DocumentsR0", map[string]string{"b.txt": "of somebody"})
				slices.Reverse(places)
			} else if b := w.restored(other, backup.DestinationNew); b.RestoredSiteName != places[1] {
				t.Errorf("the second was restored to %s", b.RestoredSiteName)
			}
			if a = w.finish(a); a.Status != backup.ArtifactSucceeded || a.RestoredSiteName != places[0] {
				t.Errorf("the first is %s, restored to %s: %+v", a.Status, a.RestoredSiteName, a.Problem)
			}
			w.same("the first's place", w.kept(point.Tree), w.library(unit, places[0]))
			if someone {
				w.same("somebody's", w.look(home+".DocumentsR0"), w.library(unit, places[1]))
			} else {
				w.same("the second's place", w.kept(other.Tree), w.library(unit, places[1]))
			}
		})
	}
}

// A restore in the middle of which somebody puts another library in the place of
// its own does not go on in that.
func TestRestoreGoesOnInItsOwnLibrary(t *testing.T) {
	w := newWorld(t, "ann")
	w.engine.Transfers = 1
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b.txt": "b"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	a := w.activate(point, backup.DestinationNew)
	stop := w.stopAt("/createUploadSession")
	if err := w.try(stop, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
		t.Fatal("it was not stopped")
	}
	w.onRequest(nil)
	w.must(os.Rename(home+".DocumentsR0", home+".Elsewhere"))
	if a = w.finish(a); a.Status != backup.ArtifactSucceeded || a.RestoredSiteName != "DocumentsR0" {
		t.Errorf("the artifact is %s, restored to %s: %+v", a.Status, a.RestoredSiteName, a.Problem)
	}
	w.same("the place", w.kept(point.Tree), w.library(unit, "DocumentsR0"))
}

// A library that was made although the source answered otherwise is used, and
// none is left empty beside it.
func TestLibraryMadeByALostAnswerIsUsed(t *testing.T) {
	for name, answer := range map[string]string{"refused": "", "without an id": `{"displayName":"DocumentsR0"}`} {
		t.Run(name, func(t *testing.T) {
			w := newWorldBehind(t, func(sim http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if !strings.HasSuffix(r.URL.Path, "/lists") {
						sim.ServeHTTP(rw, r)
						return
					}
					sim.ServeHTTP(httptest.NewRecorder(), r)
					if answer == "" {
						rw.WriteHeader(500)
					}
					fmt.Fprint(rw, answer)
				})
			}, "ann")
			w.put(w.home(0), map[string]string{"a.txt": "a"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			if a := w.restored(point, backup.DestinationNew); a.RestoredSiteName != "DocumentsR0" {
				t.Errorf("restored to %s", a.RestoredSiteName)
			}
			w.same("the place", w.kept(point.Tree), w.library(unit, "DocumentsR0"))
			if _, err := os.Stat(w.home(0) + ".DocumentsR1"); err == nil {
				t.Error("there is a second place")
			}
		})
	}
}

// A library in whose place the source names the live drive, or another that is
// backed up, is refused by name and never written to.
func TestRestoreToNewPlaceRefusesAnotherDrive(t *testing.T) {
	var wrong atomic.Pointer[map[string]string] // in what is told of the library
	w := newWorldBehind(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			lie := wrong.Load()
			if lie == nil || !strings.Contains(r.URL.Path, "/sites/") || r.Method != http.MethodGet {
				sim.ServeHTTP(rw, r)
				return
			}
			retell(t, sim, rw, r, func(v *map[string]any) {
				list, _ := (*v)["value"].([]any)
				for _, d := range append(list, *v) {
					if d := d.(map[string]any); d["name"] == "DocumentsR0" {
						for member, value := range *lie {
							d[member] = value
						}
					}
				}
			})
		})
	}, "ann", "bob")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	w.put(w.home(1), map[string]string{"b.txt": "b"})
	units := w.protectAll()
	point := w.backUp(units[0])
	w.backUp(units[1])
	live, err := w.source.UserDrive(w.ctx, backup.ObjectID(units[0].Subject))
	w.must(err)
	other, err := w.source.UserDrive(w.ctx, backup.ObjectID(units[1].Subject))
	w.must(err)
	w.put(w.home(0), map[string]string{"a.txt": "edited"})
	for name, lie := range map[string]map[string]string{
		"the live drive": {"id": string(live.ID)}, "another's": {"id": string(other.ID)}, "another site's": {"webUrl": other.WebURL + "R0"},
	} {
		was := []state{w.look(w.home(0)), w.look(w.home(1))}
		wrong.Store(&lie)
		a := w.activate(point, backup.DestinationNew)
		w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.finish(a); a.Status != backup.ArtifactFailed || len(a.Problem.Details) != 1 || !strings.Contains(a.Problem.Details[0].Message, `"DocumentsR0"`) {
			t.Errorf("%s: the artifact is %s, %+v", name, a.Status, a.Problem)
		}
		for k := range was {
			w.same(fmt.Sprintf("%s: drive %d", name, k), was[k], w.look(w.home(k)))
		}
		if left := w.look(w.home(0) + ".DocumentsR0"); len(left) > 0 {
			t.Errorf("%s: there is %v", name, left)
		}
		w.must(os.RemoveAll(w.home(0) + ".DocumentsR0"))
	}
	wrong.Store(nil)
	if a := w.restored(point, backup.DestinationNew); a.RestoredSiteName != "DocumentsR0" {
		t.Errorf("restored to %s", a.RestoredSiteName)
	}
}

// One answer that there is no drive, or no access, ends no restore.
func TestRestoreDoesNotGiveUpAtOnce(t *testing.T) {
	for name, answer := range map[string]simtenant.Fault{
		"no user":   {Status: 404, Body: `{"error":{"code":"Request_ResourceNotFound","message":"x"}}`},
		"no drive":  {Status: 404, Body: `{"error":{"code":"itemNotFound","message":"x"}}`},
		"no access": {Status: 403, Body: `{"error":{"code":"accessDenied","message":"x"}}`},
	} {
		w := newWorld(t, "ann")
		w.put(w.home(0), map[string]string{"a.txt": "a"})
		point := w.backUp(w.protectAll()[0])
		want := w.look(w.home(0))
		w.put(w.home(0), map[string]string{"a.txt": "edited"})
		answer.Times, answer.Match = 2, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }
		w.faults.Add(answer)
		a := w.activate(point, backup.DestinationInPlace)
		w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.finish(a); a.Status != backup.ArtifactSucceeded {
			t.Errorf("%s: the artifact is %s: %+v", name, a.Status, a.Problem)
		}
		w.same(name, want, w.look(w.home(0)))
	}
}

// A drive that is answered in the place of the owner's, without saying whose it
// is, and is known as somebody else's, is restored to by nobody.
func TestRestoreTouchesNoOtherOwnersDrive(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	w.put(w.home(1), map[string]string{"b.txt": "b"})
	units := w.protectAll()
	point := w.backUp(units[0])
	w.backUp(units[1])
	other, err := w.source.UserDrive(w.ctx, w.users[1].ID)
	w.must(err)
	w.faults.Add(simtenant.Fault{Status: 200, Body: fmt.Sprintf(`{"id":%q,"name":"OneDrive"}`, other.ID), Match: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/"+string(units[0].Subject)+"/drive")
	}})
	was := w.look(w.home(1))
	a := w.activate(point, backup.DestinationNew)
	w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.finish(a); a.Status != backup.ArtifactFailed || a.RestoredSiteWebURL != "" {
		t.Errorf("the artifact is %s, at %s: %+v", a.Status, a.RestoredSiteWebURL, a.Problem)
	}
	s := w.granular(point, "a.txt")
	_, err = w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	w.giveUp(jobs.RestoreItem, string(w.items(s)[0].ID), w.engine.restoreItem)
	if item := w.items(s)[0]; item.Status != backup.ArtifactFailed {
		t.Errorf("the item is %s", item.Status)
	}
	w.same("bob's drive", was, w.look(w.home(1)))
	if _, err := os.Stat(w.home(1) + ".DocumentsR0"); err == nil {
		t.Error("there is a library beside bob's drive")
	}
}
