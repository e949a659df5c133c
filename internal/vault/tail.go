package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// A large directory is looked into without reading it: its records stand in the order of
// their names, those of folders first, and it lies in pieces, of which those that are
// needed are read. Who looks at the last few files of a folder pays for these, however
// many there are.

// Below is Browse of a folder that is known, and which is not looked for in its tree.
func (v *Vault) Below(ctx context.Context, folder Listed) ([]Listed, error) {
	d, err := v.lookDir(ctx, folder.Object)
	if err != nil {
		return nil, fmt.Errorf("browse folder %q: %w", folder.Path, err)
	}
	all := make([]Listed, len(d.records))
	for i := range d.records {
		e := d.records[i].entry(folder.ID)
		all[i] = d.records[i].listed(Node{e, join(folder.Path, e.Name)})
	}
	return all, nil
}

// Before yields the files of a folder whose names come before one, or all files if that is
// "", from the last to the first. It ends with the first error.
func (v *Vault) Before(ctx context.Context, folder Listed, name string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := v.before(ctx, folder, name, func(r *record) bool { return yield(r.entry(folder.ID), nil) })
		if err != nil {
			yield(Entry{}, fmt.Errorf("look into folder %q: %w", folder.Path, err))
		}
	}
}

func (v *Vault) before(ctx context.Context, folder Listed, name string, yield func(*record) bool) error {
	f, err := v.openDir(ctx, folder.Object)
	if err != nil {
		return err
	}
	if f == nil {
		d, err := v.lookDir(ctx, folder.Object)
		if err != nil {
			return err
		}
		for i := range slices.Backward(d.records) {
			if r := &d.records[i]; !r.isDir() && (name == "" || r.Name < name) && !yield(r) {
				break
			}
		}
		return nil
	}
	// The first piece that begins with what is not wanted any more, and where that begins.
	past, end := len(f.pieces), f.size
	if name != "" {
		var failed error
		past = sort.Search(len(f.pieces), func(i int) bool {
			at, err := f.first(i)
			var r record
			if err == nil && at < f.size {
				r, err = f.record(at)
			}
			failed = errors.Join(failed, err)
			return at == f.size || !r.isDir() && r.Name >= name
		})
		if failed != nil {
			return failed
		}
		if past < len(f.pieces) {
			if end, err = f.first(past); err != nil {
				return err
			}
		}
	}
	for i := past - 1; i >= 0; i-- {
		begin, err := f.first(i)
		if err != nil {
			return err
		}
		b, err := f.between(begin, end)
		if err != nil {
			return err
		}
		starts := recordsIn(b)
		end = min(end, begin)
		if name != "" { // it is in the first piece only
			var failed error
			n := sort.Search(len(starts), func(i int) bool {
				r, err := f.decode(bytes.NewReader(b[starts[i]:]))
				failed = errors.Join(failed, err)
				return !r.isDir() && r.Name >= name
			})
			if starts, name = starts[:n], ""; failed != nil {
				return failed
			}
		}
		for _, at := range slices.Backward(starts) {
			r, err := f.decode(bytes.NewReader(b[at:]))
			if err != nil {
				return err
			}
			if r.isDir() || !yield(&r) { // folders come first
				return nil
			}
		}
	}
	return nil
}

// recordsFrom passes over the records of a directory from a place on, each with its own. It goes
// on as long as it is told to.
func (v *Vault) recordsFrom(ctx context.Context, oid string, from int64, each func(r *record, at int64) bool) error {
	f, err := v.openDir(ctx, oid)
	if err != nil {
		return err
	}
	if f == nil { // places are numbers of records
		d, err := v.lookDir(ctx, oid)
		if err != nil {
			return err
		}
		for i := max(from-1, 0); i < int64(len(d.records)) && each(&d.records[i], i+1); i++ {
		}
		return nil
	}
	var failed error
	err = f.walk(from, func(b []byte, at int64) bool {
		if from > 0 && at > from {
			return false
		}
		from = 0
		var r record
		if r, failed = f.scan(b); failed != nil {
			return false
		}
		return each(&r, at)
	})
	if from > 0 && err == nil {
		return fmt.Errorf("%w: no item is at place %d of directory %s", ErrNotFound, from, oid)
	}
	return cmp.Or(err, failed)
}

// CountNamed counts the files of a folder whose names end so.
func (v *Vault) CountNamed(ctx context.Context, folder Listed, ending string) (n int64, err error) {
	f, err := v.openDir(ctx, folder.Object)
	if err == nil && f != nil {
		err = f.walk(0, func(b []byte, _ int64) bool {
			if bytes.HasSuffix(nameIn(b), []byte(ending)) {
				n++
			}
			return true
		})
	} else if err == nil {
		var d *dir
		if d, err = v.lookDir(ctx, folder.Object); err == nil {
			for i := range d.records {
				if r := &d.records[i]; !r.isDir() && strings.HasSuffix(r.Name, ending) {
					n++
				}
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("count what is in folder %q: %w", folder.Path, err)
	}
	return n, nil
}

// A pieced is a directory that is read piece by piece.
type pieced struct{ *objectReader }

// dirBegins is how directories begin as they are written, and recordBegins how each of
// their records does: within a name, the quotes would not stand alone.
var (
	dirBegins    = []byte(`{"stream":"` + dirStream + `","entries":[`)
	recordBegins = []byte(`{"name":"`)
)

// openDir opens a directory to be read piece by piece; nil if it is written otherwise than
// we write, and is to be read whole.
func (v *Vault) openDir(ctx context.Context, oid string) (*pieced, error) {
	r, err := v.openObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	f := &pieced{r}
	if usual, err := f.usual(); err != nil || !usual {
		return nil, err
	}
	return f, nil
}

// usual reports whether the directory is written as we write.
func (f *pieced) usual() (bool, error) {
	b, err := f.between(0, min(int64(len(dirBegins)), f.size))
	return err == nil && bytes.Equal(b, dirBegins), err
}

// between returns a part of the directory. It is not to be changed.
func (f *pieced) between(from, to int64) ([]byte, error) {
	if from >= to {
		return nil, nil
	}
	some, err := f.piece(from)
	if err != nil || int64(len(some)) >= to-from {
		return some[:min(int64(len(some)), to-from)], err
	}
	b := make([]byte, to-from)
	_, err = f.ReadAt(b, from)
	return b, err
}

// first is where the first record begins that begins in a piece as a whole, or in one after
// it; the size of the directory if none does. What lies between the first records of two
// pieces are whole records.
func (f *pieced) first(i int) (int64, error) {
	for ; i < len(f.pieces); i++ {
		p := f.pieces[i]
		b, err := f.between(p.Start, p.Start+p.Length)
		if err != nil {
			return 0, err
		}
		if at := bytes.Index(b, recordBegins); at >= 0 {
			return p.Start + int64(at), nil
		}
	}
	return f.size, nil
}

// recordsIn are where records begin in a part of a directory.
func recordsIn(b []byte) (starts []int) {
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], recordBegins)
		if i < 0 {
			return starts
		}
		at += i
		starts = append(starts, at)
	}
}

// record reads the record that begins somewhere.
func (f *pieced) record(at int64) (record, error) {
	return f.decode(io.NewSectionReader(f, at, f.size-at))
}

func (f *pieced) decode(from io.Reader) (r record, err error) {
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		if _, ours := errors.AsType[*json.SyntaxError](err); ours || errors.Is(err, io.ErrUnexpectedEOF) {
			err = &DamageError{Object: f.oid, Err: errors.New("it is not a directory")}
		}
		return r, err
	}
	return r, nil
}

// scan is decode of a record as walk has it.
func (f *pieced) scan(b []byte) (record, error) {
	var r record
	if jsonscan.Scan(bytes.TrimSuffix(b, []byte(",")), &r) {
		return r, nil
	}
	return f.decode(bytes.NewReader(b)) // unusual, or the last, behind which the directory ends
}

// walk passes over the records from a position on, each as it is written, with what stands
// behind it up to the next, and where it begins. It goes on as long as it is told to.
func (f *pieced) walk(from int64, each func(record []byte, at int64) bool) error {
	var rest []byte // from where the last record begins
	for from < f.size {
		b, err := f.piece(from)
		if err != nil {
			return err
		}
		from += int64(len(b))
		if len(rest) > 0 {
			b = append(rest, b...)
		}
		begin, starts := from-int64(len(b)), recordsIn(b)
		for n, at := range starts[:max(len(starts)-1, 0)] {
			if !each(b[at:starts[n+1]], begin+int64(at)) {
				return nil
			}
		}
		if len(starts) > 0 {
			b = b[starts[len(starts)-1]:]
		}
		rest = bytes.Clone(b)
	}
	if bytes.HasPrefix(rest, recordBegins) {
		each(rest, f.size-int64(len(rest)))
	}
	return nil
}

// nameIn is the name of a record as it is written.
func nameIn(record []byte) []byte {
	name := record[len(recordBegins):]
	for n := 0; n < len(name); n++ {
		switch name[n] {
		case '\\':
			n++
		case '"':
			return name[:n]
		}
	}
	return name
}

// pick returns the record of an id in a directory without making something of all the
// others; nil if it is not found so.
func (v *Vault) pick(ctx context.Context, oid string, id backup.ItemID) (found *record, err error) {
	f, err := v.openDir(ctx, oid)
	if err != nil || f == nil {
		return nil, err
	}
	text, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	text = append([]byte(`"id":`), text...)
	var failed error
	err = f.walk(0, func(b []byte, _ int64) bool {
		if !bytes.Contains(b, text) {
			return true
		}
		var r record
		if r, failed = f.decode(bytes.NewReader(b)); failed == nil && r.ID == id {
			found = &r
		}
		return failed == nil && found == nil
	})
	return found, cmp.Or(failed, err)
}
