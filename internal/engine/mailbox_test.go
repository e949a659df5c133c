package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// newPost is newWorld with mailboxes in place of drives, and returns the unit of the
// first.
func newPost(t testing.TB, between ...func(http.Handler) http.Handler) (*world, backup.Unit) {
	t.Helper()
	w := prepare(t, "ann", "bob")
	w.must(shareKey(w.dir + "/sim"))
	cfg := simConfig(w.dir, w.tenant, w.users, w.faults)
	cfg.Mail = w.dir + "/mail"
	sim, err := simtenant.New(cfg)
	w.must(err)
	handler := sim.Handler()
	if len(between) > 0 {
		handler = between[0](handler)
	}
	server := httptest.NewServer(w.watch(handler))
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	w.connect(server.URL)
	return w, w.protectMailbox(0)
}

// protectMailbox brings a mailbox into an active policy, and returns its unit.
func (w *world) protectMailbox(i int) backup.Unit {
	w.t.Helper()
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.Exchange, DisplayName: fmt.Sprint("Mail ", i), Units: []backup.SubjectID{backup.SubjectID(w.users[i].ID)}})
	w.must(err)
	_, err = w.catalog.ActivatePolicy(w.ctx, w.tenant, p.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.Settle, string(p.ID), w.engine.settle)
	list, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
	w.must(err)
	return list.Items[0]
}

// box is the folder that is a user's mailbox.
func (w *world) box(i int) string { return filepath.Join(w.dir, "mail", w.users[i].UserPrincipalName) }

// letter is a message.
func letter(subject string, more ...string) string {
	return "From: Conrad Nuber <conrad@example.com>\r\nTo: Ann <ann@example.com>\r\nDate: Thu, 5 Feb 2026 10:00:00 +0000\r\nSubject: " + subject +
		"\r\nMessage-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@example.com>\r\n\r\nHello.\r\n" + strings.Join(more, "")
}

// post writes items, given by path and content; a path ending in a slash is a folder.
func (w *world) post(i int, files map[string]string) {
	w.t.Helper()
	for at, content := range files {
		full := filepath.Join(w.box(i), filepath.FromSlash(at))
		if strings.HasSuffix(at, "/") {
			w.must(os.MkdirAll(full, 0o755))
			continue
		}
		w.must(os.MkdirAll(filepath.Dir(full), 0o755))
		w.must(os.WriteFile(full, []byte(content), 0o644))
	}
}

// keptMail returns what a point holds, by folder: what each item is about.
func (w *world) keptMail(p backup.Point) map[string][]string {
	w.t.Helper()
	all := map[string][]string{}
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		if n.Kind != backup.File || isMIME(n.ID) {
			continue
		}
		if path.Base(n.Path) == folderInfoName {
			if _, ok := all[path.Dir(n.Path)]; !ok {
				all[path.Dir(n.Path)] = nil
			}
			var f folderFile
			w.must(json.Unmarshal([]byte(w.content(n.Content)), &f))
			if f.Name == "" || f.Class == "" {
				w.t.Errorf("%s is %+v", n.Path, f)
			}
			continue
		}
		folder := path.Dir(path.Dir(n.Path))
		all[folder] = append(all[folder], subjectIn(w.content(n.Content)))
	}
	for _, subjects := range all {
		slices.Sort(subjects)
	}
	return all
}

// subjectIn finds what an exported item is about.
func subjectIn(stream string) string {
	for _, mark := range []string{"Subject: ", "SUMMARY:", "FN:"} {
		if _, rest, ok := strings.Cut(stream, mark); ok {
			return strings.TrimRight(rest[:strings.IndexAny(rest+"\n", "\r\n")], "\r\n")
		}
	}
	return "nothing"
}

func (w *world) wantMail(what string, p backup.Point, want map[string]string) {
	w.t.Helper()
	got := w.keptMail(p)
	for folder, subjects := range want {
		if have := strings.Join(got[folder], ","); have != subjects {
			w.t.Errorf("%s: %s holds %q, want %q\n%s", what, folder, have, subjects, w.log)
		}
	}
	for folder, have := range got {
		if _, ok := want[folder]; !ok && len(have) > 0 {
			w.t.Errorf("%s: %s holds %q, want nothing", what, folder, have)
		}
	}
}

// finds returns what a search finds in a point.
func (w *world) finds(p backup.Point, query string) (n int) {
	w.t.Helper()
	for _, err := range w.catalog.FoundMail(w.ctx, backup.Artifact{Tenant: w.tenant, Point: p, Query: query}) {
		w.must(err)
		n++
	}
	return n
}

var someMail = map[string]string{
	"Inbox/one.eml":           letter("one"),
	"Inbox/two.eml":           letter("two"),
	"Inbox/Projects/plan.eml": letter("plan"),
	"Sent Items/sent.eml":     letter("sent"),
	"Calendar/meet.ics":       "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:meet\r\nSUMMARY:meet\r\nDTSTART:20260301T090000Z\r\nDTEND:20260301T100000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
	"Contacts/bob.vcf":        "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bob\r\nEMAIL:bob@example.com\r\nEND:VCARD\r\n",
	"Notes/remember.txt":      "Subject: remember\n",
}

// A mailbox is backed up by the changes of its folders and of what is in each; a
// visit without changes writes nothing, and what moved is not exported again.
func TestAMailboxIsBackedUp(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	first := w.backUp(unit)
	all := map[string]string{"Inbox": "one,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"}
	w.wantMail("the first point", first, all)
	if lacks := w.lacking(first); len(lacks) > 0 || w.unit(unit.ID).Problem != nil {
		t.Errorf("the point lacks %q, the unit says %+v\n%s", lacks, w.unit(unit.ID).Problem, w.log)
	}
	if got := w.keptMail(first); len(got["Recoverable Items"]) != 0 || !slices.Contains(keysOf(got), "Recoverable Items/Deletions") {
		t.Errorf("recoverable items: %v", keysOf(got))
	}
	for query, want := range map[string]int{"Subject -like 'one'": 1, "Sender -like 'conrad@example.com'": 4, "MessageKind -eq 'Calendar'": 1, "Participants -like 'ann'": 4} {
		if n := w.finds(first, query); n != want {
			t.Errorf("%s finds %d items, want %d\n%s", query, n, want, w.log)
		}
	}

	w.reset()
	again := w.backUp(unit)
	if again.Tree != first.Tree {
		t.Errorf("a point without changes has another tree\n%s", w.log)
	}
	w.wantAsked("export", 0)
	if n := w.finds(again, "Subject -like 'one'"); n != 1 {
		t.Errorf("%d items are found in a point without changes", n)
	}

	// The top, the changes of folders, what can be recovered, the folders in that, and the
	// changes in all of them at once.
	w.reset()
	opened := w.vault.Counters()
	w.backUp(unit)
	w.wantAsked("delta", 1)
	w.wantAsked("all", 5)
	if now := w.vault.Counters(); now.BlobsWritten != opened.BlobsWritten {
		t.Errorf("a visit without changes wrote %d blobs", now.BlobsWritten-opened.BlobsWritten)
	}

	// One changed, one new, one moved, one deleted, and a folder renamed.
	w.post(0, map[string]string{"Inbox/one.eml": letter("one, changed"), "Inbox/three.eml": letter("three")})
	w.must(os.Rename(w.box(0)+"/Inbox/two.eml", w.box(0)+"/Archive/two.eml"))
	w.must(os.Remove(w.box(0) + "/Sent Items/sent.eml"))
	w.must(os.Rename(w.box(0)+"/Inbox/Projects", w.box(0)+"/Inbox/Plans"))
	w.reset()
	second := w.backUp(unit)
	w.wantMail("the second point", second, map[string]string{"Inbox": "one, changed,three", "Inbox/Plans": "plan", "Archive": "two", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"})
	if lacks := w.lacking(second); len(lacks) > 0 {
		t.Errorf("the point lacks %q\n%s", lacks, w.log)
	}
	if n := w.asked("export"); n > 2 {
		t.Errorf("%d exports were made for two items", n)
	}
	for query, want := range map[string]int{"Subject -like 'one'": 1, "Subject -like 'sent'": 0, "Subject -like 'changed'": 1, "Subject -like 'two'": 1} {
		if n := w.finds(second, query); n != want {
			t.Errorf("%s finds %d items, want %d", query, n, want)
		}
	}
	if n := w.finds(first, "Subject -like 'sent'"); n != 1 {
		t.Errorf("the first point has %d items that were deleted later", n)
	}

	// The whole mailbox again, as when its turn comes, finds nothing.
	w.reconcileAt(unit)
	w.reset()
	third := w.backUp(unit)
	was := w.kept(second.Tree)
	delete(was, "Sent Items/"+monthOf(time.Now())) // nothing is in it any more
	w.same("the third point", was, w.kept(third.Tree))
	w.wantAsked("export", 0)
	if strings.Contains(w.log.String(), "left a change out") {
		t.Errorf("a whole enumeration found something\n%s", w.log)
	}

	// A folder with all in it, deleted.
	w.must(os.RemoveAll(w.box(0) + "/Inbox/Plans"))
	fourth := w.backUp(unit)
	w.wantMail("the fourth point", fourth, map[string]string{"Inbox": "one, changed,three", "Archive": "two", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"})
	if got := w.keptMail(fourth); slices.Contains(keysOf(got), "Inbox/Plans") || len(w.lacking(fourth)) > 0 {
		t.Errorf("the folder is still there: %v, %q", keysOf(got), w.lacking(fourth))
	}
	if n := w.finds(fourth, "Subject -like 'plan'"); n != 0 {
		t.Errorf("%d items of a deleted folder are found", n)
	}
	if found, err := w.vault.Verify(w.ctx, []string{first.Tree, second.Tree, fourth.Tree}, vault.VerifyOptions{Share: 1}); err != nil || found.Err() != nil {
		t.Error(err, found.Err())
	}
}

func keysOf[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// Where a source does not answer for many folders at once, or only in part, each is asked for
// by itself, and nothing that changed is missed.
func TestFoldersThatAreAskedForTogether(t *testing.T) {
	for name, spoil := range map[string]func(a *answers, rw http.ResponseWriter){
		"as it is":     func(*answers, http.ResponseWriter) {},
		"no batches":   func(_ *answers, rw http.ResponseWriter) { rw.WriteHeader(http.StatusNotImplemented) },
		"no answers":   func(a *answers, _ http.ResponseWriter) { a.Responses = nil },
		"every second": func(a *answers, _ http.ResponseWriter) { a.Responses = a.Responses[:len(a.Responses)/2] },
		"too many": func(a *answers, _ http.ResponseWriter) {
			for i := range a.Responses {
				a.Responses[i]["status"] = http.StatusTooManyRequests
			}
		},
		"of each other": func(a *answers, _ http.ResponseWriter) {
			for i := range a.Responses {
				a.Responses[i]["id"] = strconv.Itoa((i + 1) % len(a.Responses))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			batches := 0
			w, unit := newPost(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if !strings.HasSuffix(r.URL.Path, "/$batch") {
						next.ServeHTTP(rw, r)
						return
					}
					batches++
					retell(t, next, rw, r, func(a *answers) { spoil(a, rw) })
				})
			})
			w.post(0, someMail)
			w.backUp(unit)
			for i := range 3 {
				letters := map[string]string{"Inbox": fmt.Sprint("in", i), "Sent Items": fmt.Sprint("out", i)}
				w.must(os.RemoveAll(w.box(0) + "/Inbox/two.eml"))
				for folder, subject := range letters {
					w.post(0, map[string]string{folder + "/" + subject + ".eml": letter(subject)})
				}
				point := w.backUp(unit)
				got := w.keptMail(point)
				for folder, subject := range letters {
					if !slices.Contains(got[folder], subject) {
						t.Errorf("%s holds %q and not %s\n%s", folder, got[folder], subject, w.log)
					}
				}
				if slices.Contains(got["Inbox"], "two") || len(w.lacking(point)) > 0 {
					t.Errorf("the inbox holds %q, the point lacks %q", got["Inbox"], w.lacking(point))
				}
			}
			if batches == 0 {
				t.Error("nothing was asked for together")
			}
			w.reconcileAt(unit)
			w.backUp(unit)
			if strings.Contains(w.log.String(), "left a change out") {
				t.Errorf("a whole enumeration found something\n%s", w.log)
			}
		})
	}
}

// answers are those of a batch.
type answers struct {
	Responses []map[string]any `json:"responses"`
}
