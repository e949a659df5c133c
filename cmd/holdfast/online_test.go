package main

import (
	"maps"
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

// Of each permission that the application was not granted the check says which, and what it
// is for: what cannot be backed up is not in order, what cannot be restored is told.
func TestTheCheckNamesEachPermissionThatIsMissing(t *testing.T) {
	reads := []string{"User.Read.All", "GroupMember.Read.All", "Sites.Read.All", "Files.Read.All", "MailboxSettings.Read", "MailboxFolder.Read.All", "MailboxItem.Read.All", "MailboxItem.Export.All", "Mail.Read"}
	all := []string{"User.Read.All", "GroupMember.Read.All", "Files.ReadWrite.All", "Sites.Manage.All", "MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.Read"}
	for name, row := range map[string]struct {
		roles []string
		mime  bool
		says  []string // besides "in order" where nothing is wrong
		wrong bool
	}{
		"all":          {all, true, nil, false},
		"reading only": {reads, true, []string{"write into drives; grant it the application permission Files.ReadWrite.All", "restore drives to a new place", "write into sites", "make folders in mailboxes; grant it the application permission MailboxFolder.ReadWrite.All", "import into mailboxes"}, false},
		"no mailboxes": {all[:4], true, []string{"permission MailboxSettings.Read ", "permission MailboxFolder.ReadWrite.All ", "permission MailboxItem.Read.All ", "permission MailboxItem.ImportExport.All ", "permission Mail.Read on Microsoft Graph, with an administrator's consent, or set \"mime\" to false"}, true},
		"no MIME":      {all[:8], true, []string{"permission Mail.Read "}, true},
		"none wanted":  {all[:8], false, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			own := simtenant.App{AppID: "77777777-0000-4000-8000-000000000001", Secret: "s", DisplayName: "Own", Roles: row.roles}
			tenant := simtenant.Tenant{ID: "77777777-0000-4000-8000-000000000002", DisplayName: "T", Domain: "t.example", Apps: []simtenant.App{own}}
			sim, err := simtenant.New(simtenant.Config{State: t.TempDir(), Drives: t.TempDir(), Sites: t.TempDir(), Tenants: []simtenant.Tenant{tenant}})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(sim.Handler())
			t.Cleanup(func() {
				server.Close()
				sim.Close()
			})
			t.Setenv("HOLDFAST_TEST_APP", "s")
			cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
				cfg["workloads"] = []string{"oneDriveForBusiness", "sharePoint", "exchange"}
				cfg["tenants"] = []any{map[string]any{"id": string(tenant.ID), "graph": server.URL + "/v1.0", "authority": server.URL, "clientId": own.AppID, "secretEnv": "HOLDFAST_TEST_APP", "mime": row.mime}}
				cfg["issuers"] = []any{map[string]any{"issuer": server.URL, "jwks": server.URL + "/common/discovery/v2.0/keys", "tenant": string(tenant.ID)}}
			}))
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			err = checkOnline(t.Context(), cfg, &said)
			if lines := strings.Count(said.String(), "grant it"); (err != nil) != row.wrong || lines < len(row.says) || len(row.says) == 0 && lines > 0 {
				t.Errorf("%v:\n%s", err, said.String())
			}
			for _, want := range row.says {
				if !strings.Contains(said.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, said.String())
				}
			}
		})
	}
}

// A group that roles or a scope name, and that the directory does not have, is named with
// the settings that name it.
func TestTheCheckNamesGroupsThatAreNotThere(t *testing.T) {
	const there, typo, other = "88888888-0000-4000-8000-000000000010", "88888888-0000-4000-8000-000000000011", "88888888-0000-4000-8000-000000000012"
	for name, row := range map[string]struct {
		config map[string]any
		says   []string // nothing where all is in order
	}{
		"all there": {map[string]any{"roles": map[string]any{"administrator": []string{there}}, "scopes": map[string]any{"Finance": map[string]any{"groups": []string{there}, "roles": map[string]any{"restorer": []string{there}}}}}, nil},
		"mistyped": {map[string]any{"roles": map[string]any{"administrator": []string{there}, "restorer": []string{strings.ToUpper(typo)}}, "scopes": map[string]any{"Finance": map[string]any{"groups": []string{other}, "roles": map[string]any{"restorer": []string{typo}}}}},
			[]string{"roles.restorer and scopes.Finance.roles.restorer names the group " + typo, "scopes.Finance.groups names the group " + other, "2 things are not in order"}},
	} {
		own := simtenant.App{AppID: "88888888-0000-4000-8000-000000000001", Secret: "s", DisplayName: "Own", Roles: []string{"User.Read.All", "Files.ReadWrite.All", "GroupMember.Read.All"}}
		tenant := simtenant.Tenant{ID: "88888888-0000-4000-8000-000000000002", DisplayName: "T", Domain: "t.example", Apps: []simtenant.App{own}, Groups: []simtenant.Group{{ID: there, DisplayName: "Admins"}}}
		sim, err := simtenant.New(simtenant.Config{State: t.TempDir(), Drives: t.TempDir(), Tenants: []simtenant.Tenant{tenant}})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(sim.Handler())
		t.Setenv("HOLDFAST_TEST_APP", "s")
		cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
			of := map[string]any{"id": string(tenant.ID), "graph": server.URL + "/v1.0", "authority": server.URL, "clientId": own.AppID, "secretEnv": "HOLDFAST_TEST_APP"}
			maps.Copy(of, row.config)
			cfg["tenants"] = []any{of}
			cfg["issuers"] = []any{map[string]any{"issuer": server.URL, "jwks": server.URL + "/common/discovery/v2.0/keys", "tenant": string(tenant.ID)}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		err = checkOnline(t.Context(), cfg, &said)
		if (err != nil) != (row.says != nil) {
			t.Errorf("%s: %v\n%s", name, err, said.String())
		}
		for _, says := range row.says {
			if !strings.Contains(said.String()+err.Error(), says) {
				t.Errorf("%s: it does not say %q, but %v\n%s", name, says, err, said.String())
			}
		}
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	}
}
