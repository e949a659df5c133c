package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/client"
)

const newPointID = "9d8c7b6a-3333-4333-8444-555566667777"

func aHit(path string) map[string]any {
	return map[string]any{"type": "file", "name": path[strings.LastIndexByte(path, '/')+1:], "path": path, "sizeInBytes": "1200", "isInNewest": false,
		"firstSeenDateTime": "2026-10-01T07:50:00Z", "lastSeenDateTime": "2026-11-20T07:50:00Z", "restorePointId": newPointID, "browsableRestorePointId": pointID}
}

// A name is found in a unit, and what was found leads to its folder and to its restoring.
func TestFindInAUnit(t *testing.T) {
	w := browseWorld(t)
	w.on("GET "+anyBrowse, listOf(map[string]any{"id": browseID, "restorePointId": pointID, "expirationDateTime": "2026-11-28T08:00:00Z"}))
	at := "/console/units/" + unitID + "/find"
	says(t, w.page("/console/units/"+unitID), `action="`+at+`"`)
	says(t, w.page(at), "!What was found")
	answer := listOf(aHit("a & b/<x>.txt"), map[string]any{"name": "old.txt", "restorePointId": newPointID, "lastSeenDateTime": "2026-11-20T07:50:00Z"})
	answer["@holdfast.note"] = "Some restore points cannot be <searched>."
	answer["@odata.nextLink"] = "https://x/v1.0/solutions/backupRestore/x?$skiptoken=t1"
	w.on("GET "+anyUnit+"/"+unitID+"/holdfast.find/50% <x>?", answer)
	there := aHit("a & b/there.txt")
	there["isInNewest"] = true
	w.on("GET "+anyUnit+"/"+unitID+"/holdfast.find/50% <x>?#t1", listOf(there))
	page := w.page(at + "?q=" + url.QueryEscape("50% <x>?"))
	says(t, page, "a &amp; b/&lt;x&gt;.txt", "1.2 kB", "<b>gone</b>", "<td>there</td>", "Some restore points cannot be &lt;searched&gt;.", "/console/points/"+newPointID+"/restore", "!Search on")
	says(t, w.page(at+"?gone=1&q="+url.QueryEscape("50% <x>?")), "!there.txt", "old.txt")

	// To its folder, where it is chosen, and to what its restore will do.
	lead := w.post("/console/points/"+pointID+"/browse", url.Values{"path": {"a & b/<x>.txt"}})
	if lead = w.get(lead.to); lead.status != http.StatusSeeOther {
		t.Fatalf("the path leads to %d\n%s", lead.status, lead.body)
	}
	says(t, w.page(lead.to), `value="`+file+`:&lt;x&gt;.txt" aria-label="Choose &lt;x&gt;.txt" checked`)
	lead = w.post("/console/points/"+pointID+"/browse", url.Values{"path": {"a & b/<x>.txt"}, "then": {"restore"}})
	says(t, w.page(w.get(lead.to).to), "What will happen", "<li>&lt;x&gt;.txt</li>", "Restore now")
	for _, c := range w.calls("POST") {
		if strings.HasPrefix(c.Path, client.Drives.Sessions) {
			t.Errorf("a restore was begun before it was asked for: %v", c)
		}
	}
	lead = w.post("/console/points/"+pointID+"/browse", url.Values{"path": {"a & b/gone/x.txt"}})
	lead = w.get(lead.to)
	says(t, w.page(lead.to), "does not hold", "&lt;x&gt;.txt")

	// A newer backup has come: another point can be looked into instead, or none.
	slow := aPoint("2026-11-20T07:50:00Z")
	slow["id"], slow["tags"] = newPointID, "none"
	w.on("GET "+pointSet+"/"+newPointID, slow)
	w.on("GET "+anyUnit+"/"+unitID+"/holdfast.find/<x>.txt", listOf(aHit("other/<x>.txt"), aHit("a & b/<x>.txt")))
	if lead := w.post("/console/points/"+newPointID+"/browse", url.Values{"path": {"a & b/<x>.txt"}}); !strings.HasPrefix(lead.to, "/console/browse/"+browseID+"?") {
		t.Errorf("it leads to %d %s\n%s", lead.status, lead.to, lead.body)
	}
	w.on("GET "+anyUnit+"/"+unitID+"/holdfast.find/<x>.txt", listOf())
	if a := w.post("/console/points/"+newPointID+"/browse", url.Values{"path": {"a & b/<x>.txt"}}); a.status != 409 || !strings.Contains(a.body, "cannot be looked into any more") {
		t.Errorf("with none it is %d\n%s", a.status, a.body)
	}

	// What the server says of a name.
	w.on("GET "+anyUnit+"/"+unitID+"/holdfast.find/****", refusal{400, "invalidRequest", "Say <more>."})
	says(t, w.page(at+"?q=****"), `role="alert" id="wrong">Say &lt;more&gt;.`, "!What was found")
	w.on("GET "+anyUnit+"/"+unitID+"/holdfast.find/secret", refusal{403, "accessDenied", "Not you."})
	if a := w.get(at + "?q=secret"); a.status != 403 || !strings.Contains(a.body, "Not you.") {
		t.Errorf("a search that is forbidden = %d\n%s", a.status, a.body)
	}
}

// From the head of each page a name is found in all units, a page at a time, each hit once,
// however slow the server is; and what could not be searched is said.
func TestFindEverywhere(t *testing.T) {
	w := signedInWorld(t)
	says(t, w.page("/console/health"), `action="/console/find"`)
	const units = 7
	for part := range 2 {
		var all []any
		for i := part * 4; i < min(units, part*4+4); i++ {
			id := fmt.Sprintf("%08d-71a9-4c07-bef7-bda97e09c0d2", i)
			unit := map[string]any{"id": id, "displayName": fmt.Sprintf("Unit <%d>", i)}
			switch i {
			case 1: // has more than one page
				w.on("GET "+anyUnit+"/"+id+"/holdfast.find/x", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					first, top := 0, 0
					fmt.Sscan(r.URL.Query().Get("$top"), &top)
					fmt.Sscan(r.URL.Query().Get("$skiptoken"), &first)
					var hits []any
					for n := first; n < min(30, first+top); n++ {
						hits = append(hits, aHit(fmt.Sprintf("hit-%02d.txt", n)))
					}
					answer := listOf(hits...)
					if first+top < 30 {
						answer["@odata.nextLink"] = fmt.Sprintf("https://x/v1.0/solutions/backupRestore/x?$skiptoken=%d", first+top)
					}
					json.NewEncoder(rw).Encode(answer)
				}))
			case 3:
				unit["@odata.type"] = "#microsoft.graph.mailboxProtectionUnit"
				w.on("GET "+anyUnit+"/"+id+"/holdfast.find/x", refusal{400, "invalidRequest", "No <word>."})
			case 4: // so slow that the next page goes on behind it
				w.on("GET "+anyUnit+"/"+id+"/holdfast.find/x", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					w.wait(findTime + time.Second)
					json.NewEncoder(rw).Encode(listOf())
				}))
			case 6:
				w.on("GET "+anyUnit+"/"+id+"/holdfast.find/x", listOf(aHit("hit-last.txt")))
			}
			all = append(all, unit)
		}
		answer := listOf(all...)
		answer["@odata.count"] = units
		at := "GET " + anyUnit
		if part == 0 {
			answer["@odata.nextLink"] = "https://x/v1.0/solutions/backupRestore/protectionUnits?$skiptoken=second"
		} else {
			at += "#second"
		}
		w.on(at, answer)
	}
	seen, pages, said := map[string]int{}, 0, ""
	for next := "/console/find?q=x"; next != ""; pages++ {
		page := w.page(next)
		for _, part := range strings.Split(page, `name="path" value="`)[1:] {
			seen[part[:strings.IndexByte(part, '"')]]++
		}
		said += page
		if next = ""; strings.Contains(page, `rel="next"`) {
			next = strings.ReplaceAll(between(page, `rel="next" href="`, `"`), "&amp;", "&")
		}
		if pages > 9 {
			t.Fatal("there is no end of pages")
		}
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was found %d times", name, n)
		}
	}
	if len(seen) != 31 || pages != 3 {
		t.Errorf("found %d things on %d pages, want 31 on 3", len(seen), pages)
	}
	says(t, said, "Unit &lt;1&gt;", "Searched 1 of 7 units", "Searched 5 of 7 units", "Searched 7 units, to the end", "1 unit could not be searched whole", "No &lt;word&gt;.")
	for _, c := range w.calls("POST") {
		t.Errorf("a search changes something: %v", c)
	}
}
