package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"holdfast/internal/client"
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
		map[string]any{"itemKey": site + one, "type": "email", "name": "Hi <b>", "path": "Inbox", "sender": "Conrad", "itemDateTime": "2026-11-27T07:40:00Z", "sizeInBytes": "2048", "hasAttachments": true, "isReadable": true},
		map[string]any{"itemKey": site + bad, "type": "email", "name": "Old", "path": "Inbox", "unread": map[string]any{"message": "It <is> locked.", "isHeld": true}},
		map[string]any{"type": "email", "name": "Never <seen>", "path": "Inbox", "unread": map[string]any{"message": "It is damaged.", "isHeld": false}}}})
	w.on(point+"/holdfast.message/"+site+one, map[string]any{"itemKey": site + one, "type": "email", "name": "Hi <b>", "path": "Inbox", "subject": "Hi <b>", "isReadable": true, "from": []string{"Conrad <c@x>"}, "toRecipients": []string{"Ann", "Bob"},
		"text": "<img src=x onerror=alert(1)> the text", "isBroken": true, "attachments": []any{map[string]any{"id": "1", "name": "<i>.pdf", "contentType": "a/b", "sizeInBytes": "3"}}})
	w.on(point+"/holdfast.message/"+site+bad, refusal{http.StatusNotFound, "itemNotFound", "The restore point holds nothing of that key."})
	at := "/console/points/" + pointID + "/mail"
	says(t, w.page(at), "Choose a folder", ">Inbox</a>", "!Projects")
	says(t, w.page(at+"?t="+inbox+":Inbox"), `aria-current="page">Inbox</a>`, ">Projects</a>", "Hi &lt;b&gt;</a>", "has attachments", "Next page", "!id=\"message\"", "Held as it was before.</b> It &lt;is&gt; locked.", `<th scope="row">Never &lt;seen&gt;<br>`, "Not in this point.</b> It is damaged.", `value="`+site+bad+`:Inbox/Old"`, "!Choose Never")
	says(t, w.page(at+"?t="+inbox+":Inbox&m="+one), "&lt;img src=x onerror=alert(1)&gt; the text", "Ann, Bob", "Conrad &lt;c@x&gt;", "&lt;i&gt;.pdf</a>", "not as mail should be", "Download as .eml", "Restore this message</a>", "/restore?item="+strings.ReplaceAll(site, ",", "%2C")+one+"%3AInbox%2FHi&#43;%3Cb%3E&amp;t=", "Restore this folder", "Restore what is chosen", "!<img", "!First page")
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

// What was chosen in a mailbox's point is restored by itself, in the steps in which a whole
// mailbox is: where to, what will happen, and then it is done.
func TestChosenMailIsRestored(t *testing.T) {
	w := unitWorld(t)
	w.on("GET "+anyUnit+"/"+unitID, aMailbox)
	at := "/console/points/" + pointID + "/restore"
	const trail = "44444444-4444-4444-4444-444444444441:Inbox"
	items := []string{"k,1:Inbox/Re: <b>", "k,2:Inbox/Projects/"}
	form := func(more ...string) url.Values {
		v := url.Values{"item": items, "t": {trail}, "pick": {"1"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	if a := w.post(at, url.Values{"t": {trail}, "pick": {"1"}, "step": {"where"}}); !strings.HasSuffix(a.to, "/mail?t="+url.QueryEscape(trail)) {
		t.Errorf("with nothing chosen it leads to %d %s", a.status, a.to)
	}
	kept := []string{`value="k,1:Inbox/Re: &lt;b&gt;"`, `name="t" value="` + trail + `"`}
	says(t, w.page(at+"?"+form().Encode()), append(kept, "Where to?", "Inbox/Re: &lt;b&gt;</li>", "Inbox/Projects/ and all that is in it", "somebody else’s mailbox", "!Restore now")...)
	says(t, w.post(at, form("step", "where")).body, append(kept, "Where to?", "!Restore now")...)
	says(t, w.post(at, form("step", "look", "to", "new")).body, append(kept, "Nothing that is there now is changed.", "Inbox/Projects/ and all that is in it", "Restore now", "!all of the mailbox")...)
	says(t, w.post(at, form("step", "look", "to", "other", "target", "conrad@contoso.com")).body, "what is named below is written into it", "Whoever may read there", "!all of the mailbox")
	says(t, w.post(at, form("step", "look", "to", "inPlace")).body, append(kept, "may be changed so", "in what is named below", "Of what is named below, items that are missing", "Restore now")...)
	says(t, w.post(at, form("step", "where", "to", "inPlace")).body, "Where to?", "!Restore now")
	says(t, w.post(at, form("to", "inPlace")).body, "Tick the box first")
	if len(w.calls("POST")) > 0 {
		t.Fatalf("it was begun before it was asked for: %v", w.calls("POST"))
	}
	w.on("POST "+client.Mailboxes.Sessions, map[string]any{"id": "s1"})
	w.on("POST "+anySession+"/s1/activate", map[string]any{})
	for _, more := range [][]string{{"to", "inPlace", "understood", "1"}, {"to", "other", "target", "conrad@contoso.com"}} {
		if a := w.post(at, form(more...)); a.to != "/console/restores/s1" {
			t.Errorf("it leads to %d %s", a.status, a.to)
		}
		made, into := w.body("POST", client.Mailboxes.Sessions), `"destinationType":"inPlace"`
		if more[1] == "other" {
			into = `"@holdfast.targetMailbox":"conrad@contoso.com","destinationType":"new"`
		}
		if !strings.HasPrefix(made, `{"granularMailboxRestoreArtifacts":[{"@holdfast.itemKeys":["k,1","k,2"],`) || !strings.Contains(made, into) {
			t.Errorf("the session is made by %s", made)
		}
	}
	w.on("GET "+anySession+"/s1", map[string]any{"@odata.type": "#microsoft.graph.exchangeRestoreSession", "id": "s1", "status": "active", "restoreJobType": "granular"})
	w.on("GET "+client.Mailboxes.Sessions+"/s1"+client.Mailboxes.Granular, listOf(map[string]any{"status": "inProgress", "destinationType": "new", "@holdfast.itemNames": "Inbox/Re: <b>; and 1 more"}))
	says(t, w.page("/console/restores/s1"), "Inbox/Re: &lt;b&gt;; and 1 more")

	many := form("to", "new")
	for range 201 {
		many.Add("item", "k:x")
	}
	if a := w.post(at, many); !strings.Contains(a.to, "/mail?") {
		t.Errorf("of too many it leads to %d %s", a.status, a.to)
	}
	w.on("GET "+anyUnit+"/"+unitID, aUnit)
	if a := w.get(at + "?" + form().Encode()); a.status != http.StatusNotFound {
		t.Errorf("of a drive = %d", a.status)
	}
}
