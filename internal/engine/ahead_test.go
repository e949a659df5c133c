package engine

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

// Many small files come back together, larger ones by sessions that are opened
// together, and all by sessions of their own where the source does neither.
func TestPlayRestoreOpensSessionsAhead(t *testing.T) {
	some := func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/content") && strings.Contains(r.URL.Path, "7.txt")
	}
	versions := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/versions") }
	dates := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	w := newWorld(t, "ann")
	files := map[string]string{"empty.txt": "", "big.bin": strings.Repeat("large ", bunchBytes/5)}
	for i := range aheadFrom + 20 {
		files[fmt.Sprintf("%d/file %d.txt", i%7, i)] = strings.Repeat(fmt.Sprint("content ", i), 50)
	}
	for i := range 3 {
		files[fmt.Sprintf("larger %d.bin", i)] = strings.Repeat(fmt.Sprint("larger ", i), drive.MaxSmall/6)
	}
	w.put(w.home(0), files)
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.kept(point.Tree)
	for name, row := range map[string]struct {
		faults []simtenant.Fault
		asked  int // for uploads one at a time
	}{
		"as usual":       {nil, 2}, // those of the empty file, and of the large one
		"no batches":     {[]simtenant.Fault{{Status: 404, Match: isBatch}}, len(files)},
		"broken off":     {[]simtenant.Fault{{Truncate: 100, Times: 1, Match: isBatch}}, -1},
		"some are busy":  {[]simtenant.Fault{{Status: 503, Times: 5, Match: some}}, 7},
		"throttled":      {[]simtenant.Fault{{Status: 429, Times: 20, Header: http.Header{"Retry-After": {"2"}}, Match: some}}, -1},
		"some not dated": {[]simtenant.Fault{{Status: 503, Times: 5, Match: dates}}, 2}, // they are there
		"none dated":     {[]simtenant.Fault{{Status: 403, Times: 130, Match: dates}}, -1},
		"two versions":   {[]simtenant.Fault{{Status: 200, Body: `{"value":[{"id":"2.0"},{"id":"1.0"}]}`, Match: versions}}, 2},
		"gone before use": {[]simtenant.Fault{{Status: 404, Body: `{"error":{"code":"itemNotFound"}}`, Times: 2, Match: func(r *http.Request) bool {
			return r.Method == http.MethodPut && r.URL.Query().Has("tempauth") && r.ContentLength < 1<<20
		}}}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range row.faults {
				w.faults.Add(f)
			}
			w.reset()
			a := w.restored(point, backup.DestinationNew)
			w.faults.Clear()
			if a.Problem != nil {
				t.Errorf("the artifact says %+v", a.Problem)
			}
			w.same("the place", want, w.library(unit, a.RestoredSiteName))
			if got := w.asked("upload"); row.asked >= 0 && got != row.asked {
				t.Errorf("%d uploads one at a time, not %d", got, row.asked)
			}
		})
	}
	t.Run("in place", func(t *testing.T) {
		damages["emptied"](w, w.home(0))
		w.reset()
		if a := w.restored(point, backup.DestinationInPlace); a.Problem != nil {
			t.Errorf("the artifact says %+v", a.Problem)
		}
		w.same("the drive", want, w.look(w.home(0)))
		w.wantAsked("upload", 2)
	})
}

// Many small files that are others now are written over together, where the source
// makes one version of each and none over what it is not told of; else one by one.
func TestPlayRestoreWritesOverTogether(t *testing.T) {
	writes := func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/content")
	}
	probe := func(r *http.Request) bool { return writes(r) && strings.HasSuffix(r.Header.Get("If-Match"), `0"`) }
	some := func(r *http.Request) bool { return writes(r) && r.Header.Get("If-Match") != "" }
	versions := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/versions") }
	dates := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	w := newWorld(t, "ann")
	home := w.home(0)
	files := map[string]string{}
	for i := range aheadFrom + 20 {
		files[fmt.Sprintf("%d/file %d.txt", i%7, i)] = strings.Repeat(fmt.Sprint("content ", i), 50)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	for name, row := range map[string]struct {
		faults []simtenant.Fault
		asked  int // for uploads one at a time
	}{
		"as usual":      {nil, 0},
		"no batches":    {[]simtenant.Fault{{Status: 404, Match: isBatch}}, len(files)},
		"broken off":    {[]simtenant.Fault{{Truncate: 100, Times: 1, Match: isBatch}}, -1},
		"some are busy": {[]simtenant.Fault{{Status: 503, Times: 6, Match: some}}, -1},
		// It is not known whether what has changed meanwhile would be written over.
		"unguarded":      {[]simtenant.Fault{{Status: 200, Body: `{}`, Times: 1, Match: probe}}, len(files)},
		"some not dated": {[]simtenant.Fault{{Status: 503, Times: 5, Match: dates}}, -1},
		"none dated":     {[]simtenant.Fault{{Status: 403, Times: 60, Match: dates}}, -1},
		"two versions":   {[]simtenant.Fault{{Status: 200, Body: `{"value":[{"id":"2.0"},{"id":"1.0"}]}`, Match: versions}}, len(files) - drive.MaxAhead},
		"no versions":    {[]simtenant.Fault{{Status: 403, Match: versions}}, len(files)},
		"edited":         {nil, 2}, // refused, and then in another pass
	} {
		t.Run(name, func(t *testing.T) {
			ids := w.ids(0)
			for i := range aheadFrom + 20 {
				at := fmt.Sprintf("file %d.txt", i)
				w.put(home, map[string]string{fmt.Sprintf("%d/%s", i%7, at): fmt.Sprint(name, " encrypted ", i)})
				if i%4 == 0 {
					_, err := w.source.Patch(w.ctx, point.Drive, ids[at], drive.Patch{Name: at + ".locked"})
					w.must(err)
				}
			}
			var edited atomic.Bool
			w.onRequest(func(r *http.Request) {
				if name == "edited" && isBatch(r) && !edited.Swap(true) {
					w.must(os.WriteFile(filepath.Join(home, "3/file 3.txt"), []byte("edited at the last moment"), 0o644))
				}
			})
			for _, f := range row.faults {
				w.faults.Add(f)
			}
			w.reset()
			a := w.restored(point, backup.DestinationInPlace)
			w.onRequest(nil)
			w.faults.Clear()
			if a.Problem != nil {
				t.Errorf("the artifact says %+v", a.Problem)
			}
			w.same("the drive", want, w.look(home))
			if got := w.asked("upload"); row.asked >= 0 && got != row.asked {
				t.Errorf("%d uploads one at a time, not %d", got, row.asked)
			}
			if name != "edited" {
				return
			}
			points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID, Page: catalog.Page{Limit: 100}})
			w.must(err)
			kept := false
			for _, p := range points.Items {
				kept = kept || strings.HasPrefix(w.kept(p.Tree)["3/file 3.txt"], digest([]byte("edited at the last moment")))
			}
			if !kept {
				t.Error("what was edited at the last moment is in no point")
			}
		})
	}
}

// A folder whose time moves after it was made has its own in the end.
func TestRestoreSetsTimesOfFoldersThatMoved(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a/b/c.txt": "c", "a/d.txt": "d"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	damages["emptied"](w, home)
	var written, moved atomic.Bool
	w.onRequest(func(r *http.Request) {
		if r.Method == http.MethodPut {
			written.Store(true)
		}
		if written.Load() && strings.HasSuffix(r.URL.Path, "/delta") && !moved.Swap(true) {
			for _, name := range []string{"a", "b"} {
				_, err := w.source.Patch(w.ctx, point.Drive, w.ids(0)[name], drive.Patch{Times: &drive.Times{Modified: time.Now()}})
				w.must(err)
			}
		}
	})
	a := w.restored(point, backup.DestinationInPlace)
	w.onRequest(nil)
	if a.Problem != nil || !moved.Load() {
		t.Errorf("moved %v, the artifact says %+v", moved.Load(), a.Problem)
	}
	w.same("the drive", want, w.look(home))
}

func isBatch(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/$batch") }
