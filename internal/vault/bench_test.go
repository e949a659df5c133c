package vault

import (
	"fmt"
	"runtime"
	"strings"
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

func measure(b *testing.B, v *Vault, what func()) {
	before := v.Counters()
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	b.ResetTimer()
	what()
	b.StopTimer()
	runtime.ReadMemStats(&m1)
	after := v.Counters()
	n := float64(b.N)
	b.ReportMetric(float64(after.ObjectsWritten-before.ObjectsWritten)/n, "objects-written")
	b.ReportMetric(float64(after.ObjectsRead-before.ObjectsRead)/n, "objects-read")
	b.ReportMetric(float64(after.BlobsWritten-before.BlobsWritten)/n, "blobs-written")
	b.ReportMetric(float64(m1.TotalAlloc-m0.TotalAlloc)/n/1e6, "MB-allocated")
}

// BenchmarkFirstBackup seals 100,000 files of one content.
func BenchmarkFirstBackup(b *testing.B) {
	v, _ := newVault(b)
	measure(b, v, func() {
		for range b.N {
			u := begin(b, v, Sealed{})
			c, err := u.Write(b.Context(), "", strings.NewReader("x"))
			if err != nil {
				b.Fatal(err)
			}
			makeDrive(b, u, 100_000, c.ID)
			seal(b, u, noon)
			u.Close()
		}
	})
}

// BenchmarkTenChanges changes, adds or moves ten of 100,000 files.
func BenchmarkTenChanges(b *testing.B) {
	v, _ := newVault(b)
	u := begin(b, v, Sealed{})
	c, err := u.Write(b.Context(), "", strings.NewReader("x"))
	if err != nil {
		b.Fatal(err)
	}
	entries := makeDrive(b, u, 100_000, c.ID)
	s := seal(b, u, noon)
	u.Close()
	for _, kind := range []string{"content", "new", "moved"} {
		b.Run(kind, func(b *testing.B) {
			measure(b, v, func() {
				for i := range b.N {
					u := begin(b, v, s)
					for k := range 10 {
						n := (k*9973 + i*7) % len(entries)
						e, ok, err := u.Get(b.Context(), entries[n].ID)
						if err != nil || !ok {
							b.Fatal(ok, err)
						}
						switch kind {
						case "content":
							e.Modified = e.Modified.Add(time.Hour)
							e.CTag += "'"
						case "new":
							e.ID = backup.ItemID(fmt.Sprint("new", b.N, "-", i, "-", k))
							e.Name = string(e.ID)
						case "moved":
							e.Parent = backup.ItemID(fmt.Sprint("dir", (i*13+k*501)%5000))
						}
						u.Put(e)
					}
					s = seal(b, u, noon.Add(time.Duration(i)*time.Second))
					u.Close()
				}
			})
		})
	}
}

// BenchmarkLargeFolder changes one file in a folder of 100,000.
func BenchmarkLargeFolder(b *testing.B) {
	v, _ := newVault(b)
	u := begin(b, v, Sealed{})
	c, err := u.Write(b.Context(), "", strings.NewReader("x"))
	if err != nil {
		b.Fatal(err)
	}
	entries := makeDrive(b, u, 100_000, c.ID)
	for _, e := range entries {
		e.Parent = "root"
		u.Put(e)
	}
	s := seal(b, u, noon)
	u.Close()
	measure(b, v, func() {
		for i := range b.N {
			u := begin(b, v, s)
			e, ok, err := u.Get(b.Context(), entries[i].ID)
			if err != nil || !ok {
				b.Fatal(ok, err)
			}
			e.CTag += "'"
			u.Put(e)
			s = seal(b, u, noon.Add(time.Duration(i)*time.Second))
			u.Close()
		}
	})
}

// BenchmarkSmallFiles stores contents of 4 kB, each its own.
func BenchmarkSmallFiles(b *testing.B) {
	v, _ := newVault(b)
	u := begin(b, v, Sealed{})
	body := strings.Repeat("All work and no play. ", 180)
	b.SetBytes(int64(len(body)))
	measure(b, v, func() {
		for i := range b.N {
			if _, err := u.Write(b.Context(), "", strings.NewReader(fmt.Sprint(i)+body)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
