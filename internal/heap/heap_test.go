package heap

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentOf(t *testing.T) {
	for _, row := range []struct {
		live, scanned uint64
		want          int
	}{
		{0, 0, 100}, {1 << 20, 1 << 20, 100}, {garbage, 0, 100}, {2 * garbage, 0, 50}, {4 * garbage, garbage, 25},
		{8 * garbage, garbage, 20}, {8 * garbage, 4 * garbage, 50}, {8 * garbage, 8 * garbage, 100}, {1 << 40, 0, 20},
	} {
		if got := percentOf(row.live, row.scanned); got != row.want {
			t.Errorf("of %d bytes, %d with pointers, %d %%, want %d", row.live, row.scanned, got, row.want)
		}
	}
}

func TestLimitOf(t *testing.T) {
	for _, row := range []struct {
		live, others uint64
		want         int64
	}{{0, 0, floor + spare}, {16 << 20, 0, 32<<20 + spare}, {4 * garbage, 9, 5*garbage + 9 + spare}, {10 * garbage, 0, 12*garbage + spare}} {
		// A percentage is a whole number.
		if got := limitOf(row.live, percentOf(row.live, 0), row.others); got > row.want || got < row.want-int64(row.live)/100 {
			t.Errorf("of %d bytes and %d others %d, want %d", row.live, row.others, got, row.want)
		}
	}
}

// The collector looks more often while much is in use, and as before when that has gone; and
// what is free is given back above another limit then.
func TestBound(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	Bound()
	for _, row := range []struct {
		live, pointers int
		want           int
	}{{8 * garbage, 0, least}, {0, 0, most}, {2 * garbage, 0, 50}, {2 * garbage, 2 * garbage, most}} {
		used, pointing := make([]byte, row.live-row.pointers), make([]*int, row.pointers/8)
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
		if got, least := debug.SetMemoryLimit(-1), limitOf(uint64(row.live), row.want, 0); got < least*99/100 || got > least+spare/4+garbage {
			t.Errorf("with %d bytes in use the limit is %d, want %d and what else there is", row.live, got, least)
		}
		runtime.KeepAlive(used)
		runtime.KeepAlive(pointing)
	}
}

func near(percent uint64, want int) bool {
	return int(percent) <= want && int(percent) >= want-want/10
}
