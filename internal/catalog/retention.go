package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A Retention is how the points of a policy are kept, as a fact of the
// database: it outlives the policy, whose points it keeps.
type Retention struct {
	Policy    backup.PolicyID   // "" is the tenant's: see Retentions
	Kept      backup.Retention  // in force
	Pending   *backup.Retention // what takes its place, nil for nothing
	Effective time.Time         // when it does
	Modified  backup.Stamp      // zero where it was taken from a configuration

	applied string // what the points stand under
}

// ErrRetentionDisagrees says that the configuration of this process says
// something else of retention than the database.
var ErrRetentionDisagrees = errors.New("the configuration and the database disagree on retention, so nothing expires")

// SetRetention has new policies keep their points as plan says by default, and
// a tenant whose retention is not in the database yet begin with all of plan.
// The error says what is wrong with the plan.
func (c *Catalog) SetRetention(plan backup.RetentionPlan) error {
	if _, err := backup.NewKeeping(plan.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	for id, own := range plan.Policies {
		if _, err := backup.NewKeeping(own); err != nil {
			return fmt.Errorf("policy %s: %w", id, err)
		}
	}
	c.plan.Store(&plan)
	return nil
}

// planned is what the configuration says of a policy, or of the tenant for "".
// A hold by default is the tenant's.
func (c *Catalog) planned(p backup.PolicyID) backup.Retention {
	plan := c.plan.Load()
	if own, ok := plan.Policies[p]; ok {
		return own
	}
	r := plan.Default
	r.LegalHold = r.LegalHold && p == ""
	return r
}

// A retentions is how a tenant keeps its points.
type retentions map[backup.PolicyID]Retention

// of returns how the points of a policy are kept, and whether that is known at
// all. What has none of its own is kept as the tenant has it; the tenant's hold
// is on everything.
func (all retentions) of(p backup.PolicyID) (backup.Retention, bool) {
	tenant, known := all[""]
	own, ok := all[p]
	if !ok {
		own = tenant
	}
	r := own.Kept
	r.LegalHold = r.LegalHold || tenant.Kept.LegalHold
	return r, ok || known
}

const retentionColumns = `policy, kept, pending, effective, modified, modified_by, applied`

func scanRetention(r scanner) (t Retention, err error) {
	return t, r.Scan(&t.Policy, fromJSON{&t.Kept}, fromJSON{&t.Pending}, micros{&t.Effective}, micros{&t.Modified.At}, fromJSON{&t.Modified.By}, &t.applied)
}

// readRetentions returns a tenant's retentions; lock has them stay until the
// transaction ends.
func readRetentions(ctx context.Context, db database.Queryer, tenant backup.TenantID, lock string) (retentions, error) {
	rows, err := db.QueryContext(ctx, `SELECT `+retentionColumns+` FROM retention WHERE tenant = $1 ORDER BY policy`+lock, string(tenant))
	list, err := collect(rows, err, scanRetention)
	if err != nil {
		return nil, fmt.Errorf("read retention: %w", err)
	}
	all := retentions{}
	for _, r := range list {
		all[r.Policy] = r
	}
	return all, nil
}

// keeping returns how the points of a policy are kept.
func (c *Catalog) keeping(ctx context.Context, db database.Queryer, tenant backup.TenantID, policy backup.PolicyID) (*backup.Keeping, error) {
	rows, err := db.QueryContext(ctx, `SELECT `+retentionColumns+` FROM retention WHERE tenant = $1 AND policy IN ('', $2)`, string(tenant), string(policy))
	list, err := collect(rows, err, scanRetention)
	if err != nil {
		return nil, fmt.Errorf("read retention: %w", err)
	}
	all := retentions{}
	for _, r := range list {
		all[r.Policy] = r
	}
	return c.keepingOf(all, policy)
}

// keepingOf is keeping where what is stored of the policy and its tenant is known.
func (c *Catalog) keepingOf(all retentions, policy backup.PolicyID) (*backup.Keeping, error) {
	kept, known := all.of(policy)
	if !known {
		kept = c.planned(policy)
		kept.LegalHold = kept.LegalHold || c.plan.Load().Default.LegalHold
	}
	return backup.NewKeeping(kept)
}

// Retentions lists how a tenant keeps its points: the tenant's own first, which
// is of points that are of no policy, of what new policies begin with once
// somebody has set it, and which may hold everything; then that of each policy
// that there is or was.
func (c *Catalog) Retentions(ctx context.Context, tenant backup.TenantID) ([]Retention, error) {
	all, err := readRetentions(ctx, c.db.Read(), tenant, "")
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Retention) int { return strings.Compare(string(a.Policy), string(b.Policy)) }), nil
}

// Tenants lists the tenants that the catalog knows.
func (c *Catalog) Tenants(ctx context.Context) ([]backup.TenantID, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT id FROM tenant ORDER BY id`)
	all, err := collect(rows, err, func(r scanner) (t backup.TenantID, err error) { return t, r.Scan(&t) })
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return all, nil
}

// beginRetention stores how the points of a policy are kept that is being made.
func (c *Catalog) beginRetention(ctx context.Context, tx *database.Tx, p *backup.Policy) error {
	p.Retention = c.planned(p.ID)
	err := tx.QueryRowContext(ctx, `SELECT kept FROM retention WHERE tenant = $1 AND policy = '' AND modified <> 0`, string(p.Tenant)).
		Scan(fromJSON{&p.Retention})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read the tenant's retention: %w", err)
	}
	if err == nil {
		p.Retention.LegalHold = false // the tenant's own
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO retention (tenant, policy, kept, applied) VALUES ($1, $2, $3, '') ON CONFLICT DO NOTHING`,
		string(p.Tenant), string(p.ID), toJSON(p.Retention))
	if err != nil {
		return fmt.Errorf("store the policy's retention: %w", err)
	}
	return nil
}

// AdoptRetention takes a tenant's retention from the configuration into the
// database, if it has none there: the default, and how the points of every
// policy are kept that there is or was. It may be called again.
func (c *Catalog) AdoptRetention(ctx context.Context, tenant backup.TenantID) error {
	const known = `SELECT EXISTS (SELECT 1 FROM retention WHERE tenant = $1 AND policy = '')`
	var done bool
	if err := c.db.Read().QueryRowContext(ctx, known, string(tenant)).Scan(&done); err != nil {
		return fmt.Errorf("look for retention: %w", err)
	}
	if done {
		return nil
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		if err := tx.QueryRowContext(ctx, known, string(tenant)).Scan(&done); err != nil || done {
			return err
		}
		rows, err := tx.QueryContext(ctx, `
			SELECT id FROM policy WHERE tenant = $1 UNION SELECT policy FROM restore_point WHERE tenant = $1 UNION SELECT ''`, string(tenant))
		policies, err := collect(rows, err, func(r scanner) (p backup.PolicyID, err error) { return p, r.Scan(&p) })
		if err != nil {
			return err
		}
		type row struct{ Policy, Kept string }
		adopted := make([]row, len(policies))
		for i, p := range policies {
			adopted[i] = row{string(p), toJSON(c.planned(p))}
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO retention (tenant, policy, kept, applied)
			SELECT CAST($2 AS TEXT), e.value->>'Policy', e.value->>'Kept', '' FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE true
			ON CONFLICT DO NOTHING`, jsonList(adopted), string(tenant))
		if err != nil {
			return err
		}
		return c.record(ctx, tx, backup.Activity{Tenant: tenant, Operation: backup.RetentionActivity})
	})
	if err != nil {
		return fmt.Errorf("take up retention from the configuration: %w", err)
	}
	return nil
}

// RetentionDisagreement says in words in what the configuration of this process
// disagrees with what the database says of a tenant's retention, "" if in
// nothing. While it does, ExpirePoints does nothing here.
func (c *Catalog) RetentionDisagreement(ctx context.Context, tenant backup.TenantID) (string, error) {
	plan := c.plan.Load()
	if len(plan.Policies) == 0 && !plan.Default.LegalHold {
		return "", nil
	}
	all, err := readRetentions(ctx, c.db.Read(), tenant, "")
	if err != nil {
		return "", err
	}
	own, adopted := all[""]
	if !adopted {
		return "", nil // all of it will be taken from the configuration
	}
	var wrong []string
	if plan.Default.LegalHold && !own.Kept.LegalHold {
		wrong = append(wrong, "by default everything is under a legal hold, and here the tenant is under none")
	}
	for _, p := range slices.Sorted(maps.Keys(plan.Policies)) {
		planned := plan.Policies[p]
		r, known := all[p]
		switch {
		case known && !r.Kept.Equal(planned):
			wrong = append(wrong, fmt.Sprintf("policy %s keeps %s, and here it keeps %s", p, planned, r.Kept))
		case !known:
			var there bool
			err := c.db.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM restore_point WHERE tenant = $1 AND policy = $2)`, string(tenant), string(p)).Scan(&there)
			if err != nil {
				return "", fmt.Errorf("look for points of policy %s: %w", p, err)
			}
			if there {
				wrong = append(wrong, fmt.Sprintf("policy %s keeps %s, and here nothing is known of it", p, planned))
			}
		}
	}
	if len(wrong) == 0 {
		return "", nil
	}
	return "The configuration says: " + strings.Join(wrong, "; ") + ". Retention is kept in the database. Change it there with \"holdfast retention\" if need be, and take the members policies and legalHold of retention out of the configuration.", nil
}

// A RetentionChange is what became of a change of retention.
type RetentionChange struct {
	Retention       // as it is now
	Waits     bool  // the change makes points go earlier: it is Pending
	Points    int64 // that will be over when it takes effect, and would not be else
	Drives    int64 // whose they are
	// Approval is what the change waits for first, of another person; nil for nothing. It
	// is not Pending yet.
	Approval *backup.Approval
}

// A retentionRequest is a change of retention that waits for an approval.
type retentionRequest struct {
	Wanted backup.Retention
	After  time.Duration // how long it waits then
}

// ChangeRetention has change alter how the points of a policy are kept; "" is
// the tenant's. What keeps every point at least as long takes effect at once, as
// does everything where there is no point yet; anything else after a while, which is not less than ShortestRetentionDelay;
// until then CancelRetention calls it off. A change builds on one that waits,
// and takes its place. Where the tenant's rule says so, what makes points go earlier than
// is in force, or was approved, waits for another person's approval before that; the next
// change takes its place, and builds on what is in force, or was approved.
// PolicyNotFound, InvalidRequest.
func (c *Catalog) ChangeRetention(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, after time.Duration, change func(*backup.Retention), by backup.Stamp) (RetentionChange, error) {
	by = asStored(by)
	if after < backup.ShortestRetentionDelay {
		return RetentionChange{}, backup.Fail(backup.InvalidRequest, fmt.Sprintf("What makes points go earlier waits for at least %v.", backup.ShortestRetentionDelay))
	}
	var r RetentionChange
	err := c.changeRetention(ctx, tenant, policy, func(tx *database.Tx, all retentions) error {
		r = RetentionChange{Retention: all[policy]}
		wanted := r.Kept
		if r.Pending != nil {
			wanted = *r.Pending
		}
		asked, err := waitingFor(ctx, tx, tenant, backup.ApprovalRetention, string(policy))
		if err != nil {
			return err
		}
		wanted.Settings = slices.Clone(wanted.Settings)
		change(&wanted) // never what nobody has approved, which another change would bring along
		if asked != nil {
			before, err := retentionAsked(ctx, tx, asked)
			if err != nil {
				return err
			}
			if wanted.Equal(before.Wanted) { // it was asked for, and is not put off
				r.Waits, r.Approval = true, asked
				return nil
			}
		}
		next, err := backup.NewKeeping(wanted)
		if err != nil {
			return backup.Fail(backup.InvalidRequest, err.Error()+".")
		}
		shorter := func(than backup.Retention) (bool, error) {
			k, err := backup.NewKeeping(than)
			return err == nil && !next.Covers(k), err
		}
		if r.Waits, err = shorter(r.Kept); err != nil {
			return err
		}
		if r.Waits { // unless there is nothing to go
			of, args := "", []any{string(tenant)}
			if policy != "" {
				of, args = " AND policy = $2", append(args, string(policy))
			}
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM restore_point WHERE tenant = $1`+of+`)`, args...).Scan(&r.Waits)
			if err != nil {
				return fmt.Errorf("look for points: %w", err)
			}
		}
		alone := r.Waits && c.rule(tenant).Retention
		if alone && r.Pending != nil { // what nobody need approve is what goes no earlier than was approved
			if alone, err = shorter(*r.Pending); err != nil {
				return err
			}
		}
		if asked != nil {
			if _, err := c.withdraw(ctx, tx, tenant, backup.ApprovalRetention, string(policy), by); err != nil {
				return err
			}
		}
		if alone {
			r.Approval, err = c.askRetention(ctx, tx, r.Retention, tenant, retentionRequest{wanted, after}, by)
			return err
		}
		approved := r.Effective
		r.Pending, r.Effective, r.Modified = nil, time.Time{}, by
		if r.Waits {
			r.Pending, r.Effective = &wanted, by.At.Add(after)
			if c.rule(tenant).Retention && r.Effective.Before(approved) { // nor sooner than was approved
				r.Effective = approved
			}
		} else {
			r.Kept = wanted
		}
		all[policy] = r.Retention
		return nil
	})
	if err != nil {
		return RetentionChange{}, fmt.Errorf("change retention: %w", err)
	}
	r.Points, r.Drives, err = c.PendingCost(ctx, tenant, policy)
	return r, err
}

// retentionAsked reads what an approval of a change of retention is of.
func retentionAsked(ctx context.Context, tx *database.Tx, a *backup.Approval) (r retentionRequest, err error) {
	if err := tx.QueryRowContext(ctx, `SELECT request FROM approval WHERE tenant = $1 AND id = $2`, string(a.Tenant), string(a.ID)).Scan(fromJSON{&r}); err != nil {
		return r, fmt.Errorf("read what approval %s is of: %w", a.ID, err)
	}
	return r, nil
}

// askRetention has a change of retention wait for an approval.
func (c *Catalog) askRetention(ctx context.Context, tx *database.Tx, now Retention, tenant backup.TenantID, r retentionRequest, by backup.Stamp) (*backup.Approval, error) {
	a := &backup.Approval{Tenant: tenant, Kind: backup.ApprovalRetention, Object: string(now.Policy), Asked: by, Hash: hashRetention(now, r), Actors: []string{by.By.Actor()}}
	of := "the tenant"
	if now.Policy != "" {
		var name string
		err := tx.QueryRowContext(ctx, `SELECT display_name, workload FROM policy WHERE tenant = $1 AND id = $2`, string(tenant), string(now.Policy)).Scan(&name, &a.Workload)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			name = "which is gone"
		case err != nil:
			return nil, fmt.Errorf("read the policy's name: %w", err)
		}
		of = "policy " + string(now.Policy) + " (" + name + ")"
	}
	a.What = fmt.Sprintf("Keep the restore points of %s for a shorter time, from %v hours after the approval on: %s. Now it is %s", of, r.After.Hours(), r.Wanted, now.Kept)
	return a, c.ask(ctx, tx, a, r)
}

// hashRetention is the hash of a change, and of what it changes.
func hashRetention(now Retention, r retentionRequest) string {
	return newHasher(now.Policy, now.Kept, now.Pending, r).String()
}

// retentionApproved has a change of retention wait as it would have without an approval.
func (c *Catalog) retentionApproved(ctx context.Context, tx *database.Tx, a *backup.Approval, by backup.Stamp) (*backup.Problem, error) {
	r, err := retentionAsked(ctx, tx, a)
	if err != nil {
		return nil, err
	}
	all, err := readRetentions(ctx, tx, a.Tenant, tx.Dialect().ForUpdate())
	if err != nil {
		return nil, err
	}
	now, known := all[backup.PolicyID(a.Object)]
	if !known || hashRetention(now, r) != a.Hash {
		return changed("The retention"), nil
	}
	now.Pending, now.Effective, now.Modified = &r.Wanted, by.At.Add(r.After), backup.Stamp{By: a.Asked.By, At: by.At}
	return nil, writeRetention(ctx, tx, a.Tenant, now)
}

// writeRetention stores how the points of a policy are kept.
func writeRetention(ctx context.Context, tx *database.Tx, tenant backup.TenantID, r Retention) error {
	var pending any
	if r.Pending != nil {
		pending = toJSON(*r.Pending)
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE retention SET kept = $3, pending = $4, effective = $5, modified = $6, modified_by = $7 WHERE tenant = $1 AND policy = $2`,
		string(tenant), string(r.Policy), toJSON(r.Kept), pending, database.Micros(r.Effective), database.Micros(r.Modified.At), toJSON(r.Modified.By))
	return err
}

// ErrNothingWaits says that there is no change of retention to call off.
var ErrNothingWaits = errors.New("no change of retention waits")

// CancelRetention calls off a change that waits, and returns what is in force.
// PolicyNotFound, ErrNothingWaits.
func (c *Catalog) CancelRetention(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, by backup.Stamp) (Retention, error) {
	by = asStored(by)
	var r Retention
	err := c.changeRetention(ctx, tenant, policy, func(tx *database.Tx, all retentions) error {
		r = all[policy]
		withdrawn, err := c.withdraw(ctx, tx, tenant, backup.ApprovalRetention, string(policy), by)
		if err != nil {
			return err
		}
		if r.Pending == nil && !withdrawn {
			return ErrNothingWaits
		}
		r.Pending, r.Effective, r.Modified = nil, time.Time{}, by
		all[policy] = r
		return nil
	})
	if err != nil {
		return Retention{}, fmt.Errorf("cancel the change of retention: %w", err)
	}
	return r, nil
}

// changeRetention has fn change the retention of a policy among those of its
// tenant, and stores it.
func (c *Catalog) changeRetention(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, fn func(*database.Tx, retentions) error) error {
	if err := c.AdoptRetention(ctx, tenant); err != nil {
		return err
	}
	return c.tx(ctx, tenant, func(tx *database.Tx) error {
		// What is expiring at this moment holds them, too.
		all, err := readRetentions(ctx, tx, tenant, tx.Dialect().ForUpdate())
		if err != nil {
			return err
		}
		if _, ok := all[policy]; !ok {
			return policyNotFound()
		}
		if err := fn(tx, all); err != nil {
			return err
		}
		return writeRetention(ctx, tx, tenant, all[policy])
	})
}

// keep fills in how long a new point of a unit is kept, and reports whether it is longer
// than most. The unit's policy says so; that of the unit's points stays the one under which
// they were made. A point is the first of an interval among those of its policy and drive;
// before is the period that it falls into or follows.
func (c *Catalog) keep(ctx context.Context, tx *database.Tx, p *backup.Point, unit settledUnit, before *period) (longer bool, err error) {
	k, err := c.keepingOf(unit.kept, unit.policy)
	if err != nil {
		return false, err
	}
	begins := k.Intervals(p.At)
	first := make([]bool, len(begins))
	follows := before != nil && before.Drive == p.Drive && before.policy == unit.policy && !before.Lost
	for i, begin := range begins {
		if follows && !before.At.Before(begin) {
			continue // that one is of the interval, or there is an earlier one
		}
		err := tx.QueryRowContext(ctx, `
			SELECT NOT EXISTS (SELECT 1 FROM restore_point WHERE unit = $1 AND at >= $2 AND at <= $3 AND drive = $4 AND policy = $5 AND lost = 0)`,
			string(p.Unit), database.Micros(begin), database.Micros(p.At), string(p.Drive), string(unit.policy)).Scan(&first[i])
		if err != nil {
			return false, fmt.Errorf("look for the interval's point: %w", err)
		}
	}
	p.Expires, longer = k.Expires(p.At, first)
	return longer, nil
}

// A keptPeriod is what decides how long the points of a period are kept.
type keptPeriod struct {
	period
	until time.Time
}

const keptColumns = periodColumns + `, r.until`

func scanKept(r scanner) (p keptPeriod, err error) {
	return p, r.Scan(append(p.fields(), micros{&p.until})...)
}

// lives goes through the points of a unit in the order of their time, and gives
// to fn when those of each period expire as keep has it, and which of them are
// kept longer than most. Lost points are passed over. A period that the drive
// stayed at, as far as is known, until another time has its last point be the
// first of every interval that began meanwhile, and kept as a point of that time
// would be.
func lives(periods []keptPeriod, keep func(backup.PolicyID) (*backup.Keeping, error), fn func(p *keptPeriod, ends []time.Time, longer []bool) error) error {
	type line struct {
		policy backup.PolicyID
		drive  backup.DriveID
	}
	before := map[line]time.Time{}
	for n := range periods {
		p := &periods[n]
		if p.Lost {
			continue
		}
		k, err := keep(p.policy)
		if err != nil {
			return err
		}
		l := line{p.policy, p.Drive}
		ends, longer := make([]time.Time, p.size()), make([]bool, p.size())
		for i := range p.size() {
			at := p.at(i)
			last := at
			if i == len(p.runs) && p.until.After(last) {
				last = p.until
			}
			previous, any := before[l]
			before[l] = at
			began, ended := k.Intervals(at), k.Intervals(last)
			first := make([]bool, len(began))
			for i := range began {
				first[i] = !any || previous.Before(began[i]) || ended[i].After(began[i])
			}
			ends[i], longer[i] = k.Expires(last, first)
		}
		if err := fn(p, ends, longer); err != nil {
			return err
		}
	}
	return nil
}

// keepUnit computes anew when the points of a unit expire: those of a policy,
// or all for nil. Only with shorten does one expire earlier than it would have.
func keepUnit(ctx context.Context, tx *database.Tx, tenant backup.TenantID, unit backup.UnitID, policy *backup.PolicyID, keep func(backup.PolicyID) (*backup.Keeping, error), shorten bool) error {
	// No run adds to a period meanwhile.
	rows, err := tx.QueryContext(ctx, `SELECT drive FROM drive_state WHERE unit = $1`+tx.Dialect().ForUpdate(), string(unit))
	if _, err := collect(rows, err, func(r scanner) (d string, err error) { return d, r.Scan(&d) }); err != nil {
		return err
	}
	where, args := ``, []any{string(unit), string(tenant)}
	if policy != nil {
		where, args = ` AND r.policy = $3`, append(args, string(*policy))
	}
	rows, err = tx.QueryContext(ctx, `SELECT `+keptColumns+` FROM restore_point r WHERE r.unit = $1 AND r.tenant = $2`+where+` ORDER BY r.at, r.id`, args...)
	periods, err := collect(rows, err, scanKept)
	if err != nil {
		return err
	}
	var changed [][3]string
	err = lives(periods, keep, func(p *keptPeriod, ends []time.Time, longer []bool) error {
		for i, end := range ends {
			if was := p.expires(i); !shorten && end.Before(was) {
				ends[i], longer[i] = was, longer[i] || p.longer
			}
		}
		parts := p.segments(ends, longer)
		if len(parts) > 1 {
			return p.split(ctx, tx, parts...)
		}
		end := storedExpiry(p.last(), parts[0].expires, p.size() == 1)
		if longer := parts[0].longer; !end.Equal(p.Expires) || longer != p.longer {
			changed = append(changed, [3]string{string(p.ID), fmt.Sprint(database.Micros(end)), fmt.Sprint(bit(longer))})
		}
		return nil
	})
	if err != nil || len(changed) == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE restore_point SET expires = CAST(e.value->>1 AS BIGINT), weekly = CAST(e.value->>2 AS SMALLINT),
			tags = CASE WHEN CAST(e.value->>2 AS SMALLINT) = 1 THEN 'fastRestore' ELSE tags END
		FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE restore_point.id = e.value->>0`, jsonList(changed))
	return err
}

// keepers returns how points are kept by their policies, each read once.
func (c *Catalog) keepers(ctx context.Context, db database.Queryer, tenant backup.TenantID) func(backup.PolicyID) (*backup.Keeping, error) {
	known := map[backup.PolicyID]*backup.Keeping{}
	return func(p backup.PolicyID) (*backup.Keeping, error) {
		if known[p] == nil {
			k, err := c.keeping(ctx, db, tenant, p)
			if err != nil {
				return nil, err
			}
			known[p] = k
		}
		return known[p], nil
	}
}

// unitsUnder gives to fn the units with points of a policy, in parts.
func (c *Catalog) unitsUnder(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, fn func(backup.UnitID) error) error {
	const part = 1000
	for after := backup.UnitID(""); ; {
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT DISTINCT unit FROM restore_point WHERE tenant = $1 AND policy = $2 AND unit > $3 ORDER BY unit LIMIT $4`,
			string(tenant), string(policy), string(after), part)
		units, err := collect(rows, err, func(r scanner) (u backup.UnitID, err error) { return u, r.Scan(&u) })
		if err != nil {
			return fmt.Errorf("list the units of policy %s: %w", policy, err)
		}
		for _, u := range units {
			if err := fn(u); err != nil {
				return err
			}
		}
		if len(units) < part {
			return nil
		}
		after = units[part-1]
	}
}

// PendingCost counts the points, of those that there are, that will be over when
// the change of a policy's retention takes effect that waits, and would not be
// without it, and the drives whose they are.
func (c *Catalog) PendingCost(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID) (points, drives int64, err error) {
	was, err := readRetentions(ctx, c.db.Read(), tenant, "")
	if err != nil || was[policy].Pending == nil {
		return 0, 0, err
	}
	at, will := was[policy].Effective, maps.Clone(was)
	will[policy] = Retention{Kept: *was[policy].Pending}
	type drive struct {
		unit  backup.UnitID
		drive backup.DriveID
	}
	for p := range will {
		before, _ := was.of(p)
		after, _ := will.of(p)
		if before.Equal(after) {
			continue
		}
		k, err := backup.NewKeeping(after)
		if err != nil {
			return 0, 0, err
		}
		err = c.unitsUnder(ctx, tenant, p, func(u backup.UnitID) error {
			rows, err := c.db.Read().QueryContext(ctx, `SELECT `+keptColumns+` FROM restore_point r WHERE r.unit = $1 AND r.tenant = $2 AND r.policy = $3 ORDER BY r.at, r.id`,
				string(u), string(tenant), string(p))
			all, err := collect(rows, err, scanKept)
			if err != nil {
				return err
			}
			gone := map[drive]bool{}
			err = lives(all, func(backup.PolicyID) (*backup.Keeping, error) { return k, nil }, func(p *keptPeriod, ends []time.Time, _ []bool) error {
				for i, end := range ends {
					if !end.After(at) && p.expires(i).After(at) {
						points++
						gone[drive{p.Unit, p.Drive}] = true
					}
				}
				return nil
			})
			drives += int64(len(gone))
			return err
		})
		if err != nil {
			return 0, 0, fmt.Errorf("count the points that will go: %w", err)
		}
	}
	return points, drives, nil
}

// shortening marks, in front of what the points of a policy are to stand under,
// that some may do so already, and others not yet.
const shortening = "to "

// outstanding returns the policies whose points do not stand under what is in
// force.
func (all retentions) outstanding() []backup.PolicyID {
	var list []backup.PolicyID
	for p, r := range all {
		if kept, _ := all.of(p); r.applied != toJSON(kept) {
			list = append(list, p)
		}
	}
	return slices.Sorted(slices.Values(list))
}

// applyRetention puts changes that were waited for in force, and has the points
// that there are follow what is. Where that keeps all points at least as long
// as what they stood under, none expires earlier than it would have.
func (c *Catalog) applyRetention(ctx context.Context, j *jobs.Job) error {
	var all retentions
	err := c.db.Tx(ctx, func(tx *database.Tx) (err error) {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		if all, err = readRetentions(ctx, tx, j.Tenant, tx.Dialect().ForUpdate()); err != nil {
			return err
		}
		for p, r := range all {
			if r.Pending == nil || r.Effective.After(c.now()) {
				continue
			}
			r.Kept, r.Pending, r.Effective = *r.Pending, nil, time.Time{}
			all[p] = r
			_, err := tx.ExecContext(ctx, `UPDATE retention SET kept = $3, pending = NULL, effective = 0 WHERE tenant = $1 AND policy = $2`,
				string(j.Tenant), string(p), toJSON(r.Kept))
			if err != nil {
				return fmt.Errorf("put retention in force: %w", err)
			}
			if err := c.record(ctx, tx, backup.Activity{Tenant: j.Tenant, Operation: backup.RetentionActivity, Object: string(p)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range all.outstanding() {
		if err := c.applyTo(ctx, j, all, p); err != nil {
			return fmt.Errorf("keep the points of policy %q as is in force: %w", p, err)
		}
	}
	return nil
}

// applyTo has the points of a policy follow what is in force for it.
func (c *Catalog) applyTo(ctx context.Context, j *jobs.Job, all retentions, policy backup.PolicyID) error {
	kept, _ := all.of(policy)
	k, err := backup.NewKeeping(kept)
	if err != nil {
		return err
	}
	applied := toJSON(kept)
	shorten := all[policy].applied == shortening+applied // a run that was cut off had begun
	var stood backup.Retention
	if was := all[policy].applied; was != "" && !strings.HasPrefix(was, shortening) {
		if err := (fromJSON{&stood}).Scan(was); err != nil {
			return err
		}
		before, err := backup.NewKeeping(stood)
		if err != nil {
			return err
		}
		shorten = !k.Covers(before)
	}
	note := func(text string) error {
		return c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `UPDATE retention SET applied = $3 WHERE tenant = $1 AND policy = $2`, string(j.Tenant), string(policy), text)
			return err
		})
	}
	if shorten {
		if err := note(shortening + applied); err != nil {
			return err
		}
	}
	err = c.unitsUnder(ctx, j.Tenant, policy, func(u backup.UnitID) error {
		return c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			return keepUnit(ctx, tx, j.Tenant, u, &policy, func(backup.PolicyID) (*backup.Keeping, error) { return k, nil }, shorten)
		})
	})
	if err != nil {
		return err
	}
	return note(applied)
}

// underHold reports whether points of a unit are under a legal hold.
func (c *Catalog) underHold(ctx context.Context, db database.Queryer, tenant backup.TenantID, unit backup.UnitID) (bool, error) {
	rows, err := db.QueryContext(ctx, `SELECT DISTINCT policy FROM restore_point WHERE unit = $1`, string(unit))
	policies, err := collect(rows, err, func(r scanner) (p backup.PolicyID, err error) { return p, r.Scan(&p) })
	if err != nil {
		return false, fmt.Errorf("look for holds: %w", err)
	}
	for _, p := range policies {
		k, err := c.keeping(ctx, db, tenant, p)
		if err != nil {
			return false, err
		}
		if k.LegalHold {
			return true, nil
		}
	}
	return false, nil
}
