package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/CycloneDX/cyclonedx-go"
)

// A release for this machine holds what it says, each binary starts, and made again
// it is the same.
func TestRelease(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("packages and images are for Linux")
	}
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	r := &release{source: source, version: "1.2.3", revision: strings.Repeat("c0ffee", 7)[:40], time: time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC), platforms: []platform{{"linux", runtime.GOARCH}}, flags: []string{"-trimpath", "-buildvcs=false"}, key: &private}
	var dirs [2]string
	for i := range dirs {
		dirs[i] = filepath.Join(t.TempDir(), "dist")
	}
	if err := r.make(t.Context(), dirs[0], io.Discard); err != nil {
		t.Fatal(err)
	}
	elsewhere(t, *r, dirs[1])
	if err := r.make(t.Context(), dirs[0], io.Discard); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("into a folder that is there: %v", err)
	}

	arch := runtime.GOARCH
	name := "holdfast_1.2.3_linux_" + arch
	want := []string{"SHA256SUMS", "SHA256SUMS.minisig", name + ".cdx.json", name + ".tar.gz", "holdfast_1.2.3_" + arch + ".deb", "holdfast_1.2.3_oci.tar"}
	slices.Sort(want)
	if got := names(t, dirs[0]); !slices.Equal(got, want) {
		t.Errorf("the release is %q, want %q", got, want)
	}
	for _, name := range want {
		a, err := os.ReadFile(filepath.Join(dirs[0], name))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dirs[1], name)); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s made again is another: %v", name, err)
		}
	}

	sums, err := os.ReadFile(filepath.Join(dirs[0], "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := os.ReadFile(filepath.Join(dirs[0], "SHA256SUMS.minisig"))
	if err != nil {
		t.Fatal(err)
	}
	if !minisign.Verify(public, sums, signature) || minisign.Verify(public, append(sums, ' '), signature) {
		t.Error("the signature is not that of the sums")
	}
	if text, err := run(dirs[0], "sha256sum", "--check", "--strict", "SHA256SUMS"); err != nil || strings.Count(text, ": OK\n") != len(want)-2 {
		t.Errorf("the sums: %v\n%s", err, text)
	}

	t.Run("archive", func(t *testing.T) {
		dir := t.TempDir()
		if text, err := run(dir, "tar", "--extract", "--gzip", "--file", filepath.Join(dirs[0], name+".tar.gz")); err != nil {
			t.Fatal(err, text)
		}
		for _, paper := range []string{"README.md", "LICENSE", "LICENSES-THIRD-PARTY.txt", "docs/operating.md", "examples/serve.json", units[0], units[1], units[2]} {
			if _, err := os.Stat(filepath.Join(dir, name, paper)); err != nil {
				t.Error(err)
			}
		}
		starts(t, exec.Command(filepath.Join(dir, name, "holdfast"), "licences"), "golang.org/x/crypto")
	})
	t.Run("package", func(t *testing.T) {
		dir := t.TempDir()
		deb := filepath.Join(dirs[0], "holdfast_1.2.3_"+arch+".deb")
		if text, err := run(dir, "dpkg-deb", "--extract", deb, dir); err != nil {
			t.Fatal(err, text)
		}
		if text, err := run(dir, "dpkg-deb", "--field", deb, "Package", "Version", "Architecture"); err != nil || text != "Package: holdfast\nVersion: 1.2.3\nArchitecture: "+arch+"\n" {
			t.Errorf("the package says of itself %v\n%s", err, text)
		}
		if info, err := os.Stat(filepath.Join(dir, "etc/holdfast")); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder of secrets: %v, %v", info, err)
		}
		for name, says := range map[string]string{
			"holdfast.service":        "ExecStart=/usr/bin/holdfast serve --config ",
			"holdfast-backup.service": "ExecStart=/usr/bin/holdfast backup create --config ",
			"holdfast-backup.timer":   "WantedBy=timers.target",
		} {
			unit, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system", name))
			if err != nil || !strings.Contains(string(unit), says) {
				t.Errorf("%s does not say %q: %v\n%s", name, says, err, unit)
			}
			if strings.Contains(string(unit), "/usr/local/") || strings.Contains(string(unit), "#   install ") {
				t.Errorf("%s says how a binary is installed by hand:\n%s", name, unit)
			}
		}
		// Whoever has configured a unit enables it.
		if enabled, err := filepath.Glob(filepath.Join(dir, "etc/systemd/system/*")); err != nil || enabled != nil {
			t.Errorf("the package enables %q, %v", enabled, err)
		}
		if text, err := run(dir, "dpkg-deb", "--info", deb, "postinst"); err != nil || strings.Contains(text, "enable") || strings.Contains(text, "start") {
			t.Errorf("once installed the package runs %v\n%s", err, text)
		}
		starts(t, exec.Command(filepath.Join(dir, "usr/bin/holdfast"), "version"), "linux/"+arch)
	})
	t.Run("image", func(t *testing.T) {
		root := t.TempDir()
		config := unpack(t, filepath.Join(dirs[0], "holdfast_1.2.3_oci.tar"), root)
		if config.User != "65532:65532" || !slices.Equal(config.Entrypoint, []string{"/usr/bin/holdfast"}) {
			t.Errorf("a container runs %q as %q", config.Entrypoint, config.User)
		}
		contained := func(args ...string) *exec.Cmd {
			if os.Geteuid() != 0 {
				return exec.Command(filepath.Join(root, "usr/bin/holdfast"), args...)
			}
			// As in a container: nothing but the image, and nobody's rights.
			cmd := exec.Command("/usr/bin/holdfast", args...)
			cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			cmd.Env = config.Env
			return cmd
		}
		if os.Geteuid() == 0 {
			if err := os.Chmod(root, 0o755); err != nil {
				t.Fatal(err)
			}
			for dir := filepath.Dir(root); dir != "/"; dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755|fs.ModeSticky); err != nil && !errors.Is(err, fs.ErrPermission) {
					t.Fatal(err)
				}
				if dir == os.TempDir() {
					break
				}
			}
		}
		starts(t, contained("version"), "linux/"+arch)
		data := "/var/lib/holdfast/data"
		if os.Geteuid() != 0 {
			data = filepath.Join(root, data)
		}
		serves(t, contained("dev", "--listen", "127.0.0.1:18365", "--data", data), "http://127.0.0.1:18365/readyz")
	})
	t.Run("contents", func(t *testing.T) {
		text, err := os.Open(filepath.Join(dirs[0], name+".cdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer text.Close()
		var bom cyclonedx.BOM
		if err := cyclonedx.NewBOMDecoder(text, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		kopia := slices.ContainsFunc(*bom.Components, func(c cyclonedx.Component) bool {
			return c.Name == "github.com/kopia/kopia" && strings.HasPrefix(c.PackageURL, "pkg:golang/github.com/kopia/kopia@v")
		})
		if !kopia || bom.Metadata.Component.Version != "1.2.3" {
			t.Errorf("the list of contents has %d modules, among them kopia %v", len(*bom.Components), kopia)
		}
	})
}

// What is released is a commit, by its version if it has one.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=n@localhost"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-11-28T01:02:03Z")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(text))
		}
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "x")
	r, err := read(t.Context(), dir)
	if err != nil || r.version != "0.0.0-20261128010203-"+r.revision[:12] || !r.time.Equal(time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)) {
		t.Errorf("a commit without a version: %+v, %v", r, err)
	}
	git("tag", "v1.4.0")
	git("tag", "vendor")
	if r, err := read(t.Context(), dir); err != nil || r.version != "1.4.0" {
		t.Errorf("a version: %+v, %v", r, err)
	}
	git("tag", "v1.4.1")
	if _, err := read(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "v1.4.0 and v1.4.1") {
		t.Errorf("two versions: %v", err)
	}
	git("tag", "-d", "v1.4.1")
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "local changes") {
		t.Errorf("with local changes: %v", err)
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// elsewhere makes a release of a copy of the source, as somebody else with other settings.
func elsewhere(t *testing.T, r release, out string) {
	t.Helper()
	before, cache := "", ""
	for name, to := range map[string]*string{"GOMODCACHE": &before, "GOCACHE": &cache} {
		text, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		*to = strings.TrimSpace(string(text))
	}
	home, copied := t.TempDir(), filepath.Join(t.TempDir(), "another place")
	files, err := exec.Command("git", "-C", r.source, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(r.source, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not committed
		}
		to := filepath.Join(copied, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o700)
		}
		if err == nil {
			err = os.WriteFile(to, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	settings := filepath.Join(home, "env")
	if err := os.WriteFile(settings, []byte("GOFLAGS=-tags=another\nGOAMD64=v3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOME": home, "GOPATH": filepath.Join(home, "go"), "GOMODCACHE": before, "GOCACHE": cache, "GOENV": settings, "USER": "somebody", "LOGNAME": "somebody",
		"TZ": "Pacific/Kiritimati", "LANG": "de_DE.UTF-8", "LC_ALL": "C", "TMPDIR": t.TempDir(), "SOURCE_DATE_EPOCH": "1", "GOFLAGS": "-tags=other",
	} {
		t.Setenv(name, value)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	r.source = copied
	if err := r.make(t.Context(), out, io.Discard); err != nil {
		t.Fatal(err)
	}
}

// starts has a command run, and looks for what it prints.
func starts(t *testing.T, cmd *exec.Cmd, says string) {
	t.Helper()
	text, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(text), says) {
		t.Errorf("%s: %v, and prints\n%.500s", cmd.Path, err, text)
	}
}

// serves has a command run until it answers, and end when it is asked to.
func serves(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for since := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(address)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("%s has ended, %v, and printed\n%.2000s", cmd.Path, err, &said)
		default:
		}
		if time.Since(since) > time.Minute {
			cmd.Process.Kill()
			t.Fatalf("%s does not answer: %v", cmd.Path, errors.Join(err, <-ended))
		}
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), <-ended); err != nil {
		t.Errorf("%s ended with %v, and printed\n%.2000s", cmd.Path, err, &said)
	}
}

// unpack puts an image's files below root, and returns how it is run.
func unpack(t *testing.T, name, root string) (config struct {
	User       string
	Entrypoint []string
	Env        []string
}) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blobs := map[string][]byte{}
	for archive := tar.NewReader(f); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if blobs[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	type ref struct{ Digest string }
	blob := func(of ref, to any) []byte {
		t.Helper()
		data, ok := blobs["blobs/"+strings.Replace(of.Digest, ":", "/", 1)]
		if !ok {
			t.Fatalf("there is no %s in the image", of.Digest)
		}
		if to != nil {
			if err := json.Unmarshal(data, to); err != nil {
				t.Fatal(err)
			}
		}
		return data
	}
	var index struct{ Manifests []ref }
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("the image has %d manifests, %v", len(index.Manifests), err)
	}
	var manifest struct {
		Config ref
		Layers []ref
	}
	blob(index.Manifests[0], &manifest)
	var described struct {
		Config *struct {
			User       string
			Entrypoint []string
			Env        []string
		} `json:"config"`
	}
	described.Config = &config
	blob(manifest.Config, &described)
	for _, l := range manifest.Layers {
		z, err := gzip.NewReader(bytes.NewReader(blob(l, nil)))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("tar", "--extract", "--directory", root)
		cmd.Stdin = z
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(text))
		}
	}
	return config
}
