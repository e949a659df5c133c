package main

import (
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

// units are where the services are described in the source, for a binary that was put
// into place by hand: serve, and the backup of Holdfast itself with its timer.
var units = []string{"deploy/systemd/holdfast.service", "deploy/systemd/holdfast-backup.service", "deploy/systemd/holdfast-backup.timer"}

// installing finds, in what a unit says for a binary that is put into place by hand, the
// steps that a package has taken.
var installing = regexp.MustCompile(`(?m)^#   install -(m|d -m) .*\n`)

// debian writes a package for Debian and what descends from it: the binary, its
// papers and the units, which are enabled and started by whoever has configured them.
func (r *release) debian(p platform, binary, dir string) error {
	scratch, err := os.MkdirTemp("", "holdfast-deb-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	reload := filepath.Join(scratch, "reload")
	if err := os.WriteFile(reload, []byte("#!/bin/sh\nset -e\n[ ! -d /run/systemd/system ] || systemctl daemon-reload\n"), 0o644); err != nil {
		return err
	}
	put := func(from, to string, mode fs.FileMode) *files.Content {
		return &files.Content{Source: from, Destination: to, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.time}}
	}
	const doc = "/usr/share/doc/holdfast/"
	contents := files.Contents{
		put(binary, "/usr/bin/holdfast", 0o755),
		put(filepath.Join(r.source, "LICENSE"), doc+"copyright", 0o644),
		{Destination: "/etc/holdfast", Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o700, MTime: r.time}},
	}
	for _, unit := range units {
		text, err := os.ReadFile(filepath.Join(r.source, unit))
		if err != nil {
			return err
		}
		name := path.Base(unit)
		here := filepath.Join(scratch, name)
		packaged := strings.ReplaceAll(installing.ReplaceAllString(string(text), ""), "/usr/local/bin/", "/usr/bin/")
		if err := os.WriteFile(here, []byte(packaged), 0o644); err != nil {
			return err
		}
		contents = append(contents, put(here, "/usr/lib/systemd/system/"+name, 0o644))
	}
	all, err := r.files(binary)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.from != binary && f.name != "LICENSE" {
			contents = append(contents, put(f.from, doc+f.name, f.mode))
		}
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "holdfast", Arch: p.arch, Platform: p.os, Version: r.version, VersionSchema: "semver", MTime: r.time,
		Section: "admin", Priority: "optional", Maintainer: "The Holdfast developers <holdfast@localhost>", License: "see /usr/share/doc/holdfast/copyright",
		Description: "Self-hosted backup of Microsoft 365\nThe Backup Storage API of Microsoft Graph, and the backups behind it, on your own machine.",
		Overridables: nfpm.Overridables{
			Contents:   contents,
			Scripts:    nfpm.Scripts{PostInstall: reload, PostRemove: reload},
			Recommends: []string{"ca-certificates"},
		},
	})
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return err
	}
	return create(filepath.Join(dir, deb.Default.ConventionalFileName(info)), func(w io.Writer) error { return deb.Default.Package(info, w) })
}
