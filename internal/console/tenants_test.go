package console

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	fabrikam = "fab00000-0000-4000-8000-000000000001"
	tailspin = "7a150000-0000-4000-8000-000000000002"
)

// providerWorld is one of a person who works in several tenants, and is signed in to the
// first.
func providerWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldOf(t, "organizations")
	w.others = map[string]string{"fabrikam.com": fabrikam, fabrikam: fabrikam, "tailspin.com": tailspin, tailspin: tailspin}
	for id, name := range map[string]string{tenantID: "Contoso", fabrikam: "Fabrikam <Ltd>", tailspin: "Tailspin"} {
		w.on(id+" GET /holdfast.me", map[string]any{"tenantDisplayName": name})
		w.on(id+" GET /protectionPolicies/"+policyID, map[string]any{"id": policyID, "@odata.type": "#microsoft.graph.oneDriveForBusinessProtectionPolicy", "displayName": "Of " + name, "status": "inactive"})
		w.on(id+" POST /protectionPolicies/"+policyID+"/activate", map[string]any{})
	}
	if a := w.get("/console/sign-in?to=/console/"); !strings.Contains(a.to, "/organizations/oauth2/v2.0/authorize") {
		t.Fatalf("a provider's person is sent to %s", a.to)
	} else {
		w.comeBack(a)
	}
	return w
}

// comeBack comes back from Entra to which an answer led.
func (w *world) comeBack(a answer) answer {
	w.t.Helper()
	u, err := url.Parse(a.to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nonce = u.Query().Get("nonce")
	w.mu.Unlock()
	return w.get("/console/signed-in?code=c&state=" + u.Query().Get("state"))
}

func (w *world) cookie() string {
	u, _ := url.Parse(w.srv.URL)
	for _, c := range w.browser.Jar.Cookies(u) {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

// csrf is the mark of the forms of a page.
func (w *world) csrf(path string) string {
	w.t.Helper()
	found := csrfField.FindStringSubmatch(w.page(path))
	if found == nil {
		w.t.Fatalf("%s has no form", path)
	}
	return html.UnescapeString(found[1])
}

// changed are the tenants, by the tokens of the requests, in which something was changed.
func (w *world) changed() (all []string) {
	for _, c := range w.calls("POST") {
		w.mu.Lock()
		all = append(all, w.of[strings.TrimPrefix(c.Token, "Bearer ")])
		w.mu.Unlock()
	}
	return all
}

// A person of two tenants acts, with two windows, in the one whose page they look at: a
// form of one never acts in the other, whatever is posted where.
func TestFormsActInTheirTenantOnly(t *testing.T) {
	w := providerWorld(t)
	before := w.cookie()
	if a := w.post("/console/tenants/add", url.Values{"tenant": {" Fabrikam.COM "}}); a.to != "/console/"+fabrikam+"/" {
		t.Fatalf("signed in to another tenant = %d %s\n%s", a.status, a.to, a.body)
	}
	if w.cookie() == before {
		t.Error("with another tenant the session has the id that it had")
	}
	activate := "/policies/" + policyID + "/activate"
	one, other := "/console/"+tenantID, "/console/"+fabrikam
	if page := w.page(one + "/policies/" + policyID); !strings.Contains(page, "Of Contoso") || strings.Contains(page, "Of Fabrikam") {
		t.Errorf("the first tenant's page:\n%s", page)
	}
	if page := w.page(other + "/policies/" + policyID); !strings.Contains(page, "Of Fabrikam &lt;Ltd&gt;") || !strings.Contains(page, `action="`+other+activate+`"`) {
		t.Errorf("the other tenant's page:\n%s", page)
	}
	marks := map[string]string{one: w.csrf(one + "/policies/" + policyID), other: w.csrf(other + "/policies/" + policyID)}
	if marks[one] == marks[other] {
		t.Fatal("forms of two tenants bear the same mark")
	}
	post := func(path, csrf string) answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", w.srv.URL+path, strings.NewReader(url.Values{"csrf": {csrf}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", w.srv.URL)
		return w.do(r)
	}
	for _, path := range []string{one + activate, "/console" + activate, "/console/" + tailspin + activate, "/console/" + tenantID + "/../" + fabrikam + activate} {
		if a := post(path, marks[other]); a.status == http.StatusSeeOther && !strings.HasPrefix(a.to, "/console/sign-in?") || a.status < 300 {
			t.Errorf("the other tenant's form at %s = %d %s", path, a.status, a.to)
		}
	}
	if got := w.changed(); len(got) != 0 {
		t.Fatalf("forms changed something in %v", got)
	}
	// Each in its own place acts there, and says so there, whatever was looked at since.
	w.page(one + "/")
	if a := post(other+activate, marks[other]); a.to != other+"/policies/"+policyID {
		t.Errorf("a form in its tenant leads to %d %s", a.status, a.to)
	}
	w.page(other + "/units")
	if a := post(one+activate, marks[one]); a.status != http.StatusSeeOther {
		t.Errorf("a form in its tenant = %d", a.status)
	}
	if got := fmt.Sprint(w.changed()); got != fmt.Sprint([]string{fabrikam, tenantID}) {
		t.Errorf("forms changed something in %s", got)
	}
	if page := w.page(one + "/"); strings.Count(page, "The policy is being activated") != 1 {
		t.Errorf("the first tenant's page does not say once what was done there:\n%s", page)
	}
	for _, c := range w.calls("GET") {
		if c.Path == "/protectionPolicies/"+policyID && c.Token == "" {
			t.Error("something was read without a token")
		}
	}

	// Signing in to a tenant again renews its forms, and leaves the others' alone.
	w.comeBack(w.get("/console/sign-in?tenant=" + fabrikam + "&to=/console/"))
	if a := post(other+activate, marks[other]); a.status != http.StatusForbidden {
		t.Errorf("a form of the session before = %d", a.status)
	}
	if a := post(one+activate, marks[one]); a.status != http.StatusSeeOther {
		t.Errorf("a form of the other tenant = %d", a.status)
	}
}

func TestTenantsComeAndGo(t *testing.T) {
	w := providerWorld(t)
	// One that nobody serves, one that wants to be asked, and what is no tenant.
	w.on(tailspin+" GET /holdfast.me", refusal{401, "InvalidAuthenticationToken", "Of another tenant."})
	if a := w.post("/console/tenants/add", url.Values{"tenant": {"tailspin.com"}}); a.to != "/console/tenants" {
		t.Errorf("a tenant that is not served = %d %s", a.status, a.to)
	}
	if page := w.page("/console/tenants"); !strings.Contains(page, "does not accept your sign-in") || strings.Contains(page, "Tailspin") || strings.Contains(page, tailspin) {
		t.Errorf("a tenant that is not served:\n%s", page)
	}
	if a := w.get("/console/" + tailspin + "/units"); !strings.HasPrefix(a.to, "/console/sign-in?tenant="+tailspin) {
		t.Errorf("a tenant that nobody signed in to = %d %s", a.status, a.to)
	}
	for _, name := range []string{"", "x", "../contoso.com", "fabrikam.com/x", strings.Repeat("a.", 200) + "com"} {
		if a := w.post("/console/tenants/add", url.Values{"tenant": {name}}); a.to != "/console/tenants" {
			t.Errorf("a tenant called %q = %d %s", name, a.status, a.to)
		}
	}
	w.page("/console/tenants")
	w.asks[fabrikam] = true
	a := w.post("/console/tenants/add", url.Values{"tenant": {"fabrikam.com"}})
	if a.status != http.StatusOK || !strings.Contains(a.body, `href="/console/sign-in?tenant=fabrikam.com&amp;to=%2Fconsole%2F"`) {
		t.Fatalf("a tenant that asks = %d %s", a.status, a.body)
	}
	a = w.get("/console/sign-in?tenant=fabrikam.com&to=/console/")
	if !strings.Contains(a.to, "/fabrikam.com/oauth2/v2.0/authorize?") {
		t.Errorf("a tenant that asks is asked at %s", a.to)
	}
	if a = w.comeBack(a); a.to != "/console/"+fabrikam+"/" {
		t.Fatalf("signed in = %d %s\n%s", a.status, a.to, a.body)
	}
	// Of a tenant that was named by its id nobody of another is taken.
	a = w.get("/console/sign-in?tenant=" + tailspin + "&to=/console/" + tailspin + "/")
	w.others[tailspin] = fabrikam
	if a = w.comeBack(a); a.status != http.StatusBadGateway {
		t.Errorf("somebody of another tenant = %d %s", a.status, a.to)
	}
	// The address without a tenant leads to the one that was looked at last.
	w.page("/console/" + fabrikam + "/")
	w.wait(time.Second)
	w.page("/console/" + tenantID + "/")
	plain := func(path string) answer {
		r, err := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := w.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return answer{status: res.StatusCode, to: res.Header.Get("Location")}
	}
	if a := plain("/console/units?q=x"); a.to != "/console/"+tenantID+"/units?q=x" {
		t.Errorf("an address without a tenant leads to %s", a.to)
	}
	// Sign out of one: the other goes on.
	if a := w.post("/console/tenants/sign-out", url.Values{"tenant": {fabrikam}}); a.to != "/console/tenants" {
		t.Errorf("signed out of one = %d %s", a.status, a.to)
	}
	if a := w.get("/console/" + fabrikam + "/"); !strings.HasPrefix(a.to, "/console/sign-in?") {
		t.Errorf("after signing out of it = %d %s", a.status, a.to)
	}
	w.page("/console/")
	// Those of before come back by one click, but for the one that asks; nobody else's.
	w.asks[fabrikam] = false
	w.comeBack(w.get("/console/sign-in?tenant=fabrikam.com&to=/console/"))
	old := w.cookie()
	if a := w.post("/console/sign-out", nil); a.to != "/console/signed-out" {
		t.Errorf("signed out = %d %s", a.status, a.to)
	}
	for _, path := range []string{"/console/" + fabrikam + "/", "/console/" + tenantID + "/"} {
		if a := w.get(path); a.status != http.StatusSeeOther {
			t.Errorf("after signing out %s = %d", path, a.status)
		}
	}
	u, _ := url.Parse(w.srv.URL)
	w.browser.Jar.SetCookies(u, []*http.Cookie{{Name: sessionCookie, Value: old, Path: "/"}})
	if a := w.get("/console/"); !strings.HasPrefix(a.to, "/console/sign-in?") {
		t.Errorf("with the cookie of before = %d %s", a.status, a.to)
	}
	w.comeBack(w.get("/console/sign-in?to=/console/"))
	if page := w.page("/console/tenants"); !strings.Contains(page, "Sign in to 1 tenant of before") || strings.Contains(page, "Fabrikam") {
		t.Errorf("the tenants of before:\n%s", page)
	}
	if a := w.post("/console/tenants/again", nil); a.to != "/console/tenants" {
		t.Errorf("signed in again = %d %s", a.status, a.to)
	}
	if page := w.page("/console/tenants"); !strings.Contains(page, "Fabrikam &lt;Ltd&gt;") || strings.Contains(page, "of before") {
		t.Errorf("signed in again:\n%s", page)
	}

	// A console of one tenant has none of this.
	w = signedInWorld(t)
	if page := w.page("/console/"); strings.Contains(page, "switch") || w.get("/console/tenants").status != http.StatusNotFound {
		t.Error("a console of one tenant speaks of others")
	}
	if a := w.post("/console/tenants/add", url.Values{"tenant": {"fabrikam.com"}}); a.status != http.StatusNotFound {
		t.Errorf("a console of one tenant signs in to others: %d", a.status)
	}
	if a := w.get("/console/sign-in?tenant=fabrikam.com"); !strings.Contains(a.to, "/"+tenantID+"/oauth2") {
		t.Errorf("a console of one tenant sends people to %s", a.to)
	}
}

// The page of all tenants asks each with its own token, a few at a time, and one that
// fails, panics, does not answer or whose sign-in ended says so in its row.
func TestOverviewOfTenants(t *testing.T) {
	w := providerWorld(t)
	w.console.patience = time.Second
	const n = 60
	var at, most atomic.Int32
	service := func(id string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			time.Sleep(5 * time.Millisecond)
			fmt.Fprint(rw, `{"serviceStatus":{"status":"enabled"}}`)
		}
	}
	tenants := func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
	for i := range n {
		id := tenants(i)
		w.others[id] = id
		w.on(id+" GET /holdfast.me", map[string]any{"tenantDisplayName": fmt.Sprintf("Customer %02d", i)})
		w.on(id+" GET ", service(id))
		w.on(id+" GET /holdfast.rpo", map[string]any{"protectedUnitCount": 1000 + i, "missedUnitCount": 0, "lastDateTime": "2026-11-27T07:58:00Z", "worst": []any{map[string]any{"newestDateTime": "2026-11-27T05:00:00Z"}}})
		if a := w.post("/console/tenants/add", url.Values{"tenant": {id}}); a.to != "/console/"+id+"/" {
			t.Fatalf("signed in to %s = %d %s", id, a.status, a.to)
		}
	}
	w.on(tenants(1)+" GET /protectionPolicies", refusal{500, "generalException", "Its database <is> away."})
	w.on(tenants(2)+" GET ", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	w.on(tenants(3)+" GET /holdfast.rpo", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }))
	w.on(tenants(5)+" GET /protectionPolicies", map[string]any{"value": []any{map[string]any{"id": policyID, "@odata.type": "#microsoft.graph.oneDriveForBusinessProtectionPolicy",
		"displayName": "Staff", "status": "active", "protectionPolicyArtifactCount": map[string]any{"total": 9, "failed": 4}}}})
	w.on(tenants(5)+" GET /protectionUnits/$count", 7)
	w.mu.Lock()
	w.asked = nil
	w.mu.Unlock()
	begun := time.Now()
	page := w.page("/console/tenants?after=1") // Contoso is the first, by name
	if took := time.Since(begun); took > 5*rowTime {
		t.Errorf("the page took %v", took)
	}
	if got := most.Load(); got < 2 || got > rowsAtOnce {
		t.Errorf("%d tenants were asked at a time", got)
	}
	rows := map[string]string{}
	for _, row := range strings.Split(page, "<tr>") {
		for i := range n {
			if strings.Contains(row, fmt.Sprintf(">Customer %02d</a>", i)) {
				rows[tenants(i)] = row
			}
		}
	}
	if len(rows) != pageSize || !strings.Contains(page, "61 tenants") || !strings.Contains(page, "after=26") {
		t.Errorf("a page has %d tenants:\n%s", len(rows), page)
	}
	for i, says := range map[int]string{1: "Its database &lt;is&gt; away.", 2: "did not answer within 1s", 3: "The server did not answer", 4: `<td class="number">1004</td>`,
		5: "4 drives of “Staff” could not be backed up whole."} {
		if row := rows[tenants(i)]; !strings.Contains(row, says) || (i < 4) != strings.Contains(row, "Not known") {
			t.Errorf("the row of customer %d does not say %q: %s", i, says, row)
		}
	}
	if row := rows[tenants(5)]; !strings.Contains(row, `<td class="number">4</td>`) || !strings.Contains(row, `<td class="number">7</td>`) || !strings.Contains(row, `href="/console/`+tenants(5)+`/policies/`+policyID+`?failing=1"`) || !strings.Contains(row, "2 min ago") || !strings.Contains(row, "3 h ago") {
		t.Errorf("the row of customer 5: %s", row)
	}
	asked := map[string]bool{}
	for _, c := range w.calls("GET") {
		w.mu.Lock()
		asked[w.of[strings.TrimPrefix(c.Token, "Bearer ")]] = true
		w.mu.Unlock()
	}
	if len(asked) > pageSize+1 { // and that whose page it is
		t.Errorf("one page asked %d tenants", len(asked))
	}
	// A sign-in that has ended.
	w.wait(2 * time.Hour)
	w.asks[tenants(7)] = true
	if page := w.page("/console/tenants?q=customer+07"); !strings.Contains(page, "The sign-in has ended.") || !strings.Contains(page, `href="/console/sign-in?tenant=`+tenants(7)) || !strings.Contains(page, "1 tenant<") {
		t.Errorf("a tenant whose sign-in has ended:\n%s", page)
	}
	// The switch names a few, and leads to all.
	if page := w.page("/console/units"); strings.Count(page, ">Customer ") != inSwitch || !strings.Contains(page, "All tenants, 45 more") {
		t.Errorf("the switch:\n%s", page)
	}
}
