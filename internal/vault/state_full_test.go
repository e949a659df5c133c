package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Whose disk is full is said by its name: that of the folder of state, or the vault's own.
func TestFullState(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	full := func(path string) error {
		return fmt.Errorf("x: %w", &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC})
	}
	for _, err := range []error{full(filepath.Join(state, "connection.json")), full(state), &os.LinkError{Op: "rename", Old: "a", New: filepath.Join(state, "a"), Err: syscall.EDQUOT}} {
		got := fullState(state, err)
		if !errors.Is(got, ErrStateFull) || !errors.Is(got, ErrStorage) || errors.Is(got, ErrFull) || !strings.Contains(got.Error(), "the folder of state "+state+" is full") {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	for _, err := range []error{full(state + "2/a"), full("/vault/p"), syscall.ENOSPC, &fs.PathError{Op: "write", Path: filepath.Join(state, "a"), Err: syscall.EIO}} {
		if got := fullState(state, err); got != nil {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}

// A real disk that is full says so when the vault is opened. To make one takes root.
func TestOpenWhereStateIsFull(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root of Linux can make a disk that is full")
	}
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=16k", "none", state).CombinedOutput(); err != nil {
		t.Skipf("no disk can be made here: %v\n%s", err, out)
	}
	defer exec.Command("umount", state).Run()
	cfg := Config{Dir: filepath.Join(dir, "vault"), State: state, Password: "p", Create: true}
	if err := Make(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk takes all: %v", err)
	}
	if v, err := Open(t.Context(), cfg); !errors.Is(err, ErrStateFull) || !strings.Contains(err.Error(), state) {
		t.Errorf("the vault opens: %v, %v", v, err)
	}
}
