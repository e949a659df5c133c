package spill

import (
	"encoding/binary"
	"time"
)

// A Writer makes a value of parts, which a Reader takes out in the same order. The
// zero value is empty.
type Writer []byte

// Int adds a number.
func (w *Writer) Int(n int64) { *w = binary.AppendVarint(*w, n) }

// Bool adds a yes or no.
func (w *Writer) Bool(is bool) {
	if is {
		*w = append(*w, 1)
	} else {
		*w = append(*w, 0)
	}
}

// Text adds a text.
func (w *Writer) Text(s string) {
	*w = binary.AppendUvarint(*w, uint64(len(s)))
	*w = append(*w, s...)
}

// Time adds a time, which is read as the same moment in UTC.
func (w *Writer) Time(t time.Time) {
	w.Bool(!t.IsZero())
	if !t.IsZero() {
		w.Int(t.Unix())
		w.Int(int64(t.Nanosecond()))
	}
}

// A Reader takes a value apart. What is beyond its end is zero.
type Reader string

// Int takes a number.
func (r *Reader) Int() int64 {
	u := r.uvarint()
	n := int64(u >> 1)
	if u&1 != 0 {
		n = ^n
	}
	return n
}

func (r *Reader) uvarint() (n uint64) {
	for i := 0; i < len(*r) && i < binary.MaxVarintLen64; i++ {
		b := (*r)[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			*r = (*r)[i+1:]
			return n
		}
	}
	*r = ""
	return 0
}

// Bool takes a yes or no.
func (r *Reader) Bool() bool {
	if *r == "" {
		return false
	}
	is := (*r)[0] != 0
	*r = (*r)[1:]
	return is
}

// Text takes a text, which shares the value's memory.
func (r *Reader) Text() string {
	n := min(r.uvarint(), uint64(len(*r)))
	s := string((*r)[:n])
	*r = (*r)[n:]
	return s
}

// Time takes a time.
func (r *Reader) Time() time.Time {
	if !r.Bool() {
		return time.Time{}
	}
	seconds, nanoseconds := r.Int(), r.Int()
	return time.Unix(seconds, nanoseconds).UTC()
}
