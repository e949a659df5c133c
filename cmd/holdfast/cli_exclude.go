package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// An exclusionAnswer is an exclusion unit, as far as the commands read it.
type exclusionAnswer struct {
	unitAnswer
	CreatedBy identitiesAnswer
}

func (c *cli) excludeCommand() *cobra.Command {
	var of string
	ofWorkload := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&of, "workload", string(backup.OneDrive), "of this `WORKLOAD`: oneDriveForBusiness, sharePoint or exchange")
		return cmd
	}
	var add addition
	adds := ofWorkload(&cobra.Command{Use: "add [--workload WORKLOAD] (OWNER... | SITE... | --from-csv FILE)", Short: "Exclude drives, sites or mailboxes, any number of them", Args: args(0, -1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.exclude(ctx, of, add, args) })})
	adds.Flags().StringVar(&add.csv, "from-csv", "", "read them from this `FILE`; - is standard input")
	adds.Flags().StringVar(&add.column, "column", "", "the `COLUMN` of the CSV that holds them, by name or number")
	list := &cobra.Command{Use: "list", Short: "List what is excluded", Args: args(0, 0), RunE: c.run(c.excludeList)}
	remove := ofWorkload(&cobra.Command{Use: "remove [--workload WORKLOAD] OWNER|SITE|EXCLUSION...", Short: "Exclude no more: they are protected again at once", Args: args(1, -1),
		RunE: c.run(func(ctx context.Context, args []string) error { return c.excludeRemove(ctx, of, args) })})
	return group("exclude", "Keep drives, sites or mailboxes out of a policy that protects all there are",
		"A policy made by 'policy create --full-service' protects all drives, sites or\nmailboxes there are, but those that are excluded. What was backed up of them stays.", adds, list, remove)
}

// allPolicy finds the policy that protects all there is of a workload.
func (c *cli) allPolicy(ctx context.Context, w *workload) (p policyAnswer, err error) {
	all, _, err := read[policyAnswer](c.api.All(ctx, client.Beta+w.policies))
	if err != nil {
		return p, err
	}
	i := slices.IndexFunc(all, func(p policyAnswer) bool { return p.ProtectionMode == fullService })
	if i < 0 {
		return p, fail(exitNotFound, "no policy protects all %s there are, so nothing can be excluded. Make one with 'holdfast policy create NAME --workload %s --full-service'", w.nouns, w.kind)
	}
	return all[i], nil
}

func (c *cli) exclude(ctx context.Context, of string, a addition, args []string) error {
	w, err := workloadNamed(of)
	if err != nil {
		return err
	}
	if (a.csv == "") == (len(args) == 0) {
		return usageError{fmt.Errorf("name the %ss, or a CSV file by --from-csv", w.entry)}
	}
	var entries []entry
	for _, text := range args {
		entries = append(entries, entry{text: text})
	}
	if a.csv != "" {
		if entries, err = readEntries(a.csv, a.column, w); err != nil {
			return err
		}
	}
	p, err := c.allPolicy(ctx, w)
	if err != nil {
		return err
	}
	total := len(entries)
	var failures []failedEntry
	var addresses, ids []entry
	for _, e := range entries {
		switch {
		case e.text == "":
			failures = append(failures, failedEntry{e, "Empty", w.nobody})
		case w.isID(e.text):
			ids = append(ids, e)
		default:
			addresses = append(addresses, e)
		}
	}
	// A job takes addresses only; ids go by themselves.
	for part := range slices.Chunk(ids, maxDelta) {
		var items []any
		for _, e := range part {
			items = append(items, map[string]string{map[bool]string{true: "siteId", false: "directoryObjectId"}[w == sites]: e.text})
		}
		results, err := c.delta(ctx, client.Beta+w.policies+"/"+p.ID, w.exclusions(), items)
		if err != nil {
			return err
		}
		for i, value := range results {
			var r partResult
			if err := json.Unmarshal(value, &r); err != nil {
				return err
			}
			if r.Failure != nil && i < len(part) {
				failures = append(failures, failedEntry{part[i], r.Failure.Info.Code, r.Failure.Info.Message})
			}
		}
	}
	jobs, err := c.sendJobs(ctx, w.excluding(), p, "holdfast exclude add", addresses)
	if err != nil {
		return err
	}
	if len(jobs) > 0 {
		if jobs, err = c.waitJobs(ctx, jobs); err != nil {
			return err
		}
	}
	failures = append(failures, whatFailed(addresses, jobs)...)
	slices.SortStableFunc(failures, func(a, b failedEntry) int { return a.line - b.line })
	if c.script() {
		if err := c.printJobs(jobs); err != nil {
			return err
		}
	} else if len(failures) > 0 {
		if err := c.printFailures(w, failures); err != nil {
			return err
		}
	}
	if n := total - len(failures); n > 0 {
		c.say("%s excluded from %s; what was backed up stays.", number(n, w.noun), p.DisplayName)
	}
	return partly(len(failures), total, w.noun, "excluded")
}

func (c *cli) excludeList(ctx context.Context, _ []string) error {
	all, values, err := read[exclusionAnswer](c.api.All(ctx, client.Beta+"/exclusionUnits?$top=999"))
	if err != nil {
		return err
	}
	return printList(c, values, all, func(x exclusionAnswer) string { return x.ID }, []string{"EXCLUSION", "OF", "OWNER OR SITE", "POLICY", "CREATED", "BY"},
		func(x exclusionAnswer) []string {
			return []string{x.ID, workloadOf(x.Type).nouns, c.ownerOf(ctx, x.unitAnswer), c.policyName(ctx, x.PolicyID), clock(x.CreatedDateTime), by(x.CreatedBy)}
		}, "Nothing is excluded.", func(x exclusionAnswer) map[string]any {
			return map[string]any{"owner": c.ownerOf(ctx, x.unitAnswer), "policyName": c.policyName(ctx, x.PolicyID)}
		})
}

func (c *cli) excludeRemove(ctx context.Context, of string, names []string) error {
	w, err := workloadNamed(of)
	if err != nil {
		return err
	}
	p, err := c.allPolicy(ctx, w)
	if err != nil {
		return err
	}
	var ids []string
	called := map[string]string{}
	for _, name := range names {
		id, err := c.exclusion(ctx, w, name)
		if err != nil {
			return err
		}
		if id == "" {
			c.already("The %s %s is not excluded", w.noun, name)
		} else if called[id] == "" {
			ids, called[id] = append(ids, id), name
		}
	}
	failed := 0
	for part := range slices.Chunk(ids, maxDelta) {
		var items []any
		for _, id := range part {
			items = append(items, map[string]any{"@removed": map[string]string{"reason": "changed"}, "id": id})
		}
		results, err := c.delta(ctx, client.Beta+w.policies+"/"+p.ID, w.exclusions(), items)
		if err != nil {
			return err
		}
		for _, value := range results {
			var r partResult
			if err := json.Unmarshal(value, &r); err != nil {
				return err
			}
			if r.Failure != nil {
				failed++
				fmt.Fprintf(c.errs, "%s: %s\n", called[r.ID], oneLine(blame(&r.Failure.Info)))
				continue
			}
			c.say("%s is excluded no more.", called[r.ID])
		}
	}
	return partly(failed, len(ids), w.noun, "included")
}

// exclusion finds an exclusion by its id, or by what it excludes; it is "" if that is not
// excluded.
func (c *cli) exclusion(ctx context.Context, w *workload, name string) (string, error) {
	id, isID := backup.ParseGUID(name)
	if isID {
		x, _, err := get[exclusionAnswer](ctx, c, w.exclusions()+"/"+id)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 404 {
			return x.ID, err
		}
	}
	find, member := c.owner, "directoryObjectId"
	if w == sites {
		find, member = c.site, "siteId"
	}
	id, err := find(ctx, name)
	if err != nil {
		return "", err
	}
	all, _, err := read[exclusionAnswer](c.api.All(ctx, w.exclusions()+"?"+query("$filter", member+" eq '"+strings.ReplaceAll(id, "'", "''")+"'")))
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0].ID, nil
}
