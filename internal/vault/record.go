package vault

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

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
	Hash    string        `json:"hash,omitempty"`
	Stored  string        `json:"stored,omitempty"`
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
		ID: e.ID, Created: utc(e.Created), CTag: e.CTag, Hash: e.Hash, Stored: e.Stored,
	}
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

// entry returns the record as an item below parent.
func (r *record) entry(parent backup.ItemID) Entry {
	e := Entry{
		ID: r.ID, Parent: parent, Name: r.trueName(), Kind: backup.File, Size: r.Size,
		Created: r.Created, Modified: r.trueTime(), CTag: r.CTag, Hash: r.Hash, Stored: r.Stored, Content: r.Object,
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
		r.trueTime().Equal(s.trueTime()) && r.Created.Equal(s.Created) && r.CTag == s.CTag && r.Hash == s.Hash && r.Stored == s.Stored &&
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
	"name", "type", "mode", "size", "mtime", "obj", "summ", "id", "btime", "ctag", "hash", "stored", "trueName", "trueTime", "checkpoint",
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
			s.Text(&r.Type)
		case "mode":
			s.Text(&r.Mode)
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
			m.Entries = []record{}
			s.Array(func() {
				m.Entries = append(m.Entries, record{})
				m.Entries[len(m.Entries)-1].Scan(s)
			})
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
	b, err := v.readObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	var m dirManifest
	if !jsonscan.Scan(b, &m) {
		m = dirManifest{}
		err = json.Unmarshal(b, &m)
	}
	if err != nil || m.Stream != dirStream {
		return nil, &DamageError{Object: oid, Err: errors.New("it is not a directory")}
	}
	return &dir{object: oid, records: m.Entries}, nil
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
		Compressor: fastest, MetadataCompressor: fastest,
	})
	defer ow.Close()
	if err := write(ow); err != nil {
		return "", storageError(err)
	}
	id, err := ow.Result()
	if err != nil {
		return "", storageError(err)
	}
	v.objectsWritten.Add(1)
	return id.String(), nil
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
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name)) // "d" before "f", as kopia sorts
	})
	summary := summarize(records, modified)
	oid, err := v.writeObjectBy(ctx, w, dirPrefix, "DIR:"+name, func(w io.Writer) error { return encodeDir(w, records, summary) })
	if err != nil {
		return record{}, err
	}
	return record{Name: name, Type: dirType, Mode: dirMode, Modified: modified, Object: oid, Summary: summary}, nil
}

// encodeDir writes what json.Encoder would of a dirManifest, a record at a time: a
// folder may have very many.
func encodeDir(to io.Writer, records []record, summary *fs.DirectorySummary) error {
	w := bufio.NewWriterSize(to, 64<<10)
	value := func(before string, v any) error {
		w.WriteString(before) // its error stays with w
		b, err := json.Marshal(v)
		w.Write(b)
		return err
	}
	err := value(`{"stream":`, dirStream)
	if records == nil {
		err = errors.Join(err, value(`,"entries":`, nil))
	} else {
		before := `,"entries":[`
		for i := range records {
			if err := value(before, &records[i]); err != nil {
				return fmt.Errorf("encode a directory: %w", err)
			}
			before = ","
		}
		if len(records) == 0 {
			w.WriteString(before)
		}
		w.WriteString("]")
	}
	if err = errors.Join(err, value(`,"summary":`, summary)); err != nil {
		return fmt.Errorf("encode a directory: %w", err)
	}
	w.WriteString("}\n")
	return w.Flush()
}

// summarize returns what kopia's own writer says of such a directory.
func summarize(records []record, modified time.Time) *fs.DirectorySummary {
	s := &fs.DirectorySummary{TotalDirCount: 1}
	latest := func(t fs.UTCTimestamp) { s.MaxModTime = max(s.MaxModTime, t) }
	for i := range records {
		r := &records[i]
		latest(kopiaTime(r.Modified))
		switch {
		case !r.isDir():
			s.TotalFileCount++
			s.TotalFileSize += r.Size
		case r.Summary != nil:
			s.TotalFileCount += r.Summary.TotalFileCount
			s.TotalFileSize += r.Summary.TotalFileSize
			s.TotalDirCount += r.Summary.TotalDirCount
			latest(r.Summary.MaxModTime)
		}
	}
	if len(records) == 0 {
		s.MaxModTime = kopiaTime(modified)
	}
	return s
}

// kopiaTime returns t as kopia counts it, which the years before 1678 and
// after 2262 do not fit.
func kopiaTime(t time.Time) fs.UTCTimestamp {
	if t.Year() < 1678 || t.Year() > 2261 {
		return 0
	}
	return fs.UTCTimestampFromTime(t)
}

// nameAll gives each record the name it is stored under. Siblings may claim
// one name: two items that the source listed at different moments, or names
// that differ in case only. The name then belongs to the claimant staged last,
// else to the one that has it; every other is stored as "name (id).ext" and
// keeps its own name beside it.
func nameAll(records []record, staged map[backup.ItemID]int64) {
	// holder maps a name, folded, to the record that has it so far.
	holder := make(map[string]int, len(records))
	var losers []int
	for i := range records {
		r := &records[i]
		name := fold(safeName(r.trueName()))
		if j, claimed := holder[name]; claimed {
			h := &records[j]
			if cmp.Or(cmp.Compare(staged[h.ID], staged[r.ID]), cmp.Compare(holds(h), holds(r)), cmp.Compare(r.ID, h.ID)) > 0 {
				losers = append(losers, i)
				continue
			}
			losers = append(losers, j)
		}
		holder[name] = i
	}
	for _, i := range holder {
		own := records[i].trueName()
		records[i].setName(own, safeName(own))
	}
	slices.SortFunc(losers, func(i, j int) int { return cmp.Compare(records[i].ID, records[j].ID) })
	for _, i := range losers {
		r := &records[i]
		own := r.trueName()
		safe := safeName(own)
		ext := path.Ext(safe)
		stem := strings.TrimSuffix(safe, ext)
		id := safeName(string(r.ID))
		tail := id[max(0, len(id)-6):]
		for n := 1; ; n++ {
			if n == 2 {
				tail = id
			} else if n > 2 {
				tail = id + "-" + strconv.Itoa(n)
			}
			name := stem + " (" + tail + ")" + ext
			if _, taken := holder[fold(name)]; !taken {
				holder[fold(name)] = i
				r.setName(own, name)
				break
			}
		}
	}
}

// holds is 1 when r is stored under its own name.
func holds(r *record) int {
	if r.TrueName == nil {
		return 1
	}
	return 0
}

// fold returns the form in which names are equal that a file system may take for
// the same: they differ in case, or in how their letters are composed. Folding
// takes letters apart (a small J with a caron is one, a capital one is two), and
// so they are composed after it.
func fold(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return strings.ToLower(name)
	}
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(name)))
}
