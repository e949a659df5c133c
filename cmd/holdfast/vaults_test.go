package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/vault"
)

// A logBuffer keeps what a server logs.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// A tenant whose vault cannot be used is unavailable and says why. The server
// starts, says so in a line of its log and in readyz, and serves the other.
func TestOneBadVaultStopsOnlyItsTenant(t *testing.T) {
	const bad, good = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	tenant := `{"id": %q, "displayName": "T", "domain": "%[2]s.example", "users": [{"id": %[1]q, "userPrincipalName": "ann@%[2]s.example", "mail": "ann@%[2]s.example", "displayName": "Ann"}],
		"apps": [{"appId": %[1]q, "secret": "s", "displayName": "A", "roles": []}]}`
	file := fmt.Sprintf(`{"tenants": [`+tenant+`,`+fmt.Sprintf(tenant, good, "good")+`]}`, bad, "bad")

	ofAnother := func(t *testing.T, dir string) {
		v, err := vault.Open(t.Context(), vault.Config{Dir: dir, Create: true, Password: "another", State: t.TempDir()})
		if err == nil {
			err = v.Close(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		ready string // what readyz says of the tenant
		unit  string // what its unit says
	}{
		{"of another password", ofAnother, "the vault does not open with this password", "password"},
		{"damaged", func(t *testing.T, dir string) {
			ofAnother(t, dir)
			format := filepath.Join(dir, "kopia.repository.f")
			b, err := os.ReadFile(format)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(format, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "", "vault"},
		{"a file where its folder should be", func(t *testing.T, dir string) {
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "the vault's storage cannot be used", "vault"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, path := t.TempDir(), filepath.Join(t.TempDir(), "tenants.json")
			if err := errors.Join(os.WriteFile(path, []byte(file), 0o600), os.MkdirAll(filepath.Join(data, "vault"), 0o700)); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, filepath.Join(data, "vault", bad))
			log := &logBuffer{}
			d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, tenant: path, interval: time.Hour}, newLog(io.MultiWriter(t.Output(), log)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			if n := strings.Count(log.String(), "the vault of a tenant cannot be used"); n != 1 || !strings.Contains(log.String(), bad) {
				t.Errorf("it says %d times that a vault cannot be used: %s", n, log)
			}
			res, err := http.Get(d.origin + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if want := "tenant " + bad + " is unavailable: " + test.ready; res.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "ready\n") ||
				!strings.Contains(string(body), want) || strings.Contains(string(body), good) || strings.Contains(string(body), data) {
				t.Errorf("/readyz = %d %s, want 200 and %q alone", res.StatusCode, body, want)
			}

			unit := map[backup.TenantID]backup.PolicyID{}
			for _, id := range []backup.TenantID{bad, good} {
				p, err := d.catalog.CreatePolicy(t.Context(), id, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "All", Units: []backup.SubjectID{backup.SubjectID(id)}})
				if err == nil {
					_, err = d.catalog.ActivatePolicy(t.Context(), id, p.ID, backup.Stamp{})
				}
				if err != nil {
					t.Fatal(err)
				}
				unit[id] = p.ID
			}
			var units [2]backup.Unit
			if err := poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
				for i, id := range []backup.TenantID{bad, good} {
					list, err := d.catalog.Units(t.Context(), id, catalog.UnitQuery{Policy: unit[id]})
					if err != nil || len(list.Items) != 1 {
						return false, err
					}
					units[i] = list.Items[0]
				}
				return units[0].Problem != nil && units[1].Status == backup.UnitProtected, nil
			}); err != nil {
				t.Fatal(err)
			}
			p := units[0].Problem
			if p.Code != backup.VaultUnavailable && p.Code != backup.VaultDamaged || !strings.Contains(p.Message, test.unit) {
				t.Errorf("the unit says %+v, want it to speak of %q", p, test.unit)
			}
			if units[1].Problem != nil {
				t.Errorf("the other tenant's unit says %+v", units[1].Problem)
			}
		})
	}
}

// fakeVaults are vaults that open as open says, without a disk.
func fakeVaults(t *testing.T, log io.Writer, tenants []backup.TenantID, open func(backup.TenantID) error) *vaults {
	s := newVaults(tenants, func(backup.VaultName) string { return "/" }, slog.New(slog.NewTextHandler(log, nil)),
		func(_ context.Context, t backup.VaultName) (*vault.Vault, error) {
			if err := open(t.Tenant); err != nil {
				return nil, err
			}
			return new(vault.Vault), nil
		})
	s.shut = func(*vault.Vault, context.Context) error { return nil }
	return s
}

// A vault that does not open is tried again, but not at each question, and not
// twice at once; the log tells of it when it begins and when it ends.
func TestAVaultIsTriedAgainAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		log, password := &logBuffer{}, atomic.Bool{}
		s := fakeVaults(t, log, []backup.TenantID{"a"}, func(backup.TenantID) error {
			tries.Add(1)
			time.Sleep(time.Second)
			if password.Load() {
				return nil
			}
			return vault.ErrPassword
		})
		ask := func() error {
			var all sync.WaitGroup
			var failed [9]error
			for i := range failed {
				all.Go(func() {
					v, err := s.get(t.Context(), backup.FirstVault("a"))
					if (v == nil) == (err == nil) {
						t.Errorf("get = %v, %v", v, err)
					}
					failed[i] = err
				})
			}
			all.Wait()
			return errors.Join(failed[:]...)
		}
		for _, step := range []struct {
			after time.Duration
			right bool // the password, by then
			tries int32
			open  bool
		}{
			{0, false, 1, false},
			{30 * time.Second, true, 1, false},
			{28 * time.Second, false, 1, false},
			{time.Second, false, 2, false},
			{time.Minute, true, 3, true},
			{time.Hour, false, 3, true},
		} {
			time.Sleep(step.after)
			password.Store(step.right)
			err := ask()
			if step.open != (err == nil) || err != nil && !errors.Is(err, vault.ErrPassword) || tries.Load() != step.tries {
				t.Errorf("after %v more it was tried %d times, %v; want %d, open %v", step.after, tries.Load(), err, step.tries, step.open)
			}
		}
		if lines := log.String(); strings.Count(lines, "\n") != 2 || strings.Count(lines, "cannot be used") != 1 || strings.Count(lines, "can be used again") != 1 {
			t.Errorf("logged %s", lines)
		}
	})
}

// Vaults that hang while they are opened, more than are opened at a time, keep
// nobody who asks for long, and keep no other vault from opening. One that
// panics is one that does not open.
func TestAHangingVaultBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan bool)
		log := &logBuffer{}
		var tenants []backup.TenantID
		for i := range 2 * openAtATime {
			tenants = append(tenants, backup.TenantID(fmt.Sprint("hangs", i)))
		}
		tenants = append(tenants, "panics", "opens")
		s := fakeVaults(t, log, tenants, func(t backup.TenantID) error {
			if strings.HasPrefix(string(t), "hangs") {
				<-hang
			}
			if t == "panics" {
				panic("out of range")
			}
			return nil
		})
		began := time.Now()
		s.openAll(t.Context())
		if took := time.Since(began); took > openPatience {
			t.Errorf("to start took %v", took)
		}
		time.Sleep(2 * openPatience) // the turns of those that hang are given up
		began = time.Now()
		if _, err := s.get(t.Context(), backup.FirstVault("opens")); err != nil {
			t.Errorf("the one that opens: %v", err)
		}
		if _, err := s.get(t.Context(), backup.FirstVault("panics")); err == nil || !strings.Contains(err.Error(), "panic: out of range") {
			t.Errorf("the one that panics: %v", err)
		}
		if _, err := s.get(t.Context(), backup.FirstVault("hangs1")); !errors.Is(err, errOpening) || !errors.Is(err, vault.ErrStorage) {
			t.Errorf("one that hangs: %v", err)
		} else if reason(err) != "its vault has not opened yet" {
			t.Errorf("one that hangs: %s", reason(err))
		}
		if _, err := s.get(t.Context(), backup.FirstVault("unknown")); err == nil {
			t.Error("a tenant that is not in the configuration has a vault")
		}
		if wrong := s.unusable(t.Context()); len(wrong) != len(tenants)-1 || wrong["opens"] != nil {
			t.Errorf("unusable = %v", wrong)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("to ask took %v", took)
		}
		close(hang)
		synctest.Wait()
		if wrong := s.unusable(t.Context()); len(wrong) != 1 || wrong["panics"] == nil {
			t.Errorf("once they no longer hang, unusable = %v", wrong)
		}
		if _, err := s.get(t.Context(), backup.FirstVault("hangs1")); err != nil {
			t.Errorf("one that hung: %v", err)
		}
	})
}

// People are told of a vault that does not open in minutes, and not of one that is only
// being opened, as that of a tenant is that was just added.
func TestAVaultThatIsBeingOpenedIsNoAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		s := &server{vaults: fakeVaults(t, io.Discard, []backup.TenantID{"new"}, func(backup.TenantID) error { <-hang; return nil })}
		if s.vaults.trouble(t.Context(), "new") == nil {
			t.Fatal("the vault is open")
		}
		if says := s.vaultAlarm(t.Context(), "new"); says != "" {
			t.Errorf("at once people are told: %s", says)
		}
		time.Sleep(openingTime)
		if says := s.vaultAlarm(t.Context(), "new"); says == "" {
			t.Error("minutes later nobody is told")
		}
		close(hang)
		synctest.Wait()
		if says := s.vaultAlarm(t.Context(), "new"); says != "" {
			t.Errorf("of an open vault people are told: %s", says)
		}
		if len(s.opening.since) != 0 {
			t.Errorf("still opening: %v", s.opening.since)
		}
	})
}

// Who asks again and again whether a thousand vaults are in their places has them looked at
// every few seconds; of a few it is looked each time.
func TestManyVaultsAreLookedAtNowAndThen(t *testing.T) {
	for many, again := range map[int]time.Duration{16: 0, 1016: 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var tenants []backup.TenantID
			for i := range many {
				tenants = append(tenants, backup.TenantID(fmt.Sprint(i)))
			}
			s := fakeVaults(t, io.Discard, tenants, func(backup.TenantID) error { return nil })
			var looks atomic.Int64
			var gone atomic.Bool
			s.there = func(*vault.Vault, context.Context) error {
				looks.Add(1)
				if gone.Load() {
					return vault.ErrMissing
				}
				return nil
			}
			s.openAll(t.Context())
			ask := func() int64 {
				before := looks.Load()
				if wrong := s.unusable(t.Context()); len(wrong) > 0 != gone.Load() && looks.Load() > before {
					t.Errorf("of %d vaults it is wrong: %v", many, wrong)
				}
				return looks.Load() - before
			}
			if n := ask(); n != int64(many) {
				t.Errorf("first %d of %d vaults are looked at", n, many)
			}
			gone.Store(true)
			if again > 0 {
				time.Sleep(again - time.Millisecond)
				if n := ask(); n != 0 {
					t.Errorf("%d of %d vaults are looked at again after %v", n, many, again-time.Millisecond)
				}
				time.Sleep(time.Millisecond)
			}
			if n := ask(); n != int64(many) {
				t.Errorf("%d of %d vaults are looked at again after %v", n, many, again)
			}
		})
	}
}

// A look that another has begun since is no sign that the storage does not answer.
func TestALookOfAnotherIsNoHang(t *testing.T) {
	s := fakeVaults(t, io.Discard, []backup.TenantID{"a"}, func(backup.TenantID) error { return nil })
	if _, err := s.get(t.Context(), backup.FirstVault("a")); err != nil {
		t.Fatal(err)
	}
	v := s.all.Load().of[backup.FirstVault("a")]
	if !seen(t.Context(), v.look(nil, 0)) {
		t.Fatal("the look did not end")
	}
	v.looking = make(chan struct{})
	if err := v.state(true); err != nil {
		t.Errorf("after a look that ended, and while another goes on: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := v.state(seen(ended, v.looking)); !errors.Is(err, vault.ErrStorage) {
		t.Errorf("after a look that did not end: %v", err)
	}
	// What is known of it says why, and is not lost while it is looked once more.
	v.gone = vault.ErrRefused
	if err := v.state(seen(ended, v.looking)); !errors.Is(err, vault.ErrRefused) {
		t.Errorf("after a look that ended, and one that did not: %v", err)
	}
	v.unwritten = vault.ErrFull
	if err := v.state(seen(ended, v.looking)); !errors.Is(err, vault.ErrFull) {
		t.Errorf("after a probe that failed, and a look that did not end: %v", err)
	}
}

// A vault that opens only when the server has stopped is closed again, and a
// server that stops does not wait for it.
func TestVaultsCloseWhileOneOpens(t *testing.T) {
	late := make(chan bool)
	dir := t.TempDir()
	s := newVaults([]backup.TenantID{"a"}, func(backup.VaultName) string { return dir }, testLog(t), func(ctx context.Context, _ backup.VaultName) (*vault.Vault, error) {
		<-late
		return vault.Open(context.WithoutCancel(ctx), vault.Config{Dir: dir + "/vault", Create: true, Password: "p", State: dir + "/state"})
	})
	v := s.all.Load().of[backup.FirstVault("a")]
	opening, _ := s.begin(v, true)
	if err := s.close(t.Context()); err != nil {
		t.Errorf("close = %v", err)
	}
	close(late)
	<-opening
	if got, err := s.get(t.Context(), backup.FirstVault("a")); got != nil || err == nil {
		t.Errorf("after close get = %v, %v", got, err)
	}
}

// A process keeps a few vaults open: who has been used by nobody for longest makes
// room, and is none the worse for it.
func TestVaultsThatNobodyUsesMakeRoom(t *testing.T) {
	dir := t.TempDir()
	tenants := []backup.TenantID{"a", "b", "c", "d"}
	opens := map[backup.TenantID]int{}
	var mu sync.Mutex
	s := newVaults(tenants, func(backup.VaultName) string { return dir }, testLog(t), func(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
		t := name.Tenant
		mu.Lock()
		opens[t]++
		mu.Unlock()
		return vault.Open(context.WithoutCancel(ctx), vault.Config{Dir: filepath.Join(dir, string(t)), Create: true, Password: "p", State: filepath.Join(dir, "state", string(t))})
	})
	t.Cleanup(func() { s.close(context.Background()) })
	s.most = 2
	open := func(want string) {
		t.Helper()
		var open string
		for range 10_000 { // room is made beside
			open = ""
			for _, t := range tenants {
				v := s.all.Load().of[backup.FirstVault(t)]
				v.mu.Lock()
				if v.vault != nil {
					open += string(t)
				}
				v.mu.Unlock()
			}
			if open == want {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("open are %q, want %q", open, want)
	}
	// use has a vault used until end is called.
	use := func(tenant backup.TenantID) (v *vault.Vault, end func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		v, err := s.get(ctx, backup.FirstVault(tenant))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Points(ctx, vault.DriveKey{Tenant: tenant, Drive: "d"}); err != nil {
			t.Fatalf("%s is given out and cannot be used: %v", tenant, err)
		}
		return v, cancel
	}
	first, _ := use("a")
	for _, other := range tenants[1:] {
		_, end := use(other)
		end()
		open("a" + string(other))
	}
	open("ad") // the one in use and the last
	if again, err := s.get(t.Context(), backup.FirstVault("a")); err != nil || again != first || opens["a"] != 1 {
		t.Errorf("one in use was opened anew: %v", err)
	}
	if wrong := s.unusable(t.Context()); len(wrong) > 0 {
		t.Errorf("unusable = %v", wrong)
	}
	open("ad")
	_, endB := use("b")
	_, endC := use("c")
	open("abc") // all that are in use
	endB()
	open("ac")
	endC()
	open("ac")
}

// A vault that a person has accepted in another's place is opened by a server that
// has the other open.
func TestAnAcceptedVaultIsOpened(t *testing.T) {
	dir := t.TempDir()
	now := "first"
	open := func(ctx context.Context, _ backup.VaultName) (*vault.Vault, error) {
		return vault.Open(context.WithoutCancel(ctx), vault.Config{Dir: dir + "/" + now, Create: true, Password: "p", State: dir + "/state of " + now})
	}
	s := newVaults([]backup.TenantID{"a"}, func(backup.VaultName) string { return dir }, testLog(t), open)
	t.Cleanup(func() { s.close(context.Background()) })
	first, err := s.get(t.Context(), backup.FirstVault("a"))
	if err != nil {
		t.Fatal(err)
	}
	known := first.ID()
	s.known = func(context.Context, backup.VaultName) (string, error) { return known, nil }
	s.all.Load().of[backup.FirstVault("a")].checked = time.Time{}
	if again, err := s.get(t.Context(), backup.FirstVault("a")); again != first || err != nil {
		t.Errorf("get = %v, %v, want the vault that is open", again, err)
	}
	now = "second"
	known = "what the second will be known by"
	s.all.Load().of[backup.FirstVault("a")].checked, s.all.Load().of[backup.FirstVault("a")].tried = time.Time{}, time.Time{}
	second, err := s.get(t.Context(), backup.FirstVault("a"))
	if err != nil || second == first || second.ID() == first.ID() {
		t.Errorf("get = %v, %v, want another vault", second, err)
	}
}

// The catalog is lost while the volume of the vaults is not mounted, or another vault
// is in the place of the tenant's. No vault is made, and nothing is written to the
// other: the state folder knows which one was there. When that is back, or given up
// by a person, all goes on.
func TestPlayALostCatalogMakesNoVaultInThePlaceOfAnother(t *testing.T) {
	for name, standIn := range map[string]func(dir string) error{
		"no folder":       func(string) error { return nil },
		"an empty folder": func(dir string) error { return os.Mkdir(dir, 0o700) },
		"another vault": func(dir string) error {
			v, err := vault.Open(t.Context(), vault.Config{Dir: dir, Create: true, Password: "another", State: t.TempDir()})
			if err != nil {
				return err
			}
			return v.Close(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			var log logBuffer
			with := func(do func(d *devServer)) {
				t.Helper()
				d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: time.Hour}, newLog(&log))
				if err != nil {
					t.Fatal(err)
				}
				do(d)
				if err := d.close(); err != nil {
					t.Error(err)
				}
			}
			var tenant backup.TenantID
			var was, is string
			with(func(d *devServer) {
				tenant = backup.TenantID(d.cfg.Tenants[0].ID)
				v, err := d.vaults.get(t.Context(), backup.FirstVault(tenant))
				if err != nil {
					t.Fatal(err)
				}
				was = v.ID()
			})
			dir, away := filepath.Join(data, "vault", string(tenant)), filepath.Join(data, "away")
			if err := errors.Join(os.Rename(dir, away), standIn(dir), os.Remove(filepath.Join(data, "catalog.db"))); err != nil {
				t.Fatal(err)
			}
			there := func() map[string]string {
				if _, err := os.Stat(dir); err != nil {
					return nil
				}
				return filesIn(t, dir)
			}
			before := there()
			with(func(d *devServer) {
				_, err := d.vaults.get(t.Context(), backup.FirstVault(tenant))
				if err == nil || !errors.Is(err, vault.ErrMissing) && !errors.Is(err, vault.ErrOther) || !strings.Contains(err.Error(), "vault accept") {
					t.Errorf("while the vault is away, get = %v", err)
				}
			})
			if after := there(); !maps.Equal(before, after) {
				t.Errorf("what is in its place was written to: %v, before %v", after, before)
			}
			if err := errors.Join(os.RemoveAll(dir), os.Rename(away, dir)); err != nil {
				t.Fatal(err)
			}
			id := func(d *devServer) {
				v, err := d.vaults.get(t.Context(), backup.FirstVault(tenant))
				if err != nil {
					t.Fatal(err)
				}
				is = v.ID()
			}
			if with(id); is != was {
				t.Errorf("when the vault is back, %s is opened, want %s", is, was)
			}
			// A person gives it up.
			if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.Remove(filepath.Join(data, "catalog.db"))); err != nil {
				t.Fatal(err)
			}
			with(func(*devServer) {})
			if text, code := said(t, "vault", "accept", "--data", data, "--yes"); code != 0 {
				t.Fatalf("accept: %d %s", code, text)
			}
			if with(id); is == was {
				t.Error("the vault that was given up is opened")
			}
		})
	}
}

// A job waits until those vaults are open that others asked for before, however long
// that takes, and its vault is open for it then; a person does not wait so long. What
// nobody asks for has others go first.
func TestJobsWaitForTheTurnOfTheirVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tenants []backup.TenantID
		for i := range 200 {
			tenants = append(tenants, backup.TenantID(fmt.Sprint("tenant", i)))
		}
		var mu sync.Mutex
		opens, most := map[backup.TenantID]int{}, 0
		opening := 0
		s := fakeVaults(t, io.Discard, tenants, func(t backup.TenantID) error {
			mu.Lock()
			opens[t]++
			opening++
			most = max(most, opening)
			mu.Unlock()
			time.Sleep(openPatience / 4)
			mu.Lock()
			opening--
			mu.Unlock()
			return nil
		})
		s.most = 10
		s.unusable(t.Context()) // which has all opened, as far as nobody else asks
		synctest.Wait()
		var all sync.WaitGroup
		for _, tenant := range tenants[150:] {
			all.Go(func() {
				ctx, cancel := context.WithCancel(patient(t.Context()))
				defer cancel()
				if _, err := s.get(ctx, backup.FirstVault(tenant)); err != nil {
					t.Errorf("a job of %s: %v", tenant, err)
				}
			})
		}
		began := time.Now()
		all.Wait()
		if took := time.Since(began); took <= openPatience || took > 4*openPatience {
			t.Errorf("the jobs waited %v", took)
		}
		mu.Lock()
		for _, tenant := range tenants[150:] {
			if opens[tenant] != 1 {
				t.Errorf("the vault of %s was opened %d times", tenant, opens[tenant])
			}
		}
		if len(opens) > 60 || most > openAtATime {
			t.Errorf("%d vaults were opened, up to %d at a time", len(opens), most)
		}
		mu.Unlock()
		began = time.Now()
		if _, err := s.get(t.Context(), backup.FirstVault(tenants[149])); !errors.Is(err, errOpening) && err != nil {
			t.Errorf("a person: %v", err)
		}
		if took := time.Since(began); took > openPatience {
			t.Errorf("a person waited %v", took)
		}
		time.Sleep(50 * openPatience)
		mu.Lock()
		defer mu.Unlock()
		if len(opens) != len(tenants) {
			t.Errorf("in the end %d vaults were opened", len(opens))
		}
	})
}

// Vaults that nobody uses are closed where they are heavy together, those first that
// were used longest ago, but not a few of them, however heavy those are.
func TestHeavyVaultsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenants := []backup.TenantID{"a", "b", "c", "d"}
		s := fakeVaults(t, io.Discard, tenants, func(backup.TenantID) error { return nil })
		s.heaviest, s.few, s.weigh = 5, 2, func(*vault.Vault) int64 { return 10 }
		for _, tenant := range tenants {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := s.get(ctx, backup.FirstVault(tenant)); err != nil {
				t.Fatal(err)
			}
			cancel()
			synctest.Wait()
		}
		open := ""
		for _, tenant := range tenants {
			v := s.all.Load().of[backup.FirstVault(tenant)]
			v.mu.Lock()
			if v.vault != nil {
				open += string(tenant)
			}
			v.mu.Unlock()
		}
		if open != "cd" {
			t.Errorf("open are %q", open)
		}
	})
}
