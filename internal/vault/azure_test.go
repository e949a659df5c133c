package vault

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A containerServer is as much of Azure Blob Storage as kopia's client asks for, in
// memory: there is no real one as a Go module. HOLDFAST_TEST_AZURITE is the address of
// Microsoft's own emulator, in which the same test runs: with a container "backups" in
// an account "127", whose key is that of these tests.
type containerServer struct {
	mu    sync.Mutex
	blobs map[string]stored
}

type stored struct {
	data []byte
	at   time.Time
}

func (s *containerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fail := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>no</Message></Error>", code)
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/backups")
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey 127:"):
		fail(http.StatusForbidden, "AuthenticationFailed")
		return
	case !ok:
		fail(http.StatusNotFound, "ContainerNotFound")
		return
	case r.URL.Query().Get("comp") == "list":
		s.list(w, r)
		return
	}
	name = strings.TrimPrefix(name, "/")
	b, found := s.blobs[name]
	switch {
	case r.Method == http.MethodPut:
		data, err := io.ReadAll(r.Body)
		if err != nil {
			fail(http.StatusBadRequest, "InvalidInput")
			return
		}
		s.blobs[name] = stored{data, time.Now().UTC()}
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusCreated)
	case !found:
		fail(http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodDelete:
		delete(s.blobs, name)
		w.WriteHeader(http.StatusAccepted)
	default:
		if asked := r.Header.Get("x-ms-range"); asked != "" {
			r.Header.Set("Range", asked)
		}
		http.ServeContent(w, r, name, b.at, strings.NewReader(string(b.data)))
	}
}

// list answers with pages of three.
func (s *containerServer) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var page struct {
		XMLName xml.Name `xml:"EnumerationResults"`
		Blobs   []struct {
			Name         string
			LastModified string `xml:"Properties>Last-Modified"`
			Length       int    `xml:"Properties>Content-Length"`
		} `xml:"Blobs>Blob"`
		NextMarker string
	}
	for _, name := range slices.Sorted(maps.Keys(s.blobs)) {
		if !strings.HasPrefix(name, q.Get("prefix")) || name < q.Get("marker") {
			continue
		}
		if len(page.Blobs) == 3 {
			page.NextMarker = name
			break
		}
		page.Blobs = append(page.Blobs, struct {
			Name         string
			LastModified string `xml:"Properties>Last-Modified"`
			Length       int    `xml:"Properties>Content-Length"`
		}{name, s.blobs[name].at.Format(http.TimeFormat), len(s.blobs[name].data)})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(page)
}

// containerConfig is a vault in a container.
func containerConfig(t *testing.T) Config {
	cfg := Config{Create: true, State: t.TempDir(), Password: password}
	prefix := "a/tenant/"
	var handler http.Handler = &containerServer{blobs: map[string]stored{}}
	if azurite := os.Getenv("HOLDFAST_TEST_AZURITE"); azurite != "" {
		prefix = fmt.Sprintf("%d/", time.Now().UnixNano())
		handler = &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: azurite})
			p.Out.Host = "127.blob.localhost" // it goes by the name for the account's
		}}
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	// The account's name stands before the domain's: together they are this address.
	cfg.Azure = &Container{Account: "127", Domain: "0.0.1:" + port, Name: "backups", Prefix: prefix, Plain: true,
		Key: Secret(base64.StdEncoding.EncodeToString([]byte(bucketSecret)))}
	return cfg
}

func TestVaultInAContainer(t *testing.T) {
	cfg := containerConfig(t)
	v := openVault(t, cfg)
	first := sample(t, v)
	if l := v.Locks(); l.On || !strings.Contains(l.Says, "locks nothing in Azure") {
		t.Errorf("of its locks it is said: %+v", l)
	}
	other := cfg
	other.State, other.Create, other.ID = t.TempDir(), false, v.ID()
	w := openVault(t, other)
	u := begin(t, w, first)
	u.Put(file(t, u, "f4", "root", "later.txt", "later"))
	second := seal(t, u, noon.Add(time.Hour))
	u.Close()
	if got := read(t, v, paths(t, v, second.Tree)["later.txt"].Content); got != "later" {
		t.Errorf("what another process wrote reads back as %q", got)
	}
	if err := verify(t, v, first.Tree); err != nil {
		t.Error(err)
	}
	if err := collect(t, v, map[DriveKey]string{key: second.Root}); err != nil {
		t.Error(err)
	}
	holdsNoSecret(t, other.State, cfg.Azure.Key, password)

	// There and back.
	to := copyTo(t, cfg)
	copyVaultOf(t, other, to, CopyOptions{New: true})
	again := containerConfig(t)
	again.Azure.Prefix += "again/"
	copyVaultOf(t, to, again, CopyOptions{New: true})
	again.ID, again.Create = v.ID(), false
	has(t, openVault(t, again), key, first.Tree, second.Tree)

	for name, row := range map[string]struct {
		change func(*Config)
		want   error
		says   string
	}{
		"another prefix":    {func(c *Config) { c.Azure.Prefix = "other/" }, ErrMissing, "the container holds none below that prefix"},
		"no such container": {func(c *Config) { c.Azure.Name = "nowhere" }, ErrStorage, "nowhere"},
		"another id":        {func(c *Config) { c.ID = strings.Repeat("ab", 32) }, ErrOther, "the container's name"},
	} {
		c := other
		azure := *cfg.Azure
		c.Azure = &azure
		row.change(&c)
		got, err := Open(t.Context(), c)
		if err == nil {
			got.Close(t.Context())
		}
		if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), string(cfg.Azure.Key)) {
			t.Errorf("%s: %v, want %v that says %q", name, err, row.want, row.says)
		}
	}
}
