package engine

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/simtenant"
)

// Folders are made, and get their times, by twenties where the source does so; else one by
// one. Where nobody knows what was made, the restore finds out.
func TestPlayRestoreMakesFoldersTogether(t *testing.T) {
	makes := func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/children")
	}
	dates := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	w := newWorld(t, "ann")
	home := w.home(0)
	files := map[string]string{"empty/": ""}
	const folders = 60
	for i := range folders {
		files[fmt.Sprintf("folder %d/below/file.txt", i)] = fmt.Sprint("content ", i)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	const all = 2*folders + 1
	for name, row := range map[string]struct {
		faults []simtenant.Fault
		most   int // requests to make a folder, or to set the times of one
	}{
		"as usual":       {nil, 2}, // what twenties leave
		"no batches":     {[]simtenant.Fault{{Status: 404, Match: isBatch}}, 3 * all},
		"broken off":     {[]simtenant.Fault{{Truncate: 100, Times: 2, Match: isBatch}}, 80},
		"some are busy":  {[]simtenant.Fault{{Status: 503, Times: 12, Match: makes}}, 40},
		"some not dated": {[]simtenant.Fault{{Status: 503, Times: 8, Match: dates}}, 40},
		"another":        {[]simtenant.Fault{{Status: 201, Body: `{"id":"other","name":"other","folder":{}}`, Times: 3, Match: makes}}, 40},
	} {
		t.Run(name, func(t *testing.T) {
			w.must(os.RemoveAll(home))
			w.must(os.Mkdir(home, 0o755))
			for _, f := range row.faults {
				w.faults.Add(f)
			}
			var single atomic.Int32
			w.onRequest(func(r *http.Request) {
				if makes(r) || dates(r) {
					single.Add(1)
				}
			})
			a := w.restored(point, backup.DestinationInPlace)
			w.onRequest(nil)
			w.faults.Clear()
			if a.Problem != nil {
				t.Errorf("the artifact says %+v", a.Problem)
			}
			w.same("the drive", want, w.look(home))
			if got := int(single.Load()); got > row.most {
				t.Errorf("%d requests for one folder each, of %d folders", got, all)
			}
		})
	}
}

// Many files that are in no point are deleted by twenties, where the source spares under
// their tags those that have changed; else one by one.
func TestPlayRestoreDeletesTogether(t *testing.T) {
	deletes := func(r *http.Request) bool { return r.Method == http.MethodDelete }
	probe := func(r *http.Request) bool { return deletes(r) && strings.HasSuffix(r.Header.Get("If-Match"), `0"`) }
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"kept/a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	const all = 70
	for name, row := range map[string]struct {
		faults []simtenant.Fault
		most   int // requests to delete one file
	}{
		"as usual":      {nil, 0},
		"no batches":    {[]simtenant.Fault{{Status: 404, Match: isBatch}}, all},
		"broken off":    {[]simtenant.Fault{{Truncate: 20, Skip: 1, Times: 1, Match: isBatch}}, 20},
		"some are busy": {[]simtenant.Fault{{Status: 503, Skip: 1, Times: 6, Match: deletes}}, 6},
		"unguarded":     {[]simtenant.Fault{{Status: 204, Times: 1, Match: probe}}, all},
		"edited":        {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			added := map[string]string{}
			for i := range all {
				added[fmt.Sprintf("kept/%s %d.txt", name, i)] = fmt.Sprint("came later ", i)
			}
			w.put(home, added)
			for _, f := range row.faults {
				w.faults.Add(f)
			}
			edited := filepath.Join(home, "kept", name+" 33.txt")
			var single atomic.Int32
			var once sync.Once
			w.onRequest(func(r *http.Request) {
				if deletes(r) {
					single.Add(1)
				}
				if name == "edited" && isBatch(r) {
					once.Do(func() { w.must(os.WriteFile(edited, []byte("edited at the last moment"), 0o644)) })
				}
			})
			a := w.restored(point, backup.DestinationInPlace)
			w.onRequest(nil)
			w.faults.Clear()
			if got := int(single.Load()); got > row.most {
				t.Errorf("%d requests for one file each, of %d files", got, all)
			}
			if name != "edited" {
				if a.Problem != nil {
					t.Errorf("the artifact says %+v", a.Problem)
				}
				w.same("the drive", want, w.look(home))
				return
			}
			b, err := os.ReadFile(edited)
			w.must(err)
			if string(b) != "edited at the last moment" || a.Problem == nil || len(a.Problem.Details) != 1 {
				t.Errorf("what was edited at the last moment is %q, and the artifact says %+v", b, a.Problem)
			}
			w.must(os.Remove(edited))
			rest := w.look(home)
			rest["kept"] = want["kept"] // to remove it set another time
			w.same("the rest of the drive", want, rest)
		})
	}
}
