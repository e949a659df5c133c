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

const unitSet = "/driveProtectionUnits"

// maxDelta is how many changes one PATCH may carry.
const maxDelta = 50

func (c *cli) driveCommand() *cobra.Command {
	const whose = "A drive is named by its owner's address, by the owner's directory object id, or\nby the id of its protection unit."

	var policy, status string
	var failing bool
	list := &cobra.Command{Use: "list [--policy POLICY]", Short: "List the drives", Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.driveList(ctx, policy, status, failing) })}
	c.policyFlag(list, &policy, "only those of this policy")
	list.Flags().StringVar(&status, "status", "", "only those with this status, such as protected")
	list.Flags().BoolVar(&failing, "errors", false, "only those that have an error")

	show := &cobra.Command{Use: "show DRIVE...", Short: "Show a drive and what is wrong with it", Args: args(1, -1), RunE: c.run(c.driveShow)}

	var add addition
	adds := &cobra.Command{Use: "add --policy POLICY (OWNER... | --from-csv FILE)", Short: "Add drives to a policy, any number of them", Args: args(0, -1),
		Long: `Adds drives to a policy by bulk addition jobs of up to 50,000 drives, waits for
the jobs, and prints each entry that failed.

A CSV file may have a header or none, and any number of columns: those wanted
are in --column, by name or number, or else in the first column that holds an
address or an object id. Its delimiter is a comma, a semicolon or a tab.`,
		RunE: c.run(func(ctx context.Context, args []string) error { return c.driveAdd(ctx, add, args) })}
	c.policyFlag(adds, &add.policy, "the policy, by id or name")
	f := adds.Flags()
	f.StringVar(&add.csv, "from-csv", "", "read the owners from this `FILE`; - is standard input")
	f.StringVar(&add.column, "column", "", "the `COLUMN` of the CSV that holds the owners, by name or number")
	f.StringVar(&add.report, "report", "", "write the entries that failed to this `FILE` as CSV")
	f.StringVar(&add.name, "name", "", "what the jobs are called (default the file's name)")
	f.BoolVar(&add.noWait, "no-wait", false, "do not wait for the jobs")

	var noWait bool
	remove := &cobra.Command{Use: "remove DRIVE...", Short: "Take drives out of their policies; their backups stay", Args: args(1, -1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.driveRemove(ctx, args, noWait) })}
	remove.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until they are out")
	act := func(use, action, short, done string) *cobra.Command {
		return &cobra.Command{Use: use + " DRIVE...", Short: short, Args: args(1, -1),
			RunE: c.run(func(ctx context.Context, args []string) error { return c.driveAct(ctx, action, done, args) })}
	}
	return group("drive", "List, add, remove and offboard drives", whose, list, show, adds, remove,
		act("offboard", "offboard", "Let the backups of drives that are in no policy be destroyed, after a time of grace", "will be offboarded"),
		act("cancel-offboard", "cancelOffboard", "Keep the backups of drives that were to be offboarded", "is kept"))
}

// ownerOf is whose drive a unit is, for people: by address where the server
// tells it or the directory does, by object id otherwise.
func (c *cli) ownerOf(ctx context.Context, u unitAnswer) string {
	if u.Email != "" || u.DirectoryObjectID == "" {
		return u.Email
	}
	if c.names == nil {
		var err error
		if c.names, err = c.api.Users(ctx); err != nil {
			c.names = map[string]string{}
		}
	}
	return cmp.Or(c.names[u.DirectoryObjectID], u.DirectoryObjectID)
}

func (c *cli) driveList(ctx context.Context, policy, status string, failing bool) error {
	path := unitSet
	if policy != "" {
		p, err := c.policy(ctx, policy)
		if err != nil {
			return err
		}
		path = policySet + "/" + p.ID + unitSet
	}
	path += "?$top=999"
	if status != "" {
		path += "&" + query("$filter", "status eq '"+strings.ReplaceAll(status, "'", "''")+"'")
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
	return printList(c, values[:keep], units[:keep], func(u unitAnswer) string { return u.ID }, []string{"UNIT", "OWNER", "STATUS", "POLICY", "SOURCE", "ERROR"},
		func(u unitAnswer) []string {
			return []string{u.ID, c.ownerOf(ctx, u), u.Status, u.PolicyID, u.ProtectionSources, blame(u.Error)}
		}, "There are no such drives.")
}

func (c *cli) driveShow(ctx context.Context, names []string) error {
	for i, name := range names {
		u, value, err := c.unit(ctx, name)
		if err != nil {
			return err
		}
		if i > 0 {
			c.say("")
		}
		offboard := clock(u.OffboardRequestedDateTime)
		if err := c.printOne(value, u.ID, "Unit", u.ID, "Owner", u.DirectoryObjectID, "Name", u.DisplayName, "Address", u.Email, "Status", u.Status, "Policy", u.PolicyID,
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

// unit finds a drive by the id of its unit, by its owner's object id, or by
// its owner's address.
func (c *cli) unit(ctx context.Context, name string) (unitAnswer, json.RawMessage, error) {
	id, isID := backup.ParseGUID(name)
	if isID {
		u, value, err := get[unitAnswer](ctx, c, "/protectionUnits/"+id)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusNotFound {
			return u, value, err
		}
	} else {
		if !strings.Contains(name, "@") {
			return unitAnswer{}, nil, usageError{fmt.Errorf("%q is neither an address nor an id of a drive", name)}
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
	units, values, err := read[unitAnswer](c.api.All(ctx, unitSet+"?"+query("$filter", filter)))
	if err != nil {
		return unitAnswer{}, nil, err
	}
	if len(units) > 0 {
		return units[0], values[0], nil
	}
	if isID {
		return unitAnswer{}, nil, fail(exitNotFound, "%s has no drive here. 'holdfast drive list' shows those there are, 'holdfast drive add' adds one", name)
	}
	return unitAnswer{}, nil, fail(exitNotFound, "no drive of %s is known by that address: the directory does not have it or does not answer, and this server shows addresses to users only. Name the drive by its unit or by its owner's object id, as in 'holdfast drive list'", name)
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

func (c *cli) driveRemove(ctx context.Context, names []string, noWait bool) error {
	var policies, out []string
	units, called := map[string][]string{}, map[string]string{} // by policy; by unit
	for _, name := range names {
		u, _, err := c.unit(ctx, name)
		switch {
		case err != nil:
			return err
		case u.PolicyID == "":
			return fail(exitFailed, "the drive %s is in no policy, so there is nothing to take it out of", name)
		case called[u.ID] != "":
			continue
		}
		called[u.ID] = name
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
			var answer struct {
				Units []json.RawMessage `json:"driveProtectionUnits@delta"`
			}
			if err := c.api.Patch(ctx, policySet+"/"+policy, map[string]any{"driveProtectionUnits@delta": delta}, &answer); err != nil {
				return err
			}
			for _, value := range answer.Units {
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
		if err := c.wait(ctx, "out", "the drives are taken out all the same", func(ctx context.Context) (int, int, bool, error) {
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
	return partly(failed, len(called), "drive", "taken out")
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

// driveAct calls an action of each drive.
func (c *cli) driveAct(ctx context.Context, action, done string, names []string) error {
	failed, values := 0, []json.RawMessage{}
	var last error
	for _, name := range names {
		u, _, err := c.unit(ctx, name)
		if err != nil {
			return err
		}
		var value json.RawMessage
		err = c.api.Act(ctx, "/protectionUnits/"+u.ID+"/"+action, nil, &value)
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
		c.say("The drive %s %s.", name, done)
	}
	if c.json || c.shape != nil {
		if err := printList(c, values, []string{}, nil, nil, nil, ""); err != nil {
			return err
		}
	}
	if failed == len(names) && failed > 0 {
		return last
	}
	return partly(failed, len(names), "drive", "changed")
}
