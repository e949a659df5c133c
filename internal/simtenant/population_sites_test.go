package simtenant

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listed are the items that a list, by pages, tells.
func (w *world) listed(link, id string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	for link != "" {
		a := w.must(200, "GET", link, nil)
		for _, v := range a.body["value"].([]any) {
			it := v.(object)
			out[fmt.Sprint(it[id])] = fmt.Sprint(it["fields"], it["name"], it["size"], it["file"], it["title"], it["canvasLayout"])
		}
		link = a.text("@odata.nextLink")
	}
	return out
}

func same(t *testing.T, what string, a, b map[string]string) {
	t.Helper()
	if len(a) != len(b) {
		t.Errorf("%s: %d, and %d", what, len(a), len(b))
	}
	for id, line := range a {
		if b[id] != line {
			t.Fatalf("%s: %s is %q, and %q", what, id, line, b[id])
		}
	}
}

// Made sites, with their libraries, lists and pages, follow from the seed, and what
// changes in them does as well.
func TestMadeSites(t *testing.T) {
	p := Population{Seed: 3, Users: 2, Files: 200, Size: 500, Sites: 3, Items: 300}
	look := func(w *world) (out []map[string]string) {
		w.t.Helper()
		sites := w.listed("/sites?search=*&$top=2", "id")
		out = append(out, sites)
		for i := range p.Sites {
			site := w.site(p.siteName(i))
			out = append(out,
				w.listed(site+"/lists/"+madeList+"/items?expand=fields&$top=70", "id"),
				w.listed(site+"/pages/microsoft.graph.sitePage?$expand=canvasLayout", "id"))
			files := w.listed(site+"/drive/root/delta?$top=50", "id")
			delete(files, w.must(200, "GET", site+"/drive/root", nil).text("id")) // a real folder
			out = append(out, files)
		}
		return out
	}
	w, other := newPopulated(t, p), newPopulated(t, p)
	now := time.Date(2027, 4, 1, 12, 0, 0, 0, time.UTC)
	for _, one := range []*world{w, other} {
		one.cfg.Clock = func() time.Time { return now }
		one.restart()
	}
	first := look(w)
	items, files := 0, 0
	for i := range p.Sites {
		items += len(first[1+3*i])
		for _, line := range first[3+3*i] {
			if strings.Contains(line, "quickXorHash") {
				files++
			}
		}
	}
	if items != p.Items || files != p.Files/2 {
		t.Errorf("there are %d items and %d files in sites, want %d and %d", items, files, p.Items, p.Files/2)
	}
	for _, again := range []*world{w, other} {
		again.restart()
		for i, part := range look(again) {
			same(t, fmt.Sprintf("part %d", i), first[i], part)
		}
	}
	for _, one := range []*world{w, other} {
		if err := one.svc.Churn(200); err != nil {
			t.Fatal(err)
		}
	}
	changed := look(w)
	for i, part := range look(other) {
		same(t, fmt.Sprintf("changed, part %d", i), changed[i], part)
	}
	w.restart()
	for i, part := range look(w) {
		same(t, fmt.Sprintf("changed, after a restart, part %d", i), changed[i], part)
	}
	if fmt.Sprint(first[1]) == fmt.Sprint(changed[1]) && fmt.Sprint(first[4]) == fmt.Sprint(changed[4]) {
		t.Error("no list has changed")
	}
	// What a client writes becomes real.
	list := w.site(p.siteName(2)) + "/lists/" + madeList
	w.must(200, "PATCH", list+"/items/40/fields", object{"Status": "Done", "Amount": 1})
	w.must(204, "DELETE", list+"/items/41", nil)
	made := w.must(201, "POST", list+"/items", object{"fields": object{"Title": "Mine"}})
	w.restart()
	if a := w.must(200, "GET", list+"/items/40/fields", nil); a.text("Amount") != "1" || a.text("Notes") == "" {
		t.Errorf("after a change = %s", a.raw)
	}
	w.must(404, "GET", list+"/items/41", nil)
	if a := w.must(200, "GET", list+"/items/"+made.text("id")+"/fields", nil); a.text("Title") != "Mine" {
		t.Errorf("what was made = %s", a.raw)
	}
	if data, err := os.ReadFile(filepath.Join(w.cfg.Sites, p.siteName(2), "lists", madeList, "40.json")); err != nil || !strings.Contains(string(data), `"Status": "Done"`) {
		t.Errorf("on disk: %s %v", data, err)
	}
}

// A list of 30,000 items is read to its end, page by page, and no page is the list.
func TestPlayALongList(t *testing.T) {
	p := Population{Seed: 1, Users: 1, Sites: 1, Items: 30_000}
	w := newPopulated(t, p)
	list := w.site(p.siteName(0)) + "/lists/" + madeList
	seen, pages := 0, 0
	last := ""
	for link := list + "/items/delta?$top=5000&$select=id"; link != ""; pages++ {
		a := w.must(200, "GET", link, nil)
		n := len(a.body["value"].([]any))
		if n > 5000 {
			t.Errorf("a page has %d items", n)
		}
		seen += n
		link, last = a.text("@odata.nextLink"), a.text("@odata.deltaLink")
	}
	if seen != p.Items || pages < 6 || last == "" {
		t.Errorf("%d items on %d pages", seen, pages)
	}
	risk := []string{"Prefer", "HonorNonIndexedQueriesWarningMayFailRandomly"}
	if a := w.do("GET", list+"/items?$filter=fields/Status%20eq%20'Open'", nil, risk...); a.status != 400 || !strings.Contains(a.text("error", "message"), "threshold") {
		t.Errorf("an unindexed filter = %d %s", a.status, a.raw)
	}
	if a := w.must(200, "GET", list+"/items?$filter=fields/Amount%20lt%20100&$top=5", nil); len(a.body["value"].([]any)) != 5 || a.text("@odata.nextLink") == "" {
		t.Errorf("an indexed filter = %s", a.raw)
	}
}
