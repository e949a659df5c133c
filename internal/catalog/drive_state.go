package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A DriveState is where the backup of a drive stands.
type DriveState struct {
	Drive   backup.DriveID  // "" before the first point
	Vault   int             // the number of the vault that the drive is in; 0 before the first point
	Root    string          // the drive's root in the vault; "" = none yet
	Tree    string          // of the last run that came to its end, whose the other fields are
	Cursor  string          // where the source's delta goes on
	Pending []backup.Unread // what is to be tried again, and what the newest point lacks
	Full    time.Time       // when the drive was last listed in full
	Asked   time.Time       // when the source last said that this is the owner's drive
	Changed time.Time       // when something was last found changed
	Top     int64           // how many items the source last counted in the root folder; -1 if that is not known
	Named   string          // the tree that the index of names was last written for; "" if there is none

	// Checkpoint is the tree of a run that has not come to its end, "" if there
	// is none. It holds contents that need not be read again, and says nothing of
	// what is in the drive.
	Checkpoint string

	// Damaged says that something in the tenant's vaults is damaged and not healed.
	Damaged bool

	// Containers are those of a unit that has several, by their ids; else nil. The
	// cursors and what is pending are then theirs.
	Containers []Container
}

// driveStateColumns are a drive's state where a table s has one, and else that of none;
// $1 is the tenant.
const driveStateColumns = `coalesce(s.drive, ''), coalesce(s.vault, 0), coalesce(s.root, ''), coalesce(s.tree, ''), coalesce(s.cursor, ''), coalesce(s.pending, 'null'),
	coalesce(s.enumerated, 0), coalesce(s.asked, 0), coalesce(s.changed, 0), coalesce(s.top, 0), coalesce(s.checkpoint, ''),
	coalesce((SELECT x.tree FROM name_index x WHERE x.unit = s.unit AND x.drive = s.drive), ''), EXISTS (SELECT 1 FROM damage WHERE tenant = $1 AND healed = 0)`

// driveStateFields is where driveStateColumns are read to.
func driveStateFields(s *DriveState) []any {
	return []any{&s.Drive, &s.Vault, &s.Root, &s.Tree, &s.Cursor, fromJSON{&s.Pending}, micros{&s.Full}, micros{&s.Asked}, micros{&s.Changed}, &s.Top, &s.Checkpoint, &s.Named, &s.Damaged}
}

// UnitForBackup returns a unit that is to be backed up, and where its drive
// stands: the one last committed, should the owner have had several. A unit is
// to be backed up while it is in a policy in force and its removal is not
// asked for; also when it is unprotected, which it is after its first backup
// failed. For any other, and for an unknown one, ErrNotWanted.
func (c *Catalog) UnitForBackup(ctx context.Context, tenant backup.TenantID, id backup.UnitID) (backup.Unit, DriveState, error) {
	var u backup.Unit
	var s DriveState
	err := c.db.Read().QueryRowContext(ctx, `
		SELECT `+unitColumns+`, `+ownerColumns+`, `+driveStateColumns+` FROM `+unitsWithOwners+`
		JOIN policy p ON p.id = u.policy AND p.enabled = 1
		LEFT JOIN drive_state s ON s.unit = u.id AND coalesce(s.tenant, '') = u.tenant
		WHERE u.tenant = $1 AND u.id = $2 AND u.status IN ('protectRequested', 'protected', 'unprotected')
		ORDER BY s.committed DESC LIMIT 1`,
		string(tenant), string(id)).Scan(slices.Concat(unitWithOwnerFields(&u), driveStateFields(&s))...)
	if errors.Is(err, sql.ErrNoRows) {
		return u, s, ErrNotWanted
	}
	if err != nil {
		return u, s, fmt.Errorf("read unit %s: %w", id, err)
	}
	return u, s, c.addContainers(ctx, tenant, u, &s)
}

// UnitForRestore is UnitForBackup for any unit there is, also one that is not
// to be backed up: a restore first keeps what it is about to change.
// ProtectionUnitNotFound.
func (c *Catalog) UnitForRestore(ctx context.Context, tenant backup.TenantID, id backup.UnitID) (backup.Unit, DriveState, error) {
	u, err := c.Unit(ctx, tenant, id)
	if err != nil {
		return u, DriveState{}, err
	}
	s, err := c.lastDrive(ctx, tenant, u)
	return u, s, err
}

// lastDrive returns the state of the drive of a unit that was last committed,
// the zero state if none was.
func (c *Catalog) lastDrive(ctx context.Context, tenant backup.TenantID, u backup.Unit) (s DriveState, err error) {
	// The tenant is compared in a way that no index serves: else SQLite reads the
	// tenant's drives to find the unit's one.
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT `+driveStateColumns+` FROM drive_state s
		WHERE coalesce(s.tenant, '') = $1 AND s.unit = $2 ORDER BY s.committed DESC LIMIT 1`,
		string(tenant), string(u.ID)).Scan(driveStateFields(&s)...)
	if errors.Is(err, sql.ErrNoRows) {
		s.Damaged, err = c.Damaged(ctx, tenant)
		return s, err
	}
	if err != nil {
		return s, fmt.Errorf("read drive of unit %s: %w", u.ID, err)
	}
	return s, c.addContainers(ctx, tenant, u, &s)
}

// addContainers reads what a unit's state has of its containers, where it has several.
func (c *Catalog) addContainers(ctx context.Context, tenant backup.TenantID, u backup.Unit, s *DriveState) (err error) {
	if s.Drive != "" && u.Workload != backup.OneDrive {
		s.Containers, err = c.containers(ctx, c.db.Read(), tenant, u.ID, s.Drive)
	}
	return err
}

// A Commit is a run of a backup that came to its end.
type Commit struct {
	Unit     backup.UnitID
	Point    backup.Point    // At, Tree, Files, Folders, Bytes, Unread; CommitPoint fills in the rest
	PrevRoot string          // the drive's root that the run started from
	State    DriveState      // as the run leaves it; a point leaves no checkpoint
	WebURL   string          // of the drive; "" leaves what is known of it
	Problem  *backup.Problem // what stands against the unit although the point was made, or nil
	Promise  time.Duration   // how old the point may become before the next; 0 for no promise
	Every    time.Duration   // after how long the drive is visited next
	Mail     int64           // as what StageMail wrote for this point is known: it counts from now on; 0 for nothing
	Names    []NamedTree     // what the index of names is of from now on
}

// CommitPoint makes a run of a backup count, and returns its restore point: the
// point, the drive's state and the unit's status change together. A run that
// found nothing new is committed too, with the root and tree it found.
//
// It changes nothing and fails with jobs.ErrLost if the job is no longer the
// worker's, ErrNotWanted if the unit is no longer to be backed up, and ErrMoved
// if the drive's root is not PrevRoot.
func (c *Catalog) CommitPoint(ctx context.Context, j *jobs.Job, m Commit) (backup.Point, error) {
	p := m.point(j)
	m.State.Checkpoint = ""
	err := c.commit(ctx, j, m, p, func(tx *database.Tx) error {
		unit, err := c.settledUnit(ctx, tx, j.Tenant, m.Unit)
		if err == nil {
			err = c.settleUnit(ctx, tx, unit, backup.UnitProtected, m.Problem, m.oldestUnread())
		}
		if err != nil {
			return err
		}
		return c.insertPoint(ctx, tx, &p, m, unit)
	})
	if err != nil {
		return backup.Point{}, fmt.Errorf("commit point of unit %s: %w", m.Unit, err)
	}
	return p, nil
}

// KeepPoint is CommitPoint for a run that belongs to a restore: it also holds
// for a unit that is not to be backed up, which it leaves as it is.
func (c *Catalog) KeepPoint(ctx context.Context, j *jobs.Job, m Commit) (backup.Point, error) {
	p := m.point(j)
	m.State.Checkpoint = ""
	err := c.commit(ctx, j, m, p, func(tx *database.Tx) error {
		unit, err := c.settledUnit(ctx, tx, j.Tenant, m.Unit)
		if err != nil {
			return err
		}
		err = c.settleUnit(ctx, tx, unit, backup.UnitProtected, m.Problem, m.oldestUnread())
		if err != nil && !errors.Is(err, ErrNotWanted) {
			return err
		}
		return c.insertPoint(ctx, tx, &p, m, unit)
	})
	if err != nil {
		return backup.Point{}, fmt.Errorf("keep point of unit %s: %w", m.Unit, err)
	}
	return p, nil
}

// Checkpoint makes safe how far a run of a backup has come: the next run starts
// from m.State, which is that of the last run that came to its end but for Root
// and Checkpoint. There is no point, and the unit stays as it is. The
// checkpoint's tree is to be trimmed once the next commit has dropped it.
// jobs.ErrLost, ErrMoved.
func (c *Catalog) Checkpoint(ctx context.Context, j *jobs.Job, m Commit) error {
	err := c.commit(ctx, j, m, m.point(j), func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE drive_state SET trim = 1 WHERE unit = $1 AND drive = $2 AND tenant = $3`,
			string(m.Unit), string(m.State.Drive), string(j.Tenant))
		return err
	})
	if err != nil {
		return fmt.Errorf("checkpoint of unit %s: %w", m.Unit, err)
	}
	return nil
}

// commit moves a drive's root and does then, in one transaction of a worker
// that still holds its job.
func (c *Catalog) commit(ctx context.Context, j *jobs.Job, m Commit, p backup.Point, then func(*database.Tx) error) error {
	return c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		if err := moveRoot(ctx, tx, p, m, database.Micros(c.now())); err != nil {
			return err
		}
		if m.State.Containers != nil {
			if err := c.setContainers(ctx, tx, p, m.State.Containers); err != nil {
				return err
			}
		}
		if m.Mail != 0 {
			if err := mailHistory.commit(ctx, tx, p, p.Drive, p.Tree, m.Mail); err != nil {
				return err
			}
		}
		if err := commitNames(ctx, tx, p, m.Names); err != nil {
			return err
		}
		return then(tx)
	})
}

// oldestUnread is since when the oldest item was not read that the run leaves
// pending; zero for none.
func (m Commit) oldestUnread() (oldest time.Time) {
	look := func(all []backup.Unread) {
		for _, u := range all {
			if !u.Since.IsZero() && !u.Beside && (oldest.IsZero() || u.Since.Before(oldest)) {
				oldest = u.Since
			}
		}
	}
	look(m.State.Pending)
	for _, s := range m.State.Containers {
		look(s.Pending)
		if s.Failed != nil {
			look([]backup.Unread{*s.Failed})
		}
	}
	return oldest
}

// point returns m.Point as it is to be stored.
func (m Commit) point(j *jobs.Job) backup.Point {
	p := m.Point
	p.Tenant, p.Unit, p.Drive = j.Tenant, m.Unit, m.State.Drive
	if p.ID == "" {
		p.ID = backup.NewID[backup.PointID]()
	}
	p.At = p.At.UTC().Truncate(time.Microsecond)
	return p
}

// FailUnit records why a run of a backup failed. A unit that was never backed
// up since its protection was asked for becomes unprotected; a protected one
// stays so, its points being there. The job goes on trying. jobs.ErrLost,
// ErrNotWanted.
func (c *Catalog) FailUnit(ctx context.Context, j *jobs.Job, id backup.UnitID, problem *backup.Problem) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		unit, err := c.settledUnit(ctx, tx, j.Tenant, id)
		if err != nil {
			return err
		}
		return c.settleUnit(ctx, tx, unit, backup.UnitUnprotected, problem, time.Time{})
	})
	if err != nil {
		return fmt.Errorf("record failure of unit %s: %w", id, err)
	}
	return nil
}

// A settledUnit is what the commit of a run has to know of its unit.
type settledUnit struct {
	tenant  backup.TenantID
	id      backup.UnitID
	status  backup.UnitStatus
	problem sql.NullString
	policy  backup.PolicyID
	wanted  bool       // it is to be backed up
	kept    retentions // of its policy and of its tenant
}

// settledUnit reads a unit in the transaction that commits a run: ErrNotWanted if there is
// none.
func (c *Catalog) settledUnit(ctx context.Context, tx *database.Tx, tenant backup.TenantID, id backup.UnitID) (settledUnit, error) {
	u := settledUnit{tenant: tenant, id: id, kept: retentions{}}
	var own, all sql.NullString
	err := tx.QueryRowContext(ctx, `
		SELECT u.status, u.problem, u.policy, CASE WHEN p.enabled = 1 AND u.status IN ('protectRequested', 'protected', 'unprotected') THEN 1 ELSE 0 END, o.kept, t.kept
		FROM unit u LEFT JOIN policy p ON p.id = u.policy
			LEFT JOIN retention o ON o.tenant = u.tenant AND o.policy = u.policy
			LEFT JOIN retention t ON t.tenant = u.tenant AND t.policy = ''
		WHERE u.tenant = $1 AND u.id = $2`,
		string(tenant), string(id)).Scan(&u.status, &u.problem, &u.policy, &u.wanted, &own, &all)
	if errors.Is(err, sql.ErrNoRows) {
		return u, ErrNotWanted
	}
	for policy, kept := range map[backup.PolicyID]sql.NullString{u.policy: own, "": all} {
		if err == nil && kept.Valid {
			var r Retention
			err = fromJSON{&r.Kept}.Scan(kept.String)
			u.kept[policy] = r
		}
	}
	if err != nil {
		return u, fmt.Errorf("read unit: %w", err)
	}
	return u, nil
}

// settleUnit stores how a run left a unit, if it is still wanted. What is
// already so is not written: most runs of most units change nothing here. unread is
// since when the oldest item was not read that the unit's newest point lacks.
func (c *Catalog) settleUnit(ctx context.Context, tx *database.Tx, u settledUnit, status backup.UnitStatus, problem *backup.Problem, unread time.Time) error {
	if !u.wanted {
		return ErrNotWanted
	}
	was, had := u.status, u.problem
	if was == backup.UnitProtected {
		status = was
	}
	if was == status && problem == nil && !had.Valid || problem != nil && was == status && had.String == toJSON(problem) {
		return nil
	}
	failed := problem != nil && problem.Code != backup.ItemsNotBackedUp
	if problem != nil && !failed && unread.IsZero() {
		unread = c.now()
	}
	// The unit may have left since it was read: then it is left alone. A run that
	// failed has read no item, so that what was not read before stays so.
	n, err := affected(tx.ExecContext(ctx, `
		UPDATE unit SET status = $3, problem = $4,
			failed_since = CASE WHEN $5 = 0 THEN 0 WHEN problem IS NULL OR failed_since = 0 THEN CAST($6 AS BIGINT) ELSE failed_since END,
			unread_since = CASE WHEN $5 = 0 OR CAST($7 AS BIGINT) > 0 THEN CAST($7 AS BIGINT) WHEN problem IS NULL THEN 0 ELSE unread_since END
		WHERE tenant = $1 AND id = $2 AND status IN ('protectRequested', 'protected', 'unprotected') AND policy <> ''`,
		string(u.tenant), string(u.id), string(status), problemJSON(problem), bit(failed), database.Micros(c.now()), database.Micros(unread)))
	if err != nil {
		return fmt.Errorf("update unit: %w", err)
	}
	if n == 0 {
		return ErrNotWanted
	}
	return nil
}

// moveRoot stores a drive's state, if its root is still m.PrevRoot.
func moveRoot(ctx context.Context, tx *database.Tx, p backup.Point, m Commit, now int64) error {
	args := []any{string(p.Unit), string(p.Drive), string(p.Tenant), m.State.Root, m.State.Tree, m.State.Cursor, toJSON(m.State.Pending), now, m.PrevRoot, m.WebURL,
		m.State.Checkpoint, database.Micros(m.State.Full), database.Micros(m.State.Asked), database.Micros(m.State.Changed), m.State.Top, max(m.State.Vault, 1)}
	text := `
		UPDATE drive_state SET root = $4, tree = $5, cursor = $6, pending = $7, committed = $8, checkpoint = $11, enumerated = $12, asked = $13, changed = $14, top = $15, vault = $16,
			web_url = CASE WHEN $10 = '' THEN web_url ELSE $10 END
		WHERE unit = $1 AND drive = $2 AND tenant = $3 AND root = $9`
	if m.PrevRoot == "" {
		text = `
		INSERT INTO drive_state (unit, drive, tenant, root, tree, cursor, pending, committed, trim, web_url, checkpoint, enumerated, asked, changed, top, vault)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $10, $11, $12, $13, $14, $15, $16)
		ON CONFLICT (unit, drive) DO UPDATE SET root = excluded.root, tree = excluded.tree, cursor = excluded.cursor,
			pending = excluded.pending, committed = excluded.committed, checkpoint = excluded.checkpoint, enumerated = excluded.enumerated, asked = excluded.asked, changed = excluded.changed, top = excluded.top, vault = excluded.vault,
			web_url = CASE WHEN excluded.web_url = '' THEN drive_state.web_url ELSE excluded.web_url END
		WHERE drive_state.root = $9 AND drive_state.tenant = excluded.tenant`
	}
	n, err := affected(tx.ExecContext(ctx, text, args...))
	if err != nil {
		return fmt.Errorf("write drive state: %w", err)
	}
	if n == 0 {
		return ErrMoved
	}
	return nil
}

// insertPoint stores p and fills in how long it is kept and how it is tagged:
// those that are kept longer than most, for being the first of their week, and
// the newest of each UTC day restore faster. A run that found nothing changed
// has no row of its own, and p.ID is then another: see period.
func (c *Catalog) insertPoint(ctx context.Context, tx *database.Tx, p *backup.Point, m Commit, unit settledUnit) error {
	if err := keepPromise(ctx, tx, p, m); err != nil {
		return err
	}
	before, err := periodBefore(ctx, tx, p)
	if err != nil {
		return err
	}
	longer, err := c.keep(ctx, tx, p, unit, before)
	if err != nil {
		return err
	}
	if before != nil {
		if extended, err := extend(ctx, tx, before, p, unit.policy, longer); err != nil || extended {
			return err
		}
	}
	p.Tags = backup.TagFastRestore
	if err := moveTag(ctx, tx, p); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO restore_point (id, tenant, unit, drive, at, expires, weekly, tags, tree, files, folders, bytes, policy, unread)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		string(p.ID), string(p.Tenant), string(p.Unit), string(p.Drive), database.Micros(p.At), database.Micros(p.Expires),
		bit(longer), string(p.Tags), p.Tree, p.Files, p.Folders, p.Bytes, string(unit.policy), p.Unread)
	if err != nil {
		return fmt.Errorf("insert point: %w", err)
	}
	return nil
}

// moveTag has the other points of a day lose their tag to p.
func moveTag(ctx context.Context, tx *database.Tx, p *backup.Point) error {
	day := p.At.Truncate(24 * time.Hour)
	_, err := tx.ExecContext(ctx, `
		UPDATE restore_point SET tags = 'none'
		WHERE unit = $1 AND at >= $2 AND at < $3 AND weekly = 0 AND tags <> 'none'`,
		string(p.Unit), database.Micros(day), database.Micros(day.AddDate(0, 0, 1)))
	if err != nil {
		return fmt.Errorf("move the day's tag: %w", err)
	}
	return nil
}

// A DriveRoot is a drive's root, and the vault that it is in.
type DriveRoot struct {
	Unit  backup.UnitID
	Drive backup.DriveID
	Root  string
	Vault int // the number of the vault
}

func scanDriveRoot(r scanner) (d DriveRoot, err error) {
	return d, r.Scan(&d.Unit, &d.Drive, &d.Root, &d.Vault)
}

// DrivesToTrim lists the drives whose trees in the vault may be more than
// LiveTrees, because points have expired.
func (c *Catalog) DrivesToTrim(ctx context.Context, tenant backup.TenantID) ([]DriveRoot, error) {
	return c.driveRoots(ctx, `tenant = $1 AND trim = 1`, string(tenant))
}

func (c *Catalog) driveRoots(ctx context.Context, where string, args ...any) ([]DriveRoot, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT unit, drive, root, vault FROM drive_state WHERE `+where+` ORDER BY unit, drive`, args...)
	all, err := collect(rows, err, scanDriveRoot)
	if err != nil {
		return nil, fmt.Errorf("list drives: %w", err)
	}
	return all, nil
}

// CommitTrim makes root the drive's root in place of d.Root: the vault has
// dropped the trees that were not live. jobs.ErrLost, or ErrMoved if the
// drive's root was not d.Root any more; the drive then stays to be trimmed.
func (c *Catalog) CommitTrim(ctx context.Context, j *jobs.Job, d DriveRoot, root string) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		n, err := affected(tx.ExecContext(ctx, `
			UPDATE drive_state SET root = $5, trim = 0 WHERE unit = $1 AND drive = $2 AND tenant = $3 AND root = $4`,
			string(d.Unit), string(d.Drive), string(j.Tenant), d.Root, root))
		if err == nil && n == 0 {
			return ErrMoved
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("commit trim of drive %s: %w", d.Drive, err)
	}
	return nil
}

// Root returns a drive's root, empty for a drive without points, and the number of the
// vault that it is in, or is to go into: the newest that is known by its id.
func (c *Catalog) Root(ctx context.Context, tenant backup.TenantID, drive backup.DriveID) (root string, vault int, err error) {
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT coalesce((SELECT max(s.root) FROM drive_state s WHERE s.tenant = $1 AND s.drive = $2), ''), `+vaultOfDrive,
		string(tenant), string(drive)).Scan(&root, &vault)
	if err != nil {
		return "", 0, fmt.Errorf("find root of drive %s: %w", drive, err)
	}
	return root, vault, nil
}

// VaultOf returns the vault that a drive is in, or is to go into.
func (c *Catalog) VaultOf(ctx context.Context, tenant backup.TenantID, drive backup.DriveID) (backup.VaultName, error) {
	name := backup.VaultName{Tenant: tenant}
	err := c.db.Read().QueryRowContext(ctx, `SELECT `+vaultOfDrive, string(tenant), string(drive)).Scan(&name.Number)
	if err != nil {
		return name, fmt.Errorf("find the vault of drive %s: %w", drive, err)
	}
	return name, nil
}

// vaultOfDrive is the number of the vault of the drive $2 of the tenant $1. A drive
// stays in the vault that it began in, whichever unit has it. For a maximum of what an
// index has, SQLite would go through all drives of the tenant in its order.
const vaultOfDrive = `coalesce(
		(SELECT max(s.vault + 0) FROM drive_state s WHERE s.tenant = $1 AND s.drive = $2),
		(SELECT max(v.number) FROM vault v WHERE v.tenant = $1 AND v.id <> ''), 1)`

// DriveRoots lists the drives of a tenant that have points.
func (c *Catalog) DriveRoots(ctx context.Context, tenant backup.TenantID) ([]DriveRoot, error) {
	return c.driveRoots(ctx, `tenant = $1 AND root <> ''`, string(tenant))
}

// DriveUnits lists the units that have, or had, a drive, or have it as one of their
// containers.
func (c *Catalog) DriveUnits(ctx context.Context, tenant backup.TenantID, drive backup.DriveID) ([]backup.UnitID, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT unit FROM drive_state WHERE tenant = $1 AND drive = $2
		UNION SELECT unit FROM container_state WHERE tenant = $1 AND container = $2 ORDER BY 1`, string(tenant), string(drive))
	all, err := collect(rows, err, func(r scanner) (u backup.UnitID, err error) { return u, r.Scan(&u) })
	if err != nil {
		return nil, fmt.Errorf("list units of drive %s: %w", drive, err)
	}
	return all, nil
}

// BackUpNow has a unit that is backed up again and again be backed up now. Of
// another it changes nothing.
func (c *Catalog) BackUpNow(ctx context.Context, tenant backup.TenantID, unit backup.UnitID) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		return c.queue.EnqueueSelect(ctx, tx, jobs.Backup, tenant, time.Time{},
			`SELECT u.id FROM unit u JOIN policy p ON p.id = u.policy AND p.enabled = 1
			WHERE u.tenant = $1 AND u.id = $2 AND u.status IN ('protectRequested', 'protected', 'unprotected')`, string(tenant), string(unit))
	})
	if err != nil {
		return fmt.Errorf("back up unit %s now: %w", unit, err)
	}
	return nil
}

// DrivesIn counts the drives in a vault.
func (c *Catalog) DrivesIn(ctx context.Context, name backup.VaultName) (n int, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM drive_state WHERE tenant = $1 AND vault = $2`, string(name.Tenant), name.Number).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the drives in a vault: %w", err)
	}
	return n, nil
}

// Roots returns the root of every drive that has one in a vault, for its maintenance.
func (c *Catalog) Roots(ctx context.Context, name backup.VaultName) (map[backup.DriveID]string, error) {
	all, err := c.driveRoots(ctx, `tenant = $1 AND vault = $2 AND root <> ''`, string(name.Tenant), name.Number)
	if err != nil {
		return nil, err
	}
	roots := make(map[backup.DriveID]string, len(all))
	for _, d := range all {
		roots[d.Drive] = d.Root
	}
	return roots, nil
}
