package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A period is a row of restore_point: a point, and those of the runs after it
// that found nothing changed. Of these only the times are stored; all else
// follows. It ends with its UTC day, and has maxRuns of them at most. All of its
// points are kept as long after their times; one that is kept longer than most
// stands alone.
//
// So that another point changes nothing that an index has, a period of several
// goes when a point of its day's end would.
//
// The id of a point is that of the period's first, with the microseconds
// between the two added to its last group. So it stays what it is when its
// period is split.
//
// The periods of a unit do not overlap.
type period struct {
	backup.Point // the first, but with Tags of the last; Expires is as stored
	policy       backup.PolicyID
	longer       bool // kept longer than most
	runs         runs
}

// maxRuns is how many runs a period has beside the first: about a day of them.
const maxRuns = 144

// runs are the times of the runs of a period but the first, as microseconds
// after that, in their order.
type runs []int64

// In the database each is a number of runDigits digits to the base of 32.
const runDigits = 8

func (r runs) String() string {
	var b strings.Builder
	for _, us := range r {
		digits := strconv.FormatInt(us, 32)
		b.WriteString("00000000"[min(len(digits), runDigits):])
		b.WriteString(digits)
	}
	return b.String()
}

func (r *runs) Scan(v any) error {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case []byte:
		text = string(v)
	default:
		return fmt.Errorf("the runs of a point are stored as %T", v)
	}
	*r = make(runs, 0, len(text)/runDigits)
	for last := int64(0); text != ""; {
		us, err := strconv.ParseInt(text[:min(len(text), runDigits)], 32, 64)
		if err != nil || len(text) < runDigits || us <= last {
			return fmt.Errorf("the runs of a point are stored as %q", text)
		}
		*r = append(*r, us)
		last, text = us, text[runDigits:]
	}
	return nil
}

const periodColumns = pointColumns + `, r.policy, r.weekly, r.runs`

func (p *period) fields() []any { return append(pointFields(&p.Point), &p.policy, &p.longer, &p.runs) }

func scanPeriod(r scanner) (p period, err error) { return p, r.Scan(p.fields()...) }

// size is how many points p has.
func (p *period) size() int { return 1 + len(p.runs) }

// after returns how many microseconds after the first point the ith was made.
func (p *period) after(i int) int64 {
	if i == 0 {
		return 0
	}
	return p.runs[i-1]
}

func (p *period) at(i int) time.Time { return p.At.Add(time.Duration(p.after(i)) * time.Microsecond) }

func (p *period) last() time.Time { return p.at(len(p.runs)) }

// expires returns when the ith point does.
func (p *period) expires(i int) time.Time {
	if len(p.runs) == 0 || p.Expires.Equal(backup.KeptForever) {
		return p.Expires
	}
	return p.Expires.Add(-restOfDay(p.at(i)))
}

// storedExpiry returns when a period goes of which one point, made at a time,
// expires at another.
func storedExpiry(at, expires time.Time, alone bool) time.Time {
	if alone || expires.Equal(backup.KeptForever) {
		return expires
	}
	return expires.Add(restOfDay(at))
}

// aDay is one of UTC.
const aDay = 24 * time.Hour

func restOfDay(t time.Time) time.Duration { return aDay - t.Sub(t.Truncate(aDay)) }

// tags returns how the ith point is tagged.
func (p *period) tags(i int) backup.PointTags {
	if i < len(p.runs) {
		return backup.TagNone
	}
	return p.Tags
}

// point returns the ith point.
func (p *period) point(i int) backup.Point {
	one := p.Point
	one.ID, _ = laterID(p.ID, p.after(i))
	one.At, one.Expires, one.Tags = p.at(i), p.expires(i), p.tags(i)
	return one
}

// find returns which of its points has an id, -1 for none.
func (p *period) find(id backup.PointID) int {
	for i := range p.size() {
		if of, _ := laterID(p.ID, p.after(i)); of == id {
			return i
		}
	}
	return -1
}

// laterID returns the id of a point so many microseconds after the first of its
// period. ok is false if there is no such id.
func laterID(first backup.PointID, us int64) (id backup.PointID, ok bool) {
	const group = 24 // where the last one begins
	if us == 0 {
		return first, true
	}
	if len(first) != 36 {
		return first, false
	}
	n, err := strconv.ParseUint(string(first[group:]), 16, 64)
	if n += uint64(us); err != nil || us < 0 || n >= 1<<48 {
		return first, false
	}
	return first[:group] + backup.PointID(fmt.Sprintf("%012x", n)), true
}

// periodOf is the id of the period that has the point whose id an expression
// gives, if any has.
func periodOf(point string) string {
	return `(SELECT p.id FROM restore_point p WHERE p.id <= ` + point + ` AND p.id >= substr(` + point + `, 1, 24) || '000000000000' ORDER BY p.id DESC LIMIT 1)`
}

// ofPeriod is a condition on a column of the ids of points: it is one of the
// period of a row of restore_point, or of what that was split from.
func ofPeriod(column string) string {
	return column + ` >= restore_point.id AND ` + column + ` <= substr(restore_point.id, 1, 24) || 'ffffffffffff'`
}

// keptAlike reports whether two points are kept as long after their times.
func keptAlike(at, expires, otherAt, otherExpires time.Time) bool {
	if expires.Equal(backup.KeptForever) || otherExpires.Equal(backup.KeptForever) {
		return expires.Equal(otherExpires)
	}
	return database.Micros(expires)-database.Micros(at) == database.Micros(otherExpires)-database.Micros(otherAt)
}

// extends reports whether one, which is not kept longer than most, can be a
// point of p.
func (p *period) extends(one *backup.Point, policy backup.PolicyID) bool {
	if p.Drive != one.Drive || p.Tree != one.Tree || p.policy != policy || p.longer || p.Lost || len(p.runs) >= maxRuns ||
		p.Files != one.Files || p.Folders != one.Folders || p.Bytes != one.Bytes || p.Unread != one.Unread ||
		!p.At.Truncate(aDay).Equal(one.At.Truncate(aDay)) || !keptAlike(p.At, p.expires(0), one.At, one.Expires) {
		return false
	}
	_, ok := laterID(p.ID, one.At.Sub(p.At).Microseconds())
	return ok
}

// periodBefore returns the period of a unit that a point falls into or follows, nil if
// there is none.
func periodBefore(ctx context.Context, tx *database.Tx, one *backup.Point) (*period, error) {
	p, err := scanPeriod(tx.QueryRowContext(ctx, `
		SELECT `+periodColumns+` FROM restore_point r WHERE r.unit = $1 AND r.at <= $2 ORDER BY r.at DESC, r.id DESC LIMIT 1`,
		string(one.Unit), database.Micros(one.At)))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the period before: %w", err)
	}
	return &p, nil
}

// extend makes one a point of p, the period before it, if a run found there what
// it found, and reports whether it did. Where it does not, and one falls among
// the points of the period because a clock was put back, that is split.
func extend(ctx context.Context, tx *database.Tx, p *period, one *backup.Point, policy backup.PolicyID, longer bool) (bool, error) {
	i, there := slices.BinarySearch(p.runs, one.At.Sub(p.At).Microseconds())
	ok := p.extends(one, policy)
	switch {
	case longer || !ok:
		if one.At.Before(p.last()) {
			return false, p.split(ctx, tx, segment{0, i, p.expires(i), p.longer}, segment{i + 1, len(p.runs), p.expires(len(p.runs)), p.longer})
		}
		return false, nil
	case there || one.At.Equal(p.At):
		*one = p.point(i + bit(there))
		return true, nil
	}
	fresh := len(p.runs) == 0 || p.Tags != backup.TagFastRestore
	p.runs = slices.Insert(p.runs, i, one.At.Sub(p.At).Microseconds())
	text, args := `UPDATE restore_point SET runs = $2 WHERE id = $1`, []any{string(p.ID), p.runs.String()}
	if fresh {
		if err := moveTag(ctx, tx, one); err != nil {
			return false, err
		}
		p.Expires, p.Tags = storedExpiry(one.At, one.Expires, false), backup.TagFastRestore
		text, args = `UPDATE restore_point SET runs = $2, expires = $3, tags = 'fastRestore' WHERE id = $1`, append(args, database.Micros(p.Expires))
	}
	n, err := affected(tx.ExecContext(ctx, text, args...))
	if err != nil || n == 0 { // it may have expired at this moment
		return false, err
	}
	*one = p.point(i + 1)
	return true, nil
}

// A segment is a part of a period that is to be one of its own: from one point
// to another, the last of which expires at a time.
type segment struct {
	from, to int
	expires  time.Time
	longer   bool
}

// segments returns p in parts, given when each of its points is to expire and
// which of them are kept longer than most.
func (p *period) segments(expires []time.Time, longer []bool) (all []segment) {
	for i := range p.size() {
		if n := len(all) - 1; n >= 0 && !longer[i] && !longer[i-1] && keptAlike(p.at(i-1), expires[i-1], p.at(i), expires[i]) {
			all[n].to, all[n].expires = i, expires[i]
			continue
		}
		all = append(all, segment{i, i, expires[i], longer[i]})
	}
	return all
}

// split makes a period of each of its segments, which together are all of p.
// The points stay what they are.
func (p *period) split(ctx context.Context, tx *database.Tx, parts ...segment) error {
	type row struct {
		ID, Runs, Tags    string
		At, Expires       int64
		Longer, First, To int
	}
	var rows []row
	for n, s := range parts {
		r := row{At: database.Micros(p.at(s.from)), Expires: database.Micros(storedExpiry(p.at(s.to), s.expires, s.from == s.to)), Longer: bit(s.longer), Tags: string(backup.TagNone)}
		if s.longer {
			r.Tags = string(backup.TagFastRestore)
		}
		if n == len(parts)-1 && p.Tags != "" {
			r.To = 1
			if !s.longer {
				r.Tags = string(p.Tags)
			}
		}
		id, ok := laterID(p.ID, p.after(s.from))
		if !ok {
			return fmt.Errorf("split the period of point %s: its points have no ids", p.ID)
		}
		r.ID = string(id)
		var own runs
		for i := s.from + 1; i <= s.to; i++ {
			own = append(own, p.after(i)-p.after(s.from))
		}
		r.Runs = own.String()
		rows = append(rows, r)
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO restore_point (id, tenant, unit, drive, at, expires, weekly, tags, tree, files, folders, bytes, policy, unread, verified, lost, until, runs)
		SELECT e.value->>'ID', r.tenant, r.unit, r.drive, CAST(e.value->>'At' AS BIGINT), CAST(e.value->>'Expires' AS BIGINT), CAST(e.value->>'Longer' AS SMALLINT),
			e.value->>'Tags', r.tree, r.files, r.folders, r.bytes, r.policy, r.unread, r.verified, r.lost, r.until * CAST(e.value->>'To' AS BIGINT), e.value->>'Runs'
		FROM `+tx.Dialect().JSONRows("$2")+` AS e CROSS JOIN restore_point r WHERE r.id = $1`, string(p.ID), jsonList(rows[1:]))
	if err != nil {
		return fmt.Errorf("split a period: %w", err)
	}
	first := rows[0]
	_, err = tx.ExecContext(ctx, `UPDATE restore_point SET runs = $2, expires = $3, weekly = $4, tags = $5, until = until * CAST($6 AS BIGINT) WHERE id = $1`,
		first.ID, first.Runs, first.Expires, first.Longer, first.Tags, first.To)
	if err != nil {
		return fmt.Errorf("shorten a period: %w", err)
	}
	return nil
}
