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
		"A restore ended in part: 1 of 3 failed.", `activeWithErrors">In part: 1 of 3 failed<`, "A restore by Noor was prepared", "2,400</b> <span>Protected", "Active, with errors",
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

// The first page shows how what is promised was kept, day by day, and how much there is;
// what nobody measured is said, and is not called kept.
func TestCourse(t *testing.T) {
	w := signedInWorld(t)
	says(t, w.page("/console/"), "!What is promised")
	day := func(day string, measured, promised, missed, size int) map[string]any {
		return map[string]any{"day": day, "workload": "oneDriveForBusiness", "measureCount": measured, "promisedCount": promised, "missedCount": missed, "itemCount": 1234, "size": size}
	}
	w.on("GET /holdfast.days", listOf(day("2026-11-27", 8, 1600, 0, 3_000_000_000), day("2026-11-25", 24, 4800, 1, 2_000_000_000), day("2026-11-24", 24, 4800, 480, 2_500_000_000), day("2026-09-10", 24, 0, 0, 1_000_000_000)))
	w.on("GET /holdfast.rpo", map[string]any{"protectedUnitCount": 200, "missedUnitCount": 2, "worst": []any{map[string]any{"protectionUnitId": unitID, "newestDateTime": "2026-11-27T05:00:00Z", "promised": "PT20M", "isMissed": true}}})
	w.on("GET "+anyUnit+"/"+unitID, aUnit)
	page := w.page("/console/")
	says(t, page, "What is promised", "in 30 days: <b>95.7 %</b>; worst on 24 November, 90 %", "24 Nov: 90 % in time", "25 Nov: 99.97 % in time", "26 Nov: not measured", "27 Nov: 100 % in time",
		"<b>3.0 GB</b>, ", "2.0 GB since 2026-09-10", "1,234", "10 September 2026", "nothing was promised",
		"2 units have a newest restore point that is older than promised. The worst is the drive of Amala &lt;Rao&gt;, of 3 h ago and promised 20 minutes.", "!SharePoint sites</h3>")
	for level, n := range map[string]int{"good": 1, "level2": 1, "bad": 1, "level0": heatDays - 3} {
		if got := strings.Count(between(page, `<svg class="heat"`, "</svg>"), `class="`+level+`"`); got != n {
			t.Errorf("%d days are %s, want %d", got, level, n)
		}
	}
	w.on("GET /holdfast.days", refusal{403, "accessDenied", "Not you."})
	w.on("GET /holdfast.rpo", refusal{403, "accessDenied", "Not you."})
	says(t, w.page("/console/"), "!What is promised")
}
