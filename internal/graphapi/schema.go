package graphapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A schema is Microsoft's, as far as backup is concerned: the types, and which
// properties each has of which kind.
type schema struct {
	Types      map[string]schemaType `json:"types"`
	Enums      map[string]schemaEnum `json:"enums"`
	Operations []schemaOperation     `json:"operations"`
}

// A schemaType is an entity, or a structure within one. An exclamation mark
// behind a kind says that the property is never null.
type schemaType struct {
	Base       string            `json:"base,omitempty"`
	Abstract   bool              `json:"abstract,omitempty"`
	Open       bool              `json:"open,omitempty"`
	Complex    bool              `json:"complex,omitempty"`
	Properties map[string]string `json:"properties"`
	Navigation map[string]string `json:"navigation,omitempty"`
}

type schemaEnum struct {
	Members []string `json:"members"`
	Values  []int    `json:"values"`
	Flags   bool     `json:"flags,omitempty"`
}

type schemaOperation struct {
	Kind       string            `json:"kind"` // action or function
	Name       string            `json:"name"`
	Bound      string            `json:"bound"`
	Parameters map[string]string `json:"parameters"`
	Returns    string            `json:"returns"`
}

// TestSchemaTable makes the table from Microsoft's schema and rewrites it under
// -update.
//
//go:embed schema.json
var schemaText []byte

// theSchema is read when it is first wanted.
var theSchema = sync.OnceValue(func() (s schema) {
	if err := json.Unmarshal(schemaText, &s); err != nil {
		panic(err)
	}
	return s
})

// What the beta version adds to it, from Microsoft's pages: of types that both have
// the properties alone.
//
//go:embed schema_beta.json
var betaText []byte

// betaSchema is the schema of the beta version.
var betaSchema = sync.OnceValue(func() (s schema) {
	if err := json.Unmarshal(schemaText, &s); err != nil {
		panic(err)
	}
	var more schema
	if err := json.Unmarshal(betaText, &more); err != nil {
		panic(err)
	}
	for name, t := range more.Types {
		if known, ok := s.Types[name]; ok {
			maps.Copy(known.Properties, t.Properties)
			if known.Navigation != nil {
				maps.Copy(known.Navigation, t.Navigation)
			}
			continue
		}
		s.Types[name] = t
	}
	maps.Copy(s.Enums, more.Enums)
	s.Operations = append(s.Operations, more.Operations...)
	return s
})

// isA reports whether a type is another or is derived from it.
func (s schema) isA(name, base string) bool {
	for name != "" && name != base {
		name = s.Types[name].Base
	}
	return name != ""
}

// member returns the kind of a property of a type or of its bases.
func (s schema) member(typ, name string) (string, bool) {
	for typ != "" {
		t := s.Types[typ]
		if k, ok := t.Properties[name]; ok {
			return k, true
		}
		if k, ok := t.Navigation[name]; ok {
			return k, true
		}
		typ = t.Base
	}
	return "", false
}

// element returns what a kind is of: X for Collection(X), and for X!.
func element(kind string) (name string, many bool) {
	kind = strings.TrimSuffix(kind, "!")
	name, many = strings.CutPrefix(kind, "Collection(")
	return strings.TrimSuffix(name, ")"), many
}

// edm is a kind as metadata has it.
func (s schema) edm(kind string) string {
	name, many := element(kind)
	_, typ := s.Types[name]
	_, enum := s.Enums[name]
	if typ || enum {
		name = "graph." + name
	} else {
		name = "Edm." + name
	}
	if many {
		return "Collection(" + name + ")"
	}
	return name
}

// metadata describes in CSDL, by a schema, what the routes serve: the types that they show
// with the properties that may be selected, the structures and enumerations in
// these, the sets, and the actions and functions.
func metadata(table []route, s schema) []byte {
	shown := map[string]map[string]bool{"backupRestoreRoot": {}} // properties by type, as selectable
	segments, first, actions := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, r := range table {
		parts := strings.Split(r.path, "/")
		first[parts[0]] = true
		for _, p := range parts {
			segments[p] = true
		}
		if r.action {
			actions[parts[len(parts)-1]] = true
		}
		if r.entity == nil {
			continue
		}
		for _, name := range append(r.entity.of, r.entity.name) {
			if shown[name] == nil {
				shown[name] = map[string]bool{}
			}
			for _, p := range r.entity.properties {
				shown[name][p] = true
			}
		}
	}

	// A type has a property when it, or a type derived from it, shows it.
	has := func(typ, property string) bool {
		for name, properties := range shown {
			if properties[property] && s.isA(name, typ) {
				return true
			}
		}
		return false
	}
	served := func(typ string) bool {
		for name := range shown {
			if s.isA(name, typ) {
				return true
			}
		}
		return false
	}
	var b strings.Builder
	used := map[string]bool{}
	var use func(kind string)
	use = func(kind string) {
		name, _ := element(kind)
		t, isType := s.Types[name]
		if _, isEnum := s.Enums[name]; used[name] || !isEnum && (!isType || !t.Complex) {
			return
		}
		used[name] = true
		for _, k := range t.Properties {
			use(k)
		}
	}
	property := func(name, kind string) {
		null := ""
		if strings.HasSuffix(kind, "!") {
			null = ` Nullable="false"`
		}
		use(kind)
		fmt.Fprintf(&b, "        <Property Name=%q Type=%q%s/>\n", name, s.edm(kind), null)
	}
	attributes := func(t schemaType) (a string) {
		if t.Base != "" {
			a += fmt.Sprintf(" BaseType=%q", "graph."+t.Base)
		}
		if t.Abstract {
			a += ` Abstract="true"`
		}
		if t.Open {
			a += ` OpenType="true"`
		}
		return a
	}

	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
  <edmx:DataServices>
    <Schema Namespace="microsoft.graph" Alias="graph" xmlns="http://docs.oasis-open.org/odata/ns/edm">
`)
	for _, name := range slices.Sorted(maps.Keys(s.Types)) {
		t := s.Types[name]
		if t.Complex || !served(name) {
			continue
		}
		fmt.Fprintf(&b, "      <EntityType Name=%q%s>\n", name, attributes(t))
		if _, ok := t.Properties["id"]; ok && t.Base == "" {
			b.WriteString("        <Key>\n          <PropertyRef Name=\"id\"/>\n        </Key>\n")
		}
		for _, p := range slices.Sorted(maps.Keys(t.Properties)) {
			if has(name, p) {
				property(p, t.Properties[p])
			}
		}
		for _, n := range slices.Sorted(maps.Keys(t.Navigation)) {
			target, _ := element(t.Navigation[n])
			reachable := segments[n]
			if name == "backupRestoreRoot" {
				reachable = first[n]
			}
			if served(target) && (reachable || has(name, n)) {
				fmt.Fprintf(&b, "        <NavigationProperty Name=%q Type=%q ContainsTarget=\"true\"/>\n", n, s.edm(t.Navigation[n]))
			}
		}
		b.WriteString("      </EntityType>\n")
	}
	b.WriteString(`      <EntityType Name="solutionsRoot">
        <NavigationProperty Name="backupRestore" Type="graph.backupRestoreRoot" ContainsTarget="true"/>
      </EntityType>
`)
	for _, o := range s.Operations {
		bound, _ := element(o.Bound)
		kind := "Action"
		if o.Kind == "function" {
			kind = "Function"
		}
		if actions[o.Name] != (kind == "Action") || !segments[o.Name] || !served(bound) {
			continue
		}
		fmt.Fprintf(&b, "      <%s Name=%q IsBound=\"true\">\n        <Parameter Name=\"bindingParameter\" Type=%q/>\n", kind, o.Name, s.edm(o.Bound))
		for _, p := range slices.Sorted(maps.Keys(o.Parameters)) {
			use(o.Parameters[p])
			fmt.Fprintf(&b, "        <Parameter Name=%q Type=%q/>\n", p, s.edm(o.Parameters[p]))
		}
		use(o.Returns)
		fmt.Fprintf(&b, "        <ReturnType Type=%q/>\n      </%s>\n", s.edm(o.Returns), kind)
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if e, ok := s.Enums[name]; ok {
			flags := ""
			if e.Flags {
				flags = ` IsFlags="true"`
			}
			fmt.Fprintf(&b, "      <EnumType Name=%q%s>\n", name, flags)
			for i, m := range e.Members {
				fmt.Fprintf(&b, "        <Member Name=%q Value=\"%d\"/>\n", m, e.Values[i])
			}
			b.WriteString("      </EnumType>\n")
			continue
		}
		t := s.Types[name]
		fmt.Fprintf(&b, "      <ComplexType Name=%q%s>\n", name, attributes(t))
		for _, p := range slices.Sorted(maps.Keys(t.Properties)) {
			property(p, t.Properties[p])
		}
		b.WriteString("      </ComplexType>\n")
	}
	b.WriteString(`      <EntityContainer Name="GraphService">
        <Singleton Name="solutions" Type="graph.solutionsRoot"/>
      </EntityContainer>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>
`)
	return []byte(b.String())
}
