package jobs

import (
	"context"
	"maps"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// ClaimFair claims jobs for idle workers as a turn does.
func (r *Runner) ClaimFair(ctx context.Context, kind Kind, idle int, held map[backup.TenantID]int) (claimed []*Job, err error) {
	err = r.queue.db.Tx(ctx, func(tx *database.Tx) error {
		now := map[backup.TenantID]int{}
		maps.Copy(now, held)
		claimed, _, err = r.claimFair(ctx, tx, kind, idle, now)
		return err
	})
	for _, j := range claimed {
		r.turns[kind].served(j.Tenant)
	}
	return claimed, err
}
