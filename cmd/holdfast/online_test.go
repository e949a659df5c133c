package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/internal/simtenant"
)

// An application that has single sites only is in order, and the check says what that
// means; one that has no sites is not.
func TestTheCheckSpeaksOfGrantedSites(t *testing.T) {
	for _, tt := range []struct {
		roles []string
		says  string
		wrong bool
	}{
		{[]string{"Sites.ReadWrite.All"}, "in order", false},
		{[]string{"Sites.Selected"}, "sites/SITE/permissions with the body", false},
		{nil, "grant it the application permission Sites.ReadWrite.All", true},
	} {
		own := simtenant.App{AppID: "77777777-0000-4000-8000-000000000001", Secret: "s", DisplayName: "Own", Roles: append([]string{"User.Read.All", "Group.Read.All", "GroupMember.Read.All", "Files.ReadWrite.All"}, tt.roles...)}
		tenant := simtenant.Tenant{ID: "77777777-0000-4000-8000-000000000002", DisplayName: "T", Domain: "t.example", Apps: []simtenant.App{own}}
		sim, err := simtenant.New(simtenant.Config{State: t.TempDir(), Drives: t.TempDir(), Sites: t.TempDir(), Tenants: []simtenant.Tenant{tenant}})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(sim.Handler())
		t.Setenv("HOLDFAST_TEST_APP", "s")
		cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
			cfg["workloads"] = []string{"sharePoint"}
			cfg["tenants"] = []any{map[string]any{"id": string(tenant.ID), "graph": server.URL + "/v1.0", "authority": server.URL, "clientId": own.AppID, "secretEnv": "HOLDFAST_TEST_APP"}}
			cfg["issuers"] = []any{map[string]any{"issuer": server.URL, "jwks": server.URL + "/common/discovery/v2.0/keys", "tenant": string(tenant.ID)}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		if err := checkOnline(t.Context(), cfg, &said); (err != nil) != tt.wrong || !strings.Contains(said.String(), tt.says) {
			t.Errorf("with %q the check says %v:\n%s", tt.roles, err, said.String())
		}
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	}
}
