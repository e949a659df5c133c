package rclone

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// suite is the package whose tests are run, and passes how many of them are
// known to pass; others are skipped by what the backend cannot do.
const (
	suite  = "github.com/rclone/rclone/backend/onedrive"
	passes = 207
)

// A tenant is a `holdfast tenant` process.
type tenant struct {
	URL       string
	SecureURL string
	Proxy     string
	Authority string `json:"authorityCertificate"`
	Tenants   []struct {
		ID      string
		Clients []struct{ ClientID, ClientSecret string }
	}
}

// command is a program that ends with this process.
func command(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := command(t, dir, name, args...).Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			out = append(out, e.Stderr...)
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// start runs a tenant until the test ends.
func start(t *testing.T, binary string, args ...string) (said tenant) {
	t.Helper()
	cmd := command(t, ".", binary, append([]string{"tenant", "--data", t.TempDir(), "--tls-listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		t.Fatalf("the tenant says %q: %v", line, err)
	}
	return said
}

// token asks the tenant for one.
func (x tenant) token(t *testing.T, set url.Values) (access, refresh string) {
	t.Helper()
	client := x.Tenants[0].Clients[0]
	set.Set("client_id", client.ClientID)
	set.Set("client_secret", client.ClientSecret)
	resp, err := http.PostForm(x.URL+"/"+x.Tenants[0].ID+"/oauth2/v2.0/token", set)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.Access == "" {
		t.Fatalf("a token: %s, %v", resp.Status, err)
	}
	return said.Access, said.Refresh
}

// drive returns the id of a user's drive.
func (x tenant) drive(t *testing.T, user string) string {
	t.Helper()
	access, _ := x.token(t, url.Values{"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}})
	req, err := http.NewRequest("GET", x.URL+"/v1.0/users/"+user+"/drive", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.ID == "" {
		t.Fatalf("the drive of %s: %s, %v", user, resp.Status, err)
	}
	return said.ID
}

const user = "amala@contoso.com"

// remote is the section of rclone's configuration that leads to a tenant: at an
// origin, for the application itself; or, without one, at the service's own
// names, for a user who has signed in.
func (x tenant) remote(t *testing.T, origin string) string {
	client := x.Tenants[0].Clients[0]
	section := fmt.Sprintf(`[sim]
type = onedrive
drive_type = business
drive_id = %s
tenant = %s
client_id = %s
client_secret = %s
`, x.drive(t, user), x.Tenants[0].ID, client.ClientID, client.ClientSecret)
	if origin == "" {
		_, refresh := x.token(t, url.Values{"grant_type": {"password"}, "username": {user}, "password": {"any"}, "scope": {"Files.ReadWrite.All offline_access"}})
		return section + fmt.Sprintf(`token = {"access_token":"ended","token_type":"Bearer","refresh_token":%q,"expiry":"2020-01-01T00:00:00Z"}
`, refresh)
	}
	return section + fmt.Sprintf(`client_credentials = true
tenant_url = %s
tenant_api_version = v1.0
token_url = %[1]s/%s/oauth2/v2.0/token
`, origin, x.Tenants[0].ID)
}

// No test of the suite fails, and none passes no more, whichever way a client
// goes.
func TestSuite(t *testing.T) {
	dir := t.TempDir()
	holdfast, tests := filepath.Join(dir, "holdfast"), filepath.Join(dir, "onedrive.test")
	run(t, "../..", "go", "build", "-o", holdfast, "./cmd/holdfast")
	run(t, ".", "go", "test", "-c", "-o", tests, suite)
	source := run(t, ".", "go", "list", "-f", "{{.Dir}}", suite)
	profile := filepath.Join(dir, "retired.json")
	if err := os.WriteFile(profile, []byte(`{"options":{"preAuth":"retired","noSecrets":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, way := range map[string]struct {
		origin func(tenant) string
		tenant []string
		suite  []string
	}{
		"in plain HTTP":                   {origin: func(x tenant) string { return x.URL }},
		"by HTTPS with lists from delta":  {origin: func(x tenant) string { return x.SecureURL }, suite: []string{"-fast-list"}},
		"by the service names as of 2027": {tenant: []string{"--proxy-listen", "127.0.0.1:0", "--profile", profile}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, origin := start(t, holdfast, way.tenant...), ""
			if way.origin != nil {
				origin = way.origin(x)
			}
			config := filepath.Join(t.TempDir(), "rclone.conf")
			if err := os.WriteFile(config, []byte(x.remote(t, origin)), 0o600); err != nil {
				t.Fatal(err)
			}
			// The tests look for files beside their source.
			cmd := command(t, source, tests, append([]string{"-test.v", "-remote", "sim:"}, way.suite...)...)
			cmd.Env = append(os.Environ(), "RCLONE_CONFIG="+config, "RCLONE_CA_CERT="+x.Authority, "SSL_CERT_FILE="+x.Authority, "HTTPS_PROXY="+x.Proxy)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			passed, failed := strings.Count(out.String(), "--- PASS"), strings.Count(out.String(), "--- FAIL")
			if err != nil || failed > 0 || passed < passes {
				t.Errorf("%d tests passed, want at least %d; %d failed; %v\n%s", passed, passes, failed, err, out.String())
			}
		})
	}
}
