package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The pages of docs/tasks are read at the worst moment, docs/index.md and docs/roles on
// the first day. So their blocks are run as they are printed, one page after another, on
// one tenant that suffers what the page is about; only where the database is is another.
func TestPlayTheTaskPagesRunAsPrinted(t *testing.T) {
	shellNeeds(t, "bash", "awk")
	home, bin, work := t.TempDir(), built(t), t.TempDir()
	data := filepath.Join(home, ".local/state/holdfast")
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: 5 * time.Second, sample: true, files: true, workloads: allWorkloads}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { d.close() }()

	write := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What serve.json and drill.json say is what the pages say that they do.
	config := func(name, database, vault, state string) {
		write(filepath.Join(work, name), serveBesideDev(d, data, database, vault, state))
	}
	write(filepath.Join(work, "source.secret"), "holdfast-dev-secret")
	config("serve.json", filepath.Join(data, "catalog.db"), filepath.Join(data, "vault"), "state")
	config("drill.json", "drill/catalog.db", "drill/vault", "drill/state")
	budget := filepath.Join(data, "drives/amala@contoso.com/Documents/Budget.md")
	write(budget, "all that we have")
	write(filepath.Join(data, "drives/conrad@contoso.com/plan.md"), "what we want")

	env := append(os.Environ(), "HOME="+home, "PATH="+bin+":"+os.Getenv("PATH"))
	run := func(what, script string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", "set -eu -o pipefail\n"+exports(t.Context(), d)+script)
		cmd.Dir, cmd.Env = work, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
	}
	page := func(name, before string) {
		t.Helper()
		script := ""
		for _, block := range shellBlocks(t, "../../docs/"+name) {
			if block.needs != "" {
				t.Fatalf("a block of %s is not run for want of %s", name, block.needs)
			}
			script += block.text
		}
		if script == "" {
			t.Fatalf("%s has nothing to run", name)
		}
		script = strings.ReplaceAll(script, "/var/lib/holdfast/catalog.db", filepath.Join(data, "catalog.db"))
		for _, runs := range []string{"go run ./cmd/holdfast dev\n", "go install ./cmd/holdfast\n"} {
			script = strings.ReplaceAll(script, runs, "")
		}
		run(name, before+script)
	}
	holds := func(file, want string) {
		t.Helper()
		if b, err := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("%s holds %.40q, %v", file, b, err)
		}
	}

	write(filepath.Join(work, "README.md"), "read me")
	page("index.md", "")
	holds(filepath.Join(data, "drives/amala@contoso.com/README.md"), "read me")
	run("protecting", `
holdfast drive add --policy "OneDrive Policy" conrad@contoso.com
holdfast policy create Mail --workload exchange
holdfast mailbox add --policy Mail amala@contoso.com
holdfast policy activate Mail --wait
`)
	page("tasks/user-left.md", "")
	holds(filepath.Join(work, "handover/amala/Documents/Budget.md"), "all that we have")
	for _, made := range []string{"amala-documents.zip", "handover/amala-mail/Inbox.mbox"} {
		if s, err := os.Stat(filepath.Join(work, made)); err != nil || s.Size() == 0 {
			t.Errorf("%s: %v, %v", made, s, err)
		}
	}

	page("tasks/another-tenant.md", "")
	holds(filepath.Join(work, "move/amala/Documents/Budget.md"), "all that we have")

	page("tasks/one-file.md", "")
	if got, err := filepath.Glob(filepath.Join(data, "drives/amala@contoso.com/Restored */Budget.md")); err != nil || len(got) != 1 {
		t.Errorf("of the one file came back %v, %v", got, err)
	}

	page("tasks/ransomware.md", fmt.Sprintf(`
holdfast drive add --policy "OneDrive Policy" amala@contoso.com
for i in $(seq 300); do holdfast drive list --policy "OneDrive Policy" | grep -q "amala@contoso.com *protected" && break; sleep 0.2; done
GOOD=$(date -u '+%%F %%T +00:00')
sleep 1
head -c 9000 /dev/urandom >%[1]q.locked
rm %[1]q
for i in $(seq 300); do holdfast browse ls amala@contoso.com /Documents | grep -q locked && break; sleep 0.2; done
`, budget))
	holds(budget, "all that we have")

	for _, role := range []string{"administrator", "auditor", "provider"} {
		page("roles/"+role+".md", "mkdir -p customers\nenv | grep ^HOLDFAST_ >customers/contoso.env\n")
	}
	if b, err := os.ReadFile(filepath.Join(work, "bills/contoso.csv")); err != nil || !strings.Contains(string(b), "monthlyCostHere") || !strings.Contains(string(b), "amala@contoso.com") {
		t.Errorf("the bill of a customer: %.200q, %v", b, err)
	}

	// Everything but the vault, its password and the configuration is lost.
	d.close()
	for _, gone := range []string{"catalog.db", "catalog.db-wal", "catalog.db-shm"} {
		if err := os.Remove(filepath.Join(data, gone)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	page("tasks/lost.md", "")
	holds(filepath.Join(work, "drill/amala/Documents/Budget.md"), "all that we have")
}

// So are those of the manuals, on one tenant, whatever that can have: a block that needs more
// has a remark before it that says what, and is not run.
func TestPlayTheManualsRunAsPrinted(t *testing.T) {
	shellNeeds(t, "bash", "curl", "openssl")
	home, bin, work := t.TempDir(), built(t), t.TempDir()
	data := filepath.Join(home, ".local/state/holdfast")
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour, sample: true, files: true, workloads: allWorkloads}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for file, text := range map[string]string{
		filepath.Join(data, "drives/amala@contoso.com/Budget/2026.xlsx"):         "the year",
		filepath.Join(data, "drives/amala@contoso.com/Documents/2026/Budget.md"): "all that we have",
		filepath.Join(data, "drives/conrad@contoso.com/plan.md"):                 "what we want",
		filepath.Join(work, "everybody.csv"):                                     "Mail,Name\nlothar@contoso.com,Lothar\n",
		filepath.Join(work, "owners.csv"):                                        "amala@contoso.com\n",
		filepath.Join(work, "source.secret"):                                     "holdfast-dev-secret",
		filepath.Join(work, "offsite.json"):                                      `{"dir": "offsite"}`,
		filepath.Join(work, "fabrikam.json"):                                     `{"id": "22222222-2222-4222-8222-222222222222", "clientId": "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "secretFile": "source.secret"}`,
		filepath.Join(work, "tenants/.keep"):                                     "",
		filepath.Join(work, "serve.json"): strings.Replace(serveBesideDev(d, data, filepath.Join(data, "catalog.db"), filepath.Join(data, "vault"), "state"),
			`"tenants"`, `"tenantsDir": "tenants", "tenants"`, 1),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	left := 0
	for _, page := range []string{"cli", "operating", "entra"} {
		script := "set -eu -o pipefail\ncurl() { command curl --fail-with-body \"$@\"; }\n" + exports(t.Context(), d)
		for _, block := range shellBlocks(t, "../../docs/"+page+".md") {
			if block.needs != "" {
				left++
				continue
			}
			script += block.text
		}
		script = strings.NewReplacer("http://127.0.0.1:8365", d.origin, "/var/lib/holdfast/catalog.db", filepath.Join(data, "catalog.db")).Replace(script)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-xc", script)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "HOME="+home, "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s.md: %v\n%s", page, err, out)
		}
	}
	if left != 7 {
		t.Errorf("%d blocks of the manuals are not run, and 7 were known", left)
	}
	for _, made := range []string{"report.html", "unprotected.csv", "restored.json", "handover/amala/Budget/2026.xlsx", "amala-2026.zip", "inbox.mbox", "found.mbox", "audit.jsonl", "register.sh", "holdfast-source.pem"} {
		if s, err := os.Stat(filepath.Join(work, made)); err != nil || s.Size() == 0 {
			t.Errorf("%s: %v, %v", made, s, err)
		}
	}
}

// What docs/tenant.md has people type starts a tenant, which says where it is and answers
// there.
func TestPlayTheTenantPageRunsAsPrinted(t *testing.T) {
	shellNeeds(t, "bash")
	bin, work := built(t), t.TempDir()
	blocks := shellBlocks(t, "../../docs/tenant.md")
	if len(blocks) < 3 {
		t.Errorf("the page has %d blocks for a shell", len(blocks))
	}
	for _, block := range blocks {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+block.text)
		cmd.Dir, cmd.Stderr = work, t.Output()
		cmd.Env = append(os.Environ(), "HOME="+work, "TMPDIR="+work, "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var says struct {
			URL     string
			Tenants []struct{ ID string }
		}
		if err := json.NewDecoder(out).Decode(&says); err != nil || len(says.Tenants) == 0 {
			t.Errorf("%s says %+v, %v", block.text, says, err)
		} else if res, err := http.Get(says.URL + "/" + says.Tenants[0].ID + "/v2.0/.well-known/openid-configuration"); err != nil {
			t.Errorf("%s: %v", block.text, err)
		} else if res.Body.Close(); res.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s", block.text, res.Status)
		}
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			t.Errorf("%s ended with %v", block.text, err)
		}
	}
}

// serveBesideDev is a configuration of serve that names what a dev has.
func serveBesideDev(d *devServer, data, database, vault, state string) string {
	return fmt.Sprintf(`{
		"listen": "127.0.0.1:8465", "database": "sqlite:%[1]s", "vault": {"dir": %[2]q, "passwordFile": %[3]q}, "state": %[4]q,
		"workloads": ["oneDriveForBusiness", "sharePoint", "exchange"],
		"tenants": [{"id": %[5]q, "graph": "%[6]s/v1.0", "authority": %[6]q, "clientId": "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "secretFile": "source.secret"}],
		"issuers": [{"issuer": "%[6]s/%[5]s/v2.0", "jwks": "%[6]s/%[5]s/discovery/v2.0/keys", "tenant": %[5]q}]
	}`, database, vault, filepath.Join(data, "keys/vault-password"), state, d.tenants[0].ID, d.origin)
}
