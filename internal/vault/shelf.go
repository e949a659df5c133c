package vault

import (
	"github.com/kopia/kopia/fs"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
)

// A shelf keeps parts of a tree that were read, each a few hundred items: the newest
// in memory, and of the others each item by itself on disk, so that no part need be
// read twice to look up what is in it, in whatever order that comes.
type shelf[P part] struct {
	dir   string // where what leaves the memory goes; "" keeps everything there
	most  int    // items in memory; the newest part may have more
	held  map[string]P
	order []string     // of held, the newest last
	items int          // in held
	table *spill.Table // items that are on disk, each with the number of its part
	moved *spill.Table // the parts of these, with their numbers
	parts int          // that were numbered
}

// A part is a directory or a leaf of an index.
type part interface {
	size() int
	each(do func(id backup.ItemID, value string))
}

// How many items of a drive's latest tree are in memory at once.
const (
	maxRecords = 16 << 10
	maxParents = 32 << 10
)

func newShelf[P part](dir string, most int) *shelf[P] {
	return &shelf[P]{dir: dir, most: most, held: map[string]P{}}
}

func (s *shelf[P]) close() {
	if s != nil && s.table != nil {
		s.table.Close()
		s.moved.Close()
	}
}

// add keeps a part, under its object's id.
func (s *shelf[P]) add(object string, p P) {
	s.held[object] = p
	s.order = append(s.order, object)
	s.items += p.size()
	for s.dir != "" && s.items > s.most && len(s.order) > 1 {
		s.move(s.order[0])
		s.order = s.order[1:]
	}
}

func (s *shelf[P]) move(object string) {
	p := s.held[object]
	delete(s.held, object)
	s.items -= p.size()
	s.stow(object, func(put func(backup.ItemID, string)) error {
		p.each(put)
		return nil
	})
}

// stow puts the items of a part on disk, unless they are there. What fails leaves it as it
// was.
func (s *shelf[P]) stow(object string, each func(put func(id backup.ItemID, value string)) error) error {
	if s.movedAs(object) > 0 {
		return nil // it was read as a whole a second time
	}
	if s.table == nil {
		s.table, s.moved = spill.New(s.dir), spill.New(s.dir)
	}
	s.parts++
	var number spill.Writer
	number.Int(int64(s.parts))
	err := each(func(id backup.ItemID, value string) {
		s.table.Put(string(id), string(append(number[:len(number):len(number)], value...)))
	})
	if err == nil {
		s.moved.Put(object, string(number))
	}
	return err
}

// movedAs returns the number under which a part was moved to disk, or 0 if it was not.
func (s *shelf[P]) movedAs(object string) int {
	if s.moved == nil {
		return 0
	}
	i, found := s.moved.Find(object)
	if !found {
		return 0
	}
	_, value := s.moved.Get(i)
	r := spill.Reader(value)
	return int(r.Int())
}

// find returns an item of a part that is on disk, and whether the part has it. Sure
// is false where only the part itself can tell: it is not on disk, or another part
// has an item of the same id.
func (s *shelf[P]) find(object string, id backup.ItemID) (value string, found, sure bool, err error) {
	number := s.movedAs(object)
	if number == 0 {
		return "", false, false, nil // nor where the disk fails: the part is read
	}
	of, value, found, err := s.look(id)
	if found && of != number {
		return "", false, false, err
	}
	return value, found, true, err
}

// any returns an item of one of the parts that are on disk, and whether one has it.
func (s *shelf[P]) any(id backup.ItemID) (value string, found bool, err error) {
	if s.table != nil {
		_, value, found, err = s.look(id)
	}
	return value, found, err
}

// look returns what is on disk of an item, and of which part.
func (s *shelf[P]) look(id backup.ItemID) (part int, value string, found bool, err error) {
	i, found := s.table.Find(string(id))
	if !found {
		return 0, "", false, s.table.Err()
	}
	_, value = s.table.Get(i)
	r := spill.Reader(value)
	part = int(r.Int())
	return part, string(r), true, s.table.Err()
}

// A leaf is a part of an index: items with their parents.
type leaf map[backup.ItemID]backup.ItemID

func (l leaf) size() int { return len(l) }

func (l leaf) each(do func(id backup.ItemID, value string)) {
	for id, parent := range l {
		do(id, string(parent))
	}
}

func (d *dir) size() int { return len(d.records) }

func (d *dir) each(do func(id backup.ItemID, value string)) {
	for i := range d.records {
		do(d.records[i].ID, encodeRecord(&d.records[i], d.folder))
	}
}

// encodeRecord returns a record but for its id, and its parent.
func encodeRecord(r *record, parent backup.ItemID) string {
	w := make(spill.Writer, 0, 256)
	for _, text := range []string{r.Name, r.Type, r.Mode, r.Object, r.CTag, r.Version, r.Hash, r.Stored, string(r.TrueName)} {
		w.Text(text)
	}
	w.Bool(r.TrueName != nil)
	w.Bool(r.Checkpoint)
	w.Int(r.Size)
	w.Time(r.Modified)
	w.Time(r.Created)
	w.Time(r.TrueTime)
	w.Bool(r.Summary != nil)
	if s := r.Summary; s != nil {
		for _, n := range []int64{s.TotalFileSize, s.TotalFileCount, s.TotalSymlinkCount, s.TotalDirCount, int64(s.MaxModTime), int64(s.FatalErrorCount), int64(s.IgnoredErrorCount)} {
			w.Int(n)
		}
		w.Text(s.IncompleteReason)
	}
	w.Text(string(parent))
	return string(w)
}

func decodeRecord(id backup.ItemID, value string) (*record, backup.ItemID) {
	v := spill.Reader(value)
	r := &record{ID: id, Name: v.Text(), Type: v.Text(), Mode: v.Text(), Object: v.Text(), CTag: v.Text(), Version: v.Text(), Hash: v.Text(), Stored: v.Text()}
	trueName := v.Text()
	if v.Bool() {
		r.TrueName = []byte(trueName)
	}
	r.Checkpoint, r.Size, r.Modified, r.Created, r.TrueTime = v.Bool(), v.Int(), v.Time(), v.Time(), v.Time()
	if v.Bool() {
		r.Summary = &fs.DirectorySummary{TotalFileSize: v.Int(), TotalFileCount: v.Int(), TotalSymlinkCount: v.Int(), TotalDirCount: v.Int(), MaxModTime: fs.UTCTimestamp(v.Int()),
			FatalErrorCount: int(v.Int()), IgnoredErrorCount: int(v.Int()), IncompleteReason: v.Text()}
	}
	return r, backup.ItemID(v.Text())
}
