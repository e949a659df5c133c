package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"

	"holdfast/internal/backup"
)

// A sick storage fails as a disk or a mount does that answers with an error: what it
// holds is as it was, and nobody can tell.
type sick struct {
	blob.Storage
	mu     sync.Mutex
	err    error
	first  int  // operation that fails, counted from 1; 0 is none
	all    bool // those after it fail too
	done   int
	failed int
	spared int // failures of what makes the index shorter, which is nobody's failure
	read   []blob.ID

	unreadable map[blob.ID]bool // these, for as long as they are named
}

// set has the storage fail from now on, or at once be well.
func (s *sick) set(first int, all bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.all, s.err, s.done, s.failed, s.spared = first, all, err, 0, 0, 0
}

func (s *sick) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// over reports whether nothing failed, of what matters or of what does not.
func (s *sick) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed+s.spared == 0
}

func (s *sick) op(ctx context.Context, name string, id blob.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == 0 {
		return nil
	}
	if s.done++; s.done == s.first || s.all && s.done > s.first {
		if ctx.Value(shortening{}) != nil {
			s.spared++
		} else {
			s.failed++
		}
		return &fs.PathError{Op: name, Path: string(id), Err: s.err}
	}
	return nil
}

func (s *sick) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if err := s.op(ctx, "read", id); err != nil {
		return err
	}
	s.mu.Lock()
	bad := s.unreadable[id]
	s.read = append(s.read, id)
	s.mu.Unlock()
	if bad {
		return &fs.PathError{Op: "read", Path: string(id), Err: syscall.EIO}
	}
	return s.Storage.GetBlob(ctx, id, offset, length, out)
}

func (s *sick) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	if err := s.op(ctx, "stat", id); err != nil {
		return blob.Metadata{}, err
	}
	return s.Storage.GetMetadata(ctx, id)
}

func (s *sick) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	if err := s.op(ctx, "readdirent", prefix); err != nil {
		return err
	}
	return s.Storage.ListBlobs(ctx, prefix, each)
}

func (s *sick) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opt blob.PutOptions) error {
	if err := s.op(ctx, "write", id); err != nil {
		return err
	}
	return s.Storage.PutBlob(ctx, id, data, opt)
}

func (s *sick) DeleteBlob(ctx context.Context, id blob.ID) error {
	if err := s.op(ctx, "unlink", id); err != nil {
		return err
	}
	return s.Storage.DeleteBlob(ctx, id)
}

// kinds are the failures that a caller may tell apart, but for that of the storage.
var kinds = []error{ErrPassword, ErrNotFound, ErrDamaged, ErrMissing, ErrOther, ErrNewer}

// At whatever look at the storage it begins to fail, or fails once: every method
// says that it was the storage, nothing counts as damaged or gone because of it,
// and nothing that is to be kept goes.
func TestPlayAFailingStorageIsNoDamage(t *testing.T) {
	w := newTorn(t)
	if _, err := w.v.SaveRecord(t.Context(), key.Tenant, map[string]func(io.Writer) error{"a.json": func(w io.Writer) error { _, err := io.WriteString(w, "[]"); return err }}); err != nil {
		t.Fatal(err)
	}
	u := begin(t, w.v, w.one)
	u.Put(file(t, u, "n", "root", "new", "new"))
	held, err := u.Seal(t.Context(), noon.Add(time.Hour), kept)
	u.Close()
	if err != nil {
		t.Fatal(err)
	}
	w.v.Close(t.Context())

	s := &sick{}
	underneath(t, w.cfg.Dir, func(st blob.Storage) blob.Storage { s.Storage = st; return s })
	v := openVault(t, w.cfg)
	long := strings.Repeat("0123456789abcdef", 1<<19) // of more than one piece
	roots := map[DriveKey]string{key: held.Root, secondKey: w.two.Root}
	var third DriveKey // another each time
	fileOf := paths(t, v, w.two.Tree)["docs/file7.txt"]
	round := 0
	// fresh seals two points of another drive, with a manifest each: neither has the
	// other's.
	fresh := func(t *testing.T) (older, newer Sealed) {
		t.Helper()
		round++
		third = DriveKey{key.Tenant, backup.DriveID(fmt.Sprint("b!third ", round))}
		for i, s := range []*Sealed{&older, &newer} {
			u, err := v.Begin(t.Context(), third, "", "")
			if err != nil {
				t.Fatal(err)
			}
			u.Put(folder("root", "", "root"))
			u.Put(file(t, u, "f", "root", "f", fmt.Sprint("round ", round, " point ", i)))
			*s = seal(t, u, noon.Add(time.Duration(i)*time.Hour))
			u.Close()
		}
		return older, newer
	}
	open := func(t *testing.T) Reader {
		r, err := v.Open(t.Context(), fileOf.Content)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	nodes := func(next func(func(Node, error) bool)) (got string, err error) {
		next(func(n Node, e error) bool {
			got += n.Path + "\n"
			err = e
			return e == nil
		})
		return got, err
	}
	say := func(x any, err error) (string, error) { return fmt.Sprintf("%+v", x), err }

	type act func() (string, error)
	// after is what must hold once the storage is well again.
	for _, tt := range []struct {
		name    string
		ready   func(t *testing.T) (do act, after func(t *testing.T))
		forgive bool // it may come to its end though the storage failed
		changes bool // what it returns is another thing each time
	}{
		// While there is little in the vault: they look at all of it.
		{name: "Recover", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return say(v.Recover(t.Context())) }, nil
		}},
		{name: "Maintain", forgive: true, ready: func(t *testing.T) (act, func(*testing.T)) {
			older, newer := fresh(t)
			third := third
			return func() (string, error) { return "", collect(t, v, roots) },
				func(t *testing.T) { has(t, v, third, older.Tree, newer.Tree) }
		}},
		{name: "There", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return "", v.There(t.Context()) }, nil
		}},
		{name: "Begin", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				u, err := v.Begin(t.Context(), key, held.Root, held.Tree)
				if err == nil {
					u.Close()
				}
				return "", err
			}, nil
		}},
		{name: "Browse", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return say(browse(v, w.two.Tree, "docs", 0)) }, nil
		}},
		{name: "Diff", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (got string, err error) {
				for c, e := range v.Diff(t.Context(), w.one.Tree, held.Tree) {
					if e != nil {
						return "", e
					}
					got += fmt.Sprintln(c.From, c.To.Path)
				}
				return got, nil
			}, nil
		}},
		{name: "Drives", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				n := 0
				for d, err := range v.Drives(t.Context()) {
					if err != nil {
						return "", err
					}
					if roots[d.Key] != "" {
						n++
					}
				}
				return fmt.Sprint(n), nil
			}, nil
		}},
		{name: "Find", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				l, ok, err := v.Find(t.Context(), w.two.Tree, backup.RefOf("file7"))
				return fmt.Sprint(l, ok), err
			}, nil
		}},
		{name: "List", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return say(inList(v.List(t.Context(), w.two.Tree, "docs"))) }, nil
		}},
		{name: "Path", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				p, ok, err := v.Path(t.Context(), w.two.Tree, "file7")
				return fmt.Sprint(p, ok), err
			}, nil
		}},
		{name: "Stat", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				e, ok, err := v.Stat(t.Context(), w.two.Tree, "file7")
				return fmt.Sprint(e, ok), err
			}, nil
		}},
		{name: "PointInfo", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				i, at, err := v.PointInfo(t.Context(), held.Tree)
				return fmt.Sprint(i, at), err
			}, nil
		}},
		{name: "Unread", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return say(v.Unread(t.Context(), held.Tree)) }, nil
		}},
		{name: "Points", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return say(v.Points(t.Context(), key, held.Tree, w.two.Tree)) }, nil
		}},
		{name: "Record", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				files, _, err := v.Record(t.Context(), key.Tenant)
				return fmt.Sprint(len(files)), err
			}, nil
		}},
		{name: "Open", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				r, err := v.Open(t.Context(), fileOf.Content)
				if err != nil {
					return "", err
				}
				defer r.Close()
				return say(io.ReadAll(r))
			}, nil
		}},
		{name: "ReadAt and Seek", ready: func(t *testing.T) (act, func(*testing.T)) {
			r := open(t)
			return func() (string, error) {
				defer r.Close()
				b := make([]byte, 100)
				if _, err := r.ReadAt(b, 50); err != nil {
					return "", err
				}
				if _, err := r.Seek(7, io.SeekStart); err != nil {
					return "", err
				}
				rest, err := io.ReadAll(r)
				return string(b) + string(rest), err
			}, nil
		}},
		{name: "Walk", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return nodes(v.Walk(t.Context(), w.two.Tree)) }, nil
		}},
		{name: "WalkBelow", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) { return nodes(v.WalkBelow(t.Context(), w.two.Tree, "docs")) }, nil
		}},
		{name: "Verify", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				r, err := v.Verify(t.Context(), []string{w.one.Tree, held.Tree}, VerifyOptions{Share: 1})
				if len(r.Damage) > 0 {
					t.Errorf("Verify takes it for damage: %v", r.Damage)
				}
				return fmt.Sprint(r), err
			}, nil
		}},
		{name: "VerifyObjects", ready: func(*testing.T) (act, func(*testing.T)) {
			return func() (string, error) {
				return "", v.VerifyObjects(t.Context(), []string{w.two.Tree, fileOf.Content})
			}, nil
		}},
		{name: "Update", ready: func(t *testing.T) (act, func(*testing.T)) {
			u := begin(t, v, held)
			return func() (string, error) {
				defer u.Close()
				e, ok, err := u.Get(t.Context(), "f2")
				if err != nil {
					return "", err
				}
				var children []Entry
				for e, err := range u.Children(t.Context(), "a") {
					if err != nil {
						return "", err
					}
					children = append(children, e)
				}
				ids := map[backup.ItemID]bool{}
				for e, err := range u.Entries(t.Context()) {
					if err != nil {
						return "", err
					}
					ids[e.ID] = true
				}
				holds, err := u.Holds(t.Context(), e)
				return fmt.Sprint(e, ok, children, ids, holds), err
			}, nil
		}},
		{name: "Write and Seal", changes: true, ready: func(t *testing.T) (act, func(*testing.T)) {
			older, newer := fresh(t)
			third := third
			u, err := v.Begin(t.Context(), third, newer.Root, newer.Tree)
			if err != nil {
				t.Fatal(err)
			}
			own := fmt.Sprint(round) + long
			return func() (string, error) {
					defer u.Close()
					c, err := u.Write(t.Context(), "g", strings.NewReader(own))
					if err != nil {
						return "", err
					}
					u.Put(Entry{ID: "g", Parent: "root", Name: "g", Kind: backup.File, Size: c.Size, Content: c.ID})
					s, err := u.Seal(t.Context(), noon.Add(2*time.Hour), kept)
					return s.Tree, err
				}, func(t *testing.T) {
					has(t, v, third, older.Tree, newer.Tree)
				}
		}},
		{name: "Write of what was damaged, and Seal", changes: true, ready: func(t *testing.T) (act, func(*testing.T)) {
			older, newer := fresh(t)
			third := third
			u, _, err := v.BeginAnew(t.Context(), third)
			if err != nil {
				t.Fatal(err)
			}
			return func() (string, error) {
					defer u.Close()
					u.Put(folder("root", "", "root"))
					c, err := u.Write(t.Context(), "f", strings.NewReader(fmt.Sprint("round ", round, " point 0")))
					if err != nil {
						return "", err
					}
					u.Put(Entry{ID: "f", Parent: "root", Name: "f", Kind: backup.File, Size: c.Size, Content: c.ID})
					s, err := u.Seal(t.Context(), noon.Add(2*time.Hour), kept)
					return s.Tree, err
				}, func(t *testing.T) {
					has(t, v, third, older.Tree, newer.Tree)
				}
		}},
		{name: "Flush", ready: func(t *testing.T) (act, func(*testing.T)) {
			round++
			u := begin(t, v, held)
			file(t, u, "", "", "", fmt.Sprint("flushed ", round))
			u.Close()
			return func() (string, error) { return "", v.Flush(t.Context()) }, nil
		}},
		{name: "Merge", changes: true, ready: func(t *testing.T) (act, func(*testing.T)) {
			older, newer := fresh(t)
			third := third
			return func() (string, error) { return say(v.Merge(t.Context(), third, newer.Root, older.Tree)) },
				func(t *testing.T) { has(t, v, third, older.Tree, newer.Tree) }
		}},
		{name: "BeginAnew", changes: true, ready: func(t *testing.T) (act, func(*testing.T)) {
			older, newer := fresh(t)
			third := third
			return func() (string, error) {
				u, newest, err := v.BeginAnew(t.Context(), third, older.Tree)
				if err == nil {
					u.Close()
				}
				return newest, err
			}, func(t *testing.T) { has(t, v, third, older.Tree, newer.Tree) }
		}},
		{name: "Expire", changes: true, ready: func(t *testing.T) (act, func(*testing.T)) {
			older, newer := fresh(t)
			third := third
			u, err := v.Begin(t.Context(), third, newer.Root, newer.Tree)
			if err != nil {
				t.Fatal(err)
			}
			u.Put(folder("x", "root", "x"))
			last := seal(t, u, noon.Add(2*time.Hour))
			u.Close()
			return func() (string, error) {
				return say(v.Expire(t.Context(), third, last.Root, map[string]bool{older.Tree: true, last.Tree: true}))
			}, func(t *testing.T) { has(t, v, third, older.Tree, last.Tree) }
		}},
		{name: "Destroy", ready: func(t *testing.T) (act, func(*testing.T)) {
			fresh(t)
			return func() (string, error) { return "", v.Destroy(t.Context(), third) }, func(*testing.T) {}
		}},
		{name: "SaveRecord", changes: true, ready: func(*testing.T) (act, func(*testing.T)) {
			round++
			return func() (string, error) {
				return say(v.SaveRecord(t.Context(), key.Tenant, map[string]func(io.Writer) error{
					"a.json": func(w io.Writer) error { _, err := fmt.Fprint(w, "[", round, "]"); return err }}))
			}, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			do, after := tt.ready(t)
			want, err := do()
			if err != nil {
				t.Fatal(err)
			}
			if after != nil {
				after(t)
				if err := v.Destroy(t.Context(), third); err != nil {
					t.Fatal(err)
				}
			}
			kindOf := map[syscall.Errno]error{syscall.EACCES: ErrRefused, syscall.ENOSPC: ErrFull}
			errnos := []syscall.Errno{syscall.EIO, syscall.EACCES, syscall.ESTALE, syscall.ENOSPC}
			runs := 0
			for _, all := range []bool{true, false} {
				for n := 1; ; n += 1 + n/6 {
					if n > 2000 {
						t.Fatal("it never came to its end")
					}
					runs++
					errno := errnos[runs%len(errnos)]
					do, after := tt.ready(t)
					s.set(n, all, errno)
					got, err := do()
					failed, over := s.failures(), s.over()
					s.set(0, false, nil)
					at := fmt.Sprintf("%v at operation %d (and all after it: %v)", errno, n, all)
					switch {
					case err != nil && failed == 0:
						t.Fatalf("%s: %v, and nothing failed", at, err)
					case err != nil:
						if !errors.Is(err, ErrStorage) || !errors.Is(err, errno) {
							t.Errorf("%s: %v, want ErrStorage and its cause", at, err)
						}
						for _, kind := range kinds {
							if errors.Is(err, kind) {
								t.Errorf("%s: %v is taken for %v", at, err, kind)
							}
						}
						for _, kind := range []error{ErrFull, ErrRefused} {
							if errors.Is(err, kind) != (kindOf[errno] == kind) {
								t.Errorf("%s: %v, is it %v: %v", at, err, kind, errors.Is(err, kind))
							}
						}
					case failed > 0 && all && !tt.forgive:
						t.Errorf("%s: no error", at)
					case !tt.changes && got != want:
						t.Errorf("%s: another result: %s", at, cmp.Diff(want, got))
					}
					if after != nil {
						after(t)
						if err := v.Destroy(t.Context(), third); err != nil {
							t.Fatal(err)
						}
					}
					v.manifests.Lock()
					if len(v.manifests.absent)+len(v.manifests.unread) > 0 {
						t.Errorf("%s: taken for gone: %v, for unreadable: %v", at, v.manifests.absent, v.manifests.unread)
					}
					v.manifests.Unlock()
					if left := v.Damaged(); len(left) > 0 {
						t.Errorf("%s: taken for damaged: %q", at, left)
					}
					if t.Failed() {
						return
					}
					if over {
						break
					}
				}
			}
			has(t, v, key, w.one.Tree, held.Tree)
			has(t, v, secondKey, w.two.Tree)
			if found := verified(t, v, w.one.Tree, held.Tree, w.two.Tree); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
			t.Log(runs, "runs")
		})
	}
}

// has makes sure that a drive has points of these trees, whole.
func has(t *testing.T, v *Vault, key DriveKey, trees ...string) {
	t.Helper()
	points, err := v.Points(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	whole := map[string]bool{}
	for _, p := range points {
		whole[p.Tree] = p.Err == nil
	}
	for _, tree := range trees {
		if !whole[tree] {
			t.Errorf("drive %s has lost the point %s; it has %+v", key.Drive, tree, points)
		}
	}
}

// A vault whose storage begins to fail while it is opened does not open, and says so
// at once.
func TestPlayOpenOnAFailingStorage(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	cfg.State = t.TempDir()
	storage := &sick{}
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { storage.Storage = st; return storage })
	for n := 1; ; n++ {
		storage.set(n, true, syscall.EIO)
		v, err := Open(t.Context(), cfg)
		failed := storage.failures()
		storage.set(0, false, nil)
		if err == nil {
			if found := verified(t, v, s.Tree); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
			v.Close(t.Context())
			if n < 5 {
				t.Errorf("only %d looks at the storage", n)
			}
			if failed > 0 {
				t.Errorf("it opens though operation %d failed", n)
			}
			return
		}
		if !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.EIO) {
			t.Errorf("Open = %v, want ErrStorage and its cause", err)
		}
		for _, kind := range kinds {
			if errors.Is(err, kind) {
				t.Errorf("Open = %v, which is taken for %v", err, kind)
			}
		}
	}
}

// A root that no index knows may be in a pack that cannot be read now. Until all
// were searched nothing is collected.
func TestARootIsNotGoneWhilePacksCannotBeRead(t *testing.T) {
	w := newTorn(t)
	hidden := map[blob.ID]bool{whereIs(t, w.v, w.two.Root).PackBlobID: true, whereIs(t, w.v, w.two.Tree).PackBlobID: true}
	w.v.Close(t.Context())
	dropBlob(t, w.cfg, w.index)
	storage := &sick{}
	underneath(t, w.cfg.Dir, func(st blob.Storage) blob.Storage { storage.Storage = st; return storage })
	v := openVault(t, w.cfg)
	roots := map[DriveKey]string{key: w.one.Root, secondKey: w.two.Root}
	hide := func(packs map[blob.ID]bool) {
		storage.mu.Lock()
		defer storage.mu.Unlock()
		storage.unreadable = packs
	}
	hide(hidden)
	for range 2 {
		if err := collect(t, v, roots); !errors.Is(err, ErrStorage) || unreadable(err) {
			t.Errorf("collection = %v, want ErrStorage", err)
		}
	}
	hide(nil)
	if err := collect(t, v, roots); err != nil {
		t.Error(err)
	}
	has(t, v, secondKey, w.two.Tree)
	if found := verified(t, v, w.one.Tree, w.two.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// Kopia's collection waits for ever for those who delete once each has failed. A
// storage that lets no pack be deleted, as one mounted read-only meanwhile or a
// bucket's key without the right, ends a collection with its error, and the next one
// collects what this one could not.
func TestACollectionThatMayNotDelete(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
	s := &frozen{}
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { s.Storage = st; return s })
	v := openVault(t, cfg)
	last := sample(t, v)
	var pack blob.ID
	err := s.Storage.ListBlobs(t.Context(), "p", func(m blob.Metadata) error { pack = m.BlobID; return nil })
	if err != nil || pack == "" {
		t.Fatal(pack, err)
	}
	b, err := readBlob(t.Context(), s.Storage, pack)
	if err != nil {
		t.Fatal(err)
	}
	const orphans = 150 // more than kopia has hands and room for
	for i := range orphans {
		if err := putBlob(t.Context(), s.Storage, blob.ID(fmt.Sprintf("p%032x-s%017x", i, i)), b); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		err := s.Storage.ListBlobs(t.Context(), "p", func(blob.Metadata) error { n++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.set(true)
	if err := collect(t, v, map[DriveKey]string{key: last.Root}); !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.EROFS) {
		t.Errorf("the collection ended with %v, want ErrStorage and EROFS", err)
	}
	if n := count(); n < orphans {
		t.Errorf("%d packs are left", n)
	}
	s.set(false)
	if err := collect(t, v, map[DriveKey]string{key: last.Root}); err != nil {
		t.Error(err)
	}
	if n := count(); n >= orphans {
		t.Errorf("then %d packs are left", n)
	}
	has(t, v, key, last.Tree)
	if found := verified(t, v, last.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// One whose context ends while it deletes ends too, however much there is to delete.
func TestACollectionThatIsStopped(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
	ctx, stop := context.WithCancel(t.Context())
	s := &frozen{then: stop}
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { s.Storage = st; return s })
	v := openVault(t, cfg)
	last := sample(t, v)
	for i := range 300 {
		if err := putBlob(t.Context(), s.Storage, blob.ID(fmt.Sprintf("p%032x-s%017x", i, i)), []byte("a pack of nobody's")); err != nil {
			t.Fatal(err)
		}
	}
	s.set(true)
	v.safety = maintenance.SafetyNone
	if _, err := v.maintain(ctx, fixed(map[DriveKey]string{key: last.Root}), maintenance.ModeFull); !errors.Is(err, context.Canceled) {
		t.Errorf("the collection ended with %v, want that it was cancelled", err)
	}
	s.set(false)
	if err := collect(t, v, map[DriveKey]string{key: last.Root}); err != nil {
		t.Error(err)
	}
	has(t, v, key, last.Tree)
}

// A frozen storage lets no pack be deleted, while it is.
type frozen struct {
	blob.Storage
	is   atomic.Bool
	then func() // is done at each attempt; may be nil
}

func (f *frozen) set(is bool) { f.is.Store(is) }

func (f *frozen) DeleteBlob(ctx context.Context, id blob.ID) error {
	if f.is.Load() && id[0] == 'p' {
		if f.then != nil {
			f.then()
		}
		return &fs.PathError{Op: "unlink", Path: string(id), Err: syscall.EROFS}
	}
	return f.Storage.DeleteBlob(ctx, id)
}
