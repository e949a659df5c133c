package identity

import (
	"fmt"
	"maps"
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

// CheckApproval says why a caller who may approve something may not approve what is of a
// kind; nil if they may. A restore takes what restoring does. What has backups be kept for
// a shorter time takes what changing the configuration does, and an administrator, whose
// role is for all of the tenant.
func (c Caller) CheckApproval(kind backup.ApprovalKind) error {
	need := ConfigurationWrite
	if kind == backup.ApprovalRestore {
		need = RestoreWrite
	}
	if !c.Granted[need] {
		return backup.Fail(backup.AuthorizationDenied, "The token does not carry the permission that this takes, "+string(need)+". Ask an administrator to grant it, and get a new token.")
	}
	if kind != backup.ApprovalRestore && c.Narrowed && !slices.Contains(c.Roles, Administrator) {
		return backup.Fail(backup.AuthorizationDenied, "What has backups be kept for a shorter time is for an administrator to approve or deny, and that is not your role here. Ask one.")
	}
	return nil
}

// A RoleMap says which groups of a tenant's directory have which role, by their ids.
type RoleMap map[Role][]string

// has reports whether one of these groups has a role.
func (m RoleMap) has(role Role, groups []string) bool {
	return slices.ContainsFunc(m[role], func(id string) bool {
		return slices.ContainsFunc(groups, func(g string) bool { return strings.EqualFold(g, id) })
	})
}

// A TenantRoles says who has which role in a tenant: in all of it, and within scopes,
// by their names.
type TenantRoles struct {
	All    RoleMap
	Scopes map[string]RoleMap
}

// limited are the roles that a person has within scopes only, by these groups.
func (t TenantRoles) limited(groups []string) (all []Limited) {
	for _, name := range slices.Sorted(maps.Keys(t.Scopes)) {
		for _, role := range Roles {
			if t.Scopes[name].has(role, groups) {
				all = append(all, Limited{role, name})
			}
		}
	}
	return all
}

// roles are those of a person whose token tells of these roles and groups.
// Whether any were looked for is said too: who has none then may do nothing.
func (t TenantRoles) roles(claimed, groups []string) (roles []Role, narrowed bool) {
	narrowed = t.All != nil || t.Scopes != nil
	for _, role := range Roles {
		byName := slices.Contains(claimed, role.Claim())
		if byName || t.All.has(role, groups) {
			roles = append(roles, role)
		}
		narrowed = narrowed || byName
	}
	return roles, narrowed
}

// CheckRole says what a caller's roles lack for op, in a sentence for that person;
// nil if nothing.
func (c Caller) CheckRole(op Operation) error {
	scopes, limited := c.Scopes(op)
	if !limited || len(scopes) > 0 && Reaches[op] != Unlimited {
		return nil
	}
	var suffice []string
	for _, r := range Roles {
		if r.Allows(op) {
			suffice = append(suffice, string(r))
		}
	}
	roles := strings.Join(suffice, " or ")
	if len(scopes) > 0 {
		return backup.Fail(backup.AuthorizationDenied, fmt.Sprintf("Your role here is limited to %s, and this cannot be done for a part of the tenant. Ask somebody whose role %s is not limited.", strings.Join(scopes, " and "), roles))
	}
	have := "You have no role here"
	switch {
	case len(c.Roles)+len(c.Limited) > 0:
		var names []string
		for _, r := range c.Roles {
			names = append(names, string(r))
		}
		for _, l := range c.Limited {
			names = append(names, string(l.Role)+" of "+l.Scope)
		}
		have = "Your role here, " + strings.Join(names, " and ") + ", does not go so far"
	case c.GroupsLeftOut:
		have = "You are in more groups than a token tells of, so that no role of yours can be known by them"
	}
	return backup.Fail(backup.AuthorizationDenied, fmt.Sprintf("%s. Ask an administrator for the role %s, and sign in again.", have, roles))
}
