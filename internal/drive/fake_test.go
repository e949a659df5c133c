package drive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/drive"
	"holdfast/internal/quickxor"
)

const (
	tenant = "c0ffee00-5a3e-4d7b-9c1f-365365365365"
	secret = "the-secret"
)

// A source is a scripted Graph and authority, for what a well-behaved one does
// not do. Requests that no handler takes fail the test.
type source struct {
	*httptest.Server
	t testing.TB

	mu     sync.Mutex
	routes map[string]http.HandlerFunc // by method and path
	log    []string                    // of Graph requests: method and path
	tokens int                         // given so far
}

func newSource(t testing.TB) *source {
	s := &source{t: t, routes: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.on("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		for name, want := range map[string]string{
			"grant_type": "client_credentials", "client_id": "app", "client_secret": secret,
			"scope": "https://graph.microsoft.com/.default",
		} {
			if got := r.PostFormValue(name); got != want {
				t.Errorf("token request: %s = %q, want %q", name, got, want)
			}
		}
		s.mu.Lock()
		s.tokens++
		n := s.tokens
		s.mu.Unlock()
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"token-%d"}`, n)
	})
	s.on(rootPath, rootJSON)
	return s
}

func (s *source) on(route string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes[route] = h
}

// answers makes each request to route get the next of the handlers, and the
// last one again when they are used up.
func (s *source) answers(route string, hs ...http.HandlerFunc) {
	var mu sync.Mutex
	s.on(route, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := hs[0]
		if len(hs) > 1 {
			hs = hs[1:]
		}
		mu.Unlock()
		h(w, r)
	})
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := r.Method + " " + r.URL.Path
	s.mu.Lock()
	h := s.routes[route]
	if !strings.Contains(route, "oauth2") {
		s.log = append(s.log, route)
	}
	s.mu.Unlock()
	if h == nil {
		s.t.Errorf("unexpected request %s", route)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	h(w, r)
}

// requests returns the Graph requests so far.
func (s *source) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

// A clock moves when someone sleeps.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

func (c *clock) total() (d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slept {
		d += s
	}
	return d
}

func (s *source) client(clk *clock, change ...func(*drive.Config)) *drive.Client {
	cfg := drive.Config{
		Graph: s.URL + "/v1.0", Authority: s.URL, Tenant: tenant, ClientID: "app", Credential: drive.Secret(secret),
		HTTP: s.Client(), Clock: clk.Now, Sleep: clk.Sleep,
	}
	for _, f := range change {
		f(&cfg)
	}
	return drive.New(cfg)
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func refuse(status int, code, inner, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
			"code": code, "message": message,
			"innerError": map[string]any{"code": inner, "request-id": "req-7"},
		}})
	}
}

func reply(format string, args ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, format, args...) }
}

// broken closes the connection without an answer.
func broken(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func hashOf(b []byte) string {
	h := quickxor.Sum(b)
	return quickxor.Encode(h[:])
}

// fileJSON is an item of a file with the given content.
func fileJSON(id, cTag string, content []byte) string {
	return fmt.Sprintf(`{"id":%q,"name":%q,"size":%d,"cTag":%q,"eTag":"e","file":{"hashes":{"quickXorHash":%q}},"parentReference":{"id":"P"}}`,
		id, id+".bin", len(content), cTag, hashOf(content))
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	return b
}

func readAll(t *testing.T, r io.ReadCloser) ([]byte, error) {
	t.Helper()
	defer r.Close()
	var b bytes.Buffer
	_, err := io.Copy(&b, r)
	return b.Bytes(), err
}
