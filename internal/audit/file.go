package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// tornMost is how long a line may be that was not written to its end.
const tornMost = 4 << 20

// appendLines adds lines to a file, and returns nil once they are on the disk. Who
// writes holds a lock beside it: several tenants, and processes, may write to one file.
// The file is opened anew each time, so that it may be renamed and begun again.
func appendLines(ctx context.Context, path string, lines [][]byte) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a pipe would keep us
		return fmt.Errorf("%s is no file", path)
	}
	lock := flock.New(path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o640))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s is being written to by another process, which does not end", path)
		}
		return err
	}
	defer lock.Close()
	_, err = os.Stat(path)
	made := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := cutTorn(f); err != nil {
		return err
	}
	if _, err := f.Write(append(bytes.Join(lines, []byte("\n")), '\n')); err != nil {
		return errors.Join(err, cutTorn(f)) // so that a disk that is full leaves whole lines
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if made { // its name has to be on the disk too; not every system can be asked for that
		if dir, err := os.Open(filepath.Dir(path)); err == nil {
			dir.Sync()
			dir.Close()
		}
	}
	return nil
}

// cutTorn takes from the end of a file what was begun to be written of a line when the
// power went, or the disk was full. It was never noted as taken, and comes whole.
func cutTorn(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	tail := make([]byte, min(info.Size(), tornMost))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	torn := tail[bytes.LastIndexByte(tail, '\n')+1:]
	begin := []byte(`{"id":"`)
	if len(torn) == 0 {
		return nil
	}
	if !bytes.HasPrefix(torn, begin[:min(len(torn), len(begin))]) {
		return fmt.Errorf("the last line of %s does not end, and is not of the audit log: nothing is added to a file of something else", f.Name())
	}
	return f.Truncate(info.Size() - int64(len(torn)))
}
