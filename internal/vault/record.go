package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// A record is an entry of a directory as it is stored: the members of kopia's
// snapshot.DirEntry, and after them ours. No name of ours may equal one of
// kopia's in any case, for encoding/json would take one for the other.
type record struct {
	Name     string               `json:"name"`
	Type     string               `json:"type"` // fileType or dirType
	Mode     string               `json:"mode"`
	Size     int64                `json:"size,omitempty"`
	Modified time.Time            `json:"mtime,omitzero"`
	Object   string               `json:"obj"`
	Summary  *fs.DirectorySummary `json:"summ,omitempty"` // of directories

	ID      backup.ItemID `json:"id,omitempty"` // of what is in files/, and of files/ itself
	Created time.Time     `json:"btime,omitzero"`
	CTag    string        `json:"ctag,omitempty"`
	// Version is how the item's CTag ends, where all before that follows from its ID, which
	// spells the GUID that the tag has too: as most files' do, of a million items of a drive.
	Version string `json:"version,omitempty"`
	Hash    string `json:"hash,omitempty"`
	Stored  string `json:"stored,omitempty"`
	// TrueName is the item's name where Name had to differ: because two
	// siblings would share it, or a file system could not bear it.
	TrueName []byte `json:"trueName,omitempty"`
	// TrueTime is Modified where that had to differ, because kopia counts the
	// nanoseconds since 1970 and cannot tell of other centuries.
	TrueTime time.Time `json:"trueTime,omitzero"`
	// Checkpoint marks what a backup left that did not come to its end, and a day
	// with such a thing in it.
	Checkpoint bool `json:"checkpoint,omitempty"`
}

const (
	fileType = "f"
	dirType  = "d"
	fileMode = "0644"
	dirMode  = "0755"
)

// newRecord returns the record of e, but for a folder's object and summary.
func newRecord(e Entry) record {
	r := record{
		Type: fileType, Mode: fileMode, Size: e.Size, Object: e.Content,
		ID: e.ID, Created: utc(e.Created), Hash: e.Hash, Stored: e.Stored,
	}
	r.setTag(e.CTag)
	r.setModified(utc(e.Modified))
	if e.Kind == backup.Folder {
		r.Type, r.Mode, r.Size, r.Object = dirType, dirMode, 0, ""
	}
	r.setName(e.Name, safeName(e.Name))
	return r
}

// utc returns t as it will be read again: in UTC, without a monotonic clock. A
// year that JSON has no form for is no time.
func utc(t time.Time) time.Time {
	t = t.UTC().Round(0)
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// The first and the last second that kopia can tell of.
var (
	kopiaFirst = time.Date(1677, 9, 21, 0, 12, 44, 0, time.UTC)
	kopiaLast  = time.Date(2262, 4, 11, 23, 47, 16, 0, time.UTC)
)

// setModified dates r, keeping the item's own time where kopia could not bear it.
func (r *record) setModified(own time.Time) {
	r.Modified, r.TrueTime = own, time.Time{}
	switch {
	case own.IsZero():
	case own.Before(kopiaFirst):
		r.Modified, r.TrueTime = kopiaFirst, own
	case own.After(kopiaLast):
		r.Modified, r.TrueTime = kopiaLast, own
	}
}

func (r *record) trueTime() time.Time {
	if !r.TrueTime.IsZero() {
		return r.TrueTime
	}
	return r.Modified
}

// setTag notes the item's tag, which must have its ID.
func (r *record) setTag(tag string) {
	r.CTag, r.Version = tag, ""
	if own, ok := ownTag(r.ID); ok {
		if version, ok := strings.CutPrefix(tag, string(own[:])); ok && len(version) > 1 && version[len(version)-1] == '"' {
			r.CTag, r.Version = "", version[:len(version)-1]
		}
	}
}

func (r *record) tag() string {
	if r.Version != "" {
		if own, ok := ownTag(r.ID); ok {
			return string(own[:]) + r.Version + `"`
		}
	}
	return r.CTag
}

func (r *record) sameTag(s *record) bool {
	return r.CTag == s.CTag && r.Version == s.Version && r.ID == s.ID || r.tag() == s.tag()
}

// usualTag is what the tag of a file's content is like in SharePoint, up to its version.
const usualTag = `"c:{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx},`

// guidOrder is where in a tag each byte of a GUID is, in the order of those that an ID spells.
var guidOrder = [16]int{10, 8, 6, 4, 15, 13, 20, 18, 23, 25, 28, 30, 32, 34, 36, 38}

// ownTag returns how the tag of a file's content begins in SharePoint: with the GUID that
// its ID spells, of "01" and, in base 32, four bytes of the drive's and those of the GUID.
func ownTag(id backup.ItemID) (tag [len(usualTag)]byte, ok bool) {
	var b [20]byte
	if len(id) != 34 || id[:2] != "01" {
		return tag, false
	}
	if n, err := base32.StdEncoding.Decode(b[:], []byte(id[2:])); err != nil || n != len(b) {
		return tag, false
	}
	copy(tag[:], usualTag)
	for i, at := range guidOrder {
		tag[at], tag[at+1] = upperHex[b[4+i]>>4], upperHex[b[4+i]&15]
	}
	return tag, true
}

const upperHex = "0123456789ABCDEF"

// entry returns the record as an item below parent.
func (r *record) entry(parent backup.ItemID) Entry {
	e := Entry{
		ID: r.ID, Parent: parent, Name: r.trueName(), Kind: backup.File, Size: r.Size,
		Created: r.Created, Modified: r.trueTime(), CTag: r.tag(), Hash: r.Hash, Stored: r.Stored, Content: r.Object,
	}
	if r.isDir() {
		e.Kind, e.Size, e.Content = backup.Folder, 0, ""
	}
	return e
}

func (r *record) isDir() bool { return r.Type == dirType }

func (r *record) trueName() string {
	if r.TrueName != nil {
		return string(r.TrueName)
	}
	return r.Name
}

// setName names r as stored, keeping the item's own name where it differs.
func (r *record) setName(own, stored string) {
	r.Name, r.TrueName = stored, nil
	if own != stored {
		r.TrueName = []byte(own)
	}
}

// sameItem reports whether two records tell the same of their item; what is
// below a folder does not count.
func (r *record) sameItem(s *record) bool {
	return r.ID == s.ID && r.Type == s.Type && r.trueName() == s.trueName() &&
		r.trueTime().Equal(s.trueTime()) && r.Created.Equal(s.Created) && r.sameTag(s) && r.Hash == s.Hash && r.Stored == s.Stored &&
		(r.isDir() || r.Object == s.Object && r.Size == s.Size)
}

// safeName returns a name as near to own as every file system that kopia may
// restore to can bear.
func safeName(own string) string {
	if own == "" || own == "." || own == ".." {
		return "_" + own
	}
	if strings.ContainsAny(own, "/\x00") {
		own = strings.NewReplacer("/", "_", "\x00", "_").Replace(own)
	}
	if !utf8.ValidString(own) {
		own = strings.ToValidUTF8(own, "_")
	}
	return own
}

// A dir is a directory, read.
type dir struct {
	object  string
	folder  backup.ItemID // which folder it was read for
	records []record
	byID    map[backup.ItemID]int // made when first asked for
}

// find returns the record of id, or nil.
func (d *dir) find(id backup.ItemID) *record {
	if d.byID == nil {
		d.byID = make(map[backup.ItemID]int, len(d.records))
		for i := range d.records {
			d.byID[d.records[i].ID] = i
		}
	}
	if i, ok := d.byID[id]; ok {
		return &d.records[i]
	}
	return nil
}

// named returns the record stored under name, or nil.
func (d *dir) named(name string) *record {
	for i := range d.records {
		if d.records[i].Name == name {
			return &d.records[i]
		}
	}
	return nil
}

// dirStream marks a kopia directory.
const dirStream = "kopia:directory"

type dirManifest struct {
	Stream  string               `json:"stream"`
	Entries []record             `json:"entries"`
	Summary *fs.DirectorySummary `json:"summary"`
}

// recordNames are the members of records.
var recordNames = []string{
	"name", "type", "mode", "size", "mtime", "obj", "summ", "id", "btime", "ctag", "version", "hash", "stored", "trueName", "trueTime", "checkpoint",
}

// Scan reads a record as encoding/json does.
func (r *record) Scan(s *jsonscan.Scanner) {
	at := func(t *time.Time) {
		if t.UnmarshalJSON(s.Raw()) != nil {
			s.Off()
		}
	}
	other := func(v any) { // what few records have
		if json.Unmarshal(s.Raw(), v) != nil {
			s.Off()
		}
	}
	s.Object(func(key []byte) {
		switch string(key) {
		case "name":
			s.Text(&r.Name)
		case "type":
			s.Word(&r.Type, fileType, dirType)
		case "mode":
			s.Word(&r.Mode, fileMode, dirMode)
		case "size":
			if s.Null() {
				break
			}
			var err error
			if r.Size, err = strconv.ParseInt(string(s.Raw()), 10, 64); err != nil {
				s.Off()
			}
		case "mtime":
			at(&r.Modified)
		case "obj":
			s.Text(&r.Object)
		case "summ":
			other(&r.Summary)
		case "id":
			s.Text((*string)(&r.ID))
		case "btime":
			at(&r.Created)
		case "ctag":
			s.Text(&r.CTag)
		case "version":
			s.Text(&r.Version)
		case "hash":
			s.Text(&r.Hash)
		case "stored":
			s.Text(&r.Stored)
		case "trueName":
			other(&r.TrueName)
		case "trueTime":
			at(&r.TrueTime)
		case "checkpoint":
			other(&r.Checkpoint)
		default:
			s.Other(key, recordNames)
		}
	})
}

var dirNames = []string{"stream", "entries", "summary"}

// Scan reads a directory as encoding/json does.
func (m *dirManifest) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		switch string(key) {
		case "stream":
			s.Text(&m.Stream)
		case "entries":
			if s.Null() {
				break
			}
			if m.Entries != nil {
				s.Off()
			}
			m.Entries = jsonscan.Elements(s, func(r *record) { r.Scan(s) })
		case "summary":
			if json.Unmarshal(s.Raw(), &m.Summary) != nil {
				s.Off()
			}
		default:
			s.Other(key, dirNames)
		}
	})
}

// readDir reads a directory.
func (v *Vault) readDir(ctx context.Context, oid string) (*dir, error) {
	r, err := v.openObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	return r.dir()
}

// dir returns the directory that an object is, all of it.
func (r *objectReader) dir() (*dir, error) {
	b, err := r.whole()
	if err != nil {
		return nil, err
	}
	var m dirManifest
	if !jsonscan.ScanTogether(b, &m) {
		m = dirManifest{}
		err = json.Unmarshal(b, &m)
	}
	if err != nil || m.Stream != dirStream {
		return nil, &DamageError{Object: r.oid, Err: errors.New("it is not a directory")}
	}
	return &dir{object: r.oid, records: m.Entries}, nil
}

// differing reads two directories but for the records that are written the same in both,
// of which nothing is said: to look for a difference that is how most of them are. They are
// nil if one of the two is too long for that.
func (v *Vault) differing(ctx context.Context, a, b string) (was, is *dir, err error) {
	var olds, news [][]byte
	k, _ := ctx.Value(keeping{}).(*keepers)
	if k == nil || !k.dirs.has(a) && !k.dirs.has(b) {
		if olds, err = v.readRaw(ctx, a); err == nil && olds != nil {
			news, err = v.readRaw(ctx, b)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if olds == nil || news == nil {
		one, err := v.lookList(ctx, a)
		if err != nil || one.pieces != nil {
			return nil, nil, err
		}
		other, err := v.lookList(ctx, b)
		return one.dir, other.dir, err
	}
	was, is = &dir{object: a}, &dir{object: b}
	// Records are in order of their kinds and names: see writeDir. Were they not, more of
	// them would be read, and none passed over but beside its like.
	var one, other *record // that come next, once they were read
	for len(olds) > 0 && len(news) > 0 {
		if one == nil && other == nil && bytes.Equal(olds[0], news[0]) {
			olds, news = olds[1:], news[1:]
			continue
		}
		if one == nil {
			if one, err = was.read(olds[0]); err != nil {
				return nil, nil, err
			}
		}
		if other == nil {
			if other, err = is.read(news[0]); err != nil {
				return nil, nil, err
			}
		}
		order := byName(*one, *other)
		if order <= 0 {
			one, olds = nil, olds[1:]
		}
		if order >= 0 {
			other, news = nil, news[1:]
		}
	}
	if one != nil {
		olds = olds[1:] // which was read
	}
	if other != nil {
		news = news[1:]
	}
	for _, raw := range olds {
		if _, err := was.read(raw); err != nil {
			return nil, nil, err
		}
	}
	for _, raw := range news {
		if _, err := is.read(raw); err != nil {
			return nil, nil, err
		}
	}
	return was, is, nil
}

// read adds a record as it is written to what was read of a directory.
func (d *dir) read(raw []byte) (*record, error) {
	d.records = append(d.records, record{})
	r := &d.records[len(d.records)-1]
	if jsonscan.ScanTogether(raw, r) {
		return r, nil
	}
	*r = record{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, &DamageError{Object: d.object, Err: fmt.Errorf("it is not a directory: %w", err)}
	}
	return r, nil
}

// readRaw reads a directory's records as they are written; nil if it is long, or not written
// as usual.
func (v *Vault) readRaw(ctx context.Context, oid string) ([][]byte, error) {
	r, err := v.openObject(ctx, oid)
	if err != nil || len(r.pieces) > 1 {
		return nil, err
	}
	b, err := r.whole()
	if err != nil {
		return nil, err
	}
	m := rawManifest{}
	if !jsonscan.Scan(b, &m) || m.stream != dirStream {
		return nil, nil
	}
	return m.entries, nil
}

// A rawManifest is a directory whose records are as they are written.
type rawManifest struct {
	stream  string
	entries [][]byte
}

func (m *rawManifest) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		switch string(key) {
		case "stream":
			s.Text(&m.stream)
		case "entries":
			if m.entries != nil {
				s.Off()
			}
			m.entries = jsonscan.Elements(s, func(raw *[]byte) { *raw = s.Raw() })
		case "summary":
			s.Skip()
		default:
			s.Other(key, dirNames)
		}
	})
}

// readObject reads a small object whole.
func (v *Vault) readObject(ctx context.Context, oid string) ([]byte, error) {
	r, err := v.openObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	return r.whole()
}

// Contents are named with one of these prefixes, which puts them into kopia's
// packs of metadata, apart from files' contents.
const (
	dirPrefix  content.IDPrefix = "k" // kopia's own for directories
	metaPrefix content.IDPrefix = "i"
)

// writeObject writes a small object of ours.
func (v *Vault) writeObject(ctx context.Context, w repo.DirectRepositoryWriter, prefix content.IDPrefix, description string, b []byte) (string, error) {
	return v.writeObjectBy(ctx, w, prefix, description, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// writeObjectBy is writeObject of what a function writes.
func (v *Vault) writeObjectBy(ctx context.Context, w repo.DirectRepositoryWriter, prefix content.IDPrefix, description string, write func(io.Writer) error) (string, error) {
	ow := v.newWriter(ctx, w, object.WriterOptions{
		Description: description, Prefix: prefix,
		Compressor: compressed, MetadataCompressor: compressed,
	})
	defer ow.Close()
	if err := write(ow); err != nil {
		return "", storageError(err)
	}
	id, err := ow.Result()
	if err != nil {
		return "", storageError(err)
	}
	return id.String(), v.wrote(ctx)
}

func writeBytes(ctx context.Context, w repo.RepositoryWriter, opt object.WriterOptions, b []byte) (object.ID, error) {
	ow := w.NewObjectWriter(ctx, opt)
	defer ow.Close()
	if _, err := ow.Write(b); err != nil {
		return object.EmptyID, err
	}
	return ow.Result()
}

// writeDir writes records, in any order, as a directory that is itself a
// directory entry named name.
func (v *Vault) writeDir(ctx context.Context, w repo.DirectRepositoryWriter, name string, modified time.Time, records []record) (record, error) {
	slices.SortFunc(records, byName)
	if records == nil {
		return v.writeList(ctx, w, name, modified, nil)
	}
	return v.writeList(ctx, w, name, modified, pointers(records))
}

// writeList is writeDir of records that come in order.
func (v *Vault) writeList(ctx context.Context, w repo.DirectRepositoryWriter, name string, modified time.Time, records iter.Seq2[*record, error]) (record, error) {
	var summary *fs.DirectorySummary
	oid, err := v.writeObjectBy(ctx, w, dirPrefix, "DIR:"+name, func(w io.Writer) (err error) {
		summary, err = encodeDir(w, records, modified)
		return err
	})
	if err != nil {
		return record{}, err
	}
	return record{Name: name, Type: dirType, Mode: dirMode, Modified: modified, Object: oid, Summary: summary}, nil
}

// pointers passes over records.
func pointers(records []record) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		for i := range records {
			if !yield(&records[i], nil) {
				return
			}
		}
	}
}

// byName is the order of records in a directory: "d" before "f", as kopia sorts.
func byName(a, b record) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
}

// rooms are for directories that are written.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// roomMost is how much of a directory is in memory before it is written.
const roomMost = 64 << 10

// encodeDir writes what json.Encoder would of a dirManifest, some records at a time: a
// folder may have very many. It returns the summary, which comes last; nil are no entries at
// all.
func encodeDir(to io.Writer, records iter.Seq2[*record, error], modified time.Time) (summary *fs.DirectorySummary, err error) {
	room := rooms.Get().(*[]byte)
	b := (*room)[:0]
	defer func() {
		if cap(b) <= 2*roomMost {
			*room = b
			rooms.Put(room)
		}
	}()
	b = append(b, `{"stream":"`+dirStream+`","entries":`...)
	summary = &fs.DirectorySummary{TotalDirCount: 1}
	n := 0
	if records == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for r, err := range records {
			if err != nil {
				return nil, err
			}
			if n > 0 {
				b = append(b, ',')
			}
			n++
			if b, err = r.appendJSON(b); err != nil {
				return nil, fmt.Errorf("encode a directory: %w", err)
			}
			addTo(summary, r)
			if len(b) >= roomMost {
				if _, err := to.Write(b); err != nil {
					return nil, err
				}
				b = b[:0]
			}
		}
		b = append(b, ']')
	}
	if n == 0 {
		summary.MaxModTime = kopiaTime(modified)
	}
	sum, err := json.Marshal(summary)
	if err != nil {
		return nil, fmt.Errorf("encode a directory: %w", err)
	}
	b = append(append(append(b, `,"summary":`...), sum...), "}\n"...)
	_, err = to.Write(b)
	return summary, err
}

// appendJSON appends a record as json.Marshal writes it, which a restore in place would
// otherwise spend much of its time with.
func (r *record) appendJSON(b []byte) ([]byte, error) {
	var failed error
	marshal := func(v any) {
		text, err := json.Marshal(v)
		failed = errors.Join(failed, err)
		b = append(b, text...)
	}
	text := func(member, value string) {
		b = append(b, member...)
		if !isUsual(value) {
			marshal(value)
			return
		}
		b = append(b, '"')
		for {
			i := strings.IndexAny(value, `"\`)
			if i < 0 {
				break
			}
			b = append(append(b, value[:i]...), '\\', value[i])
			value = value[i+1:]
		}
		b = append(append(b, value...), '"')
	}
	some := func(member, value string) {
		if value != "" {
			text(member, value)
		}
	}
	at := func(member string, t time.Time) {
		if !t.IsZero() {
			var err error
			b, err = t.AppendText(append(append(b, member...), '"'))
			failed = errors.Join(failed, err)
			b = append(b, '"')
		}
	}
	text(`{"name":`, r.Name)
	text(`,"type":`, r.Type)
	text(`,"mode":`, r.Mode)
	if r.Size != 0 {
		b = strconv.AppendInt(append(b, `,"size":`...), r.Size, 10)
	}
	at(`,"mtime":`, r.Modified)
	text(`,"obj":`, r.Object)
	if r.Summary != nil {
		b = append(b, `,"summ":`...)
		marshal(r.Summary)
	}
	some(`,"id":`, string(r.ID))
	at(`,"btime":`, r.Created)
	some(`,"ctag":`, r.CTag)
	some(`,"version":`, r.Version)
	some(`,"hash":`, r.Hash)
	some(`,"stored":`, r.Stored)
	if len(r.TrueName) > 0 {
		b = append(b, `,"trueName":`...)
		marshal(r.TrueName)
	}
	at(`,"trueTime":`, r.TrueTime)
	if r.Checkpoint {
		b = append(b, `,"checkpoint":true`...)
	}
	return append(b, '}'), failed
}

// isUsual reports whether nothing of a text is written otherwise in JSON than it is, but
// for quotes, as are in tags, and strokes.
func isUsual(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// summarize returns what kopia's own writer says of such a directory.
func summarize(records []record, modified time.Time) *fs.DirectorySummary {
	s := &fs.DirectorySummary{TotalDirCount: 1}
	for i := range records {
		addTo(s, &records[i])
	}
	if len(records) == 0 {
		s.MaxModTime = kopiaTime(modified)
	}
	return s
}

// addTo adds a record to the summary of the directory that it is in.
func addTo(s *fs.DirectorySummary, r *record) {
	s.MaxModTime = max(s.MaxModTime, kopiaTime(r.Modified))
	switch {
	case !r.isDir():
		s.TotalFileCount++
		s.TotalFileSize += r.Size
	case r.Summary != nil:
		s.TotalFileCount += r.Summary.TotalFileCount
		s.TotalFileSize += r.Summary.TotalFileSize
		s.TotalDirCount += r.Summary.TotalDirCount
		s.MaxModTime = max(s.MaxModTime, r.Summary.MaxModTime)
	}
}

// kopiaTime returns t as kopia counts it, which the years before 1678 and
// after 2262 do not fit.
func kopiaTime(t time.Time) fs.UTCTimestamp {
	if t.Year() < 1678 || t.Year() > 2261 {
		return 0
	}
	return fs.UTCTimestampFromTime(t)
}
