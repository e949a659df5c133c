package graphapi

import (
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// The sets that hold what is of every workload, or of none.
const (
	policySet     = "protectionPolicies"
	unitSet       = "protectionUnits"
	pointSet      = "restorePoints"
	sessionSet    = "restoreSessions"
	browseSet     = "browseSessions"
	serviceAppSet = "serviceApps"
	emailSetting  = "emailNotificationsSetting"
	activitySet   = "activityLogs"
	approvalSet   = "holdfast.approvals" // ours
)

// The types that are of no workload.
const (
	restorePoint = "restorePoint"
	serviceApp   = "serviceApp"
)

// searchResponse is the member that names a search.
const searchResponse = "searchResponseId"

// The options of lists and entities that can be expanded, and of those that are
// paged and nothing else.
var (
	expandedList = append(slices.Clone(queried), odata.Expand)
	expandable   = []odata.Option{odata.Select, odata.Expand}
	pages        = []odata.Option{odata.SkipToken}
)

// The keys in addresses.
var (
	policyKey  = key{"id", backup.InvalidPolicyID}
	unitKey    = key{"id", backup.InvalidProtectionUnitID}
	sessionKey = key{"id", backup.InvalidRestoreSessionID}
	appKey     = key{"id", backup.InvalidRequest}

	approvalKey = key{"id", backup.InvalidRequest}
)

// routes is the table of contents of the API, of the workloads that are served.
func routes(served []*workload) []route {
	// The service itself.
	table := []route{
		{method: "GET", path: "", op: identity.GetService, handle: (*Server).getService, entity: serviceType, options: single},
		{method: "GET", path: "holdfast.me", access: anyToken, handle: (*Server).getMe},
		{method: "GET", path: "holdfast.rpo", op: identity.ListUnits, handle: (*Server).getRPO},
		{method: "GET", path: "holdfast.coverage", op: identity.ListUnits, handle: (*Server).listCoverage, options: []odata.Option{odata.Top, odata.SkipToken}},
		{method: "GET", path: "holdfast.days", op: identity.ListUnits, handle: (*Server).listDays, options: []odata.Option{odata.Top, odata.SkipToken}},
		{method: "POST", path: "enable", op: identity.EnableService, handle: (*Server).enableService, body: requiredBody, action: true},
		{method: "GET", path: serviceAppSet, op: identity.ListServiceApps, handle: (*Server).listServiceApps, entity: serviceAppType, options: queried},
		{method: "GET", path: serviceAppSet + "/$count", op: identity.ListServiceApps, handle: (*Server).countServiceApps, entity: serviceAppType, options: counted, plain: true},
		{method: "POST", path: serviceAppSet, op: identity.CreateServiceApp, handle: (*Server).createServiceApp, body: optionalBody},
		{method: "GET", path: serviceAppSet + "/{id}", op: identity.GetServiceApp, handle: (*Server).getServiceApp, entity: serviceAppType, options: single, keys: []key{appKey}},
		{method: "DELETE", path: serviceAppSet + "/{id}", op: identity.DeleteServiceApp, handle: (*Server).deleteServiceApp, keys: []key{appKey}},
		{method: "POST", path: serviceAppSet + "/{id}/activate", op: identity.ActivateServiceApp, handle: (*Server).activateServiceApp, keys: []key{appKey}, body: requiredBody, action: true},
		{method: "POST", path: serviceAppSet + "/{id}/deactivate", op: identity.DeactivateServiceApp, handle: (*Server).deactivateServiceApp, keys: []key{appKey}, body: optionalBody, action: true},
		{method: "GET", path: emailSetting, op: identity.GetEmailSetting, handle: (*Server).getEmailSetting},
		{method: "GET", path: approvalSet, op: identity.ListApprovals, handle: (*Server).listApprovals, entity: approvalType, options: queried},
		{method: "GET", path: approvalSet + "/$count", op: identity.ListApprovals, handle: (*Server).countApprovals, entity: approvalType, options: counted, plain: true},
		{method: "GET", path: approvalSet + "/{id}", op: identity.GetApproval, handle: (*Server).getApproval, entity: approvalType, options: single, keys: []key{approvalKey}},
		{method: "POST", path: approvalSet + "/{id}/approve", op: identity.Approve, handle: (*Server).approve, keys: []key{approvalKey}, body: optionalBody, params: []string{"comment"}, action: true},
		{method: "POST", path: approvalSet + "/{id}/deny", op: identity.Deny, handle: (*Server).deny, keys: []key{approvalKey}, body: optionalBody, params: []string{"comment"}, action: true},
		{method: "PATCH", path: emailSetting, op: identity.UpdateEmailSetting, handle: (*Server).updateEmailSetting, body: requiredBody},
	}

	table = append(table, policyRoutes(policySet, nil, served)...)
	table = append(table, unitRoutes(unitSet, nil, served)...)
	table = append(table,
		route{method: "GET", path: policySet + "/{id}/holdfast.me", op: identity.GetPolicy, handle: (*Server).getMeOfPolicy, keys: []key{policyKey}},
		route{method: "GET", path: unitSet + "/{id}/holdfast.me", op: identity.GetUnit, handle: (*Server).getMeOfUnit, keys: []key{unitKey}},
		route{method: "GET", path: sessionSet + "/{id}/holdfast.me", op: identity.GetSession, handle: (*Server).getMeOfSession, keys: []key{sessionKey}},
		route{method: "POST", path: unitSet + "/{id}/offboard", op: identity.OffboardUnit, handle: (*Server).offboardUnit, keys: []key{unitKey}, body: optionalBody, action: true},
		route{method: "POST", path: unitSet + "/{id}/cancelOffboard", op: identity.CancelOffboardUnit, handle: (*Server).cancelOffboardUnit, keys: []key{unitKey}, body: optionalBody, action: true},
	)

	// Restore points.
	table = append(table,
		route{method: "GET", path: pointSet, op: identity.ListPoints, handle: (*Server).listPoints, entity: pointType,
			options: []odata.Option{odata.Select, odata.Top, odata.Count, odata.Filter, odata.OrderBy, odata.Expand, odata.SkipToken}},
		route{method: "GET", path: pointSet + "/$count", op: identity.ListPoints, handle: (*Server).countPoints, options: []odata.Option{odata.Filter, odata.Expand}, plain: true},
		route{method: "GET", path: pointSet + "/{id}", op: identity.GetPoint, handle: (*Server).getPoint, entity: pointType, options: expandable},
		route{method: "GET", path: pointSet + "/{id}/holdfast.unread", op: identity.GetPoint, handle: (*Server).listUnread,
			options: []odata.Option{odata.Top, odata.Skip, odata.Count, odata.SkipToken}},
		route{method: "GET", path: pointSet + "/{id}/holdfast.changes/{since}", op: identity.Browse, handle: (*Server).listChanges,
			options: []odata.Option{odata.Top, odata.Count, odata.SkipToken}, browses: true, audited: true},
		route{method: "GET", path: pointSet + "/{id}/holdfast.mail", op: identity.Browse, handle: (*Server).listMail,
			options: []odata.Option{odata.Top, odata.SkipToken}, browses: true, audited: true},
		route{method: "GET", path: pointSet + "/{id}/holdfast.mail/{itemKey}", op: identity.Browse, handle: (*Server).listMail,
			options: []odata.Option{odata.Top, odata.SkipToken}, browses: true, audited: true},
		route{method: "GET", path: pointSet + "/{id}/holdfast.message/{itemKey}", op: identity.ReadContent, handle: (*Server).readMessage, browses: true, audited: true},
		route{method: "GET", path: pointSet + "/{id}/holdfast.mime/{itemKey}", op: identity.ReadContent, handle: (*Server).readMIME, browses: true, raw: true, audited: true},
		route{method: "GET", path: pointSet + "/{id}/holdfast.attachment/{itemKey}/{attachmentId}", op: identity.ReadContent, handle: (*Server).readAttachment,
			browses: true, raw: true, audited: true},
		route{method: "GET", path: pointSet + "/{id}/protectionUnit", op: identity.GetPoint, handle: (*Server).getPointUnit,
			entity: all(served, "protectionUnitBase", unitsOf), options: single},
		route{method: "POST", path: pointSet + "/search", op: identity.SearchPoints, handle: (*Server).searchPoints, body: requiredBody,
			badBody: backup.InvalidSearchRequest, action: true},
	)
	table = append(table, sessionRoutes(sessionSet, nil, served)...)
	table = append(table, browseRoutes(browseSet, nil, served)...)
	for _, w := range served {
		table = append(table, w.routes(served)...)
	}
	return table
}

// routes is what there is of w: its own sets, and its parts of the sets of all.
func (w *workload) routes(served []*workload) []route {
	table := slices.Concat(policyRoutes(w.policies.set, w, served), w.ofPolicy(),
		unitRoutes(w.units.set, w, served), unitRoutes(unitSet+"/graph."+w.units.name, w, served),
		sessionRoutes(w.sessions.set, w, served), w.ofSession())
	table = append(table,
		route{method: "GET", path: policySet + "/graph." + w.policies.name, of: w, op: identity.ListPolicies, handle: (*Server).listPolicies, entity: w.policies.entityType, options: expandedList},
		route{method: "GET", path: policySet + "/{id}/graph." + w.policies.name, of: w, op: identity.GetPolicy, handle: (*Server).getPolicy, entity: w.policies.entityType, options: expandable, keys: []key{policyKey}},
		route{method: "GET", path: unitSet + "/{id}/graph." + w.units.name, of: w, op: identity.GetUnit, handle: (*Server).getUnit, entity: w.units.entityType, options: single, keys: []key{unitKey}},
		route{method: "GET", path: sessionSet + "/graph." + w.sessions.name, of: w, op: identity.ListSessions, handle: (*Server).listSessions, entity: w.sessions.entityType, options: queried},
		route{method: "GET", path: sessionSet + "/{id}/graph." + w.sessions.name, of: w, op: identity.GetSession, handle: (*Server).getSession, entity: w.sessions.entityType, options: single, keys: []key{sessionKey}},
	)
	if w.searched {
		return table
	}
	return append(append(table, browseRoutes(w.browses.set, w, served)...),
		route{method: "POST", path: w.browses.set, of: w, op: identity.CreateBrowseSession, handle: (*Server).createBrowseSession, body: requiredBody,
			badBody: backup.InvalidCreateRequest, creates: true, browses: true},
		route{method: "GET", path: browseSet + "/graph." + w.browses.name, of: w, op: identity.ListBrowseSessions, handle: (*Server).listBrowseSessions, entity: w.browses.entityType, options: queried, browses: true},
		route{method: "GET", path: browseSet + "/{id}/graph." + w.browses.name, of: w, op: identity.GetBrowseSession, handle: (*Server).getBrowseSession, browses: true},
	)
}

// policyRoutes is policies, through a set of one workload or, without one, the
// set of all.
func policyRoutes(set string, w *workload, served []*workload) []route {
	entity := either(w, served, "protectionPolicyBase", policiesOf)
	return []route{
		{method: "GET", path: set, of: w, op: identity.ListPolicies, handle: (*Server).listPolicies, entity: entity, options: expandedList},
		{method: "GET", path: set + "/$count", of: w, op: identity.ListPolicies, handle: (*Server).countPolicies, entity: entity, options: counted, plain: true},
		{method: "POST", path: set, of: w, op: identity.CreatePolicy, handle: (*Server).createPolicy, body: requiredBody,
			badBody: backup.InvalidCreateRequest, fault: backup.PolicySaveFailed, creates: true},
		{method: "GET", path: set + "/{id}", of: w, op: identity.GetPolicy, handle: (*Server).getPolicy, entity: entity, options: expandable, keys: []key{policyKey}},
		{method: "PATCH", path: set + "/{id}", of: w, op: identity.UpdatePolicy, handle: (*Server).updatePolicy, keys: []key{policyKey},
			body: requiredBody, badBody: backup.InvalidPatchRequest, fault: backup.PolicySaveFailed},
		{method: "DELETE", path: set + "/{id}", of: w, op: identity.DeletePolicy, handle: (*Server).deletePolicy, keys: []key{policyKey}},
		{method: "POST", path: set + "/{id}/activate", of: w, op: identity.ActivatePolicy, handle: (*Server).activatePolicy, keys: []key{policyKey}, body: optionalBody, action: true},
		{method: "POST", path: set + "/{id}/deactivate", of: w, op: identity.DeactivatePolicy, handle: (*Server).deactivatePolicy, keys: []key{policyKey}, body: optionalBody, action: true},
	}
}

// ofPolicy is what belongs to a policy of w, and what of that is of the tenant:
// units, bulk addition jobs, inclusion rules, and why a unit is in a policy or is
// not, which is ours.
func (w *workload) ofPolicy() []route {
	at := w.policies.set + "/{id}/"
	unitKeys := []key{policyKey, {"unit", backup.InvalidProtectionUnitID}}
	job, rule := key{"job", backup.InvalidRequest}, key{"rule", backup.InvalidInclusionRuleID}
	units, jobs, rules := w.units, w.bulkJobs, w.rules
	ruleKeys := []key{policyKey, rule}
	return []route{
		{method: "GET", path: at + units.set, of: w, op: identity.ListUnits, handle: (*Server).listPolicyUnits, entity: units.entityType, options: queried, keys: []key{policyKey}},
		{method: "GET", path: at + units.set + "/$count", of: w, op: identity.ListUnits, handle: (*Server).countPolicyUnits, entity: units.entityType, options: counted, keys: []key{policyKey}, plain: true},
		{method: "GET", path: at + units.set + "/{unit}", of: w, op: identity.GetUnit, handle: (*Server).getPolicyUnit, entity: units.entityType, options: single, keys: unitKeys},

		{method: "GET", path: at + jobs.set, of: w, op: identity.ListBulkJobs, handle: (*Server).listPolicyBulkJobs, entity: jobs.entityType, options: queried, keys: []key{policyKey}},
		{method: "GET", path: at + jobs.set + "/$count", of: w, op: identity.ListBulkJobs, handle: (*Server).countPolicyBulkJobs, entity: jobs.entityType, options: counted, keys: []key{policyKey}, plain: true},
		{method: "POST", path: at + jobs.set, of: w, op: identity.CreateBulkJob, handle: (*Server).createBulkJob, keys: []key{policyKey},
			body: requiredBody, limit: bulkBodyLimit, badBody: backup.InvalidCreateRequest, creates: true},
		{method: "GET", path: at + jobs.set + "/{job}", of: w, op: identity.GetBulkJob, handle: (*Server).getPolicyBulkJob, entity: jobs.entityType, options: single, keys: []key{policyKey, job}},
		{method: "GET", path: jobs.set, of: w, op: identity.ListBulkJobs, handle: (*Server).listBulkJobs, entity: jobs.entityType, options: queried},
		{method: "GET", path: jobs.set + "/$count", of: w, op: identity.ListBulkJobs, handle: (*Server).countBulkJobs, entity: jobs.entityType, options: counted, plain: true},
		{method: "GET", path: jobs.set + "/{job}", of: w, op: identity.GetBulkJob, handle: (*Server).getBulkJob, entity: jobs.entityType, options: single, keys: []key{job}},

		{method: "GET", path: at + rules.set, of: w, op: identity.ListRules, handle: (*Server).listPolicyRules, entity: rules.entityType, options: queried, keys: []key{policyKey}},
		{method: "GET", path: at + rules.set + "/$count", of: w, op: identity.ListRules, handle: (*Server).countPolicyRules, entity: rules.entityType, options: counted, keys: []key{policyKey}, plain: true},
		{method: "POST", path: at + rules.set, of: w, op: identity.CreateRule, handle: (*Server).createRule, keys: []key{policyKey},
			body: requiredBody, badBody: backup.InvalidRuleCreateRequest, creates: true},
		{method: "GET", path: at + rules.set + "/{rule}", of: w, op: identity.GetRule, handle: (*Server).getPolicyRule, entity: rules.entityType, options: single, keys: ruleKeys},
		{method: "PATCH", path: at + rules.set + "/{rule}", of: w, op: identity.UpdateRule, handle: (*Server).updateRule, keys: ruleKeys,
			body: requiredBody, badBody: backup.InvalidRulePatchRequest},
		{method: "DELETE", path: at + rules.set + "/{rule}", of: w, op: identity.DeleteRule, handle: (*Server).deleteRule, keys: ruleKeys},
		{method: "POST", path: at + rules.set + "/{rule}/run", of: w, op: identity.RunRule, handle: (*Server).runRule, keys: ruleKeys, body: optionalBody, action: true},
		{method: "POST", path: at + rules.set + "/{rule}/deleteAndUnprotect", of: w, op: identity.ReleaseRule, handle: (*Server).releaseRule, keys: ruleKeys, body: optionalBody, action: true},
		{method: "GET", path: rules.set, of: w, op: identity.ListRules, handle: (*Server).listRules, entity: rules.entityType, options: queried},
		{method: "GET", path: rules.set + "/$count", of: w, op: identity.ListRules, handle: (*Server).countRules, entity: rules.entityType, options: counted, plain: true},
		{method: "GET", path: rules.set + "/{rule}", of: w, op: identity.GetRule, handle: (*Server).getRule, entity: rules.entityType, options: single, keys: []key{rule}},

		{method: "GET", path: at + "holdfast.explain/{" + w.subject + "}", of: w, op: identity.Explain, handle: (*Server).explain,
			keys: []key{policyKey}},
	}
}

// unitRoutes is the units of the tenant.
func unitRoutes(set string, w *workload, served []*workload) []route {
	entity := either(w, served, "protectionUnitBase", unitsOf)
	table := []route{
		{method: "GET", path: set, of: w, op: identity.ListUnits, handle: (*Server).listUnits, entity: entity, options: queried},
		{method: "GET", path: set + "/$count", of: w, op: identity.ListUnits, handle: (*Server).countUnits, entity: entity, options: counted, plain: true},
	}
	if strings.Contains(set, "/") { // a cast, which has no entities below it
		return table
	}
	return append(table, route{method: "GET", path: set + "/{id}", of: w, op: identity.GetUnit, handle: (*Server).getUnit, entity: entity, options: single, keys: []key{unitKey}},
		route{method: "GET", path: set + "/{id}/holdfast.find/{name}", of: w, op: identity.Find, handle: (*Server).find, options: []odata.Option{odata.Top, odata.SkipToken},
			keys: []key{unitKey}, browses: true, audited: true})
}

// sessionRoutes is restore sessions.
func sessionRoutes(set string, w *workload, served []*workload) []route {
	entity := either(w, served, "restoreSessionBase", sessionsOf)
	return []route{
		{method: "GET", path: set, of: w, op: identity.ListSessions, handle: (*Server).listSessions, entity: entity, options: queried},
		{method: "GET", path: set + "/$count", of: w, op: identity.ListSessions, handle: (*Server).countSessions, entity: entity, options: counted, plain: true},
		{method: "POST", path: set, of: w, op: identity.CreateSession, handle: (*Server).createSession, body: requiredBody, creates: true},
		{method: "GET", path: set + "/{id}", of: w, op: identity.GetSession, handle: (*Server).getSession, entity: entity, options: single, keys: []key{sessionKey}},
		{method: "PATCH", path: set + "/{id}", of: w, op: identity.UpdateSession, handle: (*Server).updateSession, keys: []key{sessionKey},
			body: requiredBody, badBody: backup.InvalidPatchRequest},
		{method: "DELETE", path: set + "/{id}", of: w, op: identity.DeleteSession, handle: (*Server).deleteSession, keys: []key{sessionKey}, fault: backup.IncompleteArtifactDeletion},
		{method: "POST", path: set + "/{id}/activate", of: w, op: identity.ActivateSession, handle: (*Server).activateSession, keys: []key{sessionKey}, body: optionalBody, action: true},
		{method: "POST", path: set + "/{id}/holdfast.pause", of: w, op: identity.PauseSession, handle: (*Server).pauseSession, keys: []key{sessionKey}, body: optionalBody, action: true},
		{method: "POST", path: set + "/{id}/holdfast.resume", of: w, op: identity.ResumeSession, handle: (*Server).resumeSession, keys: []key{sessionKey}, body: optionalBody, action: true},
		{method: "POST", path: set + "/{id}/holdfast.cancel", of: w, op: identity.CancelSession, handle: (*Server).cancelSession, keys: []key{sessionKey}, body: optionalBody, action: true},
	}
}

// ofSession is what a session of w restores: whole units, parts of them, and what
// a bulk restore request names.
func (w *workload) ofSession() []route {
	at := w.sessions.set + "/{id}/"
	granular, requests := at+w.granular.set, at+w.bulkRestore.set
	sessionKeys := []key{sessionKey}
	requestsKeys := []key{{"id", backup.InvalidBulkRestoreArtifactID}}
	requestKeys := []key{requestsKeys[0], {"request", backup.InvalidBulkRestoreArtifactID}}
	table := w.ofArtifacts(w.artifacts)
	if w.searched {
		table = append(table, w.ofArtifacts(w.granular)...)
	} else {
		table = append(table, []route{
			{method: "GET", path: granular, of: w, op: identity.ListGranularArtifacts, handle: (*Server).listGranular, options: pages, keys: sessionKeys, browses: true},
			{method: "GET", path: granular + "/$count", of: w, op: identity.ListGranularArtifacts, handle: (*Server).countGranular, keys: sessionKeys, plain: true, browses: true},
			{method: "GET", path: granular + "/{artifact}", of: w, op: identity.ListGranularArtifacts, handle: (*Server).getGranular, keys: sessionKeys, browses: true},
		}...)
	}
	return append(table, []route{
		{method: "GET", path: requests, of: w, op: identity.ListBulkRestores, handle: (*Server).listBulkRestores, keys: requestsKeys},
		{method: "GET", path: requests + "/$count", of: w, op: identity.ListBulkRestores, handle: (*Server).countBulkRestores, keys: requestsKeys, plain: true},
		{method: "POST", path: requests, of: w, op: identity.CreateBulkRestore, handle: (*Server).createBulkRestore, keys: requestsKeys,
			body: requiredBody, badBody: backup.BulkRestoreInvalidCreate, creates: true},
		{method: "GET", path: requests + "/{request}", of: w, op: identity.GetBulkRestore, handle: (*Server).getBulkRestore, keys: requestKeys},
		{method: "DELETE", path: requests + "/{request}", of: w, op: identity.DeleteBulkRestore, handle: (*Server).deleteBulkRestore, keys: requestKeys},
	}...)
}

// ofArtifacts is the artifacts c of a session of w.
func (w *workload) ofArtifacts(c collection) []route {
	artifacts := w.sessions.set + "/{id}/" + c.set
	sessionKeys := []key{sessionKey}
	artifactKeys := []key{sessionKey, {"artifact", backup.InvalidRequest}}
	return []route{
		{method: "GET", path: artifacts, of: w, op: identity.ListArtifacts, handle: (*Server).listArtifacts, entity: c.entityType, options: expandedList, keys: sessionKeys},
		{method: "GET", path: artifacts + "/$count", of: w, op: identity.ListArtifacts, handle: (*Server).countArtifacts, entity: c.entityType, options: counted, keys: sessionKeys, plain: true},
		{method: "GET", path: artifacts + "/{artifact}", of: w, op: identity.GetArtifact, handle: (*Server).getArtifact, entity: c.entityType, options: expandable, keys: artifactKeys},
		{method: "GET", path: artifacts + "/{artifact}/restorePoint", of: w, op: identity.GetArtifact, handle: (*Server).getArtifactPoint, entity: pointType, options: single, keys: artifactKeys},
	}
}

// browseRoutes is browse sessions. Their ids are opaque to clients: one of another
// form is an unknown one.
func browseRoutes(set string, w *workload, served []*workload) []route {
	entity := either(w, served, "browseSessionBase", browsesOf)
	return []route{
		{method: "GET", path: set, of: w, op: identity.ListBrowseSessions, handle: (*Server).listBrowseSessions, entity: entity, options: queried, browses: true},
		{method: "GET", path: set + "/$count", of: w, op: identity.ListBrowseSessions, handle: (*Server).countBrowseSessions, entity: entity, options: counted, plain: true, browses: true},
		{method: "GET", path: set + "/{id}", of: w, op: identity.GetBrowseSession, handle: (*Server).getBrowseSession, browses: true},
		{method: "DELETE", path: set + "/{id}", of: w, op: identity.DeleteBrowseSession, handle: (*Server).deleteBrowseSession, browses: true},
		{method: "POST", path: set + "/{id}/browse", of: w, op: identity.Browse, handle: (*Server).browse, body: optionalBody,
			params: []string{"browseLocationItemKey", "browseResourceType", "filter", "orderBy", ourOrder}, action: true, browses: true},
		{method: "GET", path: set + "/{id}/browse", of: w, op: identity.Browse, handle: (*Server).browseOn, options: pages, action: true, browses: true},
		{method: "GET", path: set + "/{id}/browse/{nextFetchToken}", of: w, op: identity.Browse, handle: (*Server).browseOn, browses: true},
		{method: "GET", path: set + "/{id}/holdfast.content/{itemKey}", of: w, op: identity.ReadContent, handle: (*Server).readContent, browses: true, raw: true, audited: true},
	}
}
