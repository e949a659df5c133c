package graphapi

import (
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
)

const (
	research = "6a0de200-4f6b-4c55-8f0e-c0a7050a0100"
	sales    = "6a0de200-4f6b-4c55-8f0e-c0a7050a0200"
	nobodies = "6a0de200-4f6b-4c55-8f0e-c0a7050a0999" // no group
)

func expression(groups ...string) string {
	return "(memberOf  -any (group.id -in ['" + strings.Join(groups, "', '") + "']))"
}

func rulesOf(policy string) string { return "/" + drivePolicySet + "/" + policy + "/" + ruleSet }

// rule makes a rule and returns its address.
func (c *client) rule(policy string, dynamic bool, groups ...string) string {
	c.w.t.Helper()
	made := c.do("POST", rulesOf(policy), obj{"driveExpression": expression(groups...), "isAutoApplyEnabled": dynamic}).want(201)
	return rulesOf(policy) + "/" + made.str("id")
}

// sources returns what holds each owner of a policy, by the number of ownerN.
func (c *client) sources(policy string) map[string]string {
	c.w.t.Helper()
	held := map[string]string{}
	for _, v := range c.do("GET", "/"+drivePolicySet+"/"+policy+"/"+driveUnitSet, nil).want(200).list("value") {
		u := v.(obj)
		owner := u["directoryObjectId"].(string)
		held[strings.TrimLeft(owner[len(owner)-12:], "0")] = u["protectionSources"].(string)
	}
	return held
}

func (w *world) wantSources(what string, got, want map[string]string) {
	w.t.Helper()
	same := len(got) == len(want)
	for k, v := range want {
		same = same && got[k] == v
	}
	if !same {
		w.t.Errorf("%s: the policy holds %v, want %v", what, got, want)
	}
}

func owners(numbers ...int) (list []backup.SubjectID) {
	for _, n := range numbers {
		list = append(list, backup.SubjectID(ownerN(n)))
	}
	return list
}

type held = map[string]string

func TestStaticRule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.groups = map[backup.ObjectID][]backup.SubjectID{research: owners(1, 2), sales: owners(2, 3)}
		c := w.user(contoso)
		policy := c.policy("A", ownerN(1))
		made := c.do("POST", rulesOf(policy), obj{"driveExpression": expression(research)}).want(201)
		at := rulesOf(policy) + "/" + made.str("id")
		if made.str("status") != "active" || made.get("isAutoApplyEnabled") != false || made.str("driveExpression") != expression(research) ||
			made.str("createdBy.user.id") != userID || made.get("error") != nil ||
			!strings.HasSuffix(made.header.Get("Content-Location"), ruleSet+"('"+made.str("id")+"')") {
			t.Errorf("created = %s %v", made.text, made.header)
		}
		for _, r := range []struct {
			method, path string
			status       int
			code         backup.Code
		}{
			{"PATCH", at, 400, backup.PatchOfStaticRule}, {"DELETE", at, 400, backup.RuleStatusForDeletion},
			{"POST", at + "/run", 400, backup.RuleActionNotAllowed}, {"POST", at + "/deleteAndUnprotect", 400, backup.RuleActionNotAllowed},
		} {
			var body any
			if r.method == "PATCH" {
				body = obj{"driveExpression": "nonsense"}
			}
			c.do(r.method, r.path, body).want(r.status, r.code)
		}
		w.work()
		if got := c.do("GET", at, nil).want(200); got.str("status") != "completed" || got.get("error") != nil {
			t.Errorf("evaluated = %s", got.text)
		}
		w.wantSources("evaluated", c.sources(policy), held{"1": "manual", "2": "manual"})

		// Whoever leaves the group stays, whoever joins it comes when it is run.
		w.groups[research] = owners(2, 4)
		w.work()
		ran := c.do("POST", at+"/microsoft.graph.run", nil).want(202)
		if ran.str("status") != "active" || !strings.HasSuffix(ran.header.Get("Content-Location"), "('"+made.str("id")+"')") {
			t.Errorf("run = %s %v", ran.text, ran.header)
		}
		c.do("POST", at+"/run", "{}").want(400, backup.RuleActionNotAllowed)
		w.work()
		w.wantSources("run", c.sources(policy), held{"1": "manual", "2": "manual", "4": "manual"})
		c.do("PATCH", at, obj{"driveExpression": expression(sales)}).want(400, backup.PatchOfStaticRule)
		c.do("POST", at+"/deleteAndUnprotect", nil).want(400, backup.RuleActionNotAllowed)
		c.do("DELETE", at, nil).want(204)
		c.do("DELETE", at, nil).want(404, backup.ProtectionRuleNotFound)
		w.wantSources("deleted", c.sources(policy), held{"1": "manual", "2": "manual", "4": "manual"})
	})
}

func TestDynamicRule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.groups = map[backup.ObjectID][]backup.SubjectID{research: owners(1, 2), sales: owners(2, 3)}
		c := w.app(contoso)
		know := []string{"Prefer", "include-unknown-enum-members"}
		policy := c.policy("A", ownerN(1))
		at := c.rule(policy, true, research)
		c.do("POST", rulesOf(policy), obj{"driveExpression": expression(sales), "isAutoApplyEnabled": true}).want(400, backup.InvalidRuleCreateRequest)
		c.do("PATCH", at, obj{"driveExpression": "x"}).want(400, backup.RuleStatusForUpdate)
		c.do("DELETE", at, nil).want(422, backup.DynamicRuleStatusForDelete)
		c.do("POST", at+"/run", nil).want(400, backup.RunOfDynamicRule)
		c.do("POST", at+"/deleteAndUnprotect", nil).want(422, backup.DynamicRuleStatusForRelease)
		w.work()
		w.wantSources("evaluated", c.sources(policy), held{"1": "manual,dynamicRule", "2": "dynamicRule"})
		c.do("POST", at+"/run", nil).want(400, backup.RunOfDynamicRule)

		// In force, a rule's units are protected, and cannot be removed by hand.
		c.do("POST", "/protectionPolicies/"+policy+"/activate", nil).want(202)
		w.work()
		for _, n := range []int{1, 2} {
			c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: []obj{{"directoryObjectId": ownerN(9)}, {"@removed": obj{"reason": "changed"}, "id": c.unitOf(policy, ownerN(n))}}}).
				want(400, backup.ProtectionUnitActionForbidden)
		}
		added := c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: []obj{{"directoryObjectId": ownerN(2)}}}).want(200)
		if added.str(strings.ReplaceAll(unitDelta, ".", "")+".0.protectionSources") != "manual,dynamicRule" {
			t.Errorf("added by hand as well = %s", added.text)
		}
		unit2 := c.unitOf(policy, ownerN(2))
		if got := c.do("GET", "/protectionUnits/"+unit2, nil).want(200); got.str("status") != "protected" || got.str("protectionSources") != "manual,dynamicRule" {
			t.Errorf("held twice = %s", got.text)
		}

		c.do("PATCH", at, obj{}).want(400, backup.InvalidRulePatchRequest)
		c.do("PATCH", at, obj{"driveExpression": nil}).want(400, backup.InvalidRulePatchRequest)
		c.do("PATCH", at, obj{"driveExpression": expression(sales), "isAutoApplyEnabled": true}).want(400, backup.InvalidRulePatchRequest)
		c.do("PATCH", at, obj{"driveExpression": "(memberOf)"}).want(400, backup.InvalidRuleExpression)
		c.do("PATCH", at, obj{"driveExpression": expression(strings.Split(strings.Repeat(sales+" ", 101), " ")[:101]...)}).want(413, backup.RuleGroupLimitExceeded)
		patched := c.do("PATCH", at, obj{"driveExpression": expression(sales)}, know...).want(200)
		if patched.str("status") != "updateRequested" || patched.str("driveExpression") != expression(sales) || patched.get("isAutoApplyEnabled") != true {
			t.Errorf("patched = %s", patched.text)
		}
		if got := c.do("GET", at, nil).want(200); got.str("status") != "unknownFutureValue" {
			t.Errorf("to a client that does not know it, %s", got.text)
		}
		c.do("PATCH", at, obj{}).want(400, backup.RuleStatusForUpdate)
		c.do("DELETE", at, nil).want(422, backup.DynamicRuleStatusForDelete)
		c.do("POST", at+"/deleteAndUnprotect", nil).want(422, backup.DynamicRuleStatusForRelease)
		w.work()
		w.wantSources("patched", c.sources(policy), held{"1": "manual", "2": "manual,dynamicRule", "3": "dynamicRule"})
		if got := c.do("GET", at, nil); got.str("status") != "completed" {
			t.Errorf("evaluated = %s", got.text)
		}

		// A group that is gone keeps whom it brought in; a typo brings nobody.
		delete(w.groups, sales)
		c.do("PATCH", at, obj{"driveExpression": expression(sales, nobodies)}).want(200)
		w.work()
		got := c.do("GET", at, nil).want(200)
		if got.str("status") != "completedWithErrors" || got.str("error.code") != "invalidGroupId" || got.str("error.innerError.code") != "invalidGroupId" || len(got.list("error.details")) != 2 || got.str("error.details.1.target") != nobodies {
			t.Errorf("unknown groups = %s", got.text)
		}
		w.wantSources("unknown groups", c.sources(policy), held{"1": "manual", "2": "manual,dynamicRule", "3": "dynamicRule"})

		released := c.do("POST", at+"/deleteAndUnprotect", nil, know...).want(202)
		if released.str("status") != "deleteRequested" {
			t.Errorf("released = %s", released.text)
		}
		for _, r := range []struct {
			method, path string
			status       int
			code         backup.Code
		}{
			{"PATCH", at, 422, backup.DynamicRuleStatusForEdit}, {"DELETE", at, 422, backup.DynamicRuleStatusForDelete},
			{"POST", at + "/run", 400, backup.RunOfDynamicRule}, {"POST", at + "/deleteAndUnprotect", 422, backup.DynamicRuleStatusForRelease},
		} {
			var body any
			if r.method == "PATCH" {
				body = obj{"driveExpression": expression(sales)}
			}
			c.do(r.method, r.path, body).want(r.status, r.code)
		}
		unit3 := c.unitOf(policy, ownerN(3))
		w.work()
		c.do("GET", at, nil).want(404, backup.ProtectionRuleNotFound)
		w.wantSources("released", c.sources(policy), held{"1": "manual", "2": "manual"})
		if got := c.do("GET", "/protectionUnits/"+unit3, nil).want(200); got.str("status") != "unprotected" || got.str("protectionSources") != "none" || got.get("policyId") != nil {
			t.Errorf("let go = %s", got.text)
		}

		// A rule that is only deleted leaves its units, which are held by hand then.
		w.groups[sales] = owners(2, 3)
		at = c.rule(policy, true, sales)
		w.work()
		w.wantSources("another", c.sources(policy), held{"1": "manual", "2": "manual,dynamicRule", "3": "dynamicRule"})
		c.do("DELETE", at, nil).want(204)
		w.wantSources("deleted", c.sources(policy), held{"1": "manual", "2": "manual", "3": "manual"})
		c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: []obj{{"@removed": obj{}, "id": unit3}}}).want(200)
	})
}

func TestRuleRequests(t *testing.T) {
	w := sqlite(t)
	w.groups = map[backup.ObjectID][]backup.SubjectID{research: owners(1)}
	c := w.app(contoso)
	policy, other := c.policy("A"), c.policy("B")
	at := c.rule(policy, true, research)
	id := at[strings.LastIndexByte(at, '/')+1:]
	second := rulesOf(policy) + "/" + c.do("POST", rulesOf(policy), obj{"driveExpression": expression(research), "isAutoApplyEnabled": nil}).want(201).str("id")
	unknown := backup.NewID[string]()
	for _, body := range []string{"{}", `{"driveExpression":null}`, `{"driveExpression":1}`, `{"driveExpression":"x","isAutoApplyEnabled":"true"}`, "[", ""} {
		c.do("POST", rulesOf(policy), body).want(400, backup.InvalidRuleCreateRequest)
	}
	c.do("POST", rulesOf(policy), obj{"siteExpression": expression(research)}).want(400, backup.InvalidRequest)
	c.do("POST", rulesOf(policy), obj{"@odata.type": "#microsoft.graph.siteProtectionRule", "driveExpression": expression(research)}).want(400, backup.InvalidRequest)
	for _, e := range []string{"", "x", "(memberOf -any (group.id -in []))", "(memberOf -any (group.id -in ['x']))"} {
		c.do("POST", rulesOf(policy), obj{"driveExpression": e}).want(400, backup.InvalidRuleExpression)
	}
	c.do("POST", rulesOf(policy), obj{"driveExpression": expression(strings.Split(strings.Repeat(sales+" ", 101), " ")[:101]...)}).want(413, backup.RuleGroupLimitExceeded)
	c.do("POST", rulesOf(unknown), obj{"driveExpression": "x"}).want(404, backup.PolicyNotFound)
	c.do("POST", rulesOf(unknown), obj{}).want(404, backup.PolicyNotFound)
	c.do("POST", rulesOf("x"), obj{}).want(400, backup.InvalidPolicyID)

	// Each address of a rule tells what is wrong with it in the same way.
	for _, r := range [][2]string{{"GET", ""}, {"PATCH", ""}, {"DELETE", ""}, {"POST", "/run"}, {"POST", "/deleteAndUnprotect"}} {
		var body any
		if r[0] == "PATCH" {
			body = obj{"driveExpression": "x"}
		}
		c.do(r[0], rulesOf(policy)+"/x"+r[1], body).want(400, backup.InvalidInclusionRuleID)
		c.do(r[0], rulesOf("x")+"/"+id+r[1], body).want(400, backup.InvalidPolicyID)
		c.do(r[0], rulesOf(policy)+"/"+unknown+r[1], body).want(404, backup.ProtectionRuleNotFound)
		c.do(r[0], rulesOf(other)+"/"+id+r[1], body).want(404, backup.ProtectionRuleNotFound)
		c.do(r[0], rulesOf(unknown)+"/"+id+r[1], body).want(404, backup.PolicyNotFound)
		foreign := w.app(fabrikam)
		foreign.do(r[0], at+r[1], body).want(404, backup.PolicyNotFound)
	}
	w.app(fabrikam).do("GET", "/"+ruleSet+"/"+id, nil).want(404, backup.ProtectionRuleNotFound)
	c.do("GET", "/"+ruleSet+"/x", nil).want(400, backup.InvalidInclusionRuleID)
	c.do("GET", rulesOf(unknown), nil).want(404, backup.PolicyNotFound)
	c.do("PATCH", at, obj{"expression": "x"}).want(400, backup.InvalidRequest)
	for _, m := range []string{"POST", "PATCH", "DELETE"} {
		c.do(m, "/"+ruleSet+"/"+id, obj{}).want(405, backup.NotAllowed)
	}
	c.do("POST", "/"+ruleSet, obj{}).want(405, backup.NotAllowed)

	all := c.do("GET", rulesOf(policy)+"?$count=true&$top=1", nil).want(200)
	if len(all.list("value")) != 1 || all.get("value.0.id") != id || all.get("@odata/count") == 0.0 {
		t.Errorf("list = %s", all.text)
	}
	next := c.do("GET", all.json["@odata.nextLink"].(string), nil).want(200)
	if !strings.HasSuffix(second, next.str("value.0.id")) || next.json["@odata.nextLink"] != nil {
		t.Errorf("the next page = %s", next.text)
	}
	for path, want := range map[string]string{rulesOf(policy): "2", rulesOf(other): "0", "/" + ruleSet: "2"} {
		if got := c.do("GET", path+"/$count", nil).want(200); got.text != want {
			t.Errorf("%s/$count = %s, want %s", path, got.text, want)
		}
	}
	if got := c.do("GET", "/"+ruleSet+"('"+id+"')?$select=status", nil).want(200); got.str("status") != "active" || got.json["driveExpression"] != nil {
		t.Errorf("selected = %s", got.text)
	}
	if got := w.app(fabrikam).do("GET", "/"+ruleSet, nil).want(200); len(got.list("value")) != 0 {
		t.Errorf("another tenant's = %s", got.text)
	}
	w.work()
	if got := c.do("PATCH", at, obj{"driveExpression": expression(research)}, "Prefer", "return=minimal").want(204); got.header.Get("Preference-Applied") != "return=minimal" {
		t.Errorf("minimal: %v", got.header)
	}
	// A policy goes with its rules.
	c.do("DELETE", "/"+policySet+"/"+policy, nil).want(204)
	if got := c.do("GET", "/"+ruleSet+"/$count", nil).want(200); got.text != "0" {
		t.Errorf("%s rules are left", got.text)
	}
	w.work()
}

func TestRulesAreOfTheConfiguration(t *testing.T) {
	w := newWorldOf(t, dbtest.Open(t, database.SQLite), catalog.Config{ServiceStatus: backup.ServiceDisabled})
	c := w.app(contoso)
	policy, rule := backup.NewID[string](), backup.NewID[string]()
	for _, r := range [][2]string{{"POST", ""}, {"PATCH", "/" + rule}, {"DELETE", "/" + rule}, {"POST", "/" + rule + "/run"}, {"POST", "/" + rule + "/deleteAndUnprotect"}} {
		c.do(r[0], rulesOf(policy)+r[1], "{}").want(403, backup.OperationNotAllowed)
	}
	c.do("GET", rulesOf(policy), nil).want(404, backup.PolicyNotFound)
	c.do("GET", "/"+ruleSet, nil).want(200)
}

func TestRuleMeetsOwnersWhoCannotJoin(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.groups = map[backup.ObjectID][]backup.SubjectID{research: owners(1, 2, 3)}
		c := w.app(contoso)
		policy := c.policy("A")
		c.policy("B", ownerN(2))
		at := c.rule(policy, true, research, nobodies)
		w.work()
		got := c.do("GET", at, nil).want(200)
		details := got.list("error.details")
		if got.str("status") != "completedWithErrors" || got.str("error.code") != "invalidGroupId" || len(details) != 2 ||
			got.str("error.details.1.code") != "ProtectionUnitAlreadyExists" || got.str("error.details.1.target") != ownerN(2) {
			t.Errorf("evaluated = %s", got.text)
		}
		w.wantSources("evaluated", c.sources(policy), held{"1": "dynamicRule", "3": "dynamicRule"})
		c.do("PATCH", at, obj{"driveExpression": expression(research)}).want(200)
		w.work()
		if got := c.do("GET", at, nil).want(200); got.str("error.code") != "ProtectionUnitAlreadyExists" || len(got.list("error.details")) != 1 {
			t.Errorf("evaluated again = %s", got.text)
		}
	})
}

func TestExplain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.groups = map[backup.ObjectID][]backup.SubjectID{research: owners(1, 2, 5), sales: owners(3)}
		if err := w.catalog.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Cursor: "c", Users: []backup.Subject{
			{ID: backup.SubjectID(ownerN(1))}, {ID: backup.SubjectID(ownerN(4))}}}); err != nil {
			t.Fatal(err)
		}
		c := w.app(contoso)
		reader := w.app(contoso, identity.ConfigurationRead)
		policy := c.policy("A", ownerN(2), ownerN(4))
		other := c.policy("B", ownerN(5))
		dynamic, fixed := c.rule(policy, true, research, nobodies), c.rule(policy, false, sales)
		explain := func(owner string) (bool, []string, *response) {
			t.Helper()
			got := reader.do("GET", "/"+drivePolicySet+"('"+policy+"')/holdfast.explain(directoryObjectId='"+strings.ToUpper(owner)+"')", nil).want(200)
			var codes []string
			for _, r := range got.list("reasons") {
				codes = append(codes, r.(obj)["code"].(string))
				if m := r.(obj)["message"].(string); !strings.HasSuffix(m, ".") {
					t.Errorf("message = %q", m)
				}
			}
			return got.get("isIncluded").(bool), codes, got
		}
		want := func(owner string, included bool, codes string) *response {
			t.Helper()
			in, got, r := explain(owner)
			if in != included || strings.Join(got, " ") != codes {
				t.Errorf("owner %s: included %v, %v, want %v, %s: %s", owner[len(owner)-2:], in, got, included, codes, r.text)
			}
			return r
		}
		want(ownerN(1), false, "notInPolicy ruleNotEvaluated ruleNotEvaluated")
		w.work()
		r := want(ownerN(1), true, "heldByRule policyNotInForce groupNotRead ruleMatches ruleDoesNotMatch")
		if !strings.HasSuffix(dynamic, r.str("reasons.0.ruleId")) || r.str("reasons.2.groupId") != nobodies || r.str("reasons.3.groupId") != research ||
			!strings.HasSuffix(fixed, r.str("reasons.4.ruleId")) || r.str("protectionSources") != "dynamicRule" || r.str("policyId") != policy || r.str("directoryObjectId") != ownerN(1) {
			t.Errorf("explained = %s", r.text)
		}
		want(ownerN(2), true, "heldManually heldByRule policyNotInForce groupNotRead ruleMatches ruleDoesNotMatch")
		want(ownerN(3), true, "heldManually policyNotInForce groupNotRead ruleDoesNotMatch ruleMatches")
		r = want(ownerN(5), false, "inAnotherPolicy groupNotRead ruleMatches ruleDoesNotMatch")
		if r.str("reasons.0.policyId") != other {
			t.Errorf("in another policy = %s", r.text)
		}
		want(ownerN(6), false, "notInPolicy groupNotRead ruleDoesNotMatch ruleDoesNotMatch notInDirectory")
		c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: []obj{{"@removed": obj{}, "id": c.unitOf(policy, ownerN(4))}}}).want(200)
		want(ownerN(4), false, "removalRequested groupNotRead ruleDoesNotMatch ruleDoesNotMatch")
		w.work()
		r = want(ownerN(4), false, "notInPolicy takenOut groupNotRead ruleDoesNotMatch ruleDoesNotMatch")
		if !strings.Contains(r.str("reasons.1.message"), " by "+appID) {
			t.Errorf("taken out = %s", r.text)
		}

		at := "/" + drivePolicySet + "/" + policy + "/holdfast.explain"
		reader.do("GET", at+"('"+ownerN(1)+"')", nil).want(200)
		reader.do("GET", at+"(directoryObjectId='x')", nil).want(400, backup.InvalidRequest)
		reader.do("GET", at+"(owner='"+ownerN(1)+"')", nil).want(404, backup.ItemNotFound)
		reader.do("GET", at, nil).want(404, backup.ItemNotFound)
		reader.do("GET", "/"+drivePolicySet+"/"+backup.NewID[string]()+"/holdfast.explain('"+ownerN(1)+"')", nil).want(404, backup.PolicyNotFound)
		w.app(fabrikam).do("GET", at+"('"+ownerN(1)+"')", nil).want(404, backup.PolicyNotFound)
	})
}
