package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/quickxor"
)

const rangeSize = 8 << 20

// A file of three ranges and a bit is read whole and confirmed, whatever ranges
// answer, as long as the content can be had without.
func TestRanges(t *testing.T) {
	body := noisy(3*rangeSize+1000, 1)
	other := noisy(len(body), 2)
	whole := serveTagged(body, "v1")
	first := func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") }
	second := func(r *http.Request) bool {
		return strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", rangeSize))
	}
	closed := func(r *http.Request) bool { return !strings.HasSuffix(r.Header.Get("Range"), "-") }
	// to has ranges that are asked for ahead answered otherwise, but not what is
	// asked for when they did not come.
	to := func(of func(*http.Request) bool, h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if of(r) && r.Header.Get("Range") != "" && closed(r) {
				h(w, r)
			} else {
				whole(w, r)
			}
		}
	}
	all := func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		whole(w, r)
	}
	for _, tt := range []struct {
		name    string
		content http.HandlerFunc
		ranges  bool // all of it came in ranges
	}{
		{"as they should be", whole, true},
		{"of a source without tags", serveTagged(body, ""), true},
		{"all, for the first", to(first, all), false},
		{"all, for the second", to(second, all), false},
		{"refused, the first", to(first, status(416)), false},
		{"refused as nonsense, the first", to(first, status(400)), false},
		{"refused, the second", to(second, status(416)), false},
		{"not there, the second", to(second, status(404)), false},
		{"of another version", to(second, serveTagged(other, "v2")), false},
		{"without a tag", to(second, serveTagged(body, "")), false},
		{"of another length", to(second, serveTagged(body[:2*rangeSize], "v1")), false},
		{"another range", to(second, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", rangeSize+1, 2*rangeSize))
			whole(w, r)
		}), false},
		{"shorter", to(second, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", rangeSize, rangeSize+5))
			whole(w, r)
		}), false},
		{"the first shorter", to(first, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=0-999")
			whole(w, r)
		}), false},
		{"cut off", to(second, func(w http.ResponseWriter, r *http.Request) { whole(&cutter{w, 1000}, r) }), false},
		{"an error that calls itself a success", to(second, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"error":{"code":"generalException"}}`)
		}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(t)
			s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
			var mu sync.Mutex
			var asked []string
			s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked = append(asked, r.Header.Get("Range"))
				mu.Unlock()
				tt.content(w, r)
			})
			x, err := s.client(newClock()).DownloadListed(t.Context(), "D", listedAs(body))
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			got, err := io.ReadAll(x)
			if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
				t.Errorf("read %d bytes, proof %q, err %v; asked for %q", len(got), x.Proof(), err, asked)
			}
			mu.Lock()
			defer mu.Unlock()
			inRanges := len(asked) == 4
			for _, r := range asked {
				inRanges = inRanges && r != "" && !strings.HasSuffix(r, "-")
			}
			if inRanges != tt.ranges {
				t.Errorf("asked for %q, in ranges only: %v, want %v", asked, inRanges, tt.ranges)
			}
		})
	}
}

// A file that becomes another while its ranges are read is not put together of both.
func TestRangesOfAChangingFile(t *testing.T) {
	for _, tags := range []bool{true, false} {
		old, fresh := noisy(3*rangeSize, 1), noisy(3*rangeSize, 2)
		s := newSource(t)
		s.on(itemPath, reply("%s", fileJSON("F", "c2", fresh)))
		s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
			body, tag := fresh, "v2"
			if strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
				body, tag = old, "v1"
			}
			if !tags {
				tag = ""
			}
			serveTagged(body, tag)(w, r)
		})
		x, err := s.client(newClock()).DownloadListed(t.Context(), "D", listedAs(old))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.Copy(io.Discard, x); !errors.Is(err, drive.ErrChanged) {
			t.Errorf("tags %v: err = %v, want ErrChanged", tags, err)
		}
		x.Close()
	}
}

// What did not have its hash is read anew without ranges: they might be what is
// wrong.
func TestWhatIsLookedAtIsNotReadInRanges(t *testing.T) {
	body := noisy(2*rangeSize, 1)
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Range"); got != "" {
			t.Errorf("asked for %q", got)
		}
		serveTagged(body, "v1")(w, r)
	})
	if got, _, err := download(t, s.client(newClock())); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %d bytes, err %v", len(got), err)
	}
}

// However many long contents are read, and given up, what is held ahead is bounded,
// and all of it is given back.
func TestRangesAreHeldForFewContents(t *testing.T) {
	body := noisy(3*rangeSize, 1)
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	s.on(contentPath, serveTagged(body, "v1"))
	c := s.client(newClock())
	for round := range 5 { // more than could be held
		var all []*drive.Download
		for range 5 {
			x, err := c.DownloadListed(t.Context(), "D", listedAs(body))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, x, 1000); err != nil {
				t.Fatal(err)
			}
			all = append(all, x)
		}
		if n := c.RangesHeld(); n != 4 {
			t.Errorf("round %d: %d ranges are held, want 4", round, n)
		}
		for _, x := range all {
			x.Close()
		}
		c.WaitForRanges()
	}
}

func noisy(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) + byte(i)*seed
	}
	return b
}

func serveTagged(body []byte, tag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if tag != "" {
			w.Header().Set("ETag", strconv.Quote(tag))
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

func listedAs(body []byte) drive.Item {
	h := quickxor.Sum(body)
	return drive.Item{ID: "F", Name: "F", Kind: backup.File, Size: int64(len(body)), CTag: "c1", Hash: quickxor.Encode(h[:])}
}
