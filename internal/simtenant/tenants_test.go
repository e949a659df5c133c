package simtenant

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

func TestSampleIsValid(t *testing.T) {
	sample := Sample()
	if err := validate(sample); err != nil {
		t.Fatal(err)
	}
	if sample[0].Apps[0].AppID != "1fec8e78-bce4-4aaf-ab1b-5451cc387264" {
		t.Errorf("the application is %s", sample[0].Apps[0].AppID)
	}
	data, err := json.Marshal(map[string]any{"tenants": sample})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseTenants(strings.NewReader(string(data)))
	if err != nil || len(again) != 1 || len(again[0].Users) != len(sample[0].Users) {
		t.Errorf("the sample as a file: %v %v", again, err)
	}
}

func TestParseTenantsTellsAllThatIsWrong(t *testing.T) {
	const id = "aaaaaaaa-0000-4000-8000-00000000000"
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"no JSON", "{\n\n\"tenants\": [}", []string{"near line 3"}},
		{"unknown member", `{"tenants":[{"id":"` + id + `1","domian":"x"}]}`, []string{`unknown field "domian"`}},
		{"more than one value", `{"tenants":[]} {}`, []string{"more after the closing brace"}},
		{"no tenants", `{"tenants":[]}`, []string{"there is no tenant"}},
		{"everything", `{"tenants":[
			{"id":"x","domain":"","users":[
				{"id":"` + id + `1","userPrincipalName":"a@b"},
				{"id":"` + id + `1","userPrincipalName":"A@B"},
				{"id":"` + id + `2","userPrincipalName":"../../etc@x"},
				{"id":"` + id + `3","userPrincipalName":".recycle@x"},
				{"id":"` + id + `4","userPrincipalName":"nobody"}],
			 "groups":[{"id":"` + id + `5","displayName":"g","members":["` + id + `1","` + id + `9"]}],
			 "apps":[{"appId":"nope","secret":""}]},
			{"id":"` + id + `7","domain":"d.com"},{"id":"` + id + `7","domain":"D.com"}]}`,
			[]string{
				`tenants[0]: id "x" is not a GUID`, `tenants[0]: domain ""`,
				`users[1]: id ` + id + `1 is already that of tenants[0].users[0]`,
				`users[1]: userPrincipalName A@B is already that of tenants[0].users[0]`,
				`users[2]: userPrincipalName "../../etc@x"`, `users[3]: userPrincipalName ".recycle@x"`, `users[4]: userPrincipalName "nobody"`,
				`groups[0].members[1]`, `apps[0]: id "nope"`, `apps[0]: secret is empty`,
				`tenants[2]: id ` + id + `7 is already that of tenants[1]`, `tenants[2]: domain D.com is already that of tenants[1]`,
			}},
	} {
		_, err := ParseTenants(strings.NewReader(c.file))
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q:\n%v", c.name, want, err)
			}
		}
	}
	got, err := ParseTenants(strings.NewReader(`{"tenants":[{"id":"AAAAAAAA-0000-4000-8000-000000000001","displayName":"x","domain":"x.com",
		"users":[{"id":"AAAAAAAA-0000-4000-8000-000000000002","userPrincipalName":"a#EXT#@x.com"}],
		"groups":[{"id":"AAAAAAAA-0000-4000-8000-000000000003","members":["aaaaaaaa-0000-4000-8000-000000000002"]}],"apps":[]}]}`))
	if err != nil || got[0].ID != "aaaaaaaa-0000-4000-8000-000000000001" {
		t.Errorf("ids in upper case: %v %v", got, err)
	}
}

func TestManyUsersStartQuickly(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Tenants: Sample()}
	tenant := &cfg.Tenants[0]
	for i := range 1000 {
		tenant.Users = append(tenant.Users, User{ID: backup.NewID[backup.ObjectID](), UserPrincipalName: fmt.Sprintf("person%d@contoso.com", i)})
	}
	for range 2 {
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		// Every drive can be asked for; few stay in memory.
		for i := range 150 {
			p := place{site: s.folders[tenant.Users[i].UserPrincipalName], library: documents}
			if err := s.with(p, func(d *drive) error { return d.scan(t.Context()) }); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.drives); n > keepDrives {
			t.Errorf("%d drives stay in memory", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(cfg.Drives)
	if err != nil || len(entries) != len(tenant.Users) {
		t.Errorf("%d folders for %d users, %v", len(entries), len(tenant.Users), err)
	}
}

func values(a answer, path ...string) []string {
	var out []string
	for _, v := range a.body["value"].([]any) {
		out = append(out, answer{body: v.(map[string]any)}.text(path...))
	}
	return out
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	all := values(w.must(200, "GET", "/users", nil), "userPrincipalName")
	if len(all) != len(w.cfg.Tenants[0].Users) {
		t.Errorf("users = %v", all)
	}
	var paged []string
	for link := "/users?$top=2&$select=id,mail"; link != ""; {
		a := w.must(200, "GET", link, nil)
		for _, v := range a.body["value"].([]any) {
			v := v.(map[string]any)
			if len(v) != 2 || v["mail"] == nil {
				t.Errorf("$select=id,mail gave %v", v)
			}
			paged = append(paged, v["mail"].(string))
		}
		link = a.text("@odata.nextLink")
	}
	if !slices.Equal(paged, all) {
		t.Errorf("pages hold %v, want %v", paged, all)
	}
	for filter, want := range map[string]string{
		"mail eq 'AMALA@contoso.com'": "amala",
		"mail eq 'amala@contoso.com' or userPrincipalName eq 'conrad@contoso.com'":              "amala conrad",
		"id in ('1FEC4E78-bce4-4aaf-ab1b-5451cc387264','845457dc-4bb2-4815-bef3-8628ebd1952e')": "lothar User1",
		"startswith(displayName,'p')":    "pavel",
		"mail eq 'o''brien@contoso.com'": "",
	} {
		a := w.must(200, "GET", "/users?$filter="+strings.ReplaceAll(escapePath(filter), "/", "%2F"), nil)
		var names []string
		for _, upn := range values(a, "userPrincipalName") {
			name, _, _ := strings.Cut(upn, "@")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("$filter=%s gave %q, want %q", filter, got, want)
		}
	}
	for _, bad := range []string{"mail", "mail eq", "mail eq 'x' and", "mail ne 'x'", "department eq 'x'"} {
		w.must(400, "GET", "/users?$filter="+escapePath(bad), nil)
	}
	w.must(400, "GET", "/users?$top=0", nil)
	w.must(400, "GET", "/users?$skiptoken=x", nil)
	one := w.must(200, "GET", "/users('"+amala+"')", nil)
	if one.text("id") != string(w.cfg.Tenants[0].Users[0].ID) {
		t.Errorf("users('…') = %s", one.raw)
	}
	if a := w.do("GET", "/users/nobody@contoso.com", nil); a.status != 404 || a.text("error", "code") != "Request_ResourceNotFound" {
		t.Errorf("an unknown user = %d %s", a.status, a.raw)
	}
}

func TestUsersDelta(t *testing.T) {
	w := newWorld(t)
	n, link, last := 0, "/users/delta?$top=3&$select=id,displayName", ""
	for link != "" {
		a := w.must(200, "GET", link, nil)
		n += len(a.body["value"].([]any))
		link, last = a.text("@odata.nextLink"), a.text("@odata.deltaLink")
	}
	if n != len(w.cfg.Tenants[0].Users) {
		t.Errorf("the delta tells %d users", n)
	}
	a := w.must(200, "GET", last, nil)
	if len(a.body["value"].([]any)) != 0 || a.text("@odata.deltaLink") == "" {
		t.Errorf("a second delta = %s", a.raw)
	}
	w.stop()
	w.cfg.Tenants[0].Users = append(w.cfg.Tenants[0].Users, User{ID: backup.NewID[backup.ObjectID](), UserPrincipalName: "new@contoso.com"})
	w.start()
	_, query, _ := strings.Cut(last, "?")
	if a := w.must(410, "GET", "/users/delta?"+query, nil); a.text("error", "code") != "resyncRequired" {
		t.Errorf("after another file = %s", a.raw)
	}
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	groups := w.must(200, "GET", "/groups", nil)
	id := values(groups, "id")[0]
	w.must(200, "GET", "/groups/"+id, nil)
	for filter, found := range map[string]int{"displayName eq 'research'": 1, "startswith(displayName,'Res')": 1, "id in ('" + id + "')": 1, "displayName eq 'Nobody'": 0, "groupTypes/any(c:c eq 'Unified')": 0, "securityEnabled eq true and displayName eq 'Research'": 1} {
		if got := values(w.must(200, "GET", "/groups?$filter="+url.QueryEscape(filter), nil), "id"); len(got) != found {
			t.Errorf("%s finds %v", filter, got)
		}
	}
	w.must(400, "GET", "/groups?$filter="+url.QueryEscape("description eq 'x'"), nil)
	want := []string{amala, conrad, "lothar@contoso.com"}
	for _, address := range []string{"/members", "/transitiveMembers", "/transitiveMembers/microsoft.graph.user?$select=id,userPrincipalName"} {
		if got := values(w.must(200, "GET", "/groups/"+id+address, nil), "userPrincipalName"); !slices.Equal(got, want) {
			t.Errorf("%s = %v", address, got)
		}
	}
	a := w.must(200, "GET", "/groups/"+id+"/members?$top=2", nil)
	if got := values(w.must(200, "GET", a.text("@odata.nextLink"), nil), "userPrincipalName"); !slices.Equal(got, want[2:]) {
		t.Errorf("second page = %v", got)
	}
	w.must(404, "GET", "/groups/"+backup.NewID[string](), nil)
}
