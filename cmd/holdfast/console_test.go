package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/client"
	"holdfast/internal/simtenant"
)

// A click on a name at Entra's page signs in to the console, which then shows
// what that person's token shows: in dev on one origin, and in serve with an
// Entra that is elsewhere.
func TestConsole(t *testing.T) {
	d := startTestDev(t, nil)
	t.Run("dev", func(t *testing.T) { visitConsole(t, d.origin, "OneDrive Policy") })

	tenant, app := string(d.tenants[0].ID), d.tenants[0].Apps[0]
	t.Setenv("HOLDFAST_TEST_APP", app.Secret)
	cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
		cfg["listen"] = "127.0.0.1:0"
		cfg["tenants"] = []any{map[string]any{
			"id": tenant, "graph": d.origin + "/v1.0", "authority": d.origin, "clientId": app.AppID, "secretEnv": "HOLDFAST_TEST_APP",
		}}
		cfg["issuers"] = []any{map[string]any{
			"issuer": d.origin + "/" + tenant + "/v2.0", "jwks": d.origin + "/" + tenant + "/discovery/v2.0/keys", "tenant": tenant,
		}}
		cfg["console"] = map[string]any{"clientId": app.AppID, "secretEnv": "HOLDFAST_TEST_APP"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	said, ended := make(lineWriter, 8), make(chan error, 1)
	go func() { ended <- runServe(ctx, cfg, nil, said, testLog(t)) }()
	select {
	case line := <-said:
		origin := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "Holdfast listens on "), client.Root)
		t.Run("serve", func(t *testing.T) { visitConsole(t, origin, "Nothing is protected.") })
	case err := <-ended:
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// In a dev of two tenants the console signs people of both in, and one person to both.
func TestConsoleOfTwoTenants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tenants.json")
	two := simtenant.Sample()
	other := simtenant.Tenant{ID: "fab00000-4f6b-4c55-8f0e-c0a7050a0000", DisplayName: "Fabrikam", Domain: "fabrikam.com", Apps: two[0].Apps,
		Users: []simtenant.User{{ID: "f1000000-4f6b-4c55-8f0e-c0a7050a0007", UserPrincipalName: "fiona@fabrikam.com", Mail: "fiona@fabrikam.com", DisplayName: "Fiona"}}}
	text, err := json.Marshal(map[string]any{"tenants": append(two, other)})
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := startTestDev(t, func(o *devOptions) { o.tenant = file })
	open := browsing(t)
	get := func(address string) (*url.URL, string) {
		t.Helper()
		res, page := open(address)
		return res.Request.URL, page
	}
	at, page := get(d.origin + "/console")
	if !strings.Contains(page, "noor@contoso.com") || !strings.Contains(page, "fiona@fabrikam.com") {
		t.Fatalf("who signs in is not asked among all: %s\n%s", at, page)
	}
	at, page = get(at.String() + "&user=fiona@fabrikam.com")
	if at.Path != "/console/"+string(other.ID)+"/" || !strings.Contains(page, "Fiona") {
		t.Fatalf("Fiona comes to %s\n%s", at, page)
	}
	at, _ = get(d.origin + "/console/sign-in?tenant=contoso.com")
	if at, page = get(at.String() + "&user=noor@contoso.com"); at.Path != "/console/"+string(two[0].ID)+"/" || !strings.Contains(page, ">Fabrikam</a>") {
		t.Fatalf("Noor comes to %s\n%s", at, page)
	}
	if _, page = get(d.origin + "/console/tenants"); !strings.Contains(page, "fiona@fabrikam.com") || !strings.Contains(page, "noor@contoso.com") || strings.Contains(page, "Not known") {
		t.Errorf("the tenants are\n%s", page)
	}
}

// browsing returns what gets pages as a browser does, which keeps its cookies.
func browsing(t *testing.T) func(address string) (*http.Response, string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	return func(address string) (*http.Response, string) {
		t.Helper()
		res, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
}

// visitConsole signs in as one of the sample users, and expects a text on the
// first page.
func visitConsole(t *testing.T, origin, want string) {
	t.Helper()
	get := browsing(t)
	res, page := get(origin + "/console")
	if res.StatusCode != http.StatusOK || !strings.Contains(page, `value="noor@contoso.com"`) {
		t.Fatalf("the console first shows %s\n%s", res.Status, page)
	}
	res, page = get(res.Request.URL.String() + "&user=noor@contoso.com")
	if res.StatusCode != http.StatusOK || res.Request.URL.Path != "/console/"+string(simtenant.Sample()[0].ID)+"/" || !strings.HasPrefix(res.Request.URL.String(), origin) {
		t.Fatalf("a click on a name leads to %s, %s\n%s", res.Request.URL, res.Status, page)
	}
	for _, want := range []string{"Noor Haddad", want} {
		if !strings.Contains(page, want) {
			t.Errorf("the overview does not say %q:\n%s", want, page)
		}
	}
}
