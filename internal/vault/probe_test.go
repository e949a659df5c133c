package vault

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// A probe fails where nothing can be written, and leaves nothing that a vault would be
// taken to be made of; what a vault holds is what its folder has.
func TestProbeAndHolding(t *testing.T) {
	dir := t.TempDir()
	v, err := Open(t.Context(), Config{Dir: dir, Create: true, Password: "p", State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close(t.Context())
	for range 2 {
		if again, err := v.Probe(t.Context()); err != nil || again != probeOfFolder {
			t.Fatal(again, err)
		}
	}
	var files, bytes int64
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".f" {
			info, err := e.Info()
			if err != nil {
				return err
			}
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if h, err := v.Holding(t.Context()); err != nil || h.Blobs != files || h.Bytes != bytes {
		t.Errorf("it holds %+v, %v, want %d blobs of %d bytes", h, err, files, bytes)
	}
	v.seen.Store(0)
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Probe(t.Context()); !errors.Is(err, ErrMissing) && !errors.Is(err, ErrStorage) {
		t.Errorf("where it is gone: %v", err)
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
}

// In a bucket a probe is seldom, and takes away what it has written, also where each
// object keeps its versions; where it may not, it is seldomer. A bucket that takes
// nothing is told of, and that it takes again.
func TestProbesOfABucket(t *testing.T) {
	s, locked := lockingStore(t)
	plain, versioned := s.config(), s.config()
	versioned.Bucket.Name, versioned.State, locked.State = "versioned", t.TempDir(), t.TempDir()
	store := s.client(plain)
	if err := errors.Join(store.MakeBucket(t.Context(), "versioned", minio.MakeBucketOptions{}), store.EnableVersioning(t.Context(), "versioned")); err != nil {
		t.Fatal(err)
	}
	locked.Bucket.Lock = Lock{Mode: Compliance}
	for name, row := range map[string]struct {
		cfg   Config
		again time.Duration
		most  int // versions that are left
	}{"plain": {plain, probeOfBucket, 0}, "versioned": {versioned, probeOfBucket, 0}, "locked": {locked, probeOfBucket, 1}} {
		v := openVault(t, row.cfg)
		for range 3 {
			if again, err := v.Probe(t.Context()); err != nil || again != row.again {
				t.Errorf("%s: another probe in %v, %v, want %v", name, again, err, row.again)
			}
		}
		if n := len(s.versions(row.cfg)[probeName]); n > row.most {
			t.Errorf("%s: the probes have left %d versions", name, n)
		}
		for status, kind := range map[int]error{http.StatusForbidden: ErrRefused, http.StatusInsufficientStorage: ErrFull} {
			refuse := func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					w.WriteHeader(status)
				}
				return r.Method == http.MethodPut
			}
			s.door.Store(&refuse)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if again, err := v.Probe(ctx); !errors.Is(err, kind) || StoreOf(err) != "bucket" || ctx.Err() != nil || again != probeOfFolder {
				t.Errorf("%s: of a bucket that answers %d: %v, another probe in %v", name, status, err, again)
			}
			cancel()
			s.door.Store(nil)
		}
		if _, err := v.Probe(t.Context()); err != nil {
			t.Errorf("%s: once it takes what is written: %v", name, err)
		}
	}
}
