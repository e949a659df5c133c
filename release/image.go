package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nobody is the user that a container runs as.
const nobody = 65532

// image writes one image for all of Linux's architectures as an archive of OCI. In it
// are the binary, its terms and the folders that it writes into, and nothing else: no
// shell, no packages. The binary brings the authorities that it trusts.
func (r *release) image(built map[platform]string, name string) error {
	index := v1.ImageIndex(empty.Index)
	for _, p := range r.platforms {
		if p.os != "linux" {
			continue
		}
		var layer bytes.Buffer
		owned := fs.ModeDir | 0o700
		if err := r.tar(&layer, "", []file{
			{name: "etc", mode: fs.ModeDir | 0o755},
			{name: "etc/passwd", data: "root:x:0:0:root:/:/nonexistent\nholdfast:x:65532:65532:Holdfast:/var/lib/holdfast:/nonexistent\n", mode: 0o644},
			{name: "etc/group", data: "root:x:0:\nholdfast:x:65532:\n", mode: 0o644},
			{name: "etc/holdfast", mode: fs.ModeDir | 0o755},
			{name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
			{name: "usr", mode: fs.ModeDir | 0o755},
			{name: "usr/bin", mode: fs.ModeDir | 0o755},
			{name: "usr/bin/holdfast", from: built[p], mode: 0o755},
			{name: "usr/share", mode: fs.ModeDir | 0o755},
			{name: "usr/share/doc", mode: fs.ModeDir | 0o755},
			{name: "usr/share/doc/holdfast", mode: fs.ModeDir | 0o755},
			{name: "usr/share/doc/holdfast/LICENSE", from: filepath.Join(r.source, "LICENSE"), mode: 0o644},
			{name: "usr/share/doc/holdfast/LICENSES-THIRD-PARTY.txt", from: filepath.Join(r.source, thirdParty), mode: 0o644},
			{name: "var", mode: fs.ModeDir | 0o755},
			{name: "var/cache", mode: fs.ModeDir | 0o755},
			{name: "var/cache/holdfast", mode: owned, user: nobody},
			{name: "var/lib", mode: fs.ModeDir | 0o755},
			{name: "var/lib/holdfast", mode: owned, user: nobody},
		}); err != nil {
			return err
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return err
		}
		of := v1.Platform{OS: p.os, Architecture: p.arch}
		img, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
			OS: p.os, Architecture: p.arch, Created: v1.Time{Time: r.time},
			Config: v1.Config{
				User: "65532:65532", WorkingDir: "/var/lib/holdfast", Entrypoint: []string{"/usr/bin/holdfast"},
				Env:          []string{"PATH=/usr/bin", "HOME=/var/lib/holdfast", "TMPDIR=/tmp"},
				Volumes:      map[string]struct{}{"/var/lib/holdfast": {}, "/var/cache/holdfast": {}},
				ExposedPorts: map[string]struct{}{"8365/tcp": {}},
				Labels: map[string]string{
					"org.opencontainers.image.title":    "holdfast",
					"org.opencontainers.image.version":  r.version,
					"org.opencontainers.image.revision": r.revision,
				},
			},
		})
		if err == nil {
			img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "release", Created: v1.Time{Time: r.time}}})
		}
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &of, Annotations: map[string]string{"org.opencontainers.image.ref.name": r.version}}})
	}
	dir, err := os.MkdirTemp("", "holdfast-image-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	var all []file
	err = filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, full)
		all = append(all, file{name: filepath.ToSlash(rel), from: full, mode: 0o644})
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return create(name, func(w io.Writer) error { return r.tar(w, "", all) })
}
