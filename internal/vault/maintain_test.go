package vault

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"holdfast/internal/backup"
)

// collect runs full maintenance that takes at once whatever it may.
func collect(t *testing.T, v *Vault, roots map[DriveKey]string) error {
	t.Helper()
	v.safety = maintenance.SafetyNone
	defer func() { v.safety = maintenance.SafetyFull }()
	_, err := v.maintain(t.Context(), fixed(roots), maintenance.ModeFull)
	return err
}

// fixed are roots that stay as they are.
func fixed(roots map[DriveKey]string) Roots {
	return func(context.Context) (map[DriveKey]string, error) { return roots, nil }
}

// verify reads a tree back, and returns what is wrong with it.
func verify(t *testing.T, v *Vault, tree string) error {
	t.Helper()
	r, err := v.Verify(t.Context(), []string{tree}, VerifyOptions{Share: 1})
	return errors.Join(err, r.Err())
}

// manifestRoots returns the roots that a drive's manifests name, oldest first. What
// kopia knows of them is the same.
func manifestRoots(t *testing.T, v *Vault, key DriveKey) (roots []string) {
	t.Helper()
	w, err := v.session(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	src := key.source()
	theirs, err := w.FindManifests(t.Context(), map[string]string{
		manifest.TypeLabelKey: snapshot.ManifestType, snapshot.UsernameLabel: src.UserName, snapshot.HostnameLabel: src.Host, snapshot.PathLabel: src.Path,
	})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := v.manifestsOf(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range theirs {
		s, err := snapshot.LoadSnapshot(t.Context(), w, m.ID)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintln(m.ID, m.ModTime, s.RootObjectID()))
	}
	for _, m := range ours {
		roots = append(roots, m.root)
		got = append(got, fmt.Sprintln(m.id, m.at, m.root))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifests of %s (-kopia +here):\n%s", key.Drive, diff)
	}
	return roots
}

// collected reports whether kopia has marked an object's content as deleted;
// it forgets it in a later run.
func collected(t *testing.T, v *Vault, oid string) bool {
	t.Helper()
	id, err := object.ParseID(oid)
	if err != nil {
		t.Fatal(err)
	}
	content, _, _ := id.ContentID()
	info, err := v.rep.ContentInfo(t.Context(), content)
	if err != nil && !missing(err) {
		t.Fatal(err)
	}
	return err != nil || info.Deleted
}

func TestMaintenanceDuringAnUpdateLosesNothing(t *testing.T) {
	v, cfg := newVault(t)
	other := openVault(t, cfg) // maintenance may run in another process
	s := sample(t, v)
	roots := map[DriveKey]string{key: s.Root}

	u := begin(t, v, s)
	early := file(t, u, "early", "root", "early", "written before maintenance")
	if err := v.updates.Flush(t.Context()); err != nil { // as kopia does in long sessions
		t.Fatal(err)
	}
	pending := file(t, u, "pending", "root", "pending", "not flushed yet")
	for range 2 {
		for _, v := range []*Vault{v, other} {
			if _, err := v.maintain(t.Context(), fixed(roots), maintenance.ModeFull); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Maintain(t.Context(), fixed(roots)); err != nil {
				t.Fatal(err)
			}
		}
	}
	late := file(t, u, "late", "root", "late", "written after")
	u.Put(early)
	u.Put(pending)
	u.Put(late)
	s2 := seal(t, u, noon.Add(time.Hour))

	if _, err := other.maintain(t.Context(), fixed(map[DriveKey]string{key: s2.Root}), maintenance.ModeFull); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*Vault{v, other} {
		for _, tree := range []string{s.Tree, s2.Tree} {
			if err := verify(t, v, tree); err != nil {
				t.Error(err)
			}
		}
		if got := read(t, v, early.Content); got != "written before maintenance" {
			t.Errorf("early = %q", got)
		}
	}
}

func TestExpiredPointsAreCollected(t *testing.T) {
	v, _ := newVault(t)
	s1 := sample(t, v)
	u := begin(t, v, s1)
	u.Delete("a")
	u.Put(file(t, u, "x", "root", "x", "new"))
	s2 := seal(t, u, noon.Add(24*time.Hour))
	u.Close()

	if same, err := v.Expire(t.Context(), key, s2.Root, map[string]bool{s1.Tree: true, s2.Tree: true}); same != s2.Root || err != nil {
		t.Errorf("Expire of nothing = %s, %v", same, err)
	}
	one := paths(t, v, s1.Tree)["A/one.txt"].Content
	root, err := v.Expire(t.Context(), key, s2.Root, map[string]bool{s2.Tree: true})
	if err != nil {
		t.Fatal(err)
	}
	days, err := v.records(t.Context(), root)
	if err != nil || len(days) != 1 || days[0].Name != "2026-11-22" {
		t.Errorf("days left: %v, %v", days, err)
	}
	if err := collect(t, v, map[DriveKey]string{key: root}); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, v, s2.Tree); err != nil {
		t.Error(err)
	}
	if !collected(t, v, one) {
		t.Error("an expired content is still there")
	}

	// All of it: the drive begins anew.
	if root, err = v.Expire(t.Context(), key, root, nil); root != "" || err != nil {
		t.Errorf("Expire of all = %q, %v", root, err)
	}
	if got := manifestRoots(t, v, key); len(got) != 0 {
		t.Errorf("manifests left: %v", got)
	}
	// Kopia dates what the last run moved up to a second ahead, and leaves it
	// until then.
	for start := time.Now(); !collected(t, v, s2.Tree); {
		if time.Since(start) > 10*time.Second {
			t.Fatal("an expired tree is still there")
		}
		if err := collect(t, v, map[DriveKey]string{key: ""}); err != nil {
			t.Fatal(err)
		}
	}
	s3 := sample(t, v)
	if err := verify(t, v, s3.Tree); err != nil {
		t.Error(err)
	}
}

func TestTheCatalogDecidesWhichManifestCounts(t *testing.T) {
	v, _ := newVault(t)
	s := sample(t, v)
	// Two workers on one drive; the catalog takes the first, but the second
	// published last.
	first, second := begin(t, v, s), begin(t, v, s)
	first.Put(file(t, first, "w1", "root", "first", "first worker"))
	second.Put(file(t, second, "w2", "root", "second", "second worker"))
	won := seal(t, first, noon.Add(time.Hour))
	lost := seal(t, second, noon.Add(time.Hour))
	if got := manifestRoots(t, v, key); len(got) != 2 || got[1] != lost.Root {
		t.Fatalf("manifests after two publishes: %v, want both: neither has the other's point", got)
	}
	if err := collect(t, v, map[DriveKey]string{key: won.Root}); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, v, won.Tree); err != nil {
		t.Error(err)
	}
	if got := manifestRoots(t, v, key); len(got) != 2 || got[0] != won.Root {
		t.Errorf("manifests after maintenance: %v, want both still", got)
	}
	if err := verify(t, v, lost.Tree); err != nil {
		t.Errorf("a point that the catalog does not know was collected: %v", err)
	}
	// Once one root has both points, its manifest is enough.
	merged, err := v.Merge(t.Context(), key, won.Root, lost.Tree)
	if err != nil {
		t.Fatal(err)
	}
	if got := manifestRoots(t, v, key); len(got) != 1 || got[0] != merged {
		t.Errorf("manifests after a merge: %v, want %s; won %s, lost %s", got, merged, won.Root, lost.Root)
	}
	for _, tree := range []string{won.Tree, lost.Tree} {
		if err := verify(t, v, tree); err != nil {
			t.Error(err)
		}
	}
	won.Root = merged

	// A root that is not there is told, and stops nothing.
	next := begin(t, v, won)
	next.Delete("w1")
	next.Put(folder("y", "root", "y"))
	seal(t, next, noon.Add(2*time.Hour))
	bad := map[DriveKey]string{{key.Tenant, "other"}: "k0123456789abcdef0123456789abcdef", key: won.Root}
	unread, err := v.maintain(t.Context(), fixed(bad), maintenance.ModeFull)
	if err != nil || len(unread) != 1 || unread[0].Drive != "other" {
		t.Errorf("maintenance with an unknown root: %v, %v", unread, err)
	}
	if err := verify(t, v, won.Tree); err != nil {
		t.Error(err)
	}
}

// A drive that is backed up between the look into the catalog and the one at the manifests
// disagrees with nothing.
func TestMaintenanceTakesABackupMeanwhileForNoDisagreement(t *testing.T) {
	v, _ := newVault(t)
	last := sample(t, v)
	var said bytes.Buffer
	v.log = slog.New(slog.NewTextHandler(&said, nil))
	reads := 0
	roots := func(context.Context) (map[DriveKey]string, error) {
		before := map[DriveKey]string{key: last.Root}
		if reads++; reads == 1 {
			u := begin(t, v, last)
			u.Put(folder("z", "root", "z"))
			last = seal(t, u, noon.Add(time.Hour))
		}
		return before, nil
	}
	if _, err := v.Maintain(t.Context(), roots); err != nil {
		t.Fatal(err)
	}
	if got := manifestRoots(t, v, key); len(got) != 1 || got[0] != last.Root {
		t.Errorf("manifests: %v, want only %s", got, last.Root)
	}
	if reads != 2 || strings.Contains(said.String(), "disagrees") {
		t.Errorf("the roots were read %d times, want 2; it said:\n%s", reads, said.String())
	}
}

func TestOneManifestPerDrive(t *testing.T) {
	v, _ := newVault(t)
	last := map[DriveKey]string{}
	for round := range 4 {
		for drive := range 3 {
			key := DriveKey{key.Tenant, backup.DriveID(fmt.Sprint(drive))}
			u, err := v.Begin(t.Context(), key, last[key], "")
			if err != nil {
				t.Fatal(err)
			}
			u.Put(folder("root", "", fmt.Sprint(round)))
			last[key] = seal(t, u, noon.Add(time.Duration(round)*time.Minute)).Root
			u.Close()
		}
	}
	for key, root := range last {
		if got := manifestRoots(t, v, key); len(got) != 1 || got[0] != root {
			t.Errorf("drive %s has manifests %v, want %s", key.Drive, got, root)
		}
	}
}

// TestKilledInTheMiddle kills a process while it updates. What it sealed is
// there, and the next process goes on from it.
func TestKilledInTheMiddle(t *testing.T) {
	if dir := os.Getenv("VAULT_TEST_KILLED"); dir != "" {
		updateForever(t, Config{Create: true, Dir: dir, State: os.Getenv("VAULT_TEST_STATE"), Password: password})
		return
	}
	dir, state := t.TempDir(), t.TempDir()
	var s Sealed
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilledInTheMiddle$")
		child.Env = append(os.Environ(), "VAULT_TEST_KILLED="+dir, "VAULT_TEST_STATE="+state, "VAULT_TEST_ROOT="+s.Root, "VAULT_TEST_TREE="+s.Tree)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 3 && lines.Scan(); {
			if root, tree, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(root, "k") {
				s.Root, s.Tree, n = root, tree, n+1
			}
		}
		child.Process.Kill()
		child.Wait()
		if s.Tree == "" {
			t.Fatal("the child sealed nothing")
		}

		v, err := Open(t.Context(), Config{Create: true, Dir: dir, State: state, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, v, s.Tree); err != nil {
			t.Error(err)
		}
		if err := collect(t, v, map[DriveKey]string{key: s.Root}); err != nil {
			t.Error(err)
		}
		if err := verify(t, v, s.Tree); err != nil {
			t.Error(err)
		}
		if err := v.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func updateForever(t *testing.T, cfg Config) {
	v, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := Sealed{Root: os.Getenv("VAULT_TEST_ROOT"), Tree: os.Getenv("VAULT_TEST_TREE")}
	for i := 0; ; i++ {
		u := begin(t, v, s)
		u.Put(folder("root", "", "root"))
		for n := range 50 {
			id := fmt.Sprint(os.Getpid(), "-", i, "-", n)
			u.Put(file(t, u, id, "root", id, strings.Repeat(id, 1000)))
		}
		s = seal(t, u, time.Now())
		u.Close()
		fmt.Println(s.Root, s.Tree)
	}
}
