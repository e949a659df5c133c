package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/restore"
	"github.com/kopia/kopia/snapshot/snapshotfs"

	"holdfast/internal/backup"
)

// TestStockKopiaRestores reads a vault with nothing of ours: kopia finds the
// drive's snapshot, verifies it, and restores a point byte for byte.
func TestStockKopiaRestores(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	want := map[string]string{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		dir := fmt.Sprintf("d%d", i%7)
		u.Put(folder(dir, "root", "Ordner <&> "+dir))
		content := strings.Repeat(fmt.Sprint(r.Uint64()), r.IntN(3000))
		e := file(t, u, fmt.Sprint(i), dir, fmt.Sprintf("Datei é %d \u2028.txt", i), content)
		e.Modified = epoch.Add(time.Duration(i) * time.Hour)
		u.Put(e)
		want["Ordner <&> "+dir+"/"+e.Name] = content
	}
	big := strings.Repeat("0123456789abcdef", 1<<20)
	e := file(t, u, "big", "d0", "big.bin", big)
	e.Modified = epoch
	u.Put(e)
	want["Ordner <&> d0/big.bin"] = big
	edges := map[string]time.Time{"old": time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC), "far": time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}
	for name, at := range edges {
		e := file(t, u, name, "root", name, name)
		e.Created, e.Modified = at, at
		u.Put(e)
		want[name] = name
	}
	u.Put(file(t, u, "raw", "root", "not\xffutf8", "raw"))
	want["not_utf8"] = "raw"
	s := seal(t, u, noon)
	u.Put(folder("later", "root", "later"))
	seal(t, u, noon.Add(24*time.Hour))

	ctx := t.Context()
	rep, err := repo.Open(ctx, filepath.Join(cfg.State, "connection.json"), string(cfg.Password), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rep.Close(ctx)
	sources, err := snapshot.ListSources(ctx, rep)
	if err != nil || len(sources) != 1 || sources[0].String() != "holdfast@11111111-2222-3333-4444-555555555555:/drives/b!drive" {
		t.Fatalf("sources = %v, %v", sources, err)
	}
	manifests, err := snapshot.ListSnapshots(ctx, rep, sources[0])
	if err != nil || len(manifests) != 1 {
		t.Fatalf("manifests = %v, %v", manifests, err)
	}
	root, err := snapshotfs.SnapshotRoot(rep, manifests[0])
	if err != nil {
		t.Fatal(err)
	}

	verifier := snapshotfs.NewVerifier(ctx, rep, snapshotfs.VerifierOptions{VerifyFilesPercent: 100, Parallelism: 2, MaxErrors: 1})
	result, err := verifier.InParallel(ctx, func(tw *snapshotfs.TreeWalker) error { return tw.Process(ctx, root, "") })
	if err != nil || result.ErrorCount != 0 {
		t.Errorf("kopia's verifier: %+v, %v", result, err)
	}

	point, err := snapshotfs.GetNestedEntry(ctx, root, []string{"2026-11-21", "12-00-00.000Z", "files"})
	if err != nil {
		t.Fatal(err)
	}
	err = fs.IterateEntries(ctx, point.(fs.Directory), func(_ context.Context, e fs.Entry) error {
		if y := e.ModTime().Year(); edges[e.Name()] != (time.Time{}) && y != 1677 && y != 2262 {
			t.Errorf("kopia has %s of the year %d", e.Name(), y)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	summary, err := point.(fs.DirectoryWithSummary).Summary(ctx)
	if err != nil || summary.TotalFileCount != s.Files || summary.TotalDirCount != s.Folders+1 || summary.TotalFileSize != s.Bytes {
		t.Errorf("kopia's summary = %+v, %v, sealed %+v", summary, err, s)
	}
	out := &restore.FilesystemOutput{TargetPath: filepath.Join(t.TempDir(), "out"), SkipOwners: true}
	if err := out.Init(ctx); err != nil {
		t.Fatal(err)
	}
	stats, err := restore.Entry(ctx, rep, out, point, restore.Options{Parallel: 2, RestoreDirEntryAtDepth: 1000})
	if err != nil || int(stats.RestoredFileCount) != len(want) {
		t.Fatalf("restore = %+v, %v", stats, err)
	}
	times := map[string]time.Time{}
	for n, err := range v.Walk(ctx, s.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		if n.Kind == backup.File {
			times[strings.ToValidUTF8(n.Path, "_")] = n.Modified
		}
	}
	for path, content := range want {
		name := filepath.Join(out.TargetPath, filepath.FromSlash(path))
		got, err := os.ReadFile(name)
		if err != nil || string(got) != content {
			t.Errorf("restored %q has %d bytes, %v, want %d", path, len(got), err, len(content))
			continue
		}
		if at, edge := edges[path]; edge {
			if !times[path].Equal(at) {
				t.Errorf("%q is of %v, want %v", path, times[path], at)
			}
			continue // a file system bears neither, nor does kopia
		}
		if info, err := os.Stat(name); err != nil || !info.ModTime().Equal(times[path]) {
			t.Errorf("restored %q is of %v, want %v", path, info.ModTime(), times[path])
		}
	}
}

// What a point lacks may be a long list, and a tenant's record a long file. Both come
// back, and the stock kopia reads them as well.
func TestPlayLongListsAreRead(t *testing.T) {
	v, cfg := newVault(t)
	long := PointInfo{Unit: "unit"}
	for i := range 90_000 {
		long.Unread = append(long.Unread, backup.Unread{
			Item: backup.ItemID(fmt.Sprintf("01BYE5RZ6QN3ZWBTUFOFD3GSP%08d", i)), Path: fmt.Sprintf("Ordner é %d/%s/Datei %d.docx", i%500, strings.Repeat("lang ", 20), i),
			Code: "accessDenied", Message: fmt.Sprintf("The item %d was locked by somebody else.", i), Since: noon.Add(time.Duration(i) * time.Millisecond), Held: i%2 == 0,
		})
	}
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	s, err := u.Seal(t.Context(), noon, long)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := u.Seal(t.Context(), noon.Add(time.Hour), long); err != nil || again.Changed {
		t.Errorf("Seal of the same = %v, %v", again.Changed, err)
	}
	listed, err := json.Marshal(long.Unread)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.SaveRecord(t.Context(), key.Tenant, map[string]func(io.Writer) error{"record.json": func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(listed))
		return err
	}}); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*Vault{v, openVault(t, cfg)} {
		if got, err := v.Unread(t.Context(), s.Tree); err != nil || !slices.Equal(got, long.Unread) {
			t.Errorf("Unread = %d items, %v", len(got), err)
		}
		files, _, err := v.Record(t.Context(), key.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(files["record.json"]); err != nil || !bytes.Equal(got, listed) {
			t.Errorf("record.json has %d bytes, %v, want %d", len(got), err, len(listed))
		}
		if found := verified(t, v, s.Tree); len(found) > 0 {
			t.Errorf("damaged: %q", found)
		}
	}

	ctx := t.Context()
	rep, err := repo.Open(ctx, filepath.Join(cfg.State, "connection.json"), string(cfg.Password), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rep.Close(ctx)
	for _, tt := range []struct {
		src  snapshot.SourceInfo
		path []string
	}{
		{key.source(), []string{"2026-11-21", "12-00-00.000Z", "meta", "unread.json"}},
		{recordSource(key.Tenant), []string{"record.json"}},
	} {
		manifests, err := snapshot.ListSnapshots(ctx, rep, tt.src)
		if err != nil || len(manifests) != 1 {
			t.Fatalf("manifests = %v, %v", manifests, err)
		}
		root, err := snapshotfs.SnapshotRoot(rep, manifests[0])
		if err != nil {
			t.Fatal(err)
		}
		entry, err := snapshotfs.GetNestedEntry(ctx, root, tt.path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := entry.(fs.File).Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		var got []backup.Unread
		if err != nil || int64(len(b)) != entry.Size() || len(b) < 25<<20 {
			t.Errorf("kopia reads %d bytes of %s, %v; it lists %d", len(b), entry.Name(), err, entry.Size())
		}
		if err := json.Unmarshal(b, &got); err != nil || !slices.Equal(got, long.Unread) {
			t.Errorf("kopia reads %d items, %v", len(got), err)
		}
	}
}
