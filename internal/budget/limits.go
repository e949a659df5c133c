package budget

import (
	"context"
	"time"
)

// Limits are what a source allows one application in one tenant. A limit of zero
// is none.
type Limits struct {
	PerMinute    int   // resource units
	PerDay       int   // resource units
	ReadPerHour  int64 // bytes
	WritePerHour int64 // bytes
	// Fixed says that no more is to be asked, even if the source says that it
	// allows more.
	Fixed bool
}

// Microsoft's limits grow with the licences that a tenant has bought.
var tiers = []struct{ licences, perMinute int }{
	{1_000, 1250}, {5_000, 2500}, {15_000, 3750}, {50_000, 5000},
}

const (
	topTier = 6250
	// daily is how many minutes' worth a day allows.
	daily = 960
	// hourly is how many bytes an hour allows, in each direction.
	hourly = 400 << 30
)

// ForLicences returns what Microsoft allows in a tenant of so many licences.
func ForLicences(n int) Limits {
	for _, t := range tiers {
		if n <= t.licences {
			return PerMinute(t.perMinute)
		}
	}
	return PerMinute(topTier)
}

// MostLicences is the number of licences from which on a tenant is allowed no more.
const MostLicences = 50_001

// PerMinute returns limits of so many units a minute, and of all else what goes
// with them.
func PerMinute(units int) Limits {
	return Limits{PerMinute: units, PerDay: units * daily, ReadPerHour: hourly, WritePerHour: hourly}
}

// A Purpose is what the source is asked for. Where not all can be had, the first
// of them comes first.
type Purpose int

const (
	Restores       Purpose = iota
	Changes                // of drives that are backed up already
	FirstBackups           //
	Reconciliation         // listing all of a drive to find what its deltas left out
	Verification           // reading again what is held
	purposes
)

type purposeKey struct{}

// For returns a context whose calls are for a purpose. What says nothing else is
// for Changes.
func For(ctx context.Context, p Purpose) context.Context {
	return context.WithValue(ctx, purposeKey{}, p)
}

func purposeOf(ctx context.Context) Purpose {
	if p, ok := ctx.Value(purposeKey{}).(Purpose); ok {
		return p
	}
	return Changes
}

const (
	// yields is how much longer the calls of each purpose let themselves be
	// overtaken than those of the purpose before. So none waits for ever.
	yields = 30 * time.Second
	// leaves is for how much longer the calls of each purpose leave what may be
	// spent to those of the purposes before, in this process or another.
	leaves = 100 * time.Millisecond
	// share is how much of the limits is used: what is given is not always spent
	// in the minute in which it was given.
	share = 0.93
)

// from returns since when calls for p may have what the first of purposes could
// have since t.
func (p Purpose) from(t time.Time) time.Time { return t.Add(time.Duration(p) * leaves) }

// dayShare is how much of a day's units a purpose may use up: who comes last
// leaves something for those that come first.
func (p Purpose) dayShare() float64 { return [purposes]float64{0.98, 0.95, 0.92, 0.85, 0.80}[p] }
