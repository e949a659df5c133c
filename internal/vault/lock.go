package vault

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"
)

// A bucket may have object lock: what was written with a lock cannot be deleted until
// the lock is over, by whoever has which key. A deletion only hides it, and what is
// written over it stands before it. So we lock each blob without which something could
// not be read, and extend its lock for as long as it is there. The locks are of the
// place and not of the vault: a copy has those of its own place.

// A LockMode says who may lift a lock before its time.
type LockMode string

const (
	NoLock     LockMode = "off"
	Governance LockMode = "governance" // a key with the permission s3:BypassGovernanceRetention
	Compliance LockMode = "compliance" // nobody, not even who owns the bucket
)

// A Lock is how blobs are locked in a bucket that has object lock. The zero Lock is
// Governance for thirty days.
type Lock struct {
	Mode   LockMode
	Period time.Duration
}

// lockPeriod is how long locks hold if nothing else is asked for.
const lockPeriod = 30 * 24 * time.Hour

// interval is how often locks are extended: each holds for two thirds of its period
// at any time.
func (l Lock) interval() time.Duration { return l.Period / 3 }

// Locks are what was found of the locks in a vault's place.
type Locks struct {
	Lock
	// On: what is written is locked, and its locks are extended.
	On bool
	// Proven: an object that was locked so could not be deleted with the key that is
	// in use, not even by one who asks for the lock to be passed over.
	Proven bool
	// Says is what was found, in a sentence. Of a folder there is nothing to say.
	Says string
}

// Locks returns what was found of the locks in the vault's place when it was opened.
func (v *Vault) Locks() Locks { return v.locks }

// told logs what was found.
func (l Locks) told(ctx context.Context, cfg Config) {
	switch {
	case cfg.Log == nil || l.Says == "":
	case l.Proven || l.Mode == NoLock:
		cfg.Log.InfoContext(ctx, "vault: "+l.Says, "place", cfg.place())
	default:
		cfg.Log.WarnContext(ctx, "vault: "+l.Says, "place", cfg.place())
	}
}

// lockable reports whether a blob is locked: one without which something could not be
// read. What kopia notes of its own work is not.
func lockable(id blob.ID) bool {
	for _, prefix := range lockedPrefixes() {
		if strings.HasPrefix(string(id), string(prefix)) {
			return true
		}
	}
	return false
}

func lockedPrefixes() []blob.ID { return append(repo.GetLockingStoragePrefixes(), copyBlob) }

// A locking storage locks what it writes.
type locking struct {
	blob.Storage
	lock Lock
}

func (l locking) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	if lockable(id) {
		opts.RetentionMode, opts.RetentionPeriod = l.lock.mode(), l.lock.Period
	}
	return l.Storage.PutBlob(ctx, id, data, opts)
}

// mode is the lock's mode as kopia and the store spell it.
func (l Lock) mode() blob.RetentionMode { return blob.RetentionMode(strings.ToUpper(string(l.Mode))) }

// locked is a storage that locks what it writes, if the place has locks.
func (l Locks) locked(st blob.Storage) blob.Storage {
	if !l.On {
		return st
	}
	return locking{st, l.Lock}
}

// lockNote is the blob that says when the locks of a place were extended last. It is
// sealed with a key of the vault's: whoever has the bucket's must not have the locks run
// out by saying that they were extended.
const lockNote = "holdfast.locks"

type extension struct {
	Extended time.Time     `json:"extended"`
	Mode     LockMode      `json:"mode"`
	Period   time.Duration `json:"period"`
	Seal     []byte        `json:"seal"`
}

// sealed is e with its seal.
func (e extension) sealed(rep repo.DirectRepository) (extension, error) {
	e.Seal = nil
	key, err := rep.DeriveKey(lockNote, sha256.Size)
	if err != nil {
		return e, err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return e, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	e.Seal = mac.Sum(nil)
	return e, nil
}

// extenders is how many locks are extended at a time.
const extenders = 16

// extend extends the locks of all that is in a place, if it is time to, or if they were
// of another kind until now. A lock that could not be extended stops no other, and is
// tried again a day later. It returns how many were extended.
func (l Locks) extend(ctx context.Context, rep repo.DirectRepository, st blob.Storage, now time.Time) (int, error) {
	if !l.On {
		return 0, nil
	}
	var last extension
	b, err := readBlob(ctx, st, lockNote)
	if err != nil && !errors.Is(err, blob.ErrBlobNotFound) {
		return 0, err
	}
	if json.Unmarshal(b, &last) != nil {
		last = extension{} // then it is time to
	}
	own, err := last.sealed(rep)
	if err != nil {
		return 0, err
	}
	if !hmac.Equal(own.Seal, last.Seal) {
		last = extension{}
	}
	if age := now.Sub(last.Extended); last.Mode == l.Mode && last.Period == l.Period && age >= 0 && age < l.interval() {
		return 0, nil
	}
	var done, failed atomic.Int64
	var first atomic.Pointer[error]
	var group errgroup.Group
	group.SetLimit(extenders)
	for _, prefix := range lockedPrefixes() {
		err := st.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			group.Go(func() error {
				if err := l.extendOne(ctx, st, m.BlobID); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
				} else {
					done.Add(1)
				}
				return nil
			})
			return ctx.Err()
		})
		if err != nil {
			group.Wait()
			return int(done.Load()), err
		}
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return int(done.Load()), err
	}
	note := extension{Extended: now.UTC(), Mode: l.Mode, Period: l.Period}
	if failed.Load() > 0 {
		err = fmt.Errorf("%w: the locks of %d blobs could not be extended: %w", ErrStorage, failed.Load(), *first.Load())
		note.Extended = note.Extended.Add(min(24*time.Hour, l.interval()) - l.interval())
	} else {
		err = nil
	}
	note, noteErr := note.sealed(rep)
	if noteErr == nil {
		b, noteErr = json.Marshal(note)
	}
	if noteErr == nil {
		noteErr = putBlob(ctx, st, lockNote, b)
	}
	return int(done.Load()), errors.Join(err, noteErr)
}

// extendOne extends one lock. A blob that was locked in another mode keeps that: to
// change it would be to lift the lock.
func (l Locks) extendOne(ctx context.Context, st blob.Storage, id blob.ID) error {
	other := Lock{Mode: Governance, Period: l.Period}
	if l.Mode == Governance {
		other.Mode = Compliance
	}
	err := st.ExtendBlobRetention(ctx, id, blob.ExtendOptions{RetentionMode: l.mode(), RetentionPeriod: l.Period})
	if err == nil {
		return nil
	}
	if st.ExtendBlobRetention(ctx, id, blob.ExtendOptions{RetentionMode: other.mode(), RetentionPeriod: l.Period}) == nil {
		return nil
	}
	if _, gone := st.GetMetadata(ctx, id); errors.Is(gone, blob.ErrBlobNotFound) {
		return nil // it was collected meanwhile
	}
	return err
}

// probeName is the object that is locked to see whether it can be deleted, and
// probeLock for how long. Each probe takes away what those before it have left.
const (
	probeName = "holdfast.probe"
	probeLock = 10 * time.Minute
)

// prove looks whether the bucket has object lock, and proves that it holds: it locks an
// object and tries to delete it. An error says that it could not be told.
func (b *Bucket) prove(ctx context.Context) (Locks, error) {
	l := Locks{Lock: Lock{cmp.Or(b.Lock.Mode, Governance), cmp.Or(b.Lock.Period, lockPeriod)}}
	if l.Mode == NoLock {
		l.Says = "locks are switched off: whoever has the bucket's key can delete the backups"
		return l, nil
	}
	store, err := b.client()
	if err != nil {
		return l, err
	}
	enabled, _, _, _, err := store.GetObjectLockConfig(ctx, b.Name)
	switch status := statusOf(err); {
	case err == nil && enabled == "Enabled", status == http.StatusForbidden: // then the object tells
	case err == nil, status >= 400 && status < 500, status == http.StatusNotImplemented:
		l.Says = "the bucket has no object lock: whoever has its key can delete the backups"
		return l, nil
	default:
		return l, fmt.Errorf("whether the bucket has object lock: %w", err)
	}
	probe := b.Prefix + probeName
	for old := range store.ListObjects(ctx, b.Name, minio.ListObjectsOptions{Prefix: probe, WithVersions: true}) {
		if old.Err == nil && old.Key == probe {
			_ = store.RemoveObject(ctx, b.Name, probe, minio.RemoveObjectOptions{VersionID: old.VersionID}) // or the next time
		}
	}
	data := rand.Text()
	put, err := store.PutObject(ctx, b.Name, probe, strings.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		Mode: minio.RetentionMode(l.mode()), RetainUntilDate: time.Now().Add(probeLock).UTC(), SendContentMd5: true,
	})
	switch status := statusOf(err); {
	case status >= 400 && status < 500:
		l.Says = fmt.Sprintf("nothing can be locked in the bucket, and whoever has its key can delete the backups; if it has object lock, the key needs the permission s3:PutObjectRetention, and the clocks must agree: %v", err)
		return l, nil
	case err != nil:
		return l, fmt.Errorf("whether the bucket has object lock: %w", err)
	case put.VersionID == "":
		l.Says = "the bucket keeps no versions, so nothing is locked in it, and whoever has its key can delete the backups: switch its versioning on"
		return l, nil
	}
	for _, pass := range []bool{false, true} { // whether the lock is to be passed over
		gone, err := deletes(ctx, store, b.Name, probe, minio.RemoveObjectOptions{VersionID: put.VersionID, GovernanceBypass: pass})
		switch {
		case err != nil:
			return l, fmt.Errorf("whether the bucket's locks hold: %w", err)
		case gone && pass && l.Mode == Governance:
			l.On = true
			l.Says = "what is written is locked, but this key may lift the locks: take the permission s3:BypassGovernanceRetention from it, or have the locks be of the mode compliance"
			return l, nil
		case gone:
			l.Says = "the bucket says that it has object lock, and an object that was locked could be deleted: whoever has its key can delete the backups"
			return l, nil
		}
	}
	l.On, l.Proven = true, true
	l.Says = fmt.Sprintf("what is written is locked for %d days and longer (%s): an object that was locked could not be deleted", int(l.Period.Hours()/24), l.Mode)
	return l, nil
}

// deletes tries to delete a version of an object, and reports whether it is gone. What
// was answered to the deletion proves nothing: it looks.
func deletes(ctx context.Context, store *minio.Client, bucket, name string, opts minio.RemoveObjectOptions) (gone bool, err error) {
	if err := store.RemoveObject(ctx, bucket, name, opts); err != nil && statusOf(err)/100 != 4 {
		return false, err
	}
	_, err = store.StatObject(ctx, bucket, name, minio.StatObjectOptions{VersionID: opts.VersionID})
	if statusOf(err) == http.StatusNotFound {
		return true, nil
	}
	return false, err
}

// statusOf is the status of a store's answer that is an error, or 0.
func statusOf(err error) int {
	if e, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return e.StatusCode
	}
	return 0
}

// client is a client of the store for what kopia's has no words for.
func (b *Bucket) client() (*minio.Client, error) {
	o := b.options(true)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if len(b.CA) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(b.CA) {
			return nil, errors.New("the store's authority is no certificate in PEM")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return minio.New(o.Endpoint, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.Static{Value: credentials.Value{AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey, SignerType: credentials.SignatureV4}},
			&credentials.EnvAWS{},
			&credentials.IAM{Client: &http.Client{Transport: http.DefaultTransport}},
		}),
		Secure: !b.Plain, Region: b.Region, Transport: transport, MaxRetries: 4,
	})
}
