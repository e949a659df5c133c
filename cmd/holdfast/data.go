package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"github.com/gofrs/flock"

	"holdfast/internal/drive"
)

// A dataDir is the folder in which dev keeps everything: catalog, vault, keys
// and the simulated tenant's drives. One process uses it at a time.
type dataDir struct {
	root string
	lock *flock.Flock
}

// defaultData returns the folder that dev uses when it is told none: one of
// its own in the user's state directory.
func defaultData() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "holdfast"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("this user has no home folder to keep data in; name a folder with --data")
	}
	return filepath.Join(home, ".local", "state", "holdfast"), nil
}

// openData opens the data folder at path, made if it is missing, and holds it
// until close. It fails if another process holds it.
func openData(path string) (*dataDir, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := hold(filepath.Join(root, "lock"),
		"another holdfast is running on "+root+"; stop it, or give this one a folder of its own with --data")
	if err != nil {
		return nil, err
	}
	return &dataDir{root, lock}, nil
}

func (d *dataDir) close() error { return d.lock.Close() }

// hold locks the file at path, made if it is missing, until it is closed or
// the process ends. If another process has it, the error is busy.
func hold(path, busy string) (*flock.Flock, error) {
	lock := flock.New(path)
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !held {
		return nil, errors.New(busy)
	}
	return lock, nil
}

// path returns the path of something in the folder.
func (d *dataDir) path(elem ...string) string {
	return filepath.Join(append([]string{d.root}, elem...)...)
}

// keyFile makes sure that path holds a random key, as hexadecimal text readable
// by its owner only. It is made the first time and then kept: what it sealed
// cannot be read without it.
func keyFile(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var key [32]byte
	rand.Read(key[:])
	return writeFile(path, []byte(hex.EncodeToString(key[:])+"\n"), 0o600)
}

// writeFile writes a file whole or not at all, whatever happens meanwhile,
// making its folder if it is missing.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is left there after the rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readSecret returns the secret that a setting keeps in a file or in an
// environment variable; exactly one of the two must be named. Space around it
// does not count.
func readSecret(file, env string) (drive.Secret, error) {
	switch {
	case file != "" && env != "":
		return "", errors.New("is given both as a file and as an environment variable; keep one of the two")
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("cannot be read: %w", err)
		}
		if err := guarded(file); err != nil {
			return "", err
		}
		s := strings.TrimSpace(string(data))
		if s == "" {
			return "", fmt.Errorf("is empty: put the secret into %s", file)
		}
		return drive.Secret(s), nil
	case env != "":
		if strings.ContainsFunc(env, func(r rune) bool {
			return r != '_' && !('0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z')
		}) {
			return "", errors.New("cannot be had: what is there is not the name of an environment variable, which has letters, digits and _ only; the secret itself has no place in this file")
		}
		s := strings.TrimSpace(os.Getenv(env))
		if s == "" {
			return "", fmt.Errorf("is empty: set the environment variable %s", env)
		}
		return drive.Secret(s), nil
	}
	return "", errMissingSecret
}

// readLine is readSecret of one that is a line of text, as all are that are typed or
// that a service hands out. What Windows puts before it is no part of it.
func readLine(file, env string) (drive.Secret, error) {
	secret, err := readSecret(file, env)
	text := strings.TrimPrefix(string(secret), string(byteOrderMark))
	if err == nil && file != "" {
		switch {
		case isUTF16([]byte(text)):
			err = fmt.Errorf("is in UTF-16, as some programs of Windows write it: save %s as UTF-8", file)
		case strings.ContainsFunc(text, unicode.IsControl):
			err = fmt.Errorf("is more than one line: put the secret alone into %s", file)
		}
	}
	if err != nil {
		return "", err
	}
	return drive.Secret(text), nil
}

// guarded says how to keep a file with a secret from everybody else on the machine,
// if it is not. Its group may have it: so clusters and service managers give secrets
// to those that they start. Where files have no such modes, all are guarded.
func guarded(file string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return fmt.Errorf("is no secret from other users of this machine, since the mode of its file is %04o: change that with chmod o= %s, and think about whether somebody has read it", mode, file)
	}
	return nil
}

var errMissingSecret = errors.New("is missing: name a file or an environment variable that holds it")
