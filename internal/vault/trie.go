package vault

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/kopia/kopia/repo"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// A trie maps the items of a tree to their parents. It is what finds an item
// in a drive without a walk: its folders by their ids from here, and then down
// to its record.
//
// A trie is a file while it is small: a JSON object from item id to parent id,
// in which the root folder's parent is "". One of more than leafMax items is a
// directory, in which the entry named by hex digit i holds the items whose ids
// have that digit i at this depth of their SHA-256, as a trie again. With
// sixteen branches a leaf has between leafMax/16 and leafMax items, so that
// few objects make a large trie, and a change rewrites little.
type trie struct {
	v      *Vault
	root   *record // nil when empty
	leaves *shelf[leaf]
	dirs   map[string]*dir
}

const leafMax = 512

const hexDigits = "0123456789abcdef"

func (v *Vault) newTrie(root *record) *trie {
	return &trie{v: v, root: root, leaves: newShelf[leaf]("", maxParents), dirs: map[string]*dir{}}
}

type itemHash [sha256.Size]byte

func hashItem(id backup.ItemID) itemHash { return sha256.Sum256([]byte(id)) }

// digit returns the branch of h at a depth.
func (h *itemHash) digit(depth int) int {
	if depth%2 == 0 {
		return int(h[depth/2] >> 4)
	}
	return int(h[depth/2] & 15)
}

// maxDepth is where digits end; a leaf there may be of any size.
const maxDepth = 2 * sha256.Size

// parent returns the parent of id and whether the trie has id. What is read is
// kept for the trie's life.
func (t *trie) parent(ctx context.Context, id backup.ItemID) (backup.ItemID, bool, error) {
	h := hashItem(id)
	r := t.root
	for depth := 0; r != nil; depth++ {
		if !r.isDir() {
			if _, held := t.leaves.held[r.Object]; !held {
				if value, found, sure, err := t.leaves.find(r.Object, id); sure || err != nil {
					return backup.ItemID(value), found, err
				}
			}
			leaf, err := t.leaf(ctx, r)
			if err != nil {
				return "", false, err
			}
			p, ok := leaf[id]
			return p, ok, nil
		}
		d, err := t.dir(ctx, r)
		if err != nil {
			return "", false, err
		}
		r = d.named(hexDigits[h.digit(depth):][:1])
	}
	return "", false, nil
}

func (t *trie) dir(ctx context.Context, r *record) (*dir, error) {
	if d, ok := t.dirs[r.Object]; ok {
		return d, nil
	}
	d, err := t.v.lookDir(ctx, r.Object)
	if err == nil {
		t.dirs[r.Object] = d
	}
	return d, err
}

func (t *trie) leaf(ctx context.Context, r *record) (leaf, error) {
	if l, ok := t.leaves.held[r.Object]; ok {
		return l, nil
	}
	l, err := t.v.lookLeaf(ctx, r.Object)
	if err == nil {
		t.leaves.add(r.Object, l)
	}
	return l, err
}

func (v *Vault) readLeaf(ctx context.Context, oid string) (leaf, error) {
	b, err := v.readObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	l := make(leaf, len(b)/usualParent)
	if jsonscan.ScanTogether(b, l) {
		return l, nil
	}
	l = nil
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, &DamageError{Object: oid, Err: fmt.Errorf("it is not an index: %w", err)}
	}
	return l, nil
}

// usualParent is how long an item with its parent mostly is in a leaf.
const usualParent = 75

// Scan reads a leaf as encoding/json does, of ids that are written as they are.
func (l leaf) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		id := backup.ItemID(s.Key(key))
		var parent string
		s.Text(&parent)
		l[id] = backup.ItemID(parent)
	})
}

// Changes are of a trie: which items are now where, or gone, one of each at most.
// Of those that were staged it has but the numbers, for there may be millions.
type changes struct {
	staged *staged
	keys   []changeKey
	others []parentChange // of what was not staged
}

// A changeKey finds a change, and says where in a trie it belongs.
type changeKey struct {
	hash uint64 // how the item's hash begins
	of   int32  // a number of what was staged, or, if negative, ^ an index into others
	gone bool
}

// A parentChange says where an item now is, or that it is gone.
type parentChange struct {
	id     backup.ItemID
	parent backup.ItemID
	gone   bool
}

// put notes that an item is where it was staged.
func (c *changes) put(i int, id backup.ItemID) {
	c.keys = append(c.keys, changeKey{beginning(id), int32(i), false})
}

// remove notes that an item is gone.
func (c *changes) remove(id backup.ItemID) {
	if i, ok := c.staged.find(id); ok {
		c.keys = append(c.keys, changeKey{beginning(id), int32(i), true})
	} else {
		c.keys = append(c.keys, c.other(parentChange{id: id, gone: true}))
	}
}

// other returns the key of a change that was not staged.
func (c *changes) other(p parentChange) changeKey {
	c.others = append(c.others, p)
	return changeKey{beginning(p.id), ^int32(len(c.others) - 1), p.gone}
}

// get returns a change.
func (c *changes) get(k changeKey) (parentChange, error) {
	switch {
	case k.of < 0:
		return c.others[^k.of], nil
	case k.gone:
		return parentChange{id: c.staged.id(int(k.of)), gone: true}, c.staged.err()
	}
	e, _ := c.staged.at(int(k.of))
	return parentChange{id: e.ID, parent: e.Parent}, c.staged.err()
}

// beginning returns how the hash of an item begins, in its order.
func beginning(id backup.ItemID) uint64 {
	h := hashItem(id)
	return binary.BigEndian.Uint64(h[:])
}

// begun is how many digits of a hash a changeKey has.
const begun = 16

// apply returns the root of a trie in which changes are made. The trie itself
// stays as it is.
func (t *trie) apply(ctx context.Context, w repo.DirectRepositoryWriter, c *changes) (*record, error) {
	return t.change(ctx, w, c, "index", t.root, 0, sorted(c.keys))
}

func sorted(keys []changeKey) []changeKey {
	slices.SortFunc(keys, func(a, b changeKey) int { return cmp.Compare(a.hash, b.hash) })
	return keys
}

// change makes sorted changes in the trie at r, and returns what takes its
// place under the same name.
func (t *trie) change(ctx context.Context, w repo.DirectRepositoryWriter, c *changes, name string, r *record, depth int, keys []changeKey) (*record, error) {
	if len(keys) == 0 {
		return r, nil
	}
	if r == nil || !r.isDir() {
		return t.changeLeaf(ctx, w, c, name, r, depth, keys)
	}
	d, err := t.dir(ctx, r)
	if err != nil {
		return nil, err
	}
	var records []record
	same := true
	for digit, part := range c.split(keys, depth) {
		branch := d.named(hexDigits[digit:][:1])
		changed, err := t.change(ctx, w, c, hexDigits[digit:][:1], branch, depth+1, part)
		if err != nil {
			return nil, err
		}
		same = same && changed == branch
		if changed != nil {
			records = append(records, *changed)
		}
	}
	if same {
		return r, nil
	}
	return t.write(ctx, w, name, records)
}

// changeLeaf is change where the trie is a leaf, or empty.
func (t *trie) changeLeaf(ctx context.Context, w repo.DirectRepositoryWriter, c *changes, name string, r *record, depth int, keys []changeKey) (*record, error) {
	live := slices.DeleteFunc(slices.Clone(keys), func(k changeKey) bool { return k.gone })
	if r == nil {
		return t.build(ctx, w, c, name, depth, live)
	}
	leaf, held := t.leaves.held[r.Object]
	if !held {
		var err error
		if leaf, err = t.v.lookLeaf(ctx, r.Object); err != nil {
			return nil, err
		}
	}
	stay := maps.Clone(leaf)
	same := true
	for _, k := range keys {
		p, err := c.get(k)
		if err != nil {
			return nil, err
		}
		old, ok := leaf[p.id]
		same = same && ok != p.gone && (p.gone || old == p.parent)
		delete(stay, p.id)
	}
	if same {
		return r, nil
	}
	others := len(c.others)
	for id, parent := range stay {
		live = append(live, c.other(parentChange{id: id, parent: parent}))
	}
	r, err := t.build(ctx, w, c, name, depth, sorted(live))
	clear(c.others[others:])
	c.others = c.others[:others]
	return r, err
}

// build makes a trie of sorted items.
func (t *trie) build(ctx context.Context, w repo.DirectRepositoryWriter, c *changes, name string, depth int, keys []changeKey) (*record, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) <= leafMax || depth == maxDepth {
		leaf := make(map[backup.ItemID]backup.ItemID, len(keys))
		for _, k := range keys {
			p, err := c.get(k)
			if err != nil {
				return nil, err
			}
			leaf[p.id] = p.parent
		}
		b, err := json.Marshal(leaf)
		if err != nil {
			return nil, fmt.Errorf("encode index: %w", err)
		}
		oid, err := t.v.writeObject(ctx, w, metaPrefix, "INDEX", b)
		if err != nil {
			return nil, err
		}
		return &record{Name: name, Type: fileType, Mode: fileMode, Size: int64(len(b)), Object: oid}, nil
	}
	var records []record
	for digit, part := range c.split(keys, depth) {
		r, err := t.build(ctx, w, c, hexDigits[digit:][:1], depth+1, part)
		if err != nil {
			return nil, err
		}
		if r != nil {
			records = append(records, *r)
		}
	}
	return t.write(ctx, w, name, records)
}

func (t *trie) write(ctx context.Context, w repo.DirectRepositoryWriter, name string, records []record) (*record, error) {
	if len(records) == 0 {
		return nil, nil
	}
	r, err := t.v.writeDir(ctx, w, name, time.Time{}, records)
	return &r, err
}

// split yields the sixteen parts of keys, which are sorted, by their digit at a
// depth; a part may be empty.
func (c *changes) split(keys []changeKey, depth int) iter.Seq2[int, []changeKey] {
	return func(yield func(int, []changeKey) bool) {
		var parts [len(hexDigits)][]changeKey
		if depth < begun {
			for digit := range parts {
				n := 0
				for n < len(keys) && int(keys[n].hash>>(4*(begun-1-depth))&15) == digit {
					n++
				}
				parts[digit], keys = keys[:n], keys[n:]
			}
		}
		for _, k := range keys { // whose hashes begin alike, in no order
			p, _ := c.get(k)
			h := hashItem(p.id)
			parts[h.digit(depth)] = append(parts[h.digit(depth)], k)
		}
		for digit, part := range parts {
			if !yield(digit, part) {
				return
			}
		}
	}
}
