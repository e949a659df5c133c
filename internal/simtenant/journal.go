package simtenant

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// A drive's journal is a file of JSON lines. The first is a header; each other
// is an item as it was after a change, and the last of an id holds. Lines are
// only ever added, until there are many more than items: then the journal is
// written anew.

const journalVersion = 1

type header struct {
	Version    int    `json:"holdfastDrive"`
	Generation string `json:"generation"`
	Seq        int64  `json:"seq"`
	Floor      int64  `json:"floor"`
	Last       int32  `json:"last,omitempty"` // list item's id
}

type record struct {
	Seq     int64  `json:"s"`
	ID      string `json:"i"`
	Parent  string `json:"p,omitempty"`
	Name    string `json:"n,omitempty"`
	Kind    kind   `json:"k,omitempty"` // none is a tombstone
	Was     kind   `json:"g,omitempty"` // what a tombstone is of, as far as it is known
	Size    int64  `json:"z,omitempty"`
	Mtime   moment `json:"m,omitzero"`
	Ctime   int64  `json:"c,omitempty"`
	Dev     uint64 `json:"v,omitempty"`
	Ino     uint64 `json:"o,omitempty"`
	Birth   int64  `json:"b,omitempty"`
	Created moment `json:"a,omitzero"`
	Noticed int64  `json:"w,omitempty"`
	Hash    string `json:"q,omitempty"`
	Strong  []byte `json:"h,omitempty"`
	ETag    int32  `json:"e,omitempty"`
	CTag    int32  `json:"t,omitempty"`
	Stale   bool   `json:"x,omitempty"`
	Unsure  bool   `json:"u,omitempty"`
	Denied  bool   `json:"d,omitempty"`
	Kept    bool   `json:"f,omitempty"`

	Sharing  *sharing  `json:"l,omitempty"`
	Versions []version `json:"y,omitempty"`
	Holder   string    `json:"r,omitempty"`
	Binned   bool      `json:"j,omitempty"`
	Made     int32     `json:"gn,omitempty"`
	Num      int32     `json:"nu,omitempty"`
	Columns  object    `json:"fl,omitempty"`
	Maker    string    `json:"mk,omitempty"`
}

func (d *drive) journalPath() string {
	// Ids differ only in case at times, and some file systems do not tell.
	return filepath.Join(d.svc.cfg.State, "drives", guidText(d.place.list())+".jsonl")
}

// load reads the journal. A line torn by a crash ends it; a journal that makes
// no sense is put aside, and the drive begins a new life with new ids.
func (d *drive) load() error {
	name := d.journalPath()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return d.begin()
	}
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	good, err := d.replay(f)
	if unread, ok := errors.AsType[*fs.PathError](err); ok {
		return errors.Join(fmt.Errorf("read journal: %w", unread), f.Close())
	}
	if err != nil {
		f.Close()
		d.svc.log.Error("a drive's journal is damaged; its items get new ids", "drive", d.place.folder(), "journal", name, "err", err)
		if err := os.Rename(name, name+".damaged"); err != nil {
			return fmt.Errorf("put the damaged journal aside: %w", err)
		}
		return d.begin()
	}
	d.journal = f
	if st, err := f.Stat(); err != nil || st.Size() > good {
		if err := errors.Join(err, f.Truncate(good)); err != nil {
			return errors.Join(fmt.Errorf("cut the torn end off the journal: %w", err), d.close())
		}
	}
	d.loaded = true
	return nil
}

// begin makes a drive of which nothing is known.
func (d *drive) begin() error {
	top, err := d.openFolder(".")
	if vanished(err) {
		return d.place.noDrive()
	}
	if err != nil {
		return fmt.Errorf("open drive folder: %w", err)
	}
	defer top.Close()
	st, err := statOf(top)
	if err != nil {
		return fmt.Errorf("look at drive folder: %w", err)
	}
	d.generation = backup.NewID[string]()
	d.seq, d.floor, d.dead, d.log, d.dirty = 0, 0, 0, nil, nil
	d.numbers, d.last = nil, 0
	d.items = map[string]*item{}
	d.root = d.create(nil, "", st)
	d.root.name = "root"
	if err := d.beginMade(); err != nil {
		d.unload()
		return err
	}
	if err := d.compact(); err != nil {
		d.unload()
		return err
	}
	d.loaded = true
	return nil
}

// replay builds the state from a journal. It returns how much of it is whole.
func (d *drive) replay(journal io.Reader) (good int64, err error) {
	d.items, d.log, d.dirty, d.root, d.dead, d.lines = map[string]*item{}, nil, nil, nil, 0, 0
	in := bufio.NewReaderSize(journal, 64<<10)
	// line returns a line without its end; nil where no whole one is left.
	line := func() ([]byte, error) {
		l, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			var rest []byte
			start := bytes.Clone(l)
			rest, err = in.ReadBytes('\n')
			l = append(start, rest...)
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return l[:len(l)-1], nil
	}
	first, err := line()
	if err != nil {
		return 0, err
	}
	var h header
	if err := json.Unmarshal(first, &h); err != nil {
		return 0, fmt.Errorf("header: %w", err)
	}
	if h.Version != journalVersion || h.Generation == "" {
		return 0, fmt.Errorf("header: version %d is not known", h.Version)
	}
	d.generation, d.seq, d.floor, d.last, d.numbers = h.Generation, h.Seq, h.Floor, h.Last, nil
	d.populate()
	good += int64(len(first)) + 1
	var rec record
	for {
		l, err := line()
		if err != nil {
			return 0, err
		}
		if l == nil {
			break
		}
		rec = record{}
		if !jsonscan.Scan(l, &rec) {
			rec = record{}
			if err := json.Unmarshal(l, &rec); err != nil {
				if _, end := in.Peek(1); errors.Is(end, io.EOF) {
					break // torn, though it ends like a line
				}
				return 0, fmt.Errorf("line %d: %w", d.lines+2, err)
			}
		}
		it := rec.item()
		if was := d.items[rec.ID]; was != nil {
			it.native = was.native
		}
		d.items[rec.ID] = it
		d.seq, d.last = max(d.seq, rec.Seq), max(d.last, rec.Num)
		good += int64(len(l)) + 1
		d.lines++
	}
	// If the machine crashed, the journal's end may be lost. What is found anew
	// must not look, to a cursor from before, like what it has seen.
	d.seq += 1 << 20
	return good, d.link()
}

// link puts items that name the folder that they are in where they belong.
func (d *drive) link() error {
	d.log = make([]change, 0, len(d.items))
	for _, it := range d.items {
		d.log = append(d.log, change{it.seq, it})
		switch {
		case it.gone:
			d.dead++
		case it.from != "":
		case d.root != nil || it.kind != isFolder:
			return errors.New("there are two roots")
		default:
			d.root = it
		}
	}
	if d.root == nil {
		return errors.New("there is no root")
	}
	slices.SortFunc(d.log, func(a, b change) int { return cmp.Compare(a.seq, b.seq) })
	for _, c := range d.log {
		parent := d.items[c.it.from]
		if !c.it.gone && parent != nil && parent.kind == isFolder && !parent.gone && parent.children[c.it.name] == nil {
			c.it.parent = parent
			parent.children[c.it.name] = c.it
			d.number(c.it)
		}
	}
	// A crash may have lost a parent, or what made room for a name. What has no
	// place is gone; the next scan finds what is really there.
	d.serial++
	weigh(d.root, d.serial)
	for _, c := range d.log[:len(d.log):len(d.log)] {
		switch it := c.it; {
		case it.gone:
		case it.mark == d.serial:
			it.from = ""
		default:
			it.children, it.parent, it.gone = nil, nil, true
			d.dead++
			d.touch(it)
		}
	}
	return nil
}

// weigh sums up sizes from below, and marks what it meets.
func weigh(it *item, mark uint64) int64 {
	it.mark = mark
	for _, child := range it.children {
		it.size += weigh(child, mark)
	}
	return it.size
}

func (rec record) item() *item {
	it := &item{
		id: rec.ID, from: rec.Parent, name: rec.Name, kind: rec.Kind, inode: inode{rec.Dev, rec.Ino, rec.Birth},
		mtime: rec.Mtime, ctime: rec.Ctime, created: rec.Created, noticed: rec.Noticed, hash: rec.Hash,
		etag: rec.ETag, ctag: rec.CTag, seq: rec.Seq, stale: rec.Stale, unsure: rec.Unsure, denied: rec.Denied, kept: rec.Kept,
		sharing: rec.Sharing, made: rec.Made, num: rec.Num,
	}
	if len(rec.Columns) > 0 || len(rec.Versions) > 0 || rec.Holder != "" || rec.Maker != "" {
		it.extras = &extras{rec.Columns, rec.Versions, rec.Holder, rec.Maker}
	}
	copy(it.strong[:], rec.Strong)
	switch rec.Kind {
	case isFolder:
		it.children = map[string]*item{}
	case isFile:
		it.size = rec.Size
	default:
		it.kind, it.gone, it.binned, it.size = rec.Was, true, rec.Binned, rec.Size
	}
	return it
}

func (d *drive) record(it *item) record {
	rec := record{Seq: it.seq, ID: it.id, Noticed: it.noticed, Num: it.num}
	switch {
	case it.gone && !it.binned:
		rec.Parent, rec.Was = it.from, it.kind
		return rec
	case it.gone: // what it was will be wanted when it is restored
		rec.Parent, rec.Was, rec.Binned = it.from, it.kind, true
	default:
		rec.Kind = it.kind
		if it.parent != nil {
			rec.Parent = it.parent.id
		}
	}
	rec.Name = it.name
	rec.Mtime, rec.Ctime, rec.Created = it.mtime, it.ctime, it.created
	rec.Dev, rec.Ino, rec.Birth = it.inode.dev, it.inode.ino, it.inode.birth
	rec.ETag, rec.CTag, rec.Kept, rec.Sharing, rec.Made = it.etag, it.ctag, it.kept, it.sharing, it.made
	x := it.extra()
	rec.Holder, rec.Versions, rec.Columns, rec.Maker = x.holder, x.versions, x.columns, x.maker
	if it.gone {
		rec.Size = it.size // of a folder too: what was in it is no longer counted up
	}
	if it.kind == isFile {
		rec.Size, rec.Hash, rec.Stale, rec.Unsure, rec.Denied = it.size, it.hash, it.stale, it.unsure, it.denied
		if it.ctag > 0 {
			rec.Strong = it.strong[:]
		}
	}
	return rec
}

// line appends rec to b as a line of the journal. It is what encoding/json would
// write, in a tenth of the time: a large drive has a million of them.
func (rec record) line(b []byte) []byte {
	text := func(key, s string) {
		if s == "" {
			return
		}
		b = append(b, `,"`+key+`":`...)
		if plainText(s) {
			b = append(append(append(b, '"'), s...), '"')
			return
		}
		quoted, _ := json.Marshal(s) // a string can always be
		b = append(b, quoted...)
	}
	number := func(key string, n int64) {
		if n != 0 {
			b = strconv.AppendInt(append(b, `,"`+key+`":`...), n, 10)
		}
	}
	unsigned := func(key string, n uint64) {
		if n != 0 {
			b = strconv.AppendUint(append(b, `,"`+key+`":`...), n, 10)
		}
	}
	at := func(key string, m moment) {
		if m != (moment{}) {
			b = m.append(append(b, `,"`+key+`":`...))
		}
	}
	is := func(key string, yes bool) {
		if yes {
			b = append(b, `,"`+key+`":true`...)
		}
	}
	seldom := func(key string, v any, there bool) {
		if there {
			data, _ := json.Marshal(v) // plain texts and numbers can always be
			b = append(append(b, `,"`+key+`":`...), data...)
		}
	}
	b = strconv.AppendInt(append(b, `{"s":`...), rec.Seq, 10)
	b = append(append(append(b, `,"i":"`...), rec.ID...), '"')
	text("p", rec.Parent)
	text("n", rec.Name)
	number("k", int64(rec.Kind))
	number("g", int64(rec.Was))
	number("z", rec.Size)
	at("m", rec.Mtime)
	number("c", rec.Ctime)
	unsigned("v", rec.Dev)
	unsigned("o", rec.Ino)
	number("b", rec.Birth)
	at("a", rec.Created)
	number("w", rec.Noticed)
	text("q", rec.Hash)
	if len(rec.Strong) > 0 {
		b = append(b, `,"h":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, rec.Strong), '"')
	}
	number("e", int64(rec.ETag))
	number("t", int64(rec.CTag))
	is("x", rec.Stale)
	is("u", rec.Unsure)
	is("d", rec.Denied)
	is("f", rec.Kept)
	seldom("l", rec.Sharing, rec.Sharing != nil)
	seldom("y", rec.Versions, len(rec.Versions) > 0)
	text("r", rec.Holder)
	text("mk", rec.Maker)
	is("j", rec.Binned)
	number("gn", int64(rec.Made))
	number("nu", int64(rec.Num))
	seldom("fl", rec.Columns, len(rec.Columns) > 0)
	return append(b, '}', '\n')
}

// plainText reports whether s stands for itself between the quotes of JSON.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// Scan reads a line as encoding/json would, in a fifth of the time.
func (rec *record) Scan(s *jsonscan.Scanner) {
	number := func() int64 {
		n, err := strconv.ParseInt(string(s.Raw()), 10, 64)
		if err != nil {
			s.Off()
		}
		return n
	}
	small := func() int32 {
		n := number()
		if n != int64(int32(n)) {
			s.Off()
		}
		return int32(n)
	}
	what := func() kind {
		n := number()
		if n != int64(kind(n)) {
			s.Off()
		}
		return kind(n)
	}
	unsigned := func() uint64 {
		n, err := strconv.ParseUint(string(s.Raw()), 10, 64)
		if err != nil {
			s.Off()
		}
		return n
	}
	at := func() moment {
		n := number() // a list of two is unusual
		m := moment{n / 1e9, int32(n % 1e9)}
		if m.nsec < 0 {
			m.sec, m.nsec = m.sec-1, m.nsec+1e9
		}
		return m
	}
	is := func() bool {
		word := string(s.Raw())
		if word != "true" && word != "false" {
			s.Off()
		}
		return word == "true"
	}
	seldom := func(to any) {
		if raw := s.Raw(); raw == nil || json.Unmarshal(raw, to) != nil {
			s.Off()
		}
	}
	s.Object(func(key []byte) {
		switch string(key) {
		case "s":
			rec.Seq = number()
		case "i":
			s.Text(&rec.ID)
		case "p":
			s.Text(&rec.Parent)
		case "n":
			s.Text(&rec.Name)
		case "k":
			rec.Kind = what()
		case "g":
			rec.Was = what()
		case "z":
			rec.Size = number()
		case "m":
			rec.Mtime = at()
		case "c":
			rec.Ctime = number()
		case "v":
			rec.Dev = unsigned()
		case "o":
			rec.Ino = unsigned()
		case "b":
			rec.Birth = number()
		case "a":
			rec.Created = at()
		case "w":
			rec.Noticed = number()
		case "q":
			s.Text(&rec.Hash)
		case "h":
			seldom(&rec.Strong)
		case "e":
			rec.ETag = small()
		case "t":
			rec.CTag = small()
		case "x":
			rec.Stale = is()
		case "u":
			rec.Unsure = is()
		case "d":
			rec.Denied = is()
		case "f":
			rec.Kept = is()
		case "l":
			seldom(&rec.Sharing)
		case "y":
			seldom(&rec.Versions)
		case "r":
			s.Text(&rec.Holder)
		case "mk":
			s.Text(&rec.Maker)
		case "j":
			rec.Binned = is()
		case "gn":
			rec.Made = small()
		case "nu":
			rec.Num = small()
		case "fl":
			seldom(&rec.Columns)
		default:
			s.Off()
		}
	})
}

// flush writes what changed. A cursor that a client holds afterwards is good
// after a crash of the process.
func (d *drive) flush() error {
	if len(d.dirty) == 0 {
		return nil
	}
	if d.lines+len(d.dirty) > 4*len(d.items)+1000 {
		return d.compact()
	}
	// Lines go out as they are made: a first look at a large drive would fill
	// the memory otherwise.
	w := bufio.NewWriterSize(d.journal, 64<<10)
	for _, it := range d.dirty {
		w.Write(d.record(it).line(w.AvailableBuffer()))
		it.dirty = false
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	d.lines += len(d.dirty)
	d.dirty = d.dirty[:0]
	return nil
}

// keepTombstones is how many deletions are remembered at least, so that old
// cursors stay good.
const keepTombstones = 10_000

// compact writes the journal anew. Of the tombstones, the oldest are let go when
// there are more than live items; cursors from before them must start anew.
func (d *drive) compact() error {
	if most := max(keepTombstones, len(d.items)-d.dead); d.dead > most {
		var dead []*item
		for _, it := range d.items {
			if it.gone && !it.native { // else it would be made again
				dead = append(dead, it)
			}
		}
		slices.SortFunc(dead, func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
		for _, it := range dead[:max(0, len(dead)-most/2)] {
			d.floor = max(d.floor, it.seq)
			delete(d.items, it.id)
			d.dropVersions(it)
			it.seq = -1 // its entry in the log no longer stands
			d.dead--
		}
	}
	d.log = slices.DeleteFunc(d.log, func(c change) bool { return c.it.seq != c.seq })

	name := d.journalPath()
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write journal anew: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	lines := 0
	err = enc.Encode(header{journalVersion, d.generation, d.seq, d.floor, d.last})
	for _, c := range d.log {
		if err != nil {
			break
		}
		if c.it.pristine {
			continue
		}
		lines++
		_, err = w.Write(d.record(c.it).line(w.AvailableBuffer()))
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write journal anew: %w", err), f.Close())
	}
	d.closeJournal() // not the mailbox, which is in use
	d.journal, d.lines = f, lines
	for _, it := range d.dirty {
		it.dirty = false
	}
	d.dirty = d.dirty[:0]
	return nil
}
