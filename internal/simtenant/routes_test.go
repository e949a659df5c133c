package simtenant

import (
	"net/url"
	"strings"
	"testing"
)

// example is an address of a route of the sample tenant.
func (w *world) example(path string) string {
	drive := w.drive(amala)
	at := strings.NewReplacer(
		"{user}", "/users/"+amala, "{group}", "/groups/6a0de200-4f6b-4c55-8f0e-c0a7050a0100",
		"{site}", "/sites/"+w.svc.folders[amala].id(), "{list}", "/sites/"+w.svc.folders[amala].id()+"/lists/Documents", "{permission}", "owner", "{subscription}", "none", "{version}", "1.0",
		"{organization}", "c0ffee00-5a3e-4d7b-9c1f-365365365365", "{listItem}", "1", "{page}", "1", "{mailbox}", w.mailbox(amala), "{folder}", "inbox",
		"{drive}", drive, "{item}", drive+"/root",
	)
	return at.Replace(path)
}

// An option that a route does not serve is refused by its name; one that it
// serves is not.
func TestPlayOptionsAreServedOrRefused(t *testing.T) {
	w := newWorld(t)
	values := map[string]string{
		"select": "id", "expand": "children", "filter": "startswith(displayName,'A')", "orderby": "name", "search": "x", "count": "true", "skip": "1",
		"top": "5", "skiptoken": "", "deltatoken": "latest", "format": "pdf",
	}
	for _, route := range Routes() {
		for name, value := range values {
			for _, key := range []string{"$" + name, name} {
				address := w.example(route.Path)
				a := w.do(route.Method, address+"?"+url.QueryEscape(key)+"="+url.QueryEscape(value), nil)
				served := " " + route.Options + " "
				refused := a.status == 400 && strings.Contains(a.text("error", "message"), "'"+key+"'")
				if want := !strings.Contains(served, " "+name+" "); refused != want {
					t.Errorf("%s %s with %s: %d %s; refused by name: %v, want %v", route.Method, route.Path, key, a.status, a.raw, refused, want)
				}
			}
			if route.Method != "GET" {
				break // it may have done what it does
			}
		}
	}
	drive := w.drive(amala)
	w.must(200, "GET", drive+"/root/children?$format=json&$count=false&AVOverride=1", nil)
	w.must(400, "GET", drive+"/root/children?$nonsense=1", nil)
}

func TestOrderedListings(t *testing.T) {
	w := newWorld(t)
	for name, content := range map[string]string{"b": "1", "a": "333", "d": "22", "c": "1"} {
		w.write(amala+"/"+name, content)
	}
	drive := w.drive(amala)
	for order, want := range map[string]string{
		"": "a b c d", "name": "a b c d", "name desc": "d c b a", "size": "b c d a", "size asc": "b c d a", "size desc": "a d c b",
	} {
		got := []string{}
		link := drive + "/root/children?$top=2&$count=true&$orderby=" + url.QueryEscape(order)
		for link != "" {
			a := w.must(200, "GET", link, nil)
			if a.body["@odata.count"] != 4.0 {
				t.Errorf("the count is %v", a.body["@odata.count"])
			}
			got = append(got, values(a, "name")...)
			link = a.text("@odata.nextLink")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %q: %v, want %s", order, got, want)
		}
	}
	w.must(400, "GET", drive+"/root/children?$orderby=eTag", nil)
	w.must(400, "GET", drive+"/root/children?$orderby=name%20sideways", nil)
}
