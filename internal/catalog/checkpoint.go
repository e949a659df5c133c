package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// UnitForRestore returns a unit and where its drive stands, as UnitForBackup
// does, whether or not the unit is to be backed up: a restore first keeps what
// it is about to change. ProtectionUnitNotFound.
func (c *Catalog) UnitForRestore(ctx context.Context, tenant backup.TenantID, id backup.UnitID) (backup.Unit, DriveState, error) {
	var s DriveState
	u, err := c.Unit(ctx, tenant, id)
	if err != nil {
		return u, s, err
	}
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT drive, root, tree, cursor, pending FROM drive_state
		WHERE tenant = $1 AND unit = $2 ORDER BY committed DESC LIMIT 1`,
		string(tenant), string(id)).Scan(&s.Drive, &s.Root, &s.Tree, &s.Cursor, fromJSON{&s.Pending})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return u, s, fmt.Errorf("read drive of unit %s: %w", id, err)
	}
	return u, s, nil
}

// KeepPoint is CommitPoint for a run that belongs to a restore: it also holds
// for a unit that is not to be backed up, which it leaves as it is.
func (c *Catalog) KeepPoint(ctx context.Context, j *jobs.Job, m Commit) (backup.Point, error) {
	p := m.point(j)
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		err := settleUnit(ctx, tx, j.Tenant, m.Unit, backup.UnitProtected, m.Problem)
		if err != nil && !errors.Is(err, ErrNotWanted) {
			return err
		}
		if err := moveRoot(ctx, tx, &p, m, database.Micros(c.now())); err != nil {
			return err
		}
		return insertPoint(ctx, tx, &p)
	})
	if err != nil {
		return backup.Point{}, fmt.Errorf("keep point of unit %s: %w", m.Unit, err)
	}
	return p, nil
}

// Checkpoint makes safe how far a run of a backup has come: the next run starts
// from m.State. There is no point, and the unit stays as it is. The tree is to
// be trimmed once another has taken its place. jobs.ErrLost, ErrMoved.
func (c *Catalog) Checkpoint(ctx context.Context, j *jobs.Job, m Commit) error {
	p := m.point(j)
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		if err := moveRoot(ctx, tx, &p, m, database.Micros(c.now())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE drive_state SET trim = 1 WHERE unit = $1 AND drive = $2 AND tenant = $3`,
			string(m.Unit), string(m.State.Drive), string(j.Tenant))
		return err
	})
	if err != nil {
		return fmt.Errorf("checkpoint of unit %s: %w", m.Unit, err)
	}
	return nil
}

// NoteArtifact records where an artifact is about to be restored to, before
// that place is made, so that a restore that is begun anew goes on there.
// jobs.ErrLost.
func (c *Catalog) NoteArtifact(ctx context.Context, j *jobs.Job, id backup.ArtifactID, r Restored) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE restore_artifact SET site_id = $3, site_name = $4, site_web_url = $5 WHERE tenant = $1 AND id = $2`,
			string(j.Tenant), string(id), r.SiteID, r.SiteName, r.SiteWebURL)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the place of artifact %s: %w", id, err)
	}
	return nil
}

// point returns m.Point as it is to be stored.
func (m Commit) point(j *jobs.Job) backup.Point {
	p := m.Point
	p.Tenant, p.Unit, p.Drive = j.Tenant, m.Unit, m.State.Drive
	if p.ID == "" {
		p.ID = backup.NewID[backup.PointID]()
	}
	p.At = p.At.UTC().Truncate(time.Microsecond) // as it is stored
	return p
}
