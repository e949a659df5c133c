package graphapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
)

// A mailbox's point is walked page by page, a message is read as plain text and had as it is,
// and so are its attachments, by whoever may browse; the audit log says who read what.
func TestMailIsWalked(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		files, _ := w.fast(c, ownerN(2))
		policy, points := w.mailbox(c, ownerN(1))
		unit := c.do("GET", "/exchangeProtectionPolicies/"+policy+"/mailboxProtectionUnits", nil).want(200).str("value.0.id")
		id := points[unit]
		p, err := w.catalog.Point(t.Context(), contoso, id)
		if err != nil {
			t.Fatal(err)
		}
		at := "/restorePoints/" + string(id)
		key := func(id string) string { return string(backup.KeyOf(contoso, p.Drive, backup.ItemID(id))) }
		if got := c.do("GET", at+"/holdfast.mail", nil).want(200); len(got.list("value")) != 1 || got.str("value.0.itemKey") != key("in") || got.str("value.0.type") != "folder" || got.get("value.0.itemsCount") != 4.0 {
			t.Errorf("the mailbox holds %s", got.text)
		}
		var lines []string
		pages := 0
		for next := at + "/holdfast.mail(itemKey='" + key("in") + "')?$top=2"; next != ""; pages++ {
			page := c.do("GET", next, nil).want(200)
			for _, v := range page.list("value") {
				v := v.(obj)
				lines = append(lines, fmt.Sprint(v["type"], " ", v["name"], " ", v["path"], " ", v["sender"], " ", v["sizeInBytes"], " ", v["hasAttachments"], " ", v["isReadable"]))
				if lack, named := v["unread"].(obj); named {
					lines[len(lines)-1] += fmt.Sprint(" ", lack["code"], " ", lack["isHeld"], " ", v["itemKey"] != nil)
				}
			}
			link, _ := page.json["@odata.nextLink"].(string)
			if _, next, _ = strings.Cut(link, root); pages > 9 {
				t.Fatal("there is no end of pages")
			}
		}
		if got := strings.Join(lines, "\n"); pages != 3 || got != "folder Projects Inbox/Projects <nil> <nil> <nil> <nil>\nitem e.fts Inbox <nil> <nil> <nil> false "+string(backup.ResourceLocked)+" false false\nemail Invoice 5/2026 Inbox Amala Rao <amala@contoso.com> 900 true true\n"+
			"email c.fts Inbox <nil> 9 <nil> true "+string(backup.ResourceLocked)+" true true\nemail b.fts Inbox <nil> 9 <nil> true\ncalendar Lunch Inbox Amala Rao <amala@contoso.com> 70 false false" {
			t.Errorf("in %d pages the folder holds\n%s", pages, got)
		}
		if got := c.do("GET", at+"/holdfast.mail?$top=0", nil).want(200); len(got.list("value")) != 0 {
			t.Errorf("of nothing there is %s", got.text)
		}

		got := c.do("GET", at+"/holdfast.message(itemKey='"+key("item0")+"')", nil).want(200)
		if got.str("subject") != "Invoice 5/2026" || got.str("from.0") != "Jürgen <j@contoso.com>" || got.str("toRecipients.1") != "conrad@contoso.com" || got.str("ccRecipients.0") != "noor@contoso.com" ||
			got.str("text") != "The invoice" || got.str("sentDateTime") != "2026-11-27T09:00:00Z" || got.str("attachments.0.name") != "_invoice.pdf" || got.str("attachments.0.sizeInBytes") != "6" {
			t.Errorf("the message is %s", got.text)
		}
		got = c.do("GET", at+"/holdfast.message/"+key("new"), nil).want(200)
		if got.str("subject") != "Grüße" || got.str("text") != "half" || got.get("isBroken") != true || !strings.Contains(got.text, "shown as it was last readable. It is locked.") {
			t.Errorf("the broken message is %s", got.text)
		}
		if got := c.do("GET", at+"/holdfast.message/"+key("item2"), nil).want(200); got.str("name") != "Lunch" || !strings.Contains(got.text, "only a restore shows") || got.json["text"] != nil {
			t.Errorf("the event is %s", got.text)
		}
		c.do("GET", at+"/holdfast.message/"+key("bad"), nil).want(503, backup.ServiceUnavailable)

		raw := func(c *client, path string, headers ...string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", host+"/v1.0/"+root+at+path, nil)
			r.Header.Set("Authorization", "Bearer "+c.token)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			rec := httptest.NewRecorder()
			w.server.ServeHTTP(rec, r)
			return rec
		}
		mime := raw(c, "/holdfast.mime/"+key("item0"))
		if mime.Code != 200 || !strings.HasPrefix(mime.Body.String(), "From: =?utf-8?q?J=C3=BCrgen?=") || mime.Header().Get("Content-Disposition") != `attachment; filename="Invoice 5_2026.eml"` ||
			mime.Header().Get("Content-Type") != "application/octet-stream" {
			t.Errorf("the file is %d %v %s", mime.Code, mime.Header(), mime.Body)
		}
		pdf := raw(c, "/holdfast.attachment/"+key("item0")+"/1")
		if pdf.Code != 200 || pdf.Body.String() != "ABCDEF" || pdf.Header().Get("Content-Disposition") != "attachment; filename=_invoice.pdf" {
			t.Errorf("the attachment is %d %v %s", pdf.Code, pdf.Header(), pdf.Body)
		}
		if part := raw(c, "/holdfast.attachment/"+key("item0")+"/1", "Range", "bytes=2-3"); part.Code != http.StatusPartialContent || part.Body.String() != "CD" {
			t.Errorf("of it there is %d %s", part.Code, part.Body)
		}

		// What there is not, and who may not.
		for _, path := range []string{"/holdfast.mail/" + key("none"), "/holdfast.mail/x", "/holdfast.mail/" + key("item0"), "/holdfast.message/" + key("in"), "/holdfast.message/" + key("none"),
			"/holdfast.mime/" + key("item2"), "/holdfast.mime/" + key("none"), "/holdfast.attachment/" + key("item0") + "/2", "/holdfast.attachment/" + key("item0") + "/x", "/holdfast.attachment/" + key("item2") + "/1"} {
			c.do("GET", at+path, nil).want(404, backup.ItemNotFound)
		}
		for _, path := range []string{"/holdfast.mail", "/holdfast.mail/" + key("in"), "/holdfast.message/" + key("item0"), "/holdfast.mime/" + key("item0"), "/holdfast.attachment/" + key("item0") + "/1"} {
			w.app(fabrikam).do("GET", at+path, nil).want(404, backup.ItemNotFound)
			w.app(contoso, identity.SearchRead).do("GET", at+path, nil).want(403, backup.AuthorizationDenied)
		}
		c.do("GET", "/restorePoints/"+string(files[0].ID)+"/holdfast.mail", nil).want(400, backup.InvalidRequest)

		log, err := w.catalog.Activities(t.Context(), contoso, catalog.Page{Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		for operation, target := range map[identity.Operation]string{identity.Browse: "(Inbox)", identity.ReadContent: "(Inbox/Invoice 5/2026 (_invoice.pdf))"} {
			found := false
			for _, a := range log.Items {
				found = found || a.Operation == string(operation) && a.Result == backup.ActivitySucceeded && strings.HasSuffix(a.Target, target) && len(a.Units) == 1 && string(a.Units[0].ID) == unit
			}
			if !found {
				t.Errorf("the log has no %s of %s", operation, target)
			}
		}
	})
}
