package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
)

// found returns what a name finds in a unit, each as "NAME of FIRST to LAST", where the
// unit's points are numbered from the oldest that is left.
func (w *world) found(u backup.Unit, name string) (all []string) {
	w.t.Helper()
	number := map[time.Time]int{}
	for i, p := range w.oldestFirst(u) {
		number[p.At] = i
	}
	for after := ""; ; {
		got, err := w.catalog.Find(w.ctx, w.tenant, u, name, catalog.Page{Limit: 2, After: after})
		w.must(err)
		if got.Unsearched {
			w.t.Errorf("not all points were searched for %s", name)
		}
		for _, f := range got.Items {
			item, err := w.engine.Item(w.ctx, f.Last, backup.RefOf(f.Item))
			w.must(err)
			all = append(all, fmt.Sprint(item.Name, " of ", number[f.First.At], " to ", number[f.Last.At]))
		}
		if after = got.Next; after == "" {
			slices.Sort(all)
			return all
		}
	}
}

// oldestFirst are the points of a unit in the order of their time.
func (w *world) oldestFirst(u backup.Unit) []backup.Point {
	w.t.Helper()
	list, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: u.ID, Oldest: true, Page: catalog.Page{Limit: 1000}})
	w.must(err)
	return list.Items
}

// wantFound compares what all names find with what the vault says of each point.
func (w *world) wantFound(what string, u backup.Unit) {
	w.t.Helper()
	type named struct { // case does not count
		since int
		name  string
	}
	open := map[string]named{} // what was there at the point before
	var want []string
	points := w.oldestFirst(u)
	for i := range len(points) + 1 {
		now := map[string]string{}
		if i < len(points) {
			trees := []string{points[i].Tree}
			if parts, err := w.vault.Parts(w.ctx, points[i].Tree); err == nil && len(parts) > 0 {
				trees = nil
				for _, part := range shown(parts) {
					if part.Kind == backup.Library {
						trees = append(trees, part.Tree)
					}
				}
			}
			for _, tree := range trees {
				for n, err := range w.vault.Walk(w.ctx, tree) {
					w.must(err)
					if n.Parent != "" {
						now[fold(n.Name)+"\x00"+string(n.ID)] = n.Name
					}
				}
			}
		}
		for at, was := range maps.Clone(open) {
			if now[at] == "" {
				want = append(want, fmt.Sprint(was.name, " of ", was.since, " to ", i-1))
				delete(open, at)
			}
		}
		for at, name := range now {
			was, there := open[at]
			if !there {
				was.since = i
			}
			open[at] = named{was.since, name}
		}
	}
	slices.Sort(want)
	if got := w.found(u, "*"); !slices.Equal(got, want) {
		w.t.Errorf("%s: found\n%s\nwant\n%s\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"), w.log)
	}
}

// What is in a drive, was renamed, moved, deleted and made again is found by its name,
// with the points that hold it: after runs that are killed, once points have expired, and
// with a catalog that was made again from the vault.
func TestNamesAreFound(t *testing.T) {
	w := newWorld(t, "ann")
	w.midweek()
	home := w.home(0)
	w.put(home, map[string]string{"Budget 2026.xlsx": "1", "plans/Budget 2025.xlsx": "2", "plans/notes.txt": "3", "plans/deep/old budget.doc": "4"})
	unit := w.protectAll()[0]
	if got, err := w.catalog.Find(w.ctx, w.tenant, unit, "budget", catalog.Page{}); err != nil || len(got.Items) > 0 {
		t.Errorf("before the first point: %+v, %v", got, err)
	}
	w.backUp(unit)
	w.skew.Add(int64(time.Hour))
	w.backUp(unit) // nothing changed
	w.wantFound("two points that hold the same", unit)

	step := func(what string, do func()) {
		t.Helper()
		w.skew.Add(int64(time.Hour))
		do()
		w.backUp(unit)
		w.wantFound(what, unit)
	}
	step("a folder was renamed", func() { w.must(os.Rename(filepath.Join(home, "plans"), filepath.Join(home, "Strategy"))) })
	step("one was deleted and one is new", func() {
		w.must(os.Remove(filepath.Join(home, "Budget 2026.xlsx")))
		w.put(home, map[string]string{"Strategy/new.txt": "5"})
	})
	step("one was moved, one edited, one renamed", func() {
		w.must(os.Rename(filepath.Join(home, "Strategy/notes.txt"), filepath.Join(home, "notes.txt")))
		w.put(home, map[string]string{"Strategy/new.txt": "5, edited"})
		w.must(os.Rename(filepath.Join(home, "Strategy/Budget 2025.xlsx"), filepath.Join(home, "Strategy/budget 2025.xlsx")))
	})
	for name, want := range map[string][]string{
		"BUDGET":     {"Budget 2026.xlsx of 0 to 2", "budget 2025.xlsx of 0 to 4", "old budget.doc of 0 to 4"},
		"budget*":    {"Budget 2026.xlsx of 0 to 2", "budget 2025.xlsx of 0 to 4"},
		"budget ???": nil,
		"*.t?t":      {"new.txt of 3 to 4", "notes.txt of 0 to 4"},
		"t_t":        nil,
		"plans":      {"plans of 0 to 1"},
	} {
		if got := w.found(unit, name); !slices.Equal(got, want) {
			t.Errorf("%q finds %q, want %q", name, got, want)
		}
	}
	if got, err := w.catalog.Find(w.ctx, backup.NewID[backup.TenantID](), unit, "budget", catalog.Page{}); err != nil || len(got.Items) > 0 {
		t.Errorf("another tenant finds %+v, %v", got, err)
	}

	// A run that is killed once it has written names leaves nothing that is found: many are
	// written ahead of their point, a few with it.
	for _, many := range []int{1, 300} {
		killed := map[string]string{}
		for i := range many {
			killed[fmt.Sprintf("killed%d.txt", i)] = "6"
		}
		w.put(home, killed)
		w.must(os.Remove(filepath.Join(home, "notes.txt")))
		dying, die := context.WithCancel(w.ctx)
		written, committing := false, false
		dying = database.Observe(dying, func(text string, _ []any) {
			committing = committing || strings.Contains(text, "UPDATE drive_state")
			if strings.Contains(text, "INSERT INTO name_item") {
				if written = true; committing != (many == 1) {
					t.Errorf("%d names are written with their point: %t", many, committing)
				}
			}
			if written && strings.Contains(text, "INSERT INTO restore_point") {
				die()
			}
		})
		w.skew.Add(int64(time.Hour))
		if err := w.try(dying, jobs.Backup, string(unit.ID), w.engine.backup); err == nil || !written {
			t.Fatalf("the run was not killed: %v, %t", err, written)
		}
		w.wantFound("after a kill", unit)
		for name := range killed {
			w.must(os.Remove(filepath.Join(home, name)))
		}
		step("the run after the kill", func() { w.put(home, map[string]string{"after.txt": fmt.Sprint(many), "notes.txt": fmt.Sprint(many)}) })
	}

	rebuilt := func(what string) {
		t.Helper()
		w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
			for _, table := range []string{"restore_point", "drive_state", "container_state", "name_index", "name_item"} {
				if _, err := tx.ExecContext(w.t.Context(), "DELETE FROM "+table); err != nil {
					return err
				}
			}
			return nil
		}))
		_, err := w.engine.Rebuild(w.ctx, w.tenant)
		w.must(err)
		if got, err := w.catalog.Find(w.ctx, w.tenant, unit, "budget", catalog.Page{}); err != nil || !got.Unsearched {
			t.Errorf("%s: before the next run: %+v, %v", what, got, err)
		}
		w.skew.Add(int64(time.Hour))
		w.backUp(unit)
		w.wantFound(what, unit)
	}
	rebuilt("a catalog that was made again")

	// What no point has any more is not found, and takes no room.
	w.skew.Add(int64(15 * 24 * time.Hour)) // the first is its week's, and stays
	w.backUp(unit)
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	w.wantFound("some points have expired", unit)
	if got := w.found(unit, "killed"); len(got) > 0 {
		t.Errorf("of expired points: %q", got)
	}
	rebuilt("a catalog that was made again of fewer points")
}

// So it is with the libraries of a site, which come and go.
func TestNamesInASiteAreFound(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.backUp(unit)
	w.wantFound("the first point", unit)
	step := func(what string, do func()) {
		t.Helper()
		w.skew.Add(int64(time.Hour))
		do()
		w.backUp(unit)
		w.wantFound(what, unit)
	}
	step("a new library", func() {
		w.must(os.MkdirAll(w.siteLibrary("Papers"), 0o755))
		w.put(w.siteLibrary("Papers"), map[string]string{"a.txt": "third a", "paper.txt": "p"})
		w.must(os.Remove(filepath.Join(w.siteLibrary("Documents"), "a.txt")))
	})
	step("a library was deleted", func() { w.must(os.RemoveAll(w.siteLibrary("Papers"))) })
	if got := w.found(unit, "paper"); !slices.Equal(got, []string{"paper.txt of 1 to 1"}) {
		t.Errorf("of the library that is gone: %q", got)
	}
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), "DELETE FROM name_index")
		return err
	}))
	step("a catalog of before the index", func() { w.put(w.siteLibrary("Documents"), map[string]string{"x.txt": "x"}) })
}

// A point of which the vault has lost a part is passed over as the index is made anew,
// and claims nothing.
func TestNamesOfADamagedPoint(t *testing.T) {
	w := newWorld(t, "ann")
	w.ownVault()
	home := w.home(0)
	w.put(home, map[string]string{"a/one.txt": "1", "b/two.txt": "2"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	before := w.indexes()
	w.skew.Add(int64(time.Hour))
	w.put(home, map[string]string{"a/lost.txt": "3"})
	w.backUp(unit)
	lost := w.indexes()
	w.skew.Add(int64(time.Hour))
	w.must(os.Remove(filepath.Join(home, "a/lost.txt")))
	w.put(home, map[string]string{"b/three.txt": "4"})
	w.backUp(unit)
	w.wantFound("before", unit)
	w.must(w.vault.Close(w.ctx))
	for path := range lost {
		if !before[path] {
			w.must(os.Remove(path))
		}
	}
	w.ownVault()
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), "DELETE FROM name_index")
		return err
	}))
	w.skew.Add(int64(time.Hour))
	w.put(home, map[string]string{"b/four.txt": "5"})
	w.backUp(unit)
	if got, want := w.found(unit, "*.txt"), []string{"four.txt of 3 to 3", "one.txt of 0 to 3", "three.txt of 2 to 3", "two.txt of 0 to 3"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q\n%s", got, want, w.log)
	}
}

// Many changes are put into the order of their names without being held in memory.
func TestNamesAreSorted(t *testing.T) {
	const n = 2*runLength + 7
	b := byName{table: spill.New(t.TempDir())}
	defer b.table.Close()
	for i := range n {
		i = i * 7_919 % n
		b.add(catalog.NameChange{Item: backup.ItemID(fmt.Sprint("item", i)), From: "was", To: fmt.Sprintf("Name %06d", i)})
	}
	i := 0
	for c := range b.all() {
		if want := (catalog.NameChange{Item: backup.ItemID(fmt.Sprint("item", i)), From: "was", To: fmt.Sprintf("Name %06d", i)}); c != want {
			t.Fatalf("change %d is %+v, want %+v", i, c, want)
		}
		i++
	}
	if i != n || b.table.Err() != nil {
		t.Errorf("%d changes, %v", i, b.table.Err())
	}
}
