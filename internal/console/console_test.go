package console

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/catalog"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	tenantID = "c0ffee00-5a3e-4d7b-9c1f-365365365365"
	clientID = "11111111-2222-3333-4444-555555555555"
	policyID = "71633878-8321-4950-bfaf-ed285bdd1461"
	unitID   = "3667e382-71a9-4c07-bef7-bda97e09c0d2"
	ownerID  = "a3a1a000-4f6b-4c55-8f0e-c0a7050a0001"
)

// A world is a console before an API that answers what a test says, and an
// Entra that signs in whoever comes.
type world struct {
	t       *testing.T
	srv     *httptest.Server
	console *Console
	browser *http.Client
	db      *database.DB
	cfg     Config

	mu      sync.Mutex
	now     time.Time
	answers map[string]any // by method and address below the API's root
	asked   []call
	tokens  int
	claims  map[string]any    // of the id token, over what it would have
	refused string            // error of the token endpoint
	others  map[string]string // tenants besides the first, by what they may be called
	asks    map[string]bool   // those that give no token to whom they did not ask
	of      map[string]string // the tenants of access tokens
	nonce   string
	once    map[string]bool // refresh tokens that were used; nil: each may be used again
}

// A call is one request that reached the API.
type call struct {
	Method, Path, Token string
	Query               url.Values
	Body                string
}

func newWorld(t *testing.T) *world { t.Helper(); return newWorldOf(t, tenantID) }

// newWorldOf is a world whose console signs in people of a tenant, or of organizations.
func newWorldOf(t *testing.T, tenant string) *world {
	t.Helper()
	return newWorldOn(t, tenant, dbtest.Open(t, database.SQLite))
}

func newWorldOn(t *testing.T, tenant string, db *database.DB) *world {
	t.Helper()
	w := &world{db: db, others: map[string]string{}, asks: map[string]bool{}, of: map[string]string{}, t: t, now: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC), answers: map[string]any{}, claims: map[string]any{}}
	entra := httptest.NewServer(http.HandlerFunc(w.token))
	t.Cleanup(entra.Close)
	w.cfg = Config{
		API: http.HandlerFunc(w.api), Clock: w.clock, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Sessions: catalog.New(db, jobs.New(db, w.clock), catalog.Config{Clock: w.clock}),
		SignIn:   SignIn{Authority: entra.URL, Tenant: tenant, ClientID: clientID, ClientSecret: "the secret", Scope: "api://x/.default"},
	}
	w.start()
	w.browser = newBrowser(t)
	return w
}

// start has another process, which is asked from now on.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.console, err = New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.srv = httptest.NewServer(w.console)
	w.t.Cleanup(w.srv.Close)
}

// A process is one of those that have been started.
type process struct {
	srv     *httptest.Server
	console *Console
}

// process is that which is asked now, and ask has another be.
func (w *world) process() process { return process{w.srv, w.console} }
func (w *world) ask(p process)    { w.srv, w.console = p.srv, p.console }

func newBrowser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// on says what the API answers: a status with an error, or a body.
func (w *world) on(request string, answer any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[request] = answer
}

// A refusal is an answer of the API that is an error.
type refusal struct {
	status        int
	code, message string
}

func (w *world) api(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	path := strings.TrimPrefix(r.URL.Path, client.Root)
	w.mu.Lock()
	w.asked = append(w.asked, call{r.Method, path, r.Header.Get("Authorization"), r.URL.Query(), string(body)})
	answer, ok := w.answers[w.of[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]+" "+r.Method+" "+path]
	if !ok {
		answer, ok = w.answers[r.Method+" "+path+"?"+r.URL.RawQuery]
	}
	if token := r.URL.Query().Get("$skiptoken"); !ok && token != "" {
		answer, ok = w.answers[r.Method+" "+path+"#"+token]
	}
	if !ok {
		answer, ok = w.answers[r.Method+" "+path]
	}
	w.mu.Unlock()
	if !ok {
		switch {
		case strings.HasSuffix(path, "/$count"):
			answer = 0
		case r.Method == "GET", strings.HasSuffix(path, "/search"):
			answer = map[string]any{"value": []any{}}
		default:
			answer = refusal{404, "itemNotFound", "The test knows no " + r.Method + " " + path}
		}
	}
	rw.Header().Set("Content-Type", "application/json")
	switch a := answer.(type) {
	case refusal:
		rw.WriteHeader(a.status)
		answer = map[string]any{"error": map[string]any{"code": a.code, "message": a.message}}
	case http.HandlerFunc:
		a(rw, r)
		return
	}
	if err := json.NewEncoder(rw).Encode(answer); err != nil {
		w.t.Error(err)
	}
}

// calls returns the requests of a method; searches, which change nothing, are
// none of POST.
func (w *world) calls(method string) (all []call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.asked {
		if c.Method == method && !strings.HasSuffix(c.Path, "/search") {
			all = append(all, c)
		}
	}
	return all
}

func (w *world) token(rw http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	if w.refused != "" || r.PostForm.Get("client_secret") != "the secret" || r.PostForm.Get("client_id") != clientID {
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(rw, `{"error":"invalid_grant","error_description":"AADSTS1: %s"}`, w.refused)
		return
	}
	if token := r.PostForm.Get("refresh_token"); token != "" && w.once != nil {
		if w.once[token] {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"error":"invalid_grant","error_description":"It was used."}`)
			return
		}
		w.once[token] = true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	tenant := tenantID
	if other, ok := w.others[name]; ok {
		tenant = other
	} else if name != tenantID && name != "organizations" {
		w.t.Errorf("a token was asked of %q", name)
	}
	if w.asks[tenant] && r.PostForm.Get("grant_type") == "refresh_token" {
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(rw, `{"error":"interaction_required","error_description":"AADSTS50076: Prove it."}`)
		return
	}
	w.tokens++
	w.of[fmt.Sprintf("access-%d", w.tokens)] = tenant
	claims := map[string]any{
		"aud": clientID, "iss": "https://login.example/" + tenant + "/v2.0", "tid": tenant, "oid": ownerID, "name": "Amala <Rao>",
		"preferred_username": "amala@contoso.com", "nonce": w.nonce, "exp": w.now.Add(time.Hour).Unix(),
	}
	for k, v := range w.claims {
		claims[k] = v
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		w.t.Error(err)
	}
	if err := json.NewEncoder(rw).Encode(map[string]any{
		"access_token": fmt.Sprintf("access-%d", w.tokens), "refresh_token": fmt.Sprintf("refresh-%d", w.tokens), "expires_in": 3600,
		"id_token": "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln",
	}); err != nil {
		w.t.Error(err)
	}
}

// An answer is a page as it came.
type answer struct {
	status int
	header http.Header
	to     string // where it sends on
	body   string
}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	res, err := w.browser.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, strings.TrimPrefix(res.Header.Get("Location"), w.srv.URL), string(body)}
	w.checkLinks(r, a)
	// Tests of one tenant do without its name.
	a.to, a.body = strings.Replace(a.to, "/console/"+tenantID+"/", "/console/", 1), strings.ReplaceAll(a.body, "/console/"+tenantID+"/", "/console/")
	if strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && a.status != http.StatusSeeOther {
		checkPage(w.t, r.Method+" "+r.URL.Path, a.body)
	}
	if strings.Contains(a.body, "access-") || strings.Contains(a.body, "refresh-") || strings.Contains(fmt.Sprint(a.header), "access-") {
		w.t.Errorf("%s %s shows the browser a token", r.Method, r.URL.Path)
	}
	return a
}

// checkLinks fails if a page of somebody in a tenant has a link that leads out of it, but for those
// that are of none or name another.
func (w *world) checkLinks(r *http.Request, a answer) {
	w.t.Helper()
	if tenantOf(inTenant(r)) == "" || !strings.Contains(a.body, `<form class="who"`) {
		return
	}
	for _, link := range anyLink.FindAllStringSubmatch(a.body, -1) {
		if to := link[2]; link[1] != "value" && at("no tenant", to) != to {
			w.t.Errorf("%s %s has a link of no tenant, %s", r.Method, r.URL.Path, link[0])
		}
	}
}

// anyLink is an attribute of an element that leads somewhere in the console, whichever that is.
var anyLink = regexp.MustCompile(`([a-z-]+)="(/console/[^"/?#]*)`)

func (w *world) get(path string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), "GET", w.srv.URL+at(tenantID, path), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(r)
}

// page is a page that is to be there.
func (w *world) page(path string) string {
	w.t.Helper()
	a := w.get(path)
	if a.status != http.StatusOK {
		w.t.Fatalf("GET %s = %d %s\n%s", path, a.status, a.to, a.body)
	}
	return a.body
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form as a browser does that has the page before it.
func (w *world) post(path string, form url.Values) answer {
	w.t.Helper()
	if form == nil {
		form = url.Values{}
	}
	if form.Get("csrf") == "" {
		found := csrfField.FindStringSubmatch(w.page("/console/"))
		if found == nil {
			w.t.Fatal("the page has no form")
		}
		form.Set("csrf", html.UnescapeString(found[1]))
	}
	r, err := http.NewRequestWithContext(w.t.Context(), "POST", w.srv.URL+at(tenantID, path), strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", w.srv.URL)
	return w.do(r)
}

// begin goes as far as Entra, and returns what it is asked.
func (w *world) begin(to string) url.Values {
	w.t.Helper()
	a := w.get("/console/sign-in?to=" + url.QueryEscape(to))
	u, err := url.Parse(a.to)
	if err != nil || a.status != http.StatusSeeOther || !strings.HasSuffix(u.Path, "/"+tenantID+"/oauth2/v2.0/authorize") {
		w.t.Fatalf("sign-in = %d %s", a.status, a.to)
	}
	w.mu.Lock()
	w.nonce = u.Query().Get("nonce")
	w.mu.Unlock()
	return u.Query()
}

// signIn signs a person in, and returns where that leads.
func (w *world) signIn(to string) answer {
	w.t.Helper()
	return w.get("/console/signed-in?code=the-code&state=" + w.begin(to).Get("state"))
}

func signedInWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	if a := w.signIn("/console/"); a.status != http.StatusSeeOther {
		t.Fatalf("signed in = %d %s", a.status, a.body)
	}
	return w
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	if a := w.get("/console/policies?status=active"); a.to != "/console/sign-in?tenant="+tenantID+"&to=%2Fconsole%2Fpolicies%3Fstatus%3Dactive" {
		t.Errorf("unknown visitors are sent to %q", a.to)
	}
	q := w.begin("/console/policies?status=active")
	for name, want := range map[string]string{
		"client_id": clientID, "response_type": "code", "code_challenge_method": "S256", "scope": "openid profile offline_access api://x/.default",
		"redirect_uri": w.srv.URL + "/console/signed-in",
	} {
		if q.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, q.Get(name), want)
		}
	}
	if a := w.signIn("/console/policies?status=active"); a.to != "/console/policies?status=active" {
		t.Errorf("after signing in = %d %q", a.status, a.to)
	}
	page := w.page("/console/")
	if !strings.Contains(page, "Amala &lt;Rao&gt;") {
		t.Errorf("the page does not say who is signed in:\n%s", page)
	}
	for _, c := range w.calls("GET") {
		if c.Token != "Bearer access-1" {
			t.Errorf("%s was asked with %q", c.Path, c.Token)
		}
	}
	if a := w.post("/console/sign-out", nil); a.to != "/console/signed-out" {
		t.Errorf("sign-out = %d %q", a.status, a.to)
	}
	if a := w.get("/console/"); a.status != http.StatusSeeOther {
		t.Errorf("after signing out = %d", a.status)
	}
	w.page("/console/signed-out")
}

func TestSignInLeadsNowhereElse(t *testing.T) {
	for _, to := range []string{"https://evil.example/", "//evil.example/console/", "/console/../../x", `/console/\evil.example`, "javascript:alert(1)", "/other", ""} {
		w := newWorld(t)
		if a := w.signIn(to); !strings.HasPrefix(a.to, "/console/") {
			t.Errorf("signed in to %q = %q", to, a.to)
		}
	}
}

func TestSignInOfAnother(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"for another application": {"aud": "other"},
		"of another sign-in":      {"nonce": "other"},
		"of another tenant":       {"tid": "99999999-5a3e-4d7b-9c1f-365365365365", "iss": "https://login.example/99999999-5a3e-4d7b-9c1f-365365365365/v2.0"},
		"of a foreign issuer":     {"iss": "https://evil.example/x/v2.0"},
		"that has expired":        {"exp": 1},
		"of nobody":               {"oid": ""},
	} {
		w := newWorld(t)
		w.claims = claims
		if a := w.signIn("/console/"); a.status != http.StatusBadGateway {
			t.Errorf("a token %s = %d %s", name, a.status, a.to)
		}
		if a := w.get("/console/"); a.status != http.StatusSeeOther {
			t.Errorf("a token %s signs in", name)
		}
	}
	w := newWorld(t)
	state := w.begin("/console/").Get("state")
	if a := w.get("/console/signed-in?code=x&state=forged"); a.status != http.StatusBadRequest {
		t.Errorf("a forged state = %d", a.status)
	}
	if a := w.get("/console/signed-in?code=x&state=" + state); a.status != http.StatusBadRequest {
		t.Errorf("a state that was tried before = %d", a.status)
	}
	state = w.begin("/console/").Get("state")
	w.browser = newBrowser(t)
	if a := w.get("/console/signed-in?code=x&state=" + state); a.status != http.StatusBadRequest {
		t.Errorf("the state of another browser = %d", a.status)
	}
	state = w.begin("/console/").Get("state")
	w.wait(signInLife)
	if a := w.get("/console/signed-in?code=x&state=" + state); a.status != http.StatusBadRequest {
		t.Errorf("a state of long ago = %d", a.status)
	}
	a := w.get("/console/signed-in?error=access_denied&error_description=%3Cb%3Eno&state=" + w.begin("/console/").Get("state"))
	if a.status != http.StatusForbidden || !strings.Contains(a.body, "&lt;b&gt;no") {
		t.Errorf("a refusal of Entra's = %d %s", a.status, a.body)
	}
}

func TestSessionEnds(t *testing.T) {
	w := signedInWorld(t)
	w.wait(50 * time.Minute)
	w.page("/console/")
	w.wait(time.Hour) // the token is renewed
	w.page("/console/")
	if last := w.calls("GET"); last[len(last)-1].Token != "Bearer access-2" {
		t.Errorf("after an hour the token is %s", last[len(last)-1].Token)
	}
	w.wait(idleTime)
	if a := w.get("/console/"); a.status != http.StatusSeeOther {
		t.Errorf("after %v without use = %d", idleTime, a.status)
	}

	w = signedInWorld(t)
	for range 2 * int(sessionLife/idleTime) {
		w.wait(idleTime/2 - time.Minute)
		w.get("/console/")
	}
	w.wait(20 * time.Minute)
	if a := w.get("/console/"); a.status != http.StatusSeeOther {
		t.Errorf("after %v of use = %d", sessionLife, a.status)
	}

	// Entra no longer knows the person.
	w = signedInWorld(t)
	w.wait(2 * time.Hour)
	w.refused = "gone"
	if a := w.get("/console/"); a.status != http.StatusSeeOther || !strings.HasPrefix(a.to, "/console/sign-in") {
		t.Errorf("when the token cannot be renewed = %d %s", a.status, a.to)
	}
}

func TestForgedForms(t *testing.T) {
	w := signedInWorld(t)
	if a := w.post("/console/sign-out", url.Values{"csrf": {"forged"}}); a.status != http.StatusForbidden {
		t.Errorf("a forged form = %d", a.status)
	}
	found := csrfField.FindStringSubmatch(w.page("/console/"))
	for _, header := range [][2]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", w.srv.URL+at(tenantID, "/console/sign-out"), strings.NewReader(url.Values{"csrf": {found[1]}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(header[0], header[1])
		if a := w.do(r); a.status != http.StatusForbidden {
			t.Errorf("a form with %v = %d", header, a.status)
		}
	}
	w.page("/console/") // still signed in
}

func TestHeaders(t *testing.T) {
	w := signedInWorld(t)
	for _, path := range []string{"/console/", "/console/none", "/console/signed-out", "/console/static/console.js"} {
		a := w.get(path)
		if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s has the policy %q", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s has %s: %q, want %q", path, name, got, want)
			}
		}
	}
	if a := w.get(staticURL("console.css")); !strings.Contains(a.header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/css") {
		t.Errorf("the style sheet has %v", a.header)
	}
	// The cookies are for this server alone, and for no script.
	a := newWorld(t).signIn("/console/")
	for _, c := range a.header["Set-Cookie"] {
		if !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Lax") {
			t.Errorf("the cookie %s", c)
		}
	}
	r := httptest.NewRequest("GET", "https://x.example/console/sign-in", nil)
	rec := httptest.NewRecorder()
	w.console.ServeHTTP(rec, r)
	if c := rec.Header().Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-") || !strings.Contains(c, "Secure") {
		t.Errorf("over HTTPS, the cookie %s", c)
	}
}

func TestProblems(t *testing.T) {
	w := signedInWorld(t)
	if a := w.get("/console/none"); a.status != http.StatusNotFound {
		t.Errorf("no such page = %d", a.status)
	}
	for _, c := range []struct {
		refusal
		status int
		says   string
	}{
		{refusal{401, "InvalidAuthenticationToken", "Of another audience."}, 403, "audiences"},
		{refusal{404, "itemNotFound", "No <such> thing."}, 404, "No &lt;such&gt; thing."},
		{refusal{500, "generalException", "Broken."}, 500, "Broken."},
	} {
		w.on("GET ", c.refusal)
		if a := w.get("/console/"); a.status != c.status || !strings.Contains(a.body, c.says) {
			t.Errorf("%v = %d\n%s", c.refusal, a.status, a.body)
		}
	}
	w.on("GET ", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }))
	if a := w.get("/console/"); a.status != http.StatusBadGateway {
		t.Errorf("a panic of the API's = %d", a.status)
	}
	w.on("GET ", refusal{403, "Authorization_RequestDenied", "No."})
	if page := w.page("/console/"); !strings.Contains(page, "may not see the service&#39;s state") {
		t.Errorf("a part that is forbidden:\n%s", page)
	}
}
