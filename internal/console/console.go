// Package console serves Holdfast's web pages: is everything protected, what
// failed and why, can I get this file back now.
//
// It is a client of the public API and nothing else. Each page is made of
// answers to requests that carry the signed-in person's own token, so that what
// a person may do here is what their token may do anywhere.
//
// It promises that no token ever reaches the browser, which holds a secret and no more; that
// no token is kept anywhere but sealed with what only the browser has; that nothing is changed by a request which was not made
// from one of its own pages; that no page runs or loads anything that is not in
// this package; and that it works without script, which only makes it livelier.
package console

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// A Config is what a Console is made of.
type Config struct {
	API      http.Handler // the Backup Storage API; required
	Sessions Keeper       // required
	SignIn   SignIn
	// PublicURL is the origin by which people call the console. Empty: that of
	// the request.
	PublicURL string
	HTTP      *http.Client // for the token endpoint; nil: one of its own
	Clock     backup.Clock // nil: time.Now
	Log       *slog.Logger // nil: slog.Default
}

// A Console is the pages, below /console/, as an http.Handler. It is safe for
// concurrent use.
type Console struct {
	cfg      Config
	follows  atomic.Pointer[SignIn] // see Follow
	api      http.RoundTripper
	mux      *http.ServeMux
	origins  *http.CrossOriginProtection
	patience time.Duration   // rowTime, but in tests
	browses  memory[browsed] // by browse session
	restored memory[string]  // what a restore is of, by its id
}

// New returns a console. It fails when the configuration lacks something.
func New(cfg Config) (*Console, error) {
	if cfg.API == nil || cfg.Sessions == nil || cfg.SignIn.ClientID == "" || cfg.SignIn.Tenant == "" || cfg.SignIn.Scope == "" {
		return nil, errors.New("the console needs an API, a keeper of its sessions, and an application and a tenant to sign people in with")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if cfg.HTTP.Transport == nil {
		cfg.HTTP.Transport = http.DefaultTransport
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	c := &Console{cfg: cfg, patience: rowTime, api: within{cfg.API}, origins: http.NewCrossOriginProtection()}
	if cfg.PublicURL != "" { // a proxy may call us by another name
		if err := c.origins.AddTrustedOrigin(cfg.PublicURL); err != nil {
			return nil, err
		}
	}
	c.Follow(cfg.SignIn)
	c.route()
	return c, nil
}

// Follow has people sign in from now on as another configuration says. Whoever is at it
// begins again, if that no longer fits; those who are signed in stay so for as long as the
// application's tokens are renewed.
func (c *Console) Follow(how SignIn) { c.follows.Store(&how) }

// signIn is how people sign in now.
func (c *Console) signIn() *SignIn { return c.follows.Load() }

// Serves reports whether a path is the console's.
func Serves(path string) bool { return path == "/console" || strings.HasPrefix(path, "/console/") }

// policy is what browsers may do with a page: load what is ours, and be framed
// by nobody.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

const formLimit = 16 << 20 // a CSV of 50,000 people has room

// ServeHTTP answers a request.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = inTenant(r)
	defer func() {
		if why := recover(); why != nil {
			if why == http.ErrAbortHandler {
				panic(why)
			}
			c.cfg.Log.Error("a page of the console panicked", "path", r.URL.Path, "why", why, "stack", string(debug.Stack()))
			c.refuse(w, r, http.StatusInternalServerError, "Something went wrong", "The server could not make this page. Its log says why.")
		}
	}()
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if err := c.origins.Check(r); err != nil {
		c.refuse(w, r, http.StatusForbidden, "This was not asked from here", "The request came from another site, and was not carried out.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, formLimit)
	c.mux.ServeHTTP(w, r)
}

// route says which page is where.
func (c *Console) route() {
	c.mux = http.NewServeMux()
	open := func(pattern string, h http.HandlerFunc) { c.mux.HandleFunc(pattern, h) }
	page := func(pattern string, h func(*visit) error) { c.mux.Handle(pattern, c.signedIn(h, pageTime)) }

	open("GET /console", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/console/", http.StatusSeeOther) })
	open("GET /console/static/{name}", c.static)
	open("GET /console/sign-in", c.beginSignIn)
	open("GET /console/signed-in", c.endSignIn)
	open("GET /console/signed-out", func(w http.ResponseWriter, r *http.Request) {
		c.render(w, r, nil, http.StatusOK, "signed-out", "Signed out", nil, nil)
	})
	page("POST /console/sign-out", signOut)
	page("GET /console/tenants", listTenants)
	page("POST /console/tenants/{do}", changeTenants)
	page("GET /console/{$}", overview)
	page("GET /console/policies", listPolicies)
	page("GET /console/policies/new", newPolicy)
	page("POST /console/policies/new", createPolicy)
	page("GET /console/policies/{id}", showPolicy)
	page("POST /console/policies/{id}/{do}", changePolicy)
	page("GET /console/policies/{id}/excluded", excluded)
	page("POST /console/policies/{id}/excluded", changeExcluded)
	page("GET /console/policies/{id}/add", addPeople)
	page("POST /console/policies/{id}/add", addPeople)
	page("GET /console/policies/{id}/explain", explainUnit)
	page("GET /console/find", findEverywhere)
	page("GET /console/units", listUnits)
	page("GET /console/units/{id}", showUnit)
	page("GET /console/points/{id}", showPoint)
	page("POST /console/units/{id}/browse", browseUnit)
	page("GET /console/units/{id}/find", findInUnit)
	page("GET /console/units/{id}/changes", showChanges)
	page("GET /console/units/{id}/mail", findMail)
	page("POST /console/units/{id}/mail", restoreMail)
	page("POST /console/points/{id}/browse", browsePoint)
	page("GET /console/points/{id}/mail", readMailbox)
	c.mux.Handle("GET /console/points/{id}/mail/file", c.signedIn(sendMail, 0)) // as long as it takes
	page("GET /console/browse/{session}", browse)
	page("GET /console/browse/{session}/preview", previewFile)
	c.mux.Handle("GET /console/browse/{session}/file", c.signedIn(sendFile, 0)) // as long as it takes
	c.mux.Handle("GET /console/browse/{session}/pdf/{name}", c.signedIn(sendPDF, 0))
	c.mux.Handle("GET /console/browse/{session}/zip", c.signedIn(sendZip, 0))
	c.mux.Handle("POST /console/browse/{session}/zip", c.signedIn(sendZip, 0))
	page("GET /console/browse/{session}/restore", restoreItems)
	page("POST /console/browse/{session}/restore", restoreItems)
	page("GET /console/points/{id}/restore", restoreUnit)
	page("POST /console/points/{id}/restore", restoreUnit)
	page("GET /console/restores", listRestores)
	page("GET /console/restores/{id}", showRestore)
	page("POST /console/restores/{id}/{do}", changeRestore)
	page("GET /console/approvals", listApprovals)
	page("POST /console/approvals/{id}/{do}", decideApproval)
	page("GET /console/jobs", listJobs)
	page("GET /console/jobs/{id}", showJob)
	page("GET /console/audit", listAudit)
	page("GET /console/health", showHealth)
	page("GET /console/settings", showSettings)
	page("POST /console/settings", changeSettings)
	page("/console/", func(*visit) error { return errNoPage })
}

var errNoPage = &problem{http.StatusNotFound, "There is no such page", "The address may be mistyped, or of another version."}

// A problem is what a page says instead of what was asked for.
type problem struct {
	status      int
	title, text string
}

func (p *problem) Error() string { return p.title + ": " + p.text }

// A visit is one request of a person who is signed in.
type visit struct {
	*Console
	w   http.ResponseWriter
	r   *http.Request
	who *visitor
	all []*session // of the visitor
	s   *session   // of the tenant that the address names
	api *client.Client
	of  string // the thing that the page is of, as the API has it; "" for the tenant
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// pageTime is how long a page may take, which is mostly how long it waits for a
// server that asks to come later.
const pageTime = 20 * time.Second

// signedIn has h serve those who are signed in to the tenant that the address names,
// within a time if limit is not 0, and sends the others to sign in. An address that names
// none leads to the tenant that was looked at last, and changes nothing.
func (c *Console) signedIn(h func(*visit) error, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Console: c, w: w, r: r}
		tenant := tenantOf(r)
		var err error
		if v.who, v.all, err = c.visitor(r); err != nil {
			p := explain(err)
			c.refuse(w, r, p.status, p.title, p.text)
			return
		}
		if tenant == "" && len(v.all) > 0 {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				c.refuse(w, r, http.StatusForbidden, "This form is of no tenant", "Go back, load the page again and repeat what you did.")
				return
			}
			http.Redirect(w, r, at(last(v.all).person.Tenant, r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		if v.s = in(tenant, v.all); v.s == nil {
			c.askToSignIn(w, r)
			return
		}
		c.touch(r.Context(), v.s, v.all)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := v.checkForm(); err != nil {
				c.fail(r, v, err)
				return
			}
		}
		ctx := r.Context()
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		v.r = r.WithContext(ctx)
		if v.api, err = c.client(ctx, v.s); err == nil {
			err = h(v)
		}
		if err != nil {
			c.fail(r, v, err)
		}
	})
}

// checkForm refuses a form that is none of the session's.
func (v *visit) checkForm() error {
	var err error
	if strings.HasPrefix(v.r.Header.Get("Content-Type"), "multipart/form-data") {
		err = v.r.ParseMultipartForm(formLimit)
	} else {
		err = v.r.ParseForm()
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &problem{http.StatusRequestEntityTooLarge, "That is too large", "The file is larger than 16 MB. Split it, or use 'holdfast drive add --from-csv'."}
	}
	if err != nil {
		return &problem{http.StatusBadRequest, "The form could not be read", "Go back and try again."}
	}
	if subtle.ConstantTimeCompare([]byte(v.r.PostFormValue("csrf")), []byte(v.s.csrf)) != 1 {
		return &problem{http.StatusForbidden, "This form is of another session", "You signed in anew since the page was loaded, or it is of another tenant. Go back, load it again and repeat what you did."}
	}
	return nil
}

// askToSignIn sends a person to sign in and back to the page they wanted.
func (c *Console) askToSignIn(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Live") != "" { // asked by script, which would only follow
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	q := url.Values{"to": {"/console/"}}
	if r.Method == http.MethodGet {
		q.Set("to", r.URL.RequestURI())
	}
	if tenant := tenantOf(r); tenant != "" {
		q.Set("tenant", tenant)
	}
	http.Redirect(w, r, "/console/sign-in?"+q.Encode(), http.StatusSeeOther)
}

// redirect sends the browser to another page, after a form was carried out.
func (v *visit) redirect(to string) error {
	http.Redirect(v.w, v.r, at(v.s.person.Tenant, to), http.StatusSeeOther)
	return nil
}

// show answers with a page.
func (v *visit) show(name, title string, data any) error {
	v.render(v.w, v.r, v, http.StatusOK, name, title, data, v.permits())
	return nil
}

// A view is what every page is made of.
type view struct {
	Title   string
	Section string // of the navigation
	Person  *person
	Switch  *tenantSwitch // nil where there is one tenant only
	CSRF    string
	Notes   []note
	Now     time.Time
	May     permits
	Data    any
}

// render writes a page of a visit, nil for none. It is made whole before its first byte is
// sent, and all its links are of the visit's tenant.
func (c *Console) render(w http.ResponseWriter, r *http.Request, v *visit, status int, name, title string, data any, may permits) {
	section, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/console/"), "/")
	view := view{Title: title, Section: section, Now: c.cfg.Clock().UTC(), May: may, Data: data}
	if v != nil {
		view.Person, view.CSRF, view.Switch = &v.s.person, v.s.csrf, v.tenantSwitch()
		if r.Header.Get("X-Live") == "" { // else nobody would read them
			view.Notes = v.heard()
		}
	}
	var page bytes.Buffer
	if err := pages()[name].ExecuteTemplate(&page, "layout", view); err != nil {
		c.cfg.Log.Error("a page of the console could not be made", "page", name, "err", err)
		http.Error(w, "The server could not make this page. Its log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if v != nil {
		w.Write(linkedWithin(v.s.person.Tenant, unturned(page.Bytes())))
		return
	}
	w.Write(unturned(page.Bytes()))
}

// refuse answers with a page that says why there is no other.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	var v *visit
	if who, all, err := c.visitor(r); err == nil && in(tenantOf(r), all) != nil {
		v = &visit{Console: c, w: w, r: r, who: who, all: all, s: in(tenantOf(r), all)}
	}
	c.render(w, r, v, status, "problem", title, struct{ Text string }{text}, nil)
}

// fail answers a visit with a page that says what went wrong, and what to do.
func (c *Console) fail(r *http.Request, v *visit, err error) {
	if errors.Is(err, errSignedOut) {
		if err := c.end(r.Context(), v.s); err != nil {
			c.cfg.Log.Warn("a session of the console could not be ended", "err", err)
		}
		c.askToSignIn(v.w, r)
		return
	}
	if r.Context().Err() != nil {
		return // nobody is there to read it
	}
	p := explain(err)
	if p.status >= http.StatusInternalServerError {
		c.cfg.Log.Warn("a page of the console failed", "path", r.URL.Path, "err", err)
	}
	c.render(v.w, r, v, p.status, "problem", p.title, struct{ Text string }{p.text}, nil)
}

// notAccepted is said of tokens that the API does not take.
const notAccepted = "The server does not accept your sign-in"

// explain says of an error what it means to a person.
func explain(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return &problem{http.StatusBadGateway, "The server did not answer", "Try again. If it stays so, the server's log says why."}
	}
	p := &problem{e.Status, "That was not possible", e.Message}
	switch e.Status {
	case http.StatusUnauthorized:
		p.title, p.text = notAccepted, "It may serve another tenant, or want a token for another application: the address 'audiences' and 'issuers' in its configuration must be those of the console's sign-in. "+e.Message
		p.status = http.StatusForbidden
	case http.StatusForbidden:
		p.title = "You may not do that"
	case http.StatusNotFound:
		p.title = "That is not there"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		p.title = "Not now"
	}
	for _, d := range e.Details {
		if d.Message != "" {
			p.text += " " + d.Message
		}
	}
	if e.RequestID != "" && e.Status >= 500 {
		p.text += " (request " + e.RequestID + ")"
	}
	return p
}

// signOut ends the sessions in all tenants, at every process.
func signOut(v *visit) error {
	if err := v.cfg.Sessions.EndSignIns(v.ctx(), v.who.browser, ""); err != nil {
		return v.noSessions(err)
	}
	v.setCookie(v.w, v.r, sessionCookie, "", 0)
	http.Redirect(v.w, v.r, "/console/signed-out", http.StatusSeeOther)
	return nil
}

func asProblem(err error) (*problem, bool) { return errors.AsType[*problem](err) }

func isSignedOut(err error) bool { return errors.Is(err, errSignedOut) }
