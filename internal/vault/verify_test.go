package vault

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
)

// Two items of one content, in two folders and several points: each is named, with
// the points that it is in.
func TestEveryItemOfADamagedContentIsNamed(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	u.Put(folder("a", "root", "A"))
	u.Put(folder("b", "root", "B"))
	u.Put(file(t, u, "one", "a", "one.txt", "the same"))
	u.Put(file(t, u, "other", "a", "other.txt", "another"))
	first := seal(t, u, noon)
	u.Put(file(t, u, "two", "b", "two.txt", "the same"))
	second := seal(t, u, noon.Add(time.Hour))
	u.Delete("one")
	third := seal(t, u, noon.Add(2*time.Hour))

	content := paths(t, v, second.Tree)["B/two.txt"].Content
	info := whereIs(t, v, content)
	flipBit(t, cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
	r, err := v.Verify(t.Context(), []string{first.Tree, second.Tree, third.Tree}, VerifyOptions{Share: 1})
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		What     What
		Item     backup.ItemID
		Path     string
		Trees    []string
		Contents []string
	}
	var got []line
	for _, d := range r.Damage {
		got = append(got, line{d.What, d.Item, d.Path, d.Trees, d.Contents})
	}
	want := []line{
		{FileDamaged, "one", "A/one.txt", []string{first.Tree, second.Tree}, []string{content}},
		{FileDamaged, "two", "B/two.txt", []string{second.Tree, third.Tree}, []string{content}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r.Err() == nil || !strings.Contains(r.Err().Error(), "A/one.txt") {
		t.Errorf("Err = %v", r.Err())
	}
}

// What trees share is read once, and the items are counted all the same: in a tree
// of its own, beside those that it shares folders with, and where it is below
// another folder.
func TestVerifyReadsWhatIsSharedOnce(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	content := file(t, u, "", "", "", "x").Content
	makeDrive(t, u, 3000, content)
	trees := []string{seal(t, u, noon).Tree}
	u.Put(folder("empty", "root", "empty"))
	trees = append(trees, seal(t, u, noon.Add(time.Hour)).Tree)
	moved, _, err := u.Get(t.Context(), "top1")
	if err != nil {
		t.Fatal(err)
	}
	moved.Parent = "empty"
	u.Put(moved)
	trees = append(trees, seal(t, u, noon.Add(2*time.Hour)).Tree)

	whole := func(trees ...string) VerifyReport {
		t.Helper()
		told := int64(0)
		r, err := v.Verify(t.Context(), trees, VerifyOptions{Share: 1, Progress: func(n int64) { told += n }})
		if err != nil || r.Err() != nil {
			t.Fatal(err, r.Err())
		}
		if told != r.Bytes {
			t.Errorf("told of %d bytes, read %d", told, r.Bytes)
		}
		return r
	}
	one, all := whole(trees[0]), whole(append(trees, trees...)...)
	whole(trees[1])
	whole(trees[2])
	if one.Bytes != 1 || all.Bytes != 1 {
		t.Errorf("read %d and %d bytes of a content of one", one.Bytes, all.Bytes)
	}
	// Of each further tree: the folders from the change up, and the changed leaves.
	if more := all.Objects - one.Objects; more < 4 || more > 40 {
		t.Errorf("one tree took %d objects, all took %d", one.Objects, all.Objects)
	}
}

// An index that has not the items which the folders have is damage.
func TestAnIndexThatLacksAnItemIsDamage(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	b, err := v.base(t.Context(), "", s.Tree)
	if err != nil {
		t.Fatal(err)
	}
	for name, all := range map[string][]parentChange{
		"lacks one":      {{id: "f2", gone: true}},
		"has a ghost":    {{id: "ghost", parent: "a"}},
		"lacks them all": {{id: "root", gone: true}, {id: "a", gone: true}, {id: "b", gone: true}, {id: "f1", gone: true}, {id: "f2", gone: true}, {id: "f3", gone: true}},
	} {
		u := begin(t, v, s)
		c := &changes{}
		for _, p := range all {
			c.keys = append(c.keys, c.other(p))
		}
		index, err := b.trie.apply(t.Context(), v.updates, c)
		if err != nil {
			t.Fatal(err)
		}
		var meta []record
		if index != nil {
			meta = append(meta, *index)
		}
		tree, _, err := u.writePoint(t.Context(), noon.Add(time.Hour), b.point, meta, b.files)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"index  "}, verified(t, v, tree)); diff != "" {
			t.Errorf("an index that %s: %s", name, diff)
		}
		u.Close()
	}
	if found := verified(t, v, s.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// Each salt reads its share of the contents, another salt another, and together
// they read all. What is damaged is found once its turn has come.
func TestSharesAddUpToAll(t *testing.T) {
	w := newTorn(t)
	bad := paths(t, w.v, w.two.Tree)["docs/file7.txt"].Content
	info := whereIs(t, w.v, bad)
	flipBit(t, w.cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
	read, found := map[int64]int{}, 0
	c := &verification{opt: VerifyOptions{Share: 0.25}}
	unread := map[string]bool{}
	for _, e := range paths(t, w.v, w.two.Tree) {
		if e.Content != "" {
			unread[e.Content] = true
		}
	}
	const salts = 60
	for salt := range salts {
		c.opt.Salt = fmt.Sprint(salt)
		r, err := w.v.Verify(t.Context(), []string{w.two.Tree}, c.opt)
		if err != nil {
			t.Fatal(err)
		}
		read[40-r.Skipped]++
		if (len(r.Damage) == 1) != c.chosen(bad) {
			t.Errorf("salt %d finds %v", salt, r.Damage)
		}
		found += len(r.Damage)
		for content := range unread {
			if c.chosen(content) {
				delete(unread, content)
			}
		}
	}
	if len(unread) > 0 || found == 0 || found == salts || len(read) < 3 || read[0] > 0 || read[40] > 0 {
		t.Errorf("%d contents were never read; damage was found %d times; contents read: %v", len(unread), found, read)
	}
	if r, err := w.v.Verify(t.Context(), []string{w.two.Tree}, VerifyOptions{}); err != nil || r.Skipped != 40 || r.Bytes != 0 || len(r.Damage) > 0 {
		t.Errorf("a share of nothing: %+v, %v", r, err)
	}
}

// An error of the storage ends a verification, and is no damage.
func TestVerifyEndsWhenTheStorageFails(t *testing.T) {
	w := newTorn(t)
	if err := os.Rename(w.cfg.Dir, w.cfg.Dir+".away"); err != nil {
		t.Fatal(err)
	}
	r, err := w.v.Verify(t.Context(), []string{w.two.Tree}, VerifyOptions{Share: 1})
	if err == nil || len(r.Damage) > 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
	if err := os.Rename(w.cfg.Dir+".away", w.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if left := w.v.Damaged(); !slices.Equal(left, []string{}) {
		t.Errorf("noted as damaged: %q", left)
	}
}
