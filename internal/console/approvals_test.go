package console

import (
	"net/url"
	"strings"
	"testing"
)

// What waits for an approval is on the first page, on its own and on the restore's, with
// the buttons for whoever may decide it and did not ask for it.
func TestApprovalsPage(t *testing.T) {
	w := signedInWorld(t)
	asked := func(by, kind, object, state string) map[string]any {
		return map[string]any{"id": "a1", "kind": kind, "state": state, "what": "Restore in place: <x>", "objectId": object, "askedDateTime": "2026-11-27T07:00:00Z", "expirationDateTime": "2026-11-28T07:00:00Z",
			"askedBy": map[string]any{"user": map[string]any{"id": by, "displayName": "Conrad"}}, "decidedDateTime": "2026-11-27T08:00:00Z", "decidedBy": map[string]any{"user": map[string]any{"displayName": "Bea"}}, "comment": "of <course>"}
	}
	session := map[string]any{"id": "s1", "@odata.type": "#microsoft.graph.oneDriveForBusinessRestoreSession", "status": "activating", "@holdfast.approval": asked("other", "restoreInPlace", "s1", "waiting")}
	w.on("GET /restoreSessions/s1", session)
	if page := w.page("/console/approvals"); !strings.Contains(page, "Nothing waits") || !strings.Contains(page, "Nothing was decided") {
		t.Errorf("of nothing:\n%s", page)
	}
	w.on("GET /holdfast.approvals", map[string]any{"value": []any{asked("other", "restoreInPlace", "s1", "waiting")}})
	for at, wanted := range map[string][]string{
		"/console/":            {"Waits for another person&#39;s approval: Restore in place: &lt;x&gt;", "/console/approvals"},
		"/console/approvals":   {"/console/approvals/a1/approve", "/console/approvals/a1/deny", `href="/console/restores/s1"`, "Conrad", "of &lt;course&gt;"},
		"/console/restores/s1": {"/console/approvals/a1/approve", "/console/approvals/a1/deny", "Nothing is changed until", "Waits for approval", "/console/restores/s1/cancel"},
	} {
		page := w.page(at)
		for _, one := range wanted {
			if !strings.Contains(page, one) {
				t.Errorf("%s does not have %q:\n%s", at, one, page)
			}
		}
		if strings.Contains(page, "/console/restores/s1/pause") {
			t.Errorf("%s offers to pause what has not begun", at)
		}
	}
	w.on("POST /holdfast.approvals/a1/approve", refusal{409, "ApprovalNotWaiting", "It is denied, by Bea."})
	if a := w.post("/console/approvals/a1/approve", nil); a.to != "/console/approvals" || !strings.Contains(w.page(a.to), "It is denied, by Bea.") {
		t.Errorf("refused: %d %s", a.status, a.to)
	}
	w.on("POST /holdfast.approvals/a1/approve", asked("other", "restoreInPlace", "s1", "approved"))
	if a := w.post("/console/approvals/a1/approve", url.Values{"comment": {" fine "}}); a.to != "/console/restores/s1" {
		t.Errorf("approved: %d %s", a.status, a.to)
	}
	if all := w.calls("POST"); !strings.Contains(all[len(all)-1].Body, `"comment":"fine"`) {
		t.Errorf("asked: %+v", all)
	}
	w.on("POST /holdfast.approvals/a1/deny", asked("other", "retention", "", "denied"))
	if a := w.post("/console/approvals/a1/deny", nil); a.to != "/console/approvals" {
		t.Errorf("denied: %d %s", a.status, a.to)
	}
	if a := w.post("/console/approvals/a1/forget", nil); a.status != 404 {
		t.Errorf("forgotten: %d", a.status)
	}
	// Who asked for it.
	session["@holdfast.approval"] = asked(strings.ToUpper(ownerID), "restoreInPlace", "s1", "waiting")
	if page := w.page("/console/restores/s1"); strings.Contains(page, "/approve") || !strings.Contains(page, "/deny") || !strings.Contains(page, "Another person has to approve it") {
		t.Errorf("to who asked:\n%s", page)
	}
	// Who may not.
	w.on("GET /restoreSessions/s1/holdfast.me", map[string]any{"operations": []any{map[string]any{"operation": "Approve", "isAllowed": false, "reason": "Your role here, reader, does not go so far."}}})
	if page := w.page("/console/restores/s1"); strings.Contains(page, "/deny") || !strings.Contains(page, "You cannot decide it: Your role here") {
		t.Errorf("to a reader:\n%s", page)
	}
	session["@holdfast.approval"], session["status"] = asked("other", "restoreInPlace", "s1", "denied"), "failed"
	if page := w.page("/console/restores/s1"); !strings.Contains(page, "Denied by Bea") {
		t.Errorf("denied:\n%s", page)
	}
}
