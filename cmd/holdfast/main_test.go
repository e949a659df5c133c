package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		args string
		code int
		says string // on standard error
	}{
		{"version", 0, ""},
		{"--help", 0, ""},
		{"", 0, ""},
		{"snapshot", exitUsage, "there is no command 'holdfast snapshot'"},
		{"polcy", exitUsage, "perhaps 'holdfast policy' was meant"},
		{"policy lst", exitUsage, "perhaps 'holdfast policy list' was meant"},
		{"--version", 0, ""},
		{"dev --colour blue", exitUsage, "unknown flag: --colour"},
		{"dev now", exitUsage, `takes flags only, not "now"`},
		{"dev --interval 5", exitUsage, "--interval"},
		{"dev --interval 1ms", exitUsage, "--interval: 1ms is too short"},
		{"dev --rule-interval 1ms", exitUsage, "--rule-interval: 1ms is too short"},
		{"dev --listen 8365", exitUsage, `--listen: "8365" is not an address`},
		{"dev --database mysql://x", exitUsage, "--database: give a postgres:// URL"},
		{"serve", exitUsage, "name it with --config"},
		{"serve --config /nowhere/at/all.json", exitNotFound, "the configuration cannot be used"},
		{"tenants list --config /nowhere/at/all.json", exitNotFound, "the configuration cannot be used"},
		{"vault list --data /nowhere", exitNotFound, "there are no vaults"},
		{"retention show --database sqlite:/nowhere/catalog.db", exitNotFound, "there is no file /nowhere/catalog.db"},
		{"retention hold --data /nowhere", exitNotFound, "there is no catalog /nowhere/catalog.db; name dev's data folder with --data, or serve's file with --config"},
		{"audit export --config /nowhere/at/all.json", exitNotFound, "the configuration cannot be used"},
		{"audit export --database sqlite:/nowhere/catalog.db --tenant x", exitUsage, "is not a tenant id"},
		{"audit export --database sqlite:/nowhere/catalog.db --config serve.json", exitUsage, "give one of the three"},
		{"audit export --data /nowhere --config serve.json", exitUsage, "--config and --data exclude each other"},
		{"dev --tenant /nowhere/at/all.json --data " + t.TempDir(), exitNotFound, "read the tenant file"},
	} {
		var stdout, stderr strings.Builder
		code := execute(t.Context(), strings.Fields(row.args), &stdout, &stderr)
		if code != row.code || !strings.Contains(stderr.String(), row.says) {
			t.Errorf("holdfast %s = %d %q, want %d with %q", row.args, code, stderr.String(), row.code, row.says)
		}
		if row.code == 0 && (stderr.Len() > 0 || !strings.Contains(strings.ToLower(stdout.String()), "holdfast")) {
			t.Errorf("holdfast %s wrote %q, and %q as errors", row.args, stdout.String(), stderr.String())
		}
	}
}

func TestServeCheckStartsNothing(t *testing.T) {
	path := writeConfig(t, nil)
	var stdout, stderr strings.Builder
	if code := execute(t.Context(), []string{"serve", "--config", path, "--check"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Errorf("beside the configuration and its two secrets there is something: %v", entries)
	}
}

func TestExampleConfigIsInOrder(t *testing.T) {
	t.Setenv("HOLDFAST_VAULT_PASSWORD", "x")
	t.Setenv("CONTOSO_SECRET", "x")
	if _, err := ReadConfig("../../examples/serve.json"); err != nil {
		t.Error(err)
	}
}

// testLog shows a server's log with the test's.
func testLog(t *testing.T) *slog.Logger { return newLog(t.Output()) }

// startTestDev starts dev on a folder and free ports of its own.
func startTestDev(t *testing.T, change func(*devOptions)) *devServer {
	t.Helper()
	o := devOptions{listen: "127.0.0.1:0", data: t.TempDir(), interval: time.Hour, sample: true}
	if change != nil {
		change(&o)
	}
	d, err := startDev(t.Context(), o, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// signedIn returns a client of origin with a token from d.
func signedIn(t *testing.T, d *devServer, origin string) *client.Client {
	t.Helper()
	return clientOf(t, d, client.Config{URL: origin, Authority: d.origin})
}

// clientOf returns a client as cfg says, in the name of d's first application.
func clientOf(t *testing.T, d *devServer, cfg client.Config) *client.Client {
	t.Helper()
	app := d.tenants[0].Apps[0]
	cfg.Tenant, cfg.ClientID, cfg.ClientSecret = string(d.tenants[0].ID), app.AppID, client.Secret(app.Secret)
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDevTakesThePagesRequests(t *testing.T) {
	d := startTestDev(t, nil)
	c := signedIn(t, d, d.origin)

	var job bulkJobAnswer
	if err := c.Call(t.Context(), http.MethodPost, "/oneDriveForBusinessProtectionPolicies/71633878-8321-4950-bfaf-ed285bdd1461/driveProtectionUnitsBulkAdditionJobs", json.RawMessage(`{
		"displayName" : "drives-I",
		"drives" : ["amala@contoso.com", "conrad@contoso.com", "lothar@contoso.com"],
		"directoryObjectIds" : ["1fec4e78-bce4-4aaf-ab1b-5451cc387264"]
	}`), &job); err != nil {
		t.Fatal(err)
	}
	if job.Status != "active" {
		t.Errorf("the job is %s", job.Status)
	}
	if err := poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
		err := c.Call(t.Context(), http.MethodGet, "/driveProtectionUnitsBulkAdditionJobs/"+job.ID, nil, &job)
		return job.Status != "active", err
	}); err != nil {
		t.Fatal(err)
	}
	if job.Status != "completed" {
		t.Errorf("the job is %s: %v", job.Status, job.Error)
	}

	var patched struct {
		Units []struct {
			ID, Status string
			Failure    struct{ ResponseCode int } `json:"@Core.DataModificationException"`
		} `json:"driveProtectionUnits@delta"`
	}
	if err := c.Call(t.Context(), http.MethodPatch, "/oneDriveForBusinessProtectionPolicies/845457dc-4bb2-4815-bef3-8628ebd1952e", json.RawMessage(`{
		"displayName": "One Drive  Policy - Inadvertent data loss",
		"driveProtectionUnits@delta": [
			{"directoryObjectId": "1b014d8c-71fe-4d00-a01a-31850bc5b32c"},
			{"directoryObjectId": "2b014d8c-71fe-4d00-a01a-31850bc5b32c"},
			{"@removed": {"reason": "changed"}, "id": "4267e382-71a9-4c07-bef7-bda97e09c0d2"},
			{"@removed": {"reason": "changed"}, "id": "3667e382-71a9-4c07-bef7-bda97e09c0d2"}
		]
	}`), &patched); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range patched.Units {
		if u.Failure.ResponseCode != 0 {
			got = append(got, "failed "+u.ID)
		} else {
			got = append(got, u.Status)
		}
	}
	if want := "protectRequested protectRequested failed 4267e382-71a9-4c07-bef7-bda97e09c0d2 removeRequested"; strings.Join(got, " ") != want {
		t.Errorf("the results are %v, want %s", got, want)
	}
}

func TestDevWithoutSampleStartsEmpty(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) { o.sample = false })
	policies, err := list[policyAnswer](t.Context(), signedIn(t, d, d.origin), "/protectionPolicies")
	if err != nil || len(policies) != 0 {
		t.Errorf("it has %d policies, %v", len(policies), err)
	}
}

func TestDevIsHealthyAndReady(t *testing.T) {
	d := startTestDev(t, nil)
	status := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get(d.origin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := status(path); code != http.StatusOK {
			t.Errorf("%s = %d %s", path, code, body)
		}
	}
	if code, body := status("/metrics"); code != http.StatusOK || !strings.Contains(body, "holdfast_changes_found_total 0") || !strings.Contains(body, "\nholdfast_rpo_missed_drives 0\n") {
		t.Errorf("/metrics = %d %s", code, body)
	}
	lookAgain := func() {
		d.server.retention.Lock()
		defer d.server.retention.Unlock()
		d.server.retention.at = time.Time{}
	}
	if err := d.server.catalog.SetRetention(backup.RetentionPlan{Default: backup.Retention{LegalHold: true}}); err != nil {
		t.Fatal(err)
	}
	lookAgain()
	if code, body := status("/readyz"); code != http.StatusOK || !strings.Contains(body, "keeps what has expired") {
		t.Errorf("with another retention than is in force /readyz = %d %s", code, body)
	}
	lookAgain()
	ended, end := context.WithCancel(t.Context())
	end()
	if now := d.server.disagreeing(ended); len(now) != 1 {
		t.Errorf("when it cannot be told whether the retention is another, %v have one", now)
	}
	d.server.kinds = append(d.server.kinds, "testA", "testB") // which nobody does
	since := jobs.Spec{Key: "k", Tenant: backup.TenantID(d.tenants[0].ID), RunAt: time.Now().Add(-time.Hour)}
	err := d.server.db.Tx(t.Context(), func(tx *database.Tx) error {
		other := since
		since.Kind, other.Kind, other.Tenant = "testA", "testB", "another"
		return d.server.queue.Enqueue(t.Context(), tx, since, other)
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := status("/readyz"); code != http.StatusOK || !strings.Contains(body, "waits: jobs of the kind testA are due since") || strings.Contains(body, "testB") {
		t.Errorf("with a job that nobody does /readyz = %d %s", code, body)
	}
	if err := os.Rename(d.data.path("vault"), d.data.path("vault.gone")); err != nil {
		t.Fatal(err)
	}
	if code, body := status("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no tenant's vault can be used") || !strings.Contains(body, "is unavailable: there is no vault in its place") {
		t.Errorf("without its vault /readyz = %d %s", code, body)
	}
	if err := os.Rename(d.data.path("vault.gone"), d.data.path("vault")); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(d.data.path("vault"), string(d.tenants[0].ID), ".holdfast.probe")
	if err := os.Mkdir(probe, 0o700); err != nil { // so that no file of the name can be written, by nobody
		t.Fatal(err)
	}
	if code, body := status("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "cannot be written to") {
		t.Errorf("with a vault that cannot be written to /readyz = %d %s", code, body)
	}
	if err := os.Remove(probe); err != nil {
		t.Fatal(err)
	}
	turned := d.server.turned.Load()
	long := func() time.Time { return time.Now().Add(-2 * standstill) }
	d.server.turned.Store(&long)
	if code, body := status("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the workers have stood still since") {
		t.Errorf("with workers that stand still /readyz = %d %s", code, body)
	}
	d.server.turned.Store(turned)
	if code, body := status("/readyz"); code != http.StatusOK {
		t.Errorf("when all is well again /readyz = %d %s", code, body)
	}
	d.stop()
	<-d.stopped
	if code, body := status("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the workers do not run") {
		t.Errorf("without workers /readyz = %d %s", code, body)
	}
}

func TestDevRefusesASecondOnItsFolder(t *testing.T) {
	d := startTestDev(t, nil)
	_, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: d.data.root, interval: time.Hour}, testLog(t))
	if err == nil || !strings.Contains(err.Error(), "another holdfast is running") {
		t.Errorf("the second start gave %v", err)
	}
}

func TestDevOverHTTPS(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) { o.tlsListen = "127.0.0.1:0" })
	pem, err := os.ReadFile(d.ca.root)
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, d, client.Config{URL: d.secure, Authority: d.secure, CA: pem})
	if _, err := list[policyAnswer](t.Context(), c, "/protectionPolicies"); err != nil {
		t.Error(err)
	}
}

// Where it listens for others too, tokens can be got and used under a name that the
// server does not know as its own, a container's say.
func TestDevUnderAnotherName(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) { o.listen = "0.0.0.0:0" })
	c := clientOf(t, d, client.Config{URL: d.origin, Authority: d.origin, Transport: hostNamed("holdfast.example:1234")})
	if _, err := list[policyAnswer](t.Context(), c, "/protectionPolicies"); err != nil {
		t.Error(err)
	}
}

type hostNamed string

func (h hostNamed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = string(h)
	return http.DefaultTransport.RoundTrip(r)
}

// The lines that dev prints are pasted as they stand, so they are run as they
// stand.
func TestPrintedLinesWork(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Logf("this machine has no curl: the lines were not run")
		return
	}
	for _, sample := range []bool{true, false} {
		d := startTestDev(t, func(o *devOptions) { o.sample = sample })
		var out bytes.Buffer
		d.print(t.Context(), &out)
		script := "set -e\n"
		n := 0
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "curl ") || strings.HasPrefix(line, "TOKEN=") {
				script += line
				n++
			}
		}
		answers, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		if err != nil || n != 3 {
			t.Fatalf("%d lines: %v\n%s\n%s", n, err, script, answers)
		}
		want := []string{`"status":"active"`, `"status":"updating"`}
		if !sample {
			want = []string{`"status":"inactive"`, `"value":[{`}
		}
		for _, w := range want {
			if !strings.Contains(strings.ReplaceAll(string(answers), " ", ""), w) {
				t.Errorf("the answers do not hold %s:\n%s", w, answers)
			}
		}
	}
}

// Serve works against the simulated tenant of a dev, which it knows only by its
// address, as it would against Microsoft: alone, and as two processes of which one
// answers and the other works.
func TestServeAgainstDev(t *testing.T) {
	for _, dialect := range dbtest.Dialects(t) {
		t.Run(string(dialect), func(t *testing.T) {
			roles := []Role{RoleAll}
			if dialect == database.Postgres {
				roles = []Role{RoleAPI, RoleWorker}
			}
			serveAgainstDev(t, dbtest.URL(t, dialect), roles...)
		})
	}
}

// serveAgainstDev has servers in roles protect and restore a drive.
func serveAgainstDev(t *testing.T, url string, roles ...Role) {
	d := startTestDev(t, nil)
	tenant, app := string(d.tenants[0].ID), d.tenants[0].Apps[0]
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["listen"], cfg["database"] = "127.0.0.1:0", url
		cfg["tenants"] = []any{map[string]any{
			"id": tenant, "graph": d.origin + "/v1.0", "authority": d.origin, "clientId": app.AppID, "secretEnv": "HOLDFAST_TEST_APP",
		}}
		cfg["issuers"] = []any{map[string]any{
			"issuer": d.origin + "/" + tenant + "/v2.0", "jwks": d.origin + "/" + tenant + "/discovery/v2.0/keys", "tenant": tenant,
		}}
	})
	t.Setenv("HOLDFAST_TEST_APP", app.Secret)
	cfg, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(d.drives, "amala@contoso.com")
	if err := newCorpus(5).office(folder); err != nil {
		t.Fatal(err)
	}
	before, err := takePicture(folder)
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, len(roles))
	var origins []string
	for i, role := range roles {
		cfg, said := cfg, make(lineWriter, 8)
		cfg.Role, cfg.State = role, filepath.Join(cfg.State, fmt.Sprint(i))
		cfg.PageTokenKeyFile = filepath.Join(filepath.Dir(path), "app.secret")
		go func() { ended <- runServe(ctx, cfg, nil, said, testLog(t)) }()
		select {
		case line := <-said:
			_, address, _ := strings.Cut(strings.TrimSpace(line), " on ")
			origins = append(origins, strings.TrimSuffix(strings.TrimSuffix(address, client.Root), "/readyz"))
		case err := <-ended:
			t.Fatal(err)
		}
	}
	c := signedIn(t, d, origins[0])
	for i, role := range roles {
		for path, want := range map[string]int{"/readyz": http.StatusOK, client.Root + "/restoreSessions": http.StatusUnauthorized} {
			if role == RoleWorker && want == http.StatusUnauthorized {
				want = http.StatusNotFound
			}
			resp, err := http.Get(origins[i] + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s of a process with the role %q answers %s, want %d", path, role, resp.Status, want)
			}
		}
	}

	var policy policyAnswer
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Call(ctx, http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{
		"displayName": "p", "driveProtectionUnits": []any{map[string]any{"directoryObjectId": d.tenants[0].Users[0].ID}},
	}, &policy))
	must(c.Call(ctx, http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, nil))
	var units []unitAnswer
	must(poll(ctx, 50*time.Millisecond, func() (bool, error) {
		units, err = list[unitAnswer](ctx, c, "/oneDriveForBusinessProtectionPolicies/"+policy.ID+"/driveProtectionUnits")
		if err == nil && units[0].Error != nil {
			err = units[0].Error
		}
		return err == nil && units[0].Status == "protected", err
	}))
	if _, err := newCorpus(6).edit(folder); err != nil {
		t.Fatal(err)
	}
	var found searchAnswer
	must(c.Call(ctx, http.MethodPost, "/restorePoints/search", map[string]any{
		"protectionUnitIds":    []string{units[0].ID},
		"protectionTimePeriod": map[string]any{"startDateTime": time.Now().UTC().Add(-time.Hour)},
	}, &found))
	var session sessionAnswer
	must(c.Call(ctx, http.MethodPost, "/oneDriveForBusinessRestoreSessions", map[string]any{"driveRestoreArtifacts": []any{
		map[string]any{"restorePoint": map[string]any{"id": found.SearchResults[0].RestorePoint.ID}, "destinationType": "inPlace"},
	}}, &session))
	must(c.Call(ctx, http.MethodPost, "/restoreSessions/"+session.ID+"/activate", nil, nil))
	must(poll(ctx, 50*time.Millisecond, func() (bool, error) {
		err := c.Call(ctx, http.MethodGet, "/restoreSessions/"+session.ID, nil, &session)
		return session.Status == "completed" || session.Status == "failed" || session.Status == "completedWithError", err
	}))
	after, err := takePicture(folder)
	must(err)
	if differences := before.differences(after); session.Status != "completed" || len(differences) > 0 {
		t.Errorf("the session is %s, and the drive differs in %d places: %.200s", session.Status, len(differences), strings.Join(differences, "; "))
	}

	stop()
	for range roles {
		select {
		case err := <-ended:
			must(err)
		case <-time.After(10 * time.Second):
			t.Error("serve did not stop within ten seconds")
		}
	}
}

// A lineWriter hands on each line that is written to it.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

func TestServeSaysWhatItCannotOpen(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["database"] = "sqlite:vault.password" // not a database
	})
	var stderr strings.Builder
	if code := execute(t.Context(), []string{"serve", "--config", path}, io.Discard, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "database") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
}

func TestDemoBringsEverythingBack(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	if err := runDemo(t.Context(), &out, false); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, said := range []string{
		"names, content and times as they were", "every field as it was", "every message, byte for byte", "Everything came back",
	} {
		if !strings.Contains(out.String(), said) {
			t.Errorf("it does not say %q:\n%s", said, out.String())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); len(left) > 0 {
		t.Errorf("the demo left %v", left)
	}
}

func TestDemoStopsWhenTold(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := runDemo(ctx, io.Discard, false)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), os.Getenv("TMPDIR")) {
		t.Errorf("the demo ended with %v", err)
	}
}
