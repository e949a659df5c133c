package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/vault/vaulttest"
)

// A store is a real S3 store over a folder, with a door in front of it that counts,
// and that can be closed.
type store struct {
	t    testing.TB
	dir  string // the store's; holds a folder for each bucket
	host string // of the door

	puts, gets, heads, lists, deletes atomic.Int64
	door                              atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // answers instead of the store
}

// newStore starts a store with one bucket, or skips the test where there is none, and
// with -short.
// Further arguments are those of the store's program.
func newStore(t testing.TB, args ...string) *store {
	t.Helper()
	s := &store{t: t, dir: t.TempDir()}
	at := vaulttest.Start(t, s.dir, args...)
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: at})
		p.Out.Host = p.In.Host // it is signed
	}, ModifyResponse: func(r *http.Response) error {
		if !r.Request.URL.Query().Has("versions") {
			return nil
		}
		b, err := io.ReadAll(r.Body)
		b = timed(b)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		r.Header.Set("Content-Length", strconv.Itoa(len(b)))
		return err
	}}
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.door.Load(); f != nil && (*f)(w, r) {
			return
		}
		switch {
		case r.Method == http.MethodPut:
			s.puts.Add(1)
		case r.Method == http.MethodDelete:
			s.deletes.Add(1)
		case r.Method == http.MethodHead:
			s.heads.Add(1)
		case r.URL.Query().Has("list-type"):
			s.lists.Add(1)
		default:
			s.gets.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(door.Close)
	s.host = strings.TrimPrefix(door.URL, "http://")
	return s
}

// timed is a listing of versions with the times at which they were written, as S3 has
// it. This store's are those at which another took their place; their ids begin with
// those at which they were written.
func timed(listing []byte) []byte {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	return oneVersion.ReplaceAllFunc(listing, func(version []byte) []byte {
		id := versionID.FindSubmatch(version)
		if id == nil {
			return version
		}
		var milliseconds int64
		for _, c := range id[1][:10] {
			milliseconds = milliseconds*32 + int64(strings.IndexByte(digits, c))
		}
		at := time.UnixMilli(milliseconds).UTC().Format("2006-01-02T15:04:05.000Z")
		return lastModified.ReplaceAll(version, []byte("<LastModified>"+at+"</LastModified>"))
	})
}

var (
	oneVersion   = regexp.MustCompile(`(?s)<Version>.*?</Version>|<DeleteMarker>.*?</DeleteMarker>`)
	versionID    = regexp.MustCompile(`<VersionId>([0-9A-Z]{26})</VersionId>`)
	lastModified = regexp.MustCompile(`<LastModified>[^<]*</LastModified>`)
)

// config is a vault in the store.
func (s *store) config() Config {
	return Config{Create: true, State: s.t.TempDir(), Password: password,
		Bucket: &Bucket{Endpoint: s.host, Region: "us-east-1", Name: "backups", Prefix: "a/tenant/", Key: vaulttest.Key, Secret: vaulttest.Secret, Plain: true}}
}

// close has every request answered by status until open is called.
func (s *store) close(status int) (open func()) {
	f := func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(status)
		return true
	}
	s.door.Store(&f)
	return func() { s.door.Store(nil) }
}

// files are the store's blobs whose names begin so.
func (s *store) files(prefix string) (names []string) {
	err := filepath.WalkDir(filepath.Join(s.dir, "backups", "a", "tenant"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(d.Name(), prefix) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}

func TestVaultInABucket(t *testing.T) {
	s := newStore(t)
	cfg := s.config()
	v := openVault(t, cfg)
	first := sample(t, v)
	if got := read(t, v, paths(t, v, first.Tree)["A/B & <b>/zwei ü.txt"].Content); got != strings.Repeat("two", 100_000) {
		t.Errorf("a file reads back as %d bytes", len(got))
	}
	for _, path := range s.files("") {
		if !strings.HasPrefix(path, filepath.Join(s.dir, "backups", "a", "tenant")) {
			t.Errorf("%s is not below the prefix", path)
		}
	}

	// A process elsewhere, which has nothing of the first but what it is told.
	other := s.config()
	other.Create, other.ID = false, v.ID()
	w := openVault(t, other)
	if diff := cmp.Diff(names(t, v, first.Tree), names(t, w, first.Tree)); diff != "" {
		t.Errorf("another process sees (-first +other):\n%s", diff)
	}
	u := begin(t, w, first)
	u.Put(file(t, u, "f4", "root", "later.txt", "later"))
	second := seal(t, u, noon.Add(time.Hour))
	u.Close()
	if got := read(t, v, paths(t, v, second.Tree)["later.txt"].Content); got != "later" {
		t.Errorf("what another process wrote reads back as %q", got)
	}

	// What is written by the state's owner alone holds no secret.
	for _, dir := range []string{cfg.State, other.State} {
		holdsNoSecret(t, dir, vaulttest.Secret, password)
	}
}

// holdsNoSecret makes sure that no file below a folder holds any of these.
func holdsNoSecret(t *testing.T, dir string, secrets ...Secret) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a small point costs is a bill, and round trips.
func TestRequestsOfASmallPoint(t *testing.T) {
	s := newStore(t)
	v := openVault(t, s.config())
	last := sample(t, v)
	type requests struct{ Puts, Gets, Heads, Lists, Deletes int64 }
	took := func() requests {
		return requests{s.puts.Swap(0), s.gets.Swap(0), s.heads.Swap(0), s.lists.Swap(0), s.deletes.Swap(0)}
	}
	took()
	for i := range 3 {
		u := begin(t, v, last)
		u.Put(file(t, u, "f4", "root", "later.txt", fmt.Sprint("later ", i)))
		last = seal(t, u, noon.Add(time.Duration(i+1)*time.Hour))
		u.Close()
		// The mark of the session, which goes in the end, packs of contents and of folders,
		// and the index; kopia asks for the times of the first and the last. The folders of
		// the point before are fetched when they are needed first.
		want := requests{Puts: 4, Gets: 1, Heads: 2, Deletes: 1}
		if got := took(); i > 0 && got != want {
			t.Errorf("the point %d of a small drive took %+v, want %+v", i, got, want)
		}
	}
	u := begin(t, v, last)
	seal(t, u, noon.Add(9*time.Hour))
	u.Close()
	if got, want := took(), (requests{Gets: 1}); got != want {
		t.Errorf("a run that found nothing took %+v, want %+v", got, want)
	}
	u = begin(t, v, last)
	seal(t, u, noon.Add(10*time.Hour))
	u.Close()
	if got := took(); got != (requests{}) {
		t.Errorf("the next run that found nothing took %+v", got)
	}
}

func TestABucketThatIsNotRight(t *testing.T) {
	s := newStore(t)
	good := s.config()
	v := openVault(t, good)
	id := v.ID()
	sample(t, v)
	for name, row := range map[string]struct {
		change func(*Config)
		want   error
		says   string
	}{
		"another prefix":            {func(c *Config) { c.Bucket.Prefix = "a/other/"; c.ID = id }, ErrMissing, "its prefix"},
		"nothing there to be found": {func(c *Config) { c.Bucket.Prefix = "b/"; c.Create = false }, ErrMissing, "its prefix"},
		"no such bucket":            {func(c *Config) { c.Bucket.Name = "nowhere"; c.ID = id }, ErrStorage, "nowhere"},
		"no such bucket, to create": {func(c *Config) { c.Bucket.Name = "nowhere" }, ErrStorage, "nowhere"},
		"another vault's id":        {func(c *Config) { c.ID = strings.Repeat("ab", 32) }, ErrOther, id},
		"another password":          {func(c *Config) { c.Password = "wrong" }, ErrPassword, ""},
		"another secret":            {func(c *Config) { c.Bucket.Secret = "wrong" }, ErrStorage, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.config()
			row.change(&c)
			got, err := Open(t.Context(), c)
			if err == nil {
				got.Close(context.Background())
			}
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), c.Bucket.String()) {
				t.Errorf("Open = %v, want %v that says %q", err, row.want, row.says)
			}
			if err != nil && (strings.Contains(err.Error(), vaulttest.Secret) || strings.Contains(err.Error(), vaulttest.Key)) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// A store that is away for a while loses nothing, and what it had not taken is not
// acknowledged.
func TestAStoreThatIsAway(t *testing.T) {
	s := newStore(t)
	v := openVault(t, s.config())
	last := sample(t, v)
	for _, status := range []int{http.StatusForbidden, http.StatusServiceUnavailable, http.StatusNotFound} {
		u := begin(t, v, last)
		u.Put(file(t, u, "f5", "root", "away.txt", "away"))
		open := s.close(status)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if got, err := u.Seal(ctx, noon.Add(time.Hour), PointInfo{}); err == nil {
			t.Errorf("a store that answers %d took a point: %+v", status, got)
		} else if strings.Contains(err.Error(), "volume") {
			t.Errorf("of a bucket it is said: %v", err)
		}
		cancel()
		u.Close()
		open()
		u = begin(t, v, last)
		u.Put(file(t, u, "f5", "root", "away.txt", "away"))
		s := seal(t, u, noon.Add(time.Hour))
		u.Close()
		if got := read(t, v, paths(t, v, s.Tree)["away.txt"].Content); got != "away" {
			t.Errorf("after a store that answered %d the file is %q", status, got)
		}
	}
}

// A store that gives other bytes than it took is found out, and names what it
// touches.
func TestAStoreThatRots(t *testing.T) {
	s := newStore(t)
	cfg := s.config()
	v := openVault(t, cfg)
	first := sample(t, v)
	content := paths(t, v, first.Tree)["A/B & <b>/zwei ü.txt"].Content
	for _, name := range s.files("p") {
		b, err := os.ReadFile(name)
		if err == nil {
			for i := range b {
				b[i] ^= 1
			}
			err = os.WriteFile(name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if r, err := v.Open(t.Context(), content); err == nil {
		r.Close()
		t.Error("content whose every bit was flipped reads")
	} else if !errors.Is(err, ErrDamaged) {
		t.Errorf("it reads with %v, want ErrDamaged", err)
	}
}

// behind has f answer in the store's place, where it returns true, until the test ends
// or front is called.
func (s *store) behind(f func(http.ResponseWriter, *http.Request) bool) (front func()) {
	s.door.Store(&f)
	return func() { s.door.Store(nil) }
}

// A store of which every third request fails, in one way or another, loses nothing: all
// is tried again.
func TestAStoreThatIsFlaky(t *testing.T) {
	s := newStore(t)
	cfg := s.config()
	v := openVault(t, cfg)
	last := sample(t, v)
	var n atomic.Int64
	front := s.behind(func(w http.ResponseWriter, r *http.Request) bool {
		switch i := n.Add(1); i % 9 {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 5:
			w.WriteHeader(http.StatusInternalServerError)
		case 8: // no answer at all
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return false
			}
			c.Close()
		default:
			return false
		}
		return true
	})
	for i := range 2 {
		u := begin(t, v, last)
		u.Put(file(t, u, "f5", "root", "flaky.txt", fmt.Sprint("flaky ", i)))
		last = seal(t, u, noon.Add(time.Duration(i+1)*time.Hour))
		u.Close()
	}
	cfg.Create, cfg.ID, cfg.State = false, v.ID(), t.TempDir()
	if err := verify(t, openVault(t, cfg), last.Tree); err != nil {
		t.Error(err)
	}
	front()
	if n.Load() < 18 {
		t.Errorf("there were %d requests", n.Load())
	}
	if err := verify(t, v, last.Tree); err != nil {
		t.Error(err)
	}
}

// A store that does not answer holds up nobody for longer than they will wait; one that
// takes nothing more keeps what it has, and says why.
func TestAStoreThatHangsOrIsFull(t *testing.T) {
	s := newStore(t)
	v := openVault(t, s.config())
	last := sample(t, v)
	hang := make(chan struct{})
	for name, row := range map[string]struct {
		door func(http.ResponseWriter, *http.Request) bool
		end  func()
	}{
		"does not answer": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				<-hang
			}
			return false
		}, func() { close(hang) }},
		"is full": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			w.WriteHeader(http.StatusInsufficientStorage)
			fmt.Fprint(w, "<Error><Code>XMinioStorageFull</Code><Message>no space is left</Message></Error>")
			return true
		}, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			u := begin(t, v, last)
			u.Put(file(t, u, "f6", "root", "late.txt", name))
			front := s.behind(row.door)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if got, err := u.Seal(ctx, noon.Add(time.Hour), PointInfo{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it took a point, or somebody waited for it: %+v, %v", got, err)
			}
			cancel()
			u.Close()
			front()
			row.end()
			if err := verify(t, v, last.Tree); err != nil {
				t.Errorf("what was there before: %v", err)
			}
			u = begin(t, v, last)
			u.Put(file(t, u, "f6", "root", "late.txt", name))
			next := seal(t, u, noon.Add(time.Hour))
			u.Close()
			if got := read(t, v, paths(t, v, next.Tree)["late.txt"].Content); got != name {
				t.Errorf("afterwards the file is %q", got)
			}
		})
	}
}

// A store that answers as if it had taken what it drops, or gives less than it has, is
// found out by who reads: no other content is ever given, what is damaged is named, and
// it is whole again once the same is written to a store that keeps it.
func TestAStoreThatLies(t *testing.T) {
	for name, row := range map[string]struct {
		method, prefix string
		lie            func(w http.ResponseWriter, r *http.Request)
		heals          bool
	}{
		"it drops contents": {http.MethodPut, "p", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("ETag", `"0"`) }, true},
		"it gives nothing": {http.MethodGet, "p", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("ETag", `"0"`)
			w.WriteHeader(http.StatusPartialContent)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			cfg := s.config()
			v := openVault(t, cfg)
			first := sample(t, v)
			front := s.behind(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != row.method || !strings.HasPrefix(path.Base(r.URL.Path), row.prefix) {
					return false
				}
				row.lie(w, r)
				return true
			})
			u := begin(t, v, first)
			u.Put(file(t, u, "f7", "root", "lied.txt", "of this nothing is kept"))
			second := seal(t, u, noon.Add(time.Hour))
			u.Close()
			cfg.Create, cfg.ID, cfg.State = false, v.ID(), t.TempDir()
			w := openVault(t, cfg)
			content := paths(t, w, second.Tree)["lied.txt"].Content
			r, err := w.Open(t.Context(), content)
			if err == nil {
				var b []byte
				b, err = io.ReadAll(r)
				r.Close()
				if err == nil {
					t.Errorf("a file reads back as %q", b)
				}
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("it reads with %v, want ErrDamaged", err)
			}
			report, err := w.Verify(t.Context(), []string{second.Tree}, VerifyOptions{Share: 1})
			if err != nil || !slices.ContainsFunc(report.Damage, func(d Damage) bool { return strings.Contains(d.Path, "lied.txt") }) {
				t.Errorf("verification found %+v, %v", report.Damage, err)
			}
			front()
			if row.heals {
				u := begin(t, w, second)
				u.Put(file(t, u, "f7", "root", "lied.txt", "of this nothing is kept"))
				seal(t, u, noon.Add(2*time.Hour))
				u.Close()
				if err := w.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := verify(t, w, second.Tree); err != nil {
				t.Errorf("of a store that keeps what it takes: %v", err)
			}
		})
	}
}
