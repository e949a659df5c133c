package engine

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// What was moved aside by a restore that was killed has its name back in the end,
// if that is free, and is named with it if not.
func TestPlayMovedAsideIsRememberedAfterAKill(t *testing.T) {
	const own = "of somebody, and infected"
	locked := simtenant.Fault{Status: 423, Match: func(r *http.Request) bool { return begins(r, "gone") }}
	denied := simtenant.Fault{Status: 403, Body: `{"error":{"code":"accessDenied","message":"No longer."}}`}
	for name, row := range map[string]struct {
		fault *simtenant.Fault
		gone  string // what has the name in the end
		says  string
	}{
		"the other one has its name":       {nil, "gone", `It is not in the restore point and was left there, but for its name: it was "gone.txt"`},
		"the other one cannot be restored": {&locked, own, ""},
		"the restore ends in an error":     {&denied, "gone", `It was moved aside for another item, and could not be given its name back, which was "gone.txt".`},
	} {
		for _, long := range []string{"", strings.Repeat("long", 40)} {
			t.Run(name+long[:min(len(long), 4)], func(t *testing.T) {
				w := newWorld(t, "ann")
				gone := "gone" + long + ".txt"
				home := w.home(0)
				w.put(home, map[string]string{"a.txt": "a", gone: "gone"})
				unit := w.protectAll()[0]
				point := w.backUp(unit)
				w.must(os.Remove(filepath.Join(home, gone)))
				w.backUp(unit)
				w.put(home, map[string]string{gone: own})
				w.infected(gone)
				a := w.activate(point, backup.DestinationInPlace)
				stop := w.stopAt("/createUploadSession")
				if err := w.try(stop, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
					t.Fatal("it was not stopped")
				}
				w.onRequest(nil)
				aside := ""
				for at := range w.look(home) {
					if strings.HasPrefix(at, "gone") && strings.Contains(at, "(moved aside ") {
						aside = at
					}
				}
				if aside == "" {
					t.Fatal("it was not moved aside")
				}
				w.infected(gone, aside)
				switch row.fault {
				case &locked:
					w.faults.Add(locked)
				case &denied:
					w.onRequest(func(r *http.Request) {
						if strings.HasPrefix(r.URL.Path, "/v1.0/") && begins(r, "gone") {
							f := denied
							f.Match = func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/delta") }
							w.faults.Add(f)
						}
					})
				}
				w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
				a = w.finish(a)
				w.onRequest(nil)
				got := w.look(home)
				if !strings.HasPrefix(got[gone], digest([]byte(row.gone))) {
					t.Errorf("%s is %q, %+v", gone, got[gone], a.Problem)
				}
				says := strings.ReplaceAll(row.says, "gone.txt", gone)
				if said := detail(a.Problem, aside); !strings.HasPrefix(said, says) || (said == "") != (says == "") {
					t.Errorf("of what was moved aside it says %q", said)
				}
				if (got[aside] == "") != (says == "") {
					t.Errorf("there is %v", got)
				}
			})
		}
	}
}

// What was moved aside by a restore that was killed, and never gets at its source
// again, is named all the same.
func TestMovedAsideIsNamedWhenTheSourceIsLost(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"gone.txt": "gone", "folder/a.txt": "a", "b.txt": "b"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	w.must(os.Remove(filepath.Join(home, "gone.txt")))
	w.backUp(unit)
	w.put(home, map[string]string{"gone.txt": "of somebody, and infected"})
	w.infected("gone.txt")
	// Two that have each other's names.
	w.must(os.Rename(filepath.Join(home, "b.txt"), filepath.Join(home, "x")))
	w.must(os.Rename(filepath.Join(home, "folder"), filepath.Join(home, "b.txt")))
	w.must(os.Rename(filepath.Join(home, "x"), filepath.Join(home, "folder")))
	a := w.activate(point, backup.DestinationInPlace)
	var moved atomic.Int32
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	w.onRequest(func(r *http.Request) {
		if r.Method == http.MethodPatch {
			if moved.Add(1) == 4 {
				cancel()
			}
		}
	})
	if err := w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
		t.Fatal("it was not stopped")
	}
	w.onRequest(nil)
	if a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID); err != nil || a.Problem != nil {
		t.Errorf("at work it says %+v, %v", a.Problem, err)
	}
	w.faults.Add(simtenant.Fault{Status: 403, Body: `{"error":{"code":"accessDenied","message":"No longer."}}`, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }})
	w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
	a = w.finish(a)
	if a.Status != backup.ArtifactFailed {
		t.Errorf("the artifact is %s", a.Status)
	}
	for _, name := range []string{"gone.txt", "folder", "b.txt"} {
		if said := detail(a.Problem, name); !strings.HasPrefix(said, "It may have been moved aside for another item") || !strings.Contains(said, name+" (moved aside ") {
			t.Errorf("of %s it says %q", name, said)
		}
	}
}
