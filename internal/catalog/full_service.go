package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A policy that protects all there is of a workload takes in what the mirror of the
// tenant's directory has, but for what is excluded and what another policy holds. It
// holds its units as a dynamic rule would.

// allJob is the work that keeps such a policy up with the directory.
func allJob(p backup.Policy) jobs.Spec {
	return jobs.Spec{Kind: jobs.All, Key: string(p.ID), Tenant: p.Tenant}
}

// mayProtectAll reports, as an error, why p may not protect all there is.
func (c *Catalog) mayProtectAll(ctx context.Context, tx *database.Tx, p *backup.Policy) error {
	var another bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM policy WHERE tenant = $1 AND workload = $2 AND full_service = 1)`,
		string(p.Tenant), string(p.Workload)).Scan(&another)
	if err != nil {
		return fmt.Errorf("look for a policy of all there is: %w", err)
	}
	if another {
		return backup.Fail(backup.PolicyCreationNotAllowed, "Another policy protects all there is of this workload already, and there can be one. Use that one, or delete it first.").On("protectionMode")
	}
	return nil
}

// holdAll makes sure that j still has work to do, and returns its policy.
func (c *Catalog) holdAll(ctx context.Context, tx *database.Tx, j *jobs.Job) (*backup.Policy, error) {
	if err := j.Hold(ctx, tx); err != nil {
		return nil, err
	}
	p, err := c.readPolicy(ctx, tx, j.Tenant, backup.PolicyID(j.Key))
	return &p, err
}

// lookedAtOnce is how much of the mirror of the directory EnrollAll looks at together.
const lookedAtOnce = 1000

// EnrollAll is a part of the work of a job of all there is: it brings into the policy
// what the mirror of the directory has and no policy holds. What is excluded stays
// out, as do guests, who have no drive and no mailbox here, and what is on its way to
// be offboarded. It returns how many came in. It takes a transaction for each thousand
// in which there are any, and may be called again after any of them. PolicyNotFound,
// jobs.ErrLost.
func (c *Catalog) EnrollAll(ctx context.Context, j *jobs.Job, p backup.Policy) (joined int, err error) {
	type looked struct {
		subject backup.SubjectID
		wanted  bool
	}
	for after := ""; ; {
		// What is asked of a unit is no part of how it is found, so that PostgreSQL takes
		// the index by subjects, whatever it knows of the table.
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT c.id, CASE WHEN c.site = $2 AND c.address_key NOT LIKE '%#ext#%' AND c.excluded IS NULL AND coalesce(c.held, 0) = 0 THEN 1 ELSE 0 END
			FROM (SELECT d.id, d.site, d.address_key,
					(SELECT x.subject FROM exclusion x WHERE x.subject = d.id AND x.tenant || '' = $1 AND x.workload || '' = $4) AS excluded,
					(SELECT CASE WHEN o.status IN ('offboardRequested', 'cancelOffboardRequested') OR o.policy <> '' AND (o.policy <> $5 OR o.status <> 'removeRequested') THEN 1 ELSE 0 END
					FROM unit o WHERE o.tenant = $1 AND o.workload = $4 AND o.subject = d.id AND o.status <> 'offboarded') AS held
				FROM subject d WHERE d.tenant = $1 AND d.id > $3 ORDER BY d.id LIMIT $6) AS c ORDER BY c.id`,
			string(p.Tenant), bit(p.Workload == backup.SharePoint), after, string(p.Workload), string(p.ID), lookedAtOnce)
		part, err := collect(rows, err, func(r scanner) (l looked, err error) { return l, r.Scan(&l.subject, &l.wanted) })
		if err != nil {
			return joined, fmt.Errorf("look for what no policy holds: %w", err)
		}
		var subjects []backup.SubjectID
		for _, l := range part {
			if l.wanted {
				subjects = append(subjects, l.subject)
			}
		}
		if len(subjects) > 0 {
			n := 0
			err := c.tx(ctx, p.Tenant, func(tx *database.Tx) (err error) {
				n, err = c.enrollPart(ctx, tx, j, subjects)
				return err
			})
			if err != nil {
				return joined, fmt.Errorf("bring all there is into policy %s: %w", p.ID, err)
			}
			joined += n
		}
		if len(part) < lookedAtOnce {
			return joined, nil
		}
		after = string(part[len(part)-1].subject)
	}
}

func (c *Catalog) enrollPart(ctx context.Context, tx *database.Tx, j *jobs.Job, subjects []backup.SubjectID) (int, error) {
	p, err := c.holdAll(ctx, tx, j)
	if err != nil {
		return 0, err
	}
	m, err := readMembership(ctx, tx, p, asStored(backup.Stamp{By: p.Created.By, At: c.now()}), subjects, nil)
	if err != nil {
		return 0, err
	}
	if err := m.heedExclusions(ctx, tx, subjects); err != nil {
		return 0, err
	}
	m.source = backup.SourceDynamicRule
	for _, s := range subjects {
		_, _ = m.add(s) // what was taken elsewhere meanwhile stays there
	}
	n := len(m.fresh) + len(m.changed)
	if n == 0 {
		return 0, nil
	}
	if err := c.record(ctx, tx, backup.Activity{Tenant: p.Tenant, Workload: p.Workload, Operation: backup.AllProtectedActivity, Target: fmt.Sprintf("%d joined", n), Object: string(p.ID)}); err != nil {
		return 0, err
	}
	return n, c.bringIn(ctx, tx, m)
}

// NoteAbsent is another part of that work: it notes which units of the policy are of
// what the mirror of the directory does not have any more. It returns how many there
// are.
func (c *Catalog) NoteAbsent(ctx context.Context, j *jobs.Job, p backup.Policy) (absent int, err error) {
	err = c.tx(ctx, p.Tenant, func(tx *database.Tx) error {
		if _, err := c.holdAll(ctx, tx, j); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			DELETE FROM absence WHERE policy = $1 AND (EXISTS (SELECT 1 FROM subject d WHERE d.tenant = $2 AND d.id = absence.subject)
				OR NOT EXISTS (SELECT 1 FROM unit u WHERE u.tenant = $2 AND u.subject = absence.subject AND u.policy = $1 AND u.status <> 'removeRequested'))`,
			string(p.ID), string(p.Tenant))
		if err != nil {
			return fmt.Errorf("forget who is there again: %w", err)
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO absence (policy, subject, since)
			SELECT CAST($1 AS TEXT), u.subject, CAST($3 AS BIGINT) FROM unit u
			WHERE u.policy = $1 AND u.sources >= 2 AND u.status <> 'removeRequested'
				AND NOT EXISTS (SELECT 1 FROM subject d WHERE d.tenant = $2 AND d.id = u.subject)
			ON CONFLICT DO NOTHING`, string(p.ID), string(p.Tenant), database.Micros(c.now()))
		if err != nil {
			return fmt.Errorf("note who is missing: %w", err)
		}
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM absence WHERE policy = $1`, string(p.ID)).Scan(&absent)
	})
	if err != nil {
		return 0, fmt.Errorf("look for what is gone from policy %s: %w", p.ID, err)
	}
	return absent, nil
}

// Absent returns a part, in the order of ids after one of them, of those subjects that
// were missing before a time and still are.
func (c *Catalog) Absent(ctx context.Context, p backup.Policy, before time.Time, after backup.SubjectID) ([]backup.SubjectID, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT a.subject FROM absence a WHERE a.policy = $1 AND a.subject > $2 AND a.since <= $3 ORDER BY a.subject LIMIT 1000`,
		string(p.ID), string(after), database.Micros(before))
	subjects, err := collect(rows, err, func(r scanner) (s backup.SubjectID, err error) { return s, r.Scan(&s) })
	if err != nil {
		return nil, fmt.Errorf("read what is gone from policy %s: %w", p.ID, err)
	}
	return subjects, nil
}

// LetAbsentGo is the last part: those of the subjects that the mirror of the directory
// still does not have leave the policy, as if they had been removed by hand. It
// returns how many do.
func (c *Catalog) LetAbsentGo(ctx context.Context, j *jobs.Job, p backup.Policy, subjects []backup.SubjectID) (gone int64, err error) {
	err = c.tx(ctx, p.Tenant, func(tx *database.Tx) error {
		now, err := c.holdAll(ctx, tx, j)
		if err != nil {
			return err
		}
		by := asStored(backup.Stamp{By: now.Created.By, At: c.now()})
		gone, err = affected(tx.ExecContext(ctx, `
			UPDATE unit`+tx.Dialect().IndexedBy("unit_subject")+` SET status = 'removeRequested', modified = $4, modified_by = $5
			WHERE tenant = $1 AND subject IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$2")+` AS e) AND policy = $3 AND status <> 'removeRequested'
				AND NOT EXISTS (SELECT 1 FROM subject d WHERE d.tenant = $1 AND d.id = unit.subject)`,
			string(p.Tenant), jsonList(subjects), string(p.ID), database.Micros(by.At), toJSON(by.By)))
		if err != nil || gone == 0 {
			return err
		}
		if err := c.record(ctx, tx, backup.Activity{Tenant: p.Tenant, Workload: p.Workload, Operation: backup.AllProtectedActivity, Target: fmt.Sprintf("%d left the directory", gone), Object: string(p.ID)}); err != nil {
			return err
		}
		return c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Settle, Key: string(p.ID), Tenant: p.Tenant})
	})
	if err != nil {
		return 0, fmt.Errorf("let go what is gone from policy %s: %w", p.ID, err)
	}
	return gone, nil
}

// PolicyForWork returns the policy that a job of all there is names by its key, and
// whether there is such a policy still.
func (c *Catalog) PolicyForWork(ctx context.Context, j *jobs.Job) (backup.Policy, bool, error) {
	p, err := c.readPolicy(ctx, c.db.Read(), j.Tenant, backup.PolicyID(j.Key))
	if errors.Is(err, backup.PolicyNotFound) {
		return p, false, nil
	}
	return p, err == nil && p.FullService, err
}
