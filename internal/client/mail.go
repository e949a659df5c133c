package client

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// mailNames are what a query may name, and the comparison that each is.
var mailNames = map[string]string{"from": "Sender -like ", "to": "Participants -like ", "subject": "Subject -like ", "kind": "MessageKind -eq "}

// MailExpression is a query for mail, such as "from:amala@contoso.com invoice*", as
// the API has it. What begins as an expression of the API is one already.
func MailExpression(query string) (string, error) {
	if text := strings.TrimSpace(query); strings.HasPrefix(text, "(") || strings.Contains(text, " -like ") || strings.Contains(text, " -eq ") || strings.Contains(text, " -contains ") {
		return text, nil
	}
	var all []string
	for rest := strings.TrimSpace(query); rest != ""; rest = strings.TrimSpace(rest) {
		name, value := "", ""
		i := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == ':' || r == '"' || r == '\'' })
		if i > 0 && rest[i] == ':' {
			name, rest = strings.ToLower(rest[:i]), rest[i+1:]
		}
		if value, rest = mailValue(rest); value == "" {
			return "", fmt.Errorf("a query has nothing to look for after %q", name+":")
		}
		comparison, known := mailNames[name]
		switch {
		case known:
			all = append(all, "("+comparison+"'"+strings.ReplaceAll(value, "'", "''")+"')")
		case name == "":
			all = append(all, "(Subject -like '"+strings.ReplaceAll(value, "'", "''")+"')")
		case (name == "has" || name == "no") && strings.HasPrefix(strings.ToLower(value), "attachment"):
			all = append(all, fmt.Sprintf("(HasAttachment -eq '%t')", name == "has"))
		default:
			return "", fmt.Errorf("a query is of from:, to:, subject:, kind:, has:attachment and no:attachment; %q is none of them", name+":"+value)
		}
	}
	if len(all) == 0 {
		return "", errors.New("say what to look for, as in 'from:amala@contoso.com subject:invoice*'")
	}
	return strings.Join(all, " -and "), nil
}

// mailValue takes a text off the front of rest: a word, or several in quotes.
func mailValue(rest string) (value, more string) {
	if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
		if value, more, ok := strings.Cut(rest[1:], rest[:1]); ok {
			if strings.HasPrefix(more, "*") {
				return value + "*", more[1:]
			}
			return value, more
		}
	}
	if i := strings.IndexFunc(rest, unicode.IsSpace); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}
