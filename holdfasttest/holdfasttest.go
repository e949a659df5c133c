// Package holdfasttest starts a simulated Microsoft 365 tenant for a test, and
// lets the test have its way with it.
//
//	func TestUploadSurvivesThrottling(t *testing.T) {
//		tenant := holdfasttest.Start(t)
//		tenant.Fault(holdfasttest.Fault{Path: "createUploadSession", Times: 2, Status: 429, Header: map[string]string{"Retry-After": "1"}})
//		app := myapp.New(tenant.Graph, tenant.Client())
//		…
//	}
//
// Each tenant has a port and folders of its own, and goes with its test: tests
// may run side by side. Nothing of it is on a network but this machine's own.
package holdfasttest

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/simtenant"
)

// A Tenant is a simulated tenant. Its methods end the test if they fail, and may
// be called from many goroutines.
type Tenant struct {
	URL    string // the origin of everything
	Graph  string // URL + "/v1.0"
	ID     string // of the tenant, as in URL/{ID}/oauth2/v2.0/token
	Domain string
	Users  []string // their userPrincipalNames

	ClientID     string // of an application that may do all that is served
	ClientSecret string

	t       testing.TB
	drives  string
	mail    string
	sites   string
	control *simtenant.Control
	client  func() *http.Client // that trusts the server

	mu    sync.Mutex
	token string
	until time.Time // by the tenant's clock
}

// An Option changes how a tenant starts.
type Option func(*config)

type config struct {
	tenants    []byte
	secure     bool
	population *Population
}

// A Population is what a tenant is made up from: a seed, and how much there is to
// be.
type Population = simtenant.Population

// WithPopulation has the tenant be made up from a seed, of any size: users, folders
// and files, which take no disk. It takes the place of WithTenant.
func WithPopulation(p Population) Option { return func(c *config) { c.population = &p } }

// WithTenant has the tenant be one of a tenant file, which is JSON, in place of
// the built-in Contoso. The first tenant of the file and its first application
// are those that Tenant names.
func WithTenant(file []byte) Option { return func(c *config) { c.tenants = file } }

// WithTLS has everything served in HTTPS. Client trusts it.
func WithTLS() Option { return func(c *config) { c.secure = true } }

// Start runs a tenant until the test ends. Its drives are empty.
func Start(t testing.TB, options ...Option) *Tenant {
	t.Helper()
	var cfg config
	for _, option := range options {
		option(&cfg)
	}
	tenants := simtenant.Sample()
	if cfg.tenants != nil {
		var err error
		if tenants, err = simtenant.ParseTenants(strings.NewReader(string(cfg.tenants))); err != nil {
			t.Fatal(err)
		}
	}
	if cfg.population != nil {
		if err := cfg.population.Check(); err != nil {
			t.Fatal(err)
		}
		tenants = []simtenant.Tenant{cfg.population.Tenant()}
	}
	if len(tenants[0].Apps) == 0 {
		t.Fatal("holdfasttest: the first tenant has no application, so nobody can get a token")
	}
	dir := t.TempDir()
	drives, mail, sites := filepath.Join(dir, "drives"), filepath.Join(dir, "mail"), filepath.Join(dir, "sites")
	svc, err := simtenant.New(simtenant.Config{
		State: filepath.Join(dir, "state"), Drives: drives, Mail: mail, Sites: sites, Tenants: tenants, Population: cfg.population, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	control, err := simtenant.NewControl(svc)
	if err != nil {
		svc.Close()
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(control)
	if cfg.secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.Close()
		if err := svc.Close(); err != nil {
			t.Error(err)
		}
	})
	first := tenants[0]
	tenant := &Tenant{
		URL: srv.URL, Graph: srv.URL + "/v1.0", ID: string(first.ID), Domain: first.Domain,
		ClientID: first.Apps[0].AppID, ClientSecret: first.Apps[0].Secret, t: t, drives: drives, mail: mail, sites: sites, control: control,
	}
	for _, u := range first.Users {
		tenant.Users = append(tenant.Users, u.UserPrincipalName)
	}
	tenant.client = srv.Client
	return tenant
}

// Token returns an access token of the application for itself.
func (x *Tenant) Token() string {
	x.t.Helper()
	token, err := x.signIn()
	if err != nil {
		x.t.Fatal(err)
	}
	return token
}

func (x *Tenant) signIn() (string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now := x.control.Now(); x.token != "" && now.Before(x.until) && now.After(x.until.Add(-time.Hour)) {
		return x.token, nil
	}
	resp, err := x.client().PostForm(x.URL+"/"+x.ID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {x.ClientID}, "client_secret": {x.ClientSecret},
	})
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	if err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("ask for a token: %s %s", resp.Status, data)
	}
	x.token, x.until = answer.AccessToken, x.control.Now().Add(time.Duration(answer.ExpiresIn)*time.Second-time.Minute)
	return x.token, nil
}

// Client returns a client that signs what it asks of Graph as the application,
// and leaves pre-authenticated URLs alone.
func (x *Tenant) Client() *http.Client {
	return &http.Client{Transport: signed{x, x.client().Transport}}
}

type signed struct {
	tenant *Tenant
	next   http.RoundTripper
}

func (s signed) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.String(), s.tenant.URL+"/") || r.URL.Query().Has("tempauth") {
		return s.next.RoundTrip(r)
	}
	token, err := s.tenant.signIn()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return s.next.RoundTrip(r)
}

// Folder returns the folder that a user's drive is. Whatever a test does there
// happens in the drive.
func (x *Tenant) Folder(user string) string { return filepath.Join(x.drives, user) }

// Site is the folder of the team site at /sites/{name}, which is there as soon as
// the folder is; that of the name root is at the top of the host.
func (x *Tenant) Site(name string) string { return filepath.Join(x.sites, name) }

// Mailbox returns the folder that is a user's mailbox, in which any program may put
// mail: Inbox/hello.eml.
func (x *Tenant) Mailbox(user string) string { return filepath.Join(x.mail, user) }

// SentMail is a message that an application sent.
type SentMail = simtenant.SentMail

// Sent returns what mail and invitations were sent, oldest first. None leaves the
// tenant.
func (x *Tenant) Sent() []SentMail { return x.control.Mail() }

// Write puts a file into a user's drive, making the folders on the way.
func (x *Tenant) Write(user, path string, content []byte) {
	x.t.Helper()
	path = filepath.Join(x.Folder(user), filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		x.t.Fatal(err)
	}
}

// Read returns a file of a user's drive.
func (x *Tenant) Read(user, path string) []byte {
	x.t.Helper()
	data, err := os.ReadFile(filepath.Join(x.Folder(user), filepath.FromSlash(path)))
	if err != nil {
		x.t.Fatal(err)
	}
	return data
}

// A Fault answers requests in place of the tenant, or spoils its answer.
type Fault = simtenant.FaultRule

// Habits are those of the real service that clients must survive.
type Habits = simtenant.Options

// Fault has one thing go wrong, after those that do already.
func (x *Tenant) Fault(f Fault) {
	x.t.Helper()
	x.trouble(simtenant.Trouble{Faults: []Fault{f}})
}

// Play has a profile play, by its name in docs/tenant.md. One that hits single
// items hits those whose names victim matches, as *.txt does; empty is all.
func (x *Tenant) Play(profile, victim string) {
	x.t.Helper()
	if profile == "" {
		x.t.Fatal("holdfasttest: name a profile; Profiles lists them")
	}
	x.trouble(simtenant.Trouble{Profile: profile, Victim: victim})
}

// Habits has the service have these habits, and no others.
func (x *Tenant) Habits(h Habits) {
	x.t.Helper()
	x.trouble(simtenant.Trouble{Options: &h})
}

func (x *Tenant) trouble(t simtenant.Trouble) {
	x.t.Helper()
	if err := x.control.Make(t); err != nil {
		x.t.Fatal(err)
	}
}

// Calm ends all that goes wrong. It returns how many exchanges the profile
// spoiled that played.
func (x *Tenant) Calm() int { return x.control.Calm() }

// Profiles returns the names that Play takes.
func Profiles() []string {
	var names []string
	for _, p := range simtenant.AllProfiles() {
		names = append(names, p.Name)
	}
	return names
}

// Now returns the time that the tenant has.
func (x *Tenant) Now() time.Time { return x.control.Now() }

// Advance moves the tenant's clock. Tokens, upload sessions and URLs expire by
// it.
func (x *Tenant) Advance(d time.Duration) { x.control.Advance(d) }

// Churn changes n things in a tenant that is made up from a seed, as people do:
// always the same after the same.
func (x *Tenant) Churn(n int) {
	x.t.Helper()
	if err := x.control.Churn(n); err != nil {
		x.t.Fatal(err)
	}
}

// Save puts the tenant's state away under a name: files, ids, delta tokens and
// clock.
func (x *Tenant) Save(name string) {
	x.t.Helper()
	if err := x.control.Save(name); err != nil {
		x.t.Fatal(err)
	}
}

// Load puts a saved state back.
func (x *Tenant) Load(name string) {
	x.t.Helper()
	if err := x.control.Load(name); err != nil {
		x.t.Fatal(err)
	}
}

// Reset puts the state back that was saved or loaded last, at first that of the
// empty drives; it ends all that goes wrong and empties the request log.
func (x *Tenant) Reset() {
	x.t.Helper()
	if err := x.control.Reset(); err != nil {
		x.t.Fatal(err)
	}
}

// A Request is one that was asked of the tenant.
type Request = simtenant.Request

// Requests returns what was asked of the tenant, oldest first.
func (x *Tenant) Requests() []Request { return x.control.Requests() }
