package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// papers are the files of the source that go with every binary.
var papers = []string{"README.md", "CHANGELOG.md", "LICENSE", "docs", "examples", "deploy"}

// thirdParty are the terms of the libraries, in the source.
const thirdParty = "cmd/holdfast/licences.txt"

// A file is one of an archive. It is read from a file, or is data, or a folder.
type file struct {
	name string // with slashes
	from string
	data string
	mode fs.FileMode
	user int
}

// files are those of an archive: the binary, and what is to be read about it.
func (r *release) files(binary string) ([]file, error) {
	all := []file{{name: "holdfast", from: binary, mode: 0o755}, {name: "LICENSES-THIRD-PARTY.txt", from: filepath.Join(r.source, thirdParty), mode: 0o644}}
	for _, paper := range papers {
		err := filepath.WalkDir(filepath.Join(r.source, paper), func(full string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(r.source, full)
			all = append(all, file{name: filepath.ToSlash(rel), from: full, mode: 0o644})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// archive writes the binary and its papers into name.tar.gz.
func (r *release) archive(binary, name string) error {
	files, err := r.files(binary)
	if err != nil {
		return err
	}
	folder := filepath.Base(name)
	return create(name+".tar.gz", func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		return errors.Join(r.tar(z, folder, files), z.Close())
	})
}

// tar writes files below a folder. Of a file nothing goes in but its name, mode,
// content and the user that it is of; its time is that of the release.
func (r *release) tar(to io.Writer, folder string, files []file) error {
	w := tar.NewWriter(to)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(folder, f.name), Mode: int64(f.mode.Perm()), ModTime: r.time, Uid: f.user, Gid: f.user, Format: tar.FormatPAX}
		if f.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		if f.mode.IsDir() {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		content, size, err := f.open()
		if err != nil {
			return err
		}
		h.Size = size
		err = w.WriteHeader(h)
		if err == nil {
			_, err = io.Copy(w, content)
		}
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return w.Close()
}

// open returns the file's content and its size.
func (f *file) open() (io.ReadCloser, int64, error) {
	if f.from == "" {
		return io.NopCloser(strings.NewReader(f.data)), int64(len(f.data)), nil
	}
	content, err := os.Open(f.from)
	if err != nil {
		return nil, 0, err
	}
	info, err := content.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, content.Close())
	}
	return content, info.Size(), nil
}

// create has a file written.
func create(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
