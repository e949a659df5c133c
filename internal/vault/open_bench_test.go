package vault

import (
	"syscall"
	"testing"
	"time"
)

// BenchmarkOpen opens a vault that is there, and closes it.
func BenchmarkOpen(b *testing.B) {
	cfg := Config{Dir: b.TempDir(), State: b.TempDir(), Create: true, Password: password}
	v, err := Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	v.Close(b.Context())
	cpu := func() time.Duration {
		var r syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := cpu()
	for b.Loop() {
		v, err := Open(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		v.Close(b.Context())
	}
	b.ReportMetric((cpu()-before).Seconds()*1000/float64(b.N), "cpu-ms")
}
