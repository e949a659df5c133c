package export

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

var modified = time.Date(2026, 3, 1, 12, 30, 10, 0, time.UTC)

// A world is a vault with points of one drive.
type world struct {
	*testing.T
	dir, state string
	v          *vault.Vault
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), state: t.TempDir()}
	w.open()
	t.Cleanup(func() { w.must(w.v.Close(context.Background())) })
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	w.v, err = vault.Open(w.Context(), vault.Config{Dir: w.dir, Create: true, Password: "sesame", State: w.state})
	w.must(err)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

var drive = vault.DriveKey{Tenant: "t", Drive: "d"}

// put stages files, and the folders they are in, in an update.
func (w *world) put(u *vault.Update, files map[string]string) {
	w.Helper()
	u.Put(vault.Entry{ID: "root", Kind: backup.Folder, Name: "root", Modified: modified})
	id := func(p string) backup.ItemID {
		if p == "." {
			return "root"
		}
		return backup.ItemID("id of " + p)
	}
	for p, content := range files {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			u.Put(vault.Entry{ID: id(dir), Parent: id(path.Dir(dir)), Name: path.Base(dir), Kind: backup.Folder, Modified: modified})
		}
		if strings.HasSuffix(p, "/") {
			continue
		}
		e := vault.Entry{ID: id(p), Parent: id(path.Dir(p)), Name: path.Base(p), Kind: backup.File, Size: int64(len(content)), Modified: modified}
		c, err := u.Write(w.Context(), p, strings.NewReader(content))
		w.must(err)
		e.Content = c.ID
		u.Put(e)
	}
}

// point makes a point of files.
func (w *world) point(files map[string]string, info vault.PointInfo) string {
	w.Helper()
	u, err := w.v.Begin(w.Context(), drive, "", "")
	w.must(err)
	defer u.Close()
	w.put(u, files)
	s, err := u.Seal(w.Context(), modified, info)
	w.must(err)
	return s.Tree
}

func (w *world) export(tree, at, into string) Report {
	w.Helper()
	to, err := OpenFolder(into)
	w.must(err)
	defer to.Close()
	r, err := Point(w.Context(), w.v, tree, at, to, nil)
	w.must(err)
	return r
}

// in returns the files and folders in a folder, the latter with a slash.
func (w *world) in(dir string) map[string]string {
	w.Helper()
	got := map[string]string{}
	w.must(fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		info, err := d.Info()
		w.must(err)
		if !info.ModTime().Equal(modified) {
			w.Errorf("%s has the time %v", p, info.ModTime())
		}
		if d.IsDir() {
			got[p+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(filepath.Join(dir, p))
		got[p] = string(b)
		return err
	}))
	return got
}

func (w *world) same(want, got map[string]string) {
	w.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAPointIsExportedAsItIs(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("large ", 1<<20)
	tree := w.point(map[string]string{
		"a.txt": "a", "empty.bin": "", "docs/.hidden/b.txt": "b", "docs/ünï e\u0301.txt": "c", "docs/large.bin": large, "none/": "",
	}, vault.PointInfo{})
	for _, test := range []struct {
		at   string
		want map[string]string
	}{
		{"", map[string]string{"a.txt": "a", "empty.bin": "", "docs/": "", "docs/.hidden/": "", "docs/.hidden/b.txt": "b", "docs/ünï e\u0301.txt": "c", "docs/large.bin": large, "none/": ""}},
		{"docs/.hidden", map[string]string{".hidden/": "", ".hidden/b.txt": "b"}},
		{"/docs/.hidden/b.txt", map[string]string{"b.txt": "b"}},
		{"a.txt", map[string]string{"a.txt": "a"}},
	} {
		into := filepath.Join(t.TempDir(), "new/folder")
		r := w.export(tree, test.at, into)
		w.same(test.want, w.in(into))
		if r.Files+r.Folders != len(test.want) || r.Failed+len(r.Remarks)+r.There != 0 {
			t.Errorf("of %q it says %+v", test.at, r)
		}
		if n, err := Files(t.Context(), w.v, tree, test.at); err != nil || n != int64(r.Files) {
			t.Errorf("of %q are %d files, %v, and %d were exported", test.at, n, err, r.Files)
		}
		// Once more changes nothing.
		if again := w.export(tree, test.at, into); again.There != r.Files || again.Failed+len(again.Remarks) > 0 {
			t.Errorf("of %q it says, the second time, %+v", test.at, again)
		}
		w.same(test.want, w.in(into))
	}
	to, err := OpenFolder(t.TempDir())
	w.must(err)
	defer to.Close()
	for _, at := range []string{"nothing", "a.txt/x", "docs/b.txt", "../docs"} {
		if _, err := Point(t.Context(), w.v, tree, at, to, nil); at != "../docs" && !errors.Is(err, ErrNoPath) {
			t.Errorf("%q: %v", at, err)
		}
		if _, err := Files(t.Context(), w.v, tree, at); at != "../docs" && !errors.Is(err, ErrNoPath) {
			t.Errorf("the files of %q: %v", at, err)
		}
	}
}

// What is there is never written over, whoever's it is; what is exported takes another
// name, and takes it again the next time.
func TestNothingIsWrittenOver(t *testing.T) {
	w := newWorld(t)
	tree := w.point(map[string]string{"a.txt": "a", "docs/b.txt": "b"}, vault.PointInfo{})
	into := t.TempDir()
	w.must(os.WriteFile(filepath.Join(into, "a.txt"), []byte("mine"), 0o600))
	w.must(os.WriteFile(filepath.Join(into, "docs"), []byte("a file"), 0o600))
	for range 2 {
		r := w.export(tree, "", into)
		for _, mine := range []string{"a.txt", "docs"} {
			w.must(os.Chtimes(filepath.Join(into, mine), modified, modified))
		}
		w.same(map[string]string{"a.txt": "mine", "a (2).txt": "a", "docs": "a file", "docs (2)/": "", "docs (2)/b.txt": "b"}, w.in(into))
		slices.SortFunc(r.Remarks, func(a, b Remark) int { return strings.Compare(a.Path, b.Path) })
		if want := []Remark{{Path: "a.txt", As: "a (2).txt"}, {Path: "docs", As: "docs (2)"}}; !cmp.Equal(want, r.Remarks) || r.Failed > 0 {
			t.Errorf("it says %+v", r)
		}
	}
}

// A name that no file may have does not lead out of the folder, and is told.
func TestNamesThatNoFileMayHave(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("ü", 200) + ".txt"
	u, err := w.v.Begin(t.Context(), drive, "", "")
	w.must(err)
	defer u.Close()
	w.put(u, map[string]string{long: "long", "ok.txt": "ok"})
	s, err := u.Seal(t.Context(), modified, vault.PointInfo{})
	w.must(err)
	into := t.TempDir()
	r := w.export(s.Tree, "", into)
	got := w.in(into)
	if len(got) != 2 || len(r.Remarks) != 1 || got[r.Remarks[0].As] != "long" || r.Failed > 0 {
		t.Errorf("there is %v, and it says %+v", got, r)
	}
	for name, want := range map[string]string{"..": "__", "a/..": "a/__", "a\x00b": "a_b", "x.txt": "x.txt"} {
		if got := local(name, 1); got != want {
			t.Errorf("%q becomes %q, not %q", name, got, want)
		}
	}
}

// A content that is damaged fails its own file only; nothing half is there.
func TestDamageFailsItsOwnFile(t *testing.T) {
	for _, kind := range []string{"folder", "zip"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			before := w.packs()
			w.point(map[string]string{"bad.bin": strings.Repeat("to be damaged ", 100)}, vault.PointInfo{})
			bad := w.packs()
			u, err := w.v.Begin(t.Context(), drive, "", "")
			w.must(err)
			defer u.Close()
			w.put(u, map[string]string{"bad.bin": strings.Repeat("to be damaged ", 100), "good.txt": "good"})
			s, err := u.Seal(t.Context(), modified, vault.PointInfo{})
			w.must(err)
			w.must(w.v.Close(t.Context()))
			for name := range bad {
				if before[name] || !strings.HasPrefix(strings.TrimPrefix(name, w.dir), "/p") {
					continue
				}
				b, err := os.ReadFile(name)
				w.must(err)
				for i := range b {
					b[i] ^= 1
				}
				w.must(os.WriteFile(name, b, 0o600))
			}
			w.open()
			into := filepath.Join(t.TempDir(), "into")
			var r Report
			if kind == "zip" {
				var got map[string]string
				got, r = w.zip(s.Tree, into+".zip")
				w.same(map[string]string{"good.txt": "good"}, got)
			} else {
				r = w.export(s.Tree, "", into)
				w.same(map[string]string{"good.txt": "good"}, w.in(into))
			}
			if r.Failed != 1 || len(r.Remarks) != 1 || r.Remarks[0].Path != "bad.bin" || !errors.Is(r.Remarks[0].Err, vault.ErrDamaged) {
				t.Errorf("it says %+v", r)
			}
		})
	}
}

// packs are the files in the vault's folder.
func (w *world) packs() map[string]bool {
	all := map[string]bool{}
	w.must(filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[p] = true
		}
		return err
	}))
	return all
}

func (w *world) zip(tree, name string) (map[string]string, Report) {
	w.Helper()
	to, err := CreateZip(name)
	w.must(err)
	r, err := Point(w.Context(), w.v, tree, "", to, nil)
	w.must(err)
	w.must(to.Finish())
	w.must(to.Close())
	all, err := zip.OpenReader(name)
	w.must(err)
	defer all.Close()
	got := map[string]string{}
	for _, f := range all.File {
		in, err := f.Open()
		w.must(err)
		b, err := io.ReadAll(in)
		w.must(err)
		got[f.Name] = string(b)
	}
	return got, r
}

func TestAZipHoldsThePoint(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("large ", 1<<20)
	tree := w.point(map[string]string{"a.txt": "a", "empty.bin": "", "docs/ünï.txt": "b", "docs/large.bin": large, "none/": ""},
		vault.PointInfo{Unread: []backup.Unread{{Path: "docs/unread.txt"}}})
	dir := t.TempDir()
	got, r := w.zip(tree, filepath.Join(dir, "all.zip"))
	w.same(map[string]string{"a.txt": "a", "empty.bin": "", "docs/": "", "docs/ünï.txt": "b", "docs/large.bin": large, "none/": ""}, got)
	if r.Files != 4 || r.Folders != 2 || r.Unread != 1 || r.Failed > 0 {
		t.Errorf("it says %+v", r)
	}
	if _, err := CreateZip(filepath.Join(dir, "all.zip")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a zip that is there may be written over: %v", err)
	}
	// One that is not finished leaves nothing.
	to, err := CreateZip(filepath.Join(dir, "half.zip"))
	w.must(err)
	_, err = Point(t.Context(), w.v, tree, "docs", to, nil)
	w.must(err)
	w.must(to.Close())
	left, err := os.ReadDir(dir)
	w.must(err)
	if len(left) != 1 {
		t.Errorf("there are %v", left)
	}
}

// A target that is full ends the export, and says so once.
func TestAFullTargetEndsTheExport(t *testing.T) {
	w := newWorld(t)
	tree := w.point(map[string]string{"a.txt": "a", "b.txt": "b"}, vault.PointInfo{})
	r, err := Point(t.Context(), w.v, tree, "", fullTarget{}, nil)
	if !errors.Is(err, errTarget) || len(r.Remarks) > 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

type fullTarget struct{}

func (fullTarget) folder(at string) (string, error) { return at, nil }
func (fullTarget) setTime(string, time.Time) error  { return nil }
func (fullTarget) writers() int                     { return 2 }
func (fullTarget) file(string, vault.Entry, io.ReadSeeker) (string, bool, error) {
	return "", false, full(&fs.PathError{Op: "write", Err: syscall.ENOSPC})
}

// What a point of several parts has at a path is listed as it is exported.
func TestAPointOfPartsIsListedAndExported(t *testing.T) {
	w := newWorld(t)
	var parts []vault.Part
	for _, p := range []struct {
		vault.Part
		files map[string]string
	}{
		{vault.Part{Drive: "lib", Name: "Documents"}, map[string]string{"Offers/Budget.xlsx": "now"}},
		{vault.Part{Drive: "lib,versions", Library: "lib", Kind: backup.FileVersions, Name: "Documents (versions)"},
			map[string]string{"Offers/Budget.xlsx/1.0.xlsx": "first", "Offers/Budget.xlsx/versions.json": "[]"}},
	} {
		u, err := w.v.BeginPart(w.Context(), vault.DriveKey{Tenant: "t", Drive: p.Drive}, "")
		w.must(err)
		w.put(u, p.files)
		s, err := u.Seal(w.Context(), modified, vault.PointInfo{})
		w.must(err)
		u.Close()
		p.Tree, p.Files = s.Tree, s.Files
		parts = append(parts, p.Part)
	}
	s, err := w.v.SealParts(w.Context(), vault.DriveKey{Tenant: "t", Drive: "site"}, "", "", modified, vault.PointInfo{}, parts)
	w.must(err)
	if s.Files != 1 {
		t.Errorf("the point counts %d files, want that of the library alone", s.Files)
	}
	for at, want := range map[string]string{
		"":                                     "libraries/Documents versions/Documents (versions)",
		"versions":                             "versions/Documents (versions)",
		"versions/Documents (versions)/Offers": "Budget.xlsx",
		"/versions/Documents (versions)/Offers/Budget.xlsx/":        "1.0.xlsx versions.json",
		"versions/Documents (versions)/Offers/Budget.xlsx/1.0.xlsx": "1.0.xlsx",
		"versions/Documents (versions)/Offers/Budget.xlsx/2.0.xlsx": "error",
		"versions/Papers (versions)":                                "error",
	} {
		all, err := List(w.Context(), w.v, s.Tree, at)
		var names []string
		for _, e := range all {
			names = append(names, e.Name)
		}
		if errors.Is(err, ErrNoPath) {
			names = []string{"error"}
		} else {
			w.must(err)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("at %q there is %q, want %q", at, got, want)
		}
	}
	for at, want := range map[string]int64{"": 3, "libraries": 1, "versions/Documents (versions)/Offers": 2, "versions/Documents (versions)/Offers/Budget.xlsx/1.0.xlsx": 1} {
		if n, err := Files(w.Context(), w.v, s.Tree, at); err != nil || n != want {
			t.Errorf("at %q are %d files, %v, want %d", at, n, err, want)
		}
	}
	into := t.TempDir()
	w.export(s.Tree, "versions/Documents (versions)/Offers/Budget.xlsx", into)
	w.same(map[string]string{"Budget.xlsx/": "", "Budget.xlsx/1.0.xlsx": "first", "Budget.xlsx/versions.json": "[]"}, w.in(into))
}
