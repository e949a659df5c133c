// Package audit hands the audit log on to where it is kept outside: a file, a syslog
// server, a webhook.
//
// It promises that each entry which was committed is taken by each outlet at least
// once, in one order. An outlet's place in the log moves on only when what was handed
// over is known to have been taken, in a transaction of its own: a process that is
// killed between the two has the last entries be taken twice, under the same ids.
// What an outlet does not take stops that outlet and no other; it is tried until it is
// taken, and never left out.
//
// No secret is in what it hands on, stores or logs.
package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/internal/alert"
	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Config says where the log goes.
type Config struct {
	Catalog *catalog.Catalog         // required
	DB      *database.DB             // the catalog's; required
	Queue   *jobs.Queue              // required
	Tenants func() []backup.TenantID // whose logs, now; required by Look
	Clock   backup.Clock             // required
	Log     *slog.Logger             // required
	To      []Outlet
	Every   time.Duration // how often is looked for new entries; default 2 seconds
	Timeout time.Duration // of what is handed over at a time; default 30 seconds
}

// An Outlet is a place where the log is kept: one of file, syslog and hook.
type Outlet struct {
	Name    string
	Tenants []backup.TenantID // whose; none for all
	File    string
	Syslog  *Syslog
	Hook    *alert.Hook
}

const (
	most      = 100             // entries that are handed over at a time
	mostBytes = 512 << 10       // of them
	longest   = 5 * time.Minute // between two tries
	again     = 5 * time.Minute // all outlets are looked at, whatever was missed
)

// A Shipper hands the log on.
type Shipper struct {
	Config
	later atomic.Pointer[Config] // that it was given since
}

// New returns a shipper.
func New(cfg Config) *Shipper {
	cfg.Every = cmp.Or(cfg.Every, 2*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	return &Shipper{Config: cfg}
}

// Follow has the outlets be those of another configuration, from the next look on.
func (s *Shipper) Follow(cfg Config) { s.later.Store(&cfg) }

// now is s as it is to do its work.
func (s *Shipper) now() *Shipper {
	is := &Shipper{Config: s.Config}
	if l := s.later.Load(); l != nil {
		is.To = l.To
	}
	return is
}

// Has reports whether an outlet is one of those in the configuration.
func (s *Shipper) Has(name string) bool {
	return slices.ContainsFunc(s.now().To, func(o Outlet) bool { return o.Name == name })
}

// Work returns the handlers of its jobs.
func (s *Shipper) Work() map[jobs.Kind]jobs.Work {
	return map[jobs.Kind]jobs.Work{jobs.Ship: {Handler: func(ctx context.Context, j *jobs.Job) (jobs.Result, error) { return s.now().ship(ctx, j) }, Workers: 8}} // several: one may hang
}

// Run looks for new entries until ctx ends, and has the outlets take them.
func (s *Shipper) Run(ctx context.Context) {
	var looked time.Time
	followed, wrong := s.later.Load(), ""
	for {
		if later := s.later.Load(); later != followed { // new outlets are to have all at once
			followed, looked = later, time.Time{}
		}
		err := s.Look(ctx, s.Clock().Sub(looked) >= again)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if s.Clock().Sub(looked) >= again {
				looked = s.Clock()
			}
			wrong = ""
		case err.Error() != wrong:
			wrong = err.Error()
			s.Log.WarnContext(ctx, "it cannot be looked for new entries of the audit log; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.Every):
		}
	}
}

// Look has the outlets of tenants with new entries be served, or all of them.
func (s *Shipper) Look(ctx context.Context, all bool) error {
	s = s.now()
	tenants := s.Tenants()
	if err := s.Catalog.NumberActivities(ctx, tenants, s.jobs); err != nil || !all {
		return err
	}
	var specs []jobs.Spec
	for _, t := range tenants {
		specs = append(specs, s.jobs(t)...)
	}
	return s.DB.Tx(ctx, func(tx *database.Tx) error { return s.Queue.Enqueue(ctx, tx, specs...) })
}

// jobs are those of a tenant's outlets.
func (s *Shipper) jobs(t backup.TenantID) (specs []jobs.Spec) {
	for _, o := range s.To {
		if len(o.Tenants) == 0 || slices.Contains(o.Tenants, t) {
			specs = append(specs, jobs.Spec{Kind: jobs.Ship, Key: string(t) + "/" + o.Name, Tenant: t, Args: o.Name})
		}
	}
	return specs
}

// ship is the job of one tenant and outlet.
func (s *Shipper) ship(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	var name string
	if err := j.Decode(&name); err != nil {
		return jobs.Result{}, err
	}
	i := slices.IndexFunc(s.To, func(o Outlet) bool { return o.Name == name })
	if i < 0 || len(s.To[i].Tenants) > 0 && !slices.Contains(s.To[i].Tenants, j.Tenant) {
		return jobs.Done, nil // whoever has it in its configuration asks for it again
	}
	for {
		o, next, err := s.Catalog.Unsent(ctx, j.Tenant, name, most)
		if err != nil || len(next) == 0 {
			return jobs.Done, err
		}
		if o.Tries > 0 { // it may be one of them that is refused
			next = next[:1]
		}
		lines, err := linesOf(next)
		if err != nil {
			return jobs.Result{}, err
		}
		limited, cancel := context.WithTimeout(ctx, s.Timeout)
		failed := s.To[i].send(limited, j.Tenant, next[:len(lines)], lines)
		cancel()
		if failed != nil && ctx.Err() != nil {
			return jobs.Result{}, context.Cause(ctx)
		}
		keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // what was taken is noted although the process ends
		if failed == nil {
			if o.Tries > 0 {
				s.Log.InfoContext(ctx, "the audit log is taken again", "tenant", j.Tenant, "outlet", name)
			}
			o.Sent += int64(len(lines))
			o.Tries, o.Since, o.Problem = 0, time.Time{}, ""
		} else {
			now := s.Clock()
			if o.Tries == 0 {
				o.Since = now
			}
			o.Tries++
			o.Problem = alert.Without(failed.Error(), s.To[i].secrets()...)
		}
		err = s.Catalog.SaveOutlet(keep, j, o)
		cancel()
		if err != nil {
			return jobs.Result{}, err
		}
		if failed != nil {
			due := s.Clock().Add(max(alert.RetryAfter(failed), min(longest, 5*time.Second<<min(o.Tries-1, 10))))
			s.Log.WarnContext(ctx, "the audit log is not taken; it is tried again", "tenant", j.Tenant, "outlet", name, "entries", o.Last-o.Sent, "tries", o.Tries, "next", due, "why", o.Problem)
			return jobs.Again(due), nil
		}
	}
}

// linesOf are entries as JSON without line ends, as many as are handed over at a time.
func linesOf(all []backup.Activity) (lines [][]byte, err error) {
	size := 0
	for _, a := range all {
		line, err := lineOf(a)
		if err != nil {
			return nil, err
		}
		if size += len(line); len(lines) > 0 && size > mostBytes {
			break
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// lineOf is an entry as 'holdfast audit export' prints it.
func lineOf(a backup.Activity) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(a)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// send hands entries over, and returns nil once they are known to have been taken.
func (o *Outlet) send(ctx context.Context, tenant backup.TenantID, all []backup.Activity, lines [][]byte) error {
	switch {
	case o.File != "":
		return appendLines(ctx, o.File, lines)
	case o.Syslog != nil:
		return o.Syslog.send(ctx, all, lines)
	case o.Hook != nil:
		body := fmt.Appendf(nil, `{"type":"audit","tenantId":%q,"activities":[%s]}`, tenant, bytes.Join(lines, []byte(",")))
		// The same entries have the same id, whoever sends them again: their order never changes.
		return o.Hook.Post(ctx, fmt.Sprintf("%s-%d", all[0].ID, len(all)), body)
	}
	return fmt.Errorf("the outlet %q leads nowhere", o.Name)
}

func (o *Outlet) secrets() []string {
	if o.Hook == nil {
		return nil
	}
	return []string{o.Hook.URL, o.Hook.Secret}
}

// Standing says which outlets of a tenant have not taken anything for long.
func Standing(all []catalog.Outlet, now time.Time, long time.Duration) (wrong []backup.AlertExample) {
	for _, o := range all {
		if o.Sent < o.Last && !o.Since.IsZero() && now.Sub(o.Since) >= long {
			wrong = append(wrong, backup.AlertExample{Name: o.Name, Since: o.Since, Text: strings.TrimSpace(fmt.Sprintf("%d entries wait. %s", o.Last-o.Sent, o.Problem))})
		}
	}
	return wrong
}
