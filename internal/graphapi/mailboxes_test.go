package graphapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
)

// mailbox makes a policy in force of mailboxes. It returns the ids of the policy,
// and the points by the ids of the units.
func (w *world) mailbox(c *client, owners ...string) (policy string, points map[string]backup.PointID) {
	w.t.Helper()
	units := []obj{}
	for _, o := range owners {
		units = append(units, obj{"directoryObjectId": o})
	}
	policy = c.do("POST", "/exchangeProtectionPolicies", obj{"displayName": "Mail", "mailboxProtectionUnits": units}).want(201).str("id")
	c.do("POST", "/protectionPolicies/"+policy+"/activate", nil).want(202)
	points = map[string]backup.PointID{}
	for _, p := range w.work() {
		points[string(p.Unit)] = p.ID
	}
	return policy, points
}

// mailSearch is the body of a search of units.
func mailSearch(expression string, units ...string) obj {
	return obj{"protectionUnitIds": units, "protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"},
		"artifactQuery": obj{"artifactType": "message", "queryExpression": expression}}
}

// Mailboxes are protected beside their owners' drives, through sets of their own and
// those of all.
func TestMailboxes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.user(contoso)
		drives := c.policy("Drives", ownerN(1))
		drive := c.unitOf(drives, ownerN(1))
		policy, points := w.mailbox(c, ownerN(1))
		var unit string
		var point backup.PointID
		for unit, point = range points {
		}
		at := "/exchangeProtectionPolicies/" + policy
		for path, want := range map[string]string{
			"/protectionPolicies": drives + " " + policy, "/exchangeProtectionPolicies": policy, "/protectionUnits": drive + " " + unit,
			"/mailboxProtectionUnits": unit, "/protectionUnits/microsoft.graph.mailboxProtectionUnit": unit, at + "/mailboxProtectionUnits": unit,
			"/driveProtectionUnits": drive, "/mailboxInclusionRules": "", "/mailboxProtectionUnitsBulkAdditionJobs": "", "/exchangeRestoreSessions": "",
			"/protectionUnits?$filter=directoryObjectId%20eq%20'" + ownerN(1) + "'": drive + " " + unit,
		} {
			ids := []string{}
			for _, v := range c.do("GET", path, nil).want(200).list("value") {
				ids = append(ids, v.(obj)["id"].(string))
			}
			slices.Sort(ids)
			all := strings.Fields(want)
			slices.Sort(all)
			if !slices.Equal(ids, all) {
				t.Errorf("%s holds %q, want %q", path, ids, all)
			}
		}
		c.do("GET", "/protectionUnits/"+unit+"/graph.mailboxProtectionUnit", nil).want(200)
		c.do("GET", "/protectionUnits/"+unit+"/graph.driveProtectionUnit", nil).want(404, backup.ProtectionUnitNotFound)
		c.do("GET", "/exchangeProtectionPolicies/"+drives, nil).want(404, backup.PolicyNotFound)
		for _, wrong := range []string{"POST /exchangeBrowseSessions", "GET /exchangeBrowseSessions", "GET /browseSessions/graph.exchangeBrowseSession"} {
			method, path, _ := strings.Cut(wrong, " ")
			if got := c.do(method, path, obj{"restorePointId": point}); got.status != 404 && got.status != 400 {
				t.Errorf("%s = %d: mailboxes are not looked into", wrong, got.status)
			}
		}
		c.do("POST", "/oneDriveForBusinessBrowseSessions", obj{"restorePointId": point}).want(400, backup.InvalidRestorePoint)
		c.do("POST", "/oneDriveForBusinessRestoreSessions", obj{artifactSet: []obj{{"restorePoint": obj{"id": point}, "destinationType": "new"}}}).want(400, backup.InvalidRestorePoint)
		c.do("POST", "/"+policySet, obj{"@odata.type": "#microsoft.graph.exchangeProtectionPolicy", "displayName": "x"}).want(201)
		if got := c.do("POST", at+"/mailboxInclusionRules", obj{"mailboxExpression": "(webUrl -contains 'legal')"}).want(400, backup.InvalidRuleExpression); got.str("error.target") != "mailboxExpression" {
			t.Errorf("refused = %s", got.text)
		}
	})
}

// What a search of a mailbox found is restored by the search's id, also what several
// found in one point.
func TestMailIsSearchedAndRestored(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		_, points := w.mailbox(c, ownerN(1), ownerN(2))
		var units []string
		for unit := range points {
			units = append(units, unit)
		}
		one, other := units[0], units[1]
		found := c.do("POST", "/restorePoints/search", mailSearch("(Subject -like 'Invoice*') -and (Sender -like 'amala@contoso.com')", one)).want(200)
		if found.get("searchResults.0.artifactHitCount") != 2.0 || found.str("searchResults.0.restorePoint.id") != string(points[one]) || found.get("noResultProtectionUnitIds") != nil {
			t.Errorf("found %s", found.text)
		}
		lunch := c.do("POST", "/restorePoints/search", mailSearch("MessageKind -eq 'Calendar'", one)).want(200)
		nothing := c.do("POST", "/restorePoints/search", mailSearch("Subject -like 'nobody'", one)).want(200)
		if len(nothing.list("searchResults")) != 0 || nothing.str("noResultProtectionUnitIds.0") != one || nothing.str("searchResponseId") == "" {
			t.Errorf("found %s", nothing.text)
		}
		unknown := backup.NewID[string]()
		if got := c.do("POST", "/restorePoints/search", mailSearch("Subject -like 'x'", unknown)).want(200); got.str("noResultProtectionUnitIds.0") != unknown {
			t.Errorf("found %s", got.text)
		}

		artifact := func(r *response, point backup.PointID, destination string) obj {
			return obj{"restorePoint": obj{"id": point}, "destinationType": destination, "searchResponseId": r.str("searchResponseId")}
		}
		made := c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{artifact(found, points[one], "new")}}, "Prefer", "include-unknown-enum-members").want(201)
		if made.str("restoreJobType") != "granular" || made.get("restoreSessionArtifactCount.total") != 1.0 {
			t.Errorf("made %s", made.text)
		}
		session := "/exchangeRestoreSessions/" + made.str("id")
		delta := func(items ...obj) obj { return obj{"granularMailboxRestoreArtifacts@delta": items} }
		c.do("PATCH", session, delta(artifact(lunch, points[one], "new"))).want(200)
		again := c.do("PATCH", session, delta(artifact(lunch, points[one], "new"))).want(200)
		if !strings.Contains(again.text, string(backup.DuplicateArtifactRestore)) {
			t.Errorf("a search that the session restores = %s", again.text)
		}
		list := c.do("GET", session+"/granularMailboxRestoreArtifacts", nil).want(200)
		if len(list.list("value")) != 2 || list.get("value.0.artifactCount") != 2.0 || list.get("value.1.artifactCount") != 1.0 || list.str("value.0.searchResponseId") != found.str("searchResponseId") {
			t.Errorf("restored are %s", list.text)
		}
		first := list.str("value.0.id")
		c.do("GET", session+"/granularMailboxRestoreArtifacts/"+first, nil).want(200)
		c.do("GET", session+"/granularMailboxRestoreArtifacts/"+first+"/restorePoint", nil).want(200)
		c.do("GET", session+"/mailboxRestoreArtifacts/"+first, nil).want(404)
		if got := c.do("GET", session+"/mailboxRestoreArtifacts", nil).want(200); len(got.list("value")) != 0 {
			t.Errorf("of whole mailboxes it restores %s", got.text)
		}
		if got := c.do("GET", session+"/granularMailboxRestoreArtifacts/$count", nil, "Accept", "text/plain").want(200); got.text != "2" {
			t.Errorf("it restores %s", got.text)
		}

		// What is wrong with a request.
		whole := obj{"restorePoint": obj{"id": points[one]}, "destinationType": "new"}
		post := func(granular ...obj) *response {
			return c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": append([]obj{}, granular...)})
		}
		post(artifact(found, points[one], "new"), artifact(found, points[one], "new")).want(400, backup.DuplicateArtifactInList)
		post(artifact(found, points[one], "new"), artifact(lunch, points[one], "inPlace")).want(400, backup.DifferentRestoreDestination)
		post(artifact(found, points[other], "new")).want(400, backup.InvalidArtifactRequest)
		post(artifact(found, backup.NewID[backup.PointID](), "new")).want(400, backup.InvalidRestorePoint)
		post(whole).want(400, backup.InvalidArtifactRequest)
		post().want(400, backup.InvalidArtifactRequest)
		plain := c.do("POST", "/restorePoints/search", obj{"protectionUnitIds": []string{one}, "protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}}).want(200)
		post(artifact(plain, points[one], "new")).want(400, backup.InvalidArtifactRequest)
		c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{artifact(found, points[one], "new")}, "mailboxRestoreArtifacts": []obj{whole}}).want(400, backup.InvalidArtifactRequest)
		c.do("PATCH", session, obj{"mailboxRestoreArtifacts@delta": []obj{whole}}).want(400, backup.InvalidArtifactRequest)
		if got := c.do("PATCH", session, obj{"granularMailboxRestoreArtifacts": []obj{}}).want(400, backup.InvalidPatchRequest); !strings.Contains(got.text, "@delta") {
			t.Errorf("refused = %s", got.text)
		}

		// A search is its tenant's, and lasts a day.
		stranger := w.app(fabrikam)
		_, theirs := w.mailbox(stranger, ownerN(1))
		for _, p := range theirs {
			stranger.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{artifact(found, p, "new")}}).want(400, backup.InvalidArtifactRequest)
		}
		if got := stranger.do("POST", "/restorePoints/search", mailSearch("Subject -like 'Invoice'", one)).want(200); len(got.list("searchResults")) != 0 {
			t.Errorf("another tenant finds %s", got.text)
		}
		c.do("PATCH", session, delta(obj{"@removed": obj{"reason": "changed"}, "id": first})).want(200)
		if got := c.do("GET", session, nil).want(200); got.get("restoreSessionArtifactCount.total") != 1.0 {
			t.Errorf("the session = %s", got.text)
		}
		activated := c.do("POST", "/restoreSessions/"+made.str("id")+"/activate", nil).want(200)
		if activated.get("restoreSessionArtifactCount.inProgress") != 1.0 {
			t.Errorf("activated = %s", activated.text)
		}
		if got := c.do("GET", session+"/granularMailboxRestoreArtifacts", nil).want(200); got.str("value.0.status") != "scheduled" {
			t.Errorf("restored are %s", got.text)
		}
	})
}

// What no search can mean is refused in words.
func TestSearchesOfMailAreRefused(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	policy, points := w.mailbox(c, ownerN(1), ownerN(2))
	var units []string
	for unit := range points {
		units = append(units, unit)
	}
	drive := c.unitOf(c.policy("Drives", ownerN(1)), ownerN(1))
	for expression, code := range map[string]backup.Code{
		"": backup.InvalidSearchRequest, "Subject": backup.InvalidSearchRequest, "Subject -like 'a' -and Subject -like 'b' -and Subject -like 'c' -and Subject -like 'd'": backup.InvalidSearchRequest,
		"Subject -like '" + strings.Repeat("a", 2048) + "'": backup.FilterLengthExceeded,
	} {
		if got := c.do("POST", "/restorePoints/search", mailSearch(expression, units[0])).want(400, code); got.str("error.target") != "queryExpression" {
			t.Errorf("refused = %s", got.text)
		}
	}
	c.do("POST", "/restorePoints/search", mailSearch("Subject -like 'a'", units...)).want(400, backup.InvalidSearchRequest)
	c.do("POST", "/restorePoints/search", mailSearch("Subject -like 'a'", drive)).want(400, backup.InvalidSearchRequest)
	c.do("POST", "/restorePoints/search", mailSearch("Subject -like 'a'", "x")).want(400, backup.InvalidProtectionUnitID)
	odd := mailSearch("Subject -like 'a'", units[0])
	odd["artifactQuery"].(obj)["artifactType"] = "folder"
	c.do("POST", "/restorePoints/search", odd).want(400, backup.InvalidSearchRequest)

	// The longest expression has an id that is taken.
	long := ""
	for n := range 3 {
		if n > 0 {
			long += " -and "
		}
		long += "Subject -contains '" + strings.Repeat("\u0001<ä\"", 60) + "'"
	}
	found := c.do("POST", "/restorePoints/search", mailSearch(long, units[0])).want(200)
	c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{{"restorePoint": obj{"id": points[units[0]]}, "destinationType": "new", "searchResponseId": found.str("searchResponseId")}}}).want(201)
	w.wait(25 * time.Hour)
	c = w.app(contoso)
	c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{{"restorePoint": obj{"id": points[units[0]]}, "destinationType": "new", "searchResponseId": found.str("searchResponseId")}}}).want(400, backup.InvalidArtifactRequest)

	// A point whose mail was not indexed is said not to be searched.
	w.wait(time.Hour)
	var job *jobs.Job
	for _, j := range w.claim(jobs.Backup) {
		if j.Key == units[0] {
			job = j
		}
	}
	if job == nil {
		t.Fatal("no backup of the mailbox is due")
	}
	_, s, err := w.catalog.UnitForBackup(t.Context(), contoso, backup.UnitID(units[0]))
	if err != nil {
		t.Fatal(err)
	}
	prev := s.Root
	s.Root, s.Tree = "other", "other"
	if _, err := w.catalog.CommitPoint(t.Context(), job, catalog.Commit{Unit: backup.UnitID(units[0]), PrevRoot: prev, State: s,
		Point: backup.Point{At: w.clock(), Tree: s.Tree}, Promise: promise}); err != nil {
		t.Fatal(err)
	}
	if got := c.do("POST", "/restorePoints/search", mailSearch("Subject -like 'Invoice'", units[0])).want(200); !strings.Contains(fmt.Sprint(got.json["@holdfast.note"]), "cannot be searched") || len(got.list("searchResults")) != 1 {
		t.Errorf("found %s, of policy %s", got.text, policy)
	}

	drives := newWorld(t, dbtest.Open(t, database.SQLite), func(c *Config) { c.Workloads = []backup.Workload{backup.OneDrive} })
	if got := drives.app(contoso).do("POST", "/restorePoints/search", mailSearch("Subject -like 'a'", units[0])).want(400, backup.InvalidSearchRequest); !strings.Contains(got.text, "protects none") {
		t.Errorf("refused = %s", got.text)
	}
}

// A mailbox is restored into another's by a member of ours, and only so: in place, of a
// drive, or into nobody it is refused. It takes the role that looking into backups takes.
func TestMailIsRestoredIntoAnotherMailbox(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		_, points := w.mailbox(c, ownerN(1))
		var point backup.PointID
		for _, point = range points {
		}
		make := func(c *client, set, artifacts string, point backup.PointID, to string, target any) *response {
			return c.do("POST", set, obj{artifacts: []obj{{"restorePoint": obj{"id": point}, "destinationType": to, "@holdfast.targetMailbox": target}}})
		}
		const set, artifacts = "/exchangeRestoreSessions", "mailboxRestoreArtifacts"
		for _, target := range []any{"", "bob", "@contoso.com", "bob@contoso.com/messages", "bob@", "a b@contoso.com", "b?@contoso.com", strings.Repeat("x", 320) + "@contoso.com"} {
			if got := make(c, set, artifacts, point, "new", target).want(400, backup.InvalidArtifactRequest); got.str("error.target") != "@holdfast.targetMailbox" {
				t.Errorf("refused = %s", got.text)
			}
		}
		make(c, set, artifacts, point, "new", 7).want(400)
		make(c, set, artifacts, point, "inPlace", ownerN(2)).want(400, backup.InvalidArtifactRequest)
		make(c, "/"+driveSessionSet, artifactSet, point, "new", ownerN(2)).want(400, backup.InvalidArtifactRequest)
		for _, target := range []string{ownerN(2), "Bob@contoso.com"} {
			session := make(c, set, artifacts, point, "new", target).want(201).str("id")
			list := c.do("GET", set+"/"+session+"/"+artifacts, nil).want(200)
			if list.str("value/0/@holdfast.targetMailbox") != target {
				t.Errorf("the artifact is %s", list.text)
			}
		}
	})
}

// A drive is restored beside another or into a site by a member of ours, and only so; the
// audit log has where it went, of refusals too.
func TestADriveIsRestoredIntoAnother(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		points, _ := w.fast(c, ownerN(1))
		create := func(to string, target any) *response {
			return c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{{"restorePoint": obj{"id": points[0].ID}, "destinationType": to, "@holdfast.targetDrive": target}}})
		}
		for _, target := range []any{"", "bob", "http://contoso.sharepoint.com/sites/a", "https://", "https://contoso.sharepoint.com/a?b", "https://u:p@contoso.sharepoint.com", "contoso.sharepoint.com,a,b"} {
			if got := create("new", target).want(400, backup.InvalidArtifactRequest); got.str("error.target") != "@holdfast.targetDrive" {
				t.Errorf("refused = %s", got.text)
			}
		}
		create("inPlace", ownerN(2)).want(400, backup.InvalidArtifactRequest)
		for _, target := range []string{ownerN(2), "Bob@contoso.com", "https://contoso.sharepoint.com/sites/team"} {
			session := create("new", target).want(201).str("id")
			if list := c.do("GET", "/"+driveSessionSet+"/"+session+"/"+artifactSet, nil).want(200); list.str("value/0/@holdfast.targetDrive") != target {
				t.Errorf("the artifact is %s", list.text)
			}
			noted := 0
			err := w.catalog.ExportActivities(t.Context(), contoso, time.Time{}, func(a backup.Activity) error {
				noted += strings.Count(a.Target, "(into "+target+")")
				return nil
			})
			if err != nil || noted == 0 {
				t.Errorf("the audit log has it %d times, %v", noted, err)
			}
		}
	})
}

func TestIntoAnotherMailboxTakesARole(t *testing.T) {
	w := sqlite(t, func(c *Config) { c.BrowseRole = identity.SharePointBackupAdministrator })
	for role, want := range map[string]int{"f28a1f50-f6e7-4571-818b-6a12f2af6b6c": 403, identity.SharePointBackupAdministrator: 400} {
		claims := w.claims(contoso)
		claims["scp"], claims["oid"], claims["wids"] = string(identity.RestoreWrite), userID, []string{role}
		c := &client{w, sign(t, jwt.MapClaims(claims))}
		c.do("POST", "/exchangeRestoreSessions", obj{"mailboxRestoreArtifacts": []obj{{"restorePoint": obj{"id": backup.NewID[string]()},
			"destinationType": "new", "@holdfast.targetMailbox": ownerN(2)}}}).want(want)
	}
}

// Items and folders of a mailbox's point are restored by their keys, by whoever may look
// into backups, and the audit log and the approver are told what they are called.
func TestMailIsPickedAndRestored(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		_, points := w.mailbox(c, ownerN(1), ownerN(2))
		var all []backup.PointID
		for _, id := range points {
			all = append(all, id)
		}
		p, err := w.catalog.Point(t.Context(), contoso, all[0])
		if err != nil {
			t.Fatal(err)
		}
		key := func(id string) string { return string(backup.KeyOf(contoso, p.Drive, backup.ItemID(id))) }
		artifact := func(to string, keys ...string) obj {
			return obj{"restorePoint": obj{"id": p.ID}, "destinationType": to, "@holdfast.itemKeys": append([]string{}, keys...)}
		}
		const set = "granularMailboxRestoreArtifacts"
		post := func(c *client, artifacts ...obj) *response {
			return c.do("POST", "/exchangeRestoreSessions", obj{set: artifacts})
		}
		made := post(c, artifact("new", key("item0"), key("item2"), key("item0"))).want(201)
		session := "/exchangeRestoreSessions/" + made.str("id")
		list := c.do("GET", session+"/"+set, nil).want(200)
		if keys := list.get("value/0/@holdfast.itemKeys"); fmt.Sprint(keys) != fmt.Sprint(slices.Sorted(slices.Values([]string{key("item0"), key("item2")}))) || list.get("value/0/artifactCount") != 2.0 ||
			list.str("value/0/@holdfast.itemNames") != "Inbox/Invoice 5/2026; Inbox/Lunch; Inbox/Invoice 5/2026" || strings.Contains(list.text, "searchResponseId") {
			t.Errorf("restored are %s", list.text)
		}
		delta := func(items ...obj) obj { return obj{set + "@delta": items} }
		if again := c.do("PATCH", session, delta(artifact("new", key("item2"), key("item0")))).want(200); !strings.Contains(again.text, string(backup.DuplicateArtifactRestore)) {
			t.Errorf("what the session restores = %s", again.text)
		}
		folder := c.do("PATCH", session, delta(artifact("new", key("sub")))).want(200)
		if folder.str("granularMailboxRestoreArtifacts@delta/0/@holdfast.itemNames") != "Inbox/Projects/" || strings.Contains(folder.text, "artifactCount") {
			t.Errorf("a folder = %s", folder.text)
		}
		c.do("POST", "/restoreSessions/"+made.str("id")+"/activate", nil).want(200)

		search := artifact("new", key("item0"))
		search["searchResponseId"] = "x"
		other := artifact("new", key("item0"))
		other["restorePoint"] = obj{"id": all[1]}
		gone := artifact("new", key("item0"))
		gone["restorePoint"] = obj{"id": backup.NewID[backup.PointID]()}
		many := make([]string, backup.MaxPickedMail+1)
		for i := range many {
			many[i] = key(fmt.Sprint("item", i))
		}
		library := string(backup.LibraryKey(contoso, p.Drive))
		for name, wrong := range map[string]obj{"none": artifact("new"), "no key": artifact("new", "x"), "unknown": artifact("new", key("item0"), key("none")), "the mailbox": artifact("new", key("root")), "its key": artifact("new", library),
			"a search": search, "of another mailbox": other, "many": artifact("new", many...), "of another tenant": artifact("new", string(backup.KeyOf(fabrikam, p.Drive, "item0")))} {
			if got := post(c, wrong).want(400, backup.InvalidArtifactRequest); got.str("error.target") != "@holdfast.itemKeys" {
				t.Errorf("%s = %s", name, got.text)
			}
		}
		post(c, gone).want(400, backup.InvalidRestorePoint)
		post(c, artifact("new", key("item0")), artifact("new", key("item0"))).want(400, backup.DuplicateArtifactInList)
		stranger := w.app(fabrikam)
		post(stranger, artifact("new", key("item0"))).want(400, backup.InvalidRestorePoint)

		w.rule = backup.ApprovalRule{RestoreInPlace: true}
		asked := post(c, artifact("inPlace", key("item0"), key("sub"))).want(201).str("id")
		if got := c.do("POST", "/restoreSessions/"+asked+"/activate", nil).want(200); got.json["@holdfast.approval"] == nil {
			t.Errorf("in place nobody has to approve it: %s", got.text)
		}
		if got := c.do("GET", "/holdfast.approvals", nil).want(200); !strings.Contains(got.str("value.0.what"), `"Inbox/Invoice 5/2026; Inbox/Projects/" of the mailbox of `) {
			t.Errorf("to be approved is %s", got.text)
		}

		noted := map[string]bool{}
		err = w.catalog.ExportActivities(t.Context(), contoso, time.Time{}, func(a backup.Activity) error {
			if a.Result == backup.ActivitySucceeded && strings.HasSuffix(a.Target, " (to a new place)") {
				noted[a.Target] = len(a.Units) == 1
			}
			return nil
		})
		if err != nil || len(noted) != 2 {
			t.Errorf("the audit log has %v, %v", noted, err)
		}
		for target, ofUnit := range noted {
			if !ofUnit || !strings.Contains(target, "(Inbox/Invoice 5/2026; Inbox/Lunch") && !strings.Contains(target, "(Inbox/Projects/)") {
				t.Errorf("the audit log has %q, of a unit %t", target, ofUnit)
			}
		}
	})
}

func TestPickedMailTakesARole(t *testing.T) {
	w := sqlite(t, func(c *Config) { c.BrowseRole = identity.SharePointBackupAdministrator })
	_, points := w.mailbox(w.app(contoso), ownerN(1))
	for _, id := range points {
		p, err := w.catalog.Point(t.Context(), contoso, id)
		if err != nil {
			t.Fatal(err)
		}
		for role, want := range map[string]int{"f28a1f50-f6e7-4571-818b-6a12f2af6b6c": 403, identity.SharePointBackupAdministrator: 201} {
			claims := w.claims(contoso)
			claims["scp"], claims["oid"], claims["wids"] = string(identity.RestoreWrite), userID, []string{role}
			c := &client{w, sign(t, jwt.MapClaims(claims))}
			c.do("POST", "/exchangeRestoreSessions", obj{"granularMailboxRestoreArtifacts": []obj{{"restorePoint": obj{"id": id}, "destinationType": "new",
				"@holdfast.itemKeys": []string{string(backup.KeyOf(contoso, p.Drive, "item0"))}}}}).want(want)
		}
	}
}
