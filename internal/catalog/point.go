package catalog

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
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
		return `coalesce((SELECT r.` + column + ` FROM restore_point r WHERE r.id = ` + periodOf(t+".point") + `), 0)`
	}
	return of("verified") + ", " + of("lost")
}

// pointKeys are what orders points.
var pointKeys = []sortKey{{expr: "at"}, {expr: "id", text: true}}

// Points lists the restore points of a unit that have not expired, in the
// order of their time. An unknown unit has none.
func (c *Catalog) Points(ctx context.Context, tenant backup.TenantID, q PointQuery) (List[backup.Point], error) {
	l, err := c.points(ctx, tenant, q)
	if err != nil {
		return l, fmt.Errorf("list points: %w", err)
	}
	return l, nil
}

func (c *Catalog) points(ctx context.Context, tenant backup.TenantID, q PointQuery) (l List[backup.Point], err error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	if in, err := c.unitsWithin(ctx, c.db.Read(), tenant, []backup.UnitID{q.Unit}); err != nil || len(in) == 0 {
		return l, err
	}
	now := c.now()
	wanted := func(p *period, i int) bool {
		at := p.at(i)
		switch {
		case !q.From.IsZero() && (at.Before(q.From) || !q.FromIncl && at.Equal(q.From)),
			!q.To.IsZero() && (at.After(q.To) || !q.ToIncl && at.Equal(q.To)):
			return false
		}
		return p.expires(i).After(now) && (q.Tags == "" || p.tags(i) == q.Tags)
	}
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.From.IsZero() {
		from = database.Micros(q.From)
	}
	if !q.To.IsZero() {
		to = database.Micros(q.To)
	}
	if q.Count {
		err := c.periods(ctx, tenant, q.Unit, from, to, now, q.Oldest, 1000, func(p *period) bool {
			for i := range p.size() {
				l.Total += int64(bit(wanted(p, i)))
			}
			return true
		})
		if err != nil || q.Bare {
			return l, err
		}
	}
	skip, place := q.Skip, func(one *backup.Point) place { return place{database.Micros(one.At), string(one.ID)} }
	keys := slices.Clone(pointKeys)
	keys[0].desc, keys[1].desc = !q.Oldest, !q.Oldest
	var cur cursor
	if q.After != "" {
		if cur, err = parseCursor(q.After, keys); err != nil {
			return l, err
		}
		skip += cur.skip
		if at, _ := cur.after[0].(int64); q.Oldest {
			from = max(from, at)
		} else {
			to = min(to, at)
		}
	}
	need := skip + q.Limit + 1
	less := func(a, b backup.Point) int { return place(&a).compare(place(&b), keys) }
	err = c.periods(ctx, tenant, q.Unit, from, to, now, q.Oldest, min(need, 200), func(p *period) bool {
		for n := range p.size() {
			i := n
			if !q.Oldest {
				i = p.size() - 1 - n
			}
			if !wanted(p, i) {
				continue
			}
			if one := p.point(i); cur.after == nil || cur.after.compare(place(&one), keys) < 0 {
				l.Items = append(l.Items, one)
			}
		}
		slices.SortStableFunc(l.Items, less) // two may be of one time
		if len(l.Items) < need {
			return true
		}
		// What comes may yet be of the same time as the end of the period.
		if end := l.Items[need-1].At; q.Oldest {
			return !end.Before(p.last())
		} else {
			return !end.After(p.At)
		}
	})
	if err != nil {
		return l, err
	}
	l.Items = l.Items[min(skip, len(l.Items)):]
	if len(l.Items) > q.Limit {
		l.Items = slices.Clip(l.Items[:q.Limit])
		l.Next = cursor{after: place(&l.Items[q.Limit-1])}.String()
	}
	return l, nil
}

// periods gives to fn the periods of a unit that have points between two times,
// both inclusive, and some of whose points have not expired: the oldest first or
// last, until it has had enough. They are read so many at a time.
func (c *Catalog) periods(ctx context.Context, tenant backup.TenantID, unit backup.UnitID, from, to int64, now time.Time, oldest bool, part int, fn func(*period) (more bool)) error {
	// The expressions keep the planner of a database that knows little of the
	// table yet from reading all points of the tenant to find those of one unit.
	const mine = `r.unit = $1 AND r.tenant || '' = $2 AND r.expires + 0 > $3`
	for at, id := int64(0), ""; ; {
		args := []any{string(unit), string(tenant), database.Micros(now), from, to, part}
		text := `SELECT ` + periodColumns + ` FROM restore_point r WHERE ` + mine + ` AND r.at <= $5 AND r.at >= `
		first := `coalesce((SELECT max(b.at) FROM restore_point b WHERE b.unit = $1 AND b.at <= $4), $4)`
		switch order := ` ORDER BY r.at DESC, r.id DESC LIMIT $6`; {
		case oldest && id == "":
			text += first + ` ORDER BY r.at, r.id LIMIT $6`
		case oldest:
			text += `$4 AND (r.at > $4 OR r.id > $7) ORDER BY r.at, r.id LIMIT $6`
			args[3] = at
			args = append(args, id)
		case id == "":
			text += first + order
		default:
			text += first + ` AND (r.at < $5 OR r.id < $7)` + order
			args[4] = at
			args = append(args, id)
		}
		rows, err := c.db.Read().QueryContext(ctx, text, args...)
		all, err := collect(rows, err, scanPeriod)
		if err != nil {
			return err
		}
		for i := range all {
			if !fn(&all[i]) {
				return nil
			}
		}
		if len(all) < part {
			return nil
		}
		at, id = database.Micros(all[part-1].At), string(all[part-1].ID)
	}
}

func invalidPoint(id backup.PointID) *backup.Error {
	return backup.Fail(backup.InvalidRestorePoint, "There is no such restore point, or it has expired. List the unit's restore points to see which there are.").On(string(id))
}

// Point returns a restore point that has not expired, or InvalidRestorePoint.
func (c *Catalog) Point(ctx context.Context, tenant backup.TenantID, id backup.PointID) (backup.Point, error) {
	points, err := c.pointsByID(ctx, c.db.Read(), c.db.Dialect(), tenant, []backup.PointID{id}, c.now())
	if err != nil {
		return backup.Point{}, fmt.Errorf("read point %s: %w", id, err)
	}
	p, ok := points[id]
	if !ok {
		return p, invalidPoint(id)
	}
	return p, nil
}

// pointsByID returns those of some points that are there and have not expired.
func (c *Catalog) pointsByID(ctx context.Context, db database.Queryer, d database.Dialect, tenant backup.TenantID, ids []backup.PointID, now time.Time) (map[backup.PointID]backup.Point, error) {
	type found struct {
		period
		asked backup.PointID
	}
	rows, err := db.QueryContext(ctx, `
		WITH c AS MATERIALIZED (SELECT e.value AS asked, `+periodOf("e.value")+` AS id FROM `+d.JSONEach("$1")+` AS e)
		SELECT `+periodColumns+`, c.asked FROM c CROSS JOIN restore_point r WHERE r.id = c.id AND r.tenant || '' = $2 AND r.expires + 0 > $3`,
		jsonList(ids), string(tenant), database.Micros(now))
	all, err := collect(rows, err, func(r scanner) (f found, err error) {
		return f, r.Scan(append(f.fields(), &f.asked)...)
	})
	if err != nil {
		return nil, err
	}
	var units []backup.UnitID
	for _, f := range all {
		units = append(units, f.Unit)
	}
	if units, err = c.unitsWithin(ctx, db, tenant, units); err != nil {
		return nil, err
	}
	points := map[backup.PointID]backup.Point{}
	for _, f := range all {
		if !slices.Contains(units, f.Unit) {
			continue
		}
		if i := f.find(f.asked); i >= 0 && f.expires(i).After(now) {
			points[f.asked] = f.point(i)
		}
	}
	return points, nil
}

// A PointSearch asks for one restore point of each of several units.
type PointSearch struct {
	Units    []backup.UnitID
	From, To time.Time        // both inclusive; zero = open
	Tags     backup.PointTags // "" = any
	Oldest   bool             // the oldest of those that match, not the newest
	Drive    backup.DriveID   // that they are of, where the owner may have had another; "" = any
}

// PointsFound is what a search found.
type PointsFound struct {
	Points  []backup.Point  // one of each unit that has any, in the order asked
	Missing []backup.UnitID // the other units, in the order asked
}

// SearchPoints finds one restore point of each unit, never a lost one. A unit that is unknown
// has none; one that is named twice is found once.
func (c *Catalog) SearchPoints(ctx context.Context, tenant backup.TenantID, s PointSearch) (PointsFound, error) {
	var found PointsFound
	within := s
	var err error
	if within.Units, err = c.unitsWithin(ctx, c.db.Read(), tenant, s.Units); err != nil {
		return found, err
	}
	byUnit, err := c.onePoint(ctx, c.db.Read(), tenant, within)
	if err != nil {
		return found, fmt.Errorf("search points: %w", err)
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

// onePoint returns the point that a search finds of each unit that has one. It
// looks at one period of each, and again at the next one of those whose first
// had a point that nearly fits.
func (c *Catalog) onePoint(ctx context.Context, db database.Queryer, tenant backup.TenantID, s PointSearch) (map[backup.UnitID]backup.Point, error) {
	now, from, to := c.now(), database.Micros(s.From), int64(math.MaxInt64)
	if !s.To.IsZero() {
		to = database.Micros(s.To)
	}
	fits := func(p *period) (one backup.Point, ok bool) {
		for n := range p.size() {
			i := n
			if !s.Oldest {
				i = p.size() - 1 - n
			}
			at := database.Micros(p.at(i))
			if at >= from && at <= to && p.expires(i).After(now) && (s.Tags == "" || p.tags(i) == s.Tags) {
				return p.point(i), true
			}
		}
		return one, false
	}
	type bound struct {
		Unit backup.UnitID
		At   int64
		ID   backup.PointID // "" = all of that time
	}
	tagged := map[backup.PointTags]string{
		backup.TagNone:        ` AND (x.tags = 'none' OR x.runs <> '')`,
		backup.TagFastRestore: ` AND x.tags = 'fastRestore'`,
	}[s.Tags]
	ofDrive, more := "", []any(nil)
	if s.Drive != "" {
		ofDrive, more = ` AND x.drive = $4`, []any{string(s.Drive)}
	}
	// next returns the next period behind each bound.
	next := func(bounds []bound, oldest bool) ([]period, error) {
		way, order := "<", "DESC"
		if oldest {
			way, order = ">", "ASC"
		}
		at := `CAST(e.value->>'At' AS BIGINT)`
		// The two expressions on x are for planners that know little of the table.
		rows, err := db.QueryContext(ctx, `
			WITH c AS MATERIALIZED (SELECT (
				SELECT x.id FROM restore_point x
				WHERE x.unit = e.value->>'Unit' AND x.at `+way+`= `+at+` AND (x.at `+way+` `+at+` OR e.value->>'ID' = '' OR x.id `+way+` e.value->>'ID')
					AND x.tenant || '' = $2 AND x.expires + 0 > $3 AND x.lost = 0`+tagged+ofDrive+`
				ORDER BY x.at `+order+`, x.id `+order+` LIMIT 1) AS id FROM `+c.db.Dialect().JSONRows("$1")+` AS e)
			SELECT `+periodColumns+` FROM c CROSS JOIN restore_point r WHERE r.id = c.id`,
			append([]any{jsonList(bounds), string(tenant), database.Micros(now)}, more...)...)
		return collect(rows, err, scanPeriod)
	}
	found := map[backup.UnitID]backup.Point{}
	bounds := map[backup.UnitID]bound{}
	for _, u := range s.Units {
		bounds[u] = bound{Unit: u, At: to}
		if s.Oldest {
			bounds[u] = bound{Unit: u, At: from}
		}
	}
	look := func(oldest bool) error {
		left := slices.Collect(maps.Values(bounds))
		for len(left) > 0 {
			periods, err := next(left, oldest)
			if err != nil {
				return err
			}
			left = nil
			for i := range periods {
				p := &periods[i]
				at := database.Micros(p.At)
				b := bound{p.Unit, at, p.ID}
				if one, ok := fits(p); ok {
					found[p.Unit] = one
					delete(bounds, p.Unit)
					continue
				}
				bounds[p.Unit] = b
				if oldest == s.Oldest && (oldest && at <= to || !oldest && at >= from) {
					left = append(left, b)
				}
			}
		}
		return nil
	}
	// The oldest may be of a period that began before.
	if s.Oldest && !s.From.IsZero() {
		if err := look(false); err != nil {
			return nil, err
		}
	}
	return found, look(s.Oldest)
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
	if err := c.pruneHistories(ctx, j); err != nil {
		return total, fmt.Errorf("expire what is found by its name: %w", err)
	}
	return total, nil
}

// expireSome forgets a batch of points whose time is over. again says that
// there may be more, or that retention was changed meanwhile, in which case
// nothing was forgotten.
func (c *Catalog) expireSome(ctx context.Context, j *jobs.Job) (n int64, again bool, err error) {
	over := `tenant = $1 AND expires <= $2 AND NOT EXISTS (
		SELECT 1 FROM restore_artifact a WHERE ` + ofPeriod("a.point") + ` AND a.status IN ('scheduled', 'inProgress'))
		AND NOT EXISTS (SELECT 1 FROM browse_session b WHERE ` + ofPeriod("b.point") + ` AND b.expires > $2)
		AND NOT EXISTS (SELECT 1 FROM granular_artifact g WHERE ` + ofPeriod("g.point") + ` AND g.status IN ('scheduled', 'inProgress'))`
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
			RETURNING unit, drive, runs`, string(j.Tenant), now, c.batch, jsonList(held))
		gone, err := collect(rows, err, func(r scanner) (d [2]string, err error) {
			var own runs
			err = r.Scan(&d[0], &d[1], &own)
			n += int64(1 + len(own))
			return d, err
		})
		if err != nil {
			return fmt.Errorf("delete points: %w", err)
		}
		if again = len(gone) == c.batch; len(gone) == 0 {
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
//
// Here, and wherever else what is one unit's is looked for, a tenant's id is compared with
// an empty text behind it, which no index serves: SQLite, which knows nothing of how rows
// are spread, might take an index on the tenant for that on the unit, and read all of the
// tenant's.
func (c *Catalog) LiveTrees(ctx context.Context, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) ([]string, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT r.tree FROM restore_point r WHERE r.tenant || '' = $1 AND r.unit = $2 AND r.drive = $3
		UNION SELECT s.tree FROM drive_state s WHERE s.tenant = $1 AND s.unit = $2 AND s.drive = $3 AND s.tree <> ''
		UNION SELECT s.checkpoint FROM drive_state s WHERE s.tenant = $1 AND s.unit = $2 AND s.drive = $3 AND s.checkpoint <> ''
		ORDER BY 1`, string(tenant), string(unit), string(drive))
	trees, err := collect(rows, err, func(r scanner) (t string, err error) { return t, r.Scan(&t) })
	if err != nil {
		return nil, fmt.Errorf("list trees of drive %s: %w", drive, err)
	}
	return trees, nil
}
