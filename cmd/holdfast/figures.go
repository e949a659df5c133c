package main

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// figures are those of what a server does and how it stands that no room keeps itself.
type figures struct {
	s            *server
	runs         *prometheus.CounterVec
	took         *prometheus.HistogramVec
	refusals     *prometheus.CounterVec
	moved        *prometheus.CounterVec
	wrote        *prometheus.CounterVec
	transactions prometheus.Histogram

	// Of what something of every tenant is read for:
	mu    sync.Mutex
	at    time.Time     // when it was
	cost  time.Duration // how long that took
	known []prometheus.Metric
}

// busiest is the part of the time, one in so many, that figures of every tenant may be read
// for, however often they are asked for.
const busiest = 20

// tenantsEvery is how often that is at least read anew which is read of every tenant.
const tenantsEvery = time.Minute

// rpoAges are the ages that units are counted by.
var rpoAges = []time.Duration{10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour}

// worstUnits is how many units are named with the age of their newest point.
const worstUnits = 5

var (
	rpoAge       = prometheus.NewDesc("holdfast_rpo_age_seconds", "Units by the age of their newest restore point, as of a minute ago at most.", []string{"tenant"}, nil)
	rpoUnit      = prometheus.NewDesc("holdfast_rpo_unit_age_seconds", "Age of the newest restore point of the units that are the longest overdue, or will be next; five of a tenant.", []string{"tenant", "unit", "workload", "name"}, nil)
	verifiedAge  = prometheus.NewDesc("holdfast_verified_age_seconds", "For how long the drive that was read back from the vault the longest ago has not been.", []string{"tenant"}, nil)
	jobsDue      = prometheus.NewDesc("holdfast_jobs_due", "Jobs that are due, and that nobody does yet.", []string{"kind"}, nil)
	jobsWait     = prometheus.NewDesc("holdfast_jobs_due_seconds", "For how long the first of them has been due.", []string{"kind"}, nil)
	vaultBytes   = prometheus.NewDesc("holdfast_vault_bytes", "What the tenant's vault takes of its storage, as of an hour ago at most.", []string{"tenant"}, nil)
	vaultBlobs   = prometheus.NewDesc("holdfast_vault_blobs", "Of how many blobs that is.", []string{"tenant"}, nil)
	vaultIndex   = prometheus.NewDesc("holdfast_vault_index_blobs", "How many of them are of the vault's index.", []string{"tenant"}, nil)
	vaultWrites  = prometheus.NewDesc("holdfast_vault_writable", "Whether a small blob could be written to the tenant's vault when that was tried last: 1, or 0.", []string{"tenant"}, nil)
	refusedFile  = prometheus.NewDesc("holdfast_configuration_refused", "Whether the configuration that was read again last cannot be used, so that the one before is in force: 1, or 0.", nil, nil)
	processesOf  = prometheus.NewDesc("holdfast_processes", "Processes of Holdfast that work on the database, by their version.", []string{"version"}, nil)
	databaseUp   = prometheus.NewDesc("holdfast_database_up", "Whether the database answers: 1, or 0.", nil, nil)
	diskFree     = prometheus.NewDesc("holdfast_disk_free_bytes", "Room that is left on the disk of what this process keeps: its state, a SQLite database, and vaults in folders.", []string{"of"}, nil)
	databaseTime = prometheus.NewDesc("holdfast_database_answer_seconds", "How long the database took to answer now.", nil, nil)
)

func newFigures(s *server) *figures {
	return &figures{s: s,
		runs:         prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_runs_total", Help: "Runs of jobs that have ended, by how: done, again (to be done later once more), paused, failed, stopped or lost."}, []string{"kind", "end"}),
		took:         prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "holdfast_run_seconds", Help: "How long runs of jobs took.", Buckets: []float64{.01, .1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}}, []string{"kind"}),
		refusals:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_source_refusals_total", Help: "Answers of the tenant's source that let a call wait or fail: 401, 403, 429 and 5xx."}, []string{"tenant", "status"}),
		moved:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_source_bytes_total", Help: "Bytes of contents read from the tenant's source by backups, and written to it by restores."}, []string{"tenant", "direction"}),
		wrote:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_vault_written_bytes_total", Help: "Bytes that the storage of the tenant's vault has taken; tries that failed do not count."}, []string{"tenant"}),
		transactions: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "holdfast_database_transaction_seconds", Help: "How long transactions took that write.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}),
	}
}

// refused counts the refusals of a tenant's source.
func (f *figures) refused(tenant string) func(status int) {
	return func(status int) { f.refusals.WithLabelValues(tenant, strconv.Itoa(status)).Inc() }
}

// movedOf counts the bytes that a tenant's source gives and takes.
func (f *figures) movedOf(tenant string) func(read, written int64) {
	in, out := f.moved.WithLabelValues(tenant, "read"), f.moved.WithLabelValues(tenant, "written")
	return func(read, written int64) {
		in.Add(float64(read))
		out.Add(float64(written))
	}
}

// wroteOf counts the bytes that a tenant's vault takes.
func (f *figures) wroteOf(tenant backup.TenantID) func(int64) {
	of := f.wrote.WithLabelValues(string(tenant))
	return func(n int64) { of.Add(float64(n)) }
}

// ended counts a run.
func (f *figures) ended(kind jobs.Kind, how string, took time.Duration) {
	f.runs.WithLabelValues(string(kind), how).Inc()
	f.took.WithLabelValues(string(kind)).Observe(took.Seconds())
}

func (f *figures) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rpoAge, rpoUnit, verifiedAge, jobsDue, jobsWait, vaultBytes, vaultBlobs, vaultIndex, vaultWrites, refusedFile, processesOf, databaseUp, diskFree, databaseTime} {
		c <- d
	}
	for _, of := range []prometheus.Collector{f.runs, f.took, f.refusals, f.moved, f.wrote, f.transactions} {
		of.Describe(c)
	}
}

func (f *figures) Collect(c chan<- prometheus.Metric) {
	for _, of := range []prometheus.Collector{f.runs, f.took, f.refusals, f.moved, f.wrote, f.transactions} {
		of.Collect(c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	refused := 0.0
	if of := f.s.reading.told.Load(); of != nil && of.wrong != nil {
		refused = 1
	}
	gauge(refusedFile, refused)
	writable, held := map[backup.TenantID]float64{}, map[backup.TenantID]vault.Holding{}
	rooms := map[string]int64{}
	for of, dir := range f.s.dirs {
		rooms[of] = roomOn(dir)
	}
	for name, of := range f.s.vaults.seen() {
		if before, known := rooms["vault"]; of.probed && of.room >= 0 && (!known || of.room < before) {
			rooms["vault"] = of.room
		}
		if of.probed {
			writes := 1.0
			if of.unwritten != nil {
				writes = 0
			}
			if before, known := writable[name.Tenant]; known {
				writes = min(writes, before)
			}
			writable[name.Tenant] = writes
		}
		if h := of.holding; h != nil {
			all := held[name.Tenant]
			held[name.Tenant] = vault.Holding{Blobs: all.Blobs + h.Blobs, Bytes: all.Bytes + h.Bytes, Index: all.Index + h.Index}
		}
	}
	for of, room := range rooms {
		if room >= 0 {
			gauge(diskFree, float64(room), of)
		}
	}
	for t, writes := range writable {
		gauge(vaultWrites, writes, string(t))
	}
	for t, h := range held {
		gauge(vaultBytes, float64(h.Bytes), string(t))
		gauge(vaultBlobs, float64(h.Blobs), string(t))
		gauge(vaultIndex, float64(h.Index), string(t))
	}
	began := time.Now()
	if err := f.s.db.Read().PingContext(ctx); err != nil {
		gauge(databaseUp, 0)
		return
	}
	gauge(databaseUp, 1)
	gauge(databaseTime, time.Since(began).Seconds())
	if of, err := f.s.versions(ctx); err == nil {
		for _, v := range of {
			gauge(processesOf, float64(v.Processes), v.Name)
		}
	}
	if due, err := f.s.queue.Backlogs(ctx, f.s.kinds); err == nil {
		for kind, b := range due {
			gauge(jobsDue, float64(b.Due), string(kind))
			age := 0.0
			if b.Due > 0 {
				age = max(0, time.Since(b.Since).Seconds())
			}
			gauge(jobsWait, age, string(kind))
		}
	}
	for _, m := range f.ofTenants(ctx) {
		c <- m
	}
}

// ofTenants are the figures for which something of every tenant is read: as of a minute
// ago at most, and of few tenants as of now.
func (f *figures) ofTenants(ctx context.Context) []prometheus.Metric {
	f.mu.Lock()
	defer f.mu.Unlock()
	began := time.Now()
	if !f.at.IsZero() && began.Sub(f.at) < min(tenantsEvery, busiest*f.cost) {
		return f.known
	}
	var all []prometheus.Metric
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	for _, t := range f.s.tenants() {
		tenant := backup.TenantID(t.ID)
		if r, err := f.s.catalog.RPO(ctx, tenant, worstUnits); err == nil {
			f.worst(ctx, tenant, r.Worst, gauge)
		}
		if h, err := f.s.catalog.Health(ctx, tenant); err == nil && !h.Verified.IsZero() {
			gauge(verifiedAge, time.Since(h.Verified).Seconds(), t.ID)
		}
		within, n, sum, err := f.s.catalog.RPOAges(ctx, tenant, rpoAges)
		if err != nil {
			return f.known // there is no time left, or no database
		}
		buckets := map[float64]uint64{}
		for i, age := range rpoAges {
			buckets[age.Seconds()] = within[i]
		}
		all = append(all, prometheus.MustNewConstHistogram(rpoAge, n, sum.Seconds(), buckets, t.ID))
	}
	f.at, f.cost, f.known = began, time.Since(began), all
	return all
}

// worst gives the units that are the longest overdue, and no others that were before.
func (f *figures) worst(ctx context.Context, tenant backup.TenantID, late []catalog.UnitRPO, gauge func(*prometheus.Desc, float64, ...string)) {
	ids := make([]backup.UnitID, len(late))
	for i, u := range late {
		ids[i] = u.Unit
	}
	units, err := f.s.catalog.UnitsByID(ctx, tenant, ids)
	if err != nil {
		return
	}
	for _, u := range late {
		is, name := units[u.Unit], ""
		if f.s.cfg.MetricsNames {
			name = cmp.Or(is.Address, is.Name)
		}
		gauge(rpoUnit, time.Since(u.Newest).Seconds(), string(tenant), string(u.Unit), string(is.Workload), strings.ToValidUTF8(name, "?"))
	}
}

// forget has that be read anew: the tenants are others.
func (f *figures) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.known = time.Time{}, nil
}
