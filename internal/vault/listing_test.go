package vault

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
)

// A folder that is too long to be in memory is what it would be if it were not: to the byte, and
// with all that came, went, was moved and took another's name.
func TestALongFolder(t *testing.T) {
	const files, folders = 10_000, 40
	v, cfg := newVault(t)
	r := rand.New(rand.NewPCG(1, 2))
	all := map[backup.ItemID]Entry{}
	put := func(u *Update, e Entry) {
		u.Put(e)
		all[e.ID] = e
	}
	u := begin(t, v, Sealed{})
	first := file(t, u, "x", "x", "x", "one")
	second := file(t, u, "x", "x", "x", "another")
	named := func(n int) string { return fmt.Sprintf("File %05d %s.txt", n, strings.Repeat("long ", 110)) }
	for _, e := range []Entry{folder("root", "", "root"), folder("long", "root", "long"), folder("short", "root", "short")} {
		put(u, e)
	}
	for n := range files + folders {
		e := first
		if e.ID, e.Parent, e.Name = backup.ItemID(fmt.Sprintf("f%05d", n*7919%files)), "long", named(n); n >= files {
			e = folder(fmt.Sprint("d", n-files), "long", strings.ToUpper(named(n-files))) // a file's name, but for its case
		}
		put(u, e)
		if n < files && n%2 == 0 { // which comes before the file, and after it once that is stored with its id
			e.ID, e.Name = "copy"+e.ID, strings.TrimSuffix(e.Name, ".txt")+" - copy.txt"
			put(u, e)
		}
	}
	s := Sealed{}
	before := map[backup.ItemID]Entry{}
	for round := range 6 {
		ids := slices.Sorted(maps.Keys(all))
		for range 200 * min(round, 1) {
			e := all[ids[r.IntN(len(ids))]]
			if e.Kind != backup.File || e.ID == "" {
				continue
			}
			switch r.IntN(6) {
			case 0:
				u.Delete(e.ID)
				delete(all, e.ID)
			case 1:
				e.Content, e.Size, e.Modified = second.Content, second.Size, e.Modified.Add(time.Second)
				put(u, e)
			case 2:
				e.Name = strings.ToLower(named(r.IntN(files)))
				put(u, e)
			case 3:
				e.Parent = backup.ItemID(fmt.Sprint("d", folders/2*(round/5)+r.IntN(folders/2))) // which is there
				put(u, e)
			case 4:
				e.Parent = []backup.ItemID{"short", "long"}[r.IntN(2)]
				put(u, e)
			default:
				e.ID = backup.ItemID(fmt.Sprint("new", round, r.Uint32()))
				e.Parent = "long"
				put(u, e)
			}
		}
		if round == 4 { // some folders go, with what is in them
			for n := range folders / 2 {
				id := backup.ItemID(fmt.Sprint("d", n))
				u.Delete(id)
				maps.DeleteFunc(all, func(_ backup.ItemID, e Entry) bool { return e.ID == id || e.Parent == id })
			}
		}
		if round == 5 { // each file has another's place, and few are left in memory to be met
			for n, id := range ids {
				if e := all[id]; e.Parent == "long" && e.Kind == backup.File {
					e.Name = fmt.Sprintf("%05d %s", n*7919%len(ids), e.Name)
					put(u, e)
				}
			}
		}
		last := s.Tree
		s = seal(t, u, noon.Add(time.Duration(round)*time.Hour))
		u.Close()

		if l, err := v.list(t.Context(), longFolder(t, v, s.Tree).Object); err != nil || l.pieces == nil {
			t.Fatalf("the folder is not long: %v", err)
		}
		got := map[backup.ItemID]Entry{}
		for n, err := range v.Walk(t.Context(), s.Tree) {
			if err != nil {
				t.Fatal(err)
			}
			got[n.ID] = n.Entry
		}
		if diff := gocmp.Diff(all, got); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
		want := map[backup.ItemID]bool{}
		for id := range maps.Keys(all) {
			if b, ok := before[id]; !ok || b != all[id] {
				want[id] = true
			}
		}
		for id := range before {
			if _, ok := all[id]; !ok {
				want[id] = true
			}
		}
		changed := map[backup.ItemID]bool{}
		for c, err := range v.Diff(t.Context(), last, s.Tree) {
			if err != nil {
				t.Fatal(err)
			}
			changed[cmp.Or(c.To, c.From).ID] = true
		}
		if diff := gocmp.Diff(want, changed); diff != "" {
			t.Errorf("what differs in round %d (-want +got):\n%s", round, diff)
		}
		if found := verified(t, v, s.Tree); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}

		// It is what is written of all at once.
		at := longFolder(t, v, s.Tree)
		d, err := v.readDir(t.Context(), at.Object)
		if err != nil {
			t.Fatal(err)
		}
		folded := map[string]bool{}
		for _, r := range d.records {
			if name := fold(r.Name); folded[name] {
				t.Errorf("two are stored as %q", r.Name)
			} else {
				folded[name] = true
			}
		}
		r.Shuffle(len(d.records), func(i, k int) { d.records[i], d.records[k] = d.records[k], d.records[i] })
		whole, err := v.writeDir(t.Context(), v.updates, "long", at.Modified, d.records)
		if err != nil || whole.Object != at.Object {
			t.Errorf("it is %s, and as a whole %s, %v", at.Object, whole.Object, err)
		}
		if diff := gocmp.Diff(whole.Summary, at.Summary); diff != "" {
			t.Errorf("its summary (-want +got):\n%s", diff)
		}

		before = maps.Clone(all)
		if round == 2 {
			cfg.State = t.TempDir()
			v = openVault(t, cfg)
		}
		u = begin(t, v, s)
		held := 0
		for e, err := range u.Entries(t.Context()) {
			if err != nil || all[e.ID] != e {
				t.Fatalf("%+v, %v, want %+v", e, err, all[e.ID])
			}
			held++
		}
		if held != len(all) {
			t.Errorf("there are %d items, want %d", held, len(all))
		}
		for range 50 { // in whatever order, each is found
			id := ids[r.IntN(len(ids))]
			if e, ok, err := u.GetIn(t.Context(), id, before[id].Parent); err != nil || ok != (before[id].ID != "") || e != before[id] {
				t.Fatalf("%s is %+v, %v, %v, want %+v", id, e, ok, err, before[id])
			}
		}
	}
}

// longFolder returns the record of the folder that is long.
func longFolder(t *testing.T, v *Vault, tree string) record {
	t.Helper()
	b, err := v.base(t.Context(), "", tree)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	r, _, err := b.record(t.Context(), "long")
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	return *r
}

// Each name is held by the claimant that was staged last, or else had it, and by no other; and no
// two are stored under one.
func TestClaimsToNames(t *testing.T) {
	own := []string{"a", "A", "a.txt", "A.TXT", "a (1).txt", "a (11).txt", "na\u00efve", "nai\u0308ve", "NA\u00cfVE", "..", "_..", "a/b", "a_b"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		staged := map[int32]int64{}
		n := naming{}
		var before []record
		for i := range 1 + r.IntN(12) {
			is := record{ID: backup.ItemID(fmt.Sprint(r.IntN(2), i)), Type: fileType}
			name := own[r.IntN(len(own))]
			if is.setName(name, name+" (another)"); r.IntN(2) == 0 {
				is.setName(name, safeName(name))
			}
			isStaged := r.IntN(2) == 0
			if isStaged {
				staged[int32(i)] = int64(1 + i)
			}
			if n.texts = nil; r.IntN(2) == 0 { // it is not in memory
				n.texts = &texts{}
			}
			n.add(&is, int32(i), isStaged)
			before = append(before, is)
		}
		n.staged = func(number int32) (backup.ItemID, int64) { return before[number].ID, staged[number] - 1 }
		n.was = func(numbers []int32) (map[int32]backup.ItemID, error) {
			return listing{dir: &dir{records: before}}.ids(numbers)
		}
		if err := n.decide(); err != nil {
			t.Fatal(err)
		}
		stored := map[string]bool{}
		for i := range n.claims {
			c, is := &n.claims[i], before[i]
			if name := fold(n.stored(c)); stored[name] {
				t.Fatalf("two are stored as %q: %+v", name, n)
			} else {
				stored[name] = true
			}
			best := true
			for j, other := range before {
				best = best && (i == j || fold(safeName(other.trueName())) != fold(safeName(is.trueName())) || cmp.Or(
					cmp.Compare(staged[int32(i)], staged[int32(j)]),
					cmp.Compare(fmt.Sprint(is.TrueName == nil), fmt.Sprint(other.TrueName == nil)),
					cmp.Compare(other.ID, is.ID)) > 0)
			}
			if best != (n.stored(c) == safeName(c.own)) {
				t.Fatalf("%+v is stored under its name: %v, of %+v", c, !best, before)
			}
		}
	}
}

// Folders that hold very much are merged one after another, unless one takes for ever.
func TestLargeMergesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func(was chan struct{}) { largeMerge = was }(largeMerge)
		largeMerge = make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var merges [4]merge
		for i := range merges {
			merges[i] = merge{ctx: ctx, based: spill.New("")}
		}
		begun := time.Now()
		for range 2 { // also for a folder that is in the other
			if err := merges[0].alone(); err != nil || !merges[0].isAlone {
				t.Fatal(err)
			}
		}
		go func() {
			time.Sleep(time.Minute)
			merges[0].close()
		}()
		if err := merges[1].alone(); err != nil || !merges[1].isAlone || time.Since(begun) != time.Minute {
			t.Errorf("the second waited %v: %v", time.Since(begun), err)
		}
		if err := merges[2].alone(); err != nil || merges[2].isAlone || time.Since(begun) != time.Minute+itsTurn {
			t.Errorf("the third waited %v: %v", time.Since(begun), err)
		}
		cancel()
		if err := merges[3].alone(); err == nil || merges[3].isAlone {
			t.Error("the fourth did not end")
		}
		for i := range merges {
			merges[i].close()
		}
		if len(largeMerge) != 0 {
			t.Error("it is held")
		}
	})
}
