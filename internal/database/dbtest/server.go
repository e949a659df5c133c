package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/database"
)

// user is the database's own superuser, who needs no password: whoever can
// reach the socket is this process's user.
const user = "holdfast"

// A server is a temporary PostgreSQL server.
type server struct {
	dir   string // holds the data and the socket
	admin *sql.DB
	cmd   *exec.Cmd
	ended chan struct{}
}

// binaries returns the newest folder that holds PostgreSQL's server programs.
func binaries() (string, error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		folders = append([]string{filepath.Dir(path)}, folders...)
	}
	folders = append(folders, "/usr/local/bin")
	for _, dir := range folders {
		if executable(filepath.Join(dir, "postgres")) && executable(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	return "", errors.New("no postgres and initdb in PATH, /usr/local/bin or /usr/lib/postgresql/*/bin (on Debian: apt-get install postgresql)")
}

func version(folder string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// newServer starts a server with the template database in it.
func newServer() (s *server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	removeAbandoned()
	// A socket's path may have little more than 100 characters, so the folder
	// is not in TMPDIR.
	dir, err := os.MkdirTemp("/tmp", prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	s = &server{dir: dir, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	owner, err := serverUser()
	if err != nil {
		return nil, err
	}
	if owner != nil { // postgres refuses to run as root
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return nil, err
		}
	}

	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", data, "--username", user, "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	initdb.SysProcAttr = attributes(owner)
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}

	args := []string{"-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=200",
		"-c", "shared_buffers=64MB", "-c", "max_wal_size=1GB", "-c", "log_min_messages=panic", "-c", "log_min_error_statement=panic"}
	if os.Getenv("HOLDFAST_TEST_DURABLE") != "1" {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), args...)
	s.cmd.Dir = dir
	s.cmd.Stderr = log
	s.cmd.SysProcAttr = attributes(owner)
	started := make(chan error)
	go func() {
		// The server is to die with the thread that started it (see
		// attributes), which must therefore live as long as the process.
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait()
		}
		close(s.ended)
	}()
	if err := <-started; err != nil {
		s.cmd = nil
		return nil, err
	}

	if s.admin, err = sql.Open("pgx", s.url("postgres")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for s.admin.PingContext(ctx) != nil {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.ended:
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("postgres ended: %s", bytes.TrimSpace(said))
		case <-ctx.Done():
			return nil, errors.New("postgres does not answer")
		}
	}
	if err := s.exec(`CREATE DATABASE ` + template); err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, s.url(template))
	if err != nil {
		return nil, err
	}
	return s, db.Close()
}

// stop ends the server, however busy, and removes its files.
func (s *server) stop() {
	if s.admin != nil {
		s.admin.Close()
	}
	if s.cmd != nil {
		s.cmd.Process.Signal(syscall.SIGQUIT)
		<-s.ended
	}
	os.RemoveAll(s.dir)
}

// prefix begins the name of every server's folder; the id of the test process
// follows.
const prefix = "hfpg"

// removeAbandoned removes the folders of servers whose test process was killed.
func removeAbandoned() {
	dirs, _ := filepath.Glob("/tmp/" + prefix + "*-*")
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}
