// Command release makes what a version of Holdfast is published as, from a commit
// without local changes: for each system an archive with the binary, for Debian
// packages, for containers one image of two architectures, beside each binary the
// list of what it is made of (CycloneDX), and SHA256SUMS of all, signed if there is a
// key. The same commit and the same Go give the same bytes.
//
// It is a module of its own, so that its libraries are none of Holdfast's, and may
// touch nothing but the folder that it writes.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"aead.dev/minisign"
)

func main() {
	out := flag.String("out", "dist", "the folder that is made; it must not be there")
	source := flag.String("source", "..", "the folder of Holdfast's source")
	key := flag.String("key", os.Getenv("HOLDFAST_RELEASE_KEY_FILE"), "the file with minisign's secret key, whose password is in HOLDFAST_RELEASE_KEY_PASSWORD; without one nothing is signed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		r, err := read(ctx, *source)
		if err != nil {
			return err
		}
		if *key != "" {
			k, err := minisign.PrivateKeyFromFile(os.Getenv("HOLDFAST_RELEASE_KEY_PASSWORD"), *key)
			if err != nil {
				return fmt.Errorf("read the key: %w", err)
			}
			r.key = &k
		}
		return r.make(ctx, *out, os.Stdout)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// A platform is a system and a processor, in Go's words.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "_" + p.arch }

var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// A release is what is made from one commit.
type release struct {
	source    string // its folder
	version   string // without the letter before it
	revision  string
	time      time.Time // of the commit, and of every file that is made
	platforms []platform
	flags     []string // of the compiler
	key       *minisign.PrivateKey
}

// read says what is released from a folder.
func read(ctx context.Context, source string) (*release, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return nil, err
	}
	git := func(args ...string) string {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", source}, args...)...)
		cmd.Stderr = os.Stderr
		var text []byte
		if err == nil {
			text, err = cmd.Output()
		}
		return strings.TrimSpace(string(text))
	}
	changed, revision, when := git("status", "--porcelain"), git("rev-parse", "HEAD"), git("log", "-1", "--format=%ct")
	tags := strings.Fields(git("tag", "--points-at", "HEAD", "--list", "v[0-9]*"))
	if err != nil {
		return nil, fmt.Errorf("ask git about %s: %w", source, err)
	}
	if changed != "" {
		return nil, fmt.Errorf("there are local changes in %s: commit them, so that anybody can make the same of the commit:\n%s", source, changed)
	}
	seconds, err := strconv.ParseInt(when, 10, 64)
	if err != nil {
		return nil, err
	}
	r := &release{source: source, revision: revision, time: time.Unix(seconds, 0).UTC(), platforms: platforms, flags: []string{"-trimpath"}}
	switch len(tags) {
	case 0: // as Go itself calls what has no version
		r.version = "0.0.0-" + r.time.Format("20060102150405") + "-" + revision[:12]
	case 1:
		r.version = tags[0][1:]
	default:
		return nil, fmt.Errorf("the commit has the versions %s: leave it one", strings.Join(tags, " and "))
	}
	return r, nil
}

// make writes all of the release into a folder, which is there when all is in it.
func (r *release) make(ctx context.Context, out string, says io.Writer) (err error) {
	if _, err := os.Lstat(out); err == nil {
		return fmt.Errorf("%s is there already: name a folder that is not", out)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o777); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), ".release-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binaries, err := os.MkdirTemp("", "holdfast-release-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)

	built := map[platform]string{}
	for _, p := range r.platforms {
		fmt.Fprintf(says, "holdfast %s for %s/%s\n", r.version, p.os, p.arch)
		binary := filepath.Join(binaries, p.String())
		if err := r.build(ctx, p, binary); err != nil {
			return err
		}
		built[p] = binary
		name := filepath.Join(dir, "holdfast_"+r.version+"_"+p.String())
		if err := r.archive(binary, name); err != nil {
			return err
		}
		if err := r.contents(p, binary, name+".cdx.json"); err != nil {
			return err
		}
		if p.os == "linux" {
			if err := r.debian(p, binary, dir); err != nil {
				return err
			}
		}
	}
	if err := r.image(built, filepath.Join(dir, "holdfast_"+r.version+"_oci.tar")); err != nil {
		return err
	}
	if err := r.sums(dir); err != nil {
		return err
	}
	if r.key == nil {
		fmt.Fprintln(says, "Nothing is signed: name a key with -key. 'minisign -G' makes one.")
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return os.Rename(dir, out)
}

// build compiles for a platform.
func (r *release) build(ctx context.Context, p platform, to string) error {
	args := append([]string{"build", "-ldflags", "-s -w -buildid=", "-o", to}, r.flags...)
	// Nothing of who builds is in it: not their settings ('go env -w'), but for those of
	// where modules and caches are.
	kept := []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOTOOLCHAIN", "GOMODCACHE", "GOCACHE"}
	look := exec.CommandContext(ctx, "go", append([]string{"env"}, kept...)...)
	look.Dir, look.Stderr = r.source, os.Stderr
	values, err := look.Output()
	if err != nil {
		return fmt.Errorf("ask Go where it keeps modules: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/holdfast")...)
	cmd.Dir, cmd.Stderr = r.source, os.Stderr
	cmd.Env = append(os.Environ(), "GOENV=off")
	for i, v := range strings.Split(strings.TrimSuffix(string(values), "\n"), "\n") {
		cmd.Env = append(cmd.Env, kept[i]+"="+v)
	}
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=off", "GOWORK=off")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile for %s/%s: %w", p.os, p.arch, err)
	}
	return nil
}

// sums writes the checksums of all files in a folder, and their signature.
func (r *release) sums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		sum, err := sumOf(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, sum+"  "+e.Name()+"\n")
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	text := []byte(strings.Join(lines, ""))
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), text, 0o644); err != nil || r.key == nil {
		return err
	}
	trusted := fmt.Sprintf("holdfast %s of commit %s", r.version, r.revision)
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS.minisig"), minisign.SignWithComments(*r.key, text, trusted, "signature of Holdfast's release"), 0o644)
}

func sumOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
