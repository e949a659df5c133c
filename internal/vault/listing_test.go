package vault

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
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
		claims := make([]claim, 1+r.IntN(12))
		for i := range claims {
			c := &claims[i]
			c.own, c.id = own[r.IntN(len(own))], backup.ItemID(fmt.Sprint(r.IntN(2), i))
			if c.stored = c.own + " (another)"; r.IntN(2) == 0 {
				c.stored = safeName(c.own)
			}
			if r.IntN(2) == 0 {
				c.staged = int64(1 + i)
			}
		}
		before := slices.Clone(claims)
		nameAll(claims)
		stored := map[string]bool{}
		for i, c := range claims {
			if name := fold(c.stored); stored[name] {
				t.Fatalf("two are stored as %q: %+v", c.stored, claims)
			} else {
				stored[name] = true
			}
			best := true
			for j, other := range claims {
				best = best && (i == j || fold(safeName(other.own)) != fold(safeName(c.own)) || cmp.Or(
					cmp.Compare(c.staged, other.staged),
					cmp.Compare(fmt.Sprint(before[i].stored == c.own), fmt.Sprint(before[j].stored == other.own)),
					cmp.Compare(other.id, c.id)) > 0)
			}
			if best != (c.stored == safeName(c.own)) {
				t.Fatalf("%+v is stored under its name: %v, of %+v", c, !best, before)
			}
		}
	}
}
