package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/manifest"
)

// TestWhatIsInAVaultsPlace says what Open makes of each thing that may be there,
// and that nothing but a folder without a vault is ever made into one.
func TestWhatIsInAVaultsPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, cfg *Config)
		want error
		says string
	}{
		{"the vault itself", func(*testing.T, *Config) {}, nil, ""},
		{"the vault, by whoever does not know its id", func(_ *testing.T, cfg *Config) { cfg.ID = "" }, nil, ""},
		{"no folder", func(t *testing.T, cfg *Config) { cfg.Dir = filepath.Join(t.TempDir(), "none") }, ErrMissing, "check that its volume is mounted"},
		{"an empty folder", func(t *testing.T, cfg *Config) { cfg.Dir = t.TempDir() }, ErrMissing, "check that its volume is mounted"},
		{"an empty folder, nor is one to be made", func(t *testing.T, cfg *Config) { cfg.Dir, cfg.ID, cfg.Create = t.TempDir(), "", false }, ErrMissing, "volume"},
		{"no folder, nor is one to be made", func(t *testing.T, cfg *Config) {
			cfg.Dir, cfg.ID, cfg.Create = filepath.Join(t.TempDir(), "none"), "", false
		}, ErrMissing, "volume"},
		{"a new vault", func(t *testing.T, cfg *Config) { cfg.Dir, cfg.ID = t.TempDir(), "" }, nil, ""},
		{"a file", func(t *testing.T, cfg *Config) {
			cfg.Dir = filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrStorage, "no folder"},
		{"another vault", func(t *testing.T, cfg *Config) {
			_, other := newVault(t)
			cfg.Dir = other.Dir
		}, ErrOther, "swapped"},
		{"another password", func(_ *testing.T, cfg *Config) { cfg.Password = "wrong horse" }, ErrPassword, ""},
		{"a newer vault", func(t *testing.T, cfg *Config) {
			v := openVault(t, *cfg)
			if _, err := v.updates.PutManifest(t.Context(), formatLabels, formatManifest{formatVersion + 1}); err != nil {
				t.Fatal(err)
			}
			if err := v.updates.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, ErrNewer, "use the newer program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, cfg := newVault(t)
			sample(t, v)
			cfg.ID, cfg.State = v.ID(), t.TempDir()
			tt.do(t, &cfg)
			v, err := Open(t.Context(), cfg)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Open = %v, want %v", err, tt.want)
			}
			if err == nil {
				if cfg.ID != "" && v.ID() != cfg.ID {
					t.Errorf("it has the id %s, not %s", v.ID(), cfg.ID)
				}
				v.Close(t.Context())
				return
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Open = %v, want it to say %q", err, tt.says)
			}
			if _, err := os.Stat(filepath.Join(cfg.Dir, "kopia.repository.f")); tt.want == ErrMissing && err == nil {
				t.Error("a vault was made")
			}
		})
	}
}

// A vault's folder is exchanged while it is open. Nothing is written to what has
// taken its place, and it goes on when the true one is back.
func TestAVaultIsExchangedWhileItIsOpen(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	one := paths(t, v, s.Tree)["A/one.txt"].Content
	for _, tt := range []struct {
		name  string
		place func(t *testing.T)
		want  error
	}{
		{"its volume is not mounted", func(t *testing.T) {
			if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrMissing},
		{"its folder is gone", func(*testing.T) {}, ErrMissing},
		{"another vault is there", func(t *testing.T) {
			other := Config{Dir: cfg.Dir, State: t.TempDir(), Password: password, Create: true}
			w, err := Open(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, ErrOther},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := begin(t, v, s)
			u.Put(file(t, u, "new", "root", tt.name, tt.name))
			if err := os.Rename(cfg.Dir, cfg.Dir+".away"); err != nil {
				t.Fatal(err)
			}
			tt.place(t)
			before := tree(t, cfg.Dir)
			if _, err := u.Write(t.Context(), "more", strings.NewReader("more")); !errors.Is(err, tt.want) {
				t.Errorf("Write = %v, want %v", err, tt.want)
			}
			if _, err := u.Seal(t.Context(), noon.Add(time.Hour), PointInfo{}); !errors.Is(err, tt.want) {
				t.Errorf("Seal = %v, want %v", err, tt.want)
			}
			if _, err := v.Expire(t.Context(), key, s.Root, nil); !errors.Is(err, tt.want) {
				t.Errorf("Expire = %v, want %v", err, tt.want)
			}
			if _, err := v.Merge(t.Context(), key, s.Root); !errors.Is(err, tt.want) {
				t.Errorf("Merge = %v, want %v", err, tt.want)
			}
			if _, err := v.Maintain(t.Context(), map[DriveKey]string{key: s.Root}); !errors.Is(err, tt.want) {
				t.Errorf("Maintain = %v, want %v", err, tt.want)
			}
			if _, err := v.Open(t.Context(), one); err == nil || errors.Is(err, ErrDamaged) {
				t.Errorf("Open of a content = %v, which is not the content's fault", err)
			}
			if left := v.Damaged(); len(left) > 0 {
				t.Errorf("noted as damaged: %q", left)
			}
			if after := tree(t, cfg.Dir); after != before {
				t.Errorf("written in its place: %s, before %s", after, before)
			}
			if err := os.RemoveAll(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(cfg.Dir+".away", cfg.Dir); err != nil {
				t.Fatal(err)
			}

			again, err := v.Begin(t.Context(), key, s.Root, s.Tree)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			again.Put(file(t, again, "new", "root", tt.name, tt.name))
			if s, err = again.Seal(t.Context(), noon.Add(time.Hour), PointInfo{}); err != nil {
				t.Fatal(err)
			}
			if found := verified(t, v, s.Tree); len(found) > 0 {
				t.Errorf("damaged: %q", found)
			}
		})
	}
}

// tree lists the files below a folder.
func tree(t *testing.T, dir string) (all string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all += path + "\n"
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// A vault of before its format had a version gets one, and only one.
func TestAnOldVaultIsMarked(t *testing.T) {
	v, cfg := newVault(t)
	marks := func(v *Vault) []*manifest.EntryMetadata {
		found, err := v.rep.FindManifests(t.Context(), formatLabels)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, m := range marks(v) {
		if err := v.updates.DeleteManifest(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.updates.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if found := marks(openVault(t, cfg)); len(found) != 1 {
			t.Errorf("%d marks", len(found))
		}
	}
}

// Whichever bit of kopia.repository flips, it is not taken for a wrong password,
// another vault or none; and the vault is itself again when it is repaired.
func TestAnyBitOfTheFormatBlob(t *testing.T) {
	v, cfg := newVault(t)
	s := sample(t, v)
	cfg.ID = v.ID()
	whole, err := readBlob(t.Context(), openStorage(t, cfg), formatBlob)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for at := 3; at < len(whole); at += len(whole) / 8 {
		cfg.State = t.TempDir()
		flipBit(t, cfg, formatBlob, at)
		v, err := Open(t.Context(), cfg)
		if errors.Is(err, ErrDamaged) {
			damaged++
			if did, err := Repair(t.Context(), cfg); err != nil || len(did) == 0 {
				t.Fatalf("byte %d: Repair = %q, %v", at, did, err)
			}
			v, err = Open(t.Context(), cfg)
		}
		if err != nil {
			t.Fatalf("byte %d: Open = %v, want ErrDamaged", at, err)
		}
		if found := verified(t, v, s.Tree); len(found) > 0 {
			t.Errorf("byte %d: damaged: %q", at, found)
		}
		if err := v.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if damaged < 4 {
		t.Errorf("%d bits mattered", damaged)
	}
}
