// Package alert tells people what needs them: by mail, by a webhook, and in
// Microsoft Teams.
//
// It has two duties, each the handler of a kind of job. Watch looks at a tenant
// again and again: what stands there is an alert, and what is new of it becomes
// messages, one for each recipient, in the transaction that notes it. Tell sends
// what waits for one destination. So an endpoint that is away keeps no other
// waiting, and what a killed process had begun another goes on with: a message that
// was accepted and could not be noted as sent any more is sent once more, under the
// same id, by which its receiver knows it.
//
// No secret is in what it sends, stores or logs.
package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Config says of what people are told, and how.
type Config struct {
	Catalog *catalog.Catalog                              // required
	DB      *database.DB                                  // the catalog's; required by Start
	Queue   *jobs.Queue                                   // required by Start
	Tenants func() []backup.TenantID                      // that are watched, now; required by Start
	Names   func(backup.TenantID) string                  // of tenants, for people; nil for none
	Clock   backup.Clock                                  // required
	Log     *slog.Logger                                  // required
	To      []Destination                                 // who is told
	Mail    *Mail                                         // how mail is sent; nil for not at all
	Times   catalog.AlertTimes                            // after how long people are told; those that are zero have defaults
	Expiry  time.Duration                                 // how long before a credential ends they are; default 30 days
	Weekly  bool                                          // a report is sent on Mondays
	Link    string                                        // where people see more; "" for none
	Every   time.Duration                                 // how often is looked; default 5 minutes
	Kinds   []jobs.Kind                                   // of jobs that must not wait for long
	Vault   func(context.Context, backup.TenantID) string // why the tenant's vault cannot be used, "" if it can; nil to leave that out
	// Source says why the tenant's source cannot be used, and whether that is known
	// yet; nil to leave that out.
	Source func(context.Context, backup.TenantID) (wrong []string, known bool)
	// Audit says which outlets of the audit log take nothing; nil to leave that out.
	Audit func(context.Context, backup.TenantID) ([]backup.AlertExample, error)
	// Ends says when credentials of the tenant end, as far as that is known; nil to
	// leave that out.
	Ends func(context.Context, backup.TenantID) ([]End, error)
}

// An End is when something can be used no more.
type End struct {
	What string
	At   time.Time
}

// A Destination is where messages go: by mail, or to a webhook, or to Teams.
type Destination struct {
	Name    string
	Tenants []backup.TenantID // whose; none for all
	Mail    []string          // addresses
	Hook    *Hook
	Teams   *Hook // a workflow's webhook
}

// Setting is the destination that a tenant's e-mail setting stands for.
const Setting = "emailNotificationsSetting"

const (
	patience = 7 * 24 * time.Hour // for how long a message is tried
	refused  = 24 * time.Hour     // where its receiver refuses it
	longest  = time.Hour          // between two tries
)

// An Alerter watches and tells.
type Alerter struct {
	Config
	later atomic.Pointer[Config] // that it was given since
}

// New returns an alerter.
func New(cfg Config) *Alerter {
	cfg.Times.RPO = cmp.Or(cfg.Times.RPO, time.Hour)
	cfg.Times.Failing = cmp.Or(cfg.Times.Failing, 4*time.Hour)
	cfg.Times.Unread = cmp.Or(cfg.Times.Unread, 3*24*time.Hour)
	cfg.Times.Waiting = cmp.Or(cfg.Times.Waiting, 30*time.Minute)
	cfg.Expiry = cmp.Or(cfg.Expiry, 30*24*time.Hour)
	cfg.Every = cmp.Or(cfg.Every, 5*time.Minute)
	if cfg.Names == nil {
		cfg.Names = func(backup.TenantID) string { return "" }
	}
	return &Alerter{Config: cfg}
}

// Follow has who is told, how and after how long be as in another configuration, from
// the next look and message on.
func (a *Alerter) Follow(cfg Config) { a.later.Store(&New(cfg).Config) }

// now is a as it is to do its work.
func (a *Alerter) now() *Alerter {
	is := &Alerter{Config: a.Config}
	if l := a.later.Load(); l != nil {
		is.To, is.Mail, is.Times, is.Expiry, is.Weekly = l.To, l.Mail, l.Times, l.Expiry, l.Weekly
	}
	return is
}

// Work returns the handlers of its jobs.
func (a *Alerter) Work() map[jobs.Kind]jobs.Work {
	return map[jobs.Kind]jobs.Work{
		// Several, so that a vault or a receiver that hangs keeps no other waiting.
		jobs.Watch: {Handler: func(ctx context.Context, j *jobs.Job) (jobs.Result, error) { return a.now().watch(ctx, j) }, Workers: 4},
		jobs.Tell:  {Handler: func(ctx context.Context, j *jobs.Job) (jobs.Result, error) { return a.now().tell(ctx, j) }, Workers: 8},
	}
}

// Start makes sure that each tenant is watched. It may be repeated.
func (a *Alerter) Start(ctx context.Context) error { return a.Begin(ctx, a.Tenants()...) }

// Begin is Start for tenants that are watched from now on.
func (a *Alerter) Begin(ctx context.Context, tenants ...backup.TenantID) error {
	var specs []jobs.Spec
	for _, t := range tenants {
		specs = append(specs, jobs.Spec{Kind: jobs.Watch, Key: string(t), Tenant: t})
	}
	if err := a.DB.Tx(ctx, func(tx *database.Tx) error { return a.Queue.Enqueue(ctx, tx, specs...) }); err != nil {
		return fmt.Errorf("begin to watch: %w", err)
	}
	return nil
}

// watch is the job of a tenant that looks at what stands.
func (a *Alerter) watch(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	standing, err := a.Catalog.Conditions(ctx, j.Tenant, a.Times, a.Kinds)
	if err != nil {
		return jobs.Result{}, err
	}
	looked := []backup.AlertKind{backup.AlertApprovalWaits, backup.AlertVaultDamaged, backup.AlertWorkWaits, backup.AlertRPOMissed, backup.AlertUnitsFailing, backup.AlertItemsUnread}
	look := func(kind backup.AlertKind, examples []backup.AlertExample) {
		looked = append(looked, kind)
		if len(examples) > 0 {
			standing = append(standing, backup.Condition{Kind: kind, Count: int64(len(examples)), Examples: examples})
		}
	}
	now := a.Clock()
	if a.Vault != nil {
		var wrong []backup.AlertExample
		if text := a.Vault(ctx, j.Tenant); text != "" {
			wrong = []backup.AlertExample{{Text: text}}
		}
		look(backup.AlertVaultUnavailable, wrong)
	}
	if a.Source != nil {
		if texts, known := a.Source(ctx, j.Tenant); known {
			var wrong []backup.AlertExample
			for _, text := range texts {
				wrong = append(wrong, backup.AlertExample{Text: text})
			}
			look(backup.AlertSourceRefused, wrong)
		}
	}
	if a.Audit != nil {
		wrong, err := a.Audit(ctx, j.Tenant)
		if err != nil {
			return jobs.Result{}, err
		}
		look(backup.AlertAuditWaits, wrong)
	}
	if a.Ends != nil {
		ends, err := a.Ends(ctx, j.Tenant)
		if err != nil {
			a.Log.WarnContext(ctx, "it could not be found out when the credentials of a tenant end", "tenant", j.Tenant, "err", err)
		}
		var soon []backup.AlertExample
		for _, e := range ends {
			if e.At.Sub(now) < a.Expiry {
				text := "It ends on " + e.At.UTC().Format("2006-01-02 15:04 MST") + "."
				if e.At.Before(now) {
					text = "It ended on " + e.At.UTC().Format("2006-01-02 15:04 MST") + "."
				}
				soon = append(soon, backup.AlertExample{Name: e.What, Text: text})
			}
		}
		if err == nil || len(soon) > 0 {
			look(backup.AlertExpiring, soon)
		}
	}
	if ctx.Err() != nil { // what was looked at may have been cut off
		return jobs.Result{}, context.Cause(ctx)
	}
	to, err := a.recipients(ctx, j.Tenant)
	if err != nil {
		return jobs.Result{}, err
	}
	err = a.Catalog.KeepAlerts(ctx, j, looked, standing, func(news []catalog.AlertNews) []backup.Message {
		for _, n := range news {
			a.Log.WarnContext(ctx, "alert", "tenant", j.Tenant, "kind", n.Kind, "news", n.News, "count", n.Count)
		}
		return a.compose(j.Tenant, news, to)
	})
	if err == nil && a.Weekly {
		err = a.Catalog.KeepWeek(ctx, j, lastMonday(now), func(w catalog.Week) []backup.Message {
			return messages(a.report(j.Tenant, w), to)
		})
	}
	return jobs.Again(now.Add(a.Every)), err
}

// report is the message of a week.
func (a *Alerter) report(tenant backup.TenantID, w catalog.Week) Message {
	return Message{Type: "report", Link: a.Link, Tenant: tenant, Name: a.Names(tenant), Time: a.Clock().UTC(), Report: reportOf(w, a.Times)}
}

// lastMonday is when the last report was due: on Mondays at 06:00 in UTC.
func lastMonday(now time.Time) time.Time {
	at := now.UTC().Add(-6 * time.Hour).Truncate(24 * time.Hour)
	return at.AddDate(0, 0, -(int(at.Weekday())+6)%7).Add(6 * time.Hour)
}

// A recipient is one of those that a message goes to.
type recipient struct{ destination, address string }

// recipients are all that are told of a tenant.
func (a *Alerter) recipients(ctx context.Context, tenant backup.TenantID) (all []recipient, err error) {
	for _, d := range a.To {
		if len(d.Tenants) > 0 && !slices.Contains(d.Tenants, tenant) {
			continue
		}
		if len(d.Mail) == 0 {
			all = append(all, recipient{d.Name, ""})
		}
		for _, address := range d.Mail {
			all = append(all, recipient{d.Name, address})
		}
	}
	if a.Mail == nil {
		return all, nil
	}
	setting, err := a.Catalog.EmailSetting(ctx, tenant)
	if err != nil || !setting.Enabled {
		return all, err
	}
	for _, r := range setting.Recipients {
		if r.Email != "" {
			all = append(all, recipient{Setting, r.Email})
		}
	}
	return all, nil
}

// compose makes a message of all news for each recipient.
func (a *Alerter) compose(tenant backup.TenantID, news []catalog.AlertNews, to []recipient) (all []backup.Message) {
	if len(news) == 0 {
		return nil
	}
	slices.SortStableFunc(news, func(x, y catalog.AlertNews) int {
		return cmp.Compare(slices.Index(backup.AlertKinds, x.Kind), slices.Index(backup.AlertKinds, y.Kind))
	})
	m := Message{Type: "alerts", Link: a.Link, Tenant: tenant, Name: a.Names(tenant), Time: a.Clock().UTC()}
	for _, n := range news {
		m.Alerts = append(m.Alerts, EntryOf(n, a.Times))
	}
	return messages(m, to)
}

// messages are m for each recipient.
func messages(m Message, to []recipient) (all []backup.Message) {
	for _, r := range to {
		m.ID = backup.NewID[backup.MessageID]()
		body, err := json.Marshal(m)
		if err != nil {
			panic(err) // of our own plain types
		}
		all = append(all, backup.Message{ID: m.ID, Destination: r.destination, Recipient: r.address, Body: string(body)})
	}
	return all
}

// sender returns how a message gets to a recipient, nil if that is not known here.
func (a *Alerter) sender(tenant backup.TenantID, to recipient) func(context.Context, *Message) error {
	mail := func(ctx context.Context, m *Message) error { return a.Mail.send(ctx, to.address, m) }
	if to.destination == Setting {
		if a.Mail == nil {
			return nil
		}
		return mail
	}
	i := slices.IndexFunc(a.To, func(d Destination) bool { return d.Name == to.destination })
	switch {
	case i < 0, len(a.To[i].Tenants) > 0 && !slices.Contains(a.To[i].Tenants, tenant):
		return nil
	case a.To[i].Hook != nil:
		return a.To[i].Hook.send
	case a.To[i].Teams != nil:
		return a.To[i].Teams.sendCard
	case a.Mail != nil && slices.Contains(a.To[i].Mail, to.address):
		return mail
	}
	return nil
}

// tell is the job of one destination that sends what waits for it.
func (a *Alerter) tell(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	var destination string
	if err := j.Decode(&destination); err != nil {
		return jobs.Result{}, err
	}
	for {
		waiting, err := a.Catalog.WaitingMessages(ctx, j.Tenant, destination, 50)
		if err != nil || len(waiting) == 0 {
			return jobs.Done, err
		}
		for _, m := range waiting {
			if m.Due.After(a.Clock()) {
				return jobs.Again(m.Due), nil
			}
			away, err := a.try(ctx, j, &m)
			if err != nil {
				return jobs.Result{}, err
			}
			if away { // and would be for the others
				return jobs.Again(m.Due), nil
			}
		}
	}
}

// try sends one message, and notes what came of it. It reports whether its
// destination is away.
func (a *Alerter) try(ctx context.Context, j *jobs.Job, m *backup.Message) (away bool, err error) {
	now := a.Clock()
	giveUp := func(why string) error {
		a.Log.ErrorContext(ctx, "a message to people is given up", "tenant", j.Tenant, "to", m.Destination, "id", m.ID, "why", why)
		m.State, m.Ended, m.Problem = backup.MessageGivenUp, a.Clock(), why
		return a.Catalog.SaveMessage(ctx, j, *m)
	}
	send := a.sender(j.Tenant, recipient{m.Destination, m.Recipient})
	var body Message
	switch {
	case send == nil:
		return false, giveUp("the destination is not in the configuration any more")
	case now.Sub(m.Created) > patience:
		return false, giveUp("it could not be sent for a week; the last time: " + m.Problem)
	}
	if err := json.Unmarshal([]byte(m.Body), &body); err != nil {
		return false, giveUp("it cannot be read")
	}
	// The try is noted before it is made: whoever goes on after a kill knows of it.
	m.Tries++
	m.Due = now.Add(min(longest, 30*time.Second<<min(m.Tries, 10)))
	if err := a.Catalog.SaveMessage(ctx, j, *m); err != nil {
		return false, err
	}
	failed := send(ctx, &body)
	if failed != nil && ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // what was sent is noted although the process ends
	defer cancel()
	if failed == nil {
		m.State, m.Ended, m.Problem = backup.MessageSent, a.Clock(), ""
		return false, a.Catalog.SaveMessage(ctx, j, *m)
	}
	f := failureOf(failed)
	if m.Problem = f.text; f.final && now.Sub(m.Created) > refused {
		return false, giveUp("it was refused: " + f.text)
	}
	m.Due = now.Add(max(m.Due.Sub(now), min(f.after, longest)))
	a.Log.WarnContext(ctx, "a message to people could not be sent; it is tried again", "tenant", j.Tenant, "to", m.Destination, "id", m.ID, "tries", m.Tries, "next", m.Due, "why", f.text)
	return !f.final, a.Catalog.SaveMessage(ctx, j, *m)
}

// A Try is what came of a test of a destination.
type Try struct {
	Destination, Recipient string
	Err                    error
}

// Test sends a message to each recipient of a tenant at once, or only to those of
// one destination: a test, or the report as it stands now. Nothing is kept of it.
func (a *Alerter) Test(ctx context.Context, tenant backup.TenantID, only string, report bool) (all []Try, err error) {
	to, err := a.recipients(ctx, tenant)
	if err != nil {
		return nil, err
	}
	m := Message{Type: "test", Link: a.Link, Tenant: tenant, Name: a.Names(tenant), Time: a.Clock().UTC()}
	if report {
		w, err := a.Catalog.Week(ctx, tenant)
		if err != nil {
			return nil, err
		}
		m = a.report(tenant, w)
	}
	for _, r := range to {
		if only != "" && r.destination != only {
			continue
		}
		send := a.sender(tenant, r)
		if send == nil {
			continue
		}
		t := Try{Destination: r.destination, Recipient: r.address}
		m.ID = backup.NewID[backup.MessageID]()
		if err := send(ctx, &m); err != nil {
			t.Err = fmt.Errorf("%s", failureOf(err).text)
		}
		all = append(all, t)
	}
	return all, nil
}

// A failure is why a message was not taken, without anything secret.
type failure struct {
	text  string
	final bool          // it is this message, or how it is addressed, that is refused
	after time.Duration // how long the receiver asks to be left alone
}

func (f *failure) Error() string { return f.text }

// RetryAfter is how long the receiver that has not taken something asks to be left
// alone, at most an hour.
func RetryAfter(err error) time.Duration { return min(failureOf(err).after, longest) }

func failureOf(err error) *failure {
	if f, ok := err.(*failure); ok {
		return f
	}
	return &failure{text: err.Error()}
}

// Without is an error's text without secrets, and of bearable length.
func Without(text string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return r < ' ' }), " ")
	if len(text) > 400 {
		text = strings.ToValidUTF8(text[:400], "") + "…"
	}
	return text
}
