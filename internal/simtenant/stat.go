package simtenant

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type kind byte

const (
	isOther kind = iota // a link, a device: not shown
	isFile
	isFolder
)

// inode tells files apart. A file system gives the number of a removed file to
// the next one, so the time of birth belongs to it, where it is known.
type inode struct {
	dev, ino uint64
	birth    int64 // Unix nanoseconds, 0 where the file system keeps none
}

// stat is what the file system says of a file or folder.
type stat struct {
	inode
	kind  kind
	links uint32
	size  int64
	mtime int64 // Unix nanoseconds
	ctime int64 // Unix nanoseconds; unlike mtime, no program can set it
}

// racy is how long after a change another may hide in the same time stamp.
const racy = 50 * time.Millisecond

// deviceOf returns the number of the file system that a folder is on.
func deviceOf(folder string) (uint64, error) {
	f, err := os.Open(folder)
	if err != nil {
		return 0, fmt.Errorf("open folder: %w", err)
	}
	defer f.Close()
	st, err := statOf(f)
	if err != nil {
		return 0, err
	}
	return st.dev, nil
}

// renameAt moves a file, replacing what is there.
func renameAt(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := ignoringEINTR(func() error {
		return unix.Renameat(int(fromDir.Fd()), from, int(toDir.Fd()), to)
	})
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
