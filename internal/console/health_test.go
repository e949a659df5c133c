package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	w := signedInWorld(t)
	w.on("GET "+serviceRoot, map[string]any{"serviceStatus": map[string]any{"status": "enabled"}})
	if page := w.page("/console/health"); !strings.Contains(page, "Nothing. The service is enabled") || !strings.Contains(page, "not all yet") {
		t.Errorf("of a healthy service:\n%s", page)
	}
	w.on("GET "+serviceRoot, map[string]any{"serviceStatus": map[string]any{"status": "disabled", "disableReason": "userRequested"},
		"@holdfast.sourceProblem": "The application <x> cannot sign in; check clientId.", "@holdfast.configurationProblem": "It is no JSON.",
		"@holdfast.vaultProblem": "It is <away>.", "@holdfast.openDamageCount": 2, "@holdfast.verifiedDateTime": "2026-11-18T11:06:00Z", "@holdfast.retentionDisagreement": "a legal hold"})
	page := w.page("/console/health")
	for _, want := range []string{"The vault cannot be used: It is &lt;away&gt;.", "The application &lt;x&gt; cannot sign in; check clientId.", "Cannot be read as it has to be", "It is no JSON.", "2 damaged objects", "Nothing expires now: a legal hold", "2026-11-18 11:06 UTC", "userRequested", "Cannot be used"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, path := range []string{"/console/", "/console/health"} {
		first, _, _ := strings.Cut(between(w.page(path), `<ul class="needs">`, "</ul>"), "</li>")
		if !strings.Contains(first, "Microsoft 365 cannot be read as it has to be: The application") || !strings.Contains(first, "Holdfast looks again every ten minutes") {
			t.Errorf("%s first says: %s", path, first)
		}
	}
}

func TestAudit(t *testing.T) {
	const log = "/beta/solutions/backupRestore/activityLogs"
	w := signedInWorld(t)
	w.on("GET "+log, listOf(map[string]any{"id": "1", "performedBy": "mira@contoso.com", "resultStatus": "failed", "policyId": policyID, "eventDateTime": "2026-11-18T11:06:40Z",
		"@holdfast.operation": "DeletePolicy", "@holdfast.target": "/protectionPolicies/<x>", "error": map[string]any{"code": "c", "message": "It is active."}}))
	page := w.page("/console/audit?result=failed&from=2026-11-01&till=2026-11-18")
	for _, want := range []string{"mira@contoso.com", "Delete policy", "/console/policies/" + policyID, "It is active.", "/protectionPolicies/&lt;x&gt;", "Failed or refused"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if got, want := w.lastQuery(log).Get("$filter"), "resultStatus eq 'failed' and eventDateTime ge 2026-11-01T00:00:00Z and eventDateTime lt 2026-11-19T00:00:00Z"; got != want {
		t.Errorf("$filter = %s, want %s", got, want)
	}
	if page := w.page("/console/audit?from=yesterday"); !strings.Contains(page, "A day is written as") {
		t.Error("a wrong day is passed over in silence")
	}
}

func TestSettings(t *testing.T) {
	w := signedInWorld(t)
	w.on("GET "+emailPath, map[string]any{"isEnabled": true, "additionalEvents": "none",
		"recipients": map[string]any{"role": "globalAdmins,custom", "customRecipients": []any{map[string]any{"displayName": "Mira", "email": "mira@contoso.com"}}}})
	if page := w.page("/console/settings"); !strings.Contains(page, "mira@contoso.com") || !strings.Contains(page, " checked> Send mail") {
		t.Errorf("the page:\n%s", page)
	}
	a := w.post("/console/settings", url.Values{"enabled": {"1"}, "recipients": {"mira@contoso.com, nobody"}})
	if a.status != http.StatusOK || !strings.Contains(a.body, "“nobody” is no e-mail address.") || len(w.calls("PATCH")) > 0 {
		t.Errorf("a wrong address: %d %v", a.status, w.calls("PATCH"))
	}
	w.on("PATCH "+emailPath, map[string]any{})
	if a := w.post("/console/settings", url.Values{"recipients": {"mira@contoso.com\r\npavel@contoso.com\r\n"}}); a.to != "/console/settings" {
		t.Errorf("a change leads to %q", a.to)
	}
	w.post("/console/settings", url.Values{"enabled": {"1"}, "recipients": {" "}})
	var got string
	for _, c := range w.calls("PATCH") {
		got += strings.TrimSpace(c.Body) + "\n"
	}
	want := `{"isEnabled":false,"recipients":{"customRecipients":[{"displayName":"Mira","email":"mira@contoso.com"},{"email":"pavel@contoso.com"}],"role":"globalAdmins,custom"}}
{"isEnabled":true,"recipients":{"customRecipients":[],"role":"globalAdmins"}}
`
	if got != want {
		t.Errorf("changes:\n%s\nwant:\n%s", got, want)
	}
}
