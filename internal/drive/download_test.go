package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/drive"
)

const (
	itemPath    = "GET /v1.0/drives/D/items/F"
	contentPath = "GET /v1.0/drives/D/items/F/content"
)

// serve answers as a file server does, and cuts the connection after so many
// bytes of the body if cut is not negative.
func serve(body []byte, cut int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if cut >= 0 {
			w = &cutter{w, cut}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func download(t *testing.T, c *drive.Client) ([]byte, *drive.Download, error) {
	t.Helper()
	x, err := c.Download(t.Context(), "D", "F")
	if err != nil {
		return nil, nil, err
	}
	b, err := readAll(t, x)
	return b, x, err
}

func TestADownloadGoesOnWhereItBroke(t *testing.T) {
	body := content(300_000)
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	var mu sync.Mutex // a connection that broke may still be served
	var ranges []string
	note := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			ranges = append(ranges, r.Header.Get("Range"))
			mu.Unlock()
			h(w, r)
		}
	}
	ignore := func(w http.ResponseWriter, r *http.Request) { // everything, whatever was asked for
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	}
	s.answers(contentPath, note(serve(body, 100_000)), note(status(503)), note(serve(body, 50_000)), note(broken), note(ignore))
	got, x, err := download(t, s.client(newClock()))
	if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
		t.Fatalf("read %d bytes, proof %q, err %v", len(got), x.Proof(), err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "[ bytes=100000- bytes=100000- bytes=150000- bytes=150000-]"; fmt.Sprint(ranges) != want {
		t.Errorf("ranges = %v, want %v", ranges, want)
	}
}

func TestADownloadWithoutLengthIsFoundCutOff(t *testing.T) {
	body := content(10_000)
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	short := func(w http.ResponseWriter, r *http.Request) { // ends well, half way
		w.Write(body[:5000])
		w.(http.Flusher).Flush()
	}
	s.answers(contentPath, short, serve(body, -1))
	got, x, err := download(t, s.client(newClock()))
	if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
		t.Errorf("read %d bytes, err %v", len(got), err)
	}
	// If there is nothing beyond, it is not the content.
	for _, end := range []http.HandlerFunc{short, status(416)} {
		s.answers(contentPath, short, end)
		if _, _, err = download(t, s.client(newClock())); !errors.Is(err, drive.ErrContent) {
			t.Errorf("err = %v, want ErrContent", err)
		}
	}
}

func TestADownloadOfAChangingFileFails(t *testing.T) {
	old, fresh := content(10_000), content(11_000)
	oldItem, newItem := reply("%s", fileJSON("F", "c1", old)), reply("%s", fileJSON("F", "c2", fresh))
	for _, tt := range []struct {
		name    string
		items   []http.HandlerFunc
		content []http.HandlerFunc
	}{
		{"between item and content", []http.HandlerFunc{oldItem, newItem}, []http.HandlerFunc{serve(fresh, -1)}},
		{"while broken off", []http.HandlerFunc{oldItem, newItem}, []http.HandlerFunc{serve(old, 5000), serve(fresh, -1)}},
		{"no cTag, another hash", []http.HandlerFunc{reply("%s", fileJSON("F", "", old)), reply("%s", fileJSON("F", "", fresh))}, []http.HandlerFunc{serve(fresh, -1)}},
		{"neither cTag nor hash, another time", []http.HandlerFunc{
			reply(`{"id":"F","size":9,"file":{},"lastModifiedDateTime":"2026-01-01T00:00:00Z"}`),
			reply(`{"id":"F","size":9,"file":{},"lastModifiedDateTime":"2026-01-01T00:00:01Z"}`)}, []http.HandlerFunc{serve(old[:9], -1)}},
		{"shorter than the range", []http.HandlerFunc{oldItem, newItem}, []http.HandlerFunc{serve(old, 5000), status(416)}},
	} {
		s := newSource(t)
		s.answers(itemPath, tt.items...)
		s.answers(contentPath, tt.content...)
		if _, _, err := download(t, s.client(newClock())); !errors.Is(err, drive.ErrChanged) {
			t.Errorf("%s: err = %v, want ErrChanged", tt.name, err)
		}
	}
}

func TestARewrittenFileIsTakenAndMarked(t *testing.T) {
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", content(10_000))))
	s.on(contentPath, serve(content(12_345), -1))
	got, x, err := download(t, s.client(newClock()))
	if err != nil || len(got) != 12_345 || x.Proof() != drive.Mismatch || x.Sum() != hashOf(content(12_345)) {
		t.Errorf("read %d bytes, err %v; want all, marked", len(got), err)
	}
}

func TestWithoutAHashTheLengthDecides(t *testing.T) {
	body := content(10_000)
	for _, tt := range []struct {
		size int
		want drive.Proof
	}{{10_000, drive.Confirmed}, {9_999, drive.Mismatch}} {
		s := newSource(t)
		s.on(itemPath, reply(`{"id":"F","size":%d,"cTag":"c","file":{"hashes":{}}}`, tt.size))
		s.on(contentPath, serve(body, -1))
		got, x, err := download(t, s.client(newClock()))
		if err != nil || len(got) != len(body) || x.Proof() != tt.want {
			t.Errorf("size %d: read %d bytes, err %v, want %s", tt.size, len(got), err, tt.want)
		}
	}
	// The hash may be there a moment later.
	s := newSource(t)
	s.answers(itemPath, reply(`{"id":"F","size":10000,"cTag":"c1","file":{}}`), reply("%s", fileJSON("F", "c1", body)))
	s.on(contentPath, serve(body, -1))
	if _, x, err := download(t, s.client(newClock())); err != nil || x.Proof() != drive.Confirmed {
		t.Errorf("late hash: err %v", err)
	}
}

func TestAFileListedAsEmptyIsAskedForAsAnyOther(t *testing.T) {
	for _, tt := range []struct {
		body []byte
		want drive.Proof
	}{{nil, drive.Confirmed}, {content(700), drive.Mismatch}} {
		s := newSource(t)
		s.on(itemPath, reply(`{"id":"F","name":"f","size":0,"file":{"hashes":{}},"parentReference":{"id":"P"}}`))
		s.on(contentPath, serve(tt.body, -1))
		got, x, err := download(t, s.client(newClock()))
		if err != nil || !bytes.Equal(got, tt.body) || x.Proof() != tt.want {
			t.Errorf("read %d bytes of %d, %v, want %s", len(got), len(tt.body), err, tt.want)
		}
	}
}

func TestWhatCannotBeDownloadedSaysWhy(t *testing.T) {
	file := reply("%s", fileJSON("F", "c1", content(10)))
	for _, tt := range []struct {
		name          string
		item, content http.HandlerFunc
		want          error
	}{
		{"malware facet", reply(`{"id":"F","size":9,"file":{},"malware":{}}`), nil, drive.ErrMalware},
		{"malware at the content", file, refuse(403, "malwareDetected", "", ""), drive.ErrMalware},
		{"notebook", reply(`{"id":"F","package":{"type":"oneNote"}}`), nil, drive.ErrNotFile},
		{"folder", reply(`{"id":"F","folder":{}}`), nil, drive.ErrNotFile},
		{"shortcut", reply(`{"id":"F","remoteItem":{"id":"x"},"file":{}}`), nil, drive.ErrNotFile},
		{"vanished", status(404), nil, drive.ErrNotFound},
		{"vanished before its content", file, status(404), drive.ErrNotFound},
		{"locked", file, status(423), drive.ErrLocked},
		{"down", file, status(502), drive.ErrUnavailable},
	} {
		s := newSource(t)
		s.on(itemPath, tt.item)
		if tt.content != nil {
			s.on(contentPath, tt.content)
		}
		_, _, err := download(t, s.client(newClock()))
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "item F of drive D") {
			t.Errorf("%s: err = %v, want %v of item F of drive D", tt.name, err, tt.want)
		}
	}
}

func TestAnExpiredAddressIsFetchedAnew(t *testing.T) {
	body := content(1000)
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	s.answers(contentPath,
		status(302, "Location", s.URL+"/old?tempauth=1"),
		status(302, "Location", s.URL+"/new?tempauth=2"))
	s.on("GET /old", status(401))
	s.on("GET /new", serve(body, -1))
	got, _, err := download(t, s.client(newClock()))
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if s.tokens != 1 {
		t.Errorf("tokens = %d: an address's refusal says nothing of the token", s.tokens)
	}
}

// The hash that a file was listed with proves its content without a look at it.
func TestAListedFileIsLookedAtOnlyInDoubt(t *testing.T) {
	body, fresh := content(10_000), content(11_000)
	listed := func(s *source) drive.Item {
		t.Helper()
		s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
		it, err := s.client(newClock()).Item(t.Context(), "D", "F")
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	for _, tt := range []struct {
		name     string
		hash     bool
		now      string // the item as it is
		content  []byte
		asked    int // for the item
		want     error
		wantSize int
	}{
		{"it is as it was listed", true, fileJSON("F", "c1", body), body, 0, nil, 10_000},
		{"it has changed", true, fileJSON("F", "c2", fresh), fresh, 1, drive.ErrChanged, 0},
		{"it was listed without a hash", false, fileJSON("F", "c2", fresh), fresh, 1, nil, 11_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(t)
			it := listed(s)
			if !tt.hash {
				it.Hash = ""
			}
			asked := 0
			s.on(itemPath, func(w http.ResponseWriter, r *http.Request) {
				asked++
				reply("%s", tt.now)(w, r)
			})
			s.on(contentPath, serve(tt.content, -1))
			x, err := s.client(newClock()).DownloadListed(t.Context(), "D", it)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(t, x)
			if !errors.Is(err, tt.want) || tt.want == nil && (err != nil || len(got) != tt.wantSize || x.Proof() != drive.Confirmed) {
				t.Errorf("read %d bytes, proof %q, err %v, want %v", len(got), x.Proof(), err, tt.want)
			}
			if asked != tt.asked {
				t.Errorf("the item was looked at %d times, want %d", asked, tt.asked)
			}
		})
	}
}
