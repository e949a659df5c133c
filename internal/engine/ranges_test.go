package engine

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// A source whose ranges are not what its files hold has the files read as a whole:
// what it hands out twice the same is not taken for its own rewriting of them when
// it came in ranges.
func TestPlayWrongRangesAreNotTakenForTheContent(t *testing.T) {
	var wrong atomic.Int64
	w := newWorldBehind(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if at := r.Header.Get("Range"); strings.HasPrefix(at, "bytes=8388608-") && !strings.HasSuffix(at, "-") {
				wrong.Add(1)
				rw = twister{rw}
			}
			sim.ServeHTTP(rw, r)
		})
	}, "ann")
	w.put(w.home(0), map[string]string{"long.bin": strings.Repeat("All work and no play.\n", 20<<20/22), "short.txt": "short"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	if wrong.Load() == 0 {
		t.Error("no range was asked for")
	}
	if point.Unread != 0 {
		t.Errorf("%d items are named as unread", point.Unread)
	}
	w.same("the point", w.look(w.home(0)), w.kept(point.Tree))
}

// A twister changes a bit of each part.
type twister struct{ http.ResponseWriter }

func (t twister) Write(b []byte) (int, error) {
	b = append([]byte(nil), b...)
	b[0] ^= 1
	return t.ResponseWriter.Write(b)
}
