package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// withVersions is newSite with a file of the library Documents that has had three
// contents before, and keep versions of each file are kept.
func withVersions(t *testing.T, keep int, between ...func(http.Handler) http.Handler) (*world, backup.Unit) {
	t.Helper()
	w, unit := newSite(t, twoLibraries, between...)
	w.engine.Versions = func(backup.TenantID) int { return keep }
	w.upload("Documents", "folder/b.txt", "b two", "b three!", "b four")
	return w, unit
}

// upload gives a file of a library one content after the other.
func (w *world) upload(library, at string, contents ...string) {
	w.t.Helper()
	d := w.libraryNow(library)
	item, err := w.source.ItemAt(w.ctx, d.ID, at)
	w.must(err)
	for _, text := range contents {
		_, err := w.source.Upload(w.ctx, d.ID, drive.Target{Item: item.ID}, strings.NewReader(text), int64(len(text)), drive.Times{})
		w.must(err)
	}
}

// keptVersions is what a point holds of the earlier versions of a library's files, and for
// versions.json the ids that it lists.
func (w *world) keptVersions(p backup.Point, library string) (all []string) {
	w.t.Helper()
	part, of := w.partOf(p, library+" (versions)"), w.partOf(p, library)
	if part.Kind != backup.FileVersions || part.Library != of.Drive {
		w.t.Errorf("the versions are %+v, of %+v", part, of)
	}
	for n, err := range w.vault.Walk(w.ctx, part.Tree) {
		w.must(err)
		if n.Kind == backup.Folder {
			continue
		}
		text := w.content(n.Content)
		if n.Name == versionsName {
			var list []struct {
				ID   string
				Size int64
				Last time.Time       `json:"lastModifiedDateTime"`
				By   json.RawMessage `json:"lastModifiedBy"`
			}
			w.must(json.Unmarshal([]byte(text), &list))
			text = ""
			for _, v := range list {
				text += fmt.Sprint(v.ID, "=", v.Size, " ")
				if v.Last.IsZero() || len(v.By) == 0 {
					w.t.Errorf("%s does not tell when and by whom: %+v", n.Path, v)
				}
			}
			text = strings.TrimSpace(text)
		} else if n.Modified.IsZero() || n.Size != int64(len(text)) {
			w.t.Errorf("%s is %+v", n.Path, n.Entry)
		}
		all = append(all, n.Path+": "+text)
	}
	slices.Sort(all)
	return all
}

func (w *world) wantVersions(what string, p backup.Point, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.keptVersions(p, "Documents"); !slices.Equal(got, want) {
		w.t.Errorf("%s holds\n%s\nwant\n%s\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"), w.log)
	}
}

// asksForVersions counts the requests about versions, and the contents among them.
func (w *world) asksForVersions() (all, contents *atomic.Int32) {
	all, contents = new(atomic.Int32), new(atomic.Int32)
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/versions") {
			all.Add(1)
			if path.Base(r.URL.Path) == "content" {
				contents.Add(1)
			}
		}
	})
	return all, contents
}

// As many earlier versions of each file are in the point beside it as are asked for. What
// is held is not read again, and of a file that did not change nothing is asked.
func TestEarlierVersionsAreBackedUp(t *testing.T) {
	w, unit := withVersions(t, 2)
	all, contents := w.asksForVersions()
	first := w.backUp(unit)
	w.wantVersions("the first point", first, "a.txt/versions.json: ", "folder/b.txt/2.0.txt: b two", "folder/b.txt/3.0.txt: b three!", "folder/b.txt/versions.json: 3.0=8 2.0=5")
	if lacks := w.lacking(first); len(lacks) > 0 || w.unit(unit.ID).Problem != nil || first.Files != 4 {
		t.Errorf("the point lacks %q and counts %d files, the unit says %+v\n%s", lacks, first.Files, w.unit(unit.ID).Problem, w.log)
	}
	if all.Load() != 6 || contents.Load() != 2 { // a list for each of four files
		t.Errorf("%d requests for versions, of them %d for contents", all.Load(), contents.Load())
	}
	for _, reconciles := range []bool{false, true} {
		all, _ = w.asksForVersions()
		if reconciles {
			w.reconcileAt(unit)
		}
		if again := w.backUp(unit); again.Tree != first.Tree || all.Load() > 0 {
			t.Errorf("without changes there were %d requests for versions; the tree is the same: %v\n%s", all.Load(), again.Tree == first.Tree, w.log)
		}
	}

	// One more; and one that was renamed.
	w.onRequest(nil)
	w.upload("Documents", "folder/b.txt", "b five")
	w.must(os.Rename(w.siteLibrary("Documents")+"/a.txt", w.siteLibrary("Documents")+"/z.md"))
	all, contents = w.asksForVersions()
	second := w.backUp(unit)
	want := []string{"folder/b.txt/3.0.txt: b three!", "folder/b.txt/4.0.txt: b four", "folder/b.txt/versions.json: 4.0=6 3.0=8", "z.md/versions.json: "}
	w.wantVersions("the second point", second, want...)
	if all.Load() != 3 || contents.Load() != 1 {
		t.Errorf("%d requests for versions, of them %d for contents", all.Load(), contents.Load())
	}
	for _, at := range []string{"Documents (versions)", "Documents (versions)/folder"} {
		if _, err := w.engine.Item(w.ctx, second, backup.RefOf(backup.ItemID(at))); err == nil {
			t.Errorf("%s is shown", at)
		}
	}

	// A version that was deleted at the source, a file that went, and more to be kept.
	w.onRequest(nil)
	d := w.libraryNow("Documents")
	item, err := w.source.ItemAt(w.ctx, d.ID, "folder/b.txt")
	w.must(err)
	w.call("DELETE", "/drives/"+string(d.ID)+"/items/"+string(item.ID)+"/versions/3.0", nil)
	w.must(os.Remove(w.siteLibrary("Documents") + "/z.md"))
	w.engine.Versions = func(backup.TenantID) int { return 10 }
	third := w.backUp(unit)
	w.wantVersions("the third point", third, "folder/b.txt/1.0.txt: b", "folder/b.txt/2.0.txt: b two", "folder/b.txt/4.0.txt: b four", "folder/b.txt/versions.json: 4.0=6 2.0=5 1.0=1")
	if lacks := w.lacking(third); len(lacks) > 0 {
		t.Errorf("the point lacks %q", lacks)
	}
	w.wantVersions("the second point", second, want...)
	if found, err := w.vault.Verify(w.ctx, []string{first.Tree, third.Tree}, vault.VerifyOptions{Share: 1}); err != nil || found.Err() != nil {
		t.Error(err, found.Err())
	}

	// None any more.
	w.engine.Versions = nil
	last := w.backUp(unit)
	parts, err := w.vault.Parts(w.ctx, last.Tree)
	w.must(err)
	if slices.ContainsFunc(parts, func(p vault.Part) bool { return p.Kind == backup.FileVersions }) || len(w.lacking(last)) > 0 {
		t.Errorf("where no versions are kept the point has %+v, and lacks %q", parts, w.lacking(last))
	}
}

// What goes wrong with versions is named and stops nothing else, and what was held of them
// stays. Once all is well again nothing is named.
func TestPlayVersionsOfAHostileSource(t *testing.T) {
	ofB := func(r *http.Request, end string) bool {
		return strings.Contains(r.URL.Path, "/versions") && strings.HasSuffix(r.URL.Path, end)
	}
	const list = `{"value":[{"id":"5.0","size":6,"lastModifiedDateTime":"2090-01-05T00:00:00Z"},{"id":"4.0","size":6,"lastModifiedDateTime":"2090-01-04T00:00:00Z","lastModifiedBy":{}},{"id":"3.0","size":%d,"lastModifiedDateTime":"2090-01-03T00:00:00Z","lastModifiedBy":{}}%s]}`
	states := func(size int) func(*http.Request) (int, string) {
		return func(r *http.Request) (int, string) {
			switch {
			case ofB(r, "/versions"):
				return http.StatusOK, fmt.Sprintf(list, size, `,{"id":"2.0","size":5}`)
			case ofB(r, "/versions/3.0"):
				return http.StatusOK, fmt.Sprintf(`{"id":"3.0","size":%d,"lastModifiedDateTime":"2090-01-03T00:00:00Z"}`, size)
			}
			return 0, ""
		}
	}
	answers := func(end string, status int, body string) func(*http.Request) (int, string) {
		return func(r *http.Request) (int, string) {
			if ofB(r, end) {
				return status, body
			}
			return 0, ""
		}
	}
	const at = "Documents (versions)/folder/b.txt/"
	four, three, both := "folder/b.txt/4.0.txt: b four", "folder/b.txt/3.0.txt: b three!", "folder/b.txt/versions.json: 4.0=6 3.0=8"
	old := "folder/b.txt/2.0.txt: b two"
	asBefore := []string{old, three, "folder/b.txt/versions.json: 3.0=8 2.0=5"}
	for _, tt := range []struct {
		name  string
		when  func(*http.Request) (int, string)
		holds []string
		named []string
	}{
		{"a content is denied as if it were not there", answers("/4.0/content", http.StatusNotFound, says("itemNotFound")),
			[]string{three, both}, []string{at + "4.0.txt ContentNotFound false"}},
		{"a content is a page", answers("/4.0/content", http.StatusOK, "<html>Sign in</html>"),
			[]string{three, both}, []string{at + "4.0.txt ContentNotConfirmed false"}},
		{"less comes than is stated", states(9),
			[]string{four, three, "folder/b.txt/versions.json: 4.0=6 3.0=9"}, []string{at + "3.0.txt ContentNotConfirmed true"}},
		{"more comes than is stated", states(7),
			[]string{four, three, "folder/b.txt/versions.json: 4.0=6 3.0=7"}, []string{at + "3.0.txt ContentNotConfirmed true"}},
		{"the list lacks one that is there", answers("/versions", http.StatusOK, fmt.Sprintf(list, 8, "")),
			[]string{old, four, three, both}, []string{at + "2.0.txt PlaceUnknown true"}},
		{"the list is refused", answers("/versions", http.StatusForbidden, says("accessDenied")),
			asBefore, []string{at + "versions.json accessDenied true"}},
		{"the list is empty", answers("/versions", http.StatusOK, `{"value":[]}`),
			asBefore, []string{at + "versions.json DriveUnavailable true"}},
		{"a version has no id", answers("/versions", http.StatusOK, `{"value":[{"id":"5.0"},{"size":6}]}`),
			asBefore, []string{at + "versions.json DriveUnavailable true"}},
		{"the list goes in a circle", func(r *http.Request) (int, string) {
			if ofB(r, "/versions") {
				return http.StatusOK, `{"value":[{"id":"5.0"}],"@odata.nextLink":"http://` + r.Host + r.URL.Path + `?$skiptoken=1"}`
			}
			return 0, ""
		}, asBefore, []string{at + "versions.json DriveUnavailable true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := withVersions(t, 2, f.between)
			w.backUp(unit)
			w.upload("Documents", "folder/b.txt", "b five")
			f.set(tt.when)
			second := w.backUp(unit)
			w.wantVersions("the point", second, append(tt.holds, "a.txt/versions.json: ")...)
			if got := w.lacking(second); !slices.Equal(got, tt.named) {
				t.Errorf("the point names %q, want %q\n%s", got, tt.named, w.log)
			}
			w.same("the library", w.look(w.siteLibrary("Documents")), w.keptSite(second)["Documents"])
			f.set(nil)
			w.skew.Add(int64(w.engine.Interval))
			third := w.backUp(unit)
			w.wantVersions("the point after", third, three, four, both, "a.txt/versions.json: ")
			if got := w.lacking(third); len(got) > 0 {
				t.Errorf("the point after names %q\n%s", got, w.log)
			}
		})
	}
}

// A version that is deleted while it is to be read is gone, and of its list too; a page that
// comes again and a body that breaks off are nothing.
func TestVersionsOfABusySource(t *testing.T) {
	w, unit := withVersions(t, 3)
	w.faults.Set(func(o *simtenant.Options) { o.PageSize = 1 })
	w.faults.Add(simtenant.Fault{Times: 3, Truncate: 1, Match: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/_sharepoint/download/") }})
	d := w.libraryNow("Documents")
	item, err := w.source.ItemAt(w.ctx, d.ID, "folder/b.txt")
	w.must(err)
	remove := sync.OnceFunc(func() {
		w.call("DELETE", "/drives/"+string(d.ID)+"/items/"+string(item.ID)+"/versions/2.0", nil)
	})
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/versions/2.0/content") {
			remove()
		}
	})
	first := w.backUp(unit)
	w.wantVersions("the point", first, "a.txt/versions.json: ", "folder/b.txt/1.0.txt: b", "folder/b.txt/3.0.txt: b three!", "folder/b.txt/versions.json: 3.0=8 1.0=1")
	if got := w.lacking(first); len(got) > 0 {
		t.Errorf("the point lacks %q\n%s", got, w.log)
	}
	w.reconcileAt(unit)
	if again := w.backUp(unit); again.Tree != first.Tree || len(w.lacking(again)) > 0 {
		t.Errorf("the point after has another tree, and lacks %q", w.lacking(again))
	}
}

// A run reads so many versions only. The point says of how many files they are missing, and
// the next runs go on; before a restore none is read.
func TestPlayVersionsAreCaughtUpWith(t *testing.T) {
	const files = 30
	w, unit := newSite(t, nil)
	w.engine.Versions, w.engine.CheckpointBytes = func(backup.TenantID) int { return 5 }, 60
	w.must(os.MkdirAll(w.siteLibrary("Documents"), 0o755))
	name := func(i int) string { return fmt.Sprintf("f%02d.txt", i) }
	for i := range files {
		w.put(w.siteLibrary("Documents"), map[string]string{name(i): "before"})
	}
	runs := func(requests, contents, kept int) backup.Point {
		t.Helper()
		all, read := w.asksForVersions()
		runs := 0
		for missing := []string{"?"}; len(missing) > 0; runs++ {
			p := w.backUp(unit)
			if missing = w.lacking(p); runs > files || len(missing) > 1 || len(missing) == 1 && missing[0] != "Documents (versions) ItemsNotBackedUp "+fmt.Sprint(kept > 2 || runs > 0) {
				t.Fatalf("run %d lacks %q\n%s", runs, missing, w.log)
			}
			w.same("the library", w.look(w.siteLibrary("Documents")), w.keptSite(p)["Documents"])
		}
		if int(all.Load()) != requests*files || int(read.Load()) != contents*files || runs < 2 {
			t.Errorf("in %d runs there were %d requests for versions, of them %d for contents", runs, all.Load(), read.Load())
		}
		if got := w.keptVersions(w.latest(unit), "Documents"); len(got) != files*kept {
			t.Errorf("the point holds %d files of versions: %q", len(got), got)
		}
		w.onRequest(nil)
		return w.latest(unit)
	}
	upload := func(what string) {
		for i := range files {
			w.upload("Documents", name(i), fmt.Sprint(what, i))
		}
	}
	upload("one ")
	first := runs(2, 1, 2) // a list for each file, and one version
	upload("two ")
	runs(2, 1, 3)
	upload("three ")
	all, _ := w.asksForVersions()
	w.restored(first, backup.DestinationInPlace)
	if all.Load() > 0 {
		t.Errorf("for a restore there were %d requests for versions", all.Load())
	}
	runs(3, 2, 5)
}

// A run that is killed at any request for versions misses none, and none is there twice.
func TestABackupOfVersionsThatIsKilled(t *testing.T) {
	d := &death{}
	w, unit := withVersions(t, 2, d.between)
	ofVersions := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/versions") }
	texts := []string{"b", "b two", "b three!", "b four"}
	for at, died := 0, true; died; at++ {
		died = w.diesAt(d, at, at%2 == 1, ofVersions, jobs.Backup, string(unit.ID), w.engine.backup)
		p := w.backUp(unit)
		last := len(texts) - 1
		w.wantVersions("the point", p, "a.txt/versions.json: ",
			fmt.Sprintf("folder/b.txt/%d.0.txt: %s", last, texts[last-1]), fmt.Sprintf("folder/b.txt/%d.0.txt: %s", last-1, texts[last-2]),
			fmt.Sprintf("folder/b.txt/versions.json: %d.0=%d %d.0=%d", last, len(texts[last-1]), last-1, len(texts[last-2])))
		if got := w.lacking(p); len(got) > 0 || t.Failed() {
			t.Fatalf("killed at request %d, the point lacks %q\n%s", at, got, w.log)
		}
		if !died && at < 2 {
			t.Errorf("a backup made %d requests for versions", at)
		}
		texts = append(texts, strings.Repeat("x", len(texts)))
		w.upload("Documents", "folder/b.txt", texts[len(texts)-1])
	}
}

// A library that was renamed is the same, with what is kept beside it. One that was deleted
// and made again under its name is another: its points hold nothing of the first, and no
// restore of that touches it.
func TestALibraryRenamedDeletedAndMadeAgain(t *testing.T) {
	w, unit := withVersions(t, 2)
	versions := []string{"a.txt/versions.json: ", "folder/b.txt/2.0.txt: b two", "folder/b.txt/3.0.txt: b three!", "folder/b.txt/versions.json: 3.0=8 2.0=5"}
	was := w.look(w.siteLibrary("Documents"))
	first := w.backUp(unit)
	w.must(os.Rename(w.siteLibrary("Documents"), w.siteLibrary("Papers")))
	w.reset()
	all, _ := w.asksForVersions()
	second := w.backUp(unit)
	w.onRequest(nil)
	w.wantAsked("download", 0)
	w.sameSite("the point after it was renamed", second, "Papers", "Team/Drawings")
	for _, beside := range []string{"", " (columns)", " (versions)"} {
		if a, b := w.partOf(first, "Documents"+beside), w.partOf(second, "Papers"+beside); a.Drive != b.Drive {
			t.Errorf("the renamed library%s is another", beside)
		}
	}
	if got := w.keptVersions(second, "Papers"); !slices.Equal(got, versions) || all.Load() > 0 {
		t.Errorf("the versions of the renamed library are %q, after %d requests", got, all.Load())
	}
	w.put(w.siteLibrary("Papers"), map[string]string{"a.txt": "edited"})
	w.restored(first, backup.DestinationInPlace)
	w.same("the renamed library, restored", was, w.look(w.siteLibrary("Papers")))
	if _, err := os.Stat(w.siteLibrary("Documents")); err == nil {
		t.Error("a restore in place has made a library")
	}

	w.must(os.RemoveAll(w.siteLibrary("Papers")))
	third := w.backUp(unit)
	parts, err := w.vault.Parts(w.ctx, third.Tree)
	w.must(err)
	if slices.ContainsFunc(parts, func(p vault.Part) bool { return strings.HasPrefix(p.Name, "Papers") }) || len(w.lacking(third)) > 0 {
		t.Errorf("the library is still in the point: %+v, %q", parts, w.lacking(third))
	}
	w.must(os.MkdirAll(w.siteLibrary("Papers"), 0o755))
	w.put(w.siteLibrary("Papers"), map[string]string{"a.txt": "somebody else's", "own.txt": "own"})
	w.upload("Papers", "own.txt", "own again")
	is := w.look(w.siteLibrary("Papers"))
	fourth := w.backUp(unit)
	w.sameSite("the point after it was made again", fourth, "Papers", "Team/Drawings")
	if a, b := w.partOf(second, "Papers"), w.partOf(fourth, "Papers"); a.Drive == b.Drive {
		t.Error("a library made again is the one of before")
	}
	if got := w.keptVersions(fourth, "Papers"); !slices.Equal(got, []string{"a.txt/versions.json: ", "own.txt/1.0.txt: own", "own.txt/versions.json: 1.0=3"}) {
		t.Errorf("the versions of the library made again are %q", got)
	}

	a := w.restore(second, backup.DestinationInPlace)
	if a.Problem == nil || detail(a.Problem, "Papers") == "" {
		t.Errorf("the artifact does not name the library that is gone: %s %+v", a.Status, a.Problem)
	}
	w.same("the library made again, after a restore in place", is, w.look(w.siteLibrary("Papers")))
	w.restored(second, backup.DestinationNew)
	w.same("the library restored to a new place", was, w.look(w.siteLibrary("PapersR0")))
	w.same("the library made again, after a restore to a new place", is, w.look(w.siteLibrary("Papers")))
	if got := w.keptVersions(second, "Papers"); !slices.Equal(got, versions) {
		t.Errorf("the versions of the first library are %q", got)
	}
}

// A catalog that is made again from the vault knows the versions that the points hold.
func TestVersionsAreRebuilt(t *testing.T) {
	w, unit := withVersions(t, 2)
	first := w.backUp(unit)
	kept := w.keptVersions(first, "Documents")
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		for _, table := range []string{"restore_point", "drive_state", "container_state"} {
			if _, err := tx.ExecContext(w.t.Context(), "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	}))
	if got, err := w.engine.Rebuild(w.ctx, w.tenant); err != nil || got.Points != 1 {
		t.Fatalf("Rebuild = %+v, %v", got, err)
	}
	all, _ := w.asksForVersions()
	second := w.backUp(unit)
	if got := w.keptVersions(second, "Documents"); !slices.Equal(got, kept) || all.Load() > 0 || len(w.lacking(second)) > 0 {
		t.Errorf("after %d requests for versions the point holds %q, and lacks %q", all.Load(), got, w.lacking(second))
	}
}
