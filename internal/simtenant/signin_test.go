package simtenant

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const verifier = "a-verifier-of-at-least-43-characters-0123456789"

// asked is what a web application asks of the authorization endpoint.
func (w *world) asked(set ...string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {w.cfg.Tenants[0].Apps[0].AppID}, "response_type": {"code"}, "redirect_uri": {w.srv.URL + "/console/signed-in?x=1"},
		"scope": {"openid profile offline_access https://graph.microsoft.com/.default"}, "state": {"the state"}, "nonce": {"the nonce"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(set); i += 2 {
		q.Set(set[i], set[i+1])
	}
	return q
}

// authorize calls the authorization endpoint, and follows nothing.
func (w *world) authorize(q url.Values) (*http.Response, string) {
	w.t.Helper()
	client := *w.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Get(w.srv.URL + "/contoso.com/oauth2/v2.0/authorize?" + q.Encode())
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

// back returns what the authorization endpoint sends the application.
func (w *world) back(q url.Values) url.Values {
	w.t.Helper()
	resp, body := w.authorize(q)
	if resp.StatusCode != http.StatusFound {
		w.t.Fatalf("authorize = %s %s", resp.Status, body)
	}
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || u.Path != "/console/signed-in" || u.Query().Get("x") != "1" || u.Query().Get("state") != "the state" {
		w.t.Fatalf("sent back to %q", resp.Header.Get("Location"))
	}
	return u.Query()
}

func (w *world) redeem(set ...string) url.Values {
	app := w.cfg.Tenants[0].Apps[0]
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {app.AppID}, "client_secret": {app.Secret}, "redirect_uri": {w.srv.URL + "/console/signed-in?x=1"},
		"code_verifier": {verifier}, "scope": {"openid profile offline_access https://graph.microsoft.com/.default"},
	}
	for i := 0; i < len(set); i += 2 {
		form.Set(set[i], set[i+1])
	}
	return form
}

// tokens calls the token endpoint.
func (w *world) tokens(form url.Values) answer {
	w.t.Helper()
	return w.do("POST", w.srv.URL+"/contoso.com/oauth2/v2.0/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "")
}

func TestSignInByCode(t *testing.T) {
	w := newWorld(t)
	tenant := w.cfg.Tenants[0]
	resp, page := w.authorize(w.asked())
	if resp.StatusCode != 200 || !strings.Contains(page, `value="amala@contoso.com"`) || !strings.Contains(page, `value="the state"`) {
		t.Fatalf("the page is %s\n%s", resp.Status, page)
	}
	answer := w.tokens(w.redeem("code", w.back(w.asked("user", "amala@contoso.com")).Get("code")))
	claims := w.verify(answer.text("access_token"), string(tenant.ID))
	if claims["oid"] != string(tenant.Users[0].ID) || claims["idtyp"] != "user" || claims["scp"] == nil {
		t.Errorf("claims = %v", claims)
	}
	id := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(answer.text("id_token"), id); err != nil {
		t.Fatal(err)
	}
	if id["aud"] != tenant.Apps[0].AppID || id["nonce"] != "the nonce" || id["oid"] != string(tenant.Users[0].ID) || id["preferred_username"] != "amala@contoso.com" {
		t.Errorf("id token = %v", id)
	}
	again := w.tokens(w.redeem("grant_type", "refresh_token", "refresh_token", answer.text("refresh_token")))
	if claims := w.verify(again.text("access_token"), string(tenant.ID)); claims["oid"] != string(tenant.Users[0].ID) {
		t.Errorf("after a refresh, claims = %v", claims)
	}
	// None of the three stands for another.
	for name, form := range map[string]url.Values{
		"an access token to refresh": w.redeem("grant_type", "refresh_token", "refresh_token", answer.text("access_token")),
		"an id token to refresh":     w.redeem("grant_type", "refresh_token", "refresh_token", answer.text("id_token")),
	} {
		if got := w.tokens(form); got.text("error") != "invalid_grant" {
			t.Errorf("%s = %v", name, got.body)
		}
	}
	for _, name := range []string{"id_token", "refresh_token"} {
		w.must(401, "GET", w.srv.URL+"/v1.0/users", nil, "Authorization", "Bearer "+answer.text(name))
	}
}

func TestCodeIsGoodOnceAndForItsOwn(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.cfg.Clock = func() time.Time { return now }
	w.restart()
	for what, set := range map[string][]string{
		"another verifier": {"code_verifier", "b" + verifier},
		"no verifier":      {"code_verifier", ""},
		"another address":  {"redirect_uri", w.srv.URL + "/console/signed-in"},
	} {
		code := w.back(w.asked("user", "amala@contoso.com")).Get("code")
		if got := w.tokens(w.redeem(append(set, "code", code)...)); got.text("error") != "invalid_grant" {
			t.Errorf("%s = %v", what, got.body)
		}
		if got := w.tokens(w.redeem("code", code)); got.text("error") != "invalid_grant" {
			t.Errorf("after %s the code is good still", what)
		}
	}
	code := w.back(w.asked("user", "amala@contoso.com")).Get("code")
	if got := w.tokens(w.redeem("code", code)); got.text("access_token") == "" {
		t.Fatalf("redeem = %v", got.body)
	}
	if got := w.tokens(w.redeem("code", code)); got.text("error") != "invalid_grant" {
		t.Errorf("a second time = %v", got.body)
	}
	code = w.back(w.asked("user", "amala@contoso.com")).Get("code")
	now = now.Add(codeLife)
	if got := w.tokens(w.redeem("code", code)); got.text("error") != "invalid_grant" {
		t.Errorf("too late = %v", got.body)
	}
	for range codeLimit {
		if w.back(w.asked("user", "amala@contoso.com")).Get("code") == "" {
			t.Fatal("no code before the limit")
		}
	}
	if got := w.back(w.asked("user", "amala@contoso.com")); got.Get("code") != "" || got.Get("error") != "temporarily_unavailable" {
		t.Errorf("beyond the limit = %v", got)
	}
}

func TestAuthorizeSendsPeopleNowhereElse(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{"", "https://evil.example/", "//evil.example", "javascript:alert(1)", w.srv.URL + "@evil.example/", "http://127.0.0.1.evil.example/"} {
		resp, body := w.authorize(w.asked("user", "amala@contoso.com", "redirect_uri", address))
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("redirect_uri %q = %s %s", address, resp.Status, body)
		}
	}
	for what, set := range map[string][]string{
		"no challenge":    {"code_challenge", ""},
		"another method":  {"code_challenge_method", "S512"},
		"a token at once": {"response_type", "token"},
	} {
		if got := w.back(w.asked(append(set, "user", "amala@contoso.com")...)); got.Get("error") == "" || got.Get("code") != "" {
			t.Errorf("%s = %v", what, got)
		}
	}
	// What is asked appears on the page as text.
	_, page := w.authorize(w.asked("state", `"><script>alert(1)</script>`))
	if strings.Contains(page, "<script") {
		t.Error("the page runs what it was asked")
	}
}

// form calls a sign-in endpoint of what a name in an address stands for.
func (w *world) form(endpoint string, set ...string) answer {
	w.t.Helper()
	form := url.Values{}
	for i := 0; i < len(set); i += 2 {
		form.Set(set[i], set[i+1])
	}
	return w.do("POST", w.srv.URL+"/"+endpoint, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "")
}

// elsewhere is the id of an application that is registered nowhere here.
const elsewhere = "d50ca740-c83f-4d1b-b616-12c519384f0c"

func TestSignInOnAnotherDevice(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.cfg.Clock = func() time.Time { return now }
	w.restart()
	begin := func() (code, page string) {
		t.Helper()
		a := w.form("common/oauth2/v2.0/devicecode", "client_id", elsewhere, "scope", "Files.ReadWrite.All offline_access openid")
		if a.status != 200 || a.text("interval") != "5" || a.text("expires_in") != "900" || !strings.Contains(a.text("message"), a.text("user_code")) {
			t.Fatalf("devicecode = %d %s", a.status, a.raw)
		}
		return a.text("device_code"), a.text("verification_uri") + "?otc=" + strings.ToLower(a.text("user_code"))
	}
	poll := func(code string) answer {
		return w.form("common/oauth2/v2.0/token", "grant_type", byDevice, "client_id", elsewhere, "device_code", code)
	}
	code, page := begin()
	if got := poll(code); got.status != 400 || got.text("error") != "authorization_pending" {
		t.Errorf("before anybody signed in: %d %s", got.status, got.raw)
	}
	if got := string(w.must(200, "GET", page, nil).raw); !strings.Contains(got, `value="amala@contoso.com"`) {
		t.Errorf("the page is %s", got)
	}
	if got := string(w.must(200, "GET", page+"x", nil).raw); !strings.Contains(got, "did not work") {
		t.Errorf("with a wrong code, the page is %s", got)
	}
	w.must(200, "GET", page+"&user="+amala, nil)
	got := poll(code)
	w.token = got.text("access_token")
	if me := w.must(200, "GET", "/me", nil); me.text("userPrincipalName") != amala {
		t.Errorf("the token is %s's", me.raw)
	}
	w.must(201, "PUT", "/me/drive/root:/x:/content", "x")
	w.must(403, "GET", "/groups", nil)
	if again := poll(code); again.text("error") != "bad_verification_code" {
		t.Errorf("a second time = %s", again.raw)
	}

	// It goes on for weeks, whatever it asks for again: each time, there is a new
	// token to go on with, for another resource too.
	for range 40 {
		now = now.Add(24 * time.Hour)
		a := w.form("organizations/oauth2/v2.0/token", "grant_type", "refresh_token", "client_id", elsewhere, "refresh_token", got.text("refresh_token"), "scope", "")
		if a.text("refresh_token") == "" || a.text("id_token") == "" || a.text("scope") != "Files.ReadWrite.All" {
			t.Fatalf("a refresh = %d %s", a.status, a.raw)
		}
		got = a
	}
	w.token = w.form("common/oauth2/v2.0/token", "grant_type", "refresh_token", "client_id", elsewhere, "refresh_token", got.text("refresh_token"),
		"scope", "https://contoso-my.sharepoint.com/.default").text("access_token")
	w.must(401, "GET", "/me/drive", nil)
	w.must(200, "GET", w.srv.URL+"/_api/v2.0/me/drive", nil)
	now = now.Add(refreshLife)
	if a := w.form("common/oauth2/v2.0/token", "grant_type", "refresh_token", "client_id", elsewhere, "refresh_token", got.text("refresh_token")); a.text("error") != "invalid_grant" {
		t.Errorf("after 90 idle days = %s", a.raw)
	}

	code, page = begin()
	w.must(200, "GET", page+"&decline=1", nil)
	if got := poll(code); got.text("error") != "authorization_declined" {
		t.Errorf("declined = %s", got.raw)
	}
	code, _ = begin()
	now = now.Add(deviceLife)
	if got := poll(code); got.text("error") != "expired_token" {
		t.Errorf("too late = %s", got.raw)
	}
	now = now.Add(deviceLife)
	begin()
	if got := poll(code); got.text("error") != "bad_verification_code" {
		t.Errorf("much too late = %s", got.raw)
	}
}

// An application of another publisher may sign people in, and do what they may;
// nothing by itself, and nothing that no route here needs.
func TestApplicationsOfOthers(t *testing.T) {
	w := newWorld(t)
	for what, set := range map[string][]string{
		"by itself":   {"grant_type", "client_credentials", "client_secret", "x", "scope", ".default"},
		"by password": {"grant_type", "password", "username", amala, "password", "x"},
	} {
		if got := w.form("contoso.com/oauth2/v2.0/token", append(set, "client_id", elsewhere)...); got.text("error") != "unauthorized_client" {
			t.Errorf("%s = %d %s", what, got.status, got.raw)
		}
	}
	sign := func(scope string) answer {
		q := w.asked("client_id", elsewhere, "user", conrad, "scope", scope, "code_challenge", verifier, "code_challenge_method", "plain")
		return w.form("common/oauth2/v2.0/token", "grant_type", "authorization_code", "client_id", elsewhere, "code", w.back(q).Get("code"),
			"redirect_uri", q.Get("redirect_uri"), "code_verifier", verifier)
	}
	if got := sign("BackupRestore-Control.ReadWrite.All"); got.text("error") != "invalid_grant" {
		t.Errorf("a permission that no route needs = %s", got.raw)
	}
	w.token = sign("Files.Read offline_access").text("access_token")
	w.must(200, "GET", "/me/drive/root/children", nil)
	w.must(403, "PUT", "/me/drive/root:/x:/content", "x")
	if resp, page := w.authorize(w.asked("client_id", "nonsense")); resp.StatusCode != 400 {
		t.Errorf("an id that is none = %s %s", resp.Status, page)
	}
}

func TestWaysToSendAnAnswer(t *testing.T) {
	w := newWorld(t)
	resp, page := w.authorize(w.asked("user", amala, "response_mode", "form_post", "state", `a"b`))
	if resp.StatusCode != 200 || !strings.Contains(page, `name="code"`) || !strings.Contains(page, `value="a&#34;b"`) || !strings.Contains(page, `action="`+w.srv.URL) {
		t.Errorf("form_post = %s %s", resp.Status, page)
	}
	resp, _ = w.authorize(w.asked("user", amala, "response_mode", "fragment"))
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := url.ParseQuery(u.EscapedFragment()); v.Get("code") == "" || v.Get("state") != "the state" || u.Query().Get("code") != "" {
		t.Errorf("fragment = %s", u)
	}
	if got := w.back(w.asked("prompt", "none")); got.Get("error") != "login_required" {
		t.Errorf("prompt=none = %v", got)
	}
	client := *w.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err = client.Get(w.srv.URL + "/organizations/v2.0/adminconsent?state=1&client_id=" + w.cfg.Tenants[0].Apps[0].AppID + "&redirect_uri=" + url.QueryEscape(w.srv.URL+"/x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Location"); got != w.srv.URL+"/x?admin_consent=True&state=1&tenant="+string(w.cfg.Tenants[0].ID) {
		t.Errorf("consent = %s %s", resp.Status, got)
	}
	w.must(200, "GET", w.srv.URL+"/common/oauth2/nativeclient?code=x", nil)
}

func TestProofByCertificate(t *testing.T) {
	w := newWorld(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	app := App{
		AppID: "33333333-0000-4000-8000-000000000003", DisplayName: "By certificate", Roles: []string{"Files.Read.All"},
		Certificates: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))},
	}
	w.stop()
	w.cfg.Tenants[0].Apps = append(w.cfg.Tenants[0].Apps, app)
	w.start()
	endpoint := w.srv.URL + "/" + string(w.cfg.Tenants[0].ID) + "/oauth2/v2.0/token"
	thumb := sha256.Sum256(raw)
	ask := func(method jwt.SigningMethod, change func(*jwt.Token, *jwt.RegisteredClaims)) answer {
		t.Helper()
		c := &jwt.RegisteredClaims{
			Issuer: app.AppID, Subject: app.AppID, Audience: jwt.ClaimStrings{endpoint}, ID: "1",
			NotBefore: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute)),
		}
		token := jwt.NewWithClaims(method, c)
		token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumb[:])
		if change != nil {
			change(token, c)
		}
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return w.form("contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", app.AppID, "scope", "https://graph.microsoft.com/.default",
			"client_assertion_type", assertionType, "client_assertion", text)
	}
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodRS256, jwt.SigningMethodPS256} {
		a := ask(method, nil)
		if claims := w.verify(a.text("access_token"), string(w.cfg.Tenants[0].ID)); claims["appidacr"] != "2" {
			t.Errorf("%s: %s, claims %v", method.Alg(), a.raw, claims)
		}
	}
	if a := ask(jwt.SigningMethodRS256, func(_ *jwt.Token, c *jwt.RegisteredClaims) {
		c.Audience = jwt.ClaimStrings{"https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"}
	}); a.status != 200 {
		t.Errorf("for the service's own address = %s", a.raw)
	}
	for code, change := range map[string]func(*jwt.Token, *jwt.RegisteredClaims){
		"AADSTS700024": func(_ *jwt.Token, c *jwt.RegisteredClaims) {
			c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Hour))
		},
		"AADSTS700027": func(token *jwt.Token, _ *jwt.RegisteredClaims) { token.Header["x5t#S256"] = "x" },
		"AADSTS700023": func(_ *jwt.Token, c *jwt.RegisteredClaims) {
			c.Audience = jwt.ClaimStrings{"https://graph.microsoft.com"}
		},
		"AADSTS700021": func(_ *jwt.Token, c *jwt.RegisteredClaims) { c.Issuer = w.cfg.Tenants[0].Apps[0].AppID },
	} {
		if a := ask(jwt.SigningMethodRS256, change); a.status != 401 || !strings.HasPrefix(a.text("error_description"), code+": ") {
			t.Errorf("%d %s, want %s", a.status, a.raw, code)
		}
	}
}

// A service that a user's program calls goes on as that user.
func TestOnBehalfOfAUser(t *testing.T) {
	w := newWorld(t)
	app := w.cfg.Tenants[0].Apps[0]
	user := func(scope string) string {
		t.Helper()
		a := w.form("contoso.com/oauth2/v2.0/token", "grant_type", "password", "client_id", app.AppID, "client_secret", app.Secret,
			"username", amala, "password", "x", "scope", scope)
		return a.text("access_token")
	}
	behalf := func(assertion string, set ...string) answer {
		t.Helper()
		return w.form("contoso.com/oauth2/v2.0/token", append([]string{"grant_type", onBehalf, "client_id", app.AppID, "client_secret", app.Secret,
			"requested_token_use", "on_behalf_of", "assertion", assertion, "scope", "https://graph.microsoft.com/Files.Read.All offline_access"}, set...)...)
	}
	own := user("api://" + app.AppID + "/access_as_user")
	w.token = own
	w.must(401, "GET", "/me/drive", nil)
	a := behalf(own)
	w.token = a.text("access_token")
	w.must(200, "GET", "/me/drive", nil)
	if a.text("refresh_token") == "" {
		t.Errorf("on behalf of = %s", a.raw)
	}
	for what, a := range map[string]answer{
		"a token for Graph": behalf(user("https://graph.microsoft.com/.default")),
		"nonsense":          behalf("x"),
		"a refresh token":   behalf(a.text("refresh_token")),
		"no proof":          behalf(own, "client_secret", ""),
		"no use":            behalf(own, "requested_token_use", ""),
	} {
		if a.status < 400 || a.text("access_token") != "" {
			t.Errorf("%s = %d %s", what, a.status, a.raw)
		}
	}
}

func TestATokenIsForOneResource(t *testing.T) {
	w := newWorld(t)
	app := w.cfg.Tenants[0].Apps[0]
	token := func(scope string) answer {
		return w.form("contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", app.AppID, "client_secret", app.Secret, "scope", scope)
	}
	for scope, want := range map[string][2]int{ // at Graph, and at SharePoint's front
		"https://graph.microsoft.com/.default":         {200, 200},
		"https://contoso-my.sharepoint.com/.default":   {401, 200},
		"https://contoso.sharepoint.com//.default":     {401, 200},
		w.srv.URL + "/.default":                        {200, 200},
		"api://" + app.AppID + "/.default":             {401, 401},
		"https://fabrikam-my.sharepoint.com/.default":  {0, 0},
		"https://graph.microsoft.com.evil.me/.default": {0, 0},
	} {
		a := token(scope)
		if want[0] == 0 {
			if a.text("error") != "invalid_resource" {
				t.Errorf("%s = %d %s", scope, a.status, a.raw)
			}
			continue
		}
		w.token = a.text("access_token")
		for i, base := range []string{"/v1.0", "/_api/v2.0"} {
			if got := w.do("GET", w.srv.URL+base+"/users/"+amala+"/drive", nil); got.status != want[i] {
				t.Errorf("%s at %s = %d %s, want %d", scope, base, got.status, got.raw, want[i])
			}
		}
	}
	if a := token("https://graph.microsoft.com/.default https://contoso-my.sharepoint.com/.default"); a.text("error") != "invalid_scope" {
		t.Errorf("two resources = %s", a.raw)
	}
	w.must(403, "GET", w.srv.URL+"/oidc/userinfo", nil, "Authorization", "Bearer "+token(".default").text("access_token"))
}
