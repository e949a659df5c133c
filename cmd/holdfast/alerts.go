package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	netmail "net/mail"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"holdfast/internal/alert"
	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// AlertsConfig says who is told of what needs people, how, and after how long.
type AlertsConfig struct {
	// Mail is the server that mail is handed to. Without it no mail is sent, also not
	// to whom a tenant's emailNotificationsSetting names.
	Mail *MailConfig `json:"mail"`
	// To is who is told.
	To []AlertDestination `json:"to"`
	// Failing is how long a unit's runs must have failed. Default: 4h.
	Failing Duration `json:"failing"`
	// Unread is how long an item must not have been readable. Default: 72h.
	Unread Duration `json:"unread"`
	// RPOMissed is how long newest points must be older than promised. Default: 1h.
	RPOMissed Duration `json:"rpoMissed"`
	// Waiting is how long work must be due that nobody does. Default: 30m.
	Waiting Duration `json:"waiting"`
	// Expiring is how long before it ends a certificate is told of. Default: 720h.
	Expiring Duration `json:"expiring"`

	// Report is whether a report is sent each Monday: "weekly", or "none". Default:
	// weekly.
	Report string `json:"report"`

	mail *alert.Mail
	to   []alert.Destination
}

// MailConfig is a mail server.
type MailConfig struct {
	Server       string `json:"server"`       // host:port
	TLS          string `json:"tls"`          // "starttls", "tls", or "none" for this machine; default starttls
	From         string `json:"from"`         // the sender's address
	User         string `json:"user"`         // default: nobody signs in
	PasswordFile string `json:"passwordFile"` // of the user
	PasswordEnv  string `json:"passwordEnv"`
	CAFile       string `json:"caFile"` // PEM, of a server whose certificate no public authority has signed
}

// AlertDestination is one of mail, webhook and teams.
type AlertDestination struct {
	Name    string       `json:"name"`    // by which people know the destination
	Tenants []string     `json:"tenants"` // default all
	Mail    []string     `json:"mail"`    // addresses
	Webhook *HookConfig  `json:"webhook"` // a server of yours
	Teams   *TeamsConfig `json:"teams"`   // a channel
}

// HookConfig is where messages are posted as JSON.
type HookConfig struct {
	URL        string `json:"url"`     // or, where it is a secret itself, one of the next two
	URLFile    string `json:"urlFile"` // a file with the address
	URLEnv     string `json:"urlEnv"`
	SecretFile string `json:"secretFile"` // that they are signed with; default: they are not
	SecretEnv  string `json:"secretEnv"`
	CAFile     string `json:"caFile"` // PEM, of a server whose certificate no public authority has signed
}

// TeamsConfig is the address of a workflow that posts to Teams. Whoever knows it can.
type TeamsConfig struct {
	URLFile string `json:"urlFile"` // a file with the address
	URLEnv  string `json:"urlEnv"`
}

// A sayer notes what is wrong with a field of the configuration.
type sayer = func(field, format string, args ...any)

// rootsOf are the authorities in a file, nil for those of the system.
func rootsOf(field, file string, say sayer) *x509.CertPool {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err != nil {
		say(field, "%v", err)
	} else if !pool.AppendCertsFromPEM(pem) {
		say(field, "%s holds no certificate in PEM form", file)
	}
	return pool
}

func secretOf(field, file, env string, needed bool, say sayer) string {
	s, err := readLine(file, env)
	if err != nil && (needed || !errors.Is(err, errMissingSecret)) {
		say(field, "%v", err)
	}
	return string(s)
}

// hook reads the secrets, and says what is wrong.
func (h *HookConfig) hook(field string, place func(*string), say sayer) *alert.Hook {
	place(&h.URLFile)
	place(&h.SecretFile)
	place(&h.CAFile)
	address := h.URL
	if address == "" {
		address = secretOf(field+".urlFile", h.URLFile, h.URLEnv, true, say)
	}
	if address != "" && checkURL(address) != nil { // whose text would have it in it
		say(field+".url", "is not a web address that starts with https://")
	}
	return &alert.Hook{URL: address, Secret: secretOf(field+".secretFile", h.SecretFile, h.SecretEnv, false, say), Roots: rootsOf(field+".caFile", h.CAFile, say)}
}

// complete reads the secrets, and says what is wrong.
func (c *AlertsConfig) complete(tenants map[string]bool, place func(*string), say func(field, format string, args ...any)) {
	secret := func(field, file, env string, needed bool) string { return secretOf(field, file, env, needed, say) }
	if m := c.Mail; m != nil {
		place(&m.PasswordFile)
		place(&m.CAFile)
		fill(&m.TLS, alert.StartTLS)
		host, port, err := net.SplitHostPort(m.Server)
		switch {
		case err != nil || host == "" || strings.ContainsFunc(host, unicode.IsSpace) || checkPort(port) != nil:
			say("alerts.mail.server", "%q is not an address: give host:port, such as smtp.example.com:587", m.Server)
		case !slices.Contains([]string{alert.StartTLS, alert.ImplicitTLS, alert.NoTLS}, m.TLS):
			say("alerts.mail.tls", "%q is not possible: give \"starttls\", which port 587 usually wants, \"tls\", as port 465, or \"none\" for a server on this machine", m.TLS)
		case m.TLS == alert.NoTLS && !loopback(host):
			say("alerts.mail.tls", "\"none\" would send mail and password in the clear: it is for a server on this machine only")
		}
		if _, err := netmail.ParseAddress(m.From); err != nil {
			say("alerts.mail.from", "%q is not an address: give that of the sender, such as \"Holdfast <backup@example.com>\"", m.From)
		}
		if m.User == "" && (m.PasswordFile != "" || m.PasswordEnv != "") {
			say("alerts.mail.user", "is missing, and there is a password: say who signs in, or take the password out")
		}
		c.mail = &alert.Mail{Server: m.Server, TLS: m.TLS, From: m.From, User: m.User, Roots: rootsOf("alerts.mail.caFile", m.CAFile, say),
			Password: secret("alerts.mail.passwordFile", m.PasswordFile, m.PasswordEnv, m.User != "")}
	}
	fill(&c.Report, "weekly")
	if c.Report != "weekly" && c.Report != "none" {
		say("alerts.report", "%q is not possible: give \"weekly\" or \"none\"", c.Report)
	}
	names := map[string]bool{}
	for i, d := range c.To {
		field := fmt.Sprintf("alerts.to[%d]", i)
		to := alert.Destination{Name: d.Name, Mail: d.Mail}
		switch {
		case d.Name == "" || d.Name == alert.Setting || strings.ContainsAny(d.Name, "/\x00"):
			say(field+".name", "%q is not possible: give a name by which people know the destination, without a slash", d.Name)
		case names[d.Name]:
			say(field+".name", "%q is there twice: keep one of the two", d.Name)
		}
		names[d.Name] = true
		for _, t := range d.Tenants {
			id, ok := backup.ParseGUID(t)
			if !ok || !tenants[id] {
				say(field+".tenants", "%q is none of the tenants: give the id of one", t)
			}
			to.Tenants = append(to.Tenants, backup.TenantID(id))
		}
		ways := 0
		if len(d.Mail) > 0 {
			ways++
			if c.Mail == nil {
				say(field+".mail", "needs the server that mail is handed to: name it as alerts.mail")
			}
			for _, a := range d.Mail {
				if _, err := netmail.ParseAddress(a); err != nil {
					say(field+".mail", "%q is not an address", a)
				}
			}
		}
		if h := d.Webhook; h != nil {
			ways++
			to.Hook = h.hook(field+".webhook", place, say)
		}
		if h := d.Teams; h != nil {
			ways++
			place(&h.URLFile)
			address := secret(field+".teams.urlFile", h.URLFile, h.URLEnv, true)
			if address != "" && checkURL(address) != nil {
				say(field+".teams.urlFile", "holds no web address that starts with https://")
			}
			to.Teams = &alert.Hook{URL: address}
		}
		if ways != 1 {
			say(field, "names %d ways to tell people: give one of mail, webhook and teams", ways)
		}
		c.to = append(c.to, to)
	}
	for _, d := range []struct {
		field string
		value Duration
	}{{"failing", c.Failing}, {"unread", c.Unread}, {"rpoMissed", c.RPOMissed}, {"waiting", c.Waiting}, {"expiring", c.Expiring}} {
		if d.value < 0 || d.value > 0 && d.value < Duration(time.Minute) {
			say("alerts."+d.field, "%v is too short: give at least 1m, such as \"4h\"", time.Duration(d.value))
		}
	}
}

// alerter is what tells people, as it is configured.
func (c *Config) alerter(cat *catalog.Catalog, db *database.DB, queue *jobs.Queue, log *slog.Logger) *alert.Alerter {
	cfg := alert.Config{
		Catalog: cat, DB: db, Queue: queue, Clock: time.Now, Log: log,
		Names: func(t backup.TenantID) string {
			i := slices.IndexFunc(c.Tenants, func(of TenantConfig) bool { return of.ID == string(t) })
			if i < 0 {
				return ""
			}
			return c.Tenants[i].DisplayName
		},
	}
	if c.Console != nil && c.PublicURL != "" {
		cfg.Link = c.PublicURL + "/console/"
	}
	if a := c.Alerts; a != nil {
		cfg.To, cfg.Mail, cfg.Expiry, cfg.Weekly = a.to, a.mail, time.Duration(a.Expiring), a.Report == "weekly"
		cfg.Times = catalog.AlertTimes{RPO: time.Duration(a.RPOMissed), Failing: time.Duration(a.Failing), Unread: time.Duration(a.Unread), Waiting: time.Duration(a.Waiting)}
	}
	return alert.New(cfg)
}

// secretLook is how often Graph is asked when an application's secret ends.
const secretLook = 6 * time.Hour

// ends says when a tenant can be served no more as it is: the credentials of its
// application end, or the certificates that this server shows.
func (s *server) ends(ctx context.Context, tenant backup.TenantID) (ends []alert.End, err error) {
	var errs []error
	add := func(what string, at time.Time, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			return
		}
		ends = append(ends, alert.End{What: what, At: at})
	}
	if t := s.tenant(tenant); t.ID != "" {
		if c, ok := t.Credential.(*drive.Certificate); ok {
			at, err := c.NotAfter()
			add("The certificate of the application "+t.ClientID, at, err)
		}
		if at, known := s.secretEnds(ctx, tenant); known {
			add("The secret of the application "+t.ClientID, at, nil)
		}
	}
	if t := s.cfg.TLSListen; t != nil {
		at, err := notAfter(t.CertFile, t.KeyFile)
		add("The certificate of this server, "+t.CertFile, at, err)
	}
	if a := s.following().Audit; a != nil {
		for _, o := range a.To {
			if o.Syslog != nil && o.Syslog.CertFile != "" {
				at, err := notAfter(o.Syslog.CertFile, o.Syslog.KeyFile)
				add(fmt.Sprintf("The certificate for the outlet %q of the audit log, %s", o.Name, o.Syslog.CertFile), at, err)
			}
		}
	}
	return ends, errors.Join(errs...)
}

// notAfter is when the certificate in a file ends.
func notAfter(certFile, keyFile string) (time.Time, error) {
	c, err := openCertificateFile(certFile, keyFile)
	if err != nil {
		return time.Time{}, err
	}
	return c.pair.Leaf.NotAfter, nil
}

// secretTime is how long Graph has to say when a secret ends.
const secretTime = time.Minute

// secretEnds is when the secret of a tenant's application ends, as far as Graph has said
// so. Nobody waits for Graph, which may not answer: that is told of as well.
func (s *server) secretEnds(ctx context.Context, t backup.TenantID) (at time.Time, known bool) {
	s.secrets.Lock()
	defer s.secrets.Unlock()
	if s.secrets.of == nil {
		s.secrets.of = map[backup.TenantID]secretEnd{}
	}
	k := s.secrets.of[t]
	if time.Since(k.looked) >= secretLook {
		s.secrets.of[t] = secretEnd{time.Now(), k.at, k.known} // so that it is asked once
		source := s.tenant(t).source
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), secretTime)
			defer cancel()
			at, known := source.SecretEnds(ctx)
			if ctx.Err() != nil {
				return // what was known stays
			}
			s.secrets.Lock()
			defer s.secrets.Unlock()
			if s.tenant(t).source != source {
				return // it has another by now
			}
			s.secrets.of[t] = secretEnd{time.Now(), at, known}
		}()
	}
	return k.at, k.known
}

// A secretEnd is when a secret ends, as it was when it was looked.
type secretEnd struct {
	looked, at time.Time
	known      bool
}

// newAlertCommand is the command for what people are told.
func newAlertCommand() *cobra.Command {
	b := &toolbox{}
	cmd := &cobra.Command{
		Use:   "alert",
		Short: "Show what people are told of, and test how",
		Long: `These commands work on the catalog itself, beside a server or without one, and need
no token. Who is told is in the configuration, as alerts.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	b.flags(cmd)
	var all, asJSON bool
	list := &cobra.Command{
		Use:   "list",
		Short: "List what stands, and the messages that could not be sent",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, false, func(ctx context.Context, out io.Writer) error { return b.listAlerts(ctx, out, all, asJSON) })
		},
	}
	jsonFlag(list, &asJSON)
	list.Flags().BoolVar(&all, "all", false, "also what is over, and messages that were sent")
	var to string
	var report bool
	test := &cobra.Command{
		Use:   "test",
		Short: "Send a message to everybody who would be told, and say whether it was taken",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, false, func(ctx context.Context, out io.Writer) error { return b.testAlerts(ctx, out, to, report) })
		},
	}
	test.Flags().BoolVar(&report, "report", false, "send the weekly report as it stands now")
	test.Flags().StringVar(&to, "to", "", "only to this destination, by its name")
	cmd.AddCommand(list, test)
	return cmd
}

const mostListed = 200

// A tenantAlerts is what stands in a tenant, and the messages of it.
type tenantAlerts struct {
	TenantID backup.TenantID `json:"tenantId"`
	Alerts   []alert.Entry   `json:"alerts"`
	Messages []messageState  `json:"messages"`
}

// A messageState is what has become of a message.
type messageState struct {
	ID          backup.MessageID    `json:"id"`
	Destination string              `json:"destination"`
	Recipient   string              `json:"recipient,omitempty"`
	State       backup.MessageState `json:"state"`
	Created     time.Time           `json:"createdDateTime"`
	Next        time.Time           `json:"nextTryDateTime,omitzero"`
	Tries       int                 `json:"tries"`
	Problem     string              `json:"problem,omitempty"`
}

func (b *toolbox) listAlerts(ctx context.Context, out io.Writer, all, asJSON bool) error {
	var told []tenantAlerts
	for _, t := range b.tenants {
		is := tenantAlerts{TenantID: t, Alerts: []alert.Entry{}, Messages: []messageState{}}
		alerts, err := b.catalog.Alerts(ctx, t, all, mostListed)
		if err != nil {
			return err
		}
		for _, a := range alerts {
			is.Alerts = append(is.Alerts, alert.EntryOf(catalog.AlertNews{Alert: a}, b.cfg.alerter(b.catalog, b.db, nil, b.log).Times))
		}
		messages, err := b.catalog.Messages(ctx, t, mostListed)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.State == backup.MessageSent && !all {
				continue
			}
			one := messageState{ID: m.ID, Destination: m.Destination, Recipient: m.Recipient, State: m.State, Created: m.Created.UTC(), Tries: m.Tries, Problem: m.Problem}
			if m.State == backup.MessageWaiting {
				one.Next = m.Due.UTC()
			}
			is.Messages = append(is.Messages, one)
		}
		told = append(told, is)
	}
	if asJSON {
		return printValues(out, told)
	}
	for _, is := range told {
		if len(is.Alerts) == 0 && b.cfg.Alerts == nil {
			fmt.Fprintf(out, "%s  nobody looks: the configuration has no alerts; docs/operating.md says how\n", is.TenantID)
		} else if len(is.Alerts) == 0 {
			fmt.Fprintf(out, "%s  nothing stands\n", is.TenantID)
		}
		for _, e := range is.Alerts {
			when := "since " + clock(e.Raised)
			if !e.Resolved.IsZero() {
				when = "from " + clock(e.Raised) + " to " + clock(e.Resolved)
			}
			fmt.Fprintf(out, "%s  %s  %s, %s\n", is.TenantID, e.Kind, e.Title, when)
			for _, line := range e.Named() {
				fmt.Fprintf(out, "    %s\n", line)
			}
			if !e.Over() {
				fmt.Fprintf(out, "    What to do: %s\n", e.Advice)
			}
		}
		for _, m := range is.Messages {
			text := string(m.State)
			switch {
			case m.State == backup.MessageGivenUp:
				text = "given up: " + m.Problem
			case m.Problem != "":
				text = fmt.Sprintf("tried %d times, next at %s: %s", m.Tries, clock(m.Next), m.Problem)
			}
			fmt.Fprintf(out, "%s  message of %s to %s  %s\n", is.TenantID, clock(m.Created), strings.TrimSpace(m.Destination+" "+m.Recipient), text)
		}
	}
	return nil
}

func (b *toolbox) testAlerts(ctx context.Context, out io.Writer, only string, report bool) error {
	if b.cfg.Alerts == nil {
		return fail(exitNotFound, "the configuration has no alerts, so nobody is told of anything; docs/operating.md says how")
	}
	a := b.cfg.alerter(b.catalog, b.db, nil, b.log)
	tried, failed := 0, 0
	for _, t := range b.tenants {
		tries, err := a.Test(ctx, t, only, report)
		if err != nil {
			return err
		}
		for _, try := range tries {
			tried++
			result := "taken"
			if try.Err != nil {
				failed++
				result = "not taken: " + try.Err.Error()
			}
			fmt.Fprintf(out, "%s  %s  %s\n", t, strings.TrimSpace(try.Destination+" "+try.Recipient), result)
		}
	}
	if tried == 0 {
		return fail(exitNotFound, "nobody would be told: there is no such destination, or none for the tenant")
	}
	return partly(failed, tried, "message", "taken")
}
