package simtenant

import (
	"cmp"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// A search of messages is an expression of the Keyword Query Language, as in
//
//	subject:"monthly report" from:amala received>=2026-01-01 NOT hasAttachments:true
//
// Words without a property stand in the sender, the subject or the body. What stands
// side by side must all hold, but of comparisons of one property one is enough.

// Ways in which a search looks for words, beside those of filters.
const (
	wordsStand = "words" // they stand there, one after the other
	wordsBegun = "begun" // so, and the last of them may go on
)

// searched are the properties of messages that a search may name, in lower case, and
// what it compares them with.
var searched = map[string]odata.Type{
	"subject": odata.Folded, "body": odata.Folded, "from": odata.Folded, "to": odata.Folded, "cc": odata.Folded, "bcc": odata.Folded, "recipients": odata.Folded,
	"participants": odata.Folded, "attachment": odata.Folded, "importance": odata.Enum, "kind": odata.Enum, "hasattachment": odata.Bool, "hasattachments": odata.Bool,
	"received": odata.Time, "sent": odata.Time, "size": odata.Text,
}

// maxFound is how many messages a search finds at most.
const maxFound = 1000

// searchOf reads $search of messages. Nothing is searched for where there is none.
func searchOf(r *request, now time.Time) (odata.Expr, error) {
	text := option(r.query, "search")
	if text == "" {
		return nil, nil
	}
	for name, code := range map[string]string{"filter": "SearchWithFilter", "orderby": "SearchWithOrderBy"} {
		if option(r.query, name) != "" {
			return nil, fail(http.StatusBadRequest, code, "The query parameter '$"+name+"' is not supported with '$search'.")
		}
	}
	if len(text) > odata.MaxFilter {
		return nil, wrongSearch("It is longer than 2,048 characters.")
	}
	whole := strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(whole, `"`); ok {
		var b strings.Builder
		closed := false
		for i := 0; i < len(inner); i++ {
			switch {
			case closed:
				return nil, wrongSearch("There is something behind the closing quote. The whole expression stands in double quotes, and quotes in it are written \\\".")
			case inner[i] == '\\' && i+1 < len(inner):
				i++
				b.WriteByte(inner[i])
			case inner[i] == '"':
				closed = true
			default:
				b.WriteByte(inner[i])
			}
		}
		if !closed {
			return nil, wrongSearch("The closing quote is missing.")
		}
		whole = b.String()
	} else if i := strings.IndexAny(whole, `:=<>()"`); i >= 0 {
		return nil, wrongSearch(fmt.Sprintf("Syntax error: character '%c' is not valid at position %d in '%s'. Put the expression into double quotes.", whole[i], i, whole))
	}
	p := &searchParser{rest: whole, now: now}
	e := p.or(0)
	if p.wrong == "" && strings.TrimSpace(p.rest) != "" {
		p.refuse("What begins at " + quoted(p.rest) + " is not what belongs there.")
	}
	if p.wrong != "" {
		return nil, wrongSearch(p.wrong)
	}
	return e, nil
}

func wrongSearch(why string) error {
	return fail(http.StatusBadRequest, "BadRequest", "The $search cannot be understood. "+why)
}

// A searchParser reads by recursive descent; the first thing that is wrong stays.
type searchParser struct {
	rest  string
	now   time.Time
	wrong string
}

func (p *searchParser) refuse(why string) odata.Expr {
	p.wrong = cmp.Or(p.wrong, why)
	p.rest = ""
	return odata.Or{}
}

func (p *searchParser) or(depth int) odata.Expr {
	if depth > 20 {
		return p.refuse("Its parentheses are nested too deeply.")
	}
	all := odata.Or{p.and(depth)}
	for p.word("OR") {
		all = append(all, p.and(depth))
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// and reads what stands side by side.
func (p *searchParser) and(depth int) odata.Expr {
	var all odata.And
	last := ""
	for joined := true; ; joined = p.word("AND") {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == "" || p.rest[0] == ')' || p.ahead("OR") {
			if joined {
				return p.refuse("It ends where something to look for is expected.")
			}
			break
		}
		e, property := p.one(depth)
		if n := len(all); !joined && property != "" && property == last {
			all[n-1] = odata.Or{all[n-1], e}
		} else {
			all = append(all, e)
		}
		last = property
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// ahead reports whether an operator comes next.
func (p *searchParser) ahead(operator string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " "), operator)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '(' || rest[0] == '"')
}

// word takes an operator, which is written in capitals.
func (p *searchParser) word(operator string) bool {
	if !p.ahead(operator) {
		return false
	}
	p.rest = strings.TrimLeft(p.rest, " ")[len(operator):]
	return true
}

// one reads something to look for, and says which property it compares.
func (p *searchParser) one(depth int) (e odata.Expr, property string) {
	p.rest = strings.TrimLeft(p.rest, " ")
	switch {
	case p.word("NOT") || p.sign("-"):
		e, _ = p.one(depth)
		return odata.Not{X: e}, ""
	case p.sign("+"):
		return p.one(depth)
	case p.sign("("):
		e = p.or(depth + 1)
		if !p.sign(")") {
			p.refuse("A closing parenthesis is missing.")
		}
		return e, ""
	}
	if i := strings.IndexAny(p.rest, `:=<> ()"`); i > 0 && strings.IndexByte(":=<>", p.rest[i]) >= 0 {
		name := strings.ToLower(p.rest[:i])
		kind, ok := searched[name]
		if !ok {
			return p.refuse("Messages cannot be searched here by " + quoted(p.rest[:i]) + "."), ""
		}
		p.rest = p.rest[i:]
		return p.compared(odata.Property{Name: name, Type: kind}), name
	}
	text, begun := p.text()
	var all odata.Or
	for _, name := range []string{"from", "subject", "body"} {
		all = append(all, p.words(odata.Property{Name: name, Type: odata.Folded}, text, begun))
	}
	return all, ""
}

func (p *searchParser) sign(s string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " "), s)
	if ok {
		p.rest = rest
	}
	return ok
}

// text takes words in quotes, or one without.
func (p *searchParser) text() (text string, begun bool) {
	p.rest = strings.TrimLeft(p.rest, " ")
	if p.sign(`"`) {
		var closed bool
		if text, p.rest, closed = strings.Cut(p.rest, `"`); !closed {
			p.refuse("A quote is not closed.")
		}
		if p.sign("*") {
			begun = true
		}
	} else {
		n := strings.IndexAny(p.rest, ` ()"`)
		if n < 0 {
			n = len(p.rest)
		}
		text, p.rest = p.rest[:n], p.rest[n:]
	}
	text, star := strings.CutSuffix(text, "*")
	if strings.Contains(text, "*") {
		p.refuse("A * stands at the end of a word only.")
	}
	return text, begun || star
}

// words has a property say some words.
func (p *searchParser) words(of odata.Property, text string, begun bool) odata.Expr {
	list := wordsOf(text)
	if len(list) == 0 {
		return p.refuse("What is looked for holds a letter or a digit at least.")
	}
	how := wordsStand
	if begun {
		how = wordsBegun
	}
	return odata.Match{Property: of, Func: how, Text: strings.Join(list, " ")}
}

// compared reads the operator and the value that a property is compared with.
func (p *searchParser) compared(of odata.Property) odata.Expr {
	op := ""
	for _, o := range []struct{ sign, op string }{{":", "eq"}, {"=", "eq"}, {"<>", "ne"}, {">=", "ge"}, {"<=", "le"}, {">", "gt"}, {"<", "lt"}} {
		if p.sign(o.sign) {
			op = o.op
			break
		}
	}
	ordered := of.Type == odata.Time || of.Name == "size"
	if !ordered && op != "eq" && op != "ne" {
		return p.refuse("What is compared with " + quoted(of.Name) + " has no order.")
	}
	equal := func(e odata.Expr) odata.Expr {
		if op == "ne" {
			return odata.Not{X: e}
		}
		return e
	}
	if of.Type == odata.Folded && p.sign("(") {
		// Several words of one property.
		var all odata.And
		for p.wrong == "" && !p.sign(")") {
			if strings.TrimSpace(p.rest) == "" {
				return p.refuse("A closing parenthesis is missing.")
			}
			text, begun := p.text()
			all = append(all, p.words(of, text, begun))
		}
		return equal(all)
	}
	text, begun := p.text()
	switch {
	case of.Type == odata.Folded:
		return equal(p.words(of, text, begun))
	case of.Type == odata.Enum:
		return equal(odata.Compare{Property: of, Op: "eq", Value: odata.Value{Text: strings.ToLower(text)}})
	case of.Type == odata.Bool:
		text = strings.ToLower(text)
		if text != "true" && text != "false" {
			return p.refuse(quoted(of.Name) + " is true or false.")
		}
		return equal(odata.Compare{Property: of, Op: "eq", Value: odata.Value{Text: text}})
	}
	from, to, span := strings.Cut(text, "..")
	if span && op == "eq" {
		return odata.And{p.bound(of, "ge", from), p.bound(of, "le", to)}
	}
	return p.bound(of, op, text)
}

// bound compares a property with a day, a time or a number.
func (p *searchParser) bound(of odata.Property, op, text string) odata.Expr {
	compare := func(op string, v odata.Value) odata.Expr { return odata.Compare{Property: of, Op: op, Value: v} }
	if of.Name == "size" {
		if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 0 {
			return p.refuse("A size is a number of bytes, as in size>1000 or size:1..1000.")
		}
		return compare(op, odata.Value{Text: text})
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return compare(op, odata.Value{Time: at})
	}
	var day time.Time
	switch strings.ToLower(text) {
	case "today":
		day = p.now.UTC().Truncate(24 * time.Hour)
	case "yesterday":
		day = p.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	}
	for _, layout := range []string{time.DateOnly, "1/2/2006"} {
		if at, err := time.Parse(layout, text); err == nil {
			day = at
		}
	}
	if day.IsZero() {
		return p.refuse("A time is a day as in received:2026-01-31, a time as in sent>=2026-01-31T12:00:00Z, two of them as in received:2026-01-01..2026-01-31, today or yesterday.")
	}
	begin, end := odata.Value{Time: day}, odata.Value{Time: day.AddDate(0, 0, 1)}
	switch op { // a day is from its first second to its last
	case "eq":
		return odata.And{compare("ge", begin), compare("lt", end)}
	case "ne":
		return odata.Or{compare("lt", begin), compare("ge", end)}
	case "gt":
		return compare("ge", end)
	case "le":
		return compare("lt", end)
	}
	return compare(op, begin)
}

// wordsOf are the words of a text, in lower case.
func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return !backup.IsWord(c) })
}

// saysWords reports whether a text says some words one after the other, of which the
// last may go on if they are only begun.
func saysWords(text, words string, begun bool) bool {
	have, want := wordsOf(text), strings.Fields(words)
	for i := 0; i+len(want) <= len(have); i++ {
		last := len(want) - 1
		if slices.Equal(have[i:i+last], want[:last]) && (have[i+last] == want[last] || begun && strings.HasPrefix(have[i+last], want[last])) {
			return true
		}
	}
	return false
}

// readSearched reads in a message what searches name. Its file is read when its body
// or what is attached is asked for, and only its beginning before.
func (m *mailbox) readSearched(it *mailItem) members {
	var head *mailHead
	var parts []mailPart
	return func(name string) any {
		if head == nil {
			h, err := m.head(it)
			if err != nil {
				h = &mailHead{class: it.class} // the rest is known without the file
			}
			head = h
		}
		if parts == nil && (name == "body" || name == "attachment") {
			data, _ := m.bytes(it)
			if parts = partsOf(it.mime(data)); parts == nil {
				parts = []mailPart{}
			}
		}
		people := func(lists ...[]*mail.Address) any {
			var out []string
			for _, a := range slices.Concat(lists...) {
				out = append(out, a.Name, a.Address)
			}
			return out
		}
		var from []*mail.Address
		if head.from != nil {
			from = []*mail.Address{head.from}
		}
		switch name {
		case "subject":
			return head.subject
		case "from":
			return people(from)
		case "to":
			return people(head.to)
		case "cc":
			return people(head.cc)
		case "bcc":
			return people(head.bcc)
		case "recipients":
			return people(head.to, head.cc, head.bcc)
		case "participants":
			return people(from, head.to, head.cc, head.bcc)
		case "importance":
			return head.importance
		case "hasattachment", "hasattachments":
			return head.attached
		case "received":
			return time.Unix(it.received.sec, 0)
		case "sent":
			return cmpTime(head.sent, it.received.time())
		case "size":
			return it.size
		case "kind":
			switch {
			case it.isNote():
				return "notes"
			case strings.HasPrefix(it.class, "IPM.Schedule.Meeting."):
				return "meetings"
			}
			return "email"
		case "attachment":
			var names []string
			for _, p := range attachmentsOf(parts) {
				names = append(names, p.name)
			}
			return names
		}
		kind, text := bodyOf(parts)
		return withoutMarks(kind, text)
	}
}

// cmpTime is a time, or another where it is none.
func cmpTime(at, other time.Time) time.Time {
	if at.IsZero() {
		return other
	}
	return at
}
