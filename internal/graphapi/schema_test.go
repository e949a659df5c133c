package graphapi

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// microsoftsSchema is the schema that the table is made from, which need not be
// on the machine: shared/api/schema.json beside one of the folders above.
func microsoftsSchema() (string, bool) {
	dir, err := os.Getwd()
	for err == nil {
		file := filepath.Join(dir, "shared", "api", "schema.json")
		if _, err := os.Stat(file); err == nil {
			return file, true
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return "", false
}

// TestSchemaTable makes the table of types anew and compares it with the one
// that is committed. Without Microsoft's schema the committed one counts.
func TestSchemaTable(t *testing.T) {
	file, ok := microsoftsSchema()
	if !ok {
		t.Log("Microsoft's schema is not here: the committed table counts")
		return
	}
	type structure struct {
		Base       string            `json:"base"`
		Abstract   bool              `json:"abstract"`
		Open       bool              `json:"open"`
		Properties map[string]string `json:"properties"`
		Navigation map[string]string `json:"navigation"`
	}
	var all struct {
		Entities   map[string]structure      `json:"entities"`
		Complex    map[string]structure      `json:"complex"`
		Enums      map[string]map[string]any `json:"enums"`
		Operations []struct {
			Kind       string            `json:"kind"`
			Name       string            `json:"name"`
			Bound      string            `json:"bound"`
			Parameters map[string]string `json:"parameters"`
			Returns    []string          `json:"returns"`
		} `json:"operations"`
		Partial []string `json:"partial"`
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	kind := func(k string) string { return strings.TrimSuffix(strings.ReplaceAll(k, "Edm.", ""), " contained") }
	kinds := func(m map[string]string) map[string]string {
		for n, k := range m {
			m[n] = kind(k)
		}
		return m
	}
	made := schema{Types: map[string]schemaType{}, Enums: map[string]schemaEnum{}}
	for i, group := range []map[string]structure{all.Entities, all.Complex} {
		for name, s := range group {
			if !slices.Contains(all.Partial, name) { // those are of drives, not of backup
				made.Types[name] = schemaType{s.Base, s.Abstract, s.Open, i == 1, kinds(s.Properties), kinds(s.Navigation)}
			}
		}
	}
	for name, members := range all.Enums {
		e := schemaEnum{Flags: members["$flags"] == true}
		delete(members, "$flags")
		for m := range members {
			e.Members = append(e.Members, m)
		}
		slices.SortFunc(e.Members, func(a, b string) int { return int(members[a].(float64) - members[b].(float64)) })
		for _, m := range e.Members {
			e.Values = append(e.Values, int(members[m].(float64)))
		}
		made.Enums[name] = e
	}
	for _, o := range all.Operations {
		made.Operations = append(made.Operations, schemaOperation{o.Kind, o.Name, kind(o.Bound), kinds(o.Parameters), kind(strings.Join(o.Returns, ""))})
	}
	text, err := json.MarshalIndent(made, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile("schema.json", text, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != string(schemaText) {
		t.Error("schema.json is not what the schema gives: run go test -run TestSchemaTable -update")
	}
}

// beyond are members that Microsoft's pages show although the schema lacks
// them.
var beyond = map[string]map[string]string{
	"driveRestoreArtifact":           {"createdDateTime": "DateTimeOffset"},
	"granularDriveRestoreArtifact":   {"createdDateTime": "DateTimeOffset"},
	"siteRestoreArtifact":            {"createdDateTime": "DateTimeOffset"},
	"mailboxRestoreArtifact":         {"createdDateTime": "DateTimeOffset"},
	"granularMailboxRestoreArtifact": {"createdDateTime": "DateTimeOffset"},
	"identity":                       {"email": "String"}, // an open type
}

var duration = regexp.MustCompile(`^P(\d+[YMWD])*(T(\d+[HMS])+)?$`)

// check returns all that is wrong with a value of a kind. typed says that
// annotations are expected, since the caller did not ask for none.
func (s schema) check(where, kind string, v any, typed bool) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, where+": "+fmt.Sprintf(format, args...)) }
	kind, required := strings.CutSuffix(kind, "!")
	if v == nil {
		if required {
			add("null")
		}
		return wrong
	}
	if of, many := element(kind); many {
		list, ok := v.([]any)
		if !ok {
			add("%T, want a list", v)
		}
		for i, e := range list {
			if e == nil {
				add("a list with null")
			}
			wrong = append(wrong, s.check(fmt.Sprintf("%s[%d]", where, i), of, e, typed)...)
		}
		return wrong
	}
	switch kind {
	case "String":
		if _, ok := v.(string); !ok {
			add("%T, want a string", v)
		}
	case "Boolean":
		if _, ok := v.(bool); !ok {
			add("%T, want a boolean", v)
		}
	case "Int32":
		if n, ok := v.(float64); !ok || n != float64(int32(n)) {
			add("%v, want an Int32", v)
		}
	case "DateTimeOffset":
		text, _ := v.(string)
		if _, err := time.Parse(time.RFC3339, text); err != nil || !strings.HasSuffix(text, "Z") {
			add("%v, want a time in UTC", v)
		}
	case "Duration":
		if text, _ := v.(string); !duration.MatchString(text) {
			add("%v, want a duration", v)
		}
	default:
		if e, ok := s.Enums[kind]; ok {
			text, _ := v.(string)
			members := []string{text}
			if e.Flags {
				members = strings.Split(text, ",")
			}
			for _, m := range members {
				if !slices.Contains(e.Members, m) {
					add("%q is not in %s", text, kind)
				}
			}
			return wrong
		}
		o, ok := v.(map[string]any)
		if !ok {
			add("%T, want %s", v, kind)
			return wrong
		}
		return append(wrong, s.object(where, kind, o, typed)...)
	}
	return wrong
}

// object returns what is wrong with an object that is declared to be of a type.
// What it is in truth its @odata.type says; that may be left out only where the
// type declared has no others below it.
func (s schema) object(where, declared string, o map[string]any, typed bool) (wrong []string) {
	if _, ok := s.Types[declared]; !ok {
		return []string{where + ": the schema has no type " + declared}
	}
	_, failure := o["@Core.DataModificationException"]
	_, removed := o["@removed"]
	annotated, named := o["@odata.type"].(string)
	name := strings.TrimPrefix(annotated, "#microsoft.graph.")
	switch {
	case named && !typed:
		wrong = append(wrong, where+": @odata.type although none is wanted")
	case named && !s.isA(name, declared):
		return append(wrong, fmt.Sprintf("%s: @odata.type = %s, want %s", where, annotated, declared))
	case named:
		declared = name
	case s.Types[declared].Abstract && typed && !failure && !removed:
		wrong = append(wrong, where+": no @odata.type, though it may be any "+declared)
	}
	for member, v := range o {
		plain := strings.TrimSuffix(member, "@delta")
		k, known := s.member(declared, plain)
		if !known {
			k, known = beyond[declared][plain]
		}
		if !known && s.Types[declared].Abstract && !named { // it is one of those below
			for below := range s.Types {
				if found, ok := s.member(below, plain); ok && s.isA(below, declared) {
					k, known = found, true
				}
			}
		}
		switch {
		case known:
			wrong = append(wrong, s.check(where+"."+member, k, v, typed)...)
		case !strings.Contains(member, "@"):
			wrong = append(wrong, where+": "+declared+" has no "+member)
		}
	}
	return wrong
}

// at returns the type that an address below the version or a context names, and
// whether it is a list of them.
func (s schema) at(path string) (kind string, many, ok bool) {
	path, found := strings.CutPrefix(path, root)
	if !found {
		kind, many = element(strings.ReplaceAll(path, "microsoft.graph.", ""))
		return kind, many, s.Types[kind].Properties != nil
	}
	kind = "backupRestoreRoot"
segments:
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		name, _, keyed := strings.Cut(segment, "(")
		short := name[strings.LastIndexByte(name, '.')+1:]
		switch {
		case segment == "":
			continue
		case segment == "$entity":
			many = false
			continue
		case short != name: // a cast, or a qualified action
			if _, is := s.Types[short]; is {
				kind = short
				continue
			}
		}
		for typ := range s.Types { // what the type has, or one below it
			if k, has := s.Types[typ].Navigation[name]; has && (s.isA(typ, kind) || s.isA(kind, typ)) {
				kind, many = element(k)
				many = many && !keyed
				continue segments
			}
		}
		for _, o := range s.Operations {
			if bound, _ := element(o.Bound); o.Name == short && s.isA(kind, bound) {
				kind, many = element(o.Returns)
				continue segments
			}
		}
		if !many {
			return kind, many, false
		}
		many = false // a key
	}
	return kind, many, true
}

// checkBody reports what is wrong with a whole response: by its context, or
// without one by the address that was asked.
func (s schema) checkBody(t testing.TB, what, path string, body map[string]any, typed bool) {
	t.Helper()
	context, _ := body["@odata.context"].(string)
	if strings.HasPrefix(path, "/beta/") {
		s, context = betaSchema(), strings.Replace(context, "/beta/", "/v1.0/", 1)
	}
	_, resource, ok := strings.Cut(context, "/v1.0/$metadata#")
	switch {
	case ok != typed:
		t.Errorf("%s: @odata.context = %q", what, context)
		return
	case !typed:
		resource = strings.TrimPrefix(path, "/v1.0/")
	default:
		resource = regexp.MustCompile(`\([^'()]*(\([^()]*\)[^'()]*)*\)(/\$entity)?$`).ReplaceAllString(resource, "$2") // $select
		if strings.HasPrefix(context[strings.Index(context, "#")+1:], "Collection(") {
			resource = context[strings.Index(context, "#")+1:]
		}
	}
	if strings.HasPrefix(resource, "holdfast.") { // ours
		return
	}
	kind, _, ok := s.at(resource)
	if name, typ := strings.CutPrefix(resource, "microsoft.graph."); typ { // what a function returns
		kind, ok = name, true
	}
	if !ok {
		t.Errorf("%s: %q names nothing that the schema has", what, resource)
		return
	}
	items, list := body["value"].([]any)
	if !list {
		for _, w := range s.object(what, kind, body, typed) {
			t.Error(w)
		}
		return
	}
	for i, e := range items {
		for _, w := range s.check(fmt.Sprintf("%s value[%d]", what, i), kind, e, typed) {
			t.Error(w)
		}
	}
}

func TestTheSchemaCheckFindsWhatIsWrong(t *testing.T) {
	unit := func(members ...any) map[string]any {
		o := map[string]any{"@odata.type": "#microsoft.graph." + driveUnit, "id": "x"}
		for i := 0; i < len(members); i += 2 {
			o[members[i].(string)] = members[i+1]
		}
		return o
	}
	for _, row := range []struct {
		kind  string
		value any
	}{
		{"String", 1.0}, {"Boolean", "true"}, {"Int32", 1.5}, {"DateTimeOffset", "2015-06-19T12-01-03.45Z"},
		{"DateTimeOffset", "2015-06-19T12:01:03+01:00"}, {"Duration", "two weeks"}, {"protectionUnitStatus", "Protected"},
		{"protectionSource", "manual, dynamicRule"}, {"protectionUnitStatus", "protected,unprotected"}, {"Collection(String)", []any{nil, 2.0}}, {"String!", nil},
		{driveUnit, unit("userId", "x")}, {driveUnit, unit("protectionSources", nil)}, {"protectionUnitBase", map[string]any{"id": "x"}},
		{driveUnit, unit("@odata.type", "#microsoft.graph.siteProtectionUnit")}, {"Collection(" + driveUnit + ")", map[string]any{}},
	} {
		if len(theSchema().check("", row.kind, row.value, true)) == 0 {
			t.Errorf("nothing is wrong with %v as %s", row.value, row.kind)
		}
	}
	if wrong := theSchema().check("", "Collection(protectionUnitBase)", []any{unit("directoryObjectId", "x", "error", nil)}, true); len(wrong) > 0 {
		t.Error(wrong)
	}
	for path, want := range map[string]string{
		root: "backupRestoreRoot", root + "/protectionUnits": "protectionUnitBase", root + "/protectionUnits/graph.driveProtectionUnit": driveUnit,
		root + "/oneDriveForBusinessRestoreSessions('a(b')/driveRestoreArtifacts/$entity": driveArtifact, root + "/protectionPolicies/x/activate": "protectionPolicyBase",
		root + "/restorePoints/x/protectionUnit": "protectionUnitBase", "microsoft.graph.restorePointSearchResponse": "restorePointSearchResponse",
	} {
		if got, _, ok := theSchema().at(path); got != want || !ok {
			t.Errorf("%s is of type %s, %t", path, got, ok)
		}
	}
}

// Each type that a route shows is Microsoft's, with Microsoft's properties.
func TestRoutesShowWhatTheSchemaHas(t *testing.T) {
	for _, r := range routes(described) {
		if r.entity == nil || strings.HasPrefix(r.entity.name, "holdfast.") { // ours
			continue
		}
		if _, ok := theSchema().Types[r.entity.name]; !ok {
			t.Errorf("%s %s shows %q, which the schema lacks", r.method, r.path, r.entity.name)
			continue
		}
		for _, p := range append(slices.Clone(r.entity.properties), "id") {
			if len(holders(r.entity.name, p)) == 0 {
				t.Errorf("%s has no %s", r.entity.name, p)
			}
		}
	}
}

// holders are the types that have a property, of a type and of those derived from
// it: what a set of all shows is of several.
func holders(typ, property string) []string { return holdersIn(theSchema(), typ, property) }

func holdersIn(s schema, typ, property string) (names []string) {
	for name := range s.Types {
		if _, ok := s.member(name, property); ok && s.isA(name, typ) {
			names = append(names, name)
		}
	}
	return names
}

func TestMetadata(t *testing.T) {
	w := sqlite(t)
	c := &client{w, ""} // without a token
	got := c.do("GET", "/v1.0/$metadata", nil).want(200)
	if got.header.Get("Content-Type") != "application/xml" {
		t.Errorf("Content-Type = %s", got.header.Get("Content-Type"))
	}
	type named struct {
		Name       string `xml:"Name,attr"`
		Type       string `xml:"Type,attr"`
		BaseType   string `xml:"BaseType,attr"`
		Properties []struct {
			Name string `xml:"Name,attr"`
			Type string `xml:"Type,attr"`
		} `xml:",any"`
	}
	var doc struct {
		Services struct {
			Schema struct {
				Entities []named `xml:"EntityType"`
				Complex  []named `xml:"ComplexType"`
				Enums    []named `xml:"EnumType"`
				Actions  []named `xml:"Action"`
			} `xml:"Schema"`
		} `xml:"DataServices"`
	}
	if err := xml.Unmarshal([]byte(got.text), &doc); err != nil {
		t.Fatal(err)
	}
	types := map[string]map[string]string{}
	all := doc.Services.Schema
	for _, group := range [][]named{all.Entities, all.Complex, all.Enums} {
		for _, n := range group {
			if types[n.Name] != nil {
				t.Errorf("%s occurs twice", n.Name)
			}
			types[n.Name] = map[string]string{"": n.BaseType}
			for _, p := range n.Properties {
				types[n.Name][p.Name] = p.Type
			}
		}
	}
	for name, properties := range types { // it is closed
		for p, typ := range properties {
			typ = strings.TrimSuffix(strings.TrimPrefix(typ, "Collection("), ")")
			if short, ours := strings.CutPrefix(typ, "graph."); ours && types[short] == nil {
				t.Errorf("%s.%s is of the type %s, which is not there", name, p, short)
			}
		}
	}
	for _, r := range routes(described) {
		if r.entity == nil || strings.HasPrefix(r.entity.name, "holdfast.") { // ours
			continue
		}
		for _, p := range r.entity.properties {
			if !slices.ContainsFunc(holders(r.entity.name, p), func(typ string) bool {
				for typ != "" && types[typ][p] == "" {
					typ = strings.TrimPrefix(types[typ][""], "graph.")
				}
				return typ != ""
			}) {
				t.Errorf("the metadata lack %s.%s", r.entity.name, p)
			}
		}
	}
	if len(all.Actions) < 4 || types[driveUnit]["directoryObjectId"] != "Edm.String" || types["backupRestoreRoot"]["protectionUnits"] != "Collection(graph.protectionUnitBase)" ||
		types["siteProtectionUnit"]["siteId"] != "Edm.String" || types["mailboxProtectionUnit"]["directoryObjectId"] != "Edm.String" ||
		types["granularMailboxRestoreArtifact"][""] != "graph.mailboxRestoreArtifact" || types["exchangeBrowseSession"] != nil {
		t.Errorf("metadata = %s", got.text)
	}
	drives := sqlite(t, func(c *Config) { c.Workloads = nil })
	if got := (&client{drives, ""}).do("GET", "/v1.0/$metadata", nil).want(200); !strings.Contains(got.text, "driveProtectionUnit") || strings.Contains(got.text, "siteProtection") || strings.Contains(got.text, "sharePoint") || strings.Contains(got.text, "mailbox") {
		t.Errorf("the metadata of a server of drives alone = %s", got.text)
	}
	service := c.do("GET", "/v1.0/", nil).want(200)
	if service.str("value.0.name") != "solutions" || service.json["@odata.context"] != host+"/v1.0/$metadata" {
		t.Errorf("the service document = %s", service.text)
	}
	c.do("GET", "/V1.0/$METADATA", nil).want(200)
	if got := c.do("POST", "/v1.0/$metadata", "{}").want(405); got.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("Allow = %s", got.header.Get("Allow"))
	}
	c.do("OPTIONS", "/v1.0", nil).want(204)
	c.do("HEAD", "/v1.0/$metadata", nil).want(200)
}
