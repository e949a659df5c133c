package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kopia/kopia/repo/blob"
)

// A slow storage takes a minute for each blob.
type slow struct {
	blob.Storage
	mu        sync.Mutex
	now, most int
}

func (s *slow) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	time.Sleep(time.Minute)
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return nil
}

// However slow a storage is, and however many write, few packs are on their way to it;
// what else a vault consists of does not wait for them.
func TestFewPacksAreOnTheirWay(t *testing.T) {
	for _, row := range []struct {
		prefix string
		cfg    Config
		most   int
	}{{"p", Config{}, 1}, {"p", Config{Bucket: &Bucket{}}, 2}, {"p", Config{Azure: &Container{}}, 2}, {"q", Config{}, 10}, {"x", Config{}, 10}} {
		synctest.Test(t, func(t *testing.T) {
			v := unopened(row.cfg)
			defer v.end()
			v.seen.Store(time.Now().UnixNano())
			st := &slow{}
			g := guarded{Storage: st, index: &v.index, packs: v.packs, copy: new(atomic.Bool), seeing: seeing{&v.seen, time.Hour}}
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					if err := g.PutBlob(t.Context(), blob.ID(fmt.Sprint(row.prefix, i)), blobBytes("data"), blob.PutOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if st.most != row.most {
				t.Errorf("%d blobs %q were on their way at once, want %d", st.most, row.prefix, row.most)
			}
		})
	}
}

// What would fill another pack waits for those on their way, and for no longer than its
// caller does.
func TestAWriterWaitsForPacks(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	for range cap(v.packs) {
		v.packs <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Write(ctx, "name", strings.NewReader("content")); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want that of the caller who gave up", err)
	}
	written := make(chan error)
	go func() {
		_, err := u.Write(t.Context(), "name", strings.NewReader("content"))
		written <- err
	}()
	v.packs.end()
	if err := <-written; err != nil {
		t.Error(err)
	}
	for range cap(v.packs) - 1 {
		v.packs.end()
	}
	if n := len(v.packs); n != 0 {
		t.Errorf("%d are still on their way", n)
	}
}
