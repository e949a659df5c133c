package console

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

const pointID = "9d8c7b6a-2222-4333-8444-555566667777"

func aPoint(at string) map[string]any {
	return map[string]any{"id": pointID, "protectionDateTime": at, "expirationDateTime": "2027-11-27T00:00:00Z", "tags": "fastRestore",
		"protectionUnit": map[string]any{"id": unitID}, "@holdfast.unreadItemCount": 2, "@holdfast.verifiedDateTime": "2026-11-27T07:55:00Z"}
}

// unitWorld is a world with a unit that has points.
func unitWorld(t *testing.T) *world {
	w := signedInWorld(t)
	unit := map[string]any{}
	for k, v := range aUnit {
		unit[k] = v
	}
	unit["error"] = map[string]any{"message": "2 items could not be read.", "details": []any{map[string]any{"target": "/a <b>.docx", "message": "It is damaged at the source."}}}
	w.on("GET "+anyUnit+"/"+unitID, unit)
	w.on("GET "+anyPolicy+"/"+policyID, aPolicy)
	w.on("POST "+pointSet+"/search", map[string]any{"searchResults": []any{map[string]any{"restorePoint": aPoint("2026-11-27T07:50:00Z")}}})
	w.on("GET "+pointSet, listOf(aPoint("2026-11-27T07:50:00Z")))
	w.on("GET "+pointSet+"/$count", 3)
	w.on("GET "+pointSet+"/"+pointID, aPoint("2026-11-27T07:50:00Z"))
	return w
}

func TestUnit(t *testing.T) {
	w := unitWorld(t)
	page := w.page("/console/units/" + unitID)
	for _, want := range []string{"Amala &lt;Rao&gt;", "/a &lt;b&gt;.docx", "It is damaged at the source.", "10 min ago", "Lacks 2 items", "/console/points/" + pointID + "/browse",
		"27 Nov 2026 07:00 to 27 Nov 2026 08:00 UTC: 3 points", "2026-11-27 07:55 UTC"} {
		if !strings.Contains(page, want) {
			t.Errorf("the unit's page does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
	q := w.lastQuery(pointSet)
	if q.Get("$filter") != "protectionDateTime ge 2026-11-26T08:00:00Z and protectionDateTime lt 2026-11-27T08:00:00Z" || q.Get("$expand") != "protectionUnit($filter=id eq '"+unitID+"')" {
		t.Errorf("points are asked with %v", q)
	}
	// A cell of the strip shows its points.
	_, first, _ := strings.Cut(page, `class="strip"`)
	w.page("/console/units/" + unitID + between(first, `<a href="`, `"`))
	if got := w.lastQuery(pointSet).Get("$filter"); got != "protectionDateTime ge 2026-11-26T08:00:00Z and protectionDateTime lt 2026-11-26T09:00:00Z" {
		t.Errorf("the first cell is asked with %s", got)
	}
	for _, span := range []string{"week", "year", "nonsense"} {
		w.page("/console/units/" + unitID + "?to=x&cell=y&span=" + span)
	}
	w.on("POST "+pointSet+"/search", refusal{403, "x", "No."})
	if page := w.page("/console/units/" + unitID); !strings.Contains(page, "may not see points") {
		t.Errorf("without the permission:\n%s", page)
	}
}

// Two points are compared, whichever was chosen first; or one with that before it.
func TestChanges(t *testing.T) {
	w := unitWorld(t)
	older := aPoint("2026-11-20T07:50:00Z")
	older["id"] = newPointID
	delete(older, "@holdfast.unreadItemCount")
	w.on("GET "+pointSet+"/"+newPointID, older)
	w.on("GET "+pointSet, listOf(aPoint("2026-11-27T07:50:00Z"), older))
	says(t, w.page("/console/units/"+unitID), `<form id="compare" method="get" action="/console/units/`+unitID+`/changes">`, `value="`+newPointID+`" form="compare" aria-label="From 2026-11-20 07:50:00 UTC" checked`,
		`value="`+pointID+`" form="compare" aria-label="To 2026-11-27 07:50:00 UTC" checked`)
	says(t, w.page("/console/units/"+unitID+"?mark="+newPointID), `name="from" value="`+newPointID+`" form="compare" checked`, "mark="+newPointID, `!aria-label="From`)
	at := "/console/units/" + unitID + "/changes"
	changes := listOf(map[string]any{"change": "deleted", "type": "file", "path": "a/<b>.txt", "sizeInBytes": "1200"},
		map[string]any{"change": "moved", "type": "folder", "path": "now", "previousPath": "then"},
		map[string]any{"change": "changed", "type": "file", "path": "c.txt", "sizeInBytes": "5", "previousSizeInBytes": "7", "isContentChanged": true},
		map[string]any{"change": "changed", "type": "file", "path": "d.txt", "sizeInBytes": "5", "isContentChanged": false})
	changes["@odata.count"], changes["@odata.nextLink"] = 1234, "https://x/v1.0/solutions/backupRestore/x?$skiptoken=t1"
	w.on("GET "+pointSet+"/"+pointID+"/holdfast.changes/"+newPointID, changes)
	for _, q := range []string{"?from=" + newPointID + "&to=" + pointID, "?to=" + newPointID + "&from=" + pointID} {
		says(t, w.page(at+q), "a/&lt;b&gt;.txt", "Deleted", "<del>then</del><br>now", "7 B → 5 B", "Another date", "1,234 changes", "The newer does not hold 2 items", "after=t1")
	}
	w.on("GET "+pointSet, listOf(older))
	says(t, w.page(at+"?to="+pointID), "a/&lt;b&gt;.txt")
	if q := w.lastQuery(pointSet); q.Get("$filter") != "protectionDateTime ge 1970-01-01T00:00:00Z and protectionDateTime lt 2026-11-27T07:50:00Z" || q.Get("$orderby") != "protectionDateTime desc" {
		t.Errorf("the point before is asked for with %v", q)
	}
	w.on("GET "+pointSet, listOf())
	says(t, w.page(at+"?to="+pointID), "There is no restore point before this one.")
	w.on("GET "+pointSet+"/"+pointID+"/holdfast.changes/"+newPointID, listOf())
	says(t, w.page(at+"?from="+newPointID+"&to="+pointID), "Nothing: both hold the same.")
	for _, q := range []string{"", "?from=" + pointID, "?from=" + pointID + "&to=" + pointID} {
		if a := w.get(at + q); a.status != 400 {
			t.Errorf("%q = %d", q, a.status)
		}
	}
	w.on("GET "+pointSet+"/"+pointID+"/holdfast.changes/"+newPointID, refusal{403, "accessDenied", "Not you."})
	if a := w.get(at + "?from=" + newPointID + "&to=" + pointID); a.status != 403 {
		t.Errorf("forbidden = %d", a.status)
	}
}

// Those of a mailbox are compared, too; and of points of one minute the seconds are shown.
func TestChangesOfAMailbox(t *testing.T) {
	w := unitWorld(t)
	unit := map[string]any{"id": unitID, "@odata.type": "#microsoft.graph.mailboxProtectionUnit", "displayName": "Amala", "status": "protected"}
	w.on("GET "+anyUnit+"/"+unitID, unit)
	older, newer := aPoint("2026-11-27T07:50:05Z"), aPoint("2026-11-27T07:50:25Z")
	older["id"] = newPointID
	w.on("GET "+pointSet+"/"+newPointID, older)
	w.on("GET "+pointSet+"/"+pointID, newer)
	w.on("GET "+pointSet, listOf(newer, older))
	says(t, w.page("/console/units/"+unitID), `id="compare"`, `data-seconds>2026-11-27 07:50:05 UTC</time>`, `data-seconds>2026-11-27 07:50:25 UTC</time>`)
	w.on("GET "+pointSet+"/"+pointID+"/holdfast.changes/"+newPointID, listOf(
		map[string]any{"change": "deleted", "type": "calendar", "name": "Ann's <lunch>", "path": "Calendar/Ann's <lunch>", "sender": "Conrad"},
		map[string]any{"change": "added", "type": "email", "name": "New", "path": "Inbox/New"}, map[string]any{"change": "moved", "type": "folder", "name": "now", "path": "now", "previousPath": "then"}))
	page := w.page("/console/units/" + unitID + "/changes?from=" + newPointID + "&to=" + pointID)
	says(t, page, "Calendar/Ann&#39;s &lt;lunch&gt;", "calendar, from Conrad", "<del>then</del>", "07:50:05 UTC", "07:50:25 UTC",
		`href="/console/units/`+unitID+`/mail?q=subject%3A%27Ann&#43;s&#43;%3Clunch%3E%27&amp;until=2026-11-27"`, `!/browse"`)
	if n := strings.Count(page, "/mail?"); n != 1 {
		t.Errorf("%d changes can be found as they were, want 1", n)
	}
}

func TestPoint(t *testing.T) {
	w := unitWorld(t)
	w.on("GET "+pointSet+"/"+pointID+"/holdfast.unread", listOf(map[string]any{"path": "a/<b>.docx", "code": "malware", "message": "The source says that it is infected.", "isHeld": true, "sinceDateTime": "2026-11-20T00:00:00Z"}))
	page := w.page("/console/points/" + pointID)
	for _, want := range []string{"a/&lt;b&gt;.docx", "as it was last readable", "infected", "Amala &lt;Rao&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the point's page does not say %q:\n%s", want, page)
		}
	}
}

// The points of a page are gathered from several answers of the API, and the
// next page goes on behind them.
func TestPointsAreGathered(t *testing.T) {
	w := unitWorld(t)
	for i := range 7 {
		var items []any
		for range 5 {
			items = append(items, aPoint("2026-11-27T07:50:00Z"))
		}
		answer := listOf(items...)
		answer["@odata.count"] = 35
		if i < 6 {
			answer["@odata.nextLink"] = fmt.Sprintf("https://x/v1.0/solutions/backupRestore/restorePoints?$skiptoken=t%d", i+1)
		}
		at := "GET " + pointSet
		if i > 0 {
			at += fmt.Sprintf("#t%d", i)
		}
		w.on(at, answer)
	}
	page := w.page("/console/units/" + unitID)
	if n := strings.Count(page, `<th scope="row"><a href="/console/points/`); n != 25 {
		t.Errorf("%d points on the first page", n)
	}
	if n := strings.Count(w.page(between(page, `rel="next" href="`, `"`)), `<th scope="row"><a href="/console/points/`); n != 10 {
		t.Errorf("%d points on the second", n)
	}
}

func TestStrip(t *testing.T) {
	now := time.Date(2026, 11, 27, 8, 20, 0, 0, time.UTC)
	old := pointAnswer{ProtectionDateTime: now.AddDate(-2, 0, 0)}
	for span, want := range map[string]int{"day": 24, "week": 28, "year": 53} {
		for _, newest := range []*pointAnswer{nil, &old} {
			s := newStrip(url.Values{"span": {span}}, now, newest)
			if len(s.Cells) != want || s.Cells[0].From != s.From || s.Cells[want-1].To != s.To {
				t.Errorf("%s: %d cells, from %v to %v", span, len(s.Cells), s.From, s.To)
			}
			last := now
			if newest != nil {
				last = old.ProtectionDateTime
			}
			if s.From.After(last) || !s.To.After(last) {
				t.Errorf("%s: %v is not between %v and %v", span, last, s.From, s.To)
			}
			s.level() // of nothing
			s.Cells[1].Count, s.Cells[2].Count = 1, 1000
			s.level()
			if s.Cells[0].Level != 0 || s.Cells[1].Level != 1 || s.Cells[2].Level != 4 {
				t.Errorf("%s: levels %v", span, s.Cells[:3])
			}
		}
	}
}
