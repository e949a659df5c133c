package engine

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// A mailbox is backed up as a drive is: a tree of its folders as they are in it, with
// what can still be recovered in one beside them. What a folder holds is below it in
// a folder for each month, by when the items were made, so that what a change costs
// does not grow with the mailbox. An item is the stream that the source exports of
// it, which only the source reads.
//
//	Inbox/folder.json                              what the folder is
//	Inbox/2026-02/20260205-100000-5be1c9a02f77.fts an item
//	Inbox/Projects/…                               a folder in the folder
//	Recoverable Items/Deletions/…
//
// Items and folders have their ids in the mailbox; those of what is only here begin
// with a folder's.
const (
	folderInfoName  = "folder.json"
	recoverableName = "Recoverable Items"
	ownRecoverable  = "recoverable" // of the id that the folder of those has here
	undated         = "undated"
)

func folderInfoID(folder backup.ItemID) backup.ItemID { return folder + ",folder" }

func monthID(folder backup.ItemID, month string) backup.ItemID {
	return folder + backup.ItemID(","+month)
}

func monthOf(created time.Time) string {
	if created.IsZero() {
		return undated
	}
	return created.UTC().Format("2006-01")
}

// splitMailID takes an id of what is only here apart: the folder's, and the rest,
// which is empty for an id of the mailbox's own.
func splitMailID(id backup.ItemID) (folder backup.ItemID, rest string) {
	if i := strings.LastIndexByte(string(id), ','); i >= 0 {
		return id[:i], string(id[i+1:])
	}
	return id, ""
}

// madeForm is how the name of an item's file says when it was made.
const madeForm = "20060102-150405"

// mailName is the name of an item's file: it follows from what never changes.
func mailName(it drive.MailItem) string {
	sum := sha256.Sum256([]byte(it.ID))
	return it.Created.UTC().Format(madeForm) + "-" + hex.EncodeToString(sum[:6]) + ".fts"
}

// mailReaders is how many folders are asked for changes at a time.
const mailReaders = 4

// A mailSource reads from a mailbox.
//
// The source tells of changes by folder, in lists of their own, and a message that was
// moved in two of them. So what left a folder counts only when all are read, and if no
// other folder then has it.
type mailSource struct {
	client *drive.Client
	box    backup.DriveID
	dir    string      // where what does not fit into memory goes
	run    *protection // that reads
	given  *deeds      // contents that are known without reading them; may be nil

	exports mailExports

	mu       sync.Mutex // guards what follows
	top      drive.MailFolder
	told     *spill.Table // the last word on each item, by id
	moved    *deeds       // contents of items that are in another folder now, and the same
	full     bool         // all that lives in the mailbox was told
	lists    int64        // how many folders were enumerated
	folders  map[backup.ItemID]drive.MailFolder
	months   map[backup.ItemID]bool // folders of months that were told, or are held
	unlisted map[backup.ItemID]error
}

func newMailSource(client *drive.Client, box backup.DriveID, dir string, run *protection) *mailSource {
	s := &mailSource{client: client, box: box, dir: dir, run: run, given: run.seeds}
	s.exports.of = map[backup.ItemID]*mailExport{}
	return s
}

// A mailCursor is where the lists of changes of a mailbox go on: of its folders, and
// of what is in each.
type mailCursor struct {
	Folders     string                   `json:"folders"`
	Items       map[backup.ItemID]string `json:"items"` // "" has all of it enumerated
	Recoverable []backup.ItemID          `json:"recoverable,omitempty"`
	Sum         string                   `json:"sum,omitempty"`  // over what was told of these folders, where all of it was understood
	MIME        bool                     `json:"mime,omitempty"` // each message has its MIME, or is named for want of it
}

func (c mailCursor) encode() (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&b)
	if _, err = w.Write(text); err == nil {
		err = w.Close()
	}
	return base64.RawStdEncoding.EncodeToString(b.Bytes()), err
}

// packers write cursors. Each has over a megabyte, for a cursor of a few kilobytes.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic(err) // there is no such level
	}
	return w
}}

// maxMailCursor is more than the cursors of any mailbox have.
const maxMailCursor = 256 << 20

func parseMailCursor(text string) (c mailCursor, err error) {
	c.Items = map[backup.ItemID]string{}
	if text == "" {
		return c, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err == nil {
		raw, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), maxMailCursor))
	}
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.Items == nil {
		return c, fmt.Errorf("%w: the cursor is none of a mailbox", drive.ErrResync)
	}
	return c, nil
}

// A toldMail is what was told last of an item.
type toldMail struct {
	lives  bool
	folder backup.ItemID
	size   int64
	class  string
	listed int64 // the enumeration of the folder that told of it last; 0 if none did
	moved  bool  // it is said to be elsewhere, if it does not live
}

func (t toldMail) encode() string {
	var w spill.Writer
	w.Bool(t.lives)
	w.Text(string(t.folder))
	w.Int(t.size)
	w.Text(t.class)
	w.Int(t.listed)
	w.Bool(t.moved)
	return string(w)
}

// toldOf returns what was told of an item; the source is locked.
func (s *mailSource) toldOf(id backup.ItemID) (t toldMail, ok bool) {
	if s.told == nil {
		return t, false
	}
	i, ok := s.told.Find(string(id))
	if !ok {
		return t, false
	}
	_, value := s.told.Get(i)
	r := spill.Reader(value)
	return toldMail{r.Bool(), backup.ItemID(r.Text()), r.Int(), r.Text(), r.Int(), r.Bool()}, true
}

// recoverable is the id of the folder that is beside those that people see.
func (s *mailSource) recoverable() backup.ItemID { return s.top.ID + "," + ownRecoverable }

// real is the id by which a folder is asked for.
func (s *mailSource) real(folder backup.ItemID) backup.ItemID {
	if folder == s.recoverable() {
		return drive.MailRecoverable
	}
	return folder
}

// Changes tells of folders first, then of items, and last of what is gone.
func (s *mailSource) Changes(ctx context.Context, cursor string) (iter.Seq2[drive.Item, error], func() string) {
	next := ""
	all := func(yield func(drive.Item, error) bool) {
		next = ""
		p := &mailPass{mailSource: s, yield: yield, left: spill.New(s.dir), lists: map[backup.ItemID]int64{}, living: map[backup.ItemID]int{}}
		defer p.left.Close()
		to, err := p.read(ctx, cursor)
		if p.over {
			return
		}
		if err == nil {
			next, err = to.encode()
		}
		if err != nil {
			yield(drive.Item{}, err)
		}
	}
	return all, func() string { return next }
}

// A mailPass reads once what changed.
type mailPass struct {
	*mailSource
	yield  func(drive.Item, error) bool
	over   bool                    // nobody listens any more
	whole  bool                    // everything is enumerated
	left   *spill.Table            // which folder an item was said to have left, by its id
	lists  map[backup.ItemID]int64 // folders that are enumerated, as which of all
	living map[backup.ItemID]int   // items told of these
	gone   []backup.ItemID         // folders
	came   map[backup.ItemID]bool
}

var errOver = errors.New("nobody listens any more")

func (p *mailPass) tell(item drive.Item) error {
	if p.over {
		return errOver
	}
	if !p.yield(item, nil) {
		p.over = true
		return errOver
	}
	return nil
}

// ofAll reports whether a failure is of the whole mailbox, or of this process, and
// not of one folder.
func (p *mailPass) ofAll(ctx context.Context, err error) bool {
	if p.over || stopped(ctx, err) || !isSource(err) || errors.Is(err, drive.ErrPaused) {
		return true
	}
	if !errors.Is(err, drive.ErrUnavailable) && !errors.Is(err, drive.ErrDenied) {
		return false
	}
	_, failed := p.client.MailFolder(ctx, p.box, drive.MailRoot)
	return failed != nil
}

func (p *mailPass) read(ctx context.Context, cursor string) (to mailCursor, err error) {
	from, err := parseMailCursor(cursor)
	if err != nil {
		return to, err
	}
	p.whole = cursor == ""
	if err := p.begin(ctx); err != nil {
		return to, err
	}
	to = mailCursor{Items: map[backup.ItemID]string{}, MIME: from.MIME}
	if to.Folders, err = p.hierarchy(ctx, from); err != nil {
		return to, fmt.Errorf("list the folders: %w", err)
	}
	if to.Recoverable, to.Sum, err = p.recoverables(ctx, from); err != nil {
		return to, fmt.Errorf("list the folders: %w", err)
	}
	for id, at := range from.Items {
		if !slices.Contains(p.gone, id) || p.came[id] {
			to.Items[id] = at
		}
	}
	for id := range p.came {
		if _, known := to.Items[id]; !known {
			to.Items[id] = ""
		}
	}
	if _, known := to.Items[p.top.ID]; !known {
		to.Items[p.top.ID] = ""
	}
	if err := p.items(ctx, to.Items); err != nil {
		return to, err
	}
	return to, p.farewell()
}

func (p *mailPass) begin(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told == nil || p.whole {
		p.close()
		p.told, p.full = spill.New(p.dir), p.whole
		if p.moved = p.given; p.moved == nil {
			p.moved = newDeeds(p.dir)
		}
		p.folders, p.months, p.unlisted = map[backup.ItemID]drive.MailFolder{}, map[backup.ItemID]bool{}, map[backup.ItemID]error{}
		p.run.seeds = p.moved
	}
	p.came = map[backup.ItemID]bool{}
	if p.top.ID != "" {
		return nil
	}
	top, err := p.client.MailFolder(ctx, p.box, drive.MailRoot)
	if err != nil {
		return fmt.Errorf("read the root: %w", err)
	}
	p.top = top
	return nil
}

// hierarchy tells of the folders that changed. Where the list of changes cannot go on,
// all folders are listed, and those that were known and are not among them may be gone.
func (p *mailPass) hierarchy(ctx context.Context, from mailCursor) (next string, err error) {
	cursor := from.Folders
	for {
		changes := p.client.MailFolders(ctx, p.box, "", cursor)
		for f, err := range changes.All() {
			if err == nil {
				err = p.folder(f, p.tell)
			}
			if err == nil {
				continue
			}
			if cursor == "" || !errors.Is(err, drive.ErrResync) && !errors.Is(err, drive.ErrEndless) {
				return "", err
			}
			next = "again"
			break
		}
		if next == "" {
			next = changes.Cursor()
			break
		}
		next, cursor = "", ""
	}
	if cursor == "" && from.Folders != "" {
		for id := range from.Items {
			if !p.came[id] && id != p.top.ID && id != p.recoverable() && !slices.Contains(from.Recoverable, id) {
				p.gone = append(p.gone, id)
			}
		}
	}
	return next, nil
}

// folder tells of a folder by tell.
func (p *mailPass) folder(f drive.MailFolder, tell func(drive.Item) error) error {
	if f.Search || f.WellKnown == "searchfolders" || p.isSearch(f.Parent) {
		p.mu.Lock()
		p.folders[f.ID] = f
		p.mu.Unlock()
		return nil // what is in it is elsewhere
	}
	switch {
	case f.Deleted:
		p.gone = append(p.gone, f.ID)
		delete(p.came, f.ID)
		return nil
	case f.Incomplete:
		item := p.folderItem(f)
		item.Unreadable = drive.Incomplete
		if f.ID == p.top.ID {
			return nil // it is in nothing
		}
		return tell(item)
	}
	p.mu.Lock()
	p.folders[f.ID] = f
	p.mu.Unlock()
	p.came[f.ID] = true
	if f.ID == p.top.ID {
		return nil
	}
	if err := tell(p.folderItem(f)); err != nil {
		return err
	}
	return tell(folderInfo(f))
}

// isSearch reports whether a folder is that of searches, or one of these.
func (s *mailSource) isSearch(folder backup.ItemID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range maxDepth {
		f, ok := s.folders[folder]
		if !ok {
			break
		}
		if f.Search || f.WellKnown == "searchfolders" {
			return true
		}
		folder = f.Parent
	}
	return false
}

func (s *mailSource) folderItem(f drive.MailFolder) drive.Item {
	item := drive.Item{ID: f.ID, Parent: f.Parent, Name: f.Name, Kind: backup.Folder, Size: -1, ChildCount: -1}
	if f.ID == s.top.ID {
		item.Root, item.Parent = true, ""
	}
	return item
}

// A folderFile is what folder.json says.
type folderFile struct {
	Name      string `json:"displayName"`
	Class     string `json:"type,omitempty"`
	WellKnown string `json:"wellKnownName,omitempty"`
}

func folderText(f drive.MailFolder) []byte {
	text, _ := json.MarshalIndent(folderFile{f.Name, f.Class, f.WellKnown}, "", "  ")
	return append(text, '\n')
}

func folderInfo(f drive.MailFolder) drive.Item {
	text := folderText(f)
	sum := sha256.Sum256(text)
	return drive.Item{ID: folderInfoID(f.ID), Parent: f.ID, Name: folderInfoName, Kind: backup.File, Size: int64(len(text)), CTag: hex.EncodeToString(sum[:16])}
}

// recoverables tells of the folder of what can still be recovered, and of those in it.
// It is of the source's own, so that these are listed, and no changes of them: of what is
// as it was told last, by the sum over that, it tells nothing.
func (p *mailPass) recoverables(ctx context.Context, from mailCursor) (all []backup.ItemID, sum string, err error) {
	above := p.recoverable()
	root, err := p.client.MailFolder(ctx, p.box, drive.MailRecoverable)
	realRoot := root.ID
	root.ID, root.Parent, root.Name, root.WellKnown, root.Incomplete = above, p.top.ID, recoverableName, string(drive.MailRecoverable), false
	known, found := from.Recoverable, []drive.Item{p.folderItem(root)}
	find := func(item drive.Item) error { found = append(found, item); return nil }
	for queue := []backup.ItemID{drive.MailRecoverable}; err == nil && len(queue) > 0; queue = queue[1:] {
		for f, failed := range p.client.MailFoldersIn(ctx, p.box, queue[0]) {
			if err = failed; err != nil {
				break
			}
			if f.Parent == realRoot {
				f.Parent = above
			}
			if p.came[f.ID] {
				continue
			}
			if err = p.folder(f, find); err != nil {
				break
			}
			if p.came[f.ID] {
				all = append(all, f.ID)
				if f.Folders != 0 {
					queue = append(queue, f.ID)
				}
			}
			if len(all) > maxParts {
				err = fmt.Errorf("list the folders: %w", drive.ErrEndless)
			}
		}
	}
	if err == nil {
		sum = sumOf(found)
	}
	if sum == "" || sum != from.Sum || p.whole {
		for _, item := range found {
			if told := p.tell(item); told != nil {
				return nil, "", told
			}
		}
	}
	if err != nil {
		if p.ofAll(ctx, err) {
			return nil, "", err
		}
		p.mu.Lock()
		p.unlisted[above] = err
		p.mu.Unlock()
		if p.whole {
			return known, "", p.retell(ctx, above, true)
		}
		return known, "", nil
	}
	p.mu.Lock()
	delete(p.unlisted, above)
	p.folders[above] = root
	p.mu.Unlock()
	p.came[above] = true
	for _, id := range known {
		if !p.came[id] {
			p.gone = append(p.gone, id)
		}
	}
	return all, sum, nil
}

// sumOf is over all that is told of folders and what they are called, or "" where one of
// them was not understood.
func sumOf(items []drive.Item) string {
	sum := sha256.New()
	for _, item := range items {
		if item.Unreadable != "" {
			return ""
		}
		fmt.Fprintf(sum, "%q %q %q %q\n", item.ID, item.Parent, item.Name, item.CTag)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// retell tells of what is held in a folder as it was held: the source does not say what
// is there now. Of the folders in it, it tells if nobody else does.
func (p *mailPass) retell(ctx context.Context, folder backup.ItemID, folders bool) error {
	for e, err := range p.run.stage.children(ctx, folder) {
		if err != nil {
			return err
		}
		if _, own := splitMailID(e.ID); own == "" && e.Kind == backup.Folder && !folders || own == "folder" && !folders || e.ID == p.recoverable() {
			continue
		}
		item := drive.Item{ID: e.ID, Parent: e.Parent, Name: e.Name, Kind: e.Kind, Size: e.Size, CTag: e.CTag, Hash: e.Hash, Created: e.Created, Modified: e.Modified}
		if e.Kind == backup.Folder {
			item.Size, item.ChildCount = -1, -1
			p.mu.Lock()
			p.months[e.ID] = true
			p.mu.Unlock()
		}
		if err := p.tell(item); err != nil {
			return err
		}
		if e.Kind == backup.Folder {
			if err := p.retell(ctx, e.ID, folders); err != nil {
				return err
			}
		}
	}
	return nil
}

// A mailNews is a part of what changed in a folder, or its end.
type mailNews struct {
	folder backup.ItemID
	items  []drive.MailItem
	whole  bool // all there is in the folder is enumerated, from here on
	end    bool
	cursor string // at the end
	err    error  // that ended it
}

// items tells of the items that changed, of several folders at a time, and moves the
// cursors on.
func (p *mailPass) items(ctx context.Context, cursors map[backup.ItemID]string) error {
	changed, err := p.unchanged(ctx, cursors)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	news := make(chan mailNews, mailReaders)
	todo := make(chan mailNews, len(changed))
	for _, id := range changed {
		todo <- mailNews{folder: id, cursor: cursors[id]}
	}
	close(todo)
	var readers sync.WaitGroup
	for range min(mailReaders, len(changed)) {
		readers.Go(func() {
			for t := range todo {
				p.readFolder(reading, t.folder, t.cursor, func(n mailNews) bool {
					select {
					case news <- n:
						return true
					case <-reading.Done():
						return false
					}
				})
			}
		})
	}
	go func() { readers.Wait(); close(news) }()
	defer func() {
		stop()
		for range news { // until all readers are back
		}
	}()
	for n := range news {
		switch {
		case n.whole:
			p.mailSource.lists++
			p.lists[n.folder], p.living[n.folder] = p.mailSource.lists, 0
		case !n.end:
			for _, it := range n.items {
				if err := p.item(ctx, n.folder, it); err != nil {
					return err
				}
			}
		case n.err == nil:
			if err := p.ended(ctx, n.folder); err != nil {
				return err
			}
			cursors[n.folder] = n.cursor
		default:
			if p.ofAll(ctx, n.err) {
				return n.err
			}
			p.mu.Lock()
			p.unlisted[n.folder] = n.err
			p.mu.Unlock()
			if p.lists[n.folder] > 0 {
				cursors[n.folder] = ""
				if p.whole {
					if err := p.retell(ctx, n.folder, false); err != nil {
						return err
					}
				}
			}
		}
	}
	return context.Cause(ctx)
}

// unchanged moves the cursors on of folders in which nothing has changed, for which many
// are asked at once, and returns the others.
func (p *mailPass) unchanged(ctx context.Context, cursors map[backup.ItemID]string) (changed []backup.ItemID, err error) {
	var known []backup.ItemID
	for id, at := range cursors {
		if at == "" {
			changed = append(changed, id)
		} else {
			known = append(known, id)
		}
	}
	if len(known) == 1 {
		return append(changed, known...), nil
	}
	slices.Sort(known)
	answered := true
	for some := range slices.Chunk(known, drive.MaxAhead) {
		if !answered { // the source may not answer in this way
			changed = append(changed, some...)
			continue
		}
		answered = false
		asked, at := make([]backup.ItemID, len(some)), make([]string, len(some))
		for i, id := range some {
			asked[i], at[i] = p.real(id), cursors[id]
		}
		for i, now := range p.client.UnchangedMail(ctx, p.box, asked, at) {
			if now == "" {
				changed = append(changed, some[i])
				continue
			}
			if err := p.ended(ctx, some[i]); err != nil {
				return nil, err
			}
			cursors[some[i]], answered = now, true
		}
	}
	return changed, context.Cause(ctx)
}

// readFolder reads the changes of one folder. One whose changes are not known any more
// is enumerated, and so is one of a full mailbox, of which the source tells no changes.
func (s *mailSource) readFolder(ctx context.Context, folder backup.ItemID, cursor string, send func(mailNews) bool) {
	for {
		if cursor == "" && !send(mailNews{folder: folder, whole: true}) {
			return
		}
		changes := s.client.MailItems(ctx, s.box, s.real(folder), cursor)
		err, sent := s.sendAll(changes.All(), folder, send)
		switch {
		case !sent:
			return
		case err == nil:
			send(mailNews{folder: folder, end: true, cursor: changes.Cursor()})
			return
		case cursor != "" && (errors.Is(err, drive.ErrResync) || errors.Is(err, drive.ErrEndless)):
			cursor = ""
			continue
		case errors.Is(err, drive.ErrQuota):
			if !send(mailNews{folder: folder, whole: true}) {
				return
			}
			if err, sent = s.sendAll(s.client.ListMail(ctx, s.box, s.real(folder)), folder, send); !sent {
				return
			}
		}
		send(mailNews{folder: folder, end: true, err: err})
		return
	}
}

// mailBunch is how many items are told of together.
const mailBunch = 200

func (s *mailSource) sendAll(all iter.Seq2[drive.MailItem, error], folder backup.ItemID, send func(mailNews) bool) (failed error, sent bool) {
	var bunch []drive.MailItem
	for it, err := range all {
		if err != nil {
			failed = err
			break
		}
		if bunch = append(bunch, it); len(bunch) == mailBunch {
			if !send(mailNews{folder: folder, items: bunch}) {
				return nil, false
			}
			bunch = nil
		}
	}
	return failed, len(bunch) == 0 || send(mailNews{folder: folder, items: bunch})
}

// item tells of an item.
func (p *mailPass) item(ctx context.Context, folder backup.ItemID, it drive.MailItem) error {
	if it.Deleted {
		p.mu.Lock()
		defer p.mu.Unlock()
		t, known := p.toldOf(it.ID)
		if !known || !t.lives || t.folder == folder {
			t.lives, t.moved = false, it.Moved
			p.told.Put(string(it.ID), t.encode())
		}
		p.left.Put(string(it.ID), string(folder))
		return p.told.Err()
	}
	if it.ID == "" {
		return p.tell(drive.Item{Parent: folder, Unreadable: drive.Incomplete, Size: -1})
	}
	if err := p.month(ctx, folder, monthOf(it.Created)); err != nil {
		return err
	}
	if err := p.note(ctx, folder, it); err != nil {
		return err
	}
	return p.tell(mailItemIn(folder, it))
}

// note keeps what was told of a living item.
func (p *mailPass) note(ctx context.Context, folder backup.ItemID, it drive.MailItem) error {
	was, held, err := p.run.stage.get(ctx, it.ID)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.lists[folder]
	if t, known := p.toldOf(it.ID); !known || !t.lives || t.folder != folder || t.listed != list {
		p.living[folder]++
	}
	p.told.Put(string(it.ID), toldMail{true, folder, it.Size, it.Class, list, false}.encode())
	if before, _ := splitMailID(was.Parent); held && before != folder && was.Kind == backup.File && was.CTag != it.ChangeKey &&
		!it.Modified.IsZero() && was.Modified.Equal(it.Modified) {
		// It has moved: that alone changes its key.
		was.CTag = it.ChangeKey
		p.moved.sends(it.ID, &was)
	}
	return errors.Join(p.told.Err(), p.moved.err())
}

// month tells of the folder of a month, unless that was told or is held.
func (p *mailPass) month(ctx context.Context, folder backup.ItemID, month string) error {
	id := monthID(folder, month)
	p.mu.Lock()
	told, full := p.months[id], p.full
	p.months[id] = true
	p.mu.Unlock()
	if told {
		return nil
	}
	if !full {
		if _, held, err := p.run.stage.get(ctx, id); err != nil || held {
			return err
		}
	}
	return p.tell(monthItem(folder, month))
}

func monthItem(folder backup.ItemID, month string) drive.Item {
	return drive.Item{ID: monthID(folder, month), Parent: folder, Name: month, Kind: backup.Folder, Size: -1, ChildCount: -1}
}

// mailItemIn is an item of a folder as a file.
func mailItemIn(folder backup.ItemID, it drive.MailItem) drive.Item {
	item := drive.Item{ID: it.ID, Parent: monthID(folder, monthOf(it.Created)), Name: mailName(it), Kind: backup.File, Size: -1,
		CTag: it.ChangeKey, ETag: it.ChangeKey, Created: it.Created, Modified: it.Modified}
	if it.Incomplete {
		item.Unreadable = drive.Incomplete
	}
	return item
}

// ended makes sure that all of a folder was told: what the source counts in it and
// does not tell is looked for in a list of it. Where the folder was enumerated, what
// was held of it and was not told may have left it.
func (p *mailPass) ended(ctx context.Context, folder backup.ItemID) error {
	p.mu.Lock()
	delete(p.unlisted, folder)
	p.mu.Unlock()
	list := p.lists[folder]
	if list == 0 {
		return nil
	}
	is, err := p.client.MailFolder(ctx, p.box, p.real(folder))
	if err == nil && is.Items > p.living[folder] {
		for it, failed := range p.client.ListMail(ctx, p.box, p.real(folder)) {
			if err = failed; err != nil {
				break
			}
			if told := p.unless(ctx, folder, it); told != nil {
				return told
			}
		}
		if err == nil {
			is, err = p.client.MailFolder(ctx, p.box, p.real(folder))
		}
	}
	if err != nil && p.ofAll(ctx, err) {
		return err
	}
	if err == nil && is.Items > p.living[folder] {
		err = errHides
	}
	if err != nil && !errors.Is(err, drive.ErrNotFound) { // then it has just gone
		p.mu.Lock()
		p.unlisted[folder] = err
		p.mu.Unlock()
	}
	if p.whole {
		return nil // and what was not told is asked for
	}
	for month, err := range p.run.stage.children(ctx, folder) {
		if err != nil {
			return err
		}
		if _, own := splitMailID(month.ID); month.Kind != backup.Folder || own == "" || month.ID == p.recoverable() {
			continue
		}
		items, err := p.run.stage.childrenOf(ctx, month.ID)
		if err != nil {
			return err
		}
		p.mu.Lock()
		for _, e := range items {
			t, known := p.toldOf(e.ID)
			if known && t.lives && (t.folder != folder || t.listed == list) {
				continue
			}
			if t.lives = false; known {
				p.told.Put(string(e.ID), t.encode())
			}
			p.left.Put(string(e.ID), string(folder))
		}
		p.mu.Unlock()
	}
	return p.left.Err()
}

// unless tells of an item unless it was told that it is there.
func (p *mailPass) unless(ctx context.Context, folder backup.ItemID, it drive.MailItem) error {
	p.mu.Lock()
	t, known := p.toldOf(it.ID)
	p.mu.Unlock()
	if known && t.lives && t.folder == folder && t.listed == p.lists[folder] {
		return nil
	}
	return p.item(ctx, folder, it)
}

// farewell tells of what is gone: what left a folder and came into none, and folders.
func (p *mailPass) farewell() error {
	for i := range p.left.Len() {
		key, _ := p.left.Get(i)
		id := backup.ItemID(key)
		p.mu.Lock()
		t, known := p.toldOf(id)
		if !known {
			p.told.Put(key, toldMail{}.encode())
		}
		p.mu.Unlock()
		if known && t.lives {
			continue
		}
		if err := p.tell(drive.Item{ID: id, Deleted: true, Size: -1}); err != nil {
			return err
		}
	}
	for _, id := range p.gone {
		if p.came[id] {
			continue
		}
		p.mu.Lock()
		delete(p.folders, id)
		delete(p.unlisted, id)
		p.mu.Unlock()
		if err := p.tell(drive.Item{ID: id, Deleted: true, Size: -1}); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.left.Err(), p.told.Err())
}

// Unlisted are the folders of which not all could be read.
func (s *mailSource) Unlisted() map[backup.ItemID]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[backup.ItemID]error, len(s.unlisted))
	for id, err := range s.unlisted {
		all[id] = err
	}
	return all
}

func (s *mailSource) Root(ctx context.Context) (drive.Item, error) {
	top, err := s.client.MailFolder(ctx, s.box, drive.MailRoot)
	if err != nil {
		return drive.Item{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.top.ID == "" {
		s.top = top
	}
	item := s.folderItem(top)
	item.Root, item.Parent = true, ""
	return item, nil
}

func (s *mailSource) Item(ctx context.Context, id backup.ItemID) (drive.Item, error) {
	s.mu.Lock()
	top, t, full := s.top.ID, toldMail{}, s.full
	known := false
	if id != "" {
		t, known = s.toldOf(id)
	}
	month := s.months[id]
	_, isFolder := s.folders[id]
	s.mu.Unlock()
	if id == top {
		return s.Root(ctx)
	}
	was, held, err := s.run.stage.get(ctx, id)
	if err != nil {
		return drive.Item{}, err
	}
	folder, own := splitMailID(id)
	if own == "" && !held && !known && !isFolder {
		// It was named before, and never held.
		if t.folder, err = s.folderOf(ctx, s.run.old[id].Path); err != nil {
			return drive.Item{}, err
		}
		known = t.folder != ""
	}
	switch {
	case id == s.recoverable() || own == "" && (isFolder || held && was.Kind == backup.Folder || !held && !known):
		f, err := s.client.MailFolder(ctx, s.box, s.real(id))
		if err != nil {
			return drive.Item{}, err
		}
		return s.placed(ctx, id, f)
	case own == "folder":
		f, err := s.client.MailFolder(ctx, s.box, s.real(folder))
		if err != nil {
			return drive.Item{}, err
		}
		f.ID = folder
		s.mu.Lock()
		s.folders[folder] = f
		s.mu.Unlock()
		return folderInfo(f), nil
	case own != "" && !month && (full || !held):
		return drive.Item{}, drive.ErrNotFound
	case own != "":
		if _, err := s.client.MailFolder(ctx, s.box, s.real(folder)); err != nil {
			return drive.Item{}, err
		}
		return monthItem(folder, own), nil
	}
	var in []backup.ItemID
	if known && t.folder != "" {
		in = append(in, t.folder)
	}
	if before, _ := splitMailID(was.Parent); held && !slices.Contains(in, before) {
		in = append(in, before)
	}
	for _, folder := range in {
		it, failed := s.client.MailItem(ctx, s.box, s.real(folder), id)
		if errors.Is(failed, drive.ErrNotFound) {
			err = failed
			continue
		}
		if failed != nil {
			return drive.Item{}, failed
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told.Put(string(id), toldMail{true, folder, it.Size, it.Class, t.listed, false}.encode())
		return mailItemIn(folder, it), s.told.Err()
	}
	if err == nil {
		err = drive.ErrNotFound
	}
	if t.moved && !t.lives {
		if elsewhere := s.isElsewhere(ctx, id); elsewhere != nil {
			err = elsewhere
		}
	}
	return drive.Item{}, err
}

// folderOf finds the folder that an item is in by the path of the item, as far as what is
// held tells.
func (s *mailSource) folderOf(ctx context.Context, at string) (backup.ItemID, error) {
	in := s.run.stage.root
	if in == "" {
		in = s.top.ID
	}
	for range maxDepth {
		if at == "" {
			return "", nil
		}
		below, err := s.run.stage.childrenOf(ctx, in)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(below, func(e vault.Entry) bool { return e.Kind == backup.Folder && strings.HasPrefix(at, e.Name+"/") })
		if i < 0 {
			return in, nil // the folder of the month is not held
		}
		if _, own := splitMailID(below[i].ID); own != "" && below[i].ID != s.recoverable() {
			return in, nil
		}
		in, at = below[i].ID, at[len(below[i].Name)+1:]
	}
	return "", nil
}

// errElsewhere: an item left a folder and came into none, and is still there.
var errElsewhere = fmt.Errorf("the source lists the item in no folder, and has it: %w", drive.ErrUnavailable)

// isElsewhere finds out about an item that is said to have moved, and is nowhere: an
// export names no folder.
func (s *mailSource) isElsewhere(ctx context.Context, id backup.ItemID) error {
	x, err := s.client.ExportMail(ctx, s.box, s.dir, id)
	if err != nil {
		return err
	}
	defer x.Close()
	switch err := x.Item(id).Err; {
	case errors.Is(err, drive.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return errElsewhere
}

// placed is a folder as it was asked for, where it belongs in the tree.
func (s *mailSource) placed(ctx context.Context, id backup.ItemID, f drive.MailFolder) (drive.Item, error) {
	if id == s.recoverable() {
		f.ID, f.Parent, f.Name = id, s.top.ID, recoverableName
		return s.folderItem(f), nil
	}
	s.mu.Lock()
	_, ok := s.folders[f.Parent]
	ok = ok || f.Parent == s.top.ID
	s.mu.Unlock()
	if !ok && f.Parent != "" {
		if root, err := s.client.MailFolder(ctx, s.box, drive.MailRecoverable); err == nil && root.ID == f.Parent {
			f.Parent = s.recoverable()
		}
	}
	item := s.folderItem(f)
	if f.Incomplete {
		item.Unreadable = drive.Incomplete
	}
	return item, nil
}

// Children lists nothing: what folders hold is counted as it is told.
func (s *mailSource) Children(context.Context, backup.ItemID) iter.Seq2[drive.Item, error] {
	return func(func(drive.Item, error) bool) {}
}

func (s *mailSource) Open(ctx context.Context, listed drive.Item, now bool) (content, error) {
	if folder, own := splitMailID(listed.ID); own != "" {
		s.mu.Lock()
		f, known := s.folders[folder]
		s.mu.Unlock()
		if !known {
			var err error
			if f, err = s.client.MailFolder(ctx, s.box, s.real(folder)); err != nil {
				return nil, err
			}
			f.ID = folder
		}
		return newListContent(folderInfo(f), folderText(f)), nil
	}
	return s.export(ctx, listed, now)
}

func (s *mailSource) Forget() {
	s.exports.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}

// close gives back what is on disk; the source is locked.
func (s *mailSource) close() {
	if s.told != nil {
		s.told.Close()
		if s.moved != s.given {
			s.moved.close()
		}
	}
	s.told, s.moved = nil, nil
}
