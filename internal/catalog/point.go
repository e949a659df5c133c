package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A PointQuery says which restore points of a unit are asked for.
type PointQuery struct {
	Unit             backup.UnitID
	From, To         time.Time // zero = open
	FromIncl, ToIncl bool
	Tags             backup.PointTags // "" = any
	Oldest           bool             // the oldest first, not the newest
	Page
}

const pointColumns = `r.id, r.tenant, r.unit, r.drive, r.at, r.expires, r.tags, r.tree, r.files, r.folders, r.bytes, r.unread, r.verified, r.lost`

func pointFields(p *backup.Point) []any {
	return []any{&p.ID, &p.Tenant, &p.Unit, &p.Drive, micros{&p.At}, micros{&p.Expires}, &p.Tags, &p.Tree, &p.Files, &p.Folders, &p.Bytes,
		&p.Unread, micros{&p.Verified}, &p.Lost}
}

// What is true of a point now, to stand beside a copy of it in the table t,
// which outlives it.
func pointNow(t string) string {
	of := func(column string) string {
		return `coalesce((SELECT r.` + column + ` FROM restore_point r WHERE r.id = ` + t + `.point), 0)`
	}
	return of("verified") + ", " + of("lost")
}

func scanPoint(r scanner) (p backup.Point, err error) { return p, r.Scan(pointFields(&p)...) }

// Points lists the restore points of a unit that have not expired, in the
// order of their time. An unknown unit has none.
func (c *Catalog) Points(ctx context.Context, tenant backup.TenantID, q PointQuery) (List[backup.Point], error) {
	l := query{columns: pointColumns, table: "restore_point r", time: "r.at", id: "r.id", newest: !q.Oldest,
		within: []equal{{"r.unit", string(q.Unit)}}, indexes: []index{{"restore_point_unit", []string{"r.unit", "r.at", "r.id"}}}}
	l.and("r.tenant = " + l.arg(string(tenant)))
	l.and("r.expires > " + l.arg(database.Micros(c.now())))
	at := term{column: "r.at"}
	if !q.From.IsZero() {
		at.low = &bound{database.Micros(q.From), !q.FromIncl}
	}
	if !q.To.IsZero() {
		at.high = &bound{database.Micros(q.To), !q.ToIncl}
	}
	if at.low != nil || at.high != nil {
		l.terms = append(l.terms, at)
	}
	if q.Tags != "" {
		l.and("r.tags = " + l.arg(string(q.Tags)))
	}
	page, err := list(ctx, c, l, q.Page, scanPoint)
	if err != nil {
		return page, fmt.Errorf("list points: %w", err)
	}
	return page, nil
}

func invalidPoint(id backup.PointID) *backup.Error {
	return backup.Fail(backup.InvalidRestorePoint, "There is no such restore point, or it has expired. List the unit's restore points to see which there are.").On(string(id))
}

// Point returns a restore point that has not expired, or InvalidRestorePoint.
func (c *Catalog) Point(ctx context.Context, tenant backup.TenantID, id backup.PointID) (backup.Point, error) {
	p, err := scanPoint(c.db.Read().QueryRowContext(ctx, `
		SELECT `+pointColumns+` FROM restore_point r WHERE r.tenant = $1 AND r.id = $2 AND r.expires > $3`,
		string(tenant), string(id), database.Micros(c.now())))
	if errors.Is(err, sql.ErrNoRows) {
		return p, invalidPoint(id)
	}
	if err != nil {
		return p, fmt.Errorf("read point %s: %w", id, err)
	}
	return p, nil
}

// A PointSearch asks for one restore point of each of several units.
type PointSearch struct {
	Units    []backup.UnitID
	From, To time.Time        // both inclusive; zero = open
	Tags     backup.PointTags // "" = any
	Oldest   bool             // the oldest of those that match, not the newest
}

// PointsFound is what a search found.
type PointsFound struct {
	Points  []backup.Point  // one of each unit that has any, in the order asked
	Missing []backup.UnitID // the other units, in the order asked
}

// onePoint selects the first or last of a unit's points, by order, that has
// not expired at $3 and is not lost, is of the time from $4 to $5, and has the tag $6; an empty
// tag is any.
//
// The two expressions keep the planner of a database that knows little of the
// table yet from reading all points of the tenant to find those of one unit.
func onePoint(unit, tenant, order string) string {
	return `SELECT x.id FROM restore_point x
		WHERE x.unit = ` + unit + ` AND x.tenant || '' = ` + tenant + ` AND x.expires + 0 > $3 AND x.at >= $4 AND x.at <= $5
			AND x.lost = 0 AND x.tags = CASE WHEN $6 = '' THEN x.tags ELSE $6 END
		ORDER BY x.at ` + order + `, x.id ` + order + ` LIMIT 1`
}

// SearchPoints finds one restore point of each unit, never a lost one. A unit that is unknown
// has none; one that is named twice is found once.
func (c *Catalog) SearchPoints(ctx context.Context, tenant backup.TenantID, s PointSearch) (PointsFound, error) {
	var found PointsFound
	to := int64(math.MaxInt64)
	if !s.To.IsZero() {
		to = database.Micros(s.To)
	}
	order := "DESC"
	if s.Oldest {
		order = "ASC"
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+pointColumns+` FROM `+c.db.Dialect().JSONEach("$1")+` AS e
		CROSS JOIN restore_point r WHERE r.id = (
			`+onePoint("e.value", "$2", order)+`)`,
		jsonList(s.Units), string(tenant), database.Micros(c.now()), database.Micros(s.From), to, string(s.Tags))
	points, err := collect(rows, err, scanPoint)
	if err != nil {
		return found, fmt.Errorf("search points: %w", err)
	}
	byUnit := map[backup.UnitID]backup.Point{}
	for _, p := range points {
		byUnit[p.Unit] = p
	}
	asked := map[backup.UnitID]bool{}
	for _, u := range s.Units {
		if asked[u] {
			continue
		}
		asked[u] = true
		if p, ok := byUnit[u]; ok {
			found.Points = append(found.Points, p)
		} else {
			found.Missing = append(found.Missing, u)
		}
	}
	return found, nil
}

// ExpirePoints forgets the restore points of the job's tenant whose time is
// over, notes their drives for trimming, and returns how many they were. A
// point that is being restored or browsed is kept until that has ended. Before
// that all follow the retention that is in force. jobs.ErrLost, and
// ErrRetentionDisagrees, in words, if the configuration of this process says
// something else of that: then nothing is done.
func (c *Catalog) ExpirePoints(ctx context.Context, j *jobs.Job) (total int64, err error) {
	if err := c.AdoptRetention(ctx, j.Tenant); err != nil {
		return 0, err
	}
	why, err := c.RetentionDisagreement(ctx, j.Tenant)
	if err != nil {
		return 0, fmt.Errorf("expire points: %w", err)
	}
	if why != "" {
		return 0, fmt.Errorf("%w. %s", ErrRetentionDisagrees, why)
	}
	for again := true; again; {
		if err := c.applyRetention(ctx, j); err != nil {
			return total, fmt.Errorf("expire points: %w", err)
		}
		var n int64
		n, again, err = c.expireSome(ctx, j)
		total += n
		if err != nil {
			return total, fmt.Errorf("expire points: %w", err)
		}
	}
	return total, nil
}

// expireSome forgets a batch of points whose time is over. again says that
// there may be more, or that retention was changed meanwhile, in which case
// nothing was forgotten.
func (c *Catalog) expireSome(ctx context.Context, j *jobs.Job) (n int64, again bool, err error) {
	const over = `tenant = $1 AND expires <= $2 AND NOT EXISTS (
		SELECT 1 FROM restore_artifact a WHERE a.point = restore_point.id AND a.status IN ('scheduled', 'inProgress'))
		AND NOT EXISTS (SELECT 1 FROM browse_session b WHERE b.point = restore_point.id AND b.expires > $2)
		AND NOT EXISTS (SELECT 1 FROM granular_artifact g WHERE g.point = restore_point.id AND g.status IN ('scheduled', 'inProgress'))`
	now := database.Micros(c.now())
	err = c.db.Tx(ctx, func(tx *database.Tx) error {
		n, again = 0, false
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		// Held until the end, so that a hold which has been answered holds.
		kept, err := readRetentions(ctx, tx, j.Tenant, tx.Dialect().ForUpdate())
		if err != nil {
			return err
		}
		if again = len(kept.outstanding()) > 0; again {
			return nil
		}
		if kept[""].Kept.LegalHold {
			return nil
		}
		held := []backup.PolicyID{}
		for p, r := range kept {
			if r.Kept.LegalHold {
				held = append(held, p)
			}
		}
		rows, err := tx.QueryContext(ctx, `
			DELETE FROM restore_point WHERE id IN (SELECT id FROM restore_point WHERE `+over+` 
				AND policy NOT IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$4")+` AS e) ORDER BY expires LIMIT $3)
			RETURNING unit, drive`, string(j.Tenant), now, c.batch, jsonList(held))
		gone, err := collect(rows, err, func(r scanner) (d [2]string, err error) { return d, r.Scan(&d[0], &d[1]) })
		if err != nil {
			return fmt.Errorf("delete points: %w", err)
		}
		n = int64(len(gone))
		again = n == int64(c.batch)
		if n == 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE drive_state SET trim = 1
			WHERE tenant = $1 AND trim = 0 AND (unit, drive) IN (SELECT e.value->>0, e.value->>1 FROM `+tx.Dialect().JSONRows("$2")+` AS e)`,
			string(j.Tenant), jsonList(gone))
		return err
	})
	return n, again, err
}

// LiveTrees returns the trees in the vault that the points of a drive name,
// those that are being restored, and that of a checkpoint. The others may go.
func (c *Catalog) LiveTrees(ctx context.Context, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) ([]string, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT r.tree FROM restore_point r WHERE r.tenant = $1 AND r.unit = $2 AND r.drive = $3
		UNION SELECT s.tree FROM drive_state s WHERE s.tenant = $1 AND s.unit = $2 AND s.drive = $3 AND s.tree <> ''
		UNION SELECT s.checkpoint FROM drive_state s WHERE s.tenant = $1 AND s.unit = $2 AND s.drive = $3 AND s.checkpoint <> ''
		ORDER BY 1`, string(tenant), string(unit), string(drive))
	trees, err := collect(rows, err, func(r scanner) (t string, err error) { return t, r.Scan(&t) })
	if err != nil {
		return nil, fmt.Errorf("list trees of drive %s: %w", drive, err)
	}
	return trees, nil
}
