package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/repo/manifest"
)

// ID returns the vault's own id, which it has from its creation on and shares
// with no other.
func (v *Vault) ID() string { return hex.EncodeToString(v.rep.UniqueID()) }

// formatBlob is the blob that makes a folder a repository.
const formatBlob = format.KopiaRepositoryBlobID

// prepare makes sure that the storage holds the vault that cfg means, and makes
// one there if cfg allows it and there is nothing. It returns the vault's id. Two
// processes may try at once: the second must not write a format of its own over
// the first's.
func prepare(ctx context.Context, st blob.Storage, cfg Config) (string, error) {
	id, err := storedID(ctx, st)
	switch {
	case err == nil && cfg.ID != "" && id != cfg.ID:
		if copied, _ := copiedID(ctx, st); copied == cfg.ID {
			return "", errFormatBlob
		}
		return "", fmt.Errorf("%w: it has the id %s, and %s was there before; %s", ErrOther, id, cfg.ID, cfg.heldOther())
	case err == nil:
		return id, nil
	case !errors.Is(err, blob.ErrBlobNotFound):
		return "", err
	}
	if some, err := anyBlob(ctx, st); err != nil {
		return "", err
	} else if some {
		return "", errFormatBlob
	}
	if cfg.ID != "" || !cfg.Create {
		return "", fmt.Errorf("%w: %s", ErrMissing, cfg.holdsNone())
	}
	if err := create(ctx, st, cfg); err != nil {
		return "", err
	}
	return storedID(ctx, st)
}

// storedID reads a vault's id from its storage. blob.ErrBlobNotFound when there
// is no vault.
func storedID(ctx context.Context, st blob.Reader) (string, error) {
	b, err := readBlob(ctx, st, formatBlob)
	if err != nil {
		return "", err
	}
	f, err := format.ParseKopiaRepositoryJSON(b)
	if err != nil || len(f.UniqueID) == 0 {
		return "", errFormatBlob
	}
	return hex.EncodeToString(f.UniqueID), nil
}

// copyBlob is our copy of the format blob. Kopia keeps no other, and without it
// nothing in a vault can be read. Like that it is useless without the password.
const copyBlob = "holdfast.repository"

// formatCopy returns the copy of the format blob, or nothing.
func formatCopy(ctx context.Context, st blob.Reader) ([]byte, error) {
	b, err := readBlob(ctx, st, copyBlob)
	if errors.Is(err, blob.ErrBlobNotFound) {
		return nil, nil
	}
	return b, err
}

// keepCopy copies the format blob of a repository that has just been opened.
func keepCopy(ctx context.Context, st blob.Storage) error {
	now, err := readBlob(ctx, st, formatBlob)
	if err != nil {
		return err
	}
	copied, err := formatCopy(ctx, st)
	if err != nil || bytes.Equal(copied, now) {
		return err
	}
	return putBlob(ctx, st, copyBlob, now)
}

// errFormatBlob: the blob that makes a folder a repository is damaged or gone.
var errFormatBlob = fmt.Errorf("%w: the blob %s is gone or not as it was written; have it recovered by 'holdfast vault repair'", ErrDamaged, formatBlob)

// copiedID returns the id in the copy of the format blob.
func copiedID(ctx context.Context, st blob.Reader) (string, error) {
	b, err := formatCopy(ctx, st)
	if err != nil || len(b) == 0 {
		return "", err
	}
	f, err := format.ParseKopiaRepositoryJSON(b)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(f.UniqueID), nil
}

// openError tells a damaged format blob, which kopia takes for many things and
// mostly for a wrong password, from everything else: it does not open, and its copy
// does, or another blob does with the key that is made of the password.
func openError(ctx context.Context, st blob.Storage, password string, err error) error {
	now, readErr := readBlob(ctx, st, formatBlob)
	if readErr != nil && !errors.Is(readErr, blob.ErrBlobNotFound) || ctx.Err() != nil || opens(ctx, st, now, password) {
		return err
	}
	copied, copyErr := formatCopy(ctx, st)
	differ := !bytes.Equal(now, copied)
	switch gone := errors.Is(err, errFormatBlob); {
	case copyErr != nil:
		return err
	case differ && opens(ctx, st, copied, password):
		return errFormatBlob
	case isPassword(ctx, st, now, password), isPassword(ctx, st, copied, password):
		return fmt.Errorf("%w: neither the blob %s nor its copy %s is as it was written, and the password is the right one; bring one of the two back from a copy of the vault", ErrDamaged, formatBlob, copyBlob)
	case gone:
		return fmt.Errorf("%w: the blob %s is gone or not as it was written, and its copy %s is gone too, or does not open with this password; check the password, else bring one of the two back from a copy of the vault", ErrDamaged, formatBlob, copyBlob)
	case differ && len(copied) > 0 && errors.Is(err, repo.ErrInvalidPassword):
		return fmt.Errorf("%w, or the blob %s and its copy %s are both damaged, since they differ; check the password first", ErrPassword, formatBlob, copyBlob)
	}
	return err
}

// opens reports whether a format blob opens with a password. What can be spared
// besides may be damaged.
func opens(ctx context.Context, st blob.Storage, f []byte, password string) bool {
	if len(f) == 0 {
		return false
	}
	_, err := format.NewManager(ctx, formatOnly{st, f}, "", 0, password, time.Now)
	return err == nil || spare(err) != ""
}

// isPassword reports whether a password is surely the right one although the format
// blob, of which f is a damaged copy, does not open with it: kopia's settings for its
// storage are sealed with the same key, and open in its place.
func isPassword(ctx context.Context, st blob.Storage, f []byte, password string) bool {
	j, err := format.ParseKopiaRepositoryJSON(f)
	if err != nil {
		return false
	}
	if j.EncryptedFormatBytes, err = readBlob(ctx, st, format.KopiaBlobCfgBlobID); err != nil {
		return false
	}
	if f, err = json.Marshal(j); err != nil {
		return false
	}
	_, err = format.NewManager(ctx, formatOnly{st, f}, "", 0, password, time.Now)
	return !errors.Is(err, repo.ErrInvalidPassword) && ctx.Err() == nil
}

// formatOnly is a storage with another format blob.
type formatOnly struct {
	blob.Storage
	format []byte
}

func (f formatOnly) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if id != formatBlob {
		return f.Storage.GetBlob(ctx, id, offset, length, out)
	}
	out.Reset()
	_, err := out.Write(f.format)
	return err
}

// readBlob reads a small blob whole.
func readBlob(ctx context.Context, st blob.Reader, id blob.ID) ([]byte, error) {
	var b buffer
	err := st.GetBlob(ctx, id, 0, -1, &b)
	return b.Bytes(), err
}

// holdsBlob reports whether a storage has a blob.
func holdsBlob(ctx context.Context, st blob.Reader, id blob.ID) (bool, error) {
	_, err := st.GetMetadata(ctx, id)
	if errors.Is(err, blob.ErrBlobNotFound) {
		return false, nil
	}
	return err == nil, err
}

// buffer is what kopia's storage reads into.
type buffer struct{ bytes.Buffer }

func (b *buffer) Length() int { return b.Len() }

// errFound ends a listing.
var errFound = errors.New("found")

// anyBlob reports whether the storage holds packs or indexes.
func anyBlob(ctx context.Context, st blob.Storage) (bool, error) {
	for _, prefix := range []blob.ID{"p", "q", "x", "n", copyBlob} {
		err := st.ListBlobs(ctx, prefix, func(blob.Metadata) error { return errFound })
		if errors.Is(err, errFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// create makes the repository unless it is there.
func create(ctx context.Context, st blob.Storage, cfg Config) error {
	done, err := cfg.alone()
	if err != nil {
		return err
	}
	defer done()
	err = repo.Initialize(ctx, st, &repo.NewRepositoryOptions{
		BlockFormat: format.ContentFormat{
			Hash:       "BLAKE3-256-128",
			Encryption: "AES256-GCM-HMAC-SHA256",
			// Packs are built in memory, several at a time: the smallest that kopia allows.
			MutableParameters: format.MutableParameters{MaxPackSize: 10 << 20},
		},
		ObjectFormat: format.ObjectFormat{Splitter: "DYNAMIC-4M-BUZHASH"},
	}, string(cfg.Password))
	if errors.Is(err, repo.ErrAlreadyInitialized) {
		return nil
	}
	return err
}

// There returns nil if the vault is still in its place, else ErrMissing, ErrOther
// or why that cannot be told.
func (v *Vault) There(ctx context.Context) error {
	v.seen.Store(0)
	return v.there(ctx)
}

// there makes sure that the storage still holds this vault: its folder may have
// been unmounted or exchanged while it was open.
func (v *Vault) there(ctx context.Context) error {
	return seeing{&v.seen, v.place.trust()}.there(ctx, v.rep.BlobReader(), v.ID(), v.place)
}

// A seeing looks whether a vault is in its place, unless it was a moment ago.
type seeing struct {
	last  *atomic.Int64 // when it was last there, in Unix nanoseconds
	trust time.Duration // how long a look is good for
}

func (s seeing) there(ctx context.Context, st blob.Reader, id string, place Config) error {
	now := time.Now()
	if now.UnixNano()-s.last.Load() < int64(s.trust) {
		return nil
	}
	err := inPlace(ctx, st, id, place)
	if err == nil {
		s.last.Store(now.UnixNano())
	}
	return err
}

// inPlace makes sure that a storage holds the vault of an id, and says of its place
// what to look for.
func inPlace(ctx context.Context, st blob.Reader, opened string, place Config) error {
	id, err := storedID(ctx, st)
	switch {
	case errors.Is(err, blob.ErrBlobNotFound):
		return place.in(fmt.Errorf("%w: it was there when it was opened; %s", ErrMissing, place.heldOne()))
	case err != nil:
		return place.in(storageError(err))
	case id != opened:
		return place.in(fmt.Errorf("%w: it has the id %s, and %s was opened; %s", ErrOther, id, opened, place.heldOther()))
	}
	return nil
}

// A guarded storage writes to the vault of an id only, and deletes from no other.
// Kopia writes packs whenever they are full, and believes that they are where it
// opened its storage: one that went to an empty mount point, or to a vault that was
// mounted in this one's place, would be missed only when it is read. One that is
// refused it keeps, and writes when the true folder is back.
type guarded struct {
	blob.Storage
	id    string
	place Config
	index *shortIndex
	packs packing
	seeing
	copy *atomic.Bool // it is a copy until it is written to
}

// writable makes sure that the storage holds the vault, and that it is no copy any more.
func (g guarded) writable(ctx context.Context) error {
	if err := g.there(ctx, g.Storage, g.id, g.place); err != nil || !g.copy.Load() {
		return err
	}
	err := g.Storage.DeleteBlob(ctx, copyNote)
	if err == nil {
		g.copy.Store(false)
	}
	return err
}

// A packing is the packs of files' contents that are on their way to the storage. Each
// is in memory until it is there, and what would fill another waits meanwhile.
type packing chan struct{}

// packingOf returns how many packs may be on their way: two to a store that other
// machines reach, so that one is sent while the other is answered; a folder takes one in
// less time than it takes to fill the next.
func packingOf(cfg Config) packing {
	if cfg.Remote() {
		return make(packing, 2)
	}
	return make(packing, 1)
}

func (p packing) begin(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p packing) end() { <-p }

func (g guarded) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	if err := g.writable(ctx); err != nil {
		return tell(ctx, err, false)
	}
	if strings.HasPrefix(string(id), "p") {
		if err := g.packs.begin(ctx); err != nil {
			return err
		}
		defer g.packs.end()
	}
	id = inSet(ctx, id)
	length := int64(data.Length())
	err := g.Storage.PutBlob(ctx, id, data, opts)
	if err == nil {
		g.index.wrote(ctx, blob.Metadata{BlobID: id, Length: length, Timestamp: time.Now()})
		if g.place.Wrote != nil {
			g.place.Wrote(length)
		}
	}
	return tell(ctx, err, false)
}

func (g guarded) DeleteBlob(ctx context.Context, id blob.ID) error {
	err := g.writable(ctx)
	if err == nil {
		err = g.Storage.DeleteBlob(ctx, id)
	}
	if err == nil {
		g.index.deleted(id)
		return nil
	}
	return tell(ctx, err, false)
}

func (g guarded) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if s, ok := ctx.Value(sequenceKey{}).(*Sequence); ok && s.read(ctx, g.Storage, id, offset, length, out) {
		return nil
	}
	err := g.Storage.GetBlob(ctx, id, offset, length, out)
	if err == nil && strings.HasPrefix(string(id), "x") {
		g.index.read.Add(int64(out.Length()))
	}
	return tell(ctx, err, false)
}

func (g guarded) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	list := g.index.listMarks
	span, _, ok := spanOf(prefix)
	if ok = ok && span == prefix; ok {
		list = g.index.list
	}
	if ok || slices.Contains(markPrefixes, prefix) {
		found, err := list(ctx, g.Storage, prefix)
		if err != nil {
			return tell(ctx, err, true)
		}
		for _, m := range found {
			if err := each(m); err != nil {
				return err
			}
		}
		return nil
	}
	own := false
	err := g.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
		err := each(m)
		own = err != nil
		return err
	})
	if own {
		return err
	}
	return tell(ctx, err, true)
}

// An attempt is a context that knows of the storage's failures, also of those that
// kopia does not pass on, and that is over once the storage could not list its
// blobs: kopia would list its indexes again and again until it can, and let nobody
// else read or write meanwhile. The storage has tried ten times by then.
type attempt struct {
	context.Context
	failed atomic.Pointer[error] // the first failure
	over   atomic.Bool
	end    context.CancelFunc // of what is derived from it, or nil if nothing is
}

// attempting is the key of an attempt in itself.
type attempting struct{}

// once returns ctx as an attempt.
func once(ctx context.Context) context.Context {
	if _, ok := ctx.(*attempt); ok {
		return ctx
	}
	return &attempt{Context: ctx}
}

// tell notes in the attempt that ctx is of that the storage has failed, and whether
// that is the end of it. It returns err.
func tell(ctx context.Context, err error, over bool) error {
	a, ok := ctx.Value(attempting{}).(*attempt)
	if !ok || err == nil || damaged(err) || ctx.Err() != nil {
		return err
	}
	why := storageError(err)
	a.failed.CompareAndSwap(nil, &why)
	if over {
		a.over.Store(true)
		if a.end != nil {
			a.end()
		}
	}
	return err
}

// failure is the first failure of the storage, or nil.
func (a *attempt) failure() error {
	if err := a.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (a *attempt) Err() error {
	if a.over.Load() {
		return a.failure()
	}
	return a.Context.Err()
}

func (a *attempt) Value(key any) any {
	if key == (attempting{}) {
		return a
	}
	return a.Context.Value(key)
}

// formatVersion is the version of what we keep in a repository, above kopia's
// own format. It rises when an older Holdfast would do harm to what a newer one
// has written. A version that raises it has a migration that stands alone, since
// processes of several versions write to one vault otherwise: what they add to it, files
// and members of JSON, those of before pass over.
const formatVersion = 1

// formatType labels the manifest that says so.
const formatType = "holdfast-format"

var formatLabels = map[string]string{manifest.TypeLabelKey: formatType}

type formatManifest struct {
	Version int `json:"version"`
}

// checkFormat refuses a vault of a newer Holdfast, and marks one that bears no
// mark or an older one.
func (v *Vault) checkFormat(ctx context.Context) error {
	version := 0
	marks, err := v.otherManifests(ctx, func(e *manifestEntry) bool { return e.labelled(formatLabels) })
	for _, mark := range marks {
		var f formatManifest
		if json.Unmarshal(mark.Data, &f) != nil {
			f.Version = math.MaxInt // that of a program which tells it in another way
		}
		version = max(version, f.Version)
	}
	if unreadable(err) {
		// A pack of manifests is damaged. What does not need them still works, and
		// Maintain mends it.
		v.log.ErrorContext(ctx, "vault: manifests cannot be read", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	if version > formatVersion {
		return fmt.Errorf("%w: its format is %d, and this program knows formats up to %d; use the newer program", ErrNewer, version, formatVersion)
	}
	if version == formatVersion {
		return nil
	}
	ctx = once(ctx)
	w, err := v.session(ctx, "format")
	if err != nil {
		return err
	}
	defer w.Close(context.WithoutCancel(ctx))
	if err := writeFormat(ctx, w); err != nil {
		v.log.WarnContext(ctx, "vault: it could not be marked with its format", "err", err) // a full disk can still be read
	}
	return nil
}

func writeFormat(ctx context.Context, w *session) error {
	if _, err := w.PutManifest(ctx, formatLabels, formatManifest{formatVersion}); err != nil {
		return storageError(err)
	}
	return storageError(w.Flush(ctx))
}
