package simtenant

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Mail as Outlook's calls show it is what lies in the folder.
func TestOutlookMail(t *testing.T) {
	w := newWorld(t)
	w.mail(message("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Keywords: Blue"), amala, "Inbox", "new", "1.host")
	if err := os.Mkdir(w.mailPath(amala, "Inbox", "cur"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.mail(sealedMail, amala, "Inbox", "Projekte", "sealed.eml")
	w.mail("BEGIN:VCARD\r\nFN:Lothar\r\nEND:VCARD\r\n", amala, "Inbox", "lothar.vcf")
	me := "/users/" + amala
	names := []string{}
	folders, _ := w.all(me + "/mailFolders?$top=3")
	for _, f := range folders {
		names = append(names, f["displayName"].(string))
	}
	slices.Sort(names)
	if got := strings.Join(names, ","); got != "Archive,Deleted Items,Drafts,Inbox,Junk Email,Outbox,Sent Items" {
		t.Errorf("folders: %s", got)
	}
	inbox := w.must(200, "GET", me+"/mailFolders/inbox", nil)
	if inbox.text("childFolderCount") != "1" || inbox.text("unreadItemCount") != "2" {
		t.Errorf("inbox: %s", inbox.raw)
	}
	messages, _ := w.all(me + "/mailFolders/inbox/messages")
	if len(messages) != 1 {
		t.Fatalf("messages: %v", messages)
	}
	msg := messages[0]
	for name, want := range map[string]string{
		"subject": "Grüße", "receivedDateTime": "2026-02-05T10:00:05Z", "sentDateTime": "2026-02-05T10:00:00Z", "isRead": "false", "isDraft": "false", "importance": "normal",
		"from": "map[emailAddress:map[address:conrad@contoso.com name:Conrad Nuber]]", "categories": "[Blue]", "flag": "map[flagStatus:notFlagged]", "parentFolderId": inbox.text("id"),
	} {
		if got := fmt.Sprint(msg[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	below, _ := w.all(me + "/mailFolders/inbox/childFolders")
	sealed, _ := w.all(me + "/mailFolders/" + below[0]["id"].(string) + "/messages")
	if got := w.must(200, "GET", me+"/messages/"+sealed[0]["id"].(string)+"/$value", nil); string(got.raw) != sealedMail || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("the MIME content is %q", got.raw)
	}

	// What is marked shows in the Maildir, and in the delta as the same item.
	delta, last := w.all(me + "/mailFolders/inbox/messages/delta")
	if len(delta) != 1 {
		t.Fatalf("delta: %v", delta)
	}
	at := me + "/messages/" + url.PathEscape(msg["id"].(string))
	a := w.must(200, "PATCH", at, object{"isRead": true, "flag": object{"flagStatus": "flagged"}, "categories": []string{"Red"}})
	if a.text("isRead") != "true" || a.text("flag", "flagStatus") != "flagged" || a.text("categories") != "[Red]" || a.text("id") != msg["id"] || a.text("changeKey") == msg["changeKey"] {
		t.Errorf("marked: %s", a.raw)
	}
	if _, err := os.Stat(w.mailPath(amala, "Inbox", "cur", "1.host:2,FS")); err != nil {
		t.Error(err)
	}
	delta, last = w.all(last.text("@odata.deltaLink"))
	if len(delta) != 1 || delta[0]["id"] != msg["id"] || fmt.Sprint(delta[0]["categories"]) != "[Red]" {
		t.Errorf("delta: %v", delta)
	}
	if a := w.must(412, "PATCH", at, object{"isRead": false}, "If-Match", msg["@odata.etag"].(string)); a.text("error", "code") != "ErrorIrresolvableConflict" {
		t.Errorf("%s", a.raw)
	}
	if a := w.must(200, "PATCH", at, object{"flag": object{"flagStatus": "complete"}}); a.text("flag", "flagStatus") != "complete" {
		t.Errorf("%s", a.raw)
	}

	// A move gives it another id; a copy is another message of the same content.
	moved := w.must(201, "POST", at+"/move", object{"destinationId": "archive"})
	w.must(404, "GET", at, nil)
	if moved.text("categories") != "[Red]" || moved.text("flag", "flagStatus") != "complete" || moved.text("isRead") != "true" || moved.text("subject") != "Grüße" {
		t.Errorf("moved: %s", moved.raw)
	}
	delta, _ = w.all(last.text("@odata.deltaLink"))
	if len(delta) != 1 || delta[0]["@removed"].(object)["reason"] != "changed" {
		t.Errorf("delta: %v", delta)
	}
	at = me + "/messages/" + url.PathEscape(moved.text("id"))
	copied := w.must(201, "POST", at+"/copy", object{"destinationId": "inbox"})
	if copied.text("id") == moved.text("id") || copied.text("receivedDateTime") != moved.text("receivedDateTime") || copied.text("internetMessageId") != moved.text("internetMessageId") {
		t.Errorf("copied: %s", copied.raw)
	}
	w.must(204, "DELETE", at, nil)
	if list, _ := w.all(me + "/mailFolders/deleteditems/messages"); len(list) != 1 {
		t.Errorf("deleted items: %v", list)
	}

	// MIME content makes a draft, for ever.
	draft := w.must(201, "POST", me+"/messages", base64.StdEncoding.EncodeToString([]byte(message("draft"))), "Content-Type", "text/plain")
	if draft.text("isDraft") != "true" || draft.text("subject") != "draft" {
		t.Errorf("draft: %s", draft.raw)
	}
	moved = w.must(201, "POST", me+"/messages/"+draft.text("id")+"/move", object{"destinationId": "inbox"})
	if moved.text("isDraft") != "true" {
		t.Errorf("a draft that moved: %s", moved.raw)
	}
	files, _ := filepath.Glob(w.mailPath(amala, "Inbox", "cur", "*"))
	if len(files) != 2 {
		t.Errorf("the inbox has %v", files)
	}

	// Folders.
	folder := w.must(201, "POST", me+"/mailFolders", object{"displayName": "Neu"})
	w.must(200, "PATCH", me+"/mailFolders/"+folder.text("id"), object{"displayName": "Alt"})
	w.must(201, "POST", me+"/mailFolders/"+folder.text("id")+"/move", object{"destinationId": "inbox"})
	if _, err := os.Stat(w.mailPath(amala, "Inbox", "Alt")); err != nil {
		t.Error(err)
	}
	w.must(204, "DELETE", me+"/mailFolders/"+folder.text("id"), nil)

	for _, c := range []struct {
		status       int
		code, method string
		path         string
		body         any
		kind         string
	}{
		{400, "ErrorInvalidIdMalformed", "GET", "/messages/x", nil, ""},
		{400, "ErrorInvalidIdMalformed", "GET", "/mailFolders/nonsense/messages", nil, ""},
		{400, "RequestBodyRead", "PATCH", "/messages/" + moved.text("id"), object{"subjekt": "x"}, ""},
		{400, "ErrorInvalidRequest", "PATCH", "/messages/" + moved.text("id"), object{"flag": object{"flagStatus": "x"}}, ""},
		{400, "invalidRequest", "PATCH", "/messages/" + moved.text("id"), object{"isRead": "x"}, ""},
		{400, "invalidRequest", "PATCH", "/messages/" + moved.text("id"), "[]", ""},
		{400, "ErrorInvalidRequest", "POST", "/messages/" + moved.text("id") + "/move", object{}, ""},
		{400, "ErrorInvalidIdMalformed", "POST", "/messages/" + moved.text("id") + "/move", object{"destinationId": "../x"}, ""},
		{400, "ErrorInvalidRequest", "POST", "/messages/" + moved.text("id") + "/copy", object{"destinationId": "root"}, ""},
		{400, "ErrorMimeContentInvalidBase64String", "POST", "/messages", "From: x", "text/plain"},
		{400, "ErrorInvalidIdMalformed", "GET", "/contacts/x/photo/$value", nil, ""},
		{404, "ImageNotFound", "GET", "/photo/$value", nil, ""},
		{400, "ErrorInvalidIdMalformed", "GET", "/events/x/attachments", nil, ""},
		{501, "notSupported", "POST", "/todo/lists/tasks/tasks/x/checklistItems", object{}, ""},
		{413, "ErrorMessageSizeExceeded", "POST", "/messages", strings.Repeat("A", maxMIME+4), "text/plain"},
		{400, "ErrorInvalidUrlQueryFilter", "GET", "/mailFolders/inbox/messages?$filter=body/content%20eq%20%27x%27", nil, ""},
		{403, "ErrorDeleteDistinguishedFolder", "DELETE", "/mailFolders/inbox", nil, ""},
		{400, "ErrorInvalidRequest", "POST", "/mailFolders", object{}, ""},
		{409, "ErrorFolderExists", "POST", "/mailFolders", object{"displayName": "Inbox"}, ""},
	} {
		if a := w.must(c.status, c.method, me+c.path, c.body, "Content-Type", c.kind); a.text("error", "code") != c.code {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, a.raw, c.code)
		}
	}
}
