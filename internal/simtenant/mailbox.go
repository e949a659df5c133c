package simtenant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"sort"
	"strings"
	"time"
)

// A mailbox is a folder of real files, as a drive is, and the drive's knowledge
// of it, by which files keep their identity, is what a mailbox is made of: it
// follows the drive's log. Folders hold messages as files NAME.eml, or as a
// Maildir does, in cur and new; events and tasks are NAME.ics, contacts NAME.vcf,
// and notes NAME.txt in a folder of notes,
// or NAME.note.txt.

// mailboxLibrary is the library of a site that is its user's mailbox. It can
// name no folder.
const mailboxLibrary = "\x00mailbox"

func (p place) isMailbox() bool { return p.library == mailboxLibrary }

// mailboxOf returns the mailbox of a site's user.
func mailboxOf(s site) place { return place{site: s, library: mailboxLibrary} }

// mailboxGUID is the first half of a mailbox's id.
func (p place) mailboxGUID() string { return guidText(p.list()) }

// mailboxID is how Graph names a mailbox.
func (p place) mailboxID() string { return "MBX:" + p.mailboxGUID() + "@" + string(p.tenant.ID) }

// flags are what Maildir's letters say of a message.
type mailFlags uint8

const (
	isRead mailFlags = 1 << iota
	isFlagged
	isReplied
	isDraft
	isForwarded
	isTrashed
	isComplete // flagged once, and done; Maildir has no letter for it
)

// maildirLetters are the flags in the order of their letters, which is that of
// the alphabet.
var maildirLetters = []struct {
	letter byte
	flag   mailFlags
}{{'D', isDraft}, {'F', isFlagged}, {'P', isForwarded}, {'R', isReplied}, {'S', isRead}, {'T', isTrashed}}

// maildirName splits the name of a message in a Maildir.
func maildirName(name string) (base string, flags mailFlags) {
	base, letters, ok := strings.Cut(name, ":2,")
	if !ok {
		return name, 0
	}
	for _, l := range maildirLetters {
		if strings.IndexByte(letters, l.letter) >= 0 {
			flags |= l.flag
		}
	}
	return base, flags
}

// mailFolder is a folder of a mailbox.
type mailFolder struct {
	num    uint64
	dir    *item // nil for the root of all, and for what is gone
	dirID  string
	parent *mailFolder
	name   string
	well   string // wellKnownName
	kind   string // as a client gave it; empty: what well or the parent says
	hidden bool
	gone   bool
	seq    int64 // of the last change of the folder itself

	log   []stayChange // of its items, in the order of change
	floor int64        // what left it up to here may be forgotten
	count int          // items
	left  int          // stays that ended
}

// class is the folder's, such as IPF.Note.
func (f *mailFolder) class() string {
	for at := f; at != nil; at = at.parent {
		if at.kind != "" {
			return at.kind
		}
		if w := wellKnown[at.well]; w.class != "" {
			return w.class
		}
	}
	return "IPF.Note"
}

// within reports whether f is top or lies below it.
func (f *mailFolder) within(top *mailFolder) bool {
	for at := f; at != nil; at = at.parent {
		if at == top {
			return true
		}
	}
	return false
}

// mailItem is a file of a mailbox that is an item.
type mailItem struct {
	num     uint64
	file    *item // nil when gone
	fileID  string
	at      *stay // where it is; nil when gone
	stays   uint32
	flags   mailFlags
	created moment
	changed moment // lastModifiedDateTime

	// What the file looked like, to tell whether it changed.
	size  int64
	mtime moment
	ctag  int32

	// What was read in the file, or given by a client.
	known      bool
	given      bool // class and received are a client's
	class      string
	received   moment
	categories []string
	search     [16]byte // PidTagSearchKey: the same for copies
}

// stay is an item's time in a folder, as long as it lasts or afterwards.
type stay struct {
	it    *mailItem
	in    *mailFolder
	n     uint32 // which of the item's it is: the default id says so
	born  int64
	seq   int64 // of the last change
	gone  bool
	moved bool // it left for another folder
	// back says that the item was here before and came back, and that nothing
	// happened to it since.
	back bool
}

// stayChange is an entry of a folder's log. It stands as long as the stay's
// last change is this one.
type stayChange struct {
	seq int64
	st  *stay
}

// folderChange is an entry in the log of folders.
type folderChange struct {
	seq  int64
	f    *mailFolder
	from *mailFolder // not nil: f has left it, or was deleted in it
	was  uint64      // the number of from
}

// use is what a directory is to a mailbox.
type use byte

const (
	isNoMail  use = iota // not shown, nor what is in it
	isMail               // a folder
	isMaildir            // the cur or new of one
)

type role struct {
	use use
	of  *mailFolder
}

// mailbox is what is known of one. Like its drive, it is used by one request at
// a time.
type mailbox struct {
	d          *drive
	generation string // of the ids
	seq        int64
	read       int64 // how far the drive's log was followed
	last       uint64

	root    *mailFolder // of all; it is no directory
	top     *mailFolder // msgfolderroot: the mailbox's directory
	folders map[uint64]*mailFolder
	byDir   map[string]*mailFolder
	well    map[string]*mailFolder
	items   map[uint64]*mailItem
	byFile  map[string]*mailItem
	roles   map[*item]role
	log     []folderChange
	floor   int64 // folders that were deleted up to here may be forgotten

	tell    func(id, name string) // who wants the names of the files that items are, or nil
	tag     [8]byte               // in every id
	classes map[string]string
	journal mailJournal
}

// wellKnown are the folders that every mailbox has, by wellKnownName.
var wellKnown = map[string]struct {
	class string
	names []string // of the directory: first the one that is made
}{
	"root":                   {"", nil},
	"msgfolderroot":          {"IPF.Note", nil},
	"inbox":                  {"IPF.Note", []string{"Inbox", "Posteingang"}},
	"drafts":                 {"IPF.Note", []string{"Drafts", "Entwürfe"}},
	"sentitems":              {"IPF.Note", []string{"Sent Items", "Gesendete Elemente", "Sent"}},
	"deleteditems":           {"IPF.Note", []string{"Deleted Items", "Gelöschte Elemente", "Trash"}},
	"outbox":                 {"IPF.Note", []string{"Outbox", "Postausgang"}},
	"junkemail":              {"IPF.Note", []string{"Junk Email", "Junk-E-Mail", "Junk", "Spam"}},
	"archive":                {"IPF.Note", []string{"Archive", "Archiv"}},
	"calendar":               {"IPF.Appointment", []string{"Calendar", "Kalender"}},
	"contacts":               {"IPF.Contact", []string{"Contacts", "Kontakte"}},
	"tasks":                  {"IPF.Task", []string{"Tasks", "Aufgaben"}},
	"notes":                  {"IPF.StickyNote", []string{"Notes", "Notizen"}},
	"recoverableitemsroot":   {"IPF.Note", []string{"Recoverable Items"}},
	"conversationhistory":    {"IPF.Note", []string{"Conversation History"}},
	"syncissues":             {"IPF.Note", []string{"Sync Issues"}},
	"recoverableitemspurges": {"IPF.Note", []string{"Purges"}},

	"recoverableitemsdeletions": {"IPF.Note", []string{"Deletions"}},
	"recoverableitemsversions":  {"IPF.Note", []string{"Versions"}},
}

// madeFolders are those that a mailbox gets when it is first opened.
var madeFolders = []string{
	"inbox", "drafts", "sentitems", "deleteditems", "outbox", "junkemail", "archive",
	"calendar", "contacts", "tasks", "notes", "recoverableitemsroot",
}

// madeRecoverable are those below recoverableitemsroot.
var madeRecoverable = []string{"recoverableitemsdeletions", "recoverableitemsversions", "recoverableitemspurges"}

// wellKnownNames finds a wellKnownName by that of a directory, in lower case.
var wellKnownNames = func() map[string]string {
	out := map[string]string{}
	for well, w := range wellKnown {
		for _, name := range w.names {
			out[fold(name)] = well
		}
	}
	return out
}()

func noMailbox() error {
	return fail(http.StatusNotFound, "MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise.")
}

func noMailItem() error {
	return fail(http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store.")
}

func noMailFolder() error {
	return fail(http.StatusNotFound, "ErrorItemNotFound", "The specified folder could not be found in the store.")
}

// withMailbox runs fn on the mailbox at p, alone, once it is up to date with its
// files. What fn did is in the journals when withMailbox returns.
func (s *Service) withMailbox(r *request, p place, fn func(*mailbox) error) error {
	err := s.with(p, func(d *drive) error {
		ctx := r.Context()
		if d.mail == nil {
			if err := d.openMailbox(ctx); err != nil {
				return err
			}
		}
		m := d.mail
		m.tell, _ = ctx.Value(namesKey{}).(func(id, name string))
		defer func() { m.tell = nil }()
		err := m.fresh(r)
		if err == nil {
			m.follow()
			err = fn(m)
		}
		// The files' journal comes first: what the mailbox's speaks of is in it.
		if ferr := d.flush(); ferr != nil {
			return errors.Join(ferr, err)
		}
		m.follow()
		if ferr := m.flush(); ferr != nil {
			d.closeMailbox()
			return errors.Join(ferr, err)
		}
		return err
	})
	return inExchange(err)
}

// fresh brings what is known of the mailbox up to date, as far as a request needs it: to
// look at all files for each of many items, or pages, would take the square of them.
func (m *mailbox) fresh(r *request) error {
	ctx, d := r.Context(), m.d
	if d.scanned.IsZero() || r.about == nil && !r.goesOn() {
		return d.fresh(ctx, r.arrived)
	}
	if r.about == nil {
		if d.took >= longScan && time.Since(d.scanned) < restAfter*d.took {
			return nil
		}
		return d.fresh(ctx, r.arrived)
	}
	files := r.about(m)
	if len(files) == 0 {
		return d.fresh(ctx, r.arrived)
	}
	for _, it := range files {
		if it.gone {
			continue // since another was looked at
		}
		if err := d.peek(ctx, it, false); err != nil {
			return err
		}
	}
	return nil
}

// Where a scan takes long, a list that goes on has no other for some time.
const (
	longScan  = 100 * time.Millisecond
	restAfter = 20
)

// goesOn reports whether it is for another page than the first of a list.
func (r *request) goesOn() bool {
	return option(r.query, "skiptoken") != "" || option(r.query, "skip") != ""
}

// aboutItems has a request be about single items. Of one that is not known all is looked at.
func (r *request) aboutItems(ids ...string) {
	r.about = func(m *mailbox) (files []*item) {
		for _, id := range ids {
			it, err := m.item(id)
			if err != nil {
				return nil
			}
			files = append(files, it.file)
		}
		return files
	}
}

// inExchange is a drive's refusal in a mailbox's words.
func inExchange(err error) error {
	e, ok := errors.AsType[*refusal](err)
	if !ok {
		return err
	}
	switch e.code {
	case "ResourceNotFound":
		return noMailbox()
	case "itemNotFound":
		return noMailItem()
	case "nameAlreadyExists":
		return fail(e.status, "ErrorItemSave", "Something of that name was put there just now.")
	case "quotaLimitReached":
		return mailboxFull()
	case "accessDenied":
		return fail(e.status, "ErrorAccessDenied", e.message)
	}
	return err
}

// openMailbox reads what is known of the mailbox, and makes the folders that
// every mailbox has.
func (d *drive) openMailbox(ctx context.Context) error {
	m := &mailbox{d: d, classes: map[string]string{}}
	if err := m.load(); err != nil {
		return err
	}
	sum := derive("mailbox ids", m.generation)
	copy(m.tag[:], sum[:])
	d.mail = m
	if err := d.scan(ctx); err != nil {
		d.closeMailbox()
		return err
	}
	m.compare()
	made := false
	for _, well := range slices.Concat(madeFolders, madeRecoverable) {
		if m.well[well] != nil {
			continue
		}
		parent := m.top
		if slices.Contains(madeRecoverable, well) {
			parent = m.well["recoverableitemsroot"]
		}
		if parent == nil {
			continue // somebody took it away just now
		}
		if _, _, err := d.makeFolder(ctx, parent.dir, wellKnown[well].names[0], onConflictReplace); err != nil {
			d.closeMailbox()
			return err
		}
		made = true
		m.follow()
	}
	if made {
		m.compare()
	}
	return nil
}

func (d *drive) closeMailbox() {
	if d.mail != nil {
		d.mail.journal.close()
		d.mail = nil
	}
}

// begin makes a mailbox of which nothing is known.
func (m *mailbox) begin(generation string) {
	m.generation, m.seq, m.last, m.floor = generation, 0, 2, 0
	m.clear()
}

func (m *mailbox) clear() {
	m.root = &mailFolder{num: 1, name: "Root", well: "root"}
	m.top = &mailFolder{num: 2, name: "Top of Information Store", well: "msgfolderroot", parent: m.root}
	m.folders = map[uint64]*mailFolder{1: m.root, 2: m.top}
	m.well = map[string]*mailFolder{"root": m.root, "msgfolderroot": m.top}
	m.byDir, m.items, m.byFile, m.roles, m.log = map[string]*mailFolder{}, map[uint64]*mailItem{}, map[string]*mailItem{}, map[*item]role{}, nil
}

func (m *mailbox) now() moment { return momentOf(m.d.svc.clock()) }

// follow takes over what the drive's log tells since it was last read.
func (m *mailbox) follow() {
	d := m.d
	if m.read < d.floor {
		m.compare()
		return
	}
	first := sort.Search(len(d.log), func(i int) bool { return d.log[i].seq > m.read })
	var folders, files []*item
	for _, c := range d.log[first:] {
		switch {
		case c.it.seq != c.seq:
		case c.it.kind == isFolder:
			folders = append(folders, c.it)
		default:
			files = append(files, c.it)
		}
	}
	m.read = d.seq
	m.takeFolders(folders)
	for _, it := range files {
		m.takeFile(it)
	}
	for _, it := range folders {
		if it.gone {
			m.dropFolder(it.id)
		}
	}
}

// compare takes over all that the drive knows.
func (m *mailbox) compare() {
	m.read = m.d.seq
	m.roles = map[*item]role{}
	m.takeFolder(m.d.root)
	for id := range m.byFile {
		if it := m.d.items[id]; it == nil || it.gone {
			m.takeFile(&item{id: id, gone: true})
		}
	}
	for id := range m.byDir {
		if it := m.d.items[id]; it == nil || it.gone {
			m.dropFolder(id)
		}
	}
}

// depth is how far below the root it lies.
func (it *item) depth() (n int) {
	for at := it.parent; at != nil; at = at.parent {
		n++
	}
	return n
}

// inOrder puts directories into the order in which they can be placed: a
// Maildir's cur and new after the folders, and .a.b after .a.
func inOrder(a, b *item) int {
	late := func(it *item) int {
		if it.name == "cur" || it.name == "new" {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.depth(), b.depth()), cmp.Compare(late(a), late(b)), cmp.Compare(a.name, b.name))
}

// inTurn are children in the order of their last changes.
func inTurn(children map[string]*item) []*item {
	return slices.SortedFunc(maps.Values(children), func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
}

func (m *mailbox) takeFolders(dirs []*item) {
	dirs = slices.DeleteFunc(slices.Clone(dirs), func(it *item) bool { return it.gone })
	slices.SortFunc(dirs, inOrder)
	for _, dir := range dirs {
		m.takeFolder(dir)
	}
}

// takeFolder takes over one directory. If it has become something else to the
// mailbox, so has what is in it.
func (m *mailbox) takeFolder(dir *item) {
	before, known := m.roles[dir]
	now := m.place(dir)
	m.roles[dir] = now
	if now.use != isMail {
		m.dropFolder(dir.id)
	}
	if known && before == now {
		return
	}
	var below []*item
	for _, child := range inTurn(dir.children) {
		if child.kind == isFolder {
			below = append(below, child)
		} else {
			m.takeFile(child)
		}
	}
	m.takeFolders(below)
}

// place says what a directory is, and makes or changes the folder that it is.
func (m *mailbox) place(dir *item) role {
	if dir == m.d.root {
		m.top.dir, m.top.dirID = dir, dir.id
		return role{isMail, m.top}
	}
	in := m.roles[dir.parent]
	if in.use != isMail {
		return role{}
	}
	parent, name := in.of, dir.name
	switch {
	case name == "tmp":
		return role{}
	case name == "cur" || name == "new":
		if parent == m.top { // the whole mailbox is a Maildir, and this its inbox
			if parent = m.well["inbox"]; parent == nil {
				return role{}
			}
		}
		return role{isMaildir, parent}
	case name[0] == '.':
		if cur := dir.children["cur"]; cur == nil || cur.kind != isFolder {
			return role{}
		}
		name = name[1:]
		for i := len(name) - 1; i > 0; i-- {
			if name[i] != '.' {
				continue
			}
			above := dir.parent.children["."+name[:i]]
			if above == nil {
				continue
			}
			if r := m.roles[above]; r.use == isMail {
				parent, name = r.of, name[i+1:]
				break
			}
		}
		if name == "" {
			return role{}
		}
	}
	f := m.byDir[dir.id]
	fresh := f == nil
	if fresh {
		f = &mailFolder{num: m.number(dir), dirID: dir.id}
		m.folders[f.num], m.byDir[dir.id] = f, f
	}
	f.dir = dir
	well := ""
	if w := wellKnownNames[fold(name)]; w != "" && m.wellBelongs(w, parent) && (m.well[w] == nil || m.well[w] == f) {
		well = w
	}
	if well == "recoverableitemsroot" {
		parent = m.root
	}
	if !fresh && f.parent == parent && f.name == name && f.well == well {
		return role{isMail, f}
	}
	if f.well != "" && f.well != well {
		delete(m.well, f.well)
	}
	old := f.parent
	f.parent, f.name, f.well = parent, name, well
	if well != "" {
		m.well[well] = f
	}
	if old != nil && old != parent {
		m.folderLeft(f, old)
	}
	m.touchFolder(f)
	if fresh && dir.name[0] == '.' {
		// It may be the parent of some that are there already.
		for _, sibling := range dir.parent.children {
			if sibling.kind == isFolder && strings.HasPrefix(sibling.name, dir.name+".") {
				defer m.takeFolder(sibling)
			}
		}
	}
	return role{isMail, f}
}

// wellBelongs reports whether a folder below parent may be the well-known one.
func (m *mailbox) wellBelongs(well string, parent *mailFolder) bool {
	if slices.Contains(madeRecoverable, well) {
		return parent == m.well["recoverableitemsroot"] && parent != nil
	}
	return parent == m.top
}

func (m *mailbox) touchFolder(f *mailFolder) {
	m.seq++
	f.seq = m.seq
	m.log = append(m.log, folderChange{seq: m.seq, f: f})
	m.journal.folder(f)
}

// folderLeft notes that f is no longer in a folder.
func (m *mailbox) folderLeft(f, from *mailFolder) {
	m.seq++
	c := folderChange{seq: m.seq, f: f, from: from, was: from.num}
	m.log = append(m.log, c)
	m.journal.folderLeft(c)
}

// dropFolder takes down that a directory is no folder any more.
func (m *mailbox) dropFolder(dirID string) {
	f := m.byDir[dirID]
	if f == nil {
		return
	}
	delete(m.byDir, dirID)
	delete(m.folders, f.num)
	if f.well != "" && m.well[f.well] == f {
		delete(m.well, f.well)
	}
	f.gone, f.dir = true, nil
	m.seq++
	f.seq = m.seq
	m.journal.folder(f)
	m.folderLeft(f, f.parent)
	for _, g := range m.folders {
		if g.parent == f && g.dir != nil && !g.dir.gone {
			defer m.takeFolder(g.dir) // .a.b outlives .a
		}
	}
}

// isItem reports whether a file is an item of a mailbox.
func isItem(name string, in role) bool {
	if in.use == isMaildir {
		return name[0] != '.'
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".eml", ".ics", ".vcf":
		return name[0] != '.'
	case ".txt":
		return name[0] != '.' && (in.of.class() == "IPF.StickyNote" || strings.HasSuffix(name, aNote))
	}
	return false
}

// madeNumbers are the numbers from here on: those of made items, which follow from
// the seed.
const madeNumbers = 1 << 40

// number is a new folder's or item's.
func (m *mailbox) number(of *item) uint64 {
	if of.num != 0 {
		return madeNumbers | uint64(uint32(of.num))
	}
	m.last++
	return m.last
}

// takeFile takes over one file.
func (m *mailbox) takeFile(file *item) {
	it := m.byFile[file.id]
	var in role
	if !file.gone {
		in = m.roles[file.parent]
	}
	if in.of == nil || !isItem(file.name, in) {
		if it != nil {
			m.lose(it)
		}
		return
	}
	fresh := it == nil
	if fresh {
		it = &mailItem{num: m.number(file), fileID: file.id, created: file.created, changed: m.now()}
		m.items[it.num], m.byFile[file.id] = it, it
	}
	it.file = file
	flags := it.flags
	if in.use == isMaildir {
		_, flags = maildirName(file.name)
		if it.flags&isComplete != 0 && flags&isFlagged == 0 {
			flags |= isComplete
		}
	}
	if fresh && file.made > 0 {
		it.changed = file.mtime
		if file.strong[0]%4 > 0 {
			flags |= isRead
		}
		if file.strong[1]%32 == 0 {
			flags |= isFlagged
		}
	}
	// A content that was never read is told for the first time only when it is.
	content := file.mtime != it.mtime || file.size != it.size || it.ctag != 0 && file.ctag != it.ctag
	changed := flags != it.flags || content
	it.flags, it.mtime, it.size = flags, file.mtime, file.size
	if content {
		it.known = false
	}
	if fresh && file.made == 1 { // it need not be read to know what it is
		it.known, it.class, it.received = true, m.intern(classByName(file.name, in.of.class())), file.created
		it.search, it.ctag = file.strong, file.ctag
	}
	switch {
	case it.at == nil || it.at.in != in.of:
		m.moveTo(it, in.of)
	case changed:
		m.touchItem(it)
	}
}

// touchItem takes down that it was changed where it is.
func (m *mailbox) touchItem(it *mailItem) {
	m.seq++
	it.at.seq, it.at.back = m.seq, false
	it.changed = m.now()
	m.enter(it.at)
	m.journal.item(it)
}

// moveTo gives it another folder, or its first.
func (m *mailbox) moveTo(it *mailItem, in *mailFolder) {
	if it.at != nil {
		m.leave(it, true)
	}
	it.stays++
	m.seq++
	it.at = &stay{it: it, in: in, n: it.stays, born: m.seq, seq: m.seq}
	if it.stays > 2 {
		it.at.back = slices.ContainsFunc(in.log, func(c stayChange) bool { return c.st.it == it && c.st.gone })
	}
	in.count++
	m.enter(it.at)
	m.journal.item(it)
}

// leave ends its stay in a folder.
func (m *mailbox) leave(it *mailItem, moved bool) {
	st := it.at
	m.seq++
	st.seq, st.gone, st.moved, st.back = m.seq, true, moved, false
	st.in.count--
	st.in.left++
	it.at = nil
	m.enter(st)
	m.journal.stay(st)
}

// lose takes down that it is gone.
func (m *mailbox) lose(it *mailItem) {
	if it.at != nil {
		m.leave(it, false)
	}
	delete(m.byFile, it.fileID)
	delete(m.items, it.num)
	it.file = nil
	m.journal.item(it)
}

// keepStays is how many stays that ended a folder remembers at least.
const keepStays = 5_000

// enter puts a stay at the end of its folder's log, and forgets what is too old.
func (m *mailbox) enter(st *stay) {
	f := st.in
	f.log = append(f.log, stayChange{st.seq, st})
	if most := max(2*keepStays, f.count); f.left > most {
		f.forget(f.left - most/2)
		m.journal.folder(f)
	}
	if len(f.log) > 4*(f.count+f.left)+1000 {
		f.tidy()
	}
}

// tidy takes the entries that no longer stand out of the log.
func (f *mailFolder) tidy() {
	f.log = slices.DeleteFunc(f.log, func(c stayChange) bool { return c.seq != c.st.seq })
}

// forget lets the n oldest of the stays that ended go. Tokens from before them
// are no longer good.
func (f *mailFolder) forget(n int) {
	f.log = slices.DeleteFunc(f.log, func(c stayChange) bool {
		if c.seq != c.st.seq {
			return true
		}
		if !c.st.gone || n == 0 {
			return false
		}
		n--
		f.left--
		f.floor = max(f.floor, c.seq)
		return true
	})
}

// What an id begins with says what it is of.
var (
	defaultID   = [4]byte{0, 3, 0x24, 0}
	immutableID = [4]byte{0, 9, 0, 0x2e}
	folderID    = [4]byte{1, 3, 0x24, 0}
)

func (m *mailbox) makeID(kind [4]byte, num uint64, n uint32) string {
	b := make([]byte, 0, 26)
	b = append(b, kind[:]...)
	b = append(b, m.tag[:]...)
	b = binary.BigEndian.AppendUint64(b, num)
	b = binary.BigEndian.AppendUint32(b, n)
	return base64.URLEncoding.EncodeToString(append(b, 0, 0))
}

func (m *mailbox) parseID(id string) (kind [4]byte, num uint64, n uint32, ok bool) {
	b, err := base64.URLEncoding.DecodeString(id)
	if err != nil {
		// The standard alphabet is taken too.
		b, err = base64.StdEncoding.DecodeString(id)
	}
	if err != nil || len(b) != 26 || !bytes.Equal(b[4:12], m.tag[:]) || b[24] != 0 || b[25] != 0 {
		return kind, 0, 0, false
	}
	return [4]byte(b[:4]), binary.BigEndian.Uint64(b[12:]), binary.BigEndian.Uint32(b[20:]), true
}

func (m *mailbox) folderID(f *mailFolder) string { return m.makeID(folderID, f.num, 0) }

func (m *mailbox) stayID(st *stay, immutable bool) string {
	if m.tell != nil && st.it.file != nil {
		m.tell(m.makeID(immutableID, st.it.num, 0), st.it.file.name)
		m.tell(m.makeID(defaultID, st.it.num, st.n), st.it.file.name)
	}
	if immutable {
		return m.makeID(immutableID, st.it.num, 0)
	}
	return m.makeID(defaultID, st.it.num, st.n)
}

// changeKey changes with every write.
func (st *stay) changeKey() string {
	b := []byte{9, 0, 0, 0, 0x16, 0, 0, 0}
	b = binary.BigEndian.AppendUint64(b, st.it.num)
	b = binary.BigEndian.AppendUint64(b, uint64(st.seq))
	return base64.StdEncoding.EncodeToString(b)
}

// folder finds a folder by its id or well-known name.
func (m *mailbox) folder(id string) (*mailFolder, error) {
	if f := m.well[strings.ToLower(id)]; f != nil {
		return f, nil
	}
	kind, num, _, ok := m.parseID(id)
	switch {
	case !ok && wellKnown[strings.ToLower(id)].names == nil:
		return nil, fail(http.StatusBadRequest, "ErrorInvalidIdMalformed", "Id is malformed.")
	case kind == folderID && m.folders[num] != nil:
		return m.folders[num], nil
	}
	return nil, noMailFolder()
}

// item finds an item by either of its ids.
func (m *mailbox) item(id string) (*mailItem, error) {
	kind, num, n, ok := m.parseID(id)
	if !ok {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidIdMalformed", "Id is malformed.")
	}
	it := m.items[num]
	if it == nil || it.at == nil || kind != immutableID && (kind != defaultID || it.at.n != n) {
		return nil, noMailItem()
	}
	return it, nil
}

// settle reads the contents of items that were not read yet.
func (m *mailbox) settle(ctx context.Context, items ...*mailItem) error {
	var files []*item
	var unknown []*mailItem
	for _, it := range items {
		if it.file == nil || it.known {
			continue
		}
		unknown = append(unknown, it)
		if it.file.stale {
			files = append(files, it.file)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if err := m.d.read(ctx, files); err != nil {
		return err
	}
	for _, it := range unknown {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.learn(it)
	}
	return nil
}

// learn takes down what an item's file says of it.
func (m *mailbox) learn(it *mailItem) {
	head, err := m.head(it)
	if err != nil {
		// It is shown all the same, so that a backup says so. What it was is kept.
		if it.class == "" {
			it.class, it.received = m.intern(classByName(it.file.name, it.at.in.class())), it.mtime
		}
		return
	}
	it.known = true
	if !it.given {
		it.class, it.received = m.intern(head.class), head.received
		if it.ctag == 0 && it.categories == nil {
			it.categories = head.categories
		}
	}
	if it.search == [16]byte{} {
		it.search = it.file.strong
	}
	it.ctag = it.file.ctag
	m.journal.item(it)
}

func (m *mailbox) intern(s string) string {
	if have, ok := m.classes[s]; ok {
		return have
	}
	if len(m.classes) < 1000 {
		m.classes[s] = s
	}
	return s
}

// second is m in whole seconds, as Exchange writes times.
func (m moment) second() string { return time.Unix(m.sec, 0).UTC().Format(time.RFC3339) }

// open opens an item's file for reading.
func (m *mailbox) open(it *mailItem) (content, error) {
	f, err := m.d.openContent(it.file)
	switch {
	case vanished(err):
		return nil, noMailItem()
	case errors.Is(err, fs.ErrPermission):
		return nil, corruptItem()
	case err != nil:
		return nil, onDisk(fmt.Errorf("open message: %w", err))
	}
	return f, nil
}

func corruptItem() error {
	return fail(http.StatusInternalServerError, "ErrorCorruptData", "The item is corrupt and cannot be read.")
}
