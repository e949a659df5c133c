package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/minio/minio-go/v7"
)

// A DamageError is of an object of which something stored is not what was
// written, or is gone. It is ErrDamaged.
type DamageError struct {
	Object   string
	Contents []string // kopia's ids of what is damaged of it, where that is known
	Err      error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: object %s: %v", ErrDamaged, e.Object, e.Err)
}

// Is makes it ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

func (e *DamageError) Unwrap() error { return e.Err }

// storageError gives an error of kopia's its kind.
func storageError(err error) error {
	switch {
	case err == nil,
		errors.Is(err, ErrStorage), errors.Is(err, ErrPassword), errors.Is(err, ErrNotFound), errors.Is(err, ErrDamaged),
		errors.Is(err, ErrMissing), errors.Is(err, ErrOther), errors.Is(err, ErrNewer),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, repo.ErrInvalidPassword):
		return ErrPassword
	case missing(err):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case damaged(err):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return Failure(err)
}

// Failure gives an error of a vault's storage its kind: ErrFull, ErrRefused, or else
// ErrStorage. Of the first two it keeps what the storage itself said, and not by which of
// kopia's ways it came: many words for a full disk.
func Failure(err error) error {
	for _, of := range []struct{ is, kind error }{
		{syscall.ENOSPC, ErrFull}, {syscall.EDQUOT, ErrFull}, {syscall.EROFS, ErrRefused}, {fs.ErrPermission, ErrRefused},
	} {
		if !errors.Is(err, of.is) {
			continue
		}
		if e, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(e, of.is) {
			err = e
		}
		return fmt.Errorf("%w: %w", of.kind, err)
	}
	bucket, kind := minio.ErrorResponse{}, "bucket"
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		bucket, kind = minio.ErrorResponse{StatusCode: e.StatusCode, Code: e.ErrorCode}, "container"
	} else if e, ok := errors.AsType[minio.ErrorResponse](err); ok {
		bucket = e
	}
	switch {
	case bucket.StatusCode == http.StatusInsufficientStorage, bucket.Code == "QuotaExceeded", bucket.Code == "XMinioStorageFull":
		return inStore{fmt.Errorf("%w: %w", ErrFull, err), kind}
	case bucket.StatusCode == http.StatusUnauthorized, bucket.StatusCode == http.StatusForbidden, errors.Is(err, blob.ErrInvalidCredentials):
		return inStore{fmt.Errorf("%w: %w", ErrRefused, err), kind}
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

// A stateFull says that the folder of state has no room.
type stateFull struct {
	dir string
	err error
}

func (s stateFull) Error() string {
	return fmt.Sprintf("the folder of state %s is full (%v), and without it the vault cannot be opened; what is in the vault stays: free some space on the disk of that folder, or enlarge it", s.dir, s.err)
}

func (s stateFull) Unwrap() []error { return []error{ErrStateFull, ErrStorage} }

// fullState is an error of opening a vault as that of its folder of state, if that is full; else nil.
func fullState(dir string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	path := ""
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		path = e.Path
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		path = e.New
	}
	abs, wrong := filepath.Abs(dir)
	if wrong != nil || path != abs && !strings.HasPrefix(path, abs+string(filepath.Separator)) {
		return nil
	}
	for _, is := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, is) {
			return stateFull{abs, is}
		}
	}
	return nil
}

// missing reports whether err says that kopia knows no such content.
func missing(err error) bool {
	return errors.Is(err, object.ErrObjectNotFound) || errors.Is(err, content.ErrContentNotFound)
}

// damaged reports whether err says that what is stored is not what was written.
// Of kopia's errors only those of absence have values of their own.
func damaged(err error) bool {
	if errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, blob.ErrInvalidRange) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	text := err.Error()
	for _, words := range []string{
		"invalid checksum", "unable to decrypt", "decrypt:", "error decrypting", "message authentication failed",
		"error decompressing", "decompression error", "unable to unpack", "unable to parse manifest",
		"invalid length", "unexpected chunk length", "invalid indirect object", "invalid format blob", "unable to open index blob",
		"invalid schedule blob",
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// stale reports whether err may come of an index that is out of date: another
// process has written what is looked for, or has moved it to another pack.
func stale(err error) bool { return missing(err) || errors.Is(err, blob.ErrBlobNotFound) }

// fresh does what reads from the vault, and once more with a new index if what
// it looks for is not where the index has it, and then with all of the index.
func (v *Vault) fresh(ctx context.Context, read func() error) error {
	err := read()
	if err == nil || !stale(err) {
		return err
	}
	if err := v.there(ctx); err != nil {
		return err // or kopia would look for its index for minutes
	}
	for {
		if refreshed := v.rep.Refresh(once(ctx)); refreshed != nil {
			return refreshed
		}
		if err := read(); err == nil || !stale(err) || !v.index.doubt() {
			return err
		}
	}
}

// objectError is the error of reading an object. What is damaged is read a
// second time, and if it still is, noted, so that it is stored anew when
// somebody writes it again.
func (v *Vault) objectError(ctx context.Context, oid string, cause error) error {
	err := storageError(cause)
	if !errors.Is(err, ErrDamaged) || ctx.Err() != nil {
		return err
	}
	ctx = apart(ctx)
	if there := v.there(ctx); there != nil {
		return there
	}
	bad := v.inspect(ctx, oid)
	if len(bad) == 0 && v.whole(ctx, oid) {
		return fmt.Errorf("%w: object %s was read damaged once, and whole the second time: %w", ErrStorage, oid, cause)
	}
	v.markDamaged(bad...)
	return &DamageError{Object: oid, Contents: bad, Err: cause}
}

// whole reports whether an object can be read to its end.
func (v *Vault) whole(ctx context.Context, oid string) bool {
	id, err := object.ParseID(oid)
	if err != nil {
		return false
	}
	r, err := v.rep.OpenObject(once(ctx), id)
	if err != nil {
		return false
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	return err == nil && n == r.Length()
}

// inspect returns which of the contents that an object is made of cannot be
// read.
func (v *Vault) inspect(ctx context.Context, oid string) (bad []string) {
	id, err := object.ParseID(oid)
	if err != nil {
		return nil
	}
	for _, c := range madeOf(ctx, v.rep, id) {
		if _, err := v.rep.ContentReader().GetContent(once(ctx), c); err != nil && damaged(err) {
			bad = append(bad, c.String())
		}
	}
	return bad
}

// madeOf returns the contents that an object is made of, as far as can be told:
// where the list of a long object's contents cannot be read, those of the list.
func madeOf(ctx context.Context, rep repo.Repository, id object.ID) []content.ID {
	for {
		all, err := rep.VerifyObject(once(ctx), id)
		if err == nil {
			return all
		}
		list, ok := id.IndexObjectID()
		if !ok {
			if c, _, ok := id.ContentID(); ok {
				return []content.ID{c}
			}
			return nil
		}
		id = list
	}
}

// markDamaged notes contents whose stored copies are damaged, by kopia's ids.
// Without that, writing one of them again would store nothing, since kopia
// believes that it has it.
func (v *Vault) markDamaged(contents ...string) {
	v.damage.Lock()
	defer v.damage.Unlock()
	for _, c := range contents {
		if id, err := content.ParseID(c); err == nil {
			v.distrust(id)
		}
	}
}

// distrust notes a content as damaged: the lock is held.
func (v *Vault) distrust(c content.ID) {
	if v.damage.contents == nil {
		v.damage.contents = map[content.ID]bool{}
	}
	if !v.damage.contents[c] {
		v.damage.contents[c] = true
		v.damage.suspected++
	}
}

// Suspect has stored copies of objects not be believed that were found damaged up to a time,
// by whichever process: whoever writes one of their contents again has it read, and stored
// anew if it is. One that this process has since stored anew, or found whole, is believed.
func (v *Vault) Suspect(ctx context.Context, until time.Time, objects ...string) {
	for _, oid := range objects {
		id, err := object.ParseID(oid)
		if err != nil || id == object.EmptyID {
			continue // it is no object's, such as damage of what has no content
		}
		all := madeOf(ctx, v.rep, id)
		v.damage.Lock()
		for _, c := range all {
			if _, known := v.damage.contents[c]; !known {
				v.distrust(c)
			}
		}
		v.damage.Unlock()
	}
	v.damage.Lock()
	defer v.damage.Unlock()
	if until.After(v.damage.until) {
		v.damage.until = until
	}
}

// SuspectedUntil is the latest time that Suspect was called with; zero if it never was.
func (v *Vault) SuspectedUntil() time.Time {
	v.damage.Lock()
	defer v.damage.Unlock()
	return v.damage.until
}

// Suspects reports whether a content that an object is made of is known as damaged.
func (v *Vault) Suspects(ctx context.Context, oid string) bool {
	id, err := object.ParseID(oid)
	if err != nil || id == object.EmptyID {
		return false
	}
	all := madeOf(ctx, v.rep, id)
	v.damage.Lock()
	defer v.damage.Unlock()
	return slices.ContainsFunc(all, func(c content.ID) bool { return v.damage.contents[c] })
}

// VerifyObjects reads objects back from the storage and returns an error for
// the first that is not as it was written.
func (v *Vault) VerifyObjects(ctx context.Context, objects []string) error {
	for _, oid := range objects {
		if err := v.readThrough(ctx, oid); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
	}
	return nil
}

// readThrough reads an object to its end.
func (v *Vault) readThrough(ctx context.Context, oid string) error {
	r, err := v.openObject(ctx, oid)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := r.WriteTo(io.Discard)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case n != r.size:
		return &DamageError{Object: oid, Err: fmt.Errorf("it has %d bytes, not %d", n, r.size)}
	}
	return nil
}
