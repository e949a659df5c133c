package engine

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

const notFound = `{"error":{"code":"itemNotFound","message":"The resource could not be found."}}`

// ofItem matches requests that name an item by its id and end so.
func ofItem(id backup.ItemID, suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		if at, ok := contentAt(r.URL.Path); suffix == "/content" && ok && r.Method == http.MethodGet {
			return at == string(id)
		}
		return strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), "/items/"+string(id)+suffix)
	}
}

// ids returns the ids of the items of an owner's drive, by name.
func (w *world) ids(i int) map[string]backup.ItemID {
	w.t.Helper()
	d, err := w.source.UserDrive(w.ctx, w.users[i].ID)
	w.must(err)
	ids := map[string]backup.ItemID{}
	for item, err := range w.source.Delta(w.ctx, d.ID, "").All() {
		w.must(err)
		ids[item.Name] = item.ID
	}
	return ids
}

// named returns the unit's error by the paths that it names.
func (w *world) named(u backup.Unit) map[string]backup.Code {
	w.t.Helper()
	named := map[string]backup.Code{}
	if p := w.unit(u.ID).Problem; p != nil {
		for _, d := range p.Details {
			named[d.Target] = d.Code
		}
	}
	return named
}

// starts reports whether what a point holds at a path has a content.
func starts(kept state, path, content string) bool {
	return strings.HasPrefix(kept[path], digest([]byte(content)))
}

func TestContentThatIsDeniedStaysInThePoint(t *testing.T) {
	for _, times := range []int{1, 0} { // once, and for ever
		t.Run(fmt.Sprint("times ", times), func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, map[string]string{"old.txt": "first", "other.txt": "other"})
			unit := w.protectAll()[0]
			w.backUp(unit)
			w.put(home, map[string]string{"old.txt": "second", "new.txt": "new"})
			ids := w.ids(0)
			for _, name := range []string{"old.txt", "new.txt"} {
				w.faults.Add(simtenant.Fault{Match: ofItem(ids[name], "/content"), Times: times, Status: 404, Body: notFound})
			}
			kept := w.kept(w.backUp(unit).Tree)
			if !starts(kept, "old.txt", "first") && !starts(kept, "old.txt", "second") {
				t.Errorf("a file that lives has left the point: %v", kept)
			}
			if !starts(kept, "old.txt", "second") && w.named(unit)["old.txt"] != backup.ContentNotFound {
				t.Errorf("the unit names %v", w.named(unit))
			}
			if !starts(kept, "new.txt", "new") && w.named(unit)["new.txt"] != backup.ContentNotFound {
				t.Errorf("the unit names %v", w.named(unit))
			}
			w.faults.Clear()
			w.same("the point", w.look(home), w.kept(w.backUp(unit).Tree))
			if p := w.unit(unit.ID).Problem; p != nil {
				t.Errorf("the error still stands: %+v", p)
			}
		})
	}
}

func TestSourceThatDeniesEverythingMakesNoPoint(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b/c.txt": "c"})
	unit := w.protectAll()[0]
	first := w.backUp(unit)
	w.put(home, map[string]string{"a.txt": "changed", "b/d.txt": "d"})
	w.must(os.Remove(filepath.Join(home, "b", "c.txt")))
	w.faults.Add(simtenant.Fault{Status: 404, Body: notFound, Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/items/")
	}})
	if err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup); err == nil {
		t.Error("a backup of a drive whose items are all denied succeeded")
	}
	if now := w.latest(unit); now.ID != first.ID {
		t.Errorf("there is a point of %v", w.kept(now.Tree))
	}
	if p := w.unit(unit.ID).Problem; p == nil || !strings.Contains(p.Message, "denied items that are there") {
		t.Errorf("the unit says %+v", p)
	}
	w.faults.Clear()
	w.same("the point", w.look(home), w.kept(w.backUp(unit).Tree))
}

func TestRootThatIsGoneMakesNoPoint(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	first := w.backUp(unit)
	d, err := w.source.UserDrive(w.ctx, w.users[0].ID)
	w.must(err)
	root, err := w.source.Root(w.ctx, d.ID)
	w.must(err)
	// A delta in which the root is deleted, and nothing else is there; the
	// drive itself answers.
	deleted := fmt.Sprintf(`{"value":[{"id":%q,"root":{},"deleted":{"state":"deleted"},"parentReference":{"driveId":%q}}],"@odata.deltaLink":%q}`,
		root.ID, d.ID, "https://example.com/v1.0/drives/"+string(d.ID)+"/root/delta?token=x")
	isDelta := func(r *http.Request) bool { return strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), "/delta") }
	w.faults.Add(simtenant.Fault{Match: isDelta, Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: deleted})
	isRoot := func(r *http.Request) bool { return strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), "/root") }
	w.faults.Add(simtenant.Fault{Match: isRoot, Status: 404, Body: notFound})
	if err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup); err == nil {
		t.Error("a backup of a drive whose root is gone succeeded")
	}
	if now := w.latest(unit); now.ID != first.ID {
		t.Errorf("there is a point of %v", w.kept(now.Tree))
	}
	w.faults.Clear()
	w.same("the point", w.look(home), w.kept(w.backUp(unit).Tree))
}

func TestWhatAnEnumerationFindsIsCounted(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b.txt": "b"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	// A delta that tells nothing of a change, as if the source had lost it.
	w.put(home, map[string]string{"c.txt": "c"})
	_, s, err := w.catalog.UnitForRestore(w.ctx, w.tenant, unit.ID)
	w.must(err)
	w.faults.Add(simtenant.Fault{Times: 1, Status: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body:  fmt.Sprintf(`{"value":[],"@odata.deltaLink":%q}`, s.Cursor),
		Match: func(r *http.Request) bool { return strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), "/delta") }})
	if kept := w.kept(w.backUp(unit).Tree); len(kept) != 2 {
		t.Fatalf("the point holds %v", kept)
	}
	if n := value(t, w.engine.metrics.found); n != 0 {
		t.Errorf("%v changes were found before anybody looked", n)
	}
	var lost string // the cursor after the change
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		d, err := w.source.UserDrive(w.ctx, w.users[0].ID)
		if err != nil {
			return err
		}
		changes := w.source.Delta(w.ctx, d.ID, "")
		for _, err := range changes.All() {
			if err != nil {
				return err
			}
		}
		lost = changes.Cursor()
		_, err = tx.ExecContext(w.t.Context(), `UPDATE drive_state SET cursor = $1 WHERE unit = $2`, lost, string(unit.ID))
		return err
	}))
	w.skew.Add(int64(8 * 24 * time.Hour))
	w.same("the point", w.look(home), w.kept(w.backUp(unit).Tree))
	if n := value(t, w.engine.metrics.found); n == 0 {
		t.Error("no change was counted as found")
	}
	if !strings.Contains(w.log.String(), "the source left a change out") {
		t.Errorf("the log says %s", w.log)
	}
}

func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestKilledRunLeavesNoGhosts(t *testing.T) {
	w := newWorld(t, "ann")
	w.engine.CheckpointBytes = 10_000
	home := w.home(0)
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("f%02d", i)] = strings.Repeat(fmt.Sprint(i), 1000)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	w.stopAfter("download", 30, jobs.Backup, string(unit.ID), w.engine.backup)
	// What goes now is in no delta, since the run before kept no cursor.
	for i := range 20 {
		w.must(os.Remove(filepath.Join(home, fmt.Sprintf("f%02d", i))))
	}
	w.reset()
	w.same("the point", w.look(home), w.kept(w.backUp(unit).Tree))
	if n := w.asked("download"); n >= 20 {
		t.Errorf("%d downloads of the 20 files that are left: what was downloaded before is not used", n)
	}
}

func TestPlayItemsThatFailForEverCostLittle(t *testing.T) {
	w := newWorld(t, "ann")
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("f%03d.txt", i)] = fmt.Sprint("content ", i)
	}
	w.put(w.home(0), files)
	unit := w.protectAll()[0]
	bad := map[string]bool{}
	for name, id := range w.ids(0) {
		if name < "f200" && strings.HasPrefix(name, "f") {
			bad[string(id)] = true
		}
	}
	w.faults.Add(simtenant.Fault{Status: 503, Match: func(r *http.Request) bool {
		id, ok := contentAt(r.URL.Path)
		return ok && bad[id]
	}})
	w.reset()
	slept := w.wait.Load()
	point := w.backUp(unit)
	if point.Files != 100 || point.Unread != 200 || len(w.unread(unit)) != 200 {
		t.Errorf("%d files, %d unread in the point, %d named", point.Files, point.Unread, len(w.unread(unit)))
	}
	if n := w.asked("all"); n > 2800 {
		t.Errorf("%d requests for 100 files and 200 that fail", n)
	}
	if slept := time.Duration(w.wait.Load() - slept); slept > 3*time.Minute {
		t.Errorf("the source's client slept %v", slept)
	}
	p := w.unit(unit.ID).Problem
	if p == nil || len(p.Details) != maxDetails || !strings.Contains(p.Message, "200 items") {
		t.Errorf("the unit says %+v", p)
	}
	// They are not all asked for again in each run.
	w.reset()
	w.backUp(unit)
	w.backUp(unit)
	w.reset()
	w.backUp(unit)
	if n := w.asked("all"); n > 50 {
		t.Errorf("%d requests in a run in which nothing changed and nothing is due", n)
	}
	w.faults.Clear()
	w.skew.Add(int64(time.Hour * 24))
	w.backUp(unit)
	w.same("the point", w.look(w.home(0)), w.kept(w.latest(unit).Tree))
}

// unread returns what a unit's newest point says that it does not hold.
func (w *world) unread(u backup.Unit) []backup.Unread {
	w.t.Helper()
	_, s, err := w.catalog.UnitForRestore(w.ctx, w.tenant, u.ID)
	w.must(err)
	return s.Pending
}
