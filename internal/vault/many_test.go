package vault

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
)

// makeDrive stages a drive of files in folders of twenty, fifty of which are
// in one above them.
func makeDrive(tb testing.TB, u *Update, files int, content string) []Entry {
	tb.Helper()
	u.Put(folder("root", "", "root"))
	var entries []Entry
	for i := range files {
		dir := i / 20
		if i%20 == 0 {
			if dir%50 == 0 {
				u.Put(folder(fmt.Sprint("top", dir/50), "root", fmt.Sprint("Year ", dir/50)))
			}
			u.Put(folder(fmt.Sprint("dir", dir), fmt.Sprint("top", dir/50), fmt.Sprint("Project ", dir)))
		}
		e := Entry{
			ID: backup.ItemID(fmt.Sprintf("01BYE5RZ6QN3ZWBTUFOFD3GSP%08d", i)), Parent: backup.ItemID(fmt.Sprint("dir", dir)),
			Name: fmt.Sprintf("Meeting notes %d.docx", i), Kind: backup.File, Created: epoch, Modified: epoch.Add(time.Duration(i) * time.Second),
			CTag: fmt.Sprintf("c:{86EB4C8E-D20F-46B9-AD41-23B8868DDA8A},%d", i), Hash: "qrLV8JqPNgGV9mW3MPW5mSJfDwU=",
			Content: content, Size: 1,
		}
		u.Put(e)
		entries = append(entries, e)
	}
	return entries
}

func TestManyDrivesAtOnce(t *testing.T) {
	v, _ := newVault(t)
	var wg sync.WaitGroup
	sealed := make([]Sealed, 6)
	for drive := range sealed {
		wg.Go(func() {
			key := DriveKey{key.Tenant, backup.DriveID(fmt.Sprint(drive))}
			for round := range 3 {
				u, err := v.Begin(t.Context(), key, sealed[drive].Root, sealed[drive].Tree)
				if err != nil {
					t.Error(err)
					return
				}
				defer u.Close()
				u.Put(folder("root", "", "root"))
				var files sync.WaitGroup
				for i := range 40 {
					files.Go(func() {
						id := fmt.Sprint(round, "-", i)
						// Some contents are of one drive, some are in all.
						body := strings.Repeat(fmt.Sprint(i%2*drive, id), 500)
						c, err := u.Write(t.Context(), id, strings.NewReader(body))
						if err != nil {
							t.Error(err)
							return
						}
						u.Put(Entry{ID: backup.ItemID(id), Parent: "root", Name: id, Kind: backup.File, Size: c.Size, Content: c.ID})
					})
				}
				files.Wait()
				if sealed[drive], err = u.Seal(t.Context(), noon.Add(time.Duration(round)*time.Hour), PointInfo{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	roots := map[DriveKey]string{}
	for drive, s := range sealed {
		if s.Files != 120 {
			t.Errorf("drive %d has %d files", drive, s.Files)
		}
		if err := verify(t, v, s.Tree); err != nil {
			t.Error(err)
		}
		roots[DriveKey{key.Tenant, backup.DriveID(fmt.Sprint(drive))}] = s.Root
	}
	if _, err := v.Maintain(t.Context(), fixed(roots)); err != nil {
		t.Error(err)
	}
}

func TestProcessesMakeOneVault(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	vaults := make([]*Vault, 3)
	for i := range vaults {
		wg.Go(func() {
			var err error
			vaults[i], err = Open(t.Context(), Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, fmt.Sprint(i)), Password: password})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	s := sample(t, vaults[0])
	for _, v := range vaults {
		if err := verify(t, v, s.Tree); err != nil {
			t.Error(err)
		}
		if err := v.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestPlayAFolderOfManyFiles(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	const files = 20_000
	entries := makeDrive(t, u, files, file(t, u, "", "", "", "x").Content)
	for i, e := range entries {
		e.Parent = "root"
		if i%10 == 0 {
			e.Name = "same name" // two thousand of them
		}
		u.Put(e)
	}
	s := seal(t, u, noon)
	if s.Files != files {
		t.Errorf("sealed %d files", s.Files)
	}
	n := 0
	for _, err := range v.Walk(t.Context(), s.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if want := 1 + files + files/20 + files/1000; n != want {
		t.Errorf("Walk lists %d items, want %d", n, want)
	}
	moved := entries[7]
	moved.Parent = "dir3"
	u.Put(moved)
	s2 := seal(t, u, noon)
	if p, ok, err := v.Path(t.Context(), s2.Tree, moved.ID); p != "Year 0/Project 3/"+moved.Name || !ok || err != nil {
		t.Errorf("Path = %q, %v, %v", p, ok, err)
	}
	changes := 0
	for c, err := range v.Diff(t.Context(), s.Tree, s2.Tree) {
		if err != nil || c.From == nil || c.To == nil || c.To.ID != moved.ID {
			t.Errorf("Diff gives %v, %v", c, err)
		}
		changes++
	}
	if changes != 1 {
		t.Errorf("Diff gives %d changes", changes)
	}
}

func TestClosedVaultLeavesNoGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := t.TempDir()
	v, err := Open(t.Context(), Config{Create: true, Dir: filepath.Join(dir, "vault"), State: dir, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	s := sample(t, v)
	u := begin(t, v, s)
	if _, err := u.Write(t.Context(), "", io.LimitReader(zeros{}, 30<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Maintain(t.Context(), fixed(map[DriveKey]string{key: s.Root})); err != nil {
		t.Fatal(err)
	}
	u.Close()
	if err := v.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Since(start) > 5*time.Second {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
