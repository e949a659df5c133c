package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/simtenant"
)

// The program reads its configuration again while a backup runs: a tenant comes by
// command and goes by the API, in the middle of its backup, and comes back; a broken
// file changes nothing, and a secret that is put right is used.
func TestTenantsComeAndGo(t *testing.T) {
	const one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	var tenants []simtenant.Tenant
	for id, domain := range map[string]string{one: "one.example", two: "two.example"} {
		tenant := simtenant.Sample()[0]
		app, user := tenant.Apps[0], tenant.Users[0]
		tenant.ID, tenant.Domain, tenant.Groups = backup.TenantID(id), domain, nil
		app.AppID, app.Secret = id, "secret-of-"+domain
		user.ID, user.UserPrincipalName, user.Mail = backup.ObjectID(id), "ann@"+domain, "ann@"+domain
		tenant.Users = []simtenant.User{user}
		tenant.Apps = []simtenant.App{app, {AppID: strings.Replace(entraAPI, "5a1e", id[:4], 1), DisplayName: "Holdfast", Secret: "its own", TokenVersion: 2, Roles: nil}}
		tenants = append(tenants, tenant)
	}
	dir := t.TempDir()
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(dir, "sim"), Drives: filepath.Join(dir, "drives"), Tenants: tenants, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	var hold atomic.Bool
	var held, released atomic.Int64
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hold.Load() && strings.HasPrefix(r.URL.Path, "/_sharepoint/download/") {
			held.Add(1)
			<-r.Context().Done()
			released.Add(1)
			return
		}
		sim.Handler().ServeHTTP(w, r)
	}))
	defer graph.Close()
	for _, name := range []string{"ann@one.example", "ann@two.example"} {
		if err := os.MkdirAll(filepath.Join(dir, "drives", name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "drives", name, "report.bin"), bytes.Repeat([]byte(name), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	describe := func(id, secretFile string) map[string]any {
		return map[string]any{"id": id, "graph": graph.URL + "/v1.0", "authority": graph.URL, "clientId": id, "secretFile": secretFile}
	}
	config := writeConfig(t, func(cfg map[string]any) {
		cfg["listen"], cfg["tenantsDir"] = "127.0.0.1:0", "tenants"
		cfg["tenants"] = []any{describe(one, "app.secret")}
		cfg["audit"] = map[string]any{"to": []any{map[string]any{"name": "first", "file": filepath.Join(dir, "first.jsonl")}}}
		cfg["console"] = map[string]any{"clientId": one, "secretFile": "console.secret"}
		cfg["administration"] = map[string]any{"tenant": one, "applications": []string{one}}
		var issuers []any
		cfg["issuers"] = append(issuers, map[string]any{"issuer": graph.URL + "/" + one + "/v2.0", "jwks": graph.URL + "/" + one + "/discovery/v2.0/keys", "tenant": one})
	})
	place := filepath.Dir(config)
	write := func(name string, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(place, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("app.secret", "secret-of-one.example")
	write("console.secret", "secret-of-one.example")
	right, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}

	log := &logBuffer{}
	program := exec.Command(os.Args[0], "serve", "--config", config)
	program.Env = append(os.Environ(), asProgram+"=1")
	program.Stderr = io.MultiWriter(t.Output(), log)
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	line := make([]byte, 200)
	n, _ := out.Read(line)
	go io.Copy(io.Discard, out)
	_, origin, _ := strings.Cut(string(line[:n]), "listens on ")
	origin, _, _ = strings.Cut(origin, "\n") // another line says where the console is
	origin = strings.TrimSuffix(origin, client.Root)
	page := func(path string) string {
		t.Helper()
		res, err := http.Get(origin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	as := func(id, domain string) *client.Client {
		t.Helper()
		c, err := client.New(client.Config{URL: origin, Authority: graph.URL, Tenant: id, ClientID: id, ClientSecret: client.Secret("secret-of-" + domain), Scope: "https://graph.microsoft.com/.default"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := as(one, "one.example"), as(two, "two.example")
	api := func(id, method, path string, body any) (status int, text string) {
		t.Helper()
		form := strings.NewReader("grant_type=client_credentials&client_id=" + id + "&client_secret=secret-of-" + map[string]string{one: "one", two: "two"}[id] + ".example&scope=https://graph.microsoft.com/.default")
		res, err := http.Post(graph.URL+"/"+id+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", form)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var token struct {
			AccessToken string `json:"access_token"`
		}
		json.NewDecoder(res.Body).Decode(&token)
		sent, _ := json.Marshal(body)
		req, _ := http.NewRequestWithContext(t.Context(), method, origin+tenantsPath+path, bytes.NewReader(sent))
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		if res, err = http.DefaultClient.Do(req); err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		said, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(said)
	}
	soon := func(what string, is func() bool) {
		t.Helper()
		if !comes(is) {
			t.Fatalf("not within a minute: %s; /readyz says %s", what, page("/readyz"))
		}
	}
	served := func() bool { return second.Get(t.Context(), "/protectionPolicies", nil) == nil }
	figures := func() bool { return strings.Contains(page("/metrics"), `tenant="`+two+`"`) }

	signsInTo := func() string { // by the console
		t.Helper()
		browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := browser.Get(origin + "/console/sign-in")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		tenant, _, _ := strings.Cut(strings.TrimPrefix(res.Header.Get("Location"), graph.URL+"/"), "/oauth2/v2.0/authorize?")
		return tenant
	}

	if tenant := signsInTo(); tenant != one {
		t.Errorf("people of the only tenant sign in to %q", tenant)
	}
	if served() || figures() {
		t.Error("a tenant that nobody has added is served")
	}
	// It comes by command. Its tokens are of an issuer that follows from nothing here, and
	// so has to be named; a file that is read half changes nothing.
	withIssuer := strings.Replace(string(right), `"issuers":[`, fmt.Sprintf(`"issuers":[{"issuer":"%[1]s/%[2]s/v2.0","jwks":"%[1]s/%[2]s/discovery/v2.0/keys","tenant":%[2]q},`, graph.URL, two), 1)
	write("two.secret", "secret-of-two.example")
	described, _ := json.Marshal(describe(two, "two.secret"))
	write("two.json", string(described))
	hf(t, 0, "tenants", "add", "--config", config, filepath.Join(place, "two.json"))
	soon("its figures are there", func() bool {
		return strings.Contains(log.String(), "new=1")
	})
	if tenant := signsInTo(); tenant != "organizations" || strings.Contains(page("/readyz"), "from the next start on") {
		t.Errorf("people of two tenants sign in to %q; /readyz says %s", tenant, page("/readyz"))
	}
	if err := os.WriteFile(config, []byte(withIssuer), 0o600); err != nil {
		t.Fatal(err)
	}
	program.Process.Signal(syscall.SIGHUP)
	soon("the tenant that was added is served", served)
	if listed := hf(t, 0, "tenants", "list", "--config", config); !strings.Contains(listed, one) || !strings.Contains(listed, filepath.Join("tenants", two+".json")) {
		t.Errorf("the list is %s", listed)
	}

	hold.Store(true)
	var policy policyAnswer
	if err := second.Call(t.Context(), http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{
		"displayName": "p", "driveProtectionUnits": []any{map[string]any{"directoryObjectId": two}},
	}, &policy); err != nil {
		t.Fatal(err)
	}
	if err := second.Call(t.Context(), http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, nil); err != nil {
		t.Fatal(err)
	}
	soon("its backup downloads", func() bool { return held.Load() > 0 })

	write(filepath.Base(config), withIssuer[:len(withIssuer)/2])
	program.Process.Signal(syscall.SIGHUP)
	soon("it is said that the file is broken", func() bool {
		text := page("/readyz")
		return strings.HasPrefix(text, "ready\n") && strings.Contains(text, "cannot be used, and the one before it is in force")
	})
	var service map[string]any
	if err := first.Get(t.Context(), "", &service); err != nil || !strings.Contains(fmt.Sprint(service["@holdfast.configurationProblem"]), "cannot be used") {
		t.Errorf("the service says %v, %v", service, err)
	}
	if !served() || released.Load() > 0 || !strings.Contains(log.String(), "the file ends too soon") {
		t.Error("a broken file has changed something, or the log does not say what is wrong")
	}
	if code, said := api(one, http.MethodDelete, "/"+two, nil); code != http.StatusUnprocessableEntity {
		t.Errorf("beside a broken file the API answers %d %s", code, said)
	}
	write(filepath.Base(config), strings.Replace(withIssuer, `"listen":"127.0.0.1:0"`, `"listen":"127.0.0.1:0","workers":3`, 1))
	program.Process.Signal(syscall.SIGHUP)
	soon("it is said what is in force later", func() bool {
		return strings.Contains(page("/readyz"), "from the next start on, as far as it is about workers")
	})
	// Without its issuer, which would speak for nobody once the tenant is gone.
	if code, said := api(one, http.MethodDelete, "/"+two, nil); code != http.StatusUnprocessableEntity || !strings.Contains(said, "issuers[0].tenant") {
		t.Errorf("a tenant for whom an issuer speaks is taken out: %d %s", code, said)
	}
	write(filepath.Base(config), string(right))

	// It goes in the middle of its backup.
	if code, _ := api(two, http.MethodDelete, "/"+two, nil); code != http.StatusForbidden {
		t.Errorf("who is no administrator is answered %d", code)
	}
	if code, said := api(one, http.MethodDelete, "/"+one, nil); code != http.StatusConflict {
		t.Errorf("to take out what is in the file itself: %d %s", code, said)
	}
	if code, said := api(one, http.MethodDelete, "/"+two, nil); code != http.StatusNoContent {
		t.Fatalf("to take it out: %d %s", code, said)
	}
	soon("its backup has stopped", func() bool { return released.Load() == held.Load() })
	soon("nothing is left of it", func() bool { return !served() && !figures() })
	if tenant := signsInTo(); tenant != one {
		t.Errorf("people of the tenant that is left sign in to %q", tenant)
	}
	if code, _ := api(one, http.MethodGet, "/"+two, nil); code != http.StatusNotFound {
		t.Errorf("a tenant that is gone is answered with %d", code)
	}
	before := held.Load()

	// It comes back, and its backup goes on.
	body := describe(two, "")
	if code, said := api(one, http.MethodPut, "/"+two, body); code != http.StatusBadRequest || !strings.Contains(said, "secret") {
		t.Errorf("without a secret: %d %s", code, said)
	}
	body["secretFile"] = "/etc/passwd"
	if code, said := api(one, http.MethodPut, "/"+two, body); code != http.StatusBadRequest || !strings.Contains(said, "Files and variables") {
		t.Errorf("with a file of the server: %d %s", code, said)
	}
	if held.Load() != before {
		t.Error("the backup of a tenant that is gone has gone on")
	}
	hold.Store(false)
	delete(body, "secretFile")
	body["secret"] = "secret-of-two.example"
	if code, said := api(one, http.MethodPut, "/"+two, body); code != http.StatusOK || strings.Contains(said, "secret") {
		t.Fatalf("to add it again: %d %s", code, said)
	}
	write(filepath.Base(config), withIssuer)
	program.Process.Signal(syscall.SIGHUP)
	soon("its drive is protected", func() bool {
		units, err := list[unitAnswer](t.Context(), second, "/oneDriveForBusinessProtectionPolicies/"+policy.ID+"/driveProtectionUnits")
		return err == nil && len(units) == 1 && units[0].Status == "protected" && units[0].Error == nil
	})
	if strings.Contains(log.String(), "job failed") {
		t.Error("a job has failed by a tenant's going")
	}

	// Another outlet of the audit log is handed all of it.
	write(filepath.Base(config), strings.Replace(withIssuer, "first", "second", 2))
	program.Process.Signal(syscall.SIGHUP)
	soon("the audit log is in another file", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "second.jsonl"))
		return strings.Contains(string(text), policy.ID) && !strings.Contains(page("/readyz"), "from the next start on")
	})

	// A secret that is wrong is known at once, and so is one that was put right.
	write("app.secret", "wrong")
	program.Process.Signal(syscall.SIGHUP)
	soon("the wrong secret is told of", func() bool { return strings.Contains(page("/readyz"), "the source of tenant "+one+" cannot be used") })
	write("app.secret", "secret-of-one.example")
	program.Process.Signal(syscall.SIGHUP)
	soon("the right secret is used", func() bool { return !strings.Contains(page("/readyz"), "the source of tenant") })

	program.Process.Signal(syscall.SIGTERM)
	if err := program.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, secret := range []string{"secret-of-one", "secret-of-two"} {
		if strings.Contains(log.String(), secret) {
			t.Error("the log tells a secret")
		}
	}
}
