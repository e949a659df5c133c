package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
)

const password Secret = "correct horse"

var (
	key   = DriveKey{"11111111-2222-3333-4444-555555555555", "b!drive"}
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	epoch = time.Date(2020, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
)

// newVault returns an empty vault and where it is.
func newVault(t testing.TB) (*Vault, Config) {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
	return openVault(t, cfg), cfg
}

func openVault(t testing.TB, cfg Config) *Vault {
	t.Helper()
	v, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return v
}

func begin(t testing.TB, v *Vault, s Sealed) *Update {
	t.Helper()
	u, err := v.Begin(t.Context(), key, s.Root, s.Tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

func seal(t testing.TB, u *Update, at time.Time) Sealed {
	t.Helper()
	s, err := u.Seal(t.Context(), at, PointInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func folder(id, parent, name string) Entry {
	return Entry{ID: backup.ItemID(id), Parent: backup.ItemID(parent), Name: name, Kind: backup.Folder, Created: epoch, Modified: epoch.Add(time.Hour)}
}

// file returns the entry of a file whose content it has written.
func file(t testing.TB, u *Update, id, parent, name, content string) Entry {
	t.Helper()
	c, err := u.Write(t.Context(), name, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return Entry{
		ID: backup.ItemID(id), Parent: backup.ItemID(parent), Name: name, Kind: backup.File, Size: c.Size, Content: c.ID,
		Created: epoch, Modified: epoch.Add(time.Minute), CTag: "ctag-" + id, Hash: "hash-" + id,
	}
}

// sample seals a small drive: a root, two folders and three files.
func sample(t testing.TB, v *Vault) Sealed {
	t.Helper()
	u := begin(t, v, Sealed{})
	u.Put(file(t, u, "f1", "a", "one.txt", "one"))
	u.Put(folder("a", "root", "A"))
	u.Put(folder("b", "a", "B & <b>"))
	u.Put(file(t, u, "f2", "b", "zwei ü.txt", strings.Repeat("two", 100_000)))
	u.Put(file(t, u, "f3", "root", "empty", ""))
	u.Put(folder("root", "", "root"))
	s := seal(t, u, noon)
	u.Close()
	return s
}

func paths(t testing.TB, v *Vault, tree string) map[string]Entry {
	t.Helper()
	m := map[string]Entry{}
	for n, err := range v.Walk(t.Context(), tree) {
		if err != nil {
			t.Fatal(err)
		}
		m[n.Path] = n.Entry
	}
	return m
}

func names(t testing.TB, v *Vault, tree string) []string {
	return slices.Sorted(maps.Keys(paths(t, v, tree)))
}

func read(t testing.TB, v *Vault, content string) string {
	t.Helper()
	r, err := v.Open(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSealedTreeReadsBack(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	if !s.Changed || s.Files != 3 || s.Folders != 2 || s.Bytes != 300_003 || len(s.Orphans) != 0 {
		t.Errorf("Seal = %+v", s)
	}
	got := paths(t, v, s.Tree)
	if diff := cmp.Diff([]string{"", "A", "A/B & <b>", "A/B & <b>/zwei ü.txt", "A/one.txt", "empty"}, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
	one := got["A/one.txt"]
	want := Entry{ID: "f1", Parent: "a", Name: "one.txt", Kind: backup.File, Size: 3, Content: one.Content,
		Created: epoch, Modified: epoch.Add(time.Minute), CTag: "ctag-f1", Hash: "hash-f1"}
	if diff := cmp.Diff(want, one); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(folder("a", "root", "A"), got["A"]); diff != "" {
		t.Error(diff)
	}

	// Another process sees the same.
	other := openVault(t, cfg)
	for _, v := range []*Vault{v, other} {
		if got := read(t, v, one.Content); got != "one" {
			t.Errorf("content of one.txt = %q", got)
		}
		if got := read(t, v, got["empty"].Content); got != "" {
			t.Errorf("content of empty = %q", got)
		}
		if e, ok, err := v.Stat(t.Context(), s.Tree, "f1"); !ok || err != nil || e != one {
			t.Errorf("Stat = %v, %v, %v", e, ok, err)
		}
		if _, ok, err := v.Stat(t.Context(), s.Tree, "nobody"); ok || err != nil {
			t.Errorf("Stat of an unknown item = %v, %v", ok, err)
		}
		if p, ok, err := v.Path(t.Context(), s.Tree, "f2"); p != "A/B & <b>/zwei ü.txt" || !ok || err != nil {
			t.Errorf("Path = %q, %v, %v", p, ok, err)
		}
		in, err := inList(v.List(t.Context(), s.Tree, "a"))
		if err != nil || len(in) != 2 || in[0].ID != "b" || in[1] != one {
			t.Errorf("List = %v, %v", in, err)
		}
		if _, err := inList(v.List(t.Context(), s.Tree, "f1")); !errors.Is(err, ErrNotFound) {
			t.Errorf("List of a file: %v, want ErrNotFound", err)
		}
		if err := verify(t, v, s.Tree); err != nil {
			t.Error(err)
		}
	}
	if _, err := v.Open(t.Context(), "0123456789abcdef0123456789abcdef"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Open of an unknown content: %v, want ErrNotFound", err)
	}
	if _, err := v.Begin(t.Context(), key, "", "k0123456789abcdef0123456789abcdef"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Begin on an unknown tree: %v, want ErrNotFound", err)
	}
	if _, err := v.Begin(t.Context(), key, "k0123456789abcdef0123456789abcdef", s.Tree); !errors.Is(err, ErrNotFound) {
		t.Errorf("Begin on an unknown root: %v, want ErrNotFound", err)
	}
}

func TestAnotherProcessSeesWhatWasJustSealed(t *testing.T) {
	v, cfg := newVault(t)
	other := openVault(t, cfg)
	s := sample(t, v)
	if got := names(t, other, s.Tree); len(got) != 6 {
		t.Errorf("the other process sees %q", got)
	}
	if err := verify(t, other, s.Tree); err != nil {
		t.Error(err)
	}
}

func TestNothingDiffersWritesNothing(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	u := begin(t, v, s)
	for _, e := range paths(t, v, s.Tree) {
		u.Put(e)
	}
	u.Delete("nobody")
	before := v.Counters()
	again := seal(t, u, noon.Add(time.Hour))
	want := s
	want.Changed, want.Named = false, false
	if diff := cmp.Diff(want, again); diff != "" {
		t.Error(diff)
	}
	if after := v.Counters(); after.ObjectsWritten != before.ObjectsWritten || after.BlobsWritten != before.BlobsWritten {
		t.Errorf("wrote %+v, before %+v", after, before)
	}
	// The mark of a checkpoint is a difference.
	if again, err := u.Seal(t.Context(), noon.Add(time.Hour), PointInfo{Incomplete: true}); err != nil || !again.Changed {
		t.Errorf("Seal of a checkpoint = %+v, %v", again, err)
	}
	if again := seal(t, u, noon.Add(2*time.Hour)); !again.Changed {
		t.Errorf("Seal after a checkpoint = %+v", again)
	}
}

func TestMovesComeBeforeDeletes(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	u := begin(t, v, s)
	b, ok, err := u.Get(t.Context(), "b")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	u.Delete("a") // takes f1, but not what is moved out of it
	b.Parent, b.Name = "new", "b"
	u.Put(b)
	u.Put(folder("new", "root", "new"))
	if _, ok, _ := u.Get(t.Context(), "a"); ok {
		t.Error("Get finds a deleted folder")
	}
	if e, ok, _ := u.Get(t.Context(), "b"); !ok || e != b {
		t.Errorf("Get of a moved folder = %v, %v", e, ok)
	}
	if e, ok, err := u.Get(t.Context(), "f2"); !ok || e.Parent != "b" || err != nil {
		t.Errorf("Get below a moved folder = %v, %v, %v", e, ok, err)
	}
	s2 := seal(t, u, noon.Add(time.Hour))
	if diff := cmp.Diff([]string{"", "empty", "new", "new/b", "new/b/zwei ü.txt"}, names(t, v, s2.Tree)); diff != "" {
		t.Error(diff)
	}
	if err := verify(t, v, s2.Tree); err != nil {
		t.Error(err)
	}

	var got []string
	for c, err := range v.Diff(t.Context(), s.Tree, s2.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.From == nil:
			got = append(got, "+"+c.To.Path)
		case c.To == nil:
			got = append(got, "-"+c.From.Path)
		default:
			got = append(got, c.From.Path+" > "+c.To.Path)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"+new", "-A", "-A/one.txt", "A/B & <b> > new/b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOrphansAreLeftOutAndNamed(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	u := begin(t, v, s)
	u.Put(folder("lost", "nowhere", "lost"))
	u.Put(file(t, u, "in lost", "lost", "x", "x"))
	u.Put(folder("a", "b", "A")) // below itself, with f1 and f2
	u.Put(file(t, u, "in file", "f3", "y", "y"))
	s2 := seal(t, u, noon)
	if diff := cmp.Diff([]backup.ItemID{"a", "in file", "in lost", "lost"}, s2.Orphans); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"", "empty"}, names(t, v, s2.Tree)); diff != "" {
		t.Error(diff)
	}
	if err := verify(t, v, s2.Tree); err != nil {
		t.Error(err)
	}
}

func TestSiblingsOfOneNameAreAllKept(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	u.Put(file(t, u, "id-000001", "root", "Report.docx", "first"))
	u.Put(file(t, u, "id-000002", "root", "report.docx", "second"))
	u.Put(file(t, u, "id-000003", "root", "Report.docx", "third"))
	u.Put(file(t, u, "id-000004", "root", "a/b", "slash"))
	u.Put(folder("id-000005", "root", ".."))
	u.Put(file(t, u, "id-000006", "id-000005", "bad\xffname", "bytes"))
	s := seal(t, u, noon)

	stored := func(tree string) (names []string) {
		b, err := v.base(t.Context(), "", tree)
		if err != nil {
			t.Fatal(err)
		}
		records, err := v.records(t.Context(), b.files.Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			names = append(names, r.Name)
		}
		return names
	}
	if diff := cmp.Diff([]string{"_..", "Report (000001).docx", "Report.docx", "a_b", "report (000002).docx"}, stored(s.Tree)); diff != "" {
		t.Error(diff)
	}
	for id, want := range map[backup.ItemID]string{"id-000001": "Report.docx", "id-000002": "report.docx", "id-000003": "Report.docx",
		"id-000004": "a/b", "id-000005": "..", "id-000006": "bad\xffname"} {
		if e, ok, err := v.Stat(t.Context(), s.Tree, id); e.Name != want || !ok || err != nil {
			t.Errorf("Stat(%s) = %q, %v, %v", id, e.Name, ok, err)
		}
	}

	// The name falls to the next when its holder goes, and is kept when an
	// equal is staged again.
	u.Delete("id-000003")
	s = seal(t, u, noon)
	if diff := cmp.Diff([]string{"_..", "Report.docx", "a_b", "report (000002).docx"}, stored(s.Tree)); diff != "" {
		t.Error(diff)
	}
	e, _, _ := u.Get(t.Context(), "id-000002")
	u.Put(e)
	if s := seal(t, u, noon); s.Changed {
		t.Error("staging what is there already is a change")
	}
	if err := verify(t, v, s.Tree); err != nil {
		t.Error(err)
	}
}

func TestPointsOfOneMillisecond(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	trees := map[string]bool{}
	var s Sealed
	for i := range 3 {
		u.Put(folder("f", "root", fmt.Sprint(i)))
		s = seal(t, u, noon)
		trees[s.Tree] = true
	}
	days, err := v.records(t.Context(), s.Root)
	if err != nil || len(days) != 1 || days[0].Name != "2026-11-21" {
		t.Fatal(days, err)
	}
	points, err := v.records(t.Context(), days[0].Object)
	if err != nil || len(points) != 3 || len(trees) != 3 {
		t.Fatal(points, trees, err)
	}
	for i, want := range []string{"12-00-00.000Z", "12-00-00.000Z-2", "12-00-00.000Z-3"} {
		if points[i].Name != want || !trees[points[i].Object] {
			t.Errorf("point %d is %s", i, points[i].Name)
		}
	}
}

func TestTimesAtTheEdges(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	times := map[string]time.Time{
		"none": {}, "unix": time.Unix(0, 0), "zero": time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), "one": time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		"julian": time.Date(1600, 2, 29, 23, 59, 59, 999_999_999, time.UTC), "star": time.Date(2300, 1, 1, 12, 0, 0, 123_456_789, time.FixedZone("", 3600)),
		"before kopia": kopiaFirst.Add(-1), "kopia's first": kopiaFirst, "kopia's last": kopiaLast, "after kopia": kopiaLast.Add(1), "old": time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC), "far": time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	for name, at := range times {
		e := file(t, u, name, "root", name, name)
		e.Created, e.Modified = at, at
		u.Put(e)
	}
	s := seal(t, u, noon)
	for name, at := range times {
		e, _, err := v.Stat(t.Context(), s.Tree, backup.ItemID(name))
		if err != nil || !e.Modified.Equal(at) || !e.Created.Equal(at) {
			t.Errorf("%s = %v, %v, %v, want %v", name, e.Created, e.Modified, err, at)
		}
	}
}

func TestContentThatIsNotThereIsRefused(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	elsewhere, _ := newVault(t)
	other := begin(t, elsewhere, Sealed{})
	e := file(t, other, "f9", "root", "nine", "written to another vault")
	other.Close()
	other.Close()

	u := begin(t, v, s)
	u.Put(e)
	if _, err := u.Seal(t.Context(), noon, PointInfo{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Seal = %v, want ErrNotFound", err)
	}
	e.Content = ""
	u.Put(e)
	if _, err := u.Seal(t.Context(), noon, PointInfo{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Seal = %v, want ErrNotFound", err)
	}
}

// Updates of many drives that are sealed at once share flushes, and each is in
// the vault when its Seal returns.
func TestSealsShareFlushes(t *testing.T) {
	v, cfg := newVault(t)
	const drives = 24
	before := v.Counters().BlobsWritten
	var wg sync.WaitGroup
	sealed := make([]Sealed, drives)
	for i := range drives {
		wg.Go(func() {
			key := DriveKey{Tenant: key.Tenant, Drive: backup.DriveID(fmt.Sprint("drive", i))}
			u, err := v.Begin(t.Context(), key, "", "")
			if err != nil {
				t.Error(err)
				return
			}
			defer u.Close()
			u.Put(folder("root", "", "root"))
			content, err := u.Write(t.Context(), "f", strings.NewReader(fmt.Sprint("content of ", i)))
			if err != nil {
				t.Error(err)
				return
			}
			u.Put(Entry{ID: "f", Parent: "root", Name: "f", Kind: backup.File, Size: content.Size, Content: content.ID})
			if sealed[i], err = u.Seal(t.Context(), noon, PointInfo{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	// Alone, each would write a pack of contents, one of directories, and an
	// index.
	if n := v.Counters().BlobsWritten - before; n >= 3*drives {
		t.Errorf("%d seals at once wrote %d blobs, no fewer than one after the other", drives, n)
	}
	again := openVault(t, cfg) // what another process sees
	for i, s := range sealed {
		if err := verify(t, again, s.Tree); err != nil {
			t.Errorf("drive %d: %v", i, err)
		}
	}
}

func TestReader(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	data := make([]byte, 20<<20) // several blocks, not compressible
	for i, x := 0, uint64(1); i < len(data); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		data[i] = byte(x >> 56)
	}
	c, err := u.Write(t.Context(), "big", bytes.NewReader(data))
	if err != nil || c.Size != int64(len(data)) {
		t.Fatal(c, err)
	}
	u.Put(folder("root", "", "root"))
	u.Put(Entry{ID: "big", Parent: "root", Name: "big", Kind: backup.File, Size: c.Size, Content: c.ID})
	s := seal(t, u, noon)
	if err := verify(t, v, s.Tree); err != nil {
		t.Error(err)
	}
	r, err := v.Open(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 6<<20)
	if n, err := r.ReadAt(buf, 9<<20); n != len(buf) || err != nil || !bytes.Equal(buf, data[9<<20:15<<20]) {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if n, err := r.ReadAt(buf, 18<<20); n != 2<<20 || err != io.EOF || !bytes.Equal(buf[:n], data[18<<20:]) {
		t.Errorf("ReadAt at the end = %d, %v", n, err)
	}
	if n, err := r.ReadAt(buf, 20<<20); n != 0 || err != io.EOF {
		t.Errorf("ReadAt past the end = %d, %v", n, err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadAll = %d bytes, %v", len(got), err)
	}
	if _, err := r.Seek(-5, io.SeekEnd); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[len(data)-5:]) {
		t.Errorf("after Seek = %d bytes, %v", len(got), err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestPlayErrorsSayWhoseTheyAre(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	broken := errors.New("connection reset")
	for _, r := range []io.Reader{failing{broken}, io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), failing{broken})} {
		if _, err := u.Write(t.Context(), "x", r); !errors.Is(err, broken) || errors.Is(err, ErrStorage) {
			t.Errorf("Write from a broken reader: %v", err)
		}
	}

	wrong := cfg
	wrong.Password, wrong.State = "battery staple", t.TempDir()
	_, err := Open(t.Context(), wrong)
	if !errors.Is(err, ErrPassword) || strings.Contains(fmt.Sprintf("%v %+v %#v", err, wrong, wrong), "battery") {
		t.Errorf("Open with a wrong password: %v", err)
	}

	// A storage that cannot be written: its folders are gone, and a file is
	// in their place.
	u.Put(folder("root", "", "root"))
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Seal(t.Context(), noon, PointInfo{}); !errors.Is(err, ErrStorage) {
		t.Errorf("Seal on a broken storage: %v, want ErrStorage", err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	v, cfg := newVault(t)
	sample(t, v)
	if files := tree(t, home); files != "" {
		t.Errorf("kopia keeps files in the user's home:\n%s", files)
	}
	err := filepath.Walk(cfg.State, func(path string, info os.FileInfo, err error) error {
		if err == nil && path != cfg.State && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(cfg.State); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
}

// A vault that is opened to be read only stays as it is, byte for byte, and gives what it
// holds.
func TestReadOnlyWritesNothing(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	if err := os.Remove(filepath.Join(cfg.Dir, copyBlob+".f")); err != nil { // which opening a vault makes again
		t.Fatal(err)
	}
	held := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		err := filepath.WalkDir(cfg.Dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				all[path] = ""
				return err
			}
			b, err := os.ReadFile(path)
			all[path] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := held()
	cfg.Create, cfg.ReadOnly, cfg.State, cfg.ID = false, true, t.TempDir(), v.ID()
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := paths(t, r, s.Tree); len(got) != 6 {
		t.Errorf("it holds %v", got)
	}
	u, err := r.Begin(t.Context(), key, s.Root, s.Tree)
	if err == nil {
		_, err = u.Write(t.Context(), "new.txt", strings.NewReader("new"))
		u.Close()
	}
	if err == nil {
		t.Error("something was written into a vault that is to be read only")
	}
	r.Close(t.Context()) // it may say that something could not be written
	if diff := cmp.Diff(before, held()); diff != "" {
		t.Errorf("what is in the vault's place has changed: %.400s", diff)
	}
	cfg.ID = "0123"
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrOther) {
		t.Errorf("another vault: %v", err)
	}
	cfg.ID, cfg.Create, cfg.Dir = "", true, filepath.Join(t.TempDir(), "none")
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("a vault was made to be read only")
	}
}

// inList returns a list with all that is in it.
func inList(list iter.Seq2[Entry, error]) (all []Entry, err error) {
	for e, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}
