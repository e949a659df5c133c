package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// policySet is the policies of drives, allPolicies those of every workload.
const (
	policySet   = "/oneDriveForBusinessProtectionPolicies"
	allPolicies = "/protectionPolicies"
)

func (c *cli) policyCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the policies", Args: args(0, 0), RunE: c.run(c.policyList)}
	show := &cobra.Command{Use: "show POLICY", Short: "Show a policy and how its drives, sites or mailboxes fare", Args: args(1, 1), RunE: c.run(c.policyShow)}

	var owners []string
	var of string
	var all bool
	create := &cobra.Command{Use: "create NAME [--workload WORKLOAD] [--drive OWNER... | --full-service]", Short: "Make a policy; it begins inactive", Args: args(1, 1)}
	create.Flags().StringArrayVar(&owners, "drive", nil, "`OWNER`'s drive is to be in it, by address or object id (again for more; 'drive add' takes any number)")
	create.Flags().StringVar(&of, "workload", string(backup.OneDrive), "what it protects, drives, sites or mailboxes: this `WORKLOAD`, oneDriveForBusiness, sharePoint or exchange")
	create.Flags().BoolVar(&all, "full-service", false, "it protects all drives, sites or mailboxes there are, newcomers too, but for those excluded by 'holdfast exclude'")
	create.RunE = c.run(func(ctx context.Context, args []string) error { return c.policyCreate(ctx, args[0], of, owners, all) })

	rename := &cobra.Command{Use: "rename POLICY NAME", Short: "Give a policy another name", Args: args(2, 2), RunE: c.run(c.policyRename)}

	var wait bool
	waits := func(cmd *cobra.Command, what string) *cobra.Command {
		cmd.Flags().BoolVar(&wait, "wait", false, what)
		return cmd
	}
	activate := waits(&cobra.Command{Use: "activate POLICY", Short: "Start the backups of a policy", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.policyMove(ctx, args[0], "activate", wait) })},
		"wait until all that it holds is protected")
	deactivate := waits(&cobra.Command{Use: "deactivate POLICY", Short: "Stop the backups; what was backed up stays", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.policyMove(ctx, args[0], "deactivate", wait) })},
		"wait until nothing of it is protected any more")
	waitFor := &cobra.Command{Use: "wait POLICY", Short: "Wait until nothing is being changed in a policy", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			p, err := c.policy(ctx, args[0])
			if err != nil {
				return err
			}
			return c.policyWait(ctx, p)
		})}
	remove := &cobra.Command{Use: "delete POLICY", Short: "Delete an inactive policy; its backups stay", Args: args(1, 1), RunE: c.run(c.policyDelete)}
	explain := &cobra.Command{Use: "explain POLICY DRIVE|SITE|MAILBOX", Short: "Say why a drive, a site or a mailbox is in a policy or is not", Args: args(2, 2), RunE: c.run(c.policyExplain)}
	return group("policy", "Make, change, activate and delete protection policies",
		"A policy says which drives, sites or mailboxes are backed up. Each command takes\na policy by its id or by its exact name.", list, show, create, rename, activate, deactivate, waitFor, remove, explain)
}

func (c *cli) policyList(ctx context.Context, _ []string) error {
	policies, values, err := read[policyAnswer](c.api.All(ctx, allPolicies))
	if err != nil {
		return err
	}
	return printList(c, values, policies, func(p policyAnswer) string { return p.ID },
		[]string{"ID", "NAME", "OF", "STATUS", "CREATED", "BY"},
		func(p policyAnswer) []string {
			return []string{p.ID, p.DisplayName, workloadOf(p.Type).nouns, p.Status, clock(p.CreatedDateTime), by(p.CreatedBy)}
		}, "There are no policies. Make one with 'holdfast policy create NAME'.")
}

// policyCounted is a policy with the numbers of what it holds.
const policyCounted = "?$select=id,displayName,status,retentionSettings,createdBy,createdDateTime,lastModifiedBy,lastModifiedDateTime,protectionPolicyArtifactCount"

func (c *cli) policyShow(ctx context.Context, args []string) error {
	p, err := c.policy(ctx, args[0])
	if err != nil {
		return err
	}
	p, value, err := get[policyAnswer](ctx, c, allPolicies+"/"+p.ID+policyCounted)
	if err != nil {
		return err
	}
	var mode struct{ ProtectionMode string }
	if !c.script() && c.api.Get(ctx, client.Beta+allPolicies+"/"+p.ID+"?$select=id,protectionMode", &mode) == nil {
		p.ProtectionMode = mode.ProtectionMode // a server without beta has none of these
	}
	return c.printPolicy(p, value)
}

// fullService is the mode of policies that protect all there is.
const fullService = "fullServiceBackup"

func (c *cli) printPolicy(p policyAnswer, value json.RawMessage) error {
	w, held := workloadOf(p.Type), ""
	if n := p.ProtectionPolicyArtifactCount; n != nil {
		held = fmt.Sprint(n.Total)
		if n.Total > 0 {
			held += fmt.Sprintf(": %d protected, %d being changed, %d not protected", n.Completed, n.InProgress, n.Total-n.Completed-n.InProgress)
		}
	}
	var kept []string
	for _, r := range p.RetentionSettings {
		kept = append(kept, fmt.Sprintf("%s kept %s", span("every", strings.TrimPrefix(r.Interval, "R/")), span("for", r.Period)))
	}
	protects := ""
	if p.ProtectionMode == fullService {
		protects = "all " + w.nouns + " there are but those excluded"
	}
	return c.printOne(value, p.ID, "ID", p.ID, "Name", p.DisplayName, "Status", p.Status, "Protects", protects, upperFirst(w.nouns), held, "Points", strings.Join(kept, ", "),
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

func (c *cli) policyCreate(ctx context.Context, name, of string, owners []string, all bool) error {
	w, err := workloadNamed(of)
	if err != nil {
		return err
	}
	if w != drives && len(owners) > 0 {
		return usageError{errors.New("a policy holds drives, sites or mailboxes: --drive is for one of drives")}
	}
	body := map[string]any{"displayName": name}
	at := w.policies
	if all {
		if len(owners) > 0 {
			return usageError{errors.New("a policy of all there is needs no --drive: give that or --full-service")}
		}
		at, body["protectionMode"] = client.Beta+at, fullService
	}
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
	if err := c.api.Create(ctx, at, body, &value); err != nil {
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
	if all {
		c.say("Next: 'holdfast exclude add --workload %s %s' for what is not to be in it, then 'holdfast policy activate %s'.", w.nouns, w.example, p.ID)
		return nil
	}
	if len(owners) > 0 {
		c.say("Next: 'holdfast policy activate %s'.", p.ID)
		return nil
	}
	c.say("Next: 'holdfast %s add --policy %s %s', then 'holdfast policy activate %s'.", w.noun, p.ID, w.example, p.ID)
	return nil
}

func (c *cli) policyRename(ctx context.Context, args []string) error {
	p, err := c.policy(ctx, args[0])
	if err != nil {
		return err
	}
	if p.DisplayName == args[1] {
		c.already("The policy is called %s already", args[1])
	} else if err := c.api.Patch(ctx, workloadOf(p.Type).policies+"/"+p.ID, map[string]any{"displayName": args[1]}, nil); err != nil {
		return err
	}
	p, value, err := get[policyAnswer](ctx, c, allPolicies+"/"+p.ID)
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
	if wait && p.Status == string(backup.PolicyUpdating) { // perhaps to what is asked for
		if p, _, err = c.policySettled(ctx, p); err != nil {
			return err
		}
	}
	var value json.RawMessage
	if isSo(p, action) {
		c.already("%s is %s already", p.DisplayName, p.Status)
		p, value, err = get[policyAnswer](ctx, c, allPolicies+"/"+p.ID)
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

// policySettled waits until a policy is not being changed.
func (c *cli) policySettled(ctx context.Context, p policyAnswer) (_ policyAnswer, value json.RawMessage, err error) {
	err = c.wait(ctx, workloadOf(p.Type).nouns, fmt.Sprintf("the policy goes on changing. See 'holdfast policy show %s'", p.ID),
		func(ctx context.Context) (done, total int, over bool, err error) {
			p, value, err = get[policyAnswer](ctx, c, allPolicies+"/"+p.ID+policyCounted)
			if n := p.ProtectionPolicyArtifactCount; err == nil && n != nil {
				done, total = n.Total-n.InProgress, n.Total
			}
			return done, total, p.Status != string(backup.PolicyUpdating), err
		})
	return p, value, err
}

func (c *cli) policyWait(ctx context.Context, p policyAnswer) error {
	w := workloadOf(p.Type)
	p, value, err := c.policySettled(ctx, p)
	if err != nil {
		return err
	}
	if err := c.printPolicy(p, value); err != nil {
		return err
	}
	if p.Status == string(backup.PolicyActiveWithErrors) {
		return fail(exitPartial, "some %s are not protected, or not all that is in them. See why with 'holdfast %s list --policy %s --errors'", w.nouns, w.noun, p.ID)
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
		p, _, err := get[policyAnswer](ctx, c, allPolicies+"/"+id)
		return p, err
	}
	policies, _, err := read[policyAnswer](c.api.All(ctx, allPolicies))
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
	return policyAnswer{}, fail(exitUsage, "%d policies are called %q; say which by its id: %s", len(found), name, strings.Join(ids, ", "))
}

// policyFor finds a policy that holds what is of w.
func (c *cli) policyFor(ctx context.Context, w *workload, name string) (policyAnswer, error) {
	p, err := c.policy(ctx, name)
	if of := workloadOf(p.Type); err == nil && of != w {
		err = usageError{fmt.Errorf("the policy %s holds %s, no %s", p.DisplayName, of.nouns, w.nouns)}
	}
	return p, err
}

// policyFlag adds --policy to a command.
func (c *cli) policyFlag(cmd *cobra.Command, to *string, usage string) {
	cmd.Flags().StringVar(to, "policy", "", usage)
}
