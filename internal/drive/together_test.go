package drive_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// batched returns the requests of a batch.
func batched(t *testing.T, r *http.Request) []batchRequest {
	t.Helper()
	var in struct{ Requests []batchRequest }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		t.Error(err)
	}
	return in.Requests
}

type batchRequest struct {
	ID, Method, URL string
	Headers         map[string]string
	Body            json.RawMessage
}

// Small files are written in one request and dated in another, and of each it is said
// whether it was written, was refused, or may be there.
func TestWriteTogether(t *testing.T) {
	names := []string{"a.txt", `b"#\\.txt`, "refused", "busy", "other", "not dated", "silent"}
	const item = `{"id":"%s","name":%s,"file":{},"parentReference":{"id":"%s"},"fileSystemInfo":{"createdDateTime":"%s","lastModifiedDateTime":"%s"}}`
	s := newSource(t)
	var puts, patches []string
	s.on(batchPath, func(w http.ResponseWriter, r *http.Request) {
		var answers []string
		answer := func(id, status, body string) {
			answers = append(answers, fmt.Sprintf(`{"id":%q,"status":%s,"headers":{"Content-Type":"application/json"},"body":%s}`, id, status, body))
		}
		for i, q := range batched(t, r) {
			if q.ID != fmt.Sprint(i) {
				t.Errorf("request %d has the id %q", i, q.ID)
			}
			created := times.Created.Format(time.RFC3339)
			if q.Method == http.MethodPatch {
				patches = append(patches, q.URL+" "+string(q.Body))
				id := q.URL[strings.LastIndex(q.URL, "/")+1:]
				if id == "5" {
					answer(q.ID, "503", `{"error":{"code":"serviceNotAvailable"}}`)
					continue
				}
				answer(q.ID, "200", fmt.Sprintf(item, id, `"dated"`, "P", created, times.Modified.Format(time.RFC3339)))
				continue
			}
			var text string
			json.Unmarshal(q.Body, &text)
			content, err := base64.URLEncoding.DecodeString(text)
			puts = append(puts, q.Method+" "+q.URL+" "+string(content))
			if err != nil || q.Headers["Content-Type"] != "application/octet-stream" {
				t.Errorf("%v: asked for %+v", err, q)
			}
			name, _ := json.Marshal(names[i])
			switch names[i] {
			case "refused":
				answer(q.ID, "409", `{"error":{"code":"nameAlreadyExists"}}`)
			case "busy":
				answer(q.ID, "503", `"bm8="`)
			case "other":
				answer(q.ID, "201", fmt.Sprintf(item, "9", `"something else"`, "P", created, created))
			case "silent":
			default:
				answer(q.ID, "201", fmt.Sprintf(item, fmt.Sprint(i), name, "P", created, created))
			}
		}
		fmt.Fprintf(w, `{"responses":[%s]}`, strings.Join(answers, ","))
	})
	var files []drive.SmallFile
	for i, name := range names {
		files = append(files, drive.SmallFile{NewItem: drive.NewItem{Parent: "P", Name: name, Times: times}, Content: fmt.Append(nil, "content ", i)})
	}
	written, ok := s.client(newClock()).WriteTogether(t.Context(), "D", files)
	if !ok {
		t.Error("it says that nothing is written so")
	}
	for i, want := range []drive.Written{{OK: true}, {OK: true}, {}, {Unclear: true}, {Unclear: true}, {Unclear: true}, {Unclear: true}} {
		is := written[i]
		if is.OK && (string(is.Item.ID) != fmt.Sprint(i) || !is.Item.Modified.Equal(times.Modified)) {
			t.Errorf("%q was written as %+v", names[i], is.Item)
		}
		if is.Item = (drive.Item{}); is != want {
			t.Errorf("%q: %+v, want %+v", names[i], is, want)
		}
	}
	if want := "PUT /drives/D/items/P:/b%22%23%5C%5C.txt:/content?@microsoft.graph.conflictBehavior=fail content 1"; len(puts) != len(files) || puts[1] != want {
		t.Errorf("asked for %q, want %q", puts, want)
	}
	if len(patches) != 3 || !strings.HasPrefix(patches[0], `/drives/D/items/0 {"fileSystemInfo":{"createdDateTime":`) {
		t.Errorf("dated by %q", patches)
	}
}

// Where batches are refused nothing is written, and where no answer comes all may be.
func TestNothingIsWrittenTogether(t *testing.T) {
	for name, row := range map[string]struct {
		handler http.HandlerFunc
		unclear bool
	}{
		"refused":                   {refuse(400, "invalidRequest", "", ""), false},
		"too large":                 {refuse(413, "", "", ""), false},
		"throttled":                 {refuse(429, "activityLimitReached", "", ""), false},
		"busy":                      {refuse(503, "serviceNotAvailable", "", ""), true},
		"no answer":                 {func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); panic(http.ErrAbortHandler) }, true},
		"a page":                    {reply(`<html>`), true},
		"nothing":                   {reply(`{}`), true},
		"an answer of another form": {reply(`{"responses":[{"id":"0","status":201.5,"body":[]}]}`), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			s.on(batchPath, row.handler)
			file := drive.SmallFile{NewItem: drive.NewItem{Parent: "P", Name: "a", Times: times}, Content: []byte("a")}
			written, ok := s.client(newClock()).WriteTogether(t.Context(), "D", []drive.SmallFile{file, file})
			for _, is := range written {
				if is.OK || is.Unclear != row.unclear {
					t.Errorf("%+v, want unclear %v", is, row.unclear)
				}
			}
			if len(written) != 2 || ok {
				t.Errorf("%d files, %v", len(written), ok)
			}
		})
	}
}

// A source says how many versions of a file there are, or it is not known.
func TestCountVersions(t *testing.T) {
	for name, row := range map[string]struct {
		handler http.HandlerFunc
		count   int
	}{
		"one":     {reply(`{"value":[{"id":"1.0","size":3}]}`), 1},
		"two":     {reply(`{"value":[{"id":"2.0"},{"id":"1.0"}]}`), 2},
		"more":    {reply(`{"value":[{"id":"2.0"}],"@odata.nextLink":"https://x/y"}`), -1},
		"none":    {reply(`{}`), -1},
		"denied":  {refuse(403, "accessDenied", "", ""), -1},
		"a page":  {reply(`<html>`), -1},
		"unknown": {refuse(404, "itemNotFound", "", ""), -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			s.on("GET /v1.0/drives/D/items/N/versions", row.handler)
			if got := s.client(newClock()).CountVersions(t.Context(), "D", "N"); got != row.count {
				t.Errorf("there are %d versions, want %d", got, row.count)
			}
		})
	}
}

// What may have been written before is looked for, and not written again.
func TestUploadOfWhatMayBeThere(t *testing.T) {
	content := []byte("what is in the file")
	for name, row := range map[string]struct {
		there    string
		sessions int
	}{
		"there":     {named("N", "c1", content), 0},
		"not there": {"", 1},
		"another":   {named("M", "c2", []byte("something else by that name")), 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			newSession(s, len(content))
			s.on(namedPath, func(w http.ResponseWriter, r *http.Request) {
				if row.there == "" {
					refuse(404, "itemNotFound", "", "")(w, r)
					return
				}
				io.WriteString(w, row.there)
			})
			s.on("PATCH /v1.0/drives/D/items/N", reply("%s", named("N", "c1", content))) // its times
			to := target
			to.Unclear = true
			item, err := s.client(newClock()).Upload(t.Context(), "D", to, bytes.NewReader(content), int64(len(content)), times)
			if err != nil || item.ID != "N" || count(s, sessionPath) != row.sessions {
				t.Errorf("%+v, %v, %d sessions", item, err, count(s, sessionPath))
			}
		})
	}
}

// A file is written over only under the tag that it is known by, and renamed with its
// times.
func TestWriteTogetherOverOthers(t *testing.T) {
	const item = `{"id":"%s","name":"locked","file":{},"parentReference":{"id":"P"},"fileSystemInfo":{"createdDateTime":"%s","lastModifiedDateTime":"%s"}}`
	s := newSource(t)
	var asked []string
	s.on(batchPath, func(w http.ResponseWriter, r *http.Request) {
		var answers []string
		created := times.Created.Format(time.RFC3339)
		for _, q := range batched(t, r) {
			if q.Method == http.MethodPatch {
				asked = append(asked, q.Method+" "+q.URL+" "+string(q.Body))
				id := q.URL[strings.LastIndex(q.URL, "/")+1:]
				answers = append(answers, fmt.Sprintf(`{"id":%q,"status":200,"body":%s}`, q.ID, fmt.Sprintf(item, id, created, created)))
				continue
			}
			asked = append(asked, q.Method+" "+q.URL+" "+q.Headers["If-Match"])
			id := strings.Split(q.URL, "/")[4]
			switch {
			case q.Headers["If-Match"] != `"c:{`+id+`},2"`:
				answers = append(answers, fmt.Sprintf(`{"id":%q,"status":412,"body":{"error":{"code":"notAllowed"}}}`, q.ID))
			case id == "I1":
				answers = append(answers, fmt.Sprintf(`{"id":%q,"status":200,"body":%s}`, q.ID, fmt.Sprintf(item, "another", created, created)))
			default:
				answers = append(answers, fmt.Sprintf(`{"id":%q,"status":200,"body":%s}`, q.ID, fmt.Sprintf(item, id, created, created)))
			}
		}
		fmt.Fprintf(w, `{"responses":[%s]}`, strings.Join(answers, ","))
	})
	var files []drive.SmallFile
	for i, over := range []drive.Over{{ID: "I0", Name: "locked", Tag: `"c:{I0},2"`}, {ID: "I1", Name: "locked", Tag: `"c:{I1},2"`}, {ID: "I2", Name: "locked", Tag: `"c:{I2},1"`}} {
		files = append(files, drive.SmallFile{NewItem: drive.NewItem{Parent: "P", Name: "n", Times: times}, Content: fmt.Append(nil, "content ", i), Over: &over})
	}
	c := s.client(newClock())
	written, ok := c.WriteTogether(t.Context(), "D", files)
	if is := written[0]; !ok || !is.OK || is.Item.ID != "I0" || is.Item.Name != "n" || !is.Item.Modified.Equal(times.Modified) {
		t.Errorf("it was written as %+v", is)
	}
	if is := written[1]; is.OK || !is.Unclear {
		t.Errorf("another item than was asked for: %+v", is)
	}
	if is := written[2]; is.OK || is.Unclear {
		t.Errorf("one that has changed: %+v", is)
	}
	if len(asked) != 4 || asked[0] != `PUT /drives/D/items/I0/content?@microsoft.graph.conflictBehavior=replace "c:{I0},2"` ||
		!strings.HasPrefix(asked[3], `PATCH /drives/D/items/I0 {"name":"n","fileSystemInfo":{"createdDateTime":`) {
		t.Errorf("asked for %q", asked)
	}
	asked = nil
	if !c.Guards(t.Context(), "D", files[0]) || len(asked) != 1 || asked[0] != `PUT /drives/D/items/I0/content?@microsoft.graph.conflictBehavior=replace "c:{I0},20"` {
		t.Errorf("asked for %q, and refused: not seen", asked)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"written": reply(`{"responses":[{"id":"0","status":200,"body":{}}]}`),
		"busy":    reply(`{"responses":[{"id":"0","status":503,"body":{}}]}`),
		"bad":     reply(`{"responses":[{"id":"0","status":400,"body":{}}]}`),
		"nothing": reply(`{}`),
	} {
		s := newSource(t)
		s.on(batchPath, answer)
		if s.client(newClock()).Guards(t.Context(), "D", files[0]) {
			t.Errorf("%s: it is said to refuse what has changed", name)
		}
	}
}

// Of items that are asked for together, only what is said clearly is taken.
func TestItems(t *testing.T) {
	s := newSource(t)
	var asked []string
	s.on(batchPath, func(w http.ResponseWriter, r *http.Request) {
		for _, q := range batched(t, r) {
			asked = append(asked, q.ID+" "+q.Method+" "+q.URL[:strings.Index(q.URL, "?")])
		}
		io.WriteString(w, `{"responses":[
			{"id":"1","status":404,"body":{"error":{"code":"itemNotFound"}}},
			{"id":"0","status":200,"body":{"id":"i0","name":"n","file":{},"parentReference":{"id":"P"}}},
			{"id":"2","status":404,"body":{"error":{"code":"notFound"}}},
			{"id":"3","status":404},
			{"id":"4","status":200,"body":{"id":"I5","name":"n","file":{}}},
			{"id":"5","status":429,"body":{"error":{"code":"itemNotFound"}}},
			{"id":"6","status":200,"body":"nothing"}]}`)
	})
	found := s.client(newClock()).Items(t.Context(), "D", []backup.ItemID{"I0", "I1", "I2", "I3", "I4", "I5", "I6", "I7"})
	for i, f := range found {
		if want := (drive.Found{There: i == 0, Missing: i == 1}); f.There != want.There || f.Missing != want.Missing {
			t.Errorf("of item %d it is found that %+v", i, f)
		}
	}
	if len(found) != 8 || found[0].Item.Name != "n" || found[0].Item.Parent != "P" || len(asked) != 8 || asked[7] != "7 GET /drives/D/items/I7" {
		t.Errorf("asked %q, found %+v", asked, found)
	}
	s = newSource(t)
	s.on(batchPath, refuse(503, "serviceNotAvailable", "", ""))
	for _, f := range s.client(newClock()).Items(t.Context(), "D", []backup.ItemID{"I0", "I1"}) {
		if f.There || f.Missing {
			t.Errorf("of no answer it is found that %+v", f)
		}
	}
}

// Of folders of a mailbox that are asked for together only those have not changed of which
// that is said clearly, and each by its own cursor.
func TestUnchangedMail(t *testing.T) {
	s := newSource(t)
	c := s.client(newClock())
	at := func(folder, token string) string {
		return s.URL + "/v1.0/admin/exchange/mailboxes/M/folders/" + folder + "/items/delta?$deltatoken=" + token
	}
	page := func(id int, status int, value, link, to string) string {
		return fmt.Sprintf(`{"id":"%d","status":%d,"headers":{"Retry-After":"1"},"body":{%s"%s":"%s"}}`, id, status, value, link, to)
	}
	const none, end, next = `"value":[],`, "@odata.deltaLink", "@odata.nextLink"
	answers := []string{
		page(20, 200, none, end, at("F20", "later")), // nobody asked for that
		page(1, 200, `"value":[{"id":"new"}],`, end, at("F1", "later")),
		page(0, 200, none, end, at("F0", "later")),
		page(0, 200, none, end, at("F0", "twice")),
		page(2, 200, none, next, at("F2", "later")),
		page(3, 200, none, end, at("F0", "later")),                                 // another's
		page(4, 200, none, end, "https://elsewhere.example/F4?later"),              // another server's
		page(5, 410, none, end, at("F5", "later")),                                 // whatever it has
		page(6, 200, "", end, at("F6", "later")),                                   // without a list
		`{"id":"7","status":429,"headers":{"Retry-After":"10"}}`,                   // and none of 8
		page(9, 200, none, end, at("F9", "later")),                                 // whose cursor is none
		page(10, 200, none, end, at("F10", "later")),                               // whose cursor is another folder's
		page(11, 200, none, end, strings.ReplaceAll(at("F11", "x"), "/M/", "/N/")), // another mailbox's
	}
	var asked []string
	s.on(batchPath, func(w http.ResponseWriter, r *http.Request) {
		for _, q := range batched(t, r) {
			asked = append(asked, q.ID+" "+q.Method+" "+q.URL)
			if !strings.Contains(q.Headers["Prefer"], `IdType="ImmutableId"`) {
				t.Errorf("%s prefers %q", q.URL, q.Headers["Prefer"])
			}
		}
		fmt.Fprintf(w, `{"responses":[%s]}`, strings.Join(answers, ","))
	})
	var folders []backup.ItemID
	var cursors []string
	for i := range 12 {
		folders, cursors = append(folders, backup.ItemID(fmt.Sprint("F", i))), append(cursors, at(fmt.Sprint("F", i), "then"))
	}
	cursors[9], cursors[10] = "then", at("F0", "then")
	for i, now := range c.UnchangedMail(t.Context(), "M", folders, cursors) {
		if want := map[int]string{0: at("F0", "later")}[i]; now != want {
			t.Errorf("folder %d goes on at %q, want %q", i, now, want)
		}
	}
	if len(asked) != 10 || asked[0] != "0 GET /admin/exchange/mailboxes/M/folders/F0/items/delta?$deltatoken=then" {
		t.Errorf("asked %q", asked)
	}
	for _, answer := range []http.HandlerFunc{refuse(501, "notImplemented", "", ""), reply(`{}`), reply(`{"responses":"none"}`)} {
		s.on(batchPath, answer)
		if now := c.UnchangedMail(t.Context(), "M", folders[:2], cursors[:2]); now[0] != "" || now[1] != "" {
			t.Errorf("without an answer they go on at %q", now)
		}
	}
}

// Of folders that are made together only those count that the source says it made, as
// they were asked for; of dates only those that it says it set.
func TestFoldersTogether(t *testing.T) {
	folders := make([]drive.NewItem, 7)
	for i := range folders {
		folders[i] = drive.NewItem{Parent: "P", Name: fmt.Sprint("f", i), Times: drive.Times{Modified: time.Unix(1e9, 0)}}
	}
	for _, row := range []struct {
		name, answer  string
		made, unclear []bool // as far as true
		ok            bool
	}{
		{"some", `{"responses":[
			{"id":"1","status":409,"body":{"error":{"code":"nameAlreadyExists"}}},
			{"id":"0","status":201,"body":{"id":"F0","name":"f0","folder":{},"parentReference":{"id":"P"}}},
			{"id":"2","status":201,"body":{"id":"F2","name":"f2 1","folder":{},"parentReference":{"id":"P"}}},
			{"id":"3","status":201,"body":{"id":"F3","name":"f3","folder":{},"parentReference":{"id":"Q"}}},
			{"id":"4","status":201,"body":{"id":"F4","name":"f4","file":{},"parentReference":{"id":"P"}}},
			{"id":"5","status":503},
			{"id":"9","status":201,"body":{"id":"F6","name":"f6","folder":{},"parentReference":{"id":"P"}}}]}`,
			[]bool{true, false, false, false, false, false, false}, []bool{false, false, true, true, true, true, true}, true},
		{"none", `{"responses":[{"id":"0","status":403}]}`, make([]bool, 7), []bool{false, true, true, true, true, true, true}, false},
		{"no answers", `{}`, make([]bool, 7), []bool{true, true, true, true, true, true, true}, true},
	} {
		s := newSource(t)
		s.on(batchPath, reply("%s", row.answer))
		made, ok := s.client(newClock()).MakeFolders(t.Context(), "D", folders)
		if ok != row.ok {
			t.Errorf("%s: ok is %t", row.name, ok)
		}
		for i, m := range made {
			if m.OK != row.made[i] || m.Unclear != row.unclear[i] {
				t.Errorf("%s: of folder %d it is said that %+v", row.name, i, m)
			}
		}
	}
	s := newSource(t)
	s.on(batchPath, refuse(404, "itemNotFound", "", ""))
	if made, ok := s.client(newClock()).MakeFolders(t.Context(), "D", folders); ok || made[0].OK || made[0].Unclear {
		t.Errorf("of what was refused as a whole it is said that %+v, %t", made[0], ok)
	}

	s = newSource(t)
	s.on(batchPath, reply(`{"responses":[
		{"id":"0","status":200,"body":{"id":"I0"}},
		{"id":"1","status":200,"body":{"id":"other"}},
		{"id":"2","status":403,"body":{"id":"I2"}},
		{"id":"4","status":200,"body":{"id":"I4"}}]}`))
	when := drive.Times{Modified: time.Unix(1e9, 0)}
	done := s.client(newClock()).DateItems(t.Context(), "D", []drive.Dating{{ID: "I0", Times: when}, {ID: "I1", Times: when}, {ID: "I2", Times: when}, {ID: "I3", Times: when}})
	if fmt.Sprint(done) != "[true false false false]" {
		t.Errorf("dated: %v", done)
	}
}

// Of items that are deleted together those are gone of which the source says so, each
// under its tag; and a source is trusted with that once it has refused a wrong one.
func TestDeleteItems(t *testing.T) {
	s := newSource(t)
	var asked string
	s.on(batchPath, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = string(b)
		io.WriteString(w, `{"responses":[{"id":"0","status":204},{"id":"1","status":412},{"id":"2","status":200},{"id":"9","status":204}]}`)
	})
	all := []drive.Doomed{{ID: "I0", Tag: `"c:{0},1"`}, {ID: "I1", Tag: "t"}, {ID: "I2", Tag: "t"}, {ID: "I3", Tag: "t"}}
	if done := s.client(newClock()).DeleteItems(t.Context(), "D", all); fmt.Sprint(done) != "[true false false false]" {
		t.Errorf("deleted: %v", done)
	}
	if want := `{"id":"0","method":"DELETE","url":"/drives/D/items/I0","headers":{"If-Match":"\"c:{0},1\""}}`; !strings.Contains(asked, want) {
		t.Errorf("asked %s, want %s in it", asked, want)
	}
	for answer, guards := range map[string]bool{
		`{"responses":[{"id":"0","status":412}]}`: true,
		`{"responses":[{"id":"0","status":204}]}`: false,
		`{"responses":[{"id":"0","status":404}]}`: false,
		`{}`: false,
	} {
		s := newSource(t)
		s.on(batchPath, reply("%s", answer))
		if got := s.client(newClock()).GuardsDeletes(t.Context(), "D", all[0]); got != guards {
			t.Errorf("after %s it guards: %t", answer, got)
		}
	}
}
