package catalog

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// listBatch is how many items of a list are read at a time.
const listBatch = 1000

// A ListPlace is a list of a point and the list that it is restored into.
type ListPlace struct {
	Unit     backup.UnitID
	List     string            // that is restored into
	Artifact backup.ArtifactID // whose own that list is; "" in place
	Part     string            // the list of the point
}

func (p ListPlace) args() []any {
	return []any{string(p.Unit), strings.ToLower(p.List), string(p.Artifact), strings.ToLower(p.Part)}
}

// A ListNumber says which item of a list an item of a point was restored as.
type ListNumber struct {
	Item int  // its number in the point
	Live int  // its number in the list; 0 if its making was begun, and its end is not known
	Own  bool // of the place that was asked for, and not of another restored into the same list
}

// NoteListNumbers notes items that a restore makes in a list: before that without
// Live, and with it afterwards. A Live that was noted of another item is not noted once
// more, and the item stays as begun. What was begun and for sure did not come is undone.
// jobs.ErrLost.
func (c *Catalog) NoteListNumbers(ctx context.Context, j *jobs.Job, place ListPlace, items []ListNumber, undone ...int) error {
	if len(items)+len(undone) == 0 {
		return nil
	}
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			DELETE FROM list_number WHERE unit = $1 AND list = $2 AND artifact = $3 AND part = $4 AND live = 0
				AND item IN (SELECT CAST(e.value AS BIGINT) FROM `+tx.Dialect().JSONEach("$5")+` AS e)`, append(place.args(), jsonList(undone))...)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO list_number (unit, list, artifact, part, item, live)
			SELECT $1, $2, $3, $4, CAST(e.value->>'Item' AS BIGINT), CAST(e.value->>'Live' AS BIGINT) FROM `+tx.Dialect().JSONRows("$5")+` AS e
			WHERE NOT EXISTS (SELECT 1 FROM list_number o WHERE o.unit = $1 AND o.list = $2 AND o.live > 0 AND o.live = CAST(e.value->>'Live' AS BIGINT))
			ON CONFLICT (unit, list, artifact, part, item) DO UPDATE SET live = excluded.live`, append(place.args(), jsonList(items))...)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the items of list %s: %w", place.List, err)
	}
	return nil
}

// ListNumbers returns what NoteListNumbers has noted of a list, also of other restores
// into it.
func (c *Catalog) ListNumbers(ctx context.Context, place ListPlace) iter.Seq2[ListNumber, error] {
	type key struct {
		artifact, part string
		item           int
	}
	return func(yield func(ListNumber, error) bool) {
		var last key
		for {
			rows, err := c.db.Read().QueryContext(ctx, `
				SELECT artifact, part, item, live FROM list_number
				WHERE unit = $1 AND list = $2 AND (artifact, part, item) > ($3, $4, $5) ORDER BY artifact, part, item LIMIT $6`,
				string(place.Unit), strings.ToLower(place.List), last.artifact, last.part, last.item, listBatch)
			all, err := collect(rows, err, func(r scanner) (n ListNumber, err error) {
				err = r.Scan(&last.artifact, &last.part, &n.Item, &n.Live)
				last.item, n.Own = n.Item, last.artifact == string(place.Artifact) && last.part == strings.ToLower(place.Part)
				return n, err
			})
			if err != nil {
				yield(ListNumber{}, fmt.Errorf("read the items of list %s: %w", place.List, err))
				return
			}
			for _, n := range all {
				if !yield(n, nil) {
					return
				}
			}
			if len(all) < listBatch {
				return
			}
		}
	}
}

// ForgetListNumbers forgets what NoteListNumbers has noted of a restore to a new place
// that is over. jobs.ErrLost.
func (c *Catalog) ForgetListNumbers(ctx context.Context, j *jobs.Job, artifact backup.ArtifactID) error {
	if err := c.dropListNumbers(ctx, j, `n.artifact = $1 AND n.artifact <> ''`, string(artifact)); err != nil {
		return fmt.Errorf("forget the items of lists of artifact %s: %w", artifact, err)
	}
	return nil
}

func (c *Catalog) dropListNumbers(ctx context.Context, j *jobs.Job, which, of string) error {
	return c.inBatches(ctx, j, `DELETE FROM list_number WHERE (unit, list, artifact, part, item) IN (
		SELECT n.unit, n.list, n.artifact, n.part, n.item FROM list_number n WHERE `+which+` LIMIT $2)`, of, c.batch)
}
