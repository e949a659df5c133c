package console

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

const (
	idleTime    = 8 * time.Hour  // after which a session that is not used ends
	sessionLife = 24 * time.Hour // after which it ends however it is used
	touchEvery  = time.Minute    // that a session was used is noted no more often
	maxNotes    = 20             // that wait to be shown
)

// A Keeper keeps sessions, each as a sign-in, where every process of an installation finds
// them, and over a restart. It can read nothing of what it keeps but when that began and
// ends. It is safe for concurrent use.
type Keeper interface {
	// SignIns returns a browser's sign-ins that are not over, in the order in which they
	// began, without their tokens.
	SignIns(ctx context.Context, browser string) ([]backup.SignIn, error)
	// SignInTokens returns the tokens of one, "" if it has ended.
	SignInTokens(ctx context.Context, browser string, tenant backup.TenantID) (string, error)
	// BeginSignIns has the sign-ins fresh begin, and those of the browser of go on as they
	// are in kept, but those that have ended. All others of that browser end.
	BeginSignIns(ctx context.Context, of string, kept, fresh []backup.SignIn) error
	// ChangeSignIn has one that was read as was be as is: its tokens and its notes if they
	// are those of was still, when it was used and ends if that is later. One that has
	// ended stays so.
	ChangeSignIn(ctx context.Context, was, is backup.SignIn) error
	// EndSignIns ends that of a browser in a tenant, "" for all.
	EndSignIns(ctx context.Context, browser string, tenant backup.TenantID) error
}

// A person is who signed in.
type person struct {
	Tenant, ID, Name, Username string
}

// A visitor is a browser with somebody before it, who has signed in to one tenant or to
// several. It has a secret and nothing else: from that follow the name that its sessions
// are kept by, and the key that they are sealed with.
type visitor struct {
	secret  string
	browser string
	sealer  cipher.AEAD
}

// newSecret is what a browser gets when somebody has signed in.
func newSecret() string {
	secret := make([]byte, 32)
	rand.Read(secret)
	return base64.RawURLEncoding.EncodeToString(secret)
}

// visitorOf returns the visitor whose secret that is.
func visitorOf(secret string) (*visitor, error) {
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) != 32 {
		return nil, errors.New("not the secret of a visitor")
	}
	name, err := hkdf.Key(sha256.New, raw, nil, "holdfast console: the browser", 16)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, raw, nil, "holdfast console: the seal", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sealer, err := cipher.NewGCM(block)
	return &visitor{secret, hex.EncodeToString(name), sealer}, err
}

// seal makes of a value what nobody reads without the visitor's secret, and what is nothing
// in another place than that of its kind in its tenant's session.
func (w *visitor) seal(tenant, kind string, value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, w.sealer.NonceSize())
	rand.Read(nonce)
	return base64.RawURLEncoding.EncodeToString(w.sealer.Seal(nonce, nonce, text, []byte(tenant+" "+kind))), nil
}

// unseal reads what seal has made.
func (w *visitor) unseal(tenant, kind, sealed string, value any) error {
	data, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(data) < w.sealer.NonceSize() {
		return errors.New("it is not as it was sealed")
	}
	n := w.sealer.NonceSize()
	text, err := w.sealer.Open(nil, data[:n], data[n:], []byte(tenant+" "+kind))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, value)
}

// The parts of a session, each sealed by itself: who is signed in is wanted by each page,
// and tokens by one of its session only.
const (
	anAbout = "about"
	aHolds  = "tokens"
	aNotes  = "notes"
)

// An about is what a session is about.
type about struct {
	CSRF    string // what forms of this session carry, and no others
	Person  person
	Tenant  string // what the tenant is called
	Created time.Time
}

// What a session holds: tokens of the API and, if they were wanted, of the directory.
type holds struct{ API, Directory tokens }

// A session is one person in one tenant, as a request sees it.
type session struct {
	of      *visitor
	csrf    string
	person  person
	tenant  string
	created time.Time

	mu    sync.Mutex
	kept  backup.SignIn // as it is kept, as far as this request knows
	holds *holds        // nil: not read yet
	api   *client.Client
	notes []note
}

// A note is said once, on the next page.
type note struct {
	Kind string // good or bad
	Text string
}

// newSession is a session that nobody has begun yet.
func (c *Console) newSession(p person, tenant string, t tokens) *session {
	now := c.cfg.Clock().UTC()
	return &session{csrf: rand.Text(), person: p, tenant: tenant, created: now, holds: &holds{API: t}, kept: backup.SignIn{Used: now}}
}

// ends is when a session does that was used last at a time.
func (s *session) ends(used time.Time) time.Time {
	if last := s.created.Add(sessionLife); last.Before(used.Add(idleTime)) {
		return last
	}
	return used.Add(idleTime)
}

// sealFor has a session be kept as one of a visitor.
func (s *session) sealFor(who *visitor) (err error) {
	s.of = who
	s.kept = backup.SignIn{Browser: who.browser, Tenant: backup.TenantID(s.person.Tenant), Created: s.created, Used: s.kept.Used, Expires: s.ends(s.kept.Used)}
	if s.kept.About, err = who.seal(s.person.Tenant, anAbout, about{s.csrf, s.person, s.tenant, s.created}); err != nil {
		return err
	}
	if s.kept.Tokens, err = who.seal(s.person.Tenant, aHolds, s.holds); err != nil {
		return err
	}
	if len(s.notes) > 0 {
		s.kept.Notes, err = who.seal(s.person.Tenant, aNotes, s.notes)
	}
	return err
}

// open reads a session that is kept.
func (c *Console) open(who *visitor, kept backup.SignIn) (*session, error) {
	var a about
	if err := who.unseal(string(kept.Tenant), anAbout, kept.About, &a); err != nil {
		return nil, err
	}
	s := &session{of: who, csrf: a.CSRF, person: a.Person, tenant: a.Tenant, created: a.Created, kept: kept}
	if kept.Notes != "" {
		if err := who.unseal(string(kept.Tenant), aNotes, kept.Notes, &s.notes); err != nil {
			c.cfg.Log.Warn("the notes of a session of the console are damaged", "err", err)
		}
	}
	if now := c.cfg.Clock(); s.person.Tenant != string(kept.Tenant) || s.csrf == "" || !now.Before(s.ends(kept.Used)) {
		return nil, errors.New("it is over")
	}
	return s, nil
}

// noSessions is what a person is told when the sessions cannot be had.
func (c *Console) noSessions(err error) error {
	c.cfg.Log.Warn("the sessions of the console cannot be had", "err", err)
	return &problem{http.StatusServiceUnavailable, "Not now", "The server's database does not answer, so that it is not known who is signed in. Try again in a minute."}
}

// find returns the visitor that has a secret, and their sessions, none if there are none. One
// that is damaged is none. What fails is said to the person, here and below.
func (c *Console) find(ctx context.Context, secret string) (*visitor, []*session, error) {
	who, err := visitorOf(secret)
	if err != nil {
		return nil, nil, nil
	}
	kept, err := c.cfg.Sessions.SignIns(ctx, who.browser)
	if err != nil {
		return nil, nil, c.noSessions(err)
	}
	var all []*session
	for _, k := range kept {
		s, err := c.open(who, k)
		if err != nil {
			c.cfg.Log.Warn("a session of the console cannot be gone on with", "tenant", k.Tenant, "err", err)
			continue
		}
		all = append(all, s)
	}
	return who, all, nil
}

// begin has sessions begin beside those that a visitor has, nil for none. Whoever it was has
// another secret from now on, and one session of each tenant, the fresh one before another.
func (c *Console) begin(ctx context.Context, of *visitor, all []*session, fresh ...*session) (*visitor, []*session, error) {
	who, err := visitorOf(newSecret())
	if err != nil {
		return nil, nil, err
	}
	var goOn []*session
	for _, s := range all {
		if in(s.person.Tenant, fresh) != nil {
			continue
		}
		s.mu.Lock()
		err := c.readHolds(ctx, s)
		s.mu.Unlock()
		if errors.Is(err, errSignedOut) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		goOn = append(goOn, s)
	}
	all = append(goOn, fresh...)
	kept := make([]backup.SignIn, len(all))
	for i, s := range all {
		if err := s.sealFor(who); err != nil {
			return nil, nil, err
		}
		kept[i] = s.kept
	}
	before := ""
	if of != nil {
		before = of.browser
	}
	if err := c.cfg.Sessions.BeginSignIns(ctx, before, kept[:len(goOn)], kept[len(goOn):]); err != nil {
		return nil, nil, c.noSessions(err)
	}
	return who, all, nil
}

// end ends a session.
func (c *Console) end(ctx context.Context, s *session) error {
	return c.cfg.Sessions.EndSignIns(ctx, s.of.browser, backup.TenantID(s.person.Tenant))
}

// change has a session be kept otherwise. s.mu is held.
func (c *Console) change(ctx context.Context, s *session, is backup.SignIn) {
	if err := c.cfg.Sessions.ChangeSignIn(ctx, s.kept, is); err != nil {
		c.cfg.Log.Warn("a change of a session of the console could not be kept", "err", err)
		return // what is not kept is asked for again
	}
	s.kept = is
}

// touch notes that a session is used, unless it is known well enough.
func (c *Console) touch(ctx context.Context, s *session, all []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := c.cfg.Clock().UTC()
	if now.Sub(s.kept.Used) < touchEvery && last(all) == s {
		return
	}
	is := s.kept
	is.Used, is.Expires = now, s.ends(now)
	c.change(ctx, s, is)
}

// say has a note shown on the next page, of whichever process.
func (v *visit) say(kind, text string) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if len(v.s.notes) < maxNotes {
		v.s.notes = append(v.s.notes, note{kind, text})
		v.keepNotes()
	}
}

// heard returns the notes that were not shown yet.
func (v *visit) heard() []note {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	notes := v.s.notes
	if v.s.notes = nil; v.s.kept.Notes != "" {
		v.keepNotes()
	}
	return notes
}

// keepNotes keeps the notes as they are. v.s.mu is held.
func (v *visit) keepNotes() {
	is := v.s.kept
	is.Notes = ""
	if len(v.s.notes) > 0 {
		sealed, err := v.s.of.seal(v.s.person.Tenant, aNotes, v.s.notes)
		if err != nil {
			v.cfg.Log.Warn("a note of the console could not be kept", "err", err)
			return
		}
		is.Notes = sealed
	}
	v.change(v.ctx(), v.s, is)
}

// visitor returns who makes a request, nil if that is not known, and their sessions.
func (c *Console) visitor(r *http.Request) (*visitor, []*session, error) {
	cookie, err := r.Cookie(c.cookieName(r, sessionCookie))
	if err != nil {
		return nil, nil, nil
	}
	return c.find(r.Context(), cookie.Value)
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
	return slices.MaxFunc(all, func(a, b *session) int { return a.kept.Used.Compare(b.kept.Used) })
}

// readHolds has a session know its tokens. It fails with errSignedOut if they are not there
// any more, or damaged. s.mu is held.
func (c *Console) readHolds(ctx context.Context, s *session) error {
	if s.holds != nil {
		return nil
	}
	sealed, err := c.cfg.Sessions.SignInTokens(ctx, s.of.browser, backup.TenantID(s.person.Tenant))
	if err != nil {
		return c.noSessions(err)
	}
	if sealed == "" {
		return errSignedOut
	}
	var h holds
	if err := s.of.unseal(s.person.Tenant, aHolds, sealed, &h); err != nil {
		c.cfg.Log.Warn("the tokens of a session of the console are damaged", "tenant", s.person.Tenant, "err", err)
		return errSignedOut
	}
	s.kept.Tokens, s.holds = sealed, &h
	return nil
}

// keepHolds keeps other tokens of a session. Where another request was faster, its stay.
// s.mu is held.
func (c *Console) keepHolds(ctx context.Context, s *session, h holds) error {
	sealed, err := s.of.seal(s.person.Tenant, aHolds, h)
	if err != nil {
		return err
	}
	is := s.kept
	is.Tokens = sealed
	c.change(ctx, s, is)
	s.holds = &h
	return nil
}

// client returns the API as the session's person may use it. It renews the
// token when that is about to expire.
func (c *Console) client(ctx context.Context, s *session) (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.readHolds(ctx, s); err != nil {
		return nil, err
	}
	if s.holds.API.Expires.Sub(c.cfg.Clock()) <= time.Minute {
		if err := c.renew(ctx, s); err != nil {
			return nil, err
		}
		s.api = nil // which has the former
	}
	if s.api == nil {
		api, err := c.clientFor(s.holds.API.Access)
		if err != nil {
			return nil, err
		}
		s.api = api
	}
	return s.api, nil
}

// renew gets new tokens for a session. It fails with errSignedOut if there are none to be
// had. s.mu is held.
func (c *Console) renew(ctx context.Context, s *session) error {
	if s.holds.API.Refresh == "" {
		return errSignedOut
	}
	renewed, err := c.refresh(ctx, s.person.Tenant, s.holds.API.Refresh, c.signIn().Scope)
	if errors.Is(err, errSignedOut) { // unless somebody else has renewed them, and so used up ours
		ours := s.kept.Tokens
		s.holds = nil
		if again := c.readHolds(ctx, s); again != nil {
			return again
		}
		if s.kept.Tokens != ours {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return c.keepHolds(ctx, s, holds{renewed, s.holds.Directory})
}

// clientFor is the API with a token.
func (c *Console) clientFor(token client.Secret) (*client.Client, error) {
	return client.New(client.Config{URL: "http://" + apiHost, Token: token, Transport: c.api})
}

// apiHost stands for the API in requests that do not leave the process.
const apiHost = "holdfast.invalid"

// Cookies. Over HTTPS their names say that no other host can have set them.
const (
	sessionCookie = "holdfast-session" // the visitor's secret
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
