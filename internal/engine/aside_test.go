package engine

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// What was moved aside by a restore that was killed has its name back in the end,
// if that is free, and is named with it if not.
func TestMovedAsideIsRememberedAfterAKill(t *testing.T) {
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
