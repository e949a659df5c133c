package odata

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A Member is a property of an entity with its value: anything that
// encoding/json knows, an Entity, or a list of entities.
type Member struct {
	Name  string
	Value any
}

// An Entity is a resource as it is shown to a caller. Its members appear in
// their order; what is not a member is absent.
type Entity struct {
	Type    string // without the namespace; "" for what has no type of its own
	Path    string // its address below the service root, such as "solutions/backupRestore/protectionUnits('…')"
	Members []Member
}

// Add appends a member. Its name needs no escapes in JSON.
func (e *Entity) Add(name string, value any) {
	if e.Members == nil {
		e.Members = make([]Member, 0, 16)
	}
	e.Members = append(e.Members, Member{name, value})
}

// A Form is how a response is written.
type Form struct {
	Base   string // the service root, https://host/v1.0
	Level  Metadata
	Select []string // nil: everything
	Expand []string // shown besides what is selected
	Note   string   // what a person should know of a collection; "" for nothing
}

// Context returns the @odata.context of what resource names, such as
// "solutions/backupRestore/protectionPolicies". entity says that it is one of
// them and not all.
func (f Form) Context(resource string, entity bool) string {
	s := f.Base + "/$metadata#" + resource
	if len(f.Select) > 0 {
		s += "(" + strings.Join(f.Select, ",")
		for _, name := range f.Expand {
			s += "," + name + "()"
		}
		s += ")"
	}
	if entity {
		s += "/$entity"
	}
	return s
}

// Entity encodes e as the whole of a response.
func (f Form) Entity(context string, e Entity) ([]byte, error) {
	w := writer{form: f}
	w.open()
	if f.Level != MetadataNone && context != "" {
		w.member("@odata.context", context)
	}
	w.members(e, f.Select)
	w.close()
	return w.Bytes(), w.err
}

// Collection encodes a page of entities as the whole of a response. total is
// written when it is not negative, next when it is not empty.
func (f Form) Collection(context string, total int64, next string, items []Entity) ([]byte, error) {
	w := writer{form: f}
	w.Grow(512 + 640*len(items)) // which is about what they are
	w.open()
	if f.Level != MetadataNone {
		w.member("@odata.context", context)
	}
	if total >= 0 {
		w.member("@odata.count", total)
	}
	if next != "" {
		w.member("@odata.nextLink", next)
	}
	if f.Note != "" {
		w.member("@holdfast.note", f.Note)
	}
	w.name("value")
	w.list(items, f.Select)
	w.close()
	return w.Bytes(), w.err
}

// A writer writes one JSON document. It keeps the first error and then only
// goes through the motions.
type writer struct {
	bytes.Buffer
	form  Form
	first bool
	err   error

	who     backup.IdentitySet // was written last,
	whoText []byte             // as this
}

func (w *writer) open()  { w.WriteByte('{'); w.first = true }
func (w *writer) close() { w.WriteByte('}'); w.first = false }

func (w *writer) name(name string) {
	if !w.first {
		w.WriteByte(',')
	}
	w.first = false
	w.WriteByte('"')
	w.WriteString(name)
	w.WriteString(`":`)
}

func (w *writer) member(name string, value any) {
	w.name(name)
	switch v := value.(type) {
	case Entity:
		w.entity(v, nil)
	case []Entity:
		w.list(v, nil)
	default:
		w.value(v)
	}
}

// value writes what is not an entity. Most of it is text, for which an encoder
// would be as much work as all the rest of an answer.
func (w *writer) value(v any) {
	switch v := v.(type) {
	case string:
		w.text(v)
		return
	case backup.IdentitySet: // most of a page was done by the same
		if w.whoText == nil || v != w.who {
			from := w.Len()
			w.encode(v)
			w.who, w.whoText = v, bytes.Clone(w.Bytes()[from:])
			return
		}
		w.Write(w.whoText)
		return
	case json.Marshaler, encoding.TextMarshaler:
	default:
		switch r := reflect.ValueOf(v); r.Kind() {
		case reflect.String:
			w.text(r.String())
			return
		case reflect.Invalid:
			w.WriteString("null")
			return
		case reflect.Pointer:
			if r.IsNil() {
				w.WriteString("null")
				return
			}
		}
	}
	w.encode(v)
}

// plain are the bytes that stand for themselves in the JSON of a text.
var plain = func() (is [256]bool) {
	for c := ' '; c <= '~'; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// text writes a text.
func (w *writer) text(s string) {
	for i := range len(s) {
		if !plain[s[i]] {
			w.encode(s)
			return
		}
	}
	w.WriteByte('"')
	w.WriteString(s)
	w.WriteByte('"')
}

func (w *writer) encode(v any) {
	enc := json.NewEncoder(&w.Buffer)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && w.err == nil {
		w.err = err
		return
	}
	w.Truncate(w.Len() - 1) // the encoder ends its values with a line feed
}

func (w *writer) list(items []Entity, sel []string) {
	w.WriteByte('[')
	for i, e := range items {
		if i > 0 {
			w.WriteByte(',')
		}
		w.entity(e, sel)
	}
	w.WriteByte(']')
}

func (w *writer) entity(e Entity, sel []string) {
	w.open()
	w.members(e, sel)
	w.close()
}

func (w *writer) members(e Entity, sel []string) {
	if e.Type != "" && w.form.Level != MetadataNone {
		w.member("@odata.type", "#microsoft.graph."+e.Type)
	}
	if e.Path != "" && w.form.Level == MetadataFull {
		w.member("@odata.id", w.form.Base+"/"+e.Path)
	}
	for _, m := range e.Members {
		if sel == nil || m.Name == "id" || strings.Contains(m.Name, "@") || slices.Contains(sel, m.Name) || slices.Contains(w.form.Expand, m.Name) {
			w.member(m.Name, m.Value)
		}
	}
}

// UnsetTime is how a time that was never set is written, where it is not left
// out.
const UnsetTime = "0001-01-01T00:00:00Z"

// FormatTime writes a time as the wire has it: UTC, with as many digits behind
// the second as it needs.
func FormatTime(t time.Time) string {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 0 || year > 9999 {
		return t.Format("2006-01-02T15:04:05.9999999Z07:00")
	}
	b := make([]byte, 0, len("2006-01-02T15:04:05.9999999Z"))
	pair := func(n int) { b = append(b, byte('0'+n/10), byte('0'+n%10)) }
	pair(year / 100)
	pair(year % 100)
	b = append(b, '-')
	pair(int(month))
	b = append(b, '-')
	pair(day)
	b = append(b, 'T')
	pair(hour)
	b = append(b, ':')
	pair(minute)
	b = append(b, ':')
	pair(second)
	if n := t.Nanosecond() / 100; n > 0 {
		b = append(b, '.')
		for unit := 1_000_000; n > 0; unit /= 10 {
			b = append(b, byte('0'+n/unit))
			n %= unit
		}
	}
	return string(append(b, 'Z'))
}

// An ErrorInfo identifies the request that failed.
type ErrorInfo struct {
	Date            string `json:"date"`
	RequestID       string `json:"request-id"`
	ClientRequestID string `json:"client-request-id"`
}

// Error encodes a failure as the whole of a response. code is its spelling on
// the wire.
func Error(p backup.Problem, code backup.Code, at time.Time, requestID, clientRequestID string) []byte {
	type inner struct {
		Code    backup.Code     `json:"code"`
		Message string          `json:"message"`
		Target  string          `json:"target,omitempty"`
		Details []backup.Detail `json:"details,omitempty"`
		Info    ErrorInfo       `json:"innerError"`
	}
	w := writer{}
	w.open()
	w.member("error", inner{code, p.Message, p.Target, p.Details,
		ErrorInfo{at.UTC().Format("2006-01-02T15:04:05"), requestID, clientRequestID}})
	w.close()
	return w.Bytes()
}
