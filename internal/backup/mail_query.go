package backup

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of the expression that finds items of a mailbox.
const (
	maxMailQuery   = 2048 // bytes
	maxMailTexts   = 3    // comparisons of one property of texts
	maxMailText    = 255  // characters of one
	maxMailNesting = 16   // parentheses in parentheses
)

// A MailProperty is what of an item of a mailbox can be asked for.
type MailProperty string

const (
	MailSubject       MailProperty = "Subject"
	MailSender        MailProperty = "Sender"
	MailParticipants  MailProperty = "Participants" // those to whom it was sent
	MailHasAttachment MailProperty = "HasAttachment"
	MailMessageKind   MailProperty = "MessageKind"
)

// A MailMatch is how a text is looked for. Neither case nor signs that are no
// letters or digits matter.
type MailMatch string

const (
	MailWords    MailMatch = "words"    // its words stand there, one after the other
	MailBegun    MailMatch = "begun"    // so, and the last of them may go on
	MailContains MailMatch = "contains" // it stands there, also within a word
	MailIs       MailMatch = "is"       // that, or one of several, is all there is
)

// A MailQuery is a condition on the items of a mailbox: a comparison, or several
// conditions of which one, or each, is to be met. The zero query is met by all.
type MailQuery struct {
	All   bool // of Parts each, not one
	Parts []MailQuery

	Property   MailProperty
	Match      MailMatch // of a text
	Text       string
	Attachment bool
	Kind       MailKind
}

// ParseMailQuery reads the expression of an artifactQuery,
//
//	(Subject -like 'Invoice*') -and (Sender -like 'vendor*') -and (HasAttachment -eq 'true') -and (MessageKind -eq 'Email')
//
// Properties and operators are written in any case. Comparisons are joined by -and
// and by -or, which binds less. A quote in a text is written twice; there are curly
// quotes too. Besides -like, with a * at the end, texts are compared by -contains
// and -eq, and Recipient is another name of Participants, as in Microsoft's example.
// Of Subject, Sender and Participants there may be three comparisons each.
//
// An expression of another form is InvalidSearchRequest, one that is too long
// FilterLengthExceeded.
func ParseMailQuery(text string) (MailQuery, error) {
	wrong := func(message string) (MailQuery, error) {
		return MailQuery{}, Fail(InvalidSearchRequest, message).On("queryExpression")
	}
	if len(text) > maxMailQuery {
		return MailQuery{}, Fail(FilterLengthExceeded, "The queryExpression is longer than 2,048 bytes. Send a shorter one.").On("queryExpression")
	}
	p := mailParser{ruleParser: ruleParser{text: text}, texts: map[MailProperty]int{}}
	q := p.either(0)
	p.end()
	switch {
	case p.wrong != "":
		return wrong(p.wrong)
	case p.failed:
		return wrong("The queryExpression is not of the form (Subject -like 'Invoice*') -and (Sender -like 'amala@contoso.com'): character " +
			strconv.Itoa(utf8.RuneCountInString(text[:p.pos])+1) + " is not what belongs there.")
	}
	for property, n := range p.texts {
		if n > maxMailTexts {
			return wrong("The queryExpression compares " + string(property) + " " + strconv.Itoa(n) + " times, and may do so three times.")
		}
	}
	return q, nil
}

// A mailParser reads the expression that finds items of a mailbox.
type mailParser struct {
	ruleParser
	texts map[MailProperty]int // how often each was compared
	wrong string               // what is wrong with a comparison that is of the form
}

// either takes conditions joined by -or.
func (p *mailParser) either(depth int) MailQuery {
	return p.joined(false, "-or", func() MailQuery {
		return p.joined(true, "-and", func() MailQuery { return p.operand(depth) })
	})
}

func (p *mailParser) joined(all bool, operator string, operand func() MailQuery) MailQuery {
	q := MailQuery{All: all, Parts: []MailQuery{operand()}}
	for p.take(operator) {
		q.Parts = append(q.Parts, operand())
	}
	if len(q.Parts) == 1 {
		return q.Parts[0]
	}
	return q
}

func (p *mailParser) operand(depth int) MailQuery {
	if !p.at("(") {
		return p.comparison()
	}
	p.sign("(")
	if depth == maxMailNesting {
		p.failed = true
	}
	if p.failed {
		return MailQuery{}
	}
	q := p.either(depth + 1)
	p.sign(")")
	return q
}

// take takes a word in any case, if it comes next.
func (p *mailParser) take(word string) bool {
	if p.at(""); p.failed || len(p.text)-p.pos < len(word) || !strings.EqualFold(p.text[p.pos:p.pos+len(word)], word) {
		return false
	}
	before := p.pos
	p.word(p.text[p.pos : p.pos+len(word)])
	if p.failed {
		p.failed, p.pos = false, before
		return false
	}
	return true
}

func (p *mailParser) comparison() (q MailQuery) {
	for _, c := range []struct {
		name     string
		property MailProperty
	}{
		{"Subject", MailSubject}, {"Sender", MailSender}, {"Participants", MailParticipants}, {"Recipients", MailParticipants}, {"Recipient", MailParticipants},
	} {
		if p.take(c.name) {
			q.Property = c.property
			p.texts[c.property]++
			p.compared(&q)
			return q
		}
	}
	switch {
	case p.take("HasAttachment"):
		q.Property = MailHasAttachment
		switch v := strings.ToLower(p.equal()); v {
		case "true", "false":
			q.Attachment = v == "true"
		default:
			p.refuse("HasAttachment is compared by -eq with 'true' or 'false'.")
		}
	case p.take("MessageKind"):
		q.Property = MailMessageKind
		switch v := MailKind(strings.ToLower(p.equal())); v {
		case MailEmail, MailNote, MailTask, MailContact, MailCalendar:
			q.Kind = v
		default:
			p.refuse("MessageKind is compared by -eq with 'Email', 'Note', 'Task', 'Contact' or 'Calendar'.")
		}
	default:
		p.failed = true
	}
	return q
}

// refuse notes what is wrong with a comparison, the first of them.
func (p *mailParser) refuse(why string) {
	if p.wrong == "" && !p.failed {
		p.wrong = why
	}
}

// compared takes the operator and the text of a comparison.
func (p *mailParser) compared(q *MailQuery) {
	like := p.take("-like")
	switch {
	case like:
		q.Match = MailWords
	case p.take("-contains"):
		q.Match = MailContains
	case p.take("-eq"):
		q.Match = MailIs
	default:
		p.failed = true
	}
	q.Text = p.quoted()
	if like && strings.HasSuffix(q.Text, "*") {
		q.Match, q.Text = MailBegun, strings.TrimSuffix(q.Text, "*")
	}
	switch n := utf8.RuneCountInString(q.Text); {
	case p.failed:
	case n > maxMailText, !utf8.ValidString(q.Text):
		p.refuse("A text to look for has 255 characters at most.")
	case like && strings.Contains(q.Text, "*"):
		p.refuse("A * stands at the end of a text only, as in (Subject -like 'Invoice*').")
	case !strings.ContainsFunc(q.Text, IsWord):
		p.refuse("A text to look for holds a letter or a digit at least.")
	}
}

// equal takes -eq, and a text in quotes or a word without them.
func (p *mailParser) equal() string {
	if !p.take("-eq") {
		p.failed = true
		return ""
	}
	if p.opening() != "" {
		return p.quoted()
	}
	rest := p.text[p.pos:]
	n := strings.IndexFunc(rest, func(r rune) bool { return !IsWord(r) })
	if n < 0 {
		n = len(rest)
	}
	p.pos += n
	return rest[:n]
}

// opening returns the quote that comes next, "" for none.
func (p *mailParser) opening() string {
	for _, q := range []string{"'", "‘", "’"} {
		if p.at(q) {
			return q
		}
	}
	return ""
}

// quoted takes a text in single quotes, straight or curly.
func (p *mailParser) quoted() string {
	open := p.opening()
	if open == "" {
		p.failed = true
		return ""
	}
	end := "'"
	if open != "'" {
		end = "’"
	}
	p.sign(open)
	var b strings.Builder
	for {
		part, _, closed := strings.Cut(p.text[p.pos:], end)
		if !closed {
			p.failed = true
			return ""
		}
		b.WriteString(part)
		p.pos += len(part) + len(end)
		if !strings.HasPrefix(p.text[p.pos:], end) {
			return b.String()
		}
		b.WriteString(end)
		p.pos += len(end)
	}
}
