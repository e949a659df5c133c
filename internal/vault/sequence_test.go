package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kopia/kopia/repo/blob"

	"holdfast/internal/backup"
)

// A packReader counts what is read of packs, and spoils as many of the next reads.
type packReader struct {
	blob.Storage
	reads, spoil atomic.Int64
	long         atomic.Bool // only those of many contents
}

func (s *packReader) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	err := s.Storage.GetBlob(ctx, id, offset, length, out)
	if err != nil || !strings.HasPrefix(string(id), "p") {
		return err
	}
	s.reads.Add(1)
	if s.long.Load() && (length < 100_000 || length > stretchMost) || s.spoil.Add(-1) < 0 {
		return nil
	}
	out.Reset()
	_, err = out.Write(make([]byte, length))
	return err
}

// Contents that lie together are read together, in the order in which they lie; those
// that were not asked for, or are asked for twice, are read like any other.
func TestSequence(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(Entry{ID: "root", Kind: backup.Folder})
	random := rand.New(rand.NewPCG(1, 2))
	var contents, want []string
	for i := range 300 {
		b := make([]byte, 5000+random.IntN(2000))
		for k := range b {
			b[k] = byte(random.Uint32())
		}
		if i == 7 {
			b = make([]byte, 9<<20)
			for k := range b {
				b[k] = byte(random.Uint32())
			}
		}
		e := file(t, u, fmt.Sprint(i), "root", fmt.Sprint(i), string(b))
		u.Put(e)
		contents, want = append(contents, e.Content), append(want, string(b))
	}
	seal(t, u, noon)
	u.Close()
	v.Close(t.Context())
	st := &packReader{}
	underneath(t, cfg.Dir, func(inner blob.Storage) blob.Storage { st.Storage = inner; return st })
	v = openVault(t, cfg)
	random.Shuffle(len(contents), func(i, k int) {
		contents[i], contents[k], want[i], want[k] = contents[k], contents[i], want[k], want[i]
	})
	read := func(ctx context.Context, i int) error {
		r, err := v.Open(ctx, contents[i])
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err == nil && string(b) != want[i] {
			t.Errorf("content %d is another", i)
		}
		return err
	}
	all := func(ctx context.Context, order []int, failing int) {
		t.Helper()
		var wg sync.WaitGroup
		var failed atomic.Int64
		for part := range 4 {
			wg.Go(func() {
				for _, i := range order[part*len(order)/4 : (part+1)*len(order)/4] {
					if err := read(ctx, i); err != nil {
						failed.Add(1)
						if !errors.Is(err, ErrStorage) || errors.Is(err, ErrDamaged) {
							t.Errorf("content %d: %v", i, err)
						}
					}
				}
			})
		}
		wg.Wait()
		if int(failed.Load()) != failing {
			t.Errorf("%d contents could not be read, not %d", failed.Load(), failing)
		}
	}

	s := v.Sequence(t.Context(), append(contents, contents[3], "", "no content", "Ixb7b71aa60c5ba4d3c5bb9bbf1ed77ed0"))
	if len(s.Order) != len(contents)+4 {
		t.Fatalf("%d contents are in order", len(s.Order))
	}
	known := func(s *Sequence) (context.Context, []int) {
		order := slices.DeleteFunc(slices.Clone(s.Order), func(i int) bool { return i >= len(contents) })
		return s.Reading(t.Context()), order
	}
	ctx, order := known(s)
	st.reads.Store(0)
	all(ctx, order, 0)
	if n := st.reads.Load(); n > 15 {
		t.Errorf("packs were read %d times for %d contents", n, len(order))
	}
	for range 3 {
		all(ctx, order[:8], 0)
	}

	// What was spoiled on its way once is read again by itself, and is no damage.
	ctx, order = known(v.Sequence(t.Context(), contents))
	st.long.Store(true)
	st.spoil.Store(2)
	before := st.reads.Load()
	for _, i := range order {
		if err := read(ctx, i); err != nil && (!errors.Is(err, ErrStorage) || errors.Is(err, ErrDamaged)) {
			t.Errorf("content %d: %v", i, err)
		}
	}
	if st.reads.Load() == before || st.spoil.Load() > 0 {
		t.Error("nothing was spoiled")
	}
	if bad := v.Damaged(); len(bad) > 0 {
		t.Errorf("%d contents are noted as damaged", len(bad))
	}
}

// What a reader holds is a piece, or a part of one.
func TestReaderHolds(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	random := rand.New(rand.NewPCG(1, 2))
	long := make([]byte, 9<<20)
	for k := range long {
		long[k] = byte(random.Uint32())
	}
	small := file(t, u, "1", "root", "1", "small")
	large := file(t, u, "2", "root", "2", string(long))
	if err := v.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := v.Open(t.Context(), small.Content)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || string(r.Held(0, 5)) != "small" || string(r.Held(2, 2)) != "al" {
		t.Errorf("%q is held, %v", r.Held(0, 5), err)
	}
	for _, at := range [][2]int64{{-1, 2}, {0, 6}, {5, 1}, {0, 0}} {
		if b := r.Held(at[0], at[1]); b != nil {
			t.Errorf("%d bytes at %d: %q is held", at[1], at[0], b)
		}
	}
	if r, err = v.Open(t.Context(), large.Content); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b := r.Held(0, r.Size()); b != nil {
		t.Error("all pieces are held")
	}
	const at = 1 << 20
	if b := r.Held(at, 1000); string(b) != string(long[at:at+1000]) {
		t.Errorf("%d bytes in the middle are held, or others", len(b))
	}
}
