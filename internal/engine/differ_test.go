package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

// changes are the differences of two points, each in a line, in order; it fails if they
// come otherwise a second time.
func (w *world) changes(from, to backup.Point) string {
	w.t.Helper()
	tell := func() (lines []string) {
		for c, err := range w.engine.Changes(w.ctx, from, to) {
			w.must(err)
			line := ""
			switch {
			case c.From == nil:
				line = "+ " + c.To.Path
			case c.To == nil:
				line = "- " + c.From.Path
			case c.Moved():
				line = c.From.Path + " > " + c.To.Path
			default:
				line = "~ " + c.To.Path
			}
			if c.Content {
				line += " *"
			}
			lines = append(lines, line)
		}
		return lines
	}
	lines := tell()
	if again := tell(); !slices.Equal(lines, again) {
		w.t.Errorf("a second time the changes are %q, and not %q", again, lines)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestPointsAreCompared(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	w.put(home, map[string]string{"same.txt": "a", "changed.txt": "old", "gone.txt": "b", "folder/in.txt": "c", "folder/deep/x.txt": "d", "moved.txt": "e", "both.txt": "f", "old/1.txt": "g", "old/2.txt": "h"})
	unit := w.protectAll()[0]
	first := w.backUp(unit)
	if got := w.changes(first, first); got != "" {
		t.Errorf("a point differs from itself by %s", got)
	}
	w.put(home, map[string]string{"changed.txt": "new one", "new/n.txt": "n", "both.txt": "f changed"})
	for _, name := range []string{"gone.txt", "old"} {
		w.must(os.RemoveAll(filepath.Join(home, name)))
	}
	w.must(os.Rename(filepath.Join(home, "folder"), filepath.Join(home, "renamed")))
	w.must(os.Rename(filepath.Join(home, "moved.txt"), filepath.Join(home, "renamed", "moved.txt")))
	w.must(os.Rename(filepath.Join(home, "both.txt"), filepath.Join(home, "both 2.txt")))
	second := w.backUp(unit)
	want := "+ new\n+ new/n.txt\n- gone.txt\n- old\n- old/1.txt\n- old/2.txt\nboth.txt > both 2.txt *\nfolder > renamed\nmoved.txt > renamed/moved.txt\n~ changed.txt *"
	if got := w.changes(first, second); got != want {
		t.Errorf("the points differ by\n%s\nwant\n%s", got, want)
	}
	back := strings.NewReplacer("+", "-", "-", "+").Replace("+ new\n+ new/n.txt\n- gone.txt\n- old\n- old/1.txt\n- old/2.txt") + "\nboth 2.txt > both.txt *\nrenamed > folder\nrenamed/moved.txt > moved.txt\n~ changed.txt *"
	lines := strings.Split(back, "\n")
	slices.Sort(lines)
	if got := w.changes(second, first); got != strings.Join(lines, "\n") {
		t.Errorf("the other way they differ by\n%s\nwant\n%s", got, strings.Join(lines, "\n"))
	}
	// Who has heard enough is told no more.
	n := 0
	for _, err := range w.engine.Changes(w.ctx, first, second) {
		w.must(err)
		if n++; n == 2 {
			break
		}
	}
	// A tree that the vault has not is no point without items.
	second.Tree = strings.Repeat("0", len(second.Tree))
	var failed error
	for _, err := range w.engine.Changes(w.ctx, first, second) {
		if failed = err; err == nil {
			t.Error("what cannot be read was compared")
		}
	}
	if failed == nil {
		t.Error("a point that is not in the vault differs by nothing")
	}
}

func TestPointsOfASiteAreCompared(t *testing.T) {
	w, unit := newSite(t, map[string]map[string]string{"Documents": {"a.txt": "1", "b/c.txt": "2"}, "Papers": {"p.txt": "3"}})
	first := w.backUp(unit)
	w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "other", "b/d.txt": "4"})
	w.must(os.RemoveAll(w.siteLibrary("Papers")))
	w.put(w.siteLibrary("Plans"), map[string]string{"x.txt": "5"})
	second := w.backUp(unit)
	got := w.changes(first, second)
	for _, want := range []string{"~ Documents/a.txt *", "+ Documents/b/d.txt", "+ Plans", "+ Plans/x.txt", "- Papers", "- Papers/p.txt"} {
		if !slices.Contains(strings.Split(got, "\n"), want) {
			t.Errorf("the points do not differ by %q, but by\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 5 {
		t.Errorf("they differ by more:\n%s", got)
	}
}
