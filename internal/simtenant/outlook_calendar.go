package simtenant

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What calls to calendars, contacts and tasks ask of their caller.
var (
	readCalendars = permission{"ErrorAccessDenied", []string{"Calendars.Read", "Calendars.ReadWrite"}}
	readContacts  = permission{"ErrorAccessDenied", []string{"Contacts.Read", "Contacts.ReadWrite"}}
	readTasks     = permission{"ErrorAccessDenied", []string{"Tasks.Read.All", "Tasks.ReadWrite.All", "Tasks.Read", "Tasks.ReadWrite"}}
)

// paperKind is one of the kinds of items that Outlook keeps beside mail: files of
// lines, in folders of a class.
type paperKind struct {
	class, well string
	ext         string
	what        string // an item's set, as in addresses
	folders     string // a folder's set
	context     string
	view        func(*mailbox, *mailItem, paper) map[string]any
	folder      func(*mailbox, *mailFolder) map[string]any
}

var (
	calendarKind = paperKind{"IPF.Appointment", "calendar", extCalendar, "events", "calendars", "events", eventView, func(m *mailbox, f *mailFolder) map[string]any {
		return map[string]any{
			"id": m.folderID(f), "name": f.name, "color": "auto", "hexColor": "", "isDefaultCalendar": f.well == "calendar", "changeKey": m.folderID(f),
			"canShare": true, "canViewPrivateItems": true, "canEdit": true, "isTallyingResponses": f.well == "calendar", "isRemovable": f.well == "",
			"owner": object{"name": m.d.place.user.DisplayName, "address": m.d.place.user.Mail},
		}
	}}
	contactKind = paperKind{"IPF.Contact", "contacts", extContact, "contacts", "contactFolders", "contacts", contactView, func(m *mailbox, f *mailFolder) map[string]any {
		return map[string]any{"id": m.folderID(f), "displayName": f.name, "parentFolderId": m.folderID(f.parent)}
	}}
	taskKind = paperKind{"IPF.Task", "tasks", extCalendar, "tasks", "todo/lists", "todo/lists/tasks", taskView, func(m *mailbox, f *mailFolder) map[string]any {
		known := "none"
		if f.well == "tasks" {
			known = "defaultList"
		}
		return map[string]any{"id": m.folderID(f), "displayName": f.name, "isOwner": true, "isShared": false, "wellknownListName": known}
	}}
)

func calendarRoutes() []Route {
	const (
		list  = "select top skip count"
		delta = "select top skiptoken deltatoken"
	)
	const readOnly = "Making and changing them: the import of exported items does, and any program that writes files."
	folders := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.listPaperFolders(r, m, k) })
	}
	folder := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.getPaperFolder(r, m, k) })
	}
	items := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.listPapers(r, m, k, false) })
	}
	window := onUserMail(func(s *Service, r *request, m *mailbox) error { return s.listPapers(r, m, calendarKind, true) })
	item := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.getPaper(r, m, k) })
	}
	changes := func(k paperKind, window bool) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.papersDelta(r, m, k, window) })
	}
	const series = "Occurrences: a series is told once, with its recurrence."
	return []Route{
		{"GET", "{user}/calendars", "The calendars.", readOnly, list, readCalendars, folders(calendarKind)},
		{"GET", "{user}/calendar", "The default calendar.", "", "select", readCalendars, folder(calendarKind)},
		{"GET", "{user}/calendars/{folder}", "A calendar.", "", "select", readCalendars, folder(calendarKind)},
		{"GET", "{user}/events", "The events of the default calendar: files NAME.ics.", readOnly, list, readCalendars, items(calendarKind)},
		{"GET", "{user}/calendar/events", "The same.", "", list, readCalendars, items(calendarKind)},
		{"GET", "{user}/calendars/{folder}/events", "The events of a calendar.", "", list, readCalendars, items(calendarKind)},
		{"GET", "{user}/events/{message}", "An event.", "", "select", readCalendars, item(calendarKind)},
		{"GET", "{user}/calendars/{folder}/events/{message}", "The same.", "", "select", readCalendars, item(calendarKind)},
		{"GET", "{user}/calendarView", "The events of the default calendar from startDateTime to endDateTime.", series, list, readCalendars, window},
		{"GET", "{user}/calendar/calendarView", "The same.", series, list, readCalendars, window},
		{"GET", "{user}/calendars/{folder}/calendarView", "The same of a calendar.", series, list, readCalendars, window},
		{"GET", "{user}/calendarView/delta", "What changed in the default calendar, of a window that the first call names.", series, delta, readCalendars, changes(calendarKind, true)},

		{"GET", "{user}/contactFolders", "The folders of contacts but the default one.", readOnly, list, readContacts, folders(contactKind)},
		{"GET", "{user}/contactFolders/{folder}", "A folder of contacts.", "", "select", readContacts, folder(contactKind)},
		{"GET", "{user}/contacts", "The contacts of the default folder: files NAME.vcf.", readOnly, list, readContacts, items(contactKind)},
		{"GET", "{user}/contactFolders/{folder}/contacts", "Those of a folder.", "Photos.", list, readContacts, items(contactKind)},
		{"GET", "{user}/contactFolders/{folder}/contacts/delta", "What changed among them since a token, or all of them.", "", delta, readContacts, changes(contactKind, false)},
		{"GET", "{user}/contacts/{message}", "A contact.", "", "select", readContacts, item(contactKind)},
		{"GET", "{user}/contactFolders/{folder}/contacts/{message}", "The same.", "", "select", readContacts, item(contactKind)},

		{"GET", "{user}/todo/lists", "The lists of tasks.", readOnly, list, readTasks, folders(taskKind)},
		{"GET", "{user}/todo/lists/{folder}", "A list of tasks.", "", "select", readTasks, folder(taskKind)},
		{"GET", "{user}/todo/lists/{folder}/tasks", "The tasks of a list: files NAME.ics in folders of tasks.", "Checklists and linked resources.", list, readTasks, items(taskKind)},
		{"GET", "{user}/todo/lists/{folder}/tasks/delta", "What changed among them since a token, or all of them.", "", delta, readTasks, changes(taskKind, false)},
		{"GET", "{user}/todo/lists/{folder}/tasks/{message}", "A task.", "", "select", readTasks, item(taskKind)},
	}
}

// holds reports whether a folder is of the kind.
func (k paperKind) holds(f *mailFolder) bool { return strings.EqualFold(f.class(), k.class) }

// isOne reports whether an item is of the kind.
func (k paperKind) isOne(it *mailItem) bool {
	if it.file == nil || itemExt(it.file.name) != k.ext {
		return false
	}
	class := it.class
	if class == "" && it.at != nil { // nobody has read it yet
		class = classByName(it.file.name, it.at.in.class())
	}
	return (class == "IPM.Task") == (k.class == "IPF.Task")
}

// at is the folder that the address names, or the default one.
func (k paperKind) at(r *request, m *mailbox) (*mailFolder, error) {
	id := r.vars["folder"]
	if id == "" {
		id = k.well
	}
	f, err := m.folder(id)
	if err == nil && !k.holds(f) {
		err = noMailFolder()
	}
	return f, err
}

func (s *Service) listPaperFolders(r *request, m *mailbox, k paperKind) error {
	list := m.list(func(f *mailFolder) bool {
		return k.holds(f) && f.within(m.top) && (k.class != "IPF.Contact" || f.well != k.well)
	})
	return s.answerList(r, r.outlookContext(k.folders), r.outlook(strings.Split(k.folders, "/")...), len(list), func(i int) any { return k.folder(m, list[i]) })
}

func (s *Service) getPaperFolder(r *request, m *mailbox, k paperKind) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	v := k.folder(m, f)
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext(k.folders+"/$entity")
	r.status, r.answer = http.StatusOK, project(v, selected(r.query))
	return nil
}

// paperView is an item as Outlook shows it.
func (m *mailbox) paperView(it *mailItem, immutable bool, k paperKind) (map[string]any, error) {
	var p paper
	if f, err := m.open(it); err == nil {
		text, rerr := io.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if rerr == nil {
			p = readPaper(text)
		}
	}
	v := m.itemView(it.at, immutable)
	for _, name := range []string{"@odata.type", "type", "size"} {
		delete(v, name)
	}
	for name, value := range k.view(m, it, p) {
		v[name] = value
	}
	return v, nil
}

// windowOf is the stretch of time that a view of a calendar is of.
func windowOf(r *request) (from, to time.Time, err error) {
	for _, one := range []struct {
		name string
		into *time.Time
	}{{"startDateTime", &from}, {"endDateTime", &to}} {
		text := ""
		for key, values := range r.query {
			if strings.EqualFold(strings.TrimPrefix(key, "$"), one.name) && len(values) > 0 {
				text = values[0]
			}
		}
		ok := false
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
			if at, err := time.Parse(layout, text); err == nil {
				*one.into, ok = at, true
				break
			}
		}
		if !ok {
			return from, to, fail(http.StatusBadRequest, "ErrorInvalidParameter", "This request requires a time window specified by the query string parameters StartDateTime and EndDateTime.")
		}
	}
	return from, to, nil
}

// shown is what of the kind a call tells, by the window if there is one.
func (k paperKind) shown(r *request, m *mailbox, windowed bool) (func(*mailItem) bool, error) {
	if !windowed {
		return k.isOne, nil
	}
	from, to, err := windowOf(r)
	if err != nil {
		return nil, err
	}
	return func(it *mailItem) bool {
		if !k.isOne(it) {
			return false
		}
		h, err := m.head(it)
		if err != nil || h.start.IsZero() {
			return false
		}
		end := h.end
		if end.Before(h.start) {
			end = h.start
		}
		return h.start.Before(to) && !end.Before(from)
	}, nil
}

// here is the address of the items of the kind that a call is about.
func (k paperKind) here(r *request, last ...string) string {
	at := []string{k.what}
	if id := r.vars["folder"]; id != "" {
		at = append(strings.Split(k.folders, "/"), id, k.what)
	}
	return r.outlook(append(at, last...)...)
}

func (s *Service) listPapers(r *request, m *mailbox, k paperKind, windowed bool) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	show, err := k.shown(r, m, windowed)
	if err != nil {
		return err
	}
	at := k.here(r)
	if windowed {
		at = strings.TrimSuffix(at, k.what) + "calendarView"
	}
	immutable := r.immutable()
	return s.listItems(r, m, f.items(), r.outlookContext(k.context), at, show, func(it *mailItem) (any, error) {
		if it.at == nil {
			return nil, noMailItem()
		}
		return m.paperView(it, immutable, k)
	})
}

func (s *Service) papersDelta(r *request, m *mailbox, k paperKind, windowed bool) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	show, err := k.shown(r, m, windowed)
	if err != nil {
		return err
	}
	at := k.here(r, "delta")
	if windowed {
		at = r.outlook("calendarView", "delta")
	}
	immutable := r.immutable()
	return s.itemsDelta(r, m, f, "Collection("+strings.TrimSuffix(k.what, "s")+")", at, show, func(st *stay) (any, error) { return m.paperView(st.it, immutable, k) })
}

func (s *Service) getPaper(r *request, m *mailbox, k paperKind) error {
	it, err := m.item(r.vars["message"])
	if err != nil {
		return err
	}
	if err := m.settle(r.Context(), it); err != nil {
		return err
	}
	if !k.isOne(it) {
		return noMailItem()
	}
	if id := r.vars["folder"]; id != "" {
		if f, err := k.at(r, m); err != nil || f != it.at.in {
			return noMailItem()
		}
	}
	if s.corrupt(it) {
		return corruptItem()
	}
	v, err := m.paperView(it, r.immutable(), k)
	if err != nil {
		return err
	}
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext(url.PathEscape(k.what)+"/$entity")
	r.status, r.answer = http.StatusOK, project(v, selected(r.query))
	return nil
}

// paper is an iCalendar's first component, or a vCard: its lines by name.
type paper map[string][]paperLine

type paperLine struct {
	params string // in upper case
	raw    string // the parameters as they are
	value  string
}

var plainLine = strings.NewReplacer(`\,`, ",", `\;`, ";", `\n`, "\n", `\N`, "\n", `\\`, `\`)

// readPaper reads the first event, task or card of a text.
func readPaper(text []byte) paper {
	p, depth, in := paper{}, 0, false
	for line := range bytes.SplitSeq(unfold(text), []byte("\n")) {
		key, value, ok := strings.Cut(strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD"), ":")
		if !ok {
			continue
		}
		// A value in quotes may hold the sign that ends the name.
		for strings.Count(key, `"`)%2 == 1 {
			more, rest, ok := strings.Cut(value, ":")
			if !ok {
				break
			}
			key, value = key+":"+more, rest
		}
		name, params, _ := strings.Cut(key, ";")
		name = strings.ToUpper(name)
		switch kind := strings.ToUpper(strings.TrimSpace(value)); {
		case name == "BEGIN" && !in && (kind == "VEVENT" || kind == "VTODO" || kind == "VCARD"):
			in = true
		case name == "BEGIN":
			depth++
		case name == "END" && in && depth == 0:
			return p
		case name == "END":
			depth = max(0, depth-1)
		case in && depth == 0:
			p[name] = append(p[name], paperLine{strings.ToUpper(params), params, value})
		}
		if name == "BEGIN" && !in {
			depth = 0 // the calendar's own
		}
	}
	return p
}

func (p paper) text(name string) string {
	if lines := p[name]; len(lines) > 0 {
		return plainLine.Replace(lines[0].value)
	}
	return ""
}

// dateTime is a time of an event, as Outlook shows it: in UTC.
func (p paper) dateTime(name string) (at time.Time, v any) {
	lines := p[name]
	if len(lines) == 0 {
		return at, nil
	}
	if at = calendarTime(lines[0].params, lines[0].value); at.IsZero() {
		return at, nil
	}
	return at, dateTimeView(at)
}

func dateTimeView(at time.Time) object {
	return object{"dateTime": at.UTC().Format("2006-01-02T15:04:05.0000000"), "timeZone": "UTC"}
}

// param returns a parameter of a line.
func (l paperLine) param(name string) string {
	for part := range strings.SplitSeq(l.raw, ";") {
		if key, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(key, name) {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// address is somebody whom a line names.
func (l paperLine) address() object {
	address, _ := cutFold(l.value, "mailto:")
	name := l.param("CN")
	if name == "" {
		name = address
	}
	return object{"name": name, "address": address}
}

func eventView(m *mailbox, it *mailItem, p paper) map[string]any {
	start, startView := p.dateTime("DTSTART")
	_, endView := p.dateTime("DTEND")
	allDay := len(p["DTSTART"]) > 0 && len(p["DTSTART"][0].value) == 8
	if endView == nil && !start.IsZero() {
		end := start
		if allDay {
			end = start.AddDate(0, 0, 1)
		}
		endView = dateTimeView(end)
	}
	v := map[string]any{
		"subject": p.text("SUMMARY"), "body": object{"contentType": "text", "content": p.text("DESCRIPTION")}, "bodyPreview": preview("text", p.text("DESCRIPTION")),
		"start": startView, "end": endView, "isAllDay": allDay, "iCalUId": orNull(p.text("UID")), "location": object{"displayName": p.text("LOCATION")},
		"type": "singleInstance", "recurrence": nil, "seriesMasterId": nil, "isCancelled": strings.EqualFold(p.text("STATUS"), "CANCELLED"), "organizer": nil,
		"isOrganizer": false, "hasAttachments": len(p["ATTACH"]) > 0, "importance": "normal", "sensitivity": "normal", "showAs": "busy", "attendees": []any{},
	}
	if strings.EqualFold(p.text("TRANSP"), "TRANSPARENT") {
		v["showAs"] = "free"
	}
	switch strings.ToUpper(p.text("CLASS")) {
	case "PRIVATE":
		v["sensitivity"] = "private"
	case "CONFIDENTIAL":
		v["sensitivity"] = "confidential"
	}
	if lines := p["ORGANIZER"]; len(lines) > 0 {
		who := lines[0].address()
		v["organizer"], v["isOrganizer"] = object{"emailAddress": who}, strings.EqualFold(who["address"].(string), m.d.place.user.Mail)
	} else {
		v["isOrganizer"] = true
	}
	var attendees []any
	for _, l := range p["ATTENDEE"] {
		response, kind := "none", "required"
		switch strings.ToUpper(l.param("PARTSTAT")) {
		case "ACCEPTED":
			response = "accepted"
		case "DECLINED":
			response = "declined"
		case "TENTATIVE":
			response = "tentativelyAccepted"
		}
		switch {
		case strings.EqualFold(l.param("ROLE"), "OPT-PARTICIPANT"):
			kind = "optional"
		case strings.EqualFold(l.param("CUTYPE"), "ROOM"), strings.EqualFold(l.param("CUTYPE"), "RESOURCE"):
			kind = "resource"
		}
		attendees = append(attendees, object{"type": kind, "status": object{"response": response, "time": "0001-01-01T00:00:00Z"}, "emailAddress": l.address()})
	}
	if attendees != nil {
		v["attendees"] = attendees
	}
	if rule := p.text("RRULE"); rule != "" {
		v["type"], v["recurrence"] = "seriesMaster", recurrenceView(rule, start)
	}
	return v
}

// days are those of the week, by their letters in a rule.
var days = map[string]string{"MO": "monday", "TU": "tuesday", "WE": "wednesday", "TH": "thursday", "FR": "friday", "SA": "saturday", "SU": "sunday"}

// recurrenceView is a rule of an iCalendar as Outlook shows it.
func recurrenceView(rule string, start time.Time) object {
	parts := map[string]string{}
	for part := range strings.SplitSeq(rule, ";") {
		if key, value, ok := strings.Cut(part, "="); ok {
			parts[strings.ToUpper(key)] = value
		}
	}
	number := func(name string, preset int) int {
		n := 0
		for _, c := range parts[name] {
			if c < '0' || c > '9' || n > 10_000 {
				return preset
			}
			n = n*10 + int(c-'0')
		}
		return max(n, preset)
	}
	pattern := object{"type": "daily", "interval": number("INTERVAL", 1), "month": 0, "dayOfMonth": 0, "firstDayOfWeek": "sunday", "index": "first"}
	var on []string
	for day := range strings.SplitSeq(parts["BYDAY"], ",") {
		if len(day) >= 2 {
			if name := days[strings.ToUpper(day[len(day)-2:])]; name != "" {
				on = append(on, name)
			}
		}
	}
	if on == nil {
		on = []string{strings.ToLower(start.Weekday().String())}
	}
	switch strings.ToUpper(parts["FREQ"]) {
	case "WEEKLY":
		pattern["type"], pattern["daysOfWeek"] = "weekly", on
	case "MONTHLY":
		pattern["type"], pattern["dayOfMonth"] = "absoluteMonthly", number("BYMONTHDAY", start.Day())
		if parts["BYDAY"] != "" {
			pattern["type"], pattern["daysOfWeek"], pattern["dayOfMonth"] = "relativeMonthly", on, 0
		}
	case "YEARLY":
		pattern["type"], pattern["dayOfMonth"], pattern["month"] = "absoluteYearly", start.Day(), int(start.Month())
	}
	span := object{"type": "noEnd", "startDate": start.Format(time.DateOnly), "endDate": "0001-01-01", "recurrenceTimeZone": "UTC", "numberOfOccurrences": 0}
	if n := number("COUNT", 0); n > 0 {
		span["type"], span["numberOfOccurrences"] = "numbered", n
	} else if until := calendarTime("", parts["UNTIL"]); !until.IsZero() {
		span["type"], span["endDate"] = "endDate", until.Format(time.DateOnly)
	}
	return object{"pattern": pattern, "range": span}
}

func contactView(m *mailbox, it *mailItem, p paper) map[string]any {
	name := strings.Split(p.text("N")+";;;;", ";")
	v := map[string]any{
		"displayName": p.text("FN"), "fileAs": p.text("FN"), "surname": orNull(name[0]), "givenName": orNull(name[1]), "middleName": orNull(name[2]), "title": orNull(name[3]),
		"nickName": orNull(p.text("NICKNAME")), "jobTitle": orNull(p.text("TITLE")), "personalNotes": p.text("NOTE"), "birthday": nil, "mobilePhone": nil,
		"companyName": nil, "department": nil, "parentFolderId": m.folderID(it.at.in),
	}
	if org := strings.Split(p.text("ORG"), ";"); org[0] != "" {
		v["companyName"] = org[0]
		if len(org) > 1 {
			v["department"] = orNull(org[1])
		}
	}
	for _, layout := range []string{"20060102", time.DateOnly} {
		if at, err := time.Parse(layout, p.text("BDAY")); err == nil {
			v["birthday"] = at.Format(time.RFC3339)
		}
	}
	emails, business, home := []any{}, []any{}, []any{}
	for _, l := range p["EMAIL"] {
		emails = append(emails, object{"name": p.text("FN"), "address": plainLine.Replace(l.value)})
	}
	for _, l := range p["TEL"] {
		number, _ := cutFold(plainLine.Replace(l.value), "tel:")
		switch {
		case strings.Contains(l.params, "CELL"):
			v["mobilePhone"] = number
		case strings.Contains(l.params, "HOME"):
			home = append(home, number)
		default:
			business = append(business, number)
		}
	}
	v["emailAddresses"], v["businessPhones"], v["homePhones"] = emails, business, home
	return v
}

func taskView(_ *mailbox, _ *mailItem, p paper) map[string]any {
	status := map[string]string{"COMPLETED": "completed", "IN-PROCESS": "inProgress", "CANCELLED": "deferred"}[strings.ToUpper(p.text("STATUS"))]
	if status == "" {
		status = "notStarted"
	}
	importance := "normal"
	switch p.text("PRIORITY") {
	case "1", "2", "3", "4":
		importance = "high"
	case "6", "7", "8", "9":
		importance = "low"
	}
	v := map[string]any{
		"title": p.text("SUMMARY"), "status": status, "importance": importance, "isReminderOn": false, "hasAttachments": false,
		"body": object{"contentType": "text", "content": p.text("DESCRIPTION")},
	}
	for name, line := range map[string]string{"dueDateTime": "DUE", "startDateTime": "DTSTART", "completedDateTime": "COMPLETED"} {
		if _, at := p.dateTime(line); at != nil {
			v[name] = at
		}
	}
	return v
}
