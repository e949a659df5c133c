package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/indexblob"
	"golang.org/x/sync/errgroup"
)

// A copy of a vault is the same vault in another place: it has its id, its blobs and
// its password. It is whole at each moment from its first completion on, since it goes
// through the states that the vault itself went through: first the packs that are new,
// then the blobs of the index in the order in which they were written, and only then
// goes what the vault has no more. Without the blob that makes a place a vault, which
// comes at the end of the first copy, nobody takes an unfinished one for whole.

// copyNote is the blob that makes a place a copy: whoever writes to the vault there
// takes it away, so that no later copy undoes what that has written.
const copyNote = "holdfast.copy"

type copied struct {
	Of    string                `json:"of"`             // the vault's id
	Whole time.Time             `json:"whole,omitzero"` // when it was last found to be
	Gone  map[blob.ID]time.Time `json:"gone,omitempty"` // what the vault has no more, and since when
}

// CopyKeep is how long a copy keeps what its vault has no more, if nothing else is said.
const CopyKeep = 30 * 24 * time.Hour

// CopyOptions say how a vault is copied.
type CopyOptions struct {
	// New allows to begin a copy in a place that has none.
	New bool
	// Keep is how long the copy keeps what the vault has no more: in that time it can
	// be noticed that something was deleted which should not have been.
	Keep time.Duration
	// Full compares also what the copy has already, byte by byte, and copies anew what
	// differs.
	Full bool
	Now  func() time.Time // nil is the real time
}

// Copied is what Copy did, and found.
type Copied struct {
	Blobs, Removed int   // that were written, and taken away
	Bytes          int64 // that were written
	Kept           int   // blobs that the vault has no more, and that stay for now
	Drives         int   // of which the copy has backups
	Held           int   // blobs that the copy has
	HeldBytes      int64
	// Unread are blobs that the vault has and could not give; what needs them is as
	// damaged in the copy as it is in the vault.
	Unread []string
	// Lost are packs that are needed, and that the vault has no more. The copy has them.
	Lost []string
	// Missing are packs that are needed, and that neither has whole.
	Missing []string
}

// Copy copies the vault of one place to another, where there is a copy of it or, if it
// is to be New, nothing. Only what the copy lacks is copied, whatever ended the last
// one. Each blob is read back once it is written, and the copy is opened in the end and
// compared with its index: it is whole if the error is nil. It fails with ErrMissing,
// ErrOther, ErrPassword, ErrDamaged or ErrStorage; with ErrDamaged the copy is as whole
// as the vault.
//
// The vault may be in use. It is read only; one in a bucket can be copied as it was at a
// time before.
func Copy(ctx context.Context, from, to Config, opts CopyOptions) (Copied, error) {
	done, err := copyVault(ctx, from, to, opts)
	if err != nil {
		err = fmt.Errorf("copy the vault in %s to %s: %w", from.place(), to.place(), err)
	}
	return done, err
}

func copyVault(ctx context.Context, from, to Config, opts CopyOptions) (done Copied, err error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if from, err = from.absolute(); err != nil {
		return done, err
	}
	if to, err = to.absolute(); err != nil {
		return done, err
	}
	from.Create, to.Create, to.ID = false, opts.New, ""
	from.locks = &Locks{} // it is read only: they are not to be proven
	src, _, err := from.storage(ctx)
	if err != nil {
		return done, storageError(err)
	}
	defer src.Close(context.WithoutCancel(ctx))
	id, err := prepare(ctx, src, from)
	if err != nil {
		return done, storageError(err)
	}
	dst, locks, err := to.storage(ctx)
	if err != nil {
		return done, storageError(err)
	}
	defer dst.Close(context.WithoutCancel(ctx))
	to.ID, to.locks = id, &locks
	locks.told(ctx, to)
	c := &copier{src: src, dst: dst, full: opts.Full, done: &done}
	note, err := c.begin(ctx, id, to, opts.New)
	if err == nil {
		err = c.copy(ctx)
	}
	if err == nil {
		err = c.finish(ctx, to, note, opts)
	}
	return done, storageError(err)
}

// A copier copies from one place to another.
type copier struct {
	src, dst blob.Storage
	full     bool
	mu       sync.Mutex
	done     *Copied
	left     map[blob.ID]int64 // of the copy, by their length: what the vault was not seen to have
	unread   map[blob.ID]error
}

// begin makes sure that the place holds a copy of the vault of an id, or may hold one
// from now on, and returns its note.
func (c *copier) begin(ctx context.Context, id string, to Config, anew bool) (note copied, err error) {
	there, err := storedID(ctx, c.dst)
	if err != nil && !errors.Is(err, blob.ErrBlobNotFound) && !errors.Is(err, errFormatBlob) { // which is copied anew
		return note, err
	}
	b, err := readBlob(ctx, c.dst, copyNote)
	if err == nil && json.Unmarshal(b, &note) != nil {
		return note, fmt.Errorf("%w: the blob %s there is not as it was written; if the place holds a copy of this vault, take that blob away and the blob %s, and copy anew", ErrDamaged, copyNote, formatBlob)
	}
	switch found := err == nil; {
	case err != nil && !errors.Is(err, blob.ErrBlobNotFound):
		return note, err
	case found && note.Of != id:
		return note, fmt.Errorf("%w: what is there is a copy of the vault %s, and this one is %s", ErrOther, note.Of, id)
	case found && there != "" && there != id:
		return note, fmt.Errorf("%w: the vault %s is there, and this one is %s", ErrOther, there, id)
	case found:
		return note, nil
	case there != "":
		return note, fmt.Errorf("%w: the vault %s is there, and is no copy, or has been written to since it was one", ErrOther, there)
	}
	if some, err := anyBlob(ctx, c.dst); err != nil {
		return note, err
	} else if some {
		return note, fmt.Errorf("%w: there are blobs of some vault, and they are no copy", ErrOther)
	}
	if !anew {
		return note, fmt.Errorf("%w: there is no copy; %s; a new one has to be asked for", ErrMissing, to.holdsNone())
	}
	return copied{Of: id}, c.keepNote(ctx, copied{Of: id})
}

func (c *copier) keepNote(ctx context.Context, note copied) error {
	b, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return putBlob(ctx, c.dst, copyNote, b)
}

// packPrefixes and indexPrefixes are how the names of what is copied begin, but for the
// format. Kopia's notes on its own work stay: they are of the vault that it maintains,
// and its settings for the storage are those of the place.
var (
	packPrefixes  = content.PackBlobIDPrefixes
	indexPrefixes = []blob.ID{indexblob.V0IndexBlobPrefix, "x"}
)

// passes is how often what went away while it was copied is looked for anew.
const passes = 5

// errGone: a blob went away while the vault was copied, as maintenance takes blobs away.
var errGone = errors.New("the vault has changed while it was copied")

// copy copies all that the copy lacks.
func (c *copier) copy(ctx context.Context) error {
	for pass := 1; ; pass++ {
		err := c.pass(ctx)
		if !errors.Is(err, errGone) {
			return err
		}
		if pass == passes {
			return fmt.Errorf("%w %d times over; copy it when no maintenance runs", err, passes)
		}
	}
}

func (c *copier) pass(ctx context.Context) error {
	c.unread = map[blob.ID]error{}
	// The index first: what it knows is in packs that are there, and seen after it.
	var indexes []blob.Metadata
	for _, prefix := range indexPrefixes {
		found, err := blob.ListAllBlobs(ctx, c.src, prefix)
		if err != nil {
			return err
		}
		indexes = append(indexes, found...)
	}
	slices.SortStableFunc(indexes, func(a, b blob.Metadata) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.BlobID, b.BlobID))
	})
	c.left = map[blob.ID]int64{}
	for _, prefix := range slices.Concat(packPrefixes, indexPrefixes) {
		err := c.dst.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			c.left[m.BlobID] = m.Length
			return nil
		})
		if err != nil {
			return err
		}
	}
	asks := func(m blob.Metadata) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		length, ok := c.left[m.BlobID]
		delete(c.left, m.BlobID)
		return !ok || length != m.Length || c.full
	}
	group, all := errgroup.WithContext(ctx)
	group.SetLimit(4) // each holds a pack, of twenty megabytes or more
	for _, prefix := range packPrefixes {
		err := c.src.ListBlobs(all, prefix, func(m blob.Metadata) error {
			if asks(m) {
				group.Go(func() error { return c.blob(all, m) })
			}
			return all.Err()
		})
		if err != nil {
			return cmp.Or(group.Wait(), err) // which may be but an echo of the other
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, m := range indexes {
		if asks(m) {
			if err := c.blob(ctx, m); err != nil {
				return err
			}
		}
	}
	// A copy of the format comes first, so that a place with a format has both.
	for _, id := range []blob.ID{copyBlob, formatBlob} {
		if err := c.small(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// blob copies one blob, and reads it back. One that the vault has and cannot give is
// noted, and stops no other.
func (c *copier) blob(ctx context.Context, m blob.Metadata) error {
	b, err := readBlob(ctx, c.src, m.BlobID)
	switch {
	case errors.Is(err, blob.ErrBlobNotFound):
		return errGone
	case err == nil && int64(len(b)) != m.Length:
		err = fmt.Errorf("%d bytes came of %d", len(b), m.Length)
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.mu.Lock()
		c.unread[m.BlobID] = err
		c.mu.Unlock()
		return nil
	}
	if c.full {
		if same, err := c.holds(ctx, m.BlobID, b); same || err != nil {
			return err
		}
	}
	return c.write(ctx, m.BlobID, b)
}

// small copies a blob that is not the same for ever.
func (c *copier) small(ctx context.Context, id blob.ID) error {
	b, err := readBlob(ctx, c.src, id)
	if errors.Is(err, blob.ErrBlobNotFound) && id == copyBlob {
		return nil
	}
	if err != nil {
		return err
	}
	if same, err := c.holds(ctx, id, b); same || err != nil {
		return err
	}
	return c.write(ctx, id, b)
}

// write writes a blob to the copy, and reads it back.
func (c *copier) write(ctx context.Context, id blob.ID, b []byte) error {
	if err := putBlob(ctx, c.dst, id, b); err != nil {
		return err
	}
	if same, err := c.holds(ctx, id, b); err != nil {
		return err
	} else if !same {
		return fmt.Errorf("%w: the copy's place does not give back what it took as %s", ErrStorage, id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.Blobs++
	c.done.Bytes += int64(len(b))
	return nil
}

// holds reports whether the copy has a blob as it is to be.
func (c *copier) holds(ctx context.Context, id blob.ID, b []byte) (bool, error) {
	same := comparison{want: b}
	err := c.dst.GetBlob(ctx, id, 0, -1, &same)
	if errors.Is(err, blob.ErrBlobNotFound) {
		return false, nil
	}
	return err == nil && !same.differs && same.n == len(b), err
}

// A comparison compares what kopia's storage reads.
type comparison struct {
	want    []byte
	n       int
	differs bool
}

func (c *comparison) Write(b []byte) (int, error) {
	c.differs = c.differs || c.n+len(b) > len(c.want) || !bytes.Equal(b, c.want[c.n:c.n+len(b)])
	c.n += len(b)
	return len(b), nil
}
func (c *comparison) Reset()      { c.n, c.differs = 0, false }
func (c *comparison) Length() int { return c.n }

// finish opens the copy, compares it with its index, takes away what the vault has had
// no more for long enough, and notes that it is whole.
func (c *copier) finish(ctx context.Context, to Config, note copied, opts CopyOptions) error {
	now := opts.Now()
	needs, err := c.open(ctx, to, now)
	if err != nil {
		return err
	}
	held := map[blob.ID]int64{}
	for _, prefix := range slices.Concat(packPrefixes, indexPrefixes) {
		err := c.dst.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			c.done.Held++
			c.done.HeldBytes += m.Length
			if _, needed := needs[m.BlobID]; needed {
				held[m.BlobID] = m.Length
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for id, length := range needs {
		if held[id] < length {
			c.done.Missing = append(c.done.Missing, string(id))
		}
	}
	for id := range c.unread {
		c.done.Unread = append(c.done.Unread, string(id))
	}
	gone := map[blob.ID]time.Time{}
	for _, prefix := range slices.Concat(indexPrefixes, packPrefixes) {
		for id := range c.left {
			if !strings.HasPrefix(string(id), string(prefix)) {
				continue
			}
			since, ok := note.Gone[id]
			if !ok {
				since = now
			}
			_, needed := needs[id]
			if needed {
				c.done.Lost = append(c.done.Lost, string(id))
			}
			if needed || now.Sub(since) < opts.Keep {
				gone[id] = since
				continue
			}
			if err := c.dst.DeleteBlob(ctx, id); err != nil {
				return err
			}
			c.done.Removed++
			c.done.Held--
			c.done.HeldBytes -= c.left[id]
		}
	}
	c.done.Kept = len(gone)
	for _, list := range [][]string{c.done.Lost, c.done.Missing, c.done.Unread} {
		slices.Sort(list)
	}
	note.Gone = gone
	if len(c.done.Missing)+len(c.done.Unread) == 0 {
		note.Whole = now
	}
	if err := c.keepNote(ctx, note); err != nil {
		return err
	}
	if len(c.done.Missing)+len(c.done.Unread) > 0 {
		return fmt.Errorf("%w: %d blobs could not be read, and %d packs that are needed are not there whole; have it verified by 'holdfast vault verify --full'", ErrDamaged, len(c.done.Unread), len(c.done.Missing))
	}
	return nil
}

// open opens the copy as a vault is opened, without writing to it but for its locks,
// which it extends. It counts the drives, and returns how much of which packs the index
// needs.
func (c *copier) open(ctx context.Context, to Config, now time.Time) (needs map[blob.ID]int64, err error) {
	if to.State, err = os.MkdirTemp("", "holdfast-copy-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(to.State)
	to.Create, to.Log = false, nil
	v := unopened(to)
	if err = v.open(ctx); err != nil {
		return nil, err
	}
	defer v.rep.Close(context.WithoutCancel(ctx))
	for _, err := range v.Drives(ctx) {
		if err != nil {
			return nil, err
		}
		c.done.Drives++
	}
	if _, err := v.locks.extend(ctx, v.rep, c.dst, now); err != nil {
		return nil, err
	}
	needs = map[blob.ID]int64{}
	err = v.rep.ContentReader().IterateContents(ctx, content.IterateOptions{}, func(i content.Info) error {
		needs[i.PackBlobID] = max(needs[i.PackBlobID], int64(i.PackOffset)+int64(i.PackedLength))
		return nil
	})
	return needs, err
}
