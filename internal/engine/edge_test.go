package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"modernc.org/sqlite"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// A fuse ends a process at one of its commit edges: just before a write to the
// vault's storage, or the commit of a transaction of the catalog. What was
// written before is on disk; nothing is read or written after it. Then all is
// opened anew from what is on disk.
type fuse struct {
	mu    sync.Mutex
	left  int // edges until it ends; 0 is never
	dead  bool
	edges map[string]int // those that were passed, by what would be written
	end   func()         // when it is dead
}

var errDead = errors.New("the process has ended")

// burn is called at an edge.
func (f *fuse) burn(edge string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead
	}
	f.edges[edge]++
	if f.left--; f.left == 0 {
		f.dead = true
		f.end()
		return errDead
	}
	return nil
}

func (f *fuse) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead
	}
	return nil
}

// fuses are those of processes that are to end, by the folder they work in.
var fuses sync.Map

// init has the vaults and catalogs below a folder that has a fuse burn it: as
// the storage that kopia opens by the name of its type, and as the hook of
// SQLite's commits. The product knows nothing of either.
func init() {
	blob.AddSupportedStorage("filesystem", filesystem.Options{}, func(ctx context.Context, o *filesystem.Options, create bool) (blob.Storage, error) {
		st, err := filesystem.New(ctx, o, create)
		if err != nil {
			return nil, err
		}
		if f, ok := fuses.Load(filepath.Dir(o.Path)); ok {
			st = &fusedStorage{st, f.(*fuse)}
		}
		return vault.Guard(ctx, st), nil
	})
	sqlite.RegisterConnectionHook(func(c sqlite.ExecQuerierContext, dsn string) error {
		name, _, _ := strings.Cut(strings.TrimPrefix(dsn, "file://"), "?")
		if f, ok := fuses.Load(filepath.Dir(name)); ok {
			c.(sqlite.HookRegisterer).RegisterCommitHook(func() int32 {
				if f.(*fuse).burn("catalog") != nil {
					return 1
				}
				return 0
			})
		}
		return nil
	})
}

type fusedStorage struct {
	blob.Storage
	fuse *fuse
}

func (s *fusedStorage) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if err := s.fuse.burn("put " + string(id[:1])); err != nil {
		return err
	}
	return s.Storage.PutBlob(ctx, id, data, o)
}

func (s *fusedStorage) DeleteBlob(ctx context.Context, id blob.ID) error {
	if err := s.fuse.burn("delete " + string(id[:1])); err != nil {
		return err
	}
	return s.Storage.DeleteBlob(ctx, id)
}

func (s *fusedStorage) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if err := s.fuse.alive(); err != nil {
		return err
	}
	return s.Storage.GetBlob(ctx, id, offset, length, out)
}

func (s *fusedStorage) ListBlobs(ctx context.Context, prefix blob.ID, do func(blob.Metadata) error) error {
	if err := s.fuse.alive(); err != nil {
		return err
	}
	return s.Storage.ListBlobs(ctx, prefix, do)
}

// A mortal is a life whose process ends at its edges.
type mortal struct {
	*life
	units []backup.Unit
	fuse  *fuse
	seen  map[string]bool // the edges that were passed or ended at
	runs  int             // processes so far
	gone  int             // units offboarded so far
}

func newMortal(t *testing.T, owners ...string) *mortal {
	m := &mortal{fuse: &fuse{edges: map[string]int{}, end: func() {}}, seen: map[string]bool{}}
	h := newHostileWorld(t, owners...)
	fuses.Store(h.dir, m.fuse)
	m.life = &life{hostileWorld: h, home: h.home(0), past: map[backup.PointID]moment{}}
	m.reopen()
	m.engine.CheckpointBytes = 30_000
	t.Cleanup(func() {
		m.stop()
		fuses.Delete(h.dir)
	})
	return m
}

// stop lets go of all that is open.
func (m *mortal) stop() {
	if m.runs > 0 && m.vault != nil {
		m.vault.Close(m.ctx)
	}
	m.vault = nil
	m.db.Close()
}

// start opens all anew from what is on disk, as a process that starts does. It
// returns why the vault does not open, if it does not: the rest works on.
func (m *mortal) start() error {
	m.t.Helper()
	m.runs++
	m.fuse.mu.Lock()
	m.fuse.dead, m.fuse.left = false, 0
	m.fuse.mu.Unlock()
	m.db = dbtest.OpenURL(m.t, "sqlite:"+m.dir+"/catalog.db")
	m.queue = jobs.New(m.db, m.engine.Clock)
	m.catalog = catalog.New(m.db, m.queue, catalog.Config{Clock: m.engine.Clock})
	id, err := m.catalog.VaultID(m.ctx, backup.FirstVault(m.tenant))
	m.must(err)
	v, failed := vault.Open(m.ctx, vault.Config{Dir: m.dir + "/vault", State: m.dir + "/state", ID: id, Create: id == "", Password: "for tests only", Log: slog.New(slog.DiscardHandler)})
	if m.vault = v; failed == nil {
		m.must(m.catalog.KnowVault(m.ctx, backup.FirstVault(m.tenant), v.ID()))
	}
	cfg := m.engine.Config
	cfg.Catalog, cfg.DB, cfg.Queue = m.catalog, m.db, m.queue
	cfg.Vaults = func(context.Context, backup.VaultName) (*vault.Vault, error) { return v, failed }
	m.engine = New(cfg)
	return failed
}

func (m *mortal) reopen() {
	m.t.Helper()
	m.stop()
	m.must(m.start())
}

// endAt runs a job that ends at its n-th edge, and opens all anew. It reports
// false when the job came to its end before.
func (m *mortal) endAt(n int, kind jobs.Kind, key string) bool {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	j := m.claim(kind, key)
	m.fuse.mu.Lock()
	clear(m.fuse.edges)
	m.fuse.left, m.fuse.end = n, cancel
	m.fuse.mu.Unlock()
	_, err := m.engine.Work()[kind].Handler(ctx, j)
	m.fuse.mu.Lock()
	dead := m.fuse.dead
	m.fuse.left, m.fuse.end = 0, func() {}
	for edge := range m.fuse.edges {
		m.seen[edge] = true
	}
	m.fuse.mu.Unlock()
	if !dead {
		if err != nil {
			m.t.Fatalf("%s, which did not end at edge %d: %v", kind, n, err)
		}
		return false
	}
	if err == nil {
		m.t.Errorf("%s says that it is done, and ended at edge %d", kind, n)
	}
	m.reopen()
	return true
}

// edgesOf runs a job to its end and returns how many edges it passes.
func (m *mortal) edgesOf(kind jobs.Kind, key string) (edges int) {
	m.t.Helper()
	m.endAt(0, kind, key)
	for _, n := range m.fuse.edges {
		edges += n
	}
	return edges
}

// leave takes a unit out of its policy and lets the time pass after which its
// backups are destroyed.
func (m *mortal) leave(u backup.Unit) {
	m.t.Helper()
	by := backup.Stamp{At: m.engine.Clock()}
	_, _, err := m.catalog.UpdatePolicy(m.ctx, m.tenant, u.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: u.ID}}, By: by})
	m.must(err)
	m.run(jobs.Settle, string(u.Policy), m.engine.settle)
	_, err = m.catalog.OffboardUnit(m.ctx, m.tenant, u.ID, by)
	m.must(err)
	m.later(91 * 24 * time.Hour)
}

// whole wants all that was acknowledged to be there: the points, each as it was.
func (m *mortal) whole(n int) {
	m.t.Helper()
	m.forget()
	m.note(nil)
	for id := range m.past {
		m.compare(id)
	}
	if m.t.Failed() {
		m.t.Fatalf("after the process ended at edge %d", n)
	}
}

// At whatever commit edge a process ends, what it had acknowledged is there
// when the next one starts, and doing the work again brings it to its end.
func TestPlayEndAtAnyEdge(t *testing.T) {
	var mu sync.Mutex
	passed := map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for name, work := range map[string]func(*mortal, func(kind jobs.Kind, key string) bool) bool{
			"backup": func(m *mortal, end func(jobs.Kind, string) bool) bool {
				m.later(time.Minute)
				m.harm(m.home)
				m.put(m.home, manyFiles(m.runs))
				now := m.look()
				ended := end(jobs.Backup, string(m.unit.ID))
				if ended {
					m.later(time.Minute)
					m.run(jobs.Backup, string(m.unit.ID), m.engine.backup)
				}
				m.note(now)
				m.must(os.RemoveAll(m.home))
				m.must(os.Mkdir(m.home, 0o755))
				m.put(m.home, hostileFiles())
				return ended
			},
			"restore in place": func(m *mortal, end func(jobs.Kind, string) bool) bool {
				p, _ := m.first()
				m.later(time.Minute)
				m.harm(m.home)
				m.put(m.home, map[string]string{"keep.txt": fmt.Sprint("other ", m.runs)})
				before := m.look()
				a := m.activate(p.point, backup.DestinationInPlace)
				ended := end(jobs.Restore, string(a.ID))
				m.nothingLost(m.unit, before, m.hostileWorld.look(m.home))
				if ended {
					a = m.finish(a)
					if a.Status != backup.ArtifactSucceeded {
						m.t.Fatalf("the artifact is %s: %+v", a.Status, a.Problem)
					}
				}
				m.cameBack(p, nil)
				return ended
			},
			"restore to a new place": func(m *mortal, end func(jobs.Kind, string) bool) bool {
				p, _ := m.first()
				a := m.activate(p.point, backup.DestinationNew)
				ended := end(jobs.Restore, string(a.ID))
				a, err := m.catalog.Artifact(m.ctx, m.tenant, a.Session, a.ID)
				m.must(err)
				if !a.Status.Final() {
					a = m.finish(a)
				}
				m.same("the new place", p.was, m.library(m.unit, a.RestoredSiteName))
				return ended
			},
			"expire": func(m *mortal, end func(jobs.Kind, string) bool) bool {
				for n := range 2 {
					m.put(m.home, map[string]string{"keep.txt": fmt.Sprint(m.runs, n)})
					m.backUp()
				}
				m.later(15 * 24 * time.Hour)
				m.backUp()
				ended := end(jobs.Expire, string(m.tenant))
				m.run(jobs.Expire, string(m.tenant), m.engine.expire)
				if units := m.noted(); len(units) > 0 {
					m.t.Errorf("drives are still to be trimmed: %v", units)
				}
				return ended
			},
			"maintain": func(m *mortal, end func(jobs.Kind, string) bool) bool {
				// A process ended between the manifest and the catalog, so that there
				// is something to put right. How many edges a backup passes may differ
				// by one that is due to the time, as a word of its progress is.
				for try := 0; ; try++ {
					m.later(time.Minute)
					m.put(m.home, map[string]string{"keep.txt": fmt.Sprint("counted ", m.runs, try)})
					edges := m.edgesOf(jobs.Backup, string(m.unit.ID))
					m.later(time.Minute)
					m.put(m.home, map[string]string{"keep.txt": fmt.Sprint("ended ", m.runs, try)})
					if m.endAt(edges, jobs.Backup, string(m.unit.ID)) {
						break
					}
					if try == 10 {
						m.t.Fatalf("no backup ended at the last of its %d edges", edges)
					}
				}
				ended := end(jobs.Maintain, string(m.tenant))
				m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
				m.note(m.look()) // what was sealed and not committed may be taken up
				return ended
			},
			"offboard": func(m *mortal, end func(jobs.Kind, string) bool) bool {
				i := 1 + m.gone
				m.gone++
				m.put(m.hostileWorld.home(i), map[string]string{"a.txt": fmt.Sprint("of ", i)})
				m.hostileWorld.backUp(m.units[i])
				m.leave(m.units[i])
				ended := end(jobs.Offboard, string(m.units[i].ID))
				m.run(jobs.Offboard, string(m.units[i].ID), m.engine.offboard)
				if left := m.points(m.units[i]); len(left) > 0 {
					m.t.Errorf("%d points of a unit whose backups were to be destroyed", len(left))
				}
				return ended
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				owners := []string{"ann"}
				for n := range 30 {
					if name == "offboard" {
						owners = append(owners, fmt.Sprint("user", n))
					}
				}
				m := newMortal(t, owners...)
				m.put(m.home, hostileFiles())
				m.units = m.protectAll()
				m.unit = m.units[0]
				m.backUp()
				for n, ended := 1, true; ended; n++ {
					ended = work(m, func(kind jobs.Kind, key string) bool {
						ended := m.endAt(n, kind, key)
						m.whole(n)
						return ended
					})
					if ended {
						m.backUp()
					}
					if t.Failed() {
						t.Fatalf("edge %d\n%s", n, m.log)
					}
					if n > 500 {
						t.Fatal("there is no end of edges")
					}
				}
				var trees []string
				for _, p := range m.past {
					trees = append(trees, p.point.Tree)
				}
				report, err := m.vault.Verify(m.ctx, trees, vault.VerifyOptions{Share: 1})
				m.must(errors.Join(err, report.Err()))
				t.Log(slices.Sorted(maps.Keys(m.seen)), m.runs-1, "ends")
				mu.Lock()
				defer mu.Unlock()
				for edge := range m.seen {
					passed[name+": "+edge] = true
				}
			})
		}
	})
	for _, edge := range []string{"backup: put p", "backup: put q", "backup: put x", "backup: catalog", "restore in place: catalog", "restore to a new place: catalog", "expire: catalog", "expire: put q", "maintain: put q", "offboard: put q", "offboard: catalog"} {
		if !passed[edge] {
			t.Errorf("no process ended at %s; there are %v", edge, slices.Sorted(maps.Keys(passed)))
		}
	}
}

// first returns the oldest moment.
func (m *mortal) first() (moment, bool) {
	var first moment
	for _, p := range m.past {
		if first.was == nil || p.point.At.Before(first.point.At) {
			first = p
		}
	}
	return first, first.was != nil
}

// manyFiles are more than one checkpoint takes.
func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range 12 {
		files[fmt.Sprintf("many/%d.bin", i)] = strings.Repeat(fmt.Sprint(n, " ", i, "\n"), 2000)
	}
	return files
}
