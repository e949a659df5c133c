package simtenant

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An occurrence is one of the times at which an event of a series takes place. It is
// no item: its id names the series and the time it was meant for. What was changed of
// it lies in the series' file, as a component with a RECURRENCE-ID.
type occurrence struct {
	meant, start, end time.Time
	exception         *card // nil: as the series has it
}

// occurrenceID is what ids of occurrences begin with.
var occurrenceID = [4]byte{0, 5, 0x24, 0}

func (m *mailbox) occurrenceID(it *mailItem, meant time.Time) string {
	b := append(occurrenceID[:len(occurrenceID):len(occurrenceID)], m.tag[:]...)
	b = binary.BigEndian.AppendUint64(b, it.num)
	b = binary.BigEndian.AppendUint32(b, uint32(meant.Unix()/60))
	return base64.URLEncoding.EncodeToString(append(b, 0, 0))
}

// when is the time that a line of a component names, in its zone.
func (p paper) when(name string) time.Time {
	if lines := p[name]; len(lines) > 0 {
		return lines[0].time(lines[0].value)
	}
	return time.Time{}
}

// time reads a time of a line, and keeps its zone.
func (l paperLine) time(value string) time.Time {
	where := time.UTC
	if name := l.param("TZID"); name != "" {
		where, _ = zone(name)
	}
	for _, layout := range []string{"20060102T150405Z", "20060102T150405", "20060102"} {
		if strings.HasSuffix(layout, "Z") != strings.HasSuffix(value, "Z") {
			continue
		}
		in := where
		if strings.HasSuffix(layout, "Z") {
			in = time.UTC
		}
		if t, err := time.ParseInLocation(layout, value, in); err == nil {
			return t
		}
	}
	return time.Time{}
}

// allDay reports whether an event is of days, not of hours.
func (p paper) allDay() bool { return len(p["DTSTART"]) > 0 && len(p["DTSTART"][0].value) == 8 }

// span is when an event begins and ends.
func (p paper) span() (start, end time.Time) {
	start, end = p.when("DTSTART"), p.when("DTEND")
	if end.IsZero() {
		if end = start; p.allDay() {
			end = start.AddDate(0, 0, 1)
		}
	}
	return start, end
}

// master is the component that an event's file begins with: the series, if it is one.
func (c *card) master() *card {
	for _, part := range c.parts {
		if part.kind == "VEVENT" && part.paper()["RECURRENCE-ID"] == nil {
			return part
		}
		if found := part.master(); found != nil {
			return found
		}
	}
	return nil
}

// exceptions are the components of changed occurrences, by the second they were
// meant for.
func (c *card) exceptions() map[int64]*card {
	out := map[int64]*card{}
	for _, part := range c.parts {
		if part.kind == "VEVENT" {
			if at := part.paper().when("RECURRENCE-ID"); !at.IsZero() {
				out[at.Unix()] = part
			}
		}
		maps.Copy(out, part.exceptions())
	}
	return out
}

// occurrences tells when a series takes place between two times, in order of what was
// meant, until fn reports false. For an event that is no series it tells nothing.
func (c *card) occurrences(from, to time.Time, fn func(occurrence) bool) {
	series := c.master()
	if series == nil {
		return
	}
	p := series.paper()
	start, end := p.span()
	rule, ok := parseRule(p.text("RRULE"))
	if !ok || start.IsZero() {
		return
	}
	without := map[int64]bool{}
	for _, l := range p["EXDATE"] {
		for value := range strings.SplitSeq(l.value, ",") {
			without[l.time(value).Unix()] = true
		}
	}
	changed := c.exceptions()
	long := end.Sub(start)
	latest := to
	for at := range changed { // some may have been moved into the window
		if t := time.Unix(at, 0); !t.Before(latest) {
			latest = t.Add(time.Second)
		}
	}
	rule.each(start, func(at time.Time) bool {
		if !at.Before(latest) {
			return false
		}
		o := occurrence{meant: at, start: at, end: at.Add(long), exception: changed[at.Unix()]}
		if p.allDay() { // days are not all as long
			o.end = at.AddDate(0, 0, int(long.Round(24*time.Hour)/(24*time.Hour)))
		}
		if o.exception != nil {
			o.start, o.end = o.exception.paper().span()
		}
		if without[at.Unix()] || !o.start.Before(to) || o.end.Before(from) || o.end.Equal(from) && !o.end.Equal(o.start) {
			return true
		}
		return fn(o)
	})
}

// cards reads an item's file.
func (m *mailbox) cards(it *mailItem) (*card, error) {
	data, err := m.bytes(it)
	if err != nil {
		return nil, err
	}
	return readCards(data), nil
}

// occurrence finds what an id names that is one of a series' occurrences. It is nil
// for the id of an item.
func (m *mailbox) occurrence(r *request) (*mailItem, *card, *occurrence, error) {
	kind, num, n, ok := m.parseID(r.vars["message"])
	if !ok || kind != occurrenceID {
		return nil, nil, nil, nil
	}
	it := m.items[num]
	if it == nil || it.at == nil {
		return nil, nil, nil, noMailItem()
	}
	if err := m.settle(r.Context(), it); err != nil {
		return nil, nil, nil, err
	}
	if !calendarKind.isOne(it) {
		return nil, nil, nil, noMailItem()
	}
	c, err := m.cards(it)
	if err != nil {
		return nil, nil, nil, err
	}
	var found *occurrence
	far := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	c.occurrences(time.Time{}, far, func(o occurrence) bool {
		if o.meant.Unix()/60 == int64(n) {
			found = &o
		}
		return found == nil && o.meant.Unix()/60 <= int64(n)
	})
	if found == nil {
		return nil, nil, nil, noMailItem()
	}
	return it, c, found, nil
}

// occurrenceView is an occurrence as Outlook shows it.
func (m *mailbox) occurrenceView(r *request, it *mailItem, c *card, o occurrence, immutable bool) map[string]any {
	kind, own := "occurrence", c.master()
	if o.exception != nil {
		kind, own = "exception", o.exception
	}
	v := m.paperView(r, it, immutable, calendarKind, own)
	v["id"], v["type"], v["seriesMasterId"], v["recurrence"] = m.occurrenceID(it, o.meant), kind, m.stayID(it.at, immutable), nil
	v["start"], v["end"] = r.dateTimeView(o.start), r.dateTimeView(o.end)
	v["originalStart"], v["occurrenceId"] = o.meant.UTC().Format(time.RFC3339), "OID."+m.stayID(it.at, immutable)+"."+o.meant.Format(time.DateOnly)
	return v
}

// maxWindow is how long a stretch of a calendar may be that is asked for.
const maxWindow = 1825 * 24 * time.Hour

// takesPlace is an event, or one of a series' occurrences, in a stretch of time.
type takesPlace struct {
	it    *mailItem
	start time.Time
	meant time.Time // of an occurrence
}

// takesPlaceIn reports whether what begins and ends so takes place between two times.
func takesPlaceIn(start, end, from, to time.Time) bool {
	return !start.IsZero() && start.Before(to) && (end.After(from) || end.Equal(start) && !end.Before(from))
}

// within returns what of some events takes place between two times, in order.
func (m *mailbox) within(r *request, events []*mailItem, from, to time.Time) ([]takesPlace, error) {
	var list []takesPlace
	for _, it := range events {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		c, err := m.cards(it)
		if err != nil {
			continue // what cannot be read takes no place; it is told among the events
		}
		series := c.master()
		if series == nil {
			continue
		}
		p := series.paper()
		if _, ok := parseRule(p.text("RRULE")); ok {
			c.occurrences(from, to, func(o occurrence) bool {
				list = append(list, takesPlace{it, o.start, o.meant})
				return true
			})
			continue
		}
		if start, end := p.span(); takesPlaceIn(start, end, from, to) {
			list = append(list, takesPlace{it: it, start: start})
		}
	}
	slices.SortStableFunc(list, func(a, b takesPlace) int { return a.start.Compare(b.start) })
	return list, nil
}

// answerWindow answers with a page of what takes place in the stretch of time that
// the address names.
func (s *Service) answerWindow(r *request, m *mailbox, events []*mailItem, context, path string) error {
	from, to, err := windowOf(r)
	if err != nil {
		return err
	}
	list, err := m.within(r, events, from, to)
	if err != nil {
		return err
	}
	immutable := r.immutable()
	q, err := listQueryOf(r, eventProperties, false)
	if err != nil {
		return err
	}
	list, err = apply(r.Context(), q, list, func(t takesPlace) (members, error) {
		v, err := m.takesPlaceView(r, t, immutable)
		return func(name string) any { return readMember(v, name) }, err
	})
	if err != nil {
		return err
	}
	var failed error
	err = s.answerList(r, r.outlookContext(context), path, len(list), func(i int) any {
		v, err := m.takesPlaceView(r, list[i], immutable)
		if err != nil {
			failed = err
		}
		return v
	})
	if failed != nil {
		return failed
	}
	return err
}

// several are things that a delta tells of one item.
type several []any

// changeInWindow is what a delta of a stretch of time tells of an event that changed.
// All says that the client knows of none yet: then what takes no place in it is not
// told, and else as removed.
func (m *mailbox) changeInWindow(r *request, st *stay, from, to time.Time, immutable, all bool) several {
	c, err := m.cards(st.it)
	if err != nil {
		return nil // what cannot be read takes no place; it is told among the events
	}
	gone := func(ids ...string) (list several) {
		for _, id := range ids {
			if !all {
				list = append(list, removed(id, false))
			}
		}
		return list
	}
	series := c.master()
	if series == nil {
		return gone(m.stayID(st, immutable))
	}
	p := series.paper()
	if _, ok := parseRule(p.text("RRULE")); !ok {
		if start, end := p.span(); takesPlaceIn(start, end, from, to) {
			return several{m.paperView(r, st.it, immutable, calendarKind, series)}
		}
		return gone(m.stayID(st, immutable))
	}
	told := several{m.paperView(r, st.it, immutable, calendarKind, series)}
	seen := map[int64]bool{}
	c.occurrences(from, to, func(o occurrence) bool {
		v := m.occurrenceView(r, st.it, c, o, immutable)
		if o.exception == nil {
			v = object{"@odata.type": "#microsoft.graph.event", "id": v["id"], "type": v["type"], "seriesMasterId": v["seriesMasterId"], "start": v["start"], "end": v["end"]}
		}
		told, seen[o.meant.Unix()] = append(told, v), true
		return true
	})
	if len(seen) == 0 {
		return gone(m.stayID(st, immutable))
	}
	var away []string
	for _, l := range p["EXDATE"] {
		for value := range strings.SplitSeq(l.value, ",") {
			if at := l.time(value); !at.IsZero() {
				away = append(away, m.occurrenceID(st.it, at))
			}
		}
	}
	for at := range c.exceptions() {
		if !seen[at] {
			away = append(away, m.occurrenceID(st.it, time.Unix(at, 0)))
		}
	}
	slices.Sort(away)
	return append(told, gone(away...)...)
}

func (m *mailbox) takesPlaceView(r *request, t takesPlace, immutable bool) (any, error) {
	if err := m.settle(r.Context(), t.it); err != nil {
		return nil, err
	}
	c, err := m.cards(t.it)
	if err != nil {
		return nil, err
	}
	if t.meant.IsZero() {
		return m.paperView(r, t.it, immutable, calendarKind, c.master()), nil
	}
	var view map[string]any
	c.occurrences(time.Time{}, t.meant.Add(maxWindow), func(o occurrence) bool {
		if o.meant.Equal(t.meant) {
			view = m.occurrenceView(r, t.it, c, o, immutable)
		}
		return view == nil
	})
	if view == nil {
		return nil, noMailItem()
	}
	return view, nil
}

func (s *Service) listCalendarView(r *request, m *mailbox) error {
	f, err := calendarKind.at(r, m)
	if err != nil {
		return err
	}
	events := slices.DeleteFunc(f.items(), func(it *mailItem) bool { return !calendarKind.isOne(it) })
	return s.answerWindow(r, m, events, "calendarView", strings.TrimSuffix(calendarKind.here(r), "events")+"calendarView")
}

func (s *Service) listInstances(r *request, m *mailbox) error {
	it, err := m.paper(r, calendarKind)
	if err != nil {
		return err
	}
	c, err := m.cards(it)
	if err != nil {
		return err
	}
	if series := c.master(); series == nil || series.paper()["RRULE"] == nil {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The event is no series.")
	}
	return s.answerWindow(r, m, []*mailItem{it}, "events('"+url.PathEscape(r.vars["message"])+"')/instances", calendarKind.here(r, r.vars["message"], "instances"))
}
