package simtenant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

// mailApp asks of a mailbox all that a backup app may, through whatever stands
// before it, and takes no offence.
type mailApp struct {
	*world
	front, box string
}

// ask returns the answer, or nothing where none came.
func (a *mailApp) ask(method, address string, body any) object {
	if !strings.HasPrefix(address, "http") {
		address = a.front + "/v1.0" + address
	}
	if !strings.HasPrefix(address, a.front) {
		return nil
	}
	data, _ := json.Marshal(body)
	r, err := http.NewRequestWithContext(a.t.Context(), method, address, bytes.NewReader(data))
	if err != nil {
		return nil
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Prefer", `IdType="ImmutableId", odata.maxpagesize=2`)
	resp, err := a.client.Do(r)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var out object
	json.Unmarshal(text, &out)
	return out
}

// follow asks for page after page, a few at most.
func (a *mailApp) follow(address string) (deltaLink string) {
	for range 8 {
		page := a.ask("GET", address, nil)
		next, _ := page["@odata.nextLink"].(string)
		if next == "" {
			deltaLink, _ = page["@odata.deltaLink"].(string)
			return deltaLink
		}
		address = next
	}
	return ""
}

// Each profile of mailboxes is met by an app that uses them, and by its victims
// only where it is about victims.
func TestPlayMailProfilesAreMet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hostile := NewHostile(w.svc.Handler())
	front := httptest.NewServer(hostile)
	t.Cleanup(front.Close)
	w.faults.Set(func(o *Options) { o.Mail.Requests, o.Mail.Upload = 1_000_000, 1<<40 })
	box := w.mailbox(amala)
	app := &mailApp{w, front.URL, box}
	w.mail(message("keep"), amala, "Archive", "keep.eml")
	at := func(path ...string) string { return w.mailPath(append([]string{amala}, path...)...) }
	for i, p := range MailProfiles() {
		for n := range 3 {
			w.mail(message(fmt.Sprint("victim ", i, n)), amala, "Inbox", fmt.Sprint("victim ", n, ".eml"))
			w.mail(message(fmt.Sprint("other ", i, n)), amala, "Inbox", fmt.Sprint("other ", n, ".eml"))
		}
		for _, folder := range []string{"victim folder", "victim other"} {
			w.mail(message("inside"), amala, folder, "inside.eml")
		}
		links := map[string]string{}
		app.follow(box + "/folders/delta")
		folders, _ := w.all(box + "/folders")
		for _, f := range folders {
			links[f["id"].(string)] = app.follow(box + "/folders/" + url.PathEscape(f["id"].(string)) + "/items/delta")
		}
		foldersLink := app.follow(box + "/folders/delta")
		w.rename(at("Inbox", "victim 0.eml"), at("victim folder", "victim moved.eml"))
		w.mail(message("victim written"), amala, "Inbox", "victim 1.eml")
		w.rename(at("Inbox", "other 0.eml"), t.TempDir()+"/gone")

		hostile.Play(p, func(name string) bool { return strings.HasPrefix(name, "victim") })
		app.ask("GET", "/users/"+amala+"/settings/exchange", nil)
		app.ask("GET", box+"/folders", nil)
		app.follow(box + "/folders/delta")
		app.follow(foldersLink)
		app.ask("GET", box+"/folders/inbox", nil)
		var ids []string
		var victim object
		for _, f := range folders {
			id := url.PathEscape(f["id"].(string))
			app.follow(box + "/folders/" + id + "/items/delta")
			app.follow(links[f["id"].(string)])
			for _, v := range w.itemsOf(box, f["id"].(string)) {
				ids = append(ids, v["id"].(string))
				app.ask("GET", box+"/folders/"+id+"/items/"+v["id"].(string), nil)
				if f["wellKnownName"] == "inbox" {
					victim = v
				}
			}
		}
		for range 2 {
			app.ask("POST", box+"/exportItems", object{"itemIds": ids[:min(20, len(ids))]})
		}
		kept := w.exports(box, victim["id"].(string))[0]["data"]
		app.ask("POST", box+"/createImportSession", nil)
		session := strings.Replace(w.session(box), w.srv.URL, front.URL, 1)
		for range 3 {
			app.ask("POST", session, object{"FolderId": "archive", "Mode": "create", "Data": kept})
		}
		app.ask("POST", session, object{"FolderId": "inbox", "Mode": "update", "ItemId": victim["id"], "ChangeKey": victim["changeKey"], "Data": kept})
		app.ask("POST", box+"/folders", object{"displayName": fmt.Sprint("made ", i), "type": "IPF.Note"})
		app.ask("DELETE", box+"/folders/inbox/items/"+victim["id"].(string), nil)
		if hits := hostile.Stop(); hits == 0 {
			t.Errorf("%q is met by nothing", p.Name)
		}
		for _, folder := range []string{"victim folder", "victim other", "Inbox", "Archive", "Deleted Items", fmt.Sprint("made ", i)} {
			if err := os.RemoveAll(at(folder)); err != nil {
				t.Fatal(err)
			}
		}
		w.mail(message("keep"), amala, "Archive", "keep.eml")
	}
}

// What is told of a mailbox while a profile plays is spoiled as it says, and the
// rest is as it is.
func TestMailProfilesHitTheirVictims(t *testing.T) {
	w := newWorld(t)
	hostile := NewHostile(w.svc.Handler())
	front := httptest.NewServer(hostile)
	t.Cleanup(front.Close)
	box := w.mailbox(amala)
	app := &mailApp{w, front.URL, box}
	w.mail(message("a victim"), amala, "Inbox", "victim.eml")
	w.mail(message("another"), amala, "Inbox", "other.eml")
	play := func(name string) {
		t.Helper()
		p, ok := profileNamed(name)
		if !ok {
			t.Fatalf("there is no profile %q", name)
		}
		hostile.Play(p, func(name string) bool {
			return strings.HasSuffix(name, "victim.eml") || name == "a victim" || name == "inbox"
		})
	}
	app.follow(box + "/folders/inbox/items/delta")
	var ids []string
	for _, v := range w.itemsOf(box, "inbox") {
		ids = append(ids, v["id"].(string))
	}
	export := func() (codes []string) {
		value, _ := app.ask("POST", box+"/exportItems", object{"itemIds": ids})["value"].([]any)
		for _, v := range value {
			e, _ := v.(object)["error"].(object)
			code, _ := e["code"].(string)
			codes = append(codes, code)
		}
		return codes
	}
	play("corrupt items once")
	if first, second := fmt.Sprint(export()), fmt.Sprint(export()); first != "[ErrorCorruptData ]" && first != "[ ErrorCorruptData]" || second != "[ ]" {
		t.Errorf("of a victim and another, exports say %s and %s", first, second)
	}
	play("folder tokens 410 SyncStateNotFound")
	link := w.must(200, "GET", box+"/folders/inbox/items/delta", nil).text("@odata.deltaLink")
	link = strings.Replace(link, w.srv.URL, front.URL, 1)
	first, second := app.ask("GET", link, nil), app.ask("GET", link, nil)
	if e, _ := first["error"].(object); e["code"] != "SyncStateNotFound" || second["error"] != nil {
		t.Errorf("a folder's token: %v, then %v", first, second)
	}
	play("imports whose answers are lost once")
	session := strings.Replace(w.session(box), w.srv.URL, front.URL, 1)
	var data any
	for _, v := range w.exports(box, ids...) {
		if h := w.extendedOf(box, "inbox", v["itemId"].(string), "String 0x0037"); h["String 0x37"] == "a victim" {
			data = v["data"]
		}
	}
	if got := app.ask("POST", session, object{"FolderId": "archive", "Mode": "create", "Data": data}); got["error"] == nil {
		t.Errorf("the answer is not lost: %v", got)
	}
	if n := len(w.itemsOf(box, "archive")); n != 1 {
		t.Errorf("the import made %d items", n)
	}
	hostile.Stop()
	if got := fmt.Sprint(export()); got != "[ ]" {
		t.Errorf("when nothing plays, exports say %s", got)
	}
}
