package catalog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	contoso  = backup.TenantID("11111111-1111-4111-8111-111111111111")
	fabrikam = backup.TenantID("22222222-2222-4222-8222-222222222222")
)

// A world is a catalog on a database of its own, with a clock that the test
// moves.
type world struct {
	*catalog.Catalog
	t     testing.TB
	db    *database.DB
	queue *jobs.Queue

	mu   sync.Mutex
	now  time.Time
	tick func() // called whenever the catalog asks for the time
}

func newWorld(t testing.TB, db *database.DB, maxActive int) *world {
	w := &world{t: t, db: db, now: time.Date(2026, 11, 18, 9, 0, 0, 0, time.UTC)} // a Wednesday
	w.queue = jobs.New(db, w.clock)
	w.Catalog = catalog.New(db, w.queue, catalog.Config{Clock: w.clock, MaxActivePolicies: maxActive})
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tick != nil {
		w.tick()
	}
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// by is the stamp of somebody's request made now.
func (w *world) by() backup.Stamp {
	return backup.Stamp{At: w.clock(), By: backup.IdentitySet{Application: backup.Identity{ID: "app", DisplayName: "Tests"}}}
}

// each runs fn in a world on each database.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(t, newWorld(t, db, 0)) })
}

// must returns v, or ends the test.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// ok ends the test unless err is nil.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails reports err unless it is want.
func fails(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

func owner(n int) backup.SubjectID {
	return backup.SubjectID(fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", n))
}

// policy makes a policy with units for owners from and on.
func (w *world) policy(name string, owners ...backup.SubjectID) backup.Policy {
	w.t.Helper()
	return must[backup.Policy](w.t)(w.CreatePolicy(w.t.Context(), contoso, catalog.NewPolicy{
		Workload: backup.OneDrive, DisplayName: name, Units: owners, By: w.by()}))
}

// add brings owners into a policy and returns their units.
func (w *world) add(p backup.PolicyID, owners ...backup.SubjectID) []catalog.UnitResult {
	w.t.Helper()
	var changes []catalog.UnitChange
	for _, o := range owners {
		changes = append(changes, catalog.UnitChange{Add: o})
	}
	_, results, err := w.UpdatePolicy(w.t.Context(), contoso, p, catalog.PolicyPatch{Units: changes, By: w.by()})
	ok(w.t, err)
	return results
}

// units returns a policy's units by owner; "" for all of the tenant.
func (w *world) units(p backup.PolicyID) map[backup.SubjectID]backup.Unit {
	w.t.Helper()
	l := must[catalog.List[backup.Unit]](w.t)(w.Units(w.t.Context(), contoso, catalog.UnitQuery{Policy: p, Page: catalog.Page{Limit: 100_000}}))
	byOwner := map[backup.SubjectID]backup.Unit{}
	for _, u := range l.Items {
		if _, twice := byOwner[u.Subject]; twice {
			w.t.Errorf("owner %s has two units", u.Subject)
		}
		byOwner[u.Subject] = u
	}
	return byOwner
}

// claim takes all due jobs of a kind, by key, as a worker would.
func (w *world) claim(kind jobs.Kind) map[string]*jobs.Job {
	w.t.Helper()
	all := map[string]*jobs.Job{}
	for _, j := range must[[]*jobs.Job](w.t)(w.queue.Claim(w.t.Context(), kind, 100_000, time.Minute, "test")) {
		all[j.Key] = j
	}
	return all
}

// free gives back what claim took, as if the workers had been killed.
func (w *world) free() { ok(w.t, w.queue.Reclaim(w.t.Context())) }

// settle does the settle jobs that are due, as a worker would that is killed
// before it can say so: they are due again.
func (w *world) settle() {
	w.t.Helper()
	for _, j := range w.claim(jobs.Settle) {
		ok(w.t, w.SettlePolicy(w.t.Context(), j))
	}
	w.free()
}

// backUp makes a point of each unit that is due, and gives the jobs back.
func (w *world) backUp() map[backup.UnitID]backup.Point {
	w.t.Helper()
	points := map[backup.UnitID]backup.Point{}
	for key, j := range w.claim(jobs.Backup) {
		unit := backup.UnitID(key)
		_, s, err := w.UnitForBackup(w.t.Context(), j.Tenant, unit)
		ok(w.t, err)
		prev := s.Root
		s.Drive, s.Root, s.Tree = backup.DriveID("drive-"+key), backup.NewID[string](), w.clock().Format(time.RFC3339)
		points[unit] = must[backup.Point](w.t)(w.CommitPoint(w.t.Context(), j, catalog.Commit{
			Unit: unit, PrevRoot: prev, State: s, Point: backup.Point{At: w.clock(), Tree: s.Tree, Files: 3, Folders: 2, Bytes: 1}}))
	}
	w.free()
	return points
}

func status(t testing.TB, c *catalog.Catalog, id backup.PolicyID) backup.PolicyStatus {
	t.Helper()
	return must[backup.Policy](t)(c.Policy(t.Context(), contoso, id)).Status
}

// together runs fn n times at once and returns the errors.
func together(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}
