package budget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/backup"
)

// A meter is a source that counts what it is asked.
type meter struct {
	mu    sync.Mutex
	spent map[int64]int // units, by tenths of a second
	by    map[string]int
}

func (m *meter) ask(who string, units int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spent == nil {
		m.spent, m.by = map[int64]int{}, map[string]int{}
	}
	m.spent[time.Now().UnixMilli()/100] += units
	m.by[who] += units
}

// most returns the largest sum of any minute, and all.
func (m *meter) most() (minute, all int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range m.spent {
		sum := 0
		for i := range int64(600) {
			sum += m.spent[at+i]
		}
		minute = max(minute, sum)
		all += m.spent[at]
	}
	return minute, all
}

func (m *meter) of(who string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[who]
}

// ask has workers of a process ask the source as fast as they may, for a while.
func ask(t *testing.T, wg *sync.WaitGroup, m *meter, who string, b *Budget, p Purpose, workers int, until time.Time) {
	ctx := For(t.Context(), p)
	for i := range workers {
		wg.Go(func() {
			for n := i; time.Now().Before(until); n++ {
				paused, err := b.Take(ctx, 1+n%2)
				switch {
				case err != nil:
					t.Errorf("Take = %v", err)
					return
				case !paused.IsZero():
					time.Sleep(time.Until(paused))
					continue
				}
				m.ask(who, 1+n%2)
				time.Sleep(time.Duration(20+n*37%150) * time.Millisecond)
			}
		})
	}
}

func limited(l Limits) func(context.Context) (Limits, error) {
	return func(context.Context) (Limits, error) { return l, nil }
}

func TestAllProcessesTogetherSpendWhatIsAllowed(t *testing.T) {
	for _, processes := range []int{1, 2, 5} {
		for _, perMinute := range []int{120, 1250, 6250} {
			t.Run(fmt.Sprint(processes, " processes, ", perMinute, " a minute"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const minutes = 5
					var m meter
					var wg sync.WaitGroup
					store := &memory{}
					for range processes {
						b := New(Config{Store: store, Limits: limited(PerMinute(perMinute))})
						ask(t, &wg, &m, "", b, Changes, 32, time.Now().Add(minutes*time.Minute))
					}
					wg.Wait()
					most, all := m.most()
					if most > perMinute {
						t.Errorf("%d units in a minute, of %d", most, perMinute)
					}
					if all < perMinute*minutes*9/10 {
						t.Errorf("%d units in %d minutes, want 9 tenths of %d", all, minutes, perMinute*minutes)
					}
				})
			})
		}
	}
}

func TestPurposesComeInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		var wg sync.WaitGroup
		store := &memory{}
		one := New(Config{Store: store, Limits: limited(PerMinute(1250))})
		other := New(Config{Store: store, Limits: limited(PerMinute(1250))})
		began := time.Now()
		end := began.Add(10 * time.Minute)
		ask(t, &wg, &m, "reading again", one, Verification, 8, end)
		ask(t, &wg, &m, "reading again", other, Verification, 8, end)
		ask(t, &wg, &m, "first backups", one, FirstBackups, 8, end)
		time.Sleep(5 * time.Minute)
		first, again := m.of("first backups"), m.of("reading again")
		if first < 10*again || again == 0 {
			t.Errorf("%d units for first backups and %d for reading again", first, again)
		}
		ask(t, &wg, &m, "restore", other, Restores, 32, end)
		wg.Wait()
		if n := m.of("restore"); n < 5*1250*8/10 {
			t.Errorf("%d units for a restore, of %d", n, 5*1250)
		}
		if m.of("first backups") == first || m.of("reading again") == again {
			t.Error("somebody got nothing in five minutes")
		}
		if most, _ := m.most(); most > 1250 {
			t.Errorf("%d units in a minute", most)
		}
	})
}

func TestAPauseIsKnownToAllProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		one, other := New(Config{Store: store, Limits: limited(PerMinute(1250))}), New(Config{Store: store})
		for _, b := range []*Budget{one, other} {
			if paused, err := b.Take(t.Context(), 1); err != nil || !paused.IsZero() {
				t.Fatalf("Take = %v, %v", paused, err)
			}
		}
		until := time.Now().Add(10 * time.Minute)
		if err := one.Pause(t.Context(), until); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		for _, b := range []*Budget{one, other} {
			if paused, err := b.Take(t.Context(), 1); err != nil || !paused.Equal(until) {
				t.Errorf("Take during the pause = %v, %v, want %v", paused, err, until)
			}
		}
		if err := other.Pause(t.Context(), time.Now().Add(time.Minute)); err != nil { // which ends earlier
			t.Fatal(err)
		}
		if paused, _ := one.Take(t.Context(), 1); !paused.Equal(until) {
			t.Errorf("a shorter pause ends the longer one: %v", paused)
		}
		time.Sleep(10 * time.Minute)
		for _, b := range []*Budget{one, other} {
			if paused, err := b.Take(t.Context(), 1); err != nil || !paused.IsZero() {
				t.Errorf("Take after the pause = %v, %v", paused, err)
			}
		}
	})
}

func TestWhatADeadProcessHeldLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		var wg sync.WaitGroup
		store := &memory{}
		for range 3 { // each takes some units, and is heard of no more
			if _, err := New(Config{Store: store, Limits: limited(PerMinute(1250))}).Take(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		ask(t, &wg, &m, "", New(Config{Store: store, Limits: limited(PerMinute(1250))}), Changes, 32, time.Now().Add(time.Minute))
		wg.Wait()
		if _, all := m.most(); all < 1250*9/10-3*small(PerMinute(1250)) {
			t.Errorf("%d units in the next minute", all)
		}
	})
}

func TestADayIsNotUsedUpByWhoComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{PerMinute: 6000, PerDay: 20_000}
		b := New(Config{Limits: limited(limits)})
		spend := func(p Purpose) (n int, err error) {
			for ; err == nil; n++ {
				_, err = b.Take(For(t.Context(), p), 1)
				if n > 30_000 {
					t.Fatal("the day does not end")
				}
			}
			return n, err
		}
		before := 0
		for p := purposes - 1; p >= 0; p-- {
			n, err := spend(p)
			e, ok := errors.AsType[*Exhausted](err)
			if !ok || time.Until(e.Until) < 20*time.Hour || n < 200 {
				t.Errorf("purpose %d: %d units, then %v", p, n, err)
			}
			before += n
		}
		if before > 20_000 || before < 18_000 {
			t.Errorf("%d units in a day", before)
		}
		time.Sleep(26 * time.Hour)
		if _, err := b.Take(For(t.Context(), Verification), 1); err != nil {
			t.Errorf("the next day: %v", err)
		}
	})
}

func TestBytesOfAnHourAreNotExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		limits := limited(Limits{ReadPerHour: 400 << 30, WritePerHour: 400 << 30})
		one, other := New(Config{Store: store, Limits: limits}), New(Config{Store: store, Limits: limits})
		var mu sync.Mutex
		var wg sync.WaitGroup
		total := int64(0)
		end := time.Now().Add(time.Hour)
		for _, b := range []*Budget{one, other} {
			wg.Go(func() {
				for time.Now().Before(end) {
					const part = 8 << 20
					if err := b.Move(t.Context(), part, 0); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					total += part
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if total > 400<<30 || total < 360<<30 {
			t.Errorf("%d GiB read in an hour", total>>30)
		}
		before := time.Now()
		if err := one.Move(t.Context(), 0, 100<<20); err != nil || time.Since(before) > 0 {
			t.Errorf("what is written waited %v for what was read: %v", time.Since(before), err)
		}
	})
}

func TestAStateThatCannotBeIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := time.Now().Add(1000 * time.Hour).UnixMicro()
		for _, was := range []string{
			"", "nonsense", "null", "[]", `{"day":{"at":-5,"parts":[1,2,3]}}`, `{"day":{"at":9223372036854775807,"parts":null}}`,
			fmt.Sprintf(`{"given":%d,"paused":%d,"read":%d,"written":%d}`, far, far, far, far),
		} {
			b := New(Config{Store: &memory{state: []byte(was)}, Limits: limited(PerMinute(1250))})
			before := time.Now()
			if paused, err := b.Take(t.Context(), 5); err != nil || !paused.IsZero() {
				t.Errorf("%s: Take = %v, %v", was, paused, err)
			}
			if err := b.Move(t.Context(), 100<<20, 100<<20); err != nil {
				t.Errorf("%s: Move = %v", was, err)
			}
			if waited := time.Since(before); waited > time.Second {
				t.Errorf("%s: waited %v", was, waited)
			}
		}
	})
}

func TestAWaitForUnitsEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Limits: limited(PerMinute(60))})
		for range 5 {
			if _, err := b.Take(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		why := errors.New("the job was taken away")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		if _, err := b.Take(ctx, 5); !errors.Is(err, why) {
			t.Errorf("Take = %v, want the cause", err)
		}
		if _, err := b.Take(t.Context(), 1); err != nil {
			t.Errorf("the next: %v", err)
		}
	})
}

// failing is a store that is not there for a while.
type failing struct {
	memory
	times int
}

func (f *failing) UpdateBudget(ctx context.Context, t backup.TenantID, change func([]byte) ([]byte, error)) error {
	if f.times--; f.times >= 0 {
		return errors.New("the database is away")
	}
	return f.memory.UpdateBudget(ctx, t, change)
}

func TestAStoreThatIsAwayForAMomentIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Store: &failing{times: 3}, Limits: limited(PerMinute(1250))})
		if _, err := b.Take(t.Context(), 1); err != nil {
			t.Errorf("Take = %v", err)
		}
		b = New(Config{Store: &failing{times: 100}, Limits: limited(PerMinute(1250))})
		if _, err := b.Take(t.Context(), 1); err == nil {
			t.Error("units without a store")
		}
	})
}

func TestTheSourcesWordOnItsLimitCounts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits Limits
		told   int
		want   int
	}{
		{"none was known", Limits{}, 2500, 2500},
		{"more than was known", PerMinute(1250), 2500, 2500},
		{"less than was known", PerMinute(1250), 600, 600},
		{"more than may be asked", Limits{PerMinute: 1250, Fixed: true}, 2500, 1250},
		{"less than may be asked", Limits{PerMinute: 1250, Fixed: true}, 600, 600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &memory{}
				one, other := New(Config{Store: store, Limits: limited(tt.limits)}), New(Config{Store: store, Limits: limited(tt.limits)})
				if _, err := one.Take(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				if err := one.Told(t.Context(), tt.told); err != nil {
					t.Fatal(err)
				}
				spent := func() (n int) {
					time.Sleep(3 * time.Second) // until what is in hand has lapsed
					for end := time.Now().Add(time.Minute); time.Now().Before(end); n += 5 {
						if _, err := other.Take(t.Context(), 5); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Millisecond)
					}
					return n
				}
				if n := spent(); n < tt.want*9/10 || n > tt.want {
					t.Errorf("%d units in a minute, want %d", n, tt.want)
				}
				time.Sleep(toldLife)
				if n := spent(); tt.limits.PerMinute > 0 && (n < tt.limits.PerMinute*9/10 || n > tt.limits.PerMinute) || tt.limits.PerMinute == 0 && n < 10*tt.told {
					t.Errorf("%d units in a minute an hour later", n)
				}
			})
		})
	}
}

func TestTiersOfMicrosoft(t *testing.T) {
	for _, tt := range []struct{ licences, minute, day int }{
		{0, 1250, 1_200_000}, {1000, 1250, 1_200_000}, {1001, 2500, 2_400_000}, {15_000, 3750, 3_600_000},
		{50_000, 5000, 4_800_000}, {MostLicences, 6250, 6_000_000}, {1_000_000, 6250, 6_000_000},
	} {
		if l := ForLicences(tt.licences); l.PerMinute != tt.minute || l.PerDay != tt.day {
			t.Errorf("ForLicences(%d) = %+v", tt.licences, l)
		}
	}
}
