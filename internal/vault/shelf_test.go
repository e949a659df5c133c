package vault

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/fs"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
)

// However little of a tree may be in memory, and in whatever order its items are
// looked up, each part of it is read once, and an item that it has not costs nothing. The
// index is not read for what is where it is looked for, but for the folders.
func TestPartsThatLeftTheMemoryAreReadOnce(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	c := file(t, u, "first", "root", "first", "content")
	u.Put(folder("root", "", "root"))
	u.Put(c)
	const folders, files = 30, 60
	for i := range folders {
		u.Put(folder(fmt.Sprint("folder ", i), "root", fmt.Sprint(i)))
		for k := range files {
			e := c
			e.ID, e.Parent, e.Name = backup.ItemID(fmt.Sprint("file ", i*files+k)), backup.ItemID(fmt.Sprint("folder ", i)), fmt.Sprint("na/me ", k)
			u.Put(e)
		}
	}
	s := seal(t, u, noon)

	want := map[backup.ItemID]Entry{}
	var ids []backup.ItemID
	for n, err := range v.Walk(t.Context(), s.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		want[n.ID] = n.Entry
		ids = append(ids, n.ID, n.ID+" that is not")
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
	u = begin(t, v, s)
	tree, err := v.Tree(t.Context(), s.Tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, look := range []struct {
		name string
		in   *base
		get  func(id backup.ItemID) (Entry, bool, error)
	}{
		{"Get", &u.base, func(id backup.ItemID) (Entry, bool, error) { return u.Get(t.Context(), id) }},
		{"Node", &tree.base, func(id backup.ItemID) (Entry, bool, error) {
			n, ok, err := tree.Node(t.Context(), id)
			return n.Entry, ok, err
		}},
	} {
		look.in.dirs.most, look.in.trie.leaves.most = 2*files, 100
		before := v.Counters().ObjectsRead
		for range 2 {
			for _, id := range ids {
				e, ok, err := look.get(id)
				if is, known := want[id]; ok != known || err != nil || !cmp.Equal(e, is) {
					t.Fatalf("%s(%s) = %v, %v, %v, want %v", look.name, id, e, ok, err, is)
				}
			}
		}
		if n := len(look.in.dirs.held); n > 4 {
			t.Errorf("%s: %d directories are in memory", look.name, n)
		}
		// The folders, the root, and the index: sixteen leaves and what is above them.
		if read := v.Counters().ObjectsRead - before; read > folders+1+17 {
			t.Errorf("%s: %d objects were read", look.name, read)
		}
	}

	u = begin(t, v, s)
	u.base.dirs.most = 2 * files
	before := v.Counters().ObjectsRead
	for is, err := range u.Entries(t.Context()) {
		id := is.ID
		if err != nil || !cmp.Equal(is, want[id]) {
			t.Fatalf("Entries lists %v, %v, want %v", is, err, want[id])
		}
		if e, ok, err := u.GetIn(t.Context(), id, want[id].Parent); !ok || err != nil || !cmp.Equal(e, want[id]) {
			t.Fatalf("GetIn(%s) = %v, %v, %v, want %v", id, e, ok, err, want[id])
		}
	}
	if read := v.Counters().ObjectsRead - before; read > folders+1+17 {
		t.Errorf("folder by folder %d objects were read", read)
	}
	onDisk := tree.base.dirs.table
	tree.Close()
	if onDisk.Err() == nil {
		t.Error("a tree that was closed still has its file")
	}
}

// What is staged on disk, and what is kept of directories there, comes back as it
// was.
func TestRecordsKeptOnDisk(t *testing.T) {
	e := Entry{ID: "id", Parent: "parent", Name: "n\xffame", Kind: backup.File, Size: 1 << 40, Created: epoch, Modified: noon.Add(time.Nanosecond),
		CTag: "ctag", Hash: "hash", Content: "content", Stored: "stored"}
	for _, e := range []Entry{e, {ID: "id", Kind: backup.Folder}} {
		if diff := cmp.Diff(e, decodeEntry("id", encodeEntry(e))); diff != "" {
			t.Error(diff)
		}
	}
	r := record{Name: "name", Type: dirType, Mode: dirMode, Size: 3, Modified: epoch, Object: "object", ID: "id", Created: noon, CTag: "c", Hash: "h",
		Stored: "s", TrueName: []byte("true\xff"), TrueTime: epoch.AddDate(-700, 0, 0), Checkpoint: true,
		Summary: &fs.DirectorySummary{TotalFileSize: 1, TotalFileCount: 2, TotalSymlinkCount: 3, TotalDirCount: 4, MaxModTime: 5, IncompleteReason: "no", FatalErrorCount: 6}}
	for _, r := range []record{r, {ID: "id", Type: fileType}, {ID: "id", TrueName: []byte{}}} {
		got, parent := decodeRecord("id", encodeRecord(&r, "parent"))
		if diff := cmp.Diff(&r, got); diff != "" || parent != "parent" {
			t.Error(parent, diff)
		}
	}
}

// Items whose hashes begin alike are told apart by the rest.
func TestSplitBeyondTheBeginningOfHashes(t *testing.T) {
	c := &changes{}
	var keys []changeKey
	for i := range 100 {
		k := c.other(parentChange{id: backup.ItemID(fmt.Sprint(i))})
		k.hash = 7
		keys = append(keys, k)
	}
	var got []backup.ItemID
	for digit, part := range c.split(keys, begun) {
		for _, k := range part {
			p, _ := c.get(k)
			if h := hashItem(p.id); h.digit(begun) != digit {
				t.Errorf("%s is in part %d", p.id, digit)
			}
			got = append(got, p.id)
		}
	}
	if slices.Sort(got); len(slices.Compact(got)) != len(keys) {
		t.Errorf("%d of %d items are left", len(got), len(keys))
	}
	h := hashItem("id")
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], beginning("id"))
	if !bytes.Equal(b[:], h[:8]) {
		t.Errorf("the hash begins with %x, not %x", h[:8], b)
	}
}

// A directory is written a record at a time, and is the same object as if it were
// written at once: kopia would else store each folder anew.
func TestDirectoriesAreEncodedAsAWhole(t *testing.T) {
	for _, records := range [][]record{nil, {}, {{Name: "<a&b>"}}, {{Name: "a", Modified: noon}, {Name: "b", TrueName: []byte("c"), Summary: &fs.DirectorySummary{}}}} {
		var want, got bytes.Buffer
		if err := json.NewEncoder(&want).Encode(dirManifest{dirStream, records, summarize(records, noon)}); err != nil {
			t.Fatal(err)
		}
		all := pointers(records)
		if records == nil {
			all = nil
		}
		if _, err := encodeDir(&got, all, noon); err != nil || got.String() != want.String() {
			t.Errorf("it is %s, %v, want %s", &got, err, &want)
		}
	}
}

// Where the disk fails on which is what does not fit into memory, nothing is sealed,
// and no item is said to be gone.
func TestNothingIsMadeOfWhatCannotBeReadBack(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	c := file(t, u, "first", "root", "first", "content")
	u.Put(folder("root", "", "root"))
	for i := range 4000 {
		e := c
		e.ID, e.Name, e.CTag = backup.ItemID(fmt.Sprint("file ", i)), fmt.Sprint(i), strings.Repeat("tag", 40)
		u.Put(e)
	}
	s := seal(t, u, noon)
	u = begin(t, v, s)
	u.Put(folder("in", "root", "in"))
	for i := range 4000 {
		e := c
		e.ID, e.Parent, e.Name = backup.ItemID(fmt.Sprint("file ", i)), "in", fmt.Sprint(i)
		u.Put(e)
	}
	moved := seal(t, u, noon.Add(time.Minute))

	if err := os.Rename(cfg.State, cfg.State+" away"); err != nil {
		t.Fatal(err)
	}
	u = begin(t, v, s)
	for i := range 4000 {
		e := c
		e.ID, e.Name, e.CTag = backup.ItemID(fmt.Sprint("file ", i)), fmt.Sprint(i), strings.Repeat("gat", 40)
		u.Put(e)
	}
	if s, err := u.Seal(t.Context(), noon.Add(time.Hour), PointInfo{}); !errors.Is(err, spill.ErrDisk) {
		t.Errorf("Seal = %v, %v", s, err)
	}
	if e, ok, err := u.Get(t.Context(), "file 1"); !errors.Is(err, spill.ErrDisk) {
		t.Errorf("Get = %v, %v, %v", e, ok, err)
	}
	for _, trees := range [][2]string{{moved.Tree, s.Tree}, {s.Tree, moved.Tree}} {
		var failed error
		files := 0
		for c, err := range v.Diff(t.Context(), trees[0], trees[1]) {
			failed = err
			for _, n := range []*Node{c.From, c.To} {
				if n != nil && n.Kind == backup.File {
					files++
				}
			}
		}
		if !errors.Is(failed, spill.ErrDisk) || files > 0 {
			t.Errorf("Diff tells of %d files, and then %v", files, failed)
		}
	}
}
