package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A class is the jobs of a kind that are patient, or those that are not.
type class struct {
	kind    Kind
	patient bool
}

// An offer is what a turn can give of a kind's workers.
type offer struct {
	idle          int                     // workers
	room          int                     // how many more may do patient jobs
	held, patient map[backup.TenantID]int // what each tenant has of them, and has for patient jobs
}

func (o *offer) take(t backup.TenantID, patient bool) {
	o.idle--
	o.held[t]++
	if patient {
		o.room--
		o.patient[t]++
	}
}

func (o *offer) clone() *offer {
	return &offer{o.idle, o.room, maps.Clone(o.held), maps.Clone(o.patient)}
}

// A turnList is in what order the tenants of a runner have their turns for one
// kind: who was served last comes last.
type turnList []backup.TenantID

// served moves a tenant to the end.
func (l turnList) served(t backup.TenantID) {
	if i := slices.Index(l, t); i >= 0 {
		copy(l[i:], l[i+1:])
		l[len(l)-1] = t
	}
}

// by returns the tenants in the order in which they are to be served when they
// hold so many workers already: who holds fewest first, and of these who was
// served longest ago.
func (l turnList) by(held map[backup.TenantID]int) []backup.TenantID {
	return slices.SortedStableFunc(slices.Values(l), func(a, b backup.TenantID) int { return held[a] - held[b] })
}

// share deals idle workers out among tenants with due jobs, which are in the
// order of their turns: each worker goes to who holds fewest by then. The last
// is left for those who hold none, if there are any among all that are served;
// 0 says that none is to be left.
func share(idle int, due []backup.TenantID, held map[backup.TenantID]int, served int) (given map[backup.TenantID]int) {
	given = map[backup.TenantID]int{}
	holds := maps.Clone(held)
	maps.DeleteFunc(holds, func(_ backup.TenantID, n int) bool { return n == 0 })
	for ; idle > 0; idle-- {
		least := slices.MinFunc(due, func(a, b backup.TenantID) int { return holds[a] - holds[b] })
		if idle == 1 && holds[least] > 0 && len(holds) < served {
			break
		}
		given[least]++
		holds[least]++
	}
	return given
}

// claimInOrder claims jobs of a kind: those that are patient last. But one worker
// is theirs if none of them runs, so that they come to an end some time; a runner's
// only worker does them in turn with the others.
func (r *Runner) claimInOrder(ctx context.Context, tx *database.Tx, kind Kind, o *offer) (claimed []*Job, more bool, err error) {
	claim := func(patient bool, most int, held map[backup.TenantID]int) error {
		if most <= 0 {
			return nil
		}
		jobs, left, err := r.claimFair(ctx, tx, class{kind, patient}, most, maps.Clone(held))
		for _, j := range jobs {
			o.take(j.Tenant, patient)
		}
		claimed, more = append(claimed, jobs...), more || left
		return err
	}
	work := r.work[kind]
	if work.Patient == 0 {
		err = claim(false, o.idle, o.held)
		return claimed, more, err
	}
	if len(o.patient) == 0 && (work.Workers > 1 || !r.alone[kind]) {
		if err := claim(true, min(1, o.idle, o.room), o.patient); err != nil {
			return nil, false, err
		}
	}
	if err := claim(false, o.idle, o.held); err != nil {
		return nil, false, err
	}
	if err := claim(true, min(o.idle, o.room), o.patient); err != nil {
		return nil, false, err
	}
	return claimed, more || o.room <= 0, nil
}

// claimFair claims jobs of a class for idle workers of a runner's, of which each
// tenant in turns holds so many already. It reports whether more may be due.
func (r *Runner) claimFair(ctx context.Context, tx *database.Tx, of class, idle int, held map[backup.TenantID]int) (claimed []*Job, more bool, err error) {
	if len(r.tenants) == 0 {
		claimed, err = r.queue.claim(ctx, tx, of, nil, idle, r.lease, r.name)
		return claimed, len(claimed) == idle, err
	}
	due := r.tenants
	if len(r.tenants) > 1 {
		if due, err = r.queue.dueTenants(ctx, tx, of, r.turns[of].by(held), idle); err != nil {
			return nil, false, err
		}
	}
	served := len(r.tenants)
	if r.work[of.kind].Workers == 1 || of.patient && r.work[of.kind].Patient == 1 {
		served = 0
	}
	more = len(due) == idle
	for idle > 0 && len(due) > 0 {
		given := share(idle, due, held, served)
		if len(given) == 0 {
			return claimed, true, nil
		}
		var left []backup.TenantID
		for _, t := range due {
			if given[t] > 0 {
				jobs, err := r.queue.claim(ctx, tx, of, &t, given[t], r.lease, r.name)
				if err != nil {
					return nil, false, err
				}
				claimed = append(claimed, jobs...)
				idle -= len(jobs)
				held[t] += len(jobs)
				if len(jobs) < given[t] {
					continue // it has no more
				}
			}
			left = append(left, t)
		}
		due = left
	}
	return claimed, more || len(due) > 0, nil
}

// dueTenants returns those of tenants that have due jobs of a class, in their
// order, up to n.
func (q *Queue) dueTenants(ctx context.Context, tx *database.Tx, of class, tenants []backup.TenantID, n int) ([]backup.TenantID, error) {
	list, err := json.Marshal(tenants)
	if err != nil {
		return nil, fmt.Errorf("find who has due jobs: %w", err)
	}
	// Both databases read a list from its beginning, and stop when they have
	// enough: an ORDER BY would have them ask of every tenant first. So would a
	// join. Mostly nothing is due at all, which the first condition finds out.
	rows, err := tx.QueryContext(ctx, `
		SELECT e.value FROM `+tx.Dialect().JSONEach("$3")+` AS e
		WHERE EXISTS (SELECT 1 FROM job WHERE kind = $1 AND patient = $5 AND run_at <= $2)
			AND (SELECT 1 FROM job WHERE kind = $1 AND tenant = e.value AND patient = $5 AND run_at <= $2 LIMIT 1) IS NOT NULL
		LIMIT $4`, string(of.kind), database.Micros(q.clock()), string(list), n, patience(of.patient))
	if err != nil {
		return nil, fmt.Errorf("find who has due jobs: %w", err)
	}
	defer rows.Close()
	var due []backup.TenantID
	for rows.Next() {
		var t backup.TenantID
		if err := rows.Scan(&t); err != nil {
			return nil, fmt.Errorf("find who has due jobs: %w", err)
		}
		due = append(due, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find who has due jobs: %w", err)
	}
	return due, nil
}
