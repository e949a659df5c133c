package simtenant

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The authorization code flow with PKCE, as web applications sign people in.
// Where Entra asks for a password, the page lists the tenant's users, and one
// click on a name is the proof: it is a development tenant.

const (
	codeLife    = 10 * time.Minute
	refreshLife = 90 * 24 * time.Hour
	codeLimit   = 1000 // codes not yet redeemed
	shownUsers  = 200  // on the page; others are found by their names
)

// signIns are the codes that were given out and not yet redeemed.
type signIns struct {
	sync.Mutex
	codes map[string]signIn
}

// A signIn is who chose to sign in where.
type signIn struct {
	tenant, app, user          string // ids
	redirect, challenge, nonce string
	scope                      string
	until                      time.Time
}

// idClaims are those of a token that tells an application who signed in.
type idClaims struct {
	jwt.RegisteredClaims
	For      string `json:"aud"` // as Entra has it, a text and no list
	Version  string `json:"ver"`
	Tenant   string `json:"tid"`
	Object   string `json:"oid"`
	Name     string `json:"name,omitempty"`
	Username string `json:"preferred_username,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
}

var signInPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in to {{.Tenant}}</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 28rem; margin: 3rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 0 .5rem }
ul { list-style: none; margin: 1rem 0; padding: 0 }
li { margin: .4rem 0 }
button { font: inherit; width: 100%; text-align: left; padding: .6rem .8rem; border: 1px solid #767676; border-radius: .4rem; background: transparent; color: inherit; cursor: pointer }
button:hover, button:focus-visible { outline: 2px solid #2f6feb; border-color: #2f6feb }
button small { display: block; opacity: .8 }
input { font: inherit; padding: .5rem; width: 100%; box-sizing: border-box }
</style>
</head>
<body>
<main>
<h1>Sign in to {{.Tenant}}</h1>
<p>{{.App}} asks who you are. This tenant is simulated: a click on a name is enough.</p>
<form method="get">
{{range $name, $values := .Asked}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
{{if .More}}<p><label>Another user<br><input name="user" placeholder="name@{{.Domain}}"></label></p>{{end}}
<ul>{{range .Users}}
<li><button name="user" value="{{.UserPrincipalName}}">{{.DisplayName}} <small>{{.UserPrincipalName}}</small></button></li>{{end}}
</ul>
</form>
</main>
</body>
</html>
`))

// serveAuthorize asks who is signing in, and sends the choice back to the
// application as a code.
func (s *Service) serveAuthorize(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	app, t := s.appOf(name, q.Get("client_id"))
	if app == nil {
		s.tokenError(w, http.StatusBadRequest, "unauthorized_client", 700016, "There is no application "+quoted(q.Get("client_id"))+" in the tenant "+quoted(name)+".")
		return
	}
	// Until the address to go back to is known to be good, errors stay here.
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !ownOrigin(r, back) {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 50011, "The redirect_uri "+quoted(q.Get("redirect_uri"))+" is not allowed: this tenant sends people back to this origin and to this machine only.")
		return
	}
	answer := url.Values{"state": {q.Get("state")}}
	send := func() {
		v := back.Query()
		maps.Copy(v, answer)
		back.RawQuery = v.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
	}
	wrong := func(kind, text string) {
		answer.Set("error", kind)
		answer.Set("error_description", text)
		send()
	}
	switch {
	case q.Get("response_type") != "code":
		wrong("unsupported_response_type", "AADSTS700054: This tenant answers with a code only: ask for response_type=code.")
		return
	case q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256":
		wrong("invalid_request", "AADSTS9002325: Send a code_challenge with the code_challenge_method S256.")
		return
	}
	u := t.users[strings.ToLower(q.Get("user"))]
	if u == nil {
		page := struct {
			Tenant, Domain, App string
			Asked               url.Values
			Users               []User
			More                bool
		}{t.DisplayName, t.Domain, app.DisplayName, q, t.Users, len(t.Users) > shownUsers}
		page.Asked.Del("user")
		page.Users = page.Users[:min(len(page.Users), shownUsers)]
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Frame-Options", "DENY")
		if err := signInPage.Execute(w, page); err != nil {
			s.log.Debug("the sign-in page was not sent", "err", err)
		}
		return
	}
	code := rand.Text()
	now := s.clock()
	s.signIns.Lock()
	maps.DeleteFunc(s.signIns.codes, func(_ string, in signIn) bool { return !now.Before(in.until) })
	full := len(s.signIns.codes) >= codeLimit
	if !full {
		if s.signIns.codes == nil {
			s.signIns.codes = map[string]signIn{}
		}
		s.signIns.codes[code] = signIn{
			tenant: string(t.ID), app: app.AppID, user: string(u.ID), redirect: q.Get("redirect_uri"),
			challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), scope: q.Get("scope"), until: now.Add(codeLife),
		}
	}
	s.signIns.Unlock()
	if full {
		wrong("temporarily_unavailable", "AADSTS90033: Too many people are signing in. Try again in ten minutes.")
		return
	}
	answer.Set("code", code)
	send()
}

// appOf returns an application and its tenant; for a name that stands for all
// tenants, the first that has it.
func (s *Service) appOf(name, id string) (*App, *tenant) {
	tenants := []*tenant{s.tenants[name]}
	if shared(name) {
		tenants = s.byOrder
	}
	for _, t := range tenants {
		if t != nil && t.apps[strings.ToLower(id)] != nil {
			return t.apps[strings.ToLower(id)], t
		}
	}
	return nil, nil
}

// ownOrigin reports whether an address is on the origin of the request, or at
// least on this machine.
func ownOrigin(r *http.Request, u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return false
	}
	return u.Scheme+"://"+strings.ToLower(u.Host) == originOf(r) || slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
}

// serveLogout forgets who signed in, which was never known, and sends people
// back.
func (s *Service) serveLogout(w http.ResponseWriter, r *http.Request, _ string) {
	back, err := url.Parse(r.URL.Query().Get("post_logout_redirect_uri"))
	if err == nil && ownOrigin(r, back) {
		http.Redirect(w, r, back.String(), http.StatusFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("You are signed out.\n"))
}

// signedIn returns the user that a request for a token is for. If there is
// none it answers so, and reports false.
func (s *Service) signedIn(w http.ResponseWriter, r *http.Request, t *tenant, app *App) (*User, bool) {
	form, now := r.PostForm, s.clock()
	refuse := func(code int, text string) (*User, bool) {
		s.tokenError(w, http.StatusBadRequest, "invalid_grant", code, text)
		return nil, false
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		s.signIns.Lock()
		in, ok := s.signIns.codes[form.Get("code")]
		delete(s.signIns.codes, form.Get("code")) // good for one try
		s.signIns.Unlock()
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		proof := base64.RawURLEncoding.EncodeToString(sum[:])
		switch {
		case !ok || in.tenant != string(t.ID) || in.app != app.AppID:
			return refuse(54005, "The code was redeemed already, or was never given to this application.")
		case !now.Before(in.until):
			return refuse(70008, "The code has expired. Sign in again.")
		case in.redirect != form.Get("redirect_uri"):
			return refuse(500112, "The redirect_uri is not the one that the code was sent to.")
		case subtle.ConstantTimeCompare([]byte(proof), []byte(in.challenge)) != 1:
			return refuse(501481, "The code_verifier does not match the code_challenge.")
		}
		form.Set("nonce", in.nonce)
		if form.Get("scope") == "" {
			form.Set("scope", in.scope)
		}
		if u := t.users[in.user]; u != nil {
			return u, true
		}
		return refuse(50034, "The user is gone.")
	case "refresh_token":
		var c jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(form.Get("refresh_token"), &c, func(*jwt.Token) (any, error) { return &s.key().key.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(refreshAudience(t, app)), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.clock))
		u := t.users[c.Subject]
		if err != nil || u == nil {
			return refuse(70008, "The refresh token has expired, or was not given to this application. Sign in again.")
		}
		return u, true
	}
	u := t.users[strings.ToLower(form.Get("username"))]
	if u == nil || form.Get("password") == "" {
		return refuse(50126, "There is no such user, or the password is empty. (This tenant takes any password.)")
	}
	return u, true
}

// refreshAudience is what a refresh token is for, and no token for Graph is.
func refreshAudience(t *tenant, app *App) string {
	return "refresh:" + string(t.ID) + ":" + app.AppID
}

// identify adds to an answer, where it is asked for, who signed in and a token
// to ask anew with. If it cannot it answers so, and reports false.
func (s *Service) identify(w http.ResponseWriter, r *http.Request, answer map[string]any, t *tenant, app *App, u *User) bool {
	asked, now := strings.Fields(r.PostForm.Get("scope")), s.clock()
	registered := func(subject, audience string, life time.Duration) jwt.RegisteredClaims {
		return jwt.RegisteredClaims{
			Issuer: s.issuer(r, string(t.ID)), Subject: subject, Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		}
	}
	var ok bool
	if slices.Contains(asked, "openid") {
		answer["id_token"], ok = s.signed(w, idClaims{
			RegisteredClaims: registered(guidText(derive("subject", app.AppID, string(u.ID))), "", tokenLife),
			For:              app.AppID, Version: "2.0", Tenant: string(t.ID), Object: string(u.ID), Name: u.DisplayName, Username: u.UserPrincipalName,
			Nonce: r.PostForm.Get("nonce"),
		})
		if !ok {
			return false
		}
	}
	if slices.Contains(asked, "offline_access") {
		if answer["refresh_token"], ok = s.signed(w, registered(string(u.ID), refreshAudience(t, app), refreshLife)); !ok {
			return false
		}
	}
	return true
}
