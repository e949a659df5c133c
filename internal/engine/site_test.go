package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// newSite is newWorld with a site in place of owners, and returns its unit.
func newSite(t *testing.T, libraries map[string]map[string]string, between ...func(http.Handler) http.Handler) (*world, backup.Unit) {
	t.Helper()
	wrap := func(sim http.Handler) http.Handler { return sim }
	if len(between) > 0 {
		wrap = between[0]
	}
	w := newWorldBehind(t, wrap)
	return w, w.makeSite(libraries)
}

// makeSite makes libraries of the root site, which it protects.
func (w *world) makeSite(libraries map[string]map[string]string) backup.Unit {
	w.t.Helper()
	for name, files := range libraries {
		w.must(os.MkdirAll(w.siteLibrary(name), 0o755))
		w.put(w.siteLibrary(name), files)
	}
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	return w.protectSite(site.Collection)
}

// protectSite brings a site into an active policy, and returns its unit.
func (w *world) protectSite(site backup.SubjectID) backup.Unit {
	w.t.Helper()
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "Sites", Units: []backup.SubjectID{site}})
	w.must(err)
	_, err = w.catalog.ActivatePolicy(w.ctx, w.tenant, p.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.Settle, string(p.ID), w.engine.settle)
	list, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
	w.must(err)
	return list.Items[0]
}

// siteLibrary is the folder that is a library of the site, or of one below it.
func (w *world) siteLibrary(name string) string {
	at := filepath.Join(w.dir, "sites", "root")
	if below, own, ok := strings.Cut(name, "/"); ok {
		at, name = filepath.Join(at, "sites", below), own
	}
	return filepath.Join(at, "libraries", name)
}

// keptSite returns what a point of a site holds, by library.
func (w *world) keptSite(p backup.Point) map[string]state {
	w.t.Helper()
	parts, err := w.vault.Parts(w.ctx, p.Tree)
	w.must(err)
	all := map[string]state{}
	for _, part := range shown(parts) {
		all[part.Name] = w.kept(part.Tree)
	}
	return all
}

// sameSite compares a point with the folders of the libraries that are named.
func (w *world) sameSite(what string, p backup.Point, libraries ...string) {
	w.t.Helper()
	got := w.keptSite(p)
	for name, held := range got {
		if len(held) == 0 && !slices.Contains(libraries, name) {
			delete(got, name) // the service's own, such as that of pages
		}
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, libraries) {
		w.t.Errorf("%s has the libraries %q, want %q\n%s", what, names, libraries, w.log)
	}
	for _, name := range libraries {
		w.same(what+": "+name, w.look(w.siteLibrary(name)), got[name])
	}
}

// lacking returns what a point says that it does not hold as it was, notes of what lies
// beside included, which are not counted.
func (w *world) lacking(p backup.Point) (all []string) {
	w.t.Helper()
	list, err := w.vault.Unread(w.ctx, p.Tree)
	w.must(err)
	counted := 0
	for _, u := range list {
		all = append(all, fmt.Sprint(u.Path, " ", u.Code, " ", u.Held))
		if !u.Beside {
			counted++
		}
	}
	if int(p.Unread) != counted {
		w.t.Errorf("the point counts %d items that it lacks, and names %q", p.Unread, all)
	}
	return all
}

var twoLibraries = map[string]map[string]string{
	"Documents":     {"a.txt": "a", "folder/b.txt": "b"},
	"Team/Drawings": {"a.txt": "another a", "c.txt": "c"},
}

// A site's libraries, and those of the sites below it, are one point. A visit goes
// by each library's own delta; one without changes writes nothing.
func TestASiteIsBackedUp(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	first := w.backUp(unit)
	w.sameSite("the first point", first, "Documents", "Team/Drawings")
	if got := w.unit(unit.ID); got.Status != backup.UnitProtected || got.Problem != nil || len(w.lacking(first)) > 0 {
		t.Errorf("unit = %+v", got)
	}
	if first.Files != 4 {
		t.Errorf("the point counts %d files, want 4", first.Files)
	}

	w.reset()
	again := w.backUp(unit)
	if again.Tree != first.Tree {
		t.Error("a point without changes has another tree")
	}
	w.wantAsked("download", 0)

	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed", "new.txt": "new"})
	w.must(os.Remove(w.siteLibrary("Team/Drawings") + "/c.txt"))
	w.must(os.MkdirAll(w.siteLibrary("Added"), 0o755))
	w.put(w.siteLibrary("Added"), map[string]string{"d.txt": "d"})
	w.reset()
	second := w.backUp(unit)
	w.sameSite("the second point", second, "Added", "Documents", "Team/Drawings")
	w.wantAsked("download", 3)

	// Renamed, and another deleted.
	w.must(os.Rename(w.siteLibrary("Documents"), w.siteLibrary("Papers")))
	w.must(os.RemoveAll(w.siteLibrary("Added")))
	w.reset()
	third := w.backUp(unit)
	w.sameSite("the third point", third, "Papers", "Team/Drawings")
	w.wantAsked("download", 0)
	if got := w.keptSite(second); len(got["Added"]) != 1 || len(got["Documents"]) == 0 {
		t.Errorf("the second point lost what it had: %v", got)
	}
	if got := w.unit(unit.ID); got.Problem != nil {
		t.Errorf("problem = %+v", got.Problem)
	}
}

// A refusal stands between the engine and the source, and answers in its place.
type refusal struct {
	mu   sync.Mutex
	when func(*http.Request) (status int, body string) // 0 leaves it to the source
}

func (f *refusal) between(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if status, body := f.answer(r); status != 0 {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			io.WriteString(rw, body)
			return
		}
		sim.ServeHTTP(rw, r)
	})
}

// answer asks one request after the other, so that what is asked may count.
func (f *refusal) answer(r *http.Request) (status int, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.when == nil {
		return 0, ""
	}
	return f.when(r)
}

func (f *refusal) set(when func(*http.Request) (int, string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.when = when
}

func says(code string) string { return `{"error":{"code":"` + code + `","message":"No."}}` }

// partOf returns a library of a point.
func (w *world) partOf(p backup.Point, name string) vault.Part {
	w.t.Helper()
	parts, err := w.vault.Parts(w.ctx, p.Tree)
	w.must(err)
	for _, part := range parts {
		if part.Name == name {
			return part
		}
	}
	w.t.Fatalf("the point has no library %s: %+v", name, parts)
	return vault.Part{}
}

// A library that cannot be read stops only itself. The point holds it as it was, or
// not at all, and says which; once it can be read again it is as it is.
func TestALibraryThatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		code   backup.Code
	}{
		{"locked", http.StatusLocked, says("resourceLocked"), backup.ResourceLocked},
		{"not granted", http.StatusForbidden, says("accessDenied"), backup.AccessDenied},
		{"denied", http.StatusNotFound, says("itemNotFound"), backup.ContentNotFound},
		{"broken", http.StatusInternalServerError, says("generalException"), backup.DriveUnavailable},
		{"no list", http.StatusOK, `{"value":"x"}`, backup.DriveUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := newSite(t, twoLibraries, f.between)
			first := w.backUp(unit)
			was := w.keptSite(first)
			bad := string(w.partOf(first, "Documents").Drive)
			f.set(func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/drives/"+bad) {
					return tt.status, tt.body
				}
				return 0, ""
			})
			w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed"})
			w.put(w.siteLibrary("Team/Drawings"), map[string]string{"a.txt": "changed as well"})
			second := w.backUp(unit)
			held := w.keptSite(second)
			w.same("the library that cannot be read", was["Documents"], held["Documents"])
			w.same("the other library", w.look(w.siteLibrary("Team/Drawings")), held["Team/Drawings"])
			if got, want := w.lacking(second), []string{"Documents " + string(tt.code) + " true"}; !slices.Equal(got, want) {
				t.Errorf("the point names %q, want %q\n%s", got, want, w.log)
			}
			if p := w.unit(unit.ID).Problem; p == nil || len(p.Details) != 1 || p.Details[0].Target != "Documents" {
				t.Errorf("the unit says %+v", p)
			}
			if again := w.backUp(unit); again.Tree != second.Tree {
				t.Error("the same failure makes another tree at each visit")
			}
			f.set(nil)
			third := w.backUp(unit)
			w.sameSite("the third point", third, "Documents", "Team/Drawings")
			if p := w.unit(unit.ID).Problem; p != nil || len(w.lacking(third)) > 0 {
				t.Errorf("the unit still says %+v", p)
			}
		})
	}
}

// One that could not be read from the beginning is named as not held, and where
// none can be read there is no point.
func TestALibraryThatWasNeverRead(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	drives, err := w.source.Libraries(w.ctx, "root")
	w.must(err)
	bad := map[string]bool{}
	for _, d := range drives {
		bad[string(d.ID)] = true // those of the site, not of that below it
	}
	f.set(func(r *http.Request) (int, string) {
		for id := range bad {
			if strings.Contains(r.URL.Path, "/drives/"+id) {
				return http.StatusLocked, says("resourceLocked")
			}
		}
		return 0, ""
	})
	first := w.backUp(unit)
	if got := w.lacking(first); len(got) != len(bad) || !slices.Contains(got, "Documents resourceLocked false") {
		t.Errorf("the point names %q", got)
	}
	w.sameSite("the first point", first, "Team/Drawings")

	f.set(func(r *http.Request) (int, string) {
		if strings.Contains(r.URL.Path, "/drives/") {
			return http.StatusLocked, says("resourceLocked")
		}
		return 0, ""
	})
	w.run(jobs.Backup, string(unit.ID), func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
		if _, err := w.engine.backup(ctx, j); err == nil {
			t.Error("a site none of whose libraries can be read was backed up")
		}
		return jobs.Done, nil
	})
	if p := w.latest(unit); p.ID != first.ID {
		t.Error("there is a point of a site none of whose libraries can be read")
	}
}

// What the source says of which libraries there are is not believed at once.
func TestPlayALibraryThatIsNotListed(t *testing.T) {
	type answer = func(*http.Request) (int, string)
	for _, tt := range []struct {
		name  string
		when  func(w *world, id string) answer
		named []string // nil for a point without
		fails backup.Code
	}{
		{"the list lacks it, and it is there", func(w *world, id string) answer {
			return w.listWithout(id)
		}, nil, ""},
		{"the list lacks it, and it is denied once", func(w *world, id string) answer {
			asked, without := 0, w.listWithout(id)
			return func(r *http.Request) (int, string) {
				if strings.HasSuffix(r.URL.Path, "/drives/"+id) {
					if asked++; asked == 1 {
						return http.StatusNotFound, says("itemNotFound")
					}
				}
				return without(r)
			}
		}, []string{"Documents ContentNotFound true"}, ""},
		{"the list lacks it once, and it is denied", func(w *world, id string) answer {
			lists, without := 0, w.listWithout(id)
			return func(r *http.Request) (int, string) {
				if strings.HasSuffix(r.URL.Path, "/drives/"+id) {
					return http.StatusNotFound, says("itemNotFound")
				}
				status, body := without(r)
				if status != 0 {
					if lists++; lists > 1 {
						return 0, ""
					}
				}
				return status, body
			}
		}, []string{"Documents ContentNotFound true"}, ""},
		{"no library at all", func(w *world, id string) answer {
			return func(r *http.Request) (int, string) {
				if strings.HasSuffix(r.URL.Path, "/drives") {
					return http.StatusOK, `{"value":[]}`
				}
				return 0, ""
			}
		}, nil, backup.DriveUnavailable},
		{"the site is locked", func(w *world, id string) answer {
			return func(r *http.Request) (int, string) {
				if strings.HasSuffix(r.URL.Path, "/drives") {
					return http.StatusLocked, says("resourceLocked")
				}
				return 0, ""
			}
		}, nil, backup.ResourceLocked},
		{"the site is not known", func(w *world, id string) answer {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/sites/") {
					return http.StatusNotFound, says("itemNotFound")
				}
				return 0, ""
			}
		}, nil, backup.ProtectionUnitNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := newSite(t, twoLibraries, f.between)
			first := w.backUp(unit)
			was := w.keptSite(first)
			f.set(tt.when(w, string(w.partOf(first, "Documents").Drive)))
			err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup)
			if tt.fails == "" {
				w.must(err)
			}
			second := w.latest(unit)
			w.same("the library", was["Documents"], w.keptSite(second)["Documents"])
			if got := w.lacking(second); !slices.Equal(got, tt.named) {
				t.Errorf("the point names %q, want %q\n%s", got, tt.named, w.log)
			}
			problem := w.unit(unit.ID).Problem
			switch {
			case tt.fails != "":
				if second.ID != first.ID || problem == nil || problem.Code != tt.fails {
					t.Errorf("problem = %+v, want %s and no point", problem, tt.fails)
				}
			case (problem != nil) != (tt.named != nil):
				t.Errorf("problem = %+v", problem)
			}
			f.set(nil)
			third := w.backUp(unit)
			w.sameSite("the point after", third, "Documents", "Team/Drawings")
			if p := w.unit(unit.ID).Problem; p != nil {
				t.Errorf("the unit still says %+v", p)
			}
		})
	}
}

// listWithout answers a list of libraries without one of them.
func (w *world) listWithout(id string) func(*http.Request) (int, string) {
	drives, err := w.source.Libraries(w.ctx, "root")
	w.must(err)
	left := []map[string]string{}
	for _, d := range drives {
		if string(d.ID) != id {
			left = append(left, map[string]string{"id": string(d.ID), "name": d.Name, "webUrl": d.WebURL})
		}
	}
	body, err := json.Marshal(map[string]any{"value": left})
	w.must(err)
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	return func(r *http.Request) (int, string) {
		if strings.HasSuffix(r.URL.Path, "/sites/"+site.ID+"/drives") {
			return http.StatusOK, string(body)
		}
		return 0, ""
	}
}

// A site below that cannot be listed loses nothing, also where its libraries are
// denied meanwhile.
func TestASiteBelowThatCannotBeListed(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	first := w.backUp(unit)
	was := w.keptSite(first)
	id := string(w.partOf(first, "Team/Drawings").Drive)
	below, err := w.source.Subsites(w.ctx, "root")
	w.must(err)
	f.set(func(r *http.Request) (int, string) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/sites/"+below[0].ID+"/drives"):
			return http.StatusLocked, says("resourceLocked")
		case strings.Contains(r.URL.Path, "/drives/"+id):
			return http.StatusNotFound, says("itemNotFound")
		}
		return 0, ""
	})
	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed"})
	second := w.backUp(unit)
	held := w.keptSite(second)
	w.same("the library below", was["Team/Drawings"], held["Team/Drawings"])
	w.same("the library of the site", w.look(w.siteLibrary("Documents")), held["Documents"])
	if got := w.lacking(second); !slices.Equal(got, []string{"Team/Drawings ContentNotFound true", "/Team resourceLocked false"}) {
		t.Errorf("the point names %q", got)
	}
}

// What may be in a site whose libraries are not all listed is named, also where
// nothing was known of it before.
func TestLibrariesThatNobodyLists(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	below, err := w.source.Subsites(w.ctx, "root")
	w.must(err)
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	drives, err := w.source.Libraries(w.ctx, "root")
	w.must(err)
	body, err := json.Marshal(map[string]any{"value": []map[string]string{{"name": "without an id"}, {"id": string(drives[0].ID), "name": drives[0].Name}}})
	w.must(err)
	f.set(func(r *http.Request) (int, string) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/sites/"+below[0].ID+"/drives"):
			return http.StatusForbidden, says("accessDenied")
		case strings.HasSuffix(r.URL.Path, "/sites/"+site.ID+"/drives"):
			return http.StatusOK, string(body)
		}
		return 0, ""
	})
	first := w.backUp(unit)
	if got := w.lacking(first); !slices.Equal(got, []string{"/ DriveUnavailable false", "/Team accessDenied false"}) {
		t.Errorf("the point names %q", got)
	}
	if p := w.unit(unit.ID).Problem; p == nil || len(p.Details) != 2 {
		t.Errorf("the unit says %+v", p)
	}
	if again := w.backUp(unit); again.Tree != first.Tree {
		t.Error("the same holes make another tree at each visit")
	}
	f.set(nil)
	w.sameSite("the next point", w.backUp(unit), "Documents", "Team/Drawings")
	if p := w.unit(unit.ID).Problem; p != nil {
		t.Errorf("the unit still says %+v", p)
	}
}

// A library that the source lists in two sites is of the one that it was backed up
// with first.
func TestALibraryOfAnotherUnit(t *testing.T) {
	w := newWorld(t)
	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "a"})
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	drives, err := w.source.Libraries(w.ctx, "root")
	w.must(err)
	s := &siteRun{e: w.engine, job: &jobs.Job{Tenant: w.tenant}, unit: backup.Unit{ID: "another"}, site: site}
	l := library{Drive: drives[0]}
	w.must(s.isOurs(w.ctx, l))
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), `INSERT INTO container_state (unit, drive, container, tenant, state) VALUES ('first', 'd', $1, $2, '{}')`, string(l.ID), string(w.tenant))
		return err
	}))
	if err := s.isOurs(w.ctx, l); !errors.Is(err, errOtherOwner) {
		t.Errorf("isOurs of a library of another unit = %v, want errOtherOwner", err)
	}
}

// A run that is killed downloads nothing twice, whatever library it was at.
func TestASiteBackupThatIsKilled(t *testing.T) {
	w, unit := newSite(t, nil)
	w.engine.CheckpointBytes = 10_000
	for _, name := range []string{"Documents", "More"} {
		files := map[string]string{}
		for i := range 30 {
			files[fmt.Sprintf("f%02d", i)] = strings.Repeat(name+fmt.Sprint(i), 200)
		}
		w.must(os.MkdirAll(w.siteLibrary(name), 0o755))
		w.put(w.siteLibrary(name), files)
	}
	for _, after := range []int{20, 25} { // in the first library, and then in the second
		w.stopAfter("download", after, jobs.Backup, string(unit.ID), w.engine.backup)
	}
	w.reset()
	point := w.backUp(unit)
	if n := w.asked("download"); n > 45 {
		t.Errorf("%d downloads after two restarts, of 60 files of which 45 had been asked for", n)
	}
	w.sameSite("the point", point, "Documents", "More")
}

// A catalog that is made again from the vault has the site's points, and its next
// backup downloads nothing.
func TestASiteIsRebuilt(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	first := w.backUp(unit)
	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed"})
	second := w.backUp(unit)
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		for _, table := range []string{"restore_point", "drive_state", "container_state"} {
			if _, err := tx.ExecContext(w.t.Context(), "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	}))
	got, err := w.engine.Rebuild(w.ctx, w.tenant)
	if err != nil || got.Drives != 1 || got.Points != 2 {
		t.Fatalf("Rebuild = %+v, %v", got, err)
	}
	points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID})
	w.must(err)
	if len(points.Items) != 2 || points.Items[0].Tree != second.Tree || points.Items[1].Tree != first.Tree {
		t.Errorf("points = %+v", points.Items)
	}
	w.reset()
	third := w.backUp(unit)
	w.wantAsked("download", 0)
	w.sameSite("the next point", third, "Documents", "Team/Drawings")
}

// What is damaged of one library is found by the rotation, named with it, and
// downloaded again. Where a library's own folders are damaged all of it is written
// anew, and the others are not.
func TestADamagedLibraryIsHealed(t *testing.T) {
	w, unit := newSite(t, map[string]map[string]string{"Documents": incompressible(40), "Team/Drawings": {"a.txt": "a"}})
	w.ownVault()
	w.backUp(unit)
	w.flip(w.blobs("p")[0])
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	damage := w.openDamage(unit)
	if len(damage) != 1 || damage[0].Item == "" || !strings.HasPrefix(damage[0].Path, "Documents/") {
		t.Fatalf("damage = %+v\n%s", damage, w.log)
	}
	w.reset()
	w.backUp(unit)
	w.wantAsked("download", 1)
	if left := w.openDamage(unit); len(left) != 0 {
		t.Errorf("damage is left: %+v", left)
	}
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	if p := w.unit(unit.ID).Problem; p != nil || len(w.openDamage(unit)) != 0 {
		t.Errorf("the unit still says %+v", p)
	}
	w.sameSite("the healed point", w.latest(unit), "Documents", "Team/Drawings")

	// All folders.
	for _, path := range w.blobs("q") {
		w.flip(path)
	}
	w.put(w.siteLibrary("Documents"), map[string]string{"new.txt": "new"})
	w.ownVault()
	w.backUp(unit)
	w.sameSite("a point of a site whose folders were damaged", w.latest(unit), "Documents", "Team/Drawings")
}

// Damage to one library's folders has that library enumerated and written anew, and
// no other; damage that cannot be told apart has all of them.
func TestPlayDamageOfOneLibrary(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.backUp(unit)
	full := func() map[string]time.Time {
		_, s, err := w.catalog.UnitForBackup(w.ctx, w.tenant, unit.ID)
		w.must(err)
		at := map[string]time.Time{}
		for _, c := range s.Containers {
			if c.Kind == backup.Library {
				at[c.Name] = c.Full
			}
		}
		return at
	}
	for _, tt := range []struct {
		path string
		anew []string
	}{
		{"Documents/folder", []string{"Documents"}},
		{"Team/Drawings", []string{"Team/Drawings"}},
		{"A former name/folder", []string{"Documents", "Team/Drawings"}},
		{"", nil},
	} {
		before := full()
		w.skew.Add(int64(time.Minute))
		w.must(w.catalog.NoteDamage(w.ctx, w.tenant, []backup.Damage{{Unit: unit.ID, Drive: siteKey(unit), Path: tt.path, Content: "kab" + fmt.Sprint(len(tt.path)), Reason: "It is damaged."}}))
		w.skew.Add(int64(time.Minute))
		w.backUp(unit)
		var anew []string
		for name, at := range full() {
			if at.After(before[name]) && len(w.look(w.siteLibrary(name))) > 0 {
				anew = append(anew, name)
			}
		}
		slices.Sort(anew)
		if !slices.Equal(anew, tt.anew) {
			t.Errorf("damage of %q had %q enumerated anew, want %q", tt.path, anew, tt.anew)
		}
	}
	w.sameSite("the last point", w.latest(unit), "Documents", "Team/Drawings")
}
