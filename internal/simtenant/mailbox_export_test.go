package simtenant

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// itemsOf are a folder's items.
func (w *world) itemsOf(box, folder string) []object {
	w.t.Helper()
	values, _ := w.all(box + "/folders/" + url.PathEscape(folder) + "/items")
	return values
}

// exports exports items and returns the answer's values.
func (w *world) exports(box string, ids ...string) []object {
	w.t.Helper()
	var out []object
	for _, v := range w.must(200, "POST", box+"/exportItems", object{"itemIds": ids}).body["value"].([]any) {
		out = append(out, v.(object))
	}
	return out
}

// session is the address of an import session.
func (w *world) session(box string) string {
	w.t.Helper()
	return w.must(200, "POST", box+"/createImportSession", nil).text("importUrl")
}

// extendedOf are an item's extended properties.
func (w *world) extendedOf(box, folder, id string, wanted ...string) map[string]string {
	w.t.Helper()
	for i, one := range wanted {
		wanted[i] = "id eq '" + one + "'"
	}
	a := w.must(200, "GET", box+"/folders/"+url.PathEscape(folder)+"/items/"+url.PathEscape(id)+"?$expand="+url.QueryEscape("singleValueExtendedProperties($filter="+strings.Join(wanted, " or ")+")"), nil)
	out := map[string]string{}
	for _, v := range a.body["singleValueExtendedProperties"].([]any) {
		out[v.(object)["id"].(string)] = v.(object)["value"].(string)
	}
	return out
}

const sealedMail = "From: a@contoso.com\r\nSubject: sealed\r\nMIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n" +
	"Content-Transfer-Encoding: base64\r\nDate: Thu, 5 Feb 2026 10:00:00 +0000\r\n\r\nMIAGCSqGSIb3DQEHA6CAMIACAQAxggHXMIIB0wIBADCBujCBpDEL\r\n \t odd\nline\x00\xff"

// What is exported comes back elsewhere as it was: bytes, class, times, flags and
// categories.
func TestMailExportAndImport(t *testing.T) {
	w := newWorld(t)
	w.mail(sealedMail, amala, "Inbox", "cur", "1.host:2,FRS")
	w.mail(message("plain", "Keywords: Blue, Red"), amala, "Inbox", "plain.eml")
	w.mail("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Lunch\r\nATTENDEE:mailto:x@example.org\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", amala, "Inbox", "lunch.ics")
	w.mail("BEGIN:VCARD\r\nFN:Lothar\r\nEND:VCARD\r\n", amala, "Inbox", "lothar.vcf")
	w.mail("remember", amala, "Inbox", "thing.note.txt")
	from, to := w.mailbox(amala), w.mailbox(conrad)
	var ids []string
	for _, v := range w.itemsOf(from, "inbox") {
		ids = append(ids, v["id"].(string))
	}
	folder := w.must(201, "POST", to+"/folders", object{"displayName": "Recovered", "type": "IPF.Note"}).text("id")
	session := w.session(to)
	for _, v := range w.exports(from, ids...) {
		a := w.must(200, "POST", session, object{"FolderId": folder, "Mode": "create", "Data": v["data"]}, "Authorization", "")
		if a.text("itemId") == "" || a.text("changeKey") == "" {
			t.Fatalf("import: %s", a.raw)
		}
	}
	facts := func(box, folder string) (out []string) {
		for _, v := range w.itemsOf(box, folder) {
			p := w.extendedOf(box, folder, v["id"].(string), "String 0x0037", "SystemTime 0x0E06", "Integer 0x0E07", "Binary 0x300B")
			out = append(out, strings.Join([]string{v["type"].(string), p["String 0x37"], p["SystemTime 0xe06"], p["Integer 0xe07"], p["Binary 0x300b"], v["createdDateTime"].(string)}, "|")+strings.Join(texts(v["categories"]), ","))
		}
		slices.Sort(out)
		return out
	}
	contents := func(elem ...string) (out []string) {
		filepath.WalkDir(w.mailPath(elem...), func(path string, e os.DirEntry, err error) error {
			if data, rerr := os.ReadFile(path); err == nil && rerr == nil {
				out = append(out, string(data))
			}
			return nil
		})
		slices.Sort(out)
		return out
	}
	for range 2 { // the second time after a restart
		if diff := gocmp.Diff(facts(from, "inbox"), facts(to, folder)); diff != "" {
			t.Errorf("what came back differs:\n%s", diff)
		}
		if diff := gocmp.Diff(contents(amala, "Inbox"), contents(conrad, "Recovered")); diff != "" {
			t.Errorf("the files differ:\n%s", diff)
		}
		w.restart()
	}
}

func texts(v any) (out []string) {
	for _, one := range v.([]any) {
		out = append(out, one.(string))
	}
	return out
}

// An update replaces an item that is as the caller knows it, and no other.
func TestMailImportUpdates(t *testing.T) {
	for _, name := range []string{"m.eml", "cur/1.host:2,S"} {
		w := newWorld(t)
		w.mail(message("before"), amala, "Inbox", name)
		box := w.mailbox(amala)
		one := func() object { return w.itemsOf(box, "inbox")[0] }
		was := one()
		id := was["id"].(string)
		kept := w.exports(box, id)[0]["data"]
		session := w.session(box)
		// Of the same length and time: nothing but the content tells.
		path := w.mailPath(amala, "Inbox", name)
		w.mail(strings.Replace(message("before"), "Hello", "Adieu", 1), amala, "Inbox", name)
		w.rename(path, strings.Replace(path, ":2,S", ":2,FS", 1))
		now := w.exports(box, id)[0]["changeKey"]
		stale := object{"FolderId": "inbox", "Mode": "update", "ItemId": id, "ChangeKey": was["changeKey"], "Data": kept}
		if a := w.must(412, "POST", session, stale); a.text("error", "code") != "ErrorIrresolvableConflict" {
			t.Errorf("a stale change key: %s", a.raw)
		}
		stale["ChangeKey"] = now
		a := w.must(200, "POST", session, stale)
		if a.text("itemId") != id || a.text("changeKey") == now {
			t.Errorf("update: %s", a.raw)
		}
		if got := w.exports(box, id)[0]; got["data"] != kept || got["changeKey"] != one()["changeKey"] {
			t.Errorf("%s: the item is not as it was", name)
		}
		stale["FolderId"], stale["ChangeKey"] = "archive", one()["changeKey"]
		w.must(404, "POST", session, stale)
	}
}

// An export's failure is the item's, unless the call itself is wrong.
func TestMailExportErrors(t *testing.T) {
	w := newWorld(t)
	w.faults.Set(func(o *Options) { o.Mail.Corrupt = ".bad.eml" })
	for _, name := range []string{"good.eml", "worse.bad.eml"} {
		w.mail(message(name), amala, "Inbox", name)
	}
	w.mail(message("gone"), amala, "Archive", "gone.eml")
	w.mail(message("other"), conrad, "Inbox", "other.eml")
	box, other := w.mailbox(amala), w.mailbox(conrad)
	gone := w.itemsOf(box, "archive")[0]["id"].(string)
	os.Remove(w.mailPath(amala, "Archive", "gone.eml"))
	ids := []string{gone}
	for _, v := range w.itemsOf(box, "inbox") {
		ids = append(ids, v["id"].(string))
	}
	codes := map[string]int{}
	for i, v := range w.exports(box, ids...) {
		if v["itemId"] != ids[i] {
			t.Errorf("the answer names %v, not %s", v["itemId"], ids[i])
		}
		if e, ok := v["error"].(object); ok {
			codes[e["code"].(string)]++
			if v["data"] != nil {
				t.Errorf("%v has data and an error", v)
			}
		} else if _, _, ok := readStream(unbase64(t, v["data"])); !ok {
			t.Errorf("%v is no stream", v)
		}
	}
	if diff := gocmp.Diff(map[string]int{"ErrorItemNotFound": 1, "ErrorCorruptData": 1}, codes); diff != "" {
		t.Error(diff)
	}
	many := slices.Repeat(ids[1:2], 21)
	if got := w.exports(box, many[:20]...); len(got) != 20 {
		t.Errorf("%d of 20 items", len(got))
	}
	foreign := w.itemsOf(other, "inbox")[0]["id"].(string)
	for _, wrong := range []any{object{"itemIds": many}, object{"itemIds": []string{}}, object{}, "[]", `{"itemIds":7}`, object{"itemIds": []string{ids[1], foreign}}, object{"itemIds": []string{"x"}}} {
		w.must(400, "POST", box+"/exportItems", wrong)
	}
}

func unbase64(t *testing.T, v any) []byte {
	t.Helper()
	text, _ := v.(string)
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What an import sends is not believed.
func TestMailImportRefusals(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 2, 5, 10, 0, 0, 0, time.UTC)
	w.cfg.Clock = func() time.Time { return now }
	w.restart()
	w.mail(message("m"), amala, "Inbox", "m.eml")
	box := w.mailbox(amala)
	data := w.exports(box, w.itemsOf(box, "inbox")[0]["id"].(string))[0]["data"].(string)
	session := w.session(box)
	raw := unbase64(t, data)
	raw[len(raw)-40] ^= 1
	type o = object
	for _, c := range []struct {
		status int
		code   string
		body   any
	}{
		{400, "ErrorInvalidRequest", "{"},
		{400, "ErrorInvalidRequest", o{"Mode": "create", "Data": data}},
		{400, "ErrorInvalidRequest", o{"FolderId": "archive", "Mode": "create"}},
		{400, "ErrorInvalidRequest", o{"FolderId": "archive", "Mode": "copy", "Data": data}},
		{400, "ErrorInvalidRequest", o{"FolderId": "archive", "Mode": "create", "ItemId": "x", "Data": data}},
		{400, "ErrorInvalidRequest", o{"FolderId": "archive", "Mode": "update", "ItemId": "x", "Data": data}},
		{400, "ErrorInvalidRequest", o{"FolderId": "archive", "Mode": "create", "Data": "!" + data}},
		{400, "ErrorCorruptData", o{"FolderId": "archive", "Mode": "create", "Data": data[:400]}},
		{400, "ErrorCorruptData", o{"FolderId": "archive", "Mode": "create", "Data": base64.StdEncoding.EncodeToString(raw)}},
		{400, "ErrorInvalidIdMalformed", o{"FolderId": "../..", "Mode": "create", "Data": data}},
		{400, "ErrorInvalidIdMalformed", o{"FolderId": "archive", "Mode": "update", "ItemId": "x", "ChangeKey": "y", "Data": data}},
		{400, "ErrorInvalidRequest", o{"FolderId": "root", "Mode": "create", "Data": data}},
	} {
		if a := w.must(c.status, "POST", session, c.body); a.text("error", "code") != c.code {
			t.Errorf("%v: %s, want %s", c.body, a.raw, c.code)
		}
	}
	if n := len(w.itemsOf(box, "archive")); n != 0 {
		t.Errorf("refused imports left %d items", n)
	}
	good := o{"FolderId": "archive", "Mode": "create", "Data": data}
	w.must(401, "POST", strings.Replace(session, w.mailboxID(amala), w.mailboxID(conrad), 1), good)
	w.must(401, "POST", session+"x", good)
	w.must(405, "GET", session, nil)
	w.must(200, "POST", session, good)
	now = now.Add(2 * time.Hour)
	w.must(401, "POST", session, good)
}

func (w *world) mailboxID(user string) string {
	id, _ := url.PathUnescape(strings.TrimPrefix(w.mailbox(user), "/admin/exchange/mailboxes/"))
	return id
}

// An application sends only so much to a mailbox.
func TestMailUploadLimit(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 2, 5, 10, 0, 0, 0, time.UTC)
	w.cfg.Clock = func() time.Time { return now }
	w.restart()
	w.faults.Set(func(o *Options) { o.Mail.Upload = 2000 })
	w.mail(message("m"), amala, "Inbox", "m.eml")
	box := w.mailbox(amala)
	good := object{"FolderId": "archive", "Mode": "create", "Data": w.exports(box, w.itemsOf(box, "inbox")[0]["id"].(string))[0]["data"]}
	session := w.session(box)
	w.must(200, "POST", session, good)
	a := w.do("POST", session, good)
	for range 3 {
		if a.status == 429 {
			break
		}
		a = w.do("POST", session, good)
	}
	if a.status != http.StatusTooManyRequests || a.text("error", "code") != "ApplicationThrottled" || a.header.Get("Retry-After") == "" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	now = now.Add(6 * time.Minute)
	w.must(200, "POST", session, good)
}

// Folders are directories, and what every mailbox has stays.
func TestMailFolderWrites(t *testing.T) {
	w := newWorld(t)
	box := w.mailbox(amala)
	c := newMailReplica(w, amala, false)
	c.follow()
	folder := w.must(201, "POST", box+"/folders", object{"displayName": "Termine", "type": "IPF.Appointment"})
	below := w.must(201, "POST", box+"/folders/"+folder.text("id")+"/childFolders", object{"displayName": "2026", "type": "IPF.Note"}).text("id")
	if folder.text("type") != "IPF.Appointment" {
		t.Errorf("made: %s", folder.raw)
	}
	if a := w.must(409, "POST", box+"/folders", object{"displayName": "Termine", "type": "IPF.Note"}); a.text("error", "code") != "ErrorFolderExists" {
		t.Errorf("%s", a.raw)
	}
	w.mail(message("m"), amala, "Termine", "2026", "m.eml")
	c.follow()
	c.check(amala)
	w.must(200, "PATCH", box+"/folders/"+folder.text("id"), object{"displayName": "Alte Termine"})
	c.follow()
	c.check(amala)
	item := w.itemsOf(box, below)[0]["id"].(string)
	w.must(204, "DELETE", box+"/folders/"+below+"/items/"+item, nil)
	c.follow()
	c.check(amala)
	w.must(204, "DELETE", box+"/folders/"+folder.text("id"), nil)
	c.follow()
	c.check(amala)
	values, _ := w.all(box + "/folders/deleteditems/childFolders")
	if len(values) != 1 || values[0]["type"] != "IPF.Appointment" {
		t.Errorf("deleted folders: %v", values)
	}
	w.must(204, "DELETE", box+"/folders/"+folder.text("id"), nil)
	w.must(404, "GET", box+"/folders/"+folder.text("id"), nil)
	// The item goes on to Recoverable Items, and from there for good.
	item = w.itemsOf(box, "deleteditems")[0]["id"].(string)
	w.must(204, "DELETE", box+"/folders/deleteditems/items/"+item, nil)
	item = w.itemsOf(box, "recoverableitemsdeletions")[0]["id"].(string)
	w.must(204, "DELETE", box+"/folders/recoverableitemsdeletions/items/"+item, nil)
	w.must(404, "GET", box+"/folders/recoverableitemsdeletions/items/"+item, nil)
	c.follow()
	c.check(amala)

	for _, wrong := range []object{{}, {"displayName": "x"}, {"type": "IPF.Note"}, {"displayName": "x", "type": "IPF.Nonsense"}, {"displayName": "a/b", "type": "IPF.Note"}, {"displayName": "..", "type": "IPF.Note"}, {"displayName": "cur", "type": "IPF.Note"}, {"displayName": strings.Repeat("x", 300), "type": "IPF.Note"}} {
		w.must(400, "POST", box+"/folders", wrong)
	}
	for _, well := range []string{"inbox", "msgfolderroot", "root", "recoverableitemsroot"} {
		w.must(403, "DELETE", box+"/folders/"+well, nil)
		w.must(403, "PATCH", box+"/folders/"+well, object{"displayName": "x"})
	}
	w.must(400, "POST", box+"/folders/root/childFolders", object{"displayName": "x", "type": "IPF.Note"})
}

// Items are exported, read and put there without a look at all files for each, and as
// their files are now, whatever other programs do to them meanwhile.
func TestMailItemByItem(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.mail(message(fmt.Sprint(i)), amala, "Inbox", fmt.Sprintf("%02d.eml", i))
	}
	box := w.mailbox(amala)
	var ids []string
	for _, v := range w.itemsOf(box, "inbox") {
		ids = append(ids, v["id"].(string))
	}
	inbox := w.must(200, "GET", box+"/folders/inbox", nil).text("id")
	session := w.session(box)
	listed := func() (n int) {
		for _, d := range w.svc.drives {
			if d.mail != nil {
				n += int(d.serial)
			}
		}
		return n
	}
	before := listed()
	bySubject := map[string]string{}
	for _, id := range ids {
		w.must(200, "GET", box+"/folders/inbox/items/"+url.PathEscape(id), nil)
		data := w.exports(box, id)[0]["data"]
		stream, _ := base64.StdEncoding.DecodeString(data.(string))
		_, subject, _ := strings.Cut(string(stream), "Subject: ")
		subject, _, _ = strings.Cut(subject, "\r")
		bySubject[subject] = id
		w.must(200, "POST", session, object{"FolderId": inbox, "Mode": "create", "Data": data}, "Authorization", "")
	}
	if n := listed() - before; n > 0 {
		t.Errorf("%d folders were listed for single items", n)
	}
	w.mail(message("another", "X-Longer: yes"), amala, "Inbox", "00.eml")
	w.rename(w.mailPath(amala, "Inbox", "01.eml"), w.mailPath(amala, "Inbox", "other.eml"))
	if err := os.Remove(w.mailPath(amala, "Inbox", "02.eml")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"Subject: another\r", "Subject: 1\r", ""} {
		got := w.exports(box, bySubject[fmt.Sprint(i)])[0]
		data, _ := got["data"].(string)
		if stream, _ := base64.StdEncoding.DecodeString(data); (data == "") != (want == "") || !strings.Contains(string(stream), want) {
			t.Errorf("item %d is exported as %v, %q", i, got["error"], stream)
		}
	}
	if n := len(w.itemsOf(box, "inbox")); n != 39 {
		t.Errorf("%d items are in the inbox", n)
	}
}
