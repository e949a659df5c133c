package engine

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
)

var updateCosts = flag.Bool("update-costs", false, "write down what the engine's work costs now")

// costs are what a piece of work takes of others, in figures that a busy machine
// does not change.
type costs struct {
	Calls      int64 `json:"calls"`      // to the source
	Statements int64 `json:"statements"` // to the catalog
	Objects    int64 `json:"objects"`    // written into the vault and read from it
	Blobs      int64 `json:"blobs"`      // written to the vault's storage
	Allocated  int64 `json:"allocated"`  // by the process, in thousands
}

// countedCalls counts the requests that it sends.
type countedCalls struct{ n atomic.Int64 }

func (c *countedCalls) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

// What the engine's everyday work costs is written down in testdata/costs.json, and
// nothing becomes dearer by more than a seventh unnoticed. What became cheaper is
// written down too: go test ./internal/engine -run TestPlayCosts -update-costs
//
// In one world of four a restore in place reads some sixty folders of the vault more
// than in the others, by how the ids of its items fall. What is dearer in all is dearer
// for another reason.
func TestPlayCosts(t *testing.T) {
	var wrong []string
	for range 8 {
		if wrong = costsOf(t); len(wrong) == 0 {
			return
		}
	}
	for _, text := range wrong {
		t.Error(text)
	}
}

// costsOf does everyday work in a new world, and returns what it costs otherwise than
// is written down.
func costsOf(t *testing.T) (wrong []string) {
	w := prepare(t, "ann", "bob")
	path := func(i int) string {
		return filepath.Join(w.home(0), fmt.Sprintf("folder %02d/file %03d.txt", i%20, i))
	}
	write := func(i int, text string) {
		w.must(os.MkdirAll(filepath.Dir(path(i)), 0o755))
		w.must(os.WriteFile(path(i), []byte(strings.Repeat(fmt.Sprintln(text, i), 100)), 0o644))
	}
	for i := range 400 {
		write(i, "first")
	}
	w.put(w.home(1), map[string]string{"a.txt": "a", "b.txt": "b", "c.txt": "c"})
	var calls countedCalls
	w.http = &http.Client{Transport: &calls}
	w.connectChild()
	w.ownVault()
	units := w.protectAll()
	unit := units[0]

	got := map[string]costs{}
	var first, second backup.Point
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"first backup of three files", func() { w.backUp(units[1]) }},
		{"first backup of 400 files in 20 folders", func() { first = w.backUp(unit) }},
		{"nothing changed", func() { w.backUp(unit) }},
		{"ten files changed", func() { second = w.backUp(unit) }},
		{"restore of all to a new place", func() { w.restored(second, backup.DestinationNew) }},
		{"restore of ten files in place", func() { w.restored(first, backup.DestinationInPlace) }},
	} {
		if step.name == "ten files changed" {
			for i := range 10 {
				write(i*31, "changed")
			}
		}
		w.skew.Add(int64(time.Hour))
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		asked, sent, vault := calls.n.Load(), w.db.Statements(), w.vault.Counters()
		step.do()
		now := w.vault.Counters()
		runtime.ReadMemStats(&after)
		got[step.name] = costs{
			Calls: calls.n.Load() - asked, Statements: w.db.Statements() - sent,
			Objects:   now.ObjectsWritten - vault.ObjectsWritten + now.ObjectsRead - vault.ObjectsRead,
			Blobs:     now.BlobsWritten - vault.BlobsWritten,
			Allocated: int64(after.Mallocs-before.Mallocs) / 1000,
		}
	}
	const file = "testdata/costs.json"
	if *updateCosts {
		b, err := json.MarshalIndent(got, "", "  ")
		w.must(err)
		w.must(os.WriteFile(file, append(b, '\n'), 0o644))
		return nil
	}
	b, err := os.ReadFile(file)
	w.must(err)
	var want map[string]costs
	w.must(json.Unmarshal(b, &want))
	for name, is := range got {
		was := want[name]
		for _, figure := range []struct {
			what    string
			is, was int64
		}{
			{"calls to the source", is.Calls, was.Calls}, {"statements to the catalog", is.Statements, was.Statements},
			{"objects of the vault", is.Objects, was.Objects}, {"blobs of the vault", is.Blobs, was.Blobs},
			{"thousand allocations", is.Allocated, was.Allocated},
		} {
			// A few more or less are a matter of who came first.
			most, least := figure.was+figure.was/7+2, figure.was-figure.was/4-2
			switch {
			case figure.is > most:
				wrong = append(wrong, fmt.Sprintf("%s: %d %s, where %d were written down: find out why, or write it down with -update-costs", name, figure.is, figure.what, figure.was))
			case figure.is < least:
				wrong = append(wrong, fmt.Sprintf("%s: %d %s, no longer %d: write it down with -update-costs, so that it stays so", name, figure.is, figure.what, figure.was))
			}
		}
	}
	return wrong
}
