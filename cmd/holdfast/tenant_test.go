package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/simtenant"
)

// startTenant runs tenant until the test ends, and returns what it says when it
// is ready.
func startTenant(t *testing.T, o tenantOptions) ready {
	t.Helper()
	if o.listen == "" {
		o.listen = "127.0.0.1:0"
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := runTenant(ctx, o, in, slog.New(slog.NewTextHandler(t.Output(), nil)))
		in.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var said ready
	if err := json.Unmarshal(line, &said); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return said
}

// graph calls a tenant as its first application.
func (r ready) graph(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	client := r.Tenants[0].Clients[0]
	resp, err := http.PostForm(r.URL+tokenPath(r.Tenants[0].ID), url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {client.ID}, "client_secret": {client.Secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&token)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, r.Graph+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// Two tenants run side by side, know nothing of each other, and are a tenant
// only; without --control, nobody controls them.
func TestTenantsRunSideBySide(t *testing.T) {
	one, other := startTenant(t, tenantOptions{}), startTenant(t, tenantOptions{})
	if one.URL == other.URL || one.Drives == other.Drives {
		t.Fatalf("two tenants are at %s and %s, over %s and %s", one.URL, other.URL, one.Drives, other.Drives)
	}
	const file = "/users/amala@contoso.com/drive/root:/a.txt"
	if status, body := one.graph(t, "PUT", file+":/content", "hello"); status != 201 {
		t.Fatalf("upload: %d %s", status, body)
	}
	if b, err := os.ReadFile(filepath.Join(one.Drives, "amala@contoso.com", "a.txt")); err != nil || string(b) != "hello" {
		t.Errorf("the file on disk is %q, %v", b, err)
	}
	if status, body := other.graph(t, "GET", file, ""); status != 404 {
		t.Errorf("the other tenant has the file as well: %d %s", status, body)
	}
	if status, body := one.graph(t, "GET", "/solutions/backupRestore", ""); status != 404 {
		t.Errorf("a tenant serves backups: %d %s", status, body)
	}
	resp, err := http.Get(one.URL + "/_holdfast/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 || one.Control != "" {
		t.Errorf("a tenant without --control answers %s, and says %q", resp.Status, one.Control)
	}
}

func TestTenantRefusesAFolderInUse(t *testing.T) {
	dir := t.TempDir()
	first := startTenant(t, tenantOptions{data: dir})
	for name, o := range map[string]tenantOptions{"data": {data: dir}, "drives": {drives: first.Drives}} {
		o.listen = "127.0.0.1:0"
		err := runTenant(t.Context(), o, io.Discard, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "another simulated tenant is running on "+dir) {
			t.Errorf("a second tenant on the same %s: %v", name, err)
		}
	}
}

func TestTenantPlaysAProfileFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(`{"faults":[{"path":"/users","times":1,"status":429,"header":{"Retry-After":"3"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	said := startTenant(t, tenantOptions{profile: file, control: true})
	if status, body := said.graph(t, "GET", "/users", ""); status != 429 {
		t.Errorf("the first call: %d %s", status, body)
	}
	if status, body := said.graph(t, "GET", "/users", ""); status != 200 {
		t.Errorf("the second call: %d %s", status, body)
	}
	resp, err := http.Get(said.Control + "requests?path=/users")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var log struct{ Requests []struct{ Status int } }
	if err := json.NewDecoder(resp.Body).Decode(&log); err != nil || len(log.Requests) != 2 || log.Requests[0].Status != 429 {
		t.Errorf("the log is %v, %v", log, err)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"profile":"no such"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runTenant(t.Context(), tenantOptions{listen: "127.0.0.1:0", profile: bad}, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no such") {
		t.Errorf("an unknown profile: %v", err)
	}
}

// A client that has no setting for it reaches the tenant under the service's own
// names, and nothing else, by a proxy.
func TestTenantUnderTheServicesNames(t *testing.T) {
	said := startTenant(t, tenantOptions{tlsListen: "127.0.0.1:0", proxy: "127.0.0.1:0"})
	root, err := os.ReadFile(said.Authority)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	proxy, err := url.Parse(said.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for address, status := range map[string]int{
		"https://login.microsoftonline.com/contoso.com/v2.0/.well-known/openid-configuration": 200,
		"https://graph.microsoft.com/v1.0/me":                                                 401,
		"https://contoso-my.sharepoint.com/_api/v2.0/me/drive":                                401,
	} {
		resp, err := client.Get(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status || status == 200 && !strings.Contains(string(body), `"token_endpoint":"https://login.microsoftonline.com/`) {
			t.Errorf("%s = %s %s", address, resp.Status, body)
		}
	}
	for _, address := range []string{"https://example.com/", "http://graph.microsoft.com/", "https://graph.microsoft.com:8443/", "https://sharepoint.com.example/"} {
		if resp, err := client.Get(address); err == nil {
			if resp.StatusCode != 403 {
				t.Errorf("%s = %s", address, resp.Status)
			}
			resp.Body.Close()
		}
	}
	if err := runTenant(t.Context(), tenantOptions{listen: "127.0.0.1:0", proxy: "127.0.0.1:0"}, io.Discard, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a proxy without HTTPS is taken")
	}
}

// A made-up tenant serves its users, and changes when it is told to.
func TestTenantOfAnySize(t *testing.T) {
	p := &simtenant.Population{Seed: 5, Users: 2000, Files: 10_000, Size: 100}
	said := startTenant(t, tenantOptions{population: p, control: true, churn: 60_000})
	user := p.Tenant().Users[1999].UserPrincipalName
	if status, body := said.graph(t, "GET", "/users/"+user+"/drive/root/delta", ""); status != 200 || !strings.Contains(body, "quickXorHash") {
		t.Errorf("the last user's drive: %d %s", status, body)
	}
	resp, err := http.Post(said.Control+"churn", "application/json", strings.NewReader(`{"changes":10}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("churn = %s", resp.Status)
	}
}
