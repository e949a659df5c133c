package main

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault/vaulttest"
)

// BenchmarkServes has one process of holdfast serve, and then four, back up drives of
// three small files each to an S3 store, and visit them again and again for a minute, on
// one PostgreSQL. It reports the processor time of all of them together for a drive's first
// point, and for a visit, and how many connections wait for a lock at a time.
// HOLDFAST_DRIVES says how many drives there are, fifty in each tenant. The less a process has
// to do, the more each visit costs it; so one does a quarter of them, too, which is the part
// of each of the four.
func BenchmarkServes(b *testing.B) {
	if !slices.Contains(dbtest.Dialects(b), database.Postgres) {
		b.Skip("there is no PostgreSQL")
	}
	drives := fromEnv(b, "HOLDFAST_DRIVES", 200)
	program := filepath.Join(b.TempDir(), "holdfast")
	command(b, ".", "go", "build", "-o", program, ".")
	for _, of := range []struct {
		name              string
		processes, drives int
	}{{"quarter", 1, drives / 4}, {"processes=1", 1, drives}, {"processes=4", 4, drives}} {
		b.Run(of.name, func(b *testing.B) {
			for b.Loop() {
				serves(b, program, of.processes, of.drives)
			}
		})
	}
}

const drivesOfATenant = 50

func serves(b *testing.B, program string, processes, drives int) {
	f := newFleet(b, max(1, drives/drivesOfATenant), min(drives, drivesOfATenant), time.Second, true)
	f.start(program, processes)
	first := f.protect()
	visit, visits := f.visits(time.Minute)
	b.ReportMetric(first, "first-CPU-ms/drive")
	b.ReportMetric(visit, "visit-CPU-ms")
	b.ReportMetric(float64(visits), "visits")
	b.ReportMetric(float64(f.waiting)/float64(f.samples), "lock-waits")
	f.stop()
}

// BenchmarkTenants has one process of holdfast serve, on one PostgreSQL, back up many
// tenants' drives of three small files each, to a vault of each tenant's in a folder. It
// reports the processor time of a first point, in which the making of the vaults is, and of
// a visit, and the most connections to the database, open files and resident memory that
// the process had. HOLDFAST_TENANTS says how many tenants there are, and HOLDFAST_DRIVES
// how many drives of each.
func BenchmarkTenants(b *testing.B) {
	if !slices.Contains(dbtest.Dialects(b), database.Postgres) {
		b.Skip("there is no PostgreSQL")
	}
	tenants, drives := fromEnv(b, "HOLDFAST_TENANTS", 20), fromEnv(b, "HOLDFAST_DRIVES", 10)
	program := filepath.Join(b.TempDir(), "holdfast")
	command(b, ".", "go", "build", "-o", program, ".")
	for b.Loop() {
		// No drive is due again before all have their first point.
		f := newFleet(b, tenants, drives, max(5*time.Second, time.Duration(tenants*drives)*100*time.Millisecond), false)
		f.start(program, 1)
		first := f.protect()
		b.ReportMetric(first, "first-CPU-ms/drive")
		fmt.Fprintf(os.Stderr, "%d tenants of %d drives: %.1f CPU ms for a first point, %d connections, %d files, %d MiB\n", tenants, drives, first, f.connections, f.files, f.peak()>>10)
		f.due(min(tenants*drives, 50*60), time.Minute)
		visit, visits := f.visits(time.Minute)
		b.ReportMetric(visit, "visit-CPU-ms")
		b.ReportMetric(float64(visits), "visits")
		b.ReportMetric(float64(f.connections), "connections")
		b.ReportMetric(float64(f.files), "files")
		b.ReportMetric(float64(f.peak()>>10), "MiB")
		f.stop()
	}
}

// fromEnv is a number that the environment says, or n.
func fromEnv(b *testing.B, name string, n int) int {
	if text := os.Getenv(name); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// A fleet is processes of holdfast serve, and tenants whose drives have three files each.
type fleet struct {
	*rolling
	tenants     []simtenant.Tenant
	drives      int
	source      string
	watch       *database.DB
	waiting     int // connections that were seen to wait for a lock, in
	samples     int // so many looks
	connections int // of all processes, the most that were seen, and one or two of who looks
	files       int // of one, likewise
}

var fleetApp = simtenant.App{AppID: "d1e00000-0000-4000-8000-0000000a9900", Secret: "serves-secret", DisplayName: "Serves", Roles: append(
	simtenant.Sample()[0].Apps[0].Roles, "Files.ReadWrite.All", "User.Read.All", "GroupMember.Read.All")}

// newFleet makes tenants with drives each, and a configuration by which their drives are
// visited at an interval, with vaults in an S3 store or in a folder.
func newFleet(b *testing.B, tenants, drives int, interval time.Duration, stored bool) *fleet {
	f := &fleet{rolling: &rolling{t: b, dir: b.TempDir(), url: dbtest.EmptyURL(b, database.Postgres)}, drives: tenants * drives}
	for n := range tenants {
		t := simtenant.Tenant{ID: backup.TenantID(fmt.Sprintf("d1e00000-0000-4000-8000-0000000%05x", n)), DisplayName: fmt.Sprint("Tenant ", n),
			Domain: fmt.Sprintf("t%d.example", n), Apps: []simtenant.App{fleetApp}}
		for i := range drives {
			name := fmt.Sprintf("u%d@%s", i, t.Domain)
			t.Users = append(t.Users, simtenant.User{ID: killUser(n*drives + i), UserPrincipalName: name, Mail: name, DisplayName: name})
			f.must(os.MkdirAll(f.folder(name), 0o700))
			for k := range 3 {
				f.must(os.WriteFile(filepath.Join(f.folder(name), fmt.Sprint("file ", k, ".txt")), fmt.Appendf(nil, "file %d of %s", k, name), 0o600))
			}
		}
		f.tenants = append(f.tenants, t)
	}
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(f.dir, "sim"), Drives: filepath.Join(f.dir, "drives"),
		Mail: filepath.Join(f.dir, "mail"), Sites: filepath.Join(f.dir, "sites"), Tenants: f.tenants, Log: newLog(b.Output())})
	f.must(err)
	b.Cleanup(func() { sim.Close() })
	source := httptest.NewServer(sim.Handler())
	b.Cleanup(source.Close)
	f.source = source.URL
	place := map[string]any{"passwordFile": "vault.password", "dir": filepath.Join(f.dir, "vaults")}
	if stored {
		key := filepath.Join(f.dir, "store.key")
		f.must(os.WriteFile(key, []byte(vaulttest.Secret), 0o600))
		delete(place, "dir")
		place["s3"] = map[string]any{"endpoint": vaulttest.Start(b, filepath.Join(f.dir, "store")), "region": "us-east-1", "bucket": vaulttest.Bucket,
			"prefix": "of/", "accessKeyId": vaulttest.Key, "secretFile": key, "insecureHttp": true}
	}
	b.Setenv("HOLDFAST_TEST_APP", fleetApp.Secret)
	f.config = writeConfig(b, func(cfg map[string]any) {
		cfg["listen"], cfg["database"], cfg["interval"], cfg["vault"] = "127.0.0.1:0", f.url, interval.String(), place
		cfg["pageTokenKeyFile"] = "vault.password"
		var of, issuers []any
		for _, t := range f.tenants {
			of = append(of, map[string]any{"id": t.ID, "graph": f.source + "/v1.0", "authority": f.source, "clientId": fleetApp.AppID, "secretEnv": "HOLDFAST_TEST_APP"})
			issuers = append(issuers, map[string]any{"issuer": f.source + "/" + string(t.ID) + "/v2.0", "jwks": f.source + "/" + string(t.ID) + "/discovery/v2.0/keys", "tenant": t.ID})
		}
		cfg["tenants"], cfg["issuers"] = of, issuers
	})
	f.proxy = &balancer{t: b, transport: &http.Transport{DisableKeepAlives: true}, every: 5 * time.Second}
	go f.proxy.look(b.Context())
	return f
}

// start starts the processes.
func (f *fleet) start(program string, processes int) {
	for range processes {
		f.rolling.start(program)
	}
	var err error
	f.watch, err = database.OpenBeside(f.t.Context(), f.url)
	f.must(err)
	f.t.Cleanup(func() { f.watch.Close() })
}

// protect has all drives be protected and waits until each has a point. It returns the
// processor time of one, in milliseconds.
func (f *fleet) protect() float64 {
	before := f.used()
	for n, t := range f.tenants {
		c, err := client.New(client.Config{URL: f.serving[n%len(f.serving)].origin, Authority: f.source, Tenant: string(t.ID), ClientID: fleetApp.AppID, ClientSecret: client.Secret(fleetApp.Secret)})
		f.must(err)
		var policy policyAnswer
		f.must(c.Call(f.t.Context(), http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": "p"}, &policy))
		for some := range slices.Chunk(t.Users, 50) {
			var units []any
			for _, u := range some {
				units = append(units, map[string]any{"directoryObjectId": u.ID})
			}
			f.must(c.Call(f.t.Context(), http.MethodPatch, "/oneDriveForBusinessProtectionPolicies/"+policy.ID, map[string]any{"driveProtectionUnits@delta": units}, nil))
		}
		f.must(c.Call(f.t.Context(), http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, nil))
	}
	pause := min(time.Second, time.Duration(f.drives)*time.Millisecond/8)
	for pointed := 0; pointed < f.drives; time.Sleep(pause) {
		f.sample()
		f.must(f.watch.Read().QueryRowContext(f.t.Context(), `SELECT count(*) FROM unit WHERE EXISTS (SELECT 1 FROM restore_point r WHERE r.unit = unit.id)`).Scan(&pointed))
	}
	return (f.used() - before).Seconds() * 1e3 / float64(f.drives)
}

// visits returns what a visit takes of processor time in milliseconds, and how many there
// were in a time.
func (f *fleet) visits(during time.Duration) (each float64, n int) {
	before, runs := f.used(), f.runs()
	for until := time.Now().Add(during); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		f.sample()
	}
	took, n := f.used()-before, f.runs()-runs
	return took.Seconds() * 1e3 / float64(max(n, 1)), n
}

// due has some drives be due for a visit one after the other.
func (f *fleet) due(drives int, during time.Duration) {
	f.must(f.watch.Tx(f.t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(f.t.Context(), `
			UPDATE job SET run_at = $1 + CAST(random() * $2 AS BIGINT)
			WHERE kind = 'backup' AND key IN (SELECT key FROM job WHERE kind = 'backup' ORDER BY random() LIMIT $3)`,
			database.Micros(time.Now()), during.Microseconds(), drives)
		return err
	}))
}

// sample looks how many connections there are, and wait for a lock, and at the open files.
func (f *fleet) sample() {
	var all, waiting int
	f.must(f.watch.Read().QueryRowContext(f.t.Context(), `
		SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock')
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&all, &waiting))
	f.samples, f.waiting, f.connections = f.samples+1, f.waiting+waiting, max(f.connections, all)
	for _, p := range f.serving {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		f.must(err)
		f.files = max(f.files, len(open))
	}
}

// peak is the most that the first process was resident in, in KiB.
func (f *fleet) peak() (kib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.serving[0].cmd.Process.Pid))
	f.must(err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err = strconv.Atoi(strings.Fields(rest)[0])
	f.must(err)
	return kib
}

// stop ends the processes.
func (f *fleet) stop() {
	for _, p := range f.serving {
		f.must(p.cmd.Process.Signal(syscall.SIGTERM))
		p.cmd.Wait()
	}
}

// used is the processor time of all processes that serve.
func (r *rolling) used() (all time.Duration) {
	for _, p := range r.serving {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		r.must(err)
		_, rest, _ := strings.Cut(string(data), ") ")
		for _, ticks := range strings.Fields(rest)[11:13] {
			n, err := strconv.Atoi(ticks)
			r.must(err)
			all += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return all
}

// runs is how many backups have ended well in all processes that serve.
func (r *rolling) runs() (all int) {
	for _, p := range r.serving {
		answer, err := http.Get(p.origin + "/metrics")
		r.must(err)
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), "} "); ok && strings.HasPrefix(name, "holdfast_runs_total{") && strings.Contains(name, `kind="backup"`) {
				n, err := strconv.ParseFloat(value, 64)
				r.must(err)
				all += int(n)
			}
		}
		answer.Body.Close()
	}
	return all
}
