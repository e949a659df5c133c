// Package vault keeps what was backed up, and is the only door to kopia.
//
// A [Vault] is one kopia repository of a tenant, which has another for new drives where
// one has grown large. A drive has one snapshot source in it, with one live manifest whose root directory holds every point
// of the drive:
//
//	2026-11-21/10-10-00.000Z/files/   the drive's tree at a point in time
//	2026-11-21/10-10-00.000Z/meta/    index: item id to parent item id; point.json; unread.json
//
// A site has one source too; a point of it has libraries/NAME/ for each of its
// libraries, with files/ and meta/ as a drive's point has them, see [Part].
//
// All of it is plain kopia: the stock kopia command lists, verifies, restores
// and collects such a repository. What we keep of an item beyond name, size,
// time and content stands in further members of its directory entry, which
// kopia passes over. See record and trie for the two forms.
//
// A point's directory is called its tree, and the directory above it, with all
// points, the drive's root; both are named by kopia's object id. Which root and
// tree of a drive count is for the catalog to say: an [Update] starts from
// those it is given, [Update.Seal] returns the next ones, and a manifest that
// disagrees with the catalog is put right by [Vault.Maintain] before anything
// is collected. Whatever happens between the two leaves at worst objects that
// nobody refers to. No manifest is removed whose points a newer one does not have.
//
// What is damaged is told from what is not there, and stops only what needs it.
// The vault remembers it, and stores it anew when the same bytes are written again.
//
// The package may be used by many goroutines, and a repository by many
// processes. It imports nothing of ours but backup, jsonscan and spill.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/maintenance"

	"holdfast/internal/backup"
)

// A Secret is a word that must not be seen: it prints as redacted.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret.
func (Secret) GoString() string { return "[redacted]" }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// The failures that a caller may tell apart, with errors.Is. An error that is
// none of these came from the caller's reader or context, or is a defect.
var (
	// ErrStorage: the vault's storage could not be read or written, or is
	// full. What was sealed before is as it was.
	ErrStorage = errors.New("the vault's storage failed")
	// ErrFull is the ErrStorage of a disk, or a bucket, that has no room.
	ErrFull = fmt.Errorf("%w: it is full", ErrStorage)
	// ErrStateFull: not the vault's storage has no room, but the folder of Config.State,
	// without which the vault cannot be opened. It comes with ErrStorage.
	ErrStateFull = errors.New("the folder of state is full")
	// ErrRefused is the ErrStorage of a folder that is read-only or another user's, and
	// of a bucket that does not take the key.
	ErrRefused = fmt.Errorf("%w: it refuses the server", ErrStorage)
	// ErrPassword: the vault exists and does not open with the password given.
	ErrPassword = errors.New("the vault does not open with this password")
	// ErrNotFound: the vault holds no such tree or content.
	ErrNotFound = errors.New("not in the vault")
	// ErrDamaged: the vault should hold it, and what is stored is not what was
	// written, or gone.
	ErrDamaged = errors.New("damaged in the vault")
	// ErrMissing: there is no vault where one should be.
	ErrMissing = errors.New("there is no vault in its place")
	// ErrOther: the vault in its place is not the one that was there.
	ErrOther = errors.New("another vault is in its place")
	// ErrNewer: the vault was written by a newer Holdfast than this one.
	ErrNewer = errors.New("the vault is of a newer Holdfast")
)

// Config says where a vault is and how it is opened.
type Config struct {
	Wrote func(bytes int64) // is told of all that the storage has taken, by its size there; nil for nobody

	// Dir is the repository's folder, and Bucket or Azure, where one is given, its
	// place instead.
	Dir    string
	Bucket *Bucket
	Azure  *Container
	// ID is the vault's id, where it is known: another vault in its place, or
	// none, is refused. Empty is any.
	ID string
	// Create has Open make a new vault in a folder that is missing or empty, but
	// never where an ID is given.
	Create bool
	// ReadOnly has nothing be written into the vault's place, not even to prove its
	// locks. Whatever would write fails.
	ReadOnly bool
	Password Secret
	// State is a folder for kopia's connection file and its lock for
	// maintenance. Vaults must not share it; processes on one vault may.
	State string
	// Log tells of damage and repairs. Nil is silence.
	Log *slog.Logger

	locks *Locks // what is known of the place's; nil is nothing yet
}

// A DriveKey names a drive in a vault.
type DriveKey struct {
	Tenant backup.TenantID
	Drive  backup.DriveID
}

// Counters are what a vault did since it was opened. An object is a directory,
// a leaf of an index or a file's content; a blob is a file in the repository's
// folder.
type Counters struct {
	ObjectsWritten, ObjectsRead int64
	BlobsWritten                int64 // packs and indexes, each as often as it was tried
}

// A Vault is one tenant's repository, open. Its methods may be called at the
// same time.
type Vault struct {
	rep    repo.DirectRepository
	opener *opener         // nil where kopia reads all contents
	life   context.Context // ends when the vault is closed
	end    context.CancelFunc
	place  Config
	locks  Locks
	seen   atomic.Int64 // when the vault was last in its place, in Unix nanoseconds
	log    *slog.Logger
	safety maintenance.SafetyParameters
	state  string // Config.State
	index  shortIndex

	objectsWritten, objectsRead, blobsWritten, bytesWritten atomic.Int64

	damage struct {
		sync.Mutex
		contents  map[content.ID]bool // whether a stored copy cannot be read; false since it is whole again
		suspected int                 // of them, those that cannot
		until     time.Time           // up to when what was found was told to Suspect
	}

	manifests struct {
		index *manifestIndex // apart, since its timer may outlive the vault
		sync.Mutex
		live  int // sources at the last sweep
		stale int // published since, each leaving an older one behind
		// absent are roots of the catalog's that are not in the vault, and that its
		// packs were searched for.
		absent map[string]bool
		unread map[string]bool // sources that have a manifest which cannot be read
	}

	// All updates write through one session, so that one flush serves all that
	// wait for one.
	updates *session
	lanes   chan struct{} // one in it for each chunk that may be stored beside its content's reader
	packs   packing
	reads   chan struct{} // one in it for each large piece that is being read
	flushes struct {
		turn sync.Mutex // held by the flush that runs
		sync.Mutex
		next *flush       // which updates may still join; nil when none is waiting
		held atomic.Int64 // files' contents since the last
		open int          // updates that were begun and not closed, and may want one
	}
}

// owner is who kopia thinks we are, on every machine: the owner of maintenance.
const owner = "holdfast"

// Open opens the vault that cfg names. It fails with ErrMissing, ErrOther,
// ErrPassword, ErrDamaged, ErrNewer or ErrStorage. The vault must be closed.
func Open(ctx context.Context, cfg Config) (*Vault, error) {
	cfg, err := cfg.absolute()
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	if cfg.ReadOnly {
		cfg.Create = false
	}
	v := unopened(cfg)
	if err = v.open(ctx); err != nil {
		if full := fullState(cfg.State, err); full != nil {
			return nil, fmt.Errorf("open vault in %s: %w", cfg.place(), full)
		}
		err = fmt.Errorf("open vault in %s: %w", cfg.place(), cfg.in(storageError(err)))
		if errors.Is(err, ErrDamaged) && spare(err) != "" {
			err = fmt.Errorf("%w; have it repaired by 'holdfast vault repair'", err)
		}
		return nil, err
	}
	if err = v.checkFormat(ctx); err == nil {
		v.updates, err = v.session(ctx, "updates")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open vault in %s: %w", cfg.place(), err), v.rep.Close(context.WithoutCancel(ctx)))
	}
	return v, nil
}

func unopened(cfg Config) *Vault {
	v := &Vault{place: cfg, log: cfg.Log, safety: maintenance.SafetyFull, state: cfg.State, lanes: make(chan struct{}, lanes()),
		packs: packingOf(cfg), reads: make(chan struct{}, largeReads)}
	v.life, v.end = context.WithCancel(context.Background())
	v.manifests.absent, v.manifests.unread = map[string]bool{}, map[string]bool{}
	v.manifests.index = new(manifestIndex)
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	return v
}

// lanes is how many chunks may be stored beside their contents' readers: as many as
// there are cores besides the one that reads, and one where there is but one, which
// may wait for the storage.
func lanes() int { return max(1, runtime.GOMAXPROCS(0)-1) }

// Make makes the vault that cfg names, if there is none and cfg allows it. In a
// bucket nobody else may do so at the same time.
func Make(ctx context.Context, cfg Config) error {
	cfg, err := cfg.absolute()
	if err != nil {
		return fmt.Errorf("make vault: %w", err)
	}
	st, _, err := cfg.storage(ctx)
	if err == nil {
		_, err = prepare(ctx, st, cfg)
		err = errors.Join(err, st.Close(ctx))
	}
	if err != nil {
		return fmt.Errorf("make vault in %s: %w", cfg.place(), storageError(err))
	}
	return nil
}

// Find returns the id of the vault that is where cfg says, without opening it. It fails
// with ErrMissing, ErrDamaged or ErrStorage.
func Find(ctx context.Context, cfg Config) (id string, err error) {
	cfg.ID, cfg.Create = "", false
	if cfg, err = cfg.absolute(); err != nil {
		return "", fmt.Errorf("find vault: %w", err)
	}
	st, _, err := cfg.storage(ctx)
	if err == nil {
		id, err = prepare(ctx, st, cfg)
		err = errors.Join(err, st.Close(ctx))
	}
	if err != nil {
		return "", fmt.Errorf("find vault in %s: %w", cfg.place(), storageError(err))
	}
	return id, nil
}

// open opens the repository in the vault's place.
func (v *Vault) open(ctx context.Context) error {
	cfg := v.place
	state, err := filepath.Abs(cfg.State)
	if err != nil {
		return err
	}
	st, locks, err := cfg.storage(ctx)
	if err != nil {
		return err
	}
	defer st.Close(ctx)
	id, err := prepare(ctx, st, cfg)
	if errors.Is(err, errFormatBlob) {
		err = openError(ctx, st, string(cfg.Password), err)
	}
	if err != nil {
		return err
	}

	if err := os.MkdirAll(state, 0o700); err != nil { // none of a vault that is not there
		return err
	}
	// The connection file is written by hand: repo.Connect would open the
	// repository once more to try it. Kopia keeps its index in memory, 33 bytes a
	// content.
	connection := filepath.Join(state, "connection.json")
	storage := cfg.connection(st)
	lc := repo.LocalConfig{
		Storage:       &storage,
		Caching:       cfg.caching(state),
		ClientOptions: repo.ClientOptions{Hostname: owner, Username: owner, Description: "Holdfast vault"},
	}
	b, err := json.MarshalIndent(lc, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(connection, b); err != nil {
		return err
	}

	isCopy, err := holdsBlob(ctx, st, copyNote)
	if err != nil {
		return err
	}
	rep, err := repo.Open(once(context.WithValue(ctx, openingKey{}, opening{id, cfg, &v.index, &v.seen, v.packs, locks, isCopy})), connection, string(cfg.Password), &repo.Options{
		DisableRepositoryLog: true, // or each session would leave log blobs
		DoNotWaitForUpgrade:  true,
		OnFatalError:         func(error) {}, // the default ends the process; storage calls fail anyway
	})
	if err != nil {
		return openError(ctx, st, string(cfg.Password), err)
	}
	direct := rep.(repo.DirectRepository)
	v.rep, v.opener = direct, newOpener(direct.ContentReader().ContentFormat())
	if cfg.ReadOnly {
		return nil
	}
	if !isCopy { // which it would be no more
		if err := v.endSooner(ctx); err != nil && cfg.Log != nil {
			cfg.Log.WarnContext(ctx, "vault: its index will take a day to become short", "err", storageError(err))
		}
	}
	if err := keepCopy(ctx, st); err != nil && cfg.Log != nil {
		cfg.Log.WarnContext(ctx, "vault: its format blob has no copy", "err", err) // a full disk can still be read
	}
	locks.told(ctx, cfg)
	v.locks = locks
	return nil
}

// replaceFile writes a file that only its owner may read, in one step.
func replaceFile(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Close closes the vault. Updates must not be used any more.
func (v *Vault) Close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	v.end()
	v.flushes.turn.Lock() // one whose callers have gone
	defer v.flushes.turn.Unlock()
	if err := errors.Join(v.updates.Close(ctx), v.rep.Close(ctx)); err != nil {
		return fmt.Errorf("close vault: %w", storageError(err))
	}
	return nil
}

// Scratch is a folder on this machine for what does not fit into memory while a
// drive is backed up. It is the vault's Config.State, which is there as long as the
// vault is open.
func (v *Vault) Scratch() string { return v.state }

// Counters returns what the vault did since it was opened.
func (v *Vault) Counters() Counters {
	return Counters{
		ObjectsWritten: v.objectsWritten.Load(),
		ObjectsRead:    v.objectsRead.Load(),
		BlobsWritten:   v.blobsWritten.Load(),
	}
}

// emptyWeight is what a vault of nothing takes of memory while it is open, and more.
const emptyWeight = 64 << 10

// Weight is how many bytes of memory the vault takes at most while nobody uses it: what
// was read of indexes since it was opened.
func (v *Vault) Weight() int64 { return emptyWeight + v.index.read.Load() }

func (v *Vault) flushNow(ctx context.Context) error {
	if err := v.there(ctx); err != nil {
		return err
	}
	v.flushes.held.Store(0)
	return storageError(v.updates.Flush(context.WithValue(once(ctx), flushing{}, true)))
}

// A flush makes durable what many updates wrote.
type flush struct {
	waiting int           // for it
	full    bool          // as many are waiting as there are updates
	all     chan struct{} // closed when it is full
	done    chan struct{}
	err     error // once done
}

// patience is how long a flush waits for other updates that may soon want one.
const patience = 50 * time.Millisecond

// Flush returns when all that was written so far is durable. Seal does so by
// itself, but where it found nothing that differs: what was stored anew in the
// place of a damaged copy is no difference.
func (v *Vault) Flush(ctx context.Context) error {
	if err := v.flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// flush returns when all that was written in the session of updates before the
// call is durable. Each flush costs a pack, an index, and a look at all indexes,
// however little was written; so whoever comes while one runs waits for the
// next, the next waits a moment for those that work on updates, and all who wait
// share it.
func (v *Vault) flush(ctx context.Context) error {
	v.flushes.Lock()
	f := v.flushes.next
	first := f == nil
	if first {
		f = &flush{all: make(chan struct{}), done: make(chan struct{})}
		v.flushes.next = f
	}
	if f.waiting++; !f.full && f.waiting >= v.flushes.open {
		f.full = true
		close(f.all)
	}
	v.flushes.Unlock()
	over := f.done
	if first {
		over = make(chan struct{})
		go func() {
			defer close(over)
			v.run(ctx, f)
		}()
	}
	select {
	case <-over:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run runs a flush when it is its turn, and makes the index shorter after it. It is
// not only its caller's, who may have gone meanwhile: it ends with the vault.
func (v *Vault) run(ctx context.Context, f *flush) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(v.life, cancel)()
	enough := time.After(patience)
	v.flushes.turn.Lock()
	defer v.flushes.turn.Unlock()
	select {
	case <-f.all:
	case <-enough:
	}
	v.flushes.Lock()
	v.flushes.next = nil
	v.flushes.Unlock()
	writing, span := backup.BeginStep(ctx, "vault write")
	before := v.bytesWritten.Load()
	f.err = v.flushNow(writing)
	span.Note("holdfast.bytes", int(v.bytesWritten.Load()-before))
	span.End(f.err != nil)
	close(f.done)
	v.shorten(ctx)
}
