package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

const (
	// secondLook is how soon a dynamic rule is evaluated again at the latest when
	// somebody is missing, who then leaves if still missing; or when the source
	// failed to tell who is in a group.
	secondLook = time.Hour
	// maxGroupFailures is how often an evaluation that a group fails is tried
	// again before the others are taken without that group.
	maxGroupFailures = 3
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
			e.Log.InfoContext(ctx, "rule deleted, its drives let go", "tenant", j.Tenant, "policy", r.Policy, "rule", r.ID)
		}
		return jobs.Done, err
	case !r.Dynamic && r.Status != backup.RuleActive:
		return jobs.Done, nil // it was finished before
	}
	found, err := e.evaluate(ctx, j, r)
	if err != nil {
		return jobs.Result{}, err
	}
	missing, err := e.Catalog.ApplyRule(ctx, j, r, found)
	if errors.Is(err, catalog.ErrRuleChanged) || errors.Is(err, backup.ProtectionRuleNotFound) {
		return jobs.Again(e.Clock()), nil
	}
	if err != nil {
		return jobs.Result{}, err
	}
	e.Log.InfoContext(ctx, "rule evaluated", "tenant", j.Tenant, "policy", r.Policy, "rule", r.ID, "dynamic", r.Dynamic,
		"members", len(found.Members), "groups_not_read", len(found.Unread), "missing", missing)
	switch {
	case !r.Dynamic:
		return jobs.Done, nil
	case missing > 0 || slices.ContainsFunc(found.Unread, func(d backup.Detail) bool { return d.Code == backup.GeneralException }):
		return jobs.Again(e.Clock().Add(found.Believed)), nil
	}
	return jobs.Again(e.next(e.RuleInterval, "rule "+j.Key)), nil
}

// evaluateSites lists the tenant's sites and finds those that a rule is of.
func (e *Engine) evaluateSites(ctx context.Context, r backup.Rule, found *catalog.Evaluation) error {
	expression, err := backup.ParseSiteExpression(r.Expression)
	if err != nil {
		return err
	}
	if err := e.refreshSites(ctx, r.Tenant); errors.Is(err, drive.ErrDenied) {
		found.Unread = append(found.Unread, backup.Detail{Code: backup.AccessDenied, Message: "The source refuses to list the tenant's sites, so that the rule finds those only that are known already. " +
			"Where the application has Sites.Selected, add sites by their addresses or ids instead; else grant it the permission Sites.ReadWrite.All, with an administrator's consent."})
	} else if err != nil {
		return err
	}
	sites, err := e.Catalog.SitesOf(ctx, r.Tenant, expression)
	for _, id := range sites {
		found.Members = append(found.Members, catalog.Member{Owner: id})
	}
	return err
}

// evaluate reads who is in the groups of a rule, and notes their names in the
// mirror of the directory. A group that is not there, or that we may not read,
// or whose list has no end, does not keep the others from being read; nor does
// one that fails for longer while the source answers.
func (e *Engine) evaluate(ctx context.Context, j *jobs.Job, r backup.Rule) (catalog.Evaluation, error) {
	found := catalog.Evaluation{Believed: min(secondLook, e.RuleInterval)}
	if r.Workload == backup.SharePoint {
		err := e.evaluateSites(ctx, r, &found)
		return found, err
	}
	source, err := e.Sources(r.Tenant)
	if err != nil {
		return found, err
	}
	users := map[backup.SubjectID]backup.Subject{}
	for _, group := range r.Groups() {
		for user, err := range source.GroupMembers(ctx, group) {
			if err == nil {
				if _, known := users[user.ID]; !known {
					users[user.ID] = user
					found.Members = append(found.Members, catalog.Member{Owner: user.ID, Group: group})
				}
				continue
			}
			unread := backup.Detail{Target: string(group)}
			switch {
			case stopped(ctx, err) || !isSource(err):
				return found, err
			case errors.Is(err, drive.ErrNotFound):
				unread.Code, unread.Message = backup.InvalidGroupID, "The tenant's directory has no group with this id. Correct the rule's expression, or restore the group."
			case errors.Is(err, drive.ErrDenied):
				unread.Code, unread.Message = backup.AccessDenied, "The source refuses to tell who is in this group. Grant the application the permission GroupMember.Read.All, with an administrator's consent."
			case errors.Is(err, drive.ErrEndless), r.Dynamic && j.Failures >= maxGroupFailures:
				unread.Code, unread.Message = backup.GeneralException, "The source does not tell to the end who is in this group. It is asked again when the rule is evaluated next."
				e.Log.WarnContext(ctx, "a group could not be read", "tenant", r.Tenant, "rule", r.ID, "group", group, "err", err)
			default:
				return found, err
			}
			found.Unread = append(found.Unread, unread)
		}
	}
	var change catalog.DirectoryChange
	for _, user := range users {
		if user.Address != "" { // else the list does not tell what users are called
			change.Users = append(change.Users, user)
		}
	}
	if len(change.Users) == 0 {
		return found, nil
	}
	return found, e.Catalog.ApplyDirectory(ctx, r.Tenant, change)
}
