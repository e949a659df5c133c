package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/drive"
)

// with200 answers with a body that has a length of its own, whatever part of
// the content was asked for.
func with200(body []byte, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Write(body)
	}
}

// with206 answers with a part that says of itself what span says.
func with206(body []byte, span string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", span)
		w.WriteHeader(206)
		w.Write(body)
	}
}

var (
	signIn   = []byte("\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html><title>Sign in to your account</title>" + strings.Repeat("<p>", 400))
	jsonDoc  = []byte(`{ "error": {"code":"generalException","message":"An unspecified error has occurred."}}`)
	odataDoc = []byte(`{"odata.error":{"code":"-1","message":{"value":"x"}}}`)
	xmlDoc   = []byte(`<?xml version="1.0" encoding="utf-8"?><m:error xmlns:m="x"><m:code>-1</m:code></m:error>`)
)

func TestWhatCannotBeTheContentIsAskedForAnew(t *testing.T) {
	body := content(300_000)
	hashed := fileJSON("F", "c1", body)
	bare := fmt.Sprintf(`{"id":"F","name":"F.bin","size":%d,"cTag":"c1","file":{},"parentReference":{"id":"P"}}`, len(body))
	unsized := fmt.Sprintf(`{"id":"F","name":"F.bin","cTag":"c1","file":{"hashes":{"quickXorHash":%q}},"parentReference":{"id":"P"}}`, hashOf(body))
	tiny := content(20)
	for _, tt := range []struct {
		name string
		item string
		bad  http.HandlerFunc
		body []byte
	}{
		{"a sign-in page", hashed, with200(signIn), body},
		{"a sign-in page for a small file", fileJSON("F", "c1", tiny), with200(signIn), tiny},
		{"a sign-in page that says so", fileJSON("F", "c1", tiny), with200([]byte("Please sign in to go on."), "Content-Type", "text/html; charset=utf-8"), tiny},
		{"a long page", fileJSON("F", "c1", tiny), with200(append(bytes.Clone(signIn), content(2<<20)...)), nil},
		{"an error in JSON", fileJSON("F", "c1", tiny), with200(jsonDoc), tiny},
		{"an error of SharePoint", fileJSON("F", "c1", tiny), with200(odataDoc), tiny},
		{"an error in XML", fileJSON("F", "c1", tiny), with200(xmlDoc), tiny},
		{"an error in JSON for a file of unknown size", unsized, with200(jsonDoc), body},
		{"an error in JSON, and no hash", bare, with200(jsonDoc), body},
		{"half of it, of a matching length", hashed, with200(body[:150_000]), body},
		{"half of it, and no hash", bare, with200(body[:150_000]), body},
		{"nothing", hashed, with200(nil), body},
		{"nothing, of unknown size", unsized, with200(nil), body},
		{"compressed", hashed, with200(body, "Content-Encoding", "gzip"), body},
		{"a part that nobody asked for", hashed, with206(body[100:], "bytes 100-299999/300000"), body},
		{"a part that is longer than it says", hashed, with206(body, "bytes 0-9/300000"), body},
		{"a part that does not say which", hashed, with206(body, "bytes"), body},
		{"a range refused that nobody asked for", hashed, status(416), body},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, clk := newSource(t), newClock()
			s.on(itemPath, reply("%s", tt.item))
			if tt.body != nil { // else too much of it was handed over
				s.answers(contentPath, tt.bad, serve(tt.body, -1))
				got, x, err := download(t, s.client(clk))
				if err != nil || !bytes.Equal(got, tt.body) || x.Proof() != drive.Confirmed || x.Sum() != hashOf(tt.body) {
					t.Fatalf("once: read %d bytes, %v", len(got), err)
				}
			}
			s.on(contentPath, tt.bad)
			before := s.count(contentPath)
			if _, _, err := download(t, s.client(clk)); !errors.Is(err, drive.ErrContent) || !strings.Contains(err.Error(), "item F of drive D") {
				t.Errorf("for ever: err = %v, want ErrContent", err)
			}
			if n := s.count(contentPath) - before; n != 3 {
				t.Errorf("for ever: asked %d times, want 3", n)
			}
		})
	}
}

func TestWhatIsNoContinuationIsNotBelieved(t *testing.T) {
	body := content(300_000)
	other := bytes.Clone(body)
	other[3] ^= 1
	for _, tt := range []struct {
		name string
		bad  http.HandlerFunc
	}{
		{"all of another content", with200(other)},
		{"a sign-in page", with200(append(bytes.Clone(signIn), content(299_000)...))},
		{"an error in JSON", with200(jsonDoc)},
		{"another range", with206(body[:100], "bytes 0-99/300000")},
		{"a range beyond", with206(body[200_000:], "bytes 200000-299999/300000")},
		{"another length", with206(body[100_000:200_000], "bytes 100000-199999/200000")},
		{"a range that runs backwards", with206(nil, "bytes 100000-99999/300000")},
		{"no range", status(206)},
		{"compressed", with200(body, "Content-Encoding", "deflate")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, clk := newSource(t), newClock()
			s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
			s.answers(contentPath, serve(body, 100_000), tt.bad, serve(body, -1))
			got, x, err := download(t, s.client(clk))
			if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
				t.Errorf("once: read %d bytes, %v", len(got), err)
			}
			s.answers(contentPath, serve(body, 100_000), tt.bad)
			if _, _, err := download(t, s.client(clk)); !errors.Is(err, drive.ErrContent) {
				t.Errorf("for ever: err = %v, want ErrContent", err)
			}
		})
	}
}

func TestRealPagesAreTaken(t *testing.T) {
	for _, tt := range []struct {
		name, item string
		body       []byte
		want       drive.Proof
	}{
		{"its hash is stated", fileJSON("F", "c1", signIn), signIn, drive.Confirmed},
		{"a long one", fileJSON("F", "c1", append(bytes.Clone(signIn), content(2<<20)...)), append(bytes.Clone(signIn), content(2<<20)...), drive.Confirmed},
		{"an error as a file", fileJSON("F", "c1", jsonDoc), jsonDoc, drive.Confirmed},
		{"its size is stated", fmt.Sprintf(`{"id":"F","name":"a.html","size":%d,"file":{},"parentReference":{"id":"P"}}`, len(signIn)), signIn, drive.Confirmed},
		{"its name says so", `{"id":"F","name":"a.HTM","file":{},"parentReference":{"id":"P"}}`, signIn, drive.Unstated},
		{"its type says so", `{"id":"F","name":"a","file":{"mimeType":"text/html"},"parentReference":{"id":"P"}}`, signIn, drive.Unstated},
	} {
		s := newSource(t)
		s.on(itemPath, reply("%s", tt.item))
		s.on(contentPath, with200(tt.body, "Content-Type", "text/html"))
		got, x, err := download(t, s.client(newClock()))
		if err != nil || !bytes.Equal(got, tt.body) || x.Proof() != tt.want {
			t.Errorf("%s: read %d bytes, %v, want %s", tt.name, len(got), err, tt.want)
		}
	}
}

func TestNothingStatedIsAskedForUntilNothingMoreComes(t *testing.T) {
	body := content(10_000)
	chunked := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(b)
		}
	}
	for name, more := range map[string]http.HandlerFunc{
		"a range": serve(body, -1), "all": chunked(body),
	} {
		s := newSource(t)
		s.on(itemPath, reply(`{"id":"F","name":"f","file":{},"parentReference":{"id":"P"}}`))
		s.answers(contentPath, chunked(body[:4000]), more)
		got, x, err := download(t, s.client(newClock()))
		if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Unstated || x.Sum() != hashOf(body) || x.Item.Size != -1 {
			t.Errorf("%s: read %d bytes of an item of %d, %v", name, len(got), x.Item.Size, err)
		}
	}
}

func TestAFlippedBitIsAMismatch(t *testing.T) {
	body := content(10_000)
	bad := bytes.Clone(body)
	bad[77] ^= 4
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	s.on(contentPath, serve(bad, -1))
	got, x, err := download(t, s.client(newClock()))
	if err != nil || !bytes.Equal(got, bad) || x.Proof() != drive.Mismatch || x.Sum() != hashOf(bad) {
		t.Errorf("read %d bytes, %v, want a mismatch and the hash of what came", len(got), err)
	}
}

func TestAContentInPartsIsPutTogether(t *testing.T) {
	body := content(50_000)
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
	s.on(contentPath, func(w http.ResponseWriter, r *http.Request) {
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		to := min(from+10_000, len(body))
		with206(body[from:to], fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(body)))(w, r)
	})
	got, x, err := download(t, s.client(newClock()))
	if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed || s.count(contentPath) != 5 {
		t.Errorf("read %d bytes in %d parts, %v", len(got), s.count(contentPath), err)
	}
}

// However a content drips, there is an end to it.
func TestAContentInDropsIsGivenUp(t *testing.T) {
	body := content(100_000)
	drop := func(w http.ResponseWriter, r *http.Request) { serve(body, 600)(w, r) }
	part := func(w http.ResponseWriter, r *http.Request) {
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		with206(body[from:from+600], fmt.Sprintf("bytes %d-%d/%d", from, from+599, len(body)))(w, r)
	}
	for name, drip := range map[string]http.HandlerFunc{"broken off": drop, "parts": part} {
		s := newSource(t)
		s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
		s.on(contentPath, drip)
		if _, _, err := download(t, s.client(newClock())); !errors.Is(err, drive.ErrUnavailable) {
			t.Errorf("%s: err = %v, want ErrUnavailable", name, err)
		}
		if n := s.count(contentPath); n > 30 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

func TestAnAnswerOfAnotherItemIsNone(t *testing.T) {
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("G", "c1", nil)))
	if _, err := s.client(newClock()).Item(t.Context(), "D", "F"); !errors.Is(err, drive.ErrUnavailable) {
		t.Errorf("err = %v, want ErrUnavailable", err)
	}
	// An error that calls itself a success passes, as other errors do.
	s.answers(itemPath, reply("%s", jsonDoc), reply("[]"), reply("%s", fileJSON("F", "c1", nil)))
	if it, err := s.client(newClock()).Item(t.Context(), "D", "F"); err != nil || it.ID != "F" {
		t.Errorf("Item = %+v, %v", it, err)
	}
}

func TestAReadAfterTheEndStaysAtTheEnd(t *testing.T) {
	s := newSource(t)
	s.on(itemPath, reply("%s", fileJSON("F", "c1", content(10))))
	s.on(contentPath, serve(content(10), -1))
	x, err := s.client(newClock()).Download(t.Context(), "D", "F")
	if err != nil || x.Proof() != "" {
		t.Fatalf("proof before the end = %q, %v", x.Proof(), err)
	}
	io.Copy(io.Discard, x)
	if n, err := x.Read(make([]byte, 1)); n != 0 || err != io.EOF || x.Proof() != drive.Confirmed {
		t.Errorf("Read = %d, %v, proof %q", n, err, x.Proof())
	}
	x.Close()
}
