package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/format"
)

// Recovered is what Recover found.
type Recovered struct {
	Packs    int // whose index was missing, in whole or in part
	Contents int // that can be read again
}

// Recover finds contents that are in the vault's packs and not in its index,
// because a blob of the index is gone, and puts them back into the index: each
// pack carries the index of its own contents.
func (v *Vault) Recover(ctx context.Context) (Recovered, error) {
	found, err := v.recover(ctx)
	if err != nil {
		return found, fmt.Errorf("recover the vault's index: %w", storageError(err))
	}
	if found.Contents > 0 {
		v.log.WarnContext(ctx, "vault: contents that no index had were found in their packs", "packs", found.Packs, "contents", found.Contents)
	}
	return found, nil
}

func (v *Vault) recover(ctx context.Context) (found Recovered, err error) {
	if err := v.there(ctx); err != nil {
		return found, err
	}
	if err := v.rep.Refresh(ctx); err != nil {
		return found, err
	}
	w, err := v.session(ctx, "recover")
	if err != nil {
		return found, err
	}
	defer w.Close(context.WithoutCancel(ctx))
	indexed := map[blob.ID]bool{}
	err = w.ContentReader().IteratePacks(ctx, content.IteratePackOptions{IncludePacksWithOnlyDeletedContent: true}, func(p content.PackInfo) error {
		indexed[p.PackID] = true
		return nil
	})
	if err != nil {
		return found, err
	}
	for _, prefix := range []blob.ID{content.PackBlobIDPrefixRegular, content.PackBlobIDPrefixSpecial} {
		err := w.BlobStorage().ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			if indexed[m.BlobID] {
				return nil
			}
			// What another process is writing now is in no index yet either, and
			// does no harm there.
			infos, err := w.ContentManager().RecoverIndexFromPackBlob(ctx, m.BlobID, m.Length, true)
			if err != nil {
				v.log.WarnContext(ctx, "vault: the index of a pack cannot be recovered", "pack", m.BlobID, "err", err)
				return nil
			}
			found.Packs++
			found.Contents += len(infos)
			return nil
		})
		if err != nil {
			return found, err
		}
	}
	if found.Contents == 0 {
		return found, nil
	}
	if err := w.Flush(ctx); err != nil {
		return found, err
	}
	return found, v.rep.Refresh(ctx)
}

// Repair puts right what keeps a vault from being opened and what its own packs
// can put right: the blob that makes it a repository, of which each pack of kopia's
// may hold a copy, and a damaged index, which is made anew from all packs. What it
// takes away it first copies to the folder Config.State. It says what it did; of a
// vault that opens it does nothing but Recover. The vault must not be in use.
func Repair(ctx context.Context, cfg Config) (did []string, err error) {
	cfg.Create = false
	for range 3 {
		v, openErr := Open(ctx, cfg)
		if openErr == nil {
			defer v.Close(ctx)
			found, err := v.Recover(ctx)
			if found.Contents > 0 {
				did = append(did, fmt.Sprintf("put %d contents of %d packs back into the index", found.Contents, found.Packs))
			}
			return did, err
		}
		if !errors.Is(openErr, ErrDamaged) && !errors.Is(openErr, ErrPassword) {
			return did, openErr
		}
		what, err := repairStep(ctx, cfg)
		if err != nil {
			return did, fmt.Errorf("repair vault in %s: %w", cfg.Dir, storageError(err))
		}
		if what == "" {
			return did, openErr
		}
		did = append(did, what)
	}
	return did, fmt.Errorf("%w: it still does not open", ErrDamaged)
}

// repairStep mends the first thing that is wrong, and says what.
func repairStep(ctx context.Context, cfg Config) (string, error) {
	st, err := filesystem.New(ctx, &filesystem.Options{Path: cfg.Dir}, false)
	if err != nil {
		return "", err
	}
	defer st.Close(ctx)
	old, err := readBlob(ctx, st, formatBlob)
	if err != nil && !errors.Is(err, blob.ErrBlobNotFound) {
		return "", err
	}
	copied, err := formatCopy(ctx, st)
	if err != nil {
		return "", err
	}
	if len(copied) > 0 && !bytes.Equal(copied, old) {
		if len(old) > 0 {
			if err := setAside(cfg, formatBlob, old); err != nil {
				return "", err
			}
		}
		return "put " + formatBlob + " back from a copy in a pack", putBlob(ctx, st, formatBlob, copied)
	}
	if len(old) == 0 {
		return "", nil
	}
	return rebuildIndex(ctx, cfg, st)
}

// formatCopy returns the newest copy of the format blob that a pack holds.
func formatCopy(ctx context.Context, st blob.Storage) (newest []byte, err error) {
	var at time.Time
	for _, prefix := range []blob.ID{content.PackBlobIDPrefixRegular, content.PackBlobIDPrefixSpecial} {
		err = errors.Join(err, st.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			if !m.Timestamp.After(at) {
				return nil
			}
			if b, err := format.RecoverFormatBlob(ctx, st, m.BlobID, m.Length); err == nil {
				newest, at = b, m.Timestamp
			}
			return nil
		}))
	}
	return newest, err
}

// rebuildIndex takes a vault's index away and makes it anew from all packs.
func rebuildIndex(ctx context.Context, cfg Config, st blob.Storage) (string, error) {
	n := 0
	for _, prefix := range []blob.ID{"x", "n"} {
		var ids []blob.ID
		if err := st.ListBlobs(ctx, prefix, func(m blob.Metadata) error { ids = append(ids, m.BlobID); return nil }); err != nil {
			return "", err
		}
		for _, id := range ids {
			b, err := readBlob(ctx, st, id)
			if err == nil {
				err = setAside(cfg, string(id), b)
			}
			if err == nil {
				err = st.DeleteBlob(ctx, id)
			}
			if err != nil {
				return "", err
			}
			n++
		}
	}
	if n == 0 {
		return "", nil
	}
	return fmt.Sprintf("took the %d blobs of the damaged index away", n), nil
}

// setAside keeps a copy of what a repair takes away.
func setAside(cfg Config, name string, b []byte) error {
	dir := filepath.Join(cfg.State, "set-aside")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, name), b)
}

// putBlob writes a small blob.
func putBlob(ctx context.Context, st blob.Storage, id blob.ID, b []byte) error {
	return st.PutBlob(ctx, id, blobBytes(b), blob.PutOptions{})
}

// blobBytes is what kopia's storage writes from.
type blobBytes []byte

func (b blobBytes) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}
func (b blobBytes) Length() int               { return len(b) }
func (b blobBytes) Reader() io.ReadSeekCloser { return nopCloser{bytes.NewReader(b)} }

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }
