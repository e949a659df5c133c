package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every module of which something is in the binary, on whichever system, is named
// with all of its terms.
func TestLicences(t *testing.T) {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{"Go": strings.TrimSpace(string(root))}
	for _, system := range []string{"linux", "darwin", "windows"} {
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", ".")
		list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if module, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				dirs[module] = dir
			}
		}
	}
	terms := regexp.MustCompile(`(?i)^(licen[cs]e|notice|copying|patents|unlicense)`)
	of := map[string][]string{} // the modules of a text
	for module, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range entries {
			if !e.Type().IsRegular() || !terms.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			clean := strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
			of[clean], found = append(of[clean], module), true
		}
		if !found {
			t.Errorf("%s has no terms in %s: look whether it may be used at all", module, dir)
		}
	}
	for text := range of {
		slices.Sort(of[text])
	}
	texts := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		return cmp.Or(slices.Compare(of[a], of[b]), strings.Compare(a, b))
	})
	var b strings.Builder
	fmt.Fprintln(&b, "Holdfast holds what others wrote. These are their terms, below the modules that each is of.")
	for _, text := range texts {
		fmt.Fprintf(&b, "\n%s\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), strings.Join(of[text], "\n"), strings.Repeat("=", 78), text)
	}
	if *update {
		if err := os.WriteFile("licences.txt", []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != licences {
		t.Error("licences.txt is not of the modules that are in the binary now (go test ./cmd/holdfast -run TestLicences -update writes it)")
	}
}
