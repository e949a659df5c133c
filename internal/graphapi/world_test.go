package graphapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	contoso  = backup.TenantID("72f988bf-86f1-41af-91ab-2d7cd011db47")
	fabrikam = backup.TenantID("11111111-2222-4333-8444-555555555555")
	stranger = backup.TenantID("99999999-2222-4333-8444-555555555555")

	appID    = "1fec8e78-bce4-4aaf-ab1b-5451cc387264"
	userID   = "845457dc-4bb2-4815-bef3-8628ebd1952e"
	audience = "https://graph.microsoft.com"
	host     = "https://graph.microsoft.com"
)

// signingKey is made once: making one takes longer than most tests.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// everyWorkload is what the API has words for.
var everyWorkload = func() (all []backup.Workload) {
	for _, w := range described {
		all = append(all, w.kind)
	}
	return all
}()

// A world is a server on a real catalog, with a real issuer of tokens and a
// clock that is moved by hand.
type world struct {
	t       testing.TB
	db      *database.DB
	queue   *jobs.Queue
	catalog *catalog.Catalog
	server  *Server
	issuer  string
	log     *bytes.Buffer
	groups  map[backup.ObjectID][]backup.SubjectID // who is in which, for rules
	rule    backup.ApprovalRule                    // what nobody may do alone

	mu   sync.Mutex
	time time.Time
}

func newWorld(t testing.TB, db *database.DB, change ...func(*Config)) *world {
	return newWorldOf(t, db, catalog.Config{}, change...)
}

// newWorldOf is newWorld with a catalog that is configured otherwise.
func newWorldOf(t testing.TB, db *database.DB, kept catalog.Config, change ...func(*Config)) *world {
	w := &world{t: t, db: db, time: start, log: &bytes.Buffer{}}
	issuer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		json.NewEncoder(rw).Encode(map[string]any{"keys": []any{map[string]string{"kty": "RSA", "kid": "k1", "use": "sig",
			"n": base64.RawURLEncoding.EncodeToString(signingKey().N.Bytes()), "e": "AQAB"}}})
	}))
	t.Cleanup(issuer.Close)
	w.issuer = issuer.URL
	w.queue = jobs.New(db, w.clock)
	kept.Clock = w.clock
	kept.Approval = func(backup.TenantID) backup.ApprovalRule { return w.rule }
	w.catalog = catalog.New(db, w.queue, kept)
	cfg := Config{
		Catalog:   w.catalog,
		Browser:   shelf{},
		Workloads: everyWorkload,
		Verifier: identity.NewVerifier(identity.Config{
			Issuers:   []identity.Issuer{{Issuer: issuer.URL + "/{tenantid}/v2.0", JWKS: issuer.URL + "/keys"}},
			Audiences: []string{audience}, Clock: w.clock,
		}),
		PageKey: []byte("a key of the tests, 32 bytes long"),
		Clock:   w.clock,
		Log:     slog.New(backup.NameCause(slog.NewTextHandler(w.log, nil))),
		Tenants: func(t backup.TenantID) bool { return t == contoso || t == fabrikam },
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if w.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s := w.log.String(); strings.Contains(s, "level=ERROR") {
			t.Errorf("the server logged errors:\n%s", s)
		}
	})
	return w
}

// each runs fn in a world on each database.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(t, newWorld(t, db)) })
}

// sqlite returns a world on SQLite, for what does not depend on the database.
func sqlite(t testing.TB, change ...func(*Config)) *world {
	return newWorld(t, dbtest.Open(t, database.SQLite), change...)
}

// clock moves on with every look, so that what is made later is later.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(time.Millisecond)
	return w.time
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

func (w *world) claims(tenant backup.TenantID) jwt.MapClaims {
	now := w.clock()
	return jwt.MapClaims{"iss": w.issuer + "/" + string(tenant) + "/v2.0", "aud": audience, "tid": string(tenant),
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(24 * time.Hour).Unix(), "azp": appID}
}

func sign(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = "k1"
	s, err := token.SignedString(signingKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A client is an application, or a user of one, in a tenant.
type client struct {
	w     *world
	token string
}

// app returns an application with permissions; none means all.
func (w *world) app(tenant backup.TenantID, granted ...identity.Permission) *client {
	if len(granted) == 0 {
		granted = identity.Permissions
	}
	c := w.claims(tenant)
	c["idtyp"], c["roles"] = "app", granted
	return &client{w, sign(w.t, c)}
}

// user returns a user with scopes; none means all.
func (w *world) user(tenant backup.TenantID, granted ...identity.Permission) *client {
	if len(granted) == 0 {
		granted = identity.Permissions
	}
	var scp []string
	for _, p := range granted {
		scp = append(scp, string(p))
	}
	c := w.claims(tenant)
	c["scp"], c["oid"], c["name"], c["upn"] = strings.Join(scp, " "), userID, "User1", "User1@contoso.com"
	c["app_displayname"] = "Microsoft Enhanced Restore"
	return &client{w, sign(w.t, c)}
}

// A response is what came back, with its JSON if it has any.
type response struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	text   string
	json   map[string]any
}

// do sends a request. body may be a string, sent as it is, or anything that
// encoding/json knows. headers are pairs. Every answer is checked for what all
// answers have in common, and its JSON against the schema.
func (c *client) do(method, path string, body any, headers ...string) *response {
	t := c.w.t
	t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(strings.ToLower(path), "/v") && !strings.HasPrefix(path, "/beta/") || path == "" {
		path = "/v1.0/" + root + path
	}
	if !strings.HasPrefix(path, "http") {
		path = host + path
	}
	r := httptest.NewRequest(method, path, in)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	for _, h := range []string{"Content-Type"} { // given ones count
		if v := r.Header.Values(h); len(v) > 1 {
			r.Header.Set(h, v[len(v)-1])
		}
	}
	rec := httptest.NewRecorder()
	c.w.server.ServeHTTP(rec, r)
	return c.w.answer(method+" "+path, r, rec.Result())
}

func (w *world) answer(what string, r *http.Request, got *http.Response) *response {
	t := w.t
	t.Helper()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &response{t: t, what: what, status: got.StatusCode, header: got.Header, text: string(data)}
	for _, h := range []string{"request-id", "client-request-id", "OData-Version", "Cache-Control"} {
		if a.header.Get(h) == "" {
			t.Errorf("%s: no header %s", what, h)
		}
	}
	if sent := r.Header.Get("client-request-id"); sent != "" && len(sent) <= 128 && a.header.Get("client-request-id") != sent {
		t.Errorf("%s: client-request-id = %q, want %q", what, a.header.Get("client-request-id"), sent)
	}
	ct := a.header.Get("Content-Type")
	switch {
	case a.status == http.StatusNoContent || r.Method == http.MethodHead:
		if len(data) > 0 || a.status == http.StatusNoContent && ct != "" {
			t.Errorf("%s: %d with a body %q of type %q", what, a.status, data, ct)
		}
		return a
	case strings.HasPrefix(ct, "text/plain"), ct == "application/xml":
		return a
	case !strings.HasPrefix(ct, "application/json"):
		t.Errorf("%s: Content-Type = %q", what, ct)
	}
	if err := json.Unmarshal(data, &a.json); err != nil {
		t.Errorf("%s: %v in %s", what, err, data)
		return a
	}
	notice(t.Name(), a.status, a.json)
	if a.status >= 400 {
		a.checkError()
	} else if path, _, _ := w.server.vocabulary.Canonical(r.URL.EscapedPath()); strings.HasPrefix(path, "/v1.0/"+root) || strings.HasPrefix(path, "/beta/"+root) {
		theSchema().checkBody(t, what, path, a.json, !strings.Contains(ct, "metadata=none"))
	}
	return a
}

// checkError reports an error envelope that is not as documented.
func (a *response) checkError() {
	a.t.Helper()
	e, _ := a.json["error"].(map[string]any)
	inner, _ := e["innerError"].(map[string]any)
	if len(a.json) != 1 || e == nil || inner == nil || inner["request-id"] != a.header.Get("request-id") ||
		inner["client-request-id"] != a.header.Get("client-request-id") {
		a.t.Errorf("%s: envelope %s", a.what, a.text)
	}
	if _, err := time.Parse("2006-01-02T15:04:05", fmt.Sprint(inner["date"])); err != nil {
		a.t.Errorf("%s: innerError.date = %v", a.what, inner["date"])
	}
	if text, _ := e["message"].(string); text == "" || !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "…") {
		a.t.Errorf("%s: message = %q", a.what, text)
	}
	if e["code"] == "generalException" {
		a.t.Errorf("%s: %s", a.what, a.text)
	}
}

// want ends the test unless the answer has the status and, for a failure, the
// code.
func (a *response) want(status int, code ...backup.Code) *response {
	a.t.Helper()
	if a.status != status || len(code) > 0 && a.code() != code[0] {
		a.t.Fatalf("%s = %d %s, want %d %v", a.what, a.status, a.text, status, code)
	}
	return a
}

func (a *response) code() backup.Code {
	e, _ := a.json["error"].(map[string]any)
	c, _ := e["code"].(string)
	return backup.Code(c)
}

// get returns a member by its path: names and numbers joined by dots, slashes
// where a name has dots itself.
func (a *response) get(path string) any {
	var v any = a.json
	sep := "."
	if strings.Contains(path, "/") {
		sep = "/"
	}
	for name := range strings.SplitSeq(path, sep) {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a *response) str(path string) string { s, _ := a.get(path).(string); return s }

func (a *response) list(path string) []any { l, _ := a.get(path).([]any); return l }

// Stories.

type obj = map[string]any

func ownerN(n int) string { return fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", n) }

// policy makes a policy with units for owners and returns its id.
func (c *client) policy(name string, owners ...string) string {
	c.w.t.Helper()
	units := []obj{}
	for _, o := range owners {
		units = append(units, obj{"directoryObjectId": o})
	}
	return c.do("POST", "/"+drivePolicySet, obj{"displayName": name, driveUnitSet: units}).want(201).str("id")
}

// unitOf returns the id of an owner's unit.
func (c *client) unitOf(policy, owner string) string {
	c.w.t.Helper()
	for _, v := range c.do("GET", "/"+drivePolicySet+"/"+policy+"/"+driveUnitSet, nil).want(200).list("value") {
		if u := v.(map[string]any); u["directoryObjectId"] == owner {
			return u["id"].(string)
		}
	}
	c.w.t.Fatalf("policy %s has no unit of %s", policy, owner)
	return ""
}

// work does the jobs that are due, as the engine would: it settles, enrolls,
// and commits a point for each backup, of no data. It returns the points.
func (w *world) work() (points []backup.Point) {
	t, ctx := w.t, context.Background()
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	claim := func(kind jobs.Kind) []*jobs.Job {
		claimed, err := w.queue.Claim(ctx, kind, 1000, time.Minute, "test")
		ok(err)
		return claimed
	}
	done := func(j *jobs.Job) {
		ok(w.db.Tx(ctx, func(tx *database.Tx) error {
			return w.queue.RemoveSelect(ctx, tx, j.Kind, `SELECT CAST($1 AS TEXT)`, j.Key)
		}))
	}
	for _, j := range claim(jobs.BulkAdd) {
		b, err := w.catalog.BulkJobForWork(ctx, j.Tenant, backup.BulkJobID(j.Key))
		ok(err)
		ok(w.catalog.EnrollBulk(ctx, j, b, nil))
		done(j)
	}
	for _, j := range claim(jobs.All) {
		p, there, err := w.catalog.PolicyForWork(ctx, j)
		ok(err)
		if there {
			_, err = w.catalog.EnrollAll(ctx, j, p)
			ok(err)
		}
		done(j)
	}
	for _, j := range claim(jobs.Rule) {
		r, err := w.catalog.RuleForWork(ctx, j.Tenant, backup.RuleID(j.Key))
		ok(err)
		if r.Status == backup.RuleDeleteRequested {
			ok(w.catalog.EndRule(ctx, j, r))
			done(j)
			continue
		}
		var found catalog.Evaluation
		for _, g := range r.Groups() {
			members, known := w.groups[g]
			if !known {
				found.Unread = append(found.Unread, backup.Detail{Code: backup.InvalidGroupID, Message: "There is no such group.", Target: string(g)})
			}
			for _, m := range members {
				found.Members = append(found.Members, catalog.Member{Owner: m, Group: g})
			}
		}
		missing, err := w.catalog.ApplyRule(ctx, j, r, found)
		ok(err)
		if missing > 0 { // who leaves at a second look
			r, err = w.catalog.RuleForWork(ctx, j.Tenant, r.ID)
			ok(err)
			_, err = w.catalog.ApplyRule(ctx, j, r, found)
			ok(err)
		}
		done(j)
	}
	for _, j := range claim(jobs.Settle) {
		ok(w.catalog.SettlePolicy(ctx, j))
		done(j)
	}
	for _, j := range claim(jobs.Offboard) {
		next, err := w.catalog.SettleOffboarding(ctx, j)
		ok(err)
		drives, err := w.catalog.DrivesToDestroy(ctx, j.Tenant, backup.UnitID(j.Key))
		ok(err)
		for _, d := range drives {
			ok(w.catalog.ForgetDrive(ctx, j, d))
		}
		done(j)
		if !next.IsZero() {
			ok(w.db.Tx(ctx, func(tx *database.Tx) error {
				return w.queue.Enqueue(ctx, tx, jobs.Spec{Kind: j.Kind, Key: j.Key, Tenant: j.Tenant, RunAt: next})
			}))
		}
	}
	for _, j := range claim(jobs.Backup) {
		u, s, err := w.catalog.UnitForBackup(ctx, j.Tenant, backup.UnitID(j.Key))
		ok(err)
		var staged int64
		prev := s.Root
		at := w.clock()
		s.Drive, s.Root, s.Tree = backup.DriveID("drive-"+j.Key), backup.NewID[string](), at.Format(time.RFC3339Nano)
		if u.Workload == backup.Exchange {
			staged, err = w.catalog.StageMail(ctx, j, catalog.MailStage{Unit: u.ID, Drive: s.Drive, At: at, Anew: prev == ""}, w.delivered)
			ok(err)
		}
		p, err := w.catalog.CommitPoint(ctx, j, catalog.Commit{Unit: backup.UnitID(j.Key), PrevRoot: prev, State: s, Mail: staged,
			Point: backup.Point{At: at, Tree: s.Tree, Files: 3, Folders: 2, Bytes: 1}, Promise: promise})
		ok(err)
		points = append(points, p)
	}
	ok(w.queue.Reclaim(ctx))
	return points
}

// delivered is what every mailbox has got.
func (w *world) delivered(yield func(catalog.MailChange, error) bool) {
	amala := backup.Person{Name: "Amala Rao", Address: "amala@contoso.com"}
	for n, m := range []backup.MailItem{
		{Kind: backup.MailEmail, Subject: "Invoice 5/2026", Sender: amala, Attachment: true},
		{Kind: backup.MailEmail, Subject: "Invoice 6/2026", Sender: amala},
		{Kind: backup.MailCalendar, Subject: "Lunch", Sender: amala},
	} {
		m.ID, m.Folder, m.Recipients = backup.ItemID(fmt.Sprint("item", n)), "Inbox", []backup.Person{{Address: "conrad@contoso.com"}}
		if !yield(catalog.MailChange{MailItem: m}, nil) {
			return
		}
	}
}

// promise is how old the newest point of a unit may become.
const promise = 20 * time.Minute
