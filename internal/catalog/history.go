package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A history is an index of what drives or mailboxes held at which time, so that things
// are found without the vault being read. It is two tables: one has a row of each drive
// that is indexed, the other rows of what it held, each from one point on until another.
// What changed is written ahead of its point, many rows at a time, and counts once the
// point is committed; what was written for a point that never was is taken back.
type history struct {
	index, items string // the tables
	place        string // their column of the number of the drive's index
	key          string // the other columns by which rows are told apart, but for since
}

// notYet is the end of a row of a history whose item is as it was.
const notYet = 9223372036854775807

// An indexed is the index of one drive.
type indexed struct {
	place             int64 // 0 where there is none
	tree              string
	since, at, staged int64
}

// read returns the index of a drive.
func (h history) read(ctx context.Context, q database.Queryer, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) (x indexed, err error) {
	err = q.QueryRowContext(ctx, `SELECT `+h.place+`, tree, since, at, staged FROM `+h.index+` WHERE unit = $1 AND drive = $2 AND tenant || '' = $3`,
		string(unit), string(drive), string(tenant)).Scan(&x.place, &x.tree, &x.since, &x.at, &x.staged)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return x, err
}

// An indexing says for which point the changes of a drive are written.
type indexing struct {
	unit  backup.UnitID
	drive backup.DriveID
	at    time.Time // the point's
	anew  bool      // they are all that there is, from since on
	since int64     // notYet: from the point on
}

// begin has an index be written for a point: it takes back what was written for one
// that was never committed. Where there is nothing of that kind, write, which may be nil,
// has the first of it be written in the same transaction, and wrote says so.
func (h history) begin(ctx context.Context, c *Catalog, j *jobs.Job, s indexing, write func(*database.Tx, indexed) error) (x indexed, wrote bool, err error) {
	var left bool
	err = c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		if x, err = h.read(ctx, tx, j.Tenant, s.unit, s.drive); err != nil {
			return err
		}
		left = x.staged != 0
		if x.staged = database.Micros(s.at); x.staged <= x.at {
			x.staged = x.at + 1 // the clock was put back
		}
		if s.anew || x.place == 0 {
			left = x.place != 0
			x.tree, x.since, x.at = "", s.since, 0
		}
		if x.place == 0 {
			x.place = rand.Int64N(1<<48) + 1
			_, err = tx.ExecContext(ctx, `
				INSERT INTO `+h.index+` (`+h.place+`, unit, drive, tenant, tree, since, at, staged) VALUES ($1, $2, $3, $4, '', $5, 0, $6)`,
				x.place, string(s.unit), string(s.drive), string(j.Tenant), x.since, x.staged)
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE `+h.index+` SET tree = $2, since = $3, at = $4, staged = $5 WHERE `+h.place+` = $1`,
				x.place, x.tree, x.since, x.at, x.staged)
		}
		if wrote = err == nil && !left && write != nil; wrote {
			err = write(tx, x)
		}
		return err
	})
	if err != nil || !left {
		return x, wrote, err
	}
	for _, text := range []string{
		h.some(`DELETE FROM `, `since > $2`),
		h.some(`UPDATE `, `until > $2 AND until < 9223372036854775807`),
	} {
		if err := c.inBatches(ctx, j, text, x.place, x.at, c.batch); err != nil {
			return x, false, err
		}
	}
	return x, false, nil
}

// some is a statement that deletes rows of a drive of which something is true, or has
// them be as before, no more at a time than its last parameter says; $1 is the drive's
// number, $2 is for the condition.
func (h history) some(verb, condition string) string {
	of, set := h.place+`, `+h.key+`, since`, ``
	if verb != `DELETE FROM ` {
		set = ` SET until = 9223372036854775807`
	}
	return verb + h.items + set + ` WHERE (` + of + `) IN (SELECT ` + of + ` FROM ` + h.items + ` WHERE ` + h.place + ` = $1 AND ` + condition + ` LIMIT $3)`
}

// inBatches runs a statement that changes no more rows than its last argument says,
// each time in a transaction of its own, until it changes fewer.
func (c *Catalog) inBatches(ctx context.Context, j *jobs.Job, text string, args ...any) error {
	most := int64(args[len(args)-1].(int))
	for {
		var n int64
		err := c.db.Tx(ctx, func(tx *database.Tx) (err error) {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			n, err = affected(tx.ExecContext(ctx, text, args...))
			return err
		})
		if err != nil || n < most {
			return err
		}
	}
}

// hold keeps an index for a run that writes it: ErrMoved if another has begun since, as
// a restore may, which backs its drive up beside the backup.
func (h history) hold(ctx context.Context, tx *database.Tx, x indexed) error {
	n, err := affected(tx.ExecContext(ctx, `UPDATE `+h.index+` SET staged = staged WHERE `+h.place+` = $1 AND staged = $2`, x.place, x.staged))
	if err == nil && n == 0 {
		err = ErrMoved
	}
	return err
}

// commit has what was staged for a point of a drive count from now on. Where another run
// has begun to write meanwhile, the index has nothing to go on with, and is made anew by
// the next.
func (h history) commit(ctx context.Context, tx *database.Tx, p backup.Point, drive backup.DriveID, tree string, staged int64) error {
	n, err := affected(tx.ExecContext(ctx, `
		UPDATE `+h.index+` SET tree = CASE WHEN staged = $5 THEN $4 ELSE '' END, at = CASE WHEN staged = $5 THEN staged ELSE at END,
			since = CASE WHEN since = 9223372036854775807 THEN staged ELSE since END, staged = CASE WHEN staged = $5 THEN 0 ELSE staged END
		WHERE unit = $1 AND drive = $2 AND tenant = $3 AND staged <> 0`, string(p.Unit), string(drive), string(p.Tenant), tree, staged))
	if err != nil {
		return fmt.Errorf("commit an index: %w", err)
	}
	if n == 0 {
		return errors.New("commit an index: nothing was staged")
	}
	return nil
}

// pruneHistories deletes what is known of items that no point of a tenant has any more,
// of those drives that have lost points.
func (c *Catalog) pruneHistories(ctx context.Context, j *jobs.Job) error {
	// A library's points are its site's, which is known by the unit's subject.
	err := mailHistory.prune(ctx, c, j, `r.drive = x.drive`)
	if err == nil {
		err = nameHistory.prune(ctx, c, j, `(r.drive = x.drive OR r.drive = (SELECT u.subject FROM unit u WHERE u.id = x.unit))`)
	}
	return err
}

func (h history) prune(ctx context.Context, c *Catalog, j *jobs.Job, points string) error {
	type pruned struct {
		place int64
		first sql.NullInt64
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT x.`+h.place+`, (SELECT min(r.at) FROM restore_point r WHERE r.unit = x.unit AND `+points+`)
		FROM (SELECT DISTINCT s.unit FROM drive_state s WHERE s.tenant = $1 AND s.trim = 1) s CROSS JOIN `+h.index+` x WHERE x.unit = s.unit AND x.tenant || '' = $1`, string(j.Tenant))
	all, err := collect(rows, err, func(r scanner) (p pruned, err error) { return p, r.Scan(&p.place, &p.first) })
	if err != nil {
		return fmt.Errorf("list indexes: %w", err)
	}
	for _, p := range all {
		if !p.first.Valid {
			if err := h.drop(ctx, c, j, p.place); err != nil {
				return err
			}
			continue
		}
		if err := c.inBatches(ctx, j, h.some(`DELETE FROM `, `until <= $2 AND until < 9223372036854775807`), p.place, p.first.Int64, c.batch); err != nil {
			return fmt.Errorf("delete items: %w", err)
		}
	}
	return nil
}

// forgetHistories forgets all that is known of what a unit held.
func (c *Catalog) forgetHistories(ctx context.Context, j *jobs.Job, unit backup.UnitID) error {
	for _, h := range []history{mailHistory, nameHistory} {
		rows, err := c.db.Read().QueryContext(ctx, `SELECT `+h.place+` FROM `+h.index+` WHERE unit = $1 AND tenant || '' = $2`, string(unit), string(j.Tenant))
		places, err := collect(rows, err, func(r scanner) (n int64, err error) { return n, r.Scan(&n) })
		if err != nil {
			return fmt.Errorf("list indexes: %w", err)
		}
		for _, place := range places {
			if err := h.drop(ctx, c, j, place); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop forgets an index.
func (h history) drop(ctx context.Context, c *Catalog, j *jobs.Job, place int64) error {
	held := func(text string) error {
		return c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, text, place)
			return err
		})
	}
	// Nothing is found in it from now on, should another process do the rest.
	err := held(`UPDATE ` + h.index + ` SET tree = '', since = 9223372036854775807 WHERE ` + h.place + ` = $1`)
	if err == nil {
		err = c.inBatches(ctx, j, h.some(`DELETE FROM `, `since >= $2`), place, int64(0), c.batch)
	}
	if err == nil {
		err = held(`DELETE FROM ` + h.index + ` WHERE ` + h.place + ` = $1`)
	}
	if err != nil {
		return fmt.Errorf("forget an index: %w", err)
	}
	return nil
}
