package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// named is what a test does with the index of the names of a drive.
type named struct {
	*world
	unit backup.Unit
	job  *jobs.Job
	root string
}

func newNamed(t *testing.T, w *world) *named {
	t.Helper()
	u := w.protect(owner(1))
	u.Workload = backup.OneDrive
	return &named{w, u, w.claim(jobs.Backup)[string(u.ID)], ""}
}

// stage stages names that came, each an item by that name.
func (n *named) stage(at time.Time, tree string, anew bool, names ...string) (catalog.NamedTree, error) {
	s := catalog.NameStage{Unit: n.unit.ID, Drive: "d", At: at, Tree: tree, Alone: true, Anew: anew, Since: at}
	return n.StageNames(n.t.Context(), n.job, s, func(yield func(catalog.NameChange, error) bool) {
		for _, name := range names {
			if !yield(catalog.NameChange{At: at, Item: backup.ItemID(name), To: name}, nil) {
				return
			}
		}
	})
}

// commit commits a point with the names that were staged for it.
func (n *named) commit(at time.Time, tree string, names catalog.NamedTree) error {
	_, err := n.CommitPoint(n.t.Context(), n.job, catalog.Commit{Unit: n.unit.ID, PrevRoot: n.root, State: catalog.DriveState{Drive: "d", Root: tree, Tree: tree},
		Names: []catalog.NamedTree{names}, Point: backup.Point{At: at, Tree: tree}})
	if err == nil {
		n.root = tree
	}
	return err
}

// found are the names that are found.
func (n *named) found() (names []string, unsearched bool) {
	n.t.Helper()
	f := must[catalog.Finding](n.t)(n.Find(n.t.Context(), contoso, n.unit, "*", catalog.Page{Limit: 1000}))
	for _, i := range f.Items {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	return names, f.Unsearched
}

func (n *named) want(what string, unsearched bool, names ...string) {
	n.t.Helper()
	if got, un := n.found(); !slices.Equal(got, names) || un != unsearched {
		n.t.Errorf("%s: found %d, %.200q, not all searched: %t; want %d, %.200q", what, len(got), got, un, len(names), names)
	}
}

// A few names are written in the transaction that commits their point, and no others.
func TestAFewNamesAreWrittenWithTheirPoint(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		n := newNamed(t, w)
		at := w.clock()
		wrote := func(do func()) bool {
			before := w.count(`SELECT count(*) FROM name_item`)
			do()
			return w.count(`SELECT count(*) FROM name_item`) > before
		}
		var first catalog.NamedTree
		if wrote(func() { first = must[catalog.NamedTree](t)(n.stage(at, "t1", true, "a", "b")) }) {
			t.Error("two names were written ahead of their point")
		}
		if n := w.count(`SELECT count(*) FROM name_index`); n > 0 {
			t.Errorf("%d indexes are there before the point", n)
		}
		ok(t, n.commit(at, "t1", first))
		n.want("with the first point", false, "a", "b")

		var many []string
		for i := range 201 {
			many = append(many, fmt.Sprintf("many %03d", i))
		}
		at = at.Add(time.Hour)
		var second catalog.NamedTree
		if !wrote(func() { second = must[catalog.NamedTree](t)(n.stage(at, "t2", false, many...)) }) {
			t.Error("many names were not written ahead of their point")
		}
		n.want("before the second point", false, "a", "b")
		ok(t, n.commit(at, "t2", second))
		n.want("with the second point", false, append([]string{"a", "b"}, many...)...)

		// The clock was put back.
		third := must[catalog.NamedTree](t)(n.stage(at.Add(-time.Minute), "t3", false, "c"))
		ok(t, n.commit(at.Add(time.Minute), "t3", third))
		n.want("with the third point", false, append([]string{"a", "b", "c"}, many...)...)
	})
}

// Where another run has written names since a few were told, or has begun to, the index is
// of no tree, and the next run makes it anew, whatever it finds there.
func TestAFewNamesOfARunThatWasOvertaken(t *testing.T) {
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("many %03d", i))
	}
	for _, first := range []bool{true, false} {
		for what, overtake := range map[string]func(*named, time.Time) error{
			"staged": func(n *named, at time.Time) error {
				_, err := n.stage(at.Add(time.Second), "other", false, many...)
				return err
			},
			"gone": func(n *named, _ time.Time) error {
				return n.db.Tx(n.t.Context(), func(tx *database.Tx) error {
					_, err := tx.ExecContext(n.t.Context(), `DELETE FROM name_index`)
					return err
				})
			},
		} {
			if first && what == "gone" {
				continue
			}
			t.Run(fmt.Sprint(what, " ", first), func(t *testing.T) {
				each(t, func(t *testing.T, w *world) {
					n := newNamed(t, w)
					at := w.clock()
					if !first {
						ok(t, n.commit(at, "t0", must[catalog.NamedTree](t)(n.stage(at, "t0", true, "a"))))
					}
					at = at.Add(time.Hour)
					few := must[catalog.NamedTree](t)(n.stage(at, "t1", first, "b"))
					ok(t, overtake(n, at))
					ok(t, n.commit(at, "t1", few))
					if got, unsearched := n.found(); !unsearched || slices.Contains(got, "b") || slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "many") }) {
						t.Errorf("of an index that was overtaken: found %q, not all searched: %t", got, unsearched)
					}
					at = at.Add(time.Hour)
					anew := must[catalog.NamedTree](t)(n.stage(at, "t2", true, "a", "b", "c"))
					ok(t, n.commit(at, "t2", anew))
					if got, _ := n.found(); !slices.Equal(got, []string{"a", "b", "c"}) {
						t.Errorf("of an index that was made anew: found %q", got)
					}
				})
			})
		}
	}
}
