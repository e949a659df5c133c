package vault

import (
	"bytes"
	"context"
	"errors"
	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
	"strings"

	"os"
	"path/filepath"
	"testing"
	"time"
)

// copyTo is a folder for a copy of a vault.
func copyTo(t *testing.T, cfg Config) Config {
	dir := t.TempDir()
	return Config{Dir: filepath.Join(dir, "copy"), State: filepath.Join(dir, "state"), Password: cfg.Password}
}

func copyVaultOf(t *testing.T, from, to Config, opts CopyOptions) Copied {
	t.Helper()
	got, err := Copy(t.Context(), from, to, opts)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A vault is copied while it is written to, and lost: the copy is the vault.
func TestACopyIsTheVault(t *testing.T) {
	v, cfg := newVault(t)
	first := sample(t, v)
	to := copyTo(t, cfg)
	if _, err := Copy(t.Context(), cfg, to, CopyOptions{}); !errors.Is(err, ErrMissing) {
		t.Errorf("without being asked for, a copy is begun: %v", err)
	}
	if got := copyVaultOf(t, cfg, to, CopyOptions{New: true}); got.Drives != 1 || got.Blobs != got.Held+2 || len(got.Lost) > 0 {
		t.Errorf("the first copy: %+v", got)
	}
	if got := copyVaultOf(t, cfg, to, CopyOptions{}); got.Blobs != 0 || got.Drives != 1 {
		t.Errorf("nothing is new, and the copy took: %+v", got)
	}
	u := begin(t, v, first)
	u.Put(file(t, u, "f4", "root", "later.txt", "later"))
	second := seal(t, u, noon.Add(time.Hour))
	u.Close()
	if got := copyVaultOf(t, cfg, to, CopyOptions{}); got.Blobs == 0 || got.Blobs > 3 {
		t.Errorf("a point is new, and the copy took: %+v", got)
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	to.ID = v.ID()
	w := openVault(t, to)
	has(t, w, key, first.Tree, second.Tree)
	for _, tree := range []string{first.Tree, second.Tree} {
		if err := verify(t, w, tree); err != nil {
			t.Error(err)
		}
	}
	if err := collect(t, w, map[DriveKey]string{key: second.Root}); err != nil {
		t.Error(err)
	}
}

// Wherever a copy ends, what was whole in it is whole, and the next goes on from there.
func TestACopyEndsAtAnyEdge(t *testing.T) {
	v, cfg := newVault(t)
	first := sample(t, v)
	to := copyTo(t, cfg)
	copyVaultOf(t, cfg, to, CopyOptions{New: true})
	u := begin(t, v, first)
	u.Put(file(t, u, "f4", "root", "later.txt", "later"))
	second := seal(t, u, noon.Add(time.Hour))
	u.Close()
	if _, err := v.Expire(t.Context(), key, second.Root, map[string]bool{second.Tree: true}); err != nil {
		t.Fatal(err)
	}
	src := openStorage(t, cfg)
	for n, ended := 1, true; ended; n++ {
		at := copyTo(t, cfg)
		if err := os.CopyFS(at.Dir, os.DirFS(to.Dir)); err != nil {
			t.Fatal(err)
		}
		dst := openStorage(t, at)
		var got Copied
		c := &copier{src: src, dst: &fuse{Storage: dst, left: n, edges: map[string]int{}}, done: &got}
		if _, err := c.begin(t.Context(), v.ID(), at, false); err != nil {
			t.Fatal(err)
		}
		err := c.copy(t.Context())
		if ended = errors.Is(err, errDead); err != nil && !ended {
			t.Fatal(err)
		}
		if !ended && (got.Blobs == 0 || n < 3) {
			t.Errorf("after %d writes it is done: %+v", n, got)
		}
		w := openVault(t, at)
		tree := second.Tree
		if ended {
			tree = first.Tree
		}
		drives := 0
		for d, err := range w.Drives(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			drives++
			points, err := w.Points(t.Context(), d.Key)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				if p.Err != nil {
					t.Errorf("before write %d: %v", n, p.Err)
				}
			}
		}
		if drives != 1 {
			t.Errorf("before write %d the copy has %d drives", n, drives)
		}
		if err := verify(t, w, tree); err != nil {
			t.Errorf("before write %d: %v", n, err)
		}
	}
}

// What stands in a copy's place is not written over, nor is what was done with a copy.
func TestWhatIsNoCopyStays(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	other, otherCfg := newVault(t)
	sample(t, other)
	for name, to := range map[string]Config{"another vault": otherCfg, "the vault itself": cfg} {
		if _, err := Copy(t.Context(), cfg, to, CopyOptions{New: true}); !errors.Is(err, ErrOther) {
			t.Errorf("over %s it is copied: %v", name, err)
		}
	}
	to := copyTo(t, cfg)
	copyVaultOf(t, cfg, to, CopyOptions{New: true})
	if _, err := Copy(t.Context(), otherCfg, to, CopyOptions{}); !errors.Is(err, ErrOther) {
		t.Errorf("over the copy of another vault it is copied: %v", err)
	}
	w := openVault(t, to)
	has(t, w, key, s.Tree)
	copyVaultOf(t, cfg, to, CopyOptions{}) // who only looks changes nothing
	u := begin(t, w, s)
	u.Put(file(t, u, "f4", "root", "later.txt", "later"))
	last := seal(t, u, noon.Add(time.Hour))
	u.Close()
	if _, err := Copy(t.Context(), cfg, to, CopyOptions{New: true}); !errors.Is(err, ErrOther) {
		t.Errorf("a copy that was written to is undone: %v", err)
	}
	has(t, w, key, s.Tree, last.Tree)
}

// What the vault has lost, the copy keeps; what it has collected, the copy lets go in
// time; what it cannot give stops no other.
func TestACopyKeepsWhatTheVaultLoses(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	to := copyTo(t, cfg)
	now := noon
	opts := CopyOptions{New: true, Keep: CopyKeep, Now: func() time.Time { return now }}
	copyVaultOf(t, cfg, to, opts)
	packs := blobsNamed(t, cfg, "p")
	if err := openStorage(t, cfg).DeleteBlob(t.Context(), packs[0]); err != nil {
		t.Fatal(err)
	}
	got := copyVaultOf(t, cfg, to, opts)
	if len(got.Lost) != 1 || got.Lost[0] != string(packs[0]) {
		t.Errorf("the vault has lost the pack %s, and of the copy it is said: %+v", packs[0], got)
	}
	if now = now.Add(2 * CopyKeep); len(copyVaultOf(t, cfg, to, opts).Lost) != 1 {
		t.Error("in time the copy has lost it too")
	}
	if err := verify(t, openVault(t, to), s.Tree); err != nil {
		t.Error(err)
	}

	// A pack that no index knows goes, as late as it is to.
	if err := putBlob(t.Context(), openStorage(t, to), "p00", []byte("collected")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after         time.Duration
		kept, removed int
	}{{0, 2, 0}, {CopyKeep - 1, 2, 0}, {1, 1, 1}} {
		now = now.Add(step.after)
		if got := copyVaultOf(t, cfg, to, opts); got.Kept != step.kept || got.Removed != step.removed {
			t.Errorf("after %v: %+v, want %+v", step.after, got, step)
		}
	}
}

// A place that gives back other bytes than it took is found out at once; one that
// changed what it had, when it is compared.
func TestACopyIsReadBack(t *testing.T) {
	v, cfg := newVault(t)
	sample(t, v)
	to := copyTo(t, cfg)
	copyVaultOf(t, cfg, to, CopyOptions{New: true})
	flipBit(t, to, blobsNamed(t, to, "p")[0], 100)
	if got := copyVaultOf(t, cfg, to, CopyOptions{}); got.Blobs != 0 {
		t.Errorf("what nobody compared was copied: %+v", got)
	}
	flipBit(t, to, formatBlob, 1)
	if got := copyVaultOf(t, cfg, to, CopyOptions{Full: true}); got.Blobs != 2 {
		t.Errorf("of what was compared were copied: %+v", got)
	}
	src, dst := openStorage(t, cfg), openStorage(t, Config{Dir: t.TempDir()})
	for name, lie := range map[string]func([]byte) []byte{
		"other bytes":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"fewer bytes":  func(b []byte) []byte { return b[:len(b)-1] },
		"more bytes":   func(b []byte) []byte { return append(b, 0) },
		"nothing more": func(b []byte) []byte { return nil },
	} {
		c := &copier{src: src, dst: lying{dst, lie}, done: new(Copied)}
		if err := c.copy(t.Context()); !errors.Is(err, ErrStorage) {
			t.Errorf("a place that keeps %s: %v", name, err)
		}
	}
}

// A lying storage takes blobs and keeps something else.
type lying struct {
	blob.Storage
	lie func([]byte) []byte
}

func (l lying) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	var b bytes.Buffer
	if _, err := data.WriteTo(&b); err != nil {
		return err
	}
	return l.Storage.PutBlob(ctx, id, blobBytes(l.lie(b.Bytes())), opts)
}

// Whoever has the bucket's key deletes and writes over everything: what was there is
// there, as the bucket was before.
func TestALockedBucketOutlivesItsKey(t *testing.T) {
	s, cfg := lockingStore(t)
	cfg.Bucket.Lock.Mode = Compliance
	v := openVault(t, cfg)
	first := sample(t, v)
	store := s.client(cfg)
	before := time.Now()
	for time.Since(before) < 2*time.Millisecond { // the store counts them
	}
	for name, versions := range s.versions(cfg) {
		for _, o := range versions {
			_ = store.RemoveObject(t.Context(), cfg.Bucket.Name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true})
		}
		key := cfg.Bucket.Prefix + name
		if _, err := store.PutObject(t.Context(), cfg.Bucket.Name, key, strings.NewReader("pay"), 3, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := store.RemoveObject(t.Context(), cfg.Bucket.Name, key, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	from := s.config()
	from.Bucket, from.ID, from.Create = cfg.Bucket, v.ID(), false
	if _, err := Copy(t.Context(), from, copyTo(t, cfg), CopyOptions{New: true}); !errors.Is(err, ErrMissing) {
		t.Errorf("of the bucket as it is now there is a copy: %v", err)
	}
	then := *cfg.Bucket
	then.At = before
	from.Bucket = &then
	to := copyTo(t, cfg)
	if got := copyVaultOf(t, from, to, CopyOptions{New: true}); got.Drives != 1 {
		t.Errorf("of the bucket as it was then: %+v", got)
	}
	to.ID = v.ID()
	w := openVault(t, to)
	has(t, w, key, first.Tree)
	if err := verify(t, w, first.Tree); err != nil {
		t.Error(err)
	}

	// And back, to where it has locks of its own.
	again := s.config()
	again.Bucket.Name, again.Bucket.Prefix, again.Bucket.Lock = "locked", "again/", Lock{Mode: Compliance}
	if got := copyVaultOf(t, to, again, CopyOptions{New: true}); got.Drives != 1 {
		t.Errorf("into a bucket: %+v", got)
	}
	for name, versions := range s.versions(again) {
		if mode, _ := s.retained(again, versions[0]); lockable(blob.ID(name)) && mode != "COMPLIANCE" {
			t.Errorf("%s of a copy in a bucket is locked %q", name, mode)
		}
	}
	if err := verify(t, openVault(t, again), first.Tree); err != nil {
		t.Error(err)
	}
}
