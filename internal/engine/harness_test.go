package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// A world is everything there is, all of it real: a simulated tenant over
// folders of real files, behind HTTP; a vault; a catalog; the engine.
type world struct {
	t       testing.TB
	ctx     context.Context
	tenant  backup.TenantID
	dir     string
	faults  *simtenant.Faults
	users   []simtenant.User
	db      *database.DB
	queue   *jobs.Queue
	catalog *catalog.Catalog
	vault   *vault.Vault
	source  *drive.Client
	url     string       // of the source
	http    *http.Client // that calls it; nil for the client's own
	engine  *Engine
	log     *syncBuffer

	at   string              // the database's URL; empty for a new one of SQLite
	rule backup.ApprovalRule // of what nobody does alone

	now  func() time.Time // the engine's and the catalog's clock; nil is the real one
	skew atomic.Int64     // of that
	wait atomic.Int64     // what the source's client slept

	mu       sync.Mutex
	requests map[string]int // by kind of request
	hook     func(*http.Request)
}

func newWorld(t testing.TB, owners ...string) *world {
	return newWorldBehind(t, func(sim http.Handler) http.Handler { return sim }, owners...)
}

// newWorldBehind is newWorld with something between the server and the source.
func newWorldBehind(t testing.TB, between func(http.Handler) http.Handler, owners ...string) *world {
	return newWorldOf(t, between, len(owners) == 0, owners...)
}

// retell answers as the source does, but for what edit makes of it.
func retell[T any](t testing.TB, source http.Handler, rw http.ResponseWriter, r *http.Request, edit func(*T)) {
	r.Header.Del("Accept-Encoding")
	told := httptest.NewRecorder()
	source.ServeHTTP(told, r)
	var answer T
	if err := json.Unmarshal(told.Body.Bytes(), &answer); err != nil {
		t.Error(err)
	}
	edit(&answer)
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(told.Code)
	if err := json.NewEncoder(rw).Encode(answer); err != nil {
		t.Error(err)
	}
}

// newWorldOf is newWorldBehind that has sites or not, whoever its people are.
func newWorldOf(t testing.TB, between func(http.Handler) http.Handler, sites bool, owners ...string) *world {
	w := prepare(t, owners...)
	w.must(shareKey(w.dir + "/sim"))
	cfg := simConfig(w.dir, w.tenant, w.users, w.faults)
	if sites {
		cfg.Sites = w.dir + "/sites"
	}
	if sites && len(owners) > 0 {
		cfg.Tenants[0].Groups = []simtenant.Group{{ID: testGroup, DisplayName: "Readers"}}
	}
	sim, err := simtenant.New(cfg)
	w.must(err)
	server := httptest.NewServer(w.watch(between(sim.Handler())))
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	w.connect(server.URL)
	return w
}

// signingKey makes the key by which the simulated tenants of all tests sign: to
// make one takes as long as many a test.
var signingKey = sync.OnceValues(func() ([]byte, error) {
	dir := scratch + "/key"
	sim, err := simtenant.New(simConfig(dir, backup.NewID[backup.TenantID](), nil, nil))
	if err != nil {
		return nil, err
	}
	if err := sim.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(dir + "/sim/signing-key.pem")
})

func shareKey(dir string) error {
	key, err := signingKey()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(dir+"/signing-key.pem", key, 0o600)
	}
	return err
}

func prepare(t testing.TB, owners ...string) *world {
	w := &world{t: t, ctx: t.Context(), tenant: backup.NewID[backup.TenantID](), dir: t.TempDir(), faults: new(simtenant.Faults), requests: map[string]int{}, log: &syncBuffer{}}
	for i, name := range owners {
		w.users = append(w.users, simtenant.User{
			ID:                backup.ObjectID(fmt.Sprintf("20000000-0000-4000-8000-%012d", i+1)),
			UserPrincipalName: name + "@example.com", Mail: name + "@example.com", DisplayName: name,
		})
	}
	return w
}

// sharedVault is the vault of all tests, each of which is a tenant of its own:
// to open one takes longer than most tests do.
var sharedVault = sync.OnceValues(func() (*vault.Vault, error) {
	return vault.Open(context.Background(), vault.Config{Dir: scratch + "/vault", State: scratch + "/state", Create: true, Password: "for tests only", Log: slog.New(slog.DiscardHandler)})
})

// scratch is a folder for what tests share.
var scratch string

const testApp, testSecret = "30000000-0000-4000-8000-000000000001", "for tests only"

const testGroup = "50000000-0000-4000-8000-000000000001"

// modestApp may do all but control sites.
const modestApp = "77777777-0000-4000-8000-000000000002"

func simConfig(dir string, tenant backup.TenantID, users []simtenant.User, faults *simtenant.Faults) simtenant.Config {
	return simtenant.Config{
		State: dir + "/sim", Drives: dir + "/drives", Faults: faults,
		Tenants: []simtenant.Tenant{{ID: tenant, DisplayName: "Example", Domain: "example.com", Users: users,
			Apps: []simtenant.App{{AppID: testApp, Secret: testSecret, DisplayName: "Holdfast",
				Roles: []string{"Files.ReadWrite.All", "Sites.ReadWrite.All", "Sites.Manage.All", "User.Read.All", "Directory.Read.All",
					"MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.Read", "Sites.FullControl.All"}},
				{AppID: "77777777-0000-4000-8000-000000000001", Secret: testSecret, DisplayName: "Selective", Roles: []string{"Sites.Selected"}},
				{AppID: modestApp, Secret: testSecret, DisplayName: "Modest", Roles: []string{"Files.ReadWrite.All", "Sites.Manage.All", "User.Read.All"}}}}},
	}
}

// connect builds the server's side of the world on a source at url.
func (w *world) connect(url string) {
	w.url = url
	t := w.t
	var err error
	w.source = drive.New(drive.Config{
		HTTP:  w.http,
		Graph: url + "/v1.0", Authority: url, Tenant: w.tenant, ClientID: testApp, Credential: drive.Secret(testSecret),
		Clock: func() time.Time { return time.Now().Add(time.Duration(w.wait.Load())) },
		Sleep: func(ctx context.Context, d time.Duration) error { w.wait.Add(int64(d)); return ctx.Err() },
	})
	if w.at == "" {
		w.at = dbtest.SQLiteURL(t, w.dir+"/catalog.db")
	}
	w.db = dbtest.OpenURL(t, w.at)
	now := w.now
	if now == nil {
		now = time.Now
	}
	clock := func() time.Time { return now().Add(time.Duration(w.skew.Load())) }
	w.queue = jobs.New(w.db, clock)
	w.catalog = catalog.New(w.db, w.queue, catalog.Config{Clock: clock, Approval: func(backup.TenantID) backup.ApprovalRule { return w.rule }})
	w.vault, err = sharedVault()
	w.must(err)
	w.engine = New(Config{
		Catalog: w.catalog, DB: w.db, Queue: w.queue, Tenants: func() []backup.TenantID { return []backup.TenantID{w.tenant} }, Clock: clock,
		Log:     slog.New(slog.NewTextHandler(w.log, nil)),
		Sources: func(backup.TenantID) (*drive.Client, error) { return w.source, nil },
		Vaults:  func(context.Context, backup.VaultName) (*vault.Vault, error) { return w.vault, nil },
		Sleep:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
}

// midweek moves the clock on to the next Tuesday morning, after which a day of tests ends no week,
// of which the first point is kept.
func (w *world) midweek() {
	now := w.engine.Clock().UTC()
	day := now.Truncate(24*time.Hour).AddDate(0, 0, (int(time.Tuesday)-int(now.Weekday())+6)%7+1)
	w.skew.Add(int64(day.Add(8 * time.Hour).Sub(now)))
}

// loseCatalog has an empty catalog be in the place of the world's.
func (w *world) loseCatalog() {
	w.t.Helper()
	w.must(w.db.Close())
	w.db = dbtest.OpenURL(w.t, dbtest.SQLiteURL(w.t, w.dir+"/catalog2.db"))
	w.queue = jobs.New(w.db, w.engine.Clock)
	w.catalog = catalog.New(w.db, w.queue, catalog.Config{Clock: w.engine.Clock})
	w.engine.Catalog, w.engine.DB, w.engine.Queue = w.catalog, w.db, w.queue
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// watch counts what is asked of the source.
func (w *world) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		kind := ""
		path := strings.TrimRight(r.URL.Path, "/")
		switch {
		case strings.HasPrefix(path, "/_sharepoint/download/"):
			kind = "download"
		case strings.HasSuffix(path, "/createUploadSession"), strings.HasSuffix(path, "/content") && r.Method == http.MethodPut:
			kind = "upload"
		case strings.HasPrefix(path, "/v1.0/") && r.Method == http.MethodPatch:
			kind = "patch"
		case strings.HasPrefix(path, "/v1.0/") && r.Method == http.MethodDelete:
			kind = "delete"
		case strings.HasPrefix(path, "/v1.0/drives/") && r.Method == http.MethodPost:
			kind = "create"
		case strings.HasPrefix(path, "/v1.0/users/") && strings.HasSuffix(path, "/$value"):
			kind = "mime"
		case strings.HasSuffix(path, "/exportItems"):
			kind = "export"
		case strings.HasSuffix(path, "/importItem"):
			kind = "import"
		case strings.HasSuffix(path, "/delta"):
			kind = "delta"
		case strings.HasSuffix(path, "/drive"):
			kind = "drive"
		}
		w.mu.Lock()
		w.requests[kind]++
		w.requests["all"]++
		hook := w.hook
		w.mu.Unlock()
		if hook != nil {
			hook(r)
		}
		next.ServeHTTP(rw, r)
	})
}

// contentAt returns which item's content a path is of: by the item's id, or where
// the source says that it is.
func contentAt(path string) (id string, ok bool) {
	path = strings.TrimRight(path, "/")
	rest, ok := strings.CutSuffix(path, "/content")
	if !ok {
		rest, ok = path, strings.HasPrefix(path, "/_sharepoint/download/")
	}
	return rest[strings.LastIndexByte(rest, '/')+1:], ok
}

// asked returns how many requests of a kind there were since the last reset.
func (w *world) asked(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[kind]
}

func (w *world) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.requests)
}

func (w *world) onRequest(hook func(*http.Request)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

// activateAll brings all owners into an active policy, and returns it and them.
func (w *world) activateAll() (backup.Policy, []backup.SubjectID) {
	w.t.Helper()
	return w.activateAllOf(backup.OneDrive)
}

func (w *world) activateAllOf(workload backup.Workload) (backup.Policy, []backup.SubjectID) {
	w.t.Helper()
	var owners []backup.SubjectID
	for _, u := range w.users {
		owners = append(owners, backup.SubjectID(u.ID))
	}
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: workload, DisplayName: "All", Units: owners})
	w.must(err)
	_, err = w.catalog.ActivatePolicy(w.ctx, w.tenant, p.ID, backup.Stamp{})
	w.must(err)
	w.run(jobs.Settle, string(p.ID), w.engine.settle)
	return p, owners
}

// protectAll is activateAll, and returns the owners' units.
func (w *world) protectAll() []backup.Unit {
	w.t.Helper()
	p, owners := w.activateAll()
	list, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
	w.must(err)
	if len(list.Items) != len(owners) {
		w.t.Fatalf("%d units, want %d", len(list.Items), len(owners))
	}
	units := make([]backup.Unit, len(owners))
	for _, u := range list.Items {
		for i, owner := range owners {
			if u.Subject == owner {
				units[i] = u
			}
		}
	}
	return units
}

// claim takes a job as a worker would. The lease lapses at once, so that the
// next claim succeeds whatever became of this one.
func (w *world) claim(kind jobs.Kind, key string) *jobs.Job {
	w.t.Helper()
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		return w.queue.Enqueue(w.ctx, tx, jobs.Spec{Kind: kind, Key: key, Tenant: w.tenant})
	}))
	claimed, err := w.queue.Claim(w.ctx, kind, 10_000, 0, "test")
	w.must(err)
	for _, j := range claimed {
		if j.Key == key {
			return j
		}
	}
	w.t.Fatalf("no job %s %s", kind, key)
	return nil
}

// run runs a job once, and fails the test if the job fails.
func (w *world) run(kind jobs.Kind, key string, h jobs.Handler) {
	w.t.Helper()
	if err := w.try(w.ctx, kind, key, h); err != nil {
		w.t.Fatalf("%s %s: %v", kind, key, err)
	}
}

func (w *world) try(ctx context.Context, kind jobs.Kind, key string, h jobs.Handler) error {
	w.t.Helper()
	_, err := h(ctx, w.claim(kind, key))
	return err
}

// stopAfter runs a job and stops it once n requests of a kind were made.
func (w *world) stopAfter(request string, n int, kind jobs.Kind, key string, h jobs.Handler) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	w.reset()
	w.onRequest(func(*http.Request) {
		if w.asked(request) >= n {
			cancel()
		}
	})
	defer w.onRequest(nil)
	if err := w.try(ctx, kind, key, h); err == nil {
		w.t.Fatalf("%s %s that was stopped succeeded", kind, key)
	}
}

// backUp makes a point of a unit and returns it.
func (w *world) backUp(u backup.Unit) backup.Point {
	w.t.Helper()
	w.run(jobs.Backup, string(u.ID), w.engine.backup)
	return w.latest(u)
}

func (w *world) latest(u backup.Unit) backup.Point {
	w.t.Helper()
	points, err := w.catalog.Points(w.ctx, w.tenant, catalog.PointQuery{Unit: u.ID, Page: catalog.Page{Limit: 1}})
	w.must(err)
	if len(points.Items) == 0 {
		w.t.Fatalf("unit %s has no point", u.ID)
	}
	return points.Items[0]
}

func (w *world) unit(id backup.UnitID) backup.Unit {
	w.t.Helper()
	u, err := w.catalog.Unit(w.ctx, w.tenant, id)
	w.must(err)
	return u
}

// activate makes a session that restores a point, and returns its artifact.
func (w *world) activate(p backup.Point, to backup.Destination) backup.Artifact {
	w.t.Helper()
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, w.unit(p.Unit).Workload, backup.RestoreStandard,
		[]catalog.NewArtifact{{Point: p.ID, Destination: to}}, backup.Stamp{})
	w.must(err)
	return w.activateSession(s)
}

func (w *world) activateSession(s backup.Session) backup.Artifact {
	w.t.Helper()
	_, err := w.catalog.ActivateSession(w.ctx, w.tenant, s.ID, backup.Stamp{})
	w.must(err)
	list, err := w.catalog.Artifacts(w.ctx, w.tenant, s.ID, catalog.Page{})
	w.must(err)
	return list.Items[0]
}

// restored runs a restore to its end and wants it to succeed.
func (w *world) restored(p backup.Point, to backup.Destination) backup.Artifact {
	w.t.Helper()
	a := w.activate(p, to)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a, err := w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
	w.must(err)
	if a.Status != backup.ArtifactSucceeded {
		w.t.Fatalf("artifact is %s: %+v\n%s", a.Status, a.Problem, w.log)
	}
	return a
}

// home is the folder that is a user's drive.
func (w *world) home(i int) string {
	return filepath.Join(w.dir, "drives", w.users[i].UserPrincipalName)
}

// A state is what a folder holds, for comparison: content and time by path.
type state map[string]string

// put writes files, given as path and content; a path ending in a slash is a
// folder. Everything gets a time of its own, in whole seconds, long ago.
func (w *world) put(home string, files map[string]string) {
	w.t.Helper()
	for path, content := range files {
		full := filepath.Join(home, filepath.FromSlash(path))
		if strings.HasSuffix(path, "/") {
			w.must(os.MkdirAll(full, 0o755))
			continue
		}
		w.must(os.MkdirAll(filepath.Dir(full), 0o755))
		w.must(os.WriteFile(full, []byte(content), 0o644))
	}
	w.age(home)
}

// age gives everything in a folder a time that follows from its path.
func (w *world) age(home string) {
	w.t.Helper()
	w.must(filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == home {
			return err
		}
		h := sha256.Sum256([]byte(path[len(home):]))
		at := time.Unix(1_500_000_000+int64(h[0])<<16+int64(h[1])<<8+int64(h[2]), 0)
		return os.Chtimes(path, at, at)
	}))
}

// look returns what a folder holds.
func (w *world) look(home string) state {
	w.t.Helper()
	s := state{}
	w.must(filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == home {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := "folder"
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = digest(b)
		}
		rel, _ := filepath.Rel(home, path)
		s[filepath.ToSlash(rel)] = what + " " + info.ModTime().UTC().Format(time.DateTime)
		return nil
	}))
	return s
}

func digest(b []byte) string { return fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))[:40] }

// kept returns what a tree of the vault holds.
func (w *world) kept(tree string) state {
	w.t.Helper()
	s := state{}
	for node, err := range w.vault.Walk(w.ctx, tree) {
		w.must(err)
		if node.Parent == "" {
			continue
		}
		what := "folder"
		if node.Kind == backup.File {
			r, err := w.vault.Open(w.ctx, node.Content)
			w.must(err)
			b, err := io.ReadAll(r)
			w.must(errors.Join(err, r.Close()))
			what = digest(b)
		}
		s[node.Path] = what + " " + node.Modified.UTC().Format(time.DateTime)
	}
	return s
}

func (w *world) same(what string, want, got state) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s differs (-want +got):\n%s\n%s", what, diff, w.log)
	}
}

// wantAsked compares how often the source was asked for something.
func (w *world) wantAsked(kind string, want int) {
	w.t.Helper()
	if got := w.asked(kind); got != want {
		w.t.Errorf("%d requests of kind %s, want %d", got, kind, want)
	}
}
