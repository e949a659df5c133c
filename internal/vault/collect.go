package vault

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"
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
// own, the contents of all files in it, and nothing of what is in packs that are full. Of
// snapshots it keeps all, too, and goes on without those that it cannot read. So it is shown
// one only, in whose folders are the roots of all.
type collector struct {
	repo.DirectRepositoryWriter
	vault    *Vault
	kept     *atomic.Pointer[error]
	walk     *walk
	fullPack int64 // how long a pack is that kopia leaves as it is
}

// A walk is what a collector has of the folders that kopia goes through.
type walk struct {
	mu      sync.Mutex
	folders map[object.ID][]*snapshot.DirEntry // in those that it is about to open
	seen    map[object.ID]bool                 // files whose contents it was told of
	roots   map[object.ID][]root               // by the folder that it shall find them in; it opens each once
}

func newWalk() *walk {
	return &walk{folders: map[object.ID][]*snapshot.DirEntry{}, seen: map[object.ID]bool{}, roots: map[object.ID][]root{}}
}

// seenMost is how many files are remembered, most of which are in the next version of their
// folder too.
const seenMost = 100_000

// everyRoot is the snapshot that kopia is shown, and rootsOfOne how many roots are in one of
// its folders.
const everyRoot, rootsOfOne = "roots", 1000

// FindManifests finds one snapshot where kopia asks for all.
func (c collector) FindManifests(ctx context.Context, labels map[string]string) ([]*manifest.EntryMetadata, error) {
	if len(labels) != 1 || labels[manifest.TypeLabelKey] != snapshot.ManifestType {
		return c.DirectRepositoryWriter.FindManifests(ctx, labels)
	}
	roots, err := c.vault.roots(ctx)
	if err != nil {
		return nil, err
	}
	return []*manifest.EntryMetadata{{ID: everyRoot, Labels: labels}}, c.walk.begin(roots)
}

func (c collector) GetManifest(ctx context.Context, id manifest.ID, data any) (*manifest.EntryMetadata, error) {
	s, ok := data.(*snapshot.Manifest)
	if id != everyRoot || !ok {
		return c.DirectRepositoryWriter.GetManifest(ctx, id, data)
	}
	top, err := madeFolder(-1)
	s.RootEntry = &snapshot.DirEntry{Type: snapshot.EntryTypeDirectory, ObjectID: top}
	return &manifest.EntryMetadata{ID: id, Labels: map[string]string{manifest.TypeLabelKey: snapshot.ManifestType}}, err
}

// madeFolder is the id of the folder of some roots, or of that in which all these folders are.
func madeFolder(n int) (object.ID, error) {
	hash := sha256.Sum256(fmt.Appendf(nil, "roots %d", n))
	id, err := content.IDFromHash(dirPrefix, hash[:])
	return object.DirectObjectID(id), err
}

// begin has the walk go through all that the roots are of.
func (w *walk) begin(roots []root) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var folders []root
	for some := range slices.Chunk(roots, rootsOfOne) {
		id, err := madeFolder(len(folders))
		if err != nil {
			return err
		}
		w.roots[id], folders = some, append(folders, root{id, snapshot.EntryTypeDirectory})
	}
	top, err := madeFolder(-1)
	w.roots[top] = folders
	return err
}

// isMade reports whether a folder is in no pack, but made here.
func (w *walk) isMade(id object.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.roots[id]
	return ok
}

// left returns an error if kopia has not yet opened all folders with roots.
func (w *walk) left() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.roots) > 0 {
		return errors.New("kopia has not looked at all that is in use")
	}
	return nil
}

// VerifyObject returns the contents that an object is of, and all that are in a folder but
// for its folders. All of them are in the index.
func (c collector) VerifyObject(ctx context.Context, id object.ID) ([]content.ID, error) {
	if c.walk.isMade(id) {
		return nil, nil
	}
	contents, err := c.DirectRepositoryWriter.VerifyObject(ctx, id)
	if err != nil || !isFolder(id) {
		return contents, err
	}
	r, err := c.DirectRepositoryWriter.OpenObject(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var folders []*snapshot.DirEntry
	var files []object.ID
	whole, err := eachEntry(r, func(e *snapshot.DirEntry) error {
		if e.Type == snapshot.EntryTypeDirectory {
			folders = append(folders, e)
			return nil
		}
		if c.walk.saw(e.ObjectID) {
			return nil
		}
		of, err := c.DirectRepositoryWriter.VerifyObject(ctx, e.ObjectID)
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
		contents = append(contents, of...)
		if len(files) < seenMost {
			files = append(files, e.ObjectID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !whole {
		return contents, nil // kopia says what is wrong with it when it opens it
	}
	c.walk.tell(id, folders, files)
	return contents, nil
}

// eachEntry passes over the entries of a folder, as kopia reads them, but one by one: a folder
// may have very many. It reports whether it has come to the folder's end.
func eachEntry(r io.Reader, each func(*snapshot.DirEntry) error) (whole bool, err error) {
	d := json.NewDecoder(r)
	stream := ""
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false, nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false, nil
		}
		switch key, _ := name.(string); {
		case strings.EqualFold(key, "stream"):
			err = d.Decode(&stream)
		case strings.EqualFold(key, "entries"):
			list, err := d.Token()
			if err == nil && list == nil {
				break // there is none
			}
			if err != nil || list != json.Delim('[') {
				return false, nil
			}
			for d.More() {
				var e *snapshot.DirEntry
				if d.Decode(&e) != nil {
					return false, nil
				}
				if e == nil {
					continue
				}
				if err := each(e); err != nil {
					return false, err
				}
			}
			if _, err := d.Token(); err != nil {
				return false, nil
			}
		case strings.EqualFold(key, "summary"):
			err = d.Decode(new(*fs.DirectorySummary))
		default:
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return false, nil
		}
	}
	_, err = d.Token()
	return err == nil && stream == dirStream, nil
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
	return shortPacks{c.DirectRepositoryWriter.ContentReader(), c.fullPack, c.walk}
}

// A shortPacks reader tells of the contents of packs that are not full: kopia asks for those of
// all, which it has in memory together, and passes over full ones.
type shortPacks struct {
	content.Reader
	full int64 // or 0 if that is not known
	walk *walk
}

// IterateContents goes through contents, of which kopia takes away those that it has not found to
// be in use, once it has looked at all that is.
func (r shortPacks) IterateContents(ctx context.Context, opts content.IterateOptions, each content.IterateCallback) error {
	if err := r.walk.left(); err != nil {
		return err
	}
	return r.Reader.IterateContents(ctx, opts, each)
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
	if roots, ok := w.roots[folder]; ok {
		delete(w.roots, folder)
		entries := make([]*snapshot.DirEntry, len(roots))
		for i, r := range roots {
			entries[i] = &snapshot.DirEntry{Name: strconv.Itoa(i), Type: r.kind, ObjectID: r.id}
		}
		return entries, true
	}
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
