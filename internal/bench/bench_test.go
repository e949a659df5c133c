package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got := map[string]float64{}
	err := parse(strings.NewReader(`goos: linux
BenchmarkLists/sqlite-2         	       1	         1.475 x-small	        24.70 x-small-no-index
BenchmarkCorpus-2   1   7.5 holdfast-first-CPU-s   nonsense
BenchmarkBroken-2
PASS
`), got)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"Lists/sqlite x-small": 1.475, "Lists/sqlite x-small-no-index": 24.7, "Corpus holdfast-first-CPU-s": 7.5}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s: %v, want %v", name, got[name], v)
		}
	}
}

// What the page shows is what the figures say.
func TestPageIsOfTheFigures(t *testing.T) {
	const docs = "../../docs"
	dir := t.TempDir()
	for _, name := range []string{"benchmarks.json", "benchmarks.md"} {
		text, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := show(dir, f); err != nil {
		t.Fatal(err)
	}
	names := []string{"benchmarks.md"}
	for _, table := range tables {
		if table.chart != "" && f.has(table) {
			names = append(names, "benchmarks/"+table.chart+".svg")
		}
	}
	if len(names) < 3 {
		t.Errorf("there are no charts")
	}
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(docs, name)); err != nil || string(got) != string(want) {
			t.Errorf("docs/%s is not of docs/benchmarks.json (%v): go run ./internal/bench -draw", name, err)
		}
		if strings.HasSuffix(name, ".svg") {
			d := xml.NewDecoder(strings.NewReader(string(want)))
			for err = nil; err == nil; {
				_, err = d.Token()
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Each figure that a table names is one that some benchmark reports, by what the
// small cases found.
func TestTablesNameFigures(t *testing.T) {
	f, err := read("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		for _, r := range table.rows {
			for i, name := range r.cells {
				if _, ok := f.value(r, i); !ok && (f.All || !table.large) {
					t.Errorf("%s, %s: there is no figure %q", table.title, r.label, name)
				}
			}
		}
	}
}
