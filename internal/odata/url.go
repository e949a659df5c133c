package odata

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Vocabulary knows the literal segments of the URLs that are served, so that
// each URL can be given its one form.
type Vocabulary struct {
	literals map[string]string   // lower case -> canonical spelling
	actions  map[string]bool     // lower case names of bound operations
	keys     map[string][]string // lower case literal -> names of the keys that follow it
}

// NewVocabulary returns the vocabulary of routes, given as patterns in which
// braces mark a key. Casts are segments that begin with "graph.". The last
// segment of a pattern in actions is the name of a bound operation, which may
// also be called by its qualified name. A key may be written with its name,
// which is id, or the one in the pattern's braces: set(id='key'),
// function(parameter='key').
func NewVocabulary(patterns, actions []string) *Vocabulary {
	v := &Vocabulary{literals: map[string]string{}, actions: map[string]bool{}, keys: map[string][]string{}}
	for _, p := range patterns {
		last := ""
		for s := range strings.SplitSeq(p, "/") {
			switch {
			case s == "":
			case s[0] == '{':
				v.keys[last] = append(v.keys[last], strings.Trim(s, "{}"))
			default:
				last = strings.ToLower(s)
				v.literals[last] = s
			}
		}
	}
	for _, p := range actions {
		v.actions[strings.ToLower(p[strings.LastIndexByte(p, '/')+1:])] = true
	}
	return v
}

// Canonical returns the one form of an escaped path, decoded and escaped:
// literal segments in their canonical spelling, set('key') as set/key, casts
// as graph.type, bound operations by their short name, no trailing slash. It
// reports false for a path that cannot be a route.
//
// A segment that is no literal is left as it is: it may be a key.
func (v *Vocabulary) Canonical(escaped string) (path, rawPath string, ok bool) {
	if !strings.HasPrefix(escaped, "/") {
		return "", "", false
	}
	escaped = strings.TrimSuffix(escaped[1:], "/")
	var plain, raw strings.Builder
	emit := func(s string) bool {
		// ServeMux would redirect these, and none can be a key.
		if s == "" || s == "." || s == ".." || !utf8.ValidString(s) {
			return false
		}
		plain.WriteString("/" + s)
		raw.WriteString("/" + url.PathEscape(s))
		return true
	}
	for part := range strings.SplitSeq(escaped, "/") {
		s, err := url.PathUnescape(part)
		if err != nil {
			return "", "", false
		}
		name, key, hasKey := v.splitKey(s)
		if !hasKey {
			s, ok := v.segment(s)
			if !ok || !emit(s) {
				return "", "", false
			}
			continue
		}
		name, ok := v.segment(name)
		if !ok || !emit(name) || !emit(key) {
			return "", "", false
		}
	}
	return plain.String(), raw.String(), true
}

// segment returns the canonical spelling of a literal segment, or s itself
// when it is none. It reports false for a qualified name that is not known.
func (v *Vocabulary) segment(s string) (string, bool) {
	lower := strings.ToLower(s)
	if c, ok := v.literals[lower]; ok {
		return c, true
	}
	name, qualified := strings.CutPrefix(strings.TrimPrefix(lower, "microsoft."), "graph.")
	if !qualified {
		return s, true
	}
	if c, ok := v.literals["graph."+name]; ok {
		return c, true
	}
	if v.actions[name] {
		return v.literals[name], true
	}
	return "", false
}

// splitKey splits name('key') and name(id='key'), in which id may also be the
// name that name's key has in the patterns. A function of one parameter is
// called in the same form.
func (v *Vocabulary) splitKey(s string) (name, key string, ok bool) {
	name, _, _ = strings.Cut(s, "(")
	name = strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(name), "microsoft."), "graph.")
	return splitKey(s, v.keys[name]...)
}

// splitKey splits name('key') and name(id='key'), in which id may also be
// one of other names. It reports false when s is not of that form.
func splitKey(s string, others ...string) (name, key string, ok bool) {
	open := strings.IndexByte(s, '(')
	if open <= 0 || !strings.HasSuffix(s, ")") {
		return "", "", false
	}
	name, key = s[:open], strings.TrimSpace(s[open+1:len(s)-1])
	if n, k, named := strings.Cut(key, "="); named && slices.ContainsFunc(append(slices.Clip(others), "id"), func(o string) bool { return strings.EqualFold(strings.TrimSpace(n), o) }) {
		key = strings.TrimSpace(k)
	}
	key, ok = unquote(key)
	return name, key, ok
}

// unquote returns the text of an OData string literal: in single quotes, a
// quote within it doubled.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
		return "", false
	}
	s = s[1 : len(s)-1]
	if strings.Contains(strings.ReplaceAll(s, "''", ""), "'") {
		return "", false
	}
	return strings.ReplaceAll(s, "''", "'"), true
}
