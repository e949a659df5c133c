package engine

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// begins reports whether a request begins the upload of a file whose name has a
// part.
func begins(r *http.Request, part string) bool {
	return strings.HasSuffix(r.URL.Path, "/createUploadSession") && strings.Contains(r.URL.Path, part)
}

// Uploads that a killed process has left open are waited for together, after all
// else, and as long as one of them may be open, however many there are and
// however often they are tried.
func TestOpenUploadsAreWaitedForTogether(t *testing.T) {
	for name, open := range map[string]time.Duration{"for a while": 30 * time.Second, "for ever": 1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann")
			files := map[string]string{"folder/a.txt": "a", "folder/z.txt": "z"}
			for i := range 20 {
				files[fmt.Sprintf("folder/open %02d.txt", i)] = "o"
			}
			w.put(w.home(0), files)
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			w.faults.Add(simtenant.Fault{
				Match:  func(r *http.Request) bool { return begins(r, "open ") },
				Status: 409, Body: `{"error":{"code":"nameAlreadyExists","message":"The specified item name already exists."}}`,
			})
			var slept time.Duration
			waits := 0
			w.engine.Sleep = func(ctx context.Context, d time.Duration) error {
				if waits++; waits == 1 {
					if _, err := os.Stat(w.home(0) + ".DocumentsR0/folder/z.txt"); err != nil {
						t.Errorf("another file is not there yet: %v", err)
					}
				}
				if slept += d; slept >= open {
					w.faults.Clear()
				}
				return ctx.Err()
			}
			a := w.restore(point, backup.DestinationNew)
			if open < time.Hour {
				if a.Status != backup.ArtifactSucceeded || slept > time.Minute {
					t.Errorf("the artifact is %s after %v, %+v", a.Status, slept, a.Problem)
				}
				w.same("the place", w.kept(point.Tree), w.library(unit, a.RestoredSiteName))
				return
			}
			if a.Status != backup.ArtifactFailed || len(a.Problem.Details) != 20 || !strings.Contains(detail(a.Problem, "folder/open 07.txt"), "An earlier upload of it is still open") {
				t.Errorf("the artifact is %s, %+v", a.Status, a.Problem)
			}
			if slept < drive.SessionLife/2 || slept > drive.SessionLife || time.Duration(w.wait.Load()) > time.Minute {
				t.Errorf("%v were waited, and %v by the source's client", slept, time.Duration(w.wait.Load()))
			}
		})
	}
}

// One file that is throttled for ever with a long pause ends its restore after a
// few pauses, by name, and the others come back.
func TestRestoreOfAFileThatIsThrottledForEver(t *testing.T) {
	for _, to := range []backup.Destination{backup.DestinationInPlace, backup.DestinationNew} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, map[string]string{"a.txt": "a", "slow.txt": "slow", "z.txt": "z"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			for _, name := range []string{"a.txt", "slow.txt", "z.txt"} {
				w.must(os.Remove(home + "/" + name))
			}
			w.faults.Add(simtenant.Fault{
				Match:  func(r *http.Request) bool { return begins(r, "slow") },
				Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}},
			})
			handler := w.engine.Work()[jobs.Restore].Handler
			a := w.activate(point, to)
			pauses := 0
			for ; ; pauses++ {
				got, err := handler(w.ctx, w.claim(jobs.Restore, string(a.ID)))
				w.must(err)
				if got == jobs.Done {
					break
				}
				if pauses > 5 {
					t.Fatal("it does not end")
				}
				w.wait.Add(int64(time.Hour + time.Second))
			}
			a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
			w.must(err)
			if a.Status != backup.ArtifactFailed || pauses == 0 || len(a.Problem.Details) != 1 || a.Problem.Details[0].Target != "slow.txt" {
				t.Errorf("after %d pauses the artifact is %s, %+v", pauses, a.Status, a.Problem)
			}
			want := w.kept(point.Tree)
			delete(want, "slow.txt")
			if to == backup.DestinationInPlace {
				w.same("the drive", want, w.look(home))
			} else {
				w.same("the place", want, w.library(unit, a.RestoredSiteName))
			}
		})
	}
}
