package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// asProgram has this test's binary be the program.
const asProgram = "HOLDFAST_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	// How the tests are collected is theirs: see the Makefile.
	os.Unsetenv("GOGC")
	os.Unsetenv("GOMEMLIMIT")
	openPatience = 2 * time.Minute
	if os.Getenv(asProgram) != "" {
		main()
	}
	dbtest.Main(m)
}

// A child is holdfast as a process of its own.
type child struct {
	t    *testing.T
	path string // of the program
	args []string
	env  []string // besides this process's
	app  simtenant.App
	log  *os.File

	authority string // where tokens come from; empty for the child itself

	cmd *exec.Cmd

	mu     sync.Mutex
	client *client.Client // of the process that runs now; nil while none does
}

// launch starts the process, and returns what it prints.
func (c *child) launch() io.Reader {
	c.t.Helper()
	c.cmd = exec.Command(c.path, c.args...)
	c.cmd.Env = append(os.Environ(), c.env...)
	c.cmd.Stderr = c.log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// start starts the process and waits until it says where it listens.
func (c *child) start() {
	c.t.Helper()
	out := c.launch()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "Holdfast listens on")
		value, ok := strings.CutSuffix(strings.TrimPrefix(line, "API"), client.Root)
		if !ok {
			continue
		}
		go io.Copy(io.Discard, out)
		origin := strings.TrimSpace(value)
		cl, err := client.New(client.Config{URL: origin, Authority: cmp.Or(c.authority, origin), Tenant: killTenant, ClientID: c.app.AppID, ClientSecret: client.Secret(c.app.Secret)})
		if err != nil {
			c.t.Fatal(err)
		}
		if err := cl.SignIn(c.t.Context()); err != nil {
			c.t.Fatalf("sign in to the child: %v", err)
		}
		c.mu.Lock()
		c.client = cl
		c.mu.Unlock()
		return
	}
	c.t.Fatalf("the child ended: %v\n%s", c.cmd.Wait(), c.tail())
}

// kill ends the process as a power cut would.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c.mu.Lock()
	c.client = nil
	c.mu.Unlock()
}

// end stops the process as an operator would, and wants it to go quietly.
func (c *child) end() {
	c.t.Helper()
	began := time.Now()
	c.cmd.Process.Signal(syscall.SIGTERM)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("after SIGTERM the child ended with %v\n%s", err, c.tail())
	}
	if took := time.Since(began); took > 10*time.Second {
		c.t.Errorf("after SIGTERM the child took %v to end", took)
	}
}

func (c *child) tail() string {
	data, _ := os.ReadFile(c.log.Name())
	return string(data[max(0, len(data)-4000):])
}

// call sends a request until it is answered, by whichever process runs then.
// Without an answer nobody knows whether it was done, so it is sent again.
func (c *child) call(ctx context.Context, do func(context.Context, *client.Client) error) error {
	for {
		c.mu.Lock()
		cl := c.client
		c.mu.Unlock()
		if cl != nil {
			err := do(ctx, cl)
			if _, answered := errors.AsType[*client.Error](err); err == nil || answered {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *child) post(ctx context.Context, path string, body, answer any) error {
	return c.call(ctx, func(ctx context.Context, cl *client.Client) error {
		return cl.Call(ctx, http.MethodPost, path, body, answer)
	})
}

func (c *child) get(ctx context.Context, path string, answer any) error {
	return c.call(ctx, func(ctx context.Context, cl *client.Client) error {
		return cl.Call(ctx, http.MethodGet, path, nil, answer)
	})
}

// waitFor asks until ready says so, across kills.
func (c *child) waitFor(ctx context.Context, what string, ready func(context.Context, *client.Client) (bool, error)) {
	c.t.Helper()
	err := poll(ctx, 100*time.Millisecond, func() (done bool, err error) {
		err = c.call(ctx, func(ctx context.Context, cl *client.Client) (err error) {
			done, err = ready(ctx, cl)
			return err
		})
		return done, err
	})
	if err != nil {
		c.t.Fatalf("wait until %s: %v\n%s", what, err, c.tail())
	}
}

const (
	killTenant = "d1e00000-0000-4000-8000-000000000000"
	killUsers  = 2000 // in the tenant
	killDrives = 200  // of them with files, under backup
	killBulks  = 5
)

func killUser(i int) backup.ObjectID {
	return backup.ObjectID(fmt.Sprintf("d1e00000-0000-4000-8000-%012x", i+1))
}
func killName(i int) string { return fmt.Sprintf("user%04d@kill.example", i) }

// TestPlaySurvivesKills kills the server at random moments of bulk jobs, backups
// and a restore. Afterwards every drive must be in its policy exactly once,
// everything that was acknowledged must exist, every restore point must be
// readable from the vault to its last byte, and what was restored must be what
// it was.
func TestPlaySurvivesKills(t *testing.T) {
	// A program of its own, without the race detector: that multiplies what a
	// start costs, and the other tests run the same code under it.
	program := filepath.Join(t.TempDir(), "holdfast")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, dialect := range dbtest.Dialects(t) {
		t.Run(string(dialect), func(t *testing.T) { testKills(t, program, dialect) })
	}
}

func testKills(t *testing.T, program string, dialect database.Dialect) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 6*time.Minute, errors.New("the test took too long"))
	defer cancel()
	seed := uint64(20261121)
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, uint64(len(dialect))))
	dir := t.TempDir()
	data := filepath.Join(dir, "data")

	c := &child{t: t, path: program, app: simtenant.App{AppID: "d1e00000-0000-4000-8000-0000000a9900", Secret: "kill-secret", DisplayName: "Kill test", Roles: simtenant.Sample()[0].Apps[0].Roles}}
	var users []simtenant.User
	for i := range killUsers {
		users = append(users, simtenant.User{ID: killUser(i), UserPrincipalName: killName(i), Mail: killName(i), DisplayName: fmt.Sprintf("User %d", i)})
	}
	tenants, err := json.Marshal(map[string]any{"tenants": []simtenant.Tenant{{
		ID: killTenant, DisplayName: "Kill", Domain: "kill.example", Users: users, Apps: []simtenant.App{c.app},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, "tenants.json"), tenants, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := func(i int) string { return filepath.Join(data, "drives", killName(i)) }
	files := newCorpus(seed)
	before := map[int]picture{}
	for i := range killDrives {
		for n, path := range []string{"note.txt", "a/b/c/deep.txt", "Übersicht #1 100%.md", "empty", "blob.bin"} {
			if err := files.write(folder(i), path, []int{300, 50, 2000, 0, 20_000}[n], n == 4); err != nil {
				t.Fatal(err)
			}
		}
		if before[i], err = takePicture(folder(i)); err != nil {
			t.Fatal(err)
		}
	}

	c.args = []string{"dev", "--listen", "127.0.0.1:0", "--data", data, "--tenant", filepath.Join(dir, "tenants.json"), "--interval", "1h"}
	databaseURL := "sqlite:" + filepath.Join(data, "catalog.db")
	if dialect == database.Postgres {
		databaseURL = dbtest.URL(t, dialect)
		c.args = append(c.args, "--database", databaseURL)
	}
	if c.log, err = os.Create(filepath.Join(dir, "child.log")); err != nil {
		t.Fatal(err)
	}
	defer c.log.Close()
	c.start()
	defer func() {
		if c.cmd.ProcessState == nil {
			c.kill()
		}
	}()
	kills := 0
	// killWhile kills and restarts the server n times, each after a random part
	// of most, while work goes on; the first time once more while it starts.
	killWhile := func(n int, most time.Duration, work func()) {
		var wg sync.WaitGroup
		wg.Go(work)
		pause := func() { time.Sleep(time.Duration(rnd.Int64N(int64(most)))) }
		for i := range n {
			pause()
			c.kill()
			fmt.Fprintln(c.log, "killed")
			kills++
			if i == 0 {
				c.launch()
				pause()
				c.kill()
				kills++
			}
			c.start()
		}
		wg.Wait()
	}

	// Two policies: one that is only filled, and one under which drives are
	// backed up.
	newPolicy := func(name string) string {
		var p policyAnswer
		if err := c.post(ctx, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": name}, &p); err != nil {
			t.Fatal(err)
		}
		return p.ID
	}
	everyone, backedUp := newPolicy("Everyone else"), newPolicy("Backed up")
	policyPath := func(id string) string { return "/oneDriveForBusinessProtectionPolicies/" + id }
	if err := c.post(ctx, "/protectionPolicies/"+backedUp+"/activate", nil, nil); err != nil {
		t.Fatal(err)
	}

	// The bulk jobs overlap, by address and by id: an owner named twice is one
	// unit all the same.
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	post := func(policy string, from, to int) {
		addresses, ids := []string{}, []string{}
		for i := from; i < to; i++ {
			addresses = append(addresses, strings.ToUpper(killName(i)))
			if i%4 == 0 {
				ids = append(ids, string(killUser(i)))
			}
		}
		var job bulkJobAnswer
		path := policyPath(policy) + "/driveProtectionUnitsBulkAdditionJobs"
		err := c.post(ctx, path, map[string]any{"displayName": "bulk", "drives": addresses, "directoryObjectIds": ids}, &job)
		if err != nil {
			t.Errorf("post a bulk job: %v", err)
			return
		}
		mu.Lock()
		acknowledged[path+"/"+job.ID] = true
		mu.Unlock()
	}
	killWhile(3, 600*time.Millisecond, func() {
		each := (killUsers - killDrives) / killBulks
		for k := range killBulks {
			from := killDrives + k*each
			post(everyone, from, min(killUsers, from+each+50))
		}
		post(backedUp, 0, killDrives)
	})
	for path := range acknowledged {
		c.waitFor(ctx, "bulk jobs are done", func(ctx context.Context, cl *client.Client) (bool, error) {
			var job bulkJobAnswer
			err := cl.Call(ctx, http.MethodGet, path, nil, &job)
			if job.Status == "completedWithErrors" {
				return true, fmt.Errorf("job %s: %+v", job.ID, *job.Error)
			}
			return job.Status == "completed", err
		})
	}
	if len(acknowledged) != killBulks+1 {
		t.Errorf("%d bulk jobs were acknowledged, want %d", len(acknowledged), killBulks+1)
	}

	// Every drive is in its policy exactly once, now and at the end.
	units := map[int]string{} // by number of the user: the unit
	checkUnits := func() {
		t.Helper()
		for policy, span := range map[string][2]int{everyone: {killDrives, killUsers}, backedUp: {0, killDrives}} {
			var got []unitAnswer
			if err := c.call(ctx, func(ctx context.Context, cl *client.Client) (err error) {
				got, err = list[unitAnswer](ctx, cl, policyPath(policy)+"/driveProtectionUnits?$top=999")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			times := map[string]int{}
			for _, u := range got {
				times[u.DirectoryObjectID]++
			}
			for i := span[0]; i < span[1]; i++ {
				if n := times[string(killUser(i))]; n != 1 {
					t.Errorf("the drive of %s is in its policy %d times", killName(i), n)
				}
			}
			if len(got) != span[1]-span[0] {
				t.Errorf("the policy has %d units, want %d", len(got), span[1]-span[0])
			}
			if policy == backedUp {
				for _, u := range got {
					var i int
					fmt.Sscanf(u.DirectoryObjectID[len(u.DirectoryObjectID)-12:], "%x", &i)
					units[i-1] = u.ID
				}
			}
		}
	}
	checkUnits()

	// Backups.
	protected := func(ctx context.Context, cl *client.Client) (bool, error) {
		got, err := list[unitAnswer](ctx, cl, policyPath(backedUp)+"/driveProtectionUnits?$top=999")
		done := 0
		for _, u := range got {
			if u.Status == "protected" {
				done++
			}
		}
		return done == killDrives, err
	}
	killWhile(3, 1500*time.Millisecond, func() { c.waitFor(ctx, "every drive is protected", protected) })

	// A restore of some drives, each harmed in one of three ways.
	var harmed []int
	var ids []string
	for i := 0; i < killDrives; i += 10 {
		harm := []func(corpus, string) (int, error){corpus.encrypt, corpus.empty, corpus.edit}[len(harmed)%3]
		if _, err := harm(files, folder(i)); err != nil {
			t.Fatal(err)
		}
		harmed = append(harmed, i)
		ids = append(ids, units[i])
	}
	var artifacts []any
	for _, id := range ids {
		var found searchAnswer
		if err := c.post(ctx, "/restorePoints/search", map[string]any{
			"protectionUnitIds":    []string{id},
			"protectionTimePeriod": map[string]any{"startDateTime": time.Now().UTC().Add(-time.Hour)}, "restorePointPreference": "oldest",
		}, &found); err != nil {
			t.Fatal(err)
		}
		if len(found.SearchResults) != 1 {
			t.Fatalf("%d restore points were found for a protected drive", len(found.SearchResults))
		}
		artifacts = append(artifacts, map[string]any{
			"restorePoint": map[string]any{"id": found.SearchResults[0].RestorePoint.ID}, "destinationType": "inPlace",
		})
	}
	var session sessionAnswer
	if err := c.post(ctx, "/oneDriveForBusinessRestoreSessions", map[string]any{"driveRestoreArtifacts": artifacts}, &session); err != nil {
		t.Fatal(err)
	}
	killWhile(3, 700*time.Millisecond, func() {
		err := c.post(ctx, "/restoreSessions/"+session.ID+"/activate", nil, nil)
		// A repetition of one that was done and not answered finds no draft.
		if e, ok := errors.AsType[*client.Error](err); err != nil && (!ok || e.Code != string(backup.RestoreSessionActionNotAllowed)) {
			t.Errorf("activate the session: %v", err)
		}
		c.waitFor(ctx, "the restore is done", func(ctx context.Context, cl *client.Client) (bool, error) {
			err := cl.Call(ctx, http.MethodGet, "/restoreSessions/"+session.ID, nil, &session)
			return backup.SessionStatus(session.Status).Final(), err
		})
	})
	if session.Status != string(backup.SessionCompleted) {
		t.Errorf("the session is %s", session.Status)
	}
	for _, i := range harmed {
		now, err := takePicture(folder(i))
		if err != nil {
			t.Fatal(err)
		}
		if d := before[i].differences(now); len(d) > 0 {
			t.Errorf("%s: %d differences after the restore: %s", killName(i), len(d), strings.Join(d[:min(3, len(d))], "; "))
		}
	}
	checkUnits()
	for path := range acknowledged {
		if err := c.get(ctx, path, nil); err != nil {
			t.Errorf("an acknowledged bulk job is gone: %v", err)
		}
	}
	c.end()
	checkPoints(t, ctx, databaseURL, data, units)
	t.Logf("%d kills", kills)
	if t.Failed() {
		t.Log(c.tail())
	}
}

// checkPoints reads every restore point of the units from the vault.
func checkPoints(t *testing.T, ctx context.Context, databaseURL, data string, units map[int]string) {
	t.Helper()
	db, err := database.Open(ctx, databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cat := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
	password, err := os.ReadFile(filepath.Join(data, "keys", "vault-password"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(ctx, vault.Config{
		Dir: filepath.Join(data, "vault", killTenant), Password: vault.Secret(bytes.TrimSpace(password)), State: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close(ctx)
	points := 0
	for i, id := range units {
		list, err := cat.Points(ctx, killTenant, catalog.PointQuery{Unit: backup.UnitID(id), Page: catalog.Page{Limit: 100}})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 0 {
			t.Errorf("%s is protected and has no restore point", killName(i))
		}
		for _, p := range list.Items {
			points++
			report, err := v.Verify(ctx, []string{p.Tree}, vault.VerifyOptions{Share: 1})
			if err := errors.Join(err, report.Err()); err != nil {
				t.Errorf("a restore point of %s cannot be read: %v", killName(i), err)
			}
		}
	}
	t.Logf("%d restore points read", points)
}
