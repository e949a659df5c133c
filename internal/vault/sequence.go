package vault

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/object"
)

// A Sequence is contents that are to be read, in the order in which they lie in the
// vault's packs. What lies together is read together: kopia would open a pack, or ask
// a bucket for a part of it, for each content anew.
type Sequence struct {
	// Order are the contents, by their places in the list that the sequence was made
	// of: first those of many pieces, then all others pack by pack.
	Order []int

	packs map[blob.ID][]*stretch // by their places in the pack

	mu     sync.Mutex
	loaded []*stretch // the oldest first
}

const (
	// stretchMost is how much of a pack is read at once.
	stretchMost = 1 << 20
	// stretchGap is what may lie in between that nobody asked for.
	stretchGap = 32 << 10
	// stretchesKept is how many are in memory at most; those who read are as many as
	// a few, and each is at one.
	stretchesKept = 32
)

// A stretch is a part of a pack that is read at once.
type stretch struct {
	from, to int64
	contents int // that are in it

	once sync.Once
	mu   sync.Mutex
	data *buffer // nil before, and after all were read
	left int     // of contents
}

// Sequence finds out where contents lie. Of those that it does not find it is no
// matter here: who reads them is told.
func (v *Vault) Sequence(ctx context.Context, contents []string) *Sequence {
	type place struct {
		at           int
		pack         blob.ID
		offset, size int64
	}
	places := make([]place, len(contents))
	for i, oid := range contents {
		places[i].at = i
		id, err := object.ParseID(oid)
		if err != nil {
			continue
		}
		c, _, ok := id.ContentID()
		if !ok {
			continue
		}
		if info, err := v.rep.ContentInfo(ctx, c); err == nil {
			places[i].pack, places[i].offset, places[i].size = info.PackBlobID, int64(info.PackOffset), int64(info.PackedLength)
		}
	}
	slices.SortStableFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset))
	})
	s := &Sequence{Order: make([]int, len(places)), packs: map[blob.ID][]*stretch{}}
	var last *stretch
	var pack blob.ID
	for i, p := range places {
		s.Order[i] = p.at
		if p.pack == "" {
			continue
		}
		if last == nil || pack != p.pack || p.offset > last.to+stretchGap || p.offset+p.size > last.from+stretchMost {
			last, pack = &stretch{from: p.offset, to: p.offset}, p.pack
			s.packs[pack] = append(s.packs[pack], last)
		}
		last.to = max(last.to, p.offset+p.size)
		last.contents++
	}
	for pack, all := range s.packs {
		all = slices.DeleteFunc(all, func(x *stretch) bool { x.left = x.contents; return x.contents == 1 })
		if s.packs[pack] = all; len(all) == 0 {
			delete(s.packs, pack)
		}
	}
	return s
}

type sequenceKey struct{}

// Reading returns a context with which contents of the sequence are read together.
func (s *Sequence) Reading(ctx context.Context) context.Context {
	return context.WithValue(ctx, sequenceKey{}, s)
}

// apart is ctx for reading what the storage has now.
func apart(ctx context.Context) context.Context {
	return context.WithValue(ctx, sequenceKey{}, (*Sequence)(nil))
}

// read reads a part of a pack that is in a stretch, and reports whether it did.
func (s *Sequence) read(ctx context.Context, st blob.Storage, pack blob.ID, offset, length int64, out blob.OutputBuffer) bool {
	if s == nil || length < 0 {
		return false
	}
	all := s.packs[pack]
	i, found := slices.BinarySearchFunc(all, offset, func(x *stretch, at int64) int { return cmp.Compare(x.from, at) })
	if !found {
		i--
	}
	if i < 0 || offset+length > all[i].to {
		return false
	}
	x := all[i]
	x.once.Do(func() {
		b := buffers.Get().(*buffer)
		b.Reset()
		b.Grow(int(x.to - x.from))
		if st.GetBlob(ctx, pack, x.from, x.to-x.from, b) == nil && int64(b.Len()) == x.to-x.from {
			x.keep(b)
			s.loads(x)
		}
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	read := false
	if x.data != nil {
		out.Reset()
		_, err := out.Write(x.data.Bytes()[offset-x.from:][:length])
		read = err == nil
	}
	if x.left--; x.left == 0 {
		x.release()
	}
	return read
}

func (x *stretch) keep(data *buffer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.data = data
}

// release gives the data up. Callers hold mu.
func (x *stretch) release() {
	if x.data != nil {
		buffers.Put(x.data)
		x.data = nil
	}
}

// loads notes a stretch that was read, and gives up the oldest of too many: not all
// of its contents were asked for.
func (s *Sequence) loads(x *stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded = append(s.loaded, x); len(s.loaded) > stretchesKept {
		oldest := s.loaded[0]
		s.loaded = s.loaded[1:]
		oldest.mu.Lock()
		oldest.release()
		oldest.mu.Unlock()
	}
}
