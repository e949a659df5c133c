package graphapi

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// protected makes an active policy whose units have n points each, and returns
// the points by unit, oldest first.
func (w *world) protected(c *client, n int, owners ...string) map[backup.UnitID][]backup.Point {
	w.t.Helper()
	id := c.policy("P", owners...)
	c.do("POST", "/"+policySet+"/"+id+"/activate", nil).want(202)
	points := map[backup.UnitID][]backup.Point{}
	for range n {
		for _, p := range w.work() {
			points[p.Unit] = append(points[p.Unit], p)
		}
		w.wait(10 * time.Minute)
	}
	return points
}

func TestPointsAreListedAndSearched(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		all := w.protected(c, 7, ownerN(1), ownerN(2))
		if len(all) != 2 {
			t.Fatalf("%d units have points", len(all))
		}
		var unit backup.UnitID
		var other []backup.Point
		for u := range all {
			if unit == "" {
				unit = u
			} else {
				other = all[u]
			}
		}
		points := all[unit]
		list := func(filter, more string) *response {
			t.Helper()
			return c.do("GET", "/restorePoints?$expand="+url.QueryEscape("protectionUnit($filter=id eq '"+string(unit)+"')")+
				"&%24filter="+url.QueryEscape(filter)+more, nil)
		}
		ids := func(r *response) string {
			var s []string
			for _, v := range r.want(200).list("value") {
				for i, p := range points {
					if string(p.ID) == v.(obj)["id"] {
						s = append(s, string(rune('0'+i)))
					}
				}
			}
			return strings.Join(s, "")
		}
		at := func(i int) string { return points[i].At.Format(time.RFC3339Nano) }
		first := list("protectionDateTime lt 2030-01-01T00:00:00Z", "")
		if got := ids(first); got != "65432" {
			t.Errorf("the newest = %s", got)
		}
		if first.str("value.0.protectionUnit.id") != string(unit) || first.str("value.0.protectionUnit.directoryObjectId") == "" || first.str("value.0.tags") == "" {
			t.Errorf("a point = %s", first.text)
		}
		next := c.do("GET", first.json["@odata.nextLink"].(string), nil)
		if got := ids(next); got != "10" || next.json["@odata.nextLink"] != nil {
			t.Errorf("the next page = %s", got)
		}
		for _, row := range [][3]string{
			{"protectionDateTime le " + at(2), "", "210"},
			{"protectionDateTime lt " + at(2), "", "10"},
			{"protectionDateTime gt " + at(2) + " and protectionDateTime le " + at(4), "", "43"},
			{"protectionDateTime ge " + at(5), "&$orderby=protectionDateTime", "56"},
			{"protectionDateTime eq " + at(3), "", "3"},
			{"protectionDateTime lt 2030-01-01T00:00:00Z", "&$orderby=protectionDateTime asc&$top=2", "01"},
			{"protectionDateTime lt 2030-01-01T00:00:00Z", "&$top=9", "65432"},
			{"protectionDateTime lt 0001-01-01T00:00:00Z", "", ""},
			{"PROTECTIONDATETIME gt 2026-11-21T13:00:00+01:00", "&$orderby=protectionDateTime desc&$top=1", "6"},
		} {
			if got := ids(list(row[0], strings.ReplaceAll(row[1], " ", "%20"))); got != row[2] {
				t.Errorf("%s%s = %s, want %s", row[0], row[1], got, row[2])
			}
		}
		if got := c.do("GET", "/restorePoints/$count?$expand="+url.QueryEscape("protectionUnit($filter=id eq '"+string(unit)+"')")+
			"&$filter="+url.QueryEscape("protectionDateTime lt 2030-01-01T00:00:00Z"), nil).want(200); got.text != "7" {
			t.Errorf("count = %s", got.text)
		}
		c.do("GET", "/restorePoints/$count", nil).want(400, backup.InvalidSearchRequest)
		w2 := w.app(fabrikam)
		foreign := "/restorePoints?$filter=protectionDateTime%20lt%202030-01-01T00:00:00Z&$expand=protectionUnit($filter=id%20eq%20'" + string(unit) + "')"
		if got := w2.do("GET", foreign, nil).want(200); len(got.list("value")) != 0 {
			t.Errorf("another tenant sees %s", got.text)
		}
		for _, q := range []string{"", "?$filter=protectionDateTime%20lt%202030-01-01T00:00:00Z", "?$expand=protectionUnit($filter=id%20eq%20'" + string(unit) + "')",
			"?$expand=protectionUnit&$filter=protectionDateTime%20lt%202030-01-01T00:00:00Z"} {
			c.do("GET", "/restorePoints"+q, nil).want(400, backup.InvalidSearchRequest)
		}
		for _, f := range []string{"protectionDateTime lt '2030-01-01T00:00:00Z'", "protectionDateTime ne 2030-01-01T00:00:00Z", "id eq 'x'", "protectionDateTime lt now",
			"protectionDateTime lt 2030-01-01T00-00-00Z", "not protectionDateTime lt 2030-01-01T00:00:00Z", "protectionDateTime lt 2030-01-01T00:00:00Z or id eq 'x'"} {
			list(f, "").want(400, backup.InvalidSearchRequest)
		}
		c.do("GET", strings.Replace(foreign, string(unit), "x", 1), nil).want(400, backup.InvalidProtectionUnitID)
		list(strings.Repeat("x", 2049), "").want(400, backup.FilterLengthExceeded)
		list("protectionDateTime lt 2030-01-01T00:00:00Z", "&$skip=1").want(400, backup.InvalidRequest)
		list("protectionDateTime lt 2030-01-01T00:00:00Z", "&$orderby=id").want(400, backup.InvalidSearchRequest)

		one := "/restorePoints/" + string(points[0].ID)
		if got := c.do("GET", one, nil).want(200); got.get("protectionUnit") != nil || got.str("id") != string(points[0].ID) {
			t.Errorf("a point = %s", got.text)
		}
		if got := c.do("GET", one+"?$expand=protectionUnit&$select=id,protectionUnit", nil).want(200); got.str("protectionUnit.id") != string(unit) || got.get("tags") != nil {
			t.Errorf("a point, expanded = %s", got.text)
		}
		c.do("GET", one+"?$expand=drive", nil).want(400, backup.InvalidRequest)
		if got := c.do("GET", one+"/protectionUnit", nil).want(200); got.str("id") != string(unit) {
			t.Errorf("its unit = %s", got.text)
		}
		w2.do("GET", one, nil).want(404, backup.ItemNotFound)
		c.do("GET", "/restorePoints/nonsense", nil).want(404, backup.ItemNotFound)
		c.do("DELETE", one, nil).want(405, backup.NotAllowed)

		// Search.
		nobody := backup.NewID[string]()
		period := obj{"startDateTime": at(1), "endDateTime": at(5)}
		got := c.do("POST", "/restorePoints/search", obj{"protectionUnitIds": []string{nobody, string(other[0].Unit), strings.ToUpper(string(unit))}, "protectionTimePeriod": period}).want(200)
		if len(got.list("searchResults")) != 2 || got.str("searchResults.0.restorePoint.protectionUnit.id") != string(other[0].Unit) ||
			got.str("searchResults.1.restorePoint.id") != string(points[5].ID) || got.str("noResultProtectionUnitIds.0") != nobody || got.str("searchResponseId") == "" {
			t.Errorf("search = %s", got.text)
		}
		got = c.do("POST", "/restorePoints/microsoft.graph.search", obj{"protectionUnitIds": []string{string(unit)}, "protectionTimePeriod": obj{"startDateTime": at(1)}, "restorePointPreference": "Oldest", "artifactQuery": nil}).want(200)
		if got.str("searchResults.0.restorePoint.id") != string(points[1].ID) || got.json["noResultProtectionUnitIds"] != nil {
			t.Errorf("the oldest = %s", got.text)
		}
		many := make([]string, 21)
		for i := range many {
			many[i] = backup.NewID[string]()
		}
		for name, row := range map[string]struct {
			body any
			code backup.Code
		}{
			"no units":       {obj{"protectionTimePeriod": period}, backup.InvalidSearchRequest},
			"empty units":    {obj{"protectionUnitIds": []string{}, "protectionTimePeriod": period}, backup.InvalidSearchRequest},
			"21 units":       {obj{"protectionUnitIds": many, "protectionTimePeriod": period}, backup.InvalidSearchRequest},
			"no period":      {obj{"protectionUnitIds": many[:1]}, backup.InvalidSearchRequest},
			"empty period":   {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": obj{}}, backup.InvalidSearchRequest},
			"backwards":      {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": obj{"startDateTime": at(3), "endDateTime": at(2)}}, backup.InvalidSearchRequest},
			"a bad time":     {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": obj{"startDateTime": "2015-06-19T12-01-03.45Z"}}, backup.InvalidSearchRequest},
			"a bad choice":   {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": period, "restorePointPreference": "unknownFutureValue"}, backup.InvalidSearchRequest},
			"a bad tag":      {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": period, "tags": "slow"}, backup.InvalidSearchRequest},
			"a query":        {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": period, "artifactQuery": obj{}}, backup.InvalidSearchRequest},
			"a bad id":       {obj{"protectionUnitIds": []string{"x"}, "protectionTimePeriod": period}, backup.InvalidProtectionUnitID},
			"a strange name": {obj{"protectionUnitIds": many[:1], "protectionTimePeriod": period, "limit": 3}, backup.InvalidRequest},
		} {
			if got := c.do("POST", "/restorePoints/search", row.body); got.status != 400 || got.code() != row.code {
				t.Errorf("%s: %d %s", name, got.status, got.text)
			}
		}
	})
}

func TestSearchIsCapped(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	var owners, ids []string
	for i := range 7 {
		owners = append(owners, ownerN(i))
	}
	for u := range w.protected(c, 1, owners...) {
		ids = append(ids, string(u))
	}
	got := c.do("POST", "/restorePoints/search", obj{"protectionUnitIds": ids, "protectionTimePeriod": obj{"endDateTime": "2030-01-01T00:00:00Z"}}).want(200)
	if len(got.list("searchResults")) != 5 || got.json["noResultProtectionUnitIds"] != nil {
		t.Errorf("search = %s", got.text)
	}
}

func TestSessionStory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		var points []backup.Point
		for _, p := range w.protected(c, 2, ownerN(1), ownerN(2), ownerN(3)) {
			points = append(points, p[1])
		}
		point := func(i int, destination string) obj {
			return obj{"restorePoint": obj{"id": points[i].ID}, "destinationType": destination}
		}
		made := c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{point(0, "inPlace")}}).want(201)
		id := made.str("id")
		if made.str("status") != "draft" || made.str("restoreJobType") != "standard" || made.get("restoreSessionArtifactCount.total") != 1.0 || made.get(artifactSet) != nil {
			t.Errorf("created = %s", made.text)
		}
		at := "/" + driveSessionSet + "/" + id
		artifacts := c.do("GET", at+"/"+artifactSet+"?$expand=restorePoint", nil).want(200)
		if artifacts.str("value.0.restorePoint.id") != string(points[0].ID) || artifacts.str("value.0.status") != "added" || artifacts.str("value.0.destinationType") != "inPlace" {
			t.Errorf("artifacts = %s", artifacts.text)
		}
		first := artifacts.str("value.0.id")
		gone := backup.NewID[string]()
		patched := c.do("PATCH", at, obj{artifactDelta: []obj{
			{"restorePoint": obj{"@odata.id": host + "/v1.0/solutions/backupRestore/restorePoints('" + string(points[1].ID) + "')"}, "destinationType": "INPLACE", "@contentId": "a"},
			{"@removed": obj{"reason": "changed"}, "id": gone},
			{"restorePoint@odata.bind": "restorePoints/" + string(points[2].ID), "destinationType": "inPlace"},
			{"@removed": obj{"reason": "changed"}, "id": first},
		}}).want(200)
		items := patched.list(artifactDelta)
		if len(items) != 4 || patched.json["id"] != id {
			t.Fatalf("patched = %s", patched.text)
		}
		if a := items[0].(obj); a["status"] != "added" || a["@contentId"] != "a" || a["createdDateTime"] == nil || a["restorePoint"].(obj)["id"] != string(points[1].ID) {
			t.Errorf("added = %v", a)
		}
		if a := items[1].(obj); a["id"] != gone || a["@Core.DataModificationException"].(obj)["info"].(obj)["code"] != "Invalid" {
			t.Errorf("failed = %v", a)
		}
		if a := items[3].(obj); a["id"] != first || a["@removed"].(obj)["reason"] != "changed" {
			t.Errorf("removed = %v", a)
		}
		c.do("GET", at+"/"+artifactSet+"/"+first, nil).want(404)
		second := items[0].(obj)["id"].(string)
		if got := c.do("GET", at+"/"+artifactSet+"/"+second+"/restorePoint", nil).want(200); got.str("id") != string(points[1].ID) {
			t.Errorf("its point = %s", got.text)
		}
		if got := c.do("GET", at+"/"+artifactSet+"/$count", nil).want(200); got.text != "2" {
			t.Errorf("count = %s", got.text)
		}
		again := c.do("PATCH", at, obj{artifactDelta: []obj{point(1, "inPlace")}}).want(200)
		if e, _ := again.list(artifactDelta)[0].(obj)["@Core.DataModificationException"].(obj); e == nil || e["failedOperation"] != "add" || e["info"].(obj)["code"] != "DuplicateArtifactRestoreRequest" {
			t.Errorf("once more = %s", again.text)
		}
		c.do("PATCH", at, obj{artifactDelta: []obj{point(0, "new")}}).want(400, backup.DifferentRestoreDestination)

		got := c.do("POST", "/restoreSessions/"+id+"/activate", nil).want(200)
		if got.str("status") != "activating" || got.get("restoreSessionArtifactCount.inProgress") != 2.0 {
			t.Errorf("activated = %s", got.text)
		}
		c.do("POST", at+"/activate", nil).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("PATCH", at, obj{artifactDelta: []obj{point(0, "inPlace")}}).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("PATCH", at, obj{artifactDelta: []obj{point(0, "nowhere")}}).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("DELETE", at, nil).want(403, backup.RestoreSessionActionNotAllowed)
		if got := c.do("POST", at+"/holdfast.pause", nil).want(200); got.json["@holdfast.pausedDateTime"] == nil || got.str("status") != "activating" {
			t.Errorf("paused = %s", got.text)
		}
		c.do("DELETE", at, nil).want(403, backup.RestoreSessionActionNotAllowed)
		if got := c.do("POST", "/restoreSessions('"+id+"')/holdfast.resume", obj{}).want(200); got.json["@holdfast.pausedDateTime"] != nil {
			t.Errorf("resumed = %s", got.text)
		}
		if got := c.do("POST", at+"/holdfast.cancel", nil).want(200); got.json["@holdfast.cancelledDateTime"] == nil || got.str("error.code") != "RestoreCancelled" {
			t.Errorf("cancelled = %s", got.text)
		}
		c.do("POST", at+"/holdfast.pause", nil).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("DELETE", at, nil).want(403, backup.RestoreSessionActionNotAllowed)
		w.app(fabrikam).do("POST", at+"/holdfast.cancel", nil).want(404, backup.RestoreSessionNotFound)
		empty := c.do("POST", "/restoreSessions", obj{"@odata.type": "#microsoft.graph.oneDriveForBusinessRestoreSession"}).want(201).str("id")
		c.do("POST", "/restoreSessions/"+empty+"/activate", nil).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("POST", "/restoreSessions/"+empty+"/holdfast.cancel", nil).want(403, backup.RestoreSessionActionNotAllowed)
		if got := c.do("GET", "/restoreSessions", nil).want(200); len(got.list("value")) != 2 {
			t.Errorf("sessions = %s", got.text)
		}
		c.do("DELETE", "/restoreSessions/"+empty, nil).want(204)
		c.do("GET", "/restoreSessions/"+empty, nil).want(404, backup.RestoreSessionNotFound)

		other := w.app(fabrikam)
		other.do("GET", at, nil).want(404, backup.RestoreSessionNotFound)
		other.do("GET", at+"/"+artifactSet, nil).want(404, backup.RestoreSessionNotFound)
		other.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{point(0, "new")}}).want(400, backup.InvalidRestorePoint)

		many := make([]obj, 51)
		for i := range many {
			many[i] = obj{"restorePoint": obj{"id": backup.NewID[string]()}, "destinationType": "new"}
		}
		for name, row := range map[string]struct {
			body   any
			status int
			code   backup.Code
		}{
			"an empty list":      {obj{artifactSet: []obj{}}, 400, backup.InvalidArtifactRequest},
			"51":                 {obj{artifactSet: many}, 413, backup.RestoreArtifactsLimitBreached},
			"unknown":            {obj{artifactSet: many[:1]}, 400, backup.InvalidRestorePoint},
			"no point":           {obj{artifactSet: []obj{{"destinationType": "new"}}}, 400, backup.InvalidRestorePoint},
			"a bad point":        {obj{artifactSet: []obj{{"restorePoint": obj{"id": "x"}, "destinationType": "new"}}}, 400, backup.InvalidRestorePoint},
			"nowhere":            {obj{artifactSet: []obj{point(0, "nowhere")}}, 400, backup.InvalidPathType},
			"no destination":     {obj{artifactSet: []obj{{"restorePoint": obj{"id": points[0].ID}}}}, 400, backup.InvalidPathType},
			"two destinations":   {obj{artifactSet: []obj{point(0, "new"), point(1, "inPlace")}}, 400, backup.DifferentRestoreDestination},
			"twice":              {obj{artifactSet: []obj{point(0, "new"), point(0, "new")}}, 400, backup.DuplicateArtifactInList},
			"granular":           {obj{granularSet: []obj{{"browseSessionId": "x", "id": "y"}}}, 400, backup.InvalidArtifactRequest},
			"both":               {obj{granularSet: []obj{}, artifactSet: []obj{point(0, "new")}}, 400, backup.InvalidArtifactRequest},
			"null":               {obj{artifactSet: nil}, 400, backup.InvalidRequest},
			"no body":            {"", 400, backup.InvalidRequest},
			"a strange artifact": {obj{artifactSet: []obj{{"point": "x"}}}, 400, backup.InvalidRequest},
		} {
			if got := c.do("POST", "/"+driveSessionSet, row.body); got.status != row.status || got.code() != row.code {
				t.Errorf("POST %s: %d %s", name, got.status, got.text)
			}
		}
		draft := "/" + driveSessionSet + "/" + c.do("POST", "/"+driveSessionSet, "{}").want(201).str("id")
		for name, row := range map[string]struct {
			body any
			code backup.Code
		}{
			"nothing":       {obj{}, backup.InvalidPatchRequest},
			"the list":      {obj{artifactSet: many[:1]}, backup.InvalidPatchRequest},
			"no body":       {"", backup.InvalidPatchRequest},
			"51":            {obj{artifactDelta: many}, backup.RestoreArtifactsLimitBreached},
			"unknown":       {obj{artifactDelta: many[:1]}, backup.InvalidRestorePoint},
			"twice":         {obj{artifactDelta: []obj{many[0], many[0]}}, backup.DuplicateArtifactInList},
			"twice removed": {obj{artifactDelta: []obj{{"@removed": obj{}, "id": gone}, {"@removed": obj{}, "id": gone}}}, backup.DuplicateArtifactInList},
			"a bad removal": {obj{artifactDelta: []obj{{"@removed": obj{}, "id": "x"}}}, backup.InvalidArtifactRequest},
			"granular":      {obj{granularDelta: []obj{{"browseSessionId": "x", "itemKey": "y"}}}, backup.InvalidArtifactRequest},
			"both":          {obj{granularDelta: []obj{}, artifactDelta: []obj{}}, backup.InvalidArtifactRequest},
			"nowhere":       {obj{artifactDelta: []obj{point(0, "")}}, backup.InvalidPathType},
		} {
			if got := c.do("PATCH", draft, row.body); got.status != 400 || got.code() != row.code {
				t.Errorf("PATCH %s: %d %s", name, got.status, got.text)
			}
		}
		c.do("PATCH", "/"+driveSessionSet+"/"+backup.NewID[string](), obj{artifactDelta: many}).want(404, backup.RestoreSessionNotFound)
	})
}

// Every code that an artifact's error may have is shown, and 25 sessions may
// be at work at a time.
func TestArtifactErrorsAndActiveSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		var point backup.Point
		for _, p := range w.protected(c, 1, ownerN(1)) {
			point = p[0]
		}
		codes := []backup.Code{backup.UnknownError, backup.ArtifactNotFound, backup.InvalidRestoreTime, backup.ArtifactCannotBeRestored, backup.DuplicateArtifactRestore}
		var sessions []string
		session := func() string {
			id := c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{{"restorePoint": obj{"id": point.ID}, "destinationType": "inPlace"}}}).want(201).str("id")
			sessions = append(sessions, id)
			return "/restoreSessions/" + id + "/activate"
		}
		for range backup.MaxActiveSessions {
			c.do("POST", session(), nil).want(200)
		}
		one := session()
		if got := c.do("POST", one, nil).want(500, backup.TooManyActiveRestoreSessions); got.header.Get("Retry-After") != "60" {
			t.Errorf("Retry-After = %q", got.header.Get("Retry-After"))
		}
		for i, j := range w.claim(jobs.Restore) {
			err := w.catalog.StartArtifact(t.Context(), j, backup.ArtifactID(j.Key))
			if i > 0 && !errors.Is(err, backup.DuplicateArtifactRestore) || i == 0 && err != nil {
				t.Fatal(err)
			}
			if i == 0 { // it goes on
				continue
			}
			code := codes[i%len(codes)]
			if err := w.catalog.FinishArtifact(t.Context(), j, backup.ArtifactID(j.Key), catalog.Restored{}, &backup.Problem{Code: code, Message: "It failed."}); err != nil {
				t.Fatal(err)
			}
		}
		c.do("POST", one, nil).want(200)
		seen := map[any]bool{}
		for _, id := range sessions {
			got := c.do("GET", "/"+driveSessionSet+"/"+id+"/"+artifactSet, nil).want(200)
			if got.get("value.0.status") == "failed" {
				seen[got.get("value.0.error.code")] = true
			}
		}
		if len(seen) != len(codes) {
			t.Errorf("codes seen: %v", seen)
		}
	})
}

// What came back in part is failed, as Microsoft has it, and says how much it lacks.
func TestSessionsInPart(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	points, _ := w.fast(c, ownerN(1))
	made := c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{{"restorePoint": obj{"id": points[0].ID}, "destinationType": "new"}}}).want(201)
	at := "/" + driveSessionSet + "/" + made.str("id")
	c.do("POST", "/restoreSessions/"+made.str("id")+"/activate", nil).want(200)
	for _, j := range w.claim(jobs.Restore) {
		id := backup.ArtifactID(j.Key)
		err := w.catalog.StartArtifact(t.Context(), j, id)
		if err == nil {
			err = w.catalog.FinishArtifact(t.Context(), j, id, catalog.Restored{}, &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "m", Short: &backup.Shortfall{Failed: 12, Of: 3400}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, a := c.do("GET", at, nil, "Prefer", "include-unknown-enum-members").want(200), c.do("GET", at+"/"+artifactSet, nil).want(200).list("value")[0].(obj)
	for _, of := range []obj{s.json, a} {
		if of["status"] != "failed" || of["@holdfast.failedItemCount"] != 12.0 || of["@holdfast.itemCount"] != 3400.0 || of["@holdfast.inPartCount"] != 1.0 && of["@holdfast.isInPart"] != true {
			t.Errorf("it is %v", of)
		}
	}
}
