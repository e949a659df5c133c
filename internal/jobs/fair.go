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
	work := r.work[kind]
	due, err := r.dueTenants(ctx, tx, kind, o)
	if err != nil {
		return nil, false, err
	}
	claim := func(patient bool, most int, held map[backup.TenantID]int) error {
		if most <= 0 || len(r.tenants) > 0 && len(due[patient]) == 0 {
			return nil
		}
		jobs, left, err := r.claimFair(ctx, tx, class{kind, patient}, due[patient], most, maps.Clone(held))
		for _, j := range jobs {
			o.take(j.Tenant, patient)
		}
		claimed, more = append(claimed, jobs...), more || left
		return err
	}
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
// tenant in turns holds so many already; due are those who may have such jobs, nil where
// the runner was not told whom it serves. It reports whether more may be due.
func (r *Runner) claimFair(ctx context.Context, tx *database.Tx, of class, due []backup.TenantID, idle int, held map[backup.TenantID]int) (claimed []*Job, more bool, err error) {
	if len(r.tenants) == 0 {
		claimed, err = r.queue.claim(ctx, tx, of, []portion{{n: idle}}, r.lease, r.name)
		return claimed, len(claimed) == idle, err
	}
	served := len(r.tenants)
	if r.work[of.kind].Workers == 1 || of.patient && r.work[of.kind].Patient == 1 {
		served = 0
	}
	more = len(due) >= idle
	for idle > 0 && len(due) > 0 {
		given := share(idle, due, held, served)
		if len(given) == 0 {
			return claimed, true, nil
		}
		var portions []portion
		for i, t := range due {
			if given[t] > 0 {
				portions = append(portions, portion{&due[i], given[t]})
			}
		}
		jobs, err := r.queue.claim(ctx, tx, of, portions, r.lease, r.name)
		if err != nil {
			return nil, false, err
		}
		claimed = append(claimed, jobs...)
		idle -= len(jobs)
		got := map[backup.TenantID]int{}
		for _, j := range jobs {
			got[j.Tenant]++
			held[j.Tenant]++
		}
		var left []backup.TenantID
		for _, t := range due {
			if got[t] == given[t] { // otherwise it has no more
				left = append(left, t)
			}
		}
		due = left
	}
	return claimed, more || len(due) > 0, nil
}

// dueTenants returns those of the runner's tenants that have due jobs of a kind, patient
// ones and others, in the order of their turns; as many as there are idle workers at most.
func (r *Runner) dueTenants(ctx context.Context, tx *database.Tx, kind Kind, o *offer) (map[bool][]backup.TenantID, error) {
	alike := r.work[kind].Patient == 0
	if len(r.tenants) == 0 || alike && len(r.tenants) == 1 {
		return map[bool][]backup.TenantID{false: r.tenants}, nil // to claim says it as well
	}
	// Both databases read a list from its beginning, and stop when they have
	// enough: an ORDER BY would have them ask of every tenant first. So would a
	// join. Mostly nothing is due at all, which the first condition finds out.
	args := []any{string(kind), database.Micros(r.queue.clock()), o.idle}
	of := func(patient int, turns turnList, held map[backup.TenantID]int) (string, error) {
		list, err := json.Marshal(turns.by(held))
		args = append(args, string(list))
		return fmt.Sprintf(`SELECT * FROM (
			SELECT e.value, %[1]d FROM %[2]s AS e
			WHERE EXISTS (SELECT 1 FROM job WHERE kind = $1 AND patient = %[1]d AND run_at <= $2)
				AND (SELECT 1 FROM job WHERE kind = $1 AND tenant = e.value AND patient = %[1]d AND run_at <= $2 LIMIT 1) IS NOT NULL
			LIMIT $3) AS due%[1]d`, patient, tx.Dialect().JSONEach(fmt.Sprintf("$%d", len(args)))), err
	}
	text, err := of(0, r.turns[class{kind, false}], o.held)
	if err == nil && !alike {
		var patient string
		patient, err = of(1, r.turns[class{kind, true}], o.patient)
		text += ` UNION ALL ` + patient
	}
	if err != nil {
		return nil, fmt.Errorf("find who has due jobs: %w", err)
	}
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("find who has due jobs: %w", err)
	}
	defer rows.Close()
	due := map[bool][]backup.TenantID{}
	for rows.Next() {
		var t backup.TenantID
		var patient int
		if err := rows.Scan(&t, &patient); err != nil {
			return nil, fmt.Errorf("find who has due jobs: %w", err)
		}
		due[patient != 0] = append(due[patient != 0], t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find who has due jobs: %w", err)
	}
	return due, nil
}

// dueKinds returns those of kinds of which jobs are due, whoever's.
func (q *Queue) dueKinds(ctx context.Context, kinds []Kind) (due []Kind, err error) {
	list, err := json.Marshal(kinds)
	if err != nil {
		return nil, fmt.Errorf("find what is due: %w", err)
	}
	// As in dueTenants, one look into an index for each.
	there := `(SELECT 1 FROM job WHERE kind = e.value AND patient = %d AND run_at <= $2 LIMIT 1) IS NOT NULL`
	rows, err := q.db.Read().QueryContext(ctx, `SELECT e.value FROM `+q.db.Dialect().JSONEach("$1")+` AS e WHERE `+fmt.Sprintf(there+` OR `+there, 0, 1),
		string(list), database.Micros(q.clock()))
	if err != nil {
		return nil, fmt.Errorf("find what is due: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind Kind
		if err := rows.Scan(&kind); err != nil {
			return nil, fmt.Errorf("find what is due: %w", err)
		}
		due = append(due, kind)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find what is due: %w", err)
	}
	return due, nil
}
