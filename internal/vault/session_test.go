package vault

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kopia/kopia/repo/manifest"
)

// A session loses no manifest that somebody writes while another flushes, and keeps none in
// memory.
func TestASessionForgetsManifests(t *testing.T) {
	v, _ := newVault(t)
	s, err := v.session(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	const rounds, writers, each, long = 3, 8, 15, 20_000
	before := 0
	for round := range rounds {
		if round == 1 { // when all buffers are there
			before = live()
		}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for n := range each {
					labels := map[string]string{manifest.TypeLabelKey: "test", "name": fmt.Sprint(round, " ", w, " ", n), "long": strings.Repeat(fmt.Sprint(n%10), long)}
					if _, err := s.PutManifest(t.Context(), labels, n); err != nil {
						t.Error(err)
					}
					if err := s.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	if grown := live() - before; grown > (rounds-1)*writers*each*long/4 {
		t.Errorf("%d bytes of manifests are kept", grown)
	}
	other, err := v.session(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	found, err := other.FindManifests(t.Context(), map[string]string{manifest.TypeLabelKey: "test"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range found {
		names[m.Labels["name"]] = true
	}
	if len(found) != rounds*writers*each || len(names) != len(found) {
		t.Errorf("%d manifests of %d names are there, want %d of each", len(found), len(names), rounds*writers*each)
	}

	// What is not flushed is seen by its own session only, and what is deleted is gone.
	staged := map[string]string{manifest.TypeLabelKey: "staged"}
	var id manifest.ID
	put := func(put func(context.Context, map[string]string, any) (manifest.ID, error)) func() error {
		return func() (err error) {
			id, err = put(t.Context(), staged, "what")
			return err
		}
	}
	flush := func() error { return s.Flush(t.Context()) }
	for _, step := range []struct {
		do         func() error
		here, away int
	}{
		{put(s.PutManifest), 1, 0},
		{flush, 1, 1},
		{put(s.PutManifest), 2, 1},
		{put(s.ReplaceManifests), 1, 1},
		{flush, 1, 1},
		{func() error { return s.DeleteManifest(t.Context(), id) }, 0, 1},
		{flush, 0, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		here, err := s.FindManifests(t.Context(), staged)
		if err != nil {
			t.Fatal(err)
		}
		there, err := other.FindManifests(t.Context(), staged)
		if err != nil {
			t.Fatal(err)
		}
		if len(here) != step.here || len(there) != step.away {
			t.Errorf("%d here and %d elsewhere, want %d and %d", len(here), len(there), step.here, step.away)
		}
	}
}

// live is how much memory is in use.
func live() int {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
