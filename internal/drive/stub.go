package drive

import (
	"context"
	"errors"
	"io"
	"iter"

	"holdfast/internal/backup"
)

var errStub = errors.New("stub")

var (
	ErrNotFound    = errors.New("not found")
	ErrNoDrive     = errors.New("the user has no drive")
	ErrNotFile     = errors.New("the item has no content")
	ErrResync      = errors.New("the cursor is no longer valid")
	ErrExists      = errors.New("the name is taken")
	ErrChanged     = errors.New("changed meanwhile")
	ErrLocked      = errors.New("locked")
	ErrQuota       = errors.New("no space left")
	ErrDenied      = errors.New("access denied")
	ErrMalware     = errors.New("infected")
	ErrUnavailable = errors.New("unavailable")
)

type Client struct{}

func New(cfg Config) *Client { return &Client{} }

type Changes[T any] struct{}

func (x *Changes[T]) All() iter.Seq2[T, error] { return nil }
func (x *Changes[T]) Cursor() string            { return "" }

func (c *Client) Users(ctx context.Context, cursor string) *Changes[UserChange] { return nil }
func (c *Client) FindUsers(ctx context.Context, entries []string) (map[string]backup.User, error) {
	return nil, errStub
}
func (c *Client) UserDrive(ctx context.Context, user backup.ObjectID) (Drive, error) {
	return Drive{}, errStub
}
func (c *Client) Delta(ctx context.Context, d backup.DriveID, cursor string) *Changes[Item] {
	return nil
}
func (c *Client) Root(ctx context.Context, d backup.DriveID) (Item, error) { return Item{}, errStub }
func (c *Client) Item(ctx context.Context, d backup.DriveID, id backup.ItemID) (Item, error) {
	return Item{}, errStub
}
func (c *Client) Children(ctx context.Context, d backup.DriveID, id backup.ItemID) iter.Seq2[Item, error] {
	return nil
}

type Download struct {
	Item     Item
	Mismatch bool
}

func (x *Download) Read(p []byte) (int, error) { return 0, errStub }
func (x *Download) Close() error               { return nil }

func (c *Client) Download(ctx context.Context, d backup.DriveID, id backup.ItemID) (*Download, error) {
	return nil, errStub
}
func (c *Client) CreateFolder(ctx context.Context, d backup.DriveID, parent backup.ItemID, name string, t Times) (Item, error) {
	return Item{}, errStub
}

type Target struct {
	Item    backup.ItemID
	Parent  backup.ItemID
	Name    string
	IfMatch string
}

func (c *Client) Upload(ctx context.Context, d backup.DriveID, to Target, r io.ReaderAt, size int64, t Times) (Item, error) {
	return Item{}, errStub
}

type Patch struct {
	Name    string
	Parent  backup.ItemID
	Times   *Times
	IfMatch string
}

func (c *Client) Patch(ctx context.Context, d backup.DriveID, id backup.ItemID, p Patch) (Item, error) {
	return Item{}, errStub
}
func (c *Client) Delete(ctx context.Context, d backup.DriveID, id backup.ItemID, ifMatch string) error {
	return errStub
}
func (c *Client) CreateLibrary(ctx context.Context, beside backup.DriveID, name string) (Drive, error) {
	return Drive{}, errStub
}
func (c *Client) FindLibrary(ctx context.Context, beside backup.DriveID, name string) (Drive, bool, error) {
	return Drive{}, false, errStub
}
