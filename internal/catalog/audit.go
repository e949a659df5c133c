package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/odata"
)

// An Audit is what a caller is doing, on its way to the audit log. It travels
// in the context of the call: the first transaction of the control plane that
// commits writes it, so that nothing is changed without a trace.
type Audit struct {
	Activity backup.Activity
	Units    []backup.UnitID // whose backups it concerns
	written  bool
}

// Written reports whether the activity is in the log.
func (a *Audit) Written() bool { return a.written }

type auditKey struct{}

// WithAudit returns a context in which what is done is what a says. a belongs
// to one call.
func WithAudit(ctx context.Context, a *Audit) context.Context {
	return context.WithValue(ctx, auditKey{}, a)
}

// auditOf returns what is being done, or nil in what is not for the log.
func auditOf(ctx context.Context) *Audit {
	a, _ := ctx.Value(auditKey{}).(*Audit)
	return a
}

// audited names what a call has made.
func audited[T ~string](ctx context.Context, made T) {
	if a := auditOf(ctx); a != nil {
		a.Activity.Object = string(made)
	}
}

// AuditedUnits says whose backups a call concerns.
func AuditedUnits(ctx context.Context, units ...backup.UnitID) {
	if a := auditOf(ctx); a != nil {
		a.Units = append(a.Units, units...)
	}
}

// maxAuditUnits is of how many units an entry can be found by each.
const maxAuditUnits = 1000

// unitsOf are the units that a session restores, and one more than can be found by
// at most.
func unitsOf(ctx context.Context, db database.Queryer, session backup.SessionID) ([]backup.UnitID, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT a.unit FROM restore_artifact a WHERE a.session = $1 UNION SELECT g.unit FROM granular_artifact g WHERE g.session = $1 LIMIT $2`, string(session), maxAuditUnits+1)
	units, err := collect(rows, err, func(r scanner) (id backup.UnitID, err error) { return id, r.Scan(&id) })
	if err != nil {
		return nil, fmt.Errorf("read the units of session %s: %w", session, err)
	}
	return units, nil
}

// auditedSession says that a call concerns what a session restores.
func auditedSession(ctx context.Context, tx *database.Tx, session backup.SessionID) error {
	if auditOf(ctx) == nil {
		return nil
	}
	units, err := unitsOf(ctx, tx, session)
	AuditedUnits(ctx, units...)
	return err
}

// auditedItem adds what a call restores of a backup, by its name: as many as there is room
// for.
func auditedItem(ctx context.Context, name string) {
	const most = 2048 // bytes
	if a := auditOf(ctx); a != nil && len(a.Activity.Target) < most && !strings.Contains(a.Activity.Target, " ("+name+")") {
		a.Activity.Target += " (" + name + ")"
	}
}

// auditedTo adds whether a call restores over what is there, or beside it.
func auditedTo(ctx context.Context, d backup.Destination) {
	place := map[backup.Destination]string{backup.DestinationInPlace: " (in place)", backup.DestinationNew: " (to a new place)"}[d]
	if a := auditOf(ctx); a != nil && !strings.Contains(a.Activity.Target, place) {
		a.Activity.Target += place
	}
}

// AuditedInto adds where a call restores to, where that is another's place.
func AuditedInto(ctx context.Context, place string) {
	const most = 4096 // bytes, of a call that names many
	if a := auditOf(ctx); a != nil && len(a.Activity.Target) < most && !strings.HasSuffix(a.Activity.Target, " (into "+place+")") {
		a.Activity.Target += " (into " + place + ")"
	}
}

// AuditedOf says of which workload a call is.
func AuditedOf(ctx context.Context, w backup.Workload) {
	if a := auditOf(ctx); a != nil {
		a.Activity.Workload = w
	}
}

// failures counts the results that are failures, and returns the first.
func failures[T any](results []T, of func(T) *backup.Error) (n int, first *backup.Error) {
	for _, r := range results {
		if err := of(r); err != nil {
			if n++; n == 1 {
				first = err
			}
		}
	}
	return n, first
}

// auditedItems says how many of a call's items failed, and how the first did.
func auditedItems(ctx context.Context, items, failed int, first *backup.Error) {
	a := auditOf(ctx)
	if a == nil {
		return
	}
	a.Activity.Result, a.Activity.Problem = "", nil // a transaction may be tried again
	if failed == 0 {
		return
	}
	a.Activity.Result = backup.ActivityPartiallySucceeded
	if failed == items {
		a.Activity.Result = backup.ActivityFailed
	}
	a.Activity.Problem = &backup.Problem{Code: first.Code, Message: fmt.Sprintf("%d of %d items failed. The first: %s", failed, items, first.Message)}
}

// audit writes what is being done, as a part of tx.
func (c *Catalog) audit(ctx context.Context, tx *database.Tx) error {
	a := auditOf(ctx)
	if a == nil || a.written {
		return nil
	}
	tx.AfterCommit(func() { a.written = true })
	return c.record(ctx, tx, a.Activity, a.Units...)
}

// maxDetails is how many details of a problem the log keeps. The thing itself
// has them all.
const maxDetails = 20

// record adds an activity to the log, of the backups of some units. The log is only
// ever added to.
func (c *Catalog) record(ctx context.Context, tx *database.Tx, a backup.Activity, of ...backup.UnitID) error {
	a.ID = backup.NewID[backup.ActivityID]()
	if a.At.IsZero() {
		a.At = c.now()
	}
	if a.Result == "" {
		a.Result = backup.ActivitySucceeded
		if a.Problem != nil {
			a.Result = backup.ActivityFailed
		}
	}
	if p := a.Problem; p != nil && len(p.Details) > maxDetails {
		short := *p
		short.Details = p.Details[:maxDetails]
		a.Problem = &short
	}
	of = slices.Clone(of)
	slices.Sort(of)
	of = slices.Compact(of)
	if len(of) > 0 {
		rows, err := tx.QueryContext(ctx, `
			SELECT u.id, u.subject, u.address_key FROM `+tx.Dialect().JSONEach("$1")+` AS e CROSS JOIN unit u
			WHERE u.id = e.value AND coalesce(u.tenant, '') = $2 ORDER BY e.n`, jsonList(of[:min(len(of), backup.MaxActivityUnits)]), string(a.Tenant))
		a.Units, err = collect(rows, err, func(r scanner) (u backup.ActivityUnit, err error) { return u, r.Scan(&u.ID, &u.Subject, &u.Address) })
		if err != nil {
			return fmt.Errorf("read whose backups the audit log is to name: %w", err)
		}
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO audit (id, tenant, at, actor, operation, target, object, result, problem, request, workload, units)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		string(a.ID), string(a.Tenant), database.Micros(a.At), toJSON(a.By), a.Operation, a.Target, a.Object, string(a.Result), problemJSON(a.Problem), a.Request, string(a.Workload), jsonList(a.Units))
	if err == nil && len(of) > 0 && len(of) <= maxAuditUnits {
		_, err = tx.ExecContext(ctx, `INSERT INTO audit_unit (unit, audit, at, tenant) SELECT e.value, CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT) FROM `+tx.Dialect().JSONEach("$1")+` AS e`,
			jsonList(of), string(a.ID), database.Micros(a.At), string(a.Tenant))
	}
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// recordEnd adds to the log that a session came to its end, in which something that failed
// may have come back in part; last is what was wrong with its last artifact.
func (c *Catalog) recordEnd(ctx context.Context, tx *database.Tx, tenant backup.TenantID, workload backup.Workload, session backup.SessionID, end backup.SessionStatus, inPart bool, last *backup.Problem) error {
	a := backup.Activity{Tenant: tenant, Workload: workload, Operation: backup.RestoreFinishedActivity, Object: string(session)}
	switch {
	case end == backup.SessionCompletedWithError, end == backup.SessionFailed && inPart:
		a.Result, a.Problem = backup.ActivityPartiallySucceeded, last
	case end == backup.SessionFailed:
		a.Result, a.Problem = backup.ActivityFailed, last
	}
	units, err := unitsOf(ctx, tx, session)
	if err != nil {
		return err
	}
	return c.record(ctx, tx, a, units...)
}

// Record adds an activity to the log that has changed nothing.
func (c *Catalog) Record(ctx context.Context, a backup.Activity, of ...backup.UnitID) error {
	return c.db.Tx(ctx, func(tx *database.Tx) error { return c.record(ctx, tx, a, of...) })
}

const activityColumns = `a.id, a.tenant, a.at, a.actor, a.operation, a.target, a.object, a.result, a.problem, a.request, a.workload, a.units`

func scanActivity(r scanner) (a backup.Activity, err error) {
	return a, r.Scan(&a.ID, &a.Tenant, micros{&a.At}, fromJSON{&a.By}, &a.Operation, &a.Target, &a.Object, &a.Result, fromJSON{&a.Problem}, &a.Request, &a.Workload, fromJSON{&a.Units})
}

// unitProperty is by what the log of a unit is asked for.
const unitProperty = "@holdfast.protectionUnitId"

// activityFields are those of a database. Of who has done something it has no columns; what
// it has of that are what the indexes are of. id and at are where an entry's are read.
func activityFields(d database.Dialect, id, at string) fields {
	who, actor := "a.who", "a.actor_id"
	if d == database.Postgres {
		who, actor = `audit_who(a.actor) COLLATE "C"`, `audit_actor_id(a.actor) COLLATE "C"`
	}
	by := filterName("performedBy", who, false, false)
	by.Canon = lowerASCII
	return fields{
		filterID("id", id, ""),
		filterEnum("resultStatus", "a.result", "succeeded", "failed", "partiallySucceeded"),
		filterTime("eventDateTime", at, true),
		by,
		filterText("@holdfast.performedById", actor, anyID),
		filterText("@holdfast.operation", "a.operation", nil),
		filterText("@holdfast.objectId", "a.object", anyID),
		{Property: odata.Property{Name: unitProperty, Type: odata.GUID, Filters: true}, expr: "o.unit",
			holder: "EXISTS (SELECT 1 FROM audit_unit h WHERE h.audit = a.id AND h.unit = %s)"},
	}
}

// lowerASCII is a text in lower case as both databases make it.
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
}

// anyID is an id as it is kept, however it is spelled, and any other text as it is.
func anyID(text string) string {
	if id, ok := backup.ParseGUID(text); ok {
		return id
	}
	return text
}

// ActivityProperties are what activities may be filtered and ordered by.
var ActivityProperties = activityFields(database.SQLite, "a.id", "a.at").properties()

// Activities lists a tenant's audit log, the newest first.
func (c *Catalog) Activities(ctx context.Context, tenant backup.TenantID, page Page) (List[backup.Activity], error) {
	if unit, ok := unitAsked(page.Filter); ok {
		return c.unitActivities(ctx, tenant, unit, page)
	}
	fields := activityFields(c.db.Dialect(), "a.id", "a.at")
	by := func(name, property string) index {
		f, _ := fields.find(property)
		return index{name, []string{"a.tenant", f.expr, "a.at", "a.id"}}
	}
	q := query{columns: activityColumns, table: "audit a", tenant: tenant, scope: activitiesWithin("a.id"), time: "a.at", id: "a.id", newest: true, fields: fields,
		within: []equal{{"a.tenant", string(tenant)}}, indexes: []index{
			{"audit_page", []string{"a.tenant", "a.at", "a.id"}},
			by("audit_result", "resultStatus"), by("audit_who", "performedBy"), by("audit_actor_id", "@holdfast.performedById"),
			by("audit_operation", "@holdfast.operation"), by("audit_object", "@holdfast.objectId"),
		}, counts: &counts{table: "audit_count AS a", properties: []string{"resultStatus"}}} // kept by triggers
	l, err := list(ctx, c, q, page, scanActivity)
	if err != nil {
		return l, fmt.Errorf("list activities: %w", err)
	}
	return l, nil
}

// unitAsked returns the unit that a filter leaves nothing of the log but the entries of.
func unitAsked(filter odata.Expr) (unit string, ok bool) {
	if filter == nil {
		return "", false
	}
	for _, e := range conjuncts(filter, nil) {
		if e, is := e.(odata.Compare); is && e.Property.Name == unitProperty && e.Op == "eq" && !e.Value.Null {
			return e.Value.Text, true
		}
	}
	return "", false
}

// unitActivities is Activities where they are those of a unit, which an index has by their
// time.
func (c *Catalog) unitActivities(ctx context.Context, tenant backup.TenantID, unit string, page Page) (l List[backup.Activity], err error) {
	wrong := func(err error) error { return fmt.Errorf("list the activities of unit %s: %w", unit, err) }
	if err := c.timeActivities(ctx, unit); err != nil {
		return l, wrong(err)
	}
	q := query{columns: "o.audit", table: "audit_unit o", look: `(SELECT CASE WHEN %s THEN 1 ELSE 0 END FROM audit a WHERE a.id = o.audit) = 1`,
		tenant: tenant, scope: activitiesWithin("o.audit"), time: "o.at", id: "o.audit", newest: true, fields: activityFields(c.db.Dialect(), "o.audit", "o.at"),
		within: []equal{{"o.tenant", string(tenant)}, {"o.unit", unit}}, indexes: []index{{"audit_unit_at", []string{"o.tenant", "o.unit", "o.at", "o.audit"}}}}
	ids, err := list(ctx, c, q, page, func(r scanner) (id string, err error) { return id, r.Scan(&id) })
	if err != nil {
		return l, wrong(err)
	}
	l.Next, l.Total = ids.Next, ids.Total
	if len(ids.Items) == 0 {
		return l, nil
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+activityColumns+` FROM `+c.db.Dialect().JSONEach("$1")+` AS e CROSS JOIN audit a WHERE a.id = e.value AND coalesce(a.tenant, '') = $2`,
		jsonList(ids.Items), string(tenant))
	if l.Items, err = collect(rows, err, scanActivity); err != nil {
		return l, wrong(err)
	}
	at := make(map[string]int, len(ids.Items))
	for i, id := range ids.Items {
		at[id] = i
	}
	slices.SortFunc(l.Items, func(a, b backup.Activity) int { return at[string(a.ID)] - at[string(b.ID)] })
	return l, nil
}

// timeActivities gives what audit_unit has of a unit the tenants and times of the entries,
// where it has none yet: it is of before there were any, or of a program of before that
// works beside this.
func (c *Catalog) timeActivities(ctx context.Context, unit string) error {
	const part, timeless = 10_000, `SELECT audit FROM audit_unit WHERE tenant = '' AND unit = $1 AND at = 0 LIMIT $2`
	var one string
	if err := c.db.Read().QueryRowContext(ctx, timeless, unit, 1).Scan(&one); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		return err
	}
	for n := int64(part); n == part; {
		err := c.db.Tx(ctx, func(tx *database.Tx) (err error) {
			n, err = affected(tx.ExecContext(ctx, `
				UPDATE audit_unit SET at = a.at, tenant = a.tenant FROM audit a WHERE a.id = audit_unit.audit AND audit_unit.unit = $1 AND audit_unit.audit IN (`+timeless+`)`, unit, part))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Activity returns an entry of a tenant's audit log, or ItemNotFound.
func (c *Catalog) Activity(ctx context.Context, tenant backup.TenantID, id backup.ActivityID) (backup.Activity, error) {
	a, err := scanActivity(c.db.Read().QueryRowContext(ctx, `SELECT `+activityColumns+` FROM audit a WHERE a.tenant = $1 AND a.id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return a, activityNotFound()
	}
	if err != nil {
		return a, fmt.Errorf("read activity %s: %w", id, err)
	}
	return a, c.only(ctx, c.db.Read(), tenant, activityNotFound(), func(s scoped, arg func(any) string) string {
		return `SELECT 1 FROM audit a WHERE a.id = ` + arg(string(id)) + ` AND ` + s.activity("a.id")
	})
}

func activityNotFound() error {
	return backup.Fail(backup.ItemNotFound, "There is no such activity.").On("id")
}

// TenantsInLog are those that the audit log has entries of.
func (c *Catalog) TenantsInLog(ctx context.Context) (all []backup.TenantID, err error) {
	for last := ""; ; last = string(all[len(all)-1]) { // from one to the next in an index
		var next sql.NullString
		if err := c.db.Read().QueryRowContext(ctx, `SELECT min(tenant) FROM audit WHERE tenant > $1`, last).Scan(&next); err != nil {
			return nil, fmt.Errorf("list the tenants of the audit log: %w", err)
		}
		if !next.Valid {
			return all, nil
		}
		all = append(all, backup.TenantID(next.String))
	}
}

// ActiveSince reports whether anybody has done anything in a tenant since a time.
func (c *Catalog) ActiveSince(ctx context.Context, tenant backup.TenantID, since time.Time) (active bool, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM audit WHERE tenant = $1 AND at >= $2)`,
		string(tenant), database.Micros(since)).Scan(&active)
	if err != nil {
		return false, fmt.Errorf("look for activity: %w", err)
	}
	return active, nil
}

// ExportActivities gives to fn the audit log from a time on, oldest first: of
// one tenant, or of all for "". It is read in parts, so that nothing waits for
// a slow fn.
func (c *Catalog) ExportActivities(ctx context.Context, tenant backup.TenantID, since time.Time, fn func(backup.Activity) error) error {
	const part = 1000
	after, id := database.Micros(since), "" // an id follows the empty text
	for {
		where, args := ``, []any{after, id, part}
		if tenant != "" {
			where, args = ` AND a.tenant = $4`, append(args, string(tenant))
		}
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT `+activityColumns+` FROM audit a WHERE (a.at > $1 OR a.at = $1 AND a.id > $2)`+where+`
			ORDER BY a.at, a.id LIMIT $3`, args...)
		all, err := collect(rows, err, scanActivity)
		if err != nil {
			return fmt.Errorf("export activities: %w", err)
		}
		for _, a := range all {
			if err := fn(a); err != nil {
				return err
			}
		}
		if len(all) < part {
			return nil
		}
		last := all[part-1]
		after, id = database.Micros(last.At), string(last.ID)
	}
}
