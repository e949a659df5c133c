package backup

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]Span{
		"P1Y": {Months: 12}, "P1Y6M": {Months: 18}, "P2W": {Days: 14}, "P1W3D": {Days: 10}, "P30D": {Days: 30},
		"PT10M": {Time: 10 * time.Minute}, "P1DT12H": {Days: 1, Time: 12 * time.Hour}, "PT1H30M5S": {Time: time.Hour + 30*time.Minute + 5*time.Second},
	} {
		if got, err := ParseSpan(text); err != nil || got != want {
			t.Errorf("ParseSpan(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		back, err := ParseSpan(want.String())
		if err != nil || back != want {
			t.Errorf("%q reads as %+v, %v, want %+v", want.String(), back, err, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "P1", "1Y", "P1S", "PT1D", "P-1D", "P1.5D", "P0D", "P1DT", "P1D1Y", "PT1M1H", "P1H", "p1d", "P 1D", "P9999999999999999999Y", "P1001Y", "PTT1M"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("ParseSpan(%q) = %+v", text, got)
		}
	}
}

func TestSpansBegin(t *testing.T) {
	at := time.Date(2026, 11, 21, 13, 47, 11, 0, time.UTC) // a Saturday
	for text, want := range map[string]string{
		"P1W": "2026-11-16T00:00:00Z", "P1D": "2026-11-21T00:00:00Z", "P1M": "2026-11-01T00:00:00Z", "P3M": "2026-10-01T00:00:00Z",
		"P1Y": "2026-01-01T00:00:00Z", "PT10M": "2026-11-21T13:40:00Z", "PT6H": "2026-11-21T12:00:00Z",
	} {
		s, err := ParseSpan(text)
		if got := s.begin(at).Format(time.RFC3339); err != nil || got != want {
			t.Errorf("the %s of %s began %s, %v, want %s", text, at, got, err, want)
		}
	}
}

func TestRetention(t *testing.T) {
	at := time.Date(2026, 11, 21, 13, 47, 11, 0, time.UTC)
	k, err := NewKeeping(Retention{Settings: []RetentionSetting{{"R/P1M", "P7Y"}, {"R/PT10M", "P2D"}, {"R/P1D", "P3M"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		first  []bool // of the day, of the month
		want   time.Time
		longer bool
	}{
		{[]bool{false, false}, at.AddDate(0, 0, 2), false}, {[]bool{true, false}, at.AddDate(0, 3, 0), true}, {[]bool{true, true}, at.AddDate(7, 0, 0), true},
	} {
		if got, longer := k.Expires(at, row.first); !got.Equal(row.want) || longer != row.longer {
			t.Errorf("first %v: until %s, %v, want %s", row.first, got, longer, row.want)
		}
	}
	if hold, _ := NewKeeping(Retention{LegalHold: true}); hold.Shown()[0] != (RetentionSetting{"R/PT10M", "P1000Y"}) {
		t.Errorf("a hold is shown as %v", hold.Shown())
	} else if got, _ := hold.Expires(at, []bool{false}); got != KeptForever {
		t.Errorf("under a hold: until %s", got)
	}
	for _, bad := range []RetentionSetting{{"PT10M", "P2W"}, {"R/", "P2W"}, {"R/PT10M", "2 weeks"}, {"R/PT0M", "P1W"}, {"R/PT10M", "P0W"}} {
		if _, err := NewKeeping(Retention{Settings: []RetentionSetting{bad}}); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	if _, err := NewKeeping(Retention{Settings: []RetentionSetting{{"R/P1W", "P2W"}, {"R/P7D", "P2W"}}}); err == nil {
		t.Error("one interval twice is accepted")
	}
}

// What covers shortens nothing: checked against points at random, first or not
// of their intervals as a drive's points make them.
func TestRetentionCovers(t *testing.T) {
	keep := func(hold bool, settings ...string) *Keeping {
		r := Retention{LegalHold: hold}
		for i := 0; i < len(settings); i += 2 {
			r.Settings = append(r.Settings, RetentionSetting{"R/" + settings[i], settings[i+1]})
		}
		k, err := NewKeeping(r)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, row := range []struct {
		old, new *Keeping
		want     bool
	}{
		{keep(false, "PT10M", "P2W"), keep(false, "PT10M", "P2W"), true},
		{keep(false, "PT10M", "P2W"), keep(false, "PT1H", "P2W"), true}, // the shortest interval keeps every point
		{keep(false, "PT10M", "P2W"), keep(false, "PT10M", "P1W", "P1D", "P1Y"), false},
		{keep(false, "PT10M", "P2W", "P1W", "P1Y"), keep(false, "PT10M", "P2W"), false},
		{keep(false, "PT10M", "P2W"), keep(false, "PT10M", "P2W", "P1W", "P1Y"), true},
		{keep(false, "PT10M", "P2W", "P1W", "P1Y"), keep(false, "PT10M", "P2W", "P1D", "P1Y"), true},
		{keep(false, "PT10M", "P2W", "P1W", "P1Y"), keep(false, "PT10M", "P2W", "P1M", "P1Y"), false},
		{keep(false, "PT10M", "P2W", "P1M", "P1Y"), keep(false, "PT10M", "P2W", "P1W", "P1Y"), false}, // no week begins with each month
		{keep(false, "PT10M", "P2W", "P1M", "P1Y"), keep(false, "PT10M", "P2W", "P1D", "P1Y"), true},
		{keep(false, "PT10M", "P2W", "P1Y", "P7Y"), keep(false, "PT10M", "P2W", "P1M", "P7Y"), true},
		{keep(false, "PT10M", "P2W", "P5M", "P7Y"), keep(false, "PT10M", "P2W", "P2M", "P7Y"), false},
		{keep(false, "PT10M", "P2W", "P1W", "P1Y"), keep(false, "PT10M", "P1Y"), true},
		{keep(false, "PT10M", "P2W", "P1W", "P1Y"), keep(false, "PT10M", "P365D"), false}, // a leap year is longer
		{keep(false, "PT10M", "P365D"), keep(false, "PT10M", "P1Y"), true},
		{keep(false, "PT10M", "P31D"), keep(false, "PT10M", "P1M"), false},
		{keep(false, "PT10M", "P1M"), keep(false, "PT10M", "P31D"), true},
		{keep(false, "PT10M", "P28D"), keep(false, "PT10M", "P1M"), true},
		{keep(false, "PT10M", "P1D"), keep(false, "PT10M", "PT24H"), true},
		{keep(false, "PT10M", "P2W", "PT6H", "P1M"), keep(false, "PT10M", "P2W", "PT2H", "P1M"), true},
		{keep(false, "PT10M", "P2W", "PT6H", "P1M"), keep(false, "PT10M", "P2W", "PT4H", "P1M"), false},
		{keep(false, "PT10M", "P2W", "P1D", "P1M"), keep(false, "PT10M", "P2W", "PT7H", "P1M"), false},
		{keep(false, "PT10M", "P2W", "P1D", "P1M"), keep(false, "PT10M", "P2W", "PT8H", "P1M"), true},
		{keep(false, "PT10M", "P2W"), keep(true, "PT10M", "P1D"), true},
		{keep(true, "PT10M", "P1D"), keep(false, "PT10M", "P999Y"), false},
		{keep(true, "PT10M", "P2W"), keep(true, "PT10M", "P1D"), true},
	} {
		if got := row.new.Covers(row.old); got != row.want {
			t.Errorf("%v in place of %v: covers = %v, want %v", row.new, row.old, got, row.want)
		}
		// Points of a drive, made whenever. What covers never ends one earlier;
		// what does not is found out by some.
		random, shorter := rand.New(rand.NewPCG(1, 2)), false
		at, before := time.Date(1999, 12, 1, 0, 0, 0, 0, time.UTC), time.Time{}
		for range 20_000 {
			at = at.Add(time.Duration(random.Int64N(int64(40 * time.Hour))))
			firsts := func(k *Keeping) (first []bool) {
				for _, begin := range k.Intervals(at) {
					first = append(first, before.Before(begin))
				}
				return first
			}
			oldEnd, _ := row.old.Expires(at, firsts(row.old))
			newEnd, _ := row.new.Expires(at, firsts(row.new))
			shorter = shorter || newEnd.Before(oldEnd)
			before = at
		}
		if shorter == row.want {
			t.Errorf("%v in place of %v: a point ends earlier: %v", row.new, row.old, shorter)
		}
	}
}
