package simtenant

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
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

// graphAudience is the resource that every token is for.
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

// claims are those of a token for Graph.
type claims struct {
	jwt.RegisteredClaims
	Version         string   `json:"ver"`
	Tenant          string   `json:"tid"`
	Object          string   `json:"oid"`
	AppID           string   `json:"appid"`
	AppKind         string   `json:"appidacr"`
	AuthorizedParty string   `json:"azp"`
	AppDisplayName  string   `json:"app_displayname,omitempty"`
	IDType          string   `json:"idtyp"`
	Roles           []string `json:"roles,omitempty"`
	Scopes          string   `json:"scp,omitempty"`
	Name            string   `json:"name,omitempty"`
	UPN             string   `json:"upn,omitempty"`
	UniqueName      string   `json:"unique_name,omitempty"`
	TokenID         string   `json:"uti"`
}

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
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code"},
		"grant_types_supported":                 []string{"authorization_code", "refresh_token", "client_credentials", "password"},
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

// serveToken gives a token to an application by its secret: for itself, for a
// user who signed in, or, which only a development tenant does, for a named user
// by any password.
func (s *Service) serveToken(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Cache-Control", "no-store")
	t := s.tenants[name]
	if t == nil {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 90002, "There is no tenant "+quoted(name)+" here. Check the tenant id in the address.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 90015, "The body is not a form.")
		return
	}
	form := r.PostForm
	grant := form.Get("grant_type")
	if grant == "" {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 900144, "The body must contain the parameter 'grant_type'.")
		return
	}
	switch grant {
	case "client_credentials", "password", "authorization_code", "refresh_token":
	default:
		s.tokenError(w, http.StatusBadRequest, "unsupported_grant_type", 70003, "This tenant gives tokens for 'authorization_code', 'refresh_token', 'client_credentials' and 'password' only.")
		return
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		// Both halves are form-encoded before they are joined; a half that
		// does not decode was sent as it is.
		id, secret = unescaped(user), unescaped(password)
	}
	if id == "" {
		s.tokenError(w, http.StatusBadRequest, "invalid_request", 900144, "The body must contain the parameter 'client_id'.")
		return
	}
	if secret == "" {
		s.tokenError(w, http.StatusUnauthorized, "invalid_client", 7000218, "The body must contain the parameter 'client_secret'.")
		return
	}
	app := t.apps[strings.ToLower(id)]
	if app == nil {
		s.tokenError(w, http.StatusBadRequest, "unauthorized_client", 700016, "There is no application "+quoted(id)+" in the tenant "+t.DisplayName+".")
		return
	}
	want, got := sha256.Sum256([]byte(app.Secret)), sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		s.tokenError(w, http.StatusUnauthorized, "invalid_client", 7000215, "The client secret is wrong.")
		return
	}
	scopes := parseScopes(form.Get("scope"))
	if scopes.foreign != "" {
		s.tokenError(w, http.StatusBadRequest, "invalid_resource", 500011, "The resource "+quoted(scopes.foreign)+" is not known in this tenant. Ask for "+graphAudience+".")
		return
	}
	now := s.clock()
	principal := guidText(derive("servicePrincipal", string(t.ID), app.AppID))
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer(r, string(t.ID)), Subject: principal, Audience: jwt.ClaimStrings{graphAudience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-5 * time.Minute)),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
		},
		Version: "1.0", Tenant: string(t.ID), Object: principal, AppID: app.AppID, AppKind: "1",
		AuthorizedParty: app.AppID, AppDisplayName: app.DisplayName, IDType: "app",
		TokenID: strings.ToLower(rand.Text()),
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599}
	if grant == "client_credentials" {
		if !scopes.all || len(scopes.names) > 0 {
			s.tokenError(w, http.StatusBadRequest, "invalid_scope", 1002012, "An application asks for the scope '"+graphAudience+"/.default'.")
			return
		}
		c.Roles = app.Roles
	} else {
		u, ok := s.signedIn(w, r, t, app)
		if !ok {
			return
		}
		if scopes.all || len(scopes.names) == 0 {
			scopes.names = app.Roles
		}
		for _, name := range scopes.names {
			if !slices.ContainsFunc(app.Roles, func(role string) bool { return strings.EqualFold(role, name) }) {
				s.tokenError(w, http.StatusBadRequest, "invalid_grant", 65001, "The application was not granted the permission "+quoted(name)+". Add it to the roles of the application in the tenant file.")
				return
			}
		}
		c.Scopes, c.IDType = strings.Join(scopes.names, " "), "user"
		c.Object, c.Subject = string(u.ID), guidText(derive("subject", app.AppID, string(u.ID)))
		c.Name, c.UPN, c.UniqueName = u.DisplayName, u.UserPrincipalName, u.UserPrincipalName
		answer["scope"] = c.Scopes
		if !s.identify(w, r, answer, t, app, u) {
			return
		}
	}
	text, ok := s.signed(w, c)
	if !ok {
		return
	}
	answer["access_token"] = text
	reply(w, http.StatusOK, answer)
}

// signed is a token of claims. If it cannot be made, it answers so and reports
// false.
func (s *Service) signed(w http.ResponseWriter, c jwt.Claims) (string, bool) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	token.Header["kid"], token.Header["x5t"] = s.key().kid, s.key().kid
	text, err := token.SignedString(s.key().key)
	if err != nil {
		s.log.Error("a token could not be signed", "err", err)
		s.tokenError(w, http.StatusInternalServerError, "server_error", 90033, "The token could not be signed.")
	}
	return text, err == nil
}

func unescaped(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// scopes are what a token request asks for.
type scopes struct {
	all     bool     // .default
	names   []string // permissions by name
	foreign string   // a resource that is not Graph
}

// parseScopes reads a scope parameter. A name without a resource means Graph;
// OpenID's own scopes ask nothing of Graph and are left out.
func parseScopes(text string) (out scopes) {
	for _, f := range strings.Fields(text) {
		switch f {
		case "openid", "profile", "email", "offline_access":
			continue
		}
		if i := strings.LastIndex(f, "/"); i >= 0 {
			switch strings.TrimSuffix(f[:i], "/") { // a double slash before the name is customary
			case graphAudience, "00000003-0000-0000-c000-000000000000":
			default:
				out.foreign = f[:i]
			}
			f = f[i+1:]
		}
		switch f {
		case ".default":
			out.all = true
		case "User.Read": // what sign-in always asks for
		default:
			out.names = append(out.names, f)
		}
	}
	return out
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
}

// authenticate returns the caller that the request's token names.
func (s *Service) authenticate(r *http.Request) (caller, error) {
	kind, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	text = strings.TrimSpace(text)
	if !strings.EqualFold(kind, "Bearer") || text == "" {
		return caller{}, fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is missing. Send it as 'Authorization: Bearer …'.")
	}
	var c claims
	_, err := jwt.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return &s.key().key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(graphAudience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.clock))
	if err != nil {
		message := "The access token was not issued here, or is damaged. Ask the token endpoint for a new one."
		if errors.Is(err, jwt.ErrTokenExpired) {
			message = "The access token has expired. Ask the token endpoint for a new one."
		}
		return caller{}, fail(http.StatusUnauthorized, "InvalidAuthenticationToken", message)
	}
	who := caller{tenant: s.tenants[c.Tenant], may: c.Roles}
	if who.tenant != nil {
		who.app = who.tenant.apps[c.AppID]
		if c.IDType == "user" {
			who.user, who.may = who.tenant.users[c.Object], strings.Fields(c.Scopes)
		}
	}
	if who.tenant == nil || who.app == nil || c.IDType == "user" && who.user == nil {
		return caller{}, fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is of a tenant, application or user that is gone.")
	}
	return who, nil
}

// permission is what a route asks of its caller: one of the named roles.
type permission struct {
	code  string // of the refusal
	roles []string
}

var (
	readUsers   = permission{"Authorization_RequestDenied", []string{"User.Read.All", "User.ReadBasic.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}}
	readGroups  = permission{"Authorization_RequestDenied", []string{"GroupMember.Read.All", "Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}}
	readFiles   = permission{"accessDenied", []string{"Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
	writeFiles  = permission{"accessDenied", []string{"Files.ReadWrite.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
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
