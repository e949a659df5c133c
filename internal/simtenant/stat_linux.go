package simtenant

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const statxMask = unix.STATX_TYPE | unix.STATX_NLINK | unix.STATX_INO | unix.STATX_SIZE | unix.STATX_MTIME | unix.STATX_CTIME | unix.STATX_BTIME

// statAt returns what the file system says of name in dir, without following a
// link.
func statAt(dir *os.File, name string) (stat, error) {
	var x unix.Statx_t
	err := ignoringEINTR(func() error {
		return unix.Statx(int(dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW, statxMask, &x)
	})
	if err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return fromStatx(&x), nil
}

// statOf is statAt of an open file.
func statOf(f *os.File) (stat, error) {
	var x unix.Statx_t
	err := ignoringEINTR(func() error {
		return unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, statxMask, &x)
	})
	if err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return fromStatx(&x), nil
}

func fromStatx(x *unix.Statx_t) stat {
	st := stat{
		inode: inode{dev: uint64(x.Dev_major)<<32 | uint64(x.Dev_minor), ino: x.Ino},
		size:  int64(x.Size), links: x.Nlink,
		mtime: moment{x.Mtime.Sec, int32(x.Mtime.Nsec)},
		ctime: x.Ctime.Sec*1e9 + int64(x.Ctime.Nsec),
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		st.birth = x.Btime.Sec*1e9 + int64(x.Btime.Nsec)
	}
	switch x.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		st.kind = isFile
	case unix.S_IFDIR:
		st.kind = isFolder
	}
	return st
}

// setTime sets when a file or folder in dir was modified.
func setTime(dir *os.File, name string, t time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.Unix(), Nsec: int64(t.Nanosecond())}}
	err := ignoringEINTR(func() error { return unix.UtimesNanoAt(int(dir.Fd()), name, times, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return &os.PathError{Op: "set time", Path: name, Err: err}
	}
	return nil
}

// renameNew gives a file a name that nobody has; os.ErrExist if somebody does.
func renameNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := ignoringEINTR(func() error {
		return unix.Renameat2(int(fromDir.Fd()), from, int(toDir.Fd()), to, unix.RENAME_NOREPLACE)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system cannot promise it
		if _, err := statAt(toDir, to); err == nil {
			return os.ErrExist
		}
		return renameAt(fromDir, from, toDir, to)
	}
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}
