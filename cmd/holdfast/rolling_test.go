package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault/vaulttest"
)

// rolledFrom is the commit whose processes are replaced by those of today: of the versions
// in testdata/upgrades the newest that works beside them.
var rolledFrom = flag.String("rolled-from", "6dfc7c2", "the `COMMIT` whose processes TestPlayProcessesAreReplaced replaces")

// Processes of a former version are replaced by those of today, and these by those of a
// version to come, one after another, one of which goes back meanwhile. Whoever asks
// through a proxy all the time is answered, backups and restores go on, no job fails, and
// nothing is lost: no point, and nothing that was in the audit log.
func TestPlayProcessesAreReplaced(t *testing.T) {
	if !slices.Contains(dbtest.Dialects(t), database.Postgres) {
		return // Dialects has said so
	}
	dir := t.TempDir()
	former, ok := buildFormer(t, filepath.Join(dir, "former"))
	if !ok {
		return
	}
	// A version to come is this one with another migration.
	next := filepath.Join(dir, "next.sql")
	migrations, err := filepath.Abs("../../internal/database/migrations")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(migrations, "90001_next.sql"): next}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(next, []byte("-- Why.\n\n-- +goose Up\nCREATE TABLE next (id TEXT PRIMARY KEY);\nALTER TABLE unit ADD COLUMN next TEXT NOT NULL DEFAULT '';\nALTER TABLE restore_point ADD COLUMN next TEXT NOT NULL DEFAULT '';\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	today, coming := filepath.Join(dir, "today"), filepath.Join(dir, "coming")
	command(t, ".", "go", "build", "-o", today, ".")
	command(t, ".", "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", coming, ".")

	r := newRolling(t, dir, map[string]any{"dir": filepath.Join(dir, "vault"), "passwordFile": "vault.password"})
	r.say("start of %d of the former version", 3)
	for range 3 {
		r.start(former)
	}
	r.protect()
	stop := r.beBusy()
	for _, program := range []string{today, today, today, coming, coming, coming, today, coming} {
		r.replace(program)
	}
	stop()
	r.nothingIsLost()
	r.tell()
}

// tell shows what each process of a test that fails has said at last.
func (r *rolling) tell() {
	if !r.t.Failed() {
		return
	}
	for _, p := range r.all {
		text, _ := os.ReadFile(p.log)
		r.t.Logf("%s:\n%s", filepath.Base(p.log), text[max(0, len(text)-3000):])
	}
}

// Of three processes that share a PostgreSQL and an S3 store, one after another is killed,
// mostly the one that restores, and another started. What was acknowledged stays: points,
// policies, the audit log, and each restore is finished by another. One that restored is
// enough to find out that this is so at all; -drill does it for longer.
func TestPlayProcessesAreKilled(t *testing.T) {
	if !slices.Contains(dbtest.Dialects(t), database.Postgres) {
		return // Dialects has said so
	}
	dir := t.TempDir()
	today := filepath.Join(dir, "today")
	command(t, ".", "go", "build", "-o", today, ".")
	key := filepath.Join(dir, "store.key")
	if err := os.WriteFile(key, []byte(vaulttest.Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRolling(t, dir, map[string]any{"passwordFile": "vault.password", "s3": map[string]any{
		"endpoint": vaulttest.Start(t, filepath.Join(dir, "store")), "region": "us-east-1", "bucket": vaulttest.Bucket, "prefix": "holdfast/",
		"accessKeyId": vaulttest.Key, "secretFile": key, "insecureHttp": true}})
	r.proxy.killing = true
	for range 3 {
		r.start(today)
	}
	r.protect()
	stop := r.beBusy()
	for until := time.Now().Add(*drill); !t.Failed() && (r.lent == 0 || time.Now().Before(until)); {
		r.kill(today)
	}
	stop()
	r.nothingIsLost()
	r.tell()
}

// buildFormer builds the program of the commit that is rolled from. Where this is no
// repository with its history there is none, which CI may not be.
func buildFormer(t *testing.T, path string) (program string, ok bool) {
	t.Helper()
	if err := exec.Command("git", "cat-file", "-e", *rolledFrom+"^{commit}").Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("upgrades of running processes were not tested: this repository has no commit %s; clone it with its history", *rolledFrom)
		}
		fmt.Fprintf(os.Stderr, "Upgrades of running processes were not tested: this is no repository with the commit %s: %v\n", *rolledFrom, err)
		return "", false
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	command(t, root, "git", "archive", "--format=tar.gz", "--output", path+".tar.gz", *rolledFrom+"^{tree}", "go.mod", "go.sum", "cmd", "internal", "docs", "LICENSE")
	if err := unpack(path+".tar.gz", path); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(path, "holdfast.program")
	command(t, path, "go", "build", "-trimpath", "-o", program, "./cmd/holdfast")
	return program, true
}

func command(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOFLAGS=-mod=mod -buildvcs=false")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// A rolling is some processes behind a proxy, and what they protect.
type rolling struct {
	t                  testing.TB
	dir, url           string
	db                 *database.DB
	config, drainless  string
	app                simtenant.App
	proxy              *balancer
	client             *client.Client
	policy             string
	units              []unitAnswer // in the order of owners
	first              string       // the first point of the drive that is restored
	was                picture
	all, serving       []*replaced
	made               []string        // policies that were acknowledged
	points             map[string]bool // that were there at some time
	asked, edits, lent int
	killed             int
}

// A replaced is one process.
type replaced struct {
	program, origin, log string
	cmd                  *exec.Cmd
}

var rolledOwners = []string{"ann@kill.example", "ben@kill.example"} // ann goes on working, ben is restored

func newRolling(t *testing.T, dir string, vault map[string]any) *rolling {
	r := &rolling{t: t, dir: dir, url: dbtest.EmptyURL(t, database.Postgres), points: map[string]bool{}}
	r.app = simtenant.App{AppID: "d1e00000-0000-4000-8000-0000000a9900", Secret: "kill-secret", DisplayName: "Rolling", Roles: append(
		simtenant.Sample()[0].Apps[0].Roles, "Files.ReadWrite.All", "User.Read.All", "GroupMember.Read.All")}
	tenant := simtenant.Tenant{ID: killTenant, DisplayName: "Rolling", Domain: "kill.example", Apps: []simtenant.App{r.app}}
	for i, name := range rolledOwners {
		tenant.Users = append(tenant.Users, simtenant.User{ID: killUser(i), UserPrincipalName: name, Mail: name, DisplayName: name})
	}
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(dir, "sim"), Drives: filepath.Join(dir, "drives"),
		Mail: filepath.Join(dir, "mail"), Sites: filepath.Join(dir, "sites"), Tenants: []simtenant.Tenant{tenant}, Log: newLog(t.Output())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodGet && !strings.Contains(q.URL.Path, "oauth2") {
			time.Sleep(100 * time.Millisecond) // so that restores last
		}
		sim.Handler().ServeHTTP(w, q)
	}))
	t.Cleanup(source.Close)
	files := newCorpus(7)
	for _, owner := range rolledOwners {
		for i := range 40 {
			if err := files.write(r.folder(owner), fmt.Sprintf("%s/%d/%s %02d.txt", words[i%3], i%4, words[i%20], i), 100+i*50, i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.was, err = takePicture(r.folder(rolledOwners[1])); err != nil {
		t.Fatal(err)
	}
	configure := func(change func(map[string]any)) string {
		return writeConfig(t, func(cfg map[string]any) {
			cfg["listen"], cfg["database"], cfg["interval"] = "127.0.0.1:0", r.url, "2s"
			cfg["vault"] = vault
			cfg["pageTokenKeyFile"] = "vault.password"
			cfg["tenants"] = []any{map[string]any{"id": killTenant, "graph": source.URL + "/v1.0", "authority": source.URL, "clientId": r.app.AppID, "secretEnv": "HOLDFAST_TEST_APP"}}
			cfg["issuers"] = []any{map[string]any{"issuer": source.URL + "/" + killTenant + "/v2.0", "jwks": source.URL + "/" + killTenant + "/discovery/v2.0/keys", "tenant": killTenant}}
			change(cfg)
		})
	}
	t.Setenv("HOLDFAST_TEST_APP", r.app.Secret)
	r.drainless = configure(func(map[string]any) {})
	r.config = configure(func(cfg map[string]any) { cfg["drain"] = "1s" })
	r.proxy = &balancer{t: t, transport: &http.Transport{DisableKeepAlives: true}, every: 200 * time.Millisecond}
	front := httptest.NewServer(r.proxy)
	t.Cleanup(front.Close)
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	looking.Go(func() { r.proxy.look(ctx) })
	t.Cleanup(func() { cancel(); looking.Wait() })
	if r.client, err = client.New(client.Config{URL: front.URL, Authority: source.URL, Tenant: killTenant, ClientID: r.app.AppID, ClientSecret: client.Secret(r.app.Secret)}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rolling) folder(owner string) string { return filepath.Join(r.dir, "drives", owner) }

func (r *rolling) say(format string, args ...any) {
	r.t.Logf(time.Now().Format("05.000 ")+format, args...)
}

// start starts a process of a program, and has the proxy ask it once it is ready.
func (r *rolling) start(program string) {
	r.t.Helper()
	n := len(r.all)
	config := r.config
	if strings.HasSuffix(program, ".program") {
		config = r.drainless
	}
	// Each has a state of its own.
	text, err := os.ReadFile(config)
	if err != nil {
		r.t.Fatal(err)
	}
	var cfg map[string]any
	if err := json.Unmarshal(text, &cfg); err != nil {
		r.t.Fatal(err)
	}
	cfg["state"] = filepath.Join(r.dir, fmt.Sprint("state", n))
	if text, err = json.Marshal(cfg); err != nil {
		r.t.Fatal(err)
	}
	mine := filepath.Join(filepath.Dir(config), fmt.Sprintf("%d.json", n))
	if err := os.WriteFile(mine, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	p := &replaced{program: program, log: filepath.Join(r.dir, fmt.Sprintf("%d-%s.log", n, filepath.Base(program)))}
	log, err := os.Create(p.log)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(program, "serve", "--config", mine)
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { p.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(p.log)
		r.t.Fatalf("it did not start: %v\n%s", err, text)
	}
	go io.Copy(io.Discard, out)
	_, address, _ := strings.Cut(strings.TrimSpace(line), " on ")
	p.origin = strings.TrimSuffix(address, client.Root)
	r.all, r.serving = append(r.all, p), append(r.serving, p)
	one := r.proxy.add(p.origin)
	if !comes(func() bool { return one.ready.Load() }) {
		text, _ := os.ReadFile(p.log)
		r.t.Fatalf("it is not ready within a minute\n%s", text)
	}
}

// protect makes the first points.
func (r *rolling) protect() {
	r.t.Helper()
	ctx := r.t.Context()
	var policy policyAnswer
	var units []any
	for i := range rolledOwners {
		units = append(units, map[string]any{"directoryObjectId": killUser(i)})
	}
	r.must(r.client.Call(ctx, http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": "p", "driveProtectionUnits": units}, &policy))
	r.must(r.client.Call(ctx, http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, nil))
	r.policy = policy.ID
	if !comes(func() bool {
		var err error
		r.units, err = list[unitAnswer](ctx, r.client, "/oneDriveForBusinessProtectionPolicies/"+policy.ID+"/driveProtectionUnits")
		return err == nil && len(r.units) == 2 && r.units[0].Status == "protected" && r.units[1].Status == "protected"
	}) {
		r.t.Fatal("the drives are not protected within a minute")
	}
	slices.SortFunc(r.units, func(a, b unitAnswer) int { return strings.Compare(a.DirectoryObjectID, b.DirectoryObjectID) })
	var found searchAnswer
	r.must(r.client.Call(ctx, http.MethodPost, "/restorePoints/search", map[string]any{"protectionUnitIds": []string{r.units[1].ID}, "restorePointPreference": "oldest",
		"protectionTimePeriod": map[string]any{"startDateTime": time.Now().UTC().Add(-time.Hour)}}, &found))
	r.first = found.SearchResults[0].RestorePoint.ID
}

func (r *rolling) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// beBusy has people read, change and work all the time, until stop.
func (r *rolling) beBusy() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var busy sync.WaitGroup
	often := func(pause time.Duration, do func(n int) error) {
		busy.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if err := do(n); err != nil && ctx.Err() == nil && !r.proxy.lost(err) {
					r.t.Errorf("%v", err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	often(10*time.Millisecond, func(n int) error {
		paths := []string{"", "/protectionPolicies", "/driveProtectionUnits", pointsOf(r.units[0].ID), "/restoreSessions", "/holdfast.rpo"}
		var got json.RawMessage
		r.asked++
		return r.client.Get(ctx, paths[n%len(paths)], &got)
	})
	often(100*time.Millisecond, func(n int) error {
		var policy policyAnswer
		if err := r.client.Call(ctx, http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": fmt.Sprint("made ", n)}, &policy); err != nil {
			return err
		}
		r.made = append(r.made, policy.ID)
		return nil
	})
	often(300*time.Millisecond, func(n int) error {
		r.edits++
		return os.WriteFile(filepath.Join(r.folder(rolledOwners[0]), fmt.Sprintf("note %d.txt", n%20)), fmt.Appendf(nil, "written as number %d", n), 0o600)
	})
	return func() { cancel(); busy.Wait() }
}

// replace starts a process of a program, and stops one of another while it restores.
func (r *rolling) replace(program string) {
	r.t.Helper()
	r.start(program)
	session, worker := r.restore()
	which := slices.IndexFunc(r.serving, func(p *replaced) bool { return p.program != program })
	if i := r.at(worker); i >= 0 && r.serving[i].program != program {
		which, r.lent = i, r.lent+1
	}
	if which < 0 { // one that goes back, or forth
		which = 0
	}
	old := r.serving[which]
	r.serving = slices.Delete(r.serving, which, which+1)
	if strings.HasSuffix(old.program, ".program") {
		r.proxy.drop(old.origin) // it does not say that it stops: it is taken out by hand
	}
	r.must(old.cmd.Process.Signal(syscall.SIGTERM))
	if err := old.cmd.Wait(); err != nil {
		r.t.Errorf("it ended with %v", err)
	}
	r.proxy.drop(old.origin)
	r.restored(session)
	r.say("%s in the place of %s", filepath.Base(program), filepath.Base(old.program))
}

// kill kills the process that restores, or sometimes another, and starts one in its place.
func (r *rolling) kill(program string) {
	r.t.Helper()
	session, worker := r.restore()
	time.Sleep(rand.N(2 * time.Second))
	which := r.at(worker)
	if which < 0 || rand.N(4) == 0 {
		which = rand.N(len(r.serving))
	} else {
		r.lent++
	}
	old := r.serving[which]
	r.serving = slices.Delete(r.serving, which, which+1)
	r.must(old.cmd.Process.Kill())
	old.cmd.Wait()
	r.proxy.drop(old.origin)
	r.killed++
	r.start(program)
	r.restored(session)
	r.seePoints()
	r.say("another in the place of %s", filepath.Base(old.log))
}

// restore begins to restore a drive that has been encrypted, and returns the session and
// which worker has it.
func (r *rolling) restore() (session sessionAnswer, worker string) {
	r.t.Helper()
	ctx := r.t.Context()
	r.seePoints()
	if _, err := newCorpus(uint64(len(r.all))).encrypt(r.folder(rolledOwners[1])); err != nil {
		r.t.Fatal(err)
	}
	r.must(r.client.Call(ctx, http.MethodPost, "/oneDriveForBusinessRestoreSessions", map[string]any{"driveRestoreArtifacts": []any{
		map[string]any{"restorePoint": map[string]any{"id": r.first}, "destinationType": "inPlace"},
	}}, &session))
	r.must(r.client.Call(ctx, http.MethodPost, "/restoreSessions/"+session.ID+"/activate", nil, nil))
	if !comes(func() bool {
		err := r.database().Read().QueryRowContext(ctx, `SELECT worker FROM job WHERE kind = 'restore' AND lease <> ''`).Scan(&worker)
		return err == nil
	}) {
		r.t.Fatal("nobody restores")
	}
	return session, worker
}

// at returns which of those that serve is a worker, or -1.
func (r *rolling) at(worker string) int {
	return slices.IndexFunc(r.serving, func(p *replaced) bool { return strings.HasSuffix(worker, fmt.Sprint("/", p.cmd.Process.Pid)) })
}

// restored waits for the end of a restore, after which the drive is as it was.
func (r *rolling) restored(session sessionAnswer) {
	r.t.Helper()
	if !comes(func() bool {
		err := r.client.Get(r.t.Context(), "/restoreSessions/"+session.ID, &session)
		return err == nil && session.Status != "active" && session.Status != "activating"
	}) || session.Status != "completed" {
		r.t.Errorf("the restore is %s", session.Status)
	}
	is, err := takePicture(r.folder(rolledOwners[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	if d := r.was.differences(is); len(d) > 0 {
		r.t.Errorf("restored, the drive differs in %d places: %.200s", len(d), strings.Join(d, "; "))
	}
}

// database is opened once a version is there that it can be opened beside.
func (r *rolling) database() *database.DB {
	r.t.Helper()
	if r.db == nil {
		db, err := database.OpenBeside(r.t.Context(), r.url)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { db.Close() })
		r.db = db
		hf(r.t, 0, "retention", "hold", "--database", r.url)
	}
	return r.db
}

// seePoints notes which points there are.
func (r *rolling) seePoints() {
	r.t.Helper()
	rows, err := r.database().Read().QueryContext(r.t.Context(), `SELECT id FROM restore_point`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		r.must(rows.Scan(&id))
		r.points[id] = true
	}
	r.must(rows.Err())
}

// pointsOf is where the points of a unit are listed.
func pointsOf(unit string) string {
	return "/restorePoints?" + query("$expand", "protectionUnit($filter=id eq '"+unit+"')") + "&" + query("$filter", "protectionDateTime lt 2100-01-01T00:00:00Z")
}

// nothingIsLost looks whether all is there that has been.
func (r *rolling) nothingIsLost() {
	r.t.Helper()
	ctx := r.t.Context()
	before := len(r.points)
	r.seePoints()
	var newest []string
	for _, u := range r.units {
		points, err := list[pointAnswer](ctx, r.client, pointsOf(u.ID))
		r.must(err)
		for _, p := range points {
			newest = append(newest, p.ID)
		}
	}
	for id := range r.points {
		if !slices.Contains(newest, id) {
			r.t.Errorf("the point %s is not listed any more", id)
		}
	}
	text := hf(r.t, 0, "audit", "export", "--database", r.url, "--tenant", killTenant)
	for _, id := range r.made {
		if !strings.Contains(text, id) {
			r.t.Errorf("the audit log does not have that policy %s was made", id)
		}
	}
	var failures int
	r.must(r.db.Read().QueryRowContext(ctx, `SELECT coalesce(sum(failures), 0) FROM job`).Scan(&failures))
	if failures > 0 {
		r.t.Errorf("jobs have failed %d times", failures)
	}
	for _, p := range r.all {
		text, err := os.ReadFile(p.log)
		r.must(err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "kind=mirror") && strings.HasSuffix(p.program, ".program") {
				continue // it could not note on PostgreSQL when all sites had been listed; those after it can
			}
			if strings.Contains(line, "job failed") || strings.Contains(line, "level=ERROR") {
				r.t.Errorf("%s says: %s", filepath.Base(p.log), line)
			}
		}
	}
	var n int
	r.must(r.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM process`).Scan(&n))
	if n < len(r.serving) || n > len(r.serving)+r.killed { // who was killed is missed after a while
		r.t.Errorf("the database knows %d processes, and %d are there", n, len(r.serving))
	}
	for _, p := range r.serving {
		r.must(p.cmd.Process.Signal(syscall.SIGTERM))
		r.must(p.cmd.Wait())
	}
	hf(r.t, 0, "vault", "verify", "--config", r.config, "--full")
	r.say("%d reads, %d policies, %d edits, %d points (%d seen before the end); the process that restored was stopped %d times, %d were killed; %d requests were sent to another process",
		r.asked, len(r.made), r.edits, len(newest), before, r.lent, r.killed, r.proxy.again.Load())
	if len(r.made) < 50 || before < 10 {
		r.t.Error("too little went on meanwhile for this to show anything")
	}
}

// A balancer is a proxy that passes requests on to the processes that are ready, one after
// another. Where one cannot be reached at all it asks the next, as proxies do; whatever
// else fails, fails.
type balancer struct {
	t         testing.TB
	transport *http.Transport
	every     time.Duration // how often each process is asked whether it is ready
	killing   bool          // processes are killed, so that some requests have no answer
	turn      atomic.Int64
	again     atomic.Int64
	mu        sync.Mutex
	of        []*balanced
}

type balanced struct {
	origin string
	ready  atomic.Bool
	busy   atomic.Int64
}

// lost reports whether a request failed for want of an answer, where that may be.
func (b *balancer) lost(err error) bool {
	said, ok := errors.AsType[*client.Error](err)
	return b.killing && ok && said.Status == http.StatusBadGateway
}

func (b *balancer) add(origin string) *balanced {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := &balanced{origin: origin}
	b.of = append(b.of, one)
	return one
}

// drop asks a process no more, and returns when it has answered.
func (b *balancer) drop(origin string) {
	b.mu.Lock()
	i := slices.IndexFunc(b.of, func(one *balanced) bool { return one.origin == origin })
	if i < 0 {
		b.mu.Unlock()
		return
	}
	one := b.of[i]
	b.of = slices.Delete(b.of, i, i+1)
	b.mu.Unlock()
	for one.busy.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func (b *balancer) all() []*balanced {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.of)
}

// look asks each five times a second whether it is ready.
func (b *balancer) look(ctx context.Context) {
	for ctx.Err() == nil {
		for _, one := range b.all() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, one.origin+"/readyz", nil)
			resp, err := b.transport.RoundTrip(req)
			one.ready.Store(err == nil && resp.StatusCode == http.StatusOK)
			if err == nil {
				resp.Body.Close()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(b.every):
		}
	}
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked is gone
	}
	var last error = errors.New("no process is ready")
	all := b.all()
	first := int(b.turn.Add(1))
	for i := range all {
		one := all[(first+i)%len(all)]
		one.busy.Add(1)
		if !one.ready.Load() || !slices.Contains(b.all(), one) {
			one.busy.Add(-1)
			continue
		}
		req := r.Clone(r.Context())
		req.RequestURI = ""
		req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(one.origin, "http://")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
		resp, err := b.transport.RoundTrip(req)
		if err == nil {
			text, readErr := io.ReadAll(resp.Body)
			err = readErr
			resp.Body.Close()
			if err == nil {
				one.busy.Add(-1)
				if resp.StatusCode >= 500 {
					b.t.Errorf("%s %s = %d %s", r.Method, r.URL.Path, resp.StatusCode, text)
				}
				for name, values := range resp.Header {
					w.Header()[name] = values
				}
				w.WriteHeader(resp.StatusCode)
				w.Write(text)
				return
			}
		}
		one.busy.Add(-1)
		if r.Context().Err() != nil {
			return
		}
		last = err
		if op, ok := errors.AsType[*net.OpError](err); (!ok || op.Op != "dial") && (!b.killing || r.Method != http.MethodGet) {
			break
		}
		b.again.Add(1)
	}
	if !b.killing {
		b.t.Errorf("%s %s was not answered: %v", r.Method, r.URL.Path, last)
	}
	w.WriteHeader(http.StatusBadGateway)
}
