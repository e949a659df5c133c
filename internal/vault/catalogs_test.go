package vault

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A view is what a catalog believes of the drive.
type view struct {
	root, tree string
	points     map[string]bool // trees
}

func (c view) copy() view { c.points = maps.Clone(c.points); return c }

// However catalogs come and go, are restored from yesterday, lost and made anew from
// the vault, and work on it one after the other with what they believe: no point
// ever leaves the vault that no catalog gave up which knew it.
func TestPlayNoPointLeavesThatNobodyGaveUp(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			v, _ := newVault(t)
			catalogs := []view{{points: map[string]bool{}}}
			var yesterday []view
			kept := map[string]bool{} // trees that nobody gave up
			var did []string
			at := noon
			for n := range 45 {
				c := &catalogs[rnd.IntN(len(catalogs))]
				at = at.Add(time.Duration(rnd.IntN(600)) * time.Minute)
				what := ""
				switch k := rnd.IntN(100); {
				case k < 40:
					what = "seal"
					var u *Update
					var err error
					if rnd.IntN(6) == 0 {
						what = "seal anew"
						u, _, err = v.BeginAnew(t.Context(), key, slices.Sorted(maps.Keys(c.points))...)
					} else {
						u, err = v.Begin(t.Context(), key, c.root, c.tree)
					}
					if unreadable(err) {
						// What it believes in was collected, since another root has its points.
						what = "seal anew"
						u, _, err = v.BeginAnew(t.Context(), key, slices.Sorted(maps.Keys(c.points))...)
					}
					if err != nil {
						t.Fatal(err)
					}
					checkpoint := rnd.IntN(4) == 0
					backUp := func() (Sealed, error) {
						defer u.Close()
						u.Put(folder("root", "", "root"))
						u.Put(file(t, u, "f", "root", fmt.Sprint("f", n), fmt.Sprint("content ", n)))
						return u.Seal(t.Context(), at, PointInfo{Incomplete: checkpoint})
					}
					s, err := backUp()
					if unreadable(err) {
						// What it believes in was collected, since another root has its points.
						if u, _, err = v.BeginAnew(t.Context(), key, slices.Sorted(maps.Keys(c.points))...); err == nil {
							s, err = backUp()
						}
					}
					if err != nil {
						t.Fatal(err)
					}
					if checkpoint {
						what = "checkpoint"
						c.root = s.Root
						break
					}
					c.root, c.tree = s.Root, s.Tree
					c.points[s.Tree], kept[s.Tree] = true, true
				case k < 60 && len(c.points) > 0:
					what = "expire"
					keep := map[string]bool{}
					for _, tree := range slices.Sorted(maps.Keys(c.points)) {
						if tree == c.tree || rnd.IntN(3) > 0 {
							keep[tree] = true
						} else {
							delete(kept, tree)
						}
					}
					root, err := v.Expire(t.Context(), key, c.root, keep)
					if err != nil {
						t.Fatal(err)
					}
					c.root, c.points = root, keep
				case k < 70:
					what = "make a catalog from the vault"
					points, err := v.Points(t.Context(), key)
					if err != nil {
						t.Fatal(err)
					}
					fresh := view{points: map[string]bool{}}
					for _, p := range points {
						if p.Err == nil && !p.Info.Incomplete {
							fresh.points[p.Tree], fresh.tree = true, p.Tree
						}
					}
					if fresh.root, err = v.Merge(t.Context(), key, "", slices.Sorted(maps.Keys(fresh.points))...); err != nil {
						t.Fatal(err)
					}
					catalogs = append(catalogs, fresh)
				case k < 76:
					what = "keep a copy"
					yesterday = append(yesterday, c.copy())
				case k < 82 && len(yesterday) > 0:
					what = "restore a copy"
					*c = yesterday[rnd.IntN(len(yesterday))].copy()
				case k < 90:
					what = "bring together"
					root, err := v.Merge(t.Context(), key, c.root, slices.Sorted(maps.Keys(c.points))...)
					if err != nil {
						t.Fatal(err)
					}
					c.root = root
				default:
					what = "collect"
					roots := map[DriveKey]string{}
					if c.root != "" {
						roots[key] = c.root
					}
					if err := collect(t, v, roots); err != nil {
						t.Fatalf("collect after %s: %v", strings.Join(did, ", "), err)
					}
				}
				did = append(did, what)
				if what == "keep a copy" || what == "checkpoint" {
					continue
				}
				points, err := v.Points(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				there := map[string]bool{}
				for _, p := range points {
					there[p.Tree] = p.Err == nil
				}
				for tree := range kept {
					if !there[tree] {
						t.Fatalf("a point that nobody gave up is gone after %s", strings.Join(did, ", "))
					}
				}
			}
			if err := collect(t, v, nil); err != nil {
				t.Fatal(err)
			}
			if found := verified(t, v, slices.Collect(maps.Keys(kept))...); len(found) > 0 {
				t.Errorf("damaged after %s: %q", strings.Join(did, ", "), found)
			}
		})
	}
}
