package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/drive"
	"holdfast/internal/heap"
	"holdfast/internal/simtenant"
)

// TestMain is also the simulated tenant of benchmarks, in a process of its own,
// so that its work is not taken for the engine's.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ENGINE_TEST_SOURCE"); dir != "" {
		if err := serveSource(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if items := os.Getenv("ENGINE_TEST_ITEMS"); items != "" {
		if err := serveGenerated(items); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if messages := os.Getenv("ENGINE_TEST_MAIL"); messages != "" {
		if err := serveMail(messages); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv("ENGINE_TEST_MADE"); dir != "" {
		if err := serveMade(dir, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	heap.Bound() // as a server
	var err error
	if scratch, err = os.MkdirTemp("", "engine-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return dbtest.Run(m)
}

func serveSource(dir string) error {
	b, err := os.ReadFile(dir + "/users.json")
	if err != nil {
		return err
	}
	var users []simtenant.User
	if err := json.Unmarshal(b, &users); err != nil {
		return err
	}
	sim, err := simtenant.New(simConfig(dir, backup.TenantID(os.Getenv("ENGINE_TEST_TENANT")), users, nil))
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

// connectChild connects w to a simulated tenant in a child process.
func (w *world) connectChild() {
	w.t.Helper()
	users, err := json.Marshal(w.users)
	w.must(err)
	w.must(os.WriteFile(w.dir+"/users.json", users, 0o600)) // there may be more than an environment holds
	w.startChild("ENGINE_TEST_SOURCE="+w.dir, "ENGINE_TEST_TENANT="+string(w.tenant))
}

// startChild connects w to a source in a child process, which TestMain starts by
// its environment.
func (w *world) startChild(env ...string) {
	w.t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), env...)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	w.must(err)
	stdout, err := child.StdoutPipe()
	w.must(err)
	w.must(child.Start())
	w.t.Cleanup(func() {
		stdin.Close()
		child.Wait()
	})
	var url string
	_, err = fmt.Fscanln(stdout, &url)
	w.must(err)
	w.connect(url)
}

// fromEnv is a number that the environment says, or n.
func fromEnv(b *testing.B, name string, n int) int {
	b.Helper()
	n, err := numberFrom(name, n)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// numberFrom is fromEnv where there is no benchmark.
func numberFrom(name string, n int) (int, error) {
	if text := os.Getenv(name); text != "" {
		return strconv.Atoi(text)
	}
	return n, nil
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTenChanges backs up ten changed files of a drive of 100,000 (10,000
// with -short), beside the first backup of the same drive.
func BenchmarkTenChanges(b *testing.B) {
	files := 100_000
	if testing.Short() {
		files = 10_000
	}
	w := prepare(b, "ann")
	home := w.home(0)
	path := func(i int) string {
		return filepath.Join(home, fmt.Sprintf("area %02d/folder %03d/file %06d.txt", i%37, i/100, i))
	}
	for i := range files {
		if i%100 == 0 {
			for k := range 37 {
				w.must(os.MkdirAll(filepath.Dir(path(i+k)), 0o755))
			}
		}
		w.must(os.WriteFile(path(i), []byte(strings.Repeat(fmt.Sprintln("small file", i), 20)), 0o644))
	}
	w.connectChild()
	unit := w.protectAll()[0]
	began, used, counted := time.Now(), cpu(b), w.vault.Counters()
	w.backUp(unit)
	first := map[string]float64{
		"first-cpu-s":           (cpu(b) - used).Seconds(),
		"first-s":               time.Since(began).Seconds(),
		"first-objects-written": float64(w.vault.Counters().ObjectsWritten - counted.ObjectsWritten),
	}

	used, counted = cpu(b), w.vault.Counters()
	n := 0
	for b.Loop() {
		for k := range 10 {
			w.must(os.WriteFile(path((n*7919+k*9973)%files), fmt.Appendf(nil, "changed in round %d", n), 0o644))
		}
		n++
		w.backUp(unit)
	}
	now := w.vault.Counters()
	for unit, v := range first {
		b.ReportMetric(v, unit)
	}
	b.ReportMetric((cpu(b)-used).Seconds()/float64(n), "cpu-s/op")
	b.ReportMetric(float64(now.ObjectsWritten-counted.ObjectsWritten)/float64(n), "objects-written/op")
	b.ReportMetric(float64(now.ObjectsRead-counted.ObjectsRead)/float64(n), "objects-read/op")
}

// BenchmarkBadItems makes the first point of a drive of 1,000 files of which 200
// fail for ever, beside the same drive when none does, in real time.
func BenchmarkBadItems(b *testing.B) {
	for b.Loop() {
		took := map[bool]time.Duration{}
		for _, bad := range []bool{false, true} {
			w := newWorld(b, "ann")
			w.source = drive.New(drive.Config{Graph: w.url + "/v1.0", Authority: w.url, Tenant: w.tenant, ClientID: testApp, Credential: drive.Secret(testSecret)})
			w.engine.Sleep = backup.Sleep
			files := map[string]string{}
			for i := range 1000 {
				files[fmt.Sprintf("%02d/f%03d.txt", i%20, i)] = strings.Repeat(fmt.Sprint("content ", i), 500)
			}
			w.put(w.home(0), files)
			unit := w.protectAll()[0]
			if bad {
				ids := map[string]bool{}
				for name, id := range w.ids(0) {
					if name < "f200" && strings.HasPrefix(name, "f") {
						ids[string(id)] = true
					}
				}
				w.faults.Add(simtenant.Fault{Status: 503, Match: func(r *http.Request) bool {
					id, ok := contentAt(r.URL.Path)
					return ok && ids[id]
				}})
			}
			began := time.Now()
			point := w.backUp(unit)
			took[bad] = time.Since(began)
			if want := map[bool]int64{false: 0, true: 200}[bad]; point.Unread != want {
				b.Fatalf("%d items unread, want %d", point.Unread, want)
			}
		}
		b.ReportMetric(took[true].Seconds()/took[false].Seconds(), "times-healthy")
		b.ReportMetric(took[false].Seconds(), "s-healthy")
	}
}
