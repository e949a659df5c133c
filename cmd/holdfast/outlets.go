package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/audit"
	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// AuditConfig says where the audit log is handed on to.
type AuditConfig struct {
	To []AuditOutlet `json:"to"` // the outlets

	to []audit.Outlet
}

// AuditOutlet is one of file, syslog and webhook. A name that was not there before
// gets the log from its beginning.
type AuditOutlet struct {
	Name    string        `json:"name"`    // by which it is known how far it has come
	Tenants []string      `json:"tenants"` // default all
	File    string        `json:"file"`    // JSON lines are added to it
	Syslog  *SyslogConfig `json:"syslog"`  // a server, or a socket
	Webhook *HookConfig   `json:"webhook"` // up to a hundred entries at a time
}

// SyslogConfig is a server that takes messages as RFC 5424 has them.
type SyslogConfig struct {
	Network string `json:"network"` // "tls", "tcp", "udp" or "unix"; default tls
	Address string `json:"address"` // host:port, or the path of a socket
	CAFile  string `json:"caFile"`  // PEM, of a server whose certificate no public authority has signed
	// What the server knows this one by, if it asks for that; both in PEM.
	CertFile string `json:"certFile"`
	KeyFile  string `json:"keyFile"`
}

// complete reads the secrets, and says what is wrong.
func (c *AuditConfig) complete(tenants map[string]bool, place func(*string), say sayer) {
	names := map[string]bool{}
	for i := range c.To {
		o := &c.To[i]
		field := fmt.Sprintf("audit.to[%d]", i)
		to := audit.Outlet{Name: o.Name}
		switch {
		case o.Name == "" || strings.ContainsAny(o.Name, "/\x00"):
			say(field+".name", "%q is not possible: give a name by which people know the outlet, without a slash", o.Name)
		case names[o.Name]:
			say(field+".name", "%q is there twice: keep one of the two", o.Name)
		}
		names[o.Name] = true
		for _, t := range o.Tenants {
			id, ok := backup.ParseGUID(t)
			if !ok || !tenants[id] {
				say(field+".tenants", "%q is none of the tenants: give the id of one", t)
			}
			to.Tenants = append(to.Tenants, backup.TenantID(id))
		}
		ways := 0
		if o.File != "" {
			ways++
			place(&o.File)
			to.File = o.File
			if info, err := os.Stat(filepath.Dir(o.File)); err != nil {
				say(field+".file", "its folder cannot be used: %v", err)
			} else if !info.IsDir() {
				say(field+".file", "%s is no folder", filepath.Dir(o.File))
			} else if info, err := os.Stat(o.File); err == nil && info.IsDir() {
				say(field+".file", "%s is a folder: name a file in it", o.File)
			}
		}
		if o.Syslog != nil {
			ways++
			to.Syslog = o.Syslog.server(field+".syslog", place, say)
		}
		if o.Webhook != nil {
			ways++
			to.Hook = o.Webhook.hook(field+".webhook", place, say)
		}
		if ways != 1 {
			say(field, "names %d places: give one of file, syslog and webhook", ways)
		}
		c.to = append(c.to, to)
	}
}

func (s *SyslogConfig) server(field string, place func(*string), say sayer) *audit.Syslog {
	fill(&s.Network, "tls")
	place(&s.CAFile)
	place(&s.CertFile)
	place(&s.KeyFile)
	switch {
	case !slices.Contains([]string{"tls", "tcp", "udp", "unix"}, s.Network):
		say(field+".network", "%q is not possible: give \"tls\", \"tcp\", \"udp\", or \"unix\" for a socket of this machine", s.Network)
	case s.Network == "unix":
		place(&s.Address)
		if s.Address == "" {
			say(field+".address", "is missing: give the path of the socket, such as /dev/log")
		}
	default:
		if err := checkAddress(s.Address); err != nil {
			say(field+".address", "%v", err)
		}
	}
	server := &audit.Syslog{Network: s.Network, Address: s.Address}
	if s.Network != "tls" {
		if s.CAFile != "" || s.CertFile != "" || s.KeyFile != "" {
			say(field, "has certificates, which only \"tls\" uses")
		}
		return server
	}
	server.TLS = &tls.Config{RootCAs: rootsOf(field+".caFile", s.CAFile, say), MinVersion: tls.VersionTLS12}
	if s.CertFile == "" && s.KeyFile == "" {
		return server
	}
	own, err := openCertificateFile(s.CertFile, s.KeyFile)
	if err == nil {
		err = guarded(s.KeyFile)
	}
	if err != nil {
		say(field, "the certificate and its key cannot be used: %v", err)
		return server
	}
	server.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.certificate() }
	return server
}

// shipper is what hands the audit log on, as it is configured.
func (c *Config) shipper(cat *catalog.Catalog, db *database.DB, queue *jobs.Queue, log *slog.Logger) *audit.Shipper {
	return audit.New(audit.Config{Catalog: cat, DB: db, Queue: queue, Clock: time.Now, Log: log, To: c.Audit.to})
}

// auditLong is for how long an outlet must have taken nothing until people are told.
const auditLong = 15 * time.Minute

// auditWaits are the outlets in the configuration that take nothing of a tenant's log.
func (s *server) auditWaits(ctx context.Context, t backup.TenantID) ([]backup.AlertExample, error) {
	all, err := s.outletsOf(ctx, t)
	return audit.Standing(all[t], time.Now(), auditLong), err
}

// outletsOf is how far the outlets in the configuration are in the logs of tenants.
func (s *server) outletsOf(ctx context.Context, tenants ...backup.TenantID) (map[backup.TenantID][]catalog.Outlet, error) {
	if s.shipper == nil {
		return nil, nil
	}
	all, err := s.catalog.Outlets(ctx, tenants...)
	of := map[backup.TenantID][]catalog.Outlet{}
	for _, o := range all {
		if s.shipper.Has(o.Name) {
			of[o.Tenant] = append(of[o.Tenant], o)
		}
	}
	return of, err
}

// outlets are the figures of where the audit log is handed on to.
type outlets struct{ s *server }

var (
	auditWaiting = prometheus.NewDesc("holdfast_audit_waiting", "Entries of the audit log that an outlet has not taken yet.", []string{"tenant", "outlet"}, nil)
	auditFailing = prometheus.NewDesc("holdfast_audit_failing_seconds", "For how long an outlet has taken nothing of the audit log, 0 if it does.", []string{"tenant", "outlet"}, nil)
)

func (outlets) Describe(c chan<- *prometheus.Desc) { c <- auditWaiting; c <- auditFailing }

func (o outlets) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var tenants []backup.TenantID
	for _, t := range o.s.tenants() {
		tenants = append(tenants, backup.TenantID(t.ID))
	}
	outlets, err := o.s.outletsOf(ctx, tenants...)
	if err != nil {
		c <- prometheus.NewInvalidMetric(auditWaiting, err)
		return
	}
	for t, all := range outlets {
		for _, of := range all {
			c <- prometheus.MustNewConstMetric(auditWaiting, prometheus.GaugeValue, float64(of.Last-of.Sent), string(t), of.Name)
			failing := 0.0
			if !of.Since.IsZero() {
				failing = time.Since(of.Since).Seconds()
			}
			c <- prometheus.MustNewConstMetric(auditFailing, prometheus.GaugeValue, failing, string(t), of.Name)
		}
	}
}
