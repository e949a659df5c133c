package graphapi

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

// docs/api.md names all that the API serves, and is made of the table of routes:
// 'go test ./internal/graphapi -run TestTheAPIIsDocumented -update'.
func TestTheAPIIsDocumented(t *testing.T) {
	const page = "../../docs/api.md"
	want := apiPage()
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
		t.Errorf("docs/api.md is not what is served; run this with -update (-page +code)\n%s", diff)
	}
}

func apiPage() string {
	var b strings.Builder
	b.WriteString(`# The API

All that a server answers to, made from its table of routes: do not edit this page. It is Microsoft's
[Backup Storage API](https://learn.microsoft.com/en-us/graph/api/resources/backuprestoreroot) below
` + "`/v1.0/solutions/backupRestore`" + `, and all of that again below ` + "`/beta/solutions/backupRestore`" + `. Where the two
differ is in [divergences](divergences.md); ` + "`GET /v1.0/$metadata`" + ` describes each type.

A *permission* is the least that suffices, without its ` + "`BackupRestore-`" + `; one that may write may read.
*Users only* says that no application may do it for itself. *Roles* are those that suffice where a
tenant has [roles](entra.md#what-people-may-do). What is *ours*, and not Microsoft's, bears
` + "`holdfast.`" + ` in its name. Addresses take keys as ` + "`set('{id}')`" + ` and casts with their prefix, too.
`)
	sections := map[string][]route{}
	var order []string
	add := func(title string, all []route) {
		for _, r := range all {
			of := title
			if r.of != nil && title == "" {
				of = map[backup.Workload]string{backup.OneDrive: "Drives", backup.SharePoint: "Sites", backup.Exchange: "Mailboxes"}[r.of.kind]
			}
			if of == "" {
				of = "Of all"
			}
			if sections[of] == nil {
				order = append(order, of)
			}
			sections[of] = append(sections[of], r)
		}
	}
	add("", routes(described))
	add("Of beta only", beta(described))
	add("Outside", outside())
	for _, title := range order {
		fmt.Fprintf(&b, "\n## %s\n\n| request | permission | roles | query options |\n|---|---|---|---|\n", title)
		for _, r := range sections[title] {
			path := r.path
			if !strings.HasPrefix(path, "/") {
				path = "/" + path
			}
			var options []string
			for _, o := range r.options {
				options = append(options, fmt.Sprintf("`$%s`", o))
			}
			fmt.Fprintf(&b, "| `%s %s` | %s | %s | %s |\n", r.method, path, permissionOf(r), rolesOf(r), strings.Join(options, " "))
		}
	}
	return b.String()
}

func permissionOf(r route) string {
	switch r.access {
	case anybody:
		return "none, and no token"
	case anyToken:
		if r.path == "holdfast.me" {
			return "any token"
		}
		return "any token; each request in it its own"
	}
	need := identity.Table[r.op]
	text := "`" + strings.TrimPrefix(string(need.Least()), "BackupRestore-") + "`"
	if len(need.Application) == 0 {
		text += ", users only"
	}
	return text
}

func rolesOf(r route) string {
	if r.access != byPermission {
		return ""
	}
	var names []string
	for _, role := range identity.Roles {
		if role.Allows(r.op) {
			names = append(names, string(role))
		}
	}
	if slices.Contains(names, string(identity.Reader)) {
		return "any"
	}
	return strings.Join(names, ", ")
}
