package simtenant

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// put writes a file below the folder of sites.
func (w *world) put(path, content string) {
	w.t.Helper()
	w.putFile(filepath.Join(w.cfg.Sites, path), content)
}

// moveSite renames a folder below that of sites.
func (w *world) moveSite(from, to string) {
	w.t.Helper()
	w.rename(filepath.Join(w.cfg.Sites, from), filepath.Join(w.cfg.Sites, to))
}

func (w *world) removeSite(path string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.cfg.Sites, path)); err != nil {
		w.t.Fatal(err)
	}
}

// site is the address of a team site.
func (w *world) site(path string) string {
	w.t.Helper()
	return "/sites/" + w.must(200, "GET", "/sites/contoso.sharepoint.com:/sites/"+path, nil).text("id")
}

// A site is there as soon as its folder is, and is found in every way that Graph has.
func TestSitesAreFound(t *testing.T) {
	w := newWorld(t)
	w.put("marketing/libraries/Documents/plan.txt", "plan")
	w.put("marketing/site.json", `{"displayName":"Marketing & Sales","description":"All of it"}`)
	w.put("marketing/sites/emea/libraries/Offers/a.txt", "a")
	w.put("research/libraries/Papers/x.txt", "x")

	root := w.must(200, "GET", "/sites/root", nil)
	if root.text("webUrl") != "https://contoso.sharepoint.com" || root.text("siteCollection", "hostname") != "contoso.sharepoint.com" {
		t.Errorf("root = %s", root.raw)
	}
	if again := w.must(200, "GET", "/sites/contoso.sharepoint.com", nil); again.text("id") != root.text("id") {
		t.Errorf("by host = %s", again.raw)
	}
	site := w.must(200, "GET", "/sites/contoso.sharepoint.com:/sites/Marketing", nil)
	id := site.text("id")
	if parts := strings.Split(id, ","); len(parts) != 3 || parts[0] != "contoso.sharepoint.com" || parts[1] == parts[2] {
		t.Errorf("the id is %s", id)
	}
	for member, want := range map[string]string{
		"displayName": "Marketing & Sales", "name": "marketing", "description": "All of it", "webUrl": "https://contoso.sharepoint.com/sites/marketing", "isPersonalSite": "false",
	} {
		if site.text(member) != want {
			t.Errorf("%s = %q, want %q", member, site.text(member), want)
		}
	}
	guid := strings.Split(id, ",")[1]
	for _, address := range []string{
		"/sites/" + id, "/sites/" + guid, "/sites/contoso.sharepoint.com:/sites/marketing:", "/sites/" + url.PathEscape("contoso.sharepoint.com:/sites/marketing"), "/sites('" + url.PathEscape(id) + "')",
	} {
		if a := w.must(200, "GET", address, nil); a.text("id") != id {
			t.Errorf("%s = %s", address, a.raw)
		}
	}
	below := w.must(200, "GET", "/sites/"+id+"/sites", nil)
	sub := values(below, "id")[0]
	if a := w.must(200, "GET", "/sites/"+sub, nil); a.text("webUrl") != "https://contoso.sharepoint.com/sites/marketing/emea" || a.text("parentReference", "siteId") != id || strings.Split(sub, ",")[1] != guid {
		t.Errorf("the site below = %s", a.raw)
	}
	if a := w.must(200, "GET", "/sites/contoso.sharepoint.com:/sites/marketing/emea", nil); a.text("id") != sub {
		t.Errorf("the site below by path = %s", a.raw)
	}
	if a := w.must(200, "GET", "/sites/contoso-my.sharepoint.com:/personal/amala_contoso_com", nil); a.text("isPersonalSite") != "true" {
		t.Errorf("a personal site by path = %s", a.raw)
	}
	all := w.must(200, "GET", "/sites/getAllSites?$select=webUrl,isPersonalSite&$top=3", nil)
	urls := values(all, "webUrl")
	for link := all.text("@odata.nextLink"); link != ""; link = all.text("@odata.nextLink") {
		all = w.must(200, "GET", link, nil)
		urls = append(urls, values(all, "webUrl")...)
	}
	if want := 4 + len(w.cfg.Tenants[0].Users); len(urls) != want || !slices.Contains(urls, "https://contoso-my.sharepoint.com/personal/amala_contoso_com") {
		t.Errorf("all sites are %q, want %d", urls, want)
	}
	for search, want := range map[string]int{"*": 4, "market": 2, "sales": 1, "emea": 1, "nothing": 0} {
		if got := values(w.must(200, "GET", "/sites?search="+search, nil), "id"); len(got) != want {
			t.Errorf("search=%s finds %d, want %d", search, len(got), want)
		}
	}
	if got := values(w.must(200, "GET", "/sites?$filter="+url.QueryEscape("siteCollection/root ne null"), nil), "id"); !slices.Equal(got, []string{root.text("id")}) {
		t.Errorf("the root by filter = %v", got)
	}
	w.must(400, "GET", "/sites", nil)
	for _, unknown := range []string{"/sites/nonsense", "/sites/contoso.sharepoint.com:/sites/none", "/sites/fabrikam.sharepoint.com", "/sites/" + strings.Replace(id, guid, "11111111-1111-4111-8111-111111111111", 1)} {
		w.must(404, "GET", unknown, nil)
	}
}

// A site's libraries are drives like any other.
func TestLibrariesOfSites(t *testing.T) {
	w := newWorld(t)
	w.put("marketing/libraries/Documents/a.txt", "a")
	w.put("marketing/libraries/Campaigns/b.txt", "b")
	w.put("marketing/pages/home.json", `{"title":"Home"}`)
	site := w.site("marketing")
	drives := w.must(200, "GET", site+"/drives", nil)
	if got := values(drives, "name"); !slices.Equal(got, []string{"Documents", "Campaigns"}) {
		t.Errorf("drives = %v", got)
	}
	if got := values(w.must(200, "GET", site+"/drives?$select=id,name,system", nil), "name"); !slices.Equal(got, []string{"Documents", "Campaigns", "Site Pages"}) {
		t.Errorf("drives with those of the system = %v", got)
	}
	first := w.must(200, "GET", site+"/drive", nil)
	if first.text("id") != values(drives, "id")[0] || first.text("driveType") != "documentLibrary" || first.text("owner", "group", "displayName") != "marketing Owners" {
		t.Errorf("the drive = %s", first.raw)
	}
	drive := "/drives/" + first.text("id")
	if got := values(w.must(200, "GET", drive+"/root/children", nil), "name"); !slices.Equal(got, []string{"a.txt"}) {
		t.Errorf("children = %v", got)
	}
	a := w.must(201, "PUT", site+"/lists/campaigns/drive/root:/new/c.txt:/content", "ccc")
	if a.text("parentReference", "siteId") != strings.TrimPrefix(site, "/sites/") {
		t.Errorf("the upload = %s", a.raw)
	}
	if data, err := os.ReadFile(filepath.Join(w.cfg.Sites, "marketing/libraries/Campaigns/new/c.txt")); err != nil || string(data) != "ccc" {
		t.Errorf("on disk: %q %v", data, err)
	}
	item := w.must(200, "GET", drive+"/root:/a.txt", nil)
	if got := w.must(200, "GET", item.text("@microsoft.graph.downloadUrl"), nil); string(got.raw) != "a" {
		t.Errorf("download = %s", got.raw)
	}
	made := w.must(201, "POST", site+"/lists", object{"displayName": "Contracts", "list": object{"template": "documentLibrary"}})
	w.must(201, "PUT", site+"/lists/"+made.text("id")+"/drive/root:/x.txt:/content", "x")
	w.must(409, "POST", site+"/lists", object{"displayName": "contracts", "list": object{"template": "documentLibrary"}})
	last := w.must(200, "GET", drive+"/root/delta?token=latest", nil).text("@odata.deltaLink")
	w.put("marketing/libraries/Documents/late.txt", "late")
	w.must(204, "DELETE", drive+"/items/"+item.text("id"), nil)
	if got := values(w.must(200, "GET", last, nil), "name"); !slices.Contains(got, "late.txt") {
		t.Errorf("delta = %v", got)
	}
	bin := w.must(200, "GET", site+"/recycleBin/items", nil)
	if got := values(bin, "name"); !slices.Equal(got, []string{"a.txt"}) {
		t.Errorf("the bin holds %v", got)
	}
	w.must(207, "POST", site+"/recycleBin/items/restore", object{"ids": values(bin, "id")})
	if again := w.must(200, "GET", drive+"/root:/a.txt", nil); again.text("id") != item.text("id") {
		t.Errorf("restored = %s", again.raw)
	}
	w.must(201, "POST", drive+"/items/"+item.text("id")+"/createLink", object{"type": "view", "scope": "organization"})
	if got := values(w.must(200, "GET", drive+"/items/"+item.text("id")+"/permissions", nil), "id"); len(got) != 2 {
		t.Errorf("permissions = %v", got)
	}
}

// What is renamed keeps its ids; what was removed and made again is another.
func TestSitesKeepTheirIdentity(t *testing.T) {
	w := newWorld(t)
	w.put("marketing/libraries/Documents/a.txt", "a")
	w.put("marketing/libraries/Campaigns/b.txt", "b")
	w.put("marketing/sites/emea/libraries/Documents/c.txt", "c")
	site := w.site("marketing")
	sub := w.site("marketing/emea")
	drives := values(w.must(200, "GET", site+"/drives", nil), "id")
	b := w.must(200, "GET", "/drives/"+drives[1]+"/root:/b.txt", nil).text("id")
	c := w.must(200, "GET", sub+"/drive/root:/c.txt", nil).text("id")
	delta := w.must(200, "GET", "/drives/"+drives[1]+"/root/delta?token=latest", nil).text("@odata.deltaLink")
	sites := w.must(200, "GET", "/sites/delta", nil).text("@odata.deltaLink")

	w.moveSite("marketing/libraries/Campaigns", "marketing/libraries/Actions")
	if a := w.must(200, "GET", "/drives/"+drives[1], nil); a.text("name") != "Actions" {
		t.Errorf("the renamed library = %s", a.raw)
	}
	w.moveSite("marketing", "brand")
	for range 2 {
		if a := w.must(200, "GET", site, nil); a.text("name") != "brand" {
			t.Errorf("the renamed site = %s", a.raw)
		}
		if a := w.must(200, "GET", "/drives/"+drives[1]+"/items/"+b, nil); a.text("name") != "b.txt" || !strings.HasPrefix(a.text("webUrl"), "https://contoso.sharepoint.com/sites/brand/Actions") {
			t.Errorf("an item of it = %s", a.raw)
		}
		if a := w.must(200, "GET", sub+"/drive/items/"+c, nil); a.text("name") != "c.txt" {
			t.Errorf("an item of the site below = %s", a.raw)
		}
		_, query, _ := strings.Cut(delta, "?")
		w.must(200, "GET", "/drives/"+drives[1]+"/root/delta?"+query, nil)
		w.restart()
	}
	_, query, _ := strings.Cut(sites, "?")
	if got := values(w.must(200, "GET", "/sites/delta?"+query, nil), "name"); !slices.Contains(got, "brand") {
		t.Errorf("the delta of sites tells %v", got)
	}
	w.must(404, "GET", "/sites/contoso.sharepoint.com:/sites/marketing", nil)

	w.removeSite("brand/libraries/Actions")
	w.must(404, "GET", "/drives/"+drives[1], nil)
	w.put("brand/libraries/Actions/b.txt", "b")
	again := values(w.must(200, "GET", site+"/drives", nil), "id")
	if len(again) != 2 || again[1] == drives[1] || again[0] != drives[0] {
		t.Errorf("made again, the libraries are %v, before %v", again, drives)
	}
	w.must(404, "GET", "/drives/"+drives[1]+"/items/"+b, nil)
}

// A site's libraries are served while other programs take them away.
func TestNothingOnDiskBreaksASite(t *testing.T) {
	w := newWorld(t)
	w.put("marketing/libraries/Documents/a.txt", "a")
	site := w.site("marketing")
	drive := "/drives/" + w.must(200, "GET", site+"/drive", nil).text("id")
	for name, spoil := range map[string]func(){
		"a file for the library": func() { w.removeSite("marketing/libraries/Documents"); w.put("marketing/libraries/Documents", "") },
		"a file for libraries":   func() { w.removeSite("marketing/libraries"); w.put("marketing/libraries", "") },
		"a file for the site":    func() { w.removeSite("marketing"); w.put("marketing", "") },
		"a link for the site": func() {
			w.removeSite("marketing")
			if err := os.Symlink(os.TempDir(), filepath.Join(w.cfg.Sites, "marketing")); err != nil {
				t.Fatal(err)
			}
		},
		"no site": func() { w.removeSite("marketing") },
	} {
		w.removeSite("marketing")
		w.put("marketing/libraries/Documents/a.txt", "a")
		spoil()
		for _, address := range []string{site, site + "/drives", site + "/drive", site + "/lists", site + "/sites", drive, drive + "/root/delta", "/sites?search=*", "/sites/getAllSites", "/sites/delta", site + "/recycleBin/items"} {
			if a := w.do("GET", address, nil); a.status >= 500 {
				t.Errorf("%s: GET %s = %d %s", name, address, a.status, a.raw)
			}
		}
	}
}

func TestLockedSites(t *testing.T) {
	w := newWorld(t)
	w.put("old/libraries/Documents/a.txt", "a")
	w.put("old/site.json", `{"archived":"fullyArchived"}`)
	w.put("shut/libraries/Documents/a.txt", "a")
	site, shut := w.site("old"), w.site("shut")
	drive := "/drives/" + w.must(200, "GET", shut+"/drive", nil).text("id")
	w.put("shut/site.json", `{"locked":true}`)
	if a := w.must(200, "GET", site, nil); a.text("siteCollection", "archivalDetails", "archiveStatus") != "fullyArchived" {
		t.Errorf("the archived site = %s", a.raw)
	}
	for _, address := range []string{site + "/drive/root/children", site + "/drives", site + "/lists", drive + "/root/delta", shut + "/drive"} {
		if a := w.do("GET", address, nil); a.status != 423 {
			t.Errorf("GET %s = %d %s, want 423", address, a.status, a.raw)
		}
	}
	w.put("shut/site.json", `{"locked":`) // which says nothing
	w.must(200, "GET", drive+"/root/delta", nil)
}

// An application with Sites.Selected has what it was granted, and nothing else.
func TestSelectedSites(t *testing.T) {
	w := newWorld(t)
	w.stop()
	selected := App{AppID: "77777777-0000-4000-8000-000000000001", Secret: "s", DisplayName: "Selective", Roles: []string{"Sites.Selected"}}
	w.cfg.Tenants[0].Apps = append(w.cfg.Tenants[0].Apps, selected)
	w.start()
	w.put("one/libraries/Documents/a.txt", "a")
	w.put("two/libraries/Documents/a.txt", "a")
	one, two := w.site("one"), w.site("two")
	admin := w.token
	as := func(token string) { w.token = token }
	own := w.signIn(string(w.cfg.Tenants[0].ID), url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {selected.AppID}, "client_secret": {"s"},
	})
	as(own)
	if a := w.must(403, "GET", one+"/drive", nil); !strings.Contains(a.text("error", "message"), "/sites/one") {
		t.Errorf("the refusal does not name the site: %s", a.raw)
	}
	as(admin)
	w.must(400, "POST", one+"/permissions", object{"roles": []string{"all"}})
	grant := w.must(201, "POST", one+"/permissions", object{"roles": []string{"read"}, "grantedToIdentities": []any{object{"application": object{"id": selected.AppID, "displayName": "Selective"}}}})
	as(own)
	w.must(200, "GET", one, nil)
	w.must(200, "GET", one+"/drive/root/delta", nil)
	w.must(403, "PUT", one+"/drive/root:/b.txt:/content", "b")
	w.must(403, "GET", two+"/drive", nil)
	w.must(403, "GET", "/sites?search=*", nil)
	w.must(403, "GET", "/users/"+amala+"/drive", nil)
	as(admin)
	w.must(200, "PATCH", one+"/permissions/"+grant.text("id"), object{"roles": []string{"write"}})
	if got := values(w.must(200, "GET", one+"/permissions", nil), "roles"); !slices.Equal(got, []string{"[write]"}) {
		t.Errorf("the grants are %v", got)
	}
	w.restart()
	as(own)
	w.must(201, "PUT", one+"/drive/root:/b.txt:/content", "b")
	as(admin)
	w.must(204, "DELETE", one+"/permissions/"+grant.text("id"), nil)
	w.must(404, "GET", one+"/permissions/"+grant.text("id"), nil)
	as(own)
	w.must(403, "GET", one+"/drive", nil)
}

func TestDeltaOfSites(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.put(fmt.Sprintf("s%d/libraries/Documents/a.txt", i), "a")
	}
	n, link, last := 0, "/sites/delta?$top=2", ""
	for link != "" {
		a := w.must(200, "GET", link, nil)
		n += len(a.body["value"].([]any))
		link, last = a.text("@odata.nextLink"), a.text("@odata.deltaLink")
	}
	if n != 6 {
		t.Errorf("%d sites are told, want 6", n)
	}
	if got := values(w.must(200, "GET", last, nil), "name"); len(got) != 0 {
		t.Errorf("nothing has changed, and it tells %v", got)
	}
	w.put("new/libraries/Documents/a.txt", "a")
	w.removeSite("s1")
	if got := values(w.must(200, "GET", last, nil), "name"); !slices.Equal(got, []string{"new"}) {
		t.Errorf("the delta tells %v", got)
	}
	w.must(400, "GET", "/sites/delta?$deltatoken=nonsense", nil)
	other := cursor{generation: "other"}.String()
	w.must(410, "GET", "/sites/delta?$deltatoken="+other, nil)
}

// Tenants have folders of sites of their own, and see nothing of each other's.
func TestSitesOfSeveralTenants(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.cfg.Tenants = append(w.cfg.Tenants, Tenant{ID: "aaaaaaaa-0000-4000-8000-000000000001", DisplayName: "Fabrikam", Domain: "fabrikam.com", Apps: []App{{AppID: "77777777-0000-4000-8000-000000000001", Secret: "s", Roles: []string{"Sites.FullControl.All"}}}})
	w.start()
	w.put("contoso.com/marketing/libraries/Documents/a.txt", "a")
	w.put("fabrikam.com/secret/libraries/Documents/a.txt", "a")
	site := w.site("marketing")
	drive := "/drives/" + w.must(200, "GET", site+"/drive", nil).text("id")
	w.token = w.signIn("fabrikam.com", url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}, "client_id": {"77777777-0000-4000-8000-000000000001"}, "client_secret": {"s"},
	})
	if got := values(w.must(200, "GET", "/sites?search=*", nil), "webUrl"); !slices.Equal(got, []string{"https://fabrikam.sharepoint.com", "https://fabrikam.sharepoint.com/sites/secret"}) {
		t.Errorf("the other tenant's sites are %v", got)
	}
	w.must(404, "GET", site, nil)
	w.must(404, "GET", drive, nil)
	w.must(404, "GET", "/sites/contoso.sharepoint.com:/sites/marketing", nil)
}

// A saved state brings sites back with their ids.
func TestSavedSites(t *testing.T) {
	w, c := controlled(t)
	w.put("marketing/libraries/Documents/a.txt", "a")
	site := w.site("marketing")
	drive := w.must(200, "GET", site+"/drive", nil).text("id")
	item := w.must(200, "GET", site+"/drive/root:/a.txt", nil).text("id")
	if err := c.Save("seeded"); err != nil {
		t.Fatal(err)
	}
	w.removeSite("marketing")
	w.put("other/libraries/Documents/a.txt", "a")
	w.must(404, "GET", site, nil)
	if err := c.Load("seeded"); err != nil {
		t.Fatal(err)
	}
	if got := w.must(200, "GET", site+"/drive", nil).text("id"); got != drive {
		t.Errorf("the drive is %s, before %s", got, drive)
	}
	w.must(200, "GET", "/drives/"+drive+"/items/"+item, nil)
	w.must(404, "GET", "/sites/contoso.sharepoint.com:/sites/other", nil)
}
