package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	none, some := make([]backup.TenantID, 0, len(l)), []backup.TenantID(nil)
	for _, t := range l {
		if held[t] == 0 {
			none = append(none, t)
		} else {
			some = append(some, t)
		}
	}
	slices.SortStableFunc(some, func(a, b backup.TenantID) int { return held[a] - held[b] })
	return append(none, some...)
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

// few is how many due jobs, and then how many tenants, are looked at before it is asked
// of every tenant whether it has due jobs: to name a thousand in a statement takes
// longer than to claim.
const few = 64

// bothWays is whether jobs are patient, in the order in which it is asked.
var bothWays = [...]bool{false, true}

// dueTenants returns those of the runner's tenants that have due jobs of a kind, patient
// ones and others, in the order of their turns; of many not all, but as many as there
// are idle workers.
func (r *Runner) dueTenants(ctx context.Context, tx *database.Tx, kind Kind, o *offer) (due map[bool][]backup.TenantID, err error) {
	alike := r.work[kind].Patient == 0
	if len(r.tenants) == 0 || alike && len(r.tenants) == 1 {
		return map[bool][]backup.TenantID{false: r.tenants}, nil // to claim says it as well
	}
	due = map[bool][]backup.TenantID{}
	asked := map[bool][]backup.TenantID{false: r.turns[class{kind, false}].by(o.held)}
	if !alike {
		asked[true] = r.turns[class{kind, true}].by(o.patient)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("find who has due jobs: %w", err)
		}
	}()
	if len(r.tenants) > few {
		// Mostly little is due, and whose that is says it; else many are, and those
		// whose turn it is are among them.
		first, all, err := r.queue.firstDue(ctx, tx, kind, asked)
		if err != nil {
			return nil, err
		}
		heads := map[bool][]backup.TenantID{}
		for patient, turns := range asked {
			if all[patient] {
				due[patient] = slices.DeleteFunc(turns, func(t backup.TenantID) bool { return !first[patient][t] })
				delete(asked, patient)
				continue
			}
			heads[patient], asked[patient] = turns[:few], turns[few:]
		}
		if err := r.queue.whoIsDue(ctx, tx, kind, heads, o.idle, due); err != nil {
			return nil, err
		}
		maps.DeleteFunc(asked, func(patient bool, _ []backup.TenantID) bool { return len(due[patient]) >= o.idle })
	}
	return due, r.queue.whoIsDue(ctx, tx, kind, asked, o.idle, due)
}

// firstDue returns whose the first due jobs of a kind are, of those that are patient and
// of the others as far as they are asked for, and whether these are all that are due.
func (q *Queue) firstDue(ctx context.Context, tx *database.Tx, kind Kind, asked map[bool][]backup.TenantID) (first map[bool]map[backup.TenantID]bool, all map[bool]bool, err error) {
	args := []any{string(kind), database.Micros(q.clock()), few}
	first, all = map[bool]map[backup.TenantID]bool{}, map[bool]bool{}
	var parts []string
	for _, patient := range bothWays {
		if asked[patient] == nil {
			continue
		}
		first[patient] = map[backup.TenantID]bool{}
		parts = append(parts, fmt.Sprintf(`SELECT * FROM (
			SELECT tenant, %[1]d FROM job WHERE kind = $1 AND patient = %[1]d AND run_at <= $2 ORDER BY run_at LIMIT $3) AS first%[1]d`, patience(patient)))
	}
	found := map[bool]int{}
	err = eachTenant(ctx, tx, parts, args, func(t backup.TenantID, patient bool) {
		first[patient][t] = true
		found[patient]++
	})
	for patient := range asked {
		all[patient] = found[patient] < few
	}
	return first, all, err
}

// whoIsDue adds to due those of the tenants that are asked for who have due jobs of a
// kind, patient ones or others, and stops when it has enough.
func (q *Queue) whoIsDue(ctx context.Context, tx *database.Tx, kind Kind, asked map[bool][]backup.TenantID, enough int, due map[bool][]backup.TenantID) error {
	// Both databases read a list from its beginning, and stop when they have
	// enough: an ORDER BY would have them ask of every tenant first. So would a
	// join. Mostly nothing is due at all, which the first condition finds out.
	args := []any{string(kind), database.Micros(q.clock()), enough}
	var parts []string
	for _, patient := range bothWays {
		if asked[patient] == nil {
			continue
		}
		list, err := json.Marshal(asked[patient])
		if err != nil {
			return err
		}
		args = append(args, string(list))
		condition, order := dueOf("e.value", fmt.Sprint(patience(patient)))
		parts = append(parts, fmt.Sprintf(`SELECT * FROM (
			SELECT e.value, %[1]d FROM %[2]s AS e
			WHERE EXISTS (SELECT 1 FROM job WHERE kind = $1 AND patient = %[1]d AND run_at <= $2)
				AND (SELECT 1 FROM job WHERE %[3]s ORDER BY %[4]s LIMIT 1) IS NOT NULL
			LIMIT $3) AS due%[1]d`, patience(patient), tx.Dialect().JSONEach(fmt.Sprintf("$%d", len(args))), condition, order))
	}
	return eachTenant(ctx, tx, parts, args, func(t backup.TenantID, patient bool) { due[patient] = append(due[patient], t) })
}

// eachTenant reads tenants, with whether their jobs are patient, by queries of both.
func eachTenant(ctx context.Context, tx *database.Tx, queries []string, args []any, found func(t backup.TenantID, patient bool)) error {
	if len(queries) == 0 {
		return nil
	}
	rows, err := tx.QueryContext(ctx, strings.Join(queries, ` UNION ALL `), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t backup.TenantID
		var patient int
		if err := rows.Scan(&t, &patient); err != nil {
			return err
		}
		found(t, patient != 0)
	}
	return rows.Err()
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
