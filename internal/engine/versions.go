package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// Where a tenant asks for it, what a library's files were before is backed up beside
// them: the newest earlier versions of each file, in a folder in the file's place, and
// what the source tells of them.
//
//	versions/Documents (versions)/
//	└─ Offers/Budget.xlsx/
//	   ├─ versions.json   the earlier versions, the newest first: when, whose, how large
//	   ├─ 3.0.xlsx
//	   └─ 2.0.xlsx
//
// It has the library's delta with a cursor of its own, so that a run which could not read
// versions misses none. The versions of a file are listed when the file is another than
// versions.json was made of, which its tag tells; those that are held are not read again.
const versionsName = "versions.json"

// MostVersions is how many versions of a file may be kept: what the service keeps itself.
const MostVersions = 500

// versionsID is the id of what is told of a file's versions.
func versionsID(file backup.ItemID) backup.ItemID { return file + "," + versionsName }

func versionID(file backup.ItemID, version string) backup.ItemID {
	return file + "," + backup.ItemID(version)
}

// splitVersion returns the file that an item of versions is of, and which it is: "" is
// the file itself, or a folder.
func splitVersion(id backup.ItemID) (file backup.ItemID, version string) {
	f, v, _ := strings.Cut(string(id), ",")
	return backup.ItemID(f), v
}

// versionName is the name that a version of a file has.
func versionName(version, file string) string {
	version = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>:"/\|?*`, r) || r < ' ' {
			return '_'
		}
		return r
	}, version)
	return version + path.Ext(file)
}

// A run lists no more versions once it has so many to read, or as many bytes as a
// checkpoint is made of, or an interval is over: no point waits long for them, and later
// runs go on. So it is where so many lists fail that there is something wrong with all.
const maxVersions = 5000

// A versionSource reads the earlier versions of a library's files. To a run a file is a
// folder of them.
type versionSource struct {
	driveSource
	p      *protection
	keep   int       // how many are kept of a file
	until  time.Time // when no more are listed
	behind int       // files that were left for later

	mu    sync.Mutex // guards what follows
	told  *spill.Table
	redo  map[backup.ItemID][]backup.ItemID // files that are listed whatever their tags say, and what is gone unless it is listed then
	fewer map[backup.ItemID]bool            // files of which a version was gone when it was to be read
	reads int                               // versions that are to be read
	bytes int64                             // of them
	bad   int                               // lists that could not be had
}

func newVersionSource(p *protection, of backup.DriveID, client *drive.Client, keep int) *versionSource {
	s := &versionSource{driveSource: driveSource{client, of}, p: p, keep: keep, redo: map[backup.ItemID][]backup.ItemID{}, fewer: map[backup.ItemID]bool{}}
	now := p.e.Clock()
	if p.job.Kind != jobs.Backup {
		return s // no restore waits for versions
	}
	s.until = now.Add(p.e.Interval)
	for _, u := range byAttempts(p.state.Pending) {
		if u.Item != "" && !u.Next.After(now) && len(s.redo) < maxRetried {
			file, _ := splitVersion(u.Item)
			s.redo[file] = append(s.redo[file], u.Item)
		}
	}
	return s
}

// Unlisted: what the folders of the library hold is counted with that.
func (s *versionSource) Unlisted() map[backup.ItemID]error { return nil }

func (s *versionSource) Children(context.Context, backup.ItemID) iter.Seq2[drive.Item, error] {
	return func(func(drive.Item, error) bool) {}
}

func (s *versionSource) Root(ctx context.Context) (drive.Item, error) {
	item, err := s.driveSource.Root(ctx)
	return asFolder(item), err
}

func (s *versionSource) Forget() {
	s.driveSource.Forget()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told != nil {
		s.told.Close()
	}
	s.told = nil
}

// A toldFile is what was told last of a file's versions.
type toldFile struct {
	Tag      string // see tag
	Name     string
	Versions []drive.Version
	Older    []string // that are held, and are more than are kept
}

// tag says what the versions of a file were listed for.
func (s *versionSource) tag(file drive.Item) string {
	return fmt.Sprintf("%d %s", s.keep, cmp.Or(file.ETag, version(file)))
}

// put keeps what was told of a file in this run; nil is nothing.
func (s *versionSource) put(file backup.ItemID, t *toldFile) error {
	var text []byte
	if t != nil {
		var err error
		if text, err = json.Marshal(t); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = spill.New(s.p.vault.Scratch())
	}
	s.told.Put(string(file), string(text))
	return s.told.Err()
}

// toldOf returns what was told of a file in this run, or nil.
func (s *versionSource) toldOf(file backup.ItemID) (*toldFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		return nil, nil
	}
	i, found := s.told.Find(string(file))
	if !found {
		return nil, s.told.Err()
	}
	_, text := s.told.Get(i)
	if err := s.told.Err(); err != nil || text == "" {
		return nil, err
	}
	var t toldFile
	return &t, json.Unmarshal([]byte(text), &t)
}

// json is what is kept of the list of versions.
func (t *toldFile) json() []byte {
	all := []json.RawMessage{}
	for _, v := range t.Versions {
		all = append(all, v.JSON)
	}
	b, _ := json.MarshalIndent(all, "", "  ") // they were read as JSON
	return append(b, '\n')
}

// asFolder is an item of the library as one of its versions: a file is a folder of them.
func asFolder(item drive.Item) drive.Item {
	item.ChildCount = -1
	if isVersioned(item) {
		item.Kind, item.Size, item.Hash, item.CTag, item.Unreadable = backup.Folder, -1, "", "", ""
	}
	return item
}

// isVersioned reports whether an item may have versions. Those of before may be sound
// where malware was found.
func isVersioned(item drive.Item) bool {
	return item.Kind == backup.File && !item.Deleted && (item.Unreadable == "" || item.Unreadable == drive.Malware)
}

// unlisted ends the tag of a list that could not be had.
const unlisted = "?"

// versionsItem is the list of a file's versions as an item. Its tag follows what is listed,
// too.
func versionsItem(file backup.ItemID, tag string, t *toldFile) drive.Item {
	sum := unlisted
	if t != nil {
		hash := sha256.Sum256(t.json())
		sum = hex.EncodeToString(hash[:8])
	}
	return drive.Item{ID: versionsID(file), Parent: file, Name: versionsName, Kind: backup.File, Size: -1, CTag: tag + " " + sum}
}

func versionItem(file backup.ItemID, name string, v drive.Version) drive.Item {
	return drive.Item{ID: versionID(file, v.ID), Parent: file, Name: versionName(v.ID, name), Kind: backup.File, Size: v.Size, CTag: v.ID, Modified: v.Modified}
}

// A changedFile is a file whose versions are listed.
type changedFile struct {
	drive.Item
	held  []vault.Entry   // of it
	doubt []backup.ItemID // what is gone unless it is listed
	told  *toldFile
}

// A telling is one pass over what changed.
type telling struct {
	s    *versionSource
	ctx  context.Context
	full bool
	to   func(drive.Item, error) bool
	some []changedFile // to be listed together
}

func (t *telling) fail(err error) bool {
	t.to(drive.Item{}, err)
	return false
}

func (t *telling) tell(item drive.Item) bool { return t.to(item, nil) }

func (t *telling) gone(ids []backup.ItemID) bool {
	for _, id := range ids {
		if !t.tell(drive.Item{ID: id, Deleted: true}) {
			return false
		}
	}
	return true
}

func (s *versionSource) Changes(ctx context.Context, cursor string) (iter.Seq2[drive.Item, error], func() string) {
	changes, next := s.driveSource.Changes(ctx, cursor)
	return func(yield func(drive.Item, error) bool) {
		t := &telling{s: s, ctx: ctx, full: cursor == "", to: yield}
		if t.full {
			s.behind = 0
		}
		s.mu.Lock()
		redo := s.redo
		s.redo = map[backup.ItemID][]backup.ItemID{}
		s.mu.Unlock()
		for item, err := range changes {
			if err != nil {
				t.fail(err)
				return
			}
			doubt, again := redo[item.ID]
			delete(redo, item.ID)
			if !t.take(item, doubt, again) {
				return
			}
		}
		// No delta need speak of what could not be read before.
		for _, id := range slices.Sorted(maps.Keys(redo)) {
			if t.full {
				break // it is in the library no more
			}
			if !t.again(id, redo[id]) {
				return
			}
		}
		t.list()
	}, next
}

// again looks at a file whose versions could not be read before.
func (t *telling) again(id backup.ItemID, doubt []backup.ItemID) bool {
	item, err := t.s.driveSource.Item(t.ctx, id)
	if errors.Is(err, drive.ErrNotFound) {
		item, err = t.s.driveSource.Item(t.ctx, id)
	}
	switch {
	case errors.Is(err, drive.ErrNotFound), err == nil && item.Deleted:
		return t.gone(doubt)
	case err != nil && (stopped(t.ctx, err) || !isSource(err)):
		return t.fail(err)
	case err != nil:
		return true // it stays named
	}
	return t.take(item, doubt, true)
}

// isOver reports whether the run has enough to read.
func (s *versionSource) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads >= maxVersions || s.bad >= maxRetried || s.bytes >= s.p.e.CheckpointBytes || !s.p.e.Clock().Before(s.until)
}

// take tells of an item of the library and, where that is not known, has its versions
// listed. It reports whether to go on, as all do that tell.
func (t *telling) take(item drive.Item, doubt []backup.ItemID, again bool) bool {
	s := t.s
	if item.Unreadable == drive.Incomplete && item.ID != "" && !item.Deleted {
		if whole, err := s.driveSource.Item(t.ctx, item.ID); err == nil && whole.ID == item.ID {
			item = whole
		} else if stopped(t.ctx, err) {
			return t.fail(err)
		}
	}
	switch {
	case item.ID == "", strings.Contains(string(item.ID), ","): // it is named with the library, or would be taken for a version
		return true
	case item.Deleted:
		return t.list() && t.gone(doubt) && t.tell(asFolder(item))
	case !isVersioned(item):
		return t.tell(asFolder(item))
	}
	held, err := s.p.stage.childrenOf(t.ctx, item.ID)
	if err != nil {
		return t.fail(err)
	}
	f := changedFile{Item: item, held: held, doubt: doubt}
	if !again && s.isListed(held, s.tag(item)) {
		return t.unchanged(f)
	}
	if f.told, err = s.toldOf(item.ID); err != nil {
		return t.fail(err)
	}
	switch {
	case f.told != nil && f.told.Tag == s.tag(item) && !again:
		return t.changed(f)
	case s.isOver():
		s.behind++
		return t.unchanged(f)
	}
	if t.some = append(t.some, f); len(t.some) == lookers {
		return t.list()
	}
	return true
}

// isListed reports whether the versions that are held of a file were listed under a tag.
func (s *versionSource) isListed(held []vault.Entry, tag string) bool {
	return slices.ContainsFunc(held, func(e vault.Entry) bool {
		i := strings.LastIndexByte(e.CTag, ' ')
		return e.Name == versionsName && i >= 0 && e.CTag[:i] == tag
	})
}

// unchanged tells of a file whose versions are as they are held, as far as is known.
func (t *telling) unchanged(f changedFile) bool {
	if !t.tell(asFolder(f.Item)) {
		return false
	}
	if !t.full {
		return true
	}
	for _, e := range f.held {
		if !t.tell(drive.Item{ID: e.ID, Parent: e.Parent, Name: e.Name, Kind: e.Kind, Size: e.Size, CTag: e.CTag, Hash: e.Hash, Created: e.Created, Modified: e.Modified}) {
			return false
		}
	}
	return true
}

// changed tells of a file and its versions, and of those that it has no more.
func (t *telling) changed(f changedFile) bool {
	if !t.tell(asFolder(f.Item)) || !t.tell(versionsItem(f.ID, f.told.Tag, f.told)) {
		return false
	}
	is := map[backup.ItemID]bool{versionsID(f.ID): true}
	for _, v := range f.told.Versions {
		item := versionItem(f.ID, f.Name, v)
		if is[item.ID] = true; !t.tell(item) {
			return false
		}
	}
	for _, e := range f.held {
		f.doubt = append(f.doubt, e.ID)
	}
	f.doubt = slices.DeleteFunc(f.doubt, func(id backup.ItemID) bool { return is[id] || id == f.ID })
	return t.gone(f.doubt)
}

// list lists the versions of some files, and tells of them. A list that could not be had is
// an item that cannot be read.
func (t *telling) list() bool {
	s, some := t.s, t.some
	t.some = nil
	failed := make([]error, len(some))
	group, ctx := newGroup(t.ctx)
	for i := range some {
		group.Go(func() error {
			f := &some[i]
			var held []string
			for _, e := range f.held {
				if _, which := splitVersion(e.ID); which != versionsName {
					held = append(held, which)
				}
			}
			all, older, err := s.client.Versions(ctx, s.id, f.ID, s.keep, held...)
			if failed[i] = err; err == nil {
				f.told = &toldFile{s.tag(f.Item), f.Name, all, older}
				return nil
			}
			return s.p.stage.ifWhole(ctx, err)
		})
	}
	if err := group.Wait(); err != nil {
		return t.fail(err)
	}
	for i, f := range some {
		if failed[i] != nil {
			f.told = nil
		}
		if err := s.put(f.ID, f.told); err != nil {
			return t.fail(err)
		}
		if f.told == nil {
			s.bad++
			f.held = slices.DeleteFunc(f.held, func(e vault.Entry) bool { return e.ID == versionsID(f.ID) })
			if !t.unchanged(f) || !t.tell(versionsItem(f.ID, s.tag(f.Item), nil)) {
				return false
			}
			continue
		}
		s.count(f)
		if !t.changed(f) {
			return false
		}
	}
	return true
}

// count counts what is to be read of a file.
func (s *versionSource) count(f changedFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range f.told.Versions {
		id := versionID(f.ID, v.ID)
		if !slices.ContainsFunc(f.held, func(e vault.Entry) bool { return e.ID == id }) {
			s.reads++
			s.bytes += max(v.Size, 0)
		}
	}
}

// Items says nothing: most of them are found without a request of their own.
func (s *versionSource) Items(context.Context, []backup.ItemID) []drive.Found { return nil }

func (s *versionSource) Item(ctx context.Context, id backup.ItemID) (drive.Item, error) {
	file, which := splitVersion(id)
	if which == "" {
		item, err := s.driveSource.Item(ctx, id)
		return asFolder(item), err
	}
	told, err := s.toldOf(file)
	if err != nil {
		return drive.Item{}, err
	}
	if told != nil {
		if which == versionsName {
			return versionsItem(file, told.Tag, told), nil
		}
		i := slices.IndexFunc(told.Versions, func(v drive.Version) bool { return v.ID == which })
		if i >= 0 {
			return versionItem(file, told.Name, told.Versions[i]), nil
		}
		if slices.Contains(told.Older, which) {
			return drive.Item{}, drive.ErrNotFound
		}
	}
	is, err := s.driveSource.Item(ctx, file)
	switch {
	case err != nil:
		return drive.Item{}, err
	case !isVersioned(is):
		return drive.Item{}, drive.ErrNotFound
	case which == versionsName:
		return versionsItem(file, s.tag(is), nil), nil
	}
	v, err := s.client.Version(ctx, s.id, file, which)
	return versionItem(file, is.Name, v), err
}

// A versionContent is an earlier version being read.
type versionContent struct {
	*drive.Download
	listed drive.Item
}

func (c versionContent) Is() drive.Item {
	is := c.listed
	if is.Size, is.Modified = c.Item.Size, c.Item.Modified; c.Proof() == drive.Confirmed {
		is.Hash = c.Sum() // as good as if the source had stated it
	}
	return is
}

func (s *versionSource) Open(ctx context.Context, listed drive.Item, now bool) (content, error) {
	file, which := splitVersion(listed.ID)
	if which == versionsName {
		return s.openList(ctx, file, listed)
	}
	v := drive.Version{ID: which, Size: listed.Size, Modified: listed.Modified}
	var err error
	if now {
		v, err = s.client.Version(ctx, s.id, file, which)
	}
	var body *drive.Download
	if err == nil {
		body, err = s.client.DownloadVersion(ctx, s.id, file, v, listed.Name)
	}
	if errors.Is(err, drive.ErrNotFound) {
		return nil, errors.Join(err, s.lacks(file, listed.ID))
	}
	if err != nil {
		return nil, err
	}
	return versionContent{body, listed}, nil
}

// lacks notes that the source denies a version that it listed: it is looked whether it
// still does.
func (s *versionSource) lacks(file, id backup.ItemID) error {
	s.mu.Lock()
	s.redo[file] = append(s.redo[file], id)
	s.fewer[file] = true
	s.mu.Unlock()
	return s.put(file, nil)
}

func (s *versionSource) openList(ctx context.Context, file backup.ItemID, listed drive.Item) (content, error) {
	told, err := s.toldOf(file)
	if err != nil {
		return nil, err
	}
	if told != nil {
		return newListContent(versionsItem(file, told.Tag, told), told.json()), nil
	}
	if _, _, err = s.client.Versions(ctx, s.id, file, s.keep); err == nil {
		// It can be listed now; but its versions have to be told of with it.
		err = fmt.Errorf("%w: the versions of the file could not be listed before", drive.ErrUnavailable)
	}
	return nil, err
}

// finish has versions.json say no more of a file than there was when its versions were
// read.
func (s *versionSource) finish(ctx context.Context, p *protection) error {
	for file := range s.fewer {
		told, err := s.toldOf(file)
		if err != nil {
			return err
		}
		e, held, err := p.update.Get(ctx, versionsID(file))
		if err != nil {
			return err
		}
		if told == nil || !held {
			continue
		}
		content, err := p.update.Write(ctx, versionsName, bytes.NewReader(told.json()))
		if err != nil {
			return fmt.Errorf("write the list of a file's versions: %w", err)
		}
		e.Content, e.Size, e.CTag = content.ID, content.Size, versionsItem(file, told.Tag, told).CTag
		p.update.Put(e)
	}
	return nil
}

// A cursor of versions begins with the number of those that are kept: with another, all
// files are looked at again.
func cursorOfVersions(keep int, kept string) string {
	cursor, _ := strings.CutPrefix(kept, strconv.Itoa(keep)+" ")
	if cursor == kept {
		return ""
	}
	return cursor
}

// cursor is where the next run goes on: where this did, if files were left to it.
func (s *versionSource) cursor(before catalog.Container) string {
	if s.behind > 0 {
		return before.Cursor
	}
	return strconv.Itoa(s.keep) + " " + s.p.stage.cursor
}

// left is what stands against the versions of a library as a whole, or nil.
func (s *versionSource) left(before catalog.Container, l library) *backup.Unread {
	if s.behind == 0 {
		return nil
	}
	u := backup.Unread{Path: l.name, Code: backup.ItemsNotBackedUp, Since: s.p.at, Attempts: 1, Held: before.Tree != "",
		Message: fmt.Sprintf("Of %d files the earlier versions are still to be read. That goes on with the next backup.", s.behind)}
	if old := before.Failed; old != nil {
		u.Since, u.Attempts = old.Since, old.Attempts+1
	}
	return &u
}
