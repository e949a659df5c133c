package simtenant

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// card is a component of an iCalendar or a vCard: its lines, unfolded, and the
// components in it. What is not understood stays as it is.
type card struct {
	kind  string // in upper case; empty for what holds all
	lines []string
	parts []*card
}

// maxCardDepth bounds what is read of a file that means harm.
const maxCardDepth = 20

// readCards takes a text apart, however badly it is made.
func readCards(text []byte) *card {
	root := &card{}
	open := []*card{root}
	for raw := range bytes.SplitSeq(unfold(text), []byte("\n")) {
		line := strings.ToValidUTF8(strings.TrimRight(string(raw), "\r"), "\uFFFD")
		top := open[len(open)-1]
		switch name, value, _ := strings.Cut(line, ":"); {
		case strings.TrimSpace(line) == "":
		case strings.EqualFold(name, "BEGIN"):
			if len(open) <= maxCardDepth {
				c := &card{kind: strings.ToUpper(strings.TrimSpace(value))}
				top.parts = append(top.parts, c)
				open = append(open, c)
			}
		case strings.EqualFold(name, "END"):
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		default:
			top.lines = append(top.lines, line)
		}
	}
	return root
}

// find returns the first component of a kind, at any depth, or nil.
func (c *card) find(kinds ...string) *card {
	for _, part := range c.parts {
		if slices.Contains(kinds, part.kind) {
			return part
		}
		if found := part.find(kinds...); found != nil {
			return found
		}
	}
	return nil
}

// lineName is the name of a line, in upper case.
func lineName(line string) string {
	if i := strings.IndexAny(line, ":;"); i >= 0 {
		line = line[:i]
	}
	return strings.ToUpper(line)
}

// set gives a component other lines of a name.
func (c *card) set(name string, lines ...string) {
	c.lines = append(slices.DeleteFunc(c.lines, func(l string) bool { return lineName(l) == name }), lines...)
}

// setText gives a component one line of a text, or none if there is none.
func (c *card) setText(name, text string) {
	c.set(name)
	if text != "" {
		c.lines = append(c.lines, name+":"+escapeText(text))
	}
}

// text is a component as a file has it, its lines folded.
func (c *card) text() []byte {
	var b bytes.Buffer
	c.write(&b)
	return b.Bytes()
}

func (c *card) write(b *bytes.Buffer) {
	line := func(s string) {
		const most = 74 // bytes of a line
		for len(s) > most {
			cut := most
			for cut > 1 && !utf8.RuneStart(s[cut]) {
				cut--
			}
			b.WriteString(s[:cut] + "\r\n ")
			s = s[cut:]
		}
		b.WriteString(s + "\r\n")
	}
	if c.kind != "" {
		line("BEGIN:" + c.kind)
	}
	// What is large comes last: what an event is stands at the beginning of its file.
	attached := func(l string) bool { return lineName(l) == "ATTACH" || lineName(l) == "PHOTO" }
	for _, last := range []bool{false, true} {
		for _, l := range c.lines {
			if attached(l) == last {
				line(l)
			}
		}
	}
	for _, part := range c.parts {
		part.write(b)
	}
	if c.kind != "" {
		line("END:" + c.kind)
	}
}

// copy returns a component that shares nothing with c.
func (c *card) copy() *card {
	out := &card{kind: c.kind, lines: slices.Clone(c.lines)}
	for _, part := range c.parts {
		out.parts = append(out.parts, part.copy())
	}
	return out
}

// paper is c's lines by name.
func (c *card) paper() paper {
	p := paper{}
	if c == nil {
		return p
	}
	for _, line := range c.lines {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		// A value in quotes may hold the sign that ends the name.
		for strings.Count(key, `"`)%2 == 1 {
			more, rest, ok := strings.Cut(value, ":")
			if !ok {
				break
			}
			key, value = key+":"+more, rest
		}
		name, params, _ := strings.Cut(key, ";")
		name = strings.ToUpper(name)
		p[name] = append(p[name], paperLine{strings.ToUpper(params), params, value})
	}
	return p
}

var escapeText = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", "").Replace

// escapeParam is a parameter's value, in quotes.
func escapeParam(s string) string {
	return `"` + strings.Map(func(c rune) rune {
		if c == '"' || c < ' ' {
			return -1
		}
		return c
	}, s) + `"`
}

// fields splits a value at its semicolons, and decodes what is between.
func (l paperLine) fields() (out []string) {
	from := 0
	for i := 0; i <= len(l.value); i++ {
		switch {
		case i < len(l.value) && l.value[i] == '\\':
			i++
		case i == len(l.value) || l.value[i] == ';':
			out = append(out, plainLine.Replace(l.value[from:i]))
			from = i + 1
		}
	}
	return out
}

// fieldsOf are the fields of the first line of a name, with as many as wanted.
func (p paper) fieldsOf(name string, n int) []string {
	out := make([]string, n)
	if lines := p[name]; len(lines) > 0 {
		copy(out, lines[0].fields())
	}
	return out
}
