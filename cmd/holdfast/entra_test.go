package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/client"
	"holdfast/internal/simtenant"
)

// A server at a directory that gives tokens as Entra ID does: it is an application
// of its own, clients learn from it for which, and who comes with a token for Graph
// is told what to do.
func TestServeAtEntra(t *testing.T) {
	for name, version := range map[string]int{"version 2": 2, "version 1": 0} {
		t.Run(name, func(t *testing.T) {
			entra, tenant, origin := serveAtEntra(t, simtenant.App{TokenVersion: version,
				Exposes: []string{"BackupRestore-Configuration.Read.All", "BackupRestore-Configuration.ReadWrite.All", "BackupRestore-Restore.Read.All"}}, nil)
			app, ctx := tenant.Apps[0], t.Context()

			as := client.Config{URL: origin, Authority: entra, Graph: entra + "/v1.0", Tenant: string(tenant.ID), ClientID: app.AppID, ClientSecret: client.Secret(app.Secret)}
			c, err := client.New(as)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Get(ctx, "/protectionPolicies", nil); err != nil {
				t.Errorf("a client that asks the server for which application: %v", err)
			}
			if id, ok, err := c.User(ctx, tenant.Users[0].UserPrincipalName); err != nil || !ok || id != tenant.Users[0].ID {
				t.Errorf("the same client looks a user up at Graph: %q, %v", id, err)
			}
			// Its token carries what the application exposes, and nothing of Graph's.
			err = c.Ask(ctx, "/restorePoints/search", map[string]any{}, nil)
			if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Status != http.StatusForbidden {
				t.Errorf("with a permission that was granted on Graph only: %v", err)
			}

			as.Scope = "https://graph.microsoft.com/.default"
			if c, err = client.New(as); err != nil {
				t.Fatal(err)
			}
			err = c.Get(ctx, "/protectionPolicies", nil)
			if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Status != http.StatusUnauthorized || refused.Resource != entraAPI ||
				!strings.Contains(refused.Message, "nobody but Microsoft Graph can verify") || !strings.Contains(refused.Message, entraAPI+"/.default") {
				t.Errorf("with a token for Graph: %v", err)
			}
		})
	}
}

// entraAPI is the application that a server is at Entra ID.
const entraAPI = "5a1e0000-4f6b-4c55-8f0e-c0a7050a00aa"

// serveAtEntra has a server protect a tenant whose tokens are as Entra ID gives
// them, and returns where Entra ID and the server are. api is the server there; change
// changes how its configuration describes the tenant.
func serveAtEntra(t *testing.T, api simtenant.App, change func(tenant map[string]any)) (entraURL string, tenant *simtenant.Tenant, origin string) {
	t.Helper()
	tenants := simtenant.Sample()
	tenant = &tenants[0]
	app := tenant.Apps[0]
	api.AppID, api.DisplayName, api.Secret = entraAPI, "Holdfast", "its own"
	tenant.Apps = append(tenant.Apps, api)
	dir, faults := t.TempDir(), new(simtenant.Faults)
	faults.Set(func(o *simtenant.Options) { o.SealGraph = true })
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(dir, "sim"), Drives: filepath.Join(dir, "drives"), Tenants: tenants, Faults: faults, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	entra := httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		entra.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("HOLDFAST_TEST_APP", app.Secret)
	cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
		cfg["listen"], cfg["api"] = "127.0.0.1:0", map[string]any{"clientId": entraAPI}
		described := map[string]any{
			"id": string(tenant.ID), "graph": entra.URL + "/v1.0", "authority": entra.URL, "clientId": app.AppID, "secretEnv": "HOLDFAST_TEST_APP",
		}
		if change != nil {
			change(described)
		}
		cfg["tenants"] = []any{described}
		delete(cfg, "issuers")
	}))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := checkOnline(t.Context(), cfg, &said); err != nil {
		t.Errorf("the check before the start: %v\n%s", err, said.String())
	}
	ctx, stop := context.WithCancel(t.Context())
	lines, ended := make(lineWriter, 8), make(chan error, 1)
	go func() { ended <- runServe(ctx, cfg, nil, lines, testLog(t)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case line := <-lines:
		origin = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "Holdfast listens on "), client.Root)
	case <-time.After(time.Minute):
		t.Fatal("the server does not start")
	}
	return entra.URL, tenant, origin
}

// What people may do is what their scopes and their roles both allow; who has no role
// may do nothing, and is told how to get one. Applications have none.
func TestRolesOfPeopleAtEntra(t *testing.T) {
	sample := simtenant.Sample()[0]
	finance := sample.Groups[0]
	api := simtenant.App{TokenVersion: 2, GroupClaims: true, Exposes: []string{"BackupRestore-Configuration.ReadWrite.All", "BackupRestore-Search.Read.All"}}
	entra, tenant, origin := serveAtEntra(t, api, func(tenant map[string]any) {
		tenant["roles"] = map[string]any{"reader": []string{strings.ToUpper(string(finance.ID))}}
	})
	app := tenant.Apps[0]
	as := func(user string) *client.Client {
		t.Helper()
		c, err := client.New(client.Config{URL: origin, Authority: entra, Graph: entra + "/v1.0", Tenant: string(tenant.ID), ClientID: app.AppID, ClientSecret: client.Secret(app.Secret), User: user, Password: "any"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var inside, outside string
	for _, u := range tenant.Users {
		if slices.Contains(finance.Members, u.ID) {
			inside = u.UserPrincipalName
		} else {
			outside = u.UserPrincipalName
		}
	}
	policy := map[string]any{"displayName": "a policy"}
	const policies = "/oneDriveForBusinessProtectionPolicies"
	for _, row := range []struct {
		who, says string
		ask       func(*client.Client) error
	}{
		{inside, "", func(c *client.Client) error { return c.Get(t.Context(), "/protectionPolicies", nil) }},
		{inside, "Your role here, reader, does not go so far. Ask an administrator for the role operator or administrator", func(c *client.Client) error { return c.Create(t.Context(), policies, policy, nil) }},
		{outside, "You have no role here. Ask an administrator for the role reader or", func(c *client.Client) error { return c.Get(t.Context(), "/protectionPolicies", nil) }},
		{"", "", func(c *client.Client) error { return c.Create(t.Context(), policies, policy, nil) }},
	} {
		err := row.ask(as(row.who))
		refused, ok := errors.AsType[*client.Error](err)
		if row.says == "" && err != nil || row.says != "" && (!ok || refused.Status != http.StatusForbidden || !strings.Contains(refused.Message, row.says)) {
			t.Errorf("%q: %v, want %q", row.who, err, row.says)
		}
	}
}

// What a server depends on and cannot reach is said by its check, in its log, once,
// and where its balancer asks.
func TestServeSaysWhatItCannotReach(t *testing.T) {
	d := startTestDev(t, nil)
	tenant, app := d.tenants[0], d.tenants[0].Apps[0]
	t.Setenv("HOLDFAST_TEST_APP", "a secret of yesterday")
	cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
		cfg["listen"] = "127.0.0.1:0"
		cfg["tenants"] = []any{map[string]any{"id": string(tenant.ID), "graph": d.origin + "/v1.0", "authority": d.origin, "clientId": app.AppID, "secretEnv": "HOLDFAST_TEST_APP"}}
		cfg["issuers"] = []any{map[string]any{"issuer": d.origin, "jwks": d.origin + "/nowhere", "tenant": string(tenant.ID)}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	err = checkOnline(t.Context(), cfg, &said)
	if err == nil || !strings.Contains(said.String(), "cannot sign in; check clientId") || !strings.Contains(said.String(), "check jwks") || strings.Contains(said.String(), "yesterday") {
		t.Errorf("the check says %v:\n%s", err, said.String())
	}
	var log logBuffer
	s, err := startServe(t.Context(), cfg, nil, io.Discard, newLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var lines []string
	for range 1000 {
		if lines = s.outlook.lines(); len(lines) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	answer := httptest.NewRecorder()
	s.ready(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if body := answer.Body.String(); answer.Code != http.StatusOK || !strings.HasPrefix(body, "ready\n") || !strings.Contains(body, "the source of tenant "+string(tenant.ID)+" cannot be used") || !strings.Contains(body, "the issuers of tokens cannot be used") {
		t.Errorf("readyz answers %d %s", answer.Code, body)
	}
	s.outlook.note("the issuers of tokens", nil)
	if text := log.String(); strings.Count(text, "something is not in order") != 2 || !strings.Contains(text, "cannot sign in") || !strings.Contains(text, "in order again") || strings.Contains(text, "yesterday") {
		t.Errorf("the log says:\n%s", text)
	}
}
