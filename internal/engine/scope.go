package engine

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// groupsEvery is how old what is known of who is in a group becomes.
const groupsEvery = 15 * time.Minute

// groups is the job that reads who is in the groups that roles in a tenant are limited
// to, which the configuration may say otherwise at any time. One that the source has not got, or does not tell of, stays as it was known, and
// counts for nothing once that is catalog.GroupsKnown ago; the others are read.
func (e *Engine) groups(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	if e.Groups == nil {
		return jobs.Done, nil
	}
	wanted := e.Groups(j.Tenant)
	if err := e.Catalog.ForgetGroups(ctx, j.Tenant, wanted); err != nil || len(wanted) == 0 {
		return jobs.Again(e.Clock().Add(groupsEvery)), err
	}
	source, err := e.Sources(j.Tenant)
	if err != nil {
		return jobs.Result{}, err
	}
	var failed error
	for _, group := range wanted {
		began := e.Clock()
		var broken error
		err := e.Catalog.NoteGroup(ctx, j.Tenant, group, began, func(yield func(backup.SubjectID) bool) {
			for user, err := range source.GroupMembers(ctx, group) {
				if err != nil {
					broken = err
					return
				}
				if !yield(user.ID) {
					return
				}
			}
		}, func() error { return broken })
		switch {
		case err == nil:
		case stopped(ctx, err) || !isSource(err):
			return jobs.Result{}, err
		case errors.Is(err, drive.ErrNotFound):
			// Nobody is in a group that is not there.
			if err := e.Catalog.NoteGroup(ctx, j.Tenant, group, began, func(func(backup.SubjectID) bool) {}, func() error { return nil }); err != nil {
				return jobs.Result{}, err
			}
			e.Log.WarnContext(ctx, "a scope names a group that the directory has not got, so that nobody is in it", "tenant", j.Tenant, "group", group)
		default:
			e.Log.WarnContext(ctx, "a group that a scope names could not be read; who was in it counts for a day", "tenant", j.Tenant, "group", group, "err", err)
			failed = err
		}
	}
	if failed != nil {
		return jobs.Result{}, failed
	}
	return jobs.Again(e.Clock().Add(groupsEvery)), nil
}
