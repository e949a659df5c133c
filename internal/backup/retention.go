package backup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A RetentionSetting says how often restore points are kept, and for how long:
// an ISO 8601 repeating interval and an ISO 8601 duration.
type RetentionSetting struct {
	Interval string `json:"interval"` // such as R/PT10M: one point of each ten minutes
	Period   string `json:"period"`   // such as P2W: is kept for two weeks
}

// DefaultRetention is what Microsoft keeps: a point every ten minutes for two
// weeks, and one a week for a year.
var DefaultRetention = []RetentionSetting{{"R/PT10M", "P2W"}, {"R/P1W", "P1Y"}}

// Retention is how long restore points are kept. No settings mean
// DefaultRetention. A legal hold keeps everything, for as long as it lasts.
type Retention struct {
	Settings  []RetentionSetting `json:"settings,omitempty"`  // which points are kept for how long
	LegalHold bool               `json:"legalHold,omitempty"` // everything is kept
}

// What makes restore points be kept for a shorter time takes effect after a
// delay, so that a mistake can be called off before anything has gone.
const (
	RetentionDelay         = 7 * 24 * time.Hour // where no other is asked for
	ShortestRetentionDelay = 24 * time.Hour
)

// Equal reports whether r and s are the same, DefaultRetention spelled out or
// not.
func (r Retention) Equal(s Retention) bool {
	return r.LegalHold == s.LegalHold && slices.Equal(r.settings(), s.settings())
}

func (r Retention) settings() []RetentionSetting {
	if len(r.Settings) == 0 {
		return DefaultRetention
	}
	return r.Settings
}

// Shown are the settings as callers see them. The wire has no word for ever.
func (r Retention) Shown() []RetentionSetting {
	if k, err := NewKeeping(r); err == nil && k.LegalHold {
		return []RetentionSetting{{"R/" + k.tiers[0].every.String(), "P1000Y"}}
	}
	return r.settings()
}

// String says in words what r is.
func (r Retention) String() string {
	parts := make([]string, 0, 3)
	for _, s := range r.settings() {
		parts = append(parts, s.Interval+" for "+s.Period)
	}
	text := strings.Join(parts, ", ")
	if r.LegalHold {
		text += ", and everything under a legal hold"
	}
	return text
}

// KeptForever is when a point under a legal hold expires.
var KeptForever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// A tier keeps, of each interval, the first point for a period.
type tier struct{ every, keep Span }

// A Keeping is a Retention that can be kept to.
type Keeping struct {
	Retention
	tiers []tier // the shortest interval first, which keeps every point
}

// NewKeeping returns what r means, or what is wrong with it.
func NewKeeping(r Retention) (*Keeping, error) {
	r.Settings = r.settings()
	k := &Keeping{Retention: r}
	for _, s := range r.Settings {
		repeated, ok := strings.CutPrefix(s.Interval, "R/")
		every, err := ParseSpan(repeated)
		if !ok || err != nil {
			return nil, fmt.Errorf("interval %q is not an ISO 8601 repeating interval such as \"R/P1W\"", s.Interval)
		}
		keep, err := ParseSpan(s.Period)
		if err != nil {
			return nil, fmt.Errorf("period %q: %w", s.Period, err)
		}
		k.tiers = append(k.tiers, tier{every, keep})
	}
	slices.SortStableFunc(k.tiers, func(a, b tier) int { return int(a.every.rough()/time.Second - b.every.rough()/time.Second) })
	for i := 1; i < len(k.tiers); i++ {
		if k.tiers[i].every.rough() == k.tiers[i-1].every.rough() {
			return nil, errors.New("two settings have the same interval")
		}
	}
	return k, nil
}

// Covers reports whether k keeps every point, whenever it was made and whatever
// was made before it, at least as long as o does. To put k in the place of o
// then shortens nothing.
func (k *Keeping) Covers(o *Keeping) bool {
	if k.LegalHold || o.LegalHold {
		return k.LegalHold
	}
	for i, old := range o.tiers {
		covered := slices.ContainsFunc(k.tiers[1:], func(t tier) bool {
			return i > 0 && t.every.divides(old.every) && t.keep.covers(old.keep)
		})
		if !covered && !k.tiers[0].keep.covers(old.keep) {
			return false
		}
	}
	return true
}

// Intervals returns the beginnings of the intervals that a time is in, of each
// setting but the one with the shortest interval, which keeps every point.
func (k *Keeping) Intervals(at time.Time) []time.Time {
	begins := make([]time.Time, 0, len(k.tiers)-1)
	for _, t := range k.tiers[1:] {
		begins = append(begins, t.every.begin(at.UTC()))
	}
	return begins
}

// Expires returns when a point of a time expires, and whether it is kept longer
// for being the first of an interval. first says of which it is, in the order
// of Intervals.
func (k *Keeping) Expires(at time.Time, first []bool) (expires time.Time, longer bool) {
	expires = k.tiers[0].keep.After(at)
	for i, t := range k.tiers[1:] {
		if end := t.keep.After(at); first[i] && end.After(expires) {
			expires, longer = end, true
		}
	}
	if k.LegalHold {
		expires = KeptForever
	}
	return expires, longer
}

// A RetentionPlan is what a configuration says of retention: how the points of
// new policies are kept and, as configurations once said it, those of others.
type RetentionPlan struct {
	Default  Retention              `json:"default"`            // of new policies
	Policies map[PolicyID]Retention `json:"policies,omitempty"` // of before; 'holdfast retention' says it now
}

// A Span is an ISO 8601 duration: a length of time by the calendar.
type Span struct {
	Months, Days int
	Time         time.Duration
}

// ParseSpan reads a duration of whole years, months, weeks, days, hours,
// minutes and seconds, such as "P2W" or "P1DT12H". It is longer than nothing,
// and not longer than a thousand years.
func ParseSpan(text string) (Span, error) {
	wrong := fmt.Errorf("%q is not an ISO 8601 duration such as \"P2W\" or \"P1Y6M\"", text)
	rest, ok := strings.CutPrefix(text, "P")
	units := "YMWD"
	var s Span
	for ok && rest != "" {
		if rest[0] == 'T' && units != "HMS" && len(units) <= 4 && rest != "T" {
			rest, units = rest[1:], "HMS"
			continue
		}
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || digits == len(rest) {
			return s, wrong
		}
		n, err := strconv.Atoi(rest[:digits])
		i := strings.IndexByte(units, rest[digits])
		if err != nil || n > 600_000 || i < 0 {
			return s, wrong
		}
		clock := strings.HasSuffix(units, "S")
		switch unit := rest[digits]; {
		case unit == 'Y':
			s.Months += 12 * n
		case unit == 'M' && !clock:
			s.Months += n
		case unit == 'W':
			s.Days += 7 * n
		case unit == 'D':
			s.Days += n
		case unit == 'H':
			s.Time += time.Duration(n) * time.Hour
		case unit == 'M':
			s.Time += time.Duration(n) * time.Minute
		default:
			s.Time += time.Duration(n) * time.Second
		}
		units, rest = units[i+1:], rest[digits+1:]
	}
	if !ok || s == (Span{}) || s.Months > 12_000 || s.Days > 366_000 {
		return s, wrong
	}
	return s, nil
}

// String is the span as ISO 8601 writes it.
func (s Span) String() string {
	text := "P"
	add := func(n int, unit string) {
		if n > 0 {
			text += strconv.Itoa(n) + unit
		}
	}
	add(s.Months/12, "Y")
	add(s.Months%12, "M")
	if s.Days%7 == 0 {
		add(s.Days/7, "W")
	} else {
		add(s.Days, "D")
	}
	if s.Time > 0 {
		text += "T"
		add(int(s.Time/time.Hour), "H")
		add(int(s.Time%time.Hour/time.Minute), "M")
		add(int(s.Time%time.Minute/time.Second), "S")
	}
	return text
}

// After returns the time that is s later than t.
func (s Span) After(t time.Time) time.Time { return t.AddDate(0, s.Months, s.Days).Add(s.Time) }

// covers reports whether s ends no earlier than o, whenever the two begin. The
// calendar repeats itself after 400 years.
func (s Span) covers(o Span) bool {
	if s.Months >= o.Months && s.Days >= o.Days && s.Time >= o.Time {
		return true
	}
	const cycle = 146_097 // days
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for range cycle {
		if s.After(at).Before(o.After(at)) {
			return false
		}
		at = at.AddDate(0, 0, 1)
	}
	return true
}

// divides reports whether each interval of length o begins with one of length
// s, so that what is the first of its o is the first of its s.
func (s Span) divides(o Span) bool {
	const day = 24 * time.Hour
	switch {
	case s.Months > 0:
		return o.Months > 0 && o.Months%s.Months == 0
	case s.Days > 0:
		return o.Months > 0 && s.Days == 1 || o.Months == 0 && o.Days > 0 && o.Days%s.Days == 0
	case o.Months > 0:
		return day%s.Time == 0
	case o.Days > 0:
		return day%s.Time == 0 || time.Duration(o.Days)*day%s.Time == 0
	}
	return o.Time%s.Time == 0
}

// rough is about how long s is.
func (s Span) rough() time.Duration {
	const day = 24 * time.Hour
	return time.Duration(min(s.Months, 1200))*30*day + time.Duration(min(s.Days, 36_600))*day + s.Time
}

// begin returns when the interval of length s that holds t began: weeks begin
// on Monday, months and years with their first day, others are counted from
// the first day of all.
func (s Span) begin(t time.Time) time.Time {
	switch {
	case s.Months > 0:
		n := t.Year()*12 + int(t.Month()) - 1
		n -= n % s.Months
		return time.Date(n/12, time.Month(n%12+1), 1, 0, 0, 0, 0, time.UTC)
	case s.Days > 0: // the zero time was a Monday
		const day = 24 * time.Hour
		days := t.Unix()/86400 + 719162
		return t.Truncate(day).AddDate(0, 0, -int(days%int64(s.Days)))
	}
	return t.Truncate(s.Time)
}
