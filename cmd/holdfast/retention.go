package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// A retentionCommand is what the commands for retention have in common.
type retentionCommand struct {
	at             catalogAt
	tenant, policy string
	after          time.Duration
	asJSON         bool
}

// newRetention is the command for how long restore points are kept. It works
// on the database itself: whoever may do that is the operator.
func newRetention() *cobra.Command {
	var c retentionCommand
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Show and change how long restore points are kept, and legal holds",
		Long: `Retention says how long the restore points of each policy are kept. It is kept
in the database, and these commands work on that, also beside a server.

What keeps every point at least as long as before holds at once. Anything else,
the end of a legal hold too, waits for --after, and can be called off with
cancel until then. Where the server's configuration has another person approve
that, it waits for the approval before. All is written to the audit log.

With --database, a password for PostgreSQL is taken from where its own clients
look for it, such as the environment variable PGPASSWORD.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	c.at.flags(f)
	f.StringVar(&c.tenant, "tenant", "", "the tenant, by its id (may be left out where there is one)")

	show := &cobra.Command{
		Use:   "show",
		Short: "Show how long restore points are kept, and what is about to change",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), func(ctx context.Context, db *catalog.Catalog, tenants []backup.TenantID) error {
				for _, t := range tenants {
					if err := c.show(ctx, db, t, cmd.OutOrStdout()); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	show.Flags().BoolVar(&c.asJSON, "json", false, "print a JSON object for each tenant and policy, one on a line")
	cmd.AddCommand(show)

	c.after = backup.RetentionDelay
	for _, change := range []struct {
		use, short string
		args       cobra.PositionalArgs
		waits      bool
		change     func(args []string) (func(*backup.Retention), error) // nil for cancel
	}{
		{"set INTERVAL=PERIOD...", "Keep the first point of each interval for a period, such as R/PT10M=P2W R/P1W=P1Y", cobra.ArbitraryArgs, true, setRetention},
		{"hold", "Put everything under a legal hold, at once", noArgs, false, setHold(true)},
		{"release", "End a legal hold", noArgs, true, setHold(false)},
		{"cancel", "Call off a change that waits", noArgs, false, nil},
	} {
		sub := &cobra.Command{
			Use: change.use, Short: change.short, Args: change.args,
			RunE: func(cmd *cobra.Command, args []string) error {
				if c.after < backup.ShortestRetentionDelay {
					return usageError{fmt.Errorf("--after: %v is too short: give %v at least", c.after, backup.ShortestRetentionDelay)}
				}
				var apply func(*backup.Retention)
				if change.change != nil {
					var err error
					if apply, err = change.change(args); err != nil {
						return usageError{err}
					}
				}
				return c.run(cmd.Context(), func(ctx context.Context, db *catalog.Catalog, tenants []backup.TenantID) error {
					if len(tenants) != 1 {
						return usageError{fmt.Errorf("the database holds %d tenants: name one with --tenant", len(tenants))}
					}
					return c.change(ctx, db, tenants[0], cmd, args, apply)
				})
			},
		}
		sub.Flags().StringVar(&c.policy, "policy", "", "the policy, by its id (default: the tenant, which is what is in no policy, what new policies begin with, and a hold on everything)")
		if change.waits {
			sub.Flags().DurationVar(&c.after, "after", backup.RetentionDelay, "how long a change waits that makes points go earlier, 24h at least")
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

func setHold(hold bool) func([]string) (func(*backup.Retention), error) {
	return func([]string) (func(*backup.Retention), error) {
		return func(r *backup.Retention) { r.LegalHold = hold }, nil
	}
}

// setRetention reads settings.
func setRetention(args []string) (func(*backup.Retention), error) {
	if len(args) == 0 {
		return nil, errors.New("name at least one interval and period, such as R/PT10M=P2W")
	}
	var given backup.Retention
	for _, arg := range args {
		interval, period, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not an interval and a period, such as R/PT10M=P2W", arg)
		}
		given.Settings = append(given.Settings, backup.RetentionSetting{Interval: interval, Period: period})
	}
	if _, err := backup.NewKeeping(given); err != nil {
		return nil, err
	}
	return func(r *backup.Retention) { r.Settings = given.Settings }, nil
}

// run opens the database and gives fn the tenants that are meant.
func (c *retentionCommand) run(ctx context.Context, fn func(context.Context, *catalog.Catalog, []backup.TenantID) error) error {
	if _, err := checkExport(&c.at, &c.tenant, ""); err != nil {
		return err
	}
	if c.policy != "" {
		id, ok := backup.ParseGUID(c.policy)
		if !ok {
			return usageError{fmt.Errorf("--policy: %q is not a policy's id; show lists them", c.policy)}
		}
		c.policy = id
	}
	db, err := c.at.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rules := map[backup.TenantID]backup.ApprovalRule{}
	known := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now,
		Approval: func(t backup.TenantID) backup.ApprovalRule { return rules[t] }})
	tenants, err := known.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, t := range tenants { // as the server's configuration said last
		if rules[t], err = known.ApprovalRule(ctx, t); err != nil {
			return err
		}
	}
	if len(tenants) == 0 {
		return fail(exitNotFound, "the database knows no tenant yet; start its server once")
	}
	if t := backup.TenantID(c.tenant); t != "" {
		if !slices.Contains(tenants, t) { // or a slip of the pen would hold nothing, in silence
			return fail(exitNotFound, "there is no tenant %s in the database; \"holdfast retention show\" lists those there are", t)
		}
		tenants = []backup.TenantID{t}
	}
	return fn(ctx, known, tenants)
}

// change does one of the commands, and tells what came of it.
func (c *retentionCommand) change(ctx context.Context, db *catalog.Catalog, tenant backup.TenantID, cmd *cobra.Command, args []string, apply func(*backup.Retention)) error {
	by := backup.Stamp{At: time.Now(), By: operator()}
	policy := backup.PolicyID(c.policy)
	ctx = catalog.WithAudit(ctx, &catalog.Audit{Activity: backup.Activity{
		Tenant: tenant, Operation: backup.RetentionActivity, By: by.By, Object: c.policy,
		Target: strings.Join(append([]string{"holdfast retention " + cmd.Name()}, args...), " "),
	}})
	all, err := db.Retentions(ctx, tenant)
	if err != nil {
		return err
	}
	of := slices.IndexFunc(all, func(r catalog.Retention) bool { return r.Policy == policy })
	waits := slices.ContainsFunc(all, func(r catalog.Retention) bool { return r.Pending != nil })
	asked, err := db.ApprovalsWaiting(ctx, tenant, backup.ApprovalRetention, 1)
	if err != nil {
		return err
	}
	waits = waits || len(asked) > 0
	if apply == nil && of >= 0 && !waits { // where one waits of something else, that may have been meant
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "No change waits: nothing was to be done.")
		return err
	}
	if apply != nil && of >= 0 && all[of].Pending != nil && !cmd.Flags().Changed("after") {
		wanted := *all[of].Pending
		apply(&wanted)
		if wanted.Equal(*all[of].Pending) { // and is not put off
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "From %s on it will be so, as was said before (%s): nothing was to be done.\n", when(all[of].Effective), wanted)
			return err
		}
	}
	if apply == nil {
		kept, err := db.CancelRetention(ctx, tenant, policy, by)
		if errors.Is(err, catalog.ErrNothingWaits) {
			of := "the tenant's own retention; for that of a policy give --policy"
			if policy != "" {
				of = "the policy's retention"
			}
			return fail(exitNotFound, "nothing was called off: no change waits of %s. \"holdfast retention show\" lists those that do", of)
		}
		if err != nil {
			return c.unknown(err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "The change is called off, and nothing waits. Kept are %s.\n", kept.Kept)
		return err
	}
	same := false
	changed, err := db.ChangeRetention(ctx, tenant, policy, c.after, func(r *backup.Retention) {
		before := *r
		apply(r)
		same = r.Equal(before)
	}, by)
	switch {
	case err != nil:
		return c.unknown(err)
	case changed.Approval != nil:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "This waits for another person's approval, until %s. An administrator of the tenant approves it in the console, or with \"holdfast approval approve %s\"; it takes effect %v hours after that. Until then all stays as it is, and it can be called off with \"holdfast retention cancel\".\n",
			when(changed.Approval.Expires), changed.Approval.ID, c.after.Hours())
		return err
	case same && !changed.Waits:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "It was so before (%s): nothing was to be done.\n", changed.Kept)
		return err
	case !changed.Waits:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "From now on: %s.\n", changed.Kept)
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "From %s on: %s.\nOf the restore points that there are, %d of %s go then that would not go now. Until then it can be called off with \"holdfast retention cancel\".\n",
		when(changed.Effective), changed.Pending, changed.Points, number(changed.Drives, "drive"))
	return err
}

// unknown returns what to say of a change that failed.
func (c *retentionCommand) unknown(err error) error {
	if errors.Is(err, backup.PolicyNotFound) {
		return fail(exitNotFound, "there is no policy %s in the tenant, and never was; \"holdfast retention show\" lists them", c.policy)
	}
	return err
}

// A shownRetention is a tenant's or policy's retention as show prints it for
// programs.
type shownRetention struct {
	Tenant    backup.TenantID   `json:"tenant"`
	Policy    backup.PolicyID   `json:"policy,omitempty"`
	Kept      backup.Retention  `json:"kept"`
	Pending   *backup.Retention `json:"pending,omitempty"`
	Effective time.Time         `json:"effective,omitzero"`
	Points    int64             `json:"pointsThatGo,omitempty"`
	Drives    int64             `json:"ofDrives,omitempty"`
	Modified  time.Time         `json:"modified,omitzero"`
	By        string            `json:"by,omitempty"`
	Approval  *shownApproval    `json:"waitsForApproval,omitempty"`
}

// A shownApproval is the approval that a change of a retention waits for.
type shownApproval struct {
	ID      backup.ApprovalID `json:"id"`
	What    string            `json:"what"`
	Expires time.Time         `json:"expires"`
	By      string            `json:"by,omitempty"`
}

// show prints how a tenant keeps its points.
func (c *retentionCommand) show(ctx context.Context, db *catalog.Catalog, tenant backup.TenantID, out io.Writer) error {
	all, err := db.Retentions(ctx, tenant)
	if err != nil {
		return err
	}
	asked, err := db.ApprovalsWaiting(ctx, tenant, backup.ApprovalRetention, len(all))
	if err != nil {
		return err
	}
	for _, r := range all {
		s := shownRetention{Tenant: tenant, Policy: r.Policy, Kept: r.Kept, Pending: r.Pending, Effective: r.Effective, Modified: r.Modified.At, By: r.Modified.By.User.DisplayName}
		if i := slices.IndexFunc(asked, func(a backup.Approval) bool { return a.Object == string(r.Policy) }); i >= 0 {
			a := asked[i]
			s.Approval = &shownApproval{a.ID, a.What, a.Expires, a.Asked.By.Who()}
		}
		if s.Points, s.Drives, err = db.PendingCost(ctx, tenant, r.Policy); err != nil {
			return err
		}
		if c.asJSON {
			err = json.NewEncoder(out).Encode(s)
		} else {
			err = c.print(ctx, db, s, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// print prints a retention for people.
func (c *retentionCommand) print(ctx context.Context, db *catalog.Catalog, s shownRetention, out io.Writer) error {
	what := "Tenant " + string(s.Tenant)
	if s.Policy != "" {
		what = "  Policy " + string(s.Policy)
		p, err := db.Policy(ctx, s.Tenant, s.Policy)
		switch {
		case err == nil:
			what += " " + p.DisplayName
		case errors.Is(err, backup.PolicyNotFound):
			what += ", which is gone"
		default:
			return err
		}
	}
	text := what + ": " + s.Kept.String() + "\n"
	if s.Pending != nil {
		text += fmt.Sprintf("    from %s on: %s; %d restore points of %s go then\n", when(s.Effective), s.Pending, s.Points, number(s.Drives, "drive"))
	}
	if a := s.Approval; a != nil {
		text += fmt.Sprintf("    waits for another person's approval until %s: %s\n", when(a.Expires), a.What)
	}
	_, err := io.WriteString(out, text)
	return err
}

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// operator is who runs the command, as far as the system says.
func operator() backup.IdentitySet {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return backup.IdentitySet{Application: backup.Identity{DisplayName: "holdfast"}, User: backup.Identity{DisplayName: name}}
}
