// Package budget shares out what a tenant's source may be asked for among all
// who ask it, in this process and in others.
//
// A source counts what an application asks in a tenant, in units, and refuses
// what is too much. So all processes that work for a tenant have one budget, a
// row of their database. A process takes from it what it needs for about a
// second, and gives it to its calls in the order of their purposes. What a process
// does not spend within seconds lapses, so nothing is lost with one that dies.
// Where the source asks to be left alone, the row says so too.
//
// Its promises, as long as the processes' clocks agree to within a second:
//
//   - All processes together spend no more in any minute and day than the limits
//     allow.
//   - Who wants to spend as much as is allowed comes to nine tenths of it at least.
//   - A call waits for calls of purposes that come before its own, and not for ever.
//   - A pause that one process is asked for is known to all within a second.
package budget

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// A Store holds the state of one tenant's budget, for all processes.
type Store interface {
	// UpdateBudget stores what change makes of the state, empty at first, with
	// nobody else changing it meanwhile. It may call change several times.
	UpdateBudget(ctx context.Context, t backup.TenantID, change func(state []byte) ([]byte, error)) error
	// Budget returns the state.
	Budget(ctx context.Context, t backup.TenantID) ([]byte, error)
}

// Config says whose budget it is, and how large.
type Config struct {
	Tenant backup.TenantID
	Limits func(context.Context) (Limits, error) // asked now and then; nil is none
	Store  Store                                 // nil is memory: nobody else asks the source
	Clock  backup.Clock                          // default: time.Now
	// Sleep waits; it ends early, with an error, with its context. For tests.
	Sleep func(context.Context, time.Duration) error
}

// A Budget is one process's part in a tenant's budget. It may be used by many
// goroutines.
type Budget struct {
	cfg  Config
	turn chan struct{} // held by who asks the store for all who wait

	mu       sync.Mutex
	limits   Limits    // as they are known
	stated   Limits    // as Config says
	asked    time.Time // when that was asked
	told     int       // what the source said of them, as far as it was seen
	waiting  queue
	units    int       // in hand; less than none if more was spent than known
	from     time.Time // since when they could be had; see Purpose.from
	until    time.Time // when they lapse
	paused   time.Time // until when the source wants to be left alone, as far as it was seen
	looked   time.Time // when the store's state was last seen
	given    time.Time // when it was last asked for units
	lately   float64   // units spent a second, before that
	since    int       // units spent since then
	untold   spending
	day      [purposes]time.Time // until when each purpose has used up its share of the day
	read     time.Time           // until when what may be read is given away
	written  time.Time
	sequence uint64
}

const (
	// patience is how long a call waits here at most.
	patience = 30 * time.Second
	// lookEvery is how long it may take until a pause of another process is seen.
	lookEvery = time.Second
	// limitsEvery is how often the limits are asked for.
	limitsEvery = 10 * time.Minute
	// A slice of units is for about a second, and lapses after two. One of no more
	// than a hundredth of a minute's is for a minute, so that a tenant of whom
	// little is asked costs little.
	sliceLife  = 2 * time.Second
	smallLife  = time.Minute
	smallPart  = 100
	smallLeast = 5
	// unlimitedSlice is a slice where there is no limit.
	unlimitedSlice = 1000
	// toldBytes is how many bytes are moved until that is told.
	toldBytes = 64 << 20
	// storeTries is how often a store that fails is asked.
	storeTries = 5
)

// New returns a budget. It asks nothing of the store until it is used.
func New(cfg Config) *Budget {
	if cfg.Store == nil {
		cfg.Store = &memory{}
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = backup.Sleep
	}
	return &Budget{cfg: cfg, turn: make(chan struct{}, 1)}
}

// memory is the store of who is alone.
type memory struct {
	mu    sync.Mutex
	state []byte
}

func (m *memory) UpdateBudget(_ context.Context, _ backup.TenantID, change func([]byte) ([]byte, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, err := change(m.state)
	if err == nil {
		m.state = state
	}
	return err
}

func (m *memory) Budget(context.Context, backup.TenantID) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

// Exhausted says that more was wanted than may be had within half a minute.
type Exhausted struct {
	What  string // "units of a day"
	Until time.Time
}

func (e *Exhausted) Error() string {
	return fmt.Sprintf("the tenant's %s are used up until %s", e.What, e.Until.UTC().Format("15:04"))
}

// A waiter is a call that waits for its units.
type waiter struct {
	asks     Purpose
	units    int
	due      time.Time // when those of the first purpose no longer go before it
	sequence uint64
	index    int           // in the queue; -1 once it has left that
	done     chan struct{} // closed when it has left it
	paused   time.Time     // then: until when the source wants to be left alone,
	err      error         // or why there are no units
}

type queue []*waiter

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].sequence < q[j].sequence
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *queue) Push(x any) {
	w := x.(*waiter)
	w.index = len(*q)
	*q = append(*q, w)
}
func (q *queue) Pop() any {
	old := *q
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*q, w.index = old[:len(old)-1], -1
	return w
}

// purpose is the purpose whose calls a waiter is like, for as long as it has
// waited.
func (w *waiter) purpose(now time.Time) Purpose {
	left := w.due.Sub(now)
	return Purpose(max(0, min((left+yields-1)/yields, time.Duration(purposes-1))))
}

// Take spends units, once they may be spent. Where the source wants to be left
// alone it returns at once until when, and spends nothing. What cannot be had
// within half a minute is *Exhausted.
func (b *Budget) Take(ctx context.Context, units int) (paused time.Time, err error) {
	b.mu.Lock()
	b.sequence++
	asks := purposeOf(ctx)
	w := &waiter{asks: asks, units: units, due: b.cfg.Clock().Add(time.Duration(asks) * yields), sequence: b.sequence, done: make(chan struct{})}
	heap.Push(&b.waiting, w)
	b.serve()
	b.mu.Unlock()
	for {
		select {
		case <-w.done:
			return w.paused, w.err
		default:
		}
		select {
		case <-w.done:
		case b.turn <- struct{}{}:
			err := b.refill(ctx)
			<-b.turn
			if err != nil && b.leave(w) {
				return time.Time{}, err
			}
		case <-ctx.Done():
			if b.leave(w) {
				return time.Time{}, context.Cause(ctx)
			}
		}
	}
}

// leave takes w out of the queue, and reports whether it was there still.
func (b *Budget) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.index < 0 {
		return false
	}
	heap.Remove(&b.waiting, w.index)
	return true
}

// serve gives those who wait what is in hand. The caller holds mu.
func (b *Budget) serve() {
	now := b.cfg.Clock()
	for len(b.waiting) > 0 {
		first := b.waiting[0]
		switch {
		case now.Before(b.paused):
			first.paused = b.paused
		case now.Before(b.day[first.asks]):
			first.err = &Exhausted{"units of a day", b.day[first.asks]}
		case first.units > b.units, !now.Before(b.until), now.Sub(b.looked) >= lookEvery, b.mayHave(now) > 0:
			return
		default:
			b.spend(first.units)
		}
		heap.Pop(&b.waiting)
		close(first.done)
	}
}

// mayHave returns how long it takes until the first of those who wait may have
// what is in hand: those of purposes that come before may come first.
func (b *Budget) mayHave(now time.Time) time.Duration {
	return b.waiting[0].purpose(now).from(b.from).Sub(now)
}

func (b *Budget) spend(units int) {
	b.units -= units
	b.since += units
	b.untold.units += units
}

// refill gets units for those who wait, or waits until there may be some.
func (b *Budget) refill(ctx context.Context) error {
	limits, err := b.known(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	now := b.cfg.Clock()
	if !now.Before(b.until) {
		b.units = min(b.units, 0) // what was in hand has lapsed
	}
	b.serve()
	if len(b.waiting) == 0 {
		b.mu.Unlock()
		return nil
	}
	if b.waiting[0].units <= b.units {
		wait := b.mayHave(now)
		b.mu.Unlock()
		if wait > 0 {
			return b.cfg.Sleep(ctx, wait)
		}
		return b.look(ctx)
	}
	purpose, want := b.waiting[0].purpose(now), b.wants(now, limits)
	b.mu.Unlock()

	var g grant
	if err := b.update(ctx, func(s *state, l Limits) { g = s.give(now, l, purpose, want) }); err != nil {
		return err
	}
	b.mu.Lock()
	switch {
	case !g.paused.IsZero(): // see update
	case g.wait > 0: // less than aheadMost
		b.mu.Unlock()
		return b.cfg.Sleep(ctx, g.wait)
	default:
		b.units, b.from = b.units+g.units, g.from
		b.until = b.cfg.Clock().Add(sliceLife)
		if b.units <= small(limits) {
			b.until = b.until.Add(smallLife - sliceLife)
		}
		if elapsed := now.Sub(b.given); elapsed > 0 {
			b.lately = float64(b.since) / max(elapsed.Seconds(), 0.1)
		}
		b.given, b.since = now, 0
	}
	b.serve()
	b.mu.Unlock()
	return nil
}

// small is how many units are little to hold.
func small(l Limits) int { return max(l.PerMinute/smallPart, smallLeast) }

// wants is how many units to ask for: what those want who wait, and what has been
// spent in a second lately, but no more than a second's worth.
func (b *Budget) wants(now time.Time, l Limits) int {
	waiting := 0
	for _, w := range b.waiting {
		waiting += w.units
	}
	most := unlimitedSlice
	if l.PerMinute > 0 {
		most = int(float64(l.PerMinute) * share / 60)
	}
	want := max(waiting, small(l))
	if now.Sub(b.given) < smallLife {
		want = max(want, int(b.lately))
	}
	return max(min(want, most), b.waiting[0].units) - b.units
}

// known returns the limits, which are asked for now and then.
func (b *Budget) known(ctx context.Context) (Limits, error) {
	b.mu.Lock()
	l, now := b.limits, b.cfg.Clock()
	fresh := b.cfg.Limits == nil || !b.asked.IsZero() && now.Sub(b.asked) < limitsEvery
	first := b.asked.IsZero()
	b.mu.Unlock()
	if fresh {
		return l, nil
	}
	l, err := b.cfg.Limits(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.stated = l
		if b.told == 0 {
			b.limits = l
		}
	case first:
		return l, fmt.Errorf("find the limits of the tenant's source: %w", err)
	}
	b.asked = now
	return b.limits, nil
}

// update changes the state, and tells it what was spent.
func (b *Budget) update(ctx context.Context, change func(*state, Limits)) error {
	b.mu.Lock()
	spent, stated := b.untold, b.stated
	b.untold = spending{}
	b.mu.Unlock()
	now := b.cfg.Clock()
	var s state
	var limits Limits
	var err error
	for try := range storeTries {
		err = b.cfg.Store.UpdateBudget(ctx, b.cfg.Tenant, func(was []byte) ([]byte, error) {
			s = read(was)
			limits = s.limits(now, stated)
			s.note(now, limits, spent)
			change(&s, limits)
			return s.bytes()
		})
		if err == nil || ctx.Err() != nil || b.cfg.Sleep(ctx, time.Second<<try) != nil {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.untold.units += spent.units
		b.untold.read += spent.read
		b.untold.written += spent.written
		return fmt.Errorf("share out the tenant's budget: %w", err)
	}
	b.looked, b.paused, b.limits, b.told = b.cfg.Clock(), s.paused(now), limits, s.told(now)
	for p := range purposes {
		b.day[p] = s.day(now, limits, p)
	}
	b.read, b.written = time.UnixMicro(s.Read), time.UnixMicro(s.Written)
	return nil
}

// look finds out whether another process was asked for a pause, before what is in
// hand is spent.
func (b *Budget) look(ctx context.Context) error {
	stored, err := b.cfg.Store.Budget(ctx, b.cfg.Tenant)
	if err != nil {
		return fmt.Errorf("look at the tenant's budget: %w", err)
	}
	s := read(stored)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looked = b.cfg.Clock()
	b.paused = s.paused(b.looked)
	b.serve()
	return nil
}

// Charge spends units that were not known to be needed before. Who comes next
// waits for them.
func (b *Budget) Charge(units int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spend(units)
}

// Pause has all calls of all processes wait until a time.
func (b *Budget) Pause(ctx context.Context, until time.Time) error {
	now := b.cfg.Clock()
	return b.update(ctx, func(s *state, _ Limits) { s.pause(now, until) })
}

// Told takes the source's word for how many units it allows in a minute, for an
// hour. It counts for more than Config's, unless that is fixed.
func (b *Budget) Told(ctx context.Context, perMinute int) error {
	b.mu.Lock()
	known := b.told == perMinute
	b.mu.Unlock()
	if known {
		return nil
	}
	now := b.cfg.Clock()
	return b.update(ctx, func(s *state, _ Limits) { s.Told, s.ToldAt = perMinute, now.UnixMicro() })
}

// Move counts bytes that were read and written. When an hour allows no more it
// waits, or is *Exhausted.
func (b *Budget) Move(ctx context.Context, read, written int64) error {
	b.mu.Lock()
	b.untold.read += read
	b.untold.written += written
	tell := b.untold.read+b.untold.written >= toldBytes
	b.mu.Unlock()
	if tell {
		if _, err := b.known(ctx); err != nil {
			return err
		}
		if err := b.update(ctx, func(*state, Limits) {}); err != nil {
			return err
		}
	}
	b.mu.Lock()
	now, until := b.cfg.Clock(), b.read
	if written > 0 {
		until = b.written
	}
	b.mu.Unlock()
	switch wait := until.Sub(now); {
	case wait <= 0:
		return nil
	case wait > patience:
		return &Exhausted{"bytes of an hour", until}
	default:
		return b.cfg.Sleep(ctx, wait)
	}
}
