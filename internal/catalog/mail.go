package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// mailOpen is the end of a row of mail_item whose item is as it was.
const mailOpen = 9223372036854775807

// mailBatch is how many items of a mailbox are written, or read, at a time.
const mailBatch = 1000

// MailIndexTree returns the tree of the point of a mailbox that the index of its mail
// was last written for, "" if there is no index. A run that starts from another tree
// has the index made anew.
func (c *Catalog) MailIndexTree(ctx context.Context, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) (string, error) {
	x, err := readMailIndex(ctx, c.db.Read(), tenant, unit, drive)
	if err != nil {
		return "", fmt.Errorf("read the index of mailbox %s: %w", drive, err)
	}
	return x.tree, nil
}

// A mailIndex is a row of mail_index.
type mailIndex struct {
	mailbox           int64 // 0 where there is none
	tree              string
	since, at, staged int64
}

func readMailIndex(ctx context.Context, q database.Queryer, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) (x mailIndex, err error) {
	err = q.QueryRowContext(ctx, `SELECT mailbox, tree, since, at, staged FROM mail_index WHERE unit = $1 AND drive = $2 AND tenant || '' = $3`,
		string(unit), string(drive), string(tenant)).Scan(&x.mailbox, &x.tree, &x.since, &x.at, &x.staged)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return x, err
}

// A MailStage says for which point the changes of a mailbox's mail are written.
type MailStage struct {
	Unit  backup.UnitID
	Drive backup.DriveID
	At    time.Time // the point's
	// Anew says that the changes are all items that there are: the index begins with
	// this point, and those before are searched no more.
	Anew bool
}

// A MailChange is an item of a mailbox that is new or changed or, where only its ID
// is given, gone. One that is described as before changes nothing.
type MailChange struct {
	backup.MailItem
	Gone bool
}

// StageMail writes what changed of the mail of a mailbox into the index, ahead of the
// point that a run is about to commit: a Commit whose Mail is set makes it count, in
// its transaction. Until then nobody finds any of it, and a later StageMail takes it
// back; so it is called once in a run, and may be called by the run after one that
// was killed. Of several changes of an item the last counts. They are taken as they
// come, mailBatch of them in memory, and in as many transactions. jobs.ErrLost, and
// what changes fails with.
func (c *Catalog) StageMail(ctx context.Context, j *jobs.Job, s MailStage, changes iter.Seq2[MailChange, error]) error {
	err := c.stageMail(ctx, j, s, changes)
	if err != nil {
		return fmt.Errorf("write the index of mailbox %s: %w", s.Drive, err)
	}
	return nil
}

func (c *Catalog) stageMail(ctx context.Context, j *jobs.Job, s MailStage, changes iter.Seq2[MailChange, error]) error {
	x, err := c.beginMail(ctx, j, s)
	if err != nil {
		return err
	}
	batch := map[backup.ItemID]MailChange{}
	write := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			return writeMail(ctx, tx, x, batch)
		})
		clear(batch)
		return err
	}
	for change, err := range changes {
		if err != nil {
			return err
		}
		batch[change.ID] = change
		if len(batch) == mailBatch {
			if err := write(); err != nil {
				return err
			}
		}
	}
	return write()
}

// beginMail has the index be written for a point: it takes back what was written for
// one that was never committed.
func (c *Catalog) beginMail(ctx context.Context, j *jobs.Job, s MailStage) (x mailIndex, err error) {
	var left bool
	err = c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		if x, err = readMailIndex(ctx, tx, j.Tenant, s.Unit, s.Drive); err != nil {
			return err
		}
		left = x.staged != 0
		if x.staged = database.Micros(s.At); x.staged <= x.at {
			x.staged = x.at + 1 // the clock was put back
		}
		if s.Anew || x.mailbox == 0 {
			left = x.mailbox != 0
			x.tree, x.since, x.at = "", mailOpen, 0
		}
		if x.mailbox == 0 {
			x.mailbox = rand.Int64N(mailOpen) + 1
			_, err = tx.ExecContext(ctx, `
				INSERT INTO mail_index (mailbox, unit, drive, tenant, tree, since, at, staged) VALUES ($1, $2, $3, $4, '', $5, 0, $6)`,
				x.mailbox, string(s.Unit), string(s.Drive), string(j.Tenant), x.since, x.staged)
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE mail_index SET tree = $2, since = $3, at = $4, staged = $5 WHERE mailbox = $1`,
			x.mailbox, x.tree, x.since, x.at, x.staged)
		return err
	})
	if err != nil || !left {
		return x, err
	}
	for _, text := range []string{
		`DELETE FROM mail_item WHERE (mailbox, item, since) IN (SELECT m.mailbox, m.item, m.since FROM mail_item m WHERE m.mailbox = $1 AND m.since > $2 LIMIT $3)`,
		`UPDATE mail_item SET until = 9223372036854775807 WHERE (mailbox, item, since) IN (
			SELECT m.mailbox, m.item, m.since FROM mail_item m WHERE m.mailbox = $1 AND m.until > $2 AND m.until < 9223372036854775807 LIMIT $3)`,
	} {
		if err := c.inBatches(ctx, j, text, x.mailbox, x.at, c.batch); err != nil {
			return x, err
		}
	}
	return x, nil
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

// A mailRow is an item of a mailbox as it is stored.
type mailRow struct {
	Folder, Kind, Subject, Sender          string
	At, Size                               int64
	Attachment                             int
	SubjectWords, SenderWords, PeopleWords string
}

// Bounds of what is kept of one item to be searched for.
const (
	maxMailSubject = 1000     // bytes
	maxMailPeople  = 16 << 10 // bytes, of all to whom it was sent
)

func mailRowOf(m backup.MailItem) mailRow {
	subject, sender := bounded(m.Subject, maxMailSubject), bounded(m.Sender.String(), maxMailSubject)
	var people strings.Builder
	for _, p := range m.Recipients {
		if people.Len() > maxMailPeople {
			break
		}
		people.WriteString(personWords(p))
	}
	return mailRow{
		Folder: bounded(m.Folder, maxMailSubject), Kind: string(m.Kind), Subject: subject, Sender: sender,
		At: database.Micros(m.At), Size: m.Size, Attachment: bit(m.Attachment),
		SubjectWords: wordsOf(subject), SenderWords: personWords(m.Sender), PeopleWords: people.String(),
	}
}

// bounded returns the beginning of a text that any database can hold.
func bounded(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
	if len(text) <= most {
		return text
	}
	text = text[:most]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text
}

// wordsOf returns a text as it is searched for: its words in lower case, a blank
// before and behind each.
func wordsOf(text string) string {
	words := strings.FieldsFunc(strings.ToLower(norm.NFKC.String(text)), func(r rune) bool { return !backup.IsWord(r) })
	if len(words) == 0 {
		return " "
	}
	return " " + strings.Join(words, " ") + " "
}

// personWords is wordsOf for the name and for the address of a person, each closed by
// a bar, so that no search runs from one into the next.
func personWords(p backup.Person) string {
	name, address := wordsOf(bounded(p.Name, maxMailSubject)), wordsOf(bounded(p.Address, maxMailSubject))
	if name == address || p.Name == "" {
		return "|" + address + "|"
	}
	return "|" + name + "|" + address + "|"
}

// writeMail writes changes of items, which are staged.
func writeMail(ctx context.Context, tx *database.Tx, x mailIndex, changes map[backup.ItemID]MailChange) error {
	type open struct {
		item  backup.ItemID
		since int64
		mailRow
	}
	ids := make([]backup.ItemID, 0, len(changes))
	for id := range changes {
		ids = append(ids, id)
	}
	rows, err := tx.QueryContext(ctx, `
		SELECT m.item, m.since, m.folder, m.kind, m.subject, m.sender, m.at, m.size, m.attachment, m.subject_words, m.sender_words, m.people_words
		FROM `+tx.Dialect().JSONEach("$2")+` AS e CROSS JOIN mail_item m WHERE m.mailbox = $1 AND m.item = e.value AND m.until = 9223372036854775807`,
		x.mailbox, jsonList(ids))
	all, err := collect(rows, err, func(r scanner) (o open, err error) {
		return o, r.Scan(&o.item, &o.since, &o.Folder, &o.Kind, &o.Subject, &o.Sender, &o.At, &o.Size, &o.Attachment, &o.SubjectWords, &o.SenderWords, &o.PeopleWords)
	})
	if err != nil {
		return fmt.Errorf("read items: %w", err)
	}
	type row struct {
		Item backup.ItemID
		mailRow
	}
	var fresh []row
	there := map[backup.ItemID]mailRow{}
	var over, wrong []backup.ItemID // those to be closed, and those of this run that are to be described anew
	for _, o := range all {
		change := changes[o.item]
		if !change.Gone && mailRowOf(change.MailItem) == o.mailRow {
			there[o.item] = o.mailRow
			continue
		}
		if o.since >= x.staged {
			wrong = append(wrong, o.item)
		} else {
			over = append(over, o.item)
		}
	}
	for id, change := range changes {
		if _, same := there[id]; !same && !change.Gone {
			fresh = append(fresh, row{id, mailRowOf(change.MailItem)})
		}
	}
	of := `mailbox = $1 AND item IN (SELECT e.value FROM ` + tx.Dialect().JSONEach("$2") + ` AS e)`
	if len(over) > 0 {
		_, err := tx.ExecContext(ctx, `UPDATE mail_item SET until = $3 WHERE `+of+` AND until = 9223372036854775807`, x.mailbox, jsonList(over), x.staged)
		if err != nil {
			return fmt.Errorf("end items: %w", err)
		}
	}
	if len(wrong) > 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM mail_item WHERE `+of+` AND since >= $3`, x.mailbox, jsonList(wrong), x.staged)
		if err != nil {
			return fmt.Errorf("delete items: %w", err)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO mail_item (mailbox, item, since, until, folder, kind, subject, sender, at, attachment, size, subject_words, sender_words, people_words)
		SELECT CAST($1 AS BIGINT), e.value->>'Item', CAST($3 AS BIGINT), 9223372036854775807, e.value->>'Folder', e.value->>'Kind', e.value->>'Subject', e.value->>'Sender',
			CAST(e.value->>'At' AS BIGINT), CAST(e.value->>'Attachment' AS SMALLINT), CAST(e.value->>'Size' AS BIGINT),
			e.value->>'SubjectWords', e.value->>'SenderWords', e.value->>'PeopleWords'
		FROM `+tx.Dialect().JSONRows("$2")+` AS e`, x.mailbox, jsonList(fresh), x.staged)
	if err != nil {
		return fmt.Errorf("insert items: %w", err)
	}
	return nil
}

// commitMail has what was staged for a point count from now on.
func commitMail(ctx context.Context, tx *database.Tx, p backup.Point) error {
	n, err := affected(tx.ExecContext(ctx, `
		UPDATE mail_index SET tree = $4, at = staged, since = CASE WHEN since = 9223372036854775807 THEN staged ELSE since END, staged = 0
		WHERE unit = $1 AND drive = $2 AND tenant = $3 AND staged <> 0`, string(p.Unit), string(p.Drive), string(p.Tenant), p.Tree))
	if err != nil {
		return fmt.Errorf("commit the index of mail: %w", err)
	}
	if n == 0 {
		return errors.New("commit the index of mail: nothing was staged")
	}
	return nil
}

// pruneMail deletes what the index of mail knows of items that no point of a tenant
// has any more, of those mailboxes that have lost points.
func (c *Catalog) pruneMail(ctx context.Context, j *jobs.Job) error {
	type mailbox struct {
		id    int64
		first sql.NullInt64
	}
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT x.mailbox, (SELECT min(r.at) FROM restore_point r WHERE r.unit = x.unit)
		FROM drive_state s CROSS JOIN mail_index x WHERE s.tenant = $1 AND s.trim = 1 AND x.unit = s.unit AND x.drive = s.drive AND x.tenant || '' = $1`, string(j.Tenant))
	all, err := collect(rows, err, func(r scanner) (m mailbox, err error) { return m, r.Scan(&m.id, &m.first) })
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	for _, m := range all {
		if !m.first.Valid {
			if err := c.dropMail(ctx, j, m.id); err != nil {
				return err
			}
			continue
		}
		err := c.inBatches(ctx, j, `
			DELETE FROM mail_item WHERE (mailbox, item, since) IN (
				SELECT m.mailbox, m.item, m.since FROM mail_item m WHERE m.mailbox = $1 AND m.until <= $2 AND m.until < 9223372036854775807 LIMIT $3)`,
			m.id, m.first.Int64, c.batch)
		if err != nil {
			return fmt.Errorf("delete items: %w", err)
		}
	}
	return nil
}

// dropMail forgets the index of a mailbox.
func (c *Catalog) dropMail(ctx context.Context, j *jobs.Job, mailbox int64) error {
	held := func(text string) error {
		return c.db.Tx(ctx, func(tx *database.Tx) error {
			if err := j.Hold(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, text, mailbox)
			return err
		})
	}
	// Nothing is found in it from now on, should another process do the rest.
	err := held(`UPDATE mail_index SET tree = '', since = 9223372036854775807 WHERE mailbox = $1`)
	if err == nil {
		err = c.inBatches(ctx, j, `
			DELETE FROM mail_item WHERE (mailbox, item, since) IN (SELECT m.mailbox, m.item, m.since FROM mail_item m WHERE m.mailbox = $1 LIMIT $2)`, mailbox, c.batch)
	}
	if err == nil {
		err = held(`DELETE FROM mail_index WHERE mailbox = $1`)
	}
	if err != nil {
		return fmt.Errorf("forget the index of a mailbox: %w", err)
	}
	return nil
}
