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
// HOLDFAST_DRIVES says how many drives there are, fifty in each tenant.
func BenchmarkServes(b *testing.B) {
	if !slices.Contains(dbtest.Dialects(b), database.Postgres) {
		b.Skip("there is no PostgreSQL")
	}
	drives := 200
	if text := os.Getenv("HOLDFAST_DRIVES"); text != "" {
		var err error
		if drives, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	program := filepath.Join(b.TempDir(), "holdfast")
	command(b, ".", "go", "build", "-o", program, ".")
	for _, processes := range []int{1, 4} {
		b.Run(fmt.Sprintf("processes=%d", processes), func(b *testing.B) {
			for b.Loop() {
				serves(b, program, processes, drives)
			}
		})
	}
}

const drivesOfATenant = 50

func serves(b *testing.B, program string, processes, drives int) {
	r := &rolling{t: b, dir: b.TempDir(), url: dbtest.EmptyURL(b, database.Postgres)}
	app := simtenant.App{AppID: "d1e00000-0000-4000-8000-0000000a9900", Secret: "serves-secret", DisplayName: "Serves", Roles: append(
		simtenant.Sample()[0].Apps[0].Roles, "Files.ReadWrite.All", "User.Read.All", "GroupMember.Read.All")}
	var tenants []simtenant.Tenant
	for i := range drives {
		n := i / drivesOfATenant
		if n == len(tenants) {
			tenants = append(tenants, simtenant.Tenant{ID: backup.TenantID(fmt.Sprintf("d1e00000-0000-4000-8000-0000000%05x", n)), DisplayName: fmt.Sprint("Tenant ", n),
				Domain: fmt.Sprintf("t%d.example", n), Apps: []simtenant.App{app}})
		}
		name := fmt.Sprintf("u%d@t%d.example", i, n)
		tenants[n].Users = append(tenants[n].Users, simtenant.User{ID: killUser(i), UserPrincipalName: name, Mail: name, DisplayName: name})
		for k := range 3 {
			path := filepath.Join(r.folder(name), fmt.Sprint("file ", k, ".txt"))
			r.must(os.MkdirAll(filepath.Dir(path), 0o700))
			r.must(os.WriteFile(path, fmt.Appendf(nil, "file %d of %s", k, name), 0o600))
		}
	}
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(r.dir, "sim"), Drives: filepath.Join(r.dir, "drives"),
		Mail: filepath.Join(r.dir, "mail"), Sites: filepath.Join(r.dir, "sites"), Tenants: tenants, Log: newLog(b.Output())})
	r.must(err)
	b.Cleanup(func() { sim.Close() })
	source := httptest.NewServer(sim.Handler())
	b.Cleanup(source.Close)
	key := filepath.Join(r.dir, "store.key")
	r.must(os.WriteFile(key, []byte(vaulttest.Secret), 0o600))
	store := vaulttest.Start(b, filepath.Join(r.dir, "store"))
	b.Setenv("HOLDFAST_TEST_APP", app.Secret)
	r.config = writeConfig(b, func(cfg map[string]any) {
		cfg["listen"], cfg["database"], cfg["interval"] = "127.0.0.1:0", r.url, "1s"
		cfg["vault"] = map[string]any{"passwordFile": "vault.password", "s3": map[string]any{"endpoint": store, "region": "us-east-1", "bucket": vaulttest.Bucket,
			"prefix": fmt.Sprintf("of-%d/", processes), "accessKeyId": vaulttest.Key, "secretFile": key, "insecureHttp": true}}
		cfg["pageTokenKeyFile"] = "vault.password"
		var of, issuers []any
		for _, t := range tenants {
			of = append(of, map[string]any{"id": t.ID, "graph": source.URL + "/v1.0", "authority": source.URL, "clientId": app.AppID, "secretEnv": "HOLDFAST_TEST_APP"})
			issuers = append(issuers, map[string]any{"issuer": source.URL + "/" + string(t.ID) + "/v2.0", "jwks": source.URL + "/" + string(t.ID) + "/discovery/v2.0/keys", "tenant": t.ID})
		}
		cfg["tenants"], cfg["issuers"] = of, issuers
	})
	r.proxy = &balancer{t: b, transport: &http.Transport{DisableKeepAlives: true}}
	go r.proxy.look(b.Context())
	for range processes {
		r.start(program)
	}
	watch, err := database.OpenBeside(b.Context(), r.url)
	r.must(err)
	b.Cleanup(func() { watch.Close() })
	before := r.used()
	for n, t := range tenants {
		c, err := client.New(client.Config{URL: r.serving[n%processes].origin, Authority: source.URL, Tenant: string(t.ID), ClientID: app.AppID, ClientSecret: client.Secret(app.Secret)})
		r.must(err)
		var units []any
		for _, u := range t.Users {
			units = append(units, map[string]any{"directoryObjectId": u.ID})
		}
		var policy policyAnswer
		r.must(c.Call(b.Context(), http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": "p", "driveProtectionUnits": units}, &policy))
		r.must(c.Call(b.Context(), http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, nil))
	}
	waiting, samples := 0, 0
	sample := func() {
		n := 0
		r.must(watch.Read().QueryRowContext(b.Context(), `
			SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
		samples, waiting = samples+1, waiting+n
	}
	for pointed := 0; pointed < drives; time.Sleep(50 * time.Millisecond) {
		sample()
		r.must(watch.Read().QueryRowContext(b.Context(), `SELECT count(DISTINCT unit) FROM restore_point`).Scan(&pointed))
	}
	first := r.used() - before
	before, runs := r.used(), r.runs()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		sample()
	}
	visits, runs := r.used()-before, r.runs()-runs
	b.ReportMetric(first.Seconds()*1e3/float64(drives), "first-CPU-ms/drive")
	b.ReportMetric(visits.Seconds()*1e3/float64(max(runs, 1)), "visit-CPU-ms")
	b.ReportMetric(float64(runs), "visits")
	b.ReportMetric(float64(waiting)/float64(samples), "lock-waits")
	for _, p := range r.serving {
		r.must(p.cmd.Process.Signal(syscall.SIGTERM))
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
