package drive_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/drive"
)

const (
	sessionPath = "POST /v1.0/drives/D/items/P:/new file.bin:/createUploadSession"
	namedPath   = "GET /v1.0/drives/D/items/P:/new file.bin"
)

var (
	times  = drive.Times{Created: time.Date(2020, 1, 2, 3, 4, 5, 678, time.UTC), Modified: time.Date(2021, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))}
	target = drive.Target{Parent: "P", Name: "new file.bin"}
)

// A session receives an upload as the service does.
type session struct {
	s    *source
	size int64
	id   string // of what it makes

	mu   sync.Mutex
	got  []byte
	done bool
}

func newSession(s *source, size int) *session {
	u := &session{s: s, size: int64(size), id: "N"}
	s.on(sessionPath, func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.got, u.done = make([]byte, 0, size), false
		u.mu.Unlock()
		reply(`{"uploadUrl":"%s/up?tempauth=1","nextExpectedRanges":["0-"]}`, s.URL)(w, r)
	})
	s.on("GET /up", u.state)
	s.on("PUT /up", u.put)
	s.on("DELETE /up", status(204))
	s.on(namedPath, u.named)
	return u
}

func (u *session) state(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		refuse(404, "itemNotFound", "uploadSessionNotFound", "")(w, r)
		return
	}
	fmt.Fprintf(w, `{"nextExpectedRanges":["%d-"]}`, len(u.got))
}

func (u *session) put(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		u.s.t.Error("a fragment carries a token")
	}
	var from, to, size int64
	fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size)
	b := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, b)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err != nil:
	case u.done:
		refuse(404, "itemNotFound", "uploadSessionNotFound", "")(w, r)
	case from != int64(len(u.got)):
		refuse(416, "invalidRange", "fragmentOverlap", "")(w, r)
	case size != u.size || to-from+1 != int64(len(b)) || to+1 < size && len(b)%(320<<10) != 0:
		u.s.t.Errorf("fragment %d-%d/%d of %d bytes", from, to, size, len(b))
	default:
		if u.got = append(u.got, b...); int64(len(u.got)) < size {
			w.WriteHeader(202)
			fmt.Fprintf(w, `{"nextExpectedRanges":["%d-%d"]}`, len(u.got), size-1)
			return
		}
		u.done = true
		w.WriteHeader(201)
		fmt.Fprint(w, u.json())
	}
}

func (u *session) json() string {
	return strings.Replace(named(u.id, "c1", u.got), `"eTag"`,
		`"fileSystemInfo":{"createdDateTime":"2020-01-02T03:04:05Z","lastModifiedDateTime":"2021-01-02T02:04:05Z"},"eTag"`, 1)
}

func (u *session) named(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.done {
		w.WriteHeader(404)
		return
	}
	fmt.Fprint(w, u.json())
}

// named is fileJSON of a file that has the target's name.
func named(id, cTag string, content []byte) string {
	return strings.Replace(fileJSON(id, cTag, content), id+".bin", target.Name, 1)
}

// lost lets the service act but not answer.
func lost(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(discard{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func (s *source) count(route string) (n int) {
	for _, r := range s.requests() {
		if r == route {
			n++
		}
	}
	return n
}

func TestUploadsSurviveWhatHappens(t *testing.T) {
	body := content(20<<20 + 7)
	for _, tt := range []struct {
		name     string
		puts     func(u *session) []http.HandlerFunc
		sessions int
	}{
		{"nothing happens", func(u *session) []http.HandlerFunc { return []http.HandlerFunc{u.put} }, 1},
		{"refused for a while", func(u *session) []http.HandlerFunc {
			return []http.HandlerFunc{u.put, status(503), status(429, "Retry-After", "3"), broken, u.put}
		}, 1},
		{"answers lost", func(u *session) []http.HandlerFunc { return []http.HandlerFunc{lost(u.put), u.put} }, 1},
		{"answer to the last lost", func(u *session) []http.HandlerFunc { return []http.HandlerFunc{u.put, u.put, lost(u.put)} }, 1},
		{"out of step", func(u *session) []http.HandlerFunc {
			return []http.HandlerFunc{u.put, refuse(416, "invalidRange", "fragmentOverlap", ""), u.put}
		}, 1},
		{"part of a fragment kept", func(u *session) []http.HandlerFunc {
			return []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				u.mu.Lock()
				u.got = append(u.got, b[:len(b)/2]...)
				u.mu.Unlock()
				w.WriteHeader(504)
			}, u.put}
		}, 1},
		{"session lost", func(u *session) []http.HandlerFunc {
			return []http.HandlerFunc{u.put, refuse(404, "itemNotFound", "uploadSessionNotFound", ""), u.put}
		}, 2},
		{"address expired", func(u *session) []http.HandlerFunc {
			return []http.HandlerFunc{u.put, refuse(401, "unauthenticated", "expiredToken", ""), u.put}
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(t)
			u := newSession(s, len(body))
			s.answers("PUT /up", tt.puts(u)...)
			it, err := s.client(newClock()).Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times)
			if err != nil {
				t.Fatal(err)
			}
			if it.ID != "N" || it.Hash != hashOf(body) || !bytes.Equal(u.got, body) {
				t.Errorf("item = %+v, %d bytes arrived", it, len(u.got))
			}
			if n := s.count(sessionPath); n != tt.sessions {
				t.Errorf("sessions = %d, want %d", n, tt.sessions)
			}
		})
	}
}

func TestAnUploadStatesWhatItWants(t *testing.T) {
	body := content(1000)
	s := newSource(t)
	u := newSession(s, len(body))
	var got struct{ Item map[string]any }
	var match string
	open := func(w http.ResponseWriter, r *http.Request) {
		match = r.Header.Get("If-Match")
		got.Item = nil
		json.NewDecoder(r.Body).Decode(&got)
		u.got, u.done = nil, false
		reply(`{"uploadUrl":"%s/up?tempauth=1"}`, s.URL)(w, r)
	}
	s.on(sessionPath, open)
	s.on("POST /v1.0/drives/D/items/I/createUploadSession", open)
	c := s.client(newClock())
	for _, tt := range []struct {
		to             drive.Target
		conflict, name any
	}{
		{target, "fail", "new file.bin"},
		{drive.Target{Item: "I", IfMatch: `"e1"`}, "replace", nil},
	} {
		u.id = cmp.Or(string(tt.to.Item), "N")
		if _, err := c.Upload(t.Context(), "D", tt.to, bytes.NewReader(body), int64(len(body)), times); err != nil {
			t.Fatal(err)
		}
		info, _ := got.Item["fileSystemInfo"].(map[string]any)
		if got.Item["@microsoft.graph.conflictBehavior"] != tt.conflict || got.Item["name"] != tt.name ||
			info["createdDateTime"] != "2020-01-02T03:04:05.000000678Z" || info["lastModifiedDateTime"] != "2021-01-02T02:04:05Z" ||
			match != tt.to.IfMatch {
			t.Errorf("%v: asked for %v, If-Match %q", tt.to, got.Item, match)
		}
	}
}

func TestUploadsThatCannotBeSayWhy(t *testing.T) {
	body := content(1000)
	for _, tt := range []struct {
		name      string
		open, put http.HandlerFunc
		want      error
	}{
		{"name taken", refuse(409, "nameAlreadyExists", "", ""), nil, drive.ErrExists},
		{"name taken at the end", nil, refuse(409, "nameAlreadyExists", "", ""), drive.ErrExists},
		{"changed", refuse(412, "resourceModified", "", ""), nil, drive.ErrChanged},
		{"no space", nil, refuse(507, "quotaLimitReached", "", ""), drive.ErrQuota},
		{"locked", nil, refuse(423, "notAllowed", "resourceLocked", ""), drive.ErrLocked},
		{"folder gone", status(404), nil, drive.ErrNotFound},
		{"down", nil, status(500), drive.ErrUnavailable},
		{"sessions never last", nil, status(404), drive.ErrUnavailable},
	} {
		s := newSource(t)
		newSession(s, len(body))
		if tt.open != nil {
			s.on(sessionPath, tt.open)
		}
		if tt.put != nil {
			s.on("PUT /up", tt.put)
		}
		if tt.want == drive.ErrExists {
			s.on(namedPath, reply("%s", fileJSON("other", "c9", content(3))))
		}
		_, err := s.client(newClock()).Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "folder P of drive D") {
			t.Errorf("%s: err = %v, want %v", tt.name, err, tt.want)
		}
		if tt.put != nil && tt.name != "sessions never last" && s.count("DELETE /up") != 1 {
			t.Errorf("%s: the session was left behind", tt.name)
		}
	}
}

type brokenReader struct{ err error }

func (r brokenReader) ReadAt(p []byte, off int64) (int, error) { return 0, r.err }

func TestAnUploadOfWhatCannotBeReadFails(t *testing.T) {
	s := newSource(t)
	newSession(s, 1000)
	bad := errors.New("the vault is damaged")
	_, err := s.client(newClock()).Upload(t.Context(), "D", target, brokenReader{bad}, 1000, times)
	if !errors.Is(err, bad) {
		t.Errorf("err = %v, want the reader's", err)
	}
}

func TestAnEmptyFileIsPutAndDated(t *testing.T) {
	const put = "PUT /v1.0/drives/D/items/P:/new file.bin:/content"
	const empty = `{"id":"N","size":0,"file":{},"fileSystemInfo":{"createdDateTime":"2026-01-01T00:00:00Z"}}`
	for name, answers := range map[string][]http.HandlerFunc{
		"at once":     {reply(empty)},
		"answer lost": {broken, refuse(409, "nameAlreadyExists", "", "")},
	} {
		s := newSource(t)
		s.answers(put, answers...)
		s.on(namedPath, reply(empty))
		var patch string
		s.on("PATCH /v1.0/drives/D/items/N", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			patch = string(b)
			fmt.Fprint(w, `{"id":"N","file":{},"fileSystemInfo":{"createdDateTime":"2020-01-02T03:04:05Z"}}`)
		})
		it, err := s.client(newClock()).Upload(t.Context(), "D", target, nil, 0, times)
		if err != nil || it.ID != "N" || it.Created.Year() != 2020 || !strings.Contains(patch, "2020-01-02T03:04:05.000000678Z") {
			t.Errorf("%s: item = %+v, %v; patch %s", name, it, err, patch)
		}
	}
	s := newSource(t)
	s.on(put, refuse(409, "nameAlreadyExists", "", ""))
	if _, err := s.client(newClock()).Upload(t.Context(), "D", target, nil, 0, times); !errors.Is(err, drive.ErrExists) {
		t.Errorf("err = %v, want ErrExists", err)
	}
}

func TestAFolderMadeByALostAnswerIsTaken(t *testing.T) {
	const post = "POST /v1.0/drives/D/items/P/children"
	taken := refuse(409, "nameAlreadyExists", "", "")
	s := newSource(t)
	s.answers(post, broken, taken)
	s.on("GET /v1.0/drives/D/items/P:/sub", reply(`{"id":"N","folder":{"childCount":0}}`))
	if it, err := s.client(newClock()).CreateFolder(t.Context(), "D", drive.NewItem{Parent: "P", Name: "sub"}); err != nil || it.ID != "N" {
		t.Errorf("CreateFolder = %+v, %v", it, err)
	}
	s.on(post, taken)
	if _, err := s.client(newClock()).CreateFolder(t.Context(), "D", drive.NewItem{Parent: "P", Name: "sub"}); !errors.Is(err, drive.ErrExists) {
		t.Errorf("err = %v, want ErrExists", err)
	}
}

func TestPatchAndDeleteSurviveALostAnswer(t *testing.T) {
	s := newSource(t)
	c := s.client(newClock())
	s.answers("PATCH /v1.0/drives/D/items/I", broken, refuse(412, "resourceModified", "", ""))
	s.on("GET /v1.0/drives/D/items/I", reply(`{"id":"I","name":"b","file":{},"parentReference":{"id":"P2"}}`))
	if it, err := c.Patch(t.Context(), "D", "I", drive.Patch{Name: "b", Parent: "P2", IfMatch: "e"}); err != nil || it.Name != "b" {
		t.Errorf("Patch = %+v, %v", it, err)
	}
	s.answers("PATCH /v1.0/drives/D/items/I", broken, refuse(412, "resourceModified", "", ""))
	if _, err := c.Patch(t.Context(), "D", "I", drive.Patch{Name: "c", IfMatch: "e"}); !errors.Is(err, drive.ErrChanged) {
		t.Errorf("err = %v, want ErrChanged", err)
	}
	s.answers("DELETE /v1.0/drives/D/items/I", broken, status(404))
	if err := c.Delete(t.Context(), "D", "I", ""); err != nil {
		t.Errorf("Delete = %v", err)
	}
	s.on("DELETE /v1.0/drives/D/items/I", status(404))
	if err := c.Delete(t.Context(), "D", "I", ""); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("err = %v, want ErrNotFound", err)
	}
}

func TestLibraries(t *testing.T) {
	s := newSource(t)
	s.on(rootPath, rootJSON)
	s.on("POST /v1.0/sites/S/lists", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if got, want := string(b), `{"displayName":"Restored","list":{"template":"documentLibrary"}}`; got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		w.WriteHeader(201)
		fmt.Fprint(w, `{"id":"list"}`)
	})
	s.answers("GET /v1.0/sites/S/lists/list/drive", status(404), reply(`{"id":"b!N","name":"Restored","webUrl":"https://x/Restored"}`))
	s.on("GET /v1.0/sites/S/drives", reply(`{"value":[{"id":"b!O","name":"Other"},{"id":"b!N","name":"restored"}]}`))
	c := s.client(newClock())
	d, err := c.CreateLibrary(t.Context(), "D", "Restored")
	if err != nil || d.ID != "b!N" || d.SiteID != "S" || d.WebURL != "https://x/Restored" {
		t.Errorf("CreateLibrary = %+v, %v", d, err)
	}
	if d, ok, err := c.FindLibrary(t.Context(), "D", "Restored"); !ok || err != nil || d.ID != "b!N" {
		t.Errorf("FindLibrary = %+v, %v, %v", d, ok, err)
	}
	if _, ok, err := c.FindLibrary(t.Context(), "D", "None"); ok || err != nil {
		t.Errorf("FindLibrary of none = %v, %v", ok, err)
	}
	for _, answer := range []http.HandlerFunc{refuse(409, "nameAlreadyExists", "", ""), refuse(400, "invalidRequest", "", "A list with this title already exists.")} {
		s.on("POST /v1.0/sites/S/lists", answer)
		if _, err := c.CreateLibrary(t.Context(), "D", "Restored"); !errors.Is(err, drive.ErrExists) {
			t.Errorf("err = %v, want ErrExists", err)
		}
	}
}

func TestAnUploadFillsTheGaps(t *testing.T) {
	body := content(1 << 20)
	s := newSource(t)
	newSession(s, len(body))
	s.on("GET /up", reply(`{"nextExpectedRanges":["0-327679","655360-"]}`))
	var ranges []string
	note := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			ranges = append(ranges, r.Header.Get("Content-Range"))
			h(w, r)
		}
	}
	s.answers("PUT /up", note(status(500)),
		note(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(202)
			fmt.Fprint(w, `{"nextExpectedRanges":["655360-"]}`)
		}),
		note(reply("%s", named("N", "c1", body))))
	it, err := s.client(newClock()).Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), drive.Times{})
	if err != nil || it.ID != "N" {
		t.Fatal(it, err)
	}
	want := "[bytes 0-1048575/1048576 bytes 0-327679/1048576 bytes 655360-1048575/1048576]"
	if fmt.Sprint(ranges) != want {
		t.Errorf("sent %v, want %v", ranges, want)
	}
}

// rewritten is what the service makes of a document that was uploaded: another
// size, another hash, and the times that were asked for.
func rewritten(id string) string {
	return fmt.Sprintf(`{"id":%q,"name":"new file.bin","size":1234,"eTag":"e2","cTag":"c2","file":{"hashes":{"quickXorHash":%q}},"parentReference":{"id":"P"},
		"fileSystemInfo":{"createdDateTime":"2020-01-02T03:04:05Z","lastModifiedDateTime":"2021-01-02T02:04:05Z"}}`, id, hashOf(content(1234)))
}

func TestWhatTheServiceRewritesIsUploadedOnce(t *testing.T) {
	body := content(1000)
	const replace = "POST /v1.0/drives/D/items/I/createUploadSession"
	const item = "GET /v1.0/drives/D/items/I"
	noHash := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"name":"n","size":1000,"eTag":"e2","file":{},"parentReference":{"id":"P"},"lastModifiedDateTime":"2026-01-01T00:00:00Z"}`, id)
	}
	for _, tt := range []struct {
		name  string
		to    drive.Target
		times drive.Times
		after string
	}{
		{"a new file", target, times, rewritten("N")},
		{"a new file, without hash or times", target, drive.Times{}, noHash("N")},
		{"another content, by cTag", drive.Target{Item: "I", IfMatch: "c1"}, times, rewritten("I")},
		{"another content, by eTag", drive.Target{Item: "I", IfMatch: "e1"}, times, rewritten("I")},
		{"another content, without a tag", drive.Target{Item: "I"}, times, rewritten("I")},
		{"another content, without hash or times", drive.Target{Item: "I", IfMatch: "e1"}, drive.Times{}, noHash("I")},
	} {
		for _, answer := range []string{"at once", "lost"} {
			t.Run(tt.name+", "+answer, func(t *testing.T) {
				s := newSource(t)
				newSession(s, len(body))
				s.on(replace, reply(`{"uploadUrl":"%s/up?tempauth=1"}`, s.URL))
				var done atomic.Bool // a connection that broke may still be served
				put := func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					if done.Load() {
						refuse(404, "itemNotFound", "uploadSessionNotFound", "")(w, r)
						return
					}
					done.Store(true)
					if answer == "lost" {
						panic(http.ErrAbortHandler)
					}
					w.WriteHeader(201)
					fmt.Fprint(w, tt.after)
				}
				s.on("PUT /up", put)
				s.on("GET /up", status(404))
				s.on(namedPath, func(w http.ResponseWriter, r *http.Request) {
					if !done.Load() {
						w.WriteHeader(404)
						return
					}
					fmt.Fprint(w, tt.after)
				})
				s.on(item, func(w http.ResponseWriter, r *http.Request) {
					if !done.Load() { // of the same times and size as the upload
						fmt.Fprint(w, strings.NewReplacer(`"e2"`, `"e1"`, `"c2"`, `"c1"`).Replace(tt.after))
						return
					}
					fmt.Fprint(w, tt.after)
				})
				it, err := s.client(newClock()).Upload(t.Context(), "D", tt.to, bytes.NewReader(body), int64(len(body)), tt.times)
				if err != nil || it.ETag != "e2" {
					t.Errorf("item = %+v, %v", it, err)
				}
				if n := s.count("PUT /up"); n != 1 {
					t.Errorf("%d uploads, want 1", n)
				}
			})
		}
	}
}

// An item that only looks like what was to be uploaded, and is what it was
// before, has not been replaced.
func TestWhatWasThereBeforeHasNotArrived(t *testing.T) {
	body := content(1000)
	s := newSource(t)
	newSession(s, len(body))
	sessions := 0
	s.on("POST /v1.0/drives/D/items/I/createUploadSession", func(w http.ResponseWriter, r *http.Request) {
		sessions++
		reply(`{"uploadUrl":"%s/up?tempauth=%d"}`, s.URL, sessions)(w, r)
	})
	s.on("GET /v1.0/drives/D/items/I", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, rewritten("I")) })
	s.on("GET /up", status(404))
	s.answers("PUT /up", broken, broken, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		fmt.Fprint(w, strings.Replace(fileJSON("I", "c3", body), `"eTag"`,
			`"fileSystemInfo":{"createdDateTime":"2020-01-02T03:04:05Z","lastModifiedDateTime":"2021-01-02T02:04:05Z"},"eTag"`, 1))
	})
	it, err := s.client(newClock()).Upload(t.Context(), "D", drive.Target{Item: "I", IfMatch: "c2"}, bytes.NewReader(body), 1000, times)
	if err != nil || it.CTag != "c3" || sessions != 3 {
		t.Errorf("item = %+v, %v after %d sessions, want the new content in the third", it, err, sessions)
	}
}

// While a session that somebody left is open, there is no other; the service
// says then that the name is taken.
func TestAnOpenSessionIsToldFromATakenName(t *testing.T) {
	body := content(1000)
	const replace = "POST /v1.0/drives/D/items/I/createUploadSession"
	taken := refuse(409, "nameAlreadyExists", "", "The specified item name already exists.")
	for _, tt := range []struct {
		name, route string
		to          drive.Target
		refusal     http.HandlerFunc
		there       bool // something has the name
		want        error
	}{
		{"a new file", sessionPath, target, taken, false, drive.ErrUploading},
		{"a new file, of which a part can be seen", sessionPath, target, refuse(409, "nameAlreadyExists", "", "An upload session already exists for this file"), true, drive.ErrUploading},
		{"another content", replace, drive.Target{Item: "I", IfMatch: "c1"}, taken, true, drive.ErrUploading},
		{"what has the name is no session", sessionPath, target, taken, true, drive.ErrExists},
	} {
		s, clk := newSource(t), newClock()
		s.on(tt.route, tt.refusal)
		s.on(namedPath, status(404))
		if tt.there {
			s.on(namedPath, reply("%s", fileJSON("N", "c0", nil)))
		}
		_, err := s.client(clk).Upload(t.Context(), "D", tt.to, bytes.NewReader(body), int64(len(body)), times)
		if !errors.Is(err, tt.want) || errors.Is(err, drive.ErrExists) != (tt.want == drive.ErrExists) || clk.total() != 0 {
			t.Errorf("%s: %v after %v, want %v at once", tt.name, err, clk.total(), tt.want)
		}
	}
}

// A session that does not go forward ends, whatever it answers, and one that
// goes forward by little at a time does not.
func TestAnUploadThatDoesNotAdvanceEnds(t *testing.T) {
	const size = 25 << 20
	body := content(size)
	wants := func(w http.ResponseWriter, next int) {
		w.WriteHeader(202)
		fmt.Fprintf(w, `{"nextExpectedRanges":["%d-"]}`, next)
	}
	for _, tt := range []struct {
		name string
		put  func(w http.ResponseWriter, n, from int) // the n-th
		get  int                                      // what is wanted next by the session when it is asked
	}{
		{"a byte at a time", func(w http.ResponseWriter, _, from int) { wants(w, from+1) }, 0},
		{"back and forth", func(w http.ResponseWriter, n, from int) {
			if from > 10<<20 {
				w.WriteHeader(500)
				return
			}
			wants(w, from+10<<20)
		}, 0},
		{"round and round", func(w http.ResponseWriter, n, from int) {
			if from < 20<<20 {
				wants(w, from+10<<20)
				return
			}
			refuse(416, "invalidRange", "fragmentOverlap", "")(w, nil)
		}, 0},
	} {
		s, n := newSource(t), 0
		newSession(s, size)
		s.on("PUT /up", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			var from int
			fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-", &from)
			if n++; n > 200 {
				panic(http.ErrAbortHandler) // it would not end
			}
			tt.put(w, n, from)
		})
		s.on("GET /up", func(w http.ResponseWriter, r *http.Request) { wants(w, tt.get) })
		_, err := s.client(newClock()).Upload(t.Context(), "D", target, bytes.NewReader(body), size, times)
		if err == nil || n > 40 {
			t.Errorf("%s: %v after %d parts", tt.name, err, n)
		}
		if s.count("DELETE /up") == 0 {
			t.Errorf("%s: the session was left behind", tt.name)
		}
	}

	// What keeps a third of each part comes to its end.
	s := newSource(t)
	u := newSession(s, size)
	s.on("PUT /up", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.got = append(u.got, b[:(len(b)+2)/3]...)
		if u.done = len(u.got) == size; !u.done {
			wants(w, len(u.got))
		} else {
			fmt.Fprint(w, u.json())
		}
		u.mu.Unlock()
	})
	if _, err := s.client(newClock()).Upload(t.Context(), "D", target, bytes.NewReader(body), size, times); err != nil || !bytes.Equal(u.got, body) {
		t.Errorf("a third at a time: %v with %d bytes", err, len(u.got))
	}
}

// One file that is throttled for ever, with pauses longer than anybody waits, is
// left as one that fails, although the source goes on giving it sessions, takes
// other files of its folder, and the upload is begun anew after each pause.
func TestAFileThatIsThrottledForEverIsItsOwn(t *testing.T) {
	body := content(1000)
	for name, slow := range map[string]func(s *source){
		"its parts":    func(s *source) { s.on("PUT /up", status(429, "Retry-After", "3600")) },
		"its sessions": func(s *source) { s.on(sessionPath, status(429, "Retry-After", "3600")) },
	} {
		s, clk := newSource(t), newClock()
		newSession(s, len(body))
		slow(s)
		const other = "POST /v1.0/drives/D/items/P:/other.bin:/createUploadSession"
		s.on(other, reply(`{"uploadUrl":"%s/other?tempauth=1"}`, s.URL))
		s.on("PUT /other", reply(`{"id":"O","name":"other.bin","file":{},"fileSystemInfo":{"createdDateTime":"2020-01-02T03:04:05Z","lastModifiedDateTime":"2021-01-02T02:04:05Z"}}`))
		c := s.client(clk)
		var err error
		for pauses := 0; ; pauses++ {
			if _, err = c.Upload(t.Context(), "D", drive.Target{Parent: "P", Name: "other.bin"}, bytes.NewReader(body), 1000, times); err != nil {
				t.Fatalf("%s: the other file: %v", name, err)
			}
			if _, err = c.Upload(t.Context(), "D", target, bytes.NewReader(body), 1000, times); !errors.Is(err, drive.ErrPaused) {
				break
			}
			if pauses > 5 {
				t.Fatalf("%s: without end", name)
			}
			clk.Sleep(t.Context(), time.Hour+time.Second)
		}
		if !errors.Is(err, drive.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A content leaves a Graph that is spoken to by HTTPS by nothing else.
func TestNothingIsUploadedInTheClear(t *testing.T) {
	s := newSource(t)
	newSession(s, 1000)
	front := httptest.NewTLSServer(s)
	defer front.Close()
	c := s.client(newClock(), func(cfg *drive.Config) {
		cfg.Graph, cfg.Authority, cfg.HTTP = front.URL+"/v1.0", front.URL, front.Client()
	})
	if _, err := c.Upload(t.Context(), "D", target, bytes.NewReader(content(1000)), 1000, times); err == nil || !strings.Contains(err.Error(), "HTTPS") {
		t.Errorf("err = %v", err)
	}
	if s.count("PUT /up") > 0 {
		t.Error("a part was sent")
	}
}

// A part of a file goes on to where the source sends it, with all its bytes, and
// never with a token to another host or without TLS.
func TestAPartFollowsARedirection(t *testing.T) {
	body := content(11 << 20)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s without a handler", r.Method, r.URL)
	}))
	defer elsewhere.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("what is written went to another host without TLS")
	}))
	defer plain.Close()
	for _, status := range []int{307, 308} {
		s := newSource(t)
		u := newSession(s, len(body))
		elsewhere.Config.Handler = http.HandlerFunc(u.put) // which wants no token
		s.on("PUT /moved", u.put)
		to := []string{"/moved?tempauth=1", elsewhere.URL + "/up"}
		s.on("PUT /up", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", to[0])
			to = to[1:]
			w.WriteHeader(status)
		})
		trusting := func(cfg *drive.Config) { cfg.HTTP = elsewhere.Client() }
		if _, err := s.client(newClock(), trusting).Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times); err != nil || !bytes.Equal(u.got, body) {
			t.Errorf("%d: %v with %d bytes", status, err, len(u.got))
		}
		to = []string{plain.URL + "/up", plain.URL + "/up"}
		if _, err := s.client(newClock(), trusting).Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times); err == nil || !strings.Contains(err.Error(), "without TLS") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAnUploadIsNotFinishedBeforeItIs(t *testing.T) {
	body := content(20 << 20)
	for name, bad := range map[string]http.HandlerFunc{
		"too early":          func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, rewritten("N")) },
		"without an item":    reply(`{}`),
		"an error in JSON":   reply("%s", jsonDoc),
		"a page":             reply("%s", signIn),
		"accepted, no range": status(202),
	} {
		s := newSource(t)
		u := newSession(s, len(body))
		s.answers("PUT /up", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			bad(w, r)
		}, u.put)
		it, err := s.client(newClock()).Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times)
		if err != nil || !bytes.Equal(u.got, body) || it.Hash != hashOf(body) {
			t.Errorf("%s: %d of %d bytes arrived, %v", name, len(u.got), len(body), err)
		}
	}
}

func TestTimesOfAnyYearAreSent(t *testing.T) {
	const patch = "PATCH /v1.0/drives/D/items/I"
	year := func(n int) time.Time { return time.Date(n, 7, 8, 9, 10, 11, 0, time.UTC) }
	for _, tt := range []struct {
		created, modified time.Time
		want              string
	}{
		{year(1500), year(2500), `{"fileSystemInfo":{"createdDateTime":"1500-07-08T09:10:11Z","lastModifiedDateTime":"2500-07-08T09:10:11Z"}}`},
		{year(2), year(9999), `{"fileSystemInfo":{"createdDateTime":"0002-07-08T09:10:11Z","lastModifiedDateTime":"9999-07-08T09:10:11Z"}}`},
		{year(-3), year(10_000), `{"fileSystemInfo":{}}`}, // the wire has no such years
	} {
		s := newSource(t)
		var got string
		s.on(patch, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got = string(b)
			fmt.Fprint(w, fileJSON("I", "c", nil))
		})
		if _, err := s.client(newClock()).Patch(t.Context(), "D", "I", drive.Patch{Times: &drive.Times{Created: tt.created, Modified: tt.modified}}); err != nil || got != tt.want {
			t.Errorf("sent %s, %v; want %s", got, err, tt.want)
		}
	}
}

// What the source answers may be about another item than was written, which is
// then neither dated nor taken for it.
func TestAnswersAboutAnotherItem(t *testing.T) {
	body := content(1000)
	const other = `{"id":"O","name":"other.bin","size":3,"file":{},"folder":null,"parentReference":{"id":"elsewhere"}}`
	const folder = `{"id":"OF","name":"other","folder":{"childCount":3},"parentReference":{"id":"elsewhere"}}`
	s := newSource(t)
	u := newSession(s, len(body))
	whole := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			u.put(discard{http.Header{}}, r)
			h(w, r)
		}
	}
	s.on("PUT /up", whole(reply(other)))
	c := s.client(newClock())
	if it, err := c.Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times); err != nil || it.ID != "N" {
		t.Errorf("a new file: %+v, %v", it, err)
	}
	u.id = "I"
	s.on("POST /v1.0/drives/D/items/I/createUploadSession", reply(`{"uploadUrl":"%s/up?tempauth=1"}`, s.URL))
	s.on("GET /v1.0/drives/D/items/I", u.named)
	u.got, u.done = nil, false
	if it, err := c.Upload(t.Context(), "D", drive.Target{Item: "I", IfMatch: "c0"}, bytes.NewReader(body), int64(len(body)), times); err != nil || it.ID != "I" {
		t.Errorf("another content: %+v, %v", it, err)
	}

	// A service that takes a name for taken, and makes up another.
	u.id = "N"
	s.on("PUT /up", whole(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Replace(u.json(), "new file", "new file 1", 1))
	}))
	s.on(namedPath, status(404))
	s.on("GET /v1.0/drives/D/items/N", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Replace(u.json(), "new file", "new file 1", 1))
	})
	var patched string
	s.on("PATCH /v1.0/drives/D/items/N", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		patched = string(b)
		fmt.Fprint(w, u.json())
	})
	if it, err := c.Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times); err != nil || it.Name != target.Name || !strings.Contains(patched, target.Name) {
		t.Errorf("a file by another name: %+v, %v, changed by %s", it, err, patched)
	}
	// And what is somebody else's is not renamed.
	s.on("PUT /up", whole(reply(other)))
	s.on("GET /v1.0/drives/D/items/O", reply(other))
	if it, err := c.Upload(t.Context(), "D", target, bytes.NewReader(body), int64(len(body)), times); !errors.Is(err, drive.ErrUnavailable) {
		t.Errorf("a file that is nowhere: %+v, %v", it, err)
	}

	s.on("POST /v1.0/drives/D/items/P/children", reply(folder))
	s.on("GET /v1.0/drives/D/items/P:/made", reply(`{"id":"F","name":"made","folder":{"childCount":0},"parentReference":{"id":"P"}}`))
	if it, err := c.CreateFolder(t.Context(), "D", drive.NewItem{Parent: "P", Name: "made"}); err != nil || it.ID != "F" {
		t.Errorf("a folder: %+v, %v", it, err)
	}
	s.on("GET /v1.0/drives/D/items/P:/made", status(404))
	s.on("GET /v1.0/drives/D/items/OF", reply(folder))
	if it, err := c.CreateFolder(t.Context(), "D", drive.NewItem{Parent: "P", Name: "made"}); !errors.Is(err, drive.ErrUnavailable) {
		t.Errorf("a folder that is nowhere: %+v, %v", it, err)
	}
	s.on("GET /v1.0/drives/D/items/OF", reply(`{"id":"OF","name":"made 1","folder":{"childCount":0},"parentReference":{"id":"P"}}`))
	s.on("PATCH /v1.0/drives/D/items/OF", reply(`{"id":"OF","name":"made","folder":{"childCount":0},"parentReference":{"id":"P"}}`))
	if it, err := c.CreateFolder(t.Context(), "D", drive.NewItem{Parent: "P", Name: "made"}); err != nil || it.Name != "made" {
		t.Errorf("a folder by another name: %+v, %v", it, err)
	}
	s.on("PATCH /v1.0/drives/D/items/OF", reply(other))
	if it, err := c.Patch(t.Context(), "D", "OF", drive.Patch{Name: "made"}); err != nil || it.ID != "OF" {
		t.Errorf("a change: %+v, %v", it, err)
	}
}
