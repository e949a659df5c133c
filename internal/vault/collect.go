package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
)

// A collector is what kopia collects with. Its collection gives up those who delete at
// the first failure, whatever that is: the storage's, of kopia's own look at the format
// blob before, or the end of the context. Then it waits for them for ever. So it is not
// told of any, and kept is why the first blob could not be deleted that is to go.
//
// And it keeps all items of a drive in memory while it goes through them to see what is in
// use, and then all contents of all packs. So it is shown folders only, and of each, as its
// own, the contents of all files in it, and nothing of what is in packs that are full.
type collector struct {
	repo.DirectRepositoryWriter
	kept     *atomic.Pointer[error]
	walk     *walk
	fullPack int64 // how long a pack is that kopia leaves as it is
}

// A walk is what a collector has of the folders that kopia goes through.
type walk struct {
	mu      sync.Mutex
	folders map[object.ID][]*snapshot.DirEntry // in those that it is about to open
	seen    map[object.ID]bool                 // files whose contents it was told of
}

func newWalk() *walk {
	return &walk{folders: map[object.ID][]*snapshot.DirEntry{}, seen: map[object.ID]bool{}}
}

// seenMost is how many files are remembered, most of which are in the next version of their
// folder too.
const seenMost = 100_000

// VerifyObject returns the contents that an object is of, and all that are in a folder but
// for its folders. All of them are in the index.
func (c collector) VerifyObject(ctx context.Context, id object.ID) ([]content.ID, error) {
	contents, err := c.DirectRepositoryWriter.VerifyObject(ctx, id)
	if err != nil || !isFolder(id) {
		return contents, err
	}
	r, err := c.DirectRepositoryWriter.OpenObject(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var m snapshot.DirManifest // as kopia reads it
	if err := json.NewDecoder(r).Decode(&m); err != nil || m.StreamType != dirStream {
		return contents, nil // kopia says what is wrong with it when it opens it
	}
	var folders []*snapshot.DirEntry
	var files []object.ID
	for _, e := range m.Entries {
		switch {
		case e == nil:
		case e.Type == snapshot.EntryTypeDirectory:
			folders = append(folders, e)
		case !c.walk.saw(e.ObjectID):
			of, err := c.DirectRepositoryWriter.VerifyObject(ctx, e.ObjectID)
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return nil, fmt.Errorf("%q: %w", e.Name, err)
			}
			contents, files = append(contents, of...), append(files, e.ObjectID)
		}
	}
	c.walk.tell(id, folders, files)
	return contents, nil
}

// OpenObject opens an object: of a folder whose files it has told of, what is left of it.
func (c collector) OpenObject(ctx context.Context, id object.ID) (object.Reader, error) {
	folders, ok := c.walk.take(id)
	if !ok {
		return c.DirectRepositoryWriter.OpenObject(ctx, id)
	}
	b, err := json.Marshal(&snapshot.DirManifest{StreamType: dirStream, Entries: folders})
	if err != nil {
		return nil, err
	}
	return listed{bytes.NewReader(b)}, nil
}

// ContentReader is the repository's, but for how it goes through packs.
func (c collector) ContentReader() content.Reader {
	return shortPacks{c.DirectRepositoryWriter.ContentReader(), c.fullPack}
}

// A shortPacks reader tells of the contents of packs that are not full: kopia asks for those of
// all, which it has in memory together, and passes over full ones.
type shortPacks struct {
	content.Reader
	full int64 // or 0 if that is not known
}

func (r shortPacks) IteratePacks(ctx context.Context, opts content.IteratePackOptions, each content.IteratePacksCallback) error {
	if !opts.IncludeContentInfos || r.full == 0 {
		return r.Reader.IteratePacks(ctx, opts, each)
	}
	opts.IncludeContentInfos = false
	short := map[blob.ID]*content.PackInfo{}
	err := r.Reader.IteratePacks(ctx, opts, func(p content.PackInfo) error {
		if p.TotalSize < r.full {
			short[p.PackID] = &p
			return nil
		}
		return each(p)
	})
	if err != nil {
		return err
	}
	err = r.IterateContents(ctx, content.IterateOptions{IncludeDeleted: opts.IncludePacksWithOnlyDeletedContent}, func(i content.Info) error {
		if p := short[i.PackBlobID]; p != nil {
			p.ContentInfos = append(p.ContentInfos, i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range short {
		if err := each(*p); err != nil {
			return err
		}
	}
	return nil
}

// isFolder reports whether an object is named as folders are.
func isFolder(id object.ID) bool {
	if list, ok := id.IndexObjectID(); ok {
		return isFolder(list)
	}
	of, _, ok := id.ContentID()
	return ok && of.Prefix() == dirPrefix
}

func (w *walk) saw(file object.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[file]
}

func (w *walk) tell(folder object.ID, folders []*snapshot.DirEntry, files []object.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.folders[folder] = folders
	if len(w.seen)+len(files) > seenMost {
		clear(w.seen)
	}
	for _, id := range files {
		if len(w.seen) < seenMost {
			w.seen[id] = true
		}
	}
}

func (w *walk) take(folder object.ID) ([]*snapshot.DirEntry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	folders, ok := w.folders[folder]
	delete(w.folders, folder)
	return folders, ok
}

// listed is the list of a folder's entries.
type listed struct{ *bytes.Reader }

func (l listed) Length() int64 { return l.Size() }
func (l listed) Close() error  { return nil }

func (c collector) BlobStorage() blob.Storage {
	return collectedFrom{c.DirectRepositoryWriter.BlobStorage(), c.kept}
}

// collectedFrom is the storage of a collector.
type collectedFrom struct {
	blob.Storage
	kept *atomic.Pointer[error]
}

func (c collectedFrom) DeleteBlob(ctx context.Context, id blob.ID) error {
	err := ctx.Err()
	if err == nil {
		err = c.Storage.DeleteBlob(ctx, id)
	}
	if err != nil {
		why := storageError(err)
		c.kept.CompareAndSwap(nil, &why)
	}
	return nil
}
