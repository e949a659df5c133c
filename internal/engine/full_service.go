package engine

import (
	"context"
	"errors"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
)

// protectAll is the job of a policy that protects all there is of a workload: it reads
// what is new in the source's directory and brings it into the policy. Who is in the
// directory no more leaves when a look an hour later at the earliest does not find
// them either, and the source denies each when asked for by id. While the source
// cannot be asked the job waits, and nobody leaves.
func (e *Engine) protectAll(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	p, there, err := e.Catalog.PolicyForWork(ctx, j)
	if err != nil || !there {
		return jobs.Done, err
	}
	again, err := e.lookAtAll(ctx, j, p)
	if errors.Is(err, backup.PolicyNotFound) {
		return jobs.Done, nil // it was deleted meanwhile
	}
	return again, err
}

func (e *Engine) lookAtAll(ctx context.Context, j *jobs.Job, p backup.Policy) (jobs.Result, error) {
	if err := e.refreshSubjects(ctx, p.Tenant, p.Workload); err != nil {
		return jobs.Result{}, err
	}
	joined, err := e.Catalog.EnrollAll(ctx, j, p)
	if err != nil {
		return jobs.Result{}, err
	}
	absent, err := e.Catalog.NoteAbsent(ctx, j, p)
	if err != nil {
		return jobs.Result{}, err
	}
	believed := min(secondLook, e.RuleInterval)
	gone, err := e.letAbsentGo(ctx, j, p)
	if err != nil {
		return jobs.Result{}, err
	}
	e.Log.InfoContext(ctx, "all there is looked at", "tenant", p.Tenant, "policy", p.ID, "workload", p.Workload, "joined", joined, "left", gone, "missing", absent-gone)
	if absent > gone {
		return jobs.Again(e.Clock().Add(believed)), nil
	}
	return jobs.Again(e.next(e.RuleInterval, "all "+j.Key)), nil
}

// letAbsentGo has those leave who were missed long enough ago and still are.
func (e *Engine) letAbsentGo(ctx context.Context, j *jobs.Job, p backup.Policy) (gone int, err error) {
	before := e.Clock().Add(-min(secondLook, e.RuleInterval))
	for after := backup.SubjectID(""); ; {
		subjects, err := e.Catalog.Absent(ctx, p, before, after)
		if err != nil || len(subjects) == 0 {
			return gone, err
		}
		after = subjects[len(subjects)-1]
		ids := make([]string, len(subjects))
		for i, s := range subjects {
			ids[i] = string(s)
		}
		if _, err := e.askFor(ctx, p.Tenant, p.Workload, ids); err != nil {
			return gone, err
		}
		n, err := e.Catalog.LetAbsentGo(ctx, j, p, subjects)
		if err != nil {
			return gone, err
		}
		gone += int(n)
	}
}

// askFor asks the source for what units of a workload are of, by ids, and adds what it
// knows to the mirror of the directory. It returns how many that were.
func (e *Engine) askFor(ctx context.Context, tenant backup.TenantID, workload backup.Workload, ids []string) (known int, err error) {
	if workload == backup.SharePoint {
		known, _, err = e.findSites(ctx, tenant, ids)
		return known, err
	}
	return e.lookUp(ctx, tenant, ids)
}
