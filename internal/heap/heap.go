// Package heap keeps what a process wastes of memory small, however much it uses.
//
// Go's collector lets as much garbage gather as there is in use. A server that has
// 150 MB in use for a while, buffers of packs most of it, would be resident in 300.
// What is in use here is mostly buffers and lists of numbers, which cost the
// collector next to nothing to look at, so it may well look more often.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// garbage is how much of it gathers at most, unless least says otherwise.
	garbage = 32 << 20
	// most and least are how much of it gathers, in percent of what is in use: where
	// that is little, and where it is so much that looking at it often would cost.
	most, least = 100, 20
)

// Bound has the collector look when 32 MiB of garbage have gathered, or as much as is in
// use if that is less, or a fifth of it if that is more. Who sets GOGC has decided
// otherwise, and GOMEMLIMIT goes before it, as always. It is called once, at the start.
func Bound() {
	if os.Getenv("GOGC") == "" {
		b := bound{percent: most, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
		b.await()
	}
}

type bound struct {
	percent int
	live    []metrics.Sample
}

// await has the percentage set after each collection, of which nothing else tells.
func (b *bound) await() {
	type collected struct{ _ *int } // with a pointer, so that it shares its place with nothing that stays
	runtime.AddCleanup(&collected{}, func(b *bound) {
		metrics.Read(b.live)
		if percent := percentOf(b.live[0].Value.Uint64()); percent != b.percent {
			b.percent = percent
			debug.SetGCPercent(percent)
		}
		b.await()
	}, b)
}

// percentOf returns how much garbage may gather for what is in use.
func percentOf(live uint64) int {
	return int(min(most, max(least, most*garbage/max(live, 1))))
}
