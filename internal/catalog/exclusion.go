package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// exclusionColumns are of exclusions x with what their subjects d are called.
const (
	exclusionColumns  = `x.id, x.tenant, x.workload, x.policy, x.subject, x.created, x.created_by, coalesce(nullif(d.source_id, ''), x.source_id), coalesce(d.display_name, ''), coalesce(nullif(d.mail, ''), d.address, '')`
	exclusionSubjects = ` LEFT JOIN subject d ON d.tenant = x.tenant AND d.id = x.subject || ''` // so that PostgreSQL does not read all subjects beside
)

func scanExclusion(r scanner) (x backup.Exclusion, err error) {
	return x, r.Scan(&x.ID, &x.Tenant, &x.Workload, &x.Policy, &x.Subject, micros{&x.Created.At}, fromJSON{&x.Created.By}, &x.SourceID, &x.Name, &x.Address)
}

// Exclusions lists exclusions: those of a policy, which must exist, or with "" all of
// the tenant's.
func (c *Catalog) Exclusions(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, page Page) (List[backup.Exclusion], error) {
	q := query{columns: exclusionColumns, table: "exclusion x", tenant: tenant, scope: exclusionsWithin, join: exclusionSubjects, time: "x.created", id: "x.id", fields: exclusionFields,
		within: []equal{{"x.tenant", string(tenant)}}, indexes: []index{
			{"exclusion_tenant_page", []string{"x.tenant", "x.created", "x.id"}},
			{"exclusion_workload", []string{"x.tenant", "x.workload", "x.created", "x.id"}},
			{"exclusion_subject", []string{"x.tenant", "x.subject", "x.id"}},
		}}
	q.of("x.workload", page.Workload)
	if policy != "" {
		if _, err := c.Policy(ctx, tenant, policy); err != nil {
			return List[backup.Exclusion]{}, err
		}
		q.within = []equal{{"x.policy", string(policy)}}
		q.indexes = []index{{"exclusion_page", []string{"x.policy", "x.created", "x.id"}}}
	}
	l, err := list(ctx, c, q, page, scanExclusion)
	if err != nil {
		return l, fmt.Errorf("list exclusions: %w", err)
	}
	return l, nil
}

// Exclusion returns an exclusion, or ItemNotFound. If policy is not "" it must be of
// that policy; an unknown policy is PolicyNotFound.
func (c *Catalog) Exclusion(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.ExclusionID) (backup.Exclusion, error) {
	if policy != "" {
		if _, err := c.Policy(ctx, tenant, policy); err != nil {
			return backup.Exclusion{}, err
		}
	}
	x, err := scanExclusion(c.db.Read().QueryRowContext(ctx, `SELECT `+exclusionColumns+` FROM exclusion x`+exclusionSubjects+` WHERE x.tenant = $1 AND x.id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) || err == nil && policy != "" && x.Policy != policy {
		return backup.Exclusion{}, exclusionNotFound()
	}
	if err != nil {
		return x, fmt.Errorf("read exclusion %s: %w", id, err)
	}
	return x, c.onlySubject(ctx, c.db.Read(), tenant, x.Subject, exclusionNotFound())
}

func exclusionNotFound() error {
	return backup.Fail(backup.ItemNotFound, "There is no such exclusion unit.").On("id")
}

// An ExclusionChange is one item of the delta of a policy's exclusions. Exactly one of
// Add and Remove is set.
type ExclusionChange struct {
	Add      backup.SubjectID
	SourceID string // what the source calls it in full, where that was said
	Remove   backup.ExclusionID
}

// An ExclusionPatch changes a policy and what is excluded from it.
type ExclusionPatch struct {
	DisplayName *string // nil leaves it
	Exclusions  []ExclusionChange
	By          backup.Stamp
}

// An ExclusionResult is what became of one ExclusionChange: the exclusion, as it is or
// was, or why nothing was done.
type ExclusionResult struct {
	Exclusion backup.Exclusion
	Err       *backup.Error
}

// UpdateExclusions changes what is excluded from a policy that protects all there is,
// and returns the policy with one result for each item, in the same order. What is
// excluded leaves the policy, as units that are removed do: what was backed up stays.
// What is excluded no more is protected at the next look at the directory, which is
// due at once. To exclude what is excluded already changes nothing.
//
// PolicyNotFound; InvalidPatchRequest for a policy that protects what it names;
// DuplicateProtectionUnitInList.
func (c *Catalog) UpdateExclusions(ctx context.Context, tenant backup.TenantID, id backup.PolicyID, patch ExclusionPatch) (backup.Policy, []ExclusionResult, error) {
	if scopeOf(ctx) != nil {
		return backup.Policy{}, nil, backup.Fail(backup.AccessDenied, "Your role is limited to a part of the tenant, and what is excluded concerns all of it. Ask somebody whose role is not limited.")
	}
	patch.By = asStored(patch.By)
	var p backup.Policy
	var results []ExclusionResult
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if p, err = c.touchPolicy(ctx, tx, tenant, id, patch.DisplayName, patch.By); err != nil {
			return err
		}
		if !p.FullService {
			return backup.OnlyIncludes(backup.InvalidPatchRequest)
		}
		if results, err = c.changeExclusions(ctx, tx, &p, patch); err != nil {
			return err
		}
		failed, first := failures(results, func(r ExclusionResult) *backup.Error { return r.Err })
		auditedItems(ctx, len(results), failed, first)
		return nil
	})
	if err != nil {
		return backup.Policy{}, nil, fmt.Errorf("update exclusions: %w", err)
	}
	return p, results, nil
}

func (c *Catalog) changeExclusions(ctx context.Context, tx *database.Tx, p *backup.Policy, patch ExclusionPatch) ([]ExclusionResult, error) {
	var add []backup.SubjectID
	var remove []backup.ExclusionID
	sources := map[backup.SubjectID]string{}
	for _, ch := range patch.Exclusions {
		if ch.Add != "" {
			add, sources[ch.Add] = append(add, ch.Add), ch.SourceID
		} else {
			remove = append(remove, ch.Remove)
		}
	}
	rows, err := tx.QueryContext(ctx, `
		SELECT `+exclusionColumns+` FROM `+tx.Dialect().JSONEach("$2")+` AS e CROSS JOIN exclusion x`+exclusionSubjects+`
		WHERE x.id = e.value AND x.policy = $1`, string(p.ID), jsonList(remove))
	all, err := collect(rows, err, scanExclusion)
	if err != nil {
		return nil, fmt.Errorf("read exclusions: %w", err)
	}
	seen := map[backup.SubjectID]bool{}
	known := map[backup.ExclusionID]backup.Exclusion{}
	for _, x := range all {
		known[x.ID] = x
	}
	for _, ch := range patch.Exclusions {
		subject := ch.Add
		if x, ok := known[ch.Remove]; ok {
			subject = x.Subject
		} else if subject == "" {
			subject = backup.SubjectID(ch.Remove)
		}
		if seen[subject] {
			return nil, duplicateUnit(string(subject))
		}
		seen[subject] = true
	}
	if len(known) > 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM exclusion WHERE policy = $1 AND id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$2")+` AS e)`,
			string(p.ID), jsonList(remove))
		if err != nil {
			return nil, fmt.Errorf("remove exclusions: %w", err)
		}
		if err := c.queue.Enqueue(ctx, tx, allJob(*p)); err != nil {
			return nil, err
		}
	}
	made, err := c.exclude(ctx, tx, p, patch.By, add, sources)
	if err != nil {
		return nil, err
	}
	results := make([]ExclusionResult, len(patch.Exclusions))
	for i, ch := range patch.Exclusions {
		x, ok := known[ch.Remove]
		if ch.Add != "" {
			x, ok = made[ch.Add]
		}
		if results[i].Exclusion = x; !ok {
			results[i].Err = backup.NotExcluded()
		}
	}
	return results, nil
}

// exclude excludes subjects from a policy that protects all there is, and has their
// units leave it. It returns the exclusions, also those that were there already.
func (c *Catalog) exclude(ctx context.Context, tx *database.Tx, p *backup.Policy, by backup.Stamp, subjects []backup.SubjectID, sources map[backup.SubjectID]string) (map[backup.SubjectID]backup.Exclusion, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	rows := make([][3]string, len(subjects))
	for i, s := range subjects {
		rows[i] = [3]string{backup.NewID[string](), string(s), sources[s]}
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO exclusion (id, tenant, workload, policy, subject, source_id, created, created_by)
		SELECT e.value->>0, CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), e.value->>1, e.value->>2, CAST($5 AS BIGINT) + e.n, CAST($6 AS TEXT)
		FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE true ON CONFLICT DO NOTHING`,
		jsonList(rows), string(p.Tenant), string(p.Workload), string(p.ID), database.Micros(by.At), toJSON(by.By))
	if err != nil {
		return nil, fmt.Errorf("insert exclusions: %w", err)
	}
	found, err := tx.QueryContext(ctx, `
		SELECT `+exclusionColumns+` FROM `+tx.Dialect().JSONEach("$2")+` AS e CROSS JOIN exclusion x`+exclusionSubjects+`
		WHERE x.subject = e.value AND x.tenant || '' = $1 AND x.workload || '' = $3`, string(p.Tenant), jsonList(subjects), string(p.Workload))
	all, err := collect(found, err, scanExclusion)
	if err != nil {
		return nil, fmt.Errorf("read exclusions: %w", err)
	}
	made := make(map[backup.SubjectID]backup.Exclusion, len(all))
	for _, x := range all {
		made[x.Subject] = x
	}
	n, err := affected(tx.ExecContext(ctx, `
		UPDATE unit`+tx.Dialect().IndexedBy("unit_subject")+` SET status = 'removeRequested', modified = $4, modified_by = $5
		WHERE tenant = $1 AND subject IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$2")+` AS e) AND policy = $3 AND status <> 'removeRequested'`,
		string(p.Tenant), jsonList(subjects), string(p.ID), database.Micros(by.At), toJSON(by.By)))
	if err != nil {
		return nil, fmt.Errorf("let excluded units go: %w", err)
	}
	if n == 0 {
		return made, nil
	}
	if p.Enabled {
		p.Status = backup.PolicyUpdating
	}
	return made, c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Settle, Key: string(p.ID), Tenant: p.Tenant})
}

// heedExclusions has m.add refuse those of the subjects that are excluded.
func (m *membership) heedExclusions(ctx context.Context, tx *database.Tx, subjects []backup.SubjectID) error {
	rows, err := tx.QueryContext(ctx, `
		SELECT x.subject FROM `+tx.Dialect().JSONEach("$2")+` AS e CROSS JOIN exclusion x WHERE x.subject = e.value AND x.tenant || '' = $1 AND x.workload || '' = $3`,
		string(m.policy.Tenant), jsonList(subjects), string(m.policy.Workload))
	excluded, err := collect(rows, err, func(r scanner) (s backup.SubjectID, err error) { return s, r.Scan(&s) })
	if err != nil {
		return fmt.Errorf("look for exclusions: %w", err)
	}
	m.excluded = make(map[backup.SubjectID]bool, len(excluded))
	for _, s := range excluded {
		m.excluded[s] = true
	}
	return nil
}
