package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/simtenant"
)

// upgrades is where data folders are kept as versions left them, each called by its day
// and commit.
const upgrades = "testdata/upgrades"

// keptFile is a file of the drive that each of them protects, and what was in it at the
// first of its points.
const (
	keptOwner = "amala@contoso.com"
	keptFile  = "Reports/2026/Überblick.txt"
	keptText  = "What a version wrote, all later ones read.\n"
)

// Today's program starts on what any version has left: it lists the points, restores
// the file as the first of them has it, and finds all of the vault whole.
func TestUpgradesFromEveryVersion(t *testing.T) {
	if *keep != "" {
		keepDataFolder(t)
	}
	archives, err := filepath.Glob(filepath.Join(upgrades, "*.tar.gz"))
	if err != nil || len(archives) < 2 {
		t.Fatalf("%d data folders, %v", len(archives), err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			data := t.TempDir()
			if err := unpack(archive, data); err != nil {
				t.Fatal(err)
			}
			// Points go after a year; here they are to stay as long as the archive does.
			url := "sqlite:" + filepath.Join(data, "catalog.db")
			db, err := database.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			db.Close()
			hf(t, 0, "retention", "hold", "--database", url)
			d := startTestDev(t, func(o *devOptions) { o.data, o.sample, o.interval = data, false, time.Hour })
			asDev(t, d)
			var points []pointAnswer
			if err := json.Unmarshal([]byte(hf(t, 0, "point", "list", keptOwner, "--json")), &points); err != nil || len(points) < 2 {
				t.Fatalf("the points are %v, %v", points, err)
			}
			first := slices.MinFunc(points, func(a, b pointAnswer) int { return a.ProtectionDateTime.Compare(b.ProtectionDateTime) })
			file := filepath.Join(d.drives, keptOwner, filepath.FromSlash(keptFile))
			if text, err := os.ReadFile(file); err != nil || string(text) == keptText {
				t.Fatalf("the file is %q, %v", text, err)
			}
			hf(t, 0, "restore", "run", "--point", first.ID, "--to", "inPlace", "--yes")
			if text, err := os.ReadFile(file); err != nil || string(text) != keptText {
				t.Errorf("restored, the file is %q, %v", text, err)
			}
			hf(t, 0, "vault", "verify", "--data", data, "--full")
		})
	}
}

var keep = flag.String("keep", "", "a `PROGRAM` of which a data folder is kept in testdata/upgrades, with -as")
var keepAs = flag.String("as", "", "the name of that, its day and commit")

// keepDataFolder makes the data folder of a program and keeps it. It asks the program
// only what its first version understood.
func keepDataFolder(t *testing.T) {
	t.Helper()
	data, port := t.TempDir(), "18365"
	origin := "http://127.0.0.1:" + port
	program := exec.Command(*keep, "dev", "--data", data, "--listen", "127.0.0.1:"+port, "--interval", "1s", "--sample=false")
	program.Stderr = t.Output()
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	app := simtenant.Sample()[0].Apps[0]
	c, err := client.New(client.Config{URL: origin, Authority: origin, Tenant: string(simtenant.Sample()[0].ID), ClientID: app.AppID, ClientSecret: client.Secret(app.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	soon := func(what string, is func() bool) {
		t.Helper()
		if !comes(is) {
			t.Fatal("not within a minute: " + what)
		}
	}
	soon("it answers", func() bool {
		res, err := http.Get(origin + "/readyz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})
	file := filepath.Join(data, "drives", keptOwner, filepath.FromSlash(keptFile))
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(keptText)
	call := func(ctx context.Context, method, path string, body, answer any) {
		t.Helper()
		if err := c.Call(ctx, method, path, body, answer); err != nil {
			t.Fatal(err)
		}
	}
	var policy policyAnswer
	call(t.Context(), http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": "Kept",
		"driveProtectionUnits": []any{map[string]any{"directoryObjectId": simtenant.Sample()[0].Users[0].ID}}}, &policy)
	call(t.Context(), http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, nil)
	latest := func() string {
		units, err := list[unitAnswer](t.Context(), c, "/oneDriveForBusinessProtectionPolicies/"+policy.ID+"/driveProtectionUnits")
		if err != nil || len(units) == 0 || units[0].Status != "protected" {
			return ""
		}
		var found searchAnswer
		call(t.Context(), http.MethodPost, "/restorePoints/search", map[string]any{"protectionUnitIds": []string{units[0].ID}, "restorePointPreference": "latest",
			"protectionTimePeriod": map[string]any{"startDateTime": "2020-01-01T00:00:00Z"}}, &found)
		if len(found.SearchResults) == 0 {
			return ""
		}
		return found.SearchResults[0].RestorePoint.ID
	}
	soon("a first point", func() bool { return latest() != "" })
	seen := latest()
	write("It was changed after the first point.\n")
	soon("another point", func() bool { return latest() != seen })
	time.Sleep(2 * time.Second) // what is recorded in the vault a moment later
	program.Process.Signal(syscall.SIGTERM)
	if err := program.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(upgrades, 0o755); err != nil {
		t.Fatal(err)
	}
	size, err := pack(data, filepath.Join(upgrades, *keepAs+".tar.gz"))
	if err != nil || size > 200<<10 {
		t.Errorf("the archive has %d bytes, %v", size, err)
	}
}

// pack makes an archive of a folder, but for what a server makes anew.
func pack(dir, archive string) (size int64, err error) {
	f, err := os.Create(archive)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression)
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || name == "." || strings.Contains(name, "vault/cache") || strings.HasSuffix(name, ".lock") {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.ToSlash(name), 0, 0, "", ""
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	return info.Size(), err
}

// unpack puts what is in an archive into a folder.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o700)
		case tar.TypeReg:
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600), os.Chtimes(path, h.ModTime, h.ModTime))
			}
		default:
			err = fmt.Errorf("%s is neither file nor folder", h.Name)
		}
		if err != nil {
			return err
		}
	}
}
