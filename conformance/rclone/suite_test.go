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

// drive returns the id of a user's drive.
func (x tenant) drive(t *testing.T, user string) string {
	t.Helper()
	client := x.Tenants[0].Clients[0]
	resp, err := http.PostForm(x.URL+"/"+x.Tenants[0].ID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {client.ClientID}, "client_secret": {client.ClientSecret},
	})
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Token string `json:"access_token"`
		ID    string
	}
	err = json.NewDecoder(resp.Body).Decode(&said)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", x.URL+"/v1.0/users/"+user+"/drive", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+said.Token)
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.ID == "" {
		t.Fatalf("the drive of %s: %s, %v", user, resp.Status, err)
	}
	return said.ID
}

// remote is the section of rclone's configuration that leads to a tenant.
func (x tenant) remote(t *testing.T, origin string) string {
	client := x.Tenants[0].Clients[0]
	return fmt.Sprintf(`[sim]
type = onedrive
drive_type = business
drive_id = %s
tenant = %s
client_credentials = true
client_id = %s
client_secret = %s
tenant_url = %s
tenant_api_version = v1.0
token_url = %[5]s/%[2]s/oauth2/v2.0/token
`, x.drive(t, "amala@contoso.com"), x.Tenants[0].ID, client.ClientID, client.ClientSecret, origin)
}

// No test of the suite fails, and none passes no more, whichever way a client
// goes.
func TestSuite(t *testing.T) {
	dir := t.TempDir()
	holdfast, tests := filepath.Join(dir, "holdfast"), filepath.Join(dir, "onedrive.test")
	run(t, "../..", "go", "build", "-o", holdfast, "./cmd/holdfast")
	run(t, ".", "go", "test", "-c", "-o", tests, suite)
	source := run(t, ".", "go", "list", "-f", "{{.Dir}}", suite)
	for name, way := range map[string]struct {
		secure bool
		args   []string
	}{
		"in plain HTTP":         {},
		"by HTTPS":              {secure: true},
		"with lists from delta": {args: []string{"-fast-list"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t, holdfast)
			origin := x.URL
			if way.secure {
				origin = x.SecureURL
			}
			config := filepath.Join(t.TempDir(), "rclone.conf")
			if err := os.WriteFile(config, []byte(x.remote(t, origin)), 0o600); err != nil {
				t.Fatal(err)
			}
			// The tests look for files beside their source.
			cmd := command(t, source, tests, append([]string{"-test.v", "-remote", "sim:"}, way.args...)...)
			cmd.Env = append(os.Environ(), "RCLONE_CONFIG="+config, "RCLONE_CA_CERT="+x.Authority, "SSL_CERT_FILE="+x.Authority)
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
