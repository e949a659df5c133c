package catalog_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// runAt is a run of a unit's backup that ended at a time and found a tree.
func (w *world) runAt(u backup.UnitID, at time.Time, tree string) backup.Point {
	w.t.Helper()
	j := w.backupJob(u)
	_, s, err := w.UnitForBackup(w.t.Context(), contoso, u)
	ok(w.t, err)
	prev := s.Root
	s.Drive, s.Root, s.Tree = "d", "root of "+tree, tree
	return must[backup.Point](w.t)(w.CommitPoint(w.t.Context(), j, catalog.Commit{Unit: u, PrevRoot: prev, State: s,
		Point: backup.Point{ID: backup.NewID[backup.PointID](), At: at, Tree: tree, Files: 1}}))
}

// rows is how many rows there are of restore points.
func (w *world) rows() (n int) {
	w.t.Helper()
	ok(w.t, w.db.Read().QueryRowContext(w.t.Context(), `SELECT count(*) FROM restore_point`).Scan(&n))
	return n
}

// A pointModel is what a unit's points would be if each had a row.
type pointModel struct {
	now    func() time.Time
	points []backup.Point
	longer map[backup.PointID]bool
	keep   *backup.Keeping
}

func newModel(t testing.TB, w *world, settings []backup.RetentionSetting) *pointModel {
	return &pointModel{now: w.clock, longer: map[backup.PointID]bool{}, keep: must[*backup.Keeping](t)(backup.NewKeeping(backup.Retention{Settings: settings}))}
}

// add is a run that ended at a time.
func (m *pointModel) add(p backup.Point) {
	if slices.ContainsFunc(m.points, func(o backup.Point) bool { return o.ID == p.ID }) {
		return // a second one of the same moment
	}
	begins := m.keep.Intervals(p.At)
	first := make([]bool, len(begins))
	for i, begin := range begins {
		first[i] = !slices.ContainsFunc(m.points, func(o backup.Point) bool { return !o.At.Before(begin) && !o.At.After(p.At) })
	}
	p.Expires, m.longer[p.ID] = m.keep.Expires(p.At, first)
	p.Tags = backup.TagFastRestore
	for i := range m.points {
		if o := &m.points[i]; o.At.Truncate(aDay).Equal(p.At.Truncate(aDay)) && !m.longer[o.ID] {
			o.Tags = backup.TagNone
		}
	}
	m.points = append(m.points, p)
	slices.SortFunc(m.points, func(a, b backup.Point) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
}

// reapply has retention that keeps everything at least as long be in force.
func (m *pointModel) reapply(t testing.TB, settings []backup.RetentionSetting) {
	m.keep = must[*backup.Keeping](t)(backup.NewKeeping(backup.Retention{Settings: settings}))
	for n := range m.points {
		p := &m.points[n]
		begins := m.keep.Intervals(p.At)
		first := make([]bool, len(begins))
		for i := range begins {
			first[i] = n == 0 || m.points[n-1].At.Before(begins[i])
		}
		end, longer := m.keep.Expires(p.At, first)
		if !end.Before(p.Expires) {
			p.Expires, m.longer[p.ID] = end, longer
		} else {
			m.longer[p.ID] = m.longer[p.ID] || longer
		}
		if m.longer[p.ID] {
			p.Tags = backup.TagFastRestore
		}
	}
}

// alive are the points that have not expired and are wanted.
func (m *pointModel) alive(wanted func(backup.Point) bool) (all []backup.Point) {
	for _, p := range m.points {
		if p.Expires.After(m.now()) && wanted(p) {
			all = append(all, p)
		}
	}
	return all
}

// A unit's points are as if each had a row, however they are listed, searched,
// split and asked for.
func TestPlayPeriodsAreTheirPoints(t *testing.T) {
	const steps = 60
	each(t, func(t *testing.T, w *world) {
		for seed := range uint64(2) {
			random := rand.New(rand.NewPCG(seed, 7))
			clockGoesBack := seed%2 == 1
			ctx := t.Context()
			u := w.unbacked(owner(int(seed)))
			policy := must[backup.Unit](t)(w.Unit(ctx, contoso, u)).Policy
			m := newModel(t, w, nil)
			tree, trees := "t0", 0
			look := func(p backup.Point) string {
				tags := p.Tags
				if clockGoesBack { // then the newest of a day may not be the last that was made
					tags = ""
				}
				return fmt.Sprint(p.ID, " ", p.At.Format(time.RFC3339Nano), " ", p.Expires.Format(time.RFC3339Nano), " ", tags, " ", p.Tree)
			}
			lines := func(all []backup.Point) (lines []string) {
				for _, p := range all {
					lines = append(lines, look(p))
				}
				return lines
			}
			check := func(what string) {
				t.Helper()
				anything := func(backup.Point) bool { return true }
				all := m.alive(anything)
				for _, oldest := range []bool{true, false} {
					var got []backup.Point
					q := catalog.PointQuery{Unit: u, Oldest: oldest, Page: catalog.Page{Limit: 11, Count: true}}
					for {
						l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, q))
						if int(l.Total) != len(all) {
							t.Fatalf("%s: %d points are counted, want %d", what, l.Total, len(all))
						}
						got = append(got, l.Items...)
						if q.After = l.Next; l.Next == "" {
							break
						}
					}
					want := slices.Clone(all)
					if !oldest {
						slices.Reverse(want)
					}
					if diff := gocmp.Diff(lines(want), lines(got)); diff != "" {
						t.Fatalf("%s: points, oldest first %v (-want +got):\n%s", what, oldest, diff)
					}
				}
				for range min(4, len(m.points)) {
					p := m.points[random.IntN(len(m.points))]
					got, err := w.Point(ctx, contoso, p.ID)
					if !p.Expires.After(w.clock()) {
						fails(t, "an expired point", err, backup.InvalidRestorePoint)
					} else if err != nil || look(got) != look(p) {
						t.Fatalf("%s: point = %s, %v, want %s", what, look(got), err, look(p))
					}
				}
				if len(all) == 0 {
					return
				}
				from, to := all[random.IntN(len(all))].At, all[random.IntN(len(all))].At.Add(time.Duration(random.IntN(3)-1)*time.Microsecond)
				for _, tag := range []backup.PointTags{"", backup.TagNone, backup.TagFastRestore} {
					if tag != "" && clockGoesBack {
						continue
					}
					want := m.alive(func(p backup.Point) bool {
						return !p.At.Before(from) && !p.At.After(to) && (tag == "" || p.Tags == tag)
					})
					got := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u, From: from, FromIncl: true, To: to, ToIncl: true, Tags: tag, Oldest: true, Page: catalog.Page{Skip: 2, Limit: 200}}))
					if diff := gocmp.Diff(lines(want[min(2, len(want)):]), lines(got.Items)); diff != "" {
						t.Fatalf("%s: points from %v to %v, %q (-want +got):\n%s", what, from, to, tag, diff)
					}
					for _, oldest := range []bool{true, false} {
						var paged []backup.Point
						q := catalog.PointQuery{Unit: u, From: from, FromIncl: true, To: to, ToIncl: true, Tags: tag, Oldest: oldest, Page: catalog.Page{Limit: 2}}
						for more := true; more && len(paged) < 20; {
							l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, q))
							paged, q.After, more = append(paged, l.Items...), l.Next, l.Next != ""
						}
						ordered := slices.Clone(want)
						if !oldest {
							slices.Reverse(ordered)
						}
						if diff := gocmp.Diff(lines(ordered[:min(20, len(ordered))]), lines(paged[:min(20, len(paged))])); diff != "" {
							t.Fatalf("%s: pages from %v to %v, %q, oldest %v (-want +got):\n%s", what, from, to, tag, oldest, diff)
						}
						found := must[catalog.PointsFound](t)(w.SearchPoints(ctx, contoso, catalog.PointSearch{Units: []backup.UnitID{u}, From: from, To: to, Tags: tag, Oldest: oldest}))
						var one []backup.Point
						if len(want) > 0 && oldest {
							one = want[:1]
						} else if len(want) > 0 {
							one = want[len(want)-1:]
						}
						if len(one) > 0 && len(found.Points) > 0 && one[0].At.Equal(found.Points[0].At) {
							one = found.Points // of two of one time either will do
						}
						if diff := gocmp.Diff(lines(one), lines(found.Points)); diff != "" {
							t.Fatalf("%s: search from %v to %v, %q, oldest %v (-want +got):\n%s", what, from, to, tag, oldest, diff)
						}
					}
				}
			}
			for step := range steps {
				w.pass(time.Duration(1+random.IntN(40)) * 37 * time.Second)
				switch {
				case random.IntN(10) == 0:
					w.pass(9 * time.Hour)
				case step == steps*3/4:
					w.pass(13 * aDay)
				}
				if random.IntN(4) == 0 {
					trees++
					tree = fmt.Sprint("t", trees)
				}
				at := w.clock()
				if clockGoesBack && random.IntN(5) == 0 {
					at = at.Add(-time.Duration(random.IntN(3)) * 37 * 11 * time.Second)
				}
				p := w.runAt(u, at, tree)
				if !p.At.Equal(at) || p.Tree != tree {
					t.Fatalf("a run at %v of %s made %s", at, tree, look(p))
				}
				m.add(p)
				for at, more := range map[int][]backup.RetentionSetting{
					steps / 3: settings("PT10M", "P2W", "P1W", "P1Y", "P1D", "P1M"), steps / 2: settings("PT10M", "P1M", "P1W", "P1Y", "P1D", "P2M", "PT1H", "P3W"),
				} {
					if step == at {
						check("before a change of retention")
						must[catalog.RetentionChange](t)(w.ChangeRetention(ctx, contoso, policy, week, func(r *backup.Retention) { r.Settings = more }, w.by()))
						w.expired()
						m.reapply(t, more)
						check("after a change of retention")
					}
				}
				if step%19 == 0 {
					check(fmt.Sprint("step ", step, " of seed ", seed))
				}
			}
			check("at last")
			w.pass(20 * aDay)
			w.expired()
			check("after three weeks")
			w.pass(500 * aDay)
			w.expired()
			if n := w.rows(); n != 0 {
				t.Errorf("%d rows after all have expired", n)
			}
		}
	})
}

// Runs that find nothing add no rows but with a new day and for the first point
// of a week.
func TestUnchangedRunsAddNoRows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.unbacked(owner(1))
		for range 48 {
			w.runAt(u, w.clock(), "t")
			w.pass(10 * time.Minute)
		}
		l := must[catalog.List[backup.Point]](t)(w.Points(t.Context(), contoso, catalog.PointQuery{Unit: u, Page: catalog.Page{Count: true, Bare: true}}))
		if rows := w.rows(); rows > 2 || l.Total != 48 {
			t.Errorf("%d points in %d rows", l.Total, rows)
		}
	})
}

// What is restored or browsed is kept, also if it is but one point of a period.
func TestRestoredPointOfPeriodIsKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.unbacked(owner(1))
		w.runAt(u, w.clock(), "t") // the week's
		var points []backup.Point
		for range 5 {
			w.pass(10 * time.Minute)
			points = append(points, w.runAt(u, w.clock(), "t"))
		}
		want := points[2]
		w.pass(12 * aDay)
		w.runAt(u, w.clock(), "t2")
		s := must[backup.Session](t)(w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, []catalog.NewArtifact{{Point: want.ID, Destination: backup.DestinationNew}}, w.by()))
		a := w.artifacts(s.ID)[0]
		if a.Point.ID != want.ID || !a.Point.At.Equal(want.At) || !a.Point.Expires.Equal(want.Expires) || a.Point.Tags != backup.TagNone {
			t.Errorf("the artifact's point = %+v, want %+v", a.Point, want)
		}
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		b := must[backup.BrowseSession](t)(w.CreateBrowseSession(ctx, contoso, backup.OneDrive, points[4].ID, w.by()))
		if b.Point.ID != points[4].ID || !b.Point.At.Equal(points[4].At) {
			t.Errorf("the browsed point = %+v, want %+v", b.Point, points[4])
		}
		w.pass(2*aDay + 20*time.Hour)
		if n := w.expired(); n != 0 {
			t.Errorf("%d points expired while two of them are in use", n)
		}
		w.free()
		j := w.claim(jobs.Restore)[string(a.ID)]
		ok(t, w.StartArtifact(ctx, j, a.ID))
		ok(t, w.FinishArtifact(ctx, j, a.ID, catalog.Restored{}, nil))
		ok(t, w.DeleteBrowseSession(ctx, contoso, b.ID))
		if n := w.expired(); n != 5 {
			t.Errorf("%d points expired, want 5", n)
		}
		_, err := w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, []catalog.NewArtifact{{Point: want.ID, Destination: backup.DestinationNew}}, w.by())
		fails(t, "restore of an expired point", err, backup.InvalidRestorePoint)
	})
}
