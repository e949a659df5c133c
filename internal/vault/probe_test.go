package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A probe fails where nothing can be written, and leaves nothing that a vault would be
// taken to be made of; what a vault holds is what its folder has.
func TestProbeAndHolding(t *testing.T) {
	dir := t.TempDir()
	v, err := Open(t.Context(), Config{Dir: dir, Create: true, Password: "p", State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close(t.Context())
	for range 2 {
		if err := v.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var files, bytes int64
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".f" {
			info, err := e.Info()
			if err != nil {
				return err
			}
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if h, err := v.Holding(t.Context()); err != nil || h.Blobs != files || h.Bytes != bytes {
		t.Errorf("it holds %+v, %v, want %d blobs of %d bytes", h, err, files, bytes)
	}
	v.seen.Store(0)
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := v.Probe(t.Context()); !errors.Is(err, ErrMissing) && !errors.Is(err, ErrStorage) {
		t.Errorf("where it is gone: %v", err)
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
}
