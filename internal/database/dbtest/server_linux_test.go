package dbtest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/database"
)

func TestMain(m *testing.M) {
	if os.Getenv("DBTEST_CHILD") == "1" {
		s, err := start()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.dir)
		select {}
	}
	Main(m)
}

// The server of a test process that is killed ends too, and the next test
// process removes what it left.
func TestServerEndsWithItsProcess(t *testing.T) {
	if len(Dialects(t)) == 1 {
		return // Dialects has said so
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe)
	child.Env = append(os.Environ(), "DBTEST_CHILD=1")
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	dir := strings.TrimSpace(line)
	pid, err2 := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	child.Process.Kill()
	child.Wait()
	if err := errors.Join(err, err2); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	first, _, _ := strings.Cut(string(pid), "\n")
	server, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(server); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server %d outlives its process", server)
		}
	}
	removeAbandoned()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

// alive reports whether a process runs; one that has ended but that nobody has
// waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(after, "Z")
}

func TestEachGivesFreshDatabases(t *testing.T) {
	for range 2 {
		Each(t, func(t *testing.T, db *database.DB) {
			var n int
			if err := db.Read().QueryRow(`SELECT count(*) FROM job`).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d jobs, %v; want none", n, err)
			}
			err := db.Tx(t.Context(), func(tx *database.Tx) error {
				_, err := tx.Exec(`INSERT INTO job (kind, key, tenant, run_at) VALUES ('k', 'a', 't', 0)`)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
