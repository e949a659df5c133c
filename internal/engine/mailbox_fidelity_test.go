package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// realMail is mail as programs make it: a Maildir with its flags, files, and what is no
// mail. Bob is invited by it, and must hear nothing of a restore.
var realMail = map[string]string{
	"Inbox/cur/1772100000.M1.host:2,FRS": letterOf("read, flagged, answered", "Keywords: Blue, Red category"),
	"Inbox/cur/1772100001.M2.host:2,":    letterOf("unread", ""),
	"Inbox/new/1772100002.M3.host":       letterOf("new", ""),
	"Drafts/cur/1772100003.M4.host:2,DS": letterOf("a draft", ""),
	"Inbox/attached.eml": letterOf("attached", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer") + "--outer\r\nContent-Type: multipart/related; boundary=inner\r\n\r\n" +
		"--inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=C3=BC=C3=9Fe <img src=3D\"cid:logo@x\"></p>\r\n" +
		"--inner\r\nContent-Type: image/png; name=logo.png\r\nContent-Id: <logo@x>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--inner--\r\n" +
		"--outer\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQ=\r\n" +
		"--outer\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\nhello\r\n--outer--\r\n",
	"Inbox/Secret/sealed.eml": letterOf("sealed", "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64") + "MIAGCSqGSIb3DQEHA6CAMIACAQAx\r\n",
	"Inbox/Secret/signed.eml": letterOf("signed", "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=sig") +
		"--sig\r\nContent-Type: text/plain\r\n\r\nAs I said.  \r\n--sig\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAGCSqGSIb3DQEHAqCAMIACAQEx\r\n--sig--\r\n",
	"Inbox/odd.eml": "Subject: =?utf-8?q?umlaut_=C3=A4?=\nFrom: nobody\n\nlines that end in LF, a byte \xff, and no end",
	"Inbox/invitation.eml": letterOf("Invitation: review", "MIME-Version: 1.0\r\nContent-Type: text/calendar; method=REQUEST; charset=utf-8") +
		"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:review\r\nSUMMARY:review\r\nDTSTART:20260301T090000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
	"Calendar/series.ics": "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:series\r\nSUMMARY:weekly\r\nDTSTART:20260302T090000Z\r\nDTEND:20260302T100000Z\r\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=9\r\nEXDATE:20260309T090000Z\r\n" +
		"ORGANIZER:mailto:ann@example.com\r\nATTENDEE;PARTSTAT=ACCEPTED;CN=Bob:mailto:bob@example.com\r\nCATEGORIES:Green\r\nEND:VEVENT\r\n" +
		"BEGIN:VEVENT\r\nUID:series\r\nRECURRENCE-ID:20260316T090000Z\r\nSUMMARY:weekly, later\r\nDTSTART:20260316T140000Z\r\nDTEND:20260316T150000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
	"Tasks/pay.ics":      "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:pay\r\nSUMMARY:Pay\r\nDUE:20260206T170000Z\r\nSTATUS:NEEDS-ACTION\r\nEND:VTODO\r\nEND:VCALENDAR\r\n",
	"Contacts/bob.vcf":   someMail["Contacts/bob.vcf"],
	"Notes/remember.txt": someMail["Notes/remember.txt"],
}

func letterOf(subject, head string) string {
	if head != "" {
		head += "\r\n"
	}
	return "From: Conrad Nuber <conrad@example.com>\r\nTo: Ann <ann@example.com>\r\nDate: Thu, 5 Feb 2026 10:00:00 +0000\r\nSubject: " + subject + "\r\n" + head + "\r\n"
}

// graph reads what the source answers to a GET.
func (w *world) graph(at string) (answer map[string]any) {
	w.t.Helper()
	return w.call("GET", at, nil)
}

// outlook returns what is in a folder and in those below it, as the source tells it:
// each item's stream, and of messages all members that are not of the place, with what is
// attached.
func (w *world) outlook(i int, folder backup.ItemID) (all []string) {
	w.t.Helper()
	user := "/users/" + string(w.users[i].ID)
	box, err := w.source.UserMailbox(w.ctx, w.users[i].ID)
	w.must(err)
	var walk func(folder backup.ItemID, at string)
	walk = func(folder backup.ItemID, at string) {
		for f, err := range w.source.MailFoldersIn(w.ctx, box, folder) {
			w.must(err)
			if f.Name != "Recoverable Items" && !strings.HasPrefix(f.Name, "Restored ") && f.Name != "Deleted Items" {
				walk(f.ID, at+"/"+f.Name)
			}
		}
		for it, err := range w.source.ListMail(w.ctx, box, folder) {
			w.must(err)
			x, err := w.source.ExportMail(w.ctx, box, w.t.TempDir(), it.ID)
			w.must(err)
			w.must(x.Item(it.ID).Err)
			stream, err := io.ReadAll(x.Read(it.ID))
			w.must(err)
			x.Close()
			told := ""
			if backup.MailKindOf(it.Class) == backup.MailEmail {
				message := user + "/messages/" + url.PathEscape(string(it.ID))
				m := w.graph(message)
				for _, of := range []string{"@odata.context", "@odata.etag", "id", "changeKey", "parentFolderId", "webLink", "lastModifiedDateTime", "conversationId", "conversationIndex"} {
					delete(m, of)
				}
				var attached []any
				if m["hasAttachments"] == true {
					attached, _ = w.graph(message + "/attachments")["value"].([]any)
				}
				for _, a := range attached {
					delete(a.(map[string]any), "id")
					delete(a.(map[string]any), "lastModifiedDateTime")
				}
				text, err := json.Marshal([]any{m, attached})
				w.must(err)
				told = string(text)
			}
			all = append(all, fmt.Sprint(at, " ", it.Class, " ", it.Subject, " ", it.Received, " ", it.Sent, " ", it.Starts, " ", it.Created, " ", it.Flags, " ", it.MessageID, "\n", told, "\n", string(stream)))
		}
	}
	walk(folder, "")
	slices.Sort(all)
	return all
}

// Read state, flags, categories, times, attachments, inline images, S/MIME and series
// come back as they were, to the last member that the source tells, in place of what was
// deleted and into a new folder; and nobody is invited or told.
func TestMailComesBackAsItWas(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, realMail)
	w.post(1, map[string]string{"Inbox/own.eml": letter("own")})
	was := w.outlook(0, drive.MailRoot)
	if len(was) != len(realMail) || !strings.Contains(strings.Join(was, ""), "Red category") {
		t.Fatalf("the mailbox has %d items of %d", len(was), len(realMail))
	}
	p := w.backUp(unit)
	if lacks := w.lacking(p); len(lacks) > 0 {
		t.Fatalf("the point lacks %q", lacks)
	}
	for at := range realMail {
		w.must(os.Remove(w.box(0) + "/" + at))
	}
	if left := w.outlook(0, drive.MailRoot); len(left) != 0 {
		t.Fatalf("%d items are left", len(left))
	}
	var mu sync.Mutex
	w.onRequest(func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if r.Method != http.MethodGet && !slices.Contains([]string{"token", "exportItems", "createImportSession", "importItem", "childFolders", "$batch"}, last) {
			t.Errorf("a restore sent %s %s", r.Method, r.URL.Path)
		}
	})
	bobs := w.inBox(1)
	w.restored(p, backup.DestinationInPlace)
	w.sameMail("in place", was, w.outlook(0, drive.MailRoot))
	a := w.restored(p, backup.DestinationNew)
	w.sameMail("in a new folder", was, w.outlook(0, backup.ItemID(a.RestoredSiteID)))
	if now := w.inBox(1); fmt.Sprint(now) != fmt.Sprint(bobs) {
		t.Errorf("who is invited has %v, and had %v", now, bobs)
	}
	if sent := w.inBox(0); len(sent["Outbox"])+len(sent["Sent Items"]) > 0 {
		t.Errorf("sent were %q, %q", sent["Outbox"], sent["Sent Items"])
	}
}

func (w *world) sameMail(what string, want, got []string) {
	w.t.Helper()
	if len(want) != len(got) {
		w.t.Errorf("%s: %d items, want %d\n%s", what, len(got), len(want), w.log)
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			w.t.Errorf("%s: an item is\n%s\nand was\n%s", what, got[i], want[i])
		}
	}
}
