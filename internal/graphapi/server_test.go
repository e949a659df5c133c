package graphapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

// requests returns a request for each route of the table, well formed and for
// things that do not exist.
func requests() (list []struct {
	route
	url string
}) {
	for _, r := range slices.Concat(routes(described), inBeta(routes(described)), beta(described)) {
		path := r.path
		for strings.Contains(path, "{") {
			a, b := strings.Index(path, "{"), strings.Index(path, "}")
			path = path[:a] + backup.NewID[string]() + path[b+1:]
		}
		list = append(list, struct {
			route
			url string
		}{r, (&route{path: path, beta: r.beta}).pattern()})
	}
	return list
}

func TestEveryRouteAsksWhoItIs(t *testing.T) {
	w := sqlite(t)
	good := w.claims(contoso)
	good["idtyp"], good["roles"] = "app", identity.Permissions
	with := func(change func(jwt.MapClaims)) string {
		c := jwt.MapClaims{}
		for k, v := range good {
			c[k] = v
		}
		change(c)
		return sign(t, c)
	}
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, good).SignedString(jwt.UnsafeAllowNoneSignatureType)
	hs, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, good).SignedString([]byte("secret"))
	now := w.clock()
	tokens := map[string]string{
		"Basic dXNlcjpwYXNz": "", "Bearer": "", "Bearer ": "", "": "",
		"Bearer garbage": "given", "Bearer " + none: "given", "Bearer " + hs: "given",
	}
	for _, change := range []func(jwt.MapClaims){
		func(c jwt.MapClaims) { c["iss"] = "https://evil.example/" + string(contoso) + "/v2.0" },
		func(c jwt.MapClaims) { c["iss"] = w.issuer + "/" + string(fabrikam) + "/v2.0" },
		func(c jwt.MapClaims) { c["aud"] = "https://example.com" },
		func(c jwt.MapClaims) { c["exp"] = now.Add(-time.Minute).Unix() },
		func(c jwt.MapClaims) { c["nbf"] = now.Add(time.Minute).Unix() },
		func(c jwt.MapClaims) { c["tid"], c["iss"] = string(stranger), w.issuer+"/"+string(stranger)+"/v2.0" },
	} {
		tokens["Bearer "+with(change)] = "given"
	}
	for _, r := range requests() {
		for token, given := range tokens {
			got := (&client{w, ""}).do(r.method, r.url, nil, "Authorization", token).want(401, backup.InvalidAuthenticationToken)
			challenge := got.header.Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, `Bearer realm="", authorization_uri="`) || strings.Contains(challenge, "invalid_token") != (given != "") {
				t.Errorf("%s with %.20q: WWW-Authenticate = %s", got.what, token, challenge)
			}
			if token != "" && len(token) > 20 && strings.Contains(got.text, token[10:]) {
				t.Errorf("%s: the answer holds the token", got.what)
			}
		}
	}
}

func TestEveryRouteAsksForItsPermission(t *testing.T) {
	w := sqlite(t)
	apps, users := map[identity.Permission]*client{}, map[identity.Permission]*client{}
	for _, p := range identity.Permissions {
		apps[p], users[p] = w.app(contoso, p), w.user(contoso, p)
	}
	nobody := w.app(contoso, "Directory.Read.All")
	// A user's token with the role of an application in it is still a user's.
	confused := w.claims(contoso)
	confused["scp"], confused["oid"], confused["roles"] = "User.Read", userID, identity.Permissions
	confusedUser := &client{w, sign(t, confused)}
	personal := w.claims(identity.PersonalTenant)
	personal["scp"], personal["oid"] = string(identity.ConfigurationWrite), userID
	personalUser := &client{w, sign(t, personal)}

	for _, r := range requests() {
		if r.access == anyToken { // as holdfast.me of the tenant
			nobody.do(r.method, r.url, nil).want(200)
			personalUser.do(r.method, r.url, nil).want(403, backup.AuthorizationDenied)
			continue
		}
		need := identity.Table[r.op]
		for _, p := range identity.Permissions {
			for kind, row := range map[string]struct {
				c        *client
				suffices []identity.Permission
			}{"app": {apps[p], need.Application}, "user": {users[p], need.Delegated}} {
				got := row.c.do(r.method, r.url, nil)
				allowed := slices.Contains(row.suffices, p)
				if denied := got.status == 403 && got.code() == backup.AuthorizationDenied; denied == allowed || got.status == 401 {
					t.Errorf("%s by %s with %s = %d %s", got.what, kind, p, got.status, got.text)
				}
				if !allowed && strings.Contains(got.text, "BackupRestore-") {
					t.Errorf("%s: the answer names permissions", got.what)
				}
			}
		}
		nobody.do(r.method, r.url, nil).want(403, backup.AuthorizationDenied)
		confusedUser.do(r.method, r.url, nil).want(403, backup.AuthorizationDenied)
		personalUser.do(r.method, r.url, nil).want(403, backup.AuthorizationDenied)
	}
}

func TestForeignIDsAreUnknown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c, foreign := w.app(contoso), w.app(fabrikam)
		id := c.policy("A", ownerN(1))
		unit := c.unitOf(id, ownerN(1))
		at := "/" + drivePolicySet + "/" + id
		job := c.do("POST", at+"/"+bulkJobSet, obj{"drives": []string{"x@contoso.com"}}).want(201).str("id")
		session := c.do("POST", "/"+driveSessionSet, "{}").want(201).str("id")
		before := c.do("GET", at, nil).text
		for _, r := range []struct {
			method, path string
			body         any
			code         backup.Code
		}{
			{"GET", at, nil, backup.PolicyNotFound}, {"PATCH", at, obj{"displayName": "mine"}, backup.PolicyNotFound},
			{"PATCH", at, obj{unitDelta: []obj{{"@removed": obj{}, "id": unit}}}, backup.PolicyNotFound},
			{"DELETE", at, nil, backup.PolicyNotFound}, {"POST", "/protectionPolicies/" + id + "/activate", nil, backup.PolicyNotFound},
			{"GET", at + "/" + driveUnitSet, nil, backup.PolicyNotFound}, {"GET", at + "/" + driveUnitSet + "/$count", nil, backup.PolicyNotFound},
			{"GET", at + "/" + driveUnitSet + "/" + unit, nil, backup.PolicyNotFound},
			{"POST", at + "/" + bulkJobSet, obj{"drives": []string{"x@y.z"}}, backup.PolicyNotFound},
			{"GET", at + "/" + bulkJobSet, nil, backup.PolicyNotFound}, {"GET", at + "/" + bulkJobSet + "/" + job, nil, backup.PolicyNotFound},
			{"GET", "/" + bulkJobSet + "/" + job, nil, backup.ItemNotFound},
			{"GET", "/protectionUnits/" + unit, nil, backup.ProtectionUnitNotFound},
			{"GET", "/restoreSessions/" + session, nil, backup.RestoreSessionNotFound}, {"DELETE", "/restoreSessions/" + session, nil, backup.RestoreSessionNotFound},
			{"POST", "/restoreSessions/" + session + "/activate", nil, backup.RestoreSessionNotFound},
			{"PATCH", "/restoreSessions/" + session, obj{artifactDelta: []obj{}}, backup.RestoreSessionNotFound},
		} {
			theirs := foreign.do(r.method, r.path, r.body).want(404, r.code)
			unknown := backup.NewID[string]()
			other := foreign.do(r.method, strings.NewReplacer(id, unknown, unit, unknown, job, unknown, session, unknown).Replace(r.path), r.body).want(404, r.code)
			if theirs.str("error.message") != other.str("error.message") {
				t.Errorf("%s %s tells a foreign id from an unknown one", r.method, r.path)
			}
		}
		for _, set := range []string{policySet, unitSet, bulkJobSet, sessionSet} {
			if got := foreign.do("GET", "/"+set, nil).want(200); len(got.list("value")) != 0 {
				t.Errorf("%s = %s", set, got.text)
			}
		}
		if after := c.do("GET", at, nil).text; after != before {
			t.Errorf("the policy changed: %s", after)
		}
		// A foreign unit in one's own policy is an unknown one, and one's owner may
		// have the same id.
		own := foreign.policy("F", ownerN(1))
		got := foreign.do("PATCH", "/"+drivePolicySet+"/"+own, obj{unitDelta: []obj{{"@removed": obj{}, "id": unit}, {"id": unit}}})
		for _, item := range got.want(200).list(unitDelta) {
			if e, _ := item.(obj)["@Core.DataModificationException"].(obj); e == nil || e["info"].(obj)["code"] != "Invalid" {
				t.Errorf("a foreign unit in a delta: %v", item)
			}
		}
	})
}

func TestAddressesAndMethods(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	id := c.policy("A", ownerN(1))
	unit := c.unitOf(id, ownerN(1))
	for _, path := range []string{
		"/V1.0/Solutions/BackupRestore/PROTECTIONPOLICIES/" + strings.ToUpper(id),
		"/v1.0/solutions/backupRestore/protectionPolicies('" + id + "')/",
		"/v1.0/solutions/backupRestore/protectionPolicies(%27" + id + "%27)",
		"/protectionPolicies/" + id + "/microsoft.graph.oneDriveForBusinessProtectionPolicy",
		"/oneDriveForBusinessProtectionPolicies/" + id,
		"/protectionUnits/microsoft.graph.driveProtectionUnit", "/protectionUnits/graph.driveProtectionUnit", "/protectionUnits", "/driveProtectionUnits",
		"/protectionUnits/" + unit, "/protectionUnits('" + unit + "')/graph.driveProtectionUnit", "/driveProtectionUnits/" + unit,
		"/oneDriveForBusinessProtectionPolicies/" + id + "/driveProtectionUnits/" + unit, "", "/",
		"/restoreSessions/graph.oneDriveForBusinessRestoreSession", "/protectionPolicies/graph.oneDriveForBusinessProtectionPolicy",
	} {
		c.do("GET", path, nil).want(200)
	}
	for _, path := range []string{"/protectionUnits/$count", "/protectionUnits/graph.driveProtectionUnit/$count", "/driveProtectionUnits/$count",
		"/protectionPolicies/$count", "/restoreSessions/$count", "/oneDriveForBusinessProtectionPolicies/" + id + "/driveProtectionUnits/$count"} {
		got := c.do("GET", path, nil, "Accept", "text/plain").want(200)
		if !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") || len(got.text) != 1 {
			t.Errorf("%s = %s %q", path, got.header.Get("Content-Type"), got.text)
		}
	}
	for _, path := range []string{"/nonsense", "/protectionPolicies/" + id + "/offboard", "/restoreSessions/" + id + "/deactivate", "//protectionPolicies", "/v1.0/x/..",
		"/v1.0/users", "/beta/solutions", "/beta/users", "/protectionUnits/graph.groupProtectionUnit", "/protectionPolicies('')", "/oneDriveForBusinessProtectionPolicies/" + id + "/nonsense"} {
		if !strings.HasPrefix(path, "/v") && strings.HasPrefix(path, "/beta") {
			path = host + path
		}
		// Without a token, too: that there is no route comes first.
		(&client{w, ""}).do("GET", path, nil).want(404, backup.ItemNotFound)
	}
	drives := sqlite(t, func(c *Config) { c.Workloads = nil }) // a server of these alone
	for path, says := range map[string]string{"/protectionUnits/graph.siteProtectionUnit": "address.", "/sharePointProtectionPolicies": "does not name the workload sharePoint.",
		"/SITEPROTECTIONUNITS": "protects no sites", "/exchangeRestoreSessions": "protects no mailboxes", "/nonsense": "address."} {
		if got := (&client{drives, ""}).do("GET", path, nil).want(404, backup.ItemNotFound); !strings.Contains(got.text, says) {
			t.Errorf("%s = %s, want that it says %q", path, got.text, says)
		}
	}
	(&client{w, ""}).do("GET", "/v2.0/solutions/backupRestore", nil).want(400, backup.BadRequest)

	got := (&client{w, ""}).do("PUT", "/protectionPolicies/"+id, "{}").want(405, backup.NotAllowed)
	if got.header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PATCH" {
		t.Errorf("Allow = %s", got.header.Get("Allow"))
	}
	for _, r := range [][2]string{{"PATCH", ""}, {"DELETE", ""}, {"POST", "/protectionUnits"}, {"PATCH", "/driveProtectionUnits/" + unit}, {"GET", "/protectionPolicies/" + id + "/activate"},
		{"POST", "/restorePoints"}, {"POST", "/driveProtectionUnitsBulkAdditionJobs"}, {"TRACE", "/protectionPolicies"}, {"DELETE", "/protectionPolicies"}} {
		c.do(r[0], r[1], nil).want(405, backup.NotAllowed)
	}
	options := (&client{w, ""}).do("OPTIONS", "/protectionPolicies", nil).want(204)
	if options.header.Get("Allow") != "GET, HEAD, OPTIONS, POST" {
		t.Errorf("OPTIONS: Allow = %s", options.header.Get("Allow"))
	}
	head := c.do("HEAD", "/protectionPolicies/"+id, nil).want(200)
	if head.header.Get("Content-Length") == "" || head.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %v", head.header)
	}
	for path, code := range map[string]backup.Code{
		"/protectionPolicies/x": backup.InvalidPolicyID, "/protectionPolicies('a%20b')": backup.InvalidPolicyID, "/protectionUnits/driveProtectionUnit": backup.InvalidProtectionUnitID,
		"/restoreSessions/%00": backup.InvalidRestoreSessionID, "/protectionPolicies/$COUNTS": backup.InvalidPolicyID,
		"/oneDriveForBusinessProtectionPolicies/" + id + "/driveProtectionUnits/x": backup.InvalidProtectionUnitID,
	} {
		c.do("GET", path, nil).want(400, code)
	}
}

func TestChecksComeInOneOrder(t *testing.T) {
	w := sqlite(t, func(c *Config) { c.RequestsPer10s = 40 })
	c := w.app(contoso)
	id := c.policy("A")
	reader := w.app(contoso, identity.ConfigurationRead)
	// Each request is wrong in everything that is still listed; what comes first
	// answers.
	bad := []string{"Content-Type", "text/xml", "Accept", "text/html"}
	at := func(set, key, query string) string { return "/" + set + "/" + key + query }
	(&client{w, ""}).do("PUT", "/nonsense/x?$top=x", "[", bad...).want(404, backup.ItemNotFound)
	(&client{w, ""}).do("PUT", at(drivePolicySet, "x", "?$top=x"), "[", bad...).want(405, backup.NotAllowed)
	(&client{w, ""}).do("PATCH", at(drivePolicySet, "x", "?$top=x"), "[", bad...).want(401, backup.InvalidAuthenticationToken)
	reader.do("PATCH", at(drivePolicySet, "x", "?$top=x"), "[", bad...).want(403, backup.AuthorizationDenied)
	c.do("PATCH", at(drivePolicySet, "x", "?$top=x"), "[", bad...).want(415)
	c.do("PATCH", at(drivePolicySet, "x", "?$top=x"), "[", "Accept", "text/html").want(406, "notSupported")
	c.do("PATCH", at(drivePolicySet, "x", "?$top=x"), "[").want(400, backup.InvalidRequest)
	c.do("PATCH", at(drivePolicySet, "x", ""), "[").want(400, backup.InvalidPolicyID)
	c.do("PATCH", at(drivePolicySet, backup.NewID[string](), ""), strings.Repeat("[", bodyLimit+1)).want(413, backup.InvalidRequest)
	c.do("PATCH", at(drivePolicySet, backup.NewID[string](), ""), "[").want(400, backup.InvalidPatchRequest)
	c.do("PATCH", at(drivePolicySet, backup.NewID[string](), ""), obj{"displayName": ""}).want(404, backup.PolicyNotFound)
	c.do("PATCH", at(drivePolicySet, id, ""), obj{"displayName": ""}).want(400, backup.InvalidDisplayName)

	// The throttle is an application's in a tenant, and comes before the media
	// types.
	for range 60 {
		c.do("PATCH", at(drivePolicySet, "x", ""), "[")
	}
	got := c.do("PATCH", at(drivePolicySet, "x", ""), "[", bad...).want(429, backup.TooManyRequests)
	if got.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After = %q", got.header.Get("Retry-After"))
	}
	w.app(fabrikam).do("GET", "/protectionPolicies", nil).want(200)
	w.wait(time.Second)
	c.do("GET", "/protectionPolicies", nil).want(200)
}

func TestMalformedBodies(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	id := c.policy("A")
	rule := c.rule(id, true, research)
	w.groups = map[backup.ObjectID][]backup.SubjectID{research: nil}
	w.work()
	zip := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(s))
		z.Close()
		return b.String()
	}
	deep := strings.Repeat(`{"@x":`, 50) + "1" + strings.Repeat("}", 50)
	bodies := map[string]string{
		"empty": "", "null": "null", "number": "7", "string": `"x"`, "list": "[]", "list of object": "[{}]", "unclosed": "{", "open string": `{"displayName":"x`,
		"no value": `{"displayName":}`, "no colon": `{"displayName" "x"}`, "trailing comma": `{"displayName":"x",}`, "two commas": `{"displayName":"x",,"id":"y"}`,
		"comment": `{/*x*/"displayName":"x"}`, "line comment": "{\"displayName\":\"x\"} //x", "single quotes": `{'displayName':'x'}`, "no quotes": `{displayName:"x"}`,
		"BOM": "\xef\xbb\xbf{\"displayName\":\"x\"}", "UTF-16": "\xff\xfe{\x00}\x00", "bad UTF-8": "{\"displayName\":\"\xc3\x28\"}", "garbage behind": `{"displayName":"x"}x`,
		"two objects": `{"displayName":"x"}{"displayName":"y"}`, "twice": `{"displayName":"x","displayName":"y"}`, "twice, escaped": `{"displayName":"x","display\u004eame":"y"}`,
		"twice in an annotation": `{"displayName":"x","@a":{"b":1,"b":2}}`, "deep": `{"displayName":"x","@a":` + deep + "}", "very deep": strings.Repeat("[", 20_000),
		"NUL": `{"displayName":"x\u0000"}`, "raw control": "{\"displayName\":\"\x07\"}", "bad escape": `{"displayName":"\x"}`, "NaN": `{"displayName":NaN}`,
		"wrong type": `{"displayName":{}}`, "wrong type 2": `{"displayName":true}`, "wrong type 3": `{"displayName":1}`, "wrong type 4": `{"displayName":["x"]}`,
		"other case": `{"DisplayName":"x"}`, "unknown": `{"displayName":"x","colour":"red"}`, "unknown delta": `{"displayName":"x","colours@delta":[]}`,
		"empty name": `{"":"x"}`, "wrong type name": `{"@odata.type":"#microsoft.graph.user","displayName":"x"}`, "type of null": `{"@odata.type":null,"displayName":"x"}`,
		"other namespace": `{"@odata.type":"#contoso.oneDriveForBusinessProtectionPolicy","displayName":"x"}`, "XML": "<a/>", "form": "displayName=x",
	}
	for name, body := range bodies {
		for _, r := range [][2]string{{"POST", "/" + drivePolicySet}, {"PATCH", "/" + drivePolicySet + "/" + id}, {"POST", "/" + drivePolicySet + "/" + id + "/" + bulkJobSet},
			{"POST", rulesOf(id)}, {"PATCH", rule},
			{"POST", "/" + driveSessionSet}, {"POST", "/restorePoints/search"}} {
			for encoding, sent := range map[string]string{"": body, "gzip": zip(body)} {
				if got := c.do(r[0], r[1], sent, "Content-Encoding", encoding); got.status != 400 || got.code() == "" {
					t.Errorf("%s, %s %q: %d %s", name, got.what, encoding, got.status, got.text)
				}
			}
		}
	}
	for _, action := range []string{"/protectionPolicies/" + id + "/activate", rule + "/run", rule + "/deleteAndUnprotect", "/restoreSessions/" + backup.NewID[string]() + "/activate"} {
		for _, body := range []string{"null", "[]", `{"x":1}`, "x"} {
			c.do("POST", action, body).want(400, backup.InvalidRequest)
		}
	}
	c.do("POST", "/"+drivePolicySet, "not gzip", "Content-Encoding", "gzip").want(400)
	c.do("POST", "/"+drivePolicySet, "{}", "Content-Encoding", "br").want(415, "invalidRequest")
	c.do("POST", "/"+drivePolicySet, zip(`{"displayName":"`+strings.Repeat("x", 2*bodyLimit)+`"}`), "Content-Encoding", "gzip").want(413, "invalidRequest")
	c.do("POST", "/"+drivePolicySet, obj{"displayName": "x"}, "OData-Version", "3.0").want(400, backup.InvalidRequest)
	// What is allowed.
	c.do("POST", "/"+drivePolicySet, zip(`{"@odata.type":"microsoft.graph.oneDriveForBusinessProtectionPolicy","@unknown.annotation":{"a":[1]},"displayName":"x","displayName@odata.type":"#String","status":"active","id":"mine"}`),
		"Content-Encoding", "gzip", "Content-Type", "").want(201)
	c.do("POST", "/protectionPolicies/"+id+"/activate", "", "Content-Type", "text/plain").want(202)
	if got := c.do("GET", "/"+policySet, nil); len(got.list("value")) != 2 {
		t.Errorf("policies = %s", got.text)
	}
}

func TestPagesHoldStillWhileThingsAreAdded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		for i := range 7 {
			c.policy(fmt.Sprint("P", i))
		}
		var names []string
		pages := 0
		next := "/" + policySet + "?$top=3&$count=true&$select=displayName"
		for next != "" {
			got := c.do("GET", next, nil).want(200)
			if got.json["@odata.count"].(float64) < 7 {
				t.Errorf("count = %v", got.json["@odata.count"])
			}
			for _, p := range got.list("value") {
				names = append(names, p.(obj)["displayName"].(string))
			}
			next, _ = got.json["@odata.nextLink"].(string)
			if next != "" {
				u, err := url.Parse(next)
				if err != nil || u.Host != "graph.microsoft.com" || u.Query().Get("$top") != "3" || u.Query().Get("$count") != "true" || u.Query().Get("$select") != "displayName" {
					t.Errorf("nextLink = %s", next)
				}
				w.app(fabrikam).do("GET", next, nil).want(400, backup.InvalidRequest)
				c.do("GET", strings.Replace(next, "top=3", "top=4", 1), nil).want(400, backup.InvalidRequest)
				c.do("GET", strings.Replace(next, policySet, drivePolicySet, 1), nil).want(400, backup.InvalidRequest)
				c.do("GET", next[:len(next)-3]+"xxx", nil).want(400, backup.InvalidRequest)
			}
			if pages++; pages == 1 {
				c.policy("P7") // comes last
			}
		}
		if got := strings.Join(names, " "); got != "P0 P1 P2 P3 P4 P5 P6 P7" || pages != 3 {
			t.Errorf("%d pages: %s", pages, got)
		}
		count := func(query string, headers ...string) *response {
			t.Helper()
			return c.do("GET", "/"+policySet+query, nil, headers...).want(200)
		}
		if got := count("?$top=0&$count=true"); len(got.list("value")) != 0 || got.json["@odata.count"] != 8.0 || got.json["@odata.nextLink"] != nil {
			t.Errorf("$top=0 = %s", got.text)
		}
		if got := count("?$top=8"); len(got.list("value")) != 8 || got.json["@odata.nextLink"] != nil {
			t.Errorf("exactly full = %s", got.text)
		}
		if got := count("?$skip=6"); len(got.list("value")) != 2 || got.str("value.0.displayName") != "P6" {
			t.Errorf("$skip=6 = %s", got.text)
		}
		if got := count("", "Prefer", "odata.maxpagesize=2"); len(got.list("value")) != 2 || got.header.Get("Preference-Applied") != "odata.maxpagesize=2" || got.json["@odata.nextLink"] == nil {
			t.Errorf("maxpagesize = %s", got.text)
		}
		for _, q := range []string{"$filter=id%20eq%20'x'", "$orderby=id", "$expand=x", "$search=x", "$top=-1", "$top=1&top=2", "$select=nothing", "$bogus=1", "$skiptoken=x"} {
			got := c.do("GET", "/"+policySet+"?"+q, nil).want(400, backup.InvalidRequest)
			name, _, _ := strings.Cut(q, "=")
			if !strings.Contains(got.str("error.message")+got.str("error.target"), name) {
				t.Errorf("%s is refused without its name: %s", q, got.text)
			}
		}
		if got := count("?nonsense=1&%24select=ID,DISPLAYNAME"); got.get("value.0.status") != nil || got.str("value.0.displayName") != "P0" ||
			!strings.HasSuffix(got.json["@odata.context"].(string), "#solutions/backupRestore/protectionPolicies(id,displayName)") {
			t.Errorf("$select = %s", got.text)
		}
	})
}

func TestMetadataLevels(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	id := c.policy("A", ownerN(1))
	none := c.do("GET", "/"+drivePolicySet+"/"+id+"/"+driveUnitSet+"?$count=true", nil, "Accept", "application/json;odata.metadata=none").want(200)
	if strings.Contains(none.text, "@odata.type") || strings.Contains(none.text, "@odata.context") || none.json["@odata.count"] != 1.0 {
		t.Errorf("none = %s", none.text)
	}
	full := c.do("GET", "/"+policySet+"/"+id, nil, "Accept", "application/json;odata.metadata=full").want(200)
	if full.json["@odata.id"] != host+"/v1.0/solutions/backupRestore/protectionPolicies('"+id+"')" || !strings.Contains(full.header.Get("Content-Type"), "odata.metadata=full") {
		t.Errorf("full = %s", full.text)
	}
}

func TestRequestIDs(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	for sent, want := range map[string]string{"77d27e8a-f18e-ce3a-42c9-f8a87fc00126": "", "any text": "", strings.Repeat("x", 200): strings.Repeat("x", 128), "a\tb": "ab", "é": ""} {
		got := c.do("GET", "/nonsense", nil)
		r := httptest.NewRequest("GET", host+"/nonsense", nil)
		r.Header.Set("client-request-id", sent)
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		echo := rec.Header().Get("client-request-id")
		switch {
		case sent == "é":
			if len(echo) != 36 {
				t.Errorf("%q is echoed as %q", sent, echo)
			}
		case want == "" && echo != sent, want != "" && echo != want:
			t.Errorf("%q is echoed as %q", sent, echo)
		}
		if got.header.Get("request-id") == rec.Header().Get("request-id") || len(rec.Header().Get("request-id")) != 36 {
			t.Error("two requests have one id")
		}
	}
}

func TestLinksAreThoseOfTheClient(t *testing.T) {
	proxied := func(cfg func(*Config), headers ...string) string {
		w := sqlite(t, cfg)
		return w.app(contoso).do("GET", "http://inner:8365/v1.0/"+root+"/"+policySet, nil, headers...).want(200).json["@odata.context"].(string)
	}
	trust := func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} } // where httptest's requests come from
	forwarded := []string{"X-Forwarded-Proto", "HTTPS, http", "X-Forwarded-Host", "backup.example.com, inner"}
	const rest = "/v1.0/$metadata#solutions/backupRestore/protectionPolicies"
	for want, got := range map[string]string{
		"http://inner:8365":             proxied(func(*Config) {}, forwarded...),
		"https://backup.example.com":    proxied(trust, forwarded...),
		"https://inner:8365":            proxied(trust, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "a b/c"),
		"https://backup.example.com:88": proxied(func(c *Config) { c.BaseURL = "https://backup.example.com:88/" }, forwarded...),
	} {
		if got != want+rest {
			t.Errorf("@odata.context = %s, want %s%s", got, want, rest)
		}
	}
}

func TestARepeatedPostCreatesOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		post := func(c *client, id, name string) *response {
			return c.do("POST", "/"+drivePolicySet, obj{"displayName": name}, "client-request-id", id)
		}
		first := post(c, "r1", "A").want(201)
		again := post(c, "r1", "A").want(201)
		if first.text != again.text || first.header.Get("Location") != again.header.Get("Location") || first.header.Get("request-id") == again.header.Get("request-id") {
			t.Errorf("the repetition = %s", again.text)
		}
		for name, got := range map[string]*response{
			"another body": post(c, "r1", "B"), "another id": post(c, "r2", "A"), "no id": c.do("POST", "/"+drivePolicySet, obj{"displayName": "A"}),
			"another tenant": post(w.app(fabrikam), "r1", "A"), "a user": post(w.user(contoso), "r1", "A"),
		} {
			if got.want(201).str("id") == first.str("id") {
				t.Errorf("%s is taken for a repetition", name)
			}
		}
		post(c, "r3", "").want(400)
		post(c, "r3", "").want(400) // failures are not remembered, nor do they block

		var wg sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			wg.Go(func() {
				r := httptest.NewRequest("POST", host+"/v1.0/"+root+"/"+drivePolicySet, strings.NewReader(`{"displayName":"at once"}`))
				r.Header.Set("Authorization", "Bearer "+c.token)
				r.Header.Set("client-request-id", "r4")
				rec := httptest.NewRecorder()
				w.server.ServeHTTP(rec, r)
				ids[i] = rec.Header().Get("Location")
			})
		}
		wg.Wait()
		if ids[0] == "" || len(slices.Compact(ids)) != 1 {
			t.Errorf("at once: %v", ids)
		}
		c.do("DELETE", "/"+policySet+"/"+first.str("id"), nil).want(204)
		if got := post(c, "r1", "A").want(201); got.str("id") == first.str("id") {
			t.Error("what was deleted was answered for")
		}
		w.wait(replayLife)
		late := post(c, "r2", "A").want(201)
		w.wait(replayLife)
		if got := post(c, "r2", "A").want(201); got.str("id") == late.str("id") {
			t.Error("a late repetition was taken for one")
		}
	})
}

func TestServiceStatus(t *testing.T) {
	w := sqlite(t)
	got := w.app(contoso, identity.ControlRead).do("GET", "", nil).want(200)
	if got.str("serviceStatus.status") != "enabled" || got.json["@odata.context"] != host+"/v1.0/$metadata#solutions/backupRestore/$entity" || got.json["id"] != nil {
		t.Errorf("service = %s", got.text)
	}
}

func TestEvolvedEnumerations(t *testing.T) {
	w := sqlite(t)
	s := w.server
	x := &exchange{}
	if got := evolved(s, x, backup.SessionFailed, backup.SessionFailed); got != "unknownFutureValue" {
		t.Errorf("failed is shown as %s", got)
	}
	if got := evolved(s, x, backup.SessionDraft, backup.SessionFailed); got != "draft" {
		t.Errorf("draft is shown as %s", got)
	}
	x.prefer.UnknownEnums = true
	if got := evolved(s, x, backup.SessionFailed, backup.SessionFailed); got != "failed" {
		t.Errorf("failed is shown as %s", got)
	}
	x.prefer.UnknownEnums, s.cfg.RealEnums = false, true
	if got := evolved(s, x, backup.SessionFailed, backup.SessionFailed); got != "failed" {
		t.Errorf("failed is shown as %s", got)
	}
}

func TestFailuresOfOursSayLittle(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	w.db.Close()
	for path, code := range map[string]string{"/" + policySet: "generalException", "/" + drivePolicySet: "PolicySaveFailed",
		"/" + sessionSet + "/" + backup.NewID[string](): "IncompleteArtifactDeletion"} {
		method, body := "GET", ""
		switch code {
		case "PolicySaveFailed":
			method, body = "POST", `{"displayName":"x"}`
		case "IncompleteArtifactDeletion":
			method = "DELETE"
		}
		r := httptest.NewRequest(method, host+"/v1.0/"+root+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+c.token)
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		if rec.Code != 500 || !strings.Contains(rec.Body.String(), `"code":"`+code+`"`) || strings.Contains(rec.Body.String(), "sql") {
			t.Errorf("%s = %d %s", path, rec.Code, rec.Body)
		}
		var answer obj
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			t.Error(err)
		}
		notice(t.Name(), rec.Code, answer)
		if !strings.Contains(w.log.String(), rec.Header().Get("request-id")) {
			t.Errorf("%s: the log does not have the request", path)
		}
	}
	if strings.Contains(w.log.String(), c.token) {
		t.Error("the log holds a token")
	}
	w.log.Reset()
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	w := sqlite(t)
	w.server.catalog = nil
	r := httptest.NewRequest("GET", host+"/v1.0/"+root+"/"+policySet, nil)
	r.Header.Set("Authorization", "Bearer "+w.app(contoso).token)
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	if rec.Code != http.StatusInternalServerError || !strings.Contains(w.log.String(), "request panicked") {
		t.Errorf("%d %s %s", rec.Code, rec.Body, w.log)
	}
	w.log.Reset()
}

func FuzzServer(f *testing.F) {
	w := sqlite(f)
	c := w.app(contoso)
	id := c.policy("A", ownerN(1))
	for _, r := range requests() {
		f.Add(r.method, strings.Replace(r.url, "/v1.0/"+root, "", 1)+"?$top=1", `{"displayName":"x","driveProtectionUnits@delta":[{"@removed":{},"id":"x"}]}`)
	}
	f.Add("PATCH", "/"+drivePolicySet+"/"+id, `{"driveProtectionUnits@delta":[{"directoryObjectId":"`+ownerN(2)+`","@contentId":"x"},{"@removed":{"reason":"deleted"},"@id":"a/`+id+`"}]}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.ParseRequestURI(host + "/v1.0/" + root + path)
		if err != nil || method == "" || strings.ContainsAny(method, " \r\n\t\x00") {
			return
		}
		r := httptest.NewRequest("GET", host+"/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Authorization", "Bearer "+c.token)
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		if rec.Code >= 500 || rec.Header().Get("request-id") == "" {
			t.Errorf("%s %s %q = %d %s", method, path, body, rec.Code, rec.Body)
		}
	})
}

// All of v1.0 is in beta, and whoever began there stays there.
func TestBetaHasAllOfV1(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso, identity.Permissions...)
	beta := host + "/beta"
	policies := beta + "/" + root + "/oneDriveForBusinessProtectionPolicies"
	created := c.do("POST", policies, obj{"displayName": "of beta", "retentionSettings": []obj{}}).want(201)
	if got := created.header.Get("Location"); !strings.HasPrefix(got, policies) {
		t.Errorf("Location = %s", got)
	}
	c.do("POST", "/oneDriveForBusinessProtectionPolicies", obj{"displayName": "of v1.0", "retentionSettings": []obj{}}).want(201)
	page := c.do("GET", policies+"?$top=1", nil).want(200)
	if context, _ := page.json["@odata.context"].(string); context != beta+"/$metadata#solutions/backupRestore/oneDriveForBusinessProtectionPolicies" {
		t.Errorf("@odata.context = %s", context)
	}
	next, _ := page.json["@odata.nextLink"].(string)
	if !strings.HasPrefix(next, policies) {
		t.Fatalf("@odata.nextLink = %s", next)
	}
	if rest := c.do("GET", next, nil).want(200).list("value"); len(rest) != 1 {
		t.Errorf("the next page has %v", rest)
	}
	for _, path := range []string{"", "/$metadata"} {
		(&client{w, ""}).do("GET", beta+path, nil).want(200)
	}
	answers := c.do("POST", beta+batchPath, obj{"requests": []obj{
		{"id": "1", "method": "GET", "url": "/" + root + "/protectionPolicies/" + created.str("id")},
		{"id": "2", "method": "GET", "url": "/" + root + "/" + activitySet}, // of beta alone
	}}).want(200).responses()
	for id, a := range answers {
		if a["status"] != 200.0 {
			t.Errorf("%s of the batch: %v", id, a)
		}
	}
}
