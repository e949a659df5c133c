package simtenant

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func persons(addresses ...string) (list []object) {
	for _, a := range addresses {
		list = append(list, object{"emailAddress": object{"address": a}})
	}
	return list
}

// file is the only file of a folder of a mailbox, and what it holds.
func (w *world) only(elem ...string) string {
	w.t.Helper()
	files, _ := filepath.Glob(filepath.Join(w.mailPath(elem...), "*.eml"))
	if len(files) != 1 {
		w.t.Fatalf("%v has %v", elem, files)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// A draft is written bit by bit, and is a file from the beginning.
func TestOutlookDrafts(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	w.mailbox(amala)
	_, last := w.all(me + "/mailFolders/drafts/messages/delta")
	made := w.must(201, "POST", me+"/messages", object{
		"subject": "Grüße\r\nBcc: x@y.z", "body": object{"contentType": "HTML", "content": "<p>Zażółć</p>"}, "toRecipients": persons("lothar@contoso.com", "a@fabrikam.com"),
		"importance": "High", "categories": []string{"Red"}, "internetMessageHeaders": []object{{"name": "x-app", "value": "mine"}}, "isDraft": false, "isReadReceiptRequested": true,
		"attachments": []object{{"@odata.type": "#microsoft.graph.fileAttachment", "name": "ä.txt", "contentBytes": base64.StdEncoding.EncodeToString([]byte("first"))}},
	})
	for path, want := range map[string]string{
		"subject": "Grüße\r\nBcc: x@y.z", "importance": "high", "isDraft": "true", "isRead": "true", "hasAttachments": "true", "categories": "[Red]", "bodyPreview": "Zażółć",
		"bccRecipients": "[]", "isReadReceiptRequested": "true", "isDeliveryReceiptRequested": "false",
		"toRecipients": "[map[emailAddress:map[address:lothar@contoso.com name:lothar@contoso.com]] map[emailAddress:map[address:a@fabrikam.com name:a@fabrikam.com]]]",
	} {
		if got := made.text(path); got != want {
			t.Errorf("%s of the draft is %q, want %q", path, got, want)
		}
	}
	if text := w.only(amala, "Drafts"); !strings.Contains(text, "\r\nx-app: mine\r\n") || strings.Contains(text, "\nBcc:") {
		t.Errorf("the file is\n%s", text)
	}
	at := me + "/messages/" + url.PathEscape(made.text("id"))
	changed := w.must(200, "PATCH", at, object{"subject": "Later", "ccRecipients": persons("conrad@contoso.com"), "body": object{"contentType": "text", "content": "plain"}}, "If-Match", made.text("@odata.etag"))
	if changed.text("id") != made.text("id") || changed.text("changeKey") == made.text("changeKey") || changed.text("subject") != "Later" || changed.text("body", "contentType") != "text" ||
		changed.text("hasAttachments") != "true" || changed.text("importance") != "high" || changed.text("conversationId") != made.text("conversationId") {
		t.Errorf("changed: %s", changed.raw)
	}
	w.must(412, "PATCH", at, object{"subject": "x"}, "If-Match", made.text("@odata.etag"))
	if text := w.only(amala, "Drafts"); !strings.Contains(text, "\r\nx-app: mine\r\n") || !strings.Contains(text, "plain") || strings.Contains(text, "Za") {
		t.Errorf("the file is\n%s", text)
	}
	told, _ := w.all(last.text("@odata.deltaLink"))
	if len(told) != 1 || told[0]["subject"] != "Later" || told[0]["body"].(object)["content"] != "plain" {
		t.Errorf("the delta tells %v", told)
	}

	// Attachments keep their ids when others come and go.
	second := w.must(201, "POST", at+"/attachments", object{"@odata.type": "microsoft.graph.fileAttachment", "name": "p.png", "isInline": true, "contentId": "pic", "contentBytes": "iVBORw=="})
	inner := w.must(201, "POST", at+"/attachments", object{"@odata.type": "#microsoft.graph.itemAttachment", "name": "inner", "item": object{"@odata.type": "microsoft.graph.message", "subject": "Inside", "body": object{"content": "deep"}}})
	list := w.must(200, "GET", at+"/attachments", nil).body["value"].([]any)
	if len(list) != 3 {
		t.Fatalf("attached are %v", list)
	}
	first := list[0].(object)
	if second.text("id") != list[1].(object)["id"] && second.text("id") != first["id"] || inner.text("@odata.type") != "#microsoft.graph.itemAttachment" {
		t.Errorf("attached are %v", list)
	}
	w.must(204, "DELETE", at+"/attachments/"+url.PathEscape(second.text("id")), nil)
	w.must(404, "GET", at+"/attachments/"+url.PathEscape(second.text("id")), nil)
	if got := w.must(200, "GET", at+"/attachments/"+url.PathEscape(inner.text("id"))+"/$value", nil); !strings.Contains(string(got.raw), "Subject: Inside") || !strings.Contains(string(got.raw), "deep") {
		t.Errorf("the message inside is %q", got.raw)
	}
	for _, v := range list {
		if a := v.(object); a["name"] == "ä.txt" {
			if got := w.must(200, "GET", at+"/attachments/"+url.PathEscape(a["id"].(string))+"/$value", nil); string(got.raw) != "first" {
				t.Errorf("the file is %q", got.raw)
			}
		}
	}

	// A large one comes in fragments.
	large := bytes.Repeat([]byte("0123456789abcdef"), 256<<10) // 4 MB
	up := w.must(201, "POST", at+"/attachments/createUploadSession", object{"AttachmentItem": object{"attachmentType": "file", "name": "large.bin", "size": len(large)}})
	half := 3<<20 + 17
	put := func(status, from, to int) answer {
		t.Helper()
		return w.must(status, "PUT", up.text("uploadUrl"), large[from:to], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(large)), "Authorization", "")
	}
	if a := put(200, 0, half); fmt.Sprint(a.body["nextExpectedRanges"]) != fmt.Sprintf("[%d]", half) {
		t.Errorf("after a half: %s", a.raw)
	}
	put(416, 0, half)
	if a := w.must(200, "GET", up.text("uploadUrl"), nil, "Authorization", ""); fmt.Sprint(a.body["nextExpectedRanges"]) != fmt.Sprintf("[%d]", half) {
		t.Errorf("the session tells %s", a.raw)
	}
	done := put(201, half, len(large))
	if got := w.must(200, "GET", done.header.Get("Location")+"/$value", nil); !bytes.Equal(got.raw, large) {
		t.Errorf("the large one came back with %d bytes", len(got.raw))
	}
	put(404, half, len(large))

	// What may not be.
	for _, c := range []struct {
		status int
		code   string
		method string
		path   string
		body   any
	}{
		{400, "RequestBodyRead", "POST", me + "/messages", object{"subjekt": "x"}},
		{400, "invalidRequest", "POST", me + "/messages", "[]"},
		{400, "invalidRequest", "POST", me + "/messages", object{"subject": 7}},
		{400, "ErrorInvalidRecipients", "POST", me + "/messages", object{"toRecipients": persons("no\r\nbody@x")}},
		{400, "InvalidInternetMessageHeader", "POST", me + "/messages", object{"internetMessageHeaders": []object{{"name": "Bcc", "value": "x"}}}},
		{400, "ErrorInvalidProperty", "POST", me + "/messages", object{"internetMessageId": "<x>\r\nBcc: y"}},
		{400, "ErrorInvalidProperty", "POST", me + "/messages", object{"singleValueExtendedProperties": []object{{"id": "String 0x0037", "value": "x"}}}},
		{400, "ErrorInvalidRequest", "PATCH", at, object{"body": object{"contentType": "rtf"}}},
		{400, "ErrorInvalidRequest", "POST", at + "/attachments", object{"@odata.type": "#microsoft.graph.referenceAttachment", "name": "x"}},
		{400, "ErrorInvalidRequest", "POST", at + "/attachments", object{"@odata.type": "#microsoft.graph.fileAttachment"}},
		{400, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize", "POST", at + "/attachments/createUploadSession", object{"AttachmentItem": object{"attachmentType": "file", "name": "x", "size": 5}}},
		{404, "ErrorItemNotFound", "DELETE", at + "/attachments/AAAA", nil},
		{404, "ErrorItemNotFound", "POST", me + "/mailFolders/calendar/messages", object{"subject": "x"}},
		{413, "ErrorMessageSizeExceeded", "POST", me + "/messages", strings.Repeat("A", maxMIME+4)},
	} {
		if a := w.must(c.status, c.method, c.path, c.body); a.text("error", "code") != c.code {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, a.raw, c.code)
		}
	}
	w.must(204, "POST", at+"/permanentDelete", nil)
	if list, _ := w.all(me + "/messages"); len(list) != 0 {
		t.Errorf("there are messages: %v", list)
	}
}

// Mail that is sent lies in Sent Items and in the inboxes of the tenant's users, is
// recorded, and goes nowhere else.
func TestOutlookSends(t *testing.T) {
	w := newWorld(t)
	control, err := NewControl(w.svc)
	if err != nil {
		t.Fatal(err)
	}
	me, him := "/users/"+amala, "/users/"+conrad
	w.must(202, "POST", me+"/sendMail", object{"message": object{"subject": "Hello", "body": object{"content": "one"}, "toRecipients": persons(conrad), "bccRecipients": persons("x@fabrikam.com")}})
	w.must(202, "POST", me+"/sendMail", object{"message": object{"subject": "Unkept", "toRecipients": persons("x@fabrikam.com")}, "saveToSentItems": false})
	w.must(202, "POST", me+"/sendMail", base64.StdEncoding.EncodeToString([]byte("To: "+conrad+"\r\nSubject: MIME\r\n\r\nhello")), "Content-Type", "text/plain")
	if a := w.must(400, "POST", me+"/sendMail", object{"message": object{"subject": "To nobody"}}); a.text("error", "code") != "ErrorInvalidRecipients" {
		t.Errorf("%s", a.raw)
	}
	draft := w.must(201, "POST", me+"/messages", object{"subject": "Drafted", "toRecipients": persons(conrad, amala), "attachments": []object{{"@odata.type": "#microsoft.graph.fileAttachment", "name": "f", "contentBytes": "AAAA"}}}, "Prefer", `IdType="ImmutableId"`)
	at := me + "/messages/" + url.PathEscape(draft.text("id"))
	w.must(202, "POST", at+"/send", nil)
	if sent := w.must(200, "GET", at, nil); sent.text("isDraft") != "false" || sent.text("from", "emailAddress", "address") != amala {
		t.Errorf("what was sent: %s", sent.raw)
	}
	w.must(400, "POST", at+"/send", nil)
	w.must(400, "PATCH", at, object{"subject": "x"})
	subjects := func(user, folder string) string {
		t.Helper()
		var list []string
		all, _ := w.all("/users/" + user + "/mailFolders/" + folder + "/messages?$orderby=receivedDateTime")
		for _, m := range all {
			list = append(list, fmt.Sprint(m["subject"], " ", m["isRead"]))
		}
		return strings.Join(list, ", ")
	}
	if got := subjects(amala, "sentitems"); got != "Hello true, MIME true, Drafted true" {
		t.Errorf("sent items: %s", got)
	}
	if got := subjects(conrad, "inbox"); got != "Hello false, MIME false, Drafted false" {
		t.Errorf("his inbox: %s", got)
	}
	inbox, _ := w.all(him + "/mailFolders/inbox/messages")
	if inbox[0]["bccRecipients"] == nil || len(inbox[0]["bccRecipients"].([]any)) != 0 {
		t.Errorf("he sees who else got it: %v", inbox[0])
	}
	if sent := control.Mail(); len(sent) != 4 || fmt.Sprint(sent[0].To, sent[0].Delivered) != "[conrad@contoso.com x@fabrikam.com] [conrad@contoso.com]" || sent[1].Subject != "Unkept" || !strings.Contains(sent[0].MIME, "one") {
		t.Errorf("recorded: %v", sent)
	}

	// Answers.
	got := him + "/messages/" + url.PathEscape(inbox[2]["id"].(string))
	reply := w.must(201, "POST", got+"/createReply", object{"Comment": "Thanks"})
	if reply.text("subject") != "RE: Drafted" || reply.text("conversationId") != fmt.Sprint(inbox[2]["conversationId"]) || !strings.HasPrefix(reply.text("bodyPreview"), "Thanks") || reply.text("hasAttachments") != "false" ||
		!strings.Contains(reply.text("toRecipients"), amala) || strings.Contains(reply.text("toRecipients"), conrad) {
		t.Errorf("reply: %s", reply.raw)
	}
	w.must(202, "POST", him+"/messages/"+url.PathEscape(reply.text("id"))+"/send", nil)
	forward := w.must(201, "POST", got+"/createForward", object{"message": object{"toRecipients": persons("x@fabrikam.com")}})
	if forward.text("subject") != "FW: Drafted" || forward.text("hasAttachments") != "true" || forward.text("toRecipients", "") != "" && !strings.Contains(forward.text("toRecipients"), "fabrikam") {
		t.Errorf("forward: %s", forward.raw)
	}
	all := w.must(201, "POST", got+"/createReplyAll", nil)
	if text := all.text("toRecipients"); strings.Contains(text, conrad) || strings.Count(text, amala) == 0 {
		t.Errorf("to all: %s", all.raw)
	}
	w.must(202, "POST", got+"/reply", object{"comment": "now"})
	w.must(202, "POST", got+"/forward", object{"comment": "see", "toRecipients": persons("y@fabrikam.com")})
	w.must(400, "POST", got+"/forward", object{"comment": "see"})
	w.must(400, "POST", got+"/reply", object{"comment": "x", "message": object{"body": object{"content": "y"}}})
	if drafts := subjects(conrad, "drafts"); strings.Count(drafts, "Drafted") != 2 {
		t.Errorf("his drafts: %s", drafts)
	}
	if sent := control.Mail(); len(sent) != 7 || sent[6].Subject != "FW: Drafted" {
		t.Errorf("recorded: %d", len(sent))
	}

	// A mailbox that is full takes nothing, and the sender is told nothing of it.
	w.faults.Set(func(o *Options) { o.Mail.Full = true })
	if a := w.must(507, "POST", me+"/messages", object{"subject": "x"}); a.text("error", "code") != "ErrorQuotaExceeded" {
		t.Errorf("%s", a.raw)
	}
}

// Extended properties make of a new message what a restored one is.
func TestOutlookRestoredMessage(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	w.mailbox(amala)
	made := w.must(201, "POST", me+"/mailFolders/inbox/messages", object{"subject": "Old", "isRead": false, "flag": object{"flagStatus": "flagged"}, "singleValueExtendedProperties": []object{
		{"id": "Integer 0x0E07", "value": "0"}, {"id": "SystemTime 0x0E06", "value": "2020-01-02T03:04:05Z"}, {"id": "SystemTime 0x0039", "value": "2020-01-02T03:04:00Z"}}})
	if made.text("isDraft") != "false" || made.text("isRead") != "false" || made.text("receivedDateTime") != "2020-01-02T03:04:05Z" || made.text("sentDateTime") != "2020-01-02T03:04:00Z" || made.text("flag", "flagStatus") != "flagged" {
		t.Errorf("made: %s", made.raw)
	}
}

// A note is a message of a class of its own.
func TestOutlookNotes(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	w.mail("To buy: milk\nand bread", amala, "Notes", "shopping.txt")
	w.mailbox(amala)
	list, _ := w.all(me + "/mailFolders/notes/messages?$expand=" + url.QueryEscape("singleValueExtendedProperties($filter=id eq 'String 0x001A')"))
	if len(list) != 1 || list[0]["subject"] != "To buy: milk" || list[0]["body"].(object)["content"] != "To buy: milk\nand bread" || fmt.Sprint(list[0]["singleValueExtendedProperties"]) != "[map[id:String 0x1a value:IPM.StickyNote]]" {
		t.Fatalf("notes: %v", list)
	}
	at := me + "/messages/" + url.PathEscape(list[0]["id"].(string))
	if mime := w.must(200, "GET", at+"/$value", nil); !strings.HasSuffix(string(mime.raw), "\r\n\r\nTo buy: milk\nand bread") {
		t.Errorf("its MIME content: %q", mime.raw)
	}
	w.must(200, "PATCH", at, object{"categories": []string{"Red"}})
	w.must(400, "PATCH", at, object{"subject": "x"})
	w.must(400, "POST", at+"/attachments", object{"@odata.type": "#microsoft.graph.fileAttachment", "name": "f", "contentBytes": "AAAA"})
	copied := w.must(201, "POST", at+"/copy", object{"destinationId": "archive"})
	if files, _ := filepath.Glob(w.mailPath(amala, "Archive", "*.note.txt")); len(files) != 1 || copied.text("subject") != "To buy: milk" {
		t.Errorf("the copy is %v %s", files, copied.raw)
	}
	w.must(204, "DELETE", at, nil)
}
