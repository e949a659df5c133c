package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/manifest"
)

// TestPlayWhatIsInAVaultsPlace says what Open makes of each thing that may be there,
// and that nothing but a folder without a vault is ever made into one.
func TestPlayWhatIsInAVaultsPlace(t *testing.T) {
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
			if _, err := u.Write(t.Context(), "more", strings.NewReader("more")); err != nil && !errors.Is(err, tt.want) {
				t.Errorf("Write = %v, want %v, or nothing as long as its pack is not full", err, tt.want)
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
			if _, err := v.Maintain(t.Context(), fixed(map[DriveKey]string{key: s.Root})); !errors.Is(err, tt.want) {
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
func TestPlayAnyBitOfTheFormatBlob(t *testing.T) {
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

// A volume goes while a long content is written, so that kopia has full packs to
// write. None of them goes to what is in its place, and none is lost: when the true
// folder is back the same update goes on.
func TestPlayAPackIsNotWrittenElsewhere(t *testing.T) {
	for _, place := range []string{"an empty folder", "another vault"} {
		t.Run(place, func(t *testing.T) {
			v, cfg := newVault(t)
			s := sample(t, v)
			data := make([]byte, 50<<20)
			r := rand.NewChaCha8([32]byte{7})
			r.Read(data)
			u := begin(t, v, s)
			u.Put(file(t, u, "early", "root", "early", "written before"))
			away := func() {
				if err := os.Rename(cfg.Dir, cfg.Dir+".away"); err != nil {
					t.Error(err)
				}
				if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
					t.Error(err)
				}
				if place == "another vault" {
					w, err := Open(t.Context(), Config{Dir: cfg.Dir, State: t.TempDir(), Password: password, Create: true})
					if err != nil {
						t.Error(err)
						return
					}
					w.Close(t.Context())
				}
			}
			before := ""
			gone := io.MultiReader(bytes.NewReader(data[:10<<20]), after(func() { away(); before = state(t, cfg.Dir) }), bytes.NewReader(data[10<<20:]))
			_, err := u.Write(t.Context(), "long", gone)
			if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrOther) {
				t.Errorf("Write = %v, want ErrMissing or ErrOther", err)
			}
			if _, err := u.Seal(t.Context(), noon.Add(time.Hour), PointInfo{}); !errors.Is(err, ErrMissing) && !errors.Is(err, ErrOther) {
				t.Errorf("Seal = %v, want ErrMissing or ErrOther", err)
			}
			if now := state(t, cfg.Dir); now != before {
				t.Errorf("in its place there is now %s, before %s", now, before)
			}

			if err := os.RemoveAll(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(cfg.Dir+".away", cfg.Dir); err != nil {
				t.Fatal(err)
			}
			u.Put(file(t, u, "long", "root", "long", string(data)))
			next := seal(t, u, noon.Add(time.Hour))
			for _, v := range []*Vault{v, openVault(t, Config{Dir: cfg.Dir, State: t.TempDir(), Password: password, ID: v.ID()})} {
				if found := verified(t, v, s.Tree, next.Tree); len(found) > 0 {
					t.Errorf("damaged: %q", found)
				}
				if got := paths(t, v, next.Tree); read(t, v, got["early"].Content) != "written before" {
					t.Error("what was written before is something else")
				}
			}
		})
	}
}

// after is a reader of nothing that does something when it is read.
type after func()

func (f after) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// state is what is in a folder, to the last byte; nothing when it is not there.
func state(t *testing.T, dir string) (all string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		all += fmt.Sprintln(path, d.IsDir())
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all += fmt.Sprintf("%x\n", sha256.Sum256(b))
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// Whatever is in a vault's place and is refused stays as it is, to the last byte,
// whether its id is known or not, and whether one may be made or not.
func TestPlayWhatIsRefusedIsNotTouched(t *testing.T) {
	empty := func(t *testing.T, cfg *Config) { cfg.Dir = t.TempDir() }
	damage := func(how func(*testing.T, Config)) func(*testing.T, *Config) {
		return func(t *testing.T, cfg *Config) { how(t, *cfg) }
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, cfg *Config)
		// What Open says to whoever knows the id, and to whoever does not and
		// may make a vault, or may not. Nil is that it opens, or makes one.
		known, makes, not error
	}{
		{"nothing", func(t *testing.T, cfg *Config) { cfg.Dir = filepath.Join(t.TempDir(), "no", "such") }, ErrMissing, nil, ErrMissing},
		{"an empty folder", empty, ErrMissing, nil, ErrMissing},
		{"a folder with somebody's file", func(t *testing.T, cfg *Config) {
			empty(t, cfg)
			if err := os.WriteFile(filepath.Join(cfg.Dir, "letter.txt"), []byte("Dear"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrMissing, nil, ErrMissing},
		{"another vault", func(t *testing.T, cfg *Config) {
			_, other := newVault(t)
			cfg.Dir = other.Dir
		}, ErrOther, nil, nil},
		{"the vault, and a wrong password", func(_ *testing.T, cfg *Config) { cfg.Password = "wrong horse" }, ErrPassword, ErrPassword, ErrPassword},
		{"a vault without its format blob", damage(func(t *testing.T, cfg Config) { dropBlob(t, cfg, formatBlob) }), ErrDamaged, ErrDamaged, ErrDamaged},
		{"a vault without its format blob and the copy", damage(func(t *testing.T, cfg Config) {
			dropBlob(t, cfg, formatBlob)
			dropBlob(t, cfg, copyBlob)
		}), ErrDamaged, ErrDamaged, ErrDamaged},
		{"a vault with an empty format blob", damage(func(t *testing.T, cfg Config) {
			if err := putBlob(t.Context(), openStorage(t, cfg), formatBlob, nil); err != nil {
				t.Fatal(err)
			}
		}), ErrDamaged, ErrDamaged, ErrDamaged},
		{"a format blob that parses and has other keys", damage(func(t *testing.T, cfg Config) { flipJSON(t, cfg, "encryptedBlockFormat") }), ErrDamaged, ErrDamaged, ErrDamaged},
		{"a format blob that parses and has another id", damage(func(t *testing.T, cfg Config) { flipJSON(t, cfg, "uniqueID") }), ErrDamaged, ErrDamaged, ErrDamaged},
	} {
		for _, who := range []struct {
			name   string
			id     bool
			create bool
			want   error
		}{{"who knows it", true, false, tt.known}, {"who knows it, may make one", true, true, tt.known},
			{"who may make one", false, true, tt.makes}, {"who may not", false, false, tt.not}} {
			t.Run(tt.name+"/"+who.name, func(t *testing.T) {
				v, cfg := newVault(t)
				sample(t, v)
				tt.do(t, &cfg)
				cfg.ID, cfg.Create, cfg.State = "", who.create, t.TempDir()
				if who.id {
					cfg.ID = v.ID()
				}
				before := state(t, cfg.Dir)
				v, err := Open(t.Context(), cfg)
				if !errors.Is(err, who.want) {
					t.Errorf("Open = %v, want %v", err, who.want)
				}
				if err == nil {
					v.Close(t.Context())
					return
				}
				if now := state(t, cfg.Dir); now != before {
					t.Errorf("there is now\n%sbefore there was\n%s", now, before)
				}
			})
		}
	}
}

// Where the format blob and its copy are both damaged, that is what is said, and not
// that the password is wrong; and a repair changes nothing.
func TestPlayBothFormatBlobsAreDamaged(t *testing.T) {
	_, made := newVault(t)
	st := openStorage(t, made)
	whole, err := readBlob(t.Context(), st, formatBlob)
	if err != nil {
		t.Fatal(err)
	}
	sealed := flippable(whole, bytes.Index(whole, []byte(`"encryptedBlockFormat"`))+60)
	other := flippable(whole, sealed+8)
	for _, tt := range []struct {
		name          string
		now, copied   int // the byte in which a bit flips; 0 empties it, -1 takes it away
		password      Secret
		want, wantNot error
		words         string
	}{
		{"both", sealed, other, password, ErrDamaged, ErrPassword, "neither"},
		{"the same bit of both", sealed, sealed, password, ErrDamaged, ErrPassword, "neither"},
		{"one, and the other is gone", sealed, -1, password, ErrDamaged, ErrPassword, "neither"},
		{"one is empty", 0, sealed, password, ErrDamaged, ErrPassword, "the password is the right one"},
		{"one is gone", -1, sealed, password, ErrDamaged, ErrPassword, "the password is the right one"},
		{"both, and neither is JSON", 1, 1, password, ErrDamaged, ErrPassword, "check the password"},
		{"both are empty", 0, 0, password, ErrDamaged, ErrPassword, "is gone too"},
		{"both, and the password is another", sealed, other, "another", ErrPassword, ErrDamaged, "both damaged"},
		{"one is empty, and the password is another", 0, sealed, "another", ErrDamaged, ErrPassword, "check the password"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir() + "/vault", State: t.TempDir(), Password: tt.password}
			if err := os.CopyFS(cfg.Dir, os.DirFS(made.Dir)); err != nil {
				t.Fatal(err)
			}
			for id, at := range map[blob.ID]int{formatBlob: tt.now, copyBlob: tt.copied} {
				switch at {
				case -1:
					dropBlob(t, cfg, id)
				case 0:
					if err := putBlob(t.Context(), openStorage(t, cfg), id, nil); err != nil {
						t.Fatal(err)
					}
				default:
					flipBit(t, cfg, id, at)
				}
			}
			before := state(t, cfg.Dir)
			right := func(err error) bool {
				return errors.Is(err, tt.want) && !errors.Is(err, tt.wantNot) && strings.Contains(err.Error(), tt.words)
			}
			if _, err := Open(t.Context(), cfg); !right(err) {
				t.Errorf("Open = %v, want %v and %q", err, tt.want, tt.words)
			}
			if did, err := Repair(t.Context(), cfg); len(did) > 0 || !right(err) {
				t.Errorf("Repair = %q, %v, want nothing, %v and %q", did, err, tt.want, tt.words)
			}
			if now := state(t, cfg.Dir); now != before {
				t.Errorf("the vault is now %s, before %s", now, before)
			}
		})
	}
}

// Who counts what is written is told of what the storage has, and of no try that failed.
func TestWhatWasStoredIsCounted(t *testing.T) {
	v, cfg := newVault(t)
	if err := v.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var counted atomic.Int64
	cfg.Wrote = func(n int64) { counted.Add(n) }
	v = openVault(t, cfg)
	size := func() (n int64) {
		t.Helper()
		err := filepath.WalkDir(cfg.Dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				var info os.FileInfo
				if info, err = d.Info(); err == nil {
					n += info.Size()
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, had := size(), counted.Load()
	s := sample(t, v)
	grown := func(what string) {
		t.Helper()
		const marks = 1000 // that kopia leaves where it writes, and takes away
		if got, want := counted.Load()-had, size()-before; got < want || got > want+marks || want == 0 {
			t.Errorf("%s: %d bytes are counted, and the vault grew by %d", what, got, want)
		}
	}
	grown("a point")
	u := begin(t, v, s)
	u.Put(file(t, u, "new", "root", "new", "new"))
	if err := os.Rename(cfg.Dir, cfg.Dir+".away"); err != nil {
		t.Fatal(err)
	}
	was := counted.Load()
	for range 3 {
		if _, err := u.Seal(t.Context(), noon.Add(time.Hour), PointInfo{}); err == nil {
			t.Fatal("a point is in a vault that is not there")
		}
	}
	if now := counted.Load(); now != was {
		t.Errorf("%d bytes are counted that went nowhere", now-was)
	}
	if err := os.Rename(cfg.Dir+".away", cfg.Dir); err != nil {
		t.Fatal(err)
	}
	again := begin(t, v, s)
	again.Put(file(t, again, "new", "root", "new", "new"))
	if _, err := again.Seal(t.Context(), noon.Add(time.Hour), PointInfo{}); err != nil {
		t.Fatal(err)
	}
	grown("one more")
}
