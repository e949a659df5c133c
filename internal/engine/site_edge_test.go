package engine

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// endAt runs a job that is killed at its nth request to the source, and reports
// whether it came to its end before.
func (w *world) endAt(n int64, kind jobs.Kind, key string, h jobs.Handler) bool {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var asked atomic.Int64
	w.onRequest(func(*http.Request) {
		if asked.Add(1) >= n {
			cancel()
		}
	})
	defer w.onRequest(nil)
	return w.try(ctx, kind, key, h) == nil
}

// A backup of a site may end at any request: no point is half a site, each library of
// each point can be read, and the next run makes what this one did not.
func TestPlayASiteBackupEndsAtAnyRequest(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.engine.CheckpointBytes = 10
	first := w.backUp(unit)
	was := w.keptSite(first)
	ended := false
	for n := int64(1); !ended; n++ {
		for _, name := range []string{"Documents", "Team/Drawings"} {
			w.put(w.siteLibrary(name), map[string]string{"a.txt": fmt.Sprint("version ", n, " in ", name), fmt.Sprintf("new %d.txt", n): fmt.Sprint(n, name)})
		}
		ended = w.endAt(n, jobs.Backup, string(unit.ID), w.engine.backup)
		if n > 200 {
			t.Fatal("there is no end of requests")
		}
		if ended || n%3 == 0 {
			w.sameSite(fmt.Sprint("the point after an end at request ", n), w.backUp(unit), "Documents", "Team/Drawings")
		}
	}
	w.same("the first point", was["Documents"], w.keptSite(first)["Documents"])
	points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID})
	w.must(err)
	var trees []string
	for _, p := range points.Items {
		trees = append(trees, p.Tree)
	}
	report, err := w.vault.Verify(w.ctx, trees, vault.VerifyOptions{Share: 1})
	w.must(err)
	w.must(report.Err())
}

// A restore of a site may end at any request, and converges.
func TestPlayASiteRestoreEndsAtAnyRequest(t *testing.T) {
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w, unit := newSite(t, twoLibraries)
			point := w.backUp(unit)
			was := w.keptSite(point)
			for name := range twoLibraries {
				w.must(os.WriteFile(w.siteLibrary(name)+"/a.txt", []byte("changed"), 0o644))
				w.must(os.WriteFile(w.siteLibrary(name)+"/late.txt", []byte("late"), 0o644))
			}
			w.must(os.RemoveAll(w.siteLibrary("Documents") + "/folder"))
			a := w.activate(point, to)
			ended := false
			for n := int64(1); !ended; n += 5 {
				ended = w.endAt(n, jobs.Restore, string(a.ID), w.engine.restore)
				if n > 1000 {
					t.Fatal("there is no end of requests")
				}
			}
			if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
				t.Fatalf("artifact is %s: %+v\n%s", a.Status, a.Problem, w.log)
			}
			suffix := ""
			if to == backup.DestinationNew {
				suffix = "R0"
			}
			for name := range twoLibraries {
				w.same(name, was[name], w.look(w.siteLibrary(name+suffix)))
				if _, err := os.Stat(w.siteLibrary(name + "R1")); err == nil {
					t.Errorf("%s has a second new place", name)
				}
			}
		})
	}
}
