package console

import (
	"cmp"
	"context"
	"crypto/rand"
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

// A visitor is a browser with somebody before it, who has signed in to one tenant or to
// several. The browser has its id and nothing else.
type visitor struct {
	id       string
	sessions []*session // one for each tenant, in the order of signing in; never changed in place
}

// A session is one person in one tenant. Its tokens stay here.
type session struct {
	csrf    string // what forms of this session carry, and no others
	person  person
	tenant  string // what the tenant is called
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
	byID  map[string]*visitor
	count int // of all sessions
}

// begin adds a session of a person to those of a visitor, nil for a new one. Whoever it
// was has another id from now on, and one session of each tenant, the new.
func (l *sessions) begin(of *visitor, p person, tenant string, t tokens, api *client.Client) (*visitor, *session) {
	now := l.clock()
	s := &session{csrf: rand.Text(), person: p, tenant: tenant, created: now, tokens: t, api: api, browses: map[string]browsed{}}
	s.used.Store(now.UnixNano())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= maxSessions {
		l.keep(func(s *session) bool { return !s.over(now) })
	}
	for l.count >= maxSessions {
		var unused *session
		for _, v := range l.byID {
			for _, s := range v.sessions {
				if unused == nil || s.used.Load() < unused.used.Load() {
					unused = s
				}
			}
		}
		l.keep(func(s *session) bool { return s != unused })
	}
	v := &visitor{id: rand.Text()}
	if of != nil {
		if of = l.byID[of.id]; of != nil { // it may have ended meanwhile
			l.narrow(of, func(s *session) bool { return s.person.Tenant != p.Tenant })
			v.sessions = of.sessions
			delete(l.byID, of.id)
		}
	}
	v.sessions = append(slices.Clip(v.sessions), s)
	l.count++
	l.byID[v.id] = v
	return v, s
}

// keep ends the sessions that are not to be kept.
func (l *sessions) keep(keep func(*session) bool) {
	for _, v := range l.byID {
		l.narrow(v, keep)
	}
}

// narrow ends those of a visitor's sessions that are not to be kept, and the visitor with
// the last.
func (l *sessions) narrow(v *visitor, keep func(*session) bool) {
	var left []*session
	for _, s := range v.sessions {
		if keep(s) {
			left = append(left, s)
		}
	}
	l.count -= len(v.sessions) - len(left)
	if v.sessions = left; len(left) == 0 {
		delete(l.byID, v.id)
	}
}

func (s *session) over(now time.Time) bool {
	return now.Sub(time.Unix(0, s.used.Load())) >= idleTime || now.Sub(s.created) >= sessionLife
}

// find returns the visitor of an id, nil if there is none, and the sessions that are not
// over.
func (l *sessions) find(id string) (*visitor, []*session) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.byID[id]
	if v == nil {
		return nil, nil
	}
	l.narrow(v, func(s *session) bool { return !s.over(now) })
	if len(v.sessions) == 0 {
		return nil, nil
	}
	return v, v.sessions
}

// end ends one session of a visitor.
func (l *sessions) end(v *visitor, over *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.narrow(v, func(s *session) bool { return s != over })
}

// endAll ends all sessions of a visitor.
func (l *sessions) endAll(v *visitor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.narrow(v, func(*session) bool { return false })
}

// visitor returns who makes a request, nil if that is not known, and their sessions.
func (c *Console) visitor(r *http.Request) (*visitor, []*session) {
	cookie, err := r.Cookie(c.cookieName(r, sessionCookie))
	if err != nil {
		return nil, nil
	}
	return c.sessions.find(cookie.Value)
}

// in returns the session of a tenant, nil for none.
func in(tenant string, all []*session) *session {
	for _, s := range all {
		if s.person.Tenant == tenant {
			return s
		}
	}
	return nil
}

// last returns the session that was used last.
func last(all []*session) *session {
	return slices.MaxFunc(all, func(a, b *session) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
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
	renewed, err := c.refresh(ctx, s.person.Tenant, s.tokens.Refresh, c.cfg.SignIn.Scope)
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
	tenantCookie  = "holdfast-tenants" // the ids of those that were signed in to
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
