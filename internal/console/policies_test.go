package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/client"
)

var (
	aPolicy = map[string]any{"id": policyID, "displayName": "Everyone", "status": "inactive", "protectionPolicyArtifactCount": map[string]any{"total": 0},
		"retentionSettings": []any{map[string]any{"interval": "R/PT10M", "period": "P2W"}, map[string]any{"interval": "P1W", "period": "P1Y"}}}
	aUnit = map[string]any{"id": unitID, "policyId": policyID, "directoryObjectId": ownerID, "displayName": "Amala <Rao>", "email": "amala@contoso.com",
		"status": "protected", "error": map[string]any{"code": "x", "message": "2 items could not be read."}}
)

func listOf(items ...any) map[string]any {
	return map[string]any{"value": items, "@odata.count": len(items)}
}

// lastQuery returns the query of the last request to a path.
func (w *world) lastQuery(path string) url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Backward(w.asked) {
		if c.Path == path {
			return c.Query
		}
	}
	return nil
}

func TestUnitsAreFoundByTheServer(t *testing.T) {
	w := signedInWorld(t)
	next := listOf(aUnit)
	next["@odata.count"], next["@odata.nextLink"] = 100_000, "https://x/v1.0/solutions/backupRestore/driveProtectionUnits?$top=25&$skiptoken=a%2Bb"
	w.on("GET "+client.Drives.Units, next)
	w.on("GET "+anyPolicy, listOf(aPolicy))
	w.on("POST "+pointSet+"/search", map[string]any{"searchResults": []any{map[string]any{"restorePoint": map[string]any{"id": "p",
		"protectionDateTime": "2026-11-27T07:50:00Z", "protectionUnit": map[string]any{"id": unitID}}}}})
	page := w.page("/console/units?of=drives&q=O%27Hara&status=protected&failing=1&sort=name")
	for _, want := range []string{"Amala &lt;Rao&gt;", "2 items could not be read.", "100,000 drives", `value="O&#39;Hara"`, "2026-11-27 07:50 UTC", ">Everyone</a>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	q := w.lastQuery(client.Drives.Units)
	if got, want := q.Get("$filter"), "(contains(displayName,'O''Hara') or contains(email,'O''Hara')) and status eq 'protected' and error ne null"; got != want {
		t.Errorf("$filter = %s, want %s", got, want)
	}
	if q.Get("$orderby") != "displayName" || q.Get("$top") != "1" || q.Get("$count") != "true" {
		t.Errorf("the list is counted by %v", q)
	}
	to := html.UnescapeString(between(page, `rel="next" href="`, `"`))
	next["@odata.count"] = 5 // which nobody asks for
	page = w.page(to)
	if q := w.lastQuery(client.Drives.Units); q.Get("$skiptoken") != "a+b" || q.Get("$filter") == "" || q.Get("$top") != "25" || q.Has("$count") {
		t.Errorf("the next page %s is asked with %v", to, q)
	}
	if !strings.Contains(page, "100,000 drives") {
		t.Error("the next page no longer says how many there are")
	}
	// Nor is anything counted where it is not shown, or where it is seen.
	counts := func() (n int) {
		for _, c := range w.calls("GET") {
			if c.Query.Has("$count") {
				n++
			}
		}
		return n
	}
	before := counts()
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+at(tenantID, "/console/units?of=drives"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Live", "1")
	w.do(r)
	delete(next, "@odata.nextLink")
	if page := w.page("/console/units?of=drives"); counts() != before || !strings.Contains(page, "1 drive<") {
		t.Errorf("%d times more was counted:\n%s", counts()-before, page)
	}
	w.page("/console/units?of=drives&q=" + strings.ToUpper(ownerID))
	if got := w.lastQuery(client.Drives.Units).Get("$filter"); got != "(directoryObjectId eq '"+ownerID+"' or id eq '"+ownerID+"')" {
		t.Errorf("by id, $filter = %s", got)
	}
}

// between returns what is between two marks, as a browser reads it.
func between(page, from, to string) string {
	_, rest, _ := strings.Cut(page, from)
	found, _, _ := strings.Cut(rest, to)
	return html.UnescapeString(found)
}

func TestPolicies(t *testing.T) {
	w := signedInWorld(t)
	w.on("GET "+anyPolicy, listOf(aPolicy))
	if page := w.page("/console/policies?q=every&status=inactive&sort=-name"); !strings.Contains(page, ">Everyone</a>") {
		t.Errorf("no policy:\n%s", page)
	}
	if q := w.lastQuery(anyPolicy); q.Get("$filter") != "contains(displayName,'every') and status eq 'inactive'" || q.Get("$orderby") != "displayName desc" {
		t.Errorf("policies are asked with %v", q)
	}
	w.page("/console/policies/new")
	w.on("POST "+client.Drives.Policies, aPolicy)
	a := w.post("/console/policies/new", url.Values{"name": {" Everyone "}})
	if made := w.calls("POST"); a.to != "/console/policies/"+policyID || made[0].Body != `{"displayName":"Everyone"}` {
		t.Errorf("a new policy leads to %d %s, by %v", a.status, a.to, made)
	}
	one := client.Drives.Policies + "/" + policyID
	w.on("GET "+anyPolicy+"/"+policyID, aPolicy)
	w.on("GET "+one+client.Drives.Units, listOf(aUnit))
	page := w.page(a.to)
	for _, want := range []string{"Made the policy “Everyone”", "every 10 minutes for 2 weeks; every 1 week for 1 year", "/activate", "Amala &lt;Rao&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the policy's page does not say %q:\n%s", want, page)
		}
	}
	w.on("POST "+anyPolicy+"/"+policyID+"/activate", aPolicy)
	if a := w.post("/console/policies/"+policyID+"/activate", nil); a.status != http.StatusSeeOther {
		t.Errorf("activate = %d", a.status)
	}
	if page := w.page("/console/policies/" + policyID); !strings.Contains(page, "is being activated") {
		t.Errorf("after activating:\n%s", page)
	}
	w.on("POST "+anyPolicy+"/"+policyID+"/deactivate", refusal{409, "x", "It is <updating>."})
	w.post("/console/policies/"+policyID+"/deactivate", nil)
	if page := w.page("/console/policies/" + policyID); !strings.Contains(page, "It is &lt;updating&gt;.") {
		t.Errorf("after a refusal:\n%s", page)
	}
	w.on("POST "+client.Drives.Policies, refusal{400, "x", "The displayName is too long."})
	if a := w.post("/console/policies/new", url.Values{"name": {"x"}}); !strings.Contains(a.body, "too long") || !strings.Contains(a.body, `value="x"`) {
		t.Errorf("a refused policy = %d %s", a.status, a.body)
	}
	if a := w.post("/console/policies/"+policyID+"/explode", nil); a.status != http.StatusNotFound {
		t.Errorf("an unknown button = %d", a.status)
	}
	if a := w.get("/console/policies/" + policyID + "/explode"); a.status != http.StatusNotFound {
		t.Errorf("an unknown page = %d", a.status)
	}
}

func TestExplain(t *testing.T) {
	w := signedInWorld(t)
	w.on("GET "+anyPolicy+"/"+policyID, aPolicy)
	at := "/console/policies/" + policyID + "/explain"
	w.page(at)
	if page := w.page(at + "?who=nobody@contoso.com"); !strings.Contains(page, "Nobody of that address") {
		t.Errorf("for a stranger:\n%s", page)
	}
	w.on("GET "+client.Drives.Units, listOf(aUnit))
	w.on("GET "+client.Drives.Policies+"/"+policyID+"/holdfast.explain/"+ownerID, map[string]any{"isIncluded": true, "protectionUnitId": unitID, "reasons": []any{map[string]any{"message": "It was added by hand."}}})
	if page := w.page(at + "?who=amala@contoso.com"); !strings.Contains(page, "It was added by hand.") || !strings.Contains(page, "is in this policy") {
		t.Errorf("for a member:\n%s", page)
	}
}

// upload sends a form with a file.
func (w *world) upload(path string, fields map[string]string, csv string) answer {
	w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	fields["csrf"] = between(w.page("/console/"), `name="csrf" value="`, `"`)
	for name, value := range fields {
		if err := form.WriteField(name, value); err != nil {
			w.t.Fatal(err)
		}
	}
	file, err := form.CreateFormFile("csv", "people.csv")
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprint(file, csv)
	if err := form.Close(); err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), "POST", w.srv.URL+at(tenantID, path), &body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	return w.do(r)
}

func TestAddPeople(t *testing.T) {
	w := signedInWorld(t)
	w.on("GET "+anyPolicy+"/"+policyID, aPolicy)
	w.on("GET "+anyPolicy, listOf(aPolicy, map[string]any{"id": "other", "displayName": "Finance"}))
	w.on("GET "+client.Drives.Units, listOf(aUnit, map[string]any{"id": "u2", "policyId": "other", "displayName": "Conrad"}, map[string]any{"id": "u3", "displayName": "Unprotected"}))
	at := "/console/policies/" + policyID + "/add"
	w.page(at)
	a := w.upload(at, map[string]string{"step": "preview", "text": "new@contoso.com, <b>", "column": "Mail"},
		"Name,Mail\nA,amala@contoso.com\nB,CONRAD@contoso.com\nC,amala@contoso.com\nD,nonsense\nE,"+ownerID+"\n")
	for _, want := range []string{"2 drives</b> will be added", "1 is in this policy already", "1 is in another policy", "Conrad</a>: Finance", "Line 5: <code>nonsense", "&lt;b&gt;", "1 entry is named more than once", "Add 2 people"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the preview does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(a.body)
	}
	if len(w.calls("POST")) > 0 {
		t.Errorf("a preview changes something: %v", w.calls("POST"))
	}
	w.on("POST "+client.Drives.Policies+"/"+policyID+client.Drives.Jobs, map[string]any{"id": "job1"})
	a = w.post(at, url.Values{"step": {"add"}, "text": {between(a.body, `aria-label="Those to add">`, "</textarea>")}})
	var sent struct {
		Drives, DirectoryObjectIDs []string
	}
	if err := json.Unmarshal([]byte(w.calls("POST")[0].Body), &sent); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(sent.Drives) != "[new@contoso.com amala@contoso.com CONRAD@contoso.com]" || fmt.Sprint(sent.DirectoryObjectIDs) != "["+ownerID+"]" || a.to != "/console/jobs/job1?policy="+policyID {
		t.Errorf("sent %v, and on to %s", sent, a.to)
	}
	if a := w.post(at, url.Values{"step": {"preview"}, "text": {" "}}); !strings.Contains(a.body, "Name somebody") {
		t.Errorf("nobody: %s", a.body)
	}
	if a := w.upload(at, map[string]string{"step": "preview"}, "Name\nA\nB\n"); !strings.Contains(a.body, "no column holds addresses") {
		t.Errorf("a file of nobody: %s", a.body)
	}
}

func TestJobs(t *testing.T) {
	w := signedInWorld(t)
	job := map[string]any{"id": unitID, "displayName": "people.csv", "status": "completedWithErrors", "drives": []any{"a@x.com", "b@x.com"}, "directoryObjectIds": []any{ownerID},
		"error": map[string]any{"message": "Some are unknown.", "details": []any{map[string]any{"target": "b@x.com", "message": "Nobody has <this> address."}}}}
	w.on("GET "+client.Drives.Jobs, listOf(job))
	w.on("GET "+client.Drives.Jobs+"/"+unitID, job)
	w.on("GET "+client.Drives.Rules, listOf(map[string]any{"id": policyID, "status": "completedWithErrors", "isAutoApplyEnabled": true, "error": map[string]any{"message": "A group is gone."}}))
	if page := w.page("/console/jobs"); !strings.Contains(page, "people.csv") || !strings.Contains(page, "A group is gone.") {
		t.Errorf("jobs:\n%s", page)
	}
	if page := w.page("/console/jobs/" + unitID); !strings.Contains(page, "<dd>2</dd>") || !strings.Contains(page, "Nobody has &lt;this&gt; address.") {
		t.Errorf("job:\n%s", page)
	}
}

// A policy may protect all there is, and leave out who is excluded.
func TestPolicyOfAll(t *testing.T) {
	w := signedInWorld(t)
	const beta = "/beta/solutions/backupRestore"
	says(t, w.page("/console/policies/new"), "All there are,")
	w.on("POST "+beta+client.Drives.Policies, refusal{409, "PolicyCreationNotAllowed", "Another <policy> does."})
	says(t, w.post("/console/policies/new", url.Values{"name": {"All"}, "of": {"drives"}, "all": {"1"}}).body, "Another &lt;policy&gt; does.", `name="all" value="1" checked`)
	w.on("POST "+beta+client.Drives.Policies, map[string]any{"id": policyID, "displayName": "All"})
	if a := w.post("/console/policies/new", url.Values{"name": {"All"}, "of": {"drives"}, "all": {"1"}}); a.to != "/console/policies/"+policyID {
		t.Errorf("it leads to %d %s", a.status, a.to)
	}
	if made := w.body("POST", beta+client.Drives.Policies); made != `{"displayName":"All","protectionMode":"fullServiceBackup"}` {
		t.Errorf("it is made by %s", made)
	}
	w.on("GET "+anyPolicy+"/"+policyID, aPolicy)
	says(t, w.page("/console/policies/"+policyID), "!those excluded", "Add people")
	w.on("GET "+beta+anyPolicy+"/"+policyID, map[string]any{"protectionMode": "fullServiceBackup"})
	says(t, w.page("/console/policies/"+policyID), "those excluded", "!Add people")

	at, one := "/console/policies/"+policyID+"/excluded", beta+client.Drives.Policies+"/"+policyID
	says(t, w.page(at), "Nothing is excluded.")
	w.on("GET "+one+"/driveExclusionUnits", listOf(map[string]any{"id": "x1", "displayName": "Conrad <C>", "email": "conrad@contoso.com", "createdDateTime": "2026-11-20T07:50:00Z"}))
	w.on("GET "+one+"/driveExclusionUnitsBulkAdditionJobs", listOf(map[string]any{"id": "j", "status": "completedWithErrors", "error": map[string]any{"message": "m", "details": []any{map[string]any{"target": "nobody@contoso.com", "message": "No <such> user."}}}}))
	says(t, w.page(at), "Conrad &lt;C&gt;", "conrad@contoso.com", "nobody@contoso.com: No &lt;such&gt; user.")
	says(t, w.post(at, nil).body, "Name whom to exclude")
	w.on("PATCH "+one, map[string]any{"driveExclusionUnits@delta": []any{map[string]any{"id": "x1"}}})
	w.on("POST "+one+"/driveExclusionUnitsBulkAdditionJobs", map[string]any{"id": "j2"})
	if a := w.post(at, url.Values{"text": {"a@contoso.com, " + ownerID}}); a.to != at {
		t.Errorf("it leads to %d %s", a.status, a.body)
	}
	if sent := w.body("PATCH", one); sent != `{"driveExclusionUnits@delta":[{"directoryObjectId":"`+ownerID+`"}]}` {
		t.Errorf("the id goes as %s", sent)
	}
	if sent := w.body("POST", one+"/driveExclusionUnitsBulkAdditionJobs"); sent != `{"displayName":"Excluded in the console","drives":["a@contoso.com"]}` {
		t.Errorf("the address goes as %s", sent)
	}
	w.post(at, url.Values{"exclusion": {"x1"}})
	if sent := w.body("PATCH", one); sent != `{"driveExclusionUnits@delta":[{"@removed":{"reason":"changed"},"id":"x1"}]}` {
		t.Errorf("it is taken back by %s", sent)
	}
	w.on("PATCH "+one, map[string]any{"driveExclusionUnits@delta": []any{map[string]any{"@Core.DataModificationException": map[string]any{"info": map[string]any{"message": "It is <held>."}}}}})
	says(t, w.post(at, url.Values{"exclusion": {"x1"}}).body, "It is &lt;held&gt;.")
}
