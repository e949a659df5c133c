package engine

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
			if a := w.restore(point, to); a.Status != backup.ArtifactFailed || a.RestoredSiteName+a.RestoredSiteWebURL != "" {
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
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
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
		uploaded := 0
		w.onRequest(func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/createUploadSession") {
				if uploaded++; uploaded == 2 {
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
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem)
		if a = w.items(s)[0]; a.Status != backup.ArtifactFailed || !strings.HasSuffix(a.RestoredPath, " R0/folder") || a.RestoredKey == "" {
			t.Errorf("the artifact is %s, restored to %q", a.Status, a.RestoredPath)
		}
	})
}
