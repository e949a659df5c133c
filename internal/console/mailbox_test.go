package console

import (
	"net/http"
	"strings"
	"testing"
)

// A mailbox's point is read as in a mail program: its folders, a page of one, and a message
// as plain text, whatever is in it.
func TestAMailboxIsRead(t *testing.T) {
	w := unitWorld(t)
	w.on("GET "+anyUnit+"/"+unitID, aMailbox)
	const site = "11111111-1111-1111-1111-111111111111,22222222-2222-2222-2222-222222222222,33333333-3333-3333-3333-333333333333,"
	const inbox, sub, one, bad = "44444444-4444-4444-4444-444444444441", "44444444-4444-4444-4444-444444444442", "44444444-4444-4444-4444-444444444443", "44444444-4444-4444-4444-444444444444"
	point := "GET " + pointSet + "/" + pointID
	w.on(point, map[string]any{"id": pointID, "protectionDateTime": "2026-11-27T07:50:00Z", "protectionUnit": aMailbox})
	folder := func(key, name string, n int) map[string]any {
		return map[string]any{"itemKey": site + key, "type": "folder", "name": name, "path": name, "itemsCount": n}
	}
	w.on(point+"/holdfast.mail", map[string]any{"value": []any{folder(inbox, "Inbox", 2)}})
	w.on(point+"/holdfast.mail/"+site+inbox, map[string]any{"@odata.nextLink": "https://x/v1.0/solutions/backupRestore/restorePoints/x/holdfast.mail?$skiptoken=more", "value": []any{folder(sub, "Projects", 1),
		map[string]any{"itemKey": site + one, "type": "email", "name": "Hi <b>", "sender": "Conrad", "itemDateTime": "2026-11-27T07:40:00Z", "sizeInBytes": "2048", "hasAttachments": true, "isReadable": true}}})
	w.on(point+"/holdfast.message/"+site+one, map[string]any{"itemKey": site + one, "type": "email", "name": "Hi <b>", "subject": "Hi <b>", "isReadable": true, "from": []string{"Conrad <c@x>"}, "toRecipients": []string{"Ann", "Bob"},
		"text": "<img src=x onerror=alert(1)> the text", "isBroken": true, "attachments": []any{map[string]any{"id": "1", "name": "<i>.pdf", "contentType": "a/b", "sizeInBytes": "3"}}})
	w.on(point+"/holdfast.message/"+site+bad, refusal{http.StatusNotFound, "itemNotFound", "The restore point holds nothing of that key."})
	at := "/console/points/" + pointID + "/mail"
	says(t, w.page(at), "Choose a folder", ">Inbox</a>", "!Projects")
	says(t, w.page(at+"?t="+inbox+":Inbox"), `aria-current="page">Inbox</a>`, ">Projects</a>", "Hi &lt;b&gt;</a>", "has attachments", "Next page", "!id=\"message\"")
	says(t, w.page(at+"?t="+inbox+":Inbox&m="+one), "&lt;img src=x onerror=alert(1)&gt; the text", "Ann, Bob", "Conrad &lt;c@x&gt;", "&lt;i&gt;.pdf</a>", "not as mail should be", "Download as .eml", "Restore this", "subject%3A%27Hi&#43;%3Cb%3E%27", "!<img", "!First page")
	says(t, w.page(at+"?m="+one), "Choose a folder", "the text")
	says(t, w.page(at+"?t="+inbox+":Inbox&m="+bad), "Hi &lt;b&gt;", "holds nothing of that key", "!Download as")

	w.on(point+"/holdfast.mime/"+site+one, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Disposition", `attachment; filename="Hi.eml"`)
		rw.Write([]byte("Subject: Hi"))
	}))
	w.on(point+"/holdfast.attachment/"+site+one+"/1", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Disposition", `attachment; filename="a.html"`)
		rw.Write([]byte("<script>"))
	}))
	for path, want := range map[string]string{"?key=" + site + one: "Hi.eml Subject: Hi", "?key=" + site + one + "&attachment=1": "a.html <script>"} {
		a := w.get(at + "/file" + path)
		name, body, _ := strings.Cut(want, " ")
		if a.status != http.StatusOK || a.body != body || !strings.HasSuffix(a.header.Get("Content-Disposition"), name) || a.header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s = %d %v %q", path, a.status, a.header, a.body)
		}
	}
	w.on(point, map[string]any{"id": pointID, "protectionDateTime": "2026-11-27T07:50:00Z", "protectionUnit": map[string]any{"@odata.type": "#microsoft.graph.driveProtectionUnit", "id": "another"}})
	if a := w.get(at); a.status != http.StatusNotFound {
		t.Errorf("a drive is read as a mailbox: %d", a.status)
	}
}
