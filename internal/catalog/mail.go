package catalog

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// mailBatch is how many items of a mailbox are written, or read, at a time.
const mailBatch = 1000

// mailHistory is the index of the mail of mailboxes.
var mailHistory = history{index: "mail_index", items: "mail_item", place: "mailbox", key: "item"}

// MailIndexTree returns the tree of the point of a mailbox that the index of its mail
// was last written for, "" if there is no index. A run that starts from another tree
// has the index made anew.
func (c *Catalog) MailIndexTree(ctx context.Context, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) (string, error) {
	x, err := mailHistory.read(ctx, c.db.Read(), tenant, unit, drive)
	if err != nil {
		return "", fmt.Errorf("read the index of mailbox %s: %w", drive, err)
	}
	return x.tree, nil
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
// point that a run is about to commit: a Commit whose Mail is what it returns makes it
// count, in its transaction. Until then nobody finds any of it, and a later StageMail takes it
// back; so it is called once in a run, and may be called by the run after one that
// was killed. Of several changes of an item the last counts. They are taken as they
// come, mailBatch of them in memory, and in as many transactions. jobs.ErrLost, and
// what changes fails with.
func (c *Catalog) StageMail(ctx context.Context, j *jobs.Job, s MailStage, changes iter.Seq2[MailChange, error]) (staged int64, err error) {
	staged, err = c.stageMail(ctx, j, s, changes)
	if err != nil {
		return 0, fmt.Errorf("write the index of mailbox %s: %w", s.Drive, err)
	}
	return staged, nil
}

func (c *Catalog) stageMail(ctx context.Context, j *jobs.Job, s MailStage, changes iter.Seq2[MailChange, error]) (int64, error) {
	x, _, err := mailHistory.begin(ctx, c, j, indexing{unit: s.Unit, drive: s.Drive, at: s.At, anew: s.Anew, since: notYet}, nil)
	if err != nil {
		return 0, err
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
			if err := mailHistory.hold(ctx, tx, x); err != nil {
				return err
			}
			return writeMail(ctx, tx, x, batch)
		})
		clear(batch)
		return err
	}
	for change, err := range changes {
		if err != nil {
			return 0, err
		}
		batch[change.ID] = change
		if len(batch) == mailBatch {
			if err := write(); err != nil {
				return 0, err
			}
		}
	}
	return x.staged, write()
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
func writeMail(ctx context.Context, tx *database.Tx, x indexed, changes map[backup.ItemID]MailChange) error {
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
		x.place, jsonList(ids))
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
		_, err := tx.ExecContext(ctx, `UPDATE mail_item SET until = $3 WHERE `+of+` AND until = 9223372036854775807`, x.place, jsonList(over), x.staged)
		if err != nil {
			return fmt.Errorf("end items: %w", err)
		}
	}
	if len(wrong) > 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM mail_item WHERE `+of+` AND since >= $3`, x.place, jsonList(wrong), x.staged)
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
		FROM `+tx.Dialect().JSONRows("$2")+` AS e`, x.place, jsonList(fresh), x.staged)
	if err != nil {
		return fmt.Errorf("insert items: %w", err)
	}
	return nil
}
