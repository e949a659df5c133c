package simtenant

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/odata"
)

// What calls to calendars, contacts and tasks ask of their caller.
var (
	readCalendars = permission{"ErrorAccessDenied", []string{"Calendars.Read", "Calendars.ReadWrite"}}
	readContacts  = permission{"ErrorAccessDenied", []string{"Contacts.Read", "Contacts.ReadWrite"}}
	readTasks     = permission{"ErrorAccessDenied", []string{"Tasks.Read.All", "Tasks.ReadWrite.All", "Tasks.Read", "Tasks.ReadWrite"}}

	writeCalendars = permission{"ErrorAccessDenied", []string{"Calendars.ReadWrite"}}
	writeContacts  = permission{"ErrorAccessDenied", []string{"Contacts.ReadWrite"}}
	writeTasks     = permission{"ErrorAccessDenied", []string{"Tasks.ReadWrite.All", "Tasks.ReadWrite"}}
)

// paperKind is one of the kinds of items that Outlook keeps beside mail: files of
// lines, in folders of a class.
type paperKind struct {
	class, well string
	ext         string
	what        string           // an item's set, as in addresses
	properties  []odata.Property // by which items are filtered and ordered
	folders     string           // a folder's set
	context     string
	view        func(*mailbox, *request, *mailItem, paper) map[string]any
	folder      func(*mailbox, *mailFolder) map[string]any

	one   string // an item's type
	main  string // the component of a file that the item is
	blank func(*request) *card
	// write gives a component what a client says in JSON, and returns the categories
	// that it says, if it does. Fresh says that nobody has seen the item yet.
	write   func(r *request, text []byte, c *card, fresh bool) (categories *[]string, err error)
	naming  string // the member that is a folder's name
	reading permission
	writing permission
}

var (
	calendarKind = paperKind{class: "IPF.Appointment", well: "calendar", ext: extCalendar, what: "events", properties: eventProperties, folders: "calendars", context: "events", view: eventView, folder: func(m *mailbox, f *mailFolder) map[string]any {
		return map[string]any{
			"id": m.folderID(f), "name": f.name, "color": "auto", "hexColor": "", "isDefaultCalendar": f.well == "calendar", "changeKey": m.folderID(f),
			"canShare": true, "canViewPrivateItems": true, "canEdit": true, "isTallyingResponses": f.well == "calendar", "isRemovable": f.well == "",
			"allowedOnlineMeetingProviders": []string{onlineProvider}, "defaultOnlineMeetingProvider": onlineProvider,
			"owner": object{"name": m.d.place.user.DisplayName, "address": m.d.place.user.Mail},
		}
	}, one: "event", main: "VEVENT", blank: blankEvent, write: writeEvent, naming: "name", reading: readCalendars, writing: writeCalendars}
	contactKind = paperKind{class: "IPF.Contact", well: "contacts", ext: extContact, what: "contacts", properties: contactProperties, folders: "contactFolders", context: "contacts", view: contactView, folder: func(m *mailbox, f *mailFolder) map[string]any {
		return map[string]any{"id": m.folderID(f), "displayName": f.name, "parentFolderId": m.folderID(f.parent)}
	}, one: "contact", main: "VCARD", blank: blankContact, write: writeContact, naming: "displayName", reading: readContacts, writing: writeContacts}
	taskKind = paperKind{class: "IPF.Task", well: "tasks", ext: extCalendar, what: "tasks", properties: taskProperties, folders: "todo/lists", context: "todo/lists/tasks", view: taskView, folder: func(m *mailbox, f *mailFolder) map[string]any {
		known := "none"
		if f.well == "tasks" {
			known = "defaultList"
		}
		return map[string]any{"id": m.folderID(f), "displayName": f.name, "isOwner": true, "isShared": false, "wellknownListName": known}
	}, one: "todoTask", main: "VTODO", blank: blankTask, write: writeTask, naming: "displayName", reading: readTasks, writing: writeTasks}
)

func calendarRoutes() []Route {
	const (
		list  = "select top skip count filter orderby"
		delta = "select top skiptoken deltatoken"
	)
	folders := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.listPaperFolders(r, m, k) })
	}
	folder := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.getPaperFolder(r, m, k) })
	}
	items := func(k paperKind) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.listPapers(r, m, k) })
	}
	window := onUserMail((*Service).listCalendarView)
	changes := func(k paperKind, window bool) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return s.papersDelta(r, m, k, window) })
	}
	const series = "What a changed rule no longer has, and each time of a deleted series: told as removed are deleted occurrences, and series. A series is on one page."
	const invited = "The attendees' calendars: the invitation lies in the inboxes of those who are the tenant's users. The address of an online meeting leads nowhere. Extended properties in $filter, and of several values."
	routes := []Route{
		{"GET", "{user}/calendars", "The calendars.", "", list, readCalendars, folders(calendarKind)},
		{"GET", "{user}/calendar", "The default calendar.", "", "select", readCalendars, folder(calendarKind)},
		{"GET", "{user}/events", "The events of the default calendar: files NAME.ics.", "", list, readCalendars, items(calendarKind)},
		{"GET", "{user}/calendar/events", "The same.", "", list, readCalendars, items(calendarKind)},
		{"GET", "{user}/calendars/{folder}/events", "The events of a calendar.", "", list, readCalendars, items(calendarKind)},
		{"GET", "{user}/calendarView", "What takes place in the default calendar from startDateTime to endDateTime, in order, each occurrence of a series by itself.", "", list, readCalendars, window},
		{"GET", "{user}/calendar/calendarView", "The same.", "", list, readCalendars, window},
		{"GET", "{user}/calendars/{folder}/calendarView", "The same of a calendar.", "", list, readCalendars, window},
		{"GET", "{user}/calendarView/delta", "What changed in the default calendar, of a window that the first call names: of a series it, the ids and times of its occurrences, and all of its exceptions.", series, delta, readCalendars, changes(calendarKind, true)},
	}
	routes = append(routes, folderRoutes(calendarKind, folder(calendarKind), "Groups of calendars; colours.")...)
	routes = append(routes, paperRoutes(calendarKind, "{user}/events", "Makes an event in the default calendar. Who is invited gets mail; see sendMail.", invited)...)
	routes = append(routes, paperRoutes(calendarKind, "{user}/calendar/events", "The same.", "")...)
	routes = append(routes, paperRoutes(calendarKind, "{user}/calendars/{folder}/events", "Makes an event in a calendar.", "")...)
	routes = append(routes,
		Route{"GET", "{user}/contactFolders", "The folders of contacts but the default one.", "", list, readContacts, folders(contactKind)},
		Route{"GET", "{user}/contacts", "The contacts of the default folder: files NAME.vcf.", "", list, readContacts, items(contactKind)},
		Route{"GET", "{user}/contactFolders/{folder}/contacts", "Those of a folder.", "", list, readContacts, items(contactKind)},
		Route{"GET", "{user}/contactFolders/{folder}/contacts/delta", "What changed among them since a token, or all of them.", "", delta, readContacts, changes(contactKind, false)},
	)
	routes = append(routes, folderRoutes(contactKind, folder(contactKind), "")...)
	routes = append(routes, paperRoutes(contactKind, "{user}/contacts", "Makes a contact in the default folder.", "")...)
	routes = append(routes, paperRoutes(contactKind, "{user}/contactFolders/{folder}/contacts", "Makes a contact in a folder.", "")...)
	routes = append(routes,
		Route{"GET", "{user}/todo/lists", "The lists of tasks.", "", list, readTasks, folders(taskKind)},
		Route{"GET", "{user}/todo/lists/{folder}/tasks", "The tasks of a list: files NAME.ics in folders of tasks.", "Checklists and linked resources.", list, readTasks, items(taskKind)},
		Route{"GET", "{user}/todo/lists/{folder}/tasks/delta", "What changed among them since a token, or all of them.", "", delta, readTasks, changes(taskKind, false)},
	)
	routes = append(routes, folderRoutes(taskKind, folder(taskKind), "")...)
	routes = append(routes, paperRoutes(taskKind, "{user}/todo/lists/{folder}/tasks", "Makes a task.", "Recurrence, checklists, linked resources and attachments.")...)
	return append(routes, categoryRoutes()...)
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
	bin := m.well["deleteditems"]
	list := m.list(func(f *mailFolder) bool {
		return k.holds(f) && f.within(m.top) && (bin == nil || !f.within(bin)) && (k.class != "IPF.Contact" || f.well != k.well)
	})
	return s.answerFolders(r, r.outlookContext(k.folders), r.outlook(strings.Split(k.folders, "/")...), list, askable(odata.Folded, k.naming), func(f *mailFolder) map[string]any { return k.folder(m, f) })
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

// paperView is an item as Outlook shows it, of the component that says what it is.
func (m *mailbox) paperView(r *request, it *mailItem, immutable bool, k paperKind, c *card) map[string]any {
	v := m.itemView(it.at, immutable)
	for _, name := range []string{"@odata.type", "type", "size"} {
		delete(v, name)
	}
	p := c.paper()
	if c != nil {
		for _, part := range c.parts {
			if part.kind == "VALARM" {
				p["VALARM"] = part.paper()["TRIGGER"]
				break
			}
		}
	}
	maps.Copy(v, k.view(m, r, it, p))
	return v
}

// readView is paperView of what an item's file holds. One that cannot be read is
// shown all the same.
func (m *mailbox) readView(r *request, it *mailItem, immutable bool, k paperKind) map[string]any {
	c, err := m.cards(it)
	if err != nil {
		return m.paperView(r, it, immutable, k, nil)
	}
	return m.paperView(r, it, immutable, k, k.of(c))
}

// of is the component of a file that an item of the kind is.
func (k paperKind) of(c *card) *card {
	if k.main == "VEVENT" {
		if series := c.master(); series != nil {
			return series
		}
	}
	return c.find("VEVENT", "VTODO", "VCARD")
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
	if to.Sub(from) > maxWindow {
		return from, to, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The range between the start and end dates is greater than the allowed range. Maximum number of days: 1825.")
	}
	return from, to, nil
}

// here is the address of the items of the kind that a call is about.
func (k paperKind) here(r *request, last ...string) string {
	at := []string{k.what}
	if id := r.vars["folder"]; id != "" {
		at = append(strings.Split(k.folders, "/"), id, k.what)
	}
	return r.outlook(append(at, last...)...)
}

func (s *Service) listPapers(r *request, m *mailbox, k paperKind) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	immutable := r.immutable()
	return s.listItems(r, m, f.items(), itemList{
		context: r.outlookContext(k.context), path: k.here(r), names: selected(r.query), show: k.isOne,
		view: func(it *mailItem) (any, error) {
			if it.at == nil {
				return nil, noMailItem()
			}
			return m.readView(r, it, immutable, k), nil
		},
		of: k.properties,
		read: func(it *mailItem) members {
			return m.readItem(it, func() map[string]any { return m.readView(r, it, immutable, k) })
		},
	})
}

func (s *Service) papersDelta(r *request, m *mailbox, k paperKind, windowed bool) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	immutable, at := r.immutable(), k.here(r, "delta")
	view := func(st *stay) (any, error) { return m.readView(r, st.it, immutable, k), nil }
	if windowed {
		from, to, err := windowOf(r)
		if err != nil {
			return err
		}
		c, known := parseCursor(cmp.Or(option(r.query, "deltatoken"), option(r.query, "skiptoken")))
		at = r.outlook("calendarView", "delta")
		view = func(st *stay) (any, error) {
			return m.changeInWindow(r, st, from, to, immutable, !known || c.full), nil
		}
	}
	return s.itemsDelta(r, m, f, "Collection("+strings.TrimSuffix(k.what, "s")+")", at, k.isOne, view)
}

// paper finds the item of a kind that the address names.
func (m *mailbox) paper(r *request, k paperKind) (*mailItem, error) {
	it, err := m.item(r.vars["message"])
	if err != nil {
		return nil, err
	}
	if err := m.settle(r.Context(), it); err != nil {
		return nil, err
	}
	if !k.isOne(it) {
		return nil, noMailItem()
	}
	if id := r.vars["folder"]; id != "" {
		if f, err := k.at(r, m); err != nil || f != it.at.in {
			return nil, noMailItem()
		}
	}
	if m.d.svc.corrupt(it) {
		return nil, corruptItem()
	}
	return it, nil
}

func (s *Service) getPaper(r *request, m *mailbox, k paperKind) error {
	wanted, err := besides(r)
	if err != nil {
		return err
	}
	beside := func(v map[string]any) error {
		if !wanted.files && wanted.properties == nil {
			return nil
		}
		a, err := m.eventAttached(r)
		if err != nil {
			return err
		}
		if wanted.files {
			v["attachments"] = m.views(a.it, a.parts, wanted.of)
		}
		if list := a.event.extended(wanted.properties); list != nil {
			v[extendedProperties] = list
		}
		return nil
	}
	if it, c, o, err := m.occurrence(r); err != nil || o != nil && k.main == "VEVENT" {
		if err == nil {
			v := m.occurrenceView(r, it, c, *o, r.immutable())
			if err := beside(v); err != nil {
				return err
			}
			r.answerPaper(k, v, http.StatusOK)
		}
		return err
	}
	it, err := m.paper(r, k)
	if err != nil {
		return err
	}
	v := m.readView(r, it, r.immutable(), k)
	if err := beside(v); err != nil {
		return err
	}
	r.answerPaper(k, v, http.StatusOK)
	return nil
}

// answerPaper answers with an item as it is shown.
func (r *request) answerPaper(k paperKind, v map[string]any, status int) {
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext(url.PathEscape(k.what)+"/$entity")
	names := selected(r.query)
	if names != nil && v["attachments"] != nil {
		names["attachments"] = true
	}
	r.status, r.answer = status, project(v, names)
}

// paper is an iCalendar's first component, or a vCard: its lines by name.
type paper map[string][]paperLine

type paperLine struct {
	params string // in upper case
	raw    string // the parameters as they are
	value  string
}

var plainLine = strings.NewReplacer(`\,`, ",", `\;`, ";", `\n`, "\n", `\N`, "\n", `\\`, `\`)

func (p paper) text(name string) string {
	if lines := p[name]; len(lines) > 0 {
		return plainLine.Replace(lines[0].value)
	}
	return ""
}

// dateTime is a time of an event, as Outlook shows it.
func (p paper) dateTime(r *request, name string) (at time.Time, v any) {
	if at = p.when(name); at.IsZero() {
		return at, nil
	}
	return at, r.dateTimeView(at)
}

// dateTimeView is a time in UTC, or in the zone that the caller prefers.
func (r *request) dateTimeView(at time.Time) object {
	where, name := time.UTC, "UTC"
	if wanted, ok := r.prefers("outlook.timezone"); ok {
		if l, known := zone(wanted); known {
			where, name = l, wanted
		}
	}
	return object{"dateTime": at.In(where).Format("2006-01-02T15:04:05.0000000"), "timeZone": name}
}

// param returns a parameter of a line.
func (l paperLine) param(name string) string {
	for _, part := range l.parameters() {
		if key, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(key, name) {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// parameters are those of a line, as in NAME=VALUE; one in quotes may hold the sign that
// is between them.
func (l paperLine) parameters() (list []string) {
	quoted, from := false, 0
	for i := range len(l.raw) {
		switch {
		case l.raw[i] == '"':
			quoted = !quoted
		case l.raw[i] == ';' && !quoted:
			list, from = append(list, l.raw[from:i]), i+1
		}
	}
	return append(list, l.raw[from:])
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

func eventView(m *mailbox, r *request, it *mailItem, p paper) map[string]any {
	var startView, endView any
	start, end := p.span()
	if !start.IsZero() {
		startView, endView = r.dateTimeView(start), r.dateTimeView(end)
	}
	kind, text := "text", p.text("DESCRIPTION")
	if lines := p["X-ALT-DESC"]; len(lines) > 0 && strings.EqualFold(lines[0].param("FMTTYPE"), "text/html") {
		kind, text = "html", plainLine.Replace(lines[0].value)
	}
	v := map[string]any{
		"subject": p.text("SUMMARY"), "body": object{"contentType": kind, "content": text}, "bodyPreview": preview(kind, text),
		"start": startView, "end": endView, "isAllDay": p.allDay(), "iCalUId": orNull(p.text("UID")), "location": object{"displayName": p.text("LOCATION")},
		"type": "singleInstance", "recurrence": nil, "seriesMasterId": nil, "isCancelled": strings.EqualFold(p.text("STATUS"), "CANCELLED"), "organizer": nil,
		"isOrganizer": false, "hasAttachments": len(p["ATTACH"]) > 0, "importance": importanceOf(p), "sensitivity": "normal", "showAs": "busy", "attendees": []any{},
		"isReminderOn": false, "reminderMinutesBeforeStart": 0, "originalStartTimeZone": start.Location().String(), "originalEndTimeZone": end.Location().String(),
		"transactionId": orNull(p.text("X-MICROSOFT-TRANSACTIONID")), "responseRequested": !strings.EqualFold(p.text("X-MICROSOFT-RESPONSEREQUESTED"), "FALSE"),
		"responseStatus": object{"response": "organizer", "time": "0001-01-01T00:00:00Z"}, "isDraft": false,
	}
	maps.Copy(v, eventThus)
	v["isOnlineMeeting"], v["onlineMeetingProvider"], v["onlineMeeting"], v["onlineMeetingUrl"] = false, "unknown", nil, nil
	if address := p.text(onlineLine); address != "" {
		v["isOnlineMeeting"], v["onlineMeetingProvider"], v["onlineMeeting"] = true, onlineProvider, object{"joinUrl": address}
	}
	if strings.EqualFold(p.text("TRANSP"), "TRANSPARENT") {
		v["showAs"] = "free"
	}
	if status := showAsOf(p.text("X-MICROSOFT-CDO-BUSYSTATUS")); status != "" {
		v["showAs"] = status
	}
	if lines := p["VALARM"]; len(lines) > 0 {
		if before, ok := minutesBefore(lines[0].value); ok {
			v["isReminderOn"], v["reminderMinutesBeforeStart"] = true, before
		}
	}
	switch strings.ToUpper(p.text("CLASS")) {
	case "PRIVATE":
		v["sensitivity"] = "private"
	case "CONFIDENTIAL":
		v["sensitivity"] = "confidential"
	case "X-PERSONAL":
		v["sensitivity"] = "personal"
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
		if who := l.address(); strings.EqualFold(who["address"].(string), m.d.place.user.Mail) && v["isOrganizer"] == false {
			v["responseStatus"] = object{"response": cmp.Or(map[string]string{"none": "notResponded"}[response], response), "time": "0001-01-01T00:00:00Z"}
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

// recurrenceView is a rule of an iCalendar as Outlook shows it.
func recurrenceView(text string, start time.Time) object {
	rule, _ := parseRule(text)
	pattern := object{"type": "daily", "interval": rule.interval, "month": 0, "dayOfMonth": 0, "firstDayOfWeek": strings.ToLower(rule.weekStart.String()), "index": "first"}
	var on []string
	nth := 0
	for _, d := range rule.byDay {
		on = append(on, strings.ToLower(d.day.String()))
		nth = d.n
	}
	if len(rule.bySetPos) == 1 && rule.byDay != nil {
		nth = rule.bySetPos[0]
	}
	for i, name := range monthIndexes {
		if nth == i+1 || nth == -1 && name == "last" {
			pattern["index"] = name
		}
	}
	day := start.Day()
	if len(rule.byMonthDay) == 1 && rule.byMonthDay[0] > 0 {
		day = rule.byMonthDay[0]
	}
	switch rule.freq {
	case "WEEKLY":
		if on == nil {
			on = []string{strings.ToLower(start.Weekday().String())}
		}
		pattern["type"], pattern["daysOfWeek"] = "weekly", on
	case "MONTHLY", "YEARLY":
		how := strings.ToUpper(rule.freq[:1]) + strings.ToLower(rule.freq[1:])
		if rule.freq == "YEARLY" {
			pattern["month"] = int(start.Month())
			if len(rule.byMonth) > 0 {
				pattern["month"] = rule.byMonth[0]
			}
		}
		if on != nil {
			pattern["type"], pattern["daysOfWeek"] = "relative"+how, on
		} else {
			pattern["type"], pattern["dayOfMonth"] = "absolute"+how, day
		}
	}
	span := object{"type": "noEnd", "startDate": start.Format(time.DateOnly), "endDate": "0001-01-01", "recurrenceTimeZone": start.Location().String(), "numberOfOccurrences": 0}
	if rule.count > 0 {
		span["type"], span["numberOfOccurrences"] = "numbered", rule.count
	} else if !rule.until.IsZero() {
		span["type"], span["endDate"] = "endDate", rule.until.In(start.Location()).Format(time.DateOnly)
	}
	return object{"pattern": pattern, "range": span}
}

// monthIndexes say which of a month's days is meant, in order.
var monthIndexes = []string{"first", "second", "third", "fourth", "last"}

func contactView(m *mailbox, _ *request, it *mailItem, p paper) map[string]any {
	name := p.fieldsOf("N", 5)
	v := map[string]any{
		"displayName": p.text("FN"), "fileAs": p.text("FN"), "surname": orNull(name[0]), "givenName": orNull(name[1]), "middleName": orNull(name[2]), "title": orNull(name[3]),
		"nickName": orNull(p.text("NICKNAME")), "jobTitle": orNull(p.text("TITLE")), "personalNotes": p.text("NOTE"), "birthday": nil, "mobilePhone": nil,
		"parentFolderId": m.folderID(it.at.in),
	}
	org := p.fieldsOf("ORG", 2)
	v["companyName"], v["department"], v["generation"] = orNull(org[0]), orNull(org[1]), orNull(name[4])
	for line, member := range contactLines {
		v[member] = orNull(p.text(line))
	}
	for kind, member := range contactAddresses {
		v[member] = object{}
		for _, l := range p["ADR"] {
			if where := l.fields(); strings.Contains(l.params, kind) || kind == "OTHER" && !strings.Contains(l.params, "WORK") && !strings.Contains(l.params, "HOME") {
				where = append(where, make([]string, 7)...)
				v[member] = object{"street": where[2], "city": where[3], "state": where[4], "postalCode": where[5], "countryOrRegion": where[6]}
			}
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

func taskView(_ *mailbox, r *request, _ *mailItem, p paper) map[string]any {
	status := map[string]string{"COMPLETED": "completed", "IN-PROCESS": "inProgress", "CANCELLED": "deferred"}[strings.ToUpper(p.text("STATUS"))]
	if status == "" {
		status = "notStarted"
	}
	if strings.EqualFold(p.text("X-MICROSOFT-WAITING"), "TRUE") {
		status = "waitingOnOthers"
	}
	v := map[string]any{
		"title": p.text("SUMMARY"), "status": status, "importance": importanceOf(p), "isReminderOn": false, "hasAttachments": false,
		"body": object{"contentType": "text", "content": p.text("DESCRIPTION")},
	}
	for name, line := range taskTimes {
		if _, at := p.dateTime(r, line); at != nil {
			v[name] = at
		}
	}
	if lines := p["VALARM"]; len(lines) > 0 {
		if at := lines[0].time(lines[0].value); !at.IsZero() {
			v["isReminderOn"], v["reminderDateTime"] = true, r.dateTimeView(at)
		}
	}
	return v
}

// importanceOf is the importance that a priority says.
func importanceOf(p paper) string {
	switch p.text("PRIORITY") {
	case "1", "2", "3", "4":
		return "high"
	case "6", "7", "8", "9":
		return "low"
	}
	return "normal"
}
