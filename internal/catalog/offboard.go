package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// offboardedShown is how long a unit can still be read when its backups are
// gone.
const offboardedShown = 30 * 24 * time.Hour

// OffboardUnit asks for the end of a unit's backups, which comes when the
// grace period is over. Where the tenant's rule says so it only has that wait for
// another person's approval, and the unit is as it was. ProtectionUnitNotFound,
// OperationNotAllowed; that also while points of it are under a legal hold.
func (c *Catalog) OffboardUnit(ctx context.Context, tenant backup.TenantID, id backup.UnitID, by backup.Stamp) (backup.Unit, error) {
	return c.moveUnit(ctx, tenant, id, by, "offboard", c.cfg.OffboardGrace, (*backup.Unit).Offboard)
}

// CancelOffboardUnit calls a unit's offboarding off, also one that is not approved yet. ProtectionUnitNotFound,
// OperationNotAllowed.
func (c *Catalog) CancelOffboardUnit(ctx context.Context, tenant backup.TenantID, id backup.UnitID, by backup.Stamp) (backup.Unit, error) {
	return c.moveUnit(ctx, tenant, id, by, "cancel offboarding of", 0, (*backup.Unit).CancelOffboard)
}

// moveUnit moves a unit, and has its offboard job look at it after a while.
func (c *Catalog) moveUnit(ctx context.Context, tenant backup.TenantID, id backup.UnitID, by backup.Stamp, what string, after time.Duration, move func(*backup.Unit, backup.Stamp) *backup.Error) (backup.Unit, error) {
	by = asStored(by)
	var u backup.Unit
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if u, err = c.readUnit(ctx, tx, tenant, id); err != nil {
			return err
		}
		AuditedUnits(ctx, id)
		before := u
		refused := move(&u, by)
		if c.rule(tenant).Retention {
			done, err := c.askOffboard(ctx, tx, &before, &u, refused, by)
			if err != nil || done {
				u = before
				return err
			}
		}
		if refused != nil {
			return refused
		}
		return c.writeMove(ctx, tx, &u, by.At.Add(after))
	})
	if err != nil {
		return backup.Unit{}, fmt.Errorf("%s unit %s: %w", what, id, err)
	}
	return u, nil
}

// writeMove stores a move of a unit, which its job looks at then.
func (c *Catalog) writeMove(ctx context.Context, tx *database.Tx, u *backup.Unit, then time.Time) error {
	if u.Status == backup.UnitOffboardRequested {
		held, err := c.underHold(ctx, tx, u.Tenant, u.ID)
		if err != nil {
			return err
		}
		if held {
			return backup.Fail(backup.OperationNotAllowed, "Backups of this unit are under a legal hold, so they cannot be offboarded. The operator of the server can end the hold.")
		}
	}
	err := c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Offboard, Key: string(u.ID), Tenant: u.Tenant, RunAt: then})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE unit SET status = $3, offboard_requested = $4, modified = $5, modified_by = $6 WHERE tenant = $1 AND id = $2`,
		string(u.Tenant), string(u.ID), string(u.Status), database.Micros(u.OffboardRequested), database.Micros(u.Modified.At), toJSON(u.Modified.By))
	return err
}

// askOffboard has the offboarding of a unit wait for an approval, or calls one off that
// waits, and reports whether it did. was is the unit, which is shown with the approval,
// and moved what it would become.
func (c *Catalog) askOffboard(ctx context.Context, tx *database.Tx, was, moved *backup.Unit, refused *backup.Error, by backup.Stamp) (done bool, err error) {
	waiting, err := waitingFor(ctx, tx, was.Tenant, backup.ApprovalOffboard, string(was.ID))
	switch {
	case err != nil:
		return false, err
	case refused != nil && waiting != nil: // the cancelling of what was not begun
		_, err := c.withdraw(ctx, tx, was.Tenant, backup.ApprovalOffboard, string(was.ID), by)
		return true, err
	case refused != nil || moved.Status != backup.UnitOffboardRequested:
		return false, nil
	case waiting != nil: // it was asked for before
		was.Approval = waiting
		return true, nil
	}
	name := cmp.Or(was.Address, was.Name, string(was.Subject))
	was.Approval = &backup.Approval{Tenant: was.Tenant, Kind: backup.ApprovalOffboard, Object: string(was.ID), Workload: was.Workload, Asked: by,
		What: "Offboard, which destroys all backups of the " + was.Workload.Thing() + " of " + name, Hash: hashUnit(was), Actors: []string{by.By.Actor()}}
	return true, c.ask(ctx, tx, was.Approval, struct{}{}, was.ID)
}

// hashUnit is the hash of what an offboarding is of: who was protected again since, and
// removed again, is another matter.
func hashUnit(u *backup.Unit) string {
	return newHasher(u.Tenant, u.ID, u.Subject, u.Policy, u.Status, database.Micros(u.Modified.At)).String()
}

// offboardApproved begins the offboarding of a unit.
func (c *Catalog) offboardApproved(ctx context.Context, tx *database.Tx, a *backup.Approval, by backup.Stamp) (*backup.Problem, error) {
	u, err := c.readUnit(ctx, tx, a.Tenant, backup.UnitID(a.Object))
	if errors.Is(err, backup.ProtectionUnitNotFound) {
		return changed("The unit"), nil
	}
	if err != nil {
		return nil, err
	}
	if hashUnit(&u) != a.Hash {
		return changed("The unit"), nil
	}
	if err := u.Offboard(backup.Stamp{By: a.Asked.By, At: by.At}); err != nil {
		return changed("The unit"), nil
	}
	return nil, c.writeMove(ctx, tx, &u, by.At.Add(c.cfg.OffboardGrace))
}

func (c *Catalog) readUnit(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.UnitID) (backup.Unit, error) {
	u, err := scanUnitWithOwner(db.QueryRowContext(ctx,
		`SELECT `+unitColumns+`, `+ownerColumns+` FROM `+unitsWithOwners+` WHERE u.tenant = $1 AND u.id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return u, unitNotFound()
	}
	if err != nil {
		return u, fmt.Errorf("read unit %s: %w", id, err)
	}
	return u, c.onlyUnit(ctx, db, tenant, id, unitNotFound())
}

// SettleOffboarding does what is due of the offboarding of the unit that the
// job names, and returns when something is due again: zero if never. A unit
// that was called back becomes unprotected. When the grace period is over, and
// nothing is being restored from it, the unit is offboarded and its points are
// gone, for good; its drives are then to be destroyed. When that was long ago
// the unit is forgotten. It may be done again. jobs.ErrLost.
func (c *Catalog) SettleOffboarding(ctx context.Context, j *jobs.Job) (next time.Time, err error) {
	id, now := j.Key, c.now().UTC()
	err = c.tx(ctx, j.Tenant, func(tx *database.Tx) error {
		next = time.Time{}
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		u, err := c.readUnit(ctx, tx, j.Tenant, backup.UnitID(id))
		if errors.Is(err, backup.ProtectionUnitNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		switch u.Status {
		case backup.UnitCancelOffboardRequested:
			_, err = tx.ExecContext(ctx, `UPDATE unit SET status = 'unprotected', offboard_requested = 0 WHERE id = $1`, id)
			return err
		case backup.UnitOffboarded:
			if next = u.Offboarded.Add(offboardedShown); next.After(now) {
				return nil
			}
			var drives bool
			if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM drive_state WHERE unit = $1)`, id).Scan(&drives); err != nil {
				return err
			}
			if drives { // they are destroyed first
				return nil
			}
			next = time.Time{}
			_, err = tx.ExecContext(ctx, `DELETE FROM unit WHERE id = $1`, id)
			return err
		case backup.UnitOffboardRequested:
		default:
			return nil
		}
		if next = u.OffboardRequested.Add(c.cfg.OffboardGrace); next.After(now) {
			return nil
		}
		var restoring bool
		err = tx.QueryRowContext(ctx, `
			SELECT EXISTS (SELECT 1 FROM restore_artifact WHERE tenant = $1 AND unit = $2 AND status IN ('scheduled', 'inProgress'))
				OR EXISTS (SELECT 1 FROM granular_artifact WHERE tenant = $1 AND unit = $2 AND status IN ('scheduled', 'inProgress'))`,
			string(j.Tenant), id).Scan(&restoring)
		if err != nil {
			return fmt.Errorf("look for restores: %w", err)
		}
		if restoring {
			next = now.Add(time.Minute)
			return nil
		}
		if held, err := c.underHold(ctx, tx, j.Tenant, u.ID); err != nil || held {
			next = now.Add(24 * time.Hour) // until the hold has ended
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM restore_point WHERE tenant || '' = $1 AND unit = $2`, string(j.Tenant), id); err != nil {
			return fmt.Errorf("delete points: %w", err)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM browse_session WHERE tenant || '' = $1 AND unit = $2`, string(j.Tenant), id); err != nil {
			return fmt.Errorf("delete browse sessions: %w", err)
		}
		next = now.Add(offboardedShown)
		if err := c.record(ctx, tx, backup.Activity{Tenant: j.Tenant, Workload: u.Workload, Operation: backup.UnitOffboardedActivity, Object: id}); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE unit SET status = 'offboarded', problem = NULL, offboarded = $2 WHERE id = $1`, id, database.Micros(now))
		return err
	})
	if err != nil {
		return next, fmt.Errorf("settle the offboarding of unit %s: %w", id, err)
	}
	return next, nil
}

// DrivesToDestroy lists the drives that an offboarded unit has left in the
// vault. A new unit of the same owner commits nothing before they are gone.
func (c *Catalog) DrivesToDestroy(ctx context.Context, tenant backup.TenantID, id backup.UnitID) ([]DriveRoot, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT s.unit, s.drive, s.root, s.vault FROM drive_state s JOIN unit u ON u.id = s.unit AND u.status = 'offboarded'
		WHERE s.tenant || '' = $1 AND s.unit = $2 ORDER BY s.drive`, string(tenant), string(id))
	all, err := collect(rows, err, scanDriveRoot)
	if err != nil {
		return nil, fmt.Errorf("list drives of unit %s: %w", id, err)
	}
	return all, nil
}

// ForgetDrive drops where an offboarded unit's drive stood: the vault has it no
// more. jobs.ErrLost.
func (c *Catalog) ForgetDrive(ctx context.Context, j *jobs.Job, d DriveRoot) error {
	err := c.forgetHistories(ctx, j, d.Unit)
	if err == nil {
		err = c.dropListNumbers(ctx, j, `n.unit = $1`, string(d.Unit))
	}
	if err != nil {
		return fmt.Errorf("forget drive %s: %w", d.Drive, err)
	}
	err = c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM damage WHERE tenant = $1 AND unit = $2 AND drive = $3`,
			string(j.Tenant), string(d.Unit), string(d.Drive))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM container_state WHERE tenant || '' = $1 AND unit = $2 AND drive = $3`,
			string(j.Tenant), string(d.Unit), string(d.Drive))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM drive_state WHERE tenant = $1 AND unit = $2 AND drive = $3`,
			string(j.Tenant), string(d.Unit), string(d.Drive))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget drive %s: %w", d.Drive, err)
	}
	return nil
}
