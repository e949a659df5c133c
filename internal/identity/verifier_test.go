package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
)

const (
	tenant   = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	audience = "https://graph.microsoft.com"
	app      = "1fec8e78-bce4-4aaf-ab1b-5451cc387264"
	user     = "845457dc-4bb2-4815-bef3-8628ebd1952e"
)

// An authority is an issuer of tokens whose keys can be changed and whose
// server can be down.
type authority struct {
	*httptest.Server
	keys    map[string]*rsa.PrivateKey
	down    atomic.Bool
	fetches atomic.Int64
}

func newAuthority(t *testing.T, kids ...string) *authority {
	a := &authority{keys: map[string]*rsa.PrivateKey{}}
	for _, kid := range kids {
		a.addKey(t, kid)
	}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fetches.Add(1)
		if a.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		keys := []any{map[string]string{"kty": "EC", "kid": "curve", "crv": "none of ours"}}
		for kid, k := range a.keys {
			keys = append(keys, map[string]string{"kty": "RSA", "use": "sig", "kid": kid,
				"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()),
				"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())})
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *authority) addKey(t *testing.T, kid string) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a.keys[kid] = k
}

func (a *authority) sign(t *testing.T, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = kid
	s, err := token.SignedString(a.keys[kid])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func appClaims(a *authority) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": a.URL + "/" + tenant + "/v2.0", "aud": audience, "tid": tenant, "azp": app, "oid": "the service principal",
		"idtyp": "app", "roles": []string{string(ConfigurationRead)},
		"nbf": start.Unix(), "exp": start.Add(time.Hour).Unix(),
	}
}

func userClaims(a *authority) jwt.MapClaims {
	c := appClaims(a)
	delete(c, "idtyp")
	delete(c, "azp")
	c["appid"], c["app_displayname"] = app, "Console"
	c["oid"], c["name"], c["upn"] = user, "Amala", "amala@contoso.com"
	c["scp"] = "openid " + string(RestoreWrite)
	return c
}

// with returns claims with a few of them changed; nil removes one.
func with(c jwt.MapClaims, changes ...any) jwt.MapClaims {
	c = maps.Clone(c)
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

func newTestVerifier(a *authority, now *time.Time) *Verifier {
	return NewVerifier(Config{
		Issuers: []Issuer{
			{Issuer: a.URL + "/{tenantid}/v2.0", JWKS: a.URL + "/keys"},
			{Issuer: "https://fixed.example/", JWKS: a.URL + "/keys", Tenant: tenant},
			{Issuer: "https://loose.example/", JWKS: a.URL + "/keys"},
			{Issuer: "https://plain.example/" + tenant, JWKS: a.URL + "/keys"},
		},
		Audiences: []string{audience + "/", "api://holdfast"},
		Clock:     func() time.Time { return *now },
		HTTP:      a.Client(),
	})
}

func TestVerifyTellsWhoIsAsking(t *testing.T) {
	a, now := newAuthority(t, "k1"), start
	v := newTestVerifier(a, &now)

	got, err := v.Verify(t.Context(), a.sign(t, "k1", appClaims(a)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Delegated || got.Tenant != tenant || got.AppID != app || got.UserID != "" || !got.Granted[ConfigurationRead] {
		t.Errorf("application: %+v", got)
	}
	if !got.May(ListPolicies) || got.May(CreatePolicy) || got.May("unheard of") {
		t.Error("application: the permission does not give what it should")
	}

	got, err = v.Verify(t.Context(), a.sign(t, "k1", userClaims(a)))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Delegated || got.AppName != "Console" || got.UserID != user || got.UserName != "Amala" || got.Email != "amala@contoso.com" {
		t.Errorf("user: %+v", got)
	}
	// What the user's roles would allow, the application was not given.
	if !got.May(ActivateSession) || got.May(ListPolicies) {
		t.Error("user: the scope does not give what it should")
	}
	if set := got.Identities(); set.Application.DisplayName != "Console" || set.User.Email != "amala@contoso.com" {
		t.Errorf("Identities = %+v", set)
	}

	personal := with(userClaims(a), "tid", string(PersonalTenant), "iss", a.URL+"/"+string(PersonalTenant)+"/v2.0")
	if got, err = v.Verify(t.Context(), a.sign(t, "k1", personal)); err != nil || got.May(ActivateSession) {
		t.Errorf("a personal account = %v, may activate: %t", err, got.May(ActivateSession))
	}
}

func TestVerifyAccepts(t *testing.T) {
	a, now := newAuthority(t, "k1"), start
	v := newTestVerifier(a, &now)
	base := appClaims(a)
	for name, c := range map[string]jwt.MapClaims{
		"one of several audiences":       with(base, "aud", []string{"other", "api://holdfast"}),
		"an issuer fixed to its tenant":  with(base, "iss", "https://fixed.example/"),
		"an issuer that spells its own":  with(base, "iss", "https://plain.example/"+tenant),
		"a tenant in upper case":         with(base, "tid", strings.ToUpper(tenant), "iss", a.URL+"/"+strings.ToUpper(tenant)+"/v2.0"),
		"just expired, within leeway":    with(base, "exp", start.Add(-20*time.Second).Unix()),
		"not quite valid, within leeway": with(base, "nbf", start.Add(20*time.Second).Unix()),
		"no nbf":                         with(base, "nbf", nil),
	} {
		if _, err := v.Verify(t.Context(), a.sign(t, "k1", c)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	a, now := newAuthority(t, "k1"), start
	stranger := newAuthority(t, "k1")
	v := newTestVerifier(a, &now)
	base := appClaims(a)
	good := a.sign(t, "k1", base)
	part := strings.Split(good, ".")

	none := jwt.NewWithClaims(jwt.SigningMethodNone, base)
	none.Header["kid"] = "k1"
	unsigned, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	hs := jwt.NewWithClaims(jwt.SigningMethodHS256, base)
	hs.Header["kid"] = "k1"
	symmetric, err := hs.SignedString(a.keys["k1"].N.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	crit := jwt.NewWithClaims(jwt.SigningMethodRS256, base)
	crit.Header["kid"], crit.Header["crit"] = "k1", []string{"exp"}
	critical, err := crit.SignedString(a.keys["k1"])
	if err != nil {
		t.Fatal(err)
	}
	noKid, err := jwt.NewWithClaims(jwt.SigningMethodRS256, base).SignedString(a.keys["k1"])
	if err != nil {
		t.Fatal(err)
	}

	tokens := map[string]string{
		"empty": "", "garbage": "garbage", "three dots": "...", "two parts": part[0] + "." + part[1],
		"alg none": unsigned, "HS256 with the public key": symmetric, "critical header": critical, "no key id": noKid,
		"another's key": stranger.sign(t, "k1", base),
		"no signature":  part[0] + "." + part[1] + ".",
		"other claims":  part[0] + "." + strings.Split(a.sign(t, "k1", with(base, "roles", []string{string(ConfigurationWrite)})), ".")[1] + "." + part[2],
		"too long":      good + strings.Repeat("A", maxTokenBytes),
	}
	for name, c := range map[string]jwt.MapClaims{
		"expired":                           with(base, "exp", start.Add(-31*time.Second).Unix()),
		"never expires":                     with(base, "exp", nil),
		"not yet valid":                     with(base, "nbf", start.Add(31*time.Second).Unix()),
		"other audience":                    with(base, "aud", "https://example.com"),
		"no audience":                       with(base, "aud", nil),
		"other issuer":                      with(base, "iss", "https://evil.example/"+tenant+"/v2.0"),
		"no issuer":                         with(base, "iss", nil),
		"issuer of another tenant":          with(base, "iss", a.URL+"/00000000-0000-4000-8000-000000000000/v2.0"),
		"fixed issuer, other tenant":        with(base, "iss", "https://fixed.example/", "tid", "00000000-0000-4000-8000-000000000000"),
		"issuer that does not say whose":    with(base, "iss", "https://loose.example/"),
		"no tenant":                         with(base, "tid", nil),
		"tenant that is no GUID":            with(base, "tid", "contoso", "iss", a.URL+"/contoso/v2.0"),
		"no application":                    with(base, "azp", nil),
		"a user's without the user":         with(userClaims(a), "oid", nil),
		"roles that are not a list":         with(base, "roles", "BackupRestore-Configuration.Read.All"),
		"an expiry that is not a number":    with(base, "exp", "tomorrow"),
		"an issuer with the literal braces": with(base, "iss", a.URL+"/{tenantid}/v2.0"),
	} {
		tokens[name] = a.sign(t, "k1", c)
	}
	for name, token := range tokens {
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: Verify = %v, want ErrToken", name, err)
		} else if len(part[2]) > 0 && strings.Contains(err.Error(), part[2]) {
			t.Errorf("%s: the error holds the signature", name)
		}
	}
}

func TestKeysAreFetchedWhenNeededAndNotMore(t *testing.T) {
	a, now := newAuthority(t, "k1"), start
	v := newTestVerifier(a, &now)
	want := func(fetches int64, when string) {
		t.Helper()
		if got := a.fetches.Load(); got != fetches {
			t.Errorf("%s: %d fetches, want %d", when, got, fetches)
		}
	}
	want(0, "before the first token")
	a.down.Store(true)
	token := a.sign(t, "k1", appClaims(a))
	for range 5 {
		if _, err := v.Verify(t.Context(), token); err == nil {
			t.Fatal("a token was accepted without keys")
		}
	}
	want(1, "while the issuer is down")
	a.down.Store(false)
	now = now.Add(2 * time.Second)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatalf("once the issuer is up: %v", err)
	}
	want(2, "once the issuer is up")

	a.addKey(t, "k2")
	renewed := a.sign(t, "k2", appClaims(a))
	for i := range 50 { // a storm of tokens with keys that nobody has
		bad := jwt.NewWithClaims(jwt.SigningMethodRS256, appClaims(a))
		bad.Header["kid"] = fmt.Sprint("unknown ", i)
		s, _ := bad.SignedString(a.keys["k1"])
		v.Verify(t.Context(), s)
	}
	want(2, "after a storm")
	now = now.Add(keysUnknown)
	if _, err := v.Verify(t.Context(), renewed); err != nil {
		t.Fatalf("a new key: %v", err)
	}
	want(3, "after a new key")

	// The issuer withdraws a key: what it signed is refused once the keys are
	// read again, and the memory of it is over.
	delete(a.keys, "k1")
	now = now.Add(59 * time.Minute)
	fresh := a.sign(t, "k2", with(appClaims(a), "exp", now.Add(2*time.Hour).Unix()))
	if _, err := v.Verify(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	want(3, "within the hour")
	now = now.Add(time.Minute)
	a.down.Store(true)
	if _, err := v.Verify(t.Context(), a.sign(t, "k2", with(appClaims(a), "exp", now.Add(time.Hour).Unix()))); err != nil {
		t.Fatalf("known keys while the issuer is down: %v", err)
	}
	v.issuers[0].keys.settle()
	want(4, "after the hour")
}

// settle waits until no fetch is under way.
func (s *keySet) settle() {
	s.mu.Lock()
	running := s.fetching
	s.mu.Unlock()
	if running != nil {
		<-running.done
	}
}

func TestASlowIssuerHoldsUpNobodyWhoseKeyIsKnown(t *testing.T) {
	slow, other, now := newAuthority(t, "k1"), newAuthority(t, "k1"), start
	asked, free := make(chan struct{}, 9), make(chan struct{})
	hang := false
	serve := slow.Config.Handler
	slow.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hang {
			asked <- struct{}{}
			<-free
		}
		serve.ServeHTTP(w, r)
	})
	v := NewVerifier(Config{
		Issuers: []Issuer{
			{Issuer: slow.URL + "/{tenantid}/v2.0", JWKS: slow.URL + "/keys"},
			{Issuer: other.URL + "/{tenantid}/v2.0", JWKS: other.URL + "/keys"},
		},
		Audiences: []string{audience},
		Clock:     func() time.Time { return now },
	})
	claims := func(a *authority, n int) jwt.MapClaims {
		return with(appClaims(a), "exp", start.Add(9*time.Hour).Unix(), "jti", fmt.Sprint(n))
	}
	if _, err := v.Verify(t.Context(), slow.sign(t, "k1", claims(slow, 1))); err != nil {
		t.Fatal(err)
	}
	hang = true
	now = now.Add(2 * keysFresh)
	token := slow.sign(t, "k1", claims(slow, 2))
	for range 2 {
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("a known key while the issuer is asked anew: %v", err)
		}
	}
	if len(v.cache) != 1 {
		t.Error("a token is remembered whose key may have been withdrawn")
	}
	<-asked

	// Whose key is not known waits, for as long as the request lasts.
	slow.addKey(t, "k2")
	ctx, cancel := context.WithCancel(t.Context())
	gone, came := make(chan error), make(chan error)
	unknown := slow.sign(t, "k2", claims(slow, 3))
	verify := func(ctx context.Context, result chan error) {
		_, err := v.Verify(ctx, unknown)
		result <- err
	}
	go verify(ctx, gone)
	go verify(t.Context(), came)
	if _, err := v.Verify(t.Context(), other.sign(t, "k1", claims(other, 4))); err != nil {
		t.Errorf("another issuer: %v", err)
	}
	if _, err := v.Verify(t.Context(), slow.sign(t, "k1", claims(slow, 5))); err != nil {
		t.Errorf("a known key while others wait: %v", err)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrToken) {
		t.Errorf("a request that ended = %v", err)
	}
	close(free)
	if err := <-came; err != nil {
		t.Errorf("a new key once the issuer answers: %v", err)
	}
	if n := len(asked); n != 0 {
		t.Errorf("%d more requests to the issuer, want none", n)
	}
}

func TestAnIssuerThatPublishesNothingTakesNoKeyAway(t *testing.T) {
	a, now := newAuthority(t, "k1"), start
	v := newTestVerifier(a, &now)
	if _, err := v.Verify(t.Context(), a.sign(t, "k1", appClaims(a))); err != nil {
		t.Fatal(err)
	}
	key := a.keys["k1"]
	delete(a.keys, "k1")
	now = now.Add(keysFresh)
	token := func() string {
		a.keys["k1"] = key
		defer delete(a.keys, "k1")
		return a.sign(t, "k1", with(appClaims(a), "exp", now.Add(time.Hour).Unix()))
	}()
	for range 2 {
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
		v.issuers[0].keys.settle()
	}
}

func TestVerifiedTokensAreRememberedUntilTheyExpire(t *testing.T) {
	a, now := newAuthority(t, "k1"), start
	v := newTestVerifier(a, &now)
	token := a.sign(t, "k1", with(appClaims(a), "exp", start.Add(2*time.Minute).Unix()))
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if len(v.cache) != 1 {
		t.Fatalf("%d tokens remembered, want 1", len(v.cache))
	}
	now = start.Add(2*time.Minute + 29*time.Second)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	now = now.Add(2 * time.Second)
	if _, err := v.Verify(t.Context(), token); err == nil {
		t.Error("an expired token was accepted from memory")
	}
	for i := range cacheSize + 10 {
		v.remember([32]byte{byte(i), byte(i >> 8), 1}, now, Caller{}, claims{RegisteredClaims: jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour))}})
	}
	if len(v.cache) > cacheSize {
		t.Errorf("%d tokens remembered, want at most %d", len(v.cache), cacheSize)
	}
}

func TestTableIsComplete(t *testing.T) {
	for op, need := range Table {
		for _, list := range [][]Permission{need.Delegated, need.Application} {
			for _, p := range list {
				if !slices.Contains(Permissions, p) {
					t.Errorf("%s: there is no permission %q", op, p)
				}
			}
		}
		if len(need.Delegated) == 0 {
			t.Errorf("%s: no user may do it", op)
		}
	}
	all := map[Permission]bool{}
	for _, p := range Permissions {
		all[p] = true
	}
	if !(Caller{Tenant: backup.TenantID(tenant), Granted: all}).May(CreatePolicy) {
		t.Error("an application with every permission may not create a policy")
	}
}

func BenchmarkVerify(b *testing.B) {
	t := &testing.T{}
	key, _ := rsa.GenerateKey(rand.Reader, 2048)
	a := &authority{keys: map[string]*rsa.PrivateKey{"k1": key}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{"kty": "RSA", "kid": "k1",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": "AQAB"}}})
	}))
	defer a.Close()
	now := start
	v := newTestVerifier(a, &now)
	token := a.sign(t, "k1", appClaims(a))
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
