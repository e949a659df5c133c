package engine

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// lossy is a world with a vault of its own, in which each owner has points, and
// what they hold.
func lossy(t *testing.T, owners ...string) (m *mortal, points map[backup.PointID]state) {
	m = newMortal(t, owners...)
	m.units = m.protectAll()
	m.unit = m.units[0]
	points = map[backup.PointID]state{}
	m.grow(points, 2)
	return m, points
}

// grow makes points of every drive, after edits of each.
func (m *mortal) grow(points map[backup.PointID]state, n int) {
	m.t.Helper()
	for range n {
		m.runs++
		for i, u := range m.units {
			m.later(time.Minute)
			home := m.hostileWorld.home(i)
			m.put(home, map[string]string{
				"a.txt": fmt.Sprint("edit ", m.runs, " of ", i), fmt.Sprint("folder/", m.runs, ".txt"): strings.Repeat(fmt.Sprint(m.runs), 5000),
				"same.txt": "always the same",
			})
			p := m.hostileWorld.backUp(u)
			points[p.ID] = m.hostileWorld.look(home)
			m.same("a point", points[p.ID], m.kept(p.Tree))
		}
	}
}

// wantPoints wants the catalog to have these points of all drives, by what they
// hold, whatever their ids are, and none of them lost.
func (m *mortal) wantPoints(want map[backup.PointID]state) {
	m.t.Helper()
	left := maps.Clone(want)
	for _, u := range m.units {
		for _, p := range m.points(u) {
			if p.Lost {
				m.t.Errorf("the point of %v is lost", p.At)
				continue
			}
			is := m.kept(p.Tree)
			maps.DeleteFunc(left, func(_ backup.PointID, was state) bool { return maps.Equal(was, is) })
		}
	}
	if len(left) > 0 {
		m.t.Errorf("%d of %d points are not there", len(left), len(want))
	}
}

// wantBackups wants every drive to be backed up as it is, without a person.
func (m *mortal) wantBackups() {
	m.t.Helper()
	for i, u := range m.units {
		m.later(time.Hour)
		p := m.hostileWorld.backUp(u)
		m.same("the next point", m.hostileWorld.look(m.hostileWorld.home(i)), m.kept(p.Tree))
		if problem := m.hostileWorld.unit(u.ID).Problem; problem != nil {
			m.t.Errorf("the unit says %+v", problem)
		}
	}
	m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
	m.run(jobs.Expire, string(m.tenant), m.engine.expire)
}

// wantUnavailable wants backups to fail with words that hold some, and
// everything in the vault's folder to be as it was.
func (m *mortal) wantUnavailable(words string) {
	m.t.Helper()
	dir := m.dir + "/vault"
	was := m.hostileWorld.look(dir)
	for _, u := range m.units {
		if err := m.try(m.ctx, jobs.Backup, string(u.ID), m.engine.backup); err == nil {
			m.t.Error("a backup succeeded without the vault")
		}
		p := m.hostileWorld.unit(u.ID).Problem
		if p == nil || p.Code != backup.VaultUnavailable || !strings.Contains(p.Message, words) {
			m.t.Errorf("the unit says %+v, which should say %q", p, words)
		}
	}
	if err := m.try(m.ctx, jobs.Maintain, string(m.tenant), m.engine.maintain); err == nil {
		m.t.Error("the vault was maintained")
	}
	m.same("the vault's folder", was, m.hostileWorld.look(dir))
}

func (m *mortal) copyOf(path string) string {
	m.t.Helper()
	to := filepath.Join(m.t.TempDir(), "copy")
	m.must(os.CopyFS(to, os.DirFS(path)))
	return to
}

// putBack replaces a folder of the world by another.
func (m *mortal) putBack(name, from string) {
	m.t.Helper()
	m.must(os.RemoveAll(filepath.Join(m.dir, name)))
	m.must(os.Rename(from, filepath.Join(m.dir, name)))
}

// A vault's folder that is empty, as when its volume is not mounted, is refused
// and stays empty. Once the vault is there, all goes on.
func TestVaultFolderEmpty(t *testing.T) {
	m, points := lossy(t, "ann")
	m.stop()
	aside := m.dir + "/the true vault"
	m.must(os.Rename(m.dir+"/vault", aside))
	m.must(os.Mkdir(m.dir+"/vault", 0o755))
	if err := m.start(); !errors.Is(err, vault.ErrMissing) {
		t.Fatalf("the vault opens with %v", err)
	}
	m.wantUnavailable("volume is mounted")
	m.stop()
	m.putBack("vault", aside)
	m.must(m.start())
	m.wantPoints(points)
	m.wantBackups()
}

// Another vault in the place of the known one is refused, also for a unit that
// is new. Once the true vault is back, every drive heals by itself.
func TestVaultSwapped(t *testing.T) {
	m, points := lossy(t, "ann", "bob")
	m.stop()
	aside := m.dir + "/the true vault"
	m.must(os.Rename(m.dir+"/vault", aside))
	other, err := vault.Open(m.ctx, vault.Config{Dir: m.dir + "/vault", State: m.dir + "/other state", Create: true, Password: "for tests only"})
	m.must(err)
	m.must(other.Close(m.ctx))
	if err := m.start(); !errors.Is(err, vault.ErrOther) {
		t.Fatalf("the vault opens with %v", err)
	}
	m.put(m.home, map[string]string{"a.txt": "edited while the vault was away"})
	m.wantUnavailable("not the one that the catalog knows")
	m.stop()
	m.putBack("vault", aside)
	m.must(m.start())
	m.wantPoints(points)
	m.wantBackups()
}

// A vault that is a day older than the catalog: what it lacks is marked as lost,
// and every drive goes on by itself.
func TestPlayVaultADayOlder(t *testing.T) {
	for _, first := range []jobs.Kind{jobs.Maintain, jobs.Backup} {
		t.Run(string(first), func(t *testing.T) {
			m, points := lossy(t, "ann", "bob")
			m.stop()
			old := m.copyOf(m.dir + "/vault")
			m.must(m.start())
			lost := map[backup.PointID]state{}
			m.grow(lost, 2)
			m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
			m.stop()
			m.putBack("vault", old)
			m.must(m.start())
			if first == jobs.Maintain {
				m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
			}
			m.wantBackups()
			for _, u := range m.units {
				for _, p := range m.points(u) {
					if _, gone := lost[p.ID]; gone != p.Lost {
						t.Errorf("the point of %v of unit %s is marked as lost: %v", p.At, u.ID, p.Lost)
					}
					if was, there := points[p.ID]; there {
						m.same("a point that is not lost", was, m.kept(p.Tree))
					}
				}
			}
			for _, p := range m.points(m.unit) {
				if p.Lost {
					_, err := m.catalog.CreateSession(m.ctx, m.tenant, backup.OneDrive, backup.RestoreStandard,
						[]catalog.NewArtifact{{Point: p.ID, Destination: backup.DestinationNew}}, backup.Stamp{})
					if !errors.Is(err, backup.InvalidRestorePoint) {
						t.Errorf("a session of a lost point: %v", err)
					}
				}
			}
			all := m.points(m.unit)
			oldest := all[len(all)-1]
			m.restored(oldest, backup.DestinationInPlace)
			m.same("the drive", points[oldest.ID], m.hostileWorld.look(m.home))
		})
	}
}

// A catalog that is a day older than the vault takes up what it does not know.
func TestPlayCatalogADayOlder(t *testing.T) {
	for _, first := range []jobs.Kind{jobs.Maintain, jobs.Backup} {
		t.Run(string(first), func(t *testing.T) {
			m, points := lossy(t, "ann", "bob")
			m.stop()
			old, err := os.ReadFile(m.dir + "/catalog.db")
			m.must(err)
			m.must(m.start())
			m.grow(points, 2)
			m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
			m.stop()
			m.must(os.WriteFile(m.dir+"/catalog.db", old, 0o600))
			m.must(m.start())
			if first == jobs.Backup {
				m.wantBackups()
			}
			m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
			m.wantPoints(points)
			m.wantBackups()
			m.wantPoints(points)
		})
	}
}

// A drive that begins anew under a catalog that is a day older than the vault owns
// the points that the catalog knows of, and no others: the next expiry would drop
// them as though their time were over.
func TestBeginningAnewUnderAnOlderCatalog(t *testing.T) {
	m, points := lossy(t, "ann", "bob")
	m.stop()
	old, err := os.ReadFile(m.dir + "/catalog.db")
	m.must(err)
	m.must(m.start())
	m.grow(points, 2)
	m.stop()
	m.must(os.WriteFile(m.dir+"/catalog.db", old, 0o600))
	m.must(m.start())
	set := func(what string) {
		t.Helper()
		m.must(m.db.Tx(m.ctx, func(tx *database.Tx) error {
			_, err := tx.ExecContext(m.t.Context(), `UPDATE drive_state SET `+what)
			return err
		}))
	}
	set(`tree = 'k0123456789abcdef0123456789abcdef'`)
	for _, u := range m.units {
		m.later(time.Minute)
		m.hostileWorld.backUp(u)
	}
	if !strings.Contains(m.log.String(), "of a drive; that begins anew") {
		t.Fatal("no drive began anew")
	}
	set(`trim = 1`)
	m.run(jobs.Expire, string(m.tenant), m.engine.expire)
	m.run(jobs.Maintain, string(m.tenant), m.engine.maintain)
	m.wantPoints(points)
	m.wantBackups()
	m.wantPoints(points)
}

// A drive that begins anew from a tree whose folders can be read, and some of whose
// contents are in no pack and no index any more, downloads those again.
func TestBeginningAnewWithoutSomeContents(t *testing.T) {
	m := newMortal(t, "ann")
	unit := m.protectAll()[0]
	m.put(m.home, map[string]string{"docs/first.txt": strings.Repeat("first ", 2000), "docs/gone.txt": "gone tomorrow", "empty.txt": ""})
	m.hostileWorld.backUp(unit)
	first := m.blobs("")
	m.later(time.Minute)
	m.put(m.home, map[string]string{"docs/second.txt": strings.Repeat("second ", 2000), "other/third.txt": "third"})
	m.hostileWorld.backUp(unit)
	m.stop()
	for _, path := range first {
		if name := strings.TrimPrefix(path, m.dir+"/vault/"); strings.HasPrefix(name, "p/") || strings.HasPrefix(name, "q/") || strings.HasPrefix(name, "x/") {
			m.must(os.Remove(path))
		}
	}
	m.must(m.start())
	m.must(m.db.Tx(m.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(m.t.Context(), `UPDATE drive_state SET root = 'k0123456789abcdef0123456789abcdef'`)
		return err
	}))
	m.put(m.home, map[string]string{"docs/fourth.txt": "fourth"})
	m.later(time.Hour)
	p := m.hostileWorld.backUp(unit)
	m.same("the next point", m.hostileWorld.look(m.home), m.kept(p.Tree))
	if problem := m.hostileWorld.unit(unit.ID).Problem; problem != nil {
		t.Errorf("the unit says %+v", problem)
	}
}
