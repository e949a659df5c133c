// Package jsonscan reads JSON as it is usually written, in one pass, into the few
// types of which a drive has hundreds of thousands: by encoding/json they would cost
// more than all else that is done with them. What is unusual it does not judge: a
// [Scanner] is then off, and encoding/json reads the same again from its beginning.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A Scanner reads one JSON text.
type Scanner struct {
	b     []byte
	i     int
	off   bool
	plain []byte // room for a string without its escapes

	together bool            // strings share room
	room     strings.Builder // that those have which come next
}

// A Scanned value reads itself as encoding/json would, or has the scanner off. It is
// then worth nothing.
type Scanned interface{ Scan(*Scanner) }

// Scan reads a whole text into out, whose value is zero, and reports whether it could.
func Scan(text []byte, out Scanned) bool {
	s := &Scanner{b: text}
	out.Scan(s)
	s.space()
	return !s.off && s.i == len(s.b)
}

// ScanTogether is Scan into what is kept and dropped as a whole: its strings share their
// memory, so that one that stays may keep a kilobyte of others.
func ScanTogether(text []byte, out Scanned) bool {
	s := &Scanner{b: text, together: true}
	out.Scan(s)
	s.space()
	return !s.off && s.i == len(s.b)
}

// roomSize is how much memory strings share.
const roomSize = 1 << 10

// text returns a string of its own.
func (s *Scanner) text(t []byte) string {
	if !s.together || len(t) > roomSize/4 {
		return string(t)
	}
	if s.room.Cap()-s.room.Len() < len(t) {
		s.room = strings.Builder{}
		s.room.Grow(min(roomSize, len(t)+len(s.b)-s.i))
	}
	from := s.room.Len()
	s.room.Write(t)
	return s.room.String()[from:]
}

// Key returns a member's name as a string of its own.
func (s *Scanner) Key(key []byte) string { return s.text(key) }

// Off says that something is unusual.
func (s *Scanner) Off() { s.off = true }

func (s *Scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// next passes over c, if it is what comes next.
func (s *Scanner) next(c byte) bool {
	s.space()
	if s.off || s.i == len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

func (s *Scanner) must(c byte) {
	if !s.next(c) {
		s.off = true
	}
}

// Null passes over the word, if it is what comes next.
func (s *Scanner) Null() bool {
	s.space()
	if s.off || s.i == len(s.b) || s.b[s.i] != 'n' {
		return false
	}
	s.word("null")
	return true
}

// Members is Object for what is no pointer: a null leaves it as it is.
func (s *Scanner) Members(member func(key []byte)) {
	if !s.Null() {
		s.Object(member)
	}
}

// Skip passes over a value.
func (s *Scanner) Skip() { s.skip(0) }

// Object reads an object. Each of its values is for member to read.
func (s *Scanner) Object(member func(key []byte)) {
	s.must('{')
	for first := true; !s.off && !s.next('}'); first = false {
		if !first {
			s.must(',')
		}
		s.space()
		key := s.quoted()
		for _, c := range key {
			if c == '\\' || c >= utf8.RuneSelf {
				s.off = true
			}
		}
		if s.must(':'); !s.off {
			member(key)
		}
	}
}

// Array reads an array. Each of its values is for element to read.
func (s *Scanner) Array(element func()) {
	s.must('[')
	for first := true; !s.off && !s.next(']'); first = false {
		if !first {
			s.must(',')
		}
		if !s.off {
			element()
		}
	}
}

// Elements reads an array into a list, which has room for as many as there seem to be by
// those that were read, but for no more than twice those: they may be large, and to grow
// is to copy them.
func Elements[T any](s *Scanner, read func(*T)) []T {
	list, from := []T{}, s.i
	s.Array(func() {
		if n := len(list); n > 0 && n == cap(list) {
			list = slices.Grow(list, min((len(s.b)-s.i)*n/(s.i-from)+1, max(n, someElements)))
		}
		list = append(list, *new(T))
		read(&list[len(list)-1])
	})
	return list
}

// someElements is for how many there is room at once.
const someElements = 256

// quoted passes over a string and returns what is between its quotes, as it is
// written.
func (s *Scanner) quoted() []byte {
	s.must('"')
	for from := s.i; !s.off && s.i < len(s.b); s.i++ {
		for s.i+8 <= len(s.b) && usual(binary.LittleEndian.Uint64(s.b[s.i:])) {
			s.i += 8
		}
		if s.i == len(s.b) {
			break
		}
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[from : s.i-1]
		case c == '\\':
			s.i++
		case c < ' ':
			s.off = true
		}
	}
	s.off = true
	return nil
}

// usual reports whether none of eight bytes is a quote, a backslash or below a space.
func usual(x uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	quote, stroke := x^each*'"', x^each*'\\'
	return ((x-each*' ')&^x|(quote-each)&^quote|(stroke-each)&^stroke)&high == 0
}

// Text reads a string. A null leaves it as it is.
func (s *Scanner) Text(to *string) {
	if s.Null() {
		return
	}
	s.space()
	from := s.i
	t := s.quoted()
	switch {
	case s.off:
	case bytes.IndexByte(t, '\\') < 0:
		s.off = !utf8.Valid(t)
		*to = s.text(t)
	case s.unescape(t):
		s.off = !utf8.Valid(s.plain)
		*to = s.text(s.plain)
	default:
		s.off = json.Unmarshal(s.b[from:s.i], to) != nil
	}
}

// Word is Text of what mostly is one of a few words.
func (s *Scanner) Word(to *string, of ...string) {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '"' {
		rest := s.b[s.i+1:]
		for _, word := range of {
			if len(rest) > len(word) && rest[len(word)] == '"' && string(rest[:len(word)]) == word {
				*to = word
				s.i += len(word) + 2
				return
			}
		}
	}
	s.Text(to)
}

// unescape makes t plain, if nothing is escaped in it but quotes and strokes, as in
// tags, and single characters by their numbers.
func (s *Scanner) unescape(t []byte) bool {
	s.plain = s.plain[:0]
	for i := 0; i < len(t); i++ {
		c := t[i]
		if c == '\\' {
			i++
			switch c = t[i]; c {
			case '"', '\\', '/':
			case 'u':
				if len(t)-i < 5 {
					return false
				}
				n, err := strconv.ParseUint(string(t[i+1:i+5]), 16, 16)
				if err != nil || utf16.IsSurrogate(rune(n)) {
					return false
				}
				s.plain = utf8.AppendRune(s.plain, rune(n))
				i += 4
				continue
			default:
				return false
			}
		}
		s.plain = append(s.plain, c)
	}
	return true
}

// deepest is how deep what is passed over may be.
const deepest = 100

// Raw passes over a value and returns it as it is written.
func (s *Scanner) Raw() []byte {
	s.space()
	from := s.i
	s.skip(0)
	if s.off {
		return nil
	}
	return s.b[from:s.i]
}

func (s *Scanner) skip(depth int) {
	s.space()
	if s.off || s.i == len(s.b) || depth == deepest {
		s.off = true
		return
	}
	switch s.b[s.i] {
	case '{':
		s.Object(func([]byte) { s.skip(depth + 1) })
	case '[':
		s.Array(func() { s.skip(depth + 1) })
	case '"':
		from := s.i
		if t := s.quoted(); bytes.IndexByte(t, '\\') >= 0 {
			s.off = s.off || !json.Valid(s.b[from:s.i])
		}
	case 't':
		s.word("true")
	case 'f':
		s.word("false")
	case 'n':
		s.word("null")
	default:
		s.number()
	}
}

func (s *Scanner) word(w string) {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		s.off = true
		return
	}
	s.i += len(w)
}

// number passes over a number; those with a fraction are not usual.
func (s *Scanner) number() {
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	from := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	n := s.i - from
	s.off = s.off || n == 0 || n > 1 && s.b[from] == '0' || s.i < len(s.b) && (s.b[s.i] == '.' || s.b[s.i]|0x20 == 'e')
}

// Other passes over a member that is not one of the names. If it is one in
// another spelling, encoding/json would take it for that.
func (s *Scanner) Other(key []byte, names []string) {
	for _, name := range names {
		if len(name) == len(key) && equalFold(name, key) {
			s.off = true
			return
		}
	}
	s.skip(0)
}

// equalFold is strings.EqualFold for ASCII.
func equalFold(a string, b []byte) bool {
	for i := range len(a) {
		if x, y := a[i], b[i]; x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// Pointed reads what a pointer points to, which a null sets to nil.
func Pointed[T any](s *Scanner, to **T, read func(*T)) {
	if s.Null() {
		*to = nil
		return
	}
	if *to == nil {
		*to = new(T)
	}
	read(*to)
}
