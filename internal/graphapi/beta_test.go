package graphapi

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

func TestStatisticsByPolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso, identity.Permissions...)
		id := c.do("POST", "/"+drivePolicySet, obj{"displayName": "A", driveUnitSet: []obj{{"directoryObjectId": ownerN(1)}, {"directoryObjectId": ownerN(2)}, {"directoryObjectId": ownerN(3)}}}).want(201).str("id")
		const of = "/beta/" + root + "/reports/getStatisticsByPolicy"
		at := of + "(policyId='" + id + "')"
		stands := func() map[string]any {
			t.Helper()
			got := c.do("GET", at, nil).want(200)
			if got.str("backupPolicyId") != id || got.str("displayName") != "A" {
				t.Errorf("the report is %s", got.text)
			}
			counts, _ := got.get("countStatistics").(map[string]any)
			return counts
		}
		if n := stands(); n["total"] != 3.0 || n["unprotectedCompleted"] != 3.0 {
			t.Errorf("before it is active: %v", n)
		}
		c.do("POST", "/protectionPolicies/"+id+"/activate", nil).want(202)
		w.work()
		if n := stands(); n["total"] != 3.0 || n["protectedCompleted"] != 3.0 || n["protectedInProgress"] != 0.0 || n["removed"] != 0.0 {
			t.Errorf("when all are protected: %v", n)
		}
		c.do("PATCH", "/"+drivePolicySet+"/"+id, obj{unitDelta: []obj{{"@removed": obj{}, "id": c.unitOf(id, ownerN(1))}}}).want(200)
		if n := stands(); n["total"] != 3.0 || n["protectedCompleted"] != 2.0 || n["unprotectedInProgress"] != 1.0 {
			t.Errorf("when one is to go: %v", n)
		}
		for _, form := range []string{of + "/" + id, of + "(policyId=%27" + id + "%27)"} {
			c.do("GET", form, nil).want(200)
		}
		c.do("GET", of+"(policyId='x')", nil).want(400, backup.InvalidPolicyID)
		c.do("GET", of, nil).want(404)
		w.app(fabrikam, identity.Permissions...).do("GET", at, nil).want(404, backup.PolicyNotFound)
		w.app(contoso, identity.ControlRead).do("GET", at, nil).want(403, backup.AuthorizationDenied)
		c.do("POST", at, nil).want(405, backup.NotAllowed)
		c.do("GET", "/v1.0/"+root+"/reports/getStatisticsByPolicy(policyId='"+id+"')", nil).want(404, backup.ItemNotFound)
	})
}

// What only the beta version has is refused in v1.0, and what is wrong is refused with
// nothing changed.
func TestPoliciesOfAllThereIs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso, identity.Permissions...)
		const policies = "/beta/" + root + "/" + drivePolicySet
		all := func(more obj) obj {
			body := obj{"displayName": "All", "protectionMode": "FullServiceBackup"}
			for k, v := range more {
				body[k] = v
			}
			return body
		}
		c.do("POST", "/"+drivePolicySet, all(nil)).want(400, backup.InvalidRequest)
		c.do("POST", policies, obj{"displayName": "x", "protectionMode": "unknownFutureValue"}).want(400, backup.InvalidCreateRequest)
		c.do("POST", policies, obj{"displayName": "x", "protectionMode": 1}).want(400)
		c.do("POST", policies, all(obj{driveUnitSet: []obj{{"directoryObjectId": ownerN(1)}}})).want(400, backup.InvalidCreateRequest)
		made := c.do("POST", policies, all(nil)).want(201)
		if made.str("protectionMode") != "fullServiceBackup" || made.str("status") != "inactive" {
			t.Errorf("made %s", made.text)
		}
		id := made.str("id")
		at := policies + "/" + id
		c.do("POST", policies, all(nil)).want(409, backup.PolicyCreationNotAllowed)
		standard := c.do("POST", policies, obj{"displayName": "Some", "protectionMode": "standard"}).want(201)
		if standard.str("protectionMode") != "standard" {
			t.Errorf("made %s", standard.text)
		}
		if v1 := c.do("GET", "/protectionPolicies/"+id, nil).want(200); v1.get("protectionMode") != nil {
			t.Errorf("v1.0 shows %s", v1.text)
		}
		const delta = "driveExclusionUnits@delta"
		one := []obj{{"directoryObjectId": ownerN(1)}}
		c.do("PATCH", "/"+drivePolicySet+"/"+id, obj{delta: one}).want(400, backup.InvalidRequest)
		c.do("PATCH", at, obj{delta: one, unitDelta: one}).want(400, backup.InvalidPatchRequest)
		c.do("PATCH", at, obj{unitDelta: one}).want(400, backup.InvalidPatchRequest)
		c.do("PATCH", at, obj{"protectionMode": "standard", "displayName": "x"}).want(400, backup.InvalidPatchRequest)
		c.do("PATCH", at, obj{"protectionMode": "fullServiceBackup"}).want(400, backup.InvalidPatchRequest)
		c.do("PATCH", at, obj{delta: []obj{{"directoryObjectId": "x"}}}).want(400, backup.InvalidProtectionUnitID)
		c.do("PATCH", at, obj{delta: []obj{{"id": ownerN(1)}}}).want(400, backup.InvalidProtectionUnitID)
		c.do("PATCH", at, obj{delta: []obj{{"directoryObjectId": ownerN(1)}, {"directoryObjectId": ownerN(1)}}}).want(400, backup.DuplicateProtectionUnitInList)
		c.do("PATCH", policies+"/"+standard.str("id"), obj{delta: one}).want(400, backup.InvalidPatchRequest)
		c.do("PATCH", policies+"/"+ownerN(9), obj{delta: one}).want(404, backup.PolicyNotFound)
		many := make([]obj, 51)
		for i := range many {
			many[i] = obj{"directoryObjectId": ownerN(i)}
		}
		c.do("PATCH", at, obj{delta: many}).want(413, backup.ProtectionUnitsLimitBreached)
		done := c.do("PATCH", at, obj{"displayName": "Renamed", "protectionMode": "fullServiceBackup", delta: one}).want(200)
		unit := done.str(delta + ".0.id")
		if done.str("displayName") != "Renamed" || unit == "" || done.str(delta+".0.directoryObjectId") != ownerN(1) {
			t.Errorf("patched: %s", done.text)
		}
		if again := c.do("PATCH", at, obj{delta: one}).want(200); again.str(delta+".0.id") != unit {
			t.Errorf("again: %s", again.text)
		}

		const units = "/beta/" + root + "/driveExclusionUnits"
		for _, url := range []string{units + "/" + unit, "/beta/" + root + "/exclusionUnits/" + unit, at + "/driveExclusionUnits/" + unit} {
			if got := c.do("GET", url, nil).want(200); got.str("policyId") != id {
				t.Errorf("GET %s: %s", url, got.text)
			}
			w.app(fabrikam, identity.Permissions...).do("GET", url, nil).want(404)
			w.app(contoso, identity.ControlRead).do("GET", url, nil).want(403, backup.AuthorizationDenied)
			c.do("DELETE", url, nil).want(405, backup.NotAllowed)
		}
		c.do("GET", "/beta/"+root+"/siteExclusionUnits/"+unit, nil).want(404)
		c.do("GET", units+"/x", nil).want(400)
		if got := c.do("GET", units+"?$filter=directoryObjectId%20eq%20'"+ownerN(1)+"'&$count=true", nil).want(200); got.json["@odata.count"] != 1.0 {
			t.Errorf("filtered: %s", got.text)
		}
		if got := w.app(fabrikam, identity.Permissions...).do("GET", units+"/$count", nil).want(200); got.text != "0" {
			t.Errorf("another tenant has %s", got.text)
		}

		jobs := at + "/driveExclusionUnitsBulkAdditionJobs"
		c.do("POST", jobs, obj{"drives": []string{"a@contoso.com"}}).want(400, backup.InvalidDisplayName)
		c.do("POST", jobs, obj{"displayName": "x"}).want(400, backup.InvalidCreateRequest)
		c.do("POST", jobs, obj{"displayName": "x", "directoryObjectIds": []string{ownerN(1)}}).want(400, backup.InvalidRequest)
		c.do("POST", jobs, obj{"displayName": "x", "drives": make([]string, 50_001)}).want(413, backup.ProtectionUnitsLimitBreached)
		c.do("POST", policies+"/"+standard.str("id")+"/driveExclusionUnitsBulkAdditionJobs", obj{"displayName": "x", "drives": []string{"a@contoso.com"}}).want(400, backup.InvalidCreateRequest)
		w.app(contoso, identity.ConfigurationRead).do("POST", jobs, obj{"displayName": "x", "drives": []string{"a@contoso.com"}}).want(403, backup.AuthorizationDenied)
		w.app(fabrikam, identity.Permissions...).do("POST", jobs, obj{"displayName": "x", "drives": []string{"a@contoso.com"}}).want(404, backup.PolicyNotFound)
		job := c.do("POST", jobs, obj{"displayName": "x", "drives": []string{"a@contoso.com"}}).want(201).str("id")
		c.do("GET", jobs+"/"+job, nil).want(200)
		c.do("GET", at+"/"+bulkJobSet+"/"+job, nil).want(404, backup.ItemNotFound) // it is of the other kind
		c.do("POST", at+"/"+bulkJobSet, obj{"displayName": "x", "drives": []string{"a@contoso.com"}}).want(400, backup.InvalidCreateRequest)
		c.do("POST", at+"/driveInclusionRules", obj{"driveExpression": "(memberOf -any (group.id -in ['" + ownerN(1) + "']))"}).want(400, backup.InvalidRuleCreateRequest)
		if got := c.do("GET", at+"?$expand=driveExclusionUnits,driveExclusionUnitsBulkAdditionJobs", nil).want(200); got.str("driveExclusionUnits.0.id") != unit || got.str("driveExclusionUnitsBulkAdditionJobs.0.id") != job {
			t.Errorf("expanded: %s", got.text)
		}
		c.do("PATCH", at, obj{delta: []obj{{"@removed": obj{}, "id": unit}}}).want(200)
		c.do("GET", units+"/"+unit, nil).want(404, backup.ItemNotFound)

		// The log names the workload of each.
		if got := c.do("GET", activityLog+"?$top=1", nil).want(200); got.str("value.0.serviceType") != "oneDriveForBusiness" {
			t.Errorf("the log: %s", got.text)
		}
		c.do("POST", "/beta/"+root+"/protectionPolicies", obj{"@odata.type": "#microsoft.graph.sharePointProtectionPolicy", "displayName": "S"}).want(201)
		if got := c.do("GET", activityLog+"?$top=1", nil).want(200); got.str("value.0.serviceType") != "sharepoint" {
			t.Errorf("the log: %s", got.text)
		}
		mail := c.do("POST", "/beta/"+root+"/exchangeProtectionPolicies", obj{"displayName": "M"}).want(201).str("id")
		c.do("POST", "/protectionPolicies/"+mail+"/activate", nil).want(202)
		if got := c.do("GET", activityLog+"?$top=1", nil).want(200); got.str("value.0.serviceType") != "exchange" {
			t.Errorf("the log: %s", got.text)
		}
		c.do("PATCH", "/emailNotificationsSetting", obj{"isEnabled": false}).want(403)
		if got := c.do("GET", activityLog+"?$top=1", nil).want(200); got.str("value.0.serviceType") != "unknown" {
			t.Errorf("the log: %s", got.text)
		}
	})
}

// A structuredQueryExpression finds what the same queryExpression does.
func TestStructuredSearch(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso, identity.Permissions...)
	id := c.do("POST", "/exchangeProtectionPolicies", obj{"displayName": "M", "mailboxProtectionUnits": []obj{{"directoryObjectId": ownerN(1)}}}).want(201).str("id")
	c.do("POST", "/protectionPolicies/"+id+"/activate", nil).want(202)
	w.work()
	unit := c.do("GET", "/exchangeProtectionPolicies/"+id+"/mailboxProtectionUnits", nil).want(200).str("value.0.id")
	search := func(version string, query obj, more obj) *response {
		body := obj{"protectionUnitIds": []string{unit}, "protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}}
		if query != nil {
			body["artifactQuery"] = query
		}
		for k, v := range more {
			body[k] = v
		}
		return c.do("POST", version+root+"/restorePoints/search", body)
	}
	for _, row := range []struct {
		query obj
		hits  any
	}{
		{obj{"subjects": []string{"Invoice 5", "Lunch"}}, 2.0},
		{obj{"subjects": []string{"Invoice", "Lunch"}, "items": []string{"Email"}}, 2.0},
		{obj{"items": []string{"calendar", "email"}}, 3.0},
		{obj{"senders": []string{"amala@contoso.com"}, "hasAttachment": true}, 1.0},
		{obj{"recipients": []string{"conrad@contoso.com"}, "hasAttachment": false}, 2.0},
		{obj{"subjects": []string{"it's -or (nothing'"}}, nil},
	} {
		got := search("/beta/", obj{"structuredQueryExpression": row.query}, nil).want(200)
		if got.get("searchResults.0.artifactHitCount") != row.hits {
			t.Errorf("%v found %s", row.query, got.text)
		}
	}
	c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{{"destinationType": "new",
		"restorePoint":     obj{"id": search("/beta/", obj{"structuredQueryExpression": obj{"subjects": []string{"Lunch"}}}, nil).str("searchResults.0.restorePoint.id")},
		"searchResponseId": search("/beta/", obj{"structuredQueryExpression": obj{"subjects": []string{"Lunch"}}}, nil).str("searchResponseId")}}}).want(201)
	for _, bad := range []obj{
		{"structuredQueryExpression": obj{"subjects": []string{"x"}}, "queryExpression": "Subject -like 'x'"},
		{"structuredQueryExpression": obj{}}, {"structuredQueryExpression": obj{"items": []string{"file"}}},
		{"structuredQueryExpression": obj{"subjects": []string{"1", "2", "3", "4"}}}, {"structuredQueryExpression": obj{"subjects": []string{""}}},
		{"structuredQueryExpression": obj{"hasAttachment": "yes"}}, {"structuredQueryExpression": obj{"from": "x"}}, {"structuredQueryExpression": "x"},
	} {
		search("/beta/", bad, nil).want(400)
	}
	search("/v1.0/", obj{"structuredQueryExpression": obj{"subjects": []string{"Lunch"}}}, nil).want(400)

	// Of the points of a time the last has all newer items.
	w.wait(time.Hour)
	c.do("POST", "/protectionPolicies/"+id+"/deactivate", nil).want(202)
	w.work()
	c.do("POST", "/protectionPolicies/"+id+"/activate", nil).want(202)
	w.work()
	point := func(more obj) string {
		t.Helper()
		return search("/beta/", nil, more).want(200).str("searchResults.0.restorePoint.id")
	}
	latest, oldest := point(nil), point(obj{"restorePointPreference": "oldest"})
	if latest == oldest || point(obj{"restorePointPreference": "oldest", "tags": "includeNewerItems"}) != latest || point(obj{"tags": "none, IncludeNewerItems"}) != latest {
		t.Errorf("the latest is %s, the oldest %s", latest, oldest)
	}
	search("/v1.0/", nil, obj{"tags": "includeNewerItems"}).want(400, backup.InvalidSearchRequest)
	session := c.do("POST", "/exchangeRestoreSessions", "{}").want(201).str("id")
	requests := root + "/exchangeRestoreSessions/" + session + "/mailboxRestoreArtifactsBulkAdditionRequests"
	body := obj{"displayName": "B", "directoryObjectIds": []string{ownerN(1)}, "destinationType": "new", "restorePointPreference": "oldest",
		"protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}, "tags": "includeNewerItems"}
	c.do("POST", "/v1.0/"+requests, body).want(400)
	made := c.do("POST", "/beta/"+requests, body).want(201)
	if made.str("tags") != "unknownFutureValue" {
		t.Errorf("made %s", made.text)
	}
	if got := c.do("GET", "/beta/"+requests+"/"+made.str("id"), nil, "Prefer", "include-unknown-enum-members").want(200); got.str("tags") != "includeNewerItems" || got.str("restorePointPreference") != "oldest" {
		t.Errorf("made %s", got.text)
	}
}

// The metadata of beta describe what it has more.
func TestMetadataOfBeta(t *testing.T) {
	w := sqlite(t)
	c := &client{w, ""}
	got := c.do("GET", "/beta/$metadata", nil).want(200)
	for _, want := range []string{
		`<EntityType Name="driveExclusionUnit" BaseType="graph.exclusionUnitBase">`, `<EntityType Name="exclusionUnitBase" BaseType="graph.entity" Abstract="true">`,
		`<EntityType Name="siteExclusionUnitsBulkAdditionJob" BaseType="graph.exclusionUnitBulkAdditionJob">`, `<EnumType Name="backupPolicyProtectionMode">`,
		`<EntityType Name="restoreTaskActivityLog" BaseType="graph.activityLogBase">`, `<Function Name="getStatisticsByPolicy"`, `<ComplexType Name="backupCountStatistics">`,
		`<ComplexType Name="restoreSearchArtifactQueryExpression">`, `<Member Name="includeNewerItems"`, `<NavigationProperty Name="exclusionUnits"`,
	} {
		if !strings.Contains(got.text, want) {
			t.Errorf("the metadata of beta lack %s", want)
		}
	}
	if v1 := c.do("GET", "/v1.0/$metadata", nil).want(200); strings.Contains(v1.text, "xclusion") || strings.Contains(v1.text, "protectionMode") {
		t.Errorf("the metadata of v1.0 = %s", v1.text)
	}
	for _, r := range beta(described) {
		if r.entity == nil {
			continue
		}
		for _, p := range r.entity.properties {
			if !slices.ContainsFunc(append(slices.Clone(r.entity.of), r.entity.name), func(typ string) bool { return len(holdersIn(betaSchema(), typ, p)) > 0 }) {
				t.Errorf("%s has no %s", r.entity.name, p)
			}
		}
	}
}
