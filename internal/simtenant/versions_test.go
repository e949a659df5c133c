package simtenant

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	file := drive + "/items/" + w.must(201, "PUT", drive+"/root:/a.txt:/content", "one").text("id")
	w.must(200, "PUT", file+"/content", "two!")
	w.must(200, "PUT", file+"/content", "two!") // the same once more is no other version
	w.must(200, "PUT", file+"/content", "three")
	list := func() string {
		t.Helper()
		out := []string{}
		for _, v := range w.must(200, "GET", file+"/versions", nil).body["value"].([]any) {
			out = append(out, fmt.Sprint(v.(object)["id"], "=", v.(object)["size"]))
		}
		return strings.Join(out, " ")
	}
	if got := list(); got != "3.0=5 2.0=4 1.0=3" {
		t.Errorf("versions: %s", got)
	}
	content := func(id string) string {
		t.Helper()
		return string(w.must(200, "GET", file+"/versions/"+id+"/content", nil).raw)
	}
	if content("1.0") != "one" || content("2.0") != "two!" {
		t.Errorf("contents: %q, %q", content("1.0"), content("2.0"))
	}
	// A page at a time they are the same.
	w.faults.Set(func(o *Options) { o.PageSize = 2 })
	page := w.must(200, "GET", file+"/versions", nil)
	next, _ := page.body["@odata.nextLink"].(string)
	if len(page.body["value"].([]any)) != 2 || next == "" {
		t.Fatalf("a page of two is %s", page.raw)
	}
	rest := w.must(200, "GET", next, nil)
	if len(rest.body["value"].([]any)) != 1 || rest.body["@odata.nextLink"] != nil {
		t.Errorf("the page after is %s", rest.raw)
	}
	w.must(400, "GET", file+"/versions?$skiptoken=x", nil)
	w.faults.Set(func(o *Options) { o.PageSize = 0 })
	w.must(400, "GET", file+"/versions/3.0/content", nil)
	w.must(404, "GET", file+"/versions/9.0/content", nil)
	if a := w.must(200, "GET", file+"/versions/2.0", nil); a.text("id") != "2.0" || a.text("size") != "4" {
		t.Errorf("version 2.0 is %s", a.raw)
	}
	w.faults.Set(func(o *Options) { o.StreamContent = true })
	if content("1.0") != "one" {
		t.Errorf("streamed: %q", content("1.0"))
	}
	w.restart()
	w.must(204, "POST", file+"/versions/1.0/restoreVersion", nil)
	if got := w.read(amala + "/a.txt"); got != "one" {
		t.Errorf("after a version was restored, the file is %q", got)
	}
	if got := list(); got != "4.0=3 3.0=5 2.0=4 1.0=3" {
		t.Errorf("versions: %s", got)
	}
	w.must(204, "DELETE", file+"/versions/2.0", nil)
	w.must(404, "DELETE", file+"/versions/2.0", nil)
	w.must(400, "DELETE", file+"/versions/4.0", nil)
	w.must(400, "POST", file+"/versions/4.0/restoreVersion", nil)
	if got := list(); got != "4.0=3 3.0=5 1.0=3" {
		t.Errorf("versions: %s", got)
	}
	w.must(400, "GET", drive+"/root/versions", nil)
	// They go with the file.
	d := w.svc.drives[place{site: w.svc.folders[amala], library: documents}.id()]
	folder := d.versionsOf(&item{id: strings.TrimPrefix(file, drive+"/items/")})
	if _, err := os.Stat(folder); err != nil {
		t.Fatal(err)
	}
	w.must(204, "POST", file+"/permanentDelete", nil)
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the versions of a destroyed file: %v", err)
	}
}

func TestCopies(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/from/a.txt", "a")
	w.write(amala+"/from/sub/b.txt", "b")
	w.write(amala+"/to/a.txt", "other")
	drive := w.drive(amala)
	id := func(path string) string { return w.must(200, "GET", drive+"/root:/"+path, nil).text("id") }
	to := id("to")
	copied := func(item string, body object, query string) answer {
		t.Helper()
		a := w.must(202, "POST", item+"/copy"+query, body, "Prefer", "respond-async")
		return w.must(200, "GET", a.header.Get("Location"), nil)
	}
	a := copied(drive+"/root:/from/a.txt:", object{"parentReference": object{"id": to}, "name": "copy.txt"}, "")
	if a.text("status") != "completed" || a.text("resourceId") != id("to/copy.txt") || w.read(amala+"/to/copy.txt") != "a" {
		t.Errorf("the copy of a file: %s", a.raw)
	}
	a = copied(drive+"/root:/from:", object{"parentReference": object{"id": to, "driveId": strings.TrimPrefix(drive, "/drives/")}}, "")
	if a.text("status") != "completed" || w.read(amala+"/to/from/sub/b.txt") != "b" || id("to/from/sub/b.txt") == id("from/sub/b.txt") {
		t.Errorf("the copy of a folder: %s", a.raw)
	}
	a = copied(drive+"/root:/from/a.txt:", object{"parentReference": object{"id": to}}, "")
	if a.text("status") != "failed" || a.text("errorCode") != "nameAlreadyExists" || w.read(amala+"/to/a.txt") != "other" {
		t.Errorf("a copy over something: %s", a.raw)
	}
	a = copied(drive+"/root:/from/a.txt:", object{"parentReference": object{"id": to}}, "?@microsoft.graph.conflictBehavior=rename")
	if a.text("status") != "completed" || w.read(amala+"/to/a 1.txt") != "a" {
		t.Errorf("a copy beside something: %s", a.raw)
	}
	a = copied(drive+"/root:/from/a.txt:", object{"parentReference": object{"path": "/drive/root:/to"}}, "?@microsoft.graph.conflictBehavior=replace")
	if a.text("status") != "completed" || w.read(amala+"/to/a.txt") != "a" {
		t.Errorf("a copy in place of something: %s", a.raw)
	}
	other := w.must(200, "GET", w.drive(conrad)+"/root", nil)
	a = copied(drive+"/root:/from:", object{"parentReference": object{"driveId": other.text("parentReference", "driveId"), "id": other.text("id")}}, "")
	if a.text("status") != "completed" || w.read(conrad+"/from/sub/b.txt") != "b" {
		t.Errorf("a copy to another drive: %s", a.raw)
	}
	a = copied(drive+"/root:/from:", object{"name": "beside"}, "")
	if a.text("status") != "completed" || w.read(amala+"/beside/sub/b.txt") != "b" {
		t.Errorf("a copy beside itself: %s", a.raw)
	}
	// Into itself, it is as it was when the copy began.
	a = copied(drive+"/root:/from:", object{"parentReference": object{"id": id("from/sub")}}, "")
	if a.text("status") != "completed" || w.read(amala+"/from/sub/from/sub/b.txt") != "b" {
		t.Errorf("a copy into itself: %s", a.raw)
	}
	w.must(400, "POST", drive+"/root/copy", object{"name": "x"})
	w.must(404, "POST", drive+"/root:/none:/copy", object{"name": "x"})
	w.must(404, "POST", drive+"/root:/from:/copy", object{"parentReference": object{"id": "01NONE"}})
	w.must(400, "POST", drive+"/root:/from:/copy", object{"name": "a/b"})

	w.faults.Set(func(o *Options) { o.CopySteps = 2 })
	link := w.must(202, "POST", drive+"/root:/from/a.txt:/copy", object{"name": "slow.txt"}).header.Get("Location")
	for _, want := range []string{"inProgress", "inProgress", "completed", "completed"} {
		if a := w.do("GET", link, nil); a.text("status") != want || (a.status == 202) != (want == "inProgress") {
			t.Errorf("progress: %d %s, want %s", a.status, a.raw, want)
		}
	}
	if entries, err := os.ReadDir(w.svc.staging); err != nil || len(entries) > 0 {
		t.Errorf("%d staged files are left, %v", len(entries), err)
	}
}
