package catalog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// What a tenant's rule lets nobody do alone is not done when it is asked for: the
// approval stands in the place of the jobs, in the transaction that would have enqueued
// them, and who approves it enqueues them in theirs. So nothing can come between, and
// of two who decide at once the tenant's turn lets one be the first.
//
// An approval is of what was asked for, and of nothing else: it has a hash of all that
// would be done. What does not fit it any more is not done.

const approvalColumns = `p.id, p.tenant, p.kind, p.object, p.workload, p.what, p.hash, p.actors, p.asked, p.asked_by, p.expires, p.state, p.decided, p.decided_by, p.comment`

func approvalFields(a *backup.Approval) []any {
	return []any{&a.ID, &a.Tenant, &a.Kind, &a.Object, &a.Workload, &a.What, &a.Hash, fromJSON{&a.Actors}, micros{&a.Asked.At}, fromJSON{&a.Asked.By}, micros{&a.Expires},
		&a.State, micros{&a.Decided.At}, fromJSON{&a.Decided.By}, &a.Comment}
}

func scanApproval(r scanner) (a backup.Approval, err error) { return a, r.Scan(approvalFields(&a)...) }

// withApprovals completes the approvals of sessions, of which each has its id. Where there
// are none it asks nothing.
func withApprovals(ctx context.Context, db database.Queryer, d database.Dialect, sessions []backup.Session) error {
	var ids []backup.ApprovalID
	for _, s := range sessions {
		if s.Approval != nil {
			ids = append(ids, s.Approval.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := db.QueryContext(ctx, `SELECT `+approvalColumns+` FROM `+d.JSONEach("$1")+` AS e CROSS JOIN approval p WHERE p.id = e.value`, jsonList(ids))
	all, err := collect(rows, err, scanApproval)
	if err != nil {
		return fmt.Errorf("read approvals: %w", err)
	}
	for i, s := range sessions {
		if k := slices.IndexFunc(all, func(a backup.Approval) bool { return s.Approval != nil && a.ID == s.Approval.ID }); k >= 0 {
			sessions[i].Approval = &all[k]
		}
	}
	return nil
}

// rule is what nobody of a tenant may do alone.
func (c *Catalog) rule(tenant backup.TenantID) (r backup.ApprovalRule) {
	if c.cfg.Approval != nil {
		r = c.cfg.Approval(tenant)
	}
	if r.Expires == 0 {
		r.Expires = backup.ApprovalLife
	}
	return r
}

// KeepApprovalRule notes what nobody of a tenant may do alone, for those that work on the
// database without the configuration. A change of it is in the audit log.
func (c *Catalog) KeepApprovalRule(ctx context.Context, tenant backup.TenantID, rule backup.ApprovalRule) error {
	was, err := c.ApprovalRule(ctx, tenant)
	if err != nil || was == rule {
		return err
	}
	err = c.tx(ctx, tenant, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO approval_rule (tenant, rule) VALUES ($1, $2) ON CONFLICT (tenant) DO UPDATE SET rule = excluded.rule`,
			string(tenant), toJSON(rule))
		if err != nil {
			return err
		}
		return c.record(ctx, tx, backup.Activity{Tenant: tenant, Operation: backup.ApprovalRuleActivity, Target: rule.String()})
	})
	if err != nil {
		return fmt.Errorf("note what is to be approved: %w", err)
	}
	return nil
}

// ApprovalRule returns what KeepApprovalRule has noted last.
func (c *Catalog) ApprovalRule(ctx context.Context, tenant backup.TenantID) (rule backup.ApprovalRule, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT rule FROM approval_rule WHERE tenant = $1`, string(tenant)).Scan(fromJSON{&rule})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return rule, fmt.Errorf("read what is to be approved: %w", err)
	}
	return rule, nil
}

// ask has something wait until another person has approved it. request is what is to be
// known of it then; units are those whose backups it concerns.
func (c *Catalog) ask(ctx context.Context, tx *database.Tx, a *backup.Approval, request any, units ...backup.UnitID) error {
	a.ID, a.State = backup.NewID[backup.ApprovalID](), backup.ApprovalWaiting
	a.Expires = a.Asked.At.Add(c.rule(a.Tenant).Expires)
	var session any
	if a.Kind == backup.ApprovalRestore {
		session = a.Object
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO approval (id, tenant, kind, object, session, workload, what, request, hash, actors, asked, asked_by, expires, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'waiting')`,
		string(a.ID), string(a.Tenant), string(a.Kind), a.Object, session, string(a.Workload), a.What, toJSON(request), a.Hash, jsonList(a.Actors),
		database.Micros(a.Asked.At), toJSON(a.Asked.By), database.Micros(a.Expires))
	if err != nil {
		return fmt.Errorf("ask for an approval: %w", err)
	}
	err = c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Approval, Key: string(a.ID), Tenant: a.Tenant, RunAt: a.Expires})
	if err != nil {
		return err
	}
	return c.recordApproval(ctx, tx, a, backup.ApprovalAskedActivity, a.Asked.By, units...)
}

// recordApproval adds to the log what became of an approval.
func (c *Catalog) recordApproval(ctx context.Context, tx *database.Tx, a *backup.Approval, operation string, by backup.IdentitySet, units ...backup.UnitID) error {
	return c.record(ctx, tx, backup.Activity{Tenant: a.Tenant, Workload: a.Workload, By: by, Operation: operation, Object: string(a.ID), Target: a.What}, units...)
}

// settle stores what became of an approval.
func settle(ctx context.Context, tx *database.Tx, a *backup.Approval) error {
	_, err := tx.ExecContext(ctx, `UPDATE approval SET state = $3, decided = $4, decided_by = $5, comment = $6 WHERE tenant = $1 AND id = $2 AND state = 'waiting'`,
		string(a.Tenant), string(a.ID), string(a.State), database.Micros(a.Decided.At), toJSON(a.Decided.By), a.Comment)
	if err != nil {
		return fmt.Errorf("settle an approval: %w", err)
	}
	return nil
}

// end ends an approval that waits otherwise than by a decision, and what waited for it.
func (c *Catalog) end(ctx context.Context, tx *database.Tx, a *backup.Approval, to backup.ApprovalState, by backup.Stamp, why *backup.Problem) error {
	a.State, a.Decided = to, by
	if err := settle(ctx, tx, a); err != nil {
		return err
	}
	units, err := c.unitsOfApproval(ctx, tx, a)
	if err != nil {
		return err
	}
	operation := map[backup.ApprovalState]string{backup.ApprovalExpired: backup.ApprovalExpiredActivity, backup.ApprovalWithdrawn: backup.ApprovalWithdrawnActivity,
		backup.ApprovalVoided: backup.ApprovalVoidedActivity}[to]
	if err := c.recordApproval(ctx, tx, a, operation, by.By, units...); err != nil {
		return err
	}
	return c.unapproved(ctx, tx, a, why)
}

// unitsOfApproval are those whose backups an approval concerns.
func (c *Catalog) unitsOfApproval(ctx context.Context, tx *database.Tx, a *backup.Approval) ([]backup.UnitID, error) {
	switch a.Kind {
	case backup.ApprovalRestore:
		return unitsOf(ctx, tx, backup.SessionID(a.Object))
	case backup.ApprovalOffboard:
		return []backup.UnitID{backup.UnitID(a.Object)}, nil
	}
	return nil, nil
}

// unapproved ends what waited for an approval that it does not get. Only a session does:
// of all else nothing was begun.
func (c *Catalog) unapproved(ctx context.Context, tx *database.Tx, a *backup.Approval, why *backup.Problem) error {
	if a.Kind != backup.ApprovalRestore {
		return nil
	}
	now := database.Micros(c.now())
	n, err := affected(tx.ExecContext(ctx, `UPDATE restore_session SET status = 'failed', failed = total, problem = $3, completed = $4 WHERE tenant = $1 AND id = $2 AND status = 'activating'`,
		string(a.Tenant), a.Object, problemJSON(why), now))
	if err != nil || n == 0 {
		return err
	}
	for _, text := range []string{
		`UPDATE restore_artifact SET status = 'failed', problem = $2, completed = $3 WHERE session = $1 AND status = 'added'`,
		`UPDATE granular_artifact SET status = 'failed', problem = $2, completed = $3 WHERE session = $1 AND status = 'added'`,
		`UPDATE bulk_restore SET status = 'completedWithErrors', problem = $2, modified = $3 WHERE session = $1 AND status = 'active'`,
	} {
		if _, err := tx.ExecContext(ctx, text, a.Object, problemJSON(why), now); err != nil {
			return fmt.Errorf("end a session that is not approved: %w", err)
		}
	}
	return c.recordEnd(ctx, tx, a.Tenant, a.Workload, backup.SessionID(a.Object), backup.SessionFailed, false, why)
}

// waitingFor returns the approval that a thing waits for, or nil.
func waitingFor(ctx context.Context, db database.Queryer, tenant backup.TenantID, kind backup.ApprovalKind, object string) (*backup.Approval, error) {
	a, err := scanApproval(db.QueryRowContext(ctx, `SELECT `+approvalColumns+` FROM approval p WHERE p.tenant = $1 AND p.kind = $2 AND p.object = $3 AND p.state = 'waiting'`,
		string(tenant), string(kind), object))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for an approval: %w", err)
	}
	return &a, nil
}

// withdraw ends the approval that a thing waits for, if it waits for one, and reports
// whether it did.
func (c *Catalog) withdraw(ctx context.Context, tx *database.Tx, tenant backup.TenantID, kind backup.ApprovalKind, object string, by backup.Stamp) (bool, error) {
	a, err := waitingFor(ctx, tx, tenant, kind, object)
	if err != nil || a == nil {
		return false, err
	}
	return true, c.end(ctx, tx, a, backup.ApprovalWithdrawn, by, &backup.Problem{Code: backup.RestoreCancelled,
		Message: "The restore was cancelled while it waited for another person's approval. Nothing was changed."})
}

func approvalNotFound() error {
	return backup.Fail(backup.ItemNotFound, "There is no such approval.").On("id")
}

func (c *Catalog) readApproval(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.ApprovalID) (backup.Approval, error) {
	a, err := scanApproval(db.QueryRowContext(ctx, `SELECT `+approvalColumns+` FROM approval p WHERE p.tenant = $1 AND p.id = $2`, string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return a, approvalNotFound()
	}
	if err != nil {
		return a, fmt.Errorf("read approval %s: %w", id, err)
	}
	return a, c.only(ctx, db, tenant, approvalNotFound(), func(s scoped, arg func(any) string) string {
		of := `SELECT 1 FROM approval p WHERE p.id = ` + arg(string(id)) + ` AND `
		return of + `EXISTS (SELECT 1 FROM unit u WHERE u.id = p.object AND u.tenant = ` + s.tenant() + ` AND ` + s.has("u") + `)
			UNION ALL ` + of + `EXISTS (SELECT 1 FROM restore_session s WHERE s.id = p.session AND ` + s.session("s.id", "s.creator", "CAST("+arg(s.Caller)+" AS TEXT)") + `)`
	})
}

// Approval returns an approval, or ItemNotFound.
func (c *Catalog) Approval(ctx context.Context, tenant backup.TenantID, id backup.ApprovalID) (backup.Approval, error) {
	return c.readApproval(ctx, c.db.Read(), tenant, id)
}

// ApprovalOf returns the approval that a thing waits for, or nil. It asks nothing of the
// database where nobody has to approve what is of that kind.
func (c *Catalog) ApprovalOf(ctx context.Context, tenant backup.TenantID, kind backup.ApprovalKind, object string) (*backup.Approval, error) {
	if !c.rule(tenant).Needs(kind) {
		return nil, nil
	}
	return waitingFor(ctx, c.db.Read(), tenant, kind, object)
}

// ApprovalsWaiting lists up to n approvals of a kind that a tenant waits for.
func (c *Catalog) ApprovalsWaiting(ctx context.Context, tenant backup.TenantID, kind backup.ApprovalKind, n int) ([]backup.Approval, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT `+approvalColumns+` FROM approval p WHERE p.tenant = $1 AND p.kind = $2 AND p.state = 'waiting' ORDER BY p.object LIMIT $3`,
		string(tenant), string(kind), n)
	all, err := collect(rows, err, scanApproval)
	if err != nil {
		return nil, fmt.Errorf("list approvals that are waited for: %w", err)
	}
	return all, nil
}

var approvalListFields = fields{
	filterID("id", "p.id", ""),
	filterEnum("state", "p.state", "waiting", "approved", "denied", "expired", "withdrawn", "voided"),
	filterTime("askedDateTime", "p.asked", true),
}

// ApprovalProperties are what approvals may be filtered and ordered by.
var ApprovalProperties = approvalListFields.properties()

// approvalsWithin are those of sessions that restore the scope's units and no others, and
// of its units.
var approvalsWithin = within{
	func(s scoped, arg func(any) string) (string, string) {
		return `SELECT y.id FROM (` + s.units() + `) AS x CROSS JOIN restore_artifact a CROSS JOIN approval y WHERE a.unit = x.id AND y.session = a.session
			UNION SELECT y.id FROM (` + s.units() + `) AS x CROSS JOIN approval y WHERE y.object = x.id`,
			`(p.session IS NULL OR ` + s.session("p.session", "''", "''") + `)`
	},
	func(s scoped, arg func(any) string) string {
		return `CASE WHEN p.session IS NULL THEN ` + s.hasUnit("p.object") + ` ELSE ` + s.session("p.session", "''", "''") + ` END`
	},
}

// Approvals lists a tenant's approvals, the newest first.
func (c *Catalog) Approvals(ctx context.Context, tenant backup.TenantID, page Page) (List[backup.Approval], error) {
	q := query{columns: approvalColumns, table: "approval p", tenant: tenant, scope: approvalsWithin, time: "p.asked", id: "p.id", newest: true, fields: approvalListFields,
		within: []equal{{"p.tenant", string(tenant)}}, indexes: []index{
			{"approval_page", []string{"p.tenant", "p.asked", "p.id"}},
			{"approval_state", []string{"p.tenant", "p.state", "p.asked", "p.id"}},
		}}
	l, err := list(ctx, c, q, page, scanApproval)
	if err != nil {
		return l, fmt.Errorf("list approvals: %w", err)
	}
	return l, nil
}

// Approve has what an approval is of be done: its jobs are enqueued with the decision. It
// may be repeated by whoever did it. ItemNotFound, AccessDenied for whoever had
// part in it, and ApprovalNotWaiting for one that was decided, or that is past its time,
// or of what is no more as it was asked for; that is ended then, and stays undone.
func (c *Catalog) Approve(ctx context.Context, tenant backup.TenantID, id backup.ApprovalID, comment string, by backup.Stamp) (backup.Approval, error) {
	return c.decide(ctx, tenant, id, backup.ApprovalApproved, comment, by)
}

// Deny has what an approval is of not be done. It may be repeated; it fails as Approve
// does, and is allowed to those who had part in it, too.
func (c *Catalog) Deny(ctx context.Context, tenant backup.TenantID, id backup.ApprovalID, comment string, by backup.Stamp) (backup.Approval, error) {
	return c.decide(ctx, tenant, id, backup.ApprovalDenied, comment, by)
}

func (c *Catalog) decide(ctx context.Context, tenant backup.TenantID, id backup.ApprovalID, to backup.ApprovalState, comment string, by backup.Stamp) (backup.Approval, error) {
	by = asStored(by)
	var a backup.Approval
	var refused *backup.Error // what is told, although what has changed stays so
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		refused = nil
		if a, err = c.readApproval(ctx, tx, tenant, id); err != nil {
			return err
		}
		units, err := c.unitsOfApproval(ctx, tx, &a)
		if err != nil {
			return err
		}
		AuditedUnits(ctx, units...)
		AuditedOf(ctx, a.Workload)
		auditedItem(ctx, a.What)
		before := a
		repeated, err := a.Decide(to, by, comment)
		if err != nil || repeated {
			return err
		}
		if a.Over(c.now()) {
			a = before
			refused = backup.Fail(backup.ApprovalNotWaiting, "Its time was over at "+a.Expires.UTC().Format("2006-01-02 15:04 MST")+", and nothing was done. Who still wants it asks again.").On("state")
			auditedItems(ctx, 1, 1, refused)
			return c.expireApproval(ctx, tx, &a)
		}
		if to == backup.ApprovalDenied {
			if err := settle(ctx, tx, &a); err != nil {
				return err
			}
			return c.unapproved(ctx, tx, &a, denied(&a))
		}
		void, err := c.carryOut(ctx, tx, &a, by)
		if err != nil {
			return err
		}
		if void == nil {
			return settle(ctx, tx, &a)
		}
		a = before
		refused = backup.Fail(backup.ApprovalNotWaiting, void.Message).On("state")
		auditedItems(ctx, 1, 1, refused)
		return c.end(ctx, tx, &a, backup.ApprovalVoided, backup.Stamp{At: by.At}, void)
	})
	if err == nil && refused != nil {
		err = refused
	}
	if err != nil {
		return backup.Approval{}, fmt.Errorf("decide approval %s: %w", id, err)
	}
	return a, nil
}

// denied is what a session says that was denied.
func denied(a *backup.Approval) *backup.Problem {
	text := "The restore in place was denied by " + a.Decided.By.Who()
	if a.Comment != "" {
		text += ", who says: " + a.Comment
	}
	return &backup.Problem{Code: backup.RestoreNotApproved, Message: strings.TrimRight(text, ".") + ". Nothing was changed."}
}

// expireApproval ends an approval whose time is over.
func (c *Catalog) expireApproval(ctx context.Context, tx *database.Tx, a *backup.Approval) error {
	return c.end(ctx, tx, a, backup.ApprovalExpired, asStored(backup.Stamp{At: c.now()}), &backup.Problem{Code: backup.RestoreNotApproved,
		Message: "Nobody approved the restore in place until " + a.Expires.UTC().Format("2006-01-02 15:04 MST") + ", so it was not begun, and nothing was changed. Restore again, and ask somebody to approve it."})
}

// ExpireApproval is the work of the job of an approval: it ends one that nobody has
// decided in time, and returns when that is, zero if never. jobs.ErrLost.
func (c *Catalog) ExpireApproval(ctx context.Context, j *jobs.Job) (next time.Time, err error) {
	err = c.tx(ctx, j.Tenant, func(tx *database.Tx) error {
		next = time.Time{}
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		a, err := c.readApproval(ctx, tx, j.Tenant, backup.ApprovalID(j.Key))
		if errors.Is(err, backup.ItemNotFound) {
			return nil
		}
		if err != nil || a.State != backup.ApprovalWaiting {
			return err
		}
		if !a.Over(c.now()) {
			next = a.Expires
			return nil
		}
		return c.expireApproval(ctx, tx, &a)
	})
	if err != nil {
		return next, fmt.Errorf("expire approval %s: %w", j.Key, err)
	}
	return next, nil
}

// carryOut does what an approval is of, or says why that is not what was asked for any
// more.
func (c *Catalog) carryOut(ctx context.Context, tx *database.Tx, a *backup.Approval, by backup.Stamp) (void *backup.Problem, err error) {
	switch a.Kind {
	case backup.ApprovalRestore:
		return c.restoreApproved(ctx, tx, a)
	case backup.ApprovalOffboard:
		return c.offboardApproved(ctx, tx, a, by)
	case backup.ApprovalRetention:
		return c.retentionApproved(ctx, tx, a, by)
	}
	return nil, fmt.Errorf("an approval is of the unknown kind %q", a.Kind)
}

// changed is what is said of something that is no more as it was when it was asked for.
func changed(thing string) *backup.Problem {
	return &backup.Problem{Code: backup.RestoreNotApproved, Message: thing + " is not as it was when the approval was asked for, so nothing was done. Look at how it is now, and ask again."}
}

// restoreApproved sets a session to work.
func (c *Catalog) restoreApproved(ctx context.Context, tx *database.Tx, a *backup.Approval) (*backup.Problem, error) {
	s, err := c.readSession(ctx, tx, a.Tenant, backup.SessionID(a.Object))
	if err != nil {
		return nil, err
	}
	now, err := hashSession(ctx, tx, &s)
	if err != nil {
		return nil, err
	}
	if now != a.Hash || s.Status != backup.SessionActivating {
		return changed("The session"), nil
	}
	if err := c.room(ctx, tx, a.Tenant); err != nil {
		return nil, err
	}
	return nil, c.begin(ctx, tx, &s)
}

// askRestore has a session wait for an approval if it restores anything in place, and
// reports whether it does. had are those who had part in it, besides who activates it.
func (c *Catalog) askRestore(ctx context.Context, tx *database.Tx, s *backup.Session, by backup.Stamp, had ...string) (bool, error) {
	if !c.rule(s.Tenant).RestoreInPlace {
		return false, nil
	}
	var inPlace bool
	err := tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM restore_artifact a WHERE a.session = $1 AND a.destination <> 'new')
			OR EXISTS (SELECT 1 FROM bulk_restore b WHERE b.session = $1 AND b.destination <> 'new')`, string(s.ID)).Scan(&inPlace)
	if err != nil {
		return false, fmt.Errorf("look whether a session restores in place: %w", err)
	}
	if !inPlace {
		return false, nil
	}
	a := &backup.Approval{Tenant: s.Tenant, Kind: backup.ApprovalRestore, Object: string(s.ID), Workload: s.Workload, Asked: by, Actors: append(had, by.By.Actor())}
	if a.Hash, err = hashSession(ctx, tx, s); err != nil {
		return false, err
	}
	if a.What, err = restoreInWords(ctx, tx, s); err != nil {
		return false, err
	}
	units, err := unitsOf(ctx, tx, s.ID)
	if err != nil {
		return false, err
	}
	s.Approval = a
	return true, c.ask(ctx, tx, a, struct{}{}, units...)
}

// A hasher hashes rows, each with where it ends.
type hasher struct{ hash.Hash }

func newHasher(of ...any) hasher { h := hasher{sha256.New()}; h.add(of...); return h }

func (h hasher) add(values ...any) {
	if err := json.NewEncoder(h).Encode(values); err != nil {
		panic(err) // of plain values
	}
}

func (h hasher) String() string { return hex.EncodeToString(h.Sum(nil)) }

// rows adds what a query yields, of texts and numbers.
func (h hasher) rows(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]string, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		h.add(values)
	}
	return rows.Err()
}

// hashSession is the hash of all that a session restores, and where to.
func hashSession(ctx context.Context, tx *database.Tx, s *backup.Session) (string, error) {
	h := newHasher(s.Tenant, s.ID, s.Workload, s.JobType)
	for _, text := range []string{
		`SELECT a.id, a.point, a.unit, a.drive, a.at, a.tree, a.destination, a.query, a.target, a.permissions FROM restore_artifact a WHERE a.session = $1 ORDER BY a.created, a.id`,
		`SELECT g.id, g.point, g.unit, g.item, g.name FROM granular_artifact g WHERE g.session = $1 ORDER BY g.created, g.id`,
		`SELECT b.id, b.destination, b.from_at, b.to_at, b.tags, b.oldest, l.addresses, l.ids FROM bulk_restore b JOIN bulk_restore_list l ON l.request = b.id WHERE b.session = $1`,
	} {
		rows, err := tx.QueryContext(ctx, text, string(s.ID))
		if err := h.rows(rows, err); err != nil {
			return "", fmt.Errorf("hash session %s: %w", s.ID, err)
		}
		h.add("end")
	}
	return h.String(), nil
}

// namedInWords is how many of the things that a session restores an approval names.
const namedInWords = 5

// restoreInWords says what a session restores in place.
func restoreInWords(ctx context.Context, tx *database.Tx, s *backup.Session) (string, error) {
	if s.JobType == backup.RestoreBulk {
		var name string
		var addresses, ids []string
		err := tx.QueryRowContext(ctx, `SELECT b.display_name, l.addresses, l.ids FROM bulk_restore b JOIN bulk_restore_list l ON l.request = b.id WHERE b.session = $1`,
			string(s.ID)).Scan(&name, fromJSON{&addresses}, fromJSON{&ids})
		if err != nil {
			return "", fmt.Errorf("read the request of session %s: %w", s.ID, err)
		}
		entries := append(addresses, ids...)
		return fmt.Sprintf("Restore in place, in bulk (%s): %s", name, named(len(entries), entries[:min(len(entries), namedInWords)])), nil
	}
	rows, err := tx.QueryContext(ctx, `
		SELECT `+unitName+`, a.at, a.query, a.search FROM restore_artifact a JOIN unit u ON u.id = a.unit`+ownersOfUnits+` WHERE a.session = $1 ORDER BY a.created, a.id LIMIT $2`,
		string(s.ID), namedInWords)
	first, err := collect(rows, err, func(r scanner) (text string, err error) {
		var at time.Time
		var query, search string
		err = r.Scan(&text, micros{&at}, &query, &search)
		if _, picked := backup.PickedOf(query); picked {
			text = fmt.Sprintf("%.300q", search) + " of the mailbox of " + text
		} else if query != "" {
			text = "what " + fmt.Sprintf("%.100q", query) + " finds in the mailbox of " + text
		}
		return text + " as of " + at.UTC().Format("2006-01-02 15:04 MST"), err
	})
	if err != nil {
		return "", fmt.Errorf("read what session %s restores: %w", s.ID, err)
	}
	return "Restore in place: " + named(s.Counts.Total, first), nil
}

// named are the first of n things.
func named(n int, first []string) string {
	text := strings.Join(first, ", ")
	if more := n - len(first); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}
