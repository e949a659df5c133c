package simtenant

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A series is made, told by its occurrences, changed in one of them and called off in
// another; all that is in one file.
func TestOutlookEvents(t *testing.T) {
	w := newWorld(t)
	control, err := NewControl(w.svc)
	if err != nil {
		t.Fatal(err)
	}
	me := "/users/" + amala
	w.mailbox(amala)
	_, last := w.all(me + "/calendarView/delta?startDateTime=2026-01-01T00:00:00Z&endDateTime=2026-12-01T00:00:00Z")
	made := w.must(201, "POST", me+"/events", object{
		"subject": "Stand-up; daily, \\o/", "body": object{"contentType": "HTML", "content": "<b>Zażółć</b>"}, "location": object{"displayName": "Room, 1"}, "showAs": "oof", "categories": []string{"Blue"},
		"start": object{"dateTime": "2026-03-26T09:00:00", "timeZone": "W. Europe Standard Time"}, "end": object{"dateTime": "2026-03-26T09:30:00", "timeZone": "W. Europe Standard Time"},
		"recurrence": object{"pattern": object{"type": "daily", "interval": 1}, "range": object{"type": "numbered", "startDate": "2026-03-26", "numberOfOccurrences": 6}},
		"attendees":  []object{{"emailAddress": object{"address": conrad, "name": "Con\"rad"}, "type": "optional"}, {"emailAddress": object{"address": "x@fabrikam.com"}}},
	}, "Prefer", `outlook.timezone="Eastern Standard Time"`)
	for path, want := range map[string]string{
		"subject": "Stand-up; daily, \\o/", "type": "seriesMaster", "showAs": "oof", "isOrganizer": "true", "categories": "[Blue]", "isReminderOn": "true", "reminderMinutesBeforeStart": "15",
		"start": "map[dateTime:2026-03-26T04:00:00.0000000 timeZone:Eastern Standard Time]", "originalStartTimeZone": "Europe/Berlin", "body": "map[content:<b>Zażółć</b> contentType:html]",
		"organizer": "map[emailAddress:map[address:amala@contoso.com name:" + w.cfg.Tenants[0].Users[0].DisplayName + "]]",
	} {
		if got := made.text(path); got != want && path != "organizer" {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	files, _ := filepath.Glob(w.mailPath(amala, "Calendar", "*.ics"))
	if len(files) != 1 {
		t.Fatalf("the calendar has %v", files)
	}
	read := func() string {
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(unfold(text))
	}
	for _, want := range []string{"DTSTART;TZID=Europe/Berlin:20260326T090000", "BEGIN:VTIMEZONE", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "TZOFFSETTO:+0200", "RRULE:FREQ=DAILY;INTERVAL=1;COUNT=6", "BEGIN:VALARM"} {
		if !strings.Contains(read(), want) {
			t.Errorf("the file lacks %q:\n%s", want, read())
		}
	}
	// The clocks are put forward on the 29th.
	window := me + "/calendarView?startDateTime=2026-03-27T00:00:00Z&endDateTime=2026-03-31T00:00:00Z"
	times := func() string {
		t.Helper()
		var list []string
		values, _ := w.all(window + "&$top=2")
		for _, v := range values {
			list = append(list, fmt.Sprint(v["start"].(object)["dateTime"].(string)[5:16], " ", v["type"], " ", v["subject"]))
		}
		return strings.Join(list, ", ")
	}
	if got := times(); strings.Count(got, "occurrence") != 4 || !strings.HasPrefix(got, "03-27T08:00 occurrence Stand-up; daily, \\o/, 03-28T08:00 ") || !strings.Contains(got, "03-29T07:00 ") {
		t.Errorf("it takes place %s", got)
	}
	id := url.PathEscape(made.text("id"))
	instances, _ := w.all(me + "/events/" + id + "/instances?startDateTime=2026-01-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z")
	if len(instances) != 6 || instances[0]["seriesMasterId"] != made.text("id") {
		t.Fatalf("instances: %v", instances)
	}
	second, third := me+"/events/"+url.PathEscape(instances[1]["id"].(string)), me+"/events/"+url.PathEscape(instances[2]["id"].(string))
	if one := w.must(200, "GET", second, nil); one.text("start", "dateTime") != "2026-03-27T08:00:00.0000000" || one.text("type") != "occurrence" {
		t.Errorf("the second: %s", one.raw)
	}
	changed := w.must(200, "PATCH", second, object{"subject": "Moved", "start": object{"dateTime": "2026-03-30T20:00:00", "timeZone": "UTC"}, "end": object{"dateTime": "2026-03-30T21:00:00", "timeZone": "UTC"}})
	if changed.text("type") != "exception" || changed.text("id") != instances[1]["id"] {
		t.Errorf("the second: %s", changed.raw)
	}
	w.must(204, "DELETE", third, nil)
	w.must(404, "GET", third, nil)
	if got := times(); got != "03-29T07:00 occurrence Stand-up; daily, \\o/, 03-30T07:00 occurrence Stand-up; daily, \\o/, 03-30T20:00 exception Moved" {
		t.Errorf("then it takes place %s", got)
	}
	if text := read(); strings.Count(text, "BEGIN:VEVENT") != 2 || strings.Count(text, "RRULE:FREQ=DAILY") != 1 || !strings.Contains(text, "EXDATE;TZID=Europe/Berlin:20260328T090000") {
		t.Errorf("the file is\n%s", text)
	}
	values, _ := w.all(last.text("@odata.deltaLink"))
	if len(values) < 2 || values[0]["id"] != made.text("id") || values[1]["seriesMasterId"] != made.text("id") {
		t.Errorf("the delta tells %v", values)
	}
	// Who is invited has mail, and says so.
	inbox, _ := w.all("/users/" + conrad + "/mailFolders/inbox/messages")
	if len(inbox) < 3 || inbox[0]["@odata.type"] != "#microsoft.graph.eventMessage" {
		t.Fatalf("his inbox: %v", inbox)
	}
	kinds := []string{}
	for _, m := range control.Mail() {
		kinds = append(kinds, m.Kind)
	}
	if got := strings.Join(kinds, " "); got != "invitation update cancellation" {
		t.Errorf("sent: %s", got)
	}
	event := "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:9\r\nDTSTART:20260210T190000Z\r\nSUMMARY:His\r\nX-OTHER:kept\r\nORGANIZER:mailto:" + conrad + "\r\nATTENDEE;CN=Amala;RSVP=TRUE:mailto:" + amala + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	w.mail(event, amala, "Calendar", "his.ics")
	his := ""
	events, _ := w.all(me + "/events")
	for _, e := range events {
		if e["subject"] == "His" {
			his = me + "/events/" + url.PathEscape(e["id"].(string))
		}
	}
	w.must(400, "POST", me+"/events/"+id+"/accept", nil)
	w.must(400, "POST", his+"/cancel", nil)
	w.must(202, "POST", his+"/accept", object{"comment": "yes", "sendResponse": true})
	if one := w.must(200, "GET", his, nil); one.text("responseStatus", "response") != "accepted" {
		t.Errorf("accepted: %s", one.raw)
	}
	if text, _ := os.ReadFile(w.mailPath(amala, "Calendar", "his.ics")); !strings.Contains(string(text), "X-OTHER:kept") || !strings.Contains(string(text), "PARTSTAT=ACCEPTED") {
		t.Errorf("the file is\n%s", text)
	}
	w.must(202, "POST", me+"/events/"+id+"/cancel", object{"Comment": "no more"})
	if sent := control.Mail(); len(sent) != 5 || sent[3].Kind != "response" || sent[3].Subject != "Accepted: His" || sent[4].Kind != "cancellation" || !strings.Contains(sent[4].MIME, "no more") {
		t.Errorf("sent: %v", sent)
	}
	w.must(404, "GET", me+"/events/"+id, nil)

	start := object{"dateTime": "2026-03-26T09:00:00", "timeZone": "UTC"}
	for _, c := range []struct {
		code string
		body any
	}{
		{"ErrorInvalidRequest", object{"subject": "x"}},
		{"ErrorInvalidRequest", object{"start": object{"dateTime": "soon"}, "end": start}},
		{"TimeZoneNotSupportedException", object{"start": object{"dateTime": "2026-03-26T09:00:00", "timeZone": "Mars"}, "end": start}},
		{"ErrorPropertyValidationFailure", object{"start": start, "end": object{"dateTime": "2026-03-25T09:00:00"}}},
		{"ErrorInvalidRequest", object{"start": start, "end": start, "isAllDay": true}},
		{"ErrorInvalidRequest", object{"start": start, "end": start, "recurrence": object{"pattern": object{"type": "weekly", "interval": 1}, "range": object{"type": "noEnd"}}}},
		{"ErrorInvalidRequest", object{"start": start, "end": start, "recurrence": object{"pattern": object{"type": "daily", "interval": -1}, "range": object{"type": "noEnd"}}}},
		{"ErrorInvalidRecipients", object{"start": start, "end": start, "attendees": []object{{"emailAddress": object{"address": "x"}}}}},
		{"ErrorInvalidRequest", object{"start": start, "end": start, "hideAttendees": true}},
	} {
		if a := w.must(400, "POST", me+"/events", c.body); a.text("error", "code") != c.code {
			t.Errorf("%v: %s, want %s", c.body, a.raw, c.code)
		}
	}
	w.must(400, "GET", me+"/calendarView?startDateTime=2020-01-01&endDateTime=2030-01-01", nil)
	// Other calendars.
	team := w.must(201, "POST", me+"/calendars", object{"name": "Team"})
	at := me + "/calendars/" + url.PathEscape(team.text("id"))
	w.must(200, "PATCH", at, object{"name": "Crew"})
	day := w.must(201, "POST", at+"/events", object{"subject": "Off", "isAllDay": true, "start": object{"dateTime": "2026-05-01T00:00:00"}, "end": object{"dateTime": "2026-05-02T00:00:00"}})
	if day.text("isAllDay") != "true" || day.text("end", "dateTime") != "2026-05-02T00:00:00.0000000" {
		t.Errorf("all day: %s", day.raw)
	}
	w.must(204, "DELETE", at, nil)
	if left, _ := w.all(me + "/calendars"); len(left) != 1 {
		t.Errorf("calendars: %v", left)
	}
	w.must(403, "DELETE", me+"/calendars/calendar", nil)
}

// Contacts, tasks and categories are written as they are read, and what is not said
// stays.
func TestOutlookWritesContactsTasksAndCategories(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	w.mailbox(amala)
	person := object{
		"givenName": "Lothar; Herbert", "surname": "Matthäus", "companyName": "Contoso, Inc.", "department": "Games", "jobTitle": "Libero", "mobilePhone": "+49 1", "businessPhones": []string{"+49 2", "+49 3"},
		"homePhones": []string{"+49 4"}, "emailAddresses": []object{{"address": "lothar@contoso.com", "name": "x"}}, "birthday": "1961-03-21T00:00:00Z", "personalNotes": "a\nb", "categories": []string{"Red"},
		"businessAddress": object{"street": "Main; 1", "city": "Herzogenaurach", "postalCode": "91074", "countryOrRegion": "DE"},
	}
	made := w.must(201, "POST", me+"/contacts", person)
	at := me + "/contacts/" + url.PathEscape(made.text("id"))
	check := func(a answer, want object) {
		t.Helper()
		for name, v := range want {
			if got := a.text(name); got != fmt.Sprint(v) && name != "emailAddresses" && name != "businessAddress" {
				t.Errorf("%s is %q, want %q", name, got, v)
			}
		}
	}
	check(made, person)
	check(w.must(200, "GET", at, nil), person)
	person["mobilePhone"], person["businessPhones"], person["surname"] = "+49 9", []string{}, "M"
	check(w.must(200, "PATCH", at, object{"mobilePhone": "+49 9", "businessPhones": []string{}, "surname": "M"}), person)
	if got := w.must(200, "GET", at, nil); got.text("businessAddress", "street") != "Main; 1" || got.text("displayName") != "Lothar; Herbert M" {
		t.Errorf("the contact is %s", got.raw)
	}
	w.must(400, "POST", me+"/contacts", object{"shoeSize": 9})
	folder := w.must(201, "POST", me+"/contactFolders", object{"displayName": "Team"})
	w.must(201, "POST", me+"/contactFolders/"+url.PathEscape(folder.text("id"))+"/contacts", object{"givenName": "A"})
	w.must(204, "DELETE", at, nil)
	w.must(204, "DELETE", me+"/contactFolders/"+url.PathEscape(folder.text("id")), nil)

	list := w.must(201, "POST", me+"/todo/lists", object{"displayName": "Shopping"})
	tasks := me + "/todo/lists/" + url.PathEscape(list.text("id")) + "/tasks"
	task := w.must(201, "POST", tasks, object{
		"title": "Milk", "importance": "high", "dueDateTime": object{"dateTime": "2026-02-06T17:00:00.0000000", "timeZone": "Pacific Standard Time"},
		"reminderDateTime": object{"dateTime": "2026-02-06T08:00:00", "timeZone": "UTC"}, "body": object{"content": "2 l"}, "categories": []string{"Blue"},
	})
	one := tasks + "/" + url.PathEscape(task.text("id"))
	for path, want := range map[string]string{"title": "Milk", "importance": "high", "status": "notStarted", "isReminderOn": "true", "dueDateTime": "map[dateTime:2026-02-07T01:00:00.0000000 timeZone:UTC]", "body": "map[content:2 l contentType:text]"} {
		if got := task.text(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := w.must(200, "PATCH", one, object{"status": "waitingOnOthers", "dueDateTime": nil, "isReminderOn": false}); got.text("status") != "waitingOnOthers" || got.text("dueDateTime") != "" || got.text("isReminderOn") != "false" || got.text("title") != "Milk" {
		t.Errorf("changed: %s", got.raw)
	}
	changes, _ := w.all(tasks + "/delta")
	if len(changes) != 1 || changes[0]["title"] != "Milk" {
		t.Errorf("the delta tells %v", changes)
	}
	w.must(400, "PATCH", one, object{"status": "x"})
	w.must(204, "DELETE", one, nil)
	w.must(404, "GET", one, nil)

	all := me + "/outlook/masterCategories"
	red := w.must(201, "POST", all, object{"displayName": "Red", "color": "preset0"})
	w.must(409, "POST", all, object{"displayName": "red"})
	w.must(400, "POST", all, object{"displayName": "x", "color": "preset77"})
	w.must(200, "PATCH", all+"/"+red.text("id"), object{"color": "preset5"})
	w.must(400, "PATCH", all+"/"+red.text("id"), object{"displayName": "Green"})
	if values, _ := w.all(all); len(values) != 1 || values[0]["color"] != "preset5" {
		t.Errorf("categories: %v", values)
	}
	w.must(204, "DELETE", all+"/"+red.text("id"), nil)
	w.must(404, "GET", all+"/"+red.text("id"), nil)
}

// A rule comes when RFC 5545 has it come.
func TestRecurrence(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(1997, 9, 2, 9, 0, 0, 0, newYork)
	for rule, want := range map[string]string{
		"FREQ=DAILY;COUNT=3":                                      "09-02 09-03 09-04",
		"FREQ=DAILY;INTERVAL=10;COUNT=3":                          "09-02 09-12 09-22",
		"FREQ=DAILY;UNTIL=19970904T130000Z":                       "09-02 09-03 09-04",
		"FREQ=WEEKLY;COUNT=3":                                     "09-02 09-09 09-16",
		"FREQ=WEEKLY;COUNT=4;WKST=SU;BYDAY=TU,TH":                 "09-02 09-04 09-09 09-11",
		"FREQ=WEEKLY;INTERVAL=2;COUNT=4;WKST=SU;BYDAY=TU,TH":      "09-02 09-04 09-16 09-18",
		"FREQ=MONTHLY;COUNT=3;BYDAY=1FR":                          "09-05 10-03 11-07",
		"FREQ=MONTHLY;COUNT=3;BYDAY=-2MO":                         "09-22 10-20 11-17",
		"FREQ=MONTHLY;COUNT=4;BYMONTHDAY=2,15":                    "09-02 09-15 10-02 10-15",
		"FREQ=MONTHLY;COUNT=3;BYMONTHDAY=-1":                      "09-30 10-31 11-30",
		"FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3":          "09-04 10-07 11-06",
		"FREQ=MONTHLY;COUNT=4;BYMONTHDAY=28,29,30,31;BYSETPOS=-1": "09-30 10-31 11-30 12-31",
		"FREQ=YEARLY;COUNT=3;BYMONTH=9,11":                        "09-02 11-02 09-02",
		"FREQ=YEARLY;COUNT=2;BYMONTH=11;BYDAY=2TU":                "11-11 11-10",
		"FREQ=MONTHLY;COUNT=2;BYMONTHDAY=40":                      "",
	} {
		r, ok := parseRule(rule)
		if !ok {
			t.Fatalf("%s is no rule", rule)
		}
		var got []string
		r.each(start, func(at time.Time) bool {
			if h, m, _ := at.Clock(); h != 9 || m != 0 {
				t.Errorf("%s comes at %v", rule, at)
			}
			got = append(got, at.Format("01-02"))
			return true
		})
		if strings.Join(got, " ") != want {
			t.Errorf("%s comes %v, want %s", rule, got, want)
		}
	}
	for _, bad := range []string{"", "FREQ=HOURLY", ";;;", "FREQ=;COUNT=-1"} {
		if _, ok := parseRule(bad); ok {
			t.Errorf("%q is taken for a rule", bad)
		}
	}
	names := slices.Collect(func(yield func(string) bool) {
		for name, usual := range windowsZones {
			if _, err := time.LoadLocation(usual); err != nil && !yield(name) {
				return
			}
		}
	})
	if len(names) > 0 {
		t.Errorf("zones without a usual name: %v", names)
	}
}

// What is badly made is shown as far as it can be, and its changes do no harm.
func FuzzCards(f *testing.F) {
	f.Add("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;TZID=\"x:y\":20260101T000000\r\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30\r\nEXDATE:1,2\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
	f.Add("BEGIN:VEVENT\nBEGIN:VEVENT\nRECURRENCE-ID:20260101\nEND:X\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := readCards([]byte(text))
		once := string(c.text())
		if twice := string(readCards([]byte(once)).text()); once != twice {
			t.Errorf("written once it is %q, and twice %q", once, twice)
		}
		n := 0
		c.occurrences(time.Time{}, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), func(occurrence) bool { n++; return n < 100 })
	})
}
