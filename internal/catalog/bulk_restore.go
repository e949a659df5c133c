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

const bulkRestoreColumns = `b.id, b.tenant, (SELECT s.workload FROM restore_session s WHERE s.id = b.session), b.session, b.display_name, b.destination, b.from_at, b.to_at, b.tags, b.oldest, b.status, b.problem,
	b.created, b.created_by, b.modified, b.modified_by`

func bulkRestoreFields(b *backup.BulkRequest) []any {
	return []any{&b.ID, &b.Tenant, &b.Workload, &b.Session, &b.DisplayName, &b.Destination, micros{&b.From}, micros{&b.To}, &b.Tags, &b.Oldest, &b.Status,
		fromJSON{&b.Problem}, micros{&b.Created.At}, fromJSON{&b.Created.By}, micros{&b.Modified.At}, fromJSON{&b.Modified.By}}
}

func scanBulkRestore(r scanner) (b backup.BulkRequest, err error) {
	return b, r.Scan(bulkRestoreFields(&b)...)
}

// CreateBulkRestore gives a session, which must be an empty draft, its bulk
// restore request: n, of which Session, the lists and what is wanted are set.
// RestoreSessionNotFound, RestoreSessionActionNotAllowed, and
// BulkRestoreInvalidCreate for a second request.
func (c *Catalog) CreateBulkRestore(ctx context.Context, tenant backup.TenantID, n backup.BulkRequest, by backup.Stamp) (backup.BulkRequest, error) {
	if err := checkName(n.DisplayName); err != nil {
		return n, err
	}
	by = asStored(by)
	n.ID, n.Tenant, n.Status, n.Created, n.Modified = backup.NewID[backup.BulkRequestID](), tenant, backup.BulkRequestActive, by, by
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		s, err := c.readSession(ctx, tx, tenant, n.Session)
		if err != nil {
			return err
		}
		n.Workload = s.Workload
		if err := s.TakeBulk(); err != nil {
			return err
		}
		s.Modified = by
		if err := editSession(ctx, tx, s); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO bulk_restore (id, tenant, session, display_name, destination, from_at, to_at, tags, oldest, status, created, created_by, modified, modified_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
			string(n.ID), string(tenant), string(n.Session), n.DisplayName, string(n.Destination), database.Micros(n.From), database.Micros(n.To),
			string(n.Tags), bit(n.Oldest), string(n.Status), database.Micros(by.At), toJSON(by.By), database.Micros(by.At), toJSON(by.By))
		if err != nil {
			return fmt.Errorf("insert request: %w", err)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO bulk_restore_list (request, addresses, ids) VALUES ($1, $2, $3)`,
			string(n.ID), jsonList(n.Addresses), jsonList(n.IDs))
		if err != nil {
			return fmt.Errorf("insert request's lists: %w", err)
		}
		return nil
	})
	if err != nil {
		return backup.BulkRequest{}, fmt.Errorf("create bulk restore request: %w", err)
	}
	return n, nil
}

func bulkRestoreNotFound() error {
	return backup.Fail(backup.BulkRestoreArtifactsNotFound, "There is no such bulk restore request in this session.").On("id")
}

// BulkRestore returns a session's bulk restore request without its lists.
// RestoreSessionNotFound, BulkRestoreArtifactsNotFound.
func (c *Catalog) BulkRestore(ctx context.Context, tenant backup.TenantID, session backup.SessionID, id backup.BulkRequestID) (backup.BulkRequest, error) {
	if _, err := c.Session(ctx, tenant, session); err != nil {
		return backup.BulkRequest{}, err
	}
	return readBulkRestore(ctx, c.db.Read(), tenant, session, id)
}

func readBulkRestore(ctx context.Context, db database.Queryer, tenant backup.TenantID, session backup.SessionID, id backup.BulkRequestID) (backup.BulkRequest, error) {
	b, err := scanBulkRestore(db.QueryRowContext(ctx, `
		SELECT `+bulkRestoreColumns+` FROM bulk_restore b WHERE b.tenant = $1 AND b.session = $2 AND b.id = $3`,
		string(tenant), string(session), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return b, bulkRestoreNotFound()
	}
	if err != nil {
		return b, fmt.Errorf("read bulk restore request %s: %w", id, err)
	}
	return b, nil
}

// BulkRestores lists a session's bulk restore requests, of which there is one
// at most, without their lists. RestoreSessionNotFound.
func (c *Catalog) BulkRestores(ctx context.Context, tenant backup.TenantID, session backup.SessionID, page Page) (List[backup.BulkRequest], error) {
	if _, err := c.Session(ctx, tenant, session); err != nil {
		return List[backup.BulkRequest]{}, err
	}
	q := query{columns: bulkRestoreColumns, table: "bulk_restore b", tenant: tenant, scope: ofParent, time: "b.created", id: "b.id",
		within: []equal{{"b.session", string(session)}}}
	l, err := list(ctx, c, q, page, scanBulkRestore)
	if err != nil {
		return l, fmt.Errorf("list bulk restore requests: %w", err)
	}
	return l, nil
}

// DeleteBulkRestore deletes a bulk restore request that is completed; what it
// restored stays in the session. RestoreSessionNotFound,
// BulkRestoreArtifactsNotFound, InvalidBulkRequestDeletion.
func (c *Catalog) DeleteBulkRestore(ctx context.Context, tenant backup.TenantID, session backup.SessionID, id backup.BulkRequestID) error {
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		if _, err := c.readSession(ctx, tx, tenant, session); err != nil {
			return err
		}
		b, err := readBulkRestore(ctx, tx, tenant, session, id)
		if err != nil {
			return err
		}
		if err := b.Deletable(); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM bulk_restore WHERE id = $1`, string(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete bulk restore request: %w", err)
	}
	return nil
}

// BulkRestoreForWork returns the request that a bulkRestore job names by its
// key, with its lists. BulkRestoreArtifactsNotFound.
func (c *Catalog) BulkRestoreForWork(ctx context.Context, tenant backup.TenantID, id backup.BulkRequestID) (backup.BulkRequest, error) {
	var b backup.BulkRequest
	err := c.db.Read().QueryRowContext(ctx, `
		SELECT `+bulkRestoreColumns+`, l.addresses, l.ids FROM bulk_restore b JOIN bulk_restore_list l ON l.request = b.id
		WHERE b.tenant = $1 AND b.id = $2`,
		string(tenant), string(id)).Scan(append(bulkRestoreFields(&b), fromJSON{&b.Addresses}, fromJSON{&b.IDs})...)
	if errors.Is(err, sql.ErrNoRows) {
		return b, bulkRestoreNotFound()
	}
	if err != nil {
		return b, fmt.Errorf("read bulk restore request %s: %w", id, err)
	}
	return b, nil
}

// ResolveBulkRestore is the work of a bulkRestore job: it finds the owners
// that the request names in the mirror of the directory and among the units,
// and for each the restore point that fits, and sets all of them to be
// restored. The request then is finished, with one detail for each entry that
// has no such point. The session is active, or failed if no entry has one.
//
// All of it is one transaction. A request that is finished is left as it is.
// jobs.ErrLost.
func (c *Catalog) ResolveBulkRestore(ctx context.Context, j *jobs.Job, b backup.BulkRequest) error {
	entries := entriesOf(asJob(b))
	err := c.tx(ctx, b.Tenant, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		b, err := readBulkRestore(ctx, tx, b.Tenant, b.Session, b.ID)
		if err != nil || b.Status != backup.BulkRequestActive {
			return err
		}
		s, err := c.readSession(ctx, tx, b.Tenant, b.Session)
		if err != nil || s.Status != backup.SessionActivating {
			return err
		}
		points, err := c.pointsOf(ctx, tx, b, entries)
		if err != nil {
			return err
		}
		d := &artifactDelta{}
		taken := map[backup.PointID]bool{}
		var problem *backup.Problem
		owned := "owner's drive"
		if b.Workload == backup.SharePoint {
			owned = "site"
		}
		for n, e := range entries {
			p, ok := points[n]
			switch {
			case !ok:
				if problem == nil {
					problem = &backup.Problem{Code: backup.BulkRestoreNotResolved}
				}
				problem.Details = append(problem.Details, backup.Detail{Code: backup.UserNotBackedUp, Target: e.sent,
					Message: "No restore point of this " + owned + " fits what was asked for."})
			case !taken[p.ID]: // an owner may be named twice
				taken[p.ID] = true
				d.added = append(d.added, backup.Artifact{ID: backup.NewID[backup.ArtifactID](), Session: b.Session,
					Point: p, Destination: b.Destination, Created: c.now()})
			}
		}
		if err := d.write(ctx, tx); err != nil {
			return err
		}
		if err := c.scheduleArtifacts(ctx, tx, &s); err != nil {
			return err
		}
		return c.resolved(ctx, tx, b, len(d.added), len(entries), problem)
	})
	if err != nil {
		return fmt.Errorf("resolve bulk restore request %s: %w", b.ID, err)
	}
	return nil
}

// asJob is a request's lists as those of a bulk addition job, by which owners
// are named in the same way.
func asJob(b backup.BulkRequest) backup.BulkJob {
	return backup.BulkJob{Tenant: b.Tenant, Workload: b.Workload, Addresses: b.Addresses, IDs: b.IDs}
}

// UnresolvedBulkRestore is UnresolvedBulk for a bulk restore request.
func (c *Catalog) UnresolvedBulkRestore(ctx context.Context, b backup.BulkRequest) ([]string, error) {
	return c.UnresolvedBulk(ctx, asJob(b))
}

// resolved writes what became of a request of so many entries, and moves its
// session on.
func (c *Catalog) resolved(ctx context.Context, tx *database.Tx, b backup.BulkRequest, found, entries int, problem *backup.Problem) error {
	now := database.Micros(c.now())
	status, session, ended := backup.BulkRequestCompleted, backup.SessionActive, int64(0)
	if problem != nil {
		status = backup.BulkRequestCompletedWithErrors
		problem.Message = fmt.Sprintf("%d of %d entries have no restore point that fits; the others are restored. Each detail names one. "+
			"Check the entry, the period and the tags, and send it again in another session.", len(problem.Details), entries)
	}
	var failure *backup.Problem
	if found == 0 {
		session, ended = backup.SessionFailed, now
		failure = &backup.Problem{Code: backup.BulkRestoreNotResolved,
			Message: "No entry of the bulk restore request has a restore point that fits, so nothing is restored. See the request's error."}
		if err := c.recordEnd(ctx, tx, b.Tenant, b.Workload, b.Session, session, false, failure); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE bulk_restore SET status = $2, problem = $3, modified = $4 WHERE id = $1`,
		string(b.ID), string(status), problemJSON(problem), now)
	if err != nil {
		return fmt.Errorf("finish request: %w", err)
	}
	_, err = tx.ExecContext(ctx, `UPDATE restore_session SET total = $2, status = $3, completed = $4, problem = coalesce(CAST($5 AS TEXT), problem) WHERE id = $1`,
		string(b.Session), found, string(session), ended, problemJSON(failure))
	if err != nil {
		return fmt.Errorf("move session: %w", err)
	}
	return nil
}

// pointsOf returns the point to restore for each entry that has one.
func (c *Catalog) pointsOf(ctx context.Context, tx *database.Tx, b backup.BulkRequest, entries []entry) (map[int]backup.Point, error) {
	type found struct {
		n    int
		unit backup.UnitID
	}
	var all []found
	ask := func(owner string, keys []string) error {
		if keys == nil {
			return nil
		}
		rows, err := tx.QueryContext(ctx, `
			WITH o AS MATERIALIZED (SELECT e.n, `+owner+` AS owner FROM `+tx.Dialect().JSONEach("$2")+` AS e WHERE e.value <> '')
			SELECT o.n, u.id FROM o CROSS JOIN unit u
			WHERE u.tenant = $1 AND u.workload = $3 AND u.subject = o.owner AND u.status <> 'offboarded' ORDER BY o.n`,
			string(b.Tenant), jsonList(keys), string(b.Workload))
		more, err := collect(rows, err, func(r scanner) (f found, err error) { return f, r.Scan(&f.n, &f.unit) })
		all = append(all, more...)
		return err
	}
	addresses, ids := keyLists(entries)
	if err := ask(ownerOfAddress, addresses); err != nil {
		return nil, fmt.Errorf("resolve addresses: %w", err)
	}
	// Whoever the directory no longer knows may still have a unit.
	if err := ask(`e.value`, ids); err != nil {
		return nil, fmt.Errorf("resolve ids: %w", err)
	}
	search := PointSearch{From: b.From, To: b.To}
	search.Tags, search.Oldest = b.Tags.Search(b.Oldest)
	for _, f := range all {
		search.Units = append(search.Units, f.unit)
	}
	byUnit, err := c.onePoint(ctx, tx, b.Tenant, search)
	if err != nil {
		return nil, fmt.Errorf("find points: %w", err)
	}
	points := make(map[int]backup.Point, len(entries))
	for _, f := range all {
		if p, ok := byUnit[f.unit]; ok {
			points[f.n] = p
		}
	}
	return points, nil
}
