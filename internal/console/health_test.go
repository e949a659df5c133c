package console

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"holdfast/internal/client"
	"holdfast/internal/identity"
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
	w.on("GET "+log, listOf(map[string]any{"id": "1", "performedBy": "mira@contoso.com", "resultStatus": "failed", "@holdfast.objectId": policyID, "eventDateTime": "2026-11-18T11:06:40Z",
		"@holdfast.operation": "DeletePolicy", "@holdfast.target": "/protectionPolicies/<x>", "error": map[string]any{"code": "c", "message": "It is active."}}))
	page := w.page("/console/audit?result=failed&from=2026-11-01&till=2026-11-18")
	for _, want := range []string{"mira@contoso.com", ">Tried to delete a policy\n", "<code>" + policyID + "</code>", "It is active.", "/protectionPolicies/&lt;x&gt;", "Failed or refused"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if got, want := w.lastQuery(log).Get("$filter"), "resultStatus eq 'failed' and eventDateTime ge 2026-11-01T00:00:00Z and eventDateTime lt 2026-11-19T00:00:00Z"; got != want {
		t.Errorf("$filter = %s, want %s", got, want)
	}
	// By who, what and which thing, each as an index has it.
	id := "A3A1A000-4F6B-4C55-8F0E-C0A7050A0001"
	for address, want := range map[string]string{
		"who=+Mira@+": "startswith(performedBy,'Mira@') by eventDateTime desc", "who=o'hara": "startswith(performedBy,'o''hara') by eventDateTime desc",
		"who=" + id:        "@holdfast.performedById eq '" + id + "' by ",
		"what=ReadContent": "@holdfast.operation in ('ReadContent') by ", "what=offboarding": "@holdfast.operation in ('OffboardUnit','CancelOffboardUnit','UnitOffboarded') by ",
		"object=" + policyID + "&result=failed": "@holdfast.objectId eq '" + policyID + "' and resultStatus eq 'failed' by ",
	} {
		if w.page("/console/audit?" + address); w.lastQuery(log).Get("$filter")+" by "+w.lastQuery(log).Get("$orderby") != want {
			t.Errorf("%s asks for %v, want %s", address, w.lastQuery(log), want)
		}
	}
	// By whose backups: a unit's id, or what its owner is called, if that is of one.
	aUnit := map[string]any{"@odata.type": "#microsoft.graph.driveProtectionUnit", "id": unitID, "directoryObjectId": ownerID, "status": "protected", "@holdfast.displayName": "O'Hara"}
	w.on("GET "+anyUnit+"/"+unitID, aUnit)
	for address, units := range map[string][]any{"unit=" + strings.ToUpper(unitID): nil, "unit=o'hara": {aUnit}} {
		w.on("GET "+anyUnit, listOf(units...))
		page := w.page("/console/audit?result=failed&" + address)
		if got, want := w.lastQuery(log).Get("$filter"), "@holdfast.protectionUnitId eq '"+unitID+"' and resultStatus eq 'failed'"; got != want || !strings.Contains(page, `Of the backups of <a href="/console/units/`+unitID) {
			t.Errorf("%s asks for %s, want %s, and says\n%s", address, got, want, page)
		}
	}
	if got, want := w.lastQuery(anyUnit).Get("$filter"), "email eq 'o''hara' or displayName eq 'o''hara'"; got != want {
		t.Errorf("the units of o'hara are %s, want %s", got, want)
	}
	for says, units := range map[string][]any{"No unit is called that.": nil, `<a href="/console/audit?unit=` + unitID + `">`: {aUnit, aUnit}} {
		w.on("GET "+anyUnit, listOf(units...))
		if page := w.page("/console/audit?unit=x"); !strings.Contains(page, says) || strings.Contains(page, "mira@contoso.com") || strings.Contains(page, "There is no such entry") {
			t.Errorf("of %d units the page does not say %q, or has entries:\n%s", len(units), says, page)
		}
	}
	page = w.page("/console/audit?who=mira&what=looks&object=x")
	for _, want := range []string{`name="who" value="mira"`, `<option value="looks" selected>`, `name="object" value="x"`, `<optgroup label="Restores">`, `<option value="CreateBulkRestore">Create bulk restore</option>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	if page := w.page("/console/audit?from=yesterday"); !strings.Contains(page, "A day is written as") {
		t.Error("a wrong day is passed over in silence")
	}
}

// What was done is said in words, with the names of what it was done to, each a link: read for
// all of a page at once. The route and the ids are there as well.
func TestAuditInWords(t *testing.T) {
	const log = "/beta/solutions/backupRestore/activityLogs"
	w := signedInWorld(t)
	entry := func(operation, result, object, target string, more map[string]any) map[string]any {
		e := map[string]any{"id": operation, "performedBy": "mira@contoso.com", "resultStatus": result, "serviceType": "sharepoint", "eventDateTime": "2026-11-18T11:06:40Z",
			"@holdfast.operation": operation, "@holdfast.objectId": object, "@holdfast.target": target}
		maps.Copy(e, more)
		return e
	}
	const gone, sessionID, root, hostile = "99999999-9999-4999-8999-999999999999", "5e551011-0000-4000-8000-000000000001", "/solutions/backupRestore/", "\u202e<img src=x>"
	var many []any
	for range 50 {
		many = append(many, map[string]any{"protectionUnitId": unitID, "subjectId": ownerID, "address": "old@contoso.com"})
	}
	w.on("GET "+log, listOf(
		entry("ActivatePolicy", "succeeded", policyID, root+"protectionPolicies/"+policyID+"/activate", nil),
		entry("CreateBulkJob", "succeeded", policyID, root+"sharePointProtectionPolicies/"+policyID+"/siteProtectionUnitsBulkAdditionJobs (12 named)", nil),
		entry("ActivateSession", "failed", sessionID, root+"restoreSessions/"+sessionID+"/activate", map[string]any{"@holdfast.units": many}),
		entry("OffboardUnit", "succeeded", unitID, root+"protectionUnits/"+unitID+"/offboard", map[string]any{"@holdfast.units": many[:1]}),
		entry("DeletePolicy", "succeeded", gone, root+"protectionPolicies/"+gone, nil),
		entry("Find", "succeeded", unitID, root+"protectionUnits/"+unitID+"/holdfast.find/"+url.PathEscape(hostile), map[string]any{"@holdfast.units": []any{map[string]any{"protectionUnitId": gone, "address": "left@contoso.com"}}}),
		entry("CreateSession", "succeeded", sessionID, root+"oneDriveForBusinessRestoreSessions (a (1).txt) (to a new place)", nil),
		entry("RetentionChanged", "succeeded", "", "holdfast retention hold", nil),
		entry("Brandnew", "failed", policyID, "", nil),
	))
	w.on("GET "+anyPolicy, listOf(map[string]any{"@odata.type": "#microsoft.graph.sharePointProtectionPolicy", "id": policyID, "displayName": "Finance & <Co>"}))
	w.on("GET "+anyUnit, listOf(map[string]any{"@odata.type": "#microsoft.graph.driveProtectionUnit", "id": unitID, "directoryObjectId": ownerID, "displayName": "O'Hara"}))
	w.on("GET "+anySession, listOf(map[string]any{"@odata.type": "#microsoft.graph.oneDriveForBusinessRestoreSession", "id": sessionID, "status": "active"}))
	page := w.page("/console/audit")
	policy, unit := `<a href="/console/policies/`+policyID+`">the policy Finance &amp; &lt;Co&gt;</a>`, `<a href="/console/units/`+unitID+`">the drive of O&#39;Hara</a>`
	session := `<a href="/console/restores/` + sessionID + `">the restore session of drives</a>`
	for _, want := range []string{
		`>Activated ` + policy + "\n",
		`>Added sites in bulk to ` + policy + `: <bdi>12 named</bdi>`,
		`>Tried to activate ` + session + `<div class="hint">Backups of ` + unit + ", " + unit + ", " + unit + ` and at least 47 more</div>`,
		`>Asked to destroy the backups of ` + unit + "\n", // and no second time
		`>Deleted a policy` + "\n",
		`>Looked for a name in backups: <bdi>` + html.EscapeString(strings.TrimPrefix(hostile, "\u202e")) + `</bdi><div class="hint">Backups of left@contoso.com</div>`,
		`>Created ` + session + `: <bdi>a (1).txt, to a new place</bdi>`,
		`>Changed how long the restore points of the tenant are kept: <bdi>holdfast retention hold</bdi>`,
		`>Brandnew` + "\n",
		`<code>protectionPolicies/` + policyID + `/activate</code>`, `<code>` + gone + `</code>`, `<code>` + unitID + `</code> old@contoso.com`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for set, want := range map[string]string{anyPolicy: "id in ('" + policyID + "','" + gone + "')", anyUnit: "id in ('" + unitID + "','" + gone + "')", anySession: "id in ('" + sessionID + "')"} {
		if got := w.lastQuery(set).Get("$filter"); got != want {
			t.Errorf("%s are asked for by %s, want %s", set, got, want)
		}
	}
	if t.Failed() {
		t.Log(between(page, "<tbody>", "</tbody>"))
	}
	// Who may not see what things are called sees the log.
	for _, set := range []string{anyPolicy, anyUnit, anySession} {
		w.on("GET "+set, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprint(rw, `{"error":{"code":"accessDenied","message":"No."}}`)
		}))
	}
	if page := w.page("/console/audit"); !strings.Contains(page, ">Activated a policy\n") || !strings.Contains(page, `Backups of old@contoso.com,`) {
		t.Errorf("without names the page says\n%s", between(page, "<tbody>", "</tbody>"))
	}
}

// What is too much to be counted, or to be looked through at once, is said, and no error.
func TestAuditOfVeryMuch(t *testing.T) {
	const log = "/beta/solutions/backupRestore/activityLogs"
	w := signedInWorld(t)
	w.on("GET "+log, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("$count") {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"error":{"code":"invalidRequest","message":"There are too many."}}`)
			return
		}
		fmt.Fprintf(rw, `{"value":[],"@odata.nextLink":"http://x%s?$skiptoken=t"}`, client.Root+log)
	}))
	page := w.page("/console/audit?what=service")
	for _, want := range []string{"Very many entries", "The next page looks further back.", "total=-1"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
}

// Whatever leaves a trace in the log can be looked for by its kind, and each kind by one
// reading of an index.
func TestEveryDeedIsAKindOf(t *testing.T) {
	known := map[string]bool{}
	for op, r := range identity.Table {
		known[string(op)] = !r.Reads && !strings.HasPrefix(string(op), "List") && !strings.HasPrefix(string(op), "Get") && op != identity.Explain
	}
	source, err := parser.ParseFile(token.NewFileSet(), "../backup/activity.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(source, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasSuffix(spec.Names[0].Name, "Activity") {
			known[strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)] = true
		}
		return true
	})
	listed := map[string]int{}
	for _, d := range deeds {
		if len(d.Operations) > 16 {
			t.Errorf("%s are %d operations", d.Name, len(d.Operations))
		}
		for _, op := range d.Operations {
			if _, ok := known[op]; !ok {
				t.Errorf("nothing is called %s", op)
			}
			listed[op]++
		}
	}
	for op := range sayings {
		if _, ok := known[op]; !ok && op != "PutTenant" && op != "RemoveTenant" { // those are of no API
			t.Errorf("something is said of %s, and nothing is called that", op)
		}
	}
	for op, writes := range known {
		if _, said := sayings[op]; !said && listed[op] > 0 {
			t.Errorf("nothing is said of %s", op)
		}
		if n := listed[op]; n > 1 || writes && n == 0 {
			t.Errorf("%s is listed %d times", op, n)
		}
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
