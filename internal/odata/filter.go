package odata

import (
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// A Comparison is one term of a filter: a property, an operator and a literal.
type Comparison struct {
	Property string
	Operator string // eq, ne, lt, le, gt or ge
	Literal  string // unquoted
	Quoted   bool   // it was a string
}

// ParseComparisons reads a filter that is one comparison or several joined by
// "and". That is all of the filter language that is served so far.
func ParseComparisons(text string, code backup.Code, target string) ([]Comparison, error) {
	wrong := backup.Fail(code, "The filter cannot be understood: it must be comparisons such as \"name lt value\", joined by \"and\".").On(target)
	var out []Comparison
	rest := strings.TrimSpace(text)
	for {
		var c Comparison
		var ok bool
		if c.Property, rest, ok = word(rest); !ok {
			return nil, wrong
		}
		if c.Operator, rest, ok = word(rest); !ok || !strings.Contains(" eq ne lt le gt ge ", " "+c.Operator+" ") {
			return nil, wrong
		}
		if c.Literal, c.Quoted, rest, ok = literal(rest); !ok {
			return nil, wrong
		}
		out = append(out, c)
		if rest == "" {
			return out, nil
		}
		var and string
		if and, rest, ok = word(rest); !ok || and != "and" {
			return nil, wrong
		}
	}
}

// word cuts the text up to the next blank, which must follow, and the blanks.
func word(s string) (w, rest string, ok bool) {
	w, rest, ok = strings.Cut(s, " ")
	return w, strings.TrimLeft(rest, " "), ok && w != "" && !strings.ContainsAny(w, "'()")
}

// literal cuts a string in quotes, or the text up to the next blank or the end.
func literal(s string) (lit string, quoted bool, rest string, ok bool) {
	if !strings.HasPrefix(s, "'") {
		lit, rest, _ = strings.Cut(s, " ")
		return lit, false, strings.TrimLeft(rest, " "), lit != "" && !strings.ContainsAny(lit, "'()")
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			i++
			continue
		}
		lit, ok = unquote(s[:i+1])
		rest = s[i+1:]
		if rest != "" && rest[0] != ' ' {
			return "", false, "", false
		}
		return lit, true, strings.TrimLeft(rest, " "), ok
	}
	return "", false, "", false
}

// ParseExpands reads an $expand that is a list of navigation properties among
// names, without options of their own. It returns each in its canonical
// spelling, once.
func ParseExpands(text string, names []string) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, part) })
		if i < 0 {
			return nil, invalid("The $expand names '" + printable(part) + "'. This resource can be expanded by " + strings.Join(names, ", ") + ", without options in parentheses.").On("$expand")
		}
		if !slices.Contains(out, names[i]) {
			out = append(out, names[i])
		}
	}
	return out, nil
}

// ParseExpand reads an $expand of one navigation property with one nested
// $filter: "name($filter=…)".
func ParseExpand(text string) (property, filter string, ok bool) {
	text = strings.TrimSpace(text)
	property, rest, ok := strings.Cut(text, "(")
	if !ok || !strings.HasSuffix(rest, ")") {
		return "", "", false
	}
	name, filter, ok := strings.Cut(strings.TrimSuffix(rest, ")"), "=")
	name = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "$")
	if !ok || name != string(Filter) {
		return "", "", false
	}
	return strings.TrimSpace(property), strings.TrimSpace(filter), true
}
