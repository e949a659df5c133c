package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A death ends a process at a request, before or after the source has done what it was
// asked, and so that the process notes nothing any more.
type death struct {
	mu    sync.Mutex
	of    func(*http.Request) bool
	at    int // how many such requests are answered
	done  bool
	end   func()
	asked int
}

func (d *death) between(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		now := false
		if d.end != nil && d.of(r) {
			d.asked++
			now = d.asked > d.at
		}
		end, done := d.end, d.done && d.asked == d.at+1
		d.mu.Unlock()
		if !now {
			next.ServeHTTP(w, r)
			return
		}
		if done {
			next.ServeHTTP(discard{http.Header{}}, r)
		}
		end()
		panic(http.ErrAbortHandler)
	})
}

// diesAt runs a job in a process that dies at a request, and reports whether it came to
// that.
func (w *world) diesAt(d *death, at int, done bool, of func(*http.Request) bool, kind jobs.Kind, key string, h jobs.Handler) bool {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	j := w.claim(kind, key)
	once := sync.OnceFunc(func() {
		err := w.db.Tx(w.ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(w.t.Context(), `UPDATE job SET lease = 'of nobody' WHERE kind = $1 AND key = $2`, string(kind), key)
			return err
		})
		if err != nil {
			w.t.Error(err)
		}
		cancel()
	})
	d.mu.Lock()
	d.of, d.at, d.done, d.end, d.asked = of, at, done, once, 0
	d.mu.Unlock()
	_, err := h(ctx, j)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end = nil
	if d.asked > at && err == nil {
		w.t.Errorf("%s %s that died at request %d has succeeded", kind, key, at)
	}
	return d.asked > at
}

// shouting keeps texts otherwise than it was sent them.
func shouting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if (r.Method == http.MethodPost || r.Method == http.MethodPatch) && strings.Contains(r.URL.Path, "/items") {
			var in map[string]any
			text, _ := io.ReadAll(r.Body)
			if json.Unmarshal(text, &in) == nil {
				fields, ok := in["fields"].(map[string]any)
				if !ok {
					fields = in
				}
				if title, ok := fields["Title"].(string); ok {
					fields["Title"] = strings.ToUpper(title) + "!"
				}
				text, _ = json.Marshal(in)
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		}
		next.ServeHTTP(w, r)
	})
}

func writesLists(r *http.Request) bool {
	return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/lists")
}

// A restore of lists that is killed at any of its writes, before or after the source
// has done it, goes on and makes nothing twice: also where the source keeps values
// otherwise than they were sent, and restores go on from one another.
func TestPlayAListRestoreThatIsKilledMakesNothingTwice(t *testing.T) {
	d := &death{}
	w, unit := newSite(t, twoLibraries, func(sim http.Handler) http.Handler { return shouting(d.between(sim)) })
	w.offersAndCustomers()
	w.putList("Offers", map[string]string{"3.json": `{"Title":"Large","Tags":["a","b"]}`}) // two that are alike
	point := w.backUp(unit)
	killed := 0
	for _, done := range []bool{false, true} {
		for at := 0; ; at++ {
			for _, list := range []string{"Offers", "Customers"} {
				all, err := filepath.Glob(w.siteList(list) + "/*.json")
				w.must(err)
				for _, name := range all {
					if !strings.HasSuffix(name, "list.json") && !strings.HasSuffix(name, "Customers/1.json") {
						w.must(os.Remove(name))
					}
				}
			}
			a := w.activate(point, backup.DestinationInPlace)
			died := w.diesAt(d, at, done, writesLists, jobs.Restore, string(a.ID), w.engine.restore)
			if died {
				killed++
				w.run(jobs.Restore, string(a.ID), w.engine.restore)
			}
			if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
				t.Fatalf("killed at write %d: artifact is %s: %+v\n%s", at, a.Status, a.Problem, w.log)
			}
			w.wantTitles("Customers", w.titles("Customers", "", ""), "Ann", `BOB, "SIR"!`)
			w.wantTitles("Offers", w.titles("Offers", "Customer", "Customers"), "LARGE!", "LARGE!", `SMALL! → BOB, "SIR"!`)
			if t.Failed() {
				t.Fatalf("killed at write %d, done %v", at, done)
			}
			if !died {
				break
			}
		}
	}
	if killed < 8 {
		t.Errorf("only %d restores were killed", killed)
	}
	// Done once more: nothing is made, and all is what it was.
	was := w.inList("Offers")
	w.restored(point, backup.DestinationInPlace)
	if is := w.inList("Offers"); len(is) != len(was) {
		t.Errorf("a restore that was done twice has made %d items of %d", len(is), len(was))
	}
}

// To a new place likewise; what was noted of it is forgotten when it is over.
func TestAListRestoreToANewPlaceThatIsKilled(t *testing.T) {
	d := &death{}
	w, unit := newSite(t, twoLibraries, func(sim http.Handler) http.Handler { return shouting(d.between(sim)) })
	w.offersAndCustomers()
	point := w.backUp(unit)
	makes := func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/items")
	}
	for at := 0; ; at++ {
		a := w.activate(point, backup.DestinationNew)
		died := w.diesAt(d, at, true, makes, jobs.Restore, string(a.ID), w.engine.restore)
		if died {
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
		}
		a = w.artifact(a)
		suffix := suffixOf(a.RestoredSiteName)
		w.wantTitles("Customers", w.titles("Customers"+suffix, "", ""), "ANN!", `BOB, "SIR"!`)
		w.wantTitles("Offers", w.titles("Offers"+suffix, "Customer", "Customers"+suffix), "LARGE!", `SMALL! → BOB, "SIR"!`)
		if t.Failed() || !died {
			break
		}
	}
	left := 0
	w.must(w.db.Read().QueryRowContext(w.t.Context(), `SELECT count(*) FROM list_number`).Scan(&left))
	if left > 0 {
		t.Errorf("%d items are still noted", left)
	}
}

// Items that hold the same are two, also where each is restored by itself into a list
// that both share; and what others put there meanwhile is theirs.
func TestItemsOfAListThatAreAlike(t *testing.T) {
	d := &death{}
	w, unit := newSite(t, twoLibraries, func(sim http.Handler) http.Handler { return shouting(d.between(sim)) })
	w.putList("Offers", map[string]string{"1.json": `{"Title":"Same"}`, "2.json": `{"Title":"Same"}`, "3.json": `{"Title":"Other"}`})
	point := w.backUp(unit)
	var same []string
	for at, title := range w.keptList(w.partOf(point, "Offers"), "Title") {
		if title == "Same" {
			same = append(same, "Offers/"+at)
		}
	}
	s := w.restoreItems(point, same...)
	for _, a := range w.items(s) {
		if a.Status != backup.ArtifactSucceeded {
			t.Errorf("artifact = %+v: %+v", a, a.Problem)
		}
	}
	name := "Offers Restored " + w.engine.Clock().UTC().Format("2006-01-02") + " R0"
	w.wantTitles("the new list", w.titles(name, "", ""), "SAME!", "SAME!")

	// A person makes an item while the restore is dead.
	w.must(os.Remove(w.siteList("Offers") + "/3.json"))
	a := w.activate(point, backup.DestinationInPlace)
	if !w.diesAt(d, 0, false, writesLists, jobs.Restore, string(a.ID), w.engine.restore) {
		t.Fatal("nothing was written")
	}
	w.putList("Offers", map[string]string{"9.json": `{"Title":"A person's"}`})
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	w.wantTitles("the list", w.titles("Offers", "", ""), "A person's", "OTHER!", "Same", "Same")
}

// A backup that is killed at any request of a list is made again: nothing of the list is
// lost or twice in the point, there is one point of it, and a run after that finds
// nothing to do.
func TestPlayABackupOfListsThatIsKilled(t *testing.T) {
	d := &death{}
	w, unit := newSite(t, twoLibraries, d.between)
	w.offersAndCustomers()
	ofLists := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/lists") }
	points := 0
	for _, full := range []bool{true, false} {
		for at := 0; ; at++ {
			title := "Small " + strings.Repeat("x", points+1)
			w.putList("Offers", map[string]string{"1.json": `{"Title":"` + title + `"}`})
			if full {
				w.reconcileAt(unit)
			}
			died := w.diesAt(d, at, at%2 == 1, ofLists, jobs.Backup, string(unit.ID), w.engine.backup)
			if !died {
				points++
				if at < 3 {
					t.Errorf("a backup made %d requests of lists", at)
				}
				break
			}
			if got := w.countPoints(unit); got != points {
				t.Fatalf("killed at request %d: %d points, want %d", at, got, points)
			}
			p := w.backUp(unit)
			points++
			if got := w.countPoints(unit); got != points || len(w.lacking(p)) > 0 {
				t.Fatalf("killed at request %d: %d points, want %d; the point lacks %q\n%s", at, got, points, w.lacking(p), w.log)
			}
			of := w.partOf(p, "Offers")
			wantList(t, "the list", w.keptList(of, "Title"), "1-999/1.json "+title, "1-999/2.json Large")
			if rows := strings.Split(strings.TrimSpace(w.keptFile(of, "items.csv")), "\n"); len(rows) != 3 {
				t.Errorf("the table is %q", rows)
			}
			wantList(t, "the other list", w.keptList(w.partOf(p, "Customers"), "Title"), "1-999/1.json Ann", `1-999/2.json Bob, "Sir"`)
			if t.Failed() {
				t.Fatalf("killed at request %d", at)
			}
		}
	}
	last := w.latest(unit)
	if again := w.backUp(unit); again.Tree != last.Tree {
		t.Error("a run without changes has another tree")
	}
}

func (w *world) countPoints(unit backup.Unit) (n int) {
	w.t.Helper()
	w.must(w.db.Read().QueryRowContext(w.t.Context(), `SELECT count(*) FROM restore_point WHERE unit = $1`, string(unit.ID)).Scan(&n))
	return n
}
