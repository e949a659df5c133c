package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"holdfast/internal/archive"
)

// A member is a text in a configuration, and its place there.
type member struct {
	pointer string // as RFC 6901 has it
	name    string // the last of the pointer, or of what holds it where it is in a list
	value   string
	of      map[string]any // the object that it is in
}

// setting is the member's place as people write it: alerts.to[0].webhook.secretFile.
func (m member) setting() string {
	var b strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(m.pointer, "/"), "/") {
		switch {
		case part != "" && strings.Trim(part, "0123456789") == "":
			fmt.Fprintf(&b, "[%s]", part)
		case b.Len() > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

// isFile reports whether the member names a file with a secret. All that do end so, and
// nothing else does: see TestEveryFileSettingIsBackedUp.
func (m member) isFile() bool { return endsIn(m.name, "file") && !strings.EqualFold(m.name, "file") }

// isEnv reports whether the member names a variable with a secret.
func (m member) isEnv() bool { return endsIn(m.name, "env") }

// isToken reports whether it is a token that a cluster gives to whoever runs in it.
func (m member) isToken() bool { return strings.EqualFold(m.name, "identityTokenFile") }

// isPath reports whether it names a place that is used, and of which nothing is a secret.
func (m member) isPath() bool {
	return slices.ContainsFunc([]string{"dir", "file", "state", "tenantsDir"}, func(n string) bool { return strings.EqualFold(n, m.name) }) ||
		strings.EqualFold(m.name, "address") && m.of["network"] == "unix"
}

func endsIn(name, end string) bool {
	return len(name) > len(end) && strings.EqualFold(name[len(name)-len(end):], end)
}

// members are all texts of a configuration that are not empty, as they stand in it.
func members(data []byte) (all []member, err error) {
	tree, err := hujson.Parse(slices.Clone(data))
	if err != nil {
		return nil, err
	}
	tree.Standardize()
	var document any
	if err := json.Unmarshal(tree.Pack(), &document); err != nil {
		return nil, err
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var walk func(at member, v any)
	walk = func(at member, v any) {
		switch v := v.(type) {
		case string:
			if at.value = v; v != "" {
				all = append(all, at)
			}
		case []any:
			for i, e := range v {
				walk(member{pointer: fmt.Sprintf("%s/%d", at.pointer, i), name: at.name, of: at.of}, e)
			}
		case map[string]any:
			for name, e := range v {
				walk(member{pointer: at.pointer + "/" + escape.Replace(name), name: name, of: v}, e)
			}
		}
	}
	walk(member{}, document)
	slices.SortFunc(all, func(a, b member) int { return strings.Compare(a.pointer, b.pointer) })
	return all, nil
}

// placed is a path of a file as it is meant in that file.
func placed(file, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(file), path)
}

// A gathering is the files that go into a backup.
type gathering struct {
	files   []archive.File
	missing []string
}

// add takes a file up, unless it is there already, under a name that no other has.
func (g *gathering) add(kind archive.Kind, setting, path string) error {
	if i := slices.IndexFunc(g.files, func(f archive.File) bool { return f.Path == path }); i >= 0 {
		g.files[i].Setting += ", " + setting
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	base := strings.TrimLeft(filepath.Base(path), ".")
	name := cmp.Or(base, "file")
	for n := 2; slices.ContainsFunc(g.files, func(f archive.File) bool { return strings.EqualFold(f.Name, name) }); n++ {
		name = fmt.Sprintf("%d-%s", n, base)
	}
	g.files = append(g.files, archive.File{Name: name, Kind: kind, Setting: setting, Path: path, Content: content})
	return nil
}

func (g *gathering) lacks(format string, args ...any) {
	g.missing = append(g.missing, fmt.Sprintf(format, args...))
}

// ofServe takes up a configuration and all that it names.
func (g *gathering) ofServe(path string, cfg Config) error {
	if err := g.add(archive.Configuration, "the configuration", path); err != nil {
		return err
	}
	described := []string{path}
	if cfg.TenantsDir != "" {
		entries, err := os.ReadDir(cfg.TenantsDir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("tenantsDir: %w", err)
		}
		for _, e := range entries { // as addTenants reads them
			if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
				file := filepath.Join(cfg.TenantsDir, e.Name())
				if err := g.add(archive.Tenant, "tenantsDir", file); err != nil {
					return err
				}
				described = append(described, file)
			}
		}
	}
	for i, file := range described {
		all, err := members(g.files[i].Content)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, m := range all {
			setting := m.setting()
			if i > 0 {
				setting = filepath.Base(file) + ": " + setting
			}
			switch {
			case m.isToken():
				g.lacks("the token that %s names, %s: whoever runs the workload gives it", setting, placed(file, m.value))
			case m.isFile():
				if err := g.add(archive.Secret, setting, placed(file, m.value)); err != nil {
					return err
				}
			case m.isEnv():
				g.lacks("the secret in the variable %s, which %s names", m.value, setting)
			}
		}
	}
	if cfg.PageTokenKeyFile == "" && cfg.PageTokenKeyEnv == "" {
		if file := filepath.Join(cfg.State, "page-token-key"); exists(file) {
			if err := g.add(archive.State, "state", file); err != nil {
				return err
			}
		}
	}
	if u, err := url.Parse(cfg.Database); err == nil && u.Scheme != "sqlite" {
		if cfg.DatabasePasswordFile == "" && cfg.DatabasePasswordEnv == "" {
			g.lacks("the database's password, if it has one: it is wherever PostgreSQL's own clients look for it")
		}
		for _, name := range []string{"sslcert", "sslkey", "sslrootcert", "passfile"} {
			if file := u.Query().Get(name); file != "" {
				g.lacks("the file %s, which the database's address names as %s", file, name)
			}
		}
	}
	if s := cfg.Vault.S3; s != nil && s.SecretFile == "" && s.SecretEnv == "" {
		g.lacks("the key of the bucket: it is in variables of the environment, or of the machine's role")
	}
	return nil
}

// ofDev takes up the keys of a dev.
func (g *gathering) ofDev(root string) error {
	entries, err := os.ReadDir(filepath.Join(root, "keys"))
	if err != nil {
		return fmt.Errorf("the folder of the keys: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			if err := g.add(archive.State, "keys", filepath.Join(root, "keys", e.Name())); err != nil {
				return err
			}
		}
	}
	g.lacks("drives, sites and mail of the simulated tenant, and the file that describes it, if dev is told one")
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// What is where in the folder that a backup is laid out in.
const (
	laidConfig  = "serve.json"
	laidCatalog = "catalog.db"
	laidKeys    = "keys"
	laidTenants = "tenants"
	laidState   = "state"
)

// layOut writes the files of a backup into a folder, and has the configuration name them
// there. database is where the catalog is to be; empty for a file in the folder.
func layOut(dir string, head archive.Head, database string) error {
	tenants := ""
	for _, f := range head.Files {
		if f.Kind == archive.Tenant {
			tenants = filepath.Dir(f.Path)
		}
	}
	laid := map[string]string{} // where the file of a path is, below the folder
	for _, f := range head.Files {
		switch {
		case f.Kind == archive.Configuration:
			laid[f.Path] = laidConfig
		case f.Kind == archive.Tenant, f.Kind == archive.Secret && filepath.Dir(f.Path) == tenants:
			laid[f.Path] = filepath.Join(laidTenants, f.Name)
		case f.Kind == archive.State && head.Config != "":
			laid[f.Path] = filepath.Join(laidState, f.Name)
		default:
			laid[f.Path] = filepath.Join(laidKeys, f.Name)
		}
	}
	for _, f := range head.Files {
		content := f.Content
		if f.Kind == archive.Configuration || f.Kind == archive.Tenant {
			var err error
			if content, err = relaid(f, laid, database); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		if err := writeFile(filepath.Join(dir, laid[f.Path]), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// relaid is a configuration, or a tenant's, whose paths are those of the files as they are
// laid out. All else, with the comments, stays as it is.
func relaid(f archive.File, laid map[string]string, database string) ([]byte, error) {
	all, err := members(f.Content)
	if err != nil {
		return nil, err
	}
	tree, err := hujson.Parse(slices.Clone(f.Content))
	if err != nil {
		return nil, err
	}
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value string `json:"value"`
	}
	var patch []operation
	set := func(pointer, value string) { patch = append(patch, operation{"add", pointer, value}) }
	main := f.Kind == archive.Configuration
	for _, m := range all {
		switch at := placed(f.Path, m.value); {
		case main && m.pointer == "/database", main && m.pointer == "/state":
		case main && database == "" && slices.Contains([]string{"/databasePasswordFile", "/databasePasswordEnv"}, m.pointer):
			set(m.pointer, "") // SQLite has none
		case main && m.pointer == "/tenantsDir":
			set(m.pointer, laidTenants)
		case m.isFile() && laid[at] != "":
			from := filepath.Dir(laid[f.Path])
			path, err := filepath.Rel(from, laid[at])
			if err != nil {
				return nil, err
			}
			set(m.pointer, filepath.ToSlash(path))
		case m.isFile(), m.isPath():
			set(m.pointer, at)
		}
	}
	if main {
		set("/state", laidState)
		set("/database", cmp.Or(database, "sqlite:"+laidCatalog))
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	if err := tree.Patch(text); err != nil {
		return nil, err
	}
	return tree.Pack(), nil
}
