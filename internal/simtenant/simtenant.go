// Package simtenant is a Microsoft 365 tenant for development and tests: the
// part of Entra ID that gives tokens, and the part of Microsoft Graph that
// serves directories, drives, sites and mailboxes, over folders of real files. It is an
// http.Handler; the server reaches it over HTTP as it would reach Microsoft.
//
// A user's OneDrive is a folder. Any program may change it at any time, and
// what it did shows up as changes of the drive: an item keeps its id when it is
// renamed, moved or saved anew, and a change of content is found even where
// size and modification time were kept. What the service itself does to a drive
// is done to the folder at once.
//
// It touches the folders that its Config names and nothing else: below a
// user's folder only through os.Root, never following a link out of it. What a
// client deletes goes to the folder .recycle beside the users' folders; only
// permanentDelete destroys.
//
// It is no place for secrets: application secrets are read from a plain file,
// and a user is signed in by any password.
package simtenant

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/backup"
)

// A Config says where a Service keeps its things and whom it serves.
type Config struct {
	State   string       // folder for keys, journals and upload staging; required; made when missing
	Drives  string       // folder of the users' folders, named by userPrincipalName; required; made when missing
	Mail    string       // folder of the users' mailboxes, named likewise; made when missing; empty: nobody has one
	Sites   string       // folder of the team sites, a folder each; made when missing; empty: there are none
	Tenants []Tenant     // required
	Issuer  string       // origin that tokens name as their issuer; default: that of the request
	Log     *slog.Logger // default: none
	// Population makes up the drives of the first tenant's users, which have to be
	// its own; default: drives hold what is in their folders.
	Population *Population
	Clock      backup.Clock // for tokens, sessions and what was noticed when; default: the real one
	Faults     *Faults      // what goes wrong on purpose; default: nothing
}

// A Service is the simulated tenants of one Config. Its Handler may be called
// from many goroutines.
type Service struct {
	cfg      Config
	log      *slog.Logger
	clock    backup.Clock
	time     *movable     // what clock reads
	gate     sync.RWMutex // held by requests to share, and by who replaces the state
	locks    []*os.File
	faults   *Faults
	root     *os.Root // Config.Drives
	staging  string   // folder for uploads, on the file system of Drives
	versions string   // folder for what files were, on the same
	key      func() *signer
	seal     []byte             // key of pre-authenticated URLs
	tenants  map[string]*tenant // by id and by domain, lower case
	byOrder  []*tenant
	sites    map[string]site // by site GUID
	folders  map[string]site // by folder name, that is userPrincipalName

	mu     sync.Mutex
	drives map[string]*drive // loaded ones, by drive id
	known  map[string]place  // every drive seen so far, by drive id
	held   int               // items in loaded drives, roughly

	keepItems int // how many of them may be idle

	limits   limits
	uploads  uploads
	monitors monitors
	signIns  signIns
	subs     subscriptions

	populated map[string]int   // the population's users by folder: which of them each is
	madeSites map[[16]byte]int // which of the population's sites the libraries, lists and pages are of, by their GUIDs
	churning  sync.Mutex

	teams teams // Config.Sites

	mailRoot   *os.Root        // Config.Mail; nil without
	mailboxes  map[string]site // by the mailbox's GUID
	mailLimits mailLimits
	outbox     outbox
}

// New returns a service over cfg's folders. It makes those of users who have
// none, and so gives each of them an empty drive.
func New(cfg Config) (*Service, error) {
	if cfg.State == "" || cfg.Drives == "" {
		return nil, errors.New("simtenant: State and Drives must name folders")
	}
	if err := validate(cfg.Tenants); err != nil {
		return nil, err
	}
	populated := map[string]int{}
	if p := cfg.Population; p != nil && p.Sites > 0 && cfg.Sites == "" {
		return nil, errors.New("simtenant: a population with sites needs a folder of sites")
	}
	if p := cfg.Population; p != nil && p.Messages > 0 && cfg.Mail == "" {
		return nil, errors.New("simtenant: a population with messages needs a folder of mailboxes")
	}
	if p := cfg.Population; p != nil {
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("population: %w", err)
		}
		for i, u := range cfg.Tenants[0].Users {
			populated[u.UserPrincipalName] = i
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Faults == nil {
		cfg.Faults = new(Faults)
	}
	s := &Service{
		cfg: cfg, log: cfg.Log, time: &movable{real: cfg.Clock}, faults: cfg.Faults,
		tenants: map[string]*tenant{}, sites: map[string]site{}, folders: map[string]site{},
		drives: map[string]*drive{}, known: map[string]place{}, populated: populated,
		uploads: uploads{byID: map[string]*upload{}}, monitors: monitors{byID: map[string]*monitor{}}, keepItems: keepItems, mailboxes: map[string]site{},
	}
	s.clock = s.time.now
	s.subs.begin()
	if err := os.MkdirAll(filepath.Join(cfg.State, "drives"), 0o700); err != nil {
		return nil, fmt.Errorf("make the simulated tenant's state folder: %w", err)
	}
	if err := os.MkdirAll(cfg.Drives, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of drives: %w", err)
	}
	if cfg.Sites != "" {
		if err := os.MkdirAll(cfg.Sites, 0o755); err != nil {
			return nil, fmt.Errorf("make the folder of sites: %w", err)
		}
	}
	if err := s.makeMail(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.letFolders())
	}
	return s, nil
}

// open takes hold of the folders and brings them into order.
func (s *Service) open() (err error) {
	for _, folder := range []string{s.cfg.State, s.cfg.Drives, s.cfg.Mail, s.cfg.Sites} {
		if folder == "" {
			continue // there are no mailboxes, or no sites
		}
		if err := s.hold(folder); err != nil {
			return err
		}
	}
	if s.key, err = loadSigner(filepath.Join(s.cfg.State, "signing-key.pem"), s.log); err != nil {
		return err
	}
	if s.seal, err = loadSecret(filepath.Join(s.cfg.State, "url-key")); err != nil {
		return err
	}
	if s.root, err = os.OpenRoot(s.cfg.Drives); err != nil {
		return fmt.Errorf("open the folder of drives: %w", err)
	}
	if err := s.makeStaging(); err != nil {
		return err
	}
	for _, t := range s.cfg.Tenants {
		s.addTenant(t)
	}
	if err := s.openMail(); err != nil {
		return err
	}
	if err := s.openTeams(false); err != nil {
		return err
	}
	return s.makeFolders()
}

// hold keeps other services out of a folder, in this process or another, until
// s is closed: two that change the same drives would each take the other's
// doing for a stranger's, and give the same files different ids.
func (s *Service) hold(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	s.locks = append(s.locks, f)
	err = ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("another simulated tenant is running on %s; stop it, or give this one a folder of its own", folder)
	}
	return nil // held, or of a file system that has no locks
}

// letFolders lets go of the folders.
func (s *Service) letFolders() error {
	var errs []error
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	if s.mailRoot != nil {
		errs = append(errs, s.mailRoot.Close())
	}
	errs = append(errs, s.teams.close())
	for _, lock := range s.locks {
		errs = append(errs, lock.Close())
	}
	s.locks = nil
	return errors.Join(errs...)
}

// makeStaging empties the folder where uploads are put together. It lies on
// the file system of the drives, so that a finished upload takes its place in
// one step.
func (s *Service) makeStaging() error {
	s.staging, s.versions = filepath.Join(s.cfg.State, "uploads"), filepath.Join(s.cfg.State, "versions")
	state, err := deviceOf(s.cfg.State)
	if err != nil {
		return err
	}
	drives, err := deviceOf(s.cfg.Drives)
	if err != nil {
		return err
	}
	if state != drives {
		s.staging, s.versions = filepath.Join(s.cfg.Drives, ".uploads"), filepath.Join(s.cfg.Drives, ".versions")
	}
	if err := os.RemoveAll(s.staging); err != nil {
		return fmt.Errorf("empty the upload folder: %w", err)
	}
	if err := os.Mkdir(s.staging, 0o700); err != nil {
		return fmt.Errorf("make the upload folder: %w", err)
	}
	return nil
}

// makeFolders makes the folders that users miss. It lists the folder of drives
// once rather than ask for each, since there may be many thousands.
func (s *Service) makeFolders() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return fmt.Errorf("open the folder of drives: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return fmt.Errorf("list the folder of drives: %w", err)
	}
	have := make(map[string]bool, len(names))
	for _, name := range names {
		have[name] = true
	}
	for folder, here := range s.folders {
		if have[folder] || here.user.NoDrive {
			continue
		}
		if err := s.root.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a user's folder: %w", err)
		}
	}
	return s.makeMailboxes()
}

// Handler serves the tenants: Entra's paths, Graph's below /v1.0, and the
// pre-authenticated URLs that Graph hands out. Paths that are none of them are
// answered 404 in Graph's form.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Close lets go of files and drops unfinished uploads. Requests must have
// ended. Drives keep their state.
func (s *Service) Close() error {
	s.subs.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key() // is in the folder before that may go
	var errs []error
	for id, d := range s.drives {
		errs = append(errs, d.close())
		delete(s.drives, id)
	}
	errs = append(errs, os.RemoveAll(s.staging), s.emptyIncoming(), s.letFolders())
	return errors.Join(errs...)
}

// loadSecret returns the 32 bytes in path, which it makes when missing.
func loadSecret(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 32 {
		return b, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read key: %w", err)
	}
	b = make([]byte, 32)
	rand.Read(b)
	return b, writeNew(path, b)
}

// writeNew puts b in place of path in one step, readable by the owner only.
func writeNew(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// originOf returns scheme and host as the client used them.
func originOf(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + strings.ToLower(r.Host)
}
