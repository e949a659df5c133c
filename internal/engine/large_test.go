package engine

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	runmetrics "runtime/metrics"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// BenchmarkLargeDrive backs up drives of very many tiny files that are nowhere
// but computed, then finds nothing changed, and then has the source take back its
// token, so that all is listed and compared. It reports the processor time, the
// most memory that was live, and that the process was resident in, for each phase.
// HOLDFAST_ITEMS says how many items each drive has, HOLDFAST_AT_ONCE how many
// drives are backed up at once, and HOLDFAST_HEAP where to leave a profile of each
// phase's fullest heap.
func BenchmarkLargeDrive(b *testing.B) {
	items, drives := fromEnv(b, "HOLDFAST_ITEMS", 30_000), fromEnv(b, "HOLDFAST_AT_ONCE", 1)
	for b.Loop() {
		var names []string
		for i := range drives {
			names = append(names, fmt.Sprint("user", i))
		}
		w := prepare(b, names...)
		w.startChild("ENGINE_TEST_ITEMS=" + strconv.Itoa(items))
		v, err := vault.Open(w.ctx, vault.Config{Dir: w.dir + "/vault", State: w.dir + "/state", Create: true, Password: "for tests only"})
		w.must(err)
		w.vault = v
		units := w.protectAll()
		m := measures{b: b, got: map[string]float64{}}
		for _, phase := range []string{"first", "unchanged", "resync"} {
			if phase == "resync" {
				_, err := http.Post(w.url+"/expire", "", nil)
				w.must(err)
			}
			used, live := m.phase(phase, func() {
				claimed := w.claimAll(units)
				var all sync.WaitGroup
				for _, u := range units {
					all.Go(func() {
						if _, err := w.engine.backup(w.ctx, claimed[string(u.ID)]); err != nil {
							b.Error(err)
							return
						}
						if p := w.latest(u); p.Unread != 0 || p.Files+p.Folders != int64(items) {
							b.Errorf("the point has %d files, %d folders, and lacks %d", p.Files, p.Folders, p.Unread)
						}
					})
				}
				all.Wait()
			})
			b.ReportMetric(used.Seconds()*1e6/float64(items*drives), phase+"-cpu-µs/item")
			b.ReportMetric(float64(live)/float64(items*drives), phase+"-live-B/item")
			b.ReportMetric(float64(peak(b)>>10), phase+"-MiB")
		}
		w.must(v.Close(w.ctx))
	}
}

// BenchmarkLargeRestore brings a drive of very many tiny files back: to a new place, in
// place once a fortieth of it is other files, once each is another by another name, and
// once all of it is gone; and, of a drive of its own, once each file is gone and another
// is there, as what encrypts files leaves it. It takes and reports what
// BenchmarkLargeDrive does. HOLDFAST_PHASES names those that are to be measured, and not
// all.
func BenchmarkLargeRestore(b *testing.B) {
	items := fromEnv(b, "HOLDFAST_ITEMS", 30_000)
	wanted := strings.Fields(os.Getenv("HOLDFAST_PHASES"))
	for b.Loop() {
		m := measures{b: b, got: map[string]float64{}}
		for _, phases := range [][]string{{"new", "change", "lock", "empty"}, {"swap"}} {
			phases = slices.DeleteFunc(phases, func(p string) bool { return len(wanted) > 0 && !slices.Contains(wanted, p) })
			if len(phases) == 0 {
				continue
			}
			w := prepare(b, "ann")
			w.startChild("ENGINE_TEST_ITEMS=" + strconv.Itoa(items))
			w.ownVault()
			point := w.backUp(w.protectAll()[0])
			for _, phase := range phases {
				to := backup.DestinationNew
				if phase != "new" {
					to = backup.DestinationInPlace
					_, err := http.Post(w.url+"/"+phase, "", nil)
					w.must(err)
				}
				used, live := m.phase(phase, func() { w.restored(point, to) })
				b.ReportMetric(used.Seconds()*1e6/float64(items), phase+"-cpu-µs/item")
				b.ReportMetric(float64(live)/float64(items), phase+"-live-B/item")
				b.ReportMetric(float64(peak(b)>>10), phase+"-MiB")
			}
		}
	}
}

// claimAll claims the backups of units together: a claim of one would take the others
// away from who is at work on them.
func (w *world) claimAll(units []backup.Unit) map[string]*jobs.Job {
	w.t.Helper()
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		for _, u := range units {
			if err := w.queue.Enqueue(w.ctx, tx, jobs.Spec{Kind: jobs.Backup, Key: string(u.ID), Tenant: w.tenant}); err != nil {
				return err
			}
		}
		return nil
	}))
	claimed, err := w.queue.Claim(w.ctx, jobs.Backup, len(units), 0, "test")
	w.must(err)
	byKey := map[string]*jobs.Job{}
	for _, j := range claimed {
		byKey[j.Key] = j
	}
	if len(byKey) != len(units) {
		w.t.Fatalf("%d jobs were claimed, want %d", len(byKey), len(units))
	}
	return byKey
}

// watchHeap returns a function that returns the most memory that was live until
// it was called.
func watchHeap(phase string) func() uint64 {
	ctx, cancel := context.WithCancel(context.Background())
	most, done := new(atomic.Uint64), make(chan struct{})
	go func() {
		defer close(done)
		profiled := uint64(0)
		for ctx.Err() == nil {
			sample := []runmetrics.Sample{{Name: "/gc/heap/live:bytes"}}
			runmetrics.Read(sample)
			if live := sample[0].Value.Uint64(); live > most.Load() {
				most.Store(live)
				if dir := os.Getenv("HOLDFAST_HEAP"); dir != "" && live > profiled+profiled/20 {
					profiled = live
					if f, err := os.Create(filepath.Join(dir, phase+".heap")); err == nil {
						pprof.WriteHeapProfile(f)
						f.Close()
					}
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	runtime.GC()
	return func() uint64 {
		cancel()
		<-done
		return most.Load()
	}
}
