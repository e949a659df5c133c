package catalog

import (
	"context"
	"fmt"
	"iter"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A RestoredMail is an item of a point that a restore at work has put into a mailbox.
type RestoredMail struct {
	Item backup.ItemID // in the point
	Live backup.ItemID // in the mailbox; "" if that was begun, and its end is not known
	Tag  string        // its change key when it came there
}

// NoteMail notes items that an artifact's restore puts into a mailbox: before that
// without Live, and with it afterwards. jobs.ErrLost.
func (c *Catalog) NoteMail(ctx context.Context, j *jobs.Job, id backup.ArtifactID, items []RestoredMail) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO mail_restored (artifact, item, live, tag)
			SELECT $1, e.value->>'Item', e.value->>'Live', e.value->>'Tag' FROM `+tx.Dialect().JSONRows("$2")+` AS e WHERE true
			ON CONFLICT (artifact, item) DO UPDATE SET live = excluded.live, tag = excluded.tag`, string(id), jsonList(items))
		return err
	})
	if err != nil {
		return fmt.Errorf("note the mail of artifact %s: %w", id, err)
	}
	return nil
}

// NotedMail returns what NoteMail has noted, by the items' ids.
func (c *Catalog) NotedMail(ctx context.Context, id backup.ArtifactID) iter.Seq2[RestoredMail, error] {
	return func(yield func(RestoredMail, error) bool) {
		last := ""
		for {
			rows, err := c.db.Read().QueryContext(ctx, `SELECT item, live, tag FROM mail_restored WHERE artifact = $1 AND item > $2 ORDER BY item LIMIT $3`, string(id), last, mailBatch)
			all, err := collect(rows, err, func(r scanner) (m RestoredMail, err error) { return m, r.Scan(&m.Item, &m.Live, &m.Tag) })
			if err != nil {
				yield(RestoredMail{}, fmt.Errorf("read the mail of artifact %s: %w", id, err))
				return
			}
			for _, m := range all {
				if last = string(m.Item); !yield(m, nil) {
					return
				}
			}
			if len(all) < mailBatch {
				return
			}
		}
	}
}

// ForgetMail forgets what NoteMail has noted of an artifact whose restore is over.
func (c *Catalog) ForgetMail(ctx context.Context, j *jobs.Job, id backup.ArtifactID) error {
	err := c.inBatches(ctx, j, `
		DELETE FROM mail_restored WHERE (artifact, item) IN (SELECT m.artifact, m.item FROM mail_restored m WHERE m.artifact = $1 LIMIT $2)`, string(id), c.batch)
	if err != nil {
		return fmt.Errorf("forget the mail of artifact %s: %w", id, err)
	}
	return nil
}
