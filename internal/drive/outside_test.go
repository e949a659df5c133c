package drive_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/internal/drive"
)

// A list that goes on in another drive is not the list of this one: the next
// pass would find that nothing has changed here.
func TestAListStaysInItsDrive(t *testing.T) {
	for _, tt := range []struct {
		link string
		ok   bool
	}{
		{"/v1.0/drives/D/root/delta?token=1", true},
		{"/v1.0/drives/d/root/delta?token=1", true},
		{"/v1.0/drives('D')/root/microsoft.graph.delta()?token=1", true},
		{"/v1.0/somewhere?token=1", true},
		{"/v1.0/drives/E/root/delta?token=1", false},
		{"/v1.0/drives('E')/root/microsoft.graph.delta()?token=1", false},
		{"/v1.0/drives/D%2Froot/root/delta?token=1", false},
		{"/v1.0/users/u/drive/root/delta?token=1", true},
		{"/v1.0/users/delta?$deltatoken=1", false},
	} {
		for _, member := range []string{"deltaLink", "nextLink"} {
			s := newSource(t)
			s.on(deltaPath, reply(`{"value":[],"@odata.%s":"%s%s"}`, member, s.URL, tt.link))
			next := reply(`{"value":[],"@odata.deltaLink":"%s/v1.0/drives/D/root/delta?token=2"}`, s.URL)
			for _, path := range []string{"drives/d/root/delta", "drives('D')/root/microsoft.graph.delta()", "somewhere", "users/u/drive/root/delta"} {
				s.on("GET /v1.0/"+path, next)
			}
			if member == "nextLink" {
				s.answers(deltaPath, reply(`{"value":[],"@odata.nextLink":"%s%s"}`, s.URL, tt.link), next)
			}
			_, cursor, err := pass(t, s.client(newClock()), "")
			if tt.ok && (err != nil || cursor == "") || !tt.ok && (!errors.Is(err, drive.ErrUnavailable) || cursor != "") {
				t.Errorf("%s %s: cursor %q, %v", member, tt.link, cursor, err)
			}
		}
	}
	// One that was stored before is given up.
	s := newSource(t)
	if _, _, err := pass(t, s.client(newClock()), s.URL+"/v1.0/drives/E/root/delta?token=1"); !errors.Is(err, drive.ErrResync) {
		t.Errorf("a cursor of another drive: %v, want ErrResync", err)
	}
}

// An answer costs memory as its length, whatever is in it.
func TestAPageOfTinyEntriesIsNone(t *testing.T) {
	s := newSource(t)
	s.on(deltaPath, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"value":[{}`+strings.Repeat(",{}", 5_000_000)+`],"@odata.deltaLink":"`+s.URL+`/v1.0/drives/D/root/delta?token=1"}`)
	})
	c := s.client(newClock(), func(cfg *drive.Config) { cfg.Tries = 1 })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, cursor, err := pass(t, c, ""); !errors.Is(err, drive.ErrUnavailable) || cursor != "" {
		t.Errorf("cursor %q, %v; want none, ErrUnavailable", cursor, err)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 300 {
		t.Errorf("a page of 15 MB cost %d MB", n)
	}
}

// What cannot be understood of a drive does not keep it from being found, and
// what has no id is no drive.
func TestADriveIsUnderstoodAsFarAsItCanBe(t *testing.T) {
	const path = "GET /v1.0/users/u/drive"
	for answer, ok := range map[string]bool{
		`{"id":"D","quota":{"total":"1099511627776","used":1e300}}`: true,
		`{"id":"D","name":7,"owner":"ann","sharePointIds":[]}`:      true,
		`{"id":7}`:         false,
		`{"name":"Files"}`: false,
		`{"error":{"code":"generalException","message":"no"}}`: false,
		`[]`:   false,
		`null`: false,
	} {
		s := newSource(t)
		s.on(path, reply("%s", answer))
		got, err := s.client(newClock()).UserDrive(t.Context(), "u")
		if ok && (err != nil || got.ID != "D") || !ok && !errors.Is(err, drive.ErrUnavailable) {
			t.Errorf("%s: %+v, %v", answer, got, err)
		}
	}
}

// A token that ends before it arrives is used by who waited for it.
func TestATokenThatEndsAtOnceIsUsedOnce(t *testing.T) {
	s, clk := newSource(t), newClock()
	asked := 0
	s.on("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		clk.Sleep(r.Context(), 2*time.Second)
		if asked++; asked > 10 {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprintf(w, `{"expires_in":1,"access_token":"token-%d"}`, asked)
	})
	if _, err := s.client(clk).Root(t.Context(), "D"); err != nil || asked != 1 {
		t.Errorf("%v after %d tokens", err, asked)
	}
}

// A content that drips, or does not end, is given up.
func TestAContentWithoutEndIsGivenUp(t *testing.T) {
	body := content(100_000)
	t.Run("slow", func(t *testing.T) {
		s, clk := newSource(t), newClock()
		s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
		s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
			from := 0
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)-from))
			if from > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
				w.WriteHeader(http.StatusPartialContent)
			}
			for i := from; i < len(body); i++ {
				if _, err := w.Write(body[i : i+1]); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				clk.Sleep(r.Context(), 20*time.Second)
			}
		})
		if _, _, err := download(t, s.client(clk)); !errors.Is(err, drive.ErrUnavailable) {
			t.Errorf("err = %v, want ErrUnavailable", err)
		}
		if n := s.count(contentPath); n > 4 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("slow from its beginning on", func(t *testing.T) {
		s, clk := newSource(t), newClock()
		s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
		s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			for i := 0; i < len(body); i++ {
				if _, err := w.Write(body[i : i+1]); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				clk.Sleep(r.Context(), 20*time.Second)
			}
		})
		if _, _, err := download(t, s.client(clk)); !errors.Is(err, drive.ErrUnavailable) {
			t.Errorf("err = %v, want ErrUnavailable", err)
		}
		if n := s.count(contentPath); n > 4 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("endless", func(t *testing.T) {
		s := newSource(t)
		s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
		s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
			for range 10_000 {
				if _, err := w.Write(body); err != nil {
					return
				}
			}
			t.Error("it was read to a gigabyte")
		})
		if _, _, err := download(t, s.client(newClock())); !errors.Is(err, drive.ErrContent) {
			t.Errorf("err = %v, want ErrContent", err)
		}
	})
}
