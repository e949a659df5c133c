package graphapi

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
)

// Each operation of which is said that another person may have to approve it waits, where
// that is the rule, and is begun by the approval alone; and each that changes something
// has an answer to whether that may be.
func TestWhatIsToBeApprovedWaits(t *testing.T) {
	for op := range identity.Approvals {
		if _, known := identity.Table[op]; !known {
			t.Errorf("there is no operation %s", op)
		}
	}
	w := sqlite(t)
	asker, boss := w.user(contoso), w.member(ownerN(800), "Boss")
	policy := asker.policy("A", ownerN(1))
	asker.do("POST", "/protectionPolicies/"+policy+"/activate", nil).want(202)
	point := w.work()[0]
	w.rule = backup.ApprovalRule{RestoreInPlace: true, Retention: true}
	ask := map[identity.Operation]func() *response{
		identity.ActivateSession: func() *response {
			s := asker.do("POST", "/oneDriveForBusinessRestoreSessions", obj{"driveRestoreArtifacts": []obj{{"restorePoint": obj{"id": point.ID}, "destinationType": "inPlace"}}}).want(201).str("id")
			return asker.do("POST", "/restoreSessions/"+s+"/activate", nil)
		},
		identity.OffboardUnit: func() *response {
			unit := string(point.Unit)
			asker.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: []obj{{"@removed": obj{"reason": "changed"}, "id": unit}}}).want(200)
			w.work()
			return asker.do("POST", "/protectionUnits/"+unit+"/offboard", nil)
		},
	}
	for op, kind := range identity.Approvals {
		if kind == identity.Alone {
			continue
		}
		if ask[op] == nil {
			t.Errorf("nobody said how %s is asked for", op)
			continue
		}
		got := ask[op]().want(200)
		a, _ := got.json["@holdfast.approval"].(obj)
		if a == nil || a["state"] != "waiting" || a["kind"] != string(kind) || a["objectId"] != got.str("id") {
			t.Errorf("%s: %s", op, got.text)
			continue
		}
		at := "/holdfast.approvals/" + a["id"].(string)
		asker.do("POST", at+"/approve", nil).want(403, backup.AccessDenied)
		if one := boss.do("POST", at+"/approve", obj{"comment": "fine"}).want(200); one.str("state") != "approved" || one.str("comment") != "fine" || one.str("decidedBy.user.id") != ownerN(800) {
			t.Errorf("%s, approved: %s", op, one.text)
		}
		again := asker.do("GET", "/"+map[identity.Operation]string{identity.ActivateSession: sessionSet, identity.OffboardUnit: unitSet}[op]+"/"+got.str("id"), nil, "Prefer", "include-unknown-enum-members").want(200)
		if op == identity.OffboardUnit && again.str("status") != "offboardRequested" || op == identity.ActivateSession && again.json["@holdfast.approval"].(obj)["state"] != "approved" {
			t.Errorf("%s, approved: %s", op, again.text)
		}
	}
	if n := boss.do("GET", "/holdfast.approvals/$count?$filter=state%20eq%20'approved'", nil).want(200).text; n != "2" {
		t.Errorf("%s are approved", n)
	}
}

// Who sees what waits, and who decides it, by their permissions, roles and tenants; what
// the session says; and what the audit log has of it.
func TestApprovals(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		roles := identity.RoleMap{}
		for _, r := range identity.Roles {
			roles[r] = []string{string(r)}
		}
		w := newWorld(t, db, func(cfg *Config) {
			cfg.Verifier = cfg.Verifier.(*identity.Verifier).WithRoles(map[backup.TenantID]identity.TenantRoles{contoso: {All: roles}})
		})
		asker := w.member(userID, "Asker", "administrator")
		asker.do("POST", "/protectionPolicies/"+asker.policy("A", ownerN(1))+"/activate", nil).want(202)
		point := w.work()[0]
		w.rule = backup.ApprovalRule{RestoreInPlace: true, Retention: true, Expires: time.Hour}
		ask := func() (session, at string) {
			t.Helper()
			session = asker.do("POST", "/oneDriveForBusinessRestoreSessions", obj{"driveRestoreArtifacts": []obj{{"restorePoint": obj{"id": point.ID}, "destinationType": "inPlace"}}}).want(201).str("id")
			got := asker.do("POST", "/restoreSessions/"+session+"/activate", nil).want(200)
			if got.str("status") != "activating" {
				t.Errorf("it waits: %s", got.text)
			}
			return session, "/holdfast.approvals/" + got.json["@holdfast.approval"].(obj)["id"].(string)
		}
		session, at := ask()
		for n, r := range identity.Roles {
			c := w.member(ownerN(810+n), string(r), string(r))
			if got := c.do("GET", "/holdfast.approvals?$filter=state%20eq%20'waiting'", nil).want(200); got.str("value.0.what") == "" || got.str("value.0.askedBy.user.email") != "Asker@contoso.com" {
				t.Errorf("%s sees %s", r, got.text)
			}
			c.do("GET", at, nil).want(200)
			if r != identity.Restorer && r != identity.Administrator {
				c.do("POST", at+"/approve", nil).want(403, backup.AuthorizationDenied)
				c.do("POST", at+"/deny", nil).want(403, backup.AuthorizationDenied)
			}
		}
		app := w.app(contoso)
		app.do("GET", at, nil).want(200)
		app.do("POST", at+"/approve", nil).want(403, backup.AuthorizationDenied)
		w.user(fabrikam).do("GET", at, nil).want(404, backup.ItemNotFound)
		w.user(fabrikam).do("POST", at+"/approve", nil).want(404, backup.ItemNotFound)
		restorer := w.member(ownerN(812), "Restorer", "restorer")
		restorer.do("POST", at+"/approve", obj{"comment": strings.Repeat("a", backup.MaxApprovalComment+1)}).want(400, backup.InvalidRequest)
		restorer.do("POST", at+"/approve", obj{"say": "yes"}).want(400)
		restorer.do("POST", "/holdfast.approvals/x/approve", nil).want(400, backup.InvalidRequest)
		restorer.do("POST", at+"/deny", obj{"comment": "not now"}).want(200)
		restorer.do("POST", at+"/deny", nil).want(200)
		restorer.do("POST", at+"/approve", nil).want(409, backup.ApprovalNotWaiting)
		if got := asker.do("GET", "/restoreSessions/"+session, nil, "Prefer", "include-unknown-enum-members").want(200); got.str("status") != "failed" || got.str("error.code") != string(backup.RestoreNotApproved) || !strings.Contains(got.str("error.message"), "not now") {
			t.Errorf("denied: %s", got.text)
		}
		session, at = ask()
		restorer.do("POST", at+"/approve", nil).want(200)
		if got := asker.do("GET", "/oneDriveForBusinessRestoreSessions?$filter=id%20eq%20'"+session+"'", nil).want(200); got.list("value")[0].(obj)["@holdfast.approval"].(obj)["state"] != "approved" {
			t.Errorf("approved: %s", got.text)
		}
		_, at = ask()
		w.wait(time.Hour)
		restorer.do("POST", at+"/approve", nil).want(409, backup.ApprovalNotWaiting)
		if got := restorer.do("GET", at, nil).want(200); got.str("state") != "expired" {
			t.Errorf("past its time: %s", got.text)
		}

		// What has backups be kept for a shorter time is for administrators, who may change
		// the configuration, too.
		unit := string(point.Unit)
		policy := asker.do("GET", "/protectionUnits/"+unit, nil).str("policyId")
		asker.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{unitDelta: []obj{{"@removed": obj{"reason": "changed"}, "id": unit}}}).want(200)
		w.work()
		at = "/holdfast.approvals/" + asker.do("POST", "/protectionUnits/"+unit+"/offboard", nil).want(200).json["@holdfast.approval"].(obj)["id"].(string)
		restorer.do("POST", at+"/approve", nil).want(403, backup.AuthorizationDenied)
		claims := w.claims(contoso)
		claims["scp"], claims["oid"], claims["groups"] = string(identity.RestoreWrite), ownerN(820), []string{"administrator"}
		(&client{w, sign(t, claims)}).do("POST", at+"/approve", nil).want(403, backup.AuthorizationDenied)
		w.member(ownerN(821), "Boss", "administrator").do("POST", at+"/approve", nil).want(200)

		got := map[string]int{}
		for _, v := range asker.do("GET", activityLog+"?$top=500", nil).want(200).list("value") {
			a := v.(obj)
			if op := a["@holdfast.operation"].(string); strings.HasPrefix(op, "App") || op == string(identity.Deny) {
				got[op+" "+a["resultStatus"].(string)]++
				if target := a["@holdfast.target"].(string); a["resultStatus"] == "succeeded" && !strings.Contains(target, "in place") && !strings.Contains(target, "Offboard") {
					t.Errorf("of %s the log says %q", op, target)
				}
			}
		}
		if got["Approve succeeded"] != 2 || got["ApprovalAsked succeeded"] != 4 || got["ApprovalExpired succeeded"] != 1 || got["Deny succeeded"] != 2 || got["Approve failed"] < 8 {
			t.Errorf("log = %v", got)
		}
	})
}
