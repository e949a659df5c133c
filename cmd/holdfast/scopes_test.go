package main

import (
	"strings"
	"testing"

	"holdfast/internal/identity"
)

// Scopes are read as they are written, and what is wrong with one is said with the place.
func TestScopesAreRead(t *testing.T) {
	const group = "de500000-0000-4000-8000-000000000002"
	read := func(scope map[string]any) (Config, error) {
		return ReadConfig(writeConfig(t, func(cfg map[string]any) {
			cfg["tenants"].([]any)[0].(map[string]any)["scopes"] = map[string]any{"Finance": scope}
		}))
	}
	roles := map[string]any{"restorer": []string{group}}
	cfg, err := read(map[string]any{"policies": []string{strings.ToUpper(group)}, "groups": []string{strings.ToUpper(group)},
		"owners": []string{"cfo@contoso.com", "https://contoso.sharepoint.com/sites/finance", group}, "roles": roles})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Tenants[0].Scopes["Finance"]; got.Policies[0] != group || got.Groups[0] != group || len(got.Owners) != 3 || got.Roles[identity.Restorer][0] != group {
		t.Errorf("read %+v", got)
	}
	if got := groupsOf(cfg.Tenants[0]); len(got) != 1 || got[0] != group {
		t.Errorf("groups to be read: %v", got)
	}
	other := cfg
	other.Tenants = []TenantConfig{cfg.Tenants[0]}
	other.Tenants[0].Scopes = nil
	if trusts(cfg) == trusts(other) {
		t.Error("a reload does not see that scopes are gone")
	}
	for says, scope := range map[string]map[string]any{
		"scopes.Finance.policies: \"finance\" is not a policy's id": {"policies": []string{"finance"}, "roles": roles},
		"scopes.Finance.groups: \"finance\" is not a group's id":    {"groups": []string{"finance"}, "roles": roles},
		"scopes.Finance.owners: \"finance\" is nobody":              {"owners": []string{"finance"}, "roles": roles},
		"scopes.Finance: has nothing in it":                         {"roles": roles},
		"scopes.Finance.roles: is missing":                          {"owners": []string{group}},
		"scopes.Finance.roles: there is no role \"king\"":           {"owners": []string{group}, "roles": map[string]any{"king": []string{group}}},
	} {
		if _, err := read(scope); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "tenants.0.", ""), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
