package engine

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// play returns the profile of that name.
func play(t *testing.T, name string) simtenant.Profile {
	t.Helper()
	for _, p := range simtenant.Profiles() {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no profile %q", name)
	return simtenant.Profile{}
}

// A folder of which the source will not say what is in it, and that does not hold
// what it says it does, is named: what it lacks is known by nothing else.
func TestAFolderThatCannotBeListedIsNamed(t *testing.T) {
	h := newHostileWorld(t, "ann")
	h.put(h.home(0), map[string]string{"docs/a.txt": "a", "docs/victim.txt": "v"})
	unit := h.protectAll()[0]
	for range 2 {
		h.backUpUnder(play(t, "listings 403"), unit)
		if got := h.named(unit); len(got) != 1 || got["docs"] != backup.AccessDenied {
			t.Errorf("named are %v, want the folder", got)
		}
		h.later(2 * time.Hour)
	}
	point := h.backUp(unit)
	h.same("the point afterwards", h.look(h.home(0)), h.kept(point.Tree))
	h.check(unit, 0, 0)
}

// An item that was listed once, and is denied from then on with all that it is,
// is named by the path where it was listed as long as it is named: no delta
// speaks of it again.
func TestWhatIsNamedKeepsItsPath(t *testing.T) {
	h := newHostileWorld(t, "ann")
	h.put(h.home(0), map[string]string{"docs/a.txt": "a", "docs/victim.txt": "v"})
	unit := h.protectAll()[0]
	for range 3 {
		h.backUpUnder(play(t, "items told once, and denied with their contents"), unit)
		if got := h.named(unit); len(got) != 1 || got["docs/victim.txt"] == "" {
			t.Errorf("named are %v, want the victim by its path", got)
		}
	}
	h.backUp(unit)
	h.check(unit, 0, 0)
}

// What was listed as deleted while it could not be asked for is gone as soon as it
// is denied: no delta lists it again.
func TestWhatWasDeletedInAnOutageGoesAfterIt(t *testing.T) {
	w := newWorld(t, "ann")
	w.put(w.home(0), map[string]string{"a.txt": "a", "gone.txt": "g"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	w.must(os.Remove(filepath.Join(w.home(0), "gone.txt")))
	w.faults.Add(simtenant.Fault{Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/items/") && r.Method == http.MethodGet
	}, Status: http.StatusInternalServerError})
	for range 2 {
		point := w.backUp(unit)
		if left := w.unread(unit); len(left) != 1 || left[0].Path != "gone.txt" || w.kept(point.Tree)["gone.txt"] == "" {
			t.Errorf("in the outage named are %+v, and held is %v", left, w.kept(point.Tree))
		}
	}
	w.faults.Clear()
	w.skew.Add(int64(w.engine.Interval + time.Minute))
	point := w.backUp(unit)
	w.same("the point afterwards", w.look(w.home(0)), w.kept(point.Tree))
	if left := w.unread(unit); len(left) > 0 {
		t.Errorf("still named: %+v", left)
	}
}

// An item without an id costs some enumerations in full, and ever fewer.
func TestNamelessItemsAreLookedForEverLessOften(t *testing.T) {
	h := newHostileWorld(t, "ann")
	h.put(h.home(0), map[string]string{"a.txt": "a", "victim.txt": "v"})
	unit := h.protectAll()[0]
	full := 0
	for n := range 16 {
		h.put(h.home(0), map[string]string{"a.txt": fmt.Sprint(n)})
		h.backUpUnder(play(t, "items without id"), unit)
		_, state, err := h.catalog.UnitForBackup(h.ctx, h.tenant, unit.ID)
		h.must(err)
		if h.engine.Clock().Sub(state.Full) < time.Minute {
			full++
		}
		if got := h.named(unit); len(got) != 1 || got["victim.txt"] == "" {
			t.Errorf("named are %v, want the victim", got)
		}
		h.later(h.engine.Interval)
	}
	if full < 2 || full > 6 {
		t.Errorf("16 backups enumerated all %d times", full)
	}
	h.backUp(unit)
	h.later(8 * 24 * time.Hour)
	h.backUp(unit)
	h.check(unit, 0, 0)
}

// What was listed as deleted and is there when it is asked for is named until the
// source's words agree, in either way, although no delta speaks of it again.
func TestWhatIsDeletedAndThereIsNamedUntilBothAgree(t *testing.T) {
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, map[string]string{"a.txt": "a", "gone.txt": "g"})
	unit := h.protectAll()[0]
	h.backUp(unit)
	h.must(os.Remove(filepath.Join(home, "gone.txt")))
	for range 3 {
		h.backUpUnder(play(t, "deleted items that can still be looked at"), unit)
		h.check(unit, 0, 0)
		if got := h.named(unit); len(got) != 1 || got["gone.txt"] == "" {
			t.Errorf("named are %v, want the deleted one", got)
		}
		h.later(26 * time.Hour)
	}
	h.backUp(unit)
	h.check(unit, 0, 0)
	if got := h.named(unit); len(got) != 0 {
		t.Errorf("still named: %v", got)
	}
}

// A version that a lagging replica hands out is named until the one comes that
// was listed, although no delta speaks of the file again.
func TestAVersionOfYesterdayIsNamedUntilTheListedOneComes(t *testing.T) {
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, map[string]string{"a.txt": "a", "victim.txt": "before"})
	unit := h.protectAll()[0]
	h.backUp(unit)
	h.put(home, map[string]string{"victim.txt": "after"})
	for range 3 {
		h.backUpUnder(play(t, "item and content as they were yesterday"), unit)
		if got := h.named(unit); len(got) != 1 || got["victim.txt"] == "" {
			t.Errorf("named are %v, want the victim", got)
		}
		h.check(unit, 0, 0)
		h.later(26 * time.Hour)
	}
	point := h.backUp(unit)
	h.same("the point afterwards", h.look(home), h.kept(point.Tree))
	h.check(unit, 0, 0)
	if got := h.named(unit); len(got) != 0 {
		t.Errorf("still named: %v", got)
	}
}

// The times of a file are those that were listed, if it is that version which is
// handed out: what is looked at for its content may be told of by a replica that
// lags behind, to which no delta comes back.
func TestTimesOfYesterdayDoNotStay(t *testing.T) {
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, map[string]string{"victim.txt": "the same all the time"})
	unit := h.protectAll()[0]
	h.backUp(unit)
	h.must(os.Rename(filepath.Join(home, "victim.txt"), filepath.Join(home, "victim b.txt")))
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	h.must(os.Chtimes(filepath.Join(home, "victim b.txt"), at, at))
	h.backUpUnder(play(t, "item as it was yesterday"), unit)
	h.check(unit, 0, 0)
	h.same("the point", h.look(home), h.kept(h.latest(unit).Tree))
}

// Where the delta leaves out that something was moved, and no folder's count tells
// of it, what came into its place does: another item of its name, or the end of
// the folder it was in.
func TestWhatMovedUntoldIsFoundByWhatTookItsPlace(t *testing.T) {
	for _, name := range []string{"a delta that leaves moves out", "a delta that leaves moves out, and folders' counts"} {
		t.Run(name, func(t *testing.T) {
			h := newHostileWorld(t, "ann")
			home := h.home(0)
			files := map[string]string{"docs/victim.txt": "it is renamed", "docs/victim folder/a.txt": "its folder is renamed", "photos/1.jpg": "1"}
			for i := range 9 {
				files[fmt.Sprintf("closing/%d.txt", i)] = "it goes"
				files[fmt.Sprintf("closing/deep/%d.txt", i)] = "it goes too"
				files[fmt.Sprintf("closing/deep/deeper/victim %d.txt", i)] = fmt.Sprint("it moves ", i)
				files[fmt.Sprintf("closing/victims %d/in.txt", i)] = fmt.Sprint("its folder moves ", i)
			}
			h.put(home, files)
			unit := h.protectAll()[0]
			h.backUp(unit)
			move := func(from, to string) {
				t.Helper()
				h.must(os.Rename(filepath.Join(home, from), filepath.Join(home, to)))
			}
			move("docs/victim.txt", "docs/victim that was.txt")
			move("docs/victim folder", "docs/victim folder that was")
			for i := range 9 {
				move(fmt.Sprintf("closing/deep/deeper/victim %d.txt", i), fmt.Sprintf("photos/victim %d.txt", i))
				move(fmt.Sprintf("closing/victims %d", i), fmt.Sprintf("photos/victims %d", i))
			}
			h.must(os.RemoveAll(filepath.Join(home, "closing")))
			h.put(home, map[string]string{"docs/Victim.txt": "another of its name", "docs/victim folder/b.txt": "another folder of its name"})
			h.backUpUnder(play(t, name), unit)
			h.check(unit, 0, 0)
			h.same("the point", h.look(home), h.kept(h.latest(unit).Tree))
			if got := h.named(unit); len(got) != 0 {
				t.Errorf("named are %v", got)
			}
		})
	}
}

// A page of before that comes again takes no item's time back.
func TestTheTimesOfYesterdayAreNotBelieved(t *testing.T) {
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, map[string]string{"victim.txt": "its time alone changes", "victim folder/a.txt": "as that of its folder"})
	unit := h.protectAll()[0]
	h.backUp(unit)
	for i, name := range []string{"victim.txt", "victim folder"} {
		now := time.Date(2019, 5, 4, 3, 2, i, 0, time.UTC)
		h.must(os.Chtimes(filepath.Join(home, name), now, now))
	}
	h.backUpUnder(play(t, "items of yesterday after those of today"), unit)
	h.check(unit, 0, 0)
	h.same("the point", h.look(home), h.kept(h.latest(unit).Tree))
}

// What is new in the root folder is found by its count, though the delta speaks of
// that folder alone; and a count that is as it was costs nothing.
func TestTheRootIsCountedWhereTheDeltaSpeaksOfItAlone(t *testing.T) {
	h := newHostileWorld(t, "ann")
	home := h.home(0)
	h.put(home, map[string]string{"a.txt": "a", "docs/b.txt": "b"})
	unit := h.protectAll()[0]
	h.backUp(unit)
	quiet := func() {
		t.Helper()
		h.reset()
		h.backUp(unit)
		if n := h.asked("all"); n > 2 {
			t.Errorf("a run without changes asked %d times", n)
		}
	}
	quiet()
	h.must(os.Mkdir(filepath.Join(home, "victim"), 0o755))
	h.put(home, map[string]string{"victim.txt": "it is new"})
	h.backUpUnder(play(t, "a delta that leaves items out"), unit)
	h.check(unit, 0, 0)
	h.same("the point", h.look(home), h.kept(h.latest(unit).Tree))
	quiet()
	h.must(os.Remove(filepath.Join(home, "victim")))
	h.backUpUnder(play(t, "a delta that leaves items out"), unit)
	h.check(unit, 0, 0)
	h.same("the point", h.look(home), h.kept(h.latest(unit).Tree))
}

// However deep the folders are that a source tells of, to judge them costs no
// more stack than a path may be long.
func TestFoldersWithoutBottomAreJudged(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(16 << 20))
	const n = 100_000
	s := &stage{
		root: "root", full: true, items: newItems(t.TempDir()),
		walking: map[backup.ItemID]bool{}, answers: map[backup.ItemID]look{}, missing: spill.New(""), denied: map[backup.ItemID]bool{},
	}
	defer s.close()
	above := s.root
	for i := range n {
		id := backup.ItemID(fmt.Sprint(i))
		s.items.set(drive.Item{ID: id, Name: "f", Parent: above, Kind: backup.Folder})
		s.answers[id] = look{err: errors.New("no")}
		above = id
	}
	if err := s.judge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.untangle(t.Context()); err != nil {
		t.Fatal(err)
	}
	deepest := 0
	for i := range n {
		if id := backup.ItemID(fmt.Sprint(i)); s.items.verdict(id) == alive {
			deepest = i
		}
	}
	if deepest >= maxDepth {
		t.Errorf("a folder at depth %d is alive", deepest)
	}
	if s.items.verdict("10") == 0 || s.items.verdict(above) == alive {
		t.Errorf("the verdicts are %v and %v", s.items.verdict("10"), s.items.verdict(above))
	}
}

func TestWhatIsListedIsTheContentOnlyIfAllAgrees(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name      string
		listed, b vault.Entry
		want      bool
	}{
		{"same tag, same hash", vault.Entry{CTag: "c", Hash: "h", Size: 1}, vault.Entry{CTag: "c", Hash: "h", Size: 2, Stored: "s"}, true},
		{"same tag, another hash", vault.Entry{CTag: "c", Hash: "h"}, vault.Entry{CTag: "c", Hash: "i"}, false},
		{"same tag, another size, no hash", vault.Entry{CTag: "c", Size: 1}, vault.Entry{CTag: "c", Size: 2, Stored: "s"}, false},
		{"same tag, another time, no hash", vault.Entry{CTag: "c", Modified: at}, vault.Entry{CTag: "c", Modified: at.Add(1)}, false},
		{"same tag, nothing else", vault.Entry{CTag: "c", Size: -1}, vault.Entry{CTag: "c", Size: 2, Modified: at}, true},
		{"the hash that was not stated before", vault.Entry{Hash: "h", Size: 1, Modified: at}, vault.Entry{Stored: "h", Size: 1, Modified: at}, true},
		{"another than that", vault.Entry{Hash: "i", Size: 1, Modified: at}, vault.Entry{Stored: "h", Size: 1, Modified: at}, false},
		{"size and time", vault.Entry{Size: 1, Modified: at}, vault.Entry{Size: 1, Modified: at}, true},
		{"size without time", vault.Entry{Size: 1}, vault.Entry{Size: 1}, false},
	} {
		if got := sameContent(tt.listed, tt.b); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
