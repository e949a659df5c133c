package simtenant

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// verify checks a token as another service would: by discovery and keys.
func (w *world) verify(token, tenant string) jwt.MapClaims {
	w.t.Helper()
	conf := w.must(200, "GET", w.srv.URL+"/"+tenant+"/v2.0/.well-known/openid-configuration", nil, "Authorization", "")
	keys := w.must(200, "GET", conf.text("jwks_uri"), nil, "Authorization", "")
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(tok *jwt.Token) (any, error) {
		for _, k := range keys.body["keys"].([]any) {
			k := k.(map[string]any)
			if k["kid"] == tok.Header["kid"] {
				n, _ := base64.RawURLEncoding.DecodeString(k["n"].(string))
				e, _ := base64.RawURLEncoding.DecodeString(k["e"].(string))
				return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithIssuer(conf.text("issuer")), jwt.WithAudience("https://graph.microsoft.com"), jwt.WithExpirationRequired())
	if err != nil {
		w.t.Errorf("token: %v", err)
	}
	return claims
}

func TestTokenOfAnApplication(t *testing.T) {
	w := newWorld(t)
	tenant := w.cfg.Tenants[0]
	app := tenant.Apps[0]
	form := func(scope string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "scope": {scope}, "client_id": {app.AppID}, "client_secret": {app.Secret}}
	}
	for _, scope := range []string{".default", "https://graph.microsoft.com/.default", "https://graph.microsoft.com/.default openid offline_access profile"} {
		claims := w.verify(w.signIn(string(tenant.ID), form(scope)), string(tenant.ID))
		if claims["tid"] != string(tenant.ID) || claims["appid"] != app.AppID || claims["idtyp"] != "app" || claims["scp"] != nil {
			t.Errorf("claims = %v", claims)
		}
		if got := len(claims["roles"].([]any)); got != len(app.Roles) {
			t.Errorf("%d roles, want %d", got, len(app.Roles))
		}
	}
	// By the tenant's domain, and by HTTP Basic.
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.srv.URL+"/contoso.com/oauth2/v2.0/token?client-request-id=1",
		strings.NewReader("grant_type=client_credentials&scope=.default"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(url.QueryEscape(app.AppID), url.QueryEscape(app.Secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("token by Basic = %s", resp.Status)
	}
}

func TestTokenOfAUser(t *testing.T) {
	w := newWorld(t)
	tenant := w.cfg.Tenants[0]
	app := tenant.Apps[0]
	form := url.Values{
		"grant_type": {"password"}, "client_id": {app.AppID}, "client_secret": {app.Secret}, "username": {"AMALA@contoso.com"}, "password": {"x"},
		"scope": {"openid https://graph.microsoft.com/BackupRestore-Configuration.Read.All BackupRestore-Search.Read.All"},
	}
	claims := w.verify(w.signIn(string(tenant.ID), form), string(tenant.ID))
	if claims["scp"] != "BackupRestore-Configuration.Read.All BackupRestore-Search.Read.All" || claims["idtyp"] != "user" ||
		claims["oid"] != string(tenant.Users[0].ID) || claims["upn"] != amala || claims["roles"] != nil {
		t.Errorf("claims = %v", claims)
	}
	form.Set("scope", "https://graph.microsoft.com/.default")
	w.token = w.signIn(string(tenant.ID), form)
	if claims := w.verify(w.token, string(tenant.ID)); len(strings.Fields(claims["scp"].(string))) != len(app.Roles) {
		t.Errorf("scp = %v", claims["scp"])
	}
	if got := w.must(200, "GET", "/me", nil).text("userPrincipalName"); got != amala {
		t.Errorf("/me = %q", got)
	}
	w.must(200, "GET", "/me/drive/root", nil)
}

func TestTokenRefusals(t *testing.T) {
	w := newWorld(t)
	tenant := w.cfg.Tenants[0]
	good := map[string]string{
		"grant_type": "client_credentials", "scope": ".default", "client_id": tenant.Apps[0].AppID, "client_secret": tenant.Apps[0].Secret,
	}
	for _, c := range []struct {
		tenant  string
		change  map[string]string
		status  int
		error   string
		numeric string
	}{
		{"11111111-1111-1111-1111-111111111111", nil, 400, "invalid_request", "AADSTS90002"},
		{"", map[string]string{"client_secret": "wrong"}, 401, "invalid_client", "AADSTS7000215"},
		{"", map[string]string{"client_secret": ""}, 401, "invalid_client", "AADSTS7000218"},
		{"", map[string]string{"client_id": "22222222-1111-1111-1111-111111111111"}, 400, "unauthorized_client", "AADSTS700016"},
		{"", map[string]string{"client_id": ""}, 400, "invalid_request", "AADSTS900144"},
		{"", map[string]string{"grant_type": ""}, 400, "invalid_request", "AADSTS900144"},
		{"", map[string]string{"grant_type": "device_code"}, 400, "unsupported_grant_type", "AADSTS70003"},
		{"", map[string]string{"scope": ""}, 400, "invalid_scope", "AADSTS1002012"},
		{"", map[string]string{"scope": "Files.Read.All"}, 400, "invalid_scope", "AADSTS1002012"},
		{"", map[string]string{"scope": "https://example.com/.default"}, 400, "invalid_resource", "AADSTS500011"},
		{"", map[string]string{"grant_type": "password", "username": "nobody@contoso.com", "password": "x"}, 400, "invalid_grant", "AADSTS50126"},
		{"", map[string]string{"grant_type": "password", "username": amala}, 400, "invalid_grant", "AADSTS50126"},
		{"", map[string]string{"grant_type": "password", "username": amala, "password": "x", "scope": "Chat.Read"}, 400, "invalid_grant", "AADSTS65001"},
	} {
		form := url.Values{}
		for k, v := range good {
			form.Set(k, v)
		}
		for k, v := range c.change {
			form.Set(k, v)
		}
		id := c.tenant
		if id == "" {
			id = string(tenant.ID)
		}
		a := w.do("POST", w.srv.URL+"/"+id+"/oauth2/v2.0/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "")
		if a.status != c.status || a.text("error") != c.error || !strings.HasPrefix(a.text("error_description"), c.numeric+": ") {
			t.Errorf("%v: %d %s, want %d %s %s", c.change, a.status, a.raw, c.status, c.error, c.numeric)
		}
		if strings.Contains(string(a.raw), "holdfast-dev-secret") {
			t.Errorf("%v: the answer tells the secret", c.change)
		}
	}
	if a := w.do("GET", w.srv.URL+"/"+string(tenant.ID)+"/oauth2/v2.0/token", nil); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET of the token endpoint = %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

func TestTokensOutliveTheProcess(t *testing.T) {
	w := newWorld(t)
	token := w.token
	w.restart()
	w.token = token
	w.must(200, "GET", "/users/"+amala, nil)
}

func TestIssuerCanBeFixed(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.cfg.Issuer = "https://sim.example:8365/"
	w.start()
	id := string(w.cfg.Tenants[0].ID)
	if got, want := w.verify(w.token, id)["iss"], "https://sim.example:8365/"+id+"/v2.0"; got != want {
		t.Errorf("iss = %v, want %v", got, want)
	}
	conf := w.must(200, "GET", w.srv.URL+"/"+id+"/v2.0/.well-known/openid-configuration", nil)
	if got := conf.text("token_endpoint"); !strings.HasPrefix(got, w.srv.URL) {
		t.Errorf("token_endpoint = %q", got)
	}
	if got := w.must(200, "GET", w.srv.URL+"/common/v2.0/.well-known/openid-configuration", nil).text("issuer"); !strings.HasSuffix(got, "/{tenantid}/v2.0") {
		t.Errorf("issuer of common = %q", got)
	}
	instance := w.must(200, "GET", w.srv.URL+"/common/discovery/instance?api-version=1.1&authorization_endpoint="+
		url.QueryEscape("https://login.microsoftonline.com/"+id+"/oauth2/v2.0/authorize"), nil)
	if got := instance.text("tenant_discovery_endpoint"); got != w.srv.URL+"/"+id+"/v2.0/.well-known/openid-configuration" {
		t.Errorf("tenant_discovery_endpoint = %q", got)
	}
	w.must(400, "GET", w.srv.URL+"/nobody.example/v2.0/.well-known/openid-configuration", nil)
}

func TestWhoMayCall(t *testing.T) {
	w := newWorld(t)
	w.stop()
	now := time.Now()
	w.cfg.Clock = func() time.Time { return now }
	tenant := &w.cfg.Tenants[0]
	tenant.Apps = append(tenant.Apps,
		App{AppID: "33333333-0000-4000-8000-000000000001", Secret: "s", Roles: []string{"Files.Read.All"}},
		App{AppID: "33333333-0000-4000-8000-000000000002", Secret: "s"})
	w.start()
	all := w.token
	drive := w.drive(amala)
	sign := func(app App) string {
		return w.signIn(string(tenant.ID), url.Values{"grant_type": {"client_credentials"}, "scope": {".default"}, "client_id": {app.AppID}, "client_secret": {app.Secret}})
	}
	reader, nobody := sign(tenant.Apps[1]), sign(tenant.Apps[2])
	foreign, _, _ := strings.Cut(all, ".")
	for _, c := range []struct {
		name, token, method, address string
		status                       int
		code                         string
	}{
		{"none", "", "GET", drive, 401, "InvalidAuthenticationToken"},
		{"not a token", "x", "GET", drive, 401, "InvalidAuthenticationToken"},
		{"unsigned", foreign + ".e30.", "GET", drive, 401, "InvalidAuthenticationToken"},
		{"reader reads", reader, "GET", drive + "/root/children", 200, ""},
		{"reader writes", reader, "DELETE", drive + "/root:/x", 403, "accessDenied"},
		{"reader lists users", reader, "GET", "/users", 403, "Authorization_RequestDenied"},
		{"reader lists groups", reader, "GET", "/groups", 403, "Authorization_RequestDenied"},
		{"reader makes a library", reader, "POST", "/sites/" + site{tenant: w.svc.byOrder[0], user: &tenant.Users[0]}.id() + "/lists", 403, "accessDenied"},
		{"nobody reads", nobody, "GET", drive, 403, "accessDenied"},
		{"nobody reads users", nobody, "GET", "/users/" + amala, 403, "Authorization_RequestDenied"},
		{"nobody probes users", nobody, "GET", "/users/nobody@contoso.com", 403, "Authorization_RequestDenied"},
		{"all reads", all, "GET", "/users", 200, ""},
		{"/me of an application", all, "GET", "/me/drive", 400, "invalidRequest"},
	} {
		w.token = c.token
		a := w.do(c.method, c.address, nil)
		if a.status != c.status || a.text("error", "code") != c.code {
			t.Errorf("%s: %s %s = %d %s, want %d %s", c.name, c.method, c.address, a.status, a.raw, c.status, c.code)
		}
		if c.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: WWW-Authenticate = %q", c.name, a.header.Get("WWW-Authenticate"))
		}
	}
	w.token = all
	w.must(200, "GET", drive, nil, "Authorization", "bearer "+all) // the scheme's case does not matter
	now = now.Add(time.Hour)
	if a := w.do("GET", drive, nil); a.status != 401 {
		t.Errorf("an expired token = %d", a.status)
	}
}

func TestTenantsAreApart(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.cfg.Tenants = append(w.cfg.Tenants, Tenant{
		ID: "f0000000-0000-4000-8000-000000000000", DisplayName: "Fabrikam", Domain: "fabrikam.com",
		Users: []User{{ID: "f0000000-0000-4000-8000-000000000001", UserPrincipalName: "fay@fabrikam.com", DisplayName: "Fay"}},
		Apps:  []App{{AppID: w.cfg.Tenants[0].Apps[0].AppID, Secret: "other", Roles: w.cfg.Tenants[0].Apps[0].Roles}},
	})
	w.start()
	w.write(amala+"/secret.txt", "Contoso's")
	drive := w.drive(amala)
	it := w.must(200, "GET", drive+"/root:/secret.txt", nil)
	siteID := w.must(200, "GET", drive+"/root", nil).text("parentReference", "siteId")
	w.token = w.signIn("fabrikam.com", url.Values{
		"grant_type": {"client_credentials"}, "scope": {".default"}, "client_id": {w.cfg.Tenants[1].Apps[0].AppID}, "client_secret": {"other"},
	})
	w.must(200, "GET", "/users/fay@fabrikam.com/drive", nil)
	for _, address := range []string{
		drive, drive + "/root", drive + "/root/delta", drive + "/items/" + it.text("id"), "/users/" + amala, "/users/" + amala + "/drive",
		"/users/" + string(w.cfg.Tenants[0].Users[0].ID), "/sites/" + siteID + "/drives", "/groups/" + string(w.cfg.Tenants[0].Groups[0].ID),
	} {
		if a := w.do("GET", address, nil); a.status != 404 {
			t.Errorf("GET %s by another tenant = %d %s", address, a.status, a.raw)
		}
	}
	var list struct{ Value []User }
	if err := json.Unmarshal(w.must(200, "GET", "/users", nil).raw, &list); err != nil || len(list.Value) != 1 {
		t.Errorf("users = %v %v", list, err)
	}
	w.token = w.signIn("contoso.com", url.Values{
		"grant_type": {"client_credentials"}, "scope": {".default"}, "client_id": {w.cfg.Tenants[0].Apps[0].AppID}, "client_secret": {w.cfg.Tenants[0].Apps[0].Secret},
	})
	w.must(404, "GET", "/users/fay@fabrikam.com", nil)
}

// A token for an application of the tenant is of the version that it asks for, and
// carries what it exposes; a sealed one for Graph is good at Graph only.
func TestTokensAreAsEntraGivesThem(t *testing.T) {
	const api = "5a1e0000-4f6b-4c55-8f0e-c0a7050a00aa"
	w := newWorld(t)
	w.stop()
	tenant := &w.cfg.Tenants[0]
	tenant.Apps = append(tenant.Apps, App{AppID: api, DisplayName: "An API", Secret: "s", Exposes: []string{"BackupRestore-Restore.Read.All", "Other.Read"}})
	it := &tenant.Apps[len(tenant.Apps)-1]
	for _, version := range []int{0, 1, 2} {
		it.TokenVersion = version
		w.start()
		for _, scope := range []string{api + "/.default", "api://" + api + "/.default"} {
			text := w.signIn(string(tenant.ID), url.Values{"grant_type": {"client_credentials"}, "scope": {scope},
				"client_id": {tenant.Apps[0].AppID}, "client_secret": {tenant.Apps[0].Secret}})
			claims := jwt.MapClaims{}
			if _, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return &w.svc.key().key.PublicKey, nil }); err != nil {
				t.Fatal(err)
			}
			issuer, audience, id, other := w.srv.URL+"/"+string(tenant.ID)+"/", "api://"+api, "appid", "azp"
			if version == 2 {
				issuer, audience, id, other = issuer+"v2.0", api, "azp", "appid"
			}
			got, _ := claims.GetAudience()
			if claims["iss"] != issuer || !slices.Equal(got, []string{audience}) || claims[id] != tenant.Apps[0].AppID || claims[other] != nil {
				t.Errorf("version %d, %s: %v", version, scope, claims)
			}
			if roles, _ := json.Marshal(claims["roles"]); string(roles) != `["BackupRestore-Restore.Read.All"]` {
				t.Errorf("version %d: roles %s", version, roles)
			}
		}
		if version < 2 {
			w.stop()
		}
	}

	w.faults.Set(func(o *Options) { o.SealGraph = true })
	text := w.signIn(string(tenant.ID), url.Values{"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"},
		"client_id": {tenant.Apps[0].AppID}, "client_secret": {tenant.Apps[0].Secret}})
	token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return &w.svc.key().key.PublicKey, nil })
	if !errors.Is(err, jwt.ErrTokenSignatureInvalid) || token.Header["nonce"] == nil {
		t.Errorf("a sealed token: %v, with header %v", err, token.Header)
	}
	w.must(200, "GET", w.srv.URL+"/v1.0/users", nil, "Authorization", "Bearer "+text)
	w.must(401, "GET", w.srv.URL+"/v1.0/users", nil, "Authorization", "Bearer "+text[:len(text)-8]+"AAAAAAAA")
}
