package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
)

// A full is a source whose drive has only so much room. What it refuses is
// counted.
type full struct {
	limit   atomic.Int64           // the largest file that it takes
	says    atomic.Pointer[string] // its quota, in JSON
	status  int
	refused atomic.Int64
}

func (f *full) between(t *testing.T) func(http.Handler) http.Handler {
	f.limit.Store(1 << 40)
	return func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			says := f.says.Load()
			switch {
			case r.Header.Get("Content-Range") != "":
				var from, to, size int64
				if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil {
					t.Error(err)
				}
				if size > f.limit.Load() {
					f.refused.Add(1)
					io.Copy(io.Discard, r.Body)
					rw.WriteHeader(cmp.Or(f.status, http.StatusInsufficientStorage))
					io.WriteString(rw, `{"error":{"message":"It takes too much."}}`)
					return
				}
			case says != nil && r.Method == http.MethodGet && strings.Contains(r.URL.RawQuery, "quota"):
				retell(t, sim, rw, r, func(v *map[string]any) { (*v)["quota"] = json.RawMessage(*says) })
				return
			}
			sim.ServeHTTP(rw, r)
		})
	}
}

// One file that the drive has no room for costs that file: the others come
// back, and what was moved aside for it has its name again.
func TestRestoreOfAFileThatIsRefusedForWantOfRoom(t *testing.T) {
	for status, why := range map[int]string{507: "no room", 413: "It takes too much"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			f := &full{status: status}
			w := newWorldBehind(t, f.between(t), "ann")
			home := w.home(0)
			w.put(home, map[string]string{"a.txt": "small", "big.txt": strings.Repeat("large", 20), "c.txt": "c"})
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			w.must(os.Remove(filepath.Join(home, "big.txt")))
			w.backUp(unit)
			w.put(home, map[string]string{"a.txt": "edited", "big.txt": "of somebody", "c.txt": "edited, too"})
			w.infected("big.txt")
			was := w.look(home)
			f.limit.Store(50)
			a := w.restore(point, backup.DestinationInPlace)
			if a.Status != backup.ArtifactFailed || !strings.Contains(detail(a.Problem, "big.txt"), why) || !strings.HasPrefix(a.Problem.Message, "1 of 3 items") {
				t.Errorf("the artifact is %s, %+v", a.Status, a.Problem)
			}
			got := w.look(home)
			if got["big.txt"] != was["big.txt"] || len(got) != 3 {
				t.Errorf("there is %v, was %v", got, was)
			}
			for at, content := range map[string]string{"a.txt": "small", "c.txt": "c"} {
				if !strings.HasPrefix(got[at], digest([]byte(content))) {
					t.Errorf("%s is %q", at, got[at])
				}
			}
			f.limit.Store(1 << 40)
			a = w.restore(point, backup.DestinationInPlace)
			if got := w.look(home); !strings.HasPrefix(got["big.txt"], digest(bytes.Repeat([]byte("large"), 20))) || a.Status != backup.ArtifactSucceeded {
				t.Errorf("with room: %s, %+v, %v", a.Status, a.Problem, got)
			}
		})
	}
}

// Into a full drive comes what fits, and the rest is not tried one by one; each is
// named all the same.
func TestRestoreIntoAFullDrive(t *testing.T) {
	for name, says := range map[string]string{
		"known":          `{"total":1000,"used":995,"remaining":5,"state":"critical"}`,
		"no remaining":   `{"total":1000,"used":995}`,
		"hidden":         `{}`,
		"not what it is": `{"total":1000,"used":0,"remaining":1000}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := &full{}
			f.says.Store(&says)
			w := newWorldBehind(t, f.between(t), "ann")
			w.engine.Transfers = 1
			files := map[string]string{}
			for i := range 40 {
				files[fmt.Sprintf("folder/%02d.txt", i)] = "ten bytes." // too large
			}
			for i := range 3 {
				files[fmt.Sprintf("folder/small %d.txt", i)] = "1"
			}
			w.put(w.home(0), files)
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			f.limit.Store(5)
			a := w.restore(point, backup.DestinationNew)
			if a.Status != backup.ArtifactFailed || !strings.HasPrefix(a.Problem.Message, "40 of 44 items could not be restored whole") || a.Short == nil || *a.Short != (backup.Shortfall{Failed: 40, Of: 44}) || len(a.Problem.Details) != 40 {
				t.Fatalf("the artifact is %s, %+v", a.Status, a.Problem)
			}
			for _, d := range a.Problem.Details {
				if !strings.Contains(d.Message, "no room") {
					t.Errorf("%s: %s", d.Target, d.Message)
				}
			}
			got := w.library(unit, a.RestoredSiteName)
			for i := range 3 {
				if at := fmt.Sprintf("folder/small %d.txt", i); !strings.HasPrefix(got[at], digest([]byte("1"))) {
					t.Errorf("%s is %q", at, got[at])
				}
			}
			if n := f.refused.Load(); n > maxRefused {
				t.Errorf("%d files were tried in vain", n)
			}
		})
	}
}
