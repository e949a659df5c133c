package export

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/vault"
)

// A Zip is a zip file that is exported into.
type Zip struct {
	name  string
	out   *os.File
	zip   *zip.Writer
	spool *os.File // a content that is too large for memory, before it is in the zip
}

// CreateZip begins a zip file. It has its name once Finish has succeeded; it must be
// closed in any case.
func CreateZip(name string) (*Zip, error) {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	out, err := os.CreateTemp(filepath.Dir(name), partial+"*")
	if err != nil {
		return nil, err
	}
	spool, err := os.CreateTemp(filepath.Dir(name), partial+"*")
	if err != nil {
		return nil, errors.Join(err, out.Close(), os.Remove(out.Name()))
	}
	return &Zip{name: name, out: out, zip: zip.NewWriter(out), spool: spool}, nil
}

// Finish ends the zip file and gives it its name.
func (z *Zip) Finish() error {
	err := z.zip.Close()
	if err == nil {
		err = z.out.Sync()
	}
	if err == nil {
		err = os.Link(z.out.Name(), z.name)             // unlike a renaming, this writes over nothing
		if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
			err = os.Rename(z.out.Name(), z.name)
		}
	}
	return err
}

// Close drops what is not finished.
func (z *Zip) Close() error {
	err := errors.Join(z.out.Close(), z.spool.Close())
	for _, f := range []*os.File{z.out, z.spool} {
		if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

func (z *Zip) writers() int { return 1 }

func (z *Zip) folder(at string) (string, error) {
	_, err := z.zip.CreateHeader(&zip.FileHeader{Name: at + "/"})
	return at, full(err)
}

func (z *Zip) setTime(string, time.Time) error { return nil } // a zip is written once

// file reads the content whole before it begins with it: what is in a zip once cannot
// be taken back.
func (z *Zip) file(at string, e vault.Entry, content io.ReadSeeker) (as string, there bool, err error) {
	if _, err := z.spool.Seek(0, io.SeekStart); err != nil {
		return "", false, fmt.Errorf("%w: %w", errTarget, err)
	}
	n, err := io.Copy(writing{z.spool}, content)
	if err == nil && n != e.Size {
		err = fmt.Errorf("%w: it has %d bytes in the vault, and had %d", vault.ErrDamaged, n, e.Size)
	}
	if err != nil {
		return "", false, err
	}
	if err := z.add(at, e, n); err != nil {
		return "", false, fmt.Errorf("%w: %w", errTarget, err)
	}
	return at, false, nil
}

func (z *Zip) add(at string, e vault.Entry, n int64) error {
	if _, err := z.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w, err := z.zip.CreateHeader(&zip.FileHeader{Name: at, Modified: e.Modified, Method: zip.Deflate})
	if err == nil {
		_, err = io.CopyN(w, z.spool, n)
	}
	return err
}
