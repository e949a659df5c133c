package simtenant

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// recurrence is a rule of an iCalendar by which an event comes again.
type recurrence struct {
	freq       string // DAILY, WEEKLY, MONTHLY or YEARLY
	interval   int
	count      int       // 0: without end, or to until
	until      time.Time // zero: none
	byDay      []nthDay
	byMonthDay []int
	byMonth    []int
	bySetPos   []int
	weekStart  time.Weekday
}

// nthDay is a day of the week; n says which of the month's, from its end if it is
// less than nothing, or each if it is 0.
type nthDay struct {
	n   int
	day time.Weekday
}

var dayLetters = []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

// parseRule reads a rule; what makes no sense is as if it were not there.
func parseRule(text string) (r recurrence, ok bool) {
	r = recurrence{interval: 1, weekStart: time.Monday}
	numbers := func(value string) (out []int) {
		for part := range strings.SplitSeq(value, ",") {
			if n, err := strconv.Atoi(part); err == nil && n != 0 && n > -400 && n < 400 {
				out = append(out, n)
			}
		}
		return out
	}
	count := func(value string, preset int) int {
		if n, err := strconv.Atoi(value); err == nil && n > 0 && n < 1_000_000 {
			return n
		}
		return preset
	}
	for part := range strings.SplitSeq(strings.ToUpper(text), ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "FREQ":
			r.freq = value
		case "INTERVAL":
			r.interval = count(value, 1)
		case "COUNT":
			r.count = count(value, 0)
		case "UNTIL":
			r.until = calendarTime("", value)
			if len(value) == 8 { // the whole day
				r.until = r.until.AddDate(0, 0, 1).Add(-time.Second)
			}
		case "BYDAY":
			for day := range strings.SplitSeq(value, ",") {
				if len(day) < 2 {
					continue
				}
				if i := slices.Index(dayLetters, day[len(day)-2:]); i >= 0 {
					n, _ := strconv.Atoi(day[:len(day)-2])
					r.byDay = append(r.byDay, nthDay{n, time.Weekday(i)})
				}
			}
		case "BYMONTHDAY":
			r.byMonthDay = numbers(value)
		case "BYMONTH":
			r.byMonth = numbers(value)
		case "BYSETPOS":
			r.bySetPos = numbers(value)
		case "WKST":
			if i := slices.Index(dayLetters, value); i >= 0 {
				r.weekStart = time.Weekday(i)
			}
		}
	}
	return r, slices.Contains([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}, r.freq)
}

// maxPeriods bounds how far a rule is followed that never comes to anything.
const maxPeriods = 40_000

// each calls fn with every time at which what starts at start comes, in order and in
// start's zone, until fn reports false or there is no more.
func (r recurrence) each(start time.Time, fn func(time.Time) bool) {
	n := 0
	for i := range maxPeriods {
		for _, at := range r.period(start, i*r.interval) {
			if at.Before(start) {
				continue
			}
			if !r.until.IsZero() && at.After(r.until) {
				return
			}
			if !fn(at) {
				return
			}
			if n++; n == r.count {
				return
			}
		}
	}
}

// period returns the times of the n-th day, week, month or year from start's.
func (r recurrence) period(start time.Time, n int) []time.Time {
	y, mo, d := start.Date()
	at := func(y int, mo time.Month, d int) time.Time {
		h, m, s := start.Clock()
		return time.Date(y, mo, d, h, m, s, 0, start.Location())
	}
	var list []time.Time
	switch r.freq {
	case "DAILY":
		list = []time.Time{at(y, mo, d+n)}
	case "WEEKLY":
		first := d - (int(start.Weekday())-int(r.weekStart)+7)%7 + 7*n
		for i := range 7 {
			if day := at(y, mo, first+i); r.onDay(day) || len(r.byDay) == 0 && day.Weekday() == start.Weekday() {
				list = append(list, day)
			}
		}
	case "MONTHLY":
		list = r.month(at(y, mo+time.Month(n), 1), d)
	case "YEARLY":
		months := r.byMonth
		if months == nil {
			months = []int{int(mo)}
		}
		for _, m := range slices.Sorted(slices.Values(months)) {
			list = append(list, r.month(at(y+n, time.Month(m), 1), d)...)
		}
	}
	list = slices.DeleteFunc(list, func(t time.Time) bool {
		return r.byMonth != nil && !slices.Contains(r.byMonth, int(t.Month())) || r.freq == "DAILY" && r.byDay != nil && !r.onDay(t)
	})
	if r.bySetPos == nil {
		return list
	}
	var chosen []time.Time
	for i, t := range list {
		if slices.Contains(r.bySetPos, i+1) || slices.Contains(r.bySetPos, i-len(list)) {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

func (r recurrence) onDay(t time.Time) bool {
	return slices.ContainsFunc(r.byDay, func(d nthDay) bool { return d.day == t.Weekday() })
}

// month returns the times in the month that begins with first; day is that of the
// first of all.
func (r recurrence) month(first time.Time, day int) (list []time.Time) {
	last := first.AddDate(0, 1, -1).Day()
	for d := 1; d <= last; d++ {
		h, m, s := first.Clock()
		t := time.Date(first.Year(), first.Month(), d, h, m, s, 0, first.Location())
		onDate := slices.Contains(r.byMonthDay, d) || slices.Contains(r.byMonthDay, d-last-1)
		onDay := slices.ContainsFunc(r.byDay, func(w nthDay) bool {
			return w.day == t.Weekday() && (w.n == 0 || w.n == (d-1)/7+1 || -w.n == (last-d)/7+1)
		})
		switch {
		case r.byMonthDay == nil && r.byDay == nil && d != day, r.byMonthDay != nil && !onDate, r.byDay != nil && !onDay:
			continue
		}
		list = append(list, t)
	}
	return list
}
