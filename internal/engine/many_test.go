package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// BenchmarkManyDrives makes the first points of many tiny drives of one tenant, as
// the server does, then visits all of them when nothing has changed, and when
// something has in each. It reports processor time of this process for each drive:
// of the first drives, and of the last, which should cost the same. HOLDFAST_DRIVES
// says how many there are.
func BenchmarkManyDrives(b *testing.B) {
	drives := 2000
	if testing.Short() {
		drives = 500
	}
	drives = fromEnv(b, "HOLDFAST_DRIVES", drives)
	for b.Loop() {
		var names []string
		for i := range drives {
			names = append(names, fmt.Sprintf("user%06d", i))
		}
		w := prepare(b, names...)
		for i := range drives {
			w.must(os.MkdirAll(w.home(i), 0o755))
			for k := range 3 {
				w.must(os.WriteFile(filepath.Join(w.home(i), fmt.Sprintf("file %d.txt", k)), fmt.Appendf(nil, "file %d of %d", k, i), 0o644))
			}
		}
		w.connectChild()
		w.activateAll()
		m := newManyUnits(w, b, drives, "drive")
		m.round("first")
		m.round("unchanged")
		for i := range drives {
			w.must(os.WriteFile(filepath.Join(w.home(i), "file 1.txt"), fmt.Appendf(nil, "changed %d", i), 0o644))
		}
		m.round("changed")
		m.stop()
		m.expired()
		m.end()
	}
}

// expired is when all points have expired, and reports what it takes to drop them from the
// vault: all of each drive's but the newest tree, which the next run builds upon.
func (m manyUnits) expired() {
	m.skew.Store(int64(400 * 24 * time.Hour))
	roots := func() (n int) {
		m.must(m.db.Read().QueryRowContext(m.ctx, `SELECT count(DISTINCT root) FROM drive_state WHERE root IN (SELECT value FROM bench_root)`).Scan(&n))
		return n
	}
	m.must(m.db.Tx(m.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(m.ctx, `CREATE TABLE bench_root AS SELECT root AS value FROM drive_state`)
		return err
	}))
	from := cpu(m.b)
	m.run(jobs.Expire, string(m.tenant), m.engine.expire)
	m.b.ReportMetric((cpu(m.b)-from).Seconds()*1000/float64(m.units), "expired-cpu-ms/"+m.kind)
	if n := roots(); n > m.units/10 { // some changes may be news only to the next run
		m.b.Fatalf("the vault still has all points of %d drives", n)
	}
}

// BenchmarkManyMailboxes is BenchmarkManyDrives of mailboxes of five small items each on
// average, which a person has in some twenty folders. HOLDFAST_MAILBOXES says how many
// there are.
func BenchmarkManyMailboxes(b *testing.B) {
	mailboxes := fromEnv(b, "HOLDFAST_MAILBOXES", 200)
	for b.Loop() {
		w := prepare(b)
		w.connectMailboxes(mailboxes, 5*mailboxes)
		w.activateAllOf(backup.Exchange)
		m := newManyUnits(w, b, mailboxes, "mailbox")
		m.round("first")
		m.round("unchanged")
		m.end()
	}
}

// manyUnits are at work as the server has them.
type manyUnits struct {
	*world
	b     *testing.B
	units int
	kind  string
	stop  func() // ends the workers
	end   func() // and closes the vault
}

func newManyUnits(w *world, b *testing.B, units int, kind string) manyUnits {
	v, err := vault.Open(w.ctx, vault.Config{Dir: w.dir + "/vault", State: w.dir + "/state", Create: true, Password: "for tests only"})
	w.must(err)
	w.vault = v
	w.engine.Interval, w.engine.Workers = 1000*time.Hour, 8 // as many as the server usually has
	w.engine.Sleep = backup.Sleep
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error)
	runner := jobs.NewRunner(jobs.RunnerConfig{Queue: w.queue, Work: w.engine.Work(), Tenants: []backup.TenantID{w.tenant}, Log: w.engine.Log})
	go func() { done <- runner.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		w.must(<-done)
	})
	return manyUnits{w, b, units, kind, stop, func() {
		stop()
		w.must(v.Close(w.ctx))
	}}
}

// round waits until all units have been visited that are due, and reports what one among
// the first fifth cost, and one among the last.
func (m manyUnits) round(name string) {
	m.b.Helper()
	m.must(m.db.Tx(m.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(m.ctx, `UPDATE job SET run_at = 0 WHERE kind = 'backup'`)
		return err
	}))
	counted := m.vault.Counters()
	fifth := m.units / 5
	visited, used := 0, cpu(m.b)
	for _, until := range []int{fifth, m.units - fifth, m.units} {
		before, from := used, visited
		for visited < until {
			time.Sleep(max(20*time.Millisecond, time.Duration(m.units)*25*time.Microsecond)) // to count them takes time, too
			var due int
			m.must(m.db.Read().QueryRowContext(m.ctx, `SELECT count(*) FROM job WHERE kind = 'backup' AND run_at < $1`, database.Micros(time.Now())).Scan(&due))
			visited, used = m.units-due, cpu(m.b)
		}
		if until == fifth || until == m.units {
			part := map[bool]string{true: "first", false: "last"}[until == fifth]
			m.b.ReportMetric((used-before).Seconds()*1000/float64(visited-from), name+"-"+part+"-cpu-ms/"+m.kind)
		}
	}
	now := m.vault.Counters()
	m.b.ReportMetric(float64(now.BlobsWritten-counted.BlobsWritten)/float64(m.units), name+"-blobs/"+m.kind)
}
