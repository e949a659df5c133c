package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/drive"
	"holdfast/internal/identity"
)

const (
	// lookAgain is how often a server looks whether its tenants' sources and the
	// issuers can be reached.
	lookAgain = 10 * time.Minute
	// lookTime is how long each has for its answer.
	lookTime = 30 * time.Second
)

// checkOnline asks all that a server would depend on whether it can be used, and
// says so, a line for each.
func checkOnline(ctx context.Context, cfg Config, out io.Writer) error {
	failed := 0
	say := func(what string, wrong []error) {
		if len(wrong) == 0 {
			fmt.Fprintf(out, "%s: in order\n", what)
		}
		for _, err := range wrong {
			failed++
			fmt.Fprintf(out, "%s: %v\n", what, err)
		}
	}
	for _, t := range cfg.Tenants {
		limited, cancel := context.WithTimeout(ctx, lookTime)
		source := newSource(t, 2, nil, nil, nil, nil)
		notes, wrong := checkSource(limited, source, cfg.Workloads, t)
		if len(wrong) == 0 {
			wrong = checkGroups(limited, source, t)
		}
		cancel()
		say("tenant "+t.ID, wrong)
		for _, note := range notes {
			fmt.Fprintf(out, "tenant %s: %s\n", t.ID, note)
		}
	}
	say("issuers", newVerifier(cfg).Check(ctx))
	if failed > 0 {
		are := "are"
		if failed == 1 {
			are = "is"
		}
		return fmt.Errorf("%s %s not in order", number(failed, "thing"), are)
	}
	_, err := fmt.Fprintln(out, "What was asked is in order. The database and the vaults are not asked: the server says at its start what is wrong with them.")
	return err
}

// Permissions on Graph that the source needs for a workload: to back it up, and to restore
// it. What only asking tells, whether sites can be listed, is not among them.
var (
	anySites = []string{"Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}
	toBackUp = map[backup.Workload][]drive.Need{
		backup.Exchange: {
			{What: "see what mailboxes there are", Name: "MailboxSettings.Read", Or: []string{"MailboxSettings.ReadWrite"}},
			{What: "read the folders of mailboxes", Name: "MailboxFolder.ReadWrite.All", Or: []string{"MailboxFolder.Read.All"}},
			{What: "read what is in mailboxes", Name: "MailboxItem.Read.All"},
			{What: "export what is in mailboxes", Name: "MailboxItem.ImportExport.All", Or: []string{"MailboxItem.Export.All"}},
		},
	}
	toRestore = map[backup.Workload][]drive.Need{
		backup.OneDrive: {
			{What: "write into drives", Name: "Files.ReadWrite.All", Or: anySites},
			{What: "restore drives to a new place", Name: "Sites.Manage.All", Or: anySites[2:]},
		},
		backup.SharePoint: {
			{What: "write into sites", Name: "Sites.Manage.All", Or: append([]string{"Sites.Selected"}, anySites...)},
			{What: "make libraries and lists", Name: "Sites.Manage.All", Or: append([]string{"Sites.Selected"}, anySites[2:]...)},
		},
		backup.Exchange: {
			{What: "make folders in mailboxes", Name: "MailboxFolder.ReadWrite.All"},
			{What: "import into mailboxes", Name: "MailboxItem.ImportExport.All"},
		},
	}
)

// checkSource asks a source whether what is protected of it can be read. It returns what
// stands in the way, and what else there is to know, such as what could not be restored.
func checkSource(ctx context.Context, source *drive.Client, workloads []backup.Workload, t TenantConfig) (notes []string, wrong []error) {
	if wrong = source.Check(ctx); len(wrong) > 0 {
		return nil, wrong
	}
	lacks := func(needs []drive.Need, say func(text string)) {
		lacking, err := source.Lacks(ctx, needs)
		if err != nil {
			wrong = append(wrong, err)
		}
		for _, n := range lacking {
			say(fmt.Sprintf("the application may not %s; grant it the application permission %s on Microsoft Graph, with an administrator's consent", n.What, n.Name))
		}
	}
	for _, w := range workloads {
		needs := toBackUp[w]
		if w == backup.Exchange && (t.MIME == nil || *t.MIME) {
			needs = append(slices.Clone(needs), drive.Need{What: "read messages as MIME", Name: "Mail.Read", Or: []string{"Mail.ReadWrite"}})
		}
		lacks(needs, func(text string) {
			if strings.Contains(text, "as MIME") {
				text += ", or set \"mime\" to false in the tenant's configuration"
			}
			wrong = append(wrong, errors.New(text))
		})
		lacks(toRestore[w], func(text string) {
			notes = append(notes, "it is backed up, but not everything could be restored: "+text)
		})
	}
	if !slices.Contains(workloads, backup.SharePoint) {
		return notes, wrong
	}
	note, err := source.CheckSites(ctx)
	if err != nil {
		wrong = append(wrong, err)
	} else if note != "" {
		notes = append(notes, note)
	}
	if !t.Permissions {
		return notes, wrong
	}
	if sees, err := source.SeesPermissions(ctx); err != nil {
		wrong = append(wrong, err)
	} else if !sees {
		wrong = append(wrong, errors.New("the application is not told of all permissions of files; grant it the application permission Sites.FullControl.All on Microsoft Graph, "+
			"with an administrator's consent, or set \"permissions\" to false in the tenant's configuration"))
	}
	return notes, wrong
}

// checkGroups asks a source for each group that the roles and scopes of its tenant name: by
// one that is not there nobody has a role, and nothing is in a scope.
func checkGroups(ctx context.Context, source *drive.Client, t TenantConfig) (wrong []error) {
	named := map[string][]string{} // which fields name a group
	add := func(field string, groups ...string) {
		for _, g := range groups {
			named[strings.ToLower(g)] = append(named[strings.ToLower(g)], field)
		}
	}
	for role, groups := range t.Roles {
		add("roles."+string(role), groups...)
	}
	for name, scope := range t.Scopes {
		for role, groups := range scope.Roles {
			add("scopes."+name+".roles."+string(role), groups...)
		}
		for _, g := range scope.Groups {
			add("scopes."+name+".groups", string(g))
		}
	}
	for _, g := range slices.Sorted(maps.Keys(named)) {
		fields := named[g]
		slices.Sort(fields)
		err := source.LookAtGroup(ctx, backup.ObjectID(g))
		switch {
		case errors.Is(err, drive.ErrNotFound):
			wrong = append(wrong, fmt.Errorf("%s names the group %s, which the tenant's directory does not have; correct the id, which is a group's object id and not that of a person or an application", strings.Join(fields, " and "), g))
		case err != nil:
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// newSource is the client of a tenant's Graph. tries is how often each call is made,
// 0 for as often as is worth it; without a budget nothing but the source limits it.
func newSource(t TenantConfig, tries int, shared *budget.Budget, log *slog.Logger, refused func(int), moved func(read, written int64)) *drive.Client {
	return drive.New(drive.Config{
		Graph: t.Graph, Authority: t.Authority, Tenant: backup.TenantID(t.ID), ClientID: t.ClientID, Credential: t.Credential, Log: log, Tries: tries, Budget: shared, Refused: refused, Moved: moved,
	})
}

// newVerifier trusts the issuers of a configuration.
func newVerifier(cfg Config) *identity.Verifier {
	var issuers []identity.Issuer
	for _, i := range cfg.Issuers {
		issuers = append(issuers, identity.Issuer{Issuer: i.Issuer, JWKS: i.JWKS, Tenant: backup.TenantID(i.Tenant)})
	}
	roles := map[backup.TenantID]identity.TenantRoles{}
	for _, t := range cfg.Tenants {
		of := identity.TenantRoles{All: t.Roles}
		for name, scope := range t.Scopes {
			if of.Scopes == nil {
				of.Scopes = map[string]identity.RoleMap{}
			}
			of.Scopes[name] = scope.Roles
		}
		roles[backup.TenantID(t.ID)] = of
	}
	return identity.NewVerifier(identity.Config{Issuers: issuers, Audiences: cfg.Audiences, Roles: roles})
}

// outlook is what a server knows of what it depends on and does not hold: the
// tenants' sources, and the issuers of tokens.
type outlook struct {
	log *slog.Logger

	mu    sync.Mutex
	wrong map[string]error // by what it is
	known map[string]bool  // what was looked at
}

// sourceOf is how a tenant's source is called.
func sourceOf(t backup.TenantID) string { return "the source of tenant " + string(t) }

// forget forgets what was seen of a tenant's source.
func (o *outlook) forget(t backup.TenantID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.wrong, sourceOf(t))
	delete(o.known, sourceOf(t))
}

// source says what is wrong with a tenant's source in words for people, without
// what only the log may say, and whether that is known yet.
func (o *outlook) source(_ context.Context, t backup.TenantID) (wrong []string, known bool) {
	what := sourceOf(t)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.wrong[what]; err != nil {
		for line := range strings.Lines(err.Error()) {
			said, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
			wrong = append(wrong, strings.ToUpper(said[:1])+said[1:]+".")
		}
	}
	return wrong, o.known[what]
}

// note notes what is wrong with something, nil if nothing, and logs it when it is
// another thing than before.
func (o *outlook) note(what string, wrong []error) {
	err := errors.Join(wrong...)
	o.mu.Lock()
	before := o.wrong[what]
	if o.wrong == nil {
		o.wrong, o.known = map[string]error{}, map[string]bool{}
	}
	o.known[what] = true
	delete(o.wrong, what)
	if err != nil {
		o.wrong[what] = err
	}
	o.mu.Unlock()
	switch {
	case err == nil && before != nil:
		o.log.Info("all is in order again with " + what)
	case err != nil && (before == nil || before.Error() != err.Error()):
		o.log.Error("something is not in order with "+what, "err", err)
	}
}

// lines say what is not in order, without what only the log may say.
func (o *outlook) lines() (lines []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for what := range o.wrong {
		lines = append(lines, what+" cannot be used as it is configured; the log says why")
	}
	return lines
}

// lookOut looks at all that the server depends on, now and from time to time, until
// ctx ends.
func (s *server) lookOut(ctx context.Context) {
	for {
		r := s.roster.Load()
		for _, t := range r.tenants {
			limited, cancel := context.WithTimeout(ctx, lookTime)
			_, wrong := checkSource(limited, r.of[backup.TenantID(t.ID)].source, s.cfg.Workloads, t)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if s.tenant(backup.TenantID(t.ID)).source != r.of[backup.TenantID(t.ID)].source {
				continue // it is another by now
			}
			s.outlook.note(sourceOf(backup.TenantID(t.ID)), wrong)
		}
		wrong := r.verifier.Check(ctx)
		if ctx.Err() != nil {
			return
		}
		s.outlook.note("the issuers of tokens", wrong)
		select {
		case <-ctx.Done():
			return
		case <-s.reading.look:
		case <-time.After(lookAgain):
		}
	}
}
