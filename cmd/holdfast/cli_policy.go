package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
)

const policySet = "/oneDriveForBusinessProtectionPolicies"

func (c *cli) policyCommand() *cobra.Command {
	completed := c.completePolicies
	list := &cobra.Command{Use: "list", Short: "List the policies", Args: args(0, 0), RunE: c.run(c.policyList)}
	show := &cobra.Command{Use: "show POLICY", Short: "Show a policy and how its drives fare", Args: args(1, 1), ValidArgsFunction: completed, RunE: c.run(c.policyShow)}

	var owners []string
	create := &cobra.Command{Use: "create NAME [--drive OWNER]...", Short: "Make a policy; it begins inactive", Args: args(1, 1)}
	create.Flags().StringArrayVar(&owners, "drive", nil, "`OWNER`'s drive is to be in it, by address or object id (again for more; 'drive add' takes any number)")
	create.RunE = c.run(func(ctx context.Context, args []string) error { return c.policyCreate(ctx, args[0], owners) })

	rename := &cobra.Command{Use: "rename POLICY NAME", Short: "Give a policy another name", Args: args(2, 2), ValidArgsFunction: completed, RunE: c.run(c.policyRename)}

	var wait bool
	waits := func(cmd *cobra.Command, what string) *cobra.Command {
		cmd.Flags().BoolVar(&wait, "wait", false, what)
		return cmd
	}
	activate := waits(&cobra.Command{Use: "activate POLICY", Short: "Start the backups of a policy's drives", Args: args(1, 1), ValidArgsFunction: completed,
		RunE: c.run(func(ctx context.Context, args []string) error { return c.policyMove(ctx, args[0], "activate", wait) })},
		"wait until each drive is protected")
	deactivate := waits(&cobra.Command{Use: "deactivate POLICY", Short: "Stop the backups; what was backed up stays", Args: args(1, 1), ValidArgsFunction: completed,
		RunE: c.run(func(ctx context.Context, args []string) error { return c.policyMove(ctx, args[0], "deactivate", wait) })},
		"wait until no drive is protected any more")
	waitFor := &cobra.Command{Use: "wait POLICY", Short: "Wait until nothing is being changed in a policy", Args: args(1, 1), ValidArgsFunction: completed,
		RunE: c.run(func(ctx context.Context, args []string) error {
			p, err := c.policy(ctx, args[0])
			if err != nil {
				return err
			}
			return c.policyWait(ctx, p)
		})}
	remove := &cobra.Command{Use: "delete POLICY", Short: "Delete an inactive policy; its drives' backups stay", Args: args(1, 1), ValidArgsFunction: completed, RunE: c.run(c.policyDelete)}
	explain := &cobra.Command{Use: "explain POLICY DRIVE", Short: "Say why a drive is in a policy or is not", Args: args(2, 2), ValidArgsFunction: completed, RunE: c.run(c.policyExplain)}
	return group("policy", "Make, change, activate and delete protection policies",
		"A policy says which drives are backed up. Each command takes a policy by its\nid or by its exact name.", list, show, create, rename, activate, deactivate, waitFor, remove, explain)
}

func (c *cli) policyList(ctx context.Context, _ []string) error {
	policies, values, err := read[policyAnswer](c.api.All(ctx, policySet))
	if err != nil {
		return err
	}
	return printList(c, values, policies, func(p policyAnswer) string { return p.ID },
		[]string{"ID", "NAME", "STATUS", "CREATED", "BY"},
		func(p policyAnswer) []string {
			return []string{p.ID, p.DisplayName, p.Status, clock(p.CreatedDateTime), by(p.CreatedBy)}
		}, "There are no policies. Make one with 'holdfast policy create NAME'.")
}

// policyCounted is a policy with the numbers of its drives.
const policyCounted = "?$select=id,displayName,status,retentionSettings,createdBy,createdDateTime,lastModifiedBy,lastModifiedDateTime,protectionPolicyArtifactCount"

func (c *cli) policyShow(ctx context.Context, args []string) error {
	p, err := c.policy(ctx, args[0])
	if err != nil {
		return err
	}
	p, value, err := get[policyAnswer](ctx, c, policySet+"/"+p.ID+policyCounted)
	if err != nil {
		return err
	}
	return c.printPolicy(p, value)
}

func (c *cli) printPolicy(p policyAnswer, value json.RawMessage) error {
	var drives string
	if n := p.ProtectionPolicyArtifactCount; n != nil {
		drives = fmt.Sprint(n.Total)
		if n.Total > 0 {
			drives += fmt.Sprintf(": %d protected, %d being changed, %d not protected", n.Completed, n.InProgress, n.Total-n.Completed-n.InProgress)
		}
	}
	var kept []string
	for _, r := range p.RetentionSettings {
		kept = append(kept, fmt.Sprintf("%s kept %s", span("every", strings.TrimPrefix(r.Interval, "R/")), span("for", r.Period)))
	}
	return c.printOne(value, p.ID, "ID", p.ID, "Name", p.DisplayName, "Status", p.Status, "Drives", drives, "Points", strings.Join(kept, ", "),
		"Created", stamp(p.CreatedDateTime, by(p.CreatedBy)), "Changed", clock(p.LastModifiedDateTime))
}

// span says an ISO 8601 duration of one number in words, or as it is.
func span(before, iso string) string {
	units := map[string]string{"PT%dM": "minute", "PT%dH": "hour", "P%dD": "day", "P%dW": "week", "P%dM": "month", "P%dY": "year"}
	for form, unit := range units {
		var n int
		if _, err := fmt.Sscanf(iso, form, &n); err == nil && fmt.Sprintf(form, n) == iso {
			if n == 1 && before == "every" {
				return before + " " + unit
			}
			return before + " " + number(n, unit)
		}
	}
	return before + " " + iso
}

func stamp(at time.Time, who string) string {
	if text := clock(at); text != "" && who != "" {
		return text + " by " + who
	}
	return clock(at)
}

func (c *cli) policyCreate(ctx context.Context, name string, owners []string) error {
	body := map[string]any{"displayName": name}
	var units []any
	for _, owner := range owners {
		id, err := c.owner(ctx, owner)
		if err != nil {
			return err
		}
		units = append(units, map[string]any{"directoryObjectId": id})
	}
	if units != nil {
		body["driveProtectionUnits"] = units
	}
	var value json.RawMessage
	if err := c.api.Create(ctx, policySet, body, &value); err != nil {
		return err
	}
	var p policyAnswer
	if err := json.Unmarshal(value, &p); err != nil {
		return err
	}
	if err := c.printPolicy(p, value); err != nil {
		return err
	}
	c.say("")
	c.say("Next: 'holdfast drive add --policy %s ADDRESS...', then 'holdfast policy activate %s'.", p.ID, p.ID)
	return nil
}

func (c *cli) policyRename(ctx context.Context, args []string) error {
	p, err := c.policy(ctx, args[0])
	if err != nil {
		return err
	}
	if err := c.api.Patch(ctx, policySet+"/"+p.ID, map[string]any{"displayName": args[1]}, nil); err != nil {
		return err
	}
	p, value, err := get[policyAnswer](ctx, c, policySet+"/"+p.ID)
	if err != nil {
		return err
	}
	return c.printPolicy(p, value)
}

func (c *cli) policyMove(ctx context.Context, name, action string, wait bool) error {
	p, err := c.policy(ctx, name)
	if err != nil {
		return err
	}
	var value json.RawMessage
	if isSo(p, action) { // whoever says it twice means it once
		p, value, err = get[policyAnswer](ctx, c, policySet+"/"+p.ID)
	} else {
		err = c.api.Act(ctx, "/protectionPolicies/"+p.ID+"/"+action, nil, &value)
	}
	if err != nil {
		return err
	}
	if wait {
		return c.policyWait(ctx, p)
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return err
	}
	if c.script() {
		return c.printOne(value, p.ID)
	}
	if p.Status != string(backup.PolicyUpdating) {
		c.say("%s is %s.", p.DisplayName, p.Status)
		return nil
	}
	c.say("%s is %s. 'holdfast policy wait %s' waits until that is done.", p.DisplayName, p.Status, p.ID)
	return nil
}

// isSo reports whether a policy is already what an action makes of it.
func isSo(p policyAnswer, action string) bool {
	switch backup.PolicyStatus(p.Status) {
	case backup.PolicyActive, backup.PolicyActiveWithErrors:
		return action == "activate"
	case backup.PolicyInactive:
		return action == "deactivate"
	}
	return false
}

func (c *cli) policyWait(ctx context.Context, p policyAnswer) error {
	var value json.RawMessage
	err := c.wait(ctx, "drives", fmt.Sprintf("the policy goes on changing. See 'holdfast policy show %s'", p.ID),
		func(ctx context.Context) (done, total int, over bool, err error) {
			p, value, err = get[policyAnswer](ctx, c, policySet+"/"+p.ID+policyCounted)
			if n := p.ProtectionPolicyArtifactCount; err == nil && n != nil {
				done, total = n.Total-n.InProgress, n.Total
			}
			return done, total, p.Status != string(backup.PolicyUpdating), err
		})
	if err != nil {
		return err
	}
	if err := c.printPolicy(p, value); err != nil {
		return err
	}
	if p.Status == string(backup.PolicyActiveWithErrors) {
		return fail(exitPartial, "some drives are not protected. See why with 'holdfast drive list --policy %s --errors'", p.ID)
	}
	return nil
}

func (c *cli) policyDelete(ctx context.Context, args []string) error {
	p, err := c.policy(ctx, args[0])
	if err != nil {
		return err
	}
	if err := c.api.Delete(ctx, "/protectionPolicies/"+p.ID); err != nil {
		return err
	}
	c.say("Deleted the policy %s.", p.DisplayName)
	return nil
}

// policy finds a policy by its id or its exact name.
func (c *cli) policy(ctx context.Context, name string) (policyAnswer, error) {
	if id, ok := backup.ParseGUID(name); ok {
		p, _, err := get[policyAnswer](ctx, c, policySet+"/"+id)
		return p, err
	}
	policies, _, err := read[policyAnswer](c.api.All(ctx, policySet))
	if err != nil {
		return policyAnswer{}, err
	}
	var found []policyAnswer
	for _, p := range policies {
		if p.DisplayName == name {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return policyAnswer{}, fail(exitNotFound, "there is no policy with the id or the name %q. 'holdfast policy list' shows those there are", name)
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, p := range found {
		ids = append(ids, p.ID)
	}
	return policyAnswer{}, fail(exitFailed, "%d policies are called %q; say which by its id: %s", len(found), name, strings.Join(ids, ", "))
}

// completePolicies offers the names of the policies to a shell, if a server
// answers soon.
func (c *cli) completePolicies(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.policyNames(cmd, args, "")
}

func (c *cli) policyNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	var names []string
	if c.connect(ctx) == nil {
		policies, _, err := read[policyAnswer](c.api.All(ctx, policySet+"?$select=id,displayName,status&$top=100"))
		if err == nil {
			for _, p := range policies {
				names = append(names, cobra.CompletionWithDesc(p.DisplayName, p.ID+", "+p.Status))
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// policyFlag adds --policy to a command.
func (c *cli) policyFlag(cmd *cobra.Command, to *string, usage string) {
	cmd.Flags().StringVar(to, "policy", "", usage)
	if err := cmd.RegisterFlagCompletionFunc("policy", c.policyNames); err != nil {
		panic(err) // the flag was added a line above
	}
}
