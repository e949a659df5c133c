package main

import (
	"context"
	"fmt"
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
			Damage        int64     `json:"@holdfast.openDamageCount"`
			Verified      time.Time `json:"@holdfast.verifiedDateTime"`
			Retention     string    `json:"@holdfast.retentionDisagreement"`
		}
		s, value, err := get[service](ctx, c, "")
		if err != nil {
			return err
		}
		if c.json || c.quiet {
			return c.printOne(value, s.ServiceStatus.Status)
		}
		policies, _, err := read[policyAnswer](c.api.All(ctx, policySet))
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
		lines := []string{"Server", c.url, "Service", why, "Policies", count, "Drives", fmt.Sprint(drives), "Restore sessions", fmt.Sprint(sessions),
			"Verified", verified, "Damage", damage}
		if s.Vault != "" {
			lines = append(lines, "Vault", s.Vault)
		}
		if s.Retention != "" {
			lines = append(lines, "Retention", "nothing expires now. "+s.Retention)
		}
		return c.fields(lines...)
	})}
}
