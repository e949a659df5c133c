package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// damages are what may have become of a drive by the time it is restored.
var damages = map[string]func(w *world, home string){
	"encrypted": func(w *world, home string) {
		var files []string
		w.must(filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, path)
			}
			return err
		}))
		for i, path := range files {
			b, err := os.ReadFile(path)
			w.must(err)
			for k := range b {
				b[k] ^= 0x5a
			}
			w.must(os.WriteFile(path, append(b, "locked"...), 0o644))
			// Some encryptors rename, others write anew and delete.
			switch i % 3 {
			case 0:
				w.must(os.Rename(path, path+".locked"))
			case 1:
				w.must(os.WriteFile(path+".locked", b, 0o644))
				w.must(os.Remove(path))
			}
		}
		w.must(os.WriteFile(filepath.Join(home, "HOW TO PAY.txt"), []byte("ha"), 0o644))
	},
	"emptied": func(w *world, home string) {
		entries, err := os.ReadDir(home)
		w.must(err)
		for _, e := range entries {
			w.must(os.RemoveAll(filepath.Join(home, e.Name())))
		}
	},
	"edited": func(w *world, home string) {
		w.must(os.WriteFile(filepath.Join(home, "plain.txt"), []byte("edited"), 0o644))
		w.must(os.WriteFile(filepath.Join(home, "folder/sub/b.txt"), nil, 0o644))
		w.must(os.WriteFile(filepath.Join(home, "empty.bin"), []byte("no longer"), 0o644))
		w.must(os.Rename(filepath.Join(home, "folder/a.txt"), filepath.Join(home, "empty folder/a.txt")))
		w.must(os.MkdirAll(filepath.Join(home, "extra/with/files"), 0o755))
		w.must(os.WriteFile(filepath.Join(home, "extra/with/files/x"), []byte("x"), 0o644))
		at := time.Now().Add(-time.Hour).Truncate(time.Second)
		w.must(os.Chtimes(filepath.Join(home, ".hidden"), at, at))
	},
	"shuffled": func(w *world, home string) {
		swap := func(a, b string) {
			a, b = filepath.Join(home, a), filepath.Join(home, b)
			w.must(os.Rename(a, a+"~"))
			w.must(os.Rename(b, a))
			w.must(os.Rename(a+"~", b))
		}
		swap("plain.txt", ".hidden")
		swap("folder/sub/b.txt", "folder/sub/c.txt")
		swap("folder", "empty folder")
		swap("empty.bin", "d") // a file under a folder's name
		// A folder goes into what was below it.
		w.must(os.Rename(filepath.Join(home, "empty.bin/d/d"), filepath.Join(home, "top")))
		w.must(os.Rename(filepath.Join(home, "empty.bin"), filepath.Join(home, "top/inside")))
		w.must(os.Mkdir(filepath.Join(home, "big.bin.d"), 0o755))
		w.must(os.Rename(filepath.Join(home, "big.bin"), filepath.Join(home, "big.bin.d/big.bin")))
		w.must(os.Rename(filepath.Join(home, "big.bin.d"), filepath.Join(home, "big.bin")))
	},
	"made again": func(w *world, home string) {
		// Another folder and other files, in the places of the old ones.
		w.must(os.RemoveAll(filepath.Join(home, "folder")))
		w.must(os.MkdirAll(filepath.Join(home, "Folder/sub"), 0o755))
		w.must(os.WriteFile(filepath.Join(home, "Folder/sub/B.txt"), []byte("another b"), 0o644))
		w.must(os.WriteFile(filepath.Join(home, "Folder/a.txt"), []byte("a"), 0o644))
	},
}

func TestRestoreInPlace(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann")
			home := w.home(0)
			w.put(home, oddFiles())
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			want := w.look(home)
			damage(w, home)
			harm := w.look(home)
			a := w.restored(point, backup.DestinationInPlace)
			w.same("the drive", want, w.look(home))
			if a.RestoredSiteWebURL == "" {
				t.Error("the artifact does not say where it was restored to")
			}
			// It can be undone: the state before the restore is a point too.
			points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID})
			w.must(err)
			if len(points.Items) < 3 {
				t.Fatalf("%d points, want one before and one after the restore", len(points.Items))
			}
			undo := points.Items[len(points.Items)-2]
			w.same("the point before the restore", harm, w.kept(undo.Tree))
			// Nothing is left to do.
			w.reset()
			w.restored(point, backup.DestinationInPlace)
			for _, kind := range []string{"upload", "patch", "delete", "create", "download"} {
				w.wantAsked(kind, 0)
			}
		})
	}
}

func TestRestoreTransfersOnlyWhatDiffers(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	w.must(os.WriteFile(filepath.Join(home, "plain.txt"), []byte("edited"), 0o644))
	w.must(os.Rename(filepath.Join(home, "big.bin"), filepath.Join(home, "folder/big.bin")))
	w.must(os.Remove(filepath.Join(home, ".hidden")))
	w.backUp(unit)
	w.reset()
	w.restored(point, backup.DestinationInPlace)
	w.same("the drive", want, w.look(home))
	w.wantAsked("upload", 2)
	w.wantAsked("download", 0) // what was uploaded is known
	w.wantAsked("delete", 0)
}

// The unit's own backups go on while it is restored, perhaps in another process.
func TestBackupsGoOnDuringRestore(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	damages["encrypted"](w, home)
	a := w.activate(point, backup.DestinationInPlace)
	restore := w.claim(jobs.Restore, string(a.ID))
	other := New(w.engine.Config)
	done := make(chan error, 1)
	go func() {
		for {
			_, err := w.engine.restore(w.ctx, restore)
			if !errors.Is(err, catalog.ErrMoved) { // else it is the job's turn again, where so many backups follow one another
				done <- err
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case err := <-done:
			w.must(err)
			running = false
		default:
			w.run(jobs.Backup, string(unit.ID), other.backup)
		}
	}
	w.same("the drive", want, w.look(home))
	w.same("the next point", want, w.kept(w.backUp(unit).Tree))
}

// An owner who was deleted and made again has another drive.
func TestDriveThatWasReplaced(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.put(w.home(0), map[string]string{"a.txt": "old drive"})
	w.put(w.home(1), map[string]string{"b.txt": "new drive"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	other, err := w.source.UserDrive(w.ctx, w.users[1].ID)
	w.must(err)
	w.faults.Add(simtenant.Fault{Status: 200, Body: fmt.Sprintf(`{"id":%q,"name":"OneDrive"}`, other.ID), Match: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/"+string(unit.Subject)+"/drive")
	}})
	w.skew.Add(int64(askEvery * w.engine.Interval)) // until then the drive is remembered
	w.same("the new drive's point", w.look(w.home(1)), w.kept(w.backUp(unit).Tree))
	w.same("the old drive's point", w.look(w.home(0)), w.kept(point.Tree))

	a := w.activate(point, backup.DestinationInPlace)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a, err = w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	if a.Status != backup.ArtifactFailed || a.Problem == nil || a.Problem.Code != backup.ArtifactCannotBeRestored {
		t.Errorf("restore in place of the old drive's point: %s, %+v", a.Status, a.Problem)
	}
	a = w.restored(point, backup.DestinationNew)
	w.same("the new place", w.look(w.home(0)), w.library(backup.Unit{Subject: backup.SubjectID(w.users[1].ID)}, a.RestoredSiteName))

	w.faults.Clear() // back to the drive that we once knew
	w.skew.Add(int64(askEvery * w.engine.Interval))
	w.put(w.home(0), map[string]string{"a.txt": "old drive, edited"})
	w.same("the old drive's next point", w.look(w.home(0)), w.kept(w.backUp(unit).Tree))
	w.same("the one after it", w.look(w.home(0)), w.kept(w.backUp(unit).Tree))
}

func TestRestoreOfUnprotectedUnit(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	_, err := w.catalog.DeactivatePolicy(w.ctx, w.tenant, unit.Policy, backup.Stamp{})
	w.must(err)
	w.run(jobs.Settle, string(unit.Policy), w.engine.settle)
	w.put(home, map[string]string{"a.txt": "edited", "b.txt": "b"})
	w.restored(point, backup.DestinationInPlace)
	w.same("the drive", want, w.look(home))
	if got := w.unit(unit.ID); got.Status != backup.UnitUnprotected {
		t.Errorf("the unit is %s, want unprotected as before", got.Status)
	}
}

func TestRestoreToNewPlace(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	damages["encrypted"](w, home)
	live := w.look(home)
	original, err := w.source.UserDrive(w.ctx, backup.ObjectID(unit.Subject))
	w.must(err)
	for n := range 2 {
		a := w.restored(point, backup.DestinationNew)
		w.same("the live drive", live, w.look(home))
		if a.RestoredSiteName != fmt.Sprintf("DocumentsR%d", n) || a.RestoredSiteWebURL != fmt.Sprintf("%sR%d", original.WebURL, n) || a.RestoredSiteID == "" {
			t.Errorf("restored to %q, %q, %q", a.RestoredSiteName, a.RestoredSiteID, a.RestoredSiteWebURL)
		}
		w.same("the new place", want, w.library(unit, a.RestoredSiteName))
	}
}

// library returns what a library beside a unit's drive holds, as the source
// tells it.
func (w *world) library(u backup.Unit, name string) state {
	w.t.Helper()
	home, err := w.source.UserDrive(w.ctx, backup.ObjectID(u.Subject))
	w.must(err)
	d, ok, err := w.source.FindLibrary(w.ctx, home.ID, name)
	w.must(err)
	if !ok {
		w.t.Fatalf("there is no library %s", name)
	}
	listed := &stage{source: driveSource{w.source, d.ID}}
	defer listed.close()
	w.must(listed.read(w.ctx, ""))
	s := state{}
	var path func(id backup.ItemID) string
	path = func(id backup.ItemID) string {
		item := listed.items.of(id)
		if item.Root {
			return ""
		}
		if above := path(item.Parent); above != "" {
			return above + "/" + item.Name
		}
		return item.Name
	}
	for _, item := range listed.items.all() {
		id := item.ID
		if item.Root || item.Deleted {
			continue
		}
		what := "folder"
		if item.Kind == backup.File {
			body, err := w.source.Download(w.ctx, d.ID, id)
			w.must(err)
			var b strings.Builder
			_, err = io.Copy(&b, body)
			w.must(errors.Join(err, body.Close()))
			what = digest([]byte(b.String()))
		}
		s[path(id)] = what + " " + item.Modified.UTC().Format(time.DateTime)
	}
	return s
}

func TestRestoreReportsWhatItCouldNotDo(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b.txt": "b"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	w.put(home, map[string]string{"a.txt": "locked", "b.txt": "edited"})
	locked := w.faultsOnContentOf("locked")
	w.faults.Add(simtenant.Fault{Status: 423, Body: `{"error":{"code":"resourceLocked","message":"open"}}`, Match: func(r *http.Request) bool {
		path := r.URL.Path
		r = r.Clone(r.Context())
		r.URL.Path = strings.Replace(path, "/createUploadSession", "/content", 1)
		return strings.HasSuffix(path, "/createUploadSession") && locked(r)
	}})
	a := w.activate(point, backup.DestinationInPlace)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	if a.Status != backup.ArtifactFailed || a.Problem == nil || len(a.Problem.Details) != 1 || a.Problem.Details[0].Target != "a.txt" {
		t.Fatalf("the artifact is %s, %+v", a.Status, a.Problem)
	}
	got := w.look(home)
	if !strings.HasPrefix(got["b.txt"], digest([]byte("b"))) || !strings.HasPrefix(got["a.txt"], digest([]byte("locked"))) {
		t.Errorf("the drive holds %v", got)
	}
}

func TestRestoreOfExpiredPoint(t *testing.T) {
	w := newWorld(t, "ann")
	unit := w.protectAll()[0]
	w.backUp(unit)
	point := w.backUp(unit) // not the week's first
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.OneDrive, backup.RestoreStandard,
		[]catalog.NewArtifact{{Point: point.ID, Destination: backup.DestinationInPlace}}, backup.Stamp{})
	w.must(err)
	w.skew.Store(int64(15 * 24 * time.Hour))
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	a := w.activateSession(s)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a, err = w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	if a.Status != backup.ArtifactFailed || a.Problem == nil || a.Problem.Code != backup.InvalidRestoreTime {
		t.Errorf("the artifact is %s, %+v", a.Status, a.Problem)
	}
}

// Whatever moment a backup or a restore is stopped at, running it again brings
// it to the same end.
func TestPlayStoppedAnywhereItConverges(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 8365))
	for _, name := range []string{"encrypted", "emptied", "shuffled", "made again", "new place"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann")
			w.engine.CheckpointBytes = 1 << 20
			home := w.home(0)
			w.put(home, oddFiles())
			unit := w.protectAll()[0]
			stops := w.stopping(random, 40, jobs.Backup, string(unit.ID), w.engine.backup)
			point := w.latest(unit)
			want := w.look(home)
			w.same("the point", want, w.kept(point.Tree))

			to := backup.DestinationInPlace
			if damage := damages[name]; damage != nil {
				damage(w, home)
			} else {
				to = backup.DestinationNew
			}
			a := w.activate(point, to)
			stops += w.stopping(random, 60, jobs.Restore, string(a.ID), w.engine.restore)
			a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
			w.must(err)
			if a.Status != backup.ArtifactSucceeded {
				t.Fatalf("the artifact is %s, %+v\n%s", a.Status, a.Problem, w.log)
			}
			w.same("the drive", want, w.look(home))
			if to == backup.DestinationNew {
				if !strings.HasSuffix(a.RestoredSiteName, "R0") {
					t.Errorf("restored to %s", a.RestoredSiteName)
				}
				w.same("the new place", want, w.library(unit, a.RestoredSiteName))
			}
			report, err := w.vault.Verify(w.ctx, []string{point.Tree}, vault.VerifyOptions{Share: 1})
			w.must(errors.Join(err, report.Err()))
			t.Log(stops, "stops")
		})
	}
}

// stopping runs a job again and again, each time stopping it after a random
// number of requests, until it ends by itself. It returns how often it stopped.
func (w *world) stopping(random *rand.Rand, spread int, kind jobs.Kind, key string, h jobs.Handler) int {
	w.t.Helper()
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(w.ctx)
		left := int64(1 + random.IntN(spread))
		var asked atomic.Int64
		if stops < 12 {
			w.onRequest(func(*http.Request) {
				if asked.Add(1) == left {
					cancel()
				}
			})
		}
		err := w.try(ctx, kind, key, h)
		cancel()
		w.onRequest(nil)
		if err == nil {
			return stops
		}
		if !errors.Is(err, context.Canceled) {
			w.t.Fatalf("%s: %v", kind, err)
		}
	}
}

// Whether all is as it shall be is looked for in the delta, once the drive was
// enumerated and changed; in another enumeration only where the delta does not speak
// of all that was changed.
func TestRestoreInPlaceEnumeratesOnce(t *testing.T) {
	var silent atomic.Bool // says no more of what changed
	var whole, changes atomic.Int64
	w := newWorldBehind(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case !strings.HasSuffix(r.URL.Path, "/delta"):
			case !r.URL.Query().Has("token") && !r.URL.Query().Has("$skiptoken"):
				whole.Add(1)
			case silent.Load() && r.URL.Query().Has("token"):
				changes.Add(1)
				fmt.Fprintf(rw, `{"value":[],"@odata.deltaLink":"http://%s%s"}`, r.Host, r.URL.RequestURI())
				return
			default:
				changes.Add(1)
			}
			sim.ServeHTTP(rw, r)
		})
	}, "ann")
	home := w.home(0)
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprintf("%d/file %d.txt", i%4, i)] = fmt.Sprint("content ", i)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	want := w.look(home)
	for _, row := range []struct {
		silent bool
		whole  int64
	}{{false, 1}, {true, 2}} {
		w.must(os.WriteFile(home+"/1/file 1.txt", []byte("encrypted"), 0o644))
		w.must(os.Remove(home + "/2/file 2.txt"))
		w.must(os.WriteFile(home+"/3/new.txt", []byte("new"), 0o644))
		whole.Store(0)
		changes.Store(0)
		w.onRequest(func(r *http.Request) {
			if row.silent && r.Method == http.MethodDelete {
				silent.Store(true)
			}
		})
		a := w.restored(point, backup.DestinationInPlace)
		w.onRequest(nil)
		silent.Store(false)
		if a.Problem != nil {
			t.Errorf("the artifact says %+v", a.Problem)
		}
		w.same("the drive", want, w.look(home))
		if whole.Load() != row.whole || changes.Load() == 0 {
			t.Errorf("silent %v: the drive was enumerated %d times, and asked %d times for its changes", row.silent, whole.Load(), changes.Load())
		}
	}
}
