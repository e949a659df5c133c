// Package vaulttest gives tests a real S3 store to keep vaults in: versitygw, over a
// folder, in a process of its own that ends with the test.
package vaulttest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The credentials that a store takes.
const (
	Key    = "the-key"
	Secret = "the secret of the store"
)

// program builds the store of its own module, whose dependencies are not ours. Without
// network it cannot be built the first time; in CI that is an error.
var program = sync.OnceValues(func() (string, error) {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "tool", "-n", "versitygw")
	cmd.Dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(module))), "internal", "vault", "testdata", "versitygw")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", errors.New(err.Error() + ": " + stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
})

// Bucket is the one that a store has.
const Bucket = "backups"

// Start starts a store over a folder and returns its address, for plain HTTP; or skips
// the test where there is none, and with -short. Further arguments are those of the
// store's program.
func Start(t testing.TB, dir string, args ...string) (at string) {
	t.Helper()
	if testing.Short() {
		t.Skip("tests are short: no S3 store")
	}
	program, err := program()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the S3 store cannot be built: %v", err)
		}
		t.Skipf("the S3 store cannot be built: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at = l.Addr().String()
	l.Close()
	args = append([]string{"--access", Key, "--secret", Secret, "--port", at, "--quiet", "posix"}, args...)
	cmd := exec.Command(program, append(args, dir)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the store said:\n%s", said.String())
		}
	})
	for {
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			return at
		}
		select {
		case <-ended:
			t.Fatalf("the store did not start:\n%s", said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
