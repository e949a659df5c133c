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

// withLists is a site with a list of customers, and one of offers to them.
func withLists(w *world) (site string) {
	w.put("sales/lists/Customers/list.json", `{"description":"Who buys","columns":[{"name":"City","text":{}},{"name":"Since","dateTime":{}},{"name":"Number","number":{},"indexed":true}]}`)
	w.put("sales/lists/Customers/a.json", `{"Title":"Alpha","City":"Oslo","Number":7}`)
	site = w.site("sales")
	customers := w.must(200, "GET", site+"/lists/Customers", nil)
	w.must(200, "GET", site+"/lists/Customers/items", nil)
	w.put("sales/lists/Customers/b.json", `{"Title":"Beta","City":"Rome","Number":12}`)
	w.must(200, "GET", site+"/lists/Customers/items", nil)
	w.put("sales/lists/Offers/list.json", `{"displayName":"Our offers","columns":[
		{"name":"Customer","lookup":{"listId":"`+customers.text("id")+`","columnName":"Title"}},
		{"name":"Others","lookup":{"listId":"`+customers.text("id")+`","allowMultipleValues":true}},
		{"name":"Price","currency":{"locale":"en-us"}},{"name":"Link","hyperlinkOrPicture":{}},
		{"name":"Tags","choice":{"choices":["a","b"],"displayAs":"checkBoxes"}},{"name":"Total","calculated":{}},{"name":"Secret","text":{},"hidden":true}]}`)
	w.put("sales/lists/Offers/1.json", `{"Title":"Big","CustomerLookupId":2,"OthersLookupId":[1,2],"Price":9.5}`)
	return site
}

func itemOf(a answer, id string) map[string]any {
	for _, v := range a.body["value"].([]any) {
		if m := v.(map[string]any); m["id"] == id {
			return m
		}
	}
	return nil
}

func TestListsAreTold(t *testing.T) {
	w := newWorld(t)
	site := withLists(w)
	w.put("sales/libraries/Documents/a.txt", "a")
	w.put("sales/pages/home.json", `{}`)
	w.put("sales/lists/Internal/list.json", `{"hidden":true}`)
	all := w.must(200, "GET", site+"/lists", nil)
	if got := values(all, "name"); !slices.Equal(got, []string{"Documents", "SitePages", "Customers", "Offers"}) {
		t.Errorf("lists = %v", got)
	}
	if got := values(all, "list", "template"); !slices.Equal(got, []string{"documentLibrary", "webPageLibrary", "genericList", "genericList"}) {
		t.Errorf("templates = %v", got)
	}
	if got := values(w.must(200, "GET", site+"/lists?$select=name,system", nil), "name"); !slices.Contains(got, "Internal") {
		t.Errorf("with the system's, lists = %v", got)
	}
	offers := w.must(200, "GET", site+"/lists/offers?$expand="+url.QueryEscape("columns,contentTypes,items($expand=fields($select=Title))"), nil)
	if offers.text("displayName") != "Our offers" || offers.text("parentReference", "siteId") != strings.TrimPrefix(site, "/sites/") || offers.text("eTag") == "" {
		t.Errorf("the list = %s", offers.raw)
	}
	items := offers.body["items"].([]any)
	if len(items) != 1 || items[0].(map[string]any)["fields"].(map[string]any)["Title"] != "Big" {
		t.Errorf("its items = %v", items)
	}
	if again := w.must(200, "GET", site+"/lists/"+offers.text("id"), nil); again.text("id") != offers.text("id") {
		t.Errorf("by id = %s", again.raw)
	}
	columns := w.must(200, "GET", site+"/lists/Offers/columns", nil)
	names := values(columns, "name")
	if !slices.Contains(names, "Title") || !slices.Contains(names, "Customer") || slices.Contains(names, "Secret") {
		t.Errorf("columns = %v", names)
	}
	for _, v := range columns.body["value"].([]any) {
		if m := v.(map[string]any); m["name"] == "Link" && m["hyperlinkOrPicture"] != nil {
			t.Errorf("the service does not tell the kind of %v", m)
		}
	}
	if got := values(w.must(200, "GET", site+"/lists/Offers/columns?$select=name,hidden", nil), "name"); !slices.Contains(got, "Secret") {
		t.Errorf("with hidden ones, columns = %v", got)
	}
	if got := values(w.must(200, "GET", site+"/lists/Offers/contentTypes", nil), "name"); !slices.Equal(got, []string{"Item"}) {
		t.Errorf("content types = %v", got)
	}
	withDrive := w.must(200, "GET", site+"/lists/Documents?$expand=drive", nil)
	if withDrive.text("drive", "id") != w.must(200, "GET", site+"/drive", nil).text("id") {
		t.Errorf("the library's drive = %s", withDrive.raw)
	}
	w.must(404, "GET", site+"/lists/Offers/drive", nil)
	w.must(400, "GET", site+"/lists/Offers?$expand=workflows", nil)
	w.must(404, "GET", site+"/lists/none", nil)
}

func TestListItems(t *testing.T) {
	w := newWorld(t)
	site := withLists(w)
	list := site + "/lists/Offers"
	plain := itemOf(w.must(200, "GET", list+"/items", nil), "1")
	if plain["fields"] != nil || plain["contentType"].(map[string]any)["name"] != "Item" || plain["eTag"] == nil || plain["parentReference"].(map[string]any)["siteId"] == nil {
		t.Errorf("the item = %v", plain)
	}
	fields := itemOf(w.must(200, "GET", list+"/items?expand=fields", nil), "1")["fields"].(map[string]any)
	if fields["CustomerLookupId"] != "2" || fields["Customer"] != nil || fields["Price"] != 9.5 || fields["LinkTitle"] != "Big" || fields["@odata.etag"] != plain["eTag"] {
		t.Errorf("its fields = %v", fields)
	}
	if others := fmt.Sprint(fields["Others"]); others != "[map[LookupId:1 LookupValue:Alpha] map[LookupId:2 LookupValue:Beta]]" {
		t.Errorf("its lookups = %v", others)
	}
	fields = itemOf(w.must(200, "GET", list+"/items?$expand="+url.QueryEscape("fields($select=Title,Customer)"), nil), "1")["fields"].(map[string]any)
	if fields["Customer"] != "Beta" || fields["CustomerLookupId"] != "2" || fields["Price"] != nil {
		t.Errorf("the fields that were asked for = %v", fields)
	}
	// Indexed columns are filtered, others for who takes the risk.
	customers := site + "/lists/Customers"
	for filter, want := range map[string]int{"fields/Number gt 8": 1, "fields/Number ge 7 and fields/Number lt 12": 1, "fields/Number eq 5": 0} {
		if got := values(w.must(200, "GET", customers+"/items?$filter="+url.QueryEscape(filter), nil), "id"); len(got) != want {
			t.Errorf("%s finds %v", filter, got)
		}
	}
	filter := customers + "/items?$filter=" + url.QueryEscape("startswith(fields/City,'Os')")
	w.must(400, "GET", filter, nil)
	if got := values(w.must(200, "GET", filter, nil, "Prefer", "HonorNonIndexedQueriesWarningMayFailRandomly"), "id"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("by city: %v", got)
	}
	w.must(400, "GET", customers+"/items?$filter=nonsense", nil)
	w.must(404, "GET", customers+"/items/77", nil)
	w.must(404, "GET", customers+"/items/x", nil)
}

func TestListItemsAreWritten(t *testing.T) {
	w := newWorld(t)
	site := withLists(w)
	list := site + "/lists/Offers"
	made := w.must(201, "POST", list+"/items", object{"fields": object{
		"Title": "Small", "CustomerLookupId": 1, "OthersLookupId@odata.type": "Collection(Edm.Int32)", "OthersLookupId": []int{2}, "Tags@odata.type": "Collection(Edm.String)", "Tags": []string{"a"},
	}})
	id := made.text("id")
	if id != "2" || made.text("fields", "CustomerLookupId") != "1" {
		t.Errorf("made = %s", made.raw)
	}
	if data, err := os.ReadFile(filepath.Join(w.cfg.Sites, "sales/lists/Offers/2.json")); err != nil || !strings.Contains(string(data), `"Title": "Small"`) {
		t.Errorf("on disk: %s %v", data, err)
	}
	for name, fields := range map[string]object{
		"unknown":         {"Nothing": "x"},
		"read-only":       {"Total": 5},
		"builtin":         {"Author": "x"},
		"lookup by name":  {"Customer": "Alpha"},
		"lookup to none":  {"CustomerLookupId": 99},
		"several for one": {"CustomerLookupId": []int{1, 2}},
		"no number":       {"Price": "much"},
		"no text":         {"Title": 5},
		"a link":          {"Link": "https://x"},
		"the id":          {"id": "7"},
		"a long text":     {"Title": strings.Repeat("x", 300)},
	} {
		if a := w.do("POST", list+"/items", object{"fields": fields}); a.status != 400 {
			t.Errorf("%s: POST = %d %s", name, a.status, a.raw)
		}
		if a := w.do("PATCH", list+"/items/"+id+"/fields", fields); a.status != 400 {
			t.Errorf("%s: PATCH = %d %s", name, a.status, a.raw)
		}
	}
	a := w.must(200, "PATCH", list+"/items/"+id+"/fields", object{"Price": 3, "Tags": nil})
	if a.text("Price") != "3" || a.text("Title") != "Small" || a.body["Tags"] != nil {
		t.Errorf("patched = %s", a.raw)
	}
	if a := w.do("PATCH", list+"/items/"+id, object{"fields": object{"Price": 4}}, "If-Match", made.text("eTag")); a.status != 412 {
		t.Errorf("with an old eTag = %d %s", a.status, a.raw)
	}
	w.must(204, "DELETE", list+"/items/"+id, nil)
	w.must(404, "GET", list+"/items/"+id, nil)
	if again := w.must(201, "POST", list+"/items", object{"fields": object{"Title": "Again"}}); again.text("id") != "3" {
		t.Errorf("a number was used again: %s", again.raw)
	}
	w.restart()
	if again := w.must(201, "POST", list+"/items", object{"fields": object{"Title": "Again"}}); again.text("id") != "4" {
		t.Errorf("a number was used again: %s", again.raw)
	}
}

// Lists are made with columns, and deleted.
func TestListsAreMade(t *testing.T) {
	w := newWorld(t)
	site := withLists(w)
	made := w.must(201, "POST", site+"/lists", object{"displayName": "Books", "description": "To read", "columns": []object{{"name": "PageCount", "number": object{}}}, "list": object{"template": "genericList"}})
	list := site + "/lists/" + made.text("id")
	w.must(201, "POST", list+"/columns", object{"name": "Pub", "displayName": "Publisher", "text": object{}})
	w.must(409, "POST", list+"/columns", object{"name": "Pub", "text": object{}})
	w.must(400, "POST", list+"/columns", object{"name": "Odd"})
	w.must(201, "POST", list+"/contentTypes", object{"name": "Novel"})
	item := w.must(201, "POST", list+"/items", object{"fields": object{"Title": "One", "PageCount": 32, "Pub": "X"}, "contentType": object{"name": "Novel"}})
	if item.text("contentType", "name") != "Novel" || item.text("fields", "PageCount") != "32" {
		t.Errorf("the item = %s", item.raw)
	}
	w.must(400, "POST", list+"/items", object{"fields": object{"Title": "One"}, "contentType": object{"name": "Poem"}})
	if a := w.must(200, "PATCH", list, object{"displayName": "Good books"}); a.text("displayName") != "Good books" {
		t.Errorf("renamed = %s", a.raw)
	}
	w.must(409, "POST", site+"/lists", object{"displayName": "books", "list": object{"template": "genericList"}})
	w.must(400, "POST", site+"/lists", object{"displayName": "x", "list": object{"template": "nonsense"}})
	w.must(204, "DELETE", list, nil)
	w.must(404, "GET", list, nil)
	again := w.must(201, "POST", site+"/lists", object{"displayName": "Books", "list": object{"template": "genericList"}})
	if again.text("id") == made.text("id") {
		t.Error("a list that was made again has the id of the one before")
	}
}

// What any program does to a list's files is told by its delta.
func TestListDelta(t *testing.T) {
	w := newWorld(t)
	w.put("sales/lists/Plain/one.json", `{"Title":"One"}`)
	w.put("sales/lists/Plain/two.json", `{"Title":"Two"}`)
	w.put("sales/lists/Plain/notes.txt", `no item`)
	site := w.site("sales")
	list := site + "/lists/Plain"
	delta := func(link string) (ids []string, last string) {
		for link != "" {
			a := w.must(200, "GET", link, nil)
			for _, v := range a.body["value"].([]any) {
				m := v.(map[string]any)
				id := m["id"].(string)
				if m["deleted"] != nil {
					id = "-" + id
					if m["fields"] != nil || m["parentReference"].(map[string]any)["siteId"] == nil {
						t.Errorf("a deleted item = %v", m)
					}
				} else if m["fields"] == nil || m["lastModifiedBy"] != nil {
					t.Errorf("an item = %v", m)
				}
				ids = append(ids, id)
			}
			link, last = a.text("@odata.nextLink"), a.text("@odata.deltaLink")
		}
		slices.Sort(ids)
		return ids, last
	}
	ids, last := delta(list + "/items/delta?$expand=fields&$top=1")
	if !slices.Equal(ids, []string{"1", "2"}) || !strings.Contains(last, "token=") {
		t.Errorf("all items are %v, and then %s", ids, last)
	}
	if ids, _ := delta(last); len(ids) != 0 {
		t.Errorf("nothing changed, and it tells %v", ids)
	}
	w.put("sales/lists/Plain/three.json", `{"Title":"Three"}`)
	w.put("sales/lists/Plain/one.json", `{"Title":"One, changed"}`)
	w.removeSite("sales/lists/Plain/two.json")
	ids, last = delta(last)
	if !slices.Equal(ids, []string{"-2", "1", "3"}) {
		t.Errorf("the changes are %v", ids)
	}
	w.moveSite("sales/lists/Plain/one.json", "sales/lists/Plain/first.json")
	w.put("sales/lists/Plain/three.json", `{"Title":`)
	w.moveSite("sales/lists/Plain", "sales/lists/Simple")
	ids, last = delta(last)
	if !slices.Equal(ids, []string{"1", "3"}) {
		t.Errorf("the changes are %v", ids)
	}
	if a := w.must(200, "GET", site+"/lists/Simple/items/1?$expand=fields", nil); a.text("fields", "Title") != "One, changed" {
		t.Errorf("renamed, it is %s", a.raw)
	}
	w.moveSite("sales/lists/Simple/first.json", "sales/lists/Simple/first.txt")
	if ids, _ = delta(last); !slices.Equal(ids, []string{"-1"}) {
		t.Errorf("what is no item any more is told as %v", ids)
	}
	w.must(400, "GET", site+"/lists/Simple/items/delta?token=x", nil)
	other := cursor{generation: "other"}.String()
	a := w.must(410, "GET", site+"/lists/Simple/items/delta?token="+other, nil)
	if !strings.HasSuffix(a.header.Get("Location"), "/items/delta") {
		t.Errorf("a token of another list leads to %q", a.header.Get("Location"))
	}
}

// More than twelve lookups are refused in one request.
func TestTooManyLookups(t *testing.T) {
	w := newWorld(t)
	var columns []string
	for i := range 14 {
		columns = append(columns, fmt.Sprintf(`{"name":"L%d","lookup":{"listId":"Wide"}}`, i))
	}
	w.put("sales/lists/Wide/list.json", `{"columns":[`+strings.Join(columns, ",")+`]}`)
	w.put("sales/lists/Wide/1.json", `{"Title":"One","L3LookupId":1}`)
	list := w.site("sales") + "/lists/Wide"
	w.must(400, "GET", list+"/items?$expand=fields", nil)
	w.must(400, "GET", list+"/items/1/fields", nil)
	a := w.must(200, "GET", list+"/items?$expand="+url.QueryEscape("fields($select=Title,L3)"), nil)
	if fields := itemOf(a, "1")["fields"].(map[string]any); fields["L3"] != "One" {
		t.Errorf("a lookup into the list itself = %v", fields)
	}
}

// A library's files are items of its list, with columns of their own.
func TestColumnsOfFiles(t *testing.T) {
	w := newWorld(t)
	w.put("sales/libraries/Documents.json", `{"columns":[{"name":"Client","text":{}}]}`)
	w.put("sales/libraries/Documents/f/a.txt", "a")
	site := w.site("sales")
	a := w.must(200, "GET", site+"/drive/root:/f/a.txt", nil)
	item := "/drives/" + a.text("parentReference", "driveId") + "/items/" + a.text("id")
	last := w.must(200, "GET", site+"/drive/root/delta?token=latest", nil).text("@odata.deltaLink")
	w.must(400, "PATCH", item+"/listItem/fields", object{"Nothing": "x"})
	if a := w.must(200, "PATCH", item+"/listItem/fields", object{"Client": "ACME", "Title": "A"}); a.text("Client") != "ACME" {
		t.Errorf("patched = %s", a.raw)
	}
	now := itemOf(w.must(200, "GET", last, nil), a.text("id"))
	if now == nil || now["cTag"] != a.text("cTag") || now["eTag"] == a.text("eTag") {
		t.Errorf("the delta of the drive tells %v", now)
	}
	w.restart()
	one := w.must(200, "GET", item+"/listItem?$expand=fields", nil)
	if one.text("fields", "Client") != "ACME" || one.text("fields", "FileLeafRef") != "a.txt" || one.text("contentType", "name") != "Document" {
		t.Errorf("the item = %s", one.raw)
	}
	if file := w.must(200, "GET", site+"/lists/Documents/items/"+one.text("id")+"/driveItem", nil); file.text("id") != a.text("id") {
		t.Errorf("its file = %s", file.raw)
	}
	if got := values(w.must(200, "GET", site+"/lists/Documents/items?expand=fields", nil), "fields", "FileLeafRef"); !slices.Equal(got, []string{"f", "a.txt"}) {
		t.Errorf("the items of the library are %v", got)
	}
	of := w.must(200, "GET", site+"/lists/Documents/items/delta?$expand=fields,driveItem($select=id)", nil)
	if file, _ := itemOf(of, one.text("id"))["driveItem"].(map[string]any); len(file) != 1 || file["id"] != a.text("id") {
		t.Errorf("the delta of the list tells of the file %v", file)
	}
	w.must(400, "POST", site+"/lists/Documents/items", object{"fields": object{"Title": "x"}})
	if got := values(w.must(200, "GET", "/drives/"+a.text("parentReference", "driveId")+"/list/columns", nil), "name"); !slices.Contains(got, "Client") {
		t.Errorf("columns = %v", got)
	}
}

// What lies in a list's folder and makes no sense breaks nothing.
func TestNothingOnDiskBreaksAList(t *testing.T) {
	w := newWorld(t)
	site := withLists(w)
	list := site + "/lists/Offers"
	for name, content := range map[string]string{"nothing": "", "a list": "[1]", "null": "null", "half": `{"Title":`, "other kinds": `{"Title":5,"CustomerLookupId":"x","OthersLookupId":{"a":1},"Price":[]}`} {
		w.put("sales/lists/Offers/1.json", content)
		w.put("sales/lists/Offers/list.json", strings.ReplaceAll(content, "Title", "columns"))
		for _, address := range []string{list, list + "/items?expand=fields", list + "/items/delta?expand=fields", list + "/columns", list + "/items/1/fields", site + "/lists"} {
			if a := w.do("GET", address, nil); a.status != 200 {
				t.Errorf("%s: GET %s = %d %s", name, address, a.status, a.raw)
			}
		}
	}
	w.removeSite("sales/lists/Offers")
	for _, address := range []string{list, list + "/items", list + "/items/delta", list + "/columns", list + "/items/1/fields"} {
		w.must(404, "GET", address, nil)
	}
}

// What an item was is told with its fields, and can be had back.
func TestVersionsOfListItems(t *testing.T) {
	w := newWorld(t)
	site := withLists(w)
	items := site + "/lists/Offers/items"
	w.must(200, "GET", items, nil)
	for _, price := range []float64{10, 11} {
		w.must(200, "PATCH", items+"/1/fields", object{"Price": price})
	}
	told := func() string {
		t.Helper()
		var out []string
		for _, v := range w.must(200, "GET", items+"/1/versions?$expand=fields($select=Price,CustomerLookupId,_UIVersionString)", nil).body["value"].([]any) {
			one := v.(object)
			f := one["fields"].(object)
			if one["lastModifiedDateTime"] == nil || one["lastModifiedBy"] == nil || f["_UIVersionString"] != one["id"] {
				t.Errorf("a version is %v", one)
			}
			out = append(out, fmt.Sprint(one["id"], ":", f["Price"], ":", f["CustomerLookupId"]))
		}
		return strings.Join(out, " ")
	}
	if got := told(); got != "3.0:11:2 2.0:10:2 1.0:9.5:2" {
		t.Errorf("the versions are %s", got)
	}
	if one := w.must(200, "GET", items+"/1/versions/2.0?$expand=fields", nil); one.text("fields", "Price") != "10" || one.text("id") != "2.0" {
		t.Errorf("the second is %s", one.raw)
	}
	if f := w.must(200, "GET", items+"/1/versions/1.0/fields", nil); f.text("Price") != "9.5" || f.text("Title") != "Big" {
		t.Errorf("the first's fields are %s", f.raw)
	}
	w.must(204, "POST", items+"/1/versions/1.0/restoreVersion", nil)
	if got := told(); got != "4.0:9.5:2 3.0:11:2 2.0:10:2 1.0:9.5:2" {
		t.Errorf("then the versions are %s", got)
	}
	w.must(400, "POST", items+"/1/versions/4.0/restoreVersion", nil)
	w.must(404, "GET", items+"/1/versions/9.0", nil)
	w.must(404, "GET", items+"/99/versions", nil)
	w.must(400, "GET", items+"/1/versions?$expand=driveItem", nil)
	// A library's items have the versions of their files.
	w.put("sales/libraries/Documents/a.txt", "one")
	w.must(200, "GET", site+"/lists/Documents/items", nil)
	w.must(200, "PUT", site+"/drive/root:/a.txt:/content", "two")
	if list := w.must(200, "GET", site+"/lists/Documents/items/1/versions?$expand=fields", nil).body["value"].([]any); len(list) != 2 {
		t.Errorf("a file's versions are %v", list)
	}
}
