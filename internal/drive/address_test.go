package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/drive"
)

// listing has the source list files with a content and an address for each below
// where, and returns them as a delta lists them.
func listing(t *testing.T, s *source, c *drive.Client, body []byte, where string, ids ...string) []drive.Item {
	t.Helper()
	var list []string
	for _, id := range ids {
		list = append(list, strings.TrimSuffix(fileJSON(id, "c1", body), "}")+fmt.Sprintf(`,"@microsoft.graph.downloadUrl":%q}`, where+id+"?tempauth=x"))
	}
	s.on("GET /v1.0/drives/D/root/delta", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.RawQuery, "@microsoft.graph.downloadUrl") {
			t.Errorf("the delta is asked for %s", r.URL.RawQuery)
		}
		fmt.Fprintf(w, `{"value":[%s],"@odata.deltaLink":%q}`, strings.Join(list, ","), s.URL+"/v1.0/drives/D/root/delta?token=1")
	})
	var items []drive.Item
	for item, err := range c.Delta(t.Context(), "D", "").All() {
		if err != nil || item.Unreadable != "" {
			t.Fatalf("listed %+v, %v", item, err)
		}
		items = append(items, item)
	}
	return items
}

func TestAListedFileIsReadWhereTheListingSaysInOneCall(t *testing.T) {
	body := content(5000)
	var mu sync.Mutex
	asked := 0
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		if r.Header.Get("Authorization") != "" {
			t.Error("the token goes to where files are")
		}
		w.Write(body)
	}))
	defer files.Close()
	s := newSource(t)
	c := s.client(newClock())
	items := listing(t, s, c, body, files.URL+"/", "F")
	before := len(s.requests())
	x, err := c.DownloadListed(t.Context(), "D", items[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t, x)
	if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
		t.Fatalf("read %d bytes, %v, proof %q", len(got), err, x.Proof())
	}
	if n := len(s.requests()) - before; n != 0 || asked != 1 {
		t.Errorf("%d calls of Graph and %d of the address, want 0 and 1", n, asked)
	}
	// It is used once: a second reading, which is to tell whether the first was
	// right, takes the other way.
	s.on(contentPath, serve(body, -1))
	x, err = c.DownloadListed(t.Context(), "D", items[0])
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	if asked != 1 || len(s.requests())-before != 1 {
		t.Errorf("read again by the address")
	}
}

func TestWhatDoesNotComeFromItsAddressIsAskedForById(t *testing.T) {
	body, other := content(5000), bytes.Repeat([]byte("x"), 5000)
	for name, answer := range map[string]http.HandlerFunc{
		"401": status(401), "403": status(403), "404": status(404), "410": status(410), "500": status(500), "302 to nowhere": status(302, "Location", "http://%zz/"),
		"429": status(429, "Retry-After", "3"), "503": status(503, "Retry-After", "3"),
		"no answer": broken, "a page": reply("<!DOCTYPE html><html><body>Sign in</body></html>"),
		"half of it": serve(body, 2000), "a shorter one": serve(body[:100], -1),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			s.on("GET /files/F", answer)
			s.on(contentPath, serve(body, -1))
			s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
			c := s.client(newClock())
			items := listing(t, s, c, body, s.URL+"/files/", "F")
			x, err := c.DownloadListed(t.Context(), "D", items[0])
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(t, x)
			if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
				t.Errorf("read %d bytes, %v, proof %q", len(got), err, x.Proof())
			}
		})
	}
	t.Run("another content", func(t *testing.T) {
		s := newSource(t)
		s.on("GET /files/F", serve(other, -1))
		s.on(itemPath, reply("%s", fileJSON("F", "c1", body)))
		c := s.client(newClock())
		items := listing(t, s, c, body, s.URL+"/files/", "F")
		x, err := c.DownloadListed(t.Context(), "D", items[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err = readAll(t, x); err != nil || x.Proof() != drive.Mismatch {
			t.Errorf("err %v, proof %q, want a mismatch", err, x.Proof())
		}
	})
}

func TestAddressesThatAreTooOldAreNotTried(t *testing.T) {
	body := content(500)
	s, clk := newSource(t), newClock()
	s.on("GET /files/F", status(401))
	for _, id := range []string{"F", "G", "H"} {
		s.on("GET /v1.0/drives/D/items/"+id+"/content", serve(body, -1))
	}
	s.on("GET /files/H", serve(body, -1))
	c := s.client(clk)
	read := func(item drive.Item) string {
		t.Helper()
		before := len(s.requests())
		x, err := c.DownloadListed(t.Context(), "D", item)
		if err != nil {
			t.Fatal(err)
		}
		x.Close()
		return strings.Join(s.requests()[before:], ", ")
	}
	items := listing(t, s, c, body, s.URL+"/files/", "F", "G")
	if got, want := read(items[0]), "GET /files/F, "+contentPath; got != want {
		t.Errorf("a refused address: asked %s, want %s", got, want)
	}
	if got, want := read(items[1]), "GET /v1.0/drives/D/items/G/content"; got != want {
		t.Errorf("one that was given with it: asked %s, want %s", got, want)
	}
	clk.Sleep(t.Context(), time.Minute)
	items = listing(t, s, c, body, s.URL+"/files/", "H")
	if got, want := read(items[0]), "GET /files/H"; got != want {
		t.Errorf("one that was given later: asked %s, want %s", got, want)
	}
	items = listing(t, s, c, body, s.URL+"/files/", "H")
	clk.Sleep(t.Context(), 2*time.Hour)
	if got, want := read(items[0]), "GET /v1.0/drives/D/items/H/content"; got != want {
		t.Errorf("one of two hours ago: asked %s, want %s", got, want)
	}
	items = listing(t, s, c, body, s.URL+"/files/", "H")
	c.Forget("D")
	if got, want := read(items[0]), "GET /v1.0/drives/D/items/H/content"; got != want {
		t.Errorf("a forgotten one: asked %s, want %s", got, want)
	}
}

// A listing whose files nobody reads takes no room for ever from those that come after.
func TestAddressesThatNobodyTookGiveWay(t *testing.T) {
	body := content(500)
	s, clk := newSource(t), newClock()
	s.on("GET /files/F", serve(body, -1))
	s.on("GET /v1.0/drives/D/items/F/content", serve(body, -1))
	c := s.client(clk)
	read := func() string {
		t.Helper()
		item := listing(t, s, c, body, s.URL+"/files/", "F")[0]
		before := len(s.requests())
		x, err := c.DownloadListed(t.Context(), "D", item)
		if err != nil {
			t.Fatal(err)
		}
		x.Close()
		return strings.Join(s.requests()[before:], ", ")
	}
	ids := make([]string, 2500)
	for i := range ids {
		ids[i] = fmt.Sprint("left", i)
	}
	listing(t, s, c, body, s.URL+"/"+strings.Repeat("x", 7000)+"/", ids...)
	for i := range ids[:100] {
		ids[i] = fmt.Sprint("short", i)
	}
	listing(t, s, c, body, s.URL+"/files/", ids[:100]...) // what is left of the room
	if got, want := read(), "GET /v1.0/drives/D/items/F/content"; got != want {
		t.Errorf("without room: asked %s, want %s", got, want)
	}
	clk.Sleep(t.Context(), time.Hour)
	if got, want := read(), "GET /files/F"; got != want {
		t.Errorf("once the others are too old: asked %s, want %s", got, want)
	}
}

func TestAnAddressThatIsNoneCostsNothing(t *testing.T) {
	body := content(500)
	for _, where := range []string{`"ftp://files/F"`, `"//files"`, `"%zz"`, `7`, `null`, `{"a":1}`, `"` + strings.Repeat("http://x/", 2000) + `"`} {
		s := newSource(t)
		s.on(contentPath, serve(body, -1))
		s.on("GET /v1.0/drives/D/root/delta", reply(`{"value":[%s],"@odata.deltaLink":%q}`,
			strings.TrimSuffix(fileJSON("F", "c1", body), "}")+`,"@microsoft.graph.downloadUrl":`+where+"}", s.URL+"/v1.0/drives/D/root/delta?token=1"))
		c := s.client(newClock())
		for item, err := range c.Delta(t.Context(), "D", "").All() {
			if err != nil || item.Unreadable != "" {
				t.Fatalf("%s: listed %+v, %v", where, item, err)
			}
			x, err := c.DownloadListed(t.Context(), "D", item)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			if got, err := readAll(t, x); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: read %d bytes, %v", where, len(got), err)
			}
		}
	}
}

func TestADownloadWithALookTakesTheAddressThatTheLookGives(t *testing.T) {
	body := content(5000)
	s := newSource(t)
	s.on(itemPath, reply("%s", strings.TrimSuffix(fileJSON("F", "c1", body), "}")+fmt.Sprintf(`,"@microsoft.graph.downloadUrl":%q}`, s.URL+"/files/F?tempauth=x")))
	s.on("GET /files/F", serve(body, -1))
	got, x, err := download(t, s.client(newClock()))
	if err != nil || !bytes.Equal(got, body) || x.Proof() != drive.Confirmed {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if got, want := strings.Join(s.requests(), ", "), itemPath+", GET /files/F"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	s.on("GET /files/F", status(404))
	s.on(contentPath, status(404))
	if _, _, err := download(t, s.client(newClock())); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("a file that is gone: %v, want ErrNotFound", err)
	}
}
