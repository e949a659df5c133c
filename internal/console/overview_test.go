package console

import (
	"strings"
	"testing"

	"holdfast/internal/client"
)

func TestOverview(t *testing.T) {
	w := signedInWorld(t)
	page := w.page("/console/")
	if !strings.Contains(page, "Nothing is protected.") {
		t.Errorf("nothing is protected, and the page does not say so:\n%s", page)
	}
	w.on("GET ", map[string]any{"serviceStatus": map[string]any{"status": "enabled"}, "@holdfast.vaultProblem": "The disk is full.", "@holdfast.openDamageCount": 2})
	w.on("GET "+anyPolicy, map[string]any{"value": []any{map[string]any{
		"id": policyID, "displayName": "Everyone <1>", "status": "activeWithErrors",
		"protectionPolicyArtifactCount": map[string]any{"total": 2500, "completed": 2400, "failed": 3, "inProgress": 97},
	}}})
	w.on("GET "+client.Drives.Units+"/$count", 2500)
	w.on("GET "+client.Drives.Units+"/$count?%24filter=status+eq+%27protected%27", 2400)
	w.on("GET "+client.Drives.Units+"/$count?$filter=status+eq+%27protected%27", 2400)
	w.on("GET "+anySession, map[string]any{"value": []any{
		map[string]any{"id": unitID, "status": "completedWithError", "createdDateTime": "2026-11-27T07:00:00Z", "completedDateTime": "2026-11-27T07:30:00Z",
			"restoreSessionArtifactCount": map[string]any{"total": 3, "failed": 1, "completed": 2}},
		map[string]any{"id": ownerID, "status": "draft", "createdBy": map[string]any{"user": map[string]any{"displayName": "Noor"}}},
	}})
	page = w.page("/console/")
	for _, want := range []string{
		"The disk is full.", "2 damaged objects", "3 drives of “Everyone &lt;1&gt;” could not be backed up whole", "/console/policies/" + policyID + "?failing=1",
		"1 of 3 could not be restored whole", "A restore by Noor was prepared", "2400</b> <span>Protected", "Active, with errors",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the overview does not say %q", want)
		}
	}
	if strings.Index(page, "The disk is full.") > strings.Index(page, "A restore by Noor") {
		t.Error("what is most urgent does not come first")
	}
	if t.Failed() {
		t.Log(page)
	}
	for _, c := range w.calls("POST") {
		t.Errorf("the overview changes something: %v", c)
	}
}
