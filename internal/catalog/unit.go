package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A UnitQuery says which units are asked for.
type UnitQuery struct {
	Policy backup.PolicyID // only this policy's; "" for all of the tenant
	Page
}

const unitColumns = `u.id, u.tenant, u.policy, u.subject, u.status, u.sources, u.problem, u.offboard_requested,
	u.created, u.created_by, u.modified, u.modified_by, u.offboarded, u.workload, u.source_id`

// unitsWithOwners is what a unit is read from when its owner's names are
// wanted with it; ownerColumns are those names.
const (
	unitsWithOwners = `unit u` + ownersOfUnits
	ownersOfUnits   = ` LEFT JOIN subject d ON d.tenant = u.tenant AND d.id = u.subject`
	ownerColumns    = `coalesce(d.display_name, ''), coalesce(nullif(d.mail, ''), d.address, ''), coalesce(nullif(d.source_id, ''), u.source_id)`
)

// unitFields is where unitColumns are read to.
func unitFields(u *backup.Unit) []any {
	return []any{&u.ID, &u.Tenant, &u.Policy, &u.Subject, &u.Status, &u.Sources, fromJSON{&u.Problem}, micros{&u.OffboardRequested},
		micros{&u.Created.At}, fromJSON{&u.Created.By}, micros{&u.Modified.At}, fromJSON{&u.Modified.By}, micros{&u.Offboarded}, &u.Workload, &u.SourceID}
}

func scanUnit(r scanner) (u backup.Unit, err error) {
	return u, r.Scan(unitFields(&u)...)
}

func scanUnitWithOwner(r scanner) (u backup.Unit, err error) {
	return u, r.Scan(unitWithOwnerFields(&u)...)
}

// unitWithOwnerFields is where unitColumns and ownerColumns are read to.
func unitWithOwnerFields(u *backup.Unit) []any {
	return append(unitFields(u), &u.Name, &u.Address, &u.SourceID)
}

// scanUnits returns what scanUnitWithOwner is, for many units: most were made and
// changed by the same.
func scanUnits() func(scanner) (backup.Unit, error) {
	var u backup.Unit // each is read to the same place
	fields := unitWithOwnerFields(&u)
	fields[9] = &remembered[backup.IdentitySet]{to: &u.Created.By}
	fields[11] = &remembered[backup.IdentitySet]{to: &u.Modified.By}
	return func(r scanner) (backup.Unit, error) {
		u = backup.Unit{}
		err := r.Scan(fields...)
		return u, err
	}
}

func unitNotFound() error {
	return backup.Fail(backup.ProtectionUnitNotFound, "There is no such protection unit.").On("id")
}

// The indexes of units. A policy's id names its tenant, so that those of one
// policy need not begin with it.
var (
	unitIndexes = []index{
		{"unit_page", []string{"u.tenant", "u.created", "u.id"}},
		{"unit_subject", []string{"u.tenant", "u.subject", "u.id"}},
		{"unit_address", []string{"u.tenant", "u.address_key", "u.id"}},
		{"unit_name", []string{"u.tenant", "u.name_key", "u.id"}},
		{"unit_offboard", []string{"u.tenant", "u.offboard_requested", "u.id"}},
		{"unit_modified", []string{"u.tenant", "u.modified", "u.id"}},
		{"unit_failing", []string{"u.tenant", "u.failing", "u.created", "u.id"}},
		{"unit_status", []string{"u.tenant", "u.status", "u.created", "u.id"}},
		{"unit_of_policy", []string{"u.tenant", "u.policy", "u.created", "u.id"}},
		{"unit_workload", []string{"u.tenant", "u.workload", "u.created", "u.id"}},
	}
	policyUnitIndexes = []index{
		{"unit_policy_page", []string{"u.policy", "u.created", "u.id"}},
		{"unit_policy_address", []string{"u.policy", "u.address_key", "u.id"}},
		{"unit_policy_name", []string{"u.policy", "u.name_key", "u.id"}},
		{"unit_policy_modified", []string{"u.policy", "u.modified", "u.id"}},
		{"unit_policy_failing", []string{"u.policy", "u.failing", "u.created", "u.id"}},
		{"unit_policy_status", []string{"u.policy", "u.status", "u.created", "u.id"}},
	}
)

// Units lists protection units. A policy that is unknown is PolicyNotFound.
func (c *Catalog) Units(ctx context.Context, tenant backup.TenantID, q UnitQuery) (List[backup.Unit], error) {
	l := query{columns: unitColumns + `, ` + ownerColumns, table: "unit u", tenant: tenant, scope: unitsWithin, join: ownersOfUnits, time: "u.created", id: "u.id", fields: unitListFields,
		within: []equal{{"u.tenant", string(tenant)}}, indexes: unitIndexes, counts: unitCounts}
	if s := scopeOf(ctx); s != nil && q.Policy == "" && len(s.Policies) == 1 && len(s.Groups)+len(s.Owners) == 0 {
		if p, err := c.Policy(ctx, tenant, s.Policies[0]); err == nil && (q.Workload == "" || q.Workload == p.Workload) {
			q.Policy = p.ID // its units are all there are for the caller
		}
	}
	if q.Policy != "" {
		if _, err := c.Policy(ctx, tenant, q.Policy); err != nil {
			return List[backup.Unit]{}, err
		}
		ctx = whollyWithin(ctx, q.Policy)
		l.and("u.policy <> ''")
		l.within, l.owner = append(l.within, equal{"u.policy", string(q.Policy)}), "u.policy"
		l.indexes = slices.Concat(policyUnitIndexes, unitIndexes)
	} else {
		l.of("u.workload", q.Workload) // a policy's units are of its workload
	}
	page, err := list(ctx, c, l, q.Page, scanUnits())
	if err != nil {
		return page, fmt.Errorf("list units: %w", err)
	}
	return page, nil
}

// unitCounts are kept by triggers.
var unitCounts = &counts{
	table:      `(SELECT tenant, workload, policy, status, n, CASE WHEN failing = 1 THEN '' END AS problem FROM unit_count) AS u`,
	properties: []string{"policyId", "status", "error"},
}

// namelessAtOnce is how many of a policy's units Nameless looks at.
const namelessAtOnce = 300

// Nameless looks at some of a policy's units, the newest first, and returns, by their
// workload, what those of them are of that the mirror of the directory does not know: they
// were added by id alone. It begins after a unit that an earlier call has returned with
// them, the last that it looked at; "" is the beginning, and the end.
func (c *Catalog) Nameless(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, after backup.UnitID) (map[backup.Workload][]string, backup.UnitID, error) {
	type looked struct {
		id       backup.UnitID
		workload backup.Workload
		subject  string
		known    bool
	}
	older := ""
	args := []any{string(tenant), string(policy), namelessAtOnce}
	if after != "" {
		older, args = ` AND (u.created, u.id) < ((SELECT created FROM unit WHERE id = $4), $4)`, append(args, string(after))
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT c.id, c.workload, c.subject, d.id IS NOT NULL FROM (
			SELECT u.id, u.created, u.tenant, u.workload, u.subject FROM unit u WHERE u.policy = $2 AND u.policy <> ''`+older+` ORDER BY u.created DESC, u.id DESC LIMIT $3) AS c
		LEFT JOIN subject d ON d.tenant = c.tenant AND d.id = c.subject WHERE c.tenant = $1 ORDER BY c.created DESC, c.id DESC`, args...)
	all, err := collect(rows, err, func(r scanner) (l looked, err error) { return l, r.Scan(&l.id, &l.workload, &l.subject, &l.known) })
	if err != nil {
		return nil, "", fmt.Errorf("read units without a name: %w", err)
	}
	nameless := map[backup.Workload][]string{}
	for _, l := range all {
		if !l.known {
			nameless[l.workload] = append(nameless[l.workload], l.subject)
		}
	}
	if len(all) < namelessAtOnce {
		return nameless, "", nil
	}
	return nameless, all[len(all)-1].id, nil
}

// Unit returns a protection unit, or ProtectionUnitNotFound.
func (c *Catalog) Unit(ctx context.Context, tenant backup.TenantID, id backup.UnitID) (backup.Unit, error) {
	u, err := c.readUnit(ctx, c.db.Read(), tenant, id)
	if err == nil && u.Policy == "" {
		u.Approval, err = c.ApprovalOf(ctx, tenant, backup.ApprovalOffboard, string(id))
	}
	return u, err
}

// UnitsByID returns those of the named units that there are.
func (c *Catalog) UnitsByID(ctx context.Context, tenant backup.TenantID, ids []backup.UnitID) (map[backup.UnitID]backup.Unit, error) {
	in, err := c.unitsWithin(ctx, c.db.Read(), tenant, ids)
	if err != nil || len(in) == 0 {
		return nil, err
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+unitColumns+`, `+ownerColumns+`
		FROM `+c.db.Dialect().JSONEach("$2")+` AS e CROSS JOIN `+unitsWithOwners+`
		WHERE u.id = e.value AND coalesce(u.tenant, '') = $1`,
		string(tenant), jsonList(in))
	units, err := collect(rows, err, scanUnitWithOwner)
	if err != nil {
		return nil, fmt.Errorf("read units: %w", err)
	}
	byID := make(map[backup.UnitID]backup.Unit, len(units))
	for _, u := range units {
		byID[u.ID] = u
	}
	return byID, nil
}

// A membership is the units that one request or batch concerns, and what
// becomes of them. All of a policy's comings and goings are written by it, in
// a number of statements that does not depend on how many there are.
type membership struct {
	policy  *backup.Policy
	by      backup.Stamp
	source  backup.ProtectionSources          // for the sake of which units join; 0 is by hand
	byOwner map[backup.SubjectID]*backup.Unit // of the policy's workload
	byID    map[backup.UnitID]*backup.Unit
	fresh   []*backup.Unit // to be inserted
	changed []*backup.Unit // to be updated
	marked  []*backup.Unit // to be held by source as well; nothing else changes

	excluded map[backup.SubjectID]bool // who may not join, where exclusions are heeded
}

// readMembership reads the units that the owners have, and the units named by
// their ids.
func readMembership(ctx context.Context, tx *database.Tx, p *backup.Policy, by backup.Stamp, owners []backup.SubjectID, ids []backup.UnitID) (*membership, error) {
	m := &membership{
		policy: p, by: by,
		byOwner: make(map[backup.SubjectID]*backup.Unit, len(owners)),
		byID:    make(map[backup.UnitID]*backup.Unit, len(owners)+len(ids)),
	}
	// An owner's unit is looked up alone, and the tenant of a unit is compared in
	// a way that no index serves: else PostgreSQL, while it knows little of a
	// table that has just grown, thinks that a tenant has a handful of units, and
	// reads all of them.
	rows, err := tx.QueryContext(ctx, `
		SELECT `+unitColumns+` FROM (
			SELECT (SELECT o.id FROM unit o WHERE o.tenant = $1 AND o.workload = $4 AND o.subject = e.value AND o.status <> 'offboarded') AS id
			FROM `+tx.Dialect().JSONEach("$2")+` AS e
			UNION ALL
			SELECT e.value FROM `+tx.Dialect().JSONEach("$3")+` AS e
		) AS named CROSS JOIN unit u WHERE u.id = named.id AND coalesce(u.tenant, '') = $1`,
		string(p.Tenant), jsonList(owners), jsonList(ids), string(p.Workload))
	units, err := collect(rows, err, scanUnit)
	if err != nil {
		return nil, fmt.Errorf("read units: %w", err)
	}
	for i := range units {
		m.know(&units[i])
	}
	return m, nil
}

// know adds a unit that exists.
func (m *membership) know(u *backup.Unit) {
	if m.byID[u.ID] != nil {
		return // it was found by its owner and by its id
	}
	m.byID[u.ID] = u
	if u.Status != backup.UnitOffboarded && u.Workload == m.policy.Workload {
		m.byOwner[u.Subject] = u
	}
}

// add brings an owner into the policy and returns its unit.
func (m *membership) add(owner backup.SubjectID) (*backup.Unit, *backup.Error) {
	if m.excluded[owner] {
		return nil, backup.IsExcluded(m.policy.Workload)
	}
	source := cmp.Or(m.source, backup.SourceManual)
	u := m.byOwner[owner]
	if u == nil {
		// Units made together are a microsecond apart, so that lists keep the
		// order in which they were named.
		made := m.by
		made.At = made.At.Add(time.Duration(len(m.fresh)) * time.Microsecond)
		u = &backup.Unit{
			ID: backup.NewID[backup.UnitID](), Tenant: m.policy.Tenant, Workload: m.policy.Workload, Policy: m.policy.ID, Subject: owner,
			Status: backup.UnitProtectRequested, Sources: source, Created: made, Modified: made,
		}
		m.fresh = append(m.fresh, u)
		m.know(u)
		return u, nil
	}
	was := u.Status
	changed, err := u.JoinAs(source, m.policy, m.by)
	switch {
	case changed && was == u.Status:
		m.marked = append(m.marked, u)
	case changed:
		m.changed = append(m.changed, u)
	}
	return u, err
}

// joined returns the ids of the units that add has brought in.
func (m *membership) joined() []backup.UnitID {
	var ids []backup.UnitID
	for _, units := range [][]*backup.Unit{m.fresh, m.changed} {
		for _, u := range units {
			if u.Status == backup.UnitProtectRequested {
				ids = append(ids, u.ID)
			}
		}
	}
	return ids
}

// bringIn stores what m.add has done, and has the units that came in backed up if the
// policy is in force.
func (c *Catalog) bringIn(ctx context.Context, tx *database.Tx, m *membership) error {
	requested := backup.UnitUnprotected
	if m.policy.Enabled {
		requested = backup.UnitProtectRequested
		if joined := m.joined(); len(joined) > 0 {
			err := c.queue.EnqueueSelect(ctx, tx, jobs.Backup, m.policy.Tenant, c.now(),
				`SELECT e.value FROM `+tx.Dialect().JSONEach("$1")+` AS e`, jsonList(joined))
			if err != nil {
				return err
			}
		}
	}
	return m.write(ctx, tx, requested)
}

// remove asks for a unit's removal and returns it.
func (m *membership) remove(id backup.UnitID) (*backup.Unit, *backup.Error) {
	u := m.byID[id]
	if u == nil {
		return nil, backup.NotInPolicy()
	}
	if err := u.Leave(m.policy, m.by); err != nil {
		return nil, err
	}
	m.changed = append(m.changed, u)
	return u, nil
}

// write stores what add and remove have done. A unit whose protection was
// asked for is stored in the status requested.
func (m *membership) write(ctx context.Context, tx *database.Tx, requested backup.UnitStatus) error {
	by, source := toJSON(m.by.By), int(cmp.Or(m.source, backup.SourceManual))
	if len(m.fresh) > 0 {
		rows := make([][3]string, len(m.fresh))
		for i, u := range m.fresh {
			rows[i] = [3]string{string(u.ID), string(u.Subject), u.SourceID}
		}
		keys := ownerKeys("CAST($2 AS TEXT)", "e.value->>1")
		_, err := tx.ExecContext(ctx, `
			INSERT INTO unit (id, tenant, policy, subject, status, sources, offboard_requested, created, created_by, modified, modified_by, workload, source_id, name_key, address_key)
			SELECT e.value->>0, CAST($2 AS TEXT), CAST($3 AS TEXT), e.value->>1, CAST($4 AS TEXT), CAST($7 AS SMALLINT), 0,
				CAST($5 AS BIGINT) + e.n, CAST($6 AS TEXT), CAST($5 AS BIGINT) + e.n, CAST($6 AS TEXT), CAST($8 AS TEXT), e.value->>2,
				`+keys[0]+`, `+keys[1]+`
			FROM `+tx.Dialect().JSONRows("$1")+` AS e`,
			jsonList(rows), string(m.policy.Tenant), string(m.policy.ID), string(requested), database.Micros(m.by.At), by, source, string(m.policy.Workload))
		if err != nil {
			return fmt.Errorf("insert units: %w", err)
		}
	}
	var joined, left, marked []backup.UnitID
	for _, u := range m.marked {
		marked = append(marked, u.ID)
	}
	if len(marked) > 0 {
		_, err := tx.ExecContext(ctx, `
			UPDATE unit SET sources = sources | CAST($2 AS SMALLINT), modified = $3, modified_by = $4
			WHERE id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$1")+` AS e)`,
			jsonList(marked), source, database.Micros(m.by.At), by)
		if err != nil {
			return fmt.Errorf("note what holds units: %w", err)
		}
	}
	for _, u := range m.changed {
		if u.Status == backup.UnitRemoveRequested {
			left = append(left, u.ID)
		} else {
			joined = append(joined, u.ID)
		}
	}
	if len(joined) > 0 {
		_, err := tx.ExecContext(ctx, `
			UPDATE unit SET policy = $2, status = $3, problem = NULL, modified = $4, modified_by = $5,
				sources = CASE WHEN status = 'removeRequested' THEN CAST($6 AS SMALLINT) ELSE sources | CAST($6 AS SMALLINT) END
			WHERE id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$1")+` AS e)`,
			jsonList(joined), string(m.policy.ID), string(requested), database.Micros(m.by.At), by, source)
		if err != nil {
			return fmt.Errorf("bring units back: %w", err)
		}
	}
	if len(left) > 0 {
		_, err := tx.ExecContext(ctx, `
			UPDATE unit SET status = 'removeRequested', modified = $2, modified_by = $3
			WHERE id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$1")+` AS e)`,
			jsonList(left), database.Micros(m.by.At), by)
		if err != nil {
			return fmt.Errorf("request removals: %w", err)
		}
	}
	return nil
}
