package simtenant

import (
	"slices"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"Plan 2027.docx", "old/plan 2026.docx", "old/plan/2027 budget.xlsx", "notes.txt", "it's.txt"} {
		w.write(amala+"/"+name, name)
	}
	drive := w.drive(amala)
	for address, want := range map[string]string{
		"/root/search(q='plan')":           "Plan 2027.docx,plan,plan 2026.docx",
		"/search(q='PLAN%202027')":         "Plan 2027.docx",
		"/root:/old:/search(q='2027')":     "2027 budget.xlsx",
		"/root/search(q='it''s')":          "it's.txt",
		"/root/search(q='nobody%2Fknows')": "",
	} {
		var got []string
		for link := drive + address + "?$top=1"; link != ""; {
			a := w.must(200, "GET", link, nil)
			if len(a.body["value"].([]any)) > 1 {
				t.Errorf("%s: a page holds %s", address, a.raw)
			}
			got = append(got, values(a, "name")...)
			link = a.text("@odata.nextLink")
		}
		if slices.Sort(got); strings.Join(got, ",") != want {
			t.Errorf("%s found %s, want %s", address, got, want)
		}
	}
	w.must(400, "GET", drive+"/root/search(q='')", nil)
	w.must(400, "GET", drive+"/root/search", nil)
	w.must(404, "GET", drive+"/root:/old/none:/search(q='x')", nil)
}

func TestRecent(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	for _, name := range []string{"a", "b", "c"} {
		w.must(201, "PUT", drive+"/root:/"+name+":/content", name)
	}
	w.must(200, "PUT", drive+"/root:/a:/content", "again")
	w.must(204, "DELETE", drive+"/root:/b", nil)
	if got := strings.Join(values(w.must(200, "GET", drive+"/recent", nil), "name"), " "); got != "a c" {
		t.Errorf("recent = %s", got)
	}
}

func TestSharedWithMe(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/folder/file.txt", "x")
	mine := w.drive(amala)
	w.must(200, "POST", mine+"/root:/folder:/invite", object{"recipients": []object{{"email": conrad}}, "roles": []string{"read"}})
	a := w.must(200, "GET", w.drive(conrad)+"/sharedWithMe", nil)
	list := a.body["value"].([]any)
	if len(list) != 1 {
		t.Fatalf("conrad was shared %s", a.raw)
	}
	remote := list[0].(object)["remoteItem"].(object)
	if there := remote["parentReference"].(object)["driveId"]; "/drives/"+there.(string) != mine || remote["name"] != "folder" || remote["shared"] == nil {
		t.Errorf("conrad was shared %s", a.raw)
	}
	w.must(204, "DELETE", mine+"/root:/folder", nil)
	for _, of := range []string{conrad, amala, "mira@contoso.com"} {
		if got := w.must(200, "GET", w.drive(of)+"/sharedWithMe", nil); len(got.body["value"].([]any)) != 0 {
			t.Errorf("%s was shared %s", of, got.raw)
		}
	}
}

// A special folder comes to be when whoever may write asks for it.
func TestSpecialFolders(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	all, app := w.token, w.cfg.Tenants[0].Apps[0]
	w.token = w.form("contoso.com/oauth2/v2.0/token", "grant_type", "password", "client_id", app.AppID, "client_secret", app.Secret,
		"username", amala, "password", "x", "scope", "Files.Read").text("access_token")
	if a := w.must(403, "GET", drive+"/special/documents", nil); a.text("error", "code") != "accessDenied" {
		t.Errorf("who may only read is told %s", a.raw)
	}
	w.must(403, "GET", drive+"/special/music/children", nil)
	w.token = all
	if got := w.must(200, "GET", drive+"/root/children", nil).body["value"].([]any); len(got) != 0 {
		t.Errorf("who may only read made %v", got)
	}
	w.must(404, "DELETE", drive+"/special/documents", nil)
	w.must(404, "GET", drive+"/special/nonsense:/a.txt", nil)
	w.must(404, "GET", drive+"/special/cameraroll:/a.jpg", nil)
	if a := w.must(200, "GET", drive+"/special/cameraroll?$select=name,specialFolder", nil); a.text("name") != "Camera Roll" || a.text("specialFolder", "name") != "cameraroll" {
		t.Errorf("the special folder is %s", a.raw)
	}
	w.must(200, "GET", drive+"/special/music/children", nil)
	w.must(201, "POST", drive+"/special/photos/children", object{"name": "a", "folder": object{}})
	w.must(201, "PUT", drive+"/special/documents:/a%20b.txt:/content", "x")
	if got := w.must(200, "GET", drive+"/special/Documents", nil).text("name"); got != "Documents" {
		t.Errorf("the special folder is %s", got)
	}
	if got := values(w.must(200, "GET", drive+"/special/documents/children", nil), "name"); len(got) != 1 || got[0] != "a b.txt" {
		t.Errorf("it holds %s", got)
	}
	w.must(201, "PUT", drive+"/special/approot:/set/tings.json:/content", "{}")
	if got := w.read(amala + "/Apps/Microsoft Enhanced Restore/set/tings.json"); got != "{}" {
		t.Errorf("the application's file is %q", got)
	}
}
