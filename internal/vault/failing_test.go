package vault

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"

	"holdfast/internal/backup"
)

// A sick storage reads no packs while it is sick, and counts what is deleted.
type sick struct {
	blob.Storage
	with    atomic.Pointer[error]
	deleted atomic.Int64
}

func (s *sick) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if err := s.with.Load(); err != nil && (id[0] == 'p' || id[0] == 'q') {
		return &fs.PathError{Op: "read", Path: string(id), Err: *err}
	}
	return s.Storage.GetBlob(ctx, id, offset, length, out)
}

func (s *sick) DeleteBlob(ctx context.Context, id blob.ID) error {
	if s.with.Load() != nil && id[0] != 's' { // what marks a session goes with it
		s.deleted.Add(1)
	}
	return s.Storage.DeleteBlob(ctx, id)
}

// That a storage fails is nobody's damage: whatever is asked of the vault, the error
// says so, nothing counts as damaged or absent, and nothing is given up or deleted.
func TestAFailingStorageIsNoDamage(t *testing.T) {
	first := newTorn(t)
	if err := first.v.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	storage := &sick{}
	underneath(t, first.cfg.Dir, func(st blob.Storage) blob.Storage { storage.Storage = st; return storage })
	for _, why := range []error{syscall.EIO, syscall.EACCES, syscall.ESTALE} {
		t.Run(why.Error(), func(t *testing.T) {
			storage.with.Store(nil)
			v := openVault(t, first.cfg)
			u, err := v.Begin(t.Context(), secondKey, first.two.Root, first.two.Tree)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			content := paths(t, v, first.two.Tree)["docs/file7.txt"].Content
			roots := map[DriveKey]string{key: first.one.Root, secondKey: first.two.Root}
			tree := first.two.Tree
			storage.with.Store(&why)
			storage.deleted.Store(0)
			for name, do := range map[string]func(ctx context.Context) error{
				"Begin": func(ctx context.Context) error {
					_, err := v.Begin(ctx, key, first.one.Root, first.one.Tree)
					return err
				},
				"BeginAnew": func(ctx context.Context) error { _, _, err := v.BeginAnew(ctx, secondKey, tree); return err },
				"Open": func(ctx context.Context) error {
					r, err := v.Open(ctx, content)
					if err == nil {
						_, err = io.Copy(io.Discard, r)
					}
					return err
				},
				"Stat":          func(ctx context.Context) error { _, _, err := v.Stat(ctx, tree, "docs"); return err },
				"List":          func(ctx context.Context) error { _, err := v.List(ctx, tree, "docs"); return err },
				"Browse":        func(ctx context.Context) error { _, err := v.Browse(ctx, tree, "docs"); return err },
				"Find":          func(ctx context.Context) error { _, _, err := v.Find(ctx, tree, backup.RefOf("docs")); return err },
				"PointInfo":     func(ctx context.Context) error { _, _, err := v.PointInfo(ctx, tree); return err },
				"Unread":        func(ctx context.Context) error { _, err := v.Unread(ctx, tree); return err },
				"Points":        func(ctx context.Context) error { _, err := v.Points(ctx, secondKey, tree); return err },
				"Merge":         func(ctx context.Context) error { _, err := v.Merge(ctx, secondKey, first.two.Root, tree); return err },
				"VerifyObjects": func(ctx context.Context) error { return v.VerifyObjects(ctx, []string{tree, content}) },
				"Walk": func(ctx context.Context) error {
					for _, err := range v.Walk(ctx, tree) {
						if err != nil {
							return err
						}
					}
					return nil
				},
				"Diff": func(ctx context.Context) error {
					for _, err := range v.Diff(ctx, first.one.Tree, tree) {
						if err != nil {
							return err
						}
					}
					return nil
				},
				"Verify": func(ctx context.Context) error {
					r, err := v.Verify(ctx, []string{tree}, VerifyOptions{Share: 1})
					if len(r.Damage) > 0 {
						t.Errorf("Verify finds %v", r.Damage)
					}
					return err
				},
				"Expire": func(ctx context.Context) error {
					_, err := v.Expire(ctx, secondKey, first.two.Root, map[string]bool{})
					return err
				},
				"Maintain": func(ctx context.Context) error {
					_, err := v.maintain(ctx, roots, maintenance.ModeFull)
					return err
				},
				"Seal": func(ctx context.Context) error {
					u.Put(folder("new", "docs", "new"))
					_, err := u.Seal(ctx, noon.Add(time.Hour), PointInfo{})
					return err
				},
			} {
				if err := do(t.Context()); !errors.Is(err, ErrStorage) || unreadable(err) {
					t.Errorf("%s = %v, want ErrStorage alone", name, err)
				}
			}
			if n := storage.deleted.Load(); n > 0 {
				t.Errorf("%d blobs were deleted", n)
			}
			if bad := v.Damaged(); len(bad) > 0 {
				t.Errorf("noted as damaged: %q", bad)
			}

			// It is well again, and so is everything else.
			storage.with.Store(nil)
			if found := verified(t, v, first.one.Tree, tree); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
			for of, s := range map[DriveKey]Sealed{key: first.one, secondKey: first.two} {
				if got := manifestRoots(t, v, of); strings.Join(got, " ") != s.Root {
					t.Errorf("the manifests of %s name %q, want %s", of.Drive, got, s.Root)
				}
			}
			if _, err := v.maintain(t.Context(), roots, maintenance.ModeFull); err != nil {
				t.Error(err)
			}
		})
	}
}
