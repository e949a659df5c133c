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
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// readJSON reads a file that people write: JSON in which there may be comments, and
// a comma after the last of a list. It returns it with spaces in their place, so
// that all else stands where it stood.
func readJSON(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	tree, err := hujson.Parse(bytes.Clone(data))
	if err != nil {
		w := walker{name: name, data: data}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, w.at(len(data), "the file ends too soon")
		}
		var line, column int
		fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &column)
		lines := bytes.SplitAfterN(data, []byte("\n"), line)
		return nil, w.at(len(data)-len(lines[line-1])+column-1, "%v", errors.Unwrap(err))
	}
	tree.Standardize()
	return tree.Pack(), nil
}

// decodeWhole decodes a file that is one object, as readJSON gives it. What is wrong in it is said all at
// once, each with its line and column: fields that there are not, with the one that
// may have been meant, and fields that are there twice.
func decodeWhole(name string, data []byte, to any) error {
	w := walker{name: name, data: data, tokens: json.NewDecoder(bytes.NewReader(data))}
	w.tokens.UseNumber()
	if err := w.value(reflect.TypeOf(to)); err != nil {
		return w.broken(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
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
		return w.at(max(int(e.Offset)-1, 0), "%s cannot be %s", cmp.Or(e.Field, "the file"), article(e.Value))
	}
	return fmt.Errorf("%s: %s", w.name, strings.TrimPrefix(err.Error(), "json: "))
}

// article is a kind of value with its article.
func article(kind string) string {
	if strings.ContainsAny(kind[:1], "aeiou") {
		return "an " + kind
	}
	return "a " + kind
}

// next is where the next token begins.
func (w *walker) next() int {
	at := int(w.tokens.InputOffset())
	for at < len(w.data) && strings.IndexByte(" \t\r\n,:", w.data[at]) >= 0 {
		at++
	}
	return at
}

// value goes through the next value, which is decoded into t; nil if nobody knows
// into what.
func (w *walker) value(t reflect.Type) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && readsItself(t) {
		t = nil
	}
	token, err := w.tokens.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		var element reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			element = t.Elem()
		}
		for w.tokens.More() {
			if err := w.value(element); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		if err := w.object(t); err != nil {
			return err
		}
	default:
		return nil
	}
	_, err = w.tokens.Token() // what closes it
	return err
}

func (w *walker) object(t reflect.Type) error {
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
				w.wrong = append(w.wrong, w.at(at, "unknown field %q%s", name, meant(name, slices.Collect(maps.Keys(fields))...)))
			}
		default:
			folded = name
		}
		if seen[folded] {
			w.wrong = append(w.wrong, w.at(at, "%q is there twice", name))
		}
		seen[folded] = true
		if err := w.value(below); err != nil {
			return err
		}
	}
	return nil
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
