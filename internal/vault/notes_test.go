package vault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/blob"
)

// sizes returns how many bytes of index there are, and how many that a vault looks into.
func sizes(t *testing.T, v *Vault, cfg Config) (all, visible int64) {
	t.Helper()
	err := openStorage(t, cfg).ListBlobs(t.Context(), uncompacted, func(m blob.Metadata) error { all += m.Length; return nil })
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := v.rep.IndexBlobs(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		visible += b.Length
	}
	return all, visible
}

// Several processes on one vault write no more of an index than one does, and read little more.
func TestProcessesShareTheIndex(t *testing.T) {
	const flushes = 400
	var all, visible [2]int64
	for k, n := range []int{1, 4} {
		v, cfg := newVault(t)
		processes := []*Vault{v}
		for len(processes) < n {
			cfg.State = t.TempDir()
			processes = append(processes, openVault(t, cfg))
		}
		var trees []string
		for i := range flushes {
			_, s := tiny(t, processes[i%n], i)
			trees = append(trees, s.Tree)
			if i%20 == 19 { // as they do once in a minute
				for _, v := range processes {
					if err := v.rep.Refresh(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		cfg.State = t.TempDir()
		late := openVault(t, cfg)
		for _, v := range append(processes, late) {
			if err := v.rep.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(indexOf(t, v)); n > 4*3*indexFan {
				t.Errorf("%d processes: one looks into %d blobs", len(processes), n)
			}
			if found := verified(t, v, trees[:20]...); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
		}
		if found := verified(t, late, trees...); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
		all[k], visible[k] = sizes(t, late, cfg)
		if notes := len(blobsNamed(t, cfg, string(noteBlob))); notes > n*2*indexFan {
			t.Errorf("%d processes left %d notes", n, notes)
		}
	}
	if all[1] > all[0]*3/2 || visible[1] > visible[0]*3/2 {
		t.Errorf("four processes wrote %d bytes of index, one %d; %d and %d are read", all[1], all[0], visible[1], visible[0])
	}
}

// A vault that is opened again reads few blobs of the index, however many there are, and
// all that is in it is found: also where notes are torn, or gone, where what they name
// is, and where they are wrong.
func TestNotesOnTheIndex(t *testing.T) {
	v, cfg := newVault(t)
	var trees []string
	const drives = 5*indexFan + 3
	for i := range drives {
		_, s := tiny(t, v, i)
		trees = append(trees, s.Tree)
	}
	st := openStorage(t, cfg)
	notes := map[blob.ID][]byte{}
	var noted []blob.ID
	for _, id := range blobsNamed(t, cfg, string(noteBlob)) {
		b, err := readBlob(t.Context(), st, id)
		if err != nil {
			t.Fatal(err)
		}
		notes[id[len(noteBlob):]] = b
		noted = append(noted, parseNote(b)...)
	}
	if len(notes) != 5 || len(noted) != 5*indexFan {
		t.Fatalf("%d notes on %d blobs", len(notes), len(noted))
	}
	var in blob.ID
	for in = range notes {
		break
	}
	ids := parseNote(notes[in])
	free := slices.DeleteFunc(blobsNamed(t, cfg, uncompacted), func(id blob.ID) bool { _, is := notes[id]; return is || slices.Contains(noted, id) })
	// but returns the notes with another in place of one, or besides.
	but := func(id blob.ID, b []byte) map[blob.ID][]byte {
		all := map[blob.ID][]byte{id: b}
		for k, v := range notes {
			if k != id {
				all[k] = v
			}
		}
		return all
	}
	without := func() {
		for _, id := range blobsNamed(t, cfg, string(noteBlob)) {
			dropBlob(t, cfg, id)
		}
	}
	const few, most = 3 * indexFan, 10_000
	for name, tt := range map[string]struct {
		notes       map[blob.ID][]byte
		least, most int
	}{
		"as they were": {notes, 1, few},
		"none":         {nil, drives, most},
		"torn":         {but(in, notes[in][:len(notes[in])-1]), indexFan, drives},
		"empty":        {but(in, nil), indexFan, drives},
		"changed":      {but(in, []byte(strings.Replace(string(notes[in]), string(ids[0]), string(ids[1]), 1))), indexFan, drives},
		"other bytes":  {but(in, []byte("\n\x00\xff\n\n 1 2\n")), indexFan, drives},
		// These are no notes of ours. What is missing then is looked for in all there is.
		"wrong":        {but(in, formatNote(append(slices.Clone(ids), free...))), drives, most},
		"in itself":    {but(in, formatNote(append(slices.Clone(ids), in))), 1, few},
		"in a circle":  {but(ids[0], formatNote([]blob.ID{in, "x"})), 1, most}, // wrong if it is read first
		"not there":    {but("xn0_00000000000000000000000000000000-s0-c1", formatNote(free)), 1, few},
		"of no index":  {but("p0", formatNote([]blob.ID{"q0", "xn_", "xnone_1", ids[0]})), 1, few},
		"of much else": {but("xn900_1", formatNote([]blob.ID{"xn900_2"})), 1, few},
	} {
		t.Run(name, func(t *testing.T) {
			without()
			for id, b := range tt.notes {
				if err := putBlob(t.Context(), st, noteBlob+id, b); err != nil {
					t.Fatal(err)
				}
			}
			cfg := cfg
			cfg.State = t.TempDir()
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
		without()
		for id, b := range notes {
			if err := putBlob(t.Context(), st, noteBlob+id, b); err != nil {
				t.Fatal(err)
			}
		}
		dropBlob(t, cfg, in)
		cfg := cfg
		cfg.State = t.TempDir()
		v := openVault(t, cfg)
		if found := verified(t, v, trees...); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
		if n := len(indexOf(t, v)); n < indexFan || n > drives {
			t.Errorf("it reads %d blobs of the index", n)
		}
	})
	t.Run("notes on what is over go", func(t *testing.T) {
		without()
		over := noteBlob + "xn0_over"
		for _, id := range []blob.ID{over, noteBlob + "xn7_now", noteBlob + "nothing"} {
			if err := putBlob(t.Context(), st, id, formatNote(ids)); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.dropNotes(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		if left := blobsNamed(t, cfg, string(noteBlob)); !slices.Equal(left, []blob.ID{noteBlob + "xn7_now"}) {
			t.Errorf("notes %q are left", left)
		}
	})
}

// Whatever notes there are, one learns from them in finite time.
func TestNotesEndSomewhere(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	name := func() blob.ID { return blob.ID(fmt.Sprintf("xn0_%d", random.IntN(12))) }
	_, cfg := newVault(t)
	st := openStorage(t, cfg)
	for range 100 {
		for range random.IntN(20) {
			if err := putBlob(t.Context(), st, noteBlob+name(), formatNote([]blob.ID{name(), name()})); err != nil {
				t.Fatal(err)
			}
		}
		var x shortIndex
		var all []blob.Metadata
		there := map[blob.ID]bool{}
		for i := range 12 {
			id := blob.ID(fmt.Sprintf("xn0_%d", i))
			all, there[id] = append(all, blob.Metadata{BlobID: id}), true
		}
		if err := x.learn(context.Background(), st, "xn0_", there); err != nil {
			t.Fatal(err)
		}
		if len(x.visible(all)) == 0 {
			t.Fatal("all is in something")
		}
		for _, id := range blobsNamed(t, cfg, string(noteBlob)) {
			dropBlob(t, cfg, id)
		}
	}
}
