// Package conformance drives a running `holdfast dev` with clients that no one
// here wrote: Microsoft's own SDKs, unmodified. It is a module of its own, so
// that the product's go.mod stays clean of them.
package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server is a `holdfast dev` process with the built-in tenant.
type server struct {
	http, https string // the origins it listens on
	ca          string // its CA certificate, PEM
	drives      string // the folder of the users' drives
	tenant      string
	app, secret string
}

var dev server

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run starts the server before any test, because the trusted certificates of
// a Go program are read once, from SSL_CERT_FILE, at their first use.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "holdfast-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stop, err := start(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start holdfast dev:", err)
		return 1
	}
	defer stop()
	os.Setenv("SSL_CERT_FILE", dev.ca)
	return m.Run()
}

func start(dir string) (stop func(), err error) {
	binary := filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", binary, "./cmd/holdfast")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	plain, secure, err := freePorts()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(binary, "dev", "--data", data, "--listen", plain, "--tls-listen", secure, "--interval", "5s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		return stop, err
	}
	dev = server{
		http: "http://" + plain, https: "https://localhost:" + port,
		ca: filepath.Join(data, "tls", "ca.pem"), drives: filepath.Join(data, "drives"),
	}
	// What a person copies from the screen, the test reads from it.
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSuffix(name, ":")) {
		case "tenant":
			dev.tenant = strings.Fields(value)[0]
		case "application":
			dev.app = strings.Fields(value)[0]
		case "secret":
			dev.secret = strings.Fields(value)[0]
		}
		if dev.tenant != "" && dev.app != "" && dev.secret != "" {
			go func() {
				for lines.Scan() {
				}
			}()
			return stop, nil
		}
	}
	return stop, fmt.Errorf("it ended before it said its tenant, application and secret")
}

func freePorts() (a, b string, err error) {
	la, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer la.Close()
	lb, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer lb.Close()
	return la.Addr().String(), lb.Addr().String(), nil
}

// eventually asks check until it is true, for at most a minute.
func eventually(t *testing.T, what string, check func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !check(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("after a minute, still not true: %s", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
