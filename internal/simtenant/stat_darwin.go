package simtenant

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// statAt returns what the file system says of name in dir, without following a
// link.
func statAt(dir *os.File, name string) (stat, error) {
	var x unix.Stat_t
	err := ignoringEINTR(func() error {
		return unix.Fstatat(int(dir.Fd()), name, &x, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return fromStat(&x), nil
}

// statOf is statAt of an open file.
func statOf(f *os.File) (stat, error) {
	var x unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Fstat(int(f.Fd()), &x) }); err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return fromStat(&x), nil
}

func fromStat(x *unix.Stat_t) stat {
	st := stat{
		inode: inode{dev: uint64(x.Dev), ino: x.Ino, birth: x.Btim.Nano()},
		size:  x.Size, links: uint32(x.Nlink), mtime: moment{x.Mtim.Sec, int32(x.Mtim.Nsec)}, ctime: x.Ctim.Nano(),
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
	at := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	err := ignoringEINTR(func() error {
		return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return &os.PathError{Op: "set time", Path: name, Err: err}
	}
	return nil
}

// renameNew gives a file a name that nobody has; os.ErrExist if somebody does.
func renameNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := ignoringEINTR(func() error {
		return unix.RenameatxNp(int(fromDir.Fd()), from, int(toDir.Fd()), to, unix.RENAME_EXCL)
	})
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}
