package identity

import (
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

func TestEveryOperationHasAReach(t *testing.T) {
	for op := range Table {
		if Reaches[op] == 0 {
			t.Errorf("nobody said how far %s goes for whoever is limited to a scope", op)
		}
	}
	for op := range Reaches {
		if _, ok := Table[op]; !ok {
			t.Errorf("there is no operation %s", op)
		}
	}
}

// Who is limited to which scopes in what, by the groups of their token.
func TestScopesOfAToken(t *testing.T) {
	const desk, staff = "de500000-0000-4000-8000-000000000002", "de500000-0000-4000-8000-000000000003"
	of := TenantRoles{All: RoleMap{Reader: {staff}}, Scopes: map[string]RoleMap{
		"Finance": {Restorer: {desk}, Operator: {desk}}, "Sales": {Restorer: {desk}}, "Legal": {Restorer: {"another"}}}}
	for _, row := range []struct {
		name    string
		groups  []string
		op      Operation
		scopes  []string
		limited bool
		says    string
	}{
		{"two scopes", []string{strings.ToUpper(desk)}, CreateSession, []string{"Finance", "Sales"}, true, ""},
		{"one of them", []string{desk}, UpdatePolicy, []string{"Finance"}, true, ""},
		{"sees all, restores some", []string{desk, staff}, GetUnit, nil, false, ""},
		{"the same, restoring", []string{desk, staff}, Browse, []string{"Finance", "Sales"}, true, ""},
		{"what is not for a part", []string{desk}, CreateRule, []string{"Finance"}, true, "Your role here is limited to Finance, and this cannot be done for a part"},
		{"what no role of theirs may", []string{desk}, ListActivities, nil, true, "Your role here, operator of Finance and restorer of Finance and restorer of Sales, does not go so far. Ask an administrator for the role auditor or administrator"},
		{"nobody", nil, GetUnit, nil, true, "You have no role here."},
	} {
		a, now := newAuthority(t, "k1"), start
		v := newTestVerifier(a, &now).WithRoles(map[backup.TenantID]TenantRoles{tenant: of})
		got, err := v.Verify(t.Context(), a.sign(t, "k1", with(userClaims(a), "groups", row.groups)))
		if err != nil {
			t.Fatal(err)
		}
		scopes, limited := got.Scopes(row.op)
		slices.Sort(scopes)
		if !slices.Equal(scopes, row.scopes) || limited != row.limited {
			t.Errorf("%s: limited to %v, %t", row.name, scopes, limited)
		}
		if err := got.CheckRole(row.op); row.says == "" && err != nil || row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
			t.Errorf("%s: is told %v", row.name, err)
		}
	}
}
