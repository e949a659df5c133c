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

// A TakenUp is what the vault holds of a drive, to be taken up into a catalog
// that is older than the vault, or empty.
type TakenUp struct {
	// Unit and Owner are whose drive it is, as the drive's newest point that says
	// so has it. A unit that is unknown is made. Owner.ID is required where it is
	// not one of the catalog's.
	Unit     backup.UnitID
	Workload backup.Workload
	Owner    backup.Subject
	// Policy is that of the newest point: a unit that is made joins it, if there
	// is such a policy.
	Policy backup.PolicyID

	Drive    backup.DriveID
	Vault    int             // the number of the vault; 0 is the first
	PrevRoot string          // the drive's root as the catalog has it, "" for none
	Root     string          // as the vault has it
	Tree     string          // of the newest complete point
	Pending  []backup.Unread // what that lacks
	Points   []TakenPoint    // all complete ones that the vault holds
}

// A TakenPoint is a point of the vault.
type TakenPoint struct {
	backup.Point // At, Tree, Files, Folders, Bytes, Unread
	Policy       backup.PolicyID
}

// TakeUp brings the points of a drive that the vault holds and the catalog does
// not know into the catalog: those of whose trees it has no point. It moves the drive's root to the
// vault's, and has the drive be listed in full next. It returns the unit and
// how many points it took up. It may be repeated: where the catalog has t.Root
// already, whatever else the vault holds is what expired, and nothing is done.
//
// Since a run that finds nothing new writes nothing into the vault, a drive
// stayed as a point has it until the next point's time. A point is kept as long
// as those which are not known would have been, and for RetentionDelay at
// least, so that wrong retention can be put right.
//
// It fails with ErrMoved if the drive's root is neither t.PrevRoot nor t.Root,
// with ErrOtherVault if the drive is in another of the tenant's vaults,
// and with ErrNotWanted if the unit was offboarded, whose backups are given up.
func (c *Catalog) TakeUp(ctx context.Context, tenant backup.TenantID, t TakenUp) (unit backup.UnitID, taken int, err error) {
	t.Vault = max(t.Vault, 1)
	if t.Drive == "" || t.Root == "" {
		return "", 0, errors.New("take up points: the drive or its root is not named")
	}
	t.Points = slices.Clone(t.Points)
	for i := range t.Points {
		t.Points[i].At = t.Points[i].At.UTC().Truncate(time.Microsecond)
	}
	slices.SortStableFunc(t.Points, func(a, b TakenPoint) int { return a.At.Compare(b.At) })
	if err := c.AdoptRetention(ctx, tenant); err != nil {
		return "", 0, err
	}
	err = c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		taken = 0
		var elsewhere bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM drive_state WHERE tenant = $1 AND drive = $2 AND vault <> $3)`,
			string(tenant), string(t.Drive), t.Vault).Scan(&elsewhere); err != nil {
			return fmt.Errorf("look in which vault the drive is: %w", err)
		}
		if elsewhere {
			return ErrOtherVault
		}
		if unit, err = c.unitOfTaken(ctx, tx, tenant, t); err != nil {
			return err
		}
		moved, err := c.moveTaken(ctx, tx, tenant, unit, t)
		if err != nil || !moved {
			return err
		}
		if taken, err = c.insertTaken(ctx, tx, tenant, unit, t); err != nil || taken == 0 {
			return err
		}
		return c.record(ctx, tx, backup.Activity{Tenant: tenant, Workload: t.Workload, Operation: backup.PointsTakenUpActivity, Object: string(unit)})
	})
	if err != nil {
		return "", 0, fmt.Errorf("take up the points of drive %s: %w", t.Drive, err)
	}
	return unit, taken, nil
}

// unitOfTaken finds the unit of a drive that is taken up, or makes it: the one
// that the catalog has the drive of, else the one that is named, else the one
// that its owner has.
func (c *Catalog) unitOfTaken(ctx context.Context, tx *database.Tx, tenant backup.TenantID, t TakenUp) (backup.UnitID, error) {
	var id backup.UnitID
	var status backup.UnitStatus
	err := tx.QueryRowContext(ctx, `
		SELECT u.id, u.status FROM drive_state s JOIN unit u ON u.id = s.unit AND u.tenant = s.tenant
		WHERE s.tenant = $1 AND s.drive = $2 ORDER BY s.committed DESC LIMIT 1`, string(tenant), string(t.Drive)).Scan(&id, &status)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.QueryRowContext(ctx, `SELECT id, status FROM unit WHERE tenant = $1 AND id = $2`, string(tenant), string(t.Unit)).Scan(&id, &status)
	}
	if errors.Is(err, sql.ErrNoRows) && t.Owner.ID != "" {
		err = tx.QueryRowContext(ctx, `SELECT id, status FROM unit WHERE tenant = $1 AND workload = $3 AND subject = $2 AND status <> 'offboarded'`,
			string(tenant), string(t.Owner.ID), string(t.Workload)).Scan(&id, &status)
	}
	switch {
	case err == nil && status == backup.UnitOffboarded:
		return "", ErrNotWanted
	case err == nil:
		return id, nil
	case !errors.Is(err, sql.ErrNoRows):
		return "", fmt.Errorf("look for the unit: %w", err)
	case t.Owner.ID == "":
		return "", errors.New("it is not known whose drive it is")
	}

	now := c.now()
	var known bool
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM subject WHERE tenant = $1 AND id = $2)`, string(tenant), string(t.Owner.ID)).Scan(&known)
	if err != nil {
		return "", fmt.Errorf("look for the owner: %w", err)
	}
	if !known {
		if err := putSubjects(ctx, tx, tenant, []backup.Subject{t.Owner}, t.Workload == backup.SharePoint, database.Micros(now)); err != nil {
			return "", err
		}
	}
	id = t.Unit
	free := false
	if _, valid := backup.ParseGUID(string(id)); valid {
		if err := tx.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM unit WHERE id = $1)`, string(id)).Scan(&free); err != nil {
			return "", fmt.Errorf("look for the unit's id: %w", err)
		}
	}
	if !free {
		id = backup.NewID[backup.UnitID]()
	}
	p, err := c.readPolicy(ctx, tx, tenant, t.Policy)
	if err != nil && !errors.Is(err, backup.PolicyNotFound) {
		return "", err
	}
	if p.Workload != t.Workload {
		p = backup.Policy{} // it is that of something else
	}
	sources, requested := backup.SourceManual, backup.UnitUnprotected
	switch {
	case p.ID == "":
		sources = 0
	case p.Enabled:
		requested = backup.UnitProtectRequested
		if err := c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.Backup, Key: string(id), Tenant: tenant}); err != nil {
			return "", err
		}
	}
	keys := ownerKeys("$2", "$4")
	_, err = tx.ExecContext(ctx, `
		INSERT INTO unit (id, tenant, policy, subject, status, sources, offboard_requested, created, created_by, modified, modified_by, workload, name_key, address_key)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, '{}', $7, '{}', $8, `+keys[0]+`, `+keys[1]+`)`,
		string(id), string(tenant), string(p.ID), string(t.Owner.ID), string(requested), int(sources), database.Micros(now), string(t.Workload))
	if err != nil {
		return "", fmt.Errorf("make the unit: %w", err)
	}
	return id, nil
}

// moveTaken moves a drive to where the vault has it, and reports whether it was
// not there already.
func (c *Catalog) moveTaken(ctx context.Context, tx *database.Tx, tenant backup.TenantID, unit backup.UnitID, t TakenUp) (bool, error) {
	var root string
	err := tx.QueryRowContext(ctx, `SELECT root FROM drive_state WHERE tenant = $1 AND unit = $2 AND drive = $3`+tx.Dialect().ForUpdate(),
		string(tenant), string(unit), string(t.Drive)).Scan(&root)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, fmt.Errorf("read the drive's state: %w", err)
	}
	if err == nil && root == t.Root {
		return false, nil
	}
	if root != t.PrevRoot {
		return false, ErrMoved
	}
	// The trees of points that this catalog has let go may be among the vault's.
	n, err := affected(tx.ExecContext(ctx, `
		INSERT INTO drive_state (unit, drive, tenant, root, tree, cursor, pending, committed, trim, vault)
		VALUES ($1, $2, $3, $4, $5, '', $6, $7, 1, $9)
		ON CONFLICT (unit, drive) DO UPDATE SET root = excluded.root, tree = excluded.tree, cursor = '', pending = excluded.pending,
			committed = excluded.committed, trim = 1, checkpoint = '', enumerated = 0, verified = 0, top = -1
		WHERE drive_state.root = $8 AND drive_state.tenant = excluded.tenant`,
		string(unit), string(t.Drive), string(tenant), t.Root, t.Tree, jsonList(t.Pending), database.Micros(c.now()), t.PrevRoot, t.Vault))
	if err != nil {
		return false, fmt.Errorf("write the drive's state: %w", err)
	}
	if n == 0 {
		return false, ErrMoved
	}
	// The cursors of containers are of another time as well.
	if _, err := tx.ExecContext(ctx, `DELETE FROM container_state WHERE tenant || '' = $1 AND unit = $2 AND drive = $3`,
		string(tenant), string(unit), string(t.Drive)); err != nil {
		return false, fmt.Errorf("forget the containers: %w", err)
	}
	return true, nil
}

// insertTaken stores the points that are not known, and returns how many they
// are.
func (c *Catalog) insertTaken(ctx context.Context, tx *database.Tx, tenant backup.TenantID, unit backup.UnitID, t TakenUp) (int, error) {
	now := c.now().UTC()
	type state struct {
		tree string
		at   time.Time
	}
	rows, err := tx.QueryContext(ctx, `SELECT tree, at FROM restore_point WHERE unit = $1 AND drive = $2 AND tenant || '' = $3`,
		string(unit), string(t.Drive), string(tenant))
	there, err := collect(rows, err, func(r scanner) (s state, err error) { return s, r.Scan(&s.tree, micros{&s.at}) })
	if err != nil {
		return 0, fmt.Errorf("read the points that are known: %w", err)
	}
	known := make([]bool, len(t.Points)) // by a point made while the drive was so
	end := func(i int) time.Time {
		if i+1 < len(t.Points) {
			return t.Points[i+1].At
		}
		return now
	}
	for _, s := range there {
		for i, p := range t.Points {
			// The vault's times are in milliseconds, the catalog's in microseconds.
			if p.Tree == s.tree && !s.at.Before(p.At.Truncate(time.Millisecond)) && (i+1 == len(t.Points) || s.at.Before(end(i))) {
				known[i] = true
			}
		}
	}
	type row struct {
		ID, Policy, Tree                         string
		At, Until, Files, Folders, Bytes, Unread int64
		Expires                                  int64
		Tags                                     backup.PointTags
	}
	var fresh []row
	extended := map[string]int64{} // trees of points that are known, and until when the drive stayed at them
	for i, p := range t.Points {
		until := end(i)
		if known[i] {
			if i+1 < len(t.Points) && !known[i+1] {
				extended[p.Tree] = database.Micros(until)
			}
			continue
		}
		tags := backup.TagNone
		if i+1 == len(t.Points) || !until.Truncate(24*time.Hour).Equal(p.At.Truncate(24*time.Hour)) {
			tags = backup.TagFastRestore // the last of its day
		}
		fresh = append(fresh, row{
			ID: backup.NewID[string](), Policy: string(p.Policy), Tree: p.Tree, At: database.Micros(p.At), Until: database.Micros(until),
			Files: p.Files, Folders: p.Folders, Bytes: p.Bytes, Unread: p.Unread,
			Expires: database.Micros(now.Add(backup.RetentionDelay)), Tags: tags,
		})
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	// What is not known of a policy is as the tenant has it.
	_, err = tx.ExecContext(ctx, `
		INSERT INTO retention (tenant, policy, kept, applied)
		SELECT d.tenant, n.policy, d.kept, ''
		FROM (SELECT DISTINCT e.value->>'Policy' AS policy FROM `+tx.Dialect().JSONRows("$1")+` AS e) n
		JOIN retention d ON d.tenant = $2 AND d.policy = '' WHERE true
		ON CONFLICT DO NOTHING`, jsonList(fresh), string(tenant))
	if err != nil {
		return 0, fmt.Errorf("store how the points are kept: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO restore_point (id, tenant, unit, drive, at, expires, weekly, tags, tree, files, folders, bytes, policy, unread, until)
		SELECT e.value->>'ID', CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST(e.value->>'At' AS BIGINT), CAST(e.value->>'Expires' AS BIGINT), 0,
			e.value->>'Tags', e.value->>'Tree', CAST(e.value->>'Files' AS BIGINT), CAST(e.value->>'Folders' AS BIGINT),
			CAST(e.value->>'Bytes' AS BIGINT), e.value->>'Policy', CAST(e.value->>'Unread' AS BIGINT), CAST(e.value->>'Until' AS BIGINT)
		FROM `+tx.Dialect().JSONRows("$1")+` AS e`,
		jsonList(fresh), string(tenant), string(unit), string(t.Drive))
	if err != nil {
		return 0, fmt.Errorf("insert points: %w", err)
	}
	for tree, until := range extended {
		_, err := tx.ExecContext(ctx, `
			UPDATE restore_point SET until = $5 WHERE until < $5 AND id = (
				SELECT id FROM restore_point WHERE unit = $1 AND drive = $2 AND tenant = $3 AND tree = $4 AND at < $5 ORDER BY at DESC, id DESC LIMIT 1)`,
			string(unit), string(t.Drive), string(tenant), tree, until)
		if err != nil {
			return 0, fmt.Errorf("extend a known point: %w", err)
		}
	}
	if err := keepUnit(ctx, tx, tenant, unit, nil, c.keepers(ctx, tx, tenant), false); err != nil {
		return 0, fmt.Errorf("keep the points: %w", err)
	}
	return len(fresh), nil
}
