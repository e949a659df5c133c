package console

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

type unitPage struct {
	Unit     unitAnswer
	Policy   string // its name
	Newest   *pointAnswer
	Hidden   bool // points may not be seen
	Details  []failure
	More     int // details beyond
	Strip    strip
	Points   list[pointAnswer]
	From, To time.Time // of Points
	Here     string
	Seconds  bool         // tell points apart
	Mark     *pointAnswer // that another is to be compared with
}

// Browsable reports whether a point can be looked into.
func (p pointAnswer) Browsable() bool {
	return p.Tags == string(backup.TagFastRestore) && !p.Lost
}

func showUnit(v *visit) error {
	id := url.PathEscape(v.r.PathValue("id"))
	u, err := get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+id)
	if err != nil {
		return err
	}
	v.of = anyUnit + "/" + id
	page := unitPage{Unit: u, Here: v.r.URL.Path}
	if u.PolicyID != "" {
		if p, err := get[policyAnswer](v.ctx(), v.api, anyPolicy+"/"+u.PolicyID+"?$select=displayName"); err == nil {
			page.Policy = p.DisplayName
		}
	}
	page.Details, page.More = failuresOf(u.Error)
	newest, err := v.newest([]string{u.ID})
	if forbidden(err) {
		page.Hidden = true
		return v.show("unit", u.Name(), page)
	}
	if err != nil {
		return err
	}
	if p, ok := newest[u.ID]; ok {
		page.Newest = &p
	}
	page.Strip = newStrip(v.r.URL.Query(), v.cfg.Clock().UTC(), page.Newest)
	for i := range page.Strip.Cells {
		cell := &page.Strip.Cells[i]
		if cell.Count, err = v.countPoints(u.ID, cell.From, cell.To); err != nil {
			return err
		}
	}
	page.Strip.level()
	if mark := v.r.URL.Query().Get("mark"); mark != "" {
		p, err := v.point(mark)
		if err != nil {
			return err
		}
		page.Mark = &p
	}
	page.From, page.To = page.Strip.chosen()
	if page.Points, err = v.points(u.ID, page.From, page.To); err != nil {
		return err
	}
	page.Seconds = sameMinute(page.Points.Items)
	if page.Mark != nil {
		for _, p := range page.Points.Items {
			page.Seconds = page.Seconds || p.ID != page.Mark.ID && sameMinute([]pointAnswer{p, *page.Mark})
		}
	}
	return v.show("unit", u.Name(), page)
}

// pointOptions are the options of points of a unit between two times, the second not
// included.
func pointOptions(unit string, from, to time.Time) string {
	return query("$expand", "protectionUnit($filter=id eq "+text(unit)+")") + "&" +
		query("$filter", "protectionDateTime ge "+iso(from)+" and protectionDateTime lt "+iso(to))
}

func (v *visit) countPoints(unit string, from, to time.Time) (n int, err error) {
	return n, v.api.Get(v.ctx(), pointSet+"/$count?"+pointOptions(unit, from, to), &n)
}

// points reads a page of points, the newest first. The API gives a few at a
// time.
func (v *visit) points(unit string, from, to time.Time) (l list[pointAnswer], err error) {
	options := []string{pointOptions(unit, from, to), query("$orderby", "protectionDateTime desc")}
	part, err := read[pointAnswer](v, pointSet, options...)
	l = part
	for err == nil && part.Next != "" && len(l.Items) < pageSize {
		next, parseErr := url.Parse(part.Next)
		if parseErr != nil {
			return l, parseErr
		}
		on := *v
		on.r = v.r.Clone(v.ctx())
		on.r.URL.RawQuery = next.RawQuery
		if part, err = read[pointAnswer](&on, pointSet, options...); err == nil {
			l.Items, l.Next = append(l.Items, part.Items...), part.Next
		}
	}
	return l, err
}

// A strip is a span of time in cells, each with the number of points in it.
type strip struct {
	Span           string
	Cells          []cell
	Earlier, Later string // addresses of the strips beside; "" for none
	Step           time.Duration
	From, To       time.Time
	mark           string // a point that all addresses go on to name
}

type cell struct {
	From, To time.Time
	Count    int
	Level    int // 0 for none to 4 for most
	X        int
	Chosen   bool
	Link     string
}

// spans are the strips that there are.
var spans = map[string]struct {
	cells int
	step  time.Duration
}{"day": {24, time.Hour}, "week": {28, 6 * time.Hour}, "year": {53, 7 * 24 * time.Hour}}

// newStrip is the strip that an address asks for. Without one it ends now, or
// with the newest point if that is long ago.
func newStrip(q url.Values, now time.Time, newest *pointAnswer) strip {
	s := strip{Span: q.Get("span"), mark: q.Get("mark")}
	if _, ok := spans[s.Span]; !ok {
		s.Span = "day"
	}
	span := spans[s.Span]
	s.Step = span.step
	width := time.Duration(span.cells) * span.step
	end := now
	if newest != nil && newest.ProtectionDateTime.Before(now.Add(-width)) {
		end = newest.ProtectionDateTime.Add(time.Millisecond)
	}
	if at, err := time.Parse(time.RFC3339, q.Get("to")); err == nil {
		end = at.UTC()
	}
	if to := end.Truncate(span.step); to.Before(end) {
		end = to.Add(span.step)
	}
	s.From, s.To = end.Add(-width), end
	chosen, _ := time.Parse(time.RFC3339, q.Get("cell"))
	for i := range span.cells {
		from := s.From.Add(time.Duration(i) * span.step)
		s.Cells = append(s.Cells, cell{From: from, To: from.Add(span.step), X: i, Chosen: from.Equal(chosen), Link: s.link(end, from)})
	}
	s.Earlier = s.link(s.From, time.Time{})
	if end.Before(now) {
		s.Later = s.link(end.Add(width), time.Time{})
	}
	return s
}

func (s strip) link(to, cell time.Time) string {
	q := url.Values{"span": {s.Span}, "to": {to.Format(time.RFC3339)}}
	if !cell.IsZero() {
		q.Set("cell", cell.Format(time.RFC3339))
	}
	if s.mark != "" {
		q.Set("mark", s.mark)
	}
	return "?" + q.Encode()
}

// SpanLink is the address of a strip of another span.
func (s strip) SpanLink(span string) string {
	q := url.Values{"span": {span}}
	if s.mark != "" {
		q.Set("mark", s.mark)
	}
	return "?" + q.Encode()
}

// level says how full each cell is beside the fullest.
func (s *strip) level() {
	most := slices.MaxFunc(s.Cells, func(a, b cell) int { return a.Count - b.Count }).Count
	for i := range s.Cells {
		if c := &s.Cells[i]; c.Count > 0 {
			c.Level = 1 + 3*c.Count/most
		}
	}
}

// chosen is the time whose points are listed: that of a cell, or of the strip.
func (s strip) chosen() (from, to time.Time) {
	for _, c := range s.Cells {
		if c.Chosen {
			return c.From, c.To
		}
	}
	return s.From, s.To
}

// Label says a cell in words.
func (c cell) Label() string {
	form := "2 Jan 2006 15:04"
	if c.To.Sub(c.From) >= 24*time.Hour {
		form = "2 Jan 2006"
	}
	return fmt.Sprintf("%s to %s UTC: %s", c.From.Format(form), c.To.Format(form), plural(c.Count, "point", "points"))
}

type unreadAnswer struct {
	Path, Code, Message string
	SinceDateTime       time.Time
	IsHeld, IsNote      bool
}

type pointPage struct {
	Point  pointAnswer
	Unit   unitAnswer
	Unread list[unreadAnswer]
}

// showPoint shows a restore point, and what it does not hold as it was.
func showPoint(v *visit) error {
	path := pointSet + "/" + url.PathEscape(v.r.PathValue("id"))
	p, err := get[pointAnswer](v.ctx(), v.api, path+"?$expand=protectionUnit")
	if err != nil {
		return err
	}
	page := pointPage{Point: p, Unit: v.unitOfPoint(p)}
	v.ofUnit(page.Unit)
	if p.Lacks > 0 || page.Unit.Of() == client.Mailboxes {
		if page.Unread, err = read[unreadAnswer](v, path+"/holdfast.unread"); err != nil {
			return err
		}
	}
	return v.show("point", "Point of "+strings.TrimSpace(page.Unit.Name()), page)
}
