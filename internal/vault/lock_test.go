package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
)

// lockingStore is a store with a bucket that has object lock, and keeps versions.
func lockingStore(t *testing.T) (*store, Config) {
	t.Helper()
	s := newStore(t, "--versioning-dir", t.TempDir())
	cfg := s.config()
	cfg.Bucket.Name = "locked"
	if err := s.client(cfg).MakeBucket(t.Context(), "locked", minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

// client speaks to the store with the key of a vault's configuration.
func (s *store) client(cfg Config) *minio.Client {
	c, err := cfg.Bucket.client()
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// versions are the bucket's versions that are no marks of a deletion, by their names.
func (s *store) versions(cfg Config) map[string][]minio.ObjectInfo {
	found := map[string][]minio.ObjectInfo{}
	for o := range s.client(cfg).ListObjects(context.Background(), cfg.Bucket.Name, minio.ListObjectsOptions{Prefix: cfg.Bucket.Prefix, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		// The store forgets the locks of what was written over, as the format blob is when a
		// vault is made.
		name := strings.TrimPrefix(o.Key, cfg.Bucket.Prefix)
		if !o.IsDeleteMarker && (o.IsLatest || !strings.HasPrefix(name, "kopia.")) {
			found[name] = append(found[name], o)
		}
	}
	return found
}

// names are those of the bucket's objects that begin so.
func (s *store) names(cfg Config, prefix string) (names []string) {
	for o := range s.client(cfg).ListObjects(context.Background(), cfg.Bucket.Name, minio.ListObjectsOptions{Prefix: cfg.Bucket.Prefix + prefix}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		names = append(names, strings.TrimPrefix(o.Key, cfg.Bucket.Prefix))
	}
	return names
}

// retained returns until when a version is locked, and how.
func (s *store) retained(cfg Config, o minio.ObjectInfo) (mode string, until time.Time) {
	info, err := s.client(cfg).StatObject(context.Background(), cfg.Bucket.Name, o.Key, minio.StatObjectOptions{VersionID: o.VersionID})
	if err != nil {
		s.t.Fatal(err)
	}
	if mode = info.Metadata.Get("X-Amz-Object-Lock-Mode"); mode == "" {
		return "", until
	}
	until, err = time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil {
		s.t.Fatal(err)
	}
	return mode, until
}

// A locked vault: no version of what it needs can be deleted, what is deleted on
// purpose is gone from the vault all the same, and all that can be read of it can be
// read.
func TestLocksHold(t *testing.T) {
	s, cfg := lockingStore(t)
	cfg.Bucket.Lock = Lock{Mode: Compliance, Period: 9 * 24 * time.Hour}
	v := openVault(t, cfg)
	if l := v.Locks(); !l.On || !l.Proven || !strings.Contains(l.Says, "9 days") {
		t.Fatalf("Locks = %+v", l)
	}
	first := sample(t, v)
	store := s.client(cfg)
	locked := map[string]bool{} // by their first letters
	look := func(days int) {
		t.Helper()
		for name, versions := range s.versions(cfg) {
			for _, o := range versions {
				mode, until := s.retained(cfg, o)
				left := time.Until(until).Round(time.Hour)
				switch {
				case name == probeName:
				case !lockable(blob.ID(name)):
					if mode != "" {
						t.Errorf("%s is locked, which is written again and again", name)
					}
				case mode != "COMPLIANCE" || left != time.Duration(days)*24*time.Hour:
					t.Errorf("%s is locked %s for %v, want %d days", name, mode, left, days)
				default:
					locked[name[:1]] = true
				}
			}
		}
	}
	look(9)
	for name, versions := range s.versions(cfg) {
		for _, o := range versions {
			if !lockable(blob.ID(name)) {
				continue
			}
			if err := store.RemoveObject(t.Context(), cfg.Bucket.Name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true}); statusOf(err) != http.StatusForbidden {
				t.Errorf("a version of %s is deleted: %v", name, err)
			}
		}
	}
	for _, letter := range []string{"p", "q", "x", "k", "h"} {
		if !locked[letter] {
			t.Errorf("nothing that begins with %s is locked", letter)
		}
	}

	// The second point is given up, and collected.
	kept := s.names(cfg, "p")
	u := begin(t, v, first)
	u.Put(file(t, u, "f9", "root", "big.bin", strings.Repeat("incompressible", 1<<10)))
	second := seal(t, u, noon.Add(time.Hour))
	u.Close()
	root, err := v.Expire(t.Context(), key, second.Root, map[string]bool{first.Tree: true})
	if err != nil {
		t.Fatal(err)
	}
	given := slices.DeleteFunc(s.names(cfg, "p"), func(name string) bool { return slices.Contains(kept, name) })
	if len(given) != 1 {
		t.Fatalf("the second point has the packs %v", given)
	}
	for round := 0; len(s.names(cfg, given[0])) > 0; round++ { // kopia counts seconds
		if round == 30 {
			t.Fatal("collection has left the pack of a point that was given up")
		}
		if err := collect(t, v, map[DriveKey]string{key: root}); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify(t, v, first.Tree); err != nil {
		t.Error(err)
	}
	if len(s.names(cfg, lockNote)) == 0 {
		t.Error("maintenance has extended no lock")
	}

	// Another period is that of all that is there, from the next maintenance on; it is
	// extended when a third of it is over, and not before.
	cfg.Bucket.Lock.Period, cfg.Create = 30*24*time.Hour, false
	again := openVault(t, cfg)
	now := again.rep.Time()
	st := again.updates.BlobStorage()
	if n, err := again.locks.extend(t.Context(), again.rep, st, now); err != nil || n < 5 {
		t.Errorf("of another period %d locks were extended: %v", n, err)
	}
	for name, versions := range s.versions(cfg) {
		there := slices.Contains(s.names(cfg, ""), name)
		_, until := s.retained(cfg, versions[0])
		if lockable(blob.ID(name)) && there && time.Until(until) < 29*24*time.Hour {
			t.Errorf("%s is locked until %v after its lock was extended", name, until)
		}
	}
	for _, row := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {10*24*time.Hour - 1, false}, {10 * 24 * time.Hour, true}, {11 * 24 * time.Hour, false}, {-time.Hour, true}} {
		if n, err := again.locks.extend(t.Context(), again.rep, st, now.Add(row.after)); err != nil || n > 0 != row.want {
			t.Errorf("after %v %d locks were extended: %v", row.after, n, err)
		}
	}
	if err := verify(t, again, first.Tree); err != nil {
		t.Error(err)
	}

	// Nobody has locks run out by saying that they were extended.
	b, err := readBlob(t.Context(), st, lockNote)
	if err != nil {
		t.Fatal(err)
	}
	var note extension
	if err := json.Unmarshal(b, &note); err != nil {
		t.Fatal(err)
	}
	later := now.Add(100 * 24 * time.Hour)
	note.Extended = later
	if b, err = json.Marshal(note); err == nil {
		err = putBlob(t.Context(), st, lockNote, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := again.locks.extend(t.Context(), again.rep, st, later); err != nil || n == 0 {
		t.Errorf("of a false note %d locks were extended: %v", n, err)
	}
}

// What a bucket says of its locks is believed once it was seen.
func TestLocksAreProven(t *testing.T) {
	s, cfg := lockingStore(t)
	refuse := func(method string, status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == method && strings.HasSuffix(r.URL.Path, probeName) {
				w.WriteHeader(status)
				return true
			}
			return false
		}
	}
	for name, row := range map[string]struct {
		bucket     string
		lock       Lock
		door       func(http.ResponseWriter, *http.Request) bool
		on, proven bool
		says       string
	}{
		"no object lock":          {bucket: "backups", says: "no object lock"},
		"switched off":            {lock: Lock{Mode: NoLock}, says: "switched off"},
		"a lock that holds":       {lock: Lock{Mode: Compliance}, on: true, proven: true, says: "could not be deleted"},
		"a key that may lift it":  {on: true, says: "s3:BypassGovernanceRetention"},
		"a key that may not lock": {door: refuse(http.MethodPut, http.StatusForbidden), says: "s3:PutObjectRetention"},
		"a lock that does not hold": {lock: Lock{Mode: Compliance}, says: "could be deleted", door: func(w http.ResponseWriter, r *http.Request) bool {
			switch gone := strings.HasSuffix(r.URL.Path, probeName); {
			case gone && r.Method == http.MethodDelete:
				w.WriteHeader(http.StatusNoContent)
			case gone && r.Method == http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			default:
				return false
			}
			return true
		}},
		"a deletion that is answered as done and is not": {lock: Lock{Mode: Compliance}, on: true, proven: true, says: "could not be deleted", door: refuse(http.MethodDelete, http.StatusNoContent)},
	} {
		t.Run(name, func(t *testing.T) {
			b := *cfg.Bucket
			b.Name, b.Lock = cmp.Or(row.bucket, b.Name), row.lock
			if row.door != nil {
				s.door.Store(&row.door)
				defer s.door.Store(nil)
			}
			got, err := b.prove(t.Context())
			if err != nil || got.On != row.on || got.Proven != row.proven || !strings.Contains(got.Says, row.says) {
				t.Errorf("prove = %+v, %v, want on %v, proven %v, that says %q", got, err, row.on, row.proven, row.says)
			}
		})
	}
	if n := len(s.versions(cfg)[probeName]); n > 4 {
		t.Errorf("the probes have left %d versions", n)
	}

	// What cannot be told is not taken for a bucket without locks.
	open := s.close(http.StatusInternalServerError)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := cfg.Bucket.prove(ctx); err == nil {
		t.Errorf("of a store that fails it is told that %+v", got)
	}
	open()
}
