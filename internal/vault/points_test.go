package vault

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
)

// kept is what a point was sealed with.
var kept = PointInfo{
	Unit: "unit", Workload: backup.Exchange, Owner: backup.Subject{ID: "ann", Address: "ann@example.com", Mail: "ann@example.com", DisplayName: "Ann"}, Policy: "policy",
	Unread: []backup.Unread{{Item: "f9", Path: "A/nine.txt", Code: "accessDenied", Message: "It is locked.", Since: noon, Held: true}},
}

func TestAPointSaysWhoseItIsAndWhatItLacks(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	u.Put(file(t, u, "f1", "root", "one", "one"))
	tried := kept
	tried.Unread = slices.Clone(kept.Unread)
	tried.Unread[0].Attempts, tried.Unread[0].Next = 7, noon.Add(time.Hour)
	s, err := u.Seal(t.Context(), noon, tried)
	if err != nil {
		t.Fatal(err)
	}
	info, at, err := v.PointInfo(t.Context(), s.Tree)
	if err != nil || !at.Equal(noon) {
		t.Error(at, err)
	}
	if diff := cmp.Diff(kept, info); diff != "" {
		t.Error(diff)
	}
	if unread, err := v.Unread(t.Context(), s.Tree); err != nil || !cmp.Equal(unread, kept.Unread) {
		t.Errorf("Unread = %+v, %v", unread, err)
	}
	points, err := v.Points(t.Context(), key)
	if err != nil || len(points) != 1 || points[0].Unread != 1 || points[0].Files != 1 || points[0].Bytes != 3 || !points[0].At.Equal(noon) {
		t.Errorf("Points = %+v, %v", points, err)
	}

	// What differs of it makes a point; how often something was tried does not.
	tried.Unread[0].Attempts = 8
	if again, err := u.Seal(t.Context(), noon.Add(time.Hour), tried); err != nil || again.Changed {
		t.Errorf("Seal after another attempt = %+v, %v", again, err)
	}
	// Nor do the names of its owner.
	renamed := kept
	renamed.Owner.DisplayName, renamed.Owner.Mail, renamed.Owner.Address = "Ann Other", "", "ann.other@example.com"
	before := v.Counters()
	if again, err := u.Seal(t.Context(), noon.Add(time.Hour), renamed); err != nil || again.Changed || again.Tree != s.Tree || again.Root != s.Root {
		t.Errorf("Seal after the owner's new name = %+v, %v", again, err)
	}
	if after := v.Counters(); after.BlobsWritten != before.BlobsWritten {
		t.Errorf("the owner's new name is written: %+v, before %+v", after, before)
	}
	for name, change := range map[string]func(*PointInfo){
		"unit":     func(i *PointInfo) { i.Unit = "other" },
		"policy":   func(i *PointInfo) { i.Policy = "other" },
		"owner":    func(i *PointInfo) { i.Owner.ID = "bob" },
		"unread":   func(i *PointInfo) { i.Unread = nil },
		"workload": func(i *PointInfo) { i.Workload = backup.OneDrive },
		"reason":   func(i *PointInfo) { i.Unread = slices.Clone(i.Unread); i.Unread[0].Code = "malwareDetected" },
	} {
		u := begin(t, v, s)
		other := kept
		change(&other)
		if again, err := u.Seal(t.Context(), noon.Add(time.Hour), other); err != nil || !again.Changed {
			t.Errorf("Seal after another %s = %+v, %v", name, again, err)
		}
		u.Close()
	}
}

// A checkpoint is no point of a root, and goes with the next point.
func TestACheckpointGoesWithTheNextPoint(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	first := seal(t, u, noon)
	for day := range 2 {
		u.Put(file(t, u, fmt.Sprint("f", day), "root", fmt.Sprint("f", day), "x"))
		if _, err := u.Seal(t.Context(), noon.AddDate(0, 0, day+1), PointInfo{Incomplete: true}); err != nil {
			t.Fatal(err)
		}
	}
	points, err := v.Points(t.Context(), key)
	if err != nil || len(points) != 3 || points[0].Info.Incomplete || !points[1].Info.Incomplete || !points[2].Info.Incomplete {
		t.Fatalf("Points = %+v, %v", points, err)
	}
	u = begin(t, v, Sealed{Root: u.base.root, Tree: first.Tree}) // it starts from what came to its end
	u.Put(file(t, u, "g", "root", "g", "x"))
	last := seal(t, u, noon.AddDate(0, 0, 3))
	if diff := cmp.Diff([]string{"", "g"}, names(t, v, last.Tree)); diff != "" {
		t.Error(diff)
	}
	days, err := v.records(t.Context(), last.Root)
	if err != nil || len(days) != 2 || days[0].Name != "2026-11-21" || days[1].Name != "2026-11-24" {
		t.Errorf("days = %v, %v", days, err)
	}
	if got := manifestRoots(t, v, key); len(got) != 1 || got[0] != last.Root {
		t.Errorf("manifests = %q, want that of %s", got, last.Root)
	}
}

// unlabelled makes a manifest as Holdfast made them before they bore labels.
func unlabelled(t *testing.T, v *Vault, key DriveKey, root string) {
	t.Helper()
	if _, err := save(t.Context(), v.updates, key.source(), &record{Object: root}, "", v.rep.Time()); err != nil {
		t.Fatal(err)
	}
	found, err := v.updates.FindManifests(t.Context(), map[string]string{"type": "snapshot", rootLabel: root})
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	for _, m := range found {
		var raw any
		if _, err := v.updates.GetManifest(t.Context(), m.ID, &raw); err != nil {
			t.Fatal(err)
		}
		if err := v.updates.DeleteManifest(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
		labels := maps.Clone(m.Labels)
		delete(labels, rootLabel)
		delete(labels, afterLabel)
		if _, err := v.updates.PutManifest(t.Context(), labels, raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.updates.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Manifests without labels, of which a newer has the points, go; one that has a
// point of its own stays.
func TestManifestsWithoutLabels(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	unlabelled(t, v, key, s.Root)
	u := begin(t, v, s)
	u.Put(folder("x", "root", "x"))
	next := seal(t, u, noon.Add(time.Hour))
	if got := manifestRoots(t, v, key); len(got) != 1 || got[0] != next.Root {
		t.Errorf("manifests = %q, want that of %s", got, next.Root)
	}
	unlabelled(t, v, key, next.Root)
	alone := begin(t, v, Sealed{}) // knows of no point before
	alone.Put(folder("root", "", "alone"))
	other := seal(t, alone, noon.Add(2*time.Hour))
	if got := slices.Compact(manifestRoots(t, v, key)); len(got) != 2 || got[0] != next.Root || got[1] != other.Root {
		t.Errorf("manifests = %q, want those of %s and %s", got, next.Root, other.Root)
	}
	if points, err := v.Points(t.Context(), key); err != nil || len(points) != 3 {
		t.Errorf("Points = %+v, %v", points, err)
	}
	for d, err := range v.Drives(t.Context()) {
		if err != nil || d.Key != key || d.Root != other.Root || !d.More {
			t.Errorf("Drives = %+v, %v", d, err)
		}
	}
}

// Expiry keeps what is to be kept wherever in the vault it is.
func TestExpiryFindsWhatIsToBeKept(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	u := begin(t, v, s)
	u.Put(folder("x", "root", "x"))
	next := seal(t, u, noon.AddDate(0, 0, 1))
	alone := begin(t, v, Sealed{})
	alone.Put(folder("root", "", "alone"))
	other := seal(t, alone, noon.AddDate(0, 0, 2))
	nowhere := "k" + strings.Repeat("0", 32)
	for _, tt := range []struct {
		name, root string
		keep, want []string // trees
		err        error
	}{
		{"all are in the root", next.Root, []string{s.Tree, next.Tree}, []string{s.Tree, next.Tree}, nil},
		{"one is in another", next.Root, []string{next.Tree, other.Tree}, []string{next.Tree, other.Tree}, nil},
		{"the root is not there", nowhere, []string{s.Tree, other.Tree}, []string{s.Tree, other.Tree}, nil},
		{"one is nowhere", next.Root, []string{nowhere, next.Tree}, []string{next.Tree}, nil},
		{"neither root nor tree is there", nowhere, []string{nowhere}, nil, ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keep := map[string]bool{}
			for _, tree := range tt.keep {
				keep[tree] = true
			}
			root, err := v.Expire(t.Context(), key, tt.root, keep)
			if !errors.Is(err, tt.err) {
				t.Fatalf("Expire = %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			all := &tops{v: v}
			if whole, err := all.all(t.Context(), root); err != nil || !whole {
				t.Fatal(whole, err)
			}
			var got []string
			for _, day := range all.days {
				for _, p := range day.points {
					got = append(got, p.Object)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	// What no root that was given knew of is still there.
	for _, tree := range []string{s.Tree, next.Tree, other.Tree} {
		points, err := v.Points(t.Context(), key)
		if err != nil || !slices.ContainsFunc(points, func(p Point) bool { return p.Tree == tree && p.Err == nil }) && tree == other.Tree {
			t.Errorf("Points = %+v, %v", points, err)
		}
	}
}

// A manifest whose root is damaged stays until all that is wanted is elsewhere.
// Until then nothing is collected.
func TestADamagedRoot(t *testing.T) {
	w := newTorn(t)
	info := whereIs(t, w.v, w.two.Root)
	flipBit(t, w.cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
	v := w.v
	roots := map[DriveKey]string{key: w.one.Root, secondKey: w.two.Root}
	if err := collect(t, v, roots); !errors.Is(err, ErrDamaged) {
		t.Errorf("collection beside a damaged root = %v, want ErrDamaged", err)
	}
	u, newest, err := v.BeginAnew(t.Context(), secondKey, w.two.Tree)
	if err != nil || newest != w.two.Tree {
		t.Fatalf("BeginAnew = %s, %v", newest, err)
	}
	next := w.fill(t, u, noon.Add(time.Hour))
	if points, err := v.Points(t.Context(), secondKey); err != nil || len(points) != 2 || points[0].Tree != w.two.Tree || points[1].Tree != next.Tree {
		t.Errorf("Points = %+v, %v", points, err)
	}
	if got := manifestRoots(t, v, secondKey); !slices.Contains(got, w.two.Root) {
		t.Errorf("manifests = %q, and what the damaged one had is not known", got)
	}
	root, err := v.Expire(t.Context(), secondKey, next.Root, map[string]bool{w.two.Tree: true, next.Tree: true})
	if err != nil || root != next.Root {
		t.Errorf("Expire = %s, %v", root, err)
	}
	if got := manifestRoots(t, v, secondKey); len(got) != 1 || got[0] != next.Root {
		t.Errorf("manifests = %q, want that of %s", got, next.Root)
	}
	roots[secondKey] = next.Root
	if err := collect(t, v, roots); err != nil {
		t.Error(err)
	}
	if found := verified(t, v, w.one.Tree, w.two.Tree, next.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

// Another kopia moves packs about beside an open vault, and deletes the old ones.
// Readers, those under way too, and updates go on.
func TestPacksThatAreMovedAreFound(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	long := strings.Repeat("0123456789abcdef", 1<<20) + "end"
	e := file(t, u, "long", "root", "long", long)
	u.Put(e)
	s := seal(t, u, noon)
	u.Put(file(t, u, "short", "root", "short", "short"))
	s = seal(t, u, noon.Add(time.Hour))
	r, err := v.Open(t.Context(), e.Content)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	aside, err := v.Open(t.Context(), e.Content)
	if err != nil {
		t.Fatal(err)
	}
	defer aside.Close()
	part := make([]byte, 1000)
	if _, err := aside.ReadAt(part, 5); err != nil || string(part) != long[5:1005] {
		t.Fatal(err)
	}
	before := blobsNamed(t, cfg, "p")

	other := cfg
	other.State = t.TempDir()
	o := openVault(t, other)
	o.safety = maintenance.SafetyNone
	for start := time.Now(); ; {
		if _, err := o.maintain(t.Context(), fixed(map[DriveKey]string{key: s.Root}), maintenance.ModeFull); err != nil {
			t.Fatal(err)
		}
		after := blobsNamed(t, cfg, "p")
		if !slices.ContainsFunc(before, func(id blob.ID) bool { return slices.Contains(after, id) }) {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("packs %v, before %v", after, before)
		}
	}
	if err := v.sweep(t.Context(), v.updates); err != nil {
		t.Errorf("sweep: %v", err)
	}
	for _, off := range []int{9 << 20, 17, len(long) - 1000} {
		if _, err := aside.ReadAt(part, int64(off)); err != nil || string(part) != long[off:off+1000] {
			t.Errorf("ReadAt %d: %v", off, err)
		}
	}
	if _, err := aside.Seek(-2000, io.SeekEnd); err != nil {
		t.Error(err)
	}
	if end, err := io.ReadAll(aside); err != nil || string(end) != long[len(long)-2000:] {
		t.Errorf("read the end: %d bytes, %v", len(end), err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(head)+string(rest) != long {
		t.Errorf("read on: %d bytes, %v", len(rest), err)
	}
	if got := read(t, v, e.Content); got != long {
		t.Errorf("read anew: %d bytes", len(got))
	}
	if left := v.Damaged(); len(left) > 0 {
		t.Errorf("taken for damaged: %q", left)
	}
	next := begin(t, v, s)
	again := e
	again.ID, again.Name = "again", "again"
	next.Put(again)
	sealed := seal(t, next, noon.Add(2*time.Hour))
	if found := verified(t, v, sealed.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
}

func TestTheTenantsRecord(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	clash := DriveKey{key.Tenant, "/catalog"}
	u, err := v.Begin(t.Context(), clash, "", "")
	if err != nil {
		t.Fatal(err)
	}
	u.Put(folder("root", "", "root"))
	seal(t, u, noon)
	u.Close()
	if _, _, err := v.Record(t.Context(), key.Tenant); !errors.Is(err, ErrNotFound) {
		t.Errorf("Record = %v, want ErrNotFound", err)
	}
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	files := map[string]func(io.Writer) error{"units.json": text("[1]"), "policies.json": text("[2]")}
	for i, want := range []bool{true, false, true, false} {
		if i == 2 {
			files["units.json"] = text("[1, 2]")
		}
		if changed, err := v.SaveRecord(t.Context(), key.Tenant, files); err != nil || changed != want {
			t.Errorf("SaveRecord = %v, %v, want %v", changed, err, want)
		}
	}
	broken := errors.New("the catalog failed")
	files["units.json"] = func(io.Writer) error { return broken }
	if _, err := v.SaveRecord(t.Context(), key.Tenant, files); !errors.Is(err, broken) {
		t.Errorf("SaveRecord of what fails = %v", err)
	}
	if err := collect(t, v, map[DriveKey]string{key: s.Root}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	all, at, err := openVault(t, cfg).Record(t.Context(), key.Tenant)
	if err != nil || time.Since(at) > time.Hour {
		t.Error(at, err)
	}
	for name, r := range all {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = string(b)
	}
	if diff := cmp.Diff(map[string]string{"units.json": "[1, 2]", "policies.json": "[2]"}, got); diff != "" {
		t.Error(diff)
	}
	if tenants, err := v.Tenants(t.Context()); err != nil || !slices.Equal(tenants, []backup.TenantID{key.Tenant}) {
		t.Errorf("Tenants = %v, %v", tenants, err)
	}
	var drives []backup.DriveID
	for d, err := range v.Drives(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		drives = append(drives, d.Key.Drive)
	}
	slices.Sort(drives)
	if diff := cmp.Diff([]backup.DriveID{"/catalog", key.Drive}, drives); diff != "" {
		t.Error(diff)
	}
}

// Names that a file system may take for one are stored under names that differ,
// whichever of the pair comes first; each keeps its own.
func TestNamesThatDifferInTheirLettersForm(t *testing.T) {
	v, _ := newVault(t)
	for _, pair := range [][2]string{
		{"caf\u00e9.txt", "CAFE\u0301.txt"},
		{"\u01f0", "J\u030c"}, // no capital of this letter is one letter
		{"\u0390.md", "\u0399\u0308\u0301.md"},
		{"\u03c3\u03b1\u03c2", "\u03a3\u0391\u03a3"}, // a sigma at the end of a word
		{"stra\u00dfe", "STRASSE"},
		{"\u212b", "\u00e5"}, // the sign of a unit
		{"\uac00", "\u1100\u1161"},
		{"\u1ebf", "E\u0302\u0301"},
		{"README", "readme"},
	} {
		for _, p := range [][2]string{pair, {pair[1], pair[0]}} {
			u := begin(t, v, Sealed{})
			u.Put(folder("root", "", "root"))
			u.Put(file(t, u, "id-000001", "root", p[0], "one"))
			u.Put(file(t, u, "id-000002", "root", p[1], "two"))
			s := seal(t, u, noon)
			u.Close()
			all := paths(t, v, s.Tree)
			if read(t, v, all[p[0]].Content) != "one" || read(t, v, all[p[1]].Content) != "two" {
				t.Errorf("names = %+q", slices.Sorted(maps.Keys(all)))
			}
			b, err := v.base(t.Context(), "", s.Tree)
			if err != nil {
				t.Fatal(err)
			}
			records, err := v.records(t.Context(), b.files.Object)
			if err != nil {
				t.Fatal(err)
			}
			stored := map[string]bool{}
			for _, r := range records {
				stored[norm.NFD.String(cases.Fold().String(norm.NFD.String(r.Name)))] = true
			}
			if len(stored) != 2 {
				t.Errorf("%+q are stored under %+q", p, slices.Collect(maps.Keys(stored)))
			}
		}
	}
	// What differs in more keeps its name.
	records := []record{{Name: "na\u00efve", ID: "1"}, {Name: "naive", ID: "2"}, {Name: "nai\u0308ve2", ID: "3"}}
	nameRecords(records)
	for _, r := range records {
		if r.TrueName != nil {
			t.Errorf("%q is stored as %q", r.TrueName, r.Name)
		}
	}
}

// Latest is the newest point that can be read and that a backup came to its end with.
func TestLatest(t *testing.T) {
	w := newTorn(t)
	latest := func() (Point, error) {
		t.Helper()
		for s, err := range w.v.Drives(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Key == secondKey {
				return w.v.Latest(t.Context(), s)
			}
		}
		t.Fatal("the drive is not in the vault")
		return Point{}, nil
	}
	if p, err := latest(); err != nil || p.Tree != w.two.Tree {
		t.Errorf("Latest = %+v, %v", p, err)
	}
	u, err := w.v.Begin(t.Context(), secondKey, w.two.Root, w.two.Tree)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Put(file(t, u, "new", "root", "new.txt", "new"))
	s, err := u.Seal(t.Context(), noon.Add(time.Hour), PointInfo{Incomplete: true})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := latest(); err != nil || p.Tree != w.two.Tree {
		t.Errorf("Latest beside a checkpoint = %+v, %v", p, err)
	}
	u.Put(file(t, u, "newer", "root", "newer.txt", "newer"))
	if s, err = u.Seal(t.Context(), noon.Add(2*time.Hour), PointInfo{}); err != nil {
		t.Fatal(err)
	}
	if p, err := latest(); err != nil || p.Tree != s.Tree {
		t.Errorf("Latest = %+v, %v", p, err)
	}
	info := whereIs(t, w.v, s.Tree)
	flipBit(t, w.cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
	if w.v, err = Open(t.Context(), w.cfg); err != nil {
		t.Fatal(err)
	}
	defer w.v.Close(t.Context())
	if p, err := latest(); err != nil || p.Tree != w.two.Tree {
		t.Errorf("Latest beside a damaged point = %+v, %v", p, err)
	}
}
