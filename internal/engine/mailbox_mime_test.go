package engine

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// mimes returns the messages that a point holds as MIME: their contents, by folder and
// subject.
func (w *world) mimes(p backup.Point) map[string]string {
	w.t.Helper()
	streams, all := map[string]string{}, map[string]string{}
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		if n.Kind == backup.File && !isMIME(n.ID) {
			streams[n.Path] = n.Content
		}
	}
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		if !isMIME(n.ID) {
			continue
		}
		stream := strings.TrimSuffix(n.Path, ".eml") + ".fts"
		if streams[stream] == "" || streams[stream] != n.CTag {
			w.t.Errorf("%s is of %q, beside %q", n.Path, n.CTag, streams[stream])
		}
		text := w.content(n.Content)
		all[path.Join(path.Dir(path.Dir(n.Path)), subjectIn(text))] = text
	}
	return all
}

func (w *world) wantMIME(what string, p backup.Point, folders ...string) map[string]string {
	w.t.Helper()
	got := w.mimes(p)
	if len(got) != len(folders) {
		w.t.Errorf("%s: %d messages as MIME, want %d: %v", what, len(got), len(folders), keysOf(got))
	}
	for _, at := range folders {
		if _, ok := got[at]; !ok {
			w.t.Errorf("%s: %s is not held as MIME: %v\n%s", what, at, keysOf(got), w.log)
		}
	}
	return got
}

// Messages are kept as MIME beside their streams, byte for byte, and what is no message is
// not. What moved is not read again; what changed is; with a message its MIME goes.
func TestMessagesAreKeptAsMIME(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	first := w.backUp(unit)
	got := w.wantMIME("the first point", first, "Inbox/one", "Inbox/two", "Inbox/Projects/plan", "Sent Items/sent")
	if got["Inbox/one"] != someMail["Inbox/one.eml"] {
		t.Errorf("a message is %q", got["Inbox/one"])
	}
	w.wantAsked("mime", 4)
	w.reset()
	if again := w.backUp(unit); again.Tree != first.Tree {
		t.Error("a point without changes has another tree")
	}
	w.wantAsked("mime", 0)

	w.post(0, map[string]string{"Inbox/one.eml": letter("one, changed"), "Inbox/three.eml": letter("three")})
	w.must(os.Rename(w.box(0)+"/Inbox/two.eml", w.box(0)+"/Archive/two.eml"))
	w.must(os.Remove(w.box(0) + "/Sent Items/sent.eml"))
	w.must(os.Rename(w.box(0)+"/Inbox/Projects", w.box(0)+"/Inbox/Plans"))
	w.reset()
	second := w.backUp(unit)
	w.wantMIME("the second point", second, "Inbox/one, changed", "Inbox/three", "Archive/two", "Inbox/Plans/plan")
	w.wantAsked("mime", 2)

	w.reconcileAt(unit)
	w.reset()
	third := w.backUp(unit)
	w.wantMIME("the third point", third, keysOf(w.mimes(second))...)
	w.wantAsked("mime", 0)
	w.must(os.RemoveAll(w.box(0) + "/Inbox/Plans"))
	w.wantMIME("the fourth point", w.backUp(unit), "Inbox/one, changed", "Inbox/three", "Archive/two")
	w.wantMIME("the first point, later", first, keysOf(got)...)
}

// A restore waits for no MIME: what it put into the mailbox has that of its point at once,
// and the next backup reads the rest.
func TestARestoreReadsNoMIME(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	p := w.backUp(unit)
	w.harm()
	w.reset()
	w.restored(p, backup.DestinationInPlace)
	w.wantAsked("mime", 0)
	w.wantBox("the mailbox", mended)
	points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: unit.ID})
	w.must(err)
	held := slices.MaxFunc(points.Items, func(a, b backup.Point) int { return a.At.Compare(b.At) })
	if mimes := w.mimes(held); mimes["Inbox/one"] != someMail["Inbox/one.eml"] || mimes["Inbox/Projects/plan"] == "" || mimes["Inbox/two"] == "" {
		t.Errorf("the point that the restore made holds as MIME %v", keysOf(mimes))
	}
	got := w.wantMIME("the point after", w.backUp(unit), "Inbox/later", "Inbox/one", "Inbox/two", "Inbox/Projects/plan", "Sent Items/sent", "Deleted Items/two")
	if got["Inbox/one"] != someMail["Inbox/one.eml"] {
		t.Errorf("a message is %q", got["Inbox/one"])
	}
}

// What a run does not come to, later ones do, newcomers first; and so what was not read
// while the setting was off.
func TestMIMEIsCaughtUpWith(t *testing.T) {
	w, unit := newPost(t)
	files := map[string]string{}
	for i := range 10 {
		files[fmt.Sprintf("Inbox/%d.eml", i)] = letter(fmt.Sprint("number ", i))
	}
	w.post(0, files)
	w.engine.MIME = func(backup.TenantID) bool { return false }
	w.wantMIME("the point without", w.backUp(unit))
	w.wantAsked("mime", 0)
	w.engine.MIME = nil
	w.engine.Transfers = 1
	var asked atomic.Int64
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/$value") && asked.Add(1)%4 == 0 {
			w.skew.Add(int64(2 * w.engine.Interval))
		}
	})
	for _, want := range []int{4, 8, 10, 10} {
		p := w.backUp(unit)
		if got := w.mimes(p); len(got) != want || len(w.lacking(p)) > 0 {
			t.Fatalf("%d messages as MIME, want %d; the point lacks %q\n%s", len(got), want, w.lacking(p), w.log)
		}
	}
	w.wantAsked("mime", 10)
	w.engine.MIME = func(backup.TenantID) bool { return false }
	w.post(0, map[string]string{"Inbox/1.eml": letter("number one")})
	if got := w.mimes(w.backUp(unit)); len(got) != 9 {
		t.Errorf("%d messages as MIME; that of a message that changed is old", len(got))
	}
}

// A refuser answers requests for messages otherwise than the source.
type refuser struct {
	with atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
}

func (f *refuser) between(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if with := f.with.Load(); with != nil && strings.Contains(r.URL.Path, "/messages") {
			(*with)(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (f *refuser) set(with func(http.ResponseWriter, *http.Request, http.Handler)) {
	f.with.Store(&with)
}

// Whatever is answered in the place of MIME, the streams are held and the point is made;
// what is no message is not held for one, and is named.
func TestPlayMIMEIsRefused(t *testing.T) {
	fail := func(status int, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	denied := fail(403, `{"error":{"code":"ErrorAccessDenied","message":"Access is denied."}}`)
	for name, c := range map[string]struct {
		with func(http.ResponseWriter, *http.Request, http.Handler)
		code backup.Code
		all  bool // it is of all messages
	}{
		"these not permitted": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasSuffix(r.URL.Path, "/$value") {
				denied(w, r, next)
			} else {
				next.ServeHTTP(w, r)
			}
		}, backup.DriveUnavailable, false},
		"not permitted": {denied, backup.AccessDenied, true},
		"not found":     {fail(404, `{"error":{"code":"ErrorItemNotFound","message":"The specified object was not found in the store."}}`), backup.ContentNotFound, false},
		"not possible":  {fail(400, `{"error":{"code":"ErrorMimeContentConversionFailed","message":"no"}}`), backup.DriveUnavailable, false},
		"a web page":    {fail(200, "<!DOCTYPE html><html><body>Sign in</body></html>"), backup.ContentNotConfirmed, false},
		"an error":      {fail(200, `{"error":{"code":"ErrorInternalServerError","message":"no"}}`), backup.ContentNotConfirmed, false},
		"nothing":       {fail(200, ""), backup.ContentNotConfirmed, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := &refuser{}
			w, unit := newPost(t, f.between)
			w.post(0, map[string]string{"Inbox/one.eml": letter("one"), "Inbox/two.eml": letter("two"), "Notes/remember.txt": someMail["Notes/remember.txt"]})
			f.set(c.with)
			p := w.backUp(unit)
			w.wantMail("the point", p, map[string]string{"Inbox": "one,two", "Notes": "remember"})
			w.wantMIME("the point", p)
			unread, err := w.vault.Unread(w.ctx, p.Tree)
			w.must(err)
			want := 2
			if c.all {
				want = 1
			}
			if len(unread) != want || unread[0].Code != c.code || !strings.HasSuffix(unread[0].Path, ".eml") || unread[0].Held {
				t.Errorf("the point lacks %+v\n%s", unread, w.log)
			}
			// That messages are held otherwise than as MIME is a note, and no error, unless
			// somebody can do something about it.
			if problem := w.unit(unit.ID).Problem; (problem != nil) != c.all || (p.Unread > 0) != c.all || unread[0].Beside == c.all {
				t.Errorf("the unit has %v, and the point lacks %d items: %+v", problem, p.Unread, unread)
			}
			// It is asked for less and less often, and found once it is there.
			w.backUp(unit)
			w.reset()
			w.backUp(unit)
			if n := w.asked("mime"); n > 0 {
				t.Errorf("%d requests for what has just been refused twice", n)
			}
			if !c.all {
				for range 40 {
					w.skew.Add(int64(18 * time.Hour))
					w.backUp(unit)
				}
				if n := w.asked("mime"); n > 40 {
					t.Errorf("%d requests in a month for two messages that are always refused", n)
				}
			}
			f.with.Store(nil)
			w.skew.Add(int64(8 * 24 * time.Hour))
			p = w.backUp(unit)
			if c.all {
				p = w.backUp(unit)
			}
			w.wantMIME("the point of later", p, "Inbox/one", "Inbox/two")
			if lacks := w.lacking(p); len(lacks) > 0 || w.unit(unit.ID).Problem != nil {
				t.Errorf("the point of later lacks %q", lacks)
			}
		})
	}
}

// A message that comes cut is read again.
func TestMIMEIsCut(t *testing.T) {
	f := &refuser{}
	w, unit := newPost(t, f.between)
	whole := "From: a@example.com\r\nSubject: parts\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"part\"\r\n\r\n--part\r\nContent-Type: text/plain\r\n\r\nhello\r\n--part\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("more\r\n", 500) + "--part--\r\n"
	w.post(0, map[string]string{"Inbox/parts.eml": whole})
	var n atomic.Int64
	f.set(func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
		rw.Write([]byte(whole[:min(len(whole), int(n.Add(1))*2000)]))
	})
	p := w.backUp(unit)
	if got := w.mimes(p); got["Inbox/parts"] != whole || len(w.lacking(p)) > 0 {
		t.Errorf("held are %d bytes of %d, and the point lacks %q", len(got["Inbox/parts"]), len(whole), w.lacking(p))
	}
	// What always is so is so.
	odd := strings.TrimSuffix(whole, "--part--\r\n")
	f.with.Store(nil)
	w.post(0, map[string]string{"Inbox/parts.eml": odd})
	p = w.backUp(unit)
	if got := w.mimes(p); got["Inbox/parts"] != odd || len(w.lacking(p)) > 0 {
		t.Errorf("held are %d bytes of %d, and the point lacks %q", len(got["Inbox/parts"]), len(odd), w.lacking(p))
	}
}

// What is damaged in the vault is read again.
func TestDamagedMIMEIsHealed(t *testing.T) {
	w, unit := newPost(t)
	w.ownVault()
	w.post(0, someMail)
	p := w.backUp(unit)
	before := w.mimes(p)
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		if isMIME(n.ID) {
			w.must(w.catalog.NoteDamage(w.ctx, w.tenant, []backup.Damage{{Unit: unit.ID, Drive: p.Drive, Item: n.ID, Path: n.Path, Content: n.Content, Reason: "for a test"}}))
		}
	}
	for _, blob := range w.blobs("p") {
		b, err := os.ReadFile(blob)
		w.must(err)
		for at := range b {
			b[at] ^= 1
		}
		w.must(os.WriteFile(blob, b, 0o600))
	}
	w.must(w.vault.Close(w.ctx))
	w.ownVault() // which remembers nothing
	w.skew.Add(int64(time.Hour))
	w.backUp(unit)
	p = w.backUp(unit)
	after := w.mimes(p)
	if len(after) != len(before) || after["Inbox/one"] != before["Inbox/one"] {
		t.Errorf("%d of %d messages are there\n%s", len(after), len(before), w.log)
	}
}
