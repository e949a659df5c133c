package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Whatever is put back from yesterday, lost or killed, the catalog or the vault, in
// whatever order: all that the vault has of any day is in the catalog and can be
// restored once both have been compared, what it has not is marked as lost, and each
// drive is backed up as it is.
func TestPlayModelOfLosses(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m, points := lossy(t, "ann", "bob")
			l := &losses{mortal: m, rnd: rand.New(rand.NewPCG(seed, 11)), held: map[string]state{}}
			for _, u := range m.units {
				for _, p := range m.points(u) {
					l.held[p.Tree] = points[p.ID]
				}
			}
			m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
			defer func() {
				if t.Failed() {
					t.Logf("after %s\n%s", strings.Join(l.did, ", "), l.log)
				}
			}()
			for range 24 {
				if l.act(); t.Failed() {
					return
				}
			}
		})
	}
}

// losses is a world in which things are lost and put back.
type losses struct {
	*mortal
	rnd      *rand.Rand
	held     map[string]state // all points that the vault has, by their trees
	maybe    []state          // what a backup held that was killed: there may be a point of it
	catalogs [][]byte         // copies
	vaults   []vaultCopy
	did      []string
}

type vaultCopy struct {
	dir  string
	held map[string]state
}

func (l *losses) act() {
	l.t.Helper()
	i := l.rnd.IntN(len(l.units))
	u := l.units[i]
	what := ""
	l.did = append(l.did, "")
	switch k := l.rnd.IntN(100); {
	case k < 35:
		what = "back up " + fmt.Sprint(i)
		l.later(time.Duration(1+l.rnd.IntN(60)) * time.Minute)
		l.runs++
		home := l.hostileWorld.home(i)
		l.put(home, map[string]string{fmt.Sprint(l.rnd.IntN(6), "/", l.rnd.IntN(6), ".txt"): fmt.Sprint("edit ", l.runs), "a.txt": fmt.Sprint("edit ", l.runs, " of ", i)})
		if l.rnd.IntN(3) == 0 {
			n := 1 + l.rnd.IntN(10)
			what += fmt.Sprint(", killed at edge ", n)
			l.maybe = append(l.maybe, l.hostileWorld.look(home))
			// Or the job would do so once its point is there, and not mind the end.
			l.must(l.engine.refreshDirectory(l.ctx, l.tenant))
			l.endAt(n, jobs.Backup, string(u.ID))
		}
		l.held[l.hostileWorld.backUp(u).Tree] = l.hostileWorld.look(home)
	case k < 45:
		what = "maintain"
		l.run(jobs.Maintain, string(l.tenant), l.engine.maintain)
	case k < 55:
		what = "expire"
		l.set(`trim = 1`)
		l.run(jobs.Expire, string(l.tenant), l.engine.expire)
	case k < 63:
		what = "copy the catalog"
		l.stop()
		b, err := os.ReadFile(l.dir + "/catalog.db")
		l.must(err)
		l.catalogs = append(l.catalogs, b)
		l.must(l.start())
	case k < 71 && len(l.catalogs) > 0:
		what = "put an older catalog back"
		l.stop()
		l.must(os.WriteFile(l.dir+"/catalog.db", l.catalogs[l.rnd.IntN(len(l.catalogs))], 0o600))
		l.must(l.start())
	case k < 77:
		what = "lose the catalog"
		l.run(jobs.Maintain, string(l.tenant), l.engine.maintain)
		l.stop()
		l.must(os.Remove(l.dir + "/catalog.db"))
		l.must(l.start())
		l.run(jobs.Maintain, string(l.tenant), l.engine.maintain)
	case k < 84:
		what = "copy the vault"
		l.run(jobs.Maintain, string(l.tenant), l.engine.maintain)
		l.stop()
		l.vaults = append(l.vaults, vaultCopy{l.copyOf(l.dir + "/vault"), maps.Clone(l.held)})
		l.must(l.start())
	case k < 90 && len(l.vaults) > 0:
		what = "put an older vault back"
		v := l.vaults[l.rnd.IntN(len(l.vaults))]
		l.stop()
		l.putBack("vault", l.copyOf(v.dir))
		l.held = maps.Clone(v.held)
		l.must(l.start())
	case k < 95:
		what = "forget where the drive's tree is"
		l.set(`tree = 'k0123456789abcdef0123456789abcdef'`)
	default:
		what = "forget where the drive's root is"
		l.set(`root = 'k0123456789abcdef0123456789abcdef'`)
	}
	l.did[len(l.did)-1] = what
	if l.rnd.IntN(3) > 0 {
		return
	}
	l.did = append(l.did, "look")
	l.look()
}

func (l *losses) set(what string) {
	l.must(l.db.Tx(l.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(l.t.Context(), `UPDATE drive_state SET `+what)
		return err
	}))
}

// look compares the catalog and the vault, backs up, and wants all to be well.
func (l *losses) look() {
	l.t.Helper()
	if l.rnd.IntN(2) == 0 {
		l.run(jobs.Maintain, string(l.tenant), l.engine.maintain)
	}
	for i, u := range l.units {
		l.later(time.Minute)
		p := l.hostileWorld.backUp(u)
		is := l.hostileWorld.look(l.hostileWorld.home(i))
		l.same("the newest point", is, l.kept(p.Tree))
		l.held[p.Tree] = is
	}
	l.run(jobs.Expire, string(l.tenant), l.engine.expire)
	l.run(jobs.Maintain, string(l.tenant), l.engine.maintain)
	there := map[string]backup.Point{}
	for _, u := range l.units {
		for _, p := range l.points(u) {
			there[p.Tree] = p
			_, held := l.held[p.Tree]
			if !held && !p.Lost {
				is := l.kept(p.Tree)
				held = slices.ContainsFunc(l.maybe, func(was state) bool { return maps.Equal(was, is) })
			}
			if held == p.Lost {
				l.t.Errorf("the point of %v is lost: %v, and the vault has it: %v", p.At, p.Lost, held)
			}
		}
	}
	for tree, was := range l.held {
		if _, ok := there[tree]; !ok {
			l.t.Errorf("a point of %d items is in the vault and not in the catalog", len(was))
			continue
		}
		l.same("a point", was, l.kept(tree))
	}
}
