package identity

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// A Role is what a person may do here at most. It gives nothing that the token's
// scopes do not give: what is allowed is what both allow. Where a tenant gives no
// roles, scopes alone decide, as at Microsoft.
//
// Roles are of people. An application acts for itself with what an administrator
// consented to.
type Role string

// The roles. Text says what each is for.
const (
	Reader        Role = "reader"
	Operator      Role = "operator"
	Restorer      Role = "restorer"
	Auditor       Role = "auditor"
	Administrator Role = "administrator"
)

// Roles is every role there is.
var Roles = []Role{Reader, Operator, Restorer, Auditor, Administrator}

// Claim is how Entra ID calls the role in tokens, where people are assigned to it
// there.
func (r Role) Claim() string { return "Holdfast." + strings.ToUpper(string(r[:1])) + string(r[1:]) }

// Title is how Entra ID shows the role to people.
func (r Role) Title() string { return "Backup " + string(r) }

// Text says what the role is for.
func (r Role) Text() string {
	return map[Role]string{
		Reader:        "sees policies, units, restore points and restores, and changes nothing.",
		Operator:      "sees what a reader sees, and changes what is protected.",
		Restorer:      "sees what a reader sees, looks into backups and restores them.",
		Auditor:       "sees what a reader sees, and who did what.",
		Administrator: "may do all.",
	}[r]
}

// reads are the permissions for what anybody with a role may do.
var reads = []Permission{ConfigurationRead, ControlRead, RestoreRead, SearchRead}

// writes is the permission that a role has besides.
var writes = map[Role]Permission{Operator: ConfigurationWrite, Restorer: RestoreWrite}

// Allows reports whether the role goes as far as op.
func (r Role) Allows(op Operation) bool {
	need, known := Table[op]
	switch {
	case !known || !slices.Contains(Roles, r):
		return false
	case r == Administrator:
		return true
	case op == ListActivities || op == GetActivity:
		return r == Auditor
	}
	least := need.Least()
	return slices.Contains(reads, least) || writes[r] == least
}

// A RoleMap says which groups of a tenant's directory have which role, by their ids.
type RoleMap map[Role][]string

// roles are those of a person whose token tells of these roles and groups.
// Whether any were looked for is said too: who has none then may do nothing.
func (m RoleMap) roles(claimed, groups []string) (roles []Role, narrowed bool) {
	narrowed = m != nil
	for _, role := range Roles {
		byName := slices.Contains(claimed, role.Claim())
		if byName || slices.ContainsFunc(m[role], func(id string) bool {
			return slices.ContainsFunc(groups, func(g string) bool { return strings.EqualFold(g, id) })
		}) {
			roles = append(roles, role)
		}
		narrowed = narrowed || byName
	}
	return roles, narrowed
}

// CheckRole says what a caller's roles lack for op, in a sentence for that person;
// nil if nothing.
func (c Caller) CheckRole(op Operation) error {
	if !c.Narrowed || slices.ContainsFunc(c.Roles, func(r Role) bool { return r.Allows(op) }) {
		return nil
	}
	var suffice []string
	for _, r := range Roles {
		if r.Allows(op) {
			suffice = append(suffice, string(r))
		}
	}
	have := "You have no role here"
	switch {
	case len(c.Roles) > 0:
		names := make([]string, len(c.Roles))
		for i, r := range c.Roles {
			names[i] = string(r)
		}
		have = "Your role here, " + strings.Join(names, " and ") + ", does not go so far"
	case c.GroupsLeftOut:
		have = "You are in more groups than a token tells of, so that no role of yours can be known by them"
	}
	return backup.Fail(backup.AuthorizationDenied, fmt.Sprintf("%s. Ask an administrator for the role %s, and sign in again.", have, strings.Join(suffice, " or ")))
}
