package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/engine"
	"holdfast/internal/vault"
)

// openPatience is how long anybody waits for a vault that is being opened. It
// is a variable for tests on machines that have much else to do.
var openPatience = 10 * time.Second

const (
	// openAgain is how long a vault that could not be opened is left alone.
	openAgain = time.Minute
	// openAtATime is how many vaults are opened at a time. Each takes some 64 MB
	// for as long, and a third of a second of a processor, to make a key of the password.
	openAtATime = 4
	// maxOpenVaults is how many vaults are kept open, and maxOpenWeight how much memory
	// they may have together, but for those few that were used last, however large they
	// are: to open one again costs what a hundred visits do, and one of a small tenant
	// takes next to nothing. Each has caches on disk.
	maxOpenVaults = 2000
	maxOpenWeight = 256 << 20
	fewOpenVaults = 16
	// lookPatience is how long anybody waits to hear whether vaults are there.
	lookPatience = 2 * time.Second
)

// errOpening: the vault is not open yet, and whoever asked has waited enough.
var errOpening = fmt.Errorf("%w: it has not opened yet", vault.ErrStorage)

// vaults are the vaults of a server's tenants. Each is opened when it is first
// needed, and stays open until nobody uses it and room is wanted for another. One
// that cannot be opened makes its own tenant unavailable and no other: the reason is
// kept, said in the log, and given to whoever asks, until somebody asks a minute
// later, and it is tried again.
type vaults struct {
	// most is how many are kept open, and heaviest what they weigh together at most, unless
	// they are few; more are only while more are in use.
	most, few int
	heaviest  int64
	// weigh says what an open vault takes of memory, and shut closes it.
	weigh func(*vault.Vault) int64
	shut  func(*vault.Vault, context.Context) error
	// open opens a vault, which may take long, or for ever where a volume hangs. It is
	// called by one goroutine at a time for each vault.
	open func(context.Context, backup.VaultName) (*vault.Vault, error)
	// known returns the id by which a vault is known now, "" if by none. An open vault
	// that is another is let go. May be nil.
	known func(context.Context, backup.VaultName) (string, error)
	// further lists the vaults that there are besides the first of each tenant. May be nil.
	further func(context.Context) ([]backup.VaultName, error)
	hush    hush
	// there returns why an open vault is no longer in its place, or nil. May be nil.
	there func(*vault.Vault, context.Context) error
	// probe writes to an open vault, to see whether that can be done, and holding says
	// what it takes of its storage. May be nil.
	probe   func(*vault.Vault, context.Context) (time.Duration, error)
	holding func(*vault.Vault, context.Context) (vault.Holding, error)
	log     *slog.Logger

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	all    atomic.Pointer[vaultSet]
	dir    func(backup.VaultName) string
	change sync.Mutex // held by who changes all
	room   sync.Mutex // held by who makes room

	mu      sync.Mutex     // taken after a tenantVault's
	opened  int            // how many are open
	idle    []*tenantVault // those of them that nobody uses, longest first
	opening int            // how many are being opened
	waiting []*tenantVault // for their turns to be opened, in the order in which they came
}

// A vaultSet is the vaults of the tenants that are served at one time. It never changes.
type vaultSet struct {
	order []backup.VaultName
	of    map[backup.VaultName]*tenantVault
	// known are those, and of tenants that were served before: their vaults are closed
	// once nobody uses them any more, and opened again, only then, when they come back.
	known map[backup.VaultName]*tenantVault
}

// A tenantVault is what is known of one vault of a tenant.
type tenantVault struct {
	name backup.VaultName
	dir  string // its folder, "" of one in a bucket

	mu      sync.Mutex
	vault   *vault.Vault  // once it is open
	checked time.Time     // when it was last made sure that this is the tenant's
	err     error         // why it is not
	tried   time.Time     // when the last attempt began
	opening chan struct{} // closed when the attempt under way ends; nil if there is none
	turn    chan struct{} // closed when it has its turn
	users   int           // how many contexts it was given to that have not ended
	rests   chan struct{} // of one that made room for others: closed when it is closed
	closed  bool

	weight  atomic.Int64  // when it was last used
	turned  atomic.Int64  // when it had its turn last, in Unix nanoseconds
	asked   atomic.Bool   // somebody waits until it is open
	retires atomic.Bool   // its tenant is not served any more: it is closed once nobody uses it
	looking chan struct{} // closed when the look under way ends; nil if there is none
	seenVault
	gone   error     // what the last look found
	looked time.Time // when it ended
}

// seenVault is what was seen of a vault while it was open.
type seenVault struct {
	probing   bool           // a probe is under way
	probeAt   time.Time      // when another is worth it
	probed    bool           // one has ended
	unwritten error          // why it could not write
	room      int64          // that is left on its disk, -1 if that is not known
	holding   *vault.Holding // nil if that is not known
	listed    time.Time      // when it was looked last
}

// newVaults returns the vaults of tenants, each of which has its folder. None is
// open yet.
func newVaults(tenants []backup.TenantID, dir func(backup.VaultName) string, log *slog.Logger, open func(context.Context, backup.VaultName) (*vault.Vault, error)) *vaults {
	s := &vaults{most: maxOpenVaults, few: fewOpenVaults, heaviest: maxOpenWeight, weigh: (*vault.Vault).Weight, shut: (*vault.Vault).Close, open: open, log: log, dir: dir}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.all.Store(&vaultSet{})
	s.serve(tenants)
	return s
}

// serve has the vaults be those of tenants, from now on. One that could not be opened is
// tried again when it is next asked for: it may be that a password was put right.
func (s *vaults) serve(tenants []backup.TenantID) {
	s.change.Lock()
	defer s.change.Unlock()
	before := s.all.Load()
	var names []backup.VaultName
	for _, t := range tenants {
		names = append(names, backup.FirstVault(t))
	}
	for name := range before.known {
		if name.Number > 1 && slices.Contains(tenants, name.Tenant) {
			names = append(names, name)
		}
	}
	after := s.hold(before.known, names)
	for t, v := range after.known {
		v.mu.Lock()
		v.retires.Store(after.of[t] == nil)
		if v.err != nil {
			v.tried = time.Time{}
		}
		s.rest(v)
		v.mu.Unlock()
	}
	s.makeRoom()
}

// hold has the vaults be those of these names.
func (s *vaults) hold(known map[backup.VaultName]*tenantVault, names []backup.VaultName) *vaultSet {
	after := &vaultSet{order: names, of: map[backup.VaultName]*tenantVault{}, known: maps.Clone(known)}
	if after.known == nil {
		after.known = map[backup.VaultName]*tenantVault{}
	}
	for _, name := range names {
		if after.known[name] == nil {
			after.known[name] = &tenantVault{name: name, dir: s.dir(name)}
		}
		after.of[name] = after.known[name]
	}
	s.all.Store(after)
	return after
}

// add has further vaults of tenants that are served be among the vaults.
func (s *vaults) add(names ...backup.VaultName) {
	s.change.Lock()
	defer s.change.Unlock()
	before := s.all.Load()
	names = slices.DeleteFunc(slices.Clone(names), func(name backup.VaultName) bool {
		return before.of[name] != nil || before.of[backup.FirstVault(name.Tenant)] == nil
	})
	if len(names) > 0 {
		s.hold(before.known, append(slices.Clone(before.order), names...))
	}
}

// addFurther adds the vaults that there are besides the first of each tenant.
func (s *vaults) addFurther(ctx context.Context) {
	if s.further == nil {
		return
	}
	names, err := s.further(ctx)
	if err != nil {
		if ctx.Err() == nil && s.hush.tell("further") {
			s.log.Warn("it cannot be told which vaults tenants have besides their first; they are opened when they are needed", "err", err)
		}
		return
	}
	s.hush.over("further")
	s.add(names...)
}

// patient is a context of who waits until vaults that were asked for before are open, as
// jobs do. All others wait only as long as people do.
func patient(ctx context.Context) context.Context { return context.WithValue(ctx, patientKey{}, true) }

type patientKey struct{}

// get returns a tenant's vault, which stays open until ctx ends at least. It waits a
// little for one that is being opened, and not at all for one that lately could not
// be, or that hangs.
func (s *vaults) get(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
	if s.all.Load().of[name] == nil && name.Number > 1 {
		s.add(name)
	}
	v := s.all.Load().of[name]
	if v == nil {
		return nil, notOurs(name.Tenant)
	}
	s.use(ctx, v)
	for {
		s.check(ctx, v)
		if opening, turn := s.begin(v, true); opening != nil {
			v.mu.Lock()
			since := v.tried
			v.mu.Unlock()
			if ctx.Value(patientKey{}) != nil {
				select {
				case <-turn:
					since = time.Unix(0, v.turned.Load())
				case <-opening:
				case <-ctx.Done():
				}
			}
			select {
			case <-opening:
			case <-ctx.Done():
			case <-time.After(openPatience - time.Since(since)):
			}
		}
		v.mu.Lock()
		open, err, opens := v.vault, v.err, v.opening != nil
		v.mu.Unlock()
		switch {
		case open != nil, err != nil && !opens:
			return open, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case opens:
			return nil, errOpening
		} // or another was accepted in its place meanwhile
	}
}

// use keeps a vault from being closed to make room until ctx ends.
func (s *vaults) use(ctx context.Context, v *tenantVault) {
	v.mu.Lock()
	v.users++
	s.mu.Lock()
	s.busy(v)
	s.mu.Unlock()
	v.mu.Unlock()
	context.AfterFunc(ctx, func() {
		v.mu.Lock()
		v.users--
		s.rest(v)
		v.mu.Unlock()
		s.makeRoom()
	})
}

// busy takes v from those that nobody uses. The caller holds the lock of s.
func (s *vaults) busy(v *tenantVault) {
	s.idle = slices.DeleteFunc(s.idle, func(other *tenantVault) bool { return other == v })
}

// rest counts v among those that nobody uses, if so it is. The caller holds its lock.
func (s *vaults) rest(v *tenantVault) {
	if v.users > 0 || v.vault == nil {
		return
	}
	v.weight.Store(s.weigh(v.vault))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy(v)
	s.idle = append(s.idle, v)
}

// letGo forgets the vault that is open, and returns it. The caller holds the lock of v.
func (s *vaults) letGo(v *tenantVault) *vault.Vault {
	open := v.vault
	if open == nil {
		return nil
	}
	v.vault = nil
	v.unwritten, v.probed, v.probeAt = nil, false, time.Time{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened--
	s.busy(v)
	return open
}

// makeRoom closes what nobody has used for longest, where too many are open.
func (s *vaults) makeRoom() {
	s.room.Lock() // two would close one too many
	defer s.room.Unlock()
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.idle, func(v *tenantVault) bool { return v.retires.Load() })
		if i < 0 && len(s.idle) > 0 && (s.opened > s.most || len(s.idle) > s.few && s.weight() > s.heaviest) {
			i = 0
		}
		if i < 0 {
			s.mu.Unlock()
			return
		}
		v := s.idle[i]
		s.busy(v)
		s.mu.Unlock()
		v.mu.Lock()
		if v.users == 0 && !v.closed { // still
			if open := s.letGo(v); open != nil {
				rests := make(chan struct{})
				v.rests = rests
				go func() {
					defer close(rests)
					if err := s.shut(open, s.ctx); err != nil {
						s.log.Warn("close a vault that nobody uses", "tenant", v.name.Tenant, "vault", v.name.Number, "err", err)
					}
				}()
			}
		}
		v.mu.Unlock()
	}
}

// weight is what the vaults that nobody uses take of memory. The caller holds the lock.
func (s *vaults) weight() (all int64) {
	for _, v := range s.idle {
		all += v.weight.Load()
	}
	return all
}

// check lets go of a vault that is no longer the tenant's, since a person has
// accepted another in its place. It looks once a minute.
func (s *vaults) check(ctx context.Context, v *tenantVault) {
	v.mu.Lock()
	open := v.vault
	due := s.known != nil && open != nil && time.Since(v.checked) >= openAgain
	if due {
		v.checked = time.Now()
	}
	v.mu.Unlock()
	if !due {
		return
	}
	id, err := s.known(ctx, v.name)
	if err != nil || id == open.ID() {
		return
	}
	v.mu.Lock()
	if v.vault != open {
		v.mu.Unlock()
		return
	}
	s.letGo(v)
	v.err = nil
	v.mu.Unlock()
	s.log.Warn("the vault that was open is no longer the tenant's; the one that is known now is opened", "tenant", v.name.Tenant, "vault", v.name.Number, "was", open.ID())
	go func() {
		if err := s.shut(open, s.ctx); err != nil {
			s.log.Warn("close a vault that is no longer the tenant's", "tenant", v.name.Tenant, "vault", v.name.Number, "err", err)
		}
	}()
}

// begin begins to open a vault if it is time to: before those that nobody asked for, if
// asked. It returns what to wait for, nil if nothing is under way: its end, and its turn.
func (s *vaults) begin(v *tenantVault, asked bool) (opening, turn <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	due := v.err == nil || time.Since(v.tried) >= openAgain
	if v.vault == nil && v.opening == nil && !v.closed && due {
		v.opening, v.turn, v.tried = make(chan struct{}), make(chan struct{}), time.Now()
		go s.attempt(v, v.rests)
	}
	if asked && v.opening != nil {
		v.asked.Store(true)
		s.nextTurns()
	}
	return v.opening, v.turn
}

// beginFirst is begin for who wants to know only whether the vault can be opened,
// which one that was open and made room for others can.
func (s *vaults) beginFirst(v *tenantVault) {
	v.mu.Lock()
	rests := v.rests != nil
	v.mu.Unlock()
	if !rests {
		s.begin(v, false)
	}
}

// nextTurns has those be opened whose turn it is: one is left to those that somebody
// asks for.
func (s *vaults) nextTurns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 {
		i := slices.IndexFunc(s.waiting, func(v *tenantVault) bool { return v.asked.Load() })
		most := openAtATime
		if i < 0 {
			i, most = 0, openAtATime-1
		}
		if s.opening >= most {
			return
		}
		s.opening++
		s.waiting[i].turned.Store(time.Now().UnixNano())
		close(s.waiting[i].turn)
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
}

// attempt opens a vault, once rests is closed if it is not nil, and notes what came
// of it.
func (s *vaults) attempt(v *tenantVault, rests <-chan struct{}) {
	if rests != nil {
		<-rests
	}
	opened, err := s.openInTurn(v)
	v.asked.Store(false)
	v.mu.Lock()
	before := v.err
	if v.closed && opened != nil {
		err = errors.Join(errors.New("the server stops"), s.shut(opened, s.ctx))
		opened = nil
	}
	v.vault, v.err, v.rests = opened, err, nil
	if opened != nil {
		s.mu.Lock()
		s.opened++
		s.mu.Unlock()
		s.rest(v)
	}
	close(v.opening)
	v.opening = nil
	closed := v.closed
	v.mu.Unlock()
	s.makeRoom()
	switch {
	case closed:
	case err == nil && before != nil:
		s.log.Info("the vault of a tenant can be used again", "tenant", v.name.Tenant, "vault", v.name.Number)
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.log.Error("the vault of a tenant cannot be used, so nothing of the tenant is backed up or restored; the other tenants are served", "tenant", v.name.Tenant, "vault", v.name.Number, "err", err)
	}
}

// openInTurn opens a vault when few others are being opened. One that hangs
// does not keep its turn.
func (s *vaults) openInTurn(of *tenantVault) (v *vault.Vault, err error) {
	name := of.name
	s.mu.Lock()
	s.waiting = append(s.waiting, of)
	s.mu.Unlock()
	s.nextTurns()
	select {
	case <-of.turn:
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	done := sync.OnceFunc(func() {
		s.mu.Lock()
		s.opening--
		s.mu.Unlock()
		s.nextTurns()
	})
	defer done()
	defer time.AfterFunc(openPatience, done).Stop()
	defer func() {
		if p := recover(); p != nil { // of what a damaged vault may do
			s.log.Error("panic while a vault was opened", "tenant", name.Tenant, "vault", name.Number, "panic", p, "stack", string(debug.Stack()))
			v, err = nil, fmt.Errorf("open the vault of tenant %s: panic: %v", name, p)
		}
	}()
	if v, err = s.open(s.ctx, name); err != nil {
		return nil, fmt.Errorf("open the vault of tenant %s: %w", name, err)
	}
	return v, nil
}

// openAll opens the vaults, as many as are kept open, and waits a little for them. Of
// those that are not open then there are lines in the log.
func (s *vaults) openAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	s.addFurther(ctx)
	all := s.all.Load()
	first := all.order[:min(len(all.order), s.most)]
	for _, name := range first {
		s.begin(all.of[name], false)
	}
	late, said := 0, 0
	for _, name := range first {
		_, err := s.get(ctx, name)
		if errors.Is(err, errOpening) || errors.Is(err, context.DeadlineExceeded) {
			if late++; said < maxLateSaid {
				said++
				s.log.Warn("the vault of a tenant has not opened yet; the server starts without it", "tenant", name.Tenant, "vault", name.Number)
			}
		}
	}
	if late > said {
		s.log.Warn("the vaults of further tenants have not opened yet; the server starts without them", "vaults", late-said)
	}
}

// maxLateSaid is of how many vaults that are late there is a line each.
const maxLateSaid = 10

// unusable returns why vaults cannot be used now, by tenant: of one that has several,
// what is wrong with the first that is. It waits a little for storage that does not
// answer.
func (s *vaults) unusable(ctx context.Context) map[backup.TenantID]error {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	all := s.all.Load()
	return s.wrong(ctx, all, all.order)
}

// lookRests is for how long it is not looked again for each vault that is looked at beyond
// the first few: a look takes some tenths of a millisecond, and who has a thousand vaults may
// be asked every second.
const lookRests, lookedAlways = 10 * time.Millisecond, 16

// wrong is unusable of some of the vaults.
func (s *vaults) wrong(ctx context.Context, all *vaultSet, names []backup.VaultName) map[backup.TenantID]error {
	looks := map[backup.VaultName]<-chan struct{}{}
	for _, name := range names {
		s.beginFirst(all.of[name])
		looks[name] = all.of[name].look(s.there, time.Duration(max(0, len(names)-lookedAlways))*lookRests)
	}
	wrong := map[backup.TenantID]error{}
	for _, name := range names {
		if err := all.of[name].state(seen(ctx, looks[name])); err != nil && wrong[name.Tenant] == nil {
			wrong[name.Tenant] = err
		}
	}
	return wrong
}

// trouble returns why a tenant's vault cannot be used now, or nil. It waits a little
// for storage that does not answer.
func (s *vaults) trouble(ctx context.Context, t backup.TenantID) error {
	all := s.all.Load()
	if all.of[backup.FirstVault(t)] == nil {
		return notOurs(t)
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	names := slices.DeleteFunc(slices.Clone(all.order), func(name backup.VaultName) bool { return name.Tenant != t })
	return s.wrong(ctx, all, names)[t]
}

// seen waits for a look, and reports whether it ended before ctx did.
func seen(ctx context.Context, look <-chan struct{}) bool {
	select {
	case <-look:
		return true
	case <-ctx.Done():
		return false
	}
}

// state returns why a vault cannot be used, or nil, after a look at its place, of
// which seen says whether it has ended.
func (v *tenantVault) state(seen bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.vault == nil && v.err != nil:
		return v.err
	case v.vault == nil && v.rests == nil:
		return errOpening
	case !seen && v.looking != nil && v.unwritten != nil: // which says why
		return v.unwritten
	case !seen && v.looking != nil && errors.Is(v.gone, vault.ErrStorage): // so does the look before
		return v.gone
	case !seen && v.looking != nil: // another's look may have begun since
		return fmt.Errorf("%w: it does not answer", vault.ErrStorage)
	case errors.Is(v.gone, vault.ErrStorage), errors.Is(v.gone, vault.ErrOther), errors.Is(v.gone, vault.ErrMissing), errors.Is(v.gone, vault.ErrDamaged):
		return v.gone
	case v.gone == nil && v.unwritten != nil:
		return v.unwritten
	case v.gone != nil:
		return fmt.Errorf("%w: %w", vault.ErrMissing, v.gone)
	}
	return nil
}

// look finds out whether the vault is still in its place, unless that was done so recently
// that it is believed. Whoever asks while a look is under way waits for that one: where a
// volume hangs, one look hangs with it.
func (v *tenantVault) look(there func(*vault.Vault, context.Context) error, believed time.Duration) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.looking == nil && time.Since(v.looked) < believed {
		done := make(chan struct{})
		close(done)
		return done
	}
	if v.looking == nil {
		looking := make(chan struct{})
		v.looking = looking
		open := v.vault
		go func() {
			var err error
			if v.dir != "" {
				_, err = os.Stat(v.dir)
			}
			if err == nil && v.dir != "" {
				err = roomFor(v.dir)
			}
			if err == nil && open != nil && there != nil {
				err = there(open, context.Background())
			}
			v.mu.Lock()
			v.gone, v.looking, v.looked = err, nil, time.Now()
			if errors.Is(err, vault.ErrStorage) {
				v.probeAt = time.Time{} // the next probe says more
			}
			v.mu.Unlock()
			close(looking)
		}()
	}
	return v.looking
}

// roomFor says why a vault's folder cannot be written to.
func roomFor(dir string) error {
	wrong := writable(dir)
	if errors.Is(wrong, errFull) {
		return fmt.Errorf("%w: %w", vault.ErrFull, wrong)
	} else if wrong != nil {
		return vault.Failure(wrong)
	}
	return nil
}

// How often it is looked at open vaults at most, and how long each look has. The first is a
// variable for tests.
var probeEvery = 30 * time.Second

const (
	probeTime   = 20 * time.Second
	holdingTime = 10 * time.Minute
	listEvery   = time.Hour
)

// errUnwritten: what was to be written to a vault's storage is not there.
var errUnwritten = errors.New("the vault's storage cannot be written to")

// watch probes the open vaults again and again, and lists what they hold now and then,
// until ctx ends. None keeps another waiting for its probe.
func (s *vaults) watch(ctx context.Context) {
	var listing atomic.Bool
	for {
		s.addFurther(ctx)
		for _, v := range s.all.Load().of {
			v.mu.Lock()
			open := v.vault
			if open != nil && !v.probing && s.probe != nil && !time.Now().Before(v.probeAt) {
				v.probing = true
				go s.probeOne(ctx, v, open)
			}
			v.mu.Unlock()
		}
		if s.holding != nil && listing.CompareAndSwap(false, true) {
			go func() {
				defer listing.Store(false)
				for _, v := range s.all.Load().of {
					s.list(ctx, v)
				}
			}()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(probeEvery):
		}
	}
}

// probeOne notes whether an open vault can be written to, at the latest after its time: where a
// volume hangs, the probe hangs with it.
func (s *vaults) probeOne(ctx context.Context, v *tenantVault, open *vault.Vault) {
	limited, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		again, err, room := time.Duration(0), error(nil), int64(-1)
		if v.dir != "" {
			room = roomOn(v.dir)
			if wrong := full(v.dir, room); wrong != nil {
				err = fmt.Errorf("%w: %w", vault.ErrFull, wrong)
			}
		}
		if err == nil {
			again, err = s.probe(open, limited)
		}
		v.mu.Lock()
		v.probing, v.room = false, room
		if v.vault == open {
			v.probeAt = time.Now().Add(again - probeEvery/2) // the turn that is the nearest
		}
		v.mu.Unlock()
		done <- err
	}()
	var err error
	select {
	case err = <-done:
	case <-limited.Done():
		err = errors.New("it does not answer")
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil && !errors.Is(err, vault.ErrStorage) {
		err = fmt.Errorf("%w: %w", vault.ErrStorage, err)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnwritten, err)
	}
	v.mu.Lock()
	if v.vault != open { // it was closed meanwhile
		v.mu.Unlock()
		return
	}
	before := v.unwritten
	v.unwritten, v.probed = err, true
	v.mu.Unlock()
	switch {
	case err == nil && before != nil:
		s.log.Info("the vault of a tenant can be written to again", "tenant", v.name.Tenant, "vault", v.name.Number)
	case err != nil && before == nil:
		s.log.Error("the vault of a tenant cannot be written to", "tenant", v.name.Tenant, "vault", v.name.Number, "err", err)
	}
}

// list notes what an open vault holds, if that was not looked at for an hour.
func (s *vaults) list(ctx context.Context, v *tenantVault) {
	v.mu.Lock()
	open := v.vault
	due := open != nil && time.Since(v.listed) >= listEvery
	v.mu.Unlock()
	if !due || ctx.Err() != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, holdingTime)
	defer cancel()
	s.use(limited, v)
	h, err := s.holding(open, limited)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listed = time.Now()
	if err == nil {
		v.holding = &h
	} else if ctx.Err() == nil {
		s.log.Warn("it cannot be told how much the vault of a tenant holds", "tenant", v.name.Tenant, "vault", v.name.Number, "err", err)
	}
}

// seen is what was seen of the vaults.
func (s *vaults) seen() map[backup.VaultName]seenVault {
	all := map[backup.VaultName]seenVault{}
	for name, v := range s.all.Load().of {
		v.mu.Lock()
		all[name] = v.seenVault
		v.mu.Unlock()
	}
	return all
}

// reason says in a few words, which name no folder, why a vault cannot be used.
func reason(err error) string {
	for _, kind := range []error{errFull, errUnwritable, vault.ErrStateFull, vault.ErrFull, vault.ErrRefused, errUnwritten, vault.ErrPassword, vault.ErrMissing, vault.ErrOther, vault.ErrNewer, vault.ErrDamaged} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	if errors.Is(err, errOpening) {
		return "its vault has not opened yet"
	}
	return "the vault's storage cannot be used"
}

// close closes what is open, until ctx ends.
func (s *vaults) close(ctx context.Context) error {
	s.cancel()
	type outcome struct {
		name backup.VaultName
		err  error
	}
	all := s.all.Load().known
	ended := make(chan outcome, len(all))
	left := map[backup.VaultName]bool{}
	for name, v := range all {
		v.mu.Lock()
		open := s.letGo(v)
		v.err, v.closed = errors.New("the server stops"), true
		v.mu.Unlock()
		if open != nil {
			left[name] = true
			go func() { ended <- outcome{name, s.shut(open, ctx)} }()
		}
	}
	var errs []error
	for len(left) > 0 {
		select {
		case o := <-ended:
			delete(left, o.name)
			if o.err != nil {
				errs = append(errs, fmt.Errorf("close the vault of tenant %s: %w", o.name, o.err))
			}
		case <-ctx.Done():
			for name := range left {
				errs = append(errs, fmt.Errorf("close the vault of tenant %s: %w", name, context.Cause(ctx)))
			}
			return errors.Join(errs...)
		}
	}
	return errors.Join(errs...)
}

// openVault opens a vault that the catalog knows by its id. Where it knows none, the
// vault that is there is the tenant's from now on, and an empty catalog first takes the
// tenant's record from the first. One is made only if create says so, and where neither
// the catalog knows of anything that a vault would have to hold, nor the folder of state
// of a vault that was there before. Place says where a vault is.
func openVault(ctx context.Context, c *catalog.Catalog, name backup.VaultName, place func(backup.VaultName) (vault.Config, error), create bool) (*vault.Vault, error) {
	cfg, err := place(name)
	if err != nil {
		return nil, err
	}
	id, err := c.VaultID(ctx, name)
	if err != nil {
		return nil, err
	}
	cfg.ID = id
	noted := filepath.Join(cfg.State, vaultNote)
	if id == "" {
		b, err := os.ReadFile(noted)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("which vault was there before: %w", err)
		}
		drives, err := c.Roots(ctx, name)
		if err != nil {
			return nil, err
		}
		wanted, err := c.WantsVault(ctx, name)
		if err != nil {
			return nil, err
		}
		cfg.ID = strings.TrimSpace(string(b))
		cfg.Create = create && wanted && len(drives) == 0 && cfg.ID == ""
	}
	if cfg.Create && cfg.Remote() {
		if err := c.MakeVault(ctx, name, func(ctx context.Context) error { return vault.Make(ctx, cfg) }); err != nil {
			return nil, err
		}
		cfg.Create = false
	}
	v, err := vault.Open(ctx, cfg)
	if err != nil && id == "" && cfg.ID != "" && (errors.Is(err, vault.ErrMissing) || errors.Is(err, vault.ErrOther)) {
		return nil, fmt.Errorf("%w; the catalog knows of none, but %s does: if the one before is given up for good, say so by 'holdfast vault accept --tenant %s%s --yes'", err, noted, name.Tenant, numberFlag(name))
	}
	if err != nil {
		return nil, err
	}
	if id == "" && name.Number == 1 {
		_, err = engine.ImportRecord(ctx, cfg.Log, c, v, name.Tenant)
		if err == nil {
			err = knowFurther(ctx, c, name.Tenant, place)
		}
	}
	if err == nil {
		err = c.KnowVault(ctx, name, v.ID())
	}
	if err == nil {
		err = noteVault(noted, v.ID())
	}
	if err != nil {
		if errors.Is(err, catalog.ErrOtherVault) { // another process has made one, or opened it
			err = fmt.Errorf("%w: %w", vault.ErrOther, err)
		}
		return nil, errors.Join(err, v.Close(ctx))
	}
	return v, nil
}

// knowFurther has a catalog that knew nothing of a tenant's vaults know those that follow
// the first, and that its record does not name yet.
func knowFurther(ctx context.Context, c *catalog.Catalog, t backup.TenantID, place func(backup.VaultName) (vault.Config, error)) error {
	known, err := c.Vaults(ctx, t)
	if err != nil {
		return err
	}
	there, err := vaultsThere(ctx, t, known[len(known)-1].Number, place)
	if err != nil {
		return err
	}
	for _, name := range there[known[len(known)-1].Number:] {
		cfg, err := place(name)
		if err != nil {
			return err
		}
		id, err := vault.Find(ctx, cfg)
		if err == nil {
			err = c.KnowVault(ctx, name, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// vaultsThere returns a tenant's vaults: those that are known, up to the last, and those
// that follow it where vaults are. Also with an error it returns those that it knows of.
func vaultsThere(ctx context.Context, t backup.TenantID, last int, place func(backup.VaultName) (vault.Config, error)) (names []backup.VaultName, err error) {
	for name := backup.FirstVault(t); ; name.Number++ {
		if name.Number > last {
			cfg, err := place(name)
			if err == nil {
				_, err = vault.Find(ctx, cfg)
			}
			if errors.Is(err, vault.ErrMissing) {
				return names, nil
			}
			if err != nil {
				return names, err
			}
		}
		names = append(names, name)
	}
}

// numberFlag is how a command is told of a vault that is not a tenant's first.
func numberFlag(name backup.VaultName) string {
	if name.Number == 1 {
		return ""
	}
	return fmt.Sprintf(" --vault %d", name.Number)
}

// vaultNote is the file in a vault's folder of state that names the vault which was
// there last. Where a catalog is lost while a volume is not mounted, nothing else
// tells that a vault is missing.
const vaultNote = "vault-id"

// noteVault notes which vault is there.
func noteVault(path, id string) error {
	if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == id {
		return nil
	}
	if err := writeFile(path, []byte(id+"\n"), 0o600); err != nil {
		return fmt.Errorf("note which vault is there: %w", err)
	}
	return nil
}
