package graphapi

import (
	"strings"
	"testing"

	"holdfast/internal/backup"
)

func TestPolicyLifeCycle(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.user(contoso)
		made := c.do("POST", "/"+drivePolicySet, obj{"@odata.type": "#microsoft.graph.oneDriveForBusinessProtectionPolicy",
			"displayName": "OneDrive Policy", driveUnitSet: []obj{{"directoryObjectId": ownerN(1)}, {"userId": strings.ToUpper(ownerN(2))}}}).want(201)
		id := made.str("id")
		if made.str("status") != "inactive" || made.get("isEnabled") != false || made.str("createdBy.user.email") != "User1@contoso.com" ||
			made.str("lastModifiedBy.application.displayName") != "Microsoft Enhanced Restore" || made.str("retentionSettings.0.interval") != "R/PT10M" {
			t.Errorf("created %s", made.text)
		}
		base := host + "/v1.0/solutions/backupRestore/"
		if got := made.header.Get("Location"); got != base+drivePolicySet+"/"+id {
			t.Errorf("Location = %s", got)
		}
		if got := made.header.Get("Content-Location"); got != base+policySet+"/"+id {
			t.Errorf("Content-Location = %s", got)
		}

		for _, set := range []string{policySet, drivePolicySet} {
			at := "/" + set + "/" + id
			if got := c.do("GET", at, nil).want(200); got.str("displayName") != "OneDrive Policy" {
				t.Errorf("GET %s = %s", at, got.text)
			}
			if got := c.do("GET", "/"+set, nil).want(200); len(got.list("value")) != 1 {
				t.Errorf("GET %s = %s", set, got.text)
			}
			if got := c.do("GET", "/"+set+"/$count", nil).want(200); got.text != "1" {
				t.Errorf("count = %q", got.text)
			}
		}
		one := "/" + policySet + "('" + id + "')"
		c.do("POST", one+"/deactivate", nil).want(400, backup.InvalidStateForActivation)
		got := c.do("POST", one+"/microsoft.graph.activate", "{}").want(202)
		if got.str("status") != "updating" || got.header.Get("Content-Location") != base+policySet+"('"+id+"')" {
			t.Errorf("activate = %v %s", got.header, got.text)
		}
		again := c.do("POST", one+"/activate", nil).want(400, backup.InvalidStateForActivation)
		if again.str("error.details.0.code") != "PolicyActionNotAllowed" {
			t.Errorf("activate again = %s", again.text)
		}
		c.do("DELETE", one, nil).want(403, backup.PolicyActionNotAllowed)
		w.work()
		if got := c.do("GET", one+"?$select=status,protectionPolicyArtifactCount", nil).want(200); got.str("status") != "active" ||
			got.get("protectionPolicyArtifactCount.completed") != 2.0 || got.get("displayName") != nil || got.str("id") != id {
			t.Errorf("after backup = %s", got.text)
		}
		c.do("POST", one+"/deactivate", nil).want(202)
		w.work()
		c.do("DELETE", one, nil).want(204)
		c.do("DELETE", one, nil).want(404, backup.PolicyNotFound)
		c.do("GET", one, nil).want(404, backup.PolicyNotFound)
		c.do("PATCH", one, obj{"displayName": "gone"}).want(404, backup.PolicyNotFound)
		units := c.do("GET", "/protectionUnits/microsoft.graph.driveProtectionUnit", nil).want(200)
		if len(units.list("value")) != 2 || units.str("value.0.protectionSources") != "none" || units.get("value.0.policyId") != nil ||
			units.str("value.0.status") != "unprotected" || units.str("value.0.offboardRequestedDateTime") != "0001-01-01T00:00:00.0000000Z" {
			t.Errorf("units of the deleted policy = %s", units.text)
		}
	})
}

func TestPatchAnswersEachItemInItsPlace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		id := c.policy("A", ownerN(1), ownerN(2))
		c.policy("B", ownerN(9))
		at := "/" + drivePolicySet + "/" + id
		remove, gone := c.unitOf(id, ownerN(1)), backup.NewID[string]()
		got := c.do("PATCH", at, obj{"displayName": "Renamed", unitDelta: []obj{
			{"directoryObjectId": ownerN(3), "@contentId": "first"},
			{"directoryObjectId": ownerN(9)},
			{"directoryObjectId": ownerN(2)},
			{"@removed": obj{"reason": "changed"}, "id": gone},
			{"@removed": obj{}, "@id": "driveProtectionUnits('" + remove + "')"},
			{"@odata.removed": obj{"reason": "deleted"}, "directoryObjectId": ownerN(2), "@Core.ContentID": "last"},
		}}).want(200)
		item := func(i int) obj { return got.list("driveProtectionUnits@delta")[i].(map[string]any) }
		if len(got.list("driveProtectionUnits@delta")) != 6 || got.str("displayName") != "Renamed" || got.str("id") != id {
			t.Fatalf("PATCH = %s", got.text)
		}
		if u := item(0); u["status"] != "protectRequested" || u["@contentId"] != "first" || u["policyId"] != id || u["directoryObjectId"] != ownerN(3) {
			t.Errorf("added: %v", u)
		}
		exception := func(i int) obj { return item(i)["@Core.DataModificationException"].(map[string]any) }
		if e := exception(1); e["failedOperation"] != "add" || e["responseCode"] != 409.0 || e["info"].(obj)["code"] != "ProtectionUnitAlreadyExists" ||
			item(1)["directoryObjectId"] != ownerN(9) || item(1)["id"] != nil {
			t.Errorf("of another policy: %v", item(1))
		}
		if u := item(2); u["status"] != "protectRequested" || u["directoryObjectId"] != ownerN(2) {
			t.Errorf("there already: %v", u)
		}
		info := exception(3)["info"].(obj)
		if exception(3)["failedOperation"] != "remove" || exception(3)["responseCode"] != 409.0 || info["code"] != "Invalid" || item(3)["id"] != gone ||
			info["details"].([]any)[0].(obj)["code"] != "ProtectionUnitNotFound" || len(item(3)["@contentId"].(string)) != 36 {
			t.Errorf("unknown: %v", item(3))
		}
		if u := item(4); u["status"] != "removeRequested" || u["id"] != remove || u["policyId"] != id || u["@removed"] != nil {
			t.Errorf("removed: %v", u)
		}
		if item(5)["@contentId"] != "last" || exception(5)["info"].(obj)["code"] != "Invalid" || item(5)["directoryObjectId"] != ownerN(2) {
			t.Errorf("removed by owner: %v", item(5))
		}
		w.work()
		// An existing unit that is in no policy is attached by its id.
		back := c.do("PATCH", at, obj{unitDelta: []obj{{"id": remove}, {"id": gone}}}).want(200)
		if u := back.list(unitDelta)[0].(obj); u["id"] != remove || u["status"] != "protectRequested" {
			t.Errorf("attached: %s", back.text)
		}
		if u := back.list(unitDelta)[1].(obj); u["@Core.DataModificationException"].(obj)["failedOperation"] != "add" || u["id"] != gone {
			t.Errorf("attached: %s", back.text)
		}
	})
}

func TestPatchRefusedChangesNothing(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	id := c.policy("A", ownerN(1))
	at := "/" + drivePolicySet + "/" + id
	unit := c.unitOf(id, ownerN(1))
	before := c.do("GET", at, nil).text
	many := []obj{}
	for i := range 51 {
		many = append(many, obj{"directoryObjectId": ownerN(100 + i)})
	}
	for name, row := range map[string]struct {
		body   any
		status int
		code   backup.Code
	}{
		"nothing":             {obj{}, 400, backup.InvalidPatchRequest},
		"only read-only":      {obj{"status": "active"}, 400, backup.InvalidPatchRequest},
		"the whole list":      {obj{driveUnitSet: []obj{}}, 400, backup.InvalidPatchRequest},
		"51 items":            {obj{unitDelta: many}, 413, backup.ProtectionUnitsLimitBreached},
		"twice added":         {obj{unitDelta: []obj{many[0], many[0]}}, 400, backup.DuplicateProtectionUnitInList},
		"twice, other case":   {obj{unitDelta: []obj{many[0], {"directoryObjectId": strings.ToUpper(ownerN(100))}}}, 400, backup.DuplicateProtectionUnitInList},
		"added and removed":   {obj{unitDelta: []obj{{"directoryObjectId": ownerN(1)}, {"@removed": obj{}, "id": unit}}}, 400, backup.DuplicateProtectionUnitInList},
		"twice removed":       {obj{unitDelta: []obj{{"@removed": obj{}, "id": unit}, {"@removed": obj{}, "id": strings.ToUpper(unit)}}}, 400, backup.DuplicateProtectionUnitInList},
		"no GUID":             {obj{unitDelta: []obj{many[0], {"directoryObjectId": "amala@contoso.com"}}}, 400, backup.InvalidProtectionUnitID},
		"no owner":            {obj{unitDelta: []obj{many[0], {}}}, 400, backup.InvalidProtectionUnitID},
		"a removal of a name": {obj{unitDelta: []obj{{"@removed": obj{}, "id": "amala"}}}, 400, backup.InvalidProtectionUnitID},
		"an empty name":       {obj{"displayName": "", unitDelta: many[:1]}, 400, backup.InvalidDisplayName},
		"a null name":         {obj{"displayName": nil, unitDelta: many[:1]}, 400, backup.InvalidDisplayName},
		"a long name":         {obj{"displayName": strings.Repeat("é", 1025), unitDelta: many[:1]}, 400, backup.InvalidDisplayName},
		"an unknown member":   {obj{"displayname": "x"}, 400, backup.InvalidRequest},
		"of an item":          {obj{unitDelta: []obj{{"directoryObjectID": ownerN(1)}}}, 400, backup.InvalidRequest},
		"another's delta":     {obj{"siteProtectionUnits@delta": []obj{}}, 400, backup.InvalidRequest},
		"another type":        {obj{"@odata.type": "#microsoft.graph.sharePointProtectionPolicy", "displayName": "x"}, 400, backup.InvalidRequest},
		"an item's type":      {obj{unitDelta: []obj{{"@odata.type": "#microsoft.graph.siteProtectionUnit", "directoryObjectId": ownerN(3)}}}, 400, backup.InvalidRequest},
		"removed null":        {obj{unitDelta: []obj{{"@removed": nil, "id": unit}}}, 400, backup.InvalidPatchRequest},
		"removed true":        {obj{unitDelta: []obj{{"@removed": true, "id": unit}}}, 400, backup.InvalidPatchRequest},
		"a strange reason":    {obj{unitDelta: []obj{{"@removed": obj{"reason": "bored"}, "id": unit}}}, 400, backup.InvalidPatchRequest},
		"a delta of null":     {obj{unitDelta: nil}, 400, backup.InvalidPatchRequest},
		"a delta of objects":  {obj{unitDelta: obj{}}, 400, backup.InvalidPatchRequest},
		"a delta of strings":  {obj{unitDelta: []string{ownerN(1)}}, 400, backup.InvalidPatchRequest},
		"a number for a name": {obj{"displayName": 7}, 400, backup.InvalidPatchRequest},
		"no body":             {"", 400, backup.InvalidPatchRequest},
		"a list":              {"[]", 400, backup.InvalidPatchRequest},
		"null":                {"null", 400, backup.InvalidPatchRequest},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			c.do("PATCH", at, row.body).want(row.status, row.code)
		})
	}
	w.t = t
	if after := c.do("GET", at, nil).text; after != before {
		t.Errorf("the policy changed from %s to %s", before, after)
	}
	if got := c.do("GET", at+"/"+driveUnitSet, nil); len(got.list("value")) != 1 {
		t.Errorf("the units changed: %s", got.text)
	}
	// What does not exist comes before what is wrong with the change.
	c.do("PATCH", "/"+drivePolicySet+"/"+backup.NewID[string](), obj{unitDelta: many}).want(404, backup.PolicyNotFound)
	// What is allowed.
	c.do("PATCH", at, obj{unitDelta: []obj{}}).want(200)
	c.do("PATCH", at, obj{"displayName": "é"}, "Prefer", "return=minimal").want(204)
	c.do("PATCH", "/"+policySet+"/"+id, obj{"displayName": strings.Repeat("é", 1024)}).want(200)
	c.do("PATCH", at, obj{unitDelta: many[:50]}, "Prefer", "return=minimal").want(200)
}

func TestCreatePolicyIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		c.policy("A", ownerN(1))
		units := func(owners ...string) []obj {
			list := []obj{}
			for _, o := range owners {
				list = append(list, obj{"directoryObjectId": o})
			}
			return list
		}
		many := []string{}
		for i := range 51 {
			many = append(many, ownerN(100+i))
		}
		for name, row := range map[string]struct {
			body   any
			status int
			code   backup.Code
		}{
			"no body":          {"", 400, backup.InvalidCreateRequest},
			"null":             {"null", 400, backup.InvalidCreateRequest},
			"no name":          {obj{}, 400, backup.InvalidDisplayName},
			"an empty name":    {obj{"displayName": ""}, 400, backup.InvalidDisplayName},
			"a long name":      {obj{"displayName": strings.Repeat("x", 1025)}, 400, backup.InvalidDisplayName},
			"a NUL":            {`{"displayName":"a\u0000b"}`, 400, backup.InvalidCreateRequest},
			"a wrong name":     {obj{"displayName": []string{"x"}}, 400, backup.InvalidCreateRequest},
			"units of null":    {obj{"displayName": "x", driveUnitSet: nil}, 400, backup.InvalidCreateRequest},
			"a bad unit":       {obj{"displayName": "x", driveUnitSet: units(ownerN(5), "x")}, 400, backup.InvalidProtectionUnitID},
			"51 units":         {obj{"displayName": "x", driveUnitSet: units(many...)}, 413, backup.ProtectionUnitsLimitBreached},
			"a duplicate":      {obj{"displayName": "x", driveUnitSet: units(ownerN(5), ownerN(5))}, 400, backup.DuplicateProtectionUnitInList},
			"another policy's": {obj{"displayName": "x", driveUnitSet: units(ownerN(5), ownerN(1))}, 409, backup.ProtectionUnitAlreadyExists},
			"a site policy":    {obj{"@odata.type": "microsoft.graph.sharePointProtectionPolicy", "displayName": "x"}, 400, backup.InvalidRequest},
			"a type of number": {obj{"@odata.type": 7, "displayName": "x"}, 400, backup.InvalidRequest},
		} {
			t.Run(name, func(t *testing.T) {
				w.t = t
				c.do("POST", "/"+drivePolicySet, row.body).want(row.status, row.code)
			})
		}
		w.t = t
		if got := c.do("GET", "/"+policySet+"?$count=true", nil).want(200); got.json["@odata.count"] != 1.0 || len(got.list("value")) != 1 {
			t.Errorf("policies = %s", got.text)
		}
		if got := c.do("GET", "/"+driveUnitSet, nil).want(200); len(got.list("value")) != 1 {
			t.Errorf("units = %s", got.text)
		}
		c.do("POST", "/"+policySet, obj{"displayName": "x"}).want(400, backup.InvalidCreateRequest)
		c.do("POST", "/"+policySet, obj{"@odata.type": "#microsoft.graph.oneDriveForBusinessProtectionPolicy", "displayName": "x"}).want(201)
		if got := c.do("POST", "/"+drivePolicySet, obj{"displayName": "y"}, "Prefer", "return=minimal").want(204); got.header.Get("Location") == "" ||
			got.header.Get("Preference-Applied") != "return=minimal" {
			t.Errorf("minimal = %v", got.header)
		}
	})
}

// A policy shows how long its points are kept.
func TestRetentionIsShown(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	id, held, other := c.policy("A"), c.policy("B"), c.policy("C")
	for id, r := range map[string]backup.Retention{id: {Settings: []backup.RetentionSetting{{Interval: "R/P1D", Period: "P7Y"}}}, held: {LegalHold: true}} {
		_, err := w.catalog.ChangeRetention(t.Context(), contoso, backup.PolicyID(id), backup.RetentionDelay, func(to *backup.Retention) { *to = r }, backup.Stamp{At: w.clock()})
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{id: "R/P1D P7Y ", held: "R/PT10M P1000Y ", other: "R/PT10M P2W R/P1W P1Y "} {
		got := ""
		for _, s := range c.do("GET", "/"+policySet+"/"+id, nil).want(200).list("retentionSettings") {
			got += s.(obj)["interval"].(string) + " " + s.(obj)["period"].(string) + " "
		}
		if got != want {
			t.Errorf("retentionSettings = %s, want %s", got, want)
		}
	}
}
