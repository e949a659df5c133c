package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// plain returns the files of a folder, but for those of the system.
func plain(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, p))
		files[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A backup comes out of the vault as plain files beside a server, without one, and
// when the catalog and the tenant are gone.
func TestPlayABackupIsExportedWithoutAServer(t *testing.T) {
	data := t.TempDir()
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour, sample: true, workloads: []string{"oneDriveForBusiness"}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	asDev(t, d)
	home := filepath.Join(d.drives, "amala@contoso.com")
	if err := os.WriteFile(filepath.Join(home, "ünï.txt"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := plain(t, home)
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	tools := func(code int, args ...string) string {
		t.Helper()
		return hf(t, code, append(args, "--data", data)...)
	}

	beside := filepath.Join(t.TempDir(), "beside")
	if said := tools(0, "export", "Amala@Contoso.com", "--to", beside); !strings.Contains(said, "are in "+beside) {
		t.Errorf("it says %s", said)
	}
	if diff := cmp.Diff(want, plain(t, beside)); diff != "" {
		t.Errorf("(-drive +export)\n%s", diff)
	}
	if said := tools(0, "export", "amala@contoso.com", "--to", beside); !strings.Contains(said, "were there before") {
		t.Errorf("the second time it says %s", said)
	}
	if said := hf(t, 0, "audit", "export", "--database", "sqlite:"+filepath.Join(data, "catalog.db")); !strings.Contains(said, "BackupExported") {
		t.Errorf("the audit log says %s", said)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}

	// All but the vault and its password is lost.
	for _, gone := range []string{"catalog.db", "catalog.db-wal", "catalog.db-shm", "state", "tenant"} {
		if err := os.RemoveAll(filepath.Join(data, gone)); err != nil {
			t.Fatal(err)
		}
	}
	if said := tools(0, "vault", "list"); !strings.Contains(said, "amala@contoso.com") {
		t.Errorf("vault list says %s", said)
	}
	if said := tools(0, "vault", "list", "amala@contoso.com"); strings.Count(said, "\n") < 2 {
		t.Errorf("vault list of a drive says %s", said)
	}
	if said := tools(0, "vault", "list", "amala@contoso.com", "--path", ""); !strings.Contains(said, "ünï.txt") {
		t.Errorf("vault list of a point says %s", said)
	}
	tools(3, "vault", "list", "amala@contoso.com", "--path", "none")
	tools(2, "vault", "list", "--path", "a")
	alone := t.TempDir()
	tools(0, "export", "amala@contoso.com", "--path", "ünï.txt", "--to", alone)
	if diff := cmp.Diff(map[string]string{"ünï.txt": "kept"}, plain(t, alone)); diff != "" {
		t.Errorf("(-drive +export)\n%s", diff)
	}
	zip := filepath.Join(alone, "all.zip")
	tools(0, "export", "amala@contoso.com", "--to", zip)
	if _, err := os.Stat(zip); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(data, "catalog.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a catalog was made: %v", err)
	}

	tools(exitUsage, "export", "amala@contoso.com", "--to", zip) // it is there
	tools(exitUsage, "export", "amala@contoso.com")
	tools(exitUsage, "export", "amala@contoso.com", "--to", alone, "--at", "yesterday")
	tools(exitNotFound, "export", "amala@contoso.com", "--to", alone, "--at", "2001-01-01")
	tools(exitNotFound, "export", "amala@contoso.com", "--to", alone, "--path", "no/such")
	tools(exitNotFound, "export", "nobody@contoso.com", "--to", alone)
}

// A mailbox comes out of the vault as mbox files, and what a search finds in it as one.
func TestMailIsExported(t *testing.T) {
	data := t.TempDir()
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour, sample: true, files: true, workloads: []string{"oneDriveForBusiness", "exchange"}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	asDev(t, d)
	hf(t, 0, "policy", "create", "Mail", "--workload", "exchange")
	hf(t, 0, "mailbox", "add", "--policy", "Mail", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "Mail", "--wait")
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "plan.md"), []byte("plan"), 0o600); err != nil {
		t.Fatal(err)
	}
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com", "conrad@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	dir := t.TempDir()
	tools := func(code int, to string, args ...string) string {
		t.Helper()
		return hf(t, code, append([]string{"export", "amala@contoso.com", "--data", data, "--to", filepath.Join(dir, to)}, args...)...)
	}
	count := func(name string) int {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count("\n"+string(b), "\nFrom ")
	}
	all := tools(0, "all", "--as", "mbox")
	if n := count("all/Archive.mbox"); n != 20 || !strings.Contains(all, "messages, in ") {
		t.Errorf("the archive has %d messages\n%s", n, all)
	}
	found := tools(0, "found.mbox", "--find", "subject:contract*")
	if n := count("found.mbox"); n == 0 || !strings.Contains(found, number(n, "message")+", in 1 file") {
		t.Errorf("found are %d messages\n%s", n, found)
	}
	tools(2, "found.mbox")
	tools(2, "x", "--as", "pst")
	tools(2, "x.mbox", "--as", "eml")
	hf(t, 3, "export", "conrad@contoso.com", "--data", data, "--to", filepath.Join(dir, "none"), "--as", "mbox")
	tools(3, "none", "--find", "subject:nothing-like-it")
	tools(0, "part.zip", "--as", "eml", "--path", "Archive")

	// She has a drive and a mailbox: it is the drive, unless something is said of mail.
	if text, code := said(t, "export", "amala@contoso.com", "--data", data, "--to", filepath.Join(dir, "drive")); code != 0 || !strings.Contains(text, "--mailbox") {
		t.Errorf("that there is a mailbox, too, is not said: %d %s", code, text)
	}
	tools(0, "box", "--mailbox")
	for place, has := range map[string]string{"drive": ".md", "box": ".fts"} {
		n := 0
		for name := range plain(t, filepath.Join(dir, place)) {
			if strings.HasSuffix(name, has) {
				n++
			}
		}
		if n == 0 {
			t.Errorf("%s has no %s", place, has)
		}
	}
	if said := hf(t, 0, "vault", "list", "amala@contoso.com", "--mailbox", "--path", "", "--data", data); !strings.Contains(said, "Inbox") {
		t.Errorf("the mailbox has %s", said)
	}

	// What a restore has put into the mailbox is no worse held than before.
	hf(t, 0, "restore", "run", "--mailbox", "amala@contoso.com", "--mail", "subject:contract*", "--to", "new")
	tools(0, "again", "--as", "mbox")
	if n := count("again/Archive.mbox"); n != 20 {
		t.Errorf("after a restore the archive has %d messages", n)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	if said := tools(0, "alone.mbox"); count("alone.mbox") < 40 {
		t.Errorf("without a catalog it says %s", said)
	}
}

// What the vaults of several tenants hold is told with the tenant, and of one without.
func TestTablesNameTheTenantAmongSeveral(t *testing.T) {
	for tenants, want := range map[int]string{0: "OWNER", 1: "OWNER ann", 2: "TENANT c0ffee"} {
		var rows [][]string
		for range tenants {
			rows = append(rows, []string{"c0ffee", "ann"})
		}
		head, rows := ofSeveral(tenants, []string{"TENANT", "OWNER"}, rows)
		got := head[0]
		if len(rows) > 0 {
			got += " " + rows[0][0]
		}
		if got != want || len(rows) != tenants {
			t.Errorf("of %d tenants the table begins with %q", tenants, got)
		}
	}
}
