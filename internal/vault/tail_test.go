package vault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

// A large folder is looked into piece by piece, and what is seen is what is there: from any
// name on to the first, by number, and each item by its id, whatever items are called.
func TestTail(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	content, err := u.Write(t.Context(), "x", strings.NewReader("text"))
	if err != nil {
		t.Fatal(err)
	}
	for id, parent := range map[string]string{"root": "", "large": "root", "below": "large", "small": "root", "none": "root"} {
		u.Put(folder(id, parent, id))
	}
	odd := []string{`{"name":"a"}`, `quote".fts`, `back\`, `back\".fts`, "<&>\u2028.fts", "ümläut.fts", "nul\x01.fts", "Zz.eml", ".fts"}
	file := func(parent, id backup.ItemID, name string) {
		u.Put(Entry{ID: id, Parent: parent, Name: name, Kind: backup.File, Size: content.Size, Content: content.ID})
	}
	for i, name := range odd {
		file("small", backup.ItemID(fmt.Sprintf(`odd "%d" {"name":"`, i)), name)
	}
	long := strings.Repeat("x", 700)
	const many = 20_000
	for i := range many {
		name := fmt.Sprintf("%05d%s", i, []string{".fts", ".eml"}[i%2])
		if i%2000 == 7 {
			name = fmt.Sprintf("%05d%s", i, odd[i/2000%len(odd)])
		}
		file("large", backup.ItemID(fmt.Sprint(long, i)), name)
	}
	s := seal(t, u, noon)
	at := func(id backup.ItemID) Listed {
		t.Helper()
		l, ok, err := v.Find(t.Context(), s.Tree, backup.RefOf(id))
		if err != nil || !ok || l.ID != id {
			t.Fatalf("%q is %+v, %t, %v", id, l, ok, err)
		}
		return l
	}
	large := at("large")
	if f, err := v.openDir(t.Context(), large.Object); err != nil || f == nil || len(f.pieces) < 3 {
		t.Fatalf("it does not lie in several pieces: %+v, %v", f, err)
	}
	for _, id := range []backup.ItemID{"large", "small", "none"} {
		folder := at(id)
		all, err := inList(v.List(t.Context(), s.Tree, id))
		if err != nil {
			t.Fatal(err)
		}
		below, err := v.Below(t.Context(), folder)
		if err != nil || len(below) != len(all) {
			t.Errorf("below %s are %d, %v, want %d", id, len(below), err, len(all))
		}
		shown, err := browse(v, s.Tree, id, 0)
		if err != nil || !slices.EqualFunc(shown, all, func(l Listed, e Entry) bool { return l.Entry == e }) {
			t.Errorf("browsing %s shows %d, %v, want %d", id, len(shown), err, len(all))
		}
		for i := 0; i < len(shown); i += 1 + len(shown)/20 {
			if rest, err := browse(v, s.Tree, id, shown[i].At); err != nil || !slices.Equal(rest, shown[i:]) {
				t.Errorf("browsing %s from %d on shows %d, %v, want %d", id, i, len(rest), err, len(shown)-i)
			}
			if _, err := browse(v, s.Tree, id, shown[i].At+1); !errors.Is(err, ErrNotFound) {
				t.Errorf("browsing %s from where no item is: %v", id, err)
			}
		}
		files := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return e.Kind == backup.Folder })
		slices.Reverse(files)
		var ending int64
		for _, e := range files {
			if strings.HasSuffix(e.Name, ".fts") {
				ending++
			}
		}
		if n, err := v.CountNamed(t.Context(), folder, ".fts"); err != nil || n != ending {
			t.Errorf("%s holds %d files of that ending, %v, want %d", id, n, err, ending)
		}
		names := []string{"", "!", "zzzz", `{"name":"b"}`}
		for i := 0; i < len(files); i += 1 + len(files)/40 {
			names = append(names, files[i].Name, files[i].Name+"!")
		}
		for _, name := range names {
			want := slices.DeleteFunc(slices.Clone(files), func(e Entry) bool { return name != "" && e.Name >= name })
			if len(want) > 500 && name != "" {
				want = want[:500]
			}
			var got []Entry
			for e, err := range v.Before(t.Context(), folder, name) {
				if err != nil {
					t.Fatal(err)
				}
				if len(got) == len(want) && name != "" && len(want) == 500 {
					break
				}
				got = append(got, e)
			}
			if !slices.Equal(got, want) {
				t.Errorf("before %q in %s are %d, want %d", name, id, len(got), len(want))
			}
		}
		for i := 0; i < len(files); i += 1 + len(files)/20 {
			if e, ok, err := v.Stat(t.Context(), s.Tree, files[i].ID); err != nil || !ok || e != files[i] {
				t.Errorf("by its id %.20q is %+v, %t, %v", files[i].ID, e, ok, err)
			}
		}
	}
	if _, ok, err := v.Stat(t.Context(), s.Tree, "no such"); ok || err != nil {
		t.Errorf("what is not there: %t, %v", ok, err)
	}
	// What is damaged is told, and nothing of it is taken for the end.
	f, err := v.openDir(t.Context(), large.Object)
	if err != nil {
		t.Fatal(err)
	}
	bad := whereIs(t, v, f.pieces[1].Object.String())
	if err := v.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	flipBit(t, cfg, bad.PackBlobID, int(bad.PackOffset)+int(bad.PackedLength)/2)
	cfg.Create, cfg.State = false, t.TempDir() // which remembers nothing
	v = openVault(t, cfg)
	n, failed := 0, error(nil)
	for _, err := range v.Before(t.Context(), large, "") {
		if n++; err != nil {
			failed = err
		}
	}
	if !errors.Is(failed, ErrDamaged) || n < 100 || n > many {
		t.Errorf("of a damaged folder %d files are seen, then %v", n, failed)
	}
	if n, err := v.CountNamed(t.Context(), large, ".fts"); !errors.Is(err, ErrDamaged) {
		t.Errorf("it is said to hold %d, %v", n, err)
	}
}
