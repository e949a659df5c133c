package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// said runs a command, and returns all that it printed and its exit code.
func said(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := execute(ctx, args, &out, &out)
	return out.String(), code
}

// keptData makes the data folder of a dev that has backed a drive up, and has
// stopped. It returns the folder and the unit's id.
func keptData(t *testing.T) (data, unit string) {
	t.Helper()
	data = t.TempDir()
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour, sample: true}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	asDev(t, d)
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "a.txt"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	unit = strings.Fields(hf(t, 0, "drive", "list", "--policy", "OneDrive Policy", "-q"))[0]
	// The maintenance at the start is what writes the tenant's record into the vault.
	eventually(t, "the vault is maintained", func() bool {
		stats, err := d.queue.Stats(t.Context())
		return err == nil && stats[jobs.Maintain].Waiting == 1 && stats[jobs.Maintain].Failing == 0
	})
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	return data, unit
}

// Each command that looks after vaults and catalog says what is the matter and what
// to do in whatever state it finds them, ends with a code that says so, and makes
// neither a vault nor a catalog in the place of one that is away.
func TestPlayToolsInEveryState(t *testing.T) {
	const tenant, nobody = "c0ffee00-5a3e-4d7b-9c1f-365365365365", "11111111-1111-4111-8111-111111111111"
	kept, unit := keptData(t)
	type row struct {
		command string
		code    int
		words   string
	}
	lost := "'holdfast catalog rebuild' makes it again"
	for name, state := range map[string]struct {
		spoil func(data, dir string) error
		rows  []row
	}{
		"as it should be": {nil, []row{
			{"vault status", 0, "opens"},
			{"vault verify", 0, "1 drive verified"},
			{"vault verify --full --drive " + unit, 0, "1 drive verified"},
			{"vault verify --drive nosuch", exitNotFound, `no drive "nosuch"`},
			{"vault verify --part 8/7", exitUsage, "is no part"},
			{"vault verify --full --part 1/7", exitUsage, "give --full, or --part"},
			{"vault verify amala@contoso.com", exitUsage, "'holdfast vault verify' takes flags only"},
			{"vault nosuch", exitUsage, "no command 'holdfast vault nosuch'"},
			{"vault status --tenant x", exitUsage, "not a tenant id"},
			{"vault status --tenant " + nobody, exitNotFound, "'holdfast vault status' lists"},
			{"vault damage", 0, "No damage is noted"},
			{"vault repair", 0, "nothing to repair"},
			{"vault accept", exitUsage, "nothing was changed"},
			{"vault accept --yes", 0, "nothing was to be done"},
			{"catalog rebuild", 0, "agree"},
		}},
		"the vault's folder is empty": {func(_, dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) }, []row{
			{"vault status", exitFailed, "check that its volume is mounted"},
			{"vault verify", exitFailed, "check that its volume is mounted"},
			{"vault repair", exitFailed, "check that its volume is mounted"},
			{"catalog rebuild", exitFailed, "check that its volume is mounted"},
		}},
		"the vault's folder is gone": {func(_, dir string) error { return os.RemoveAll(dir) }, []row{
			{"vault status", exitFailed, "check that its volume is mounted"},
			{"vault verify", exitFailed, "check that its volume is mounted"},
			{"vault repair", exitFailed, "check that its volume is mounted"},
			{"catalog rebuild", exitFailed, "check that its volume is mounted"},
		}},
		"the passphrase is another": {func(data, _ string) error {
			return os.WriteFile(filepath.Join(data, "keys", "vault-password"), []byte("another"), 0o600)
		}, []row{
			{"vault status", exitFailed, "check the file or variable"},
			{"vault verify", exitFailed, "check the file or variable"},
			{"vault repair", exitFailed, "check the file or variable"},
			{"vault accept --yes", exitFailed, "nothing was changed"},
			{"catalog rebuild", exitFailed, "check the file or variable"},
		}},
		"the catalog is gone": {func(data, _ string) error { return os.Remove(filepath.Join(data, "catalog.db")) }, []row{
			{"vault status", exitFailed, lost},
			{"vault verify", exitFailed, lost},
			{"vault damage", exitFailed, lost},
			{"vault accept --yes", exitFailed, lost},
			{"catalog rebuild", 0, "took the tenant's record from the vault"},
			{"catalog rebuild", 0, "agree"},
		}},
		"the catalog is gone and the volume not mounted": {func(data, dir string) error {
			return errors.Join(os.Remove(filepath.Join(data, "catalog.db")), os.RemoveAll(dir), os.Mkdir(dir, 0o700))
		}, []row{
			{"catalog rebuild", exitFailed, "check that its volume is mounted"},
			{"vault status", exitFailed, "check that its volume is mounted"},
			{"vault verify", 0, "Nothing was verified"},
		}},
		"the catalog is gone and so are the vaults": {func(data, dir string) error {
			return errors.Join(os.Remove(filepath.Join(data, "catalog.db")), os.RemoveAll(dir))
		}, []row{
			{"catalog rebuild", exitNotFound, "there is no tenant"},
			{"vault verify", exitNotFound, "there is no tenant"},
		}},
		"the catalog is no database": {func(data, _ string) error {
			return os.WriteFile(filepath.Join(data, "catalog.db"), []byte(strings.Repeat("garbage", 1000)), 0o600)
		}, []row{
			{"vault status", exitFailed, "move it away and have 'holdfast catalog rebuild'"},
			{"catalog rebuild", exitFailed, "move it away and have 'holdfast catalog rebuild'"},
		}},
		"there is nothing": {func(data, _ string) error { return os.RemoveAll(data) }, []row{
			{"vault status", exitNotFound, "name dev's data folder with --data"},
			{"catalog rebuild", exitNotFound, "name dev's data folder with --data"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := errors.Join(os.CopyFS(data, os.DirFS(kept)), os.Chmod(filepath.Join(data, "keys", "vault-password"), 0o600)); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(data, "vault", tenant)
			if state.spoil != nil {
				if err := state.spoil(data, dir); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range state.rows {
				command := strings.Fields(r.command)
				_, before := os.Stat(filepath.Join(data, "catalog.db"))
				text, code := said(t, append(command, "--data", data)...)
				if code != r.code || !strings.Contains(text, r.words) {
					t.Errorf("holdfast %s: exit code %d, want %d and %q:\n%s", r.command, code, r.code, r.words, text)
				}
				if _, after := os.Stat(filepath.Join(data, "catalog.db")); command[0] == "vault" && before != nil && after == nil {
					t.Errorf("holdfast %s made a catalog", r.command)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); strings.Contains(name, "volume") || strings.Contains(name, "folder") {
				if len(left) > 0 {
					t.Errorf("in the vault's place there is %v", left)
				}
			}
		})
	}
}

// A command that is interrupted has not succeeded.
func TestToolsAreInterrupted(t *testing.T) {
	data, _ := keptData(t)
	for _, command := range []string{"vault verify --full", "vault status", "vault repair", "vault accept --yes", "catalog rebuild"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out bytes.Buffer
		if code := execute(ctx, append(strings.Fields(command), "--data", data), &out, &out); code != exitStopped || !strings.Contains(out.String(), "interrupted") {
			t.Errorf("holdfast %s: exit code %d: %s", command, code, &out)
		}
	}
}

// Accept changes nothing that it cannot carry out, takes no vault that is another
// tenant's, and is in the audit log with who gave it; so are repair and rebuild.
func TestPlayToolsAreAudited(t *testing.T) {
	const tenant, other = backup.TenantID("c0ffee00-5a3e-4d7b-9c1f-365365365365"), backup.TenantID("22222222-2222-4222-8222-222222222222")
	data, _ := keptData(t)
	dir := filepath.Join(data, "vault", string(tenant))
	url := "sqlite:" + filepath.Join(data, "catalog.db")
	on := func(do func(context.Context, *catalog.Catalog) error) {
		t.Helper()
		db, err := database.OpenBeside(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := do(t.Context(), catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})); err != nil {
			t.Fatal(err)
		}
	}
	id := func() (id string) {
		t.Helper()
		on(func(ctx context.Context, c *catalog.Catalog) (err error) {
			id, err = c.VaultID(ctx, backup.FirstVault(tenant))
			return err
		})
		return id
	}
	made := func(dir string) string {
		t.Helper()
		password, err := os.ReadFile(filepath.Join(data, "keys", "vault-password"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(t.Context(), vault.Config{Dir: dir, Create: true, Password: vault.Secret(strings.TrimSpace(string(password))), State: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close(t.Context())
		return v.ID()
	}
	known := id()

	// The vault of another tenant is in this one's place.
	away := filepath.Join(data, "away")
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	foreign := made(dir)
	on(func(ctx context.Context, c *catalog.Catalog) error {
		return c.KnowVault(ctx, backup.FirstVault(other), foreign)
	})
	accept := []string{"vault", "accept", "--data", data, "--tenant", string(tenant), "--yes"}
	if text, code := said(t, accept...); code != exitFailed || !strings.Contains(text, "that of tenant "+string(other)) || id() != known {
		t.Errorf("another tenant's vault was accepted: %d %s", code, text)
	}
	// One that does not open: the one that was known stays known.
	format := filepath.Join(dir, "kopia.repository.f")
	if err := os.WriteFile(format, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, code := said(t, accept...); code != exitFailed || !strings.Contains(text, "nothing was changed") || id() != known {
		t.Errorf("a vault that does not open was accepted: %d %s", code, text)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	fresh := made(dir)
	if text, code := said(t, accept...); code != 0 || !strings.Contains(text, "0 drives") || id() != fresh {
		t.Errorf("accept: %d %s", code, text)
	}
	if text, code := said(t, "catalog", "rebuild", "--data", data, "--tenant", string(tenant)); code != 0 || !strings.Contains(text, "1 drive whose backups the vault has lost") {
		t.Errorf("rebuild: %d %s", code, text)
	}
	b, err := os.ReadFile(filepath.Join(dir, "kopia.repository.f"))
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(filepath.Join(dir, "kopia.repository.f"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if text, code := said(t, "vault", "repair", "--data", data, "--tenant", string(tenant)); code != 0 || !strings.Contains(text, "from its copy") {
		t.Errorf("repair: %d %s", code, text)
	}

	log := map[string]backup.Activity{}
	on(func(ctx context.Context, c *catalog.Catalog) error {
		return c.ExportActivities(ctx, tenant, time.Time{}, func(a backup.Activity) error { log[a.Operation] = a; return nil })
	})
	for operation, target := range map[string]string{
		backup.VaultAcceptedActivity: "", backup.CatalogRebuiltActivity: "holdfast catalog rebuild", backup.VaultRepairedActivity: "holdfast vault repair: put kopia.repository",
	} {
		if a := log[operation]; a.By.User.DisplayName == "" || !strings.HasPrefix(a.Target, target) {
			t.Errorf("of %s the log says %+v; it has %v", operation, a, slices.Sorted(maps.Keys(log)))
		}
	}
	if a := log[backup.VaultAcceptedActivity]; a.Object != fresh {
		t.Errorf("accepted is %q, want %q", a.Object, fresh)
	}
}
