package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/azure"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/blob/readonly"
	"github.com/kopia/kopia/repo/blob/s3"
	"github.com/kopia/kopia/repo/blob/sharded"
	"github.com/kopia/kopia/repo/content"
)

// A Bucket is a vault's place in a store that speaks Amazon's S3.
type Bucket struct {
	Endpoint string // host, or host:port; "" is Amazon's
	Region   string // "" asks the store
	Name     string
	Prefix   string // before the name of each blob, such as "vaults/contoso/"; "" is none
	// Key and Secret sign requests. Without them, those in the environment variables
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY do, or the machine's role.
	Key    string
	Secret Secret
	Plain  bool   // HTTP without TLS, to a store on the same machine
	CA     []byte // PEM: what signs the store's certificate, beside the machine's own roots; nil is nothing more
	Lock   Lock   // of what is written, where the bucket has object lock
	// At, where it is given, has the bucket be read as it was then, as far as it has
	// kept versions. Nothing can be written to it.
	At time.Time
}

// String names the bucket as its tools do.
func (b *Bucket) String() string { return "s3://" + b.Name + "/" + b.Prefix }

// options is b for kopia. Secrets are in them only where signed is set: they do not
// belong into the file of the connection.
func (b *Bucket) options(signed bool) *s3.Options {
	o := &s3.Options{BucketName: b.Name, Prefix: b.Prefix, Endpoint: b.Endpoint, Region: b.Region, DoNotUseTLS: b.Plain, RootCA: b.CA}
	if !b.At.IsZero() {
		o.PointInTime = &b.At
	}
	if o.Endpoint == "" {
		o.Endpoint = "s3.amazonaws.com"
	}
	if signed {
		o.AccessKeyID, o.SecretAccessKey = b.Key, string(b.Secret)
	}
	return o
}

// A Container is a vault's place in Azure Blob Storage.
type Container struct {
	Account string
	Name    string
	Prefix  string // before the name of each blob, such as "vaults/contoso/"; "" is none
	Domain  string // behind the account's name; "" is Azure's public cloud
	// One of three is what it is opened with: the account's key, a shared access
	// signature, or an application of Entra ID.
	Key, Signature Secret
	Tenant, Client string
	ClientSecret   Secret
	Plain          bool      // HTTP without TLS, to a store on the same machine
	At             time.Time // as a Bucket's
	Lock           Lock      // where the container has version-level immutability; Compliance or NoLock
}

// String names the container as its tools do.
func (c *Container) String() string { return "azure://" + c.Account + "/" + c.Name + "/" + c.Prefix }

// options is c for kopia, with secrets only where signed is set.
func (c *Container) options(signed bool) *azure.Options {
	o := &azure.Options{Container: c.Name, Prefix: c.Prefix, StorageAccount: c.Account, StorageDomain: c.Domain, TenantID: c.Tenant, ClientID: c.Client, DoNotUseTLS: c.Plain}
	if !c.At.IsZero() {
		o.PointInTime = &c.At
	}
	if signed {
		o.StorageKey, o.SASToken, o.ClientSecret = string(c.Key), strings.TrimPrefix(string(c.Signature), "?"), string(c.ClientSecret)
	}
	return o
}

// Remote reports whether the place is a store that other machines reach, too, and in
// which every look costs a request.
func (cfg Config) Remote() bool { return cfg.Bucket != nil || cfg.Azure != nil }

// A blob in a folder costs nothing to look at. Elsewhere it costs a request, so
// whether the vault is still there is looked at again after this time.
const remoteTrust = time.Minute

// trust is how long a look at the place is good for.
func (cfg Config) trust() time.Duration {
	if cfg.Remote() {
		return remoteTrust
	}
	return 0
}

// place is where the vault is, for messages.
func (cfg Config) place() string {
	switch {
	case cfg.Bucket != nil:
		return cfg.Bucket.String()
	case cfg.Azure != nil:
		return cfg.Azure.String()
	}
	return cfg.Dir
}

// absolute is cfg with a folder that does not depend on where the program runs.
func (cfg Config) absolute() (_ Config, err error) {
	if !cfg.Remote() {
		cfg.Dir, err = filepath.Abs(cfg.Dir)
	}
	return cfg, err
}

// storage opens the place, in which there may be no vault, and looks which locks it
// has. What is written to it is locked by them.
func (cfg Config) storage(ctx context.Context) (blob.Storage, Locks, error) {
	var st blob.Storage
	var err error
	var prove func(context.Context) (Locks, error)
	switch {
	case cfg.Bucket != nil:
		prove = cfg.Bucket.prove
		st, err = s3.New(ctx, cfg.Bucket.options(true), false)
	case cfg.Azure != nil:
		prove = cfg.Azure.prove
		st, err = azure.New(ctx, cfg.Azure.options(true), false)
	default:
		if err := checkFolder(cfg.Dir, cfg); err != nil {
			return nil, Locks{}, err
		}
		st, err = filesystem.New(ctx, &filesystem.Options{Path: cfg.Dir, Options: sharded.Options{DirectoryShards: shards(cfg.Dir)}}, !cfg.ReadOnly)
		if err == nil && cfg.ReadOnly {
			st = readonly.NewWrapper(st)
		}
		return st, Locks{}, err
	}
	if err != nil {
		return nil, Locks{}, err
	}
	if cfg.ReadOnly {
		return readonly.NewWrapper(st), Locks{}, nil
	}
	if cfg.locks == nil {
		locks, err := prove(ctx)
		if err != nil {
			return nil, Locks{}, errors.Join(err, st.Close(ctx))
		}
		cfg.locks = &locks
	}
	return cfg.locks.locked(st), *cfg.locks, nil
}

// connection is what kopia opens the place by, without secrets.
func (cfg Config) connection(st blob.Storage) blob.ConnectionInfo {
	info := st.ConnectionInfo()
	switch {
	case cfg.Bucket != nil:
		info.Config = cfg.Bucket.options(false)
	case cfg.Azure != nil:
		info.Config = cfg.Azure.options(false)
	}
	return info
}

// caching is what of the place is kept beside the state. Of a local folder nothing
// is: a cache would be a second and slower copy of the packs. Of a store indexes,
// folders and manifests are, which kopia looks at again and again. All of it is
// sealed as in the vault, but for the indexes that it maps into memory.
func (cfg Config) caching(state string) *content.CachingOptions {
	if !cfg.Remote() {
		return &content.CachingOptions{} // none at all would be caches in the user's home
	}
	return &content.CachingOptions{CacheDirectory: filepath.Join(state, "cache"), MetadataCacheSizeBytes: 1 << 30, ContentCacheSizeBytes: 64 << 20} // kopia cannot do without the latter
}

// alone returns when no other process of this machine makes a vault in the same
// place. In a store its caller sees to it, who knows the other machines.
func (cfg Config) alone() (done func() error, err error) {
	if cfg.Remote() {
		return func() error { return nil }, nil
	}
	lock := flock.New(filepath.Join(cfg.Dir, ".create"))
	return lock.Unlock, lock.Lock()
}

// checkFolder makes sure that there is a folder to look for a vault in: kopia
// writes to any that it looks into.
func checkFolder(dir string, cfg Config) error {
	info, err := os.Stat(dir)
	switch anew := cfg.Create && cfg.ID == ""; {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: it is no folder", ErrStorage)
	case err == nil && !anew && !exists(dir, ".shards") && !exists(dir, formatBlob+".f"):
		return fmt.Errorf("%w: %s", ErrMissing, cfg.holdsNone())
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	case !anew:
		return fmt.Errorf("%w: there is no such folder; check that its volume is mounted", ErrMissing)
	}
	return os.MkdirAll(dir, 0o700)
}

// shards says how kopia spreads the blobs of a vault in a folder over folders in it, where
// the vault itself has no note of that: a new one by the kind of a blob and two signs of
// its name, which is 256 folders a kind. Kopia's own three signs make a folder for almost
// each blob of a vault until it has thousands of them, and each costs as much as what is
// written into it. A vault that has lost its note has its blobs where they are.
func shards(dir string) []int {
	usual := []int{1, 2}
	if exists(dir, ".shards") {
		return usual // which is not looked at
	}
	for _, kind := range []string{"p", "q", "x", "_"} {
		in, err := os.ReadDir(filepath.Join(dir, kind))
		for _, e := range in {
			if err == nil && e.IsDir() {
				return []int{len(kind), len(e.Name())}
			}
		}
	}
	return usual
}

// exists reports whether a file is in a folder, as far as that can be told.
func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// opening says, in the context in which kopia opens its storage, of which vault and
// in which place that is, and what locks it has.
type opening struct {
	id    string
	cfg   Config
	index *shortIndex
	seen  *atomic.Int64
	packs packing
	locks Locks
	copy  bool // of a vault, and nobody has written to it yet
}

type openingKey struct{}

// Guard returns a storage that kopia opens for a vault, in the context in which it
// does, as the vault has to have it. It is for tests that register a storage of their
// own with kopia: a vault on one that is not guarded neither knows when another is in
// its place, nor keeps its index short.
func Guard(ctx context.Context, st blob.Storage) blob.Storage {
	o, ok := ctx.Value(openingKey{}).(opening)
	if !ok {
		return st
	}
	if o.cfg.ReadOnly {
		st = readonly.NewWrapper(st)
	}
	g := guarded{Storage: o.locks.locked(st), id: o.id, place: o.cfg, index: o.index, packs: o.packs, seeing: seeing{o.seen, o.cfg.trust()}, copy: new(atomic.Bool)}
	g.copy.Store(o.copy)
	return g
}

// Kopia makes storages by the names of their kinds.
func init() {
	blob.AddSupportedStorage("filesystem", filesystem.Options{}, func(ctx context.Context, o *filesystem.Options, create bool) (blob.Storage, error) {
		st, err := filesystem.New(ctx, o, create)
		if err != nil {
			return nil, err
		}
		return Guard(ctx, st), nil
	})
	blob.AddSupportedStorage("s3", s3.Options{}, func(ctx context.Context, o *s3.Options, create bool) (blob.Storage, error) {
		if of, ok := ctx.Value(openingKey{}).(opening); ok && of.cfg.Bucket != nil {
			o = of.cfg.Bucket.options(true)
		}
		st, err := s3.New(ctx, o, create)
		if err != nil {
			return nil, err
		}
		return Guard(ctx, st), nil
	})
	blob.AddSupportedStorage("azureBlob", azure.Options{}, func(ctx context.Context, o *azure.Options, create bool) (blob.Storage, error) {
		if of, ok := ctx.Value(openingKey{}).(opening); ok && of.cfg.Azure != nil {
			o = of.cfg.Azure.options(true)
		}
		st, err := azure.New(ctx, o, create)
		if err != nil {
			return nil, err
		}
		return Guard(ctx, st), nil
	})
}

// An inStore is a failure of a vault that is in a store.
type inStore struct {
	error
	kind string
}

func (e inStore) Unwrap() error { return e.error }

// in has a failure say where the vault is, for people who are told what to check.
func (cfg Config) in(err error) error {
	if err == nil || !cfg.Remote() {
		return err
	}
	return inStore{err, cfg.kind()}
}

// StoreOf returns what the vault's place is called that failed: "bucket" or
// "container", and "" of a folder.
func StoreOf(err error) string {
	e, _ := errors.AsType[inStore](err)
	return e.kind
}

// kind is what the place is called.
func (cfg Config) kind() string {
	switch {
	case cfg.Bucket != nil:
		return "bucket"
	case cfg.Azure != nil:
		return "container"
	}
	return "folder"
}

// holdsNone says that the place holds no vault, and what to look for.
func (cfg Config) holdsNone() string {
	if cfg.Remote() {
		return "the " + cfg.kind() + " holds none below that prefix; check its name, its prefix and the store's address"
	}
	return "the folder holds none; check that its volume is mounted"
}

// heldOne says what to look for where the vault was when it was opened, and is not.
func (cfg Config) heldOne() string {
	if cfg.Remote() {
		return "check that nothing was deleted from the " + cfg.kind()
	}
	return "check that its volume is mounted"
}

// heldOther says what to look for where another vault is.
func (cfg Config) heldOther() string {
	if cfg.Remote() {
		return "check the " + cfg.kind() + "'s name, its prefix and the store's address, and that no vaults were swapped"
	}
	return "check that the right volume is mounted and that no vaults were swapped"
}
