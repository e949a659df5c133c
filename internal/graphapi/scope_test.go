package graphapi

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
)

const (
	deskGroup     = "de500000-0000-4000-8000-000000000001"
	limitedGroup  = "de500000-0000-4000-8000-000000000002"
	financeGroup  = "f1a00000-0000-4000-8000-000000000001"
	administrates = "ad000000-0000-4000-8000-000000000001"
)

// scoped is a world whose restorers of Finance are limited to a scope, which may be
// changed.
func scopedWorld(t testing.TB, db *database.DB, scope *catalog.Scope) *world {
	return newWorld(t, db, func(cfg *Config) {
		cfg.Scope = func(_ backup.TenantID, name string) catalog.Scope {
			if name != "Finance" {
				t.Errorf("asked for the scope %q", name)
			}
			return *scope
		}
	}, func(cfg *Config) {
		// The issuer is that of the world; only the roles are other.
		cfg.Verifier = cfg.Verifier.(*identity.Verifier).WithRoles(map[backup.TenantID]identity.TenantRoles{contoso: {
			All: identity.RoleMap{identity.Administrator: {administrates}},
			Scopes: map[string]identity.RoleMap{"Finance": {
				identity.Restorer: {deskGroup}, identity.Administrator: {limitedGroup},
			}},
		}})
	})
}

// member is a user with all scopes who is in groups.
func (w *world) member(id, name string, groups ...string) *client {
	var scp []string
	for _, p := range identity.Permissions {
		scp = append(scp, string(p))
	}
	c := w.claims(contoso)
	c["scp"], c["oid"], c["name"], c["upn"], c["groups"] = strings.Join(scp, " "), id, name, name+"@contoso.com", groups
	c["wids"] = []string{identity.SharePointBackupAdministrator}
	return &client{w, sign(w.t, c)}
}

// A part is what a tenant has of one policy of each workload: ids by what addresses call
// them.
type part map[string]map[backup.Workload]string

func (p part) put(name string, of backup.Workload, id string) {
	if p[name] == nil {
		p[name] = map[backup.Workload]string{}
	}
	p[name][of] = id
}

// fillPart makes a policy of each workload of one owner, with a point, a session, a
// browse session and all else there is.
func (w *world) fillPart(c *client, n int) part {
	w.t.Helper()
	p := part{}
	for kind, of := range map[backup.Workload]struct{ subject, artifact, list string }{
		backup.OneDrive: {ownerN(n), "driveRestoreArtifacts", "drives"}, backup.SharePoint: {siteID(n), "siteRestoreArtifacts", "siteWebUrls"}, backup.Exchange: {ownerN(n), "mailboxRestoreArtifacts", "mailboxes"},
	} {
		words := wordsOf(kind)
		p.put("subject", kind, of.subject)
		id := c.do("POST", "/"+words.policies.set, obj{"displayName": fmt.Sprint("Policy ", n), words.units.set: []obj{{words.subject: of.subject}}}).want(201).str("id")
		p.put("policy", kind, id)
		at := "/" + words.policies.set + "/" + id
		unit := c.do("GET", at+"/"+words.units.set, nil).want(200).str("value.0.id")
		p.put("unit", kind, unit)
		c.do("POST", "/protectionPolicies/"+id+"/activate", nil).want(202)
		var point backup.Point
		for _, one := range w.work() {
			if string(one.Unit) == unit {
				point = one
			}
		}
		p.put("point", kind, string(point.ID))
		entry := fmt.Sprintf("user%d@contoso.com", n)
		rule := obj{"driveExpression": expression(research)}
		switch kind {
		case backup.SharePoint:
			entry = fmt.Sprintf("https://contoso.sharepoint.com/sites/s%d", n)
			rule = obj{"siteExpression": "((displayName -contains 'Finance') -or (webUrl -contains 'legal'))"}
		case backup.Exchange:
			rule = obj{"mailboxExpression": expression(research)}
		}
		p.put("job", kind, c.do("POST", at+"/"+words.bulkJobs.set, obj{"displayName": "J", of.list: []string{entry}}).want(201).str("id"))
		p.put("rule", kind, c.do("POST", at+"/"+words.rules.set, rule).want(201).str("id"))
		session := c.do("POST", "/"+words.sessions.set, obj{of.artifact: []obj{{"restorePoint": obj{"id": point.ID}, "destinationType": "new"}}}).want(201).str("id")
		p.put("session", kind, session)
		p.put("artifact", kind, c.do("GET", "/"+words.sessions.set+"/"+session+"/"+of.artifact, nil).want(200).str("value.0.id"))
		bulk := c.do("POST", "/"+words.sessions.set, obj{}).want(201).str("id")
		c.do("POST", "/"+words.sessions.set+"/"+bulk+"/"+words.bulkRestore.set, obj{"displayName": "B", of.list: []string{entry}, "destinationType": "new",
			"protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}, "restorePointPreference": "latest", "tags": "none"}).want(201)
		p.put("bulk", kind, bulk)
		if words.searched {
			continue
		}
		body := obj{"restorePointId": point.ID}
		if kind == backup.SharePoint {
			body["siteId"] = of.subject
		}
		p.put("browse", kind, c.do("POST", "/"+words.browses.set, body).want(201).str("id"))
		p.put("item", kind, string(backup.KeyOf(contoso, point.Drive, "f")))
	}
	var log []backup.Activity
	if err := w.catalog.ExportActivities(w.t.Context(), contoso, time.Time{}, func(a backup.Activity) error { log = append(log, a); return nil }); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range log {
		if a.Operation == string(identity.CreateSession) && a.Object == p["session"][backup.OneDrive] {
			p.put("activity", "", string(a.ID))
		}
	}
	return p
}

// askPart has a restore in place of each unit of a part wait for an approval.
func (w *world) askPart(c *client, p part) {
	w.t.Helper()
	w.rule.RestoreInPlace = true
	defer func() { w.rule.RestoreInPlace = false }()
	for kind, point := range p["point"] {
		words := wordsOf(kind)
		s := c.do("POST", "/"+words.sessions.set, obj{words.artifacts.set: []obj{{"restorePoint": obj{"id": point}, "destinationType": "inPlace"}}}).want(201).str("id")
		p.put("approval", kind, c.do("POST", "/restoreSessions/"+s+"/activate", nil).want(200).json["@holdfast.approval"].(obj)["id"].(string))
	}
}

// names says what each part of an address is an id of: by what stands before it and by
// its own name. "" is what is not of anybody.
func partOf(r route, name string) (kind string, known bool) {
	set, _, _ := strings.Cut(r.path, "/")
	if w := r.of; w != nil && name == w.subject {
		return "subject", true
	}
	switch name {
	case "unit", "job", "rule", "artifact", "request", "exclusion":
		return name, true
	case "since":
		return "point", true
	case "policyId":
		return "policy", true
	case "itemKey":
		return "item", true
	case "name", "nextFetchToken", "attachmentId":
		return "", true
	case "id":
	default:
		return "", false
	}
	for _, w := range described {
		switch set {
		case w.policies.set:
			return "policy", true
		case w.units.set:
			return "unit", true
		case w.sessions.set:
			return "session", true
		case w.browses.set:
			return "browse", true
		}
	}
	kind, known = map[string]string{policySet: "policy", unitSet: "unit", sessionSet: "session", browseSet: "browse", pointSet: "point", approvalSet: "approval", serviceAppSet: "", activitySet: "activity"}[set]
	if strings.Contains(r.path, activitySet) {
		return "activity", true
	}
	return kind, known
}

// Each operation of the API, asked for by somebody whose role is limited to Finance:
// what is of Sales is as if it were not there, in lists and by its id, and what is of
// Finance is there. A route whose decision nobody made fails.
func TestEveryOperationWithinAScope(t *testing.T) { dbtest.Each(t, testEveryOperationWithinAScope) }

func testEveryOperationWithinAScope(t *testing.T, db *database.DB) {
	var scope catalog.Scope
	w := scopedWorld(t, db, &scope)
	boss := w.member(userID, "Boss", administrates)
	finance, others := w.fillPart(boss, 1), w.fillPart(boss, 2)
	w.askPart(boss, finance)
	w.askPart(boss, others)
	limited := w.member(ownerN(901), "Limited", limitedGroup)
	for _, id := range finance["policy"] {
		scope.Policies = append(scope.Policies, backup.PolicyID(id))
	}
	nothing := part{}
	var secrets []string // what is of others, by any name
	for kind, ids := range others {
		for of, id := range ids {
			if kind != "item" {
				secrets = append(secrets, id)
			}
			nothing.put(kind, of, backup.NewID[string]())
		}
	}
	for of, id := range others["unit"] {
		nothing.put("subject", of, map[bool]string{true: siteID(77), false: ownerN(77)}[of == backup.SharePoint])
		_ = id
	}
	secrets = append(secrets, ownerN(2), siteN(2))
	url := func(r route, of part, kind backup.Workload) (string, bool) {
		path, complete := r.path, true
		for strings.Contains(path, "{") {
			a, b := strings.Index(path, "{"), strings.Index(path, "}")
			what, known := partOf(r, path[a+1:b])
			if !known {
				t.Errorf("%s %s: nobody said what %s is in this test", r.method, r.path, path[a:b+1])
			}
			ids := of[what]
			id, there := ids[kind]
			if what == "activity" {
				id, there = ids[""]
			}
			if !there {
				complete, id = false, backup.NewID[string]()
			}
			path = path[:a] + id + path[b+1:]
		}
		return (&route{path: path, beta: r.beta}).pattern(), complete
	}
	for _, r := range slices.Concat(routes(described), inBeta(routes(described)), beta(described)) {
		reach := identity.Reaches[r.op]
		kinds := []backup.Workload{backup.OneDrive, backup.SharePoint, backup.Exchange}
		if r.of != nil {
			kinds = []backup.Workload{r.of.kind}
		}
		for _, kind := range kinds {
			theirs, named := url(r, others, kind)
			unknown, _ := url(r, nothing, kind)
			mine, there := url(r, finance, kind)
			var body any
			if r.body != noBody {
				body = "{}"
			}
			got := limited.do(r.method, theirs, body)
			switch {
			case reach == identity.Unlimited:
				got.want(403, backup.AuthorizationDenied)
				continue
			case reach == identity.OfTheTenant:
				if got.status == 403 {
					t.Errorf("%s = %d %s", got.what, got.status, got.text)
				}
				continue
			}
			for _, s := range secrets {
				if shown := strings.ReplaceAll(got.text, theirs, ""); strings.Contains(shown, s) && got.status < 400 {
					t.Errorf("%s tells of %s: %s", got.what, s, got.text)
				}
			}
			if named && strings.Contains(r.path, "{") {
				none := limited.do(r.method, unknown, body)
				if got.status != none.status || got.code() != none.code() || got.str("error.message") != none.str("error.message") {
					t.Errorf("%s = %d %s, and of what there is not %d %s", got.what, got.status, got.text, none.status, none.text)
				}
				if got.status < 400 {
					t.Errorf("%s = %d %s", got.what, got.status, got.text)
				}
			}
			if r.method == "GET" && there && strings.Contains(r.path, "{") && !strings.Contains(r.path, "/{job}") && !r.raw && !strings.Contains(r.path, "browse") && !strings.Contains(r.path, "/granular") && r.op != identity.Browse && r.op != identity.ReadContent {
				if got := limited.do(r.method, mine, body); got.status >= 400 {
					t.Errorf("%s of Finance = %d %s", got.what, got.status, got.text)
				}
			}
		}
	}
	// Nothing was changed for the others by all this.
	for of, id := range others["policy"] {
		boss.do("GET", "/protectionPolicies/"+id, nil).want(200)
		if got := boss.do("GET", "/protectionUnits/"+others["unit"][of], nil).want(200); got.str("policyId") != id {
			t.Errorf("a unit of others: %s", got.text)
		}
		boss.do("GET", "/restoreSessions/"+others["session"][of], nil).want(200)
	}
}

// A help desk that restores Finance and nothing else: lists, searches, sessions and
// batches, by a policy, by a list of owners, and by a group that is known or is not.
func TestHelpDeskOfFinance(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		var scope catalog.Scope
		w := scopedWorld(t, db, &scope)
		boss, desk := w.member(userID, "Boss", administrates), w.member(ownerN(900), "Desk", deskGroup)
		finance, others := w.fillPart(boss, 1), w.fillPart(boss, 2)
		ids := func(c *client, path string) string {
			t.Helper()
			var all []string
			for _, v := range c.do("GET", path, nil).want(200).list("value") {
				all = append(all, v.(obj)["id"].(string))
			}
			slices.Sort(all)
			return strings.Join(all, " ")
		}
		sorted := func(of map[backup.Workload]string, kinds ...backup.Workload) string {
			var all []string
			for k, id := range of {
				if len(kinds) == 0 || slices.Contains(kinds, k) {
					all = append(all, id)
				}
			}
			slices.Sort(all)
			return strings.Join(all, " ")
		}
		if err := w.catalog.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Users: []backup.Subject{
			{ID: backup.SubjectID(ownerN(1)), Address: "one@contoso.com", Mail: "one.mail@contoso.com", DisplayName: "One"},
			{ID: backup.SubjectID(ownerN(2)), Address: "two@contoso.com", DisplayName: "Two"},
			{ID: backup.SubjectID(ownerN(5)), Address: "five@contoso.com", DisplayName: "Five"}}}); err != nil {
			t.Fatal(err)
		}
		group := func(at time.Time, members ...backup.SubjectID) {
			t.Helper()
			if err := w.catalog.NoteGroup(t.Context(), contoso, financeGroup, at, slices.Values(members), func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		people := []backup.Workload{backup.OneDrive, backup.Exchange}
		for _, row := range []struct {
			name  string
			scope catalog.Scope
			kinds []backup.Workload // of which Finance is seen; nil for all
			none  bool
			first func()
		}{
			{name: "policies", scope: catalog.Scope{Policies: []backup.PolicyID{backup.PolicyID(finance["policy"][backup.OneDrive]), backup.PolicyID(finance["policy"][backup.SharePoint]), backup.PolicyID(finance["policy"][backup.Exchange])}}},
			{name: "ids", scope: catalog.Scope{Owners: []string{strings.ToUpper(ownerN(1)), siteID(1)}}},
			{name: "addresses", scope: catalog.Scope{Owners: []string{"ONE.mail@contoso.com", "nobody@contoso.com"}}, kinds: people},
			{name: "a group that nobody has read", scope: catalog.Scope{Groups: []backup.ObjectID{financeGroup}}, none: true},
			{name: "a group", scope: catalog.Scope{Groups: []backup.ObjectID{financeGroup}}, kinds: people, first: func() {
				group(w.clock(), backup.SubjectID(ownerN(2)))
				group(w.clock(), backup.SubjectID(ownerN(1)), backup.SubjectID(ownerN(5))) // 2 has left it
			}},
			{name: "a group that was read too long ago", scope: catalog.Scope{Groups: []backup.ObjectID{financeGroup}}, none: true, first: func() {
				group(w.clock().Add(-catalog.GroupsKnown-time.Hour), backup.SubjectID(ownerN(1)))
			}},
			{name: "nothing", scope: catalog.Scope{}, none: true},
		} {
			if row.first != nil {
				row.first()
			}
			scope = row.scope
			kinds := row.kinds
			if kinds == nil {
				kinds = everyWorkload
			}
			want := func(kind string) string {
				if row.none {
					return ""
				}
				return sorted(finance[kind], kinds...)
			}
			for path, kind := range map[string]string{"/protectionUnits": "unit", "/protectionPolicies": "policy", "/restoreSessions": "session", "/browseSessions": "browse",
				"/protectionUnits?$orderby=displayName%20desc": "unit", "/protectionUnits?$filter=status%20eq%20'protected'": "unit", "/restoreSessions?$filter=status%20eq%20'draft'": "session"} {
				if got := ids(desk, path); got != want(kind) {
					t.Errorf("%s: %s = %s, want %s", row.name, path, got, want(kind))
				}
				count := desk.do("GET", strings.Replace(path, "?$orderby=displayName%20desc", "", 1)+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "filter")]+"$count=true&$top=1", nil).want(200)
				if n := len(strings.Fields(want(kind))); fmt.Sprint(count.json["@odata.count"]) != fmt.Sprint(n) || (count.json["@odata.nextLink"] != nil) != (n > 1) {
					t.Errorf("%s: $count of %s = %s, want %d", row.name, path, count.text, n)
				}
			}
			// A page at a time, each once.
			var paged []string
			for next := "/protectionUnits?$top=1&$orderby=displayName"; next != ""; {
				got := desk.do("GET", next, nil).want(200)
				for _, v := range got.list("value") {
					paged = append(paged, v.(obj)["id"].(string))
				}
				next = got.str("@odata/nextLink")
				if next == "" {
					next, _ = got.json["@odata.nextLink"].(string)
				}
			}
			slices.Sort(paged)
			if got := strings.Join(paged, " "); got != want("unit") {
				t.Errorf("%s: by pages %s, want %s", row.name, got, want("unit"))
			}
			rpo := desk.do("GET", "/holdfast.rpo", nil).want(200)
			if n := len(strings.Fields(want("unit"))); fmt.Sprint(rpo.json["protectedUnitCount"]) != fmt.Sprint(n) || len(rpo.list("worst")) != n {
				t.Errorf("%s: RPO = %s, want %d units", row.name, rpo.text, n)
			}
			coverage := desk.do("GET", "/holdfast.coverage", nil).want(200).text + desk.do("GET", "/holdfast.coverage?$top=100", nil).text
			for _, id := range others["unit"] {
				if strings.Contains(coverage, id) || strings.Contains(coverage, "two@") || strings.Contains(coverage, ownerN(2)) {
					t.Errorf("%s: the report tells of others: %s", row.name, coverage)
				}
			}
		}

		scope = catalog.Scope{Owners: []string{ownerN(1), siteID(1), "five@contoso.com"}}
		// What is in the scope can be restored, found and downloaded; what is not, neither by
		// its id nor in a batch, and nothing can be restored into it.
		artifact := func(of part, more ...any) obj {
			a := obj{"restorePoint": obj{"id": of["point"][backup.OneDrive]}, "destinationType": "new"}
			for i := 0; i < len(more); i += 2 {
				a[more[i].(string)] = more[i+1]
			}
			return obj{"driveRestoreArtifacts": []obj{a}}
		}
		own := desk.do("POST", "/"+driveSessionSet, artifact(finance)).want(201).str("id")
		desk.do("POST", "/"+driveSessionSet, artifact(others)).want(400, backup.InvalidRestorePoint)
		desk.do("POST", "/"+driveSessionSet, artifact(finance, "@holdfast.targetDrive", "five@contoso.com")).want(201)
		for _, place := range []string{"two@contoso.com", ownerN(2), "nobody@contoso.com", "https://contoso.sharepoint.com/sites/x"} {
			desk.do("POST", "/"+driveSessionSet, artifact(finance, "@holdfast.targetDrive", place)).want(403, backup.AccessDenied)
		}
		draft := desk.do("POST", "/"+driveSessionSet, obj{}).want(201).str("id")
		desk.do("GET", "/restoreSessions/"+draft, nil).want(200)
		desk.do("PATCH", "/restoreSessions/"+draft, obj{"driveRestoreArtifacts@delta": artifact(others)["driveRestoreArtifacts"]}).want(400, backup.InvalidRestorePoint)
		w.member(ownerN(902), "Colleague", deskGroup).do("GET", "/restoreSessions/"+draft, nil).want(404, backup.RestoreSessionNotFound)
		// Somebody put another's drive into the session: it is theirs no more.
		boss.do("PATCH", "/restoreSessions/"+own, obj{"driveRestoreArtifacts@delta": artifact(others)["driveRestoreArtifacts"]}).want(200)
		desk.do("POST", "/restoreSessions/"+own+"/activate", nil).want(404, backup.RestoreSessionNotFound)
		found := desk.do("POST", "/restorePoints/search", obj{"protectionUnitIds": []string{finance["unit"][backup.OneDrive], others["unit"][backup.OneDrive]},
			"protectionTimePeriod": obj{"startDateTime": "2020-01-01T00:00:00Z"}, "restorePointPreference": "latest"}).want(200)
		if found.str("searchResults.0.restorePoint.protectionUnit.id") != finance["unit"][backup.OneDrive] || len(found.list("searchResults")) != 1 {
			t.Errorf("a search: %s", found.text)
		}
		if got := desk.do("POST", "/restorePoints/search", mailSearch("(Subject -contains 'Invoice')", others["unit"][backup.Exchange])).want(200); strings.Contains(got.text, "artifactHitCount") {
			t.Errorf("a search of another's mailbox: %s", got.text)
		}
		desk.do("GET", "/protectionUnits/"+finance["unit"][backup.OneDrive]+"/holdfast.find/a", nil).want(200)
		desk.do("GET", "/protectionUnits/"+others["unit"][backup.OneDrive]+"/holdfast.find/a", nil).want(404, backup.ProtectionUnitNotFound)
		for path, code := range map[string]int{finance["point"][backup.Exchange]: 200, others["point"][backup.Exchange]: 404} {
			desk.do("GET", "/restorePoints/"+path+"/holdfast.mail", nil).want(code)
		}
		batch := desk.do("POST", "/v1.0/$batch", obj{"requests": []obj{
			{"id": "1", "method": "GET", "url": "/solutions/backupRestore/protectionUnits/" + finance["unit"][backup.OneDrive]},
			{"id": "2", "method": "GET", "url": "/solutions/backupRestore/protectionUnits/" + others["unit"][backup.OneDrive]},
			{"id": "3", "method": "GET", "url": "/solutions/backupRestore/protectionUnits"}}}).want(200)
		for _, v := range batch.list("responses") {
			one := v.(obj)
			if status := fmt.Sprint(one["status"]); (one["id"] == "2") != (status == "404") {
				t.Errorf("in a batch, %v = %s", one["id"], status)
			}
		}
		if strings.Contains(strings.ReplaceAll(batch.text, "error", ""), `"id":"`+others["unit"][backup.Exchange]) {
			t.Errorf("in a batch: %s", batch.text)
		}
		// Whoever has a role in all of the tenant as well has it there.
		both := w.member(ownerN(903), "Both", deskGroup, administrates)
		if got := ids(both, "/protectionUnits"); len(strings.Fields(got)) != 6 {
			t.Errorf("an administrator who is of the help desk too sees %s", got)
		}
		w.member(ownerN(904), "Nobody").do("GET", "/protectionUnits", nil).want(403, backup.AuthorizationDenied)
	})
}

// Whatever is looked into, looked for, downloaded or restored is in the audit log: who
// did it, whose it was, what, and where to; and whoever reads the log of a scope sees what
// is of the scope alone.
func TestWhoDidWhatToWhom(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		var scope catalog.Scope
		w := scopedWorld(t, db, &scope)
		boss := w.member(userID, "Boss", administrates)
		if err := w.catalog.ApplyDirectory(t.Context(), contoso, catalog.DirectoryChange{Users: []backup.Subject{
			{ID: backup.SubjectID(ownerN(1)), Address: "one@contoso.com"}, {ID: backup.SubjectID(ownerN(2)), Address: "two@contoso.com"}}}); err != nil {
			t.Fatal(err)
		}
		finance, others := w.fillPart(boss, 1), w.fillPart(boss, 2)
		drive, mailbox := finance["unit"][backup.OneDrive], finance["unit"][backup.Exchange]
		browse := finance["browse"][backup.OneDrive]
		point := obj{"id": finance["point"][backup.OneDrive]}
		session := func(artifact obj) string {
			return boss.do("POST", "/"+driveSessionSet, obj{"driveRestoreArtifacts": []obj{artifact}}).want(201).str("id")
		}
		inPlace := session(obj{"restorePoint": point, "destinationType": "inPlace"})
		boss.do("POST", "/restoreSessions/"+inPlace+"/activate", nil).want(200)
		boss.do("POST", "/restoreSessions/"+inPlace+"/holdfast.cancel", nil).want(200)
		session(obj{"restorePoint": point, "destinationType": "new", "@holdfast.targetDrive": "two@contoso.com"})
		boss.do("POST", "/"+driveSessionSet, obj{"granularDriveRestoreArtifacts": []obj{{"browseSessionId": browse, "id": finance["item"][backup.OneDrive]}}}).want(201)
		boss.do("GET", "/protectionUnits/"+drive+"/holdfast.find/secret", nil).want(200)
		boss.do("POST", "/restorePoints/search", mailSearch("(Subject -contains 'Invoice')", mailbox)).want(200)
		boss.do("POST", "/restorePoints/search", mailSearch("(Subject -contains 'Invoice')", others["unit"][backup.Exchange])).want(200)
		boss.raw("/browseSessions/" + browse + "/holdfast.content/" + finance["item"][backup.OneDrive])
		read := boss.do("GET", "/restorePoints/"+finance["point"][backup.Exchange]+"/holdfast.mail", nil).want(200).str("value.0.itemKey")
		read = read[:strings.LastIndexByte(read, ',')+1] + readable()
		boss.do("GET", "/restorePoints/"+finance["point"][backup.Exchange]+"/holdfast.message/"+read, nil).want(200)
		log := boss.do("GET", "/beta/solutions/backupRestore/activityLogs?$top=200", nil).want(200)
		for _, want := range []struct{ operation, unit, target string }{
			{"CreateBrowseSession", drive, "BrowseSessions"}, {"CreateSession", drive, "(in place)"}, {"ActivateSession", drive, inPlace}, {"CancelSession", drive, inPlace},
			{"CreateSession", drive, "(into two@contoso.com) (to a new place)"}, {"CreateSession", drive, "(100% #1.txt) (to a new place)"},
			{"Find", drive, "secret"}, {"SearchPoints", mailbox, "Invoice"}, {"ReadContent", drive, "(100% #1.txt)"}, {"ReadContent", mailbox, "(Inbox/Invoice 5/2026)"},
		} {
			if !slices.ContainsFunc(log.list("value"), func(v any) bool {
				a := v.(obj)
				units, _ := a["@holdfast.units"].([]any)
				target, _ := a["@holdfast.target"].(string)
				return a["@holdfast.operation"] == want.operation && strings.Contains(target, want.target) && a["performedBy"] == "Boss@contoso.com" &&
					len(units) == 1 && units[0].(obj)["protectionUnitId"] == want.unit && units[0].(obj)["subjectId"] == ownerN(1) && units[0].(obj)["address"] == "one@contoso.com"
			}) {
				t.Errorf("the log has no %v: %s", want, log.text)
			}
		}
		scope = catalog.Scope{Owners: []string{ownerN(1)}}
		seen := w.member(ownerN(901), "Limited", limitedGroup).do("GET", "/beta/solutions/backupRestore/activityLogs?$top=200", nil).want(200)
		if n := len(seen.list("value")); n < 9 || strings.Contains(seen.text, others["unit"][backup.OneDrive]) || strings.Contains(seen.text, others["unit"][backup.Exchange]) || strings.Contains(seen.text, others["policy"][backup.OneDrive]) {
			t.Errorf("the log of the scope has %d entries: %s", n, seen.text)
		}
	})
}

// raw asks for a content.
// readable is the end of the key of a message that the shelf holds.
func readable() string {
	key := string(backup.KeyOf(contoso, "x", "item0"))
	return key[strings.LastIndexByte(key, ',')+1:]
}

func (c *client) raw(path string) {
	c.w.t.Helper()
	r := httptest.NewRequest("GET", host+"/v1.0/"+root+path, nil)
	r.Header.Set("Authorization", "Bearer "+c.token)
	rec := httptest.NewRecorder()
	c.w.server.ServeHTTP(rec, r)
	if rec.Code != 200 {
		c.w.t.Fatalf("%s = %d %s", path, rec.Code, rec.Body)
	}
}
