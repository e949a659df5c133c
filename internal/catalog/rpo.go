package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// An RPO is how well a tenant's drives do by what is promised of their newest
// points: that none becomes older than a time. It is of the units that are
// protected; one whose first point is awaited is not among them.
type RPO struct {
	Units  int64
	Missed int64     // whose newest point is older than promised, now
	Worst  []UnitRPO // those that are the longest overdue or will be next, in their order
	// Last is when the newest point of the unit was made whose next is due last: of all
	// units where the same is promised of them. Zero if there is none.
	Last time.Time
}

// A UnitRPO is how a unit does.
type UnitRPO struct {
	Unit     backup.UnitID
	Newest   time.Time     // when its newest point was made
	Promised time.Duration // how old that may become
	Every    time.Duration // after how long it is visited: quiet drives less often; 0 where nobody said
	Points   int64         // that came since it was protected, but the first
	Late     int64         // of these, those that came later than promised
	Longest  time.Duration // between two points
}

// Overdue reports whether the newest point is older than promised at a time.
func (u UnitRPO) Overdue(now time.Time) bool { return u.Newest.Add(u.Promised).Before(now) }

// RPO tells how a tenant's units do, and names some of the worst.
func (c *Catalog) RPO(ctx context.Context, tenant backup.TenantID, worst int) (r RPO, err error) {
	if scope := scopeOf(ctx); scope != nil {
		return c.rpoWithin(ctx, tenant, scope, worst)
	}
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT CAST((SELECT coalesce(sum(n), 0) FROM unit_count WHERE tenant = $1 AND status = 'protected') AS BIGINT),
			(SELECT count(*) FROM rpo WHERE tenant = $1 AND due < $2),
			coalesce((SELECT newest FROM rpo WHERE tenant = $1 ORDER BY due DESC LIMIT 1), 0)`,
		string(tenant), database.Micros(c.now())).Scan(&r.Units, &r.Missed, micros{&r.Last})
	if err != nil {
		return r, fmt.Errorf("count late units: %w", err)
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT unit, newest, promised, every, points, late, longest FROM rpo WHERE tenant = $1 ORDER BY due, unit LIMIT $2`, string(tenant), worst)
	r.Worst, err = collect(rows, err, scanUnitRPO)
	if err != nil {
		return r, fmt.Errorf("list late units: %w", err)
	}
	return r, nil
}

func scanUnitRPO(r scanner) (u UnitRPO, err error) {
	var promised, every, longest int64
	err = r.Scan(&u.Unit, micros{&u.Newest}, &promised, &every, &u.Points, &u.Late, &longest)
	u.Every = time.Duration(every) * time.Microsecond
	u.Promised, u.Longest = time.Duration(promised)*time.Microsecond, time.Duration(longest)*time.Microsecond
	return u, err
}

// rpoWithin is RPO of the units of a scope.
func (c *Catalog) rpoWithin(ctx context.Context, tenant backup.TenantID, scope *Scope, worst int) (r RPO, err error) {
	var args []any
	arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
	units := `(` + scope.in(c, tenant, arg).units() + `) AS x`
	now := arg(database.Micros(c.now()))
	err = c.db.Read().QueryRowContext(ctx, `
		SELECT coalesce(sum(CASE WHEN u.status = 'protected' THEN 1 ELSE 0 END), 0), coalesce(sum(CASE WHEN p.due < CAST(`+now+` AS BIGINT) THEN 1 ELSE 0 END), 0), coalesce(max(p.newest), 0)
		FROM `+units+` CROSS JOIN unit u LEFT JOIN rpo p ON p.unit = u.id WHERE u.id = x.id`, args...).Scan(&r.Units, &r.Missed, micros{&r.Last})
	if err != nil {
		return r, fmt.Errorf("count late units of the scope: %w", err)
	}
	args = nil
	units = `(` + scope.in(c, tenant, arg).units() + `) AS x`
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT p.unit, p.newest, p.promised, p.every, p.points, p.late, p.longest
		FROM `+units+` CROSS JOIN rpo p WHERE p.unit = x.id ORDER BY p.due, p.unit LIMIT `+arg(worst), args...)
	if r.Worst, err = collect(rows, err, scanUnitRPO); err != nil {
		return r, fmt.Errorf("list late units of the scope: %w", err)
	}
	return r, nil
}

// RPOAges counts a tenant's units whose newest point is at most as old as each of the
// ages, which grow; and all of them, with the sum of their ages. It reads all of them.
func (c *Catalog) RPOAges(ctx context.Context, tenant backup.TenantID, ages []time.Duration) (within []uint64, all uint64, sum time.Duration, err error) {
	now := c.now()
	text, args := `SELECT count(*), coalesce(sum($2 - newest), 0)`, []any{string(tenant), database.Micros(now)}
	within = make([]uint64, len(ages))
	var micros float64
	to := []any{&all, &micros}
	for i, age := range ages {
		text += fmt.Sprintf(`, coalesce(sum(CASE WHEN newest >= $%d THEN 1 ELSE 0 END), 0)`, i+3)
		args, to = append(args, database.Micros(now.Add(-age))), append(to, &within[i])
	}
	if err := c.db.Read().QueryRowContext(ctx, text+` FROM rpo WHERE tenant = $1`, args...).Scan(to...); err != nil {
		return nil, 0, 0, fmt.Errorf("count units by the age of their newest point: %w", err)
	}
	return within, all, time.Duration(micros) * time.Microsecond, nil
}

// keepPromise notes that a unit has a new point, and how old that may become. It
// does nothing for a unit that is not protected.
func keepPromise(ctx context.Context, tx *database.Tx, p *backup.Point, m Commit) error {
	if m.Promise <= 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO rpo (unit, tenant, newest, promised, due, every, points, late, longest)
		SELECT u.id, u.tenant, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($2 AS BIGINT) + CAST($3 AS BIGINT), CAST($4 AS BIGINT), 0, 0, 0 FROM unit u WHERE u.id = $1 AND u.status = 'protected'
		ON CONFLICT (unit) DO UPDATE SET newest = excluded.newest, promised = excluded.promised, due = excluded.due, every = excluded.every, points = rpo.points + 1,
			late = rpo.late + CASE WHEN excluded.newest > rpo.due THEN 1 ELSE 0 END,
			longest = CASE WHEN excluded.newest - rpo.newest > rpo.longest THEN excluded.newest - rpo.newest ELSE rpo.longest END`,
		string(p.Unit), database.Micros(p.At), m.Promise.Microseconds(), m.Every.Microseconds())
	if err != nil {
		return fmt.Errorf("note the newest point's age: %w", err)
	}
	return nil
}
