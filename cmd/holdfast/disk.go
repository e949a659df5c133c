package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// leastFree is how much room a disk must have left: some packs of a vault.
const leastFree = 200 << 20

// Why a folder cannot be written to, without its name.
var (
	errFull       = fmt.Errorf("the disk is full: less than %d MB are left of it", leastFree>>20)
	errUnwritable = errors.New("the folder cannot be written to")
)

// full says that the disk of a folder has less room than it must have: of n bytes that are
// left, -1 if that cannot be told.
func full(dir string, n int64) error {
	if n >= 0 && n < leastFree {
		return fmt.Errorf("%w: %d MB at %s", errFull, n>>20, dir)
	}
	return nil
}

// writable says why a folder cannot be written to: its disk is full, or it is not let.
func writable(dir string) error {
	if err := full(dir, roomOn(dir)); err != nil {
		return err
	}
	// By a name that is always the same, so that what is killed here leaves one at most.
	name := filepath.Join(dir, ".holdfast.probe")
	err := os.WriteFile(name, []byte("Whether this folder can be written to.\n"), 0o600)
	if err == nil {
		if err = os.Remove(name); errors.Is(err, fs.ErrNotExist) { // another has just done so
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnwritable, err)
	}
	return nil
}
