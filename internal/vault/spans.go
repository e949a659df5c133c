package vault

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kopia/kopia/repo/blob"
)

// Once a span of the index is over for good, kopia makes one blob of all that was written in
// it, and once a day one of all that was written since the day before. Both take memory by how
// much that is. Of what it has made of days it makes nothing: there is one more for each day
// that a vault is kept, to be searched for each content, and all that it was made of stays. So
// we do both before it, and what it does not, in the form that it has for that: a set of blobs,
// of which each is no longer than those that are made within a span. Kopia finds nothing left
// to do, and does it where we could not.

const (
	// unsettled is how many of the newest spans may still be written to.
	unsettled = 2
	// rangesMost is of how many spans in a row, or of how many of what was made of such, there
	// are sets before some become one.
	rangesMost = 7
	// compactedSpan and compactedRange begin the names of what is made of a span, whose number
	// follows, and of several, of which those of the first and the last do.
	compactedSpan  blob.ID = "xs"
	compactedRange blob.ID = "xr"
)

// settle makes sets of the spans that are over for good, and of sets of several in a row.
// Where it fails all stays as it is, and kopia does it.
func (v *Vault) settle(ctx context.Context) error {
	ctx, end := context.WithCancel(context.WithValue(ctx, shortening{}, true))
	defer end()
	a := &attempt{Context: ctx, end: end}
	if err := v.settleIn(a); err != nil {
		return storageError(cmp.Or(a.failure(), err))
	}
	return nil
}

func (v *Vault) settleIn(ctx context.Context) error {
	st := v.updates.BlobStorage()
	epochs, ok, err := v.updates.ContentReader().EpochManager(ctx)
	if err != nil || !ok {
		return err
	}
	epochs.Invalidate()
	defer epochs.Invalidate() // who asks next finds what is made here
	now, err := epochs.Current(ctx)
	if err != nil {
		return err
	}
	next := 0 // the first span that is in no range
	if n := len(now.LongestRangeCheckpointSets); n > 0 {
		next = now.LongestRangeCheckpointSets[n-1].MaxEpoch + 1
	}
	var row [][]blob.Metadata // the sets of those that follow it
	for span := next; span <= now.WriteEpoch-unsettled; span++ {
		set := now.SingleEpochCompactionSets[span]
		if len(set) == 0 {
			all, err := blob.ListAllBlobs(ctx, st, blob.ID(fmt.Sprintf("%s%d_", uncompacted, span)))
			if err == nil {
				set, err = v.rewrite(ctx, all, fmt.Sprintf("%s%d_", compactedSpan, span))
			}
			if err != nil {
				return err
			}
		}
		if len(set) == 0 {
			break // none ends without a blob: what is there is not believed, and nothing made of it
		}
		row = append(row, set)
	}
	var sets [][]blob.Metadata // of ranges
	var first []int
	for _, r := range now.LongestRangeCheckpointSets {
		sets, first = append(sets, r.Blobs), append(first, r.MinEpoch)
	}
	if len(row) >= rangesMost {
		set, err := v.rewrite(ctx, slices.Concat(row...), fmt.Sprintf("%s%d_%d_", compactedRange, next, next+len(row)-1))
		if err != nil {
			return err
		}
		sets, first = append(sets, set), append(first, next)
		next += len(row)
	}
	if from := longRow(sets); len(sets)-from > 1 {
		_, err = v.rewrite(ctx, slices.Concat(sets[from:]...), fmt.Sprintf("%s%d_%d_", compactedRange, first[from], next-1))
	}
	return err
}

// longRow returns from which set on one is to be made of a row of them: as many of the last
// as are not much longer than those after them together, once there are more than rangesMost.
func longRow(sets [][]blob.Metadata) (from int) {
	from = len(sets)
	if from <= rangesMost {
		return from
	}
	for length := int64(0); from > 0; from-- {
		set := sets[from-1]
		if slices.ContainsFunc(set, tooLong) || length > 0 && blob.TotalLength(set) >= 2*length {
			break
		}
		length += blob.TotalLength(set)
	}
	return from
}

// errLong says that a blob of the index, which we did not write, is too long to be put into
// another without much memory.
var errLong = errors.New("a blob of the index is too long")

func tooLong(m blob.Metadata) bool { return m.Length > 2*indexLarge }

// A setName is the end of the names of a set's blobs, in the context of what writes them.
type setName struct{}

// rewrite makes a set of blobs of others, and returns it.
func (v *Vault) rewrite(ctx context.Context, from []blob.Metadata, prefix string) (set []blob.Metadata, err error) {
	parts, err := inParts(from)
	if err != nil {
		return nil, err
	}
	return v.writeSet(ctx, parts, prefix)
}

// inParts shares blobs out, the shortest first, so that together they are no longer than
// indexLarge, but for one that is. Of those that hold the same, as two processes may have
// made them, it takes one: what is made of them would have one name.
func inParts(from []blob.Metadata) (parts [][]blob.ID, err error) {
	from = slices.SortedFunc(slices.Values(from), func(a, b blob.Metadata) int {
		return cmp.Or(cmp.Compare(a.Length, b.Length), cmp.Compare(sumOf(a.BlobID), sumOf(b.BlobID)))
	})
	from = slices.CompactFunc(from, func(a, b blob.Metadata) bool { return sumOf(a.BlobID) == sumOf(b.BlobID) })
	var length int64
	for _, b := range from {
		if tooLong(b) {
			return nil, fmt.Errorf("%w: %s", errLong, b.BlobID)
		}
		if len(parts) == 0 || length+b.Length > indexLarge {
			parts, length = append(parts, nil), 0
		}
		last := &parts[len(parts)-1]
		*last, length = append(*last, b.BlobID), length+b.Length
	}
	return parts, nil
}

// sumOf returns what the name of a blob of the index has of what it holds.
func sumOf(id blob.ID) string {
	name, _, _ := strings.Cut(string(id), "-")
	return name[strings.LastIndexByte(name, '_')+1:]
}

// writeSet writes one blob of each of the parts. They count once all are there.
func (v *Vault) writeSet(ctx context.Context, parts [][]blob.ID, prefix string) (set []blob.Metadata, err error) {
	var random [8]byte
	rand.Read(random[:])
	ctx = context.WithValue(ctx, setName{}, fmt.Sprintf("-s%x-c%d", random, len(parts)))
	for _, ids := range parts {
		one, err := v.join(ctx, blob.ID(prefix), ids)
		if err != nil {
			return nil, err
		}
		set = append(set, one)
	}
	return set, nil
}

// inSet returns the name of a blob that is written, which is in a set if the context says so.
func inSet(ctx context.Context, id blob.ID) blob.ID {
	if end, ok := ctx.Value(setName{}).(string); ok {
		name, _, _ := strings.Cut(string(id), "-")
		return blob.ID(name + end)
	}
	return id
}

// dropSettled takes away what sets were made of that are in others now, and those that never
// became whole. Kopia takes away the blobs of a span that its set is made of, as long as that
// is there.
func (v *Vault) dropSettled(ctx context.Context) error {
	ctx = once(ctx)
	st := v.updates.BlobStorage()
	epochs, ok, err := v.updates.ContentReader().EpochManager(ctx)
	if err != nil || !ok {
		return err
	}
	p, err := v.rep.FormatManager().GetMutableParameters(ctx)
	if err != nil {
		return err
	}
	epochs.Invalidate()
	now, err := epochs.Current(ctx)
	if err != nil {
		return err
	}
	written, newest := map[int]bool{}, time.Time{} // the spans that have blobs of their own
	err = st.ListBlobs(ctx, uncompacted, func(m blob.Metadata) error {
		if m.Timestamp.After(newest) {
			newest = m.Timestamp
		}
		_, span, _ := spanOf(m.BlobID)
		written[span] = true
		return nil
	})
	if err != nil {
		return err
	}
	// By the storage's clock, and as long as others may not have seen what is there instead.
	before := newest.Add(-p.EpochParameters.CleanupSafetyMargin)
	replaced := func(first, last int, m blob.Metadata) bool {
		for _, r := range now.LongestRangeCheckpointSets {
			if r.MinEpoch <= first && last <= r.MaxEpoch {
				needed := slices.ContainsFunc(r.Blobs, func(of blob.Metadata) bool { return of.BlobID == m.BlobID })
				return !needed && blob.MaxTimestamp(r.Blobs).Before(before) && m.Timestamp.Before(before)
			}
		}
		return false
	}
	var old []blob.ID
	for _, prefix := range []blob.ID{compactedSpan, compactedRange} {
		err := st.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			first, last, ok := spansOf(prefix, m.BlobID)
			if ok && replaced(first, last, m) && !(prefix == compactedSpan && written[first]) {
				old = append(old, m.BlobID)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, id := range old {
		if err := st.DeleteBlob(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// spansOf returns of which spans a blob is that was made of those of one, or of several.
func spansOf(prefix, id blob.ID) (first, last int, ok bool) {
	numbers := strings.Split(strings.TrimPrefix(string(id), string(prefix)), "_")
	first, err := strconv.Atoi(numbers[0])
	last = first
	if prefix == compactedRange && err == nil && len(numbers) > 2 {
		last, err = strconv.Atoi(numbers[1])
	}
	return first, last, err == nil && strings.HasPrefix(string(id), string(prefix))
}
