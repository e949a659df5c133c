package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Before a restore in place it is told how many items differ from the newest point, and not
// only how many the point holds; before one beside there is nothing to compare.
func TestAPlanTellsHowMuchDiffers(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) { o.interval = time.Second })
	clientEnv(t, d)
	drive := filepath.Join(d.drives, "amala@contoso.com")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(drive, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"same.txt", "alike.txt", "changed.txt", "gone.txt"} {
		write(name, "one")
	}
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	point := strings.TrimSpace(hf(t, 0, "point", "search", "amala@contoso.com", "-q"))
	differs := func(to string) (n int) {
		t.Helper()
		var all []struct{ DifferingItemCount *int }
		out := hf(t, 0, "restore", "run", "--point", point, "--to", to, "--dry-run", "--json")
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		if all[0].DifferingItemCount == nil {
			return -1
		}
		return *all[0].DifferingItemCount
	}
	if n := differs("inPlace"); n != 0 {
		t.Errorf("of the newest point %d items differ", n)
	}
	write("changed.txt", "another")
	write("new.txt", "new")
	if err := os.Remove(filepath.Join(drive, "gone.txt")); err != nil {
		t.Fatal(err)
	}
	if !comes(func() bool { return differs("inPlace") == 3 }) {
		t.Errorf("three items differ, and it is told that %d do", differs("inPlace"))
	}
	if n := differs("new"); n != -1 {
		t.Errorf("%d items differ from a place that is new", n)
	}
	if text := hf(t, 0, "restore", "run", "--point", point, "--to", "inPlace", "--dry-run"); !strings.Contains(text, "DIFFERS") {
		t.Errorf("the table is\n%s", text)
	}
}
