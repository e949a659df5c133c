package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
)

// asDev runs the client's and the tools' commands on what startDev started.
func asDev(t *testing.T, d *devServer) {
	t.Helper()
	app := d.tenants[0].Apps[0]
	t.Setenv("HOLDFAST_URL", d.origin)
	t.Setenv("HOLDFAST_TENANT", string(d.tenants[0].ID))
	t.Setenv("HOLDFAST_CLIENT_ID", app.AppID)
	t.Setenv("HOLDFAST_CLIENT_SECRET", app.Secret)
}

// devOn starts dev, and has the commands run on it until another is started.
func devOn(t *testing.T, o devOptions) *devServer {
	t.Helper()
	d, err := startDev(t.Context(), o, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	asDev(t, d)
	return d
}

func stopDev(t *testing.T, d *devServer) {
	t.Helper()
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
}

// hf runs a command, which must end with code, and returns what it printed.
func hf(t testing.TB, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got := execute(ctx, args, &out, &errs); got != code {
		t.Fatalf("holdfast %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String()
}

// largest returns the largest of a folder's files whose path holds a text.
func largest(t *testing.T, dir, text string) (path string) {
	t.Helper()
	size := int64(-1)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(p, text) {
			return err
		}
		info, err := e.Info()
		if err == nil && cmp.Compare(info.Size(), size) > 0 {
			path, size = p, info.Size()
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no file with %q in %s: %v", text, dir, err)
	}
	return path
}

// TestPlayWhenSomethingIsLost plays what an operator fears on one data folder, with
// the program as it is shipped: damage in the vault, a lost catalog, a vault that
// is not mounted, and another in its place.
func TestPlayWhenSomethingIsLost(t *testing.T) {
	data := t.TempDir()
	start := func() *devServer {
		t.Helper()
		return devOn(t, devOptions{listen: "127.0.0.1:0", data: data, interval: time.Second, sample: true})
	}
	stop := func(d *devServer) {
		t.Helper()
		stopDev(t, d)
	}
	d := start()
	home := filepath.Join(d.drives, "amala@contoso.com")
	random := rand.NewChaCha8([32]byte{3})
	want := map[string]string{}
	for _, name := range []string{"one.bin", "two.bin", "three.bin"} {
		b := make([]byte, 30_000)
		random.Read(b)
		want[name] = string(b)
		if err := os.WriteFile(filepath.Join(home, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	if out := hf(t, 0, "vault", "verify", "--data", data, "--full"); !strings.Contains(out, "1 drive verified") {
		t.Errorf("verify: %s", out)
	}
	if out := hf(t, 0, "vault", "status", "--data", data); !strings.Contains(out, "opens") || strings.Contains(out, "not known") {
		t.Errorf("status: %s", out)
	}

	// One bit of a pack: found, named, and healed from the source beside the
	// running server.
	dir := filepath.Join(data, "vault", string(d.tenants[0].ID))
	pack := largest(t, dir, "/p/")
	b, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(pack, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := hf(t, exitPartial, "vault", "verify", "--data", data, "--full"); !strings.Contains(out, "amala@contoso.com") || !strings.Contains(out, ".bin") {
		t.Errorf("verify names nothing: %s", out)
	}
	eventually(t, "the damage is healed", func() bool {
		return strings.Contains(hf(t, 0, "vault", "damage", "--data", data), "No damage")
	})
	hf(t, 0, "vault", "verify", "--data", data, "--full")
	if out := hf(t, 0, "vault", "damage", "--data", data, "--all"); !strings.Contains(out, "healed") {
		t.Errorf("damage: %s", out)
	}

	// The volume is not mounted: the unit says so, nothing is made in its place,
	// and it goes on when it is back.
	away := filepath.Join(data, "away")
	if err := errors.Join(os.Rename(dir, away), os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(home, "new.txt"), []byte("new"), 0o600)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the unit says that its vault is away", func() bool {
		return strings.Contains(hf(t, 0, "drive", "list"), "There is no vault where the tenant's should be")
	})
	if res, err := http.Get(d.origin + "/readyz"); err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %v, %v", res, err)
	} else {
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.Contains(string(body), "there is no vault in its place") {
			t.Errorf("/readyz says %s", body)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("in the vault's place there is %v, %v", left, err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the unit is well again", func() bool {
		return !strings.Contains(hf(t, 0, "drive", "list"), "VaultUnavailable")
	})
	stop(d)
	d = start() // which writes the tenant's record at once, and else within a minute
	eventually(t, "the tenant's record is in the vault", func() bool { return recorded(t, d) })
	stop(d)

	// The catalog is lost: once for a server that starts, once for the command, and then
	// with it the vault, of which there is a copy.
	for _, by := range []string{"server", "command"} {
		if err := errors.Join(os.Remove(filepath.Join(data, "catalog.db")), os.RemoveAll(filepath.Join(data, "catalog.db-wal")), os.RemoveAll(filepath.Join(data, "catalog.db-shm"))); err != nil {
			t.Fatal(err)
		}
		if by == "command" {
			copies := filepath.Join(t.TempDir(), "copies")
			hf(t, exitFailed, "vault", "copy", "--data", data, "--to", copies)
			if out := hf(t, 0, "vault", "copy", "--data", data, "--to", copies, "--new"); !strings.Contains(out, "backups of 1 drive") {
				t.Errorf("copy: %s", out)
			}
			for _, path := range []string{"vault", "state"} {
				if err := os.RemoveAll(filepath.Join(data, path)); err != nil {
					t.Fatal(err)
				}
			}
			hf(t, exitNotFound, "vault", "copy", "--data", data, "--to", copies)
			if err := os.Rename(copies, filepath.Join(data, "vault")); err != nil {
				t.Fatal(err)
			}
			if out := hf(t, 0, "catalog", "rebuild", "--data", data); !strings.Contains(out, "is made again: 1 drive") {
				t.Errorf("rebuild: %s", out)
			}
		}
		d = start()
		eventually(t, "the points are back", func() bool {
			return strings.Contains(hf(t, 0, "drive", "list"), "amala@contoso.com") && strings.Contains(hf(t, 0, "point", "list", "amala@contoso.com"), "complete")
		})
		eventually(t, "by the "+by+": the policy is in force", func() bool {
			return strings.Contains(hf(t, 0, "policy", "show", "OneDrive Policy"), "1 protected")
		})
		for name := range want {
			if err := os.Remove(filepath.Join(home, name)); err != nil {
				t.Fatal(err)
			}
		}
		oldest := strings.Fields(hf(t, 0, "point", "search", "--oldest", "amala@contoso.com", "-q"))[0]
		hf(t, 0, "restore", "run", "--point", oldest, "--to", "inPlace", "--yes")
		for name, content := range want {
			if got, err := os.ReadFile(filepath.Join(home, name)); err != nil || string(got) != content {
				t.Errorf("by the %s: %s did not come back: %v", by, name, err)
			}
		}
		stop(d)
	}

	// Another vault in its place is refused until a person says that it is meant.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	hf(t, exitFailed, "vault", "status", "--data", data)
	hf(t, exitUsage, "vault", "accept", "--data", data)
	if out := hf(t, 0, "vault", "accept", "--data", data, "--yes"); !strings.Contains(out, "from now on") {
		t.Errorf("accept: %s", out)
	}
	d = start()
	eventually(t, "the drive has begun anew", func() bool {
		out := hf(t, 0, "point", "list", "amala@contoso.com")
		return strings.Contains(out, "lost") && strings.Contains(out, "complete")
	})
	stop(d)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !comes(is) {
		t.Fatalf("not within a minute: %s\n%s", what, hf(t, 0, "drive", "list")+hf(t, 0, "policy", "list")+hf(t, 0, "job", "list"))
	}
}

// comes reports whether something is so within a minute.
func comes(is func() bool) bool {
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// recorded reports whether the tenant's vault has a record of the policy in force.
func recorded(t *testing.T, d *devServer) bool {
	t.Helper()
	v, err := d.server.vaults.get(t.Context(), backup.FirstVault(d.tenants[0].ID))
	if err != nil {
		t.Fatal(err)
	}
	files, _, err := v.Record(t.Context(), d.tenants[0].ID)
	if err != nil {
		return false
	}
	for _, r := range files {
		b, err := io.ReadAll(r)
		if err == nil && bytes.Contains(b, []byte(`"protected"`)) {
			return true
		}
	}
	return false
}
