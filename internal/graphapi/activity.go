package graphapi

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// audited has a request that is to change something, which was admitted or
// refused, leave its trace in the audit log: with the change, where there is
// one, and else afterwards. What was not let in at all, for want of a token or
// because there were too many, leaves none.
func (s *Server) audited(x *exchange, refusal error) (answer reply, err error) {
	if code := codeOf(errorOf(refusal)); code == backup.InvalidAuthenticationToken || code == backup.TooManyRequests {
		return reply{}, refusal
	}
	a := &catalog.Audit{Activity: backup.Activity{
		Tenant: x.tenant(), Workload: s.workloadOf(x), By: x.caller.Identities(), Operation: string(x.route.op),
		Target: printable(x.path(), 1024), Object: objectOf(x), Request: x.id,
	}}
	x.r = x.r.WithContext(catalog.WithAudit(x.ctx(), a))
	if err = refusal; err == nil {
		answer, err = s.admitted(x)
	}
	if err == nil && (a.Written() || x.route.creates) { // a repetition creates nothing
		return answer, nil
	}
	entry := a.Activity
	if x.named != "" {
		entry.Target += " (" + x.named + ")"
	}
	if err != nil {
		e := errorOf(err)
		if e == nil {
			e = backup.Fail(backup.GeneralException, generalMessage)
		}
		problem := e.Problem
		if known := answers[e.Code].code; known != "" {
			problem.Code = known
		}
		entry.Result, entry.Problem = backup.ActivityFailed, &problem
	}
	if failed := s.catalog.Record(context.WithoutCancel(x.ctx()), entry, a.Units...); failed != nil {
		s.log.ErrorContext(x.ctx(), "an entry of the audit log was lost", "operation", entry.Operation, "err", failed)
	}
	return answer, err
}

// objectOf is the id of what a request is of, as its address has it.
func objectOf(x *exchange) string {
	if id, ok := backup.ParseGUID(x.r.PathValue("id")); ok {
		return id // however it was spelled
	}
	return printable(x.r.PathValue("id"), 128)
}

// workloadOf is the workload of what a request is of, as far as its address tells.
func (s *Server) workloadOf(x *exchange) backup.Workload {
	if x.route.of != nil {
		return x.route.of.kind
	}
	set, _, _ := strings.Cut(x.route.path, "/")
	id, ok := backup.ParseGUID(x.r.PathValue("id"))
	thing, known := map[string]catalog.Thing{
		policySet: catalog.APolicy, unitSet: catalog.AUnit, sessionSet: catalog.ASession, browseSet: catalog.ABrowseSession,
	}[set]
	if !known || !ok {
		return ""
	}
	kind, err := s.catalog.WorkloadOf(x.ctx(), x.tenant(), thing, id)
	if err != nil { // the request itself will fail as well
		return ""
	}
	return kind
}

// serviceTypes are the workloads as Microsoft's log names them.
var serviceTypes = map[backup.Workload]string{backup.OneDrive: "oneDriveForBusiness", backup.SharePoint: "sharepoint", backup.Exchange: "exchange", "": "unknown"}

// activities says of each operation how Microsoft's log names it. What it has
// no name for is an activityLogBase.
var activities = map[string]struct{ kind, name string }{
	string(identity.CreatePolicy):       {"backupPolicyActivityLog", "backupPolicyCreated"},
	string(identity.UpdatePolicy):       {"backupPolicyActivityLog", "backupPolicyModified"},
	string(identity.CreateBulkJob):      {"backupPolicyActivityLog", "backupPolicyModified"},
	string(identity.CreateExclusionJob): {"backupPolicyActivityLog", "backupPolicyModified"},
	backup.AllProtectedActivity:         {"backupPolicyActivityLog", "backupPolicyModified"},
	string(identity.ActivatePolicy):     {"backupPolicyActivityLog", "backupPolicyActivated"},
	string(identity.DeactivatePolicy):   {"backupPolicyActivityLog", "backupPolicyPaused"},
	string(identity.DeletePolicy):       {"backupPolicyActivityLog", ""},
	string(identity.CreateRule):         {"dynamicRuleActivityLog", "dynamicRuleExecution"},
	string(identity.UpdateRule):         {"dynamicRuleActivityLog", "dynamicRuleExecution"},
	string(identity.RunRule):            {"dynamicRuleActivityLog", "dynamicRuleExecution"},
	backup.RuleAppliedActivity:          {"dynamicRuleActivityLog", "dynamicRuleExecution"},
	string(identity.DeleteRule):         {"dynamicRuleActivityLog", "dynamicRuleDeletion"},
	string(identity.ReleaseRule):        {"dynamicRuleActivityLog", "dynamicRuleDeletion"},
	string(identity.OffboardUnit):       {"offboardingActivityLog", "protectionUnitLevelOffboarding"},
	string(identity.CancelOffboardUnit): {"offboardingActivityLog", "protectionUnitLevelOffboarding"},
	backup.UnitOffboardedActivity:       {"offboardingActivityLog", "protectionUnitLevelOffboarding"},
	string(identity.CreateSession):      {"restoreTaskActivityLog", "restoreTaskCreated"},
	string(identity.UpdateSession):      {"restoreTaskActivityLog", ""},
	string(identity.ActivateSession):    {"restoreTaskActivityLog", ""},
	string(identity.PauseSession):       {"restoreTaskActivityLog", ""},
	string(identity.ResumeSession):      {"restoreTaskActivityLog", ""},
	string(identity.CancelSession):      {"restoreTaskActivityLog", ""},
	string(identity.DeleteSession):      {"restoreTaskActivityLog", ""},
	string(identity.CreateBulkRestore):  {"restoreTaskActivityLog", ""},
	string(identity.DeleteBulkRestore):  {"restoreTaskActivityLog", ""},
	backup.RestoreFinishedActivity:      {"restoreTaskActivityLog", "restoreTaskCompleted"},
}

// activityView shows an activityLogBase as the type that it is.
func activityView(a backup.Activity) odata.Entity {
	as := activities[a.Operation]
	if as.kind == "" {
		as.kind = "activityLogBase"
	}
	if as.name == "" {
		as.name = "unknownFutureValue"
	}
	e := odata.Entity{Type: as.kind, Path: root + "/" + activitySet + "('" + string(a.ID) + "')"}
	e.Add("id", a.ID)
	e.Add("activityType", as.name)
	e.Add("eventDateTime", odata.FormatTime(a.At))
	e.Add("performedBy", cmp.Or(a.By.Who(), "Holdfast"))
	e.Add("resultStatus", a.Result)
	e.Add("serviceType", serviceTypes[a.Workload])
	severity := "low"
	switch {
	case a.Operation == backup.UnitOffboardedActivity:
		severity = "high"
	case a.Result != backup.ActivitySucceeded:
		severity = "medium"
	}
	e.Add("severity", severity)
	e.Add("error", a.Problem)
	e.Add("@holdfast.operation", a.Operation)
	addText(&e, "@holdfast.performedById", a.By.Actor())
	addText(&e, "@holdfast.objectId", a.Object)
	addText(&e, "@holdfast.target", a.Target)
	addText(&e, "@holdfast.requestId", a.Request)
	if len(a.Units) > 0 {
		units := make([]odata.Entity, len(a.Units))
		for i, u := range a.Units {
			units[i].Add("protectionUnitId", u.ID)
			units[i].Add("subjectId", u.Subject)
			addText(&units[i], "address", u.Address)
		}
		e.Add("@holdfast.units", units)
	}
	switch as.kind {
	case "backupPolicyActivityLog", "dynamicRuleActivityLog":
		addText(&e, "policyId", a.Object)
	case "restoreTaskActivityLog":
		addText(&e, "restoreSessionId", a.Object)
	}
	return e
}

// listActivities serves the audit log, the newest first.
func (s *Server) listActivities(x *exchange) (reply, error) {
	return list(s, x, listing[backup.Activity]{
		set: activitySet,
		fetch: func(p catalog.Page) (catalog.List[backup.Activity], error) {
			return s.catalog.Activities(x.ctx(), x.tenant(), p)
		},
		view: func(a backup.Activity) (odata.Entity, error) { return activityView(a), nil },
	})
}

func (s *Server) getActivity(x *exchange) (reply, error) {
	a, err := s.catalog.Activity(x.ctx(), x.tenant(), guid[backup.ActivityID](x, "id"))
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, activitySet, activityView(a))
}
