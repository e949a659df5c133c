package simtenant

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// While no profile plays, a Hostile changes nothing of what the service
// answers; while one does, only what it is about; and after it, nothing again.
func TestHostilePassesOnWhatNoProfileSpoils(t *testing.T) {
	w := newWorld(t)
	hostile := NewHostile(w.svc.Handler())
	front := httptest.NewServer(hostile)
	t.Cleanup(front.Close)
	user := w.cfg.Tenants[0].Users[0]
	get := func(origin, path string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, origin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.token)
		resp, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.ReplaceAll(string(b), origin, "")
	}
	w.write(user.UserPrincipalName+"/victim.txt", "some bytes")
	root := "/v1.0/users/" + user.UserPrincipalName + "/drive"
	_, d := get(w.srv.URL, root)
	drive := "/v1.0/drives/" + decode([]byte(d))["id"].(string)
	paths := []string{root, drive + "/root", drive + "/root/delta"}
	same := func(when string) {
		t.Helper()
		for _, path := range paths {
			wantStatus, want := get(w.srv.URL, path)
			status, got := get(front.URL, path)
			if status != wantStatus || got != want {
				t.Errorf("%s %s is %d %s, want %d %s", when, path, status, got, wantStatus, want)
			}
		}
	}
	same("before")
	for _, p := range Profiles() {
		if p.Name != "no sizes" {
			continue
		}
		hostile.Play(p, func(name string) bool { return name == "victim.txt" })
		_, got := get(front.URL, drive+"/root/delta")
		if item := find(t, got, "victim.txt"); item["size"] != nil || item["id"] == nil {
			t.Errorf("the victim is told as %v", item)
		}
		if item := find(t, got, "root"); item["size"] == nil {
			t.Errorf("another is told as %v", item)
		}
		if hits := hostile.Stop(); hits != 1 {
			t.Errorf("%d exchanges were spoiled, want 1", hits)
		}
	}
	same("afterwards")
}

// find returns an item of a delta page by its name.
func find(t *testing.T, page, name string) object {
	t.Helper()
	for _, item := range itemsOf(aDelta, decode([]byte(page))) {
		if item["name"] == name {
			return item
		}
	}
	t.Fatalf("no %s in %s", name, page)
	return nil
}
