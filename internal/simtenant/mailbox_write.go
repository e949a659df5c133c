package simtenant

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// The ends of the names of items.
const (
	extMail     = ".eml"
	extCalendar = ".ics"
	extContact  = ".vcf"
	extNote     = ".txt"
	// aNote is the end of the name of a note that lies elsewhere than among notes.
	aNote = ".note.txt"
)

// itemExt is the end of an item's name that says what it is; a Maildir's messages
// have none.
func itemExt(name string) string {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case extCalendar, extContact, extNote:
		return ext
	}
	return extMail
}

// mailGift is an item that a client puts into a mailbox.
type mailGift struct {
	stage      string // its file in the folder of imports
	ext        string
	class      string
	received   time.Time
	created    time.Time // zero: now
	flags      mailFlags
	categories []string
	search     []byte // empty: of the content
}

// stageMail writes a file that is to become an item's.
func (s *Service) stageMail(data []byte) (name string, err error) {
	name = backup.NewID[string]()
	if err := os.WriteFile(filepath.Join(s.incoming(), name), data, 0o644); err != nil {
		s.unstageMail(name)
		return "", onDisk(err)
	}
	return name, nil
}

func (s *Service) unstageMail(name string) { os.Remove(filepath.Join(s.incoming(), name)) }

// home is the directory in which new files of a folder lie, and whether that is a
// Maildir's.
func (m *mailbox) home(f *mailFolder, ext string) (dir *item, maildir bool, err error) {
	if f.dir == nil || f.dir.gone {
		return nil, false, cannotHold()
	}
	if ext == extMail {
		if child := f.dir.children["cur"]; child != nil {
			if r := m.roles[child]; r.use == isMaildir && r.of == f {
				return child, true, nil
			}
		}
	}
	return f.dir, false, nil
}

func cannotHold() error {
	return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The folder cannot hold items.")
}

// nameFor is a new name for a file in a folder.
func nameFor(base, ext string, flags mailFlags, f *mailFolder, maildir bool) string {
	switch {
	case maildir:
		return base + ":2," + flags.letters()
	case ext == extNote && f.class() != "IPF.StickyNote":
		return base + aNote
	}
	return base + ext
}

// give puts a new item into a folder.
func (m *mailbox) give(g mailGift, f *mailFolder) (*mailItem, error) {
	d := m.d
	dir, maildir, err := m.home(f, g.ext)
	if err != nil {
		return nil, err
	}
	if err := d.realise(dir); err != nil {
		return nil, err
	}
	name := nameFor(backup.NewID[string](), g.ext, g.flags, f, maildir)
	st, err := m.hang(g, dir, name, renameNew)
	if err != nil {
		return nil, err
	}
	file := d.create(dir, name, st)
	file.unsure = true
	d.wrote(dir)
	m.follow()
	it := m.byFile[file.id]
	if it == nil {
		return nil, cannotHold()
	}
	m.adorn(it, g)
	return it, nil
}

// hang gives a staged file its place.
func (m *mailbox) hang(g mailGift, dir *item, name string, rename func(from *os.File, name string, to *os.File, as string) error) (st stat, err error) {
	from, err := os.Open(m.d.svc.incoming())
	if err != nil {
		return st, onDisk(err)
	}
	defer from.Close()
	to, err := m.d.openFolder(dir.path())
	if err != nil {
		return st, onDisk(err)
	}
	defer to.Close()
	if !g.received.IsZero() {
		if err := setTime(from, g.stage, g.received); err != nil {
			return st, onDisk(err)
		}
	}
	if err := rename(from, g.stage, to, name); err != nil {
		return st, onDisk(err)
	}
	if st, err = statAt(to, name); err != nil {
		return st, onDisk(err)
	}
	if st.kind != isFile {
		return st, onDisk(fs.ErrNotExist) // taken away just now
	}
	return st, nil
}

// adorn takes down what a client says of an item.
func (m *mailbox) adorn(it *mailItem, g mailGift) {
	it.given, it.class, it.received = true, m.intern(g.class), momentOf(g.received)
	it.flags, it.categories = g.flags, g.categories
	if !g.created.IsZero() {
		it.created = momentOf(g.created)
	}
	if len(g.search) > 0 {
		it.search = [16]byte{}
		copy(it.search[:], g.search)
	}
	m.journal.item(it)
}

// replace gives an item another content.
func (m *mailbox) replace(ctx context.Context, it *mailItem, g mailGift) error {
	d, file := m.d, it.file
	if err := d.realise(file.parent); err != nil {
		return err
	}
	st, err := m.hang(g, file.parent, file.name, renameAt)
	if err != nil {
		return err
	}
	grow(file, st.size-file.size)
	file.inode, file.mtime, file.ctime = st.inode, st.mtime, st.ctime
	file.made, file.stale, file.unsure = 0, true, true
	file.etag++
	d.touch(file)
	d.wrote(file.parent)
	before := it.at.seq
	m.follow()
	if it.at == nil {
		return noMailItem()
	}
	it.known = false
	if it.at.seq == before {
		m.touchItem(it)
	}
	if err := m.setFlags(ctx, it, g.flags); err != nil {
		return err
	}
	m.adorn(it, g)
	return nil
}

// setFlags marks an item. In a Maildir that is a name.
func (m *mailbox) setFlags(ctx context.Context, it *mailItem, flags mailFlags) error {
	if it.flags == flags {
		return nil
	}
	if m.roles[it.file.parent].use == isMaildir {
		dir := it.file.parent
		if cur := dir.parent.children["cur"]; cur != nil && cur.kind == isFolder {
			dir = cur
		}
		base, _ := maildirName(it.file.name)
		if name := base + ":2," + flags.letters(); name != it.file.name || dir != it.file.parent {
			if err := m.d.svc.move(ctx, m.d, it.file, dir, name, onConflictFail); err != nil {
				return err
			}
			m.follow()
			if it.at == nil {
				return noMailItem()
			}
		}
	}
	if it.flags != flags {
		it.flags = flags
		m.touchItem(it)
	}
	return nil
}

// move puts an item into another folder.
func (m *mailbox) move(ctx context.Context, it *mailItem, f *mailFolder) error {
	if it.at.in == f {
		return nil
	}
	ext := itemExt(it.file.name)
	dir, maildir, err := m.home(f, ext)
	if err != nil {
		return err
	}
	base, _ := maildirName(it.file.name)
	if maildir {
		base = backup.NewID[string]() // which no other has
	} else {
		base = strings.TrimSuffix(strings.TrimSuffix(base, ext), strings.TrimSuffix(aNote, extNote))
	}
	flags, class, received := it.flags, it.class, it.received
	if err := m.d.svc.move(ctx, m.d, it.file, dir, nameFor(base, ext, flags, f, maildir), onConflictRename); err != nil {
		return err
	}
	m.follow()
	if it.at == nil || it.at.in != f {
		return noMailItem()
	}
	// What it is does not depend on where it lies.
	it.flags, it.class, it.received = flags, class, received
	m.journal.item(it)
	return nil
}

// remove deletes an item as Outlook does: it goes to Deleted Items, from there to
// Recoverable Items, and from there it goes for good.
func (m *mailbox) remove(ctx context.Context, it *mailItem) error {
	to := m.well["deleteditems"]
	if to != nil && it.at.in.within(to) {
		to = m.well["recoverableitemsdeletions"]
	}
	if bin := m.well["recoverableitemsroot"]; to == nil || bin != nil && it.at.in.within(bin) {
		return m.destroy(it.file)
	}
	return m.move(ctx, it, to)
}

// destroy takes a file or directory out of the mailbox. It is in the folder
// .recycle beside the mailboxes then.
func (m *mailbox) destroy(file *item) error {
	if err := m.d.svc.recycle(m.d, file); err != nil {
		return err
	}
	m.follow()
	return nil
}

// makeFolder makes a folder of a class in another.
func (m *mailbox) makeFolder(ctx context.Context, parent *mailFolder, name, class string) (*mailFolder, error) {
	if parent.dir == nil || parent.dir.gone {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The folder cannot hold folders.")
	}
	if err := checkMailFolderName(name); err != nil {
		return nil, err
	}
	dir, _, err := m.d.makeFolder(ctx, parent.dir, name, onConflictFail)
	if err != nil {
		return nil, folderTaken(err, name)
	}
	m.follow()
	f := m.byDir[dir.id]
	if f == nil {
		return nil, noMailFolder()
	}
	if f.class() != class {
		f.kind = class
		m.touchFolder(f)
	}
	return f, nil
}

// renameFolder gives a folder another name or place.
func (m *mailbox) renameFolder(ctx context.Context, f, parent *mailFolder, name string) error {
	if err := f.own(); err != nil {
		return err
	}
	if parent.dir == nil || parent.within(f) {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The folder cannot be moved there.")
	}
	if err := checkMailFolderName(name); err != nil {
		return err
	}
	if f.parent == parent && f.name == name {
		return nil
	}
	class := f.class()
	if parent != f.parent {
		f.kind = class // which the parent may have said
	}
	dirName, dir := name, parent.dir
	if f.dir.name[0] == '.' && parent == f.parent { // .a.b of a Maildir
		dirName, dir = strings.TrimSuffix(f.dir.name, f.name)+name, f.dir.parent
	}
	if err := m.d.svc.move(ctx, m.d, f.dir, dir, dirName, onConflictFail); err != nil {
		return folderTaken(err, name)
	}
	m.follow()
	return nil
}

// removeFolder deletes a folder with all that is in it, as items are deleted.
func (m *mailbox) removeFolder(ctx context.Context, f *mailFolder) error {
	if err := f.own(); err != nil {
		return err
	}
	to := m.well["deleteditems"]
	bin := m.well["recoverableitemsroot"]
	if to == nil || to.dir == nil || f.within(to) || bin != nil && f.within(bin) {
		return m.destroy(f.dir)
	}
	f.kind = f.class()
	if err := m.d.svc.move(ctx, m.d, f.dir, to.dir, strings.TrimLeft(f.name, "."), onConflictRename); err != nil {
		return err
	}
	m.follow()
	return nil
}

// own refuses what may not be done to a folder that every mailbox has.
func (f *mailFolder) own() error {
	if f.well != "" || f.dir == nil {
		return fail(http.StatusForbidden, "ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be deleted, renamed or moved.")
	}
	return nil
}

// checkMailFolderName refuses what cannot name a folder here.
func checkMailFolderName(name string) error {
	if checkName(name) != nil || name[0] == '.' || name == "cur" || name == "new" || name == "tmp" || len(name) > 255 {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The displayName cannot be that of a folder.")
	}
	return nil
}

func folderTaken(err error, name string) error {
	if e, ok := errors.AsType[*refusal](err); ok && e.code == "nameAlreadyExists" {
		return fail(http.StatusConflict, "ErrorFolderExists", "A folder with the specified name already exists: "+quoted(name)+".")
	}
	return err
}
