// Command bench runs the benchmarks of this repository, prints their figures as
// the tables of docs/benchmarks.md, and draws them. It is run from the root of the
// repository, by make bench.
//
// Without flags it takes small cases, in a few minutes; with -all those that the
// promises are made for, in an hour or two. What it found is written with -write to
// docs/benchmarks.json, from which the tables and charts of the page are made; -draw
// makes them again without measuring, and -only NAME measures one benchmark and leaves
// the other figures as they are there.
//
// Beside Holdfast's figures stand those of restic, where it is installed, and of the
// kopia command, which is built from the module that the vault is of.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Figures are what one run has found.
type Figures struct {
	Taken   string             `json:"taken"` // the day
	Machine string             `json:"machine"`
	Go      string             `json:"go"`
	All     bool               `json:"all"`
	Peers   []string           `json:"peers"`
	Values  map[string]float64 `json:"values"` // by "Benchmark/sub metric"
}

// A run is one call of go test.
type run struct {
	room, bench string
	all         []string // the environment for all
	small       []string // and for the small cases
	large       bool     // it is one of the large cases only
}

var runs = []run{
	{room: "internal/engine", bench: "Corpus"},
	{room: "internal/engine", bench: "LargeDrive", small: []string{"HOLDFAST_ITEMS=20000"}, all: []string{"HOLDFAST_ITEMS=300000"}},
	{room: "internal/engine", bench: "ManyDrives", small: []string{"HOLDFAST_DRIVES=300"}, all: []string{"HOLDFAST_DRIVES=8000"}},
	{room: "internal/catalog", bench: "Lists", small: []string{"HOLDFAST_BENCH_ROWS=10000"}, all: []string{"HOLDFAST_BENCH_ROWS=1000000"}},
	{room: "internal/graphapi", bench: "UnitsOverHTTP"},
	{room: "internal/graphapi", bench: "Patch50OverHTTP"},
	{room: "internal/catalog", bench: "BulkJob50k", large: true},
	{room: "internal/catalog", bench: "TwoWeeks", large: true},
	{room: "internal/engine", bench: "BadItems", large: true},
	{room: "cmd/holdfast", bench: "Serves", all: []string{"HOLDFAST_DRIVES=400"}, large: true},
	{room: "cmd/holdfast", bench: "Tenants", all: []string{"HOLDFAST_TENANTS=200", "HOLDFAST_DRIVES=20"}, large: true},
}

func main() {
	var all, write, draw bool
	flag.BoolVar(&all, "all", false, "measure the large cases")
	flag.BoolVar(&write, "write", false, "write the figures to docs")
	flag.BoolVar(&draw, "draw", false, "make the tables and charts of docs again, from the figures that are there")
	only := flag.String("only", "", "measure this benchmark only, of those there are figures of")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, *only, all, write, draw); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, only string, all, write, draw bool) error {
	if draw {
		f, err := read("docs")
		if err != nil {
			return err
		}
		return show("docs", f)
	}
	began := time.Now()
	f, failed := measure(ctx, only, all)
	if only != "" {
		before, err := read("docs")
		if err != nil {
			return err
		}
		if before.All != all {
			return errors.New("the other figures are of other cases: with -all or without it")
		}
		maps.Copy(before.Values, f.Values)
		f = before
	}
	fmt.Println(f.page(""))
	fmt.Printf("Measured in %v.\n", time.Since(began).Round(time.Second))
	if failed != nil {
		return failed
	}
	if !write {
		return nil
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile("docs/benchmarks.json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return show("docs", f)
}

// measure runs the benchmarks. What fails takes nothing from the others.
func measure(ctx context.Context, only string, all bool) (Figures, error) {
	f := Figures{Taken: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Go: runtime.Version(), All: all, Values: map[string]float64{}}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(dir)
	var failed error
	if only != "" && only != "Corpus" {
		// no peer has a part in it
	} else if err := buildKopia(ctx, dir); err != nil {
		failed = fmt.Errorf("build the kopia command: %w", err)
	}
	path := "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
	for _, peer := range [][]string{{"restic", "version"}, {filepath.Join(dir, "kopia"), "--version"}} {
		out, err := exec.CommandContext(ctx, peer[0], peer[1:]...).Output()
		if err != nil && only == "" {
			fmt.Fprintf(os.Stderr, "bench: no %s beside: %v\n", filepath.Base(peer[0]), err)
		}
		version := strings.Fields(strings.TrimPrefix(string(out), "restic "))
		if len(version) > 0 {
			f.Peers = append(f.Peers, filepath.Base(peer[0])+" "+version[0])
		}
	}
	for _, r := range runs {
		if r.large && !all || only != "" && only != r.bench {
			continue
		}
		env := r.small
		if all {
			env = r.all
		}
		fmt.Fprintf(os.Stderr, "bench: %s %s\n", r.bench, strings.Join(env, " "))
		cmd := command(ctx, append([]string{path}, env...), "go", "test", "-run", "^$", "-bench", "^Benchmark"+r.bench+"$", "-benchtime", "1x", "-timeout", "3h", "./"+r.room)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			err = errors.Join(parse(out, f.Values), cmd.Wait())
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", r.bench, err))
		}
	}
	return f, failed
}

func command(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// buildKopia builds the kopia command into a folder, of the module that the vault
// is of. What it needs beyond that is noted in a copy of our go.mod.
func buildKopia(ctx context.Context, dir string) error {
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return command(ctx, nil, "go", "build", "-mod=mod", "-modfile="+filepath.Join(dir, "go.mod"), "-o", filepath.Join(dir, "kopia"), "github.com/kopia/kopia").Run()
}

// machine is what the figures are of.
func machine() string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), model)
}

// parse reads the figures of benchmarks: lines such as
//
//	BenchmarkLists/sqlite-2   1   1.2 x-small   3.4 x-small-no-index
//
// The first number of a line is how often it was run.
func parse(r io.Reader, values map[string]float64) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 { // how many processors there are
			name = name[:i]
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			values[name+" "+fields[i+1]] = v
		}
	}
	return lines.Err()
}

// read returns the figures that are in a folder.
func read(dir string) (f Figures, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "benchmarks.json"))
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(text, &f)
}

const (
	from = "<!-- figures, by make bench -->\n"
	to   = "<!-- end of figures -->\n"
)

// show writes tables and charts into a folder's page.
func show(dir string, f Figures) error {
	page := filepath.Join(dir, "benchmarks.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), from)
	_, after, also := strings.Cut(rest, to)
	if !ok || !also {
		return fmt.Errorf("%s has no place for figures", page)
	}
	if err := os.WriteFile(page, []byte(before+from+f.page("benchmarks")+to+after), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "benchmarks"), 0o755); err != nil {
		return err
	}
	for _, t := range tables {
		if t.chart == "" || !f.has(t) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "benchmarks", t.chart+".svg"), []byte(f.chart(t)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// scope says which cases were measured.
func (f Figures) scope() string {
	if f.All {
		return "the large cases (`make bench-all`)"
	}
	return "the small cases (`make bench`)"
}

// page is the figures as tables, with their charts where a folder of them is named.
func (f Figures) page(charts string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nTaken on %s on %s with %s; beside it %s. These are %s.\n", f.Taken, f.Machine, f.Go, cmp.Or(strings.Join(f.Peers, " and "), "nothing"), f.scope())
	for _, t := range tables {
		if !f.has(t) {
			continue
		}
		fmt.Fprintf(&b, "\n**%s.** %s\n\n| %s | %s |\n|---|%s\n", t.title, t.how, t.unit, strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
		for _, r := range t.rows {
			fmt.Fprintf(&b, "| %s |", r.label)
			for i := range t.columns {
				text := ""
				if v, ok := f.value(r, i); ok {
					text = number(v)
				}
				fmt.Fprintf(&b, " %s |", text)
			}
			b.WriteByte('\n')
		}
		if charts != "" && t.chart != "" {
			fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", t.title, charts, t.chart)
		}
	}
	b.WriteByte('\n')
	return b.String()
}

// has reports whether any figure of a table is there.
func (f Figures) has(t table) bool {
	for _, r := range t.rows {
		for i := range t.columns {
			if _, ok := f.value(r, i); ok {
				return true
			}
		}
	}
	return false
}

func (f Figures) value(r row, column int) (v float64, ok bool) {
	if column < len(r.cells) && r.cells[column] != "" {
		v, ok = f.Values[r.cells[column]]
	}
	return v, ok
}

// number writes a figure with as many digits as mean something.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
