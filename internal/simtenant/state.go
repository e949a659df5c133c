package simtenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A state that is put away is a folder below State/saved: a copy of the drives'
// folder and those of the mailboxes and of the sites, of what State holds beside them, and of how far the clock was moved.

const savedFolder = "saved"

// passing are the entries that belong to the process and not to the state.
var passing = map[string]bool{savedFolder: true, "uploads": true, ".uploads": true, mailIncoming: true}

// keys are the entries of State that outlive any state.
var keys = map[string]bool{"signing-key.pem": true, "url-key": true}

// empty reports whether drives and mailboxes hold nothing but folders without
// content.
func (s *Service) empty() (bool, error) {
	entries, err := os.ReadDir(s.cfg.Drives)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if passing[e.Name()] {
			continue
		}
		if !e.IsDir() {
			return false, nil
		}
		below, err := os.ReadDir(filepath.Join(s.cfg.Drives, e.Name()))
		if err != nil || len(below) > 0 {
			return false, err
		}
	}
	for _, folder := range []string{s.cfg.Mail, s.cfg.Sites} {
		if none, err := noFiles(folder); !none || err != nil {
			return false, err
		}
	}
	return true, nil
}

// noFiles reports whether a folder holds nothing but folders.
func noFiles(folder string) (bool, error) {
	if folder == "" {
		return true, nil
	}
	none := true
	err := filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			none = false
			return fs.SkipAll
		}
		return err
	})
	return none, err
}

// states returns the names of what was put away.
func (s *Service) states() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.cfg.State, savedFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := []string{}
	for _, e := range entries {
		if safeName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Save puts the tenant's state away under a name: files, ids, delta tokens and
// clock. A state of that name is replaced. It waits for requests to end.
func (c *Control) Save(name string) error {
	if !safeName(name) {
		return badRequest("A state needs a name that can be a folder's.")
	}
	s := c.svc
	s.gate.Lock()
	defer s.gate.Unlock()
	place := filepath.Join(s.cfg.State, savedFolder, name)
	tmp := filepath.Join(s.cfg.State, savedFolder, "."+name)
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	if err := copyEntries(s.cfg.Drives, filepath.Join(tmp, "drives"), passing); err != nil {
		return fmt.Errorf("save the drives: %w", err)
	}
	if s.cfg.Mail != "" {
		if err := copyEntries(s.cfg.Mail, filepath.Join(tmp, "mail"), passing); err != nil {
			return fmt.Errorf("save the mailboxes: %w", err)
		}
	}
	if s.cfg.Sites != "" {
		if err := copyEntries(s.cfg.Sites, filepath.Join(tmp, "sites"), passing); err != nil {
			return fmt.Errorf("save the sites: %w", err)
		}
	}
	if err := copyEntries(s.cfg.State, filepath.Join(tmp, "state"), passing, keys); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	s.time.mu.Lock()
	clock, err := json.Marshal(s.time.ahead)
	s.time.mu.Unlock()
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "clock"), clock, 0o600)
	}
	if err == nil {
		err = os.RemoveAll(place)
	}
	if err == nil {
		err = os.Rename(tmp, place)
	}
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	c.mu.Lock()
	c.last = name
	c.mu.Unlock()
	return nil
}

// Load puts a saved state back in the place of the present one, which is
// destroyed. Unfinished uploads are dropped. It waits for requests to end.
func (c *Control) Load(name string) error {
	s := c.svc
	states, err := s.states()
	if err != nil {
		return err
	}
	if !slices.Contains(states, name) {
		return fail(404, "itemNotFound", "No state was saved under the name "+quoted(name)+".")
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	from := filepath.Join(s.cfg.State, savedFolder, name)
	data, err := os.ReadFile(filepath.Join(from, "clock"))
	var ahead time.Duration
	if err == nil {
		err = json.Unmarshal(data, &ahead)
	}
	if err != nil {
		return fmt.Errorf("read the saved state: %w", err)
	}
	if err := s.letGo(); err != nil {
		return err
	}
	if err := replaceEntries(filepath.Join(from, "drives"), s.cfg.Drives, passing); err != nil {
		return fmt.Errorf("put the drives back: %w", err)
	}
	if s.cfg.Mail != "" {
		if err := replaceEntries(filepath.Join(from, "mail"), s.cfg.Mail, passing); err != nil {
			return fmt.Errorf("put the mailboxes back: %w", err)
		}
	}
	if s.cfg.Sites != "" {
		if err := os.MkdirAll(filepath.Join(from, "sites"), 0o700); err != nil { // it was saved without any
			return fmt.Errorf("read the saved state: %w", err)
		}
		if err := replaceEntries(filepath.Join(from, "sites"), s.cfg.Sites, passing); err != nil {
			return fmt.Errorf("put the sites back: %w", err)
		}
	}
	if err := replaceEntries(filepath.Join(from, "state"), s.cfg.State, passing, keys); err != nil {
		return fmt.Errorf("put the state back: %w", err)
	}
	if err := s.openTeams(true); err != nil {
		return err
	}
	if err := s.makeFolders(); err != nil {
		return err
	}
	s.time.mu.Lock()
	s.time.ahead = ahead
	s.time.mu.Unlock()
	c.mu.Lock()
	c.last = name
	c.mu.Unlock()
	return nil
}

// Reset puts the state back that was saved or loaded last, ends all that goes
// wrong, and empties the request log. A tenant that began with files in its
// drives cannot be reset before it was saved: nobody has said that they may go.
func (c *Control) Reset() error {
	c.mu.Lock()
	name := c.last
	c.mu.Unlock()
	if name == "" {
		return fail(409, "nameAlreadyExists", "There is no state to go back to, since there were files in the drives at the start. Save one first.")
	}
	c.Calm()
	if err := c.Load(name); err != nil {
		return err
	}
	c.Forget()
	c.svc.outbox.forget()
	return nil
}

// letGo forgets what is known of drives and who is at work on them. Callers
// hold s.gate.
func (s *Service) letGo() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id, d := range s.drives {
		errs = append(errs, d.close())
		delete(s.drives, id)
	}
	s.held = 0
	clear(s.known)
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	for id, up := range s.uploads.byID {
		s.unstage(up.stage)
		delete(s.uploads.byID, id)
	}
	s.signIns.Lock()
	defer s.signIns.Unlock()
	clear(s.signIns.codes)
	clear(s.signIns.devices)
	s.monitors.Lock()
	defer s.monitors.Unlock()
	clear(s.monitors.byID)
	s.subs.clear()
	return errors.Join(errs...)
}

// copyEntries copies what a folder holds, but for what is left out by name.
func copyEntries(from, to string, without ...map[string]bool) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.ContainsFunc(without, func(out map[string]bool) bool { return out[e.Name()] }) {
			continue
		}
		if err := copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// replaceEntries has a folder hold what another does, but for what is left out
// of both.
func replaceEntries(from, to string, without ...map[string]bool) error {
	entries, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.ContainsFunc(without, func(out map[string]bool) bool { return out[e.Name()] }) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return copyEntries(from, to, without...)
}

// copyTree copies a file, link or folder with its times. Of other things there
// is no copy.
func copyTree(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	case info.IsDir():
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		if err := copyEntries(from, to); err != nil {
			return err
		}
		if err := os.Chmod(to, info.Mode().Perm()); err != nil {
			return err
		}
	case info.Mode().IsRegular():
		if err := copyFile(from, to, info.Mode().Perm()); err != nil {
			return err
		}
	default:
		return nil
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
