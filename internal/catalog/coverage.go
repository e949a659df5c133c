package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A Coverage is how a user or a site stands with one workload.
type Coverage struct {
	Workload backup.Workload
	Subject  backup.Subject
	Unit     *backup.Unit // nil where there is none, or where its backups are given up
	Policy   string       // the display name of the unit's policy
	Figures  Figures      // of the unit
}

// Figures are how a unit's points stand.
type Figures struct {
	RPO    *UnitRPO // nil before the first point, and where the unit is not protected
	At     time.Time
	Files  int64 // of the newest point, as the next two
	Bytes  int64
	Unread int64 // items that it does not hold as they were
	Before int64 // the bytes of the newest of the points that are older than a month; -1 for none
}

// growth is over how long growth is told.
const growth = 30 * 24 * time.Hour

// Coverage lists all units of a tenant with how they stand, and then, in the order of
// their ids, the users and sites of the mirror that no unit is of, once for each
// workload.
func (c *Catalog) Coverage(ctx context.Context, tenant backup.TenantID, page Page) (List[Coverage], error) {
	if page.Bare {
		return List[Coverage]{}, nil
	}
	if after, ok := strings.CutPrefix(page.After, notCovered); ok {
		return c.uncovered(ctx, tenant, after, page.Limit)
	}
	units, err := c.Units(ctx, tenant, UnitQuery{Page: Page{Limit: page.Limit, After: page.After}})
	if err != nil {
		return List[Coverage]{}, err
	}
	all := List[Coverage]{Next: units.Next}
	if all.Next == "" {
		all.Next = notCovered
	}
	figures, err := c.figures(ctx, tenant, units.Items)
	if err != nil {
		return all, err
	}
	for _, u := range units.Items {
		if u.Status == backup.UnitOffboarded { // its subject may have another unit, or none
			continue
		}
		v := figures[u.ID]
		v.Workload, v.Unit = u.Workload, &u
		v.Subject = backup.Subject{ID: u.Subject, DisplayName: u.Name, Address: u.Address, SourceID: u.SourceID}
		all.Items = append(all.Items, v)
	}
	return all, nil
}

// notCovered begins where the pages of those begin that have no unit.
const notCovered = "-"

// figures reads how units stand.
func (c *Catalog) figures(ctx context.Context, tenant backup.TenantID, units []backup.Unit) (map[backup.UnitID]Coverage, error) {
	ids := make([]backup.UnitID, len(units))
	for i, u := range units {
		ids[i] = u.ID
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT u.id, coalesce(p.display_name, ''), coalesce(x.unit, ''), coalesce(x.newest, 0), coalesce(x.promised, 0), coalesce(x.every, 0), coalesce(x.points, 0), coalesce(x.late, 0), coalesce(x.longest, 0),
			coalesce(r.at, 0), coalesce(r.files, 0), coalesce(r.bytes, 0), coalesce(r.unread, 0),
			coalesce((SELECT o.bytes FROM restore_point o WHERE o.unit = u.id AND o.at < $3 ORDER BY o.at DESC, o.id DESC LIMIT 1), -1)
		FROM `+c.db.Dialect().JSONEach("$1")+` AS e CROSS JOIN unit u
		LEFT JOIN policy p ON p.id = u.policy
		LEFT JOIN rpo x ON x.unit = u.id
		LEFT JOIN restore_point r ON r.id = (SELECT n.id FROM restore_point n WHERE n.unit = u.id ORDER BY n.at DESC, n.id DESC LIMIT 1)
		WHERE u.id = e.value AND coalesce(u.tenant, '') = $2`, jsonList(ids), string(tenant), database.Micros(c.now().Add(-growth)))
	list, err := collect(rows, err, func(r scanner) (v struct {
		id backup.UnitID
		Coverage
	}, err error) {
		var x UnitRPO
		var promised, every, longest int64
		f := &v.Figures
		err = r.Scan(&v.id, &v.Policy, &x.Unit, micros{&x.Newest}, &promised, &every, &x.Points, &x.Late, &longest, micros{&f.At}, &f.Files, &f.Bytes, &f.Unread, &f.Before)
		x.Promised, x.Every, x.Longest = time.Duration(promised)*time.Microsecond, time.Duration(every)*time.Microsecond, time.Duration(longest)*time.Microsecond
		if x.Unit != "" {
			f.RPO, f.At = &x, x.Newest // a run that finds nothing makes no row
		}
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("read how units stand: %w", err)
	}
	all := make(map[backup.UnitID]Coverage, len(list))
	for _, v := range list {
		all[v.id] = v.Coverage
	}
	return all, nil
}

// uncovered is the part of Coverage that is of no units, after a subject.
func (c *Catalog) uncovered(ctx context.Context, tenant backup.TenantID, after string, limit int) (all List[Coverage], err error) {
	if limit <= 0 {
		limit = 100
	}
	type subject struct {
		backup.Subject
		of [3]bool // workloads that it could have a unit of, and has not
	}
	without := func(w backup.Workload, site string) string {
		return `CASE WHEN d.site = ` + site + ` AND NOT EXISTS (SELECT 1 FROM unit u WHERE u.tenant = d.tenant AND u.workload = '` + string(w) + `' AND u.subject = d.id AND u.status <> 'offboarded') THEN 1 ELSE 0 END`
	}
	args := []any{string(tenant), after, limit}
	from, id := `subject d WHERE d.tenant = $1`, `d.id`
	if scope := scopeOf(ctx); scope != nil {
		arg := func(v any) string { args = append(args, v); return "$" + strconv.Itoa(len(args)) }
		// The tenant follows from the owner, so that PostgreSQL does not read all subjects.
		from = `(` + scope.in(c, tenant, arg).ownerIDs() + `) AS o CROSS JOIN subject d WHERE d.tenant = CASE WHEN o.id <> '' THEN CAST($1 AS TEXT) END AND d.id = o.id`
		id = `o.id`
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT d.id, coalesce(nullif(d.mail, ''), d.address), d.display_name, d.source_id, `+without(backup.OneDrive, "0")+`, `+without(backup.Exchange, "0")+`, `+without(backup.SharePoint, "1")+`
		FROM `+from+` AND `+id+` > $2 ORDER BY `+id+` LIMIT $3`, args...)
	subjects, err := collect(rows, err, func(r scanner) (s subject, err error) {
		var of [3]int
		err = r.Scan(&s.ID, &s.Address, &s.DisplayName, &s.SourceID, &of[0], &of[1], &of[2])
		for i, n := range of {
			s.of[i] = n == 1
		}
		return s, err
	})
	if err != nil {
		return all, fmt.Errorf("list who has no unit: %w", err)
	}
	for _, s := range subjects {
		for i, w := range [3]backup.Workload{backup.OneDrive, backup.Exchange, backup.SharePoint} {
			if s.of[i] {
				all.Items = append(all.Items, Coverage{Workload: w, Subject: s.Subject, Figures: Figures{Before: -1}})
			}
		}
	}
	if len(subjects) == limit {
		all.Next = notCovered + string(subjects[limit-1].ID)
	}
	return all, nil
}
