package engine

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

// changes are the differences of two points of a drive or a site, each in a line, in order;
// it fails if they come otherwise a second time.
func (w *world) changes(from, to backup.Point) string {
	w.t.Helper()
	return w.changesOf(backup.OneDrive, from, to)
}

func (w *world) changesOf(of backup.Workload, from, to backup.Point) string {
	w.t.Helper()
	tell := func() (lines []string) {
		for c, err := range w.engine.Changes(w.ctx, of, from, to) {
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
	for _, err := range w.engine.Changes(w.ctx, backup.OneDrive, first, second) {
		w.must(err)
		if n++; n == 2 {
			break
		}
	}
	// A tree that the vault has not is no point without items.
	second.Tree = strings.Repeat("0", len(second.Tree))
	var failed error
	for _, err := range w.engine.Changes(w.ctx, backup.OneDrive, first, second) {
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

// Points of a mailbox differ by folders and items, and by nothing that is only in the vault.
func TestPointsOfAMailboxAreCompared(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, map[string]string{"Inbox/a.eml": letter("A"), "Inbox/b.eml": letter("B"), "Inbox/c.eml": letter("C"), "Inbox/Projects/p.eml": letter("P"), "Archive/": "",
		"Calendar/e.ics": "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:e\r\nDTSTART:20260205T100000Z\r\nDTEND:20260205T110000Z\r\nSUMMARY:Lunch\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
		"Contacts/x.vcf": "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Xaver\r\nEND:VCARD\r\n"})
	first := w.backUp(unit)
	box := w.box(0)
	w.post(0, map[string]string{"Inbox/n.eml": letter("New"), "Inbox/a.eml": letter("A", "More of it.\r\n")})
	w.must(os.Remove(filepath.Join(box, "Inbox", "b.eml")))
	w.must(os.Remove(filepath.Join(box, "Contacts", "x.vcf")))
	w.must(os.Rename(filepath.Join(box, "Inbox", "c.eml"), filepath.Join(box, "Archive", "c.eml")))
	w.must(os.Rename(filepath.Join(box, "Inbox", "Projects"), filepath.Join(box, "Inbox", "Plans")))
	second := w.backUp(unit)
	tell := func(from, to backup.Point) string {
		t.Helper()
		called := func(p backup.Point, item *backup.Item) string {
			if item.Kind == backup.Folder {
				return item.Path + "/"
			}
			known, err := w.catalog.MailItems(w.ctx, w.tenant, p, []backup.ItemID{item.ID})
			w.must(err)
			m := known[item.ID]
			if m.Folder != path.Dir(item.Path) {
				t.Errorf("%s is in %s as the index has it", item.Path, m.Folder)
			}
			return path.Dir(item.Path) + "/" + string(m.Kind) + ":" + m.Subject
		}
		var lines []string
		for c, err := range w.engine.Changes(w.ctx, backup.Exchange, from, to) {
			w.must(err)
			switch {
			case c.From == nil:
				lines = append(lines, "+ "+called(to, c.To))
			case c.To == nil:
				lines = append(lines, "- "+called(from, c.From))
			case c.Moved():
				lines = append(lines, called(from, c.From)+" > "+called(to, c.To))
			default:
				lines = append(lines, fmt.Sprint("~ ", called(to, c.To), " ", c.Content))
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	want := "+ Inbox/email:New\n- Contacts/contact:Xaver\n- Inbox/email:B\nInbox/Projects/ > Inbox/Plans/\nInbox/email:C > Archive/email:C\n~ Inbox/email:A true"
	if got := tell(first, second); got != want {
		t.Errorf("the points differ by\n%s\nwant\n%s", got, want)
	}
	if got := tell(first, first); got != "" {
		t.Errorf("a point differs from itself by %s", got)
	}
	if got := tell(second, first); !strings.Contains(got, "Archive/email:C > Inbox/email:C") || !strings.Contains(got, "+ Inbox/email:B") || !strings.Contains(got, "- Inbox/email:New") {
		t.Errorf("the other way they differ by\n%s", got)
	}
}
