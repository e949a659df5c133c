package graphapi

import (
	"slices"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// The sets of the API.
const (
	policySet       = "protectionPolicies"
	drivePolicySet  = "oneDriveForBusinessProtectionPolicies"
	unitSet         = "protectionUnits"
	driveUnitSet    = "driveProtectionUnits"
	bulkJobSet      = "driveProtectionUnitsBulkAdditionJobs"
	ruleSet         = "driveInclusionRules"
	pointSet        = "restorePoints"
	sessionSet      = "restoreSessions"
	driveSessionSet = "oneDriveForBusinessRestoreSessions"
	artifactSet     = "driveRestoreArtifacts"
	serviceAppSet   = "serviceApps"
	emailSetting    = "emailNotificationsSetting"
	granularSet     = "granularDriveRestoreArtifacts"
	bulkRestoreSet  = "driveRestoreArtifactsBulkAdditionRequests"
	browseSet       = "browseSessions"
	driveBrowseSet  = "oneDriveForBusinessBrowseSessions"
	activitySet     = "activityLogs"
)

// The types of OneDrive.
const (
	drivePolicy   = "oneDriveForBusinessProtectionPolicy"
	driveUnit     = "driveProtectionUnit"
	driveBulkJob  = "driveProtectionUnitsBulkAdditionJob"
	driveRule     = "driveProtectionRule"
	driveSession  = "oneDriveForBusinessRestoreSession"
	driveArtifact = "driveRestoreArtifact"
	driveGranular = "granularDriveRestoreArtifact"
	driveBulk     = "driveRestoreArtifactsBulkAdditionRequest"
	driveBrowse   = "oneDriveForBusinessBrowseSession"
	restorePoint  = "restorePoint"
	serviceApp    = "serviceApp"
)

// routes is the table of contents of the API.
func routes() []route {
	policyKey := []key{{"id", backup.InvalidPolicyID}}
	unitKey := []key{{"id", backup.InvalidProtectionUnitID}}
	policyUnitKey := []key{policyKey[0], {"unit", backup.InvalidProtectionUnitID}}
	jobKey := []key{{"job", backup.InvalidRequest}}
	policyJobKey := []key{policyKey[0], jobKey[0]}
	ruleKey := []key{{"rule", backup.InvalidInclusionRuleID}}
	policyRuleKey := []key{policyKey[0], ruleKey[0]}
	sessionKey := []key{{"id", backup.InvalidRestoreSessionID}}
	artifactKey := []key{sessionKey[0], {"artifact", backup.InvalidRequest}}
	pointOptions := []odata.Option{odata.Select, odata.Top, odata.Count, odata.Filter, odata.OrderBy, odata.Expand, odata.SkipToken}
	expandedList := append(slices.Clone(queried), odata.Expand)
	expandable := []odata.Option{odata.Select, odata.Expand}

	appKey := []key{{"id", backup.InvalidRequest}}

	// The service itself.
	table := []route{
		{method: "GET", path: "", op: identity.GetService, handle: (*Server).getService, entity: serviceType, options: single},
		{method: "POST", path: "enable", op: identity.EnableService, handle: (*Server).enableService, body: requiredBody, action: true},
		{method: "GET", path: serviceAppSet, op: identity.ListServiceApps, handle: (*Server).listServiceApps, entity: serviceAppType, options: queried},
		{method: "GET", path: serviceAppSet + "/$count", op: identity.ListServiceApps, handle: (*Server).countServiceApps, entity: serviceAppType, options: counted, plain: true},
		{method: "POST", path: serviceAppSet, op: identity.CreateServiceApp, handle: (*Server).createServiceApp, body: optionalBody},
		{method: "GET", path: serviceAppSet + "/{id}", op: identity.GetServiceApp, handle: (*Server).getServiceApp, entity: serviceAppType, options: single, keys: appKey},
		{method: "DELETE", path: serviceAppSet + "/{id}", op: identity.DeleteServiceApp, handle: (*Server).deleteServiceApp, keys: appKey},
		{method: "POST", path: serviceAppSet + "/{id}/activate", op: identity.ActivateServiceApp, handle: (*Server).activateServiceApp, keys: appKey, body: requiredBody, action: true},
		{method: "POST", path: serviceAppSet + "/{id}/deactivate", op: identity.DeactivateServiceApp, handle: (*Server).deactivateServiceApp, keys: appKey, body: optionalBody, action: true},
		{method: "GET", path: emailSetting, op: identity.GetEmailSetting, handle: (*Server).getEmailSetting},
		{method: "PATCH", path: emailSetting, op: identity.UpdateEmailSetting, handle: (*Server).updateEmailSetting, body: requiredBody},
	}

	// Policies, through the set of all and the set of OneDrive.
	for _, set := range []string{policySet, drivePolicySet} {
		table = append(table,
			route{method: "GET", path: set, op: identity.ListPolicies, handle: (*Server).listPolicies, entity: policyType, options: expandedList},
			route{method: "GET", path: set + "/$count", op: identity.ListPolicies, handle: (*Server).countPolicies, entity: policyType, options: counted, plain: true},
			route{method: "POST", path: set, op: identity.CreatePolicy, handle: (*Server).createPolicy, body: requiredBody,
				badBody: backup.InvalidCreateRequest, fault: backup.PolicySaveFailed, creates: true},
			route{method: "GET", path: set + "/{id}", op: identity.GetPolicy, handle: (*Server).getPolicy, entity: policyType, options: expandable, keys: policyKey},
			route{method: "PATCH", path: set + "/{id}", op: identity.UpdatePolicy, handle: (*Server).updatePolicy, keys: policyKey,
				body: requiredBody, badBody: backup.InvalidPatchRequest, fault: backup.PolicySaveFailed},
			route{method: "DELETE", path: set + "/{id}", op: identity.DeletePolicy, handle: (*Server).deletePolicy, keys: policyKey},
			route{method: "POST", path: set + "/{id}/activate", op: identity.ActivatePolicy, handle: (*Server).activatePolicy, keys: policyKey, body: optionalBody, action: true},
			route{method: "POST", path: set + "/{id}/deactivate", op: identity.DeactivatePolicy, handle: (*Server).deactivatePolicy, keys: policyKey, body: optionalBody, action: true},
		)
	}
	table = append(table,
		route{method: "GET", path: policySet + "/graph." + drivePolicy, op: identity.ListPolicies, handle: (*Server).listPolicies, entity: policyType, options: expandedList},
		route{method: "GET", path: policySet + "/{id}/graph." + drivePolicy, op: identity.GetPolicy, handle: (*Server).getPolicy, entity: policyType, options: expandable, keys: policyKey},
	)

	// What belongs to a policy: its units and its bulk addition jobs.
	ofPolicy := drivePolicySet + "/{id}/"
	table = append(table,
		route{method: "GET", path: ofPolicy + driveUnitSet, op: identity.ListUnits, handle: (*Server).listPolicyUnits, entity: unitType, options: queried, keys: policyKey},
		route{method: "GET", path: ofPolicy + driveUnitSet + "/$count", op: identity.ListUnits, handle: (*Server).countPolicyUnits, entity: unitType, options: counted, keys: policyKey, plain: true},
		route{method: "GET", path: ofPolicy + driveUnitSet + "/{unit}", op: identity.GetUnit, handle: (*Server).getPolicyUnit, entity: unitType, options: single, keys: policyUnitKey},
		route{method: "GET", path: ofPolicy + bulkJobSet, op: identity.ListBulkJobs, handle: (*Server).listPolicyBulkJobs, entity: bulkJobType, options: queried, keys: policyKey},
		route{method: "GET", path: ofPolicy + bulkJobSet + "/$count", op: identity.ListBulkJobs, handle: (*Server).countPolicyBulkJobs, entity: bulkJobType, options: counted, keys: policyKey, plain: true},
		route{method: "POST", path: ofPolicy + bulkJobSet, op: identity.CreateBulkJob, handle: (*Server).createBulkJob, keys: policyKey,
			body: requiredBody, limit: bulkBodyLimit, badBody: backup.InvalidCreateRequest, creates: true},
		route{method: "GET", path: ofPolicy + bulkJobSet + "/{job}", op: identity.GetBulkJob, handle: (*Server).getPolicyBulkJob, entity: bulkJobType, options: single, keys: policyJobKey},
		route{method: "GET", path: bulkJobSet, op: identity.ListBulkJobs, handle: (*Server).listBulkJobs, entity: bulkJobType, options: queried},
		route{method: "GET", path: bulkJobSet + "/$count", op: identity.ListBulkJobs, handle: (*Server).countBulkJobs, entity: bulkJobType, options: counted, plain: true},
		route{method: "GET", path: bulkJobSet + "/{job}", op: identity.GetBulkJob, handle: (*Server).getBulkJob, entity: bulkJobType, options: single, keys: jobKey},
	)

	// Inclusion rules, and why a drive is in a policy or is not, which is ours.
	table = append(table,
		route{method: "GET", path: ofPolicy + ruleSet, op: identity.ListRules, handle: (*Server).listPolicyRules, entity: ruleType, options: queried, keys: policyKey},
		route{method: "GET", path: ofPolicy + ruleSet + "/$count", op: identity.ListRules, handle: (*Server).countPolicyRules, entity: ruleType, options: counted, keys: policyKey, plain: true},
		route{method: "POST", path: ofPolicy + ruleSet, op: identity.CreateRule, handle: (*Server).createRule, keys: policyKey,
			body: requiredBody, badBody: backup.InvalidRuleCreateRequest, creates: true},
		route{method: "GET", path: ofPolicy + ruleSet + "/{rule}", op: identity.GetRule, handle: (*Server).getPolicyRule, entity: ruleType, options: single, keys: policyRuleKey},
		route{method: "PATCH", path: ofPolicy + ruleSet + "/{rule}", op: identity.UpdateRule, handle: (*Server).updateRule, keys: policyRuleKey,
			body: requiredBody, badBody: backup.InvalidRulePatchRequest},
		route{method: "DELETE", path: ofPolicy + ruleSet + "/{rule}", op: identity.DeleteRule, handle: (*Server).deleteRule, keys: policyRuleKey},
		route{method: "POST", path: ofPolicy + ruleSet + "/{rule}/run", op: identity.RunRule, handle: (*Server).runRule, keys: policyRuleKey, body: optionalBody, action: true},
		route{method: "POST", path: ofPolicy + ruleSet + "/{rule}/deleteAndUnprotect", op: identity.ReleaseRule, handle: (*Server).releaseRule, keys: policyRuleKey, body: optionalBody, action: true},
		route{method: "GET", path: ruleSet, op: identity.ListRules, handle: (*Server).listRules, entity: ruleType, options: queried},
		route{method: "GET", path: ruleSet + "/$count", op: identity.ListRules, handle: (*Server).countRules, entity: ruleType, options: counted, plain: true},
		route{method: "GET", path: ruleSet + "/{rule}", op: identity.GetRule, handle: (*Server).getRule, entity: ruleType, options: single, keys: ruleKey},
		route{method: "GET", path: ofPolicy + "holdfast.explain/{directoryObjectId}", op: identity.Explain, handle: (*Server).explain,
			keys: []key{policyKey[0], {"directoryObjectId", backup.InvalidRequest}}},
	)

	// Units of the tenant.
	for _, set := range []string{unitSet, unitSet + "/graph." + driveUnit, driveUnitSet} {
		table = append(table,
			route{method: "GET", path: set, op: identity.ListUnits, handle: (*Server).listUnits, entity: unitType, options: queried},
			route{method: "GET", path: set + "/$count", op: identity.ListUnits, handle: (*Server).countUnits, entity: unitType, options: counted, plain: true},
		)
	}
	for _, one := range []string{unitSet + "/{id}", unitSet + "/{id}/graph." + driveUnit, driveUnitSet + "/{id}"} {
		table = append(table,
			route{method: "GET", path: one, op: identity.GetUnit, handle: (*Server).getUnit, entity: unitType, options: single, keys: unitKey})
	}
	table = append(table,
		route{method: "POST", path: unitSet + "/{id}/offboard", op: identity.OffboardUnit, handle: (*Server).offboardUnit, keys: unitKey, body: optionalBody, action: true},
		route{method: "POST", path: unitSet + "/{id}/cancelOffboard", op: identity.CancelOffboardUnit, handle: (*Server).cancelOffboardUnit, keys: unitKey, body: optionalBody, action: true},
	)

	// Restore points.
	table = append(table,
		route{method: "GET", path: pointSet, op: identity.ListPoints, handle: (*Server).listPoints, entity: pointType, options: pointOptions},
		route{method: "GET", path: pointSet + "/$count", op: identity.ListPoints, handle: (*Server).countPoints, options: []odata.Option{odata.Filter, odata.Expand}, plain: true},
		route{method: "GET", path: pointSet + "/{id}", op: identity.GetPoint, handle: (*Server).getPoint, entity: pointType, options: expandable},
		route{method: "GET", path: pointSet + "/{id}/holdfast.unread", op: identity.GetPoint, handle: (*Server).listUnread,
			options: []odata.Option{odata.Top, odata.Skip, odata.Count, odata.SkipToken}},
		route{method: "GET", path: pointSet + "/{id}/protectionUnit", op: identity.GetPoint, handle: (*Server).getPointUnit, entity: unitType, options: single},
		route{method: "POST", path: pointSet + "/search", op: identity.SearchPoints, handle: (*Server).searchPoints, body: requiredBody,
			badBody: backup.InvalidSearchRequest, action: true},
	)

	// Restore sessions, through the set of all and the set of OneDrive.
	for _, set := range []string{sessionSet, driveSessionSet} {
		table = append(table,
			route{method: "GET", path: set, op: identity.ListSessions, handle: (*Server).listSessions, entity: sessionType, options: queried},
			route{method: "GET", path: set + "/$count", op: identity.ListSessions, handle: (*Server).countSessions, entity: sessionType, options: counted, plain: true},
			route{method: "POST", path: set, op: identity.CreateSession, handle: (*Server).createSession, body: requiredBody, creates: true},
			route{method: "GET", path: set + "/{id}", op: identity.GetSession, handle: (*Server).getSession, entity: sessionType, options: single, keys: sessionKey},
			route{method: "PATCH", path: set + "/{id}", op: identity.UpdateSession, handle: (*Server).updateSession, keys: sessionKey,
				body: requiredBody, badBody: backup.InvalidPatchRequest},
			route{method: "DELETE", path: set + "/{id}", op: identity.DeleteSession, handle: (*Server).deleteSession, keys: sessionKey, fault: backup.IncompleteArtifactDeletion},
			route{method: "POST", path: set + "/{id}/activate", op: identity.ActivateSession, handle: (*Server).activateSession, keys: sessionKey, body: optionalBody, action: true},
		)
	}
	ofSession := driveSessionSet + "/{id}/" + artifactSet
	table = append(table,
		route{method: "GET", path: sessionSet + "/graph." + driveSession, op: identity.ListSessions, handle: (*Server).listSessions, entity: sessionType, options: queried},
		route{method: "GET", path: sessionSet + "/{id}/graph." + driveSession, op: identity.GetSession, handle: (*Server).getSession, entity: sessionType, options: single, keys: sessionKey},
		route{method: "GET", path: ofSession, op: identity.ListArtifacts, handle: (*Server).listArtifacts, entity: artifactType, options: expandedList, keys: sessionKey},
		route{method: "GET", path: ofSession + "/$count", op: identity.ListArtifacts, handle: (*Server).countArtifacts, entity: artifactType, options: counted, keys: sessionKey, plain: true},
		route{method: "GET", path: ofSession + "/{artifact}", op: identity.GetArtifact, handle: (*Server).getArtifact, entity: artifactType, options: expandable, keys: artifactKey},
		route{method: "GET", path: ofSession + "/{artifact}/restorePoint", op: identity.GetArtifact, handle: (*Server).getArtifactPoint, entity: pointType, options: single, keys: artifactKey},
	)

	// What is in a session beside whole drives.
	granular := driveSessionSet + "/{id}/" + granularSet
	requests := driveSessionSet + "/{id}/" + bulkRestoreSet
	requestsKey := []key{{"id", backup.InvalidBulkRestoreArtifactID}}
	requestKey := []key{requestsKey[0], {"request", backup.InvalidBulkRestoreArtifactID}}
	pages := []odata.Option{odata.SkipToken}
	table = append(table,
		route{method: "GET", path: granular, op: identity.ListGranularArtifacts, handle: (*Server).listGranular, options: pages, keys: sessionKey, browses: true},
		route{method: "GET", path: granular + "/$count", op: identity.ListGranularArtifacts, handle: (*Server).countGranular, keys: sessionKey, plain: true, browses: true},
		route{method: "GET", path: granular + "/{artifact}", op: identity.ListGranularArtifacts, handle: (*Server).getGranular, keys: sessionKey, browses: true},
		route{method: "GET", path: requests, op: identity.ListBulkRestores, handle: (*Server).listBulkRestores, keys: requestsKey},
		route{method: "GET", path: requests + "/$count", op: identity.ListBulkRestores, handle: (*Server).countBulkRestores, keys: requestsKey, plain: true},
		route{method: "POST", path: requests, op: identity.CreateBulkRestore, handle: (*Server).createBulkRestore, keys: requestsKey,
			body: requiredBody, badBody: backup.BulkRestoreInvalidCreate, creates: true},
		route{method: "GET", path: requests + "/{request}", op: identity.GetBulkRestore, handle: (*Server).getBulkRestore, keys: requestKey},
		route{method: "DELETE", path: requests + "/{request}", op: identity.DeleteBulkRestore, handle: (*Server).deleteBulkRestore, keys: requestKey},
	)

	// Browse sessions, through the set of all and the set of OneDrive. Their ids
	// are opaque to clients: one of another form is an unknown one.
	for _, set := range []string{browseSet, driveBrowseSet} {
		table = append(table,
			route{method: "GET", path: set, op: identity.ListBrowseSessions, handle: (*Server).listBrowseSessions, entity: browseType, options: queried, browses: true},
			route{method: "GET", path: set + "/$count", op: identity.ListBrowseSessions, handle: (*Server).countBrowseSessions, entity: browseType, options: counted, plain: true, browses: true},
			route{method: "GET", path: set + "/{id}", op: identity.GetBrowseSession, handle: (*Server).getBrowseSession, browses: true},
			route{method: "DELETE", path: set + "/{id}", op: identity.DeleteBrowseSession, handle: (*Server).deleteBrowseSession, browses: true},
			route{method: "POST", path: set + "/{id}/browse", op: identity.Browse, handle: (*Server).browse, body: optionalBody,
				params: []string{"browseLocationItemKey", "browseResourceType", "filter", "orderBy"}, action: true, browses: true},
			route{method: "GET", path: set + "/{id}/browse", op: identity.Browse, handle: (*Server).browseOn, options: pages, action: true, browses: true},
			route{method: "GET", path: set + "/{id}/browse/{nextFetchToken}", op: identity.Browse, handle: (*Server).browseOn, browses: true},
		)
	}
	return append(table,
		route{method: "POST", path: driveBrowseSet, op: identity.CreateBrowseSession, handle: (*Server).createBrowseSession, body: requiredBody,
			badBody: backup.InvalidCreateRequest, creates: true, browses: true},
		route{method: "GET", path: browseSet + "/graph." + driveBrowse, op: identity.ListBrowseSessions, handle: (*Server).listBrowseSessions, entity: browseType, options: queried, browses: true},
		route{method: "GET", path: browseSet + "/{id}/graph." + driveBrowse, op: identity.GetBrowseSession, handle: (*Server).getBrowseSession, browses: true},
	)
}
