package engine

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/vault"
)

const (
	// doubtful is for how many rounds of whole enumerations a drive's deltas are not
	// gone by once they had left something out.
	doubtful = 4
	// witnesses is how often a folder is drawn that is listed beside the delta.
	witnesses = 12
	// maxWitnessed is how much of such a folder is listed.
	maxWitnessed = 1000
)

// A standing is what is known of how far a drive's deltas tell all.
type standing struct {
	full, doubted time.Time
	pending       []backup.Unread
}

// standingOf returns the standing of the container that is restored to.
func (r *restoration) standingOf(state catalog.DriveState) standing {
	for _, c := range state.Containers {
		if c.Drive == r.part {
			return standing{c.Full, c.Doubted, c.Pending}
		}
	}
	return standing{state.Full, state.Doubted, state.Pending}
}

// clear reports whether nothing that is known speaks against going by the delta: the drive
// was enumerated as a whole within the time that is set for it, its deltas have left nothing
// out for long, and there is no item of which it is not known where it is.
func (s standing) clear(now time.Time, round time.Duration) bool {
	for _, u := range s.pending {
		if u.Item == "" || u.Code == backup.PlaceUnknown || u.Code == backup.ContentNotFound || u.Code == backup.ItemIncomplete {
			return false
		}
	}
	since := now.Sub(s.full)
	return !s.full.IsZero() && since >= 0 && since < round && now.Sub(s.doubted) >= doubtful*round
}

// witnessed reports whether the drive is as a tree says, as far as it is looked at: some
// folders are listed, and hold what they hold in the tree. What differs may have come
// meanwhile, or be what no delta spoke of.
func (r *restoration) witnessed(ctx context.Context, tree string) (bool, error) {
	some, err := r.vault.Sample(ctx, tree, witnesses)
	if isDamage(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("draw folders to list: %w", err)
	}
	for _, held := range some {
		same, err := r.lists(ctx, held)
		if !same || err != nil {
			return false, err
		}
	}
	return len(some) > 0, nil
}

// lists reports whether the source lists of a folder what it holds, as far as it is read.
func (r *restoration) lists(ctx context.Context, held vault.Held) (bool, error) {
	known := make(map[backup.ItemID]*vault.Entry, len(held.Items))
	for i := range held.Items {
		known[held.Items[i].ID] = &held.Items[i]
	}
	n := 0
	for item, err := range r.source.Children(ctx, held.Folder.ID) {
		if err != nil {
			if stopped(ctx, err) || !isSource(err) {
				return false, err
			}
			return false, nil
		}
		e := known[item.ID]
		if e == nil || e.Name != item.Name || e.Kind != kindOf(item) || e.Kind == backup.File && !stillHolds(item, *e) {
			return false, nil
		}
		delete(known, item.ID)
		if n++; n == maxWitnessed {
			return true, nil
		}
	}
	return len(known) == 0, nil
}
