package main

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
)

// filesIn returns a folder's files by their paths in it, with what is in them.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path[len(dir):]] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A unit is added while the folder of the tenant's vault is empty, or holds the
// vault of another tenant. Nothing is written there, whether the server ran all the
// while or was started again. Once the true vault is back all drives heal without a
// person, the new one too, and the tenant's upkeep goes on.
func TestPlayAUnitIsAddedWhileAnotherVaultIsInPlace(t *testing.T) {
	const one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	const ann, eve, bob = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002", "b0000000-0000-4000-8000-000000000001"
	user := func(id, mail string) string {
		return fmt.Sprintf(`{"id": %q, "userPrincipalName": %q, "mail": %[2]q, "displayName": "X"}`, id, mail)
	}
	tenant := func(id, domain string, users ...string) string {
		return fmt.Sprintf(`{"id": %q, "displayName": "T", "domain": %q, "users": [%s], "apps": [{"appId": %[1]q, "secret": "s", "displayName": "A", "roles": []}]}`, id, domain, strings.Join(users, ","))
	}
	file := `{"tenants": [` + tenant(one, "one.example", user(ann, "ann@one.example"), user(eve, "eve@one.example")) + `,` + tenant(two, "two.example", user(bob, "bob@two.example")) + `]}`

	for _, standIn := range []string{"an empty folder", "another tenant's vault"} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, started again %v", standIn, restarted), func(t *testing.T) {
				data, path := t.TempDir(), filepath.Join(t.TempDir(), "tenants.json")
				if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
				var d *devServer
				start := func() {
					t.Helper()
					var err error
					if d, err = startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, tenant: path, interval: time.Second}, testLog(t)); err != nil {
						t.Fatal(err)
					}
				}
				stop := func() {
					t.Helper()
					if err := d.close(); err != nil {
						t.Error(err)
					}
				}
				start()
				defer func() { stop() }()
				write := func(owner, text string) {
					t.Helper()
					home := filepath.Join(d.drives, owner)
					if err := errors.Join(os.MkdirAll(home, 0o700), os.WriteFile(filepath.Join(home, "a.txt"), []byte(text), 0o600)); err != nil {
						t.Fatal(err)
					}
				}
				units := func(tenant backup.TenantID) map[string]backup.Unit {
					t.Helper()
					list, err := d.catalog.Units(t.Context(), tenant, catalog.UnitQuery{})
					if err != nil {
						t.Fatal(err)
					}
					all := map[string]backup.Unit{}
					for _, u := range list.Items {
						all[string(u.Subject)] = u
					}
					return all
				}
				// holds says whether the newest point of a unit holds a.txt of a size.
				holds := func(u backup.Unit, size int) bool {
					t.Helper()
					list, err := d.catalog.Points(t.Context(), one, catalog.PointQuery{Unit: u.ID, Page: catalog.Page{Limit: 1}})
					if err != nil || len(list.Items) == 0 || list.Items[0].Lost {
						return false
					}
					root, err := d.engine.Item(t.Context(), list.Items[0], backup.ItemRef{})
					return err == nil && root.Size == int64(size)
				}
				// soon has the tenant's failed and recurring jobs be due.
				soon := func() {
					t.Helper()
					err := d.db.Tx(t.Context(), func(tx *database.Tx) error {
						_, err := tx.ExecContext(t.Context(), `UPDATE job SET run_at = 0 WHERE tenant = $1 AND lease = ''`, one)
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				upkeepFails := func() (n int) {
					t.Helper()
					err := d.db.Read().QueryRowContext(t.Context(), `SELECT count(*) FROM job WHERE tenant = $1 AND kind IN ('maintain', 'expire', 'verify', 'record') AND (failures > 0 OR lease <> '' OR run_at = 0)`, one).Scan(&n)
					if err != nil {
						t.Fatal(err)
					}
					return n
				}

				write("ann@one.example", "one")
				write("eve@one.example", "three")
				write("bob@two.example", "two")
				policy := map[backup.TenantID]backup.PolicyID{}
				for id, owner := range map[backup.TenantID]backup.SubjectID{one: ann, two: bob} {
					p, err := d.catalog.CreatePolicy(t.Context(), id, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "All", Units: []backup.SubjectID{owner}})
					if err == nil {
						_, err = d.catalog.ActivatePolicy(t.Context(), id, p.ID, backup.Stamp{})
					}
					if err != nil {
						t.Fatal(err)
					}
					policy[id] = p.ID
				}
				wait(t, "both tenants are backed up", func() bool {
					return units(one)[ann].Status == backup.UnitProtected && holds(units(one)[ann], 3) && units(two)[bob].Status == backup.UnitProtected
				})

				// Another vault, or none, takes the place of the true one.
				place, aside, copied := filepath.Join(data, "vault", one), filepath.Join(data, "true"), filepath.Join(data, "vault", two)
				if restarted {
					stop()
				}
				if err := os.Rename(place, aside); err != nil {
					t.Fatal(err)
				}
				if standIn == "an empty folder" {
					if err := os.Mkdir(place, 0o700); err != nil {
						t.Fatal(err)
					}
				} else if err := os.CopyFS(place, os.DirFS(copied)); err != nil {
					t.Fatal(err)
				}
				was := filesIn(t, place)
				if restarted {
					start()
				}
				write("ann@one.example", "edited")
				_, added, err := d.catalog.UpdatePolicy(t.Context(), one, policy[one], catalog.PolicyPatch{Units: []catalog.UnitChange{{Add: eve}}})
				if err != nil || added[0].Err != nil {
					t.Fatal(err, added)
				}
				wait(t, "both units say what is the matter", func() bool {
					soon()
					for _, u := range units(one) {
						if u.Problem == nil || u.Problem.Code != backup.VaultUnavailable {
							return false
						}
					}
					return len(units(one)) == 2
				})
				if now := filesIn(t, place); !maps.Equal(was, now) {
					t.Errorf("of what stands in the vault's place there were %d files, and are %d", len(was), len(now))
				}

				// The true one is put back, and nobody does anything else.
				if err := errors.Join(os.Rename(place, filepath.Join(data, "stand-in")), os.Rename(aside, place)); err != nil {
					t.Fatal(err)
				}
				v := d.vaults.all.Load().of[backup.FirstVault(one)]
				wait(t, "every drive is backed up as it is", func() bool {
					v.mu.Lock()
					v.tried = time.Time{} // a minute has passed
					v.mu.Unlock()
					soon()
					for owner, size := range map[string]int{ann: 6, eve: 5} {
						if u := units(one)[owner]; u.Status != backup.UnitProtected || u.Problem != nil || !holds(u, size) {
							return false
						}
					}
					return true
				})
				soon()
				wait(t, "the tenant's upkeep has run", func() bool { return upkeepFails() == 0 })
				if now := filesIn(t, filepath.Join(data, "stand-in")); !maps.Equal(was, now) {
					t.Errorf("of what stood in the vault's place there were %d files, and are %d", len(was), len(now))
				}
				if u := units(two)[bob]; u.Problem != nil {
					t.Errorf("the other tenant's unit says %+v", u.Problem)
				}
			})
		}
	}
}

// wait waits for something that comes by itself.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !comes(is) {
		t.Fatalf("not within a minute: %s", what)
	}
}
