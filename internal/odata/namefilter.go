package odata

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameFilter is the longest filter of names, in bytes.
const MaxNameFilter = 1024

// maxNameDepth is how deep a filter of names may be nested.
const maxNameDepth = 16

// A NameFilter chooses items by their names, in the language of browse
// sessions, whose operators begin with a dash:
//
//	filter = term { ("-and" | "-or") term }        -and binds closer than -or
//	term   = "(" filter ")" | "-not" term | "name" op string
//	op     = "-eq" | "-ne" | "-contains" | "-like"
//	string = "'" { character | "''" } "'"
//
// Words and names are compared without regard to case. In the text of -like an
// asterisk stands for any characters and a question mark for one. The zero
// NameFilter chooses everything.
type NameFilter struct{ match func(name string) bool }

// Match reports whether the filter chooses an item of that name.
func (f NameFilter) Match(name string) bool { return f.match == nil || f.match(strings.ToLower(name)) }

// ParseNameFilter reads a filter. An empty one chooses everything.
func ParseNameFilter(text string) (NameFilter, error) {
	if len(text) > MaxNameFilter {
		return NameFilter{}, invalid("The filter is longer than 1,024 bytes. Send a shorter one.").On("filter")
	}
	p := nameParser{rest: text}
	if p.skip(); p.rest == "" {
		return NameFilter{}, nil
	}
	match := p.filter(0)
	if p.skip(); p.rest != "" {
		p.failed = true
	}
	if p.failed {
		return NameFilter{}, invalid("The filter cannot be understood. It compares the name, such as \"(name -contains 'report')\", with -eq, -ne, -contains or -like, joined by -and and -or.").On("filter")
	}
	return NameFilter{match}, nil
}

type matcher = func(lower string) bool

// A nameParser reads a filter from the left. After a failure what it returns
// means nothing.
type nameParser struct {
	rest   string
	failed bool
}

func (p *nameParser) skip() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// word takes the next word if it is the one given. A word ends where letters
// do.
func (p *nameParser) word(w string) bool {
	p.skip()
	if len(p.rest) < len(w) || !strings.EqualFold(p.rest[:len(w)], w) {
		return false
	}
	after := p.rest[len(w):]
	if r, _ := utf8.DecodeRuneInString(after); unicode.IsLetter(r) || unicode.IsDigit(r) {
		return false
	}
	p.rest = after
	return true
}

func (p *nameParser) symbol(s string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *nameParser) filter(depth int) matcher {
	any := []matcher{p.all(depth)}
	for p.word("-or") {
		any = append(any, p.all(depth))
	}
	return func(name string) bool {
		for _, m := range any {
			if m(name) {
				return true
			}
		}
		return false
	}
}

func (p *nameParser) all(depth int) matcher {
	all := []matcher{p.term(depth)}
	for p.word("-and") {
		all = append(all, p.term(depth))
	}
	return func(name string) bool {
		for _, m := range all {
			if !m(name) {
				return false
			}
		}
		return true
	}
}

func (p *nameParser) term(depth int) matcher {
	nothing := func(string) bool { return false }
	if depth == maxNameDepth {
		p.failed = true
	}
	switch {
	case p.failed:
		return nothing
	case p.symbol("("):
		m := p.filter(depth + 1)
		p.failed = !p.symbol(")") || p.failed
		return m
	case p.word("-not"):
		m := p.term(depth + 1)
		return func(name string) bool { return !m(name) }
	case !p.word("name"):
		p.failed = true
		return nothing
	}
	for _, op := range []string{"-eq", "-ne", "-contains", "-like"} {
		if !p.word(op) {
			continue
		}
		text, ok := p.text()
		p.failed = !ok || p.failed
		switch op {
		case "-eq":
			return func(name string) bool { return name == text }
		case "-ne":
			return func(name string) bool { return name != text }
		case "-contains":
			return func(name string) bool { return strings.Contains(name, text) }
		}
		pattern := []rune(text)
		return func(name string) bool { return like(pattern, []rune(name)) }
	}
	p.failed = true
	return nothing
}

// text takes a string in quotes, and returns it in lower case.
func (p *nameParser) text() (string, bool) {
	if !p.symbol("'") {
		return "", false
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(p.rest, "'")
		if !ok {
			return "", false
		}
		b.WriteString(before)
		if p.rest = after; !strings.HasPrefix(after, "'") {
			return strings.ToLower(b.String()), true
		}
		b.WriteByte('\'')
		p.rest = after[1:]
	}
}

// like reports whether a name is as a pattern says. It costs at most the
// product of their lengths.
func like(pattern, name []rune) bool {
	star, from := -1, 0
	i := 0
	for n := 0; n < len(name); {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, n
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == name[n]):
			i++
			n++
		case star >= 0:
			from++
			i, n = star+1, from
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}
