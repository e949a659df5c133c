package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

const (
	idleTime    = 8 * time.Hour  // after which a session that is not used ends
	sessionLife = 24 * time.Hour // after which it ends however it is used
	maxSessions = 10_000         // of all people; beyond, the longest unused ends
	maxNotes    = 20             // that wait to be shown
)

// A person is who signed in.
type person struct {
	Tenant, ID, Name, Username string
}

// A session is one person at one browser. The browser has its id and nothing
// else; the tokens stay here.
type session struct {
	id      string
	csrf    string // what forms of this session carry
	person  person
	created time.Time

	used atomic.Int64 // nanoseconds since 1970

	mu      sync.Mutex
	tokens  tokens
	api     *client.Client // with tokens.Access
	notes   []note
	people  tokens             // for the directory
	browses map[string]browsed // browse sessions that were looked into, by their ids
}

// A note is said once, on the next page.
type note struct {
	Kind string // good or bad
	Text string
}

// say has a note shown on the next page.
func (s *session) say(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notes) < maxNotes {
		s.notes = append(s.notes, note{kind, text})
	}
}

// heard returns the notes that were not shown yet.
func (s *session) heard() []note {
	s.mu.Lock()
	defer s.mu.Unlock()
	notes := s.notes
	s.notes = nil
	return notes
}

// sessions are those of all people, in memory: they end with the process.
type sessions struct {
	clock backup.Clock
	mu    sync.Mutex
	byID  map[string]*session
}

// begin returns a new session of a person.
func (l *sessions) begin(p person, t tokens, api *client.Client) *session {
	now := l.clock()
	s := &session{id: rand.Text(), csrf: rand.Text(), person: p, created: now, tokens: t, api: api, browses: map[string]browsed{}}
	s.used.Store(now.UnixNano())
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byID) >= maxSessions {
		maps.DeleteFunc(l.byID, func(_ string, s *session) bool { return s.over(now) })
	}
	if len(l.byID) >= maxSessions {
		oldest := slices.MinFunc(slices.Collect(maps.Values(l.byID)), func(a, b *session) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
		delete(l.byID, oldest.id)
	}
	l.byID[s.id] = s
	return s
}

func (s *session) over(now time.Time) bool {
	return now.Sub(time.Unix(0, s.used.Load())) >= idleTime || now.Sub(s.created) >= sessionLife
}

// session returns that of a request, or nil.
func (c *Console) session(r *http.Request) *session {
	cookie, err := r.Cookie(c.cookieName(r, sessionCookie))
	if err != nil {
		return nil
	}
	return c.sessions.find(cookie.Value)
}

// find returns the session of an id, or nil.
func (l *sessions) find(id string) *session {
	now := l.clock()
	l.mu.Lock()
	s := l.byID[id]
	l.mu.Unlock()
	if s == nil {
		return nil
	}
	if s.over(now) {
		l.end(s)
		return nil
	}
	s.used.Store(now.UnixNano())
	return s
}

func (l *sessions) end(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byID, s.id)
}

// client returns the API as the session's person may use it. It renews the
// token when that is about to expire.
func (c *Console) client(ctx context.Context, s *session) (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens.Expires.Sub(c.cfg.Clock()) > time.Minute {
		return s.api, nil
	}
	if s.tokens.Refresh == "" {
		return nil, errSignedOut
	}
	renewed, err := c.refresh(ctx, s.tokens.Refresh, c.cfg.SignIn.Scope)
	if err != nil {
		return nil, err
	}
	api, err := c.clientFor(renewed.Access)
	if err != nil {
		return nil, err
	}
	s.tokens, s.api = renewed, api
	return api, nil
}

// clientFor is the API with a token.
func (c *Console) clientFor(token client.Secret) (*client.Client, error) {
	return client.New(client.Config{URL: "http://" + apiHost, Token: token, Transport: c.api})
}

// apiHost stands for the API in requests that do not leave the process.
const apiHost = "holdfast.invalid"

// Cookies. Over HTTPS their names say that no other host can have set them.
const (
	sessionCookie = "holdfast-session"
	signInCookie  = "holdfast-sign-in"
)

// cookieName is the name of a cookie as this request's browser has it.
func (c *Console) cookieName(r *http.Request, name string) string {
	if c.secure(r) {
		return "__Host-" + name
	}
	return name
}

// secure reports whether the browser came by HTTPS, as far as this server can
// tell. Only the marking of cookies and the address to come back to depend on it.
func (c *Console) secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(c.cfg.PublicURL, "https://") || r.Header.Get("X-Forwarded-Proto") == "https"
}

// setCookie keeps a value in the browser for a while; for none, it is dropped.
func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, name, value string, life time.Duration) {
	age := int(life / time.Second)
	if age == 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: c.cookieName(r, name), Value: value, Path: "/", MaxAge: age,
		Secure: c.secure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
