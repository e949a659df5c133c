package heap

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentOf(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1 << 20: 100, garbage: 100, 2 * garbage: 50, 4 * garbage: 25, 8 * garbage: 20, 1 << 40: 20} {
		if got := percentOf(live); got != want {
			t.Errorf("of %d bytes %d %%, want %d", live, got, want)
		}
	}
}

// The collector looks more often while much is in use, and as before when that has gone.
func TestBound(t *testing.T) {
	t.Setenv("GOGC", "")
	Bound()
	for _, row := range []struct{ live, want int }{{8 * garbage, least}, {0, most}, {2 * garbage, 50}} {
		used := make([]byte, row.live)
		percent := uint64(0)
		for range 1000 {
			runtime.GC()
			sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
			metrics.Read(sample)
			if percent = sample[0].Value.Uint64(); near(percent, row.want) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if !near(percent, row.want) {
			t.Errorf("with %d bytes in use GOGC is %d, want %d", row.live, percent, row.want)
		}
		runtime.KeepAlive(used)
	}
}

func near(percent uint64, want int) bool {
	return int(percent) <= want && int(percent) >= want-want/10
}
