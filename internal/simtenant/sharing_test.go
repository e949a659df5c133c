package simtenant

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/folder/file.txt", "x")
	drive := w.drive(amala)
	folder, file := drive+"/root:/folder:", drive+"/root:/folder/file.txt:"
	list := func(item string) (out []string) {
		t.Helper()
		for _, v := range w.must(200, "GET", item+"/permissions", nil).body["value"].([]any) {
			v := v.(object)
			who := "a link"
			if to, ok := v["grantedToV2"].(object); ok {
				who = to["user"].(object)["email"].(string)
			} else if to := v["grantedToIdentitiesV2"].([]any); len(to) > 0 {
				who = to[0].(object)["user"].(object)["displayName"].(string)
			}
			out = append(out, fmt.Sprint(who, " ", v["roles"].([]any)[0]))
		}
		slices.Sort(out)
		return out
	}
	expect := func(item string, want ...string) {
		t.Helper()
		if got := list(item); !slices.Equal(got, want) {
			t.Errorf("%s is for %q, want %q", item, got, want)
		}
	}
	expect(drive+"/root", amala+" owner")
	expect(file, amala+" owner")
	tag := w.must(200, "GET", folder, nil).text("eTag")
	link := w.must(200, "GET", drive+"/root/delta?token=latest", nil).text("@odata.deltaLink")

	invited := w.must(200, "POST", folder+"/invite", object{
		"recipients": []object{{"email": conrad}, {"email": "guest@elsewhere.example"}}, "roles": []string{"write"}, "requireSignIn": true, "sendInvitation": false,
	}).body["value"].([]any)
	if len(invited) != 2 {
		t.Fatalf("two were invited: %v", invited)
	}
	conrads, guests := invited[0].(object)["id"].(string), invited[1].(object)["id"].(string)
	expect(folder, amala+" owner", conrad+" write", "guest@elsewhere.example write")
	expect(file, amala+" owner", conrad+" write", "guest@elsewhere.example write")
	if a := w.must(200, "GET", folder, nil); a.text("eTag") != tag || a.text("shared", "scope") != "users" {
		t.Errorf("shared, the folder is %s", a.raw)
	}
	if names := values(w.must(200, "GET", link, nil), "name"); !slices.Contains(names, "folder") {
		t.Errorf("the delta tells of %v", names)
	}
	for prefer, want := range map[string]bool{"": true, "hierarchicalsharing": false} {
		a := w.must(200, "GET", drive+"/root/delta", nil, "Prefer", prefer)
		if got := find(t, string(a.raw), "file.txt")["shared"] != nil; got != want {
			t.Errorf("with %q, what inherits its sharing has the facet: %v, want %v", prefer, got, want)
		}
		if find(t, string(a.raw), "folder")["shared"] == nil {
			t.Errorf("with %q, what is shared has no facet", prefer)
		}
	}

	// A scan of permissions is told which files were shared since.
	w.must(400, "GET", drive+"/root/delta", nil, "Prefer", "hierarchicalsharing, deltashowsharingchanges")
	w.must(200, "POST", file+"/invite", object{"recipients": []object{{"email": conrad}}, "roles": []string{"read"}})
	const scan = "hierarchicalsharing, deltashowsharingchanges, deltashowremovedasdeleted, deltatraversepermissiongaps, deltaExcludeParent"
	a := w.must(200, "GET", link, nil, "Prefer", scan)
	if got := find(t, string(a.raw), "file.txt"); got["@microsoft.graph.sharedChanged"] != "True" || got["shared"] == nil {
		t.Errorf("shared by itself, the file is %v", got)
	}
	if got := find(t, string(a.raw), "folder"); got["@microsoft.graph.sharedChanged"] != nil {
		t.Errorf("of a folder it is told that it was shared, which the service does not: %v", got)
	}
	w.must(204, "DELETE", file+"/permissions/"+values(w.must(200, "GET", file+"/permissions", nil), "id")[1], nil)

	// Inviting once more changes the role, and makes no second entry.
	w.must(200, "POST", folder+"/invite", object{"recipients": []object{{"objectId": "c09dad00-4f6b-4c55-8f0e-c0a7050a0002"}}, "roles": []string{"read"}})
	expect(folder, amala+" owner", conrad+" read", "guest@elsewhere.example write")
	w.must(200, "PATCH", folder+"/permissions/"+conrads, object{"roles": []string{"write"}})
	expect(file, amala+" owner", conrad+" write", "guest@elsewhere.example write")
	w.must(403, "PATCH", file+"/permissions/"+conrads, object{"roles": []string{"read"}})
	w.must(403, "DELETE", file+"/permissions/"+conrads, nil)
	w.must(403, "DELETE", folder+"/permissions/owner", nil)
	w.must(404, "DELETE", folder+"/permissions/nobody", nil)
	if a := w.must(200, "GET", file+"/permissions/"+guests, nil); a.text("id") != guests || a.text("link", "type") != "edit" {
		t.Errorf("the guest's permission is %s", a.raw)
	}

	// It outlives the process, and moves with what it was given on.
	w.restart()
	w.must(200, "PATCH", folder, object{"name": "renamed"})
	folder, file = drive+"/root:/renamed:", drive+"/root:/renamed/file.txt:"
	expect(file, amala+" owner", conrad+" write", "guest@elsewhere.example write")
	w.must(204, "DELETE", folder+"/permissions/"+conrads, nil)
	w.must(204, "DELETE", folder+"/permissions/"+guests, nil)
	expect(file, amala+" owner")
	if a := w.must(200, "GET", folder, nil); a.body["shared"] != nil {
		t.Errorf("shared with nobody, the folder is %s", a.raw)
	}

	// A group is invited by its id.
	group := w.cfg.Tenants[0].Groups[0]
	w.must(200, "POST", folder+"/invite", object{"recipients": []object{{"objectId": group.ID}}, "roles": []string{"read"}})
	w.must(200, "POST", folder+"/invite", object{"recipients": []object{{"objectId": group.ID}}, "roles": []string{"read"}})
	of := w.must(200, "GET", file+"/permissions", nil).body["value"].([]any)
	if len(of) != 2 || of[1].(object)["grantedToV2"].(object)["group"].(object)["displayName"] != group.DisplayName {
		t.Errorf("shared with a group, the file is for %v", of)
	}
	w.must(204, "DELETE", folder+"/permissions/"+of[1].(object)["id"].(string), nil)

	// The owner may do everything as it is.
	if a := w.must(200, "POST", folder+"/invite", object{"recipients": []object{{"email": amala}}, "roles": []string{"write"}}); values(a, "id")[0] != "owner" {
		t.Errorf("inviting the owner answers %s", a.raw)
	}
	expect(folder, amala+" owner")

	for name, in := range map[string]object{
		"nobody":      {"recipients": []object{}, "roles": []string{"read"}},
		"no role":     {"recipients": []object{{"email": conrad}}, "roles": []string{}},
		"an owner":    {"recipients": []object{{"email": conrad}}, "roles": []string{"owner"}},
		"no address":  {"recipients": []object{{"email": "conrad"}}, "roles": []string{"read"}},
		"an unknown":  {"recipients": []object{{"objectId": "00000000-0000-0000-0000-000000000001"}}, "roles": []string{"read"}},
		"a long text": {"recipients": []object{{"email": conrad}}, "roles": []string{"read"}, "message": strings.Repeat("x", 2001)},
	} {
		if a := w.do("POST", folder+"/invite", in); a.status != 400 {
			t.Errorf("inviting %s = %d %s", name, a.status, a.raw)
		}
	}
}

func TestLinks(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/file.txt", "x")
	file := w.drive(amala) + "/root:/file.txt:"
	a := w.must(201, "POST", file+"/createLink", object{"type": "view", "scope": "anonymous"})
	if !strings.HasPrefix(a.text("link", "webUrl"), "https://contoso-my.sharepoint.com/") || a.text("link", "scope") != "anonymous" {
		t.Errorf("the link is %s", a.raw)
	}
	if again := w.must(200, "POST", file+"/createLink", object{"type": "view", "scope": "anonymous"}); again.text("id") != a.text("id") {
		t.Errorf("the same link once more is %s", again.raw)
	}
	w.must(201, "POST", file+"/createLink", object{"type": "edit"})
	if got := w.must(200, "GET", file, nil).text("shared", "scope"); got != "anonymous" {
		t.Errorf("the scope is %q", got)
	}
	w.must(204, "DELETE", file+"/permissions/"+a.text("id"), nil)
	if got := w.must(200, "GET", file, nil).text("shared", "scope"); got != "organization" {
		t.Errorf("without the link for all, the scope is %q", got)
	}
	w.must(400, "POST", file+"/createLink", object{"type": "wish"})
	w.must(400, "POST", file+"/createLink", object{"type": "view", "scope": "everybody"})
	w.must(400, "POST", file+"/createLink", object{"type": "view", "expirationDateTime": "soon"})
}

// Who shares the first time may cut what is inherited.
func TestInheritanceCanEnd(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/folder/file.txt", "x")
	drive := w.drive(amala)
	w.must(200, "POST", drive+"/root:/folder:/invite", object{"recipients": []object{{"email": conrad}}, "roles": []string{"read"}})
	w.must(200, "POST", drive+"/root:/folder/file.txt:/invite", object{"recipients": []object{{"email": "lothar@contoso.com"}}, "roles": []string{"read"}, "retainInheritedPermissions": false})
	if n := len(w.must(200, "GET", drive+"/root:/folder/file.txt:/permissions", nil).body["value"].([]any)); n != 2 {
		t.Errorf("%d permissions, want the owner's and one", n)
	}
}
