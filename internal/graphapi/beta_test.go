package graphapi

import (
	"testing"

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
