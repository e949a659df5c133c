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

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A policy is read with its tally: which states occur among its units, as bits,
// from the numbers of units that are kept by policy and status. These are a few
// rows, however many units there are. SQLite knows no alias of a table whose
// changed rows are returned.
const (
	isUnprotecting = 1 // a unit is unprotectRequested
	isRequested    = 2 // one is protectRequested or removeRequested
	isFailing      = 4 // one has an error, or is unprotected

	tally = `coalesce((SELECT max(CASE k.status WHEN 'unprotectRequested' THEN 1 ELSE 0 END)
			+ 2 * max(CASE k.status WHEN 'protectRequested' THEN 1 WHEN 'removeRequested' THEN 1 ELSE 0 END)
			+ 4 * max(CASE k.status WHEN 'unprotected' THEN 1 ELSE k.failing END)
		FROM unit_count k WHERE k.tenant = policy.tenant AND k.policy = policy.id AND k.n > 0), 0)`

	policyColumns = `policy.id, policy.tenant, policy.workload, policy.display_name, policy.enabled,
		policy.created, policy.created_by, policy.modified, policy.modified_by, ` + tally + `,
		(SELECT t.kept FROM retention t WHERE t.tenant = policy.tenant AND t.policy = ''),
		(SELECT t.kept FROM retention t WHERE t.tenant = policy.tenant AND t.policy = policy.id), policy.full_service`

	// policyStatus is backup.StatusOf for filters.
	policyStatus = `CASE WHEN policy.enabled = 0 AND ` + tally + ` % 2 = 1 THEN 'updating'
		WHEN policy.enabled = 0 THEN 'inactive'
		WHEN ` + tally + ` % 4 > 0 THEN 'updating'
		WHEN ` + tally + ` > 0 THEN 'activeWithErrors'
		ELSE 'active' END`
)

func scanPolicy(r scanner) (p backup.Policy, err error) {
	var bits int
	var tenant, own *backup.Retention
	err = r.Scan(&p.ID, &p.Tenant, &p.Workload, &p.DisplayName, &p.Enabled, micros{&p.Created.At}, fromJSON{&p.Created.By},
		micros{&p.Modified.At}, fromJSON{&p.Modified.By}, &bits,
		fromJSON{&tenant}, fromJSON{&own}, &p.FullService)
	all := retentions{}
	if tenant != nil {
		all[""] = Retention{Kept: *tenant}
	}
	if own != nil {
		all[p.ID] = Retention{Kept: *own}
	}
	p.Retention, _ = all.of(p.ID)
	p.Status = backup.StatusOf(p.Enabled, backup.UnitTally{Requested: bits&(isUnprotecting|isRequested) != 0, Unprotecting: bits&isUnprotecting != 0, Failing: bits&isFailing != 0})
	return p, err
}

func (c *Catalog) readPolicy(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.PolicyID) (backup.Policy, error) {
	p, err := scanPolicy(db.QueryRowContext(ctx, `SELECT `+policyColumns+` FROM policy WHERE tenant = $1 AND id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return p, policyNotFound()
	}
	if err != nil {
		return p, fmt.Errorf("read policy %s: %w", id, err)
	}
	return p, c.onlyPolicy(ctx, db, tenant, id, policyNotFound())
}

func policyNotFound() error {
	return backup.Fail(backup.PolicyNotFound, "There is no such protection policy.").On("id")
}

// Policy returns a protection policy, or PolicyNotFound.
func (c *Catalog) Policy(ctx context.Context, tenant backup.TenantID, id backup.PolicyID) (backup.Policy, error) {
	return c.readPolicy(ctx, c.db.Read(), tenant, id)
}

// Policies lists a tenant's protection policies.
func (c *Catalog) Policies(ctx context.Context, tenant backup.TenantID, page Page) (List[backup.Policy], error) {
	q := query{columns: policyColumns, table: "policy", tenant: tenant, scope: policiesWithin, time: "policy.created", id: "policy.id", fields: policyFields,
		within: []equal{{"policy.tenant", string(tenant)}}, indexes: []index{
			{"policy_page", []string{"policy.tenant", "policy.created", "policy.id"}},
			{"policy_name", []string{"policy.tenant", "policy.name_key", "policy.id"}},
			{"policy_workload", []string{"policy.tenant", "policy.workload", "policy.created", "policy.id"}},
		}}
	q.of("policy.workload", page.Workload)
	l, err := list(ctx, c, q, page, scanPolicy)
	if err != nil {
		return l, fmt.Errorf("list policies: %w", err)
	}
	return l, nil
}

// PolicyUnitCounts is a policy's units by how their protection stands. Those that
// fail are of protection or its end alone. Units that nobody has asked to protect are
// in Total only.
type PolicyUnitCounts struct {
	Total                                       int64
	Protecting, Protected, ProtectedFailing     int64
	Unprotecting, Unprotected, UnprotectFailing int64
	Removing, Offboarding                       int64
}

// PolicyUnitCounts tells how many units a policy has, from what is kept of it.
func (c *Catalog) PolicyUnitCounts(ctx context.Context, tenant backup.TenantID, id backup.PolicyID) (PolicyUnitCounts, error) {
	var counts PolicyUnitCounts
	if _, err := c.Policy(ctx, tenant, id); err != nil {
		return counts, err
	}
	ctx = whollyWithin(ctx, id)
	text, args := `SELECT status, failing, n FROM unit_count WHERE tenant = $1 AND policy = $2`, []any{string(tenant), string(id)}
	if scope := scopeOf(ctx); scope != nil { // of those that are in the scope
		arg := func(v any) string { args = append(args, v); return "$" + strconv.Itoa(len(args)) }
		text = `SELECT u.status, CASE WHEN u.problem IS NULL THEN 0 ELSE 1 END, count(*) FROM (` + scope.in(c, tenant, arg).units() + `) AS x CROSS JOIN unit u
			WHERE u.id = x.id AND u.tenant || '' = $1 AND u.policy || '' = $2 GROUP BY 1, 2`
	}
	rows, err := c.db.Read().QueryContext(ctx, text, args...)
	if err != nil {
		return counts, fmt.Errorf("count units of policy %s: %w", id, err)
	}
	defer rows.Close()
	for rows.Next() {
		var status backup.UnitStatus
		var failing, n int64
		if err := rows.Scan(&status, &failing, &n); err != nil {
			return counts, fmt.Errorf("count units of policy %s: %w", id, err)
		}
		counts.Total += n
		of := map[backup.UnitStatus][2]*int64{
			backup.UnitProtectRequested: {&counts.Protecting, &counts.Protecting}, backup.UnitProtected: {&counts.Protected, &counts.ProtectedFailing},
			backup.UnitUnprotectRequested: {&counts.Unprotecting, &counts.Unprotecting}, backup.UnitUnprotected: {&counts.Unprotected, &counts.UnprotectFailing},
			backup.UnitRemoveRequested:   {&counts.Removing, &counts.Removing},
			backup.UnitOffboardRequested: {&counts.Offboarding, &counts.Offboarding}, backup.UnitCancelOffboardRequested: {&counts.Offboarding, &counts.Offboarding},
		}
		if to := of[status][failing]; to != nil {
			*to += n
		}
	}
	if err := rows.Err(); err != nil {
		return counts, fmt.Errorf("count units of policy %s: %w", id, err)
	}
	return counts, nil
}

// NewPolicy is a policy to be made.
type NewPolicy struct {
	Workload    backup.Workload
	DisplayName string
	FullService bool                        // it is to protect all there is; then there are no Units
	Units       []backup.SubjectID          // owners
	SourceIDs   map[backup.SubjectID]string // what the source calls them in full, where that was said
	By          backup.Stamp
}

// CreatePolicy makes a policy, which is not in force, with units for the
// owners named. It makes all or nothing: an owner in another policy is
// ProtectionUnitAlreadyExists, one named twice DuplicateProtectionUnitInList.
// PolicyCreationNotAllowed where one policy may be in force, and one is, and for a
// second one that is to protect all there is.
func (c *Catalog) CreatePolicy(ctx context.Context, tenant backup.TenantID, n NewPolicy) (backup.Policy, error) {
	if err := checkName(n.DisplayName); err != nil {
		return backup.Policy{}, err
	}
	n.By = asStored(n.By)
	p := backup.Policy{
		ID: backup.NewID[backup.PolicyID](), Tenant: tenant, Workload: n.Workload, DisplayName: n.DisplayName,
		FullService: n.FullService, Status: backup.PolicyInactive, Created: n.By, Modified: n.By,
	}
	if p.FullService && len(n.Units) > 0 {
		return p, backup.OnlyExcludes(backup.InvalidCreateRequest)
	}
	seen := map[backup.SubjectID]bool{}
	for _, owner := range n.Units {
		if seen[owner] {
			return p, duplicateUnit(string(owner))
		}
		seen[owner] = true
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		if c.maxActive == 1 {
			if err := c.mayEnforce(ctx, tx, &p); err != nil {
				return err
			}
		}
		if p.FullService {
			if err := c.mayProtectAll(ctx, tx, &p); err != nil {
				return err
			}
		}
		m, err := readMembership(ctx, tx, &p, n.By, n.Units, nil)
		if err != nil {
			return err
		}
		for _, owner := range n.Units {
			u, err := m.add(owner)
			if err != nil {
				return err.On(string(owner))
			}
			u.SourceID = cmp.Or(u.SourceID, n.SourceIDs[owner])
		}
		if err := c.insertPolicy(ctx, tx, &p); err != nil {
			return err
		}
		audited(ctx, p.ID)
		if p.FullService {
			if err := c.queue.Enqueue(ctx, tx, allJob(p)); err != nil {
				return err
			}
		}
		return m.write(ctx, tx, backup.UnitUnprotected)
	})
	if err != nil {
		return backup.Policy{}, fmt.Errorf("create policy: %w", err)
	}
	return p, nil
}

func (c *Catalog) insertPolicy(ctx context.Context, tx *database.Tx, p *backup.Policy) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO policy (id, tenant, workload, display_name, enabled, created, created_by, modified, modified_by, name_key, full_service)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		string(p.ID), string(p.Tenant), string(p.Workload), p.DisplayName, bit(p.Enabled),
		database.Micros(p.Created.At), toJSON(p.Created.By), database.Micros(p.Modified.At), toJSON(p.Modified.By), strings.ToLower(p.DisplayName), bit(p.FullService))
	if err != nil {
		return fmt.Errorf("insert policy: %w", err)
	}
	return c.beginRetention(ctx, tx, p)
}

func duplicateUnit(target string) error {
	return backup.Fail(backup.DuplicateProtectionUnitInList, "The request names the same unit twice. Name each once; nothing was changed.").On(target)
}

// mayEnforce reports, as an error, why no policy besides the others may be in
// force. A policy that is being deactivated still is.
func (c *Catalog) mayEnforce(ctx context.Context, tx *database.Tx, p *backup.Policy) error {
	var n int
	err := tx.QueryRowContext(ctx, `
		SELECT count(*) FROM policy
		WHERE tenant = $1 AND workload = $2 AND id <> $3 AND (enabled = 1 OR `+tally+` % 2 = 1)`,
		string(p.Tenant), string(p.Workload), string(p.ID)).Scan(&n)
	if err != nil {
		return fmt.Errorf("count policies in force: %w", err)
	}
	if n >= c.maxActive {
		return backup.Fail(backup.PolicyCreationNotAllowed, "As many policies as may be in force already are: "+strconv.Itoa(n)+
			". Deactivate one, wait until it is inactive, and try again.")
	}
	return nil
}

// A UnitChange is one item of a policy's delta. Exactly one of
// Add and Remove is set.
type UnitChange struct {
	Add      backup.SubjectID // the owner
	SourceID string           // what the source calls it in full, where that was said
	Remove   backup.UnitID
}

// A PolicyPatch changes a policy.
type PolicyPatch struct {
	DisplayName *string // nil leaves it
	Units       []UnitChange
	By          backup.Stamp
}

// A UnitResult is what became of one UnitChange: the unit in the state that
// was asked for, or why not.
type UnitResult struct {
	Unit backup.Unit
	Err  *backup.Error
}

// UpdatePolicy changes a policy and returns it, with one result per item of
// patch.Units in the same order. An item that fails does not keep the others
// from being applied. What concerns the whole request changes nothing:
// PolicyNotFound, DuplicateProtectionUnitInList, and
// ProtectionUnitActionForbidden if a unit to remove is held by a dynamic rule.
//
// The number of statements does not depend on the number of items.
func (c *Catalog) UpdatePolicy(ctx context.Context, tenant backup.TenantID, id backup.PolicyID, patch PolicyPatch) (backup.Policy, []UnitResult, error) {
	patch.By = asStored(patch.By)
	var p backup.Policy
	var results []UnitResult
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if p, err = c.touchPolicy(ctx, tx, tenant, id, patch.DisplayName, patch.By); err != nil {
			return err
		}
		if p.FullService && slices.ContainsFunc(patch.Units, func(ch UnitChange) bool { return ch.Add != "" }) {
			return backup.OnlyExcludes(backup.InvalidPatchRequest)
		}
		var m *membership
		if results, m, err = c.changeUnits(ctx, tx, &p, patch); err != nil {
			return err
		}
		failed, first := failures(results, func(r UnitResult) *backup.Error { return r.Err })
		auditedItems(ctx, len(results), failed, first)
		if p.Enabled && len(m.fresh)+len(m.changed) > 0 {
			p.Status = backup.PolicyUpdating // since units are in a requested state now
		}
		if err := c.queue.Enqueue(ctx, tx, m.work()...); err != nil {
			return err
		}
		return m.write(ctx, tx, backup.UnitProtectRequested)
	})
	if err != nil {
		return backup.Policy{}, nil, fmt.Errorf("update policy: %w", err)
	}
	return p, results, nil
}

// touchPolicy notes that a policy is changed, gives it a new name unless that is nil,
// and returns it with its units as they still are. PolicyNotFound.
func (c *Catalog) touchPolicy(ctx context.Context, tx *database.Tx, tenant backup.TenantID, id backup.PolicyID, name *string, by backup.Stamp) (backup.Policy, error) {
	var nameKey *string
	if name != nil {
		nameKey = new(strings.ToLower(*name))
		if err := checkName(*name); err != nil {
			return backup.Policy{}, err
		}
	}
	p, err := scanPolicy(tx.QueryRowContext(ctx, `
		UPDATE policy SET display_name = coalesce($3, display_name), name_key = coalesce($6, name_key), modified = $4, modified_by = $5
		WHERE tenant = $1 AND id = $2 RETURNING `+policyColumns,
		string(tenant), string(id), name, database.Micros(by.At), toJSON(by.By), nameKey))
	if errors.Is(err, sql.ErrNoRows) {
		return p, policyNotFound()
	}
	if err != nil {
		return p, fmt.Errorf("write policy: %w", err)
	}
	if err := c.onlyPolicy(ctx, tx, tenant, id, policyNotFound()); err != nil || name == nil {
		return p, err
	}
	return p, wholePolicy(ctx, id)
}

// changeUnits applies the items of patch to what it returns; nothing is
// written yet.
func (c *Catalog) changeUnits(ctx context.Context, tx *database.Tx, p *backup.Policy, patch PolicyPatch) ([]UnitResult, *membership, error) {
	var owners []backup.SubjectID
	var ids []backup.UnitID
	for _, ch := range patch.Units {
		if ch.Add != "" {
			owners = append(owners, ch.Add)
		} else {
			ids = append(ids, ch.Remove)
		}
	}
	if len(patch.Units) == 0 {
		return nil, &membership{policy: p, by: patch.By}, nil
	}
	m, err := readMembership(ctx, tx, p, patch.By, owners, ids)
	if err != nil {
		return nil, nil, err
	}
	outside, err := c.subjectsOutside(ctx, tx, p.Tenant, owners)
	if err != nil {
		return nil, nil, err
	}
	within, err := c.unitsWithin(ctx, tx, p.Tenant, ids)
	if err != nil {
		return nil, nil, err
	}
	// An owner to add and a unit to remove may be one and the same.
	seen := map[string]bool{}
	for _, ch := range patch.Units {
		name, given := string(ch.Remove), string(ch.Remove)
		if ch.Add != "" {
			given = string(ch.Add)
			name = "owner " + given
			if u := m.byOwner[ch.Add]; u != nil {
				name = string(u.ID)
			}
		}
		if seen[name] {
			return nil, nil, duplicateUnit(given)
		}
		seen[name] = true
	}
	for id := range m.byID {
		AuditedUnits(ctx, id)
	}
	auditedItem(ctx, fmt.Sprintf("%d to add, %d to take out", len(owners), len(ids)))
	results := make([]UnitResult, len(patch.Units))
	for i, ch := range patch.Units {
		var u *backup.Unit
		var failure *backup.Error
		switch {
		case ch.Add != "" && outside[ch.Add]:
			failure = backup.Fail(backup.AccessDenied, "Your role is limited to a part of the tenant, and this is not in it. Ask somebody whose role is not limited.")
		case ch.Add != "":
			u, failure = m.add(ch.Add)
		case !slices.Contains(within, ch.Remove):
			failure = backup.NotInPolicy()
		default:
			u, failure = m.remove(ch.Remove)
		}
		if failure != nil {
			if failure.Code == backup.ProtectionUnitActionForbidden {
				return nil, nil, failure.On(string(ch.Remove))
			}
			results[i].Err = failure
			continue
		}
		u.SourceID = cmp.Or(u.SourceID, ch.SourceID)
		results[i].Unit = *u
		if ch.Add != "" {
			results[i].Unit.Status = backup.UnitProtectRequested
		}
	}
	return results, m, nil
}

// work returns the jobs that bring the units to where they were asked to be.
func (m *membership) work() []jobs.Spec {
	var specs []jobs.Spec
	joined := m.joined()
	left := len(m.fresh)+len(m.changed) > len(joined)
	if m.policy.Enabled {
		for _, id := range joined {
			specs = append(specs, jobs.Spec{Kind: jobs.Backup, Key: string(id), Tenant: m.policy.Tenant})
		}
	}
	if left || !m.policy.Enabled && len(joined) > 0 {
		specs = append(specs, jobs.Spec{Kind: jobs.Settle, Key: string(m.policy.ID), Tenant: m.policy.Tenant})
	}
	return specs
}

// ActivatePolicy puts a policy in force: its units are backed up from now on.
// From activeWithErrors it tries at once those that failed. Any other status
// than that and inactive is InvalidStateForActivation; too many policies in
// force are PolicyCreationNotAllowed.
func (c *Catalog) ActivatePolicy(ctx context.Context, tenant backup.TenantID, id backup.PolicyID, by backup.Stamp) (backup.Policy, error) {
	by = asStored(by)
	var p backup.Policy
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if p, err = c.readPolicy(ctx, tx, tenant, id); err != nil {
			return err
		}
		if err := wholePolicy(ctx, id); err != nil {
			return err
		}
		retry := p.Enabled
		if err := p.Activate(by); err != nil {
			return err
		}
		if !retry {
			if err := c.mayEnforce(ctx, tx, &p); err != nil {
				return err
			}
		}
		units := `SELECT u.id FROM unit u WHERE u.policy = $1 AND u.policy <> '' AND u.status <> 'removeRequested'`
		if retry {
			units = `
				SELECT u.id FROM unit u WHERE u.policy = $1 AND u.status <> 'protected' AND u.status = 'unprotected'
				UNION SELECT u.id FROM unit u WHERE u.policy = $1 AND u.problem IS NOT NULL AND u.status <> 'removeRequested'`
		}
		if err := c.queue.EnqueueSelect(ctx, tx, jobs.Backup, tenant, c.now(), units, string(id)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `
			UPDATE unit SET status = 'protectRequested', problem = NULL, modified = $2, modified_by = $3
			WHERE policy = $1 AND status <> 'protected' AND status = 'unprotected'`,
			string(id), database.Micros(by.At), toJSON(by.By)); err != nil {
			return fmt.Errorf("request protection: %w", err)
		}
		return enablePolicy(ctx, tx, &p)
	})
	if err != nil {
		return backup.Policy{}, fmt.Errorf("activate policy: %w", err)
	}
	return p, nil
}

// DeactivatePolicy takes a policy out of force: backups stop, what was backed
// up stays. It is allowed from active and activeWithErrors; else
// InvalidStateForActivation.
func (c *Catalog) DeactivatePolicy(ctx context.Context, tenant backup.TenantID, id backup.PolicyID, by backup.Stamp) (backup.Policy, error) {
	by = asStored(by)
	var p backup.Policy
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if p, err = c.readPolicy(ctx, tx, tenant, id); err != nil {
			return err
		}
		if err := wholePolicy(ctx, id); err != nil {
			return err
		}
		if err := p.Deactivate(by); err != nil {
			return err
		}
		if err := c.queue.RemoveSelect(ctx, tx, jobs.Backup,
			`SELECT u.id FROM unit u WHERE u.policy = $1 AND u.policy <> ''`, string(id)); err != nil {
			return err
		}
		if err := c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Settle, Key: string(id), Tenant: tenant}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `
			UPDATE unit SET status = 'unprotectRequested', modified = $2, modified_by = $3
			WHERE policy = $1 AND policy <> '' AND status IN ('protectRequested', 'protected')`,
			string(id), database.Micros(by.At), toJSON(by.By)); err != nil {
			return fmt.Errorf("end protection: %w", err)
		}
		return enablePolicy(ctx, tx, &p)
	})
	if err != nil {
		return backup.Policy{}, fmt.Errorf("deactivate policy: %w", err)
	}
	return p, nil
}

// enablePolicy stores whether p is in force, and who said so.
func enablePolicy(ctx context.Context, tx *database.Tx, p *backup.Policy) error {
	_, err := tx.ExecContext(ctx, `UPDATE policy SET enabled = $2, modified = $3, modified_by = $4 WHERE id = $1`,
		string(p.ID), bit(p.Enabled), database.Micros(p.Modified.At), toJSON(p.Modified.By))
	return err
}

// DeletePolicy deletes a policy that is inactive, with its bulk addition jobs
// and its rules; otherwise PolicyActionNotAllowed. Its units stay, in no policy, and what was
// backed up can be restored.
func (c *Catalog) DeletePolicy(ctx context.Context, tenant backup.TenantID, id backup.PolicyID) error {
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		p, err := c.readPolicy(ctx, tx, tenant, id)
		if err != nil {
			return err
		}
		if err := wholePolicy(ctx, id); err != nil {
			return err
		}
		if err := p.Deletable(); err != nil {
			return err
		}
		for kind, keys := range map[jobs.Kind]string{
			jobs.Backup:  `SELECT u.id FROM unit u WHERE u.policy = $1 AND u.policy <> ''`,
			jobs.BulkAdd: `SELECT b.id FROM bulk_job b WHERE b.policy = $1`,
			jobs.Rule:    `SELECT r.id FROM inclusion_rule r WHERE r.policy = $1`,
			jobs.Settle:  `SELECT p.id FROM policy p WHERE p.id = $1`,
			jobs.All:     `SELECT p.id FROM policy p WHERE p.id = $1`,
		} {
			if err := c.queue.RemoveSelect(ctx, tx, kind, keys, string(id)); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `
			UPDATE unit SET policy = '', sources = 0, status = 'unprotected', problem = NULL
			WHERE policy = $1 AND policy <> ''`, string(id)); err != nil {
			return fmt.Errorf("release units: %w", err)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM policy WHERE id = $1`, string(id)) // its bulk jobs and rules go with it
		return err
	})
	if err != nil {
		return fmt.Errorf("delete policy: %w", err)
	}
	return nil
}

// SettlePolicy is the work of a settle job, whose key is the policy's id: it
// brings the units that need no drive for it to the state asked for. Units to
// be removed leave the policy; in a policy that is not in force the others
// become unprotected. It may be done again.
func (c *Catalog) SettlePolicy(ctx context.Context, j *jobs.Job) error {
	err := c.tx(ctx, j.Tenant, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		p, err := c.readPolicy(ctx, tx, j.Tenant, backup.PolicyID(j.Key))
		if errors.Is(err, backup.PolicyNotFound) {
			return nil // it was deleted, and its units released
		}
		if err != nil {
			return err
		}
		settling := `policy = $1 AND status <> 'protected' AND status IN ('removeRequested', 'unprotectRequested')`
		if !p.Enabled {
			settling = `policy = $1 AND status <> 'protected' AND status IN ('removeRequested', 'unprotectRequested', 'protectRequested')`
		}
		if err := c.queue.RemoveSelect(ctx, tx, jobs.Backup, `SELECT id FROM unit WHERE `+settling, j.Key); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE unit SET status = 'unprotected',
				policy  = CASE WHEN status = 'removeRequested' THEN '' ELSE policy END,
				sources = CASE WHEN status = 'removeRequested' THEN 0 ELSE sources END,
				problem = CASE WHEN status = 'removeRequested' THEN NULL ELSE problem END
			WHERE `+settling, j.Key)
		return err
	})
	if err != nil {
		return fmt.Errorf("settle policy %s: %w", j.Key, err)
	}
	return nil
}
