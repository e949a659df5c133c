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

// How people sign in: by the authorization code flow, as web applications and
// programs on a desk do it, and by a code that is typed in on another device.
// Where Entra asks for a password, the page lists the tenant's users, and one
// click on a name is the proof: it is a development tenant. The click is the
// consent, too.

const (
	codeLife    = 10 * time.Minute
	deviceLife  = 15 * time.Minute
	refreshLife = 90 * 24 * time.Hour
	codeLimit   = 1000 // codes of either kind not yet redeemed
	shownUsers  = 200  // on the page; others are found by their names
)

// signIns are the codes that were given out and not yet redeemed.
type signIns struct {
	sync.Mutex
	codes   map[string]signIn
	devices map[string]*device // by device code
}

// A signIn is who chose to sign in where.
type signIn struct {
	tenant, app, user          string // ids
	redirect, challenge, nonce string
	plain                      bool // the challenge is the verifier
	scope                      string
	until                      time.Time
}

// A device is a program that waits for somebody to sign in elsewhere.
type device struct {
	signIn   // whose user is empty until somebody has
	name     string
	userCode string
	declined bool
}

// refreshClaims are those of a token that an application asks anew with. It is
// no access token: it does not say who is meant by idtyp.
type refreshClaims struct {
	jwt.RegisteredClaims
	Tenant string `json:"tid"`
	Scope  string `json:"scp,omitempty"` // what was asked for at first
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
<title>{{.Title}}</title>
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
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
<form method="get">
{{range $name, $values := .Asked}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
{{if .Code}}<p><label>Code<br><input name="otc" autocomplete="off" autofocus></label></p><button>Next</button>{{end}}
{{if .More}}<p><label>Another user<br><input name="user" placeholder="name@{{.Domain}}"></label></p>{{end}}
<ul>{{range .Users}}
<li><button name="user" value="{{.UserPrincipalName}}">{{.DisplayName}} <small>{{.UserPrincipalName}}</small></button></li>{{end}}
</ul>
{{if .Decline}}<button name="decline" value="1">Decline</button>{{end}}
</form>
</main>
</body>
</html>
`))

// A page asks who is signing in.
type page struct {
	Title, Text, Domain string
	Asked               url.Values // comes back with the answer
	Users               []User
	More                bool // users than are shown
	Code, Decline       bool // a code is asked for; to decline is an answer
}

// asking is a page that lists the users of tenants.
func asking(tenants []*tenant, app string, asked url.Values) page {
	x := page{Title: "Sign in to " + tenants[0].DisplayName, Domain: tenants[0].Domain, Asked: asked}
	x.Text = app + " asks who you are. This tenant is simulated: a click on a name is enough."
	for _, t := range tenants {
		for _, u := range t.present[:min(len(t.present), shownUsers-len(x.Users))] {
			x.Users = append(x.Users, *u)
		}
		x.More = x.More || len(t.present) > shownUsers
	}
	x.Asked.Del("user")
	return x
}

func (s *Service) show(w http.ResponseWriter, x page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Frame-Options", "DENY")
	if err := signInPage.Execute(w, x); err != nil {
		s.log.Debug("the sign-in page was not sent", "err", err)
	}
}

var postPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Signing in</title></head>
<body onload="document.forms[0].submit()"><form method="post" action="{{.To}}">
{{range $name, $values := .Values}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<noscript><button>Go on</button></noscript></form></body></html>
`))

// sendBack takes an answer to an application's address, in the way that it asked
// for.
func (s *Service) sendBack(w http.ResponseWriter, r *http.Request, to url.URL, answer url.Values) {
	switch r.URL.Query().Get("response_mode") {
	case "form_post":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		data := struct {
			To     string
			Values url.Values
		}{to.String(), answer}
		if err := postPage.Execute(w, data); err != nil {
			s.log.Debug("the page that sends an answer back was not sent", "err", err)
		}
		return
	case "fragment":
		to.RawFragment = answer.Encode()
		to.Fragment, _ = url.PathUnescape(to.RawFragment)
	default:
		v := to.Query()
		maps.Copy(v, answer)
		to.RawQuery = v.Encode()
	}
	http.Redirect(w, r, to.String(), http.StatusFound)
}

// serveAuthorize asks who is signing in, and sends the choice back to the
// application as a code.
func (s *Service) serveAuthorize(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	tenants := s.tenantsWith(name, q.Get("client_id"))
	if len(tenants) == 0 {
		s.tokenError(w, http.StatusBadRequest, "unauthorized_client", 700016, "There is no application "+quoted(q.Get("client_id"))+" in the tenant "+quoted(name)+".")
		return
	}
	app := tenants[0].app(q.Get("client_id"))
	// Until the address to go back to is known to be good, errors stay here.
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !ownOrigin(r, back) {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 50011, "The redirect_uri "+quoted(q.Get("redirect_uri"))+" is not allowed: this tenant sends people back to this origin and to this machine only.")
		return
	}
	answer := url.Values{"state": {q.Get("state")}}
	wrong := func(kind, text string) {
		answer.Set("error", kind)
		answer.Set("error_description", text)
		s.sendBack(w, r, *back, answer)
	}
	method := q.Get("code_challenge_method")
	switch {
	case q.Get("response_type") != "code":
		wrong("unsupported_response_type", "AADSTS700054: This tenant answers with a code only: ask for response_type=code.")
		return
	case q.Get("code_challenge") == "" && method != "", method != "" && method != "S256" && method != "plain":
		wrong("invalid_request", "AADSTS50148: The code_challenge is missing, or its code_challenge_method is neither S256 nor plain.")
		return
	}
	u, t := userIn(tenants, q.Get("user"))
	if u == nil {
		if q.Get("prompt") == "none" {
			wrong("login_required", "AADSTS50058: Nobody is signed in.")
			return
		}
		s.show(w, asking(tenants, app.DisplayName, q))
		return
	}
	code := rand.Text()
	full := !s.signIns.add(s.clock(), code, signIn{
		tenant: string(t.ID), app: app.AppID, user: string(u.ID), redirect: q.Get("redirect_uri"),
		challenge: q.Get("code_challenge"), plain: method != "S256", nonce: q.Get("nonce"), scope: q.Get("scope"),
	}, nil)
	if full {
		wrong("temporarily_unavailable", "AADSTS90033: Too many people are signing in. Try again in ten minutes.")
		return
	}
	answer.Set("code", code)
	answer.Set("session_state", guidText(derive("session", code)))
	s.sendBack(w, r, *back, answer)
}

// add keeps a code of either kind, unless there are too many.
func (x *signIns) add(now time.Time, code string, in signIn, d *device) bool {
	x.Lock()
	defer x.Unlock()
	if x.codes == nil {
		x.codes, x.devices = map[string]signIn{}, map[string]*device{}
	}
	maps.DeleteFunc(x.codes, func(_ string, in signIn) bool { return !now.Before(in.until) })
	// Who waits for an expired one is told so for a while.
	maps.DeleteFunc(x.devices, func(_ string, d *device) bool { return !now.Before(d.until.Add(deviceLife)) })
	if len(x.codes)+len(x.devices) >= codeLimit {
		return false
	}
	if d != nil {
		d.until = now.Add(deviceLife)
		x.devices[code] = d
	} else {
		in.until = now.Add(codeLife)
		x.codes[code] = in
	}
	return true
}

// tenantsWith returns the tenants that a name in an address stands for and in
// which an application may act. One that is registered somewhere acts there
// only.
func (s *Service) tenantsWith(name, id string) (out []*tenant) {
	tenants := []*tenant{s.tenants[name]}
	if shared(name) {
		tenants = s.byOrder
	}
	home := false
	for _, t := range tenants {
		if t == nil {
			continue
		}
		app := t.app(id)
		if app == nil || home && app.foreign {
			continue
		}
		if !app.foreign && !home {
			home, out = true, nil
		}
		out = append(out, t)
	}
	return out
}

// userIn returns a user of one of the tenants.
func userIn(tenants []*tenant, name string) (*User, *tenant) {
	for _, t := range tenants {
		if u := t.users[strings.ToLower(name)]; u != nil {
			return u, t
		}
	}
	return nil, nil
}

// userCodes are the letters of a code that is typed in: no vowels, and none that
// looks like another.
const userCodes = "BCDFGHJKLMNPQRSTVWXZ"

// serveDevice begins a sign-in on another device.
func (s *Service) serveDevice(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	q, id, _, err := s.tokenForm(r, name)
	if err != nil {
		s.refuseToken(w, err)
		return
	}
	tenants := s.tenantsWith(name, id)
	if len(tenants) == 0 {
		s.refuseToken(w, refuse(http.StatusBadRequest, "unauthorized_client", 700016, "There is no application "+quoted(id)+" in the tenant "+quoted(name)+"."))
		return
	}
	var letters [9]byte
	rand.Read(letters[:])
	for i, b := range letters {
		letters[i] = userCodes[int(b)%len(userCodes)]
	}
	d := &device{signIn: signIn{app: strings.ToLower(id), scope: q.form.Get("scope")}, name: name, userCode: string(letters[:])}
	code := rand.Text() + rand.Text()
	if !s.signIns.add(s.clock(), code, signIn{}, d) {
		s.refuseToken(w, refuse(http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "Too many people are signing in. Try again in ten minutes."))
		return
	}
	at := originOf(r) + "/common/oauth2/deviceauth"
	reply(w, http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": code, "verification_uri": at, "expires_in": int(deviceLife.Seconds()), "interval": 5,
		"message": "To sign in, use a web browser to open the page " + at + " and enter the code " + d.userCode + " to authenticate.",
	})
}

// serveDeviceAuth is the page on which a code is typed in and a user chosen.
func (s *Service) serveDeviceAuth(w http.ResponseWriter, r *http.Request, _ string) {
	q := r.URL.Query()
	code := strings.ToUpper(strings.TrimSpace(q.Get("otc")))
	s.signIns.Lock()
	defer s.signIns.Unlock()
	var d *device
	for _, other := range s.signIns.devices {
		if code != "" && other.userCode == code && s.clock().Before(other.until) && other.user == "" && !other.declined {
			d = other
		}
	}
	ask := page{Title: "Enter code", Text: "Enter the code that is shown on your device.", Code: true}
	if d == nil {
		if code != "" {
			ask.Text = "That code did not work. Check the code and try again."
		}
		s.show(w, ask)
		return
	}
	tenants := s.tenantsWith(d.name, d.app)
	u, t := userIn(tenants, q.Get("user"))
	switch {
	case q.Get("decline") != "":
		d.declined = true
		s.show(w, page{Title: "Declined", Text: "Nobody was signed in. You may close this window."})
	case u != nil:
		d.tenant, d.user = string(t.ID), string(u.ID)
		s.show(w, page{Title: "You have signed in", Text: "You may close this window and go on at your device."})
	default:
		x := asking(tenants, tenants[0].app(d.app).DisplayName, url.Values{"otc": {code}})
		x.Decline = true
		s.show(w, x)
	}
}

// serveConsent grants an application what its registration asks for, which it
// has already, and sends the administrator back.
func (s *Service) serveConsent(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	tenants := s.tenantsWith(name, q.Get("client_id"))
	if len(tenants) == 0 {
		s.tokenError(w, http.StatusBadRequest, "unauthorized_client", 700016, "There is no application "+quoted(q.Get("client_id"))+" in the tenant "+quoted(name)+".")
		return
	}
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !ownOrigin(r, back) {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 50011, "The redirect_uri "+quoted(q.Get("redirect_uri"))+" is not allowed: this tenant sends people back to this origin and to this machine only.")
		return
	}
	answer := url.Values{"admin_consent": {"True"}, "tenant": {string(tenants[0].ID)}}
	if state := q.Get("state"); state != "" {
		answer.Set("state", state)
	}
	s.sendBack(w, r, *back, answer)
}

// serveNative is the blank page at which programs without an address of their own
// read the code off the browser's address.
func (s *Service) serveNative(w http.ResponseWriter, r *http.Request, _ string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte("<!DOCTYPE html><html lang=\"en\"><title>Signed in</title><p>Copy the address of this page into the program.\n"))
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

// signedIn returns who a request for a token is for, and what they were asked.
func (s *Service) signedIn(q tokenRequest, grant string) (signIn, error) {
	form, now, t := q.form, s.clock(), q.tenant
	switch grant {
	case byCode:
		s.signIns.Lock()
		in, ok := s.signIns.codes[form.Get("code")]
		delete(s.signIns.codes, form.Get("code")) // good for one try
		s.signIns.Unlock()
		proof := form.Get("code_verifier")
		if !in.plain {
			sum := sha256.Sum256([]byte(proof))
			proof = base64.RawURLEncoding.EncodeToString(sum[:])
		}
		switch {
		case !ok || in.tenant != string(t.ID) || in.app != q.app.AppID:
			return in, invalidGrant(54005, "The code was redeemed already, or was never given to this application.")
		case !now.Before(in.until):
			return in, invalidGrant(70008, "The code has expired. Sign in again.")
		case in.redirect != form.Get("redirect_uri"):
			return in, invalidGrant(500112, "The redirect_uri is not the one that the code was sent to.")
		case in.challenge != "" && subtle.ConstantTimeCompare([]byte(proof), []byte(in.challenge)) != 1:
			return in, invalidGrant(501481, "The code_verifier does not match the code_challenge.")
		}
		return in, nil
	case byDevice:
		s.signIns.Lock()
		defer s.signIns.Unlock()
		d := s.signIns.devices[form.Get("device_code")]
		switch {
		case d == nil || d.app != q.app.AppID:
			return signIn{}, refuse(http.StatusBadRequest, "bad_verification_code", 70018, "The device_code is not one that was given to this application, or was redeemed already.")
		case d.declined:
			return signIn{}, refuse(http.StatusBadRequest, "authorization_declined", 70017, "The user declined.")
		case !now.Before(d.until):
			return signIn{}, refuse(http.StatusBadRequest, "expired_token", 70020, "The device_code has expired. Begin anew.")
		case d.user == "":
			return signIn{}, refuse(http.StatusBadRequest, "authorization_pending", 70016, "The user has not signed in yet. Ask again.")
		case d.tenant != string(t.ID):
			return signIn{}, invalidGrant(50034, "Who signed in is of another tenant.")
		}
		delete(s.signIns.devices, form.Get("device_code"))
		return d.signIn, nil
	case byRefresh:
		var c refreshClaims
		_, err := jwt.ParseWithClaims(form.Get("refresh_token"), &c, func(*jwt.Token) (any, error) { return &s.key().key.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(refreshAudience(t, q.app)), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.clock))
		if err != nil || t.users[c.Subject] == nil {
			return signIn{}, invalidGrant(70008, "The refresh token has expired, or was not given to this application. Sign in again.")
		}
		return signIn{user: c.Subject, scope: c.Scope}, nil
	case onBehalf:
		if form.Get("requested_token_use") != "on_behalf_of" {
			return signIn{}, refuse(http.StatusBadRequest, "invalid_request", 900144, "The body must contain the parameter 'requested_token_use' with the value on_behalf_of.")
		}
		c, err := s.accessToken(form.Get("assertion"))
		own := err == nil && (c.Audience[0] == q.app.AppID || c.Audience[0] == "api://"+q.app.AppID)
		if !own || c.IDType != "user" || c.Tenant != string(t.ID) {
			return signIn{}, invalidGrant(50013, "The assertion is no token of a user that was given for this application. Have its client ask for api://"+q.app.AppID+"/.default.")
		}
		return signIn{user: c.Object, scope: form.Get("scope")}, nil
	}
	u := t.users[strings.ToLower(form.Get("username"))]
	if u == nil || form.Get("password") == "" {
		return signIn{}, invalidGrant(50126, "There is no such user, or the password is empty. (This tenant takes any password.)")
	}
	return signIn{user: string(u.ID), scope: form.Get("scope")}, nil
}

// refreshAudience is what a refresh token is for, and no other token is.
func refreshAudience(t *tenant, app *App) string {
	return "refresh:" + string(t.ID) + ":" + app.AppID
}

// identify adds to an answer, where it is asked for, who signed in and a token
// to ask anew with. That which replaces another remembers what was asked for at
// first.
func (s *Service) identify(q tokenRequest, answer map[string]any, in signIn, u *User) (err error) {
	t, app, now := q.tenant, q.app, s.clock()
	asked := strings.Fields(q.form.Get("scope"))
	again := q.form.Get("grant_type") == byRefresh
	if again {
		asked = append(asked, strings.Fields(in.scope)...)
	} else {
		in.scope = q.form.Get("scope")
	}
	registered := func(subject, audience string, life time.Duration) jwt.RegisteredClaims {
		return jwt.RegisteredClaims{
			Issuer: s.issuer(q.Request, string(t.ID)), Subject: subject, Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		}
	}
	if slices.Contains(asked, "openid") {
		answer["id_token"], err = s.signed(idClaims{
			RegisteredClaims: registered(guidText(derive("subject", app.AppID, string(u.ID))), "", tokenLife),
			For:              app.AppID, Version: "2.0", Tenant: string(t.ID), Object: string(u.ID), Name: u.DisplayName, Username: u.UserPrincipalName,
			Nonce: in.nonce,
		})
		if err != nil {
			return err
		}
	}
	if again || slices.Contains(asked, "offline_access") {
		answer["refresh_token"], err = s.signed(refreshClaims{registered(string(u.ID), refreshAudience(t, app), refreshLife), string(t.ID), in.scope})
	}
	return err
}

// serveUserInfo tells who a token is of, as OpenID has it.
func (s *Service) serveUserInfo(w http.ResponseWriter, r *http.Request, _ string) {
	who, err := s.authenticate(r)
	if err == nil && who.user == nil {
		err = fail(http.StatusForbidden, "accessDenied", "The token is not of a user.")
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	given, family, _ := strings.Cut(who.user.DisplayName, " ")
	reply(w, http.StatusOK, map[string]any{
		"sub": guidText(derive("subject", who.app.AppID, string(who.user.ID))), "name": who.user.DisplayName, "given_name": given, "family_name": family, "email": who.user.Mail,
	})
}
