package drive_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

// A post is a client of the simulated tenant, and one user's mailbox in it.
type post struct {
	*drive.Client
	t      *testing.T
	faults *simtenant.Faults
	user   backup.ObjectID
	box    backup.DriveID
	folder string       // the mailbox's, on disk
	now    atomic.Int64 // requests at work
	most   atomic.Int64 // of them
}

func newPost(t *testing.T, opts simtenant.Options) *post {
	t.Helper()
	dir := t.TempDir()
	x := &post{t: t, faults: new(simtenant.Faults)}
	x.faults.Set(func(o *simtenant.Options) { *o = opts })
	contoso := simtenant.Sample()[0]
	x.user = contoso.Users[0].ID
	x.folder = filepath.Join(dir, "mail", contoso.Users[0].UserPrincipalName)
	clk := newClock()
	sim, err := simtenant.New(simtenant.Config{
		State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Mail: filepath.Join(dir, "mail"),
		Tenants: []simtenant.Tenant{contoso}, Faults: x.faults,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := sim.Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "ailboxes") {
			n := x.now.Add(1)
			defer x.now.Add(-1)
			for most := x.most.Load(); n > most && !x.most.CompareAndSwap(most, n); most = x.most.Load() {
			}
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		sim.Close()
	})
	x.Client = drive.New(drive.Config{
		Graph: srv.URL + "/v1.0", Authority: srv.URL, Tenant: contoso.ID,
		ClientID: contoso.Apps[0].AppID, Credential: drive.Secret(contoso.Apps[0].Secret),
		HTTP: srv.Client(), Clock: clk.Now, Sleep: clk.Sleep,
	})
	if x.box, err = x.UserMailbox(t.Context(), x.user); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *post) write(name, subject string, more ...string) {
	x.t.Helper()
	path := filepath.Join(x.folder, name)
	text := "From: Conrad Nuber <conrad@contoso.com>\r\nTo: amala@contoso.com\r\nDate: Thu, 5 Feb 2026 10:00:00 +0000\r\nSubject: " + subject +
		"\r\nMessage-ID: <" + subject + "@contoso.com>\r\n\r\nHello.\r\n" + strings.Join(more, "")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		x.t.Fatal(err)
	}
}

// folders returns the folders by their names, and the cursor.
func (x *post) folders(cursor string) (map[string]drive.MailFolder, string) {
	x.t.Helper()
	all := map[string]drive.MailFolder{}
	changes := x.MailFolders(x.t.Context(), x.box, "", cursor)
	for f, err := range changes.All() {
		if err != nil {
			x.t.Fatal(err)
		}
		all[f.Name] = f
	}
	return all, changes.Cursor()
}

func (x *post) items(folder backup.ItemID, cursor string) (all []drive.MailItem, next string) {
	x.t.Helper()
	changes := x.MailItems(x.t.Context(), x.box, folder, cursor)
	for it, err := range changes.All() {
		if err != nil {
			x.t.Fatal(err)
		}
		all = append(all, it)
	}
	return all, changes.Cursor()
}

func (x *post) export(ids ...backup.ItemID) *drive.Export {
	x.t.Helper()
	e, err := x.ExportMail(x.t.Context(), x.box, x.t.TempDir(), ids...)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(e.Close)
	return e
}

func TestAMailboxIsReadByDelta(t *testing.T) {
	x := newPost(t, simtenant.Options{PageSize: 3, Repeat: true, EmptyPages: true})
	for i := range 7 {
		x.write(fmt.Sprintf("Inbox/%d.eml", i), fmt.Sprint("message ", i))
	}
	x.write("Inbox/Projects/plan.eml", "plan")
	folders, cursor := x.folders("")
	inbox, projects := folders["Inbox"], folders["Projects"]
	if inbox.WellKnown != "inbox" || inbox.Class != "IPF.Note" || projects.Parent != inbox.ID || projects.WellKnown != "" {
		t.Fatalf("folders = %+v", folders)
	}
	items, next := x.items(inbox.ID, "")
	ids := map[backup.ItemID]bool{}
	for _, it := range items {
		ids[it.ID] = true
		if it.ChangeKey == "" || it.Class != "IPM.Note" || it.Size <= 0 || it.Created.IsZero() || it.Deleted || it.Incomplete {
			t.Errorf("item = %+v", it)
		}
	}
	if len(ids) != 7 {
		t.Errorf("%d items, want 7", len(ids))
	}
	if again, _ := x.items(inbox.ID, next); len(again) != 0 {
		t.Errorf("nothing changed, and %+v came", again)
	}
	// A move is told in both folders, of one id.
	if err := os.Rename(x.folder+"/Inbox/0.eml", x.folder+"/Inbox/Projects/0.eml"); err != nil {
		t.Fatal(err)
	}
	left, _ := x.items(inbox.ID, next)
	came, _ := x.items(projects.ID, "")
	if len(left) != 1 || !left[0].Deleted || !slices.ContainsFunc(came, func(it drive.MailItem) bool { return it.ID == left[0].ID && !it.Deleted }) {
		t.Errorf("left %+v, came %+v", left, came)
	}
	if err := os.RemoveAll(x.folder + "/Inbox/Projects"); err != nil {
		t.Fatal(err)
	}
	gone, _ := x.folders(cursor)
	if f := gone[""]; !f.Deleted || f.ID != projects.ID {
		t.Errorf("removed = %+v", gone)
	}
	if _, err := x.MailFolder(t.Context(), x.box, projects.ID); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("a removed folder: %v", err)
	}
}

func TestMailComesWithItsProperties(t *testing.T) {
	x := newPost(t, simtenant.Options{PageSize: 2})
	for i := range 5 {
		x.write(fmt.Sprintf("Inbox/%d.eml", i), fmt.Sprint("message ", i))
	}
	folders, _ := x.folders("")
	inbox := folders["Inbox"].ID
	var subjects []string
	for it, err := range x.ListMail(t.Context(), x.box, inbox) {
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, it.Subject)
		one, err := x.MailItem(t.Context(), x.box, inbox, it.ID)
		if err != nil || one != it {
			t.Errorf("asked for by itself: %+v, %v, want %+v", one, err, it)
		}
		if it.Sender != "Conrad Nuber" || it.Address != "conrad@contoso.com" || it.To == "" || it.Received.IsZero() || it.SearchKey == "" || it.MessageID == "" {
			t.Errorf("item = %+v", it)
		}
	}
	slices.Sort(subjects)
	if strings.Join(subjects, ",") != "message 0,message 1,message 2,message 3,message 4" {
		t.Errorf("subjects = %q", subjects)
	}
	if _, err := x.MailItem(t.Context(), x.box, inbox, "nothing"); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("an unknown item: %v", err)
	}
}

// What is exported is imported as it was, into any folder; what is replaced must be
// what was seen.
func TestMailIsExportedAndImported(t *testing.T) {
	x := newPost(t, simtenant.Options{Mail: simtenant.MailOptions{Corrupt: "bad.eml"}})
	x.write("Inbox/a.eml", "a", strings.Repeat("much ", 50_000))
	x.write("Inbox/b.eml", "b")
	x.write("Inbox/bad.eml", "bad")
	folders, _ := x.folders("")
	inbox := folders["Inbox"].ID
	by := map[string]drive.MailItem{}
	for it, err := range x.ListMail(t.Context(), x.box, inbox) {
		if err != nil {
			t.Fatal(err)
		}
		by[it.Subject] = it
	}
	e := x.export(by["a"].ID, by["bad"].ID, by["b"].ID)
	if bad := e.Item(by["bad"].ID); !errors.Is(bad.Err, drive.ErrUnavailable) {
		t.Errorf("what cannot be read: %+v", bad)
	}
	if other := e.Item("another"); other.Err == nil {
		t.Error("what was not asked for is there")
	}
	alone := x.export(by["b"].ID)
	for _, subject := range []string{"a", "b"} {
		got := e.Item(by[subject].ID)
		stream, err := io.ReadAll(e.Read(by[subject].ID))
		if err != nil || got.Err != nil || got.ChangeKey != by[subject].ChangeKey || int64(len(stream)) != got.Size || !bytes.Contains(stream, []byte("Subject: "+subject+"\r\n")) {
			t.Errorf("%s = %+v, %v", subject, got, err)
		}
	}
	if one, _ := io.ReadAll(alone.Read(by["b"].ID)); !bytes.Contains(one, []byte("Subject: b\r\n")) {
		t.Error("what is exported alone is another stream")
	}

	to, err := x.CreateMailFolder(t.Context(), x.box, inbox, "Recovered", "IPF.Note")
	if err != nil || to.Parent != inbox {
		t.Fatalf("folder = %+v, %v", to, err)
	}
	if _, err := x.CreateMailFolder(t.Context(), x.box, inbox, "Recovered", "IPF.Note"); !errors.Is(err, drive.ErrExists) {
		t.Errorf("the same folder again: %v", err)
	}
	in := x.Importer(x.box)
	made, _, err := in.Import(t.Context(), drive.Import{Folder: to.ID}, e.Read(by["a"].ID), e.Item(by["a"].ID).Size)
	if err != nil {
		t.Fatal(err)
	}
	is, err := x.MailItem(t.Context(), x.box, to.ID, made.ID)
	want := by["a"]
	want.ID, want.ChangeKey, want.Modified = made.ID, made.ChangeKey, is.Modified
	if err != nil || is != want {
		t.Errorf("imported: %+v, %v, want %+v", is, err, want)
	}
	for key, fails := range map[string]error{"stale": drive.ErrChanged, by["b"].ChangeKey: nil} {
		_, unclear, err := in.Import(t.Context(), drive.Import{Folder: inbox, Item: by["b"].ID, ChangeKey: key}, e.Read(by["b"].ID), e.Item(by["b"].ID).Size)
		if !errors.Is(err, fails) || unclear {
			t.Errorf("update with %q: %v, unclear %v", key, err, unclear)
		}
	}
	if _, unclear, err := in.Import(t.Context(), drive.Import{Folder: inbox}, strings.NewReader("nonsense"), 8); err == nil || unclear {
		t.Errorf("what is no export: %v, unclear %v", err, unclear)
	}
}

// However many ask, a mailbox serves four at a time, and its pauses are its own.
func TestAMailboxIsAskedWithinItsLimits(t *testing.T) {
	x := newPost(t, simtenant.Options{Mail: simtenant.MailOptions{Requests: 30}})
	x.write("Inbox/a.eml", "a")
	folders, _ := x.folders("")
	var group sync.WaitGroup
	for range 60 {
		group.Go(func() {
			if _, err := x.MailFolder(t.Context(), x.box, folders["Inbox"].ID); err != nil && !errors.Is(err, drive.ErrPaused) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if most := x.most.Load(); most > 5 { // one that is answered may not be counted out yet
		t.Errorf("%d requests at a time", most)
	}
	_, err := x.MailFolder(t.Context(), x.box, folders["Inbox"].ID)
	if e, ok := errors.AsType[*drive.Error](err); !ok || !errors.Is(err, drive.ErrPaused) || e.RetryAfter <= 0 {
		t.Errorf("a mailbox that wants to be left alone: %v", err)
	}
	if _, err := x.UserDrive(t.Context(), x.user); err != nil {
		t.Errorf("all else waits for a mailbox: %v", err)
	}
}

// Lists that are refused say so, each in its way.
func TestMailCursorsThatAreRefused(t *testing.T) {
	x := newPost(t, simtenant.Options{})
	x.write("Inbox/a.eml", "a")
	folders, _ := x.folders("")
	fails := func(what string, folder backup.ItemID, cursor string, want error) {
		t.Helper()
		for _, err := range x.MailItems(t.Context(), x.box, folder, cursor).All() {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
	}
	inbox := folders["Inbox"].ID
	_, cursor := x.items(inbox, "")
	if _, other := x.items(folders["Drafts"].ID, ""); other == "" {
		t.Fatal("no cursor")
	} else {
		fails("another folder's cursor", inbox, other, drive.ErrResync)
	}
	fails("no address", inbox, "nonsense", drive.ErrResync)
	fails("a spoilt token", inbox, cursor+"x", drive.ErrResync)
	x.faults.Set(func(o *simtenant.Options) { o.Mail.Full = true })
	fails("a full mailbox", inbox, cursor, drive.ErrQuota)
	x.faults.Set(func(o *simtenant.Options) { o.Mail.Full = false; o.Mail.Denied = []string{filepath.Base(x.folder)} })
	fails("a closed mailbox", inbox, cursor, drive.ErrDenied)
}

// What is no answer to an export is no item, whatever it says.
func TestWhatIsNoExport(t *testing.T) {
	data := base64.StdEncoding.EncodeToString([]byte("stream"))
	for body, want := range map[string]string{
		`{"value":[{"itemId":"A","changeKey":"k","data":"` + data + `"}]}`:                              "stream",
		`{"@odata.context":{"a":["]}"]},"value" : [ {"data":"` + data + `", "x":1.5,"itemId":"A"} ] } `: "stream",
		`{"value":[{"itemId":"A","changeKey":"k","data":"` + `c3RyZWF\u0074` + `"}]}`:                   "stream",
		`{"value":[{"itemId":"A","data":null,"error":{"code":"ErrorItemNotFound","message":"]}"}}]}`:    "not found",
		`{"value":[{"itemId":"A","data":"` + data + `","error":null}]}`:                                 "stream",
		`{"value":[{"itemId":"A","data":""}]}`:                                                          "fails",
		`{"value":[{"itemId":"A","changeKey":"k"}]}`:                                                    "fails",
		`{"value":[]}`: "fails",
		`{"value":[{"itemId":"B","data":"` + data + `"}]}`:                                    "none",
		`{"value":[{"itemId":"A","data":"` + data + `"},{"itemId":"A","data":"` + data + `"}`: "none",
		`{"value":[{"data":"` + data + `"}]}`:                                                 "none",
		`{"value":[{"itemId":"A","data":"` + data[:5] + `"}]}`:                                "none",
		`{"value":[{"itemId":"A","data":"` + data:                                             "none",
		`{"error":{"code":"x"}}`:                                                              "none",
		`<html>`:                                                                              "none",
		``:                                                                                    "none",
	} {
		src := newSource(t)
		src.on("POST /v1.0/admin/exchange/mailboxes/MBX:1@2/exportItems", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		src.on("GET /v1.0/admin/exchange/mailboxes/MBX:1@2/folders/msgfolderroot", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"id":"top","displayName":"Top"}`)
		})
		e, err := src.client(newClock()).ExportMail(t.Context(), "MBX:1@2", t.TempDir(), "A")
		got := "none"
		if err == nil {
			is := e.Item("A")
			switch {
			case errors.Is(is.Err, drive.ErrNotFound):
				got = "not found"
			case is.Err != nil:
				got = "fails"
			default:
				b, _ := io.ReadAll(e.Read("A"))
				got = string(b)
			}
			e.Close()
		}
		if got != want {
			t.Errorf("%s = %q (%v), want %q", body, got, err, want)
		}
	}
}

// However large an item is, memory holds little of it, there and back.
func TestALargeItemIsNotHeld(t *testing.T) {
	const size = 24 << 20
	zero, n := base64.StdEncoding.EncodedLen(size), 0
	src := newSource(t)
	src.on("POST /v1.0/admin/exchange/mailboxes/MBX:1@2/exportItems", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"value":[{"itemId":"A","changeKey":"k","data":"`)
		piece := []byte(strings.Repeat("A", 1<<16))
		for n := zero; n > 0; n -= len(piece) {
			w.Write(piece[:min(n, len(piece))])
		}
		io.WriteString(w, `"}]}`)
	})
	src.on("POST /v1.0/admin/exchange/mailboxes/MBX:1@2/createImportSession", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"importUrl":%q}`, src.URL+"/import?authtoken=secret")
	})
	src.on("POST /import", func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.Copy(io.Discard, r.Body)
		n = int(got)
		io.WriteString(w, `{"itemId":"B","changeKey":"k2"}`)
	})
	c := src.client(newClock())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e, err := c.ExportMail(t.Context(), "MBX:1@2", t.TempDir(), "A")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, _, err := c.Importer("MBX:1@2").Import(t.Context(), drive.Import{Folder: "F"}, e.Read("A"), e.Item("A").Size); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if e.Item("A").Size != size || n < zero {
		t.Errorf("%d bytes came and %d went, want %d and %d at least", e.Item("A").Size, n, size, zero)
	}
	if held := after.HeapSys - before.HeapSys; after.HeapSys > before.HeapSys && held > size {
		t.Errorf("memory grew by %d bytes", held)
	}
}

// An import whose answer is lost may have taken effect, and is not tried again; a
// session that is refused is opened anew, once.
func TestImportsThatFail(t *testing.T) {
	for _, c := range []struct {
		what    string
		answers []int
		sent    int
		unclear bool
		kind    error
	}{
		{"it is served", []int{200}, 1, false, nil},
		{"it fails", []int{500}, 1, true, drive.ErrUnavailable},
		{"the session has ended", []int{401, 200}, 2, false, nil},
		{"the session is refused", []int{403, 403}, 2, false, drive.ErrDenied},
		{"too much at a time", []int{429, 429, 200}, 3, false, nil},
		{"the mailbox is full", []int{507}, 1, false, drive.ErrQuota},
	} {
		src := newSource(t)
		sent, sessions := 0, 0
		src.on("POST /v1.0/admin/exchange/mailboxes/MBX:1@2/createImportSession", func(w http.ResponseWriter, _ *http.Request) {
			sessions++
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"importUrl":%q,"expirationDateTime":"2099-01-01T00:00:00Z"}`, src.URL+"/import?authtoken=secret")
		})
		src.on("POST /import", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("an import carries a token")
			}
			io.Copy(io.Discard, r.Body)
			status := c.answers[min(sent, len(c.answers)-1)]
			sent++
			if w.WriteHeader(status); status == 200 {
				io.WriteString(w, `{"itemId":"B","changeKey":"k2"}`)
			} else if status == 429 {
				io.WriteString(w, `{"error":{"code":"MailboxConcurrency"}}`)
			}
		})
		_, unclear, err := src.client(newClock()).Importer("MBX:1@2").Import(t.Context(), drive.Import{Folder: "F"}, strings.NewReader("stream"), 6)
		if !errors.Is(err, c.kind) || unclear != c.unclear || sent != c.sent {
			t.Errorf("%s: %v, unclear %v, %d sent, want %v, %v, %d", c.what, err, unclear, sent, c.kind, c.unclear, c.sent)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error holds the session's address: %v", c.what, err)
		}
	}
}
