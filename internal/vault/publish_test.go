package vault

import (
	"fmt"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"holdfast/internal/backup"
)

// However many drives a vault has, a point of one of them is published without
// reading of the others.
func TestPublishingReadsNothingOfOtherDrives(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	d, err := v.readDir(t.Context(), s.Root)
	if err != nil {
		t.Fatal(err)
	}
	root := &record{Object: s.Root, Summary: summarize(d.records, noon)}
	for i := range 2000 {
		other := DriveKey{key.Tenant, backup.DriveID(fmt.Sprint("b!other ", i))}
		if _, err := save(t.Context(), v.updates, other.source(), root, "", noon); err != nil {
			t.Fatal(err)
		}
		if i%400 == 0 {
			if err := v.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := v.flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	storage := &sick{}
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { storage.Storage = st; return storage })
	cfg.State = t.TempDir()
	v = openVault(t, cfg)
	for n := range 6 {
		u := begin(t, v, s)
		u.Put(folder(fmt.Sprint("n", n), "root", fmt.Sprint("n", n)))
		storage.mu.Lock()
		storage.read = nil
		storage.mu.Unlock()
		before := v.Counters()
		s = seal(t, u, noon.Add(time.Duration(n)*time.Hour))
		u.Close()
		storage.mu.Lock()
		blobs := storage.read
		storage.mu.Unlock()
		if objects := v.Counters().ObjectsRead - before.ObjectsRead; objects > 6 {
			t.Errorf("point %d reads %d objects", n, objects)
		}
		// The first looks for older manifests, and reads all of them.
		if n > 0 && len(blobs) > 12 {
			t.Errorf("point %d reads %d times: %q", n, len(blobs), blobs)
		}
	}
}
