package simtenant

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

const letter = "From: a@contoso.com\r\nSubject: with files\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n" +
	"--outer\r\nContent-Type: multipart/related; boundary=inner\r\n\r\n" +
	"--inner\r\nContent-Type: multipart/alternative; boundary=both\r\n\r\n" +
	"--both\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n" +
	"--both\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=C3=BC=C3=9Fe</p>\r\n--both--\r\n" +
	"--inner\r\nContent-Type: image/png; name=logo.png\r\nContent-Id: <logo@x>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--inner--\r\n" +
	"--outer\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQ=\r\n" +
	"--outer\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\nhello\r\n--outer--\r\n"

// What is attached to a message, and its body, is as the message has it.
func TestOutlookAttachments(t *testing.T) {
	w := newWorld(t)
	w.mail(letter, amala, "Inbox", "letter.eml")
	me := "/users/" + amala
	messages, _ := w.all(me + "/mailFolders/inbox/messages")
	at := me + "/messages/" + url.PathEscape(messages[0]["id"].(string))
	msg := w.must(200, "GET", at+"?$select=subject,body,bodyPreview", nil)
	if msg.text("body", "contentType") != "html" || strings.TrimSpace(msg.text("body", "content")) != "<p>Grüße</p>" || msg.text("bodyPreview") != "Grüße" || msg.text("isRead") != "" {
		t.Errorf("the message is %s", msg.raw)
	}
	var got []string
	for _, v := range w.must(200, "GET", at+"/attachments", nil).body["value"].([]any) {
		a := v.(object)
		id := url.PathEscape(a["id"].(string))
		bytes := string(w.must(200, "GET", at+"/attachments/"+id+"/$value", nil).raw)
		one := w.must(200, "GET", at+"/attachments/"+id, nil)
		if text := one.text("contentBytes"); text != "" && text != base64.StdEncoding.EncodeToString([]byte(bytes)) || one.text("name") != a["name"] {
			t.Errorf("an attachment by itself: %s", one.raw)
		}
		kind, _ := a["@odata.type"].(string)
		got = append(got, fmt.Sprint(strings.TrimPrefix(kind, "#microsoft.graph."), " ", a["name"], " ", a["isInline"], " ", a["contentId"], " ", strings.TrimSpace(bytes)))
	}
	want := []string{"fileAttachment logo.png true logo@x \x89PNG", "fileAttachment Grüße.pdf false <nil> %PDF-1.4", "itemAttachment inside.eml false <nil> Subject: inside\r\n\r\nhello"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("the attachments are\n%q, want\n%q", got, want)
	}
	w.must(404, "GET", at+"/attachments/AAAA", nil)
	// Mail that is badly made has what can be made out.
	for i, bad := range []string{"", "\r\n", "Content-Type: multipart/mixed; boundary=x\r\n\r\nno parts", strings.Repeat("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", 200), "Content-Type: text/html; charset=nonsense\r\n\r\n<\xff<<"} {
		name := fmt.Sprint(i, ".eml")
		w.mail(bad, amala, "Archive", name)
		list, _ := w.all(me + "/mailFolders/archive/messages")
		for _, m := range list {
			at := me + "/messages/" + url.PathEscape(m["id"].(string))
			w.must(200, "GET", at, nil)
			w.must(200, "GET", at+"/attachments", nil)
		}
		os.Remove(w.mailPath(amala, "Archive", name))
	}
}

// Files of calendars, contacts and tasks are what Outlook's calls show, and their
// changes are told.
func TestOutlookCalendarContactsAndTasks(t *testing.T) {
	w := newWorld(t)
	event := func(lines ...string) string {
		return "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:x\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	}
	w.mail(event("UID:1", "SUMMARY:Lunch\\, with all", "DTSTART;TZID=Europe/Berlin:20260205T120000", "DTEND;TZID=Europe/Berlin:20260205T130000", "LOCATION:Canteen",
		`ORGANIZER;CN="Amala: the boss":mailto:amala@contoso.com`, "ATTENDEE;CN=Conrad;PARTSTAT=ACCEPTED;ROLE=OPT-PARTICIPANT:MAILTO:conrad@contoso.com"), amala, "Calendar", "lunch.ics")
	w.mail(event("UID:2", "SUMMARY:Weekly", "DTSTART:20260302T090000Z", "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;COUNT=9"), amala, "Calendar", "weekly.ics")
	w.mail(event("UID:3", "SUMMARY:Away", "DTSTART;VALUE=DATE:20260401"), amala, "Calendar", "Team", "away.ics")
	w.mail("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Lothar Matthäus\r\nN:Matthäus;Lothar;;Dr.;\r\nORG:Contoso;Games\r\nEMAIL:lothar@contoso.com\r\nTEL;TYPE=cell:tel:+49 1\r\nTEL;TYPE=work:+49 2\r\nBDAY:19610321\r\nEND:VCARD\r\n", amala, "Contacts", "lothar.vcf")
	w.mail("BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nUID:4\r\nSUMMARY:Pay\r\nSTATUS:COMPLETED\r\nPRIORITY:1\r\nDUE:20260206T170000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n", amala, "Tasks", "pay.ics")
	me := "/users/" + amala
	w.mailbox(amala)

	calendars, _ := w.all(me + "/calendars")
	names := []string{}
	for _, c := range calendars {
		names = append(names, fmt.Sprint(c["name"], " ", c["isDefaultCalendar"]))
	}
	if got := strings.Join(names, ","); got != "Calendar true,Team false" && got != "Team false,Calendar true" {
		t.Errorf("calendars: %s", got)
	}
	events, _ := w.all(me + "/events")
	if len(events) != 2 {
		t.Fatalf("events: %v", events)
	}
	byName := map[string]object{}
	for _, e := range events {
		byName[e["subject"].(string)] = e
	}
	lunch := byName["Lunch, with all"]
	for name, want := range map[string]string{
		"start": "map[dateTime:2026-02-05T11:00:00.0000000 timeZone:UTC]", "location": "map[displayName:Canteen]", "isOrganizer": "true", "isAllDay": "false",
		"organizer": "map[emailAddress:map[address:amala@contoso.com name:Amala: the boss]]", "iCalUId": "1", "type": "singleInstance",
		"attendees": "[map[emailAddress:map[address:conrad@contoso.com name:Conrad] status:map[response:accepted time:0001-01-01T00:00:00Z] type:optional]]",
	} {
		if got := fmt.Sprint(lunch[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	recurrence, _ := byName["Weekly"]["recurrence"].(object)
	if got := fmt.Sprint(recurrence["pattern"].(object)["daysOfWeek"], recurrence["range"].(object)["numberOfOccurrences"], recurrence["pattern"].(object)["interval"]); got != "[monday wednesday] 9 2" && got != "[monday wednesday]9 2" {
		t.Errorf("the series recurs %v: %s", recurrence, got)
	}
	if one := w.must(200, "GET", me+"/events/"+url.PathEscape(lunch["id"].(string)), nil); one.text("subject") != "Lunch, with all" {
		t.Errorf("by id: %s", one.raw)
	}
	w.must(400, "GET", me+"/calendarView", nil)
	view, _ := w.all(me + "/calendarView?startDateTime=2026-02-01T00:00:00Z&endDateTime=2026-03-01T00:00:00Z")
	if len(view) != 1 || view[0]["subject"] != "Lunch, with all" {
		t.Errorf("in February there are %v", view)
	}
	link := me + "/calendarView/delta?startDateTime=2026-02-01T00:00:00Z&endDateTime=2026-03-01T00:00:00Z"
	follow := func() (told []string) {
		values, last := w.all(link, "Prefer", "odata.maxpagesize=1")
		link = last.text("@odata.deltaLink")
		for _, v := range values {
			told = append(told, fmt.Sprint(v["subject"], " ", v["@removed"]))
		}
		return told
	}
	if got := fmt.Sprint(follow()); got != "[Lunch, with all <nil>]" {
		t.Errorf("the window's delta tells %s", got)
	}
	w.mail(event("UID:5", "SUMMARY:Dinner", "DTSTART:20260210T190000Z"), amala, "Calendar", "dinner.ics")
	w.mail(event("UID:6", "SUMMARY:Later", "DTSTART:20260610T190000Z"), amala, "Calendar", "later.ics")
	os.Remove(w.mailPath(amala, "Calendar", "lunch.ics"))
	if got := strings.Join(follow(), ","); !strings.Contains(got, "Dinner <nil>") || !strings.Contains(got, "<nil> map[reason:deleted]") || strings.Contains(got, "Later") {
		t.Errorf("then it tells %s", got)
	}

	contacts, _ := w.all(me + "/contacts")
	if len(contacts) != 1 {
		t.Fatalf("contacts: %v", contacts)
	}
	for name, want := range map[string]string{
		"displayName": "Lothar Matthäus", "givenName": "Lothar", "surname": "Matthäus", "title": "Dr.", "companyName": "Contoso", "department": "Games", "mobilePhone": "+49 1",
		"businessPhones": "[+49 2]", "emailAddresses": "[map[address:lothar@contoso.com name:Lothar Matthäus]]", "birthday": "1961-03-21T00:00:00Z",
	} {
		if got := fmt.Sprint(contacts[0][name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if folders, _ := w.all(me + "/contactFolders"); len(folders) != 0 {
		t.Errorf("besides the default folder there are %v", folders)
	}
	changes, last := w.all(me + "/contactFolders/contacts/contacts/delta")
	if len(changes) != 1 || last.text("@odata.deltaLink") == "" {
		t.Errorf("the contacts' delta: %s", last.raw)
	}
	lists, _ := w.all(me + "/todo/lists")
	if len(lists) != 1 || lists[0]["wellknownListName"] != "defaultList" {
		t.Fatalf("lists of tasks: %v", lists)
	}
	tasks, _ := w.all(me + "/todo/lists/" + url.PathEscape(lists[0]["id"].(string)) + "/tasks")
	if len(tasks) != 1 || tasks[0]["title"] != "Pay" || tasks[0]["status"] != "completed" || tasks[0]["importance"] != "high" {
		t.Errorf("tasks: %v", tasks)
	}
	// A call is about its own kind only.
	w.must(404, "GET", me+"/calendars/inbox/events", nil)
	w.must(404, "GET", me+"/events/"+url.PathEscape(contacts[0]["id"].(string)), nil)
}

// The delta of a window tells of a series the times at which it takes place, of those
// that were changed all, and that what has left the window is away.
func TestTheWindowsDeltaTellsOccurrences(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	at := func(day, hour int) object {
		return object{"dateTime": fmt.Sprintf("2026-03-%02dT%02d:00:00", day, hour), "timeZone": "UTC"}
	}
	series := w.must(201, "POST", me+"/events", object{"subject": "Daily", "start": at(2, 9), "end": at(2, 10),
		"recurrence": object{"pattern": object{"type": "daily", "interval": 1}, "range": object{"type": "numbered", "startDate": "2026-03-02", "numberOfOccurrences": 10}}}).text("id")
	single := w.must(201, "POST", me+"/events", object{"subject": "Single", "start": at(3, 12), "end": at(3, 13)}).text("id")
	w.must(201, "POST", me+"/events", object{"subject": "Far", "start": at(20, 12), "end": at(20, 13)})
	link := me + "/calendarView/delta?startDateTime=2026-03-02T00:00:00Z&endDateTime=2026-03-05T00:00:00Z"
	ids := map[string]string{} // of occurrences, by the day they were on first
	follow := func() string {
		values, last := w.all(link)
		link = last.text("@odata.deltaLink")
		var told []string
		for _, v := range values {
			id := v["id"].(string)
			one := fmt.Sprint(v["type"], " ", v["subject"])
			if start, ok := v["start"].(object); ok {
				day := start["dateTime"].(string)[8:13]
				one += " " + day
				if v["type"] == "occurrence" && (len(v) != 6 || v["seriesMasterId"] != series) {
					t.Errorf("an occurrence is told as %v", v)
				}
				if ids[id] == "" {
					ids[id] = day
				}
			}
			if v["@removed"] != nil {
				one = "removed " + ids[id]
			}
			told = append(told, one)
		}
		slices.Sort(told)
		return strings.ReplaceAll(strings.Join(told, ", "), "<nil> ", "")
	}
	if got := follow(); got != "occurrence 02T09, occurrence 03T09, occurrence 04T09, seriesMaster Daily 02T09, singleInstance Single 03T12" {
		t.Errorf("at first it tells %s", got)
	}
	of := func(day string) string {
		for id, d := range ids {
			if d == day && id != series {
				return id
			}
		}
		return ""
	}
	w.must(200, "PATCH", me+"/events/"+of("03T09"), object{"subject": "Other"})
	w.must(204, "DELETE", me+"/events/"+of("04T09"), nil)
	if got := follow(); got != "exception Other 03T09, occurrence 02T09, removed 04T09, seriesMaster Daily 02T09" {
		t.Errorf("after changes of occurrences it tells %s", got)
	}
	w.must(200, "PATCH", me+"/events/"+of("03T09"), object{"start": at(25, 9), "end": at(25, 10)})
	w.must(200, "PATCH", me+"/events/"+single, object{"start": at(26, 9), "end": at(26, 10)})
	if got := follow(); got != "occurrence 02T09, removed 03T09, removed 03T12, removed 04T09, seriesMaster Daily 02T09" {
		t.Errorf("after moves out of the window it tells %s", got)
	}
	w.must(200, "PATCH", me+"/events/"+single, object{"start": at(4, 9), "end": at(4, 10)})
	w.must(204, "DELETE", me+"/events/"+series, nil)
	if got := follow(); got != "removed 02T09, singleInstance Single 04T09" {
		t.Errorf("after a move into the window it tells %s", got)
	}
	w.must(400, "GET", me+"/calendarView/delta?startDateTime=2026-03-02T00:00:00Z&endDateTime=2036-03-05T00:00:00Z", nil)
}
