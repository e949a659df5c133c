package simtenant

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What Outlook's calls say of events, contacts and tasks, and the lines that it
// becomes.

// busyStatus are what a user seems to be meanwhile, by Outlook's name and by that of a
// line of a file.
var busyStatus = map[string]string{"free": "FREE", "tentative": "TENTATIVE", "busy": "BUSY", "oof": "OOF", "workingElsewhere": "WORKINGELSEWHERE"}

func showAsOf(line string) string {
	for name, status := range busyStatus {
		if strings.EqualFold(status, line) {
			return name
		}
	}
	return ""
}

// truth is a bool, which some clients send as a text; the service takes it.
type truth bool

func (t *truth) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseBool(strings.Trim(string(data), `"`))
	*t = truth(v)
	return err
}

// eventBody is what a client says of an event.
type eventBody struct {
	Subject *string `json:"subject"`
	Body    *struct {
		Type    string `json:"contentType"`
		Content string `json:"content"`
	} `json:"body"`
	Start    *dateTime `json:"start"`
	End      *dateTime `json:"end"`
	AllDay   *truth    `json:"isAllDay"`
	Location *struct {
		Name string `json:"displayName"`
	} `json:"location"`
	Attendees   *[]attendee     `json:"attendees"`
	Recurrence  *recurrenceBody `json:"recurrence"`
	Importance  *string         `json:"importance"`
	Sensitivity *string         `json:"sensitivity"`
	ShowAs      *string         `json:"showAs"`
	ReminderOn  *truth          `json:"isReminderOn"`
	Reminder    *int            `json:"reminderMinutesBeforeStart"`
	Categories  *[]string       `json:"categories"`
	Response    *truth          `json:"responseRequested"`
	Transaction *string         `json:"transactionId"`
	Online      *truth          `json:"isOnlineMeeting"`
	Provider    *string         `json:"onlineMeetingProvider"`
	Extended    []struct {
		ID    string `json:"id"`
		Value string `json:"value"`
	} `json:"singleValueExtendedProperties"`

	Attachments []attachmentBody `json:"attachments"` // of a new event
}

var (
	eventNames = []string{
		"subject", "body", "start", "end", "isAllDay", "location", "attendees", "recurrence", "importance", "sensitivity", "showAs", "isReminderOn",
		"reminderMinutesBeforeStart", "categories", "responseRequested", "transactionId", "isOnlineMeeting", "onlineMeetingProvider", extendedProperties,
	}
	eventReadOnly = []string{
		"id", "changeKey", "createdDateTime", "lastModifiedDateTime", "iCalUId", "bodyPreview", "hasAttachments", "isCancelled", "isOrganizer", "organizer", "responseStatus",
		"seriesMasterId", "type", "webLink", "originalStart", "originalStartTimeZone", "originalEndTimeZone", "isDraft", "occurrenceId", "onlineMeeting", "onlineMeetingUrl", "locations",
	}
)

// propertyLine is the line of a file that holds an extended property of a client's.
const propertyLine = "X-HOLDFAST-PROPERTY"

// extended are those of a component's that are wanted, or nil.
func (c *card) extended(wanted []string) (list []any) {
	for _, l := range c.paper()[propertyLine] {
		if id := l.param("ID"); slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, id) }) {
			list = append(list, object{"id": id, "value": plainLine.Replace(l.value)})
		}
	}
	return list
}

// A meeting is online by a line of its file, which holds an address that leads nowhere.
const (
	onlineLine     = "X-MICROSOFT-SKYPETEAMSMEETINGURL"
	onlineProvider = "teamsForBusiness"
)

// eventThus are properties of events that clients send, and the only values of them that
// are kept here.
var eventThus = map[string]any{"hideAttendees": false, "allowNewTimeProposals": true}

// onlyThus refuses properties that have another value than the only one that is kept.
func onlyThus(text []byte, what string, thus map[string]any) error {
	var have map[string]any
	json.Unmarshal(text, &have) // who reads the rest says what is wrong with it
	for name, only := range thus {
		if v, given := have[name]; given && v != nil && v != only {
			return fail(http.StatusBadRequest, "ErrorInvalidRequest", fmt.Sprintf("The simulated tenant keeps a microsoft.graph.%s only whose %s is %v.", what, name, only))
		}
	}
	return nil
}

func writeEvent(r *request, text []byte, c *card, fresh bool) (*[]string, error) {
	var in eventBody
	if err := onlyThus(text, "event", eventThus); err != nil {
		return nil, err
	}
	known := slices.Concat(eventNames, slices.Collect(maps.Keys(eventThus)))
	if fresh {
		known = append(known, "attachments")
	}
	names, err := decodeContent(text, "event", known, eventReadOnly, &in)
	if err != nil {
		return nil, err
	}
	var parts []mailPart
	for _, a := range in.Attachments {
		part, err := a.part(r.place.user)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if fresh {
		c.attach(parts)
	}
	p := c.paper()
	start, end, day := time.Time{}, time.Time{}, p.allDay()
	if !fresh {
		start, end = p.span()
	}
	if in.Start != nil {
		if start, err = in.Start.read(); err != nil {
			return nil, err
		}
	}
	if in.End != nil {
		if end, err = in.End.read(); err != nil {
			return nil, err
		}
	}
	if in.AllDay != nil {
		day = bool(*in.AllDay)
	}
	switch {
	case start.IsZero() || end.IsZero():
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "An event needs start and end.")
	case end.Before(start):
		return nil, fail(http.StatusBadRequest, "ErrorPropertyValidationFailure", "At least one property failed validation: the end is before the start.")
	case day && (start.Hour() != 0 || start.Minute() != 0 || end.Hour() != 0 || end.Minute() != 0 || !end.After(start)):
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The Event.Start and Event.End properties of an all-day event must be midnights, of different days.")
	}
	if in.Start != nil || in.End != nil || in.AllDay != nil {
		c.set("DTSTART", timeLine("DTSTART", start, day))
		c.set("DTEND", timeLine("DTEND", end, day))
		c.set("DURATION")
	}
	if in.Subject != nil {
		c.setText("SUMMARY", *in.Subject)
	}
	if in.Body != nil {
		kind := "text"
		if strings.EqualFold(in.Body.Type, "html") {
			kind = "html"
		}
		c.set("X-ALT-DESC")
		c.setText("DESCRIPTION", in.Body.Content)
		if kind == "html" && in.Body.Content != "" {
			c.setText("DESCRIPTION", preview(kind, in.Body.Content))
			c.lines = append(c.lines, "X-ALT-DESC;FMTTYPE=text/html:"+escapeText(in.Body.Content))
		}
	}
	if in.Location != nil {
		c.setText("LOCATION", in.Location.Name)
	}
	if in.Importance != nil {
		if err := importanceLine(c, *in.Importance); err != nil {
			return nil, err
		}
	}
	if in.Sensitivity != nil {
		class, ok := map[string]string{"normal": "", "personal": "X-PERSONAL", "private": "PRIVATE", "confidential": "CONFIDENTIAL"}[strings.ToLower(*in.Sensitivity)]
		if !ok {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "sensitivity is normal, personal, private or confidential.")
		}
		c.setText("CLASS", class)
	}
	if in.ShowAs != nil {
		status := busyStatus[*in.ShowAs]
		if status == "" {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "showAs is free, tentative, busy, oof or workingElsewhere.")
		}
		c.setText("X-MICROSOFT-CDO-BUSYSTATUS", status)
		c.setText("TRANSP", map[bool]string{true: "TRANSPARENT", false: "OPAQUE"}[status == "FREE"])
	}
	if in.ReminderOn != nil && !bool(*in.ReminderOn) {
		c.alarm("")
	} else if in.Reminder != nil || in.ReminderOn != nil || fresh {
		minutes := 15
		if in.Reminder != nil {
			minutes = *in.Reminder
		}
		if minutes < 0 || minutes > 1_000_000 {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "reminderMinutesBeforeStart is a number of minutes.")
		}
		c.alarm(fmt.Sprintf("TRIGGER:-PT%dM", minutes))
	}
	if in.Response != nil {
		c.setText("X-MICROSOFT-RESPONSEREQUESTED", strings.ToUpper(strconv.FormatBool(bool(*in.Response))))
	}
	if in.Transaction != nil {
		c.setText("X-MICROSOFT-TRANSACTIONID", *in.Transaction)
	}
	for _, e := range in.Extended {
		if e.ID == "" || len(e.ID) > 500 || strings.ContainsFunc(e.ID, func(c rune) bool { return c < ' ' || c == '"' }) {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidProperty", "An extended property needs an id, as in String {GUID} Name Color.")
		}
		c.lines = slices.DeleteFunc(c.lines, func(line string) bool {
			l := (&card{lines: []string{line}}).paper()[propertyLine]
			return len(l) > 0 && strings.EqualFold(l[0].param("ID"), e.ID)
		})
		c.lines = append(c.lines, propertyLine+";ID="+escapeParam(e.ID)+":"+escapeText(e.Value))
	}
	if in.Provider != nil && *in.Provider != "unknown" && *in.Provider != onlineProvider {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "onlineMeetingProvider is unknown or "+onlineProvider+".")
	}
	if in.Online != nil && bool(*in.Online) && p[onlineLine] == nil { // later changes are ignored, as at the service
		meeting := derive("online meeting", c.paper().text("UID"))
		c.set(onlineLine, onlineLine+":https://teams.microsoft.com/l/meetup-join/19%3ameeting_"+hex.EncodeToString(meeting[:])+"%40thread.v2/0")
	}
	if in.Categories != nil {
		categoriesLine(c, *in.Categories)
	}
	if names["recurrence"] {
		rule := ""
		if in.Recurrence != nil {
			if p["RECURRENCE-ID"] != nil {
				return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "An occurrence has no recurrence of its own.")
			}
			if rule, err = in.Recurrence.rule(start); err != nil {
				return nil, err
			}
		}
		c.set("RRULE")
		if rule != "" {
			c.lines = append(c.lines, "RRULE:"+rule)
		} else {
			c.set("EXDATE")
		}
	}
	if in.Attendees != nil {
		answers := map[string]string{}
		for _, l := range p["ATTENDEE"] {
			answers[strings.ToLower(l.address()["address"].(string))] = strings.ToUpper(l.param("PARTSTAT"))
		}
		c.set("ATTENDEE")
		for _, a := range *in.Attendees {
			line, err := a.line(answers)
			if err != nil {
				return nil, err
			}
			c.lines = append(c.lines, line)
		}
		if p["ORGANIZER"] == nil && len(*in.Attendees) > 0 {
			me := r.place.user
			c.set("ORGANIZER", "ORGANIZER;CN="+escapeParam(me.DisplayName)+":mailto:"+me.Mail)
		}
	}
	return in.Categories, nil
}

// recurrenceBody is how an event comes again, as clients write it.
type recurrenceBody struct {
	Pattern struct {
		Type     string   `json:"type"`
		Interval int      `json:"interval"`
		Month    int      `json:"month"`
		Day      int      `json:"dayOfMonth"`
		Days     []string `json:"daysOfWeek"`
		First    string   `json:"firstDayOfWeek"`
		Index    string   `json:"index"`
	} `json:"pattern"`
	Range struct {
		Type  string `json:"type"`
		Start string `json:"startDate"`
		End   string `json:"endDate"`
		Count int    `json:"numberOfOccurrences"`
	} `json:"range"`
}

// rule is the recurrence in a file, of an event that begins at start.
func (b recurrenceBody) rule(start time.Time) (string, error) {
	wrong := func(message string) (string, error) {
		return "", fail(http.StatusBadRequest, "ErrorInvalidRequest", message)
	}
	letters := func(name string) string {
		for d := range time.Saturday + 1 {
			if strings.EqualFold(d.String(), name) {
				return dayLetters[d]
			}
		}
		return ""
	}
	p := b.Pattern
	if p.Interval < 1 || p.Interval > 999 {
		return wrong("A recurrence's interval is at least 1.")
	}
	var days []string
	for _, name := range p.Days {
		l := letters(name)
		if l == "" {
			return wrong("daysOfWeek names days.")
		}
		days = append(days, l)
	}
	rule := fmt.Sprintf("INTERVAL=%d", p.Interval)
	monthly := func() string {
		if p.Day <= 28 {
			return fmt.Sprintf(";BYMONTHDAY=%d", p.Day)
		}
		// In months that are shorter it is the last day.
		list := []string{}
		for d := 28; d <= p.Day; d++ {
			list = append(list, strconv.Itoa(d))
		}
		return ";BYMONTHDAY=" + strings.Join(list, ",") + ";BYSETPOS=-1"
	}
	relative := func() string {
		n := slices.Index(monthIndexes, strings.ToLower(p.Index)) + 1
		if p.Index == "" {
			n = 1
		}
		if n == len(monthIndexes) {
			n = -1
		}
		if len(days) == 1 {
			return fmt.Sprintf(";BYDAY=%d%s", n, days[0])
		}
		return fmt.Sprintf(";BYDAY=%s;BYSETPOS=%d", strings.Join(days, ","), n)
	}
	absolute, kind := p.Day >= 1 && p.Day <= 31, strings.ToLower(p.Type)
	onDays := len(days) > 0 && (p.Index == "" || slices.Contains(monthIndexes, strings.ToLower(p.Index)))
	inMonth := p.Month >= 1 && p.Month <= 12
	switch {
	case kind == "daily":
		rule = "FREQ=DAILY;" + rule
	case kind == "weekly" && len(days) > 0:
		first := letters(p.First)
		if first == "" {
			first = "SU"
		}
		rule = "FREQ=WEEKLY;" + rule + ";BYDAY=" + strings.Join(days, ",") + ";WKST=" + first
	case kind == "absolutemonthly" && absolute:
		rule = "FREQ=MONTHLY;" + rule + monthly()
	case kind == "relativemonthly" && onDays:
		rule = "FREQ=MONTHLY;" + rule + relative()
	case kind == "absoluteyearly" && absolute && inMonth:
		rule = fmt.Sprintf("FREQ=YEARLY;%s;BYMONTH=%d", rule, p.Month) + monthly()
	case kind == "relativeyearly" && onDays && inMonth:
		rule = fmt.Sprintf("FREQ=YEARLY;%s;BYMONTH=%d", rule, p.Month) + relative()
	default:
		return wrong("The recurrence's pattern is not complete.")
	}
	switch strings.ToLower(b.Range.Type) {
	case "noend":
	case "numbered":
		if b.Range.Count < 1 || b.Range.Count > 999 {
			return wrong("A numbered recurrence has between 1 and 999 occurrences.")
		}
		rule += fmt.Sprintf(";COUNT=%d", b.Range.Count)
	case "enddate":
		end, err := time.ParseInLocation(time.DateOnly, b.Range.End, start.Location())
		if err != nil || end.AddDate(0, 0, 1).Before(start) {
			return wrong("A recurrence's endDate is a day after its start.")
		}
		rule += ";UNTIL=" + end.AddDate(0, 0, 1).Add(-time.Second).UTC().Format("20060102T150405Z")
	default:
		return wrong("A recurrence's range is noEnd, numbered or endDate.")
	}
	// The series is to have a time at which it takes place.
	parsed, _ := parseRule(rule)
	any := false
	parsed.each(start, func(time.Time) bool { any = true; return false })
	if !any {
		return wrong("The recurrence never comes.")
	}
	return rule, nil
}

var (
	// contactLines are the lines of a card that are one text each, and the member that is
	// the same.
	contactLines = map[string]string{
		"NICKNAME": "nickName", "TITLE": "jobTitle", "X-MS-OFFICE": "officeLocation", "X-MS-ASSISTANT": "assistantName", "X-MS-MANAGER": "manager",
		"X-MS-SPOUSE": "spouseName", "ROLE": "profession",
	}
	// contactAddresses are the places where somebody is, by the type of their line.
	contactAddresses = map[string]string{"WORK": "businessAddress", "HOME": "homeAddress", "OTHER": "otherAddress"}
)

// contactBody is what a client says of a contact.
type contactBody struct {
	DisplayName *string      `json:"displayName"`
	Given       *string      `json:"givenName"`
	Surname     *string      `json:"surname"`
	Middle      *string      `json:"middleName"`
	Title       *string      `json:"title"`
	Generation  *string      `json:"generation"`
	Company     *string      `json:"companyName"`
	Department  *string      `json:"department"`
	Notes       *string      `json:"personalNotes"`
	Birthday    *string      `json:"birthday"`
	Mobile      *string      `json:"mobilePhone"`
	Business    *[]string    `json:"businessPhones"`
	Home        *[]string    `json:"homePhones"`
	Emails      *[]emailBody `json:"emailAddresses"`
	Categories  *[]string    `json:"categories"`

	NickName  *string `json:"nickName"`
	JobTitle  *string `json:"jobTitle"`
	Office    *string `json:"officeLocation"`
	Assistant *string `json:"assistantName"`
	Manager   *string `json:"manager"`
	Spouse    *string `json:"spouseName"`
	Work      *string `json:"profession"`

	AtWork  *physicalAddress `json:"businessAddress"`
	AtHome  *physicalAddress `json:"homeAddress"`
	AtOther *physicalAddress `json:"otherAddress"`
}

type emailBody struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

type physicalAddress struct {
	Street  string `json:"street"`
	City    string `json:"city"`
	State   string `json:"state"`
	Code    string `json:"postalCode"`
	Country string `json:"countryOrRegion"`
}

var contactNames = []string{
	"displayName", "givenName", "surname", "middleName", "title", "generation", "companyName", "department", "personalNotes", "birthday", "mobilePhone", "businessPhones",
	"homePhones", "emailAddresses", "categories", "nickName", "jobTitle", "officeLocation", "assistantName", "manager", "spouseName", "profession", "businessAddress", "homeAddress", "otherAddress",
}

// joinFields is a line of several fields.
func joinFields(list ...string) string {
	for i := range list {
		list[i] = escapeText(list[i])
	}
	return strings.Join(list, ";")
}

func writeContact(_ *request, text []byte, c *card, fresh bool) (*[]string, error) {
	var in contactBody
	names, err := decodeContent(text, "contact", contactNames, []string{"id", "changeKey", "createdDateTime", "lastModifiedDateTime", "parentFolderId", "fileAs"}, &in)
	if err != nil {
		return nil, err
	}
	p := c.paper()
	name, org := p.fieldsOf("N", 5), p.fieldsOf("ORG", 2)
	for into, from := range map[*string]*string{&name[0]: in.Surname, &name[1]: in.Given, &name[2]: in.Middle, &name[3]: in.Title, &name[4]: in.Generation, &org[0]: in.Company, &org[1]: in.Department} {
		if from != nil {
			*into = *from
		}
	}
	shown := p.text("FN")
	if in.DisplayName != nil {
		shown = *in.DisplayName
	} else if fresh || in.Given != nil || in.Surname != nil {
		shown = strings.TrimSpace(name[1] + " " + name[0])
	}
	c.set("FN", "FN:"+escapeText(shown))
	c.set("N", "N:"+joinFields(name...))
	if c.set("ORG"); org[0]+org[1] != "" {
		c.set("ORG", "ORG:"+joinFields(org...))
	}
	for line, value := range map[string]*string{
		"NOTE": in.Notes, "NICKNAME": in.NickName, "TITLE": in.JobTitle, "X-MS-OFFICE": in.Office, "X-MS-ASSISTANT": in.Assistant, "X-MS-MANAGER": in.Manager, "X-MS-SPOUSE": in.Spouse, "ROLE": in.Work,
	} {
		if value != nil {
			c.setText(line, *value)
		}
	}
	if names["birthday"] {
		c.set("BDAY")
		if in.Birthday != nil {
			at, err := time.Parse(time.RFC3339Nano, *in.Birthday)
			if err != nil {
				return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The birthday is no time of the form 2006-01-02T00:00:00Z.")
			}
			c.set("BDAY", "BDAY:"+at.UTC().Format(time.DateOnly))
		}
	}
	if in.Emails != nil {
		c.set("EMAIL")
		for _, e := range *in.Emails {
			c.lines = append(c.lines, "EMAIL;TYPE=INTERNET:"+escapeText(e.Address))
		}
	}
	// Numbers and places of a kind are one member each.
	retype := func(line string, is func(params string) bool, more ...string) {
		c.lines = slices.DeleteFunc(c.lines, func(l string) bool {
			key, _, _ := strings.Cut(l, ":")
			return lineName(l) == line && is(strings.ToUpper(key))
		})
		c.lines = append(c.lines, more...)
	}
	typed := func(line, kind string, values []string) (out []string) {
		for _, v := range values {
			out = append(out, line+";TYPE="+kind+":"+escapeText(v))
		}
		return out
	}
	cell, home := func(params string) bool { return strings.Contains(params, "CELL") }, func(params string) bool { return strings.Contains(params, "HOME") && !strings.Contains(params, "CELL") }
	if names["mobilePhone"] {
		var number []string
		if in.Mobile != nil && *in.Mobile != "" {
			number = []string{*in.Mobile}
		}
		retype("TEL", cell, typed("TEL", "CELL", number)...)
	}
	if in.Home != nil {
		retype("TEL", home, typed("TEL", "HOME", *in.Home)...)
	}
	if in.Business != nil {
		retype("TEL", func(params string) bool { return !cell(params) && !home(params) }, typed("TEL", "WORK", *in.Business)...)
	}
	for kind, at := range map[string]*physicalAddress{"WORK": in.AtWork, "HOME": in.AtHome, "OTHER": in.AtOther} {
		if at == nil {
			continue
		}
		var lines []string
		if *at != (physicalAddress{}) {
			lines = []string{"ADR;TYPE=" + kind + ":" + joinFields("", "", at.Street, at.City, at.State, at.Code, at.Country)}
		}
		retype("ADR", func(params string) bool {
			return strings.Contains(params, kind) || kind == "OTHER" && !strings.Contains(params, "WORK") && !strings.Contains(params, "HOME")
		}, lines...)
	}
	if in.Categories != nil {
		categoriesLine(c, *in.Categories)
	}
	return in.Categories, nil
}

// taskTimes are the lines of a task's times, by their members.
var taskTimes = map[string]string{"dueDateTime": "DUE", "startDateTime": "DTSTART", "completedDateTime": "COMPLETED"}

// taskBody is what a client says of a task.
type taskBody struct {
	Title *string `json:"title"`
	Body  *struct {
		Content string `json:"content"`
	} `json:"body"`
	Status     *string   `json:"status"`
	Importance *string   `json:"importance"`
	Due        *dateTime `json:"dueDateTime"`
	Start      *dateTime `json:"startDateTime"`
	Completed  *dateTime `json:"completedDateTime"`
	Reminder   *dateTime `json:"reminderDateTime"`
	ReminderOn *bool     `json:"isReminderOn"`
	Categories *[]string `json:"categories"`
}

var taskNames = []string{"title", "body", "status", "importance", "dueDateTime", "startDateTime", "completedDateTime", "reminderDateTime", "isReminderOn", "categories"}

func writeTask(_ *request, text []byte, c *card, fresh bool) (*[]string, error) {
	var in taskBody
	names, err := decodeContent(text, "todoTask", taskNames, []string{"id", "createdDateTime", "lastModifiedDateTime", "bodyLastModifiedDateTime", "hasAttachments"}, &in)
	if err != nil {
		return nil, err
	}
	if in.Title != nil {
		c.setText("SUMMARY", *in.Title)
	}
	if in.Body != nil {
		c.setText("DESCRIPTION", in.Body.Content)
	}
	if in.Importance != nil {
		if err := importanceLine(c, *in.Importance); err != nil {
			return nil, err
		}
	}
	if in.Status != nil || fresh {
		status := "notStarted"
		if in.Status != nil {
			status = *in.Status
		}
		line, ok := map[string]string{"notStarted": "NEEDS-ACTION", "inProgress": "IN-PROCESS", "completed": "COMPLETED", "waitingOnOthers": "IN-PROCESS", "deferred": "CANCELLED"}[status]
		if !ok {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "status is notStarted, inProgress, completed, waitingOnOthers or deferred.")
		}
		c.setText("STATUS", line)
		c.set("X-MICROSOFT-WAITING")
		if status == "waitingOnOthers" {
			c.set("X-MICROSOFT-WAITING", "X-MICROSOFT-WAITING:TRUE")
		}
	}
	for member, at := range map[string]*dateTime{"dueDateTime": in.Due, "startDateTime": in.Start, "completedDateTime": in.Completed} {
		line := taskTimes[member]
		if !names[member] {
			continue
		}
		c.set(line)
		if at != nil {
			when, err := at.read()
			if err != nil {
				return nil, err
			}
			c.set(line, timeLine(line, when, false))
		}
	}
	switch {
	case in.ReminderOn != nil && !bool(*in.ReminderOn), names["reminderDateTime"] && in.Reminder == nil:
		c.alarm("")
	case in.Reminder != nil:
		at, err := in.Reminder.read()
		if err != nil {
			return nil, err
		}
		c.alarm("TRIGGER;VALUE=DATE-TIME:" + at.UTC().Format("20060102T150405Z"))
	}
	if in.Categories != nil {
		categoriesLine(c, *in.Categories)
	}
	return in.Categories, nil
}
