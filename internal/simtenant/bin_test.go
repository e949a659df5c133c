package simtenant

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// What comes back from the recycle bin is what it was, ids, versions and shares
// included, and a delta tells of it.
func TestRecycleBin(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		w := newWorld(t)
		w.write(amala+"/a/b/c.txt", "c")
		w.write(amala+"/a/d.txt", "dd")
		drive := w.drive(amala)
		w.must(200, "PUT", drive+"/root:/a/b/c.txt:/content", "changed")
		w.must(200, "POST", drive+"/root:/a:/invite", object{"recipients": []object{{"email": conrad}}, "roles": []string{"read"}})
		c := newReplica(w, amala)
		c.follow()
		ids := map[string]string{}
		for _, p := range []string{"a", "a/b", "a/b/c.txt", "a/d.txt"} {
			ids[p] = w.must(200, "GET", drive+"/root:/"+p, nil).text("id")
		}
		before := w.must(200, "GET", drive+"/items/"+ids["a/b/c.txt"], nil).text("cTag")
		w.must(400, "POST", drive+"/items/"+ids["a"]+"/restore", nil)
		w.must(204, "DELETE", drive+"/root:/a", nil)
		c.follow()
		if restarted {
			w.restart()
			c = newReplica(w, amala)
			c.follow()
		}
		site := "/sites/" + w.svc.folders[amala].id()
		bin := w.must(200, "GET", site+"/recycleBin/items", nil)
		if got := values(bin, "name"); len(got) != 1 || got[0] != "a" || bin.body["value"].([]any)[0].(object)["size"] != 9.0 {
			t.Fatalf("the recycle bin holds %s", bin.raw)
		}
		w.must(404, "POST", drive+"/items/"+ids["a/d.txt"]+"/restore", nil) // it is within another

		w.write(amala+"/a", "in its place")
		w.must(409, "POST", drive+"/items/"+ids["a"]+"/restore", nil)
		w.must(204, "POST", drive+"/root:/a:/permanentDelete", nil)
		a := w.must(207, "POST", site+"/recycleBin/items/restore", object{"ids": []string{values(bin, "id")[0], "nobody"}})
		if list := a.body["value"].([]any); list[0].(object)["error"] != nil || list[1].(object)["error"] == nil {
			t.Errorf("restoring from the bin answers %s", a.raw)
		}
		for p, id := range ids {
			if got := w.must(200, "GET", drive+"/root:/"+p, nil).text("id"); got != id {
				t.Errorf("restarted %v: %s has the id %s, had %s", restarted, p, got, id)
			}
		}
		if got := w.must(200, "GET", drive+"/items/"+ids["a/b/c.txt"], nil).text("cTag"); got != before {
			t.Errorf("restarted %v: the content's tag is %s, was %s", restarted, got, before)
		}
		if got := w.must(200, "GET", drive+"/root", nil).text("size"); got != "9" {
			t.Errorf("restarted %v: the drive holds %s bytes", restarted, got)
		}
		if n := len(w.must(200, "GET", drive+"/items/"+ids["a/b/c.txt"]+"/versions", nil).body["value"].([]any)); n != 2 {
			t.Errorf("restarted %v: there are %d versions", restarted, n)
		}
		if n := len(w.must(200, "GET", drive+"/items/"+ids["a"]+"/permissions", nil).body["value"].([]any)); n != 2 {
			t.Errorf("restarted %v: there are %d permissions", restarted, n)
		}
		c.follow()
		if diff := gocmp.Diff(realTree(t, w.folder(amala)), c.tree()); diff != "" {
			t.Errorf("restarted %v: %s", restarted, diff)
		}
		if got := w.must(200, "GET", site+"/recycleBin/items", nil); len(got.body["value"].([]any)) != 0 {
			t.Errorf("the recycle bin holds %s still", got.raw)
		}

		// Elsewhere, by another name; and gone for good.
		w.must(204, "DELETE", drive+"/items/"+ids["a/d.txt"], nil)
		w.must(204, "DELETE", drive+"/items/"+ids["a/b"], nil)
		w.must(204, "DELETE", drive+"/items/"+ids["a"], nil)
		w.must(404, "POST", drive+"/items/"+ids["a/d.txt"]+"/restore", nil)
		root := w.must(200, "GET", drive+"/root", nil).text("id")
		got := w.must(200, "POST", drive+"/items/"+ids["a/d.txt"]+"/restore", object{"name": "e.txt", "parentReference": object{"id": root}})
		if got.text("id") != ids["a/d.txt"] || w.read(amala+"/e.txt") != "dd" {
			t.Errorf("restored elsewhere it is %s", got.raw)
		}
		list := strings.Join(values(w.must(200, "GET", site+"/recycleBin/items", nil), "id"), " ")
		w.must(207, "POST", site+"/recycleBin/items/delete", object{"ids": strings.Fields(list)})
		if got := w.must(200, "GET", site+"/recycleBin/items", nil); len(got.body["value"].([]any)) != 0 {
			t.Errorf("destroyed, the recycle bin holds %s", got.raw)
		}
		w.must(404, "POST", drive+"/items/"+ids["a"]+"/restore", nil)
		w.must(400, "POST", site+"/recycleBin/items/delete", object{})
		c.follow()
		if diff := gocmp.Diff(realTree(t, w.folder(amala)), c.tree()); diff != "" {
			t.Errorf("restarted %v: %s", restarted, diff)
		}
		w.stop()
	}
}
