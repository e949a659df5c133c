package simtenant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// world is a service on scratch folders, and a client signed in to it.
type world struct {
	t      *testing.T
	cfg    Config
	svc    *Service
	srv    *httptest.Server
	faults *Faults
	token  string
	client *http.Client
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{t: t, faults: new(Faults)}
	w.cfg = Config{
		State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Mail: filepath.Join(dir, "mail"), Sites: filepath.Join(dir, "sites"), Tenants: Sample(), Faults: w.faults,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	w.start()
	t.Cleanup(w.stop)
	return w
}

func (w *world) start() {
	w.t.Helper()
	svc, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.svc = svc
	w.srv = httptest.NewServer(svc.Handler())
	w.client = w.srv.Client()
	tenant := w.cfg.Tenants[0]
	w.token = w.signIn(string(tenant.ID), url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"},
		"client_id": {tenant.Apps[0].AppID}, "client_secret": {tenant.Apps[0].Secret},
	})
}

func (w *world) stop() {
	if w.svc == nil {
		return
	}
	w.srv.Close()
	if err := w.svc.Close(); err != nil {
		w.t.Error(err)
	}
	w.svc = nil
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func (w *world) signIn(tenant string, form url.Values) string {
	w.t.Helper()
	resp, err := w.client.PostForm(w.srv.URL+"/"+tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
	}
	body, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(body, &out); err != nil || out.AccessToken == "" {
		w.t.Fatalf("token: %s %s", resp.Status, body)
	}
	return out.AccessToken
}

// answer is what came back, with the body decoded where it is JSON.
type answer struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

func (a answer) text(path ...string) string {
	var v any = a.body
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (w *world) do(method, address string, body any, headers ...string) answer {
	w.t.Helper()
	if !strings.HasPrefix(address, "http") {
		address = w.srv.URL + "/v1.0" + address
	}
	var from io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		from = bytes.NewReader(b)
	case string:
		from = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		from = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, address, from)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(address, "tempauth=") {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.raw, err = io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, address, err)
	}
	json.Unmarshal(a.raw, &a.body)
	return a
}

// must is do that insists on a status.
func (w *world) must(status int, method, address string, body any, headers ...string) answer {
	w.t.Helper()
	a := w.do(method, address, body, headers...)
	if a.status != status {
		w.t.Fatalf("%s %s = %d %s, want %d", method, address, a.status, a.raw, status)
	}
	return a
}

func (w *world) folder(user string) string { return filepath.Join(w.cfg.Drives, user) }

func (w *world) write(path, content string) {
	w.t.Helper()
	w.putFile(filepath.Join(w.cfg.Drives, path), content)
}

func (w *world) read(path string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.cfg.Drives, path))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

const (
	amala  = "amala@contoso.com"
	conrad = "conrad@contoso.com"
)

func (w *world) drive(user string) string {
	w.t.Helper()
	return "/drives/" + w.must(200, "GET", "/users/"+user+"/drive", nil).text("id")
}
