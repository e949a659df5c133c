package vault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/repo/maintenance"
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
	if n := len(blobsNamed(t, cfg, uncompacted)); n < drives {
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

// One is made of fewer blobs the longer they are, and is never long itself: what was made of
// all would take memory by how much the vault holds.
func TestLargeBlobsOfTheIndexStay(t *testing.T) {
	for length, want := range map[int64]int{1: indexFan, indexLarge / indexFan: indexFan, indexLarge/4 + 1: 3, indexLarge / 2: 2, indexLarge/2 + 1: 0} {
		var x shortIndex
		for i := range indexFan {
			x.wrote(t.Context(), blob.Metadata{BlobID: blob.ID(fmt.Sprintf("xn7_%032x", i)), Length: length})
		}
		if _, _, ids := x.due(); len(ids) != want {
			t.Errorf("of %d blobs of %d bytes %d are to be made one of, want %d", indexFan, length, len(ids), want)
		}
	}
}

// A vault's spans of time are an hour long, also of one that was made with longer ones;
// who opens it later reads the blobs of the last few only. All that is in others is found.
func TestSpansOfTheIndexEnd(t *testing.T) {
	_, cfg := newVault(t)
	reopened := func() (*Vault, format.MutableParameters) {
		t.Helper()
		cfg.State = t.TempDir()
		v := openVault(t, cfg)
		return v, v.rep.FormatManager().GetCachedMutableParameters()
	}
	v, p := reopened()
	if p.EpochParameters.MinEpochDuration != spanLasts {
		t.Errorf("a span lasts %v", p.EpochParameters.MinEpochDuration)
	}
	p.EpochParameters.MinEpochDuration = 24 * time.Hour
	if err := v.rep.FormatManager().SetParameters(t.Context(), p, format.BlobStorageConfiguration{}, nil); err != nil {
		t.Fatal(err)
	}
	to := Config{Dir: t.TempDir(), State: t.TempDir(), Password: password}
	if _, err := Copy(t.Context(), cfg, to, CopyOptions{New: true}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if p := openVault(t, to).rep.FormatManager().GetCachedMutableParameters(); p.EpochParameters.MinEpochDuration != 24*time.Hour || len(blobsNamed(t, to, copyNote)) != 1 {
			t.Errorf("a copy was changed: a span lasts %v", p.EpochParameters.MinEpochDuration)
		}
	}
	if _, p = reopened(); p.EpochParameters.MinEpochDuration != 24*time.Hour {
		t.Fatalf("a span lasts %v", p.EpochParameters.MinEpochDuration)
	}
	if v, p = reopened(); p.EpochParameters.MinEpochDuration != spanLasts {
		t.Errorf("a span of an older vault lasts %v", p.EpochParameters.MinEpochDuration)
	}
	now, err := readBlob(t.Context(), openStorage(t, cfg), formatBlob)
	if err != nil {
		t.Fatal(err)
	}
	if copied, err := formatCopy(t.Context(), openStorage(t, cfg)); err != nil || !slices.Equal(copied, now) {
		t.Errorf("the copy of the format blob is another, %v", err)
	}

	roots, trees := map[DriveKey]string{}, []string{}
	const spans, each = 5, 25
	for span := range spans {
		for i := range each {
			k, s := tiny(t, v, span*each+i)
			roots[k] = s.Root
			trees = append(trees, s.Tree)
		}
		at := slices.IndexFunc(indexOf(t, v), func(id blob.ID) bool { _, n, _ := spanOf(id); return n == span })
		if at < 0 {
			t.Fatalf("there is no span %d", span)
		}
		age(t, cfg, string(indexOf(t, v)[at]), 2*spanLasts)
		if _, err := v.maintain(t.Context(), fixed(roots), maintenance.ModeQuick); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := maintenance.GetParams(t.Context(), v.rep); err != nil || p.QuickCycle.Interval >= spanLasts {
		t.Errorf("a vault that is maintained once an hour lets its spans end every %v, %v", p.QuickCycle.Interval, err)
	}
	if len(blobsNamed(t, cfg, uncompacted)) < spans*each {
		t.Errorf("blobs of the index were taken away at once")
	}
	cfg.State = t.TempDir()
	late := openVault(t, cfg)
	written := indexOf(t, late)
	if n := len(written); n > 3*(each+each/indexFan+2)+spans {
		t.Errorf("of %d flushes in %d spans the index has %d blobs", spans*each, spans, n)
	}
	if !slices.ContainsFunc(written, func(id blob.ID) bool { return strings.HasPrefix(string(id), "xs") }) {
		t.Errorf("no span was made one: %v", written)
	}
	for _, v := range []*Vault{v, late} {
		if found := verified(t, v, trees...); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
	}
}
