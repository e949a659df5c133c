package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
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
// pack carries the index of its own contents. A pack that is damaged has none. One
// that the storage fails to read stops no other, and is the error at the end.
func (v *Vault) Recover(ctx context.Context) (Recovered, error) {
	return v.recoverFrom(ctx, allPacks)
}

// recoverFrom is Recover of some packs.
func (v *Vault) recoverFrom(ctx context.Context, packs choice) (Recovered, error) {
	found, err := v.recover(ctx, packs)
	if err != nil {
		return found, fmt.Errorf("recover the vault's index: %w", storageError(err))
	}
	if found.Contents > 0 {
		v.log.WarnContext(ctx, "vault: contents that no index had were found in their packs", "packs", found.Packs, "contents", found.Contents)
	}
	return found, nil
}

// A choice chooses packs whose index may be missing.
type choice func(context.Context, *Vault, repo.DirectRepositoryWriter) ([]blob.Metadata, error)

func allPacks(ctx context.Context, _ *Vault, w repo.DirectRepositoryWriter) (packs []blob.Metadata, err error) {
	for _, prefix := range content.PackBlobIDPrefixes {
		found, err := blob.ListAllBlobs(ctx, w.BlobStorage(), prefix)
		if err != nil {
			return nil, err
		}
		packs = append(packs, found...)
	}
	return packs, nil
}

// doomedPacks are those of which collection may lose what no index knows: packs
// that are in no index, and such as have contents that were deleted, since those are
// noted by themselves, and the blob of the index that knows the others may be gone.
// What a session has written that may go on is not in the index yet.
func doomedPacks(ctx context.Context, v *Vault, w repo.DirectRepositoryWriter) ([]blob.Metadata, error) {
	// In this order: the packs of a session that has ended by then are in the index,
	// whichever process it is of.
	packs, err := allPacks(ctx, v, w)
	if err != nil {
		return nil, err
	}
	sessions, err := w.ContentManager().ListActiveSessions(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.rep.Refresh(ctx); err != nil {
		return nil, err
	}
	whole := map[blob.ID]bool{}
	err = w.ContentReader().IterateContents(ctx, content.IterateOptions{IncludeDeleted: true}, func(i content.Info) error {
		kept, seen := whole[i.PackBlobID]
		if now := !i.Deleted && (kept || !seen); now != kept || !seen {
			whole[i.PackBlobID] = now
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(packs, func(m blob.Metadata) bool {
		s := sessions[content.SessionIDFromBlobID(m.BlobID)]
		return whole[m.BlobID] || s != nil && w.Time().Before(s.CheckpointTime.Add(v.safety.SessionExpirationAge))
	}), nil
}

func (v *Vault) recover(ctx context.Context, choose choice) (found Recovered, err error) {
	ctx = once(ctx)
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
	packs, err := choose(ctx, v, w)
	if err != nil {
		return found, err
	}
	unknown := map[blob.ID][]content.ID{}
	var failed error
	for _, m := range packs {
		ids, err := v.recoverPack(ctx, w, m)
		if len(ids) > 0 {
			unknown[m.BlobID] = ids
		}
		if failed == nil {
			failed = err
		}
		if err := ctx.Err(); err != nil {
			return found, err
		}
	}
	if len(unknown) == 0 {
		return found, failed
	}
	if err := w.Flush(ctx); err != nil {
		return found, err
	}
	if err := v.rep.Refresh(ctx); err != nil {
		return found, err
	}
	// What was deleted on purpose, and forgotten since, stays so: kopia's index
	// remembers until when it has forgotten.
	for _, ids := range unknown {
		back := 0
		for _, id := range ids {
			if _, err := v.rep.ContentInfo(ctx, id); err == nil {
				back++
			} else if !missing(err) {
				return found, err
			}
		}
		if found.Contents += back; back > 0 {
			found.Packs++
		}
	}
	return found, failed
}

// recoverPack stages what a pack has and no index knows, and returns what that is.
// What another process is writing now is in no index yet either, and does no harm
// there.
func (v *Vault) recoverPack(ctx context.Context, w repo.DirectRepositoryWriter, m blob.Metadata) (unknown []content.ID, err error) {
	look := &attempt{Context: ctx}
	infos, err := w.ContentManager().RecoverIndexFromPackBlob(look, m.BlobID, m.Length, false)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if failed := look.failure(); failed != nil {
			return nil, failed
		}
		v.log.WarnContext(ctx, "vault: the index of a pack cannot be recovered", "pack", m.BlobID, "err", err)
		return nil, nil
	}
	for _, info := range infos {
		if _, err := w.ContentInfo(ctx, info.ContentID); missing(err) {
			unknown = append(unknown, info.ContentID)
		} else if err != nil {
			return nil, err
		}
	}
	if len(unknown) > 0 {
		_, err = w.ContentManager().RecoverIndexFromPackBlob(ctx, m.BlobID, m.Length, true)
	}
	return unknown, err
}

// Repair puts right what keeps a vault from being opened and what the vault itself
// can put right: the blob that makes it a repository, of which it keeps a copy,
// damaged blobs of the index, which is recovered from the packs, and the blob of
// kopia's settings for its storage, of which a folder has none. What it takes away
// it first copies to the folder Config.State. It says what it did; of a vault that
// opens it does nothing but Recover. The vault must not be in use.
func Repair(ctx context.Context, cfg Config) (did []string, err error) {
	cfg.Create = false
	for {
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
		what, err := repairStep(ctx, cfg, openErr)
		if err != nil {
			return did, fmt.Errorf("repair vault in %s: %w", cfg.place(), storageError(err))
		}
		if what == "" {
			return did, openErr
		}
		did = append(did, what)
	}
}

// repairStep mends the first thing that is wrong, and says what.
func repairStep(ctx context.Context, cfg Config, why error) (string, error) {
	cfg.Create = false
	st, _, err := cfg.storage(ctx)
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
	if errors.Is(why, errFormatBlob) {
		if len(copied) == 0 || bytes.Equal(copied, old) {
			return "", nil
		}
		if len(old) > 0 {
			if err := setAside(cfg, formatBlob, old); err != nil {
				return "", err
			}
		}
		return "put " + formatBlob + " back from its copy", putBlob(ctx, st, formatBlob, copied)
	}
	id := spare(why)
	if id == "" {
		return "", nil
	}
	return "took the damaged blob " + string(id) + " away", takeAway(ctx, cfg, st, id)
}

// takeAway takes a blob away.
func takeAway(ctx context.Context, cfg Config, st blob.Storage, id blob.ID) error {
	b, err := readBlob(ctx, st, id)
	if err == nil {
		err = setAside(cfg, string(id), b)
	}
	if err == nil {
		err = st.DeleteBlob(ctx, id)
	}
	return err
}

// spare returns the damaged blob that keeps a vault from being opened, if it can be
// without: what a blob of the index knows, the packs know too.
func spare(why error) blob.ID {
	if m := indexBlob.FindStringSubmatch(why.Error()); m != nil {
		return blob.ID(m[1])
	}
	if strings.Contains(why.Error(), "repository blobcfg blob") {
		return format.KopiaBlobCfgBlobID
	}
	return ""
}

// indexBlob finds the blob that kopia could not load, which only its words tell.
var indexBlob = regexp.MustCompile(`(?:error loading index blob|unable to open pack index) "?([xn][0-9a-zA-Z_-]+)`)

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
