// Package heap keeps what a process wastes of memory small, however much it uses.
//
// Go's collector lets as much garbage gather as there is in use. A server that has
// 150 MB in use for a while, buffers of packs most of it, would be resident in 300.
// What is in use here is mostly buffers and lists of numbers, which cost the
// collector next to nothing to look at, so it may well look more often. What does
// cost is what holds pointers, as a thousand vaults that are open do: as
// much garbage as there is of that may gather.
//
// And what it frees the runtime gives back to the system by and by, so that what was
// freed in one size and is wanted in another is resident twice. Here there is a limit just
// above what the collector lets gather, so that it is given back before more is taken.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// garbage is how much of it gathers at most, unless more than that holds pointers,
	// or least says otherwise.
	garbage = 32 << 20
	// most and least are how much of it gathers, in percent of what is in use: where
	// that is little, and where it is so much that looking at it often would cost.
	most, least = 100, 20
	// floor is what is in use and garbage together before the collector looks at all.
	floor = 4 << 20
	// spare is how much more than that, and than what is no heap, may be resident. Were
	// it nothing, the limit would have the collector look before its time.
	spare = 8 << 20
)

// Bound has the collector look when 32 MiB of garbage have gathered, or as much as is in
// use if that is less, or as holds pointers or a fifth of all if either is more, and what is
// free given back to the system once little more than that is resident. Who sets GOGC has
// decided otherwise of both, who sets GOMEMLIMIT of the second. It is called once, at the
// start.
func Bound() {
	if os.Getenv("GOGC") != "" {
		return
	}
	b := bound{percent: most, limits: os.Getenv("GOMEMLIMIT") == ""}
	for _, name := range []string{"/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes",
		"/memory/classes/heap/released:bytes", "/memory/classes/total:bytes", "/gc/scan/heap:bytes"} {
		b.told = append(b.told, metrics.Sample{Name: name})
	}
	b.await()
}

type bound struct {
	percent int
	limit   int64
	limits  bool // there is one
	told    []metrics.Sample
}

// await has both set after each collection, of which nothing else tells.
func (b *bound) await() {
	type collected struct{ _ *int } // with a pointer, so that it shares its place with nothing that stays
	runtime.AddCleanup(&collected{}, func(b *bound) {
		metrics.Read(b.told)
		live, objects, free, released, total := b.is(0), b.is(1), b.is(2), b.is(3), b.is(4)
		percent := percentOf(live, b.is(5))
		// Each stops all goroutines for a moment, and is done where it makes a difference.
		limit := limitOf(live, percent, total-released-free-objects)
		if b.limits && (limit > b.limit || limit < b.limit-spare/4) {
			b.limit = limit
			debug.SetMemoryLimit(limit)
		}
		if percent != b.percent {
			b.percent = percent
			debug.SetGCPercent(percent)
		}
		b.await()
	}, b)
}

func (b *bound) is(i int) uint64 { return b.told[i].Value.Uint64() }

// percentOf returns how much garbage may gather for what is in use, of which scanned
// holds pointers.
func percentOf(live, scanned uint64) int {
	return int(min(most, max(least, most*max(garbage, scanned)/max(live, 1))))
}

// limitOf returns how much may be resident for what is in use, with the garbage that may
// gather, and for what is no object: stacks, the runtime's own, and what is left over
// between objects.
func limitOf(live uint64, percent int, others uint64) int64 {
	return int64(max(live+live*uint64(percent)/100, floor) + others + spare)
}
