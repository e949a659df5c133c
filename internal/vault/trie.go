package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/kopia/kopia/repo"

	"holdfast/internal/backup"
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
	leaves map[string]map[backup.ItemID]backup.ItemID
	dirs   map[string]*dir
}

const leafMax = 512

const hexDigits = "0123456789abcdef"

func (v *Vault) newTrie(root *record) *trie {
	return &trie{v: v, root: root, leaves: map[string]map[backup.ItemID]backup.ItemID{}, dirs: map[string]*dir{}}
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

// all lists the trie's items.
func (t *trie) all(ctx context.Context) iter.Seq2[backup.ItemID, error] {
	return func(yield func(backup.ItemID, error) bool) {
		var walk func(r *record) bool
		walk = func(r *record) bool {
			if r == nil {
				return true
			}
			if !r.isDir() {
				leaf, err := t.v.readLeaf(ctx, r.Object)
				if err != nil {
					yield("", err)
					return false
				}
				for id := range leaf {
					if !yield(id, nil) {
						return false
					}
				}
				return true
			}
			d, err := t.v.readDir(ctx, r.Object)
			if err != nil {
				yield("", err)
				return false
			}
			for i := range d.records {
				if !walk(&d.records[i]) {
					return false
				}
			}
			return true
		}
		walk(t.root)
	}
}

func (t *trie) dir(ctx context.Context, r *record) (*dir, error) {
	if d, ok := t.dirs[r.Object]; ok {
		return d, nil
	}
	d, err := t.v.readDir(ctx, r.Object)
	if err == nil {
		t.dirs[r.Object] = d
	}
	return d, err
}

func (t *trie) leaf(ctx context.Context, r *record) (map[backup.ItemID]backup.ItemID, error) {
	if l, ok := t.leaves[r.Object]; ok {
		return l, nil
	}
	l, err := t.v.readLeaf(ctx, r.Object)
	if err == nil {
		t.leaves[r.Object] = l
	}
	return l, err
}

func (v *Vault) readLeaf(ctx context.Context, oid string) (map[backup.ItemID]backup.ItemID, error) {
	b, err := v.readObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	var l map[backup.ItemID]backup.ItemID
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, &DamageError{Object: oid, Err: fmt.Errorf("it is not an index: %w", err)}
	}
	return l, nil
}

// A parentChange says where an item now is, or that it is gone.
type parentChange struct {
	hash   itemHash
	id     backup.ItemID
	parent backup.ItemID
	gone   bool
}

// apply returns the root of a trie in which changes are made, one for each id
// at most. The trie itself stays as it is.
func (t *trie) apply(ctx context.Context, w repo.DirectRepositoryWriter, changes []parentChange) (*record, error) {
	if len(changes) == 0 {
		return t.root, nil
	}
	for i := range changes {
		changes[i].hash = hashItem(changes[i].id)
	}
	slices.SortFunc(changes, func(a, b parentChange) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	return t.change(ctx, w, "index", t.root, 0, changes)
}

// change makes sorted changes in the trie at r, and returns what takes its
// place under the same name.
func (t *trie) change(ctx context.Context, w repo.DirectRepositoryWriter, name string, r *record, depth int, changes []parentChange) (*record, error) {
	if len(changes) == 0 {
		return r, nil
	}
	if r == nil {
		live := slices.DeleteFunc(slices.Clone(changes), func(c parentChange) bool { return c.gone })
		return t.build(ctx, w, name, depth, live)
	}
	if !r.isDir() {
		leaf, err := t.leaf(ctx, r)
		if err != nil {
			return nil, err
		}
		merged := make(map[backup.ItemID]backup.ItemID, len(leaf)+len(changes))
		for id, parent := range leaf {
			merged[id] = parent
		}
		same := true
		for _, c := range changes {
			old, ok := merged[c.id]
			if c.gone {
				delete(merged, c.id)
				same = same && !ok
			} else {
				merged[c.id] = c.parent
				same = same && ok && old == c.parent
			}
		}
		if same {
			return r, nil
		}
		items := make([]parentChange, 0, len(merged))
		for id, parent := range merged {
			items = append(items, parentChange{hash: hashItem(id), id: id, parent: parent})
		}
		slices.SortFunc(items, func(a, b parentChange) int { return bytes.Compare(a.hash[:], b.hash[:]) })
		return t.build(ctx, w, name, depth, items)
	}

	d, err := t.dir(ctx, r)
	if err != nil {
		return nil, err
	}
	var records []record
	same := true
	for digit, part := range split(changes, depth) {
		branch := d.named(hexDigits[digit:][:1])
		changed, err := t.change(ctx, w, hexDigits[digit:][:1], branch, depth+1, part)
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

// build makes a trie of sorted items.
func (t *trie) build(ctx context.Context, w repo.DirectRepositoryWriter, name string, depth int, items []parentChange) (*record, error) {
	if len(items) == 0 {
		return nil, nil
	}
	if len(items) <= leafMax || depth == maxDepth {
		leaf := make(map[backup.ItemID]backup.ItemID, len(items))
		for _, c := range items {
			leaf[c.id] = c.parent
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
	for digit, part := range split(items, depth) {
		r, err := t.build(ctx, w, hexDigits[digit:][:1], depth+1, part)
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

// split yields the sixteen parts of items, which are sorted, by their digit at
// a depth; a part may be empty.
func split(items []parentChange, depth int) iter.Seq2[int, []parentChange] {
	return func(yield func(int, []parentChange) bool) {
		for digit := range len(hexDigits) {
			n := 0
			for n < len(items) && items[n].hash.digit(depth) == digit {
				n++
			}
			if !yield(digit, items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}
