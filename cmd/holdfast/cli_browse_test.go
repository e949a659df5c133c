package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What was the newest restore point when it was looked for may be it no more when it is
// to be browsed: then that which is. Who is refused again is told so.
func TestTheNewestPointMayHaveBecomeAnother(t *testing.T) {
	d := startTestDev(t, nil)
	clientEnv(t, d)
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "plan.md"), []byte("plan"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &caller{t, nil}
	c.want(0, "policy create Plan --drive amala@contoso.com")
	c.want(0, "policy activate Plan --wait")
	to, err := url.Parse(d.origin)
	if err != nil {
		t.Fatal(err)
	}
	refuses, asked := 0, 0
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, browseSet) {
			if asked++; asked <= refuses {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":{"code":"InvalidRestorePoint","message":"Only restore points with the tag fastRestore can be browsed."}}`)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	t.Setenv("HOLDFAST_URL", server.URL)
	t.Setenv("HOLDFAST_AUTHORITY", d.origin)
	t.Setenv("HOLDFAST_GRAPH", d.origin+"/v1.0")
	refuses = 100
	if _, all, code := c.run("browse ls amala@contoso.com"); code == 0 || !strings.Contains(all, "fastRestore") || asked != 2 {
		t.Errorf("refused for good: %d after %d tries\n%s", code, asked, all)
	}
	refuses, asked = 1, 0
	if _, all, code := c.run("browse ls amala@contoso.com"); code != 0 || !strings.Contains(all, "plan.md") || asked != 2 {
		t.Errorf("refused once: %d after %d tries\n%s", code, asked, all)
	}
}
