package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWhatIsTheAPIs(t *testing.T) {
	for path, want := range map[string]bool{
		"/v1.0/solutions/backupRestore":                    true,
		"/V1.0/Solutions/backuprestore/protectionPolicies": true,
		"/beta/solutions/backupRestore/activityLogs":       true,
		"/v9/solutions/backupRestore":                      true,
		"/v1.0":                                            true,
		"/v1.0/":                                           true,
		"/v1.0/$batch":                                     true,
		"/v1.0/$metadata":                                  true,
		"/v1.0/users":                                      false,
		"/v1.0/drives/b!x/root/delta":                      false,
		"/contoso.com/oauth2/v2.0/token":                   false,
		"/common/discovery/instance":                       false,
		"/":                                                false,
	} {
		if got := isAPI(path); got != want {
			t.Errorf("isAPI(%q) = %v, want %v", path, got, want)
		}
	}
}

// A batch reaches every route of dev's origin, in both versions.
func TestBatchesReachTheWholeOrigin(t *testing.T) {
	var asked []string
	h := wholeBatches(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"ok":true}`)
	}))
	for _, c := range []struct {
		path, urls string
		want       []string
	}{
		{"/v1.0/$batch", "/solutions/backupRestore", []string{"POST /v1.0/$batch"}},
		{"/beta/$batch", "/solutions/backupRestore", []string{"POST /beta/$batch"}},
		{"/v1.0/$batch", "/users /solutions/backupRestore", []string{"GET /v1.0/users", "GET /v1.0/solutions/backupRestore"}},
		{"/v1.0/users", "", []string{"POST /v1.0/users"}},
	} {
		asked = nil
		var requests []map[string]string
		for i, u := range strings.Fields(c.urls) {
			requests = append(requests, map[string]string{"id": fmt.Sprint(i), "method": "GET", "url": u})
		}
		body, err := json.Marshal(map[string]any{"requests": requests})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", c.path, bytes.NewReader(body)))
		if w.Code != 200 || !slices.Equal(asked, c.want) {
			t.Errorf("a batch for %s at %s = %d %s, which asked for %v, want %v", c.urls, c.path, w.Code, w.Body, asked, c.want)
		}
	}
}

// A page whose name was made to lead to this machine gets no token.
func TestDevAnswersForItsOwnNames(t *testing.T) {
	d := startTestDev(t, nil)
	for host, want := range map[string]int{"": 200, "localhost:80": 200, "127.0.0.1": 200, "[::1]:8365": 200, "Contoso.localhost": 200, "attacker.example": 403, "127.0.0.1.example:80": 403} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.origin+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("as %q it answers %s, want %d", host, resp.Status, want)
		}
	}
}

// The sample tenant has a site and mail from the first moment, and only if nobody
// has put any there.
func TestSampleFilesAreForEmptyFolders(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) { o.files = true })
	for pattern, want := range map[string]int{
		"sites/marketing/libraries/Documents/*/*/*.docx": 60, "sites/marketing/lists/Offers/offer *.json": 40, "mail/amala@contoso.com/*/*.eml": 40,
	} {
		if found, err := filepath.Glob(d.data.path(pattern)); err != nil || len(found) != want {
			t.Errorf("%d files are called %s, %v; want %d", len(found), pattern, err, want)
		}
	}
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "mail", "noor@contoso.com", "Inbox"), 0o755); err != nil {
		t.Fatal(err)
	}
	startTestDev(t, func(o *devOptions) { o.data, o.files = data, true })
	if found, err := filepath.Glob(filepath.Join(data, "sites", "marketing")); err != nil || len(found) > 0 {
		t.Errorf("beside somebody's mail there are %v, %v", found, err)
	}
}
