package simtenant

import (
	"cmp"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
)

// app returns an application by its id. One that is not registered in the tenant
// is another publisher's: it may sign people in, as they consent by that, and
// nothing else.
func (t *tenant) app(id string) *App {
	id = strings.ToLower(id)
	if app := t.apps[id]; app != nil {
		return app
	}
	if guid, ok := backup.ParseGUID(id); ok && guid == id {
		return &App{AppID: id, DisplayName: "An application of another publisher", foreign: true}
	}
	return nil
}

// api returns the application that a token for a resource is for, if it exposes
// permissions of its own.
func (t *tenant) api(resource string) *App {
	for _, a := range t.apps {
		if len(a.Exposes) > 0 && (strings.EqualFold(resource, a.AppID) || strings.EqualFold(resource, a.uri())) {
			return a
		}
	}
	return nil
}

func (a *App) uri() string { return cmp.Or(a.AppIDURI, "api://"+a.AppID) }

// exposed are those of some permissions that a exposes.
func (a *App) exposed(roles []string) []string {
	var own []string
	for _, role := range roles {
		if slices.Contains(a.Exposes, role) {
			own = append(own, role)
		}
	}
	return own
}

// delegable are the permissions that another publisher's application may be
// given: those that a route here asks for.
var delegable = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, route := range routes {
		for _, role := range route.need.roles {
			names[strings.ToLower(role)] = true
		}
	}
	return names
})

// foreignDefault is what another publisher's application has that asks for
// nothing by name.
var foreignDefault = []string{"User.Read", "Files.ReadWrite.All", "Sites.ReadWrite.All"}

// grants returns the permissions that a user's token for an application has.
func (a *App) grants(asked scopes) ([]string, error) {
	switch {
	case asked.api != nil && (asked.all || len(asked.names) == 0):
		return asked.api.exposed(a.Roles), nil
	case asked.api != nil:
	case strings.HasPrefix(asked.resource, "api://"), !strings.HasPrefix(asked.resource, "https://") && !strings.HasPrefix(asked.resource, "http://"):
		if asked.all || len(asked.names) == 0 {
			return []string{"access_as_user"}, nil
		}
		return asked.names, nil // what another application means by them is its own affair
	case asked.all || len(asked.names) == 0:
		if a.foreign {
			return foreignDefault, nil
		}
		return a.Roles, nil
	}
	for _, name := range asked.names {
		if a.foreign && delegable()[strings.ToLower(name)] || slices.ContainsFunc(a.Roles, func(role string) bool { return includes(role, name) }) {
			continue
		}
		return nil, invalidGrant(65001, "The application was not granted the permission "+quoted(name)+". Add it to the roles of the application in the tenant file.")
	}
	return asked.names, nil
}

// includes reports whether who has one permission has the other as well: who may
// write all files may read their own.
func includes(role, name string) bool {
	role, name = strings.ToLower(role), strings.ToLower(name)
	wide, all := strings.CutSuffix(role, ".all")
	own, others := strings.CutSuffix(name, ".all")
	if others && !all {
		return false
	}
	area, writes := strings.CutSuffix(wide, "readwrite")
	return own == wide || writes && own == area+"read"
}

// prove returns how an application proves who it is.
func (s *Service) prove(q tokenRequest, secret string) (string, error) {
	switch app := q.app; {
	case q.form.Get("client_assertion") != "":
		return "2", s.proveByCertificate(q)
	case secret != "" && app.foreign:
		return "1", nil // its secret is not ours to know
	case secret != "" && app.Secret == "" && app.Public:
		return "", refuse(http.StatusUnauthorized, "invalid_client", 700025, "The client is public, so neither 'client_assertion' nor 'client_secret' should be presented.")
	case secret != "":
		want, got := sha256.Sum256([]byte(app.Secret)), sha256.Sum256([]byte(secret))
		if app.Secret == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			return "", refuse(http.StatusUnauthorized, "invalid_client", 7000215, "The client secret is wrong.")
		}
		return "1", nil
	case app.foreign || app.Public:
		return "0", nil
	}
	return "", refuse(http.StatusUnauthorized, "invalid_client", 7000218, "The body must contain the parameter 'client_assertion' or 'client_secret'.")
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// proveByCertificate checks the statement that an application signed with the
// key of one of its certificates.
func (s *Service) proveByCertificate(q tokenRequest) error {
	if q.form.Get("client_assertion_type") != assertionType {
		return refuse(http.StatusBadRequest, "invalid_request", 900144, "The body must contain the parameter 'client_assertion_type' with the value "+assertionType+".")
	}
	var c jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(q.form.Get("client_assertion"), &c, func(token *jwt.Token) (any, error) {
		for _, text := range q.app.Certificates {
			cert, err := certificate(text)
			if err != nil {
				continue // validate has said so
			}
			if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && isOf(token, cert.Raw) {
				return key, nil
			}
		}
		return nil, errors.New("its header names no certificate of the application")
	}, jwt.WithValidMethods([]string{"RS256", "PS256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.clock))
	audience := len(c.Audience) == 1 && s.isTokenEndpoint(q, c.Audience[0])
	switch {
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse(http.StatusUnauthorized, "invalid_client", 700024, "The client assertion is not within its valid time range.")
	case err != nil:
		return refuse(http.StatusUnauthorized, "invalid_client", 700027, "The client assertion failed signature validation: "+err.Error()+".")
	case !strings.EqualFold(c.Issuer, q.app.AppID), !strings.EqualFold(c.Subject, q.app.AppID):
		return refuse(http.StatusUnauthorized, "invalid_client", 700021, "The client assertion's 'iss' and 'sub' are not the application's id.")
	case !audience:
		return refuse(http.StatusUnauthorized, "invalid_client", 700023, "The client assertion's audience is not the token endpoint.")
	}
	return nil
}

// isTokenEndpoint reports whether an address is the token endpoint of the
// request's tenant, by any of its names.
func (s *Service) isTokenEndpoint(q tokenRequest, address string) bool {
	address = strings.ToLower(address)
	origins := append(ownOrigins(q.Request), "https://login.microsoftonline.com")
	for _, origin := range origins {
		rest, ok := strings.CutPrefix(address, origin+"/")
		name, path, _ := strings.Cut(rest, "/")
		if ok && (shared(name) || s.tenants[name] == q.tenant) && (path == "oauth2/v2.0/token" || path == "v2.0") {
			return true
		}
	}
	return false
}

func certificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// isOf reports whether a token's header names a certificate by its thumbprint.
func isOf(token *jwt.Token, raw []byte) bool {
	short, long := sha1.Sum(raw), sha256.Sum256(raw)
	return token.Header["x5t#S256"] == base64.RawURLEncoding.EncodeToString(long[:]) ||
		token.Header["x5t"] == base64.RawURLEncoding.EncodeToString(short[:]) || token.Header["x5t"] == base64.URLEncoding.EncodeToString(short[:])
}
