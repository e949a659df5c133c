package engine

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// oddFiles are names and shapes that break careless programs.
func oddFiles() map[string]string {
	deep := strings.Repeat("d/", 40)
	return map[string]string{
		"plain.txt":                 "plain",
		"empty.bin":                 "",
		"empty folder/":             "",
		"with spaces  and.dots...x": "spaces",
		"50% of #1 & more+plus.txt": "signs",
		"%41.txt":                   "not an A",
		".hidden":                   "dot",
		"Größe 日本語 🎉.txt":           "unicode",
		"e\u0301 decomposed.txt":    "nfd",
		"it's (a) [test] {x}~.txt":  "brackets",
		deep + "deep.txt":           "deep",
		"folder/a.txt":              "a",
		"folder/sub/b.txt":          "b",
		"folder/sub/c.txt":          "c",
		"big.bin":                   strings.Repeat("0123456789abcdef", 300_000),
	}
}

func TestFirstBackupHoldsEveryByteAndTime(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), oddFiles())
	unit := w.protectAll()[0]
	if unit.Status != backup.UnitProtectRequested {
		t.Fatalf("the unit is %s before its first backup", unit.Status)
	}
	point := w.backUp(unit)
	w.same("the point", w.look(w.home(0)), w.kept(point.Tree))
	if got := w.unit(unit.ID); got.Status != backup.UnitProtected || got.Problem != nil {
		t.Errorf("the unit is %s, %+v, want protected", got.Status, got.Problem)
	}
	if point.Files != 14 || point.Bytes < 4_800_000 {
		t.Errorf("the point counts %d files and %d bytes", point.Files, point.Bytes)
	}
	if !strings.Contains(w.log.String(), "drive backed up") {
		t.Error("the log does not mention the backup")
	}
}

func TestSecondBackupTransfersOnlyWhatChanged(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	first := w.backUp(unit)

	w.reset()
	again := w.backUp(unit)
	w.wantAsked("download", 0)
	if again.Tree != first.Tree || again.ID == first.ID {
		t.Errorf("an unchanged drive gave point %s with tree %s after %s with %s", again.ID, again.Tree, first.ID, first.Tree)
	}

	// A changed file, a new one, a deleted one, a folder that moves with all it
	// holds and another that is deleted with all it holds.
	w.put(home, map[string]string{"new.txt": "new", "plain.txt": "changed", "gone/x/y.txt": "y"})
	w.backUp(unit)
	w.must(os.Remove(filepath.Join(home, ".hidden")))
	w.must(os.RemoveAll(filepath.Join(home, "gone")))
	w.must(os.Rename(filepath.Join(home, "folder"), filepath.Join(home, "d", "moved")))
	w.must(os.Rename(filepath.Join(home, "empty.bin"), filepath.Join(home, "renamed.bin")))
	w.must(os.WriteFile(filepath.Join(home, "new.txt"), []byte("newer"), 0o644))
	w.age(home)
	w.reset()
	before := w.vault.Counters()
	point := w.backUp(unit)
	w.wantAsked("download", 1)
	w.same("the point", w.look(home), w.kept(point.Tree))
	if n := w.vault.Counters().ObjectsWritten - before.ObjectsWritten; n > 100 {
		t.Errorf("%d objects written for a handful of changes", n)
	}
	if kept := w.kept(first.Tree); !strings.HasPrefix(kept["plain.txt"], digest([]byte("plain"))) {
		t.Errorf("the first point holds %s", kept["plain.txt"])
	}
}

func TestPlayManyFilesInOneFolder(t *testing.T) {
	w := newWorld(t, "ann")
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("all/file %04d.txt", i)] = fmt.Sprint("content ", i)
	}
	w.put(w.home(0), files)
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	if point.Files != 3000 {
		t.Errorf("%d files in the point, want 3000", point.Files)
	}
	w.same("the point", w.look(w.home(0)), w.kept(point.Tree))
}

func TestResyncComparesAndInfersNothing(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	w.backUp(unit)

	w.must(os.RemoveAll(filepath.Join(home, "folder")))
	w.put(home, map[string]string{"plain.txt": "changed"})
	delta := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/delta") }
	// The stored token is refused, and then the new enumeration's own.
	w.faults.Add(simtenant.Fault{Match: delta, Times: 1, Status: 410, Body: `{"error":{"code":"resyncRequired","message":"again"}}`})
	w.faults.Add(simtenant.Fault{Match: delta, Skip: 1, Times: 1, Status: 410, Body: `{"error":{"code":"resyncRequired","message":"again"}}`})
	w.reset()
	point := w.backUp(unit)
	w.wantAsked("download", 1)
	w.same("the point", w.look(home), w.kept(point.Tree))
}

func TestPlaySourceHabitsDoNotMatter(t *testing.T) {
	for name, set := range map[string]func(*simtenant.Options){
		"small shuffled pages": func(o *simtenant.Options) { o.PageSize, o.Shuffle, o.Repeat, o.EmptyPages = 3, true, true, true },
		"sparse items":         func(o *simtenant.Options) { o.OmitCTag, o.OmitPath, o.NoAncestors = true, true, true },
		"no hash":              func(o *simtenant.Options) { o.OmitHash, o.StreamContent, o.IgnoreRange = true, true, true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann")
			w.faults.Set(set)
			home := w.home(0)
			w.put(home, oddFiles())
			unit := w.protectAll()[0]
			w.same("the first point", w.look(home), w.kept(w.backUp(unit).Tree))
			w.must(os.Rename(filepath.Join(home, "folder"), filepath.Join(home, "other")))
			w.must(os.RemoveAll(filepath.Join(home, "d/d")))
			w.put(home, map[string]string{"plain.txt": "changed"})
			w.reset()
			w.same("the second point", w.look(home), w.kept(w.backUp(unit).Tree))
			if name == "no hash" {
				// Nothing but a tag says that those whose times changed are as
				// they were.
				w.wantAsked("download", 4)
			} else {
				w.wantAsked("download", 1)
			}
		})
	}
}

func TestThrottledSourceIsWaitedFor(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), oddFiles())
	unit := w.protectAll()[0]
	for i, status := range []int{429, 503, 500, 504, 429, 503} {
		w.faults.Add(simtenant.Fault{Skip: 3 * i, Times: 1, Status: status, Header: http.Header{"Retry-After": {"2"}},
			Match: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1.0/") }})
	}
	point := w.backUp(unit)
	w.same("the point", w.look(w.home(0)), w.kept(point.Tree))
}

func TestSourceOutageIsTheUnitsError(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	w.faults.Add(simtenant.Fault{Status: 503, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/delta") }})
	if err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup); err == nil {
		t.Fatal("the backup succeeded while the source was away")
	}
	if got := w.unit(unit.ID); got.Status != backup.UnitUnprotected || got.Problem == nil || got.Problem.Code != backup.DriveUnavailable {
		t.Errorf("the unit is %s, %+v, want unprotected and DriveUnavailable", got.Status, got.Problem)
	}
	w.faults.Clear()
	w.backUp(unit)
	if got := w.unit(unit.ID); got.Status != backup.UnitProtected || got.Problem != nil {
		t.Errorf("the unit is %s, %+v once the source is back", got.Status, got.Problem)
	}
}

func TestOwnerWithoutDrive(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	units := w.protectAll()
	w.faults.Add(simtenant.Fault{Status: 404, Body: `{"error":{"code":"ResourceNotFound","message":"User's mysite not found."}}`,
		Match: func(r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/"+string(units[0].Subject)+"/drive")
		}})
	w.faults.Add(simtenant.Fault{Status: 404, Body: `{"error":{"code":"Request_ResourceNotFound","message":"No such user."}}`,
		Match: func(r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/"+string(units[1].Subject)+"/drive")
		}})
	for i, want := range []backup.Code{backup.DriveNotFound, backup.ProtectionUnitNotFound} {
		w.run(jobs.Backup, string(units[i].ID), w.engine.backup)
		if got := w.unit(units[i].ID); got.Problem == nil || got.Problem.Code != want {
			t.Errorf("the unit's error is %+v, want %s", got.Problem, want)
		}
	}
}

func TestUnreadableFileIsNamedAndTriedAgain(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"good.txt": "good", "folder/bad.txt": "old content"})
	unit := w.protectAll()[0]
	w.backUp(unit)

	w.put(home, map[string]string{"good.txt": "better", "folder/bad.txt": "infected", "folder/worse.txt": "new and infected"})
	infected := w.faultsOnContentOf("infected")
	w.faults.Add(simtenant.Fault{Status: 403, Body: `{"error":{"code":"malwareDetected","message":"x"}}`, Match: infected})
	point := w.backUp(unit)
	got := w.unit(unit.ID)
	if got.Status != backup.UnitProtected || got.Problem == nil || got.Problem.Code != backup.ItemsNotBackedUp || len(got.Problem.Details) != 2 {
		t.Fatalf("the unit is %s, %+v", got.Status, got.Problem)
	}
	var named []string
	for _, d := range got.Problem.Details {
		named = append(named, d.Target)
	}
	if all := strings.Join(named, " "); !strings.Contains(all, "folder/bad.txt") || !strings.Contains(all, "folder/worse.txt") {
		t.Errorf("the error names %v", named)
	}
	kept := w.kept(point.Tree)
	if !strings.HasPrefix(kept["folder/bad.txt"], digest([]byte("old content"))) || !strings.HasPrefix(kept["good.txt"], digest([]byte("better"))) {
		t.Errorf("the point holds %v", kept)
	}
	if _, ok := kept["folder/worse.txt"]; ok {
		t.Error("the point holds a file that could not be read")
	}

	// No delta mentions them again, and yet they are read once they can be.
	w.faults.Clear()
	point = w.backUp(unit)
	w.same("the point", w.look(home), w.kept(point.Tree))
	if got := w.unit(unit.ID); got.Problem != nil {
		t.Errorf("the error still stands: %+v", got.Problem)
	}
}

// faultsOnContentOf matches the downloads of files that hold a text: by their
// order, since requests name ids only. It learns ids from the source.
func (w *world) faultsOnContentOf(text string) func(*http.Request) bool {
	w.t.Helper()
	bad := map[string]bool{}
	for _, u := range w.users {
		d, err := w.source.UserDrive(w.ctx, u.ID)
		w.must(err)
		for item, err := range w.source.Delta(w.ctx, d.ID, "").All() {
			w.must(err)
			if item.Kind != backup.File {
				continue
			}
			body, err := w.source.Download(w.ctx, d.ID, item.ID)
			w.must(err)
			b := make([]byte, item.Size)
			n, _ := body.Read(b)
			body.Close()
			if strings.Contains(string(b[:n]), text) {
				bad[string(item.ID)] = true
			}
		}
	}
	return func(r *http.Request) bool {
		id, ok := contentAt(r.URL.Path)
		return ok && bad[id]
	}
}

func TestFileThatVanishesMidRun(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b.txt": "b", "c.txt": "c"})
	unit := w.protectAll()[0]
	var once sync.Once
	w.onRequest(func(r *http.Request) {
		if _, ok := contentAt(r.URL.Path); ok {
			once.Do(func() {
				for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
					os.Remove(filepath.Join(home, name))
				}
			})
		}
	})
	w.backUp(unit)
	w.onRequest(nil)
	if got := w.unit(unit.ID); got.Status != backup.UnitProtected || got.Problem != nil {
		t.Errorf("the unit is %s, %+v, want protected", got.Status, got.Problem)
	}
	if point := w.backUp(unit); point.Files != 0 {
		t.Errorf("%d files in the point of an empty drive", point.Files)
	}
}

func TestUnitThatIsNotWantedAnyMore(t *testing.T) {
	w := newWorld(t, "ann")
	unit := w.protectAll()[0]
	w.backUp(unit)
	_, err := w.catalog.DeactivatePolicy(w.ctx, w.tenant, unit.Policy, backup.Stamp{})
	w.must(err)
	result, err := w.engine.backup(w.ctx, w.claim(jobs.Backup, string(unit.ID)))
	if err != nil || result != jobs.Done {
		t.Errorf("backup of an unwanted unit = %v, %v, want Done", result, err)
	}
}

func TestCheckpointsOutliveTheRun(t *testing.T) {
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
	points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID})
	w.must(err)
	if len(points.Items) != 0 {
		t.Errorf("%d points of a backup that did not finish", len(points.Items))
	}
	w.reset()
	point := w.backUp(unit)
	if n := w.asked("download"); n > 25 {
		t.Errorf("%d downloads after a restart, of 40 files of which 30 had been asked for", n)
	}
	w.same("the point", w.look(home), w.kept(point.Tree))
}

func TestTwoDrivesAtOnce(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.put(w.home(0), oddFiles())
	w.put(w.home(1), map[string]string{"bob.txt": "bob", "folder/a.txt": "a"})
	units := w.protectAll()
	w.claim(jobs.Backup, string(units[0].ID)) // enqueues, as activation does
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		return w.queue.Enqueue(w.ctx, tx, jobs.Spec{Kind: jobs.Backup, Key: string(units[1].ID), Tenant: w.tenant})
	}))
	claimed, err := w.queue.Claim(w.ctx, jobs.Backup, 10, time.Minute, "test")
	w.must(err)
	if len(claimed) != 2 {
		t.Fatalf("%d jobs, want 2", len(claimed))
	}
	var running sync.WaitGroup
	for _, j := range claimed {
		running.Go(func() {
			if _, err := w.engine.backup(w.ctx, j); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	for i, u := range units {
		w.same("drive "+w.users[i].DisplayName, w.look(w.home(i)), w.kept(w.latest(u).Tree))
	}
}

func TestExpiredPointsLeaveTheVault(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "one"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	w.put(home, map[string]string{"a.txt": "two"})
	second := w.backUp(unit)
	w.skew.Store(int64(15 * 24 * time.Hour))
	w.put(home, map[string]string{"a.txt": "three"})
	last := w.backUp(unit)
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)
	if _, err := w.catalog.Point(w.ctx, w.tenant, second.ID); err == nil {
		t.Error("the second point is still listed")
	}
	w.same("the last point", w.look(home), w.kept(last.Tree))
	w.same("the next point", w.look(home), w.kept(w.backUp(unit).Tree))
}
