package vault

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
)

// A model is a drive as a map, and says in the plainest way what an update
// makes of it.
type model map[backup.ItemID]Entry

// merge returns m with what was staged: puts in their order, and deletes.
func (m model) merge(puts []Entry, gone map[backup.ItemID]bool) (merged model, orphans []backup.ItemID) {
	all := maps.Clone(m)
	staged := map[backup.ItemID]bool{}
	var root backup.ItemID
	for id, e := range m {
		if e.Parent == "" {
			root = id
		}
	}
	former := root
	for _, e := range puts {
		all[e.ID] = e
		staged[e.ID] = true
	}
	if e := all[root]; e.Parent != "" || e.Kind != backup.Folder {
		root = ""
	}
	for _, e := range puts {
		if e.Parent == "" && e.Kind == backup.Folder {
			root = e.ID
		}
	}
	const (
		present = iota
		deleted
		orphan
	)
	stand := func(id backup.ItemID) int {
		for range len(all) + 1 {
			e, known := all[id]
			switch {
			case gone[id], id == former && id != root && !staged[id] && id != "":
				return deleted
			case !known:
				return orphan
			case e.Parent == "" && id == root:
				return present
			case e.Parent == "":
				return orphan
			}
			if p, ok := all[e.Parent]; ok && p.Kind != backup.Folder && !gone[e.Parent] {
				return orphan
			}
			id = e.Parent
		}
		return orphan
	}
	merged = model{}
	for id, e := range all {
		switch stand(id) {
		case present:
			merged[id] = e
		case orphan:
			if staged[id] {
				orphans = append(orphans, id)
			}
		}
	}
	slices.Sort(orphans)
	return merged, orphans
}

func TestUpdatesAgainstModel(t *testing.T) {
	v, _ := newVault(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			key := DriveKey{key.Tenant, backup.DriveID(fmt.Sprint(seed))}
			u, err := v.Begin(t.Context(), key, "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { u.Close() }()

			// A few contents, written once: what they hold is for other tests.
			var contents []Content
			for i := range 4 {
				c, err := u.Write(t.Context(), "", strings.NewReader(fmt.Sprint("content ", i)))
				if err != nil {
					t.Fatal(err)
				}
				contents = append(contents, c)
			}
			ids := []int{12, 40, 3000}[seed%3] // small ones collide often, large ones split the index
			at := noon
			prev, prevSealed := model{}, Sealed{}
			for round := range 12 {
				if seed%2 == 1 { // what is read of the base leaves the memory at once
					u.base.dirs.most, u.base.trie.leaves.most = 5, 5
					for range 20 {
						id := backup.ItemID(fmt.Sprint(r.IntN(ids + 5)))
						want, known := prev[id]
						if e, ok, err := u.Get(t.Context(), id); ok != known || err != nil || !cmp.Equal(e, want) {
							t.Fatalf("Get(%s) = %v, %v, %v, want %v", id, e, ok, err, want)
						}
					}
				}
				var puts []Entry
				gone := map[backup.ItemID]bool{}
				ops := 1 + r.IntN(12)
				if round == 0 {
					ops = ids
					puts = append(puts, folder("0", "", "root"))
					u.Put(puts[0])
				}
				for op := range ops {
					id := backup.ItemID(fmt.Sprint(1 + r.IntN(ids)))
					if round == 0 {
						id = backup.ItemID(fmt.Sprint(1 + op))
					} else if r.IntN(60) == 0 {
						id = "0"
					}
					if round > 0 && r.IntN(5) == 0 {
						u.Delete(id)
						puts = slices.DeleteFunc(puts, func(e Entry) bool { return e.ID == id })
						gone[id] = true
						continue
					}
					e := randomEntry(r, contents, ids, id)
					if old, ok := prev[id]; ok && r.IntN(3) == 0 {
						e = old // staged as it is
					}
					u.Put(e)
					puts = append(slices.DeleteFunc(puts, func(p Entry) bool { return p.ID == id }), e)
					delete(gone, id)
				}
				want, orphans := prev.merge(puts, gone)
				at = at.Add(time.Minute)
				s, err := u.Seal(t.Context(), at, PointInfo{})
				if err != nil {
					t.Fatal(err)
				}
				check(t, v, s, want, orphans)
				if s.Changed == (prevSealed.Tree != "" && cmp.Equal(prev, want)) {
					t.Errorf("Changed = %v", s.Changed)
				}
				checkDiff(t, v, prevSealed.Tree, s.Tree, prev, want)
				if t.Failed() {
					t.Fatalf("round %d: %v, gone %v", round, puts, gone)
				}
				prev, prevSealed = want, s
				if r.IntN(2) == 0 { // go on in another update
					u.Close()
					if u, err = v.Begin(t.Context(), key, s.Root, s.Tree); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := verify(t, v, prevSealed.Tree); err != nil {
				t.Error(err)
			}
		})
	}
}

func randomEntry(r *rand.Rand, contents []Content, ids int, id backup.ItemID) Entry {
	parent := backup.ItemID(fmt.Sprint(r.IntN(1 + ids/3))) // the lower third are mostly folders
	e := folder(string(id), string(parent), fmt.Sprint("N", r.IntN(4)))
	if r.IntN(2) == 0 {
		e.Name = fmt.Sprint("n", id)
	}
	if id == "0" || r.IntN(100) == 0 {
		e.Parent = "" // the root, or one to take its place
		return e
	}
	var n int
	fmt.Sscan(string(id), &n)
	if (n > ids/3) != (r.IntN(40) == 0) {
		c := contents[r.IntN(len(contents))]
		e.Kind, e.Size, e.Content, e.Hash = backup.File, c.Size, c.ID, c.ID
	}
	e.Modified = e.Modified.Add(time.Duration(r.IntN(3)) * time.Hour)
	return e
}

func check(t *testing.T, v *Vault, s Sealed, want model, orphans []backup.ItemID) {
	t.Helper()
	got := model{}
	var files, folders, bytes int64
	for n, err := range v.Walk(t.Context(), s.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[n.ID]; twice {
			t.Errorf("Walk gives %s twice", n.ID)
		}
		if _, ok := got[n.Parent]; !ok && n.Parent != "" {
			t.Errorf("Walk gives %s before its folder", n.ID)
		}
		got[n.ID] = n.Entry
		if n.Kind == backup.File {
			files, bytes = files+1, bytes+n.Size
		} else if n.Parent != "" {
			folders++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(orphans, s.Orphans); diff != "" {
		t.Error("orphans: ", diff)
	}
	if s.Files != files || s.Folders != folders || s.Bytes != bytes {
		t.Errorf("Seal counts %d files, %d folders, %d bytes; there are %d, %d, %d", s.Files, s.Folders, s.Bytes, files, folders, bytes)
	}
	b, err := v.base(t.Context(), "", s.Tree)
	if err != nil {
		t.Fatal(err)
	}
	indexed := 0
	for id, err := range b.trie.all(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		indexed++
		if p, ok, err := b.parent(t.Context(), id); p != want[id].Parent || !ok || err != nil {
			t.Errorf("the index has %s in %q, %v, %v", id, p, ok, err)
		}
	}
	if indexed != len(want) {
		t.Errorf("the index has %d items of %d", indexed, len(want))
	}
}

func checkDiff(t *testing.T, v *Vault, from, to string, was, is model) {
	t.Helper()
	got := maps.Clone(was)
	seen := map[backup.ItemID]bool{}
	for c, err := range v.Diff(t.Context(), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		var id backup.ItemID
		if c.From != nil {
			id = c.From.ID
			if diff := cmp.Diff(was[id], c.From.Entry); diff != "" {
				t.Error("Diff tells wrongly what was: ", diff)
			}
			if p, ok, err := v.Path(t.Context(), from, id); p != c.From.Path || !ok || err != nil {
				t.Errorf("Diff says %s was at %q; Path = %q, %v, %v", id, c.From.Path, p, ok, err)
			}
			delete(got, id)
		}
		if c.To != nil {
			id = c.To.ID
			got[id] = c.To.Entry
			if p, ok, err := v.Path(t.Context(), to, id); p != c.To.Path || !ok || err != nil {
				t.Errorf("Diff says %s is at %q; Path = %q, %v, %v", id, c.To.Path, p, ok, err)
			}
		}
		if seen[id] {
			t.Errorf("Diff gives %s twice", id)
		}
		seen[id] = true
	}
	if diff := cmp.Diff(is, got); diff != "" {
		t.Error("the difference applied: ", diff)
	}
	for id := range seen {
		if w, ok := was[id]; ok && w == is[id] {
			t.Errorf("Diff gives %s, which is as it was", id)
		}
	}
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
