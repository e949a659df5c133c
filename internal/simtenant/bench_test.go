package simtenant

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// manyFiles makes a drive of n files, 100 to a folder.
func manyFiles(tb testing.TB, n int) (*Service, place) {
	dir := tb.TempDir()
	s, err := New(Config{State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Tenants: Sample()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	for i := range n {
		folder := filepath.Join(dir, "drives", amala, fmt.Sprintf("project %d", i/10_000), fmt.Sprintf("folder %d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("document %d.txt", i)), fmt.Appendf(nil, "content %d", i), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return s, place{site: s.folders[amala], library: documents}
}

// cpu is the processor time used so far, in milliseconds.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}

// timed runs fn b.N times and reports the processor time as well: the clock on
// the wall says little on a busy machine.
func timed(b *testing.B, fn func() error) {
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		if err := fn(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu()-before)/float64(b.N), "cpu-ms/op")
}

// BenchmarkScan100k is what a delta costs when nothing has changed in 100,000
// files, and what it costs first of all to read the journal.
func BenchmarkScan100k(b *testing.B) {
	s, p := manyFiles(b, 100_000)
	scan := func(d *drive) error { return d.scan(b.Context()) }
	if err := s.with(p, scan); err != nil {
		b.Fatal(err)
	}
	read := func(d *drive) error {
		var all []*item
		for _, it := range d.items {
			all = append(all, it)
		}
		return d.settle(b.Context(), all...)
	}
	b.Run("read", func(b *testing.B) { timed(b, func() error { return s.with(p, read) }) })
	if err := s.with(p, scan); err != nil {
		b.Fatal(err)
	}
	b.Run("unchanged", func(b *testing.B) { timed(b, func() error { return s.with(p, scan) }) })
	b.Run("load", func(b *testing.B) {
		timed(b, func() error {
			return s.with(p, func(d *drive) error {
				d.unload()
				return d.load()
			})
		})
	})
}
