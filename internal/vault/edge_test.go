package vault

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
)

var errDead = errors.New("the process has ended")

// A fuse ends whoever works on a storage just before one of its writes: what
// was written before is there, and nothing comes after it.
type fuse struct {
	blob.Storage
	mu    sync.Mutex
	left  int // writes until it ends; 0 is never
	dead  bool
	edges map[string]int // what was about to be written
}

func (f *fuse) burn(edge string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead
	}
	f.edges[edge]++
	if f.left--; f.left == 0 {
		f.dead = true
		return errDead
	}
	return nil
}

func (f *fuse) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if err := f.burn("put " + string(id[:1])); err != nil {
		return err
	}
	return f.Storage.PutBlob(ctx, id, data, o)
}

func (f *fuse) DeleteBlob(ctx context.Context, id blob.ID) error {
	if err := f.burn("delete " + string(id[:1])); err != nil {
		return err
	}
	return f.Storage.DeleteBlob(ctx, id)
}

// underneath has the storage of a folder, when it is opened next, be what wrap
// makes of it.
func underneath(t *testing.T, dir string, wrap func(blob.Storage) blob.Storage) {
	t.Helper()
	registerWrapped()
	wrapped.Store(dir, wrap)
	t.Cleanup(func() { wrapped.Delete(dir) })
}

var wrapped sync.Map // by folder

var registerWrapped = sync.OnceFunc(func() {
	blob.AddSupportedStorage("filesystem", filesystem.Options{}, func(ctx context.Context, o *filesystem.Options, create bool) (blob.Storage, error) {
		st, err := filesystem.New(ctx, o, create)
		if err != nil {
			return nil, err
		}
		if wrap, ok := wrapped.Load(o.Path); ok {
			st = wrap.(func(blob.Storage) blob.Storage)(st)
		}
		return Guard(ctx, st), nil
	})
})

// At whatever write of a collection the process ends, the next one finds every
// point that is to be kept, and the collection can be run to its end.
func TestPlayCollectionEndsAtAnyEdge(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
	var f *fuse
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage {
		f = &fuse{Storage: st, edges: map[string]int{}}
		return f
	})
	seen := map[string]bool{}
	v, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { v.Close(context.Background()) }()
	kept := map[string]map[string]string{} // contents by path, by tree
	look := func(tree string) map[string]string {
		t.Helper()
		is := map[string]string{}
		for at, e := range paths(t, v, tree) {
			if e.Content != "" {
				is[at] = read(t, v, e.Content)
			}
		}
		return is
	}
	last := Sealed{}
	for n, ended := 1, true; ended && n < 200; n++ {
		// A point more, and one less: that before the last.
		u := begin(t, v, last)
		if last.Root == "" {
			u.Put(folder("root", "", "root"))
			u.Put(file(t, u, "same", "root", "same", strings.Repeat("same ", 10_000)))
		}
		u.Put(file(t, u, "f", "root", "f", strings.Repeat(time.Duration(n).String(), 20_000)))
		next := seal(t, u, noon.Add(time.Duration(n)*time.Hour))
		u.Close()
		keep := map[string]bool{next.Tree: true}
		if last.Tree != "" && n%2 == 0 {
			keep[last.Tree] = true
		}
		root, err := v.Expire(t.Context(), key, next.Root, keep)
		if err != nil {
			t.Fatal(err)
		}
		next.Root = root
		last = next
		maps.DeleteFunc(kept, func(tree string, _ map[string]string) bool { return !keep[tree] })
		kept[next.Tree] = look(next.Tree)

		f.mu.Lock()
		f.left, f.edges = n, map[string]int{}
		f.mu.Unlock()
		err = collect(t, v, map[DriveKey]string{key: root})
		f.mu.Lock()
		for edge := range f.edges {
			seen[edge] = true
		}
		ended = f.dead
		f.left = 0
		f.mu.Unlock()
		if !ended && err != nil {
			t.Fatal(err)
		}
		v.Close(t.Context())
		if v, err = Open(t.Context(), cfg); err != nil {
			t.Fatalf("after the collection ended at write %d: %v", n, err)
		}
		for tree, was := range kept {
			if err := verify(t, v, tree); err != nil {
				t.Fatalf("after the collection ended at write %d: %v", n, err)
			}
			if !maps.Equal(was, look(tree)) {
				t.Fatalf("after the collection ended at write %d, a point holds something else", n)
			}
		}
		if err := collect(t, v, map[DriveKey]string{key: root}); err != nil {
			t.Fatalf("the collection after one that ended at write %d: %v", n, err)
		}
		for tree := range kept {
			if err := verify(t, v, tree); err != nil {
				t.Fatalf("the collection after one that ended at write %d: %v", n, err)
			}
		}
	}
	for _, edge := range []string{"put p", "put q", "put x", "delete p", "delete q"} {
		if !seen[edge] {
			t.Errorf("no collection passed %s; there are %v", edge, slices.Sorted(maps.Keys(seen)))
		}
	}
	t.Log(slices.Sorted(maps.Keys(seen)))
}
