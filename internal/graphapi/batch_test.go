package graphapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

// answers of a batch by their ids.
// batchOne is where most batches go.
const batchOne = "/v1.0" + batchPath

func (a *response) responses() map[string]obj {
	all := map[string]obj{}
	for _, r := range a.list("responses") {
		all[r.(obj)["id"].(string)] = r.(obj)
	}
	return all
}

func TestBatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		id := c.policy("A", ownerN(1))
		json8 := obj{"Content-Type": "application/json"}
		set := "/solutions/backupRestore/" + drivePolicySet
		got := c.do("POST", batchOne, obj{"requests": []obj{
			{"id": "last", "method": "GET", "url": set + "?$filter=displayName eq 'made'", "dependsOn": []string{"post"}},
			{"id": "post", "method": "POST", "url": set, "headers": json8, "body": obj{"displayName": "made"}},
			{"id": "get", "method": "GET", "url": strings.TrimPrefix(set, "/") + "('" + id + "')?$select=displayName", "headers": obj{"client-request-id": "mine", "Authorization": "Bearer x"}},
			{"id": "none", "method": "GET", "url": set + "/" + backup.NewID[string]()},
			{"id": "after none", "method": "DELETE", "url": set + "/" + id, "dependsOn": []string{"get", "none"}},
			{"id": "after none in Python", "method": "DELETE", "url": set + "/" + id, "depends_on": []string{"none"}},
			{"id": "after that", "method": "DELETE", "url": set + "/" + id, "dependsOn": []string{"after none"}},
			{"id": "count", "method": "GET", "url": set + "/$count"},
			{"id": "whole", "method": "GET", "url": host + "/v1.0" + set},
			{"id": "no type", "method": "POST", "url": set, "body": obj{"displayName": "x"}},
			{"id": "base64", "method": "PATCH", "url": set + "/" + id, "headers": json8, "body": base64.URLEncoding.EncodeToString([]byte(`{"displayName":"A??>>"}`))},
			{"id": "bad base64", "method": "PATCH", "url": set + "/" + id, "headers": json8, "body": "{}"},
			{"id": "minimal", "method": "PATCH", "url": set + "/" + id, "headers": obj{"Content-Type": "application/json", "Prefer": "return=minimal"}, "body": obj{"displayName": "B"}},
			{"id": "bad method", "method": "PUT", "url": set + "/" + id, "headers": json8, "body": obj{}},
			{"id": "version", "method": "GET", "url": "/$metadata"},
		}}).want(200).responses()
		for id, status := range map[string]float64{"last": 200, "post": 201, "get": 200, "none": 404, "after none": 424, "after none in Python": 424, "after that": 424, "count": 200, "whole": 200, "no type": 400,
			"base64": 200, "bad base64": 400, "minimal": 204, "bad method": 405, "version": 200} {
			r := got[id]
			if r["status"] != status {
				t.Errorf("%s = %v", id, r)
			}
			headers, _ := r["headers"].(obj)
			if status >= 400 {
				b, _ := json.Marshal(r["body"])
				if e, _ := r["body"].(obj)["error"].(obj); e == nil || e["code"] == "" || headers["Content-Type"] == nil {
					t.Errorf("%s = %s", id, b)
				}
			} else if headers["Request-Id"] == "" {
				t.Errorf("%s has no headers: %v", id, headers)
			}
		}
		if l := got["last"]["body"].(obj)["value"].([]any); len(l) != 1 {
			t.Errorf("what depends on a request does not see what it made: %v", l)
		}
		if e := got["after none"]["body"].(obj)["error"].(obj); e["code"] != "FailedDependency" {
			t.Errorf("failed dependency = %v", e)
		}
		if h := got["get"]["headers"].(obj); h["Client-Request-Id"] != "mine" {
			t.Errorf("headers = %v", h)
		}
		if text, err := base64.RawURLEncoding.DecodeString(got["count"]["body"].(string)); err != nil || string(text) != "2" {
			t.Errorf("count = %v", got["count"])
		}
		if h := got["post"]["headers"].(obj); !strings.HasPrefix(h["Location"].(string), host+"/v1.0"+set) {
			t.Errorf("Location = %v", h)
		}
		if _, ok := got["minimal"]["body"]; ok {
			t.Errorf("a body of 204: %v", got["minimal"])
		}
	})
}

func TestBatchIsRefusedAsAWhole(t *testing.T) {
	w := sqlite(t, func(c *Config) { c.RequestsPer10s = 30 })
	c := w.app(contoso)
	post := obj{"id": "1", "method": "POST", "url": "/solutions/backupRestore/" + drivePolicySet, "headers": obj{"Content-Type": "application/json"}, "body": obj{"displayName": "x"}}
	with := func(changes ...any) obj {
		o := obj{}
		for k, v := range post {
			o[k] = v
		}
		o["id"] = "2"
		for i := 0; i < len(changes); i += 2 {
			o[changes[i].(string)] = changes[i+1]
		}
		return o
	}
	var many []obj
	for i := range 21 {
		many = append(many, with("id", fmt.Sprint(i)))
	}
	for name, body := range map[string]any{
		"empty": obj{}, "no requests": obj{"requests": []obj{}}, "too many": obj{"requests": many}, "no object": "[]", "malformed": "{", "twice": `{"requests":[],"requests":[]}`,
		"unknown member": obj{"requests": []obj{post}, "x": 1}, "not a list": obj{"requests": obj{}}, "list of strings": obj{"requests": []string{"x"}},
		"same id": obj{"requests": []obj{post, post}}, "unknown dependency": obj{"requests": []obj{post, with("dependsOn", []string{"3"})}},
		"circle": obj{"requests": []obj{post, with("dependsOn", []string{"3"}), with("id", "3", "dependsOn", []string{"2"})}}, "of itself": obj{"requests": []obj{post, with("dependsOn", []string{"2"})}},
		"nested": obj{"requests": []obj{post, with("url", "/$batch")}}, "nested, disguised": obj{"requests": []obj{post, with("url", "%24BATCH/")}},
		"absolute": obj{"requests": []obj{post, with("url", "https://example.com/x")}}, "other host": obj{"requests": []obj{post, with("url", "//example.com/x")}},
		"no id": obj{"requests": []obj{post, with("id", "")}}, "id of a number": obj{"requests": []obj{post, with("id", 7)}}, "no method": obj{"requests": []obj{post, with("method", nil)}},
		"odd method": obj{"requests": []obj{post, with("method", "GE T")}}, "bad url": obj{"requests": []obj{post, with("url", "/%zz")}}, "other member": obj{"requests": []obj{post, with("Body", obj{})}},
		"odd header": obj{"requests": []obj{post, with("headers", obj{"x": 1})}}, "dependsOn text": obj{"requests": []obj{post, with("dependsOn", "1")}}, "depends_on text": obj{"requests": []obj{post, with("depends_on", "1")}},
	} {
		if got := c.do("POST", batchOne, body); got.status != 400 || got.code() != backup.InvalidRequest {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
	}
	if got := c.do("GET", "/"+policySet, nil).want(200); len(got.list("value")) != 0 {
		t.Errorf("a batch that was refused made %s", got.text)
	}
	(&client{w, ""}).do("POST", batchOne, obj{"requests": []obj{post}}).want(401, backup.InvalidAuthenticationToken)
	w.app(stranger).do("POST", batchOne, obj{"requests": []obj{post}}).want(401, backup.InvalidAuthenticationToken)
	c.do("GET", batchOne, nil).want(405)
	c.do("POST", batchOne+"?$top=1", obj{"requests": []obj{post}}).want(400, backup.InvalidRequest)
	// Each request is asked for its permission, and counted.
	if got := w.app(contoso, identity.ConfigurationRead).do("POST", batchOne, obj{"requests": []obj{post}}).want(200).responses(); got["1"]["status"] != 403.0 {
		t.Errorf("without the permission: %v", got)
	}
	w.wait(time.Minute)
	throttled := 0
	for range 3 {
		for _, r := range c.do("POST", batchOne, obj{"requests": many[:20]}).want(200).responses() {
			if r["status"] == 429.0 && r["headers"].(obj)["Retry-After"] != "" {
				throttled++
			}
		}
	}
	if throttled < 20 {
		t.Errorf("%d of 60 requests were throttled", throttled)
	}
}

func TestTheAnswersOfABatchAreBounded(t *testing.T) {
	w := sqlite(t)
	x := &exchange{r: httptest.NewRequest("GET", host, nil), base: host + "/v1.0"}
	request := httptest.NewRequest("GET", host+"/v1.0/$metadata", nil)
	room := len(w.server.metadata["/v1.0"]) + 10
	if a := w.server.makeBatched(x, &batched{request: request}, &room); a.Status != 200 || room != 10 {
		t.Errorf("%d, room for %d", a.Status, room)
	}
	if a := w.server.makeBatched(x, &batched{request: request}, &room); a.Status != 413 || room != 10 {
		t.Errorf("%d, room for %d", a.Status, room)
	}
}

// fuzzServer is a server and the token of one who may do all, for targets that
// send what they like.
func fuzzServer(f *testing.F) (*Server, string) {
	w := sqlite(f)
	c := w.app(contoso)
	c.policy("A", ownerN(1), ownerN(2))
	return w.server, c.token
}

// send makes a request and reports an answer that no input may have.
func send(t *testing.T, s *Server, token, method, path, body string) {
	r := httptest.NewRequest(http.MethodPost, host+"/", strings.NewReader(body))
	r.Method = method
	u, err := r.URL.Parse(path)
	if err != nil {
		return
	}
	r.URL = u
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	if rec.Code == 0 || rec.Code >= 500 || rec.Header().Get("request-id") == "" {
		t.Errorf("%s %q %q: %d %s", method, path, body, rec.Code, rec.Body)
	}
}

func FuzzBatch(f *testing.F) {
	s, token := fuzzServer(f)
	f.Add(`{"requests":[{"id":"1","method":"GET","url":"/solutions/backupRestore/protectionPolicies?$filter=id eq 'x'"},{"id":"2","method":"POST","url":"x","dependsOn":["1"],"headers":{"Content-Type":"application/json"},"body":{}}]}`)
	f.Add(`{"requests":[{"id":"1","method":"GET","url":"/$batch","body":"e30"}]}`)
	f.Fuzz(func(t *testing.T, body string) { send(t, s, token, http.MethodPost, batchOne, body) })
}

func FuzzRouter(f *testing.F) {
	s, token := fuzzServer(f)
	for _, r := range requests() {
		f.Add(r.method, r.url, "{}")
	}
	f.Add("GET", "/v1.0/solutions/backupRestore/protectionPolicies('%27')/graph.x", "")
	f.Add("GET", "/v9/x", "")
	f.Fuzz(func(t *testing.T, method, path, body string) { send(t, s, token, method, path, body) })
}

func FuzzDelta(f *testing.F) {
	w := sqlite(f)
	c := w.app(contoso)
	id := c.policy("A", ownerN(1))
	f.Add(`{"displayName":"x","driveProtectionUnits@delta":[{"directoryObjectId":"` + ownerN(2) + `"},{"@removed":{"reason":"changed"},"id":"` + c.unitOf(id, ownerN(1)) + `"}]}`)
	f.Add(`{"driveProtectionUnits@delta":[{"@odata.removed":{},"@id":"x('y')","@contentId":"z"},null,{"id":1}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		send(t, w.server, c.token, http.MethodPatch, "/v1.0/"+root+"/"+drivePolicySet+"/"+id, body)
		send(t, w.server, c.token, http.MethodPatch, "/v1.0/"+root+"/"+driveSessionSet+"/"+id, strings.ReplaceAll(body, driveUnitSet, artifactSet))
	})
}

func FuzzPageToken(f *testing.F) {
	s, token := fuzzServer(f)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", host+"/v1.0/"+root+"/"+unitSet+"?$top=1", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	s.ServeHTTP(rec, r)
	var page struct {
		Next string `json:"@odata.nextLink"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || page.Next == "" {
		f.Fatalf("%v: %s", err, rec.Body)
	}
	_, given, _ := strings.Cut(page.Next, "$skiptoken=")
	f.Add(given)
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		send(t, s, token, "GET", "/v1.0/"+root+"/"+unitSet+"?$top=1&$skiptoken="+text, "")
	})
}

// A flood writes requests by the grammar of the API, right and wrong.
type flood struct {
	*rand.Rand
	ids []string
}

func (m flood) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m flood) id() string {
	return m.pick(m.pick(m.ids...), m.pick(m.ids...), m.pick(m.ids...), strings.ToUpper(m.pick(m.ids...)), backup.NewID[string](), "x", "''", "%27", "%00", "a%2Fb", strings.Repeat("9", 300), "(", "ü", "$count", "null")
}

func (m flood) path(r route) string {
	var out []string
	for segment := range strings.SplitSeq("v1.0/"+root+"/"+r.path, "/") {
		switch {
		case strings.HasPrefix(segment, "{"):
			segment = m.id()
			if m.IntN(4) == 0 && len(out) > 0 {
				out[len(out)-1] += "('" + segment + "')"
				continue
			}
		case m.IntN(60) == 0:
			segment = m.pick("graph."+segment, "microsoft.graph."+segment, segment+"('x')", segment+"()", "..", "", "%2e", segment+";x", "\xff", strings.ToUpper(segment))
		}
		out = append(out, segment)
	}
	return "/" + strings.Join(out, "/")
}

func (m flood) query() string {
	value := func() string {
		return m.pick("1", "0", "-1", "999999999999999999999", "true", "", "id", "displayName,id", "*", "displayName eq 'x'", "id eq '"+m.pick(m.ids...)+"'", "createdDateTime gt 2026-01-01T00:00:00Z",
			"status in ('active','draft')", "contains(displayName,'%_''')", strings.Repeat("(", 60), "not (id eq null)", "createdDateTime desc,displayName", "protectionUnit($filter=id eq '"+m.id()+"')",
			"protectionDateTime lt 2026-11-30T00:00:00Z", "restorePoint", "driveProtectionUnits", "\x00", "%", "'", "a/b/c eq 1", "displayName eq '\x00'", "AAAA", "ÄÖ", "createdDateTime lt 9999-12-31T23:59:59.9999999Z", "createdDateTime gt 0001-01-01T00:00:00Z")
	}
	var b strings.Builder
	for range m.IntN(4) {
		b.WriteString("&" + m.pick("$", "", "%24", "$$") + m.pick("select", "top", "skip", "count", "filter", "filter", "orderby", "expand", "skiptoken", "search", "format", "TOP", "x"))
		v := value()
		if m.IntN(20) > 0 {
			v = strings.NewReplacer("%", "%25", " ", "%20", "\x00", "%00", "&", "%26").Replace(v)
		}
		b.WriteString("=" + v)
	}
	return strings.TrimPrefix(b.String(), "&")
}

func (m flood) value(depth int) any {
	if depth > 3 {
		return nil
	}
	switch m.IntN(9) {
	case 0:
		return nil
	case 1:
		return m.IntN(2) == 0
	case 2:
		return []any{0, -1, 1.5, 1e300, 1 << 62}[m.IntN(5)]
	case 3:
		return []any{m.value(depth + 1), m.value(depth + 1)}
	case 4, 5:
		return m.object(depth + 1)
	}
	return m.pick(m.id(), "x", "", "new", "inPlace", "2026-11-21T12:00:00Z", "0001-01-01T00:00:00Z", "\x00", "\u2028", strings.Repeat("n", 1025), "User1@contoso.com", "changed", "latest", "none")
}

func (m flood) object(depth int) any {
	o := obj{}
	for range m.IntN(5) {
		o[m.pick("displayName", driveUnitSet, unitDelta, "directoryObjectId", "userId", "drives", "directoryObjectIds", "id", "@removed", "@odata.type", "@contentId", artifactSet, artifactDelta, granularSet, granularDelta,
			"restorePoint", "restorePoint@odata.bind", "destinationType", "protectionUnitIds", "protectionTimePeriod", "startDateTime", "endDateTime", "restorePointPreference", "tags", "artifactQuery",
			"requests", "method", "url", "headers", "body", "dependsOn", "reason", "status", "driveExpression", "isAutoApplyEnabled", "browseSessionId", "filter", "")] = m.value(depth)
	}
	return o
}

// body is one that means something, or one that means nothing.
func (m flood) body() string {
	id := func() obj { return obj{"directoryObjectId": m.id()} }
	meant := []any{
		obj{"displayName": "x", driveUnitSet: []any{id(), id()}},
		obj{unitDelta: []any{id(), obj{"@removed": m.value(3), "id": m.id()}, m.object(2)}},
		obj{"displayName": "x", "drives": []any{m.value(3), "User1@contoso.com"}, "directoryObjectIds": []any{m.id()}},
		obj{artifactSet: []any{obj{"restorePoint": obj{"id": m.id()}, "destinationType": m.pick("new", "inPlace", "x")}}},
		obj{artifactDelta: []any{obj{"restorePoint": obj{"id": m.id()}, "destinationType": "new"}, obj{"@removed": obj{}, "id": m.id()}}},
		obj{"protectionUnitIds": []any{m.id(), m.value(3)}, "protectionTimePeriod": obj{"startDateTime": m.value(3)}},
		obj{}, m.object(0), m.value(0),
	}
	data, err := json.Marshal(meant[m.IntN(len(meant))])
	if err != nil {
		panic(err)
	}
	s := string(data)
	if m.IntN(10) == 0 {
		s = s[:m.IntN(len(s)+1)]
	}
	return s
}

// TestAFloodOfRequestsFindsNoFailureOfOurs sends a few thousand requests, made
// by chance from what the API knows. None is answered as a failure of ours.
func TestAFloodOfRequestsFindsNoFailureOfOurs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.user(contoso)
		first := c.policy("A", ownerN(1), ownerN(2))
		c.policy("B", ownerN(3))
		c.do("POST", "/"+policySet+"/"+first+"/activate", nil).want(202)
		points := w.work()
		m := flood{rand.New(rand.NewPCG(11, 22)), []string{ownerN(1), ownerN(9)}}
		collect := func() {
			for _, set := range []string{policySet, unitSet, bulkJobSet, sessionSet} {
				for _, e := range c.do("GET", "/"+set, nil).want(200).list("value") {
					m.ids = append(m.ids, e.(obj)["id"].(string))
				}
			}
		}
		for _, p := range points {
			m.ids = append(m.ids, string(p.ID))
		}
		table := routes(described)
		for i := range 2000 {
			if i%400 == 0 {
				collect()
			}
			r := table[m.IntN(len(table))]
			path := m.path(r)
			if q := m.query(); q != "" && m.IntN(2) == 0 {
				path += "?" + q
			}
			body := ""
			if r.body != noBody {
				body = m.body()
			}
			if m.IntN(20) == 0 {
				inner, err := json.Marshal(obj{"requests": []obj{{"id": "1", "method": r.method, "url": strings.TrimPrefix(path, "/v1.0"), "headers": obj{"Content-Type": "application/json"}, "body": m.value(0)}}})
				if err != nil {
					t.Fatal(err)
				}
				r.method, path, body = "POST", batchOne, string(inner)
			}
			send(t, w.server, c.token, r.method, path, body)
		}
	})
}
