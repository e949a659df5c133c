package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/settings.md names every setting that there is, with what the code says of it,
// and is made of that: 'go test ./cmd/holdfast -run TestTheSettingsAreDocumented -update'.
func TestTheSettingsAreDocumented(t *testing.T) {
	const page = "../../docs/settings.md"
	want := settingsPage(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/settings.md is not what the code says; run this with -update (-page +code)\n%s", diff)
	}
}

// A setting is one field of a type of the configuration.
type setting struct {
	name, kind, text string
	of               string // the type that it is made of, if it has settings of its own
}

// settingsPage writes the page of all settings that can be reached from Config.
func settingsPage(t *testing.T) string {
	t.Helper()
	types, texts := map[string]*ast.StructType{}, map[string]string{}
	for _, dir := range []string{".", "../../internal/backup"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok {
					continue
				}
				for _, spec := range g.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						if body, ok := s.Type.(*ast.StructType); ok && types[s.Name.Name] == nil {
							types[s.Name.Name], texts[s.Name.Name] = body, g.Doc.Text()
						}
					}
				}
			}
		}
	}
	var b strings.Builder
	b.WriteString(`# Settings

All that ` + "`serve.json`" + ` may say, made from the code: do not edit this page. How they are used
is in [operating](operating.md#serve). A name that ends in ` + "`File`" + ` or ` + "`Env`" + ` names a file, or a variable of the
environment, that holds the secret. Durations are such as ` + "`10m`" + ` or ` + "`1h30m`" + `.
`)
	done, queue := map[string]bool{}, []string{"Config"}
	for len(queue) > 0 {
		of := queue[0]
		queue = queue[1:]
		if done[of] {
			continue
		}
		done[of] = true
		all := settingsOf(t, types, of)
		title := strings.TrimSuffix(of, "Config")
		if of == "Config" {
			title = "The file"
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if of != "Config" {
			fmt.Fprintf(&b, "%s\n\n", sentence(of, texts[of]))
		}
		b.WriteString("| setting | is | |\n|---|---|---|\n")
		for _, s := range all {
			kind := s.kind
			if s.of != "" {
				kind = strings.ReplaceAll(kind, s.of, "["+strings.TrimSuffix(s.of, "Config")+"](#"+strings.ToLower(strings.TrimSuffix(s.of, "Config"))+")")
				queue = append(queue, s.of)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, kind, s.text)
		}
	}
	return b.String()
}

// settingsOf are the settings of a type, with those of what it embeds.
func settingsOf(t *testing.T, types map[string]*ast.StructType, of string) (all []setting) {
	t.Helper()
	body := types[of]
	if body == nil {
		t.Fatalf("there is no type %s", of)
	}
	before := "" // what was said of the fields above, for those that say nothing
	for _, f := range body.Fields.List {
		if len(f.Names) == 0 {
			all = append(all, settingsOf(t, types, typeName(f.Type))...)
			continue
		}
		if f.Tag == nil {
			continue
		}
		name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		s := setting{name: name}
		text := strings.TrimSpace(f.Doc.Text() + " " + f.Comment.Text())
		if text != "" {
			text = sentence(f.Names[0].Name, text)
			text, before = strings.ToUpper(text[:1])+text[1:], name
		} else if before != "" && (strings.HasSuffix(name, "Env") || strings.HasSuffix(name, "File")) {
			text = "See `" + before + "`."
		}
		if text == "" {
			t.Errorf("nothing is said of %s of %s: write a comment", name, of)
		}
		s.text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
		s.kind = kindOf(f.Type, types, &s)
		all = append(all, s)
	}
	return all
}

// sentence is a comment of the code as prose: "Listen is the address" is "The address".
func sentence(name, text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, begin := range []string{"An " + name, "A " + name, name, strings.TrimSuffix(name, "File")} {
		rest, is := strings.CutPrefix(text, begin+" ")
		if !is {
			continue
		}
		for _, verb := range []string{"is ", "are ", "says "} {
			if said, is := strings.CutPrefix(rest, verb); is {
				rest = said
				break
			}
		}
		return strings.ToUpper(rest[:1]) + rest[1:]
	}
	return text
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// kindOf says in words what a field holds.
func kindOf(e ast.Expr, types map[string]*ast.StructType, s *setting) string {
	switch e := e.(type) {
	case *ast.ArrayType:
		return "list of " + kindOf(e.Elt, types, s)
	case *ast.MapType:
		return "by " + kindOf(e.Key, types, s) + ": " + kindOf(e.Value, types, s)
	}
	name := typeName(e)
	if types[name] != nil && name != "Span" {
		s.of = name
		return name
	}
	switch name {
	case "int":
		return "number"
	case "bool":
		return "true or false"
	case "string", "Workload", "ServiceStatus", "LockMode", "PolicyID":
		return "text"
	case "Duration":
		return "duration"
	case "Span":
		return "ISO 8601"
	case "RoleMap":
		return "by role: list of text"
	case "Prefix":
		return "network"
	}
	return name
}
