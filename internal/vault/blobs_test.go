package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/index"
	"github.com/kopia/kopia/repo/object"

	"holdfast/internal/backup"
)

// openStorage opens a vault's folder as kopia does, below all that checks it.
func openStorage(t *testing.T, cfg Config) blob.Storage {
	t.Helper()
	st, err := filesystem.New(t.Context(), &filesystem.Options{Path: cfg.Dir}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close(context.Background()) })
	return st
}

func blobsNamed(t *testing.T, cfg Config, prefix string) (ids []blob.ID) {
	t.Helper()
	err := openStorage(t, cfg).ListBlobs(t.Context(), blob.ID(prefix), func(m blob.Metadata) error {
		ids = append(ids, m.BlobID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// flipBit flips one bit of a blob.
func flipBit(t *testing.T, cfg Config, id blob.ID, at int) {
	t.Helper()
	st := openStorage(t, cfg)
	b, err := readBlob(t.Context(), st, id)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := putBlob(t.Context(), st, id, b); err != nil {
		t.Fatal(err)
	}
}

// flippable returns the first place from at on where flipBit leaves a byte of Base64
// one of Base64, so that what is flipped still parses.
func flippable(b []byte, at int) int {
	for ; ; at++ {
		if c := b[at] ^ 1; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return at
		}
	}
}

func dropBlob(t *testing.T, cfg Config, id blob.ID) {
	t.Helper()
	if err := openStorage(t, cfg).DeleteBlob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// whereIs says in which pack an object's first content is.
func whereIs(t *testing.T, v *Vault, oid string) content.Info {
	t.Helper()
	id, err := object.ParseID(oid)
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := id.ContentID()
	info, err := v.rep.ContentInfo(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A torn is a vault with two drives, each with packs and an index blob of its own,
// so that damage to one of the second's must leave the first as it is.
type torn struct {
	cfg      Config
	v        *Vault
	one, two Sealed
	files    map[string]string // of the second drive: content by id
	index    blob.ID           // of the second drive
}

var secondKey = DriveKey{key.Tenant, "b!second"}

func newTorn(t *testing.T) *torn {
	t.Helper()
	w := &torn{files: map[string]string{}}
	w.v, w.cfg = newVault(t)
	w.one = sample(t, w.v)
	before := blobsNamed(t, w.cfg, "x")
	for i := range 40 {
		w.files[fmt.Sprint("file", i)] = strings.Repeat(fmt.Sprint("content of ", i, " "), 50)
	}
	u, err := w.v.Begin(t.Context(), secondKey, "", "")
	if err != nil {
		t.Fatal(err)
	}
	w.two = w.fill(t, u, noon)
	for _, id := range blobsNamed(t, w.cfg, "x") {
		if !slices.Contains(before, id) {
			w.index = id
		}
	}
	return w
}

// fill seals the second drive as a full enumeration has it.
func (w *torn) fill(t *testing.T, u *Update, at time.Time) Sealed {
	t.Helper()
	defer u.Close()
	u.Put(folder("root", "", "root"))
	u.Put(folder("docs", "root", "docs"))
	for id, content := range w.files {
		u.Put(file(t, u, id, "docs", id+".txt", content))
	}
	return seal(t, u, at)
}

// verified returns what is damaged of a tree, in words.
func verified(t *testing.T, v *Vault, trees ...string) (found []string) {
	t.Helper()
	r, err := v.Verify(t.Context(), trees, VerifyOptions{Share: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Damage {
		if !unreadable(d.Err) {
			t.Errorf("damage without its kind: %v", d.Err)
		}
		found = append(found, fmt.Sprint(d.What, " ", d.Item, " ", d.Path))
	}
	slices.Sort(found)
	return found
}

// TestPlayOneDamagedBlob damages one blob of each kind, and says what is found, what
// goes on, and how it is whole again.
func TestPlayOneDamagedBlob(t *testing.T) {
	all := func(w *torn) (lines []string) {
		for id := range w.files {
			lines = append(lines, "file "+id+" docs/"+id+".txt")
		}
		slices.Sort(lines)
		return lines
	}
	docs := func(t *testing.T, w *torn) string {
		e, ok, err := w.v.node(t.Context(), w.two.Tree, "docs")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		b, err := w.v.base(t.Context(), "", w.two.Tree)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := b.record(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		return r.Object
	}
	flipIn := func(t *testing.T, w *torn, oid string) {
		info := whereIs(t, w.v, oid)
		flipBit(t, w.cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
	}
	part := func(name string) func(*testing.T, *torn) string {
		return func(t *testing.T, w *torn) string {
			d, err := w.v.readDir(t.Context(), w.two.Tree)
			if err != nil {
				t.Fatal(err)
			}
			m, err := w.v.readDir(t.Context(), d.named("meta").Object)
			if err != nil {
				t.Fatal(err)
			}
			return m.named(name).Object
		}
	}
	become := func(t *testing.T, w *torn, id blob.ID, change func([]byte) []byte) {
		st := openStorage(t, w.cfg)
		b, err := readBlob(t.Context(), st, id)
		if err == nil {
			err = putBlob(t.Context(), st, id, change(bytes.Clone(b)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	contentsBecome := func(change func([]byte) []byte) func(*testing.T, *torn) {
		return func(t *testing.T, w *torn) {
			become(t, w, whereIs(t, w.v, paths(t, w.v, w.two.Tree)["docs/file7.txt"].Content).PackBlobID, change)
		}
	}
	foldersBecome := func(change func(*torn, []byte) []byte) func(*testing.T, *torn) {
		return func(t *testing.T, w *torn) {
			become(t, w, whereIs(t, w.v, w.two.Tree).PackBlobID, func(b []byte) []byte { return change(w, b) })
		}
	}
	// anothers is what the first drive's pack of contents holds.
	anothers := func(t *testing.T, w *torn) []byte {
		b, err := readBlob(t.Context(), openStorage(t, w.cfg), whereIs(t, w.v, paths(t, w.v, w.one.Tree)["A/one.txt"].Content).PackBlobID)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	indexBecomes := func(change func([]byte) []byte) func(*testing.T, *torn) {
		return func(t *testing.T, w *torn) {
			for _, id := range blobsNamed(t, w.cfg, "x") {
				become(t, w, id, change)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, w *torn)
		open   error // what Open says
		repair string
		found  func(w *torn) []string // of the second drive, once it is open
	}{
		{"a file's content, flipped", func(t *testing.T, w *torn) {
			flipIn(t, w, paths(t, w.v, w.two.Tree)["docs/file7.txt"].Content)
		}, nil, "", func(*torn) []string { return []string{"file file7 docs/file7.txt"} }},
		{"a pack of contents, deleted", func(t *testing.T, w *torn) {
			dropBlob(t, w.cfg, whereIs(t, w.v, paths(t, w.v, w.two.Tree)["docs/file7.txt"].Content).PackBlobID)
		}, nil, "", all},
		{"a pack of contents, cut", contentsBecome(func(b []byte) []byte { return b[:40] }), nil, "", all},
		{"a pack of contents, emptied", contentsBecome(func([]byte) []byte { return nil }), nil, "", all},
		{"a pack of contents, zeroed", contentsBecome(func(b []byte) []byte { return make([]byte, len(b)) }), nil, "", all},
		{"a pack of contents, another's", contentsBecome(func(b []byte) []byte { return bytes.Repeat([]byte("other"), len(b)/5+1)[:len(b)] }), nil, "", all},
		{"a pack of contents, another pack", func(t *testing.T, w *torn) {
			contentsBecome(func([]byte) []byte { return anothers(t, w) })(t, w)
		}, nil, "", all},
		{"a folder, flipped", func(t *testing.T, w *torn) { flipIn(t, w, docs(t, w)) },
			nil, "", func(*torn) []string { return []string{"folder docs docs"} }},
		{"an index of items, flipped", func(t *testing.T, w *torn) { flipIn(t, w, part("index")(t, w)) },
			nil, "", func(*torn) []string { return []string{"index  "} }},
		{"point.json, flipped", func(t *testing.T, w *torn) { flipIn(t, w, part("point.json")(t, w)) },
			nil, "", func(*torn) []string { return []string{"point  "} }},
		{"a pack of folders, deleted", func(t *testing.T, w *torn) {
			dropBlob(t, w.cfg, whereIs(t, w.v, w.two.Tree).PackBlobID)
		}, nil, "", func(*torn) []string { return []string{"point  "} }},
		{"a pack of folders, emptied", foldersBecome(func(*torn, []byte) []byte { return nil }), nil, "", func(*torn) []string { return []string{"point  "} }},
		{"a pack of folders, cut in half", foldersBecome(func(_ *torn, b []byte) []byte { return b[:len(b)/2] }), nil, "", nil},
		{"a pack of folders, zeroed", foldersBecome(func(_ *torn, b []byte) []byte { return make([]byte, len(b)) }), nil, "", func(*torn) []string { return []string{"point  "} }},
		{"a pack of folders, another pack", func(t *testing.T, w *torn) {
			foldersBecome(func(*torn, []byte) []byte { return anothers(t, w) })(t, w)
		}, nil, "", func(*torn) []string { return []string{"point  "} }},
		{"a blob of kopia's index, flipped", func(t *testing.T, w *torn) { flipBit(t, w.cfg, w.index, 100) },
			ErrDamaged, "took the damaged blob", nil},
		{"a blob of kopia's index, deleted", func(t *testing.T, w *torn) { dropBlob(t, w.cfg, w.index) },
			nil, "put ", nil},
		{"all of kopia's index, flipped", indexBecomes(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), ErrDamaged, "took the damaged blob", nil},
		{"all of kopia's index, cut", indexBecomes(func(b []byte) []byte { return b[:len(b)/2] }), ErrDamaged, "took the damaged blob", nil},
		{"all of kopia's index, emptied", indexBecomes(func([]byte) []byte { return nil }), ErrDamaged, "took the damaged blob", nil},
		{"kopia.repository, deleted", func(t *testing.T, w *torn) { dropBlob(t, w.cfg, formatBlob) },
			ErrDamaged, "put kopia.repository back", nil},
		{"kopia.repository, its form flipped", func(t *testing.T, w *torn) { flipBit(t, w.cfg, formatBlob, 0) },
			ErrDamaged, "put kopia.repository back", nil},
		{"kopia.repository, its id flipped", func(t *testing.T, w *torn) { flipJSON(t, w.cfg, "uniqueID") },
			ErrDamaged, "put kopia.repository back", nil},
		{"kopia.repository, its keys flipped", func(t *testing.T, w *torn) { flipJSON(t, w.cfg, "encryptedBlockFormat") },
			ErrDamaged, "put kopia.repository back", nil},
		{"kopia.blobcfg, flipped", func(t *testing.T, w *torn) { flipBit(t, w.cfg, "kopia.blobcfg", 20) },
			ErrDamaged, "took the damaged blob kopia.blobcfg away", nil},
		{"kopia.blobcfg, flipped, and the keys in kopia.repository", func(t *testing.T, w *torn) {
			flipBit(t, w.cfg, "kopia.blobcfg", 20)
			flipJSON(t, w.cfg, "encryptedBlockFormat")
		}, ErrDamaged, "put kopia.repository back", nil},
		{"kopia.blobcfg, emptied", func(t *testing.T, w *torn) {
			if err := putBlob(t.Context(), openStorage(t, w.cfg), "kopia.blobcfg", nil); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "took the damaged blob kopia.blobcfg away", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTorn(t)
			w.cfg.ID = w.v.ID()
			tt.damage(t, w)

			// Whoever opens the vault now.
			cfg := w.cfg
			cfg.State = t.TempDir()
			v, err := Open(t.Context(), cfg)
			if !errors.Is(err, tt.open) {
				t.Fatalf("Open = %v, want %v", err, tt.open)
			}
			if tt.open != nil {
				if !strings.Contains(err.Error(), "holdfast vault repair") {
					t.Errorf("Open = %v, and does not say how it is repaired", err)
				}
				cfg.ID, cfg.Create = "", true // as somebody does who does not know what was there
				if _, err := Open(t.Context(), cfg); !errors.Is(err, tt.open) {
					t.Fatalf("Open of what may be made anew = %v, want %v", err, tt.open)
				}
				cfg = w.cfg
				cfg.State = t.TempDir()
			} else {
				defer func() { v.Close(context.Background()) }()
				if found := verified(t, v, w.one.Tree); len(found) > 0 {
					t.Errorf("the other drive is damaged too: %q", found)
				}
			}
			if tt.repair != "" {
				if tt.open == nil {
					if err := v.VerifyObjects(t.Context(), []string{w.two.Tree}); !errors.Is(err, ErrNotFound) {
						t.Errorf("a tree without an index: %v, want ErrNotFound", err)
					}
					v.Close(t.Context())
				}
				did, err := Repair(t.Context(), cfg)
				if err != nil || len(did) == 0 || !strings.HasPrefix(did[0], tt.repair) {
					t.Fatalf("Repair = %q, %v", did, err)
				}
				if v, err = Open(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				defer func() { v.Close(context.Background()) }()
				if found := verified(t, v, w.one.Tree, w.two.Tree); len(found) > 0 {
					t.Errorf("damaged after the repair: %q", found)
				}
				return
			}

			found := verified(t, v, w.two.Tree)
			if tt.found == nil { // it depends on where kopia put things
				if len(found) == 0 {
					t.Error("nothing is damaged")
				}
			} else if diff := cmp.Diff(tt.found(w), found); diff != "" {
				t.Error(diff)
			}
			bad := map[string]bool{}
			for _, line := range found {
				bad[strings.Fields(line + " -")[1]] = true
			}
			// What is whole comes back at once.
			for path, e := range paths(t, w.v, w.one.Tree) {
				if e.Kind == backup.File {
					if _, err := v.Open(t.Context(), e.Content); err != nil {
						t.Errorf("%s of the other drive: %v", path, err)
					}
				}
			}
			// A full enumeration at the source writes all of it anew.
			u, _, err := v.BeginAnew(t.Context(), secondKey, w.two.Tree)
			if err != nil {
				t.Fatal(err)
			}
			again := w.fill(t, u, noon.Add(time.Hour))
			if found := verified(t, v, again.Tree); len(found) > 0 {
				t.Errorf("damaged after all was written anew: %q", found)
			}
			if strings.Contains(tt.name, "content") {
				if found := verified(t, v, w.two.Tree); len(found) > 0 {
					t.Errorf("the older point is not whole again: %q", found)
				}
				if left := v.Damaged(); len(left) > 0 {
					t.Errorf("still noted as damaged: %q", left)
				}
			}
			if !bad["file7"] {
				return
			}
			for id, content := range w.files {
				if got := read(t, v, paths(t, v, again.Tree)["docs/"+id+".txt"].Content); got != content {
					t.Errorf("%s = %q", id, got)
				}
			}
		})
	}
}

// All blobs of the index are gone, and a server has opened the vault meanwhile, to
// which it looked like an empty one: all of it comes back from the packs.
func TestAllOfTheIndexIsDeleted(t *testing.T) {
	w := newTorn(t)
	w.v.Close(t.Context())
	for _, id := range blobsNamed(t, w.cfg, "x") {
		dropBlob(t, w.cfg, id)
	}
	v, err := Open(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.VerifyObjects(t.Context(), []string{w.one.Tree}); !errors.Is(err, ErrNotFound) {
		t.Errorf("VerifyObjects = %v, want ErrNotFound", err)
	}
	third := DriveKey{key.Tenant, "b!third"}
	u, err := v.Begin(t.Context(), third, "", "")
	if err != nil {
		t.Fatal(err)
	}
	u.Put(folder("root", "", "root"))
	three := seal(t, u, noon)
	u.Close()
	v.Close(t.Context())
	did, err := Repair(t.Context(), w.cfg)
	if err != nil || len(did) != 1 {
		t.Errorf("Repair = %q, %v", did, err)
	}
	v = openVault(t, w.cfg)
	if found := verified(t, v, w.one.Tree, w.two.Tree, three.Tree); len(found) > 0 {
		t.Errorf("damaged after the repair: %q", found)
	}
	for of, s := range map[DriveKey]Sealed{key: w.one, secondKey: w.two, third: three} {
		has(t, v, of, s.Tree)
		if got := manifestRoots(t, v, of); !slices.Equal(got, []string{s.Root}) {
			t.Errorf("the manifests of %s name %q, want %s", of.Drive, got, s.Root)
		}
	}
	roots := map[DriveKey]string{key: w.one.Root, secondKey: w.two.Root, third: three.Root}
	if err := collect(t, v, roots); err != nil {
		t.Error(err)
	}
	if found := verified(t, v, w.one.Tree, w.two.Tree, three.Tree); len(found) > 0 {
		t.Errorf("damaged after a collection: %q", found)
	}
}

// flipJSON flips a bit in the middle of a member of kopia.repository.
func flipJSON(t *testing.T, cfg Config, member string) {
	t.Helper()
	b, err := readBlob(t.Context(), openStorage(t, cfg), formatBlob)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), `"`+member+`"`) + len(member) + 4
	flipBit(t, cfg, formatBlob, flippable(b, at+10))
}

// One flipped bit in what kopia keeps its manifests in, and it reads none. Points
// are read and made all the same, and Maintain mends it, for drives that the
// catalog has and for those that it does not.
func TestDamagedManifestsAreMadeAnew(t *testing.T) {
	w := newTorn(t)
	var manifests []content.Info
	err := w.v.updates.ContentReader().IterateContents(t.Context(), content.IterateOptions{Range: index.PrefixRange("m")}, func(i content.Info) error {
		manifests = append(manifests, i)
		return nil
	})
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	for _, m := range manifests {
		flipBit(t, w.cfg, m.PackBlobID, int(m.PackOffset+m.PackedLength/2))
	}
	cfg := w.cfg
	cfg.State = t.TempDir()
	v := openVault(t, cfg)
	if found := verified(t, v, w.one.Tree, w.two.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
	u := begin(t, v, w.one)
	u.Put(folder("new", "root", "new"))
	next := seal(t, u, noon.Add(time.Hour))
	for _, err := range v.Drives(t.Context()) {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("Drives = %v, want ErrDamaged", err)
		}
	}

	// The catalog does not know the second drive.
	roots := map[DriveKey]string{key: next.Root}
	if unread, err := v.Maintain(t.Context(), fixed(roots)); err != nil || len(unread) > 0 {
		t.Fatalf("Maintain = %v, %v", unread, err)
	}
	if err := collect(t, v, roots); err != nil {
		t.Fatal(err)
	}
	if found := verified(t, v, w.one.Tree, w.two.Tree, next.Tree); len(found) > 0 {
		t.Errorf("damaged after maintenance: %q", found)
	}
	got := map[backup.DriveID]int{}
	for d, err := range v.Drives(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		points, err := v.Points(t.Context(), d.Key)
		if err != nil {
			t.Fatal(err)
		}
		got[d.Key.Drive] = len(points)
	}
	if diff := cmp.Diff(map[backup.DriveID]int{key.Drive: 2, secondKey.Drive: 1}, got); diff != "" {
		t.Error(diff)
	}
}

// A content of several pieces, one of which is damaged, and one whose list of
// pieces is: both are whole once they are written again.
func TestLongContentsAreHealed(t *testing.T) {
	v, cfg := newVault(t)
	data := make([]byte, 24<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	e := file(t, u, "long", "root", "long.bin", string(data))
	u.Put(e)
	s := seal(t, u, noon)
	id, err := object.ParseID(e.Content)
	if err != nil {
		t.Fatal(err)
	}
	list, ok := id.IndexObjectID()
	if !ok {
		t.Fatalf("%s is of one piece", e.Content)
	}
	listed, _, _ := list.ContentID()
	pieces, err := v.ContentsOf(t.Context(), e.Content)
	if err != nil || len(pieces) < 3 {
		t.Fatal(pieces, err)
	}
	slices.Sort(pieces) // the list is among them, with a letter before its name
	for _, hit := range []string{pieces[1], listed.String()} {
		info := whereIs(t, v, hit)
		flipBit(t, cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
		err := v.VerifyObjects(t.Context(), []string{e.Content})
		d, ok := errors.AsType[*DamageError](err)
		if !ok || d.Object != e.Content || !slices.Equal(d.Contents, []string{hit}) {
			t.Fatalf("VerifyObjects = %v, want that %s of %s is damaged", err, hit, e.Content)
		}
		if got := v.Damaged(); !slices.Equal(got, []string{hit}) {
			t.Errorf("Damaged = %q, want %s", got, hit)
		}
		again := file(t, u, "again", "root", "again.bin", string(data))
		u.Put(again)
		u.Put(folder("n"+hit, "root", hit))
		if again.Content != e.Content {
			t.Errorf("written again it is %s, not %s", again.Content, e.Content)
		}
		seal(t, u, noon.Add(time.Hour))
		if found := verified(t, openVault(t, cfg), s.Tree); len(found) > 0 {
			t.Errorf("after it was written again: %q", found)
		}
		if got := v.Damaged(); len(got) > 0 {
			t.Errorf("still damaged: %q", got)
		}
	}
}

// What was noted as damaged and can be read is neither given up nor stored twice.
func TestWhatCanBeReadIsNotHealed(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	one := paths(t, v, s.Tree)["A/one.txt"]
	v.markDamaged(one.Content, "no id", "0123456789abcdef0123456789abcdef")
	before := whereIs(t, v, one.Content)
	u := begin(t, v, s)
	if c, err := u.Write(t.Context(), "one", strings.NewReader("one")); err != nil || c.ID != one.Content {
		t.Fatal(c, err)
	}
	u.Put(folder("x", "root", "x"))
	seal(t, u, noon.Add(time.Hour))
	if after := whereIs(t, v, one.Content); after.PackBlobID != before.PackBlobID || after.Deleted {
		t.Errorf("a readable content was moved from %s to %s", before.PackBlobID, after.PackBlobID)
	}
	if got := v.Damaged(); !slices.Equal(got, []string{"0123456789abcdef0123456789abcdef"}) {
		t.Errorf("Damaged = %q", got)
	}
}
