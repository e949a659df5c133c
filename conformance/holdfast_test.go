// Package conformance drives a running `holdfast dev` with clients that no one
// here wrote: Microsoft's own SDKs, unmodified. It is a module of its own, so
// that the product's go.mod stays clean of them.
package conformance

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"holdfast/conformance/devserver"
)

var dev devserver.Server

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
	var stop func()
	dev, stop, err = devserver.Start("..", dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start holdfast dev:", err)
		return 1
	}
	defer stop()
	os.Setenv("SSL_CERT_FILE", dev.CA)
	return m.Run()
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
