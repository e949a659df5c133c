package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// A SignIn says how people sign in: by OpenID Connect at Entra ID, with the
// authorization code flow and PKCE.
type SignIn struct {
	Authority    string // origin of the token endpoint, such as https://login.microsoftonline.com
	Tenant       string // whose people may sign in: a tenant's id or domain, or organizations
	ClientID     string
	ClientSecret client.Secret // empty: the application is a public one
	// Scope is what the API's tokens are asked for, such as
	// "api://backup.example.com/.default".
	Scope string
	// Graph is where people are looked up by name, such as
	// https://graph.microsoft.com/v1.0, with a token of its own, and what that is
	// asked for. Empty: nowhere.
	Graph, GraphScope string
	// Here says that the authority answers on the console's own origin as well,
	// under whatever name that was called. It is so in development.
	Here bool
}

// tokens are what the token endpoint gives.
type tokens struct {
	Access  client.Secret
	Refresh client.Secret
	ID      client.Secret
	Expires time.Time
}

// errSignedOut says that the person has to sign in anew.
var errSignedOut = errors.New("the sign-in has expired")

const signInLife = 10 * time.Minute

// A signingIn is what has to be remembered while a person is at Entra. Their browser carries
// it, so that they may come back to any process. It proves to this server nothing but that
// the browser is the one that began, whoever wrote it: what it asks for is checked again.
type signingIn struct {
	State, Nonce, Verifier, To string
	Tenant                     string // that is signed in to: an id, a domain, or organizations
	Until                      time.Time
}

// beginSignIn sends a person to Entra.
func (c *Console) beginSignIn(w http.ResponseWriter, r *http.Request) {
	tenant, ok := c.signsInTo(r.URL.Query().Get("tenant"))
	if !ok {
		c.refuse(w, r, http.StatusBadRequest, notATenant.title, notATenant.text)
		return
	}
	how := c.signIn()
	in := signingIn{Tenant: tenant, State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), To: local(r.URL.Query().Get("to")), Until: c.cfg.Clock().Add(signInLife)}
	c.setCookie(w, r, signInCookie, in.cookie(), signInLife)
	sum := sha256.Sum256([]byte(in.Verifier))
	q := url.Values{
		"client_id": {how.ClientID}, "response_type": {"code"}, "response_mode": {"query"}, "redirect_uri": {c.redirectURI(r)},
		"scope": {how.scopes()}, "state": {in.State}, "nonce": {in.Nonce},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if r.URL.Query().Has("choose") { // else whoever signed out would be back at once
		q.Set("prompt", "select_account")
	}
	at := "/" + url.PathEscape(tenant) + "/oauth2/v2.0/authorize?" + q.Encode()
	if !how.Here {
		at = how.Authority + at
	}
	http.Redirect(w, r, at, http.StatusSeeOther)
}

// signsInTo returns the tenant that people sign in to who ask for one, "" for none. It
// reports whether that names any.
func (c *Console) signsInTo(asked string) (tenant string, ok bool) {
	asked = strings.ToLower(asked)
	if asked == "" || asked == strings.ToLower(c.signIn().Tenant) || !c.many() {
		return c.signIn().Tenant, true
	}
	return asked, isTenant(asked)
}

func (s SignIn) scopes() string { return "openid profile offline_access " + s.Scope }

// redirectURI is where Entra sends people back to. It is registered there, so
// that a forged Host leads nowhere.
func (c *Console) redirectURI(r *http.Request) string {
	origin := c.cfg.PublicURL
	if origin == "" {
		origin = "http://" + r.Host
		if c.secure(r) {
			origin = "https://" + r.Host
		}
	}
	return origin + "/console/signed-in"
}

// local returns an address within the console, or its first page.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path.Clean(u.Path)+"/", "/console/") || strings.Contains(to, "\\") {
		return "/console/"
	}
	return u.RequestURI()
}

// endSignIn takes a person who comes back from Entra, and begins a session.
func (c *Console) endSignIn(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	cookie, err := r.Cookie(c.cookieName(r, signInCookie))
	c.setCookie(w, r, signInCookie, "", 0)
	var in signingIn
	if err == nil {
		in, err = c.begun(cookie.Value)
	}
	if err != nil || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(in.State)) != 1 {
		c.refuse(w, r, http.StatusBadRequest, "You were not signed in", "This sign-in was begun in another window, took longer than ten minutes, or was finished already. Begin again.")
		return
	}
	if q.Get("error") != "" {
		c.refuse(w, r, http.StatusForbidden, "You were not signed in", "Entra ID answered: "+firstLine(q.Get("error_description"), q.Get("error")))
		return
	}
	got, err := c.askToken(r.Context(), in.Tenant, url.Values{
		"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {c.redirectURI(r)}, "code_verifier": {in.Verifier}, "scope": {c.signIn().scopes()},
	})
	var who person
	if err == nil {
		who, err = c.whoIs(got.ID, in.Tenant, &in.Nonce)
	}
	var fresh *session
	if err == nil {
		fresh, err = c.admit(r.Context(), who, in.Tenant, got)
	}
	if err == nil {
		var of *visitor
		var all []*session
		if of, all, err = c.visitor(r); err == nil {
			if of, _, err = c.begin(r.Context(), of, all, fresh); err == nil {
				c.letIn(w, r, of, who.Tenant)
			}
		}
	}
	if p, ok := errors.AsType[*problem](err); ok {
		c.refuse(w, r, p.status, p.title, p.text)
		return
	}
	if err != nil {
		c.cfg.Log.Warn("nobody was signed in to the console", "err", err)
		c.refuse(w, r, http.StatusBadGateway, "You were not signed in", "The sign-in could not be finished: "+err.Error())
		return
	}
	http.Redirect(w, r, at(who.Tenant, in.To), http.StatusSeeOther)
}

// admit makes a session of who has signed in, for begin. A person whose tokens the API does
// not take gets none.
func (c *Console) admit(ctx context.Context, who person, asked string, got tokens) (*session, error) {
	api, err := c.clientFor(got.Access)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	me, err := get[meAnswer](ctx, api, "/holdfast.me")
	if p := explain(err); err != nil && p.title == notAccepted {
		return nil, p
	}
	name := firstLine(me.TenantDisplayName, who.Tenant)
	if me.TenantDisplayName == "" && strings.Contains(asked, ".") {
		name = asked
	}
	return c.newSession(who, name, got), nil
}

// letIn has the browser be a visitor, who has signed in to tenants.
func (c *Console) letIn(w http.ResponseWriter, r *http.Request, of *visitor, tenants ...string) {
	c.setCookie(w, r, sessionCookie, of.secret, sessionLife)
	if c.many() {
		c.remember(w, r, tenants...)
	}
}

func firstLine(texts ...string) string {
	for _, t := range texts {
		if t, _, _ = strings.Cut(t, "\n"); strings.TrimSpace(t) != "" {
			return strings.TrimSpace(t)
		}
	}
	return "nothing more"
}

// refresh gets new tokens for those that expire.
func (c *Console) refresh(ctx context.Context, tenant string, token client.Secret, scope string) (tokens, error) {
	s := c.signIn()
	s.Scope = scope
	got, err := c.askToken(ctx, tenant, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(token)}, "scope": {s.scopes()}})
	if _, refused := errors.AsType[*tokenRefusal](err); refused {
		return got, fmt.Errorf("%w: %w", errSignedOut, err)
	}
	if got.Refresh == "" {
		got.Refresh = token
	}
	return got, err
}

// A tokenRefusal is what the token endpoint says when it gives none.
type tokenRefusal struct{ kind, description string }

func (t *tokenRefusal) Error() string { return firstLine(t.description, t.kind) }

// askToken asks the token endpoint of a tenant.
func (c *Console) askToken(ctx context.Context, tenant string, form url.Values) (tokens, error) {
	how := c.signIn() // once: the secret of one configuration is not for the authority of the next
	form.Set("client_id", how.ClientID)
	if how.ClientSecret != "" {
		form.Set("client_secret", string(how.ClientSecret))
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, how.Authority+"/"+url.PathEscape(tenant)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return tokens{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	res, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return tokens{}, fmt.Errorf("no answer from %s", how.Authority)
	}
	defer res.Body.Close()
	var answer struct {
		Access      client.Secret `json:"access_token"`
		Refresh     client.Secret `json:"refresh_token"`
		ID          client.Secret `json:"id_token"`
		Expires     int           `json:"expires_in"`
		Kind        string        `json:"error"`
		Description string        `json:"error_description"`
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	switch {
	case err != nil:
		return tokens{}, fmt.Errorf("%s answered %s, and not as a token endpoint does", how.Authority, res.Status)
	case answer.Kind != "":
		return tokens{}, &tokenRefusal{answer.Kind, answer.Description}
	case res.StatusCode != http.StatusOK || answer.Access == "":
		return tokens{}, fmt.Errorf("%s answered %s without a token", how.Authority, res.Status)
	}
	return tokens{answer.Access, answer.Refresh, answer.ID, c.cfg.Clock().Add(time.Duration(answer.Expires) * time.Second)}, nil
}

// whoIs reads who signed in. The token came from the token endpoint itself, over
// a connection that this server made, which is proof enough of where it is from;
// that it is for us and for this sign-in is checked.
//
// Where the sign-in named its tenant by an id, nobody of another signs in. nonce is nil
// where there was none, because nobody was sent to Entra.
func (c *Console) whoIs(token client.Secret, asked string, nonce *string) (person, error) {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return person{}, errors.New("there is no token that says who you are")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return person{}, errors.New("the token that says who you are cannot be read")
	}
	var claims struct {
		For      string `json:"aud"`
		Issuer   string `json:"iss"`
		Nonce    string `json:"nonce"`
		Expires  int64  `json:"exp"`
		Tenant   string `json:"tid"`
		Object   string `json:"oid"`
		Name     string `json:"name"`
		Username string `json:"preferred_username"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return person{}, errors.New("the token that says who you are cannot be read")
	}
	tenant, ok := backup.ParseGUID(claims.Tenant)
	wanted, fixed := backup.ParseGUID(asked)
	switch {
	case !strings.EqualFold(claims.For, c.signIn().ClientID):
		return person{}, errors.New("the token that says who you are is for another application")
	case nonce != nil && subtle.ConstantTimeCompare([]byte(claims.Nonce), []byte(*nonce)) != 1:
		return person{}, errors.New("the token that says who you are is from another sign-in")
	case c.cfg.Clock().Unix() >= claims.Expires+30:
		return person{}, errors.New("the token that says who you are has expired; is this server's clock right?")
	case !ok || claims.Object == "" || !strings.HasSuffix(strings.ToLower(claims.Issuer), "/"+tenant+"/v2.0"):
		return person{}, errors.New("the token that says who you are names no tenant and user")
	case fixed && wanted != tenant:
		return person{}, errors.New("you signed in to another tenant than the one that was asked for")
	}
	p := person{Tenant: tenant, ID: claims.Object, Name: claims.Name, Username: claims.Username}
	if p.Name == "" {
		p.Name = firstLine(p.Username, p.ID)
	}
	return p, nil
}

// cookie is what the browser carries of a sign-in.
func (in signingIn) cookie() string {
	text, err := json.Marshal(in)
	if err != nil {
		panic(err) // of texts and a time
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// begun reads what a browser brings back.
func (c *Console) begun(cookie string) (in signingIn, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cookie)
	if err == nil {
		err = json.Unmarshal(text, &in)
	}
	tenant, ok := c.signsInTo(in.Tenant)
	switch {
	case err != nil:
		return in, err
	case in.State == "" || in.Nonce == "" || in.Verifier == "" || !ok:
		return in, errors.New("the sign-in is none that was begun here")
	case !c.cfg.Clock().Before(in.Until):
		return in, errors.New("the sign-in took too long")
	}
	in.Tenant, in.To = tenant, local(in.To)
	return in, nil
}
