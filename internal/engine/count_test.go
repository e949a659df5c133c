package engine

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a delta does not tell of a large folder is found by its count, and listed: it is
// asked for what the listing lacks, more than at once, some of which went and some of which
// moved to another folder.
func TestWhatALargeFolderLostUntold(t *testing.T) {
	lies := false
	w := newWorldBehind(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !lies || !strings.HasSuffix(r.URL.Path, "/delta") {
				sim.ServeHTTP(rw, r)
				return
			}
			retell(t, sim, rw, r, func(answer *map[string]any) {
				(*answer)["value"] = slices.DeleteFunc((*answer)["value"].([]any), func(item any) bool { return item.(map[string]any)["folder"] == nil })
			})
		})
	}, "ann")
	home, gone := w.home(0), lackingAtOnce+lackingAtOnce/10
	files := map[string]string{"other/is.txt": "is"}
	for i := range gone + 20 {
		files[fmt.Sprintf("much/%05d.txt", i)] = fmt.Sprint(i)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	w.same("the first point", w.look(home), w.kept(w.backUp(unit).Tree))

	for i := range gone {
		at := filepath.Join(home, fmt.Sprintf("much/%05d.txt", i))
		if i%100 == 0 {
			w.must(os.Rename(at, filepath.Join(home, "other", filepath.Base(at))))
		} else {
			w.must(os.Remove(at))
		}
	}
	w.age(home)
	lies = true
	w.same("the point of what was not told", w.look(home), w.kept(w.backUp(unit).Tree))
}
