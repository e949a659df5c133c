package simtenant

import (
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
)

const (
	outerGroup = "6a0de200-4f6b-4c55-8f0e-c0a7050a0201"
	innerGroup = "6a0de200-4f6b-4c55-8f0e-c0a7050a0202"
)

// newDirectory is a world with groups in each other, one of them with a site; conrad
// is disabled, lothar deleted, and mira has no drive.
func newDirectory(t *testing.T) *world {
	w := newWorld(t)
	w.stop()
	users := w.cfg.Tenants[0].Users
	off, gone := false, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	users[1].AccountEnabled, users[2].Deleted, users[3].NoDrive = &off, &gone, true
	w.cfg.Tenants[0].Groups = append(w.cfg.Tenants[0].Groups,
		Group{ID: outerGroup, DisplayName: "Everybody", MailNickname: "everybody", Members: []backup.ObjectID{users[0].ID, innerGroup}},
		Group{ID: innerGroup, DisplayName: "Some", Members: []backup.ObjectID{users[0].ID, users[1].ID, users[2].ID, outerGroup}})
	for _, u := range []string{"conrad", "lothar", "mira"} {
		w.remove(u + "@contoso.com")
	}
	w.start()
	return w
}

func (w *world) remove(path string) {
	w.t.Helper()
	if err := os.RemoveAll(w.folder(path)); err != nil {
		w.t.Fatal(err)
	}
}

func TestNestedGroups(t *testing.T) {
	w := newDirectory(t)
	for address, want := range map[string][]string{
		"/groups/" + outerGroup + "/members":                                       {"Amala Rao", "Some"},
		"/groups/" + outerGroup + "/members/microsoft.graph.user":                  {"Amala Rao"},
		"/groups/" + outerGroup + "/transitiveMembers?$top=1":                      {"Amala Rao", "Some", "Conrad Nuber"},
		"/groups/" + outerGroup + "/transitiveMembers/microsoft.graph.user?$top=1": {"Amala Rao", "Conrad Nuber"},
		"/groups/" + outerGroup + "/transitiveMembers/microsoft.graph.group":       {"Some"},
		"/groups/" + innerGroup + "/memberOf":                                      {"Everybody"},
		"/users/" + conrad + "/memberOf":                                           {"Research", "Some"},
		"/users/" + conrad + "/transitiveMemberOf":                                 {"Research", "Some", "Everybody"},
	} {
		var got []string
		for link := address; link != ""; {
			a := w.must(200, "GET", link, nil)
			got = append(got, values(a, "displayName")...)
			link = a.text("@odata.nextLink")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s = %v, want %v", address, got, want)
		}
	}
	for address, want := range map[string]string{
		"/groups/" + outerGroup + "/members": "2", "/groups/" + outerGroup + "/transitiveMembers": "3", "/groups/" + outerGroup + "/transitiveMembers/microsoft.graph.user": "2",
		"/groups/" + innerGroup + "/memberOf": "1", "/users/" + conrad + "/memberOf": "2", "/users/" + conrad + "/transitiveMemberOf/microsoft.graph.group": "3",
	} {
		if a := w.must(200, "GET", address+"/$count", nil, "ConsistencyLevel", "eventual"); string(a.raw) != want {
			t.Errorf("of %s there are %s, want %s", address, a.raw, want)
		}
		w.must(400, "GET", address+"/$count", nil)
		if a := w.must(200, "GET", address+"?$count=true&$top=1", nil, "ConsistencyLevel", "eventual"); a.text("@odata.count") != want {
			t.Errorf("%s counts %s, want %s", address, a.text("@odata.count"), want)
		}
	}
	kinds := values(w.must(200, "GET", "/groups/"+outerGroup+"/members", nil), "@odata.type")
	if !slices.Equal(kinds, []string{"#microsoft.graph.user", "#microsoft.graph.group"}) {
		t.Errorf("members are of the kinds %v", kinds)
	}
}

// A Microsoft 365 group has a site, and in it a drive.
func TestDrivesOfGroups(t *testing.T) {
	w := newDirectory(t)
	group := "/groups/" + outerGroup
	if a := w.must(200, "GET", group, nil); a.text("groupTypes") != "[Unified]" || a.text("mail") != "everybody@contoso.com" || a.text("securityEnabled") != "false" {
		t.Errorf("the group = %s", a.raw)
	}
	site := w.must(200, "GET", group+"/sites/root", nil)
	if site.text("webUrl") != "https://contoso.sharepoint.com/sites/everybody" || site.text("displayName") != "Everybody" {
		t.Errorf("its site = %s", site.raw)
	}
	w.must(201, "PUT", group+"/drive/root:/a.txt:/content", "a")
	drive := w.must(200, "GET", group+"/drive", nil)
	if drive.text("owner", "group", "id") != outerGroup {
		t.Errorf("its drive = %s", drive.raw)
	}
	if got := values(w.must(200, "GET", group+"/drives/"+drive.text("id")+"/root/children", nil), "name"); !slices.Equal(got, []string{"a.txt"}) {
		t.Errorf("it holds %v", got)
	}
	if a := w.must(404, "GET", "/groups/"+innerGroup+"/drive", nil); a.text("error", "code") != "ResourceNotFound" {
		t.Errorf("the drive of a security group = %s", a.raw)
	}
}

func TestUsersComeAndGo(t *testing.T) {
	w := newDirectory(t)
	names := values(w.must(200, "GET", "/users?$select=displayName", nil), "displayName")
	if slices.Contains(names, "Lothar Brandt") || !slices.Contains(names, "Conrad Nuber") {
		t.Errorf("users = %v", names)
	}
	for filter, want := range map[string]int{
		"displayName ne 'Conrad Nuber'": len(names) - 1, "not startswith(displayName,'Conrad')": len(names) - 1, "endswith(mail,'@CONTOSO.com') and accountEnabled eq true": len(names) - 1,
	} {
		address := "/users?$top=999&$orderby=displayName%20desc&$filter=" + url.QueryEscape(filter)
		if a := w.do("GET", address, nil); a.status != 400 || a.text("error", "code") != "Request_UnsupportedQuery" {
			t.Errorf("%s, of those who want no old answer = %d %s", filter, a.status, a.raw)
		}
		got := values(w.must(200, "GET", address+"&$count=true", nil, "ConsistencyLevel", "eventual"), "displayName")
		if len(got) != want || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("%s = %v", filter, got)
		}
	}
	if a := w.do("GET", "/users?$filter="+url.QueryEscape("department eq 'x'"), nil); a.status != 400 || a.text("error", "code") != "Request_UnsupportedQuery" || !strings.Contains(string(a.raw), "department") {
		t.Errorf("by department: %d %s", a.status, a.raw)
	}
	for filter, want := range map[string]int{"accountEnabled eq false": 1, "accountEnabled eq true": len(names) - 1, "userType eq 'Member'": len(names)} {
		if got := values(w.must(200, "GET", "/users?$filter="+url.QueryEscape(filter), nil), "displayName"); len(got) != want || want == 1 && got[0] != "Conrad Nuber" {
			t.Errorf("%s = %v", filter, got)
		}
	}
	if a := w.must(200, "GET", "/users/"+conrad+"?$select=accountEnabled", nil); a.text("accountEnabled") != "false" {
		t.Errorf("a disabled user = %s", a.raw)
	}
	w.must(200, "GET", "/users/"+conrad+"/drive", nil)
	form := url.Values{"grant_type": {"password"}, "username": {conrad}, "password": {"x"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {w.cfg.Tenants[0].Apps[0].AppID}, "client_secret": {w.cfg.Tenants[0].Apps[0].Secret}}
	resp, err := w.client.PostForm(w.srv.URL+"/contoso.com/oauth2/v2.0/token", form)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("a disabled user signs in: %s", resp.Status)
	}
	w.must(404, "GET", "/users/lothar@contoso.com", nil)
	deleted := w.must(200, "GET", "/directory/deletedItems/microsoft.graph.user", nil)
	if got := values(deleted, "deletedDateTime"); !slices.Equal(got, []string{"2026-11-01T00:00:00Z"}) {
		t.Errorf("deleted = %s", deleted.raw)
	}
	// The drive outlives its owner.
	p := place{site: w.svc.folders["lothar@contoso.com"], library: documents}
	w.must(200, "GET", "/drives/"+p.id()+"/root", nil)
	if a := w.must(404, "GET", "/users/mira@contoso.com/drive", nil); a.text("error", "code") != "ResourceNotFound" {
		t.Errorf("a drive that is not there = %s", a.raw)
	}
	w.write("mira@contoso.com/a.txt", "a")
	w.must(200, "GET", "/users/mira@contoso.com/drive/root:/a.txt", nil)
}

func TestGroupsDelta(t *testing.T) {
	w := newDirectory(t)
	link, last, got := "/groups/delta?$top=2&$select=displayName,members", "", []string{}
	for link != "" {
		a := w.must(200, "GET", link, nil)
		for _, v := range a.body["value"].([]any) {
			g := v.(map[string]any)
			got = append(got, g["displayName"].(string))
			if g["displayName"] == "Everybody" && len(g["members@delta"].([]any)) != 2 {
				t.Errorf("its members are %v", g["members@delta"])
			}
		}
		link, last = a.text("@odata.nextLink"), a.text("@odata.deltaLink")
	}
	if !slices.Equal(got, []string{"Research", "Everybody", "Some"}) {
		t.Errorf("groups = %v", got)
	}
	if a := w.must(200, "GET", last, nil); len(a.body["value"].([]any)) != 0 {
		t.Errorf("nothing has changed, and it tells %s", a.raw)
	}
	w.must(410, "GET", "/groups/delta?$deltatoken=other", nil)
}

func TestOrganization(t *testing.T) {
	w := newWorld(t)
	a := w.must(200, "GET", "/organization?$select=id,displayName,verifiedDomains", nil)
	if got := values(a, "id"); !slices.Equal(got, []string{string(w.cfg.Tenants[0].ID)}) || !strings.Contains(string(a.raw), `"contoso.com"`) {
		t.Errorf("the organization = %s", a.raw)
	}
	w.must(200, "GET", "/organization/"+string(w.cfg.Tenants[0].ID), nil)
	w.must(404, "GET", "/organization/"+outerGroup, nil)
}

// The directory counts, and tells who has a license.
func TestDirectoryCountsAndLicenses(t *testing.T) {
	w := newDirectory(t)
	for address, want := range map[string]string{"/users/$count": "6", "/users/$count?$filter=accountEnabled%20eq%20false": "1", "/groups/$count": "3"} {
		if a := w.must(200, "GET", address, nil, "ConsistencyLevel", "eventual"); string(a.raw) != want || a.header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s is %q, want %s", address, a.raw, want)
		}
		w.must(400, "GET", address, nil)
	}
	if a := w.must(200, "GET", "/groups?$count=true&$top=1", nil); a.text("@odata.count") != "3" {
		t.Errorf("groups: %s", a.raw)
	}
	for user, want := range map[string]string{amala: "[SPE_E5]", "mira@contoso.com": "[]"} {
		a := w.must(200, "GET", "/users/"+user+"/licenseDetails", nil)
		if got := values(a, "skuPartNumber"); strings.Join(got, " ") != strings.Trim(want, "[]") {
			t.Errorf("%s has %v, want %s", user, got, want)
		}
		if u := w.must(200, "GET", "/users/"+user+"?$select=assignedLicenses", nil); (u.text("assignedLicenses") == "[]") != (want == "[]") {
			t.Errorf("%s is %s", user, u.raw)
		}
	}
}
