package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
)

const (
	leeway        = 30 * time.Second // how far the clocks of issuer and server may differ
	maxTokenBytes = 32 << 10
	cacheSize     = 4096
	// cacheLife bounds how long a token outlives the withdrawal of the key that
	// signed it.
	cacheLife = 5 * time.Minute
)

// An Issuer is one whose tokens are trusted.
type Issuer struct {
	// Issuer is the iss claim. It may hold {tenantid} in the place of the tenant,
	// as the common endpoints of Entra publish it.
	Issuer string
	// JWKS is the address of its signing keys.
	JWKS string
	// Tenant, if given, is the only tenant it speaks for. Otherwise the tenant of
	// a token must be the one that its issuer names.
	Tenant backup.TenantID
}

// A Config says whose tokens are trusted.
type Config struct {
	Issuers   []Issuer
	Audiences []string // any of them suffices
	// Roles are those of each tenant that gives roles to groups.
	Roles map[backup.TenantID]TenantRoles
	Clock backup.Clock // nil means time.Now
	HTTP  *http.Client // for the signing keys; nil means a client of its own
}

// ErrToken is what every refused token's error is.
var ErrToken = errors.New("the access token is not valid")

// ErrGraphToken is the error of a token that Microsoft Graph alone can verify: Entra
// signs it over another header than the one that it bears.
var ErrGraphToken = fmt.Errorf("%w: it is one for Microsoft Graph, which nobody else can verify", ErrToken)

// GraphAppID is the id of Microsoft Graph as an application.
const GraphAppID = "00000003-0000-0000-c000-000000000000"

// graphAudiences are what tokens for Graph name as their audience, in all clouds.
var graphAudiences = []string{
	GraphAppID, "https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us", "https://microsoftgraph.chinacloudapi.cn",
}

// A Verifier tells who a token speaks for. It is safe for concurrent use.
type Verifier struct {
	issuers   []issuer
	audiences []string
	roles     map[backup.TenantID]TenantRoles
	clock     backup.Clock
	parser    *jwt.Parser

	mu    sync.Mutex
	cache map[[sha256.Size]byte]verified
}

type issuer struct {
	Issuer
	keys *keySet
}

type verified struct {
	caller    Caller
	notBefore time.Time
	until     time.Time
}

// NewVerifier returns a verifier of the tokens that cfg trusts. It makes no
// request until a token needs one.
func NewVerifier(cfg Config) *Verifier {
	v := &Verifier{clock: cfg.Clock, roles: cfg.Roles, cache: map[[sha256.Size]byte]verified{}}
	if v.clock == nil {
		v.clock = time.Now
	}
	client := cfg.HTTP
	if client == nil {
		client = &http.Client{Timeout: keysTimeout}
	}
	sets := map[string]*keySet{}
	for _, i := range cfg.Issuers {
		if sets[i.JWKS] == nil {
			sets[i.JWKS] = &keySet{url: i.JWKS, http: client, clock: v.clock}
		}
		v.issuers = append(v.issuers, issuer{i, sets[i.JWKS]})
	}
	for _, a := range cfg.Audiences {
		v.audiences = append(v.audiences, strings.TrimSuffix(a, "/"))
	}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(func() time.Time { return v.clock() }),
	)
	return v
}

// WithRoles returns a verifier of the same tokens with other roles.
func (v *Verifier) WithRoles(roles map[backup.TenantID]TenantRoles) *Verifier {
	return &Verifier{issuers: v.issuers, audiences: v.audiences, roles: roles, clock: v.clock, parser: v.parser, cache: map[[sha256.Size]byte]verified{}}
}

// Check asks each issuer for its keys and returns what stands in the way of verifying
// tokens, in sentences for whoever runs the server: nothing if all is well.
func (v *Verifier) Check(ctx context.Context) (wrong []error) {
	asked := map[*keySet]bool{}
	for _, i := range v.issuers {
		if asked[i.keys] {
			continue
		}
		asked[i.keys] = true
		ctx, cancel := context.WithTimeout(ctx, keysTimeout)
		if _, err := i.keys.read(ctx); err != nil {
			wrong = append(wrong, fmt.Errorf("the keys of the issuer %s cannot be read, so that no token of its can be verified; check jwks and the network: %w", i.Issuer.Issuer, err))
		}
		cancel()
	}
	return wrong
}

type claims struct {
	jwt.RegisteredClaims
	Tenant            string   `json:"tid"`
	Object            string   `json:"oid"`
	AppID             string   `json:"appid"` // version 1 tokens
	Azp               string   `json:"azp"`   // version 2 tokens
	AppName           string   `json:"app_displayname"`
	Name              string   `json:"name"`
	Email             string   `json:"email"`
	UPN               string   `json:"upn"`
	PreferredUsername string   `json:"preferred_username"`
	Scopes            string   `json:"scp"`
	Roles             []string `json:"roles"`
	DirectoryRoles    []string `json:"wids"`
	Groups            []string `json:"groups"`
	HasGroups         bool     `json:"hasgroups"`    // more than a token tells, in one of the implicit flow
	Elsewhere         sources  `json:"_claim_names"` // the same, in any other
	Type              string   `json:"idtyp"`
}

// sources are where claims are told that a token has no room for.
type sources struct {
	Groups string `json:"groups"`
}

// Verify returns who token speaks for. Every error is ErrToken, and none holds
// any of the token's text. It waits for an issuer only when the token's key is
// not known, and then for a few seconds at most.
func (v *Verifier) Verify(ctx context.Context, token string) (Caller, error) {
	if len(token) > maxTokenBytes {
		return Caller{}, fmt.Errorf("%w: it is longer than %d bytes", ErrToken, maxTokenBytes)
	}
	now := v.clock()
	hash := sha256.Sum256([]byte(token))
	if caller, ok := v.recall(hash, now); ok {
		return caller, nil
	}
	var c claims
	fresh := false
	t, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical {
			return nil, errors.New("it has critical headers")
		}
		if _, sealed := t.Header["nonce"]; sealed || !v.accepts(c.Audience) && among(c.Audience, graphAudiences) {
			return nil, ErrGraphToken
		}
		i, err := v.issuer(c)
		if err != nil {
			return nil, err
		}
		key, lately, err := i.keys.key(ctx, t)
		fresh = lately
		return key, err
	})
	if errors.Is(err, ErrGraphToken) {
		return Caller{}, ErrGraphToken
	}
	if err != nil || !t.Valid {
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !v.accepts(c.Audience) {
		return Caller{}, fmt.Errorf("%w: it is meant for another audience", ErrToken)
	}
	caller, err := v.caller(c)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if fresh { // an old key may have been withdrawn, which the next look will tell
		v.remember(hash, now, caller, c)
	}
	return caller, nil
}

// accepts reports whether a token of an audience is meant for us.
func (v *Verifier) accepts(audience jwt.ClaimStrings) bool { return among(audience, v.audiences) }

// among reports whether any of an audience is one of those known.
func among(audience jwt.ClaimStrings, known []string) bool {
	return slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(known, strings.TrimSuffix(a, "/")) })
}

// issuer returns the trusted issuer of a token, by its claims, which are not
// verified yet: they only say whose keys to verify with.
func (v *Verifier) issuer(c claims) (*issuer, error) {
	tenant, ok := backup.ParseGUID(c.Tenant)
	if !ok {
		return nil, errors.New("it names no tenant")
	}
	for n := range v.issuers {
		i := &v.issuers[n]
		template := strings.Contains(i.Issuer.Issuer, "{tenantid}")
		if c.Issuer != strings.ReplaceAll(i.Issuer.Issuer, "{tenantid}", c.Tenant) {
			continue
		}
		switch {
		case i.Tenant != "":
			if string(i.Tenant) != tenant {
				continue
			}
		case !template && !strings.Contains(strings.ToLower(i.Issuer.Issuer)+"/", "/"+tenant+"/"):
			continue
		}
		return i, nil
	}
	return nil, errors.New("its issuer is not trusted for its tenant")
}

// caller returns who the verified claims speak for.
func (v *Verifier) caller(c claims) (Caller, error) {
	tenant, _ := backup.ParseGUID(c.Tenant)
	who := Caller{
		Tenant:    backup.TenantID(tenant),
		AppID:     strings.ToLower(c.AppID),
		AppName:   c.AppName,
		Delegated: c.Type == "user" || c.Scopes != "" && c.Type != "app",
		Granted:   map[Permission]bool{},
	}
	if who.AppID == "" {
		who.AppID = strings.ToLower(c.Azp)
	}
	if who.AppID == "" {
		return Caller{}, errors.New("it names no application")
	}
	granted := c.Roles
	if who.Delegated {
		granted = strings.Fields(c.Scopes)
		if c.Object == "" {
			return Caller{}, errors.New("it names no user")
		}
		who.UserID, who.UserName, who.Email = strings.ToLower(c.Object), c.Name, c.Email
		for _, address := range []string{c.UPN, c.PreferredUsername} {
			if who.Email == "" {
				who.Email = address
			}
		}
		for _, role := range c.DirectoryRoles {
			who.DirectoryRoles = append(who.DirectoryRoles, strings.ToLower(role))
		}
		who.Roles, who.Narrowed = v.roles[who.Tenant].roles(c.Roles, c.Groups)
		who.Limited = v.roles[who.Tenant].limited(c.Groups)
		who.GroupsLeftOut = c.HasGroups || c.Elsewhere.Groups != ""
	}
	for _, p := range granted {
		who.Granted[Permission(p)] = true
	}
	return who, nil
}

func (v *Verifier) recall(hash [sha256.Size]byte, now time.Time) (Caller, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.cache[hash]
	if !ok || now.Before(e.notBefore) || !now.Before(e.until) {
		return Caller{}, false
	}
	return e.caller, true
}

func (v *Verifier) remember(hash [sha256.Size]byte, now time.Time, caller Caller, c claims) {
	e := verified{caller: caller, until: now.Add(cacheLife)}
	if expires := c.ExpiresAt.Add(leeway); expires.Before(e.until) {
		e.until = expires
	}
	if c.NotBefore != nil {
		e.notBefore = c.NotBefore.Add(-leeway)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.cache) >= cacheSize {
		maps.DeleteFunc(v.cache, func(_ [sha256.Size]byte, e verified) bool { return !now.Before(e.until) })
	}
	for h := range v.cache { // still full: any will do
		if len(v.cache) < cacheSize {
			break
		}
		delete(v.cache, h)
	}
	v.cache[hash] = e
}
