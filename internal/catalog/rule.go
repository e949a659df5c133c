package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// NewRule is an inclusion rule to be made.
type NewRule struct {
	Expression string
	Dynamic    bool
	By         backup.Stamp
}

const ruleColumns = `r.id, r.tenant, r.workload, r.policy, r.expression, r.dynamic, r.status, CASE WHEN r.status LIKE 'completed%' THEN r.problem END,
	r.evaluated, r.created, r.created_by, r.modified, r.modified_by`

func scanRule(s scanner) (r backup.Rule, err error) {
	return r, s.Scan(&r.ID, &r.Tenant, &r.Workload, &r.Policy, &r.Expression, &r.Dynamic, &r.Status, fromJSON{&r.Problem},
		micros{&r.Evaluated}, micros{&r.Created.At}, fromJSON{&r.Created.By}, micros{&r.Modified.At}, fromJSON{&r.Modified.By})
}

func (c *Catalog) readRule(ctx context.Context, db database.Queryer, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID) (backup.Rule, error) {
	r, err := scanRule(db.QueryRowContext(ctx, `SELECT `+ruleColumns+` FROM inclusion_rule r WHERE r.tenant = $1 AND r.id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) || err == nil && policy != "" && r.Policy != policy {
		return backup.Rule{}, ruleNotFound()
	}
	if err != nil {
		return r, fmt.Errorf("read rule %s: %w", id, err)
	}
	return r, nil
}

// CreateRule makes an inclusion rule of a policy, and the work that evaluates
// it: PolicyNotFound; what is wrong with the expression;
// InvalidRuleCreateRequest for a second dynamic rule.
func (c *Catalog) CreateRule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, n NewRule) (backup.Rule, error) {
	n.By = asStored(n.By)
	r := backup.Rule{
		ID: backup.NewID[backup.RuleID](), Tenant: tenant, Policy: policy, Expression: n.Expression, Dynamic: n.Dynamic,
		Status: backup.RuleActive, Created: n.By, Modified: n.By,
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		p, err := c.readPolicy(ctx, tx, tenant, policy)
		if err != nil {
			return err
		}
		if p.FullService {
			return backup.OnlyExcludes(backup.InvalidRuleCreateRequest)
		}
		r.Workload = p.Workload
		if err := r.Workload.CheckRule(n.Expression, n.Dynamic); err != nil {
			return err
		}
		if n.Dynamic {
			var another bool
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM inclusion_rule WHERE policy = $1 AND dynamic = 1)`, string(policy)).Scan(&another)
			if err != nil {
				return fmt.Errorf("look for a dynamic rule: %w", err)
			}
			if another {
				return backup.Fail(backup.InvalidRuleCreateRequest, "The policy has a dynamic rule already, and may have one. Change that one to name these groups too.").On("isAutoApplyEnabled")
			}
		}
		if err := c.queue.Enqueue(ctx, tx, ruleJob(r)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO inclusion_rule (id, tenant, policy, expression, dynamic, status, evaluated, created, created_by, modified, modified_by, workload)
			VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $10, $11)`,
			string(r.ID), string(tenant), string(policy), r.Expression, bit(r.Dynamic), string(r.Status),
			database.Micros(r.Created.At), toJSON(r.Created.By), database.Micros(r.Modified.At), toJSON(r.Modified.By), string(r.Workload))
		if err != nil {
			return fmt.Errorf("insert rule: %w", err)
		}
		return nil
	})
	if err != nil {
		return backup.Rule{}, fmt.Errorf("create rule: %w", err)
	}
	return r, nil
}

func ruleJob(r backup.Rule) jobs.Spec {
	return jobs.Spec{Kind: jobs.Rule, Key: string(r.ID), Tenant: r.Tenant}
}

func ruleNotFound() error {
	return backup.Fail(backup.ProtectionRuleNotFound, "There is no such inclusion rule.").On("id")
}

// Rule returns an inclusion rule, or ProtectionRuleNotFound. If policy is not
// "" the rule must be of that policy; an unknown policy is PolicyNotFound.
func (c *Catalog) Rule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID) (backup.Rule, error) {
	if policy != "" {
		if _, err := c.Policy(ctx, tenant, policy); err != nil {
			return backup.Rule{}, err
		}
	}
	r, err := c.readRule(ctx, c.db.Read(), tenant, policy, id)
	if err == nil && wholePolicy(ctx, r.Policy) != nil {
		return backup.Rule{}, ruleNotFound()
	}
	return r, err
}

// Rules lists inclusion rules: those of a policy, which must exist, or with ""
// all of the tenant's.
func (c *Catalog) Rules(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, page Page) (List[backup.Rule], error) {
	q := query{columns: ruleColumns, table: "inclusion_rule r", tenant: tenant, scope: rulesWithin, time: "r.created", id: "r.id", fields: ruleFields,
		within: []equal{{"r.tenant", string(tenant)}}, indexes: []index{
			{"inclusion_rule_tenant_page", []string{"r.tenant", "r.created", "r.id"}},
			{"inclusion_rule_workload", []string{"r.tenant", "r.workload", "r.created", "r.id"}},
		}}
	q.of("r.workload", page.Workload)
	if policy != "" {
		if _, err := c.Policy(ctx, tenant, policy); err != nil {
			return List[backup.Rule]{}, err
		}
		q.within = []equal{{"r.policy", string(policy)}}
		q.indexes = []index{{"inclusion_rule_page", []string{"r.policy", "r.created", "r.id"}}}
	}
	l, err := list(ctx, c, q, page, scanRule)
	if err != nil {
		return l, fmt.Errorf("list rules: %w", err)
	}
	return l, nil
}

// changeRule reads a rule and lets change decide about it. What change leaves
// in the rule's expression, status and stamp is stored, and the work that
// follows is enqueued.
func (c *Catalog) changeRule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID, change func(*backup.Rule) error) (backup.Rule, error) {
	var r backup.Rule
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if _, err := c.readPolicy(ctx, tx, tenant, policy); err != nil {
			return err
		}
		if r, err = c.readRule(ctx, tx, tenant, policy, id); err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		r.Problem = nil // of an evaluation that counts no more
		if err := c.queue.Enqueue(ctx, tx, ruleJob(r)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE inclusion_rule SET expression = $2, status = $3, problem = NULL, modified = $4, modified_by = $5 WHERE id = $1`,
			string(id), r.Expression, string(r.Status), database.Micros(r.Modified.At), toJSON(r.Modified.By))
		if err != nil {
			return fmt.Errorf("write rule: %w", err)
		}
		return nil
	})
	return r, err
}

// UpdateRule gives a dynamic rule another expression, by which it is evaluated
// at once. Whether the rule may be changed is judged before the expression.
func (c *Catalog) UpdateRule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID, expression string, by backup.Stamp) (backup.Rule, error) {
	r, err := c.changeRule(ctx, tenant, policy, id, func(r *backup.Rule) error {
		if err := r.Move(backup.EditRule, asStored(by)); err != nil {
			return err
		}
		r.Expression = expression
		return r.Workload.CheckRule(expression, r.Dynamic)
	})
	if err != nil {
		return backup.Rule{}, fmt.Errorf("update rule: %w", err)
	}
	return r, nil
}

// RunRule has a static rule evaluated once more.
func (c *Catalog) RunRule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID, by backup.Stamp) (backup.Rule, error) {
	r, err := c.changeRule(ctx, tenant, policy, id, func(r *backup.Rule) error { return r.Move(backup.RunRule, asStored(by)) })
	if err != nil {
		return backup.Rule{}, fmt.Errorf("run rule: %w", err)
	}
	return r, nil
}

// ReleaseRule has a dynamic rule let its units go and then vanish.
func (c *Catalog) ReleaseRule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID, by backup.Stamp) (backup.Rule, error) {
	r, err := c.changeRule(ctx, tenant, policy, id, func(r *backup.Rule) error { return r.Move(backup.ReleaseRule, asStored(by)) })
	if err != nil {
		return backup.Rule{}, fmt.Errorf("release rule: %w", err)
	}
	return r, nil
}

// DeleteRule deletes a rule. The units that it brought in stay in the policy:
// those that a dynamic rule held are held by hand from then on.
func (c *Catalog) DeleteRule(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.RuleID) error {
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		if _, err := c.readPolicy(ctx, tx, tenant, policy); err != nil {
			return err
		}
		r, err := c.readRule(ctx, tx, tenant, policy, id)
		if err != nil {
			return err
		}
		if err := r.May(backup.DeleteRule); err != nil {
			return err
		}
		if err := c.queue.RemoveSelect(ctx, tx, jobs.Rule, `SELECT r.id FROM inclusion_rule r WHERE r.id = $1`, string(id)); err != nil {
			return err
		}
		if r.Dynamic {
			if _, err := tx.ExecContext(ctx, `UPDATE unit SET sources = 1 WHERE policy = $1 AND sources >= 2`, string(policy)); err != nil {
				return fmt.Errorf("keep units: %w", err)
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM inclusion_rule WHERE id = $1`, string(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete rule: %w", err)
	}
	return nil
}

// ScheduleRules sees to it that each dynamic rule of a tenant, and each policy that
// protects all there is, is evaluated at the given time at the latest.
func (c *Catalog) ScheduleRules(ctx context.Context, tenant backup.TenantID, at time.Time) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		err := c.queue.EnqueueSelect(ctx, tx, jobs.Rule, tenant, at, `SELECT r.id FROM inclusion_rule r WHERE r.tenant = $1 AND r.dynamic = 1`, string(tenant))
		if err != nil {
			return err
		}
		return c.queue.EnqueueSelect(ctx, tx, jobs.All, tenant, at, `SELECT p.id FROM policy p WHERE p.tenant = $1 AND p.full_service = 1`, string(tenant))
	})
	if err != nil {
		return fmt.Errorf("schedule rules: %w", err)
	}
	return nil
}

// RuleForWork returns the rule that a rule job names by its key, or
// ProtectionRuleNotFound.
func (c *Catalog) RuleForWork(ctx context.Context, tenant backup.TenantID, id backup.RuleID) (backup.Rule, error) {
	return c.readRule(ctx, c.db.Read(), tenant, "", id)
}

// An Evaluation is what was found out about the groups of a rule.
type Evaluation struct {
	Members []Member        // of the groups, each owner once
	Unread  []backup.Detail // the groups that could not be read to their end, as Target, and why
	// Believed is how long evaluations must have missed a member of before until
	// it is one no more.
	Believed time.Duration
}

// A Member is an owner and a group that it is in.
type Member struct {
	Owner backup.SubjectID
	Group backup.ObjectID
}

// ErrRuleChanged says that a rule was changed, or let go of, while it was
// evaluated. The evaluation is worth nothing; there is work for another.
var ErrRuleChanged = errors.New("the rule was changed meanwhile")

// maxRuleDetails is how many owners a rule's error names.
const maxRuleDetails = 1000

// ApplyRule is the work of a rule job: it brings the members of the rule's
// groups into the policy and, if the rule is dynamic, lets go those who are
// members no more. Where nothing else holds them, they leave the policy as if
// they had been removed by hand. Whoever was a member of a group that cannot
// be read now stays; and whoever is missing for the first time stays until an
// evaluation misses them again, after found.Believed at the earliest. It returns
// how many stay so. Members of a group that the rule does not name any
// more leave at once.
//
// Members who cannot join are named in the rule's error; the others join all
// the same. It takes a transaction for each 10,000 members, and may be called
// again after any of them. ErrRuleChanged, jobs.ErrLost, ProtectionRuleNotFound.
func (c *Catalog) ApplyRule(ctx context.Context, j *jobs.Job, r backup.Rule, found Evaluation) (missing int64, err error) {
	members := slices.Clone(found.Members)
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(string(a.Owner), string(b.Owner)) })
	this := backup.NewID[string]()
	failed := found.Unread
	for first := true; first || len(members) > 0; first = false {
		chunk := members[:min(c.batch, len(members))]
		members = members[len(chunk):]
		var refused []backup.Detail
		err := c.tx(ctx, r.Tenant, func(tx *database.Tx) (err error) {
			p, err := c.holdRule(ctx, tx, j, r)
			if err != nil {
				return err
			}
			if refused, err = c.includeMembers(ctx, tx, p, r, chunk, this); err != nil {
				return err
			}
			if len(members) > 0 {
				return nil
			}
			if missing, err = c.excludeOthers(ctx, tx, r, found, this); err != nil {
				return err
			}
			problem := ruleProblem(slices.Concat(failed, refused), len(found.Unread), len(found.Members))
			applied := backup.Activity{Tenant: r.Tenant, Workload: r.Workload, Operation: backup.RuleAppliedActivity,
				Target: "rule " + string(r.ID), Object: string(r.Policy), Problem: problem}
			if problem != nil {
				applied.Result = backup.ActivityPartiallySucceeded
			}
			if err := c.record(ctx, tx, applied); err != nil {
				return err
			}
			return finishRule(ctx, tx, r, problem, c.now())
		})
		if err != nil {
			return 0, fmt.Errorf("apply rule %s: %w", r.ID, err)
		}
		failed = slices.Concat(failed, refused)
	}
	return missing, nil
}

// holdRule makes sure that the rule is still the one that was evaluated, and
// returns its policy.
func (c *Catalog) holdRule(ctx context.Context, tx *database.Tx, j *jobs.Job, r backup.Rule) (*backup.Policy, error) {
	if err := j.Hold(ctx, tx); err != nil {
		return nil, err
	}
	now, err := c.readRule(ctx, tx, r.Tenant, r.Policy, r.ID)
	if err != nil {
		return nil, err
	}
	if now.Expression != r.Expression || now.Status != r.Status {
		return nil, ErrRuleChanged
	}
	p, err := c.readPolicy(ctx, tx, r.Tenant, r.Policy)
	return &p, err
}

// includeMembers brings owners into the policy and returns those who cannot
// join it.
func (c *Catalog) includeMembers(ctx context.Context, tx *database.Tx, p *backup.Policy, r backup.Rule, members []Member, this string) (refused []backup.Detail, err error) {
	if len(members) == 0 {
		return nil, nil
	}
	owners := make([]backup.SubjectID, len(members))
	for i, m := range members {
		owners[i] = m.Owner
	}
	m, err := readMembership(ctx, tx, p, asStored(backup.Stamp{By: r.Modified.By, At: c.now()}), owners, nil)
	if err != nil {
		return nil, err
	}
	m.source = backup.SourceManual
	if r.Dynamic {
		m.source = backup.SourceDynamicRule
	}
	if err := m.heedExclusions(ctx, tx, owners); err != nil {
		return nil, err
	}
	var rows [][2]string
	for _, of := range members {
		if _, failure := m.add(of.Owner); failure != nil {
			refused = append(refused, backup.Detail{Code: failure.Code, Message: failure.Message, Target: string(of.Owner)})
		}
		if !m.excluded[of.Owner] { // else it is let go as one that is a member no more
			rows = append(rows, [2]string{string(of.Owner), string(of.Group)})
		}
	}
	if err := c.bringIn(ctx, tx, m); err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO rule_match (rule, owner, group_id, seen)
		SELECT CAST($2 AS TEXT), e.value->>0, e.value->>1, CAST($3 AS TEXT) FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE true
		ON CONFLICT (rule, owner) DO UPDATE SET group_id = excluded.group_id, seen = excluded.seen, missing = 0`,
		jsonList(rows), string(r.ID), this)
	if err != nil {
		return nil, fmt.Errorf("note members: %w", err)
	}
	return refused, nil
}

// excludeOthers forgets whom the rule does not match any more, and lets them
// go if the rule held them. It returns how many are missing and not forgotten.
func (c *Catalog) excludeOthers(ctx context.Context, tx *database.Tx, r backup.Rule, found Evaluation, this string) (missing int64, err error) {
	do := func(what, query string, args ...any) {
		if err != nil {
			return
		}
		if _, err = tx.ExecContext(ctx, query, append([]any{string(r.ID)}, args...)...); err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
	}
	// Those of a group that the expression does not name now are no members,
	// whether the group can be read or not.
	var unread, stays []string
	for _, d := range found.Unread {
		unread = append(unread, d.Target)
	}
	among := func(list string) string { return `(SELECT e.value FROM ` + tx.Dialect().JSONEach(list) + ` AS e)` }
	if !r.Dynamic {
		do("forget members", `DELETE FROM rule_match WHERE rule = $1 AND seen <> $2 AND group_id NOT IN `+among("$3"), this, jsonList(unread))
		return 0, err
	}
	for _, g := range r.Groups() {
		stays = append(stays, string(g))
	}
	now := c.now()
	// Whom the rule holds and never matched as far as is known, since the catalog
	// was made anew from the vault, may have been in any of its groups.
	do("note whom the rule holds", `
		INSERT INTO rule_match (rule, owner, group_id, seen)
		SELECT CAST($1 AS TEXT), u.subject, CAST($3 AS TEXT), '' FROM unit u
		WHERE u.policy = $2 AND u.sources >= 2 AND u.status <> 'removeRequested'
			AND NOT EXISTS (SELECT 1 FROM rule_match m WHERE m.rule = $1 AND m.owner = u.subject)`,
		string(r.Policy), cmp.Or(slices.Concat(unread, stays)...))
	do("forget members", `
		DELETE FROM rule_match WHERE rule = $1 AND seen <> $2 AND (group_id NOT IN `+among("$3")+`
			OR missing > 0 AND missing <= $4 AND group_id NOT IN `+among("$5")+`)`,
		this, jsonList(stays), database.Micros(now.Add(-found.Believed)), jsonList(unread))
	do("note who is missing", `UPDATE rule_match SET missing = $3 WHERE rule = $1 AND seen <> $2 AND missing = 0 AND group_id NOT IN `+among("$4"),
		this, database.Micros(now), jsonList(unread))
	if err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM rule_match WHERE rule = $1 AND missing > 0 AND group_id NOT IN `+among("$2"),
		string(r.ID), jsonList(unread)).Scan(&missing); err != nil {
		return 0, fmt.Errorf("count who is missing: %w", err)
	}
	return missing, c.letGo(ctx, tx, r, `AND NOT EXISTS (SELECT 1 FROM rule_match m WHERE m.rule = $4 AND m.owner = unit.subject)`, string(r.ID))
}

// letGo drops a dynamic rule's hold on its units, or on those of them that and
// adds a condition for. Where nothing else holds them, they leave the policy.
func (c *Catalog) letGo(ctx context.Context, tx *database.Tx, r backup.Rule, and string, args ...any) error {
	by := asStored(backup.Stamp{By: r.Modified.By, At: c.now()})
	n, err := affected(tx.ExecContext(ctx, `
		UPDATE unit SET modified = $2, modified_by = $3,
			status  = CASE WHEN sources = 2 THEN 'removeRequested' ELSE status END,
			sources = CASE WHEN sources = 2 THEN 2 ELSE 1 END
		WHERE policy = $1 AND sources >= 2 AND status <> 'removeRequested' `+and,
		append([]any{string(r.Policy), database.Micros(by.At), toJSON(by.By)}, args...)...))
	if err != nil {
		return fmt.Errorf("let units go: %w", err)
	}
	if n == 0 {
		return nil
	}
	return c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Settle, Key: string(r.Policy), Tenant: r.Tenant})
}

// ruleProblem is a rule's error: the first unread of details are groups that
// could not be read, the others are owners who could not join.
func ruleProblem(details []backup.Detail, unread, members int) *backup.Problem {
	if len(details) == 0 {
		return nil
	}
	p := &backup.Problem{Code: details[0].Code, Details: details}
	var parts []string
	switch {
	case unread > 0 && details[0].Target == "":
		parts = append(parts, "The tenant's sites could not be listed, so that others than those that are known were not brought in; those brought in before stay.")
	case unread > 0:
		p.Target = details[0].Target
		parts = append(parts, strconv.Itoa(unread)+" of the groups could not be read, so their members were not brought in; those brought in before stay.")
	}
	if n := len(details) - unread; n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d members could not be brought into the policy; the others were.", n, members))
	}
	p.Message = strings.Join(parts, " ") + " Each detail names one and says why."
	if len(details) > maxRuleDetails {
		p.Details = details[:maxRuleDetails]
		p.Message += fmt.Sprintf(" The first %d are named here.", maxRuleDetails)
	}
	return p
}

// finishRule notes that an evaluation has ended.
func finishRule(ctx context.Context, tx *database.Tx, r backup.Rule, p *backup.Problem, at time.Time) error {
	status := backup.RuleCompleted
	if p != nil {
		status = backup.RuleCompletedWithErrors
	}
	_, err := tx.ExecContext(ctx, `UPDATE inclusion_rule SET status = $2, problem = $3, evaluated = $4 WHERE id = $1`,
		string(r.ID), string(status), problemJSON(p), database.Micros(at))
	if err != nil {
		return fmt.Errorf("finish rule: %w", err)
	}
	return nil
}

// EndRule is the work of a rule job whose rule is to vanish: its units are let
// go, and the rule is deleted.
func (c *Catalog) EndRule(ctx context.Context, j *jobs.Job, r backup.Rule) error {
	err := c.tx(ctx, r.Tenant, func(tx *database.Tx) error {
		if _, err := c.holdRule(ctx, tx, j, r); err != nil {
			return err
		}
		if err := c.letGo(ctx, tx, r, ""); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM inclusion_rule WHERE id = $1`, string(r.ID))
		return err
	})
	if err != nil {
		return fmt.Errorf("end rule %s: %w", r.ID, err)
	}
	return nil
}
