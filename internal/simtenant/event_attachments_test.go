package simtenant

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Files are attached to events as to messages, one by one, with the event and in
// fragments; they lie in the event's file, and an occurrence may have its own.
func TestFilesAreAttachedToEvents(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	file := func(name, text string) object {
		return object{"@odata.type": "#microsoft.graph.fileAttachment", "name": name, "contentType": "text/plain", "contentBytes": base64.StdEncoding.EncodeToString([]byte(text))}
	}
	event := func(more object) string {
		e := object{"subject": "Lunch; \"soon\"", "start": object{"dateTime": "2026-03-02T12:00:00", "timeZone": "UTC"}, "end": object{"dateTime": "2026-03-02T13:00:00", "timeZone": "UTC"}}
		for k, v := range more {
			e[k] = v
		}
		return w.must(201, "POST", me+"/events", e).text("id")
	}
	names := func(id string) []string {
		return values(w.must(200, "GET", me+"/events/"+id+"/attachments?$select=name", nil), "name")
	}

	one := event(object{"attachments": []any{file("menu; \"of: the day\".txt", "soup")}})
	added := w.must(201, "POST", me+"/events/"+one+"/attachments", file("wine.txt", strings.Repeat("red ", 50_000)))
	if got := names(one); !slices.Equal(got, []string{"menu; of: the day.txt", "wine.txt"}) {
		t.Errorf("attached are %q", got)
	}
	if a := w.do("GET", me+"/events/"+one+"/attachments/"+added.text("id")+"/$value", nil); a.status != 200 || string(a.raw) != strings.Repeat("red ", 50_000) {
		t.Errorf("the wine is %d %.100s", a.status, a.raw)
	}
	// What comes later is not behind what is attached: the event's file begins with it.
	w.must(200, "PATCH", me+"/events/"+one, object{"subject": "Dinner"})
	whole := w.must(200, "GET", me+"/events/"+one+"?$expand=attachments($select=name)&$select=subject,hasAttachments", nil)
	if v, _ := whole.body["attachments"].([]any); len(v) != 2 || whole.text("subject") != "Dinner" || whole.body["hasAttachments"] != true {
		t.Errorf("the event with its files is %s", whole.raw)
	}
	if id := values(w.must(200, "GET", w.mailbox(amala)+"/folders/calendar/items?$expand=singleValueExtendedProperties($filter=id%20eq%20'String%200x0037')", nil), "id"); len(id) != 1 {
		t.Errorf("the calendar holds %v", id)
	}
	w.must(204, "DELETE", me+"/calendar/events/"+one+"/attachments/"+values(w.must(200, "GET", me+"/events/"+one+"/attachments", nil), "id")[0], nil)
	if got := names(one); !slices.Equal(got, []string{"wine.txt"}) {
		t.Errorf("one is left, not %q", got)
	}
	if got := w.must(200, "GET", me+"/events/"+one+"/attachments", nil); values(got, "id")[0] != added.text("id") {
		t.Errorf("the id of what is left was %s, and is in %s", added.text("id"), got.raw)
	}
	w.must(404, "GET", me+"/events/"+one+"/attachments/AAAA", nil)
	w.must(404, "GET", me+"/messages/"+one+"/attachments", nil)
	w.must(400, "PATCH", me+"/events/"+one, object{"attachments": []any{file("x", "x")}})

	// In fragments.
	big := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	up := w.must(201, "POST", me+"/events/"+one+"/attachments/createUploadSession", object{"AttachmentItem": object{"attachmentType": "file", "name": "big.bin", "size": len(big)}}).text("uploadUrl")
	var last answer
	for from := 0; from < len(big); from += 2 << 20 {
		part := big[from:min(from+2<<20, len(big))]
		last = w.do("PUT", up, part, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+len(part)-1, len(big)), "Authorization", "")
	}
	if last.status != 201 || !strings.Contains(last.header.Get("Location"), "/events/") {
		t.Fatalf("the last fragment is %d %v", last.status, last.header)
	}
	if a := w.do("GET", last.header.Get("Location")+"/$value", nil); !bytes.Equal(a.raw, big) {
		t.Errorf("at %s are %d bytes", last.header.Get("Location"), len(a.raw))
	}

	// Of a series' occurrence.
	series := event(object{"recurrence": object{"pattern": object{"type": "daily", "interval": 1}, "range": object{"type": "numbered", "startDate": "2026-03-02", "numberOfOccurrences": 3}}})
	times := values(w.must(200, "GET", me+"/events/"+series+"/instances?startDateTime=2026-03-01&endDateTime=2026-04-01", nil), "id")
	w.must(201, "POST", me+"/events/"+times[1]+"/attachments", file("second.txt", "2"))
	if got := [][]string{names(series), names(times[0]), names(times[1])}; len(got[0]) != 0 || len(got[1]) != 0 || !slices.Equal(got[2], []string{"second.txt"}) {
		t.Errorf("the series, its first and its second time have %q", got)
	}
	if a := w.must(200, "GET", me+"/events/"+times[1], nil); a.text("type") != "exception" || a.body["hasAttachments"] != true {
		t.Errorf("the second time is %s", a.raw)
	}

	// What other programs attach.
	w.mail("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:f\r\nDTSTART:20260301T100000Z\r\nSUMMARY:Foreign\r\nATTACH;FMTTYPE=text/html:https://example.org/a/page.html\r\n"+
		"ATTACH;VALUE=BINARY;ENCODING=BASE64;X-FILENAME=x.txt:aGk=\r\nATTACH;ENCODING=BASE64;VALUE=BINARY:%%%\r\nATTACH\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", amala, "Calendar", "foreign.ics")
	foreign := values(w.must(200, "GET", me+"/events?$filter=subject%20eq%20'Foreign'", nil), "id")[0]
	list := w.must(200, "GET", me+"/events/"+foreign+"/attachments", nil)
	if got := values(list, "name"); !slices.Equal(got, []string{"page.html", "x.txt", "attachment"}) || values(list, "@odata.type")[0] != "#microsoft.graph.referenceAttachment" {
		t.Fatalf("others attached %s", list.raw)
	}
	w.must(400, "GET", me+"/events/"+foreign+"/attachments/"+values(list, "id")[0]+"/$value", nil)
	w.must(204, "DELETE", me+"/events/"+foreign+"/attachments/"+values(list, "id")[1], nil)
	if got := names(foreign); !slices.Equal(got, []string{"page.html", "attachment"}) {
		t.Errorf("of what others attached, %q is left", got)
	}
}

// What mail programs send of every event is taken: that it takes place online, and what is
// so anyway. More is refused by name.
func TestEventsTakePlaceOnline(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	e := object{"isReminderOn": "false", "subject": "x", "start": object{"dateTime": "2026-03-02T12:00:00", "timeZone": "UTC"}, "end": object{"dateTime": "2026-03-02T13:00:00", "timeZone": "UTC"},
		"isOnlineMeeting": false, "onlineMeetingProvider": "unknown", "hideAttendees": false, "allowNewTimeProposals": true}
	made := w.must(201, "POST", me+"/events", e)
	if made.body["isOnlineMeeting"] != false || made.body["isReminderOn"] != false || made.body["allowNewTimeProposals"] != true || made.body["onlineMeeting"] != nil {
		t.Errorf("the event is %s", made.raw)
	}
	id := me + "/events/" + made.text("id")
	for _, online := range []bool{true, false} { // who was online once stays so
		if a := w.must(200, "PATCH", id, object{"isOnlineMeeting": online}); a.body["isOnlineMeeting"] != true || a.text("onlineMeetingProvider") != "teamsForBusiness" || !strings.HasPrefix(a.text("onlineMeeting", "joinUrl"), "https://teams.microsoft.com/") {
			t.Errorf("online it is %s", a.raw)
		}
	}
	// What a client keeps with an event.
	const mark = "String {00020329-0000-0000-c000-000000000046} Name Mark; \u00fc:"
	for _, value := range []string{"one", "two, and more"} {
		w.must(200, "PATCH", id, object{"singleValueExtendedProperties": []any{object{"id": mark, "value": value}, object{"id": "Boolean {00020329-0000-0000-C000-000000000046} Name DoNotForward", "value": "false"}}})
		a := w.must(200, "GET", id+"?$select=subject&$expand="+url.QueryEscape("singleValueExtendedProperties($filter=id eq '"+strings.ToUpper(mark[:6])+mark[6:]+"')"), nil)
		if list, _ := a.body["singleValueExtendedProperties"].([]any); len(list) != 1 || list[0].(object)["value"] != value || list[0].(object)["id"] != mark {
			t.Errorf("kept with the event is %s", a.raw)
		}
	}
	w.must(400, "PATCH", id, object{"singleValueExtendedProperties": []any{object{"value": "x"}}})
	for name, value := range map[string]any{"hideAttendees": true, "allowNewTimeProposals": false, "onlineMeetingProvider": "skypeForBusiness"} {
		if a := w.do("PATCH", id, object{name: value}); a.status != 400 || !strings.Contains(string(a.raw), name) {
			t.Errorf("%s = %v is %d %s", name, value, a.status, a.raw)
		}
	}
}
