package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content/indexblob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/object"
)

// What was deleted on purpose is in its pack still. Recover leaves it there.
func TestWhatWasDeletedIsNotRecovered(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	one := paths(t, v, s.Tree)["A/one.txt"].Content
	id, err := object.ParseID(one)
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := id.ContentID()
	w, err := v.session(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	if err := w.ContentManager().DeleteContent(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = w.ContentManager().CompactIndexes(t.Context(), indexblob.CompactOptions{AllIndexes: true, DropDeletedBefore: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := v.Recover(t.Context()); err != nil || found != (Recovered{}) {
		t.Errorf("Recover = %+v, %v, want nothing", found, err)
	}
}

// A schedule of kopia's that cannot be read, and the mark of a session that must
// have ended, keep maintenance from ever finishing. They go.
func TestDamagedNotesDoNotStopMaintenance(t *testing.T) {
	const mark = "s0123456789abcdef0123456789abcdef-s0123456789abcdef148"
	for _, tt := range []struct {
		name, blob string
		b          []byte
		old        time.Duration
		want       error
	}{
		{"a schedule, emptied", "kopia.maintenance", nil, 0, nil},
		{"a schedule, overwritten", "kopia.maintenance", []byte(strings.Repeat("x", 100)), 0, nil},
		{"the mark of a session of last week, emptied", mark, nil, 7 * 24 * time.Hour, nil},
		{"the mark of a session of last week, overwritten", mark, []byte(strings.Repeat("x", 100)), 7 * 24 * time.Hour, nil},
		{"the mark of a session of now", mark, []byte("x"), 0, ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, cfg := newVault(t)
			s := sample(t, v)
			roots := map[DriveKey]string{key: s.Root}
			st := openStorage(t, cfg)
			if err := putBlob(t.Context(), st, blob.ID(tt.blob), tt.b); err != nil {
				t.Fatal(err)
			}
			age(t, cfg, tt.blob, tt.old)
			_, err := v.maintain(t.Context(), fixed(roots), maintenance.ModeFull)
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Fatalf("maintain = %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				if _, err := readBlob(t.Context(), st, blob.ID(tt.blob)); err != nil {
					t.Errorf("the mark of a session that may go on: %v", err)
				}
				return
			}
			if _, err := maintenance.GetSchedule(t.Context(), v.rep); err != nil {
				t.Error(err)
			}
			if _, err := v.rep.ContentReader().ListActiveSessions(t.Context()); err != nil {
				t.Error(err)
			}
			if err := verify(t, v, s.Tree); err != nil {
				t.Error(err)
			}
		})
	}
}

// age makes the file of a blob older.
func age(t *testing.T, cfg Config, id string, by time.Duration) {
	t.Helper()
	aged := 0
	err := filepath.WalkDir(cfg.Dir, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(cfg.Dir, path)
		if err == nil && strings.ReplaceAll(rel, "/", "") == id+".f" {
			aged++
			then := time.Now().Add(-by)
			err = os.Chtimes(path, then, then)
		}
		return err
	})
	if err != nil || aged != 1 {
		t.Fatal(aged, err)
	}
}

// Bringing together what is together already makes no second manifest, and clears
// away those that say less.
func TestMergeMakesOneManifest(t *testing.T) {
	v, _ := newVault(t)
	s1 := sample(t, v)
	u := begin(t, v, s1)
	u.Put(file(t, u, "x", "root", "x", "new"))
	s2 := seal(t, u, noon.Add(24*time.Hour))
	u.Close()
	older := func() { // as a publication leaves it that swept nothing
		t.Helper()
		d, err := v.readDir(t.Context(), s1.Root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := save(context.Background(), v.updates, key.source(), &record{Object: s1.Root, Summary: summarize(d.records, noon)}, "", noon); err != nil {
			t.Fatal(err)
		}
		if err := v.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range []string{s2.Root, "", s1.Root} {
		older()
		got, err := v.Merge(t.Context(), key, root, s1.Tree, s2.Tree)
		if err != nil {
			t.Fatal(err)
		}
		if all := manifestRoots(t, v, key); len(all) != 1 || all[0] != got {
			t.Errorf("after a merge from %q to %s the manifests name %q", root, got, all)
		}
		points, err := v.Points(t.Context(), key)
		if err != nil || len(points) != 2 {
			t.Errorf("points = %v, %v", points, err)
		}
	}
}

// Blobs of the index are lost together with the catalog, or with a day of it, so that
// nobody knows of packs that are there. They are found before anything is collected,
// and a catalog that is compared after that has all points.
func TestWhatNobodyKnowsIsFoundBeforeCollection(t *testing.T) {
	for _, tt := range []struct {
		name  string
		knows bool // the catalog is yesterday's, and not empty
		all   bool // the whole index is gone, and not today's blob of it
		// A collection has noted by itself that something of today's pack was
		// deleted, before the blob was lost that knows the rest.
		noted bool
	}{
		{"all of the index and the catalog", false, true, false},
		{"today's index and the catalog", false, false, false},
		{"today's index and today's catalog", true, false, false},
		{"today's index, and what was deleted since is known", true, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTorn(t)
			if tt.noted {
				wr, err := w.v.session(t.Context(), "test")
				if err != nil {
					t.Fatal(err)
				}
				id, err := object.ParseID(paths(t, w.v, w.two.Tree)["docs/file7.txt"].Content)
				if err != nil {
					t.Fatal(err)
				}
				c, _, _ := id.ContentID()
				if err := errors.Join(wr.ContentManager().DeleteContent(t.Context(), c), wr.Flush(t.Context()), wr.Close(t.Context())); err != nil {
					t.Fatal(err)
				}
			}
			roots := map[DriveKey]string{}
			if tt.knows {
				roots[key] = w.one.Root
			}
			for _, id := range blobsNamed(t, w.cfg, "xn") {
				if tt.all || id == w.index {
					dropBlob(t, w.cfg, id)
				}
			}
			v := openVault(t, w.cfg)
			for range 3 {
				for s, err := range v.Drives(t.Context()) { // as the catalog is compared
					if err != nil {
						t.Fatal(err)
					}
					roots[s.Key] = s.Root
				}
				if err := collect(t, v, roots); err != nil {
					t.Fatal(err)
				}
			}
			if roots[key] != w.one.Root || roots[secondKey] != w.two.Root {
				t.Errorf("the drives' roots are %v", roots)
			}
			for _, s := range []Sealed{w.one, w.two} {
				if err := verify(t, v, s.Tree); err != nil {
					t.Error(err)
				}
			}
			in := paths(t, v, w.two.Tree)
			for name, want := range w.files {
				if got := read(t, v, in["docs/"+name+".txt"].Content); got != want {
					t.Errorf("%s = %q", name, got)
				}
			}
		})
	}
}

// A vault that is new is not collected, for which kopia would take fifty megabytes, before
// the first day is over; from then on it is, daily.
func TestANewVaultIsNotCollected(t *testing.T) {
	v, _ := newVault(t)
	roots := fixed(map[DriveKey]string{key: sample(t, v).Root})
	schedule := func() maintenance.Schedule {
		t.Helper()
		if _, err := v.Maintain(t.Context(), roots); err != nil {
			t.Fatal(err)
		}
		s, err := maintenance.GetSchedule(t.Context(), v.rep)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	collections := func(s maintenance.Schedule) int { return len(s.Runs[maintenance.TaskSnapshotGarbageCollection]) }
	first := schedule()
	if next := time.Until(first.NextFullMaintenanceTime); collections(first) != 0 || next < 23*time.Hour || next > 25*time.Hour {
		t.Fatalf("a new vault was collected %d times, and will be in %v", collections(first), next)
	}
	if again := schedule(); collections(again) != 0 || !again.NextFullMaintenanceTime.Equal(first.NextFullMaintenanceTime) {
		t.Errorf("an hour later it was put off again: %+v", again)
	}
	first.NextFullMaintenanceTime = time.Now().Add(-time.Second)
	if err := maintenance.SetSchedule(t.Context(), v.rep.(repo.DirectRepositoryWriter), &first); err != nil {
		t.Fatal(err)
	}
	if due := schedule(); collections(due) != 1 || time.Until(due.NextFullMaintenanceTime) < 23*time.Hour {
		t.Errorf("when it was due it was collected %d times, and will be in %v", collections(due), time.Until(due.NextFullMaintenanceTime))
	}
}
