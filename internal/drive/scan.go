package drive

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// A scanner reads JSON as the source usually writes it, in one pass: that an item
// is told in is most of what a list costs. What is unusual it does not judge. It is
// then off, and encoding/json reads the same again from its beginning.
type scanner struct {
	b     []byte
	i     int
	off   bool
	plain []byte // room for a string without its escapes
}

// A scanned value reads itself, as encoding/json would, or has the scanner off.
type scanned interface{ scan(*scanner) }

// scan reads a whole answer into out, and reports whether it could.
func scan(body []byte, out scanned) bool {
	s := &scanner{b: body}
	out.scan(s)
	s.space()
	return !s.off && s.i == len(s.b)
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// next passes over c, if it is what comes next.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.off || s.i == len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) must(c byte) {
	if !s.next(c) {
		s.off = true
	}
}

// null passes over the word, if it is what comes next.
func (s *scanner) null() bool {
	s.space()
	if s.off || s.i == len(s.b) || s.b[s.i] != 'n' {
		return false
	}
	s.word("null")
	return true
}

// object reads an object. Each of its values is for member to read.
func (s *scanner) object(member func(key []byte)) {
	s.must('{')
	for first := true; !s.off && !s.next('}'); first = false {
		if !first {
			s.must(',')
		}
		s.space()
		key := s.quoted()
		for _, c := range key {
			s.off = s.off || c == '\\' || c >= utf8.RuneSelf
		}
		if s.must(':'); !s.off {
			member(key)
		}
	}
}

// array reads an array. Each of its values is for element to read.
func (s *scanner) array(element func()) {
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

// quoted passes over a string and returns what is between its quotes, as it is
// written.
func (s *scanner) quoted() []byte {
	s.must('"')
	for from := s.i; !s.off && s.i < len(s.b); s.i++ {
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

// text reads a string. A null leaves it as it is.
func (s *scanner) text(to *string) {
	if s.null() {
		return
	}
	s.space()
	from := s.i
	t := s.quoted()
	switch {
	case s.off:
	case bytes.IndexByte(t, '\\') < 0:
		s.off = !utf8.Valid(t)
		*to = string(t)
	case s.unescape(t):
		s.off = !utf8.Valid(s.plain)
		*to = string(s.plain)
	default:
		s.off = json.Unmarshal(s.b[from:s.i], to) != nil
	}
}

// unescape makes t plain, if nothing is escaped in it but quotes and strokes, as in
// tags.
func (s *scanner) unescape(t []byte) bool {
	s.plain = s.plain[:0]
	for i := 0; i < len(t); i++ {
		if t[i] == '\\' {
			if i++; t[i] != '"' && t[i] != '\\' && t[i] != '/' {
				return false
			}
		}
		s.plain = append(s.plain, t[i])
	}
	return true
}

// deepest is how deep what is passed over may be.
const deepest = 100

// raw passes over a value and returns it as it is written.
func (s *scanner) raw() []byte {
	s.space()
	from := s.i
	s.skip(0)
	if s.off {
		return nil
	}
	return s.b[from:s.i]
}

func (s *scanner) skip(depth int) {
	s.space()
	if s.off || s.i == len(s.b) || depth == deepest {
		s.off = true
		return
	}
	switch s.b[s.i] {
	case '{':
		s.object(func([]byte) { s.skip(depth + 1) })
	case '[':
		s.array(func() { s.skip(depth + 1) })
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

func (s *scanner) word(w string) {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		s.off = true
		return
	}
	s.i += len(w)
}

// number passes over a number; those with a fraction are not usual.
func (s *scanner) number() {
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

// other passes over a member that is not one of the names. If it is one in
// another spelling, encoding/json would take it for that.
func (s *scanner) other(key []byte, names []string) {
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

// pointed reads what a pointer points to, which a null sets to nil.
func pointed[T any](s *scanner, to **T, read func(*T)) {
	if s.null() {
		*to = nil
		return
	}
	if *to == nil {
		*to = new(T)
	}
	read(*to)
}

// facet reads an object of which only counts that it is there.
func facet(s *scanner, to **struct{}) {
	pointed(s, to, func(*struct{}) { s.object(func([]byte) { s.skip(0) }) })
}

// itemNames are the members of items that are read, at whatever depth, and those by
// which a session's answer is told from an item.
var itemNames = []string{
	"id", "name", "size", "cTag", "eTag", "createdDateTime", "lastModifiedDateTime", "fileSystemInfo", "parentReference", "sharepointIds",
	"file", "folder", "package", "remoteItem", "root", "malware", "deleted", "siteId", "mimeType", "hashes", "quickXorHash", "childCount",
	"uploadUrl", "nextExpectedRanges",
}

func (w *wireItem) scan(s *scanner) {
	s.object(func(key []byte) {
		switch string(key) {
		case "id":
			s.text(&w.ID)
		case "name":
			s.text(&w.Name)
		case "size":
			w.Size.UnmarshalJSON(s.raw())
		case "cTag":
			s.text(&w.CTag)
		case "eTag":
			s.text(&w.ETag)
		case "createdDateTime":
			w.CreatedDateTime.UnmarshalJSON(s.raw())
		case "lastModifiedDateTime":
			w.LastModifiedDateTime.UnmarshalJSON(s.raw())
		case "fileSystemInfo":
			s.members(func(key []byte) {
				switch string(key) {
				case "createdDateTime":
					w.FileSystemInfo.CreatedDateTime.UnmarshalJSON(s.raw())
				case "lastModifiedDateTime":
					w.FileSystemInfo.LastModifiedDateTime.UnmarshalJSON(s.raw())
				default:
					s.other(key, itemNames)
				}
			})
		case "parentReference":
			s.members(func(key []byte) {
				switch string(key) {
				case "id":
					s.text(&w.ParentReference.ID)
				case "siteId":
					s.text(&w.ParentReference.SiteID)
				case "name":
					s.skip(0)
				default:
					s.other(key, itemNames)
				}
			})
		case "sharepointIds":
			s.members(func(key []byte) {
				if string(key) == "siteId" {
					s.text(&w.SharepointIDs.SiteID)
				} else {
					s.other(key, itemNames)
				}
			})
		case "file":
			pointed(s, &w.File, func(f *wireFile) { f.scan(s) })
		case "folder":
			pointed(s, &w.Folder, func(f *wireFolder) { f.scan(s) })
		case "package":
			facet(s, &w.Package)
		case "remoteItem":
			facet(s, &w.RemoteItem)
		case "root":
			facet(s, &w.Root)
		case "malware":
			facet(s, &w.Malware)
		case "deleted":
			facet(s, &w.Deleted)
		default:
			s.other(key, itemNames)
		}
	})
}

// members is object for what is no pointer: a null leaves it as it is.
func (s *scanner) members(member func(key []byte)) {
	if !s.null() {
		s.object(member)
	}
}

func (f *wireFile) scan(s *scanner) {
	s.object(func(key []byte) {
		switch string(key) {
		case "mimeType":
			s.text(&f.MimeType)
		case "hashes":
			s.members(func(key []byte) {
				if string(key) == "quickXorHash" {
					s.text(&f.Hashes.QuickXorHash)
				} else {
					s.other(key, itemNames)
				}
			})
		default:
			s.other(key, itemNames)
		}
	})
}

func (f *wireFolder) scan(s *scanner) {
	s.object(func(key []byte) {
		if string(key) != "childCount" {
			s.other(key, itemNames)
			return
		}
		pointed(s, &f.ChildCount, func(n *int) {
			var err error
			*n, err = strconv.Atoi(string(s.raw()))
			s.off = s.off || err != nil
		})
	})
}

var pageNames = []string{"value", "@odata.nextLink", "@odata.deltaLink"}

// scan reads a page of what can be scanned.
func (p *page[T]) scan(s *scanner) {
	if _, ok := any(new(T)).(scanned); !ok {
		s.off = true
		return
	}
	s.object(func(key []byte) {
		switch string(key) {
		case "value":
			s.off = p.Value != nil
			p.Value = []T{}
			s.array(func() {
				if len(p.Value) == maxEntries {
					s.off = true
					return
				}
				var none T
				p.Value = append(p.Value, none)
				any(&p.Value[len(p.Value)-1]).(scanned).scan(s)
			})
		case "@odata.nextLink":
			s.text(&p.Next)
		case "@odata.deltaLink":
			s.text(&p.Delta)
		default:
			s.other(key, pageNames)
		}
	})
	s.off = s.off || p.Value == nil
}
