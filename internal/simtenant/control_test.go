package simtenant

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// controlled is a world whose server has a control before the service.
func controlled(t *testing.T) (*world, *Control) {
	t.Helper()
	w := newWorld(t)
	c, err := NewControl(w.svc)
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Close()
	w.srv = httptest.NewServer(c)
	w.client = w.srv.Client()
	return w, c
}

func (w *world) control(status int, method, what string, body any) answer {
	w.t.Helper()
	return w.must(status, method, w.srv.URL+"/_holdfast/"+what, body)
}

func TestControlMovesTime(t *testing.T) {
	w, c := controlled(t)
	w.write(amala+"/a.txt", "a")
	drive := w.drive(amala)
	url := w.must(200, "GET", drive+"/root:/a.txt", nil).text("@microsoft.graph.downloadUrl")
	session := w.must(200, "POST", drive+"/root:/b.txt:/createUploadSession", nil).text("uploadUrl")
	w.must(200, "GET", url, nil)
	w.control(200, "POST", "clock", object{"advance": "20m"})
	w.must(404, "GET", session, nil)
	w.must(200, "GET", url, nil)
	before := c.Now()
	a := w.control(200, "POST", "clock", object{"advance": "90d"})
	if now, err := time.Parse(time.RFC3339Nano, a.text("now")); err != nil || now.Sub(before) < 90*24*time.Hour {
		t.Errorf("after 90 days, it is %s, before %s", a.text("now"), before)
	}
	w.must(401, "GET", url, nil)
	w.must(401, "GET", drive, nil)
	w.control(200, "POST", "clock", object{"set": before.Format(time.RFC3339Nano)})
	w.must(200, "GET", drive, nil)
	for _, bad := range []any{object{}, object{"advance": "soon"}, "x"} {
		w.control(400, "POST", "clock", bad)
	}
}

// A state that was put away comes back: files, ids, tokens and clock.
func TestControlPutsStatesBack(t *testing.T) {
	w, c := controlled(t)
	drive := w.drive(amala)
	a := w.must(201, "PUT", drive+"/root:/f/a.txt:/content", "one")
	id := a.text("id")
	replica := newReplica(w, amala)
	replica.follow()
	want, link := replica.tree(), replica.link
	w.control(200, "POST", "save", object{"name": "seeded"})
	for round := range 2 {
		now := c.Now()
		w.control(200, "POST", "clock", object{"advance": "48h"})
		w.must(401, "GET", drive, nil)
		w.control(200, "POST", "clock", object{"advance": "-48h"})
		w.must(200, "PUT", drive+"/items/"+id+"/content", "two")
		w.must(201, "PUT", drive+"/root:/new.txt:/content", "new")
		w.must(204, "DELETE", drive+"/root:/f", nil)
		w.write(conrad+"/other.txt", "other")
		w.control(200, "POST", "trouble", object{"faults": []object{{"path": "/drives/", "status": 503}}})
		w.must(503, "GET", drive, nil)
		w.control(200, "POST", "clock", object{"advance": "1h"})
		w.control(200, "POST", "reset", nil)
		if ahead := c.Now().Sub(now); ahead < 0 || ahead > 30*time.Minute {
			t.Errorf("round %d: the clock is %v ahead of what was saved", round, ahead)
		}
		if got := w.must(200, "GET", drive+"/root:/f/a.txt", nil).text("id"); got != id {
			t.Errorf("round %d: the item came back as %s, was %s", round, got, id)
		}
		if got := w.read(amala + "/f/a.txt"); got != "one" {
			t.Errorf("round %d: the file came back as %q", round, got)
		}
		w.must(404, "GET", drive+"/root:/new.txt", nil)
		w.must(404, "GET", w.drive(conrad)+"/root:/other.txt", nil)
		again := newReplica(w, amala)
		again.follow()
		for path, line := range want {
			if again.tree()[path] != line {
				t.Errorf("round %d: %s is %s, was %s", round, path, again.tree()[path], line)
			}
		}
		w.must(200, "GET", link, nil)
	}
	w.control(200, "POST", "load", object{"name": "start"})
	w.must(404, "GET", drive+"/root:/f", nil)
	w.control(404, "POST", "load", object{"name": "never"})
	w.control(400, "POST", "save", object{"name": "../up"})
}

// Files that were there at the start go only if somebody has said that they
// may.
func TestControlKeepsWhatWasThere(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/mine.txt", "mine")
	c, err := NewControl(w.svc)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reset(); err == nil {
		t.Error("a tenant of real files was reset")
	}
	if got := w.read(amala + "/mine.txt"); got != "mine" {
		t.Errorf("mine.txt = %q", got)
	}
	if err := c.Save("mine"); err != nil {
		t.Fatal(err)
	}
	w.write(amala+"/mine.txt", "changed")
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	if got := w.read(amala + "/mine.txt"); got != "mine" {
		t.Errorf("after a reset, mine.txt = %q", got)
	}
}

func TestControlTellsWhatWasAsked(t *testing.T) {
	w, _ := controlled(t)
	drive := w.drive(amala)
	w.control(400, "GET", "requests?url=delta", nil)
	w.control(204, "DELETE", "requests", nil)
	w.must(201, "PUT", drive+"/root:/a.txt:/content?@microsoft.graph.conflictBehavior=fail", "bytes")
	w.must(404, "GET", drive+"/root:/b.txt", nil)
	list := w.control(200, "GET", "requests", nil).body["requests"].([]any)
	if len(list) != 2 {
		t.Fatalf("%d requests are told, want 2: %v", len(list), list)
	}
	put := list[0].(object)
	if put["method"] != "PUT" || put["status"] != 201.0 || put["body"] != "Ynl0ZXM=" || !strings.HasSuffix(put["url"].(string), "a.txt:/content?@microsoft.graph.conflictBehavior=fail") {
		t.Errorf("the upload is told as %v", put)
	}
	if token := fmt.Sprint(put["header"]); strings.Contains(token, w.token) {
		t.Errorf("the token is told: %s", token)
	}
	for query, want := range map[string]int{"?method=get": 1, "?status=404": 1, "?path=a.txt": 1, fmt.Sprintf("?after=%v", put["n"]): 1, "?status=500": 0} {
		if got := w.control(200, "GET", "requests"+query, nil).body["requests"].([]any); len(got) != want {
			t.Errorf("%s: %d requests, want %d", query, len(got), want)
		}
	}
	// The file is there by now, so the same calls end otherwise.
	w.must(201, "PUT", drive+"/root:/b.txt:/content", "b")
	got := fmt.Sprint()
	for _, v := range w.control(200, "POST", "replay", object{"to": put["n"].(float64) + 1}).body["replayed"].([]any) {
		v := v.(object)
		got += fmt.Sprint(v["method"], " ", v["was"], " ", v["is"], ";")
	}
	if got != "PUT 201 409;GET 404 200;" {
		t.Errorf("replayed: %s", got)
	}
}

func TestControlPlaysProfiles(t *testing.T) {
	w, _ := controlled(t)
	w.write(amala+"/victim.txt", "some bytes")
	w.write(amala+"/other.txt", "some bytes")
	drive := w.drive(amala)
	w.must(200, "GET", drive+"/root/delta", nil)
	w.control(200, "POST", "trouble", object{"profile": "item 403 for good", "victim": "victim.*", "options": object{"pageSize": 1}})
	id := func(name string) string { return w.must(200, "GET", drive+"/root:/"+name, nil).text("id") }
	victim, other := id("victim.txt"), id("other.txt")
	w.must(403, "GET", drive+"/items/"+victim, nil)
	w.must(200, "GET", drive+"/items/"+other, nil)
	if a := w.must(200, "GET", drive+"/root/children", nil); len(values(a, "id")) != 1 {
		t.Errorf("the page has %d items, want 1", len(values(a, "id")))
	}
	if a := w.control(200, "GET", "", nil); a.text("profile") != "item 403 for good" || a.text("options", "pageSize") != "1" {
		t.Errorf("status = %s", a.raw)
	}
	if a := w.control(200, "DELETE", "trouble", nil); a.body["hits"] != 1.0 {
		t.Errorf("ended: %s", a.raw)
	}
	w.must(200, "GET", drive+"/items/"+victim, nil)
	for _, bad := range []any{
		object{"profile": "no such"}, object{"victim": "["}, object{"faults": []object{{}}}, object{"faults": []object{{"status": 42}}}, object{"unknown": 1}, "x",
	} {
		w.control(400, "POST", "trouble", bad)
	}
	list := w.control(200, "GET", "profiles", nil).body["profiles"].([]any)
	if len(list) != len(AllProfiles()) {
		t.Errorf("%d profiles are listed, there are %d", len(list), len(AllProfiles()))
	}
}

func TestControlIsForThisMachineOnly(t *testing.T) {
	w, c := controlled(t)
	for name, change := range map[string]func(*http.Request){
		"another machine":   func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1234" },
		"a web page":        func(r *http.Request) { r.Header.Set("Origin", "http://localhost:1") },
		"a page's image":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"a name rebound":    func(r *http.Request) { r.Host = "evil.example:80" },
		"no address at all": func(r *http.Request) { r.RemoteAddr = "" },
	} {
		r := httptest.NewRequest("POST", "/_holdfast/reset", nil)
		r.RemoteAddr, r.Host = "127.0.0.1:1234", "127.0.0.1:80"
		change(r)
		rec := httptest.NewRecorder()
		c.ServeHTTP(rec, r)
		if rec.Code != 403 {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	w.control(404, "GET", "nonsense", nil)
	w.control(405, "GET", "reset", nil)
	// Without a control there is nothing there.
	rec := httptest.NewRecorder()
	w.svc.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/_holdfast/", nil))
	if rec.Code != 404 {
		t.Errorf("without a control: %d %s", rec.Code, rec.Body)
	}
}

func TestOneServiceOnAFolder(t *testing.T) {
	w := newWorld(t)
	cfg := w.cfg
	cfg.State = filepath.Join(t.TempDir(), "other")
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), w.cfg.Drives) {
		t.Errorf("a second service on the same drives: %v", err)
	}
	w.restart()
}
