package console

import (
	"slices"
	"strings"
	"testing"
)

// Pages offer what the API says may be done with what they are of, say why where that is
// nothing, and offer all where the API does not tell.
func TestWhatMayNotBeDoneIsNotOffered(t *testing.T) {
	w := signedInWorld(t)
	unit := map[string]any{"id": unitID, "@odata.type": "#microsoft.graph.driveProtectionUnit", "displayName": "Amala", "status": "protected", "policyId": policyID}
	point := map[string]any{"id": "p1", "protectionDateTime": "2026-11-27T07:00:00Z", "tags": "fastRestore", "protectionUnit": unit}
	w.on("GET /protectionUnits/"+unitID, unit)
	w.on("GET /restorePoints", map[string]any{"value": []any{point}})
	w.on("POST /restorePoints/search", map[string]any{"searchResults": []any{map[string]any{"restorePoint": point}}})
	w.on("GET /protectionPolicies/"+policyID, map[string]any{"id": policyID, "@odata.type": "#microsoft.graph.oneDriveForBusinessProtectionPolicy", "displayName": "P", "status": "active"})
	w.on("GET /restoreSessions/s1", map[string]any{"id": "s1", "@odata.type": "#microsoft.graph.oneDriveForBusinessRestoreSession", "status": "draft"})
	buttons := map[string][]string{
		"/console/units/" + unitID:      {"Browse the newest", "Restore the drive", ">Browse<", ">Restore<", "Remove from the policy", "Find by name in all points"},
		"/console/policies/" + policyID: {"Deactivate", "Rename", "Add people"},
		"/console/policies":             {"New policy"},
		"/console/restores/s1":          {">Start<", ">Delete<"},
	}
	for at, all := range buttons {
		page := w.page(at)
		for _, b := range all {
			if !strings.Contains(page, b) {
				t.Errorf("%s does not offer %q to whom the API says nothing of:\n%s", at, b, page)
			}
		}
	}
	var not []any
	for _, op := range []string{"CreateSession", "ActivateSession", "DeleteSession", "Browse", "CreateBrowseSession", "ReadContent", "Find", "CreatePolicy", "UpdatePolicy", "DeletePolicy", "ActivatePolicy", "DeactivatePolicy"} {
		not = append(not, map[string]any{"operation": op, "isAllowed": false, "reason": "Your role here, reader, does not <go> so far."})
	}
	me := map[string]any{"operations": append(slices.Clone(not), map[string]any{"operation": "GetUnit", "isAllowed": true})}
	for _, at := range []string{"", "/protectionUnits/" + unitID, "/protectionPolicies/" + policyID, "/restoreSessions/s1"} {
		w.on("GET "+at+"/holdfast.me", me)
	}
	for at, all := range buttons {
		page := w.page(at)
		for _, b := range all {
			if strings.Contains(page, b) {
				t.Errorf("%s offers %q, which would be refused", at, b)
			}
		}
		if !strings.Contains(page, "Your role here, reader, does not &lt;go&gt; so far.") {
			t.Errorf("%s does not say why:\n%s", at, page)
		}
	}
}
