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
		if c.script() {
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
		var drives, sessions int
		if err := c.api.Get(ctx, "/driveProtectionUnits/$count", &drives); err != nil {
			return err
		}
		if err := c.api.Get(ctx, "/restoreSessions/$count", &sessions); err != nil {
			return err
		}
		late, _, err := get[rpoAnswer](ctx, c, "/holdfast.rpo")
		if e, ok := errors.AsType[*client.Error](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusBadRequest) {
			err = nil // Microsoft's has no such thing
		}
		if err != nil {
			return err
		}
		newest := ""
		if len(late.Worst) > 0 {
			w := late.Worst[0]
			newest = fmt.Sprintf("%s old, of %s promised, of %s", w.Age, w.Promised, c.ownerOf(ctx, unitAnswer{DirectoryObjectID: w.DirectoryObjectID}))
			if late.MissedUnitCount > 0 {
				newest = fmt.Sprintf("%s of %d late; the worst %s", number(int(late.MissedUnitCount), "drive"), late.ProtectedUnitCount, newest)
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
		lines := []string{"Server", c.url, "Service", why, "Policies", count, "Drives", fmt.Sprint(drives), "Newest points", newest, "Restore sessions", fmt.Sprint(sessions),
			"Verified", verified, "Damage", damage}
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

// mostFailing is how many failing drives 'status' names.
const mostFailing = 10

// statusFailing names the drives that have an error, the first of them.
func (c *cli) statusFailing(ctx context.Context) error {
	var rows [][]string
	for value, err := range c.api.All(ctx, unitSet+"?"+query("$filter", "error ne null")) {
		if err != nil {
			return err
		}
		var u unitAnswer
		if err := json.Unmarshal(value, &u); err != nil {
			return err
		}
		if len(rows) == mostFailing {
			rows = append(rows, []string{"and more: 'holdfast drive list --errors'"})
			break
		}
		rows = append(rows, []string{cmp.Or(c.ownerOf(ctx, u), u.ID), u.Status, blame(u.Error)})
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(c.out)
	return c.table([]string{"FAILING", "STATUS", "ERROR"}, rows)
}
