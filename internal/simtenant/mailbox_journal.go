package simtenant

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/backup"
)

// A mailbox's journal is a file of JSON lines beside its drive's: what folders,
// items and former stays of items were like after a change, and the last line
// of each holds.

const mailJournalVersion = 1

// mailJournal is a mailbox's journal and what is to be written to it.
type mailJournal struct {
	file    *os.File
	lines   int
	folders map[*mailFolder]bool
	items   map[*mailItem]bool
	stays   []*stay
	left    []folderChange
}

func (j *mailJournal) folder(f *mailFolder) {
	if f.num == 1 {
		return // there is nothing to know of it
	}
	if j.folders == nil {
		j.folders = map[*mailFolder]bool{}
	}
	j.folders[f] = true
}

func (j *mailJournal) item(it *mailItem) {
	if j.items == nil {
		j.items = map[*mailItem]bool{}
	}
	j.items[it] = true
}

func (j *mailJournal) stay(st *stay) { j.stays = append(j.stays, st) }

func (j *mailJournal) folderLeft(c folderChange) { j.left = append(j.left, c) }

// clean forgets what was to be written.
func (j *mailJournal) clean() { j.folders, j.items, j.stays, j.left = nil, nil, nil, nil }

func (j *mailJournal) close() {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}

// mailHeader is a journal's first line.
type mailHeader struct {
	Version    int    `json:"holdfastMailbox"`
	Generation string `json:"generation"`
	Seq        int64  `json:"seq"`
	Last       uint64 `json:"last"`
	Floor      int64  `json:"floor"`
}

// mailRecord is any other line.
type mailRecord struct {
	Folder *folderRecord `json:"f,omitempty"`
	Item   *itemRecord   `json:"i,omitempty"`
	Stay   *stayRecord   `json:"s,omitempty"`
	Left   *leftRecord   `json:"l,omitempty"`
}

type folderRecord struct {
	Num    uint64 `json:"n"`
	Dir    string `json:"d,omitempty"` // none: the folder is gone
	Parent uint64 `json:"p,omitempty"`
	Name   string `json:"t,omitempty"`
	Well   string `json:"w,omitempty"`
	Kind   string `json:"k,omitempty"`
	Hidden bool   `json:"h,omitempty"`
	Seq    int64  `json:"s"`
	Floor  int64  `json:"o,omitempty"`
}

type itemRecord struct {
	Num        uint64    `json:"n"`
	File       string    `json:"d,omitempty"` // none: the item is gone
	Folder     uint64    `json:"p,omitempty"`
	Stay       uint32    `json:"y,omitempty"`
	Stays      uint32    `json:"v,omitempty"`
	Born       int64     `json:"b,omitempty"`
	Seq        int64     `json:"s,omitempty"`
	Back       bool      `json:"r,omitempty"`
	Flags      mailFlags `json:"f,omitempty"`
	Created    moment    `json:"a,omitzero"`
	Changed    moment    `json:"w,omitzero"`
	Size       int64     `json:"z,omitempty"`
	Mtime      moment    `json:"m,omitzero"`
	CTag       int32     `json:"t,omitempty"`
	Known      bool      `json:"x,omitempty"`
	Given      bool      `json:"g,omitempty"`
	Class      string    `json:"c,omitempty"`
	Received   moment    `json:"e,omitzero"`
	Categories []string  `json:"l,omitempty"`
	Search     []byte    `json:"h,omitempty"`
}

type stayRecord struct {
	Item   uint64 `json:"n"`
	Stay   uint32 `json:"y"`
	Folder uint64 `json:"p"`
	Born   int64  `json:"b"`
	Seq    int64  `json:"s"`
	Moved  bool   `json:"v,omitempty"`
}

type leftRecord struct {
	Folder uint64 `json:"n"`
	From   uint64 `json:"p"`
	Seq    int64  `json:"s"`
}

func (m *mailbox) journalPath() string {
	return filepath.Join(m.d.svc.cfg.State, "mailboxes", m.d.place.mailboxGUID()+".jsonl")
}

// load reads the journal. One that makes no sense is put aside, and the mailbox
// begins a new life with new ids.
func (m *mailbox) load() error {
	name := m.journalPath()
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.begin(m.newGeneration())
		return m.compact()
	case err != nil:
		return fmt.Errorf("read journal of mailbox: %w", err)
	}
	good, err := m.replay(data)
	if err != nil {
		m.d.svc.log.Error("a mailbox's journal is damaged; its items get new ids", "mailbox", m.d.place.folder(), "journal", name, "err", err)
		if err := os.Rename(name, name+".damaged"); err != nil {
			return fmt.Errorf("put the damaged journal aside: %w", err)
		}
		m.begin(backup.NewID[string]())
		return m.compact()
	}
	if m.journal.file, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("open journal of mailbox: %w", err)
	}
	if good < len(data) {
		if err := m.journal.file.Truncate(int64(good)); err != nil {
			m.journal.close()
			return fmt.Errorf("cut the torn end off the journal: %w", err)
		}
	}
	return nil
}

// newGeneration names a mailbox's first life; a made one's follows from the seed.
func (m *mailbox) newGeneration() string {
	if p := m.d.svc.cfg.Population; p != nil && p.Messages > 0 && m.d.root.id == p.itemID(m.d.place, 0) {
		return guidText(derive("mailbox generation", m.d.root.id))
	}
	return backup.NewID[string]()
}

// counted is a number, unless it is one that follows from the seed.
func counted(num uint64) uint64 {
	if num >= madeNumbers {
		return 0
	}
	return num
}

// replay builds the state from a journal. It returns how much of it is whole.
func (m *mailbox) replay(data []byte) (good int, err error) {
	line := func() []byte {
		end := bytes.IndexByte(data[good:], '\n')
		if end < 0 {
			return nil
		}
		return data[good : good+end]
	}
	first := line()
	var h mailHeader
	if err := json.Unmarshal(first, &h); err != nil {
		return 0, fmt.Errorf("header: %w", err)
	}
	if h.Version != mailJournalVersion || h.Generation == "" {
		return 0, fmt.Errorf("header: version %d is not known", h.Version)
	}
	m.begin(h.Generation)
	m.seq, m.last, m.floor, m.journal.lines = h.Seq, h.Last, h.Floor, 0
	good += len(first) + 1
	folders, items := map[uint64]folderRecord{}, map[uint64]itemRecord{}
	var stays []stayRecord
	var left []leftRecord
	for l := line(); l != nil; l = line() {
		var rec mailRecord
		if err := json.Unmarshal(l, &rec); err != nil {
			if good+len(l)+1 == len(data) {
				break // torn, though it ends like a line
			}
			return 0, fmt.Errorf("line %d: %w", m.journal.lines+2, err)
		}
		switch {
		case rec.Folder != nil:
			folders[rec.Folder.Num] = *rec.Folder
			m.seq, m.last = max(m.seq, rec.Folder.Seq), max(m.last, counted(rec.Folder.Num))
		case rec.Item != nil:
			items[rec.Item.Num] = *rec.Item
			m.seq, m.last = max(m.seq, rec.Item.Seq), max(m.last, counted(rec.Item.Num))
		case rec.Stay != nil:
			stays = append(stays, *rec.Stay)
			m.seq = max(m.seq, rec.Stay.Seq)
		case rec.Left != nil:
			left = append(left, *rec.Left)
			m.seq = max(m.seq, rec.Left.Seq)
		}
		good += len(l) + 1
		m.journal.lines++
	}
	// If the machine crashed, the journal's end may be lost. What is found anew
	// must not look, to a token from before, like what it has seen.
	m.seq += 1 << 20
	m.last += 1 << 20
	m.rebuild(folders, items, stays, left)
	return good, nil
}

// rebuild makes folders, items and logs from their records.
func (m *mailbox) rebuild(folders map[uint64]folderRecord, items map[uint64]itemRecord, stays []stayRecord, left []leftRecord) {
	gone := map[uint64]*mailFolder{}
	folder := func(num uint64) *mailFolder {
		if f := m.folders[num]; f != nil {
			return f
		}
		if gone[num] == nil {
			gone[num] = &mailFolder{num: num, gone: true}
		}
		return gone[num]
	}
	for num, rec := range folders {
		if num == m.top.num {
			m.top.floor = rec.Floor
			continue
		}
		if rec.Dir == "" || m.byDir[rec.Dir] != nil {
			continue
		}
		f := &mailFolder{num: num, dirID: rec.Dir, name: rec.Name, well: rec.Well, kind: rec.Kind, hidden: rec.Hidden, seq: rec.Seq, floor: rec.Floor}
		m.folders[num], m.byDir[rec.Dir] = f, f
		if f.well != "" && m.well[f.well] == nil {
			m.well[f.well] = f
		}
	}
	for num, rec := range folders {
		if f := m.folders[num]; f != nil && f != m.top {
			f.parent = folder(rec.Parent)
			m.log = append(m.log, folderChange{seq: f.seq, f: f})
		}
	}
	for _, rec := range left {
		m.log = append(m.log, folderChange{seq: rec.Seq, f: folder(rec.Folder), from: folder(rec.From), was: rec.From})
	}
	slices.SortFunc(m.log, func(a, b folderChange) int { return compareSeq(a.seq, b.seq) })
	lost := map[uint64]*mailItem{} // items of which only stays are known
	for num, rec := range items {
		f := m.folders[rec.Folder]
		if rec.File == "" || f == nil || m.byFile[rec.File] != nil {
			continue
		}
		it := &mailItem{
			num: num, fileID: rec.File, stays: rec.Stays, flags: rec.Flags, created: rec.Created, changed: rec.Changed, size: rec.Size,
			mtime: rec.Mtime, ctag: rec.CTag, known: rec.Known, given: rec.Given, class: m.intern(rec.Class), received: rec.Received, categories: rec.Categories,
		}
		copy(it.search[:], rec.Search)
		it.at = &stay{it: it, in: f, n: rec.Stay, born: rec.Born, seq: rec.Seq, back: rec.Back}
		f.log = append(f.log, stayChange{rec.Seq, it.at})
		f.count++
		m.items[num], m.byFile[rec.File] = it, it
	}
	for _, rec := range stays {
		f := m.folders[rec.Folder]
		if f == nil || rec.Seq <= f.floor {
			continue
		}
		it := m.items[rec.Item]
		if it == nil {
			if it = lost[rec.Item]; it == nil {
				it = &mailItem{num: rec.Item}
				lost[rec.Item] = it
			}
		}
		st := &stay{it: it, in: f, n: rec.Stay, born: rec.Born, seq: rec.Seq, gone: true, moved: rec.Moved}
		f.log = append(f.log, stayChange{rec.Seq, st})
		f.left++
	}
	for _, f := range m.folders {
		slices.SortFunc(f.log, func(a, b stayChange) int { return compareSeq(a.seq, b.seq) })
	}
}

func compareSeq(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (f *mailFolder) record() *folderRecord {
	rec := &folderRecord{Num: f.num, Seq: f.seq}
	if f.gone {
		return rec
	}
	rec.Dir, rec.Name, rec.Well, rec.Kind, rec.Hidden, rec.Floor = f.dirID, f.name, f.well, f.kind, f.hidden, f.floor
	if f.parent != nil {
		rec.Parent = f.parent.num
	}
	return rec
}

func (it *mailItem) record() *itemRecord {
	rec := &itemRecord{Num: it.num}
	if it.at == nil {
		return rec
	}
	*rec = itemRecord{
		Num: it.num, File: it.fileID, Folder: it.at.in.num, Stay: it.at.n, Stays: it.stays, Born: it.at.born, Seq: it.at.seq, Back: it.at.back,
		Flags: it.flags, Created: it.created, Changed: it.changed, Size: it.size, Mtime: it.mtime, CTag: it.ctag, Known: it.known,
		Given: it.given, Class: it.class, Received: it.received, Categories: it.categories,
	}
	if it.search != [16]byte{} {
		rec.Search = it.search[:]
	}
	return rec
}

func (st *stay) record() *stayRecord {
	return &stayRecord{Item: st.it.num, Stay: st.n, Folder: st.in.num, Born: st.born, Seq: st.seq, Moved: st.moved}
}

func (c folderChange) record() *leftRecord {
	return &leftRecord{Folder: c.f.num, From: c.was, Seq: c.seq}
}

// flush writes what changed.
func (m *mailbox) flush() error {
	j := &m.journal
	n := len(j.folders) + len(j.items) + len(j.stays) + len(j.left)
	if n == 0 {
		return nil
	}
	stand := len(m.folders) + len(m.items)
	for _, f := range m.folders {
		stand += f.left
	}
	if j.lines+n > 4*stand+1000 {
		return m.compact()
	}
	w := bufio.NewWriterSize(j.file, 64<<10)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	var err error
	write := func(rec mailRecord) {
		if err == nil {
			err = enc.Encode(rec)
		}
	}
	for f := range j.folders {
		write(mailRecord{Folder: f.record()})
	}
	for it := range j.items {
		write(mailRecord{Item: it.record()})
	}
	for _, st := range j.stays {
		write(mailRecord{Stay: st.record()})
	}
	for _, c := range j.left {
		write(mailRecord{Left: c.record()})
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write journal of mailbox: %w", err)
	}
	j.lines += n
	j.clean()
	return nil
}

// keepFolders is how many changes of folders are remembered at least.
const keepFolders = 5_000

// compact writes the journal anew, and lets go of the oldest folders that were
// deleted when there are many.
func (m *mailbox) compact() error {
	m.log = slices.DeleteFunc(m.log, func(c folderChange) bool { return c.from == nil && (c.f.gone || c.f.seq != c.seq) })
	if n := len(m.log) - len(m.folders) - keepFolders; n > 0 {
		m.log = slices.DeleteFunc(m.log, func(c folderChange) bool {
			if c.from == nil || n == 0 {
				return false
			}
			n--
			m.floor = max(m.floor, c.seq)
			return true
		})
	}
	name := m.journalPath()
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write journal of mailbox anew: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	lines := -1
	write := func(rec any) {
		if err == nil {
			err = enc.Encode(rec)
			lines++
		}
	}
	write(mailHeader{mailJournalVersion, m.generation, m.seq, m.last, m.floor})
	for _, f := range m.folders {
		if f.num > 1 {
			write(mailRecord{Folder: f.record()})
		}
	}
	for _, c := range m.log {
		if c.from != nil {
			write(mailRecord{Left: c.record()})
		}
	}
	for _, f := range m.folders {
		f.tidy()
		for _, c := range f.log {
			if c.st.gone {
				write(mailRecord{Stay: c.st.record()})
			}
		}
	}
	for _, it := range m.items {
		write(mailRecord{Item: it.record()})
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write journal of mailbox anew: %w", err), f.Close())
	}
	m.journal.close()
	m.journal.file, m.journal.lines = f, lines
	m.journal.clean()
	return nil
}
