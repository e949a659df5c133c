package vault

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content/indexblob"
)

// Kopia writes a blob of its index at each flush, looks for each content in every one
// of them, and lists them all at every flush, until a day or more later it makes one
// of them. A vault of many drives flushes thousands of times an hour. So we make one of
// every few, with kopia's own code and in the place where kopia looks, and leave the
// small ones as they are: who lists the storage finds both, which say the same, and
// kopia takes the small ones away with the rest of their span of time, which is an hour
// here, not a day: see settle for what becomes of that. Only for ourselves we hide those
// that are in a larger one, as long as that is there.

// A shortIndex is what a process knows of the newest blobs of a vault's index.
type shortIndex struct {
	mu       sync.Mutex
	spans    map[blob.ID]*span   // by how the names of their blobs begin
	inside   map[blob.ID]blob.ID // the larger blob that has all of another
	marks    map[blob.ID]marks   // by how the names of kopia's marks begin
	changes  int                 // of marks, by this process
	listings int                 // under way
	put      []blob.Metadata     // since the first of those began

	read atomic.Int64 // bytes of indexes, since the vault was opened
}

// A span is one of kopia's spans of time. Until it is over for good, its blobs are as
// flushes have written them.
type span struct {
	number int
	// levels are the blobs of this process that are in no larger one and not long: as
	// flushes wrote them, made of such, made of those, and so on. Those of processes that
	// ended are among the first.
	levels  [][]blob.Metadata
	known   map[blob.ID]bool // those that are or were in levels, or are in others by notes
	noted   map[blob.ID]bool // those that there is a note on, which was read or written
	learned []blob.ID        // those that are in others by the notes of other processes
	at      time.Time        // when it was listed last
	listed  []blob.Metadata  // what was visible then, and was written since
}

// Marks are kopia's of where its spans begin and end, and what it made of those that
// are over, as they were listed.
type marks struct {
	at     time.Time
	listed []blob.Metadata
}

// markPrefixes are how their names begin. Kopia waits for hours before it takes away
// what a mark makes needless, so flushes believe a listing of them as they believe those
// of spans.
var markPrefixes = []blob.ID{"xe", "xr", "xs", "xw"}

const (
	// indexFan is of how many blobs of the index one is made, at most.
	indexFan = 16
	// indexLarge is how long a blob of the index becomes at most, unless a flush wrote a longer
	// one: kopia unpacks each in a buffer that it keeps for the life of the process, of eight
	// megabytes, or of sixteen for what is longer. One that is made of others may be some hundredths
	// longer than they are together, as it is of more packs. Each blob is searched for each content
	// that is read or written; but to make one takes some 130 bytes of memory for each 33 of its own.
	indexLarge = 31 << 18
	// spanLasts is how long a span of time lasts, or more until maintenance ends it: the
	// least that kopia allows of what looks for its end as often as it does. Who opens the
	// vault reads the blobs of three.
	spanLasts = time.Hour
	// spanBlobs is of how many blobs, of those that are visible, a span is that ends: as
	// few as kopia allows, since there are never many.
	spanBlobs = 10
	// listedFor is how long flushes believe a listing. They need it to see whether
	// kopia's present span of time has ended.
	listedFor = time.Minute
	// spansKept is how many spans are known before the newest.
	spansKept = 3
	// uncompacted begins the names of blobs of the index as flushes write them: their
	// span's number follows, and a line.
	uncompacted = "xn"
)

// spanOf returns how the names of the blobs of a span of time begin, if id is one of
// them or that beginning itself.
func spanOf(id blob.ID) (prefix blob.ID, number int, ok bool) {
	text, ok := strings.CutPrefix(string(id), uncompacted)
	text, _, line := strings.Cut(text, "_")
	number, err := strconv.Atoi(text)
	if !ok || !line || err != nil {
		return "", 0, false
	}
	return blob.ID(uncompacted + text + "_"), number, true
}

// flushing marks the context of a flush, shortening that of what makes the index
// shorter, which may fail, and gathering that of what makes one blob of many, with
// what it writes.
type (
	flushing   struct{}
	shortening struct{}
	gathered   struct{ blobs []blob.Metadata }
	gathering  struct{}
)

// span returns the span of a blob, and forgets those that are over for good: kopia
// makes one of all the blobs of a span two spans later.
func (x *shortIndex) span(id blob.ID) (*span, bool) {
	prefix, number, ok := spanOf(id)
	if !ok {
		return nil, false
	}
	if s := x.spans[prefix]; s != nil {
		return s, true
	}
	if x.spans == nil {
		x.spans, x.inside = map[blob.ID]*span{}, map[blob.ID]blob.ID{}
	}
	s := &span{number: number, levels: [][]blob.Metadata{nil}, known: map[blob.ID]bool{}, noted: map[blob.ID]bool{}}
	x.spans[prefix] = s
	for other, old := range x.spans {
		if old.number < number-spansKept {
			delete(x.spans, other)
			for id := range old.known {
				delete(x.inside, id)
			}
		}
	}
	return s, true
}

// endSooner has the vault's spans of time last as long as they are to, which it
// remembers.
func (v *Vault) endSooner(ctx context.Context) error {
	ctx = once(ctx)
	f := v.rep.FormatManager()
	p, err := f.GetMutableParameters(ctx)
	e := &p.EpochParameters
	if err != nil || e.MinEpochDuration <= spanLasts && e.EpochAdvanceOnCountThreshold <= spanBlobs {
		return err
	}
	place, err := f.BlobCfgBlob(ctx)
	if err != nil {
		return err
	}
	features, err := f.RequiredFeatures(ctx)
	if err != nil {
		return err
	}
	e.MinEpochDuration, e.EpochAdvanceOnCountThreshold = spanLasts, spanBlobs
	return f.SetParameters(ctx, p, place, features)
}

// add adds a blob to a level, unless it is known, or so long that no other of its kind
// would fit into one with it.
func (s *span) add(level int, m blob.Metadata) {
	if s.known[m.BlobID] {
		return
	}
	s.known[m.BlobID] = true
	if m.Length > indexLarge/2 {
		return
	}
	if level == len(s.levels) {
		s.levels = append(s.levels, nil)
	}
	s.levels[level] = append(s.levels[level], m)
}

// marked forgets the listing of marks of which one was written or deleted.
func (x *shortIndex) marked(id blob.ID) {
	for _, prefix := range markPrefixes {
		if strings.HasPrefix(string(id), string(prefix)) {
			delete(x.marks, prefix)
			x.changes++
		}
	}
}

// listMarks lists the marks that begin with one of markPrefixes.
func (x *shortIndex) listMarks(ctx context.Context, st blob.Reader, prefix blob.ID) ([]blob.Metadata, error) {
	x.mu.Lock()
	began, changes := time.Now(), x.changes
	if known := x.marks[prefix]; ctx.Value(flushing{}) != nil && began.Sub(known.at) < listedFor {
		defer x.mu.Unlock()
		return slices.Clone(known.listed), nil
	}
	x.mu.Unlock()
	all, err := blob.ListAllBlobs(ctx, st, prefix)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changes == changes {
		if x.marks == nil {
			x.marks = map[blob.ID]marks{}
		}
		x.marks[prefix] = marks{began, slices.Clone(all)}
	}
	return all, nil
}

// wrote notes a blob that was written.
func (x *shortIndex) wrote(ctx context.Context, m blob.Metadata) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.marked(m.BlobID)
	g, gathers := ctx.Value(gathering{}).(*gathered)
	if gathers {
		g.blobs = append(g.blobs, m)
	}
	s, ok := x.span(m.BlobID)
	if !ok {
		return
	}
	if x.listings > 0 {
		x.put = append(x.put, m)
	}
	s.listed = append(s.listed, m)
	if !gathers {
		s.add(0, m)
	}
}

// deleted notes a blob that was deleted.
func (x *shortIndex) deleted(id blob.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.marked(id)
	s, ok := x.span(id)
	if !ok {
		return
	}
	s.at = time.Time{}
	for i := range s.levels {
		s.levels[i] = slices.DeleteFunc(s.levels[i], func(m blob.Metadata) bool { return m.BlobID == id })
	}
}

// list lists the blobs of a span, but for those that are in a larger one.
func (x *shortIndex) list(ctx context.Context, st blob.Reader, prefix blob.ID) ([]blob.Metadata, error) {
	x.mu.Lock()
	s, _ := x.span(prefix)
	if ctx.Value(flushing{}) != nil && time.Since(s.at) < listedFor {
		defer x.mu.Unlock()
		return slices.Clone(s.listed), nil
	}
	x.listings++
	x.mu.Unlock()
	began := time.Now()
	var all []blob.Metadata
	err := st.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
		all = append(all, m)
		return nil
	})
	there := make(map[blob.ID]bool, len(all))
	for _, m := range all {
		there[m.BlobID] = true
	}
	if err == nil {
		err = x.learn(ctx, st, prefix, there)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	put := x.put
	if x.listings--; x.listings == 0 {
		x.put = nil
	}
	if err != nil {
		return nil, err
	}
	all = x.visible(all)
	strangers := slices.DeleteFunc(slices.Clone(all), func(m blob.Metadata) bool { return s.known[m.BlobID] })
	if len(strangers) > strangersMost {
		for _, m := range strangers {
			s.add(0, m)
		}
	}
	s.at, s.listed = began, slices.Clone(all)
	for _, m := range put { // it may have been too late for them
		if strings.HasPrefix(string(m.BlobID), string(prefix)) && !there[m.BlobID] {
			s.listed = append(s.listed, m)
		}
	}
	s.listed = x.visible(s.listed)
	return all, nil
}

// visible returns those of the blobs of a listing that are in no larger one which is
// listed too. It changes the list.
func (x *shortIndex) visible(list []blob.Metadata) []blob.Metadata {
	if len(x.inside) == 0 {
		return list
	}
	there := make(map[blob.ID]bool, len(list))
	for _, m := range list {
		there[m.BlobID] = true
	}
	return slices.DeleteFunc(list, func(m blob.Metadata) bool {
		for in, ok := x.inside[m.BlobID]; ok; in, ok = x.inside[in] {
			if there[in] {
				return true
			}
		}
		return false
	})
}

// due returns blobs of a level of a span of which it is time to make one, and takes them
// from it: indexFan, or as many as one can be made of.
func (x *shortIndex) due() (prefix blob.ID, level int, ids []blob.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for prefix, s := range x.spans {
		for level, all := range s.levels {
			var length int64
			ids = ids[:0]
			for _, m := range all {
				if length += m.Length; length > indexLarge || len(ids) == indexFan {
					break
				}
				ids = append(ids, m.BlobID)
			}
			if length > indexLarge || len(ids) == indexFan {
				s.levels[level] = slices.Clone(all[len(ids):])
				return prefix, level, ids
			}
		}
	}
	return "", 0, nil
}

// joined notes that one blob has all of others of a level.
func (x *shortIndex) joined(prefix blob.ID, level int, ids []blob.ID, one blob.Metadata) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.spans[prefix]
	if s == nil {
		return
	}
	for _, id := range ids {
		x.inside[id] = one.BlobID
	}
	s.listed = x.visible(s.listed)
	s.add(level+1, one)
}

// shorten makes one of many blobs of the index, if it is time to. Where that fails
// they stay as they are.
func (v *Vault) shorten(ctx context.Context) {
	ctx = context.WithValue(ctx, shortening{}, true)
	joined := false
	for {
		prefix, level, ids := v.index.due()
		if len(ids) == 0 {
			break
		}
		one, err := v.join(ctx, prefix, ids)
		if err != nil {
			v.log.WarnContext(ctx, "vault: its index could not be made shorter", "err", storageError(err))
			break
		}
		v.index.joined(prefix, level, ids, one)
		if err := v.note(once(ctx), prefix, ids, one.BlobID); err != nil {
			v.log.WarnContext(ctx, "vault: who opens it reads more of its index than is needed", "err", storageError(err))
		}
		joined = true
	}
	if !joined {
		return
	}
	if err := v.rep.Refresh(context.WithValue(once(ctx), flushing{}, true)); err != nil {
		v.log.WarnContext(ctx, "vault: its shorter index could not be read", "err", storageError(err))
	}
}

// join writes one blob of the index that has all of others, and returns what it is.
func (v *Vault) join(ctx context.Context, prefix blob.ID, ids []blob.ID) (one blob.Metadata, err error) {
	m, ok := v.updates.ContentManager().IndexReaderV1().(*indexblob.ManagerV1)
	if !ok {
		return one, errors.New("kopia's index is of another kind")
	}
	var g gathered
	if err := m.CompactEpoch(context.WithValue(once(ctx), gathering{}, &g), ids, prefix); err != nil {
		return one, err
	}
	if len(g.blobs) != 1 {
		return one, errors.New("the index is too large for one blob")
	}
	return g.blobs[0], nil
}
