// Package vault keeps what was backed up, and is the only door to kopia.
package vault

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"time"

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

// The failures that a caller may tell apart, with errors.Is.
var (
	// ErrStorage: the vault's storage could not be read or written, or is full.
	ErrStorage = errors.New("the vault's storage failed")
	// ErrPassword: the vault exists and does not open with the password given.
	ErrPassword = errors.New("the vault does not open with this password")
	// ErrNotFound: the vault has no such tree, item or content.
	ErrNotFound = errors.New("not in the vault")
)

// Config says where a vault is.
type Config struct {
	Dir      string // the repository; created when it holds none
	Password Secret
	State    string // a folder of this process's own, for kopia's connection file and caches
	Log      *slog.Logger
}

// A DriveKey names a drive in a vault.
type DriveKey struct {
	Tenant backup.TenantID
	Drive  backup.DriveID
}

// An Entry is what is kept of one item of a drive.
type Entry struct {
	ID, Parent        backup.ItemID // Parent is empty for the drive's root folder
	Name              string
	Kind              backup.ItemKind
	Size              int64 // files only
	Created, Modified time.Time
	CTag, Hash        string
	Content           string // files only: what Write returned
}

// A Node is an entry with its path below the drive's root: "" for the root
// itself, "a/b.txt" for others.
type Node struct {
	Entry
	Path string
}

// A Change is how one item differs between two trees: From is nil when it was
// added, To when it was removed.
type Change struct {
	From, To *Node
}

// A Content is what Write stored.
type Content struct {
	ID   string
	Size int64
}

// PointInfo is what Seal keeps beside the tree.
type PointInfo struct {
	Incomplete bool // a checkpoint of a backup that is still under way
}

// Sealed is the outcome of Seal.
type Sealed struct {
	Root, Tree            string
	Changed               bool
	Files, Folders, Bytes int64
	Orphans               []backup.ItemID // staged, but left out: no chain of parents leads to the root
}

// Counters are what a vault did since it was opened.
type Counters struct {
	ObjectsWritten, ObjectsRead   int64
	ContentsWritten, ContentsRead int64
	BlobsWritten, BlobsRead       int64
	BytesWritten, BytesRead       int64
}

// A Vault is one tenant's repository, open.
type Vault struct{}

// Open opens the vault, creating it when there is none.
func Open(ctx context.Context, cfg Config) (*Vault, error) { panic("") }

// Close closes the vault.
func (v *Vault) Close(ctx context.Context) error { panic("") }

// Counters returns what the vault did since it was opened.
func (v *Vault) Counters() Counters { panic("") }

// An Update makes the next tree of one drive.
type Update struct{}

// Begin starts an update of a drive whose published root and latest tree are
// those given; both are empty before the drive's first point.
func (v *Vault) Begin(ctx context.Context, key DriveKey, root, tree string) (*Update, error) {
	panic("")
}

// Get returns an item as it is in the base with what was staged.
func (u *Update) Get(ctx context.Context, id backup.ItemID) (Entry, bool, error) { panic("") }

// Write stores a file's content. Concurrent calls are safe.
func (u *Update) Write(ctx context.Context, name string, r io.Reader) (Content, error) { panic("") }

// Put stages an item as it shall be.
func (u *Update) Put(e Entry) { panic("") }

// Delete stages the removal of an item with all that is below it after all moves.
func (u *Update) Delete(id backup.ItemID) { panic("") }

// IDs lists the items of the base.
func (u *Update) IDs(ctx context.Context) iter.Seq2[backup.ItemID, error] { panic("") }

// Seal writes the tree and publishes it.
func (u *Update) Seal(ctx context.Context, at time.Time, info PointInfo) (Sealed, error) { panic("") }

// Close ends the update; what was not sealed is dropped.
func (u *Update) Close() { panic("") }

// Walk lists a tree, folders before what they hold.
func (v *Vault) Walk(ctx context.Context, tree string) iter.Seq2[Node, error] { panic("") }

// Stat returns one item of a tree.
func (v *Vault) Stat(ctx context.Context, tree string, id backup.ItemID) (Entry, bool, error) {
	panic("")
}

// Path returns an item's path below the drive's root.
func (v *Vault) Path(ctx context.Context, tree string, id backup.ItemID) (string, bool, error) {
	panic("")
}

// List returns what a folder of a tree holds.
func (v *Vault) List(ctx context.Context, tree string, folder backup.ItemID) ([]Entry, error) {
	panic("")
}

// Diff lists how tree to differs from tree from, by item id.
func (v *Vault) Diff(ctx context.Context, from, to string) iter.Seq2[Change, error] { panic("") }

// A Reader reads one content.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// Open opens a content for reading.
func (v *Vault) Open(ctx context.Context, content string) (Reader, error) { panic("") }

// Verify reads all of a tree.
func (v *Vault) Verify(ctx context.Context, tree string) error { panic("") }

// Expire drops the points of a drive whose trees are not to be kept.
func (v *Vault) Expire(ctx context.Context, key DriveKey, root string, keep map[string]bool) (newRoot string, err error) {
	panic("")
}

// Maintain repairs manifests that lag behind roots, and collects what nothing needs.
func (v *Vault) Maintain(ctx context.Context, roots map[DriveKey]string) error { panic("") }
