package budget

import (
	"encoding/json"
	"time"
)

// A state is what all processes know of a tenant's budget. Times are microseconds
// since 1970.
type state struct {
	// Given is until when the pace is given away: what a pace of so many units a
	// minute brings until then is in somebody's hands.
	Given int64 `json:"given"`
	// Paused is until when the source wants to be left alone.
	Paused int64 `json:"paused"`
	// Read and Written are Given for bytes.
	Read    int64 `json:"read"`
	Written int64 `json:"written"`

	// What was spent, for limits that are no pace and for people.
	Minute window `json:"minute"`
	Day    window `json:"day"`
	// What the source itself said that it allows in a minute, and when.
	Told   int   `json:"told"`
	ToldAt int64 `json:"toldAt"`
	// The limits by which units were spent.
	PerMinute int `json:"perMinute"`
	PerDay    int `json:"perDay"`
}

// Usage is what all processes together have spent, as far as they have told.
type Usage struct {
	Minute, Day       int64 // units, in the last
	PerMinute, PerDay int   // that are allowed; 0 is no limit
	Paused            time.Time
}

// UsageOf reads what is stored of a budget.
func UsageOf(stored []byte, now time.Time) Usage {
	s := read(stored)
	return Usage{
		Minute: s.Minute.sum(now, time.Minute, minuteParts), Day: s.Day.sum(now, 24*time.Hour, dayParts),
		PerMinute: s.PerMinute, PerDay: s.PerDay, Paused: s.paused(now),
	}
}

const (
	minuteParts = 10
	dayParts    = 24
	// slack is how much of the pace that nobody took may be taken later.
	slack = 500 * time.Millisecond
	// byteSlack is that of bytes.
	byteSlack = 3 * time.Minute
	// aheadMost is more than is ever given ahead of time. A clock that goes wrong
	// may have written more.
	aheadMost     = 10 * time.Second
	byteAheadMost = time.Hour
	// pausedMost is more than any pause.
	pausedMost = time.Hour + time.Minute
)

// read makes a state of what is stored. What cannot be one is none.
func read(b []byte) (s state) {
	if json.Unmarshal(b, &s) != nil {
		return state{}
	}
	return s
}

func (s *state) bytes() ([]byte, error) { return json.Marshal(s) }

// A spending is what a process has spent since it last told.
type spending struct {
	units         int
	read, written int64
}

// toldLife is how long the source's word on its limit counts. It says it again
// whenever most of a minute's units are spent.
const toldLife = time.Hour

// told returns what the source said of its limit, 0 if that is too long ago.
func (s *state) told(now time.Time) int {
	if age := now.Sub(time.UnixMicro(s.ToldAt)); age < 0 || age > toldLife {
		return 0
	}
	return s.Told
}

// limits returns what is allowed: the source knows best.
func (s *state) limits(now time.Time, l Limits) Limits {
	told := s.told(now)
	if told <= 0 || l.Fixed && l.PerMinute <= told {
		return l
	}
	return PerMinute(told)
}

// note takes up what was spent.
func (s *state) note(now time.Time, l Limits, x spending) {
	s.PerMinute, s.PerDay = l.PerMinute, l.PerDay
	s.Minute.add(now, time.Minute, minuteParts, int64(x.units))
	s.Day.add(now, 24*time.Hour, dayParts, int64(x.units))
	s.Read = advance(s.Read, now, byteSlack, byteAheadMost, x.read, l.ReadPerHour, time.Hour)
	s.Written = advance(s.Written, now, byteSlack, byteAheadMost, x.written, l.WritePerHour, time.Hour)
}

// advance moves a time until which a pace of limit in each span is given away by
// what n more take.
func advance(at int64, now time.Time, slack, most time.Duration, n, limit int64, span time.Duration) int64 {
	if limit <= 0 {
		return 0
	}
	at = since(at, now, slack, most)
	return at + int64(float64(n)*float64(span.Microseconds())/(float64(limit)*share))
}

// since returns from when on a pace can be given that is given away until at.
func since(at int64, now time.Time, slack, most time.Duration) int64 {
	least := now.Add(-slack).UnixMicro()
	if at > now.Add(most).UnixMicro() {
		return least
	}
	return max(at, least)
}

// A grant is what a process is given.
type grant struct {
	units  int
	from   time.Time     // since when they could be had by the first of purposes
	wait   time.Duration // if there are none: until when there may be some
	paused time.Time     // until when nobody is given any
}

// give gives units, as many as are wanted, for a purpose.
func (s *state) give(now time.Time, l Limits, p Purpose, want int) (g grant) {
	if g.paused = s.paused(now); !g.paused.IsZero() {
		return g
	}
	if l.PerMinute > 0 {
		g.from = time.UnixMicro(since(s.Given, now, slack, aheadMost))
		if g.wait = p.from(g.from).Sub(now); g.wait > 0 {
			return g
		}
		s.Given = advance(s.Given, now, slack, aheadMost, int64(want), int64(l.PerMinute), time.Minute)
	}
	g.units, g.wait = want, 0
	return g
}

// day returns until when a purpose has used up its share of a day's units, zero if
// it has not.
func (s *state) day(now time.Time, l Limits, p Purpose) time.Time {
	if most := int64(float64(l.PerDay) * p.dayShare()); most > 0 {
		if wait := s.Day.wait(now, 24*time.Hour, dayParts, most); wait > 0 {
			return now.Add(wait)
		}
	}
	return time.Time{}
}

// paused returns until when the source wants to be left alone, zero if it does
// not.
func (s *state) paused(now time.Time) time.Time {
	until := time.UnixMicro(s.Paused)
	if !until.After(now) || until.After(now.Add(pausedMost)) {
		return time.Time{}
	}
	return until
}

func (s *state) pause(now, until time.Time) {
	if until.After(now.Add(pausedMost)) {
		until = now.Add(pausedMost)
	}
	if s.paused(now).Before(until) {
		s.Paused = until.UnixMicro()
	}
}

// A window is a sum over the last span of time, kept in parts of it.
type window struct {
	At    int64   `json:"at"` // which part since 1970 is the newest
	Parts []int64 `json:"parts"`
}

func (w *window) turn(now time.Time, span time.Duration, parts int64) {
	at := now.UnixMicro() / (span.Microseconds() / parts)
	// One part more: the oldest is still in it, as far as it is.
	if int64(len(w.Parts)) != parts+1 || at-w.At > parts || w.At-at > parts || w.At < 0 {
		*w = window{at, make([]int64, parts+1)}
	}
	for ; w.At < at; w.At++ {
		w.Parts[(w.At+1)%(parts+1)] = 0
	}
}

func (w *window) add(now time.Time, span time.Duration, parts, n int64) {
	w.turn(now, span, parts)
	w.Parts[w.At%(parts+1)] += n
}

func (w *window) sum(now time.Time, span time.Duration, parts int64) (total int64) {
	w.turn(now, span, parts)
	for _, n := range w.Parts {
		total += n
	}
	return total
}

// wait returns how long it takes until the sum is below most.
func (w *window) wait(now time.Time, span time.Duration, parts, most int64) time.Duration {
	total := w.sum(now, span, parts)
	for i := int64(1); total >= most && i <= parts+1; i++ {
		total -= w.Parts[(w.At+i)%(parts+1)]
		if total < most {
			return time.UnixMicro((w.At + i) * (span.Microseconds() / parts)).Sub(now)
		}
	}
	return 0
}
