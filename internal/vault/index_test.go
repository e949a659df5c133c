package vault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/object"

	"holdfast/internal/backup"
)

// tiny seals the first point of a drive of one file, with a flush of its own.
func tiny(t *testing.T, v *Vault, i int) (DriveKey, Sealed) {
	t.Helper()
	k := DriveKey{key.Tenant, backup.DriveID(fmt.Sprint("b!", i))}
	u, err := v.Begin(t.Context(), k, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Put(folder("root", "", "root"))
	u.Put(file(t, u, "one", "root", "one.txt", fmt.Sprint("one of ", i)))
	return k, seal(t, u, noon.Add(time.Duration(i)*time.Second))
}

// indexOf returns the blobs of the index that a vault looks into.
func indexOf(t *testing.T, v *Vault) (ids []blob.ID) {
	t.Helper()
	blobs, err := v.rep.IndexBlobs(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		ids = append(ids, b.BlobID)
	}
	return ids
}

// However many flushes there were, by whichever process, a vault looks into few blobs
// of the index. All that flushes wrote stays in the storage, so that whoever knows
// less finds the same; also the process itself, when a larger blob is lost.
func TestTheIndexStaysShort(t *testing.T) {
	v, cfg := newVault(t)
	cfg.State = t.TempDir()
	other := openVault(t, cfg)
	roots, trees := map[DriveKey]string{}, []string{}
	const drives = 100
	for i := range drives {
		by := v
		if i%3 == 0 {
			by = other
		}
		k, s := tiny(t, by, i)
		roots[k] = s.Root
		trees = append(trees, s.Tree)
	}
	for _, v := range []*Vault{v, other} {
		if err := v.rep.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		tiny(t, v, drives) // a flush sees to what a listing has found
		if n := len(indexOf(t, v)); n > 4*indexFan {
			t.Errorf("after %d flushes the index has %d blobs", drives, n)
		}
	}
	cfg.State = t.TempDir()
	late := openVault(t, cfg)
	if n := len(indexOf(t, late)); n < drives {
		t.Errorf("of %d flushes %d blobs of the index are in the storage", drives, n)
	}
	for _, v := range []*Vault{v, other, late} {
		if found := verified(t, v, trees...); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
	}
	tiny(t, late, drives+1)
	if n := len(indexOf(t, late)); n > 4*indexFan {
		t.Errorf("a vault that has been opened late looks into %d blobs", n)
	}

	// What was made of many goes, and only that.
	written := indexOf(t, v)
	for in := range larger(&v.index) {
		if slices.Contains(written, in) {
			dropBlob(t, cfg, in)
		}
	}
	if err := v.rep.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := verified(t, v, trees...); len(found) > 0 {
		t.Errorf("when larger blobs are lost: damaged: %q", found)
	}
	if _, err := v.Maintain(t.Context(), fixed(roots)); err != nil {
		t.Error(err)
	}
}

// larger returns the larger blobs that have all of others.
func larger(x *shortIndex) map[blob.ID]bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := map[blob.ID]bool{}
	for _, in := range x.inside {
		all[in] = true
	}
	return all
}

// narrow is a storage that has no room for what is made of many blobs of the index.
type narrow struct {
	blob.Storage
	refused *atomic.Int32
}

func (s narrow) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	if ctx.Value(gathering{}) != nil {
		s.refused.Add(1)
		return errors.New("no space left on device")
	}
	return s.Storage.PutBlob(ctx, id, data, opts)
}

// That the index cannot be made shorter is no failure.
func TestAnIndexThatStaysLong(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
	var refused atomic.Int32
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { return narrow{st, &refused} })
	v := openVault(t, cfg)
	var trees []string
	for i := range 2*indexFan + 2 {
		_, s := tiny(t, v, i)
		trees = append(trees, s.Tree)
	}
	if refused.Load() == 0 {
		t.Error("nothing was made of many")
	}
	if err := v.rep.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := verified(t, v, trees...); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// What is listed while others write and make one of many is never less than what was
// there before.
func TestNothingIsMissedWhileTheIndexIsMadeShorter(t *testing.T) {
	v, _ := newVault(t)
	stop := make(chan bool)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var trees []string
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				before := slices.Clone(trees)
				mu.Unlock()
				if err := v.rep.Refresh(t.Context()); err != nil {
					t.Error(err)
					return
				}
				for _, tree := range before {
					id, err := object.ParseID(tree)
					if err == nil {
						_, err = v.rep.VerifyObject(t.Context(), id)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := range 15 {
				_, s := tiny(t, v, w*100+i)
				mu.Lock()
				trees = append(trees, s.Tree)
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	close(stop)
	wg.Wait()
	if found := verified(t, v, trees...); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// What is large already is not put into something larger, which would take memory by how
// much the vault holds.
func TestLargeBlobsOfTheIndexStay(t *testing.T) {
	for length, want := range map[int64]int{indexLarge - 1: indexFan, indexLarge: 0} {
		var x shortIndex
		for i := range indexFan {
			x.wrote(t.Context(), blob.Metadata{BlobID: blob.ID(fmt.Sprintf("xn7_%032x", i)), Length: length})
		}
		if _, _, ids := x.due(); len(ids) != want {
			t.Errorf("of %d blobs of %d bytes %d are to be made one of, want %d", indexFan, length, len(ids), want)
		}
	}
}
