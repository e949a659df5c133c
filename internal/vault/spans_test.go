package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"
)

// pass lets all that a vault holds become older.
func pass(t *testing.T, cfg Config, by time.Duration) {
	t.Helper()
	err := filepath.WalkDir(cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		then := info.ModTime().Add(-by)
		return os.Chtimes(path, then, then)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// each is how many flushes are in a span: as many as it takes to end it, when sixteen have
// become one.
const each = indexFan + spanBlobs - 1

// Flushed is what was written to a vault.
type flushed struct {
	roots map[DriveKey]string
	trees []string
}

// span writes as much as there is in a span, over more than it lasts.
func (w *flushed) span(t *testing.T, v *Vault, cfg Config) {
	t.Helper()
	pass(t, cfg, 2*spanLasts)
	for range each {
		k, s := tiny(t, v, len(w.trees))
		w.roots[k] = s.Root
		w.trees = append(w.trees, s.Tree)
	}
	newest := slices.MaxFunc(indexOf(t, v), func(a, b blob.ID) int { return numberOf(a) - numberOf(b) })
	age(t, cfg, string(newest), spanLasts+time.Minute)
}

// numberOf returns the number of the span that a flush wrote a blob of, or -1.
func numberOf(id blob.ID) int {
	if _, n, ok := spanOf(id); ok {
		return n
	}
	return -1
}

// However many spans of time there were, a vault looks into few blobs of its index, keeps
// few, and makes none of many: what is in all others is found in them, by kopia too.
func TestPlaySpansBecomeFew(t *testing.T) {
	_, cfg := newVault(t)
	cfg.State = t.TempDir()
	v := openVault(t, cfg) // with spans as short as they are to be
	w := flushed{roots: map[DriveKey]string{}}
	const spans = 8*rangesMost + unsettled + 2 // so that what is made of some becomes one, too
	most := 0
	for span := range spans {
		w.span(t, v, cfg)
		mode := maintenance.ModeQuick
		if span%6 == 5 {
			mode = maintenance.ModeFull
		}
		if _, err := v.maintain(t.Context(), fixed(w.roots), mode); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(blobsNamed(t, cfg, "xs"))+len(blobsNamed(t, cfg, "xr")))
	}
	if last := numberOf(slices.MaxFunc(blobsNamed(t, cfg, uncompacted), func(a, b blob.ID) int { return numberOf(a) - numberOf(b) })); last != spans-1 {
		t.Fatalf("%d spans have ended, of %d", last, spans)
	}
	if !slices.ContainsFunc(blobsNamed(t, cfg, "xr0_"), func(id blob.ID) bool {
		_, last, _ := spansOf(compactedRange, id)
		return last >= 8*rangesMost-1
	}) {
		t.Errorf("there are still sets of few spans only: %v", blobsNamed(t, cfg, "xr"))
	}
	if n := len(blobsNamed(t, cfg, uncompacted)); n > 12*(each+2) {
		t.Errorf("there are %d blobs that flushes wrote, of %d", n, spans*each)
	}
	if most > 4*rangesMost {
		t.Errorf("there were %d sets of spans", most)
	}
	cfg.State = t.TempDir()
	late := openVault(t, cfg)
	if n := len(indexOf(t, late)); n > 2*rangesMost+3*(each+2) {
		t.Errorf("of %d spans the index has %d blobs: %v", spans, n, indexOf(t, late))
	}
	if found := verified(t, late, w.trees...); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
	if found := verified(t, v, w.trees...); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// A set counts when it is whole: what it was made of is read until then.
func TestASetOfASpanIsWhole(t *testing.T) {
	for _, torn := range []bool{false, true} {
		t.Run(fmt.Sprint("torn ", torn), func(t *testing.T) {
			_, cfg := newVault(t)
			cfg.State = t.TempDir()
			v := openVault(t, cfg)
			w := flushed{roots: map[DriveKey]string{}}
			for span := range 4 {
				w.span(t, v, cfg)
				if span == 1 { // before it is settled
					var parts [][]blob.ID
					for ids := range slices.Chunk(blobsNamed(t, cfg, "xn0_"), 10) {
						parts = append(parts, ids)
					}
					set, err := v.writeSet(once(t.Context()), parts, "xs0_")
					if err != nil || len(parts) < 3 || len(set) != len(parts) {
						t.Fatal(set, err)
					}
					if torn {
						if err := openStorage(t, cfg).DeleteBlob(t.Context(), set[1].BlobID); err != nil {
							t.Fatal(err)
						}
					}
				}
				if span == 3 && !torn {
					for _, id := range blobsNamed(t, cfg, "xn0_") { // as kopia does, in some hours
						if err := openStorage(t, cfg).DeleteBlob(t.Context(), id); err != nil {
							t.Fatal(err)
						}
					}
				}
				if _, err := v.maintain(t.Context(), fixed(w.roots), maintenance.ModeQuick); err != nil {
					t.Fatal(err)
				}
			}
			cfg.State = t.TempDir()
			late := openVault(t, cfg)
			if n := len(slices.DeleteFunc(indexOf(t, late), func(id blob.ID) bool { return !strings.HasPrefix(string(id), "xs0_") })); n != map[bool]int{false: 3, true: 1}[torn] {
				t.Errorf("the span is in %d blobs: %v", n, indexOf(t, late))
			}
			if found := verified(t, late, w.trees...); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
		})
	}
}

// Whatever is put together takes little memory, and what is long stays as it is.
func TestWhatIsPutTogether(t *testing.T) {
	blobs := func(lengths ...int64) (all []blob.Metadata) {
		for i, n := range lengths {
			all = append(all, blob.Metadata{BlobID: blob.ID(fmt.Sprint(i)), Length: n})
		}
		return all
	}
	const half = indexLarge / 2
	for _, row := range []struct {
		from []blob.Metadata
		want string
	}{
		{nil, "[]"},
		{blobs(1), "[[0]]"},
		{blobs(3, 2, 1), "[[2 1 0]]"},
		{blobs(half, half, half, 1), "[[3 0] [1 2]]"},
		{blobs(indexLarge, 1, 2*indexLarge, 2), "[[1 3] [0] [2]]"},
		{blobs(indexLarge-1, indexLarge, 1), "[[2 0] [1]]"},
		{blobs(1, 2*indexLarge+1), "[]"},
	} {
		parts, err := inParts(row.from)
		if got := fmt.Sprint(parts); got != row.want || (err != nil) != slices.ContainsFunc(row.from, tooLong) {
			t.Errorf("of %v become %s, %v, want %s", row.from, got, err, row.want)
		}
	}
	twice := []blob.Metadata{{BlobID: "xn1_aa-s1-c1", Length: indexLarge}, {BlobID: "xn1_bb-s2-c1", Length: indexLarge}, {BlobID: "xs1_aa-s3-c2", Length: indexLarge}}
	if parts, err := inParts(twice); err != nil || len(parts) != 2 {
		t.Errorf("of two blobs, one of them twice, become %v, %v", parts, err)
	}
	sets := func(lengths ...int64) (all [][]blob.Metadata) {
		for _, m := range blobs(lengths...) {
			all = append(all, []blob.Metadata{m})
		}
		return all
	}
	for _, row := range []struct {
		sets [][]blob.Metadata
		want int
	}{
		{nil, 0},
		{sets(1, 1, 1, 1, 1, 1, 1), 7},
		{sets(1, 1, 1, 1, 1, 1, 1, 1), 0},
		{sets(90, 9, 9, 9, 9, 1, 1, 1), 5},
		{sets(90, 9, 9, 9, 9, 3, 3, 1), 7},
		{sets(1, 1, 1, 1, 2*indexLarge+1, 1, 1, 1), 5},
	} {
		if got := longRow(row.sets); got != row.want {
			t.Errorf("of sets as long as %v one is made from %d on, want %d", row.sets, got, row.want)
		}
	}
}

// A storage that fails on the way, or lists nothing of a span, has nothing made of it:
// what is there stays, and the next time does it.
func TestASpanIsMadeOneAnotherTime(t *testing.T) {
	_, cfg := newVault(t)
	s := &sick{}
	lies := &listsNothing{}
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { s.Storage, lies.Storage = st, s; return lies })
	cfg.State = t.TempDir()
	v := openVault(t, cfg)
	w := flushed{roots: map[DriveKey]string{}}
	for range 2 {
		w.span(t, v, cfg)
		if _, err := v.maintain(t.Context(), fixed(w.roots), maintenance.ModeQuick); err != nil {
			t.Fatal(err)
		}
	}
	lies.of = "xn0_"
	if err := v.settle(t.Context()); err != nil {
		t.Error(err)
	}
	lies.of = ""
	if made := blobsNamed(t, cfg, "xs"); len(made) > 0 {
		t.Errorf("of a span of which nothing is listed %v were made", made)
	}
	failed := 0
	for first := 1; ; first++ {
		s.set(first, false, syscall.EIO)
		err := v.settle(t.Context())
		if over := s.over(); over && err != nil || !over && err != nil && !errors.Is(err, ErrStorage) {
			t.Fatal(first, err)
		} else if over {
			break
		}
		if err != nil {
			failed++
		}
		s.set(0, false, nil)
	}
	s.set(0, false, nil)
	if failed == 0 {
		t.Error("nothing has failed")
	}
	cfg.State = t.TempDir()
	late := openVault(t, cfg)
	if written := indexOf(t, late); !slices.ContainsFunc(written, func(id blob.ID) bool { return strings.HasPrefix(string(id), "xs0_") }) {
		t.Errorf("the span was not made one: %v", written)
	}
	for _, v := range []*Vault{v, late} {
		if found := verified(t, v, w.trees...); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
	}
}

// A listsNothing is a storage that lists nothing of what begins with of.
type listsNothing struct {
	blob.Storage
	of blob.ID
}

func (l *listsNothing) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	if l.of != "" && strings.HasPrefix(string(prefix), string(l.of)) {
		return nil
	}
	return l.Storage.ListBlobs(ctx, prefix, each)
}
