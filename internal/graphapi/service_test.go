package graphapi

import (
	"fmt"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
)

// as returns a caller that is another application.
func (w *world) as(app string, user bool) *client {
	c := w.claims(contoso)
	c["azp"] = app
	if user {
		c["scp"], c["oid"] = string(identity.ControlWrite)+" "+string(identity.ConfigurationWrite)+" "+string(identity.RestoreWrite), userID
	} else {
		c["idtyp"], c["roles"] = "app", identity.Permissions
	}
	return &client{w, sign(w.t, c)}
}

func TestServiceStatusForbids(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorldOf(t, db, catalog.Config{ServiceStatus: backup.ServiceDisabled})
		c, u := w.app(contoso), w.user(contoso)
		got := c.do("GET", "", nil).want(200)
		if got.str("serviceStatus.status") != "disabled" || got.str("serviceStatus.disableReason") != "userRequested" {
			t.Errorf("at first: %s", got.text)
		}
		// What changes the configuration is forbidden, whatever it is.
		for _, r := range requests() {
			area := r.area()
			got := u.do(r.method, r.url, "{}")
			if forbidden := got.status == 403 && got.code() == backup.OperationNotAllowed; forbidden && area != backup.AreaProtection {
				t.Errorf("%s = %s", got.what, got.text)
			}
		}
		c.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(403, backup.OperationNotAllowed)
		c.do("POST", "/"+driveSessionSet, "{}").want(201)

		for body, code := range map[string]backup.Code{`{}`: backup.InvalidAppOwnerTenantID, `{"appOwnerTenantId":"x"}`: backup.InvalidAppOwnerTenantID,
			`{"appOwnerTenantId":7}`: backup.InvalidAppOwnerTenantID, `{"appOwnerTenantId":null}`: backup.InvalidAppOwnerTenantID, `{"x":1}`: backup.InvalidRequest, ``: backup.InvalidRequest} {
			c.do("POST", "/enable", body).want(400, code)
		}
		for range 2 {
			got = c.do("POST", "/enable", obj{"appOwnerTenantId": string(contoso)}).want(200)
			if got.str("status") != "enabled" || got.str("disableReason") != "none" || got.str("lastModifiedBy.application.id") != appID {
				t.Errorf("enable: %s", got.text)
			}
		}
		if got := w.app(fabrikam).do("GET", "", nil); got.str("serviceStatus.status") != "disabled" {
			t.Errorf("another tenant: %s", got.text)
		}

		// With its controller gone the service is locked, and later so are restores.
		policy := c.policy("A", ownerN(1))
		id := c.do("POST", "/serviceApps", "{}").want(201).str("id")
		u.do("POST", "/serviceApps/"+id+"/activate", obj{"effectiveDateTime": "2020-01-01T00:00:00Z"}).want(202)
		c.do("DELETE", "/serviceApps/"+id, nil).want(204)
		c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{"displayName": "B"}).want(200)
		w.wait(7 * 24 * time.Hour)
		c = w.app(contoso)
		got = c.do("GET", "", nil).want(200)
		if got.str("serviceStatus.status") != "protectionChangeLocked" || got.str("serviceStatus.gracePeriodDateTime") == "" {
			t.Errorf("without its controller: %s", got.text)
		}
		c.do("PATCH", "/"+drivePolicySet+"/"+policy, obj{"displayName": "C"}).want(403, backup.OperationNotAllowed)
		c.do("POST", "/"+driveSessionSet, "{}").want(201)
		w.wait(30 * 24 * time.Hour)
		c = w.app(contoso)
		if got = c.do("GET", "", nil); got.str("serviceStatus.status") != "restoreLocked" {
			t.Errorf("a month later: %s", got.text)
		}
		c.do("POST", "/"+driveSessionSet, "{}").want(403, backup.OperationNotAllowed)
		c.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(403, backup.OperationNotAllowed)
		c.do("GET", "/"+drivePolicySet+"/"+policy, nil).want(200)
		c.do("POST", "/restorePoints/search", obj{"protectionUnitIds": []string{ownerN(1)}, "protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}}).want(200)
		c.do("POST", "/enable", obj{"appOwnerTenantId": string(contoso)}).want(200)
		c.do("POST", "/"+driveSessionSet, "{}").want(201)
	})
}

func TestServiceApps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const second = "2fec8e78-bce4-4aaf-ab1b-5451cc387264"
		a, b := w.as(appID, true), w.as(second, true)
		at := func(days int) obj { return obj{"effectiveDateTime": w.clock().AddDate(0, 0, days)} }
		made := a.do("POST", "/serviceApps", nil).want(201)
		first := made.str("id")
		if made.str("status") != "inactive" || made.str("application.id") != appID || made.str("registrationDateTime") == "" || made.get("effectiveDateTime") != nil ||
			made.header.Get("Content-Location") == "" {
			t.Errorf("registered: %s", made.text)
		}
		if again := w.as(appID, false).do("POST", "/serviceApps", "{}").want(201); again.str("id") != first {
			t.Errorf("registered twice: %s", again.text)
		}
		other := b.do("POST", "/serviceApps", "{}").want(201).str("id")
		if l := a.do("GET", "/serviceApps?$top=1&$count=true", nil).want(200); len(l.list("value")) != 1 || l.json["@odata.count"] != 2.0 || l.json["@odata.nextLink"] == nil {
			t.Errorf("list: %s", l.text)
		}
		do := func(c *client, id, op string, body any, status int, code ...backup.Code) *response {
			t.Helper()
			return c.do("POST", "/serviceApps/"+id+"/"+op, body).want(status, code...)
		}
		for _, body := range []string{`{}`, `{"effectiveDateTime":null}`, `{"effectiveDateTime":"soon"}`, `{"effectiveDateTime":7}`, `{"when":1}`, ``} {
			do(a, first, "activate", body, 400, backup.InvalidRequest)
		}
		w.as(appID, false).do("POST", "/serviceApps/"+first+"/activate", at(8)).want(403, backup.AuthorizationDenied)
		w.as(appID, false).do("POST", "/serviceApps/"+first+"/deactivate", nil).want(403, backup.AuthorizationDenied)
		do(a, ownerN(1), "activate", at(8), 404, backup.ItemNotFound)
		a.do("GET", "/serviceApps/"+ownerN(1), nil).want(404, backup.ItemNotFound)
		a.do("GET", "/serviceApps/x", nil).want(400, backup.InvalidRequest)
		a.do("DELETE", "/serviceApps/"+ownerN(1), nil).want(404, backup.ItemNotFound)

		if got := do(a, first, "activate", at(0), 202); got.str("status") != "active" {
			t.Errorf("the first to be activated: %s", got.text)
		}
		do(a, first, "deactivate", nil, 403, backup.OperationNotAllowed)
		do(b, other, "activate", at(6), 400, backup.InvalidRequest)
		do(b, other, "activate", at(31), 400, backup.InvalidRequest)
		b.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(403, backup.AccessDenied)
		got := do(b, other, "microsoft.graph.activate", at(8), 202)
		if got.str("status") != "pendingActive" || got.str("effectiveDateTime") == "" {
			t.Errorf("activate: %s", got.text)
		}
		status := func() string {
			l := w.as(appID, false).do("GET", "/serviceApps", nil).want(200)
			return fmt.Sprint(l.str("value.0.status"), " ", l.str("value.1.status"))
		}
		if status() != "pendingInactive pendingActive" {
			t.Error(status())
		}
		do(b, other, "activate", at(9), 403, backup.OperationNotAllowed)
		a.do("DELETE", "/serviceApps/"+first, nil).want(403, backup.OperationNotAllowed)
		b.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(403, backup.AccessDenied)
		a.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(201)
		if got := do(b, other, "deactivate", nil, 202); got.str("status") != "inactive" || status() != "active inactive" {
			t.Errorf("deactivate: %s, then %s", got.text, status())
		}
		do(b, other, "activate", at(8), 202)
		w.wait(9 * 24 * time.Hour)
		a, b = w.as(appID, true), w.as(second, true)
		if status() != "inactive active" {
			t.Error(status())
		}
		b.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(201)
		a.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}).want(403, backup.AccessDenied)
		w.app(fabrikam).do("GET", "/serviceApps/"+first, nil).want(404, backup.ItemNotFound)
		if l := a.do("GET", "/serviceApps?$filter=status%20eq%20'active'&$orderby=registrationDateTime%20desc", nil).want(200); len(l.list("value")) != 1 || l.str("value.0.id") != other {
			t.Errorf("$filter: %s", l.text)
		}
		a.do("DELETE", "/serviceApps/"+first, nil).want(204)
		a.do("DELETE", "/serviceApps/"+first, nil).want(404, backup.ItemNotFound)
		if n := a.do("GET", "/serviceApps/$count", nil).want(200).text; n != "1" {
			t.Errorf("$count = %s", n)
		}
	})
}

func TestPowerShellIsRefused(t *testing.T) {
	w := sqlite(t)
	shell, own := w.as("14D82EEC-204b-4c2f-b7e8-296a70dab67e", true), w.as(appID, true)
	id := own.do("POST", "/serviceApps", nil).want(201).str("id")
	for _, r := range [][2]string{{"GET", ""}, {"POST", "/enable"}, {"POST", "/serviceApps"}, {"DELETE", "/serviceApps/" + id}} {
		shell.do(r[0], r[1], nil).want(403, backup.Forbidden)
	}
	shell.do("GET", "/serviceApps", nil).want(200)
}

func TestEmailSetting(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.user(contoso)
		const at = "/emailNotificationsSetting"
		got := u.do("GET", at, nil).want(200)
		if got.get("isEnabled") != false || got.str("additionalEvents") != "none" || got.str("recipients.role") != "none" || got.get("recipients.customRecipients") == nil {
			t.Errorf("at first: %s", got.text)
		}
		w.app(contoso).do("GET", at, nil).want(200)
		w.app(contoso).do("PATCH", at, obj{"isEnabled": true}).want(403, backup.AuthorizationDenied)
		w.user(contoso, identity.ControlRead).do("GET", at, nil).want(403, backup.AuthorizationDenied)
		u.do("GET", at+"?$select=isEnabled", nil).want(400, backup.InvalidRequest)
		for _, body := range []string{`{}`, `{"isEnabled":"yes"}`, `{"isEnabled":null}`, `{"additionalEvents":"all"}`, `{"additionalEvents":""}`, `{"additionalEvents":null}`,
			`{"additionalEvents":"none,restoreAndPolicyUpdates"}`, `{"recipients":null}`, `{"recipients":[]}`, `{"recipients":{}}`, `{"recipients":{"role":"custom"}}`,
			`{"recipients":{"role":"custom","customRecipients":[]}}`, `{"recipients":{"role":"globalAdmins","customRecipients":[{"email":"a@b.c"}]}}`,
			`{"recipients":{"role":"custom","customRecipients":[{"email":"a b"}]}}`, `{"recipients":{"role":"custom","customRecipients":[{"email":"A <a@b.c>"}]}}`,
			`{"recipients":{"role":"custom","customRecipients":[{}]}}`, `{"recipients":{"role":"custom","customRecipients":[null]}}`, `{"recipients":{"role":"custom","customRecipients":["a@b.c"]}}`,
			`{"recipients":{"role":"Custom","customRecipients":[{"email":"a@b.c"}]}}`, `{"recipients":{"role":"none","colour":1}}`, `{"status":"x"}`} {
			u.do("PATCH", at, body).want(400, backup.InvalidRequest)
		}
		got = u.do("PATCH", at, `{"isEnabled":true,"additionalEvents":"restoreAndPolicyUpdates","recipients":{"@odata.type":"microsoft.graph.notificationRecipients","role":"custom, globalAdmins","customRecipients":[{"email":"a@b.c"}]}}`).want(200)
		if got.get("isEnabled") != true || got.str("recipients.role") != "custom,globalAdmins" {
			t.Errorf("set: %s", got.text)
		}
		if got = u.do("PATCH", at, obj{"isEnabled": false}).want(200); got.str("recipients.role") != "custom,globalAdmins" || got.str("additionalEvents") != "restoreAndPolicyUpdates" {
			t.Errorf("what was not named changed: %s", got.text)
		}
		if got = u.do("GET", at, nil).want(200); got.get("isEnabled") != false || got.str("recipients.customRecipients.0.email") != "a@b.c" {
			t.Errorf("then: %s", got.text)
		}
		if got := w.user(fabrikam).do("GET", at, nil); got.str("recipients.role") != "none" {
			t.Errorf("another tenant: %s", got.text)
		}
	})
}
