package engine

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
)

// BenchmarkCorpus backs real files up and restores them, beside the commands of
// restic and kopia, where they are installed, on the same files in the same run. It
// reports processor seconds and peaks of resident memory of whole processes; the
// source, which the peers do without, has a process of its own. HOLDFAST_CORPUS
// names the files; usually they are Go's own sources. HOLDFAST_PROFILE says where to
// leave a profile of each phase, and HOLDFAST_HEAP where one of its fullest heap.
func BenchmarkCorpus(b *testing.B) {
	from := os.Getenv("HOLDFAST_CORPUS")
	if from == "" {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			b.Fatal(err)
		}
		from = filepath.Join(strings.TrimSpace(string(root)), "src")
	}
	for b.Loop() {
		w := prepare(b, "ann")
		home := w.home(0)
		w.must(os.MkdirAll(home, 0o755))
		w.must(os.CopyFS(home, os.DirFS(from)))
		files := paths(b, home)
		m := measures{b: b, got: map[string]float64{}}
		peers := peersIn(b, w.dir, home)

		// Each does a phase right after the other: what the machine can do changes by the minute.
		w.connectChild()
		unit := w.protectAll()[0]
		var point backup.Point
		m.phase("first", func() { point = w.backUp(unit) })
		m.peers(peers, "first")
		m.size("holdfast", scratch+"/vault")
		for _, p := range peers {
			m.size(p.name, w.dir+"/"+p.name)
		}
		m.phase("unchanged", func() { w.backUp(unit) })
		m.peers(peers, "unchanged")
		for i := range 10 {
			w.must(os.WriteFile(files[(i*7919)%len(files)], fmt.Appendf(nil, "changed %d", i), 0o644))
		}
		m.phase("ten", func() { point = w.backUp(unit) })
		m.phase("new place", func() { w.restored(point, backup.DestinationNew) })
		m.peers(peers, "new place")
		for i := range len(files) / 40 {
			w.must(os.WriteFile(files[i*40], fmt.Appendf(nil, "lost %d", i), 0o644))
		}
		m.phase("in place, a fortieth", func() { w.restored(point, backup.DestinationInPlace) })
		damages["emptied"](w, home)
		m.phase("in place, all", func() { w.restored(point, backup.DestinationInPlace) })
		m.report()
	}
}

// A peer is a program that does something alike, to the files of home.
type peer struct {
	name, path      string
	dir, home       string
	set             [][]string
	backup, restore []string
}

// peersIn returns the peers that are installed, each with a repository in dir.
func peersIn(b *testing.B, dir, home string) (there []peer) {
	for _, p := range []peer{
		{name: "restic", set: [][]string{{"init", "-q"}}, backup: []string{"backup", "-q", "."}, restore: []string{"restore", "-q", "latest", "--target"}},
		{name: "kopia", set: [][]string{{"repository", "create", "filesystem", "--path", dir + "/kopia"}, {"policy", "set", "--global", "--compression=zstd"}},
			backup: []string{"snapshot", "create", "--no-progress", "."}, restore: []string{"restore", "--no-progress", "."}},
	} {
		var err error
		if p.path, err = exec.LookPath(p.name); err != nil {
			b.Logf("%s is not installed", p.name)
			continue
		}
		p.dir, p.home = dir, home
		for _, args := range p.set {
			p.run(b, args...)
		}
		there = append(there, p)
	}
	return there
}

// run runs the program to its end, and returns what it used, and the most memory that it
// was resident in, in KiB: what the system says of that at the end would have in it what
// this process is resident in, from which it was forked.
func (p peer) run(b *testing.B, args ...string) (used time.Duration, peak int64) {
	cmd := exec.Command(p.path, args...)
	cmd.Dir = p.home
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD=x", "RESTIC_REPOSITORY="+p.dir+"/restic", "XDG_CACHE_HOME="+p.dir+"/cache",
		"KOPIA_PASSWORD=x", "KOPIA_CONFIG_PATH="+p.dir+"/kopia.config", "KOPIA_CHECK_FOR_UPDATES=false", "HOME="+p.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Start()
	if err == nil {
		ended := make(chan error)
		go func() { ended <- cmd.Wait() }()
		for over := false; !over; {
			select {
			case err = <-ended:
				over = true
			case <-time.After(20 * time.Millisecond):
				if kib, err := highWater(cmd.Process.Pid); err == nil { // else it has ended
					peak = max(peak, kib)
				}
			}
		}
	}
	if err != nil {
		b.Fatalf("%s %s: %v\n%s", p.name, strings.Join(args, " "), err, &out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak
}

// measures are the figures of one run.
type measures struct {
	b   *testing.B
	got map[string]float64
}

// peers have each of them do a phase.
func (m measures) peers(all []peer, phase string) {
	for _, p := range all {
		args, target := p.backup, p.dir+"/restored-"+p.name
		if phase == "new place" {
			args = append(slices.Clip(p.restore), target)
		}
		used, peak := p.run(m.b, args...)
		m.set(p.name+" "+phase, used, peak)
		os.RemoveAll(target)
	}
}

// phase measures what do uses of this process, and returns the processor time and the
// most memory that was live.
func (m measures) phase(name string, do func()) (used time.Duration, live uint64) {
	m.b.Helper()
	runtime.GC()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200); err != nil {
		m.b.Log(err) // the peak is then that of the phases before, too
	}
	stop, most := profile(m.b, name), watchHeap(name)
	before := cpu(m.b)
	do()
	used, live = cpu(m.b)-before, most()
	stop()
	fmt.Fprintf(os.Stderr, "%-32s %34d MB live\n", "", live/1e6)
	m.set("holdfast "+name, used, peak(m.b))
	return used, live
}

// profile leaves a profile of the processor in HOLDFAST_PROFILE, until it is stopped.
func profile(b *testing.B, phase string) (stop func()) {
	dir := os.Getenv("HOLDFAST_PROFILE")
	if dir == "" {
		return func() {}
	}
	f, err := os.Create(filepath.Join(dir, phase+".cpu"))
	if err != nil {
		b.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		b.Fatal(err)
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}
}

func (m measures) set(name string, used time.Duration, kib int64) {
	fmt.Fprintf(os.Stderr, "%-32s %8.2f CPU s %6d MiB\n", name, used.Seconds(), kib>>10) // a benchmark's log is cut
	m.got[name] = used.Seconds()
	m.b.ReportMetric(used.Seconds(), metric(name)+"-CPU-s")
	m.b.ReportMetric(float64(kib>>10), metric(name)+"-MiB")
}

// metric is a name as benchmarks have it.
func metric(name string) string { return strings.NewReplacer(" ", "-", ",", "").Replace(name) }

// size reports how large a repository is.
func (m measures) size(name, dir string) {
	var all int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all += info.Size()
		}
		return err
	})
	if err != nil {
		m.b.Fatal(err)
	}
	m.b.ReportMetric(float64(all)/1e6, name+"-MB")
}

// report gives each phase beside the better of the peers.
func (m measures) report() {
	for _, phase := range []string{"first", "unchanged", "new place"} {
		for _, p := range []string{"restic", "kopia"} {
			if of := m.got[p+" "+phase]; of > 0 {
				m.b.ReportMetric(m.got["holdfast "+phase]/of, strings.ReplaceAll(phase, " ", "-")+"/"+p)
			}
		}
	}
}

// peak returns the most memory that this process was resident in, in KiB.
func peak(b *testing.B) int64 {
	kib, err := highWater(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	return kib
}

// highWater is the same of any process, since it began the program that it runs.
func highWater(pid int) (kib int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(status, []byte("VmHWM:"))
	if !ok {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
}

// paths returns the files of a folder, in an order of no meaning.
func paths(b *testing.B, home string) (files []string) {
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
	return files
}
