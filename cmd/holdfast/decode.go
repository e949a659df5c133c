package main

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// readJSON reads a file that people write: JSON in which there may be comments, and
// a comma after the last of a list. It returns it with spaces in their place, so
// that all else stands where it stood. A byte order mark before it is left out.
func readJSON(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	w := walker{name: name, data: bytes.TrimPrefix(data, byteOrderMark)}
	data = w.data
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, w.at(0, "the file is empty: it has to be an object, { … }")
	case isUTF16(data):
		return nil, w.at(0, "the file is in UTF-16, as some programs of Windows write it: save it as UTF-8")
	case !utf8.Valid(data):
		at := 0
		for r, n := utf8.DecodeRune(data); r != utf8.RuneError || n > 1; r, n = utf8.DecodeRune(data[at:]) {
			at += n
		}
		return nil, w.at(at, "this is not UTF-8: save the file in that encoding")
	}
	tree, err := hujson.Parse(bytes.Clone(data))
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, w.at(len(data), "the file ends too soon: something that was opened by {, [, \" or /* is not closed")
		}
		var line, column int
		fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &column)
		lines := bytes.SplitAfterN(data, []byte("\n"), line)
		at := len(data) - len(lines[line-1]) + column - 1
		return nil, w.at(at, "%s", notJSON(errors.Unwrap(err), data, at))
	}
	tree.Standardize()
	return tree.Pack(), nil
}

// byteOrderMark is what editors of Windows write before a text in UTF-8.
var byteOrderMark = []byte("\uFEFF")

// isUTF16 reports whether data is a text in UTF-16.
func isUTF16(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) || len(data) > 1 && (data[0] == 0 || data[1] == 0)
}

// notJSON says in words for people why a file is no JSON from a place on, of which the
// parser has said err.
func notJSON(err error, data []byte, at int) string {
	said, rest := err.Error(), string(data[min(at, len(data)):])
	word, behind := rest, ""
	if end := strings.IndexAny(rest, " \t\r\n,:{}[]"); end >= 0 {
		word, behind = rest[:max(end, 1)], strings.TrimLeft(rest[end:], " \t")
	}
	if letters := []rune(word); len(letters) > 30 {
		word = string(letters[:30]) + "…"
	}
	first, starts := bytes.TrimSpace(data), strings.HasSuffix(said, "at start of value") || strings.HasPrefix(said, "invalid literal")
	switch {
	case len(first) > 0 && first[0] != '{' && first[0] != '/':
		return fmt.Sprintf("the file has to be JSON, an object that begins with {, and not with %q; comments begin with //", first[:1])
	case strings.HasPrefix(said, "invalid literal: \""):
		return `this text cannot be read: within one, " is written as \", and \ as \\, also in paths of Windows`
	case strings.HasSuffix(said, "at start of object name"), starts && strings.HasPrefix(behind, ":"):
		return fmt.Sprintf("a name in double quotes has to be here, not %q", word)
	case starts:
		return fmt.Sprintf("a value has to be here, not %q: texts are in double quotes", word)
	case strings.HasSuffix(said, "after object name"):
		return "a colon is missing before this, between a name and its value"
	case strings.Contains(said, "after object value"), strings.Contains(said, "after array value"):
		return "a comma is missing before this, or a bracket that closes what was opened"
	case strings.HasSuffix(said, "after top-level value"):
		return fmt.Sprintf("the object has ended before this, and %q stands behind it: take it out, or a } before it", word)
	}
	return said
}

// decodeWhole decodes a file that is one object, as readJSON gives it. What is wrong in it is said all at
// once, each with its line and column: fields that there are not, with the one that
// may have been meant, and fields that are there twice, and values that are of another kind.
func decodeWhole(name string, data []byte, to any) error {
	w := walker{name: name, data: data, tokens: json.NewDecoder(bytes.NewReader(data))}
	w.tokens.UseNumber()
	if err := w.value(reflect.TypeOf(to), ""); err != nil {
		return w.broken(err)
	}
	if err := json.Unmarshal(data, to); err != nil && !w.mistyped {
		w.wrong = append(w.wrong, w.broken(err))
	}
	return errors.Join(w.wrong...)
}

// A walker goes through a file beside the type that it is decoded into.
type walker struct {
	name   string
	data   []byte
	tokens *json.Decoder
	wrong  []error
	// mistyped says that values of another kind than their field's are among what is wrong.
	mistyped bool
}

// at is an error with its place, as editors and compilers write it.
func (w *walker) at(offset int, format string, args ...any) error {
	before := w.data[:min(offset, len(w.data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len([]rune(string(before[bytes.LastIndexByte(before, '\n')+1:]))) + 1
	return fmt.Errorf("%s:%d:%d: %s", w.name, line, column, fmt.Sprintf(format, args...))
}

// broken gives an error of the decoder its place, if it has one.
func (w *walker) broken(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return w.at(max(int(e.Offset)-1, 0), "%s is of another kind", cmp.Or(e.Field, "the file"))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		at := max(int(e.Offset)-1, 0)
		return w.at(at, "%s", notJSON(err, w.data, at))
	}
	return fmt.Errorf("%s: %s", w.name, strings.TrimPrefix(err.Error(), "json: "))
}

// kind is in words what values of a type are written as; empty if nobody knows.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text in double quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice, reflect.Array:
		return "a list, [ … ]"
	case reflect.Struct, reflect.Map:
		return "an object, { … }"
	}
	return ""
}

// mistake says in words why a value is none of a type, empty if it is one; of a list or
// object only whether it is one at all. It shows no text, which may be a secret.
func mistake(token json.Token, t reflect.Type) string {
	is := kind(t)
	switch token := token.(type) {
	case string:
		if t.Kind() != reflect.String {
			return is + ", not a text"
		}
	case bool:
		if t.Kind() != reflect.Bool {
			return fmt.Sprintf("%s, not %t", is, token)
		}
	case json.Number:
		if is != kind(reflect.TypeFor[int]()) {
			return is + ", not a number"
		}
		if _, err := strconv.ParseInt(token.String(), 10, 64); errors.Is(err, strconv.ErrRange) {
			return is + ", and not so large a one"
		} else if err != nil {
			return is + ", not " + token.String()
		}
	case json.Delim:
		list, listed := is == kind(reflect.TypeFor[[]int]()), token == '['
		if listed && !list {
			return is + ", not a list"
		} else if !listed && is != kind(reflect.TypeFor[struct{}]()) {
			return is + ", not an object"
		}
	}
	return ""
}

// next is where the next token begins.
func (w *walker) next() int {
	at := int(w.tokens.InputOffset())
	for at < len(w.data) && strings.IndexByte(" \t\r\n,:", w.data[at]) >= 0 {
		at++
	}
	return at
}

// value goes through the next value, that of a field, which is decoded into t; nil if
// nobody knows into what.
func (w *walker) value(t reflect.Type, field string) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	itself := t != nil && readsItself(t)
	at := w.next()
	token, err := w.tokens.Token()
	if err != nil {
		return err
	}
	_, nested := token.(json.Delim)
	switch {
	case t == nil || token == nil: // null is as if it were not there
	case itself && !nested:
		if err := json.Unmarshal(w.data[at:w.tokens.InputOffset()], reflect.New(t).Interface()); err != nil {
			w.mistyped = true
			w.wrong = append(w.wrong, w.at(at, "%s: %s", field, notOne(err, t)))
		}
	case itself || kind(t) == "":
		t = nil
	default:
		if wrong := mistake(token, t); wrong != "" {
			w.mistyped = true
			w.wrong = append(w.wrong, w.at(at, "%s is %s", cmp.Or(field, "the file"), wrong))
			t = nil
		}
	}
	switch token {
	case json.Delim('['):
		var element reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			element = t.Elem()
		}
		for i := 0; w.tokens.More(); i++ {
			if err := w.value(element, fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		if err := w.object(t, field); err != nil {
			return err
		}
	default:
		return nil
	}
	_, err = w.tokens.Token() // what closes it
	return err
}

// notOne says in words why a text is none of a type that reads itself.
func notOne(err error, t reflect.Type) string {
	if t == reflect.TypeFor[netip.Prefix]() {
		return `this is no network: give one such as "10.0.0.0/8", or "192.0.2.7/32" for a single address`
	}
	return err.Error()
}

// object goes through what is in an object, that of a field, which is decoded into t.
func (w *walker) object(t reflect.Type, of string) error {
	fields := map[string]reflect.Type{}
	if t != nil && t.Kind() == reflect.Struct {
		fieldsOf(t, fields)
	}
	seen := map[string]bool{}
	for w.tokens.More() {
		at := w.next()
		token, err := w.tokens.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		folded := strings.ToLower(name)
		var below reflect.Type
		switch {
		case t != nil && t.Kind() == reflect.Map:
			folded, below = name, t.Elem()
		case t != nil && t.Kind() == reflect.Struct:
			for field, of := range fields {
				if strings.ToLower(field) == folded {
					below = of
				}
			}
			if below == nil {
				w.wrong = append(w.wrong, w.at(at, "unknown field %q%s", name, instead(name, fields)))
			}
		default:
			folded = name
		}
		if seen[folded] {
			w.wrong = append(w.wrong, w.at(at, "%q is there twice", name))
		}
		seen[folded] = true
		field := name
		if of != "" {
			field = of + "." + name
		}
		if err := w.value(below, field); err != nil {
			return err
		}
	}
	return nil
}

// instead says what to write instead of a field that there is not.
func instead(name string, fields map[string]reflect.Type) string {
	if file := name + "File"; fields[file] != nil {
		text := fmt.Sprintf("; it is not written into this file: name one that holds it as %q", file)
		if env := name + "Env"; fields[env] != nil {
			text += fmt.Sprintf(", or a variable of the environment as %q", env)
		}
		return text
	}
	return meant(name, slices.Collect(maps.Keys(fields))...)
}

// readsItself reports whether values of t are not read by their fields.
func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// fieldsOf adds the fields of a struct, by their names in JSON.
func fieldsOf(t reflect.Type, to map[string]reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			fieldsOf(f.Type, to)
		case name == "":
			to[f.Name] = f.Type
		default:
			to[name] = f.Type
		}
	}
}

// meant says which of some words a name may have been meant for.
func meant(name string, words ...string) string {
	best, least := "", min(max(len(name)/3, 1), 3)
	for _, word := range words {
		d := distance(strings.ToLower(name), strings.ToLower(word))
		if d < least || d == least && (best == "" || word < best) {
			best, least = word, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; perhaps %q is meant", best)
}

// distance is how many letters have to be changed, put in or left out to make b of
// a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = slices.Min([]int{change, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}
