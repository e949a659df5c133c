package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// BenchmarkRPO has a tenant of many small drives, which is made up from a seed and
// is in a process of its own, be backed up as the server does, its recurring duties
// included: first all drives, then for half an hour at a promise of ten minutes,
// while a tenth of the drives changes in an hour.
//
// The clock of the engine is the processor time that this process has used, divided
// by two: what happens in a minute of it is what two cores do in a minute, however
// busy the machine is otherwise. Where there is nothing to do it goes on, five seconds
// at least. The tenant's own time is not counted, nor how long anybody waits.
// Microsoft would not answer as many calls of one tenant, so there is no budget.
//
// HOLDFAST_DRIVES says how many drives there are.
func BenchmarkRPO(b *testing.B) {
	drives := fromEnv(b, "HOLDFAST_DRIVES", 1000)
	for b.Loop() {
		newManyPromises(b, drives).measure()
	}
}

type manyPromises struct {
	*world
	b      *testing.B
	drives int
	ask    *json.Encoder // the tenant for changes
	told   *bufio.Scanner
	kinds  string
}

func newManyPromises(b *testing.B, drives int) *manyPromises {
	p := &manyPromises{b: b, drives: drives, world: prepare(b)}
	made := simtenant.Population{Seed: 1, Users: drives, Files: 3 * drives, Size: 200}
	tenant := made.Tenant()
	p.users, p.tenant = tenant.Users, tenant.ID
	began, used := time.Now(), cpu(b)
	p.now = func() time.Time { return began.Add((cpu(b) - used) / 2) }

	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "ENGINE_TEST_MADE="+p.dir)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	p.must(err)
	stdout, err := child.StdoutPipe()
	p.must(err)
	p.must(child.Start())
	b.Cleanup(func() {
		stdin.Close()
		child.Wait()
	})
	p.ask, p.told = json.NewEncoder(stdin), bufio.NewScanner(stdout)
	p.must(p.ask.Encode(made))
	p.connect(p.answer())
	return p
}

// answer is the next line that the tenant says.
func (p *manyPromises) answer() string {
	p.b.Helper()
	if !p.told.Scan() {
		p.b.Fatalf("the tenant has ended: %v", p.told.Err())
	}
	return p.told.Text()
}

// serveMade is the tenant: it is told what to be made of, says where it is, and
// then makes as many changes as it is told, each time.
func serveMade(dir string, in io.Reader) error {
	told := json.NewDecoder(in)
	var made simtenant.Population
	if err := told.Decode(&made); err != nil {
		return err
	}
	cfg := simConfig(dir, "", nil, nil)
	tenant := made.Tenant()
	tenant.Apps = cfg.Tenants[0].Apps
	cfg.Tenants, cfg.Population = []simtenant.Tenant{tenant}, &made
	sim, err := simtenant.New(cfg)
	if err != nil {
		return err
	}
	defer sim.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	go http.Serve(l, sim.Handler())
	for {
		var changes int
		if err := told.Decode(&changes); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := sim.Churn(changes); err != nil {
			return err
		}
		fmt.Println("changed")
	}
}

func (p *manyPromises) measure() {
	b := p.b
	const promise = 10 * time.Minute
	e := p.engine
	vaults := p.several()
	vaults(1)
	// A visit comes a little after its time, and the time is a little after the interval.
	e.Interval, e.RPO, e.Workers, e.Sleep = promise*9/10, promise, 8, backup.Sleep
	work := e.Work()
	for kind := range work {
		p.kinds += fmt.Sprintf(",'%s'", kind)
	}
	p.kinds = p.kinds[1:]
	var visits atomic.Int64
	visit := work[jobs.Backup]
	handler := visit.Handler
	visit.Handler = func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
		defer visits.Add(1)
		return handler(ctx, j)
	}
	work[jobs.Backup] = visit

	p.activateAll()
	p.users = nil // which a server does not have in memory
	p.must(e.Start(p.ctx))

	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan error)
	runner := jobs.NewRunner(jobs.RunnerConfig{Queue: p.queue, Work: work, Tenants: []backup.TenantID{p.tenant}, Poll: 100 * time.Millisecond, Log: e.Log})
	go func() { done <- runner.Run(ctx) }()

	say := func(what string, n int64, used time.Duration) {
		info, err := os.Stat(p.dir + "/catalog.db")
		p.must(err)
		fmt.Fprintf(os.Stderr, "%-28s %8d %8.2f CPU ms each, catalog %4d MB, vault %6d blobs\n", what, n, used.Seconds()*1000/float64(max(n, 1)), info.Size()>>20, p.written(vaults))
	}
	tenth, before, seen := int64(max(p.drives/10, 1)), cpu(b), int64(0)
	for seen < int64(p.drives) {
		p.goOn(&visits, min(seen+tenth, int64(p.drives)))
		now, used := visits.Load(), cpu(b)
		say("first points", now-seen, used-before)
		b.ReportMetric((used-before).Seconds()*1000/float64(now-seen), map[bool]string{true: "first", false: "last"}[seen == 0]+"-cpu-ms/drive")
		seen, before = now, used
	}

	// In each minute a six-hundredth of the drives changes.
	p.must(p.db.Tx(p.ctx, func(tx *database.Tx) error { // from here on it is measured
		_, err := tx.ExecContext(p.ctx, `UPDATE rpo SET points = 0, late = 0, longest = 0`)
		return err
	}))
	at := p.engine.Clock()
	began, all, total := cpu(b), visits.Load(), p.engine.Clock()
	for minute := range 30 {
		if minute%10 == 0 {
			before, seen = cpu(b), visits.Load()
		}
		p.must(p.ask.Encode(max(p.drives/600, 1)))
		p.answer()
		at = at.Add(time.Minute)
		p.goUntil(at)
		if minute%10 == 9 {
			say("visits in ten minutes", visits.Load()-seen, cpu(b)-before)
		}
	}
	n, used := visits.Load()-all, cpu(b)-began
	b.ReportMetric(used.Seconds()*1000/float64(n), "visit-cpu-ms/drive")
	b.ReportMetric(used.Seconds()/p.engine.Clock().Sub(total).Seconds()*100/2, "%-of-two-cores")

	r, err := p.catalog.RPO(p.ctx, p.tenant, 1)
	p.must(err)
	var points, late, longest int64
	p.must(p.db.Read().QueryRowContext(p.ctx, `SELECT sum(points), sum(late), max(longest) FROM rpo`).Scan(&points, &late, &longest))
	b.ReportMetric(100*float64(points-late)/float64(points), "%-kept")
	b.ReportMetric(float64(longest)/1e6, "longest-s")
	fmt.Fprintf(os.Stderr, "%d units, %d overdue now; of %d points %d late, the longest time between two is %v\n", r.Units, r.Missed, points, late, time.Duration(longest)*time.Microsecond)

	p.must(p.db.Tx(p.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(p.ctx, `UPDATE job SET run_at = 9e15 WHERE kind = 'backup'`)
		return err
	}))
	for _, duty := range []jobs.Kind{jobs.Record, jobs.Maintain, jobs.Expire} {
		before := cpu(b)
		p.must(p.db.Tx(p.ctx, func(tx *database.Tx) error {
			return p.queue.Enqueue(p.ctx, tx, jobs.Spec{Kind: duty, Key: string(p.tenant), Tenant: p.tenant})
		}))
		for p.busy() {
			time.Sleep(50 * time.Millisecond)
		}
		fmt.Fprintf(os.Stderr, "%-28s %8.2f CPU s\n", duty, (cpu(b) - before).Seconds())
	}
	cancel()
	p.must(<-done)
	if text := p.log.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "level=WARN") {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
				fmt.Fprint(os.Stderr, line)
				break
			}
		}
	}
}

// written is how many blobs were written to the vaults since they were opened.
func (p *manyPromises) written(vaults func(int) *vault.Vault) (n int64) {
	p.b.Helper()
	all, err := p.catalog.Vaults(p.ctx, p.tenant)
	p.must(err)
	for _, name := range all {
		n += vaults(name.Number).Counters().BlobsWritten
	}
	return n
}

// goOn lets time pass until there were so many visits.
func (p *manyPromises) goOn(visits *atomic.Int64, until int64) {
	p.b.Helper()
	for visits.Load() < until {
		time.Sleep(100 * time.Millisecond)
	}
}

// goUntil lets time pass until a time.
func (p *manyPromises) goUntil(at time.Time) {
	p.b.Helper()
	for now := p.engine.Clock(); now.Before(at); now = p.engine.Clock() {
		if p.busy() {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		var next int64
		p.must(p.db.Read().QueryRowContext(p.ctx, `SELECT coalesce(min(run_at), 0) FROM job WHERE kind IN (`+p.kinds+`)`).Scan(&next))
		if to := database.Time(next); next == 0 || to.After(at) {
			p.skew.Add(int64(at.Sub(now)))
		} else if to.After(now) {
			// In steps, since between any two the runner needs a moment of real time.
			p.skew.Add(int64(min(max(to.Sub(now), 5*time.Second), at.Sub(now))))
		}
	}
}

// busy reports whether any job is due or at work.
func (p *manyPromises) busy() (is bool) {
	p.b.Helper()
	now := p.engine.Clock()
	p.must(p.db.Read().QueryRowContext(p.ctx, `
		SELECT EXISTS (SELECT 1 FROM job WHERE kind IN (`+p.kinds+`) AND run_at <= $1)
			OR EXISTS (SELECT 1 FROM job WHERE kind IN (`+p.kinds+`) AND run_at > $1 AND run_at <= $2 AND lease <> '')`,
		database.Micros(now), database.Micros(now.Add(time.Minute))).Scan(&is))
	return is
}
