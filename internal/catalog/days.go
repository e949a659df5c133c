package catalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

const (
	daysKept = 400
	// measureApart is how long measures are apart at least: one that is made again after
	// a crash counts once.
	measureApart = 5 * time.Minute
)

// A DayFigure is how a tenant stood with a workload on a day.
type DayFigure struct {
	Day      time.Time // its beginning, in UTC
	Workload backup.Workload
	Measured int64 // how often it was looked at
	Units    int64 // that something is promised of, at all these times together
	Missed   int64 // of these, those whose newest point was older than promised
	Items    int64 // in the newest points, at the last time
	Bytes    int64 // the same
}

// MeasureDay notes how a tenant stands now, for the day that it is, and reports whether
// anything is promised of a unit yet.
func (c *Catalog) MeasureDay(ctx context.Context, j *jobs.Job) (promised bool, err error) {
	now := c.now()
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT u.workload, count(x.unit), coalesce(sum(CASE WHEN x.due < $2 THEN 1 ELSE 0 END), 0), CAST(coalesce(sum(r.files), 0) AS BIGINT), CAST(coalesce(sum(r.bytes), 0) AS BIGINT)
		FROM unit u LEFT JOIN rpo x ON x.unit = u.id
		LEFT JOIN restore_point r ON r.id = (SELECT n.id FROM restore_point n WHERE n.unit = u.id ORDER BY n.at DESC, n.id DESC LIMIT 1)
		WHERE u.tenant = $1 AND u.status <> 'offboarded' GROUP BY u.workload`, string(j.Tenant), database.Micros(now))
	all, err := collect(rows, err, func(r scanner) (f DayFigure, err error) {
		return f, r.Scan(&f.Workload, &f.Units, &f.Missed, &f.Items, &f.Bytes)
	})
	if err != nil {
		return false, fmt.Errorf("measure how tenant %s stands: %w", j.Tenant, err)
	}
	day := dayOf(now)
	return slices.ContainsFunc(all, func(f DayFigure) bool { return f.Units > 0 }), c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		for _, f := range all {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO day_figure (tenant, day, workload, measured, at, units, missed, items, bytes) VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8)
				ON CONFLICT (tenant, day, workload) DO UPDATE SET measured = day_figure.measured + 1, at = excluded.at, units = day_figure.units + excluded.units,
					missed = day_figure.missed + excluded.missed, items = excluded.items, bytes = excluded.bytes WHERE day_figure.at <= $9`,
				string(j.Tenant), day, string(f.Workload), database.Micros(now), f.Units, f.Missed, f.Items, f.Bytes, database.Micros(now.Add(-measureApart)))
			if err != nil {
				return fmt.Errorf("note how tenant %s stands: %w", j.Tenant, err)
			}
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM day_figure WHERE tenant = $1 AND day < $2`, string(j.Tenant), day-daysKept); err != nil {
			return fmt.Errorf("forget days of tenant %s: %w", j.Tenant, err)
		}
		return nil
	})
}

func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// Days lists how a tenant stood on each day that was measured, the newest first.
func (c *Catalog) Days(ctx context.Context, tenant backup.TenantID, page Page) (l List[DayFigure], err error) {
	if scopeOf(ctx) != nil { // the figures are of all units together
		return l, errOutside
	}
	if page.Bare {
		return l, nil
	}
	if page.Limit <= 0 {
		page.Limit = 100
	}
	before, workload := dayOf(c.now())+1, ""
	if page.After != "" {
		text, of, _ := strings.Cut(page.After, " ")
		if before, err = strconv.ParseInt(text, 10, 64); err != nil {
			return l, fmt.Errorf("read where a page of days begins: %w", err)
		}
		workload = of
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT day, workload, measured, units, missed, items, bytes FROM day_figure
		WHERE tenant = $1 AND day <= $2 AND (day < $2 OR workload > $3) ORDER BY day DESC, workload LIMIT $4`, string(tenant), before, workload, page.Limit+1)
	l.Items, err = collect(rows, err, func(r scanner) (f DayFigure, err error) {
		var day int64
		err = r.Scan(&day, &f.Workload, &f.Measured, &f.Units, &f.Missed, &f.Items, &f.Bytes)
		f.Day = time.Unix(day*24*60*60, 0).UTC()
		return f, err
	})
	if err != nil {
		return l, fmt.Errorf("list days: %w", err)
	}
	if len(l.Items) > page.Limit {
		l.Items = l.Items[:page.Limit]
		last := l.Items[page.Limit-1]
		l.Next = fmt.Sprint(dayOf(last.Day), " ", last.Workload)
	}
	return l, nil
}
