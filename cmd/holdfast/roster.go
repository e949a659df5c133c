package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/drive"
	"holdfast/internal/identity"
)

// A roster is the tenants that a server serves, with what it has of each. It never
// changes: when the configuration is read again, another takes its place.
type roster struct {
	tenants  []TenantConfig
	of       map[backup.TenantID]*served
	verifier *identity.Verifier
	trusts   string // what the verifier was made of
}

// served is what a server has of a tenant.
type served struct {
	TenantConfig
	source *drive.Client
	budget *budget.Budget // outlives changes of the tenant's configuration
}

// tenants are those that are served, now.
func (s *server) tenants() []TenantConfig { return s.roster.Load().tenants }

// tenantIDs are their ids.
func (s *server) tenantIDs() (all []backup.TenantID) {
	for _, t := range s.tenants() {
		all = append(all, backup.TenantID(t.ID))
	}
	return all
}

// tenant is what the server has of a tenant, which is zero of one that it does not serve.
func (s *server) tenant(t backup.TenantID) served {
	if of := s.roster.Load().of[t]; of != nil {
		return *of
	}
	return served{}
}

// serves reports whether a tenant is served.
func (s *server) serves(t backup.TenantID) bool { return s.roster.Load().of[t] != nil }

// source is the client of a tenant's Graph.
func (s *server) source(t backup.TenantID) (*drive.Client, error) {
	of, err := known(s.roster.Load().of, t)
	if err != nil {
		return nil, err
	}
	return of.source, nil
}

// Verify tells who a token speaks for, as the configuration now says.
func (s *server) Verify(ctx context.Context, token string) (identity.Caller, error) {
	return s.roster.Load().verifier.Verify(ctx, token)
}

// newRoster is the roster that cfg says. What it says as before stays as it was.
func (s *server) newRoster(cfg Config) *roster {
	before := s.roster.Load()
	r := &roster{tenants: cfg.Tenants, of: map[backup.TenantID]*served{}, trusts: trusts(cfg)}
	for _, t := range cfg.Tenants {
		id := backup.TenantID(t.ID)
		of := &served{TenantConfig: t}
		var was *served
		if before != nil {
			was = before.of[id]
		}
		switch {
		case was == nil:
			of.budget = budget.New(budget.Config{Tenant: id, Store: s.catalog, Limits: s.limits(id)})
		default:
			of.budget = was.budget
		}
		if was != nil && same(was.TenantConfig, t) {
			of.source = was.source // with its tokens
		} else {
			of.source = newSource(t, 0, of.budget, s.log, s.figures.refused(t.ID), s.figures.movedOf(t.ID))
		}
		r.of[id] = of
	}
	if before != nil && before.trusts == r.trusts {
		r.verifier = before.verifier // with the keys that it has read
	} else {
		r.verifier = newVerifier(cfg)
	}
	return r
}

// same reports whether two descriptions of a tenant say the same, secrets included.
func same(a, b TenantConfig) bool {
	one, _ := a.Credential.(drive.Secret)
	other, _ := b.Credential.(drive.Secret)
	return one == other && text(a) == text(b)
}

// trusts is what a verifier is made of.
func trusts(cfg Config) string {
	roles := map[string]any{}
	for _, t := range cfg.Tenants {
		roles[t.ID] = []any{t.Roles, t.Scopes}
	}
	return text([]any{cfg.Issuers, cfg.Audiences, roles})
}

// text is a part of the configuration as JSON, which holds no secret.
func text(part any) string {
	b, err := json.Marshal(part)
	if err != nil {
		panic(err) // of our own plain types
	}
	return string(b)
}

// A reading is what came of reading the configuration again.
type reading struct {
	sync.Mutex                        // held while that is done
	path       string                 // of the file
	read       func() (Config, error) // nil where it cannot be
	seen       string                 // the folder of tenants, as it was
	told       atomic.Pointer[told]
	look       chan struct{} // asks for a look at sources and issuers
}

// told is what people are told of the last reading.
type told struct {
	at      time.Time
	wrong   error    // why nothing of it is in force; nil if it is
	waiting []string // settings that are in force from the next start on
}

// problem is what people are told of the configuration, without what only the log may
// say; "" if there is nothing to be said.
func (r *reading) problem() string {
	of := r.told.Load()
	switch {
	case of == nil:
	case of.wrong != nil:
		return fmt.Sprintf("The configuration that was read at %s cannot be used, and the one before it is in force: the log says why, and so does 'holdfast serve --check'.", clock(of.at))
	case len(of.waiting) > 0:
		return fmt.Sprintf("The configuration that was read at %s is in force from the next start on, as far as it is about %s.", clock(of.at), strings.Join(of.waiting, ", "))
	}
	return ""
}

// reload reads the configuration again, and serves the tenants that it names as it says.
// Where it cannot be used, nothing changes.
func (s *server) reload(ctx context.Context) (err error) {
	r := &s.reading
	r.Lock()
	defer r.Unlock()
	if r.read == nil {
		return errors.New("this server has no file of its configuration that could be read again")
	}
	now := &told{at: time.Now()}
	seen := seenIn(s.cfg.TenantsDir) // before it is read: what comes later is a change
	cfg, err := r.read()
	if err == nil {
		now.waiting = s.unfollowed(cfg)
		err = s.adopt(ctx, cfg)
	}
	now.wrong, r.seen = err, seen
	r.told.Store(now)
	if err != nil {
		s.log.ErrorContext(ctx, "the configuration cannot be used, and the one before it stays in force", "err", err)
		return err
	}
	if len(now.waiting) > 0 {
		s.log.WarnContext(ctx, "some settings are in force from the next start on", "settings", strings.Join(now.waiting, ", "))
	}
	return nil
}

// adopt serves the tenants of cfg. All that can fail comes first.
func (s *server) adopt(ctx context.Context, cfg Config) error {
	before, after := s.roster.Load(), s.newRoster(cfg)
	var come, changed, gone []backup.TenantID
	for _, t := range cfg.Tenants {
		id := backup.TenantID(t.ID)
		switch was := before.of[id]; {
		case was == nil:
			come = append(come, id)
		case !same(was.TenantConfig, t):
			changed = append(changed, id)
		}
	}
	for _, t := range before.tenants {
		if id := backup.TenantID(t.ID); after.of[id] == nil {
			gone = append(gone, id)
		}
	}
	for _, id := range come {
		if err := s.catalog.AdoptRetention(ctx, id); err != nil {
			return err
		}
	}
	for _, t := range cfg.Tenants {
		if err := s.catalog.KeepApprovalRule(ctx, backup.TenantID(t.ID), t.Approval.rule()); err != nil {
			return err
		}
	}
	if s.cfg.Role != RoleAPI {
		if err := s.engine.Begin(ctx, come...); err != nil {
			return err
		}
	}
	if s.alerter != nil {
		if err := s.alerter.Begin(ctx, come...); err != nil {
			return err
		}
	}

	if s.alerter != nil && cfg.Alerts != nil {
		s.alerter.Follow(cfg.alerter(s.catalog, s.db, s.queue, s.log).Config)
	}
	if s.shipper != nil && cfg.Audit != nil {
		s.shipper.Follow(cfg.shipper(s.catalog, s.db, s.queue, s.log).Config)
	}
	if s.console != nil && cfg.Console != nil {
		s.console.Follow(cfg.signIn())
	}
	s.adopted.Store(&cfg)
	s.vaults.serve(ids(cfg.Tenants))
	s.roster.Store(after)
	if runner := s.runner.Load(); runner != nil {
		runner.Serve(ids(cfg.Tenants))
	}
	for _, id := range slices.Concat(gone, changed) {
		s.outlook.forget(id)
		s.secrets.Lock()
		delete(s.secrets.of, id)
		s.secrets.Unlock()
	}
	for _, id := range gone {
		for _, of := range []*prometheus.CounterVec{s.figures.refusals, s.figures.moved, s.figures.wrote} {
			of.DeletePartialMatch(prometheus.Labels{"tenant": string(id)})
		}
	}
	s.figures.forget()
	select {
	case s.reading.look <- struct{}{}:
	default:
	}
	s.log.InfoContext(ctx, "the configuration was read again", "tenants", len(after.tenants), "new", len(come), "changed", len(changed), "gone", len(gone))
	return nil
}

// ids are the ids of tenants.
func ids(tenants []TenantConfig) (all []backup.TenantID) {
	for _, t := range tenants {
		all = append(all, backup.TenantID(t.ID))
	}
	return all
}

// following is the configuration, as far as it is followed: the one that was read last.
func (s *server) following() *Config {
	if cfg := s.adopted.Load(); cfg != nil {
		return cfg
	}
	return &s.cfg
}

// unfollowed are the settings of another configuration that a running server does not
// follow, by their names. Alerts, the audit log's outlets and how people sign in to the
// console it follows once it has any.
func (s *server) unfollowed(other Config) (names []string) {
	a, b := reflect.ValueOf(s.cfg), reflect.ValueOf(other)
	followed := []string{"tenants", "api", "issuers", "audiences"}
	if s.alerter != nil && other.Alerts != nil {
		followed = append(followed, "alerts")
	}
	if s.shipper != nil && other.Audit != nil {
		followed = append(followed, "audit")
	}
	if s.console != nil && other.Console != nil {
		followed = append(followed, "console")
	}
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" || slices.Contains(followed, name) {
			continue
		}
		if text(a.Field(i).Interface()) != text(b.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}

// seenIn is what a look at a folder of tenants tells of it.
func seenIn(dir string) string {
	if dir == "" {
		return ""
	}
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(&b, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !strings.HasPrefix(e.Name(), ".") {
			fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// lookInFolder is how often it is looked whether others have changed the folder of
// tenants.
const lookInFolder = 3 * time.Second

// followFolder reads the configuration again whenever the folder of tenants has
// changed, until ctx ends.
func (s *server) followFolder(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookInFolder):
		}
		s.reading.Lock()
		changed := seenIn(s.cfg.TenantsDir) != s.reading.seen
		s.reading.Unlock()
		if changed {
			s.reload(ctx) // which says what is wrong
		}
	}
}
