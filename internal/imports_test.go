// Package internal holds no code. Its tests state who may import whom, and that
// the documents speak of what is there.
package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms says, for each package of ours, which others of ours it may import in
// code that ships. Tests may import anything. The arrows point one way: from
// what serves requests and does work, down to the vocabulary.
var rooms = map[string][]string{
	"internal/backup":          {},
	"internal/jsonscan":        {},
	"internal/quickxor":        {},
	"internal/spill":           {},
	"internal/heap":            {},
	"internal/bench":           {},
	"internal/budget":          {"internal/backup"},
	"internal/database":        {"internal/backup"},
	"internal/database/dbtest": {"internal/database"},
	"internal/archive":         {"internal/database"},
	"internal/jobs":            {"internal/backup", "internal/database"},
	"internal/catalog":         {"internal/backup", "internal/database", "internal/jobs", "internal/odata"},
	"internal/drive":           {"internal/backup", "internal/budget", "internal/jsonscan", "internal/quickxor"},
	"internal/vault":           {"internal/backup", "internal/jsonscan", "internal/spill"},
	"internal/vault/vaulttest": {},
	"internal/export":          {"internal/backup", "internal/vault"},
	"internal/engine":          {"internal/backup", "internal/budget", "internal/catalog", "internal/database", "internal/drive", "internal/jobs", "internal/spill", "internal/vault"},
	"internal/alert":           {"internal/backup", "internal/catalog", "internal/database", "internal/jobs"},
	"internal/audit":           {"internal/alert", "internal/backup", "internal/catalog", "internal/database", "internal/jobs"},
	"internal/odata":           {"internal/backup"},
	"internal/identity":        {"internal/backup"},
	"internal/letter":          {},
	"internal/graphapi":        {"internal/backup", "internal/catalog", "internal/identity", "internal/letter", "internal/odata"},
	"internal/simtenant":       {"internal/backup", "internal/jsonscan", "internal/odata", "internal/quickxor"},
	"internal/client":          {"internal/backup"},
	"internal/owners":          {"internal/backup"},
	"internal/console":         {"internal/backup", "internal/client", "internal/owners"},
	"holdfasttest":             {"internal/simtenant"},
}

// doors says which third party may be imported by which packages only.
var doors = map[string][]string{
	"github.com/kopia/kopia":        {"internal/vault"},
	"github.com/minio/minio-go":     {"internal/vault"},
	"github.com/klauspost/compress": {"internal/archive", "internal/vault"},
	"filippo.io/age":                {"internal/archive"},
	"database/sql":                  {"internal/database", "internal/database/dbtest", "internal/jobs", "internal/catalog"},
	"modernc.org/sqlite":            {"internal/database"},
	"github.com/jackc/pgx":          {"internal/database", "internal/database/dbtest"},
	"github.com/pressly/goose":      {"internal/database"},
	"github.com/golang-jwt/jwt":     {"internal/drive", "internal/identity", "internal/simtenant"},
	"github.com/MicahParks/keyfunc": {"internal/identity"},
	"github.com/go-jose/go-jose":    {"internal/simtenant"},
	"github.com/wneessen/go-mail":   {"internal/alert"},
	"go.opentelemetry.io/otel":      {"cmd/holdfast"},
	"github.com/spf13/cobra":        {"cmd/holdfast"},
	"github.com/vbauerster/mpb":     {"cmd/holdfast"},
	"github.com/prometheus":         {"internal/engine", "cmd/holdfast"},
}

func TestImports(t *testing.T) {
	const module = "holdfast/"
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "conformance" || d.Name() == "release") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		seen[pkg] = true
		allowed, known := rooms[pkg]
		if !known && !strings.HasPrefix(pkg, "cmd/") {
			t.Errorf("%s is a new room: say in this test whom it may import", pkg)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(imported, module); ok && known && !slices.Contains(allowed, ours) {
				t.Errorf("%s: %s may not import %s", path, pkg, ours)
			}
			for door, keepers := range doors {
				if (imported == door || strings.HasPrefix(imported, door+"/")) && !slices.Contains(keepers, pkg) {
					t.Errorf("%s: only %s may import %s", path, strings.Join(keepers, " and "), door)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range rooms {
		if !seen[pkg] {
			t.Errorf("the room %s is stated here but holds no code", pkg)
		}
	}
}

// Every test that docs/divergences.md and docs/security.md name exists.
func TestDivergencesAreTested(t *testing.T) {
	var tests strings.Builder
	for _, dir := range []string{".", "../cmd"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			tests.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range []string{"../docs/divergences.md", "../docs/security.md"} {
		doc, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`).FindAllString(string(doc), -1) {
			if !strings.Contains(tests.String(), "func "+name+"(") {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
	}
}
