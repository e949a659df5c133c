package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// aWideFolder puts into the vault a drive that has so many files in one folder.
func (w *world) aWideFolder(files int) backup.Point {
	w.t.Helper()
	key := vault.DriveKey{Tenant: w.tenant, Drive: backup.DriveID(fmt.Sprintf("wide %d", files))}
	u, err := w.vault.Begin(w.ctx, key, "", "")
	w.must(err)
	defer u.Close()
	content, err := u.Write(w.ctx, "x", strings.NewReader("all the same"))
	w.must(err)
	u.Put(vault.Entry{ID: "top", Kind: backup.Folder})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range files {
		u.Put(vault.Entry{ID: backup.ItemID(fmt.Sprintf("01%032d", i)), Parent: "top", Name: fmt.Sprintf("IMG_%06d.jpg", i), Kind: backup.File, Size: content.Size,
			Created: at, Modified: at.Add(time.Duration(i) * time.Second), CTag: fmt.Sprintf("\"c:{%032d},1\"", i), Hash: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", Content: content.ID})
	}
	sealed, err := u.Seal(w.ctx, at, vault.PointInfo{})
	w.must(err)
	return backup.Point{Tenant: w.tenant, Drive: key.Drive, Tree: sealed.Tree, At: at}
}

// childrenFrom returns a page of a folder from a place on, where the next begins, and what
// that cost.
func (w *world) childrenFrom(p backup.Point, from int64, most int) (page []backup.Item, next int64, cost pageCost) {
	w.t.Helper()
	cost = w.costing(func() int64 {
		for item, err := range w.engine.Children(w.ctx, p, "top", from) {
			w.must(err)
			if len(page) == most {
				next = item.At
				break
			}
			page = append(page, item)
		}
		return int64(len(page))
	})
	return page, next, cost
}

// BenchmarkFolderPages turns the pages of a folder of HOLDFAST_ITEMS files, a hundred files each.
func BenchmarkFolderPages(b *testing.B) {
	files := fromEnv(b, "HOLDFAST_ITEMS", 100_000)
	for b.Loop() {
		w := prepare(b, "ann")
		w.connect("http://127.0.0.1:1")
		w.ownVault()
		p := w.aWideFolder(files)
		for n, from := 1, int64(0); n == 1 || from > 0; n++ {
			var cost pageCost
			if _, from, cost = w.childrenFrom(p, from, 100); n == 1 || n == files/200 || from == 0 {
				b.Log("page", n, cost)
			}
		}
		_, _, all := w.childrenFrom(p, 0, files)
		b.Log("all", all)
	}
}

// A page of a folder costs the same wherever it is, and however many files there are; and page
// by page all are shown, each once.
func TestPagesOfAFolderCostTheSame(t *testing.T) {
	w := prepare(t, "ann")
	w.connect("http://127.0.0.1:1")
	w.ownVault()
	var first pageCost
	for _, files := range []int{300, 30_000} {
		p := w.aWideFolder(files)
		w.childrenFrom(p, 0, 100) // finds the folder
		seen := 0
		for from, n := int64(0), 0; n == 0 || from > 0; n++ {
			page, next, cost := w.childrenFrom(p, from, 100)
			for _, item := range page {
				if item.Name != fmt.Sprintf("IMG_%06d.jpg", seen) {
					t.Fatalf("file %d of %d is %s", seen, files, item.Name)
				}
				seen++
			}
			if first.objects == 0 {
				first = cost
			}
			if cost.objects > first.objects+3 || cost.thousand > first.thousand+2 {
				t.Fatalf("page %d of %d files takes %v, the first of few %v", n, files, cost, first)
			}
			from = next
		}
		if seen != files {
			t.Errorf("%d files are shown of %d", seen, files)
		}
	}
}
