package backup

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of the expression of a rule of sites.
const (
	MaxSiteKeywords = 10
	minSiteKeyword  = 3 // characters
	maxSiteKeyword  = 255
	maxSiteNesting  = 16 // parentheses in parentheses
)

// A SiteExpression is the expression of a rule of sites: a comparison, or several
// expressions of which one, or each, is to be met.
type SiteExpression struct {
	all   bool // of parts each, not one
	parts []SiteExpression

	property string // displayName, webUrl or lastModifiedDateTime
	text     string // what the property contains, in lower case
	since    time.Time
}

// Match reports whether a site meets e. A site of which it is not known when it was
// changed was not changed since then.
func (e SiteExpression) Match(s Subject) bool {
	switch {
	case e.parts != nil && e.all:
		return !slices.ContainsFunc(e.parts, func(p SiteExpression) bool { return !p.Match(s) })
	case e.parts != nil:
		return slices.ContainsFunc(e.parts, func(p SiteExpression) bool { return p.Match(s) })
	case e.property == "displayName":
		return strings.Contains(strings.ToLower(s.DisplayName), e.text)
	case e.property == "webUrl":
		return strings.Contains(strings.ToLower(s.Address), e.text)
	}
	return !s.Modified.IsZero() && !s.Modified.Before(e.since)
}

// ParseSiteExpression reads the expression of a rule of sites,
//
//	((displayName -contains 'Finance') -or (webUrl -contains 'legal')) -and (lastModifiedDateTime -ge '2026-02-26T11:36:20Z')
//
// Each comparison stands in parentheses, and so does what is joined by -or or by
// -and if more is joined to it by the other. A keyword has 3 to 255 characters, in
// which a quote is written twice; there are one to ten. An expression of another
// form is InvalidRuleExpression.
func ParseSiteExpression(text string) (SiteExpression, error) {
	wrong := func(message string) (SiteExpression, error) {
		return SiteExpression{}, Fail(InvalidRuleExpression, message).On("expression")
	}
	if len(text) > maxRuleExpression {
		return wrong("The expression is longer than 16 KiB. Send a shorter one.")
	}
	p := siteParser{ruleParser: ruleParser{text: text}}
	e := p.expression(0)
	p.end()
	switch {
	case p.failed:
		return wrong("The expression is not of the form ((displayName -contains 'word') -or (webUrl -contains 'word')): character " +
			strconv.Itoa(p.pos+1) + " is not what belongs there.")
	case p.keywords == 0 || p.keywords > MaxSiteKeywords:
		return wrong("The expression has " + strconv.Itoa(p.keywords) + " keywords, and may have 1 to 10. Send several rules for more.")
	case p.badKeyword:
		return wrong("A keyword has 3 to 255 characters.")
	}
	return e, nil
}

// A siteParser reads the expression of a rule of sites.
type siteParser struct {
	ruleParser
	keywords   int
	badKeyword bool
}

// expression takes expressions in parentheses, joined by one operator.
func (p *siteParser) expression(depth int) SiteExpression {
	e := SiteExpression{parts: []SiteExpression{p.operand(depth)}}
	for _, operator := range []string{"-or", "-and"} {
		for len(e.parts) == 1 || e.all == (operator == "-and") {
			if !p.at(operator) {
				break
			}
			p.word(operator)
			e.all = operator == "-and"
			e.parts = append(e.parts, p.operand(depth))
		}
	}
	if len(e.parts) == 1 {
		return e.parts[0]
	}
	return e
}

func (p *siteParser) operand(depth int) (e SiteExpression) {
	p.sign("(")
	if depth == maxSiteNesting {
		p.failed = true
	}
	switch {
	case p.failed:
		return e
	case p.at("("):
		e = p.expression(depth + 1)
	default:
		e = p.comparison()
	}
	p.sign(")")
	return e
}

func (p *siteParser) comparison() (e SiteExpression) {
	for _, name := range []string{"displayName", "webUrl"} {
		if p.at(name) {
			p.word(name)
			p.word("-contains")
			text := p.quoted()
			if n := utf8.RuneCountInString(text); n < minSiteKeyword || n > maxSiteKeyword || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
				p.badKeyword = true
			}
			p.keywords++
			return SiteExpression{property: name, text: strings.ToLower(text)}
		}
	}
	p.word("lastModifiedDateTime")
	p.word("-ge")
	at := p.pos
	since, err := time.Parse(time.RFC3339Nano, p.quoted())
	if err != nil && !p.failed {
		p.failed, p.pos = true, at
	}
	return SiteExpression{property: "lastModifiedDateTime", since: since}
}

// quoted takes a text in single quotes.
func (p *siteParser) quoted() string {
	p.sign("'")
	if p.failed {
		return ""
	}
	var b strings.Builder
	for {
		part, _, closed := strings.Cut(p.text[p.pos:], "'")
		if !closed {
			p.failed = true
			return ""
		}
		b.WriteString(part)
		p.pos += len(part) + 1
		if !strings.HasPrefix(p.text[p.pos:], "'") {
			return b.String()
		}
		b.WriteByte('\'')
		p.pos++
	}
}
