package export

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"holdfast/internal/vault"
)

// errTarget: what is exported to can take nothing more.
var errTarget = errors.New("the export cannot go on")

// A Folder is a folder of this machine that is exported into.
type Folder struct {
	root *os.Root
	mu   sync.Mutex // held while a file takes its name
}

// OpenFolder makes the folder if it is missing. Whatever a point has in its names,
// nothing is written outside of it. It must be closed.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{root: root}, nil
}

// Close lets go of the folder.
func (f *Folder) Close() error { return f.root.Close() }

func (f *Folder) writers() int { return 4 }

func (f *Folder) folder(at string) (string, error) {
	for n := 1; ; n++ {
		as := local(at, n)
		err := f.root.Mkdir(as, 0o700)
		if errors.Is(err, fs.ErrExist) {
			if is, err := f.root.Lstat(as); err != nil || !is.IsDir() {
				continue
			}
			return as, nil
		}
		return as, full(err)
	}
}

// partial is how the names begin of files that are being written.
const partial = ".holdfast-export-"

func (f *Folder) file(at string, e vault.Entry, content io.ReadSeeker) (as string, there bool, err error) {
	h := fnv.New64a()
	io.WriteString(h, at)
	temp := path.Join(path.Dir(at), fmt.Sprintf("%s%016x", partial, h.Sum64()))
	written := false
	defer func() {
		if written && err != nil {
			f.root.Remove(temp)
		}
	}()
	for n := 1; ; n++ {
		as := local(at, n)
		is, err := f.root.Lstat(as)
		switch {
		case err == nil:
			same, err := f.same(as, is, e.Size, content)
			if err != nil {
				return "", false, err
			}
			if same && written {
				f.root.Remove(temp)
			}
			if same {
				return as, true, f.setTime(as, e.Modified)
			}
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return "", false, err
		}
		if !written {
			written = true
			if err := f.write(temp, e, content); err != nil {
				return "", false, err
			}
		}
		taken, err := f.take(temp, as)
		if !taken && err == nil {
			n--
			continue
		}
		return as, false, full(err)
	}
}

// take gives what was written its name, unless that has been taken meanwhile.
func (f *Folder) take(temp, as string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.root.Lstat(as); err == nil {
		return false, nil
	}
	return true, f.root.Rename(temp, as)
}

// write writes a file under a name that is not its own.
func (f *Folder) write(temp string, e vault.Entry, content io.ReadSeeker) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w, err := f.root.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return full(err)
	}
	n, err := io.Copy(writing{w}, content)
	if closed := w.Close(); err == nil {
		err = full(closed)
	}
	if err == nil && n != e.Size {
		err = fmt.Errorf("%w: it has %d bytes in the vault, and had %d", vault.ErrDamaged, n, e.Size)
	}
	if err == nil {
		err = f.setTime(temp, e.Modified)
	}
	return err
}

// writing tells an error of the target from one of the vault.
type writing struct{ io.Writer }

func (w writing) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	return n, full(err)
}

// full makes an error that all later files would meet one that ends the export.
func full(err error) error {
	for _, hopeless := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, hopeless) {
			return fmt.Errorf("%w: %w", errTarget, err)
		}
	}
	return err
}

func (f *Folder) setTime(at string, modified time.Time) error {
	if modified.IsZero() || at == "" {
		return nil
	}
	return f.root.Chtimes(at, modified, modified)
}

// same reports whether a file that is there has a content.
func (f *Folder) same(as string, is fs.FileInfo, size int64, content io.ReadSeeker) (bool, error) {
	if !is.Mode().IsRegular() || is.Size() != size {
		return false, nil
	}
	there, err := f.root.Open(as)
	if err != nil {
		return false, nil
	}
	defer there.Close()
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(content, a)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		m, thereErr := io.ReadFull(there, b[:n])
		if m != n || n > 0 && thereErr != nil || !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if err != nil {
			return true, nil
		}
	}
}

// maxName is how many bytes a name may have in most file systems.
const maxName = 255

// local is the path of an item in a folder of this machine, the nth that is tried: its
// own, but for a name that no file may have, and then with a number.
func local(at string, n int) string {
	dir, name := path.Split(at)
	ext := path.Ext(name)
	if ext == name {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	if n > 1 {
		ext = fmt.Sprintf(" (%d)%s", n, ext)
	}
	if name = stem + ext; len(name) > maxName {
		h := fnv.New32a()
		io.WriteString(h, at)
		ext = fmt.Sprintf("~%08x%s", h.Sum32(), ext[:min(len(ext), 60)])
		stem = stem[:maxName-len(ext)]
		for !utf8.ValidString(stem) && len(stem) > 0 {
			stem = stem[:len(stem)-1]
		}
		name = stem + ext
	}
	if name = strings.ReplaceAll(name, "\x00", "_"); name == "." || name == ".." {
		name = strings.Repeat("_", len(name))
	}
	return dir + name
}
