package engine

import (
	"bytes"

	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// A list is backed up as a drive is: as a folder that holds its schema, a table of
// all its items, and the items, one file each. They are in folders by their numbers,
// a thousand in each, so that what a change costs does not grow with the list.
//
//	schema.json      its settings, columns and content types
//	items.csv        the table
//	1-999/17.json    an item, as Graph tells of it
//
// A list's items are numbered, each list by itself; as items of a point their ids
// begin with the list's.
const (
	schemaName = "schema.json"
	tableName  = "items.csv"
	perFolder  = 1000 // items in a folder
)

func itemIDOf(list string, n int) backup.ItemID {
	return backup.ItemID(list + "," + strconv.Itoa(n))
}

// numberOf returns the number of an item of a list, or 0 if an id is of none.
func numberOf(list string, id backup.ItemID) int {
	text, ok := strings.CutPrefix(string(id), list+",")
	n, err := strconv.ParseInt(text, 10, 32)
	if !ok || err != nil || n <= 0 {
		return 0
	}
	return int(n)
}

func schemaID(list string) backup.ItemID { return backup.ItemID(list + ",schema") }
func tableID(list string) backup.ItemID  { return backup.ItemID(list + ",table") }

// folderName is the name of the folder of an item.
func folderName(n int) string {
	first := n / perFolder * perFolder
	return fmt.Sprintf("%d-%d", max(first, 1), first+perFolder-1)
}

func folderID(list string, n int) backup.ItemID { return backup.ItemID(list + "," + folderName(n)) }

// A listSource reads from a list of a site.
//
// The fields of items come with the list of changes, and are kept on disk until the
// run asks for them as contents; what was not told, or is asked for again, is read by
// itself.
type listSource struct {
	client *drive.Client
	ref    drive.ListRef
	dir    string // where what does not fit into memory goes
	files  bool   // the list is a library, and its items say which files they are

	// What the vault holds, which is known without being asked for.
	held  map[backup.ItemID]bool // folders
	table vault.Entry            // the table; zero if there is none

	schema drive.ListSchema

	mu     sync.Mutex // guards what follows
	told   *spill.Table
	full   bool           // all that lives in the list was told
	counts map[string]int // living items told of, by folder
}

func newListSource(client *drive.Client, ref drive.ListRef, dir string) *listSource {
	return &listSource{client: client, ref: ref, dir: dir, held: map[backup.ItemID]bool{}}
}

// holding tells the source what the vault holds of the list.
func (s *listSource) holding(ctx context.Context, u *vault.Update) error {
	s.held, s.table = map[backup.ItemID]bool{}, vault.Entry{}
	for e, err := range u.Children(ctx, s.rootID()) {
		switch {
		case err != nil:
			return err
		case e.Kind == backup.Folder:
			s.held[e.ID] = true
		case e.ID == tableID(s.ref.ID):
			s.table = e
		}
	}
	return nil
}

func (s *listSource) rootID() backup.ItemID { return backup.ItemID(s.ref.ID) }

// isWide reports whether the list has more lookups than the source tells of at once,
// so that each item is read by itself.
func (s *listSource) isWide() bool { return len(s.schema.Groups()) > 0 }

// Changes tells of the schema each time, and of what holds items where that may be
// news: the service knows no folders.
func (s *listSource) Changes(ctx context.Context, cursor string) (iter.Seq2[drive.Item, error], func() string) {
	next := ""
	all := func(yield func(drive.Item, error) bool) {
		next = ""
		schema, err := s.client.Schema(ctx, s.ref)
		if err != nil {
			yield(drive.Item{}, fmt.Errorf("list changes: %w", err))
			return
		}
		s.begin(schema, cursor == "")
		read := s.client.ListDelta
		if s.files {
			read = s.client.LibraryDelta
		}
		changes := read(ctx, s.ref, cursor, !s.isWide())
		touched := map[string]int{} // a number in each folder
		for it, err := range changes.All() {
			if err != nil {
				yield(drive.Item{}, err)
				return
			}
			if it.ID > 0 && !it.Deleted {
				touched[folderName(it.ID)] = it.ID
			}
			if s.note(it); !yield(s.itemOf(it), nil) {
				return
			}
		}
		if err := s.err(); err != nil {
			yield(drive.Item{}, err)
			return
		}
		for _, item := range s.around(cursor == "", touched) {
			if !yield(item, nil) {
				return
			}
		}
		next = changes.Cursor()
	}
	return all, func() string { return next }
}

// begin begins a pass.
func (s *listSource) begin(schema drive.ListSchema, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schema = schema
	if s.told == nil || full {
		s.close()
		s.told, s.counts = spill.New(s.dir), map[string]int{}
	}
	s.full = s.full || full
}

func (s *listSource) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		return nil
	}
	return s.told.Err()
}

// note keeps what was told of an item.
func (s *listSource) note(it drive.ListItem) {
	if it.ID == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		return
	}
	key := strconv.Itoa(it.ID)
	now, lived := told{it.Deleted, it.ETag, it.JSON}, false
	if i, found := s.told.Find(key); found {
		_, value := s.told.Get(i)
		was := decodeTold(value)
		if lived = !was.deleted; !it.Deleted && it.JSON == nil {
			now.tag, now.json = was.tag, was.json
		}
	}
	switch folder := folderName(it.ID); {
	case lived && it.Deleted:
		s.counts[folder]--
	case !lived && !it.Deleted:
		s.counts[folder]++
	}
	s.told.Put(key, now.encode())
}

// told is what was told last of an item.
type told struct {
	deleted bool
	tag     string // of json
	json    []byte // nil if its fields were not told
}

func (t told) encode() string {
	var w spill.Writer
	w.Bool(t.deleted)
	w.Text(t.tag)
	w.Text(string(t.json))
	return string(w)
}

func decodeTold(value string) told {
	r := spill.Reader(value)
	t := told{deleted: r.Bool(), tag: r.Text()}
	if text := r.Text(); text != "" {
		t.json = []byte(text)
	}
	return t
}

// toldOf returns what was told of an item, if anything was.
func (s *listSource) toldOf(n int) (told, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		return told{}, false
	}
	i, found := s.told.Find(strconv.Itoa(n))
	if !found {
		return told{}, false
	}
	_, value := s.told.Get(i)
	return decodeTold(value), s.told.Err() == nil
}

// around is what is told of beside the items: the schema; of a whole list the folder
// that is the list and the table, too; and each folder of items that is new.
func (s *listSource) around(full bool, touched map[string]int) (all []drive.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all = append(all, s.schemaItem())
	if !full {
		for name, n := range touched {
			if s.full || !s.held[folderID(s.ref.ID, n)] {
				all = append(all, s.folder(name))
			}
		}
		return all
	}
	for name, n := range s.counts {
		if n > 0 {
			all = append(all, s.folder(name))
		}
	}
	if s.table.ID != "" {
		all = append(all, s.tableItem())
	}
	return append(all, s.root(len(all)))
}

func (s *listSource) root(holds int) drive.Item {
	return drive.Item{ID: s.rootID(), Name: s.schema.Name, Kind: backup.Folder, Root: true, Size: -1, ChildCount: holds}
}

// folder is a folder of items; the source is locked.
func (s *listSource) folder(name string) drive.Item {
	return drive.Item{ID: backup.ItemID(s.ref.ID + "," + name), Parent: s.rootID(), Name: name, Kind: backup.Folder, Size: -1, ChildCount: s.counts[name]}
}

func (s *listSource) schemaItem() drive.Item {
	sum := sha256.Sum256(s.schema.JSON)
	return drive.Item{ID: schemaID(s.ref.ID), Parent: s.rootID(), Name: schemaName, Kind: backup.File, Size: int64(len(s.schema.JSON)), CTag: hex.EncodeToString(sum[:16])}
}

func (s *listSource) tableItem() drive.Item {
	return drive.Item{ID: s.table.ID, Parent: s.table.Parent, Name: s.table.Name, Kind: backup.File, Size: s.table.Size, CTag: s.table.CTag, Modified: s.table.Modified}
}

// itemOf is an item of the list as a file.
func (s *listSource) itemOf(it drive.ListItem) drive.Item {
	if it.ID == 0 {
		return drive.Item{Unreadable: drive.Incomplete, Size: -1}
	}
	item := drive.Item{ID: itemIDOf(s.ref.ID, it.ID), Size: -1, Deleted: it.Deleted}
	if !it.Deleted {
		item.Parent, item.Name, item.Kind = folderID(s.ref.ID, it.ID), strconv.Itoa(it.ID)+".json", backup.File
		if it.File != "" {
			item.Name = columnsName(it.ID, it.File)
		}
		item.Created, item.Modified, item.CTag, item.ETag = it.Created, it.Modified, it.ETag, it.ETag
	}
	return item
}

func (s *listSource) Root(ctx context.Context) (drive.Item, error) {
	l, err := s.client.List(ctx, s.ref)
	if err != nil {
		return drive.Item{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	root := s.root(len(s.counts) + 1)
	root.Name = l.Name
	return root, nil
}

func (s *listSource) Item(ctx context.Context, id backup.ItemID) (drive.Item, error) {
	if n := numberOf(s.ref.ID, id); n > 0 {
		it, err := s.read(ctx, n)
		return s.itemOf(it), err
	}
	if id == s.rootID() {
		return s.Root(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case id == schemaID(s.ref.ID) && s.schema.JSON != nil:
		return s.schemaItem(), nil
	case id == s.table.ID && s.table.ID != "":
		return s.tableItem(), nil
	}
	name := strings.TrimPrefix(string(id), s.ref.ID+",")
	if s.counts[name] > 0 || !s.full && s.held[id] {
		folder := s.folder(name)
		folder.ChildCount = -1
		return folder, nil
	}
	return drive.Item{}, drive.ErrNotFound
}

// read reads an item by itself, and keeps what is told of it.
func (s *listSource) read(ctx context.Context, n int) (drive.ListItem, error) {
	read := s.client.ListItem
	if s.files {
		read = s.client.LibraryItem
	}
	it, err := read(ctx, s.ref, n, s.schema.Groups()...)
	if err != nil {
		return it, err
	}
	s.note(it)
	return it, s.err()
}

// Children lists nothing: how many items a folder has is counted from those told of.
func (s *listSource) Children(context.Context, backup.ItemID) iter.Seq2[drive.Item, error] {
	return func(func(drive.Item, error) bool) {}
}

func (s *listSource) Open(ctx context.Context, listed drive.Item, now bool) (content, error) {
	if listed.ID == schemaID(s.ref.ID) {
		return newListContent(s.schemaItem(), s.schema.JSON), nil
	}
	n := numberOf(s.ref.ID, listed.ID)
	if n == 0 {
		return nil, fmt.Errorf("%w: a list has no item %s", drive.ErrContent, listed.ID)
	}
	if t, ok := s.toldOf(n); ok && !now && t.json != nil && t.tag == listed.CTag {
		return newListContent(listed, t.json), nil
	}
	it, err := s.read(ctx, n)
	if err != nil {
		return nil, err
	}
	if it.JSON == nil {
		return nil, fmt.Errorf("%w: item %d is told without its fields", drive.ErrContent, n)
	}
	return newListContent(s.itemOf(it), it.JSON), nil
}

func (s *listSource) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}

func (s *listSource) close() {
	if s.told != nil {
		s.told.Close()
	}
	s.told, s.counts, s.full = nil, nil, false
}

// A listContent is an item or schema being read, of which all is here.
type listContent struct {
	*bytes.Reader
	is drive.Item
}

func newListContent(is drive.Item, kept []byte) listContent {
	is.Size = int64(len(kept))
	return listContent{bytes.NewReader(kept), is}
}

func (c listContent) Close() error       { return nil }
func (c listContent) Is() drive.Item     { return c.is }
func (c listContent) Sum() string        { return "" }
func (c listContent) Proof() drive.Proof { return drive.Unstated }

// tabulate writes the table of a list anew where anything in it has changed: the rows
// of what the run was told of, and those of all else as they were. It goes before the
// tree is sealed.
func (s *listSource) tabulate(ctx context.Context, p *protection) error {
	header := s.header()
	sum := sha256.Sum256([]byte(strings.Join(header, "\x00")))
	tag := hex.EncodeToString(sum[:16])
	whole := s.table.ID == "" || s.table.CTag != tag || p.stage.torn
	if p.put+p.deleted+p.fetched == 0 && !whole {
		return nil
	}
	numbers := s.numbers()
	if whole {
		for e, err := range p.stage.entries(ctx) {
			if err != nil {
				return err
			}
			if n := numberOf(s.ref.ID, e.ID); n > 0 {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(s.writeTable(ctx, p, w, header, numbers, whole))
	}()
	content, err := p.update.Write(ctx, tableName, r)
	r.CloseWithError(io.ErrClosedPipe)
	<-done
	if err != nil {
		return fmt.Errorf("write the table of a list: %w", err)
	}
	p.update.Put(vault.Entry{ID: tableID(s.ref.ID), Parent: s.rootID(), Name: tableName, Kind: backup.File, Size: content.Size, Content: content.ID, CTag: tag, Modified: p.at})
	return nil
}

// numbers are the items that anything was told of.
func (s *listSource) numbers() (all []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.told.Len() {
		key, _ := s.told.Get(i)
		if n, err := strconv.Atoi(key); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// columnsBefore are the columns of a table that are not among the list's own.
var columnsBefore = []string{"id", "contentType", "createdDateTime", "lastModifiedDateTime"}

func (s *listSource) header() []string {
	header := slices.Clone(columnsBefore)
	for _, c := range s.schema.Columns {
		header = append(header, c.Name)
	}
	return header
}

func (s *listSource) writeTable(ctx context.Context, p *protection, to io.Writer, header []string, numbers []int, whole bool) error {
	out := csv.NewWriter(to)
	if err := out.Write(header); err != nil {
		return err
	}
	var old *csv.Reader
	if !whole {
		r, err := p.vault.Open(ctx, s.table.Content)
		if err != nil {
			return err
		}
		defer r.Close()
		old = csv.NewReader(r)
		old.ReuseRecord = true
		if _, err := old.Read(); err != nil {
			return fmt.Errorf("%w: the table of a list: %w", vault.ErrDamaged, err)
		}
	}
	// pass copies the old rows before a number, and passes over that of the number.
	var row []string
	pass := func(before int) error {
		for old != nil {
			if row == nil {
				var err error
				if row, err = old.Read(); errors.Is(err, io.EOF) {
					old = nil
					return nil
				} else if err != nil {
					return fmt.Errorf("%w: the table of a list: %w", vault.ErrDamaged, err)
				}
			}
			n, err := strconv.Atoi(row[0])
			switch {
			case err != nil:
				return fmt.Errorf("%w: the table of a list: %w", vault.ErrDamaged, err)
			case n > before:
				return nil
			case n < before:
				if err := out.Write(row); err != nil {
					return err
				}
			}
			row = nil
		}
		return nil
	}
	flushed := false
	open := func(content string) (vault.Reader, error) {
		if !flushed {
			if err := p.vault.Flush(ctx); err != nil { // it may have come in this run
				return nil, err
			}
			flushed = true
		}
		return p.vault.Open(ctx, content)
	}
	for _, n := range numbers {
		if err := pass(n); err != nil {
			return err
		}
		row, ok, err := s.row(ctx, p, n, header, open)
		if err != nil {
			return err
		}
		if ok {
			if err := out.Write(row); err != nil {
				return err
			}
		}
	}
	if err := pass(int(^uint(0) >> 1)); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// row is an item's row of the table, if the point holds the item.
func (s *listSource) row(ctx context.Context, p *protection, n int, header []string, open func(string) (vault.Reader, error)) ([]string, bool, error) {
	entry, held, err := p.update.Get(ctx, itemIDOf(s.ref.ID, n))
	if err != nil || !held {
		return nil, false, err
	}
	var kept []byte
	if t, ok := s.toldOf(n); ok && t.tag == entry.CTag && t.json != nil {
		kept = t.json
	} else {
		r, err := open(entry.Content)
		if err != nil {
			return nil, false, err
		}
		kept, err = io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, false, err
		}
	}
	var f drive.ItemFile
	if err := json.Unmarshal(kept, &f); err != nil {
		return nil, false, fmt.Errorf("%w: item %d of a list: %w", vault.ErrDamaged, n, err)
	}
	var of struct{ Name string }
	json.Unmarshal(f.ContentType, &of)
	row := []string{strconv.Itoa(n), of.Name, cell(f.Created), cell(f.Modified)}
	for _, name := range header[len(columnsBefore):] {
		v, ok := f.Fields[name]
		if !ok {
			v = f.Fields[name+"LookupId"]
		}
		row = append(row, cell(v))
	}
	return row, true, nil
}

// cell is a value as a table has it: several are joined by semicolons, and of a
// lookup what it shows is told.
func cell(v json.RawMessage) string {
	var text string
	var several []json.RawMessage
	var lookup struct{ LookupValue json.RawMessage }
	switch {
	case len(v) == 0 || string(v) == "null":
		return ""
	case json.Unmarshal(v, &text) == nil:
		return text
	case json.Unmarshal(v, &several) == nil:
		cells := make([]string, len(several))
		for i, one := range several {
			cells[i] = cell(one)
		}
		return strings.Join(cells, "; ")
	case json.Unmarshal(v, &lookup) == nil && len(lookup.LookupValue) > 0:
		return cell(lookup.LookupValue)
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return string(v)
	}
	return b.String()
}
