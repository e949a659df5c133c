package drive_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/drive"
)

const batchPath = "POST /v1.0/$batch"

// count returns how often something was asked for.
func count(s *source, what string) (n int) {
	for _, r := range s.requests() {
		if r == what {
			n++
		}
	}
	return n
}

// onBatch answers a batch with some answers, and returns the addresses asked for.
func onBatch(s *source, answers string) *[]string {
	asked := new([]string)
	s.on(batchPath, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Requests []struct {
				ID, Method, URL string
				Headers         map[string]string
				Body            struct {
					Item struct {
						Conflict string `json:"@microsoft.graph.conflictBehavior"`
						Name     string
						Times    struct{ LastModifiedDateTime string } `json:"fileSystemInfo"`
					}
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			s.t.Error(err)
		}
		for i, q := range in.Requests {
			*asked = append(*asked, q.Method+" "+q.URL)
			if q.ID != fmt.Sprint(i) || q.Body.Item.Conflict != "fail" || q.Body.Item.Name == "" || q.Body.Item.Times.LastModifiedDateTime == "" || q.Headers["Content-Type"] != "application/json" {
				s.t.Errorf("asked for %+v", q)
			}
		}
		fmt.Fprint(w, strings.ReplaceAll(answers, "%s", s.URL))
	})
	return asked
}

// Sessions that were opened ahead are what files are uploaded by, one request each;
// where there is none, Upload opens it.
func TestUploadBySessionsOpenedAhead(t *testing.T) {
	content := []byte("what is in the file")
	s := newSource(t)
	u := newSession(s, len(content))
	asked := onBatch(s, `{"responses":[{"id":"2","status":409,"body":{"error":{}}},{"id":"1","status":200,"body":{"uploadUrl":"%s/other?tempauth=1"}},`+
		`{"id":"0","status":200,"body":{"uploadUrl":"%s/up?tempauth=1"}},{"id":"0","status":200,"body":{"uploadUrl":"%s/twice"}},`+
		`{"id":"7","status":200,"body":{"uploadUrl":"%s/up"}},{"id":"x"},{"id":"3","status":200,"body":"bm8="},{"id":"4","status":200,"body":{}}]}`)
	files := []drive.NewItem{{Parent: "P", Name: "new file.bin", Times: times}}
	for _, name := range []string{"a#b.bin", "c", "d", "e"} {
		files = append(files, drive.NewItem{Parent: "P", Name: name, Times: times})
	}
	c := s.client(newClock())
	sessions, ok := c.OpenAhead(t.Context(), "D", files)
	if !ok || sessions[0] == nil || sessions[1] == nil || sessions[2] != nil || sessions[3] != nil || sessions[4] != nil {
		t.Fatalf("opened %v, %v", sessions, ok)
	}
	if want := "POST /drives/D/items/P:/a%23b.bin:/createUploadSession"; len(*asked) != 5 || (*asked)[1] != want {
		t.Errorf("asked for %q", *asked)
	}
	to := target
	to.Session = sessions[0]
	for n := range 2 { // the second time it is spent
		item, err := c.Upload(t.Context(), "D", to, bytes.NewReader(content), int64(len(content)), times)
		if err != nil || item.ID != "N" || !bytes.Equal(u.got, content) {
			t.Fatalf("upload %d: %+v, %v", n+1, item, err)
		}
		if got := count(s, sessionPath); got != n {
			t.Errorf("%d sessions were opened by themselves, not %d", got, n)
		}
	}
	closed := 0
	s.on("DELETE /other", func(w http.ResponseWriter, r *http.Request) { closed++; w.WriteHeader(204) })
	for range 2 {
		for _, session := range sessions {
			session.Close(t.Context())
		}
	}
	if closed != 1 || count(s, "DELETE /up") != 0 {
		t.Errorf("%d of those not used were closed, and %d that was", closed, count(s, "DELETE /up"))
	}
}

// A source that knows no batches, or answers with something else, opens nothing.
func TestNothingIsOpenedAhead(t *testing.T) {
	for name, answer := range map[string]struct {
		handler http.HandlerFunc
		ok      bool
	}{
		"refused":   {refuse(400, "invalidRequest", "", ""), false},
		"throttled": {refuse(429, "activityLimitReached", "", ""), false},
		"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		"a page":    {reply(`<html>`), false},
		"nothing":   {reply(`{}`), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			s.on(batchPath, answer.handler)
			sessions, ok := s.client(newClock()).OpenAhead(t.Context(), "D", []drive.NewItem{{Parent: "P", Name: "a"}, {Parent: "P", Name: "b"}})
			if len(sessions) != 2 || sessions[0] != nil || sessions[1] != nil || ok != answer.ok || count(s, batchPath) != 1 {
				t.Errorf("opened %v, %v, asked %d times", sessions, ok, count(s, batchPath))
			}
		})
	}
}
