package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/client"
	"holdfast/internal/drive"
	"holdfast/internal/identity"
	"holdfast/internal/simtenant"
)

// devOptions are the flags of dev.
type devOptions struct {
	listen    string
	tlsListen string
	data      string
	tenant    string // path of a tenant file; empty for the built-in tenant
	drives    string // empty for the folder drives in data
	interval  time.Duration
	rules     time.Duration // how often dynamic rules are evaluated; 0 for the default
	database  string        // empty for SQLite in data
	sample    bool
	files     bool     // a site and mail are put into empty folders of the built-in tenant
	workloads []string // those that are protected
	approval  bool     // another person has to approve what may have to be approved
	perVault  int      // drives in a vault; 0 for the default
}

// allWorkloads are the names of all that can be protected.
var allWorkloads = []string{string(backup.OneDrive), string(backup.SharePoint), string(backup.Exchange)}

// newDev is the command that runs everything in one process.
func newDev() *cobra.Command {
	var o devOptions
	var logs logOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the server beside a simulated tenant of real files",
		Long: `Dev runs, in one process and on one origin, the Backup Storage API, the
workers, and a simulated Microsoft 365 tenant in which every user's OneDrive is
a folder of real files. It needs nothing but a folder to keep its data in.

It is for development: anyone who can reach the address can get a token.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.files = o.sample
			return runDev(cmd.Context(), o, cmd.OutOrStdout(), logs.open(cmd.ErrOrStderr()))
		},
	}
	logs.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8365", "address of everything, in plain HTTP")
	f.StringVar(&o.tlsListen, "tls-listen", "", "address of everything in HTTPS as well, with a certificate of a local authority")
	f.StringVar(&o.data, "data", "", "folder for catalog, vault and keys (default $XDG_STATE_HOME/holdfast or ~/.local/state/holdfast)")
	f.StringVar(&o.tenant, "tenant", "", "JSON file of tenants (default a built-in sample, Contoso)")
	f.StringVar(&o.drives, "drives", "", "folder of the users' drives, one folder each, named by userPrincipalName (default DATA/drives)")
	f.DurationVar(&o.interval, "interval", defaultInterval, "how often a protected drive is backed up")
	f.DurationVar(&o.rules, "rule-interval", defaultRules, "how often a dynamic inclusion rule is evaluated")
	f.StringSliceVar(&o.workloads, "workloads", allWorkloads, "what is protected")
	f.StringVar(&o.database, "database", "", "postgres:// URL of the catalog's database (default SQLite in DATA)")
	f.BoolVar(&o.approval, "approval", false, "have restores in place, and what makes backups go earlier, wait for another person's approval")
	f.BoolVar(&o.sample, "sample", true, "put Microsoft's two example policies, a site and mail into an empty built-in tenant")
	return cmd
}

// runDev serves until ctx ends.
func runDev(ctx context.Context, o devOptions, out io.Writer, log *slog.Logger) error {
	stop, err := startTraces(ctx, log)
	if err != nil {
		return err
	}
	defer stop()
	d, err := startDev(ctx, o, log)
	switch {
	case err != nil && ctx.Err() != nil:
		log.Info("stopped before it had started")
		return nil
	case err != nil:
		return err
	}
	d.print(ctx, out)
	<-ctx.Done()
	log.Info("stopping")
	err = d.close()
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// A devServer is a server with a simulated tenant beside it.
type devServer struct {
	*server
	data    *dataDir
	sim     *simtenant.Service
	tenants []simtenant.Tenant // those that people see
	ca      *localCA           // nil without HTTPS
	origin  string             // of plain HTTP
	secure  string             // of HTTPS; empty without
	drives  string
	names   map[string]bool // the origins by which this server is known
}

// startDev opens the data folder, opens the listeners, and sets everything to
// work. The caller closes it.
func startDev(ctx context.Context, o devOptions, log *slog.Logger) (_ *devServer, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d := &devServer{drives: o.drives, names: map[string]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.data, err = openData(o.data); err != nil {
		return nil, err
	}
	if d.drives == "" {
		d.drives = d.data.path("drives")
	}
	if d.tenants, err = readTenants(o.tenant); err != nil {
		return nil, err
	}

	if o.files && o.tenant == "" {
		if err := d.sampleFiles(); err != nil {
			return nil, fmt.Errorf("make the sample site and mailbox: %w", err)
		}
	}

	// The listeners come first: what follows is told their addresses.
	plain, err := listen(o.listen)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			plain.Close()
		}
	}()
	d.origin = origin("http", plain)
	d.know("http", plain, o.listen)
	if host, _, _ := net.SplitHostPort(plain.Addr().String()); !loopback(host) {
		log.Warn("this address is open to others, in plain HTTP, and gives a token to anyone who asks; keep it to a network that you trust", "address", plain.Addr())
	}
	var tls net.Listener
	if o.tlsListen != "" {
		if tls, err = listen(o.tlsListen); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				tls.Close()
			}
		}()
		d.secure = origin("https", tls)
		d.know("https", tls, o.tlsListen)
		host, _, _ := net.SplitHostPort(o.tlsListen)
		if d.ca, err = openLocalCA(d.data.path("tls"), time.Now(), host); err != nil {
			return nil, err
		}
	}

	cfg, err := d.config(o)
	if err != nil {
		return nil, err
	}
	if d.sim, err = d.simulate(&cfg, log); err != nil {
		return nil, err
	}
	for i := range cfg.Tenants {
		if o.approval {
			cfg.Tenants[i].Approval = &ApprovalConfig{RestoreInPlace: true, Retention: true}
		}
	}
	if d.server, err = openServer(ctx, cfg, log); err != nil {
		return nil, err
	}
	if o.sample && o.tenant == "" {
		if err := d.seed(ctx); err != nil {
			return nil, fmt.Errorf("put in the sample policies: %w", err)
		}
	}
	handler := wholeBatches(d.handler(d.asKnown(d.sim.Handler())))
	d.serve(plain, nil, onlyHere(plain, handler))
	if tls != nil {
		d.serve(tls, d.ca.config(), onlyHere(tls, handler))
	}
	return d, d.start(ctx)
}

// workloadsOf are the workloads of these names; nil of none.
func workloadsOf(names []string) (all []backup.Workload) {
	for _, name := range names {
		all = append(all, backup.Workload(name))
	}
	return all
}

// complete fills in what was left out, and says what is wrong.
func (o *devOptions) complete() error {
	var wrong []error
	check := func(flag, address string) {
		if err := checkAddress(address); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", flag, err))
		}
	}
	check("--listen", o.listen)
	if o.tlsListen != "" {
		check("--tls-listen", o.tlsListen)
	}
	if o.interval < time.Second {
		wrong = append(wrong, fmt.Errorf("--interval: %v is too short, give at least 1s", o.interval))
	}
	if w := notProtected(workloadsOf(o.workloads)); w != "" {
		wrong = append(wrong, fmt.Errorf("--workloads: %q is not protected by this server: give oneDriveForBusiness, sharePoint or exchange, one or more of them", w))
	}
	if o.rules != 0 && o.rules < time.Second {
		wrong = append(wrong, fmt.Errorf("--rule-interval: %v is too short, give at least 1s", o.rules))
	}
	if u, err := url.Parse(o.database); o.database != "" && (err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql") {
		wrong = append(wrong, errors.New("--database: give a postgres:// URL, or leave it out for SQLite in the data folder"))
	}
	if o.data == "" {
		var err error
		if o.data, err = defaultData(); err != nil {
			wrong = append(wrong, err)
		}
	}
	if o.drives != "" {
		var err error
		if o.drives, err = filepath.Abs(o.drives); err != nil {
			wrong = append(wrong, err)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return usageError{err}
	}
	return nil
}

// readTenants reads a tenant file, or returns the built-in tenant.
func readTenants(path string) ([]simtenant.Tenant, error) {
	if path == "" {
		return simtenant.Sample(), nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitNotFound, "read the tenant file: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the tenant file: %w", err)
	}
	defer f.Close()
	tenants, err := simtenant.ParseTenants(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tenants, nil
}

// sampleFiles makes a site with a library and a list, and mail of one user, where
// there are no sites and no mail yet.
func (d *devServer) sampleFiles() error {
	sites, mail := d.data.path("sites"), d.data.path("mail")
	for _, dir := range []string{sites, mail} {
		if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // nobody's files are touched
		}
	}
	files, team := newCorpus(3), filepath.Join(sites, "marketing")
	return errors.Join(
		files.library(filepath.Join(team, "libraries", "Documents")), files.offers(filepath.Join(team, "lists", "Offers")),
		files.mail(filepath.Join(mail, "amala@contoso.com")))
}

// know records the names under which clients on this machine may call l.
func (d *devServer) know(scheme string, l net.Listener, asked string) {
	host, _, _ := net.SplitHostPort(asked)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, h := range []string{host, "localhost", "127.0.0.1", "::1"} {
		if h != "" {
			d.names[scheme+"://"+strings.ToLower(net.JoinHostPort(h, port))] = true
		}
	}
	d.names[origin(scheme, l)] = true
}

// asKnown has tokens name an issuer that this server trusts. A token's issuer
// is the origin where it was asked for; under a name that is none of ours, a
// container's or a proxy's, it becomes our first.
func (d *devServer) asKnown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if strings.HasSuffix(strings.ToLower(r.URL.Path), tokenPath("")[1:]) && !d.names[scheme+"://"+strings.ToLower(r.Host)] {
			r = r.Clone(r.Context())
			r.Host, r.TLS = strings.TrimPrefix(d.origin, "http://"), nil
		}
		next.ServeHTTP(w, r)
	})
}

// config says to the server what it is to do, but for the tenants' credentials.
func (d *devServer) config(o devOptions) (Config, error) {
	cfg := Config{
		Listen:           o.listen,
		Database:         o.database,
		Vault:            VaultConfig{Place: Place{Dir: d.data.path("vault")}, PasswordFile: d.data.path("keys", "vault-password"), Drives: o.perVault},
		State:            d.data.path("state"),
		PageTokenKeyFile: d.data.path("keys", "page-token-key"),
		Interval:         Duration(o.interval),
		RuleInterval:     Duration(o.rules),
		Audiences:        defaultAudiences,
		Workloads:        workloadsOf(o.workloads),
		Workers:          defaultWorkers,
		MetricsNames:     true,
		AnyUserBrowses:   true, // the simulated tenant has no directory roles
		Alone:            true,
	}
	if cfg.Database == "" {
		cfg.Database = "sqlite:" + d.data.path("catalog.db")
	}
	for _, path := range []string{cfg.Vault.PasswordFile, cfg.PageTokenKeyFile} {
		if err := keyFile(path); err != nil {
			return Config{}, fmt.Errorf("make a key: %w", err)
		}
	}
	names := make([]string, 0, len(d.names))
	for name := range d.names {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, t := range d.tenants {
		for _, name := range names {
			cfg.Issuers = append(cfg.Issuers, IssuerConfig{
				Issuer: name + "/" + string(t.ID) + "/v2.0", JWKS: d.origin + "/" + string(t.ID) + "/discovery/v2.0/keys", Tenant: string(t.ID),
			})
		}
	}
	return cfg, nil
}

// simulate opens the simulated tenants, and tells cfg how to reach each: over
// HTTP, with an application of the server's own that lives as long as it.
func (d *devServer) simulate(cfg *Config, log *slog.Logger) (*simtenant.Service, error) {
	tenants := slices.Clone(d.tenants)
	for i, t := range tenants {
		app := simtenant.App{
			AppID: backup.NewID[string](), Secret: rand.Text(), DisplayName: "Holdfast",
			Roles: []string{"Files.ReadWrite.All", "Sites.Manage.All", "User.Read.All", "GroupMember.Read.All",
				"MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.Read"},
		}
		tenants[i].Apps = append(slices.Clone(t.Apps), app)
		cfg.Tenants = append(cfg.Tenants, TenantConfig{
			ID: string(t.ID), DisplayName: t.DisplayName, Graph: d.origin + "/v1.0", Authority: d.origin,
			ClientID: app.AppID, Credential: drive.Secret(app.Secret),
		})
	}
	app := d.consoleApp(cfg)
	for i := range tenants {
		tenants[i].Apps = append(tenants[i].Apps, app)
	}
	return simtenant.New(simtenant.Config{State: d.data.path("sim"), Drives: d.drives, Mail: d.data.path("mail"), Sites: d.data.path("sites"), Tenants: tenants, Log: log})
}

// consoleApp is the application that people sign in to the web pages with, each
// as a user of a tenant, whom they pick from a list: of all of them, if there are several.
func (d *devServer) consoleApp(cfg *Config) simtenant.App {
	app := simtenant.App{
		AppID: backup.NewID[string](), Secret: rand.Text(), DisplayName: "Holdfast's console",
		Roles: []string{
			string(identity.ConfigurationWrite), string(identity.ControlWrite), string(identity.RestoreWrite), string(identity.SearchRead),
			"User.Read.All", "GroupMember.Read.All",
		},
	}
	cfg.Console = &ConsoleConfig{
		ClientID: app.AppID, Secret: client.Secret(app.Secret), Tenant: string(d.tenants[0].ID), Authority: d.origin,
		Scope: cfg.Audiences[0] + "/.default", Here: true,
	}
	if len(d.tenants) > 1 {
		cfg.Console.Tenant = "organizations"
	}
	return app
}

// The policies of Microsoft's pages, and the unit that one of them removes.
const (
	bulkPolicy  backup.PolicyID  = "71633878-8321-4950-bfaf-ed285bdd1461"
	patchPolicy backup.PolicyID  = "845457dc-4bb2-4815-bef3-8628ebd1952e"
	patchUnit   backup.UnitID    = "3667e382-71a9-4c07-bef7-bda97e09c0d2"
	patchOwner  backup.SubjectID = "5767e382-71a9-4c07-bef7-bda97e09c0d2"
)

// seed puts what the pages' requests speak of into an empty catalog.
func (d *devServer) seed(ctx context.Context) error {
	t := d.tenants[0]
	by := backup.Stamp{At: time.Now().UTC(), By: backup.IdentitySet{
		Application: backup.Identity{ID: t.Apps[0].AppID, DisplayName: t.Apps[0].DisplayName},
	}}
	return d.catalog.Seed(ctx, t.ID, []catalog.SeedPolicy{
		{ID: bulkPolicy, DisplayName: "OneDrive Policy"},
		{ID: patchPolicy, DisplayName: "OneDrive Policy - Inadvertent data loss", Units: []catalog.SeedUnit{{ID: patchUnit, Subject: patchOwner}}},
	}, by)
}

// close stops everything and lets go of the data folder.
func (d *devServer) close() error {
	var errs []error
	if d.server != nil {
		errs = append(errs, d.server.close())
	}
	if d.sim != nil {
		errs = append(errs, d.sim.Close())
	}
	if d.data != nil {
		errs = append(errs, d.data.close())
	}
	return errors.Join(errs...)
}

// print says where everything is, and what to try.
func (d *devServer) print(ctx context.Context, out io.Writer) {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("Holdfast is running. Stop it with Ctrl-C.\n")
	say("  console      %s/console/", d.origin)
	say("               web pages; sign in with a click on a name")
	say("  API          %s%s", d.origin, client.Root)
	if d.secure != "" {
		say("  HTTPS        %s%s", d.secure, client.Root)
		say("               trusted by programs started with SSL_CERT_FILE=%s", d.ca.root)
	}
	for _, t := range d.tenants {
		say("  tenant       %s  %s, %s", t.ID, t.DisplayName, t.Domain)
		for _, a := range t.Apps[:min(1, len(t.Apps))] {
			say("  application  %s", a.AppID)
			say("  secret       %s", a.Secret)
		}
	}
	say("  drives       %s", d.drives)
	say("               one folder for each user: put files into it, change them, lose them")
	say("  sites        %s", d.data.path("sites"))
	say("               the same for team sites: NAME/libraries/Documents/… and NAME/lists/…")
	say("  mail         %s", d.data.path("mail"))
	say("               the same for mailboxes: .eml files, or a Maildir, in NAME/Inbox/…")

	t := d.tenants[0]
	if len(t.Apps) == 0 {
		say("\nThe tenant file names no application, so nobody can get a token. Add one under \"apps\".")
		return
	}
	say("\nThree lines to try next, as they stand:\n")
	for _, line := range d.firstLines(ctx, t) {
		say("%s\n", line)
	}
	say("The client commands work in a shell with these:\n")
	for _, line := range exportLines(d.origin, t) {
		say("  %s", line)
	}
	say("  holdfast status\n")
	say("Then change and lose files, and see 'A first session' in the README for how to restore them.")
}

// firstLines are three lines for a shell: get a token, add drives to a policy,
// and see to it that they are backed up. Where the sample policy is not there,
// the last two make a policy and list what there is.
func (d *devServer) firstLines(ctx context.Context, t simtenant.Tenant) []string {
	root := d.origin + client.Root
	const auth = `-H "Authorization: Bearer $TOKEN"`
	lines := []string{fmt.Sprintf(`TOKEN=$(curl -s %s -d grant_type=client_credentials -d client_id=%s --data-urlencode client_secret=%s -d scope=https://graph.microsoft.com/.default | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`,
		d.origin+tokenPath(string(t.ID)), t.Apps[0].AppID, shellQuote(t.Apps[0].Secret))}
	if _, err := d.catalog.Policy(ctx, t.ID, bulkPolicy); err == nil {
		return append(lines,
			fmt.Sprintf(`curl -sw '\n' %s/oneDriveForBusinessProtectionPolicies/%s/driveProtectionUnitsBulkAdditionJobs %s -H 'Content-Type: application/json' -d '{"displayName":"drives-I","drives":["amala@contoso.com","conrad@contoso.com","lothar@contoso.com"],"directoryObjectIds":["1fec4e78-bce4-4aaf-ab1b-5451cc387264"]}'`, root, bulkPolicy, auth),
			fmt.Sprintf(`curl -sw '\n' -X POST %s/protectionPolicies/%s/activate %s`, root, bulkPolicy, auth))
	}
	return append(lines,
		fmt.Sprintf(`curl -sw '\n' %s/oneDriveForBusinessProtectionPolicies %s -H 'Content-Type: application/json' -d '{"displayName":"My policy"}'`, root, auth),
		fmt.Sprintf(`curl -sw '\n' %s/protectionPolicies %s`, root, auth))
}

// shellQuote returns s as one word of a shell.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./@:%+=,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// onlyHere refuses what reaches a listener of this machine by the name of another:
// a page of anybody's, whose name was made to lead here, could get tokens else.
func onlyHere(l net.Listener, next http.Handler) http.Handler {
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.Trim(strings.ToLower(host), "[]")
		if !loopback(host) && !strings.HasSuffix(host, ".localhost") {
			http.Error(w, "This is a simulated tenant for this machine only. Call it as 127.0.0.1 or localhost.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wholeBatches has batches reach every route of the origin. One that is all the
// Backup Storage API's is served there, and any other by asking origin for each
// of its requests.
func wholeBatches(origin http.Handler) http.Handler {
	batch := simtenant.Batch(origin)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths, ok := simtenant.ReadBatch(r)
		if ok && (!isAPI(r.URL.Path) || slices.ContainsFunc(paths, func(path string) bool { return !isAPI(path) })) {
			batch.ServeHTTP(w, r)
			return
		}
		origin.ServeHTTP(w, r)
	})
}

// isAPI reports whether path is one of the Backup Storage API, in whatever
// case and version: all below solutions, and what speaks for the version as a
// whole. All else on dev's origin is the simulated tenant's.
func isAPI(path string) bool {
	version, rest, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(path), "/"), "/")
	first, _, _ := strings.Cut(rest, "/")
	switch first {
	case "solutions":
		return true
	case "", "$batch", "$metadata":
		return version == "v1.0" || version == "beta"
	}
	return false
}
