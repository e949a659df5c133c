package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Containers and services are started with what runtimes and systemd make of the kernel:
// namespaces, mounts, users. The tests run on a machine of their own, which has a
// loopback and nothing else, so that each port is free and each name leads here.

const (
	onMachine   = "HOLDFAST_TEST_MACHINE"   // the binary, in the process that has the machine
	inContainer = "HOLDFAST_TEST_CONTAINER" // what is to be started, in the process that becomes it
)

// hosts are the names that lead to this machine.
const hosts = "127.0.0.1 localhost database postgres.databases graph.microsoft.com login.microsoftonline.com contoso.sharepoint.com contoso-my.sharepoint.com\n"

func TestMain(m *testing.M) {
	if text := os.Getenv(inContainer); text != "" {
		fmt.Fprintln(os.Stderr, become(text))
		os.Exit(125)
	}
	if built = os.Getenv(onMachine); built != "" {
		if err := arrange(); err != nil {
			fmt.Fprintln(os.Stderr, "arrange a machine:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // what starts anything says that it does not
	}
	runtime.LockOSThread() // with the thread that started it the other process would end
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-deploy-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		name := filepath.Join(dir, "holdfast")
		if err := build(name); err != nil { // while there is a network
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), onMachine+"="+name), os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
			return m.Run()
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}())
}

// needMachine returns the binary, or ends the test where this process may not have a
// machine of its own.
func needMachine(t *testing.T) string {
	t.Helper()
	if built == "" && os.Getenv("CI") != "" {
		t.Fatal("nothing was started: it takes root and namespaces")
	} else if built == "" {
		t.Skip("nothing is started: it takes root and namespaces")
	}
	return built
}

// arrange gives the machine its loopback and its names.
func arrange() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	file := filepath.Join(filepath.Dir(built), "hosts")
	if err := os.WriteFile(file, []byte(hosts), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo)
}

// A container is a program in a file system of its own.
type container struct {
	Root     string // a folder that is its root
	ReadOnly bool   // the root, but for what is mounted
	Mounts   []mount
	PIDs     bool // the program is the first of its processes, and sees no others
	NoExec   bool // no memory is both written and executed
	Umask    int
	UID, GID int
	Groups   []int
	Dir      string
	Env      []string
	Args     []string // the first is a path in Root
}

type mount struct {
	From     string // a folder or file of the machine; empty for a new file system in memory
	To       string
	ReadOnly bool
}

// become makes of this process what a container is to be, and returns why it cannot.
func become(text string) error {
	var c container
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part the mounts: %w", err)
	}
	if err := unix.Mount(c.Root, c.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	for _, dev := range []string{"null", "zero", "full", "random", "urandom"} {
		c.Mounts = append(c.Mounts, mount{From: "/dev/" + dev, To: "/dev/" + dev})
	}
	for _, m := range c.Mounts {
		if err := m.make(c.Root); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.From, m.To, err)
		}
	}
	if c.PIDs {
		proc := filepath.Join(c.Root, "proc")
		if err := errors.Join(os.MkdirAll(proc, 0o555), unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")); err != nil {
			return fmt.Errorf("mount proc: %w", err)
		}
	}
	if c.ReadOnly {
		if err := unix.Mount("", c.Root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("have the root be read only: %w", err)
		}
	}
	if err := errors.Join(unix.Chroot(c.Root), unix.Chdir(c.Dir)); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
	}
	if c.NoExec {
		if err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // before Linux 6.3
			return fmt.Errorf("forbid executable memory: %w", err)
		}
	}
	unix.Umask(c.Umask)
	if err := errors.Join(syscall.Setgroups(c.Groups), syscall.Setresgid(c.GID, c.GID, c.GID), syscall.Setresuid(c.UID, c.UID, c.UID), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return fmt.Errorf("become user %d: %w", c.UID, err)
	}
	return fmt.Errorf("start %q: %w", c.Args, syscall.Exec(c.Args[0], c.Args, c.Env))
}

func (m mount) make(root string) error {
	to := filepath.Join(root, m.To)
	if m.From == "" {
		return errors.Join(os.MkdirAll(to, 0o755), unix.Mount("tmpfs", to, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777"))
	}
	info, err := os.Stat(m.From)
	if err != nil {
		return err
	}
	dir := to
	if !info.IsDir() {
		dir = filepath.Dir(to)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if !info.IsDir() {
		file, err := os.OpenFile(to, os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		file.Close()
	}
	if err := unix.Mount(m.From, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil || !m.ReadOnly {
		return err
	}
	return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// A program is a process that was started.
type program struct {
	cmd   *exec.Cmd
	said  *said
	ended chan struct{}
}

// said is what a program has written, also while it does.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// run starts a container.
func (c container) run(t *testing.T) *program {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{inContainer + "=" + string(text)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if c.PIDs {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWPID
	}
	return start(t, cmd)
}

// start starts a program that ends with the test.
func start(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, said: new(said), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.said, p.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, p.said)
		}
	})
	return p
}

// until waits until something is so, at most for so long, and while the program runs.
func (p *program) until(t *testing.T, what string, most time.Duration, is func() bool) {
	t.Helper()
	for since := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.ended:
			t.Fatalf("it ended before %s: %v", what, p.cmd.ProcessState)
		default:
		}
		if time.Since(since) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
	}
}

// stop asks a program to end, which it does by itself within the grace.
func (p *program) stop(t *testing.T, grace time.Duration) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(grace):
		t.Fatalf("it does not end within %v", grace)
	}
	if !p.cmd.ProcessState.Success() {
		t.Errorf("asked to end it ends so: %v", p.cmd.ProcessState)
	}
}

// tool runs a program to its end.
func tool(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return string(text)
}

// place makes a file of an owner.
func place(t *testing.T, name, text string, mode os.FileMode, uid, gid int) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600), os.Chown(name, uid, gid), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
}

// folder makes a folder of an owner.
func folder(t *testing.T, name string, mode os.FileMode, uid, gid int) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(name, 0o755), os.Chown(name, uid, gid), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
	return name
}
