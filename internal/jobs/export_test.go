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
		due, err := r.dueTenants(ctx, tx, kind, &offer{idle: idle, held: now})
		if err == nil {
			claimed, _, err = r.claimFair(ctx, tx, class{kind, false}, due[false], idle, now)
		}
		return err
	})
	for _, j := range claimed {
		r.turns[class{kind, false}].served(j.Tenant)
	}
	return claimed, err
}

// ClaimInOrder claims jobs as a turn does when so many of the kind run for one
// tenant, some of them patient.
func (r *Runner) ClaimInOrder(ctx context.Context, kind Kind, tenant backup.TenantID, urgent, patient int) (claimed, patiently int, err error) {
	err = r.queue.db.Tx(ctx, func(tx *database.Tx) error {
		claimed, patiently = 0, 0
		o := &offer{idle: r.work[kind].Workers, room: r.work[kind].Patient, held: map[backup.TenantID]int{}, patient: map[backup.TenantID]int{}}
		for i := range urgent + patient {
			o.take(tenant, i >= urgent)
		}
		all, _, err := r.claimInOrder(ctx, tx, kind, o)
		for _, j := range all {
			claimed++
			patiently += patience(j.patient)
			r.alone[kind] = j.patient
		}
		return err
	})
	return claimed - patiently, patiently, err
}
