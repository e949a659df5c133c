package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
)

// A DamageError is of an object of which something stored is not what was
// written, or is gone. It is ErrDamaged.
type DamageError struct {
	Object string
	Err    error
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
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

// missing reports whether err says that kopia knows no such content.
func missing(err error) bool {
	return errors.Is(err, object.ErrObjectNotFound) || errors.Is(err, content.ErrContentNotFound)
}

// damaged reports whether err says that what is stored is not what was written.
// Of kopia's errors only those of absence have values of their own.
func damaged(err error) bool {
	if errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, blob.ErrInvalidRange) {
		return true
	}
	text := err.Error()
	for _, words := range []string{"invalid checksum", "unable to decrypt", "decrypt:", "error decompressing", "invalid format blob", "message authentication failed"} {
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
// it looks for is not where the index has it.
func (v *Vault) fresh(ctx context.Context, read func() error) error {
	err := read()
	if err == nil || !stale(err) {
		return err
	}
	if refreshed := v.rep.Refresh(ctx); refreshed != nil {
		return refreshed
	}
	return read()
}

// objectError is the error of reading an object. What is damaged is read a
// second time, and if it is, noted, so that it is stored anew when somebody
// writes it again.
func (v *Vault) objectError(ctx context.Context, oid string, err error) error {
	err = storageError(err)
	if !errors.Is(err, ErrDamaged) || ctx.Err() != nil {
		return err
	}
	if there := v.there(ctx); there != nil {
		return there
	}
	bad := v.inspect(ctx, oid)
	v.MarkDamaged(bad...)
	return &DamageError{Object: oid, Err: err}
}

// inspect returns which of the contents that an object is made of cannot be
// read.
func (v *Vault) inspect(ctx context.Context, oid string) (bad []string) {
	id, err := object.ParseID(oid)
	if err != nil {
		return nil
	}
	all, err := v.rep.VerifyObject(ctx, id)
	if err != nil {
		// The list of its contents is itself unreadable.
		list := id
		for {
			inner, ok := list.IndexObjectID()
			if !ok {
				break
			}
			list = inner
		}
		if c, _, ok := list.ContentID(); ok {
			all = append(all, c)
		}
	}
	for _, c := range all {
		if _, err := v.rep.ContentReader().GetContent(ctx, c); err != nil && damaged(err) {
			bad = append(bad, c.String())
		}
	}
	return bad
}

// MarkDamaged notes contents whose stored copies are damaged, by kopia's ids.
// Without that, writing one of them again would store nothing, since kopia
// believes that it has it.
func (v *Vault) MarkDamaged(contents ...string) {
	v.damage.Lock()
	defer v.damage.Unlock()
	for _, c := range contents {
		if id, err := content.ParseID(c); err == nil {
			if v.damage.contents == nil {
				v.damage.contents = map[content.ID]bool{}
			}
			v.damage.contents[id] = true
		}
	}
}

// Damaged returns the contents that MarkDamaged has noted, or that were found
// damaged by reading them, and were not stored anew since.
func (v *Vault) Damaged() []string {
	v.damage.Lock()
	defer v.damage.Unlock()
	all := make([]string, 0, len(v.damage.contents))
	for c := range v.damage.contents {
		all = append(all, c.String())
	}
	return all
}

// ContentsOf returns kopia's ids of the contents that an object is made of.
func (v *Vault) ContentsOf(ctx context.Context, oid string) ([]string, error) {
	id, err := object.ParseID(oid)
	if err != nil {
		return nil, fmt.Errorf("%w: %q names no object", ErrNotFound, oid)
	}
	var found []content.ID
	err = v.fresh(ctx, func() (err error) { found, err = v.rep.VerifyObject(ctx, id); return err })
	if err != nil {
		return nil, storageError(err)
	}
	all := make([]string, len(found))
	for i, c := range found {
		all[i] = c.String()
	}
	return all, nil
}

// renew reports whether an object that was just written is made of contents
// whose stored copies are damaged. Those are struck from the index, so that
// writing the object once more stores them.
func (v *Vault) renew(ctx context.Context, w repo.DirectRepositoryWriter, id object.ID) (bool, error) {
	v.damage.Lock()
	defer v.damage.Unlock()
	if len(v.damage.contents) == 0 {
		return false, nil
	}
	made, err := w.VerifyObject(ctx, id)
	if err != nil {
		made = nil
		for list := id; ; {
			inner, ok := list.IndexObjectID()
			if !ok {
				if c, _, ok := list.ContentID(); ok {
					made = append(made, c)
				}
				break
			}
			list = inner
		}
	}
	struck := false
	for _, c := range made {
		if !v.damage.contents[c] {
			continue
		}
		if err := w.ContentManager().DeleteContent(ctx, c); err != nil {
			return false, storageError(err)
		}
		delete(v.damage.contents, c)
		struck = true
	}
	if struck {
		v.log.InfoContext(ctx, "vault: a damaged content is stored anew", "object", id.String())
	}
	return struck, nil
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
	n, err := io.Copy(io.Discard, r)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return v.objectError(ctx, oid, err)
	case n != r.Length():
		return v.objectError(ctx, oid, fmt.Errorf("%w: it has %d bytes, not %d", ErrDamaged, n, r.Length()))
	}
	return nil
}
