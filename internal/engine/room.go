package engine

import (
	"context"
	"fmt"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// A room is what the place that is restored to has left, as far as a pass has
// found out: nothing is known of it until a file is refused. What does not fit
// stays; all that does, and all that takes no room, goes on.
type room struct {
	known   bool // nothing of more than most bytes is tried
	most    int64
	row     int   // files refused for want of room, and none taken in between
	refused int64 // the smallest of them
}

// maxRefused is how many files may be refused for want of room, one after the
// other, until it is taken for that of the drive, whatever it says of itself.
const maxRefused = 10

// errNoRoom: the drive is full, so that a file of this size is not tried.
var errNoRoom = fmt.Errorf("it is larger than what the drive has room for: %w", drive.ErrQuota)

// measure finds out whether a file that was refused for want of room is alone in
// that, or the drive is full. It returns only what must end the restore.
func (r *restoration) measure(ctx context.Context, n vault.Node) error {
	if n.Kind != backup.File {
		return nil
	}
	q, err := r.source.Quota(ctx)
	if stopped(ctx, err) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room.row++; r.room.row == 1 || n.Size < r.room.refused {
		r.room.refused = n.Size
	}
	left := max(q.Remaining, q.Total-q.Used, 0) // some say only one of them
	switch {
	case err == nil && q.Total > 0 && left < n.Size:
		r.room.known, r.room.most = true, left
	case r.room.row >= maxRefused:
		r.room.known, r.room.most = true, max(r.room.refused-1, 0)
	}
	return nil
}

// took notes that a file was taken. Callers hold mu.
func (r *room) took(size int64) {
	r.row = 0
	if r.known && size > 0 {
		r.most = max(r.most-size, 0)
	}
}
