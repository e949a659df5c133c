package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"

	"holdfast/internal/backup"
)

// snapshots returns those that kopia finds in a repository.
func snapshots(t *testing.T, rep repo.Repository) []*snapshot.Manifest {
	t.Helper()
	ids, err := snapshot.ListSnapshotManifests(t.Context(), rep, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := snapshot.LoadSnapshots(t.Context(), rep, ids)
	if err != nil || len(all) == 0 {
		t.Fatalf("%d snapshots: %v", len(all), err)
	}
	return all
}

// Nothing is collected where a snapshot is not known, and before all is looked at that they name.
func TestACollectionGoesOnWithoutNoSnapshot(t *testing.T) {
	v, _ := newVault(t)
	u, err := v.Begin(t.Context(), key, "", "")
	if err != nil {
		t.Fatal(err)
	}
	u.Put(folder("root", "", "root"))
	u.Put(file(t, u, "a", "root", "a", "a"))
	seal(t, u, noon)
	u.Close()
	all := map[string]string{manifest.TypeLabelKey: snapshot.ManifestType}
	c := collector{DirectRepositoryWriter: v.updates, vault: v, walk: newWalk()}
	found, err := c.FindManifests(t.Context(), all)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	none := func(content.Info) error { return nil }
	if err := c.ContentReader().IterateContents(t.Context(), content.IterateOptions{}, none); err == nil {
		t.Error("kopia has looked at nothing, and may take away what it did not find")
	}
	inUse(t, c)
	if err := c.ContentReader().IterateContents(t.Context(), content.IterateOptions{}, none); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string]any{"no root": &snapshot.Manifest{}, "another thing": []int{1}} {
		labels := map[string]string{manifest.TypeLabelKey: snapshot.ManifestType, "name": name}
		id, err := v.updates.PutManifest(t.Context(), labels, wrong)
		if err == nil {
			err = v.updates.Flush(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.FindManifests(t.Context(), all); err == nil || !strings.Contains(err.Error(), string(id)) {
			t.Errorf("%s: %v", name, err)
		}
		if err := errors.Join(v.updates.DeleteManifest(t.Context(), id), v.updates.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.FindManifests(t.Context(), all); err != nil {
		t.Error(err)
	}
}

// inUse returns what kopia finds to be in use of a repository, and how many files it goes through,
// in the way in which it collects.
func inUse(t *testing.T, rep repo.DirectRepositoryWriter) (used map[content.ID]bool, files int) {
	t.Helper()
	ctx := t.Context()
	used = map[content.ID]bool{}
	var mu sync.Mutex
	w, err := snapshotfs.NewTreeWalker(ctx, snapshotfs.TreeWalkerOptions{EntryCallback: func(ctx context.Context, e fs.Entry, id object.ID, _ string) error {
		of, err := rep.VerifyObject(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		if _, ok := e.(fs.File); ok {
			files++
		}
		for _, c := range of {
			used[c] = true
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	for _, m := range snapshots(t, rep) {
		root, err := snapshotfs.SnapshotRoot(rep, m)
		if err == nil {
			err = w.Process(ctx, root, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return used, files
}

// What kopia is shown of folders has all in use that is: of drives with many points, of
// files that many have, of long ones, and of folders that are there again.
func TestACollectionSeesAllThatIsInUse(t *testing.T) {
	v, _ := newVault(t)
	r := rand.New(rand.NewPCG(1, 2))
	long := strings.Repeat("0123456789abcdef", 1<<20)
	for d := range 4 {
		last := Sealed{}
		for point := range 6 {
			u, err := v.Begin(t.Context(), DriveKey{key.Tenant, backup.DriveID(fmt.Sprint("b!", d))}, last.Root, last.Tree)
			if err != nil {
				t.Fatal(err)
			}
			if point == 0 {
				u.Put(folder("root", "", "root"))
				for i := range 10 {
					u.Put(folder(fmt.Sprint("d", i), []string{"root", fmt.Sprint("d", i/2)}[min(i, 1)], fmt.Sprint("d", i)))
				}
				u.Put(file(t, u, "long", "d3", "long", long))
			}
			for range 30 {
				i := r.IntN(100)
				if r.IntN(5) == 0 {
					u.Delete(backup.ItemID(fmt.Sprint("f", i)))
				} else {
					u.Put(file(t, u, fmt.Sprint("f", i), fmt.Sprint("d", r.IntN(10)), fmt.Sprint("f", i), fmt.Sprint(r.IntN(200))))
				}
			}
			last = seal(t, u, noon.Add(time.Duration(point)*24*time.Hour))
			u.Close()
		}
	}
	// Others' too, more than are in one folder that kopia is shown; and not what is deleted.
	theirs := snapshots(t, v.updates)[0]
	var deleted object.ID
	for i := range 2*rootsOfOne + 10 {
		m := theirs.Clone()
		m.Source, m.Tags = snapshot.SourceInfo{Host: "laptop", UserName: "sam", Path: fmt.Sprint("/", i)}, nil
		if i%500 == 0 {
			text, err := v.writeObject(t.Context(), v.updates, "", "THEIRS", fmt.Append(nil, "theirs ", i))
			if err == nil {
				deleted, err = object.ParseID(text)
			}
			if err != nil {
				t.Fatal(err)
			}
			m.RootEntry.ObjectID, m.RootEntry.Type = deleted, snapshot.EntryTypeFile
		}
		id, err := snapshot.SaveSnapshot(t.Context(), v.updates, m)
		if err == nil && i%1000 == 999 {
			err = v.updates.Flush(t.Context())
		}
		if err == nil && i == 2*rootsOfOne {
			err = errors.Join(v.updates.Flush(t.Context()), v.updates.DeleteManifest(t.Context(), id))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := v.updates.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := collector{DirectRepositoryWriter: v.updates, vault: v, walk: newWalk()}
	got, shown := inUse(t, c)
	want, all := inUse(t, v.updates)
	if !maps.Equal(got, want) {
		t.Errorf("%d contents are in use, and %d are found", len(want), len(got))
	}
	if shown != 4 || all < 100 { // those that are a snapshot each
		t.Errorf("kopia goes through %d of %d files", shown, all)
	}
	if len(c.walk.folders)+len(c.walk.roots) > 0 {
		t.Errorf("%d folders are kept, and %d of roots", len(c.walk.folders), len(c.walk.roots))
	}
	if id, _, _ := deleted.ContentID(); got[id] {
		t.Error("what only a deleted manifest names is in use")
	}
	var every []content.ID
	err := v.rep.ContentReader().IterateContents(t.Context(), content.IterateOptions{}, func(i content.Info) error {
		every = append(every, i.ContentID)
		return nil
	})
	if err != nil || !slices.ContainsFunc(every, func(id content.ID) bool { return !want[id] && !id.HasPrefix() }) {
		t.Errorf("all of %d contents are in use, %v", len(every), err)
	}
}

// The entries of a folder that come one by one are those that kopia reads at once, of whatever is
// a folder for it, and of nothing else.
func FuzzEachEntry(f *testing.F) {
	const file, dir = `{"name":"a","type":"f","obj":"00112233445566778899aabbccddeeff","more":[{}]}`, `{"name":"b","type":"d","obj":"k00112233445566778899aabbccddeeff","summ":{"files":1}}`
	for _, text := range []string{
		`{"stream":"kopia:directory","entries":[` + file + `,` + dir + `,null],"summary":{"files":1}}`,
		`{"Entries":[` + file + `],"more":{"entries":[1]},"STREAM":"kopia:directory"}`,
		`{"stream":"kopia:directory","entries":[],"summary":null}`, `{"stream":"kopia:directory","entries":null}`, `{"stream":"kopia:directory"}`,
		`{"stream":"another","entries":[` + file + `]}`, `{"entries":[` + file + `]}`, `{"stream":1,"entries":[` + file + `]}`,
		`{"stream":"kopia:directory","entries":"x"}`, `{"stream":"kopia:directory","entries":{}}`, `{"stream":"kopia:directory","entries":[1]}`,
		`{"stream":"kopia:directory","entries":[` + file + `]`, `{"stream":"kopia:directory","entries":[` + file + `}`,
		`{"stream":"kopia:directory","entries":[{"type":"f","obj":"x"}]}`, `{"stream":"kopia:directory","entries":[],"summary":1}`,
		``, `null`, `[]`, `{`, `{}`, `{"stream":"kopia:directory","entries":[],}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got []snapshot.DirEntry
		whole, err := eachEntry(bytes.NewReader(text), func(e *snapshot.DirEntry) error {
			got = append(got, *e)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var m snapshot.DirManifest
		is := json.NewDecoder(bytes.NewReader(text)).Decode(&m) == nil && m.StreamType == dirStream
		if whole && !is {
			t.Errorf("it is no folder for kopia")
		}
		if !is {
			return
		}
		seen := map[string]bool{}
		for _, e := range got {
			seen[e.ObjectID.String()] = true
		}
		for _, e := range m.Entries {
			if whole && e != nil && !seen[e.ObjectID.String()] {
				t.Errorf("%+v was not seen", e)
			}
		}
	})
}

// Kopia is told of all packs, and of what is in those that are not full all that it would be.
func TestACollectionSeesWhatIsInShortPacks(t *testing.T) {
	v, _ := newVault(t)
	for i := range 4 {
		u := begin(t, v, Sealed{})
		u.Put(folder("root", "", "root"))
		u.Put(file(t, u, "f", "root", "f", strings.Repeat(fmt.Sprint(rand.Uint64()), 100*i+1)))
		seal(t, u, noon)
		u.Close()
	}
	packs := func(r content.Reader) (all map[blob.ID]content.PackInfo) {
		t.Helper()
		all = map[blob.ID]content.PackInfo{}
		opts := content.IteratePackOptions{IncludeContentInfos: true, IncludePacksWithOnlyDeletedContent: true}
		err := r.IteratePacks(t.Context(), opts, func(p content.PackInfo) error {
			if _, twice := all[p.PackID]; twice {
				t.Errorf("pack %s comes twice", p.PackID)
			}
			slices.SortFunc(p.ContentInfos, func(a, b content.Info) int { return strings.Compare(a.ContentID.String(), b.ContentID.String()) })
			all[p.PackID] = p
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := packs(v.updates.ContentReader())
	var sizes []int64
	for _, p := range want {
		sizes = append(sizes, p.TotalSize)
	}
	slices.Sort(sizes)
	full := sizes[len(sizes)/2]
	if full == sizes[0] {
		t.Fatalf("the packs are of one size: %v", sizes)
	}
	got := packs(collector{DirectRepositoryWriter: v.updates, fullPack: full, walk: newWalk()}.ContentReader())
	for id, p := range want {
		if p.TotalSize >= full {
			p.ContentInfos = nil
		}
		if !reflect.DeepEqual(got[id], p) {
			t.Errorf("pack %s is %+v, want %+v", id, got[id], p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d packs, want %d", len(got), len(want))
	}
}
