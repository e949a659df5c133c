package simtenant

import (
	"bytes"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// Made mailboxes follow from the seed, and what changes in them does as well.
func TestMadeMail(t *testing.T) {
	p := Population{Seed: 3, Users: 2, Files: 10, Size: 500, Messages: 400}
	now := time.Date(2027, 4, 1, 12, 0, 0, 0, time.UTC)
	begin := func() *world {
		w := newPopulated(t, p)
		w.cfg.Clock = func() time.Time { return now }
		w.restart()
		return w
	}
	users := p.Tenant().Users
	look := func(w *world) (map[string]string, int) {
		w.t.Helper()
		out, n := map[string]string{}, 0
		for _, u := range users {
			box := w.mailbox(u.UserPrincipalName)
			folders, _ := w.all(box + "/folders/delta")
			for _, f := range folders {
				out[f["id"].(string)] = fmt.Sprint(f["displayName"], f["type"], f["totalItemCount"], f["wellKnownName"])
				items, _ := w.all(box+"/folders/"+url.PathEscape(f["id"].(string))+"/items/delta", "Prefer", "odata.maxpagesize=100")
				for _, v := range items {
					n++
					out[v["id"].(string)] = fmt.Sprint(v["type"], v["size"], v["categories"], v["createdDateTime"], v["lastModifiedDateTime"])
				}
			}
		}
		return out, n
	}
	w, other := begin(), begin()
	first, n := look(w)
	if n != p.Messages {
		t.Errorf("there are %d items, want %d", n, p.Messages)
	}
	second, _ := look(other)
	same(t, "as they were made", first, second)

	// What is exported is a message of the size that was told, and the same elsewhere.
	box, attached := w.mailbox(users[0].UserPrincipalName), 0
	for _, v := range w.itemsOf(box, "inbox") {
		id := v["id"].(string)
		data := w.exports(box, id)[0]["data"]
		if data != other.exports(box, id)[0]["data"] {
			t.Fatalf("%s differs", id)
		}
		h, file, ok := readStream(unbase64(t, data))
		if !ok || fmt.Sprint(h.Size) != fmt.Sprint(v["size"]) {
			t.Fatalf("%s: %v, and the list tells %v", id, h, v)
		}
		msg, err := mail.ReadMessage(bytes.NewReader(file))
		if err != nil || msg.Header.Get("Subject") == "" {
			t.Fatalf("%s: %v", id, err)
		}
		if strings.HasPrefix(msg.Header.Get("Content-Type"), "multipart/") {
			attached++
		}
	}
	if attached == 0 {
		t.Error("no message has an attachment")
	}

	c := newMailReplica(w, users[0].UserPrincipalName, false)
	c.follow()
	for _, one := range []*world{w, other} {
		for range 4 {
			if err := one.svc.Churn(50); err != nil {
				t.Fatal(err)
			}
		}
	}
	changed, _ := look(w)
	second, _ = look(other)
	same(t, "after changes", changed, second)
	if gocmp.Equal(first, changed) {
		t.Error("nothing changed")
	}
	anew := newMailReplica(w, users[0].UserPrincipalName, false)
	c.follow()
	anew.follow()
	if diff := gocmp.Diff(anew.tree(), c.tree()); diff != "" {
		t.Errorf("a replica that followed differs:\n%s", diff)
	}
	w.restart()
	again, _ := look(w)
	same(t, "after a restart", changed, again)

	// What is put into a made mailbox is real.
	a := w.exports(box, w.itemsOf(box, "inbox")[0]["id"].(string))[0]
	w.must(200, "POST", w.session(box), object{"FolderId": "archive", "Mode": "create", "Data": a["data"]})
	w.must(200, "POST", w.session(box), object{"FolderId": "inbox", "Mode": "update", "ItemId": a["itemId"], "ChangeKey": a["changeKey"], "Data": a["data"]})
	if got := w.exports(box, a["itemId"].(string))[0]; got["data"] != a["data"] {
		t.Error("an update of a made item changed it")
	}
}
