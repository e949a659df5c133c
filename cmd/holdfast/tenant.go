package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	profile   string // path of a profile file, or empty
	control   bool
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
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address of everything, in plain HTTP; port 0 is one that is free")
	f.StringVar(&o.tlsListen, "tls-listen", "", "address of everything in HTTPS as well, with a certificate of a local authority")
	f.StringVar(&o.proxy, "proxy-listen", "", "address of a proxy at which the service's own names, such as graph.microsoft.com, lead here; needs --tls-listen")
	f.StringVar(&o.data, "data", "", "folder for ids, keys and saved states (default a scratch folder)")
	f.StringVar(&o.drives, "drives", "", "folder of the users' drives, one folder each, named by userPrincipalName (default DATA/drives)")
	f.StringVar(&o.mail, "mail", "", "folder of the users' mailboxes, named likewise: Maildir, or folders of .eml, .ics and .vcf files (default nobody has a mailbox)")
	f.StringVar(&o.tenant, "tenant", "", "JSON file of tenants (default a built-in sample, Contoso)")
	f.StringVar(&o.profile, "profile", "", "JSON file of what goes wrong")
	f.BoolVar(&o.control, "control", false, "serve /_holdfast/, by which programs on this machine control the tenant")
	return cmd
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
	tenants, err := readTenants(o.tenant)
	if err != nil {
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
	if o.mail != "" {
		if o.mail, err = filepath.Abs(o.mail); err != nil {
			return err
		}
	}
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(o.data, "sim"), Drives: o.drives, Mail: o.mail, Tenants: tenants, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
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
	said := ready{URL: origin("http", l), Graph: origin("http", l) + "/v1.0", Drives: o.drives}
	if o.control {
		said.Control = said.URL + "/_holdfast/"
	}
	if host, _, _ := net.SplitHostPort(l.Addr().String()); !loopback(host) {
		log.Warn("this address is open to others, in plain HTTP, and gives a token to anyone who asks; keep it to a network that you trust", "address", l.Addr())
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	served := make(chan error, 3)
	go func() { served <- srv.Serve(l) }()
	if o.tlsListen != "" {
		secure, err := listen(o.tlsListen)
		if err != nil {
			return errors.Join(err, srv.Close())
		}
		host, _, _ := net.SplitHostPort(o.tlsListen)
		names := []string{host}
		if o.proxy != "" {
			names = append(names, serviceNames...)
		}
		ca, err := openLocalCA(filepath.Join(o.data, "tls"), time.Now(), names...)
		if err != nil {
			return errors.Join(err, secure.Close(), srv.Close())
		}
		said.Secure, said.Authority = origin("https", secure), ca.root
		srv.TLSConfig = ca.config()
		go func() { served <- srv.ServeTLS(secure, "", "") }()
		if o.proxy != "" {
			l, err := listen(o.proxy)
			if err != nil {
				return errors.Join(err, srv.Close())
			}
			said.Proxy = origin("http", l)
			p := &tunnels{to: secure.Addr().String()}
			proxy := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, ErrorLog: srv.ErrorLog}
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
		return errors.Join(err, srv.Close())
	}
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		srv.Close() // who is still being answered has had time
	}
	return err
}
