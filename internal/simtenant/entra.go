package simtenant

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
)

// graphAudience is the resource that nearly every token is for.
const graphAudience = "https://graph.microsoft.com"

// tokenLife is how long a token is good for.
const tokenLife = 3599 * time.Second

// signer is the key that tokens are signed with.
type signer struct {
	key *rsa.PrivateKey
	kid string
}

// loadSigner returns the key in path. One that is missing is made beside all
// else, since that takes longer than the rest of a start, and kept: tokens
// outlive the process.
func loadSigner(path string, log *slog.Logger) (func() *signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		made := sync.OnceValue(func() *signer {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err) // of a 2048-bit key, it does not fail
			}
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err == nil {
				err = writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
			}
			if err != nil {
				log.Error("the signing key could not be kept; tokens end with this process", "err", err)
			}
			return newSigner(key)
		})
		go made()
		return made, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("signing key %s holds no PEM block; remove the file to have a new one made", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse signing key %s: %w", path, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("signing key %s is not an RSA key", path)
	}
	k := newSigner(key)
	return func() *signer { return k }, nil
}

func newSigner(key *rsa.PrivateKey) *signer {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	return &signer{key: key, kid: base64.RawURLEncoding.EncodeToString(sum[:15])}
}

// jwk is the public half as a JSON Web Key.
func (k *signer) jwk(issuer string) map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.kid, "x5t": k.kid, "issuer": issuer,
		"n": base64.RawURLEncoding.EncodeToString(k.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.key.E)).Bytes()),
	}
}

// claims are those of an access token.
type claims struct {
	jwt.RegisteredClaims
	Version         string   `json:"ver"`
	Tenant          string   `json:"tid"`
	Object          string   `json:"oid"`
	AppID           string   `json:"appid,omitempty"`
	AppKind         string   `json:"appidacr"`
	AuthorizedParty string   `json:"azp,omitempty"`
	AppDisplayName  string   `json:"app_displayname,omitempty"`
	IDType          string   `json:"idtyp"`
	Roles           []string `json:"roles,omitempty"`
	Scopes          string   `json:"scp,omitempty"`
	Name            string   `json:"name,omitempty"`
	UPN             string   `json:"upn,omitempty"`
	UniqueName      string   `json:"unique_name,omitempty"`
	Groups          []string `json:"groups,omitempty"`
	Elsewhere       object   `json:"_claim_names,omitempty"` // where claims are that have no room here
	Sources         object   `json:"_claim_sources,omitempty"`
	TokenID         string   `json:"uti"`
}

// mostGroups is how many groups a token tells of.
const mostGroups = 200

// issuer is what tokens of a tenant name as theirs.
func (s *Service) issuer(r *http.Request, tenantID string) string {
	origin := s.cfg.Issuer
	if origin == "" {
		origin = originOf(r)
	}
	return strings.TrimSuffix(origin, "/") + "/" + tenantID + "/v2.0"
}

// entra serves Entra's paths. It reports false for any other path.
func (s *Service) entra(w http.ResponseWriter, r *http.Request) bool {
	name, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !ok {
		return false
	}
	method, serve := http.MethodGet, s.serveKeys
	switch strings.ToLower(rest) {
	case "oauth2/v2.0/token":
		method, serve = http.MethodPost, s.serveToken
	case "oauth2/v2.0/authorize":
		serve = s.serveAuthorize
	case "oauth2/v2.0/logout":
		serve = s.serveLogout
	case "v2.0/.well-known/openid-configuration":
		serve = s.serveDiscovery
	case "oauth2/v2.0/devicecode":
		method, serve = http.MethodPost, s.serveDevice
	case "oauth2/deviceauth":
		serve = s.serveDeviceAuth
	case "userinfo":
		if name != "oidc" {
			return false
		}
		serve = s.serveUserInfo
	case "adminconsent", "v2.0/adminconsent":
		serve = s.serveConsent
	case "oauth2/nativeclient":
		serve = s.serveNative
	case "discovery/instance":
		serve = s.serveInstance
	case "discovery/v2.0/keys", "discovery/keys":
	default:
		return false
	}
	if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
		w.Header().Set("Allow", method)
		s.tokenError(w, http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint accepts only "+method+" requests.")
		return true
	}
	serve(w, r, strings.ToLower(name))
	return true
}

// shared reports whether name stands for all tenants.
func shared(name string) bool {
	return name == "common" || name == "organizations" || name == "consumers"
}

func (s *Service) serveDiscovery(w http.ResponseWriter, r *http.Request, name string) {
	id := "{tenantid}"
	if !shared(name) {
		t := s.tenants[name]
		if t == nil {
			s.tokenError(w, http.StatusBadRequest, "invalid_tenant", 90002, "There is no tenant "+quoted(name)+" here. Check the tenant id in the address.")
			return
		}
		id = string(t.ID)
		name = id
	}
	base := originOf(r) + "/" + name
	reply(w, http.StatusOK, map[string]any{
		"issuer":                                s.issuer(r, id),
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"userinfo_endpoint":                     originOf(r) + "/oidc/userinfo",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code"},
		"grant_types_supported":                 grants,
		"code_challenge_methods_supported":      []string{"S256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"claims_supported":                      []string{"iss", "sub", "aud", "exp", "iat", "nbf", "tid", "oid", "appid", "azp", "roles", "scp", "name", "upn"},
		"cloud_instance_name":                   "microsoftonline.com",
		"msgraph_host":                          "graph.microsoft.com",
	})
}

func (s *Service) serveKeys(w http.ResponseWriter, r *http.Request, name string) {
	id := "{tenantid}"
	if !shared(name) {
		t := s.tenants[name]
		if t == nil {
			s.tokenError(w, http.StatusBadRequest, "invalid_tenant", 90002, "There is no tenant "+quoted(name)+" here. Check the tenant id in the address.")
			return
		}
		id = string(t.ID)
	}
	reply(w, http.StatusOK, map[string]any{"keys": []any{s.key().jwk(s.issuer(r, id))}})
}

// serveInstance tells clients that this host is an authority they may trust.
func (s *Service) serveInstance(w http.ResponseWriter, r *http.Request, name string) {
	tenant := "common"
	if u, err := url.Parse(r.URL.Query().Get("authorization_endpoint")); err == nil {
		if first, _, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); ok {
			tenant = first
		}
	}
	host := strings.ToLower(r.Host)
	reply(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": originOf(r) + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []any{map[string]any{
			"preferred_network": host, "preferred_cache": host, "aliases": []string{host},
		}},
	})
}

// An entraError is a refusal of Entra, in the form of its own.
type entraError struct {
	status int
	kind   string // OAuth's error
	code   int    // of the AADSTS code
	text   string
}

func (e *entraError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.text) }

func refuse(status int, kind string, code int, text string) error {
	return &entraError{status, kind, code, text}
}

// invalidGrant refuses what a token is asked for with.
func invalidGrant(code int, text string) error {
	return refuse(http.StatusBadRequest, "invalid_grant", code, text)
}

// The ways to get a token.
const (
	byItself   = "client_credentials"
	byPassword = "password"
	byCode     = "authorization_code"
	byRefresh  = "refresh_token"
	byDevice   = "urn:ietf:params:oauth:grant-type:device_code"
	onBehalf   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

var grants = []string{byItself, byPassword, byCode, byRefresh, byDevice, onBehalf}

// A tokenRequest is a request for a token, as far as it was understood.
type tokenRequest struct {
	*http.Request
	form   url.Values
	tenant *tenant
	app    *App
	proof  string // how the application proved who it is: 0 not at all, 1 by its secret, 2 by its certificate
}

// serveToken gives a token to an application: for itself, for a user who signed
// in, for a user who called it, or, which only a development tenant does, for a
// named user by any password.
func (s *Service) serveToken(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	answer, err := s.token(r, name)
	if err != nil {
		s.refuseToken(w, err)
		return
	}
	reply(w, http.StatusOK, answer)
}

func (s *Service) refuseToken(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*entraError](err)
	if !ok {
		s.log.Error("a token could not be given", "err", err)
		e = &entraError{http.StatusInternalServerError, "server_error", 90033, "The token could not be made."}
	}
	s.tokenError(w, e.status, e.kind, e.code, e.text)
}

// tokenForm reads a form, and which tenant and application it is about. Where the
// address names no tenant, the tenant is nil and the application not looked for.
func (s *Service) tokenForm(r *http.Request, name string) (q tokenRequest, id, secret string, err error) {
	t := s.tenants[name]
	if t == nil && !shared(name) {
		return q, "", "", refuse(http.StatusBadRequest, "invalid_request", 90002, "There is no tenant "+quoted(name)+" here. Check the tenant id in the address.")
	}
	if err := r.ParseForm(); err != nil {
		return q, "", "", refuse(http.StatusBadRequest, "invalid_request", 90015, "The body is not a form.")
	}
	q = tokenRequest{Request: r, form: r.PostForm, tenant: t}
	id, secret = q.form.Get("client_id"), q.form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		// Both halves are form-encoded before they are joined; a half that
		// does not decode was sent as it is.
		id, secret = unescaped(user), unescaped(password)
	}
	return q, id, secret, nil
}

func (s *Service) token(r *http.Request, name string) (map[string]any, error) {
	q, id, secret, err := s.tokenForm(r, name)
	if err != nil {
		return nil, err
	}
	grant := q.form.Get("grant_type")
	switch {
	case grant == "":
		return nil, refuse(http.StatusBadRequest, "invalid_request", 900144, "The body must contain the parameter 'grant_type'.")
	case !slices.Contains(grants, grant):
		return nil, refuse(http.StatusBadRequest, "unsupported_grant_type", 70003, "This tenant gives tokens for "+strings.Join(grants, ", ")+" only.")
	case id == "":
		return nil, refuse(http.StatusBadRequest, "invalid_request", 900144, "The body must contain the parameter 'client_id'.")
	}
	if q.tenant == nil {
		// Of all tenants it is that of who signs in.
		if q.tenant = s.tenantOf(grant, q.form); q.tenant == nil {
			return nil, refuse(http.StatusBadRequest, "invalid_request", 50059, "No tenant-identifying information is in the request. Name the tenant in the address.")
		}
	}
	t := q.tenant
	if q.app = t.app(id); q.app == nil || q.app.foreign && (grant == byItself || grant == onBehalf || grant == byPassword) {
		return nil, refuse(http.StatusBadRequest, "unauthorized_client", 700016, "There is no application "+quoted(id)+" in the tenant "+t.DisplayName+".")
	}
	app := q.app
	if q.proof, err = s.prove(q, secret); err != nil {
		return nil, err
	}
	if q.proof == "0" && (grant == byItself || grant == onBehalf) {
		return nil, refuse(http.StatusUnauthorized, "invalid_client", 7000218, "The body must contain the parameter 'client_assertion' or 'client_secret'.")
	}
	now := s.clock()
	principal := guidText(derive("servicePrincipal", string(t.ID), app.AppID))
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer(r, string(t.ID)), Subject: principal,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-5 * time.Minute)),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
		},
		Version: "1.0", Tenant: string(t.ID), Object: principal, AppID: app.AppID, AppKind: q.proof,
		AuthorizedParty: app.AppID, AppDisplayName: app.DisplayName, IDType: "app",
		TokenID: strings.ToLower(rand.Text()),
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599}
	var in signIn
	if grant != byItself {
		if in, err = s.signedIn(q, grant); err != nil {
			return nil, err
		}
		if q.form.Get("scope") == "" {
			q.form.Set("scope", in.scope)
		}
	}
	scopes, err := s.parseScopes(q)
	if err != nil {
		return nil, err
	}
	c.Audience = jwt.ClaimStrings{scopes.resource}
	switch old := strings.TrimSuffix(c.Issuer, "v2.0"); {
	case scopes.api != nil && scopes.api.TokenVersion == 2:
		c.Audience, c.Version, c.AppID = jwt.ClaimStrings{scopes.api.AppID}, "2.0", ""
	case scopes.api != nil:
		c.Audience, c.Issuer, c.AuthorizedParty = jwt.ClaimStrings{scopes.api.uri()}, old, ""
	case scopes.resource == graphAudience && s.faults.options().SealGraph:
		c.Issuer, c.AuthorizedParty = old, ""
	}
	if grant == byItself {
		if !scopes.all || len(scopes.names) > 0 {
			return nil, refuse(http.StatusBadRequest, "invalid_scope", 1002012, "An application asks for the scope '"+graphAudience+"/.default'.")
		}
		c.Roles = app.Roles
		if scopes.api != nil {
			c.Roles = scopes.api.exposed(app.Roles)
		}
	} else {
		u := t.users[in.user]
		if u == nil {
			return nil, invalidGrant(50034, "The user is gone.")
		}
		if !u.enabled() {
			return nil, invalidGrant(50057, "The user account is disabled.")
		}
		granted, err := app.grants(scopes)
		if err != nil {
			return nil, err
		}
		c.Scopes, c.IDType = strings.Join(granted, " "), "user"
		c.Object, c.Subject = string(u.ID), guidText(derive("subject", app.AppID, string(u.ID)))
		c.Name, c.UPN, c.UniqueName = u.DisplayName, u.UserPrincipalName, u.UserPrincipalName
		if scopes.api != nil && scopes.api.GroupClaims {
			for _, g := range t.memberOf(u.ID, true) {
				c.Groups = append(c.Groups, string(g.id()))
			}
			if len(c.Groups) > mostGroups {
				c.Groups, c.Elsewhere = nil, object{"groups": "src1"}
				c.Sources = object{"src1": object{"endpoint": originOf(r) + "/v1.0/users/" + string(u.ID) + "/getMemberObjects"}}
			}
		}
		answer["scope"] = c.Scopes
		if err := s.identify(q, answer, in, u); err != nil {
			return nil, err
		}
	}
	answer["access_token"], err = s.signed(c)
	if scopes.resource == graphAudience && s.faults.options().SealGraph {
		answer["access_token"], err = s.sealed(c)
	}
	return answer, err
}

// sealed is a token of claims that bears a nonce, and is signed as if it were the
// nonce's hash: who does not know that, cannot verify it.
func (s *Service) sealed(c jwt.Claims) (string, error) {
	nonce := rand.Text()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	token.Header["kid"], token.Header["x5t"] = s.key().kid, s.key().kid
	token.Header["nonce"] = nonceHash(nonce)
	text, err := token.SignedString(s.key().key)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	token.Header["nonce"] = nonce
	shown, err := token.SigningString()
	return shown + text[strings.LastIndex(text, "."):], err
}

// unsealed is the text of a token as it was signed.
func unsealed(text string) string {
	token, _, err := jwt.NewParser().ParseUnverified(text, jwt.MapClaims{})
	if err != nil {
		return text
	}
	nonce, ok := token.Header["nonce"].(string)
	if !ok {
		return text
	}
	token.Header["nonce"] = nonceHash(nonce)
	header, err := json.Marshal(token.Header)
	if err != nil {
		return text
	}
	return base64.RawURLEncoding.EncodeToString(header) + text[strings.Index(text, "."):]
}

func nonceHash(nonce string) string {
	sum := sha256.Sum256([]byte(nonce))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// tenantOf finds the tenant of a request that names none: that of who signed in.
// What nobody signed in with is looked at in any tenant, to be refused there.
func (s *Service) tenantOf(grant string, form url.Values) *tenant {
	id := ""
	switch grant {
	case byCode:
		s.signIns.Lock()
		defer s.signIns.Unlock()
		id = s.signIns.codes[form.Get("code")].tenant
	case byDevice:
		s.signIns.Lock()
		defer s.signIns.Unlock()
		if d := s.signIns.devices[form.Get("device_code")]; d != nil {
			id = d.tenant
		}
	case byRefresh:
		var c refreshClaims
		jwt.NewParser().ParseUnverified(form.Get("refresh_token"), &c) // it is verified later
		id = c.Tenant
	case onBehalf:
		var c claims
		jwt.NewParser().ParseUnverified(form.Get("assertion"), &c)
		id = c.Tenant
	case byPassword:
		_, id, _ = strings.Cut(strings.ToLower(form.Get("username")), "@")
	default:
		return nil
	}
	if t := s.tenants[id]; t != nil {
		return t
	}
	return s.byOrder[0]
}

// signed is a token of claims.
func (s *Service) signed(c jwt.Claims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	token.Header["kid"], token.Header["x5t"] = s.key().kid, s.key().kid
	text, err := token.SignedString(s.key().key)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text, nil
}

func unescaped(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// scopes are what a token request asks for.
type scopes struct {
	api      *App     // the resource, if it is an application of the tenant with permissions of its own
	resource string   // what the token is to be for
	all      bool     // .default
	names    []string // permissions by name
}

// openIDScopes ask nothing of a resource.
var openIDScopes = []string{"openid", "profile", "email", "offline_access"}

// parseScopes reads a scope parameter. A name without a resource means Graph. A
// token is for one resource only.
func (s *Service) parseScopes(q tokenRequest) (out scopes, err error) {
	for _, f := range strings.Fields(q.form.Get("scope")) {
		if slices.Contains(openIDScopes, f) {
			continue
		}
		resource := graphAudience
		if i := strings.LastIndex(f, "/"); i >= 0 {
			asked := strings.TrimSuffix(f[:i], "/") // a double slash before the name is customary
			if resource = s.resource(q, asked); resource == "" {
				return out, refuse(http.StatusBadRequest, "invalid_resource", 500011, "The resource "+quoted(asked)+" is not known in this tenant. Ask for "+graphAudience+".")
			}
			f = f[i+1:]
		}
		if out.resource != "" && out.resource != resource {
			return out, refuse(http.StatusBadRequest, "invalid_scope", 28000, "A token is for one resource, and the scopes name two: "+out.resource+" and "+resource+".")
		}
		out.resource = resource
		switch f {
		case ".default":
			out.all = true
		case "User.Read": // what sign-in always asks for
		default:
			out.names = append(out.names, f)
		}
	}
	if out.resource == "" {
		out.resource = graphAudience
	}
	out.api = q.tenant.api(out.resource)
	return out, nil
}

// graphNames are the names of Graph as a resource, in all clouds.
var graphNames = []string{
	graphAudience, "00000003-0000-0000-c000-000000000000", "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
	"https://microsoftgraph.chinacloudapi.cn",
}

// resource is what a token for what is asked for names as its audience: Graph,
// SharePoint's hosts, a host by which this server is reached, or an application
// of the tenant. It is empty for any other.
func (s *Service) resource(q tokenRequest, asked string) string {
	asked = strings.ToLower(asked)
	if slices.Contains(graphNames, asked) {
		return graphAudience
	}
	if slices.Contains(q.tenant.sharePoint(), asked) || slices.Contains(ownOrigins(q.Request), asked) {
		return asked
	}
	if id := strings.TrimPrefix(asked, "api://"); q.tenant.apps[id] != nil || q.tenant.api(asked) != nil {
		return asked
	}
	return ""
}

// sharePoint are the resources that the tenant's sites are.
func (t *tenant) sharePoint() []string {
	return []string{"https://" + t.name + "-my.sharepoint.com", "https://" + t.name + ".sharepoint.com"}
}

// ownOrigins are the origins by which this server is reached: that of the
// request, and this machine by its other name.
func ownOrigins(r *http.Request) []string {
	here := originOf(r)
	if other := otherName(r.Host); other != "" {
		scheme, _, _ := strings.Cut(here, "://")
		return []string{here, scheme + "://" + other}
	}
	return []string{here}
}

// otherName is the other name of this machine, with the port of host, where host
// is one.
func otherName(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	switch strings.ToLower(name) {
	case "localhost":
		name = "127.0.0.1"
	case "127.0.0.1":
		name = "localhost"
	default:
		return ""
	}
	if port == "" {
		return name
	}
	return net.JoinHostPort(name, port)
}

// quoted is s for use in a message: short, and without anything but print.
func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", s)
}

func (s *Service) tokenError(w http.ResponseWriter, status int, kind string, code int, text string) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
	}
	reply(w, status, map[string]any{
		"error":             kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s", code, text),
		"error_codes":       []int{code},
		"timestamp":         s.clock().UTC().Format("2006-01-02 15:04:05Z"),
		"trace_id":          backup.NewID[string](),
		"correlation_id":    backup.NewID[string](),
		"error_uri":         fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", code),
	})
}

// caller is who a request to Graph is from.
type caller struct {
	tenant *tenant
	app    *App
	user   *User // nil when an application acts for itself
	may    []string
	by     string // how the application proved who it is; see tokenRequest
}

// authenticate returns the caller that the token of a request to Graph names.
func (s *Service) authenticate(r *http.Request) (caller, error) {
	who, audience, err := s.bearer(r)
	if err != nil {
		return caller{}, err
	}
	switch {
	case audience == originOf(r), onSharePoint(r) && slices.Contains(who.tenant.sharePoint(), audience):
	case audience == graphAudience && !(onSharePoint(r) && (s.faults.options().retired() || isSharePoint(r.Host))):
	default:
		return caller{}, wrongAudience(audience)
	}
	return who, nil
}

// onSharePoint reports whether a request is to SharePoint's own front.
func onSharePoint(r *http.Request) bool {
	return strings.HasPrefix(strings.ToLower(r.URL.Path), "/_api/") || isSharePoint(r.Host)
}

func isSharePoint(host string) bool {
	return strings.HasSuffix(strings.ToLower(host), ".sharepoint.com")
}

func wrongAudience(audience string) error {
	return fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience: the token is for "+quoted(audience)+".")
}

// bearer returns the caller that a request's token names, and what the token is
// for.
func (s *Service) bearer(r *http.Request) (who caller, audience string, err error) {
	kind, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	text = strings.TrimSpace(text)
	if !strings.EqualFold(kind, "Bearer") || text == "" {
		return caller{}, "", fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is missing. Send it as 'Authorization: Bearer …'.")
	}
	c, err := s.accessToken(text)
	if err != nil {
		message := "The access token was not issued here, or is damaged. Ask the token endpoint for a new one."
		if errors.Is(err, jwt.ErrTokenExpired) {
			message = "The access token has expired. Ask the token endpoint for a new one."
		}
		return caller{}, "", fail(http.StatusUnauthorized, "InvalidAuthenticationToken", message)
	}
	who = caller{tenant: s.tenants[c.Tenant], may: c.Roles, by: c.AppKind}
	if who.tenant != nil {
		who.app = who.tenant.app(c.AppID)
		if c.IDType == "user" {
			who.user, who.may = who.tenant.users[c.Object], strings.Fields(c.Scopes)
		}
	}
	if who.tenant == nil || who.app == nil || c.IDType == "user" && who.user == nil {
		return caller{}, "", fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is of a tenant, application or user that is gone.")
	}
	return who, c.Audience[0], nil
}

// accessToken reads an access token that was given here. Other tokens are none.
func (s *Service) accessToken(text string) (c claims, err error) {
	_, err = jwt.ParseWithClaims(unsealed(text), &c, func(*jwt.Token) (any, error) { return &s.key().key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.clock))
	if err == nil && (c.IDType != "app" && c.IDType != "user" || len(c.Audience) != 1) {
		err = errors.New("not an access token")
	}
	return c, err
}

// permission is what a route asks of its caller: one of the named roles.
type permission struct {
	code  string // of the refusal
	roles []string
}

var (
	readUsers   = permission{"Authorization_RequestDenied", []string{"User.Read.All", "User.ReadBasic.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}}
	readGroups  = permission{"Authorization_RequestDenied", []string{"GroupMember.Read.All", "Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}}
	readFiles   = permission{"accessDenied", []string{"Files.Read", "Files.ReadWrite", "Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
	writeFiles  = permission{"accessDenied", []string{"Files.ReadWrite", "Files.ReadWrite.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
	manageSites = permission{"accessDenied", []string{"Sites.Manage.All", "Sites.FullControl.All"}}
)

func (c caller) need(p permission) error {
	for _, have := range c.may {
		if slices.ContainsFunc(p.roles, func(role string) bool { return strings.EqualFold(role, have) }) {
			return nil
		}
	}
	return fail(http.StatusForbidden, p.code, "The application was not granted a permission that this call needs.")
}
