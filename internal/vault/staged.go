package vault

import (
	"cmp"
	"errors"
	"iter"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
)

// A staged set is what an update was told of items: how each shall be, or that it
// shall go. It is kept on disk, for there may be millions; an item has a number in
// it. What cannot be read back is not found, and err says so.
type staged struct{ table *spill.Table }

func newStaged(dir string) *staged { return &staged{spill.New(dir)} }

func (s *staged) close() { s.table.Close() }

func (s *staged) err() error { return s.table.Err() }

// lost is err where what was staged is no longer.
func (s *staged) lost() error {
	return cmp.Or(s.err(), errors.New("what was staged of an item is lost"))
}

func (s *staged) put(e Entry) { s.table.Put(string(e.ID), encodeEntry(e)) }

// drop stages that an item shall go.
func (s *staged) drop(id backup.ItemID) { s.table.Put(string(id), "") }

// find returns the number of an item of which something was staged.
func (s *staged) find(id backup.ItemID) (int, bool) { return s.table.Find(string(id)) }

// id returns the item of a number.
func (s *staged) id(i int) backup.ItemID {
	id, _ := s.table.Get(i)
	return backup.ItemID(id)
}

// at returns how the item of a number shall be, and false if it shall go.
func (s *staged) at(i int) (Entry, bool) {
	id, value := s.table.Get(i)
	if value == "" {
		return Entry{}, false
	}
	return decodeEntry(id, value), true
}

// get returns how an item shall be, if something was staged of it but that it
// shall go.
func (s *staged) get(id backup.ItemID) (Entry, bool) {
	if i, ok := s.find(id); ok {
		return s.at(i)
	}
	return Entry{}, false
}

// gone reports whether an item shall go.
func (s *staged) gone(id backup.ItemID) bool {
	i, ok := s.find(id)
	if !ok {
		return false
	}
	_, stays := s.at(i)
	return !stays
}

// order tells which of two items was staged last: the one with the larger order.
func (s *staged) order(i int) int64 { return s.table.Order(i) }

// puts lists what shall be in the tree, by number.
func (s *staged) puts() iter.Seq2[int, Entry] {
	return func(yield func(int, Entry) bool) {
		for i := range s.table.Len() {
			if e, ok := s.at(i); ok && !yield(i, e) {
				return
			}
		}
	}
}

func encodeEntry(e Entry) string {
	w := make(spill.Writer, 0, 256)
	w.Int(e.Size)
	w.Time(e.Created)
	w.Time(e.Modified)
	for _, text := range []string{string(e.Kind), string(e.Parent), e.Name, e.CTag, e.Hash, e.Stored, e.Content} {
		w.Text(text)
	}
	return string(w)
}

func decodeEntry(id, value string) Entry {
	r := spill.Reader(value)
	e := Entry{ID: backup.ItemID(id), Size: r.Int(), Created: r.Time(), Modified: r.Time()}
	e.Kind, e.Parent, e.Name = backup.ItemKind(r.Text()), backup.ItemID(r.Text()), r.Text()
	e.CTag, e.Hash, e.Stored, e.Content = r.Text(), r.Text(), r.Text(), r.Text()
	return e
}
