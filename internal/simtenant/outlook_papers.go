package simtenant

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// folderRoutes are the calls to the folders of a kind.
func folderRoutes(k paperKind, get func(*Service, *request) error, doesNot string) []Route {
	on := func(fn func(*Service, *request, *mailbox, paperKind) error) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return fn(s, r, m, k) })
	}
	at := "{user}/" + k.folders
	return []Route{
		{"GET", at + "/{folder}", "One of them.", "", "select", k.reading, get},
		{"POST", at, "Makes one: a directory in that of the default one.", doesNot, "", k.writing, on((*Service).createPaperFolder)},
		{"PATCH", at + "/{folder}", "Renames it, unless it is the default one.", "", "", k.writing, on((*Service).patchPaperFolder)},
		{"DELETE", at + "/{folder}", "Deletes it with what is in it, unless it is the default one.", "", "", k.writing, on((*Service).deletePaperFolder)},
	}
}

// paperRoutes are the calls to items of a kind below an address.
func paperRoutes(k paperKind, at, makes, doesNot string) []Route {
	on := func(fn func(*Service, *request, *mailbox, paperKind) error) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return fn(s, r, m, k) })
	}
	content := func(fn func(*Service, *request, *mailbox, paperKind) error) func(*Service, *request) error {
		return onUserContent(func(s *Service, r *request, m *mailbox) error { return fn(s, r, m, k) })
	}
	one, options, said := at+"/{message}", "select", "One of them."
	if k.main == "VEVENT" {
		options, said = "select expand", "One of them, with attachments and extended properties by $expand."
	}
	changes := "Changes what it names; the rest of the file stays as it is."
	if k.main == "VEVENT" {
		changes += " Of a series' occurrence, it makes an exception."
	}
	routes := []Route{
		{"POST", at, makes, doesNot, "", k.writing, content((*Service).createPaper)},
		{"GET", one, said, "", options, k.reading, on((*Service).getPaper)},
		{"PATCH", one, changes, "", "", k.writing, content((*Service).patchPaper)},
		{"DELETE", one, "Deletes it, as a message is deleted.", "", "", k.writing, on((*Service).deletePaper)},
	}
	if k.main != "VTODO" {
		routes = append(routes, Route{"POST", one + "/permanentDelete", "Deletes it for good.", "", "", k.writing, on((*Service).destroyPaper)})
	}
	if k.main == "VEVENT" {
		answer := func(how string) func(*Service, *request) error {
			return onUserContent(func(s *Service, r *request, m *mailbox) error { return s.answerInvitation(r, m, how) })
		}
		routes = append(routes,
			Route{"GET", one + "/instances", "When a series takes place from startDateTime to endDateTime.", "", "select top skip count filter orderby", k.reading, onUserMail((*Service).listInstances)},
			Route{"POST", one + "/cancel", "Deletes a meeting, and tells who was invited.", "", "", k.writing, onUserContent((*Service).cancelEvent)},
			Route{"POST", one + "/accept", "Says that the user comes, and tells the organizer.", "proposedNewTime.", "", k.writing, answer("ACCEPTED")},
			Route{"POST", one + "/tentativelyAccept", "The same, perhaps.", "proposedNewTime.", "", k.writing, answer("TENTATIVE")},
			Route{"POST", one + "/decline", "Says that the user does not come, tells the organizer and deletes the event.", "proposedNewTime.", "", k.writing, answer("DECLINED")},
		)
	}
	return routes
}

// folderName is the name that a call gives a folder.
func (k paperKind) folderName(r *request) (name string, err error) {
	var fields map[string]json.RawMessage
	if err := body(r.w, r.Request, &fields); err != nil {
		return "", err
	}
	if json.Unmarshal(fields[k.naming], &name) != nil || name == "" {
		return "", fail(http.StatusBadRequest, "ErrorInvalidRequest", "The body needs "+k.naming+".")
	}
	return name, nil
}

func (r *request) answerPaperFolder(m *mailbox, k paperKind, f *mailFolder, status int) {
	v := k.folder(m, f)
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext(k.folders+"/$entity")
	r.status, r.answer = status, v
}

func (s *Service) createPaperFolder(r *request, m *mailbox, k paperKind) error {
	name, err := k.folderName(r)
	if err != nil {
		return err
	}
	parent := m.well[k.well]
	if parent == nil {
		return noMailFolder()
	}
	f, err := m.makeFolder(r.Context(), parent, name, k.class)
	if err != nil {
		return err
	}
	r.answerPaperFolder(m, k, f, http.StatusCreated)
	return nil
}

func (s *Service) patchPaperFolder(r *request, m *mailbox, k paperKind) error {
	name, err := k.folderName(r)
	if err != nil {
		return err
	}
	f, err := k.at(r, m)
	if err == nil {
		err = m.renameFolder(r.Context(), f, f.parent, name)
	}
	if err != nil {
		return err
	}
	r.answerPaperFolder(m, k, f, http.StatusOK)
	return nil
}

func (s *Service) deletePaperFolder(r *request, m *mailbox, k paperKind) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	r.status = http.StatusNoContent
	return m.removeFolder(r.Context(), f)
}

func (s *Service) createPaper(r *request, m *mailbox, k paperKind) error {
	f, err := k.at(r, m)
	if err != nil {
		return err
	}
	root := k.blank(r)
	one := k.of(root)
	categories, err := k.write(r, r.content, one, true)
	if err != nil {
		return err
	}
	describeZones(root)
	s.stamp(one)
	g := mailGift{ext: k.ext, class: classByName("x"+k.ext, k.class), received: s.clock(), flags: isRead}
	if categories != nil {
		g.categories = *categories
	}
	it, err := m.giveData(root.text(), g, f)
	if err != nil {
		return err
	}
	r.invite(root, one, "invitation", "REQUEST", "")
	r.answerPaper(k, m.paperView(r, it, r.immutable(), k, one), http.StatusCreated)
	return nil
}

// stamp says when a component was written.
func (s *Service) stamp(c *card) {
	now := s.clock().UTC().Format("20060102T150405Z")
	if c.kind == "VCARD" {
		c.set("REV", "REV:"+now)
		return
	}
	c.set("DTSTAMP", "DTSTAMP:"+now)
	c.set("LAST-MODIFIED", "LAST-MODIFIED:"+now)
}

func (s *Service) patchPaper(r *request, m *mailbox, k paperKind) error {
	it, root, o, err := m.occurrence(r)
	if err == nil && o == nil {
		if it, err = m.paper(r, k); err == nil {
			root, err = m.cards(it)
		}
	}
	if err != nil {
		return err
	}
	if err := r.asMatched(it); err != nil {
		return err
	}
	one := k.of(root)
	if one == nil {
		return corruptItem()
	}
	if o != nil {
		one = root.except(*o)
	}
	before := one.invited()
	categories, err := k.write(r, r.content, one, false)
	if err != nil {
		return err
	}
	if k.main == "VEVENT" {
		describeZones(root)
		sequence, _ := strconv.Atoi(one.paper().text("SEQUENCE"))
		one.set("SEQUENCE", "SEQUENCE:"+strconv.Itoa(min(max(sequence, 0), 1<<30)+1))
	}
	s.stamp(one)
	if categories != nil && o == nil {
		it.categories = *categories
	}
	if err := m.rewrite(r, it, root.text(), it.flags); err != nil {
		return err
	}
	r.invite(root, one, "update", "REQUEST", "")
	now := one.invited()
	if gone := slices.DeleteFunc(before, func(a string) bool { return slices.Contains(now, a) }); len(gone) > 0 {
		r.invite(root, one, "cancellation", "CANCEL", "", gone...)
	}
	immutable := r.immutable()
	if o != nil {
		o.exception = one
		o.start, o.end = one.paper().span()
		r.answerPaper(k, m.occurrenceView(r, it, root, *o, immutable), http.StatusOK)
		return nil
	}
	r.answerPaper(k, m.paperView(r, it, immutable, k, one), http.StatusOK)
	return nil
}

// except returns the component of a changed occurrence of a series, which it makes if
// there is none yet.
func (c *card) except(o occurrence) *card {
	if o.exception != nil {
		return o.exception
	}
	series := c.master()
	p := series.paper()
	one := series.copy()
	for _, name := range []string{"RRULE", "EXDATE", "RDATE", "RECURRENCE-ID"} {
		one.set(name)
	}
	one.set("RECURRENCE-ID", timeLine("RECURRENCE-ID", o.meant, p.allDay()))
	one.set("DTSTART", timeLine("DTSTART", o.start, p.allDay()))
	one.set("DTEND", timeLine("DTEND", o.end, p.allDay()))
	c.beside(series, one)
	return one
}

// beside puts a component behind another, wherever that is.
func (c *card) beside(other, one *card) {
	if i := slices.Index(c.parts, other); i >= 0 {
		c.parts = slices.Insert(c.parts, i+1, one)
		return
	}
	for _, part := range c.parts {
		part.beside(other, one)
	}
}

// without takes a component out, wherever it is.
func (c *card) without(one *card) {
	c.parts = slices.DeleteFunc(c.parts, func(p *card) bool { return p == one })
	for _, part := range c.parts {
		part.without(one)
	}
}

func (s *Service) deletePaper(r *request, m *mailbox, k paperKind) error {
	return s.removePaper(r, m, k, "", func(it *mailItem) error { return m.remove(r.Context(), it) })
}

func (s *Service) destroyPaper(r *request, m *mailbox, k paperKind) error {
	return s.removePaper(r, m, k, "", func(it *mailItem) error { return m.destroy(it.file) })
}

// removePaper takes an item away, or one occurrence out of its series, and tells who
// was invited to it.
func (s *Service) removePaper(r *request, m *mailbox, k paperKind, comment string, remove func(*mailItem) error) error {
	r.status = http.StatusNoContent
	it, root, o, err := m.occurrence(r)
	if err != nil {
		return err
	}
	if o != nil {
		series := root.master()
		line, _ := strings.CutPrefix(timeLine("EXDATE", o.meant, series.paper().allDay()), "EXDATE")
		series.lines = append(series.lines, "EXDATE"+line)
		told := root.except(*o)
		r.invite(root, told, "cancellation", "CANCEL", comment)
		root.without(told)
		s.stamp(series)
		return m.rewrite(r, it, root.text(), it.flags)
	}
	if it, err = m.paper(r, k); err != nil {
		return err
	}
	if root, err := m.cards(it); err == nil && k.main == "VEVENT" {
		r.invite(root, root.master(), "cancellation", "CANCEL", comment)
	}
	return remove(it)
}

// comment is what an action on an event says to others.
func (r *request) comment() (text string, send bool, err error) {
	in := struct {
		Comment string `json:"comment"`
		Send    *bool  `json:"sendResponse"`
	}{}
	_, err = decodeContent(capitalised(r.content, "comment", "sendResponse"), "event", []string{"comment", "sendResponse"}, nil, &in)
	return in.Comment, in.Send == nil || *in.Send, err
}

func (s *Service) cancelEvent(r *request, m *mailbox) error {
	comment, _, err := r.comment()
	if err != nil {
		return err
	}
	it, _, o, err := m.occurrence(r)
	if err == nil && o == nil {
		it, err = m.paper(r, calendarKind)
	}
	if err != nil {
		return err
	}
	if root, err := m.cards(it); err == nil && !mine(root.master(), r.place.user) {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "You need to be an organizer to cancel a meeting.")
	}
	if err := s.removePaper(r, m, calendarKind, comment, func(it *mailItem) error { return m.remove(r.Context(), it) }); err != nil {
		return err
	}
	r.status = http.StatusAccepted
	return nil
}

// mine reports whether a user is an event's organizer.
func mine(c *card, me *User) bool {
	lines := c.paper()["ORGANIZER"]
	return len(lines) == 0 || strings.EqualFold(lines[0].address()["address"].(string), me.Mail)
}

// answerInvitation takes down whether the user comes, and tells the organizer.
func (s *Service) answerInvitation(r *request, m *mailbox, how string) error {
	comment, send, err := r.comment()
	if err != nil {
		return err
	}
	it, root, o, err := m.occurrence(r)
	if err == nil && o == nil {
		if it, err = m.paper(r, calendarKind); err == nil {
			root, err = m.cards(it)
		}
	}
	if err != nil {
		return err
	}
	one := root.master()
	switch {
	case one == nil:
		return corruptItem()
	case mine(one, r.place.user):
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "You can't respond to this meeting because you're the meeting organizer.")
	case o != nil:
		one = root.except(*o)
	}
	me := ""
	for i, line := range one.lines {
		if lineName(line) != "ATTENDEE" {
			continue
		}
		l := (&card{lines: []string{line}}).paper()["ATTENDEE"]
		if len(l) == 0 || !strings.EqualFold(l[0].address()["address"].(string), r.place.user.Mail) {
			continue
		}
		params := []string{"PARTSTAT=" + how}
		for _, part := range l[0].parameters() {
			if name, _, _ := strings.Cut(part, "="); part != "" && !strings.EqualFold(name, "PARTSTAT") && !strings.EqualFold(name, "RSVP") {
				params = append(params, part)
			}
		}
		me = "ATTENDEE;" + strings.Join(params, ";") + ":" + l[0].value
		one.lines[i] = me
	}
	if me == "" {
		me = "ATTENDEE;PARTSTAT=" + how + ":mailto:" + r.place.user.Mail
		one.lines = append(one.lines, me)
	}
	s.stamp(one)
	if err := m.rewrite(r, it, root.text(), it.flags); err != nil {
		return err
	}
	if organizer := one.paper()["ORGANIZER"]; send && len(organizer) > 0 {
		told := one.copy()
		told.set("ATTENDEE", me)
		r.invite(root, told, "response", "REPLY", comment, organizer[0].address()["address"].(string))
	}
	r.status = http.StatusAccepted
	if how == "DECLINED" && o == nil {
		return m.remove(r.Context(), it)
	}
	return nil
}

// invited are the addresses of those whom an event invites, but for the organizer.
func (c *card) invited() (out []string) {
	p := c.paper()
	organizer := ""
	if lines := p["ORGANIZER"]; len(lines) > 0 {
		organizer = lines[0].address()["address"].(string)
	}
	for _, l := range p["ATTENDEE"] {
		if address := l.address()["address"].(string); !strings.EqualFold(address, organizer) {
			out = append(out, address)
		}
	}
	return out
}

// invite has mail about an event leave the mailbox, to those who are named or, of
// the user's own meetings, to all who are invited.
func (r *request) invite(root, one *card, kind, method, comment string, to ...string) {
	if one == nil || one.kind != "VEVENT" || one.paper()["ORGANIZER"] == nil {
		return
	}
	me := r.place.user
	if to == nil {
		if !mine(one, me) {
			return
		}
		to = one.invited()
	}
	to = slices.DeleteFunc(to, func(a string) bool { _, err := mail.ParseAddress(a); return err != nil })
	if len(to) == 0 {
		return
	}
	calendar := &card{kind: "VCALENDAR", lines: []string{"VERSION:2.0", "PRODID:" + productID, "METHOD:" + method}}
	for _, part := range root.parts {
		for _, z := range part.parts {
			if z.kind == "VTIMEZONE" {
				calendar.parts = append(calendar.parts, z)
			}
		}
	}
	told := one.copy()
	if method == "CANCEL" {
		told.set("STATUS", "STATUS:CANCELLED")
	}
	told.parts = nil // reminders are the organizer's own
	told.set(propertyLine)
	calendar.parts = append(calendar.parts, told)
	var list []*mail.Address
	for _, a := range to {
		list = append(list, &mail.Address{Address: a})
	}
	subject := told.paper().text("SUMMARY")
	switch {
	case method == "CANCEL":
		subject = "Canceled: " + subject
	case method == "REPLY":
		status := (&card{lines: told.lines}).paper()["ATTENDEE"][0].param("PARTSTAT")
		subject = strings.ToUpper(status[:1]) + strings.ToLower(status[1:]) + ": " + subject
	}
	message := joinMessage(nil, []headField{
		{"From", (&mail.Address{Name: me.DisplayName, Address: me.Mail}).String()}, {"To", addressField(list)}, {"Subject", encodeWords(subject)},
		{"Date", told.stamped().Format(time.RFC1123Z)}, {"Message-ID", "<" + backup.NewID[string]() + "@" + r.place.tenant.Domain + ">"}, {"MIME-Version", "1.0"},
	}, nil)
	text := mailPart{kind: "text/plain", data: []byte(comment)}.entity()
	invitation := entity{[]headField{{"Content-Type", "text/calendar; charset=utf-8; method=" + method}, {"Content-Transfer-Encoding", "8bit"}}, calendar.text()}
	whole := together("alternative", []entity{text, invitation})
	head, _ := withoutFields(message, nil)
	r.sent = append(r.sent, SentMail{From: me.Mail, To: to, Subject: subject, Kind: kind, MIME: string(joinMessage(head, whole.head, whole.body))})
}

// stamped is when a component was written.
func (c *card) stamped() time.Time { return c.paper().when("DTSTAMP").UTC() }

// productID is what calendars say of who made them.
const productID = "-//Holdfast//Simulated tenant//EN"

// timeLine is a line that names a time, in its zone.
func timeLine(name string, at time.Time, day bool) string {
	switch {
	case day:
		return name + ";VALUE=DATE:" + at.Format("20060102")
	case at.Location() == time.UTC || at.Location().String() == "UTC":
		return name + ":" + at.UTC().Format("20060102T150405Z")
	}
	return name + ";TZID=" + at.Location().String() + ":" + at.Format("20060102T150405")
}

// describeZones has a calendar say what the zones are that its events name.
func describeZones(root *card) {
	for _, calendar := range root.parts {
		if calendar.kind != "VCALENDAR" {
			continue
		}
		known := map[string]bool{}
		for _, part := range calendar.parts {
			if part.kind == "VTIMEZONE" {
				known[strings.Trim(part.paper().text("TZID"), `"`)] = true
			}
		}
		var more []*card
		for _, part := range calendar.parts {
			p := part.paper()
			for _, name := range []string{"DTSTART", "DTEND", "DUE", "RECURRENCE-ID"} {
				if len(p[name]) == 0 {
					continue
				}
				id := p[name][0].param("TZID")
				if l, ok := zone(id); ok && !known[id] && l.String() == id {
					known[id] = true
					more = append(more, zoneCard(l, p.when(name)))
				}
			}
		}
		calendar.parts = append(more, calendar.parts...)
	}
}

// dateTime is a time as clients write it.
type dateTime struct {
	DateTime string `json:"dateTime"`
	Zone     string `json:"timeZone"`
}

func (d dateTime) read() (time.Time, error) {
	where, ok := zone(d.Zone)
	if !ok && d.Zone != "" {
		return time.Time{}, fail(http.StatusBadRequest, "TimeZoneNotSupportedException", "The time zone "+quoted(d.Zone)+" is not known.")
	}
	for _, layout := range []string{"2006-01-02T15:04:05.9999999", "2006-01-02T15:04", time.DateOnly, time.RFC3339Nano} {
		if t, err := time.ParseInLocation(layout, d.DateTime, where); err == nil {
			if t.Year() < 1601 || t.Year() > 4500 {
				break
			}
			return t.In(where).Truncate(time.Second), nil
		}
	}
	return time.Time{}, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The time "+quoted(d.DateTime)+" is none.")
}

// importanceLine gives a component the priority of an importance.
func importanceLine(c *card, level string) error {
	priority, ok := map[string]string{"low": "9", "normal": "", "high": "1"}[strings.ToLower(level)]
	if !ok {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "importance is low, normal or high.")
	}
	c.setText("PRIORITY", priority)
	return nil
}

// categoriesLine gives a component its categories.
func categoriesLine(c *card, list []string) {
	c.set("CATEGORIES")
	for i := range list {
		c.lines = append(c.lines, "CATEGORIES:"+escapeText(list[i]))
	}
}

// alarm gives a component one reminder, or none.
func (c *card) alarm(trigger string) {
	c.parts = slices.DeleteFunc(c.parts, func(p *card) bool { return p.kind == "VALARM" })
	if trigger != "" {
		c.parts = append(c.parts, &card{kind: "VALARM", lines: []string{"ACTION:DISPLAY", "DESCRIPTION:Reminder", trigger}})
	}
}

// minutesBefore reads how long before its event a reminder comes, as in -PT15M.
func minutesBefore(text string) (int, bool) {
	text = strings.ToUpper(strings.TrimSpace(text))
	rest, ok := strings.CutPrefix(text, "-P")
	if !ok {
		rest, ok = strings.CutPrefix(text, "P")
		if ok && strings.Trim(rest, "T0SMHDW") != "" {
			return 0, false
		}
	}
	total, n := 0, 0
	for _, c := range rest {
		switch {
		case c >= '0' && c <= '9' && n < 1_000_000:
			n = n*10 + int(c-'0')
		case c == 'W':
			total, n = total+n*7*24*60, 0
		case c == 'D':
			total, n = total+n*24*60, 0
		case c == 'H':
			total, n = total+n*60, 0
		case c == 'M':
			total, n = total+n, 0
		case c == 'S':
			total, n = total+n/60, 0
		case c != 'T':
			return 0, false
		}
	}
	return total, ok
}

// newCalendar is a calendar with one component, whose file has nothing else yet.
func newCalendar(kind string) *card {
	one := &card{kind: kind, lines: []string{"UID:" + strings.ToUpper(strings.ReplaceAll(backup.NewID[string](), "-", ""))}}
	return &card{parts: []*card{{kind: "VCALENDAR", lines: []string{"VERSION:2.0", "PRODID:" + productID}, parts: []*card{one}}}}
}

func blankEvent(*request) *card { return newCalendar("VEVENT") }

func blankTask(*request) *card { return newCalendar("VTODO") }

func blankContact(*request) *card {
	return &card{parts: []*card{{kind: "VCARD", lines: []string{"VERSION:3.0", "UID:" + backup.NewID[string]()}}}}
}

// attendee is somebody who is invited, as clients write it.
type attendee struct {
	addressee
	Kind   string `json:"type"`
	Status *struct {
		Response string `json:"response"`
	} `json:"status"`
}

// line is the attendee's in a file, with the answer that was given.
func (a attendee) line(answers map[string]string) (string, error) {
	list, err := addressList(a.addressee)
	if err != nil {
		return "", err
	}
	role := map[string]string{"": "ROLE=REQ-PARTICIPANT", "required": "ROLE=REQ-PARTICIPANT", "optional": "ROLE=OPT-PARTICIPANT", "resource": "CUTYPE=RESOURCE;ROLE=NON-PARTICIPANT"}[strings.ToLower(a.Kind)]
	if role == "" {
		return "", fail(http.StatusBadRequest, "ErrorInvalidRequest", "An attendee's type is required, optional or resource.")
	}
	answer := answers[strings.ToLower(list[0].Address)]
	if answer == "" {
		answer = "NEEDS-ACTION"
	}
	name := list[0].Name
	if name == "" {
		name = list[0].Address
	}
	return fmt.Sprintf("ATTENDEE;CN=%s;%s;PARTSTAT=%s;RSVP=TRUE:mailto:%s", escapeParam(name), role, answer, list[0].Address), nil
}
