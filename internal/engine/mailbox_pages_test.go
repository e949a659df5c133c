package engine

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// aLargeFolder puts into the vault a mailbox whose inbox holds so many messages, each with
// its MIME, made in so many months.
func (w *world) aLargeFolder(messages, months int) backup.Point {
	w.t.Helper()
	key := vault.DriveKey{Tenant: w.tenant, Drive: backup.DriveID(fmt.Sprintf("box %d %d", messages, months))}
	u, err := w.vault.Begin(w.ctx, key, "", "")
	w.must(err)
	defer u.Close()
	content, err := u.Write(w.ctx, "x", strings.NewReader(letter("all the same")))
	w.must(err)
	folder := func(id, parent backup.ItemID, name string) {
		u.Put(vault.Entry{ID: id, Parent: parent, Name: name, Kind: backup.Folder})
	}
	folder("top", "", "")
	folder("in", "top", "Inbox")
	folder("in,recoverable", "top", "Recoverable Items")
	first := time.Date(2017, 1, 15, 8, 0, 0, 0, time.UTC)
	made := map[string]bool{}
	for i := range messages {
		at := first.AddDate(0, i*months/messages, 0).Add(time.Duration(i%100_000) * time.Second)
		month := monthOf(at)
		if !made[month] {
			folder(monthID("in", month), "in", month)
			made[month] = true
		}
		id := backup.ItemID(fmt.Sprintf("AAMk%0140d=", i)) // as long as Exchange's are
		sum := sha256.Sum256([]byte(id))
		e := vault.Entry{ID: id, Parent: monthID("in", month), Name: fmt.Sprintf("%s-%x.fts", at.Format("20060102-150405"), sum[:6]), Kind: backup.File,
			Size: content.Size, Created: at, Modified: at, CTag: fmt.Sprintf("CQAAABYAAAC%08d", i), Content: content.ID}
		u.Put(e)
		e.ID, e.Name, e.CTag = mimeID(id), mimeName(e.Name), e.Content
		u.Put(e)
	}
	sealed, err := u.Seal(w.ctx, first.AddDate(10, 0, 0), vault.PointInfo{})
	w.must(err)
	return backup.Point{Tenant: w.tenant, Drive: key.Drive, Tree: sealed.Tree, At: first.AddDate(10, 0, 0)}
}

// A pageCost is what a page of a folder takes: time of the processor, thousands of
// allocations and bytes, and objects of the vault.
type pageCost struct {
	items, objects      int64
	cpu                 time.Duration
	allocated, thousand int64
}

func (c pageCost) String() string {
	return fmt.Sprintf("%d items, %v, %d kB, %d thousand allocations, %d objects", c.items, c.cpu.Round(100*time.Microsecond), c.allocated>>10, c.thousand, c.objects)
}

func (w *world) pageOf(p backup.Point, folder backup.ItemID, after string, limit int) (part backup.MailPart, cost pageCost) {
	w.t.Helper()
	cost = w.costing(func() int64 {
		var err error
		part, err = w.engine.Mail(w.ctx, p, folder, after, limit)
		w.must(err)
		return int64(len(part.All))
	})
	return part, cost
}

// costing measures what is done, which says how many items it is about.
func (w *world) costing(do func() int64) pageCost {
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	read, busy := w.vault.Counters().ObjectsRead, time.Now()
	items := do()
	used := time.Since(busy)
	runtime.ReadMemStats(&now)
	return pageCost{items, w.vault.Counters().ObjectsRead - read, used, int64(now.TotalAlloc - before.TotalAlloc), int64(now.Mallocs-before.Mallocs) / 1000}
}

// BenchmarkMailPages turns the pages of a folder of very many messages from the newest to
// the oldest, and shows the folder itself; HOLDFAST_ITEMS is how many, HOLDFAST_MONTHS
// in how many months.
func BenchmarkMailPages(b *testing.B) {
	items, months := fromEnv(b, "HOLDFAST_ITEMS", 10_000), fromEnv(b, "HOLDFAST_MONTHS", 60)
	for b.Loop() {
		w := prepare(b, "ann")
		w.connect("http://127.0.0.1:1")
		w.ownVault()
		p := w.aLargeFolder(items, months)
		_, cost := w.pageOf(p, "top", "", 25)
		b.Log("the folder, first:", cost)
		_, cost = w.pageOf(p, "top", "", 25)
		b.Log("the folder, again:", cost)
		pages, after, seen := 0, "", int64(0)
		var part backup.MailPart
		for {
			part, cost = w.pageOf(p, "in", after, 200)
			if pages++; pages == 1 || part.Next == "" || pages == items/400 {
				b.Log("page", pages, cost)
			}
			if seen += cost.items; part.Next == "" {
				break
			}
			after = part.Next
		}
		if seen != int64(items) {
			b.Errorf("%d items were shown of %d", seen, items)
		}
	}
}

// A page of a folder costs the same wherever it is, and however many messages there are;
// and so do the folders, once what is in them has been counted.
func TestPagesOfMailCostTheSame(t *testing.T) {
	w := prepare(t, "ann")
	w.connect("http://127.0.0.1:1")
	w.ownVault()
	const limit = 50
	var few []pageCost
	for _, messages := range []int{1000, 20_000} {
		p := w.aLargeFolder(messages, 20)
		top, _ := w.pageOf(p, "top", "", limit)
		if len(top.All) != 2 || top.All[0].Items != int64(messages) {
			t.Fatalf("of %d messages the mailbox holds %+v", messages, top.All)
		}
		_, folders := w.pageOf(p, "top", "", limit)
		got := []pageCost{folders}
		seen, before := map[backup.ItemID]bool{}, "~"
		for after, n := "", 0; ; n++ {
			part, cost := w.pageOf(p, "in", after, limit)
			for _, held := range part.All {
				if seen[held.ID] || held.Name >= before || !held.MIME || held.Old || held.Path != "Inbox" {
					t.Fatalf("behind %s comes %+v", before, held)
				}
				seen[held.ID], before = true, held.Name
			}
			if n == 0 || n == messages/limit/2 || part.Next == "" {
				got = append(got, cost)
			}
			if after = part.Next; after == "" {
				break
			}
		}
		if len(seen) != messages {
			t.Errorf("%d messages were shown of %d", len(seen), messages)
		}
		if few == nil {
			few = got
		}
		for i, cost := range got {
			what := []string{"the folders, again", "the first page", "a page in the middle", "the last page"}[i]
			if most := few[min(i, 1)]; cost.objects > most.objects+4 || cost.thousand > most.thousand*3/2+1 {
				t.Errorf("of %d messages, %s: %v, where %v would do", messages, what, cost, most)
			}
		}
	}
}
