package graphapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A schema says which members each type has, and of which kind. An exclamation
// mark means that a member is never null.
type schema struct {
	Types map[string]map[string]string `json:"types"`
	Enums map[string][]string          `json:"enums"`
}

//go:embed testdata/schema.json
var schemaText []byte

var wireSchema = func() (s schema) {
	if err := json.Unmarshal(schemaText, &s); err != nil {
		panic(err)
	}
	return s
}()

// beyond are members that Microsoft's pages show although the schema lacks
// them.
var beyond = map[string]map[string]string{
	"driveRestoreArtifact":                {"createdDateTime": "DateTimeOffset"},
	"oneDriveForBusinessProtectionPolicy": {"driveProtectionUnits@delta": "Collection(driveProtectionUnit)"},
	"oneDriveForBusinessRestoreSession":   {"driveRestoreArtifacts@delta": "Collection(driveRestoreArtifact)"},
}

var duration = regexp.MustCompile(`^P(\d+[YMWD])*(T(\d+[HMS])+)?$`)

// check returns all that is wrong with a value of a kind. typed says that
// annotations are expected, since the caller asked for them.
func (s schema) check(where, kind string, v any, typed bool) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, where+": "+fmt.Sprintf(format, args...)) }
	kind, required := strings.CutSuffix(kind, "!")
	if v == nil {
		if required {
			add("null")
		}
		return wrong
	}
	if element, ok := strings.CutPrefix(kind, "Collection("); ok {
		list, ok := v.([]any)
		if !ok {
			add("%T, want a list", v)
		}
		for i, e := range list {
			wrong = append(wrong, s.check(fmt.Sprintf("%s[%d]", where, i), strings.TrimSuffix(element, ")"), e, typed)...)
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
		if values, ok := s.Enums[kind]; ok {
			text, _ := v.(string)
			for m := range strings.SplitSeq(text, ",") {
				if !slices.Contains(values, m) {
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

func (s schema) object(where, kind string, o map[string]any, typed bool) (wrong []string) {
	members, ok := s.Types[kind]
	if !ok {
		return []string{where + ": the schema has no type " + kind}
	}
	_, failure := o["@Core.DataModificationException"]
	_, removed := o["@removed"]
	_, entity := members["id"]
	entity = entity && kind != "identity"
	if got := o["@odata.type"]; typed && entity && !failure && !removed && got != "#microsoft.graph."+kind {
		wrong = append(wrong, fmt.Sprintf("%s: @odata.type = %v, want %s", where, got, kind))
	}
	for name, v := range o {
		k, known := members[name]
		if !known {
			k, known = beyond[kind][name]
		}
		switch {
		case known:
			wrong = append(wrong, s.check(where+"."+name, k, v, typed)...)
		case !strings.HasPrefix(name, "@"):
			wrong = append(wrong, where+": "+kind+" has no "+name)
		}
	}
	return wrong
}

// checkBody reports what is wrong with a whole response, by its context.
func (s schema) checkBody(t testing.TB, what string, body map[string]any, typed bool) {
	t.Helper()
	context, _ := body["@odata.context"].(string)
	if !strings.Contains(context, "/v1.0/$metadata#") {
		t.Errorf("%s: @odata.context = %q", what, context)
		return
	}
	_, resource, _ := strings.Cut(context, "#")
	if name, ok := strings.CutPrefix(resource, "microsoft.graph."); ok {
		for _, w := range s.object(what, name, body, typed) {
			t.Error(w)
		}
		return
	}
	if strings.HasPrefix(resource, "holdfast.") { // ours
		return
	}
	resource, single := strings.CutSuffix(resource, "/$entity")
	resource = regexp.MustCompile(`\([^')]*\)$`).ReplaceAllString(resource, "") // $select
	kind, ok := map[string]string{
		root:                         "backupRestoreRoot",
		root + "/" + serviceAppSet:   serviceApp,
		root + "/" + emailSetting:    "emailNotificationsSetting",
		root + "/" + policySet:       drivePolicy,
		root + "/" + drivePolicySet:  drivePolicy,
		root + "/" + unitSet:         driveUnit,
		root + "/" + driveUnitSet:    driveUnit,
		root + "/" + bulkJobSet:      driveBulkJob,
		root + "/" + ruleSet:         driveRule,
		root + "/" + pointSet:        restorePoint,
		root + "/" + sessionSet:      driveSession,
		root + "/" + driveSessionSet: driveSession,
	}[strings.Split(resource, "/microsoft.graph.")[0]]
	if !ok && strings.HasSuffix(resource, "/"+artifactSet) {
		kind = driveArtifact
	} else if !ok {
		t.Errorf("%s: @odata.context %q names nothing that is known", what, context)
		return
	}
	if single {
		for _, w := range s.object(what, kind, body, typed) {
			t.Error(w)
		}
		return
	}
	items, ok := body["value"].([]any)
	if !ok {
		t.Errorf("%s: a collection without value", what)
	}
	for i, e := range items {
		for _, w := range s.check(fmt.Sprintf("%s value[%d]", what, i), kind, e, typed) {
			t.Error(w)
		}
	}
}

func TestTheSchemaCheckFindsWhatIsWrong(t *testing.T) {
	for _, row := range []struct {
		kind  string
		value any
	}{
		{"String", 1.0}, {"Boolean", "true"}, {"Int32", 1.5}, {"DateTimeOffset", "2015-06-19T12-01-03.45Z"},
		{"DateTimeOffset", "2015-06-19T12:01:03+01:00"}, {"Duration", "two weeks"}, {"protectionUnitStatus", "Protected"},
		{"protectionSource", "manual, dynamicRule"}, {"Collection(String)", []any{nil, 2.0}}, {"String!", nil},
		{driveUnit, map[string]any{"@odata.type": "#microsoft.graph." + driveUnit, "userId": "x"}},
		{driveUnit, map[string]any{"id": "x"}},
	} {
		if len(wireSchema.check("", row.kind, row.value, true)) == 0 {
			t.Errorf("nothing is wrong with %v as %s", row.value, row.kind)
		}
	}
}
