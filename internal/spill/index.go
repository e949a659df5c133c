package spill

import (
	"cmp"
	"slices"
	"sort"
)

// fresh is how many keys are found by what is in memory alone. To find one of the others
// takes a page from the file, which costs as much as the rest.
const fresh = 128 << 10

// An index finds the numbers of keys by half a hash of each. The last keys are in a
// hash table. Of those before, each hash with its number is in a list, sorted, which
// is read where the first hash of each page says, and only if a filter says that a
// hash may be there.
type index struct {
	fresh  int
	slots  []uint32 // open addressing: which of the fresh ones + 1; 0 is free
	hashes []uint32 // of the fresh ones

	list   func() *list
	sorted *list    // hash and number of the others
	firsts []uint32 // hashes: of each page of sorted the first
	filter []uint64 // bits: those of each hash in sorted are set
}

// numbers lists those that may be a key's, by its hash.
func (x *index) numbers(hash uint32) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		first := x.sorted.n
		for at := hash; len(x.slots) > 0; at++ {
			slot := x.slots[int(at)&(len(x.slots)-1)]
			if slot == 0 {
				break
			}
			if i := int(slot) - 1; x.hashes[i] == hash && !yield(first+i) {
				return
			}
		}
		if !x.filtered(hash, false) {
			return
		}
		// Of more pages that may have it, the first begins with a smaller one.
		page := sort.Search(len(x.firsts), func(i int) bool { return x.firsts[i] >= hash })
		for i := max(page-1, 0) * paged; i < x.sorted.n; i++ {
			entry := x.sorted.get(i)
			if is := uint32(entry >> 32); is > hash || is == hash && !yield(int(uint32(entry))) {
				return
			}
		}
	}
}

// add gives the next key its number.
func (x *index) add(hash uint32) {
	if len(x.hashes) == x.fresh {
		x.merge()
	}
	x.hashes = append(x.hashes, hash)
	if len(x.hashes)*4 <= len(x.slots)*3 {
		x.place(len(x.hashes) - 1)
		return
	}
	x.slots = make([]uint32, max(64, 2*len(x.slots)))
	for i := range x.hashes {
		x.place(i)
	}
}

func (x *index) place(i int) {
	for at := x.hashes[i]; ; at++ {
		if s := &x.slots[int(at)&(len(x.slots)-1)]; *s == 0 {
			*s = uint32(i + 1)
			return
		}
	}
}

// merge puts the fresh ones among the others.
func (x *index) merge() {
	before := x.sorted
	defer before.close()
	entries := make([]uint64, len(x.hashes))
	for i, hash := range x.hashes {
		entries[i] = uint64(hash)<<32 | uint64(before.n+i)
	}
	slices.SortFunc(entries, cmp.Compare)
	x.hashes = x.hashes[:0]
	clear(x.slots)

	x.sorted, x.firsts = x.list(), x.firsts[:0]
	x.filter = make([]uint64, (before.n+len(entries))*filterBits/64+1)
	add := func(entry uint64) {
		hash := uint32(entry >> 32)
		if x.sorted.n%paged == 0 {
			x.firsts = append(x.firsts, hash)
		}
		x.sorted.append(entry)
		x.filtered(hash, true)
	}
	for i := range before.n {
		entry := before.get(i)
		for len(entries) > 0 && entries[0] < entry {
			add(entries[0])
			entries = entries[1:]
		}
		add(entry)
	}
	for _, entry := range entries {
		add(entry)
	}
}

// A filter has filterBits bits for each hash, filterSet of which are set, so that two
// of a hundred others seem to be there.
const filterBits, filterSet = 8, 5

// filtered reports whether a hash may be in the list, or sets its bits.
func (x *index) filtered(hash uint32, set bool) bool {
	bits := uint64(len(x.filter)) * 64
	for i := range uint64(filterSet) {
		at := uint64(uint32((uint64(hash)+1)*(0x9e3779b97f4a7c15+2*i*0xbf58476d1ce4e5b9)>>32)) * bits >> 32
		switch bit := uint64(1) << (at % 64); {
		case set:
			x.filter[at/64] |= bit
		case len(x.filter) == 0 || x.filter[at/64]&bit == 0:
			return false
		}
	}
	return true
}
