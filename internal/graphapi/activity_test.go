package graphapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

const activityLog = "/beta/" + root + "/" + activitySet

// Whatever a caller does, or is refused, is in the log: once, with its result.
func TestActivityLog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c, u := w.app(contoso), w.user(contoso)
		made := c.do("POST", "/"+drivePolicySet, obj{"displayName": "A", driveUnitSet: []obj{{"directoryObjectId": ownerN(1)}}}).want(201)
		id := made.str("id")
		at := "/" + drivePolicySet + "/" + id
		unit := c.unitOf(id, ownerN(1))
		partly := u.do("PATCH", at, obj{unitDelta: []obj{{"directoryObjectId": ownerN(2)}, {"@removed": obj{}, "id": ownerN(9)}}}).want(200)
		c.do("POST", "/protectionPolicies/"+id+"/activate", nil).want(202)
		refused := c.do("DELETE", at, nil).want(403, backup.PolicyActionNotAllowed)
		w.app(contoso, identity.ConfigurationRead).do("DELETE", at, nil).want(403, backup.AuthorizationDenied)
		c.do("PATCH", at, "{").want(400)
		c.do("PATCH", "/"+drivePolicySet+"/x", "{}").want(400, backup.InvalidPolicyID)
		session := c.do("POST", "/"+driveSessionSet, "{}").want(201).str("id")
		u.do("POST", "/protectionUnits/"+unit+"/offboard", nil).want(403, backup.OperationNotAllowed)
		for range 2 { // the repetition creates nothing
			c.do("POST", "/"+drivePolicySet, obj{"displayName": "B"}, "client-request-id", "again").want(201)
		}
		// Neither what is only read nor who is unknown is in it.
		c.do("GET", at, nil).want(200)
		c.do("POST", "/restorePoints/search", "{}").want(400)
		(&client{w, ""}).do("DELETE", at, nil).want(401)

		log := c.do("GET", activityLog, nil).want(200)
		var got []string
		for _, v := range log.list("value") {
			a := v.(obj)
			line := fmt.Sprint(strings.TrimPrefix(a["@odata.type"].(string), "#microsoft.graph."), " ", a["activityType"], " ", a["resultStatus"])
			if e, _ := a["error"].(obj); e != nil {
				line += fmt.Sprint(" ", e["code"])
			}
			if a["policyId"] == id || a["restoreSessionId"] == session {
				line += " here"
			}
			got = append(got, line)
		}
		want := []string{
			"backupPolicyActivityLog backupPolicyCreated succeeded",
			"offboardingActivityLog protectionUnitLevelOffboarding failed OperationNotAllowed",
			"restoreTaskActivityLog restoreTaskCreated succeeded here",
			"backupPolicyActivityLog backupPolicyModified failed InvalidPolicyId",
			"backupPolicyActivityLog backupPolicyModified failed InvalidPatchRequest here",
			"backupPolicyActivityLog unknownFutureValue failed Authorization_RequestDenied here",
			"backupPolicyActivityLog unknownFutureValue failed PolicyActionNotAllowed here",
			"backupPolicyActivityLog backupPolicyActivated succeeded here",
			"backupPolicyActivityLog backupPolicyModified partiallySucceeded Invalid here",
			"backupPolicyActivityLog backupPolicyCreated succeeded here",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}

		page := c.do("GET", activityLog+"?$top=3&$count=true", nil).want(200)
		next, _ := page.json["@odata.nextLink"].(string)
		if page.json["@odata.count"] != 10.0 || !strings.HasPrefix(next, host+activityLog+"?") {
			t.Errorf("a page: %s", page.text)
		}
		c.do("POST", "/"+drivePolicySet, obj{"displayName": "C"}).want(201) // does not move what follows
		if second := c.do("GET", next, nil).want(200); second.str("value.0.id") != log.str("value.3.id") {
			t.Errorf("the next page: %s", second.text)
		}
		one := c.do("GET", activityLog+"/"+log.str("value.8.id"), nil).want(200)
		if one.str("performedBy") != "User1@contoso.com" || one.json["@holdfast.operation"] != string(identity.UpdatePolicy) || one.json["@holdfast.target"] == nil || one.str("policyId") != id {
			t.Errorf("one: %s", one.text)
		}
		if l := c.do("GET", activityLog+"?$filter=resultStatus%20eq%20'partiallySucceeded'", nil).want(200); len(l.list("value")) != 1 {
			t.Errorf("$filter: %s", l.text)
		}
		for filter, want := range map[string]int{
			"performedBy eq 'user1@CONTOSO.com'": 2, "startswith(performedBy,'USER1@')": 2, "@holdfast.performedById eq '" + appID + "'": 9, "@holdfast.operation eq 'DeletePolicy'": 2,
			"@holdfast.objectId eq '" + strings.ToUpper(id) + "' and @holdfast.operation in ('UpdatePolicy','DeletePolicy')": 4, "@holdfast.objectId eq '" + string(fabrikam) + "'": 0,
			"@holdfast.protectionUnitId eq '" + strings.ToUpper(unit) + "'": 1, "@holdfast.protectionUnitId eq '" + unit + "' and @holdfast.operation eq 'CreatePolicy'": 0,
		} {
			l := c.do("GET", activityLog+"?$count=true&$filter="+url.QueryEscape(filter), nil).want(200)
			if len(l.list("value")) != want || l.json["@odata.count"] != float64(want) {
				t.Errorf("%s finds %s, want %d", filter, l.text, want)
			}
			if other := w.app(fabrikam).do("GET", activityLog+"?$filter="+url.QueryEscape(filter), nil).want(200); len(other.list("value")) != 0 {
				t.Errorf("%s finds of another tenant %s", filter, other.text)
			}
		}
		for _, wrong := range []string{"@holdfast.target eq 'x'", "@holdfast.operation gt 1", "@holdfast.protectionUnitId eq 'x'", "@holdfast eq 'x'"} {
			c.do("GET", activityLog+"?$filter="+url.QueryEscape(wrong), nil).want(400, backup.InvalidRequest)
		}
		w.app(fabrikam).do("GET", activityLog+"/"+one.str("id"), nil).want(404, backup.ItemNotFound)
		if l := w.app(fabrikam).do("GET", activityLog, nil).want(200); len(l.list("value")) != 0 {
			t.Errorf("another tenant's: %s", l.text)
		}
		c.do("DELETE", activityLog+"/"+one.str("id"), nil).want(405, backup.NotAllowed)
		c.do("PATCH", activityLog+"/"+one.str("id"), "{}").want(405, backup.NotAllowed)
		c.do("GET", "/v1.0/"+root+"/"+activitySet, nil).want(404, backup.ItemNotFound)

		// The entries bear the ids of the requests.
		requests := map[string]string{}
		err := w.catalog.ExportActivities(t.Context(), contoso, start, func(a backup.Activity) error {
			requests[a.Request] = a.Operation
			if a.By.Application.ID != appID || a.At.IsZero() || a.Tenant != contoso {
				t.Errorf("an entry: %+v", a)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for r, want := range map[*response]string{made: "CreatePolicy", partly: "UpdatePolicy", refused: "DeletePolicy"} {
			if requests[r.header.Get("request-id")] != want {
				t.Errorf("%s is in the log as %q", r.what, requests[r.header.Get("request-id")])
			}
		}
		if len(requests) != 11 {
			t.Errorf("%d entries, want 11", len(requests))
		}
	})
}

// What the service does by itself is in the log too.
func TestServiceActsAreInTheLog(t *testing.T) {
	w := sqlite(t)
	c, u := w.app(contoso), w.user(contoso)
	id := c.policy("A", ownerN(1))
	unit := c.unitOf(id, ownerN(1))
	c.do("PATCH", "/"+drivePolicySet+"/"+id, obj{unitDelta: []obj{{"@removed": obj{}, "id": unit}}}).want(200)
	w.work()
	u.do("POST", "/protectionUnits/"+unit+"/offboard", nil).want(200)
	w.wait(91 * 24 * 60 * 60 * 1e9)
	w.work()
	got := w.app(contoso).do("GET", activityLog+"?$top=1", nil).want(200)
	if got.str("value.0.performedBy") != "Holdfast" || got.str("value.0.activityType") != "protectionUnitLevelOffboarding" || got.str("value.0.severity") != "high" {
		t.Errorf("the last entry: %s", got.text)
	}
}
