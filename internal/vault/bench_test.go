//go:build unix

package vault

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/backup"
)

func measure(b *testing.B, v *Vault, what func()) {
	before := v.Counters()
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	b.ResetTimer()
	start := cpu(b)
	what()
	used := cpu(b) - start
	b.StopTimer()
	runtime.ReadMemStats(&m1)
	after := v.Counters()
	n := float64(b.N)
	b.ReportMetric(float64(after.ObjectsWritten-before.ObjectsWritten)/n, "objects-written")
	b.ReportMetric(float64(after.ObjectsRead-before.ObjectsRead)/n, "objects-read")
	b.ReportMetric(float64(after.BlobsWritten-before.BlobsWritten)/n, "blobs-written")
	b.ReportMetric(float64(used.Microseconds())/n/1000, "cpu-ms")
	b.ReportMetric(float64(m1.TotalAlloc-m0.TotalAlloc)/n/1e6, "MB-allocated")
}

// cpu returns the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
