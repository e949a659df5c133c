package identity

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

// What each role may do, of what there is: R reader, O operator, S restorer, U
// auditor, A administrator.
const mayDo = `
ROSUA ListPolicies GetPolicy ListUnits GetUnit ListBulkJobs GetBulkJob ListRules GetRule Explain
ROSUA ListPoints GetPoint SearchPoints ListSessions GetSession ListArtifacts GetArtifact ListBulkRestores GetBulkRestore
ROSUA ListApprovals GetApproval
ROSUA ListExclusions GetExclusion GetService ListServiceApps GetServiceApp
-O--A CreatePolicy UpdatePolicy DeletePolicy ActivatePolicy DeactivatePolicy OffboardUnit CancelOffboardUnit
-O--A CreateExclusionJob CreateBulkJob CreateRule UpdateRule DeleteRule RunRule ReleaseRule
--S-A CreateSession UpdateSession DeleteSession ActivateSession PauseSession ResumeSession CancelSession
--S-A Approve Deny
--S-A ListGranularArtifacts CreateBulkRestore DeleteBulkRestore
--S-A CreateBrowseSession ListBrowseSessions GetBrowseSession DeleteBrowseSession Browse ReadContent Find
---UA ListActivities GetActivity
----A EnableService CreateServiceApp DeleteServiceApp ActivateServiceApp DeactivateServiceApp GetEmailSetting UpdateEmailSetting`

func TestWhatEachRoleMayDo(t *testing.T) {
	known := map[Operation]string{}
	for line := range strings.Lines(strings.TrimSpace(mayDo)) {
		fields := strings.Fields(line)
		for _, op := range fields[1:] {
			known[Operation(op)] = fields[0]
		}
	}
	for op := range Table {
		want, ok := known[op]
		if !ok {
			t.Errorf("nobody said who may do %s", op)
			continue
		}
		for i, role := range []Role{Reader, Operator, Restorer, Auditor, Administrator} {
			if got := role.Allows(op); got != (want[i] != '-') {
				t.Errorf("%s may do %s: %t", role, op, got)
			}
		}
	}
	for op := range known {
		if _, ok := Table[op]; !ok {
			t.Errorf("there is no operation %s", op)
		}
	}
	for _, r := range append(slices.Clone(Roles), "king") {
		if r.Allows("unheard of") || r == "king" && r.Allows(ListPolicies) {
			t.Errorf("%s may do what there is not, or is not", r)
		}
	}
}

// Whose token tells of which roles and groups may do what, where a tenant gives roles
// to groups and where it does not.
func TestRolesOfAToken(t *testing.T) {
	const finance, desk = "f1a00000-0000-4000-8000-000000000001", "de500000-0000-4000-8000-000000000002"
	given := RoleMap{Reader: {finance}, Restorer: {desk}}
	for _, row := range []struct {
		name   string
		of     RoleMap
		claims []any
		roles  []Role
		says   string // of a deletion of a session
	}{
		{"nobody gives roles", nil, []any{"groups", []string{desk}}, nil, ""},
		{"a role at Entra ID, where no group has one", nil, []any{"roles", []string{"Holdfast.Reader"}}, []Role{Reader}, "Your role here, reader, does not go so far. Ask an administrator for the role restorer or administrator"},
		{"somebody else's role", nil, []any{"roles", []string{"Reader", "holdfast.reader"}}, nil, ""},
		{"no role", given, nil, nil, "You have no role here."},
		{"no groups have roles", RoleMap{}, []any{"groups", []string{desk}}, nil, "You have no role here."},
		{"a group's role", given, []any{"groups", []string{strings.ToUpper(desk)}}, []Role{Restorer}, ""},
		{"two roles", given, []any{"groups", []string{finance}, "roles", []string{"Holdfast.Auditor"}}, []Role{Reader, Auditor}, "Your role here, reader and auditor, does"},
		{"two roles, of which one suffices", given, []any{"groups", []string{finance, desk}}, []Role{Reader, Restorer}, ""},
		{"too many groups", given, []any{"_claim_names", map[string]any{"groups": "src1"}}, nil, "You are in more groups than a token tells of"},
		{"too many groups, told otherwise", given, []any{"hasgroups", true}, nil, "You are in more groups than a token tells of"},
		{"too many groups, and a role at Entra ID", given, []any{"hasgroups", true, "roles", []string{"Holdfast.Administrator"}}, []Role{Administrator}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, now := newAuthority(t, "k1"), start
			v := newTestVerifier(a, &now)
			v.roles = map[backup.TenantID]TenantRoles{tenant: {All: row.of}}
			if row.of == nil {
				v.roles = nil
			}
			got, err := v.Verify(t.Context(), a.sign(t, "k1", with(userClaims(a), row.claims...)))
			if err != nil {
				t.Fatal(err)
			}
			err = got.CheckRole(DeleteSession)
			if !slices.Equal(got.Roles, row.roles) || row.says == "" && err != nil || row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
				t.Errorf("has %q, and is told %v", got.Roles, err)
			}
			// An application is what it is, whatever roles it calls its own.
			own, err := v.Verify(t.Context(), a.sign(t, "k1", with(appClaims(a), append([]any{"groups", []string{finance}}, "roles", []string{"Holdfast.Reader", string(RestoreWrite)})...)))
			if err != nil || own.CheckRole(DeleteSession) != nil || fmt.Sprint(own.Roles) != "[]" {
				t.Errorf("an application has %q, %v", own.Roles, err)
			}
		})
	}
}
