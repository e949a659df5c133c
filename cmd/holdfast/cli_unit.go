package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// unitSet is drives, in the server's words.
const unitSet = "/driveProtectionUnits"

// maxDelta is how many changes one PATCH may carry.
const maxDelta = 50

// unitCommand is the command for what a workload protects.
func (c *cli) unitCommand(w *workload) *cobra.Command {
	one := strings.ToUpper(w.noun)
	entry := strings.ToUpper(w.entry)

	var policy, status string
	var failing bool
	list := &cobra.Command{Use: "list [--policy POLICY]", Short: "List the " + w.nouns, Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.unitList(ctx, w, policy, status, failing) })}
	c.policyFlag(list, &policy, "only those of this policy")
	list.Flags().StringVar(&status, "status", "", "only those with this `STATUS`, such as protected")
	list.Flags().BoolVar(&failing, "errors", false, "only those that have an error")

	show := &cobra.Command{Use: "show " + one + "...", Short: "Show a " + w.noun + " and what is wrong with it", Args: args(1, -1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.unitShow(ctx, w, args) })}

	var add addition
	adds := &cobra.Command{Use: "add --policy POLICY (" + entry + "... | --from-csv FILE)", Short: "Add " + w.nouns + " to a policy, any number of them", Args: args(0, -1),
		Long: "Adds " + w.nouns + " to a policy by bulk addition jobs of up to 50,000 " + w.nouns + `, waits for
the jobs, and prints each entry that failed.

A CSV file may have a header or none, and any number of columns: those wanted
are in --column, by name or number, or else in the first column that holds
` + w.column + `. Its delimiter is a comma, a semicolon or a tab.`,
		RunE: c.run(func(ctx context.Context, args []string) error { return c.unitAdd(ctx, w, add, args) })}
	c.policyFlag(adds, &add.policy, "the policy, by id or name")
	f := adds.Flags()
	f.StringVar(&add.csv, "from-csv", "", "read the "+w.entry+"s from this `FILE`; - is standard input")
	f.StringVar(&add.column, "column", "", "the `COLUMN` of the CSV that holds the "+w.entry+"s, by name or number")
	f.StringVar(&add.report, "report", "", "write the entries that failed to this `FILE` as CSV")
	f.StringVar(&add.name, "name", "", "what the jobs are called (default the file's name)")
	f.BoolVar(&add.noWait, "no-wait", false, "do not wait for the jobs")

	var noWait bool
	remove := &cobra.Command{Use: "remove " + one + "...", Short: "Take " + w.nouns + " out of their policies; their backups stay", Args: args(1, -1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.unitRemove(ctx, w, args, noWait) })}
	remove.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until they are out")
	act := func(use, action, short, done string) *cobra.Command {
		return &cobra.Command{Use: use + " " + one + "...", Short: short, Args: args(1, -1),
			RunE: c.run(func(ctx context.Context, args []string) error { return c.unitAct(ctx, w, action, done, args) })}
	}
	return group(w.noun, "List, add, remove and offboard "+w.nouns, w.named, list, show, adds, remove,
		act("offboard", "offboard", "Let the backups of "+w.nouns+" that are in no policy be destroyed, after a time of grace", "will be offboarded"),
		act("cancel-offboard", "cancelOffboard", "Keep the backups of "+w.nouns+" that were to be offboarded", "is kept"))
}

// ownerOf is whose drive a unit is, or which site, for people: by address where
// the server tells it or the directory does, by id otherwise.
func (c *cli) ownerOf(ctx context.Context, u unitAnswer) string {
	if u.SiteID != "" {
		return c.addressOf(ctx, u)
	}
	if u.Email != "" || u.DirectoryObjectID == "" {
		return u.Email
	}
	if c.names == nil {
		var err error
		if c.names, err = c.api.Users(ctx, max(c.namesOf, 5)); err != nil {
			c.names = map[string]string{}
		}
	}
	return cmp.Or(c.names[u.DirectoryObjectID], u.DirectoryObjectID)
}

// policyName is what a policy is called, where the server tells it; by its id otherwise.
func (c *cli) policyName(ctx context.Context, id string) string {
	if id == "" {
		return ""
	}
	if c.policies == nil {
		c.policies = map[string]string{}
		all, _, _ := read[policyAnswer](c.api.All(ctx, allPolicies))
		for _, p := range all {
			c.policies[p.ID] = p.DisplayName
		}
	}
	return cmp.Or(c.policies[id], id)
}

// policyWhole is a policy by name and id.
func (c *cli) policyWhole(ctx context.Context, id string) string {
	if name := c.policyName(ctx, id); name != id {
		return name + " (" + id + ")"
	}
	return id
}

// addressOf is the address of a unit's site.
func (c *cli) addressOf(ctx context.Context, u unitAnswer) string {
	if u.SiteWebURL != "" {
		return u.SiteWebURL
	}
	if c.sites == nil {
		var err error
		if c.sites, err = c.api.Sites(ctx, max(c.namesOf, 5)); err != nil {
			c.sites = map[string]string{}
		}
	}
	return cmp.Or(c.sites[u.SiteID], u.SiteID)
}

func (c *cli) unitList(ctx context.Context, w *workload, policy, status string, failing bool) error {
	path := w.units
	if policy != "" {
		p, err := c.policyFor(ctx, w, policy)
		if err != nil {
			return err
		}
		path = w.policies + "/" + p.ID + w.units
	}
	path += "?$top=999"
	if status != "" {
		status, err := oneOf(status, unitStatuses...)
		if err != nil {
			return usageError{fmt.Errorf("--status: %w", err)}
		}
		path += "&" + query("$filter", "status eq '"+status+"'")
	}
	units, values, err := read[unitAnswer](c.api.All(ctx, path))
	if err != nil {
		return err
	}
	keep := 0
	for i, u := range units {
		if !failing || u.Error != nil {
			units[keep], values[keep] = u, values[i]
			keep++
		}
	}
	return printList(c, values[:keep], units[:keep], func(u unitAnswer) string { return u.ID }, []string{"UNIT", strings.ToUpper(w.entry), "STATUS", "POLICY", "SOURCE", "ERROR"},
		func(u unitAnswer) []string {
			return []string{u.ID, c.ownerOf(ctx, u), u.Status, c.policyName(ctx, u.PolicyID), u.ProtectionSources, blame(u.Error)}
		}, "There are no such "+w.nouns+".", func(u unitAnswer) map[string]any {
			return map[string]any{"owner": c.ownerOf(ctx, u), "policyName": c.policyName(ctx, u.PolicyID)}
		})
}

func (c *cli) unitShow(ctx context.Context, w *workload, names []string) error {
	for i, name := range names {
		u, value, err := c.unitOf(ctx, w, name)
		if err != nil {
			return err
		}
		if i > 0 {
			c.say("")
		}
		offboard := clock(u.OffboardRequestedDateTime)
		policy := u.PolicyID
		if !c.script() {
			policy = c.policyWhole(ctx, u.PolicyID)
		}
		if err := c.printOne(value, u.ID, "Unit", u.ID, "Owner", u.DirectoryObjectID, "Site", u.SiteID, "Name", cmp.Or(u.DisplayName, u.SiteName), "Address", cmp.Or(u.Email, u.SiteWebURL), "Status", u.Status, "Policy", policy,
			"Source", u.ProtectionSources, "Added", clock(u.CreatedDateTime), "Changed", clock(u.LastModifiedDateTime), "Offboarding since", offboard, "Error", blame(u.Error)); err != nil {
			return err
		}
		if u.Error != nil && !c.script() {
			for _, d := range u.Error.Details {
				c.say("  %s: %s: %s", d.Target, d.Code, d.Message)
			}
		}
	}
	return nil
}

// unitOf finds what a unit is of among what is of one workload.
func (c *cli) unitOf(ctx context.Context, w *workload, name string) (unitAnswer, json.RawMessage, error) {
	in := drives
	if _, isID := backup.ParseGUID(name); w == mailboxes || w == sites && isID {
		in = w
	}
	u, value, err := c.unitIn(ctx, in, name)
	if of := workloadOf(u.Type); err == nil && of != w {
		err = usageError{fmt.Errorf("%s is a %s, no %s", name, of.noun, w.noun)}
	}
	return u, value, err
}

// unit is unitIn among drives.
func (c *cli) unit(ctx context.Context, name string) (unitAnswer, json.RawMessage, error) {
	return c.unitIn(ctx, drives, name)
}

// unitIn finds a drive or a mailbox, which w says, by the id of its unit, by its
// owner's object id, or by its owner's address, and a site by the id of its unit, by
// its own or by its address.
func (c *cli) unitIn(ctx context.Context, w *workload, name string) (unitAnswer, json.RawMessage, error) {
	id, isID := backup.ParseGUID(name)
	if isID {
		u, value, err := get[unitAnswer](ctx, c, "/protectionUnits/"+id)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusNotFound {
			return u, value, err
		}
		if w == sites {
			return c.siteUnit(ctx, id)
		}
	} else if _, _, site := siteAddress(name); site || sites.isID(name) {
		return c.siteUnit(ctx, name)
	} else {
		if !strings.Contains(name, "@") {
			return unitAnswer{}, nil, usageError{fmt.Errorf("%q is neither an address nor an id of a %s or of a site", name, w.noun)}
		}
		owner, known, err := c.api.User(ctx, name)
		if err != nil {
			return unitAnswer{}, nil, err
		}
		if known {
			id, isID = string(owner), true
		}
	}
	filter := "directoryObjectId eq '" + id + "'"
	if !isID {
		filter = "email eq '" + strings.ReplaceAll(name, "'", "''") + "'"
	}
	units, values, err := read[unitAnswer](c.api.All(ctx, w.units+"?"+query("$filter", filter)))
	if err != nil {
		return unitAnswer{}, nil, err
	}
	if len(units) > 0 {
		return units[0], values[0], nil
	}
	if isID {
		return unitAnswer{}, nil, fail(exitNotFound, "%[1]s has no %[2]s here. 'holdfast %[2]s list' shows those there are, 'holdfast %[2]s add' adds one", name, w.noun)
	}
	return unitAnswer{}, nil, fail(exitNotFound, "no %[2]s of %[1]s is known by that address: the directory does not have it or does not answer, and this server shows addresses to users only. Name the %[2]s by its unit or by its owner's object id, as in 'holdfast %[2]s list'", name, w.noun)
}

// siteUnit finds a site by its address or its id.
func (c *cli) siteUnit(ctx context.Context, name string) (unitAnswer, json.RawMessage, error) {
	id, err := c.site(ctx, name)
	if err != nil {
		return unitAnswer{}, nil, err
	}
	units, values, err := read[unitAnswer](c.api.All(ctx, sites.units+"?"+query("$filter", "siteId eq '"+strings.ReplaceAll(id, "'", "''")+"'")))
	if err == nil && len(units) == 0 {
		err = fail(exitNotFound, "the site %s is not protected here. 'holdfast site list' shows those there are, 'holdfast site add' adds one", name)
	}
	if err != nil {
		return unitAnswer{}, nil, err
	}
	return units[0], values[0], nil
}

// owner is the object id of an address, or of an id.
func (c *cli) owner(ctx context.Context, name string) (string, error) {
	if id, ok := backup.ParseGUID(name); ok {
		return id, nil
	}
	id, known, err := c.api.User(ctx, name)
	if err == nil && !known {
		err = fail(exitNotFound, "the directory does not know %s. Give the object id, or add the drive by 'holdfast drive add'", name)
	}
	return string(id), err
}

// A partResult is what became of a part of a delta.
type partResult struct {
	ID, Status string
	Failure    *struct {
		Info problemAnswer `json:"info"`
	} `json:"@Core.DataModificationException"`
}

func (c *cli) unitRemove(ctx context.Context, w *workload, names []string, noWait bool) error {
	var policies, out []string
	units, called := map[string][]string{}, map[string]string{} // by policy; by unit
	for _, name := range names {
		u, _, err := c.unitOf(ctx, w, name)
		switch {
		case err != nil:
			return err
		case u.PolicyID == "":
			c.already("The %s %s is in no policy", w.noun, name)
			continue
		case called[u.ID] != "":
			continue
		}
		called[u.ID] = name
		if backup.UnitStatus(u.Status) == backup.UnitRemoveRequested {
			c.already("The %s %s is being taken out of its policy already", w.noun, name)
			out = append(out, u.ID)
			continue
		}
		if units[u.PolicyID] == nil {
			policies = append(policies, u.PolicyID)
		}
		units[u.PolicyID] = append(units[u.PolicyID], u.ID)
	}
	failed, values := 0, []json.RawMessage{}
	for _, policy := range policies {
		for part := range slices.Chunk(units[policy], maxDelta) {
			var delta []any
			for _, id := range part {
				delta = append(delta, map[string]any{"@removed": map[string]string{"reason": "changed"}, "id": id})
			}
			results, err := c.delta(ctx, w.policies+"/"+policy, w.units, delta)
			if err != nil {
				return err
			}
			for _, value := range results {
				var r partResult
				if err := json.Unmarshal(value, &r); err != nil {
					return err
				}
				values = append(values, value)
				if r.Failure != nil {
					failed++
					fmt.Fprintf(c.errs, "%s: %s\n", called[r.ID], oneLine(blame(&r.Failure.Info)))
					continue
				}
				out = append(out, r.ID)
			}
		}
	}
	if !noWait && len(out) > 0 {
		gone := 0
		if err := c.wait(ctx, "out", "the "+w.nouns+" are taken out all the same", func(ctx context.Context) (int, int, bool, error) {
			for ; gone < len(out); gone++ {
				if u, _, err := get[unitAnswer](ctx, c, "/protectionUnits/"+out[gone]); err != nil || u.PolicyID != "" {
					return gone, len(out), false, err
				}
			}
			return gone, len(out), true, nil
		}); err != nil {
			return err
		}
	}
	for _, id := range out {
		if c.quiet {
			fmt.Fprintln(c.out, id)
		}
		c.say("%s is taken out of its policy; its backups stay.", called[id])
	}
	if c.json || c.shape != nil {
		if err := printList(c, values, []string{}, nil, nil, nil, ""); err != nil {
			return err
		}
	}
	return partly(failed, len(called), w.noun, "taken out")
}

// delta changes a set of the policy at an address, and returns what became of each
// item.
func (c *cli) delta(ctx context.Context, policy, set string, items []any) (results []json.RawMessage, err error) {
	var answer map[string]json.RawMessage
	member := set[strings.LastIndexByte(set, '/')+1:] + "@delta"
	if err = c.api.Patch(ctx, policy, map[string]any{member: items}, &answer); err == nil {
		err = json.Unmarshal(answer[member], &results)
	}
	return results, err
}

// partly is the error of something that was done in part, or not at all.
func partly(failed, total int, what, done string) error {
	switch {
	case failed == 0:
		return nil
	case failed == total:
		return fail(exitFailed, "%s could not be %s", number(failed, what), done)
	}
	return fail(exitPartial, "%d of %s could not be %s", failed, number(total, what), done)
}

// unitAct calls an action of each unit.
func (c *cli) unitAct(ctx context.Context, w *workload, action, done string, names []string) error {
	failed, values := 0, []json.RawMessage{}
	var last error
	for _, name := range names {
		u, _, err := c.unitOf(ctx, w, name)
		if err != nil {
			return err
		}
		var value json.RawMessage
		leaves := backup.UnitStatus(u.Status) == backup.UnitOffboardRequested || backup.UnitStatus(u.Status) == backup.UnitOffboarded
		if leaves == (action == "offboard") && (leaves || u.PolicyID == "") {
			c.already("The %s %s is %s", w.noun, name, map[bool]string{true: "being offboarded already", false: "not being offboarded"}[leaves])
			_, value, err = get[unitAnswer](ctx, c, "/protectionUnits/"+u.ID)
			done = "is as it was"
		} else {
			err = c.api.Act(ctx, "/protectionUnits/"+u.ID+"/"+action, nil, &value)
		}
		if e, ok := errors.AsType[*client.Error](err); ok && e.Status != http.StatusUnauthorized && len(names) > 1 {
			failed, last = failed+1, err
			fmt.Fprintf(c.errs, "%s: %v\n", name, err)
			continue
		}
		if err != nil {
			return err
		}
		values = append(values, value)
		if c.quiet {
			fmt.Fprintln(c.out, u.ID)
		}
		var now unitAnswer
		if err := json.Unmarshal(value, &now); err == nil && now.Approval != nil {
			c.say("The %s %s stays as it is until another person has approved that: 'holdfast approval approve %s'.", w.noun, name, now.Approval.ID)
			continue
		}
		c.say("The %s %s %s.", w.noun, name, done)
	}
	if c.json || c.shape != nil {
		if err := printList(c, values, []string{}, nil, nil, nil, ""); err != nil {
			return err
		}
	}
	if failed == len(names) && failed > 0 {
		return last
	}
	return partly(failed, len(names), w.noun, "changed")
}
