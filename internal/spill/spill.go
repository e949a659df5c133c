// Package spill keeps more records than memory should hold.
//
// A [Table] holds what was said last under each key: the first half a megabyte in
// memory, and the rest in a temporary file that has no name where the system allows
// that. So is where the records are: two or three megabytes of it are in memory, by
// which 130,000 keys are found, and what is more is in files of pages. So a drive of a
// million items costs as much memory as a tenth of them would, and a small one never
// touches the disk.
//
// It is a file and not a database, because all that is asked of it is the last word
// on a key, and all keys in the order in which they came; nothing in it outlives the
// run that wrote it; and a look-up costs a microsecond, where those of the embedded
// stores that were looked at cost five to ten, or map their files into memory.
package spill

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"math"
	"os"
)

const (
	// maxHeld is how much of a table is in memory before it goes to the file.
	maxHeld = 512 << 10
	// near and far are how much is read of the file at once: where records are
	// read in any order, and where one is read after the other.
	near, far = 1 << 10, 32 << 10
	// recent is how many records are remembered that were read or written last, once
	// there are more than few.
	recent, few = 256, 32
)

// A Table maps keys to values. A key that was put has a number from then on: 0 for
// the first, and so on. It is not for use by many goroutines.
//
// A table whose file fails has nothing in it any more. Err says so, and has to be
// asked before anybody relies on what a table did not have.
type Table struct {
	dir    string
	listed int // of each list
	seed   maphash.Seed
	index  *index
	at     *list // by number: where the last record is

	file    *os.File
	written int64  // how much of the records is in the file
	held    []byte // the records after that

	window []byte // of the file, read ahead
	from   int64  // where it begins

	memory *memory // or nil, as long as there are few
	err    error
}

// A memory is of what was found last by hash, and of the records that were read last by
// number.
type memory struct {
	found [recent]struct {
		hash   uint32
		number int // + 1
	}
	read [recent]struct {
		at         int64 // + 1
		key, value string
	}
}

// ErrDisk: what does not fit into memory could not be written to the disk, or read
// back.
var ErrDisk = errors.New("what does not fit into memory could not be kept on disk")

// New returns an empty table whose file will be in dir; "" is where the system has
// temporary files. It must be closed.
func New(dir string) *Table {
	t := &Table{dir: dir, listed: listed, seed: maphash.MakeSeed()}
	t.index, t.at = &index{fresh: fresh, list: t.list, sorted: t.list()}, t.list()
	return t
}

func (t *Table) list() *list { return &list{dir: t.dir, most: t.listed, fail: t.fail} }

// Len returns how many keys the table has.
func (t *Table) Len() int { return t.at.n }

// Err returns why the table failed, if it did.
func (t *Table) Err() error { return t.err }

// Put gives a key a value, whatever it had before, and returns its number.
func (t *Table) Put(key, value string) int {
	i, found := t.Find(key)
	if t.err != nil {
		return i
	}
	at := uint64(t.written) + uint64(len(t.held))
	if found {
		t.at.set(i, at)
	} else {
		i = t.at.n
		if uint64(i) == math.MaxUint32 {
			t.fail(errors.New("there is too much of it"))
		} else {
			t.at.append(at)
			t.index.add(t.hash(key))
			if t.at.n > few && t.memory == nil {
				t.memory = new(memory)
			}
		}
		if t.err != nil {
			return i
		}
	}
	t.held = binary.AppendUvarint(t.held, uint64(len(key)))
	t.held = binary.AppendUvarint(t.held, uint64(len(value)))
	begin := len(t.held)
	t.held = append(append(t.held, key...), value...)
	t.held = binary.LittleEndian.AppendUint32(t.held, crc32.Checksum(t.held[begin:], castagnoli))
	if len(t.held) >= maxHeld {
		t.write()
	}
	return i
}

// Find returns a key's number, and whether the table has it.
func (t *Table) Find(key string) (int, bool) {
	if t.err != nil {
		return 0, false
	}
	hash := t.hash(key)
	if t.memory != nil {
		if again := t.memory.found[hash%recent]; again.hash == hash && again.number > 0 {
			if is, _ := t.Get(again.number - 1); is == key && t.err == nil {
				return again.number - 1, true
			}
		}
	}
	for i := range t.index.numbers(hash) {
		if is, _ := t.Get(i); is == key && t.err == nil {
			if t.memory != nil {
				again := &t.memory.found[hash%recent]
				again.hash, again.number = hash, i+1
			}
			return i, true
		}
	}
	return 0, false
}

// Get returns the key and value of a number. The number of no key has neither.
func (t *Table) Get(i int) (key, value string) {
	if t.err != nil || i < 0 || i >= t.at.n {
		return "", ""
	}
	at := int64(t.at.get(i))
	if t.memory == nil {
		return t.read(at)
	}
	last := &t.memory.read[i%recent]
	if last.at != at+1 {
		last.at = 0
		last.key, last.value = t.read(at)
		if t.err != nil {
			return "", ""
		}
		last.at = at + 1
	}
	return last.key, last.value
}

// Order tells of two keys by their numbers which was put last: the one with the
// larger order.
func (t *Table) Order(i int) int64 { return int64(t.at.get(i)) }

// Close gives the table's files back. The table then has failed.
func (t *Table) Close() {
	discard(t.file)
	t.index.sorted.close()
	t.at.close()
	*t = closed
}

var (
	errClosed = errors.New("the table is closed")
	closed    = Table{err: errClosed, index: &index{sorted: &list{}}, at: &list{}}
)

func (t *Table) hash(key string) uint32 { return uint32(maphash.String(t.seed, key)) }

func (t *Table) write() {
	var err error
	if t.file == nil {
		t.file, err = temporary(t.dir)
	}
	if err == nil {
		_, err = t.file.WriteAt(t.held, t.written)
	}
	if err != nil {
		t.fail(err)
		return
	}
	t.written += int64(len(t.held))
	t.held = t.held[:0]
}

func (t *Table) fail(err error) {
	if t.err == nil {
		t.err = fmt.Errorf("%w: %w", ErrDisk, err)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// read reads the record at an offset.
func (t *Table) read(at int64) (key, value string) {
	b := t.bytes(at, near)
	k, n := binary.Uvarint(b)
	v, m := binary.Uvarint(b[max(n, 0):])
	end := t.written + int64(len(t.held)) - at
	if n > 0 && m > 0 && k < uint64(end) && v < uint64(end) {
		begin, size := n+m, int(k+v)
		if begin+size+4 > len(b) {
			b = t.bytes(at, begin+size+4)
		}
		if begin+size+4 <= len(b) {
			record := b[begin:][:size]
			if crc32.Checksum(record, castagnoli) == binary.LittleEndian.Uint32(b[begin+size:]) {
				s := string(record)
				return s[:k], s[k:]
			}
		}
	}
	t.fail(errOther)
	return "", ""
}

// bytes returns what is at an offset, which is at least size bytes long unless
// the records end before that.
func (t *Table) bytes(at int64, size int) []byte {
	if at >= t.written {
		return t.held[at-t.written:]
	}
	size = int(min(int64(size), t.written-at))
	end := t.from + int64(len(t.window))
	if at >= t.from && at+int64(size) <= end {
		return t.window[at-t.from:]
	}
	if at >= t.from && at <= end {
		size = max(size, int(min(far, t.written-at))) // one after the other
	}
	if cap(t.window) < size {
		t.window = make([]byte, max(size, far))
	}
	t.window, t.from = t.window[:size], at
	if _, err := t.file.ReadAt(t.window, at); err != nil {
		t.fail(err)
		t.window = t.window[:0]
	}
	return t.window
}
