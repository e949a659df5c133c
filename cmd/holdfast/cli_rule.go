package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// The answers of the API on rules, as far as the commands read them.
type (
	ruleAnswer struct {
		Type                                                           string `json:"@odata.type"`
		ID, Status, DriveExpression, SiteExpression, MailboxExpression string
		IsAutoApplyEnabled                                             bool
		CreatedBy                                                      identitiesAnswer
		CreatedDateTime, LastModifiedDateTime                          time.Time
		Error                                                          *problemAnswer
	}
	explanationAnswer struct {
		PolicyID, DirectoryObjectID, ProtectionUnitID, Status, ProtectionSources string
		IsIncluded                                                               bool
		Reasons                                                                  []struct{ Code, Message string }
	}
)

func (c *cli) ruleCommand() *cobra.Command {
	var policy, expression string
	var groups []string
	var dynamic, noWait, unprotect bool
	ofPolicy := func(cmd *cobra.Command, usage string) *cobra.Command {
		c.policyFlag(cmd, &policy, usage)
		return cmd
	}
	matching := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringArrayVar(&groups, "group", nil, "the members of this `GROUP`, by object id or exact name (again for more)")
		cmd.Flags().StringVar(&expression, "expression", "", "the rule's expression instead, as sites need it, such as \"(memberOf -any (group.id -in ['…']))\"")
		return cmd
	}
	waiting := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until the rule is evaluated")
		return cmd
	}
	const which = "the rule's policy (found out when it is left out)"

	list := ofPolicy(&cobra.Command{Use: "list [--policy POLICY]", Short: "List the rules", Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.ruleList(ctx, policy) })}, "only those of this policy")
	create := waiting(matching(ofPolicy(&cobra.Command{Use: "create --policy POLICY (--group GROUP... | --expression TEXT) [--dynamic]", Short: "Bring the drives or mailboxes of groups, or sites by words, into a policy", Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if policy == "" {
				return usageError{errors.New("say for which policy: --policy POLICY")}
			}
			p, err := c.policy(ctx, policy)
			if err != nil {
				return err
			}
			w := workloadOf(p.Type)
			text, err := c.expression(ctx, w, groups, expression)
			if err != nil {
				return err
			}
			var value json.RawMessage
			at := w.policies + "/" + p.ID + w.rules()
			if err := c.api.Create(ctx, at, map[string]any{w.expression(): text, "isAutoApplyEnabled": dynamic}, &value); err != nil {
				return err
			}
			return c.ruleBegun(ctx, w, value, noWait)
		})}, "the policy, by id or name")))
	create.Flags().BoolVar(&dynamic, "dynamic", false, "keep following the groups: who leaves them leaves the policy")
	update := waiting(matching(ofPolicy(&cobra.Command{Use: "update RULE (--group GROUP... | --expression TEXT)", Short: "Give a dynamic rule another expression", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			w, at, err := c.rule(ctx, policy, args[0])
			if err != nil {
				return err
			}
			text, err := c.expression(ctx, w, groups, expression)
			if err != nil {
				return err
			}
			r, value, err := get[ruleAnswer](ctx, c, at)
			if err != nil {
				return err
			}
			if r.expression() == text {
				c.already("The rule is so already")
				return c.ruleBegun(ctx, w, value, noWait)
			}
			if err := c.api.Patch(ctx, at, map[string]string{w.expression(): text}, &value); err != nil {
				return err
			}
			return c.ruleBegun(ctx, w, value, noWait)
		})}, which)))
	run := waiting(ofPolicy(&cobra.Command{Use: "run RULE", Short: "Evaluate a static rule again", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			w, at, err := c.rule(ctx, policy, args[0])
			if err != nil {
				return err
			}
			var value json.RawMessage
			if err := c.api.Act(ctx, at+"/run", nil, &value); err != nil {
				return err
			}
			return c.ruleBegun(ctx, w, value, noWait)
		})}, which))
	remove := ofPolicy(&cobra.Command{Use: "delete RULE [--unprotect]", Short: "Delete a rule; what it brought in stays", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			return c.ruleDelete(ctx, policy, args[0], unprotect, noWait)
		})}, which)
	waiting(remove).Flags().BoolVar(&unprotect, "unprotect", false, "take what a dynamic rule brought in out of the policy, too")

	return group("rule", "Bring the drives or mailboxes of groups, or sites by words, into policies", "An inclusion rule brings the drives or mailboxes of the members of groups into a\npolicy: those who are members when it runs (static), or whoever is at any time\n(dynamic). One of sites brings in those that have certain words in their names or\naddresses, and is static.", list, create, update, run, remove,
		&cobra.Command{Use: "show RULE", Short: "Show a rule", Args: args(1, 1), RunE: c.run(func(ctx context.Context, args []string) error {
			_, r, value, err := c.ruleOf(ctx, args[0])
			if err != nil {
				return err
			}
			return c.printRule(r, value)
		})},
		&cobra.Command{Use: "wait RULE", Short: "Wait until a rule is evaluated", Args: args(1, 1), RunE: c.run(func(ctx context.Context, args []string) error {
			w, _, _, err := c.ruleOf(ctx, args[0])
			if err != nil {
				return err
			}
			return c.ruleWait(ctx, w, args[0])
		})})
}

// kind says how long a rule follows its groups.
func (r ruleAnswer) kind() string {
	if r.IsAutoApplyEnabled {
		return "dynamic"
	}
	return "static"
}

func (r ruleAnswer) expression() string {
	return cmp.Or(r.DriveExpression, r.SiteExpression, r.MailboxExpression)
}

func (c *cli) ruleList(ctx context.Context, policy string) error {
	var paths []string
	if policy != "" {
		p, err := c.policy(ctx, policy)
		if err != nil {
			return err
		}
		w := workloadOf(p.Type)
		paths = []string{w.policies + "/" + p.ID + w.rules()}
	} else {
		for _, w := range workloads {
			paths = append(paths, w.rules())
		}
	}
	var rules []ruleAnswer
	var values []json.RawMessage
	for n, path := range paths {
		some, texts, err := read[ruleAnswer](c.api.All(ctx, path))
		if err != nil && (n == 0 || !notServed(err)) {
			return err
		}
		rules, values = append(rules, some...), append(values, texts...)
	}
	return printList(c, values, rules, func(r ruleAnswer) string { return r.ID }, []string{"RULE", "KIND", "STATUS", "CREATED", "EXPRESSION", "ERROR"},
		func(r ruleAnswer) []string {
			return []string{r.ID, r.kind(), r.Status, clock(r.CreatedDateTime), r.expression(), blame(r.Error)}
		}, "There are no rules. Make one with 'holdfast rule create'.")
}

func (c *cli) printRule(r ruleAnswer, value json.RawMessage) error {
	if err := c.printOne(value, r.ID, "Rule", r.ID, "Kind", r.kind(), "Status", r.Status, "Expression", r.expression(),
		"Created", stamp(r.CreatedDateTime, by(r.CreatedBy)), "Changed", clock(r.LastModifiedDateTime), "Error", blame(r.Error)); err != nil || r.Error == nil {
		return err
	}
	for _, d := range r.Error.Details {
		c.say("  %s: %s: %s", d.Target, d.Code, d.Message)
	}
	return nil
}

// expression is that of a rule for the members of groups, or the one given.
func (c *cli) expression(ctx context.Context, w *workload, groups []string, given string) (string, error) {
	switch {
	case w == sites && len(groups) > 0:
		return "", usageError{errors.New("sites have no groups: say which by --expression \"(displayName -contains 'word') -or (webUrl -contains 'word')\"")}
	case (given == "") == (len(groups) == 0):
		return "", usageError{errors.New("say whose " + w.nouns + ": --group GROUP, again for more, or --expression TEXT")}
	}
	if given != "" {
		return given, nil
	}
	var ids []string
	for _, g := range groups {
		id, ok := backup.ParseGUID(g)
		if !ok {
			found, err := c.api.Groups(ctx, g)
			switch {
			case err != nil:
				return "", err
			case len(found) == 0:
				return "", fail(exitNotFound, "the directory knows no group %q, or does not answer. Give the group's object id", g)
			case len(found) > 1:
				return "", fail(exitUsage, "%d groups are called %q; say which by its object id: %s", len(found), g, strings.Join(found, ", "))
			}
			id = found[0]
		}
		ids = append(ids, "'"+id+"'")
	}
	return "(memberOf -any (group.id -in [" + strings.Join(ids, ",") + "]))", nil
}

// ruleOf finds a rule among those of all workloads.
func (c *cli) ruleOf(ctx context.Context, id string) (w *workload, r ruleAnswer, value json.RawMessage, err error) {
	for n, of := range workloads {
		some, text, missed := get[ruleAnswer](ctx, c, of.rules()+"/"+segment(id))
		if missed == nil {
			return of, some, text, nil
		}
		if n == 0 {
			err = missed
		}
		if !notServed(missed) {
			return of, r, nil, missed
		}
	}
	return drives, r, nil, err
}

// rule finds the address at which a rule can be changed, which is below its
// policy.
func (c *cli) rule(ctx context.Context, policy, id string) (*workload, string, error) {
	var policies []string
	var w *workload
	if policy != "" {
		p, err := c.policy(ctx, policy)
		if err != nil {
			return nil, "", err
		}
		w, policies = workloadOf(p.Type), []string{p.ID}
	} else {
		// That it exists at all is cheaper to ask than of which policy it is.
		var err error
		if w, _, _, err = c.ruleOf(ctx, id); err != nil {
			return nil, "", err
		}
		all, _, err := read[policyAnswer](c.api.All(ctx, w.policies))
		if err != nil {
			return nil, "", err
		}
		for _, p := range all {
			policies = append(policies, p.ID)
		}
	}
	var last error
	for _, p := range policies {
		at := w.policies + "/" + p + w.rules() + "/" + segment(id)
		err := c.api.Get(ctx, at, nil)
		if err == nil {
			return w, at, nil
		}
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusNotFound {
			return nil, "", err
		}
		last = err
	}
	return nil, "", last
}

// ruleBegun shows a rule that is being evaluated, and waits for the end.
func (c *cli) ruleBegun(ctx context.Context, w *workload, value json.RawMessage, noWait bool) error {
	var r ruleAnswer
	if err := json.Unmarshal(value, &r); err != nil {
		return err
	}
	if noWait {
		return c.printRule(r, value)
	}
	return c.ruleWait(ctx, w, r.ID)
}

func (c *cli) ruleWait(ctx context.Context, w *workload, id string) error {
	var r ruleAnswer
	var value json.RawMessage
	err := c.wait(ctx, "evaluated", "the rule is evaluated all the same. See 'holdfast rule show "+id+"'", func(ctx context.Context) (done, total int, over bool, err error) {
		r, value, err = get[ruleAnswer](ctx, c, w.rules()+"/"+segment(id))
		over = r.Status == string(backup.RuleCompleted) || r.Status == string(backup.RuleCompletedWithErrors)
		if over {
			done = 1
		}
		return done, 1, over, err
	})
	if err != nil {
		return err
	}
	if err := c.printRule(r, value); err != nil {
		return err
	}
	if r.Status != string(backup.RuleCompleted) {
		return fail(exitPartial, "the rule could not be evaluated in full")
	}
	return nil
}

func (c *cli) ruleDelete(ctx context.Context, policy, id string, unprotect, noWait bool) error {
	w, at, err := c.rule(ctx, policy, id)
	if err != nil {
		return err
	}
	if !unprotect {
		if err := c.api.Delete(ctx, at); err != nil {
			return err
		}
		c.say("Deleted the rule %s. The %s that it brought in stay in the policy.", id, w.nouns)
		return nil
	}
	var value json.RawMessage
	if err := c.api.Act(ctx, at+"/deleteAndUnprotect", nil, &value); err != nil {
		return err
	}
	if noWait {
		return c.ruleBegun(ctx, w, value, true)
	}
	err = c.wait(ctx, "deleted", "the rule is deleted all the same", func(ctx context.Context) (int, int, bool, error) {
		_, _, err := get[ruleAnswer](ctx, c, w.rules()+"/"+segment(id))
		if e, ok := errors.AsType[*client.Error](err); ok && e.Status == http.StatusNotFound {
			return 1, 1, true, nil
		}
		return 0, 1, false, err
	})
	if err == nil {
		c.say("Deleted the rule %s. The %s that only it held are out of the policy; their backups stay.", id, w.nouns)
	}
	return err
}

// policyExplain says why a drive, a site or a mailbox is in a policy or is not.
func (c *cli) policyExplain(ctx context.Context, args []string) error {
	p, err := c.policy(ctx, args[0])
	if err != nil {
		return err
	}
	w := workloadOf(p.Type)
	find := c.owner
	if w == sites {
		find = c.site
	}
	id, err := find(ctx, args[1])
	if err != nil {
		return err
	}
	if u, _, err := get[unitAnswer](ctx, c, "/protectionUnits/"+segment(id)); err == nil { // it was the id of a unit
		id = u.idOf()
	}
	why, value, err := get[explanationAnswer](ctx, c, w.policies+"/"+p.ID+"/holdfast.explain/"+segment(id))
	if err != nil {
		return err
	}
	if c.script() {
		return c.printOne(value, fmt.Sprint(why.IsIncluded))
	}
	is := "not in"
	if why.IsIncluded {
		is = "in"
	}
	what := "The " + w.noun + " of"
	if w == sites {
		what = "The site"
	}
	c.say("%s %s is %s the policy %s.", what, args[1], is, p.DisplayName)
	for _, r := range why.Reasons {
		c.say("  %s (%s)", r.Message, r.Code)
	}
	return nil
}
