package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
)

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show whether the service works, and how much it holds", Args: args(0, 0), RunE: c.run(func(ctx context.Context, _ []string) error {
		type service struct {
			ServiceStatus struct{ Status, DisableReason string }
			Vault         string    `json:"@holdfast.vaultProblem"`
			Source        string    `json:"@holdfast.sourceProblem"`
			Damage        int64     `json:"@holdfast.openDamageCount"`
			Verified      time.Time `json:"@holdfast.verifiedDateTime"`
			Retention     string    `json:"@holdfast.retentionDisagreement"`
			Configuration string    `json:"@holdfast.configurationProblem"`
			Versions      []struct {
				Version      string
				ProcessCount int
			} `json:"@holdfast.versions"`
		}
		s, value, err := get[service](ctx, c, "")
		if err != nil {
			return err
		}
		if c.quiet {
			return c.printOne(value, s.ServiceStatus.Status)
		}
		policies, _, err := read[policyAnswer](c.api.All(ctx, allPolicies))
		if err != nil {
			return err
		}
		states := map[string]int{}
		for _, p := range policies {
			states[p.Status]++
		}
		var sessions int
		if err := c.api.Get(ctx, "/restoreSessions/$count", &sessions); err != nil {
			return err
		}
		var units []string
		counts := map[string]int{}
		for _, w := range workloads {
			var n int
			err := c.api.Get(ctx, w.units+"/$count", &n)
			if notServed(err) {
				continue
			}
			if err != nil {
				return err
			}
			counts[w.nouns] = n
			units = append(units, upperFirst(w.nouns), fmt.Sprint(n))
		}
		late, rpo, err := get[rpoAnswer](ctx, c, "/holdfast.rpo")
		if notServed(err) {
			err = nil // Microsoft's has no such thing
		}
		if err != nil {
			return err
		}
		if c.script() {
			members := map[string]any{"policies": states, "units": counts, "restoreSessionCount": sessions}
			if rpo != nil {
				if members["rpo"], err = c.withOwners(ctx, late, rpo); err != nil {
					return err
				}
			}
			failing, err := c.failing(ctx)
			if err != nil {
				return err
			}
			values := []json.RawMessage{}
			for _, u := range failing {
				values = append(values, withMembers(u.value, map[string]any{"owner": c.ownerOf(ctx, u.unitAnswer)}))
			}
			members["failing"] = values[:min(len(values), mostFailing)]
			return c.printOne(withMembers(value, members), s.ServiceStatus.Status)
		}
		newest := ""
		if len(late.Worst) > 0 {
			w := late.Worst[0]
			newest = fmt.Sprintf("%s old, of %s promised, of %s", w.Age, w.Promised, c.lateOf(ctx, w))
			if late.MissedUnitCount > 0 {
				newest = fmt.Sprintf("%s of %d late; the worst %s", fmt.Sprint(late.MissedUnitCount), late.ProtectedUnitCount, newest)
			}
		}
		var of []string
		for _, state := range []backup.PolicyStatus{backup.PolicyActive, backup.PolicyActiveWithErrors, backup.PolicyUpdating, backup.PolicyInactive} {
			if n := states[string(state)]; n > 0 {
				of = append(of, fmt.Sprintf("%d %s", n, state))
			}
		}
		count := fmt.Sprint(len(policies))
		if len(of) > 0 {
			count += ": " + strings.Join(of, ", ")
		}
		why := s.ServiceStatus.Status
		if r := s.ServiceStatus.DisableReason; r != "" && r != "none" {
			why += " (" + r + ")"
		}
		verified := "not yet, or not all drives"
		if !s.Verified.IsZero() {
			verified = "all drives, the first of them at " + when(s.Verified)
		}
		damage := "none that is known"
		if s.Damage > 0 {
			damage = fmt.Sprintf("%d found and not healed; 'holdfast vault damage' on the server lists it", s.Damage)
		}
		lines := slices.Concat([]string{"Server", c.url, "Service", why, "Policies", count}, units, []string{"Newest points", newest, "Restore sessions", fmt.Sprint(sessions),
			"Verified", verified, "Damage", damage})
		if s.Vault != "" {
			lines = append(lines, "Vault", s.Vault)
		}
		if s.Source != "" {
			lines = append(lines, "Source", s.Source)
		}
		if s.Retention != "" {
			lines = append(lines, "Retention", "nothing expires now. "+s.Retention)
		}
		if s.Configuration != "" {
			lines = append(lines, "Configuration", s.Configuration)
		}
		if len(s.Versions) > 0 {
			var of []string
			for _, v := range s.Versions {
				of = append(of, fmt.Sprintf("%d of %s", v.ProcessCount, v.Version))
			}
			lines = append(lines, "Processes", strings.Join(of, ", "))
		}
		if err := c.fields(lines...); err != nil {
			return err
		}
		return c.statusFailing(ctx)
	})}
}

// mostFailing is how many failing units 'status' names.
const mostFailing = 10

// A failingUnit is a unit that has an error, as it came and of which workload.
type failingUnit struct {
	unitAnswer
	of    *workload
	value json.RawMessage
}

// failing is the units that have an error, of all workloads: no more of each than
// mostFailing, and one.
func (c *cli) failing(ctx context.Context) (units []failingUnit, err error) {
	for _, w := range workloads {
		n := 0
		for value, err := range c.api.All(ctx, w.units+"?"+query("$filter", "error ne null")) {
			if notServed(err) {
				break
			}
			u := failingUnit{of: w, value: value}
			if err == nil {
				err = json.Unmarshal(value, &u.unitAnswer)
			}
			if err != nil {
				return nil, err
			}
			units = append(units, u)
			if n++; n > mostFailing {
				break
			}
		}
	}
	return units, nil
}

// statusFailing names the units that have an error, the first of them.
func (c *cli) statusFailing(ctx context.Context) error {
	units, err := c.failing(ctx)
	if err != nil || len(units) == 0 {
		return err
	}
	var rows [][]string
	for i, u := range units {
		if i == mostFailing {
			rows = append(rows, []string{"and more: 'holdfast report --only failing'"})
			break
		}
		rows = append(rows, []string{cmp.Or(c.ownerOf(ctx, u.unitAnswer), u.ID), u.of.noun, u.Status, blame(u.Error)})
	}
	fmt.Fprintln(c.out)
	return c.table([]string{"FAILING", "WHAT", "STATUS", "ERROR"}, rows)
}
