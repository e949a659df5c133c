package graphapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/identity"
)

// holdfast.me says of every operation exactly what its routes then do, with the same
// words, whoever asks: by permissions, roles, scopes, and the directory role for browsing.
func TestWhatIsSaidToBeAllowedIs(t *testing.T) {
	var scope catalog.Scope
	groups := map[identity.Role]string{}
	all := identity.RoleMap{}
	for i, r := range identity.Roles {
		groups[r] = fmt.Sprintf("a0000000-0000-4000-8000-00000000000%d", i)
		all[r] = []string{groups[r]}
	}
	w := newWorld(t, dbtest.Open(t, database.SQLite), func(cfg *Config) {
		cfg.Scope = func(backup.TenantID, string) catalog.Scope { return scope }
		cfg.TenantName = func(backup.TenantID) string { return "Contoso" }
		cfg.BrowseRole = identity.SharePointBackupAdministrator
	}, func(cfg *Config) {
		cfg.Verifier = cfg.Verifier.(*identity.Verifier).WithRoles(map[backup.TenantID]identity.TenantRoles{contoso: {
			All: all, Scopes: map[string]identity.RoleMap{"Finance": {identity.Restorer: {deskGroup}, identity.Operator: {limitedGroup}}},
		}})
	})
	boss := w.member(userID, "Boss", groups[identity.Administrator])
	finance, others := w.fillPart(boss, 1), w.fillPart(boss, 2)
	for _, id := range finance["policy"] {
		scope.Policies = append(scope.Policies, backup.PolicyID(id))
	}
	callers := map[string]*client{
		"nobody": w.member(ownerN(905), "Nobody"), "desk": w.member(ownerN(900), "Desk", deskGroup), "limited operator": w.member(ownerN(901), "Limited", limitedGroup),
		"reader and desk": w.member(ownerN(902), "Both", groups[identity.Reader], deskGroup),
		"application":     w.app(contoso), "application that reads": w.app(contoso, identity.ConfigurationRead),
	}
	for _, r := range identity.Roles {
		callers[string(r)] = w.member(ownerN(910), "Member", groups[r])
	}
	claims := w.claims(contoso)
	claims["scp"], claims["oid"], claims["groups"] = string(identity.RestoreWrite), ownerN(911), []string{groups[identity.Administrator]}
	callers["administrator without the directory role and most scopes"] = &client{w, sign(t, claims)}

	said := func(c *client, at string) map[string]obj {
		t.Helper()
		of := map[string]obj{}
		for _, v := range c.do("GET", at+"/holdfast.me", nil).want(200).list("operations") {
			of[v.(obj)["operation"].(string)] = v.(obj)
		}
		return of
	}
	for name, c := range callers {
		of := said(c, "")
		if len(of) != len(identity.Table) {
			t.Errorf("%s is told of %d operations of %d", name, len(of), len(identity.Table))
		}
		refused := map[string]bool{} // by every route so far
		for _, r := range routes(described) {
			if r.access != byPermission {
				continue
			}
			path := r.path
			for strings.Contains(path, "{") {
				path = path[:strings.Index(path, "{")] + backup.NewID[string]() + path[strings.Index(path, "}")+1:]
			}
			var body any
			if r.body != noBody {
				body = "{}"
			}
			op := string(r.op)
			got := c.do(r.method, (&route{path: path}).pattern(), body)
			no := got.status == 403 && slices.Contains([]backup.Code{backup.AuthorizationDenied, backup.AccessDenied, backup.Forbidden}, got.code())
			if is, known := refused[op]; !known || is {
				refused[op] = no && got.str("error.message") == of[op]["reason"]
			}
			if no && of[op]["isAllowed"] == false && got.str("error.message") != of[op]["reason"] {
				t.Errorf("%s: %s is refused with %q, and holdfast.me says %v", name, got.what, got.str("error.message"), of[op])
			}
		}
		for op, no := range refused {
			if no == of[op]["isAllowed"].(bool) {
				t.Errorf("%s: %s is refused: %t, and holdfast.me says %v", name, op, no, of[op])
			}
		}
	}

	// Of one thing it says what may be done with that: the help desk of Finance, who
	// reads all of the tenant, restores nothing of the others.
	both := callers["reader and desk"]
	for _, part := range []struct {
		of  part
		may bool
	}{{finance, true}, {others, false}} {
		for _, kind := range everyWorkload {
			for at, op := range map[string]identity.Operation{
				"/protectionUnits/" + part.of["unit"][kind]:      identity.CreateSession,
				"/protectionPolicies/" + part.of["policy"][kind]: identity.CreateSession,
				"/restoreSessions/" + part.of["session"][kind]:   identity.ActivateSession,
			} {
				of := said(both, at)
				if of[string(op)]["isAllowed"] != part.may || of["GetUnit"]["isAllowed"] != true || of["ActivatePolicy"]["isAllowed"] != false {
					t.Errorf("%s: %v, want %t", at, of[string(op)], part.may)
				}
				if why, _ := of[string(op)]["reason"].(string); !part.may && !strings.Contains(why, "limited to Finance") {
					t.Errorf("%s says %q", at, why)
				}
			}
		}
		got := both.do("POST", "/restoreSessions/"+part.of["session"][backup.OneDrive]+"/activate", nil)
		if (got.status == 404) == part.may {
			t.Errorf("%s = %d %s, want %t", got.what, got.status, got.text, part.may)
		}
		for _, c := range []string{"desk", "limited operator"} {
			want := 200
			if !part.may {
				want = 404
			}
			callers[c].do("GET", "/protectionUnits/"+part.of["unit"][backup.OneDrive]+"/holdfast.me", nil).want(want)
		}
	}
	me := both.do("GET", "/holdfast.me", nil).want(200)
	if me.str("tenantDisplayName") != "Contoso" || me.str("user.displayName") != "Both" || fmt.Sprint(me.json["roles"]) != "[reader restorer of Finance]" {
		t.Errorf("who is asking is %s", me.text)
	}
	(&client{w, "x"}).do("GET", "/holdfast.me", nil).want(401)
}
