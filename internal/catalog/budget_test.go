package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

func TestABudgetIsChangedByOneAtATime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		c := newWorld(t, db, 0).Catalog
		if state := must[[]byte](t)(c.Budget(t.Context(), contoso)); len(state) != 0 {
			t.Errorf("the budget of nobody is %q", state)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					if err := c.UpdateBudget(t.Context(), contoso, func(was []byte) ([]byte, error) { return append(was, 'x'), nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		ok(t, c.UpdateBudget(t.Context(), fabrikam, func(was []byte) ([]byte, error) { return []byte("other"), nil }))
		no := errors.New("no")
		fails(t, "UpdateBudget", c.UpdateBudget(t.Context(), fabrikam, func(was []byte) ([]byte, error) { return []byte("changed"), no }), no)
		states := must[map[backup.TenantID][]byte](t)(c.Budgets(t.Context()))
		if len(states[contoso]) != 40 || string(states[fabrikam]) != "other" || len(states) != 2 {
			t.Errorf("budgets are %q", states)
		}
		if state := must[[]byte](t)(c.Budget(t.Context(), contoso)); len(state) != 40 {
			t.Errorf("the budget is %q", state)
		}
	})
}

// outside is a store whose work is done outside of the bubble of time in which it
// is asked for: the time of the bubble stands still meanwhile.
type outside struct {
	store budget.Store
	mu    sync.Mutex
	work  chan func()
	done  chan bool
}

func newOutside(t *testing.T, store budget.Store) *outside {
	o := &outside{store: store, work: make(chan func()), done: make(chan bool)}
	go func() {
		for do := range o.work {
			do()
			o.done <- true
		}
	}()
	t.Cleanup(func() { close(o.work) })
	return o
}

func (o *outside) UpdateBudget(_ context.Context, t backup.TenantID, change func([]byte) ([]byte, error)) error {
	return o.do(func(ctx context.Context) error { return o.store.UpdateBudget(ctx, t, change) })
}

func (o *outside) Budget(_ context.Context, t backup.TenantID) (state []byte, err error) {
	err = o.do(func(ctx context.Context) error {
		state, err = o.store.Budget(ctx, t)
		return err
	})
	return state, err
}

func (o *outside) do(what func(context.Context) error) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.work <- func() { err = what(context.Background()) }
	<-o.done
	return err
}

// wire brings requests to a handler of this process, in some time.
type wire struct {
	handler http.Handler
	took    time.Duration
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.Host, in.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "127.0.0.1:1"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	time.Sleep(w.took)
	w.handler.ServeHTTP(rec, in)
	return rec.Result(), nil
}

// Against a tenant that refuses what Microsoft's limits do not allow, one process
// or two come to nine tenths of what is allowed, and next to nothing is refused. The
// one knows the limits only by what the tenant says.
func TestProcessesKeepToMicrosoftsLimitsTogether(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			processes := map[database.Dialect]int{database.SQLite: 1, database.Postgres: 2}[d]
			var stores []budget.Store
			url := dbtest.URL(t, d)
			for range processes {
				db, err := database.Open(t.Context(), url)
				ok(t, err)
				t.Cleanup(func() { db.Close() })
				stores = append(stores, newOutside(t, newWorld(t, db, 0).Catalog))
			}
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { keepToTheLimits(t, dir, stores) })
		})
	}
}

func keepToTheLimits(t *testing.T, dir string, stores []budget.Store) {
	const licences, minutes = 500, 2
	allowed := budget.ForLicences(licences).PerMinute
	app := simtenant.App{AppID: "30000000-0000-4000-8000-000000000001", Secret: "for tests only", DisplayName: "Holdfast", Roles: []string{"Files.ReadWrite.All", "User.Read.All"}}
	user := simtenant.User{ID: "20000000-0000-4000-8000-000000000001", UserPrincipalName: "ann@example.com", Mail: "ann@example.com", DisplayName: "Ann"}
	faults := new(simtenant.Faults)
	faults.Set(func(o *simtenant.Options) { o.Limits.Licences = licences })
	sim, err := simtenant.New(simtenant.Config{State: dir + "/state", Drives: dir + "/drives", Faults: faults,
		Tenants: []simtenant.Tenant{{ID: contoso, DisplayName: "Example", Domain: "example.com", Users: []simtenant.User{user}, Apps: []simtenant.App{app}}}})
	ok(t, err)
	defer sim.Close()
	ok(t, os.WriteFile(filepath.Join(dir, "drives", "ann@example.com", "a.txt"), []byte("hello"), 0o600))

	var limits func(context.Context) (budget.Limits, error)
	if len(stores) > 1 {
		limits = func(context.Context) (budget.Limits, error) { return budget.ForLicences(licences), nil }
	}
	var mu sync.Mutex
	answers, refused, units := 0, 0, 0
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		sim.Handler().ServeHTTP(rec, r)
		mu.Lock()
		defer mu.Unlock()
		if answers++; rec.Code == http.StatusTooManyRequests {
			refused++
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	})
	// From the middle of one of the source's minutes on.
	time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(90 * time.Second)))
	end := time.Now().Add(minutes * time.Minute)
	var wg sync.WaitGroup
	for i, store := range stores {
		client := drive.New(drive.Config{
			Graph: "http://sim.example/v1.0", Authority: "http://sim.example", Tenant: contoso, ClientID: app.AppID, Credential: drive.Secret(app.Secret),
			HTTP:   &http.Client{Transport: wire{count, time.Duration(50+30*i) * time.Millisecond}},
			Budget: budget.New(budget.Config{Tenant: contoso, Store: store, Limits: limits}),
		})
		for n := range 16 {
			wg.Go(func() {
				d, err := client.UserDrive(t.Context(), user.ID)
				for err == nil && time.Now().Before(end) {
					cost := 1
					if n%4 > 0 {
						_, err = client.Root(t.Context(), d.ID)
					} else {
						cost = 2
						for _, err = range client.Children(t.Context(), d.ID, "root") {
						}
					}
					mu.Lock()
					units += cost
					mu.Unlock()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if units < allowed*minutes*9/10 {
		t.Errorf("%d units in %d minutes, want nine tenths of %d at least", units, minutes, allowed*minutes)
	}
	if refused*100 >= answers {
		t.Errorf("%d of %d calls were refused", refused, answers)
	}
	stored, err := stores[0].Budget(t.Context(), contoso)
	ok(t, err)
	use := budget.UsageOf(stored, time.Now())
	if all := int64(units); use.Day < all*95/100 || use.Day > all+100 || use.PerMinute != allowed {
		t.Errorf("it is told that %+v, of %d units", use, units)
	}
}

func TestProtectedUnitsAreCountedUpToALimit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		for i := range 3 {
			if n := must[int](t)(w.ProtectedUnits(t.Context(), contoso, 10)); n != i {
				t.Errorf("%d units are protected, want %d", n, i)
			}
			w.protect(backup.SubjectID(fmt.Sprintf("20000000-0000-4000-8000-%012d", i)))
		}
		w.policy("not in force", "20000000-0000-4000-8000-000000000009")
		if n := must[int](t)(w.ProtectedUnits(t.Context(), contoso, 2)); n != 2 {
			t.Errorf("counted to %d, want no further than 2", n)
		}
		if n := must[int](t)(w.ProtectedUnits(t.Context(), fabrikam, 2)); n != 0 {
			t.Errorf("%d units of another tenant", n)
		}
	})
}
