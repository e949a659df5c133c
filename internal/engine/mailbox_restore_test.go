package engine

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// inBox returns what a mailbox holds: what each item is about, by folder.
func (w *world) inBox(i int) map[string][]string {
	w.t.Helper()
	all := map[string][]string{}
	w.must(filepath.WalkDir(w.box(i), func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(at)
		folder, _ := filepath.Rel(w.box(i), filepath.Dir(at))
		folder = strings.TrimSuffix(folder, "/cur")
		all[folder] = append(all[folder], subjectIn(string(text)))
		return err
	}))
	for _, subjects := range all {
		slices.Sort(subjects)
	}
	return all
}

func (w *world) wantBox(what string, want map[string]string) {
	w.t.Helper()
	got := w.inBox(0)
	for folder, subjects := range got {
		if have := strings.Join(subjects, ","); have != want[folder] {
			w.t.Errorf("%s: %s holds %q, want %q\n%s", what, folder, have, want[folder], w.log)
		}
	}
	for folder, subjects := range want {
		if got[folder] == nil {
			w.t.Errorf("%s: %s holds nothing, want %q\n%s", what, folder, subjects, w.log)
		}
	}
}

// searched runs the restore of what a search finds.
func (w *world) searched(p backup.Point, to backup.Destination, query string) backup.Artifact {
	w.t.Helper()
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.Exchange, backup.RestoreStandard,
		[]catalog.NewArtifact{{Point: p.ID, Destination: to}}, backup.Stamp{})
	w.must(err)
	a := w.activateSession(s)
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), `UPDATE restore_artifact SET search = 's', query = $2 WHERE id = $1`, string(a.ID), query)
		return err
	}))
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a, err = w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	if a.Status != backup.ArtifactSucceeded {
		w.t.Fatalf("artifact is %s: %+v\n%s", a.Status, a.Problem, w.log)
	}
	return a
}

// harm deletes, changes and moves what is in a mailbox.
func (w *world) harm() {
	w.post(0, map[string]string{"Inbox/one.eml": letter("one, changed"), "Inbox/later.eml": letter("later")})
	w.must(os.Rename(w.box(0)+"/Inbox/two.eml", w.box(0)+"/Deleted Items/two.eml"))
	w.must(os.Remove(w.box(0) + "/Calendar/meet.ics"))
	w.must(os.RemoveAll(w.box(0) + "/Inbox/Projects"))
}

var mended = map[string]string{"Inbox": "later,one,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember", "Deleted Items": "two"}

// What is missing comes back and what has changed is as it was; what came later stays.
// Done again it changes nothing, and so when it was killed.
func TestAMailboxIsRestoredInPlace(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	p := w.backUp(unit)
	w.harm()
	a := w.restored(p, backup.DestinationInPlace)
	w.wantBox("the mailbox", mended)
	if a.RestoredItems != 4 {
		t.Errorf("%d items were restored, want 4", a.RestoredItems)
	}
	w.reset()
	a = w.restored(p, backup.DestinationInPlace)
	w.wantBox("the mailbox, restored again", mended)
	w.wantAsked("import", 0)
	if a.RestoredItems != 0 {
		t.Errorf("%d items were restored again", a.RestoredItems)
	}
	// What was replaced is in a point.
	found := 0
	points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID})
	w.must(err)
	for _, p := range points.Items {
		if strings.Contains(strings.Join(w.keptMail(p)["Inbox"], ","), "one, changed") {
			found++
		}
	}
	if found == 0 {
		t.Error("what was replaced is in no point")
	}
}

func TestPlayAMailboxIsRestoredAfterEachKill(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for _, answered := range []bool{false, true} {
			lose := &loss{}
			w, unit := newPost(t, lose.between)
			w.post(0, someMail)
			p := w.backUp(unit)
			w.harm()
			a := w.activate(p, backup.DestinationInPlace)
			ctx, cancel := context.WithCancel(w.ctx)
			lose.set(n, answered, cancel)
			if err := w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
				t.Fatal("a restore that was stopped succeeded")
			}
			cancel()
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			w.wantBox("the mailbox", mended)
			a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
			w.must(err)
			if a.Status != backup.ArtifactSucceeded {
				t.Errorf("artifact is %s: %+v", a.Status, a.Problem)
			}
		}
	}
}

// A loss ends a run at an import, before or after the source has done it.
type loss struct {
	mu       sync.Mutex
	n        int
	answered bool
	cancel   context.CancelFunc
}

func (l *loss) set(n int, answered bool, cancel context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n, l.answered, l.cancel = n, answered, cancel
}

func (l *loss) between(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/importItem") {
			l.mu.Lock()
			l.n--
			now, cancel := l.n == 0, l.cancel
			l.mu.Unlock()
			if now {
				if l.answered {
					next.ServeHTTP(discard{http.Header{}}, r)
				}
				cancel()
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// A restore to a new place goes into a folder of its own, also when it is done twice.
func TestAMailboxIsRestoredToANewFolder(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	p := w.backUp(unit)
	w.harm()
	before := w.inBox(0)
	a := w.restored(p, backup.DestinationNew)
	if !strings.HasPrefix(a.RestoredSiteName, "Restored ") || a.RestoredSiteID == "" || a.RestoredItems != 7 {
		t.Fatalf("restored to %q, %d items", a.RestoredSiteName, a.RestoredItems)
	}
	want := map[string]string{}
	for folder, subjects := range before {
		want[folder] = strings.Join(subjects, ",")
	}
	for folder, subjects := range map[string]string{"Inbox": "one,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"} {
		want[a.RestoredSiteName+"/"+folder] = subjects
	}
	w.wantBox("the mailbox", want)
	if b := w.restored(p, backup.DestinationNew); b.RestoredSiteName == a.RestoredSiteName || b.RestoredItems != 7 {
		t.Errorf("a second restore went to %q, and first to %q", b.RestoredSiteName, a.RestoredSiteName)
	}
}

// A folder of which the vault cannot tell what was in it is named, and all others
// come back.
func TestAMailboxIsRestoredBesideDamage(t *testing.T) {
	w, unit := newPost(t)
	w.ownVault()
	w.post(0, map[string]string{"Archive/Old/plan.eml": letter("plan"), "Archive/Old/other.eml": letter("other")})
	w.backUp(unit)
	old := w.blobs("q")
	w.post(0, someMail)
	p := w.backUp(unit)
	for _, blob := range old {
		b, err := os.ReadFile(blob)
		w.must(err)
		for at := range b {
			b[at] ^= 1
		}
		w.must(os.WriteFile(blob, b, 0o600))
	}
	w.must(w.vault.Close(w.ctx))
	w.ownVault()                                    // which remembers nothing
	w.must(os.RemoveAll(w.box(0) + "/Archive/Old")) // what is there still would heal it
	a := w.restore(p, backup.DestinationNew)
	w.wantDetails("the artifact", a.Problem, backup.ArtifactCannotBeRestored, map[string]backup.Code{"Archive/*": backup.VaultDamaged})
	got := w.inBox(0)
	for folder, subjects := range map[string]string{"Inbox": "one,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"} {
		if have := strings.Join(got[a.RestoredSiteName+"/"+folder], ","); have != subjects {
			t.Errorf("%s holds %q, want %q", folder, have, subjects)
		}
	}
}

// What a search finds comes back alone, and once.
func TestWhatASearchFindsIsRestored(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	p := w.backUp(unit)
	w.harm()
	for range 2 {
		w.searched(p, backup.DestinationInPlace, "Subject -like 'plan' -or Subject -like 'two'")
		w.wantBox("the mailbox", map[string]string{"Inbox": "later,one, changed,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Contacts": "Bob", "Notes": "remember", "Deleted Items": "two"})
	}
	a := w.searched(p, backup.DestinationNew, "MessageKind -eq 'Calendar'")
	if got := w.inBox(0); strings.Join(got[a.RestoredSiteName+"/Calendar"], ",") != "meet" || a.RestoredItems != 1 {
		t.Errorf("restored to %q: %v", a.RestoredSiteName, got)
	}
}

// What is picked comes back alone, and once: an item, or a folder with all that is in it.
// One that is picked with the folder that it is in is not brought twice, and what could
// still be recovered goes to the deleted items.
func TestWhatIsPickedIsRestored(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	w.post(0, map[string]string{"Inbox/Projects/deep/deeper.eml": letter("deeper"), "Inbox/Projects/empty/": "", "Recoverable Items/Deletions/thrown.eml": letter("thrown")})
	p := w.backUp(unit)
	ids := map[string]backup.ItemID{}
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		ids[n.Path] = n.ID
		if isMIME(n.ID) {
			content, err := w.vault.Open(w.ctx, n.Content)
			w.must(err)
			text, err := io.ReadAll(content)
			w.must(err)
			ids[subjectIn(string(text))], _ = splitMailID(n.ID)
		}
	}
	query := func(names ...string) string {
		var refs []backup.ItemRef
		for _, name := range names {
			if ids[name] == "" {
				t.Fatalf("there is no %q among %q", name, ids)
			}
			refs = append(refs, backup.RefOf(ids[name]))
		}
		return backup.PickedMail(refs)
	}
	w.harm()
	w.must(os.RemoveAll(w.box(0) + "/Recoverable Items/Deletions/thrown.eml"))
	for i := range 2 {
		a := w.searched(p, backup.DestinationInPlace, query("plan", "Inbox/Projects", "deeper", "two"))
		if want := []int64{3, 0}[i]; a.RestoredItems != want {
			t.Errorf("%d items were restored, want %d", a.RestoredItems, want)
		}
		w.wantBox("the mailbox", map[string]string{"Inbox": "later,one, changed,two", "Inbox/Projects": "plan", "Inbox/Projects/deep": "deeper", "Sent Items": "sent", "Contacts": "Bob", "Notes": "remember", "Deleted Items": "two"})
	}
	if _, err := os.Stat(w.box(0) + "/Inbox/Projects/empty"); err != nil {
		t.Errorf("the empty folder did not come back: %v", err)
	}
	a := w.searched(p, backup.DestinationNew, query("one", "Inbox/Projects/deep"))
	if got := w.inBox(0); strings.Join(got[a.RestoredSiteName+"/Inbox"], ",") != "one" || strings.Join(got[a.RestoredSiteName+"/Inbox/Projects/deep"], ",") != "deeper" || a.RestoredItems != 2 {
		t.Errorf("restored to %q: %v", a.RestoredSiteName, got)
	}
	w.restored(p, backup.DestinationInPlace)
	if got := fmt.Sprint(w.inBox(0)); strings.Contains(got, "thrown") {
		t.Errorf("what could be recovered came back unasked: %s", got)
	}
	w.searched(p, backup.DestinationInPlace, query("thrown"))
	if got := w.inBox(0); strings.Join(got["Deleted Items"], ",") != "thrown,two" {
		t.Errorf("what could be recovered came to %v", got)
	}
	if a := w.searched(p, backup.DestinationInPlace, backup.PickedMail([]backup.ItemRef{backup.RefOf("no such")})); a.RestoredItems != 0 {
		t.Errorf("of nothing %d items were restored", a.RestoredItems)
	}
}
