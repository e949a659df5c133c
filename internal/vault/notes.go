package vault

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/kopia/kopia/repo/blob"
	"golang.org/x/sync/errgroup"
)

// Which blobs of the index are in a larger one is noted beside them: for other processes
// on the vault, each of which would else make larger ones of all that all have written, and
// again of what those have made; and for the next process in this one's place, which would
// else read thousands, of which all but some dozens are in others, and that twice or
// thrice. A note stays true whatever becomes of either, and is of no use where the larger
// one is not. Where there are no notes more is read. Kopia passes over them.
//
// A note is a blob whose name ends with that of the larger one: a checksum, and a line of
// each that is in it.

// noteBlob begins the names of notes.
const noteBlob blob.ID = "holdfast.inside."

const (
	// noteReaders is how many notes are read at once.
	noteReaders = 16
	// strangersMost is how many blobs of other processes may be visible. Where there are
	// more, some were left behind by those that ended, or make no notes.
	strangersMost = indexFan * indexFan
)

// learn reads the notes that it has not read on the blobs of a listing.
func (x *shortIndex) learn(ctx context.Context, st blob.Reader, prefix blob.ID, there map[blob.ID]bool) error {
	var unread []blob.ID
	err := st.ListBlobs(ctx, noteBlob+prefix, func(m blob.Metadata) error {
		unread = append(unread, m.BlobID[len(noteBlob):])
		return nil
	})
	if err != nil {
		return err
	}
	x.mu.Lock()
	s, _ := x.span(prefix)
	unread = slices.DeleteFunc(unread, func(in blob.ID) bool { return !there[in] || s.noted[in] })
	x.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(noteReaders)
	for _, in := range unread {
		group.Go(func() error {
			b, err := readBlob(ctx, st, noteBlob+in)
			if errors.Is(err, blob.ErrBlobNotFound) {
				return nil // since there is one on a larger one
			}
			if err != nil {
				return err
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			s.noted[in] = true
			for _, id := range parseNote(b) {
				of, _, ok := spanOf(id)
				if _, had := x.inside[id]; ok && of == prefix && !had && !x.isIn(in, id) {
					s.known[id] = true
					x.inside[id] = in
					s.learned = append(s.learned, id)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// isIn reports whether a blob is another, or in it.
func (x *shortIndex) isIn(id, other blob.ID) bool {
	for ok := true; ok; id, ok = x.inside[id] {
		if id == other {
			return true
		}
	}
	return false
}

// doubt forgets what was learned from notes, and reports whether that was anything: a
// content is missing.
func (x *shortIndex) doubt() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	had := false
	for _, s := range x.spans {
		for _, id := range s.learned {
			delete(x.inside, id)
			had = true
		}
		s.learned = nil
	}
	return had
}

// note notes what is in a blob that was made of others, in place of the notes on those.
func (v *Vault) note(ctx context.Context, prefix blob.ID, of []blob.ID, one blob.ID) error {
	x := &v.index
	x.mu.Lock()
	s, _ := x.span(prefix)
	s.noted[one] = true
	all, old := of, slices.DeleteFunc(slices.Clone(of), func(id blob.ID) bool { return !s.noted[id] })
	if len(old) > 0 {
		all = nil
		for id := range x.inside {
			if id != one && x.isIn(id, one) {
				all = append(all, id)
			}
		}
	}
	x.mu.Unlock()
	st := v.updates.BlobStorage()
	if err := putBlob(ctx, st, noteBlob+one, formatNote(all)); err != nil {
		return err
	}
	for _, id := range old {
		if err := st.DeleteBlob(ctx, noteBlob+id); err != nil {
			return err
		}
	}
	return nil
}

// dropNotes takes away the notes on spans that are over for good.
func (v *Vault) dropNotes(ctx context.Context, st blob.Storage) error {
	var all []blob.ID
	newest := 0
	err := st.ListBlobs(ctx, noteBlob, func(m blob.Metadata) error {
		all = append(all, m.BlobID)
		if _, n, ok := spanOf(m.BlobID[len(noteBlob):]); ok {
			newest = max(newest, n)
		}
		return nil
	})
	for _, id := range all {
		if _, n, ok := spanOf(id[len(noteBlob):]); err == nil && (!ok || n < newest-spansKept) {
			err = st.DeleteBlob(ctx, id)
		}
	}
	return err
}

var noteSum = crc32.MakeTable(crc32.Castagnoli)

func formatNote(ids []blob.ID) []byte {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString("\n" + string(id))
	}
	return fmt.Appendf(nil, "%08x%s", crc32.Checksum([]byte(b.String()), noteSum), b.String())
}

// parseNote returns nothing of a note that is not as it was written.
func parseNote(b []byte) (ids []blob.ID) {
	sum, _, _ := strings.Cut(string(b), "\n")
	rest := b[len(sum):]
	if len(rest) == 0 || sum != fmt.Sprintf("%08x", crc32.Checksum(rest, noteSum)) {
		return nil
	}
	for line := range strings.SplitSeq(string(rest[1:]), "\n") {
		ids = append(ids, blob.ID(line))
	}
	return ids
}
