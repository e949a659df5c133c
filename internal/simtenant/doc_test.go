package simtenant

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/odata"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/tenant.md")

// tables are the parts of docs/tenant.md that follow from the code, by the name
// between the marks that they stand between.
func tables() map[string]string {
	var routes, profiles, controls, options, faults, requests strings.Builder
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	fmt.Fprintf(&routes, "| route | does | does not | query options |\n| --- | --- | --- | --- |\n")
	for _, r := range Routes() {
		var names []string
		for _, name := range strings.Fields(r.Options) {
			names = append(names, "`$"+name+"`")
		}
		fmt.Fprintf(&routes, "| `%s %s` | %s | %s | %s |\n", r.Method, r.Path, cell(r.Does), cell(r.DoesNot), strings.Join(names, " "))
	}
	for _, kind := range []struct {
		title           string
		restoring, mail bool
	}{
		{"Profiles that mislead those who read drives", false, false}, {"Profiles that mislead those who write drives", true, false},
		{"Profiles that mislead those who read mailboxes", false, true}, {"Profiles that mislead those who write mailboxes", true, true},
	} {
		fmt.Fprintf(&profiles, "### %s\n\n| profile | imitates |\n| --- | --- |\n", kind.title)
		said := ""
		var lines []string
		for _, p := range AllProfiles() {
			if p.Restoring != kind.restoring || p.Mail != kind.mail {
				continue
			}
			if !strings.HasPrefix(p.Imitates, "The same") {
				said = p.Imitates
			}
			line := p.Imitates
			if line != said {
				line += " (" + strings.TrimSuffix(said, ".") + ")"
			}
			lines = append(lines, fmt.Sprintf("| `%s` | %s |\n", cell(p.Name), cell(line)))
		}
		slices.Sort(lines)
		profiles.WriteString(strings.Join(lines, "") + "\n")
	}
	fmt.Fprintf(&controls, "| call | does |\n| --- | --- |\n")
	for _, r := range ControlRoutes() {
		fmt.Fprintf(&controls, "| `%s %s%s` | %s |\n", r.Method, controlPrefix, r.Path, cell(r.Does))
	}
	fmt.Fprintf(&options, "| habit | what the service does |\n| --- | --- |\n")
	for _, h := range membersOf("faults.go", "Options") {
		fmt.Fprintf(&options, "| `%s` | %s |\n", h[0], cell(h[1]))
	}
	fmt.Fprintf(&faults, "| of a fault | says |\n| --- | --- |\n")
	for _, m := range membersOf("control.go", "FaultRule") {
		fmt.Fprintf(&faults, "| `%s` | %s |\n", m[0], cell(m[1]))
	}
	fmt.Fprintf(&requests, "| of a request | says |\n| --- | --- |\n")
	for _, m := range membersOf("control.go", "Request") {
		fmt.Fprintf(&requests, "| `%s` | %s |\n", m[0], cell(m[1]))
	}
	var queries strings.Builder
	fmt.Fprintf(&queries, "| of | in `$filter` and, but for `any`, in `$orderby` |\n| --- | --- |\n")
	for _, of := range []struct {
		what string
		list []odata.Property
	}{{"messages", messageProperties}, {"events, calendarView, instances", eventProperties}, {"contacts", contactProperties}, {"tasks", taskProperties}, {"mailFolders", mailFolderProperties}, {"users", userProperties}, {"groups", groupProperties}} {
		var names []string
		for _, p := range of.list {
			name := p.Name
			if p.Many {
				name, rest, _ := strings.Cut(p.Name, "/")
				names = append(names, "`"+name+"/any(x:x"+strings.TrimSuffix("/"+rest, "/")+" eq '…')`")
				continue
			}
			names = append(names, "`"+name+"`")
		}
		fmt.Fprintf(&queries, "| %s | %s |\n", of.what, strings.Join(names, " "))
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(searched)) {
		words = append(words, "`"+name+"`")
	}
	fmt.Fprintf(&queries, "| messages, by `$search` | %s |\n", strings.Join(words, " "))
	return map[string]string{
		"queries": queries.String(),
		"routes":  routes.String(), "profiles": strings.TrimSpace(profiles.String()) + "\n", "controls": controls.String(), "habits": options.String(),
		"faults": faults.String(), "requests": requests.String(),
	}
}

// membersOf reads the members of a type, as they are on the wire, and what is said of
// them out of the code.
func membersOf(file, kind string) (list [][2]string) {
	data, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	_, text, _ := strings.Cut(string(data), "type "+kind+" struct {\n")
	text, _, _ = strings.Cut(text, "\n}")
	said := ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if words, ok := strings.CutPrefix(line, "// "); ok {
			said = strings.TrimSpace(said + " " + words)
			continue
		}
		_, name, wire := strings.Cut(line, `json:"`)
		if !wire {
			continue
		}
		name, _, _ = strings.Cut(name, `"`)
		name, _, _ = strings.Cut(name, ",")
		if _, words, ok := strings.Cut(line, "// "); ok {
			said = words
		}
		if first, words, _ := strings.Cut(said, " "); strings.EqualFold(first, name) {
			_, words, _ = strings.Cut(words, " ") // is, or has
			said = strings.TrimSuffix(words, ".")
		}
		list = append(list, [2]string{name, said})
		said = ""
	}
	return list
}

// docs/tenant.md says of routes, profiles and controls what the code does.
func TestTheDocumentIsTheCodes(t *testing.T) {
	const path = "../../docs/tenant.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	for name, want := range tables() {
		begin, end := "<!-- "+name+": made from the code -->\n\n", "\n<!-- end of "+name+" -->"
		before, rest, ok := strings.Cut(doc, begin)
		have, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("the document has no place for the %s", name)
		}
		if have != want {
			doc = before + begin + want + end + after
			if !*update {
				t.Errorf("what the document says of the %s is not what the code does; go test ./internal/simtenant -run TestTheDocument -update", name)
			}
		}
	}
	if *update && doc != string(data) {
		if err := os.WriteFile(path, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range AllProfiles() {
		if p.Imitates == "" {
			t.Errorf("nothing is said of the profile %q", p.Name)
		}
	}
	for _, of := range [][2]string{{"faults.go", "Options"}, {"control.go", "FaultRule"}, {"control.go", "Request"}} {
		list := membersOf(of[0], of[1])
		if len(list) == 0 {
			t.Errorf("nothing is said of %s", of[1])
		}
		for _, h := range list {
			if h[0] == "" || h[1] == "" {
				t.Errorf("nothing is said of %s of %s: %q", h[0], of[1], h[1])
			}
		}
	}
}
