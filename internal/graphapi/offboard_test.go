package graphapi

import (
	"testing"
	"time"

	"holdfast/internal/backup"
)

// A unit's way out: asked for, called off, asked for again, and gone.
func TestOffboarding(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const real = "include-unknown-enum-members"
		app, c := w.app(contoso), w.user(contoso)
		points := w.protected(app, 2, ownerN(1))
		var unit string
		for id := range points {
			unit = string(id)
		}
		at := "/protectionUnits/" + unit
		policy := c.do("GET", at, nil).want(200).str("policyId")
		inPolicy := "/" + drivePolicySet + "/" + policy

		app.do("POST", at+"/offboard", nil).want(403, backup.AuthorizationDenied)
		app.do("POST", at+"/cancelOffboard", nil).want(403, backup.AuthorizationDenied)
		c.do("POST", at+"/offboard", nil).want(403, backup.OperationNotAllowed) // it is in a policy
		c.do("POST", at+"/cancelOffboard", nil).want(403, backup.OperationNotAllowed)
		c.do("POST", "/protectionUnits/x/offboard", nil).want(400, backup.InvalidProtectionUnitID)
		c.do("POST", "/protectionUnits/"+ownerN(9)+"/offboard", nil).want(404, backup.ProtectionUnitNotFound)
		w.user(fabrikam).do("POST", at+"/offboard", nil).want(404, backup.ProtectionUnitNotFound)

		c.do("PATCH", inPolicy, obj{unitDelta: []obj{{"@removed": obj{"reason": "changed"}, "id": unit}}}).want(200)
		c.do("POST", at+"/offboard", nil).want(403, backup.OperationNotAllowed) // still leaving
		w.work()
		got := c.do("POST", at+"/microsoft.graph.offboard", "{}", "Prefer", real).want(200)
		if got.str("status") != "offboardRequested" || got.str("offboardRequestedDateTime") < "2026" || got.get("policyId") != nil {
			t.Errorf("offboard: %s", got.text)
		}
		if got := c.do("POST", at+"/offboard", nil); got.status != 403 || got.code() != backup.OperationNotAllowed {
			t.Errorf("offboard twice: %s", got.text)
		}
		if got := c.do("GET", at, nil).str("status"); got != "unknownFutureValue" {
			t.Errorf("status for old clients = %s", got)
		}
		item := c.do("PATCH", inPolicy, obj{unitDelta: []obj{{"directoryObjectId": ownerN(1)}}}).want(200)
		if item.get(unitDelta+"/0/@Core.DataModificationException/info/code") != "OperationNotAllowed" {
			t.Errorf("an owner on its way out: %s", item.text)
		}

		got = c.do("POST", at+"/cancelOffboard", nil, "Prefer", real).want(200)
		if got.str("status") != "cancelOffboardRequested" {
			t.Errorf("cancelOffboard: %s", got.text)
		}
		c.do("POST", at+"/cancelOffboard", nil).want(403, backup.OperationNotAllowed)
		w.work()
		got = c.do("GET", at, nil)
		if got.str("status") != "unprotected" || got.str("offboardRequestedDateTime") != "0001-01-01T00:00:00.0000000Z" {
			t.Errorf("called off: %s", got.text)
		}

		c.do("POST", at+"/offboard", nil).want(200)
		w.wait(89 * 24 * time.Hour)
		c = w.user(contoso)
		w.work()
		if got := c.do("GET", at, nil, "Prefer", real).str("status"); got != "offboardRequested" {
			t.Errorf("within the grace period: %s", got)
		}
		w.wait(25 * time.Hour)
		c = w.user(contoso)
		w.work()
		if got := c.do("GET", at, nil, "Prefer", real).str("status"); got != "offboarded" {
			t.Errorf("after the grace period: %s", got)
		}
		c.do("POST", at+"/cancelOffboard", nil).want(403, backup.OperationNotAllowed)
		for _, p := range points[backup.UnitID(unit)] {
			c.do("GET", "/restorePoints/"+string(p.ID), nil).want(404, backup.ItemNotFound)
		}
		if again := c.do("PATCH", inPolicy, obj{unitDelta: []obj{{"directoryObjectId": ownerN(1)}}}).want(200); again.get(unitDelta+".0.id") == unit {
			t.Errorf("the offboarded unit came back: %s", again.text)
		}
		w.wait(31 * 24 * time.Hour)
		c = w.user(contoso)
		w.work()
		c.do("GET", at, nil).want(404, backup.ProtectionUnitNotFound)
	})
}
