package spill

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
)

const (
	// listed is how many numbers of a list are in memory before it goes to a file.
	listed = 64 << 10
	// paged is how many numbers a page has, and kept how many pages are in memory.
	paged, kept = 128, 64
	// pageSize is a page's in the file: its numbers, and a sum over them and over
	// which page it is.
	pageSize = paged*8 + 8
)

// A list is of numbers. A few are in memory, many in a file, by pages, of which those
// that were used last are in memory.
type list struct {
	dir  string
	most int // numbers in memory, before there is a file
	fail func(error)
	n    int
	held []uint64 // all of them, where there is no file

	file  *os.File
	pages []page          // each where its number leads, once there is a file
	bytes *[pageSize]byte // of a page that is written or read
}

type page struct {
	number  int // + 1; 0 is none
	dirty   bool
	numbers [paged]uint64
}

// get returns a number; 0 if it cannot be read.
func (l *list) get(i int) uint64 {
	if l.file == nil {
		return l.held[i]
	}
	return l.page(i / paged).numbers[i%paged]
}

func (l *list) set(i int, number uint64) {
	if l.file == nil {
		l.held[i] = number
		return
	}
	p := l.page(i / paged)
	p.numbers[i%paged], p.dirty = number, true
}

// append adds a number, unless it fails.
func (l *list) append(number uint64) {
	if l.file == nil && l.n < l.most {
		l.held = append(l.held, number)
		l.n++
		return
	}
	if l.file == nil && !l.spill() {
		return
	}
	l.set(l.n, number)
	l.n++
}

// spill moves the list to a file, and returns whether it could.
func (l *list) spill() bool {
	file, err := temporary(l.dir)
	if err != nil {
		l.fail(err)
		return false
	}
	l.file, l.pages, l.bytes = file, make([]page, kept), new([pageSize]byte)
	held := l.held
	l.held, l.n = nil, 0
	for _, number := range held {
		l.append(number)
	}
	return true
}

// page returns a page of the file. One that is beyond all others is empty.
func (l *list) page(i int) *page {
	p := &l.pages[uint32(i)*0x9e3779b1>>(32-6)] // 6 bits: kept
	if p.number == i+1 {
		return p
	}
	if p.dirty {
		l.write(p)
	}
	*p = page{number: i + 1}
	if i*paged < l.n {
		l.read(p)
	}
	return p
}

func (l *list) write(p *page) {
	b := l.bytes
	for i, number := range p.numbers {
		binary.LittleEndian.PutUint64(b[8*i:], number)
	}
	binary.LittleEndian.PutUint64(b[paged*8:], sum(b[:paged*8], p.number))
	if _, err := l.file.WriteAt(b[:], int64(p.number-1)*pageSize); err != nil {
		l.fail(err)
	}
	p.dirty = false
}

func (l *list) read(p *page) {
	b := l.bytes
	if _, err := l.file.ReadAt(b[:], int64(p.number-1)*pageSize); err != nil {
		l.fail(err)
		return
	}
	if sum(b[:paged*8], p.number) != binary.LittleEndian.Uint64(b[paged*8:]) {
		l.fail(errOther)
		return
	}
	for i := range p.numbers {
		p.numbers[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
}

// sum is over what a page has in the file, and over which page it is.
func sum(b []byte, number int) uint64 {
	return uint64(number)<<32 | uint64(crc32.Checksum(b, castagnoli))
}

func (l *list) close() { discard(l.file) }

// temporary makes a file that has no name where the system allows that.
func temporary(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".holdfast-*")
	if err == nil {
		os.Remove(f.Name())
	}
	return f, err
}

// discard gives a temporary file back, if there is one.
func discard(f *os.File) {
	if f != nil {
		f.Close()
		os.Remove(f.Name()) // where it could not be removed while it was open
	}
}

var errOther = errors.New("it reads back otherwise than it was written")
