package engine

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/simtenant"
)

// madeMailboxes is a tenant of mailboxes that are made up from a seed.
func madeMailboxes(users, messages int) (made simtenant.Population, tenant simtenant.Tenant) {
	made = simtenant.Population{Seed: 1, Users: users, Files: 2, Size: 10, Messages: messages}
	tenant = made.Tenant()
	tenant.Apps = simConfig("", "", nil, nil).Tenants[0].Apps
	return made, tenant
}

// connectMailboxes connects w to such a tenant, which has a process of its own.
func (w *world) connectMailboxes(users, messages int) {
	w.t.Helper()
	_, tenant := madeMailboxes(users, messages)
	w.tenant, w.users = tenant.ID, tenant.Users
	w.startChild(fmt.Sprintf("ENGINE_TEST_MAIL=%d of %d", messages, users))
}

// serveMail is that process.
func serveMail(what string) error {
	var users, messages int
	if _, err := fmt.Sscanf(what, "%d of %d", &messages, &users); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "engine-test-mail-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	made, tenant := madeMailboxes(users, messages)
	faults := new(simtenant.Faults)
	faults.Set(func(o *simtenant.Options) { o.Mail.Requests, o.Mail.Upload = 1_000_000_000, 1<<50 })
	cfg := simConfig(dir, "", nil, faults)
	cfg.Tenants, cfg.Population, cfg.Mail = []simtenant.Tenant{tenant}, &made, dir+"/mail"
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
	_, err = io.Copy(io.Discard, os.Stdin) // until the parent closes it
	return err
}

// BenchmarkLargeMailbox backs up a mailbox of very many small items, finds nothing
// changed, and restores it into a new folder. It takes and reports what BenchmarkLargeDrive
// does; the most that is resident is of this process, the source has its own.
func BenchmarkLargeMailbox(b *testing.B) {
	items := fromEnv(b, "HOLDFAST_ITEMS", 10_000)
	for b.Loop() {
		w := prepare(b)
		w.connectMailboxes(1, items)
		w.ownVault()
		unit := w.protectMailbox(0)
		var point backup.Point
		for _, row := range []struct {
			phase string
			do    func()
		}{
			{"first", func() { point = w.backUp(unit) }},
			{"more", func() { w.backUp(unit) }}, // of what is kept as MIME
			{"new", func() { w.restored(point, backup.DestinationNew) }},
		} {
			heap := watchHeap(row.phase)
			before := cpu(b)
			row.do()
			used, live := cpu(b)-before, heap()
			b.ReportMetric(used.Seconds()*1e6/float64(items), row.phase+"-cpu-µs/item")
			b.ReportMetric(float64(live)/float64(items), row.phase+"-live-B/item")
			b.ReportMetric(float64(peak(b)>>10), row.phase+"-MiB")
		}
		if point.Files < int64(items) || len(w.lacking(point)) > 0 {
			b.Errorf("the point has %d files of %d, and lacks %q", point.Files, items, w.lacking(point))
		}
	}
}
