package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A tenant whose vault is full goes on in a second one, and the commands that look after
// vaults go through both. One of them that is away is said, whether or not the catalog is
// there, and is not made anew; with it all comes back.
func TestPlaySeveralVaults(t *testing.T) {
	data := t.TempDir()
	dev := func() *devServer {
		t.Helper()
		return devOn(t, devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour, sample: true, perVault: 1})
	}
	stop := func(d *devServer) {
		t.Helper()
		stopDev(t, d)
	}
	wants := func(code int, words string, args ...string) {
		t.Helper()
		if text, got := said(t, append(args, "--data", data)...); got != code || !strings.Contains(text, words) {
			t.Errorf("%v ended with %d, want %d and %q:\n%s", args, got, code, words, text)
		}
	}

	d := dev()
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	first := filepath.Join(data, "vault", string(d.tenants[0].ID))
	second := first + "-2"
	if err := poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
		all, err := d.catalog.Vaults(t.Context(), d.tenants[0].ID)
		return len(all) == 2, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.drives, "conrad@contoso.com", "lost.txt"), []byte("found"), 0o600); err != nil {
		t.Fatal(err)
	}
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "conrad@contoso.com")
	if err := poll(t.Context(), 50*time.Millisecond, func() (bool, error) {
		text, code := said(t, "point", "list", "conrad@contoso.com", "-q")
		return code == 0 && strings.TrimSpace(text) != "", nil
	}); err != nil {
		t.Fatal(err)
	}
	stop(d)

	wants(0, "Vault     2: ", "vault", "status")
	wants(0, "2 drives verified", "vault", "verify", "--full")
	wants(0, "conrad@contoso.com", "vault", "list")
	wants(0, "amala@contoso.com", "vault", "list")
	wants(0, "nothing to repair", "vault", "repair", "--vault", "2")
	wants(exitNotFound, "has no vault 4", "vault", "accept", "--vault", "4", "--yes")
	copied := filepath.Join(t.TempDir(), "copy")
	wants(0, filepath.Base(second)+"  ", "vault", "copy", "--to", copied, "--new")

	// The second is away.
	away := second + ".away"
	if err := os.Rename(second, away); err != nil {
		t.Fatal(err)
	}
	wants(exitPartial, "check that its volume is mounted", "vault", "status")
	d = dev()
	res, err := http.Get(d.origin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !strings.Contains(string(body), "is unavailable") {
		t.Errorf("/readyz says nothing of the vault that is away: %s", body)
	}
	stop(d)
	for _, lost := range []string{"catalog.db", "state"} { // one after the other
		if err := os.RemoveAll(filepath.Join(data, lost)); err != nil {
			t.Fatal(err)
		}
		wants(exitFailed, filepath.Base(second), "catalog", "rebuild")
		if _, err := os.Stat(second); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("another vault was made in the place of the one that is away: %v", err)
		}
	}
	if err := os.Rename(away, second); err != nil {
		t.Fatal(err)
	}
	wants(0, "", "catalog", "rebuild")
	wants(0, "agree", "catalog", "rebuild")
	wants(0, "2 drives verified", "vault", "verify")
	out := filepath.Join(t.TempDir(), "out")
	wants(0, "", "export", "conrad@contoso.com", "--to", out)
	if b, err := os.ReadFile(filepath.Join(out, "lost.txt")); string(b) != "found" {
		t.Errorf("the file of the second vault is %q, %v", b, err)
	}
}
