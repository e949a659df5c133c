package engine

import (
	"context"
	"io"
	"iter"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// A source is where the items of one container are read from: of a drive, whoever's
// or whichever site's it is. All that a backup asks of a service is here, and what
// else holds a tree of items that change can be backed up by answering it. The
// failures are those of package drive.
type source interface {
	// Changes lists what changed since a cursor, or all there is for "". After the
	// last item, next returns where the list goes on from the next time.
	Changes(ctx context.Context, cursor string) (all iter.Seq2[drive.Item, error], next func() string)
	// Root is the folder that all others are below.
	Root(ctx context.Context) (drive.Item, error)
	// Item is an item as it is now.
	Item(ctx context.Context, id backup.ItemID) (drive.Item, error)
	// Children lists what a folder holds now.
	Children(ctx context.Context, folder backup.ItemID) iter.Seq2[drive.Item, error]
	// Open reads the content of an item that was listed, as it was listed or, if
	// that is not to be relied on, as it is now.
	Open(ctx context.Context, listed drive.Item, now bool) (content, error)
	// Forget drops what is known of the container only for the sake of speed.
	Forget()
}

// A manySource says of many items at once what Item says of each, as far as it is clear;
// nil is nothing.
type manySource interface {
	source
	Items(ctx context.Context, ids []backup.ItemID) []drive.Found
}

// A countingSource finds out by itself whether it was told of all that its folders
// hold. It says which of them hold what it was not told of, and why.
type countingSource interface {
	source
	Unlisted() map[backup.ItemID]error
}

// A target is a source that is restored into: what package drive says of its methods
// of these names, of the items of the one container.
type target interface {
	source
	CreateFolder(ctx context.Context, f drive.NewItem) (drive.Item, error)
	Patch(ctx context.Context, id backup.ItemID, p drive.Patch) (drive.Item, error)
	Delete(ctx context.Context, id backup.ItemID, tag string) error
	Upload(ctx context.Context, to drive.Target, r io.ReaderAt, size int64, t drive.Times) (drive.Item, error)
	// These are for speed. What does them does not have to: ok is then false.
	WriteTogether(ctx context.Context, files []drive.SmallFile) (written []drive.Written, ok bool)
	OpenAhead(ctx context.Context, files []drive.NewItem) (sessions []*drive.Session, ok bool)
	MakeFolders(ctx context.Context, folders []drive.NewItem) (made []drive.Written, ok bool)
	DateItems(ctx context.Context, all []drive.Dating) (done []bool)
	DeleteItems(ctx context.Context, all []drive.Doomed) (done []bool)
	GuardsDeletes(ctx context.Context, x drive.Doomed) bool
	Guards(ctx context.Context, f drive.SmallFile) bool
	CountVersions(ctx context.Context, id backup.ItemID) int
	// Quota is how full it is.
	Quota(ctx context.Context) (drive.Quota, error)
}

// A content is being read. At its end it says what it was.
type content interface {
	io.ReadCloser
	Is() drive.Item     // the item as the source told of it when it was opened
	Sum() string        // of what was read, as the source hashes it
	Proof() drive.Proof // whether that is what the source states
}

// A driveSource reads from a drive.
type driveSource struct {
	client *drive.Client
	id     backup.DriveID
}

func (s driveSource) Changes(ctx context.Context, cursor string) (iter.Seq2[drive.Item, error], func() string) {
	changes := s.client.Delta(ctx, s.id, cursor)
	return changes.All(), changes.Cursor
}

func (s driveSource) Root(ctx context.Context) (drive.Item, error) { return s.client.Root(ctx, s.id) }

func (s driveSource) Item(ctx context.Context, id backup.ItemID) (drive.Item, error) {
	return s.client.Item(ctx, s.id, id)
}

func (s driveSource) Items(ctx context.Context, ids []backup.ItemID) []drive.Found {
	return s.client.Items(ctx, s.id, ids)
}

func (s driveSource) Children(ctx context.Context, folder backup.ItemID) iter.Seq2[drive.Item, error] {
	return s.client.Children(ctx, s.id, folder)
}

func (s driveSource) Open(ctx context.Context, listed drive.Item, now bool) (content, error) {
	open := s.client.DownloadListed
	if now {
		open = func(ctx context.Context, d backup.DriveID, item drive.Item) (*drive.Download, error) {
			return s.client.Download(ctx, d, item.ID)
		}
	}
	body, err := open(ctx, s.id, listed)
	if err != nil {
		return nil, err
	}
	return driveContent{body}, nil
}

func (s driveSource) Forget() { s.client.Forget(s.id) }

func (s driveSource) CreateFolder(ctx context.Context, f drive.NewItem) (drive.Item, error) {
	return s.client.CreateFolder(ctx, s.id, f)
}

func (s driveSource) Patch(ctx context.Context, id backup.ItemID, p drive.Patch) (drive.Item, error) {
	return s.client.Patch(ctx, s.id, id, p)
}

func (s driveSource) Delete(ctx context.Context, id backup.ItemID, tag string) error {
	return s.client.Delete(ctx, s.id, id, tag)
}

func (s driveSource) Upload(ctx context.Context, to drive.Target, r io.ReaderAt, size int64, t drive.Times) (drive.Item, error) {
	return s.client.Upload(ctx, s.id, to, r, size, t)
}

func (s driveSource) WriteTogether(ctx context.Context, files []drive.SmallFile) ([]drive.Written, bool) {
	return s.client.WriteTogether(ctx, s.id, files)
}

func (s driveSource) OpenAhead(ctx context.Context, files []drive.NewItem) ([]*drive.Session, bool) {
	return s.client.OpenAhead(ctx, s.id, files)
}

func (s driveSource) MakeFolders(ctx context.Context, folders []drive.NewItem) ([]drive.Written, bool) {
	return s.client.MakeFolders(ctx, s.id, folders)
}

func (s driveSource) DateItems(ctx context.Context, all []drive.Dating) []bool {
	return s.client.DateItems(ctx, s.id, all)
}

func (s driveSource) DeleteItems(ctx context.Context, all []drive.Doomed) []bool {
	return s.client.DeleteItems(ctx, s.id, all)
}

func (s driveSource) GuardsDeletes(ctx context.Context, x drive.Doomed) bool {
	return s.client.GuardsDeletes(ctx, s.id, x)
}

func (s driveSource) Guards(ctx context.Context, f drive.SmallFile) bool {
	return s.client.Guards(ctx, s.id, f)
}

func (s driveSource) CountVersions(ctx context.Context, id backup.ItemID) int {
	return s.client.CountVersions(ctx, s.id, id)
}

func (s driveSource) Quota(ctx context.Context) (drive.Quota, error) {
	return s.client.Quota(ctx, s.id)
}

type driveContent struct{ *drive.Download }

func (c driveContent) Is() drive.Item { return c.Item }
