package odata

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
)

// maxDepth is how deep a JSON body may be nested. None of ours needs five.
const maxDepth = 32

// CheckContentType refuses a request whose body is not JSON, or is encoded in
// a way that we cannot undo. A body without a type is taken for JSON.
func CheckContentType(h http.Header) error {
	if ct := h.Get("Content-Type"); ct != "" {
		if media, _, err := mime.ParseMediaType(ct); err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || media != "application/json" {
			return backup.Fail(backup.UnsupportedMedia, "The body must be sent as application/json.").On("Content-Type")
		}
	}
	switch strings.ToLower(strings.Join(h.Values("Content-Encoding"), ",")) {
	case "", "identity", "gzip", "x-gzip":
		return nil
	}
	return backup.Fail(backup.UnsupportedMedia, "The body may be sent plain or with Content-Encoding: gzip, not otherwise.").On("Content-Encoding")
}

// ReadBody returns the request's body, inflated, which may be limit bytes long
// and no longer. It holds at most that much, whatever a compressed body would
// become.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := backup.Fail(backup.RequestTooLarge, "The body is larger than "+strconv.FormatInt(limit>>20, 10)+" MiB. Send it in smaller parts.")
	var body io.Reader = http.MaxBytesReader(w, r.Body, limit)
	if strings.Contains(strings.ToLower(r.Header.Get("Content-Encoding")), "gzip") {
		z, err := gzip.NewReader(body)
		if err == io.EOF { // no body at all, though its encoding was announced
			return nil, nil
		}
		if err != nil {
			return nil, bodyError(err, tooLarge)
		}
		body = z
	}
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, bodyError(err, tooLarge)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge
	}
	return data, nil
}

func bodyError(err error, tooLarge *backup.Error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	e := invalid("The body could not be read to its end, or is not what its Content-Encoding says.")
	e.Err = err
	return e
}

// An Object is a JSON object as it was sent, read strictly: member names are
// exact and occur once. Values are nil, bool, json.Number, string, []any and
// *Object.
type Object struct {
	names   []string
	members map[string]any
	code    backup.Code // of what is wrong with its form
}

// ParseObject reads data, which must be one JSON object and nothing else, in
// UTF-8 without a byte order mark. What is wrong with its form, then or later,
// is an error of the given code.
func ParseObject(data []byte, code backup.Code) (*Object, error) {
	o := &Object{code: code}
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, o.wrong("The request needs a body: a JSON object.", "")
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return nil, o.wrong("The body begins with a byte order mark. Send it without.", "")
	case !utf8.Valid(data):
		return nil, o.wrong("The body is not valid UTF-8.", "")
	case !json.Valid(data):
		return nil, o.wrong("The body is not valid JSON.", "")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := o.value(d, 0)
	if err != nil {
		return nil, err
	}
	root, ok := v.(*Object)
	if !ok {
		return nil, o.wrong("The body must be a JSON object.", "")
	}
	return root, nil
}

// value reads the next value of d, which holds valid JSON.
func (o *Object) value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, o.storable(t)
	}
	if depth == maxDepth {
		return nil, o.wrong("The body is nested too deeply.", "")
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := o.value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	obj := &Object{members: map[string]any{}, code: o.code}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := t.(string)
		if err := o.storable(name); err != nil {
			return nil, err
		}
		if _, twice := obj.members[name]; twice {
			return nil, o.wrong("The member '"+printable(name)+"' occurs twice in one object.", name)
		}
		v, err := o.value(d, depth+1)
		if err != nil {
			return nil, err
		}
		obj.names = append(obj.names, name)
		obj.members[name] = v
	}
	_, err = d.Token()
	return obj, err
}

// storable refuses a string with a null character, which not every database
// can keep.
func (o *Object) storable(t json.Token) error {
	if s, ok := t.(string); ok && strings.IndexByte(s, 0) >= 0 {
		return o.wrong("The body holds a string with a null character. Leave it out.", "")
	}
	return nil
}

func (o *Object) wrong(message, target string) *backup.Error {
	return backup.Fail(o.code, message).On(printable(target))
}

func (o *Object) wrongType(name, want string) *backup.Error {
	return o.wrong("The member '"+printable(name)+"' must be "+want+".", name)
}

// Only refuses members that are not among names, and an @odata.type other than
// typ, if typ is given. Annotations that we do not know are let pass.
func (o *Object) Only(typ string, names ...string) error {
	for _, n := range o.names {
		if at := strings.IndexByte(n, '@'); at >= 0 && !strings.HasSuffix(n, "@delta") {
			continue
		}
		if !slices.Contains(names, n) {
			return invalid("The member '" + printable(n) + "' is not known here. Names are case-sensitive.").On(printable(n))
		}
	}
	if typ == "" {
		return nil
	}
	got, given, err := o.Type()
	if err != nil {
		return err
	}
	if given && got != typ {
		return invalid("The @odata.type is not that of this resource, '#microsoft.graph." + typ + "'.").On("@odata.type")
	}
	return nil
}

// Type returns what @odata.type names, without the namespace. An object of
// another namespace has a type that none of ours equals.
func (o *Object) Type() (string, bool, error) {
	for _, name := range []string{"@odata.type", "@type"} {
		v, ok := o.members[name]
		if !ok {
			continue
		}
		s, isString := v.(string)
		if !isString {
			return "", false, invalid("The @odata.type must be a string.").On("@odata.type")
		}
		s = strings.TrimPrefix(s, "#")
		if short, ok := strings.CutPrefix(s, "microsoft.graph."); ok {
			return short, true, nil
		}
		return "#" + s, true, nil
	}
	return "", false, nil
}

// Has reports whether the object has the member, be it null.
func (o *Object) Has(name string) bool { _, ok := o.members[name]; return ok }

// Null reports whether the object has the member, and it is null.
func (o *Object) Null(name string) bool { v, ok := o.members[name]; return ok && v == nil }

// Names are the members of the object, annotations too, in their order.
func (o *Object) Names() []string { return o.names }

// Len is how many members the object has that are not annotations.
func (o *Object) Len() (n int) {
	for _, name := range o.names {
		if !strings.HasPrefix(name, "@") {
			n++
		}
	}
	return n
}

// String returns a member that is a string. It reports false for one that is
// absent or null.
func (o *Object) String(name string) (string, bool, error) {
	switch v := o.members[name].(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	}
	return "", false, o.wrongType(name, "a string")
}

// Bool returns a member that is true or false. It reports false for one that
// is absent.
func (o *Object) Bool(name string) (value, ok bool, err error) {
	v, ok := o.members[name]
	if !ok {
		return false, false, nil
	}
	if value, ok = v.(bool); !ok {
		return false, false, o.wrongType(name, "true or false")
	}
	return value, true, nil
}

// Time returns a member that is a date and time with a zone, or the zero time
// for one that is absent or null.
func (o *Object) Time(name string) (time.Time, error) {
	s, ok, err := o.String(name)
	if err != nil || !ok {
		return time.Time{}, err
	}
	t, ok := ParseTime(s)
	if !ok {
		return time.Time{}, o.wrongType(name, "a date and time such as 2026-01-31T12:00:00Z")
	}
	return t, nil
}

// Strings returns a member that is a list of strings. It reports false for one
// that is absent.
func (o *Object) Strings(name string) ([]string, bool, error) {
	v, ok := o.members[name]
	if !ok {
		return nil, false, nil
	}
	list, isList := v.([]any)
	if !isList {
		return nil, false, o.wrongType(name, "a list of strings")
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			return nil, false, o.wrongType(name, "a list of strings")
		}
	}
	return out, true, nil
}

// Object returns a member that is an object. It reports false for one that is
// absent or null.
func (o *Object) Object(name string) (*Object, bool, error) {
	switch v := o.members[name].(type) {
	case nil:
		return nil, false, nil
	case *Object:
		return v, true, nil
	}
	return nil, false, o.wrongType(name, "an object")
}

// Objects returns a member that is a list of objects. It reports false for one
// that is absent.
func (o *Object) Objects(name string) ([]*Object, bool, error) {
	v, ok := o.members[name]
	if !ok {
		return nil, false, nil
	}
	list, isList := v.([]any)
	if !isList {
		return nil, false, o.wrongType(name, "a list of objects")
	}
	out := make([]*Object, len(list))
	for i, v := range list {
		if out[i], ok = v.(*Object); !ok {
			return nil, false, o.wrongType(name, "a list of objects")
		}
	}
	return out, true, nil
}

// Reference returns the id in an object that names another: id, or the last
// segment of @odata.id. It reports false when there is neither.
func (o *Object) Reference() (string, bool, error) {
	if id, ok, err := o.String("id"); err != nil || ok {
		return id, ok, err
	}
	for _, name := range []string{"@odata.id", "@id"} {
		if link, ok, err := o.String(name); err != nil || ok {
			return LastSegment(link), ok, err
		}
	}
	return "", false, nil
}

// LastSegment returns the key at the end of a link: of …/set/key and of
// …/set('key').
func LastSegment(link string) string {
	link = link[strings.LastIndexByte(link, '/')+1:]
	if _, key, ok := splitKey(link); ok {
		return key
	}
	return link
}

// ParseTime reads a date and time as RFC 3339 has it, of up to seven digits
// behind the second.
func ParseTime(s string) (time.Time, bool) {
	var t time.Time
	if len(s) > len("2006-01-02T15:04:05.999999999+00:00") || t.UnmarshalText([]byte(s)) != nil {
		return time.Time{}, false
	}
	return t.UTC(), true
}
