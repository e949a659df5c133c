package simtenant

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
)

// inhabited is a world that has two of everything, and what stands for the variables
// of the routes' paths in it.
func inhabited(t *testing.T) (*world, *strings.Replacer) {
	w := newDirectory(t)
	w.stop()
	tenant := &w.cfg.Tenants[0]
	gone := tenant.Users[2].Deleted
	tenant.Users[5].Deleted = gone
	const other = "6a0de200-4f6b-4c55-8f0e-c0a7050a0203"
	tenant.Groups = append(tenant.Groups, Group{ID: other, DisplayName: "All of them", Members: []backup.ObjectID{outerGroup, innerGroup}})
	for i := range tenant.Groups {
		if tenant.Groups[i].ID == outerGroup {
			tenant.Groups[i].Members = append(tenant.Groups[i].Members, tenant.Users[4].ID)
		}
		if tenant.Groups[i].ID == innerGroup {
			tenant.Groups[i].Members = append(tenant.Groups[i].Members, tenant.Groups[0].ID)
		}
	}
	w.start()

	// A drive.
	for i, name := range []string{"b.txt", "a.txt", "sub/c.txt", "sub/d.txt"} {
		w.write(amala+"/x/"+name, strings.Repeat("x", i+1))
	}
	drive := w.drive(amala)
	for _, content := range []string{"one", "two", "three"} {
		w.do("PUT", drive+"/root:/x/versions.txt:/content", content)
	}
	w.write(conrad+"/shared/a.txt", "a")
	w.write(conrad+"/shared/b.txt", "b")
	for _, name := range []string{"a.txt", "b.txt"} {
		w.must(200, "POST", w.drive(conrad)+"/root:/shared/"+name+":/invite", object{"recipients": []any{object{"email": amala}}, "roles": []string{"read"}, "requireSignIn": true})
	}
	file := w.must(200, "GET", drive+"/root:/x/versions.txt", nil)
	permission := w.must(201, "POST", drive+"/items/"+file.text("id")+"/createLink", object{"type": "view", "scope": "organization"}).text("id")

	// A site.
	site := withLists(w)
	w.put("marketing/libraries/Documents/plan.txt", "plan")
	for _, below := range []string{"emea", "asia"} {
		w.put("sales/sites/"+below+"/libraries/Documents/a.txt", "a")
	}
	for _, page := range []string{"home", "news"} {
		w.put("sales/pages/"+page+".json", `{"title":"`+page+`","canvasLayout":{"horizontalSections":[]}}`)
	}
	w.put("sales/libraries/Documents/doc.txt", "doc")
	list := site + "/lists/Customers"
	w.must(200, "PATCH", list+"/items/1/fields", object{"City": "Bergen"})
	for _, name := range []string{"r1.txt", "r2.txt"} {
		w.must(201, "PUT", site+"/drive/root:/"+name+":/content", name)
		w.must(204, "DELETE", site+"/drive/root:/"+name, nil)
	}
	page := values(w.must(200, "GET", site+"/pages", nil), "id")[0]
	grant := w.must(201, "POST", site+"/permissions", object{"roles": []string{"read"}, "grantedToIdentities": []any{object{"application": object{"id": "89ea5c94-7736-4e25-95ad-3fa95f62b66e", "displayName": "x"}}}}).text("id")
	w.must(201, "POST", site+"/permissions", object{"roles": []string{"write"}, "grantedToIdentities": []any{object{"application": object{"id": "89ea5c94-7736-4e25-95ad-3fa95f62b66f", "displayName": "y"}}}})
	for _, of := range []string{site, "/sites/" + w.must(200, "GET", drive+"/root", nil).text("parentReference", "siteId")} {
		w.must(201, "POST", of+"/lists", object{"displayName": "Second", "list": object{"template": "documentLibrary"}})
	}
	inLibrary := w.must(200, "GET", site+"/drive/root:/doc.txt", nil).text("id")

	// A mailbox.
	w.mail(picture(t, 100, 70), amala, ".photo.jpg")
	for i, month := range []string{"Jan", "Feb", "Mar"} {
		w.mail(strings.ReplaceAll(message(fmt.Sprint("subject ", 3-i)), "Feb", month), amala, "Inbox", fmt.Sprint(i, ".eml"))
		for _, folder := range []string{"Calendar", "Calendar/Other", "Calendar/Third"} {
			w.mail(fmt.Sprintf("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:%d\r\nDTSTART:2026030%dT100000Z\r\nDTEND:2026030%dT110000Z\r\nSUMMARY:Lunch\r\nRRULE:FREQ=DAILY;COUNT=3\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", i, i+1, i+1), amala, folder, fmt.Sprint("e", i, ".ics"))
		}
		for _, folder := range []string{"Contacts", "Contacts/Other", "Contacts/Third"} {
			w.mail(fmt.Sprintf("BEGIN:VCARD\r\nFN:Contact %d\r\nEND:VCARD\r\n", i), amala, folder, fmt.Sprint("c", i, ".vcf"))
		}
		for _, folder := range []string{"Tasks", "Tasks/Other"} {
			w.mail(fmt.Sprintf("BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nUID:t%d\r\nSUMMARY:Task %d\r\nEND:VTODO\r\nEND:VCALENDAR\r\n", i, i), amala, folder, fmt.Sprint("t", i, ".ics"))
		}
	}
	w.mail(message("deep"), amala, "Inbox", "Deep", "1.eml")
	w.mail(message("deep"), amala, "Inbox", "Deeper", "1.eml")
	me := "/users/" + amala
	for _, name := range []string{"Blue", "Red"} {
		w.must(201, "POST", me+"/outlook/masterCategories", object{"displayName": name, "color": "preset1"})
	}
	w.must(200, "PUT", me+"/contacts/"+values(w.must(200, "GET", me+"/contacts", nil), "id")[0]+"/photo/$value", picture(t, 20, 20), "Content-Type", "image/jpeg")
	draft := w.must(201, "POST", me+"/messages", object{"subject": "with files"}).text("id")
	for _, name := range []string{"a.txt", "b.txt"} {
		w.must(201, "POST", me+"/messages/"+draft+"/attachments", object{"@odata.type": "#microsoft.graph.fileAttachment", "name": name, "contentBytes": "eHg="})
	}
	attachment := values(w.must(200, "GET", me+"/messages/"+draft+"/attachments", nil), "id")[0]
	paper := values(w.must(200, "GET", me+"/events", nil), "id")[0]
	w.must(201, "POST", me+"/events/"+paper+"/attachments", object{"@odata.type": "#microsoft.graph.fileAttachment", "name": "a.txt", "contentBytes": "eHg="})
	file1 := values(w.must(200, "GET", me+"/events/"+paper+"/attachments", nil), "id")[0]
	first := func(address string) string { return values(w.must(200, "GET", me+address, nil), "id")[0] }
	subscription := w.must(201, "POST", "/subscriptions", object{
		"changeType": "updated", "notificationUrl": listen(t).URL, "resource": strings.TrimPrefix(drive, "/") + "/root", "expirationDateTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "clientState": "x",
	}).text("id")
	item := drive + "/items/" + file.text("id")
	return w, strings.NewReplacer(
		"{user}/messages/{message}/attachments/{attachment}", me+"/messages/"+draft+"/attachments/"+attachment,
		"{user}/mailFolders/{folder}/messages/{message}/attachments/{attachment}", me+"/mailFolders/drafts/messages/"+draft+"/attachments/"+attachment,
		"{user}/mailFolders/{folder}/messages/{message}/attachments", me+"/mailFolders/drafts/messages/"+draft+"/attachments",
		"{user}/mailFolders/{folder}/messages/{message}", me+"/mailFolders/drafts/messages/"+draft,
		"{user}/messages/{message}", me+"/messages/"+draft,
		"{user}/calendars/{folder}/events/{message}/attachments/{attachment}", me+"/calendars/calendar/events/"+paper+"/attachments/"+file1,
		"{user}/calendar/events/{message}/attachments/{attachment}", me+"/calendar/events/"+paper+"/attachments/"+file1,
		"{user}/events/{message}/attachments/{attachment}", me+"/events/"+paper+"/attachments/"+file1,
		"{user}/calendars/{folder}/events/{message}", me+"/calendars/calendar/events/"+first("/events"),
		"{user}/calendar/events/{message}", me+"/calendar/events/"+first("/events"),
		"{user}/events/{message}", me+"/events/"+first("/events"),
		"{user}/calendars/{folder}", me+"/calendars/"+first("/calendars"),
		"{user}/contactFolders/{folder}/contacts/{message}", me+"/contactFolders/contacts/contacts/"+first("/contacts"),
		"{user}/contacts/{message}", me+"/contacts/"+first("/contacts"),
		"{user}/contactFolders/{folder}", me+"/contactFolders/contacts",
		"{user}/todo/lists/{folder}/tasks/{message}", me+"/todo/lists/tasks/tasks/"+first("/todo/lists/tasks/tasks"),
		"{user}/todo/lists/{folder}", me+"/todo/lists/tasks",
		"{mailbox}/folders/{folder}/items/{message}", w.mailbox(amala)+"/folders/inbox/items/"+url.PathEscape(w.itemsOf(w.mailbox(amala), "inbox")[0]["id"].(string)),
		"{user}/photos/{size}", me+"/photos/48x48", "{setting}", "timeZone",
		"{category}", first("/outlook/masterCategories"),
		"{user}/transitiveMemberOf", "/users/"+conrad+"/transitiveMemberOf", "{user}/memberOf", "/users/"+conrad+"/memberOf", "{user}", me,
		"{group}/members/microsoft.graph.user", "/groups/"+innerGroup+"/members/microsoft.graph.user", "{group}/members/microsoft.graph.group", "/groups/"+innerGroup+"/members/microsoft.graph.group",
		"{group}/memberOf", "/groups/"+innerGroup+"/memberOf", "{group}", "/groups/"+outerGroup,
		"{site}/permissions/{permission}", site+"/permissions/"+grant, "{site}", site,
		"{list}/items/{listItem}/driveItem", site+"/lists/Documents/items/"+values(w.must(200, "GET", site+"/lists/Documents/items", nil), "id")[0]+"/driveItem", "{list}", list, "{listItem}", "1",
		"{item}/listItem", site+"/drive/items/"+inLibrary+"/listItem", "{item}/children", drive+"/root:/x:/children", "{item}/delta", drive+"/root/delta", "{item}/search", drive+"/root/search(q='txt')",
		"{drive}/search", drive+"/search(q='txt')", "{permission}", permission, "{item}", item, "{drive}", drive, "{version}", "1.0", "{set}", "0", "{size}", "small",
		"{organization}", string(tenant.ID), "{page}", page, "{mailbox}", w.mailbox(amala), "{folder}", "inbox", "{subscription}", subscription,
	)
}

// needed are the options that a call cannot be without, or that have it tell all.
func needed(path string) string {
	switch {
	case strings.Contains(path, "calendarView"), strings.HasSuffix(path, "/instances"):
		return "startDateTime=2026-03-01T00:00:00Z&endDateTime=2026-04-01T00:00:00Z"
	case path == "/sites":
		return "search=*"
	}
	return "a=b"
}

// told are the things that an answer tells of, or the one that it is.
func told(a answer) (list []object, many bool) {
	v, many := a.body["value"].([]any)
	if !many {
		return []object{a.body}, false
	}
	for _, one := range v {
		list = append(list, one.(object))
	}
	return list, true
}

// What a route says it serves of query options has the effect that it should: what
// is told is other than without it, and in the way that the option asks for.
func TestServedOptionsHaveTheirEffect(t *testing.T) {
	w, at := inhabited(t)
	filters := map[string]string{ // by how the path ends
		"/users": "startswith(displayName,'A')", "/users/$count": "startswith(displayName,'A')", "/groups": "displayName eq 'Some'", "/groups/$count": "displayName eq 'Some'",
		"{list}/items": "fields/Number eq 7", "/messages": "receivedDateTime ge 2026-02-01T00:00:00Z", "/messages/delta": "receivedDateTime ge 2026-02-01T00:00:00Z",
		"/folders": "", "/childFolders": "", "/items": "", "/items/delta": "", "/sites": "siteCollection/root ne null",
		"/mailFolders": "displayName eq 'inbox'", "{user}/mailFolders/{folder}/childFolders": "startswith(displayName,'deeper')", "/calendars": "name eq 'other'", "/contactFolders": "displayName eq 'third'", "/todo/lists": "displayName eq 'other'",
		"/events": "start/dateTime ge '2026-03-02'", "/calendarView": "start/dateTime lt '2026-03-02'", "/instances": "start/dateTime ge '2026-03-03' and start/dateTime lt '2026-03-04'",
		"/contacts": "displayName eq 'contact 1'", "/tasks": "title in ('Task 0','task 1')",
	}
	orders := map[string]string{"/users": "displayName", "/groups": "displayName", "{item}/children": "name", "/messages": "receivedDateTime", "/items": "receivedDateTime", "/mailFolders": "displayName", "{user}/mailFolders/{folder}/childFolders": "displayName",
		"/calendars": "name", "/contactFolders": "displayName", "/todo/lists": "displayName", "/events": "subject", "/calendarView": "subject", "/instances": "subject", "/contacts": "displayName", "/tasks": "title"}
	expands := map[string]string{
		"{site}/pages/microsoft.graph.sitePage": "canvasLayout", "{site}/pages/{page}/microsoft.graph.sitePage": "canvasLayout",
		"{list}": "columns", "/messages": "attachments", "/messages/{message}": "attachments", "/events/{message}": "attachments", "{list}/items": "fields", "{list}/items/delta": "fields", "{list}/items/{listItem}": "fields", "{item}/listItem": "fields", "/versions": "fields", "/versions/{version}": "fields",
	}
	ending := func(m map[string]string, path string) (string, bool) {
		best, ok := "", false
		for end := range m {
			if strings.HasSuffix(path, end) && (!ok || len(end) > len(best)) {
				best, ok = end, true
			}
		}
		return m[best], ok
	}
	for _, route := range Routes() {
		if route.Method != "GET" || route.Options == "" {
			continue
		}
		address := at.Replace(route.Path) + "?" + needed(route.Path)
		header := []string{"ConsistencyLevel", "eventual", "Prefer", ""}
		plain := w.do("GET", address, nil, header...)
		if plain.status != 200 {
			t.Errorf("%s: %s = %d %s", route.Path, address, plain.status, plain.raw)
			continue
		}
		all, many := told(plain)
		for link := plain.text("@odata.nextLink"); link != "" && slices.Contains(strings.Fields(route.Options), "skip"); {
			next := w.must(200, "GET", link, nil, header...)
			some, _ := told(next)
			all, link = append(all, some...), next.text("@odata.nextLink")
		}
		for name := range strings.FieldsSeq(route.Options) {
			ask := func(value string) answer {
				return w.do("GET", address+"&"+url.QueryEscape("$"+name)+"="+url.QueryEscape(value), nil, header...)
			}
			wrong := func(a answer, format string, args ...any) {
				t.Errorf("GET %s with $%s: %s: %d %.300s", route.Path, name, fmt.Sprintf(format, args...), a.status, a.raw)
			}
			if many && len(all) < 2 && slices.Contains([]string{"top", "skip", "orderby", "filter"}, name) {
				t.Errorf("the test has too few of %s: %s", route.Path, plain.raw)
				continue
			}
			switch name {
			case "select":
				one := ""
				for key := range maps.Keys(all[0]) {
					if !strings.Contains(key, "@") && (one == "" || key < one) && key != "id" && key != "deleted" {
						one = key
					}
				}
				a := ask(one)
				list, _ := told(a)
				if a.status != 200 || len(list) == 0 {
					wrong(a, "not answered")
					continue
				}
				for _, v := range list {
					for key := range v {
						// The id is told of whatever has one, and what the kind is.
						if key != one && key != "id" && !strings.Contains(key, "@") && v["deleted"] == nil {
							wrong(a, "%s is told, though %s was selected", key, one)
						}
					}
				}
			case "top":
				a := ask("1")
				if list, _ := told(a); a.status != 200 || len(list) > 2 && !strings.HasSuffix(route.Path, "calendarView/delta") || len(list) >= len(all) && len(all) > 2 || a.text("@odata.nextLink") == "" && !strings.HasSuffix(route.Path, "/recent") {
					wrong(a, "%d of %d are told", len(list), len(all))
				}
				if a := ask("x"); a.status != 400 {
					wrong(a, "it is x")
				}
			case "skip":
				a := ask("1")
				if list, _ := told(a); a.status != 200 || len(list) != min(len(all)-1, 10) || !reflect.DeepEqual(list[0]["id"], all[1]["id"]) {
					wrong(a, "%d of %d are told", len(list), len(all))
				}
			case "count":
				if a := ask("true"); a.body["@odata.count"] != float64(len(all)) || plain.body["@odata.count"] != nil {
					wrong(a, "it is not %d", len(all))
				}
				if a := ask("x"); a.status != 400 {
					wrong(a, "it is x")
				}
			case "skiptoken", "deltatoken":
				if a := ask("no-such-token"); a.status != 400 && a.status != 410 {
					wrong(a, "a token that nobody gave")
				}
			case "search":
				word := "marketing"
				if strings.HasSuffix(route.Path, "/messages") {
					word = url.QueryEscape(`"subject:\"subject 1\""`)
				}
				a := w.do("GET", at.Replace(route.Path)+"?$search="+word, nil)
				if list, _ := told(a); a.status != 200 || len(list) != 1 {
					wrong(a, "found")
				}
			case "orderby":
				by, known := ending(orders, route.Path)
				if !known {
					t.Errorf("the test knows no order of %s", route.Path)
					continue
				}
				if down := values(ask(by+" desc"), by); !slices.IsSortedFunc(down, func(a, b string) int { return strings.Compare(b, a) }) {
					wrong(ask(by+" desc"), "down is %v", down)
				}
				if up := values(ask(by), by); !slices.IsSorted(up) {
					wrong(ask(by), "up is %v", up)
				}
				if a := ask("nonsense"); a.status != 400 {
					wrong(a, "by nonsense")
				}
			case "filter":
				expression, known := ending(filters, route.Path)
				if !known {
					t.Errorf("the test knows no filter of %s", route.Path)
					continue
				}
				if expression != "" {
					a := ask(expression)
					if list, _ := told(a); a.status != 200 || many && (len(list) == 0 || len(list) >= len(all) && !strings.HasSuffix(route.Path, "/sites")) || !many && string(a.raw) == string(plain.raw) {
						wrong(a, "%d of %d are told", len(list), len(all))
					}
				}
				if a := ask("nonsense eq 1"); a.status != 400 {
					wrong(a, "of nonsense")
				}
			case "expand":
				if a := ask("nonsense"); a.status != 400 || !strings.Contains(a.text("error", "message"), "nonsense") {
					wrong(a, "of nonsense")
				}
				property, known := ending(expands, route.Path)
				if !known {
					continue // extended properties, which have a test of their own
				}
				list, _ := told(ask(property))
				if len(list) == 0 || !slices.ContainsFunc(list, func(v object) bool { return v[property] != nil }) {
					wrong(ask(property), "%s is not told", property)
				}
			default:
				t.Errorf("the test knows nothing of $%s", name)
			}
		}
	}

	if a := w.do("GET", "//users/"+amala, nil); a.status != 200 { // as some client sends it
		t.Errorf("behind two slashes: %d %s", a.status, a.raw)
	}
	if a := w.do("GET", "/sites/contoso.sharepoint.com:/sites/marketing:/pages?$top=0", nil); a.status != 400 {
		t.Errorf("of a site without pages, $top=0 is %d %s", a.status, a.raw)
	}

	// Of calls that change something, some take $select.
	drive := w.drive(amala)
	for _, a := range []answer{
		w.must(201, "POST", drive+"/root:/x:/children?$select=name", object{"name": "made", "folder": object{}}),
		w.must(200, "PATCH", drive+"/root:/x/made?$select=name", object{"name": "named"}),
		w.must(201, "PUT", drive+"/root:/x/put.txt:/content?$select=name", "x"),
	} {
		if a.text("name") == "" || a.text("eTag") != "" || a.text("parentReference") != "" {
			t.Errorf("with $select=name: %s", a.raw)
		}
	}
	// What is expanded may be cut as well.
	letter := w.must(200, "GET", strings.Split(at.Replace("{user}/messages/{message}"), "?")[0]+"?$select=subject&$expand=attachments($select=name)", nil)
	files, _ := letter.body["attachments"].([]any)
	if len(files) != 2 || letter.text("body") != "" || letter.text("subject") != "with files" {
		t.Fatalf("a message with its attachments: %s", letter.raw)
	}
	for _, f := range files {
		if f := f.(object); f["name"] == "" || f["contentBytes"] != nil {
			t.Errorf("an attachment of which the name was selected: %v", f)
		}
	}
}
