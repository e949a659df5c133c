package alert

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// A Report is how a tenant stands at the end of a week.
type Report struct {
	From      time.Time `json:"fromDateTime"`
	To        time.Time `json:"toDateTime"`
	Protected int64     `json:"protectedUnits"`
	Others    int64     `json:"unitsNotProtected"` // that are in a policy
	Failing   int64     `json:"failingUnits"`
	Missed    int64     `json:"rpoMissedUnits"`
	Damage    int64     `json:"openDamage"`
	Bytes     int64     `json:"protectedBytes"`
	Before    int64     `json:"protectedBytesBefore"` // -1 if that is not known
	Alerts    []Entry   `json:"alerts,omitempty"`
}

func reportOf(w catalog.Week, times catalog.AlertTimes) *Report {
	r := &Report{From: w.From.UTC(), To: w.To.UTC(), Protected: w.Protected, Others: w.Others, Failing: w.Failing, Missed: w.Missed, Damage: w.Damage, Bytes: w.Bytes, Before: w.Before}
	for _, a := range w.Alerts {
		e := EntryOf(catalog.AlertNews{Alert: a}, times)
		e.Examples = nil
		r.Alerts = append(r.Alerts, e)
	}
	return r
}

// Headline is the report in one line.
func (r *Report) Headline() string {
	many := func(n int64, one, more string) string {
		if n == 1 {
			return "The week: 1 " + one
		}
		return fmt.Sprintf("The week: %d %s", n, more)
	}
	// What began just now has no alert yet.
	switch open := int64(r.open()); {
	case open > 0:
		return many(open, "thing needs a person", "things need a person")
	case r.Damage > 0:
		return many(r.Damage, "damage in the vault", "damages in the vault")
	case r.Failing > 0:
		return many(r.Failing, "unit is failing", "units are failing")
	case r.Missed > 0:
		return many(r.Missed, "unit has no restore point as new as promised", "units have no restore point as new as promised")
	}
	return "The week: all is well"
}

func (r *Report) open() (n int) {
	for _, e := range r.Alerts {
		if e.Resolved.IsZero() {
			n++
		}
	}
	return n
}

// A Fact is a line of a report.
type Fact struct{ Title, Value string }

// Facts are the report's numbers.
func (r *Report) Facts() []Fact {
	kept := "100 %"
	if r.Missed > 0 { // no rounding makes all of what is not
		kept = fmt.Sprintf("%.2f %%", math.Floor(float64(max(r.Protected-r.Missed, 0))/float64(max(r.Protected, 1))*10_000)/100)
	}
	facts := []Fact{
		{"Units protected", backup.Number(r.Protected)}, {"Units not protected yet, or no more", backup.Number(r.Others)}, {"Units failing", backup.Number(r.Failing)},
		{"As new as promised", kept}, {"Damage in the vault", backup.Number(r.Damage)}, {"In the newest restore points", size(r.Bytes)},
	}
	if r.Before >= 0 {
		sign := "+"
		if r.Bytes < r.Before {
			sign = "-"
		}
		facts = append(facts, Fact{"Since the last report", sign + size(max(r.Bytes-r.Before, r.Before-r.Bytes))})
	}
	return facts
}

// size is a number of bytes for people.
func size(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// Alt says what the picture shows.
func (r *Report) Alt() string {
	return fmt.Sprintf("%s units protected, %s failing, %s not protected; an alert stood in %d of 28 quarters of the week's days", backup.Number(r.Protected), backup.Number(r.Failing), backup.Number(r.Others), r.stood())
}

// quarters of the week's days, in which alerts stood or not.
const quarters = 28

func (r *Report) stoodIn(i int) bool {
	from := r.From.Add(time.Duration(i) * 6 * time.Hour)
	to := from.Add(6 * time.Hour)
	for _, e := range r.Alerts {
		if e.Raised.Before(to) && (e.Resolved.IsZero() || e.Resolved.After(from)) {
			return true
		}
	}
	return false
}

func (r *Report) stood() (n int) {
	for i := range quarters {
		if r.stoodIn(i) {
			n++
		}
	}
	return n
}

// What the picture is drawn in; told apart without colours by their lightness.
var (
	good  = color.RGBA{0x7c, 0xc4, 0x8a, 0xff}
	bad   = color.RGBA{0xb3, 0x26, 0x1e, 0xff}
	other = color.RGBA{0xd0, 0xd0, 0xd0, 0xff}
)

// picture draws the units, and the week below them, as a PNG: mail shows no SVG.
func (r *Report) picture() ([]byte, error) {
	const width, height = 560, 60
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	fill := func(x0, y0, x1, y1 int, c color.Color) {
		draw.Draw(img, image.Rect(x0, y0, x1, y1), image.NewUniform(c), image.Point{}, draw.Src)
	}
	fill(0, 0, width, 24, other)
	if all := r.Protected + r.Others; all > 0 {
		failing := min(r.Failing, all)
		well := max(min(r.Protected, all-failing), 0)
		x := int(well * width / all)
		y := x + int(failing*width/all)
		if failing > 0 {
			y = max(y, x+2) // one of a million is seen
		}
		fill(0, 0, x, 24, good)
		fill(x, 0, min(y, width), 24, bad)
	}
	for i := range quarters {
		c := good
		if r.stoodIn(i) {
			c = bad
		}
		fill(i*width/quarters, 32, (i+1)*width/quarters-2, height, c)
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}
