package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

const (
	heatDays   = 30 // that the strip of what is promised shows
	growthDays = 90 // that the picture of sizes shows
	maxDays    = 3 * growthDays
)

// The answers of the API of how a tenant stands.
type (
	dayAnswer struct {
		Day, Workload                                             string
		MeasureCount, PromisedCount, MissedCount, ItemCount, Size int64
	}
	rpoAnswer struct {
		ProtectedUnitCount, MissedUnitCount int64
		LastDateTime                        time.Time
		Worst                               []struct {
			ProtectionUnitID string
			NewestDateTime   time.Time
			Promised         string
			IsMissed         bool
		}
	}
)

// A course is how a workload stood on the days up to today.
type course struct {
	Of          *client.Workload
	Heat        []heat   // the oldest first, one for each day
	Kept, Worst string   // in words
	Line, Area  string   // of the picture of sizes, as paths; "" for none
	Size, Grown string   // in words
	Days        []dayRow // what the pictures show, the newest first
}

// A heat is how what is promised was kept on a day.
type heat struct {
	X     int
	Level string
	Label string
}

type dayRow struct{ Day, Kept, Measured, Items, Size string }

// courses are those of the workloads that were measured.
func courses(days []dayAnswer, now time.Time) (all []course) {
	today := now.UTC().Truncate(24 * time.Hour)
	for _, w := range client.Workloads {
		byDay := map[time.Time]dayAnswer{}
		for _, d := range days {
			if day, err := time.Parse(time.DateOnly, d.Day); err == nil && d.Workload == string(w.Kind) {
				byDay[day] = d
			}
		}
		if len(byDay) > 0 {
			all = append(all, newCourse(w, byDay, today))
		}
	}
	return all
}

func newCourse(w *client.Workload, byDay map[time.Time]dayAnswer, today time.Time) course {
	c := course{Of: w}
	var promised, missed int64
	worst, least := "", 101.0
	for i := range heatDays {
		day := today.AddDate(0, 0, i+1-heatDays)
		d := byDay[day]
		promised, missed = promised+d.PromisedCount, missed+d.MissedCount
		kept := percent(d.PromisedCount-d.MissedCount, d.PromisedCount)
		c.Heat = append(c.Heat, heat{X: i, Level: keptLevel(d), Label: day.Format("2 Jan") + ": " + keptWords(d)})
		if d.PromisedCount > 0 && kept < least {
			least, worst = kept, day.Format("2 January")+", "+percentWords(kept)
		}
	}
	if c.Kept = "not measured yet"; promised > 0 {
		c.Kept = percentWords(percent(promised-missed, promised))
	}
	if missed > 0 {
		c.Worst = worst
	}
	var line []string
	var first, last dayAnswer
	most := int64(1)
	for _, d := range byDay {
		most = max(most, d.Size)
	}
	x0, x := 0, 0
	for i := range growthDays {
		day := today.AddDate(0, 0, i+1-growthDays)
		d, known := byDay[day]
		if !known {
			continue
		}
		if x = i * 4; len(line) == 0 {
			first, x0 = d, x
		}
		last = d
		line = append(line, fmt.Sprintf("%d %.1f", x, 58-54*float64(d.Size)/float64(most)))
		c.Days = append([]dayRow{{day.Format("2 January 2006"), keptWords(d), plural(d.MeasureCount, "time", "times"), backup.Number(d.ItemCount), size(strconv.FormatInt(d.Size, 10))}}, c.Days...)
	}
	if len(line) > 1 {
		c.Line = "M" + strings.Join(line, "L")
		c.Area = fmt.Sprintf("%sL%d 60L%d 60Z", c.Line, x, x0)
		c.Grown = grownWords(last.Size-first.Size) + " since " + first.Day
	}
	c.Size = size(strconv.FormatInt(last.Size, 10))
	return c
}

func grownWords(n int64) string {
	if n < 0 {
		return "−" + size(strconv.FormatInt(-n, 10))
	}
	return "+" + size(strconv.FormatInt(n, 10))
}

// percent is rounded down: no rounding makes all of what is not.
func percent(n, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return math.Floor(float64(max(n, 0))/float64(of)*10_000) / 100
}

func percentWords(p float64) string { return strconv.FormatFloat(p, 'f', -1, 64) + " %" }

func keptWords(d dayAnswer) string {
	switch {
	case d.MeasureCount == 0:
		return "not measured"
	case d.PromisedCount == 0:
		return "nothing was promised"
	}
	return percentWords(percent(d.PromisedCount-d.MissedCount, d.PromisedCount)) + " in time"
}

func keptLevel(d dayAnswer) string {
	kept := percent(d.PromisedCount-d.MissedCount, d.PromisedCount)
	switch {
	case d.PromisedCount == 0:
		return "level0"
	case kept == 100:
		return "good"
	case kept >= 99:
		return "level2"
	case kept >= 95:
		return "warn"
	}
	return "bad"
}

// lateNeeds is what units want whose newest points are older than promised.
func (v *visit) lateNeeds(r rpoAnswer) []need {
	if r.MissedUnitCount == 0 {
		return nil
	}
	n := need{Level: "bad", What: plural(r.MissedUnitCount, "unit has", "units have") + " a newest restore point that is older than promised.",
		Do: "Its page says what keeps it, if anything does. Where nothing does, the server may have been away, or the source may ask to be left alone.", Link: "/console/units", Label: "Units"}
	if len(r.Worst) > 0 && r.Worst[0].IsMissed {
		worst := r.Worst[0]
		if u, err := get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+worst.ProtectionUnitID); err == nil {
			n.What += " The worst is " + u.Called() + ", of " + ago(v.cfg.Clock(), worst.NewestDateTime) + " and promised " + period(worst.Promised) + "."
			n.Link, n.Label = "/console/units/"+u.ID, "Open the worst"
		}
	}
	return []need{n}
}
