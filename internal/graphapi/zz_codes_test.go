package graphapi

import (
	"flag"
	"slices"
	"sync"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// reached remembers which code came back with which status, and in which test.
var reached = struct {
	sync.Mutex
	by map[string]map[int]string
}{by: map[string]map[int]string{}}

// notice looks through an answer for the codes in it, wherever they are.
func notice(test string, status int, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			notice(test, status, e)
		}
	case map[string]any:
		if code, ok := v["code"].(string); ok {
			reached.Lock()
			if reached.by[code] == nil {
				reached.by[code] = map[int]string{}
			}
			if reached.by[code][status] == "" {
				reached.by[code][status] = test
			}
			reached.Unlock()
		}
		for _, e := range v {
			notice(test, status, e)
		}
	}
}

// documented is every code that the documents have for what this server has,
// with the statuses of the answers that it comes in. 200 and 201 are those that
// hold it in an item or in the error of a resource.
var documented = map[backup.Code][]int{
	"InvalidAuthenticationToken": {401}, "Authorization_RequestDenied": {403}, "invalidRequest": {400, 413, 415}, "BadRequest": {400}, "itemNotFound": {404},
	"notAllowed": {405}, "notSupported": {406}, "activityLimitReached": {429}, "generalException": {500}, "FailedDependency": {200},

	"InvalidCreateRequest": {400}, "InvalidDisplayName": {400}, "InvalidProtectionUnitId": {400}, "ProtectionUnitsLimitBreached": {413}, "PolicyCreationNotAllowed": {409},
	"ProtectionUnitAlreadyExists": {409, 200}, "PolicySaveFailed": {500}, "InvalidPolicyId": {400}, "PolicyNotFound": {404}, "ProtectionUnitNotFound": {200, 404},
	"DuplicateProtectionUnitInList": {400}, "ProtectionUnitActionNotAllowed": {400}, "PolicyActionNotAllowed": {403}, "invalidStateForActivation": {400},
	"FilterLengthExceeded": {400}, "OperationNotAllowed": {403},

	"InvalidPathType": {400}, "InvalidArtifactRequest": {400}, "InvalidRestorePoint": {400}, "DifferentRestoreDestinationType": {400}, "DuplicateArtifactInList": {400},
	"RestoreArtifactsLimitBreached": {413, 400}, "InvalidRestoreSessionId": {400}, "InvalidPatchRequest": {400}, "RestoreSessionNotFound": {404},
	"RestoreSessionActionNotAllowed": {403}, "TooManyActiveRestoreSessions": {500}, "DuplicateArtifactRestoreRequest": {200}, "InvalidSearchRequest": {400},

	"InvalidInclusionRuleCreateRequest": {400}, "InvalidRuleExpression": {400}, "InvalidRuleExpressionGroupLimitExceeded": {413}, "InvalidProtectionRulePatchRequest": {400},
	"InvalidProtectionRuleStatusForUpdation": {400}, "PatchNotAllowedForStaticRule": {400}, "InvalidProtectionRuleStatusForDynamicRuleEdit": {422}, "InvalidInclusionRuleId": {400},
	"ProtectionRuleNotFound": {404}, "InvalidProtectionRuleStatusForDeletion": {400}, "InvalidProtectionRuleStatusForDynamicRuleDeletion": {422},
	"InvalidProtectionRuleStatusForDynamicRuleDeleteAndUnprotectAll": {422}, "ProtectionRuleActionNotAllowed": {400}, "RunNotAllowedForDynamicRule": {400}, "invalidGroupId": {200},

	"Forbidden": {403}, "accessDenied": {403}, "InvalidAppOwnerTenantId": {400},

	"InvalidBulkRestoreArtifactId": {400}, "BulkRestoreInvalidCreateRequest": {400}, "BulkRestoreRestorationResourcesCountExceedsLimit": {400},
	"BulkRestoreInvalidCreateRequestUserEmail": {400}, "BulkRestoreArtifactsNotFound": {404}, "InvalidStateForBulkRequestDeletion": {403},
	"ProtectionResourcesNotFound": {200}, "EmailNotFound": {200}, "BulkRestoreArtifactsNotResolved": {200}, "UserNotBackedup": {200},
	"InvalidRestoreTime": {200}, "ArtifactNotFound": {200}, "ArtifactCannotBeRestored": {200}, "UnknownError": {200},
	"UnableToReadBillingProfile": {403}, "InvalidBillingProfile": {402}, "IncompleteArtifactDeletion": {500}, "InvalidArtifactId": {200}, "QuotaExceeded": {200},
	"SiteUrlNotFound": {200}, "BulkRestoreInvalidCreateRequestSiteUrl": {400},
}

// unreachable says of the documented codes that no request gets why.
var unreachable = map[backup.Code]string{
	"UnableToReadBillingProfile": "there is no billing",
	"InvalidBillingProfile":      "there is no billing",
	"QuotaExceeded":              "a vault has no quota",
	"InvalidArtifactId":          "a unit's error is never one of a restore",
}

// TestLimitsOfWhatIsInForce reaches codes that need a full house.
func TestLimitsOfWhatIsInForce(t *testing.T) {
	w := newWorldOf(t, dbtest.Open(t, database.SQLite), catalog.Config{MaxActivePolicies: 1})
	c := w.app(contoso)
	var point backup.PointID
	for _, points := range w.protected(c, 1, ownerN(1)) {
		point = points[0].ID
	}
	c.do("POST", "/"+drivePolicySet, obj{"displayName": "B"}).want(409, backup.PolicyCreationNotAllowed)
	for range backup.MaxActiveSessions {
		id := c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{{"restorePoint": obj{"id": point}, "destinationType": "new"}}}).want(201).str("id")
		c.do("POST", "/"+sessionSet+"/"+id+"/activate", nil).want(200)
	}
	id := c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{{"restorePoint": obj{"id": point}, "destinationType": "new"}}}).want(201).str("id")
	got := c.do("POST", "/"+sessionSet+"/"+id+"/activate", nil).want(500, backup.TooManyActiveRestoreSessions)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestEveryDocumentedCodeIsReached comes last in the package. It looks back on
// the answers of all tests before it, so it says something only when all were
// run.
func TestEveryDocumentedCodeIsReached(t *testing.T) {
	if f := flag.Lookup("test.run"); f != nil && f.Value.String() != "" {
		t.Log("only some tests were run")
		return
	}
	reached.Lock()
	defer reached.Unlock()
	for code, statuses := range documented {
		for _, status := range statuses {
			how := reached.by[string(code)][status]
			switch why := unreachable[code]; {
			case how == "" && why == "":
				t.Errorf("no test got %d with %s", status, code)
			case how != "" && why != "":
				t.Errorf("%s is said to be out of reach: %s. %s reached it.", code, why, how)
			case how != "":
				t.Logf("%s, %d: %s", code, status, how)
			}
		}
	}
	for code, byStatus := range reached.by {
		for status, test := range byStatus {
			if status >= 400 && !slices.Contains(documented[backup.Code(code)], status) {
				t.Logf("besides: %s, %d: %s", code, status, test)
			}
		}
	}
}
