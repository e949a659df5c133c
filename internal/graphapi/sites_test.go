package graphapi

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

func siteN(n int) string { return fmt.Sprintf("cccccccc-0000-4000-8000-%012d", n) }

// siteID is how Graph names a site.
func siteID(n int) string {
	return "contoso.sharepoint.com," + siteN(n) + ",dddddddd-0000-4000-8000-000000000000"
}

// site makes a policy of sites with one site, a rule, a bulk addition job, and a
// restore session and a browse session of its first point. It returns the ids of
// the policy, the site's unit and the point.
func (w *world) site(c *client, n int) (policy, unit string, point backup.PointID) {
	w.t.Helper()
	policy = c.do("POST", "/sharePointProtectionPolicies", obj{"displayName": fmt.Sprint("Sites ", n), "siteProtectionUnits": []obj{{"siteId": siteID(n)}}}).want(201).str("id")
	at := "/sharePointProtectionPolicies/" + policy
	unit = c.do("GET", at+"/siteProtectionUnits", nil).want(200).str("value.0.id")
	c.do("POST", "/protectionPolicies/"+policy+"/activate", nil).want(202)
	for _, p := range w.work() {
		if string(p.Unit) == unit {
			point = p.ID
		}
	}
	c.do("POST", at+"/siteInclusionRules", obj{"siteExpression": "((displayName -contains 'Finance') -or (webUrl -contains 'legal'))"}).want(201)
	c.do("POST", at+"/siteProtectionUnitsBulkAdditionJobs", obj{"displayName": "J", "siteWebUrls": []string{"https://contoso.sharepoint.com/sites/nobody"}}).want(201)
	c.do("POST", "/sharePointRestoreSessions", obj{"siteRestoreArtifacts": []obj{{"restorePoint": obj{"id": point}, "destinationType": "new"}}}).want(201)
	c.do("POST", "/sharePointBrowseSessions", obj{"restorePointId": point, "siteId": siteID(n)}).want(201)
	return policy, unit, point
}

// Sites are protected, listed and restored through sets of their own, beside
// drives, and through those of all.
func TestSites(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.user(contoso)
		drives := c.policy("Drives", ownerN(1))
		drive := c.unitOf(drives, ownerN(1))
		c.do("POST", "/protectionPolicies/"+drives+"/activate", nil).want(202)
		var drivePoint backup.PointID
		for _, p := range w.work() {
			drivePoint = p.ID
		}
		policy, unit, point := w.site(c, 1)
		at := "/sharePointProtectionPolicies/" + policy
		ids := func(path string) (all []string) {
			t.Helper()
			for _, v := range c.do("GET", path, nil).want(200).list("value") {
				all = append(all, v.(obj)["id"].(string))
			}
			return all
		}
		for path, want := range map[string]string{
			"/protectionPolicies": drives + " " + policy, "/oneDriveForBusinessProtectionPolicies": drives, "/sharePointProtectionPolicies": policy,
			"/protectionPolicies/microsoft.graph.sharePointProtectionPolicy": policy,
			"/protectionUnits": drive + " " + unit, "/driveProtectionUnits": drive, "/siteProtectionUnits": unit,
			"/protectionUnits/microsoft.graph.siteProtectionUnit": unit, "/protectionUnits/graph.driveProtectionUnit": drive,
			at + "/siteProtectionUnits": unit, "/driveInclusionRules": "", "/oneDriveForBusinessRestoreSessions": "", "/oneDriveForBusinessBrowseSessions": "",
			"/driveProtectionUnitsBulkAdditionJobs": "",
			"/protectionUnits/graph.siteProtectionUnit?$filter=status%20eq%20'protected'&$orderby=createdDateTime%20desc": unit,
		} {
			if got := strings.Join(ids(path), " "); got != want {
				t.Errorf("%s holds %q, want %q", path, got, want)
			}
		}
		for path, want := range map[string]string{
			"/protectionUnits": "2", "/siteProtectionUnits": "1", "/driveProtectionUnits": "1", "/sharePointProtectionPolicies": "1", "/siteInclusionRules": "1",
			"/siteProtectionUnitsBulkAdditionJobs": "1", "/sharePointRestoreSessions": "1", "/restoreSessions": "1", "/sharePointBrowseSessions": "1", "/browseSessions": "1",
		} {
			if got := c.do("GET", path+"/$count", nil, "Accept", "text/plain").want(200); got.text != want {
				t.Errorf("%s/$count = %s, want %s", path, got.text, want)
			}
		}

		// What is of another workload is unknown at the addresses of this one.
		for _, path := range []string{"/oneDriveForBusinessProtectionPolicies/" + policy, "/sharePointProtectionPolicies/" + drives, "/sharePointProtectionPolicies/" + drives + "/siteProtectionUnits",
			"/protectionPolicies/" + drives + "/graph.sharePointProtectionPolicy"} {
			c.do("GET", path, nil).want(404, backup.PolicyNotFound)
		}
		c.do("PATCH", "/sharePointProtectionPolicies/"+drives, obj{"displayName": "x"}).want(404, backup.PolicyNotFound)
		c.do("DELETE", "/sharePointProtectionPolicies/"+drives, nil).want(404, backup.PolicyNotFound)
		c.do("GET", "/siteProtectionUnits/"+drive, nil).want(404, backup.ProtectionUnitNotFound)
		c.do("GET", "/protectionUnits/"+unit+"/graph.driveProtectionUnit", nil).want(404, backup.ProtectionUnitNotFound)
		c.do("POST", "/sharePointRestoreSessions", obj{"siteRestoreArtifacts": []obj{{"restorePoint": obj{"id": drivePoint}, "destinationType": "new"}}}).want(400, backup.InvalidRestorePoint)
		c.do("POST", "/oneDriveForBusinessBrowseSessions", obj{"restorePointId": point}).want(400, backup.InvalidRestorePoint)
		c.do("POST", "/protectionPolicies", obj{"displayName": "x", "driveProtectionUnits": []obj{}}).want(400, backup.InvalidCreateRequest)
		c.do("POST", "/protectionPolicies", obj{"@odata.type": "#microsoft.graph.sharePointProtectionPolicy", "displayName": "x", "siteProtectionUnits": []obj{{"siteId": siteN(8)}}}).want(201)

		// Units are added by their sites' ids, and a site is in one policy only.
		got := c.do("PATCH", at, obj{"siteProtectionUnits@delta": []obj{{"siteId": siteID(2)}, {"siteId": siteN(8)}, {"@removed": obj{"reason": "changed"}, "id": unit}}}).want(200)
		if got.str("siteProtectionUnits@delta.0.status") != "protectRequested" || got.str("siteProtectionUnits@delta.2.status") != "removeRequested" {
			t.Errorf("changed = %s", got.text)
		}
		if item := got.list("siteProtectionUnits@delta")[1].(obj); item["siteId"] != siteN(8) || !strings.Contains(got.text, `"ProtectionUnitAlreadyExists","message":"This site is`) || !strings.Contains(got.text, `"target":"siteId"`) {
			t.Errorf("a site of another policy = %s", got.text)
		}
		c.do("PATCH", at, obj{"siteProtectionUnits@delta": []obj{{"siteId": "contoso.sharepoint.com,x,y"}}}).want(400, backup.InvalidProtectionUnitID)
		c.do("PATCH", at, obj{"siteProtectionUnits@delta": []obj{{"siteId": siteID(3)}, {"siteId": siteN(3)}}}).want(400, backup.DuplicateProtectionUnitInList)

		// What the mirror knows of a site is shown as soon as its unit is there.
		if err := w.catalog.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Sites: true, Users: []backup.Subject{
			{ID: backup.SubjectID(siteN(2)), SourceID: siteID(2), Address: "https://contoso.sharepoint.com/sites/two", DisplayName: "Two"},
		}}); err != nil {
			t.Fatal(err)
		}
		named := c.do("GET", at+"/siteProtectionUnits?$filter=siteId%20eq%20'"+siteID(2)+"'", nil).want(200)
		if named.str("value.0.siteId") != siteID(2) || named.str("value.0.siteName") != "Two" || named.str("value.0.siteWebUrl") != "https://contoso.sharepoint.com/sites/two" {
			t.Errorf("units = %s", named.text)
		}
		if got := w.app(contoso).do("GET", at+"/siteProtectionUnits", nil).want(200); strings.Contains(got.text, "siteName") {
			t.Errorf("an application sees the names of sites: %s", got.text)
		}

		// Rules are static, and of names.
		rules := at + "/siteInclusionRules"
		c.do("POST", rules, obj{"siteExpression": "(webUrl -contains 'legal')", "isAutoApplyEnabled": true}).want(400, backup.InvalidRuleCreateRequest)
		for _, wrong := range []string{"(memberOf -any (group.id -in ['" + ownerN(7) + "']))", "(webUrl -contains 'x')"} {
			if got := c.do("POST", rules, obj{"siteExpression": wrong}).want(400, backup.InvalidRuleExpression); got.str("error.target") != "siteExpression" {
				t.Errorf("refused = %s", got.text)
			}
		}
		if got := c.do("POST", rules, obj{}).want(400, backup.InvalidRuleCreateRequest); !strings.Contains(got.text, "displayName -contains") {
			t.Errorf("refused = %s", got.text)
		}

		// Addresses are those of sites.
		w.work()
		job := c.do("GET", at+"/siteProtectionUnitsBulkAdditionJobs", nil).want(200)
		if job.str("value.0.error.details.0.code") != "SiteUrlNotFound" || job.str("value.0.error.details.0.target") != "https://contoso.sharepoint.com/sites/nobody" {
			t.Errorf("job = %s", job.text)
		}
		session := c.do("POST", "/sharePointRestoreSessions", obj{}).want(201).str("id")
		request := obj{"displayName": "r", "protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}, "destinationType": "new", "siteWebUrls": []string{"ann@contoso.com"}}
		c.do("POST", "/sharePointRestoreSessions/"+session+"/siteRestoreArtifactsBulkAdditionRequests", request).want(400, backup.BulkRestoreInvalidSiteURL)
		delete(request, "siteWebUrls")
		request["siteIds"] = []string{siteID(1)}
		if got := c.do("POST", "/sharePointRestoreSessions/"+session+"/siteRestoreArtifactsBulkAdditionRequests", request).want(201); len(got.list("siteIds")) != 0 || got.get("siteWebUrls") == nil {
			t.Errorf("request = %s", got.text)
		}
		why := c.do("GET", at+"/holdfast.explain(siteId='"+siteID(2)+"')", nil).want(200)
		if why.get("isIncluded") != true || why.str("siteId") != siteN(2) {
			t.Errorf("explained = %s", why.text)
		}
	})
}

// What is of a site names it as the source does, in full.
func TestSitesAreNamedInFull(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		_, _, point := w.site(c, 1)
		browse := c.do("POST", "/sharePointBrowseSessions", obj{"restorePointId": point}).want(201)
		at := "/sharePointBrowseSessions/" + browse.str("id")
		for what, got := range map[string]any{
			"made": browse.get("siteId"), "shown": c.do("GET", at, nil).want(200).get("siteId"),
			"listed": c.do("GET", "/browseSessions", nil).want(200).get("value.0.siteId"),
		} {
			if got != siteID(1) {
				t.Errorf("a browse session as %s is of %v, want %s", what, got, siteID(1))
			}
		}

		// A site has neither a size nor a number of items, unlike what is in it.
		top := c.do("POST", at+"/browse", "").want(200)
		if top.str("value.0.type") != "site" || top.get("value.0.itemsCount") != nil || top.get("value.0.sizeInBytes") != nil {
			t.Errorf("at the top there is %s", top.text)
		}
		libraries := c.do("POST", at+"/browse", obj{"browseLocationItemKey": top.str("value.0.itemKey"), "browseResourceType": "site"}).want(200)
		if libraries.get("value.0.itemsCount") == nil || libraries.get("value.0.sizeInBytes") == nil {
			t.Errorf("in the site there is %s", libraries.text)
		}
		files := c.do("POST", at+"/browse", obj{"browseLocationItemKey": libraries.str("value.0.itemKey")}).want(200)
		file := func(n int) obj {
			return obj{"browseSessionId": browse.str("id"), "itemKey": files.str(fmt.Sprintf("value.%d.itemKey", n))}
		}
		session := "/sharePointRestoreSessions/" + c.do("POST", "/sharePointRestoreSessions", obj{"granularSiteRestoreArtifacts": []obj{file(0)}}).want(201).str("id")
		added := c.do("PATCH", session, obj{"granularSiteRestoreArtifacts@delta": []obj{file(1)}}).want(200)
		list := c.do("GET", session+"/granularSiteRestoreArtifacts", nil).want(200)
		one := c.do("GET", session+"/granularSiteRestoreArtifacts/"+file(1)["itemKey"].(string), nil).want(200)
		for what, got := range map[string]any{
			"added": added.get("granularSiteRestoreArtifacts@delta.0.siteId"), "listed": list.get("value.1.siteId"), "shown": one.get("siteId"),
		} {
			if got != siteID(1) {
				t.Errorf("a file as %s is of %v, want %s", what, got, siteID(1))
			}
		}
	})
}

// A bulk restore request names sites by their addresses and ids, tells which have
// no point, and goes once it is completed.
func TestBulkRestoreOfSites(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		w.site(c, 1)
		session := "/sharePointRestoreSessions/" + c.do("POST", "/sharePointRestoreSessions", obj{}).want(201).str("id")
		requests := session + "/siteRestoreArtifactsBulkAdditionRequests"
		nobody := "https://contoso.sharepoint.com/sites/nobody"
		id := c.do("POST", requests, obj{"displayName": "r", "siteIds": []string{siteID(1)}, "siteWebUrls": []string{nobody},
			"protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}, "destinationType": "new"}).want(201).str("id")
		c.do("DELETE", requests+"/"+id, nil).want(403, backup.InvalidBulkRequestDeletion)
		c.do("POST", "/restoreSessions/"+session[strings.LastIndexByte(session, '/')+1:]+"/activate", nil).want(200)
		for _, j := range w.claim(jobs.BulkRestore) {
			b, err := w.catalog.BulkRestoreForWork(t.Context(), contoso, backup.BulkRequestID(j.Key))
			if err == nil {
				err = w.catalog.ResolveBulkRestore(t.Context(), j, b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := c.do("GET", requests+"/"+id, nil).want(200)
		if got.str("status") != "completedWithErrors" || got.str("error.code") != "BulkRestoreArtifactsNotResolved" || len(got.list("error.details")) != 1 ||
			got.str("error.details.0.code") != "UserNotBackedup" || got.str("error.details.0.target") != nobody {
			t.Errorf("request = %s", got.text)
		}
		if m := got.str("error.details.0.message"); !strings.Contains(m, "this site") || strings.Contains(m, "drive") {
			t.Errorf("of a site it says %q", m)
		}
		if artifacts := c.do("GET", session+"/siteRestoreArtifacts", nil).want(200); len(artifacts.list("value")) != 1 || artifacts.str("value.0.status") != "scheduled" {
			t.Errorf("artifacts = %s", artifacts.text)
		}
		c.do("DELETE", requests+"/"+id, nil).want(204)
		c.do("GET", requests+"/"+id, nil).want(404, backup.BulkRestoreArtifactsNotFound)
	})
}

// Permissions are restored by a member of ours, of whole sites only.
func TestPermissionsOfASiteAreRestoredOnDemand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		_, _, point := w.site(c, 1)
		post := func(set, artifacts string, point backup.PointID, yes any) *response {
			return c.do("POST", set, obj{artifacts: []obj{{"restorePoint": obj{"id": point}, "destinationType": "new", "@holdfast.restorePermissions": yes}}})
		}
		const set, artifacts = "/sharePointRestoreSessions", "siteRestoreArtifacts"
		for _, yes := range []bool{true, false} {
			session := post(set, artifacts, point, yes).want(201).str("id")
			list := c.do("GET", set+"/"+session+"/"+artifacts, nil).want(200)
			if got := strings.Contains(list.text, `"@holdfast.restorePermissions":true`); got != yes {
				t.Errorf("of %v, the artifact is %s", yes, list.text)
			}
		}
		post(set, artifacts, point, "yes").want(400)
		post("/"+driveSessionSet, artifactSet, point, true).want(400, backup.InvalidArtifactRequest)
		if got := c.do("POST", set, obj{"granularSiteRestoreArtifacts": []obj{{"browseSessionId": point, "id": "x", "@holdfast.restorePermissions": true}}}).want(400, backup.InvalidArtifactRequest); got.str("error.target") != "@holdfast.restorePermissions" {
			t.Errorf("refused = %s", got.text)
		}
	})
}
