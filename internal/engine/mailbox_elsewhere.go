package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// A point may be restored into the mailbox of somebody else, such as a colleague of who
// has left. That mailbox may be protected or not, and is not backed up for it: all goes
// into a new folder, and nothing else there is touched or looked at.
//
// The folder is the restore's alone. So what is in it, and was not noted as put there, is
// of an import whose answer was lost.

// errNoTarget: the mailbox to restore into is none of the tenant's.
var errNoTarget = errors.New("there is no such mailbox to restore into")

// elsewhere reports whether the restore is into another mailbox than the owner's.
func (r *mailRestoration) elsewhere() bool { return r.artifact.Target != "" }

// lookElsewhere finds out what is in the folder that is restored to: by id, and what
// nothing is noted of, by its folder and time.
func (r *mailRestoration) lookElsewhere(ctx context.Context) error {
	for _, t := range []**spill.Table{&r.there, &r.present} {
		if *t != nil {
			(*t).Close()
		}
		*t = spill.New(r.vault.Scratch())
	}
	r.targets, r.folders = map[backup.ItemID]backup.ItemID{}, map[backup.ItemID]map[string]backup.ItemID{}
	noted := spill.New(r.vault.Scratch()) // the live items
	defer noted.Close()
	unclear := false
	for i := range r.noted.Len() {
		item, live := r.noted.Get(i)
		unclear = unclear || live == ""
		if live != "" {
			noted.Put(live, item)
		}
	}
	if err := errors.Join(r.noted.Err(), noted.Err()); err != nil {
		return err
	}
	for queue := []backup.ItemID{r.into}; len(queue) > 0; queue = queue[1:] {
		for f, err := range r.client.MailFoldersIn(ctx, r.box, queue[0]) {
			if err != nil {
				return err
			}
			queue = append(queue, f.ID)
		}
		for it, err := range r.client.ListMail(ctx, r.box, queue[0]) {
			if err != nil {
				return err
			}
			r.present.Put(string(it.ID), "")
			if _, known := noted.Find(string(it.ID)); !known && unclear {
				n := 0
				for ; r.has(strayKey(queue[0], it.Created.Unix(), n)); n++ {
				}
				r.there.Put(strayKey(queue[0], it.Created.Unix(), n), string(it.ID))
			}
		}
	}
	if err := errors.Join(r.present.Err(), r.there.Err(), noted.Err()); err != nil || r.there.Len() == 0 {
		return err
	}
	// What is the same to the byte first: of two of one time the one that came is told
	// from the one that did not.
	for _, exactly := range []bool{true, false} {
		if err := r.claimStrays(ctx, exactly); err != nil {
			return err
		}
	}
	return nil
}

func strayKey(folder backup.ItemID, at int64, n int) string {
	return string(folder) + "\x00" + strconv.FormatInt(at, 10) + "\x00" + strconv.Itoa(n)
}

// claimStrays finds the items whose import was begun, and its end never known, among
// those in the folder that nothing is noted of.
func (r *mailRestoration) claimStrays(ctx context.Context, exactly bool) error {
	for i := range r.noted.Len() {
		item, live := r.noted.Get(i)
		if live != "" {
			continue
		}
		n, ok, err := r.point.Node(ctx, backup.ItemID(item))
		if err != nil && !isDamage(err) {
			return err
		}
		if !ok || err != nil {
			continue
		}
		folder, _ := splitMailID(n.Parent)
		to, err := r.target(ctx, folder)
		if err != nil {
			return err
		}
		for k := 0; ; k++ {
			key := strayKey(to, n.Created.Unix(), k)
			at, ok := r.there.Find(key)
			if !ok {
				break
			}
			_, stray := r.there.Get(at)
			if stray == "" {
				continue // it was claimed
			}
			is, same, err := r.isSame(ctx, backup.ItemID(stray), n)
			if err != nil {
				return err
			}
			if exactly && !same || is.ID == "" {
				continue
			}
			r.there.Put(key, "")
			r.noted.Put(item, stray)
			if err := r.sent(ctx, n, is); err != nil {
				return err
			}
			if err := r.e.Catalog.NoteMail(ctx, r.job, r.artifact.ID, []catalog.RestoredMail{{Item: n.ID, Live: is.ID, Tag: is.ChangeKey}}); err != nil {
				return err
			}
			break
		}
	}
	return errors.Join(r.noted.Err(), r.there.Err(), r.deeds.err())
}

// isSame exports a live item, and reports whether it is an item of the point to the byte.
// What cannot be exported has no id.
func (r *mailRestoration) isSame(ctx context.Context, live backup.ItemID, n vault.Node) (is drive.MailItem, same bool, err error) {
	x, err := r.client.ExportMail(ctx, r.box, r.vault.Scratch(), live)
	if err != nil {
		if stopped(ctx, err) || !isSource(err) {
			return is, false, err
		}
		return is, false, nil
	}
	defer x.Close()
	e := x.Item(live)
	if e.Err != nil {
		return is, false, nil
	}
	is = drive.MailItem{ID: live, ChangeKey: e.ChangeKey}
	if e.Size != n.Size {
		return is, false, nil
	}
	content, err := r.vault.Open(ctx, n.Content)
	if err != nil {
		if isDamage(err) {
			err = nil
		}
		return is, false, err
	}
	defer content.Close()
	same, _, err = sameBytes(content, x.Read(live))
	if err != nil {
		err = fmt.Errorf("compare an item with the point: %w", err)
	}
	return is, same, err
}

// isElsewhere reports whether an item of the point was put into the other mailbox. One
// that is not where it was put is not put there again: whoever has the mailbox may have
// moved it.
func (r *mailRestoration) isElsewhere(ctx context.Context, n vault.Node, to backup.ItemID) (bool, error) {
	i, ok := r.noted.Find(string(n.ID))
	if !ok {
		return false, r.noted.Err()
	}
	_, live := r.noted.Get(i)
	if live == "" {
		return false, r.noted.Err()
	}
	if _, there := r.present.Find(live); !there && !r.missed[n.ID] && len(r.missed) < maxDetails {
		if _, err := r.client.MailItem(ctx, r.box, to, backup.ItemID(live)); !errors.Is(err, drive.ErrNotFound) {
			return true, err
		}
		r.missed[n.ID] = true
		r.remark(backup.Detail{Code: backup.RestoredWithRemarks, Target: n.Path,
			Message: "The item was put into the mailbox, and is not in the folder any more: it was moved or deleted since, or the source did not keep it."}, false)
	}
	return true, errors.Join(r.noted.Err(), r.present.Err())
}
