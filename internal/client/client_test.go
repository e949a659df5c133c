package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve starts a server and returns a client of it that has a token.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL, Token: "token"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What the server puts off is sent again when it said, under the same name.
func TestRetryAfter(t *testing.T) {
	var ids, bodies []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ids, bodies = append(ids, r.Header.Get("client-request-id")), append(bodies, string(body))
		if len(ids) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		io.WriteString(w, `{"id":"x"}`)
	})
	waited := 0
	c.cfg.Waiting = func(why error, wait time.Duration) {
		if refused, ok := errors.AsType[*Error](why); !ok || refused.Status != http.StatusTooManyRequests || wait < time.Second {
			t.Errorf("it waits %v because of %v", wait, why)
		}
		waited++
	}
	began := time.Now()
	var answer struct{ ID string }
	if err := c.Act(t.Context(), "/x", map[string]int{"a": 1}, &answer); err != nil || answer.ID != "x" {
		t.Fatal(err)
	}
	if waited != 1 {
		t.Errorf("whoever waits was told %d times", waited)
	}
	if len(ids) != 2 || ids[0] != ids[1] || ids[0] == "" || bodies[0] != bodies[1] || time.Since(began) < time.Second {
		t.Errorf("after %v there were %q with %q", time.Since(began), ids, bodies)
	}
}

// A request whose answer was lost is sent again only if that does no harm.
func TestLostAnswer(t *testing.T) {
	var n atomic.Int32 // an answer that is lost synchronises nothing
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{}`)
	})
	if err := c.Create(t.Context(), "/x", 1, nil); err != nil || n.Load() != 2 {
		t.Errorf("creating: %v after %d", err, n.Load())
	}
	n.Store(0)
	var lost *Unreachable
	if err := c.Act(t.Context(), "/x", 1, nil); !errors.As(err, &lost) || n.Load() != 1 {
		t.Errorf("acting: %v after %d", err, n.Load())
	}
}

// What an action answers by pages is asked for in large ones, by the header that OData has for it.
func TestAnActionAnswersByLargePages(t *testing.T) {
	asked := ""
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked += r.Method + " " + r.Header.Get("Prefer") + "\n"
		page := Page{Value: []json.RawMessage{json.RawMessage(`1`)}}
		if r.Method == http.MethodPost {
			page.Next = "http://x" + Root + "/xs?$skiptoken=a"
		}
		json.NewEncoder(w).Encode(page)
	})
	n := 0
	for _, err := range c.AllAsked(t.Context(), "/xs/act", map[string]string{}) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if want := "POST odata.maxpagesize=999, include-unknown-enum-members\nGET include-unknown-enum-members\n"; n != 2 || asked != want {
		t.Errorf("%d, by\n%s", n, asked)
	}
}

// Links lead to the server that was configured, whatever they say: the token
// goes nowhere else.
func TestLinksStayHere(t *testing.T) {
	link := "https://elsewhere.example.com" + Root + "/xs?$skiptoken=a%20b"
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := Page{Value: []json.RawMessage{json.RawMessage(`1`)}}
		if !r.URL.Query().Has("$skiptoken") {
			page.Next = link
		} else if r.URL.Query().Get("$skiptoken") != "a b" {
			t.Errorf("asked for %s", r.URL)
		}
		json.NewEncoder(w).Encode(page)
	})
	count := func() (n int, err error) {
		for _, err := range c.All(t.Context(), "/xs") {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	if n, err := count(); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	link = "https://elsewhere.example.com/steal"
	if n, err := count(); n != 1 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestErrorsSayWhatTheServerSaid(t *testing.T) {
	body := `{"error":{"code":"PolicyNotFound","message":"There is none.","details":[{"code":"x","target":"y"}]}}`
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("request-id", "r1")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, body)
	})
	err := c.Get(t.Context(), "/x", nil)
	e, ok := errors.AsType[*Error](err)
	if !ok || err.Error() != "There is none (404 PolicyNotFound, request r1)" || len(e.Details) != 1 {
		t.Errorf("%v", err)
	}
	body = "<html>"
	if err := c.Get(t.Context(), "/x", nil); err.Error() != "Not Found (404, request r1)" {
		t.Errorf("%v", err)
	}
}

func TestNotTheAPI(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>welcome") })
	if err := c.Get(t.Context(), "/x", new(struct{})); err == nil || !strings.Contains(err.Error(), "Check HOLDFAST_URL") {
		t.Errorf("%v", err)
	}
}

// A token is got once, again when it is refused, and never for what it cannot be
// got for.
func TestSignIn(t *testing.T) {
	signed, good := 0, "1"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/contoso.com/oauth2/v2.0/token" {
			signed++
			if r.FormValue("client_secret") != "s3cret" {
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, `{"error":"invalid_client","error_description":"The secret is wrong.\r\nTrace: 1"}`)
				return
			}
			fmt.Fprintf(w, `{"access_token":"%d","expires_in":3600}`, signed)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, `{}`)
	}))
	defer s.Close()
	cfg := Config{URL: s.URL, Authority: s.URL, Tenant: "contoso.com", ClientID: "app", ClientSecret: "s3cret"}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Get(t.Context(), "/x", nil); err != nil || signed != 1 {
			t.Fatalf("%v after %d tokens", err, signed)
		}
	}
	good = "2"
	if err := c.Get(t.Context(), "/x", nil); err != nil || signed != 2 {
		t.Errorf("%v after %d tokens", err, signed)
	}
	good = "none"
	if err := c.Get(t.Context(), "/x", nil); err == nil || signed != 3 {
		t.Errorf("%v after %d tokens", err, signed)
	}
	cfg.ClientSecret = "wrong-s3cret"
	if c, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	err = c.SignIn(t.Context())
	if _, ok := errors.AsType[*SignInError](err); !ok || err.Error() != "no token: The secret is wrong (401 invalid_client)" {
		t.Errorf("%v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg.ClientSecret); strings.Contains(text, "s3cret") {
		t.Errorf("the secret is shown: %s", text)
	}
}

func TestFromEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	app := "HOLDFAST_TENANT=t HOLDFAST_CLIENT_ID=c HOLDFAST_CLIENT_SECRET=s "
	for _, row := range []struct {
		env, fails string
		check      func(Config) bool
	}{
		{"", ErrNoCredentials.Error(), func(c Config) bool { return c.URL == DefaultURL && c.Loopback() }},
		{"HOLDFAST_TOKEN=t", "", func(c Config) bool { return c.Token == "t" && c.Authority == DefaultURL }},
		{app + "HOLDFAST_URL=https://h.example.com/", "", func(c Config) bool {
			return c.URL == "https://h.example.com" && c.Authority == "https://login.microsoftonline.com"
		}},
		{app + "HOLDFAST_URL=https://[::1]:1" + Root, "", func(c Config) bool { return c.Authority == "https://[::1]:1" }},
		{"HOLDFAST_TENANT=t HOLDFAST_CLIENT_ID=c HOLDFAST_CLIENT_SECRET_FILE=" + file, "", func(c Config) bool { return c.ClientSecret == "from file" }},
		{"HOLDFAST_TENANT=t", "HOLDFAST_CLIENT_ID is not set", nil},
		{app + "HOLDFAST_USER=u", "HOLDFAST_PASSWORD", nil},
		{app + "HOLDFAST_URL=ftp://x", "is not an address", nil},
		{app + "HOLDFAST_URL=https://x/backup", "give the origin alone", nil},
		{app + "HOLDFAST_URL=http://h.example.com", "plain text", nil},
		{app + "HOLDFAST_URL=http://h.example.com HOLDFAST_ALLOW_HTTP=1", "", func(c Config) bool { return c.URL == "http://h.example.com" }},
		{app + "HOLDFAST_AUTHORITY=http://h.example.com", "HOLDFAST_AUTHORITY: http://h.example.com would send secrets", nil},
		{app + "HOLDFAST_CA_FILE=/nowhere", "HOLDFAST_CA_FILE: open /nowhere", nil},
	} {
		env := map[string]string{}
		for _, pair := range strings.Fields(row.env) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		cfg, err := FromEnv(func(name string) string { return env[name] })
		if row.fails == "" && err != nil || row.fails != "" && (err == nil || !strings.Contains(err.Error(), row.fails)) {
			t.Errorf("%s: %v, want %q", row.env, err, row.fails)
		}
		if row.check != nil && !row.check(cfg) {
			t.Errorf("%s: %+v", row.env, cfg)
		}
	}
}
