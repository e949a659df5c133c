package vault

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/index"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// To find and to delete the manifests of a drive is to read what came since the last
// time, however many drives the vault has, and of a vault that another process has put
// in order, all once.
func TestManifestsAreReadOnce(t *testing.T) {
	v, cfg := newVault(t)
	cfg.State = t.TempDir()
	other := openVault(t, cfg)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	s, err := u.Seal(t.Context(), noon, PointInfo{})
	if err != nil {
		t.Fatal(err)
	}
	root := &record{Object: s.Root}
	drive := func(n int) DriveKey { return DriveKey{key.Tenant, backup.DriveID(fmt.Sprint("b!", n))} }
	const drives = 60
	for n := range drives {
		for _, after := range []string{"", s.Root} { // by turns of both processes, as after a fail-over
			if _, err := save(t.Context(), []*Vault{v, other}[n%2].updates, drive(n).source(), root, after, noon); err != nil {
				t.Fatal(err)
			}
		}
		if n%7 == 0 || n >= drives-2 {
			for _, p := range []*Vault{v, other} {
				if err := p.flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	refresh := func(p *Vault) {
		t.Helper()
		if err := p.rep.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	left := func(p *Vault, from int) {
		t.Helper()
		for n := range drives {
			want := 2
			if n < from {
				want = 0
			}
			of, err := p.manifestsOf(t.Context(), drive(n).source())
			if err != nil || len(of) != want {
				t.Errorf("drive %d has %d manifests, want %d: %v", n, len(of), want, err)
			}
		}
	}
	for _, p := range []*Vault{v, other} {
		refresh(p)
		left(p, 0)
	}
	reads := func(p *Vault) int { return p.manifests.index.reads }
	before := reads(v)
	for n := range 10 {
		if err := v.Destroy(t.Context(), drive(n)); err != nil {
			t.Fatal(err)
		}
	}
	left(v, 10)
	if got := reads(v) - before; got > 10 {
		t.Errorf("%d contents of manifests were read to destroy 10 drives, want one of each at most", got)
	}
	left(other, 0) // it has not heard of it
	refresh(other)
	left(other, 10)

	// What the other has kopia put together is there, and read once.
	if _, err := other.Maintain(t.Context(), fixed(nil)); err != nil {
		t.Fatal(err)
	}
	refresh(v)
	before = reads(v)
	left(v, 10)
	if got := reads(v) - before; got == 0 || got > 3 {
		t.Errorf("%d contents were read after they were put together", got)
	}
	v.manifests.index.forget()
	left(v, 10)
	for n := range drives {
		manifestRoots(t, v, drive(n)) // as kopia has them
	}
}

// A manifest is gone once it was deleted, also by a clock that went back since.
func TestDeletedByAClockThatWentBack(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	if _, err := u.Seal(t.Context(), noon, PointInfo{}); err != nil {
		t.Fatal(err)
	}
	if got := manifestRoots(t, v, key); len(got) != 1 {
		t.Fatalf("manifests of %q", got)
	}
	v.rep = earlier{v.rep, time.Hour}
	if err := v.Destroy(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := manifestRoots(t, v, key); len(got) != 0 {
		t.Errorf("manifests of %q are left", got)
	}
}

// earlier is a repository by a clock that is slow.
type earlier struct {
	repo.DirectRepository
	by time.Duration
}

func (e earlier) Time() time.Time { return e.DirectRepository.Time().Add(-e.by) }

// A root that was published, and that the catalog has not been told of yet, is no
// disagreement, until nobody can be about to tell it.
func TestARootOnTheWayIsNoDisagreement(t *testing.T) {
	v, _ := newVault(t)
	var s [2]Sealed
	for i := range s {
		u := begin(t, v, s[0])
		u.Put(folder("root", "", "root"))
		u.Put(folder("new", "root", fmt.Sprint("Folder ", i)))
		var err error
		if s[i], err = u.Seal(t.Context(), noon.Add(time.Duration(i)*time.Hour), PointInfo{}); err != nil {
			t.Fatal(err)
		}
		u.Close()
	}
	before := fixed(map[DriveKey]string{key: s[0].Root}) // of before the second
	now := v.rep
	for _, step := range []struct {
		later time.Duration
		want  []string
	}{
		{0, []string{s[1].Root}},
		{2 * onTheWay, []string{s[1].Root, s[0].Root}},
	} {
		v.rep = earlier{now, -step.later}
		if _, err := v.Maintain(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, manifestRoots(t, v, key)); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.later, diff)
		}
	}
}

// As long as manifests cannot be read, nobody is told of only a part of them.
func TestManifestsThatCannotBeReadAreNotLeftOut(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	if _, err := u.Seal(t.Context(), noon, PointInfo{}); err != nil {
		t.Fatal(err)
	}
	fails := new(bool)
	v.rep = failingManifests{v.rep, fails}
	for _, step := range []bool{false, true, true, false} {
		*fails = step
		if step {
			v.manifests.index.forget()
		}
		for range 2 {
			of, err := v.manifestsOf(t.Context(), key.source())
			if step != errors.Is(err, ErrDamaged) || !step && (err != nil || len(of) != 1) {
				t.Errorf("where reading fails (%v): %d manifests, %v", step, len(of), err)
			}
			if _, err := v.manifestsBySource(t.Context()); step != errors.Is(err, ErrDamaged) {
				t.Errorf("where reading fails (%v): %v", step, err)
			}
		}
	}
}

// failingManifests is a repository of which manifests cannot be read.
type failingManifests struct {
	repo.DirectRepository
	now *bool
}

func (f failingManifests) ContentReader() content.Reader {
	return failingContents{f.DirectRepository.ContentReader(), f.now}
}

type failingContents struct {
	content.Reader
	now *bool
}

func (f failingContents) Revision() int64 { return f.Reader.(contents).Revision() }

func (f failingContents) GetContent(ctx context.Context, id content.ID) ([]byte, error) {
	if *f.now && id.Prefix() == manifest.ContentPrefix {
		return nil, errors.New("invalid checksum")
	}
	return f.Reader.GetContent(ctx, id)
}

// Manifests that many flushes wrote are put together: all that are there are in one content
// then, whosever they are, and none that is deleted, whatever the storage refuses meanwhile.
func TestManifestsAreGathered(t *testing.T) {
	_, cfg := newVault(t)
	s := &sick{}
	underneath(t, cfg.Dir, func(st blob.Storage) blob.Storage { s.Storage = st; return s })
	cfg.State = t.TempDir()
	v := openVault(t, cfg)
	w, err := v.session(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	labels := map[string]string{manifest.TypeLabelKey: snapshot.ManifestType, snapshot.UsernameLabel: "somebody", snapshot.HostnameLabel: "else", snapshot.PathLabel: "/"}
	there := map[manifest.ID]int{}
	scatter := func() {
		t.Helper()
		for n := range scattered + 1 {
			if n%4 == 3 {
				for id := range there {
					try(w.DeleteManifest(t.Context(), id))
					delete(there, id)
					break
				}
			}
			labels["n"] = fmt.Sprint(n)
			id, err := w.PutManifest(t.Context(), labels, n)
			try(err)
			there[id] = n
			try(w.Flush(t.Context()))
		}
	}
	contents := func() (n int) {
		t.Helper()
		try(v.rep.ContentReader().IterateContents(t.Context(), content.IterateOptions{Range: index.PrefixRange(manifest.ContentPrefix)}, func(content.Info) error { n++; return nil }))
		return n
	}
	// as kopia has them
	check := func(v *Vault, after int) {
		t.Helper()
		m, err := manifest.NewManager(t.Context(), v.updates.ContentManager(), manifest.ManagerOptions{AutoCompactionThreshold: 1000}, nil)
		try(err)
		got := map[manifest.ID]int{}
		all, err := m.Find(t.Context(), map[string]string{snapshot.UsernameLabel: "somebody"})
		try(err)
		for _, e := range all {
			var n int
			_, err := m.Get(t.Context(), e.ID, &n)
			try(err)
			got[e.ID] = n
			if e.Labels["n"] != fmt.Sprint(n) {
				t.Errorf("%d is labelled %v", n, e.Labels)
			}
		}
		if diff := cmp.Diff(there, got); diff != "" {
			t.Fatalf("after failure %d (-want +got):\n%s", after, diff)
		}
	}
	failed := 0
	for first, none := 1, false; !none; first++ {
		scatter()
		before := contents()
		s.set(first, false, syscall.EIO)
		err := v.gatherManifests(t.Context(), w)
		none = s.over()
		s.set(0, false, nil)
		if none && err != nil {
			t.Fatal(err)
		} else if err != nil {
			failed++
			if now := contents(); now < before {
				t.Errorf("after failure %d %d contents of %d are left: %v", first, now, before, err)
			}
		}
		check(v, first)
		try(w.Flush(t.Context())) // also what of it was written before it failed
		check(v, first)
		try(v.gatherManifests(t.Context(), w))
		check(v, first)
		if n := contents(); n != 1 {
			t.Errorf("after failure %d manifests are in %d contents", first, n)
		}
	}
	if failed < scattered {
		t.Errorf("it failed %d times", failed)
	}
	if err := v.gatherManifests(t.Context(), w); err != nil || contents() != 1 {
		t.Errorf("a second time there are %d contents: %v", contents(), err)
	}
	cfg.State = t.TempDir()
	check(openVault(t, cfg), 0)
}

// What cannot be read of manifests is nothing to be put together, and nothing is taken away.
func TestManifestsThatCannotBeReadAreNotGathered(t *testing.T) {
	v, _ := newVault(t)
	w, err := v.session(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	for n := range scattered + 1 {
		if _, err := w.PutManifest(t.Context(), map[string]string{manifest.TypeLabelKey: "test"}, n); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	find := func() int {
		t.Helper()
		found, err := w.FindManifests(t.Context(), map[string]string{manifest.TypeLabelKey: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := find(); n != scattered+1 {
		t.Fatalf("%d manifests are there", n)
	}
	v.manifests.index.newest["somebody's"] = written{at: noon} // which is in no content
	if err := v.gatherManifests(t.Context(), w); err == nil {
		t.Error("a manifest that is nowhere was put together with others")
	}
	delete(v.manifests.index.newest, "somebody's")
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := find(); n != scattered+1 {
		t.Errorf("%d manifests are left", n)
	}
}

// Entries in any order, and contents that come again, leave what kopia's rules leave:
// the newest entry of each manifest.
func TestEntriesOfManifestsInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		newest := map[manifest.ID]manifestEntry{}
		var entries []manifestEntry
		for at := range 1 + r.IntN(30) {
			e := manifestEntry{ID: manifest.ID(fmt.Sprint(r.IntN(8))), Modified: noon.Add(time.Duration(at) * time.Second), Deleted: r.IntN(3) == 0}
			if !e.Deleted {
				e.Labels = map[string]string{"type": "snapshot", "username": owner, "hostname": "h", "path": fmt.Sprint("/", r.IntN(3)), rootLabel: "r"}
				switch r.IntN(6) {
				case 0:
					e.Labels["username"] = "somebody"
				case 1:
					e.Labels, e.Data = map[string]string{"type": formatType}, json.RawMessage(`{"version":3}`)
				case 2:
					delete(e.Labels, rootLabel)
					e.Data = json.RawMessage(`{"rootEntry":{"name":"x","obj":"r"}}`)
				}
			}
			newest[e.ID] = e
			entries = append(entries, e)
		}
		want, formats := map[string]int{}, 0
		for _, e := range newest {
			switch {
			case e.Deleted:
			case e.Labels["type"] == formatType:
				formats++
			case e.Labels["username"] == owner:
				want[e.Labels["hostname"]+":"+e.Labels["path"]]++
			}
		}
		var m manifestIndex
		held := heldManifests{}
		for range 3 {
			r.Shuffle(len(entries), func(i, k int) { entries[i], entries[k] = entries[k], entries[i] })
			for i, e := range entries {
				held[fmt.Sprintf("m%032x", i%4)] = append(held[fmt.Sprintf("m%032x", i%4)], e)
			}
			if err := m.update(t.Context(), held); err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			for source, of := range m.of {
				got[source] = len(of)
				for _, n := range of {
					if n.root != "r" {
						t.Errorf("the root of %s is %q", n.id, n.root)
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || len(m.others) != formats {
				t.Fatalf("manifests (-want +got):\n%s\n%d formats, want %d", diff, len(m.others), formats)
			}
			m.read = nil
		}
	}
}

// heldManifests are contents of manifests by their ids.
type heldManifests map[string][]manifestEntry

func (heldManifests) Revision() int64 { return 0 }

func (h heldManifests) IterateContents(_ context.Context, _ content.IterateOptions, callback content.IterateCallback) error {
	for id := range h {
		parsed, err := content.ParseID(id)
		if err == nil {
			err = callback(content.Info{ContentID: parsed})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h heldManifests) GetContent(_ context.Context, id content.ID) ([]byte, error) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	if err := json.NewEncoder(zip).Encode(manifestEntries{h[id.String()]}); err != nil {
		return nil, err
	}
	err := zip.Close()
	return b.Bytes(), err
}

// What the scanner makes of entries is what encoding/json does, or it leaves them to it.
func FuzzScanManifests(f *testing.F) {
	for _, text := range []string{
		`{"entries":[{"id":"a","labels":{"type":"snapshot","tag:holdfast-root":"r"},"modified":"2026-11-30T10:00:00.5Z","data":{"x":1}}]}`,
		`{"entries":[{"id":"a","labels":null,"modified":"2026-11-30T10:00:00Z","deleted":true,"data":null}]}`,
		`{"entries":[{"id":"a","labels":{"type":"holdfast-format"},"modified":"2026-11-30T10:00:00Z","deleted":false,"data":{"version":1}}],"more":[]}`,
		`{"Entries":[]}`, `{"entries":null}`, `{"entries":[null]}`, `{"entries":[{"deleted":1}]}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got, want manifestEntries
		if !jsonscan.Scan([]byte(text), &got) {
			return
		}
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&want); err != nil {
			t.Fatalf("read what encoding/json does not: %v", err)
		}
		if len(got.Entries) != len(want.Entries) {
			t.Fatalf("%d entries, want %d", len(got.Entries), len(want.Entries))
		}
		for i, w := range want.Entries {
			g := got.Entries[i]
			if g.ID != w.ID || !g.Modified.Equal(w.Modified) || g.Deleted != w.Deleted || !cmp.Equal(g.Labels, w.Labels) && len(g.Labels)+len(w.Labels) > 0 {
				t.Errorf("read %+v, want %+v", g, w)
			}
			if g.Data != nil && !bytes.Equal(g.Data, w.Data) {
				t.Errorf("data %s, want %s", g.Data, w.Data)
			}
		}
	})
}
