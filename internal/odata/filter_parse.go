package odata

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
)

// A Type says which literals a property is compared with, and how.
type Type int

// The types that properties have in filters.
const (
	Text   Type = iota // a string, compared exactly
	Folded             // a string, compared without regard to case; the literal is given in lower case
	GUID               // a string that is a GUID; the literal is given in lower case
	Enum               // a string that is one of Values; without any, the only literal is null
	Time               // a date and time
	Bool               // true or false
)

// A Property is what a filter or an order may name.
type Property struct {
	Name     string
	Type     Type
	Values   []string            // of an Enum
	Nullable bool                // it may be absent
	Days     bool                // of a Time: a date alone stands for its first second
	Many     bool                // of what there may be several of: a filter names it by any
	Canon    func(string) string // of a string: the form in which it is compared; nil: as it is, or in lower case if it is Folded
	BadID    backup.Code         // of a literal that is no GUID; "" is invalidRequest
	Filters  bool                // a filter may name it
	Orders   bool                // an order may name it
}

// An Expr is a filter: And, Or, Not, Compare, In or Match. Its properties exist
// and its literals are of their types.
type Expr interface{ expr() }

type (
	// And holds when all of its parts do. It has two or more.
	And []Expr
	// Or holds when one of its parts does. It has two or more.
	Or []Expr
	// Not holds when X does not.
	Not struct{ X Expr }
	// Compare holds when Property stands to Value as Op says: eq, ne, lt, le, gt
	// or ge. What is absent equals null only, and is neither less nor greater
	// than anything. Null is compared by eq and ne only. Of a Property that is Many
	// one is enough, as it is for Match.
	Compare struct {
		Property Property
		Op       string
		Value    Value
	}
	// In holds when Property equals one of Values.
	In struct {
		Property Property
		Values   []Value
	}
	// Match holds when Property contains Text, or begins or ends with it, as Func
	// says: contains, startswith or endswith. What is absent does none of it.
	Match struct {
		Property Property
		Func     string
		Text     string
	}
)

func (And) expr()     {}
func (Or) expr()      {}
func (Not) expr()     {}
func (Compare) expr() {}
func (In) expr()      {}
func (Match) expr()   {}

// A Value is a literal.
type Value struct {
	Null bool
	Text string    // of a string
	Time time.Time // of a Time
}

// maxFilterDepth is how deep parentheses may be nested.
const maxFilterDepth = 50

var (
	comparisons   = []string{"eq", "ne", "lt", "le", "gt", "ge"}
	textFunctions = []string{"contains", "startswith", "endswith"}
)

// ParseFilter reads a $filter over properties. What is wrong with it is an
// error that names the part at fault.
func ParseFilter(text string, properties []Property) (Expr, error) {
	if utf8.RuneCountInString(text) > MaxFilter {
		return nil, filterTooLong()
	}
	if strings.IndexByte(text, 0) >= 0 {
		return nil, wrongFilter("It holds a null character.")
	}
	p := filterParser{rest: text, properties: properties}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.blanks(); p.rest != "" {
		return nil, wrongFilter("There is something behind its end: '" + printable(p.rest) + "'.")
	}
	return e, nil
}

func filterTooLong() *backup.Error {
	return backup.Fail(backup.FilterLengthExceeded, "The $filter is longer than 2,048 characters. Send a shorter one.").On("$filter")
}

func wrongFilter(why string) *backup.Error {
	return invalid("The $filter cannot be understood. " + why).On("$filter")
}

// A filterParser reads by recursive descent: one method for each rule of the
// grammar.
type filterParser struct {
	rest       string
	properties []Property
	each       [2]string // within any: the name of the variable, and what it stands for
}

func (p *filterParser) blanks() { p.rest = strings.TrimLeft(p.rest, " ") }

// take reads a mark, with blanks before it.
func (p *filterParser) take(mark string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " "), mark)
	if ok {
		p.rest = rest
	}
	return ok
}

// word reads a name, with blanks before it. It is "" if there is none.
func (p *filterParser) word() string {
	p.blanks()
	n := 0
	for n < len(p.rest) && isNameByte(p.rest[n]) {
		n++
	}
	w := p.rest[:n]
	p.rest = p.rest[n:]
	return w
}

func isNameByte(c byte) bool {
	return c == '_' || c == '@' || c == '/' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// keyword reads a word that must be want and stand apart from what follows; if
// it is another, nothing is read.
func (p *filterParser) keyword(want string) bool {
	before := p.rest
	if p.word() == want && (strings.HasPrefix(p.rest, " ") || strings.HasPrefix(p.rest, "(")) {
		return true
	}
	p.rest = before
	return false
}

func (p *filterParser) or(depth int) (Expr, error) {
	if depth > maxFilterDepth {
		return nil, wrongFilter("Its parentheses are nested too deeply.")
	}
	return p.joined("or", func() (Expr, error) {
		return p.joined("and", func() (Expr, error) { return p.unary(depth) }, func(all []Expr) Expr { return And(all) })
	}, func(all []Expr) Expr { return Or(all) })
}

// joined reads one or more parts with the operator between them.
func (p *filterParser) joined(operator string, part func() (Expr, error), join func([]Expr) Expr) (Expr, error) {
	var all []Expr
	for {
		e, err := part()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if !p.keyword(operator) {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return join(all), nil
}

func (p *filterParser) unary(depth int) (Expr, error) {
	if !p.keyword("not") {
		return p.primary(depth)
	}
	e, err := p.primary(depth)
	return Not{e}, err
}

func (p *filterParser) primary(depth int) (Expr, error) {
	if p.take("(") {
		e, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = wrongFilter("A closing parenthesis is missing.")
		}
		return e, err
	}
	name := p.word()
	switch {
	case name == "" && strings.TrimLeft(p.rest, " ") == "":
		return nil, wrongFilter("It ends where the name of a property is expected.")
	case name == "":
		return nil, wrongFilter("The name of a property is expected before '" + printable(p.rest) + "'.")
	case strings.HasPrefix(p.rest, "("):
		return p.function(name)
	}
	prop, err := p.property(name)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(p.rest, " ") {
		return nil, wrongFilter("An operator is expected behind '" + prop.Name + "'.")
	}
	op := p.word()
	if op == "in" {
		return p.in(prop)
	}
	if !slices.Contains(comparisons, op) || !strings.HasPrefix(p.rest, " ") {
		return nil, wrongFilter("There is no operator '" + printable(op) + "'. There are eq, ne, lt, le, gt, ge and in, followed by a blank and a value.")
	}
	v, err := p.literal(prop)
	if err != nil {
		return nil, err
	}
	equality := op == "eq" || op == "ne"
	switch {
	case v.Null && !equality:
		return nil, wrongFilter("Null can be compared by eq and ne only.")
	case (prop.Type == Enum || prop.Type == Bool) && !equality:
		return nil, wrongFilter("The values of '" + prop.Name + "' have no order: they can be compared by eq, ne and in.")
	}
	return Compare{prop, op, v}, nil
}

// property finds a property by its name, in any case.
func (p *filterParser) property(name string) (Property, error) {
	if first, rest, _ := strings.Cut(name, "/"); p.each[0] != "" && first == p.each[0] {
		name = strings.TrimSuffix(p.each[1]+"/"+rest, "/")
	} else if p.each[0] != "" {
		return Property{}, wrongFilter("Within any, properties are those of '" + p.each[0] + "'.")
	}
	for _, prop := range p.properties {
		if prop.Filters && prop.Many == (p.each[0] != "") && strings.EqualFold(prop.Name, name) {
			return prop, nil
		}
	}
	return Property{}, invalid("The $filter names '" + printable(name) + "', by which this resource cannot be filtered.").On("$filter")
}

func (p *filterParser) in(prop Property) (Expr, error) {
	if !p.take("(") {
		return nil, wrongFilter("The operator in is followed by a list in parentheses.")
	}
	var values []Value
	for {
		v, err := p.literal(prop)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if p.take(")") {
			return In{prop, values}, nil
		}
		if !p.take(",") {
			return nil, wrongFilter("A list needs a comma between its values and a closing parenthesis.")
		}
	}
}

// any reads the one comparison that an element of many must meet, as in
// categories/any(c:c eq 'Red').
func (p *filterParser) any(of string) (Expr, error) {
	p.take("(")
	name := p.word()
	if name == "" || strings.ContainsAny(name, "/.") || !p.take(":") || p.each[0] != "" {
		return nil, wrongFilter("The function any is of the form " + of + "/any(x:x eq 'value').")
	}
	p.each = [2]string{name, of}
	e, err := p.primary(maxFilterDepth)
	p.each = [2]string{}
	if err == nil && !p.take(")") {
		err = wrongFilter("The function any takes one comparison here.")
	}
	return e, err
}

func (p *filterParser) function(name string) (Expr, error) {
	if of, ok := strings.CutSuffix(name, "/any"); ok && slices.ContainsFunc(p.properties, func(prop Property) bool { return prop.Many }) {
		return p.any(of)
	}
	if !slices.Contains(textFunctions, name) {
		return nil, wrongFilter("There is no function '" + printable(name) + "'. There are contains, startswith and endswith.")
	}
	p.take("(")
	prop, err := p.property(p.word())
	if err != nil {
		return nil, err
	}
	if prop.Type == Enum || prop.Type == Time || prop.Type == Bool {
		return nil, wrongFilter("The property '" + prop.Name + "' is not a text for " + name + ".")
	}
	if !p.take(",") {
		return nil, wrongFilter("The function " + name + " takes a property and a string.")
	}
	text, ok, err := p.text()
	if err != nil {
		return nil, err
	}
	if !ok || !p.take(")") {
		return nil, wrongFilter("The function " + name + " takes a property and a string.")
	}
	if prop.Type != Text { // of which a part may be in no form
		text = prop.canonical(text)
	}
	return Match{prop, name, text}, nil
}

// text reads a string in quotes. It reports false if there is none.
func (p *filterParser) text() (string, bool, error) {
	p.blanks()
	if !strings.HasPrefix(p.rest, "'") {
		return "", false, nil
	}
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != '\'' {
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == '\'' {
			i++
			continue
		}
		s, _ := unquote(p.rest[:i+1])
		p.rest = p.rest[i+1:]
		return s, true, nil
	}
	return "", false, wrongFilter("A string is not closed.")
}

// literal reads a value for a property.
func (p *filterParser) literal(prop Property) (Value, error) {
	s, quoted, err := p.text()
	if err != nil {
		return Value{}, err
	}
	if !quoted {
		n := strings.IndexAny(p.rest, " ,()'")
		if n < 0 {
			n = len(p.rest)
		}
		s, p.rest = p.rest[:n], p.rest[n:]
		if s == "null" {
			return Value{Null: true}, nil
		}
	}
	return prop.value(s, quoted)
}

// value makes a literal a value of p.
func (p Property) value(s string, quoted bool) (Value, error) {
	wrong := func(want string) (Value, error) {
		return Value{}, invalid("The $filter compares '" + p.Name + "' with '" + printable(s) + "'. It must be " + want + ".").On("$filter")
	}
	switch p.Type {
	case Bool:
		if quoted || s != "true" && s != "false" {
			return wrong("true or false, without quotes")
		}
		return Value{Text: s}, nil
	case Time:
		at, ok := ParseTime(s)
		if day, err := time.Parse(time.DateOnly, s); err == nil && p.Days {
			at, ok = day, true
		}
		if quoted || !ok {
			return wrong("a date and time without quotes, such as 2026-01-31T12:00:00Z")
		}
		return Value{Time: at}, nil
	case GUID:
		id, ok := backup.ParseGUID(s)
		if ok {
			return Value{Text: id}, nil
		}
		if p.BadID != "" {
			return Value{}, backup.Fail(p.BadID, "The $filter compares '"+p.Name+"' with '"+printable(s)+"', which is not a GUID.").On("$filter")
		}
		return wrong("a GUID")
	case Enum:
		if len(p.Values) == 0 {
			return wrong("null")
		}
		if !quoted || !slices.Contains(p.Values, s) {
			return wrong("one of '" + strings.Join(p.Values, "', '") + "', in quotes")
		}
		return Value{Text: s}, nil
	}
	if !quoted {
		return wrong("a string in quotes")
	}
	return Value{Text: p.canonical(s)}, nil
}

// canonical is a text in the form in which p is compared.
func (p Property) canonical(s string) string {
	switch {
	case p.Canon != nil && p.Type != GUID:
		return p.Canon(s)
	case p.Type != Text:
		return strings.ToLower(s)
	}
	return s
}

// An Order is one key of an $orderby.
type Order struct {
	Property Property
	Desc     bool
}

// ParseOrder reads an $orderby over properties.
func ParseOrder(text string, properties []Property) ([]Order, error) {
	var orders []Order
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != "asc" && words[1] != "desc" {
			return nil, OrderBy.wrong("must be a list of properties, each followed by asc, desc or nothing")
		}
		i := slices.IndexFunc(properties, func(p Property) bool { return p.Orders && strings.EqualFold(p.Name, words[0]) })
		if i < 0 {
			return nil, invalid("The $orderby names '" + printable(words[0]) + "', by which this resource cannot be ordered.").On("$orderby")
		}
		if slices.ContainsFunc(orders, func(o Order) bool { return o.Property.Name == properties[i].Name }) {
			return nil, OrderBy.wrong("names '" + properties[i].Name + "' twice")
		}
		orders = append(orders, Order{properties[i], len(words) == 2 && words[1] == "desc"})
	}
	return orders, nil
}
