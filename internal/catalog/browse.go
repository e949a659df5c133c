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

var browseColumns = `b.id, b.tenant, b.owner, b.point, b.tenant, b.unit, b.drive, b.at, b.tree, b.bytes, b.web_url, b.status, b.problem, b.created, b.expires, b.workload,
	coalesce((SELECT r.unread FROM restore_point r WHERE r.id = ` + periodOf("b.point") + `), 0), ` + pointNow("b")

func scanBrowseSession(r scanner) (b backup.BrowseSession, err error) {
	return b, r.Scan(&b.ID, &b.Tenant, &b.Owner, &b.Point.ID, &b.Point.Tenant, &b.Point.Unit, &b.Point.Drive, micros{&b.Point.At}, &b.Point.Tree,
		&b.Point.Bytes, &b.WebURL, &b.Status, fromJSON{&b.Problem}, micros{&b.Created}, micros{&b.Expires}, &b.Workload,
		&b.Point.Unread, micros{&b.Point.Verified}, &b.Point.Lost)
}

// CreateBrowseSession makes a session that looks into a restore point, which
// is there to be browsed at once. InvalidRestorePoint, also of a point of another
// workload.
func (c *Catalog) CreateBrowseSession(ctx context.Context, tenant backup.TenantID, workload backup.Workload, point backup.PointID, by backup.Stamp) (backup.BrowseSession, error) {
	by = asStored(by)
	b := backup.BrowseSession{
		ID: backup.NewID[backup.BrowseSessionID](), Tenant: tenant, Status: backup.BrowseCreated,
		Created: by.At, Expires: by.At.Add(backup.BrowseLife),
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		points, err := c.pointsByID(ctx, tx, tx.Dialect(), tenant, []backup.PointID{point}, by.At)
		if err != nil {
			return fmt.Errorf("read point: %w", err)
		}
		there := false
		if b.Point, there = points[point]; !there {
			return invalidPoint(point)
		}
		if err := b.Point.Browsable(); err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `
			SELECT u.subject, u.workload, coalesce((SELECT s.web_url FROM drive_state s WHERE s.unit = u.id AND s.drive = $3), '')
			FROM unit u WHERE u.tenant = $1 AND u.id = $2`,
			string(tenant), string(b.Point.Unit), string(b.Point.Drive)).Scan(&b.Owner, &b.Workload, &b.WebURL)
		if err != nil {
			return fmt.Errorf("read the point's owner: %w", err)
		}
		if b.Workload != workload {
			return invalidPoint(point)
		}
		audited(ctx, b.ID)
		AuditedUnits(ctx, b.Point.Unit)
		_, err = tx.ExecContext(ctx, `
			INSERT INTO browse_session (id, tenant, owner, point, unit, drive, at, tree, bytes, web_url, status, created, expires, workload)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
			string(b.ID), string(tenant), string(b.Owner), string(b.Point.ID), string(b.Point.Unit), string(b.Point.Drive),
			database.Micros(b.Point.At), b.Point.Tree, b.Point.Bytes, b.WebURL, string(b.Status), database.Micros(b.Created), database.Micros(b.Expires), string(b.Workload))
		return err
	})
	if err != nil {
		return backup.BrowseSession{}, fmt.Errorf("create browse session: %w", err)
	}
	return b, nil
}

// BrowseSession returns a browse session whose time is not over, or
// ItemNotFound.
func (c *Catalog) BrowseSession(ctx context.Context, tenant backup.TenantID, id backup.BrowseSessionID) (backup.BrowseSession, error) {
	b, err := scanBrowseSession(c.db.Read().QueryRowContext(ctx, `
		SELECT `+browseColumns+` FROM browse_session b WHERE b.tenant = $1 AND b.id = $2 AND b.expires > $3`,
		string(tenant), string(id), database.Micros(c.now())))
	if errors.Is(err, sql.ErrNoRows) {
		return b, browseNotFound()
	}
	if err != nil {
		return b, fmt.Errorf("read browse session %s: %w", id, err)
	}
	return b, c.onlyUnit(ctx, c.db.Read(), tenant, b.Point.Unit, browseNotFound())
}

func browseNotFound() error {
	return backup.Fail(backup.ItemNotFound, "There is no such browse session, or its 72 hours are over. Create another for the restore point.").On("id")
}

// BrowseSessions lists a tenant's browse sessions whose time is not over.
func (c *Catalog) BrowseSessions(ctx context.Context, tenant backup.TenantID, page Page) (List[backup.BrowseSession], error) {
	q := query{columns: browseColumns, table: "browse_session b", tenant: tenant, scope: browsesWithin, time: "b.created", id: "b.id", fields: browseFields,
		within: []equal{{"b.tenant", string(tenant)}}, indexes: []index{
			{"browse_session_page", []string{"b.tenant", "b.created", "b.id"}},
			{"browse_session_workload", []string{"b.tenant", "b.workload", "b.created", "b.id"}},
		}}
	q.of("b.workload", page.Workload)
	q.and("b.expires > " + q.arg(database.Micros(c.now())))
	l, err := list(ctx, c, q, page, scanBrowseSession)
	if err != nil {
		return l, fmt.Errorf("list browse sessions: %w", err)
	}
	return l, nil
}

// DeleteBrowseSession ends a browse session. What was put into restore sessions
// from it and is not at work yet can then not be restored. ItemNotFound.
func (c *Catalog) DeleteBrowseSession(ctx context.Context, tenant backup.TenantID, id backup.BrowseSessionID) error {
	if scopeOf(ctx) != nil { // whose it is never changes
		if _, err := c.BrowseSession(ctx, tenant, id); err != nil {
			return err
		}
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `DELETE FROM browse_session WHERE tenant = $1 AND id = $2 AND expires > $3`,
			string(tenant), string(id), database.Micros(c.now())))
		if err == nil && n == 0 {
			return browseNotFound()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete browse session: %w", err)
	}
	return nil
}

// ExpireBrowseSessions removes the browse sessions of the job's tenant whose
// time is over. jobs.ErrLost.
func (c *Catalog) ExpireBrowseSessions(ctx context.Context, j *jobs.Job) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM browse_session WHERE tenant = $1 AND expires <= $2`, string(j.Tenant), database.Micros(c.now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("expire browse sessions: %w", err)
	}
	return nil
}
