package simtenant

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"
)

// answersOf sends a batch and returns its answers by id.
func (w *world) answersOf(address string, requests ...object) map[string]object {
	w.t.Helper()
	out := map[string]object{}
	for _, v := range w.must(200, "POST", address, object{"requests": requests}).body["responses"].([]any) {
		v := v.(object)
		out[v["id"].(string)] = v
	}
	return out
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/a.txt", "hello")
	drive := w.drive(amala)
	for base, address := range map[string]string{"/v1.0": "/$batch", "/beta": w.srv.URL + "/beta/$batch"} {
		got := w.answersOf(address,
			object{"id": "5", "method": "GET", "url": "/users/nobody"},
			object{"id": "1", "method": "get", "url": "/users/" + amala},
			object{"id": "2", "method": "GET", "url": drive + "/root/children?$select=name"},
			object{"id": "3", "method": "GET", "url": drive[1:] + "/root:/a.txt:/content"},
			object{"id": "4", "method": "GET", "url": drive + "/root:/a.txt:/contentStream"},
			object{"id": "7", "method": "GET", "url": "/users", "dependsOn": []string{"5"}},
			object{"id": "6", "method": "GET", "url": "/users", "depends_on": []string{"5"}},
			object{"id": "12", "method": "GET", "url": w.srv.URL + base + "/users"},
			object{"id": "8", "method": "GET", "url": drive + "/root:/made:/children", "dependsOn": []string{"9"}},
			object{"id": "9", "method": "POST", "url": drive + "/root/children?@microsoft.graph.conflictBehavior=replace", "headers": object{"Content-Type": "application/json"}, "body": object{"name": "made", "folder": object{}}},
			object{"id": "10", "method": "PUT", "url": drive + "/root:/b.txt:/content", "headers": object{"Content-Type": "text/plain"}, "body": base64.StdEncoding.EncodeToString([]byte("written in a batch"))},
			object{"id": "11", "method": "POST", "url": "/$batch", "body": object{"requests": []object{}}},
		)
		for id, want := range map[string][]int{"1": {200}, "2": {200}, "3": {302}, "4": {200}, "5": {404}, "6": {424}, "7": {424}, "8": {200}, "9": {200, 201}, "10": {200, 201}, "11": {400}, "12": {200}} {
			status := int(got[id]["status"].(float64))
			if status != want[0] && status != want[len(want)-1] {
				t.Errorf("%s: request %s = %v", address, id, got[id])
			}
		}
		if name := got["1"]["body"].(object)["userPrincipalName"]; name != amala {
			t.Errorf("request 1 = %v", got["1"])
		}
		if got["3"]["headers"].(object)["Location"] == nil {
			t.Errorf("request 3 = %v", got["3"])
		}
		if got["4"]["body"] != base64.StdEncoding.EncodeToString([]byte("hello")) {
			t.Errorf("request 4 = %v", got["4"])
		}
	}
	if got := w.read(amala + "/b.txt"); got != "written in a batch" {
		t.Errorf("b.txt = %q", got)
	}
	// Each request is throttled by itself.
	w.faults.Add(Fault{Match: func(r *http.Request) bool { return r.URL.Path == "/v1.0/users" }, Status: 429, Header: map[string][]string{"Retry-After": {"7"}}})
	got := w.answersOf("/$batch", object{"id": "1", "method": "GET", "url": "/users"}, object{"id": "2", "method": "GET", "url": drive})
	if got["1"]["status"] != 429.0 || got["1"]["headers"].(object)["Retry-After"] != "7" || got["2"]["status"] != 200.0 {
		t.Errorf("throttled batch = %v", got)
	}
}

func TestBatchesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	get := func(id string, after ...string) object {
		return object{"id": id, "method": "GET", "url": "/users", "dependsOn": after}
	}
	many := []object{}
	for i := range 21 {
		many = append(many, get(fmt.Sprint(i)))
	}
	for name, body := range map[string]any{
		"nothing": "", "no JSON": "x", "no requests": object{}, "too many": object{"requests": many},
		"the same id twice": object{"requests": []object{get("1"), get("1")}},
		"no id":             object{"requests": []object{{"method": "GET", "url": "/users"}}},
		"a whole address":   object{"requests": []object{{"id": "1", "method": "GET", "url": "https://graph.microsoft.com/v1.0/users"}}},
		"an unknown id":     object{"requests": []object{get("1", "2")}},
		"a circle":          object{"requests": []object{get("1", "2"), get("2", "1")}},
	} {
		if a := w.do("POST", "/$batch", body); a.status != 400 || a.text("error", "code") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	w.must(405, "GET", "/$batch", nil)
	w.must(401, "POST", "/$batch", object{"requests": []object{get("1")}}, "Authorization", "")
}
