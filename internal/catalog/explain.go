package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/backup"
)

// Explain says why an owner's drive is in a policy, or is not. PolicyNotFound.
func (c *Catalog) Explain(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, owner backup.SubjectID) (backup.Explanation, error) {
	e := backup.Explanation{Policy: policy, Owner: owner}
	p, err := c.Policy(ctx, tenant, policy)
	if err != nil {
		return e, err
	}
	if err := c.onlySubject(ctx, c.db.Read(), tenant, owner, backup.Fail(backup.ItemNotFound, "There is no such owner in the part of the tenant that your role is limited to.").On("id")); err != nil {
		return e, err
	}
	u, err := scanUnitWithOwner(c.db.Read().QueryRowContext(ctx,
		`SELECT `+unitColumns+`, `+ownerColumns+` FROM `+unitsWithOwners+` WHERE u.tenant = $1 AND u.workload = $3 AND u.subject = $2 AND u.status <> 'offboarded'`,
		string(tenant), string(owner), string(p.Workload)))
	switch {
	case err == nil:
		e.Unit = &u
	case !errors.Is(err, sql.ErrNoRows):
		return e, fmt.Errorf("read the unit of owner %s: %w", owner, err)
	}
	rules, err := c.rulesOn(ctx, tenant, policy, owner)
	if err != nil {
		return e, fmt.Errorf("read the rules of policy %s: %w", policy, err)
	}
	if err := c.explainExclusion(ctx, &e, p); err != nil {
		return e, err
	}
	explainUnit(&e, p, rules)
	for _, r := range rules {
		explainRule(&e, r)
	}
	if e.Unit != nil && e.Unit.Policy != "" {
		return e, nil
	}
	_, known, err := c.DirectoryUser(ctx, tenant, owner)
	if err != nil {
		return e, err
	}
	_, read, err := c.DirectoryCursor(ctx, tenant)
	if err != nil {
		return e, err
	}
	if !known && !read.IsZero() {
		e.Reasons = append(e.Reasons, backup.Reason{Code: backup.NotInDirectory,
			Message: "The tenant's directory had no user with this id when it was last read, on " + day(read) + "."})
	}
	return e, nil
}

// explainExclusion says whether the owner is excluded from the policy, or kept by an
// exclusion from the rules and jobs of this one.
func (c *Catalog) explainExclusion(ctx context.Context, e *backup.Explanation, p backup.Policy) error {
	var by backup.PolicyID
	var created backup.Stamp
	err := c.db.Read().QueryRowContext(ctx, `SELECT x.policy, x.created, x.created_by FROM exclusion x WHERE x.tenant = $1 AND x.workload = $2 AND x.subject = $3`,
		string(p.Tenant), string(p.Workload), string(e.Owner)).Scan(&by, micros{&created.At}, fromJSON{&created.By})
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the exclusion of %s: %w", e.Owner, err)
	}
	e.Reasons = append(e.Reasons, backup.Reason{Code: backup.Excluded, Policy: by, Message: "It is excluded from backup by an exclusion unit, since " + day(created.At) + who(created.By) +
		". No rule and no bulk addition job brings it in; a person may, by naming it in a policy that takes units."})
	return nil
}

// A ruleOn is a rule and the group by which it matched an owner, or "".
type ruleOn struct {
	backup.Rule
	group   backup.ObjectID
	missing time.Time // since when the owner was not found in the group; zero if it was
}

func (c *Catalog) rulesOn(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, owner backup.SubjectID) ([]ruleOn, error) {
	l, err := c.Rules(ctx, tenant, policy, Page{Limit: 1000})
	if err != nil {
		return nil, err
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT m.rule, m.group_id, m.missing FROM inclusion_rule r JOIN rule_match m ON m.rule = r.id AND m.owner = $2 WHERE r.policy = $1`,
		string(policy), string(owner))
	matches, err := collect(rows, err, func(s scanner) (m ruleOn, err error) {
		return m, s.Scan(&m.ID, &m.group, micros{&m.missing})
	})
	if err != nil {
		return nil, err
	}
	rules := make([]ruleOn, len(l.Items))
	for i, r := range l.Items {
		if n := slices.IndexFunc(matches, func(m ruleOn) bool { return m.ID == r.ID }); n >= 0 {
			rules[i] = matches[n]
		}
		rules[i].Rule = r
	}
	return rules, nil
}

// explainUnit says whether the policy holds the owner's unit, and how it came
// to be where it is.
func explainUnit(e *backup.Explanation, p backup.Policy, rules []ruleOn) {
	say := func(code backup.ReasonCode, policy backup.PolicyID, message string) {
		e.Reasons = append(e.Reasons, backup.Reason{Code: code, Policy: policy, Message: message})
	}
	u := e.Unit
	switch {
	case u == nil:
		say(backup.OutOfPolicy, "", "Nobody has brought this owner into a policy: no request, no bulk addition job, and no rule.")
		return
	case u.Policy != "" && u.Policy != p.ID:
		say(backup.InAnotherPolicy, u.Policy, "The owner is in another policy, and can be in one only. Remove it there first.")
		return
	case u.Policy == "":
		say(backup.OutOfPolicy, "", "The owner is in no policy.")
		say(backup.TakenOut, "", "It was in one: its unit was removed, by a request or by a rule that it matched no more, or the policy was deleted. The unit was last changed on "+
			day(u.Modified.At)+who(u.Modified.By)+".")
		switch u.Status {
		case backup.UnitOffboardRequested, backup.UnitCancelOffboardRequested:
			say(backup.Offboarding, "", "Its backups are being offboarded since "+day(u.OffboardRequested)+", so it cannot join a policy now.")
		}
		return
	case u.Status == backup.UnitRemoveRequested:
		say(backup.RemovalRequested, "", "Its removal was requested on "+day(u.Modified.At)+who(u.Modified.By)+", and is being done.")
		return
	}
	e.Included = true
	if u.Sources&backup.SourceManual != 0 {
		say(backup.HeldManually, "", "It was brought in by hand, by a bulk addition job or by a static rule, and stays until it is removed.")
	}
	switch {
	case p.FullService:
		say(backup.HeldByAll, "", "The policy protects all there is, for as long as the directory has its owner. Exclude the owner to let it go.")
	case u.Sources&backup.SourceDynamicRule != 0:
		r := backup.Reason{Code: backup.HeldByRule, Message: "The policy's dynamic rule holds it for as long as the rule matches its owner."}
		if i := slices.IndexFunc(rules, func(r ruleOn) bool { return r.Dynamic }); i >= 0 {
			r.Rule = rules[i].ID
		}
		e.Reasons = append(e.Reasons, r)
	}
	if !p.Enabled {
		say(backup.PolicyNotInForce, "", "The policy is not in force, so that the unit is in it but is not backed up. Activate the policy.")
	}
	if u.Problem != nil {
		say(backup.BackupFailing, "", "It is in the policy, but its last backup failed: "+u.Problem.Message)
	}
}

// explainRule says whether a rule matched the owner.
func explainRule(e *backup.Explanation, r ruleOn) {
	kind := "static"
	if r.Dynamic {
		kind = "dynamic"
	}
	say := func(code backup.ReasonCode, group backup.ObjectID, message string) {
		e.Reasons = append(e.Reasons, backup.Reason{Code: code, Rule: r.ID, Group: group, Message: "The " + kind + " rule " + message})
	}
	if r.Status.Pending() {
		say(backup.RuleNotEvaluated, "", "is about to be evaluated; what it will match is not known yet.")
	}
	if r.Problem != nil {
		for _, d := range r.Problem.Details {
			if slices.Contains(r.Groups(), backup.ObjectID(d.Target)) {
				say(backup.GroupNotRead, backup.ObjectID(d.Target), "names a group that could not be read. "+d.Message)
			}
		}
	}
	switch {
	case r.Evaluated.IsZero():
	case !r.missing.IsZero():
		say(backup.RuleNoMatch, r.group, "does not find the owner in the group any more since "+day(r.missing)+". It lets go as soon as it has looked a second time.")
	case r.group != "":
		say(backup.RuleMatches, r.group, "matched the owner when it was last evaluated, on "+day(r.Evaluated)+": it is a member of the group.")
	default:
		say(backup.RuleNoMatch, "", "did not match the owner when it was last evaluated, on "+day(r.Evaluated)+
			": it was a member of none of the rule's groups. Members of groups within them do not count.")
	}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

func who(by backup.IdentitySet) string {
	for _, i := range []backup.Identity{by.User, by.Application} {
		for _, name := range []string{i.DisplayName, i.ID} {
			if name != "" {
				return " by " + name
			}
		}
	}
	return ""
}
