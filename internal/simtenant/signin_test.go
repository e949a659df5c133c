package simtenant

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
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
		"no challenge":      {"code_challenge", ""},
		"a plain challenge": {"code_challenge_method", "plain"},
		"a token at once":   {"response_type", "token"},
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
