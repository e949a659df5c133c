package engine

import (
	"context"
	"errors"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// rule is the job of an inclusion rule: it reads the rule's groups from the
// source's directory and brings their members into the policy. A dynamic rule
// is evaluated again after a while, for as long as it is there. While the
// source cannot be asked the job waits, and nobody leaves a policy.
func (e *Engine) rule(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	r, err := e.Catalog.RuleForWork(ctx, j.Tenant, backup.RuleID(j.Key))
	switch {
	case errors.Is(err, backup.ProtectionRuleNotFound):
		return jobs.Done, nil // it was deleted, alone or with its policy
	case err != nil:
		return jobs.Result{}, err
	case r.Status == backup.RuleDeleteRequested:
		if err = e.Catalog.EndRule(ctx, j, r); err == nil {
			e.Log.Info("rule deleted, its drives let go", "tenant", j.Tenant, "policy", r.Policy, "rule", r.ID)
		}
		return jobs.Done, err
	case !r.Dynamic && r.Status != backup.RuleActive:
		return jobs.Done, nil // it was finished before
	}
	found, err := e.evaluate(ctx, r)
	if err != nil {
		return jobs.Result{}, err
	}
	err = e.Catalog.ApplyRule(ctx, j, r, found)
	if errors.Is(err, catalog.ErrRuleChanged) || errors.Is(err, backup.ProtectionRuleNotFound) {
		return jobs.Again(e.Clock()), nil
	}
	if err != nil {
		return jobs.Result{}, err
	}
	e.Log.Info("rule evaluated", "tenant", j.Tenant, "policy", r.Policy, "rule", r.ID, "dynamic", r.Dynamic,
		"members", len(found.Members), "groups_not_read", len(found.Unread))
	if !r.Dynamic {
		return jobs.Done, nil
	}
	return jobs.Again(e.next(e.RuleInterval, "rule "+j.Key)), nil
}

// evaluate reads who is in the groups of a rule, and notes their names in the
// mirror of the directory. A group that is not there, or that we may not read,
// does not keep the others from being read.
func (e *Engine) evaluate(ctx context.Context, r backup.Rule) (catalog.Evaluation, error) {
	var found catalog.Evaluation
	source, err := e.Sources(r.Tenant)
	if err != nil {
		return found, err
	}
	users := map[backup.ObjectID]backup.User{}
	for _, group := range r.Groups() {
		for user, err := range source.GroupMembers(ctx, group) {
			if err == nil {
				if _, known := users[user.ID]; !known {
					users[user.ID] = user
					found.Members = append(found.Members, catalog.Member{Owner: user.ID, Group: group})
				}
				continue
			}
			unread := backup.Detail{Code: backup.InvalidGroupID, Target: string(group),
				Message: "The tenant's directory has no group with this id. Correct the rule's expression, or restore the group."}
			switch {
			case errors.Is(err, drive.ErrNotFound):
			case errors.Is(err, drive.ErrDenied):
				unread.Code, unread.Message = backup.AccessDenied, "The source refuses to tell who is in this group. Grant the application the permission GroupMember.Read.All, with an administrator's consent."
			default:
				return found, err
			}
			found.Unread = append(found.Unread, unread)
		}
	}
	var change catalog.DirectoryChange
	for _, user := range users {
		change.Users = append(change.Users, user)
	}
	if len(change.Users) == 0 {
		return found, nil
	}
	return found, e.Catalog.ApplyDirectory(ctx, r.Tenant, change)
}
