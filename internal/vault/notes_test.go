package vault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/blob"
)

// A vault that is opened again with its state reads few blobs of the index, however many
// there are, and all that is in it is found: also where notes are torn, or gone, where
// what they name is, and where they are wrong.
func TestNotesOnTheIndex(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
	v, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var trees []string
	const drives = 5*indexFan + 3
	for i := range drives {
		_, s := tiny(t, v, i)
		trees = append(trees, s.Tree)
	}
	if err := v.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.State, "index-notes")
	notes, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(notes)))
	in, ids := parseNote(lines[0])
	if len(lines) != 5 || len(ids) != indexFan {
		t.Fatalf("%d notes, the first on %d blobs", len(lines), len(ids))
	}
	free := slices.DeleteFunc(blobsNamed(t, cfg, uncompacted), func(id blob.ID) bool { return strings.Contains(string(notes), string(id)) })
	for name, tt := range map[string]struct {
		notes string
		most  int
		least int
	}{
		"as they were": {string(notes), 3 * indexFan, 1},
		"none":         {"", 10_000, drives},
		"torn":         {string(notes[:len(notes)-1]), drives, indexFan},
		"changed":      {strings.Replace(lines[0], string(in), string(ids[0]), 1) + strings.Join(lines[1:], ""), drives, indexFan},
		"twice":        {string(notes) + string(notes), 3 * indexFan, 1},
		"other bytes":  {"\x00\xff\n\n 1 2\n00000000\n00000000 \n" + string(notes), 3 * indexFan, 1},
		// These are no notes of ours. What is missing then is looked for in all there is.
		"wrong":        {string(notes) + formatNote(in, free), 10_000, drives},
		"in itself":    {string(notes) + formatNote(in, []blob.ID{in}), 3 * indexFan, 1},
		"in a circle":  {string(notes) + formatNote(ids[0], []blob.ID{in}), 3 * indexFan, 1},
		"not there":    {formatNote("xn0_00000000000000000000000000000000-s0-c1", ids), 10_000, drives},
		"of no index":  {string(notes) + formatNote("p0", []blob.ID{"q0", "xn_", "xnone_1"}), 3 * indexFan, 1},
		"of much else": {formatNote("xn900_1", []blob.ID{"xn900_2"}) + string(notes), 10_000, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.State = t.TempDir()
			if err := os.WriteFile(filepath.Join(cfg.State, "index-notes"), []byte(tt.notes), 0o600); err != nil {
				t.Fatal(err)
			}
			v := openVault(t, cfg)
			first := len(indexOf(t, v))
			if found := verified(t, v, trees...); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
			if n := len(indexOf(t, v)); n > tt.most || n < tt.least {
				t.Errorf("it reads %d blobs of the index, and %d at first; want %d to %d", n, first, tt.least, tt.most)
			}
		})
	}
	t.Run("what they name is gone", func(t *testing.T) {
		dropBlob(t, cfg, in)
		v := openVault(t, cfg)
		if found := verified(t, v, trees...); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
	})
}

// Whatever notes there are, one learns from them in finite time.
func TestNotesEndSomewhere(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	name := func() blob.ID { return blob.ID(fmt.Sprintf("xn%d_%d", random.IntN(2), random.IntN(12))) }
	for range 200 {
		var b strings.Builder
		for range random.IntN(20) {
			b.WriteString(formatNote(name(), []blob.ID{name(), name()}))
		}
		file := filepath.Join(t.TempDir(), "notes")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		var x shortIndex
		if err := x.remember(file); err != nil {
			t.Fatal(err)
		}
		var all []blob.Metadata
		for i := range 24 {
			all = append(all, blob.Metadata{BlobID: blob.ID(fmt.Sprintf("xn%d_%d", i/12, i%12))})
		}
		if len(x.visible(slices.Clone(all))) == 0 {
			t.Fatalf("all is in something, by the notes\n%s", &b)
		}
		// What is noted anew says the same.
		var y shortIndex
		if err := os.WriteFile(file, []byte(x.notes()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := y.remember(file); err != nil || len(y.inside) != len(x.inside) {
			t.Fatalf("%d of %d notes are left, %v", len(y.inside), len(x.inside), err)
		}
	}
}
