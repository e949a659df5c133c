package simtenant

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func part(kind string) object {
	return object{"@odata.type": "#microsoft.graph.standardWebPart", "webPartType": kind, "data": object{}}
}

func layout(parts ...object) object {
	return object{"horizontalSections": []object{{"layout": "oneColumn", "id": "1", "columns": []object{{"id": "1", "width": 12, "webparts": parts}}}}}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	w.put("news/pages/home.json", `{"title":"Home","canvasLayout":{"horizontalSections":[]},"titleArea":{"layout":"plain"}}`)
	w.put("news/pages/old.aspx", `<%@ Page %>`)
	w.put("news/pages/broken.json", `{"title":`)
	site := w.site("news")
	all := w.must(200, "GET", site+"/pages", nil)
	names := values(all, "name")
	slices.Sort(names)
	if !slices.Equal(names, []string{"broken.aspx", "home.aspx", "old.aspx"}) {
		t.Errorf("pages = %v", names)
	}
	home := ""
	for _, v := range w.must(200, "GET", site+"/pages/microsoft.graph.sitePage?$expand=canvasLayout", nil).body["value"].([]any) {
		if m := v.(map[string]any); m["name"] == "home.aspx" {
			home = m["id"].(string)
			if m["canvasLayout"] == nil || m["title"] != "Home" || m["@odata.type"] != sitePageType || m["publishingState"].(map[string]any)["level"] != "published" {
				t.Errorf("the page = %v", m)
			}
		}
	}
	if a := w.must(200, "GET", site+"/pages/"+home, nil); a.body["canvasLayout"] != nil || a.text("titleArea", "layout") != "plain" {
		t.Errorf("without its layout = %s", a.raw)
	}
	if a := w.must(200, "GET", site+"/pages/"+home+"/microsoft.graph.sitePage?$select=id,title&$expand=canvasLayout", nil); a.body["canvasLayout"] == nil || a.body["name"] != nil {
		t.Errorf("with its layout = %s", a.raw)
	}
	w.must(404, "GET", site+"/pages/11111111-1111-4111-8111-111111111111", nil)
	if empty := w.must(200, "GET", "/sites/root/pages", nil); len(empty.body["value"].([]any)) != 0 {
		t.Errorf("a site without pages = %s", empty.raw)
	}
}

// A page is born checked out, and shows what was published.
func TestPagesAreMadeAndPublished(t *testing.T) {
	w := newWorld(t)
	w.put("news/libraries/Documents/a.txt", "a")
	site := w.site("news")
	page := object{"@odata.type": sitePageType, "name": "story.aspx", "title": "A story", "pageLayout": "article", "canvasLayout": layout(
		object{"@odata.type": "#microsoft.graph.textWebPart", "innerHtml": "<p>Once</p>"}, part("d1d91016-032f-456d-98a4-721247c305e8"))}
	made := w.must(201, "POST", site+"/pages", page)
	if made.text("publishingState", "level") != "checkout" || made.text("publishingState", "versionId") != "0.1" || made.text("name") != "story.aspx" {
		t.Errorf("made = %s", made.raw)
	}
	at := site + "/pages/" + made.text("id") + "/microsoft.graph.sitePage"
	w.must(204, "POST", at+"/publish", nil)
	if a := w.must(200, "GET", at, nil); a.text("publishingState", "level") != "published" || a.text("publishingState", "versionId") != "1.0" {
		t.Errorf("published = %s", a.raw)
	}
	if a := w.must(200, "PATCH", at, object{"@odata.type": sitePageType, "title": "Another"}); a.text("title") != "Another" || a.text("publishingState", "versionId") != "1.1" {
		t.Errorf("changed = %s", a.raw)
	}
	w.must(409, "POST", site+"/pages", page)
	hero := object{"@odata.type": sitePageType, "name": "hero.aspx", "title": "Hero", "canvasLayout": layout(part("c4bd7b2f-7b6e-4599-8485-16504575f590"))}
	w.must(400, "POST", site+"/pages", hero)
	w.must(400, "POST", site+"/pages", object{"name": "x.aspx", "title": "No type"})
	// What was read without metadata can be posted back.
	copied := w.must(200, "GET", at+"?$expand=canvasLayout", nil, "Accept", "application/json;odata.metadata=none").body
	copied["name"], copied["@odata.type"] = "copy.aspx", sitePageType
	w.must(201, "POST", site+"/pages", copied)
	data, err := os.ReadFile(filepath.Join(w.cfg.Sites, "news/pages/story.json"))
	if err != nil || !strings.Contains(string(data), "Once") {
		t.Errorf("on disk: %s %v", data, err)
	}
	w.must(204, "DELETE", site+"/pages/"+made.text("id"), nil)
	w.must(404, "GET", at, nil)
}
