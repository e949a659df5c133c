package drive_test

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

// What stands in the way of backups is told before they begin.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	contoso := simtenant.Sample()[0]
	all := contoso.Apps[0].Roles
	without := func(names ...string) (left []string) {
		for _, role := range all {
			if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+role+" ") {
				left = append(left, role)
			}
		}
		return left
	}
	for name, row := range map[string]struct {
		change func(*drive.Config)
		roles  []string
		want   []string // what each error says
	}{
		"all is well":      {},
		"a wrong secret":   {change: func(c *drive.Config) { c.Credential = drive.Secret("of yesterday") }, want: []string{"cannot sign in"}},
		"no certificate":   {change: func(c *drive.Config) { c.Credential = drive.FederatedToken("not there") }, want: []string{"cannot sign in"}},
		"no /v1.0":         {change: func(c *drive.Config) { c.Graph = strings.TrimSuffix(c.Graph, "/v1.0") }, want: []string{"ends in /v1.0"}},
		"no Graph":         {change: func(c *drive.Config) { c.Graph = "http://127.0.0.1:1/v1.0" }, want: []string{"no answer from Graph at http://127.0.0.1:1/v1.0"}},
		"no authority":     {change: func(c *drive.Config) { c.Authority = "http://127.0.0.1:1" }, want: []string{"the authority http://127.0.0.1:1 gives no answer"}},
		"no permissions":   {roles: []string{"Mail.Read"}, want: []string{"User.Read.All", "GroupMember.Read.All"}},
		"no files":         {roles: without("Files.ReadWrite.All", "Files.Read.All", "Sites.ReadWrite.All", "Sites.Read.All", "Sites.Manage.All", "Sites.FullControl.All", "Files.ReadWrite", "Files.Read"), want: []string{"Files.ReadWrite.All"}},
		"nobody's address": {change: func(c *drive.Config) { c.Tenant = "00000000-0000-4000-8000-000000000001" }, want: []string{"cannot sign in"}},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := contoso
			tenant.Apps = []simtenant.App{contoso.Apps[0]}
			if row.roles != nil {
				tenant.Apps[0].Roles = row.roles
			}
			dir := t.TempDir()
			sim, err := simtenant.New(simtenant.Config{State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Tenants: []simtenant.Tenant{tenant}})
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewServer(sim.Handler())
			defer sim.Close()
			defer srv.Close()
			clk := newClock()
			cfg := drive.Config{Graph: srv.URL + "/v1.0", Authority: srv.URL, Tenant: tenant.ID, ClientID: tenant.Apps[0].AppID, Credential: drive.Secret(tenant.Apps[0].Secret), Clock: clk.Now, Sleep: clk.Sleep, Tries: 2}
			if row.change != nil {
				row.change(&cfg)
			}
			began := clk.Now()
			wrong := drive.New(cfg).Check(t.Context())
			if waited := clk.Now().Sub(began); waited > 0 {
				t.Errorf("people are told after %v", waited)
			}
			if len(wrong) != len(row.want) {
				t.Fatalf("%d are wrong, want %q: %v", len(wrong), row.want, wrong)
			}
			for i, want := range row.want {
				if text := wrong[i].Error(); !strings.Contains(text, want) || strings.Contains(text, tenant.Apps[0].Secret) {
					t.Errorf("it says %s, want %q", text, want)
				}
			}
		})
	}
}
