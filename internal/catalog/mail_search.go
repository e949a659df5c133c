package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// mailSearchTime is how long a search may look through a mailbox. No index has what
// stands in a subject, so that all items of the mailbox are looked at: half a million
// take about two seconds.
const mailSearchTime = 30 * time.Second

// A MailSearch asks for a point of a mailbox that holds certain items.
type MailSearch struct {
	PointSearch // of one unit
	Query       backup.MailQuery
}

// MailFound is what a MailSearch found.
type MailFound struct {
	Point backup.Point
	Items int64 // of the point that were asked for; 0 if no point has any
	// Unsearched says that there are points that cannot be searched, since they were
	// made before the index was.
	Unsearched bool
}

// SearchMail finds the newest or the oldest point of a mailbox that holds any of the
// items asked for. A search that takes too long is InvalidSearchRequest.
func (c *Catalog) SearchMail(ctx context.Context, tenant backup.TenantID, s MailSearch) (MailFound, error) {
	bounded, cancel := context.WithTimeout(ctx, mailSearchTime)
	defer cancel()
	found, err := c.searchMail(bounded, tenant, s)
	if bounded.Err() != nil && ctx.Err() == nil {
		return MailFound{}, backup.Fail(backup.InvalidSearchRequest,
			"The search took longer than "+strconv.Itoa(int(mailSearchTime/time.Second))+" seconds and was stopped. Try again, when the server has less to do.").On("queryExpression")
	}
	if err != nil {
		return MailFound{}, fmt.Errorf("search the mail of unit %s: %w", s.Units[0], err)
	}
	return found, nil
}

func (c *Catalog) searchMail(ctx context.Context, tenant backup.TenantID, s MailSearch) (found MailFound, err error) {
	unit := s.Units[0]
	narrow := func(us int64) {
		if s.Oldest {
			s.From = database.Time(us)
		} else {
			s.To = database.Time(us)
		}
	}
	for ctx.Err() == nil {
		points, err := c.onePoint(ctx, c.db.Read(), tenant, s.PointSearch)
		p, ok := points[unit]
		if err != nil || !ok {
			return found, err
		}
		x, err := mailHistory.read(ctx, c.db.Read(), tenant, unit, p.Drive)
		if err != nil {
			return found, err
		}
		at, ok := x.of(p)
		switch {
		case ok:
		case s.Oldest && x.place != 0 && database.Micros(p.At) < x.since && x.since < notYet:
			found.Unsearched = true
			narrow(x.since)
			continue
		case !s.Oldest && x.place != 0 && database.Micros(p.At) > x.at && x.at >= x.since:
			found.Unsearched = true
			narrow(x.at)
			continue
		default:
			found.Unsearched = true
			return found, nil
		}
		cond, args := mailCondition(c.db.Dialect(), s.Query, []any{x.place, at})
		var n int64
		err = c.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM mail_item m WHERE m.mailbox = $1 AND m.since <= $2 AND m.until > $2 AND `+cond, args...).Scan(&n)
		if err != nil {
			return found, err
		}
		if n > 0 {
			found.Point, found.Items = p, n
			return found, nil
		}
		// What was in no point that is left is in none at all.
		next, way := `max(m.until) - 1`, `m.since <= $2`
		if s.Oldest {
			next, way = `min(m.since)`, `m.until > $2 AND m.since <= `+strconv.FormatInt(x.at, 10)
		}
		var us sql.NullInt64
		err = c.db.Read().QueryRowContext(ctx, `SELECT `+next+` FROM mail_item m WHERE m.mailbox = $1 AND `+way+` AND `+cond, args...).Scan(&us)
		switch {
		case err != nil:
			return found, err
		case us.Valid:
			narrow(us.Int64)
		case s.Oldest && database.Micros(p.At) <= x.at: // what is left is of another time than the index
			narrow(x.at + 1)
		case !s.Oldest:
			narrow(x.since - 1)
		default:
			return found, nil
		}
	}
	return found, ctx.Err()
}

// of returns the time by which the items of a point are found in an index. ok is
// false if it does not have that point's.
func (x indexed) of(p backup.Point) (at int64, ok bool) {
	at = database.Micros(p.At)
	switch {
	case x.place == 0 || at < x.since:
		return 0, false
	case at > x.at: // nothing was changed since
		return x.at, p.Tree == x.tree
	}
	return at, true
}

// MailItems returns what is known of items of a point of a mailbox by their ids, of which
// there are as many as one statement takes: nothing where the index does not have that
// point, or an item.
func (c *Catalog) MailItems(ctx context.Context, tenant backup.TenantID, p backup.Point, ids []backup.ItemID) (map[backup.ItemID]backup.MailItem, error) {
	known := make(map[backup.ItemID]backup.MailItem, len(ids))
	if len(ids) == 0 {
		return known, nil
	}
	x, err := mailHistory.read(ctx, c.db.Read(), tenant, p.Unit, p.Drive)
	if err != nil {
		return nil, fmt.Errorf("read the index of mailbox %s: %w", p.Drive, err)
	}
	at, ok := x.of(p)
	if !ok {
		return known, nil
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT m.item, m.folder, m.kind, m.subject, m.sender, m.at, m.size, m.attachment
		FROM `+c.db.Dialect().JSONEach("$3")+` AS e CROSS JOIN mail_item m WHERE m.mailbox = $1 AND m.item = e.value AND m.since <= $2 AND m.until > $2`,
		x.place, at, jsonList(ids))
	all, err := collect(rows, err, func(r scanner) (m backup.MailItem, err error) {
		return m, r.Scan(&m.ID, &m.Folder, &m.Kind, &m.Subject, &m.Sender.Name, micros{&m.At}, &m.Size, &m.Attachment)
	})
	if err != nil {
		return nil, fmt.Errorf("read items of mailbox %s: %w", p.Drive, err)
	}
	for _, m := range all {
		known[m.ID] = m
	}
	return known, nil
}

// FoundMail returns the ids of the items that an artifact of a mailbox restores, in
// their order: those of its point that its query finds. They are read as they are
// asked for. ArtifactCannotBeRestored if the index has the point no more.
func (c *Catalog) FoundMail(ctx context.Context, a backup.Artifact) iter.Seq2[backup.ItemID, error] {
	return func(yield func(backup.ItemID, error) bool) {
		query, err := backup.ParseMailQuery(a.Query)
		if err == nil && a.Query == "" {
			err = errors.New("the artifact restores all items")
		}
		var x indexed
		if err == nil {
			x, err = mailHistory.read(ctx, c.db.Read(), a.Tenant, a.Point.Unit, a.Point.Drive)
		}
		at, ok := x.of(a.Point)
		if err == nil && !ok {
			err = backup.Fail(backup.ArtifactCannotBeRestored, "What this restore point holds can be searched no more, since the index of the mailbox was made anew. Search again, or restore the whole mailbox.")
		}
		last := backup.ItemID("")
		for err == nil {
			cond, args := mailCondition(c.db.Dialect(), query, []any{x.place, at, string(last), mailBatch})
			var rows *sql.Rows
			rows, err = c.db.Read().QueryContext(ctx, `
				SELECT m.item FROM mail_item m WHERE m.mailbox = $1 AND m.item > $3 AND m.since <= $2 AND m.until > $2 AND `+cond+`
				ORDER BY m.item LIMIT $4`, args...)
			var ids []backup.ItemID
			ids, err = collect(rows, err, func(r scanner) (id backup.ItemID, err error) { return id, r.Scan(&id) })
			for _, id := range ids {
				if last = id; !yield(id, nil) {
					return
				}
			}
			if err == nil && len(ids) < mailBatch {
				return
			}
		}
		yield("", fmt.Errorf("read what artifact %s restores: %w", a.ID, err))
	}
}

// mailCondition returns a condition on the row m of mail_item that is met where a
// query is, and args with its parameters.
func mailCondition(d database.Dialect, q backup.MailQuery, args []any) (string, []any) {
	if q.Parts != nil {
		all := make([]string, len(q.Parts))
		for i, part := range q.Parts {
			all[i], args = mailCondition(d, part, args)
		}
		if q.All {
			return "(" + strings.Join(all, " AND ") + ")", args
		}
		return "(" + strings.Join(all, " OR ") + ")", args
	}
	var column string
	switch q.Property {
	case backup.MailHasAttachment:
		return "m.attachment = " + strconv.Itoa(bit(q.Attachment)), args
	case backup.MailMessageKind:
		args = append(args, string(q.Kind))
		return "m.kind = $" + strconv.Itoa(len(args)), args
	case backup.MailSubject:
		column = "m.subject_words"
	case backup.MailSender:
		column = "m.sender_words"
	case backup.MailParticipants:
		column = "m.people_words"
	default:
		return "1 = 1", args
	}
	words := wordsOf(q.Text)
	switch q.Match {
	case backup.MailBegun:
		words = strings.TrimSuffix(words, " ")
	case backup.MailContains:
		words = strings.TrimSpace(words)
	case backup.MailIs:
		if q.Property != backup.MailSubject {
			words = "|" + words + "|"
			break
		}
		args = append(args, words)
		return column + " = $" + strconv.Itoa(len(args)), args
	}
	args = append(args, words)
	return d.Position(column, "$"+strconv.Itoa(len(args))) + " > 0", args
}
