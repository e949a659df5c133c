package simtenant

import (
	"strings"
	"testing"
)

// What somebody has checked out only they can change, until it is checked in.
func TestCheckout(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/dir/a.txt", "1")
	drive, tenant := w.drive(amala), w.cfg.Tenants[0]
	app := w.token
	user := w.form("contoso.com/oauth2/v2.0/token", "grant_type", "password", "client_id", tenant.Apps[0].AppID, "client_secret", tenant.Apps[0].Secret,
		"username", conrad, "password", "x", "scope", ".default").text("access_token")
	file := drive + "/items/" + w.must(200, "GET", drive+"/root:/dir/a.txt", nil).text("id")

	w.token = user
	w.must(400, "POST", file+"/checkin", object{"comment": "x"})
	w.must(204, "POST", file+"/checkout", nil)
	w.must(200, "PUT", file+"/content", "2")
	a := w.must(200, "GET", file+"?$select=publication", nil)
	if a.text("publication", "level") != "checkout" || a.text("publication", "checkedOutBy", "user", "displayName") != "Conrad Nuber" {
		t.Errorf("checked out, it is %s", a.raw)
	}
	w.token = app
	w.restart()
	for _, c := range []struct {
		method, address string
		body            any
	}{
		{"PUT", file + "/content", "3"},
		{"PATCH", file, object{"name": "b.txt"}},
		{"DELETE", file, nil},
		{"DELETE", drive + "/root:/dir", nil},
		{"POST", file + "/permanentDelete", nil},
		{"POST", file + "/createUploadSession", nil},
		{"POST", file + "/checkout", nil},
		{"POST", file + "/checkin", nil},
		{"POST", file + "/versions/1.0/restoreVersion", nil},
	} {
		if a := w.do(c.method, c.address, c.body); a.status != 423 || a.text("error", "innerError", "code") != "resourceLocked" {
			t.Errorf("%s %s = %d %s, want 423", c.method, strings.TrimPrefix(c.address, drive), a.status, a.raw)
		}
	}
	if got := w.read(amala + "/dir/a.txt"); got != "2" {
		t.Errorf("the file holds %q", got)
	}
	w.must(400, "POST", drive+"/root:/dir:/checkout", nil)
	w.must(204, "POST", file+"/checkin", object{"comment": "done"}, "Authorization", "Bearer "+user)
	w.must(200, "PUT", file+"/content", "3")
	if got := w.must(200, "GET", file+"?$select=publication", nil).text("publication", "level"); got != "published" {
		t.Errorf("checked in, it is %s", got)
	}
	// Who began an upload before the file was checked out comes too late.
	session := w.must(200, "POST", file+"/createUploadSession", nil).text("uploadUrl")
	w.must(204, "POST", file+"/checkout", nil, "Authorization", "Bearer "+user)
	w.must(423, "PUT", session, "4", "Content-Range", "bytes 0-0/1", "Authorization", "")
}
