package main

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
)

const approvalSet = "/holdfast.approvals"

func (c *cli) approvalCommand() *cobra.Command {
	var all bool
	list := &cobra.Command{Use: "list", Short: "List what waits for another person's approval", Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.approvalList(ctx, all) })}
	list.Flags().BoolVar(&all, "all", false, "also what was approved, denied, or otherwise is over")
	var comment string
	decide := func(use, short, state string) *cobra.Command {
		cmd := &cobra.Command{Use: use + " APPROVAL", Short: short, Args: args(1, 1),
			RunE: c.run(func(ctx context.Context, ids []string) error {
				return c.approvalDecide(ctx, ids[0], use, state, comment)
			})}
		cmd.Flags().StringVar(&comment, "comment", "", "what is to be said of it, for whoever asked and in the audit log")
		return cmd
	}
	return group("approval", "Approve or deny what another person asks for", `Where a tenant's configuration says so, restores in place, and what makes backups go
earlier, wait until another person has approved them. Whoever asked cannot, and no
application can: sign in as a person.`,
		list,
		&cobra.Command{Use: "show APPROVAL...", Short: "Show what would be done, and who asks for it", Args: args(1, -1), RunE: c.run(c.approvalShow)},
		decide("approve", "Have it be done", string(backup.ApprovalApproved)),
		decide("deny", "Have it not be done", string(backup.ApprovalDenied)))
}

func (c *cli) approvalList(ctx context.Context, all bool) error {
	path, none := approvalSet, "Nothing waits for an approval, or did."
	if !all {
		path, none = waitingApprovals, "Nothing waits for an approval."
	}
	approvals, values, err := read[approvalAnswer](c.api.All(ctx, path))
	if err != nil {
		return err
	}
	return printList(c, values, approvals, func(a approvalAnswer) string { return a.ID }, []string{"APPROVAL", "STATE", "ASKED", "BY", "UNTIL", "WHAT"},
		func(a approvalAnswer) []string {
			return []string{a.ID, a.State, clock(a.AskedDateTime), by(a.AskedBy), clock(a.ExpirationDateTime), a.What}
		}, none)
}

// waitingApprovals are those that nobody has decided.
var waitingApprovals = approvalSet + "?" + query("$filter", "state eq '"+string(backup.ApprovalWaiting)+"'")

func (c *cli) approvalShow(ctx context.Context, ids []string) error {
	for i, id := range ids {
		a, value, err := get[approvalAnswer](ctx, c, approvalSet+"/"+segment(id))
		if err != nil {
			return err
		}
		if i > 0 {
			c.say("")
		}
		if err := c.printApproval(a, value); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printApproval(a approvalAnswer, value json.RawMessage) error {
	decided := ""
	if !a.DecidedDateTime.IsZero() {
		decided = stamp(a.DecidedDateTime, by(a.DecidedBy))
	}
	of := map[string]string{string(backup.ApprovalRestore): "Session", string(backup.ApprovalOffboard): "Unit", string(backup.ApprovalRetention): "Policy"}[a.Kind]
	if of == "" {
		of = "Of"
	}
	return c.printOne(value, a.ID, "Approval", a.ID, "State", a.State, "What", a.What, of, a.ObjectID, "Asked", stamp(a.AskedDateTime, by(a.AskedBy)),
		"Until", clock(a.ExpirationDateTime), "Decided", decided, "Comment", a.Comment)
}

// approvalDecide approves or denies, and shows what became of it.
func (c *cli) approvalDecide(ctx context.Context, id, action, state, comment string) error {
	a, value, err := get[approvalAnswer](ctx, c, approvalSet+"/"+segment(id))
	if err != nil {
		return err
	}
	if a.State == state {
		c.already("It is %s already", state)
		return c.printApproval(a, value)
	}
	body := map[string]any{}
	if comment != "" {
		body["comment"] = comment
	}
	if err = c.api.Act(ctx, approvalSet+"/"+url.PathEscape(a.ID)+"/"+action, body, &value); err == nil {
		a = approvalAnswer{}
		err = json.Unmarshal(value, &a)
	}
	if err != nil {
		return err
	}
	return c.printApproval(a, value)
}

// waitsFor is the error of a session that waits for another person's approval, which may
// take a day.
func (a *approvalAnswer) waitsFor(session string) error {
	return fail(exitFailed, "the restore waits for another person's approval, until %s: %s\nSomebody else approves it in the console, or with 'holdfast approval approve %s'; then 'holdfast restore wait %s' waits until it is over",
		clock(a.ExpirationDateTime), a.What, a.ID, session)
}
