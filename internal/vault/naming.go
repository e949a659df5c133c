package vault

import (
	"cmp"
	"hash/maphash"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
)

// A naming decides which names the records of a directory are stored under. Siblings may
// claim one name: two items that the source listed at different moments, or names that differ
// in case only. The name then belongs to the claimant staged last, else to the one that has
// it; every other is stored as "name (id).ext" and keeps its own name beside it.
//
// A directory may hold a million: of a record that is not in memory a naming has its name, and
// asks for more if another claims that.
type naming struct {
	claims  []claim
	records []record // those in memory
	others  []string // names under which items are stored that are not their own
	texts   *texts   // that own names are kept in, or nil if their records are in memory

	staged func(number int32) (id backup.ItemID, order int64)
	was    func(numbers []int32) (map[int32]backup.ItemID, error) // in the folder as it was
}

// A claim is that of a record to its item's name in a directory.
type claim struct {
	own    string // the name
	other  int32  // one more than where in others is what it is stored under, or 0
	record int32  // one more than where in records it is, or 0
	number int32  // of what was staged, or of the record in the folder as it was
	staged bool
	dir    bool
	held   bool // it was stored under its own name
}

// add has a record claim its name.
func (n *naming) add(r *record, number int32, staged bool) {
	own := r.trueName()
	c := claim{own: own, number: number, staged: staged, dir: r.isDir(), held: r.Name == own}
	if n.texts != nil {
		c.own = n.texts.keep(own)
	} else {
		n.records = append(n.records, *r)
		c.record = int32(len(n.records))
	}
	n.claims = append(n.claims, c)
}

// stored returns what a claim's record is stored under.
func (n *naming) stored(c *claim) string {
	if c.other > 0 {
		return n.others[c.other-1]
	}
	return c.own
}

func (n *naming) store(c *claim, name string) {
	if name != c.own {
		n.others = append(n.others, name)
		c.other = int32(len(n.others))
	}
}

// hold returns the record of a claim under the name that it is stored under; nil if it is not in
// memory.
func (n *naming) hold(c *claim) *record {
	if c.record == 0 {
		return nil
	}
	r := &n.records[c.record-1]
	r.setName(c.own, n.stored(c))
	return r
}

// sort puts the claims in the order of records in a directory, as byName does.
func (n *naming) sort() {
	slices.SortFunc(n.claims, func(a, b claim) int {
		switch {
		case a.dir && !b.dir:
			return -1
		case b.dir && !a.dir:
			return 1
		}
		return strings.Compare(n.stored(&a), n.stored(&b))
	})
}

// decide decides it.
func (n *naming) decide() error {
	seed := maphash.MakeSeed()
	hash := func(folded string) uint64 { return maphash.String(seed, folded) }
	names := make(hashes, len(n.claims))
	for i := range n.claims {
		c := &n.claims[i]
		n.store(c, safeName(c.own))
		names[i] = hashed{hash(fold(n.stored(c))), int32(i)}
	}
	slices.SortFunc(names, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.at, b.at))
	})
	ids, err := n.idsOf(names)
	if err != nil {
		return err
	}
	var losers []contender
	for several := range names.equal() {
		holders := map[string]contender{}
		for _, h := range several {
			is, name := n.contender(h.at, ids), fold(n.stored(&n.claims[h.at]))
			if holder, claimed := holders[name]; claimed {
				if holder.before(&is) {
					losers = append(losers, is)
					continue
				}
				losers = append(losers, holder)
			}
			holders[name] = is
		}
	}
	slices.SortFunc(losers, func(a, b contender) int { return cmp.Compare(a.id, b.id) })
	given := map[string]bool{}
	for _, l := range losers {
		c := &n.claims[l.at]
		stored := n.stored(c)
		ext := path.Ext(stored)
		stem := strings.TrimSuffix(stored, ext)
		id := safeName(string(l.id))
		tail := id[max(0, len(id)-6):]
		for at := 1; ; at++ {
			if at == 2 {
				tail = id
			} else if at > 2 {
				tail = id + "-" + strconv.Itoa(at)
			}
			name := stem + " (" + tail + ")" + ext
			folded := fold(name)
			if !names.has(hash(folded)) && !given[folded] {
				given[folded] = true
				n.store(c, name)
				break
			}
		}
	}
	return nil
}

// idsOf returns those of records that are not in memory, were not staged and whose names others
// claim.
func (n *naming) idsOf(names hashes) (map[int32]backup.ItemID, error) {
	var numbers []int32
	for several := range names.equal() {
		for _, h := range several {
			if c := &n.claims[h.at]; c.record == 0 && !c.staged {
				numbers = append(numbers, c.number)
			}
		}
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return n.was(numbers)
}

// A contender is who claims a name that others claim too.
type contender struct {
	at     int32 // in claims
	id     backup.ItemID
	staged int64 // when it was staged, or 0
	held   bool
}

func (n *naming) contender(at int32, ids map[int32]backup.ItemID) contender {
	c := &n.claims[at]
	is := contender{at: at, held: c.held}
	switch {
	case c.staged:
		var order int64
		is.id, order = n.staged(c.number)
		is.staged = order + 1
	case c.record > 0:
		is.id = n.records[c.record-1].ID
	default:
		is.id = ids[c.number]
	}
	return is
}

// before reports whether a name is the contender's rather than another's.
func (c *contender) before(d *contender) bool {
	holds := func(c *contender) int {
		if c.held {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(c.staged, d.staged), cmp.Compare(holds(c), holds(d)), cmp.Compare(d.id, c.id)) > 0
}

// Hashes are those of names, in order: equal names are found by them, and they take less room.
type hashes []hashed

type hashed struct {
	hash uint64
	at   int32 // in claims
}

// equal yields those that several have.
func (h hashes) equal() iter.Seq[hashes] {
	return func(yield func(hashes) bool) {
		for rest := h; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].hash == rest[0].hash {
				n++
			}
			if n > 1 && !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

func (h hashes) has(hash uint64) bool {
	_, found := slices.BinarySearchFunc(h, hash, func(h hashed, hash uint64) int { return cmp.Compare(h.hash, hash) })
	return found
}

// nameRecords gives each record the name that it is stored under.
func nameRecords(records []record) {
	n := naming{records: records[:0]}
	for i := range records {
		n.add(&records[i], 0, false)
	}
	n.decide() // which needs nothing that is not in memory
	for i := range n.claims {
		n.hold(&n.claims[i])
	}
}

// Texts are kept close together, and until none of those around one is needed.
type texts struct{ last strings.Builder }

// textsRoom is how long those are together that are in one piece of memory.
const textsRoom = 64 << 10

func (t *texts) keep(text string) string {
	if t.last.Cap()-t.last.Len() < len(text) {
		t.last.Reset()
		t.last.Grow(max(textsRoom, len(text)))
	}
	at := t.last.Len()
	t.last.WriteString(text)
	return t.last.String()[at:]
}

// fold returns the form in which names are equal that a file system may take for
// the same: they differ in case, or in how their letters are composed. Folding
// takes letters apart (a small J with a caron is one, a capital one is two), and
// so they are composed after it.
func fold(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return strings.ToLower(name)
	}
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(name)))
}
