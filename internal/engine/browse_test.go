package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// children returns what a folder of a point holds, without places.
func (w *world) children(p backup.Point, folder backup.ItemID) (all []backup.Item, err error) {
	for item, err := range w.engine.Children(w.ctx, p, folder, 0) {
		if err != nil {
			return all, err
		}
		item.At = 0
		all = append(all, item)
	}
	return all, nil
}

// find returns an item of a point by its path, as a client that browses would.
func (w *world) find(p backup.Point, at string) backup.Item {
	w.t.Helper()
	item, err := w.engine.Item(w.ctx, p, backup.ItemRef{})
	w.must(err)
	for name := range strings.SplitSeq(at, "/") {
		below, err := w.children(p, item.ID)
		w.must(err)
		found := false
		for _, i := range below {
			if i.Name == name {
				item, found = i, true
			}
		}
		if !found {
			w.t.Fatalf("the point has no %s", at)
		}
	}
	again, err := w.engine.Item(w.ctx, p, backup.RefOf(item.ID))
	w.must(err)
	if again != item {
		w.t.Errorf("by its key it is %+v, by its place %+v", again, item)
	}
	return item
}

// granular makes a session of what is at paths of a point.
func (w *world) granular(p backup.Point, paths ...string) backup.Session {
	w.t.Helper()
	workload := w.unit(p.Unit).Workload
	b, err := w.catalog.CreateBrowseSession(w.ctx, w.tenant, workload, p.ID, backup.Stamp{At: w.engine.Clock()})
	w.must(err)
	var items []catalog.NewGranular
	for _, at := range paths {
		item := w.find(p, at)
		items = append(items, catalog.NewGranular{Browse: b, Key: backup.KeyOf(w.tenant, p.Drive, item.ID), Item: item, WebURL: backup.WebURL(b.WebURL, at)})
	}
	s, err := w.catalog.CreateGranularSession(w.ctx, w.tenant, workload, items, backup.Stamp{})
	w.must(err)
	return s
}

func (w *world) items(s backup.Session) []backup.GranularArtifact {
	w.t.Helper()
	l, err := w.catalog.GranularArtifacts(w.ctx, w.tenant, s.ID, catalog.Page{})
	w.must(err)
	return l.Items
}

// below returns what of a state is in a folder, by its path there.
func below(s state, folder string) state {
	in := state{}
	for at, what := range s {
		if rest, ok := strings.CutPrefix(at, folder+"/"); ok {
			in[rest] = what
		}
	}
	return in
}

func TestRestoreOfFilesAndFolders(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	files := oddFiles()
	files["other/plain.txt"] = "another of the same name"
	w.put(home, files)
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	was := w.look(home)
	for _, at := range []string{"plain.txt", "other/plain.txt", "folder"} { // shown with when they last changed
		if item := w.find(point, at); item.Created.IsZero() || !strings.HasSuffix(was[at], " "+item.Modified.UTC().Format(time.DateTime)) {
			t.Errorf("%s is shown as made at %v and changed at %v; it is %s", at, item.Created, item.Modified, was[at])
		}
	}
	damages["encrypted"](w, home)
	harm := w.look(home)

	s := w.granular(point, "plain.txt", "other/plain.txt", "folder", "big.bin")
	_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	for _, a := range w.items(s) {
		if !strings.Contains(a.WebURL, "/Documents/") {
			t.Errorf("%s was at %s", a.Name, a.WebURL)
		}
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem)
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem) // as after a crash
	}
	place := "Restored " + w.engine.Clock().UTC().Format(time.DateOnly) + " R0"
	now := w.look(home)
	want := state{"plain.txt": was["plain.txt"], "plain (1).txt": was["other/plain.txt"], "big.bin": was["big.bin"], "folder": was["folder"]}
	for at, what := range below(was, "folder") {
		want["folder/"+at] = what
	}
	w.same("the new folder", want, below(now, place))
	for at := range now {
		if at == place || strings.HasPrefix(at, place+"/") {
			delete(now, at)
		}
	}
	w.same("the rest of the drive", harm, now)
	names := map[string]bool{}
	for _, a := range w.items(s) {
		if a.Status != backup.ArtifactSucceeded || a.RestoredPath != "/"+place+"/"+a.Name || !strings.HasSuffix(a.RestoredWebURL, strings.ReplaceAll(backup.WebURL("x", a.RestoredPath[1:])[1:], " ", "%20")) || a.RestoredKey == "" {
			t.Errorf("artifact %+v", a)
		}
		names[a.Name] = true
	}
	if !names["plain (1).txt"] {
		t.Errorf("names are %v", names)
	}
	if got, err := w.catalog.Session(w.ctx, w.tenant, s.ID); err != nil || got.Status != backup.SessionCompleted || got.Counts.Completed != 4 {
		t.Errorf("the session is %+v, %v", got, err)
	}
	// What was restored is found by its key once it is in a point.
	next := w.backUp(unit)
	for _, a := range w.items(s) {
		ref, ok := a.RestoredKey.Below(backup.LibraryKey(w.tenant, next.Drive))
		item, err := w.engine.Item(w.ctx, next, ref)
		if !ok || err != nil || "/"+item.Path != a.RestoredPath {
			t.Errorf("%s is %+v, %v, %v", a.RestoredKey, item, ok, err)
		}
	}

	// Another session has another folder.
	s = w.granular(point, "plain.txt")
	_, err = w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.RestoreItem, string(w.items(s)[0].ID), w.engine.restoreItem)
	if got := w.items(s)[0]; got.RestoredPath != "/"+strings.TrimSuffix(place, "0")+"1/plain.txt" {
		t.Errorf("restored to %s", got.RestoredPath)
	}
}

func TestRestoreOfItemsStoppedAnywhere(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, oddFiles())
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	was := w.look(home)
	s := w.granular(point, "folder")
	_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	a := w.items(s)[0]
	stops := w.stopping(rand.New(rand.NewPCG(3, 8365)), 6, jobs.RestoreItem, string(a.ID), w.engine.restoreItem)
	a = w.items(s)[0]
	if a.Status != backup.ArtifactSucceeded {
		t.Fatalf("the artifact is %s, %+v\n%s", a.Status, a.Problem, w.log)
	}
	w.same("the folder", below(was, "folder"), below(w.look(home), a.RestoredPath[1:]))
	t.Log(stops, "stops")
}

// What somebody puts into the folder that is restored into, or edits or moves in
// there, while the restore is at work is neither written over nor taken for what
// was restored.
func TestRestoreOfItemsSparesWhatOthersPutThere(t *testing.T) {
	const own = "of somebody"
	for name, tt := range map[string]struct {
		files  map[string]string
		meddle func(w *world, place string) // when the last upload begins
		want   map[string]string
		named  string
	}{
		"a file of its name": {
			map[string]string{"folder/a.txt": "the content of a", "folder/b.txt": "b"},
			func(w *world, place string) {
				w.must(os.WriteFile(filepath.Join(place, "folder/b.txt"), []byte(own), 0o644))
			},
			map[string]string{"folder/a.txt": "the content of a", "folder/b.txt": own}, "folder/b.txt",
		},
		"a file of its name and size": {
			map[string]string{"folder/a.txt": "the content of a", "folder/b.txt": "eleven long"},
			func(w *world, place string) {
				w.must(os.WriteFile(filepath.Join(place, "folder/b.txt"), []byte(own), 0o644))
			},
			map[string]string{"folder/a.txt": "the content of a", "folder/b.txt": own}, "folder/b.txt",
		},
		"an edit": {
			map[string]string{"folder/a.txt": "eleven long", "folder/b.txt": "b"},
			func(w *world, place string) {
				w.must(os.WriteFile(filepath.Join(place, "folder/a.txt"), []byte(own), 0o644))
			},
			map[string]string{"folder/a.txt": own, "folder/b.txt": "b"}, "folder/a.txt",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ann")
			w.engine.Transfers = 1
			home := w.home(0)
			w.put(home, tt.files)
			unit := w.protectAll()[0]
			point := w.backUp(unit)
			place := filepath.Join(home, "Restored "+w.engine.Clock().UTC().Format(time.DateOnly)+" R0")
			var uploads atomic.Int32
			w.onRequest(func(r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/createUploadSession") {
					return
				}
				if uploads.Add(1) == int32(len(tt.files)) {
					tt.meddle(w, place)
				}
			})
			s := w.restoreItems(point, "folder")
			w.onRequest(nil)
			if s.Status != backup.SessionFailed || detail(s.Problem, tt.named) == "" {
				t.Errorf("the session is %s, %+v", s.Status, s.Problem)
			}
			got := w.look(place)
			for at, content := range tt.want {
				if !strings.HasPrefix(got[at], digest([]byte(content))) {
					t.Errorf("%s is %q", at, got[at])
				}
			}
			if len(got) != len(tt.want)+1 {
				t.Errorf("there is %v", got)
			}
		})
	}
	t.Run("the very items", func(t *testing.T) {
		w := newWorld(t, "ann")
		home := w.home(0)
		w.put(home, map[string]string{"b.txt": "b", "folder/a.txt": "a"})
		unit := w.protectAll()[0]
		point := w.backUp(unit)
		s := w.granular(point, "b.txt", "folder")
		_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
		w.must(err)
		file, folder := w.items(s)[0], w.items(s)[1]
		if file.Name == "folder" {
			file, folder = folder, file
		}
		w.run(jobs.RestoreItem, string(file.ID), w.engine.restoreItem)
		file, err = w.catalog.GranularForWork(w.ctx, w.tenant, file.ID)
		w.must(err)
		place := filepath.Dir(filepath.Join(home, filepath.FromSlash(file.RestoredPath)))
		w.must(os.WriteFile(filepath.Join(home, "folder/a.txt"), []byte(own), 0o644))
		w.must(os.Rename(filepath.Join(home, "folder"), filepath.Join(place, "folder")))
		w.run(jobs.RestoreItem, string(folder.ID), w.engine.restoreItem)
		if got := w.look(place); !strings.HasPrefix(got["folder/a.txt"], digest([]byte(own))) {
			t.Errorf("there is %v", got)
		}
		folder, err = w.catalog.GranularForWork(w.ctx, w.tenant, folder.ID)
		w.must(err)
		if folder.Status != backup.ArtifactFailed || detail(folder.Problem, "folder/a.txt") == "" {
			t.Errorf("the artifact is %s, %+v", folder.Status, folder.Problem)
		}
	})
}

// A folder restored into that holds another one, and that another, without end,
// ends the restore and not the process.
func TestRestoreOfItemsIntoFoldersWithoutEnd(t *testing.T) {
	var endless atomic.Bool
	var made atomic.Int64
	w := newWorldBehind(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			parts := strings.Split(r.URL.Path, "/")
			if !endless.Load() || r.Method != http.MethodGet || parts[len(parts)-1] != "children" {
				sim.ServeHTTP(rw, r)
				return
			}
			folder := parts[len(parts)-2]
			fmt.Fprintf(rw, `{"value":[{"id":"%d","name":"folder","folder":{"childCount":2},"parentReference":{"id":%q}},
				{"id":"%d","name":"other","folder":{"childCount":2},"parentReference":{"id":%q}}]}`, made.Add(1), folder, made.Add(1), folder)
		})
	}, "ann")
	w.put(w.home(0), map[string]string{"folder/a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	s := w.restoreItems(point, "folder")
	again := w.granular(point, "folder")
	_, err := w.catalog.ActivateSession(w.ctx, w.tenant, again.ID, backup.Stamp{})
	w.must(err)
	if s.Status != backup.SessionCompleted {
		t.Fatalf("the session is %s", s.Status)
	}
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/createUploadSession") { // the folder is made
			endless.Store(true)
		}
	})
	w.reset()
	err = w.try(w.ctx, jobs.RestoreItem, string(w.items(again)[0].ID), w.engine.restoreItem)
	if !errors.Is(err, errTangled) || w.asked("all") > 5000 {
		t.Errorf("it ends with %v after %d requests", err, w.asked("all"))
	}
}

// A browse session keeps its point, and what it names, past its time.
func TestOpen(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"folder/a.txt": "as it was"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	w.put(w.home(0), map[string]string{"folder/a.txt": "as it is"})
	w.backUp(unit)
	file, err := w.engine.Open(w.ctx, point, w.find(point, "folder/a.txt").ID)
	w.must(err)
	defer file.Close()
	if text, err := io.ReadAll(file); err != nil || string(text) != "as it was" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	for _, id := range []backup.ItemID{w.find(point, "folder").ID, "none"} {
		if _, err := w.engine.Open(w.ctx, point, id); !errors.Is(err, backup.ItemNotFound) {
			t.Errorf("open %s = %v", id, err)
		}
	}
}

func TestBrowsedPointsAreKept(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	w.must(os.WriteFile(filepath.Join(w.home(0), "a.txt"), []byte("edited"), 0o644))
	point := w.backUp(unit) // the newest, not the week's first
	w.must(os.WriteFile(filepath.Join(w.home(0), "a.txt"), []byte("edited again"), 0o644))
	w.skew.Store(int64(13*24*time.Hour + 20*time.Hour))
	s := w.granular(point, "a.txt")
	w.backUp(unit)
	w.skew.Store(int64(15 * 24 * time.Hour))
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	if _, err := w.catalog.Point(w.ctx, w.tenant, point.ID); err == nil {
		t.Error("the point has not expired")
	}
	_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	a := w.items(s)[0]
	w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem)
	a = w.items(s)[0]
	if a.Status != backup.ArtifactSucceeded {
		t.Fatalf("%+v", a)
	}
	if got, err := os.ReadFile(filepath.Join(w.home(0), filepath.FromSlash(a.RestoredPath))); err != nil || string(got) != "edited" {
		t.Errorf("restored %q, %v", got, err)
	}
	w.skew.Store(int64(18 * 24 * time.Hour))
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	if _, err := w.engine.Item(w.ctx, point, backup.ItemRef{}); err == nil {
		if points, err := w.catalog.LiveTrees(w.ctx, w.tenant, unit.ID, point.Drive); err != nil || strings.Contains(fmt.Sprint(points), point.Tree) {
			t.Errorf("the point is still kept: %v, %v", points, err)
		}
	}
}

func TestBulkRestore(t *testing.T) {
	w := newWorld(t, "ann", "bob", "eve")
	for i := range 3 {
		w.put(w.home(i), map[string]string{"a.txt": fmt.Sprint("of ", i)})
	}
	units := w.protectAll()
	was := []state{}
	for i, u := range units[:2] {
		w.backUp(u)
		was = append(was, w.look(w.home(i)))
		w.must(os.WriteFile(filepath.Join(w.home(i), "a.txt"), []byte("encrypted"), 0o644))
	}
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.OneDrive, backup.RestoreStandard, nil, backup.Stamp{})
	w.must(err)
	b, err := w.catalog.CreateBulkRestore(w.ctx, w.tenant, backup.BulkRequest{Session: s.ID, Destination: backup.DestinationInPlace,
		Addresses: []string{"ANN@example.com", "eve@example.com", "nobody@example.com"}, IDs: []string{string(units[1].Subject), string(units[0].Subject)}}, backup.Stamp{})
	w.must(err)
	_, err = w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.BulkRestore, string(b.ID), w.engine.bulkRestore)
	list, err := w.catalog.Artifacts(w.ctx, w.tenant, s.ID, catalog.Page{})
	w.must(err)
	if len(list.Items) != 2 {
		t.Fatalf("%d artifacts", len(list.Items))
	}
	for _, a := range list.Items {
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
	}
	for i := range was {
		w.same(fmt.Sprint("drive ", i), was[i], w.look(w.home(i)))
	}
	b, err = w.catalog.BulkRestore(w.ctx, w.tenant, s.ID, b.ID)
	w.must(err)
	if b.Status != backup.BulkRequestCompletedWithErrors || len(b.Problem.Details) != 2 || b.Problem.Details[0].Target != "eve@example.com" {
		t.Errorf("the request is %+v", b)
	}
	if got, err := w.catalog.Session(w.ctx, w.tenant, s.ID); err != nil || got.Status != backup.SessionCompleted {
		t.Errorf("the session is %+v, %v", got, err)
	}
}

// Two sessions that restore one drive in place would undo each other's work.
func TestOneRestoreInPlaceAtATime(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	first, second, beside := w.activate(point, backup.DestinationInPlace), w.activate(point, backup.DestinationInPlace), w.activate(point, backup.DestinationNew)
	w.must(w.catalog.StartArtifact(w.ctx, w.claim(jobs.Restore, string(first.ID)), first.ID))
	for _, a := range []backup.Artifact{second, beside, first} {
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
	}
	for i, a := range []backup.Artifact{first, second, beside} {
		a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
		w.must(err)
		if busy := i == 1; busy != (a.Status == backup.ArtifactFailed) || busy && a.Problem.Code != backup.DuplicateArtifactRestore {
			t.Errorf("artifact %d is %s, %+v", i, a.Status, a.Problem)
		}
	}
	w.restored(point, backup.DestinationInPlace)
}

// Nor may files and folders come into a drive while it is brought back in
// place, which would move them to the recycle bin: whichever comes second waits.
func TestRestoreOfItemsAndInPlaceExcludeEachOther(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	granular := func() (backup.Session, string) {
		s := w.granular(point, "a.txt")
		_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
		w.must(err)
		return s, string(w.items(s)[0].ID)
	}
	other := New(w.engine.Config) // another process
	status := func(a backup.Artifact) backup.ArtifactStatus {
		a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
		w.must(err)
		return a.Status
	}

	first, key := granular()
	w.must(w.catalog.StartGranular(w.ctx, w.claim(jobs.RestoreItem, key), backup.ArtifactID(key)))
	second := w.activate(point, backup.DestinationInPlace)
	if got, err := other.restore(w.ctx, w.claim(jobs.Restore, string(second.ID))); err != nil || got == jobs.Done || status(second) != backup.ArtifactScheduled {
		t.Errorf("in place beside files: %v, %v; the artifact is %s", got, err, status(second))
	}
	w.run(jobs.RestoreItem, key, w.engine.restoreItem)
	w.must(w.catalog.StartArtifact(w.ctx, w.claim(jobs.Restore, string(second.ID)), second.ID))
	third, key := granular()
	if got, err := other.restoreItem(w.ctx, w.claim(jobs.RestoreItem, key)); err != nil || got == jobs.Done || w.items(third)[0].Status != backup.ArtifactScheduled {
		t.Errorf("files beside in place: %v, %v; the artifact is %+v", got, err, w.items(third)[0])
	}
	w.run(jobs.Restore, string(second.ID), w.engine.restore)
	w.run(jobs.RestoreItem, key, w.engine.restoreItem)
	for _, s := range []backup.Session{first, third} {
		if a := w.items(s)[0]; a.Status != backup.ArtifactSucceeded {
			t.Errorf("the artifact is %+v", a)
		}
	}
	if got := status(second); got != backup.ArtifactSucceeded {
		t.Errorf("the drive's artifact is %s", got)
	}
}

// An artifact that fails has one of the codes that are documented for them.
func TestArtifactProblems(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	unit := w.protectAll()[0]
	point := w.backUp(unit)
	for _, row := range []struct {
		status int
		body   string
		code   backup.Code
		detail backup.Code
	}{
		{404, `{"error":{"code":"Request_ResourceNotFound","message":"x"}}`, backup.ArtifactNotFound, backup.ProtectionUnitNotFound},
		{404, `{"error":{"code":"itemNotFound","message":"x"}}`, backup.ArtifactNotFound, backup.DriveNotFound},
		{403, `{"error":{"code":"accessDenied","message":"x"}}`, backup.ArtifactCannotBeRestored, backup.DriveUnavailable},
	} {
		w.faults.Clear()
		w.faults.Add(simtenant.Fault{Status: row.status, Body: row.body, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/drive") }})
		a := w.activate(point, backup.DestinationInPlace)
		w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
		a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
		w.must(err)
		if a.Status != backup.ArtifactFailed || a.Problem.Code != row.code || a.Problem.Details[0].Code != row.detail {
			t.Errorf("%d %s: %+v", row.status, row.body, a.Problem)
		}
		if s, err := w.catalog.Session(w.ctx, w.tenant, a.Session); err != nil || s.Status != backup.SessionFailed {
			t.Errorf("the session is %s, %v", s.Status, err)
		}
	}
	if got := artifactProblem(backup.OneDrive, backup.Problem{Code: backup.GeneralException}); got.Code != backup.UnknownError {
		t.Errorf("what is not known is %+v", got)
	}
}

// Whoever looks into a point of a vault that cannot be read now is told what is the
// matter with it, and not that the server failed.
func TestBrowsingSaysWhatIsTheMatterWithTheVault(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a"})
	point := w.backUp(w.protectAll()[0])
	for _, kind := range []error{vault.ErrStorage, vault.ErrPassword, vault.ErrMissing, vault.ErrOther, vault.ErrNewer, vault.ErrDamaged, vault.ErrNotFound} {
		w.engine.Vaults = func(context.Context, backup.VaultName) (*vault.Vault, error) {
			return nil, fmt.Errorf("open vault in /secret/place: %w", kind)
		}
		want := vaultProblem(kind, "try again then")
		for name, look := range map[string]func() error{
			"Item":     func() error { _, err := w.engine.Item(w.ctx, point, backup.ItemRef{}); return err },
			"Children": func() error { _, err := w.children(point, ""); return err },
			"Unread":   func() error { _, err := w.engine.Unread(w.ctx, point); return err },
			"Open":     func() error { _, err := w.engine.Open(w.ctx, point, "x"); return err },
		} {
			err, ok := errors.AsType[*backup.Error](look())
			if !ok || err.Code != backup.ServiceUnavailable || err.Message != want.Message || strings.Contains(err.Message, "secret") {
				t.Errorf("%s while %v: %+v", name, kind, err)
			}
		}
	}
}
