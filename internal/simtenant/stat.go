package simtenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
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
	mtime moment
	ctime int64 // Unix nanoseconds; unlike mtime, no program can set it
}

// A moment is a time as file systems keep it. Nanoseconds in one number would
// end in 2262, and begin in 1677.
type moment struct {
	sec  int64 // Unix
	nsec int32
}

func momentOf(t time.Time) moment { return moment{t.Unix(), int32(t.Nanosecond())} }

func (m moment) time() time.Time { return time.Unix(m.sec, int64(m.nsec)).UTC() }

// stamp is m on the wire, which has whole seconds as a business drive keeps.
func (m moment) stamp() string { return m.time().Format(time.RFC3339) }

// simple is the seconds that nanoseconds in one number can bear.
const simple = 9_000_000_000

// MarshalJSON writes nanoseconds in one number where that can be, and else
// seconds and nanoseconds.
func (m moment) MarshalJSON() ([]byte, error) {
	return m.append(nil), nil
}

func (m moment) append(b []byte) []byte {
	if -simple < m.sec && m.sec < simple {
		return strconv.AppendInt(b, m.sec*1e9+int64(m.nsec), 10)
	}
	return fmt.Appendf(b, "[%d,%d]", m.sec, m.nsec)
}

func (m *moment) UnmarshalJSON(b []byte) error {
	var pair [2]int64
	if json.Unmarshal(b, &pair) == nil {
		*m = moment{pair[0], int32(pair[1])}
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	*m = momentOf(time.Unix(0, n))
	return err
}

// racy is how long after a change another may hide in the same time stamp.
const racy = 50 * time.Millisecond

// vanished reports whether err says that there is nothing of the kind that was
// looked for: no file, a file where a folder was, a link where either was.
func vanished(err error) bool {
	for _, gone := range []error{fs.ErrNotExist, unix.ENOTDIR, unix.ELOOP, unix.EISDIR, unix.ESTALE} {
		if errors.Is(err, gone) {
			return true
		}
	}
	// A link that leads out of the drive's folder is refused by os.Root, which
	// says so in words only.
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && e.Err.Error() == "path escapes from parent"
}

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
