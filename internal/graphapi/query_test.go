package graphapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// at is a set with query options: pairs of name and value.
func at(set string, options ...string) string {
	var b strings.Builder
	for i := 0; i < len(options); i += 2 {
		b.WriteString("&" + options[i] + "=" + url.QueryEscape(options[i+1]))
	}
	return "/" + set + "?" + strings.TrimPrefix(b.String(), "&")
}

// column is one property of all entities of a list.
func (a *response) column(name string) string {
	var all []string
	for _, e := range a.list("value") {
		all = append(all, fmt.Sprint(e.(obj)[name]))
	}
	return strings.Join(all, " ")
}

func TestListsAreFilteredAndOrdered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		ids := map[string]string{}
		for i, name := range []string{"Bravo", "alpha", "Charlie", "ALPHA two"} {
			ids[name] = c.policy(name, ownerN(i))
		}
		c.do("POST", "/"+policySet+"/"+ids["Bravo"]+"/activate", nil).want(202)
		for filter, want := range map[string]string{
			"displayName eq 'BRAVO'":                                         "Bravo",
			"startswith(displayName,'Alpha')":                                "alpha ALPHA two",
			"status eq 'updating'":                                           "Bravo",
			"not (status eq 'inactive') or contains(displayname, 'LI')":      "Bravo Charlie",
			"id in ('" + ids["alpha"] + "','" + ids["Charlie"] + "')":        "alpha Charlie",
			"displayName gt 'b' and createdDateTime ge 2026-01-01T00:00:00Z": "Bravo Charlie",
			"createdDateTime lt 2026-01-01T01:00:00+01:00":                   "",
		} {
			got := c.do("GET", at(policySet, "$filter", filter, "$count", "true"), nil).want(200)
			if got.column("displayName") != want {
				t.Errorf("%s: %s", filter, got.column("displayName"))
			}
			n := fmt.Sprint(len(got.list("value")))
			if count := c.do("GET", at(policySet+"/$count", "filter", filter), nil).want(200); count.text != n || fmt.Sprint(got.json["@odata.count"]) != n {
				t.Errorf("%s: %v and %s are counted of %s", filter, got.json["@odata.count"], count.text, n)
			}
		}
		next := at(policySet, "$orderby", "displayName desc", "$top", "1", "$filter", "displayName lt 'c'")
		var names []string
		for next != "" {
			got := c.do("GET", next, nil).want(200)
			names = append(names, got.column("displayName"))
			next, _ = got.json["@odata.nextLink"].(string)
			if len(names) == 2 {
				c.policy("Zulu")
				c.policy("aa")
			}
		}
		if got := strings.Join(names, ","); got != "Bravo,ALPHA two,alpha,aa" {
			t.Errorf("pages by name: %s", got)
		}
		units := "/" + drivePolicySet + "/" + ids["Bravo"] + "/" + driveUnitSet
		unit := c.unitOf(ids["Bravo"], ownerN(0))
		for _, set := range []string{unitSet, driveUnitSet, strings.TrimPrefix(units, "/")} {
			for _, filter := range []string{"id eq '" + strings.ToUpper(unit) + "'", "policyId eq " + ids["Bravo"], "status eq 'protectRequested' and error eq null", "not (error ne null or status eq 'unprotected')", "directoryObjectId eq '" + ownerN(0) + "'"} {
				if got := c.do("GET", at(set, "$filter", filter, "$orderby", "lastModifiedDateTime desc"), nil).want(200); got.column("id") != unit {
					t.Errorf("%s %s: %s", set, filter, got.text)
				}
			}
			c.do("GET", at(set, "$filter", "id eq 'x'"), nil).want(400, backup.InvalidProtectionUnitID)
			c.do("GET", at(set+"/$count", "$filter", "id eq 'x'"), nil).want(400, backup.InvalidProtectionUnitID)
			c.do("GET", at(set, "$filter", "id eq '"+strings.Repeat("x", 2048)+"'"), nil).want(400, backup.FilterLengthExceeded)
		}
		for set, options := range map[string][]string{
			policySet:       {"$filter", "status eq 'bogus'", "$filter", "isEnabled eq true", "$filter", "createdDateTime eq '2026-01-01T00:00:00Z'", "$filter", "displayName eq 1", "$filter", "a/b eq 1", "$orderby", "status", "$orderby", "displayName up", "$orderby", "displayName,DisplayName", "$orderby", ""},
			unitSet:         {"$filter", "createdBy/user/id eq 'x'", "$orderby", "email", "$filter", "error eq 'x'", "$filter", "contains(error,'x')", "$filter", "displayName eq", "$filter", "displayName eq 'a' and", "$filter", "tolower(displayName) eq 'a'", "$filter", "displayName lt null", "$filter", ""},
			bulkJobSet:      {"$filter", "displayName eq 'x'", "$orderby", "status"},
			ruleSet:         {"$filter", "isAutoApplyEnabled eq true", "$filter", "status eq 'done'", "$orderby", "status"},
			sessionSet:      {"$filter", "status eq draft", "$orderby", "displayName"},
			"restorePoints": {"$filter", "id eq 'x'"},
		} {
			for i := 0; i < len(options); i += 2 {
				got := c.do("GET", at(set, options[i], options[i+1]), nil).want(400)
				if !strings.Contains(got.text, options[i]) && set != "restorePoints" {
					t.Errorf("%s: the answer does not name %s: %s", got.what, options[i], got.text)
				}
			}
		}
		for set, filter := range map[string]string{bulkJobSet: "status eq 'active' and createdDateTime gt 2020-01-01T00:00:00Z", ruleSet: "not status eq 'deleteRequested'", sessionSet: "status eq 'draft' and restoreJobType ne 'bulk'"} {
			c.do("GET", at(set, "$filter", filter, "$orderby", "createdDateTime desc"), nil).want(200)
		}
	})
}

func TestPoliciesAreExpanded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		var owners []string
		for i := range 49 {
			owners = append(owners, ownerN(i))
		}
		id := c.policy("A", owners...)
		var more []obj
		for i := range 50 {
			more = append(more, obj{"directoryObjectId": ownerN(100 + i)})
		}
		c.do("PATCH", "/"+policySet+"/"+id, obj{unitDelta: more}).want(200)
		c.do("POST", "/"+drivePolicySet+"/"+id+"/"+bulkJobSet, obj{"displayName": "J", "drives": []string{"x@contoso.com"}}).want(201)
		one := "/" + drivePolicySet + "/" + id
		got := c.do("GET", one+"?$expand=driveProtectionUnits,%20DRIVEInclusionRules,driveProtectionUnitsBulkAdditionJobs", nil).want(200)
		if len(got.list(driveUnitSet)) != 99 || len(got.list(bulkJobSet)) != 1 || got.json[ruleSet] == nil || got.json[driveUnitSet+"@odata.nextLink"] != nil {
			t.Errorf("expanded = %s", got.text)
		}
		c.do("PATCH", one, obj{unitDelta: []obj{{"directoryObjectId": ownerN(200)}, {"directoryObjectId": ownerN(201)}}}).want(200)
		got = c.do("GET", "/"+policySet+"?$select=displayName&$expand=driveProtectionUnits&$top=500", nil).want(200)
		next := got.get("value.0").(obj)[driveUnitSet+"@odata.nextLink"].(string)
		if context := got.json["@odata.context"]; context != host+"/v1.0/$metadata#solutions/backupRestore/protectionPolicies(displayName,driveProtectionUnits())" ||
			got.get("value.0.status") != nil || len(got.list("value.0."+driveUnitSet)) != 100 {
			t.Errorf("selected and expanded = %s", got.text)
		}
		if got := c.do("GET", next, nil).want(200); len(got.list("value")) != 1 || got.json["@odata.nextLink"] != nil {
			t.Errorf("the next page of what was expanded = %s", got.text)
		}
		for _, bad := range []string{"", "*", "units", "driveProtectionUnits($expand=x)", "driveProtectionUnits,"} {
			if got := c.do("GET", at(drivePolicySet, "$expand", bad), nil).want(400, backup.InvalidRequest); !strings.Contains(got.text, "$expand") {
				t.Errorf("%s: %s", got.what, got.text)
			}
		}
		c.do("GET", "/"+unitSet+"?$expand=x", nil).want(400, backup.InvalidRequest)
	})
}

// As TestChecksComeInOneOrder, for a listing: each request is wrong in all that
// the next ones are still wrong in.
func TestChecksOfAListComeInOneOrder(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	list := func(id string, options ...string) string {
		return at(drivePolicySet+"/"+id+"/"+driveUnitSet, options...)
	}
	accept := []string{"Accept", "text/html"}
	bad := []string{"$filter", "nothing eq 1", "$orderby", "nothing", "$skiptoken", "x"}
	unknown := backup.NewID[string]()
	(&client{w, ""}).do("GET", list("x", bad...)+"/more", nil, accept...).want(401, backup.InvalidAuthenticationToken) // the slash is the query's
	(&client{w, ""}).do("PUT", list("x", bad...), nil, accept...).want(405, backup.NotAllowed)
	(&client{w, ""}).do("GET", list("x", bad...), nil, accept...).want(401, backup.InvalidAuthenticationToken)
	w.app(stranger).do("GET", list("x", bad...), nil, accept...).want(401, backup.InvalidAuthenticationToken)
	w.app(contoso, identity.SearchRead).do("GET", list("x", bad...), nil, accept...).want(403, backup.AuthorizationDenied)
	c.do("GET", list("x", bad...), nil, accept...).want(406, "notSupported")
	for _, one := range [][]string{bad[:2], bad[2:4], {"$filter", "id eq 'x'"}, {"$filter", strings.Repeat("x", 3000)}, {"$search", "x"}, {"$top", "x"}} {
		if got := c.do("GET", list("x", one...), nil).want(400); got.code() == backup.InvalidPolicyID {
			t.Errorf("%s: the id comes before the options", got.what)
		}
	}
	c.do("GET", list("x", "$filter", "status eq 'protected'"), nil).want(400, backup.InvalidPolicyID)
	c.do("GET", list(unknown, "$filter", "status eq 'protected'"), nil).want(404, backup.PolicyNotFound)
	c.do("GET", at(drivePolicySet+"/x/"+driveUnitSet+"/$count", "$filter", "nothing eq 1"), nil).want(400, backup.InvalidRequest)
	c.do("GET", at(drivePolicySet+"/x/"+driveUnitSet+"/$count"), nil).want(400, backup.InvalidPolicyID)
	c.do("GET", at(drivePolicySet+"/"+unknown+"/"+driveUnitSet+"/$count"), nil).want(404, backup.PolicyNotFound)
}

// Every list can be counted, and every answer can be had without annotations.
func TestEveryListIsCounted(t *testing.T) {
	counted := map[string]bool{}
	for _, r := range routes(described) {
		counted[r.path] = true
	}
	for _, r := range routes(described) {
		if r.method == "GET" && slices.Contains(r.options, odata.SkipToken) && !strings.Contains(r.path, "/graph.") && !counted[r.path+"/$count"] && !r.action && !strings.Contains(r.path, "holdfast.") {
			t.Errorf("there is no %s/$count", r.path)
		}
		if slices.Contains(r.options, odata.Filter) && r.entity != nil && r.entity.listed == nil && r.entity != pointType {
			t.Errorf("%s takes a $filter, and %s has nothing to filter by", r.path, r.entity.name)
		}
	}
}

// Every address that shows something does so at each level of annotations, and
// the schema holds for all.
func TestEveryResourceAtEachMetadataLevel(t *testing.T) {
	w := sqlite(t)
	c := w.user(contoso)
	var point backup.PointID
	for _, points := range w.protected(c, 1, ownerN(1)) {
		point = points[0].ID
	}
	policy := c.do("GET", "/"+policySet, nil).want(200).str("value.0.id")
	c.do("POST", "/"+drivePolicySet+"/"+policy+"/"+bulkJobSet, obj{"displayName": "J", "drives": []string{"x@contoso.com"}}).want(201)
	c.do("POST", "/"+drivePolicySet+"/"+policy+"/"+ruleSet, obj{"driveExpression": "(memberOf -any (group.id -in ['" + ownerN(7) + "']))"}).want(201)
	c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{{"restorePoint": obj{"id": point}, "destinationType": "new"}}}).want(201)
	w.site(c, 1)
	shown := 0
	for _, r := range routes(described) {
		if r.method != "GET" || r.plain || r.action || r.path == pointSet || strings.Contains(r.path, "holdfast.") || strings.Contains(r.path, "/browse/") {
			continue
		}
		url := ""
		for segment := range strings.SplitSeq(r.path, "/") {
			if strings.HasPrefix(segment, "{") {
				segment = string(point)
				if url != "/"+pointSet {
					segment = ""
					for _, v := range c.do("GET", url, nil).want(200).list("value") {
						if _, cast, _ := strings.Cut(r.path, "}/graph."); segment == "" && (cast == "" || v.(obj)["@odata.type"] == "#microsoft.graph."+cast) {
							segment = v.(obj)["id"].(string)
						}
					}
				}
				if segment == "" {
					url = "none"
					break
				}
			}
			url += "/" + segment
		}
		if url == "none" || strings.Contains(url, "(") {
			continue
		}
		for _, level := range []string{"none", "minimal", "full"} {
			got := c.do("GET", url, nil, "Accept", "application/json;odata.metadata="+level).want(200)
			if strings.Contains(got.text, `"@odata.context"`) != (level != "none") || strings.Contains(got.text, `"@odata.type"`) && level == "none" {
				t.Errorf("%s at the level %s: %s", got.what, level, got.text)
			}
			shown++
		}
	}
	if shown < 60 {
		t.Errorf("only %d answers were looked at", shown)
	}
}
