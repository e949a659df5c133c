package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/internal/alert"
	"holdfast/internal/audit"
	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/catalog"
	"holdfast/internal/console"
	"holdfast/internal/database"
	"holdfast/internal/engine"
	"holdfast/internal/graphapi"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// A server is one running Holdfast: the API, the workers, and what they work
// on. The commands differ in how they come by its Config and in what else they
// serve beside it.
type server struct {
	cfg           Config
	log           *slog.Logger
	lock          *flock.Flock // of the SQLite file; nil with PostgreSQL
	db            *database.DB
	queue         *jobs.Queue
	catalog       *catalog.Catalog
	api           http.Handler
	console       *console.Console // nil for none
	notifications http.Handler
	vaults        *vaults
	roster        atomic.Pointer[roster]
	reading       reading
	adopted       atomic.Pointer[Config]      // the configuration that was read again last; nil for none
	runner        atomic.Pointer[jobs.Runner] // nil while there is none
	outlook       outlook
	engine        *engine.Engine
	alerter       *alert.Alerter // nil for none
	shipper       *audit.Shipper // nil for none
	metrics       http.Handler   // Prometheus's text
	presence      presence
	figures       *figures

	secrets struct { // when those of applications end
		sync.Mutex
		of map[backup.TenantID]secretEnd
	}

	retention struct { // of this process, where it is not the one in force
		sync.Mutex
		at    time.Time // when that was looked at
		wrong []backup.TenantID
	}

	listeners sync.WaitGroup
	https     []*http.Server
	stop      context.CancelFunc               // the workers
	turned    atomic.Pointer[func() time.Time] // when they last looked at their jobs; nil if there are none
	kinds     []jobs.Kind                      // of which jobs must not wait for long
	dirs      map[string]string                // besides those of vaults that must be writable, by what is kept there
	hush      hush
	opening   struct { // tenants whose vaults were seen to be opening, at each look for alerts since then
		sync.Mutex
		since map[backup.TenantID]time.Time
	}
	stopped chan struct{} // closed when they have; never where there are none
}

// openServer opens everything that cfg names. Nothing runs and nothing is
// served until start and serve. A tenant whose vault cannot be opened is named
// in the log, and served as far as that goes without one.
func openServer(ctx context.Context, cfg Config, log *slog.Logger) (_ *server, err error) {
	s := &server{cfg: cfg, log: log, dirs: map[string]string{}, stopped: make(chan struct{}), reading: reading{look: make(chan struct{}, 1), seen: seenIn(cfg.TenantsDir)}, outlook: outlook{log: log}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	url, err := cfg.databaseURL()
	if err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("make the database's folder: %w", err)
		}
		s.dirs["database"] = filepath.Dir(path)
		if s.lock, err = hold(path+".lock", "another holdfast is running on "+path+"; stop it, or give both a PostgreSQL database"); err != nil {
			return nil, err
		}
		s.cfg.Alone = true
	}
	if s.db, err = database.Open(ctx, url); err != nil {
		return nil, err
	}
	s.figures = newFigures(s)
	s.db.Timed(func(took time.Duration) { s.figures.transactions.Observe(took.Seconds()) })
	if err := s.appear(ctx); err != nil {
		return nil, err
	}
	s.queue = jobs.New(s.db, time.Now)
	s.catalog = catalog.New(s.db, s.queue, catalog.Config{
		Clock: time.Now, MaxActivePolicies: cfg.MaxActivePolicies,
		ServiceStatus: cfg.ServiceStatus, OffboardGrace: time.Duration(cfg.OffboardGrace),
		Approval: func(t backup.TenantID) backup.ApprovalRule { return s.tenant(t).Approval.rule() },
	})

	if err := s.catalog.SetRetention(cfg.Retention); err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}

	for _, t := range cfg.Tenants {
		if err := s.catalog.AdoptRetention(ctx, backup.TenantID(t.ID)); err != nil {
			return nil, err
		}
		if err := s.catalog.KeepApprovalRule(ctx, backup.TenantID(t.ID), t.Approval.rule()); err != nil {
			return nil, err
		}
	}
	s.roster.Store(s.newRoster(cfg))
	s.vaults = newVaults(s.tenantIDs(), s.vaultDir, log, func(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
		now := cfg
		now.Tenants = s.tenants()
		return openVault(ctx, s.catalog, name, func(name backup.VaultName) (vault.Config, error) {
			where, err := now.vaultOf(name, log)
			where.Wrote = s.figures.wroteOf(name.Tenant)
			return where, err
		}, true)
	})
	s.vaults.known, s.vaults.further, s.vaults.there = s.catalog.VaultID, s.catalog.FurtherVaults, (*vault.Vault).There
	s.vaults.probe, s.vaults.holding = (*vault.Vault).Probe, (*vault.Vault).Holding
	s.vaults.openAll(ctx)
	key, err := cfg.pageTokenKey()
	if err != nil {
		return nil, err
	}
	var notify engine.Notifications
	if n := cfg.Notifications; n != nil {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("change notifications"))
		notify = engine.Notifications{URL: n.URL, Key: mac.Sum(nil)}
	}
	s.engine = engine.New(engine.Config{
		Catalog: s.catalog, DB: s.db, Queue: s.queue, Tenants: s.tenantIDs, Clock: time.Now, Log: log,
		Sources: s.source,
		Vaults:  s.vaults.get,
		MIME:    func(t backup.TenantID) bool { of := s.tenant(t).MIME; return of == nil || *of },

		Groups:      func(t backup.TenantID) []backup.ObjectID { return groupsOf(s.tenant(t).TenantConfig) },
		Permissions: func(t backup.TenantID) bool { return s.tenant(t).Permissions },
		Versions:    func(t backup.TenantID) int { return s.tenant(t).Versions },
		VaultDrives: cfg.Vault.Drives,
		Interval:    time.Duration(cfg.Interval), RPO: time.Duration(cfg.RPO), RuleInterval: time.Duration(cfg.RuleInterval), Workers: cfg.Workers, Notify: notify,
	})
	s.kinds = slices.Sorted(maps.Keys(s.engine.Work()))
	if cfg.State != "" && cfg.Role != RoleAPI { // during a backup it holds what does not fit into memory
		if err := os.MkdirAll(cfg.State, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of state: %w", err)
		}
		s.dirs["state"] = cfg.State
	}
	s.notifications = s.engine.ServeNotifications()
	if cfg.Alerts != nil {
		s.alerter = cfg.alerter(s.catalog, s.db, s.queue, log)
		s.alerter.Tenants = s.tenantIDs
		s.alerter.Names = func(t backup.TenantID) string { return s.tenant(t).DisplayName }
		s.alerter.Vault = s.vaultAlarm
		s.alerter.Source = s.outlook.source
		s.alerter.Ends = s.ends
		s.alerter.Kinds = s.kinds
	}

	if cfg.Audit != nil {
		s.shipper = cfg.shipper(s.catalog, s.db, s.queue, log)
		s.shipper.Tenants = s.tenantIDs
		if s.alerter != nil {
			s.alerter.Audit = s.auditWaits
		}
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(s.engine.Collectors()...)
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "holdfast_database_statements_total", Help: "Statements sent to the database.",
	}, func() float64 { return float64(s.db.Statements()) }))
	registry.MustRegister(budgets{s.catalog, s.serves}, outlets{s}, s.figures)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}) // what needs no database is told without one

	s.api, err = graphapi.New(graphapi.Config{
		Catalog:          s.catalog,
		Workloads:        cfg.Workloads,
		Browser:          s.engine,
		BrowseRole:       cfg.browseRole(),
		Verifier:         s,
		Tenants:          s.serves,
		PageKey:          key,
		Clock:            time.Now,
		Log:              log,
		BaseURL:          cfg.PublicURL,
		TrustedProxies:   cfg.TrustedProxies,
		AuthorizationURI: cfg.Tenants[0].Authority + "/common/oauth2/v2.0/authorize",
		Resource:         cfg.resource(),
		RequestsPer10s:   cfg.RequestsPer10s,
		Vault:            s.vaultTrouble,
		Source:           s.outlook.source,
		Configuration:    s.reading.problem,
		Versions:         s.versions,
		TenantName:       func(t backup.TenantID) string { return s.tenant(t).DisplayName },
		Scope: func(t backup.TenantID, name string) catalog.Scope {
			one := s.tenant(t).Scopes[name]
			return catalog.Scope{Policies: one.Policies, Groups: one.Groups, Owners: one.Owners}
		},
	})
	if err != nil {
		return nil, err
	}
	if cfg.Console != nil {
		s.console, err = console.New(console.Config{
			API: s.api, Sessions: s.catalog, PublicURL: cfg.PublicURL, Log: log,
			SignIn: cfg.signIn(),
		})
	}
	return s, err
}

// signIn is how people sign in to the web pages.
func (c *Config) signIn() console.SignIn {
	in := c.Console
	return console.SignIn{Authority: in.Authority, Tenant: in.Tenant, ClientID: in.ClientID, ClientSecret: in.Secret, Scope: in.Scope, Here: in.Here,
		Graph: c.Tenants[0].Graph, GraphScope: graphScope(c.Tenants[0].Graph)}
}

// groupsOf are the groups that a tenant's scopes name.
func groupsOf(t TenantConfig) (groups []backup.ObjectID) {
	for _, scope := range t.Scopes {
		groups = append(groups, scope.Groups...)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// vaultTrouble says why a tenant's vault cannot be used, "" if it can.
func (s *server) vaultTrouble(ctx context.Context, t backup.TenantID) string {
	if err := s.vaults.trouble(ctx, t); err != nil {
		return engine.VaultProblem(err).Message
	}
	return ""
}

// openingTime is how long a vault may take to open until people are told: those of many
// tenants open one after another, and that of a new tenant is made at first.
const openingTime = 4 * time.Minute

// vaultAlarm is vaultTrouble for alerts: that a vault is only being opened is none yet.
func (s *server) vaultAlarm(ctx context.Context, t backup.TenantID) string {
	err := s.vaults.trouble(ctx, t)
	s.opening.Lock()
	defer s.opening.Unlock()
	if !errors.Is(err, errOpening) {
		delete(s.opening.since, t)
	} else if since, seen := s.opening.since[t]; !seen || time.Since(since) < openingTime {
		if s.opening.since == nil {
			s.opening.since = map[backup.TenantID]time.Time{}
		}
		if !seen {
			s.opening.since[t] = time.Now()
		}
		return ""
	}
	if err == nil {
		return ""
	}
	return engine.VaultProblem(err).Message
}

// graphScope is what a token for a Graph is asked for: all that was granted on
// it. A Graph of this machine stands for Microsoft's, and takes the same tokens.
func graphScope(graph string) string {
	u, err := url.Parse(graph)
	if err != nil || loopback(u.Hostname()) {
		return "https://graph.microsoft.com/.default"
	}
	return "https://" + u.Host + "/.default"
}

// limits returns how much may be asked of a tenant's source. Nobody but Microsoft
// is taken to have Microsoft's limits.
func (s *server) limits(tenant backup.TenantID) func(context.Context) (budget.Limits, error) {
	return func(ctx context.Context) (budget.Limits, error) {
		t := s.tenant(tenant)
		u, err := url.Parse(t.Graph)
		switch {
		case t.UnitsPerMinute > 0:
			l := budget.PerMinute(t.UnitsPerMinute)
			l.Fixed = true
			return l, nil
		case t.Licences > 0:
			return budget.ForLicences(t.Licences), nil
		case err == nil && loopback(u.Hostname()):
			return budget.Limits{}, nil
		}
		// Each drive that could be backed up has a licence; there may be more.
		n, err := s.catalog.ProtectedUnits(ctx, tenant, budget.MostLicences)
		return budget.ForLicences(n), err
	}
}

// known returns what m has for a tenant. A tenant that was taken out of the
// configuration keeps its rows and its jobs, which wait until it is back.
func known[T any](m map[backup.TenantID]T, t backup.TenantID) (T, error) {
	v, ok := m[t]
	if !ok {
		return v, notOurs(t)
	}
	return v, nil
}

func notOurs(t backup.TenantID) error {
	return fmt.Errorf("tenant %s is not in the configuration of this server: %w", t, jobs.ErrRests)
}

// vaultDir returns the folder of a tenant's vault, "" of one in a bucket or container.
func (s *server) vaultDir(name backup.VaultName) string {
	if s.cfg.Vault.Dir == "" {
		return ""
	}
	return filepath.Join(s.cfg.Vault.Dir, name.String())
}

// resource is the application that callers get tokens for, "" for Microsoft Graph.
func (c *Config) resource() string {
	if c.API == nil {
		return ""
	}
	return c.API.ClientID
}

// browseRole returns the directory role that users need to browse backups, or
// "" for none.
func (c *Config) browseRole() string {
	if c.AnyUserBrowses {
		return ""
	}
	return identity.SharePointBackupAdministrator
}

// pageTokenKey returns the key that seals page tokens.
func (c *Config) pageTokenKey() ([]byte, error) {
	file := c.PageTokenKeyFile
	if file == "" && c.PageTokenKeyEnv == "" {
		file = filepath.Join(c.State, "page-token-key")
		if err := keyFile(file); err != nil {
			return nil, fmt.Errorf("make a key for page tokens: %w", err)
		}
	}
	text, err := readSecret(file, c.PageTokenKeyEnv)
	if err != nil {
		return nil, fmt.Errorf("the key for page tokens %w", err)
	}
	key := sha256.Sum256([]byte(text)) // whatever its length was
	return key[:], nil
}

// start sets the workers to work, if that is this process's part.
func (s *server) start(ctx context.Context) error {
	work := map[jobs.Kind]jobs.Work{}
	if s.alerter != nil {
		// In any role: a process that answers requests tells that no worker is there.
		maps.Copy(work, s.alerter.Work())
		if err := s.alerter.Start(ctx); err != nil {
			return err
		}
	}
	if s.shipper != nil {
		maps.Copy(work, s.shipper.Work())
	}
	if s.cfg.Role == RoleAPI {
		s.run(ctx, work)
		return nil
	}
	if s.cfg.Alone {
		// What it was doing when it was killed need not wait until leases lapse.
		if err := s.queue.Reclaim(ctx); err != nil {
			return err
		}
	}
	if err := s.engine.Start(ctx); err != nil {
		return err
	}
	maps.Copy(work, s.engine.Work())
	s.run(ctx, work)
	return nil
}

// run does work, if there is any, until close.
func (s *server) run(ctx context.Context, work map[jobs.Kind]jobs.Work) {
	if len(work) == 0 {
		return
	}
	runner := jobs.NewRunner(jobs.RunnerConfig{
		Queue: s.queue, Work: work, Tenants: s.tenantIDs(), Ended: s.figures.ended, Name: processName(), Log: s.log,
	})
	s.runner.Store(runner)
	turned := runner.Turned
	s.turned.Store(&turned)
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	var looking sync.WaitGroup
	looking.Go(func() {
		select {
		case <-s.presence.aside:
			s.stop()
		case <-ctx.Done():
		}
	})
	if s.cfg.Role != RoleAPI {
		looking.Go(func() { s.vaults.watch(ctx) })
	}
	if s.shipper != nil {
		looking.Go(func() { s.shipper.Run(ctx) })
	}
	go func() {
		defer close(s.stopped)
		defer looking.Wait()
		if err := runner.Run(patient(ctx)); err != nil {
			s.log.Error("the workers ended", "err", err)
		}
	}()
}

// serve answers the requests that come to l, until close. With a TLS
// configuration it speaks HTTPS.
func (s *server) serve(l net.Listener, secure *tls.Config, handler http.Handler) {
	h := &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // of clients that break off
	}
	s.https = append(s.https, h)
	s.listeners.Go(func() {
		err := error(nil)
		if secure != nil {
			err = h.ServeTLS(l, "", "")
		} else {
			err = h.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("a listener ended", "address", l.Addr(), "err", err)
		}
	})
}

// handler is the API with the probes and the web pages beside it; rest, if there is one, is given
// every request that is neither's.
func (s *server) handler(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.presence.draining.Load() {
			w.Header().Set("Connection", "close") // the next request goes to another process
		}
		switch {
		case r.URL.Path == "/healthz":
			fmt.Fprintln(w, "ok")
		case r.URL.Path == "/readyz":
			s.ready(w, r)
		case r.URL.Path == "/metrics":
			s.metrics.ServeHTTP(w, r)
		case s.cfg.Role == RoleWorker:
			http.Error(w, "this process is a worker: the API is served by others", http.StatusNotFound)
		case r.URL.Path == tenantsPath || strings.HasPrefix(r.URL.Path, tenantsPath+"/"):
			s.serveTenants(w, r)
		case s.cfg.Notifications != nil && strings.HasPrefix(r.URL.Path, engine.NotifyPath):
			s.notifications.ServeHTTP(w, r)
		case s.console != nil && console.Serves(r.URL.Path):
			s.console.ServeHTTP(w, r)
		case rest != nil && !isAPI(r.URL.Path):
			rest.ServeHTTP(w, r)
		default:
			s.api.ServeHTTP(w, r)
		}
	})
}

// ready answers whether this process can serve and work: the database answers,
// the workers run, and some tenant's vault can be used. Tenants whose vaults
// cannot be are named either way, with the reason: one of many is no cause to
// take a server from behind its balancer.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	var wrong, tenants []string
	served := s.tenants()
	if why := s.presence.leaving(); why != "" {
		wrong = append(wrong, why)
	}
	if err := s.db.Read().PingContext(ctx); err != nil {
		wrong = append(wrong, "the database does not answer")
		if s.hush.tell("database") {
			s.log.Warn("not ready: the database does not answer", "err", err)
		}
	} else {
		s.hush.over("database")
	}
	select {
	case <-s.stopped:
		wrong = append(wrong, "the workers do not run")
	default:
		turned := s.turned.Load() // requests come before the workers are there
		if turned == nil {
			break
		}
		if at := (*turned)(); !at.IsZero() && time.Since(at) > standstill {
			wrong = append(wrong, fmt.Sprintf("the workers have stood still since %s: none of their jobs could be taken or noted as done", clock(at)))
		}
	}
	for _, of := range slices.Sorted(maps.Keys(s.dirs)) {
		dir := s.dirs[of] // whose name is nobody's business here
		err := soon(ctx, func() error { return writable(dir) })
		if err == nil {
			s.hush.over(of)
		} else {
			text := err.Error()
			for _, kind := range []error{errFull, errUnwritable} {
				if errors.Is(err, kind) {
					text = kind.Error()
				}
			}
			wrong = append(wrong, "the "+of+" of this server cannot be kept: "+text)
			if s.hush.tell(of) {
				s.log.Warn("not ready: the "+of+" of this server cannot be kept", "err", err)
			}
		}
	}
	var ids []backup.TenantID
	for _, t := range served {
		ids = append(ids, backup.TenantID(t.ID))
	}
	if waiting, err := s.catalog.JobsWaiting(ctx, ids, s.kinds, time.Now().Add(-s.waiting())); err == nil { // or the database does not answer
		for t, all := range waiting {
			for _, w := range all {
				tenants = append(tenants, fmt.Sprintf("tenant %s waits: jobs of the kind %s are due since %s, and nobody does them", t, w.Name, clock(w.Since)))
			}
		}
	}
	unusable := s.vaults.unusable(ctx)
	for t, err := range unusable {
		tenants = append(tenants, fmt.Sprintf("tenant %s is unavailable: %s", t, reason(err)))
	}
	slices.Sort(tenants)
	if len(unusable) == len(served) {
		wrong = append(wrong, "no tenant's vault can be used")
	}
	tenants = append(tenants, s.outlook.lines()...)
	if problem := s.reading.problem(); problem != "" {
		tenants = append(tenants, problem)
	}
	for _, t := range s.disagreeing(ctx) {
		tenants = append(tenants, fmt.Sprintf("tenant %s keeps what has expired: the retention in this server's configuration is not the one that is in force; 'holdfast status' says in what", t))
	}
	outlets, _ := s.outletsOf(ctx, ids...) // without an answer: what is said of the database says it
	for _, t := range served {
		for _, o := range audit.Standing(outlets[backup.TenantID(t.ID)], time.Now(), auditLong) {
			tenants = append(tenants, fmt.Sprintf("tenant %s: the audit log is not taken by %q since %s: %s", t.ID, o.Name, clock(o.Since), o.Text))
		}
	}
	if len(wrong) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	} else {
		wrong = append(wrong, "ready")
	}
	for _, line := range append(wrong, tenants...) {
		fmt.Fprintln(w, line)
	}
}

// standstill is for how long workers may not have looked at their jobs.
const standstill = time.Minute

// waiting is for how long jobs may be due.
func (s *server) waiting() time.Duration {
	if a := s.following().Alerts; a != nil && a.Waiting > 0 {
		return time.Duration(a.Waiting)
	}
	return 30 * time.Minute
}

// soon is what look returns, or that it does not while ctx lasts: a volume may hang.
func soon(ctx context.Context, look func() error) error {
	done := make(chan error, 1)
	go func() { done <- look() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("a folder of this server does not answer")
	}
}

// disagreeing returns the tenants whose retention is another than the configuration
// of this process says, as of a minute ago, or as of the last time that it could be
// told.
func (s *server) disagreeing(ctx context.Context) []backup.TenantID {
	s.retention.Lock()
	defer s.retention.Unlock()
	now := time.Now()
	if now.Sub(s.retention.at) < time.Minute {
		return s.retention.wrong
	}
	var wrong []backup.TenantID
	for _, t := range s.tenants() {
		why, err := s.catalog.RetentionDisagreement(ctx, backup.TenantID(t.ID))
		if err != nil {
			return s.retention.wrong
		}
		if why != "" {
			wrong = append(wrong, backup.TenantID(t.ID))
		}
	}
	s.retention.at, s.retention.wrong = now, wrong
	return wrong
}

// How long shutting down may take, in parts.
const (
	answerTime = 5 * time.Second // for requests under way
	closeTime  = 3 * time.Second // for what lies below them
)

// close stops the workers, lets requests under way finish, and closes
// everything. Work that was cut off goes on at the next start.
func (s *server) close() error {
	if s.stop != nil {
		s.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	var errs []error
	if s.stop != nil {
		select {
		case <-s.stopped: // before the listeners, which workers may be calling
		case <-ctx.Done():
			s.log.Warn("workers did not stop in time; their work goes on after the next start")
		}
	}
	for _, h := range s.https {
		if err := h.Shutdown(ctx); err != nil {
			errs = append(errs, h.Close())
		}
	}
	s.listeners.Wait()

	ctx, cancel = context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if s.vaults != nil {
		errs = append(errs, s.vaults.close(ctx))
	}
	if s.presence.stop != nil {
		s.presence.stop()
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// listen opens address.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		advice := ""
		switch {
		case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.Errno(10048)): // the latter on Windows
			advice = "; is another server running there?"
		case errors.Is(err, syscall.EACCES):
			advice = "; this user may not, as for most ports below 1024: choose another"
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			advice = "; this machine has no such address"
		}
		return nil, fmt.Errorf("cannot listen on %s: %w%s", address, err, advice)
	}
	return l, nil
}

// origin is how clients on this machine call a listener.
func origin(scheme string, l net.Listener) string {
	host, port, _ := net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
