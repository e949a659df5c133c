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

	"holdfast/internal/vault/vaulttest"

	"github.com/kopia/kopia/repo/blob"
)

// A containerServer is as much of Azure Blob Storage as kopia's client asks for, in
// memory: there is no real one as a Go module. HOLDFAST_TEST_AZURITE is the address of
// Microsoft's own emulator, in which the same test runs: with a container "backups" in
// an account "127", whose key is that of these tests.
type containerServer struct {
	mu    sync.Mutex
	blobs map[string][]stored // the versions of each, the oldest first
	now   func() time.Time
	made  int

	versions bool // it keeps versions, each of which may be locked
	forgets  bool // it takes locks and does not hold them
}

type stored struct {
	version string
	data    []byte
	at      time.Time
	gone    bool // a deletion, which hides what was before
	until   time.Time
	mode    string // Locked or Unlocked; "" where there is no policy
}

// latest is the version that is shown, if one is.
func latest(versions []stored) *stored {
	if n := len(versions); n > 0 && !versions[n-1].gone {
		return &versions[n-1]
	}
	return nil
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
	q := r.URL.Query()
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey 127:"):
		fail(http.StatusForbidden, "AuthenticationFailed")
		return
	case !ok:
		fail(http.StatusNotFound, "ContainerNotFound")
		return
	case q.Get("comp") == "list":
		s.list(w, r)
		return
	}
	name = strings.TrimPrefix(name, "/")
	is, asked := latest(s.blobs[name]), q.Get("versionid")
	if asked != "" {
		is = nil
		if i := slices.IndexFunc(s.blobs[name], func(b stored) bool { return b.version == asked && !b.gone }); i >= 0 {
			is = &s.blobs[name][i]
		}
	}
	until, _ := time.Parse(http.TimeFormat, r.Header.Get("x-ms-immutability-policy-until-date"))
	mode := r.Header.Get("x-ms-immutability-policy-mode")
	held := func() bool { return is.mode != "" && is.until.After(s.now()) && !s.forgets }
	switch policy := q.Get("comp") == "immutabilityPolicies"; {
	case mode != "" && !s.versions:
		fail(http.StatusConflict, "VersionLevelWormNotEnabled")
	case r.Method == http.MethodPut && !policy:
		data, err := io.ReadAll(r.Body)
		if err != nil {
			fail(http.StatusBadRequest, "InvalidInput")
			return
		}
		s.made++
		b := stored{fmt.Sprintf("2026-11-18T09:00:00.%07dZ", s.made), data, s.now().UTC(), false, until, mode}
		if !s.versions {
			s.blobs[name] = nil
		} else {
			w.Header().Set("x-ms-version-id", b.version)
		}
		s.blobs[name] = append(s.blobs[name], b)
		w.Header().Set("Last-Modified", b.at.Format(http.TimeFormat))
		w.WriteHeader(http.StatusCreated)
	case is == nil:
		fail(http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodPut && strings.EqualFold(is.mode, "Locked") && (until.Before(is.until) || !strings.EqualFold(mode, "Locked")):
		fail(http.StatusConflict, "BlobImmutableDueToPolicy")
	case r.Method == http.MethodPut:
		is.mode, is.until = mode, until
	case r.Method == http.MethodDelete && policy && strings.EqualFold(is.mode, "Locked") && held():
		fail(http.StatusConflict, "BlobImmutableDueToPolicy")
	case r.Method == http.MethodDelete && policy:
		is.mode = ""
	case r.Method == http.MethodDelete && asked != "" && is == latest(s.blobs[name]):
		fail(http.StatusForbidden, "OperationNotAllowedOnRootBlob")
	case r.Method == http.MethodDelete && held():
		fail(http.StatusConflict, "BlobImmutableDueToPolicy")
	case r.Method == http.MethodDelete && asked != "":
		s.blobs[name] = slices.DeleteFunc(s.blobs[name], func(b stored) bool { return b.version == asked })
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodDelete:
		if s.versions {
			s.blobs[name] = append(s.blobs[name], stored{gone: true})
		} else {
			delete(s.blobs, name)
		}
		w.WriteHeader(http.StatusAccepted)
	default:
		if asked := r.Header.Get("x-ms-range"); asked != "" {
			r.Header.Set("Range", asked)
		}
		http.ServeContent(w, r, name, is.at, strings.NewReader(string(is.data)))
	}
}

// list answers with pages of three, or with all versions at once.
func (s *containerServer) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	type item struct {
		Name         string
		VersionID    string `xml:"VersionId,omitempty"`
		LastModified string `xml:"Properties>Last-Modified"`
		Length       int    `xml:"Properties>Content-Length"`
	}
	var page struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Blobs      []item   `xml:"Blobs>Blob"`
		NextMarker string
	}
	all := strings.Contains(q.Get("include"), "versions")
	for _, name := range slices.Sorted(maps.Keys(s.blobs)) {
		if !strings.HasPrefix(name, q.Get("prefix")) || name < q.Get("marker") {
			continue
		}
		if len(page.Blobs) == 3 && !all {
			page.NextMarker = name
			break
		}
		for _, b := range s.blobs[name] {
			if !b.gone && (all || b.version == latestVersion(s.blobs[name])) {
				page.Blobs = append(page.Blobs, item{name, b.version, b.at.Format(http.TimeFormat), len(b.data)})
			}
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(page)
}

// latestVersion is that of the version that is shown, "-" if none is.
func latestVersion(versions []stored) string {
	if b := latest(versions); b != nil {
		return b.version
	}
	return "-"
}

// containerConfig is a vault in a container.
func containerConfig(t *testing.T) Config {
	return inContainer(t, &containerServer{blobs: map[string][]stored{}, now: time.Now})
}

// inContainer is a vault in one that is held like this.
func inContainer(t *testing.T, held *containerServer) Config {
	cfg := Config{Create: true, State: t.TempDir(), Password: password}
	prefix := "a/tenant/"
	var handler http.Handler = held
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
		Key: Secret(base64.StdEncoding.EncodeToString([]byte(vaulttest.Secret)))}
	return cfg
}

func TestVaultInAContainer(t *testing.T) {
	cfg := containerConfig(t)
	v := openVault(t, cfg)
	first := sample(t, v)
	if l := v.Locks(); l.On || !strings.Contains(l.Says, "nothing can be locked in the container") {
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
		if kind := StoreOf(err); kind != "container" {
			t.Errorf("%s: the place that failed is called %q", name, kind)
		}
	}
}

// Where the container has version-level immutability, what is written is locked, which
// is proven by a blob that cannot be deleted; and the locks are extended.
func TestLocksInAContainer(t *testing.T) {
	s := &containerServer{blobs: map[string][]stored{}, now: time.Now, versions: true}
	cfg := inContainer(t, s)
	v := openVault(t, cfg)
	if l := v.Locks(); !l.On || !l.Proven || l.Mode != Compliance {
		t.Fatalf("of its locks it is said: %+v", l)
	}
	first := sample(t, v)
	locked := func(least time.Duration) (n int) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		for name, versions := range s.blobs {
			b := latest(versions)
			if b == nil || !lockable(blob.ID(strings.TrimPrefix(name, cfg.Azure.Prefix))) {
				continue
			}
			n++
			if !strings.EqualFold(b.mode, "Locked") || b.until.Before(time.Now().Add(least)) {
				t.Errorf("%s is locked as %q until %v", name, b.mode, b.until)
			}
		}
		return n
	}
	if n := locked(lockPeriod - time.Hour); n < 3 {
		t.Errorf("%d blobs are locked", n)
	}

	// Whoever can write cannot take it away: what is deleted is an earlier version.
	in, err := cfg.Azure.client()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	var some string
	for name, versions := range s.blobs {
		if b := latest(versions); b != nil && strings.Contains(name, "/p") {
			some = name
		}
	}
	version := latestVersion(s.blobs[some])
	s.mu.Unlock()
	if _, err := in.NewBlobClient(some).Delete(t.Context(), nil); azureStatus(err) != http.StatusConflict {
		t.Errorf("a locked blob is deleted: %v", err)
	}
	st, _, err := cfg.storage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close(t.Context())
	if err := st.DeleteBlob(t.Context(), blob.ID(strings.TrimPrefix(some, cfg.Azure.Prefix))); err != nil {
		t.Errorf("a locked blob cannot be hidden: %v", err)
	}
	before, err := in.NewBlobClient(some).WithVersionID(version)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.GetProperties(t.Context(), nil); err != nil {
		t.Errorf("what was hidden is gone: %v", err)
	}
	s.mu.Lock() // and is brought back
	s.blobs[some] = slices.DeleteFunc(s.blobs[some], func(b stored) bool { return b.version != version })
	for _, versions := range s.blobs {
		for i := range versions {
			if versions[i].mode != "" {
				versions[i].until = versions[i].until.Add(-11 * 24 * time.Hour)
			}
		}
	}
	s.mu.Unlock()
	if err := verify(t, v, first.Tree); err != nil {
		t.Error(err)
	}

	// A third of the period later they are extended.
	l := v.Locks()
	n, err := l.extend(t.Context(), v.rep, st, time.Now().Add(11*24*time.Hour))
	if err != nil || n < 3 {
		t.Errorf("%d locks were extended: %v", n, err)
	}
	locked(lockPeriod - time.Hour)

	for name, row := range map[string]struct {
		versions, forgets bool
		mode              LockMode
		says              string
	}{
		"no versions":        {false, false, "", "nothing can be locked in the container"},
		"locks that do not":  {true, true, "", "a blob that was locked could be deleted"},
		"switched off":       {true, false, NoLock, "locks are switched off"},
		"locks that hold so": {true, false, Compliance, "a blob that was locked could not be deleted"},
	} {
		c := inContainer(t, &containerServer{blobs: map[string][]stored{}, now: time.Now, versions: row.versions, forgets: row.forgets})
		c.Azure.Lock.Mode = row.mode
		for range 2 { // the second finds what the first has left
			l, err := c.Azure.prove(t.Context())
			if err != nil || !strings.Contains(l.Says, row.says) || l.On != l.Proven || l.On != (row.mode == Compliance) {
				t.Errorf("%s: %+v, %v", name, l, err)
			}
		}
	}
}
