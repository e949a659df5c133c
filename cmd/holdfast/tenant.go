package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/simtenant"
)

// tenantOptions are the flags of tenant.
type tenantOptions struct {
	listen    string
	tlsListen string
	proxy     string // empty: none
	data      string // empty for a scratch folder
	tenant    string // path of a tenant file; empty for the built-in tenant
	drives    string // empty for the folder drives in data
	mail      string // empty: nobody has a mailbox
	sites     string // empty for the folder sites in data
	profile   string // path of a profile file, or empty
	control   bool

	population *simtenant.Population // or nil
	churn      int                   // changes of it in a minute
}

// newTenant is the command that runs a simulated tenant and nothing else.
func newTenant() *cobra.Command {
	var o tenantOptions
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Run a simulated Microsoft 365 tenant and nothing else",
		Long: `Tenant runs a simulated Microsoft 365 tenant for whoever writes an app on
OneDrive: Entra ID's sign-in and Microsoft Graph's directory and drives, over
folders of real files. It is no backup server; 'holdfast dev' is both.

When it is ready it prints one line of JSON, with the address, the tenants, and
the applications' ids and secrets. Left to itself it takes a free port and a
scratch folder, which goes when it ends, so that any number run side by side.

With --control a test can move its clock, have things go wrong, put its state
away and back, and ask what was asked of it. See docs/tenant.md.

Anyone who can reach the address can get a token.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runTenant(cmd.Context(), o, cmd.OutOrStdout(), newLog(cmd.ErrOrStderr()))
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.drives, "drives", "", "folder of the users' drives, one folder each, named by userPrincipalName (default DATA/drives)")
	cmd.Flags().StringVar(&o.mail, "mail", "", "folder of the users' mailboxes, named likewise: Maildir, or folders of .eml, .ics and .vcf files (default nobody has a mailbox)")
	cmd.Flags().StringVar(&o.sites, "sites", "", "folder of the team sites, a folder each (default DATA/sites)")
	cmd.Flags().StringVar(&o.tenant, "tenant", "", "JSON file of tenants (default a built-in sample, Contoso)")
	cmd.AddCommand(newGenerate())
	return cmd
}

// newGenerate is the command that runs a tenant that is made up.
func newGenerate() *cobra.Command {
	o := tenantOptions{population: new(simtenant.Population)}
	p := o.population
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Run a simulated tenant of any size, made up from a seed",
		Long: `Generate runs a simulated tenant whose users, sites, folders, files, lists and mail are
made up from a seed. The same seed makes the same ids, names, times and contents everywhere.
They take no disk: contents are computed when they are read, and cannot be
compressed. What is written to them becomes real.

With --churn, things change as people change them; with --control, a test has
things change when it wants: POST /_holdfast/churn {"changes":100}.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.Check(); err != nil {
				return usageError{err}
			}
			if o.churn < 0 || o.churn > 60_000 {
				return usageError{fmt.Errorf("--churn: %d is not between 0 and 60000", o.churn)}
			}
			return runTenant(cmd.Context(), o, cmd.OutOrStdout(), newLog(cmd.ErrOrStderr()))
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.Uint64Var(&p.Seed, "seed", 1, "what all follows from")
	f.IntVar(&p.Users, "users", 100, "how many people there are")
	f.IntVar(&p.Files, "files", 10_000, "how many files they have together: some have many, most few")
	f.IntVar(&p.Sites, "sites", 0, "how many team sites there are, each with a library, a list and pages; half of the files are theirs")
	f.IntVar(&p.Items, "items", 1000, "how many items their lists have together")
	f.IntVar(&p.Messages, "messages", 0, "how many messages, events and contacts their mailboxes have together")
	f.Int64Var(&p.Size, "size", 16<<10, "bytes of a file, on average")
	f.IntVar(&o.churn, "churn", 0, "how many things change in a minute")
	return cmd
}

// flags are those that every tenant has.
func (o *tenantOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address of everything, in plain HTTP; port 0 is one that is free")
	f.StringVar(&o.tlsListen, "tls-listen", "", "address of everything in HTTPS as well, with a certificate of a local authority")
	f.StringVar(&o.proxy, "proxy-listen", "", "address of a proxy at which the service's own names, such as graph.microsoft.com, lead here; needs --tls-listen")
	f.StringVar(&o.data, "data", "", "folder for ids, keys and saved states (default a scratch folder)")
	f.StringVar(&o.profile, "profile", "", "JSON file of what goes wrong")
	f.BoolVar(&o.control, "control", false, "serve /_holdfast/, by which programs on this machine control the tenant")
}

// ready is the line by which tenant says that it serves.
type ready struct {
	URL       string        `json:"url"`
	Secure    string        `json:"secureUrl,omitempty"`
	Authority string        `json:"authorityCertificate,omitempty"` // file of the certificate that vouches for Secure
	Proxy     string        `json:"proxy,omitempty"`
	Graph     string        `json:"graph"`
	Control   string        `json:"control,omitempty"`
	Drives    string        `json:"drives"`
	Sites     string        `json:"sites"`
	Mail      string        `json:"mail,omitempty"`
	Tenants   []readyTenant `json:"tenants"`
}

type readyTenant struct {
	ID      string        `json:"id"`
	Domain  string        `json:"domain"`
	Clients []readyClient `json:"clients"`
}

type readyClient struct {
	ID     string   `json:"clientId"`
	Secret string   `json:"clientSecret"`
	Roles  []string `json:"roles"`
}

// keepChanging has so many things change in a minute, until it is stopped.
func keepChanging(ctx context.Context, sim *simtenant.Service, perMinute int, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Minute / time.Duration(perMinute))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := sim.Churn(1); err != nil {
				log.Warn("nothing could be changed", "err", err)
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// runTenant serves until ctx ends.
func runTenant(ctx context.Context, o tenantOptions, out io.Writer, log *slog.Logger) (err error) {
	var wrong []error
	if o.proxy != "" && o.tlsListen == "" {
		wrong = append(wrong, errors.New("--proxy-listen: clients reach the service's names by HTTPS; give --tls-listen as well, for instance 127.0.0.1:0"))
	}
	for flag, address := range map[string]string{"--listen": o.listen, "--tls-listen": o.tlsListen, "--proxy-listen": o.proxy} {
		if address != "" || flag == "--listen" {
			if err := checkAddress(address); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", flag, err))
			}
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return usageError{err}
	}
	var trouble *simtenant.Trouble
	if o.profile != "" {
		f, err := os.Open(o.profile)
		if errors.Is(err, fs.ErrNotExist) {
			return fail(exitNotFound, "read the profile file: %w", err)
		}
		if err != nil {
			return fmt.Errorf("read the profile file: %w", err)
		}
		t, err := simtenant.ParseTrouble(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", o.profile, err)
		}
		trouble = &t
	}
	var tenants []simtenant.Tenant
	if o.population != nil {
		tenants = []simtenant.Tenant{o.population.Tenant()}
	} else if tenants, err = readTenants(o.tenant); err != nil {
		return err
	}
	if o.data == "" {
		if o.data, err = os.MkdirTemp("", "holdfast-tenant-"); err != nil {
			return fmt.Errorf("make a scratch folder: %w", err)
		}
		scratch := o.data
		defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	}
	if o.drives == "" {
		o.drives = filepath.Join(o.data, "drives")
	}
	if o.drives, err = filepath.Abs(o.drives); err != nil {
		return err
	}
	if o.sites == "" {
		o.sites = filepath.Join(o.data, "sites")
	}
	if o.sites, err = filepath.Abs(o.sites); err != nil {
		return err
	}
	if o.mail == "" && o.population != nil && o.population.Messages > 0 {
		o.mail = filepath.Join(o.data, "mail")
	}
	if o.mail != "" {
		if o.mail, err = filepath.Abs(o.mail); err != nil {
			return err
		}
	}
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(o.data, "sim"), Drives: o.drives, Mail: o.mail, Sites: o.sites, Tenants: tenants, Population: o.population, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	if o.churn > 0 {
		stop := keepChanging(ctx, sim, o.churn, log)
		defer stop()
	}
	handler := sim.Handler()
	if o.control || trouble != nil {
		control, err := simtenant.NewControl(sim)
		if err != nil {
			return err
		}
		if trouble != nil {
			if err := control.Make(*trouble); err != nil {
				return fmt.Errorf("%s: %w", o.profile, err)
			}
		}
		handler = control.Tenant()
		if o.control {
			handler = control
		}
	}

	l, err := listen(o.listen)
	if err != nil {
		return err
	}
	said := ready{URL: origin("http", l), Graph: origin("http", l) + "/v1.0", Drives: o.drives, Sites: o.sites, Mail: o.mail}
	if o.control {
		said.Control = said.URL + "/_holdfast/"
	}
	if host, _, _ := net.SplitHostPort(l.Addr().String()); !loopback(host) {
		log.Warn("this address is open to others, in plain HTTP, and gives a token to anyone who asks; keep it to a network that you trust", "address", l.Addr())
	}
	// One for each listener: what of HTTP/2 is set up for the one is not for the other.
	var servers []*http.Server
	serve := func(handler http.Handler, secure *tls.Config) *http.Server {
		srv := &http.Server{Handler: handler, TLSConfig: secure, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
		servers = append(servers, srv)
		return srv
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for _, srv := range servers {
			if srv.Shutdown(stop) != nil {
				srv.Close() // who is still being answered has had time
			}
		}
	}()
	served := make(chan error, 3)
	plain := serve(handler, nil)
	go func() { served <- plain.Serve(l) }()
	if o.tlsListen != "" {
		secure, err := listen(o.tlsListen)
		if err != nil {
			return err
		}
		host, _, _ := net.SplitHostPort(o.tlsListen)
		names := []string{host}
		if o.proxy != "" {
			names = append(names, serviceNames...)
		}
		ca, err := openLocalCA(filepath.Join(o.data, "tls"), time.Now(), names...)
		if err != nil {
			return errors.Join(err, secure.Close())
		}
		said.Secure, said.Authority = origin("https", secure), ca.root
		private := serve(handler, ca.config())
		go func() { served <- private.ServeTLS(secure, "", "") }()
		if o.proxy != "" {
			l, err := listen(o.proxy)
			if err != nil {
				return err
			}
			said.Proxy = origin("http", l)
			p := &tunnels{to: secure.Addr().String()}
			proxy := serve(p, nil)
			go func() { served <- proxy.Serve(l) }()
			defer func() { err = errors.Join(err, proxy.Close(), p.close()) }()
		}
	}
	for _, t := range tenants {
		one := readyTenant{ID: string(t.ID), Domain: t.Domain, Clients: []readyClient{}}
		for _, a := range t.Apps {
			one.Clients = append(one.Clients, readyClient{a.AppID, a.Secret, a.Roles})
		}
		said.Tenants = append(said.Tenants, one)
	}
	line, err := json.Marshal(said)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\n", line)
	}
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	return err
}
