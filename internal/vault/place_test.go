package vault

import (
	"os"
	"path/filepath"
	"testing"
)

// A vault in a folder has few folders, and is read as it was made, also one of before and
// one whose note of that is lost.
func TestAFolderIsReadAsItWasSpread(t *testing.T) {
	for _, row := range []struct {
		name, note string
		signs      int
	}{
		{"new", "", 2},
		{"of before", `{"default":[1,3],"maxNonShardedLength":20}`, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := Config{Create: true, Dir: filepath.Join(dir, "vault"), State: filepath.Join(dir, "state"), Password: password}
			note := filepath.Join(cfg.Dir, ".shards")
			if row.note != "" {
				if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(note, []byte(row.note), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := sample(t, openVault(t, cfg))
			for _, kind := range []string{"p", "q", "x"} {
				in, err := os.ReadDir(filepath.Join(cfg.Dir, kind))
				if err != nil || len(in) == 0 || len(in[0].Name()) != row.signs {
					t.Errorf("folders of %s: %v, %v; want names of %d signs", kind, in, err, row.signs)
				}
			}
			for _, readOnly := range []bool{true, false} {
				if err := os.Remove(note); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				cfg.Create, cfg.ReadOnly = false, readOnly
				v := openVault(t, cfg)
				if got := read(t, v, paths(t, v, s.Tree)["A/one.txt"].Content); got != "one" {
					t.Errorf("without its note, read only %t: %q", readOnly, got)
				}
			}
		})
	}
}
